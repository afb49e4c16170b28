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
#include <sys/wait.h>
#include <time.h>

enum { LONG = 700, CTX = 1024, PREDICT = 8, STORIES = 4 };

struct story {
    uint32_t n_tokens, reused_least;
};
/* The same again, a shorter beginning, one that goes on; whole blocks of 64 are the least that must come back. */
static const struct story stories[STORIES] = {{600, 0}, {600, 576}, {400, 384}, {LONG, 576}};

static pid_t start_quired(const char *socket) {
    const char *bin = getenv("QUIRE_BIN");
    char program[512];
    snprintf(program, sizeof(program), "%s/quired", bin != NULL ? bin : "bin");
    if (access(program, X_OK) != 0) {
        return -1;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, "--defaults", "--socket", socket, "--no-metrics", "--pool-size", "64MiB", "--log-level", "error", NULL);
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

static struct worker_result answer(const char *path, const char *socket, uint32_t n_tokens, int flash_attn, uint32_t split) {
    uint32_t tokens[LONG];
    for (uint32_t i = 0; i < LONG; i++) {
        tokens[i] = (i * i * 31 + i * 7 + 3) % TINY_VOCAB;
    }
    char why[256] = "";
    struct worker worker;
    struct worker_result result;
    const struct worker_options options = {.model_path = path,
                                           .socket = socket,
                                           .ns = "shares",
                                           .block_tokens = 64,
                                           .threads = 1,
                                           .flash_attn = flash_attn,
                                           .no_quire = socket == NULL};
    const struct worker_request request = {.tokens = tokens, .n_tokens = n_tokens, .n_predict = PREDICT, .split = split};
    cr_assert_eq(worker_open(&options, &worker, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(worker_start(&worker, CTX, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(worker_run(&worker, &request, &result, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_str_empty(worker.store.note, "%s", worker.store.note);
    cr_assert_eq(result.n_generated, PREDICT);
    worker_close(&worker);
    return result;
}

static void share(const struct tiny *model, int flash_attn) {
    char folder[] = "/tmp/quire-shares-XXXXXX", socket[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(socket, sizeof(socket), "%s/s", folder);
    const pid_t quired = start_quired(socket);
    if (quired < 0) {
        rmdir(folder);
        cr_skip_test("no quired");
    }
    char *path = tiny_write(model);
    for (int i = 0; i < STORIES; i++) {
        struct worker_result with = answer(path, socket, stories[i].n_tokens, flash_attn, 0);
        cr_assert_geq(with.reused_tokens, stories[i].reused_least, "story %d: %u reused", i, with.reused_tokens);
        cr_assert(i > 0 || with.reused_tokens == 0);
        cr_assert(i > 0 || with.stored_blocks >= 9, "%u stored", with.stored_blocks);
        struct worker_result alone = answer(path, NULL, stories[i].n_tokens, flash_attn, with.reused_tokens);
        cr_assert_arr_eq(with.tokens, alone.tokens, PREDICT * sizeof(*with.tokens), "story %d", i);
        worker_result_free(&with);
        worker_result_free(&alone);
    }
    unlink(path);
    free(path);
    kill(quired, SIGTERM);
    int status;
    waitpid(quired, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "quired ended with %d", status);
    unlink(socket);
    strcat(socket, ".lock"); /* the daemon's hold on its socket's name */
    unlink(socket);
    rmdir(folder);
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
