/* The disk tier's life: set up and torn down with the pager, its wishes told and ended, its devices lost, its sums for people. */
#include "pager/disk/internal.h"

#include <stdlib.h>

void pager_disk_options_default(struct pager_disk_options *options) {
    *options = (struct pager_disk_options){
#define X(name, type, value, help) .name = value,
        PAGER_DISK_OPTIONS(X)
#undef X
    };
}

bool pager_has_disk(const struct pager *pager) { return pager->disk != NULL; }

/* Segments kept clean are some of many: where there are few, those that writing needs. */
static struct pager_disk_options sane(const struct pager_disk *disk, struct pager_disk_options options) {
    uint32_t least = disk->reserve + 1;
    options.clean_segments = (uint32_t)quire_min_u64(options.clean_segments, pager_log_segments(disk->log) / 4);
    options.writes_in_flight = (uint32_t)quire_min_u64(quire_max_u64(options.writes_in_flight, 1), PAGER_DISK_MOST_WRITES);
    options.clean_segments = (uint32_t)quire_max_u64(options.clean_segments, least);
    options.reinsert_pct = (uint32_t)quire_min_u64(options.reinsert_pct, 90);
    options.drive_writes_per_day = options.drive_writes_per_day > 0 ? options.drive_writes_per_day : 0;
    return options;
}

static void budget(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    struct pager_log_stats stats;
    pager_log_stats(disk->log, &stats);
    uint64_t a_day = (uint64_t)(disk->options.drive_writes_per_day * (double)stats.capacity_bytes);
    pager_budget_set(&disk->budget, disk->options.write_budget_bytes_per_s, a_day, pager->now_ns);
    pager_burials_set(&disk->burials, &disk->budget, PAGER_BURIALS_SHARE, PAGER_DOUBTFUL_BURIALS_PER_S, pager->now_ns);
    pager_meta_budget_set(pager);
}

/* When it is asked for, so that no more is asked for meanwhile than there is budget for. A write that fails may have worn the drive, too: it is not given back. */
void pager_write_charge(struct pager *pager, uint64_t bytes) {
    pager->disk->charged_bytes += bytes;
    pager_budget_spend(&pager->disk->budget, bytes, pager->now_ns);
}

void pager_write_taken(struct pager *pager, uint64_t bytes) { pager->disk->counters.disk_written_bytes += bytes; }

void pager_disk_wrote(struct pager *pager, uint64_t now_ns, uint64_t bytes) {
    pager_clock(pager, now_ns);
    pager_write_charge(pager, bytes);
    pager_write_taken(pager, bytes);
}

void pager_disk_set_options(struct pager *pager, const struct pager_disk_options *options) {
    if (pager->disk) {
        pager->disk->options = sane(pager->disk, *options);
        budget(pager);
    }
}

static enum quire_status init(struct pager *pager, const struct pager_log_shape *shape) {
    struct pager_disk *disk = pager->disk;
    QUIRE_FORWARD(pager_log_create(shape, &disk->log));
    disk->open_ticks = calloc(pager_log_segments(disk->log), sizeof(*disk->open_ticks));
    disk->tombstones = calloc(PAGER_DISK_MAX_TOMBSTONES, sizeof(*disk->tombstones));
    QUIRE_FORWARD(pager_pins_init(&disk->meta.pins, pager->options.max_pins, pager->seed));
    return disk->open_ticks && disk->tombstones ? pager_index_add_places(pager->index) : QUIRE_NO_MEMORY;
}

enum quire_status pager_disk_create(struct pager *pager, const struct pager_log_shape *shape, const struct pager_disk_options *options,
                                    uint64_t first_sequence) {
    if (pager->disk || pager_index_count(pager->index) > 0) {
        return QUIRE_INVALID;
    }
    pager->disk = calloc(1, sizeof(*pager->disk));
    if (!pager->disk) {
        return QUIRE_NO_MEMORY;
    }
    struct pager_disk *disk = pager->disk;
    disk->geometry = shape->geometry;
    disk->n_devices = shape->n_devices;
    disk->reserve = shape->reserve;
    disk->emptying.segment = PAGER_NO_SEGMENT;
    disk->restoring = true;
    pager_remains_init(pager);
    disk->meta_wanted = disk->meta_urgent = 1; /* what there is already */
    pager_table_init(&disk->ops, PAGER_DISK_MAX_OPS);
    pager_table_init(&disk->loads, PAGER_DISK_MAX_LOADS);
    enum quire_status status = init(pager, shape);
    if (status != QUIRE_OK) {
        pager_disk_destroy(pager);
        return status;
    }
    disk->options = sane(disk, *options);
    for (uint32_t i = 0; i < QUIRE_LOG_MAX_FILES; i++) {
        pager_pace_init(&disk->devices[i].pace);
    }
    pager->sequence = quire_max_u64(pager->sequence, first_sequence);
    disk->sequence_end = ((pager->sequence >> PAGER_SEQUENCE_BITS) + 1) << PAGER_SEQUENCE_BITS;
    budget(pager);
    return QUIRE_OK;
}

