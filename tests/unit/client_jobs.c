#include "tests/unit/client_quired.h"

#include <poll.h>
#include <pthread.h>

static void start(void) { cr_assert(quired_start(&quired)); }

static void start_small(void) {
    quired.pool_bytes = 1u << 20;
    start();
}

/* A connector's thread: submits a store, sleeps in poll on the event fd, drains; then looks up and fetches in the same manner. */
Test(client_jobs, event_loop, .init = start, .fini = worker_stop, .timeout = 60) {
    enum { BLOCKS = 8 };
    static struct toy toys[BLOCKS], back[BLOCKS];
    static quire_source sources[BLOCKS];
    static quire_dest dests[BLOCKS];
    quire_key keys[BLOCKS];
    quire_lookup_result found;
    int user[3];
    worker_open((quire_options){.max_jobs = 16});
    toy_keys(ns, 1, keys, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        toy_fill(&toys[i], i);
        sources[i] = toy_source(&toys[i], keys[i], i == 0 ? NULL : &keys[i - 1], TOY_BLOCK);
        toy_clear(&back[i]);
        dests[i] = toy_dest(&back[i], i);
    }
    struct pollfd ready = {.fd = quire_event_fd(client), .events = POLLIN};
    cr_assert_geq(ready.fd, 0);
    quire_done done = {0};
    quire_job job = quire_submit_store(ns, sources, BLOCKS, NULL, 10000, NULL, &user[0]);
    cr_assert_neq(job, 0u);
    for (int stage = 0; stage < 3;) {
        cr_assert_eq(poll(&ready, 1, 20000), 1, "stage %d: nothing happens", stage);
        if (quire_drain(client, &done, 1) == 0) {
            continue;
        }
        cr_assert_eq(done.job, job);
        cr_assert_eq(done.user, &user[stage]);
        cr_assert_eq(done.status, QUIRE_OK, "stage %d", stage);
        if (++stage == 1) {
            quire_lookup_args args = {.keys = keys, .n_keys = BLOCKS};
            job = quire_submit_lookup(ns, &args, NULL, &found, &user[1]);
        } else if (stage == 2) {
            cr_assert_eq(found.hits, BLOCKS);
            job = quire_submit_fetch(found.lease, dests, BLOCKS, NULL, 0, &user[2]);
        }
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        cr_assert_eq(memcmp(toys[i].k, back[i].k, sizeof(toys[i].k)), 0);
        cr_assert_eq(memcmp(toys[i].v, back[i].v, sizeof(toys[i].v)), 0);
    }
    quire_release(&found.lease);
    cr_assert_eq(quire_drain(client, &done, 1), 0);
    cr_assert_eq(poll(&ready, 1, 0), 0, "nothing to do, and the fd says so");
}

/* Beyond max_jobs a submit is refused with RETRY until completions are drained; what was accepted all completes. */
Test(client_jobs, max_jobs, .init = start, .fini = worker_stop, .timeout = 60) {
    quire_key keys[1];
    quire_lookup_result found[4];
    quire_done done[4];
    worker_open((quire_options){.max_jobs = 4});
    toy_keys(ns, 2, keys, 1);
    quire_lookup_args args = {.keys = keys, .n_keys = 1};
    for (int i = 0; i < 4; i++) {
        cr_assert_neq(quire_submit_lookup(ns, &args, NULL, &found[i], NULL), 0u);
    }
    cr_assert_eq(quire_submit_lookup(ns, &args, NULL, &found[0], NULL), 0u);
    cr_assert_eq(quire_last_status(), QUIRE_RETRY);
    cr_assert_eq(quire_quiesce(client, 10000), QUIRE_OK);
    cr_assert_eq(quire_submit_lookup(ns, &args, NULL, &found[0], NULL), 0u, "done, but not drained");
    cr_assert_eq(quire_drain(client, done, 4), 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(done[i].status, QUIRE_OK);
        cr_assert_eq(found[i].hits, 0);
    }
    quire_job job = quire_submit_lookup(ns, &args, NULL, &found[0], NULL);
    cr_assert_neq(job, 0u);
    cr_assert_eq(quire_wait(client, job, 10000), QUIRE_OK);
    cr_assert_eq(quire_wait(client, job, 10000), QUIRE_NOT_FOUND);
    cr_assert_eq(quire_cancel(client, job), QUIRE_NOT_FOUND);
}

