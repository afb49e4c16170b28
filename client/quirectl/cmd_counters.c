/* counters, and metrics as its other name. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "client/quirectl/table.h"
#include "proto/base/base.h"

static bool wanted(const Quire__Wire__Counter *counter, const struct args_list *parts, bool nonzero) {
    bool named = parts->n == 0;
    for (unsigned i = 0; i < parts->n; i++) {
        named = named || strstr(counter->name, parts->items[i]) != NULL;
    }
    return named && (!nonzero || counter->value != 0);
}

/* Of seconds parts count, too. */
static bool is_whole(double value) { return value >= 0 && value < 9e15 && value == (double)(uint64_t)value; }

static void print(const Quire__Wire__AdminReply *reply, const struct args_list *parts, bool nonzero, FILE *to) {
    static const char *const titles[] = {"COUNTER", "VALUE", "COUNTS"};
    struct table table;
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "lrl");
    for (size_t i = 0; i < reply->n_counters; i++) {
        const Quire__Wire__Counter *counter = reply->counters[i];
        if (wanted(counter, parts, nonzero)) {
            table_cell(&table, "%s", counter->name);
            if (is_whole(counter->value)) {
                table_count(&table, (unsigned long long)counter->value);
            } else {
                table_cell(&table, "%.3f", counter->value);
            }
            table_cell(&table, "%s", counter->help);
        }
    }
    table_end(&table, 0, 0, to);
}

enum cli_exit cmd_counters(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list parts;
    bool nonzero = false;
    const struct args_option options[] = {{"--nonzero", ARGS_FLAG, &nonzero}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "word", 0, ARGS_LIST_MAX, &parts);
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_COUNTERS, &reply);
    }
    if (result != CLI_OK) {
        return result;
    }
    if (cli->json) {
        cJSON *root = cJSON_CreateObject(), *counters = cJSON_AddObjectToObject(root, "counters");
        for (size_t i = 0; i < reply->n_counters; i++) {
            const Quire__Wire__Counter *counter = reply->counters[i];
            if (wanted(counter, &parts, nonzero) && is_whole(counter->value)) {
                json_add_u64(counters, counter->name, (uint64_t)counter->value);
            } else if (wanted(counter, &parts, nonzero)) {
                cJSON_AddNumberToObject(counters, counter->name, counter->value);
            }
        }
        json_print(root, cli->out);
    } else {
        print(reply, &parts, nonzero, cli->out);
    }
    cli_free_reply(&reply);
    return CLI_OK;
}
