/* Deletions at odd times, and many of them: stories that the simulator told first (tests/sim). */
#include "pager/disk/remains.h"
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)

/* A block is deleted that was not found yet, because the log is still being read: it is not found later either. */
Test(disk_bury, while_the_log_is_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    disk_attach(rig, 8, 64);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 40, 2);
    disk_clean_from(rig, 1);
    struct quire_log_entry entries[2];
    for (uint32_t i = 0; i < 2; i++) {
        entries[i] = (struct quire_log_entry){.key = rig_key(1 + i),
                                              .sequence = 10 + i,
                                              .ns = pager_ns_serial(rig->pager, rig->ns),
                                              .at_units = 2 + 8 * i,
                                              .size_bytes = 4096,
                                              .n_tokens = layout.block_tokens,
                                              .kind = QUIRE_LOG_RECORD,
                                              .flags = QUIRE_LOG_ROOT};
    }
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_MISS);
    pager_restore_entries(rig->pager, rig->now_ns, 0, entries, 2);
    disk_start_ends(rig);
    cr_assert_eq(rig_each(rig, 1), 0);
    cr_assert_eq(rig_each(rig, 2), 1);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* Deletes one block, waits until that lasts, and tells how many tombstones it took. */
static uint32_t graves_of(struct rig *rig, uint32_t key) {
    uint64_t before = disk_stats(rig).counters->disk_tombstones;
    (void)rig_verb(rig, QUIRE_WIRE_DELETE, key);
    rig_pump(rig);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_OK);
    return (uint32_t)(disk_stats(rig).counters->disk_tombstones - before);
}

static bool is_there(struct rig *rig, uint32_t key) {
    struct pager_block_info info;
    quire_key k = rig_key(key);
    return pager_block_info(rig->pager, rig->now_ns, rig->ns, &k, &info) == QUIRE_OK && info.n_records > 0;
}

/* A record of the last life or this one, as its footer tells it. */
static struct quire_log_entry *entry_of(struct rig *rig, uint32_t key, uint32_t *segment) {
    quire_key wanted = rig_key(key);
    for (*segment = 0; *segment < DISK_SEGMENTS; ++*segment) {
        struct rig_segment *s = &disk_of(rig)->segments[*segment];
        for (uint32_t i = 0; i < s->n; i++) {
            if (s->entries[i].kind == QUIRE_LOG_RECORD && quire_key_equal(&s->entries[i].key, &wanted)) {
                return &s->entries[i];
            }
        }
    }
    cr_assert_fail("block %u was not written", key);
    return NULL;
}

/* A scrub finds it damaged: the index forgets it, the log goes on holding it. */
static void damage(struct rig *rig, uint32_t key) {
    uint32_t segment;
    const struct quire_log_entry *entry = entry_of(rig, key, &segment);
    cr_assert(pager_disk_damaged(rig->pager, rig->now_ns, segment, disk_of(rig)->segments[segment].epoch, entry));
    rig_pump(rig);
}

/* Whoever deletes what never was wears out no drive, and pushes nobody's blocks out of the log: nothing is written, however often. */
Test(disk_bury, what_never_was) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    disk_put_each(rig, 1, 6);
    uint64_t written = disk_stats(rig).counters->disk_written_bytes;
    uint32_t live = disk_stats(rig).log.live_records;
    for (uint32_t i = 0; i < 100; i++) {
        cr_assert_eq(disk_delete(rig, rig->session, 1000 + 512 * i, 512), QUIRE_OK);
        cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_OK);
        rig_pump(rig);
    }
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 0);
    cr_assert_eq(disk_stats(rig).counters->disk_written_bytes, written);
    cr_assert_eq(disk_stats(rig).log.live_records, live);
    disk_rig_free(rig);
}

/* What was on disk needs one tombstone, and no second; what only memory had, or a block that only stands there for others to continue, needs none. */
Test(disk_bury, each_once) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    disk_put(rig, 1, 1);
    cr_assert_eq(rig_put(rig, 2, 99), QUIRE_OK); /* 99 was never stored */
    cr_assert_eq(graves_of(rig, 2), 0);
    cr_assert_eq(graves_of(rig, 99), 0);
    cr_assert_eq(graves_of(rig, 1), 1);
    cr_assert_eq(graves_of(rig, 1), 0);
    disk_rig_free(rig);
}

/*
 * The log goes round, and a block leaves with its segment, whose bytes stand there still: a start after a crash would find it. So its deletion is buried, until
 * the disk says that the segment is empty.
 */
