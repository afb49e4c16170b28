/* Models of other architectures, tiny and random: each becomes lanes, opaque blocks or a refusal, and what is handed over computes on exactly. */
#include "tests/unit/llama_engine.h"
#include "tests/unit/llama_tiny.h"

enum { N = 96, PREFIX = 64, BLOCK = 16, CTX = 256 };

static const struct tiny one_head = {.arch = "llama", .layers = 3, .heads = 4, .kv_heads = 1, .head_dim = 16, .rope_base = 1e4f};
static const struct tiny gemma2 = {
    .arch = "gemma2", .layers = 4, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope_base = 1e4f, .window = 32, .post_norms = true};
static const struct tiny gemma3 = {.arch = "gemma3",
                                   .layers = 8,
                                   .heads = 4,
                                   .kv_heads = 1,
                                   .head_dim = 32,
                                   .rope_base = 1e6f,
                                   .window = 32,
                                   .post_norms = true,
                                   .k_norms = true};
static const struct tiny several_positions = {
    .arch = "qwen2vl", .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16, .rope_base = 1e6f, .mrope = true};

static const struct tiny latent = {.arch = "deepseek2", .layers = 3, .heads = 4, .kv_heads = 1, .rope_base = 1e4f, .latent = true};

static void make_tokens(uint32_t tokens[N]) {
    for (uint32_t i = 0; i < N; i++) {
        tokens[i] = (i * 37 + 11) % TINY_VOCAB;
    }
}

/* Computes all on one engine, hands the prefix to another, computes the rest there: the same logits. `exact` bit by bit. */
static void hand_over_and_compare(const char *path, int from_attention, int to_attention, uint32_t local_first, bool exact) {
    uint32_t tokens[N];
    make_tokens(tokens);
    struct engine *from = test_engine(path, from_attention, BLOCK, CTX), *to = test_engine(path, to_attention, BLOCK, CTX);
    cr_assert_eq(from->mode, ENGINE_LANES, "%s", from->why);
    cr_assert_arr_eq(&from->layout.layout, &to->layout.layout, sizeof(from->layout.layout));
    test_compute(from, tokens, 0, PREFIX, PREFIX);
    test_hand_over(from, to, PREFIX, local_first);
    test_compute(from, tokens, PREFIX, N, PREFIX);
    test_compute(to, tokens, PREFIX, N, PREFIX);
    float *a = test_logits(from), *b = test_logits(to);
    for (uint32_t i = 0; i < TINY_VOCAB; i++) {
        cr_assert_float_eq(a[i], b[i], exact ? 0 : 0.05, "logit %u: %a %a", i, a[i], b[i]);
    }
    free(a);
    free(b);
    engine_close(&from);
    engine_close(&to);
}

/* Four query heads, one KV head: a row of K is one head. */
Test(llama_models, one_kv_head) {
    char *path = tiny_write(&one_head);
    struct engine *engine = test_engine(path, 1, BLOCK, CTX);
    cr_assert_eq(engine->mode, ENGINE_LANES, "%s", engine->why);
    cr_assert_eq(engine->layout.layout.n_groups, 1);
    cr_assert_eq(engine->layout.layout.n_layers, 3);
    const quire_group *group = &engine->layout.layout.group[0];
    cr_assert_eq(group->n_kv_heads, 1);
    cr_assert_eq(group->k_dim, 16);
    cr_assert_eq(group->v_dim, 16);
    cr_assert_eq(group->rope.pairing, QUIRE_ROPE_INTERLEAVED);
    engine_close(&engine);
    hand_over_and_compare(path, 1, 1, 0, true);
    hand_over_and_compare(path, 0, 0, 0, true);
    hand_over_and_compare(path, 1, 0, 0, false);
    hand_over_and_compare(path, 0, 1, 0, false);
    unlink(path);
    free(path);
}