/* A cancelled store completes as CANCELLED, says so for each source, and leaves the client fit for the next one. */
Test(client_jobs, cancel, .init = start, .fini = worker_stop, .timeout = 60) {
    static struct toy toy;
    quire_key keys[1];
    worker_open((quire_options){.max_jobs = 4});
    toy_keys(ns, 3, keys, 1);
    toy_fill(&toy, 0);
    quire_source source = toy_source(&toy, keys[0], NULL, TOY_BLOCK);
    quire_job job = quire_submit_store(ns, &source, 1, NULL, 0, NULL, NULL);
    cr_assert_neq(job, 0u);
    cr_assert_eq(quire_cancel(client, job), QUIRE_OK);
    quire_done done;
    cr_assert_eq(quire_drain(client, &done, 1), 1);
    cr_assert_eq(done.status, QUIRE_CANCELLED);
    cr_assert_eq(source.status, QUIRE_CANCELLED);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
}

/* Fills the pool with blocks that nothing may evict, so that the next store waits for room. */
static void fill_pool(uint32_t seed) {
    static struct toy toy;
    enum quire_status status = QUIRE_OK;
    toy_fill(&toy, 0);
    for (uint32_t n = 0; n < 1000 && status != QUIRE_FULL; n++) { /* a TIMEOUT says nothing of the pool, only that the machine is busy */
        quire_key key;
        toy_keys(ns, seed + n, &key, 1);
        quire_source source = toy_source(&toy, key, NULL, TOY_BLOCK);
        source.flags = QUIRE_STORE_PIN;
        status = quire_store(ns, &source, 1, NULL, 300, NULL);
    }
    cr_assert_eq(status, QUIRE_FULL, "%s", quire_last_error());
}

/*
 * A block is deleted while it is being stored: that store waits in the daemon for room, then somebody else deletes the key. Nobody has cancelled
 * the store, so it does not say so: it is OK, as one that came just before the deletion. One that was to pin the block must know that it is not
 * there. Either way it is gone, and can be stored again.
 */
Test(client_jobs, deleted_while_it_is_stored, .init = start_small, .fini = worker_stop, .timeout = 60) {
    static struct toy toy;
    quire_lookup_result found;
    worker_open((quire_options){.max_jobs = 4});
    toy_fill(&toy, 0);
    fill_pool(100);
    for (uint32_t flags = 0; flags <= QUIRE_STORE_PIN; flags += QUIRE_STORE_PIN) {
        quire_key key;
        quire_done done;
        uint8_t miss = QUIRE_MISS_NONE;
        toy_keys(ns, 5 + flags, &key, 1);
        quire_source source = toy_source(&toy, key, NULL, TOY_BLOCK);
        source.flags = flags;
        quire_job job = quire_submit_store(ns, &source, 1, NULL, 40000, NULL, NULL);
        cr_assert_neq(job, 0u);
        quire_lookup_args args = {.keys = &key, .n_keys = 1};
        for (int i = 0; i < 4000 && miss != QUIRE_MISS_INCOMPLETE; i++) {
            cr_assert_eq(quire_drain(client, &done, 1), 0);
            cr_assert_eq(quire_lookup(ns, &args, &miss, &found), QUIRE_OK);
            quired_sleep_ms(1);
        }
        cr_assert_eq(miss, QUIRE_MISS_INCOMPLETE);
        cr_assert_eq(quire_delete(ns, &key, 1, NULL, 20000), QUIRE_OK);
        enum quire_status expected = flags == 0 ? QUIRE_OK : QUIRE_MISS;
        cr_assert_eq(quire_wait(client, job, 20000), expected, "%s", quire_last_error());
        cr_assert_eq(source.status, expected);
        cr_assert_eq(toy_lookup(ns, &key, 1, &found), QUIRE_OK);
        cr_assert_eq(found.hits, 0);
    }
}

