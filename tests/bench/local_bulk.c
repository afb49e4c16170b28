/* Bulk bytes: fetch and store of 2 MiB blocks against memcpy of the same bytes. */
#include "proto/base/base.h"
#include "tests/bench/fixture.h"
#include "tests/bench/local.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { BATCH = 16, BLOCKS = 512, LAYERS = 32, HEADS = 8, ROUNDS = 48 };
#define BLOCK_BYTES (2ull << 20)

struct bulk {
    struct fixture fixture;
    quire_layout layout;
    uint8_t *memory; /* BLOCKS blocks of the caller's: a working set of 1 GiB */
    void *bases[BATCH][2 * LAYERS];
};

static uint8_t *caller_memory(void) {
    uint8_t *memory = mmap(NULL, BLOCKS * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    uint64_t seed = 1;
    for (uint64_t i = 0; i < BLOCKS * BLOCK_BYTES / 8; i += 16) {
        ((uint64_t *)memory)[i] = bench_random(&seed);
    }
    return memory;
}

static int store_batch(const struct bench_case *c, struct bulk *bulk, uint64_t first_number, uint32_t first_block) {
    quire_source sources[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        quire_key key = fixture_key(first_number + i);
        fixture_source(&sources[i], &bulk->layout, bulk->memory + ((first_block + i) % BLOCKS) * BLOCK_BYTES, (const void **)bulk->bases[i],
                       &key);
    }
    if (quire_store(bulk->fixture.ns, sources, BATCH, NULL, 20000, NULL) != QUIRE_OK) {
        return bench_fail(c, "store: %s", quire_last_error());
    }
    return 0;
}

static int bulk_start(const struct bench_options *options, const struct bench_case *c, bool verify, struct bulk *bulk) {
    memset(bulk, 0, sizeof *bulk);
    fixture_layout(&bulk->layout, LAYERS, HEADS);
    bulk->memory = caller_memory();
    if (bulk->memory == NULL) {
        return bench_fail(c, "cannot map 1 GiB");
    }
    char yaml[256];
    snprintf(yaml, sizeof yaml, "verify_always: %s\ndomains:\n  - name: default\n    pool_bytes: 1400MiB\n", verify ? "true" : "false");
    int failed = fixture_start(options, c, yaml, &bulk->fixture);
    return failed != 0 ? failed : fixture_open_ns(c, &bulk->fixture, "bench", &bulk->layout);
}

static void bulk_stop(struct bulk *bulk) {
    fixture_stop(&bulk->fixture);
    if (bulk->memory != NULL) {
        munmap(bulk->memory, BLOCKS * BLOCK_BYTES);
    }
}

/* One batch of random blocks through lookup, fetch and release; *seconds is how long that took. */
static int fetch_batch(const struct bench_case *c, struct bulk *bulk, uint64_t *seed, uint32_t to_block, uint64_t numbers[BATCH],
                       double *seconds) {
    quire_key keys[BATCH];
    quire_dest dests[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        numbers[i] = bench_random(seed) % BLOCKS;
        keys[i] = fixture_key(numbers[i]);
        fixture_dest(&dests[i], &bulk->layout, bulk->memory + ((to_block + i) % BLOCKS) * BLOCK_BYTES, bulk->bases[i], i);
    }
    quire_lookup_args args = {.keys = keys, .n_keys = BATCH, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    uint64_t start = bench_now_ns();
    enum quire_status status = quire_lookup(bulk->fixture.ns, &args, NULL, &result);
    if (status != QUIRE_OK || result.hits != BATCH) {
        return bench_fail(c, "lookup: %u of %u hit, %s", result.hits, (unsigned)BATCH, quire_last_error());
    }
    status = quire_fetch(result.lease, dests, BATCH, NULL, 20000);
    quire_release(&result.lease);
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return status == QUIRE_OK ? 0 : bench_fail(c, "fetch: %s", quire_last_error());
}

/* The same bytes, out of the pool's own pages, by memcpy. */
static int copy_batch(const struct bench_case *c, struct bulk *bulk, const uint64_t numbers[BATCH], uint32_t to_block, double *seconds) {
    quire_key keys[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        keys[i] = fixture_key(numbers[i]);
    }
    quire_lookup_args args = {.keys = keys, .n_keys = BATCH, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    if (quire_lookup(bulk->fixture.ns, &args, NULL, &result) != QUIRE_OK || result.lease == NULL) {
        return bench_fail(c, "lookup: %s", quire_last_error());
    }
    quire_view views[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        if (quire_view_begin(result.lease, i, 0, &views[i]) != QUIRE_OK) {
            return bench_fail(c, "view: %s", quire_last_error());
        }
    }
    uint64_t start = bench_now_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        memcpy(bulk->memory + ((to_block + i) % BLOCKS) * BLOCK_BYTES, views[i].payload, BLOCK_BYTES);
    }
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    quire_release(&result.lease);
    return 0;
}

/* Reads every block once, so that page faults of the first touch are in neither figure. */
static int touch_all(const struct bench_case *c, struct bulk *bulk) {
    uint64_t numbers[BATCH];
    double seconds;
    for (uint32_t b = 0; b < BLOCKS; b += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            numbers[i] = b + i;
        }
        if (copy_batch(c, bulk, numbers, b, &seconds) != 0) {
            return 1;
        }
    }
    return 0;
}

static int fetch_rounds(const struct bench_options *options, const struct bench_case *self, struct bulk *bulk) {
    for (uint32_t b = 0; b < BLOCKS; b += BATCH) {
        if (store_batch(self, bulk, b, b) != 0) {
            return 1;
        }
    }
    double ours[ROUNDS], bare[ROUNDS], ratio[ROUNDS];
    uint64_t seed = 7, numbers[BATCH];
    if (touch_all(self, bulk) != 0) {
        return 1;
    }
    for (uint32_t round = 0; round < ROUNDS + 4; round++) {
        double t_ours = 0, t_bare = 0;
        uint32_t to = (uint32_t)(bench_random(&seed) % BLOCKS);
        if (fetch_batch(self, bulk, &seed, to, numbers, &t_ours) != 0) {
            return 1;
        }
        for (uint32_t i = 0; i < BATCH; i++) {
            numbers[i] = bench_random(&seed) % BLOCKS; /* other blocks than those just fetched: as cold */
        }
        if (copy_batch(self, bulk, numbers, (uint32_t)(bench_random(&seed) % BLOCKS), &t_bare) != 0) {
            return 1;
        }
        if (round >= 4) {
            ours[round - 4] = (double)(BATCH * BLOCK_BYTES) / t_ours / 1e9;
            bare[round - 4] = (double)(BATCH * BLOCK_BYTES) / t_bare / 1e9;
            ratio[round - 4] = t_bare / t_ours;
        }
    }
    bench_report(options, "local", self, bench_median(ours, ROUNDS), "GB/s", bench_median(bare, ROUNDS), bench_median(ratio, ROUNDS));
    return 0;
}

static int fetch_case(const struct bench_options *options, const struct bench_case *self, bool verify) {
    struct bulk bulk;
    int failed = bulk_start(options, self, verify, &bulk);
    failed = failed != 0 ? failed : fetch_rounds(options, self, &bulk);
    bulk_stop(&bulk);
    return failed;
}

int local_fetch_2mib(const struct bench_options *options, const struct bench_case *self) { return fetch_case(options, self, false); }

int local_fetch_2mib_verify(const struct bench_options *options, const struct bench_case *self) { return fetch_case(options, self, true); }

static int store_rounds(const struct bench_options *options, const struct bench_case *self, struct bulk *bulk, uint8_t *copy) {
    double ours[ROUNDS], bare[ROUNDS], ratio[ROUNDS];
    uint64_t seed = 11, number = 1u << 20;
    for (uint32_t round = 0; round < ROUNDS + 48; round++) { /* the first 48 fill the pool, so that each store evicts */
        uint32_t from = (uint32_t)(bench_random(&seed) % BLOCKS);
        uint64_t start = bench_now_ns();
        if (store_batch(self, bulk, number, from) != 0) {
            return 1;
        }
        double t_ours = (double)(bench_now_ns() - start) / 1e9;
        number += BATCH;
        if (round < 48) {
            continue;
        }
        uint32_t to = (uint32_t)(bench_random(&seed) % (BLOCKS - BATCH)), other = (uint32_t)(bench_random(&seed) % (BLOCKS - BATCH));
        start = bench_now_ns();
        for (uint32_t i = 0; i < BATCH; i++) {
            memcpy(copy + (to + i) * BLOCK_BYTES, bulk->memory + (other + i) * BLOCK_BYTES, BLOCK_BYTES);
        }
        double t_bare = (double)(bench_now_ns() - start) / 1e9;
        ours[round - 48] = (double)(BATCH * BLOCK_BYTES) / t_ours / 1e9;
        bare[round - 48] = (double)(BATCH * BLOCK_BYTES) / t_bare / 1e9;
        ratio[round - 48] = t_bare / t_ours;
    }
    bench_report(options, "local", self, bench_median(ours, ROUNDS), "GB/s", bench_median(bare, ROUNDS), bench_median(ratio, ROUNDS));
    return 0;
}

int local_store_2mib(const struct bench_options *options, const struct bench_case *self) {
    struct bulk bulk;
    int failed = bulk_start(options, self, false, &bulk);
    uint8_t *copy = caller_memory();
    if (failed == 0) {
        failed = copy != NULL ? store_rounds(options, self, &bulk, copy) : bench_fail(self, "cannot map 1 GiB");
    }
    bulk_stop(&bulk);
    if (copy != NULL) {
        munmap(copy, BLOCKS * BLOCK_BYTES);
    }
    return failed;
}
