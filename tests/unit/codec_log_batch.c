/* Batches: told again as they were written; what is torn, stale, misplaced or forged ends the scan. */
#include "codec/log.h"
#include "tests/unit/codec_log_sample.h"
#include "tests/unit/hex.h"

#define AT 6u

static const char golden_head[] =
    "514c425401000400282726252423222106000000070000000a8b1c5013ff8ebd0000000000000000000000000000000000000000000000001540c441b7ed3c181011"
    "12131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f08070605"
    "0403020118171615141312110700000007000000000400000000003f0000803e020103010102000000000000808182838485868788898a8b8c8d8e8f909192939495"
    "969798999a9b9c9d9e9f0000000000000000000000000000000000000000000000000000000000000000090000000000000000000000000000000700000000000000"
    "000000000000000000000000000000000200000000000000101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f40414243444546474849"
    "4a4b4c4d4e4f505152535455565758595a5b5c5d5e5f080706050403020118171615141312110700000009000000800000000000003f0000803e0201030101020000"
    "00000000101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d"
    "5e5f08070605040302011817161514131211070000000a000000010400000000003f0000803e020103010102000000000000";

struct head {
    struct quire_log_batch batch;
    struct quire_log_entry entries[4];
    uint8_t *bytes;
    size_t size; /* of the batch's fixed part and its entries */
};

/* At unit 6: a head of 64 + 4 · 112 = 512 bytes (unit 6), a record of two units (7, 8), a tombstone, one of a unit (9), one of three (10 to 12). */
static struct head sample_head(void) {
    struct head head = {.batch = {.n_entries = 4, .epoch = EPOCH, .at_units = AT, .size_units = 7, .reserved = {9}}};
    head.entries[0] = sample_log_record(7, 2 * UNIT);
    head.entries[1] = sample_log_tombstone();
    head.entries[2] = sample_log_record(9, 128);
    head.entries[3] = sample_log_record(10, 2 * UNIT + 1);
    head.size = 64 + 4 * 112;
    head.bytes = heap_bytes(head.size);
    cr_assert_eq(quire_log_head_units(&sample_log, 4), 1);
    quire_log_head_encode(&sample_log, &head.batch, head.entries, head.bytes);
    return head;
}

static enum quire_status decode_head(const struct head *head, size_t size) {
    struct quire_log_batch batch;
    struct quire_log_entry *entries = malloc(QUIRE_LOG_MAX_BATCH * sizeof(*entries));
    enum quire_status status = quire_log_head_decode(&sample_log, head->bytes, size, EPOCH, AT, &batch, entries);
    if (status == QUIRE_OK) {
        cr_assert(batch.epoch == EPOCH && batch.at_units == AT && batch.n_entries <= QUIRE_LOG_MAX_BATCH);
    }
    free(entries);
    return status;
}

Test(batch, golden_bytes) {
    struct head head = sample_head();
    struct quire_log_batch batch;
    struct quire_log_entry entries[QUIRE_LOG_MAX_BATCH];
    cr_assert_hex(head.bytes, head.size, golden_head);
    cr_assert_eq(quire_log_head_decode(&sample_log, head.bytes, head.size, EPOCH, AT, &batch, entries), QUIRE_OK);
    cr_assert(batch.n_entries == 4 && batch.size_units == 7 && batch.epoch == EPOCH && batch.at_units == AT);
    cr_assert_eq(memcmp(entries, head.entries, sizeof(head.entries)), 0);
    free(head.bytes);
}

