#include "codec/plane.h"

enum quire_status quire_plane_check(const struct quire_record_shape *shape, const struct quire_scatter *memory) {
    bool has_bases = memory->k_base != NULL && (memory->v_base != NULL || shape->v_lane_bytes == 0);
    return has_bases && quire_rect_fits(&memory->rect, shape) ? QUIRE_OK : QUIRE_INVALID;
}

struct quire_plane quire_plane_at(const struct quire_record_shape *shape, const struct quire_scatter *memory, uint32_t index) {
    const quire_rect *rect = &memory->rect;
    uint32_t layer = index / quire_record_kinds(shape), kv = index % quire_record_kinds(shape);
    struct quire_plane plane = {
        .first_lane = quire_record_lane(shape, rect->first_layer + layer, kv, rect->first_head),
        .n_heads = rect->n_heads,
        .n_tokens = shape->n_tokens,
        .lane_bytes = kv == 0 ? shape->k_lane_bytes : shape->v_lane_bytes,
        .rows =
            {
                .base = kv == 0 ? memory->k_base[layer] : memory->v_base[layer],
                .head_stride = kv == 0 ? memory->k_head_stride : memory->v_head_stride,
                .token_stride = kv == 0 ? memory->k_token_stride : memory->v_token_stride,
            },
    };
    plane.offset_bytes = quire_record_lane_offset(shape, plane.first_lane);
    plane.pitch_bytes = (uint32_t)quire_align_up(plane.lane_bytes, QUIRE_RECORD_ALIGN);
    plane.row_bytes = plane.lane_bytes / plane.n_tokens;
    plane.contiguous = plane.n_tokens == 1 || plane.rows.token_stride == (int64_t)plane.row_bytes;
    return plane;
}
