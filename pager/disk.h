/*
 * The pager's disk tier: blocks leave memory for the log, come back when they are asked for, and are there after a restart.
 *
 * The pager decides, the daemon moves bytes: wishes of the types below come out of pager_next_event with `disk` set, and are reported back
 * by pager_complete, as all wishes are. What the disk holds of a block is remembered in eight bytes beside its index entry
 * (pager/disk/where.h).
 *
 * A block's record on disk is read into its domain's pool, verified there by the daemon, and then granted like any other. A lease on a
 * record that is only on disk is a right without an address: pager_load asks for the bytes.
 */
#ifndef PAGER_DISK_H
#define PAGER_DISK_H

#include "codec/log.h"
#include "codec/log_meta.h"
#include "codec/log_snapshot.h"
#include "pager/log/log.h"
#include "pager/pager.h"

#define PAGER_SEGMENT_BATCHES 4u /* batches that fill a segment, at least */

/* Options of the disk tier. X(name, type, default, help). */
#define PAGER_DISK_OPTIONS(X)                                                                                                              \
    X(write_delay_ms, uint32_t, 1000, "a block that is stored goes to disk after this, sooner when room is short")                         \
    X(batch_bytes, uint32_t, 2097152, "the most that one write to disk carries; a quarter of segment_bytes at most")                       \
    X(writes_in_flight, uint32_t, 8,                                                                                                       \
      "writes to disk at once, in equal shares for its files; a share is rounded up, so that every file\n"                                 \
      "has one, and one that hangs keeps no other from being written to")                                                                  \
    X(read_ahead_bytes, uint64_t, 67108864, "read ahead of a reader that will fetch, over all sessions; shared by the files")              \
    X(write_budget_bytes_per_s, uint64_t, 0,                                                                                               \
      "bytes a second that may be written to disk, all that the log takes; deletions get an eighth\n"                                      \
      "at most, one session a quarter of that; pins and namespaces, as metadata, another eighth.\n"                                        \
      "0: as many as there are")                                                                                                           \
    X(drive_writes_per_day, double, 0,                                                                                                     \
      "times a day that the disk's capacity may be written, all that the log takes, deletions as above;\n"                                 \
      "0: as often as asked")                                                                                                              \
    X(clean_segments, uint32_t, 4, "segments kept clean, so that a write never waits for one; a quarter of all at most")                   \
    X(reinsert_pct, uint32_t, 20, "share of what is written that may be rewriting of what reuse justifies")

struct pager_disk_options {
#define X(name, type, value, help) type name;
    PAGER_DISK_OPTIONS(X)
#undef X
};
void pager_disk_options_default(struct pager_disk_options *options);

#define PAGER_DISK_COUNTERS(X)                                                                                                             \
    X(disk_writes, "batches written to disk")                                                                                              \
    X(disk_written_bytes, "bytes written to disk: all that the log took, metadata and superblocks too; not what failed")                   \
    X(disk_admitted_bytes, "record bytes written to disk for the first time")                                                              \
    X(disk_rewritten_bytes, "record bytes written again when their segment was emptied")                                                   \
    X(disk_declined, "records that were not written to disk: budget, or too large for a segment")                                          \
    X(disk_reads, "records, or parts of them, read from disk")                                                                             \
    X(disk_read_bytes, "bytes read from disk")                                                                                             \
    X(disk_read_shared, "fetches that waited for a read of the same record")                                                               \
    X(disk_read_ahead, "records queued to be read before anybody asked for them; some are asked for first, or never read")                 \
    X(disk_partial_reads, "reads of only the lanes that were asked for")                                                                   \
    X(disk_promoted, "records that stayed in memory after they were read")                                                                 \
    X(disk_corrupt, "records that failed their checksum as they came from disk")                                                           \
    X(disk_read_errors, "reads that the device failed")                                                                                    \
    X(disk_write_errors, "writes that the device failed")                                                                                  \
    X(disk_rests, "times that a device took nothing for a while: no room, mounted read-only, or no memory")                                \
    X(disk_demoted, "clean copies dropped from memory")                                                                                    \
    X(disk_dropped, "records dropped because their segment was emptied")                                                                   \
    X(disk_orphans, "blocks dropped because what they continue is gone from every tier")                                                   \
    X(disk_emptied, "segments emptied")                                                                                                    \
    X(disk_meta_failures, "times that the metadata (namespaces, pins) could not be written")                                               \
    X(disk_pins_dropped, "pins that ended because their block was not on disk when the daemon started")                                    \
    X(disk_tombstones, "deletions written to disk")                                                                                        \
    X(disk_deletions_refused, "requests to delete that were refused: no write budget is left for them now")                                \
    X(disk_pins_refused, "requests to pin or unpin that were refused: no write budget is left for metadata now")                           \
    X(disk_restored, "records found at start")                                                                                             \
    X(disk_unrestored, "entries passed over at start: there was no memory for the deletions that may concern them")

