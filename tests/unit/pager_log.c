/* The log's books: where batches go, what stands in footers, and that nothing runs into what comes behind it. */
#include "tests/unit/pager_log.h"

/* A segment is filled with the smallest records one by one: each lies behind the one before, and footer and trailer still fit behind the last. */
Test(log, footer_keeps_its_place) {
    struct pager_log *log = clean_log(1, 4, 100, 1);
    const struct quire_log_geometry g = {.unit_bytes = 512, .segment_units = 100};
    struct pager_log_place place, last = {.segment = NONE};
    uint32_t n = 0, end = 1;
    for (;; n++) {
        struct quire_log_entry entry = record_of(1 + n % 512);
        cr_assert_eq(pager_log_append(log, PAGER_ANY_DEVICE, &entry, 1, false, &place), QUIRE_OK);
        pager_log_check(log);
        if (n > 0 && place.segment != last.segment) {
            break;
        }
        cr_assert_eq(place.first, n == 0);
        cr_assert_eq(place.at_units, end);
        cr_assert_eq(entry.at_units, end + place.head_units);
        end += place.size_units;
        cr_assert_leq(end + quire_log_footer_units(&g, n + 1) + 1, 100);
        last = place;
    }
    cr_assert(place.first && place.at_units == 1 && place.epoch == last.epoch + 1);
    cr_assert_gt(end + 2 + quire_log_footer_units(&g, n + 1) + 1, 100, "one more would have fit");
    cr_assert_eq(state_of(log, last.segment), PAGER_SEGMENT_SEALING);
    pager_log_destroy(&log);
    cr_assert_null(log);
}

/* The largest batch that fits into an empty segment is taken, by a unit more it is refused for good, and nothing has changed. */
Test(log, too_large) {
    struct pager_log *log = clean_log(1, 4, 100, 1);
    struct pager_log_place place;
    cr_assert_eq(put(log, 96 * 512 + 1, true, &place), QUIRE_TOO_LARGE); /* header, head, 97, footer, trailer */
    cr_assert_eq(pager_log_clean(log), 4);
    cr_assert_eq(put(log, UINT32_MAX, true, &place), QUIRE_TOO_LARGE);
    cr_assert_eq(put(log, 96 * 512, true, &place), QUIRE_OK);
    cr_assert_eq(place.size_units, 97);
    pager_log_check(log);
    struct quire_log_entry many[QUIRE_LOG_MAX_BATCH];
    for (uint32_t i = 0; i < QUIRE_LOG_MAX_BATCH; i++) {
        many[i] = record_of(UINT32_MAX);
    }
    cr_assert_eq(pager_log_append(log, PAGER_ANY_DEVICE, many, QUIRE_LOG_MAX_BATCH, true, &place), QUIRE_TOO_LARGE);
    pager_log_destroy(&log);
}

/* Three devices take their turns; when one is lost, the other two do. */
Test(log, batches_go_round) {
    struct pager_log *log = clean_log(3, 4, 200, 1);
    struct pager_log_place place;
    for (uint32_t i = 0; i < 12; i++) {
        cr_assert_eq(put(log, 1000, false, &place), QUIRE_OK);
        cr_assert_eq(pager_log_segment(log, place.segment)->device, i % 3);
        cr_assert_eq(place.first, i < 3);
    }
    cr_assert(pager_log_device_lost(log, 1));
    uint32_t counts[3] = {0};
    for (uint32_t i = 0; i < 10; i++) {
        counts[pager_log_segment(log, put_whole(log, 1000))->device]++;
    }
    cr_assert(counts[0] == 5 && counts[1] == 0 && counts[2] == 5);
    pager_log_destroy(&log);
}

