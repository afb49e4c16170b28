/* Latencies over UCX: one block of 64 KiB that is leased already, and a look-up of 1,250 keys. */
#include "proto/base/base.h"
#include "proto/frame.h"
#include "proto/quire.pb-c.h"
#include "proto/wire.h"
#include "tests/bench/million.h"
#include "tests/bench/net.h"
#include "tests/bench/net_am.h"

#include <stdlib.h>

/* ---- one block of 64 KiB --------------------------------------------------------------------------------------------------- */
enum { LAYERS = 8, BLOCKS = 256, ASK_BYTES = 96, BATCHES = 20, A_BATCH = 100 };
#define BLOCK_BYTES (64u << 10)

struct small {
    struct net net;
    struct net_am *am;
    quire_layout layout;
    quire_lease *lease;        /* of all blocks */
    uint8_t *memory, *answers; /* BLOCKS blocks; pieces of the ping-pong */
    void *bases[2 * LAYERS];
    uint64_t seed;
};

struct small_times {
    double ours[BATCHES * A_BATCH], found[BATCHES * A_BATCH], ping[BATCHES * A_BATCH], polled[BATCHES * A_BATCH];
};

static int small_fill(const struct bench_case *c, struct small *small) {
    quire_key keys[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        quire_source source;
        keys[i] = fixture_key(i);
        fixture_source(&source, &small->layout, small->memory + (uint64_t)i * BLOCK_BYTES, (const void **)small->bases, &keys[i]);
        if (quire_store(small->net.ns, &source, 1, NULL, 5000, NULL) != QUIRE_OK) {
            return bench_fail(c, "store: %s", quire_last_error());
        }
    }
    quire_lookup_args args = {.keys = keys, .n_keys = BLOCKS, .flags = QUIRE_LOOKUP_EACH, .lease_ms = 60000};
    quire_lookup_result result;
    if (quire_lookup(small->net.ns, &args, NULL, &result) != QUIRE_OK || result.hits != BLOCKS) {
        return bench_fail(c, "lookup: %u of %u hit, %s", result.hits, (unsigned)BLOCKS, quire_last_error());
    }
    small->lease = result.lease;
    return 0;
}

static int small_fetch(const struct bench_case *c, struct small *small, quire_lease *lease, uint32_t key_index, uint32_t to) {
    quire_dest dest;
    fixture_dest(&dest, &small->layout, small->memory + (uint64_t)to * BLOCK_BYTES, small->bases, key_index);
    return quire_fetch(lease, &dest, 1, NULL, 5000) == QUIRE_OK ? 0 : bench_fail(c, "fetch: %s", quire_last_error());
}

/* With its look-up and release: two round trips. */
static int small_find(const struct bench_case *c, struct small *small, uint32_t number) {
    quire_key key = fixture_key(number);
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    if (quire_lookup(small->net.ns, &args, NULL, &result) != QUIRE_OK || result.hits != 1) {
        return bench_fail(c, "lookup: %s", quire_last_error());
    }
    int failed = small_fetch(c, small, result.lease, 0, number);
    quire_release(&result.lease);
    return failed;
}

static int small_ours(const struct bench_case *c, struct small *small, double *seconds) {
    uint32_t number = (uint32_t)(bench_random(&small->seed) % BLOCKS);
    uint64_t start = bench_now_ns();
    int failed = small_fetch(c, small, small->lease, number, number);
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return failed;
}

/* Nobody waits for the look-up's release, and what comes next finds a processor that it keeps awake: fetch and ping-pong take turns at that. */
static int small_round(const struct bench_case *c, struct small *small, uint32_t round, struct small_times *times) {
    const struct net_am_order order = {.ask_bytes = ASK_BYTES, .bytes = BLOCK_BYTES, .n = 1};
    uint32_t other = (uint32_t)(bench_random(&small->seed) % BLOCKS);
    uint64_t start = bench_now_ns();
    int failed = small_find(c, small, other);
    times->found[round] = (double)(bench_now_ns() - start) / 1e9;
    if (failed == 0 && round % 2 == 0) {
        failed = small_ours(c, small, &times->ours[round]);
    }
    failed = failed != 0 ? failed : net_am_run(c, small->am, &order, small->answers, &times->ping[round]);
    if (failed == 0 && round % 2 != 0) {
        failed = small_ours(c, small, &times->ours[round]);
    }
    return failed;
}

/* A hundred by themselves: a peer that looks without sleeping would take a processor from what is measured in between. */
static int polled_batch(const struct bench_case *c, struct small *small, double *seconds) {
    const struct net_am_order order = {.ask_bytes = ASK_BYTES, .bytes = BLOCK_BYTES, .n = 1, .poll = true};
    int failed = 0;
    for (uint32_t i = 0; failed == 0 && i < A_BATCH; i++) {
        failed = net_am_run(c, small->am, &order, small->answers, &seconds[i]);
    }
    return failed != 0 ? failed : net_am_rest(c, small->am);
}