void pager_disk_destroy(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (!disk) {
        return;
    }
    uint32_t cursor = 0;
    pager_loads_free(pager);
    pager_barriers_free(pager);
    for (struct pager_op *op; (op = pager_table_next(&disk->ops, &cursor));) {
        if (op->kind == PAGER_OP_SEAL) {
            op->told.entries = NULL;
        }
        pager_op_free(pager, op);
    }
    pager_restore_free(pager);
    pager_remains_free(pager);
    pager_table_free(&disk->ops);
    pager_table_free(&disk->loads);
    pager_log_destroy(&disk->log);
    free(disk->emptying.entries);
    free(disk->open_ticks);
    free(disk->tombstones);
    pager_late_free(disk);
    pager_meta_free(pager);
    pager_where_nodes_free(&disk->places);
    free(disk);
    pager->disk = NULL;
}

/* ---- wishes --------------------------------------------------------------------------------------------------------------- */
struct pager_op *pager_op_new(struct pager *pager, enum pager_op_kind kind) {
    struct pager_op *op = calloc(1, sizeof(*op));
    if (!op || pager_table_add(&pager->disk->ops, op, &op->handle) != QUIRE_OK) {
        free(op);
        return NULL;
    }
    op->kind = (uint8_t)kind;
    return op;
}

void pager_op_free(struct pager *pager, struct pager_op *op) {
    if (op->wish.next) {
        pager_wish_cancel(&op->wish);
    }
    pager_op_unask(pager, op);
    if (op->kind == PAGER_OP_READ) {
        free((struct pager_disk_range *)(uintptr_t)op->told.ranges);
    } else if (op->kind == PAGER_OP_BATCH) {
        free((struct pager_disk_piece *)(uintptr_t)op->told.pieces);
        free(op->told.entries);
        free(op->batch.carried);
    }
    pager_table_remove(&pager->disk->ops, op->handle);
    free(op);
}

static void count(struct pager_disk *disk, const struct pager_op *op, uint32_t n) {
    disk->in_flight += n;
    if (op->kind != PAGER_OP_META) {
        disk->devices[op->told.device].in_flight += n;
    }
}

void pager_op_ask(struct pager *pager, struct pager_op *op, enum pager_event_type type) {
    assert(!op->asked);
    op->asked = true;
    count(pager->disk, op, 1);
    pager_wish_ask(pager, &op->wish, type);
}

void pager_op_unask(struct pager *pager, struct pager_op *op) {
    if (op->asked && !op->stuck) {
        count(pager->disk, op, -1u);
    }
    op->asked = false;
}

uint32_t pager_devices_in_use(const struct pager_disk *disk) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < disk->n_devices; i++) {
        n += pager_log_device_in_use(disk->log, i);
    }
    return n;
}

/* A lost device keeps its share: what is stuck there has places of the executor's. */
bool pager_device_takes(const struct pager_disk *disk, uint32_t device, bool read) {
    uint32_t share = PAGER_DISK_SHARED / disk->n_devices;
    return disk->devices[device].in_flight + (read ? (uint32_t)quire_max_u64(share / 8, 4) : 0) < share;
}

void pager_op_tell(const struct pager_op *op, struct pager_event *event) {
    event->ticket = op->handle | PAGER_DISK_TICKET;
    event->disk = &op->told;
}

void pager_op_ended(struct pager *pager, uint64_t ticket, enum quire_status status) {
    static void (*const ended[])(struct pager *, struct pager_op *, enum quire_status) = {
        [PAGER_OP_BATCH] = pager_write_ended, [PAGER_OP_READ] = pager_read_ended,       [PAGER_OP_SEAL] = pager_seal_ended,
        [PAGER_OP_META] = pager_meta_ended,   [PAGER_OP_ENTRIES] = pager_entries_ended,
    };
    struct pager_op *op = pager->disk ? pager_table_find(&pager->disk->ops, ticket & ~PAGER_DISK_TICKET) : NULL;
    if (op && op->asked && !op->wish.next) {
        ended[op->kind](pager, op, status);
    }
}

