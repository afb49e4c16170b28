/*
 * The disk tier as the core has it: the set of files, the backend that reads and writes them, the store that carries out the pager's
 * wishes, what was found at the start, and the scrub. Everything here is called on the loop thread.
 *
 *   start   set (locks, superblocks) → backend → metadata (namespaces, pins) → state of every segment → serving begins
 *   a turn  what has ended is reaped as the backend's descriptor says; disk_turn; events; disk_submit
 *   stop    disk_flush, until disk_flushed or time is up; disk_destroy closes the set, in good order only when all is on disk
 */
#ifndef DAEMON_DISK_DISK_H
#define DAEMON_DISK_DISK_H

#include "daemon/disk/restart.h"
#include "daemon/disk/scrub.h"
#include "daemon/disk/set.h"
#include "daemon/disk/stall.h"
#include "daemon/disk/store.h"

struct core;
struct disk;

/* Jobs of the disk tier in the work pool at once, at most: beside the core's own. One saves metadata, one touches memory. */
#define DISK_JOBS (STORE_SLOTS + (RESTART_AHEAD + 1) * (QUIRE_LOG_MAX_FILES + 1) + 2) /* what a device that hangs left behind, too */

/*
 * Once pager, pools and work pool are there, on the thread that will run the loop: a ring of io_uring's belongs to one thread. `why` says
 * what and what to do. Returns when every segment's state is known.
 */
enum quire_status disk_create(struct core *core, struct disk **disk, char *why, size_t why_bytes);
/* After the work pool: nothing runs any more; waits for what the system has. */
void disk_destroy(struct disk **disk);

/* An event of the pager's, PAGER_DISK_…; there is always room. */
void disk_begin(struct disk *disk, const struct pager_event *event);
/* What is due, before the pager's events are taken; and after them, what was queued goes to the backend. */
void disk_turn(struct disk *disk);
void disk_submit(struct disk *disk);
/* When disk_turn has something to do. */
uint64_t disk_deadline(const struct disk *disk);
/* Pages of a pool were taken from the system: what is there is made known to the backend. */
void disk_populated(struct disk *disk, uint32_t domain);
/* Not OK: rules of faults were refused, and why; the rest is in force. */
enum quire_status disk_apply_config(struct disk *disk, const char **why);

/* Stopping: everything is to be written. disk_flushed: the pager said that it is, or has failed. */
void disk_flush(struct disk *disk);
void disk_flush_ended(struct disk *disk);
bool disk_flushed(const struct disk *disk);

/* For operators. */
const struct disk_set *disk_files(const struct disk *disk);
struct disk_io *disk_backend(const struct disk *disk, const char **why, bool *registered);
struct store *disk_store(const struct disk *disk);
const struct restart_progress *disk_restart(const struct disk *disk);
/* True: the start waits for a file that cannot be read now; which, and why. */
bool disk_waits(const struct disk *disk, char *text, size_t text_bytes);
/* Where the index comes from, and why not from a snapshot. */
enum disk_origin { DISK_FROM_NOTHING, DISK_FROM_SNAPSHOT, DISK_FROM_LOG };
enum disk_origin disk_origin(const struct disk *disk, const char **why);
struct scrub *disk_scrub(const struct disk *disk);
const struct stall *disk_stall(const struct disk *disk, uint32_t file);

#endif