struct pager_disk_counters {
#define X(name, help) uint64_t name;
    PAGER_DISK_COUNTERS(X)
#undef X
};

/* Sequence numbers are counted from the superblock's generation, shifted by so many bits. */
#define PAGER_SEQUENCE_BITS 40u

/* An outcome that says nothing about what the device holds. NO_MEMORY: it was not asked. FULL: it takes nothing now; or it does not sync, and then what it took
   since the last sync is in doubt. */
static inline bool pager_is_passing(enum quire_status status) { return status == QUIRE_FULL || status == QUIRE_NO_MEMORY; }

/* Wishes of the disk tier that are out at once, at most: an executor has room for so many. Each device has its share of them, and never more. */
#define PAGER_DISK_MAX_IN_FLIGHT 256u

/*
 * Once, before anything is stored. Every segment is UNKNOWN until it was restored or declared clean: nothing is written before restore has
 * begun.
 */
enum quire_status pager_disk_create(struct pager *pager, const struct pager_log_shape *shape, const struct pager_disk_options *options,
                                    uint64_t first_sequence);
void pager_disk_set_options(struct pager *pager, const struct pager_disk_options *options);
bool pager_has_disk(const struct pager *pager);
/* The daemon writes so much beside what wishes say: superblocks, a snapshot. It is counted, and is of the budget, like all else. */
void pager_disk_wrote(struct pager *pager, uint64_t now_ns, uint64_t bytes);
/* The META wish under way is about to write so much: it is of the budget now, and is counted when the wish ends well. */
void pager_disk_meta_writes(struct pager *pager, uint64_t now_ns, uint64_t bytes);

/* ---- wishes (enum pager_event_type in pager.h: PAGER_DISK_WRITE …) ------------------------------------------------------------- */
struct pager_disk_piece { /* a record in a pool */
    uint32_t domain;
    uint32_t size_bytes;
    uint64_t offset; /* from it, whole units may be read, or written when the record comes back: the extent is long enough */
};
/* Lanes of a record, as bytes from the record's start: whole units around them are read. */
struct pager_disk_range {
    uint32_t from_bytes, to_bytes;
};
#define PAGER_DISK_MAX_RANGES (2u * QUIRE_MAX_LAYERS) /* of one read: K and V of each layer */
/*
 * How wishes end, beside OK. NO_MEMORY: it could not be asked of the device, which is as it was. FULL (WRITE, SEAL, SYNC): the device takes nothing
 * now, or does not sync; all that it has can be read. Both are tried again, later and later. CORRUPT (WRITE): written, but records whose
 * entry has a check of 0 are none, or not what was stored: those are given up, the others are written again; (READ): what is there is not the
 * record. SYSTEM: the device failed; of a WRITE, SEAL or SYNC, it was told lost before.
 */
struct pager_disk_wish {
    uint32_t device, segment;
    uint64_t epoch;
    /*
     * WRITE: a batch: head of head_units with n entries, then n_pieces records (tombstones have none) at their entries' at_units, padded to
     * units. The executor puts entry.check in. first: the segment header is to be written with it, with tail_epoch: segments of lower
     * epochs are empty (place.tail). alone: before it, and synced before anything else of the segment is written (place.alone).
     */
    uint32_t at_units, head_units, size_units;
    bool first, alone;
    uint64_t tail_epoch;
    uint32_t n, n_pieces;
    struct quire_log_entry *entries;       /* WRITE (its checks are to be filled in), SEAL (all of the segment's: const in spirit) */
    const struct pager_disk_piece *pieces; /* WRITE: one a RECORD entry, in order; READ: one */
    /*
     * READ: the record at at_units, size in pieces[0]; key and layout for the verification. n_ranges 0: all of it, every lane to be
     * verified; else header and directory and these ranges, and the lanes in them.
     */
    quire_key key;
    uint16_t ns;
    uint8_t group;
    uint64_t check, check_mask; /* the record's sum as in its entry, as far as it is known: bits that the mask has not are zero */
    uint32_t n_ranges;
    const struct pager_disk_range *ranges;
    quire_rect rect; /* with ranges: what they hold */
    /*
     * SEAL: used_units; first: the header was never written, and is to be, with tail_epoch. META: nothing: ask pager_disk_meta. SYNC: the device.
     * ENTRIES: answer with pager_disk_entries, then complete.
     */
    uint32_t used_units;
};

