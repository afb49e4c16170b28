/* Latencies: one 64 KiB block, and a lookup of 1,250 keys among a million blocks, against what the machine can do at all. */
#include "pager/index.h"
#include "proto/base/base.h"
#include "tests/bench/fixture.h"
#include "tests/bench/local.h"
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

enum { MILLION = 1000000, KEYS = 1250, LOOKUP_ROUNDS = 60, PUT_BATCH = 4096 };

static int store_million(const struct bench_case *c, struct fixture *fixture, const quire_key *keys) {
    static quire_source sources[PUT_BATCH];
    static const uint8_t byte = 0x5A;
    for (uint32_t done = 0; done < MILLION;) {
        uint32_t n = (uint32_t)quire_min_u64(PUT_BATCH, MILLION - done);
        for (uint32_t i = 0; i < n; i++) {
            sources[i] = (quire_source){.key = keys[done + i],
                                        .parent = (done + i) % KEYS == 0 ? (quire_key){{0}} : keys[done + i - 1],
                                        .n_tokens = 16,
                                        .opaque = &byte,
                                        .opaque_bytes = 1};
        }
        if (quire_store(fixture->ns, sources, n, NULL, 20000, NULL) != QUIRE_OK) {
            return bench_fail(c, "store after %u blocks: %s", done, quire_last_error());
        }
        done += n;
    }
    return 0;
}

/* The same keys in an index of the same kind, in this process. */
static struct pager_index *bare_index(const struct bench_case *c, const quire_key *keys) {
    struct pager_index *index = NULL;
    uint32_t block;
    if (pager_index_create(2 * MILLION, 42, &index) != QUIRE_OK) {
        bench_fail(c, "no memory for the index");
        return NULL;
    }
    for (uint32_t i = 0; i < MILLION; i++) {
        if (pager_index_insert(index, 1, &keys[i], &block) != QUIRE_OK) {
            bench_fail(c, "index full after %u", i);
            pager_index_destroy(&index);
            return NULL;
        }
    }
    return index;
}

struct lookup_times {
    double ours[LOOKUP_ROUNDS], probe[LOOKUP_ROUNDS], ping[LOOKUP_ROUNDS], ratio[LOOKUP_ROUNDS];
};

static int lookup_round(const struct bench_case *c, struct fixture *fixture, struct pingpong *pingpong, struct pager_index *index,
                        const quire_key *keys, uint64_t *seed, uint32_t round, struct lookup_times *times) {
    static uint32_t found[KEYS];
    quire_lookup_args args = {.keys = keys + bench_random(seed) % (MILLION / KEYS) * KEYS, .n_keys = KEYS};
    quire_lookup_result result;
    bench_cold_caches();
    uint64_t start = bench_now_ns();
    if (quire_lookup(fixture->ns, &args, NULL, &result) != QUIRE_OK || result.hits != KEYS) {
        return bench_fail(c, "lookup: %u hits, %s", result.hits, quire_last_error());
    }
    times->ours[round] = (double)(bench_now_ns() - start) / 1e9;
    quire_release(&result.lease);
    const quire_key *others = keys + bench_random(seed) % (MILLION / KEYS) * KEYS;
    bench_cold_caches();
    start = bench_now_ns();
    pager_index_find_batch(index, 1, others->b, KEYS, found);
    times->probe[round] = (double)(bench_now_ns() - start) / 1e9;
    bench_cold_caches();
    times->ping[round] = pingpong_round(pingpong, ASK_BYTES, ANSWER_BYTES);
    times->ratio[round] = times->ours[round] / (times->probe[round] + times->ping[round]);
    return found[0] == PAGER_NO_BLOCK ? bench_fail(c, "the bare probe found nothing") : 0;
}

static void report_hashing(const struct bench_options *options, struct fixture *fixture) {
    static uint32_t tokens[KEYS * 16];
    static quire_key keys[KEYS];
    double seconds[9];
    size_t n = 0;
    for (uint32_t round = 0; round < 9; round++) {
        uint64_t start = bench_now_ns();
        quire_chain(fixture->ns, tokens, KEYS * 16, NULL, 0, false, keys, KEYS, &n);
        seconds[round] = (double)(bench_now_ns() - start) / 1e9;
    }
    bench_note(options, "hashing 20,000 tokens into %zu keys, apart: %.0f us", n, bench_median(seconds, 9) * 1e6);
}

static int lookup_measure(const struct bench_options *options, const struct bench_case *self, struct fixture *fixture,
                          struct pingpong *pingpong, const quire_key *keys) {
    static struct lookup_times times;
    struct pager_index *index = bare_index(self, keys);
    uint64_t seed = 5;
    int failed = index == NULL;
    for (uint32_t round = 0; failed == 0 && round < LOOKUP_ROUNDS; round++) {
        failed = lookup_round(self, fixture, pingpong, index, keys, &seed, round, &times);
    }
    if (failed == 0) {
        double ours = bench_median(times.ours, LOOKUP_ROUNDS) * 1e6, probe = bench_median(times.probe, LOOKUP_ROUNDS) * 1e6;
        double ping = bench_median(times.ping, LOOKUP_ROUNDS) * 1e6;
        bench_report(options, "local", self, ours, "us", probe + ping, bench_median(times.ratio, LOOKUP_ROUNDS));
        bench_note(options, "bare probe %.0f us, ping-pong %.0f us", probe, ping);
        report_hashing(options, fixture);
    }
    pager_index_destroy(&index);
    return failed;
}

int local_lookup(const struct bench_options *options, const struct bench_case *self) {
    struct fixture fixture;
    struct pingpong pingpong;
    quire_layout layout;
    fixture_opaque_layout(&layout);
    quire_key *keys = malloc(MILLION * sizeof *keys);
    if (keys == NULL || pingpong_start(&pingpong, ASK_BYTES, ANSWER_BYTES) != 0) {
        free(keys);
        return bench_fail(self, "cannot start");
    }
    for (uint32_t i = 0; i < MILLION; i++) {
        keys[i] = fixture_key(i);
    }
    static const char yaml[] = "record_slots: 1100000\ndomains:\n  - name: default\n    pool_bytes: 1200MiB\n";
    int failed = fixture_start(options, self, yaml, &fixture);
    failed = failed != 0 ? failed : fixture_open_ns(self, &fixture, "bench", &layout);
    failed = failed != 0 ? failed : store_million(self, &fixture, keys);
    failed = failed != 0 ? failed : lookup_measure(options, self, &fixture, &pingpong, keys);
    fixture_stop(&fixture);
    pingpong_stop(&pingpong);
    free(keys);
    return failed;
}
