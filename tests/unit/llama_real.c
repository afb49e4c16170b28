/*
 * The real model of the quickstart ($QUIRE_MODEL, else where deploy/deps keeps it; skipped when it is not there): its state passes the
 * self-check, flash attention on and off hold the same lanes, and lanes handed over compute on to the same logits bit by bit.
 */
#include "client/llama/rope_check.h"
#include "client/llama/worker.h"
#include "tests/unit/llama_engine.h"

#include <stdio.h>
#include <unistd.h>

enum { PREFIX = 128, BLOCK = 64, CTX = 512 };

static const char text[] =
    "A quire is a gathering of pages. Readers who want the same pages need not write them again: one of them copies the gathering once, "
    "and "
    "everybody else takes it from the shelf. What was copied must be the same, letter by letter, or it is not taken at all. The shelf is "
    "kept by one person, who knows what lies where, what is read often, and what may go when there is no more room. Whoever asks for a "
    "gathering is told at once whether it is there; nobody waits for a page that will not come. When the keeper goes home, readers write "
    "for "
    "themselves again, slower, and without complaint. This is all there is to it, and everything else follows from taking it seriously.";

static const char *model_path(void) {
    static char path[4096];
    const char *given = getenv("QUIRE_MODEL"), *source = getenv("QUIRE_SOURCE");
    if (given != NULL) {
        snprintf(path, sizeof(path), "%s", given);
    } else {
        char command[4200];
        snprintf(command, sizeof(command), "'%s/deploy/deps' path model 2>/dev/null", source != NULL ? source : ".");
        FILE *pipe = popen(command, "r");
        if (pipe == NULL || fgets(path, sizeof(path), pipe) == NULL) {
            path[0] = '\0';
        }
        if (pipe != NULL) {
            pclose(pipe);
        }
        path[strcspn(path, "\n")] = '\0';
    }
    return path[0] != '\0' && access(path, R_OK) == 0 ? path : NULL;
}

static uint32_t *real_tokens(const struct engine *engine) {
    uint32_t *tokens;
    size_t n;
    cr_assert_eq(engine_tokenise(engine, text, sizeof(text) - 1, true, false, &tokens, &n), QUIRE_OK);
    cr_assert_geq(n, (size_t)PREFIX + 8);
    return tokens;
}

/* Compute all on one engine and hand the prefix to another: bit-equal logits when both attend alike, close ones when not. */
static void hand_over(const char *path, int from_attention, int to_attention) {
    struct engine *from = test_engine(path, from_attention, BLOCK, CTX), *to = test_engine(path, to_attention, BLOCK, CTX);
    cr_assert_eq(from->mode, ENGINE_LANES, "%s", from->why);
    cr_assert_arr_eq(&from->layout.layout, &to->layout.layout, sizeof(from->layout.layout), "attention is not part of the layout");
    uint32_t *tokens = real_tokens(from);
    test_compute(from, tokens, 0, PREFIX, PREFIX);
    test_hand_over(from, to, PREFIX, 0);
    for (uint32_t first = 0; first < PREFIX; first += BLOCK) { /* what lies in the other engine now is what lay in the first */
        uint64_t a_size, b_size;
        uint8_t *a = test_lanes(from, 0, first, first + BLOCK, &a_size), *b = test_lanes(to, 0, first, first + BLOCK, &b_size);
        cr_assert_eq(a_size, b_size);
        cr_assert_arr_eq(a, b, a_size, "lanes of the block at %u", first);
        free(a);
        free(b);
    }
    test_compute(from, tokens, PREFIX, PREFIX + 8, PREFIX);
    test_compute(to, tokens, PREFIX, PREFIX + 8, PREFIX);
    float *a = test_logits(from), *b = test_logits(to);
    double off = 0, all = 0;
    for (uint32_t i = 0; i < from->n_vocab; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)a[i] * a[i];
    }
    cr_assert(from_attention == to_attention ? off == 0 : off < 0.01 * all, "%g of %g", off, all);
    cr_assert_eq(engine_greedy(from), engine_greedy(to));
    free(a);
    free(b);
    free(tokens);
    engine_close(&from);
    engine_close(&to);
}

/* What the layout says about SmolLM2: 30 layers, 3 KV heads of 64, interleaved pairs, base 100000. Other models only have to be lanes. */
Test(llama_real, layout) {
    const char *path = model_path();
    if (path == NULL) {
        cr_skip_test("no model");
    }
    struct engine *engine = test_engine(path, 1, BLOCK, CTX);
    cr_assert_eq(engine->mode, ENGINE_LANES, "%s", engine->why);
    cr_assert_lt(engine->rope_deviation, ROPE_CHECK_DEEP);
    if (strstr(path, "SmolLM2-135M") != NULL) {
        const quire_layout *layout = &engine->layout.layout;
        cr_assert_eq(layout->n_layers, 30);
        cr_assert_eq(layout->n_groups, 1);
        cr_assert_eq(layout->group[0].n_kv_heads, 3);
        cr_assert_eq(layout->group[0].k_dim, 64);
        cr_assert_eq(layout->group[0].rope.pairing, QUIRE_ROPE_INTERLEAVED);
        cr_assert_float_eq(layout->group[0].rope.inv_freq[16], 1.0 / 316.2278, 1e-6);
    }
    engine_close(&engine);
}

Test(llama_real, hand_over_with_flash_attention) {
    if (model_path() == NULL) {
        cr_skip_test("no model");
    }
    hand_over(model_path(), 1, 1);
}

Test(llama_real, hand_over_without) {
    if (model_path() == NULL) {
        cr_skip_test("no model");
    }
    hand_over(model_path(), 0, 0);
}

/* Lanes that one kind of attention wrote serve the other. */
Test(llama_real, hand_over_across) {
    if (model_path() == NULL) {
        cr_skip_test("no model");
    }
    hand_over(model_path(), 1, 0);
    hand_over(model_path(), 0, 1);
}

/* Without a daemon a worker says so and answers all the same. */
Test(llama_real, without_a_daemon) {
    const char *path = model_path();
    if (path == NULL) {
        cr_skip_test("no model");
    }
    char why[256] = "";
    struct worker worker;
    const struct worker_options options = {
        .model_path = path, .socket = "/nonexistent/quired.sock", .block_tokens = BLOCK, .threads = 1, .flash_attn = -1};
    cr_assert_eq(worker_open(&options, &worker, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(worker_start(&worker, CTX, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert(strstr(worker.store.note, "without Quire") != NULL, "%s", worker.store.note);
    uint32_t *tokens = real_tokens(worker.engine);
    const struct worker_request request = {.tokens = tokens, .n_tokens = 20, .n_predict = 3, .ignore_end = true};
    struct worker_result result;
    cr_assert_eq(worker_run(&worker, &request, &result, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(result.n_generated, 3);
    cr_assert_eq(result.reused_tokens, 0);
    worker_result_free(&result);
    const struct worker_request too_long = {.tokens = tokens, .n_tokens = 20, .n_predict = CTX};
    cr_assert_eq(worker_run(&worker, &too_long, &result, why, sizeof(why)), QUIRE_TOO_LARGE);
    worker_result_free(&result);
    free(tokens);
    worker_close(&worker);
}
