#include "client/quirectl/cli.h"

#include "client/quirectl/json.h"
#include "proto/base/base.h"

#include <stdarg.h>
#include <unistd.h>

static enum cli_exit exit_of(enum quire_status status) {
    switch (status) {
    case QUIRE_OK:
        return CLI_OK;
    case QUIRE_INVALID:
        return CLI_USAGE;
    case QUIRE_DISCONNECTED:
        return CLI_NO_DAEMON;
    case QUIRE_NOT_FOUND:
    case QUIRE_MISS:
        return CLI_NOT_FOUND;
    case QUIRE_DENIED:
        return CLI_DENIED;
    default:
        return CLI_FAILED;
    }
}

static void tell(struct cli *cli, enum quire_status status, const char *text) {
    if (cli->json) {
        cJSON *root = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(root, "error");
        cJSON_AddStringToObject(error, "status", quire_status_name(status));
        cJSON_AddStringToObject(error, "text", text);
        json_print(root, cli->err);
    } else {
        fprintf(cli->err, "quirectl: %s\n", text);
    }
}

enum cli_exit cli_fail(struct cli *cli, enum quire_status status, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tell(cli, status, text);
    return exit_of(status);
}

enum cli_exit cli_usage(struct cli *cli, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tell(cli, QUIRE_INVALID, text);
    return CLI_USAGE;
}

enum cli_exit cli_connect(struct cli *cli) {
    if (cli->client != NULL) {
        return CLI_OK;
    }
    const quire_options options = {
        .address = cli->socket,
        .client_name = "quirectl",
        .connect_timeout_ms = cli->deadline_ms,
        .default_deadline_ms = cli->deadline_ms,
    };
    enum quire_status status = quire_open(&options, &cli->client);
    if (status != QUIRE_OK) {
        const char *why = quire_last_error();
        cli_fail(cli, status, "%s", why[0] != '\0' ? why : quire_status_text(status));
        return status == QUIRE_TIMEOUT ? CLI_NO_DAEMON : exit_of(status);
    }
    return CLI_OK;
}

/* The daemon's words, or what a status without words means for this request. */
static enum cli_exit tell_refusal(struct cli *cli, const Quire__Wire__AdminRequest *request, enum quire_status status, const char *text) {
    if (text[0] != '\0' && strcmp(text, quire_status_text(status)) != 0) {
        return cli_fail(cli, status, "%s", text);
    }
    if (status == QUIRE_NOT_FOUND && request->verb == QUIRE_ADMIN_SESSION_KICK) {
        return cli_fail(cli, status, "no session %llu; `quirectl session list` shows all", (unsigned long long)request->number);
    }
    if (status == QUIRE_NOT_FOUND && request->ns[0] != '\0') {
        return cli_fail(cli, status, "no namespace '%.63s'; `quirectl ns list` shows all", request->ns);
    }
    return cli_fail(cli, status, "%s", quire_status_text(status));
}

enum cli_exit cli_admin(struct cli *cli, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply **reply) {
    *reply = NULL;
    enum cli_exit result = cli_connect(cli);
    if (result != CLI_OK) {
        return result;
    }
    enum quire_status status = quire_admin_call(cli->client, request, reply, cli->deadline_ms);
    if (status != QUIRE_OK) {
        const char *why = quire_last_error();
        return cli_fail(cli, status, "%s", why[0] != '\0' ? why : quire_status_text(status));
    }
    if ((*reply)->status != QUIRE_OK) {
        status = (enum quire_status)(*reply)->status;
        result = tell_refusal(cli, request, status, (*reply)->text);
        cli_free_reply(reply);
        return result == CLI_OK ? CLI_FAILED : result;
    }
    return CLI_OK;
}

enum cli_exit cli_ask(struct cli *cli, enum quire_wire_admin verb, Quire__Wire__AdminReply **reply) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = verb;
    return cli_admin(cli, &request, reply);
}

void cli_free_reply(Quire__Wire__AdminReply **reply) {
    if (*reply != NULL) {
        quire__wire__admin_reply__free_unpacked(*reply, NULL);
        *reply = NULL;
    }
}

enum cli_exit cli_open_ns(struct cli *cli, const char *name, quire_ns **ns) {
    enum cli_exit result = cli_connect(cli);
    if (result != CLI_OK) {
        return result;
    }
    enum quire_status status = quire_ns_open(cli->client, name, NULL, ns);
    if (status == QUIRE_NOT_FOUND) {
        return cli_fail(cli, status, "no namespace '%.63s'; `quirectl ns list` shows all", name);
    }
    return status == QUIRE_OK ? CLI_OK : cli_fail(cli, status, "namespace '%.63s': %s", name, quire_last_error());
}

enum cli_exit cli_confirm(struct cli *cli, bool yes, const char *question) {
    char line[16];
    if (yes) {
        return CLI_OK;
    }
    if (!isatty(STDIN_FILENO) || cli->json) {
        return cli_usage(cli, "%s Say so with --yes", question);
    }
    fprintf(cli->err, "%s [y/N] ", question);
    fflush(cli->err);
    if (fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y')) {
        return CLI_OK;
    }
    fprintf(cli->err, "nothing was done\n");
    return CLI_FAILED;
}