/* Tombstones go where nothing newer on their device can hold what they bury: to its newest segment, and to a new one when that takes no more. */
Test(log, tombstones_go_to_the_newest) {
    struct pager_log *log = clean_log(3, 5, 200, 1);
    struct quire_log_entry entry = tombstone();
    struct pager_log_place place;
    for (uint32_t i = 0; i < 6; i++) { /* one segment is open on each */
        put_whole(log, 1000);
    }
    for (uint32_t d = 0; d < 3; d++) {
        cr_assert_eq(pager_log_append(log, d, &entry, 1, true, &place), QUIRE_OK);
        cr_assert_eq(pager_log_segment(log, place.segment)->device, d);
        cr_assert(!place.first);
    }
    /* The last one's write fails. What is to be buried may lie in the segment that failed: only a newer one will do. */
    uint64_t failed = place.epoch;
    pager_log_appended(log, &place, NULL, 1, false);
    cr_assert_eq(pager_log_append(log, 2, &entry, 1, true, &place), QUIRE_OK);
    cr_assert(place.first && place.epoch > failed && pager_log_segment(log, place.segment)->device == 2);
    /* Among records it has no place of its own. */
    struct quire_log_entry mixed[3] = {record_of(700), tombstone(), record_of(512)};
    cr_assert_eq(pager_log_append(log, 1, mixed, 3, false, &place), QUIRE_OK);
    cr_assert(mixed[0].at_units == place.at_units + 1 && mixed[1].at_units == 0 && mixed[2].at_units == place.at_units + 3);
    pager_log_check(log);
    pager_log_destroy(&log);
}

/* A footer repeats what was written, with the checks that the writer found, in order; of the batch that failed there is nothing, and it is not given
   out before every write has ended, nor twice. */
Test(log, footers) {
    struct pager_log *log = clean_log(1, 4, 400, 1);
    struct quire_log_entry batches[4][3];
    struct pager_log_place places[4];
    const struct quire_log_entry *entries;
    uint32_t n, end = 0;
    for (uint32_t b = 0; b < 4; b++) {
        for (uint32_t i = 0; i < 3; i++) {
            batches[b][i] = i == 0 ? tombstone() : record_of(600 * (b + i));
        }
        cr_assert_eq(pager_log_append(log, 0, batches[b], 3, false, &places[b]), QUIRE_OK);
        cr_assert_eq(places[b].segment, places[0].segment);
        for (uint32_t i = 1; i < 3; i++) {
            batches[b][i].check = 100 * b + i;
        }
        end = places[b].at_units + places[b].size_units;
    }
    pager_log_appended(log, &places[3], batches[3], 3, true);
    pager_log_appended(log, &places[1], batches[1], 3, false);
    cr_assert_eq(state_of(log, places[0].segment), PAGER_SEGMENT_SEALING, "what failed takes no more");
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), NONE);
    pager_log_appended(log, &places[0], batches[0], 3, true);
    pager_log_check(log);
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), NONE);
    pager_log_appended(log, &places[2], batches[2], 3, true);
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), places[0].segment);
    cr_assert_eq(n, 9);
    for (uint32_t b = 0, at = 0; b < 4; b++) {
        for (uint32_t i = 0; b != 1 && i < 3; i++) {
            cr_assert_arr_eq(&entries[at++], &batches[b][i], sizeof(**batches), "batch %u, entry %u", b, i);
        }
    }
    cr_assert_eq(pager_log_segment(log, places[0].segment)->used_units, end, "what failed remains a gap");
    pager_log_check(log);
    uint32_t again;
    cr_assert_eq(pager_log_to_seal(log, &entries, &again), NONE);
    pager_log_sealed(log, places[0].segment, false);
    cr_assert_eq(state_of(log, places[0].segment), PAGER_SEGMENT_SEALED);
    pager_log_check(log);
    pager_log_destroy(&log);
}

/* A batch that fits nowhere leaves the open segments open for smaller ones. */
Test(log, full_closes_nothing) {
    struct pager_log *log = clean_log(1, 3, 100, 1);
    struct pager_log_place place;
    cr_assert_eq(put(log, 60 * 512, false, &place), QUIRE_OK);
    cr_assert_eq(put(log, 60 * 512, false, &place), QUIRE_OK);
    cr_assert_eq(put(log, 60 * 512, false, &place), QUIRE_FULL);
    cr_assert_eq(put(log, 10 * 512, false, &place), QUIRE_OK);
    cr_assert_eq(place.epoch, 2);
    cr_assert_eq(put(log, 60 * 512, true, &place), QUIRE_OK, "the reserve is for rewriting");
    cr_assert_eq(put(log, 60 * 512, true, &place), QUIRE_FULL);
    cr_assert_eq(pager_log_clean(log), 0);
    pager_log_check(log);
    pager_log_destroy(&log);
}

