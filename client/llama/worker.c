#include "client/llama/worker.h"

#include "client/llama/dump.h"
#include "proto/base/base.h"
#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>

#define PIECE_BYTES 512
#define COST_LEAST_TOKENS 32 /* of a batch whose time is told: in smaller ones a token takes longer than in a prefill */

/* ---- opening -------------------------------------------------------------------------------------------------------------------- */
enum quire_status worker_open(const struct worker_options *options, struct worker *worker, char *why, size_t why_bytes) {
    memset(worker, 0, sizeof(*worker));
    worker->options = *options;
    return engine_load(options->model_path, &worker->engine, why, why_bytes);
}

enum quire_status worker_start(struct worker *worker, uint32_t ctx_tokens, char *why, size_t why_bytes) {
    const struct worker_options *o = &worker->options;
    const struct engine_options options = {.model_path = o->model_path,
                                           .ctx_tokens = ctx_tokens,
                                           .threads = o->threads,
                                           .flash_attn = o->flash_attn,
                                           .block_tokens = o->block_tokens};
    QUIRE_FORWARD(engine_start(worker->engine, &options, why, why_bytes));
    const enum quire_status status = store_open(&worker->store, worker->engine, o->socket, o->ns, !o->no_quire);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s", quire_status_text(status));
    }
    return status;
}

void worker_close(struct worker *worker) {
    store_close(&worker->store);
    engine_close(&worker->engine);
}

/* ---- prefill -------------------------------------------------------------------------------------------------------------------- */
static uint32_t nearer(uint32_t end, uint32_t at, uint32_t candidate) { return candidate > at && candidate < end ? candidate : end; }

uint32_t worker_batch_end(uint32_t at, uint32_t n, uint32_t batch_tokens, uint32_t block_tokens, uint32_t split) {
    uint32_t end = (at / batch_tokens + 1) * batch_tokens;
    end = end < n ? end : n;
    end = nearer(end, at, (n - 1) / block_tokens * block_tokens);
    end = nearer(end, at, n - 1);
    return nearer(end, at, split);
}

static enum quire_status prefill(struct worker *worker, const struct worker_request *request, struct store_run *run,
                                 struct worker_result *result) {
    struct engine *engine = worker->engine;
    const uint32_t n = (uint32_t)request->n_tokens;
    for (uint32_t at = run->reused_tokens; at < n;) {
        const uint32_t end = worker_batch_end(at, n, engine->batch_tokens, engine->block_tokens, request->split);
        const double start_ms = store_now_ms();
        QUIRE_FORWARD(engine_decode(engine, request->tokens + at, end - at, at));
        engine_wait(engine);
        const double took_ms = store_now_ms() - start_ms;
        result->prefill_ms += took_ms;
        if (end - at >= COST_LEAST_TOKENS) {
            store_cost(run, took_ms * 1e3 / (end - at));
        }
        at = end;
        if (at < n) { /* what the last token completes is stored with the answer: it keeps nobody waiting */
            store_keep(&worker->store, run, request->tokens, at, at == n - 1);
        }
    }
    return QUIRE_OK;
}

/* ---- generate ------------------------------------------------------------------------------------------------------------------- */
static bool append_text(struct worker_result *result, size_t *capacity, const char *piece, size_t bytes) {
    if (result->text_bytes + bytes + 1 > *capacity) {
        const size_t larger = 2 * (result->text_bytes + bytes + 1);
        char *text = realloc(result->text, larger);
        if (text == NULL) {
            return false;
        }
        result->text = text;
        *capacity = larger;
    }
    memcpy(result->text + result->text_bytes, piece, bytes);
    result->text_bytes += bytes;
    result->text[result->text_bytes] = '\0';
    return true;
}

