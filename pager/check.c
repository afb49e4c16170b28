/* Recounts everything from scratch and asserts that the books agree. */
#include "pager/disk/internal.h"

#include <stdatomic.h>
#include <stdlib.h>

struct tally {
    uint32_t *refs; /* a slot each, from the leases and holds */
    uint64_t leased, live, pinned, quarantined, resident, used, free;
};

static void count_leases(const struct pager *pager, uint32_t domain, struct tally *tally) {
    uint32_t cursor = 0;
    for (const struct pager_lease *lease; (lease = pager_table_next(&pager->leases, &cursor));) {
        uint64_t bytes = 0;
        if (lease->domain != domain) {
            continue;
        }
        for (uint32_t i = 0; i < lease->n_slots; i++) {
            assert(lease->slots[i] < pager->domains[domain].slots_touched);
            tally->refs[lease->slots[i]]++;
            bytes += pager->domains[domain].records[lease->slots[i]].size_bytes;
        }
        for (uint32_t i = 0; i < lease->n_extra; i++) {
            tally->refs[lease->extra[i].slot]++;
            bytes += pager->domains[domain].records[lease->extra[i].slot].size_bytes;
        }
        assert(bytes == lease->bytes);
        tally->quarantined += lease->session->quarantined ? bytes : 0;
    }
}

static void count_holds(const struct pager *pager, uint32_t domain, struct tally *tally) {
    for (const struct pager_hold *hold = pager->holds.next; hold != &pager->holds; hold = hold->next) {
        assert(hold->next->prev == hold && hold->slot < pager->domains[hold->domain].slots_touched);
        if (hold->domain == domain) { /* the tally has no more slots than this one */
            tally->refs[hold->slot]++;
        }
    }
}

static void check_record(const struct pager *pager, const struct pager_domain *domain, uint32_t slot, struct tally *tally) {
    const struct pager_record *record = &domain->records[slot];
    assert(record->refs == tally->refs[slot]);
    assert(atomic_load_explicit(&domain->generations[slot], memory_order_relaxed) == record->generation);
    if (record->state == PAGER_ABSENT) {
        assert(record->refs == 0);
        return;
    }
    tally->used++;
    bool here = record->extent != PAGER_NO_EXTENT && record->state != PAGER_LOADING;
    tally->leased += record->refs && here ? record->size_bytes : 0;
    if (record->state == PAGER_DOOMED) {
        assert(record->block == PAGER_NO_BLOCK && (record->refs > 0 || record->busy > 0));
        return;
    }
    const struct pager_block *block = pager_block_at(pager, record->block);
    assert(block->ns == record->ns && &pager->domains[pager->namespaces[record->ns]->domain] == domain);
    if (record->state == PAGER_AWAY || record->state == PAGER_LOADING) {
        assert(pager_record_find(domain, block, record->group) == slot);
        return;
    }
    assert(record->offset == domain->tier_ops->offset(domain->tier, record->extent));
    if (record->state == PAGER_RESIDENT || record->state == PAGER_MOVING) {
        assert(pager_record_find(domain, block, record->group) == slot);
        assert(record->busy >= (record->state == PAGER_MOVING) + !!(record->flags & PAGER_RECORD_WRITING)); /* and writes that are stuck */
        tally->resident++;
        tally->live += record->size_bytes;
        tally->pinned += block->pins ? record->size_bytes : 0;
    } else {
        assert(record->refs == 0 && (block->flags & PAGER_BLOCK_BUILDING));
    }
}

static void check_waiting(const struct pager_domain *domain) {
    const struct pager_assembly *before = NULL;
    for (const struct pager_assembly *a = domain->first_waiting; a; a = a->next_waiting) {
        assert(a->waiting && a->prev_waiting == before && a->first && a->slot == PAGER_NO_RECORD);
        before = a;
    }
    assert(domain->last_waiting == before);
}