/* What one part of a turn leaves for another to go on with: a sum in which nothing makes up for anything else. */
static uint64_t footprint(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    const struct pager_emptying *e = &disk->emptying;
    const struct pager_disk_counters *c = &disk->counters;
    const uint64_t facts[] = {disk->due_sequence,
                              disk->meta_wanted,
                              disk->buried,
                              disk->burying,
                              disk->n_tombstones,
                              disk->rest_ns,
                              e->segment,
                              e->swept,
                              e->told,
                              e->again_ns,
                              e->at == e->n,
                              disk->reading_bytes,
                              disk->writes,
                              disk->starved,
                              disk->orphans,
                              disk->orphans_again,
                              disk->orphans_urgent,
                              c->disk_declined,
                              c->disk_dropped,
                              c->disk_orphans,
                              c->disk_demoted,
                              pager_log_clean(disk->log),
                              pager_log_open(disk->log),
                              pager_index_count(pager->index),
                              pager->counters.evicted_blocks};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(facts); i++) {
        sum = (sum ^ facts[i]) * 0x9e3779b97f4a7c15ull;
    }
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        sum = (sum ^ pager->domains[i].dirty_records ^ (uint64_t)pager->domains[i].slots_used << 32) * 0x9e3779b97f4a7c15ull;
    }
    return sum;
}

/* Until nothing more can be done: what is possible now must not wait for an event that may never come. */
void pager_disk_pump(struct pager *pager) {
    uint64_t before;
    pager_pins_pump(pager);
    do {
        before = footprint(pager);
        pager_meta_pump(pager);
        pager_write_pump(pager);
        pager_read_pump(pager);
        pager_empty_pump(pager);
        pager_orphans_pump(pager);
    } while (pager->wishes.next == &pager->wishes && footprint(pager) != before);
}

uint64_t pager_disk_deadline(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    uint64_t next_ns = UINT64_MAX, dirty = 0;
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        dirty += pager->domains[i].dirty_records;
    }
    if (disk->review.on || (dirty > 0 && pager_devices_in_use(disk) == 0)) {
        return pager->now_ns;
    }
    if (dirty > 0) {
        next_ns = quire_max_u64(disk->due_ns, pager_budget_next_ns(&disk->budget, pager->now_ns));
    }
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        const struct pager_rest *rest = &disk->devices[d].rest;
        bool waits = rest->failures > 0 && rest->until_ns > pager->now_ns;
        next_ns = waits ? quire_min_u64(next_ns, rest->until_ns) : next_ns;
        next_ns = quire_min_u64(next_ns, pager_silent_ns(pager, d));
    }
    if (disk->meta_wanted != disk->meta_durable && !disk->meta_flying) {
        next_ns = quire_min_u64(next_ns, pager_meta_due_ns(pager));
    }
    if (disk->restoring) {
        return next_ns;
    }
    if (disk->meta.sweeping) {
        next_ns = quire_min_u64(next_ns, pager->now_ns + QUIRE_NS_PER_MS);
    }
    if (disk->emptying.segment == PAGER_NO_SEGMENT && disk->rest_ns > pager->now_ns) {
        next_ns = quire_min_u64(next_ns, disk->rest_ns);
    }
    if (disk->emptying.segment != PAGER_NO_SEGMENT && !disk->emptying.asked) {
        next_ns = quire_min_u64(next_ns, disk->emptying.again_ns);
    }
    if (disk->emptying.told) {
        next_ns = quire_min_u64(next_ns, disk->emptying.at < disk->emptying.n ? disk->emptying.again_ns : pager->now_ns + QUIRE_NS_PER_MS);
    }
    return disk->orphans ? quire_min_u64(next_ns, disk->orphans_urgent ? pager->now_ns : disk->orphans_ns) : next_ns;
}

void pager_disk_flush(struct pager *pager, uint64_t now_ns) {
    pager_clock(pager, now_ns);
    if (pager->disk && !pager->disk->flushed.next) {
        pager->disk->flushing = true;
    }
}

void pager_demoted(struct pager *pager, uint64_t bytes) {
    (void)bytes;
    pager->disk->counters.disk_demoted++;
}

/* ---- devices, scrub ------------------------------------------------------------------------------------------------------- */
/*
 * Nobody waits any more for what is under way there: a drive that hangs may never tell. What it may still read or write stays where it is, and is given out
 * again only when the wish has ended.
 */
