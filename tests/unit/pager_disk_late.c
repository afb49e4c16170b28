/*
 * A start finds a deletion in a segment that is older than that of the record which it buries. Only damage brings that about, and only for the start is the record
 * hidden by it: the older segment is emptied first, and whoever reads the log after that finds the record alone. So the deletion is written once more.
 */
#include "tests/unit/pager_disk_rig.h"

#define UNITS 1024u
#define A_CALL 2048u

static void tell(struct rig *rig, uint32_t segment, uint8_t kind, uint32_t first, uint32_t n, uint64_t sequence) {
    static struct quire_log_entry entries[A_CALL];
    const bool record = kind == QUIRE_LOG_RECORD;
    cr_assert_leq(n, A_CALL);
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = (struct quire_log_entry){.key = rig_key(first + i),
                                              .sequence = sequence,
                                              .ns = pager_ns_serial(rig->pager, rig->ns),
                                              .at_units = record ? 2 + (first + i) % 500 : 0,
                                              .size_bytes = record ? 512 : 0,
                                              .n_tokens = record ? 4 : 0,
                                              .kind = kind,
                                              .flags = record ? QUIRE_LOG_ROOT : 0};
    }
    pager_restore_entries(rig->pager, rig->now_ns, segment, entries, n);
}

/* n records in segment 1, which is newer, and their deletions in segment 0. */
static void tell_late(struct rig *rig, uint32_t n) {
    for (uint32_t done = 0; done < n; done += A_CALL) {
        tell(rig, 1, QUIRE_LOG_RECORD, 1 + done, (uint32_t)quire_min_u64(A_CALL, n - done), 100);
    }
    for (uint32_t done = 0; done < n; done += A_CALL) {
        tell(rig, 0, QUIRE_LOG_TOMBSTONE, 1 + done, (uint32_t)quire_min_u64(A_CALL, n - done), 200);
    }
}

static struct rig *starting(uint32_t n_segments, uint32_t n_full) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    disk_attach(rig, n_segments, UNITS);
    for (uint32_t i = 0; i < n_full; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_SEALED, 1 + i, UNITS - 64, 0);
    }
    disk_clean_from(rig, n_full);
    return rig;
}

/* Of the keys from 1 on: how many have their deletion in a segment that is newer than the record's. */
static uint32_t written_anew(struct rig *rig, uint32_t n) {
    static bool found[1 << 16];
    uint32_t all = 0;
    memset(found, 0, sizeof(found));
    for (uint32_t s = 2; s < DISK_SEGMENTS; s++) {
        const struct rig_segment *segment = &disk_of(rig)->segments[s];
        for (uint32_t i = 0; i < segment->n; i++) {
            uint32_t key;
            memcpy(&key, segment->entries[i].key.b + 1, sizeof(key));
            cr_assert(segment->entries[i].kind == QUIRE_LOG_TOMBSTONE && segment->entries[i].sequence == 200 && key >= 1 && key <= n);
            all += !found[key];
            found[key] = true;
        }
    }
    return all;
}

/* More of them than may wait to be written: none is left out. */
Test(disk_late, more_than_may_wait) {
    enum { N = 5 * QUIRE_MAX_BATCH };
    struct rig *rig = starting(DISK_SEGMENTS, 2);
    tell_late(rig, N);
    cr_assert_eq(disk_stats(rig).counters->disk_restored, N);
    cr_assert_not(pager_disk_is_settled(rig->pager));
    disk_start_ends(rig);
    disk_settle(rig);
    cr_assert_eq(written_anew(rig, N), N);
    cr_assert(pager_disk_is_settled(rig->pager));
    disk_rig_free(rig);
}

/* While they wait for a device that is slow, the oldest segment, in which they were found, stays as it is: a crash would leave the record, and no deletion. Then it goes. */
Test(disk_late, nothing_is_emptied_before_they_are_written) {
    struct rig *rig = starting(8, 6);
    tell_late(rig, 10);
    disk_of(rig)->hanging = 1;
    disk_start_ends(rig);
    disk_settle(rig);
    cr_assert(disk_stats(rig).log.clean <= 2 && !disk_stats(rig).emptying);
    disk_of(rig)->hanging = 0;
    disk_let_go(rig);
    disk_settle(rig);
    cr_assert_eq(written_anew(rig, 10), 10);
    cr_assert_geq(disk_stats(rig).counters->disk_emptied, 1);
    disk_rig_free(rig);
}

/*
 * Memory is short at a start, and deletions are left unread. A record that was found is read, its file fails, and the other one takes it: under the number that it
 * had, so that whoever reads the log next, and all of it, finds a deletion that came after it the newer of the two.
 */
Test(disk_late, a_number_outlasts_a_start_that_was_not_complete) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    disk_attach_devices(rig, 2, 8, UNITS, 1ull << 40);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 5, UNITS - 64, 0);
    disk_clean_from(rig, 1);
    tell(rig, 0, QUIRE_LOG_RECORD, 1, 1, 100);
    pager_restore_incomplete(rig->pager);
    disk_start_ends(rig);
    cr_assert_eq(disk_load_key(rig, 1), QUIRE_OK);
    pager_disk_device_lost(rig->pager, rig->now_ns, 0);
    disk_settle(rig);
    const struct rig_segment *segment = &disk_of(rig)->segments[8];
    cr_assert_eq(segment->n, 1);
    cr_assert_eq(segment->entries[0].sequence, 100);
    disk_rig_free(rig);
}
