/*
 * From disk to memory: a record that is wanted gets an extent when there is room, and one read, however many wait for it. Reads that somebody waits for
 * go before those ahead of a reader.
 */
#include "pager/disk/internal.h"

#include <stdlib.h>

/* ---- queues --------------------------------------------------------------------------------------------------------------- */
static struct pager_read_queue *queue_of(struct pager_disk *disk, const struct pager_op *op) {
    struct pager_disk_device *device = &disk->devices[op->read.device];
    return op->read.purpose == PAGER_READ_LOAD ? &device->loads[op->read.domain] : &device->aheads[op->read.domain];
}

static uint32_t device_of(const struct pager_disk *disk, uint32_t segment) { return pager_log_segment(disk->log, segment)->device; }

static uint32_t whole_bytes(const struct pager *pager, const struct pager_record *record) {
    return (uint32_t)pager_room_bytes(pager, record->size_bytes);
}

static uint32_t bytes_of(const struct pager *pager, const struct pager_op *op) {
    return whole_bytes(pager, &pager->domains[op->read.domain].records[op->read.slot]);
}

static void push(struct pager *pager, struct pager_op *op) {
    struct pager_read_queue *queue = queue_of(pager->disk, op);
    pager->disk->devices[op->read.device].waiting_bytes += op->read.purpose == PAGER_READ_LOAD ? op->read.cost_bytes : 0;
    op->read.queued = true;
    op->read.next = NULL;
    op->read.prev = queue->last;
    *(queue->last ? &queue->last->read.next : &queue->first) = op;
    queue->last = op;
}

static void pull(struct pager *pager, struct pager_op *op) {
    struct pager_read_queue *queue = queue_of(pager->disk, op);
    pager->disk->devices[op->read.device].waiting_bytes -= op->read.purpose == PAGER_READ_LOAD ? op->read.cost_bytes : 0;
    *(op->read.prev ? &op->read.prev->read.next : &queue->first) = op->read.next;
    *(op->read.next ? &op->read.next->read.prev : &queue->last) = op->read.prev;
    op->read.prev = op->read.next = NULL;
    op->read.queued = false;
}

static void ahead(struct pager *pager, const struct pager_op *op, uint64_t bytes) {
    if (op->read.purpose == PAGER_READ_AHEAD) {
        pager->disk->devices[op->read.device].ahead_bytes += bytes;
    }
}

/* ---- wanting -------------------------------------------------------------------------------------------------------------- */
struct pager_op *pager_read_want(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_read_purpose purpose) {
    struct pager_record *record = &domain->records[slot];
    struct pager_where where;
    struct pager_op *op = pager_where_find(pager, record->block, record->group, &where) ? pager_op_new(pager, PAGER_OP_READ) : NULL;
    if (!op) {
        return NULL;
    }
    assert(record->state == PAGER_AWAY);
    op->read.domain = (uint32_t)(domain - pager->domains);
    op->read.slot = slot;
    op->read.purpose = (uint8_t)purpose;
    op->read.cost_bytes = whole_bytes(pager, record);
    op->read.rewrites = purpose == PAGER_READ_REWRITE;
    pager->disk->rewrites_reading += op->read.rewrites;
    pager_record_step(pager, domain, slot, PAGER_HAPPENS_LOAD);
    record->offset = op->handle;
    pager->disk->reading_bytes += whole_bytes(pager, record);
    op->read.device = device_of(pager->disk, where.segment);
    push(pager, op);
    ahead(pager, op, whole_bytes(pager, record));
    return op;
}

/* What lies there is to be the record that was written there: as much of its sum as its place has is known, or all when it is to be emptied. */
static void read_at(const struct pager *pager, struct pager_op *op, const struct pager_where *where, uint32_t block) {
    bool vouched = op->read.vouched.epoch != 0 && op->read.vouched.epoch == pager_log_segment(pager->disk->log, where->segment)->epoch &&
                   op->read.vouched.at_units == where->at_units;
    op->told.segment = where->segment;
    op->told.at_units = where->at_units;
    op->told.key = pager_block_at(pager, block)->key;
    op->told.check = vouched ? op->read.vouched.check : where->check;
    op->told.check_mask = vouched ? UINT64_MAX : pager_where_check_mask(pager);
}

