/* What gives way: the leaf that was used longest ago, orphans before all; ahead of demand while free room is below its mark. */
#include "pager/internal.h"

/* Re-filings, unlistings and evictions that one search may take. */
#define SEARCH_BUDGET 4096u

static uint64_t evict(struct pager *pager, uint32_t block) {
    struct pager_ns *ns = pager->namespaces[pager_block_at(pager, block)->ns];
    uint64_t bytes = 0;
    ns->evictions++;
    pager->counters.evicted_blocks++;
    pager_block_drop(pager, block, ns->deleted ? PAGER_GHOST_NONE : PAGER_GHOST_EVICTED, &bytes);
    pager->counters.evicted_bytes += bytes;
    return bytes;
}

bool pager_evict_one(struct pager *pager, struct pager_domain *domain) {
    uint32_t now = pager_tick_now(pager), budget = SEARCH_BUDGET;
    while (budget > 0) {
        uint32_t block = pager_age_oldest(&domain->ages, pager->index, now, &budget);
        if (block == PAGER_NO_BLOCK) {
            break;
        }
        const struct pager_block *b = pager_block_at(pager, block);
        bool parent_came = b->age == PAGER_AGE_ORPHANS && !pager_block_is_orphan(pager, b);
        if (parent_came || !pager_block_evictable(pager, b)) {
            pager_age_remove(&domain->ages, pager->index, block);
            pager_block_file(pager, block); /* where it belongs; in no list while it may not go */
        } else {
            evict(pager, block);
            return true;
        }
        budget -= budget > 0;
    }
    domain->more = budget == 0;
    return false;
}

static uint64_t free_bytes(const struct pager_domain *domain) {
    struct pager_tier_stats stats;
    domain->tier_ops->stats(domain->tier, &stats);
    return stats.free_bytes;
}

static uint64_t mark_bytes(const struct pager_domain *domain, uint32_t percent) { return domain->capacity_bytes / 100 * percent; }

/* Bytes or slots: whichever runs out first. */
static bool below(const struct pager_domain *domain, uint32_t percent) {
    return free_bytes(domain) < mark_bytes(domain, percent) || domain->n_slots - domain->slots_used < domain->n_slots / 100 * percent;
}

void pager_reclaim_check(struct pager *pager, struct pager_domain *domain) {
    domain->reclaiming = domain->reclaiming || below(domain, pager->options.reclaim_low_pct);
}

void pager_reclaim(struct pager *pager, struct pager_domain *domain) {
    for (uint32_t i = 0; i < PAGER_EVICT_BUDGET; i++) {
        if (!below(domain, pager->options.reclaim_high_pct)) {
            domain->reclaiming = false;
            return;
        }
        if (!pager_evict_one(pager, domain)) {
            domain->reclaiming = domain->more; /* nothing can go: the next put looks again */
            return;
        }
    }
}

/* One pass over a domain's lists, for one namespace. */
static uint64_t evict_pass(struct pager *pager, struct pager_domain *domain, uint16_t ns, uint64_t bytes) {
    uint64_t freed = 0, cursor = 0;
    uint32_t block;
    while (freed < bytes && pager_age_next_list(&domain->ages, &cursor, &block)) {
        while (freed < bytes && block < PAGER_AGE_HEADS) {
            const struct pager_block *b = pager_block_at(pager, block);
            uint32_t next = b->next;
            if (b->ns == ns && pager_block_evictable(pager, b)) {
                freed += evict(pager, block);
            }
            block = next;
        }
    }
    return freed;
}

enum quire_status pager_evict(struct pager *pager, uint64_t now_ns, uint32_t domain, uint16_t ns, uint64_t bytes, uint64_t *freed) {
    pager_clock(pager, now_ns);
    *freed = 0;
    if (domain >= pager->n_domains) {
        return QUIRE_NOT_FOUND;
    }
    struct pager_domain *d = &pager->domains[domain];
    if (ns != UINT16_MAX) {
        const struct pager_ns *n = pager_ns_at(pager, ns);
        if (!n || n->deleted || n->domain != domain) {
            return QUIRE_NOT_FOUND;
        }
        for (uint64_t step = 1; step > 0 && *freed < bytes; *freed += step) {
            step = evict_pass(pager, d, ns, bytes - *freed);
        }
    } else {
        uint64_t before = pager->counters.evicted_bytes;
        while (pager->counters.evicted_bytes - before < bytes && (pager_evict_one(pager, d) || d->more)) {
        }
        *freed = pager->counters.evicted_bytes - before;
    }
    pager_room_serve_all(pager);
    return QUIRE_OK;
}
