/* What gives way: the leaf that was used longest ago, orphans before all; ahead of demand while free room is below its mark. */
#include "pager/disk/internal.h"

/* Re-filings, unlistings and evictions that one search may take. */
#define SEARCH_BUDGET 4096u
/* What one request of an operator may take: evictions, and blocks looked at. */
#define REQUEST_EVICTIONS 4096u
#define REQUEST_LOOKS 65536u

/* What went with its device is no copy any more: it may go when another device has it. */
static bool may_go(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    return pager_block_evictable(pager, b) && (!pager_rescue(pager, block) || pager_block_evictable(pager, b));
}

/* Would it be of use on disk alone? What it continues may still be found while the log is read. */
static bool may_be_used(const struct pager *pager, const struct pager_block *b) {
    return !pager_block_is_orphan(pager, b) || (pager->disk && pager->disk->restoring);
}

/* From memory; from everywhere, when the disk does not have it. */
static uint64_t evict(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    struct pager_ns *ns = pager->namespaces[b->ns];
    uint64_t bytes = pager_block_bytes(pager, b);
    if (pager_block_clean(pager, b) && may_be_used(pager, b)) {
        pager_demoted(pager, bytes);
        pager_block_demote(pager, block);
        return bytes;
    }
    ns->evictions++;
    pager->counters.evicted_blocks++;
    pager_block_drop(pager, block, ns->deleted ? PAGER_GHOST_NONE : PAGER_GHOST_EVICTED, &bytes);
    pager->counters.evicted_bytes += bytes;
    return bytes;
}

/* *freed grows by what left memory. */
static bool evict_oldest(struct pager *pager, struct pager_domain *domain, uint32_t *budget, uint64_t *freed) {
    uint32_t now = pager_tick_now(pager);
    while (*budget > 0) {
        uint32_t block = pager_age_oldest(&domain->ages, pager->index, now, budget);
        if (block == PAGER_NO_BLOCK) {
            break;
        }
        const struct pager_block *b = pager_block_at(pager, block);
        bool parent_came = b->age == PAGER_AGE_ORPHANS && !pager_block_goes_first(pager, b);
        if (parent_came || !may_go(pager, block)) {
            pager_age_remove(&domain->ages, pager->index, block);
            pager_block_file(pager, block); /* where it belongs; in no list while it may not go */
        } else {
            uint64_t bytes = evict(pager, block);
            *freed += bytes;
            return true;
        }
        *budget -= *budget > 0;
    }
    return false;
}

