/*
 * From a model as llama.cpp runs it to a layout as Quire knows it, and back: which record of a block lies where in a state blob.
 *
 * The layout is built from what the probe saw in the graph and from the shape of a real state blob; every layer's place in the
 * blob is confirmed by comparing the first row with what the graph wrote. What a layout cannot express (quantised caches, RoPE
 * with several positions a token, rotated dims that are not at the front …) is refused with a sentence; the worker then keeps
 * opaque blocks. Layers with a sliding window form groups of their own. No state; thread-safe.
 */
#ifndef QUIRE_LLAMA_MODEL_LAYOUT_H
#define QUIRE_LLAMA_MODEL_LAYOUT_H

#include "client/llama/blob.h"
#include "client/llama/probe.h"

struct model_layout {
    quire_layout layout;
    /* For each group: the section of the blob, and for each of its layers the place within the section. */
    uint8_t section[QUIRE_MAX_GROUPS];
    uint16_t n_layers[QUIRE_MAX_GROUPS];
    uint16_t place[QUIRE_MAX_GROUPS][QUIRE_MAX_LAYERS];
    bool sinks; /* some attention has sinks: see rope_check.h */
};

/* `window_tokens`: of the model's local layers. UNSUPPORTED with why when lanes are not possible. */
enum quire_status model_layout_lanes(const struct probe *probe, const struct kvblob *shape, const uint8_t *bytes, uint32_t window_tokens,
                                     const uint8_t digest[32], uint32_t block_tokens, struct model_layout *out, char *why,
                                     size_t why_bytes);
/* Blocks as the engine's own bytes. `format` says everything that the bytes depend on. */
void model_layout_opaque(const uint8_t digest[32], uint32_t block_tokens, const char *format, struct model_layout *out);
/* The frequencies that ggml's parameters mean. UNSUPPORTED with why when quire_rope cannot say it. */
enum quire_status model_layout_rope(const struct probe_rope *seen, uint32_t k_dim, quire_rope *rope, char *why, size_t why_bytes);

#endif
