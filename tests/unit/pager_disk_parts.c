/* Readers who want a part of a record: less is read when it is less. */
#include "codec/record.h"
#include "tests/unit/pager_disk_rig.h"

enum { POOL = 64 << 20 };

static struct rig *rig_of(const quire_layout *layout) { return disk_rig(POOL, layout, 8, 65536); }

/* One block that is on disk, and nowhere else. */
static struct rig *rig_away(const quire_layout *layout) {
    struct rig *rig = rig_of(layout);
    disk_put(rig, 1, 1);
    cr_assert_gt(disk_leave_memory(rig), 0);
    return rig;
}

static const struct pager_disk_counters *counters(const struct rig *rig) { return disk_stats(rig).counters; }

static quire_layout deep_layout(uint16_t n_layers) {
    quire_layout layout = {.n_layers = n_layers, .n_groups = 1, .block_tokens = 64, .weights_digest = {1}};
    for (uint16_t l = 0; l < n_layers; l++) {
        layout.kv_src[l] = l;
    }
    layout.group[0] = (quire_group){.n_kv_heads = 8, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16};
    return layout;
}

static bool covered(const struct pager_disk_wish *wish, uint32_t from, uint32_t to) {
    bool found = false;
    for (uint32_t i = 0; i < wish->n_ranges; i++) {
        found |= wish->ranges[i].from_bytes <= from && to <= wish->ranges[i].to_bytes;
    }
    return found;
}

/* One of eight heads of a model so deep, K and V of each layer by themselves: bytes that are read for each that is wanted. */
static double read_for_wanted(uint16_t n_layers) {
    quire_layout layout = deep_layout(n_layers);
    struct rig *rig = rig_away(&layout);
    struct quire_record_shape shape;
    const quire_rect rect = {.n_layers = n_layers, .first_head = 5, .n_heads = 1};
    uint32_t wanted = 0;
    cr_assert_eq(quire_record_shape(&layout, 0, 64, 0, &shape), QUIRE_OK);
    rig_prefix(rig, 1);
    struct pager_load_item item = {.slot = rig->grants[0].slot, .partial = true, .rect = rect};
    disk_of(rig)->held = true;
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &item, 1, 1, rig->now_ns + 50 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->n_waiting, 1);
    const struct pager_disk_wish *wish = disk_of(rig)->waiting[0].disk;
    for (uint32_t i = 0; i < 2u * n_layers; i++) {
        uint32_t lane = quire_record_lane(&shape, i / 2, i % 2, 5);
        uint32_t from = quire_record_lane_offset(&shape, lane), bytes = quire_record_lane_bytes(&shape, lane);
        wanted += bytes;
        cr_expect(wish->n_ranges == 0 || covered(wish, from, from + bytes), "layer %u of %u", i / 2, n_layers);
    }
    cr_expect_leq(wish->n_ranges, PAGER_DISK_MAX_RANGES);
    for (uint32_t i = 1; i < wish->n_ranges; i++) {
        cr_expect_gt(wish->ranges[i].from_bytes, wish->ranges[i - 1].to_bytes);
    }
    double per_wanted = (double)counters(rig)->disk_read_bytes / wanted;
    disk_let_go(rig);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
    return per_wanted;
}

/*
 * A read has so many ranges and no more. A model of one layer more than they are enough for reads two gaps in vain, and not all that it has; a deep one
 * some; where so much lies between that hardly anything is saved, all of it is read.
 */
Test(disk_parts, a_part_of_a_deep_model_is_read_alone) {
    cr_assert_float_eq(read_for_wanted(32), 1, 1e-9);
    cr_assert_lt(read_for_wanted(33), 1.25);
    cr_assert_lt(read_for_wanted(64), 4.7);
    cr_assert_geq(read_for_wanted(126), 8);
}
