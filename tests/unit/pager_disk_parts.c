/* Readers who want a part of a record: less is read when it is less, and what several ask for, or one again, comes into memory. */
#include "codec/record.h"
#include "tests/unit/pager_disk_rig.h"

enum { POOL = 64 << 20, READERS = 8 };

static struct rig *rig_of(const quire_layout *layout) { return disk_rig(POOL, layout, 8, 65536); }

/* One block that is on disk, and nowhere else. */
static struct rig *rig_away(const quire_layout *layout) {
    struct rig *rig = rig_of(layout);
    disk_put(rig, 1, 1);
    cr_assert_gt(disk_leave_memory(rig), 0);
    return rig;
}

static const struct pager_disk_counters *counters(const struct rig *rig) { return disk_stats(rig).counters; }

/* The part of grant i of the last lookup: its status. */
static enum quire_status load_part(struct rig *rig, uint32_t i, const quire_rect *rect, struct quire_wire_grant *grant) {
    struct pager_load_item item = {.slot = rig->grants[i].slot, .partial = true, .rect = *rect};
    uint8_t status;
    disk_of(rig)->load_ticket = 0;
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &item, 1, 1, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_neq(disk_of(rig)->load_ticket, 0);
    cr_assert_eq(pager_load_result(rig->pager, disk_of(rig)->load_ticket, grant, &status, 1), QUIRE_OK);
    pager_check(rig->pager);
    return (enum quire_status)status;
}

/* ---- which bytes ---------------------------------------------------------------------------------------------------------- */
static quire_layout deep_layout(uint16_t n_layers) {
    quire_layout layout = {.n_layers = n_layers, .n_groups = 1, .block_tokens = 64, .weights_digest = {1}};
    for (uint16_t l = 0; l < n_layers; l++) {
        layout.kv_src[l] = l;
    }
    layout.group[0] = (quire_group){.n_kv_heads = 8, .k_dim = 32, .v_dim = 32, .elem = QUIRE_F16};
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

/* However deep a model is, as the largest ones are with their 126 layers, and as deep as there may ever be: nothing is read that nobody wants. */
Test(disk_parts, a_part_of_a_deep_model_is_read_alone) {
    static const uint16_t depths[] = {32, 33, 126, 200, QUIRE_MAX_LAYERS};
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(depths); i++) {
        cr_expect_float_eq(read_for_wanted(depths[i]), 1, 1e-9, "%u layers", depths[i]);
    }
}

static bool holds(const struct rig *rig, uint32_t slot, uint32_t offset, uint32_t size) {
    const struct quire_wire_range ranges[] = {{0, 1}, {offset, size}};
    return pager_lease_holds(rig->pager, rig->session, rig->reply.lease, slot, ranges, 2);
}

/* Whoever may not see the pool is given of a part what was read of it: header, directory, its lanes; and nothing that lies between. */
Test(disk_parts, a_part_holds_its_lanes) {
    quire_layout layout = deep_layout(40);
    struct quire_record_shape shape;
    struct quire_wire_grant grant;
    cr_assert_eq(quire_record_shape(&layout, 0, 64, 0, &shape), QUIRE_OK);
    for (uint16_t head = 0; head < 8; head += 7) {
        struct rig *rig = rig_away(&layout);
        const quire_rect rect = {.first_layer = 3, .n_layers = 30, .first_head = head, .n_heads = 1};
        rig_prefix(rig, 1);
        cr_assert_eq(load_part(rig, 0, &rect, &grant), QUIRE_OK);
        cr_assert(holds(rig, grant.slot, 0, shape.payload_offset));
        cr_assert_not(holds(rig, grant.slot, 0, shape.payload_offset + 1));
        for (uint32_t lane = 0; lane < shape.n_lanes; lane++) {
            uint32_t from = quire_record_lane_offset(&shape, lane), bytes = quire_record_lane_bytes(&shape, lane);
            bool read = lane % 8 == head && lane / 16 >= 3 && lane / 16 < 33;
            cr_assert_eq(holds(rig, grant.slot, from, bytes), read, "lane %u", lane);
            cr_assert_eq(holds(rig, grant.slot, from, 1), read, "lane %u", lane);
            cr_assert_eq(holds(rig, grant.slot, from + bytes - 1, 1), read, "lane %u", lane);
            cr_assert_not(holds(rig, grant.slot, from - 1, 2) && lane > 0, "lane %u", lane);
        }
        cr_assert_not(holds(rig, grant.slot, 0, shape.size_bytes));
        cr_assert(holds(rig, rig->grants[0].slot, 0, shape.size_bytes), "of a whole record all is its own");
        rig_release(rig, rig->reply.lease);
        disk_rig_free(rig);
    }
}

