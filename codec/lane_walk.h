/* Walks the lanes of a rectangle in record order, with where each lies in a caller's memory. For scatter and gather. */
#ifndef QUIRE_LANE_WALK_H
#define QUIRE_LANE_WALK_H

#include "codec/record_internal.h"
#include "codec/rows.h"

struct quire_lane_walk {
    const struct quire_record_shape *shape;
    const struct quire_scatter *memory;
    uint32_t at; /* lanes of the rectangle so far */
    /* the current lane */
    uint32_t lane;
    size_t lane_bytes;
    struct quire_rows rows;
    bool contiguous; /* its rows follow each other without a gap */
};

/* INVALID when the rectangle does not lie in the record, or bases are missing. */
enum quire_status quire_lane_walk_begin(struct quire_lane_walk *walk, const struct quire_record_shape *shape,
                                        const struct quire_scatter *memory);
bool quire_lane_walk_next(struct quire_lane_walk *walk);

#endif
