/*
 * How long will a read take until its record is in memory, verified? Not what a client does behind that: the way there and back, the copy.
 *
 * A read by itself takes a latency and its bytes' time. When many are under way the device serves some at once, so each byte behind the first
 * read takes less: what it takes is learned apart, from completions that follow one another for longer than one read takes, and only where
 * reads were seen to wait for one another, or came faster than was thought. So small fetches teach what one read takes, large ones what many do,
 * and neither spoils the other. What lies between, as many as the device serves at once, takes as long as one read where it does that, and longer by each
 * one's bytes where all pass through one channel: which it is, or how much of either, is learned from what comes first after the device was idle.
 *
 * A device that does not answer teaches nothing until it does. Meanwhile what is told is that it takes as long again as it is late, and behind that what is queued.
 *
 * Of a read in pieces, bytes are what it costs (pager_lanes_cost). Per device; deterministic: times are given.
 */
#ifndef PAGER_LOG_PACE_H
#define PAGER_LOG_PACE_H

#include "proto/base/base.h"

struct pager_pace {
    double latency_ns, ns_per_byte; /* of a read by itself */
    double shared_ns_per_byte;      /* of what lies behind the first, when many are under way */
    double overlap;                 /* how much of what one read takes by itself costs those behind it nothing: 0 to 1 */
    int32_t streak;               /* reads by themselves, one after the other, that took far longer (> 0), or far less, than was thought */
    uint64_t queued_bytes;        /* asked for and not there yet */
    uint32_t queued;              /* reads */
    bool completed;               /* one of them was, since the device was idle */
    uint64_t busy_ns;             /* since when it is not */
    uint64_t anchor_ns;           /* the last completion, or before the first what is expected: from then on it serves what is queued */
    uint64_t burst_bytes;         /* that came since it was idle */
    uint64_t span_ns, span_bytes; /* completions that are measured: since when, and how much; 0: none are */
};

/* Begins with what a plain NVMe drive does: 100 µs, 1 GB/s. */
void pager_pace_init(struct pager_pace *pace);
/* Expected time until a read of `bytes` is there, if it is asked for now, behind ahead_bytes that are not asked for yet. */
uint64_t pager_pace_estimate_ns(const struct pager_pace *pace, uint64_t now_ns, uint64_t ahead_bytes, uint64_t bytes);
void pager_pace_begin(struct pager_pace *pace, uint64_t now_ns, uint64_t bytes);
/* A read that began at begun_ns ended; !ok: it taught nothing. */
void pager_pace_end(struct pager_pace *pace, uint64_t now_ns, uint64_t bytes, uint64_t begun_ns, bool ok);

#endif
