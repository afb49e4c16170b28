/*
 * The log's books against a plain model: thousands of steps of everything that may happen to them, in any order, and after each a recount and a
 * comparison of every segment. Where the books may choose, the model checks that they were allowed to.
 */
#include "tests/unit/pager_log.h"
#include "tests/unit/pager_random.h"

enum { UNIT = 512, MAX_ROWS = 64, MAX_BATCHES = 4096, MAX_LIVE = 4096, MAX_ENTRIES = 8 };

struct m_batch {
    struct pager_log_place place;
    struct quire_log_entry entries[MAX_ENTRIES];
    uint32_t n;
    enum { FREE, WRITING, WRITTEN } state;
};
struct m_live {
    uint32_t segment, bytes;
};
struct model {
    struct pager_log *log;
    struct pager_log_shape shape;
    uint32_t n;
    struct pager_segment rows[MAX_ROWS];
    bool given[MAX_ROWS], emptied[MAX_ROWS], lost[QUIRE_LOG_MAX_FILES];
    struct m_batch batches[MAX_BATCHES]; /* of segments without a footer */
    struct m_live live[MAX_LIVE];
    uint32_t n_live;
    const struct quire_log_entry *entries[MAX_ROWS]; /* given out */
    uint32_t n_given[MAX_ROWS];
    uint64_t epoch, gap;
    uint64_t tails[MAX_ROWS], lasting[QUIRE_LOG_MAX_FILES]; /* what the headers tell; the highest of those that were synced */
    bool opening[MAX_ROWS], broken[MAX_ROWS];
    struct dice dice;
    uint32_t counts[8]; /* what happened, so that nothing is left out */
};

static uint32_t below(struct model *m, uint32_t n) { return (uint32_t)dice_below(&m->dice, n); }

static uint32_t count(const struct model *m, uint8_t state, uint32_t device) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        n += m->rows[i].state == state && (device == NONE || m->rows[i].device == device);
    }
    return n;
}

static bool holds_something(const struct pager_segment *s) { return s->state > PAGER_SEGMENT_CLEAN && s->state < PAGER_SEGMENT_LOST; }

/* Lowest or highest epoch of those that hold something, on a device, or on any. */
static uint32_t extreme(const struct model *m, bool highest, uint32_t device) {
    uint32_t found = NONE;
    for (uint32_t i = 0; i < m->n; i++) {
        if (holds_something(&m->rows[i]) && (device == NONE || m->rows[i].device == device) &&
            (found == NONE || (m->rows[i].epoch > m->rows[found].epoch) == highest)) {
            found = i;
        }
    }
    return found;
}

static uint32_t units_of(uint64_t bytes) { return (uint32_t)((bytes + UNIT - 1) / UNIT); }

static uint32_t batch_units(const struct quire_log_entry *entries, uint32_t n) {
    uint32_t units = units_of(64 + 112 * (uint64_t)n);
    for (uint32_t i = 0; i < n; i++) {
        units += units_of(entries[i].size_bytes);
    }
    return units;
}

static bool would_fit(const struct model *m, uint32_t segment, uint32_t n, uint32_t units) {
    return m->rows[segment].used_units + units + units_of(112ull * (m->rows[segment].n_entries + n)) + 1 <= m->shape.geometry.segment_units;
}

