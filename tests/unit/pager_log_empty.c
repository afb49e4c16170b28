/* The log's books: the order of emptying, what holds it up, the reserve, devices that fail, and what was found at start. */
#include "tests/unit/pager_log.h"

/* Every record fills a segment. */
#define WHOLE (96 * 512)

/* Segments are emptied in the order in which they were opened, one at a time, and only as many as are asked for. */
Test(log_empty, oldest_first) {
    struct pager_log *log = clean_log(2, 6, 100, 1);
    uint32_t order[8];
    for (uint32_t i = 0; i < 8; i++) {
        order[i] = put_whole(log, WHOLE);
    }
    seal_all(log);
    cr_assert_eq(pager_log_clean(log), 4);
    cr_assert_eq(pager_log_to_empty(log, 4), NONE, "there are enough");
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t wanted = pager_log_clean(log) + 1;
        cr_assert_eq(pager_log_to_empty(log, wanted), order[i]);
        cr_assert_eq(state_of(log, order[i]), PAGER_SEGMENT_EMPTYING);
        cr_assert_eq(pager_log_to_empty(log, wanted), NONE, "one at a time");
        pager_log_emptied(log, order[i]);
        cr_assert_eq(state_of(log, order[i]), PAGER_SEGMENT_CLEAN);
        pager_log_check(log);
    }
    cr_assert_eq(pager_log_to_empty(log, 12), NONE, "the oldest is open");
    pager_log_destroy(&log);
}

/*
 * An older segment whose footer is not written stands in the way of all that were opened later: tombstones. One that is open would for as long as its device
 * has nothing to write, so it is closed; but not while all that would be emptied behind it are open, too.
 */
Test(log_empty, waits_for_older_ones) {
    struct pager_log *log = clean_log(2, 6, 100, 1);
    const struct quire_log_entry *entries;
    uint32_t n, old = put_whole(log, 512), other;
    other = put_whole(log, WHOLE); /* the other device's */
    cr_assert_eq(pager_log_to_empty(log, 12), NONE);
    cr_assert_eq(state_of(log, old), PAGER_SEGMENT_OPEN);
    pager_log_close(log, pager_log_segment(log, other)->device);
    seal_all(log);
    cr_assert_eq(state_of(log, other), PAGER_SEGMENT_SEALED);
    cr_assert_eq(pager_log_to_empty(log, 3), NONE);
    cr_assert_eq(state_of(log, old), PAGER_SEGMENT_OPEN, "there are enough");
    cr_assert_eq(pager_log_to_empty(log, 12), NONE);
    cr_assert_eq(state_of(log, old), PAGER_SEGMENT_SEALING);
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), old);
    cr_assert_eq(pager_log_to_empty(log, 12), NONE);
    pager_log_sealed(log, old, true);
    cr_assert_eq(pager_log_to_empty(log, 12), old);
    pager_log_destroy(&log);
}

/* A device that takes nothing has clean segments, and they are no room for anybody: the other one's are counted alone, and its reserve is its own. */
Test(log_empty, one_is_set_aside) {
    struct pager_log *log = clean_log(2, 4, 100, 1);
    struct pager_log_place place;
    pager_log_hold_back(log, 2);
    uint32_t oldest = put_whole(log, WHOLE);
    put_whole(log, WHOLE), put_whole(log, WHOLE);
    seal_all(log);
    cr_assert_eq(put(log, WHOLE, false, &place), QUIRE_OK, "they count as long as they are waited for");
    pager_log_appended(log, &place, NULL, 1, false);
    cr_assert_eq(pager_log_to_empty(log, 2), NONE);
    pager_log_set_aside(log, 2);
    cr_assert_eq(put(log, WHOLE, false, &place), QUIRE_FULL, "the last one is the reserve");
    cr_assert_eq(put(log, WHOLE, true, &place), QUIRE_OK, "for rewriting");
    pager_log_appended(log, &place, NULL, 1, false);
    cr_assert_eq(pager_log_to_empty(log, 1), NONE, "there are enough");
    cr_assert_eq(pager_log_to_empty(log, 2), oldest);
    pager_log_set_aside(log, 3);
    cr_assert_eq(put(log, WHOLE, false, &place), QUIRE_OK, "all is as good as none");
    pager_log_check(log);
    pager_log_destroy(&log);
}