static void check_domain(const struct pager *pager, uint32_t number) {
    const struct pager_domain *domain = &pager->domains[number];
    struct tally tally = {.refs = calloc(domain->slots_touched + 1u, sizeof(uint32_t))};
    assert(tally.refs);
    domain->tier_ops->check(domain->tier);
    count_leases(pager, number, &tally);
    count_holds(pager, number, &tally);
    for (uint32_t slot = 0; slot < domain->slots_touched; slot++) {
        check_record(pager, domain, slot, &tally);
    }
    for (uint32_t slot = domain->first_free; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        assert(domain->records[slot].state == PAGER_ABSENT && tally.free++ <= domain->slots_touched);
    }
    assert(tally.used == domain->slots_used && tally.used + tally.free == domain->slots_touched);
    assert(tally.leased == domain->leased_bytes && tally.live == domain->live_bytes && tally.pinned == domain->pinned_bytes);
    assert(tally.quarantined == domain->quarantined_bytes && tally.resident == domain->resident);
    assert(domain->planning == (domain->moves > 0));
    pager_age_check(&domain->ages, pager->index);
    check_waiting(domain);
    free(tally.refs);
}

/* ---- blocks and namespaces ------------------------------------------------------------------------------------------------ */
struct ns_tally {
    uint64_t entries, blocks, records, bytes, pinned;
};

static void check_block(const struct pager *pager, uint32_t number, uint32_t *children, struct ns_tally *tally) {
    const struct pager_block *block = pager_block_at(pager, number);
    const struct pager_domain *domain = &pager->domains[pager->namespaces[block->ns]->domain];
    bool building = block->flags & PAGER_BLOCK_BUILDING;
    assert(building == (pager_assembly_of(pager, number, NULL) != NULL));
    if (!pager_block_stored(pager, number) && !building) {
        assert(block->parent == PAGER_NO_BLOCK && block->children > 0 && block->pins == 0 && !(block->flags & PAGER_BLOCK_LISTED));
    }
    if (block->parent != PAGER_NO_BLOCK) {
        assert(pager_block_at(pager, block->parent)->ns == block->ns);
        children[block->parent]++;
    }
    tally->entries++;
    tally->blocks += pager_block_stored(pager, number);
    tally->pinned += block->pins > 0;
    int group = -1;
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        assert(domain->records[slot].block == number && domain->records[slot].group > group);
        group = domain->records[slot].group;
        bool here = pager_record_has_bytes(&domain->records[slot]);
        tally->records += here;
        tally->bytes += here ? domain->records[slot].size_bytes : 0;
    }
    if (pager_block_evictable(pager, block)) {
        assert(block->flags & PAGER_BLOCK_LISTED); /* nothing that may go is forgotten */
    }
}

static uint32_t index_end(const struct pager *pager) {
    uint32_t end = 0;
    for (uint32_t cursor = 0, block; (cursor = pager_index_next(pager->index, cursor, &block)) != PAGER_NO_BLOCK;) {
        end = block + 1;
    }
    return end;
}

static void check_blocks(const struct pager *pager) {
    uint32_t end = index_end(pager), block;
    uint32_t *children = calloc(end + 1u, sizeof(*children));
    struct ns_tally *tallies = calloc(pager->n_namespaces + 1u, sizeof(*tallies));
    assert(children && tallies);
    for (uint32_t cursor = 0; (cursor = pager_index_next(pager->index, cursor, &block)) != PAGER_NO_BLOCK;) {
        uint16_t ns = pager_block_at(pager, block)->ns;
        assert(ns < pager->n_namespaces && pager->namespaces[ns]);
        check_block(pager, block, children, &tallies[ns]);
    }
    for (uint32_t cursor = 0; (cursor = pager_index_next(pager->index, cursor, &block)) != PAGER_NO_BLOCK;) {
        assert(pager_block_at(pager, block)->children == children[block]);
    }
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        const struct pager_ns *ns = pager->namespaces[i];
        if (ns) {
            assert(ns->entries == tallies[i].entries && ns->blocks == tallies[i].blocks && ns->records == tallies[i].records);
            assert(ns->bytes == tallies[i].bytes && ns->pinned_blocks == tallies[i].pinned);
            assert(!ns->deleted || ns->entries > 0 || ns->slots > 0);
        }
    }
    free(children);
    free(tallies);
}