static void compare(const struct model *m) {
    struct pager_log_stats stats;
    uint64_t live_bytes = 0, live_records = 0;
    pager_log_check(m->log);
    for (uint32_t i = 0; i < m->n; i++) {
        const struct pager_segment *is = pager_log_segment(m->log, i), *s = &m->rows[i];
        cr_assert(is->state == s->state && is->epoch == s->epoch && is->device == s->device && is->holds == s->holds &&
                      is->writing == s->writing && is->live_records == s->live_records && is->live_bytes == s->live_bytes,
                  "segment %u: state %u, not %u", i, is->state, s->state);
        cr_assert(s->state == PAGER_SEGMENT_LOST || (is->used_units == s->used_units && is->n_entries == s->n_entries));
        live_bytes += s->state == PAGER_SEGMENT_LOST ? 0 : s->live_bytes;
        live_records += s->state == PAGER_SEGMENT_LOST ? 0 : s->live_records;
    }
    pager_log_stats(m->log, &stats);
    cr_assert(stats.live_bytes == live_bytes && stats.live_records == live_records && stats.epoch == m->epoch);
    cr_assert_eq(pager_log_used(m->log), stats.segments - stats.clean - stats.lost - count(m, PAGER_SEGMENT_UNKNOWN, NONE));
    cr_assert(stats.clean == count(m, PAGER_SEGMENT_CLEAN, NONE) && stats.clean == pager_log_clean(m->log));
}

/* ---- appending ------------------------------------------------------------------------------------------------------------ */

static void check_refusal(const struct model *m, const struct m_batch *b, uint32_t device, bool rewriting, uint32_t units) {
    bool buries = device != NONE;
    uint32_t newest = extreme(m, true, device);
    bool may_open = count(m, PAGER_SEGMENT_CLEAN, NONE) > (rewriting ? 0 : m->shape.reserve) && count(m, PAGER_SEGMENT_CLEAN, device) > 0;
    cr_assert(!may_open, "refused though there are clean segments");
    for (uint32_t i = 0; i < m->n; i++) {
        cr_assert(m->rows[i].state != PAGER_SEGMENT_OPEN || (buries && i != newest) || !would_fit(m, i, b->n, units),
                  "refused though it fits");
    }
}

static void check_place(struct model *m, const struct m_batch *b, uint32_t device, bool rewriting, uint32_t units, uint32_t clean) {
    const struct pager_log_place *p = &b->place;
    struct pager_segment *s = &m->rows[p->segment];
    cr_assert(!m->opening[p->segment] || s->state != PAGER_SEGMENT_OPEN, "over what is needed until the header is there");
    cr_assert_eq(p->alone, p->first && s->epoch > 0 && s->epoch >= m->lasting[s->device]);
    if (p->first) {
        m->opening[p->segment] = p->alone;
        m->broken[p->segment] = false;
        m->tails[p->segment] = p->tail;
        cr_assert(s->state == PAGER_SEGMENT_CLEAN && clean > (rewriting ? 0 : m->shape.reserve));
        for (uint32_t i = 0; i < m->n; i++) {
            if (m->rows[i].state == PAGER_SEGMENT_OPEN && m->rows[i].device == s->device) {
                m->rows[i].state = PAGER_SEGMENT_SEALING;
            }
        }
        *s = (struct pager_segment){.state = PAGER_SEGMENT_OPEN, .device = s->device, .epoch = m->epoch += 1 + m->gap, .used_units = 1};
        m->gap = 0;
    }
    cr_assert(s->state == PAGER_SEGMENT_OPEN && p->epoch == s->epoch && p->at_units == s->used_units);
    cr_assert(would_fit(m, p->segment, b->n, units) && p->size_units == units && p->head_units == units_of(64 + 112ull * b->n));
    cr_assert(device == NONE || extreme(m, true, device) == p->segment, "a tombstone that may go before what it buries");
    cr_assert_eq(p->tail, m->rows[extreme(m, false, NONE)].epoch);
    uint32_t at = p->at_units + p->head_units;
    for (uint32_t i = 0; i < b->n; i++) {
        cr_assert_eq(b->entries[i].at_units, b->entries[i].size_bytes > 0 ? at : 0);
        at += units_of(b->entries[i].size_bytes);
    }
}

static bool any_in_use(const struct model *m) {
    bool any = false;
    for (uint32_t d = 0; d < m->shape.n_devices; d++) {
        any |= pager_log_device_in_use(m->log, d);
    }
    return any;
}

