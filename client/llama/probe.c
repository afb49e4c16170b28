#include "client/llama/probe.h"

#include <ggml-backend.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32 /* tensors between a cache and what is looked for */

/* The layer's number when the tensor is a view into a cache of this kind ("cache_k_l"), else −1. */
static int32_t cache_layer(const struct ggml_tensor *tensor, const char *kind) {
    for (int depth = 0; tensor != NULL && depth < DEPTH_MAX; depth++) {
        const struct ggml_tensor *root = tensor->view_src != NULL ? tensor->view_src : tensor;
        const size_t length = strlen(kind);
        int layer;
        if (strncmp(root->name, kind, length) == 0 && sscanf(root->name + length, "%d", &layer) == 1) {
            return layer;
        }
        tensor = tensor->src[0];
    }
    return -1;
}

const struct probe_cache *probe_find(const struct probe *probe, int32_t layer) {
    for (uint32_t i = 0; i < probe->n_caches; i++) {
        if (probe->cache[i].layer == layer) {
            return &probe->cache[i];
        }
    }
    return NULL;
}

static struct probe_cache *cache_of(struct probe *probe, int32_t layer) {
    struct probe_cache *known = (struct probe_cache *)probe_find(probe, layer);
    if (known != NULL) {
        return known;
    }
    if (probe->n_caches == QUIRE_MAX_LAYERS) {
        probe->overflow = true;
        return NULL;
    }
    struct probe_cache *cache = &probe->cache[probe->n_caches++];
    memset(cache, 0, sizeof(*cache));
    cache->layer = layer;
    return cache;
}

/* ---- RoPE ------------------------------------------------------------------------------------------------------------- */
static float float_param(const struct ggml_tensor *tensor, int index) {
    float value;
    memcpy(&value, tensor->op_params + index, sizeof(value));
    return value;
}

static void note_factors(const struct ggml_tensor *factors, struct probe_rope *rope) {
    const uint32_t n = (uint32_t)rope->n_dims / 2;
    if (factors == NULL || factors->type != GGML_TYPE_F32 || n > QUIRE_MAX_DIM / 2 || factors->ne[0] < (int64_t)n) {
        return;
    }
    ggml_backend_tensor_get(factors, rope->factors, 0, n * sizeof(float));
    rope->n_factors = n;
}

static void note_rope(const struct ggml_tensor *tensor, struct probe_rope *rope) {
    rope->found = true;
    rope->n_dims = tensor->op_params[1];
    rope->mode = tensor->op_params[2];
    rope->n_ctx_orig = tensor->op_params[4];
    rope->freq_base = float_param(tensor, 5);
    rope->freq_scale = float_param(tensor, 6);
    rope->ext_factor = float_param(tensor, 7);
    rope->attn_factor = float_param(tensor, 8);
    rope->beta_fast = float_param(tensor, 9);
    rope->beta_slow = float_param(tensor, 10);
    rope->offset += tensor->op_params[15];
    note_factors(tensor->src[2], rope);
}

/* Walks from what is written into the cache back to the rotation, if there is one. Weights have no source: the walk ends there. */
static bool find_rope(const struct ggml_tensor *tensor, struct probe_rope *rope) {
    for (int depth = 0; tensor != NULL && depth < DEPTH_MAX; depth++) {
        if (tensor->op == GGML_OP_ROPE) {
            note_rope(tensor, rope);
            return true;
        }
        if (tensor->op == GGML_OP_CONCAT && tensor->src[1] != NULL) {
            if (find_rope(tensor->src[0], rope)) {
                return true;
            }
            rope->offset += (int32_t)tensor->src[0]->ne[0];
            tensor = tensor->src[1];
            continue;
        }
        tensor = tensor->op == GGML_OP_MUL_MAT ? NULL : tensor->src[0];
    }
    return false;
}

/* ---- what the callback notes -------------------------------------------------------------------------------------------- */
/* True when the row that is written has to be looked at after the write. */
static bool note_write(struct probe *probe, const struct ggml_tensor *tensor) {
    const int32_t v_layer = cache_layer(tensor->view_src, "cache_v_l");
    if (v_layer >= 0) {
        struct probe_cache *cache = cache_of(probe, v_layer);
        if (cache != NULL) {
            cache->has_v = true;
        }
        return false;
    }
    const int32_t layer = cache_layer(tensor->view_src, "cache_k_l");
    struct probe_cache *cache = layer >= 0 ? cache_of(probe, layer) : NULL;
    if (cache == NULL || cache->row_elems != 0) {
        return false;
    }
    cache->index = tensor->src[1];
    cache->type = (int32_t)tensor->type;
    cache->row_elems = (uint32_t)tensor->src[0]->ne[0];
    if (!find_rope(tensor->src[0], &cache->rope)) {
        cache->rope.offset = 0;
    }
    return tensor->src[0]->type == GGML_TYPE_F32;
}

static void keep_row(struct probe *probe, const struct ggml_tensor *tensor) {
    struct probe_cache *cache = (struct probe_cache *)probe_find(probe, cache_layer(tensor->view_src, "cache_k_l"));
    if (cache == NULL || cache->row != NULL) {
        return;
    }
    cache->row = malloc((size_t)cache->row_elems * sizeof(float));
    if (cache->row != NULL) {
        ggml_backend_tensor_get(tensor->src[0], cache->row, 0, (size_t)cache->row_elems * sizeof(float));
    }
}

static void note_attention(struct probe *probe, const struct ggml_tensor *k, bool sinks) {
    const int32_t layer = k != NULL ? cache_layer(k, "cache_k_l") : -1;
    if (layer < 0) {
        return; /* a softmax of another kind */
    }
    if (probe->n_attentions == QUIRE_MAX_LAYERS) {
        probe->overflow = true;
        return;
    }
    probe->attention[probe->n_attentions++] =
        (struct probe_attention){.cache_layer = layer, .k_dim = (uint32_t)k->ne[0], .n_kv_heads = (uint32_t)k->ne[2], .sinks = sinks};
}

static const struct ggml_tensor *k_of_softmax(const struct ggml_tensor *tensor) {
    const struct ggml_tensor *at = tensor->src[0];
    for (int depth = 0; at != NULL && depth < DEPTH_MAX; depth++) {
        if (at->op == GGML_OP_MUL_MAT) {
            return at->src[0];
        }
        at = at->src[0];
    }
    return NULL;
}

bool probe_callback(struct ggml_tensor *tensor, bool ask, void *user) {
    struct probe *probe = user;
    if (!probe->active) {
        return !ask;
    }
    if (!ask) {
        keep_row(probe, tensor);
        return true;
    }
    switch (tensor->op) {
    case GGML_OP_SET_ROWS:
        return note_write(probe, tensor);
    case GGML_OP_FLASH_ATTN_EXT:
        probe->flash_attn = true;
        note_attention(probe, tensor->src[1], tensor->src[4] != NULL);
        return false;
    case GGML_OP_SOFT_MAX:
        note_attention(probe, k_of_softmax(tensor), tensor->src[2] != NULL);
        return false;
    default:
        return false;
    }
}

void probe_clear(struct probe *probe) {
    for (uint32_t i = 0; i < probe->n_caches; i++) {
        free(probe->cache[i].row);
    }
    memset(probe, 0, sizeof(*probe));
}
