/* The snapshot of the index: told again as it was written; what is damaged, misplaced or forged is refused. */
#include "codec/log_snapshot.h"
#include "tests/unit/codec_log_sample.h"
#include "tests/unit/hex.h"

#include <math.h>

static const char golden[] =
    "514c534e03000000a00102030405060708090a0b0c0d0e0f535251000000000049474645444342410200000000000000030000000002000040000000000000000000"
    "0000000000000000000000000000ac8629c3bc4da8593ed4b060efa949d80500000046000000ffffffff000000004947464544434241000000000200000006725428"
    "4b3b2d3cc906ce700d6c7eb0101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f404142434445464748494a4b4c4d4e4f505152535455"
    "565758595a5b5c5d5e5f282726252423222107000000050000000200000003000000e80300000000003f0000803e020103010000b2a1000000008081828384858687"
    "88898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f000000000000000000000000000000000000000000000000000000000000000009000000000000000800"
    "0000060000000a00000001000000ffffffff0000000000000000100000000200000000000000";

enum { HEAD_BYTES = 96 + 16, CHUNK_BYTES = 32 + 2 * 112, ALL_BYTES = HEAD_BYTES + CHUNK_BYTES };

static const uint32_t openings[3] = {5, 70, QUIRE_SNAPSHOT_NEVER};

static struct quire_snapshot_head sample_head(void) {
    struct quire_snapshot_head head = {.generation = 0x515253,
                                       .id = 0x4142434445464749,
                                       .n_entries = 2,
                                       .n_openings = 3,
                                       .unit_bytes = UNIT,
                                       .segment_units = sample_log.segment_units};
    memcpy(head.set_id, sample_set, 16);
    return head;
}

static void sample_entries(struct quire_snapshot_entry entries[2]) {
    entries[0] = (struct quire_snapshot_entry){.key = sample_log_key(0x10),
                                               .parent = sample_log_key(0x40),
                                               .epoch = EPOCH,
                                               .ns = 7,
                                               .segment = 5,
                                               .at_units = 2,
                                               .size_units = 3,
                                               .idle_ticks = 1000,
                                               .error = 0.5f,
                                               .ancestry_error = 0.25f,
                                               .n_tokens = 258,
                                               .group = 3,
                                               .rung = QUIRE_RUNG_LOSSLESS,
                                               .check = 0xa1b2};
    entries[1] = (struct quire_snapshot_entry){.key = sample_log_key(0x80),
                                               .epoch = 9,
                                               .ns = 8,
                                               .segment = 6,
                                               .at_units = 10,
                                               .size_units = 1,
                                               .idle_ticks = QUIRE_SNAPSHOT_NEVER,
                                               .n_tokens = 16,
                                               .flags = QUIRE_LOG_ROOT};
}

/* A whole file in a heap block of exactly its size. */
static uint8_t *encoded(const struct quire_snapshot_entry entries[2]) {
    struct quire_snapshot_head head = sample_head();
    struct quire_snapshot_chunk chunk;
    cr_assert_eq(quire_snapshot_chunks(&head), 1);
    cr_assert_eq(quire_snapshot_chunks_at(&head), HEAD_BYTES);
    cr_assert_eq(quire_snapshot_chunk_at(&head, 1), ALL_BYTES);
    uint8_t *bytes = heap_bytes(ALL_BYTES);
    quire_snapshot_head_encode(&head, openings, bytes);
    quire_snapshot_chunk_seal(head.id, 0, entries, 2, &chunk);
    memcpy(bytes + HEAD_BYTES, &chunk, sizeof chunk);
    memcpy(bytes + HEAD_BYTES + sizeof chunk, entries, 2 * sizeof entries[0]);
    return bytes;
}

/* The whole file, part after part, each copied to a heap block of its size. */
static enum quire_status decode(const uint8_t *bytes, struct quire_snapshot_entry entries[2]) {
    const struct quire_snapshot_head expected = sample_head();
    struct quire_snapshot_head head;
    uint32_t told[3];
    enum quire_status status = quire_snapshot_head_decode(bytes, &expected, &head);
    if (status == QUIRE_OK && (head.n_openings != 3 || head.n_entries != 2)) {
        return QUIRE_CORRUPT; /* the file's size tells that */
    }
    status = status == QUIRE_OK ? quire_snapshot_openings_decode(&head, bytes + sizeof head, told) : status;
    if (status == QUIRE_OK) {
        cr_assert_eq(memcmp(told, openings, sizeof told), 0);
        uint8_t *chunk = heap_bytes(CHUNK_BYTES);
        memcpy(chunk, bytes + HEAD_BYTES, CHUNK_BYTES);
        status = quire_snapshot_chunk_decode(&head, 0, chunk, entries);
        free(chunk);
    }
    return status;
}

