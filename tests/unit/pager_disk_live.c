/* What the index knows of the disk when a daemon stops in good order comes back as it was: every block, and when it was last used. */
#include "tests/unit/pager_disk_rig.h"

#include <math.h>

#define POOL (1ull << 20)
#define BLOCKS 60u
#define SEGMENTS 16u

struct told {
    struct quire_snapshot_entry entries[2 * BLOCKS];
    uint32_t n, openings[SEGMENTS + 1], n_openings;
    uint64_t idle_ns[BLOCKS + 1];
};

/* Six contexts of ten blocks, a while between them; the second is used again; then everything goes to disk. */
static struct rig *first_life(struct told *told) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, SEGMENTS, 128);
    for (uint32_t key = 1; key <= BLOCKS; key++) {
        cr_assert_eq(rig_put(rig, key, key % 10 == 1 ? 0 : key - 1), QUIRE_OK);
        rig_pass(rig, key % 10 == 0 ? 5000 : 20);
    }
    rig_pass(rig, 500);
    cr_assert_eq(rig_prefix(rig, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20), 10);
    rig_release(rig, rig->reply.lease);
    rig_pass(rig, 3000);
    pager_disk_flush(rig->pager, rig->now_ns);
    rig_pump(rig);
    disk_settle(rig);
    cr_assert(disk_of(rig)->flushed);
    struct pager_disk_cursor cursor = {0};
    while (pager_disk_next_live(rig->pager, &cursor, &told->entries[told->n])) {
        cr_assert_lt(++told->n, 2 * BLOCKS);
    }
    told->n_openings = pager_disk_openings(rig->pager, told->openings, SEGMENTS + 1);
    for (uint32_t key = 1; key <= BLOCKS; key++) {
        told->idle_ns[key] = rig_info(rig, key).idle_ns;
    }
    return rig;
}

/* The segments as a start finds them, and nothing else yet. */
static struct rig *next_life(const struct rig *before) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    const struct rig_disk *disk = before->disk;
    disk_attach_at(rig, SEGMENTS, 128, 2ull << 40);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        const struct rig_segment *s = &disk->segments[i];
        disk_of(rig)->segments[i] = *s;
        pager_restore_segment(rig->pager, i, s->n > 0 ? PAGER_SEGMENT_SEALED : PAGER_SEGMENT_CLEAN, s->epoch, s->n > 0 ? 128 : 0, s->n);
    }
    return rig;
}

static void end(struct rig *rig) {
    pager_restore_end(rig->pager, rig->now_ns);
    pager_check(rig->pager);
    disk_settle(rig);
}

static uint32_t restored(const struct rig *rig) { return (uint32_t)disk_stats(rig).counters->disk_restored; }

/* All come back, in the tree that they had, none older or younger than it was; and what is told of them then is what was told before. */
Test(disk_live, comes_back_as_it_was) {
    struct told told = {0}, again = {0};
    struct rig *before = first_life(&told), *rig = next_life(before);
    cr_assert_eq(told.n, BLOCKS);
    cr_assert_gt(told.n_openings, 1);
    cr_assert(told.idle_ns[15] < told.idle_ns[55] && told.idle_ns[55] < told.idle_ns[5], "the story is no story");
    pager_restore_openings(rig->pager, rig->now_ns, told.openings, told.n_openings);
    for (uint32_t i = 0; i < told.n; i += 7) {
        pager_restore_live(rig->pager, rig->now_ns, told.entries + i, told.n - i < 7 ? told.n - i : 7);
        pager_check(rig->pager);
    }
    cr_assert_eq(restored(rig), BLOCKS);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS);
    struct pager_disk_cursor cursor = {0};
    while (pager_disk_next_live(rig->pager, &cursor, &again.entries[again.n])) {
        again.n++;
    }
    cr_assert_eq(again.n, told.n);
    for (uint32_t i = 0; i < told.n; i++) {
        uint32_t same = 0;
        for (uint32_t j = 0; j < told.n; j++) {
            same += memcmp(&again.entries[i], &told.entries[j], sizeof again.entries[i]) == 0;
        }
        cr_assert_eq(same, 1, "entry %u", i);
    }
    cr_assert_eq(pager_disk_openings(rig->pager, again.openings, SEGMENTS + 1), told.n_openings);
    cr_assert_eq(memcmp(again.openings, told.openings, told.n_openings * sizeof told.openings[0]), 0);
    for (uint32_t key = 1; key <= BLOCKS; key++) {
        cr_assert_eq(rig_info(rig, key).idle_ns, told.idle_ns[key], "block %u", key);
        cr_assert(rig_info(rig, key).parent_present && !rig_info(rig, key).placeholder, "block %u", key);
    }
    end(rig);
    struct quire_wire_grant grant;
    cr_assert_eq(rig_prefix(rig, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60), 10);
    cr_assert_eq(disk_load(rig, 4, &grant), QUIRE_OK);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
    disk_rig_free(before);
}

