/* The operator's views. */
#include "pager/disk/internal.h"

#include <stdio.h>

const struct pager_counters *pager_counters(const struct pager *pager) { return &pager->counters; }
uint32_t pager_domain_count(const struct pager *pager) { return pager->n_domains; }

void pager_domain_stats(const struct pager *pager, uint32_t domain, struct pager_domain_stats *stats) {
    assert(domain < pager->n_domains);
    const struct pager_domain *d = &pager->domains[domain];
    struct pager_tier_stats tier;
    d->tier_ops->stats(d->tier, &tier);
    *stats = (struct pager_domain_stats){
        .name = d->name,
        .tier = d->tier_ops->name,
        .capacity_bytes = tier.capacity_bytes,
        .used_bytes = tier.used_bytes,
        .live_bytes = d->live_bytes,
        .leased_bytes = d->leased_bytes,
        .pinned_bytes = d->pinned_bytes,
        .quarantined_bytes = d->quarantined_bytes,
        .largest_free_bytes = tier.largest_free_bytes,
        .books_bytes = tier.books_bytes + d->arena.committed_bytes,
        .records = d->resident,
    };
}

void pager_memory(const struct pager *pager, struct pager_memory *memory) {
    *memory = (struct pager_memory){
        .blocks = pager_index_count(pager->index),
        .max_blocks = pager->options.max_blocks,
        .index_bytes = pager_index_bytes(pager->index),
        .lease_bytes = pager->lease_bytes + pager_table_bytes(&pager->leases),
        .other_bytes = sizeof(*pager) + pager_ghosts_bytes(&pager->ghosts) + pager_table_bytes(&pager->sessions) +
                       pager_table_bytes(&pager->parts) + pager_table_bytes(&pager->moves) +
                       pager->sessions.used * sizeof(struct pager_session) + pager->parts.used * sizeof(struct pager_part) +
                       pager->moves.used * sizeof(struct pager_move) + pager->timers.capacity * sizeof(struct pager_timer *) +
                       PAGER_ASSEMBLY_BUCKETS * sizeof(struct pager_assembly *) +
                       pager->options.max_namespaces * sizeof(struct pager_ns *) + (pager->disk ? pager_disk_memory(pager) : 0),
    };
    for (const struct pager_assembly *a = pager->assemblies.next; a != &pager->assemblies; a = a->next) {
        memory->other_bytes += pager_assembly_memory(a);
    }
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        memory->other_bytes += pager->namespaces[i] ? sizeof(struct pager_ns) + sizeof(quire_layout) : 0;
    }
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        memory->record_bytes += pager->domains[i].arena.committed_bytes;
    }
}

bool pager_ns_next(const struct pager *pager, uint32_t *cursor, struct pager_ns_info *info) {
    while (*cursor < pager->n_namespaces) {
        const struct pager_ns *ns = pager->namespaces[(*cursor)++];
        if (!ns || ns->deleted) {
            continue;
        }
        *info = (struct pager_ns_info){
            .ns = ns->number,
            .domain = ns->domain,
            .blocks = ns->blocks,
            .records = ns->records,
            .bytes = ns->bytes,
            .pinned_blocks = ns->pinned_blocks,
            .hits = ns->hits,
            .misses = ns->misses,
            .stores = ns->stores,
            .evictions = ns->evictions,
            .tokens_reused = ns->tokens_reused,
            .disk_records = ns->disk_records,
            .disk_bytes = ns->disk_bytes,
        };
        memcpy(info->name, ns->name, sizeof(info->name));
        memcpy(info->digest, ns->digest, sizeof(info->digest));
        return true;
    }
    return false;
}

static void add_record(const struct pager_domain *domain, uint32_t slot, struct pager_block_info *info) {
    const struct pager_record *record = &domain->records[slot];
    if (info->n_records < PAGER_BLOCK_RECORDS_MAX) {
        info->records[info->n_records++] = (struct pager_record_info){
            .group = record->group,
            .rung = record->rung,
            .state = pager_state_name(record->state),
            .offset = record->offset,
            .size_bytes = record->size_bytes,
            .refs = record->refs,
            .generation = record->generation,
            .sequence = record->sequence,
            .error = record->error,
            .ancestry_error = record->ancestry_error,
        };
    }
}

