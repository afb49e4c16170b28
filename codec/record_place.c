/*
 * A record that comes over a wire: which of its lanes can be received where its reader wants them, and how they are verified there. Those whose rows
 * are apart in the reader's memory take the way of quire_record_scatter.
 */
#include "codec/checksum.h"
#include "codec/plane.h"

static bool continues(const struct quire_record_place *place, uint32_t offset_bytes, const uint8_t *to) {
    return place->offset_bytes + place->size_bytes == offset_bytes && place->to + place->size_bytes == to;
}

uint32_t quire_record_places(const struct quire_record_shape *shape, const struct quire_scatter *to, struct quire_record_place *places) {
    uint32_t n = 0;
    if (quire_plane_check(shape, to) != QUIRE_OK) {
        return 0;
    }
    for (uint32_t i = 0; i < quire_plane_count(shape, to); i++) {
        struct quire_plane plane = quire_plane_at(shape, to, i);
        for (uint32_t head = 0; plane.contiguous && head < plane.n_heads; head++) {
            uint32_t offset_bytes = plane.offset_bytes + head * plane.pitch_bytes;
            uint8_t *at = plane.rows.base + (int64_t)head * plane.rows.head_stride;
            if (n > 0 && continues(&places[n - 1], offset_bytes, at)) {
                places[n - 1].size_bytes += plane.lane_bytes;
            } else {
                places[n++] = (struct quire_record_place){.offset_bytes = offset_bytes, .size_bytes = plane.lane_bytes, .to = at};
            }
        }
    }
    return n;
}

enum quire_status quire_plane_verify(const struct quire_record *record, const struct quire_plane *plane) {
    for (uint32_t head = 0; head < plane->n_heads; head++) {
        const uint8_t *at = plane->rows.base + (int64_t)head * plane->rows.head_stride;
        if (quire_checksum(at, plane->lane_bytes) != record->lanes[plane->first_lane + head].check) {
            return QUIRE_CORRUPT;
        }
    }
    return QUIRE_OK;
}

enum quire_status quire_record_verify_opaque(const struct quire_record *record, const void *payload) {
    const uint8_t *at = payload;
    if (!record->shape.opaque) {
        return QUIRE_INVALID;
    }
    for (uint32_t lane = 0; lane < record->shape.n_lanes; lane++) {
        uint32_t bytes = quire_record_lane_bytes(&record->shape, lane);
        if (quire_checksum(at, bytes) != record->lanes[lane].check) {
            return QUIRE_CORRUPT;
        }
        at += bytes;
    }
    return QUIRE_OK;
}
