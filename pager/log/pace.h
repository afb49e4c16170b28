/*
 * How long will a read take? From what is queued, and from what reads took before: a latency and a bandwidth, each smoothed, per device.
 * Deterministic; times are given. The error of each estimate is kept, because an engine decides by it whether to load or to compute.
 */
#ifndef PAGER_LOG_PACE_H
#define PAGER_LOG_PACE_H

#include "proto/base/base.h"

/* What an estimate was told for: the bytes before and with the read. The other reads under way change the books before it ends. */
#define PAGER_PACE_TOLD 256u
struct pager_pace_told {
    uint64_t estimate_ns, bytes;
};

struct pager_pace {
    double latency_ns;     /* of a small read on an idle device */
    double ns_per_byte;    /* when many are under way */
    uint64_t queued_bytes; /* asked for and not there yet */
    uint32_t queued;       /* reads */
    uint64_t measured;     /* reads */
    double relative_error; /* |estimated − taken| ÷ taken, smoothed */
    struct pager_pace_told
        told[PAGER_PACE_TOLD]; /* by estimate; a later one may take an earlier one's place, and that read then teaches nothing */
};

/* Begins with what a plain NVMe drive does: 100 µs, 1 GB/s. */
void pager_pace_init(struct pager_pace *pace);
/* Expected time until a read of `bytes` that is asked for now is there. */
uint64_t pager_pace_estimate_ns(const struct pager_pace *pace, uint64_t bytes);
/* A read begins; the estimate is what the caller is to give back at its end. */
uint64_t pager_pace_begin(struct pager_pace *pace, uint64_t bytes);
/* A read ended after taken_ns; !ok: it taught nothing. */
void pager_pace_end(struct pager_pace *pace, uint64_t bytes, uint64_t estimate_ns, uint64_t taken_ns, bool ok);

#endif
