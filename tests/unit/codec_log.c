/* The log's bytes: pinned, told again as they were written, and nothing that is damaged, misplaced or forged is believed. */
#include "codec/log.h"
#include "codec/record.h"
#include "tests/unit/codec_log_sample.h"
#include "tests/unit/codec_sample.h"
#include "tests/unit/hex.h"

#include <criterion/criterion.h>
#include <math.h>

/* ---- superblock ----------------------------------------------------------------------------------------------------------- */

static const char golden_superblock[] =
    "514c534201000000a00102030405060708090a0b0c0d0e0ffefefefefefefefefefefefefefefefe333231000000000000f153650000000002000300001000000040"
    "0000e8030000d0070000010000004847464544434241000000000000000000000000000000000000000000000000000000000000000031c7436a06fec02c";

static struct quire_log_superblock sample_superblock(void) {
    struct quire_log_superblock superblock = {.generation = 0x313233,
                                              .created_s = 1700000000,
                                              .file_index = 2,
                                              .n_files = 3,
                                              .unit_bytes = 4096,
                                              .segment_units = 16384,
                                              .n_segments = 1000,
                                              .first_number = 2000,
                                              .flags = QUIRE_LOG_CLEAN,
                                              .snapshot = 0x4142434445464748};
    memcpy(superblock.set_id, sample_set, 16);
    memset(superblock.file_id, 0xfe, 16);
    return superblock;
}

/* Every byte, as another program wrote it from the description in LOG.md; what lay in the buffer before does not show. */
Test(superblock, golden_bytes) {
    struct quire_log_superblock superblock = sample_superblock(), read;
    uint8_t *bytes = heap_bytes(QUIRE_LOG_SUPERBLOCK_BYTES);
    superblock.reserved[5] = 1; /* a caller's leftovers do not reach the disk */
    quire_log_superblock_encode(&superblock, bytes);
    cr_assert_hex(bytes, 128, golden_superblock);
    cr_assert(is_zero_from(bytes, 128, QUIRE_LOG_SUPERBLOCK_BYTES));
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_OK);
    cr_assert(read.generation == superblock.generation && read.created_s == superblock.created_s && read.file_index == 2);
    cr_assert(read.n_files == 3 && read.unit_bytes == 4096 && read.segment_units == 16384 && read.n_segments == 1000);
    cr_assert(read.first_number == 2000 && read.flags == QUIRE_LOG_CLEAN && read.snapshot == superblock.snapshot);
    cr_assert(memcmp(read.set_id, sample_set, 16) == 0 && memcmp(read.file_id, superblock.file_id, 16) == 0);
    free(bytes);
}

/* Every single flipped bit of the structure is refused, as damage: also one of the version, which makes no other version. None behind it matters. */
Test(superblock, flipped_bits) {
    struct quire_log_superblock superblock = sample_superblock(), read;
    uint8_t *bytes = heap_bytes(QUIRE_LOG_SUPERBLOCK_BYTES);
    quire_log_superblock_encode(&superblock, bytes);
    for (size_t bit = 0; bit < 8 * QUIRE_LOG_SUPERBLOCK_BYTES; bit++) {
        flip_bit(bytes, bit);
        enum quire_status expected = bit >= 8 * 128 ? QUIRE_OK : QUIRE_CORRUPT;
        cr_assert_eq(quire_log_superblock_decode(bytes, &read), expected, "bit %zu", bit);
        flip_bit(bytes, bit);
    }
    free(bytes);
}

/*
 * Of another version nothing is believed but that it is one, whatever its sums say: it may be laid out in any way. Only where the sum is right with this version in
 * its place it is none.
 */
Test(superblock, another_version) {
    struct quire_log_superblock superblock = sample_superblock(), read;
    const struct quire_log_superblock expected = {.magic = QUIRE_LOG_MAGIC_SUPERBLOCK, .version = 77};
    uint8_t *bytes = heap_bytes(QUIRE_LOG_SUPERBLOCK_BYTES);
    quire_log_superblock_encode(&superblock, bytes);
    bytes[4] = 77;
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_CORRUPT);
    sample_log_resum(bytes, 128);
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_VERSION);
    cr_assert_eq(memcmp(&read, &expected, sizeof(read)), 0);
    bytes[60] ^= 1; /* its sum may lie elsewhere */
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_VERSION);
    cr_assert_eq(memcmp(&read, &expected, sizeof(read)), 0);
    memset(bytes, 0, QUIRE_LOG_SUPERBLOCK_BYTES); /* never written */
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_CORRUPT);
    free(bytes);
}

