/*
 * The log's bytes: what a file of the disk tier holds, as codec/LOG.md describes it for whoever writes a reader.
 *
 *   superblock, twice ‖ segment 0 ‖ segment 1 ‖ …         a segment: header ‖ batch ‖ batch ‖ … ‖ footer ‖ trailer
 *
 * A batch is what one write appends: a head with an entry for each record and each tombstone in it, then the records, each beginning on a
 * unit. A segment that was sealed ends in a footer that repeats its entries, so that an index is rebuilt without reading the batches; one
 * that was open when the machine stopped is scanned batch by batch to the first that does not check. A segment that is used again gets a
 * higher epoch: whatever bears another epoch is left over from before. All integers are little-endian.
 *
 * Everything here is pure: bytes in, bytes out; no allocation, thread-safe. Readers treat every byte as hostile.
 */
#ifndef QUIRE_LOG_H
#define QUIRE_LOG_H

#include "proto/quire_types.h"

#include <assert.h>

#define QUIRE_LOG_VERSION 1u
#define QUIRE_LOG_MAX_FILES 16u
/* Records and everything else begin on a unit: the device's block, at least. */
#define QUIRE_LOG_UNIT_MIN 512u
#define QUIRE_LOG_UNIT_MAX 4096u
/* A place is told in 17 bits. */
#define QUIRE_LOG_MAX_SEGMENT_UNITS (1u << 17)
#define QUIRE_LOG_MIN_SEGMENT_UNITS 8u
#define QUIRE_LOG_MAX_SEGMENTS (1u << 22)
/* Sequences begin with the generation in their upper 24 bits, and one more stands behind the last. */
#define QUIRE_LOG_GENERATIONS (1ull << 23)
/* Segments that are opened in one generation: far fewer than this many bits can tell. So whatever epoch a file claims, there are higher ones left. */
#define QUIRE_LOG_EPOCH_BITS 40u
/* Where the superblock's copies lie, and the first segment. */
#define QUIRE_LOG_SUPERBLOCK_BYTES 4096u
#define QUIRE_LOG_SUPERBLOCK_COPIES 2u
#define QUIRE_LOG_SUPERBLOCK_STRIDE (512u << 10)
#define QUIRE_LOG_FIRST_SEGMENT (1u << 20)
/* Entries of one batch: the head of a full one is below 64 KiB. */
#define QUIRE_LOG_MAX_BATCH 512u

#define QUIRE_LOG_MAGIC_SUPERBLOCK 0x42534c51u /* "QLSB" */
#define QUIRE_LOG_MAGIC_SEGMENT 0x47534c51u    /* "QLSG" */
#define QUIRE_LOG_MAGIC_BATCH 0x54424c51u      /* "QLBT" */
#define QUIRE_LOG_MAGIC_TRAILER 0x52544c51u    /* "QLTR" */

/* ---- superblock ----------------------------------------------------------------------------------------------------------- */
/*
 * The valid copy of the higher generation counts. A start writes one copy, then the metadata, then the other copy, before the first record: so whoever finds
 * files of different times side by side can tell (codec/LOG.md: Generations).
 */
struct quire_log_superblock {
    uint32_t magic;
    uint32_t version;
    uint8_t set_id[16];  /* equal in all files of one set */
    uint8_t file_id[16]; /* this file's own */
    uint64_t generation; /* below QUIRE_LOG_GENERATIONS */
    uint64_t created_s;  /* seconds since 1970, for people */
    uint16_t file_index, n_files;
    uint32_t unit_bytes;
    uint32_t segment_units;
    uint32_t n_segments;   /* in this file */
    uint32_t first_number; /* of this file's segment 0 in the set */
    uint32_t flags;        /* enum quire_log_superblock_flags */
    uint64_t snapshot;     /* CLEAN: the snapshot file's id */
    uint8_t reserved[32];
    uint64_t check; /* XXH3-64 of the bytes before */
};
static_assert(sizeof(struct quire_log_superblock) == 128, "stored format");
static_assert(offsetof(struct quire_log_superblock, check) == 120, "stored format");

