/*
 * The books of the log: which segment is open, where the next batch goes, what each segment still holds, which one is to be emptied next.
 *
 * Knows nothing of keys, bytes or time: pager/ tells it what to append and what died, and asks it what to do. Deterministic, not
 * thread-safe. One segment a device is open at a time; batches go to the open segments in turn. Tombstones are told to every device, since
 * a device that is lost takes what it holds with it, and go to the segment that was opened there last: segments are emptied strictly in the
 * order in which they were opened (their epochs), so a tombstone outlives whatever it buries on its device. For the same reason none is
 * emptied while another's epoch is unknown.
 *
 *   CLEAN ─opened→ OPEN ─full→ SEALING ─footer written→ SEALED ─oldest, room is short→ EMPTYING ─nothing needed, nobody reads→ CLEAN
 *   any ─its device fails→ LOST
 */
#ifndef PAGER_LOG_LOG_H
#define PAGER_LOG_LOG_H

#include "codec/log.h"
#include "proto/base/base.h"

#define PAGER_NO_SEGMENT UINT32_MAX
#define PAGER_ANY_DEVICE UINT32_MAX
/*
 * A crash may lose the headers of the segments that were opened last, but not what was written behind them: after a start so many epochs
 * are left out, so that none of theirs is given out again.
 */
#define PAGER_LOG_EPOCH_GAP 1024u

struct pager_log;

enum pager_segment_state {
    PAGER_SEGMENT_UNKNOWN, /* its header was not looked at since the start */
    PAGER_SEGMENT_CLEAN,
    PAGER_SEGMENT_OPEN,
    PAGER_SEGMENT_SEALING, /* takes no more; its footer is to be written when its batches are */
    PAGER_SEGMENT_SEALED,
    PAGER_SEGMENT_EMPTYING,
    PAGER_SEGMENT_LOST
};

struct pager_log_shape {
    struct quire_log_geometry geometry;
    uint32_t n_devices;
    uint32_t segments[QUIRE_LOG_MAX_FILES]; /* of each device; numbers follow one another, device by device */
    uint32_t reserve;                       /* clean segments that only rewriting may use, ≥ 1 */
};

struct pager_segment {
    uint64_t epoch; /* 0: never used */
    uint64_t live_bytes;
    uint32_t live_records;
    uint32_t used_units;
    uint32_t holds;   /* reads under way */
    uint32_t writing; /* batches under way */
    uint32_t n_entries;
    uint8_t state, device;
    bool footer; /* SEALED: one is there, as far as is known */
};

/* INVALID: a shape out of range (fewer than reserve + 2 segments for each device, too many units). */
enum quire_status pager_log_create(const struct pager_log_shape *shape, struct pager_log **log);
void pager_log_destroy(struct pager_log **log);

const struct pager_segment *pager_log_segment(const struct pager_log *log, uint32_t segment);
uint32_t pager_log_segments(const struct pager_log *log);
uint32_t pager_log_used(const struct pager_log *log); /* segments that hold something, as far as their states are known */

/* ---- appending ------------------------------------------------------------------------------------------------------------ */
/* A batch that was given its place. */
struct pager_log_place {
    uint32_t segment;
    uint64_t epoch;
    uint32_t at_units, head_units, size_units;
    bool first; /* the segment was just opened: its header is to be written, too, with this batch */
    /*
     * Or before it, by itself, and synced: the segment was used before, and no header that is known to last says that its tombstones
     * are not needed any more. Without that, a crash could keep what was written over them, lose each header that tells of it, and what
     * they buried would be back. Until this batch is written the segment takes no other.
     */
    bool alone;
    /*
     * Of the lowest epoch that still held anything when this place was given: a segment of a lower one is clean, whatever its bytes say.
     * Known on disk before a tombstone may be overwritten, it keeps what the tombstone buried from being found again. 0: not known yet;
     * then only segments that were never used are opened.
     */
    uint64_t tail;
};
/*
 * Devices, a bit each, that have all that they may have at once: until the next call neither batches in turn go to them nor are their
 * segments given out to be sealed.
 */
void pager_log_hold_back(struct pager_log *log, uint32_t devices);
/*
 * Devices, a bit each, that do not answer or refuse what is written: until the next call what they have clean is no room for anybody. All
 * that are in use is as good as none: then nobody knows better.
 */
void pager_log_set_aside(struct pager_log *log, uint32_t devices);
/*
 * Gives a batch of n ≤ QUIRE_LOG_MAX_BATCH entries its place, and each record in it its own (entry.at_units; a tombstone's is 0); entries are kept
 * for the footer. ANY_DEVICE: the next in turn; else the newest segment of that one is taken, and another opened when it is open no more: tombstones
 * need that. `rewriting`: the reserve may be used. FULL: no segment is clean, but on devices that are set aside; RETRY: on none of those that are not
 * held back, or the one that would take it is being opened (place.alone); TOO_LARGE: it would not fit into an empty segment; NO_MEMORY. May turn
 * segments into SEALING.
 */
enum quire_status pager_log_append(struct pager_log *log, uint32_t device, struct quire_log_entry *entries, uint32_t n, bool rewriting,
                                   struct pager_log_place *place);
