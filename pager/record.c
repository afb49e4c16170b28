/* Slots of a domain: taken, linked to their block, leased, freed; and the sums that must follow. */
#include "pager/disk/internal.h"

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
    record->next = record->dirty_prev = record->dirty_next = PAGER_NO_RECORD;
    record->state = PAGER_FILLING;
    record->offset = record->extent == PAGER_NO_EXTENT ? 0 : domain->tier_ops->offset(domain->tier, record->extent);
    domain->slots_used++;
    pager->namespaces[record->ns]->slots++;
}

bool pager_record_has_bytes(const struct pager_record *record) { return record->state == PAGER_RESIDENT || record->state == PAGER_MOVING; }

void pager_record_renew(struct pager_domain *domain, struct pager_record *record) {
    record->generation++;
    atomic_store_explicit(&domain->generations[record - domain->records], record->generation, memory_order_release);
}

void pager_record_free(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    assert(record->refs == 0 && record->busy == 0 && record->next == PAGER_NO_RECORD);
    struct pager_ns *ns = pager->namespaces[record->ns];
    pager_record_renew(domain, record);
    if (record->extent != PAGER_NO_EXTENT) {
        domain->tier_ops->release(domain->tier, record->extent);
    }
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
    pager->namespaces[record->ns]->blocks += !pager_block_stored(pager, record->block);
    uint32_t *link = &block->record;
    while (*link != PAGER_NO_RECORD && domain->records[*link].group < record->group) {
        link = &domain->records[*link].next;
    }
    assert(*link == PAGER_NO_RECORD || domain->records[*link].group != record->group);
    record->next = *link;
    *link = slot;
}

/* Its bytes are in memory from now. */
void pager_record_arrived(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    struct pager_ns *ns = pager->namespaces[record->ns];
    ns->records++;
    ns->bytes += record->size_bytes;
    domain->resident++;
    domain->live_bytes += record->size_bytes;
    domain->leased_bytes += record->refs ? record->size_bytes : 0;
    domain->pinned_bytes += pager_block_at(pager, record->block)->pins ? record->size_bytes : 0;
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
    uint32_t number = record->block;
    if (record->flags & PAGER_RECORD_WRITING) {
        pager_write_left(pager, record);
    }
    *link = record->next;
    record->next = PAGER_NO_RECORD;
    record->block = PAGER_NO_BLOCK;
    ns->blocks -= !pager_block_stored(pager, number);
    if (pager->disk) {
        pager_restore_left(pager, number, record->group);
        pager_clean_leave(pager, record);
    }
    pager_dirty_leave(domain, slot);
    if (pager_record_has_bytes(record)) {
        ns->records--;
        ns->bytes -= record->size_bytes;
        domain->resident--;
        domain->live_bytes -= record->size_bytes;
        domain->pinned_bytes -= block->pins ? record->size_bytes : 0;
    }
}

uint32_t pager_record_take_away(struct pager *pager, struct pager_domain *domain, uint32_t block, uint8_t group, bool loose) {
    struct pager_where where;
    uint32_t slot;
    if (!pager_record_slot(domain, &slot) || !pager_where_find(pager, block, group, &where)) {
        return PAGER_NO_RECORD;
    }
    const struct pager_record as = {
        .block = loose ? PAGER_NO_BLOCK : block,
        .extent = PAGER_NO_EXTENT,
        .size_bytes = pager_where_bytes(pager, block, &where),
        .error = where.error,
        .ancestry_error = where.ancestry_error,
        .ns = pager_block_at(pager, block)->ns,
        .group = group,
        .rung = where.rung,
    };
    pager_record_take(pager, domain, slot, &as);
    domain->records[slot].state = loose ? PAGER_DOOMED : PAGER_AWAY;
    if (!loose) {
        pager_record_link(pager, domain, slot);
    }
    return slot;
}

/* Bytes under leases are counted while they are there: AWAY ones are not. */
static bool counts_as_leased(const struct pager_record *record) {
    return record->extent != PAGER_NO_EXTENT && record->state != PAGER_LOADING;
}

void pager_record_ref(struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    domain->leased_bytes += record->refs++ == 0 && counts_as_leased(record) ? record->size_bytes : 0;
}

void pager_record_unref(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    assert(record->refs > 0);
    if (--record->refs > 0) {
        return;
    }
    domain->leased_bytes -= counts_as_leased(record) ? record->size_bytes : 0;
    if (record->flags & PAGER_RECORD_UNLISTED) {
        record->flags &= (uint8_t)~PAGER_RECORD_UNLISTED;
        if (record->block != PAGER_NO_BLOCK) {
            pager_block_file(pager, record->block);
        }
    }
    if (record->state == PAGER_DOOMED || record->state == PAGER_AWAY) {
        pager_record_step(pager, domain, slot, PAGER_HAPPENS_LET_GO);
    }
}