/* RoPE with factors a pair, stretched by YaRN, of another base, or left out of every fourth layer: read off the graph and verified. */
Test(llama_models, kinds_of_rope) {
    static const struct tiny kinds[] = {
        {.arch = "llama", .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope_base = 5e5f, .factors = true},
        {.arch = "llama", .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope_base = 1e4f, .yarn = 4},
        {.arch = "qwen2", .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16, .rope_base = 1e6f, .mrope = true},
        {.arch = "smollm3", .layers = 8, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope_base = 1e5f},
    };
    static const uint16_t groups[] = {1, 1, 1, 2};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *path = tiny_write(&kinds[i]);
        struct engine *engine = test_engine(path, 1, BLOCK, CTX);
        cr_assert_eq(engine->mode, ENGINE_LANES, "%zu: %s", i, engine->why);
        cr_assert_eq(engine->layout.layout.n_groups, groups[i], "%zu: %u groups", i, engine->layout.layout.n_groups);
        engine_close(&engine);
        hand_over_and_compare(path, 1, 1, 0, true);
        unlink(path);
        free(path);
    }
}

/* Every other layer sees 32 tokens: two groups of equal size, told apart by what was written, and the reader needs two blocks of one. */
Test(llama_models, windows_in_turn) {
    char *path = tiny_write(&gemma2);
    struct engine *engine = test_engine(path, 1, BLOCK, CTX);
    cr_assert_eq(engine->mode, ENGINE_LANES, "%s", engine->why);
    const quire_layout *layout = &engine->layout.layout;
    cr_assert_eq(layout->n_groups, 2);
    for (uint32_t l = 0; l < 4; l++) { /* gemma2 begins with a windowed layer */
        cr_assert_eq(layout->group[layout->group_of[l]].window_tokens, l % 2 == 0 ? 32 : 0);
    }
    engine_close(&engine);
    hand_over_and_compare(path, 1, 1, PREFIX - 32, true);
    hand_over_and_compare(path, 0, 0, PREFIX - 32, true);
    unlink(path);
    free(path);
}

/* Five windowed layers, then a global one, with another RoPE: both are verified, down to the deepest layer. */
Test(llama_models, windows_with_their_own_rope) {
    char *path = tiny_write(&gemma3);
    struct engine *engine = test_engine(path, 1, BLOCK, CTX);
    cr_assert_eq(engine->mode, ENGINE_LANES, "%s", engine->why);
    const quire_layout *layout = &engine->layout.layout;
    cr_assert_eq(layout->n_groups, 2);
    const quire_group *local = &layout->group[layout->group_of[0]], *global = &layout->group[layout->group_of[5]];
    cr_assert_eq(local->window_tokens, 32);
    cr_assert_eq(global->window_tokens, 0);
    cr_assert_lt(global->rope.inv_freq[4], local->rope.inv_freq[4]);
    cr_assert_eq(global->rope.pairing, QUIRE_ROPE_HALF);
    engine_close(&engine);
    hand_over_and_compare(path, 1, 1, PREFIX - 32, true);
    unlink(path);
    free(path);
}

/* After a long prompt the ring of a windowed cache has wrapped round; the last blocks still come out in order and right. */
Test(llama_models, a_wrapped_ring) {
    enum { LONG = 1600, LONG_CTX = 2048 };
    char *path = tiny_write(&gemma2);
    struct engine *from = test_engine(path, 1, BLOCK, LONG_CTX), *to = test_engine(path, 1, BLOCK, LONG_CTX);
    uint32_t *tokens = malloc((LONG + 8) * sizeof(*tokens));
    for (uint32_t i = 0; i < LONG + 8; i++) {
        tokens[i] = (i * 53 + 7) % TINY_VOCAB;
    }
    test_compute(from, tokens, 0, LONG, 304); /* the local cache holds 3 windows and a batch: it comes round several times */
    test_hand_over(from, to, LONG, LONG - 32);
    test_compute(from, tokens, LONG, LONG + 8, LONG + 8);
    test_compute(to, tokens, LONG, LONG + 8, LONG + 8);
    float *a = test_logits(from), *b = test_logits(to);
    for (uint32_t i = 0; i < TINY_VOCAB; i++) { /* cells lie elsewhere, so sums may be ordered otherwise */
        cr_assert_float_eq(a[i], b[i], 1e-2, "logit %u: %a %a", i, a[i], b[i]);
    }
    free(a);
    free(b);
    free(tokens);
    engine_close(&from);
    engine_close(&to);
    unlink(path);
    free(path);
}

