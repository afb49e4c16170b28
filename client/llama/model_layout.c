#include "client/llama/model_layout.h"

#include "proto/base/base.h"
#include "proto/layout.h"
#include "proto/status.h"

#include <ggml.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define UNSUPPORTED(...) (snprintf(why, why_bytes, __VA_ARGS__), QUIRE_UNSUPPORTED)

/* ---- RoPE ------------------------------------------------------------------------------------------------------------- */
static double yarn_share(const struct probe_rope *seen, const float corr[2], uint32_t pair) {
    const double span = fmax(0.001, (double)corr[1] - corr[0]);
    const double ramp = 1.0 - fmin(1.0, fmax(0.0, ((double)pair - corr[0]) / span));
    return ramp * seen->ext_factor;
}

static void fill_frequencies(const struct probe_rope *seen, quire_rope *rope) {
    float corr[2] = {0, 0};
    if (seen->ext_factor != 0) {
        ggml_rope_yarn_corr_dims(seen->n_dims, seen->n_ctx_orig, seen->freq_base, seen->beta_fast, seen->beta_slow, corr);
    }
    for (uint32_t i = 0; i < (uint32_t)seen->n_dims / 2; i++) {
        const double plain = pow(seen->freq_base, -2.0 * i / seen->n_dims) / (seen->n_factors > 0 ? seen->factors[i] : 1.0);
        const double share = seen->ext_factor != 0 ? yarn_share(seen, corr, i) : 0;
        rope->inv_freq[i] = (float)(plain * (seen->freq_scale * (1 - share) + share));
    }
    const double magnitude = seen->ext_factor != 0 ? 1.0 + 0.1 * log(1.0 / seen->freq_scale) : 1.0;
    rope->factor = (float)(seen->attn_factor * magnitude);
}

enum quire_status model_layout_rope(const struct probe_rope *seen, uint32_t k_dim, quire_rope *rope, char *why, size_t why_bytes) {
    memset(rope, 0, sizeof(*rope));
    if (!seen->found) {
        return QUIRE_OK;
    }
    if (seen->mode != GGML_ROPE_TYPE_NORMAL && seen->mode != GGML_ROPE_TYPE_NEOX) {
        return UNSUPPORTED("RoPE of mode %d (several positions a token)", (int)seen->mode);
    }
    if (seen->offset != 0) {
        return UNSUPPORTED("RoPE over %d dims behind the first %d, not in front", (int)seen->n_dims, (int)seen->offset);
    }
    if (seen->n_dims <= 0 || seen->n_dims % 2 != 0 || (uint32_t)seen->n_dims > k_dim) {
        return UNSUPPORTED("RoPE over %d dims of %u", (int)seen->n_dims, (unsigned)k_dim);
    }
    rope->pairing = seen->mode == GGML_ROPE_TYPE_NEOX ? QUIRE_ROPE_HALF : QUIRE_ROPE_INTERLEAVED;
    rope->applied = true;
    rope->n_dims = (uint16_t)seen->n_dims;
    fill_frequencies(seen, rope);
    return QUIRE_OK;
}

/* ---- which cache is which section of the blob ------------------------------------------------------------------------------ */
/* The caches of one cache object, in order of layers, as the blob lists them. */
struct cache_set {
    const void *index;
    uint32_t n;
    const struct probe_cache *member[QUIRE_MAX_LAYERS];
};

