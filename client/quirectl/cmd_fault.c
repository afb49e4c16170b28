/* fault list, add, clear: rules that make the disk fail, so that an operator can rehearse. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "client/quirectl/table.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

static void show_rules(struct cli *cli, const Quire__Wire__AdminReply *reply) {
    static const char *const titles[] = {"ID", "HITS", "RULE"};
    struct table table;
    if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        json_add_messages(root, "faults", (void *const *)reply->faults, reply->n_faults);
        json_print(root, cli->out);
        return;
    }
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "rrl");
    for (size_t i = 0; i < reply->n_faults; i++) {
        table_cell(&table, "%u", reply->faults[i]->id);
        table_count(&table, reply->faults[i]->hits);
        table_cell(&table, "%s", reply->faults[i]->rule);
    }
    table_end(&table, 0, 0, cli->out);
    if (reply->n_faults == 0) {
        fprintf(cli->out, "no rule makes the disk fail\n");
    }
}

/* Each verb answers with the rules that are there now. */
static enum cli_exit run(struct cli *cli, enum quire_wire_admin verb, const char *rule, uint64_t id) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply;
    request.verb = verb;
    request.text = (char *)(uintptr_t)rule;
    request.number = id;
    enum cli_exit result = cli_admin(cli, &request, &reply);
    if (result == CLI_OK) {
        show_rules(cli, reply);
        cli_free_reply(&reply);
    }
    return result;
}

enum cli_exit cmd_fault_list(struct cli *cli, int argc, char **argv) {
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "word", 0, 0, &words);
    return result == CLI_OK ? run(cli, QUIRE_ADMIN_FAULT_LIST, "", 0) : result;
}

enum cli_exit cmd_fault_add(struct cli *cli, int argc, char **argv) {
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "RULE", 1, 1, &words);
    return result == CLI_OK ? run(cli, QUIRE_ADMIN_FAULT_ADD, words.items[0], 0) : result;
}

enum cli_exit cmd_fault_clear(struct cli *cli, int argc, char **argv) {
    struct args_list words;
    uint64_t id = 0;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "ID", 0, 1, &words);
    if (result == CLI_OK && words.n > 0 && (quire_parse_count(words.items[0], false, &id) != QUIRE_OK || id == 0 || id > UINT32_MAX)) {
        result = cli_usage(cli, "'%.60s' is not a rule's ID; `quirectl fault list` shows them", words.items[0]);
    }
    return result == CLI_OK ? run(cli, QUIRE_ADMIN_FAULT_CLEAR, "", id) : result;
}