/* Every byte, as another program wrote it from the description in LOG.md; and back. */
Test(snapshot, golden_bytes) {
    struct quire_snapshot_entry entries[2], told[2];
    sample_entries(entries);
    uint8_t *bytes = encoded(entries);
    cr_assert_hex(bytes, ALL_BYTES, golden);
    cr_assert_eq(decode(bytes, told), QUIRE_OK);
    cr_assert_eq(memcmp(told, entries, sizeof told), 0);
    free(bytes);
}

/* There is no bit that does not count. */
Test(snapshot, flipped_bits) {
    struct quire_snapshot_entry entries[2], told[2];
    sample_entries(entries);
    uint8_t *bytes = encoded(entries);
    for (size_t bit = 0; bit < 8 * ALL_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(decode(bytes, told), bit / 32 == 1 ? QUIRE_VERSION : QUIRE_CORRUPT, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}

/* A whole one of another stop, another set, another geometry; and a chunk in another's place. */
Test(snapshot, not_this_one) {
    const struct quire_snapshot_head written = sample_head();
    struct quire_snapshot_entry entries[2], told[2];
    sample_entries(entries);
    uint8_t *bytes = encoded(entries);
    for (int i = 0; i < 5; i++) {
        struct quire_snapshot_head expected = written, head;
        expected.id += i == 0;
        expected.generation -= i == 1;
        expected.set_id[15] ^= i == 2;
        expected.unit_bytes *= i == 3 ? 2 : 1;
        expected.segment_units += i == 4;
        cr_assert_eq(quire_snapshot_head_decode(bytes, &expected, &head), QUIRE_MISMATCH, "%d", i);
    }
    struct quire_snapshot_head longer = written;
    longer.n_entries = QUIRE_SNAPSHOT_CHUNK + 2; /* a second chunk of two: whole in itself, and not the second */
    cr_assert_eq(quire_snapshot_chunks(&longer), 2);
    cr_assert_eq(quire_snapshot_chunk_entries(&longer, 1), 2);
    cr_assert_eq(quire_snapshot_chunk_decode(&longer, 1, bytes + HEAD_BYTES, told), QUIRE_CORRUPT);
    cr_assert_eq(quire_snapshot_chunk_decode(&longer, 2, bytes + HEAD_BYTES, told), QUIRE_CORRUPT);
    longer = written;
    longer.id++;
    cr_assert_eq(quire_snapshot_chunk_decode(&longer, 0, bytes + HEAD_BYTES, told), QUIRE_CORRUPT);
    free(bytes);
}

/* What remains in the log without the index finding it, and that nobody can tell what does, are told again as they were written. */
Test(snapshot, remains) {
    struct quire_snapshot_entry entries[2] = {
        {.key = sample_log_key(0x30), .epoch = 7, .ns = 3, .segment = 5, .kind = QUIRE_SNAPSHOT_REMAIN},
        {.epoch = 9, .segment = 1, .kind = QUIRE_SNAPSHOT_DOUBT},
    };
    struct quire_snapshot_entry told[2];
    uint8_t *bytes = encoded(entries);
    cr_assert_eq(decode(bytes, told), QUIRE_OK);
    cr_assert_eq(memcmp(told, entries, sizeof told), 0);
    free(bytes);
}

/* Sums are right, but what they are of could not stand in a log. */
Test(snapshot, forged_entries) {
    for (int i = 0; i < 23; i++) {
        struct quire_snapshot_entry entries[2], told[2];
        sample_entries(entries);
        struct quire_snapshot_entry *e = &entries[i % 2];
        switch (i) {
        case 0:
            e->epoch = 0;
            break;
        case 1:
            e->segment = QUIRE_LOG_MAX_SEGMENTS;
            break;
        case 2:
            e->at_units = 1;
            break;
        case 3:
            e->at_units = 63;
            break; /* over the trailer */
        case 4:
            e->at_units = UINT32_MAX;
            break;
        case 5:
            e->size_units = 0;
            break;
        case 6:
            e->size_units = 62;
            break;
        case 7:
            e->size_units = 1u << 23;
            break; /* times 512: 0 in 32 bits */
        case 8:
            e->error = NAN;
            break;
        case 9:
            e->ancestry_error = -1;
            break;
        case 10:
            e->n_tokens = 0;
            break;
        case 11:
            e->n_tokens = QUIRE_MAX_BLOCK_TOKENS + 1;
            break;
        case 12:
            e->group = QUIRE_MAX_GROUPS;
            break;
        case 13:
            e->rung = 99;
            break;
        case 14:
            e->flags = QUIRE_LOG_ROOT | QUIRE_LOG_PARENT_UNKNOWN;
            break;
        case 15:
            e->reserved[3] = 1;
            break;
        case 16:
            e->kind = QUIRE_SNAPSHOT_DOUBT + 1;
            break;
        case 17:
            e->kind = QUIRE_SNAPSHOT_REMAIN; /* and yet it has a place */
            break;
        case 18:
            *e = (struct quire_snapshot_entry){.key = e->key, .segment = 1, .kind = QUIRE_SNAPSHOT_REMAIN}; /* of no epoch */
            break;
        case 19:
            e->epoch = 0x515254ull << QUIRE_LOG_EPOCH_BITS; /* higher than any life's up to the head's generation */
            break;
        case 20:
            *e = (struct quire_snapshot_entry){
                .epoch = 1, .segment = 1, .ns = 3, .kind = QUIRE_SNAPSHOT_DOUBT}; /* which is of any namespace */
            break;
        case 21:
            *e = (struct quire_snapshot_entry){.key = e->key, .epoch = 1, .segment = 1, .kind = QUIRE_SNAPSHOT_DOUBT};
            break;
        default:
            *e = (struct quire_snapshot_entry){.epoch = 1, .segment = 1, .n_tokens = 1, .kind = QUIRE_SNAPSHOT_DOUBT};
        }
        uint8_t *bytes = encoded(entries);
        cr_assert_eq(decode(bytes, told), QUIRE_CORRUPT, "lie %d", i);
        free(bytes);
    }
}

/* Heads that lie about their sizes, with a sum that is right. */
Test(snapshot, forged_heads) {
    for (int i = 0; i < 8; i++) {
        struct quire_snapshot_head expected = sample_head(), head;
        struct quire_snapshot_head lie = expected;
        uint8_t bytes[sizeof head];
        lie.magic = i == 0 ? QUIRE_LOG_MAGIC_SUPERBLOCK : QUIRE_SNAPSHOT_MAGIC;
        lie.version = QUIRE_SNAPSHOT_VERSION;
        lie.id = i == 1 ? 0 : lie.id;
        lie.n_entries = i == 2 ? QUIRE_SNAPSHOT_MAX_ENTRIES + 1 : lie.n_entries;
        lie.n_openings = i == 3 ? QUIRE_LOG_MAX_SEGMENTS + 1 : lie.n_openings;
        lie.unit_bytes = i == 4 ? 513 : lie.unit_bytes;
        lie.segment_units = i == 5 ? 7 : lie.segment_units;
        lie.reserved[19] = i == 6;
        lie.generation = expected.generation = i == 7 ? QUIRE_LOG_GENERATIONS : lie.generation;
        memcpy(bytes, &lie, sizeof lie);
        sample_log_resum(bytes, sizeof bytes);
        cr_assert_eq(quire_snapshot_head_decode(bytes, &expected, &head), QUIRE_CORRUPT, "lie %d", i);
    }
}

/* A set that held nothing has a head, and no more. */
Test(snapshot, empty) {
    struct quire_snapshot_head head = sample_head(), told;
    uint32_t none;
    head.n_entries = head.n_openings = 0;
    cr_assert_eq(quire_snapshot_chunk_at(&head, quire_snapshot_chunks(&head)), sizeof head);
    uint8_t *bytes = heap_bytes(sizeof head);
    quire_snapshot_head_encode(&head, NULL, bytes);
    cr_assert_eq(quire_snapshot_head_decode(bytes, &head, &told), QUIRE_OK);
    cr_assert_eq(quire_snapshot_openings_decode(&told, bytes + sizeof head, &none), QUIRE_OK);
    free(bytes);
}
