/*
 * Lanes that are copied between contiguous memory and scattered rows and summed on the way. The bytes pass through a buffer in the
 * first-level cache, a few blocks of several heads at a time, and are summed as they pass (see codec/checksum_kernel.h): nothing is
 * read twice from where others write, and the caller's memory is walked token by token.
 */
#ifndef QUIRE_STAGE_H
#define QUIRE_STAGE_H

#include "codec/rows.h"

#include <stdbool.h>

#define QUIRE_STAGE_HEADS 16

/* The lanes of up to QUIRE_STAGE_HEADS neighbouring heads: contiguous memory on one side, rows on the other. */
struct quire_stage {
    uint8_t *lanes; /* only read by quire_stage_out */
    size_t pitch_bytes;
    size_t lane_bytes, row_bytes;
    uint32_t n_heads;
    struct quire_rows rows;
};

/* sums: one a head. `stream`: what is written bypasses the caches where it is aligned for that; quire_stream_end follows. */
void quire_stage_out(const struct quire_stage *copy, bool stream, uint64_t *sums);
void quire_stage_in(const struct quire_stage *copy, bool stream, uint64_t *sums);

#endif
