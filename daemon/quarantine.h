/*
 * The quarantine: members that were kicked while they held leases. Their process still maps the pool and may be reading, so the leased bytes
 * stay untouched until the process is gone, which its pidfd tells. They do not count against max_sessions, but a process with
 * QUARANTINE_PER_PROCESS of them gets no further session, and with max_sessions of them nobody does who does not come to operate.
 * Whoever read the pool from afar and is gone without a goodbye has no process that could be watched: what it had leased waits for some time. It
 * counts as leased by each session with the same token, and with max_sessions of them no further one is told where the pool is: so a token that
 * comes and goes keeps no more of the pool than one that stays.
 */
#ifndef DAEMON_QUARANTINE_H
#define DAEMON_QUARANTINE_H

#include "daemon/loop.h"

#include <sys/types.h>

#define QUARANTINE_PER_PROCESS 2
#define QUARANTINE_AFAR_NS (30 * QUIRE_NS_PER_S) /* a client gives reads up, and its connection, when none ended for 4 s (client/afar.c) */

struct core;
struct quarantine_entry;
struct quarantine {
    struct quarantine_entry *entries;
    uint32_t count, n_afar; /* n_afar: of them, those that read from afar */
};

/* The process at the other end of a fresh socket, to be asked when it connects: later its number may be another's. −1, errno says why. */
int quarantine_pidfd(pid_t pid, int socket_fd);
/* Takes over a session that the pager has closed with quarantine, and its pidfd, which may be −1. */
void quarantine_add(struct core *core, uint64_t session, pid_t pid, int pidfd);
/* Likewise, of one that may still be reading from afar: for QUARANTINE_AFAR_NS, which is longer than any client waits for such a read. */
void quarantine_add_afar(struct core *core, uint64_t session, const char *token);
/* What a token's lost sessions hold. */
struct quarantine_afar {
    uint32_t sessions;
    uint64_t leased_bytes;
};
struct quarantine_afar quarantine_afar(const struct core *core, const char *token);
/* The process may open another session. */
bool quarantine_admits(const struct core *core, pid_t pid);
/* Tries again for entries whose process could not be watched. */
void quarantine_check(struct core *core);
void quarantine_teardown(struct core *core);

#endif
