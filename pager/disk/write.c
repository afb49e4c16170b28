/*
 * From memory to disk: what was stored waits in a list, a domain's each, until it is due or room is short, and leaves in batches. A record stays where
 * it is while it is written; afterwards it is clean, and may leave memory without a write.
 */
#include "pager/disk/internal.h"

#include <stdlib.h>

/* Records in a list that are passed over because they are being moved. */
#define MAX_PASSED 64u

/* ---- when ----------------------------------------------------------------------------------------------------------------- */
void pager_write_due(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (disk->due_ns > pager->now_ns) {
        return;
    }
    disk->due_sequence = disk->next_due_sequence;
    disk->next_due_sequence = pager->sequence;
    disk->due_ns = pager->now_ns + quire_max_u64(disk->options.write_delay_ms, 1) * QUIRE_NS_PER_MS;
}

static bool is_put_off(const struct pager_disk *disk) {
    bool some = false;
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        some |= disk->devices[d].rest.failures > 0;
    }
    return some;
}

/* Room is short: what is written is what can go. */
static bool is_pressed(const struct pager_domain *domain) { return domain->reclaiming || domain->first_waiting; }

/* What was put off stands behind what came later. */
static bool is_due(const struct pager_disk *disk, const struct pager_domain *domain, const struct pager_record *record) {
    return disk->flushing || is_put_off(disk) || is_pressed(domain) || (record->flags & PAGER_RECORD_REWRITE) ||
           record->sequence <= disk->due_sequence;
}

/* ---- gathering ------------------------------------------------------------------------------------------------------------ */
/* So many fill a segment at least, so that what is left over at its end stays small; but a large record may have one for itself. */
static uint64_t batch_bytes(const struct pager_disk *disk) {
    uint64_t segment_bytes = (uint64_t)disk->geometry.segment_units * disk->geometry.unit_bytes;
    return quire_max_u64(quire_min_u64(disk->options.batch_bytes, segment_bytes / PAGER_SEGMENT_BATCHES), disk->geometry.unit_bytes);
}

struct gathering {
    struct pager_carried carried[QUIRE_LOG_MAX_BATCH];
    uint32_t n;
    uint64_t bytes;
    bool rewriting; /* records of a segment that is being emptied, and no others */
};

static bool is_named(const struct pager *pager, const struct pager_record *record) {
    return pager->namespaces[record->ns]->serial <= pager->disk->meta_serial;
}

static bool may_write(const struct pager *pager, const struct pager_record *record) {
    return record->state == PAGER_RESIDENT && !(record->flags & PAGER_RECORD_WRITING) && is_named(pager, record);
}

void pager_write_named(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    pager->disk->review.unnamed |= !is_named(pager, record);
    if (is_named(pager, record)) {
        record->flags &= (uint8_t)~PAGER_RECORD_UNNAMED;
        pager_dirty_enter(pager, domain, slot);
    }
}

/* Metadata that cannot be written names no new namespace: what that stores would stand in everyone's way, in the list and in memory. */
static bool is_hopeless(const struct pager *pager, const struct pager_record *record) {
    return pager->disk->meta_fails && !is_named(pager, record);
}

static void gather_domain(struct pager *pager, uint32_t number, struct gathering *g) {
    struct pager_domain *domain = &pager->domains[number];
    uint64_t most = batch_bytes(pager->disk);
    uint32_t passed = 0;
    for (uint32_t slot = domain->dirty_first, next; slot != PAGER_NO_RECORD && passed < MAX_PASSED; slot = next) {
        const struct pager_record *record = &domain->records[slot];
        next = record->dirty_next;
        uint64_t bytes = pager_room_bytes(pager, record->size_bytes);
        bool rewriting = record->flags & PAGER_RECORD_REWRITE;
        if (g->n == QUIRE_LOG_MAX_BATCH || (g->n > 0 && (g->bytes + bytes > most || rewriting != g->rewriting)) ||
            (g->n == 0 && !is_due(pager->disk, domain, record))) {
            return;
        }
        if (!may_write(pager, record)) {
            if (is_hopeless(pager, record)) {
                pager_dirty_decline(pager, domain, slot);
                domain->records[slot].flags |= PAGER_RECORD_UNNAMED;
                pager->disk->review.unnamed = true;
            }
            passed++;
            continue;
        }
        g->rewriting = rewriting;
        g->bytes += bytes;
        g->carried[g->n++] = (struct pager_carried){.sequence = record->sequence, .domain = number, .slot = slot, .rewritten = rewriting};
    }
}

