/*
 * A drive that takes nothing for a while: its file system is full, or was mounted read-only, or there is no memory to ask it. It is not given up: what it
 * has is read on, what it did not take stays dirty, or goes as whatever was never written goes, and later it is asked again.
 */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)

static void store(struct rig *rig, uint32_t first, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        enum quire_status status = rig_put(rig, first + i, 0);
        for (uint32_t again = 0; status == QUIRE_FULL && again < 3; again++) { /* a put that does not wait comes again, as it is told */
            rig_pass(rig, 20);
            status = rig_put(rig, first + i, 0);
        }
        cr_assert_eq(status, QUIRE_OK, "block %u: %d", first + i, status);
        rig_pass(rig, 20);
    }
}

static enum quire_status load(struct rig *rig, uint32_t key) {
    enum quire_status status = disk_load_key(rig, key);
    rig_release(rig, rig->reply.lease);
    return status;
}

static enum quire_status statuses[] = {QUIRE_FULL, QUIRE_NO_MEMORY};

/*
 * For hours nothing can be written. It is tried now and then, later and later, in segments that are clean again afterwards: when there is room, the log is
 * as it was, and so is every block.
 */
Test(disk_rests, it_is_tried_again_until_there_is_room) {
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(statuses); i++) {
        struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
        store(rig, 1, 10);
        disk_settle(rig);
        disk_leave_memory(rig);
        struct pager_disk_stats before = disk_stats(rig);
        uint32_t writes = disk_of(rig)->writes;
        disk_of(rig)->write_status = disk_of(rig)->seal_status = statuses[i];
        store(rig, 11, 10);
        for (uint32_t s = 0; s < 3600; s++) {
            rig_pass(rig, 1000);
        }
        cr_assert_eq(disk_stats(rig).dirty_records, 10);
        cr_assert_gt(disk_of(rig)->writes, writes + 100, "it is tried");
        cr_assert_lt(disk_of(rig)->writes, writes + 1000, "and not all the time");
        cr_assert_geq(disk_stats(rig).log.clean + 1, before.log.clean, "tries use up nothing");
        cr_assert_eq(disk_stats(rig).log.live_records, 10);
        cr_assert_gt(disk_stats(rig).counters->disk_rests, 0);
        cr_assert_eq(load(rig, 3), QUIRE_OK, "what is there is read");
        disk_of(rig)->write_status = disk_of(rig)->seal_status = QUIRE_OK;
        disk_settle(rig);
        cr_assert_eq(disk_stats(rig).dirty_records, 0);
        cr_assert_eq(disk_stats(rig).log.live_records, 20);
        disk_rig_free(rig);
    }
}

/* While it takes nothing, memory is what there is: stores go on, and what was stored long ago leaves without having been written. */
Test(disk_rests, stores_go_on_in_memory) {
    struct rig *rig = disk_rig_plain(POOL, 1, 64, 1024);
    disk_reclaim_early(rig);
    disk_of(rig)->write_status = QUIRE_FULL;
    store(rig, 1, 400);
    cr_assert_gt(disk_stats(rig).counters->disk_declined, 100);
    cr_assert_eq(rig_why(rig, 400), QUIRE_MISS_NONE, "the newest is there");
    cr_assert_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    disk_of(rig)->write_status = QUIRE_OK;
    store(rig, 500, 10);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_geq(disk_stats(rig).log.live_records, 10);
    disk_rig_free(rig);
}

/* One of two drives is full: the other takes all of it. */
Test(disk_rests, the_other_one_takes_it) {
    struct rig *rig = disk_rig_plain(POOL, 2, 16, 1024);
    disk_of(rig)->full = 1u << 1;
    store(rig, 1, 30);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(disk_stats(rig).log.live_records, 30);
    disk_rig_free(rig);
}

/*
 * One of two drives takes nothing from its first day on, and the other fills up: it is emptied for what comes, though the first has clean segments enough.
 * Nobody is refused, and a stop ends.
 */
Test(disk_rests, the_other_one_is_emptied) {
    struct rig *rig = disk_rig_plain(POOL, 2, 8, 512);
    disk_reclaim_early(rig);
    disk_of(rig)->full = 1u << 1;
    store(rig, 1, 600);
    disk_settle(rig);
    cr_assert_gt(disk_stats(rig).counters->disk_emptied, 8);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    disk_stop(rig);
    disk_rig_free(rig);
}

