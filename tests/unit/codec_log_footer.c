/* Footers and trailers: what an index is rebuilt from. */
#include "codec/log.h"
#include "proto/base/base.h"
#include "tests/unit/codec_log_sample.h"
#include "tests/unit/hex.h"

static const char golden_entry[] =
    "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f0807"
    "06050403020118171615141312110700000002000000000a00000000003f0000803e020103010102000000000000";
static const char golden_trailer[] =
    "514c5452010000002827262524232221a00102030405060708090a0b0c0d0e0f05000000010000003e0000003c00000062cfe49e6ce954d1663ca330aa75a1bd";

struct footer {
    struct quire_log_trailer trailer;
    struct quire_log_entry entries[6];
    uint8_t *bytes; /* footer and trailer in one block */
    size_t size;    /* of the footer */
};

/* Six entries are 672 bytes: two units, 61 and 62, the trailer in unit 63. */
static struct footer sample_footer(uint32_t n_entries) {
    struct footer footer = {.trailer = {.epoch = EPOCH, .segment = SEGMENT, .n_entries = n_entries, .used_units = 60}};
    memcpy(footer.trailer.set_id, sample_set, 16);
    for (uint32_t i = 0; i < 6; i++) {
        footer.entries[i] = i == 3 ? sample_log_tombstone() : sample_log_record(2 + 10 * i, 5 * UNIT + i);
    }
    footer.size = (size_t)quire_log_footer_units(&sample_log, n_entries) * UNIT;
    footer.bytes = heap_bytes(footer.size + UNIT);
    quire_log_footer_encode(&sample_log, &footer.trailer, footer.entries, footer.bytes);
    return footer;
}

static enum quire_status decode_footer(const struct footer *footer) {
    struct quire_log_trailer trailer;
    QUIRE_FORWARD(quire_log_trailer_decode(&sample_log, footer->bytes + footer->size, sample_set, SEGMENT, &trailer));
    struct quire_log_entry *entries = malloc(trailer.n_entries * sizeof(*entries));
    cr_assert_eq((size_t)quire_log_footer_units(&sample_log, trailer.n_entries) * UNIT, footer->size);
    enum quire_status status = quire_log_footer_decode(&sample_log, &trailer, footer->bytes, entries);
    free(entries);
    return status;
}

/* Every byte, as another program wrote it from the description in LOG.md. */
Test(footer, golden_bytes) {
    struct footer footer = sample_footer(1);
    struct quire_log_trailer trailer;
    struct quire_log_entry entry;
    cr_assert_eq(footer.size, UNIT);
    cr_assert_hex(footer.bytes, 112, golden_entry);
    cr_assert(is_zero_from(footer.bytes, 112, UNIT) && is_zero_from(footer.bytes, UNIT + 64, 2 * UNIT));
    cr_assert_hex(footer.bytes + UNIT, 64, golden_trailer);
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes + UNIT, sample_set, SEGMENT, &trailer), QUIRE_OK);
    cr_assert(trailer.epoch == EPOCH && trailer.segment == SEGMENT && trailer.n_entries == 1 && trailer.footer_units == 62);
    cr_assert(trailer.used_units == 60);
    cr_assert_eq(quire_log_footer_decode(&sample_log, &trailer, footer.bytes, &entry), QUIRE_OK);
    cr_assert_eq(memcmp(&entry, footer.entries, sizeof(entry)), 0);
    free(footer.bytes);
}

/* Every single flipped bit of trailer and entries is refused; those in the padding behind them do not matter. */
Test(footer, flipped_bits) {
    struct footer footer = sample_footer(6);
    cr_assert_eq(footer.size, 2 * UNIT);
    for (size_t bit = 0; bit < 8 * (footer.size + UNIT); bit++) {
        size_t trailer_bit = bit - 8 * footer.size; /* wraps: then it is an entry's */
        bool padding = bit < 8 * footer.size ? bit >= 8 * 6 * 112 : trailer_bit >= 8 * 64;
        bool version = bit >= 8 * footer.size && trailer_bit / 32 == 1;
        flip_bit(footer.bytes, bit);
        cr_assert_eq(decode_footer(&footer), padding ? QUIRE_OK : version ? QUIRE_VERSION : QUIRE_CORRUPT, "bit %zu", bit);
        flip_bit(footer.bytes, bit);
    }
    free(footer.bytes);
}