/* Whole units are written, zero behind the entries; a head of 512 entries stays below 64 KiB. */
Test(batch, units_of_heads) {
    const struct quire_log_geometry wide = {.unit_bytes = 4096, .segment_units = 1024};
    cr_assert_eq(quire_log_head_units(&sample_log, 1), 1);
    cr_assert_eq(quire_log_head_units(&sample_log, 4), 1);
    cr_assert_eq(quire_log_head_units(&sample_log, 5), 2);
    cr_assert_eq(quire_log_head_units(&wide, 36), 1);
    cr_assert_eq(quire_log_head_units(&wide, 37), 2);
    cr_assert_leq(quire_log_head_units(&wide, QUIRE_LOG_MAX_BATCH) * 4096u, 64u << 10);
    cr_assert_eq(quire_log_footer_units(&wide, 0), 0);
    cr_assert_eq(quire_log_footer_units(&wide, 36), 1);
    cr_assert_eq(quire_log_footer_units(&wide, 37), 2);
    struct quire_log_batch batch = {.n_entries = 1, .epoch = EPOCH, .at_units = 1, .size_units = 2};
    struct quire_log_entry entry = sample_log_record(2, 200);
    uint8_t *bytes = heap_bytes(4096);
    quire_log_head_encode(&wide, &batch, &entry, bytes);
    cr_assert(is_zero_from(bytes, 64 + 112, 4096));
    free(bytes);
}

/* Every single flipped bit of the batch and its entries is refused. */
Test(batch, flipped_bits) {
    struct head head = sample_head();
    for (size_t bit = 0; bit < 8 * head.size; bit++) {
        flip_bit(head.bytes, bit);
        enum quire_status expected = bit / 16 == 2 ? QUIRE_VERSION : QUIRE_CORRUPT;
        cr_assert_eq(decode_head(&head, head.size), expected, "bit %zu", bit);
        flip_bit(head.bytes, bit);
    }
    cr_assert_eq(decode_head(&head, head.size), QUIRE_OK);
    free(head.bytes);
}

/* Padding behind the entries may be anything: it is not looked at, and need not even be there. */
Test(batch, padding_is_harmless) {
    struct head head = {.batch = {.n_entries = 1, .epoch = EPOCH, .at_units = AT, .size_units = 2}, .size = UNIT};
    head.entries[0] = sample_log_record(7, UNIT);
    head.bytes = heap_bytes(UNIT);
    quire_log_head_encode(&sample_log, &head.batch, head.entries, head.bytes);
    for (size_t bit = 8 * (64 + 112); bit < 8 * UNIT; bit++) {
        flip_bit(head.bytes, bit);
        cr_assert_eq(decode_head(&head, UNIT), QUIRE_OK, "bit %zu", bit);
    }
    cr_assert_eq(decode_head(&head, 64 + 112), QUIRE_OK);
    free(head.bytes);
}

/* However little of the head is there, nothing behind it is read, and as soon as the count is known the caller learns it. */
Test(batch, truncated_heads_ask_for_more) {
    struct head head = sample_head();
    struct quire_log_batch batch;
    struct quire_log_entry entries[4];
    for (size_t size = 0; size < head.size; size++) {
        uint8_t *cut = heap_bytes(size);
        memcpy(cut, head.bytes, size);
        cr_assert_eq(quire_log_head_decode(&sample_log, cut, size, EPOCH, AT, &batch, entries), QUIRE_TOO_LARGE, "%zu bytes", size);
        cr_assert_eq(batch.n_entries, size < 64 ? 0 : 4);
        free(cut);
    }
    free(head.bytes);
}

/* A whole batch of another epoch was left over from before; one of another place was copied there; one of another set was made up by whoever does not know the set. */
Test(batch, another_epoch_or_place) {
    struct head head = sample_head();
    struct quire_log_batch batch;
    struct quire_log_entry entries[4];
    cr_assert_eq(quire_log_head_decode(&sample_log, head.bytes, head.size, EPOCH + 1, AT, &batch, entries), QUIRE_MISMATCH);
    cr_assert_eq(quire_log_head_decode(&sample_log, head.bytes, head.size, EPOCH - 1, AT, &batch, entries), QUIRE_MISMATCH);
    cr_assert_eq(quire_log_head_decode(&sample_log, head.bytes, head.size, EPOCH, AT + 1, &batch, entries), QUIRE_MISMATCH);
    struct quire_log_geometry other_set = sample_log;
    other_set.set_id[15] ^= 1;
    cr_assert_eq(quire_log_head_decode(&other_set, head.bytes, head.size, EPOCH, AT, &batch, entries), QUIRE_MISMATCH);
    cr_assert_eq(quire_log_head_decode(&sample_log, head.bytes, 64, EPOCH + 1, AT, &batch, entries), QUIRE_MISMATCH);
    free(head.bytes);
}

