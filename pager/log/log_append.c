/* The log's books: where batches go, and footers. */
#include "pager/log/log_books.h"

#include <stdlib.h>

struct batch {
    uint32_t n;
    uint64_t units;
    bool buries, rewriting;
};

static struct batch measure(const struct pager_log *log, const struct quire_log_entry *entries, uint32_t n, bool rewriting) {
    const struct quire_log_geometry *g = &log->shape.geometry;
    struct batch batch = {.n = n, .units = quire_log_head_units(g, n), .rewriting = rewriting};
    for (uint32_t i = 0; i < n; i++) {
        if (entries[i].kind == QUIRE_LOG_TOMBSTONE) {
            batch.buries = true;
        } else {
            assert(entries[i].kind == QUIRE_LOG_RECORD && entries[i].size_bytes > 0);
            batch.units += quire_log_units(g, entries[i].size_bytes);
        }
    }
    return batch;
}

/* Footer and trailer always find their place behind it. */
static bool fits(const struct pager_log *log, uint64_t used_units, uint64_t n_before, uint64_t n, uint64_t units) {
    const struct quire_log_geometry *g = &log->shape.geometry;
    return used_units + units + quire_log_footer_units(g, (uint32_t)(n_before + n)) + 1 <= g->segment_units;
}

static enum quire_status draft_reserve(struct pager_log_draft *draft, uint32_t n) {
    if (n <= draft->capacity - draft->n) {
        return QUIRE_OK;
    }
    uint32_t capacity = (uint32_t)quire_max_u64(quire_max_u64(64, (uint64_t)draft->capacity * 3 / 2), (uint64_t)draft->n + n);
    struct quire_log_entry *entries = realloc(draft->entries, capacity * sizeof(*entries));
    if (entries == NULL) {
        return QUIRE_NO_MEMORY;
    }
    draft->entries = entries;
    draft->capacity = capacity;
    return QUIRE_OK;
}

void pager_log_full(struct pager_log *log, uint32_t segment) {
    struct pager_segment *s = &log->rows[segment].s;
    assert(s->state == PAGER_SEGMENT_OPEN && log->devices[s->device].open == segment);
    s->state = PAGER_SEGMENT_SEALING;
    log->devices[s->device].open = PAGER_NO_SEGMENT;
    log->n_open--;
}

static enum quire_status draft_create(uint32_t segment, uint32_t n, struct pager_log_draft **out) {
    struct pager_log_draft *draft = calloc(1, sizeof(*draft));
    if (draft == NULL) {
        return QUIRE_NO_MEMORY;
    }
    draft->segment = segment;
    if (draft_reserve(draft, n) != QUIRE_OK) {
        free(draft);
        return QUIRE_NO_MEMORY;
    }
    *out = draft;
    return QUIRE_OK;
}

/*
 * The tombstones in it are needed until a header that lasts says that all older segments are empty. One of its own device: a device that
 * is lost takes its headers with it.
 */
static bool may_be_needed(const struct pager_log_device *device, const struct pager_log_row *row) {
    return row->s.epoch > 0 && row->s.epoch >= device->tail;
}

/* FULL: the device has no clean segment for this batch; then its open one, if any, goes on waiting for smaller ones. */
static enum quire_status open_another(struct pager_log *log, uint32_t d, const struct batch *batch, uint32_t *segment) {
    struct pager_log_device *device = &log->devices[d];
    struct pager_log_draft *draft;
    uint32_t clean = pager_log_ready(log) + (log->set_aside >> d & 1 ? device->n_clean : 0);
    if (device->n_clean == 0 || clean <= (batch->rewriting ? 0 : log->shape.reserve) || log->epoch == UINT64_MAX) {
        return QUIRE_FULL;
    }
    bool alone = may_be_needed(device, &log->rows[device->first_clean]);
    if (alone && log->n_unknown > 0) {
        return QUIRE_FULL;
    }
    QUIRE_FORWARD(draft_create(device->first_clean, batch->n, &draft));
    if (device->open != PAGER_NO_SEGMENT) {
        pager_log_full(log, device->open);
    }
    *segment = device->open = device->first_clean;
    struct pager_log_row *row = &log->rows[*segment];
    device->first_clean = row->next_clean;
    device->n_clean--;
    log->n_clean--;
    log->n_open++;
    row->draft = draft;
    row->broken = row->headless = false;
    row->opening = alone;
    row->s.state = PAGER_SEGMENT_OPEN;
    log->epoch += log->gap < UINT64_MAX - log->epoch ? log->gap : 0;
    log->gap = 0;
    row->s.epoch = ++log->epoch;
    row->s.used_units = 1; /* its header */
    log->order[((uint64_t)log->first_order + log->n_order++) % log->n_rows] = *segment;
    if (log->first_draft == NULL) {
        log->first_draft = draft;
    } else {
        log->last_draft->next = draft;
    }
    log->last_draft = draft;
    return QUIRE_OK;
}

static bool takes(const struct pager_log *log, uint32_t segment, const struct batch *batch) {
    const struct pager_segment *s = &log->rows[segment].s;
    return s->state == PAGER_SEGMENT_OPEN && fits(log, s->used_units, s->n_entries, batch->n, batch->units);
}

