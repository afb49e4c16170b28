/*
 * Workers with windows, with one KV head, and with opaque blocks share through a real quired: the second reuses what the first stored, also
 * when only a shorter beginning is the same, and both answer as a worker without Quire that splits its prompt where they resumed.
 */
#include "client/llama/worker.h"
#include "tests/unit/llama_tiny.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { LONG = 700, CTX = 2048, PREDICT = 8, STORIES = 4 };

struct story {
    uint32_t n_tokens, reused, reused_in_blocks;
};
/* The same again, a shorter beginning, one that goes on. Windowed models share whole blocks of 64, others a prompt's partial end, too. */
static const struct story stories[STORIES] = {{600, 0, 0}, {600, 599, 576}, {400, 384, 384}, {LONG, 576, 576}};

static pid_t start_quired(const char *socket, const char *ingest_window) {
    const char *bin = getenv("QUIRE_BIN");
    char program[512];
    snprintf(program, sizeof(program), "%s/quired", bin != NULL ? bin : "bin");
    if (access(program, X_OK) != 0) {
        return -1;
    }
    char set_window[64];
    snprintf(set_window, sizeof(set_window), "ingest_window_bytes=%s", ingest_window);
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no daemon behind */
        execl(program, program, "--defaults", "--socket", socket, "--no-metrics", "--pool-size", "64MiB", "--log-level", "error", "--set",
              set_window, NULL);
        _exit(127);
    }
    const quire_options options = {.address = NULL, .connect_timeout_ms = 100};
    char address[600];
    snprintf(address, sizeof(address), "unix://%s", socket);
    for (int i = 0; i < 600; i++) { /* a bound on patience, not a measurement */
        quire_options at = options;
        quire_client *client = NULL;
        at.address = address;
        if (quire_open(&at, &client) == QUIRE_OK) {
            quire_close(&client);
            return pid;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    }
    cr_assert_fail("quired does not answer");
    return -1;
}

