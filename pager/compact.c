/* Moves records that nobody reads out of a window, so that the window becomes one hole for whoever waits for room. */
#include "pager/internal.h"

#include <stdlib.h>

static bool may_move(void *ctx, uint32_t owner) {
    const struct pager_domain *domain = ctx;
    assert(owner < domain->slots_touched);
    return domain->records[owner].state == PAGER_RESIDENT && domain->records[owner].refs == 0 && domain->records[owner].busy == 0;
}

static bool move_one(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_move *move = calloc(1, sizeof(*move));
    if (!move || pager_table_add(&pager->moves, move, &move->handle) != QUIRE_OK) {
        free(move);
        return false;
    }
    if (domain->tier_ops->reserve(domain->tier, pager_room_bytes(pager, domain->records[slot].size_bytes), slot, &move->to_extent) !=
        QUIRE_OK) {
        pager_table_remove(&pager->moves, move->handle);
        free(move);
        return false;
    }
    move->domain = (uint32_t)(domain - pager->domains);
    move->slot = slot;
    pager_record_step(pager, domain, slot, PAGER_HAPPENS_MOVE);
    pager_wish_ask(pager, &move->wish, PAGER_MOVE);
    domain->moves++;
    return true;
}

static void plan_end(struct pager_domain *domain) {
    domain->tier_ops->plan_end(domain->tier);
    domain->planning = false;
}

/* True: moves are under way. */
bool pager_compact_begin(struct pager *pager, struct pager_domain *domain, uint64_t bytes) {
    uint32_t owners[PAGER_PLAN_MOVES], n = 0;
    if (!domain->tier_ops->plan ||
        domain->tier_ops->plan(domain->tier, bytes, may_move, domain, owners, PAGER_PLAN_MOVES, &n) != QUIRE_OK) {
        return false;
    }
    domain->planning = true;
    bool failed = false;
    for (uint32_t i = 0; i < n && !failed; i++) {
        failed = !move_one(pager, domain, owners[i]);
    }
    if (failed) {
        domain->patience = PAGER_PLAN_PATIENCE; /* the window will not be clear: evict before the next plan */
    }
    if (domain->moves == 0) {
        plan_end(domain);
        return false;
    }
    return true;
}

/* Nobody looks: the bytes are where they were copied to. Readers of the old place see another generation. */
static void settle_there(struct pager *pager, struct pager_domain *domain, const struct pager_move *move) {
    struct pager_record *record = &domain->records[move->slot];
    pager_record_renew(domain, record);
    domain->tier_ops->release(domain->tier, record->extent);
    record->extent = move->to_extent;
    record->offset = domain->tier_ops->offset(domain->tier, record->extent);
    pager->counters.moves++;
    pager->counters.moved_bytes += record->size_bytes;
}

void pager_compact_moved(struct pager *pager, struct pager_move *move, enum quire_status status) {
    struct pager_domain *domain = &pager->domains[move->domain];
    struct pager_record *record = &domain->records[move->slot];
    bool stays = record->state == PAGER_MOVING;
    if (stays && record->refs == 0 && status == QUIRE_OK) {
        settle_there(pager, domain, move);
    } else {
        domain->tier_ops->release(domain->tier, move->to_extent);
        pager->counters.moves_abandoned += stays;
        domain->patience = stays ? PAGER_PLAN_PATIENCE : domain->patience;
    }
    if (stays) {
        pager_record_step(pager, domain, move->slot, PAGER_HAPPENS_MOVED);
        pager_block_file(pager, record->block);
    } else {
        record->busy--;
        pager_record_step(pager, domain, move->slot, PAGER_HAPPENS_LET_GO);
    }
    pager_table_remove(&pager->moves, move->handle);
    free(move);
    if (--domain->moves == 0) {
        plan_end(domain);
    }
}