static void let_hang(struct pager *pager, uint32_t device) {
    static void (*const stuck[])(struct pager *, struct pager_op *) = {
        [PAGER_OP_BATCH] = pager_write_stuck, [PAGER_OP_READ] = pager_read_stuck, [PAGER_OP_ENTRIES] = pager_entries_stuck};
    uint32_t cursor = 0;
    for (struct pager_op *op; (op = pager_table_next(&pager->disk->ops, &cursor));) {
        if (!op->asked || op->kind == PAGER_OP_META || op->told.device != device) {
            continue;
        }
        count(pager->disk, op, -1u);
        op->stuck = true;
        if (op->kind != PAGER_OP_SEAL) {
            stuck[op->kind](pager, op);
        }
    }
}

void pager_disk_device_lost(struct pager *pager, uint64_t now_ns, uint32_t device) {
    pager_clock(pager, now_ns);
    if (!pager->disk || device >= pager->disk->n_devices || !pager_log_device_lost(pager->disk->log, device)) {
        return;
    }
    let_hang(pager, device);
    pager_review_expect(pager);
    pager_meta_urgent(pager); /* it tells which devices are trusted */
    pager_barriers_wait_for_meta(pager);
    pager_orphans_expect(pager);
}

/* `counter` tells of it, if it was. */
static bool drop_found_bad(struct pager *pager, uint64_t now_ns, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry,
                           uint64_t *counter) {
    pager_clock(pager, now_ns);
    const struct pager_ns *ns = pager_ns_of_serial(pager, entry->ns);
    uint32_t block = ns ? pager_index_find(pager->index, ns->number, &entry->key) : PAGER_NO_BLOCK;
    struct pager_where where;
    if (block == PAGER_NO_BLOCK || segment >= pager_log_segments(pager->disk->log) ||
        pager_log_segment(pager->disk->log, segment)->epoch != epoch || !pager_where_find(pager, block, entry->group, &where) ||
        where.segment != segment || where.at_units != entry->at_units) {
        return false;
    }
    ++*counter;
    pager_disk_rotten(pager, block, entry->group);
    return true;
}

bool pager_disk_damaged(struct pager *pager, uint64_t now_ns, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry) {
    return drop_found_bad(pager, now_ns, segment, epoch, entry, &pager->disk->counters.disk_corrupt);
}

bool pager_disk_unreadable(struct pager *pager, uint64_t now_ns, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry) {
    return drop_found_bad(pager, now_ns, segment, epoch, entry, &pager->disk->counters.disk_read_errors);
}

/* ---- sums ----------------------------------------------------------------------------------------------------------------- */
uint64_t pager_disk_memory(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    struct pager_log_stats stats;
    pager_log_stats(disk->log, &stats);
    return sizeof(*disk) + stats.books_bytes + pager_log_segments(disk->log) * sizeof(*disk->open_ticks) +
           PAGER_DISK_MAX_TOMBSTONES * sizeof(*disk->tombstones) + pager_table_bytes(&disk->ops) + pager_table_bytes(&disk->loads) +
           (uint64_t)disk->ops.used * sizeof(struct pager_op) + disk->sequences.committed_bytes +
           (disk->graves ? pager_index_bytes(disk->graves) : 0) + pager_pins_bytes(&disk->meta.pins) +
           disk->remains.capacity * sizeof(*disk->remains.places) + pager_late_bytes(disk);
}

void pager_disk_stats(const struct pager *pager, struct pager_disk_stats *stats) {
    const struct pager_disk *disk = pager->disk;
    *stats = (struct pager_disk_stats){0};
    if (!disk) {
        return;
    }
    pager_log_stats(disk->log, &stats->log);
    if (pager_devices_in_use(disk) > 0) { /* else nothing is to be written any more */
        pager_stranded(pager, &stats->dirty_records, &stats->dirty_bytes);
    }
    for (uint32_t i = 0; i < pager->n_domains && pager_devices_in_use(disk) > 0; i++) {
        stats->dirty_bytes += pager->domains[i].dirty_bytes;
        stats->dirty_records += pager->domains[i].dirty_records;
    }
    stats->estimate_error = disk->estimate_error;
    stats->writing_bytes = disk->writing_bytes;
    stats->reading_bytes = disk->reading_bytes;
    stats->where_bytes = pager_where_nodes_bytes(&disk->places);
    stats->restoring = disk->restoring;
    stats->emptying = disk->emptying.segment != PAGER_NO_SEGMENT;
    stats->meta_fails = disk->meta_fails;
    stats->pins = disk->meta.pins.n;
    stats->kept_namespaces = disk->meta.n_kept;
    stats->charged_bytes = disk->charged_bytes;
    stats->counters = &disk->counters;
}