static enum quire_status reread_superblock(const struct quire_log_superblock *superblock) {
    struct quire_log_superblock read;
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    quire_log_superblock_encode(superblock, bytes);
    return quire_log_superblock_decode(bytes, &read);
}

/* Sums are no signature: sizes out of range are refused though the sum is right, and those at the edge are taken. */
Test(superblock, sizes_out_of_range) {
    static const struct {
        size_t at, size;
        uint32_t refused, taken;
    } lies[] = {
        {offsetof(struct quire_log_superblock, file_index), 2, 3, 0},
        {offsetof(struct quire_log_superblock, n_files), 2, 2, 16},
        {offsetof(struct quire_log_superblock, n_files), 2, 17, 3},
        {offsetof(struct quire_log_superblock, n_files), 2, 0, 4},
        {offsetof(struct quire_log_superblock, unit_bytes), 4, 256, 512},
        {offsetof(struct quire_log_superblock, unit_bytes), 4, 8192, 1024},
        {offsetof(struct quire_log_superblock, unit_bytes), 4, 1536, 2048},
        {offsetof(struct quire_log_superblock, unit_bytes), 4, 0, 4096},
        {offsetof(struct quire_log_superblock, segment_units), 4, 7, 8},
        {offsetof(struct quire_log_superblock, segment_units), 4, (1u << 17) + 1, 1u << 17},
        {offsetof(struct quire_log_superblock, n_segments), 4, 0, 1},
        {offsetof(struct quire_log_superblock, n_segments), 4, (1u << 22) - 1999, (1u << 22) - 2000},
        {offsetof(struct quire_log_superblock, first_number), 4, UINT32_MAX, 0},
        {offsetof(struct quire_log_superblock, first_number), 4, (1u << 22) - 999, (1u << 22) - 1000},
        {offsetof(struct quire_log_superblock, flags), 4, 2, 0},
        {offsetof(struct quire_log_superblock, generation), 4, 1u << 23, (1u << 23) - 1},
        {offsetof(struct quire_log_superblock, generation) + 4, 4, 1, 0},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct quire_log_superblock superblock = sample_superblock();
        memcpy((uint8_t *)&superblock + lies[i].at, &lies[i].refused, lies[i].size);
        cr_assert_eq(reread_superblock(&superblock), QUIRE_CORRUPT, "lie %zu", i);
        memcpy((uint8_t *)&superblock + lies[i].at, &lies[i].taken, lies[i].size);
        cr_assert_eq(reread_superblock(&superblock), QUIRE_OK, "edge %zu", i);
    }
    struct quire_log_superblock read, superblock = sample_superblock();
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    quire_log_superblock_encode(&superblock, bytes);
    bytes[offsetof(struct quire_log_superblock, reserved) + 31] = 1;
    sample_log_resum(bytes, 128);
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_CORRUPT);
    quire_log_superblock_encode(&superblock, bytes);
    bytes[0] ^= 1; /* another magic, the sum right */
    sample_log_resum(bytes, 128);
    cr_assert_eq(quire_log_superblock_decode(bytes, &read), QUIRE_CORRUPT);
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */

