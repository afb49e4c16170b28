/* quire-llama: the commands, each from opening the worker to closing it. */
#include "client/llama/options.h"
#include "client/llama/report.h"
#include "client/llama/serve.h"
#include "client/llama/text.h"
#include "proto/base/base.h"

#include <llama.h>
#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES 512
#define SERVE_CTX_TOKENS 8192

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int fail(const char *why) {
    fprintf(stderr, "quire-llama: %s\n", why);
    return EXIT_FAILED;
}

static enum quire_status read_prompt(const struct options *options, const struct engine *engine, uint32_t **tokens, size_t *n, char *why) {
    char *text = NULL;
    size_t bytes = options->prompt != NULL ? strlen(options->prompt) : 0;
    if (options->prompt_file != NULL) {
        QUIRE_FORWARD(text_read_file(options->prompt_file, &text, &bytes, why, WHY_BYTES));
    }
    const enum quire_status status = engine_tokenise(engine, text != NULL ? text : options->prompt, bytes, true, false, tokens, n);
    free(text);
    if (status != QUIRE_OK) {
        snprintf(why, WHY_BYTES, "the prompt cannot be turned into tokens of this model");
        return status;
    }
    if (options->max_prompt_tokens != 0 && *n > options->max_prompt_tokens) {
        *n = options->max_prompt_tokens;
    }
    if (*n == 0) {
        snprintf(why, WHY_BYTES, "the prompt is empty");
        free(*tokens);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

static int answer(const struct options *options, struct worker *worker, const uint32_t *tokens, size_t n_tokens) {
    char why[WHY_BYTES] = "";
    const uint32_t needed = (uint32_t)quire_min_u64(n_tokens + options->n_predict, 1u << 22);
    if (worker_start(worker, options->ctx_tokens != 0 ? options->ctx_tokens : needed, why, sizeof(why)) != QUIRE_OK) {
        return fail(why);
    }
    if (worker->engine->mode == ENGINE_OPAQUE) {
        fprintf(stderr, "quire-llama: blocks are opaque: %s\n", worker->engine->why);
    }
    if (worker->store.note[0] != '\0') {
        fprintf(stderr, "quire-llama: %s\n", worker->store.note);
    }
    const struct worker_request request = {.tokens = tokens,
                                           .n_tokens = n_tokens,
                                           .n_predict = options->n_predict,
                                           .split = options->split,
                                           .dump_path = options->dump_path,
                                           .ignore_end = options->ignore_end};
    struct worker_result result;
    const enum quire_status status = worker_run(worker, &request, &result, why, sizeof(why));
    if (worker->store.note[0] != '\0') {
        fprintf(stderr, "quire-llama: %s\n", worker->store.note);
    }
    if (status == QUIRE_OK && options->json) {
        report_json(&result, stdout);
    } else if (status == QUIRE_OK) {
        report_text(&result, stdout, stderr);
    }
    worker_result_free(&result);
    return status == QUIRE_OK ? EXIT_DONE : fail(why);
}

static int run(const struct options *options) {
    char why[WHY_BYTES] = "";
    struct worker worker;
    uint32_t *tokens = NULL;
    size_t n_tokens = 0;
    if (worker_open(&options->worker, &worker, why, sizeof(why)) != QUIRE_OK) {
        return fail(why);
    }
    const enum quire_status status = read_prompt(options, worker.engine, &tokens, &n_tokens, why);
    const int code = status == QUIRE_OK ? answer(options, &worker, tokens, n_tokens) : fail(why);
    if (status == QUIRE_OK) {
        free(tokens);
    }
    worker_close(&worker);
    return code;
}

static int serve(const struct options *options) {
    char why[WHY_BYTES] = "";
    struct worker worker;
    if (worker_open(&options->worker, &worker, why, sizeof(why)) != QUIRE_OK) {
        return fail(why);
    }
    const uint32_t known = (uint32_t)llama_model_n_ctx_train(worker.engine->model);
    const uint32_t ctx = options->ctx_tokens != 0 ? options->ctx_tokens : (uint32_t)quire_min_u64(known, SERVE_CTX_TOKENS);
    int code = EXIT_DONE;
    if (worker_start(&worker, ctx, why, sizeof(why)) != QUIRE_OK) {
        code = fail(why);
    } else {
        const struct serve_options serving = {.host = options->host, .port = options->port, .queue = options->queue};
        if (serve_run(&worker, &serving, why, sizeof(why)) != QUIRE_OK) {
            code = fail(why);
        }
    }
    worker_close(&worker);
    return code;
}

int main(int argc, char **argv) {
    struct options options;
    char why[WHY_BYTES] = "";
    if (!options_parse(argc, argv, &options, why, sizeof(why))) {
        fprintf(stderr, "quire-llama: %s\nTry: quire-llama --help\n", why);
        return EXIT_USAGE;
    }
    switch (options.command) {
    case OPTIONS_RUN:
        return run(&options);
    case OPTIONS_SERVE:
        return serve(&options);
    case OPTIONS_VERSION:
        printf("quire-llama %s (llama.cpp %s)\n", QUIRE_PACKAGE_VERSION, llama_version());
        return EXIT_DONE;
    default:
        fputs(options_help, argc > 1 ? stdout : stderr);
        return argc > 1 ? EXIT_DONE : EXIT_USAGE;
    }
}
