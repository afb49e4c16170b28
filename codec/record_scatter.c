/*
 * Out of a record into a caller's memory. Lanes that follow each other in both are gathered into runs and copied at once: a whole
 * record into a buffer of the same order is one copy. Runs that are verified are still summed lane by lane.
 */
#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "codec/plane.h"
#include "codec/stage.h"

struct run {
    uint8_t *to;
    uint32_t first_lane, n_lanes;
    uint32_t offset_bytes;
    size_t size_bytes; /* 0: there is no run */
};

static enum quire_status copy_verified(const struct quire_record *record, const struct run *run) {
    bool stream = quire_stream_wanted(run->to, run->size_bytes);
    uint8_t *to = run->to;
    bool same = true;
    for (uint32_t lane = run->first_lane; lane < run->first_lane + run->n_lanes; lane++) {
        const uint8_t *from = record->bytes + quire_record_lane_offset(&record->shape, lane);
        size_t lane_bytes = quire_record_lane_bytes(&record->shape, lane);
        same &= quire_sum_copy(to, from, lane_bytes, stream) == record->lanes[lane].check;
        to += lane_bytes;
    }
    if (stream) {
        quire_stream_end();
    }
    return same ? QUIRE_OK : QUIRE_CORRUPT;
}

static enum quire_status flush(const struct quire_record *record, struct run *run, bool verify) {
    enum quire_status status = QUIRE_OK;
    if (run->size_bytes > 0 && verify) {
        status = copy_verified(record, run);
    } else if (run->size_bytes > 0) {
        quire_copy(run->to, record->bytes + run->offset_bytes, run->size_bytes);
    }
    run->size_bytes = 0;
    return status;
}

/* Adds one lane of a plane whose heads are contiguous. */
static enum quire_status add_lane(const struct quire_record *record, struct run *run, const struct quire_plane *plane, uint32_t head,
                                  bool verify) {
    uint32_t offset = plane->offset_bytes + head * plane->pitch_bytes;
    uint8_t *to = plane->rows.base + (int64_t)head * plane->rows.head_stride;
    if (run->size_bytes == 0 || run->offset_bytes + run->size_bytes != offset || run->to + run->size_bytes != to) {
        QUIRE_FORWARD(flush(record, run, verify));
        *run = (struct run){.to = to, .first_lane = plane->first_lane + head, .offset_bytes = offset};
    }
    run->n_lanes++;
    run->size_bytes += plane->lane_bytes;
    return QUIRE_OK;
}

/* Up to QUIRE_STAGE_HEADS heads of a plane, from `first` on. */
static enum quire_status scatter_heads(const struct quire_record *record, const struct quire_plane *plane, uint32_t first, uint32_t n_heads,
                                       bool verify, bool stream) {
    struct quire_stage copy = {
        .lanes = (uint8_t *)record->bytes + plane->offset_bytes + (size_t)first * plane->pitch_bytes,
        .pitch_bytes = plane->pitch_bytes,
        .lane_bytes = plane->lane_bytes,
        .row_bytes = plane->row_bytes,
        .n_heads = n_heads,
        .rows = plane->rows,
    };
    copy.rows.base += (int64_t)first * copy.rows.head_stride;
    if (!verify) {
        struct quire_rows lanes = {copy.lanes, (int64_t)copy.pitch_bytes, (int64_t)copy.row_bytes};
        if (!stream || !quire_stream_rows(&copy.rows, &lanes, n_heads, plane->n_tokens, copy.row_bytes)) {
            quire_rows_copy(&copy.rows, &lanes, n_heads, plane->n_tokens, copy.row_bytes);
        }
        return QUIRE_OK;
    }
    uint64_t sums[QUIRE_STAGE_HEADS];
    quire_stage_out(&copy, stream, sums);
    for (uint32_t i = 0; i < n_heads; i++) {
        if (sums[i] != record->lanes[plane->first_lane + first + i].check) {
            return QUIRE_CORRUPT;
        }
    }
    return QUIRE_OK;
}

static enum quire_status scatter_plane(const struct quire_record *record, struct run *run, const struct quire_plane *plane, bool verify,
                                       bool placed, bool stream) {
    uint32_t step = plane->contiguous ? 1 : QUIRE_STAGE_HEADS;
    if (plane->contiguous && placed) {
        return quire_plane_verify(record, plane);
    }
    for (uint32_t head = 0; head < plane->n_heads; head += step) {
        if (plane->contiguous) {
            QUIRE_FORWARD(add_lane(record, run, plane, head, verify));
        } else {
            QUIRE_FORWARD(scatter_heads(record, plane, head, (uint32_t)quire_min_u64(step, plane->n_heads - head), verify, stream));
        }
    }
    return QUIRE_OK;
}

static enum quire_status scatter(const struct quire_record *record, const struct quire_scatter *to, bool verify, bool placed) {
    struct run run = {0};
    QUIRE_FORWARD(quire_plane_check(&record->shape, to));
    bool stream = quire_stream_wanted(NULL, quire_rect_payload_bytes(&to->rect, &record->shape));
    enum quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < quire_plane_count(&record->shape, to) && status == QUIRE_OK; i++) {
        struct quire_plane plane = quire_plane_at(&record->shape, to, i);
        status = scatter_plane(record, &run, &plane, verify, placed, stream);
    }
    if (stream) {
        quire_stream_end();
    }
    return status == QUIRE_OK ? flush(record, &run, verify) : status;
}

enum quire_status quire_record_scatter(const struct quire_record *record, const struct quire_scatter *to, bool verify) {
    return scatter(record, to, verify, false);
}

enum quire_status quire_record_scatter_placed(const struct quire_record *record, const struct quire_scatter *to) {
    return scatter(record, to, true, true);
}

enum quire_status quire_record_copy_opaque(const struct quire_record *record, void *to, size_t capacity, size_t *size, bool verify) {
    if (!record->shape.opaque) {
        return QUIRE_INVALID;
    }
    *size = record->shape.size_bytes - record->shape.payload_offset;
    if (*size > capacity) {
        return QUIRE_TOO_LARGE;
    }
    struct run whole = {
        .to = to,
        .n_lanes = record->shape.n_lanes,
        .offset_bytes = record->shape.payload_offset,
        .size_bytes = *size,
    };
    return flush(record, &whole, verify);
}