/* A segment whose every batch failed is sealed with a trailer alone. */
Test(footer, without_entries) {
    struct footer footer = sample_footer(0);
    struct quire_log_trailer trailer;
    cr_assert_eq(footer.size, 0);
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes, sample_set, SEGMENT, &trailer), QUIRE_OK);
    cr_assert(trailer.n_entries == 0 && trailer.footer_units == 63);
    cr_assert_eq(quire_log_footer_decode(&sample_log, &trailer, NULL, NULL), QUIRE_OK);
    footer.trailer.used_units = 0; /* not even the header */
    quire_log_footer_encode(&sample_log, &footer.trailer, NULL, footer.bytes);
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes, sample_set, SEGMENT, &trailer), QUIRE_CORRUPT);
    free(footer.bytes);
}

/* A whole trailer of another set or segment is not this segment's. */
Test(footer, another_set_or_segment) {
    struct footer footer = sample_footer(1);
    struct quire_log_trailer trailer;
    uint8_t other_set[16];
    memcpy(other_set, sample_set, 16);
    other_set[0] ^= 1;
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes + UNIT, other_set, SEGMENT, &trailer), QUIRE_MISMATCH);
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes + UNIT, sample_set, SEGMENT - 1, &trailer), QUIRE_MISMATCH);
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes, sample_set, SEGMENT, &trailer), QUIRE_CORRUPT); /* the footer's unit */
    free(footer.bytes);
}

/* Another footer's units, whole by themselves, do not belong to this trailer. */
Test(footer, of_another_trailer) {
    struct footer footer = sample_footer(6), other = sample_footer(6);
    other.entries[5].sequence++;
    quire_log_footer_encode(&sample_log, &other.trailer, other.entries, other.bytes);
    cr_assert_eq(decode_footer(&other), QUIRE_OK);
    memcpy(other.bytes + other.size, footer.bytes + footer.size, UNIT);
    cr_assert_eq(decode_footer(&other), QUIRE_CORRUPT);
    free(footer.bytes);
    free(other.bytes);
}

/* Sums are right, sizes lie; and footer_units and used_units at their edges. */
Test(footer, forged_trailers) {
    static const struct {
        size_t at, size;
        uint64_t value;
        enum quire_status status;
    } lies[] = {
        {offsetof(struct quire_log_trailer, epoch), 8, 0, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, epoch), 8, EPOCH_END, QUIRE_CORRUPT}, /* higher than any life's */
        {offsetof(struct quire_log_trailer, epoch), 8, EPOCH_END - 1, QUIRE_OK},
        {offsetof(struct quire_log_trailer, segment), 4, 6, QUIRE_MISMATCH},
        {offsetof(struct quire_log_trailer, n_entries), 4, 0, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, n_entries), 4, 5, QUIRE_CORRUPT}, /* as long, but not these entries */
        {offsetof(struct quire_log_trailer, n_entries), 4, 10, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, n_entries), 4, UINT32_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, footer_units), 4, 60, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, footer_units), 4, 62, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, footer_units), 4, UINT32_MAX, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, used_units), 4, 61, QUIRE_OK},
        {offsetof(struct quire_log_trailer, used_units), 4, 62, QUIRE_CORRUPT}, /* over the footer */
        {offsetof(struct quire_log_trailer, used_units), 4, 58, QUIRE_OK},
        {offsetof(struct quire_log_trailer, used_units), 4, 57, QUIRE_CORRUPT}, /* the last record is behind it */
        {offsetof(struct quire_log_trailer, used_units), 4, 0, QUIRE_CORRUPT},
        {offsetof(struct quire_log_trailer, version), 4, 2, QUIRE_VERSION},
        {offsetof(struct quire_log_trailer, magic), 4, QUIRE_LOG_MAGIC_SEGMENT, QUIRE_CORRUPT},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct footer footer = sample_footer(6);
        memcpy(footer.bytes + footer.size + lies[i].at, &lies[i].value, lies[i].size);
        sample_log_resum(footer.bytes + footer.size, 64);
        cr_assert_eq(decode_footer(&footer), lies[i].status, "lie %zu", i);
        free(footer.bytes);
    }
}

