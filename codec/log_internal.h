/* What the log's files share: the version, sums that live in the structure they are over, and checks of sizes. */
#ifndef QUIRE_LOG_INTERNAL_H
#define QUIRE_LOG_INTERNAL_H

#include "codec/checksum.h"
#include "codec/log.h"
#include "proto/base/base.h"

#include <float.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are stored as they lie in memory");

/* Where the first batch, and the first record, may lie at the earliest: behind the segment's header, and a batch's head. */
#define QUIRE_LOG_FIRST_BATCH 1u
#define QUIRE_LOG_FIRST_RECORD 2u

/* The sum of a structure whose last field it is. */
#define QUIRE_LOG_SUM(object) quire_checksum((object), sizeof(*(object)) - sizeof((object)->check))

static inline bool quire_log_is_zero(const uint8_t *bytes, size_t size) {
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

static inline bool quire_log_is_error(float value) { return value >= 0 && value <= FLT_MAX; }

static inline bool quire_log_same_set(const uint8_t a[16], const uint8_t b[16]) { return memcmp(a, b, 16) == 0; }

static inline bool quire_log_geometry_valid(const struct quire_log_geometry *g) {
    return g->unit_bytes >= QUIRE_LOG_UNIT_MIN && g->unit_bytes <= QUIRE_LOG_UNIT_MAX && (g->unit_bytes & (g->unit_bytes - 1)) == 0 &&
           g->segment_units >= QUIRE_LOG_MIN_SEGMENT_UNITS && g->segment_units <= QUIRE_LOG_MAX_SEGMENT_UNITS;
}

static inline bool quire_log_is_epoch(const struct quire_log_geometry *g, uint64_t epoch) {
    return epoch > 0 && epoch < quire_log_epoch_end(g);
}

/*
 * Copies n entries, sums the copy, and checks each one: valid, and every record in [from_units, to_units) behind the one before. What is
 * checked is what the caller gets, whatever becomes of `in` meanwhile.
 */
enum quire_status quire_log_entries_decode(const struct quire_log_geometry *g, const uint8_t *in, uint32_t n_entries, uint64_t check,
                                           uint32_t from_units, uint32_t to_units, struct quire_log_entry *entries);

/* Writes a structure, then bytes behind it up to a whole number of units, and returns how many units that took. */
uint32_t quire_log_put_units(const struct quire_log_geometry *g, const void *first, size_t first_bytes, const void *second,
                             size_t second_bytes, uint8_t *out);

#endif
