#include "codec/record_internal.h"
#include "proto/layout.h"

static enum quire_status opaque_shape(uint32_t group, uint64_t payload_bytes, struct quire_record_shape *shape) {
    if (group != 0 || payload_bytes == 0) {
        return QUIRE_INVALID;
    }
    if (payload_bytes > QUIRE_MAX_RECORD_BYTES) {
        return QUIRE_TOO_LARGE;
    }
    uint64_t n_chunks = (payload_bytes + QUIRE_CHUNK_BYTES - 1) / QUIRE_CHUNK_BYTES;
    uint64_t payload_offset = quire_record_payload_offset(n_chunks);
    if (payload_offset + payload_bytes > QUIRE_MAX_RECORD_BYTES) {
        return QUIRE_TOO_LARGE;
    }
    shape->opaque = true;
    shape->n_lanes = (uint32_t)n_chunks;
    shape->k_lane_bytes = QUIRE_CHUNK_BYTES;
    shape->payload_offset = (uint32_t)payload_offset;
    shape->size_bytes = (uint32_t)(payload_offset + payload_bytes);
    return QUIRE_OK;
}

static enum quire_status lane_shape(const quire_layout *layout, uint32_t group, uint32_t n_tokens, struct quire_record_shape *shape) {
    if (group >= layout->n_groups || group >= QUIRE_MAX_GROUPS) {
        return QUIRE_INVALID;
    }
    quire_rect whole = quire_layout_whole(layout, group);
    uint64_t k_bytes = quire_layout_lane_bytes(layout, group, 0, n_tokens);
    uint64_t v_bytes = quire_layout_lane_bytes(layout, group, 1, n_tokens);
    if (whole.n_layers == 0 || whole.n_heads == 0 || k_bytes == 0) {
        return QUIRE_INVALID;
    }
    uint64_t lanes_per_kind = (uint64_t)whole.n_layers * whole.n_heads;
    uint64_t n_lanes = lanes_per_kind * (v_bytes > 0 ? 2 : 1);
    uint64_t payload_offset = quire_record_payload_offset(n_lanes);
    uint64_t padded = (quire_align_up(k_bytes, QUIRE_RECORD_ALIGN) + quire_align_up(v_bytes, QUIRE_RECORD_ALIGN)) * lanes_per_kind;
    uint64_t last_bytes = v_bytes > 0 ? v_bytes : k_bytes;
    uint64_t size = payload_offset + padded - (quire_align_up(last_bytes, QUIRE_RECORD_ALIGN) - last_bytes);
    if (size > QUIRE_MAX_RECORD_BYTES) {
        return QUIRE_TOO_LARGE;
    }
    shape->n_layers = whole.n_layers;
    shape->n_heads = whole.n_heads;
    shape->n_lanes = (uint32_t)n_lanes;
    shape->k_lane_bytes = (uint32_t)k_bytes;
    shape->v_lane_bytes = (uint32_t)v_bytes;
    shape->payload_offset = (uint32_t)payload_offset;
    shape->size_bytes = (uint32_t)size;
    return QUIRE_OK;
}

enum quire_status quire_record_shape(const quire_layout *layout, uint32_t group, uint32_t n_tokens, uint64_t payload_bytes,
                                     struct quire_record_shape *shape) {
    memset(shape, 0, sizeof(*shape));
    if (n_tokens == 0 || n_tokens > layout->block_tokens || n_tokens > QUIRE_MAX_BLOCK_TOKENS) {
        return QUIRE_INVALID;
    }
    shape->n_tokens = n_tokens;
    return layout->opaque ? opaque_shape(group, payload_bytes, shape) : lane_shape(layout, group, n_tokens, shape);
}

/* The shape for a count of tokens or, of an opaque block, of bytes; its size grows with either. */
static enum quire_status counted_shape(const quire_layout *layout, uint32_t group, uint32_t count, struct quire_record_shape *shape) {
    return layout->opaque ? quire_record_shape(layout, group, layout->block_tokens, count, shape)
                          : quire_record_shape(layout, group, count, 0, shape);
}

enum quire_status quire_record_shape_of_size(const quire_layout *layout, uint32_t group, uint32_t size_bytes,
                                             struct quire_record_shape *shape) {
    uint32_t low = 1, high = layout->opaque ? size_bytes : layout->block_tokens;
    if (!layout->opaque && counted_shape(layout, group, high, shape) == QUIRE_OK && shape->size_bytes == size_bytes) {
        return QUIRE_OK; /* as most are */
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool below = counted_shape(layout, group, middle, shape) == QUIRE_OK && shape->size_bytes < size_bytes;
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return counted_shape(layout, group, low, shape) == QUIRE_OK && shape->size_bytes == size_bytes ? QUIRE_OK : QUIRE_INVALID;
}

uint32_t quire_record_lane(const struct quire_record_shape *shape, uint32_t layer, uint32_t kv, uint32_t head) {
    return layer * quire_record_lanes_per_layer(shape) + kv * shape->n_heads + head;
}

uint32_t quire_record_lane_offset(const struct quire_record_shape *shape, uint32_t lane) {
    if (shape->opaque) {
        return shape->payload_offset + lane * QUIRE_CHUNK_BYTES;
    }
    uint32_t k_pitch = (uint32_t)quire_align_up(shape->k_lane_bytes, QUIRE_RECORD_ALIGN);
    uint32_t v_pitch = (uint32_t)quire_align_up(shape->v_lane_bytes, QUIRE_RECORD_ALIGN);
    uint32_t layer = lane / quire_record_lanes_per_layer(shape);
    uint32_t in_layer = lane % quire_record_lanes_per_layer(shape);
    uint32_t n_k = in_layer < shape->n_heads ? in_layer : shape->n_heads;
    return shape->payload_offset + layer * shape->n_heads * (k_pitch + v_pitch) + n_k * k_pitch + (in_layer - n_k) * v_pitch;
}

uint32_t quire_record_lane_bytes(const struct quire_record_shape *shape, uint32_t lane) {
    if (shape->opaque) {
        return (uint32_t)quire_min_u64(QUIRE_CHUNK_BYTES, shape->size_bytes - quire_record_lane_offset(shape, lane));
    }
    return lane % quire_record_lanes_per_layer(shape) < shape->n_heads ? shape->k_lane_bytes : shape->v_lane_bytes;
}