/* On disk, when not in memory as well: each group's record is told once. */
static void add_places(const struct pager *pager, uint32_t block, struct pager_block_info *info) {
    struct pager_where where;
    for (uint32_t at = 0; pager_where_next(pager, block, &at, &where);) {
        bool told = false;
        for (uint32_t i = 0; i < info->n_records; i++) {
            if (info->records[i].group == where.group) {
                told = info->records[i].on_disk = true;
                info->records[i].segment = where.segment;
            }
        }
        if (!told && info->n_records < PAGER_BLOCK_RECORDS_MAX) {
            info->records[info->n_records++] = (struct pager_record_info){
                .group = where.group,
                .rung = where.rung,
                .state = "disk",
                .offset = (uint64_t)where.at_units * pager->disk->geometry.unit_bytes,
                .size_bytes = pager_where_bytes(pager, block, &where),
                .on_disk = true,
                .segment = where.segment,
                .error = where.error,
                .ancestry_error = where.ancestry_error,
            };
        }
    }
}

static enum quire_miss why(const struct pager *pager, const struct pager_ns *ns, uint32_t number) {
    const struct pager_block *block = pager_block_at(pager, number);
    uint32_t there = pager_block_groups(pager, number);
    if (there == ns->all_mask) {
        return QUIRE_MISS_NONE;
    }
    if (block->flags & PAGER_BLOCK_BUILDING) {
        return QUIRE_MISS_INCOMPLETE;
    }
    return there ? QUIRE_MISS_LAYOUT : pager_ghost_miss(&pager->ghosts, ns->serial, &block->key);
}

static void describe(const struct pager *pager, const struct pager_ns *ns, uint32_t block, struct pager_block_info *info) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = &pager->domains[ns->domain];
    info->n_tokens = b->n_tokens;
    info->children = b->children;
    info->pins = b->pins;
    info->miss = why(pager, ns, block);
    info->placeholder = !pager_block_stored(pager, block) && !(b->flags & PAGER_BLOCK_BUILDING);
    info->parent_present =
        b->parent == PAGER_NO_BLOCK ? !(b->flags & PAGER_BLOCK_ORPHAN_ROOT) && !info->placeholder : pager_block_stored(pager, b->parent);
    if (b->parent != PAGER_NO_BLOCK) {
        info->parent = pager_block_at(pager, b->parent)->key;
    } else if (info->parent_present) {
        info->parent = ns->root;
    }
    info->idle_ns = (uint64_t)(pager_tick_now(pager) - (b->used ? b->used : PAGER_TICK_BASE)) << PAGER_TICK_SHIFT;
    for (uint32_t slot = b->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        add_record(domain, slot, info);
    }
    add_places(pager, block, info);
    for (struct pager_assembly *a = NULL; (a = pager_assembly_of(pager, block, a));) {
        if (a->slot != PAGER_NO_RECORD) {
            add_record(domain, a->slot, info);
        }
    }
}

enum quire_status pager_block_info(const struct pager *pager, uint64_t now_ns, uint16_t ns, const quire_key *key,
                                   struct pager_block_info *info) {
    const struct pager_ns *n = pager_ns_at(pager, ns);
    *info = (struct pager_block_info){.key = *key, .ns = ns};
    if (!n || n->deleted) {
        return QUIRE_NOT_FOUND;
    }
    uint32_t block = pager_index_find(pager->index, ns, key);
    if (block == PAGER_NO_BLOCK) {
        info->miss = pager_ghost_miss(&pager->ghosts, n->serial, key);
    } else {
        describe(pager, n, block, info);
    }
    uint64_t late = now_ns > pager->now_ns ? now_ns - pager->now_ns : 0;
    info->idle_ns += block != PAGER_NO_BLOCK ? late : 0;
    return QUIRE_OK;
}
