/* Latencies: one 64 KiB block, and a lookup of 1,250 keys among a million blocks, against what the machine can do at all. */
#include "proto/base/base.h"
#include "tests/bench/fixture.h"
#include "tests/bench/local.h"
#include "tests/bench/million.h"
#include "tests/bench/pingpong.h"

#include <stdlib.h>

/* ---- one block of 64 KiB --------------------------------------------------------------------------------------------------- */

enum { SMALL_LAYERS = 8, SMALL_BLOCKS = 256, SMALL_ROUNDS = 4000, ASK_BYTES = 96, ANSWER_BYTES = 96 };
#define SMALL_BYTES (64u << 10)

struct small {
    struct fixture fixture;
    struct pingpong pingpong;
    quire_layout layout;
    uint8_t *memory, *copy;
    void *bases[2 * SMALL_LAYERS];
};

static int small_fill(const struct bench_case *c, struct small *small) {
    for (uint32_t i = 0; i < SMALL_BLOCKS; i++) {
        quire_source source;
        quire_key key = fixture_key(i);
        fixture_source(&source, &small->layout, small->memory + (uint64_t)i * SMALL_BYTES, (const void **)small->bases, &key);
        if (quire_store(small->fixture.ns, &source, 1, NULL, 5000, NULL) != QUIRE_OK) {
            return bench_fail(c, "store: %s", quire_last_error());
        }
    }
    return 0;
}

static int small_fetch(const struct bench_case *c, struct small *small, uint64_t number, double *seconds) {
    quire_key key = fixture_key(number);
    quire_dest dest;
    fixture_dest(&dest, &small->layout, small->copy + number * SMALL_BYTES, small->bases, 0);
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    uint64_t start = bench_now_ns();
    if (quire_lookup(small->fixture.ns, &args, NULL, &result) != QUIRE_OK || result.hits != 1) {
        return bench_fail(c, "lookup: %s", quire_last_error());
    }
    enum quire_status status = quire_fetch(result.lease, &dest, 1, NULL, 5000);
    quire_release(&result.lease);
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return status == QUIRE_OK ? 0 : bench_fail(c, "fetch: %s", quire_last_error());
}

static int small_rounds(const struct bench_options *options, const struct bench_case *c, struct small *small) {
    static double ours[SMALL_ROUNDS], bare[SMALL_ROUNDS];
    uint64_t seed = 3;
    for (uint32_t round = 0; round < SMALL_ROUNDS; round++) {
        uint64_t number = bench_random(&seed) % SMALL_BLOCKS, other = bench_random(&seed) % SMALL_BLOCKS;
        if (small_fetch(c, small, number, &ours[round]) != 0) {
            return 1;
        }
        bare[round] = pingpong_round(&small->pingpong, ASK_BYTES, ANSWER_BYTES);
        uint64_t start = bench_now_ns();
        memcpy(small->copy + number * SMALL_BYTES, small->memory + other * SMALL_BYTES, SMALL_BYTES);
        bare[round] += (double)(bench_now_ns() - start) / 1e9;
    }
    double value = bench_median(ours, SMALL_ROUNDS) * 1e6, ceiling = bench_median(bare, SMALL_ROUNDS) * 1e6;
    bench_report(options, "local", c, value, "us", ceiling, value / ceiling);
    bench_note(options, "p99 %.1f us", ours[SMALL_ROUNDS * 99 / 100] * 1e6);
    return 0;
}

int local_fetch_64kib(const struct bench_options *options, const struct bench_case *self) {
    struct small small = {0};
    fixture_layout(&small.layout, SMALL_LAYERS, 1);
    small.memory = calloc(SMALL_BLOCKS, SMALL_BYTES);
    small.copy = calloc(SMALL_BLOCKS, SMALL_BYTES);
    int failed = small.memory == NULL || small.copy == NULL || pingpong_start(&small.pingpong, ASK_BYTES, ANSWER_BYTES) != 0;
    if (failed == 0) {
        memset(small.memory, 1, SMALL_BLOCKS * SMALL_BYTES);
        memset(small.copy, 2, SMALL_BLOCKS * SMALL_BYTES);
        failed = fixture_start(options, self, "domains:\n  - name: default\n    pool_bytes: 256MiB\n", &small.fixture);
        failed = failed != 0 ? failed : fixture_open_ns(self, &small.fixture, "bench", &small.layout);
        failed = failed != 0 ? failed : small_fill(self, &small);
        failed = failed != 0 ? failed : small_rounds(options, self, &small);
        fixture_stop(&small.fixture);
        pingpong_stop(&small.pingpong);
    }
    free(small.memory);
    free(small.copy);
    return failed;
}