/* From the first lane on, directory and lanes are one. */
Test(disk_parts, the_first_lanes_follow_the_directory) {
    quire_layout layout = deep_layout(40);
    struct rig *rig = rig_away(&layout);
    struct quire_record_shape shape;
    struct quire_wire_grant grant;
    const quire_rect rect = {.n_layers = 40, .n_heads = 2};
    cr_assert_eq(quire_record_shape(&layout, 0, 64, 0, &shape), QUIRE_OK);
    rig_prefix(rig, 1);
    cr_assert_eq(load_part(rig, 0, &rect, &grant), QUIRE_OK);
    uint32_t end = quire_record_lane_offset(&shape, 1) + shape.k_lane_bytes;
    cr_assert(holds(rig, grant.slot, 0, end));
    cr_assert(holds(rig, grant.slot, shape.payload_offset - 1, 2));
    cr_assert_not(holds(rig, grant.slot, 0, end + 1));
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* One lane here, one there, out of a large block: each time that alone is read. All of the block for each would be hundreds of times as much. */
Test(disk_parts, far_smaller_parts_stay_alone) {
    quire_layout layout = deep_layout(16);
    struct rig *rig = rig_away(&layout);
    for (uint16_t i = 0; i < 6; i++) {
        const quire_rect rect = {.first_layer = (uint16_t)(i * 2), .n_layers = 1, .first_head = (uint16_t)(7 - i), .n_heads = 1};
        struct quire_wire_grant grant;
        rig_prefix(rig, 1);
        cr_assert_eq(load_part(rig, 0, &rect, &grant), QUIRE_OK);
        rig_release(rig, rig->reply.lease);
    }
    cr_expect_eq(counters(rig)->disk_reads, 6);
    cr_expect_eq(counters(rig)->disk_partial_reads, 6);
    disk_rig_free(rig);
}

/* Asks for one head of a deep model's block `number`, as eight ranks each do that have a head each, unless it is in memory; true: it had to be read. */
static bool want_head(struct rig *rig, uint32_t number, uint16_t n_layers, uint16_t head) {
    const quire_rect rect = {.n_layers = n_layers, .first_head = head, .n_heads = 1};
    struct quire_wire_grant grant;
    cr_assert_eq(rig_prefix(rig, number), 1);
    bool away = rig->grants[0].offset == QUIRE_WIRE_AWAY;
    if (away) {
        cr_assert_eq(load_part(rig, 0, &rect, &grant), QUIRE_OK);
        cr_assert_neq(grant.offset, QUIRE_WIRE_AWAY);
    }
    rig_release(rig, rig->reply.lease);
    return away;
}

/* Eight ranks with a head of eight each, round after round: an eighth is not far less. The second who comes has all of it read, and it is there for the rest. */
Test(disk_parts, ranks_with_a_head_each_have_it_in_memory) {
    quire_layout layout = deep_layout(16);
    struct rig *rig = rig_away(&layout);
    for (uint16_t i = 0; i < 160; i++) {
        cr_assert_eq(want_head(rig, 1, 16, i % 8), i < 2, "%u", i);
    }
    cr_assert_eq(counters(rig)->disk_reads, 2);
    cr_assert_eq(counters(rig)->disk_promoted, 1);
    disk_rig_free(rig);
}

/*
 * Sixteen workers want a sixteenth of a block each, again and again: what they read together is soon as much as all of it, which is read then, and stays. When it has
 * left memory, that begins anew. Another block is counted by itself.
 */
Test(disk_parts, small_parts_sum_up) {
    quire_layout layout = deep_layout(16);
    struct rig *rig = rig_of(&layout);
    disk_put(rig, 1, 1);
    disk_put(rig, 2, 1);
    disk_leave_memory(rig);
    for (uint32_t time = 0; time < 2; time++) {
        uint64_t before = counters(rig)->disk_partial_reads;
        for (uint32_t i = 0; i < 64; i++) {
            cr_assert_eq(want_head(rig, 1, 8, i % 8), i < 17, "%u, time %u", i, time);
        }
        cr_assert_eq(counters(rig)->disk_partial_reads - before, 16);
        cr_assert_eq(counters(rig)->disk_promoted, time + 1);
        cr_assert(want_head(rig, 2, 8, 0));
        cr_assert_eq(counters(rig)->disk_partial_reads - before, 17);
        disk_leave_memory(rig);
    }
    disk_rig_free(rig);
}

/* ---- asked for again ------------------------------------------------------------------------------------------------------ */
static const quire_rect one_layer = {.first_layer = 1, .n_layers = 1, .n_heads = 2};

static uint64_t tickets[READERS + 1]; /* by cookie */
static void remember(struct rig *rig, const struct pager_event *event) {
    if (event->type == PAGER_LOAD_DONE) {
        tickets[event->cookie] = event->ticket;
    }
    disk_event(rig, event);
}

/* Eight workers of one engine want a part of the same block at the same time: the first has its part, all others share one read of the whole. */
Test(disk_parts, many_readers_share_a_read) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_away(&layout);
    uint64_t leases[READERS];
    uint32_t first_slot = 0;
    rig->disk_event = remember;
    disk_of(rig)->held = true;
    for (uint32_t i = 0; i < READERS; i++) {
        rig_prefix(rig, 1);
        struct pager_load_item item = {.slot = rig->grants[0].slot, .partial = true, .rect = one_layer};
        leases[i] = rig->reply.lease;
        cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, leases[i], &item, 1, i, rig->now_ns + 50 * RIG_MS), QUIRE_OK);
        rig_pump(rig);
    }
    disk_let_go(rig);
    cr_assert_leq(disk_of(rig)->reads, 2, "%u reads", disk_of(rig)->reads);
    for (uint32_t i = 0; i < READERS; i++) {
        struct quire_wire_grant grant;
        uint8_t status;
        cr_assert_eq(pager_load_result(rig->pager, tickets[i], &grant, &status, 1), QUIRE_OK);
        cr_assert_eq(status, QUIRE_OK);
        cr_assert_neq(grant.offset, QUIRE_WIRE_AWAY);
        first_slot = i == 1 ? grant.slot : first_slot;
        cr_assert_eq(grant.slot == first_slot, i > 0, "reader %u", i);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        rig_release(rig, leases[i]);
    }
    disk_rig_free(rig);
}