/* Records that are needed and readers hold a segment back, in whatever order they leave. */
Test(log_empty, waits_for_readers_and_records) {
    for (uint32_t turn = 0; turn < 6; turn++) {
        struct pager_log *log = clean_log(1, 4, 100, 1);
        uint32_t segment = put_whole(log, WHOLE);
        put_whole(log, WHOLE);
        seal_all(log);
        pager_log_live(log, segment, WHOLE);
        pager_log_live(log, segment, 100);
        cr_assert_eq(pager_log_segment(log, segment)->live_bytes, WHOLE + 100);
        cr_assert_eq(pager_log_to_empty(log, 4), segment);
        pager_log_hold(log, segment);
        pager_log_hold(log, segment);
        for (uint32_t i = 0; i < 3; i++) { /* three things in every order */
            cr_assert_eq(state_of(log, segment), PAGER_SEGMENT_EMPTYING);
            switch ("012021102120201210"[turn * 3 + i]) {
            case '0':
                pager_log_dead(log, segment, WHOLE);
                pager_log_dead(log, segment, 100);
                break;
            case '1':
                pager_log_unhold(log, segment);
                pager_log_check(log);
                cr_assert_eq(state_of(log, segment), PAGER_SEGMENT_EMPTYING);
                pager_log_unhold(log, segment);
                break;
            default:
                pager_log_emptied(log, segment);
            }
            pager_log_check(log);
        }
        cr_assert_eq(state_of(log, segment), PAGER_SEGMENT_CLEAN);
        cr_assert_eq(pager_log_segment(log, segment)->epoch, 1, "its bytes are still there, and bear it");
        pager_log_destroy(&log);
    }
}

/* A place tells the lowest epoch that holds anything: with it on disk, what was emptied is known to be so. */
Test(log_empty, tail) {
    struct pager_log *log = clean_log(1, 5, 100, 1);
    struct pager_log_place place;
    for (uint64_t i = 0; i < 20; i++) {
        struct quire_log_entry entry = record_of(WHOLE);
        cr_assert_eq(pager_log_append(log, PAGER_ANY_DEVICE, &entry, 1, false, &place), QUIRE_OK);
        cr_assert(place.first && place.epoch == i + 1 && place.tail == (i < 4 ? 1 : i - 2), "at %lu: %lu", (unsigned long)i,
                  (unsigned long)place.tail);
        pager_log_appended(log, &place, &entry, 1, true);
        seal_all(log);
        uint32_t segment = pager_log_to_empty(log, 2);
        if (segment != NONE) {
            pager_log_emptied(log, segment);
        }
    }
    pager_log_destroy(&log);
}

/* Appends one record that fills the segment; the place says how. */
static struct pager_log_place fill_one(struct pager_log *log, bool ok) {
    struct quire_log_entry entry = record_of(WHOLE);
    struct pager_log_place place;
    cr_assert_eq(pager_log_append(log, PAGER_ANY_DEVICE, &entry, 1, true, &place), QUIRE_OK);
    pager_log_appended(log, &place, &entry, 1, ok);
    pager_log_check(log);
    return place;
}

static void empty_oldest(struct pager_log *log) {
    uint32_t segment = pager_log_to_empty(log, UINT32_MAX);
    cr_assert_neq(segment, NONE);
    pager_log_emptied(log, segment);
}

/*
 * Three segments that were used before are used again. Until a header lasts that says that what they held is not needed, each new header
 * goes alone, and nothing else goes to the segment; afterwards not. A segment whose first batch failed still holds what it held; and a
 * header in doubt does not count.
 */
Test(log_empty, what_a_segment_held_is_needed_until_a_header_lasts) {
    struct pager_log *log = clean_log(1, 5, 100, 1);
    struct pager_log_place place, other;
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert(!fill_one(log, true).alone, "never used");
    }
    pager_log_close(log, 0);
    seal_all(log);
    for (uint32_t i = 0; i < 3; i++) {
        empty_oldest(log);
    }
    cr_assert(!fill_one(log, true).alone && !fill_one(log, true).alone, "nor were these");
    pager_log_doubt(log, 0);
    seal_all(log);
    cr_assert_eq(put(log, 512, false, &place), QUIRE_OK);
    cr_assert(place.first && place.alone && place.epoch == 6 && place.tail == 4, "the header of epoch 4 tells so, but may be lost");
    cr_assert_eq(put(log, 512, true, &other), QUIRE_RETRY);
    cr_assert_eq(put(log, 0, true, &other), QUIRE_RETRY, "a tombstone waits, too: to no older segment");
    pager_log_appended(log, &place, NULL, 1, false);
    cr_assert_eq(state_of(log, place.segment), PAGER_SEGMENT_CLEAN);
    cr_assert(fill_one(log, true).alone);
    pager_log_close(log, 0);
    seal_all(log);
    place = fill_one(log, true);
    cr_assert(place.first && !place.alone && place.segment == 2, "epoch 7 has a footer: its header lasts");
    empty_oldest(log);
    empty_oldest(log);
    place = fill_one(log, true);
    cr_assert(place.first && place.alone && place.segment == 0, "where epoch 6 failed, which no header calls empty");
    pager_log_destroy(&log);
}

