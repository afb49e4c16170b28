/*
 * What a model really computes, read off its graph.
 *
 * Metadata names heads, windows and RoPE differently in every architecture, and part of it is decided inside the engine. So the
 * worker does not interpret metadata: during one small decode it watches the graph (llama.cpp's evaluation callback, public)
 * and notes, for each attention, which cache it reads and with how many heads, and for each write into a K cache, which cache
 * object it belongs to and with which parameters RoPE turned what is written. The first row written is kept too, so that the
 * order of layers in a state blob can be compared with what was written instead of assumed. Outside that one decode the callback
 * does nothing. Not thread-safe.
 */
#ifndef QUIRE_LLAMA_PROBE_H
#define QUIRE_LLAMA_PROBE_H

#include "proto/quire_types.h"

struct ggml_tensor;

/* RoPE as the graph applies it. `found` false: what is written passes through none. */
struct probe_rope {
    bool found;
    int32_t n_dims, mode, n_ctx_orig;
    int32_t offset; /* dims of the head in front of the rotated ones */
    float freq_base, freq_scale, ext_factor, attn_factor, beta_fast, beta_slow;
    uint32_t n_factors; /* 0: none */
    float factors[QUIRE_MAX_DIM / 2];
};

/* One layer's cache, as it is written. */
struct probe_cache {
    int32_t layer;      /* the engine's number of it */
    bool has_v;         /* there is a V cache too */
    const void *index;  /* equal for all caches of one cache object: global or local */
    int32_t type;       /* ggml type of K as stored */
    uint32_t row_elems; /* elements of a token's K, all heads */
    float *row;         /* the first row that was written; NULL when not seen */
    struct probe_rope rope;
};

/* One attention, in the order in which the model computes them. */
struct probe_attention {
    int32_t cache_layer; /* whose cache it reads */
    uint32_t n_kv_heads, k_dim;
    bool sinks; /* attention may spend weight on nothing: equal values do not average to themselves */
};

struct probe {
    bool active;
    uint32_t n_caches, n_attentions;
    bool flash_attn; /* attention was one fused operation */
    bool overflow;   /* more layers than QUIRE_MAX_LAYERS */
    struct probe_cache cache[QUIRE_MAX_LAYERS];
    struct probe_attention attention[QUIRE_MAX_LAYERS];
};

/* ggml_backend_sched_eval_callback with a struct probe as user data. */
bool probe_callback(struct ggml_tensor *tensor, bool ask, void *user);
/* The cache of one of the engine's layers; NULL when none was seen. */
const struct probe_cache *probe_find(const struct probe *probe, int32_t layer);
/* Frees the rows; the probe is empty then. */
void probe_clear(struct probe *probe);

#endif
