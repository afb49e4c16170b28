/* Recounts the disk tier's books and asserts that they agree: for pager_check. */
#include "pager/disk/internal.h"

#include <stdlib.h>

static bool is_in_memory(const struct pager *pager, uint32_t block, uint32_t group) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = &pager->domains[pager->namespaces[b->ns]->domain];
    uint32_t slot = pager_record_find(domain, b, group);
    return slot != PAGER_NO_RECORD && pager_record_has_bytes(&domain->records[slot]);
}

static void check_places(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    uint32_t n = pager_log_segments(disk->log), block, nodes = 0, spare = 0;
    uint64_t *bytes = calloc(n, sizeof(*bytes));
    uint32_t *records = calloc(n, sizeof(*records));
    assert(bytes && records);
    for (uint32_t cursor = 0; (cursor = pager_index_next(pager->index, cursor, &block)) != PAGER_NO_BLOCK;) {
        struct pager_where where;
        uint32_t groups = 0;
        for (uint32_t at = 0; pager_where_next(pager, block, &at, &where);) {
            assert(where.segment < n && !(groups >> where.group & 1));
            assert(where.at_units + where.size_units <= disk->geometry.segment_units);
            groups |= 1u << where.group;
            bytes[where.segment] += (uint64_t)where.size_units * disk->geometry.unit_bytes;
            records[where.segment]++;
            nodes += at != UINT32_MAX || *pager_index_place(pager->index, block) >> 63;
        }
        for (uint32_t g = 0; g < disk->sequence_groups; g++) {
            assert(groups >> g & 1 || pager_restore_sequence(pager, block, g) == 0 || is_in_memory(pager, block, g));
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct pager_segment *segment = pager_log_segment(disk->log, i);
        bool counted = segment->state != PAGER_SEGMENT_LOST; /* of a lost one nobody counts */
        assert(!counted || (segment->live_bytes == bytes[i] && segment->live_records == records[i]));
        assert(segment->state != PAGER_SEGMENT_CLEAN || records[i] == 0);
    }
    for (uint32_t i = disk->places.first_free; i; i = pager_where_node_at(&disk->places, i)->next) {
        spare++;
    }
    assert(nodes + spare == disk->places.n);
    free(bytes);
    free(records);
}

static void check_dirty(const struct pager_domain *domain) {
    uint64_t bytes = 0, n = 0;
    uint32_t before = PAGER_NO_RECORD;
    for (uint32_t slot = domain->dirty_first; slot != PAGER_NO_RECORD; slot = domain->records[slot].dirty_next) {
        const struct pager_record *record = &domain->records[slot];
        assert(record->dirty_prev == before && (record->flags & PAGER_RECORD_DIRTY) && pager_record_has_bytes(record));
        assert(!(record->flags & (PAGER_RECORD_CLEAN | PAGER_RECORD_WRITING)));
        bytes += record->size_bytes;
        n++;
        before = slot;
    }
    assert(domain->dirty_last == before && bytes == domain->dirty_bytes && n == domain->dirty_records);
}

/* What stands in for a record that is only on disk, or on its way. */
static void check_records(const struct pager *pager, const struct pager_domain *domain) {
    for (uint32_t slot = 0; slot < domain->slots_touched; slot++) {
        const struct pager_record *record = &domain->records[slot];
        if (record->state == PAGER_AWAY || record->state == PAGER_LOADING) {
            assert(pager_where_groups(pager, record->block) >> record->group & 1);
        }
        if (record->state == PAGER_AWAY) {
            assert(record->refs > 0 && record->extent == PAGER_NO_EXTENT && record->busy == 0);
        }
        if (record->state == PAGER_LOADING) {
            const struct pager_op *op = pager_read_of(pager, record);
            assert(op && op->kind == PAGER_OP_READ && op->read.slot == slot && record->busy == 1);
            assert(op->read.queued == (record->extent == PAGER_NO_EXTENT));
        }
        if (record->flags & PAGER_RECORD_CLEAN) {
            struct pager_where where;
            assert(pager_record_has_bytes(record) && !(record->flags & (PAGER_RECORD_WRITING | PAGER_RECORD_UNNAMED)));
            assert(pager_where_find(pager, record->block, record->group, &where) && where.segment == record->dirty_next);
        }
    }
}

static bool is_ahead(const struct pager *pager, uint32_t domain, uint32_t slot) {
    const struct pager_review *review = &pager->disk->review;
    return review->again || domain > review->domain || (domain == review->domain && slot >= review->slot);
}

/* Whatever is stranded is going to be found. */
static void check_clean(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    uint64_t records[QUIRE_LOG_MAX_FILES] = {0}, bytes[QUIRE_LOG_MAX_FILES] = {0};
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        for (uint32_t slot = 0; slot < pager->domains[i].slots_touched; slot++) {
            const struct pager_record *record = &pager->domains[i].records[slot];
            if (record->flags & PAGER_RECORD_CLEAN) {
                uint32_t device = pager_log_segment(disk->log, record->dirty_next)->device;
                records[device]++;
                bytes[device] += record->size_bytes;
                assert(!pager_is_stranded(pager, record) || (disk->review.on && is_ahead(pager, i, slot)));
            }
        }
    }
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        assert(records[d] == disk->devices[d].clean_records && bytes[d] == disk->devices[d].clean_bytes);
    }
}

