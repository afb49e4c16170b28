/*
 * Records that come as copies, to a caller who does not see the pool: only what is wanted of them crosses the socket, several are on their way at once, and
 * whatever happens to the daemon, the caller hears of it.
 */
#include "client/internal.h"
#include "tests/unit/client_quired.h"

enum { BLOCKS = 40 };
static quire_key keys[BLOCKS];
static quire_lookup_result found;
static struct toy toys[BLOCKS];
static quire_dest dests[BLOCKS];

static void start(void) {
    quired.guest = true;
    worker_start();
    toy_keys(ns, 3, keys, BLOCKS);
    cr_assert_eq(toy_store(ns, keys, BLOCKS), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, keys, BLOCKS, &found), QUIRE_OK);
    cr_assert_eq(found.hits, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        toy_clear(&toys[i]);
        dests[i] = toy_dest(&toys[i], i);
    }
}
static void stop(void) {
    quire_release(&found.lease);
    worker_stop();
}

/* Asks for it while the daemon stands still, so that nothing can have come yet. */
static quire_job ask(uint32_t n_dests) {
    kill(quired.pid, SIGSTOP);
    quire_job id = quire_submit_fetch(found.lease, dests, n_dests, NULL, 20000, NULL);
    cr_assert_neq(id, 0u);
    quire_drain(client, NULL, 0);
    return id;
}
static const struct job_fetch *asked(quire_job id) { return &job_find(client, id)->u.fetch; }

static void expect_lane(uint32_t block, uint32_t layer, uint32_t head, uint32_t n_tokens) {
    for (uint32_t token = 0; token < n_tokens; token++) {
        for (uint32_t dim = 0; dim < TOY_K; dim++) {
            cr_assert_eq(toys[block].k[layer][token][head][dim], toy_element(block, layer, 0, head, token, dim));
        }
        for (uint32_t dim = 0; dim < TOY_V; dim++) {
            cr_assert_eq(toys[block].v[layer][head][token][dim], toy_element(block, layer, 1, head, token, dim));
        }
    }
}

/* One head of one layer: a small part of the record is asked for, it is right, and nothing beside it is touched. */
Test(client_copies, a_part_costs_a_part, .init = start, .fini = stop, .timeout = 60) {
    const quire_layout layout = toy_layout();
    struct quire_record_shape shape;
    cr_assert_eq(quire_record_shape(&layout, 0, TOY_BLOCK, 0, &shape), QUIRE_OK);
    void *k = &toys[0].k[1][0][1], *v = &toys[0].v[1][1];
    dests[0].rect = (quire_rect){.first_layer = 1, .n_layers = 1, .first_head = 1, .n_heads = 1};
    dests[0].k_base = &k;
    dests[0].v_base = &v;
    quire_job id = ask(1);
    cr_assert_eq(asked(id)->awaited_bytes, shape.payload_offset + shape.k_lane_bytes + shape.v_lane_bytes);
    kill(quired.pid, SIGCONT);
    cr_assert_eq(quire_wait(client, id, 20000), QUIRE_OK, "%s", quire_last_error());
    expect_lane(0, 1, 1, TOY_BLOCK);
    cr_assert_eq(toys[0].k[1][3][0][5], 0);
    cr_assert_eq(toys[0].v[0][1][3][5], 0);
}

/* A tail block is smaller, and the places of its lanes are others. */
Test(client_copies, a_part_of_a_tail, .init = start, .fini = stop, .timeout = 60) {
    quire_key tail = {{77}};
    quire_lookup_result last;
    struct toy toy;
    toy_fill(&toy, 5);
    quire_source source = toy_source(&toy, tail, &keys[0], 7);
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 20000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, (quire_key[]){keys[0], tail}, 2, &last), QUIRE_OK);
    cr_assert_eq(last.hits, 2);
    void *k = toys[5].k[2], *v = toys[5].v[2];
    dests[5].key_index = 1;
    dests[5].rect = (quire_rect){.first_layer = 2, .n_layers = 1, .n_heads = TOY_HEADS};
    dests[5].k_base = &k;
    dests[5].v_base = &v;
    cr_assert_eq(quire_fetch(last.lease, &dests[5], 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(dests[5].n_tokens, 7);
    expect_lane(5, 2, 0, 7);
    expect_lane(5, 2, 1, 7);
    quire_release(&last.lease);
}

/* A long context: as many records as may be are on their way at once, and all arrive. */
Test(client_copies, many_are_on_their_way, .init = start, .fini = stop, .timeout = 60) {
    quire_job id = ask(BLOCKS);
    cr_assert_eq(asked(id)->n_copies, COPIES_MOST);
    kill(quired.pid, SIGCONT);
    cr_assert_eq(quire_wait(client, id, 20000), QUIRE_OK, "%s", quire_last_error());
    for (uint32_t i = 0; i < BLOCKS; i++) {
        cr_assert_eq(dests[i].status, QUIRE_OK);
        for (uint32_t layer = 0; layer < TOY_LAYERS; layer++) {
            expect_lane(i, layer, 0, TOY_BLOCK);
            expect_lane(i, layer, 1, TOY_BLOCK);
        }
    }
}

/* Some of a batch cannot be had: each destination says what became of it, and the others come. */
Test(client_copies, each_has_its_own_outcome, .init = start, .fini = stop, .timeout = 60) {
    dests[1].key_index = BLOCKS + 3;
    dests[2].rect = (quire_rect){.first_layer = 1, .n_layers = TOY_LAYERS, .n_heads = 1};
    cr_assert_eq(quire_fetch(found.lease, dests, 4, NULL, 20000), QUIRE_INVALID);
    const enum quire_status wanted[4] = {QUIRE_OK, QUIRE_INVALID, QUIRE_INVALID, QUIRE_OK};
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(dests[i].status, wanted[i], "destination %u: %s", i, quire_status_name(dests[i].status));
    }
    expect_lane(3, 2, 1, TOY_BLOCK);
}