/* A header on a device that is lost tells nothing any more: each has to have one of its own. While the oldest segment is not known, none can. */
Test(log_empty, each_device_has_a_header_of_its_own) {
    struct pager_log *log;
    struct pager_log_place place;
    for (uint32_t n = 5; n <= 6; n++) {
        log = log_of(2, 3, 100, 1);
        for (uint32_t i = 0; i < n; i++) {
            pager_log_found(log, i, PAGER_SEGMENT_CLEAN, 1 + i, 0, 0);
        }
        if (n == 5) {
            cr_assert_eq(put(log, 512, true, &place), QUIRE_FULL, "what was used may be needed");
            pager_log_destroy(&log);
        }
    }
    place = fill_one(log, true);
    cr_assert(place.segment == 0 && place.alone);
    place = fill_one(log, true);
    cr_assert(place.segment == 3 && place.alone);
    pager_log_close(log, 0);
    seal_all(log);
    place = fill_one(log, true);
    cr_assert(place.segment == 1 && place.first && !place.alone);
    pager_log_close(log, 1);
    place = fill_one(log, true);
    cr_assert(place.segment == 4 && place.first && place.alone, "the other device's header says so, not this one's");
    pager_log_destroy(&log);
}

/* What was found at start: epochs go on from the highest, the order of emptying is that of epochs, and nothing is emptied as long as one is unknown. */
Test(log_empty, found) {
    struct pager_log *log = log_of(2, 4, 100, 1);
    struct pager_log_place place;
    struct pager_log_stats stats;
    cr_assert_eq(put(log, 512, true, &place), QUIRE_FULL);
    pager_log_destroy(&log);
    log = log_of(2, 4, 100, 1);
    const uint64_t epochs[] = {9, 3, 0, 12, 5, 7, 1, 20};
    for (uint32_t i = 0; i < 8; i++) {
        cr_assert_eq(pager_log_clean(log), i > 3 ? 2 : i > 2 ? 1 : 0);
        pager_log_found(log, i, i == 2 || i == 3 ? PAGER_SEGMENT_CLEAN : PAGER_SEGMENT_SEALED, epochs[i], i == 0 ? UINT32_MAX : 50, 7);
        pager_log_check(log);
        cr_assert_eq(pager_log_to_empty(log, 8), i == 7 ? 6 : NONE);
    }
    cr_assert_eq(pager_log_segment(log, 0)->used_units, 100, "no more than there is");
    pager_log_stats(log, &stats);
    cr_assert(stats.epoch == 20 && stats.clean == 2 && stats.sealed == 6 && stats.used_bytes == (5 * 50 + 100) * 512);
    const uint32_t order[] = {6, 1, 4, 5, 0, 7};
    for (uint32_t i = 0; i < 6; i++) {
        cr_assert_eq(i == 0 ? 6 : pager_log_to_empty(log, 9), order[i]);
        pager_log_emptied(log, order[i]);
        pager_log_check(log);
    }
    cr_assert_eq(put(log, 512, false, &place), QUIRE_OK);
    cr_assert(place.epoch == 21 + PAGER_LOG_EPOCH_GAP && place.tail == place.epoch);
    pager_log_destroy(&log);
}

/* An epoch that cannot grow is not begun again from zero. */
Test(log_empty, epochs_end) {
    struct pager_log *log = log_of(1, 4, 100, 1);
    struct pager_log_place place;
    for (uint32_t i = 0; i < 4; i++) {
        pager_log_found(log, i, PAGER_SEGMENT_CLEAN, i == 1 ? UINT64_MAX - 1 : 0, 0, 0);
    }
    cr_assert_eq(put(log, WHOLE, true, &place), QUIRE_OK);
    cr_assert_eq(place.epoch, UINT64_MAX);
    cr_assert_eq(put(log, WHOLE, true, &place), QUIRE_FULL);
    pager_log_check(log);
    pager_log_destroy(&log);
}

