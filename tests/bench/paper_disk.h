/*
 * A pager with a pool and a disk that exist only in its books: whoever carries out its wishes says yes and moves no byte. What is measured on it is what
 * the pager decides, at full size and in seconds.
 */
#ifndef BENCH_PAPER_DISK_H
#define BENCH_PAPER_DISK_H

#include "pager/disk.h"
#include "tests/bench/bench.h"

struct paper_segment {
    struct quire_log_entry *entries;
    uint32_t n, capacity;
};

struct paper {
    struct pager *pager;
    _Atomic uint32_t *generations;
    struct pager_log_shape shape;
    struct paper_segment *segments;
    uint64_t now_ns;
    uint64_t session;
    uint32_t domain;
    uint16_t ns;
    enum quire_status put_status; /* the last outcome */
    uint64_t load_ticket;         /* of the last load that ended; 0: taken */
};

struct paper_options {
    uint64_t pool_bytes;
    uint32_t n_slots; /* of the pool */
    uint32_t n_segments, segment_bytes, unit_bytes;
    uint64_t max_blocks;
    struct pager_disk_options disk;
};

/* With one namespace of this layout and one session; every segment is clean. Nothing is restored yet when `restoring`. 0, or 1 after saying why. */
int paper_create(const struct bench_case *c, const struct paper_options *options, const quire_layout *layout, bool restoring,
                 struct paper *paper);
void paper_destroy(struct paper *paper);
/* Carries out all that the pager wishes now. */
void paper_pump(struct paper *paper);
/* Time passes: deadlines on the way are kept. */
void paper_advance(struct paper *paper, uint64_t to_ns);

#endif
