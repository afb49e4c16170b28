/* Records in memory that are not what was stored there any more: somebody who may read the pool's memory from afar has written to it. */
#include "pager/disk/internal.h"

void pager_held(const struct pager *pager, const struct pager_hold *hold, struct pager_held *held) {
    const struct pager_record *record = &pager->domains[hold->domain].records[hold->slot];
    *held = (struct pager_held){.offset = record->offset, .size_bytes = record->size_bytes, .group = record->group};
    if (record->block != PAGER_NO_BLOCK) {
        held->has_key = true;
        held->key = pager_block_at(pager, record->block)->key;
    }
}

/* Nothing of the block is left anywhere. */
static void block_gone(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_ns *ns = pager->namespaces[b->ns];
    pager_ghost_add(&pager->ghosts, ns->serial, &b->key, ns->deleted ? PAGER_GHOST_NONE : PAGER_GHOST_CORRUPT);
    if (b->pins > 0 && pager->disk) {
        pager_pin_left(pager, block);
    } else if (b->pins > 0) {
        pager_block_pin(pager, block, 0);
    }
    pager_block_settle(pager, block);
}

bool pager_record_damaged(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    const struct pager_record *record = &domain->records[slot];
    uint32_t block = record->block;
    if (block == PAGER_NO_BLOCK || !pager_record_has_bytes(record)) {
        return false;
    }
    pager->counters.records_damaged++;
    pager_record_step(pager, domain, slot, PAGER_HAPPENS_DROP);
    if (pager_block_stored(pager, block)) {
        pager_block_file(pager, block);
    } else {
        block_gone(pager, block);
    }
    return true;
}

bool pager_damaged(struct pager *pager, uint64_t now_ns, const struct pager_hold *hold) {
    pager_clock(pager, now_ns);
    bool some = pager_record_damaged(pager, &pager->domains[hold->domain], hold->slot);
    pager_room_serve_all(pager);
    return some;
}
