/*
 * A plane: K or V of one layer, the heads of a rectangle. Scatter and gather walk the planes of a rectangle in record order; a plane
 * knows where its lanes lie in the record and its rows in the caller's memory.
 */
#ifndef QUIRE_PLANE_H
#define QUIRE_PLANE_H

#include "codec/record_internal.h"
#include "codec/rows.h"

struct quire_plane {
    uint32_t first_lane, n_heads, n_tokens;
    uint32_t offset_bytes; /* of its first lane in the record, and from lane to lane */
    uint32_t pitch_bytes;
    uint32_t lane_bytes, row_bytes;
    struct quire_rows rows; /* the caller's */
    bool contiguous;        /* the rows of a head follow each other without a gap */
};

/* INVALID when the rectangle does not lie in the record, or bases are missing. */
enum quire_status quire_plane_check(const struct quire_record_shape *shape, const struct quire_scatter *memory);
static inline uint32_t quire_plane_count(const struct quire_record_shape *shape, const struct quire_scatter *memory) {
    return memory->rect.n_layers * quire_record_kinds(shape);
}
/* Compares the lanes of a contiguous plane, as they lie in the caller's memory, with the record's sums. */
enum quire_status quire_plane_verify(const struct quire_record *record, const struct quire_plane *plane);
struct quire_plane quire_plane_at(const struct quire_record_shape *shape, const struct quire_scatter *memory, uint32_t index);

#endif
