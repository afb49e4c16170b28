/* verify: is everything on disk whole? With paths, the files themselves, without a daemon; without, the daemon looks. */
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "client/quirectl/log_check.h"
#include "client/quirectl/progress.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

#include <inttypes.h>
#include <time.h>

#define JSON_FINDINGS_MAX 10000
#define ASK_MS 200 /* between two questions how far the daemon is */

/* ---- offline -------------------------------------------------------------------------------------------------------------- */

struct verify {
    struct cli *cli;
    cJSON *list;
    int n_listed;
};

static void find_text(const struct verify *v, const struct log_finding *finding) {
    static const char *const outcomes[] = {[LOG_FOUND] = "", [LOG_REPAIRED] = "; repaired", [LOG_LEFT] = "; cannot be repaired"};
    fprintf(v->cli->out, "%s: ", finding->path);
    if (finding->segment != LOG_NO_SEGMENT) {
        fprintf(v->cli->out, "segment %u, unit %u: ", finding->segment, finding->at_units);
    }
    fprintf(v->cli->out, "%s", finding->text);
    if (finding->lost > 0) {
        fprintf(v->cli->out, "; %u record%s not used", finding->lost, finding->lost == 1 ? " is" : "s are");
    }
    fprintf(v->cli->out, "%s\n", outcomes[finding->outcome]);
}

static void found(void *ctx, const struct log_finding *finding) {
    static const char *const outcomes[] = {[LOG_FOUND] = "found", [LOG_REPAIRED] = "repaired", [LOG_LEFT] = "left"};
    struct verify *v = ctx;
    if (v->list == NULL) {
        find_text(v, finding);
        return;
    }
    if (v->n_listed++ >= JSON_FINDINGS_MAX) {
        return;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "path", finding->path);
    cJSON_AddStringToObject(object, "part", finding->part);
    if (finding->segment != LOG_NO_SEGMENT) {
        json_add_u64(object, "segment", finding->segment);
        json_add_u64(object, "unit", finding->at_units);
    }
    cJSON_AddStringToObject(object, "text", finding->text);
    json_add_u64(object, "lost_records", finding->lost);
    cJSON_AddStringToObject(object, "outcome", outcomes[finding->outcome]);
    cJSON_AddItemToArray(v->list, object);
}

static void counts_text(const struct cli *cli, const struct log_totals *t) {
    char records[QUIRE_UNITS_BYTES], bytes[QUIRE_UNITS_BYTES], deletions[QUIRE_UNITS_BYTES];
    quire_human_count(t->records, records, sizeof records);
    quire_human_count(t->deletions, deletions, sizeof deletions);
    quire_human_size(t->record_bytes, bytes, sizeof bytes);
    fprintf(cli->out, "%u segment%s: %u sealed, %u open, %u empty", t->segments, quire_s(t->segments), t->sealed, t->open,
            t->clean + t->emptied);
    if (t->headless > 0) {
        fprintf(cli->out, ", %u without header", t->headless);
    }
    if (t->skipped > 0) {
        fprintf(cli->out, "; %u more in files that do not count", t->skipped);
    }
    fprintf(cli->out, "\n%s record%s of %s %s whole, %s deletion%s\n", records, quire_s(t->records), bytes, t->records == 1 ? "is" : "are",
            deletions, quire_s(t->deletions));
}

static void totals_text(const struct cli *cli, const struct log_totals *t, const struct log_files *files, bool repair) {
    const uint32_t n_absent = files->n_absent;
    counts_text(cli, t);
    if (n_absent > 0) {
        fprintf(cli->out, "%u of the set's %u files %s not looked at: give the paths of all\n", n_absent, files->n_set,
                n_absent == 1 ? "was" : "were");
    }
    if (t->damages == 0) {
        fprintf(cli->out, n_absent == 0 ? "nothing is damaged\n" : "nothing is damaged in what was looked at\n");
    } else if (repair) {
        fprintf(cli->out, "%" PRIu64 " damaged: %" PRIu64 " repaired, %" PRIu64 " left\n", t->damages, t->repaired, t->left);
    } else if (t->lasting == t->damages) {
        fprintf(cli->out, "%" PRIu64 " damaged; --repair can do nothing about that\n", t->damages);
    } else if (t->lasting > 0) {
        fprintf(cli->out, "%" PRIu64 " damaged; --repair lets readers pass over %" PRIu64 " of them\n", t->damages,
                t->damages - t->lasting);
    } else {
        fprintf(cli->out, "%" PRIu64 " damaged; --repair lets readers pass over them\n", t->damages);
    }
}