/* Without using it. */
static bool there(struct rig *rig, uint32_t key) {
    struct pager_block_info info;
    quire_key k = rig_key(key);
    return pager_block_info(rig->pager, rig->now_ns, rig->ns, &k, &info) == QUIRE_OK && info.n_records > 0;
}

/* The disk is full of what came back, and more is stored: what the last life used last is kept longer than what it stored last. */
Test(disk_live, what_was_used_stays) {
    struct told told = {0};
    struct rig *before = first_life(&told), *rig = next_life(before);
    disk_of(rig)->options.reinsert_pct = 90; /* its budget is not what the story is about */
    pager_disk_set_options(rig->pager, &disk_of(rig)->options);
    pager_restore_openings(rig->pager, rig->now_ns, told.openings, told.n_openings);
    pager_restore_live(rig->pager, rig->now_ns, told.entries, told.n);
    end(rig);
    for (uint32_t key = 1001; there(rig, 1) && key < 1400; key++) { /* until the oldest went */
        cr_assert_eq(rig_put(rig, key, key % 10 == 1 ? 0 : key - 1), QUIRE_OK);
        rig_pass(rig, 1200);
    }
    cr_expect(!there(rig, 1));
    for (uint32_t key = 1001; there(rig, 21) && key < 1400; key++) {
        cr_assert_eq(rig_put(rig, key + 1000, key % 10 == 1 ? 0 : key + 999), QUIRE_OK);
        rig_pass(rig, 1200);
    }
    cr_expect(!there(rig, 21), "it was stored after it");
    cr_expect(there(rig, 11), "and it was used again");
    disk_rig_free(rig);
    disk_rig_free(before);
}

/*
 * What a scrub found damaged remains in the log. The next life knows that from the snapshot, though no footer was read: its deletion is buried, that of what
 * never was is not, and nobody takes it for a block.
 */
Test(disk_live, what_remains) {
    struct told told = {0}, again = {0};
    struct rig *before = first_life(&told);
    const struct quire_snapshot_entry gone = told.entries[BLOCKS - 1];
    const struct quire_log_entry damaged = {.key = gone.key, .ns = gone.ns, .at_units = gone.at_units};
    cr_assert(pager_disk_damaged(before->pager, before->now_ns, gone.segment, gone.epoch, &damaged));
    struct pager_disk_cursor cursor = {0};
    while (pager_disk_next_live(before->pager, &cursor, &again.entries[again.n])) {
        cr_assert_lt(++again.n, 2 * BLOCKS);
    }
    cr_assert_eq(again.n, BLOCKS);
    struct rig *rig = next_life(before);
    pager_restore_live(rig->pager, rig->now_ns, again.entries, again.n);
    cr_assert_eq(restored(rig), BLOCKS - 1);
    end(rig);
    uint8_t status;
    quire_key never = rig_key(BLOCKS + 1);
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, never.b, 1, &status), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 0);
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, gone.key.b, 1, &status), QUIRE_OK);
    cr_assert_eq(status, QUIRE_MISS);
    rig_pump(rig);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 1);
    disk_rig_free(rig);
    disk_rig_free(before);
}

/* Doubts on the way: half of it was told, then the log is read. Nothing is there twice, nothing is missing, and what was deleted
   meanwhile stays so. */
