/*
 * Somebody who may read the pool's memory from afar writes over a record. Who finds that out has it given up: it misses from then on, whoever still reads it keeps the
 * bytes, and what the disk has of it stays good.
 */
#include "tests/unit/pager_disk_rig.h"

/* Looks block 1 up, and holds it. */
static struct pager_hold held;
static uint64_t look_and_hold(struct rig *rig) {
    cr_assert_eq(rig_each(rig, 1), 1);
    cr_assert_eq(pager_hold(rig->pager, rig->session, rig->reply.lease, rig->grants[0].slot, &held), QUIRE_OK);
    return rig->reply.lease;
}
static bool damaged(struct rig *rig) {
    bool some = pager_damaged(rig->pager, rig->now_ns, &held);
    pager_check(rig->pager);
    rig_pump(rig);
    return some;
}
static void let_go(struct rig *rig, uint64_t lease) {
    pager_let_go(rig->pager, &held);
    rig_release(rig, lease);
}
static uint64_t counted(const struct rig *rig) { return pager_counters(rig->pager)->records_damaged; }

/* It is told once; readers keep what they have, the next one misses, and is told why. Pinned or not: a pin protects no bytes that are not there. Stored anew, it is there. */
Test(damage, it_misses) {
    for (int pinned = 0; pinned < 2; pinned++) {
        quire_layout layout = rig_layout();
        struct rig *rig = rig_new(1 << 20, &layout);
        struct pager_held what;
        const quire_key key = rig_key(1);
        rig_put(rig, 1, 0);
        rig_put(rig, 2, 1);
        cr_assert(!pinned || rig_verb(rig, QUIRE_WIRE_PIN, 1) == QUIRE_OK);
        uint64_t lease = look_and_hold(rig);
        const struct quire_wire_grant grant = rig->grants[0];
        pager_held(rig->pager, &held, &what);
        cr_assert(what.has_key && quire_key_equal(&what.key, &key) && what.group == 0);
        cr_assert(what.offset == grant.offset && what.size_bytes == grant.size);
        cr_assert(damaged(rig));
        cr_assert_not(damaged(rig), "told again");
        cr_assert_eq(counted(rig), 1);
        cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_CORRUPT);
        cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_NONE, "the others stay");
        cr_assert_eq(atomic_load(&rig->generations[grant.slot]), grant.generation, "somebody reads it");
        pager_held(rig->pager, &held, &what);
        cr_assert(!what.has_key && what.offset == grant.offset && what.size_bytes == grant.size);
        let_go(rig, lease);
        cr_assert_neq(atomic_load(&rig->generations[grant.slot]), grant.generation);
        cr_assert_eq(rig_stats(rig).pinned_bytes, 0);
        cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
        cr_assert_eq(rig_prefix(rig, 1, 2), 2);
        rig_free(rig);
    }
}

/* One layer group of two: the other one is good. */
Test(damage, of_one_group) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    for (uint8_t group = 0; group < 2; group++) {
        item.group = group;
        cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    }
    cr_assert_eq(rig_info(rig, 1).n_records, 2);
    uint64_t lease = look_and_hold(rig);
    cr_assert(damaged(rig));
    let_go(rig, lease);
    cr_assert_eq(rig_info(rig, 1).n_records, 1);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_LAYOUT);
    rig_free(rig);
}

/* The disk has what was stored: it comes from there. */
Test(damage, the_disk_has_it) {
    struct rig *rig = disk_rig_plain(1 << 20, 1, 8, 512);
    disk_put(rig, 1, 3);
    uint64_t lease = look_and_hold(rig);
    cr_assert(damaged(rig));
    let_go(rig, lease);
    cr_assert_eq(counted(rig), 1);
    cr_assert_eq(disk_stats(rig).log.live_records, 3);
    cr_assert_eq(disk_load_key(rig, 1), QUIRE_OK);
    disk_rig_free(rig);
}

/*
 * It was to be written to disk together with others. They are, and the drive goes on; it is not, and is no more. Nothing waits to be written again and again.
 * So also where it goes on being read meanwhile.
 */
static void found_when_written(bool is_read) {
    struct rig *rig = disk_rig_plain(1 << 20, 1, 8, 512);
    struct rig_disk *disk = disk_of(rig);
    uint64_t lease = 0;
    for (uint32_t key = 1; key <= 5; key++) {
        cr_assert_eq(rig_put(rig, key, 0), QUIRE_OK);
    }
    if (is_read) {
        lease = look_and_hold(rig);
    }
    disk->damaged = 1;
    disk_settle(rig);
    const struct pager_disk_stats stats = disk_stats(rig);
    cr_assert_eq(counted(rig), 1);
    cr_assert_eq(disk->writes, 2, "%u batches", disk->writes);
    cr_assert(stats.dirty_records == 0 && stats.writing_bytes == 0 && stats.log.live_records == 4);
    cr_assert(stats.log.devices_lost == 0 && stats.counters->disk_write_errors == 0 && stats.counters->disk_rests == 0);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_CORRUPT);
    if (is_read) {
        let_go(rig, lease);
    }
    disk_leave_memory(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(rig_each(rig, 2, 3, 4, 5), 4);
    disk->damaged = 0;
    disk_put(rig, 1, 1);
    cr_assert_eq(disk_stats(rig).log.live_records, 5, "the drive takes what is stored anew");
    disk_rig_free(rig);
}

Test(damage, found_when_it_is_written, .timeout = 60) { found_when_written(false); }
Test(damage, found_when_it_is_written_and_read, .timeout = 60) { found_when_written(true); }
