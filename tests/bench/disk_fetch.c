/*
 * From disk into the caller's memory: blocks are demoted, and random ones looked up and fetched by jobs that overlap, as many records at once as the bare
 * loop has reads. None is in memory before the round. Where all of a block is read, every one of a round is another; parts are read of each block several
 * times, so that after the first round the daemon knows where in their blocks they lie (daemon/disk/heads.h). The cold case is without that: each round has
 * a new daemon, and each block one part of it.
 */
#include "proto/base/base.h"
#include "tests/bench/disk.h"
#include "tests/bench/disk_fixture.h"

#include <poll.h>
#include <stdlib.h>

enum { BLOCKS = 512, JOBS = 8, PER_JOB = 2, LAYERS = 32, BASES = 2 * LAYERS, WARM_UP = 1 };
#define BLOCK_BYTES (2ull << 20)
#define LOG_BYTES (1536ull << 20)
#define POOL_BYTES (512ull << 20)

static const char yaml[] = "disk:\n  write_delay_ms: 100\n  scrub_bytes_per_s: 0\n  clean_segments: 2\n";

struct shape { /* what one destination is */
    quire_layout layout;
    bool part;           /* one layer and one head of a block, else all of it */
    bool cold;           /* each round by a daemon that has read nothing yet */
    uint32_t read_bytes; /* of one bare read */
    uint32_t reads;      /* that a destination is worth */
    uint32_t n;          /* destinations a round */
};

struct fetcher;
struct job {
    struct fetcher *fetcher;
    bool fetching, busy;
    quire_key keys[PER_JOB];
    quire_dest dests[PER_JOB];
    void *bases[PER_JOB][BASES];
    quire_lookup_args args;
    quire_lookup_result result;
};

struct fetcher {
    struct disk_fixture disk;
    struct shape shape;
    uint8_t *memory; /* JOBS × PER_JOB blocks of the caller's */
    uint32_t order[BLOCKS];
    uint64_t seed;
    uint64_t *offsets;
    uint32_t next, done;
    struct job jobs[JOBS];
};

/* ---- what is on disk -------------------------------------------------------------------------------------------------------- */
static void shuffle(struct fetcher *f) {
    for (uint32_t i = BLOCKS - 1; i > 0; i--) {
        uint32_t k = (uint32_t)(bench_random(&f->seed) % (i + 1)), other = f->order[k];
        f->order[k] = f->order[i];
        f->order[i] = other;
    }
}

static int store_all(struct fetcher *f) {
    struct disk_watch watch;
    double seconds;
    const void *bases[PER_JOB][BASES];
    quire_source sources[PER_JOB];
    if (disk_fixture_watch(&f->disk, &watch) != 0) {
        return 1;
    }
    for (uint32_t b = 0; b < BLOCKS; b += PER_JOB) {
        for (uint32_t i = 0; i < PER_JOB; i++) {
            quire_key key = fixture_key(b + i);
            fixture_source(&sources[i], &f->shape.layout, f->memory + i * BLOCK_BYTES, bases[i], &key);
            sources[i].flags = QUIRE_STORE_PARENT_UNKNOWN;
        }
        if (quire_store(f->disk.fixture.ns, sources, PER_JOB, NULL, 20000, NULL) != QUIRE_OK) {
            return bench_fail(f->disk.c, "store: %s", quire_last_error());
        }
    }
    watch.writes = 1e18; /* when it began is not wanted */
    return disk_fixture_demoted(&f->disk, &watch, (double)(BLOCKS * BLOCK_BYTES), &seconds);
}

/* ---- jobs ------------------------------------------------------------------------------------------------------------------- */
static void aim(struct fetcher *f, struct job *job, uint32_t i) {
    uint8_t *memory = f->memory + ((uint64_t)(job - f->jobs) * PER_JOB + i) * BLOCK_BYTES;
    fixture_dest(&job->dests[i], &f->shape.layout, memory, job->bases[i], i);
    if (f->shape.part) {
        uint16_t layer = (uint16_t)(bench_random(&f->seed) % f->shape.layout.n_layers);
        uint16_t head = (uint16_t)(bench_random(&f->seed) % f->shape.layout.group[0].n_kv_heads);
        job->dests[i].rect = (quire_rect){.first_layer = layer, .n_layers = 1, .first_head = head, .n_heads = 1};
    }
}

