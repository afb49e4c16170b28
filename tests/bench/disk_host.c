/*
 * Does demotion slow down those who read from memory? One reader fetches small blocks that are pinned there, one after the other, while nothing happens, and
 * while as much is written to disk as it takes.
 */
#include "proto/base/base.h"
#include "tests/bench/disk.h"
#include "tests/bench/disk_fixture.h"

#include <stdlib.h>

enum { HOT = 64, HOT_BYTES = 65536, SAMPLES_MAX = 200000, BATCH = 32, WARM_UP = 3 };
#define BULK_BYTES (2ull << 20)
#define ROUND_BYTES (512ull << 20)
#define LOG_BYTES (1088ull << 20)
#define POOL_BYTES (1024ull << 20)
#define IDLE_NS (300 * QUIRE_NS_PER_MS)
#define LOOK_NS QUIRE_NS_PER_MS

static const char yaml[] = "disk:\n  write_delay_ms: 1500\n  scrub_bytes_per_s: 0\n";

struct host {
    struct disk_fixture disk;
    quire_layout layout;
    quire_ns *hot;
    quire_layout hot_layout;
    uint8_t *memory;
    uint64_t number, seed;
    double samples[SAMPLES_MAX];
    uint32_t n;
};

static int make_hot(struct host *host) {
    fixture_layout(&host->hot_layout, 8, 1);
    if (quire_ns_open(host->disk.fixture.client, "hot", &host->hot_layout, &host->hot) != QUIRE_OK) {
        return bench_fail(host->disk.c, "cannot open a namespace: %s", quire_last_error());
    }
    for (uint32_t i = 0; i < HOT; i++) {
        quire_source source;
        const void *bases[2 * 8];
        quire_key key = fixture_key(i);
        fixture_source(&source, &host->hot_layout, host->memory, bases, &key);
        source.flags = QUIRE_STORE_PARENT_UNKNOWN;
        if (quire_store(host->hot, &source, 1, NULL, 20000, NULL) != QUIRE_OK || quire_pin(host->hot, &key, 1, NULL, 20000) != QUIRE_OK) {
            return bench_fail(host->disk.c, "cannot pin a block: %s", quire_last_error());
        }
    }
    return 0;
}

static int fetch_one(struct host *host) {
    quire_key key = fixture_key(bench_random(&host->seed) % HOT);
    quire_dest dest;
    void *bases[2 * 8];
    quire_lookup_args args = {.keys = &key, .n_keys = 1};
    quire_lookup_result result;
    fixture_dest(&dest, &host->hot_layout, host->memory, bases, 0);
    uint64_t begun_ns = bench_now_ns();
    enum quire_status status = quire_lookup(host->hot, &args, NULL, &result);
    if (status != QUIRE_OK || result.hits != 1 || quire_fetch(result.lease, &dest, 1, NULL, 20000) != QUIRE_OK) {
        return bench_fail(host->disk.c, "fetch: %s", quire_last_error());
    }
    quire_release(&result.lease);
    if (host->n < SAMPLES_MAX) {
        host->samples[host->n++] = (double)(bench_now_ns() - begun_ns) / 1e3;
    }
    return 0;
}

static double p99(struct host *host) {
    (void)bench_median(host->samples, host->n); /* sorts them */
    return host->n > 0 ? host->samples[host->n * 99 / 100] : 0;
}

/* Looks at the figures as often as under load, so that both have the same to do. */
static int idle(struct host *host, double *value) {
    struct disk_watch watch;
    uint64_t begun_ns = bench_now_ns(), look_ns = begun_ns;
    host->n = 0;
    while (bench_now_ns() - begun_ns < IDLE_NS) {
        if (fetch_one(host) != 0) {
            return 1;
        }
        if (bench_now_ns() - look_ns > LOOK_NS && disk_fixture_watch(&host->disk, &watch) != 0) {
            return 1;
        }
        look_ns = bench_now_ns() - look_ns > LOOK_NS ? bench_now_ns() : look_ns;
    }
    *value = p99(host);
    return 0;
}

