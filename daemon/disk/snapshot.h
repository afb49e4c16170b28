/*
 * The snapshot of the index (codec/log_snapshot.h): written when a daemon stops in good order, read by the next start instead of the
 * footers.
 *
 * It lies beside the metadata, PATH.snapshot of the file of index 0, and is written under another name, synced and renamed before the
 * superblocks name it. The next start opens it and takes its name away at once, before anything is written: no later start finds it. Its
 * chunks are then read and summed on the work pool, a few ahead of what is told, while the daemon serves. The first that is not whole
 * ends it: the log knows all that it knew, but for the ages. What has that name and is not ours (daemon/disk/sidecar.h) stays: there is no
 * snapshot then, and the warning at the start and at the stop says what to move away.
 */
#ifndef DAEMON_DISK_SNAPSHOT_H
#define DAEMON_DISK_SNAPSHOT_H

#include "codec/log_snapshot.h"
#include "daemon/disk/device.h"
#include "daemon/disk/set.h"

#define SNAPSHOT_AHEAD 4u /* chunks read at once: jobs in the work pool */

struct pager;
struct snapshot;

/*
 * Everything is flushed, and the pager changes no more. OK: *id is what the set is to be closed with, and n_entries records are in it.
 * TIMEOUT: not within until_ns (of loop_now_ns); FULL, SYSTEM, NO_MEMORY, TOO_LARGE: `why` says more. There is none then, and the set can
 * be closed without. Takes as long as the drive.
 */
enum quire_status snapshot_save(const struct pager *pager, struct disk_set *set, uint64_t until_ns, uint64_t *id, uint64_t *n_entries,
                                char *why, size_t why_bytes);
/* Once at a start, before anything is written; whatever of ours is there is gone afterwards. NOT_FOUND: the set was not closed with one, or it is
   not there; else `why` says why it is not used. */
enum quire_status snapshot_open(const struct disk_set *set, struct snapshot **snapshot, char *why, size_t why_bytes);
/* Nothing runs any more: it is idle, or the work pool is gone. */
void snapshot_destroy(struct snapshot **snapshot);
/* When the last segments were opened, newest first. */
const uint32_t *snapshot_openings(const struct snapshot *snapshot, uint32_t *n);
uint64_t snapshot_entries(const struct snapshot *snapshot);

/* Begins to read. `env` runs the jobs. */
void snapshot_begin(struct snapshot *snapshot, struct disk_env *env);
/* The next entries, at most so many: OK (they stay until the next call), PENDING (still being read), NOT_FOUND (that was all), CORRUPT
   (no more can be had from it). */
enum quire_status snapshot_next(struct snapshot *snapshot, uint32_t most, const struct quire_snapshot_entry **entries, uint32_t *n);
/* No job of it runs. After CORRUPT none begins any more. */
bool snapshot_idle(const struct snapshot *snapshot);
uint64_t snapshot_read_bytes(const struct snapshot *snapshot);

#endif