Test(disk_live, half_and_the_log) {
    struct told told = {0};
    struct rig *before = first_life(&told), *rig = next_life(before);
    pager_restore_live(rig->pager, rig->now_ns, told.entries, BLOCKS / 2);
    quire_key first = told.entries[9].key, last = told.entries[BLOCKS - 1].key;
    uint8_t status;
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, first.b, 1, &status), QUIRE_OK);
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, last.b, 1, &status), QUIRE_OK);
    pager_restore_live(rig->pager, rig->now_ns, &told.entries[9], 1);
    pager_restore_live(rig->pager, rig->now_ns, &told.entries[BLOCKS - 1], 1);
    pager_check(rig->pager);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS / 2 - 1, "a deletion since the start counts");
    for (uint32_t i = SEGMENTS; i-- > 0;) {
        pager_restore_entries(rig->pager, rig->now_ns, i, disk_of(rig)->segments[i].entries, disk_of(rig)->segments[i].n);
        pager_check(rig->pager);
    }
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS - 2);
    end(rig);
    disk_rig_free(rig);
    disk_rig_free(before);
}

/* Entries that do not fit, each for another reason, and a namespace that is not there: none counts, nothing falls over. */
Test(disk_live, what_does_not_fit) {
    struct told told = {0};
    struct rig *before = first_life(&told), *rig = next_life(before);
    for (uint32_t i = 0; i < 16; i++) {
        struct quire_snapshot_entry entry = told.entries[i];
        entry.epoch += i == 0;
        entry.epoch = i == 1 ? 0 : entry.epoch;
        entry.segment = i == 2 ? SEGMENTS : i == 3 ? UINT32_MAX : entry.segment;
        entry.ns += i == 4 ? 1 : 0;
        entry.ns = i == 5 ? UINT32_MAX : entry.ns;
        entry.at_units = i == 6 ? 126 : i == 7 ? UINT32_MAX : i == 8 ? 0 : entry.at_units;
        entry.size_units = i == 9 ? 0 : i == 10 ? UINT32_MAX : entry.size_units;
        entry.group = i == 11 ? 7 : entry.group;
        entry.n_tokens = i == 12 ? 0 : i == 13 ? 1024 : entry.n_tokens;
        entry.error = i == 14 ? NAN : entry.error;
        if (i == 15) { /* its own parent */
            entry.parent = entry.key;
            entry.flags = 0;
        }
        pager_restore_live(rig->pager, rig->now_ns, &entry, 1);
        pager_check(rig->pager);
        cr_assert_eq(restored(rig), 0, "entry %u", i);
    }
    for (uint32_t i = 0; i < SEGMENTS; i++) { /* a clean segment has nothing, whatever its epoch */
        struct quire_snapshot_entry entry = told.entries[0];
        entry.segment = i;
        entry.epoch = disk_of(rig)->segments[i].epoch + (disk_of(rig)->segments[i].n > 0);
        pager_restore_live(rig->pager, rig->now_ns, &entry, 1);
    }
    cr_assert_eq(restored(rig), 0);
    pager_restore_live(rig->pager, rig->now_ns, told.entries, told.n);
    pager_restore_live(rig->pager, rig->now_ns, told.entries, told.n); /* told twice, there once */
    cr_assert_eq(restored(rig), BLOCKS);
    end(rig);
    pager_restore_live(rig->pager, rig->now_ns, told.entries, told.n); /* too late */
    cr_assert_eq(restored(rig), BLOCKS);
    disk_rig_free(rig);
    disk_rig_free(before);
}

/* The index has room for less than the snapshot tells: it takes what it can. */
Test(disk_live, the_index_is_full) {
    struct told told = {0};
    struct rig *before = first_life(&told);
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig->options.max_blocks = 25;
    rig_new_pager(rig, POOL);
    char why[200];
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, why, sizeof why), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    disk_attach_at(rig, SEGMENTS, 128, 2ull << 40);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        const struct rig_segment *s = &disk_of(before)->segments[i];
        disk_of(rig)->segments[i] = *s;
        pager_restore_segment(rig->pager, i, s->n > 0 ? PAGER_SEGMENT_SEALED : PAGER_SEGMENT_CLEAN, s->epoch, s->n > 0 ? 128 : 0, s->n);
    }
    pager_restore_live(rig->pager, rig->now_ns, told.entries, told.n);
    pager_check(rig->pager);
    cr_assert(restored(rig) > 0 && restored(rig) <= 25);
    end(rig);
    disk_rig_free(rig);
    disk_rig_free(before);
}