/* With a thread of its own the library finishes submitted work while nobody calls in: another client sees the block arrive. */
Test(client_jobs, progress_thread, .init = start, .fini = worker_stop, .timeout = 60) {
    static struct toy toy;
    quire_key keys[1];
    quire_lookup_result found = {0};
    quire_options options = {.address = quired.path};
    quire_client *other;
    quire_ns *other_ns;
    worker_open((quire_options){.flags = QUIRE_OPEN_PROGRESS_THREAD, .max_jobs = 4});
    cr_assert_eq(quire_open(&options, &other), QUIRE_OK);
    cr_assert_eq(quire_ns_open(other, "toy", NULL, &other_ns), QUIRE_OK);
    toy_keys(ns, 4, keys, 1);
    toy_fill(&toy, 0);
    quire_source source = toy_source(&toy, keys[0], NULL, TOY_BLOCK);
    cr_assert_neq(quire_submit_store(ns, &source, 1, NULL, 0, NULL, NULL), 0u);
    for (int i = 0; i < 2000 && found.hits == 0; i++) {
        quired_sleep_ms(5);
        cr_assert_eq(toy_lookup(other_ns, keys, 1, &found), QUIRE_OK);
        quire_release(&found.lease);
    }
    cr_assert_eq(found.hits, 1);
    quire_done done;
    struct pollfd ready = {.fd = quire_event_fd(client), .events = POLLIN};
    while (quire_drain(client, &done, 1) == 0) {
        cr_assert_eq(poll(&ready, 1, 20000), 1);
    }
    cr_assert_eq(done.status, QUIRE_OK);
    quire_ns_close(&other_ns);
    quire_close(&other);
}

/* Blocks larger than half the ingest window are put in parts that the library cuts, and come back whole. Batches far larger than the
   window flow through it. */
Test(client_jobs, larger_than_the_window, .init = start, .fini = worker_stop, .timeout = 60) {
    enum { LAYERS = 16, DIM = 256, TOKENS = 256, LANE = TOKENS * DIM };
    quire_layout layout = {.n_layers = LAYERS, .n_groups = 1, .block_tokens = TOKENS};
    worker_open((quire_options){.max_jobs = 4, .ingest_bytes = 1u << 20});
    for (uint16_t layer = 0; layer < LAYERS; layer++) {
        layout.kv_src[layer] = layer;
    }
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    quire_ns *big = NULL;
    cr_assert_eq(quire_ns_open(client, "big", &layout, &big), QUIRE_OK, "%s", quire_last_error());
    uint16_t *memory = malloc(2ul * LAYERS * LANE * 2), *back = calloc(2ul * LAYERS * LANE, 2);
    void *k[LAYERS], *v[LAYERS], *to_k[LAYERS], *to_v[LAYERS];
    for (size_t i = 0; i < 2ul * LAYERS * LANE; i++) {
        memory[i] = (uint16_t)(i * 40503u >> 3);
    }
    for (size_t layer = 0; layer < LAYERS; layer++) {
        k[layer] = memory + layer * LANE;
        v[layer] = memory + (LAYERS + layer) * LANE;
        to_k[layer] = back + layer * LANE;
        to_v[layer] = back + (LAYERS + layer) * LANE;
    }
    uint32_t tokens[3 * TOKENS] = {7};
    quire_key keys[3];
    quire_source sources[3] = {0};
    size_t n = 0;
    quire_chain(big, tokens, 3 * TOKENS, NULL, 0, false, keys, 3, &n);
    for (int i = 0; i < 3; i++) {
        sources[i] = (quire_source){.key = keys[i], .n_tokens = TOKENS, .k_base = (const void *const *)k, .v_base = (const void *const *)v};
        sources[i].k_token_stride = sources[i].v_token_stride = DIM * 2;
        sources[i].parent = i == 0 ? sources[i].parent : keys[i - 1];
    }
    cr_assert_eq(quire_store(big, sources, 3, NULL, 30000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_store(big, sources, 3, NULL, 30000, NULL), QUIRE_OK, "again, as duplicates: %s", quire_last_error());
    quire_lookup_result found;
    cr_assert_eq(toy_lookup(big, keys, 3, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 3);
    quire_dest dest = {.key_index = 2, .k_base = to_k, .v_base = to_v, .k_token_stride = DIM * 2, .v_token_stride = DIM * 2};
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK);
    cr_assert_eq(memcmp(memory, back, 2ul * LAYERS * LANE * 2), 0);
    quire_release(&found.lease);
    free(memory);
    free(back);
    quire_ns_close(&big);
}

static void start_tight(void) {
    quired.ingest_bytes = 1u << 20;
    quired.ingest_window_bytes = 1u << 20;
    start();
}

/* Two clients share a budget of one window: the second waits until the first, idle, hands its window back on request or loses it, and then the
   first stores again through a new one. */
Test(client_jobs, window_goes_round, .init = start_tight, .fini = worker_stop, .timeout = 100) {
    quire_options options = {.address = quired.path};
    quire_layout layout = toy_layout();
    quire_client *other;
    quire_ns *other_ns;
    quire_key keys[3];
    worker_open((quire_options){.max_jobs = 4});
    cr_assert_eq(quire_open(&options, &other), QUIRE_OK);
    cr_assert_eq(quire_ns_open(other, "toy", &layout, &other_ns), QUIRE_OK);
    toy_keys(ns, 9, keys, 3);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_store(other_ns, keys, 2), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_store(ns, keys, 3), QUIRE_OK, "%s", quire_last_error());
    quire_ns_close(&other_ns);
    quire_close(&other);
}

