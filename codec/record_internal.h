/* What the record's files share: where things lie, and the sum over sums. */
#ifndef QUIRE_RECORD_INTERNAL_H
#define QUIRE_RECORD_INTERNAL_H

#include "codec/record.h"
#include "proto/base/base.h"
#include "proto/wire.h"

#define QUIRE_RECORD_VERSION 1

static inline uint32_t quire_record_lanes_per_layer(const struct quire_record_shape *shape) {
    return shape->n_heads * (shape->v_lane_bytes > 0 ? 2 : 1);
}

static inline uint64_t quire_record_payload_offset(uint64_t n_lanes) {
    return quire_align_up(sizeof(struct quire_record_header) + n_lanes * sizeof(struct quire_lane_entry), QUIRE_RECORD_ALIGN);
}

static inline bool quire_rect_fits(const quire_rect *rect, const struct quire_record_shape *shape) {
    return !shape->opaque && rect->n_layers > 0 && rect->n_heads > 0 &&
           quire_in_range(rect->first_layer, rect->n_layers, shape->n_layers) &&
           quire_in_range(rect->first_head, rect->n_heads, shape->n_heads);
}

/* How many of K and V a record has. */
static inline uint32_t quire_record_kinds(const struct quire_record_shape *shape) { return shape->v_lane_bytes > 0 ? 2 : 1; }

static inline uint64_t quire_rect_payload_bytes(const quire_rect *rect, const struct quire_record_shape *shape) {
    return ((uint64_t)shape->k_lane_bytes + shape->v_lane_bytes) * rect->n_layers * rect->n_heads;
}

#endif