/* Where it lies is settled now, and held: its block may be gone by the time that it is read. */
struct pager_op *pager_read_loose(struct pager *pager, struct pager_domain *domain, const struct pager_record *record,
                                  const struct pager_lanes *part, uint32_t *slot) {
    uint32_t block = record->block;
    struct pager_where where;
    struct pager_op *op = pager_where_find(pager, block, record->group, &where) ? pager_op_new(pager, PAGER_OP_READ) : NULL;
    *slot = op ? pager_record_take_away(pager, domain, block, record->group, true) : PAGER_NO_RECORD;
    if (*slot == PAGER_NO_RECORD) {
        if (op) {
            pager_op_free(pager, op);
        }
        return NULL;
    }
    struct pager_record *loose = &domain->records[*slot];
    loose->flags |= PAGER_RECORD_READING;
    loose->busy++;
    pager_record_ref(domain, *slot);
    op->read.domain = (uint32_t)(domain - pager->domains);
    op->read.slot = *slot;
    op->read.loose = true;
    op->read.part = *part;
    op->read.cost_bytes = pager_lanes_cost(part);
    read_at(pager, op, &where, block);
    pager_log_hold(pager->disk->log, where.segment);
    pager->disk->reading_bytes += whole_bytes(pager, loose);
    op->read.device = device_of(pager->disk, where.segment);
    push(pager, op);
    return op;
}

struct pager_op *pager_read_of(const struct pager *pager, const struct pager_record *record) {
    assert(record->state == PAGER_LOADING);
    return pager_table_find(&pager->disk->ops, record->offset);
}

static void ahead_no_more(struct pager *pager, const struct pager_op *op) { ahead(pager, op, -(uint64_t)bytes_of(pager, op)); }

void pager_read_promote(struct pager *pager, struct pager_op *op) {
    if (op->read.purpose == PAGER_READ_LOAD) {
        return;
    }
    bool queued = op->read.queued;
    if (queued) {
        pull(pager, op);
    }
    ahead_no_more(pager, op);
    op->read.purpose = PAGER_READ_LOAD;
    if (queued) {
        push(pager, op);
    }
}

void pager_read_rewrites(struct pager *pager, struct pager_op *op, const struct quire_log_entry *entry) {
    pager->disk->rewrites_reading += !op->read.rewrites;
    op->read.rewrites = true;
    op->read.vouched.check = entry->check;
    op->read.vouched.epoch = pager->disk->emptying.epoch;
    op->read.vouched.at_units = entry->at_units;
}

void pager_read_ahead(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_disk *disk = pager->disk;
    const struct pager_record *record = &domain->records[slot];
    struct pager_where where;
    if (record->state != PAGER_AWAY || !pager_where_find(pager, record->block, record->group, &where)) {
        return;
    }
    uint64_t share_bytes = disk->options.read_ahead_bytes / quire_max_u64(pager_devices_in_use(disk), 1);
    if (disk->devices[device_of(disk, where.segment)].ahead_bytes + whole_bytes(pager, record) <= share_bytes &&
        pager_read_want(pager, domain, slot, PAGER_READ_AHEAD)) {
        disk->counters.disk_read_ahead++;
    }
}

/* Among what a device has to read already, so that it is not counted once more. */
static bool is_counted(const struct pager *pager, const struct pager_domain *domain, uint32_t block, uint32_t group) {
    uint32_t slot = pager_record_find(domain, pager_block_at(pager, block), group);
    if (slot == PAGER_NO_RECORD || domain->records[slot].state != PAGER_LOADING) {
        return false;
    }
    const struct pager_op *op = pager_read_of(pager, &domain->records[slot]);
    return !op->read.queued || op->read.purpose == PAGER_READ_LOAD;
}