/* Of a device, or of any: the first batch of what is open there is being written, behind a header that is to last. */
static bool waits_for_header(const struct model *m, uint32_t device) {
    bool waits = false;
    for (uint32_t i = 0; i < m->n; i++) {
        waits |= m->opening[i] && (device == NONE ? m->rows[i].state == PAGER_SEGMENT_OPEN : extreme(m, true, device) == i);
    }
    return waits;
}

static enum quire_status append(struct model *m, bool small) {
    uint32_t slot = 0, largest = m->shape.geometry.segment_units * UNIT / (below(m, 8) ? 8 : 1);
    while (slot < MAX_BATCHES && m->batches[slot].state != FREE) {
        slot++;
    }
    cr_assert_lt(slot, MAX_BATCHES);
    struct m_batch *b = &m->batches[slot];
    bool buries = !small && any_in_use(m) && below(m, 4) == 0, rewriting = !small && below(m, 4) == 0;
    b->n = small ? 1 : 1 + below(m, MAX_ENTRIES);
    for (uint32_t i = 0; i < b->n; i++) {
        b->entries[i] = buries && (i == 0 || below(m, 2)) ? tombstone() : record_of(1 + below(m, small ? 100 : largest));
    }
    uint32_t units = batch_units(b->entries, b->n), clean = count(m, PAGER_SEGMENT_CLEAN, NONE);
    uint32_t device = NONE;
    while (buries && (device == NONE || !pager_log_device_in_use(m->log, device))) {
        device = below(m, m->shape.n_devices);
    }
    enum quire_status status = pager_log_append(m->log, device, b->entries, b->n, rewriting, &b->place);
    bool too_large = 1 + units + units_of(112ull * b->n) + 1 > m->shape.geometry.segment_units;
    cr_assert_eq(too_large, status == QUIRE_TOO_LARGE);
    m->counts[0] += status == QUIRE_OK;
    m->counts[1] += status == QUIRE_FULL;
    if (status != QUIRE_OK) {
        cr_assert(too_large || status == QUIRE_FULL || status == QUIRE_RETRY);
        if (status == QUIRE_RETRY) {
            cr_assert(waits_for_header(m, device));
        } else if (!too_large) {
            check_refusal(m, b, device, rewriting, units);
        }
        return status;
    }
    check_place(m, b, device, rewriting, units, clean);
    struct pager_segment *s = &m->rows[b->place.segment];
    s->used_units += units;
    s->n_entries += b->n;
    s->writing++;
    b->state = WRITING;
    return status;
}

static void live(struct model *m, uint32_t segment, uint32_t bytes) {
    if (m->n_live < MAX_LIVE) {
        m->live[m->n_live++] = (struct m_live){segment, bytes};
        pager_log_live(m->log, segment, bytes);
        m->rows[segment].live_records++;
        m->rows[segment].live_bytes += bytes;
    }
}

static void end_batch(struct model *m, struct m_batch *b, bool ok) {
    struct pager_segment *s = &m->rows[b->place.segment];
    for (uint32_t i = 0; i < b->n; i++) {
        b->entries[i].check = b->entries[i].size_bytes > 0 ? dice_next(&m->dice) : 0;
    }
    pager_log_appended(m->log, &b->place, ok ? b->entries : NULL, b->n, ok);
    s->writing--;
    m->opening[b->place.segment] = false;
    m->broken[b->place.segment] |= !ok;
    b->state = s->state == PAGER_SEGMENT_LOST || !ok ? FREE : WRITTEN;
    for (uint32_t i = 0; ok && i < b->n; i++) {
        if (b->entries[i].size_bytes > 0 && below(m, 2)) {
            live(m, b->place.segment, b->entries[i].size_bytes);
        }
    }
    if (!ok && s->state != PAGER_SEGMENT_LOST) {
        s->n_entries -= b->n;
        s->state = PAGER_SEGMENT_SEALING;
        m->counts[2]++;
        if (s->n_entries == 0 && s->writing == 0 && s->holds == 0) { /* nothing was ever written there */
            s->state = PAGER_SEGMENT_CLEAN;
            s->used_units = 0;
        }
    }
}

