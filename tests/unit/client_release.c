#include "tests/unit/client_double.h"

#include <criterion/criterion.h>

static struct twin twin;

/* One record of `arg` bytes under lease 1, 2, 3 … */
static void grant(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    static uint64_t leases;
    (void)body;
    if (frame->type != QUIRE_MSG_LEASE) {
        return;
    }
    struct quire_wire_grant one = {.size = (uint32_t)self->arg};
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.epoch = DOUBLE_EPOCH;
    grants.lease = ++leases;
    grants.hits = 1;
    grants.grants.data = (uint8_t *)&one;
    grants.grants.len = sizeof(one);
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &grants.base, 0, NULL, 0);
}

static quire_client *client;
static quire_ns *ns;

static void start(void) {
    twin.script = grant;
    twin.arg = 4096;
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
}

static void stop(void) {
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

static quire_lease *take(void) {
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 20000};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    return found.lease;
}

static bool told(unsigned n) {
    for (int i = 0; i < 4000 && atomic_load(&twin.releases) < n; i++) {
        usleep(5000);
    }
    return atomic_load(&twin.releases) == n;
}

/* A caller that thinks between its calls: the daemon hears of its release without any further call. */
Test(client_release, at_once, .init = start, .fini = stop, .timeout = 60) {
    for (unsigned i = 1; i <= 3; i++) {
        quire_lease *lease = take();
        quire_release(&lease);
        cr_assert(told(i));
        usleep(1000);
    }
}

/* A caller in a tight loop: releases may ride with later requests, none is lost, and the next drain tells the last. */
Test(client_release, busy, .init = start, .fini = stop, .timeout = 60) {
    for (int i = 0; i < 500; i++) {
        quire_lease *lease = take();
        quire_release(&lease);
    }
    quire_drain(client, NULL, 0);
    cr_assert(told(500));
}

/* However busy, what waits to be told is bounded: half a megabyte each, the third release tells all. */
Test(client_release, bounded, .init = start, .fini = stop, .timeout = 60) {
    twin.arg = 512 << 10;
    for (int round = 0; round < 20; round++) {
        quire_lease *leases[4];
        unsigned before = atomic_load(&twin.releases);
        for (int i = 0; i < 4; i++) {
            quire_lease *lease = take(); /* makes the caller a busy one */
            quire_release(&lease);
        }
        for (int i = 0; i < 4; i++) {
            leases[i] = take();
        }
        for (int i = 0; i < 3; i++) {
            quire_release(&leases[i]);
        }
        for (int i = 0; i < 4000 && atomic_load(&twin.releases) < before + 7; i++) {
            usleep(1000);
        }
        cr_assert_geq(atomic_load(&twin.releases), before + 7);
        quire_release(&leases[3]);
        quire_drain(client, NULL, 0);
        cr_assert(told(before + 8));
    }
}

/* A worker that ends a batch releases all of its leases in one call: the daemon is told in one frame, gaps in the array are passed over. */
Test(client_release, many, .init = start, .fini = stop, .timeout = 60) {
    enum { LEASES = 100 };
    quire_lease *leases[LEASES + 2] = {NULL};
    for (int i = 0; i < LEASES; i++) {
        leases[i < 50 ? i : i + 1] = take();
    }
    unsigned frames = atomic_load(&twin.release_frames);
    quire_release_many(leases, LEASES + 2);
    cr_assert(told(LEASES));
    cr_assert_eq(atomic_load(&twin.release_frames), frames + 1);
    for (int i = 0; i < LEASES + 2; i++) {
        cr_assert_null(leases[i]);
    }
    quire_release_many(leases, LEASES + 2);
    quire_release_many(NULL, 3);
    quire_release(NULL);
}
