/*
 * A real daemon for the client's tests: a forked child that runs daemon/core on a socket of its own, small, quiet, and killable.
 * A small model whose layers have odd shapes, with blocks whose every element tells where it belongs.
 * And the worker that most stories are about: a client of that daemon with a namespace of that model.
 */
#ifndef CLIENT_QUIRED_H
#define CLIENT_QUIRED_H

#include "client/quire.h"
#include "daemon/core.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct quired {
    pid_t pid;
    char folder[64];
    char path[108];
    uint64_t pool_bytes; /* 0: 64 MiB */
    bool guest;          /* we are no member of the trust domain */
    bool verify;
    uint32_t lease_ms;
    uint64_t ingest_bytes, ingest_window_bytes;
    uint32_t session_bytes; /* copies for one guest at once; 0: as by default */
    uint64_t disk_bytes;    /* 0: no disk tier; else one file of that size */
    const char *fault;      /* a rule of daemon/disk/faults.h for it */
};

static struct core *quired_core;
static inline void quired_on_term(int signal_number) {
    (void)signal_number;
    core_stop(quired_core);
}

static inline void quired_child(const struct quired *quired) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct config config;
    char why[512] = "";
    config_default(&config);
    snprintf(config.socket_path, sizeof(config.socket_path), "%s", quired->path);
    config.metrics_enabled = false;
    config.log_level = LOG_LEVEL_ERROR;
    config.verify_always = quired->verify;
    config.domains[0].pool_bytes = quired->pool_bytes != 0 ? quired->pool_bytes : 64u << 20;
    if (quired->lease_ms != 0) {
        config.pager.lease_ms = quired->lease_ms;
    }
    if (quired->ingest_bytes != 0) {
        config.ingest_bytes = quired->ingest_bytes;
        config.ingest_window_bytes = quired->ingest_window_bytes;
    }
    if (quired->session_bytes != 0) {
        config.max_session_memory_bytes = quired->session_bytes;
    }
    if (quired->disk_bytes != 0) {
        snprintf(config.files[0].path, sizeof(config.files[0].path), "%s/log0", quired->folder);
        config.files[0].size_bytes = quired->disk_bytes;
        config.n_files = 1;
        config.disk.segment_bytes = 1u << 20;
        config.disk.pager.batch_bytes = 256u << 10;
        config.disk.pager.write_delay_ms = 1;
        config.n_faults = quired->fault != NULL;
        snprintf(config.faults[0], sizeof(config.faults[0]), "%s", quired->fault != NULL ? quired->fault : "");
    }
    if (quired->guest) {
        config.domains[0].n_guests = 1;
        config.domains[0].guests[0] = getuid();
        config.domains[0].n_members = 1;
        config.domains[0].members[0] = getuid() + 1;
    }
    log_setup(config.log_level, false);
    if (config_resolve(&config, why, sizeof(why)) != QUIRE_OK || core_create(&config, &quired_core, why, sizeof(why)) != QUIRE_OK) {
        fprintf(stderr, "quired for the test: %s\n", why);
        _exit(3);
    }
    signal(SIGTERM, quired_on_term);
    enum quire_status status = core_run(quired_core);
    core_destroy(&quired_core);
    _exit(status == QUIRE_OK ? 0 : 4);
}