/* One of the writes under way ends, in any order. */
static bool end_some_batch(struct model *m, bool may_fail) {
    uint32_t from = below(m, MAX_BATCHES);
    for (uint32_t i = 0; i < MAX_BATCHES; i++) {
        struct m_batch *b = &m->batches[(from + i) % MAX_BATCHES];
        if (b->state == WRITING) {
            end_batch(m, b, !may_fail || below(m, 40) > 0);
            return true;
        }
    }
    return false;
}

/* ---- footers -------------------------------------------------------------------------------------------------------------- */

/* The batches that were written, by place, are what the footer holds. */
static void check_footer(struct model *m, uint32_t segment, const struct quire_log_entry *entries, uint32_t n) {
    uint32_t from = 0;
    for (uint32_t at = 0; at < n;) {
        struct m_batch *next = NULL;
        for (uint32_t i = 0; i < MAX_BATCHES; i++) {
            struct m_batch *b = &m->batches[i];
            if (b->state == WRITTEN && b->place.segment == segment && b->place.at_units >= from &&
                (next == NULL || b->place.at_units < next->place.at_units)) {
                next = b;
            }
        }
        cr_assert(next != NULL && next->n <= n - at);
        cr_assert_arr_eq(entries + at, next->entries, next->n * sizeof(*entries));
        from = next->place.at_units + 1;
        at += next->n;
    }
}

static bool seal(struct model *m) {
    const struct quire_log_entry *entries;
    uint32_t n, segment = pager_log_to_seal(m->log, &entries, &n), expected = NONE;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct pager_segment *s = &m->rows[i];
        if (s->state == PAGER_SEGMENT_SEALING && s->writing == 0 && !m->given[i] &&
            (expected == NONE || s->epoch < m->rows[expected].epoch)) {
            expected = i;
        }
    }
    cr_assert_eq(segment, expected);
    if (segment == NONE) {
        return false;
    }
    cr_assert_eq(n, m->rows[segment].n_entries);
    m->given[segment] = true;
    m->entries[segment] = entries;
    m->n_given[segment] = n;
    return true;
}

static bool end_seal(struct model *m) {
    uint32_t from = below(m, m->n);
    for (uint32_t k = 0; k < m->n; k++) {
        uint32_t i = (from + k) % m->n;
        if (!m->given[i]) {
            continue;
        }
        check_footer(m, i, m->entries[i], m->n_given[i]);
        bool ok = below(m, 10) > 0;
        pager_log_sealed(m->log, i, ok);
        uint64_t *lasting = &m->lasting[m->rows[i].device];
        *lasting = ok && !m->broken[i] ? quire_max_u64(*lasting, m->tails[i]) : *lasting;
        m->given[i] = false;
        m->counts[3] += m->rows[i].state != PAGER_SEGMENT_LOST;
        m->counts[4] += m->rows[i].state == PAGER_SEGMENT_LOST;
        m->rows[i].state = m->rows[i].state == PAGER_SEGMENT_LOST ? PAGER_SEGMENT_LOST : PAGER_SEGMENT_SEALED;
        for (uint32_t b = 0; b < MAX_BATCHES; b++) {
            if (m->batches[b].state == WRITTEN && m->batches[b].place.segment == i) {
                m->batches[b].state = FREE;
            }
        }
        return true;
    }
    return false;
}

/* ---- what lives, emptying ------------------------------------------------------------------------------------------------- */

static void settle(struct model *m, uint32_t i) {
    struct pager_segment *s = &m->rows[i];
    if (s->state == PAGER_SEGMENT_EMPTYING && m->emptied[i] && s->holds == 0 && s->live_records == 0) {
        s->state = PAGER_SEGMENT_CLEAN;
        s->used_units = s->n_entries = 0;
        m->emptied[i] = false;
        m->counts[5]++;
    }
}

