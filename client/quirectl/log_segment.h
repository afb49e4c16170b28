/*
 * One segment of the disk tier's log, as bytes in memory: what a restart takes from it, what of it is damaged, and what is to be written so
 * that a reader passes over the damage (codec/LOG.md, "Reading a set" and "Repair"). No file is touched here. Every byte is hostile.
 */
#ifndef QUIRECTL_LOG_SEGMENT_H
#define QUIRECTL_LOG_SEGMENT_H

#include "codec/log.h"

enum log_state {
    LOG_CLEAN,   /* holds nothing */
    LOG_OPEN,    /* has no footer that counts: read batch by batch */
    LOG_SEALED,  /* read by its footer */
    LOG_HEADLESS /* without a header: its deletions count, its records do not */
};
enum log_part { LOG_PART_HEADER, LOG_PART_HEAD, LOG_PART_RECORD, LOG_PART_FOOTER };

#define LOG_TEXT_BYTES 200
struct log_damage {
    enum log_part part;
    uint32_t at_units;
    uint32_t entry;    /* RECORD: which of the entries, when `footer` tells of it */
    uint32_t from, to; /* HEAD: the footer's entries that no other head has */
    uint32_t end_units;
    uint32_t lost; /* records that are not used because of it */
    char text[LOG_TEXT_BYTES];
};

struct log_batch { /* a head that checks */
    uint32_t at_units, end_units;
    uint32_t first, n; /* its entries in `told` */
};

struct log_segment {
    /* The caller's */
    const struct quire_log_geometry *geometry;
    const uint8_t *set_id, *bytes; /* geometry->segment_units units */
    uint32_t number;
    bool verify; /* reads the records, too */
    /* The outcome */
    enum log_state state;
    bool header, footer; /* are whole, and count */
    uint64_t epoch;      /* 0: unknown */
    uint64_t tail_epoch; /* as the header has it; without one, what is certain all the same */
    uint32_t used_units;
    struct quire_log_entry *entries; /* those that count, in order; with a footer: all of it */
    uint8_t *bad;                    /* one an entry: its record is not whole */
    uint32_t n_entries, n_records, n_tombstones, n_bad;
    uint64_t record_bytes; /* of those that are whole */
    struct log_batch *batches;
    struct quire_log_entry *told;
    uint32_t n_batches, n_told;
    struct log_damage *damages;
    uint32_t n_damages;
    uint32_t told_capacity, damages_capacity; /* inside */
};

/* OK, whatever is damaged; NO_MEMORY. To be freed in both cases. */
enum quire_status log_segment_examine(struct log_segment *segment);
void log_segment_free(struct log_segment *segment);

/* What is to be written, in this order; what is written is synced before the next. */
struct log_patch {
    uint32_t at_units, units;
    uint8_t *bytes;
};
struct log_patches {
    struct log_patch *patch;
    uint32_t n;
};
/*
 * How the damage of an examined segment (`verify`) is passed over from now on. `older` tells the highest sequence below the entry's that a
 * record of the same namespace, key and group has elsewhere in the log, 0 when there is none: such a one must not come back, so that a
 * tombstone takes the damaged record's place. Nothing to write: there is no way. NO_MEMORY. To be freed in both cases.
 */
typedef uint64_t log_older(void *ctx, const struct quire_log_entry *entry);
enum quire_status log_segment_mend(const struct log_segment *segment, log_older *older, void *ctx, struct log_patches *patches);
void log_patches_free(struct log_patches *patches);

#endif
