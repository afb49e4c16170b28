#include "codec/stage.h"

#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "proto/base/base.h"

#define STEP_BLOCKS 16
#define STEP_BYTES (STEP_BLOCKS * QUIRE_SUM_BLOCK_BYTES)
/* The last stripe of a sum reaches back over the tail's start. */
#define KEEP_BYTES 64

/* Whole blocks that leave a tail of at least one byte. */
static size_t body_blocks(size_t lane_bytes) { return (lane_bytes - 1) / QUIRE_SUM_BLOCK_BYTES; }

uint64_t quire_stage_out(const struct quire_rows *rows, const uint8_t *lane, size_t lane_bytes) {
    _Alignas(64) uint8_t stage[KEEP_BYTES + STEP_BYTES];
    uint8_t *step = stage + KEEP_BYTES;
    if (lane_bytes <= QUIRE_SUM_SHORT_BYTES) {
        uint64_t sum = quire_copy_checksum(step, lane, lane_bytes);
        quire_rows_out(rows, 0, step, lane_bytes);
        return sum;
    }
    uint64_t acc[QUIRE_SUM_LANES];
    size_t at = 0;
    quire_sum_begin(acc);
    for (size_t left = body_blocks(lane_bytes); left > 0;) {
        size_t n_blocks = quire_min_u64(left, STEP_BLOCKS);
        size_t step_bytes = n_blocks * QUIRE_SUM_BLOCK_BYTES;
        quire_sum_blocks(acc, step, lane + at, n_blocks);
        quire_rows_out(rows, at, step, step_bytes);
        memcpy(stage, step + step_bytes - KEEP_BYTES, KEEP_BYTES);
        at += step_bytes;
        left -= n_blocks;
    }
    memcpy(step, lane + at, lane_bytes - at);
    quire_rows_out(rows, at, step, lane_bytes - at);
    return quire_sum_finish(acc, step, lane_bytes - at, lane_bytes);
}

uint64_t quire_stage_in(const struct quire_rows *rows, uint8_t *lane, size_t lane_bytes) {
    _Alignas(64) uint8_t step[STEP_BYTES];
    if (lane_bytes <= QUIRE_SUM_SHORT_BYTES) {
        quire_rows_in(rows, 0, lane, lane_bytes);
        return quire_checksum(lane, lane_bytes);
    }
    uint64_t acc[QUIRE_SUM_LANES];
    size_t at = 0;
    quire_sum_begin(acc);
    for (size_t left = body_blocks(lane_bytes); left > 0;) {
        size_t n_blocks = quire_min_u64(left, STEP_BLOCKS);
        quire_rows_in(rows, at, step, n_blocks * QUIRE_SUM_BLOCK_BYTES);
        quire_sum_blocks(acc, lane + at, step, n_blocks);
        at += n_blocks * QUIRE_SUM_BLOCK_BYTES;
        left -= n_blocks;
    }
    quire_rows_in(rows, at, lane + at, lane_bytes - at);
    return quire_sum_finish(acc, lane + at, lane_bytes - at, lane_bytes);
}