static void die(struct model *m, uint32_t which) {
    struct m_live l = m->live[which];
    m->live[which] = m->live[--m->n_live];
    pager_log_dead(m->log, l.segment, l.bytes);
    m->rows[l.segment].live_records--;
    m->rows[l.segment].live_bytes -= l.bytes;
    settle(m, l.segment);
}

static void hold(struct model *m) {
    uint32_t i = below(m, m->n);
    if (m->rows[i].state > PAGER_SEGMENT_CLEAN && m->rows[i].holds < 3) {
        pager_log_hold(m->log, i);
        m->rows[i].holds++;
    }
}

static void unhold(struct model *m, uint32_t i) {
    if (m->rows[i].holds > 0) {
        pager_log_unhold(m->log, i);
        m->rows[i].holds--;
        settle(m, i);
    }
}

static void empty(struct model *m, uint32_t wanted) {
    uint32_t oldest = extreme(m, false, NONE), expected = NONE, behind = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        uint8_t state = m->rows[i].state;
        behind += state > PAGER_SEGMENT_OPEN && state != PAGER_SEGMENT_LOST;
    }
    bool some = count(m, PAGER_SEGMENT_CLEAN, NONE) < wanted && oldest != NONE;
    if (some && m->rows[oldest].state == PAGER_SEGMENT_SEALED) {
        expected = oldest;
    } else if (some && m->rows[oldest].state == PAGER_SEGMENT_OPEN && behind > 0) {
        m->rows[oldest].state = PAGER_SEGMENT_SEALING;
    }
    cr_assert_eq(pager_log_to_empty(m->log, wanted), expected);
    if (expected != NONE) {
        m->rows[expected].state = PAGER_SEGMENT_EMPTYING;
    }
}

/* What is being emptied loses some of its records, and when none is left, it is told. */
static void empty_on(struct model *m) {
    uint32_t i = 0;
    while (i < m->n && m->rows[i].state != PAGER_SEGMENT_EMPTYING) {
        i++;
    }
    if (i == m->n) {
        return;
    }
    for (uint32_t which = m->n_live; which-- > 0;) {
        if (m->live[which].segment == i && below(m, 3)) {
            die(m, which);
        }
    }
    if (m->rows[i].state == PAGER_SEGMENT_EMPTYING && m->rows[i].live_records == 0) {
        pager_log_emptied(m->log, i);
        m->emptied[i] = true;
        settle(m, i);
    }
}

static void lose(struct model *m, uint32_t d) {
    cr_assert_eq(pager_log_device_lost(m->log, d), !m->lost[d]);
    m->lost[d] = true;
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->rows[i].device == d) {
            m->rows[i].state = PAGER_SEGMENT_LOST;
            m->emptied[i] = false;
            for (uint32_t b = 0; !m->given[i] && b < MAX_BATCHES; b++) {
                if (m->batches[b].state == WRITTEN && m->batches[b].place.segment == i) {
                    m->batches[b].state = FREE;
                }
            }
        }
    }
    m->counts[6]++;
}

static void close_some(struct model *m) {
    uint32_t d = below(m, 3) ? below(m, m->shape.n_devices) : NONE;
    pager_log_close(m->log, d);
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->rows[i].state == PAGER_SEGMENT_OPEN && (d == NONE || m->rows[i].device == d)) {
            m->rows[i].state = PAGER_SEGMENT_SEALING;
        }
    }
}

/* ---- the story ------------------------------------------------------------------------------------------------------------ */