uint64_t pager_read_estimate(const struct pager *pager, const struct pager_domain *domain, uint32_t block, const struct pager_where *where,
                             uint64_t *ahead_bytes) {
    uint32_t device = device_of(pager->disk, where->segment);
    const struct pager_disk_device *v = &pager->disk->devices[device];
    bool counted = is_counted(pager, domain, block, where->group);
    uint64_t bytes = counted ? 0 : (uint64_t)where->size_units * pager->disk->geometry.unit_bytes;
    uint64_t estimate_ns = pager_pace_estimate_ns(&v->pace, pager->now_ns, v->waiting_bytes + ahead_bytes[device], bytes);
    ahead_bytes[device] += bytes;
    return estimate_ns;
}

/* ---- starting ------------------------------------------------------------------------------------------------------------- */
/* Where a block's record lies may have changed since it was asked for: it is looked up now. */
static bool locate(struct pager *pager, struct pager_op *op) {
    const struct pager_record *record = &pager->domains[op->read.domain].records[op->read.slot];
    struct pager_where where;
    if (!op->read.loose) {
        if (record->state != PAGER_LOADING || !pager_where_find(pager, record->block, record->group, &where)) {
            return false;
        }
        read_at(pager, op, &where, record->block);
    }
    return pager_log_segment(pager->disk->log, op->told.segment)->state != PAGER_SEGMENT_LOST;
}

/* All of it where there is no memory for the ranges: its place has room. Counts. */
static void tell_part(struct pager *pager, struct pager_op *op) {
    const struct pager_lanes *part = &op->read.part;
    struct pager_disk_counters *counters = &pager->disk->counters;
    struct pager_disk_range *ranges = part->n_ranges ? malloc(part->n_ranges * sizeof(*ranges)) : NULL;
    counters->disk_reads++;
    counters->disk_partial_reads += ranges != NULL;
    counters->disk_read_bytes += ranges ? part->bytes : op->read.piece.size_bytes;
    if (ranges) {
        pager_lanes_ranges(part, ranges);
        op->told.ranges = ranges;
        op->told.n_ranges = part->n_ranges;
        op->told.rect = part->rect;
    }
}

static void start(struct pager *pager, struct pager_op *op, uint32_t extent) {
    struct pager_disk *disk = pager->disk;
    struct pager_domain *domain = &pager->domains[op->read.domain];
    struct pager_record *record = &domain->records[op->read.slot];
    const struct pager_segment *segment = pager_log_segment(disk->log, op->told.segment);
    record->extent = extent;
    record->flags |= PAGER_RECORD_READING;
    domain->leased_bytes += op->read.loose && record->refs ? record->size_bytes : 0;
    if (op->read.loose) {
        record->offset = domain->tier_ops->offset(domain->tier, extent);
    } else {
        pager_log_hold(disk->log, op->told.segment);
    }
    uint32_t bytes = whole_bytes(pager, record);
    op->read.piece =
        (struct pager_disk_piece){.domain = op->read.domain, .size_bytes = bytes, .offset = domain->tier_ops->offset(domain->tier, extent)};
    op->told.device = segment->device;
    op->told.epoch = segment->epoch;
    op->told.size_units = quire_log_units(&disk->geometry, bytes);
    op->told.pieces = &op->read.piece;
    op->told.n_pieces = 1;
    op->told.ns = record->ns;
    op->told.group = record->group;
    op->read.begun_ns = pager->now_ns;
    pager_pace_begin(&disk->devices[segment->device].pace, pager->now_ns, op->read.cost_bytes);
    tell_part(pager, op);
    pager_op_ask(pager, op, PAGER_DISK_READ);
}