static enum quire_status reread_head(struct head *head) {
    size_t size = 64 + head->batch.n_entries * sizeof(head->entries[0]);
    free(head->bytes);
    head->bytes = heap_bytes(quire_log_head_units(&sample_log, head->batch.n_entries) * UNIT);
    quire_log_head_encode(&sample_log, &head->batch, head->entries, head->bytes);
    return decode_head(head, size);
}

/* Sums are right, entries lie: outside the batch, over its head, over each other, in the wrong order, or not valid by themselves. */
Test(batch, misplaced_entries) {
    struct head head;
#define HEAD(expected, change)                                                                                                             \
    head = sample_head();                                                                                                                  \
    head.change;                                                                                                                           \
    cr_assert_eq(reread_head(&head), expected, #change);                                                                                   \
    free(head.bytes)
    HEAD(QUIRE_OK, batch.size_units = 7);
    HEAD(QUIRE_OK, batch.size_units = 57);
    HEAD(QUIRE_CORRUPT, batch.size_units = 58); /* over the trailer */
    HEAD(QUIRE_CORRUPT, batch.size_units = 6);  /* the last record is not in it */
    HEAD(QUIRE_CORRUPT, batch.size_units = 0);  /* its own head is not in it */
    HEAD(QUIRE_CORRUPT, batch.size_units = UINT32_MAX);
    HEAD(QUIRE_CORRUPT, entries[0].at_units = 6); /* over the head */
    HEAD(QUIRE_CORRUPT, entries[0].at_units = 5); /* before the batch */
    HEAD(QUIRE_CORRUPT, entries[0].at_units = 8); /* over the next record */
    HEAD(QUIRE_CORRUPT, entries[0].size_bytes = 2 * UNIT + 1);
    HEAD(QUIRE_CORRUPT, entries[2].at_units = 8);  /* over the one before, a tombstone between them */
    HEAD(QUIRE_CORRUPT, entries[2].at_units = 13); /* behind the one that follows */
    HEAD(QUIRE_CORRUPT, entries[3].at_units = 11); /* its end is outside the batch */
    HEAD(QUIRE_CORRUPT, entries[3].at_units = 40); /* all of it is */
    HEAD(QUIRE_CORRUPT, entries[3].at_units = UINT32_MAX);
    HEAD(QUIRE_CORRUPT, entries[3].size_bytes = UINT32_MAX);
    HEAD(QUIRE_CORRUPT, entries[1].at_units = 9);
    HEAD(QUIRE_CORRUPT, entries[1].kind = 0);
    HEAD(QUIRE_OK, entries[2] = sample_log_tombstone());
#undef HEAD
    head = sample_head();
    head.entries[0] = head.entries[2], head.entries[2] = sample_log_record(7, 2 * UNIT);
    cr_assert_eq(reread_head(&head), QUIRE_CORRUPT);
    free(head.bytes);
}

/* Sums are right, the batch lies about itself. */
Test(batch, forged_batches) {
    static const struct {
        size_t at, size;
        uint32_t value;
        enum quire_status status;
    } lies[] = {
        {offsetof(struct quire_log_batch, n_entries), 2, 0, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, n_entries), 2, 513, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, n_entries), 2, 65535, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, n_entries), 2, 60, QUIRE_CORRUPT},  /* its head alone is longer than the batch */
        {offsetof(struct quire_log_batch, n_entries), 2, 5, QUIRE_TOO_LARGE}, /* one more than there are bytes for */
        {offsetof(struct quire_log_batch, n_entries), 2, 3, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, at_units), 4, 0, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, at_units), 4, UINT32_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, at_units), 4, 7, QUIRE_MISMATCH},
        {offsetof(struct quire_log_batch, reserved), 1, 1, QUIRE_CORRUPT},
        {offsetof(struct quire_log_batch, version), 2, 2, QUIRE_VERSION},
        {offsetof(struct quire_log_batch, magic), 4, QUIRE_LOG_MAGIC_SEGMENT, QUIRE_CORRUPT},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct head head = sample_head();
        memcpy(head.bytes + lies[i].at, &lies[i].value, lies[i].size);
        sample_log_resum(head.bytes, 64);
        cr_assert_eq(decode_head(&head, head.size), lies[i].status, "lie %zu", i);
        free(head.bytes);
    }
}

