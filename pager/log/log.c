/* The log's books: segments, what lives in them, emptying, devices and restart. */
#include "pager/log/log_books.h"

#include <stdlib.h>

/* Header, head, a record, footer, trailer, and some use. */
#define MIN_SEGMENT_UNITS 8u

static bool shape_valid(const struct pager_log_shape *shape, uint64_t *n_segments) {
    const struct quire_log_geometry *g = &shape->geometry;
    if (g->unit_bytes < QUIRE_LOG_UNIT_MIN || g->unit_bytes > QUIRE_LOG_UNIT_MAX || (g->unit_bytes & (g->unit_bytes - 1)) != 0 ||
        g->segment_units < MIN_SEGMENT_UNITS || g->segment_units > QUIRE_LOG_MAX_SEGMENT_UNITS || shape->reserve == 0 ||
        shape->n_devices == 0 || shape->n_devices > QUIRE_LOG_MAX_FILES) {
        return false;
    }
    *n_segments = 0;
    for (uint32_t d = 0; d < shape->n_devices; d++) {
        if (shape->segments[d] < (uint64_t)shape->reserve + 2) {
            return false;
        }
        *n_segments += shape->segments[d];
    }
    return *n_segments <= QUIRE_LOG_MAX_SEGMENTS;
}

static void devices_init(struct pager_log *log) {
    uint32_t next = 0;
    for (uint32_t d = 0; d < log->shape.n_devices; d++) {
        log->devices[d] = (struct pager_log_device){.first = next,
                                                    .n = log->shape.segments[d],
                                                    .open = PAGER_NO_SEGMENT,
                                                    .first_clean = PAGER_NO_SEGMENT,
                                                    .last_clean = PAGER_NO_SEGMENT,
                                                    .in_use = true};
        for (uint32_t i = 0; i < log->shape.segments[d]; i++) {
            log->rows[next++].s.device = (uint8_t)d;
        }
    }
}

enum quire_status pager_log_create(const struct pager_log_shape *shape, struct pager_log **out) {
    uint64_t n;
    *out = NULL;
    if (!shape_valid(shape, &n)) {
        return QUIRE_INVALID;
    }
    struct pager_log *log = calloc(1, sizeof(*log));
    if (log == NULL) {
        return QUIRE_NO_MEMORY;
    }
    log->rows = calloc(n, sizeof(*log->rows));
    log->order = calloc(n, sizeof(*log->order));
    if (log->rows == NULL || log->order == NULL) {
        pager_log_destroy(&log);
        return QUIRE_NO_MEMORY;
    }
    log->shape = *shape;
    log->n_rows = log->n_unknown = (uint32_t)n;
    log->emptying = PAGER_NO_SEGMENT;
    log->sorted = true;
    devices_init(log);
    *out = log;
    return QUIRE_OK;
}

void pager_log_destroy(struct pager_log **plog) {
    struct pager_log *log = *plog;
    *plog = NULL;
    if (log == NULL) {
        return;
    }
    while (log->first_draft != NULL) {
        pager_log_drop_draft(log, log->first_draft->segment);
    }
    free(log->order);
    free(log->rows);
    free(log);
}

static struct pager_log_row *row_at(struct pager_log *log, uint32_t segment) {
    assert(segment < log->n_rows);
    return &log->rows[segment];
}

const struct pager_segment *pager_log_segment(const struct pager_log *log, uint32_t segment) {
    assert(segment < log->n_rows);
    return &log->rows[segment].s;
}

uint32_t pager_log_segments(const struct pager_log *log) { return log->n_rows; }

uint32_t pager_log_used(const struct pager_log *log) { return log->n_order; }

void pager_log_drop_draft(struct pager_log *log, uint32_t segment) {
    struct pager_log_draft **link = &log->first_draft, *before = NULL;
    while (*link != NULL && (*link)->segment != segment) {
        before = *link;
        link = &before->next;
    }
    struct pager_log_draft *draft = *link;
    assert(draft != NULL && log->rows[segment].draft == draft);
    *link = draft->next;
    if (log->last_draft == draft) {
        log->last_draft = before;
    }
    log->rows[segment].draft = NULL;
    free(draft->entries);
    free(draft);
}

/* ---- what lives ----------------------------------------------------------------------------------------------------------- */

