/*
 * A device is lost while memory is full of what it has, too. Those copies are the only ones now, and the other device is to take them; but no single call may look
 * at all of memory, and meanwhile none of them counts as written, or leaves memory as if the disk still had it.
 */
#include "tests/unit/pager_disk_rig.h"

#define SEGMENTS 30u
#define BLOCKS 1200u /* more than one turn looks at: PAGER_DISK_STEP */
#define POOL (64ull << 20)

/* Every block is in memory, and on one of the devices. */
static struct rig *all_clean(uint32_t n_devices) {
    struct rig *rig = disk_rig_plain(POOL, n_devices, SEGMENTS, 4096);
    for (uint32_t key = 1; key <= BLOCKS; key += 100) {
        disk_put(rig, key, 100);
    }
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS);
    return rig;
}

static uint32_t present(struct rig *rig) {
    uint32_t n = 0;
    for (uint32_t key = 1; key <= BLOCKS; key++) {
        n += rig_why(rig, key) == QUIRE_MISS_NONE;
    }
    return n;
}

static void lose(struct rig *rig, uint32_t device) {
    pager_disk_device_lost(rig->pager, rig->now_ns, device);
    pager_check(rig->pager);
}

/* What was written to the second device; with `live` what of it the index still believes to be there. */
static uint32_t on_second(const struct rig *rig, bool live) {
    const struct rig_disk *disk = rig->disk;
    uint32_t n = 0;
    for (uint32_t s = SEGMENTS; s < 2 * SEGMENTS; s++) {
        for (uint32_t i = 0; i < disk->segments[s].n; i++) {
            n += !live || pager_disk_is_live(rig->pager, s, disk->segments[s].epoch, &disk->segments[s].entries[i]);
        }
    }
    return n;
}

static void turn(struct rig *rig) {
    rig->now_ns += RIG_MS;
    pager_tick(rig->pager, rig->now_ns);
    pager_check(rig->pager);
}

/* Neither the call that loses it nor the turn after that looks at all of memory. In the end the other device has everything. */
Test(disk_lost, is_found_out_a_little_at_a_time) {
    struct rig *rig = all_clean(2);
    uint32_t n = on_second(rig, true);
    cr_assert_gt(n, BLOCKS / 4);
    lose(rig, 1);
    cr_expect_eq(on_second(rig, true), n);
    turn(rig);
    cr_expect_gt(on_second(rig, true), 0);
    rig_pump(rig);
    disk_settle(rig);
    cr_assert_eq(on_second(rig, true), 0);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS);
    disk_leave_memory(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(present(rig), BLOCKS);
    disk_rig_free(rig);
}

/* Whoever waits until nothing is to be written waits for all of it, from the first moment on. */
Test(disk_lost, counts_as_what_is_to_be_written) {
    struct rig *rig = all_clean(2);
    uint32_t n = on_second(rig, true);
    struct pager_disk_stats stats;
    lose(rig, 1);
    cr_expect_eq(disk_stats(rig).dirty_records, n);
    for (uint32_t i = 0; i < 10000; i++) {
        turn(rig);
        rig_pump(rig);
        stats = disk_stats(rig);
        if (stats.dirty_records == 0 && stats.writing_bytes == 0) {
            break;
        }
    }
    cr_assert_eq(stats.dirty_records, 0);
    cr_assert_eq(stats.log.live_records, BLOCKS, "a power cut now loses nothing");
    disk_rig_free(rig);
}

/* Memory is wanted at once: what only memory has now stays until the other device has it. */
Test(disk_lost, leaves_memory_when_another_has_it) {
    struct rig *rig = all_clean(2);
    uint64_t freed;
    lose(rig, 1);
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, 1ull << 40, &freed), QUIRE_OK);
    pager_check(rig->pager);
    cr_assert_eq(present(rig), BLOCKS);
    disk_settle(rig);
    disk_leave_memory(rig);
    disk_settle(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(present(rig), BLOCKS);
    disk_rig_free(rig);
}

/* A stop at once waits for them, too. */
Test(disk_lost, a_stop_writes_them) {
    struct rig *rig = all_clean(2);
    lose(rig, 1);
    pager_disk_flush(rig->pager, rig->now_ns);
    rig_pump(rig);
    for (uint32_t i = 0; i < 1000 && !disk_of(rig)->flushed; i++) {
        rig_pass(rig, 1);
    }
    cr_assert(disk_of(rig)->flushed);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS);
    disk_rig_free(rig);
}

/* With the last device goes all that would be written: nobody waits for that, memory serves on, and gives way as if there had never been a disk. */
Test(disk_lost, nothing_is_to_be_written_to_nowhere) {
    struct rig *rig = all_clean(1);
    for (uint32_t key = BLOCKS + 1; key <= BLOCKS + 1100; key++) {
        cr_assert_eq(rig_put(rig, key, 0), QUIRE_OK);
    }
    cr_assert_eq(disk_stats(rig).dirty_records, 1100);
    lose(rig, 0);
    cr_expect_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(present(rig), BLOCKS);
    pager_disk_flush(rig->pager, rig->now_ns);
    rig_pump(rig);
    cr_assert(disk_of(rig)->flushed);
    disk_settle(rig);
    cr_assert_eq(present(rig), BLOCKS);
    while (disk_leave_memory(rig) > 0) {
    }
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    disk_rig_free(rig);
}
