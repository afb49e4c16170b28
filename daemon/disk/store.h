/*
 * The store carries out what the pager wishes of the disk (pager/disk.h): it puts batches together and writes them, reads records into
 * pools and has them verified there, seals segments, syncs devices, tells a segment's entries, writes the metadata.
 *
 *   WRITE    sums into the entries (of a pool that others may have written to, when the work pool has verified the records; one that is
 *            damaged has none), head, one vectored write: [segment header] head, records straight from the pool
 *   READ     straight into the pool, whole units; then on the work pool: entry, header, directory, and every lane that was asked for
 *   SEAL     sync, footer and trailer, sync: a footer never speaks of records that are not there, and never makes a file long again that was cut short
 *   SYNC     after every write to the device that was asked for before: the batches of a segment are found one behind the other, so one is
 *            durable only when those before it are
 *   ENTRIES  footer, or a walk from head to head
 *   META     the owner says what is to be saved; one job puts the bytes together, another saves them. When that one hangs the wish fails, and
 *            the next ones do until it is back
 *
 * What the system could not try, or has no room for, ends as NO_MEMORY or FULL (pager/disk.h): the pager asks again. A sync that is not
 * done is FULL, whatever the reason, but for one that only a failed drive has: what was written before it is in doubt, and is not relied on.
 *
 * As many wishes at once as the pager ever has out (PAGER_DISK_MAX_IN_FLIGHT): there is always a slot. A device that otherwise fails a write or
 * a sync, or more than STORE_READ_ERRORS reads within a minute, is taken out of use: told once, and whatever is wished of it afterwards
 * fails. Loop thread only.
 */
#ifndef DAEMON_DISK_STORE_H
#define DAEMON_DISK_STORE_H

#include "daemon/disk/device.h"
#include "pager/disk.h"

#define STORE_SLOTS PAGER_DISK_MAX_IN_FLIGHT
#define STORE_READ_ERRORS 16u
#define STORE_READ_ERRORS_NS (60 * QUIRE_NS_PER_S)

struct store;

struct store_pool { /* of a domain */
    uint8_t *base;
    uint64_t size_bytes;
    bool doubted; /* who may read it from afar could have written there: what goes to disk is verified first, down to its lanes */
};

/*
 * How outcomes reach the owner, and what only the owner knows. None of these may call into the store, but `device_lost` and `complete` into
 * the pager.
 */
struct store_hooks {
    void (*complete)(void *ctx, uint64_t ticket, enum quire_status status);
    enum quire_status (*entries)(void *ctx, uint64_t ticket, const struct quire_log_entry *entries, uint32_t n);
    void (*device_lost)(void *ctx, uint32_t device);
    /* A namespace's layout and serial; NULL: there is none. */
    const quire_layout *(*layout)(void *ctx, uint16_t ns, uint32_t *serial);
    /* META, one at a time: notes what is to be saved, which may be looked at until its ticket is completed. */
    enum quire_status (*meta)(void *ctx, uint64_t ticket);
    /* Then, on a worker, while the ticket is certainly open: puts it together, by malloc; freed by the store. It asks nothing of any drive. */
    enum quire_status (*meta_encode)(void *ctx, uint8_t **bytes, size_t *size);
    /* Then, on the loop: so many bytes will be written. */
    void (*meta_writes)(void *ctx, uint64_t bytes);
    /* Then, on a worker: replaces the metadata files, each atomically. The ticket may have ended by then. */
    enum quire_status (*meta_save)(void *ctx, uint8_t *bytes, size_t size);
    /* Then, on the loop, before its ticket is completed: files that were lost meanwhile are given up, which this one may. */
    void (*meta_saved)(void *ctx);
    void *ctx;
};

enum quire_status store_create(struct disk_env *env, const struct store_pool *pools, uint32_t n_pools, const struct store_hooks *hooks,
                               struct store **store);
/* The backend has been destroyed and the work pool, too: nothing is under way any more. */
void store_destroy(struct store **store);

/* Memory that operations use beside the pools, to be registered. */
void store_memory(const struct store *store, void **base, uint64_t *bytes);

/* Begins what an event of the types PAGER_DISK_… wishes. It may complete at once. disk_env_flush sends it on its way. */
void store_begin(struct store *store, const struct pager_event *event);
uint32_t store_in_flight(const struct store *store);

struct store_device {
    uint64_t reads, read_bytes; /* of the file, whoever asked: restart and scrub, too */
    uint64_t writes, written_bytes, syncs;
    uint64_t read_errors, write_errors, corrupt;
    int last_error; /* errno of the last failure; 0: none */
    int refuses;    /* errno: it takes no writes now, and is asked again; 0: it does, as far as is known */
    bool lost;
};
void store_device(const struct store *store, uint32_t device, struct store_device *out);
/* Reads of a part of a record that found its header and directory known, and that had to read them. */
void store_headers(const struct store *store, uint64_t *hits, uint64_t *misses);
/* Somebody else found that a device cannot be trusted: it is taken out of use. */
void store_give_up(struct store *store, uint32_t device, const char *what, int error);
/*
 * Takes a file out of use that somebody cut short: what is cut off may have told of deletions, and a later start knows that only from the length, which the last
 * segment's footer would give back. False: it is out of use.
 */
bool store_look_at_length(struct store *store, uint32_t device);
/* When the metadata began to be saved, if somebody waits for it; else 0, also while it is put together. */
uint64_t store_meta_since_ns(const struct store *store);
/* For so long the daemon stood still: that is no drive's time. */
void store_meta_forgive(struct store *store, uint64_t away_ns);
/* That takes too long: whoever waits for it is told that it failed. The job goes on, and no other begins before it has ended. */
void store_meta_give_up(struct store *store);
/* A read by somebody else (restart, scrub) failed: it counts like the store's own. */
void store_read_failed(struct store *store, uint32_t device, int error, uint64_t now_ns);
/* Likewise a record that the scrub found damaged. */
void store_found_corrupt(struct store *store, uint32_t device);

#endif