static void gather(struct pager *pager, struct gathering *g) {
    struct pager_disk *disk = pager->disk;
    g->n = 0;
    g->bytes = 0;
    g->rewriting = false;
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        gather_domain(pager, (disk->next_domain + i) % pager->n_domains, g);
    }
    disk->next_domain = (disk->next_domain + 1) % pager->n_domains;
}

/* ---- a batch -------------------------------------------------------------------------------------------------------------- */
static void describe(const struct pager *pager, const struct pager_carried *carried, struct quire_log_entry *entry,
                     struct pager_disk_piece *piece) {
    const struct pager_domain *domain = &pager->domains[carried->domain];
    const struct pager_record *record = &domain->records[carried->slot];
    const struct pager_block *block = pager_block_at(pager, record->block);
    bool unknown = block->flags & PAGER_BLOCK_ORPHAN_ROOT;
    *entry = (struct quire_log_entry){
        .key = block->key,
        .sequence = record->sequence,
        .ns = pager->namespaces[record->ns]->serial,
        .size_bytes = record->size_bytes,
        .error = record->error,
        .ancestry_error = record->ancestry_error,
        .n_tokens = block->n_tokens,
        .group = record->group,
        .rung = record->rung,
        .kind = QUIRE_LOG_RECORD,
        .flags = (uint8_t)(block->parent != PAGER_NO_BLOCK ? 0
                           : unknown                       ? QUIRE_LOG_PARENT_UNKNOWN
                                                           : QUIRE_LOG_ROOT),
    };
    if (block->parent != PAGER_NO_BLOCK) {
        entry->parent = pager_block_at(pager, block->parent)->key;
    }
    *piece = (struct pager_disk_piece){.domain = carried->domain, .size_bytes = record->size_bytes, .offset = record->offset};
}

static void describe_tombstone(const struct pager_disk *disk, uint32_t i, struct quire_log_entry *entry) {
    const struct pager_tombstone *t = &disk->tombstones[(disk->first_tombstone + i) % PAGER_DISK_MAX_TOMBSTONES];
    *entry = (struct quire_log_entry){.key = t->key, .sequence = t->sequence, .ns = t->serial, .kind = QUIRE_LOG_TOMBSTONE};
}

static struct pager_op *batch_new(struct pager *pager, uint32_t n, uint32_t n_pieces) {
    struct pager_op *op = pager_op_new(pager, PAGER_OP_BATCH);
    if (!op) {
        return NULL;
    }
    op->told.pieces = malloc((n_pieces + 1) * sizeof(*op->told.pieces));
    op->told.entries = malloc(n * sizeof(*op->told.entries));
    op->batch.carried = malloc((n_pieces + 1) * sizeof(*op->batch.carried));
    op->told.n = n;
    op->told.n_pieces = n_pieces;
    if (!op->told.pieces || !op->told.entries || !op->batch.carried) {
        pager_op_free(pager, op);
        return NULL;
    }
    return op;
}

static struct pager_op *batch_of_records(struct pager *pager, const struct gathering *g) {
    struct pager_op *op = batch_new(pager, g->n, g->n);
    for (uint32_t i = 0; op && i < g->n; i++) {
        op->batch.carried[i] = g->carried[i];
        describe(pager, &g->carried[i], &op->told.entries[i], (struct pager_disk_piece *)(uintptr_t)&op->told.pieces[i]);
    }
    if (op) {
        op->batch.record_bytes = g->bytes;
    }
    return op;
}

static void batch_ask(struct pager *pager, struct pager_op *op) {
    struct pager_disk *disk = pager->disk;
    const struct pager_log_place *place = &op->batch.place;
    op->told.device = pager_log_segment(disk->log, place->segment)->device;
    op->told.segment = place->segment;
    op->told.epoch = place->epoch;
    op->told.at_units = place->at_units;
    op->told.head_units = place->head_units;
    op->told.size_units = place->size_units;
    op->told.first = place->first;
    op->told.alone = place->alone;
    op->told.tail_epoch = place->tail;
    if (place->first) {
        disk->open_ticks[disk->n_opened++ % pager_log_segments(disk->log)] = pager_tick_now(pager);
    }
    struct pager_disk_device *device = &disk->devices[op->told.device];
    device->answered_ns = device->writes == 0 ? pager->now_ns : device->answered_ns;
    device->writes++;
    disk->writes++;
    disk->writing_bytes += op->batch.record_bytes;
    disk->counters.disk_writes++;
    pager_write_charge(pager, pager_op_bytes(pager, op));
    pager_op_ask(pager, op, PAGER_DISK_WRITE);
}