Test(disk_bury, what_left_with_its_segment) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(66 << 10, &layout, 16, 512);
    uint32_t next = 1, left = 0;
    while (left < 2) { /* the first that leaves is deleted at once, the next one when the log has gone round */
        cr_assert_lt(next, 500);
        cr_assert_eq(rig_put(rig, next++, 0), QUIRE_OK);
        disk_settle(rig);
        left = 0;
        while (left < next - 1 && !is_there(rig, left + 1)) {
            left++;
        }
    }
    cr_assert_eq(graves_of(rig, left), 1);
    cr_assert_eq(graves_of(rig, left), 0);
    disk_put_each(rig, next, 100);
    cr_assert_eq(graves_of(rig, left - 1), 0);
    disk_rig_free(rig);
}

/* A damaged record is forgotten. It may have been a misreading: whoever is told that the block is not here must not find it after the next start. */
Test(disk_bury, what_is_damaged) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    for (uint32_t key = 1; key <= 2; key++) {
        disk_put(rig, key, 1);
        damage(rig, key);
    }
    cr_assert_eq(graves_of(rig, 1), 1);
    cr_assert_eq(graves_of(rig, 1), 0);
    cr_assert_eq(graves_of(rig, 2), 1);
    disk_rig_free(rig);
}

/* What is dirty is due: its write, which the story brings to its end. */
static struct pager_event take_write(struct rig *rig) {
    struct pager_event event = {0};
    for (uint32_t i = 0; i < 5; i++) {
        rig->now_ns += 1100 * RIG_MS;
        pager_tick(rig->pager, rig->now_ns);
        while (pager_next_event(rig->pager, &event)) {
            if (event.type == PAGER_DISK_WRITE) {
                return event;
            }
            disk_event(rig, &event);
        }
    }
    cr_assert_fail("nothing is written");
    return event;
}

/* A block is deleted while its record is written, or when a write of it has failed that may have landed all the same. */
Test(disk_bury, what_is_being_written) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    struct pager_event write = take_write(rig);
    cr_assert_eq(disk_delete(rig, rig->session, 1, 1), QUIRE_OK);
    disk_event(rig, &write);
    rig_pump(rig);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 1);
    cr_assert_eq(graves_of(rig, 1), 0);
    cr_assert_eq(rig_put(rig, 2, 0), QUIRE_OK);
    write = take_write(rig);
    disk_wrote(disk_of(rig), write.disk);
    pager_complete(rig->pager, rig->now_ns, write.ticket, QUIRE_SYSTEM);
    cr_assert_eq(disk_delete(rig, rig->session, 2, 1), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 2);
    disk_rig_free(rig);
}

/* A start finds two records of one block. The newer one turns out to be damaged: the older one would be found by the next start. */
Test(disk_bury, what_was_replaced_before_the_start) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    disk_attach(rig, 8, 64);
    struct quire_log_entry entry = {.key = rig_key(1),
                                    .ns = pager_ns_serial(rig->pager, rig->ns),
                                    .at_units = 2,
                                    .size_bytes = 4096,
                                    .n_tokens = layout.block_tokens,
                                    .kind = QUIRE_LOG_RECORD,
                                    .flags = QUIRE_LOG_ROOT};
    for (uint32_t i = 0; i < 2; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_SEALED, 1 + i, 40, 1);
    }
    disk_clean_from(rig, 2);
    for (uint32_t i = 2; i-- > 0;) {
        entry.sequence = 10 + i;
        pager_restore_entries(rig->pager, rig->now_ns, i, &entry, 1);
    }
    disk_start_ends(rig);
    entry.sequence = 11;
    cr_assert(pager_disk_damaged(rig->pager, rig->now_ns, 1, 2, &entry));
    cr_assert(!is_there(rig, 1));
    cr_assert_eq(graves_of(rig, 1), 1);
    cr_assert_eq(graves_of(rig, 2), 0);
    disk_rig_free(rig);
}

/* More is left in the log than can be remembered: then any key may be among it, until the log has gone round. */
Test(disk_bury, more_than_can_be_remembered) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(66 << 10, &layout);
    uint32_t n = 2 * (uint32_t)rig->options.max_blocks / PAGER_REMAINS_SHARE;
    struct quire_log_entry *entries = calloc(n, sizeof(*entries));
    disk_attach(rig, 8, 64);
    for (uint32_t i = 0; i < n; i++) { /* a size of 0: there, and of no use */
        entries[i] = (struct quire_log_entry){
            .key = rig_key(1000 + i), .sequence = 1 + i, .ns = pager_ns_serial(rig->pager, rig->ns), .kind = QUIRE_LOG_RECORD};
    }
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 0, 0);
    disk_clean_from(rig, 1);
    pager_restore_entries(rig->pager, rig->now_ns, 0, entries, n);
    disk_start_ends(rig);
    free(entries);
    cr_assert_eq(graves_of(rig, 1), 1);
    disk_put_each(rig, 100, 100);
    cr_assert_eq(graves_of(rig, 2), 0);
    cr_assert_eq(graves_of(rig, 1000), 0);
    disk_rig_free(rig);
}