/* It does not even answer, before it is given up for that: what the other has no place for goes as memory needs room, and stores go on. */
Test(disk_rests, nobody_waits_for_one_that_is_silent) {
    struct rig *rig = disk_rig_plain(POOL, 2, 8, 512);
    disk_reclaim_early(rig);
    disk_of(rig)->hanging = 1u << 1;
    store(rig, 1, 600);
    cr_assert_gt(disk_stats(rig).counters->disk_declined, 0);
    cr_assert_eq(rig_why(rig, 600), QUIRE_MISS_NONE, "the newest is there");
    disk_rig_free(rig);
}

/*
 * The oldest segment is open on a drive that paused; the other one filled up meanwhile. Now both are well, but nothing is stored, so nothing would ever close
 * that segment: deletions, for which the full drive needs another one, are acknowledged all the same.
 */
Test(disk_rests, an_open_segment_does_not_hold_up_deletions) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig_starting(POOL, &layout, 2, 4, 512);
    struct rig_disk *disk = disk_of(rig);
    disk->options.batch_bytes = 16384; /* a block in each */
    disk->options.write_delay_ms = 1;
    pager_disk_set_options(rig->pager, &disk->options);
    disk_start_ends(rig);
    uint32_t n = 0;
    while (disk_stats(rig).dirty_records == 0 && n < 200) {
        cr_assert_eq(rig_put(rig, ++n, 0), QUIRE_OK);
        rig_pass(rig, 5), rig_pass(rig, 5);
        disk->hanging = n >= 2 ? 1 : 0; /* for a moment: not long enough to be given up */
    }
    cr_assert_gt(n, 20);
    disk->hanging = 0;
    disk_let_go(rig);
    disk_settle(rig);
    for (uint32_t key = 1; key <= n; key++) {
        enum quire_status status = disk_delete_durably(rig, key, key);
        disk_settle(rig);
        cr_assert(status == QUIRE_OK || (disk->durable_cookie == key && disk->durable_status == QUIRE_OK), "deletion %u of %u", key, n);
    }
    disk_stop(rig);
    disk_rig_free(rig);
}

/* A deletion is not acknowledged while no tombstone can be written, and whoever asked is told. When there is room it is made good. */
Test(disk_rests, a_deletion_is_refused_and_made_good) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 3);
    disk_settle(rig);
    disk->write_status = QUIRE_FULL;
    cr_assert_eq(disk_delete_durably(rig, 3, 5), QUIRE_PENDING);
    disk_settle(rig);
    disk_was_told(rig, 5, QUIRE_SYSTEM);
    cr_assert_eq(disk_delete_durably(rig, 2, 7), QUIRE_PENDING);
    rig_pass(rig, 10);
    cr_assert_eq(disk->durable_cookie, 7, "whoever asks later is told at once");
    cr_assert_eq(disk->durable_status, QUIRE_SYSTEM);
    disk->write_status = QUIRE_OK;
    disk_settle(rig);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    cr_assert_gt(disk->syncs, 0);
    disk_rig_free(rig);
}

/* For want of memory, for a moment: it is tried again before anybody is told. */
Test(disk_rests, a_deletion_waits_for_memory) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 3);
    disk_settle(rig);
    disk->write_status = QUIRE_NO_MEMORY;
    cr_assert_eq(disk_delete_durably(rig, 3, 5), QUIRE_PENDING);
    rig_pass(rig, 200);
    cr_assert_eq(disk->durable_cookie, 0);
    disk->write_status = QUIRE_OK;
    disk_settle(rig);
    disk_was_told(rig, 5, QUIRE_OK);
    disk_rig_free(rig);
}

/*
 * A batch is being written, and behind it in the same segment the tombstone of a deletion. The batch fails, the tombstone is taken: but a start after a
 * crash finds batches one behind the other, and would stop at the gap. So the tombstone is written once more, elsewhere, before the deletion counts.
 */
