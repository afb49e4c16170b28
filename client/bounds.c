/* Where a rectangle's bytes lie in the caller's memory: computed with every overflow caught, before a byte is touched. */
#include "client/internal.h"

/* Lowest and one past the highest byte that n steps of `stride` reach from 0. */
static bool reach(int64_t stride, uint32_t n, int64_t *low, int64_t *high) {
    int64_t last;
    if (__builtin_mul_overflow(stride, (int64_t)(n - 1), &last)) {
        return false;
    }
    return !(last < 0 ? __builtin_add_overflow(*low, last, low) : __builtin_add_overflow(*high, last, high));
}

enum quire_status bounds_check(const struct plane *plane, const void *region, uint64_t region_bytes) {
    int64_t low = 0, high = plane->token_bytes;
    if (plane->base == NULL || plane->n_heads == 0 || plane->n_tokens == 0 || (region == NULL && region_bytes > 0) ||
        !reach(plane->head_stride, plane->n_heads, &low, &high) || !reach(plane->token_stride, plane->n_tokens, &low, &high)) {
        return QUIRE_INVALID;
    }
    uint64_t start = (uintptr_t)region, end;
    if (__builtin_add_overflow(start, region_bytes, &end)) {
        return QUIRE_INVALID;
    }
    for (uint32_t layer = 0; layer < plane->n_layers; layer++) {
        uint64_t base = (uintptr_t)plane->base[layer], below = (uint64_t)0 - (uint64_t)low, top;
        if (base == 0 || below > base || __builtin_add_overflow(base, (uint64_t)high, &top) ||
            (region != NULL && (base - below < start || top > end))) {
            return QUIRE_INVALID;
        }
    }
    return QUIRE_OK;
}

enum quire_status rect_resolve(const quire_layout *layout, uint32_t group, const quire_rect *asked, quire_rect *rect) {
    quire_rect whole = quire_layout_whole(layout, group);
    if (asked->first_layer == 0 && asked->n_layers == 0 && asked->first_head == 0 && asked->n_heads == 0) {
        *rect = whole;
        return QUIRE_OK;
    }
    *rect = *asked;
    return asked->n_layers > 0 && asked->n_heads > 0 && quire_in_range(asked->first_layer, asked->n_layers, whole.n_layers) &&
                   quire_in_range(asked->first_head, asked->n_heads, whole.n_heads)
               ? QUIRE_OK
               : QUIRE_INVALID;
}