static int begin(struct fetcher *f, struct job *job) {
    if (f->next == f->shape.n) {
        return 0;
    }
    for (uint32_t i = 0; i < PER_JOB; i++) {
        job->keys[i] = fixture_key(f->order[f->next++ % BLOCKS]);
        aim(f, job, i);
    }
    job->args = (quire_lookup_args){.keys = job->keys, .n_keys = PER_JOB, .flags = QUIRE_LOOKUP_EACH};
    job->busy = true;
    job->fetching = false;
    if (quire_submit_lookup(f->disk.fixture.ns, &job->args, NULL, &job->result, job) == 0) {
        return bench_fail(f->disk.c, "lookup: %s", quire_last_error());
    }
    return 0;
}

static int advance(struct fetcher *f, struct job *job, enum quire_status status) {
    if (status != QUIRE_OK) {
        return bench_fail(f->disk.c, "%s: %s", job->fetching ? "fetch" : "lookup", quire_last_error());
    }
    if (!job->fetching) {
        if (job->result.hits != PER_JOB) {
            return bench_fail(f->disk.c, "lookup: %u of %u hit", job->result.hits, (unsigned)PER_JOB);
        }
        job->fetching = true;
        return quire_submit_fetch(job->result.lease, job->dests, PER_JOB, NULL, 20000, job) != 0
                   ? 0
                   : bench_fail(f->disk.c, "fetch: %s", quire_last_error());
    }
    quire_release(&job->result.lease);
    job->busy = false;
    f->done += PER_JOB;
    return begin(f, job);
}

static int run(struct fetcher *f, double *seconds) {
    quire_client *client = f->disk.fixture.client;
    uint64_t begun_ns = bench_now_ns();
    int failed = 0;
    f->next = f->done = 0;
    for (uint32_t i = 0; failed == 0 && i < JOBS; i++) {
        failed = begin(f, &f->jobs[i]);
    }
    while (failed == 0 && f->done < f->shape.n) {
        quire_done done[JOBS];
        int n = quire_drain(client, done, JOBS);
        for (int i = 0; failed == 0 && i < n; i++) {
            failed = advance(f, done[i].user, done[i].status);
        }
        struct pollfd ready = {.fd = quire_event_fd(client), .events = POLLIN};
        if (n == 0 && poll(&ready, 1, 20000) <= 0) {
            failed = bench_fail(f->disk.c, "a fetch did not end within 20 s");
        }
    }
    *seconds = (double)(bench_now_ns() - begun_ns) / 1e9;
    return failed;
}

/* ---- rounds ----------------------------------------------------------------------------------------------------------------- */
static double bare(struct fetcher *f) {
    uint32_t n = f->shape.n * f->shape.reads;
    for (uint32_t i = 0; i < n; i++) {
        f->offsets[i] = bench_random(&f->seed) % (f->disk.raw.bytes / f->shape.read_bytes) * f->shape.read_bytes;
    }
    struct raw_run reads = {.depth = JOBS * PER_JOB * f->shape.reads, .size_bytes = f->shape.read_bytes, .offsets = f->offsets, .n = n};
    return (double)n * f->shape.read_bytes / raw_run(&f->disk.raw, &reads);
}

/* What the daemon read: tells whether anything was in memory. */
static void trace_reads(struct fetcher *f) {
    static const char *const names[] = {"disk_reads", "disk_partial_reads", "disk_read_bytes", "disk_read_shared", "disk_header_misses"};
    double now[5];
    if (f->disk.options->verbose && disk_fixture_counters(&f->disk, names, now, 5) == 0) {
        bench_trace(f->disk.options, "so far %.0f reads, %.0f of them partial, %.0f MiB, %.0f shared; %.0f headers read", now[0], now[1],
                    now[2] / (1 << 20), now[3], now[4]);
    }
}

