/*
 * The snapshot of the index: which records lie where, and which keys the log may hold besides, as it was known when the set was closed in good order.
 * A start that finds it whole need not read the footers, and knows what no footer tells: when each block was last used. It is a help, never the
 * truth: whoever doubts any byte of it reads the log.
 *
 *   head (96 bytes) ‖ openings, 4 bytes each, zero up to a multiple of 8 ‖ chunks, each {struct quire_snapshot_chunk, entries}
 *
 * It counts for one start only: the superblocks name its id and generation, with QUIRE_LOG_CLEAN, and the next start writes others. Ages are counted
 * in ticks of 2^24 ns of the daemon's running time, back from the moment at which it was written.
 *
 * Pure; readers treat every byte as hostile.
 */
#ifndef QUIRE_LOG_SNAPSHOT_H
#define QUIRE_LOG_SNAPSHOT_H

#include "codec/log.h"

#define QUIRE_SNAPSHOT_MAGIC 0x4e534c51u /* "QLSN" */
#define QUIRE_SNAPSHOT_VERSION 3u
/* Entries of a chunk: all but the last have so many. */
#define QUIRE_SNAPSHOT_CHUNK 4096u
#define QUIRE_SNAPSHOT_MAX_ENTRIES (1ull << 36)

struct quire_snapshot_head {
    uint32_t magic;
    uint32_t version;
    uint8_t set_id[16];
    uint64_t generation; /* of the superblocks that name it */
    uint64_t id;         /* not 0 */
    uint64_t n_entries;
    uint32_t n_openings; /* at most QUIRE_LOG_MAX_SEGMENTS */
    uint32_t unit_bytes, segment_units;
    uint8_t reserved[20];
    uint64_t openings_check; /* of the openings, without what is behind them */
    uint64_t check;
};
static_assert(sizeof(struct quire_snapshot_head) == 96, "stored format");
static_assert(offsetof(struct quire_snapshot_head, openings_check) == 80, "stored format");

struct quire_snapshot_chunk {
    uint64_t id;     /* the snapshot's */
    uint32_t number; /* from 0 */
    uint32_t n_entries;
    uint64_t entries_check;
    uint64_t check;
};
static_assert(sizeof(struct quire_snapshot_chunk) == 32, "stored format");

/* What an entry tells of. All but key, epoch, ns, segment and kind are zero in the last two. */
enum quire_snapshot_kind {
    QUIRE_SNAPSHOT_RECORD, /* the index finds it there */
    QUIRE_SNAPSHOT_REMAIN, /* the segment may hold a record of this key that the index does not find: its deletion needs a tombstone */
    QUIRE_SNAPSHOT_DOUBT   /* of any key, as far as segments of this one's device up to this epoch go; key and ns are zero */
};

#define QUIRE_SNAPSHOT_NEVER UINT32_MAX /* for idle_ticks: not used since nobody knows when */

struct quire_snapshot_entry {
    quire_key key;
    quire_key parent;    /* zero when a flag says that there is none */
    uint64_t epoch;      /* the segment's: one that bears another was used again since */
    uint32_t ns;         /* the namespace's serial */
    uint32_t segment;    /* its number in the set */
    uint32_t at_units;   /* as in struct quire_log_entry */
    uint32_t size_units; /* of the record */
    uint32_t idle_ticks; /* since the block was last used */
    float error, ancestry_error;
    uint16_t n_tokens;
    uint8_t group, rung;
    uint8_t flags;  /* enum quire_log_entry_flags */
    uint8_t kind;   /* enum quire_snapshot_kind */
    uint16_t check; /* of the record: the lowest bits of its entry's, as many as the index has room for; the others are zero */
    uint8_t reserved[4];
};
static_assert(sizeof(struct quire_snapshot_entry) == 112, "stored format");
static_assert(offsetof(struct quire_snapshot_entry, epoch) == 64 && offsetof(struct quire_snapshot_entry, n_tokens) == 100,
              "stored format");

/* Where the first chunk begins; where chunk `number` begins, and, for the number behind the last, the file's length; how many there are. */
uint64_t quire_snapshot_chunks_at(const struct quire_snapshot_head *head);
uint64_t quire_snapshot_chunk_at(const struct quire_snapshot_head *head, uint32_t number);
uint32_t quire_snapshot_chunks(const struct quire_snapshot_head *head);
uint32_t quire_snapshot_chunk_entries(const struct quire_snapshot_head *head, uint32_t number);

/* Magic, version and checks are filled in. Writes quire_snapshot_chunks_at(head) bytes. */
void quire_snapshot_head_encode(const struct quire_snapshot_head *head, const uint32_t *openings, uint8_t *out);
/* The head alone. OK; CORRUPT; VERSION; MISMATCH: of another set, generation, id or geometry than `expected` has. */
enum quire_status quire_snapshot_head_decode(const uint8_t in[sizeof(struct quire_snapshot_head)],
                                             const struct quire_snapshot_head *expected, struct quire_snapshot_head *head);
/* `in` is what lies between the head and the first chunk. CORRUPT: nothing was copied that counts. */
enum quire_status quire_snapshot_openings_decode(const struct quire_snapshot_head *head, const uint8_t *in, uint32_t *openings);

/* Fills a chunk's head in, for the entries that follow it in the file. */
void quire_snapshot_chunk_seal(uint64_t id, uint32_t number, const struct quire_snapshot_entry *entries, uint32_t n_entries,
                               struct quire_snapshot_chunk *chunk);
/*
 * Chunk `number` of a snapshot, all of its bytes: its entries are copied, and each one checked. CORRUPT: none counts. OK: each could
 * stand in a log of this geometry; whether it still lies there, the segment's epoch tells.
 */
enum quire_status quire_snapshot_chunk_decode(const struct quire_snapshot_head *head, uint32_t number, const uint8_t *in,
                                              struct quire_snapshot_entry *entries);
bool quire_snapshot_entry_valid(const struct quire_log_geometry *g, const struct quire_snapshot_entry *entry);

#endif
