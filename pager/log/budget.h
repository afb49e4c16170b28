/*
 * What may be written: a token bucket of bytes a second, and a bound on the drive's wear over days, because drives wear out. Whoever wants to write
 * looks first; what may not be written is not stored on disk, or waits. All that is written is spent, also what nobody could refuse: then the next
 * waits for longer. Deterministic; times are given.
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

/* The bucket holds two seconds' worth; the day's, an hour's. Each begins with what one second brings: whoever starts often gains nothing by it. */
void pager_budget_init(struct pager_budget *budget, uint64_t bytes_per_s, uint64_t bytes_per_day, uint64_t now_ns);
/* Other rates; what is in the buckets stays there, as far as they hold it. One that had no bound before begins as above. */
void pager_budget_set(struct pager_budget *budget, uint64_t bytes_per_s, uint64_t bytes_per_day, uint64_t now_ns);
/* So much is written: the buckets may go below zero (by one write for whoever looks first: large records pass, too), and are waited for afterwards. */
void pager_budget_spend(struct pager_budget *budget, uint64_t bytes, uint64_t now_ns);
/* When the next write may be; now_ns: at once. */
uint64_t pager_budget_next_ns(const struct pager_budget *budget, uint64_t now_ns);
/* When the buckets hold more than so many seconds bring (at most 1: any of them can), if nothing is spent until then; now_ns: at once. */
uint64_t pager_budget_holds_ns(const struct pager_budget *budget, double held_s, uint64_t now_ns);

#endif