enum quire_log_superblock_flags { QUIRE_LOG_CLEAN = 1 /* the set was closed in good order */ };

/* Writes QUIRE_LOG_SUPERBLOCK_BYTES, zero behind the structure. Magic, version and check are filled in. */
void quire_log_superblock_encode(const struct quire_log_superblock *superblock, uint8_t out[QUIRE_LOG_SUPERBLOCK_BYTES]);
/* CORRUPT (magic, check, a size out of range, only the version turned) or VERSION (*superblock then has magic and version only). */
enum quire_status quire_log_superblock_decode(const uint8_t in[QUIRE_LOG_SUPERBLOCK_BYTES], struct quire_log_superblock *superblock);
/* The lowest generation of a metadata file that may stand beside a file with this copy, once it was whole in both or is the older one. */
uint64_t quire_log_superblock_meta(const struct quire_log_superblock *superblock);

/* ---- entries -------------------------------------------------------------------------------------------------------------- */
enum quire_log_kind {
    QUIRE_LOG_RECORD = 1,
    QUIRE_LOG_TOMBSTONE = 2 /* the block of this key was deleted: all of its records with a lower sequence are */
};
enum quire_log_entry_flags {
    QUIRE_LOG_PARENT_UNKNOWN = 1, /* external key: nothing is known of what comes before */
    QUIRE_LOG_ROOT = 2            /* first block: no parent */
};

struct quire_log_entry {
    quire_key key;
    quire_key parent;
    uint64_t sequence; /* of two records of one key and group the higher counts */
    uint64_t check;    /* XXH3-64 of the record's header and directory, which hold the payload's sums; tombstone: 0 */
    uint32_t ns;       /* the namespace's serial: a namespace that is made again gets another one (its generation) */
    uint32_t at_units; /* from the segment's start */
    uint32_t size_bytes;
    float error, ancestry_error;
    uint16_t n_tokens;
    uint8_t group, rung;
    uint8_t kind;  /* enum quire_log_kind */
    uint8_t flags; /* enum quire_log_entry_flags */
    uint8_t reserved[6];
};
static_assert(sizeof(struct quire_log_entry) == 112, "stored format");
static_assert(offsetof(struct quire_log_entry, sequence) == 64 && offsetof(struct quire_log_entry, kind) == 104, "stored format");

struct quire_log_geometry {
    uint32_t unit_bytes, segment_units;
    uint8_t set_id[16];  /* batches bear it: what a client once stored there cannot pose as one */
    uint64_t generation; /* the newest superblock's: quire_log_epoch_end */
};
/* No life up to this generation's gave a segment as high an epoch: each begins at most where the one before it had to end. */
static inline uint64_t quire_log_epoch_end(const struct quire_log_geometry *g) { return (g->generation + 1) << QUIRE_LOG_EPOCH_BITS; }
static inline uint32_t quire_log_units(const struct quire_log_geometry *g, uint64_t bytes) {
    return (uint32_t)((bytes + g->unit_bytes - 1) / g->unit_bytes);
}
/* The sum that belongs into entry.check. `record` is a sealed record of at least a header; CORRUPT when its sizes make no sense. */
enum quire_status quire_log_record_check(const uint8_t *record, size_t size, uint64_t *check);
/*
 * Does what lies at an entry's place agree with it, down to the last lane? No layout is needed: the entry's sum vouches for header and
 * directory, and these for the lanes. `record` holds entry->size_bytes. OK or CORRUPT.
 */
enum quire_status quire_log_record_verify(const uint8_t *record, const struct quire_log_entry *entry);