static int rounds(struct fetcher *f) {
    double ours[DISK_ROUNDS], ceiling[DISK_ROUNDS], ratio[DISK_ROUNDS], seconds;
    for (uint32_t round = 0; round < DISK_ROUNDS + WARM_UP; round++) {
        shuffle(f);
        int failed = f->shape.cold ? disk_fixture_again(&f->disk, LOG_BYTES, POOL_BYTES, yaml, &f->shape.layout, BLOCKS)
                                   : disk_fixture_evict(&f->disk);
        if (failed != 0) {
            return 1;
        }
        double before = bare(f);
        if (run(f, &seconds) != 0) {
            return 1;
        }
        double after = bare(f);
        if (before < 0 || after < 0) {
            return bench_fail(f->disk.c, "the bare reads failed");
        }
        if (round >= WARM_UP) {
            uint32_t at = round - WARM_UP;
            ours[at] = (double)f->shape.n * f->shape.reads * f->shape.read_bytes / seconds / 1e9;
            ceiling[at] = (before + after) / 2e9;
            ratio[at] = ours[at] / ceiling[at];
            bench_trace(f->disk.options, "%.3f of %.3f and %.3f GB/s", ours[at], before / 1e9, after / 1e9);
            trace_reads(f);
        }
    }
    bench_report(f->disk.options, "disk", f->disk.c, bench_median(ours, DISK_ROUNDS), "GB/s", bench_median(ceiling, DISK_ROUNDS),
                 bench_median(ratio, DISK_ROUNDS));
    return 0;
}

static int fetch_case(const struct bench_options *options, const struct bench_case *self, const struct shape *shape) {
    struct fetcher *f = calloc(1, sizeof *f);
    uint64_t bytes = JOBS * PER_JOB * BLOCK_BYTES;
    if (f == NULL || (f->memory = malloc(bytes)) == NULL ||
        (f->offsets = calloc((size_t)shape->n * shape->reads, sizeof *f->offsets)) == NULL) {
        return bench_fail(self, "no memory");
    }
    f->shape = *shape;
    f->seed = 9;
    for (uint64_t i = 0; i < bytes / 8; i++) {
        ((uint64_t *)(void *)f->memory)[i] = bench_random(&f->seed);
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        f->order[i] = i;
    }
    int failed = disk_fixture_create(options, self, BLOCKS * BLOCK_BYTES, &f->disk);
    failed = failed != 0 ? failed : disk_fixture_start(&f->disk, LOG_BYTES, POOL_BYTES, yaml, &f->shape.layout);
    failed = failed != 0 ? failed : store_all(f);
    failed = failed != 0 ? failed : rounds(f);
    disk_fixture_stop(&f->disk);
    free(f->offsets);
    free(f->memory);
    free(f);
    return failed;
}

int disk_fetch_2mib(const struct bench_options *options, const struct bench_case *self) {
    struct shape shape = {.read_bytes = BLOCK_BYTES, .reads = 1, .n = 256};
    fixture_layout(&shape.layout, LAYERS, 8);
    return fetch_case(options, self, &shape);
}

/* 256 tokens a block: a lane has 64 KiB, a layer's head two of them. */
int disk_fetch_64kib(const struct bench_options *options, const struct bench_case *self) {
    struct shape shape = {.part = true, .read_bytes = 64 << 10, .reads = 2, .n = 2048};
    fixture_layout(&shape.layout, 4, 4);
    shape.layout.block_tokens = 256;
    return fetch_case(options, self, &shape);
}

int disk_fetch_64kib_cold(const struct bench_options *options, const struct bench_case *self) {
    struct shape shape = {.part = true, .cold = true, .read_bytes = 64 << 10, .reads = 2, .n = BLOCKS};
    fixture_layout(&shape.layout, 4, 4);
    shape.layout.block_tokens = 256;
    return fetch_case(options, self, &shape);
}
