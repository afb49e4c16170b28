/*
 * Drives that hang: what is asked of them neither ends nor fails.
 *
 * How long the oldest operation of a device has been with the system tells. After one time the device counts as stalled: that is told,
 * and shown. After another it is to be given up like one that fails. What the system has of it then may still come, at any time:
 * nobody waits for it, and its memory is left alone until it has come. Loop thread only.
 */
#ifndef DAEMON_DISK_STALL_H
#define DAEMON_DISK_STALL_H

#include "daemon/disk/device.h"

struct stalls {
    uint64_t warn_ns, limit_ns;
    uint64_t looked_ns; /* last */
    struct stall {
        bool now;
        uint64_t times; /* that it began */
    } devices[QUIRE_LOG_MAX_FILES];
};

void stalls_set(struct stalls *stalls, uint32_t warn_ms, uint32_t limit_ms);
/*
 * Looks at every device. The answer: which are to be given up, a bit each. *away_ns: for so long nobody looked, because the daemon stood still; 0: it
 * did not. What devices were asked for is forgiven that time; whoever measures anything else has to.
 */
uint32_t stalls_check(struct stalls *stalls, struct disk_env *env, uint64_t now_ns, uint64_t *away_ns);
/* Those that are stalled, a bit each. */
uint32_t stalls_now(const struct stalls *stalls, const struct disk_env *env);
/* When stalls_check may have something to tell; UINT64_MAX: nothing is under way. */
uint64_t stalls_deadline(const struct stalls *stalls, const struct disk_env *env);

#endif
