/*
 * A tier: where records live. One file each, ending in one const ops table (pager_tier_host is the first).
 *
 * A tier keeps the books of its space and never touches bytes; the pager decides, the daemon moves. Space is handed out as extents with an
 * owner (the record's slot), so that a tier may ask to move or drop them. Deterministic; not thread-safe.
 */
#ifndef PAGER_TIER_H
#define PAGER_TIER_H

#include "proto/base/base.h"

struct pager_tier;
struct pager_tier_stats {
    uint64_t capacity_bytes, used_bytes, free_bytes, largest_free_bytes, books_bytes;
};

typedef bool pager_tier_may_move(void *ctx, uint32_t owner);

struct pager_tier_ops {
    const char *name;
    enum quire_status (*create)(uint64_t capacity_bytes, struct pager_tier **tier);
    void (*destroy)(struct pager_tier **tier);
    enum quire_status (*reserve)(struct pager_tier *tier, uint64_t bytes, uint32_t owner, uint32_t *extent);
    void (*release)(struct pager_tier *tier, uint32_t extent);
    uint64_t (*offset)(const struct pager_tier *tier, uint32_t extent);
    /* Extents whose moving makes one hole of `bytes`; see pager_pool_plan. NULL for tiers that never need it. */
    enum quire_status (*plan)(struct pager_tier *tier, uint64_t bytes, pager_tier_may_move *may_move, void *ctx, uint32_t *owners,
                              uint32_t max, uint32_t *n);
    void (*plan_end)(struct pager_tier *tier);
    void (*stats)(const struct pager_tier *tier, struct pager_tier_stats *stats);
    void (*check)(const struct pager_tier *tier);
};

extern const struct pager_tier_ops pager_tier_host;

#endif