/* What lanes cannot say goes round as the engine's own bytes, exactly; why is said. */
static void opaque_and_back(const struct tiny *model, int attention, const char *why) {
    uint32_t tokens[N];
    make_tokens(tokens);
    char *path = tiny_write(model);
    struct engine *from = test_engine(path, attention, BLOCK, CTX), *to = test_engine(path, attention, BLOCK, CTX);
    cr_assert_eq(from->mode, ENGINE_OPAQUE, "mode %d %s", from->mode, from->why);
    cr_assert(from->layout.layout.opaque);
    cr_assert(strstr(from->why, why) != NULL, "%s", from->why);
    test_compute(from, tokens, 0, PREFIX, PREFIX);
    for (uint32_t first = 0; first < PREFIX; first += BLOCK) {
        struct engine_buffer block = {0};
        uint64_t size;
        cr_assert_eq(engine_export_opaque(from, first, first + BLOCK, &block, &size), QUIRE_OK);
        cr_assert_leq(size, from->opaque_token_bytes * BLOCK + 4096);
        cr_assert_eq(engine_import_opaque(to, block.bytes, size), QUIRE_OK);
        engine_buffer_free(&block);
    }
    test_compute(from, tokens, PREFIX, N, PREFIX);
    test_compute(to, tokens, PREFIX, N, PREFIX);
    float *a = test_logits(from), *b = test_logits(to);
    cr_assert_arr_eq(a, b, TINY_VOCAB * sizeof(*a));
    free(a);
    free(b);
    engine_close(&from);
    engine_close(&to);
    unlink(path);
    free(path);
}

/* RoPE with several positions a token, as models that see pictures have it. */
Test(llama_models, several_positions_are_opaque) {
    opaque_and_back(&several_positions, 1, "several positions a token");
    opaque_and_back(&several_positions, 0, "several positions a token");
}

/* Latent attention as this engine keeps it: latents first, rotated dims behind them; a layout has these in front. */
Test(llama_models, latents_are_opaque) {
    opaque_and_back(&latent, 1, "RoPE over 16 dims behind the first 48");
    opaque_and_back(&latent, 0, "RoPE over 16 dims behind the first 48");
}

/* A state that is not a sum over tokens cannot be cut into blocks: refused by name, and the model runs all the same. */
Test(llama_models, recurrent) {
    static const struct tiny recurrent = {.arch = "mamba", .layers = 2, .recurrent = true};
    uint32_t tokens[N];
    make_tokens(tokens);
    char *path = tiny_write(&recurrent);
    struct engine *engine = test_engine(path, -1, BLOCK, CTX);
    cr_assert_eq(engine->mode, ENGINE_NONE);
    cr_assert_str_eq(engine->why, "the model is recurrent: its state cannot be cut into blocks");
    test_compute(engine, tokens, 0, N, N);
    engine_close(&engine);
    unlink(path);
    free(path);
}

/* Blocks fit into the model's window unless somebody insists, and then a worker goes on without Quire: it does not depend on a cache. */
Test(llama_models, blocks_and_windows) {
    static const struct {
        int window;
        uint32_t wished, block;
        enum engine_mode mode;
    } cases[] = {{32, 0, 32, ENGINE_LANES}, {100, 0, 64, ENGINE_LANES}, {24, 0, 16, ENGINE_LANES}, {32, 24, 24, ENGINE_LANES},
                 {32, 64, 64, ENGINE_NONE}, {12, 0, 64, ENGINE_NONE},   {0, 0, 64, ENGINE_LANES}};
    uint32_t tokens[N];
    make_tokens(tokens);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tiny model = cases[i].window > 0 ? gemma2 : one_head;
        model.window = cases[i].window;
        char *path = tiny_write(&model);
        struct engine *engine = test_engine(path, 1, cases[i].wished, CTX);
        cr_assert_eq(engine->block_tokens, cases[i].block, "window %d: blocks of %u", cases[i].window, engine->block_tokens);
        cr_assert_eq(engine->mode, cases[i].mode, "window %d: %s", cases[i].window, engine->why);
        cr_assert(cases[i].mode == ENGINE_LANES || strstr(engine->why, "tokens are longer than the model's window of") != NULL, "%s",
                  engine->why);
        test_compute(engine, tokens, 0, N, engine->batch_tokens);
        engine_close(&engine);
        unlink(path);
        free(path);
    }
}