/* What may stand in a segment: the segment's first unit and the head before the first record, and the trailer's unit, are no place for one. */
Test(entry, valid_or_not) {
    struct quire_log_entry good = sample_log_record(2, 61 * UNIT), entry;
    cr_assert(quire_log_entry_valid(&sample_log, &good));
#define VALID(expected, change)                                                                                                            \
    entry = good;                                                                                                                          \
    entry.change;                                                                                                                          \
    cr_assert_eq(quire_log_entry_valid(&sample_log, &entry), expected, #change)
    VALID(false, at_units = 1);
    VALID(false, at_units = 0);
    VALID(false, at_units = 3);
    VALID(false, at_units = UINT32_MAX);
    VALID(false, size_bytes = 61 * UNIT + 1);
    VALID(false, size_bytes = 127);
    VALID(true, size_bytes = 128);
    VALID(false, size_bytes = 0);
    VALID(false, size_bytes = UINT32_MAX);
    VALID(false, kind = 0);
    VALID(false, kind = 3);
    VALID(false, kind = QUIRE_LOG_TOMBSTONE);
    VALID(true, group = 7);
    VALID(false, group = 8);
    VALID(true, rung = QUIRE_RUNG_RAW);
    VALID(false, rung = 200);
    VALID(true, n_tokens = 1024);
    VALID(false, n_tokens = 1025);
    VALID(false, n_tokens = 0);
    VALID(true, flags = 0);
    VALID(true, flags = QUIRE_LOG_PARENT_UNKNOWN);
    VALID(false, flags = QUIRE_LOG_PARENT_UNKNOWN | QUIRE_LOG_ROOT);
    VALID(false, flags = 4);
    VALID(false, error = NAN);
    VALID(false, error = -1);
    VALID(false, error = INFINITY);
    VALID(true, error = 0);
    VALID(false, ancestry_error = NAN);
    VALID(false, ancestry_error = -1);
    VALID(false, reserved[0] = 1);
    VALID(false, reserved[5] = 0x80);
    good = sample_log_tombstone();
    cr_assert(quire_log_entry_valid(&sample_log, &good));
    VALID(false, size_bytes = 128);
    VALID(false, at_units = 2);
    VALID(false, check = 1);
    VALID(false, reserved[3] = 1);
#undef VALID
    const struct quire_log_geometry largest = {.unit_bytes = 4096, .segment_units = QUIRE_LOG_MAX_SEGMENT_UNITS};
    entry = sample_log_record(2, QUIRE_MAX_RECORD_BYTES);
    cr_assert(quire_log_entry_valid(&largest, &entry));
    entry.size_bytes++; /* it would fit, but no record is that large */
    cr_assert(!quire_log_entry_valid(&largest, &entry));
}

/* The sum over header and directory notices each bit of them, and none of the payload, whose sums are in the directory. */
Test(entry, record_check) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape = shape_of(&layout, 3, 0);
    quire_key key = sample_log_key(1);
    uint8_t payload[72] = {1, 2, 3};
    uint8_t *record = sealed_record(&layout, &shape, &key, payload);
    uint64_t check, other;
    size_t directory_end = 128 + 4 * 24;
    cr_assert_eq(quire_log_record_check(record, shape.size_bytes, &check), QUIRE_OK);
    cr_assert_eq(check, quire_checksum(record, directory_end));
    for (size_t bit = 0; bit < 8 * (size_t)shape.size_bytes; bit++) {
        flip_bit(record, bit);
        enum quire_status status = quire_log_record_check(record, shape.size_bytes, &other);
        if (bit < 8 * directory_end) {
            cr_assert(status != QUIRE_OK || other != check, "bit %zu", bit);
        } else {
            cr_assert(status == QUIRE_OK && other == check, "bit %zu", bit);
        }
        flip_bit(record, bit);
    }
    free(record);
}

