#include "client/quirectl/commands.h"

#include "client/quirectl/args.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"
#include "proto/base/nearest.h"

const struct command commands[] = {
    {"status", "", "", "what the daemon holds, and how it does",
     "Of the disk tier also where its index came from at the last start, how long that took and what was left out; while it is\n"
     "still being found, how far that is.\n\n"
     "Examples:\n  quirectl status\n  quirectl --json status | jq .daemon.uptime_ms\n"
     "  quirectl --json status | jq '.disk | {state, restored_from, restored_us, doubtful_records}'\n",
     cmd_status},
    {"top", "[--interval TIME] [--once]", "--interval --once", "the same, live: tiers, throughput, hit rate, sessions",
     "q quits, space pauses. Without a terminal, and with --once, one picture over one interval is printed.\n\n"
     "Examples:\n  quirectl top\n  quirectl top --interval 500ms\n  quirectl top --once --json\n",
     cmd_top},
    {"ns list", "[--names]", "--names", "namespaces: size, hit rate, tokens leased", "Examples:\n  quirectl ns list\n", cmd_ns_list},
    {"ns show", "NAME", "", "one namespace with its layout and what a lease of it saves", "Examples:\n  quirectl ns show smollm2\n",
     cmd_ns_show},
    {"ns delete", "NAME [--yes]", "--yes", "delete a namespace and all its blocks",
     "Readers that hold a lease keep their bytes until they release them. Asks first; --yes does not ask.\n\n"
     "Examples:\n  quirectl ns delete smollm2\n",
     cmd_ns_delete},
    {"block show", "KEY... --ns NAME", "--ns", "where a block is: records in memory and on disk, pins, who refers to it",
     "A key is 64 hexadecimal digits. A block that is not there is shown with the reason.\n\n"
     "Examples:\n  quirectl block show 3f2a…(64 digits) --ns smollm2\n",
     cmd_block_show},
    {"lookup", "--ns NAME (--key KEY [--key KEY]... | --tokens FILE)", "--ns --key --tokens", "which keys hit, and why the others miss",
     "With --tokens (numbers in a file, - for standard input) the keys are those of the full blocks of the tokens, and the\n"
     "longest stored prefix is told. For what is only on disk, when it will have been read with all before it, if it is asked\n"
     "for now. Takes no lease and does not count as use. Exit status 4 when a key missed.\n\n"
     "Examples:\n  quirectl lookup --ns smollm2 --tokens prompt.txt\n  quirectl lookup --ns smollm2 --key KEY --key KEY\n",
     cmd_lookup},
    {"why-miss", "--ns NAME (KEY | --tokens FILE)", "--ns --tokens", "the first block of a chain that misses, why, and what to do",
     "Walks the chain of the tokens from its start, or from the block KEY back to its root.\n\n"
     "Examples:\n  quirectl why-miss --ns smollm2 --tokens prompt.txt\n  quirectl why-miss --ns smollm2 KEY\n",
     cmd_why_miss},
    {"session list", "", "", "who is connected, and what each holds", "Examples:\n  quirectl session list\n", cmd_session_list},
    {"session kick", "ID", "", "end a session",
     "What it held under leases is not reused before its process is gone. libquire reconnects by itself: stop the worker too.\n\n"
     "Examples:\n  quirectl session kick 7\n",
     cmd_session_kick},
    {"evict", "--bytes SIZE [--ns NAME] [--domain NAME]", "--bytes --ns --domain",
     "evict the least valuable blocks until so much is free'd",
     "Leased and pinned blocks stay, so less may be free'd than asked for.\n\n"
     "Examples:\n  quirectl evict --bytes 512MiB\n  quirectl evict --bytes 1GiB --ns smollm2\n",
     cmd_evict},
    {"pin", "KEY... --ns NAME", "--ns", "keep blocks from being evicted",
     "Pins are counted: unpin as often.\n\nExamples:\n  quirectl pin --ns smollm2 KEY KEY\n", cmd_pin},
    {"unpin", "KEY... --ns NAME", "--ns", "allow it again", "Examples:\n  quirectl unpin --ns smollm2 KEY KEY\n", cmd_unpin},
    {"config", "", "", "the configuration that the daemon runs with, as YAML", "Examples:\n  quirectl config > quired.yaml\n", cmd_config},
    {"config reload", "", "", "let the daemon read its configuration again",
     "As SIGHUP does. Tells what changed, and what needs a restart.\n\nExamples:\n  quirectl config reload\n", cmd_config_reload},
    {"counters", "[PART]... [--nonzero]", "--nonzero", "everything that is counted; with words, the counters whose name holds one",
     "Examples:\n  quirectl counters miss\n  quirectl counters --nonzero\n", cmd_counters},
    {"metrics", "[PART]... [--nonzero]", "--nonzero", "the same",
     "For Prometheus use the address that `quirectl status` shows.\n\nExamples:\n  quirectl metrics evict\n", cmd_counters},
    {"verify", "[PATH... [--repair]]", "--repair", "is everything on disk whole? with paths without a daemon",
     "Without paths the daemon reads everything on disk now, but the segments that it is filling, and drops what is damaged.\n"
     "With the paths of the set's files (all of them, as `tiers: file:` names them) the files are read as a restart would read\n"
     "them; no daemon may use them meanwhile.\n"
     "Each damage is one line. --repair writes what lets readers pass over it: what is damaged stays lost, nothing else changes.\n"
     "Exit status 1 when something is damaged (with --repair: still), or could not be looked at.\n\n"
     "Examples:\n  quirectl verify\n  quirectl verify /nvme0/log0 /nvme1/log1\n  quirectl verify --repair /nvme0/log0 /nvme1/log1\n",
     cmd_verify},
    {"log dump", "PATH... [--segment N] [--records] [--from N] [--limit N]", "--segment --records --from --limit",
     "what the disk tier's files hold, read without a daemon",
     "Shows files and segments, with --records the records and deletions in them. At most --limit rows (default 200) at once;\n"
     "--from goes on where the last call stopped. Reads only; a daemon may run meanwhile, what it writes shows or not.\n\n"
     "Examples:\n  quirectl log dump /nvme0/log0\n  quirectl log dump /nvme0/log0 --segment 7 --records\n"
     "  quirectl log dump /nvme0/log0 --records --from 200 | less -S\n",
     cmd_log_dump},
    {"fault list", "", "", "the rules that make the disk fail, and how often each did", "Examples:\n  quirectl fault list\n",
     cmd_fault_list},
    {"fault add", "RULE", "", "let the disk fail by a rule, to rehearse",
     "Only when quired was started with --allow-faults. `fault list` always shows what is at work. A rule is "
     "OPERATION:ACTION[,WHERE|WHEN]...\n"
     "  OPERATION  read, write, sync\n"
     "  ACTION     delay=TIME, error=EIO (ENOSPC, EROFS, EDQUOT, ENODEV, ETIMEDOUT, ENOMEM, …), tear=failure, tear=success,\n"
     "             corrupt=BITS, fill=SIZE\n"
     "  WHERE      file=N (of the set, from 0, as status lists them), offset=FROM-TO (bytes of the file; not for sync)\n"
     "  WHEN       probability=P, seed=N, count=N\n\n"
     "Examples:\n  quirectl fault add read:delay=20ms\n  quirectl fault add read:error=EIO,probability=0.01,file=0\n"
     "  quirectl fault add write:tear=success,count=1\n",
     cmd_fault_add},
    {"fault clear", "[ID]", "", "end a rule, or all", "Examples:\n  quirectl fault clear\n  quirectl fault clear 3\n", cmd_fault_clear},
    {"doctor", "", "", "check this machine and the daemon, and say what to do",
     "The daemon (socket, state, versions, room), the disk tier (disk: its files and metadata; disk room: whether they have all of\n"
     "their space; disk scrub: what verifying found), and what the machine gives (memory, limits, kernel, processor).\n"
     "Each check is ok, warn or fail; exit status 1 when one fails. Works without a daemon.\n\nExamples:\n  quirectl doctor\n",
     cmd_doctor},
    {"help", "[COMMAND]", "--names", "about a command", "Examples:\n  quirectl help why-miss\n", cmd_help},
};
const unsigned n_commands = QUIRE_ARRAY_LEN(commands);

