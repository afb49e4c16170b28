/*
 * Who waits for room, in order. The first in the queue gets what becomes free, however large it is; those behind wait for it, and each put no
 * longer than its deadline.
 */
#include "pager/disk/internal.h"

#define RETRY_FIRST_MS 20u
#define RETRY_MOST_MS 2000u

uint32_t pager_room_retry_ms(const struct pager *pager) {
    return (uint32_t)quire_min_u64(RETRY_FIRST_MS + pager->n_waiting / 4u, RETRY_MOST_MS);
}

void pager_room_ask(struct pager *pager, struct pager_assembly *assembly) {
    struct pager_domain *domain = &pager->domains[pager->namespaces[assembly->ns]->domain];
    assembly->waiting = true;
    assembly->next_waiting = NULL;
    assembly->prev_waiting = domain->last_waiting;
    *(domain->last_waiting ? &domain->last_waiting->next_waiting : &domain->first_waiting) = assembly;
    domain->last_waiting = assembly;
    pager_room_serve(pager, domain);
}

void pager_room_leave(struct pager *pager, struct pager_assembly *assembly) {
    struct pager_domain *domain = &pager->domains[pager->namespaces[assembly->ns]->domain];
    *(assembly->prev_waiting ? &assembly->prev_waiting->next_waiting : &domain->first_waiting) = assembly->next_waiting;
    *(assembly->next_waiting ? &assembly->next_waiting->prev_waiting : &domain->last_waiting) = assembly->prev_waiting;
    assembly->waiting = false;
}

/* An extent and a slot, or nothing of both. FULL: room must be made. */
static enum quire_status take(struct pager_domain *domain, uint64_t bytes, uint32_t *slot, uint32_t *extent) {
    return pager_record_slot(domain, slot) ? domain->tier_ops->reserve(domain->tier, bytes, *slot, extent) : QUIRE_FULL;
}

/* Free bytes suffice, but no hole does: then something is moved rather than evicted. */
static bool would_moving_help(const struct pager_domain *domain, uint64_t bytes) {
    struct pager_tier_stats stats;
    domain->tier_ops->stats(domain->tier, &stats);
    return stats.free_bytes >= bytes && domain->slots_used < domain->n_slots;
}

/* True: something may have changed. False: nothing more can be done now. */
static bool give_way(struct pager *pager, struct pager_domain *domain, uint64_t bytes, uint32_t *budget) {
    bool movable = would_moving_help(domain, bytes);
    if (movable && domain->patience == 0 && domain->plan_after_ns <= pager->now_ns) {
        if (pager_compact_begin(pager, domain, bytes)) {
            return false; /* the moves under way will tell */
        }
        domain->patience = PAGER_PLAN_PATIENCE;
    }
    if (*budget == 0) {
        domain->more = true;
        return false;
    }
    --*budget;
    if (pager_evict_one(pager, domain)) {
        domain->patience -= domain->patience > 0;
        domain->plan_after_ns = 0;
        return true;
    }
    if (!domain->more && domain->plan_after_ns <= pager->now_ns) { /* nothing may be evicted: only moving is left, after a pause */
        domain->patience = 0;
        domain->plan_after_ns = movable ? pager->now_ns + PAGER_PLAN_PAUSE_NS : 0;
    }
    return false;
}

static bool make(struct pager *pager, struct pager_domain *domain, uint64_t bytes, uint32_t *budget, uint32_t *slot, uint32_t *extent) {
    for (enum quire_status status; (status = take(domain, bytes, slot, extent)) != QUIRE_OK;) {
        if (status != QUIRE_FULL || domain->planning || !give_way(pager, domain, bytes, budget)) {
            return false;
        }
    }
    domain->patience = 0;
    domain->plan_after_ns = 0;
    return true;
}

uint64_t pager_room_bytes(const struct pager *pager, uint64_t record_bytes) {
    return pager->disk ? quire_align_up(record_bytes, pager->disk->geometry.unit_bytes) : record_bytes;
}

enum quire_status pager_room_extent(struct pager *pager, struct pager_domain *domain, uint32_t bytes, uint32_t slot, uint32_t *extent) {
    uint32_t budget = PAGER_EVICT_BUDGET;
    while (domain->tier_ops->reserve(domain->tier, bytes, slot, extent) != QUIRE_OK) {
        if (domain->planning || !give_way(pager, domain, bytes, &budget)) {
            return QUIRE_FULL;
        }
    }
    pager_reclaim_check(pager, domain);
    return QUIRE_OK;
}

void pager_room_serve(struct pager *pager, struct pager_domain *domain) {
    uint32_t budget = PAGER_EVICT_BUDGET, slot, extent;
    domain->more = false;
    while (domain->first_waiting) {
        struct pager_assembly *assembly = domain->first_waiting;
        if (!make(pager, domain, pager_room_bytes(pager, assembly->shape.size_bytes), &budget, &slot, &extent)) {
            return;
        }
        pager_room_leave(pager, assembly);
        pager_assembly_start(pager, assembly, slot, extent);
        pager_reclaim_check(pager, domain);
    }
}

void pager_room_serve_all(struct pager *pager) {
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        if (pager->domains[i].first_waiting) {
            pager_room_serve(pager, &pager->domains[i]);
        }
    }
}