/* ---- assemblies, sessions ------------------------------------------------------------------------------------------------- */
static uint32_t popcount(const struct pager_assembly *a) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < quire_align_up(a->n_cells, 64) / 64; i++) {
        n += (uint32_t)__builtin_popcountll(a->cells[i]);
    }
    return n;
}

static void check_assembly(const struct pager *pager, const struct pager_assembly *a, uint32_t *waiting) {
    const struct pager_part *before = NULL;
    for (const struct pager_part *part = a->first; part; part = part->next) {
        assert(part->assembly == a && part->prev == before && part->state != PAGER_PART_DONE);
        assert((part->state == PAGER_PART_WAITING) == a->waiting);
        assert((part->state == PAGER_PART_ASKED) == (part->wish.next != NULL));
        *waiting += a->waiting;
        before = part;
    }
    assert(a->last == before);
    assert(a->first || a->n_contributors > 0);
    assert(a->filled <= a->claimed && a->claimed <= a->n_cells);
    assert(!a->cells || popcount(a) == a->claimed || a->claimed == a->n_cells);
    if (!a->waiting) {
        const struct pager_record *record = &pager->domains[pager->namespaces[a->ns]->domain].records[a->slot];
        assert(record->block == a->block && (record->state == PAGER_FILLING || record->state == PAGER_SEALING));
        assert((record->state == PAGER_SEALING) == (a->filled == a->n_cells));
    }
}

static void check_assemblies(const struct pager *pager) {
    uint32_t n = 0, waiting = 0;
    for (const struct pager_assembly *a = pager->assemblies.next; a != &pager->assemblies; a = a->next) {
        check_assembly(pager, a, &waiting);
        n++;
    }
    assert(n == pager->n_assemblies && waiting == pager->n_waiting);
}

static void check_shares(const struct pager *pager, const struct pager_session *s) {
    uint32_t building = 0, waiting = 0;
    uint64_t bytes = 0;
    for (const struct pager_assembly *a = pager->assemblies.next; a != &pager->assemblies; a = a->next) {
        building += a->owner == s->handle;
        bytes += a->owner == s->handle && a->put_id ? a->shape.size_bytes : 0;
        for (const struct pager_part *part = a->waiting ? a->first : NULL; part; part = part->next) {
            waiting += part->session == s->handle;
        }
    }
    assert(building == s->n_building && bytes == s->building_bytes && waiting == s->n_waiting);
}

static void check_sessions(const struct pager *pager) {
    uint32_t cursor = 0;
    uint64_t leases = 0;
    for (const struct pager_session *s; (s = pager_table_next(&pager->sessions, &cursor));) {
        uint64_t n = 0, bytes = 0;
        for (const struct pager_lease *lease = s->leases; lease; lease = lease->next, n++) {
            assert(lease->session == s && (!lease->next || lease->next->prev == lease));
            bytes += lease->bytes;
        }
        assert(n == s->n_leases && bytes == s->leased_bytes);
        leases += n;
        check_shares(pager, s);
    }
    assert(leases == pager->leases.used);
}

void pager_check(const struct pager *pager) {
    QUIRE_MAGIC_CHECK(pager, PAGER_MAGIC);
    pager_index_check(pager->index);
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        check_domain(pager, i);
    }
    check_blocks(pager);
    pager_disk_check(pager);
    check_assemblies(pager);
    check_sessions(pager);
    pager_timers_check(&pager->timers);
    assert(pager->timers.promised ==
           pager->leases.used + pager->parts.used + pager->n_assemblies + (pager->disk ? pager->disk->loads.used : 0));
}
