/* config, config reload. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"

static enum cli_exit ask_and_print(struct cli *cli, int argc, char **argv, enum quire_wire_admin verb, const char *name) {
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "word", 0, 0, &words);
    if (result == CLI_OK) {
        result = cli_ask(cli, verb, &reply);
    }
    if (result != CLI_OK) {
        return result;
    }
    const char *text = verb == QUIRE_ADMIN_CONFIG ? reply->config : reply->text;
    if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        cJSON_AddStringToObject(root, name, text);
        json_print(root, cli->out);
    } else {
        size_t n = strlen(text);
        fprintf(cli->out, "%s%s", text, n > 0 && text[n - 1] == '\n' ? "" : "\n");
    }
    cli_free_reply(&reply);
    return CLI_OK;
}

enum cli_exit cmd_config(struct cli *cli, int argc, char **argv) { return ask_and_print(cli, argc, argv, QUIRE_ADMIN_CONFIG, "yaml"); }
enum cli_exit cmd_config_reload(struct cli *cli, int argc, char **argv) {
    return ask_and_print(cli, argc, argv, QUIRE_ADMIN_RELOAD, "reloaded");
}
