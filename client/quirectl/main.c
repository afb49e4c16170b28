/* quirectl: what an operator asks quired, and tells it. Reads the words that are for all commands, then runs the command. */
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"
#include "proto/base/output.h"
#include "proto/base/units.h"

#include <locale.h>
#include <signal.h>

struct globals {
    bool help, version;
};

/* "--socket PATH", "--socket=PATH", "-s PATH", "-sPATH": its value, *used words of argv. NULL: argv[0] is something else. */
static const char *valued(int argc, char **argv, const char *name, char letter, int *used) {
    size_t n = strlen(name);
    *used = 1;
    if (strncmp(argv[0], name, n) == 0 && argv[0][n] == '=') {
        return argv[0] + n + 1;
    }
    if (argv[0][0] == '-' && argv[0][1] == letter && argv[0][2] != '\0') {
        return argv[0] + 2;
    }
    bool bare = strcmp(argv[0], name) == 0 || (argv[0][0] == '-' && argv[0][1] == letter && argv[0][2] == '\0');
    *used = 2;
    return bare ? (argc > 1 ? argv[1] : "") : NULL;
}

static bool is(const char *word, const char *name, const char *letter) { return strcmp(word, name) == 0 || strcmp(word, letter) == 0; }

/* Takes the words that are for all commands out of argv, wherever they stand before "--"; the new argc, or -1. */
static int take_globals(struct cli *cli, struct globals *globals, int argc, char **argv) {
    int kept = 0, used;
    uint64_t timeout_ms;
    for (int i = 0; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "--") == 0) {
            while (i < argc) {
                argv[kept++] = argv[i++];
            }
        } else if (is(argv[i], "--json", "-j")) {
            cli->json = true;
        } else if (is(argv[i], "--help", "-h")) {
            globals->help = true;
        } else if (is(argv[i], "--version", "-V")) {
            globals->version = true;
        } else if ((value = valued(argc - i, argv + i, "--socket", 's', &used)) != NULL) {
            if (value[0] == '\0') {
                cli_usage(cli, "--socket needs a value");
                return -1;
            }
            cli->socket = value;
            i += used - 1;
        } else if ((value = valued(argc - i, argv + i, "--timeout", 't', &used)) != NULL) {
            if (quire_parse_duration(value, &timeout_ms) != QUIRE_OK || timeout_ms == 0 || timeout_ms > 3600000) {
                cli_usage(cli, "--timeout: '%.60s' is not a time such as 500ms or 2s, at most an hour", value);
                return -1;
            }
            cli->deadline_ms = (uint32_t)timeout_ms;
            i += used - 1;
        } else {
            argv[kept++] = argv[i];
        }
    }
    return kept;
}

static void print_version(const struct cli *cli) {
    if (!cli->json) {
        fprintf(cli->out, "quirectl %s\n", quire_version());
        return;
    }
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "version", quire_version());
    json_print(root, cli->out);
}

static enum cli_exit run(struct cli *cli, int argc, char **argv) {
    struct globals globals = {0};
    int words;
    argc = take_globals(cli, &globals, argc, argv);
    if (argc < 0) {
        return CLI_USAGE;
    }
    if (globals.version) {
        print_version(cli);
        return CLI_OK;
    }
    if (argc == 0 && globals.help) {
        command_print_help(cli, NULL);
        return CLI_OK;
    }
    if (argc == 0 && cli->json) {
        return cli_usage(cli, "no command; `quirectl help` shows all");
    }
    if (argc == 0) {
        command_help_all(cli->err);
        return CLI_USAGE;
    }
    const struct command *command = command_find(cli, argc, argv, &words);
    if (command == NULL) {
        return CLI_USAGE;
    }
    if (globals.help) {
        command_print_help(cli, command);
        return CLI_OK;
    }
    return command->run(cli, argc - words, argv + words);
}

int main(int argc, char **argv) {
    struct cli cli = {.deadline_ms = 5000, .out = stdout, .err = stderr};
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN); /* `quirectl counters | head` ends in an error below */
    enum cli_exit result = run(&cli, argc - 1, argv + 1);
    quire_close(&cli.client);
    if (!quire_output_written("quirectl") && result == CLI_OK) {
        result = CLI_FAILED;
    }
    return (int)result;
}
