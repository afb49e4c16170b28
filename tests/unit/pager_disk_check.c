/*
 * A drive that misdirects a write, or loses one, leaves a whole record where another one is expected: of the same key, from another namespace or from
 * before. By its own sums it is right. Only what was noted when the record was written tells it apart.
 */
#include "tests/unit/pager_disk_rig.h"

enum { POOL = 1 << 20, BLOCKS = 8, SEGMENTS = 16, SEGMENT_UNITS = 128 };

/* Another namespace of the same layout, in which the same keys stand for other bytes. */
static uint16_t another_space(struct rig *rig) {
    quire_layout layout = rig_layout();
    uint16_t ns;
    char why[200];
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "other", &layout, "s", 1, &ns, why, sizeof why), QUIRE_OK, "%s", why);
    return ns;
}

/* The records of each key in the two namespaces change places, in whatever segments they are. The log still tells the truth. */
static uint32_t misdirect(struct rig *rig) {
    struct rig_segment *segments = disk_of(rig)->segments;
    uint32_t pairs = 0;
    for (uint32_t at = 0; at < SEGMENTS * 4096u; at++) {
        const struct quire_log_entry *first = &segments[at / 4096].entries[at % 4096];
        for (uint32_t to = at + 1; at % 4096 < segments[at / 4096].n && to < SEGMENTS * 4096u; to++) {
            const struct quire_log_entry *second = &segments[to / 4096].entries[to % 4096];
            if (to % 4096 < segments[to / 4096].n && quire_key_equal(&first->key, &second->key) && first->ns != second->ns) {
                uint64_t swapped = segments[at / 4096].lies[at % 4096];
                segments[at / 4096].lies[at % 4096] = segments[to / 4096].lies[to % 4096];
                segments[to / 4096].lies[to % 4096] = swapped;
                pairs++;
            }
        }
    }
    return pairs;
}

/* On disk alone, in both namespaces. */
static struct rig *two_spaces(uint16_t spaces[2]) {
    struct rig *rig = disk_rig_plain(POOL, 1, SEGMENTS, SEGMENT_UNITS);
    spaces[0] = rig->ns;
    spaces[1] = another_space(rig);
    for (uint32_t s = 0; s < 2; s++) {
        rig->ns = spaces[s];
        disk_put(rig, 1, BLOCKS);
    }
    cr_assert_gt(disk_leave_memory(rig), 0);
    return rig;
}

static uint32_t served(struct rig *rig, const uint16_t spaces[2]) {
    uint32_t n = 0;
    for (uint32_t s = 0; s < 2; s++) {
        rig->ns = spaces[s];
        for (uint32_t key = 1; key <= BLOCKS; key++) {
            n += disk_load_key(rig, key) == QUIRE_OK;
            rig_release(rig, rig->reply.lease);
        }
    }
    return n;
}

/* What this life wrote itself: what lies in the wrong place is a miss, counted as damaged; nothing else is. */
Test(disk_check, a_record_of_another_namespace) {
    uint16_t spaces[2];
    struct rig *rig = two_spaces(spaces);
    cr_assert_eq(served(rig, spaces), 2 * BLOCKS, "the story is no story");
    cr_assert_gt(disk_leave_memory(rig), 0);
    cr_assert_eq(misdirect(rig), BLOCKS);
    cr_expect_eq(served(rig, spaces), 0);
    cr_expect_eq(disk_stats(rig).counters->disk_corrupt, 2 * BLOCKS);
    disk_rig_free(rig);
}

/* The next life, with what a log has or what a snapshot tells. */
static struct rig *next_life(struct rig *before, uint16_t spaces[2], bool from_snapshot) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    disk_attach_at(rig, SEGMENTS, SEGMENT_UNITS, 2ull << 40);
    spaces[0] = rig->ns;
    spaces[1] = another_space(rig);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        const struct rig_segment *s = &disk_of(before)->segments[i];
        disk_of(rig)->segments[i] = *s;
        pager_restore_segment(rig->pager, i, s->n > 0 ? PAGER_SEGMENT_SEALED : PAGER_SEGMENT_CLEAN, s->epoch, s->n > 0 ? SEGMENT_UNITS : 0,
                              s->n);
    }
    struct pager_disk_cursor cursor = {0};
    struct quire_snapshot_entry entry;
    while (from_snapshot && pager_disk_next_live(before->pager, &cursor, &entry)) {
        pager_restore_live(rig->pager, rig->now_ns, &entry, 1);
    }
    for (uint32_t i = SEGMENTS; !from_snapshot && i-- > 0;) {
        pager_restore_entries(rig->pager, rig->now_ns, i, disk_of(rig)->segments[i].entries, disk_of(rig)->segments[i].n);
    }
    disk_start_ends(rig);
    cr_assert_eq(disk_stats(rig).counters->disk_restored, 2 * BLOCKS);
    return rig;
}