/* The records stay where they are until the write has ended. */
static void batch_take(struct pager *pager, const struct pager_op *op) {
    for (uint32_t i = 0; i < op->told.n_pieces; i++) {
        struct pager_domain *domain = &pager->domains[op->batch.carried[i].domain];
        struct pager_record *record = &domain->records[op->batch.carried[i].slot];
        pager_dirty_leave(domain, op->batch.carried[i].slot);
        record->flags |= PAGER_RECORD_WRITING;
        record->dirty_next = op->batch.place.segment;
        record->busy++;
        pager->disk->rewrites_writing += op->batch.carried[i].rewritten;
    }
}

/* ---- tombstones ----------------------------------------------------------------------------------------------------------- */
/* One device's copy of the tombstones that are being buried. False: no place for it now. */
static bool bury_on(struct pager *pager, uint32_t device) {
    struct pager_disk *disk = pager->disk;
    struct pager_op *op = batch_new(pager, disk->burying, 0);
    if (!op) {
        return false;
    }
    for (uint32_t i = 0; i < disk->burying; i++) {
        describe_tombstone(disk, i, &op->told.entries[i]);
    }
    if (pager_log_append(disk->log, device, op->told.entries, op->told.n, true, &op->batch.place) != QUIRE_OK) {
        pager_op_free(pager, op);
        return false;
    }
    op->batch.buries = true;
    disk->counters.disk_tombstones += op->told.n;
    disk->graves_to_dig &= ~(1u << device);
    disk->graves_dug++;
    batch_ask(pager, op);
    return true;
}

/* So many of them fit into a segment, however small: header, head, footer and trailer. */
static uint32_t most_tombstones(const struct pager_disk *disk) {
    const struct quire_log_geometry *g = &disk->geometry;
    uint32_t n = PAGER_DISK_BURY_AT_ONCE;
    while (n > 1 && 2 + quire_log_head_units(g, n) + quire_log_footer_units(g, n) > g->segment_units) {
        n /= 2;
    }
    return n;
}

/* A number of tombstones at a time goes to every device; the next when all have them, so that they become durable in order. */
static void bury_pump(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    pager_bury_late(pager);
    if (disk->burying == 0 && disk->n_tombstones > 0) {
        disk->burying = (uint32_t)quire_min_u64(disk->n_tombstones, most_tombstones(disk));
        disk->graves_to_dig = (1u << disk->n_devices) - 1;
    }
    for (uint32_t d = 0; disk->burying > 0 && d < disk->n_devices; d++) {
        if (!pager_log_device_in_use(disk->log, d)) {
            disk->graves_to_dig &= ~(1u << d);
        }
        if (!(disk->graves_to_dig >> d & 1)) {
            continue;
        }
        if (!pager_device_rests(pager, d) && pager_device_takes(disk, d, false)) {
            (void)bury_on(pager, d);
        } else if (pager_device_rests(pager, d) && disk->devices[d].rest.lasts) {
            pager_burying_failed(pager); /* who asks now need not wait for the next try */
        }
    }
    if (disk->burying > 0 && disk->graves_to_dig == 0 && disk->graves_dug == 0) {
        pager_buried(pager, pager_devices_in_use(disk) > 0 ? QUIRE_OK : QUIRE_SYSTEM);
    }
}

/* One device's copy is on it and synced, or the device is no more; any other failure is tried again, and told unless it may well pass. */
void pager_bury_written(struct pager *pager, const struct pager_op *op, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    uint32_t device = op->told.device;
    bool found = pager_log_is_whole(disk->log, op->told.segment, op->told.epoch);
    disk->graves_dug--;
    if ((status == QUIRE_OK && found) || !pager_log_device_in_use(disk->log, device)) {
        return;
    }
    disk->graves_to_dig |= 1u << device;
    if (status != QUIRE_OK && (!pager_is_passing(status) || disk->devices[device].rest.lasts)) {
        pager_burying_failed(pager);
    }
}

static void decline_all(struct pager *pager, const struct gathering *g) {
    for (uint32_t i = 0; i < g->n; i++) {
        pager_dirty_decline(pager, &pager->domains[g->carried[i].domain], g->carried[i].slot);
    }
}