/* A device fails while its segments are open, written, given out to be sealed, read and emptied: what was under way ends without harm, the
   entries stay as long as somebody writes the footer, and the other device goes on. */
Test(log_empty, device_lost_at_any_moment) {
    struct pager_log *log = clean_log(2, 8, 100, 1);
    struct pager_log_place places[8];
    const struct quire_log_entry *entries;
    struct pager_log_stats stats;
    struct quire_log_entry whole[8];
    uint32_t n;
    for (uint32_t i = 0; i < 8; i++) {
        whole[i] = record_of(i == 7 || i == 6 ? 512 : WHOLE);
        cr_assert_eq(pager_log_append(log, PAGER_ANY_DEVICE, &whole[i], 1, false, &places[i]), QUIRE_OK);
        pager_log_live(log, places[i].segment, WHOLE);
    }
    for (uint32_t i = 0; i < 4; i++) {
        pager_log_appended(log, &places[i], &whole[i], 1, true);
    }
    uint32_t device = pager_log_segment(log, places[0].segment)->device;
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), places[0].segment);
    pager_log_sealed(log, places[0].segment, true);
    cr_assert_eq(pager_log_to_empty(log, 16), places[0].segment);
    pager_log_hold(log, places[0].segment);
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), places[1].segment);
    pager_log_sealed(log, places[1].segment, true);
    cr_assert_eq(pager_log_to_seal(log, &entries, &n), places[2].segment);

    cr_assert(pager_log_device_lost(log, device));
    cr_assert(!pager_log_device_lost(log, device));
    cr_assert(!pager_log_device_in_use(log, device) && pager_log_device_in_use(log, !device));
    pager_log_check(log);
    cr_assert(n == 1 && entries[0].sequence == whole[2].sequence, "whoever writes the footer still reads them");
    pager_log_sealed(log, places[2].segment, false);
    pager_log_emptied(log, places[0].segment);
    pager_log_unhold(log, places[0].segment);
    pager_log_unhold(log, places[0].segment);
    for (uint32_t i = 4; i < 8; i++) {
        pager_log_appended(log, &places[i], i % 2 ? &whole[i] : NULL, 1, i % 2);
        pager_log_check(log);
    }
    for (uint32_t i = 0; i < 8; i++) {
        pager_log_dead(log, places[i].segment, WHOLE);
        cr_assert_eq(state_of(log, places[i].segment) == PAGER_SEGMENT_LOST, i % 2 == 0);
    }
    pager_log_dead(log, places[0].segment, WHOLE);
    pager_log_check(log);
    pager_log_stats(log, &stats);
    cr_assert(stats.lost == 8 && stats.devices_lost == 1 && stats.live_records == 0 && stats.capacity_bytes == 8 * 100 * 512);
    /* What was lost does not stand in the way. */
    seal_all(log);
    cr_assert_eq(pager_log_to_empty(log, 8), places[1].segment);
    cr_assert(pager_log_device_lost(log, !device));
    struct pager_log_place place;
    cr_assert_eq(put(log, 512, true, &place), QUIRE_FULL);
    cr_assert_eq(put(log, 0, true, &place), QUIRE_FULL);
    cr_assert_eq(pager_log_to_empty(log, 8), NONE);
    pager_log_check(log);
    pager_log_destroy(&log);
}

/* A device that is lost before its segments were looked at leaves nothing to be waited for. */
Test(log_empty, device_lost_at_start) {
    struct pager_log *log = log_of(2, 4, 100, 1);
    for (uint32_t i = 0; i < 6; i++) {
        pager_log_found(log, i, PAGER_SEGMENT_SEALED, 10 - i, 50, 1);
    }
    cr_assert_eq(pager_log_to_empty(log, 3), NONE);
    cr_assert(pager_log_device_lost(log, 1));
    pager_log_found(log, 7, PAGER_SEGMENT_CLEAN, 3, 0, 0);
    pager_log_check(log);
    cr_assert_eq(pager_log_to_empty(log, 3), 3);
    pager_log_destroy(&log);
}
