/* config, config reload. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"

static void print_text(struct cli *cli, const char *text) {
    size_t n = strlen(text);
    fprintf(cli->out, "%s%s", text, n > 0 && text[n - 1] == '\n' ? "" : "\n");
}

static void add_names(cJSON *root, const char *name, char **names, size_t n) {
    cJSON *array = cJSON_AddArrayToObject(root, name);
    for (size_t i = 0; i < n; i++) {
        cJSON_AddItemToArray(array, cJSON_CreateString(names[i]));
    }
}

static void print_config(struct cli *cli, const Quire__Wire__AdminReply *reply) {
    if (!cli->json) {
        print_text(cli, reply->config);
        return;
    }
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "yaml", reply->config);
    json_print(root, cli->out);
}

static void print_reloaded(struct cli *cli, const Quire__Wire__AdminReply *reply) {
    if (!cli->json) {
        print_text(cli, reply->text);
        return;
    }
    cJSON *root = cJSON_CreateObject();
    add_names(root, "changed", reply->changed, reply->n_changed);
    add_names(root, "needs_restart", reply->needs_restart, reply->n_needs_restart);
    json_print(root, cli->out);
}

static enum cli_exit ask_and_print(struct cli *cli, int argc, char **argv, enum quire_wire_admin verb,
                                   void (*print)(struct cli *cli, const Quire__Wire__AdminReply *reply)) {
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "word", 0, 0, &words);
    if (result == CLI_OK) {
        result = cli_ask(cli, verb, &reply);
    }
    if (result == CLI_OK) {
        print(cli, reply);
        cli_free_reply(&reply);
    }
    return result;
}

enum cli_exit cmd_config(struct cli *cli, int argc, char **argv) {
    return ask_and_print(cli, argc, argv, QUIRE_ADMIN_CONFIG, print_config);
}
enum cli_exit cmd_config_reload(struct cli *cli, int argc, char **argv) {
    return ask_and_print(cli, argc, argv, QUIRE_ADMIN_RELOAD, print_reloaded);
}
