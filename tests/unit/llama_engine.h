/* What the tests on tiny models and on the real one do alike. Header-only. */
#ifndef QUIRE_TESTS_LLAMA_ENGINE_H
#define QUIRE_TESTS_LLAMA_ENGINE_H

#include "client/llama/engine.h"
#include "client/llama/lanes.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static inline struct engine *test_engine(const char *path, int flash_attn, uint32_t block_tokens, uint32_t ctx_tokens) {
    char why[256] = "";
    struct engine *engine = NULL;
    cr_assert_eq(engine_load(path, &engine, why, sizeof(why)), QUIRE_OK, "%s", why);
    const struct engine_options options = {
        .model_path = path, .ctx_tokens = ctx_tokens, .threads = 1, .flash_attn = flash_attn, .block_tokens = block_tokens};
    cr_assert_eq(engine_start(engine, &options, why, sizeof(why)), QUIRE_OK, "%s", why);
    return engine;
}

/* Computes [first, end) in batches that end at multiples of `step`. */
static inline void test_compute(struct engine *engine, const uint32_t *tokens, uint32_t first, uint32_t end, uint32_t step) {
    while (first < end) {
        const uint32_t to = (first / step + 1) * step < end ? (first / step + 1) * step : end;
        cr_assert_eq(engine_decode(engine, tokens + first, to - first, first), QUIRE_OK);
        first = to;
    }
}

static inline float *test_logits(struct engine *engine) {
    float *copy = malloc(engine->n_vocab * sizeof(*copy));
    memcpy(copy, engine_logits(engine), engine->n_vocab * sizeof(*copy));
    return copy;
}

/* Blocks as a reader gets them: every group's lanes of [first, end), one after the other. */
static inline uint8_t *test_lanes(struct engine *engine, uint32_t group, uint32_t first, uint32_t end, uint64_t *size) {
    struct engine_buffer state = {0};
    struct kvblob *rows = malloc(sizeof(*rows));
    const quire_group *shape = &engine->layout.layout.group[group];
    cr_assert_eq(engine_export(engine, first, end, &state, rows), QUIRE_OK);
    cr_assert(lanes_present(&engine->layout, group, rows, first, end));
    uint8_t *lanes = malloc(rows->size_bytes);
    *size = 0;
    for (uint32_t l = 0; l < engine->layout.n_layers[group]; l++) {
        for (uint32_t lane = 0; lane < (shape->v_dim > 0 ? 2u : 1u) * shape->n_kv_heads; lane++) {
            *size += lanes_copy_out(&engine->layout, group, l, lane >= shape->n_kv_heads, lane % shape->n_kv_heads, rows, state.bytes,
                                    first, end - first, lanes + *size);
        }
    }
    free(rows);
    engine_buffer_free(&state);
    return lanes;
}

/* Puts what test_lanes gave into a planned import. */
static inline void test_place(struct engine *engine, uint32_t group, uint32_t first, uint32_t end, const uint8_t *lanes,
                              const struct kvblob *rows, uint8_t *bytes) {
    const struct model_layout *model = &engine->layout;
    struct lane_bases *bases = malloc(sizeof(*bases));
    quire_dest dest = {0};
    lanes_dest(model, group, rows, bytes, first, bases, &dest);
    const quire_group *shape = &model->layout.group[group];
    const uint64_t k_bytes = (uint64_t)dest.k_head_stride, v_bytes = (uint64_t)dest.v_head_stride;
    for (uint32_t l = 0; l < model->n_layers[group]; l++) {
        for (uint32_t v = 0; v < (shape->v_dim > 0 ? 2 : 1); v++) {
            for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
                for (uint32_t t = 0; t < end - first; t++) {
                    uint8_t *base = v ? dest.v_base[l] : dest.k_base[l];
                    const uint64_t n = v ? v_bytes : k_bytes, stride = (uint64_t)(v ? dest.v_token_stride : dest.k_token_stride);
                    memcpy(base + h * n + t * stride, lanes, n);
                    lanes += n;
                }
            }
        }
    }
    free(bases);
}

/* Lanes of [0, n) out of one engine into another, of windowed groups only from local_first on. */
static inline void test_hand_over(struct engine *from, struct engine *to, uint32_t n, uint32_t local_first) {
    struct engine_buffer buffer = {0};
    struct kvblob *rows = malloc(sizeof(*rows));
    engine_reset(to);
    cr_assert_eq(engine_import_begin(to, n, local_first, &buffer, rows), QUIRE_OK);
    for (uint32_t g = 0; g < from->layout.layout.n_groups; g++) {
        const uint32_t window = from->layout.layout.group[g].window_tokens;
        for (uint32_t first = window > 0 ? local_first : 0; first < n; first += from->block_tokens) {
            uint64_t size;
            uint8_t *lanes = test_lanes(from, g, first, first + from->block_tokens, &size);
            test_place(to, g, first, first + from->block_tokens, lanes, rows, buffer.bytes);
            free(lanes);
        }
    }
    cr_assert_eq(engine_import(to, rows, &buffer), QUIRE_OK);
    free(rows);
    engine_buffer_free(&buffer);
}

#endif