static void settle_emptied(struct pager_log *log, uint32_t segment) {
    struct pager_log_row *row = row_at(log, segment);
    if (row->s.state != PAGER_SEGMENT_EMPTYING || !row->emptied || row->s.holds > 0 || row->s.live_records > 0) {
        return;
    }
    assert(row->s.live_bytes == 0 && row->s.writing == 0 && log->emptying == segment && pager_log_ordered(log, 0) == segment);
    log->first_order = (log->first_order + 1) % log->n_rows;
    log->n_order--;
    log->emptying = PAGER_NO_SEGMENT;
    row->emptied = false;
    row->s.used_units = row->s.n_entries = 0;
    pager_log_add_clean(log, segment);
}

void pager_log_live(struct pager_log *log, uint32_t segment, uint32_t bytes) {
    struct pager_segment *s = &row_at(log, segment)->s;
    assert(s->state > PAGER_SEGMENT_CLEAN && s->live_records < UINT32_MAX);
    s->live_records++;
    s->live_bytes += bytes;
}

void pager_log_dead(struct pager_log *log, uint32_t segment, uint32_t bytes) {
    struct pager_segment *s = &row_at(log, segment)->s;
    if (s->live_records == 0 && s->state == PAGER_SEGMENT_LOST) {
        return;
    }
    assert(s->live_records > 0 && s->live_bytes >= bytes);
    s->live_records--;
    s->live_bytes -= bytes;
    settle_emptied(log, segment);
}

void pager_log_hold(struct pager_log *log, uint32_t segment) {
    struct pager_segment *s = &row_at(log, segment)->s;
    assert(s->state > PAGER_SEGMENT_CLEAN && s->holds < UINT32_MAX);
    s->holds++;
}

void pager_log_unhold(struct pager_log *log, uint32_t segment) {
    struct pager_segment *s = &row_at(log, segment)->s;
    if (s->holds == 0 && s->state == PAGER_SEGMENT_LOST) {
        return;
    }
    assert(s->holds > 0);
    s->holds--;
    settle_emptied(log, segment);
}

/* ---- emptying ------------------------------------------------------------------------------------------------------------- */

uint32_t pager_log_clean(const struct pager_log *log) { return log->n_clean; }

uint32_t pager_log_open(const struct pager_log *log) { return log->n_open; }

bool pager_log_device_has_clean(const struct pager_log *log, uint32_t device) { return log->devices[device].n_clean > 0; }

void pager_log_set_aside(struct pager_log *log, uint32_t devices) {
    bool all = true;
    for (uint32_t d = 0; d < log->shape.n_devices; d++) {
        all &= !log->devices[d].in_use || (devices >> d & 1);
    }
    log->set_aside = all ? 0 : devices;
}

uint32_t pager_log_ready(const struct pager_log *log) {
    uint32_t n = log->n_clean;
    for (uint32_t d = 0; d < log->shape.n_devices; d++) {
        n -= log->set_aside >> d & 1 ? log->devices[d].n_clean : 0;
    }
    return n;
}

void pager_log_add_clean(struct pager_log *log, uint32_t segment) {
    struct pager_log_row *row = row_at(log, segment);
    struct pager_log_device *device = &log->devices[row->s.device];
    row->s.state = PAGER_SEGMENT_CLEAN;
    row->next_clean = PAGER_NO_SEGMENT;
    if (device->n_clean == 0) {
        device->first_clean = segment;
    } else {
        log->rows[device->last_clean].next_clean = segment;
    }
    device->last_clean = segment;
    device->n_clean++;
    log->n_clean++;
}

/* It is among the newest, but of several devices not always the last. */
static void leave_order(struct pager_log *log, uint32_t segment) {
    uint32_t at = log->n_order - 1;
    while (pager_log_ordered(log, at) != segment) {
        assert(at > 0);
        at--;
    }
    for (log->n_order--; at < log->n_order; at++) {
        log->order[((uint64_t)log->first_order + at) % log->n_rows] = pager_log_ordered(log, at + 1);
    }
}

void pager_log_discard(struct pager_log *log, uint32_t segment) {
    struct pager_log_row *row = row_at(log, segment);
    assert(row->s.state == PAGER_SEGMENT_SEALING && row->s.writing == 0 && row->s.live_records == 0);
    pager_log_drop_draft(log, segment);
    leave_order(log, segment);
    row->s.used_units = row->s.n_entries = 0;
    pager_log_add_clean(log, segment);
}