/* How many words of a name argv starts with; 0 when it does not. */
static int matches(const char *name, int argc, char **argv) {
    const char *blank = strchr(name, ' ');
    size_t first = blank != NULL ? (size_t)(blank - name) : strlen(name);
    if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], name, first) != 0) {
        return 0;
    }
    if (blank == NULL) {
        return 1;
    }
    return argc > 1 && strcmp(argv[1], blank + 1) == 0 ? 2 : 0;
}

static const struct command *refuse(struct cli *cli, int argc, char **argv) {
    const char *names[QUIRE_ARRAY_LEN(commands)], *near;
    char word[64], group[256] = "";
    size_t first = strlen(argv[0]);
    for (unsigned i = 0; i < n_commands; i++) {
        names[i] = commands[i].name;
        if (strncmp(commands[i].name, argv[0], first) == 0 && commands[i].name[first] == ' ') {
            size_t used = strlen(group);
            snprintf(group + used, sizeof group - used, "%s%s", used > 0 ? ", " : "", commands[i].name + first + 1);
        }
    }
    if (group[0] != '\0') {
        cli_usage(cli, "after '%s' comes one of: %s", argv[0], group);
        return NULL;
    }
    snprintf(word, sizeof word, argc > 1 ? "%.30s %.30s" : "%.30s", argv[0], argc > 1 ? argv[1] : "");
    near = quire_nearest(word, names, n_commands);
    near = near != NULL ? near : quire_nearest(argv[0], names, n_commands);
    if (near != NULL) {
        cli_usage(cli, "no command '%.60s', did you mean '%s'?", argv[0], near);
    } else {
        cli_usage(cli, "no command '%.60s'; `quirectl help` shows all", argv[0]);
    }
    return NULL;
}