static void next_block(struct host *host, quire_source *source, const void **bases) {
    quire_key key = fixture_key(host->number++);
    fixture_source(source, &host->layout, host->memory, bases, &key);
    source->flags = QUIRE_STORE_PARENT_UNKNOWN;
}

static int in_step(struct host *host) {
    quire_source source;
    const void *bases[2 * 32];
    next_block(host, &source, bases);
    return disk_fixture_in_step(&host->disk, &source, (double)BULK_BYTES);
}

static int fill(struct host *host) {
    quire_source sources[BATCH];
    const void *bases[BATCH][2 * 32];
    for (uint64_t left = ROUND_BYTES / BULK_BYTES; left > 0; left -= BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            next_block(host, &sources[i], bases[i]);
        }
        if (quire_store(host->disk.fixture.ns, sources, BATCH, NULL, 20000, NULL) != QUIRE_OK) {
            return bench_fail(host->disk.c, "store: %s", quire_last_error());
        }
    }
    return 0;
}

/* Samples count from the first batch that was written to the last. */
static int loaded(struct host *host, double *value) {
    struct disk_watch before, now;
    if (in_step(host) != 0 || disk_fixture_evict(&host->disk) != 0 || disk_fixture_watch(&host->disk, &before) != 0 || fill(host) != 0) {
        return 1;
    }
    now = before;
    uint64_t look_ns = bench_now_ns(), until_ns = look_ns + 20 * QUIRE_NS_PER_S;
    host->n = 0;
    while (now.admitted - before.admitted < (double)ROUND_BYTES) {
        if (fetch_one(host) != 0 || bench_now_ns() > until_ns) {
            return bench_fail(host->disk.c, "demotion did not end");
        }
        if (bench_now_ns() - look_ns > LOOK_NS) {
            bool idle_yet = now.admitted == before.admitted;
            if (disk_fixture_watch(&host->disk, &now) != 0) {
                return 1;
            }
            host->n = idle_yet ? 0 : host->n;
            look_ns = bench_now_ns();
        }
    }
    *value = p99(host);
    return 0;
}

static int rounds(struct host *host) {
    double ours[DISK_ROUNDS], ceiling[DISK_ROUNDS], ratio[DISK_ROUNDS], quiet = 0, busy = 0;
    for (uint32_t round = 0; round < DISK_ROUNDS + WARM_UP; round++) {
        if (idle(host, &quiet) != 0) {
            return 1;
        }
        uint32_t n_quiet = host->n;
        if (loaded(host, &busy) != 0) {
            return 1;
        }
        bench_trace(host->disk.options, "p99 %.1f us of %u fetches while idle, %.1f us of %u under demotion", quiet, n_quiet, busy,
                    host->n);
        if (round >= WARM_UP) {
            ours[round - WARM_UP] = busy;
            ceiling[round - WARM_UP] = quiet;
            ratio[round - WARM_UP] = busy / quiet;
        }
    }
    bench_report(host->disk.options, "disk", host->disk.c, bench_median(ours, DISK_ROUNDS), "us", bench_median(ceiling, DISK_ROUNDS),
                 bench_median(ratio, DISK_ROUNDS));
    return 0;
}

int disk_host_p99(const struct bench_options *options, const struct bench_case *self) {
    struct host *host = calloc(1, sizeof *host);
    if (host == NULL || (host->memory = calloc(1, BULK_BYTES)) == NULL) {
        return bench_fail(self, "no memory");
    }
    host->number = 1u << 20;
    fixture_layout(&host->layout, 32, 8);
    int failed = disk_fixture_create(options, self, 0, &host->disk);
    failed = failed != 0 ? failed : disk_fixture_start(&host->disk, LOG_BYTES, POOL_BYTES, yaml, &host->layout);
    failed = failed != 0 ? failed : make_hot(host);
    failed = failed != 0 ? failed : rounds(host);
    if (host->hot != NULL) {
        quire_ns_close(&host->hot);
    }
    disk_fixture_stop(&host->disk);
    free(host->memory);
    free(host);
    return failed;
}
