/* Deletions at odd times, and many of them: stories that the simulator told first (tests/sim). */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)

static enum quire_status delete_many(struct rig *rig, uint32_t first, uint32_t n) {
    quire_key keys[512];
    uint8_t statuses[512];
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = rig_key(first + i);
    }
    return pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, keys[0].b, n, statuses);
}

/* A block is deleted that was not found yet, because the log is still being read: it is not found later either. */
Test(disk_bury, while_the_log_is_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    disk_attach(rig, 8, 64);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 40, 2);
    for (uint32_t i = 1; i < 8; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_CLEAN, 0, 0, 0);
    }
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
    pager_restore_end(rig->pager, rig->now_ns);
    rig_pump(rig);
    cr_assert_eq(rig_each(rig, 1), 0);
    cr_assert_eq(rig_each(rig, 2), 1);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* Who is told that a block is not here must not find it after the next start: the log may hold what the index has dropped. */
Test(disk_bury, what_is_not_known) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 77), QUIRE_MISS);
    rig_pump(rig);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_OK);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 1);
    disk_rig_free(rig);
}

/* More deletions than one batch takes become durable in one go: nothing else happens that could move them on. */
Test(disk_bury, many_at_once) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 1024);
    cr_assert_eq(delete_many(rig, 1, 512), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 512);
    disk_rig_free(rig);
}

/* In segments so small that no full batch of them fits, too, though they fill many segments, which are emptied for that. */
Test(disk_bury, in_small_segments) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 4, 8);
    cr_assert_eq(delete_many(rig, 1, 300), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_of(rig)->durable_status, QUIRE_OK);
    disk_rig_free(rig);
}
