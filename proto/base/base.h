/*
 * The few helpers that every folder uses: bounds-checked arithmetic, minimum and maximum, status forwarding, object magic.
 * Header-only and free of state.
 */
#ifndef QUIRE_BASE_H
#define QUIRE_BASE_H

#include "proto/quire_types.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define QUIRE_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Hands a status that is not OK to the caller. */
#define QUIRE_FORWARD(expr)                                                                                                                \
    do {                                                                                                                                   \
        enum quire_status quire_forward_ = (expr);                                                                                         \
        if (quire_forward_ != QUIRE_OK) {                                                                                                  \
            return quire_forward_;                                                                                                         \
        }                                                                                                                                  \
    } while (0)

/* The first field of every object that travels through a void pointer; checked at each cast back. */
#define QUIRE_MAGIC_CHECK(object, value) assert((object) != NULL && (object)->magic == (value))

static inline uint64_t quire_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t quire_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Rounds up to a power of two; the caller knows that it cannot overflow. */
static inline uint64_t quire_align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }

/* True when [offset, offset + size) lies inside [0, limit), without overflow. */
static inline bool quire_in_range(uint64_t offset, uint64_t size, uint64_t limit) { return offset <= limit && size <= limit - offset; }

static inline bool quire_key_equal(const quire_key *a, const quire_key *b) { return memcmp(a->b, b->b, QUIRE_KEY_BYTES) == 0; }

static inline bool quire_key_is_zero(const quire_key *key) {
    static const quire_key zero;
    return quire_key_equal(key, &zero);
}

#define QUIRE_NS_PER_US 1000ull
#define QUIRE_NS_PER_MS 1000000ull
#define QUIRE_NS_PER_S 1000000000ull

#endif