/*
 * Eight workers want the same small part at the same time, and one of them another: the same one is read once, and each has it. Whoever gives up meanwhile takes
 * nothing from the others, nor does who releases first.
 */
Test(disk_parts, many_readers_share_a_small_part) {
    quire_layout layout = deep_layout(16);
    struct rig *rig = rig_away(&layout);
    uint64_t leases[READERS + 1];
    struct quire_wire_grant grants[READERS + 1];
    uint8_t status;
    rig->disk_event = remember;
    disk_of(rig)->held = true;
    for (uint32_t i = 0; i <= READERS; i++) {
        rig_prefix(rig, 1);
        struct pager_load_item item = {
            .slot = rig->grants[0].slot, .partial = true, .rect = {.n_layers = 2, .first_head = i == READERS, .n_heads = 1}};
        leases[i] = rig->reply.lease;
        cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, leases[i], &item, 1, i, rig->now_ns + 50 * RIG_MS), QUIRE_OK);
        rig_pump(rig);
    }
    rig_release(rig, leases[0]);
    pager_check(rig->pager);
    disk_let_go(rig);
    cr_assert_eq(disk_of(rig)->reads, 2, "%u reads", disk_of(rig)->reads);
    cr_assert_eq(counters(rig)->disk_read_shared, READERS - 1);
    for (uint32_t i = 1; i <= READERS; i++) {
        cr_assert_eq(pager_load_result(rig->pager, tickets[i], &grants[i], &status, 1), QUIRE_OK);
        cr_assert_eq(status, QUIRE_OK);
        cr_assert_neq(grants[i].offset, QUIRE_WIRE_AWAY);
        cr_assert_eq(grants[i].slot == grants[1].slot, i < READERS, "reader %u", i);
        const struct quire_wire_range all = {0, 1 << 20};
        cr_assert_not(pager_lease_holds(rig->pager, rig->session, leases[i], grants[i].slot, &all, 1));
    }
    for (uint32_t i = 1; i <= READERS; i++) {
        struct quire_wire_grant grant;
        cr_assert_eq(pager_lease_grant(rig->pager, rig->session, leases[i], grants[i].slot, &grant), QUIRE_OK);
        cr_assert_eq(grant.offset, grants[i].offset);
        rig_release(rig, leases[i]);
        pager_check(rig->pager);
    }
    disk_rig_free(rig);
}

