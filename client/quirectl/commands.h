/* The table of commands. Each group is one file, cmd_*.c; this table is all that main, help, completion and the tests know of them. */
#ifndef QUIRECTL_COMMANDS_H
#define QUIRECTL_COMMANDS_H

#include "client/quirectl/cli.h"

struct command {
    const char *name;      /* one or two words: "ns list" */
    const char *arguments; /* as help shows them */
    const char *options;   /* for completion: "--ns --key" */
    const char *summary;
    const char *help; /* more, and examples */
    enum cli_exit (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct command commands[];
extern const unsigned n_commands;

/* The command that argv starts with, *words: how many words its name takes. NULL: told by cli_usage. */
const struct command *command_find(struct cli *cli, int argc, char **argv, int *words);

void command_help_all(FILE *to);
void command_help(const struct command *command, FILE *to);
/* To the tool's output, with --json as JSON; NULL: about all commands. */
void command_print_help(const struct cli *cli, const struct command *command);
/* A line a command, "ns list: --option …": what completion reads. */
void command_names(FILE *to);

enum cli_exit cmd_status(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_ns_list(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_ns_show(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_ns_delete(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_block_show(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_pin(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_unpin(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_lookup(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_why_miss(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_session_list(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_session_kick(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_evict(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_config(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_config_reload(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_counters(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_top(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_log_dump(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_verify(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_fault_list(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_fault_add(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_fault_clear(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_doctor(struct cli *cli, int argc, char **argv);
enum cli_exit cmd_help(struct cli *cli, int argc, char **argv);

#endif
