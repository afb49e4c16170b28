/*
 * Scrubbing: sealed segments are read again and again at a bounded rate, and every record of theirs that is still needed is verified, so
 * that damage is found while there may still be a copy in memory, and not by a reader. One read at a time, into memory of its own.
 *
 * A segment's header and footer are compared with what is known of it: they are what a start finds its records by. What could not be looked at
 * counts, too: nobody is to take it for whole.
 *
 * The same on request, over everything once and as fast as asked. A record that is damaged is told to the pager, which drops it when its index still
 * points there; a segment whose header or footer is stays in use. Loop thread; sums run on the work pool. Times are given.
 */
#ifndef DAEMON_DISK_SCRUB_H
#define DAEMON_DISK_SCRUB_H

#include "daemon/disk/device.h"
#include "pager/log/log.h"

#define SCRUB_STEP_BYTES (1u << 20)         /* read at once */
#define SCRUB_AGAIN_NS QUIRE_NS_PER_S       /* after a read that failed in a way that passes (pager_is_passing) */
#define SCRUB_IDLE_NS (10 * QUIRE_NS_PER_S) /* when there was nothing to look at */

struct scrub;
struct scrub_hooks {
    /* What is known of it now; it is looked at while it is SEALED. */
    const struct pager_segment *(*segment)(void *ctx, uint32_t segment);
    /* Is this record still needed? NULL: nobody knows. */
    bool (*live)(void *ctx, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry);
    /* CORRUPT: it is damaged; SYSTEM: it cannot be read. True: it was needed, and has been dropped. */
    bool (*damaged)(void *ctx, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry, enum quire_status why);
    void (*read_failed)(void *ctx, uint32_t device, int error, uint64_t now_ns);
    void *ctx;
};

struct scrub_progress {
    bool requested;         /* the pass under way was asked for */
    uint32_t segment;       /* that is looked at, or next */
    uint32_t segments;      /* of all */
    uint32_t pass_segments; /* looked at in this pass, or the last one */
    uint64_t pass_records, pass_bytes, pass_damaged, pass_unreadable;
    uint32_t pass_damaged_segments;                       /* their header or footer is, or records that are needed there are not found */
    uint64_t pass_unfound;                                /* these records: they can be read, but no start would find them */
    uint32_t pass_unread_segments;                        /* not looked at, or only at a part: a read failed, or there was no memory */
    uint32_t pass_out_segments;                           /* in files out of use */
    uint32_t pass_open_segments;                          /* that are being filled: looked at when they are full */
    uint64_t pass_open_records;                           /* needed, and lie there */
    uint64_t passes, records, bytes, damaged, unreadable; /* since the start; passes over nothing are none */
    uint64_t damaged_segments, unread_segments;           /* likewise; one that stays so counts once */
    uint64_t requests_done;
};

enum quire_status scrub_create(struct disk_env *env, const struct scrub_hooks *hooks, struct scrub **scrub);
/* Backend and work pool are gone, or it is idle. */
void scrub_destroy(struct scrub **scrub);
/*
 * A device does not answer (disk_env_give_up): what is under way there is left to the system, and the scrub goes on with the others.
 * Without memory for that it waits.
 */
void scrub_device_hangs(struct scrub **scrub, uint32_t device);
/* In the background; 0: not at all. What was read so far takes its time at the new rate. */
void scrub_set_rate(struct scrub *scrub, uint64_t bytes_per_s);
/* Everything once from the beginning, at this rate (0: as fast as it goes); replaces a pass under way. */
void scrub_verify_now(struct scrub *scrub, uint64_t bytes_per_s);
/* Ends a pass that was asked for after the step under way. */
void scrub_cancel(struct scrub *scrub);
/* Begins the next step when it is due and none is under way. */
void scrub_turn(struct scrub *scrub, uint64_t now_ns);
/* When scrub_turn has something to do; UINT64_MAX: nothing is planned, or a step is under way. */
uint64_t scrub_deadline(const struct scrub *scrub);
const struct scrub_progress *scrub_progress(const struct scrub *scrub);

#endif
