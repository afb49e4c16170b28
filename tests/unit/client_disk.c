/* The library against a real daemon with a disk tier: what left memory comes back byte for byte, whole or in part, as copies, views and to guests. */
#include "client/admin.h"
#include "client/internal.h"
#include "tests/unit/client_quired.h"

#include <pthread.h>

enum { BLOCKS = 40 };

static quire_key keys[BLOCKS];
static quire_lookup_result found;
static uint32_t estimates[BLOCKS];

static Quire__Wire__AdminReply *admin(uint32_t verb, uint64_t number) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply;
    request.verb = verb;
    request.number = number;
    cr_assert_eq(quire_admin_call(client, &request, &reply, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(reply->status, QUIRE_OK, "%s", reply->text);
    return reply;
}

/* Nothing is only in memory, and then nothing is in memory. */
static void send_away(void) {
    for (bool away = false; !away; quired_sleep_ms(2)) {
        Quire__Wire__AdminReply *reply = admin(QUIRE_ADMIN_STATUS, 0);
        bool written = reply->disk->dirty_records == 0 && reply->disk->writing_bytes == 0;
        away = written && reply->tiers[0]->records == 0;
        quire__wire__admin_reply__free_unpacked(reply, NULL);
        if (written) {
            quire__wire__admin_reply__free_unpacked(admin(QUIRE_ADMIN_EVICT, UINT64_MAX), NULL);
        }
    }
}

static void look_up(void) {
    quire_lookup_args args = {.keys = keys, .n_keys = BLOCKS, .estimates_us = estimates};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
}

/* A daemon that has just started is still finding them. */
static void look_up_when_found(void) {
    found.hits = 0;
    for (int i = 0; i < 1000 && found.hits < BLOCKS; i++) {
        quire_release(&found.lease);
        quire_lookup_args args = {.keys = keys, .n_keys = BLOCKS, .estimates_us = estimates};
        if (quire_lookup(ns, &args, NULL, &found) != QUIRE_OK || found.hits < BLOCKS) {
            quired_sleep_ms(10);
        }
    }
    cr_assert_eq(found.hits, BLOCKS);
}

static void start(void) {
    quired.disk_bytes = 64u << 20;
    worker_start();
    toy_keys(ns, 1, keys, BLOCKS);
    cr_assert_eq(toy_store(ns, keys, BLOCKS), QUIRE_OK);
    send_away();
    look_up();
    cr_assert_eq(found.hits, BLOCKS);
}

static void stop(void) {
    quire_release(&found.lease);
    worker_stop();
}

static void expect_lanes(const struct toy *toy, uint32_t block, uint32_t layer, uint32_t head) {
    for (uint32_t token = 0; token < TOY_BLOCK; token++) {
        for (uint32_t dim = 0; dim < TOY_K; dim++) {
            cr_assert_eq(toy->k[layer][token][head][dim], toy_element(block, layer, 0, head, token, dim));
        }
        for (uint32_t dim = 0; dim < TOY_V; dim++) {
            cr_assert_eq(toy->v[layer][head][token][dim], toy_element(block, layer, 1, head, token, dim));
        }
    }
}

static void expect_block(const struct toy *toy, uint32_t block) {
    for (uint32_t layer = 0; layer < TOY_LAYERS; layer++) {
        for (uint32_t head = 0; head < TOY_HEADS; head++) {
            expect_lanes(toy, block, layer, head);
        }
    }
}

static void fetch_all(void) {
    struct toy *toys = calloc(BLOCKS, sizeof(*toys));
    quire_dest *dests = calloc(BLOCKS, sizeof(*dests));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        toy_clear(&toys[i]);
        dests[i] = toy_dest(&toys[i], i);
    }
    cr_assert_eq(quire_fetch(found.lease, dests, BLOCKS, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    for (uint32_t i = 0; i < BLOCKS; i++) {
        expect_block(&toys[i], i);
    }
    free(toys);
    free(dests);
}

/* All of it comes back, as it was stored; before, the lookup told how long that takes, and afterwards that it is there. */
Test(client_disk, everything, .init = start, .fini = stop, .timeout = 120) {
    cr_assert_gt(found.fetch_us, 0);
    cr_assert_eq(found.fetch_us, estimates[BLOCKS - 1]);
    for (uint32_t i = 1; i < BLOCKS; i++) {
        cr_assert_leq(estimates[i - 1], estimates[i]);
    }
    fetch_all();
    quire_release(&found.lease);
    look_up();
    cr_assert(found.fetch_us == 0 && estimates[BLOCKS - 1] == 0);
    fetch_all();
}

/* Chosen layers and heads, block by block, from disk: they are right, and beside them nothing is written. */
Test(client_disk, chosen_lanes, .init = start, .fini = stop, .timeout = 120) {
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct toy toy;
        quire_rect rect = {.first_layer = (uint16_t)(i % TOY_LAYERS), .n_layers = 1, .first_head = (uint16_t)(i % TOY_HEADS), .n_heads = 1};
        toy_clear(&toy);
        quire_dest dest = toy_dest(&toy, i);
        void *k = &toy.k[rect.first_layer][0][rect.first_head], *v = &toy.v[rect.first_layer][rect.first_head];
        dest.rect = rect;
        dest.k_base = &k;
        dest.v_base = &v;
        cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
        expect_lanes(&toy, i, rect.first_layer, rect.first_head);
        cr_assert_eq(toy.k[(rect.first_layer + 1) % TOY_LAYERS][3][rect.first_head][5], 0);
        cr_assert_eq(toy.v[rect.first_layer][1 - rect.first_head][3][5], 0);
    }
    fetch_all(); /* and the rest of them under the same lease */
}

/* Views of a prefix that is on disk. */
Test(client_disk, views, .init = start, .fini = stop, .timeout = 120) {
    quire_view views[BLOCKS];
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, BLOCKS, views, NULL), QUIRE_OK, "%s", quire_last_error());
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const uint16_t *lane = quire_view_lane(&views[i], quire_ns_layout(ns), 0, 2, 1, 1, NULL);
        cr_assert_eq(lane[3 * TOY_V + 5], toy_element(i, 2, 1, 1, 3, 5));
    }
    cr_assert_eq(quire_view_end_many(found.lease, views, BLOCKS, NULL), QUIRE_OK);
}