/*
 * No segment is left for what is written again: emptying waits for these, and they for what it makes clean. They stay in memory, to be written when there is
 * one; what the segment holds of them is given up.
 */
static void give_up_places(struct pager *pager, const struct gathering *g) {
    for (uint32_t i = 0; i < g->n; i++) {
        struct pager_domain *domain = &pager->domains[g->carried[i].domain];
        struct pager_record *record = &domain->records[g->carried[i].slot];
        struct pager_where where;
        pager_dirty_leave(domain, g->carried[i].slot);
        record->flags &= (uint8_t)~PAGER_RECORD_REWRITE;
        pager_dirty_again(pager, domain, g->carried[i].slot, false);
        if (pager_where_find(pager, record->block, record->group, &where) && where.segment == pager->disk->emptying.segment) {
            pager_where_drop(pager, record->block, record->group);
        }
    }
}

/*
 * No device takes anything now, or has a place for it. Records wait for one, but where memory is short, and at a stop that would wait in vain: then they are given up, and may go at
 * once, so that no more are than room is short of. True: look again.
 */
static bool while_none_takes(struct pager *pager, const struct gathering *g) {
    bool in_vain = pager->disk->flushing && pager_all_rest(pager, true), any = false;
    for (uint32_t i = 0; i < g->n; i++) {
        struct pager_domain *domain = &pager->domains[g->carried[i].domain];
        bool pressed = in_vain || is_pressed(domain) || pager_is_short(pager, domain);
        if (!pressed || !(domain->records[g->carried[i].slot].flags & PAGER_RECORD_DIRTY)) { /* it may have gone with its block */
            continue;
        }
        any = true;
        if (g->rewriting) { /* they stand before all others */
            give_up_places(pager, g);
            break;
        }
        pager_dirty_decline(pager, domain, g->carried[i].slot);
        pager_reclaim_check(pager, domain);
        if (domain->reclaiming && !domain->planning) {
            pager_reclaim(pager, domain);
        }
    }
    return any;
}

/* A drive wears out: beyond the budget writing waits, or, where memory is short, does not happen. True: look again. */
static bool over_budget(struct pager *pager, const struct gathering *g) {
    bool pressed = false;
    for (uint32_t i = 0; i < g->n; i++) {
        pressed |= is_pressed(&pager->domains[g->carried[i].domain]);
    }
    if (pressed && !g->rewriting) {
        decline_all(pager, g);
        return true;
    }
    return false;
}

/*
 * The log has no place for it. Emptying a segment makes one, unless it waits for room that these take up; while a device takes nothing, what is emptied may
 * be that one's, and memory does not wait for it. True: look again.
 */
static bool no_place(struct pager *pager, const struct gathering *g, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    if (status == QUIRE_TOO_LARGE) {
        decline_all(pager, g);
        return true;
    }
    if (status != QUIRE_FULL) {
        disk->starved = status == QUIRE_RETRY ? disk->starved : 0;
        return status == QUIRE_RETRY && pager_none_answers(pager) && while_none_takes(pager, g);
    }
    if (g->rewriting) {
        give_up_places(pager, g);
        return true;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        if (disk->starved >> g->carried[i].domain & 1) {
            pager_dirty_decline(pager, &pager->domains[g->carried[i].domain], g->carried[i].slot);
        }
    }
    disk->starved = 0;
    return pager_devices_doubtful(pager) && while_none_takes(pager, g);
}

/* True: something was written or decided, and there may be more. */
static bool write_one(struct pager *pager, struct gathering *g) {
    struct pager_disk *disk = pager->disk;
    gather(pager, g);
    if (g->n == 0) {
        return false;
    }
    if (pager_all_rest(pager, false)) {
        return while_none_takes(pager, g);
    }
    if (pager_budget_next_ns(&disk->budget, pager->now_ns) > pager->now_ns) {
        return over_budget(pager, g);
    }
    struct pager_op *op = batch_of_records(pager, g);
    if (!op) {
        return false;
    }
    enum quire_status status = pager_log_append(disk->log, PAGER_ANY_DEVICE, op->told.entries, op->told.n, g->rewriting, &op->batch.place);
    if (status != QUIRE_OK) {
        pager_op_free(pager, op);
        return no_place(pager, g, status);
    }
    batch_take(pager, op);
    batch_ask(pager, op);
    return true;
}

