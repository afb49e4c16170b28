/* A part of a record that is read alone: which bytes, and whether that is worth it. */
#include "pager/disk/internal.h"

#include <stdlib.h>

/* Lanes this near to one another are read in one piece. */
#define JOIN_BYTES 16384u
#define MOST_RANGES (2u * QUIRE_MAX_LAYERS) /* K and V of each layer */

static uint32_t add_range(struct pager_disk_range *ranges, uint32_t n, uint32_t from, uint32_t to) {
    if (n > 0 && from <= ranges[n - 1].to_bytes + JOIN_BYTES) {
        ranges[n - 1].to_bytes = (uint32_t)quire_max_u64(to, ranges[n - 1].to_bytes);
        return n;
    }
    ranges[n] = (struct pager_disk_range){from, to};
    return n + 1;
}

/* The rectangle's lanes, in ascending order; 0: there is no such rectangle. */
static uint32_t lanes_of(const struct quire_record_shape *shape, const quire_rect *rect, struct pager_disk_range *ranges) {
    uint32_t n = 0;
    if (rect->n_layers == 0 || rect->n_heads == 0 || rect->first_layer + (uint32_t)rect->n_layers > shape->n_layers ||
        rect->first_head + (uint32_t)rect->n_heads > shape->n_heads) {
        return 0;
    }
    for (uint32_t layer = 0; layer < rect->n_layers; layer++) {
        for (uint32_t kv = 0; kv < (shape->v_lane_bytes > 0 ? 2u : 1u); kv++) {
            uint32_t first = quire_record_lane(shape, rect->first_layer + layer, kv, rect->first_head);
            uint32_t last = quire_record_lane(shape, rect->first_layer + layer, kv, rect->first_head + rect->n_heads - 1u);
            uint32_t to = quire_record_lane_offset(shape, last) + quire_record_lane_bytes(shape, last);
            n = add_range(ranges, n, quire_record_lane_offset(shape, first), to);
        }
    }
    return n;
}

static int by_number(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Until so many are left, those with the smallest gaps between them become one: what is read in vain is the least that it can be. */
static uint32_t join_nearest(struct pager_disk_range *ranges, uint32_t n, uint32_t most) {
    uint64_t gaps[MOST_RANGES];
    bool joined[MOST_RANGES] = {false};
    uint32_t left = 1;
    if (n <= most) {
        return n;
    }
    for (uint32_t i = 1; i < n; i++) {
        gaps[i - 1] = (uint64_t)(ranges[i].from_bytes - ranges[i - 1].to_bytes) << 32 | i;
    }
    qsort(gaps, n - 1, sizeof(gaps[0]), by_number);
    for (uint32_t i = 0; i < n - most; i++) {
        joined[(uint32_t)gaps[i]] = true;
    }
    for (uint32_t i = 1; i < n; i++) {
        if (joined[i]) {
            ranges[left - 1].to_bytes = ranges[i].to_bytes;
        } else {
            ranges[left++] = ranges[i];
        }
    }
    return left;
}

bool pager_part_ranges(const struct pager *pager, const struct pager_record *record, const quire_rect *rect, struct pager_disk_wish *told) {
    const struct pager_block *block = pager_block_at(pager, record->block);
    const quire_layout *layout = pager->namespaces[record->ns]->layout;
    struct pager_disk_range ranges[MOST_RANGES];
    struct quire_record_shape shape;
    if (record->rung != QUIRE_RUNG_RAW || layout->opaque ||
        quire_record_shape(layout, record->group, block->n_tokens, 0, &shape) != QUIRE_OK) {
        return false;
    }
    uint32_t n = join_nearest(ranges, lanes_of(&shape, rect, ranges), PAGER_DISK_MAX_RANGES);
    uint64_t bytes = shape.payload_offset;
    for (uint32_t i = 0; i < n; i++) {
        bytes += ranges[i].to_bytes - ranges[i].from_bytes;
        told->ranges[i] = ranges[i];
    }
    told->n_ranges = n;
    told->rect = *rect;
    return n > 0 && bytes <= shape.size_bytes / 4 * 3;
}
