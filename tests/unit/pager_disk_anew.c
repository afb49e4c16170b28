/*
 * While the index is restored clients go on: they delete blocks that were found and store them again. What this life stores is newer than anything that is told of
 * former lives from then on, whatever its block's number stood for before; and a deletion that is told late takes its block out of memory, too.
 */
#include "tests/unit/pager_disk_rig.h"

#define GENERATION 5ull

/* Two segments of former lives: segment 1 is told before segment 0. */
static struct rig *starting(void) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    disk_attach_at(rig, 8, 1024, GENERATION << PAGER_SEQUENCE_BITS);
    for (uint32_t i = 0; i < 2; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_SEALED, 1 + i, 900, 0);
    }
    disk_clean_from(rig, 2);
    return rig;
}

static void tell(struct rig *rig, uint32_t segment, struct quire_log_entry entry) {
    entry.ns = pager_ns_serial(rig->pager, rig->ns);
    pager_restore_entries(rig->pager, rig->now_ns, segment, &entry, 1);
    pager_check(rig->pager);
    rig_pump(rig);
}

static void tell_record(struct rig *rig, uint32_t segment, uint32_t key, uint32_t parent, uint64_t sequence, float ancestry_error) {
    tell(rig, segment,
         (struct quire_log_entry){.key = rig_key(key),
                                  .parent = parent ? rig_key(parent) : (quire_key){{0}},
                                  .sequence = sequence,
                                  .at_units = 2 + 20 * key,
                                  .size_bytes = 9000,
                                  .n_tokens = 4,
                                  .ancestry_error = ancestry_error,
                                  .kind = QUIRE_LOG_RECORD,
                                  .flags = parent ? 0 : QUIRE_LOG_ROOT});
}

static void tell_deletion(struct rig *rig, uint32_t segment, uint32_t key, uint64_t sequence) {
    tell(rig, segment, (struct quire_log_entry){.key = rig_key(key), .sequence = sequence, .kind = QUIRE_LOG_TOMBSTONE});
}

/* Does what this life wrote of the key still count? It is the only record of it that the disk was given. */
static bool ours_counts(struct rig *rig, uint32_t key) {
    const struct rig_disk *disk = disk_of(rig);
    const quire_key wanted = rig_key(key);
    bool counts = false;
    for (uint32_t s = 0; s < 8; s++) {
        for (uint32_t i = 0; i < disk->segments[s].n; i++) {
            const struct quire_log_entry *entry = &disk->segments[s].entries[i];
            counts |= entry->kind == QUIRE_LOG_RECORD && quire_key_equal(&entry->key, &wanted) &&
                      pager_disk_is_live(rig->pager, s, disk->segments[s].epoch, entry);
        }
    }
    return counts;
}

/* Block 1 was brought into memory by a reader who has let go of it. */
static void read_once(struct rig *rig) {
    struct quire_wire_grant grant;
    cr_assert_eq(rig_each(rig, 1), 1);
    cr_assert_eq(disk_load(rig, 0, &grant), QUIRE_OK);
    rig_release(rig, rig->reply.lease);
}

/* What was found of block 1 proves damaged. */
static void proves_damaged(struct rig *rig) {
    const struct quire_log_entry found = {.key = rig_key(1), .ns = pager_ns_serial(rig->pager, rig->ns), .at_units = 2 + 20 * 1};
    cr_assert(pager_disk_damaged(rig->pager, rig->now_ns, 1, 2, &found));
}

/* What this life stored goes to disk, and leaves memory. */
static void goes_to_disk(struct rig *rig) {
    disk_settle(rig);
    cr_assert_gt(disk_leave_memory(rig), 0);
}

static void end(struct rig *rig) {
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    rig_pump(rig);
    pager_check(rig->pager);
    disk_rig_free(rig);
}

/* A found block is deleted, stored again and written, and memory needs its room; then a deletion of it is told that is older than even what was found. With a child
   the block's number stays its own all the while. */
static void deleted_and_stored_again(bool child, bool pinned) {
    struct rig *rig = starting();
    if (child) {
        tell_record(rig, 1, 2, 1, 101, 0);
    }
    tell_record(rig, 1, 1, 0, 100, 0);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    cr_assert_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    if (pinned) {
        cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 1), QUIRE_OK);
    }
    disk_settle(rig);
    if (!pinned) {
        cr_assert_gt(disk_leave_memory(rig), 0);
    }
    cr_assert(ours_counts(rig, 1));
    tell_deletion(rig, 0, 1, 50);
    cr_expect_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_expect(ours_counts(rig, 1), "a copy in memory has one on disk still");
    end(rig);
}

Test(disk_anew, deleted_and_stored_again) { deleted_and_stored_again(false, false); }
Test(disk_anew, deleted_and_stored_again_below_its_child) { deleted_and_stored_again(true, false); }
Test(disk_anew, deleted_and_stored_again_and_pinned) { deleted_and_stored_again(true, true); }

/* A more faithful record takes the found one's place; a higher number of the former lives, told later, does not take it from it. */
Test(disk_anew, replaced_by_a_better_one) {
    struct rig *rig = starting();
    tell_record(rig, 1, 1, 0, 100, 0.5f);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    goes_to_disk(rig);
    cr_assert(ours_counts(rig, 1));
    tell_record(rig, 0, 1, 0, 101, 0.5f);
    cr_expect(ours_counts(rig, 1));
    end(rig);
}

/* What was found proves damaged, and is stored again: the same holds for that, for records and deletions that are told later. */
Test(disk_anew, stored_again_after_damage) {
    struct rig *rig = starting();
    tell_record(rig, 1, 2, 1, 101, 0);
    tell_record(rig, 1, 1, 0, 100, 0);
    proves_damaged(rig);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    goes_to_disk(rig);
    cr_assert(ours_counts(rig, 1));
    tell_record(rig, 0, 1, 0, 102, 0);
    cr_expect(ours_counts(rig, 1));
    tell_deletion(rig, 0, 1, 150);
    cr_expect(ours_counts(rig, 1));
    end(rig);
}

