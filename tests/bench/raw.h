/*
 * The ceiling of the disk cases: a bare io_uring loop with O_DIRECT on a file of its own, on the same file system, written through once before
 * anything is measured, so that no block is new to the file system. Its memory is of the pool's kind: how large its pages are decides about the speed of a disk
 * that does several gigabytes a second.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "daemon/pool.h"
#include "tests/bench/bench.h"

#define RAW_MAX_DEPTH 64u

struct raw_file {
    int fd;
    uint64_t bytes;
    struct pool *pool;
    uint8_t *memory; /* the pool's: operations use it in turn, all of it */
    uint64_t memory_bytes;
};

/* Makes the file `path`, removes its name at once, and writes it through. 0, or 1 after saying why. */
int raw_create(const struct bench_case *c, const char *path, uint64_t bytes, uint64_t memory_bytes, struct raw_file *file);
/* Opens one that is there, to be read. */
int raw_open(const struct bench_case *c, const char *path, uint64_t memory_bytes, struct raw_file *file);
void raw_destroy(struct raw_file *file);

struct raw_run {
    bool write;
    uint32_t depth;      /* at once */
    uint32_t size_bytes; /* of each */
    const uint64_t *offsets;
    uint32_t n;
    double *seconds; /* of each, or NULL */
    bool sync;       /* fdatasync at the end counts, too */
};
/* All of it: seconds; negative on failure. */
double raw_run(const struct raw_file *file, const struct raw_run *run);

#endif