/* A record whose sizes make no sense has no sum, and nothing outside what was given is read. */
Test(entry, record_check_of_nonsense) {
    quire_layout layout = sample_layout(1, 2, 4, 2, QUIRE_F16, 4);
    struct quire_record_shape shape = shape_of(&layout, 3, 0);
    quire_key key = sample_log_key(1);
    uint8_t payload[72] = {0}, *record = sealed_record(&layout, &shape, &key, payload);
    struct quire_record_header *header = (struct quire_record_header *)record, good = *header;
    uint64_t check;
    for (size_t size = 0; size < shape.size_bytes; size += 1 + size / 8) {
        uint8_t *shorter = heap_bytes(size + 1);
        memcpy(shorter + 1, record, size); /* at an odd address, too */
        cr_assert_eq(quire_log_record_check(shorter + 1, size, &check), QUIRE_CORRUPT, "%zu bytes", size);
        free(shorter);
    }
    cr_assert_eq(quire_log_record_check(record, shape.size_bytes - 1, &check), QUIRE_CORRUPT);
#define REFUSED(expected, ...)                                                                                                             \
    *header = good;                                                                                                                        \
    header->__VA_ARGS__;                                                                                                                   \
    cr_assert_eq(quire_log_record_check(record, shape.size_bytes, &check), expected, #__VA_ARGS__)
    REFUSED(QUIRE_CORRUPT, magic ^= 1);
    REFUSED(QUIRE_VERSION, version = 2);
    REFUSED(QUIRE_CORRUPT, n_lane_groups = UINT32_MAX);
    REFUSED(QUIRE_CORRUPT, n_lane_groups = 1000);
    REFUSED(QUIRE_CORRUPT, size_bytes = 0);
    REFUSED(QUIRE_CORRUPT, size_bytes = shape.size_bytes + 1);
    REFUSED(QUIRE_CORRUPT, payload_offset = 0);
    REFUSED(QUIRE_CORRUPT, payload_offset = UINT32_MAX);
    /* 13 entries end at 448, and the record with them: nothing is left for a payload */
    REFUSED(QUIRE_CORRUPT, n_lane_groups = 13, header->payload_offset = header->size_bytes = 448);
    REFUSED(QUIRE_OK, sequence = 1);
#undef REFUSED
    free(record);
}

/* ---- segment header ------------------------------------------------------------------------------------------------------- */

static const char golden_header[] =
    "514c5347010000002827262524232221a00102030405060708090a0b0c0d0e0f050000000000000000272625242322210000000000000000bfc820ed291f653a";

static uint8_t *sample_header(void) {
    struct quire_log_segment_header header = {
        .epoch = EPOCH, .segment = SEGMENT, .tail_epoch = EPOCH - 0x28, .reserved = {1, 2}, .reserved2 = {3}};
    uint8_t *bytes = heap_bytes(UNIT);
    memcpy(header.set_id, sample_set, 16);
    quire_log_segment_header_encode(&sample_log, &header, bytes);
    return bytes;
}

Test(segment, golden_bytes) {
    struct quire_log_segment_header read;
    uint8_t *bytes = sample_header();
    cr_assert_hex(bytes, 64, golden_header);
    cr_assert(is_zero_from(bytes, 64, UNIT));
    cr_assert_eq(quire_log_segment_header_decode(&sample_log, bytes, sample_set, SEGMENT, &read), QUIRE_OK);
    cr_assert(read.epoch == EPOCH && read.tail_epoch == EPOCH - 0x28 && read.segment == SEGMENT);
    cr_assert_eq(memcmp(read.set_id, sample_set, 16), 0);
    free(bytes);
}

Test(segment, flipped_bits) {
    struct quire_log_segment_header read;
    uint8_t *bytes = sample_header();
    for (size_t bit = 0; bit < 8 * UNIT; bit++) {
        flip_bit(bytes, bit);
        enum quire_status expected = bit >= 8 * 64 ? QUIRE_OK : bit / 32 == 1 ? QUIRE_VERSION : QUIRE_CORRUPT;
        cr_assert_eq(quire_log_segment_header_decode(&sample_log, bytes, sample_set, SEGMENT, &read), expected, "bit %zu", bit);
        flip_bit(bytes, bit);
    }
    free(bytes);
}

/* A whole header of another set, of another segment, or of no epoch, is not this segment's. */
Test(segment, another_set_or_segment) {
    struct quire_log_segment_header read;
    uint8_t *bytes = sample_header(), other_set[16];
    memcpy(other_set, sample_set, 16);
    other_set[15] ^= 1;
    cr_assert_eq(quire_log_segment_header_decode(&sample_log, bytes, other_set, SEGMENT, &read), QUIRE_MISMATCH);
    cr_assert_eq(quire_log_segment_header_decode(&sample_log, bytes, sample_set, SEGMENT + 1, &read), QUIRE_MISMATCH);
    free(bytes);
}

/* Sums are right, the header lies: no epoch, one that leaves none for those who count on from it, a tail behind its own epoch, bytes that nobody wrote. */
Test(segment, forged_headers) {
    static const struct {
        size_t at, size;
        uint64_t value;
        enum quire_status status;
    } lies[] = {
        {offsetof(struct quire_log_segment_header, epoch), 8, 0, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, epoch), 8, UINT64_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, epoch), 8, EPOCH_END, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, epoch), 8, EPOCH_END - 1, QUIRE_OK},
        {offsetof(struct quire_log_segment_header, tail_epoch), 8, EPOCH + 1, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, tail_epoch), 8, EPOCH, QUIRE_OK}, /* everything else had been emptied */
        {offsetof(struct quire_log_segment_header, tail_epoch), 8, 0, QUIRE_OK},
        {offsetof(struct quire_log_segment_header, reserved), 1, 1, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, reserved2) + 7, 1, 1, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, magic), 4, QUIRE_LOG_MAGIC_TRAILER, QUIRE_CORRUPT},
        {offsetof(struct quire_log_segment_header, version), 4, QUIRE_LOG_VERSION + 1, QUIRE_VERSION},
        {0, 64, 0, QUIRE_CORRUPT}, /* nothing */
    };
    struct quire_log_segment_header none = {.segment = SEGMENT}, read;
    uint8_t unit[UNIT];
    memcpy(none.set_id, sample_set, 16);
    quire_log_segment_header_encode(&sample_log, &none, unit); /* tail and epoch both 0 */
    cr_assert_eq(quire_log_segment_header_decode(&sample_log, unit, sample_set, SEGMENT, &read), QUIRE_CORRUPT);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        uint8_t *bytes = sample_header(), value[64] = {0};
        memcpy(value, &lies[i].value, sizeof(lies[i].value));
        memcpy(bytes + lies[i].at, value, lies[i].size);
        sample_log_resum(bytes, 64);
        cr_assert_eq(quire_log_segment_header_decode(&sample_log, bytes, sample_set, SEGMENT, &read), lies[i].status, "lie %zu", i);
        free(bytes);
    }
}
