/*
 * The quarantine: members that were kicked while they held leases. Their process still maps the pool and may be reading, so the leased bytes
 * stay untouched until the process is gone, which its pidfd tells. Each entry counts as a session against max_sessions.
 */
#ifndef DAEMON_QUARANTINE_H
#define DAEMON_QUARANTINE_H

#include "daemon/loop.h"

#include <sys/types.h>

struct core;
struct quarantine_entry;
struct quarantine {
    struct quarantine_entry *entries;
    uint32_t count;
};

/* Takes over a session that the pager has closed with quarantine. `socket` is still open: it names the process beyond doubt. */
void quarantine_add(struct core *core, uint64_t session, pid_t pid, int socket);
/* Tries again for entries whose process could not be watched for want of descriptors. */
void quarantine_check(struct core *core);
void quarantine_teardown(struct core *core);

#endif
