#include "daemon/disk/stall.h"

#include "daemon/log.h"

void stalls_set(struct stalls *stalls, uint32_t warn_ms, uint32_t limit_ms) {
    stalls->warn_ns = warn_ms * QUIRE_NS_PER_MS;
    stalls->limit_ns = limit_ms * QUIRE_NS_PER_MS;
}

static double seconds(uint64_t ns) { return (double)ns / QUIRE_NS_PER_S; }

static void tell(struct stalls *stalls, uint32_t device, const struct disk_device *d, bool stalled, uint64_t age_ns) {
    struct stall *stall = &stalls->devices[device];
    if (stalled && !stall->now) {
        stall->times++;
        log_warn("disk_stalled",
                 "file %u of the disk tier has not answered for %.1f s, with %u operations under way; the others go on. After %.1f s it is "
                 "given up",
                 device, seconds(age_ns), d->under_way, seconds(stalls->limit_ns));
    } else if (!stalled && stall->now && !d->given_up) {
        log_info("disk_answers", "file %u of the disk tier answers again", device);
    }
    stall->now = stalled;
}

/* Looked at less often than this, the daemon itself stood still, and its machine perhaps: that time is no drive's. */
#define AWAY_NS (2 * QUIRE_NS_PER_S)

static void forgive(struct disk_env *env, uint64_t away_ns) {
    for (uint32_t i = 0; i < env->set.n_files; i++) {
        for (struct disk_op *op = env->devices[i].oldest; op != NULL; op = op->younger) {
            op->begun_ns += away_ns;
        }
    }
}

uint32_t stalls_check(struct stalls *stalls, struct disk_env *env, uint64_t now_ns, uint64_t *away_ns) {
    uint32_t over = 0;
    bool away = stalls->looked_ns != 0 && now_ns > stalls->looked_ns + AWAY_NS;
    *away_ns = away ? now_ns - stalls->looked_ns : 0;
    forgive(env, *away_ns);
    stalls->looked_ns = now_ns;
    for (uint32_t i = 0; i < env->set.n_files; i++) {
        const struct disk_device *d = &env->devices[i];
        uint64_t age_ns = d->oldest != NULL && now_ns > d->oldest->begun_ns ? now_ns - d->oldest->begun_ns : 0;
        tell(stalls, i, d, !d->given_up && age_ns >= stalls->warn_ns && age_ns > 0, age_ns);
        over |= (uint32_t)(!d->given_up && age_ns >= stalls->limit_ns && age_ns > 0) << i;
    }
    return over;
}

uint32_t stalls_now(const struct stalls *stalls, const struct disk_env *env) {
    uint32_t now = 0;
    for (uint32_t i = 0; i < env->set.n_files; i++) {
        now |= (uint32_t)stalls->devices[i].now << i;
    }
    return now;
}

uint64_t stalls_deadline(const struct stalls *stalls, const struct disk_env *env) {
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < env->set.n_files; i++) {
        const struct disk_device *d = &env->devices[i];
        if (d->oldest != NULL && !d->given_up) {
            uint64_t after_ns = stalls->devices[i].now ? stalls->limit_ns : quire_min_u64(stalls->warn_ns, stalls->limit_ns);
            next_ns = quire_min_u64(next_ns, d->oldest->begun_ns + after_ns);
        }
    }
    return next_ns;
}
