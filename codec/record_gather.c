/* Out of a caller's memory into the payload of a put: lanes in rectangle order, packed, each summed as it is written. */
#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "codec/combine.h"
#include "codec/plane.h"
#include "codec/stage.h"

static void gather_contiguous(const struct quire_plane *plane, uint8_t *payload, bool stream, struct quire_combine *combine) {
    for (uint32_t head = 0; head < plane->n_heads; head++, payload += plane->lane_bytes) {
        const uint8_t *from = plane->rows.base + (int64_t)head * plane->rows.head_stride;
        quire_combine_add(combine, quire_sum_copy(payload, from, plane->lane_bytes, stream));
    }
}

static void gather_rows(const struct quire_plane *plane, uint8_t *payload, bool stream, struct quire_combine *combine) {
    struct quire_stage copy = {
        .lanes = payload,
        .pitch_bytes = plane->lane_bytes,
        .lane_bytes = plane->lane_bytes,
        .row_bytes = plane->row_bytes,
        .rows = plane->rows,
    };
    for (uint32_t head = 0; head < plane->n_heads; head += copy.n_heads) {
        uint64_t sums[QUIRE_STAGE_HEADS];
        copy.n_heads = (uint32_t)quire_min_u64(QUIRE_STAGE_HEADS, plane->n_heads - head);
        copy.lanes = payload + (size_t)head * plane->lane_bytes;
        copy.rows.base = plane->rows.base + (int64_t)head * plane->rows.head_stride;
        quire_stage_in(&copy, stream, sums);
        for (uint32_t i = 0; i < copy.n_heads; i++) {
            quire_combine_add(combine, sums[i]);
        }
    }
}

enum quire_status quire_record_gather(const struct quire_record_shape *shape, const struct quire_scatter *from, uint8_t *payload,
                                      uint64_t *check) {
    struct quire_combine combine;
    QUIRE_FORWARD(quire_plane_check(shape, from));
    bool stream = quire_stream_wanted(payload, quire_rect_payload_bytes(&from->rect, shape));
    quire_combine_begin(&combine);
    for (uint32_t i = 0; i < quire_plane_count(shape, from); i++) {
        struct quire_plane plane = quire_plane_at(shape, from, i);
        if (plane.contiguous) {
            gather_contiguous(&plane, payload, stream, &combine);
        } else {
            gather_rows(&plane, payload, stream, &combine);
        }
        payload += (size_t)plane.n_heads * plane.lane_bytes;
    }
    if (stream) {
        quire_stream_end();
    }
    *check = quire_combine_end(&combine);
    return QUIRE_OK;
}

/* ---- where it lies ------------------------------------------------------------------------------------------------------------ */
static bool continues(const struct quire_plane *plane, const uint8_t *end) {
    bool dense = plane->n_heads == 1 || plane->rows.head_stride == (int64_t)plane->lane_bytes;
    return plane->contiguous && dense && (end == NULL || plane->rows.base == end);
}

const uint8_t *quire_record_run(const struct quire_record_shape *shape, const struct quire_scatter *from) {
    const uint8_t *start = NULL, *end = NULL;
    if (quire_plane_check(shape, from) != QUIRE_OK) {
        return NULL;
    }
    for (uint32_t i = 0; i < quire_plane_count(shape, from); i++) {
        struct quire_plane plane = quire_plane_at(shape, from, i);
        if (!continues(&plane, end)) {
            return NULL;
        }
        start = i == 0 ? plane.rows.base : start;
        end = plane.rows.base + (size_t)plane.n_heads * plane.lane_bytes;
    }
    return start;
}

enum quire_status quire_record_sum(const struct quire_record_shape *shape, const struct quire_scatter *from, uint64_t *check) {
    const uint8_t *at = quire_record_run(shape, from);
    struct quire_combine combine;
    if (at == NULL) {
        return QUIRE_INVALID;
    }
    quire_combine_begin(&combine);
    for (uint32_t i = 0; i < quire_plane_count(shape, from); i++) {
        uint32_t bytes = quire_plane_at(shape, from, i).lane_bytes;
        for (uint32_t head = 0; head < from->rect.n_heads; head++, at += bytes) {
            quire_combine_add(&combine, quire_checksum(at, bytes));
        }
    }
    *check = quire_combine_end(&combine);
    return QUIRE_OK;
}

uint64_t quire_record_sum_opaque(const struct quire_record_shape *shape, const void *payload) {
    const uint8_t *at = payload;
    struct quire_combine combine;
    quire_combine_begin(&combine);
    for (uint32_t lane = 0; lane < shape->n_lanes; lane++) {
        uint32_t bytes = quire_record_lane_bytes(shape, lane);
        quire_combine_add(&combine, quire_checksum(at, bytes));
        at += bytes;
    }
    return quire_combine_end(&combine);
}
