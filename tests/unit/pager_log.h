/* What the tests of the log's books share: a log whose segments were all found, batches of entries. */
#ifndef TESTS_PAGER_LOG_H
#define TESTS_PAGER_LOG_H

#include "pager/log/log.h"

#include <criterion/criterion.h>

#define NONE PAGER_NO_SEGMENT

static inline struct pager_log *log_of(uint32_t n_devices, uint32_t segments, uint32_t segment_units, uint32_t reserve) {
    struct pager_log_shape shape = {
        .geometry = {.unit_bytes = 512, .segment_units = segment_units}, .n_devices = n_devices, .reserve = reserve};
    struct pager_log *log;
    for (uint32_t d = 0; d < n_devices; d++) {
        shape.segments[d] = segments;
    }
    cr_assert_eq(pager_log_create(&shape, &log), QUIRE_OK);
    return log;
}

static inline struct pager_log *clean_log(uint32_t n_devices, uint32_t segments, uint32_t segment_units, uint32_t reserve) {
    struct pager_log *log = log_of(n_devices, segments, segment_units, reserve);
    for (uint32_t i = 0; i < pager_log_segments(log); i++) {
        pager_log_found(log, i, PAGER_SEGMENT_CLEAN, 0, 0, 0);
    }
    pager_log_check(log);
    return log;
}

static inline struct quire_log_entry record_of(uint32_t size_bytes) {
    static uint64_t sequence;
    struct quire_log_entry entry = {.kind = QUIRE_LOG_RECORD, .size_bytes = size_bytes, .sequence = ++sequence};
    memcpy(entry.key.b, &sequence, sizeof(sequence));
    return entry;
}

static inline struct quire_log_entry tombstone(void) {
    struct quire_log_entry entry = record_of(0);
    entry.kind = QUIRE_LOG_TOMBSTONE;
    return entry;
}

/* Appends one record, or, for 0 bytes, one tombstone on the first device; its write is under way. */
static inline enum quire_status put(struct pager_log *log, uint32_t size_bytes, bool rewriting, struct pager_log_place *place) {
    struct quire_log_entry entry = size_bytes > 0 ? record_of(size_bytes) : tombstone();
    return pager_log_append(log, size_bytes > 0 ? PAGER_ANY_DEVICE : 0, &entry, 1, rewriting, place);
}

/* The same, and it is written. */
static inline uint32_t put_whole(struct pager_log *log, uint32_t size_bytes) {
    struct quire_log_entry entry = size_bytes > 0 ? record_of(size_bytes) : tombstone();
    struct pager_log_place place;
    cr_assert_eq(pager_log_append(log, size_bytes > 0 ? PAGER_ANY_DEVICE : 0, &entry, 1, false, &place), QUIRE_OK);
    pager_log_appended(log, &place, &entry, 1, true);
    pager_log_check(log);
    return place.segment;
}

static inline uint8_t state_of(const struct pager_log *log, uint32_t segment) { return pager_log_segment(log, segment)->state; }

static inline void seal_all(struct pager_log *log) {
    const struct quire_log_entry *entries;
    uint32_t n, segment;
    while ((segment = pager_log_to_seal(log, &entries, &n)) != NONE) {
        pager_log_sealed(log, segment, true);
        pager_log_check(log);
    }
}

#endif
