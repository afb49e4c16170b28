/* Blocks leave memory for the disk and come back. */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)

static uint32_t store(struct rig *rig, uint32_t first, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(rig_put(rig, first + i, i == 0 ? 0 : first + i - 1), QUIRE_OK);
        rig_pass(rig, 20);
    }
    return first + n;
}

/* What was stored is written after a while, without anybody asking; it stays in memory as well. */
Test(disk, writes_behind) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 16, 1024);
    store(rig, 1, 10);
    cr_assert_eq(disk_of(rig)->writes, 0);
    disk_settle(rig);
    cr_assert_geq(disk_of(rig)->writes, 1);
    cr_assert_eq(disk_stats(rig).log.live_records, 10);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 10);
    cr_assert_neq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* A context larger than memory is found whole; what is only on disk has a right without an address until it is loaded. */
Test(disk, comes_back) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct quire_wire_grant grant;
    uint32_t n_away = 0;
    for (uint32_t i = 0; i < 40; i++) {
        store(rig, 1 + i * 10, 10);
        disk_settle(rig);
    }
    cr_assert_gt(disk_stats(rig).log.live_records, 350);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 10);
    for (uint32_t i = 0; i < 10; i++) {
        n_away += rig->grants[i].offset == QUIRE_WIRE_AWAY;
    }
    cr_assert_eq(n_away, 10);
    cr_assert_eq(disk_load(rig, 3, &grant), QUIRE_OK);
    cr_assert_neq(grant.offset, QUIRE_WIRE_AWAY);
    cr_assert_eq(grant.slot, rig->grants[3].slot);
    cr_assert_eq(disk_of(rig)->reads, 1);
    cr_assert_eq(disk_load(rig, 3, &grant), QUIRE_OK, "it is there already");
    cr_assert_eq(disk_of(rig)->reads, 1);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* A record that fails its checksum as it comes from disk is a miss, then and afterwards. */
Test(disk, doubt_is_a_miss) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct quire_wire_grant grant;
    for (uint32_t i = 0; i < 40; i++) {
        store(rig, 1 + i * 10, 10);
        disk_settle(rig);
    }
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 3);
    disk_of(rig)->read_status = QUIRE_CORRUPT;
    cr_assert_eq(disk_load(rig, 1, &grant), QUIRE_MISS);
    disk_of(rig)->read_status = QUIRE_OK;
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 1);
    rig_release(rig, rig->reply.lease);
    disk_settle(rig);
    cr_assert_eq(rig_each(rig, 3), 0, "what continues it is gone, too");
    disk_rig_free(rig);
}

/* A log that goes round and round empties its oldest segments, and stays within its size. */
Test(disk, goes_round) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 12, 512);
    for (uint32_t i = 0; i < 200; i++) {
        store(rig, 1 + i * 10, 10);
        disk_settle(rig);
    }
    struct pager_disk_stats stats = disk_stats(rig);
    cr_assert_gt(stats.counters->disk_emptied, 50);
    cr_assert_geq(stats.log.clean, 1);
    cr_assert_gt(stats.log.live_records, 50);
    cr_assert_eq(stats.dirty_records, 0);
    disk_rig_free(rig);
}

/* An acknowledged deletion has a tombstone that was synced. */
Test(disk, deletions_last) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 16, 1024);
    store(rig, 1, 3);
    disk_settle(rig);
    rig->held = true;
    quire_key key = rig_key(3);
    uint8_t status;
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, key.b, 1, &status), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    cr_assert_eq(disk_of(rig)->durable_cookie, 0);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_of(rig)->durable_status, QUIRE_OK);
    cr_assert_eq(disk_of(rig)->syncs, 1);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    disk_rig_free(rig);
}
