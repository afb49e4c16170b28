/* Several workers store blocks of 12 MiB through less ingest memory than they want, into a pool where two unfinished ones are over a share. */
#include "proto/base/base.h"
#include "tests/unit/client_quired.h"

#include <pthread.h>

enum { LAYERS = 6, HEADS = 16, DIM = 512, TOKENS = 64, PLANE = HEADS * DIM * TOKENS }; /* a layer: 2 MiB */
enum { WORKERS = 3, BLOCKS = 2, ROUNDS = 3 };

struct worker {
    pthread_t thread;
    uint32_t number, n_wrong, n_invalid, n_stored;
    char why[256];
    quire_client *client;
    quire_ns *ns;
    uint16_t *memory, *back;
};

static pthread_barrier_t barrier;

static quire_layout big_layout(void) {
    quire_layout layout = {.n_layers = LAYERS, .n_groups = 1, .block_tokens = TOKENS, .kv_src = {0, 1, 2, 3, 4, 5}};
    layout.group[0] = (quire_group){.n_kv_heads = HEADS, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    return layout;
}

/* A plane's elements tell where they belong: block, layer, K or V, and position. */
static void fill(uint16_t *memory, uint32_t seed) {
    for (uint32_t i = 0; i < 2 * LAYERS * PLANE; i++) {
        memory[i] = (uint16_t)((i + seed * 7919u) * 40503u >> 7 ^ i >> 16);
    }
}

static void planes(uint16_t *memory, void **k, void **v) {
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        k[layer] = memory + (size_t)layer * PLANE;
        v[layer] = memory + (size_t)(LAYERS + layer) * PLANE;
    }
}

static quire_key key_of(const struct worker *worker, uint32_t round, uint32_t block) {
    return (quire_key){{(uint8_t)(1 + worker->number), (uint8_t)(1 + round), (uint8_t)(1 + block)}};
}

/* Whether it is there as it was stored. */
static bool is_there(struct worker *worker, quire_key key, const uint16_t *stored) {
    quire_lookup_result found = {0};
    void *k[LAYERS], *v[LAYERS];
    memset(worker->back, 0, 4ul * LAYERS * PLANE);
    planes(worker->back, k, v);
    quire_dest dest = {.k_base = k, .v_base = v, .region = worker->back, .region_bytes = 4ul * LAYERS * PLANE};
    dest.k_head_stride = dest.v_head_stride = DIM * 2;
    dest.k_token_stride = dest.v_token_stride = HEADS * DIM * 2;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH, .deadline_ms = 20000};
    bool there = quire_lookup(worker->ns, &args, NULL, &found) == QUIRE_OK && found.hits == 1 &&
                 quire_fetch(found.lease, &dest, 1, NULL, 20000) == QUIRE_OK && memcmp(stored, worker->back, 4ul * LAYERS * PLANE) == 0;
    quire_release(&found.lease);
    return there;
}

static void round_of(struct worker *worker, uint32_t round) {
    quire_source sources[BLOCKS] = {0};
    quire_key keys[BLOCKS];
    void *k[BLOCKS][LAYERS], *v[BLOCKS][LAYERS];
    for (uint32_t block = 0; block < BLOCKS; block++) {
        uint16_t *memory = worker->memory + (size_t)block * 2 * LAYERS * PLANE;
        fill(memory, round * 64 + worker->number * 8 + block);
        planes(memory, k[block], v[block]);
        keys[block] = key_of(worker, round, block);
        sources[block] = (quire_source){.key = keys[block], .n_tokens = TOKENS};
        sources[block].k_base = (const void *const *)k[block];
        sources[block].v_base = (const void *const *)v[block];
        sources[block].k_head_stride = sources[block].v_head_stride = DIM * 2;
        sources[block].k_token_stride = sources[block].v_token_stride = HEADS * DIM * 2;
    }
    pthread_barrier_wait(&barrier);
    enum quire_status status = quire_store(worker->ns, sources, BLOCKS, NULL, 20000, NULL), first = QUIRE_OK;
    snprintf(worker->why, sizeof(worker->why), "%s", status == QUIRE_OK ? "" : quire_last_error());
    worker->n_wrong += status != QUIRE_OK && worker->why[0] == '\0';
    for (uint32_t block = 0; block < BLOCKS; block++) {
        first = first == QUIRE_OK ? sources[block].status : first;
        worker->n_invalid += sources[block].status == QUIRE_INVALID;
        worker->n_stored += sources[block].status == QUIRE_OK;
        worker->n_wrong +=
            sources[block].status == QUIRE_OK && !is_there(worker, keys[block], worker->memory + (size_t)block * 2 * LAYERS * PLANE);
    }
    worker->n_wrong += status == QUIRE_OK ? first != QUIRE_OK : first == QUIRE_OK;
    pthread_barrier_wait(&barrier);
    quire_delete(worker->ns, keys, BLOCKS, NULL, 20000);
}

static void *work(void *arg) {
    struct worker *worker = arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        round_of(worker, round);
    }
    return NULL;
}

/* All blocks of a round fit into the pool, so that none is evicted: an OK must be true. There is room and time for all, so that all are OK. */
Test(client_parts, crowded, .timeout = 100) {
    struct worker workers[WORKERS] = {0};
    quire_layout layout = big_layout();
    quired.pool_bytes = 92u << 20;
    quired.ingest_bytes = 16u << 20;
    quired.ingest_window_bytes = 8u << 20;
    cr_assert(quired_start(&quired));
    pthread_barrier_init(&barrier, NULL, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        quire_options options = {.address = quired.path};
        workers[i].number = i;
        workers[i].memory = malloc(4ul * LAYERS * PLANE * BLOCKS);
        workers[i].back = malloc(4ul * LAYERS * PLANE);
        cr_assert_eq(quire_open(&options, &workers[i].client), QUIRE_OK);
        cr_assert_eq(quire_ns_open(workers[i].client, "big", &layout, &workers[i].ns), QUIRE_OK, "%s", quire_last_error());
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        cr_assert_eq(workers[i].n_wrong, 0, "worker %u was told what is not true", i);
        cr_assert_eq(workers[i].n_invalid, 0, "worker %u", i);
        cr_assert_eq(workers[i].n_stored, BLOCKS * ROUNDS, "worker %u: %s", i, workers[i].why);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        quire_ns_close(&workers[i].ns);
        quire_close(&workers[i].client);
        free(workers[i].memory);
        free(workers[i].back);
    }
    pthread_barrier_destroy(&barrier);
    cr_assert_eq(quired_stop(&quired), 0);
}
