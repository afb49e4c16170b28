/*
 * A layout's RoPE, verified on the spot.
 *
 * A sequence that consists of one token, over and over, has the same hidden state at every position of every layer: all values
 * that attention can average are equal. So every layer's K, with the rotation undone, must agree between positions, near and
 * far. If it does not, the layout says something wrong about this model, and the worker must not hand it to others. Only when
 * attention has sinks (weight spent on nothing) does this hold for the first layer alone. No state; thread-safe.
 */
#ifndef QUIRE_LLAMA_ROPE_CHECK_H
#define QUIRE_LLAMA_ROPE_CHECK_H

#include "client/llama/model_layout.h"

/* Largest relative squared deviation that counts as agreement: of the first layer, and of the deeper ones, where rounding adds up. */
#define ROPE_CHECK_FIRST 1e-3
#define ROPE_CHECK_DEEP 2e-2

/*
 * K of one layer at n positions: rows[i] is the row (all heads) of the token at position positions[i]. Returns the relative squared
 * deviation from the first row after undoing the rotation.
 */
double rope_check_rows(const quire_group *group, const uint8_t *const *rows, const int32_t *positions, uint32_t n);

/*
 * Checks every group on blobs of sequences of one repeated token: bytes[i] holds blob[i]. UNSUPPORTED with why when a layer
 * disagrees; *worst (may be NULL) is the largest deviation seen.
 */
enum quire_status rope_check(const struct model_layout *model, const struct kvblob *blob, const uint8_t *const *bytes, uint32_t n_blobs,
                             double *worst, char *why, size_t why_bytes);

#endif
