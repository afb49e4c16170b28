/*
 * What a drive holds goes bad, and is found out by a reader or by a scrub. A copy in memory is the only good one then, and goes to disk again; of what had none
 * a miss says that it was lost to damage, not that memory or disk are too small.
 */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)

static struct rig *rotting(uint32_t n_devices) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig_starting(POOL, &layout, n_devices, 8, 512);
    disk_start_ends(rig);
    return rig;
}

/* What was written of it last, found damaged by a scrub. */
static void scrub_finds(struct rig *rig, uint32_t key) {
    const struct rig_disk *disk = disk_of(rig);
    const quire_key wanted = rig_key(key);
    for (uint32_t s = 0; s < 8; s++) {
        for (uint32_t i = 0; i < disk->segments[s].n; i++) {
            const struct quire_log_entry *entry = &disk->segments[s].entries[i];
            if (quire_key_equal(&entry->key, &wanted) && pager_disk_is_live(rig->pager, s, disk->segments[s].epoch, entry)) {
                cr_assert(pager_disk_damaged(rig->pager, rig->now_ns, s, disk->segments[s].epoch, entry));
                pager_check(rig->pager);
                rig_pump(rig);
                return;
            }
        }
    }
    cr_assert_fail("block %u is not on disk", key);
}

/* One bit of a root's copy on disk turns while memory has the root, too. Nothing of the chain is lost, whatever happens to memory afterwards. */
Test(disk_rot, memory_has_it) {
    struct rig *rig = rotting(1);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 2, 1), QUIRE_OK);
    disk_settle(rig);
    scrub_finds(rig, 1);
    disk_settle(rig);
    cr_expect_eq(disk_stats(rig).log.live_records, 2);
    disk_leave_memory(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(rig_look(rig, rig->session, 0, (uint32_t[]){1, 2, 0}), 2);
    disk_rig_free(rig);
}

/* Again and again: each copy that goes bad is replaced by one. */
Test(disk_rot, again_and_again) {
    struct rig *rig = rotting(1);
    disk_put(rig, 1, 1);
    for (uint32_t i = 0; i < 20; i++) {
        scrub_finds(rig, 1);
        disk_settle(rig);
        cr_assert_eq(disk_stats(rig).dirty_records, 0);
        cr_assert_eq(disk_stats(rig).log.live_records, 1);
    }
    disk_rig_free(rig);
}

/* A scrub finds it, and memory does not have it. */
Test(disk_rot, a_scrub_finds_it) {
    struct rig *rig = rotting(1);
    disk_put(rig, 1, 1);
    disk_leave_memory(rig);
    scrub_finds(rig, 1);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_CORRUPT);
    cr_assert_eq(rig_info(rig, 1).miss, QUIRE_MISS_CORRUPT);
    disk_rig_free(rig);
}

static void a_reader_finds_it(enum quire_status status) {
    struct rig *rig = rotting(1);
    disk_put(rig, 1, 1);
    disk_leave_memory(rig);
    disk_of(rig)->read_status = status;
    cr_assert_neq(disk_load_key(rig, 1), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_CORRUPT);
    disk_rig_free(rig);
}

Test(disk_rot, a_reader_finds_it_damaged) { a_reader_finds_it(QUIRE_CORRUPT); }
Test(disk_rot, a_reader_finds_it_unreadable) { a_reader_finds_it(QUIRE_SYSTEM); }

/* A chain goes with its root, and for the same reason. */
Test(disk_rot, a_chain) {
    struct rig *rig = rotting(1);
    for (uint32_t key = 1; key <= 5; key++) {
        cr_assert_eq(rig_put(rig, key, key - 1), QUIRE_OK);
    }
    disk_settle(rig);
    disk_leave_memory(rig);
    scrub_finds(rig, 1);
    for (uint32_t i = 0; i < 100 && rig_why(rig, 5) != QUIRE_MISS_CORRUPT; i++) {
        rig_pass(rig, 1100);
    }
    for (uint32_t key = 1; key <= 5; key++) {
        cr_expect_eq(rig_why(rig, key), QUIRE_MISS_CORRUPT, "block %u", key);
    }
    disk_rig_free(rig);
}

/* It went with its drive: that is damage, too. What the log gave up for want of room was evicted. */
Test(disk_rot, its_drive_fails) {
    struct rig *rig = rotting(2);
    uint32_t n = 0;
    disk_put_each(rig, 1, 8);
    disk_leave_memory(rig);
    pager_disk_device_lost(rig->pager, rig->now_ns, 0);
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    rig_pump(rig);
    for (uint32_t i = 0; i < 100 && n < 8; i++) {
        rig_pass(rig, 1100);
        n = 0;
        for (uint32_t key = 1; key <= 8; key++) {
            n += rig_why(rig, key) == QUIRE_MISS_CORRUPT;
        }
    }
    cr_assert_eq(n, 8);
    disk_rig_free(rig);
}