/* The daemon dies with records on their way: the caller hears it long before the deadline, and of each. */
Test(client_copies, the_daemon_dies, .init = start, .fini = worker_stop, .timeout = 60) {
    quire_job id = ask(BLOCKS);
    quired_kill(&quired);
    cr_assert_eq(quire_wait(client, id, 10000), QUIRE_DISCONNECTED);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        cr_assert_neq(dests[i].status, QUIRE_PENDING);
        cr_assert_neq(dests[i].status, QUIRE_OK);
    }
    quire_release(&found.lease);
    cr_assert(quired_start(&quired));
}

/* A caller who changes its mind: what was on its way goes nowhere, and the next fetch is right. */
Test(client_copies, cancelled, .init = start, .fini = stop, .timeout = 60) {
    quire_job id = ask(BLOCKS);
    cr_assert_eq(quire_cancel(client, id), QUIRE_OK);
    kill(quired.pid, SIGCONT);
    cr_assert_eq(quire_wait(client, id, 20000), QUIRE_CANCELLED);
    memset(toys, 0, sizeof(toys));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        toy_clear(&toys[i]);
    }
    cr_assert_eq(quire_fetch(found.lease, &dests[9], 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    expect_lane(9, 0, 0, TOY_BLOCK);
    cr_assert_eq(toys[8].k[0][0][0][0], 0);
}

static void start_small(void) {
    quired.session_bytes = 256u << 10;
    start();
}

/* A daemon that keeps little in memory for a session: a block that is larger than all of that comes, slice by slice. */
Test(client_copies, a_daemon_with_little_memory, .init = start_small, .fini = stop, .timeout = 60) {
    enum { BYTES = 3 << 20 };
    quire_layout layout = opaque_layout();
    quire_ns *opaque;
    quire_key key = {{5}};
    quire_lookup_result result;
    uint8_t *block = malloc(BYTES), *got = calloc(1, BYTES);
    for (uint32_t i = 0; i < BYTES; i++) {
        block[i] = (uint8_t)(i * 31 + (i >> 12));
    }
    cr_assert_eq(quire_ns_open(client, "opaque", &layout, &opaque), QUIRE_OK, "%s", quire_last_error());
    quire_source source = {.key = key, .n_tokens = TOY_BLOCK, .opaque = block, .opaque_bytes = BYTES};
    cr_assert_eq(quire_store(opaque, &source, 1, NULL, 20000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(toy_lookup(opaque, &key, 1, &result), QUIRE_OK);
    quire_dest dest = {.opaque = got, .opaque_bytes = BYTES};
    cr_assert_eq(quire_fetch(result.lease, &dest, 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(memcmp(block, got, BYTES), 0);
    quire_release(&result.lease);
    quire_ns_close(&opaque);
    free(block);
    free(got);
}

/* Nobody at the daemon counts what is read from its memory. So whoever asks does: all fetches together have a bound, those that prefetch a smaller one,
 * and each may have its first record, so that none waits for another's without end. */
Test(client_copies, from_afar_has_a_bound) {
    static quire_client afar;
    quire_lease fetched = {0}, prefetched = {.prefetch = true};
    struct job job = {.u.fetch = {.lease = &fetched, .awaited_bytes = 1}}, early = {.u.fetch = {.lease = &prefetched, .awaited_bytes = 1}};
    afar.conn.afar_bytes = AFAR_BYTES / 4;
    cr_assert(!copies_full(&afar, &job) && copies_full(&afar, &early));
    afar.conn.afar_bytes = AFAR_BYTES;
    cr_assert(copies_full(&afar, &job) && copies_full(&afar, &early));
    job.u.fetch.awaited_bytes = early.u.fetch.awaited_bytes = 0;
    cr_assert(!copies_full(&afar, &job) && !copies_full(&afar, &early));
    afar.conn.afar_bytes = 0;
    job.u.fetch.awaited_bytes = COPIES_BYTES;
    cr_assert(copies_full(&afar, &job));
}