static bool is_opening(const struct pager_log *log, uint32_t segment) { return segment != PAGER_NO_SEGMENT && log->rows[segment].opening; }

static enum quire_status choose_in_turn(struct pager_log *log, const struct batch *batch, uint32_t *segment) {
    enum quire_status status = QUIRE_FULL;
    bool held_back = false;
    for (uint32_t i = 0; i < log->shape.n_devices && status == QUIRE_FULL; i++) {
        uint32_t d = (log->turn + i) % log->shape.n_devices, open = log->devices[d].open;
        if (log->held_back >> d & 1 || is_opening(log, open)) {
            held_back |= log->devices[d].in_use && !(log->set_aside >> d & 1);
            continue;
        }
        if (open != PAGER_NO_SEGMENT && takes(log, open, batch)) {
            *segment = open;
            status = draft_reserve(log->rows[open].draft, batch->n);
        } else {
            status = open_another(log, d, batch, segment);
        }
        if (status == QUIRE_OK) {
            log->turn = (d + 1) % log->shape.n_devices;
        }
    }
    return status == QUIRE_FULL && held_back ? QUIRE_RETRY : status;
}

/* What is buried may lie in any of the device's segments up to its newest, so nothing older will do, be it open or not. */
static enum quire_status choose_newest(struct pager_log *log, uint32_t device, const struct batch *batch, uint32_t *segment) {
    for (uint32_t i = log->n_order; i-- > 0;) {
        *segment = pager_log_ordered(log, i);
        if (log->rows[*segment].s.device != device) {
            continue;
        }
        if (is_opening(log, *segment)) {
            return QUIRE_RETRY;
        }
        if (takes(log, *segment, batch)) {
            return draft_reserve(log->rows[*segment].draft, batch->n);
        }
        break;
    }
    return open_another(log, device, batch, segment);
}

/* Gives each record its place. A tombstone has none, but in the draft it has its batch's: that is how the batch is found again. */
static void write_down(struct pager_log *log, struct pager_log_row *row, struct quire_log_entry *entries, uint32_t n, uint32_t head_units) {
    struct quire_log_entry *copies = row->draft->entries + row->draft->n;
    uint32_t from = row->s.used_units, at = from + head_units;
    for (uint32_t i = 0; i < n; i++) {
        bool record = entries[i].kind == QUIRE_LOG_RECORD;
        entries[i].at_units = record ? at : 0;
        copies[i] = entries[i];
        copies[i].at_units = record ? at : from;
        at += record ? quire_log_units(&log->shape.geometry, entries[i].size_bytes) : 0;
    }
    row->draft->n += n;
    row->s.n_entries += n;
    row->s.used_units = at;
    row->s.writing++;
}

static uint64_t tail_of(const struct pager_log *log) { return log->n_unknown > 0 ? 0 : log->rows[pager_log_ordered(log, 0)].s.epoch; }

enum quire_status pager_log_append(struct pager_log *log, uint32_t device, struct quire_log_entry *entries, uint32_t n, bool rewriting,
                                   struct pager_log_place *place) {
    assert(n > 0 && n <= QUIRE_LOG_MAX_BATCH && (device == PAGER_ANY_DEVICE || device < log->shape.n_devices));
    struct batch batch = measure(log, entries, n, rewriting);
    uint32_t segment = PAGER_NO_SEGMENT;
    if (!fits(log, 1, 0, n, batch.units)) {
        return QUIRE_TOO_LARGE;
    }
    pager_log_settle(log);
    log->begun = true;
    assert(!batch.buries || device != PAGER_ANY_DEVICE);
    QUIRE_FORWARD(device == PAGER_ANY_DEVICE ? choose_in_turn(log, &batch, &segment) : choose_newest(log, device, &batch, &segment));
    struct pager_log_row *row = &log->rows[segment];
    *place = (struct pager_log_place){.segment = segment,
                                      .epoch = row->s.epoch,
                                      .at_units = row->s.used_units,
                                      .head_units = quire_log_head_units(&log->shape.geometry, n),
                                      .size_units = (uint32_t)batch.units,
                                      .first = row->s.used_units == 1,
                                      .alone = row->opening,
                                      .tail = tail_of(log)};
    row->draft->tail = place->first ? place->tail : row->draft->tail;
    write_down(log, row, entries, n, place->head_units);
    return QUIRE_OK;
}