/* ENTRIES' answer, before its completion: the segment's entries, from its footer or a scan. Copied. */
enum quire_status pager_disk_entries(struct pager *pager, uint64_t ticket, const struct quire_log_entry *entries, uint32_t n);

/* META's answer: what is to be written, as it is now. All of it is the pager's and stays as it is until the ticket is completed: another
   thread may read it. */
struct pager_disk_meta {
    uint32_t next_serial, n_items, n_pins;
    const struct quire_meta_item *items;
    const struct quire_meta_pin *const *pins; /* in chunks: see pager_disk_meta_pins */
};
enum quire_status pager_disk_meta(struct pager *pager, uint64_t ticket, struct pager_disk_meta *meta);
/* One behind the other: n_pins of them. On any thread. */
void pager_disk_meta_pins(const struct pager_disk_meta *meta, struct quire_meta_pin *pins);

/* ---- reading -------------------------------------------------------------------------------------------------------------- */
/* One record of a lease that is to be in memory. */
struct pager_load_item {
    uint32_t slot; /* as granted */
    bool partial;  /* only `rect` is wanted: less is read when it is less and the first part lately, or far less and one of few */
    quire_rect rect;
};
/*
 * Brings records under a lease into memory. OK: an event PAGER_LOAD_DONE with `cookie` follows when every item is there or has failed,
 * exactly one, perhaps at once; pager_load_result then tells of each. NOT_FOUND, STALE (lease); INVALID; RETRY (too many loads wait).
 */
enum quire_status pager_load(struct pager *pager, uint64_t now_ns, uint64_t session, uint64_t lease, const struct pager_load_item *items,
                             uint32_t n_items, uint64_t cookie, uint64_t deadline_ns);
/*
 * Nobody waits for it any more: it is done at once, its items CANCELLED, and what nobody else waits for and was not begun is not read. So it is when
 * its deadline passes and when its lease ends. What was begun comes into memory. Nothing when it is done.
 */
void pager_load_cancel(struct pager *pager, uint64_t now_ns, uint64_t session, uint64_t lease, uint64_t cookie);
/*
 * After LOAD_DONE, once, with the event's ticket: for each item grants[i], and statuses[i]: OK; MISS (gone from the disk, damaged,
 * unreadable); FULL (no room in the pool); RETRY (it could not be read now); TIMEOUT; CANCELLED. NOT_FOUND: the lease has ended.
 */
enum quire_status pager_load_result(struct pager *pager, uint64_t ticket, struct quire_wire_grant *grants, uint8_t *statuses,
                                    uint32_t n_items);

/* ---- deletions that last -------------------------------------------------------------------------------------------------- */
/*
 * A deletion of what the log certainly does not hold writes nothing. Any other is of the write budget: pager_keys gives RETRY when there is nothing
 * left for it now. Then this tells when it may be tried again; 0: it was refused because too many wait to be written. Pins and their end are told by
 * metadata, which has a part of the budget, too: what would wait for it for long is refused likewise.
 */
uint64_t pager_keys_again_ns(const struct pager *pager);
/*
 * OK: every deletion, pin and namespace so far is as durable as it will be. PENDING: PAGER_DURABLE with `cookie` follows, exactly one; its
 * status is SYSTEM when the disk would not take it. RETRY: too many wait.
 */
enum quire_status pager_durable(struct pager *pager, uint64_t now_ns, uint64_t cookie);
/* The same of deletions alone, of blocks and of namespaces: they do not wait until metadata that tells of pins may be written. */
enum quire_status pager_durable_deletions(struct pager *pager, uint64_t now_ns, uint64_t cookie);

/* ---- devices, scrub ------------------------------------------------------------------------------------------------------- */
/*
 * Takes a device out of use: what is only there is a miss from now, and nobody waits for it any more, deletions neither. Wishes that
 * are out there are still to be completed, whenever that is: what they may read or write of a pool stays untouched until then.
 */
void pager_disk_device_lost(struct pager *pager, uint64_t now_ns, uint32_t device);
/* A scrub found this record damaged: if the index still points there, that place is forgotten, and a copy in memory is written anew. True: it was. */
bool pager_disk_damaged(struct pager *pager, uint64_t now_ns, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry);
/* Likewise when the device does not give it. */
bool pager_disk_unreadable(struct pager *pager, uint64_t now_ns, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry);
/* What is known of a segment. A scrub may look at it while it is SEALED: full, and neither being emptied nor lost. */
const struct pager_segment *pager_disk_segment(const struct pager *pager, uint32_t segment);
/* Does the index point to this record? */
bool pager_disk_is_live(const struct pager *pager, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry);
/*
 * Writes what is dirty as soon as possible, closes the open segments, and syncs; PAGER_FLUSHED follows when all is on disk or has failed.
 */