/* ---- segments and batches ------------------------------------------------------------------------------------------------- */
struct quire_log_segment_header { /* the segment's first unit */
    uint32_t magic;
    uint32_t version;
    uint64_t epoch; /* grows with each segment that is opened, over the whole set */
    uint8_t set_id[16];
    uint32_t segment; /* its number in the set */
    uint8_t reserved[4];
    uint64_t tail_epoch; /* segments of lower epochs had been emptied when this one was opened: whatever still lies there is dead */
    uint8_t reserved2[8];
    uint64_t check;
};
static_assert(sizeof(struct quire_log_segment_header) == 64, "stored format");
static_assert(offsetof(struct quire_log_segment_header, tail_epoch) == 40, "stored format");

struct quire_log_batch {
    uint32_t magic;
    uint16_t version;
    uint16_t n_entries;
    uint64_t epoch;
    uint32_t at_units;   /* from the segment's start: a batch elsewhere is not this one */
    uint32_t size_units; /* head and records */
    uint64_t entries_check;
    uint8_t set_id[16];
    uint8_t reserved[8];
    uint64_t check; /* of the bytes before */
};
static_assert(sizeof(struct quire_log_batch) == 64, "stored format");

struct quire_log_trailer { /* the segment's last unit */
    uint32_t magic;
    uint32_t version;
    uint64_t epoch;
    uint8_t set_id[16];
    uint32_t segment;
    uint32_t n_entries;
    uint32_t footer_units; /* where the footer begins, from the segment's start */
    uint32_t used_units;   /* where the last batch ends */
    uint64_t entries_check;
    uint64_t check;
};
static_assert(sizeof(struct quire_log_trailer) == 64, "stored format");

/* Units of a batch's head with n entries, and of a footer (without its trailer). */
uint32_t quire_log_head_units(const struct quire_log_geometry *g, uint32_t n_entries);
uint32_t quire_log_footer_units(const struct quire_log_geometry *g, uint32_t n_entries);

/* Each writes whole units, zero behind what they hold; magic, version and checks are filled in. */
void quire_log_segment_header_encode(const struct quire_log_geometry *g, const struct quire_log_segment_header *header, uint8_t *out);
void quire_log_head_encode(const struct quire_log_geometry *g, const struct quire_log_batch *batch, const struct quire_log_entry *entries,
                           uint8_t *out);
/* Footer and trailer, as they lie at the segment's end: quire_log_footer_units + 1 units. */
void quire_log_footer_encode(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer,
                             const struct quire_log_entry *entries, uint8_t *out);

/* OK; CORRUPT; VERSION; MISMATCH: of another set or segment. */
enum quire_status quire_log_segment_header_decode(const struct quire_log_geometry *g, const uint8_t *in, const uint8_t set_id[16],
                                                  uint32_t segment, struct quire_log_segment_header *header);
/*
 * The head that begins at `at_units`; `in` holds `size` bytes from there. OK: *batch is right, and its entries were checked, each one's
 * place inside the batch, and copied to entries[0..n_entries) (room for QUIRE_LOG_MAX_BATCH). TOO_LARGE: more bytes are needed,
 * batch->n_entries tells how many entries. MISMATCH: another set, epoch, or place: the end of what was written. CORRUPT: the end, too.
 */
enum quire_status quire_log_head_decode(const struct quire_log_geometry *g, const uint8_t *in, size_t size, uint64_t epoch,
                                        uint32_t at_units, struct quire_log_batch *batch, struct quire_log_entry *entries);
/* The epoch that the head in the segment's unit 1 bears (`in`); 0: there is none, or none of this set. For a segment whose header is damaged. */
uint64_t quire_log_first_epoch(const struct quire_log_geometry *g, const uint8_t *in);
/* The trailer alone, then the footer (`in` holds its units), whose entries are checked one by one and copied to entries[0..n_entries). */
enum quire_status quire_log_trailer_decode(const struct quire_log_geometry *g, const uint8_t *in, const uint8_t set_id[16],
                                           uint32_t segment, struct quire_log_trailer *trailer);
enum quire_status quire_log_footer_decode(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer, const uint8_t *in,
                                          struct quire_log_entry *entries);
/* Could it stand in this segment: kind, sizes, group, place? */
bool quire_log_entry_valid(const struct quire_log_geometry *g, const struct quire_log_entry *entry);

#endif
