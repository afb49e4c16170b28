/* status: one page about the daemon. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/format.h"
#include "client/quirectl/json.h"
#include "client/quirectl/table.h"
#include "client/quirectl/views.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

struct answers {
    Quire__Wire__AdminReply *status, *counters, *sessions, *namespaces;
};

/* What a token is told that may not operate all of the daemon: there is no more to ask for. */
static bool is_brief(const Quire__Wire__AdminReply *status) { return status->daemon->pid == 0; }

static void print_brief(const Quire__Wire__DaemonInfo *daemon, bool json, FILE *to) {
    if (!json) {
        fprintf(to, "quired      %s, %s, epoch %016llx\n", daemon->version, daemon->state, (unsigned long long)daemon->epoch);
        fprintf(to, "            more is told to tokens with the right `admin` for all namespaces\n");
        return;
    }
    cJSON *root = cJSON_CreateObject(), *brief = cJSON_AddObjectToObject(root, "daemon");
    cJSON_AddStringToObject(brief, "version", daemon->version);
    cJSON_AddStringToObject(brief, "state", daemon->state);
    json_add_u64(brief, "epoch", daemon->epoch);
    json_print(root, to);
}

static void print_json(const struct answers *answers, FILE *to) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddItemToObject(root, "daemon", json_message(&answers->status->daemon->base));
    json_add_messages(root, "tiers", (void *const *)answers->status->tiers, answers->status->n_tiers);
    if (answers->status->disk != NULL) {
        cJSON_AddItemToObject(root, "disk", json_message(&answers->status->disk->base));
    }
    json_add_u64(root, "sessions", answers->sessions->n_sessions);
    json_add_u64(root, "namespaces", answers->namespaces->n_namespaces);
    cJSON *counters = cJSON_AddObjectToObject(root, "counters");
    for (size_t i = 0; i < answers->counters->n_counters; i++) {
        json_add_u64(counters, answers->counters->counters[i]->name, (uint64_t)answers->counters->counters[i]->value);
    }
    json_print(root, to);
}

static void print_memory(const Quire__Wire__DaemonInfo *daemon, FILE *to) {
    char resident[QUIRE_UNITS_BYTES], heap[QUIRE_UNITS_BYTES], index[QUIRE_UNITS_BYTES], blocks[QUIRE_UNITS_BYTES], most[QUIRE_UNITS_BYTES];
    char lent[QUIRE_UNITS_BYTES], lendable[QUIRE_UNITS_BYTES];
    quire_human_size(daemon->rss_bytes, resident, sizeof resident);
    quire_human_size(daemon->heap_bytes, heap, sizeof heap);
    quire_human_size(daemon->index_bytes, index, sizeof index);
    quire_human_count(daemon->blocks, blocks, sizeof blocks);
    quire_human_count(daemon->max_blocks, most, sizeof most);
    quire_human_size(daemon->ingest_lent_bytes, lent, sizeof lent);
    quire_human_size(daemon->ingest_max_bytes, lendable, sizeof lendable);
    fprintf(to, "blocks      %s of at most %s; index %s\n", blocks, most, index);
    fprintf(to, "memory      %s resident with pools, heap %s, ingest %s of %s lent\n", resident, heap, lent, lendable);
}

static void print_use(const struct answers *answers, FILE *to) {
    char percent[FORMAT_BYTES], keys[QUIRE_UNITS_BYTES], tokens[QUIRE_UNITS_BYTES], records[QUIRE_UNITS_BYTES], stored[QUIRE_UNITS_BYTES],
        evicted[QUIRE_UNITS_BYTES];
    const Quire__Wire__AdminReply *counters = answers->counters;
    const uint64_t lookups = (uint64_t)format_counter(counters, "lookup_keys"), n_tokens = (uint64_t)format_counter(counters, "hit_tokens"),
                   n_records = (uint64_t)format_counter(counters, "puts_stored"),
                   n_evicted = (uint64_t)format_counter(counters, "evicted_blocks");
    format_percent((uint64_t)format_counter(counters, "hit_keys"), lookups, percent);
    quire_human_count(lookups, keys, sizeof keys);
    quire_human_count(n_tokens, tokens, sizeof tokens);
    quire_human_count(n_records, records, sizeof records);
    quire_human_size((uint64_t)format_counter(counters, "put_bytes"), stored, sizeof stored);
    quire_human_count(n_evicted, evicted, sizeof evicted);
    fprintf(to, "lookups     %s of %s key%s hit, %s token%s\n", percent, keys, quire_s(lookups), tokens, quire_s(n_tokens));
    fprintf(to, "stored      %s record%s, %s; %s block%s evicted\n", records, quire_s(n_records), stored, evicted, quire_s(n_evicted));
    fprintf(to, "serving     %zu session%s, %zu namespace%s\n\n", answers->sessions->n_sessions,
            answers->sessions->n_sessions == 1 ? "" : "s", answers->namespaces->n_namespaces,
            answers->namespaces->n_namespaces == 1 ? "" : "s");
}

static void print_people(const struct answers *answers, FILE *to) {
    const Quire__Wire__DaemonInfo *daemon = answers->status->daemon;
    char uptime[QUIRE_UNITS_BYTES];
    quire_human_duration(daemon->uptime_ms, uptime, sizeof uptime);
    fprintf(to, "quired      %s, %s, process %u, up %s, epoch %016llx\n", daemon->version, daemon->state, daemon->pid, uptime,
            (unsigned long long)daemon->epoch);
    fprintf(to, "build       %s\n", daemon->build);
    fprintf(to, "socket      %s\n", daemon->socket);
    if (daemon->metrics_address[0] != '\0') {
        fprintf(to, "metrics     http://%s/metrics\n", daemon->metrics_address);
    } else {
        fprintf(to, "metrics     off\n");
    }
    print_memory(daemon, to);
    print_use(answers, to);
    view_tiers(answers->status, to);
    view_disk(answers->status, to);
}

enum cli_exit cmd_status(struct cli *cli, int argc, char **argv) {
    struct answers answers = {0};
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "word", 0, 0, &words);
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_STATUS, &answers.status);
    }
    if (result == CLI_OK && answers.status->daemon == NULL) {
        result = cli_fail(cli, QUIRE_CORRUPT, "the daemon's answer tells nothing about it: its version differs?");
    }
    if (result == CLI_OK && is_brief(answers.status)) {
        print_brief(answers.status->daemon, cli->json, cli->out);
        cli_free_reply(&answers.status);
        return CLI_OK;
    }
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_COUNTERS, &answers.counters);
    }
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_SESSION_LIST, &answers.sessions);
    }
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_NS_LIST, &answers.namespaces);
    }
    if (result == CLI_OK) {
        (cli->json ? print_json : print_people)(&answers, cli->out);
    }
    cli_free_reply(&answers.status);
    cli_free_reply(&answers.counters);
    cli_free_reply(&answers.sessions);
    cli_free_reply(&answers.namespaces);
    return result;
}