Test(disk_rests, a_tombstone_behind_a_gap_does_not_count) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 3);
    disk_settle(rig);
    disk->hanging = 1;
    store(rig, 4, 3);
    rig_pass(rig, 1100), rig_pass(rig, 1100);
    cr_assert_eq(disk->n_waiting, 1, "a batch");
    cr_assert_eq(disk_delete_durably(rig, 1, 5), QUIRE_PENDING);
    rig_pass(rig, 1);
    cr_assert_eq(disk->n_waiting, 2, "and a tombstone");
    uint32_t gap = disk->waiting[0].disk->segment;
    cr_assert_eq(disk->waiting[1].disk->segment, gap);
    disk->hanging = 0;
    struct pager_event tombstone = disk->waiting[1];
    disk->write_status = QUIRE_FULL;
    disk_do(rig, &disk->waiting[0]);
    disk->write_status = QUIRE_OK;
    disk->n_waiting = 0;
    disk_do(rig, &tombstone);
    disk_settle(rig);
    disk_was_told(rig, 5, QUIRE_OK);
    uint32_t n = 0;
    for (uint32_t s = 0; s < 16; s++) {
        for (uint32_t i = 0; s != gap && i < disk->segments[s].n; i++) {
            n += disk->segments[s].entries[i].kind == QUIRE_LOG_TOMBSTONE;
        }
    }
    cr_assert_eq(n, 1, "in a segment without a gap");
    disk_rig_free(rig);
}

/* The first batch of a segment fails, which was to bring the segment's header, and the second one does not: the header comes with the footer. */
Test(disk_rests, a_header_that_failed_comes_with_the_footer) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
    struct rig_disk *disk = disk_of(rig);
    disk->hanging = 1;
    store(rig, 1, 3);
    rig_pass(rig, 1100), rig_pass(rig, 1100);
    store(rig, 4, 3);
    rig_pass(rig, 1100), rig_pass(rig, 1100);
    cr_assert_eq(disk->n_waiting, 2);
    disk->hanging = 0;
    disk->segments[disk->waiting[0].disk->segment].epoch = disk->waiting[0].disk->epoch;
    disk->write_status = QUIRE_FULL;
    disk_do(rig, &disk->waiting[0]);
    disk->write_status = QUIRE_OK;
    struct pager_event second = disk->waiting[1];
    disk->n_waiting = 0;
    disk_do(rig, &second);
    disk_settle(rig);
    cr_assert_eq(disk->headers, 1);
    cr_assert_eq(disk_stats(rig).log.live_records, 6);
    disk_rig_free(rig);
}

static bool do_all_but_seals(struct rig *rig) {
    struct rig_disk *disk = disk_of(rig);
    uint32_t seals = 0;
    while (seals < disk->n_waiting) {
        struct pager_event event = disk->waiting[seals];
        if (event.type == PAGER_DISK_SEAL) {
            seals++;
            continue;
        }
        memmove(&disk->waiting[seals], &disk->waiting[seals + 1], (--disk->n_waiting - seals) * sizeof(event));
        disk_do(rig, &event);
        rig_pump(rig);
    }
    return seals > 0;
}

/*
 * A sync fails, and what was written since the one before may be gone, headers too. One segment is being sealed meanwhile, the other takes the tombstone: the
 * header of both is written again, else a start would take them for clean, with all that their footers name.
 */
Test(disk_rests, a_header_in_doubt_comes_with_the_footer) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 256);
    struct rig_disk *disk = disk_of(rig);
    disk->hanging = 1;
    for (uint32_t key = 1; !do_all_but_seals(rig); key++) {
        cr_assert_lt(key, 100);
        store(rig, key, 1);
        rig_pass(rig, 1100), rig_pass(rig, 1100);
    }
    cr_assert_eq(disk_delete_durably(rig, 1, 5), QUIRE_PENDING);
    rig_pump(rig);
    disk->sync_status = QUIRE_FULL;
    cr_assert(do_all_but_seals(rig));
    cr_assert_eq(disk->syncs, 1);
    disk->sync_status = QUIRE_OK;
    disk->hanging = 0;
    disk_let_go(rig);
    disk_settle(rig);
    cr_assert_eq(disk->headers, 2);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    disk_rig_free(rig);
}

/*
 * A stop does not wait for room: what could be written is, the rest goes as memory goes. A deletion that was not written is one that the log does not know of, so
 * no snapshot may say otherwise.
 */
Test(disk_rests, a_stop_does_not_wait_for_room) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 10);
    disk_settle(rig);
    disk->write_status = disk->seal_status = QUIRE_FULL;
    store(rig, 11, 10);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    disk_settle(rig);
    disk_stop(rig);
    cr_assert(!pager_disk_is_settled(rig->pager));
    disk->write_status = disk->seal_status = QUIRE_OK;
    disk_settle(rig);
    cr_assert(pager_disk_is_settled(rig->pager));
    disk_rig_free(rig);
}

/*
 * The drive takes every write and refuses every sync, for a quarter of an hour, while blocks are stored and some deleted. A refused sync makes doubtful what
 * was written before it, so the segment takes no more: were each tried with new tombstones and a new segment, the log would fill up, and what was stored
 * long ago be given up. It is tried with a sync alone: the log is as it was, deletions are refused, and all is made good when syncs are taken again.
 */
