#include "codec/stage.h"

#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "proto/base/base.h"

#define STAGE_BLOCKS 16
static_assert(QUIRE_STAGE_HEADS <= STAGE_BLOCKS, "each head has a block");
/* The last stripe of a sum may reach back over the tail's start. */
#define KEEP_BYTES 64

/* A step: the same piece of every head's lane. Ends with the lane, or on a block of the sum. */
struct step {
    size_t at, size_bytes;
    bool last;
};

struct stage {
    const struct quire_stage *copy;
    size_t step_bytes; /* of each head */
    size_t pitch_bytes;
    uint64_t acc[QUIRE_STAGE_HEADS][QUIRE_SUM_LANES];
    _Alignas(64) uint8_t bytes[QUIRE_STAGE_HEADS * KEEP_BYTES + STAGE_BLOCKS * QUIRE_SUM_BLOCK_BYTES];
};

static void stage_begin(struct stage *stage, const struct quire_stage *copy) {
    assert(copy->n_heads > 0 && copy->n_heads <= QUIRE_STAGE_HEADS);
    stage->copy = copy;
    stage->step_bytes = STAGE_BLOCKS / copy->n_heads * QUIRE_SUM_BLOCK_BYTES;
    stage->pitch_bytes = KEEP_BYTES + stage->step_bytes;
    for (uint32_t head = 0; head < copy->n_heads; head++) {
        quire_sum_begin(stage->acc[head]);
    }
}

/* Where a head's step lies in the buffer; KEEP_BYTES before it are what the step before ended with. */
static uint8_t *staged(struct stage *stage, uint32_t head) { return stage->bytes + head * stage->pitch_bytes + KEEP_BYTES; }

static struct step step_at(const struct stage *stage, size_t at) {
    size_t left = stage->copy->lane_bytes - at;
    return (struct step){.at = at, .size_bytes = quire_min_u64(stage->step_bytes, left), .last = left <= stage->step_bytes};
}

static size_t whole_blocks(const struct step *step) {
    return (step->last ? step->size_bytes - 1 : step->size_bytes) / QUIRE_SUM_BLOCK_BYTES;
}

/* The step between buffer and rows, in one sweep when it consists of whole rows. */
static void exchange(struct stage *stage, const struct step *step, bool out, bool stream) {
    const struct quire_stage *copy = stage->copy;
    size_t row_bytes = copy->row_bytes;
    if (step->at % row_bytes == 0 && step->size_bytes % row_bytes == 0) {
        struct quire_rows inside = {staged(stage, 0), (int64_t)stage->pitch_bytes, (int64_t)row_bytes};
        struct quire_rows outside = copy->rows;
        outside.base += (int64_t)(step->at / row_bytes) * outside.token_stride;
        const struct quire_rows *to = out ? &outside : &inside, *from = out ? &inside : &outside;
        uint32_t n_tokens = (uint32_t)(step->size_bytes / row_bytes);
        if (!out || !stream || !quire_stream_rows(to, from, copy->n_heads, n_tokens, row_bytes)) {
            quire_rows_copy(to, from, copy->n_heads, n_tokens, row_bytes);
        }
        return;
    }
    for (uint32_t head = 0; head < copy->n_heads; head++) {
        if (out) {
            quire_rows_put(&copy->rows, head, row_bytes, step->at, staged(stage, head), step->size_bytes);
        } else {
            quire_rows_get(&copy->rows, head, row_bytes, step->at, staged(stage, head), step->size_bytes);
        }
    }
}

/* Copies a head's step and adds it to the head's sum; with the last one the sum is there. */
static void pass(uint64_t *acc, const struct step *step, size_t lane_bytes, uint8_t *to, const uint8_t *from, bool stream, uint64_t *sum) {
    size_t body_bytes = whole_blocks(step) * QUIRE_SUM_BLOCK_BYTES;
    quire_sum_blocks(acc, to, from, whole_blocks(step), stream);
    if (step->last) {
        *sum = quire_sum_tail(acc, to + body_bytes, from + body_bytes, step->size_bytes - body_bytes, lane_bytes, stream);
    }
}

/* Lanes in the short form of the sum: a buffer of their size is enough. */
static void stage_out_short(const struct quire_stage *copy, uint64_t *sums) {
    uint8_t lane[QUIRE_SUM_SHORT_BYTES];
    for (uint32_t head = 0; head < copy->n_heads; head++) {
        sums[head] = quire_copy_checksum(lane, copy->lanes + head * copy->pitch_bytes, copy->lane_bytes);
        quire_rows_put(&copy->rows, head, copy->row_bytes, 0, lane, copy->lane_bytes);
    }
}

static void stage_in_short(const struct quire_stage *copy, uint64_t *sums) {
    for (uint32_t head = 0; head < copy->n_heads; head++) {
        uint8_t *lane = copy->lanes + head * copy->pitch_bytes;
        quire_rows_get(&copy->rows, head, copy->row_bytes, 0, lane, copy->lane_bytes);
        sums[head] = quire_checksum(lane, copy->lane_bytes);
    }
}

void quire_stage_out(const struct quire_stage *copy, bool stream, uint64_t *sums) {
    if (copy->lane_bytes <= QUIRE_SUM_SHORT_BYTES) {
        stage_out_short(copy, sums);
        return;
    }
    struct stage stage;
    struct step step;
    stage_begin(&stage, copy);
    for (size_t at = 0; at < copy->lane_bytes; at += step.size_bytes) {
        step = step_at(&stage, at);
        for (uint32_t head = 0; head < copy->n_heads; head++) {
            uint8_t *to = staged(&stage, head);
            if (at > 0) {
                memcpy(to - KEEP_BYTES, to + stage.step_bytes - KEEP_BYTES, KEEP_BYTES);
            }
            pass(stage.acc[head], &step, copy->lane_bytes, to, copy->lanes + head * copy->pitch_bytes + at, false, &sums[head]);
        }
        exchange(&stage, &step, true, stream);
    }
}

void quire_stage_in(const struct quire_stage *copy, bool stream, uint64_t *sums) {
    if (copy->lane_bytes <= QUIRE_SUM_SHORT_BYTES) {
        stage_in_short(copy, sums);
        return;
    }
    struct stage stage;
    struct step step;
    stage_begin(&stage, copy);
    for (size_t at = 0; at < copy->lane_bytes; at += step.size_bytes) {
        step = step_at(&stage, at);
        exchange(&stage, &step, false, false);
        for (uint32_t head = 0; head < copy->n_heads; head++) {
            uint8_t *to = copy->lanes + head * copy->pitch_bytes + at;
            pass(stage.acc[head], &step, copy->lane_bytes, to, staged(&stage, head), stream, &sums[head]);
        }
    }
}