/* The same part, ten times, one after the other: who comes a second time shows that it is used, and has all of it in memory from then on. */
Test(disk_parts, what_is_asked_for_again_stays) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_away(&layout);
    struct quire_wire_grant grant;
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert_eq(rig_prefix(rig, 1), 1);
        if (rig->grants[0].offset == QUIRE_WIRE_AWAY) {
            cr_assert_eq(load_part(rig, 0, &one_layer, &grant), QUIRE_OK);
            cr_assert_neq(grant.offset, QUIRE_WIRE_AWAY);
        }
        rig_release(rig, rig->reply.lease);
    }
    cr_assert_leq(disk_of(rig)->reads, 2, "%u reads", disk_of(rig)->reads);
    cr_assert_eq(counters(rig)->disk_partial_reads, 1);
    cr_assert_eq(counters(rig)->disk_promoted, 1, "read a second time, it stays");
    disk_rig_free(rig);
}

/* When it has left memory again, nothing is known of what will be asked for: a part is read alone once more. */
Test(disk_parts, it_begins_anew_when_it_has_left) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_away(&layout);
    struct quire_wire_grant grant;
    for (uint32_t i = 0; i < 6; i++) {
        cr_assert_eq(rig_prefix(rig, 1), 1);
        cr_assert_eq(load_part(rig, 0, &one_layer, &grant), QUIRE_OK);
        cr_assert_eq(grant.slot == rig->grants[0].slot, i % 2 == 1, "fetch %u", i);
        rig_release(rig, rig->reply.lease);
        disk_leave_memory(rig);
    }
    cr_assert_eq(counters(rig)->disk_partial_reads, 3);
    disk_rig_free(rig);
}

/* One block of two layer groups that is on disk, and nowhere else. */
static struct rig *rig_groups_away(const quire_layout *layout) {
    struct rig *rig = rig_of(layout);
    for (uint8_t group = 0; group < 2; group++) {
        struct quire_wire_put item = rig_item(rig, 1, 0);
        quire_rect whole = quire_layout_whole(layout, group);
        item.group = group;
        item.n_layers = whole.n_layers;
        item.n_heads = whole.n_heads;
        item.length = (uint32_t)quire_layout_rect_bytes(layout, group, &whole, item.n_tokens);
        cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    }
    disk_settle(rig);
    disk_leave_memory(rig);
    return rig;
}