/* False: no room now; whoever waits goes on waiting. */
static bool serve(struct pager *pager, struct pager_op *op) {
    struct pager_domain *domain = &pager->domains[op->read.domain];
    uint32_t extent;
    if (!locate(pager, op)) {
        pull(pager, op);
        pager_read_ended(pager, op, QUIRE_MISS);
        return true;
    }
    if (device_of(pager->disk, op->told.segment) != op->read.device) { /* it was written elsewhere meanwhile: there it waits for its turn */
        pull(pager, op);
        ahead_no_more(pager, op);
        op->read.device = device_of(pager->disk, op->told.segment);
        ahead(pager, op, bytes_of(pager, op));
        push(pager, op);
        return true;
    }
    uint32_t bytes = bytes_of(pager, op);
    if (pager_room_extent(pager, domain, bytes, op->read.slot, &extent) != QUIRE_OK) {
        pager->disk->starved |= 1ull << op->read.domain;
        if (op->read.waiting) {
            return false;
        }
        pull(pager, op);
        pager_read_ended(pager, op, QUIRE_FULL);
        return true;
    }
    pull(pager, op);
    pager->disk->starved &= ~(1ull << op->read.domain);
    start(pager, op, extent);
    return true;
}

/* One of each domain on one device, but of those whose pool has no room now. True: something was served. */
static bool serve_device(struct pager *pager, uint32_t device, bool aheads, uint64_t *blocked) {
    struct pager_disk_device *v = &pager->disk->devices[device];
    const struct pager_read_queue *queues = aheads ? v->aheads : v->loads;
    bool any = false;
    for (uint32_t d = 0; d < pager->n_domains && pager_device_takes(pager->disk, device, true); d++) {
        if (!(*blocked >> d & 1) && queues[d].first) {
            bool served = serve(pager, queues[d].first);
            *blocked |= served ? 0 : 1ull << d;
            any |= served;
        }
    }
    return any;
}

/* Devices and domains in turn, until nothing more can be done. The next time begins with the device behind the one that was served last. */
static void serve_in_turn(struct pager *pager, bool aheads) {
    struct pager_disk *disk = pager->disk;
    uint64_t blocked = 0;
    for (uint32_t device = disk->read_turn, idle = 0; idle < disk->n_devices; device = (device + 1) % disk->n_devices) {
        if (serve_device(pager, device, aheads, &blocked)) {
            disk->read_turn = (device + 1) % disk->n_devices;
            idle = 0;
        } else {
            idle++;
        }
    }
}

void pager_read_pump(struct pager *pager) {
    serve_in_turn(pager, false);
    serve_in_turn(pager, true);
}

/* ---- what is lost -------------------------------------------------------------------------------------------------------------- */
/*
 * The only copy is dirty again. What was found keeps its number while that is known: a deletion that is told later, to this life or to the next, still finds it the
 * older one.
 */
static void soil(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    uint64_t found = pager_restore_sequence(pager, record->block, record->group);
    record->sequence = record->sequence ? record->sequence : found ? found : ++pager->sequence;
    pager_dirty_enter(pager, domain, slot);
}

/* What is to be told of a block of which nothing is left. */
static enum pager_ghost_kind ghost_of(const struct pager *pager, const struct pager_block *block, bool rotten) {
    return pager->namespaces[block->ns]->deleted ? PAGER_GHOST_NONE : rotten ? PAGER_GHOST_CORRUPT : PAGER_GHOST_EVICTED;
}

/* `rotten`: its place was not given up, it is lost. A good copy in memory is the only one now, and is written again. */
static void forget(struct pager *pager, uint32_t block, uint32_t group, bool rotten) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_domain *domain = pager_domain_of(pager, b);
    uint32_t slot = pager_record_find(domain, b, group);
    bool only = rotten && slot != PAGER_NO_RECORD && (domain->records[slot].flags & PAGER_RECORD_CLEAN);
    if (slot != PAGER_NO_RECORD && pager_record_has_bytes(&domain->records[slot])) {
        pager_clean_leave(pager, &domain->records[slot]);
    } else if (slot != PAGER_NO_RECORD) {
        pager_record_step(pager, domain, slot, PAGER_HAPPENS_DROP);
    }
    pager_where_drop(pager, block, group);
    if (only) {
        soil(pager, domain, slot);
    }
    if (pager_block_stored(pager, block)) {
        pager_block_file(pager, block);
    } else {
        pager_ghost_add(&pager->ghosts, pager->namespaces[b->ns]->serial, &b->key, ghost_of(pager, b, rotten));
        if (b->pins > 0) {
            pager_pin_left(pager, block);
        }
        pager_block_settle(pager, block);
    }
}

