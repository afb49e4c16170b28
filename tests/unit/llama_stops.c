/* Whoever asked has gone: a run ends at once, wherever it is, and the next one is not disturbed by what was left. */
#include "client/llama/worker.h"
#include "tests/unit/llama_tiny.h"

#include <criterion/criterion.h>

enum { PROMPT = 600, PREDICT = 8 };

struct patience {
    uint64_t asked, most; /* 0: endless */
    uint32_t tokens, most_tokens;
};

static bool keep_going(void *user) {
    struct patience *patience = user;
    patience->asked++;
    return (patience->most == 0 || patience->asked <= patience->most) &&
           (patience->most_tokens == 0 || patience->tokens < patience->most_tokens);
}

static bool on_token(void *user, uint32_t token, const char *text, size_t bytes) {
    struct patience *patience = user;
    (void)token, (void)text, (void)bytes;
    patience->tokens++;
    return true;
}

static enum quire_status ask(struct worker *worker, struct patience *patience, struct worker_result *result) {
    uint32_t tokens[PROMPT];
    char why[256] = "";
    for (uint32_t i = 0; i < PROMPT; i++) {
        tokens[i] = (i * i * 31 + i * 7 + 3) % TINY_VOCAB;
    }
    const struct worker_request request = {.tokens = tokens,
                                           .n_tokens = PROMPT,
                                           .n_predict = PREDICT,
                                           .ignore_end = true,
                                           .on_token = on_token,
                                           .keep_going = keep_going,
                                           .user = patience};
    const enum quire_status status = worker_run(worker, &request, result, why, sizeof(why));
    cr_assert(status == QUIRE_OK || why[0] != '\0');
    return status;
}

Test(llama_stops, anywhere) {
    static const struct tiny model = {.arch = "llama", .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .rope_base = 1e4f};
    char *path = tiny_write(&model), why[256] = "";
    const struct worker_options options = {.model_path = path, .block_tokens = 64, .threads = 1, .flash_attn = 1, .no_quire = true};
    struct worker worker;
    struct worker_result expected, result;
    struct patience endless = {0};
    cr_assert_eq(worker_open(&options, &worker, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(worker_start(&worker, PROMPT + PREDICT, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(ask(&worker, &endless, &expected), QUIRE_OK);
    cr_assert_eq(expected.n_generated, PREDICT);
    /* It is asked within batches, too: the prompt has only four of them. */
    cr_assert_gt(endless.asked, 4 * PREDICT);
    for (uint64_t most = 1; most < endless.asked; most += endless.asked / 16) {
        struct patience patience = {.most = most};
        cr_assert_eq(ask(&worker, &patience, &result), QUIRE_CANCELLED, "after %llu", (unsigned long long)most);
        cr_assert_leq(patience.asked, most + 4); /* a graph that was given up is not begun again */
        worker_result_free(&result);
    }
    /* No batch is begun for nobody, on whatever device: llama.cpp never sees this token, which it refuses. */
    const uint32_t no_token = worker.engine->n_vocab;
    struct patience none = {.asked = 1, .most = 1};
    worker.engine->keep_going = keep_going;
    worker.engine->keep_going_user = &none;
    cr_assert_eq(engine_decode(worker.engine, &no_token, 1, 0), QUIRE_CANCELLED);
    worker.engine->keep_going = NULL;
    cr_assert_eq(engine_decode(worker.engine, &no_token, 1, 0), QUIRE_INVALID);
    struct patience three = {.most_tokens = 3};
    cr_assert_eq(ask(&worker, &three, &result), QUIRE_CANCELLED);
    cr_assert_eq(result.n_generated, 3);
    worker_result_free(&result);
    struct patience again = {0};
    cr_assert_eq(ask(&worker, &again, &result), QUIRE_OK);
    cr_assert_arr_eq(result.tokens, expected.tokens, PREDICT * sizeof(*result.tokens));
    worker_result_free(&result);
    worker_result_free(&expected);
    worker_close(&worker);
    unlink(path);
    free(path);
}