static void check_ops(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    uint32_t cursor = 0, asked = 0, stuck = 0, writes = 0, rewrites = 0;
    uint32_t in_flight[QUIRE_LOG_MAX_FILES] = {0};
    uint64_t reading = 0, waiting[QUIRE_LOG_MAX_FILES] = {0};
    for (const struct pager_op *op; (op = pager_table_next(&disk->ops, &cursor));) {
        assert(!op->stuck || (op->asked && !pager_log_device_in_use(disk->log, op->told.device)));
        stuck += op->stuck;
        if (op->stuck) {
            continue;
        }
        asked += op->asked;
        in_flight[op->told.device] += op->asked && op->kind != PAGER_OP_META;
        writes += op->kind == PAGER_OP_BATCH && !op->batch.synced;
        if (op->kind == PAGER_OP_READ) {
            rewrites += op->read.rewrites;
            uint64_t bytes = pager_room_bytes(pager, pager->domains[op->read.domain].records[op->read.slot].size_bytes);
            assert(op->read.cost_bytes == (op->read.part.n_ranges ? pager_lanes_cost(&op->read.part) : bytes));
            reading += bytes;
            waiting[op->read.device] += op->read.queued && op->read.purpose == PAGER_READ_LOAD ? op->read.cost_bytes : 0;
        }
    }
    assert(asked == disk->in_flight && writes == disk->writes && reading == disk->reading_bytes && rewrites == disk->rewrites_reading);
    assert(asked + stuck <= PAGER_DISK_MAX_IN_FLIGHT);
    for (uint32_t i = 0; i < disk->n_devices; i++) {
        assert(waiting[i] == disk->devices[i].waiting_bytes);
        assert(in_flight[i] == disk->devices[i].in_flight && in_flight[i] <= PAGER_DISK_SHARED / disk->n_devices);
    }
}

/* Every pinned block is told, and what else is told waits for its block, or is kept for another start. */
static void check_pins(const struct pager *pager) {
    const struct pager_pins *pins = &pager->disk->meta.pins;
    uint64_t waiting = 0;
    uint32_t block;
    pager_pins_check(pins);
    for (uint32_t cursor = 0; pager->n_pinned > 0 && (cursor = pager_index_next(pager->index, cursor, &block)) != PAGER_NO_BLOCK;) {
        const struct pager_block *b = pager_block_at(pager, block);
        assert(b->pins == 0 || pager_pins_get(pins, pager->namespaces[b->ns]->serial, &b->key) == b->pins);
    }
    for (uint32_t i = 0; i < pins->n; i++) {
        const struct quire_meta_pin *pin = pager_pins_at(pins, i);
        const struct pager_ns *ns = pager_ns_of_serial(pager, pin->serial);
        block = ns ? pager_index_find(pager->index, ns->number, &pin->key) : PAGER_NO_BLOCK;
        waiting += ns && (block == PAGER_NO_BLOCK || pager_block_at(pager, block)->pins == 0);
    }
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        waiting -= pager->namespaces[i] && !pager->namespaces[i]->deleted ? pager->namespaces[i]->pins_waiting : 0;
    }
    assert(waiting == 0);
}

void pager_disk_check(const struct pager *pager) {
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        check_dirty(&pager->domains[i]);
        if (pager->disk) {
            check_records(pager, &pager->domains[i]);
        }
    }
    if (pager->disk) {
        pager_log_check(pager->disk->log);
        check_places(pager);
        check_clean(pager);
        check_pins(pager);
        check_ops(pager);
    }
}
