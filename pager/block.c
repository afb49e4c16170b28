/* Entries of the index: how they come, hang below their parent, become evictable, and go. */
#include "pager/disk/internal.h"

bool pager_block_stored(const struct pager *pager, uint32_t block) {
    return pager_block_at(pager, block)->record != PAGER_NO_RECORD || pager_where_any(pager, block);
}

uint32_t pager_block_groups(const struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = &pager->domains[pager->namespaces[b->ns]->domain];
    uint32_t groups = pager_where_groups(pager, block);
    for (uint32_t slot = b->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        groups |= 1u << domain->records[slot].group;
    }
    return groups;
}

static bool is_placeholder(const struct pager *pager, uint32_t block) {
    return !pager_block_stored(pager, block) && !(pager_block_at(pager, block)->flags & PAGER_BLOCK_BUILDING);
}

static enum quire_status insert(struct pager *pager, struct pager_ns *ns, uint32_t tag, const quire_key *key, uint32_t *block) {
    enum quire_status status = pager_index_insert_tagged(pager->index, tag, ns->number, key, block);
    for (unsigned i = 0; status == QUIRE_FULL && i < 4 && pager_evict_one(pager, &pager->domains[ns->domain]); i++) {
        status = pager_index_insert_tagged(pager->index, tag, ns->number, key, block);
    }
    if (status == QUIRE_OK) {
        ns->entries++;
        pager_block_at(pager, *block)->flags |= pager->disk ? pager->disk->rooted : 0;
    }
    return status;
}

enum quire_status pager_block_obtain(struct pager *pager, struct pager_ns *ns, const quire_key *key, uint32_t *block) {
    return pager_block_obtain_tagged(pager, ns, pager_index_tag(pager->index, ns->number, key), key, block);
}

enum quire_status pager_block_obtain_tagged(struct pager *pager, struct pager_ns *ns, uint32_t tag, const quire_key *key, uint32_t *block) {
    *block = pager_index_find_tagged(pager->index, tag, ns->number, key);
    return *block != PAGER_NO_BLOCK ? QUIRE_OK : insert(pager, ns, tag, key, block);
}

/*
 * External keys may claim anything, also that a block is its own ancestor; such blocks would never leave. INVALID: it is. RETRY: the
 * search was cut short, so that no chain, however long, holds up the caller's loop.
 */
static enum quire_status seek_circle(struct pager *pager, uint32_t block, uint32_t of) {
    uint32_t tick = pager_tick_now(pager);
    if (pager->walk_tick != tick) {
        pager->walk_tick = tick;
        pager->walked = 0;
    }
    for (uint32_t i = 0; of != PAGER_NO_BLOCK; i++) {
        if (of == block) {
            return QUIRE_INVALID;
        }
        if (i == PAGER_WALK_MAX || pager->walked == PAGER_WALK_BUDGET) {
            return QUIRE_RETRY;
        }
        pager->walked++;
        of = pager_block_at(pager, of)->parent;
    }
    return QUIRE_OK;
}

enum quire_status pager_block_adopt(struct pager *pager, uint32_t block, uint32_t parent) {
    struct pager_block *b = pager_block_at(pager, block);
    assert(b->parent == PAGER_NO_BLOCK);
    if (block == parent) {
        return QUIRE_INVALID;
    }
    if (b->children > 0) { /* without any it closes no circle */
        QUIRE_FORWARD(seek_circle(pager, block, parent));
    }
    b->parent = parent;
    b->flags &= (uint8_t)~PAGER_BLOCK_ORPHAN_ROOT;
    struct pager_block *p = pager_block_at(pager, parent);
    p->children++;
    p->used = pager_tick_now(pager); /* whoever stores below a block uses it */
    return QUIRE_OK;
}

bool pager_block_is_orphan(const struct pager *pager, const struct pager_block *block) {
    return block->parent != PAGER_NO_BLOCK && is_placeholder(pager, block->parent);
}

bool pager_block_goes_first(const struct pager *pager, const struct pager_block *block) {
    return (block->flags & PAGER_BLOCK_FLEETING) || pager_block_is_orphan(pager, block);
}

static bool is_free(const struct pager *pager, const struct pager_block *block) {
    const struct pager_domain *domain = &pager->domains[pager->namespaces[block->ns]->domain];
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (domain->records[slot].refs > 0 || domain->records[slot].busy > 0) {
            return false;
        }
    }
    return true;
}

bool pager_block_clean(const struct pager *pager, const struct pager_block *block) {
    const struct pager_domain *domain = &pager->domains[pager->namespaces[block->ns]->domain];
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (!(domain->records[slot].flags & PAGER_RECORD_CLEAN)) {
            return false;
        }
    }
    return block->record != PAGER_NO_RECORD;
}

/* Is any record still to be written? Then the block waits for that. */
static bool is_dirty(const struct pager *pager, const struct pager_block *block) {
    const struct pager_domain *domain = &pager->domains[pager->namespaces[block->ns]->domain];
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (domain->records[slot].flags & PAGER_RECORD_DIRTY) {
            return true;
        }
    }
    return false;
}

