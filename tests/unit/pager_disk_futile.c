/* Emptying that makes no room: what must stay is moved round and round, and every move wears the drive out. */
#include "tests/unit/pager_disk_rig.h"

#define POOL (2ull << 20)
#define BLOCKS 16u
#define SEGMENTS 12u

/* The index has room for so many blocks. */
static struct rig *rig_with_index(uint32_t blocks) {
    quire_layout layout = {.opaque = true, .block_tokens = 4, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    char why[200];
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig->options.max_blocks = blocks;
    rig_new_pager(rig, POOL);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, why, sizeof why), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    disk_attach_devices(rig, 2, SEGMENTS / 2, 64, 1ull << 40);
    disk_clean_from(rig, 0);
    disk_start_ends(rig);
    return rig;
}

/* The drives answer after ten milliseconds. How many segments were emptied. */
static uint64_t emptied_in(struct rig *rig, uint32_t seconds) {
    uint64_t before = disk_stats(rig).counters->disk_emptied;
    disk_of(rig)->hanging = 3;
    for (uint32_t i = 0; i < 100 * seconds; i++) {
        rig_pass(rig, 10);
        disk_let_go(rig);
    }
    return disk_stats(rig).counters->disk_emptied - before;
}

/*
 * As many blocks are pinned as the index has room for. It is crowded, so the oldest segment is emptied; but all that is in it must stay, and as it is packed
 * anew one segment more is clean, and then one less. Nobody stores anything for minutes: the drives are left in peace, but for a look now and then. And
 * when something may go, it goes.
 */
Test(disk_futile, the_index_is_full_of_what_must_stay) {
    struct rig *rig = rig_with_index(BLOCKS);
    for (uint32_t key = 1; key <= BLOCKS; key++) {
        struct quire_wire_put item = rig_item(rig, key, 0);
        item.length = 500 + key * 7919 % 11 * 500; /* they pack well here and badly there */
        cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
        cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, key), QUIRE_OK);
        rig_pass(rig, 100);
    }
    disk_settle(rig);
    emptied_in(rig, 20);
    uint64_t emptied = emptied_in(rig, 20);
    cr_expect_leq(emptied, 30, "%lu segments in 20 s", (unsigned long)emptied);
    for (uint32_t key = 1; key <= BLOCKS / 2; key++) {
        cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, key), QUIRE_OK);
    }
    emptied_in(rig, 30);
    cr_expect_leq(disk_stats(rig).log.live_records, BLOCKS / 2, "what may go went");
    disk_rig_free(rig);
}