static void start_guest(void) {
    quired.guest = true;
    start();
}

/* A guest of the trust domain gets copies: the same calls, the same bytes, and no view. */
Test(client_jobs, guest, .init = start_guest, .fini = worker_stop, .timeout = 60) {
    quire_key keys[2];
    quire_lookup_result found;
    quire_info info;
    worker_open((quire_options){.max_jobs = 4});
    cr_assert_eq(quire_get_info(client, &info), QUIRE_OK);
    cr_assert(info.connected);
    cr_assert_not(info.zero_copy);
    toy_keys(ns, 11, keys, 2);
    cr_assert_eq(toy_store(ns, keys, 2), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, keys, 2, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 2);
    struct toy want, got[2];
    toy_clear(&got[0]);
    toy_clear(&got[1]);
    quire_dest dests[2] = {toy_dest(&got[0], 0), toy_dest(&got[1], 1)};
    cr_assert_eq(quire_fetch(found.lease, dests, 2, NULL, 0), QUIRE_OK, "%s", quire_last_error());
    for (uint32_t i = 0; i < 2; i++) {
        toy_fill(&want, i);
        cr_assert_eq(memcmp(want.k, got[i].k, sizeof(want.k)), 0);
        cr_assert_eq(memcmp(want.v, got[i].v, sizeof(want.v)), 0);
    }
    quire_view view;
    cr_assert_eq(quire_view_begin(found.lease, 0, 0, &view), QUIRE_DENIED);
    quire_job job = quire_submit_fetch(found.lease, dests, 2, NULL, 0, NULL);
    quire_release(&found.lease); /* the job holds on to it */
    cr_assert_eq(quire_wait(client, job, 10000), QUIRE_OK);
}

struct caller {
    pthread_t thread;
    uint32_t seed;
    uint32_t failures;
};

static void *call_repeatedly(void *arg) {
    struct caller *caller = arg;
    quire_key keys[4];
    toy_keys(ns, 100 + caller->seed, keys, 4);
    for (int i = 0; i < 50; i++) {
        quire_lookup_result found = {0};
        struct toy want, got;
        uint32_t block = (uint32_t)i % 4;
        toy_fill(&want, block);
        toy_clear(&got);
        quire_dest dest = toy_dest(&got, block);
        bool good = toy_store(ns, keys, 4) == QUIRE_OK && toy_lookup(ns, keys, 4, &found) == QUIRE_OK && found.hits == 4 &&
                    quire_fetch(found.lease, &dest, 1, NULL, 0) == QUIRE_OK && memcmp(want.v, got.v, sizeof(want.v)) == 0;
        caller->failures += !good;
        quire_release(&found.lease);
    }
    return NULL;
}

static void call_from_threads(uint32_t flags) {
    struct caller callers[8] = {0};
    worker_open((quire_options){.flags = flags, .max_jobs = 4});
    for (uint32_t i = 0; i < 8; i++) {
        callers[i].seed = i;
        cr_assert_eq(pthread_create(&callers[i].thread, NULL, call_repeatedly, &callers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(callers[i].thread, NULL);
        cr_assert_eq(callers[i].failures, 0);
    }
}

/* Eight threads block in one client at once: one of them drives the I/O, all get their answers, and none waits for its deadline. */
Test(client_jobs, threads, .init = start, .fini = worker_stop, .timeout = 60) { call_from_threads(0); }

/* The same beside the library's own thread, which has nothing to do. */
Test(client_jobs, threads_beside_the_thread, .init = start, .fini = worker_stop, .timeout = 60) {
    call_from_threads(QUIRE_OPEN_PROGRESS_THREAD);
}