static void totals_json(cJSON *root, const struct log_totals *t, const struct log_files *files) {
    cJSON_AddBoolToObject(root, "complete", files->n_absent == 0);
    json_add_u64(root, "absent_files", files->n_absent);
    json_add_u64(root, "segments", t->segments);
    json_add_u64(root, "sealed_segments", t->sealed);
    json_add_u64(root, "open_segments", t->open);
    json_add_u64(root, "headless_segments", t->headless);
    json_add_u64(root, "empty_segments", t->clean + t->emptied);
    json_add_u64(root, "skipped_segments", t->skipped);
    json_add_u64(root, "records", t->records);
    json_add_u64(root, "record_bytes", t->record_bytes);
    json_add_u64(root, "deletions", t->deletions);
    json_add_u64(root, "read_bytes", t->read_bytes);
    json_add_u64(root, "damaged", t->damages);
    json_add_u64(root, "beyond_repair", t->lasting);
    json_add_u64(root, "repaired", t->repaired);
    json_add_u64(root, "left", t->left);
    json_add_u64(root, "lost_records", t->lost_records);
}

static enum cli_exit verify_files(struct cli *cli, const struct args_list *paths, bool repair) {
    struct log_files files;
    struct verify v = {.cli = cli};
    struct log_check check = {.cli = cli, .files = &files, .repair = repair, .found = found, .ctx = &v};
    cJSON *root = NULL;
    enum cli_exit result = log_files_open(cli, paths, repair ? LOG_REPAIR : LOG_VERIFY, &files);
    if (result == CLI_OK) {
        root = cli->json ? cJSON_CreateObject() : NULL;
        v.list = root != NULL ? cJSON_AddArrayToObject(root, "findings") : NULL;
        result = log_check_run(&check);
    }
    if (result == CLI_OK && root != NULL) {
        totals_json(root, &check.totals, &files);
        json_print(root, cli->out);
        root = NULL;
    } else if (result == CLI_OK) {
        totals_text(cli, &check.totals, &files, repair);
    }
    cJSON_Delete(root);
    const bool whole = check.totals.damages == (repair ? check.totals.repaired : 0) && files.n_absent == 0;
    log_files_close(&files);
    if (result != CLI_OK) {
        return result == CLI_USAGE ? CLI_USAGE : CLI_FAILED;
    }
    return whole ? CLI_OK : CLI_FAILED;
}

/* ---- online --------------------------------------------------------------------------------------------------------------- */

static enum cli_exit ask_daemon(struct cli *cli, bool begin, Quire__Wire__AdminReply **reply) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_VERIFY;
    request.number = begin;
    enum cli_exit result = cli_admin(cli, &request, reply);
    if (result == CLI_OK && (*reply)->verify == NULL) {
        cli_free_reply(reply);
        result = cli_fail(cli, QUIRE_CORRUPT, "the daemon does not say how far it is");
    }
    return result;
}

