/*
 * A device is lost while memory is full of what it has, too. Those copies are the only ones now, and the other device is to take them; but no single call may look
 * at all of memory, and meanwhile none of them leaves memory as if the disk still had it.
 */
#include "tests/unit/pager_disk_rig.h"

#define SEGMENTS 30u
#define BLOCKS 2000u
/* What one call may find: far less than what is lost. */
#define A_STEP 512u

/* Two devices; every block is in memory and on one of them. */
static struct rig *all_clean(void) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(64 << 20, &layout);
    disk_attach_devices(rig, 2, SEGMENTS, 4096, 1ull << 40);
    for (uint32_t i = 0; i < 2 * SEGMENTS; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_CLEAN, 0, 0, 0);
    }
    pager_restore_end(rig->pager, rig->now_ns);
    rig_pump(rig);
    for (uint32_t key = 1; key <= BLOCKS; key++) {
        cr_assert_eq(rig_put(rig, key, 0), QUIRE_OK);
        if (key % 100 == 0) {
            disk_settle(rig);
        }
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

static void evict(struct rig *rig) {
    uint64_t freed;
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, 1ull << 40, &freed), QUIRE_OK);
    pager_check(rig->pager);
}

static void lose(struct rig *rig) {
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    pager_check(rig->pager);
}

/* Records that only the device has that is to be lost. */
static uint64_t of_lost_device(const struct rig *rig) {
    const struct rig_disk *disk = rig->disk;
    uint64_t n = 0;
    for (uint32_t s = SEGMENTS; s < 2 * SEGMENTS; s++) {
        n += disk->segments[s].n;
    }
    return n;
}

/* The copies become dirty a step at a time, and all are on the other device in the end. */
Test(disk_lost, is_found_out_a_little_at_a_time) {
    struct rig *rig = all_clean();
    cr_assert_gt(of_lost_device(rig), 3 * A_STEP / 2);
    lose(rig);
    uint64_t most = disk_stats(rig).dirty_records;
    for (uint32_t i = 0; i < 1100; i++) {
        uint64_t before = disk_stats(rig).dirty_records;
        rig->now_ns += RIG_MS;
        pager_tick(rig->pager, rig->now_ns);
        uint64_t after = disk_stats(rig).dirty_records;
        most = quire_max_u64(most, after > before ? after - before : 0);
        rig_pump(rig);
    }
    disk_settle(rig);
    cr_expect_leq(most, A_STEP);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS);
    evict(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(present(rig), BLOCKS);
    disk_rig_free(rig);
}

/* Memory is wanted at once: what only memory has now stays until the other device has it. */
Test(disk_lost, leaves_memory_when_another_has_it) {
    struct rig *rig = all_clean();
    lose(rig);
    evict(rig);
    cr_assert_eq(present(rig), BLOCKS);
    disk_settle(rig);
    evict(rig);
    disk_settle(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(present(rig), BLOCKS);
    disk_rig_free(rig);
}

/* A stop at once waits for them, too. */
Test(disk_lost, a_stop_writes_them) {
    struct rig *rig = all_clean();
    lose(rig);
    pager_disk_flush(rig->pager, rig->now_ns);
    rig_pump(rig);
    for (uint32_t i = 0; i < 1000 && !disk_of(rig)->flushed; i++) {
        rig_pass(rig, 1);
    }
    cr_assert(disk_of(rig)->flushed);
    cr_assert_eq(disk_stats(rig).log.live_records, BLOCKS);
    disk_rig_free(rig);
}