/* Devices in use that are given no more batches now, or no more of anything, a bit each: they have their share, or rest. */
static uint32_t full_devices(const struct pager *pager, bool batches, bool *all) {
    const struct pager_disk *disk = pager->disk;
    uint32_t n_in_use = (uint32_t)quire_max_u64(pager_devices_in_use(disk), 1), full = 0, n_full = 0;
    uint32_t most = (disk->options.writes_in_flight + n_in_use - 1) / n_in_use;
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        bool rests = pager_device_rests(pager, d) && (batches || disk->devices[d].rest.failures <= PAGER_DISK_QUIET_RESTS);
        bool is_full = rests || !pager_device_takes(disk, d, false) || (batches && disk->devices[d].writes >= most);
        if (is_full || !pager_log_device_in_use(disk->log, d)) {
            full |= 1u << d;
            n_full++;
        }
    }
    *all = n_full == disk->n_devices;
    return full;
}

/* False: no device takes one more batch. */
static bool may_write_more(struct pager *pager) {
    bool all;
    pager_log_hold_back(pager->disk->log, full_devices(pager, true, &all));
    return !all;
}

static bool may_seal_more(struct pager *pager) {
    bool all;
    pager_log_hold_back(pager->disk->log, full_devices(pager, false, &all));
    return !all;
}

static void seal(struct pager *pager) {
    const struct quire_log_entry *entries;
    uint32_t n, segment;
    while (may_seal_more(pager) && (segment = pager_log_to_seal(pager->disk->log, &entries, &n)) != PAGER_NO_SEGMENT) {
        struct pager_op *op = pager_op_new(pager, PAGER_OP_SEAL);
        if (!op) {
            pager_log_sealed(pager->disk->log, segment, false);
            return;
        }
        const struct pager_segment *s = pager_log_segment(pager->disk->log, segment);
        op->told.device = s->device;
        op->told.segment = segment;
        op->told.epoch = s->epoch;
        op->told.used_units = s->used_units;
        op->told.first = pager_log_lacks_header(pager->disk->log, segment, &op->told.tail_epoch);
        op->told.entries = (struct quire_log_entry *)(uintptr_t)entries; /* the log's; nobody writes to them */
        op->told.n = n;
        pager_write_charge(pager, pager_op_bytes(pager, op));
        pager_op_ask(pager, op, PAGER_DISK_SEAL);
    }
}

/* Deletions that no device keeps now were not acknowledged; a stop does not wait until there is room again. */
static bool is_burying(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    bool stuck = false;
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        stuck |= (disk->graves_to_dig >> d & 1) && disk->devices[d].rest.lasts && pager_device_rests(pager, d);
    }
    return (disk->n_tombstones > 0 || disk->late) && !(stuck && disk->graves_dug == 0);
}

/* All is written, and the last segments are sealed, or never will be. */
static void end_flush(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    bool dirty = disk->writes > 0 || is_burying(pager) || disk->meta_flying || disk->review.on;
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        dirty |= pager->domains[i].dirty_records > 0;
    }
    if (dirty && pager_devices_in_use(disk) > 0) {
        return;
    }
    pager_log_close(disk->log, PAGER_NO_SEGMENT);
    seal(pager);
    if (pager_log_all_sealed(disk->log) && disk->in_flight == 0) {
        disk->flushing = false;
        pager_wish_ask(pager, &disk->flushed, PAGER_FLUSHED);
    }
}

void pager_write_pump(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    struct gathering g;
    uint64_t declined = disk->counters.disk_declined;

    pager_write_due(pager);
    pager_rest_try_syncs(pager);
    pager_log_set_aside(disk->log, pager_devices_doubtful(pager));
    bury_pump(pager);
    /* Each domain in its turn: what the first of one cannot do, that of another may. */
    for (uint32_t failed = 0; failed < pager->n_domains && (may_write_more(pager) || pager_none_answers(pager));) {
        failed = write_one(pager, &g) ? 0 : failed + 1;
    }
    if (disk->counters.disk_declined != declined) {
        pager_room_serve_all(pager); /* what is not written after all may give way */
    }
    seal(pager);
    if (disk->flushing) {
        end_flush(pager);
    }
}

void pager_write_left(struct pager *pager, const struct pager_record *record) {
    const struct pager_ns *ns = pager->namespaces[record->ns];
    if (!ns->deleted) {
        pager_remains_note(pager, ns->serial, &pager_block_at(pager, record->block)->key, record->dirty_next);
    }
}
