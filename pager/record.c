/* Slots of a domain: taken, linked to their block, leased, freed; and the sums that must follow. */
#include "pager/internal.h"

#include <stdatomic.h>

bool pager_record_slot(struct pager_domain *domain, uint32_t *slot) {
    if (domain->first_free != PAGER_NO_RECORD) {
        *slot = domain->first_free;
        return true;
    }
    if (domain->slots_touched == domain->n_slots ||
        pager_arena_grow(&domain->arena, (domain->slots_touched + 1ull) * sizeof(struct pager_record)) != QUIRE_OK) {
        return false;
    }
    *slot = domain->slots_touched;
    return true;
}

void pager_record_take(struct pager *pager, struct pager_domain *domain, uint32_t slot, const struct pager_record *as) {
    struct pager_record *record = &domain->records[slot];
    if (slot == domain->first_free) {
        domain->first_free = record->next;
    } else {
        assert(slot == domain->slots_touched);
        domain->slots_touched++;
        record->generation = atomic_load_explicit(&domain->generations[slot], memory_order_relaxed);
    }
    assert(record->state == PAGER_ABSENT);
    uint32_t generation = record->generation;
    *record = *as;
    record->generation = generation;
    record->next = PAGER_NO_RECORD;
    record->state = PAGER_FILLING;
    record->offset = domain->tier_ops->offset(domain->tier, record->extent);
    domain->slots_used++;
    pager->namespaces[record->ns]->slots++;
}

void pager_record_renew(struct pager_domain *domain, struct pager_record *record) {
    record->generation++;
    atomic_store_explicit(&domain->generations[record - domain->records], record->generation, memory_order_release);
}

void pager_record_free(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    assert(record->refs == 0 && record->busy == 0 && record->next == PAGER_NO_RECORD);
    struct pager_ns *ns = pager->namespaces[record->ns];
    pager_record_renew(domain, record);
    domain->tier_ops->release(domain->tier, record->extent);
    record->state = PAGER_ABSENT;
    record->next = domain->first_free;
    domain->first_free = slot;
    domain->slots_used--;
    ns->slots--;
    pager_ns_let_go(pager, ns);
}

uint32_t pager_record_find(const struct pager_domain *domain, const struct pager_block *block, uint32_t group) {
    uint32_t slot = block->record;
    while (slot != PAGER_NO_RECORD && domain->records[slot].group < group) {
        slot = domain->records[slot].next;
    }
    return slot != PAGER_NO_RECORD && domain->records[slot].group == group ? slot : PAGER_NO_RECORD;
}

void pager_record_link(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    struct pager_block *block = pager_block_at(pager, record->block);
    struct pager_ns *ns = pager->namespaces[record->ns];
    ns->blocks += block->record == PAGER_NO_RECORD;
    uint32_t *link = &block->record;
    while (*link != PAGER_NO_RECORD && domain->records[*link].group < record->group) {
        link = &domain->records[*link].next;
    }
    assert(*link == PAGER_NO_RECORD || domain->records[*link].group != record->group);
    record->next = *link;
    *link = slot;
    ns->records++;
    ns->bytes += record->size_bytes;
    domain->resident++;
    domain->live_bytes += record->size_bytes;
    domain->pinned_bytes += block->pins ? record->size_bytes : 0;
}

void pager_record_unlink(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    struct pager_block *block = pager_block_at(pager, record->block);
    struct pager_ns *ns = pager->namespaces[record->ns];
    uint32_t *link = &block->record;
    while (*link != slot) {
        assert(*link != PAGER_NO_RECORD);
        link = &domain->records[*link].next;
    }
    *link = record->next;
    record->next = PAGER_NO_RECORD;
    record->block = PAGER_NO_BLOCK;
    ns->blocks -= block->record == PAGER_NO_RECORD;
    ns->records--;
    ns->bytes -= record->size_bytes;
    domain->resident--;
    domain->live_bytes -= record->size_bytes;
    domain->pinned_bytes -= block->pins ? record->size_bytes : 0;
}

void pager_record_unref(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    assert(record->refs > 0);
    if (--record->refs > 0) {
        return;
    }
    domain->leased_bytes -= record->size_bytes;
    if (record->flags & PAGER_RECORD_UNLISTED) {
        record->flags &= (uint8_t)~PAGER_RECORD_UNLISTED;
        if (record->block != PAGER_NO_BLOCK) {
            pager_block_file(pager, record->block);
        }
    }
    if (record->state == PAGER_DOOMED) {
        pager_record_step(pager, domain, slot, PAGER_HAPPENS_LET_GO);
    }
}