/* Somebody had a block brought into memory before its deletion was told: that takes the copy away, too. Whoever reads it holds it no longer than that. */
Test(disk_anew, buried_while_in_memory) {
    struct rig *rig = starting();
    struct quire_wire_grant grant;
    tell_record(rig, 1, 2, 1, 101, 0);
    tell_record(rig, 1, 1, 0, 100, 0);
    cr_assert_eq(rig_each(rig, 1), 1);
    cr_assert_eq(disk_load(rig, 0, &grant), QUIRE_OK);
    uint64_t lease = rig->reply.lease;
    tell_deletion(rig, 0, 1, 150);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_expect_eq(rig_why(rig, 2), QUIRE_MISS_NONE);
    rig_release(rig, lease);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    end(rig);
}

/* Two devices, each with a segment of a former life; the one that is told later has a deletion of what the other one has. */
static struct rig *two_devices(void) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    disk_attach_devices(rig, 2, 4, 1024, GENERATION << PAGER_SEQUENCE_BITS);
    for (uint32_t i = 0; i < 8; i++) {
        bool holds = i % 4 == 0;
        pager_restore_segment(rig->pager, i, holds ? PAGER_SEGMENT_SEALED : PAGER_SEGMENT_CLEAN, holds ? 1 + i : 0, holds ? 900 : 0, 0);
    }
    return rig;
}

/* The last number under which a block, or its deletion, was written on the first device by this life; 0: none was. */
static uint64_t written_as(const struct rig *rig, uint32_t key, enum quire_log_kind kind) {
    const struct rig_disk *disk = disk_of((struct rig *)(uintptr_t)rig);
    const quire_key wanted = rig_key(key);
    uint64_t sequence = 0;
    for (uint32_t s = 0; s < 4; s++) {
        for (uint32_t i = 0; i < disk->segments[s].n; i++) {
            const struct quire_log_entry *entry = &disk->segments[s].entries[i];
            bool is_it = entry->kind == kind && quire_key_equal(&entry->key, &wanted);
            sequence = is_it ? quire_max_u64(sequence, entry->sequence) : sequence;
        }
    }
    return sequence;
}

static struct rig *found_and_its_device_lost(void) {
    struct rig *rig = two_devices();
    tell_record(rig, 4, 1, 0, 100, 0);
    read_once(rig);
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    pager_check(rig->pager);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    return rig;
}

/* The device is lost, and memory has the only copy. The deletion is told while nothing has become of that. */
Test(disk_anew, buried_when_its_device_is_lost) {
    struct rig *rig = found_and_its_device_lost();
    tell_deletion(rig, 0, 1, 150);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    disk_settle(rig);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    end(rig);
}

/*
 * The other device has taken the copy by then, and it has left memory. It was written under the number that it had: should the daemon die before the deletion is
 * told, the next start finds that to be the newer one, too. When it is told, it is written again: its segment is older than the copy's, and would be emptied before.
 */
Test(disk_anew, buried_where_it_was_written_again) {
    struct rig *rig = found_and_its_device_lost();
    goes_to_disk(rig);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_expect_eq(written_as(rig, 1, QUIRE_LOG_RECORD), 100);
    tell_deletion(rig, 0, 1, 150);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    disk_settle(rig);
    cr_expect_eq(written_as(rig, 1, QUIRE_LOG_TOMBSTONE), 150);
    end(rig);
}

/* The same while that write is under way. */
Test(disk_anew, buried_while_it_is_written_again) {
    struct rig *rig = found_and_its_device_lost();
    disk_of(rig)->hanging = 1;
    disk_settle(rig);
    tell_deletion(rig, 0, 1, 150);
    disk_of(rig)->hanging = 0;
    disk_let_go(rig);
    disk_settle(rig);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_expect_eq(written_as(rig, 1, QUIRE_LOG_RECORD), 100);
    cr_expect_eq(written_as(rig, 1, QUIRE_LOG_TOMBSTONE), 150);
    end(rig);
}

/* But who deleted it and stored it anew stored something else: no deletion of a former life is meant for that. */
Test(disk_anew, stored_again_after_its_device_was_lost) {
    struct rig *rig = found_and_its_device_lost();
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    tell_deletion(rig, 0, 1, 150);
    cr_expect_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    goes_to_disk(rig);
    cr_expect_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    end(rig);
}

/* What was found proves damaged while memory has it, too: the copy is as old as that. */
Test(disk_anew, buried_in_memory_after_damage) {
    struct rig *rig = starting();
    tell_record(rig, 1, 1, 0, 100, 0);
    read_once(rig);
    proves_damaged(rig);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    tell_deletion(rig, 0, 1, 150);
    cr_expect_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    end(rig);
}

/* A block is stored whose parent the log holds and nobody found yet; it goes to disk, and memory needs its room. When the parent is found both are there, and of
   the child what was stored last, not what a former life had stored. */
Test(disk_anew, waits_for_its_parent) {
    struct rig *rig = starting();
    cr_assert_eq(rig_put(rig, 5, 4), QUIRE_OK);
    goes_to_disk(rig);
    tell_record(rig, 1, 5, 4, 20, 0.25f);
    tell_record(rig, 0, 4, 0, 10, 0);
    disk_start_ends(rig);
    disk_settle(rig);
    cr_expect_eq(rig_look(rig, rig->session, 0, (uint32_t[]){4, 5, 0}), 2);
    cr_expect(ours_counts(rig, 5));
    end(rig);
}
