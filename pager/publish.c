/* A complete record becomes visible: it takes the place of what is less faithful, or steps back. */
#include "pager/disk/internal.h"

static bool improves(float error, float ancestry_error, float held_error, float held_ancestry_error) {
    bool no_worse = error <= held_error && ancestry_error <= held_ancestry_error;
    return no_worse && (error < held_error || ancestry_error < held_ancestry_error);
}

bool pager_more_faithful(const struct pager *pager, uint32_t block, uint8_t group, float error, float ancestry_error) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = &pager->domains[pager->namespaces[b->ns]->domain];
    uint32_t slot = pager_record_find(domain, b, group);
    struct pager_where where;
    if (slot != PAGER_NO_RECORD) {
        return improves(error, ancestry_error, domain->records[slot].error, domain->records[slot].ancestry_error);
    }
    return !pager_where_find(pager, block, group, &where) || improves(error, ancestry_error, where.error, where.ancestry_error);
}

enum quire_status pager_publish_pin(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    if (b->pins > 0) {
        return QUIRE_OK;
    }
    if (!pager_may_pin(pager, pager->namespaces[b->ns])) {
        pager->counters.pins_refused++;
        return QUIRE_FULL;
    }
    return pager_block_pin(pager, block, 1) ? QUIRE_OK : QUIRE_NO_MEMORY;
}

/* Others that build the same record and would not improve on it. */
static void end_rivals(struct pager *pager, const struct pager_assembly *winner) {
    struct pager_assembly *next, *rival = pager_assembly_of(pager, winner->block, NULL);
    for (; rival; rival = next) {
        next = pager_assembly_of(pager, winner->block, rival);
        if (rival != winner && rival->group == winner->group &&
            !pager_more_faithful(pager, winner->block, rival->group, 0, rival->ancestry_error)) {
            pager->counters.puts_duplicate++;
            pager_assembly_end(pager, rival, pager_assembly_wants_pin(rival) ? pager_publish_pin(pager, winner->block) : QUIRE_OK);
        }
    }
}

/* A fuller tail block is complete: the shorter one under the same parent has served, unless somebody built upon it or pinned it. */
static void drop_shorter(struct pager *pager, const struct pager_assembly *assembly) {
    uint32_t found = pager_index_find(pager->index, assembly->ns, &assembly->shorter);
    if (found == PAGER_NO_BLOCK || found == assembly->block) {
        return;
    }
    const struct pager_block *block = pager_block_at(pager, assembly->block), *shorter = pager_block_at(pager, found);
    uint8_t rootless = PAGER_BLOCK_ORPHAN_ROOT;
    if (shorter->parent != block->parent || (shorter->flags & rootless) != (block->flags & rootless) || shorter->children > 0 ||
        shorter->pins > 0 || (shorter->flags & PAGER_BLOCK_BUILDING) || shorter->n_tokens >= block->n_tokens ||
        (pager_block_groups(pager, found) & ~pager_block_groups(pager, assembly->block))) {
        return;
    }
    uint64_t bytes = 0;
    if (pager_block_drop(pager, found, PAGER_GHOST_DELETED, &bytes)) {
        pager->counters.puts_superseding++;
    }
}

static void reseal(struct pager *pager, struct pager_domain *domain, struct pager_assembly *assembly, struct pager_part *last) {
    pager_record_step(pager, domain, assembly->slot, PAGER_HAPPENS_RESEAL);
    last->sealing = true;
    last->state = PAGER_PART_ASKED;
    pager_wish_ask(pager, &last->wish, PAGER_SEAL);
}

static void count(struct pager *pager, const struct pager_assembly *assembly) {
    const struct pager_block *block = pager_block_at(pager, assembly->block);
    pager->counters.puts_stored++;
    pager->counters.put_bytes += assembly->shape.size_bytes;
    pager->counters.puts_orphan += pager_block_is_orphan(pager, block);
    pager->namespaces[assembly->ns]->stores++;
}

/* Not OK: it was to be pinned and is not. */
static enum quire_status show(struct pager *pager, struct pager_domain *domain, struct pager_assembly *assembly) {
    struct pager_record *record = &domain->records[assembly->slot];
    struct pager_block *block = pager_block_at(pager, assembly->block);
    record->sequence = assembly->sequence;
    record->error = 0;
    record->ancestry_error = assembly->ancestry_error;
    pager_record_step(pager, domain, assembly->slot, PAGER_HAPPENS_SEALED);
    block->used = pager_tick_now(pager);
    pager_pin_arrived(pager, assembly->block);
    enum quire_status status = assembly->pin ? pager_publish_pin(pager, assembly->block) : QUIRE_OK;
    pager_dirty_enter(pager, domain, assembly->slot);
    return status;
}

void pager_publish(struct pager *pager, struct pager_assembly *assembly, struct pager_part *last) {
    struct pager_domain *domain = &pager->domains[pager->namespaces[assembly->ns]->domain];
    uint32_t held = pager_record_find(domain, pager_block_at(pager, assembly->block), assembly->group);
    if (held != PAGER_NO_RECORD || (pager_where_groups(pager, assembly->block) >> assembly->group & 1)) {
        if (!pager_more_faithful(pager, assembly->block, assembly->group, 0, assembly->ancestry_error)) {
            pager->counters.puts_duplicate++;
            enum quire_status status = pager_assembly_wants_pin(assembly) ? pager_publish_pin(pager, assembly->block) : QUIRE_OK;
            pager_part_done(pager, last, status);
            pager_assembly_end(pager, assembly, status);
            return;
        }
        if (held != PAGER_NO_RECORD && domain->records[held].sequence > assembly->sequence) {
            reseal(pager, domain, assembly, last);
            return;
        }
        if (held != PAGER_NO_RECORD) {
            pager_record_step(pager, domain, held, PAGER_HAPPENS_DROP);
        }
        pager_where_drop(pager, assembly->block, assembly->group);
        pager->counters.puts_superseding++;
    }
    enum quire_status status = show(pager, domain, assembly);
    count(pager, assembly);
    pager_part_done(pager, last, status);
    end_rivals(pager, assembly);
    if (assembly->supersedes) {
        drop_shorter(pager, assembly);
    }
    pager_assembly_published(pager, assembly);
}
