#include "codec/lane_walk.h"

enum quire_status quire_lane_walk_begin(struct quire_lane_walk *walk, const struct quire_record_shape *shape,
                                        const struct quire_scatter *memory) {
    *walk = (struct quire_lane_walk){.shape = shape, .memory = memory};
    bool has_bases = memory->k_base != NULL && (memory->v_base != NULL || shape->v_lane_bytes == 0);
    return has_bases && quire_rect_fits(&memory->rect, shape) ? QUIRE_OK : QUIRE_INVALID;
}

bool quire_lane_walk_next(struct quire_lane_walk *walk) {
    const struct quire_record_shape *shape = walk->shape;
    const struct quire_scatter *memory = walk->memory;
    uint32_t lanes_per_layer = memory->rect.n_heads * quire_record_kinds(shape);
    uint32_t layer = walk->at / lanes_per_layer;
    uint32_t kv = walk->at % lanes_per_layer / memory->rect.n_heads;
    uint32_t head = walk->at % memory->rect.n_heads;
    if (layer >= memory->rect.n_layers) {
        return false;
    }
    walk->at++;
    walk->lane = quire_record_lane(shape, memory->rect.first_layer + layer, kv, memory->rect.first_head + head);
    walk->lane_bytes = kv == 0 ? shape->k_lane_bytes : shape->v_lane_bytes;
    uint8_t *base = kv == 0 ? memory->k_base[layer] : memory->v_base[layer];
    walk->rows = (struct quire_rows){
        .base = base + (int64_t)head * (kv == 0 ? memory->k_head_stride : memory->v_head_stride),
        .stride = kv == 0 ? memory->k_token_stride : memory->v_token_stride,
        .row_bytes = walk->lane_bytes / shape->n_tokens,
    };
    walk->contiguous = shape->n_tokens == 1 || walk->rows.stride == (int64_t)walk->rows.row_bytes;
    return true;
}