void pager_disk_forget(struct pager *pager, uint32_t block, uint32_t group) {
    struct pager_where where;
    bool found = pager_where_find(pager, block, (uint8_t)group, &where);
    forget(pager, block, group, found && pager_log_segment(pager->disk->log, where.segment)->state == PAGER_SEGMENT_LOST);
}

void pager_disk_rotten(struct pager *pager, uint32_t block, uint32_t group) { forget(pager, block, group, true); }

/* ---- the end -------------------------------------------------------------------------------------------------------------- */
static void extent_give(struct pager_domain *domain, struct pager_record *record) {
    if (record->extent != PAGER_NO_EXTENT) {
        domain->leased_bytes -= record->state == PAGER_DOOMED && record->refs ? record->size_bytes : 0;
        domain->tier_ops->release(domain->tier, record->extent);
        record->extent = PAGER_NO_EXTENT;
    }
}

/* Damaged, or unreadable: what the index still says of that place is not true. */
static void lost(struct pager *pager, const struct pager_op *op, enum quire_status status) {
    const struct pager_record *record = &pager->domains[op->read.domain].records[op->read.slot];
    uint32_t block = pager_index_find(pager->index, record->ns, &op->told.key);
    struct pager_where where;
    pager->disk->counters.disk_corrupt += status == QUIRE_CORRUPT;
    pager->disk->counters.disk_read_errors += status == QUIRE_SYSTEM;
    if (block != PAGER_NO_BLOCK && pager_where_find(pager, block, record->group, &where) && where.segment == op->told.segment &&
        where.at_units == op->told.at_units) {
        pager_disk_rotten(pager, block, record->group);
    }
}

/* Of a read that was begun: what the place holds is not what the index says. Else nothing is known, and the next who asks may have it. */
static bool is_final(enum quire_status status) { return !pager_is_passing(status) && status != QUIRE_RETRY && status != QUIRE_TIMEOUT; }

static void loose_ended(struct pager *pager, struct pager_op *op, enum quire_status status) {
    struct pager_domain *domain = &pager->domains[op->read.domain];
    struct pager_record *record = &domain->records[op->read.slot];
    if (status != QUIRE_OK) {
        extent_give(domain, record);
    }
    if (op->asked && status != QUIRE_OK && is_final(status)) {
        lost(pager, op, status);
    }
    record->flags &= (uint8_t)~PAGER_RECORD_READING;
    record->busy--;
    pager_record_step(pager, domain, op->read.slot, PAGER_HAPPENS_LET_GO);
}

static bool is_alone(const struct pager_domain *domain, const struct pager_block *block, uint32_t group) {
    for (uint32_t slot = block->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (domain->records[slot].group != group && pager_record_has_bytes(&domain->records[slot])) {
            return false;
        }
    }
    return true;
}

/*
 * Read for the second time since it left memory, be it that only a part was the first time: it stays. A block's groups leave together: what comes when
 * another one is there already is no other time.
 */
static void promote(struct pager *pager, uint32_t number, uint8_t group, uint8_t purpose) {
    struct pager_block *block = pager_block_at(pager, number);
    bool alone = is_alone(pager_domain_of(pager, block), block, group);
    bool again = (alone && (block->flags & PAGER_BLOCK_FLEETING)) || pager_where_parted(pager, number, group);
    pager_where_part(pager, number, group, false);
    if (purpose != PAGER_READ_REWRITE && again) {
        block->flags &= (uint8_t)~PAGER_BLOCK_FLEETING;
        pager->disk->counters.disk_promoted++;
    } else if (alone) {
        block->flags |= PAGER_BLOCK_FLEETING;
    }
}

