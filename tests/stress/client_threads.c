/*
 * libquire under threads: many of them store, look up, fetch, view, submit, cancel and drain on one client, with a real daemon behind it. A plain
 * main, so that the thread sanitizer can watch. Exits 0 when every byte that was called a hit was right and nothing hung.
 */
#include "tests/unit/client_quired.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 6, ROUNDS = 60, BLOCKS = 4 };

static struct quired quired;
static quire_client *client;
static quire_ns *ns;
static atomic_uint wrong, hits, completions;
static atomic_bool over;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, quire_last_error());
    atomic_fetch_add(&wrong, 1);
}

static bool same(const struct toy *a, const struct toy *b) {
    return memcmp(a->k, b->k, sizeof(a->k)) == 0 && memcmp(a->v, b->v, sizeof(a->v)) == 0;
}

static void fetch_all(quire_lease *lease, uint32_t n) {
    struct toy want, got;
    for (uint32_t i = 0; i < n; i++) {
        toy_fill(&want, i);
        toy_clear(&got);
        quire_dest dest = toy_dest(&got, i);
        enum quire_status status = quire_fetch(lease, &dest, 1, NULL, 0);
        if (status == QUIRE_OK && !same(&want, &got)) {
            fail("fetched bytes are not the stored ones");
        }
        atomic_fetch_add(&hits, status == QUIRE_OK);
    }
}

static void view_one(quire_lease *lease) {
    quire_view view;
    if (quire_view_begin(lease, 0, 0, &view) == QUIRE_OK) {
        const uint16_t *lane = quire_view_lane(&view, quire_ns_layout(ns), 0, 0, 0, 0, NULL);
        uint16_t seen = lane[0];
        if (quire_view_end(lease, &view) == QUIRE_OK && seen != toy_element(0, 0, 0, 0, 0, 0)) {
            fail("a viewed element is not the stored one");
        }
    }
}

/* Blocks in calls. */
static void *caller(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    quire_key keys[BLOCKS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        quire_lookup_result found;
        toy_keys(ns, (seed + round) % 5, keys, BLOCKS); /* threads meet on the same keys */
        if (toy_store(ns, keys, BLOCKS) != QUIRE_OK) {
            fail("store");
        }
        if (toy_lookup(ns, keys, BLOCKS, &found) != QUIRE_OK) {
            fail("lookup");
        } else if (found.lease != NULL) {
            fetch_all(found.lease, found.hits);
            view_one(found.lease);
        }
        quire_release(&found.lease);
        if (round % 16 == seed % 16) {
            quire_delete(ns, keys, 1, NULL, 0);
        }
    }
    return NULL;
}

/* Submits, cancels every third job, and leaves the completions to the drainer. */
static void *submitter(void *arg) {
    (void)arg;
    static struct toy toys[BLOCKS];
    static quire_source sources[ROUNDS];
    quire_key keys[BLOCKS];
    toy_keys(ns, 1000, keys, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        toy_fill(&toys[i], i);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t i = round % BLOCKS;
        sources[round] = toy_source(&toys[i], keys[i], i == 0 ? NULL : &keys[i - 1], TOY_BLOCK);
        quire_job job = quire_submit_store(ns, &sources[round], 1, NULL, 20000, NULL, NULL);
        if (job == 0) {
            fail("submit");
        } else if (round % 3 == 0) {
            quire_cancel(client, job); /* or it was done already */
        }
    }
    return NULL;
}

static void *drainer(void *arg) {
    (void)arg;
    struct pollfd ready = {.fd = quire_event_fd(client), .events = POLLIN};
    while (!atomic_load(&over)) {
        quire_done done[8];
        poll(&ready, 1, 50);
        int n = quire_drain(client, done, 8);
        for (int i = 0; i < n; i++) {
            if (done[i].status != QUIRE_OK && done[i].status != QUIRE_CANCELLED) {
                fail(quire_status_name(done[i].status));
            }
        }
        atomic_fetch_add(&completions, (unsigned)n);
    }
    return NULL;
}

static void run_all(void) {
    pthread_t callers[THREADS], submit, drain;
    atomic_store(&over, false);
    atomic_store(&completions, 0);
    pthread_create(&drain, NULL, drainer, NULL);
    pthread_create(&submit, NULL, submitter, NULL);
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&callers[i], NULL, caller, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(callers[i], NULL);
    }
    pthread_join(submit, NULL);
    for (int i = 0; i < 2000 && atomic_load(&completions) < ROUNDS; i++) {
        quired_sleep_ms(10);
    }
    atomic_store(&over, true);
    pthread_join(drain, NULL);
    if (atomic_load(&completions) != ROUNDS) {
        fail("completions are missing");
    }
}

int main(void) {
    if (!quired_start(&quired)) {
        fprintf(stderr, "no daemon\n");
        return 2;
    }
    for (uint32_t flags = 0; flags <= QUIRE_OPEN_PROGRESS_THREAD; flags += QUIRE_OPEN_PROGRESS_THREAD) {
        quire_options options = {.address = quired.path, .flags = flags, .ingest_bytes = 1u << 20, .default_deadline_ms = 30000};
        quire_layout layout = toy_layout();
        if (quire_open(&options, &client) != QUIRE_OK || quire_ns_open(client, "toy", &layout, &ns) != QUIRE_OK) {
            fail("open");
            break;
        }
        run_all();
        quire_ns_close(&ns);
        quire_close(&client);
    }
    int stopped = quired_stop(&quired);
    printf("%u fetches hit, %u problems, the daemon ended with %d\n", atomic_load(&hits), atomic_load(&wrong), stopped);
    return atomic_load(&wrong) == 0 && atomic_load(&hits) > 0 && stopped == 0 ? 0 : 1;
}