static void open_worker(struct worker *worker, const char *path, const char *socket, int flash_attn, uint32_t block_tokens) {
    char why[256] = "";
    const struct worker_options options = {.model_path = path,
                                           .socket = socket,
                                           .ns = "shares",
                                           .block_tokens = block_tokens,
                                           .threads = 1,
                                           .flash_attn = flash_attn,
                                           .no_quire = socket == NULL};
    cr_assert_eq(worker_open(&options, worker, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(worker_start(worker, CTX, why, sizeof(why)), QUIRE_OK, "%s", why);
}

static struct worker_result ask_noting(struct worker *worker, uint32_t n_tokens, uint32_t split) {
    uint32_t tokens[CTX];
    for (uint32_t i = 0; i < CTX; i++) {
        tokens[i] = (i * i * 31 + i * 7 + 3) % TINY_VOCAB;
    }
    char why[256] = "";
    struct worker_result result;
    const struct worker_request request = {.tokens = tokens, .n_tokens = n_tokens, .n_predict = PREDICT, .split = split};
    cr_assert_eq(worker_run(worker, &request, &result, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(result.n_generated, PREDICT);
    return result;
}

static struct worker_result ask(struct worker *worker, uint32_t n_tokens, uint32_t split) {
    const struct worker_result result = ask_noting(worker, n_tokens, split);
    cr_assert_str_empty(worker->store.note, "%s", worker->store.note);
    return result;
}

static struct worker_result answer(const char *path, const char *socket, uint32_t n_tokens, int flash_attn, uint32_t split) {
    struct worker worker;
    open_worker(&worker, path, socket, flash_attn, 64);
    struct worker_result result = ask(&worker, n_tokens, split);
    worker_close(&worker);
    return result;
}

struct place {
    char folder[32], socket[64];
    pid_t quired;
};

static void set_up_with(struct place *place, const char *ingest_window) {
    strcpy(place->folder, "/tmp/quire-shares-XXXXXX");
    cr_assert_not_null(mkdtemp(place->folder));
    snprintf(place->socket, sizeof(place->socket), "%s/s", place->folder);
    place->quired = start_quired(place->socket, ingest_window);
    if (place->quired < 0) {
        rmdir(place->folder);
        cr_skip_test("no quired");
    }
}

static void set_up(struct place *place) { set_up_with(place, "16MiB"); }

static void tear_down(struct place *place) {
    int status;
    kill(place->quired, SIGTERM);
    waitpid(place->quired, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "quired ended with %d", status);
    unlink(place->socket);
    strcat(place->socket, ".lock"); /* the daemon's hold on its socket's name */
    unlink(place->socket);
    rmdir(place->folder);
}

static void share(const struct tiny *model, int flash_attn) {
    struct place place;
    set_up(&place);
    char *path = tiny_write(model);
    for (int i = 0; i < STORIES; i++) {
        struct worker_result with = answer(path, place.socket, stories[i].n_tokens, flash_attn, 0);
        cr_assert_eq(with.reused_tokens, model->window > 0 ? stories[i].reused_in_blocks : stories[i].reused, "story %d: %u reused", i,
                     with.reused_tokens);
        cr_assert(i > 0 || with.stored_blocks >= 9, "%u stored", with.stored_blocks);
        struct worker_result alone = answer(path, NULL, stories[i].n_tokens, flash_attn, with.reused_tokens);
        cr_assert_arr_eq(with.tokens, alone.tokens, PREDICT * sizeof(*with.tokens), "story %d", i);
        worker_result_free(&with);
        worker_result_free(&alone);
    }
    unlink(path);
    free(path);
    tear_down(&place);
}

static const struct tiny one_head = {.arch = "llama", .layers = 3, .heads = 4, .kv_heads = 1, .head_dim = 16, .rope_base = 1e4f};
static const struct tiny windows = {
    .arch = "gemma2", .layers = 4, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope_base = 1e4f, .window = 100, .post_norms = true};
static const struct tiny opaque = {
    .arch = "qwen2vl", .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16, .rope_base = 1e6f, .mrope = true};

Test(llama_shares, one_kv_head) { share(&one_head, 1); }
Test(llama_shares, one_kv_head_without_flash_attention) { share(&one_head, 0); }
Test(llama_shares, windows) { share(&windows, 1); }
Test(llama_shares, windows_without_flash_attention) { share(&windows, 0); }
Test(llama_shares, opaque) { share(&opaque, 1); }

/* A prompt's partial end stays for whoever asks the same, until the conversation goes on: then the fuller block replaces it. */
Test(llama_shares, a_conversation_goes_on) {
    struct place place;
    struct worker worker;
    set_up(&place);
    char *path = tiny_write(&one_head);
    open_worker(&worker, path, place.socket, 1, 64);
    static const uint32_t turns[][2] = {{100, 0}, {100, 99}, {180, 64}, {100, 64}};
    for (int i = 0; i < 4; i++) {
        struct worker_result result = ask(&worker, turns[i][0], 0);
        cr_assert_eq(result.reused_tokens, turns[i][1], "turn %d: %u reused", i, result.reused_tokens);
        worker_result_free(&result);
    }
    worker_close(&worker);
    unlink(path);
    free(path);
    tear_down(&place);
}

/* Opaque blocks go to the daemon whole. Large ones need a larger window than usual: the worker asks for it, and says so if it is not lent. */
static const struct tiny large = {
    .arch = "qwen2vl", .layers = 72, .heads = 4, .kv_heads = 4, .head_dim = 16, .rope_base = 1e6f, .mrope = true};
enum { LARGE_BLOCK = 1024, LARGE_PROMPT = 1032 };

Test(llama_shares, large_opaque_blocks) {
    struct place place;
    set_up_with(&place, "64MiB");
    char *path = tiny_write(&large);
    for (uint32_t i = 0; i < 2; i++) {
        struct worker worker;
        open_worker(&worker, path, place.socket, 1, LARGE_BLOCK);
        struct worker_result result = ask(&worker, LARGE_PROMPT, 0);
        cr_assert_eq(worker.engine->mode, ENGINE_OPAQUE);
        cr_assert_eq(result.reused_tokens, i == 0 ? 0 : LARGE_PROMPT - 1, "%u reused", result.reused_tokens);
        worker_result_free(&result);
        worker_close(&worker);
    }
    unlink(path);
    free(path);
    tear_down(&place);
}

Test(llama_shares, opaque_blocks_too_large_for_the_daemon) {
    struct place place;
    struct worker worker;
    set_up(&place);
    char *path = tiny_write(&large);
    open_worker(&worker, path, place.socket, 1, LARGE_BLOCK);
    struct worker_result result = ask_noting(&worker, LARGE_PROMPT, 0);
    cr_assert_eq(result.stored_blocks, 0);
    cr_assert(strstr(worker.store.note, "ingest_window_bytes") != NULL, "%s", worker.store.note);
    worker_result_free(&result);
    worker_close(&worker);
    unlink(path);
    free(path);
    tear_down(&place);
}