static int by_layer(const void *a, const void *b) {
    const struct probe_cache *x = *(const struct probe_cache *const *)a, *y = *(const struct probe_cache *const *)b;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

/* Returns how many cache objects there are; more than two are not told apart further. */
static uint32_t split_sets(const struct probe *probe, struct cache_set set[KVBLOB_MAX_SECTIONS]) {
    uint32_t n_sets = 0;
    for (uint32_t i = 0; i < probe->n_caches; i++) {
        uint32_t s = 0;
        while (s < n_sets && set[s].index != probe->cache[i].index) {
            s++;
        }
        if (s == KVBLOB_MAX_SECTIONS) {
            return KVBLOB_MAX_SECTIONS + 1;
        }
        if (s == n_sets) {
            memset(&set[s], 0, sizeof(set[s]));
            set[n_sets++].index = probe->cache[i].index;
        }
        set[s].member[set[s].n++] = &probe->cache[i];
    }
    for (uint32_t s = 0; s < n_sets; s++) {
        qsort(set[s].member, set[s].n, sizeof(set[s].member[0]), by_layer);
    }
    return n_sets;
}

static bool row_matches(const struct probe_cache *cache, const struct kvblob_plane *plane, const uint8_t *bytes) {
    if (cache->type != plane->type || cache->row == NULL) {
        return false;
    }
    const uint8_t *at = bytes + plane->offset;
    for (uint32_t i = 0; i < cache->row_elems; i++) {
        if (cache->type == GGML_TYPE_F32) {
            if (memcmp(at + 4ull * i, &cache->row[i], 4) != 0) {
                return false;
            }
            continue;
        }
        uint16_t stored;
        memcpy(&stored, at + 2ull * i, 2);
        const float value = cache->type == GGML_TYPE_F16 ? ggml_fp16_to_fp32(stored) : ggml_bf16_to_fp32((ggml_bf16_t){stored});
        const float slack = cache->type == GGML_TYPE_F16 ? 1e-3f : 1e-2f;
        if (!(fabsf(value - cache->row[i]) <= slack * fabsf(cache->row[i]) + 1e-6f)) {
            return false;
        }
    }
    return true;
}

static bool set_is_section(const struct cache_set *set, const struct kvblob_section *section, const uint8_t *bytes) {
    if (set->n != section->n_layers || section->n_cells == 0) {
        return false;
    }
    for (uint32_t i = 0; i < set->n; i++) {
        const uint64_t elem = set->member[i]->type == GGML_TYPE_F32 ? 4 : 2;
        if (section->k[i].row_bytes != elem * set->member[i]->row_elems || !row_matches(set->member[i], &section->k[i], bytes)) {
            return false;
        }
    }
    return true;
}

/* Finds the order of sets in which every layer's first row is the one that the graph wrote. */
static bool match_sections(struct cache_set set[KVBLOB_MAX_SECTIONS], const struct kvblob *shape, const uint8_t *bytes) {
    if (shape->n_sections == 1) {
        return set_is_section(&set[0], &shape->section[0], bytes);
    }
    if (set_is_section(&set[0], &shape->section[0], bytes) && set_is_section(&set[1], &shape->section[1], bytes)) {
        return true;
    }
    struct cache_set first = set[0];
    set[0] = set[1];
    set[1] = first;
    return set_is_section(&set[0], &shape->section[0], bytes) && set_is_section(&set[1], &shape->section[1], bytes);
}

/* ---- groups ------------------------------------------------------------------------------------------------------------ */
static int elem_of(int32_t type) {
    switch (type) {
    case GGML_TYPE_F16:
        return QUIRE_F16;
    case GGML_TYPE_BF16:
        return QUIRE_BF16;
    case GGML_TYPE_F32:
        return QUIRE_F32;
    default:
        return -1;
    }
}

static enum quire_status shape_group(const struct probe_attention *attention, const struct probe_cache *cache,
                                     const struct kvblob_section *section, uint32_t place, uint32_t window_tokens, quire_group *group,
                                     char *why, size_t why_bytes) {
    memset(group, 0, sizeof(*group));
    const uint64_t elem_bytes = quire_elem_bytes((enum quire_elem)elem_of(cache->type));
    if ((uint64_t)attention->k_dim * attention->n_kv_heads != cache->row_elems || attention->k_dim > QUIRE_MAX_DIM ||
        attention->n_kv_heads > QUIRE_MAX_HEADS) {
        return UNSUPPORTED("layer %d: %u heads of %u in rows of %u", (int)cache->layer, (unsigned)attention->n_kv_heads,
                           (unsigned)attention->k_dim, (unsigned)cache->row_elems);
    }
    group->window_tokens = window_tokens;
    group->n_kv_heads = (uint16_t)attention->n_kv_heads;
    group->k_dim = (uint16_t)attention->k_dim;
    group->elem = (uint8_t)elem_of(cache->type);
    if (section->has_v) {
        const uint64_t head_bytes = elem_bytes * attention->n_kv_heads, row_bytes = section->v[place].row_bytes;
        if (section->v[place].type != cache->type || row_bytes % head_bytes != 0 || row_bytes / head_bytes > QUIRE_MAX_DIM) {
            return UNSUPPORTED("layer %d: V of type %d in rows of %llu bytes", (int)cache->layer, (int)section->v[place].type,
                               (unsigned long long)row_bytes);
        }
        group->v_dim = (uint16_t)(row_bytes / head_bytes);
    }
    return model_layout_rope(&cache->rope, attention->k_dim, &group->rope, why, why_bytes);
}

/* The group of this shape in this section, a new one if need be; −1 when there are too many. */
static int group_for(struct model_layout *out, const quire_group *group, uint32_t section) {
    for (int g = 0; g < out->layout.n_groups; g++) {
        if (out->section[g] == section && memcmp(&out->layout.group[g], group, sizeof(*group)) == 0) {
            return g;
        }
    }
    if (out->layout.n_groups == QUIRE_MAX_GROUPS) {
        return -1;
    }
    const int g = out->layout.n_groups++;
    out->layout.group[g] = *group;
    out->section[g] = (uint8_t)section;
    return g;
}

static uint32_t first_reader(const struct probe *probe, uint32_t attention) {
    uint32_t first = 0;
    while (probe->attention[first].cache_layer != probe->attention[attention].cache_layer) {
        first++;
    }
    return first;
}

struct place_of {
    uint32_t section, place;
};

static bool find_place(const struct cache_set set[KVBLOB_MAX_SECTIONS], uint32_t n_sets, const struct probe_cache *cache,
                       struct place_of *at) {
    for (at->section = 0; at->section < n_sets; at->section++) {
        for (at->place = 0; at->place < set[at->section].n; at->place++) {
            if (set[at->section].member[at->place] == cache) {
                return true;
            }
        }
    }
    return false;
}

static enum quire_status add_layer(const struct probe *probe, uint32_t l, const struct cache_set *set, const struct kvblob *shape,
                                   uint32_t window_tokens, struct model_layout *out, char *why, size_t why_bytes) {
    const struct probe_attention *attention = &probe->attention[l];
    const uint32_t producer = first_reader(probe, l);
    out->sinks = out->sinks || attention->sinks;
    out->layout.kv_src[l] = (uint16_t)producer;
    if (producer != l) {
        return QUIRE_OK;
    }
    struct place_of at;
    const struct probe_cache *cache = probe_find(probe, attention->cache_layer);
    if (cache == NULL || !find_place(set, shape->n_sections, cache, &at)) {
        return UNSUPPORTED("layer %d reads a cache that is not in the state", (int)attention->cache_layer);
    }
    quire_group group;
    QUIRE_FORWARD(
        shape_group(attention, cache, &shape->section[at.section], at.place, at.section == 1 ? window_tokens : 0, &group, why, why_bytes));
    const int g = group_for(out, &group, at.section);
    if (g < 0) {
        return UNSUPPORTED("layers of more than %d shapes", QUIRE_MAX_GROUPS);
    }
    out->layout.group_of[l] = (uint8_t)g;
    out->place[g][out->n_layers[g]++] = (uint16_t)at.place;
    return QUIRE_OK;
}

static enum quire_status check_probe(const struct probe *probe, uint32_t n_sets, const struct kvblob *shape, uint32_t window_tokens,
                                     uint32_t block_tokens, char *why, size_t why_bytes) {
    if (probe->overflow || probe->n_attentions == 0 || probe->n_attentions > QUIRE_MAX_LAYERS) {
        return UNSUPPORTED("%u attentions over a KV cache were seen", (unsigned)probe->n_attentions);
    }
    for (uint32_t i = 0; i < probe->n_caches; i++) {
        if (elem_of(probe->cache[i].type) < 0) {
            return UNSUPPORTED("layer %d keeps K as %s: quantised caches may be rotated, and do not say so", (int)probe->cache[i].layer,
                               ggml_type_name((enum ggml_type)probe->cache[i].type));
        }
    }
    if (n_sets != shape->n_sections) {
        return UNSUPPORTED("%u caches in the graph, %u in the state", (unsigned)n_sets, (unsigned)shape->n_sections);
    }
    if (shape->n_sections == 2 && window_tokens < block_tokens) {
        return UNSUPPORTED("its window of %u tokens is shorter than a block of %u: choose fewer tokens a block", (unsigned)window_tokens,
                           (unsigned)block_tokens);
    }
    return QUIRE_OK;
}

static enum quire_status build_lanes(const struct probe *probe, struct cache_set set[KVBLOB_MAX_SECTIONS], const struct kvblob *shape,
                                     const uint8_t *bytes, uint32_t window_tokens, uint32_t block_tokens, struct model_layout *out,
                                     char *why, size_t why_bytes) {
    const uint32_t n_sets = split_sets(probe, set);
    QUIRE_FORWARD(check_probe(probe, n_sets, shape, window_tokens, block_tokens, why, why_bytes));
    if (!match_sections(set, shape, bytes)) {
        return UNSUPPORTED("the state's layers are not the ones that the graph writes");
    }
    out->layout.n_layers = (uint16_t)probe->n_attentions;
    for (uint32_t l = 0; l < probe->n_attentions; l++) {
        QUIRE_FORWARD(add_layer(probe, l, set, shape, window_tokens, out, why, why_bytes));
    }
    uint32_t n_stored = 0;
    for (uint32_t g = 0; g < out->layout.n_groups; g++) {
        n_stored += out->n_layers[g];
    }
    if (n_stored != probe->n_caches) {
        return UNSUPPORTED("%u layers are cached and %u are read", (unsigned)probe->n_caches, (unsigned)n_stored);
    }
    return QUIRE_OK;
}

enum quire_status model_layout_lanes(const struct probe *probe, const struct kvblob *shape, const uint8_t *bytes, uint32_t window_tokens,
                                     const uint8_t digest[32], uint32_t block_tokens, struct model_layout *out, char *why,
                                     size_t why_bytes) {
    memset(out, 0, sizeof(*out));
    memcpy(out->layout.weights_digest, digest, 32);
    out->layout.block_tokens = (uint16_t)block_tokens;
    struct cache_set *set = calloc(KVBLOB_MAX_SECTIONS, sizeof(*set));
    if (set == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = build_lanes(probe, set, shape, bytes, window_tokens, block_tokens, out, why, why_bytes);
    free(set);
    QUIRE_FORWARD(status);
    return quire_layout_check(&out->layout, why, why_bytes) == QUIRE_OK ? QUIRE_OK : QUIRE_UNSUPPORTED;
}

void model_layout_opaque(const uint8_t digest[32], uint32_t block_tokens, const char *format, struct model_layout *out) {
    memset(out, 0, sizeof(*out));
    memcpy(out->layout.weights_digest, digest, 32);
    out->layout.block_tokens = (uint16_t)block_tokens;
    out->layout.opaque = true;
    snprintf(out->layout.engine, sizeof(out->layout.engine), "llama.cpp");
    snprintf(out->layout.engine_format, sizeof(out->layout.engine_format), "%s", format);
}