/*
 * The batch's write ended. ok: `entries` are the batch's as they were written, now with their checks, for the footer. !ok: they are left
 * out of the footer (`entries` may be NULL), and the segment takes no more. Without a single batch that was written it is CLEAN again: a
 * device that takes nothing for a while does not use up its segments.
 */
void pager_log_appended(struct pager_log *log, const struct pager_log_place *place, const struct quire_log_entry *entries, uint32_t n,
                        bool ok);
/*
 * Does a scan find all that was appended to the segment since it was opened? Not when a batch of it failed, or a sync of its device: what
 * stands behind such a batch may be found by a footer, but nothing may rely on it before. False also when it was opened anew.
 */
bool pager_log_is_whole(const struct pager_log *log, uint32_t segment, uint64_t epoch);
/*
 * A sync of the device failed: what was written since it was synced last may be gone. What is not sealed is not whole, and takes no more; its header
 * may be among it, and comes again with the footer.
 */
void pager_log_doubt(struct pager_log *log, uint32_t device);
/* Closes a device's open segment, or all (PAGER_NO_SEGMENT), as if full: before the end, so that the next start has footers to read. */
void pager_log_close(struct pager_log *log, uint32_t device);
/*
 * A SEALING segment whose batches are written, that was not given out yet, and whose device is not held back; PAGER_NO_SEGMENT: none. Entries stay
 * the log's until sealed.
 */
uint32_t pager_log_to_seal(struct pager_log *log, const struct quire_log_entry **entries, uint32_t *n_entries);
/* Neither OPEN nor SEALING segments. A lost one whose footer is under way, on a drive that may never answer, is none. */
bool pager_log_all_sealed(const struct pager_log *log);
/*
 * Of one that was given out: did the write fail that was to bring its header, or a sync since? Then the header is to be written with the footer, with
 * `tail` as in a place.
 */
bool pager_log_lacks_header(const struct pager_log *log, uint32_t segment, uint64_t *tail);
/*
 * Of one that was given out: did a sync fail since then? A footer that was written in between says nothing of the header: it is to be sealed again.
 */
bool pager_log_seal_doubted(const struct pager_log *log, uint32_t segment);
/* It could not be sealed now: it will be given out again. */
void pager_log_seal_later(struct pager_log *log, uint32_t segment);
/*
 * !ok: it stays without a footer, is scanned at the next start instead, and is SEALED all the same: with a footer or without, it is full. Returned:
 * the tail that its header tells (place.tail), which is durable now; 0: none is.
 */
uint64_t pager_log_sealed(struct pager_log *log, uint32_t segment, bool ok);

/* ---- what lives ----------------------------------------------------------------------------------------------------------- */
void pager_log_live(struct pager_log *log, uint32_t segment, uint32_t bytes); /* one more record that the index points to */
void pager_log_dead(struct pager_log *log, uint32_t segment, uint32_t bytes); /* one fewer */
void pager_log_hold(struct pager_log *log, uint32_t segment);                 /* a read of it begins: its bytes stay */
void pager_log_unhold(struct pager_log *log, uint32_t segment);

/* ---- emptying ------------------------------------------------------------------------------------------------------------- */
uint32_t pager_log_clean(const struct pager_log *log); /* clean segments on devices in use */
uint32_t pager_log_open(const struct pager_log *log);
bool pager_log_device_has_clean(const struct pager_log *log, uint32_t device);
/*
 * The SEALED segment of the lowest epoch, when clean ones on devices that are not set aside are fewer than `wanted`; it becomes EMPTYING.
 * PAGER_NO_SEGMENT: not needed, none there, an older one is being sealed or emptied, or one is UNKNOWN. One at a time. An open one that
 * stands before others is closed: its device may have had nothing to write while another filled up.
 */
uint32_t pager_log_to_empty(struct pager_log *log, uint32_t wanted);
/* Nothing in it is needed any more (live_records is 0): CLEAN as soon as nobody holds it. */
void pager_log_emptied(struct pager_log *log, uint32_t segment);

/* ---- devices -------------------------------------------------------------------------------------------------------------- */
/* Takes a device out of use: its segments are LOST; nothing is appended there any more. False: it was out already. */
bool pager_log_device_lost(struct pager_log *log, uint32_t device);
bool pager_log_device_in_use(const struct pager_log *log, uint32_t device);

/* ---- restart -------------------------------------------------------------------------------------------------------------- */
/*
 * What a segment was found to be, before anything is appended: CLEAN (its epoch too, when it has one: epochs go on from the highest) or
 * SEALED (also one that was open: it is not appended to).
 */
void pager_log_found(struct pager_log *log, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units,
                     uint32_t n_entries);

/* Sums for people. */
struct pager_log_stats {
    uint64_t capacity_bytes; /* of devices in use */
    uint64_t live_bytes, live_records;
    uint64_t used_bytes; /* in segments that are not clean */
    uint32_t segments, clean, open, sealed, lost, devices, devices_lost;
    uint64_t epoch; /* the highest */
    uint64_t books_bytes;
};
void pager_log_stats(const struct pager_log *log, struct pager_log_stats *stats);
/* Recounts and asserts; live sums are the index's affair. */
void pager_log_check(const struct pager_log *log);

#endif