/* ---- 1,250 keys among a million ---------------------------------------------------------------------------------------------- */

enum { LOOKUP_ROUNDS = 60 };

struct lookup_times {
    double ours[LOOKUP_ROUNDS], probe[LOOKUP_ROUNDS], ping[LOOKUP_ROUNDS], ratio[LOOKUP_ROUNDS];
};

static int lookup_round(const struct bench_case *c, struct fixture *fixture, struct pingpong *pingpong, struct million *million,
                        uint32_t round, struct lookup_times *times) {
    if (million_lookup(c, million, fixture->ns, &times->ours[round]) != 0 || million_probe(c, million, &times->probe[round]) != 0) {
        return 1;
    }
    bench_cold_caches();
    times->ping[round] = pingpong_round(pingpong, ASK_BYTES, ANSWER_BYTES);
    times->ratio[round] = times->ours[round] / (times->probe[round] + times->ping[round]);
    return 0;
}

static void report_hashing(const struct bench_options *options, struct fixture *fixture) {
    static uint32_t tokens[MILLION_KEYS * 16];
    static quire_key keys[MILLION_KEYS];
    double seconds[9];
    size_t n = 0;
    for (uint32_t round = 0; round < 9; round++) {
        uint64_t start = bench_now_ns();
        quire_chain(fixture->ns, tokens, MILLION_KEYS * 16, NULL, 0, false, keys, MILLION_KEYS, &n);
        seconds[round] = (double)(bench_now_ns() - start) / 1e9;
    }
    bench_note(options, "hashing 20,000 tokens into %zu keys, apart: %.0f us", n, bench_median(seconds, 9) * 1e6);
}

static int lookup_measure(const struct bench_options *options, const struct bench_case *self, struct fixture *fixture,
                          struct pingpong *pingpong, struct million *million) {
    static struct lookup_times times;
    int failed = 0;
    for (uint32_t round = 0; failed == 0 && round < LOOKUP_ROUNDS; round++) {
        failed = lookup_round(self, fixture, pingpong, million, round, &times);
    }
    if (failed == 0) {
        double ours = bench_median(times.ours, LOOKUP_ROUNDS) * 1e6, probe = bench_median(times.probe, LOOKUP_ROUNDS) * 1e6;
        double ping = bench_median(times.ping, LOOKUP_ROUNDS) * 1e6;
        bench_report(options, "local", self, ours, "us", probe + ping, bench_median(times.ratio, LOOKUP_ROUNDS));
        bench_note(options, "bare probe %.0f us, ping-pong %.0f us", probe, ping);
        report_hashing(options, fixture);
    }
    return failed;
}

int local_lookup(const struct bench_options *options, const struct bench_case *self) {
    struct fixture fixture;
    struct pingpong pingpong;
    struct million million;
    quire_layout layout;
    fixture_opaque_layout(&layout);
    if (million_start(self, &million) != 0 || pingpong_start(&pingpong, ASK_BYTES, ANSWER_BYTES) != 0) {
        million_stop(&million);
        return bench_fail(self, "cannot start");
    }
    int failed = fixture_start(options, self, MILLION_YAML "domains:\n  - name: default\n    pool_bytes: " MILLION_POOL "\n", &fixture);
    failed = failed != 0 ? failed : fixture_open_ns(self, &fixture, "bench", &layout);
    failed = failed != 0 ? failed : million_store(self, &million, fixture.ns);
    failed = failed != 0 ? failed : lookup_measure(options, self, &fixture, &pingpong, &million);
    fixture_stop(&fixture);
    pingpong_stop(&pingpong);
    million_stop(&million);
    return failed;
}