void pager_disk_flush(struct pager *pager, uint64_t now_ns);
/*
 * Is all durable that was asked to be: every deletion on every device in use, and the metadata? While it is not, nobody may take a snapshot of the index: the
 * log has what the index has not, and a start from the snapshot would not know.
 */
bool pager_disk_is_settled(const struct pager *pager);

/* ---- restart -------------------------------------------------------------------------------------------------------------- */
/*
 * In this order: namespaces and pins; every segment's state; then entries, a segment at a time from the highest epoch to the lowest, each
 * segment's from its end to its beginning; then end. Serving may begin after the segments' states. Nothing is collected before the end.
 */
/* Serials below this one were given before, also when no namespace is left. */
void pager_restore_serial(struct pager *pager, uint32_t next_serial);
enum quire_status pager_restore_ns(struct pager *pager, const struct quire_meta_item *item, uint32_t domain, uint32_t next_serial);
/* A namespace that cannot be had now: its domain is not configured, or there are too many. Nobody sees it, its records are not found, and every
   metadata from now on tells of it and of its pins. INVALID: its serial is another's. */
enum quire_status pager_restore_keep(struct pager *pager, const struct quire_meta_item *item);
/* In force at once, although its block is only found later; when that does not come, it ends. NOT_FOUND: of no namespace. */
enum quire_status pager_restore_pin(struct pager *pager, const struct quire_meta_pin *pin);
void pager_restore_segment(struct pager *pager, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units,
                           uint32_t n_entries);
/*
 * The entries are told in the order in which they lie; the pager takes them from the last to the first. One of a size of 0 is a record that is not to
 * be used, though it may lie there.
 */
void pager_restore_entries(struct pager *pager, uint64_t now_ns, uint32_t segment, const struct quire_log_entry *entries, uint32_t n);
/* After a stop in good order, instead of entries or before them: what a snapshot says. Each one counts that still fits: its namespace is
   there, and its segment was not used again. When doubts arise on the way, entries follow; what was told before stays. Openings: first of
   all, newest first. */
void pager_restore_openings(struct pager *pager, uint64_t now_ns, const uint32_t *idle_ticks, uint32_t n);
void pager_restore_live(struct pager *pager, uint64_t now_ns, const struct quire_snapshot_entry *entries, uint32_t n);
/*
 * Memory that entries which are told soon will go to: PAGER_RESTORE_PAGE bytes, NULL when that is not foreseen; each is told once. The first touch of
 * it takes as long as many entries do, so whoever has a thread to spare touches it there, leaving it as it is (MADV_POPULATE_WRITE). Between two
 * calls of the above.
 */
#define PAGER_RESTORE_PAGE (2ull << 20)
void *pager_restore_warm(struct pager *pager);
/* Not all that the log holds was told, or could be. */
void pager_restore_incomplete(struct pager *pager);
/* A bounded part of it: pins, memory that only restoring needed. True: it is to be called again. */
bool pager_restore_end(struct pager *pager, uint64_t now_ns);

/* For a snapshot, when everything is flushed and nothing changes any more: every record that the index finds on disk, what remains there
   without it (pager/disk/remains.h), and when the last segments were opened, newest first (at most one a segment). False: that was the last. */
struct pager_disk_cursor { /* zero at first */
    uint32_t next, block, at, remain, doubt;
    bool inside;
};
bool pager_disk_next_live(const struct pager *pager, struct pager_disk_cursor *cursor, struct quire_snapshot_entry *entry);
uint32_t pager_disk_openings(const struct pager *pager, uint32_t *idle_ticks, uint32_t capacity);

/* ---- for operators -------------------------------------------------------------------------------------------------------- */
struct pager_disk_stats {
    struct pager_log_stats log;
    uint64_t dirty_bytes, dirty_records, writing_bytes, reading_bytes;
    uint64_t charged_bytes; /* to the write budget: all writes that were asked for, whatever became of them */
    uint64_t where_bytes;   /* memory for places beyond the index's own */
    double estimate_error;  /* of loads, from LOAD until all is there, or too late: |estimated − taken| ÷ taken, at most 8, smoothed */
    bool restoring, emptying;
    bool meta_fails;                /* the last attempt to write the metadata did */
    uint32_t pins, kept_namespaces; /* of which the metadata tells; the latter cannot be had now */
    const struct pager_disk_counters *counters;
};
void pager_disk_stats(const struct pager *pager, struct pager_disk_stats *stats);

#endif