/* all[0..n) is the prompt and has room for the answer; *n_computed is how many have KV in the end. */
static enum quire_status generate(struct worker *worker, const struct worker_request *request, uint32_t *all, size_t *n_computed,
                                  struct worker_result *result) {
    struct engine *engine = worker->engine;
    size_t capacity = 0, at = request->n_tokens;
    char piece[PIECE_BYTES];
    if (!append_text(result, &capacity, "", 0)) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < request->n_predict; i++) {
        const uint32_t token = engine_greedy(engine);
        if (!request->ignore_end && engine_is_end(engine, token)) {
            result->ended = true;
            break;
        }
        const size_t bytes = engine_piece(engine, token, piece, sizeof(piece));
        all[at + i] = result->tokens[i] = token;
        result->n_generated++;
        if (!append_text(result, &capacity, piece, bytes)) {
            return QUIRE_NO_MEMORY;
        }
        if ((request->on_token != NULL && !request->on_token(request->user, token, piece, bytes)) || i + 1 == request->n_predict) {
            break;
        }
        QUIRE_FORWARD(engine_decode(engine, &token, 1, (uint32_t)(at + i)));
        *n_computed = at + i + 1;
    }
    return QUIRE_OK;
}

/* ---- the run -------------------------------------------------------------------------------------------------------------------- */
static void report(const struct store_run *run, struct worker_result *result) {
    result->reused_tokens = run->reused_tokens;
    result->stored_blocks = run->stored_blocks;
    result->fidelity = run->fidelity;
    result->lookup_ms = run->lookup_ms;
    result->fetch_ms = run->fetch_ms;
    result->import_ms = run->import_ms;
    result->store_ms = run->store_ms;
}

static enum quire_status run_steps(struct worker *worker, const struct worker_request *request, struct store_run *run, uint32_t *all,
                                   struct worker_result *result, char *why, size_t why_bytes) {
    size_t n_computed = request->n_tokens;
    engine_reset(worker->engine);
    store_reuse(&worker->store, run, request->tokens, request->n_tokens);
    QUIRE_FORWARD(prefill(worker, request, run, result));
    if (request->dump_path != NULL) {
        QUIRE_FORWARD(dump_lanes(worker->engine, (uint32_t)request->n_tokens, request->dump_path, why, why_bytes));
    }
    const double start_ms = store_now_ms();
    QUIRE_FORWARD(generate(worker, request, all, &n_computed, result));
    result->generate_ms = store_now_ms() - start_ms;
    store_keep(&worker->store, run, all, n_computed, false);
    return QUIRE_OK;
}

enum quire_status worker_run(struct worker *worker, const struct worker_request *request, struct worker_result *result, char *why,
                             size_t why_bytes) {
    memset(result, 0, sizeof(*result));
    worker->store.note[0] = '\0';
    why[0] = '\0';
    if (request->n_tokens == 0 || request->n_tokens + request->n_predict > worker->engine->ctx_tokens) {
        snprintf(why, why_bytes, "%zu tokens of prompt and %u of answer: the context holds %u", request->n_tokens,
                 (unsigned)request->n_predict, (unsigned)worker->engine->ctx_tokens);
        return request->n_tokens == 0 ? QUIRE_INVALID : QUIRE_TOO_LARGE;
    }
    uint32_t *all = malloc((request->n_tokens + request->n_predict) * sizeof(*all));
    result->tokens = malloc(((size_t)request->n_predict + 1) * sizeof(*result->tokens));
    struct store_run run = {0};
    enum quire_status status = QUIRE_NO_MEMORY;
    if (all != NULL && result->tokens != NULL) {
        memcpy(all, request->tokens, request->n_tokens * sizeof(*all));
        result->prompt_tokens = (uint32_t)request->n_tokens;
        worker->engine->keep_going = request->keep_going;
        worker->engine->keep_going_user = request->user;
        status = run_steps(worker, request, &run, all, result, why, why_bytes);
        worker->engine->keep_going = NULL;
        report(&run, result);
    }
    if (status != QUIRE_OK && why[0] == '\0') {
        snprintf(why, why_bytes, "computing failed: %s", quire_status_text(status));
    }
    store_run_end(&run);
    free(all);
    return status;
}

void worker_result_free(struct worker_result *result) {
    free(result->tokens);
    free(result->text);
    memset(result, 0, sizeof(*result));
}