static void tell_segments(const struct cli *cli, const Quire__Wire__VerifyInfo *info) {
    if (info->damaged_segments > 0) {
        fprintf(cli->out, "%u segment%s damaged; of what can be read there now, a start would not find %" PRIu64 " record%s\n",
                info->damaged_segments, info->damaged_segments == 1 ? " is" : "s are", info->unfound, quire_s(info->unfound));
    }
    if (info->unread_segments > 0) {
        fprintf(cli->out, "%u segment%s not verified, or only in part: what could not be read there is not known\n", info->unread_segments,
                info->unread_segments == 1 ? " was" : "s were");
    }
    if (info->out_segments > 0) {
        fprintf(cli->out, "%u segment%s not verified: in files that are out of use\n", info->out_segments,
                info->out_segments == 1 ? " was" : "s were");
    }
    if (info->open_records > 0) {
        fprintf(cli->out,
                "%" PRIu64 " record%s not looked at: in %u segment%s being filled, verified when full; or stop quired and give its files\n",
                info->open_records, info->open_records == 1 ? " was" : "s were", info->open_segments,
                info->open_segments == 1 ? " that is" : "s that are");
    }
}

/* Nothing is said to be whole that was not looked at. */
static enum cli_exit tell_daemon(const struct cli *cli, const Quire__Wire__VerifyInfo *info) {
    char records[QUIRE_UNITS_BYTES], bytes[QUIRE_UNITS_BYTES];
    uint64_t damaged = info->damaged + info->unreadable;
    bool whole = damaged == 0 && info->damaged_segments == 0 && info->unread_segments == 0 && info->out_segments == 0;
    if (cli->json) {
        json_print(json_message(&info->base), cli->out);
        return whole ? CLI_OK : CLI_FAILED;
    }
    quire_human_count(info->records, records, sizeof records);
    quire_human_size(info->bytes, bytes, sizeof bytes);
    fprintf(cli->out, "%s record%s in %u segment%s verified, %s read\n", records, quire_s(info->records), info->pass_segments,
            quire_s(info->pass_segments), bytes);
    if (damaged > 0) {
        fprintf(cli->out,
                "%" PRIu64 " damaged and %" PRIu64
                " unreadable: dropped; what memory has of them is written anew, the rest are misses from now on\n",
                info->damaged, info->unreadable);
    }
    tell_segments(cli, info);
    if (whole) {
        fprintf(cli->out, info->open_records > 0 ? "of what was looked at nothing is damaged\n" : "nothing is damaged\n");
    }
    return whole ? CLI_OK : CLI_FAILED;
}

/* Begins, and asks until it ended; one that somebody else began meanwhile ends this one, too. */
static enum cli_exit verify_daemon(struct cli *cli) {
    const struct timespec pause = {.tv_nsec = ASK_MS * 1000000L};
    struct progress progress;
    Quire__Wire__AdminReply *reply;
    enum cli_exit result = ask_daemon(cli, true, &reply);
    if (result != CLI_OK) {
        return result;
    }
    uint64_t done = reply->verify->done;
    progress_begin(&progress, cli->json ? NULL : cli->err);
    while (result == CLI_OK && reply->verify->running && reply->verify->done == done) {
        cli_free_reply(&reply);
        nanosleep(&pause, NULL);
        result = ask_daemon(cli, false, &reply);
        if (result == CLI_OK && progress_due(&progress)) {
            progress_tell(&progress, "verified %u of %u segments, %" PRIu64 " records", reply->verify->segment, reply->verify->segments,
                          reply->verify->records);
        }
    }
    progress_end(&progress);
    if (result == CLI_OK && reply->verify->done == done) {
        result = cli_fail(cli, QUIRE_CANCELLED, "the daemon ended it before everything was verified");
    } else if (result == CLI_OK) {
        result = tell_daemon(cli, reply->verify);
    }
    cli_free_reply(&reply);
    return result;
}

enum cli_exit cmd_verify(struct cli *cli, int argc, char **argv) {
    struct args_list paths;
    bool repair = false;
    const struct args_option options[] = {{"--repair", ARGS_FLAG, &repair}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "PATH", 0, QUIRE_LOG_MAX_FILES, &paths);
    if (result != CLI_OK) {
        return result;
    }
    if (repair && paths.n == 0) {
        return cli_usage(cli, "--repair is for a set that no daemon uses: stop quired, then give the paths of all its files; "
                              "while it runs, it drops what is damaged by itself");
    }
    return paths.n > 0 ? verify_files(cli, &paths, repair) : verify_daemon(cli);
}
