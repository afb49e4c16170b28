/* doctor: runs all checks, with or without a daemon. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/doctor.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const level_names[] = {"ok", "warn", "fail"};

struct replies {
    Quire__Wire__AdminReply *status, *counters, *config;
};

/* What connecting has to say is a finding here, not an error. */
static enum cli_exit ask_quietly(struct cli *cli, struct doctor_view *view, struct replies *replies, char **told) {
    size_t bytes = 0;
    FILE *real = cli->err, *memory = open_memstream(told, &bytes);
    bool json = cli->json;
    if (memory == NULL) {
        return cli_fail(cli, QUIRE_NO_MEMORY, "out of memory");
    }
    cli->err = memory;
    cli->json = false; /* the sentence, not an object */
    if (cli_ask(cli, QUIRE_ADMIN_STATUS, &replies->status) != CLI_OK || replies->status->daemon == NULL ||
        cli_ask(cli, QUIRE_ADMIN_COUNTERS, &replies->counters) != CLI_OK) {
        cli_free_reply(&replies->status);
    } else {
        cli_ask(cli, QUIRE_ADMIN_CONFIG, &replies->config);
    }
    cli->err = real;
    cli->json = json;
    fclose(memory);
    (*told)[strcspn(*told, "\n")] = '\0';
    static const char prefix[] = "quirectl: ";
    view->connect_error = strncmp(*told, prefix, sizeof prefix - 1) == 0 ? *told + sizeof prefix - 1 : *told;
    view->status = replies->status;
    view->counters = replies->counters;
    view->config = replies->config != NULL ? replies->config->config : NULL;
    return CLI_OK;
}

static void print(const struct doctor_finding *finding, bool colour, FILE *to) {
    static const char *const colours[] = {"\x1b[32m", "\x1b[33m", "\x1b[31m"};
    fprintf(to, "%s%-4s%s  %-14s %s\n", colour ? colours[finding->level] : "", level_names[finding->level], colour ? "\x1b[0m" : "",
            finding->name, finding->text);
    if (finding->advice[0] != '\0') {
        fprintf(to, "      %-14s → %s\n", "", finding->advice);
    }
}

static void add(const struct doctor_finding *finding, cJSON *array) {
    cJSON *entry = cJSON_CreateObject();
    cJSON_AddStringToObject(entry, "check", finding->name);
    cJSON_AddStringToObject(entry, "level", level_names[finding->level]);
    cJSON_AddStringToObject(entry, "text", finding->text);
    cJSON_AddStringToObject(entry, "advice", finding->advice);
    cJSON_AddItemToArray(array, entry);
}

static enum cli_exit run_checks(struct cli *cli, const struct doctor_view *view) {
    unsigned count[3] = {0};
    cJSON *root = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(root, "checks");
    for (unsigned i = 0; i < doctor_n_entries; i++) {
        struct doctor_finding finding = {.name = doctor_entries[i].name};
        doctor_entries[i].check(view, &finding);
        count[finding.level]++;
        if (cli->json) {
            add(&finding, array);
        } else {
            print(&finding, isatty(fileno(cli->out)) && getenv("NO_COLOR") == NULL, cli->out);
        }
    }
    if (cli->json) {
        json_print(root, cli->out);
    } else {
        fprintf(cli->out, "%u ok, %u to look at, %u failed\n", count[DOCTOR_OK], count[DOCTOR_WARN], count[DOCTOR_FAIL]);
        cJSON_Delete(root);
    }
    return count[DOCTOR_FAIL] > 0 ? CLI_FAILED : CLI_OK;
}

enum cli_exit cmd_doctor(struct cli *cli, int argc, char **argv) {
    struct doctor_view view = {.root = "/"};
    struct replies replies = {NULL, NULL, NULL};
    struct args_list words;
    char *told = NULL;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "word", 0, 0, &words);
    if (result == CLI_OK) {
        result = ask_quietly(cli, &view, &replies, &told);
    }
    if (result == CLI_OK) {
        result = run_checks(cli, &view);
    }
    cli_free_reply(&replies.status);
    cli_free_reply(&replies.counters);
    cli_free_reply(&replies.config);
    free(told);
    return result;
}