const struct command *command_find(struct cli *cli, int argc, char **argv, int *words) {
    const struct command *found = NULL;
    *words = 0;
    for (unsigned i = 0; i < n_commands; i++) {
        int n = matches(commands[i].name, argc, argv);
        if (n > *words) {
            *words = n;
            found = &commands[i];
        }
    }
    return found != NULL ? found : refuse(cli, argc, argv);
}

void command_help(const struct command *command, FILE *to) {
    fprintf(to, "quirectl %s %s\n\n%c%s.\n%s", command->name, command->arguments, command->summary[0] - 'a' + 'A', command->summary + 1,
            command->help);
}

void command_help_all(FILE *to) {
    fprintf(to, "quirectl [--socket PATH] [--json] [--timeout TIME] COMMAND\n\nLooks into quired and tells it what to do.\n\nCommands:\n");
    for (unsigned i = 0; i < n_commands; i++) {
        fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(to, "\nFor all commands:\n"
                "  -s, --socket PATH   the daemon's socket (default: $QUIRE_SOCKET, else where quired puts it)\n"
                "  -j, --json          one JSON value instead of text for people\n"
                "  -t, --timeout TIME  how long to wait for the daemon, such as 2s (default 5s)\n"
                "  -h, --help          about the command\n"
                "  -V, --version       the version\n\nExit status:\n");
#define X(name, value, text) fprintf(to, "  %d  %s\n", value, text);
    CLI_EXIT_TABLE(X)
#undef X
}

static cJSON *command_json(const struct command *command) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "name", command->name);
    cJSON_AddStringToObject(object, "arguments", command->arguments);
    cJSON_AddStringToObject(object, "summary", command->summary);
    cJSON_AddStringToObject(object, "help", command->help);
    return object;
}

static cJSON *command_json_all(void) {
    cJSON *root = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(root, "commands");
    for (unsigned i = 0; i < n_commands; i++) {
        cJSON_AddItemToArray(array, command_json(&commands[i]));
    }
    return root;
}

void command_names(FILE *to) {
    for (unsigned i = 0; i < n_commands; i++) {
        fprintf(to, "%s: %s\n", commands[i].name, commands[i].options);
    }
}

void command_print_help(const struct cli *cli, const struct command *command) {
    if (cli->json) {
        json_print(command != NULL ? command_json(command) : command_json_all(), cli->out);
    } else if (command != NULL) {
        command_help(command, cli->out);
    } else {
        command_help_all(cli->out);
    }
}

static bool is_of_group(const struct command *command, const char *group) {
    size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

/* About every command that begins with this word. False: there is none. */
static bool print_group_help(const struct cli *cli, const char *group) {
    cJSON *root = cli->json ? cJSON_CreateObject() : NULL, *array = root != NULL ? cJSON_AddArrayToObject(root, "commands") : NULL;
    unsigned n = 0;
    for (unsigned i = 0; i < n_commands; i++) {
        if (is_of_group(&commands[i], group) && cli->json) {
            cJSON_AddItemToArray(array, command_json(&commands[i]));
            n++;
        } else if (is_of_group(&commands[i], group)) {
            fputs(n++ > 0 ? "\n" : "", cli->out);
            command_help(&commands[i], cli->out);
        }
    }
    if (n > 0 && cli->json) {
        json_print(root, cli->out);
    } else {
        cJSON_Delete(root);
    }
    return n > 0;
}

/* "config" begins another command's name, and is one. */
static bool is_command(const char *name) {
    for (unsigned i = 0; i < n_commands; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

enum cli_exit cmd_help(struct cli *cli, int argc, char **argv) {
    struct args_list list;
    bool names = false;
    int words;
    const struct args_option options[] = {{"--names", ARGS_FLAG, &names}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "word", 0, 2, &list);
    if (result != CLI_OK) {
        return result;
    }
    if (names) {
        command_names(cli->out);
    } else if (list.n == 0) {
        command_print_help(cli, NULL);
    } else if (list.n > 1 || is_command(list.items[0]) || !print_group_help(cli, list.items[0])) {
        const struct command *command = command_find(cli, argc, argv, &words);
        if (command == NULL) {
            return CLI_USAGE;
        }
        command_print_help(cli, command);
    }
    return CLI_OK;
}
