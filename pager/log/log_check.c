/* The log's books: sums for people, and a recount. */
#include "pager/log/log_books.h"

static void sum_segment(const struct pager_log *log, const struct pager_segment *s, struct pager_log_stats *stats) {
    uint64_t unit_bytes = log->shape.geometry.unit_bytes;
    if (s->state == PAGER_SEGMENT_LOST) {
        stats->lost++;
        return;
    }
    stats->capacity_bytes += log->shape.geometry.segment_units * unit_bytes;
    stats->live_bytes += s->live_bytes;
    stats->live_records += s->live_records;
    stats->used_bytes += s->used_units * unit_bytes;
    stats->clean += s->state == PAGER_SEGMENT_CLEAN;
    stats->open += s->state == PAGER_SEGMENT_OPEN;
    stats->sealed += s->state == PAGER_SEGMENT_SEALING || s->state == PAGER_SEGMENT_SEALED || s->state == PAGER_SEGMENT_EMPTYING;
}

void pager_log_stats(const struct pager_log *log, struct pager_log_stats *stats) {
    *stats = (struct pager_log_stats){.segments = log->n_rows, .devices = log->shape.n_devices, .epoch = log->epoch};
    for (uint32_t i = 0; i < log->n_rows; i++) {
        sum_segment(log, &log->rows[i].s, stats);
    }
    for (uint32_t d = 0; d < log->shape.n_devices; d++) {
        stats->devices_lost += !log->devices[d].in_use;
    }
    stats->books_bytes = sizeof(*log) + (uint64_t)log->n_rows * (sizeof(*log->rows) + sizeof(*log->order));
    for (const struct pager_log_draft *draft = log->first_draft; draft != NULL; draft = draft->next) {
        stats->books_bytes += sizeof(*draft) + draft->capacity * sizeof(*draft->entries);
    }
}

static void check_row(const struct pager_log *log, uint32_t segment) {
    const struct pager_log_row *row = &log->rows[segment];
    const struct pager_segment *s = &row->s;
    const struct pager_log_device *device = &log->devices[s->device];
    bool written = s->state == PAGER_SEGMENT_OPEN || s->state == PAGER_SEGMENT_SEALING;
    assert(segment >= device->first && segment - device->first < device->n);
    assert((s->state == PAGER_SEGMENT_LOST) == !device->in_use);
    assert((s->state == PAGER_SEGMENT_OPEN) == (device->open == segment));
    assert((s->state == PAGER_SEGMENT_EMPTYING) == (log->emptying == segment));
    assert(!row->emptied || (s->state == PAGER_SEGMENT_EMPTYING && (s->holds > 0 || s->live_records > 0)));
    assert(written ? row->draft != NULL : row->draft == NULL || (s->state == PAGER_SEGMENT_LOST && row->draft->given));
    assert(s->writing == 0 || written || s->state == PAGER_SEGMENT_LOST);
    assert(s->epoch <= log->epoch);
    if (s->state <= PAGER_SEGMENT_CLEAN) {
        assert(s->live_records == 0 && s->live_bytes == 0 && s->holds == 0 && s->used_units == 0 && s->n_entries == 0);
    }
}

static void check_draft(const struct pager_log *log, const struct pager_log_draft *draft) {
    const struct pager_log_row *row = &log->rows[draft->segment];
    const struct quire_log_geometry *g = &log->shape.geometry;
    assert(row->draft == draft && draft->n <= draft->capacity);
    assert(!draft->given || (row->s.state != PAGER_SEGMENT_OPEN && row->s.writing == 0));
    if (row->s.state == PAGER_SEGMENT_LOST) {
        return;
    }
    assert(draft->n == row->s.n_entries && row->s.used_units + quire_log_footer_units(g, draft->n) + 1 <= g->segment_units);
    uint32_t end = 1;
    for (uint32_t i = 0; i < draft->n; i++) {
        const struct quire_log_entry *entry = &draft->entries[i];
        if (entry->kind == QUIRE_LOG_RECORD) { /* in the order in which they lie, and none on another */
            assert(entry->at_units >= end);
            end = entry->at_units + quire_log_units(g, entry->size_bytes);
        }
        bool placeless =
            entry->kind == QUIRE_LOG_TOMBSTONE && row->s.state != PAGER_SEGMENT_OPEN; /* given out, perhaps not for the first time */
        assert((entry->at_units >= 1 || placeless) && end <= row->s.used_units);
    }
}

static void check_order(const struct pager_log *log) {
    uint64_t before = 0;
    for (uint32_t i = 0; i < log->n_order; i++) {
        const struct pager_segment *s = &log->rows[pager_log_ordered(log, i)].s;
        assert(s->state > PAGER_SEGMENT_CLEAN && s->state != PAGER_SEGMENT_LOST);
        assert(s->state != PAGER_SEGMENT_EMPTYING || i == 0);
        assert(!log->sorted || s->epoch >= before);
        before = s->epoch;
    }
}

static void check_clean(const struct pager_log *log) {
    uint32_t all = 0;
    for (uint32_t d = 0; d < log->shape.n_devices; d++) {
        const struct pager_log_device *device = &log->devices[d];
        uint32_t n = 0, last = PAGER_NO_SEGMENT;
        for (uint32_t i = device->first_clean; n < device->n_clean; i = log->rows[i].next_clean, n++) {
            assert(log->rows[i].s.state == PAGER_SEGMENT_CLEAN && log->rows[i].s.device == d);
            last = i;
        }
        assert(n == 0 || (last == device->last_clean && log->rows[last].next_clean == PAGER_NO_SEGMENT));
        all += n;
    }
    assert(all == log->n_clean);
}

void pager_log_check(const struct pager_log *log) {
    uint32_t states[PAGER_SEGMENT_LOST + 1] = {0}, drafts = 0;
    const struct pager_log_draft *last = NULL;
    for (uint32_t i = 0; i < log->n_rows; i++) {
        check_row(log, i);
        states[log->rows[i].s.state]++;
        drafts += log->rows[i].draft != NULL;
    }
    assert(states[PAGER_SEGMENT_UNKNOWN] == log->n_unknown && states[PAGER_SEGMENT_CLEAN] == log->n_clean &&
           states[PAGER_SEGMENT_OPEN] == log->n_open);
    assert(states[PAGER_SEGMENT_OPEN] + states[PAGER_SEGMENT_SEALING] + states[PAGER_SEGMENT_SEALED] + states[PAGER_SEGMENT_EMPTYING] ==
           log->n_order);
    for (const struct pager_log_draft *draft = log->first_draft; draft != NULL; draft = draft->next, drafts--) {
        assert(last == NULL || log->rows[last->segment].s.epoch < log->rows[draft->segment].s.epoch);
        check_draft(log, draft);
        last = draft;
    }
    assert(drafts == 0 && log->last_draft == last);
    check_order(log);
    check_clean(log);
}
