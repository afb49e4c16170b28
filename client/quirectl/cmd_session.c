/* session list, session kick. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "client/quirectl/views.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

enum cli_exit cmd_session_list(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "word", 0, 0, &words);
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_SESSION_LIST, &reply);
    }
    if (result != CLI_OK) {
        return result;
    }
    if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        json_add_messages(root, "sessions", (void *const *)reply->sessions, reply->n_sessions);
        json_print(root, cli->out);
    } else {
        view_sessions(reply, cli->out);
    }
    cli_free_reply(&reply);
    return CLI_OK;
}

enum cli_exit cmd_session_kick(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "the session's ID", 1, 1, &words);
    if (result != CLI_OK) {
        return result;
    }
    request.verb = QUIRE_ADMIN_SESSION_KICK;
    if (quire_parse_count(words.items[0], false, &request.number) != QUIRE_OK) {
        return cli_usage(cli, "'%.60s' is no session's number; `quirectl session list` shows them", words.items[0]);
    }
    if ((result = cli_admin(cli, &request, &reply)) != CLI_OK) {
        return result;
    }
    if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        json_add_u64(root, "kicked", request.number);
        cJSON_AddStringToObject(root, "text", reply->text);
        json_print(root, cli->out);
    } else {
        fprintf(cli->out, "session %llu ended: %s\n", (unsigned long long)request.number, reply->text);
    }
    cli_free_reply(&reply);
    return CLI_OK;
}