Test(disk_rests, refused_syncs_use_up_nothing) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 256);
    struct rig_disk *disk = disk_of(rig);
    disk_reclaim_early(rig);
    store(rig, 1, 20);
    disk_settle(rig);
    disk_leave_memory(rig);
    uint32_t clean = disk_stats(rig).log.clean, live = disk_stats(rig).log.live_records;
    disk->sync_status = disk->seal_status = QUIRE_FULL;
    for (uint32_t s = 0; s < 900; s++) {
        if (s < 300) {
            store(rig, 1000 + s, 1);
        }
        if (s % 10 == 0) {
            (void)rig_verb(rig, QUIRE_WIRE_DELETE, 1000 + s / 10);
        }
        rig_pass(rig, 1000);
        cr_assert_geq(disk_stats(rig).log.clean + 2, clean, "after %u s", s);
        cr_assert_geq(disk_stats(rig).log.live_records, live);
    }
    cr_assert_gt(disk->syncs, 100, "it is tried");
    cr_assert_lt(disk->syncs, 1000, "and not all the time");
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig_pass(rig, 1);
    cr_assert(disk->durable_cookie == 5 && disk->durable_status == QUIRE_SYSTEM);
    disk->sync_status = disk->seal_status = QUIRE_OK;
    disk_settle(rig), disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    for (uint32_t key = 1; key <= 20; key++) {
        cr_assert_eq(load(rig, key), QUIRE_OK, "block %u", key);
    }
    disk_rig_free(rig);
}

/* A sync by itself is taken, as where there is nothing to sync, and one behind a write is not: it is tried later and later all the same. */
Test(disk_rests, a_sync_of_nothing_proves_nothing) {
    struct rig *rig = disk_rig_plain(POOL, 1, 64, 256);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 20);
    disk_settle(rig);
    uint32_t clean = disk_stats(rig).log.clean;
    disk->sync_refused_behind = true;
    disk->seal_status = QUIRE_FULL;
    for (uint32_t s = 0; s < 60; s++) {
        store(rig, 1000 + s, 1);
        if (s % 3 == 0) {
            (void)rig_verb(rig, QUIRE_WIRE_DELETE, 1000 + s);
        }
        rig_pass(rig, 1000);
    }
    cr_assert_geq(disk_stats(rig).log.clean + 25, clean, "%u of %u are left", disk_stats(rig).log.clean, clean);
    disk->sync_refused_behind = false;
    disk->seal_status = QUIRE_OK;
    disk_settle(rig), disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    disk_rig_free(rig);
}

/* There is no memory to read a record now. That says nothing about the record: the reader may come again, and has it then. */
Test(disk_rests, what_could_not_be_read_is_still_there) {
    struct rig *rig = disk_rig_plain(POOL, 1, 16, 1024);
    store(rig, 1, 3);
    disk_settle(rig);
    disk_leave_memory(rig);
    disk_of(rig)->read_status = QUIRE_NO_MEMORY;
    cr_assert_eq(load(rig, 2), QUIRE_RETRY);
    cr_assert_eq(disk_stats(rig).counters->disk_read_errors, 0);
    disk_of(rig)->read_status = QUIRE_OK;
    cr_assert_eq(load(rig, 2), QUIRE_OK);
    disk_rig_free(rig);
}

/* Nor does it when a segment is to be emptied and there is no memory for the list of what it holds, or to read what is to be kept: it waits a little. */
Test(disk_rests, emptying_waits_for_memory) {
    struct rig *rig = disk_rig_plain(POOL, 1, 12, 128);
    struct rig_disk *disk = disk_of(rig);
    disk->entries_status = QUIRE_NO_MEMORY;
    for (uint32_t first = 1; disk_stats(rig).log.clean > 1 && first < 2000; first += 4) {
        store(rig, first, 4);
        rig_pass(rig, 1100);
    }
    for (uint32_t i = 0; i < 5; i++) {
        rig_pass(rig, 1000);
    }
    cr_assert(disk_stats(rig).emptying);
    cr_assert_eq(disk_stats(rig).counters->disk_dropped, 0);
    cr_assert_eq(disk_stats(rig).counters->disk_emptied, 0);
    disk->entries_status = QUIRE_OK;
    disk_settle(rig);
    cr_assert_gt(disk_stats(rig).counters->disk_emptied, 0);
    disk_rig_free(rig);
}