/* A block's layer groups are records of their own: that a part of one was read makes no part of another a second one. */
Test(disk_parts, layer_groups_are_counted_apart) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_groups_away(&layout);
    struct quire_wire_grant grant;
    const quire_rect rect = {.n_layers = 1, .n_heads = 2};
    for (uint32_t time = 0; time < 2; time++) {
        rig_each(rig, 1);
        cr_assert_eq(rig->reply.n_grants, 2);
        for (uint32_t i = 0; i < 2; i++) {
            cr_assert_eq(load_part(rig, i, &rect, &grant), QUIRE_OK);
            cr_assert_eq(grant.slot == rig->grants[i].slot, time == 1, "group %u, fetch %u", i, time);
        }
        rig_release(rig, rig->reply.lease);
    }
    cr_assert_eq(counters(rig)->disk_partial_reads, 2);
    disk_rig_free(rig);
}

/* One read brings each group of a block: that is the first time for all of it, and what was read once leaves first. */
Test(disk_parts, groups_that_come_together_come_once) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_groups_away(&layout);
    struct quire_wire_grant grant;
    for (uint32_t time = 0; time < 2; time++) {
        rig_each(rig, 1);
        for (uint32_t i = 0; i < 2; i++) {
            cr_assert_eq(rig->grants[i].offset, QUIRE_WIRE_AWAY);
            cr_assert_eq(disk_load(rig, i, &grant), QUIRE_OK);
        }
        rig_release(rig, rig->reply.lease);
        cr_assert_eq(counters(rig)->disk_promoted, time, "fetch %u", time);
        disk_leave_memory(rig);
    }
    disk_rig_free(rig);
}

/* ---- what a fetch will take ----------------------------------------------------------------------------------------------- */
/* Asks for a tenth of a block, or for all of it, under a lease of its own. */
static uint64_t ask(struct rig *rig, uint32_t number, bool partial) {
    cr_assert_eq(rig_prefix(rig, number), 1);
    struct pager_load_item item = {.slot = rig->grants[0].slot, .partial = partial, .rect = {.n_layers = 4, .n_heads = 8}};
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &item, 1, 1, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    return rig->reply.lease;
}

/* Behind a small part of a block that is being read the next one waits for little; behind a whole block it waits for all of that. */
Test(disk_parts, a_part_keeps_others_waiting_for_a_part) {
    quire_layout layout = deep_layout(40);
    struct rig *rig = rig_of(&layout);
    disk_put(rig, 1, 3);
    disk_leave_memory(rig);
    disk_of(rig)->held = true;
    uint64_t idle_ns = disk_told_ns(rig, 3), part = ask(rig, 1, true), behind_part_ns = disk_told_ns(rig, 3);
    uint64_t whole = ask(rig, 2, false), behind_both_ns = disk_told_ns(rig, 3);
    cr_assert_gt(behind_part_ns, idle_ns);
    cr_assert_lt((behind_part_ns - idle_ns) * 4, behind_both_ns - behind_part_ns);
    disk_let_go(rig);
    rig_release(rig, part);
    rig_release(rig, whole);
    cr_assert_eq(counters(rig)->disk_partial_reads, 1);
    disk_rig_free(rig);
}

/* Workers that read nothing but parts see that the drive is slow: whoever asks what a whole block takes is told so. */
Test(disk_parts, parts_tell_what_the_drive_does) {
    quire_layout layout = deep_layout(40);
    struct rig *rig = rig_of(&layout);
    disk_put(rig, 1, 2);
    disk_leave_memory(rig);
    disk_of(rig)->held = true;
    cr_assert_lt(disk_told_ns(rig, 2), 10 * RIG_MS);
    for (uint32_t i = 0; i < 10; i++) {
        uint64_t lease = ask(rig, 1, true);
        rig->now_ns += 50 * RIG_MS;
        disk_let_go(rig);
        rig_release(rig, lease);
    }
    cr_assert_eq(counters(rig)->disk_partial_reads, 10);
    cr_assert_gt(disk_told_ns(rig, 2), 40 * RIG_MS);
    disk_rig_free(rig);
}