/* A batch of nothing is none, though the sum over nothing is right. */
Test(batch, without_entries) {
    struct head head = sample_head();
    uint64_t check = quire_checksum("", 0);
    memset(head.bytes + offsetof(struct quire_log_batch, n_entries), 0, 2);
    memcpy(head.bytes + offsetof(struct quire_log_batch, entries_check), &check, 8);
    sample_log_resum(head.bytes, 64);
    cr_assert_eq(decode_head(&head, head.size), QUIRE_CORRUPT);
    free(head.bytes);
}

/* One entry more than a caller has room for, in a segment where there would be: every sum is right, and nothing is written behind the room. */
Test(batch, more_than_there_is_room_for) {
    const struct quire_log_geometry g = {.unit_bytes = 4096, .segment_units = QUIRE_LOG_MAX_SEGMENT_UNITS};
    size_t size = 64 + (QUIRE_LOG_MAX_BATCH + 1) * sizeof(struct quire_log_entry);
    uint8_t *bytes = heap_bytes(size);
    struct quire_log_batch batch = {.n_entries = 1, .epoch = EPOCH, .at_units = AT, .size_units = 1000};
    struct quire_log_entry entry = sample_log_tombstone(), *entries = malloc(QUIRE_LOG_MAX_BATCH * sizeof(*entries));
    uint8_t *first = heap_bytes(4096);
    quire_log_head_encode(&g, &batch, &entry, first);
    memcpy(bytes, first, 64);
    for (uint32_t n = QUIRE_LOG_MAX_BATCH; n <= QUIRE_LOG_MAX_BATCH + 1; n++) {
        for (uint32_t i = 0; i < n; i++) {
            memcpy(bytes + 64 + i * sizeof(entry), &entry, sizeof(entry));
        }
        uint64_t check = quire_checksum(bytes + 64, n * sizeof(entry));
        uint16_t n_entries = (uint16_t)n;
        memcpy(bytes + offsetof(struct quire_log_batch, n_entries), &n_entries, 2);
        memcpy(bytes + offsetof(struct quire_log_batch, entries_check), &check, 8);
        sample_log_resum(bytes, 64);
        enum quire_status expected = n > QUIRE_LOG_MAX_BATCH ? QUIRE_CORRUPT : QUIRE_OK;
        cr_assert_eq(quire_log_head_decode(&g, bytes, size, EPOCH, AT, &batch, entries), expected);
    }
    free(first);
    free(entries);
    free(bytes);
}

/* The largest batch, in a segment of the largest units, comes back as it was. */
Test(batch, full) {
    const struct quire_log_geometry g = {.unit_bytes = 4096, .segment_units = QUIRE_LOG_MAX_SEGMENT_UNITS};
    static struct quire_log_entry entries[QUIRE_LOG_MAX_BATCH], read[QUIRE_LOG_MAX_BATCH];
    struct quire_log_batch batch = {.n_entries = QUIRE_LOG_MAX_BATCH, .epoch = 1}, read_batch;
    uint32_t head_units = quire_log_head_units(&g, QUIRE_LOG_MAX_BATCH);
    batch.size_units = head_units + QUIRE_LOG_MAX_BATCH;
    batch.at_units = g.segment_units - 1 - batch.size_units;
    for (uint32_t i = 0; i < QUIRE_LOG_MAX_BATCH; i++) {
        entries[i] = sample_log_record(batch.at_units + head_units + i, 4096 - i);
    }
    uint8_t *bytes = heap_bytes((size_t)head_units * 4096);
    quire_log_head_encode(&g, &batch, entries, bytes);
    cr_assert_eq(quire_log_head_decode(&g, bytes, (size_t)head_units * 4096, 1, batch.at_units, &read_batch, read), QUIRE_OK);
    cr_assert_eq(memcmp(entries, read, sizeof(entries)), 0);
    free(bytes);
}
