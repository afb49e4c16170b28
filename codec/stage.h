/*
 * Lanes that are copied between a record and scattered rows and summed on the way: the bytes pass through a buffer in the
 * first-level cache, are summed as they pass (see codec/checksum_kernel.h), and nothing is read twice from where others write.
 */
#ifndef QUIRE_STAGE_H
#define QUIRE_STAGE_H

#include "codec/rows.h"

uint64_t quire_stage_out(const struct quire_rows *rows, const uint8_t *lane, size_t lane_bytes);
uint64_t quire_stage_in(const struct quire_rows *rows, uint8_t *lane, size_t lane_bytes);

#endif