/* A footer that would begin before the segment, so far that its place wraps round: nobody is asked to read it. */
Test(footer, longer_than_the_segment) {
    struct footer footer = sample_footer(6);
    struct quire_log_trailer trailer;
    uint8_t *bytes = footer.bytes + footer.size;
    const uint32_t lies[] = {292, UINT32_MAX}; /* 292: 64 units, as many as the segment has */
    for (int i = 0; i < 2; i++) {
        uint32_t place = 63u - quire_log_footer_units(&sample_log, lies[i]);
        memcpy(bytes + offsetof(struct quire_log_trailer, n_entries), &lies[i], 4);
        memcpy(bytes + offsetof(struct quire_log_trailer, footer_units), &place, 4);
        sample_log_resum(bytes, 64);
        cr_assert_eq(quire_log_trailer_decode(&sample_log, bytes, sample_set, SEGMENT, &trailer), QUIRE_CORRUPT);
    }
    free(footer.bytes);
}

static enum quire_status reread_footer(struct footer *footer) {
    quire_log_footer_encode(&sample_log, &footer->trailer, footer->entries, footer->bytes);
    return decode_footer(footer);
}

/* Sums are right, entries lie: over one another, out of order, outside what was written, or not valid by themselves. */
Test(footer, misplaced_entries) {
    struct footer footer;
#define FOOTER(expected, change)                                                                                                           \
    footer = sample_footer(6);                                                                                                             \
    footer.change;                                                                                                                         \
    cr_assert_eq(reread_footer(&footer), expected, #change);                                                                               \
    free(footer.bytes)
    FOOTER(QUIRE_OK, trailer.used_units = 58); /* the last record: six units from 52 on */
    FOOTER(QUIRE_CORRUPT, trailer.used_units = 57);
    FOOTER(QUIRE_OK, entries[0].size_bytes = 10 * UNIT);
    FOOTER(QUIRE_CORRUPT, entries[0].size_bytes = 10 * UNIT + 1);
    FOOTER(QUIRE_CORRUPT, entries[0].at_units = 1);
    FOOTER(QUIRE_CORRUPT, entries[1].at_units = 6);
    FOOTER(QUIRE_CORRUPT, entries[4].at_units = 27); /* over the one before, a tombstone between them */
    FOOTER(QUIRE_CORRUPT, entries[5].at_units = 12);
    FOOTER(QUIRE_CORRUPT, entries[5].at_units = 55);
    FOOTER(QUIRE_CORRUPT, entries[5].at_units = UINT32_MAX);
    FOOTER(QUIRE_CORRUPT, entries[5].size_bytes = UINT32_MAX);
    FOOTER(QUIRE_CORRUPT, entries[3].size_bytes = 1);
    FOOTER(QUIRE_CORRUPT, entries[2].kind = 9);
#undef FOOTER
}

/* What was read may have been written over between two looks at it; a trailer of another geometry never leads outside the footer. */
Test(footer, trailer_that_was_not_checked) {
    struct footer footer = sample_footer(6);
    struct quire_log_trailer trailer;
    cr_assert_eq(quire_log_trailer_decode(&sample_log, footer.bytes + footer.size, sample_set, SEGMENT, &trailer), QUIRE_OK);
    trailer.n_entries = UINT32_MAX;
    cr_assert_eq(quire_log_footer_decode(&sample_log, &trailer, footer.bytes, NULL), QUIRE_CORRUPT);
    free(footer.bytes);
}

/* A large segment of small records: as many entries as a restart meets. */
Test(footer, many_entries) {
    const struct quire_log_geometry g = {.unit_bytes = 4096, .segment_units = QUIRE_LOG_MAX_SEGMENT_UNITS};
    const uint32_t n = 100000;
    struct quire_log_entry *entries = malloc(n * sizeof(*entries)), *read = malloc(n * sizeof(*read));
    struct quire_log_trailer trailer = {.epoch = 1, .n_entries = n, .used_units = 2 + n}, read_trailer;
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = sample_log_record(2 + i, 4096);
    }
    size_t footer_bytes = (size_t)quire_log_footer_units(&g, n) * 4096;
    uint8_t *bytes = heap_bytes(footer_bytes + 4096);
    quire_log_footer_encode(&g, &trailer, entries, bytes);
    cr_assert_eq(quire_log_trailer_decode(&g, bytes + footer_bytes, trailer.set_id, 0, &read_trailer), QUIRE_OK);
    cr_assert_eq(quire_log_footer_decode(&g, &read_trailer, bytes, read), QUIRE_OK);
    cr_assert_eq(memcmp(entries, read, n * sizeof(*read)), 0);
    free(bytes);
    free(entries);
    free(read);
}