uint32_t pager_log_to_empty(struct pager_log *log, uint32_t wanted) {
    pager_log_settle(log);
    if (pager_log_ready(log) >= wanted || log->emptying != PAGER_NO_SEGMENT || log->n_unknown > 0 || log->n_order == 0) {
        return PAGER_NO_SEGMENT;
    }
    uint32_t oldest = pager_log_ordered(log, 0);
    struct pager_segment *s = &log->rows[oldest].s;
    if (s->state == PAGER_SEGMENT_OPEN && log->n_order > log->n_open) {
        pager_log_full(log, oldest);
    }
    if (s->state != PAGER_SEGMENT_SEALED) {
        return PAGER_NO_SEGMENT;
    }
    s->state = PAGER_SEGMENT_EMPTYING;
    log->emptying = oldest;
    return oldest;
}

void pager_log_emptied(struct pager_log *log, uint32_t segment) {
    struct pager_log_row *row = row_at(log, segment);
    if (row->s.state == PAGER_SEGMENT_LOST) {
        return;
    }
    assert(row->s.state == PAGER_SEGMENT_EMPTYING);
    row->emptied = true;
    settle_emptied(log, segment);
}

/* ---- devices -------------------------------------------------------------------------------------------------------------- */

static void lose_segment(struct pager_log *log, uint32_t segment) {
    struct pager_log_row *row = &log->rows[segment];
    log->n_unknown -= row->s.state == PAGER_SEGMENT_UNKNOWN;
    if (row->draft != NULL && !row->draft->given) {
        pager_log_drop_draft(log, segment);
    }
    row->s.state = PAGER_SEGMENT_LOST;
    row->emptied = false;
}

static void forget_lost(struct pager_log *log) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < log->n_order; i++) {
        uint32_t segment = pager_log_ordered(log, i);
        if (log->rows[segment].s.state != PAGER_SEGMENT_LOST) {
            log->order[((uint64_t)log->first_order + kept++) % log->n_rows] = segment;
        }
    }
    log->n_order = kept;
}

bool pager_log_device_lost(struct pager_log *log, uint32_t d) {
    assert(d < log->shape.n_devices);
    struct pager_log_device *device = &log->devices[d];
    if (!device->in_use) {
        return false;
    }
    for (uint32_t i = 0; i < device->n; i++) {
        lose_segment(log, device->first + i);
    }
    forget_lost(log);
    log->n_clean -= device->n_clean;
    log->n_open -= device->open != PAGER_NO_SEGMENT;
    if (log->emptying != PAGER_NO_SEGMENT && log->rows[log->emptying].s.device == d) {
        log->emptying = PAGER_NO_SEGMENT;
    }
    device->n_clean = 0;
    device->open = device->first_clean = device->last_clean = PAGER_NO_SEGMENT;
    device->in_use = false;
    return true;
}

bool pager_log_device_in_use(const struct pager_log *log, uint32_t device) {
    return device < log->shape.n_devices && log->devices[device].in_use;
}

/* ---- restart -------------------------------------------------------------------------------------------------------------- */

void pager_log_found(struct pager_log *log, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units,
                     uint32_t n_entries) {
    struct pager_log_row *row = row_at(log, segment);
    if (row->s.state == PAGER_SEGMENT_LOST) {
        return;
    }
    assert(!log->begun && row->s.state == PAGER_SEGMENT_UNKNOWN);
    assert(state == PAGER_SEGMENT_CLEAN || state == PAGER_SEGMENT_SEALED);
    log->n_unknown--;
    log->epoch = quire_max_u64(log->epoch, epoch);
    log->gap = epoch > 0 ? PAGER_LOG_EPOCH_GAP : log->gap;
    row->s.epoch = epoch;
    if (state == PAGER_SEGMENT_CLEAN) {
        pager_log_add_clean(log, segment);
        return;
    }
    row->s.state = PAGER_SEGMENT_SEALED;
    row->s.used_units = (uint32_t)quire_min_u64(used_units, log->shape.geometry.segment_units);
    row->s.n_entries = n_entries;
    row->s.footer = used_units < log->shape.geometry.segment_units;
    log->order[((uint64_t)log->first_order + log->n_order++) % log->n_rows] = segment;
    log->sorted = false;
}

static int by_epoch(const void *a, const void *b, void *ctx) {
    const struct pager_log_row *rows = ctx;
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    if (rows[left].s.epoch != rows[right].s.epoch) {
        return rows[left].s.epoch < rows[right].s.epoch ? -1 : 1;
    }
    return left < right ? -1 : 1;
}

void pager_log_settle(struct pager_log *log) {
    if (!log->sorted) {
        assert(log->first_order == 0);
        qsort_r(log->order, log->n_order, sizeof(*log->order), by_epoch, log->rows);
        log->sorted = true;
    }
}
