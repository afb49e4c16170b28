/*
 * What every command of quirectl shares: the connection, where output goes, how failures are told, exit codes.
 *
 * A command answers with its exit code. It writes its result to `out`, as text for people or, with --json, as one JSON value; what goes
 * wrong is one sentence on `err` (with --json an object {"error": {"status", "text"}}).
 */
#ifndef QUIRECTL_CLI_H
#define QUIRECTL_CLI_H

#include "client/admin.h"
#include "client/quire.h"
#include "proto/wire.h"

#include <stdio.h>

/* X(name, value, text): documented in the manual page and by --help. */
#define CLI_EXIT_TABLE(X)                                                                                                                  \
    X(OK, 0, "done")                                                                                                                       \
    X(FAILED, 1, "the daemon or the system refused, a check of doctor failed, or verify found damage")                                     \
    X(USAGE, 2, "the command line is wrong")                                                                                               \
    X(NO_DAEMON, 3, "no quired answers at the socket")                                                                                     \
    X(NOT_FOUND, 4, "no such namespace, session or block; for lookup: a key missed")                                                       \
    X(DENIED, 5, "the daemon does not allow it to this user")

enum cli_exit {
#define X(name, value, text) CLI_##name = value,
    CLI_EXIT_TABLE(X)
#undef X
};

struct cli {
    const char *socket; /* NULL: as libquire finds it */
    bool json;
    uint32_t deadline_ms;
    FILE *out, *err;
    quire_client *client;
};

/* Tells what went wrong; the exit code that fits the status. */
enum cli_exit cli_fail(struct cli *cli, enum quire_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum cli_exit cli_usage(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Connects once; later calls find the connection there. */
enum cli_exit cli_connect(struct cli *cli);
/* Asks the daemon; *reply is there when CLI_OK, and its own status is OK. Free it with cli_free_reply. */
enum cli_exit cli_admin(struct cli *cli, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply **reply);
/* For a request that is only a verb. */
enum cli_exit cli_ask(struct cli *cli, enum quire_wire_admin verb, Quire__Wire__AdminReply **reply);
void cli_free_reply(Quire__Wire__AdminReply **reply);
/* Opens an existing namespace. */
enum cli_exit cli_open_ns(struct cli *cli, const char *name, quire_ns **ns);

/* "Really?" on a terminal; without one only with `yes`. */
enum cli_exit cli_confirm(struct cli *cli, bool yes, const char *question);

#endif