bool pager_evict_one(struct pager *pager, struct pager_domain *domain) {
    uint32_t budget = SEARCH_BUDGET;
    uint64_t freed = 0;
    if (evict_oldest(pager, domain, &budget, &freed)) {
        return true;
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

bool pager_is_short(const struct pager *pager, const struct pager_domain *domain) { return below(domain, pager->options.reclaim_low_pct); }

void pager_reclaim_check(struct pager *pager, struct pager_domain *domain) {
    domain->reclaiming = domain->reclaiming || pager_is_short(pager, domain);
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

/* ---- on request ----------------------------------------------------------------------------------------------------------- */
struct request {
    uint64_t bytes, freed;
    uint32_t evictions, looks; /* that are left to it */
    bool none_left;
};

static bool is_spent(const struct request *r) { return r->evictions == 0 || r->looks == 0; }

static void evict_any(struct pager *pager, struct pager_domain *domain, struct request *r) {
    while (r->freed < r->bytes && !is_spent(r)) {
        if (!evict_oldest(pager, domain, &r->looks, &r->freed)) {
            r->none_left = r->looks > 0;
            return;
        }
        r->evictions--;
        r->looks -= r->looks > 0;
    }
}

/*
 * A leaf, and those above it that become leaves by that and are no younger: without them each level of a chain would cost a pass of its own. Not
 * `next`, which is visited anyway.
 */
static void evict_upwards(struct pager *pager, uint32_t block, uint32_t next, struct request *r) {
    while (r->freed < r->bytes && !is_spent(r)) {
        const struct pager_block *b = pager_block_at(pager, block);
        uint32_t parent = b->parent, used = b->used;
        r->freed += evict(pager, block);
        r->evictions--;
        const struct pager_block *p = parent == PAGER_NO_BLOCK || parent == next ? NULL : pager_block_at(pager, parent);
        if (!p || !(p->flags & PAGER_BLOCK_LISTED) || p->used > used || !may_go(pager, parent)) {
            return; /* a placeholder has left the index by now: then it is in no list */
        }
        block = parent;
    }
}

/* Goes on in a list; false: something is enough, and the place is noted. */
static bool evict_list(struct pager *pager, struct pager_domain *domain, uint16_t ns, uint32_t block, struct request *r) {
    while (block < PAGER_AGE_HEADS) {
        domain->place.block = block;
        if (r->freed >= r->bytes || is_spent(r)) {
            return false;
        }
        const struct pager_block *b = pager_block_at(pager, block);
        uint32_t next = b->next;
        r->looks--;
        if (b->ns == ns && may_go(pager, block)) {
            evict_upwards(pager, block, next, r);
            domain->place.some = true;
        }
        block = next;
    }
    return true;
}

/* Where the last request for this namespace stopped; the beginning of that list when the block has left it since. */
static uint32_t resume(struct pager *pager, struct pager_domain *domain, uint64_t *cursor) {
    const struct pager_evict_place *place = &domain->place;
    uint64_t oldest = domain->ages.oldest;
    uint32_t first, list = place->list == 0 ? PAGER_AGE_ORPHANS : (uint32_t)((place->list - 1) % PAGER_AGES);
    *cursor = place->list == 0 ? 0 : quire_max_u64(place->list - 1, oldest) - oldest + 1;
    if (!pager_age_next_list(&domain->ages, cursor, &first)) {
        return PAGER_NO_BLOCK;
    }
    const struct pager_block *b = place->block < PAGER_AGE_HEADS ? pager_block_at(pager, place->block) : NULL;
    return b && (b->flags & PAGER_BLOCK_LISTED) && b->age == list ? place->block : first;
}

/* One pass over a domain's lists, or what is left of it; false: it did not come to its end. */
static bool evict_pass(struct pager *pager, struct pager_domain *domain, uint16_t ns, struct request *r) {
    struct pager_evict_place *place = &domain->place;
    uint32_t serial = pager->namespaces[ns]->serial;
    if (place->serial != serial) {
        *place = (struct pager_evict_place){.serial = serial, .block = PAGER_NO_BLOCK};
    }
    uint64_t cursor;
    uint32_t block = resume(pager, domain, &cursor);
    do {
        place->list = cursor == 1 ? 0 : domain->ages.oldest + cursor - 1; /* counted from 1 */
        if (!evict_list(pager, domain, ns, block, r)) {
            return false;
        }
    } while (pager_age_next_list(&domain->ages, &cursor, &block));
    return true;
}

static void evict_of(struct pager *pager, struct pager_domain *domain, uint16_t ns, struct request *r) {
    bool some = true;
    while (some && evict_pass(pager, domain, ns, r)) {
        some = domain->place.some; /* else nothing is left that may go */
        domain->place.serial = 0;
    }
    if (r->freed >= r->bytes) {
        domain->place.serial = 0; /* the next request begins with the oldest */
    }
    r->none_left = !some;
}

enum quire_status pager_evict(struct pager *pager, uint64_t now_ns, uint32_t domain, uint16_t ns, uint64_t bytes, uint64_t *freed) {
    struct request r = {.bytes = bytes, .evictions = REQUEST_EVICTIONS, .looks = REQUEST_LOOKS};
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
        evict_of(pager, d, ns, &r);
    } else {
        evict_any(pager, d, &r);
    }
    *freed = r.freed;
    pager_room_serve_all(pager);
    return r.freed >= bytes || r.none_left ? QUIRE_OK : QUIRE_RETRY;
}
