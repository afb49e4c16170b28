/*
 * A worker: prompt in, greedy answer out, computing no more than Quire does not have.
 *
 * The longest stored prefix is fetched straight into a state blob and imported, the rest is prefilled, new blocks are stored
 * while that goes on (so that those of sliding windows are still there, and others can start early), the answer is generated, and what
 * is complete then is stored too. With the blocks goes what a token took in the last batch of some length. At least the prompt's
 * last token is always computed. Batches of the prefill end at the same positions whatever was reused (multiples of the batch, the
 * last whole block, the last but one token, and `split`), so a worker that reused N tokens computes exactly what one without Quire
 * computes after a split at N. Not thread-safe.
 */
#ifndef QUIRE_LLAMA_WORKER_H
#define QUIRE_LLAMA_WORKER_H

#include "client/llama/engine.h"
#include "client/llama/store.h"

struct worker_options {
    const char *model_path;
    const char *socket;             /* NULL: as libquire finds it */
    const char *ns;                 /* NULL: made of the model's name and the layout's digest */
    uint32_t block_tokens, threads; /* 0: as engine_options */
    int flash_attn;
    bool no_quire;
};

struct worker {
    struct worker_options options;
    struct engine *engine;
    struct store store;
};

/* Called for each generated token; false ends the answer. `text` is not terminated. */
typedef bool worker_token_fn(void *user, uint32_t token, const char *text, size_t bytes);

struct worker_request {
    const uint32_t *tokens;
    size_t n_tokens;
    uint32_t n_predict;
    uint32_t split;        /* 0: none */
    const char *dump_path; /* lanes of the prompt's full blocks; NULL: none */
    bool ignore_end;       /* go on past the model's end-of-text */
    worker_token_fn *on_token;
    engine_going_fn *keep_going; /* false ends the run as CANCELLED, also within a batch; NULL: it goes on */
    void *user;
};

struct worker_result {
    uint32_t prompt_tokens, reused_tokens, stored_blocks;
    double lookup_ms, fetch_ms, import_ms, prefill_ms, generate_ms, store_ms;
    quire_fidelity fidelity;
    bool ended; /* by the model's end-of-text, not by n_predict */
    uint32_t n_generated;
    uint32_t *tokens;
    char *text; /* terminated; may hold any bytes */
    size_t text_bytes;
};

/* Loads the model; worker_start makes the context (of at least ctx_tokens) and connects. Fail with a sentence in why. */
enum quire_status worker_open(const struct worker_options *options, struct worker *worker, char *why, size_t why_bytes);
enum quire_status worker_start(struct worker *worker, uint32_t ctx_tokens, char *why, size_t why_bytes);
void worker_close(struct worker *worker);

/* TOO_LARGE when prompt and answer exceed the context, CANCELLED when keep_going said so. worker.store.note says what Quire could not do; it is no failure. */
enum quire_status worker_run(struct worker *worker, const struct worker_request *request, struct worker_result *result, char *why,
                             size_t why_bytes);
void worker_result_free(struct worker_result *result);

/* Where the batch that begins at `at` ends, for a prompt of n tokens. For tests too. */
uint32_t worker_batch_end(uint32_t at, uint32_t n, uint32_t batch_tokens, uint32_t block_tokens, uint32_t split);

#endif