static int small_rounds(const struct bench_options *options, const struct bench_case *c, struct small *small) {
    static struct small_times times;
    const uint32_t batches = options->tiny ? 1 : BATCHES, n = batches * A_BATCH;
    int failed = 0;
    for (uint32_t batch = 0; failed == 0 && batch < batches; batch++) {
        for (uint32_t i = 0; failed == 0 && i < A_BATCH; i++) {
            failed = small_round(c, small, batch * A_BATCH + i, &times);
        }
        failed = failed != 0 ? failed : polled_batch(c, small, times.polled + batch * A_BATCH);
    }
    if (failed == 0) {
        double ours = bench_median(times.ours, n) * 1e6, found = bench_median(times.found, n) * 1e6;
        double ping = bench_median(times.ping, n) * 1e6, polled = bench_median(times.polled, n) * 1e6;
        bench_report(options, "net", c, ours, "us", ping, ours / ping);
        bench_note(options, "p99 %.1f us", times.ours[n * 99 / 100] * 1e6);
        net_report(options, c, "polled", "none", ours, "us", polled, ours / polled);
        net_report(options, c, "looked_up", "none", found, "us", ping, found / ping);
    }
    return failed;
}

int net_small_tcp(const struct bench_options *options, const struct bench_case *self) {
    static struct small small;
    small = (struct small){.memory = calloc(BLOCKS, BLOCK_BYTES), .answers = calloc(NET_AM_PIECES, NET_AM_PIECE_BYTES), .seed = 3};
    fixture_layout(&small.layout, LAYERS, 1);
    int failed = small.memory == NULL || small.answers == NULL ? bench_fail(self, "no memory") : net_am_start(self, &small.am);
    failed = failed != 0 ? failed : net_start(options, self, NET_UCX, "256MiB", "", &small.net);
    if (failed == 0 && quire_ns_open(small.net.client, "bench", &small.layout, &small.net.ns) != QUIRE_OK) {
        failed = bench_fail(self, "cannot open a namespace: %s", quire_last_error());
    }
    failed = failed != 0 ? failed : small_fill(self, &small);
    failed = failed != 0 ? failed : small_rounds(options, self, &small);
    quire_release(&small.lease);
    net_stop(&small.net);
    net_am_stop(&small.am);
    free(small.memory);
    free(small.answers);
    return failed;
}

/* ---- 1,250 keys among a million ---------------------------------------------------------------------------------------------- */
enum { ROUNDS = 60 };

struct lookup_times {
    double ours[ROUNDS], probe[ROUNDS], ping[ROUNDS], ratio[ROUNDS];
};

/* As many bytes as the frames have that ask for 1,250 keys and grant them. */
static struct net_am_order lookup_order(void) {
    Quire__Wire__Lease ask = QUIRE__WIRE__LEASE__INIT;
    Quire__Wire__Grants answer = QUIRE__WIRE__GRANTS__INIT;
    ask.ns = 1;
    ask.keys.len = (size_t)MILLION_KEYS * QUIRE_KEY_BYTES;
    answer.epoch = answer.lease = 1;
    answer.hits = MILLION_KEYS;
    answer.grants.len = MILLION_KEYS * sizeof(struct quire_wire_grant);
    return (struct net_am_order){.ask_bytes = QUIRE_FRAME_BYTES + (uint32_t)quire__wire__lease__get_packed_size(&ask),
                                 .bytes = QUIRE_FRAME_BYTES + (uint32_t)quire__wire__grants__get_packed_size(&answer),
                                 .n = 1};
}

static int lookup_rounds(const struct bench_options *options, const struct bench_case *c, struct net *net, struct net_am *am,
                         struct million *million, uint8_t *memory) {
    static struct lookup_times times;
    const struct net_am_order order = lookup_order();
    int failed = 0;
    for (uint32_t i = 0; failed == 0 && i < ROUNDS; i++) {
        failed = million_lookup(c, million, net->ns, &times.ours[i]) != 0 || million_probe(c, million, &times.probe[i]) != 0;
        bench_cold_caches();
        failed = failed != 0 ? failed : net_am_run(c, am, &order, memory, &times.ping[i]);
        times.ratio[i] = times.ours[i] / (times.probe[i] + times.ping[i]);
    }
    if (failed == 0) {
        double probe = bench_median(times.probe, ROUNDS) * 1e6, ping = bench_median(times.ping, ROUNDS) * 1e6;
        bench_report(options, "net", c, bench_median(times.ours, ROUNDS) * 1e6, "us", probe + ping, bench_median(times.ratio, ROUNDS));
        bench_note(options, "bare probe %.0f us, ping-pong of %u and %u bytes %.0f us", probe, order.ask_bytes, order.bytes, ping);
    }
    return failed;
}

int net_lookup_tcp(const struct bench_options *options, const struct bench_case *self) {
    static struct net net;
    struct net_am *am = NULL;
    struct million million;
    quire_layout layout;
    fixture_opaque_layout(&layout);
    uint8_t *memory = calloc(NET_AM_PIECES, NET_AM_PIECE_BYTES);
    int failed = memory == NULL ? bench_fail(self, "no memory") : net_am_start(self, &am);
    failed |= million_start(self, &million);
    failed = failed != 0 ? failed : net_start(options, self, NET_UCX, MILLION_POOL, MILLION_YAML, &net);
    failed = failed != 0 ? failed : fixture_open_ns(self, &net.fixture, "bench", &layout);
    failed = failed != 0 ? failed : million_store(self, &million, net.fixture.ns);
    if (failed == 0 && quire_ns_open(net.client, "bench", &layout, &net.ns) != QUIRE_OK) {
        failed = bench_fail(self, "cannot open a namespace: %s", quire_last_error());
    }
    failed = failed != 0 ? failed : lookup_rounds(options, self, &net, am, &million, memory);
    net_stop(&net);
    net_am_stop(&am);
    million_stop(&million);
    free(memory);
    return failed;
}
