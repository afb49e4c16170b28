/*
 * Blocks as rectangles of a state blob: the strides and base pointers with which libquire scatters lanes straight into the blob
 * that the engine will read, or gathers them from the one it wrote. The blob's V must be in rows. No state; thread-safe.
 */
#ifndef QUIRE_LLAMA_LANES_H
#define QUIRE_LLAMA_LANES_H

#include "client/llama/model_layout.h"
#include "client/quire.h"

/* Base pointers of a whole group; the arrays belong to whoever holds them. */
struct lane_bases {
    void *k[QUIRE_MAX_LAYERS];
    void *v[QUIRE_MAX_LAYERS];
};

/* True when positions [first, end) of the group are all in the blob. */
bool lanes_present(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint32_t first, uint32_t end);
/* Where positions from `first` on go; `bases`, `bytes` and `rows` must outlive the destination. */
void lanes_dest(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint8_t *bytes, uint32_t first,
                struct lane_bases *bases, quire_dest *dest);
/* Where positions from `first` on come from; key, parent and n_tokens are the caller's. */
void lanes_source(const struct model_layout *model, uint32_t group, const struct kvblob *rows, uint8_t *bytes, uint32_t first,
                  struct lane_bases *bases, quire_source *source);
/* Copies one lane of n_tokens out of the blob, contiguous; returns its bytes. out NULL: only says how many. */
uint64_t lanes_copy_out(const struct model_layout *model, uint32_t group, uint32_t layer, bool v, uint32_t head, const struct kvblob *rows,
                        const uint8_t *bytes, uint32_t first, uint32_t n_tokens, uint8_t *out);

#endif
