/* Layouts and records for the codec's tests. */
#ifndef CODEC_SAMPLE_H
#define CODEC_SAMPLE_H

#include "codec/record.h"
#include "proto/layout.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

/* One group of n_layers own layers. */
static inline quire_layout sample_layout(uint16_t n_layers, uint16_t n_heads, uint16_t k_dim, uint16_t v_dim, uint8_t elem,
                                         uint16_t tokens) {
    quire_layout layout = {.n_layers = n_layers, .n_groups = 1, .block_tokens = tokens};
    for (uint16_t l = 0; l < n_layers; l++) {
        layout.kv_src[l] = l;
    }
    layout.group[0] = (quire_group){.n_kv_heads = n_heads, .k_dim = k_dim, .v_dim = v_dim, .elem = elem};
    return layout;
}

static inline quire_layout sample_opaque_layout(void) {
    return (quire_layout){.block_tokens = 64, .opaque = true, .engine = "engine", .engine_format = "1"};
}

static inline struct quire_record_shape shape_of(const quire_layout *layout, uint32_t n_tokens, uint64_t payload_bytes) {
    struct quire_record_shape shape;
    cr_assert_eq(quire_record_shape(layout, 0, n_tokens, payload_bytes, &shape), QUIRE_OK);
    return shape;
}

/* Aligned as in a pool, and dirty: what was there before must not show. */
static inline uint8_t *dirty_bytes(size_t size) {
    uint8_t *bytes = aligned_alloc(64, (size + 63) / 64 * 64);
    memset(bytes, 0xdd, (size + 63) / 64 * 64);
    return bytes;
}

static inline uint8_t *random_payload(struct dice *dice, size_t size) {
    uint8_t *bytes = dirty_bytes(size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)dice_next(dice);
    }
    return bytes;
}

static inline uint64_t payload_bytes_of(const struct quire_record_shape *shape) {
    uint64_t total = 0;
    for (uint32_t lane = 0; lane < shape->n_lanes; lane++) {
        total += quire_record_lane_bytes(shape, lane);
    }
    return total;
}

/* A sealed record of all lanes of `payload`, in a heap block of exactly its size. */
static inline uint8_t *sealed_record(const quire_layout *layout, const struct quire_record_shape *shape, const quire_key *key,
                                     const uint8_t *payload) {
    uint8_t digest[32];
    uint8_t *record = dirty_bytes(shape->size_bytes);
    cr_assert_eq(quire_layout_digest(layout, digest), QUIRE_OK);
    for (uint32_t lane = 0; lane < shape->n_lanes; lane++) {
        quire_record_fill_lane(record, shape, lane, payload);
        payload += quire_record_lane_bytes(shape, lane);
    }
    struct quire_record_facts facts = {.key = *key, .layout_tag = quire_record_layout_tag(digest), .sequence = 77, .ancestry_error = 0.25f};
    quire_record_seal(record, shape, &facts);
    return record;
}

#endif