static void begin(struct model *m, struct dice dice) {
    memset(m, 0, sizeof(*m));
    m->dice = dice;
    m->shape = (struct pager_log_shape){
        .geometry = {.unit_bytes = UNIT, .segment_units = 24 + below(m, 200)}, .n_devices = 1 + below(m, 4), .reserve = 1 + below(m, 2)};
    for (uint32_t d = 0; d < m->shape.n_devices; d++) {
        m->shape.segments[d] = m->shape.reserve + 2 + below(m, 5);
        for (uint32_t i = 0; i < m->shape.segments[d]; i++) {
            m->rows[m->n++].device = (uint8_t)d;
        }
    }
    cr_assert_eq(pager_log_create(&m->shape, &m->log), QUIRE_OK);
    compare(m);
    for (uint32_t i = 0; i < m->n; i++) {
        struct pager_segment *s = &m->rows[i];
        bool sealed = below(m, 3) == 0;
        s->state = sealed ? PAGER_SEGMENT_SEALED : PAGER_SEGMENT_CLEAN;
        s->epoch = sealed ? ((uint64_t)below(m, 1000) << 8) + i + 1 : below(m, 1000);
        s->used_units = sealed ? below(m, m->shape.geometry.segment_units) : 0;
        s->n_entries = sealed ? below(m, 50) : 0;
        m->epoch = quire_max_u64(m->epoch, s->epoch);
        m->gap = s->epoch > 0 ? PAGER_LOG_EPOCH_GAP : m->gap;
        pager_log_found(m->log, i, s->state, s->epoch, s->used_units, s->n_entries);
        for (uint32_t k = 0; sealed && k < 5; k++) {
            live(m, i, 1 + below(m, 5000));
        }
        compare(m);
    }
}

static void step(struct model *m) {
    switch (below(m, 14)) {
    case 0:
    case 1:
    case 2:
    case 3:
        append(m, false);
        break;
    case 4:
    case 5:
    case 6:
        end_some_batch(m, true);
        break;
    case 7:
        seal(m);
        break;
    case 8:
        if (below(m, 3)) { /* footers take their time */
            end_seal(m);
        }
        break;
    case 9:
        empty(m, below(m, m->n + 2));
        break;
    case 10:
        empty_on(m);
        break;
    case 11:
        hold(m);
        break;
    case 12:
        unhold(m, below(m, m->n));
        break;
    default:
        if (m->n_live > 0 && below(m, 2)) {
            die(m, below(m, m->n_live));
        } else if (below(m, 20) == 0) {
            close_some(m);
        } else if (below(m, 40) == 0) {
            lose(m, below(m, m->shape.n_devices));
        }
    }
}

/* Everything under way ends, nobody holds anything: then there is always a way on, for as long as a device is left. */
static void go_on(struct model *m) {
    bool any = false;
    for (uint32_t d = 0; d < m->shape.n_devices; d++) {
        any |= !m->lost[d];
    }
    while (end_some_batch(m, false)) {
        compare(m);
    }
    for (uint32_t i = 0; i < m->n; i++) {
        while (m->rows[i].holds > 0) {
            unhold(m, i);
        }
    }
    for (uint32_t i = 0, refused = 0; any && i < 500; i++) {
        if (append(m, below(m, 2) == 0) == QUIRE_FULL) {
            cr_assert_leq(++refused, 60, "stuck");
            empty(m, m->n);
            empty_on(m);
        } else {
            refused = 0;
        }
        end_some_batch(m, false);
        seal(m);
        end_seal(m);
        compare(m);
    }
}

Test(log_model, thousands_of_steps) {
    static struct model m;
    struct dice dice = dice_printed("log model");
    uint32_t counts[8] = {0};
    for (uint32_t round = 0; round < 40; round++) {
        begin(&m, dice);
        for (uint32_t i = 0; i < 2000; i++) {
            step(&m);
            compare(&m);
        }
        go_on(&m);
        for (uint32_t i = 0; i < 8; i++) {
            counts[i] += m.counts[i];
        }
        dice = m.dice;
        pager_log_destroy(&m.log);
    }
    fprintf(stderr, "appended %u, refused %u, failed %u, sealed %u, sealed when lost %u, emptied %u, devices lost %u\n", counts[0],
            counts[1], counts[2], counts[3], counts[4], counts[5], counts[6]);
    cr_assert(counts[0] > 1000 && counts[1] > 10 && counts[2] > 10 && counts[3] > 100 && counts[5] > 100 && counts[6] > 10);
}