/* What others continue stays, unless the disk has it, too. */
bool pager_block_evictable(const struct pager *pager, const struct pager_block *block) {
    return block->record != PAGER_NO_RECORD && block->pins == 0 && !(block->flags & PAGER_BLOCK_BUILDING) && is_free(pager, block) &&
           !is_dirty(pager, block) && (block->children == 0 || pager_block_clean(pager, block));
}

/* Whoever releases one of these files the block again. */
static void mark_leased(struct pager_domain *domain, const struct pager_block *block) {
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (domain->records[slot].refs > 0) {
            domain->records[slot].flags |= PAGER_RECORD_UNLISTED;
        }
    }
}

void pager_block_file(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_domain *domain = pager_domain_of(pager, b);
    if (b->flags & PAGER_BLOCK_LISTED) {
        return;
    }
    if (pager_block_evictable(pager, b)) {
        pager_age_file(&domain->ages, pager->index, block, pager_tick_now(pager), pager_block_goes_first(pager, b));
    } else {
        mark_leased(domain, b);
    }
}

static void remove_entry(struct pager *pager, uint32_t block) {
    struct pager_ns *ns = pager->namespaces[pager_block_at(pager, block)->ns];
    pager_index_remove(pager->index, block);
    ns->entries--;
    pager_ns_let_go(pager, ns);
}

static void leave_parent(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    uint32_t parent = b->parent;
    if (parent == PAGER_NO_BLOCK) {
        return;
    }
    b->parent = PAGER_NO_BLOCK;
    struct pager_block *p = pager_block_at(pager, parent);
    assert(p->children > 0);
    if (--p->children > 0) {
        return;
    }
    if (is_placeholder(pager, parent)) {
        remove_entry(pager, parent); /* placeholders have no parent: this ends here */
    } else {
        pager_block_file(pager, parent);
    }
}

void pager_block_settle(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    if (!is_placeholder(pager, block)) {
        pager_block_file(pager, block);
        return;
    }
    if (b->flags & PAGER_BLOCK_LISTED) {
        pager_age_remove(&pager_domain_of(pager, b)->ages, pager->index, block);
    }
    leave_parent(pager, block);
    b->flags &= (uint8_t) ~(PAGER_BLOCK_ORPHAN_ROOT | PAGER_BLOCK_FLEETING);
    b->n_tokens = 0;
    if (b->children == 0) {
        remove_entry(pager, block);
    } else {
        pager_orphans_expect(pager);
    }
}

uint64_t pager_block_bytes(const struct pager *pager, const struct pager_block *block) {
    const struct pager_domain *domain = &pager->domains[pager->namespaces[block->ns]->domain];
    uint64_t bytes = 0;
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        bytes += pager_record_has_bytes(&domain->records[slot]) ? domain->records[slot].size_bytes : 0;
    }
    return bytes;
}

void pager_block_pinned(struct pager *pager, uint32_t block, uint16_t pins) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_domain *domain = pager_domain_of(pager, b);
    uint64_t bytes = pager_block_bytes(pager, b);
    if (b->pins == 0 && pins > 0) {
        domain->pinned_bytes += bytes;
        pager->namespaces[b->ns]->pinned_blocks++;
        pager->n_pinned++;
    } else if (b->pins > 0 && pins == 0) {
        domain->pinned_bytes -= bytes;
        pager->namespaces[b->ns]->pinned_blocks--;
        pager->n_pinned--;
    }
    b->pins = pins;
    if (pins > 0 && (b->flags & PAGER_BLOCK_LISTED)) {
        pager_age_remove(&domain->ages, pager->index, block);
    }
    pager_block_file(pager, block);
}

bool pager_block_pin(struct pager *pager, uint32_t block, uint16_t pins) {
    const struct pager_block *b = pager_block_at(pager, block);
    if (b->pins != pins && !pager_pin_tell(pager, pager->namespaces[b->ns], &b->key, b->pins, pins)) {
        return false;
    }
    pager_block_pinned(pager, block, pins);
    return true;
}

bool pager_block_drop(struct pager *pager, uint32_t block, enum pager_ghost_kind ghost, uint64_t *bytes) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_domain *domain = pager_domain_of(pager, b);
    if (!pager_block_stored(pager, block)) {
        return false;
    }
    if (b->pins > 0) {
        pager_block_pin(pager, block, 0);
    }
    *bytes = pager_block_bytes(pager, b);
    pager_ghost_add(&pager->ghosts, pager->namespaces[b->ns]->serial, &b->key, ghost);
    while (b->record != PAGER_NO_RECORD) {
        pager_record_step(pager, domain, b->record, PAGER_HAPPENS_DROP);
    }
    pager_where_drop_all(pager, block);
    pager_block_settle(pager, block);
    return true;
}

void pager_block_demote(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_domain *domain = pager_domain_of(pager, b);
    while (b->record != PAGER_NO_RECORD) {
        assert(domain->records[b->record].flags & PAGER_RECORD_CLEAN);
        pager_record_step(pager, domain, b->record, PAGER_HAPPENS_DROP);
    }
    if (b->flags & PAGER_BLOCK_LISTED) {
        pager_age_remove(&domain->ages, pager->index, block);
    }
}
