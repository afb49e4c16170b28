/* What the disk cases stand on: a folder of their own below --dir, a quired whose log lies there, and a bare file beside it for the ceiling. */
#ifndef BENCH_DISK_FIXTURE_H
#define BENCH_DISK_FIXTURE_H

#include "tests/bench/fixture.h"
#include "tests/bench/raw.h"

#define DISK_ROUNDS 5u

struct disk_fixture {
    const struct bench_options *options;
    const struct bench_case *c;
    char folder[512];
    struct fixture fixture;
    struct raw_file raw;
};

/* The folder, and a bare file of raw_bytes in it. 0, or 1 after saying why; disk_fixture_stop in any case. */
int disk_fixture_create(const struct bench_options *options, const struct bench_case *c, uint64_t raw_bytes, struct disk_fixture *disk);
/* quired with a log of log_bytes there, a pool of pool_bytes, and these further lines of configuration; and a namespace of this layout. */
int disk_fixture_start(struct disk_fixture *disk, uint64_t log_bytes, uint64_t pool_bytes, const char *yaml, const quire_layout *layout);
void disk_fixture_stop(struct disk_fixture *disk);
/* The daemon stops in good order and starts again as it did; 0 once it has found that many records. */
int disk_fixture_again(struct disk_fixture *disk, uint64_t log_bytes, uint64_t pool_bytes, const char *yaml, const quire_layout *layout,
                       double records);

/* Figures of the daemon's, 0 where there is none of that name. */
int disk_fixture_counters(struct disk_fixture *disk, const char *const *names, double *values, uint32_t n);
/* Drops from memory all that may be dropped. */
int disk_fixture_evict(struct disk_fixture *disk);
/* What is stored is written together at a moment that is not told: `watch` before storing, `demoted` waits until `bytes` more were written. Seconds from the first
   write to the end of the last, as near as looking every millisecond tells. */
struct disk_watch {
    double writes, admitted;
};
int disk_fixture_watch(struct disk_fixture *disk, struct disk_watch *watch);
int disk_fixture_demoted(struct disk_fixture *disk, const struct disk_watch *watch, double bytes, double *seconds);

/*
 * Returns just after the daemon looked for what is due, as it does once a write_delay_ms: what is stored until it looks again leaves together. Else a
 * part of a round would leave that much later, and the pause would count. `source`: a block that is not there yet, of `bytes`.
 */
int disk_fixture_in_step(struct disk_fixture *disk, quire_source *source, double bytes);

#endif
