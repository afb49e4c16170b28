/* A small log for tests: its geometry, entries that follow one another, and how a forger makes sums right again. */
#ifndef CODEC_LOG_SAMPLE_H
#define CODEC_LOG_SAMPLE_H

#include "codec/checksum.h"
#include "codec/log.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 512u
#define SEGMENT 5u
#define EPOCH 0x2122232425262728ull

static const struct quire_log_geometry sample_log = {.unit_bytes = UNIT, .segment_units = 64, .generation = 0x212223};
#define EPOCH_END 0x2122240000000000ull /* of that generation */
static const uint8_t sample_set[16] = {0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static inline quire_key sample_log_key(uint8_t first) {
    quire_key key;
    for (int i = 0; i < QUIRE_KEY_BYTES; i++) {
        key.b[i] = (uint8_t)(first + i);
    }
    return key;
}

static inline struct quire_log_entry sample_log_record(uint32_t at_units, uint32_t size_bytes) {
    return (struct quire_log_entry){.key = sample_log_key(0x10),
                                    .parent = sample_log_key(0x40),
                                    .sequence = 0x0102030405060708,
                                    .check = 0x1112131415161718,
                                    .ns = 7,
                                    .at_units = at_units,
                                    .size_bytes = size_bytes,
                                    .error = 0.5f,
                                    .ancestry_error = 0.25f,
                                    .n_tokens = 258,
                                    .group = 3,
                                    .rung = QUIRE_RUNG_LOSSLESS,
                                    .kind = QUIRE_LOG_RECORD,
                                    .flags = QUIRE_LOG_ROOT};
}

static inline struct quire_log_entry sample_log_tombstone(void) {
    return (struct quire_log_entry){.key = sample_log_key(0x80), .sequence = 9, .ns = 7, .kind = QUIRE_LOG_TOMBSTONE};
}

/* The sum in the last eight bytes of a structure of `size` bytes. */
static inline void sample_log_resum(uint8_t *bytes, size_t size) {
    uint64_t check = quire_checksum(bytes, size - sizeof(check));
    memcpy(bytes + size - sizeof(check), &check, sizeof(check));
}

/* Bytes lie in a heap block of exactly their size, so that reading behind them is seen, and what was there before must not show. */
static inline uint8_t *heap_bytes(size_t size) {
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    cr_assert_not_null(bytes);
    memset(bytes, 0xdd, size);
    return bytes;
}

static inline bool is_zero_from(const uint8_t *bytes, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static inline void flip_bit(uint8_t *bytes, size_t bit) { bytes[bit / 8] ^= (uint8_t)(1u << bit % 8); }

#endif
