/* A part of a record that is read alone: which bytes, and whether that is worth it. */
#include "pager/disk/internal.h"

/* Lanes this near to one another are read in one piece. */
#define JOIN_BYTES 16384u

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

bool pager_lanes_of(const struct pager *pager, const struct pager_record *record, const quire_rect *rect, struct pager_lanes *part) {
    const struct pager_block *block = pager_block_at(pager, record->block);
    const quire_layout *layout = pager->namespaces[record->ns]->layout;
    struct pager_disk_range ranges[PAGER_DISK_MAX_RANGES];
    *part = (struct pager_lanes){.rect = *rect};
    if (record->rung != QUIRE_RUNG_RAW || layout->opaque ||
        quire_record_shape(layout, record->group, block->n_tokens, 0, &part->shape) != QUIRE_OK) {
        return false;
    }
    part->n_ranges = lanes_of(&part->shape, rect, ranges);
    for (uint32_t i = 0; i < part->n_ranges; i++) {
        part->bytes += ranges[i].to_bytes - ranges[i].from_bytes;
    }
    return part->n_ranges > 0 && part->shape.payload_offset + (uint64_t)part->bytes <= part->shape.size_bytes / 4 * 3;
}

uint64_t pager_lanes_cost(const struct pager_lanes *part) {
    uint64_t apart = part->bytes + (part->n_ranges - 1ull) * JOIN_BYTES;
    return quire_min_u64(apart, part->shape.size_bytes);
}

void pager_lanes_ranges(const struct pager_lanes *part, struct pager_disk_range *ranges) { lanes_of(&part->shape, &part->rect, ranges); }

bool pager_lanes_hold(const struct pager_lanes *part, const struct quire_wire_range *wanted, uint32_t n) {
    struct pager_disk_range held[1 + PAGER_DISK_MAX_RANGES] = {{.to_bytes = part->shape.payload_offset}};
    bool all = true;
    uint32_t last = part->n_ranges;
    pager_lanes_ranges(part, held + 1);
    if (held[1].from_bytes == held[0].to_bytes) { /* what begins in the directory may end in the first lanes */
        held[1].from_bytes = 0;
    }
    for (uint32_t i = 0; i < n && all; i++) {
        uint32_t low = 0, high = last;
        while (low < high) { /* the last that does not begin behind it */
            uint32_t middle = high - (high - low) / 2;
            bool behind = held[middle].from_bytes > wanted[i].offset;
            low = behind ? low : middle;
            high = behind ? middle - 1 : high;
        }
        all = wanted[i].offset >= held[low].from_bytes && (uint64_t)wanted[i].offset + wanted[i].size <= held[low].to_bytes;
    }
    return all;
}

struct pager_part_line *pager_part_line(struct pager *pager, const struct pager_record *record, const struct pager_where *where) {
    uint64_t place = (uint64_t)where->segment << 32 | where->at_units;
    struct pager_part_line *line = &pager->disk->part_lines[place * 0x9e3779b97f4a7c15ull >> 32 & (PAGER_PART_LINES - 1)];
    if (line->place != place || !pager_where_parted(pager, record->block, record->group)) {
        *line = (struct pager_part_line){.place = place};
    }
    return line;
}