static inline void quired_sleep_ms(unsigned ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* Starts it, and returns when it answers. The fields may be set before; true: it runs. */
static inline bool quired_start(struct quired *quired) {
    if (quired->folder[0] == '\0') {
        snprintf(quired->folder, sizeof(quired->folder), "/tmp/quire-test-XXXXXX");
        if (mkdtemp(quired->folder) == NULL) {
            return false;
        }
        snprintf(quired->path, sizeof(quired->path), "%s/quired.sock", quired->folder);
    }
    fflush(NULL);
    quired->pid = fork();
    if (quired->pid == 0) {
        quired_child(quired);
    }
    quire_options options = {.address = quired->path, .client_name = "start"};
    for (int i = 0; i < 500; i++) {
        quire_client *client = NULL;
        if (quire_open(&options, &client) == QUIRE_OK) {
            quire_close(&client);
            return true;
        }
        if (waitpid(quired->pid, NULL, WNOHANG) == quired->pid) {
            return false;
        }
        quired_sleep_ms(10);
    }
    return false;
}

static inline void quired_kill(struct quired *quired) {
    kill(quired->pid, SIGKILL);
    waitpid(quired->pid, NULL, 0);
}

/* Its exit code after an orderly stop. */
static inline int quired_stop(struct quired *quired) {
    int status = -1;
    kill(quired->pid, SIGTERM);
    waitpid(quired->pid, &status, 0);
    unlink(quired->path);
    char lock[128];
    snprintf(lock, sizeof(lock), "%s.lock", quired->path);
    unlink(lock);
    snprintf(lock, sizeof(lock), "%s/log0", quired->folder);
    unlink(lock);
    snprintf(lock, sizeof(lock), "%s/log0.meta", quired->folder);
    unlink(lock);
    rmdir(quired->folder);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- a small model -------------------------------------------------------------------------------------------------------- */
enum { TOY_LAYERS = 3, TOY_HEADS = 2, TOY_K = 24, TOY_V = 40, TOY_BLOCK = 16, TOY_GAP = 6 };

static inline quire_layout toy_layout(void) {
    quire_layout layout = {.n_layers = TOY_LAYERS, .n_groups = 1, .block_tokens = TOY_BLOCK, .kv_src = {0, 1, 2}};
    layout.group[0] = (quire_group){.n_kv_heads = TOY_HEADS, .k_dim = TOY_K, .v_dim = TOY_V, .elem = QUIRE_F16};
    memset(layout.weights_digest, 3, sizeof(layout.weights_digest));
    return layout;
}

static inline quire_layout opaque_layout(void) {
    quire_layout layout = {.block_tokens = TOY_BLOCK, .opaque = true};
    snprintf(layout.engine, sizeof(layout.engine), "test");
    snprintf(layout.engine_format, sizeof(layout.engine_format), "1");
    memset(layout.weights_digest, 4, sizeof(layout.weights_digest));
    return layout;
}

/* One block in an engine's memory: K as [layer][token][head][dim + gap], V as [layer][head][token][dim + gap]; gaps stay as they are. */
struct toy {
    uint16_t k[TOY_LAYERS][TOY_BLOCK][TOY_HEADS][TOY_K + TOY_GAP];
    uint16_t v[TOY_LAYERS][TOY_HEADS][TOY_BLOCK][TOY_V + TOY_GAP];
    void *k_base[TOY_LAYERS], *v_base[TOY_LAYERS];
};

static inline uint16_t toy_element(uint32_t block, uint32_t layer, uint32_t kv, uint32_t head, uint32_t token, uint32_t dim) {
    return (uint16_t)((block * 7919u + layer * 1009u + kv * 503u + head * 211u + token * 41u + dim * 3u) | 1u);
}

static inline void toy_clear(struct toy *toy) {
    memset(toy, 0, sizeof(*toy));
    for (int layer = 0; layer < TOY_LAYERS; layer++) {
        toy->k_base[layer] = toy->k[layer];
        toy->v_base[layer] = toy->v[layer];
    }
}

static inline void toy_fill(struct toy *toy, uint32_t block) {
    toy_clear(toy);
    for (uint32_t layer = 0; layer < TOY_LAYERS; layer++) {
        for (uint32_t head = 0; head < TOY_HEADS; head++) {
            for (uint32_t token = 0; token < TOY_BLOCK; token++) {
                for (uint32_t dim = 0; dim < TOY_K; dim++) {
                    toy->k[layer][token][head][dim] = toy_element(block, layer, 0, head, token, dim);
                }
                for (uint32_t dim = 0; dim < TOY_V; dim++) {
                    toy->v[layer][head][token][dim] = toy_element(block, layer, 1, head, token, dim);
                }
            }
        }
    }
}

static inline void toy_strides(int64_t *k_head, int64_t *k_token, int64_t *v_head, int64_t *v_token) {
    *k_head = (TOY_K + TOY_GAP) * 2;
    *k_token = TOY_HEADS * (TOY_K + TOY_GAP) * 2;
    *v_head = TOY_BLOCK * (TOY_V + TOY_GAP) * 2;
    *v_token = (TOY_V + TOY_GAP) * 2;
}

static inline quire_source toy_source(const struct toy *toy, quire_key key, const quire_key *parent, uint32_t n_tokens) {
    quire_source source = {.key = key, .n_tokens = n_tokens};
    if (parent != NULL) {
        source.parent = *parent;
    }
    source.k_base = (const void *const *)toy->k_base;
    source.v_base = (const void *const *)toy->v_base;
    toy_strides(&source.k_head_stride, &source.k_token_stride, &source.v_head_stride, &source.v_token_stride);
    return source;
}

static inline quire_dest toy_dest(struct toy *toy, uint32_t key_index) {
    quire_dest dest = {.key_index = key_index, .k_base = toy->k_base, .v_base = toy->v_base, .region = toy, .region_bytes = sizeof(*toy)};
    toy_strides(&dest.k_head_stride, &dest.k_token_stride, &dest.v_head_stride, &dest.v_token_stride);
    return dest;
}

/* The toy chain of n keys. */
static inline void toy_keys(const quire_ns *ns, uint32_t seed, quire_key *keys, size_t n) {
    uint32_t *tokens = calloc(n * TOY_BLOCK, sizeof(*tokens));
    size_t written = 0;
    tokens[0] = seed;
    quire_chain(ns, tokens, n * TOY_BLOCK, NULL, 0, false, keys, n, &written);
    free(tokens);
}

/* Stores n blocks of a chain, filled by their index; the worst status. */
static inline enum quire_status toy_store(quire_ns *ns, const quire_key *keys, uint32_t n) {
    struct toy *toys = calloc(n, sizeof(*toys));
    quire_source *sources = calloc(n, sizeof(*sources));
    for (uint32_t i = 0; i < n; i++) {
        toy_fill(&toys[i], i);
        sources[i] = toy_source(&toys[i], keys[i], i == 0 ? NULL : &keys[i - 1], TOY_BLOCK);
    }
    enum quire_status status = quire_store(ns, sources, n, NULL, 20000, NULL);
    free(toys);
    free(sources);
    return status;
}

static inline enum quire_status toy_lookup(quire_ns *ns, const quire_key *keys, uint32_t n, quire_lookup_result *result) {
    quire_lookup_args args = {.keys = keys, .n_keys = n};
    return quire_lookup(ns, &args, NULL, result);
}

/* ---- a worker, its daemon and its namespace: Test(…, .init = worker_start, .fini = worker_stop) ------------------------------- */
static struct quired quired;
static quire_client *client;
static quire_ns *ns;

/* The daemon runs already. */
static inline void worker_open(quire_options options) {
    quire_layout layout = toy_layout();
    options.address = quired.path;
    cr_assert_eq(quire_open(&options, &client), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_ns_open(client, "toy", &layout, &ns), QUIRE_OK, "%s", quire_last_error());
}

static inline void worker_start(void) {
    cr_assert(quired_start(&quired));
    worker_open((quire_options){0});
}

static inline void worker_stop(void) {
    quire_ns_close(&ns);
    quire_close(&client);
    cr_assert_eq(quired_stop(&quired), 0);
}

#endif