/* A guest is not told what is where: after a restart all is on disk. */
static void start_as_guest(void) {
    int status;
    quired.guest = true;
    quired.disk_bytes = 64u << 20;
    worker_start();
    toy_keys(ns, 1, keys, BLOCKS);
    cr_assert_eq(toy_store(ns, keys, BLOCKS), QUIRE_OK);
    kill(quired.pid, SIGTERM);
    waitpid(quired.pid, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert(quired_start(&quired));
    look_up_when_found();
}

/* A guest gets copies of what is on disk, whole and in part; of what it wants in part no more comes into memory. */
Test(client_disk, guest, .init = start_as_guest, .fini = stop, .timeout = 120) {
    struct toy toy;
    quire_view view;
    toy_clear(&toy);
    quire_dest dest = toy_dest(&toy, 7);
    void *k = toy.k[1], *v = toy.v[1];
    dest.rect = (quire_rect){.first_layer = 1, .n_layers = 1, .n_heads = TOY_HEADS};
    dest.k_base = &k;
    dest.v_base = &v;
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    expect_lanes(&toy, 7, 1, 0);
    expect_lanes(&toy, 7, 1, 1);
    const struct quire_wire_grant *grant = lease_grant(found.lease, 7, 0);
    cr_assert_not_null(lease_place(found.lease, grant, &dest.rect));
    cr_assert_null(lease_place(found.lease, grant, &(quire_rect){.n_layers = TOY_LAYERS, .n_heads = TOY_HEADS}));
    fetch_all();
    cr_assert_eq(quire_view_begin(found.lease, 0, 0, &view), QUIRE_DENIED);
}

static void *fetch_in_thread(void *arg) {
    struct toy *toy = arg;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        toy_clear(toy);
        quire_dest dest = toy_dest(toy, i);
        quire_rect rect = {.first_layer = (uint16_t)(i % 2), .n_layers = 2, .n_heads = TOY_HEADS};
        dest.rect = rect;
        dest.k_base += rect.first_layer;
        dest.v_base += rect.first_layer;
        cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
        expect_lanes(toy, i, 1, 0);
    }
    return NULL;
}

/* Several threads read parts and wholes of one lease at once. */
Test(client_disk, threads, .init = start, .fini = stop, .timeout = 120) {
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    static struct toy toys[THREADS];
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, fetch_in_thread, &toys[i]), 0);
    }
    fetch_all();
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* The daemon dies while much of a lease is on disk: every destination ends, STALE or DISCONNECTED, and the next daemon has the blocks. */
Test(client_disk, killed, .init = start, .fini = stop, .timeout = 120) {
    struct toy toy;
    toy_clear(&toy);
    quire_dest dest = toy_dest(&toy, 3);
    quired_kill(&quired);
    enum quire_status status = quire_fetch(found.lease, &dest, 1, NULL, 2000);
    cr_assert(status == QUIRE_STALE || status == QUIRE_DISCONNECTED, "%s", quire_status_text(status));
    quire_release(&found.lease);
    cr_assert(quired_start(&quired));
    look_up_when_found();
    fetch_all();
}
