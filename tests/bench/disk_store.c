/* How fast what is in memory reaches the disk: it is stored, left alone until it is due, and then written all at once. */
#include "proto/base/base.h"
#include "tests/bench/disk.h"
#include "tests/bench/disk_fixture.h"

#include <stdlib.h>

enum { WARM_UP = 3, RAW_BYTES = 2 << 20, RAW_DEPTH = 8, BATCH = 512 };
#define ROUND_BYTES (512ull << 20)
#define STORE_BYTES (64ull << 20) /* at once */
#define LOG_BYTES (1088ull << 20) /* 17 segments: the warm-up has written to all of it */
#define POOL_BYTES (1024ull << 20)

static const char yaml[] = "disk:\n  write_delay_ms: 1500\n  scrub_bytes_per_s: 0\n";

struct store {
    struct disk_fixture disk;
    quire_layout layout;
    uint64_t payload_bytes, number;
    uint8_t *memory; /* of one block */
    uint64_t offsets[ROUND_BYTES / RAW_BYTES];
};

static void next_block(struct store *store, quire_source *source, const void **bases) {
    quire_key key = fixture_key(store->number++);
    fixture_source(source, &store->layout, store->memory, bases, &key);
    source->flags = QUIRE_STORE_PARENT_UNKNOWN;
}

static int in_step(struct store *store) {
    quire_source source;
    const void *bases[2 * 32];
    next_block(store, &source, bases);
    return disk_fixture_in_step(&store->disk, &source, (double)store->payload_bytes);
}

static int fill(struct store *store) {
    static quire_source sources[BATCH];
    static const void *bases[BATCH][2 * 32];
    uint64_t begun_ns = bench_now_ns();
    for (uint64_t left = ROUND_BYTES / store->payload_bytes; left > 0;) {
        uint32_t n = (uint32_t)quire_min_u64(left, quire_min_u64(BATCH, STORE_BYTES / store->payload_bytes));
        for (uint32_t i = 0; i < n; i++) {
            next_block(store, &sources[i], bases[i]);
        }
        if (quire_store(store->disk.fixture.ns, sources, n, NULL, 20000, NULL) != QUIRE_OK) {
            return bench_fail(store->disk.c, "store: %s", quire_last_error());
        }
        left -= n;
    }
    bench_trace(store->disk.options, "stored in %.3f s", (double)(bench_now_ns() - begun_ns) / 1e9);
    return 0;
}

static int demote(struct store *store, double *bytes_per_s) {
    struct disk_watch watch;
    double payload = (double)(ROUND_BYTES / store->payload_bytes * store->payload_bytes), seconds;
    if (in_step(store) != 0 || disk_fixture_evict(&store->disk) != 0 || disk_fixture_watch(&store->disk, &watch) != 0 || fill(store) != 0 ||
        disk_fixture_demoted(&store->disk, &watch, payload, &seconds) != 0) {
        return 1;
    }
    *bytes_per_s = payload / seconds;
    return 0;
}

static int bare(struct store *store, double *bytes_per_s) {
    struct raw_run run = {
        .write = true, .depth = RAW_DEPTH, .size_bytes = RAW_BYTES, .offsets = store->offsets, .n = QUIRE_ARRAY_LEN(store->offsets)};
    double seconds = raw_run(&store->disk.raw, &run);
    *bytes_per_s = (double)ROUND_BYTES / seconds;
    return seconds > 0 ? 0 : bench_fail(store->disk.c, "the bare writes failed");
}

static int rounds(struct store *store) {
    double ours[DISK_ROUNDS], ceiling[DISK_ROUNDS], ratio[DISK_ROUNDS], before, after, value;
    for (uint32_t round = 0; round < DISK_ROUNDS + WARM_UP; round++) {
        if (bare(store, &before) != 0 || demote(store, &value) != 0 || bare(store, &after) != 0) {
            return 1;
        }
        if (round >= WARM_UP) {
            uint32_t at = round - WARM_UP;
            ours[at] = value / 1e9;
            ceiling[at] = (before + after) / 2e9;
            ratio[at] = ours[at] / ceiling[at];
            bench_trace(store->disk.options, "%.3f of %.3f and %.3f GB/s", ours[at], before / 1e9, after / 1e9);
        }
    }
    bench_report(store->disk.options, "disk", store->disk.c, bench_median(ours, DISK_ROUNDS), "GB/s", bench_median(ceiling, DISK_ROUNDS),
                 bench_median(ratio, DISK_ROUNDS));
    return 0;
}

static int store_case(const struct bench_options *options, const struct bench_case *self, uint16_t n_layers, uint16_t n_heads) {
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return bench_fail(self, "no memory");
    }
    fixture_layout(&store->layout, n_layers, n_heads);
    store->payload_bytes = (uint64_t)n_layers * n_heads * 2 * 16 * 128 * 2;
    store->memory = malloc(store->payload_bytes);
    for (uint64_t i = 0, seed = 5; store->memory != NULL && i < store->payload_bytes / 8; i++) {
        ((uint64_t *)(void *)store->memory)[i] = bench_random(&seed);
    }
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(store->offsets); i++) {
        store->offsets[i] = (uint64_t)i * RAW_BYTES;
    }
    int failed = disk_fixture_create(options, self, ROUND_BYTES, &store->disk);
    failed = failed != 0 ? failed : disk_fixture_start(&store->disk, LOG_BYTES, POOL_BYTES, yaml, &store->layout);
    failed = failed != 0 ? failed : rounds(store);
    disk_fixture_stop(&store->disk);
    free(store->memory);
    free(store);
    return failed;
}

int disk_store_stream(const struct bench_options *options, const struct bench_case *self) { return store_case(options, self, 32, 8); }

int disk_store_small(const struct bench_options *options, const struct bench_case *self) { return store_case(options, self, 3, 1); }