/* Which of several devices holds what is told by each one's own headers: a start believes no device's word of another, which may be lost. */
Test(disk_bury, on_several_devices) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(66 << 10, &layout);
    disk_attach_devices(rig, 2, 8, 64, 1ull << 40);
    for (uint32_t i = 0; i < 16; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_CLEAN, i == 3 ? 7 : 0, 0, 0);
    }
    disk_start_ends(rig);
    cr_assert_eq(graves_of(rig, 1), 2, "one on each");
    disk_put_each(rig, 100, 100);
    cr_assert_eq(graves_of(rig, 2), 0);
    disk_rig_free(rig);
}

/* The log is still being read: then deletions of anything are buried. */
static struct rig *rig_restoring(uint32_t n_segments, uint32_t segment_units) {
    quire_layout layout = rig_layout();
    return disk_rig_starting(POOL, &layout, 1, n_segments, segment_units);
}

/* More deletions than one batch takes become durable in one go: nothing else happens that could move them on. */
Test(disk_bury, many_at_once) {
    struct rig *rig = rig_restoring(8, 1024);
    cr_assert_eq(disk_delete(rig, rig->session, 1, 512), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 512);
    disk_rig_free(rig);
}

/* In segments so small that no full batch of them fits, too, though they fill many segments, which are emptied for that. */
Test(disk_bury, in_small_segments) {
    struct rig *rig = rig_restoring(4, 8);
    cr_assert_eq(disk_delete(rig, rig->session, 1, 300), QUIRE_OK);
    pager_restore_end(rig->pager, rig->now_ns);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_of(rig)->durable_status, QUIRE_OK);
    disk_rig_free(rig);
}

/* Ends the first wish of the type that waits, WRITE: that opens a segment or not; false: there is none. */
static bool end_one(struct rig *rig, enum pager_event_type type, bool alone, enum quire_status status) {
    struct rig_disk *disk = disk_of(rig);
    for (uint32_t i = 0; i < disk->n_waiting; i++) {
        const struct pager_event event = disk->waiting[i];
        if (event.type == type && (type != PAGER_DISK_WRITE || event.disk->alone == alone)) {
            memmove(&disk->waiting[i], &disk->waiting[i + 1], (--disk->n_waiting - i) * sizeof(event));
            pager_complete(rig->pager, rig->now_ns, event.ticket, status);
            rig_pump(rig);
            return true;
        }
    }
    return false;
}

/*
 * A deletion is written, and being synced. Meanwhile records open another segment, one that was used before: its header goes alone, with
 * a sync of its own, and that fails. What it failed for may be the deletion, whose own sync is told nothing of it: the deletion is not
 * acknowledged before it is written once more.
 */
Test(disk_bury, a_header_that_was_not_synced) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    disk_attach(rig, 8, 64);
    for (uint32_t i = 0; i < 8; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_CLEAN, 1 + i, 0, 0);
    }
    disk_start_ends(rig);
    struct rig_disk *disk = disk_of(rig);
    disk_put(rig, 77, 1);
    disk->hanging = 1;
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 77), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig_pump(rig);
    cr_assert(end_one(rig, PAGER_DISK_WRITE, false, QUIRE_OK));
    for (uint32_t i = 1; i <= 20; i++) {
        cr_assert_eq(rig_put(rig, i, 0), QUIRE_OK);
    }
    rig_pass(rig, 2500);
    rig_pass(rig, 2500);
    while (end_one(rig, PAGER_DISK_WRITE, false, QUIRE_OK)) {
    }
    cr_assert(end_one(rig, PAGER_DISK_WRITE, true, QUIRE_FULL), "the second segment");
    cr_assert(end_one(rig, PAGER_DISK_SYNC, false, QUIRE_OK));
    cr_assert(disk->durable_cookie == 5 && disk->durable_status != QUIRE_OK, "there is no room for it now");
    disk->hanging = 0;
    disk_let_go(rig);
    disk_settle(rig);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 2);
    disk_rig_free(rig);
}