static void arrived(struct pager *pager, struct pager_op *op) {
    struct pager_domain *domain = &pager->domains[op->read.domain];
    struct pager_record *record = &domain->records[op->read.slot];
    uint32_t block = record->block;
    struct pager_where where;
    record->offset = op->read.piece.offset;
    pager_record_step(pager, domain, op->read.slot, PAGER_HAPPENS_LOADED);
    if (pager_where_find(pager, block, record->group, &where)) {
        pager_clean_enter(pager, record, where.segment);
        (void)pager_rescue(pager, block); /* it may have been written elsewhere meanwhile, and lost there */
    }
    promote(pager, block, record->group, op->read.purpose);
    if (op->read.rewrites) {
        pager_empty_arrived(pager, domain, op->read.slot);
    }
    pager_block_file(pager, block);
}

static void failed(struct pager *pager, struct pager_op *op, enum quire_status status) {
    struct pager_domain *domain = &pager->domains[op->read.domain];
    struct pager_record *record = &domain->records[op->read.slot];
    extent_give(domain, record);
    if (record->state == PAGER_DOOMED) {
        record->busy--;
        pager_record_step(pager, domain, op->read.slot, PAGER_HAPPENS_LET_GO);
        return;
    }
    uint32_t block = record->block, group = record->group;
    pager->disk->emptying.put_off |= op->read.rewrites && op->asked && !is_final(status);
    pager_record_step(pager, domain, op->read.slot, PAGER_HAPPENS_UNLOAD);
    if (status == QUIRE_MISS) {
        pager_disk_forget(pager, block, group);
    } else if (op->asked && is_final(status)) {
        pager->disk->counters.disk_corrupt += status == QUIRE_CORRUPT;
        pager->disk->counters.disk_read_errors += status == QUIRE_SYSTEM;
        pager_disk_rotten(pager, block, group);
    }
}

static void leave_books(struct pager *pager, const struct pager_op *op) {
    pager->disk->reading_bytes -= bytes_of(pager, op);
    pager->disk->rewrites_reading -= op->read.rewrites;
    ahead_no_more(pager, op);
}

/* Whoever waits has a miss now. The record goes, its extent stays until the device has let go of it. */
void pager_read_stuck(struct pager *pager, struct pager_op *op) {
    const struct pager_record *record = &pager->domains[op->read.domain].records[op->read.slot];
    leave_books(pager, op);
    pager_load_landed(pager, op, QUIRE_MISS, op->read.slot);
    if (record->state == PAGER_LOADING) {
        pager_disk_forget(pager, record->block, record->group);
    }
}

void pager_read_ended(struct pager *pager, struct pager_op *op, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    struct pager_domain *domain = &pager->domains[op->read.domain];
    struct pager_record *record = &domain->records[op->read.slot];
    if (op->stuck) {
        status = QUIRE_MISS; /* too late for anybody */
    } else {
        leave_books(pager, op);
    }
    if (op->asked) {
        pager_pace_end(&disk->devices[op->told.device].pace, pager->now_ns, op->read.cost_bytes, op->read.begun_ns, status == QUIRE_OK);
    }
    if (op->asked || op->read.loose) {
        pager_log_unhold(disk->log, op->told.segment);
    }
    pager_load_landed(pager, op, status, op->read.slot);
    if (op->read.loose) {
        loose_ended(pager, op, status);
    } else {
        record->flags &= (uint8_t)~PAGER_RECORD_READING;
        if (status == QUIRE_OK && record->state == PAGER_LOADING) {
            arrived(pager, op);
        } else {
            failed(pager, op, status == QUIRE_OK ? QUIRE_MISS : status);
        }
    }
    pager_op_free(pager, op);
}

/* What was begun goes on: its bytes are on their way, and somebody may ask for them next. */
void pager_read_unwanted(struct pager *pager, struct pager_op *op) {
    if (op->read.queued && !op->read.waiting && !op->read.rewrites) {
        pull(pager, op);
        pager_read_ended(pager, op, QUIRE_CANCELLED);
    }
}