/* Nor is it taken for right when the drive did that before the start, or while the daemon was stopped: log and snapshot tell what is expected. */
Test(disk_check, over_a_start) {
    for (uint32_t from_snapshot = 0; from_snapshot < 2; from_snapshot++) {
        uint16_t spaces[2];
        struct rig *before = two_spaces(spaces);
        disk_stop(before);
        struct rig *rig = next_life(before, spaces, from_snapshot);
        cr_expect_eq(served(rig, spaces), 2 * BLOCKS, "snapshot %u: what is right is there", from_snapshot);
        disk_rig_free(rig);
        cr_assert_eq(misdirect(before), BLOCKS);
        rig = next_life(before, spaces, from_snapshot);
        cr_expect_eq(served(rig, spaces), 0, "snapshot %u", from_snapshot);
        disk_rig_free(rig);
        disk_rig_free(before);
    }
}

/* Whoever reads a part of a record reads header and directory, too: so it knows as well. */
Test(disk_check, a_part) {
    quire_layout layout = {.n_layers = 32, .n_groups = 1, .block_tokens = 64, .weights_digest = {1}};
    for (uint16_t l = 0; l < layout.n_layers; l++) {
        layout.kv_src[l] = l;
    }
    layout.group[0] = (quire_group){.n_kv_heads = 8, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16};
    struct rig *rig = disk_rig(64 << 20, &layout, 8, 65536);
    disk_put(rig, 1, 1);
    cr_assert_gt(disk_leave_memory(rig), 0);
    disk_of(rig)->segments[0].lies[0] ^= 1;
    rig_prefix(rig, 1);
    const struct pager_load_item part = {
        .slot = rig->grants[0].slot, .partial = true, .rect = {.n_layers = 1, .first_head = 5, .n_heads = 1}};
    struct quire_wire_grant grant;
    uint8_t status;
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &part, 1, 1, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(disk_stats(rig).counters->disk_partial_reads, 1);
    cr_assert_eq(pager_load_result(rig->pager, disk_of(rig)->load_ticket, &grant, &status, 1), QUIRE_OK);
    cr_expect_eq(status, QUIRE_MISS);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/*
 * Emptying writes again what is worth it, and with that gives it a new sum: a wrong record would be vouched for from then on. It has the entry at hand, so it
 * compares all of the sum, not only the bits that a place has: here they differ in others alone.
 */
Test(disk_check, emptying_vouches_for_nothing_wrong) {
    for (uint32_t wrong = 0; wrong < 2; wrong++) {
        struct rig *rig = disk_rig_plain(POOL, 1, SEGMENTS, SEGMENT_UNITS);
        disk_put(rig, 1, BLOCKS);
        for (uint32_t i = 0; i < SEGMENTS * 4096u; i++) {
            disk_of(rig)->segments[i / 4096].lies[i % 4096] ^= wrong ? 1ull << 40 : 0;
        }
        for (uint32_t key = 1001; disk_stats(rig).counters->disk_emptied < 2 && key < 1400; key += 4) {
            disk_leave_memory(rig);
            rig_each(rig, 1, 2, 3, 4, 5, 6, 7, 8);
            uint64_t lease = rig->reply.lease; /* somebody holds them, or they would not be written again */
            disk_put(rig, key, 4);
            rig_release(rig, lease);
        }
        cr_assert_geq(disk_stats(rig).counters->disk_emptied, 2);
        cr_expect_eq(disk_stats(rig).counters->disk_corrupt, wrong * BLOCKS);
        cr_expect_eq(disk_stats(rig).counters->disk_rewritten_bytes > 0, !wrong);
        disk_rig_free(rig);
    }
}