/* Before the end all open segments are closed, or one device's. */
Test(log, close) {
    struct pager_log *log = clean_log(3, 4, 100, 1);
    uint32_t segments[3];
    for (uint32_t d = 0; d < 3; d++) {
        segments[d] = put_whole(log, 1000);
    }
    pager_log_close(log, 1);
    cr_assert(state_of(log, segments[0]) == PAGER_SEGMENT_OPEN && state_of(log, segments[1]) == PAGER_SEGMENT_SEALING);
    pager_log_close(log, NONE);
    pager_log_close(log, NONE);
    pager_log_check(log);
    seal_all(log);
    for (uint32_t d = 0; d < 3; d++) {
        cr_assert_eq(state_of(log, segments[d]), PAGER_SEGMENT_SEALED);
    }
    pager_log_destroy(&log);
}

/* Shapes that make no sense are refused. */
Test(log, shapes) {
    const struct pager_log_shape good = {
        .geometry = {.unit_bytes = 4096, .segment_units = 16384}, .n_devices = 2, .segments = {3, 4}, .reserve = 1};
    struct pager_log *log;
    cr_assert_eq(pager_log_create(&good, &log), QUIRE_OK);
    cr_assert_eq(pager_log_segments(log), 7);
    cr_assert(pager_log_segment(log, 2)->device == 0 && pager_log_segment(log, 3)->device == 1);
    cr_assert(pager_log_device_in_use(log, 1) && !pager_log_device_in_use(log, 2));
    pager_log_destroy(&log);
    pager_log_destroy(&log);
#define REFUSED(change)                                                                                                                    \
    do {                                                                                                                                   \
        struct pager_log_shape bad = good;                                                                                                 \
        bad.change;                                                                                                                        \
        cr_assert_eq(pager_log_create(&bad, &log), QUIRE_INVALID, #change);                                                                \
        cr_assert_null(log);                                                                                                               \
    } while (0)
    REFUSED(geometry.unit_bytes = 256);
    REFUSED(geometry.unit_bytes = 8192);
    REFUSED(geometry.unit_bytes = 1000);
    REFUSED(geometry.segment_units = QUIRE_LOG_MAX_SEGMENT_UNITS + 1);
    REFUSED(geometry.segment_units = 4);
    REFUSED(n_devices = 0);
    REFUSED(n_devices = QUIRE_LOG_MAX_FILES + 1);
    REFUSED(segments[1] = 2);
    REFUSED(reserve = 0);
    REFUSED(reserve = UINT32_MAX);
    REFUSED(segments[0] = QUIRE_LOG_MAX_SEGMENTS);
    REFUSED(segments[0] = UINT32_MAX);
}

/* Sixteen thousand segments cost a mebibyte, and open ones no more than their entries. */
Test(log, memory) {
    struct pager_log *log = clean_log(1, 16384, 8192, 1);
    struct pager_log_stats stats;
    pager_log_stats(log, &stats);
    cr_assert_leq(stats.books_bytes, 16384 * 64 + 4096);
    uint64_t before = stats.books_bytes;
    for (uint32_t i = 0; i < 2000; i++) {
        cr_assert_eq(pager_log_segment(log, put_whole(log, 512))->epoch, 1);
    }
    pager_log_stats(log, &stats);
    cr_assert_lt(stats.books_bytes, before + 2000 * sizeof(struct quire_log_entry) * 3 / 2 + 1024);
    pager_log_close(log, NONE);
    seal_all(log);
    pager_log_stats(log, &stats);
    cr_assert_eq(stats.books_bytes, before);
    pager_log_destroy(&log);
}
