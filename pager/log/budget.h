/*
 * What may be written: a token bucket of bytes a second, and a bound on the drive's wear over days, because drives wear out. Whoever wants
 * to write asks first; what is refused is not stored on disk, or waits. Deterministic; times are given.
 */
#ifndef PAGER_LOG_BUDGET_H
#define PAGER_LOG_BUDGET_H

#include "proto/base/base.h"

struct pager_budget {
    uint64_t bytes_per_s;   /* 0: as much as there is */
    uint64_t bytes_per_day; /* 0: likewise */
    double tokens, day_tokens;
    uint64_t refilled_ns;
};

/* The bucket holds two seconds' worth; the day's, an hour's. */
void pager_budget_init(struct pager_budget *budget, uint64_t bytes_per_s, uint64_t bytes_per_day, uint64_t now_ns);
/* Takes `bytes` when the buckets are not empty (they may go below zero by one write: large records pass, too, and are waited for afterwards). */
bool pager_budget_take(struct pager_budget *budget, uint64_t bytes, uint64_t now_ns);
/* When the next write may be; now_ns: at once. */
uint64_t pager_budget_next_ns(const struct pager_budget *budget, uint64_t now_ns);

#endif
