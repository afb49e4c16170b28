/* The pager is deterministic: equal calls give equal answers; and what an operator reads of it is true. */
#include "tests/unit/pager_rig.h"

/* A short life with waiting, moving and evicting; everything that comes out goes into one number. */
static uint64_t live(void) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(256 << 10, &layout);
    uint64_t sum = 1469598103934665603ull, dice = 5, leases[8] = {0};
    for (uint32_t i = 0; i < 3000; i++) {
        dice = dice * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t key = 1 + (uint32_t)(dice >> 40) % 60;
        struct quire_wire_put item = rig_item(rig, key, key / 2);
        item.length = 1 + key * 700;
        struct pager_event event;
        pager_put(rig->pager, rig->now_ns, rig->session, rig->ns, &item, i, rig->now_ns + 50 * RIG_MS);
        while (rig_take(rig, &event)) {
            sum = (sum ^ event.offset ^ event.to_offset << 20 ^ event.ticket << 1 ^ event.facts.sequence << 40) * 1099511628211ull;
            pager_complete(rig->pager, rig->now_ns, event.ticket, QUIRE_OK);
        }
        pager_release(rig->pager, rig->session, leases[i % 8]);
        rig_prefix(rig, key);
        leases[i % 8] = rig->reply.lease;
        sum = (sum ^ rig->misses[0] ^ rig->reply.lease << 8 ^ rig->grants[0].generation << 20) * 1099511628211ull;
        rig->now_ns += 7 * RIG_MS;
        pager_tick(rig->pager, rig->now_ns);
    }
    cr_assert_gt(pager_counters(rig->pager)->evicted_blocks, 100);
    cr_assert_gt(pager_counters(rig->pager)->moves, 10);
    rig_free(rig);
    return sum;
}

/* Twice the same life, to the last ticket and offset. */
Test(replay, gives_the_same_again) { cr_assert_eq(live(), live()); }

/* Time that goes backwards counts as the latest seen. */
Test(replay, time_never_goes_back) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    rig_each(rig, 1);
    rig_pass(rig, 29000);
    rig->now_ns -= 20000 * RIG_MS;
    rig_each(rig, 1); /* a lease taken now is taken at the latest time seen */
    rig->now_ns += 20000 * RIG_MS;
    rig_pass(rig, 999);
    cr_assert_eq(pager_counters(rig->pager)->leases_expired, 0);
    rig_pass(rig, 1);
    cr_assert_eq(pager_counters(rig->pager)->leases_expired, 1);
    rig_pass(rig, 28999);
    cr_assert_eq(pager_counters(rig->pager)->leases_expired, 1);
    rig_pass(rig, 1);
    cr_assert_eq(pager_counters(rig->pager)->leases_expired, 2);
    rig_free(rig);
}

/* What an operator sees of a block. */
Test(replay, block_info) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    rig_put(rig, 2, 1);
    struct pager_block_info info = rig_info(rig, 2);
    cr_assert(info.n_tokens == 4 && info.n_records == 1 && info.parent_present && !info.placeholder);
    cr_assert_eq(info.miss, QUIRE_MISS_LAYOUT); /* the windowed group is not there */
    cr_assert_str_eq(info.records[0].state, "resident");
    quire_key one = rig_key(1), root = pager_ns_root(rig->pager, rig->ns);
    cr_assert(quire_key_equal(&info.parent, &one));
    cr_assert_eq(rig_info(rig, 1).children, 1);
    info = rig_info(rig, 1);
    cr_assert(quire_key_equal(&info.parent, &root));
    rig_pass(rig, 60000);
    cr_assert(rig_info(rig, 2).idle_ns > 59000 * RIG_MS && rig_info(rig, 2).idle_ns <= 60000 * RIG_MS);
    struct pager_memory memory;
    pager_memory(rig->pager, &memory);
    cr_assert(memory.blocks == 2 && memory.max_blocks == rig->options.max_blocks && memory.index_bytes > 0 && memory.record_bytes > 0);
    cr_assert_eq(pager_domain_count(rig->pager), 1);
    struct pager_domain_stats stats = rig_stats(rig);
    cr_assert(stats.records == 2 && stats.live_bytes <= stats.used_bytes && stats.used_bytes < stats.capacity_bytes);
    cr_assert_str_eq(stats.name, "own");
    rig_free(rig);
}
