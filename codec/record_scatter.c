/*
 * Out of a record into a caller's memory. Lanes that follow each other in both are gathered into runs and copied at once: a whole
 * record into a buffer of the same order is one copy. Runs that are verified are still summed lane by lane.
 */
#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "codec/lane_walk.h"
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

static enum quire_status add_contiguous(const struct quire_record *record, struct run *run, const struct quire_lane_walk *walk,
                                        bool verify) {
    uint32_t offset = quire_record_lane_offset(&record->shape, walk->lane);
    bool follows = run->size_bytes > 0 && run->offset_bytes + run->size_bytes == offset && run->to + run->size_bytes == walk->rows.base;
    if (!follows) {
        QUIRE_FORWARD(flush(record, run, verify));
        *run = (struct run){.to = walk->rows.base, .first_lane = walk->lane, .offset_bytes = offset};
    }
    run->n_lanes++;
    run->size_bytes += walk->lane_bytes;
    return QUIRE_OK;
}

static enum quire_status scatter_rows(const struct quire_record *record, const struct quire_lane_walk *walk, bool verify) {
    const uint8_t *lane = record->bytes + quire_record_lane_offset(&record->shape, walk->lane);
    if (!verify) {
        quire_rows_out(&walk->rows, 0, lane, walk->lane_bytes);
        return QUIRE_OK;
    }
    return quire_stage_out(&walk->rows, lane, walk->lane_bytes) == record->lanes[walk->lane].check ? QUIRE_OK : QUIRE_CORRUPT;
}

enum quire_status quire_record_scatter(const struct quire_record *record, const struct quire_scatter *to, bool verify) {
    struct quire_lane_walk walk;
    struct run run = {0};
    QUIRE_FORWARD(quire_lane_walk_begin(&walk, &record->shape, to));
    while (quire_lane_walk_next(&walk)) {
        if (walk.contiguous) {
            QUIRE_FORWARD(add_contiguous(record, &run, &walk, verify));
        } else {
            QUIRE_FORWARD(scatter_rows(record, &walk, verify));
        }
    }
    return flush(record, &run, verify);
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