/* The first entry of a batch in the draft. */
static uint32_t first_of(const struct pager_log_draft *draft, uint32_t at_units) {
    uint32_t from = 0, to = draft->n;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (draft->entries[middle].at_units < at_units) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

void pager_log_appended(struct pager_log *log, const struct pager_log_place *place, const struct quire_log_entry *entries, uint32_t n,
                        bool ok) {
    assert(place->segment < log->n_rows);
    struct pager_log_row *row = &log->rows[place->segment];
    struct pager_log_draft *draft = row->draft;
    assert(row->s.writing > 0 && row->s.epoch == place->epoch);
    row->s.writing--;
    row->opening = false;
    if (row->s.state == PAGER_SEGMENT_LOST) {
        return;
    }
    uint32_t first = first_of(draft, place->at_units);
    assert(!draft->given && n <= draft->n - first && draft->entries[first + n - 1].at_units < place->at_units + place->size_units);
    if (ok) {
        for (uint32_t i = 0; i < n; i++) {
            struct quire_log_entry *copy = &draft->entries[first + i];
            assert(copy->sequence == entries[i].sequence && quire_key_equal(&copy->key, &entries[i].key));
            copy->check = entries[i].check;
        }
        return;
    }
    draft->tail = place->first ? 0 : draft->tail;
    memmove(draft->entries + first, draft->entries + first + n, (draft->n - first - n) * sizeof(*draft->entries));
    draft->n -= n;
    row->s.n_entries -= n;
    row->broken = true;
    row->headless |= place->first;
    if (row->s.state == PAGER_SEGMENT_OPEN) {
        pager_log_full(log, place->segment);
    }
    if (draft->n == 0 && row->s.writing == 0 && row->s.holds == 0) {
        pager_log_discard(log, place->segment);
    }
}

void pager_log_hold_back(struct pager_log *log, uint32_t devices) { log->held_back = devices; }

bool pager_log_is_whole(const struct pager_log *log, uint32_t segment, uint64_t epoch) {
    const struct pager_log_row *row = &log->rows[segment];
    return row->s.epoch == epoch && row->s.state >= PAGER_SEGMENT_OPEN && row->s.state != PAGER_SEGMENT_LOST && !row->broken;
}

void pager_log_doubt(struct pager_log *log, uint32_t device) {
    for (struct pager_log_draft *draft = log->first_draft; draft != NULL; draft = draft->next) {
        struct pager_log_row *row = &log->rows[draft->segment];
        if (row->s.device == device) {
            row->broken = row->headless = true;
            draft->doubted = draft->given;
            draft->tail = 0;
        }
    }
    if (log->devices[device].open != PAGER_NO_SEGMENT) {
        pager_log_full(log, log->devices[device].open);
    }
}

void pager_log_close(struct pager_log *log, uint32_t device) {
    for (uint32_t d = 0; d < log->shape.n_devices; d++) {
        if ((device == PAGER_NO_SEGMENT || device == d) && log->devices[d].open != PAGER_NO_SEGMENT) {
            pager_log_full(log, log->devices[d].open);
        }
    }
}

static void give(struct pager_log_draft *draft) {
    draft->given = true;
    for (uint32_t i = 0; i < draft->n; i++) {
        if (draft->entries[i].kind == QUIRE_LOG_TOMBSTONE) {
            draft->entries[i].at_units = 0;
        }
    }
}

uint32_t pager_log_to_seal(struct pager_log *log, const struct quire_log_entry **entries, uint32_t *n_entries) {
    for (struct pager_log_draft *draft = log->first_draft; draft != NULL; draft = draft->next) {
        const struct pager_segment *s = &log->rows[draft->segment].s;
        if (s->state == PAGER_SEGMENT_SEALING && s->writing == 0 && !draft->given && !(log->held_back >> s->device & 1)) {
            give(draft);
            *entries = draft->entries;
            *n_entries = draft->n;
            return draft->segment;
        }
    }
    return PAGER_NO_SEGMENT;
}

bool pager_log_all_sealed(const struct pager_log *log) {
    const struct pager_log_draft *draft = log->first_draft;
    while (draft != NULL && log->rows[draft->segment].s.state == PAGER_SEGMENT_LOST) {
        draft = draft->next;
    }
    return draft == NULL;
}

bool pager_log_lacks_header(const struct pager_log *log, uint32_t segment, uint64_t *tail) {
    *tail = tail_of(log);
    return log->rows[segment].headless;
}

bool pager_log_seal_doubted(const struct pager_log *log, uint32_t segment) {
    const struct pager_log_draft *draft = log->rows[segment].draft;
    return draft->doubted && log->rows[segment].s.state != PAGER_SEGMENT_LOST;
}

void pager_log_seal_later(struct pager_log *log, uint32_t segment) {
    struct pager_log_row *row = &log->rows[segment];
    assert(row->draft != NULL && row->draft->given);
    row->draft->given = row->draft->doubted = false;
    if (row->s.state == PAGER_SEGMENT_LOST) {
        pager_log_drop_draft(log, segment);
    }
}

uint64_t pager_log_sealed(struct pager_log *log, uint32_t segment, bool ok) {
    assert(segment < log->n_rows);
    struct pager_log_row *row = &log->rows[segment];
    assert(row->draft != NULL && row->draft->given);
    uint64_t tail = ok && !row->broken ? row->draft->tail : 0, *lasting = &log->devices[row->s.device].tail;
    *lasting = quire_max_u64(*lasting, tail);
    pager_log_drop_draft(log, segment);
    if (row->s.state != PAGER_SEGMENT_LOST) {
        assert(row->s.state == PAGER_SEGMENT_SEALING && row->s.writing == 0);
        row->s.state = PAGER_SEGMENT_SEALED;
        row->s.footer = ok;
    }
    return tail;
}
