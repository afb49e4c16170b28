/* Prefixes: the longest run of blocks that a reader can resume from, with layer groups that need only their window. */
#include "tests/unit/pager_rig.h"

static void put_group(struct rig *rig, uint32_t key, uint32_t parent, uint8_t group, float ancestry) {
    struct quire_wire_put item = rig_item(rig, key, parent);
    item.group = group;
    item.ancestry_error = ancestry;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
}

static void put_both(struct rig *rig, uint32_t key, uint32_t parent) {
    put_group(rig, key, parent, 0, 0);
    put_group(rig, key, parent, 1, 0);
}

/* A hole ends the prefix: what lies behind it is there, but out of reach, and the reply says so. */
Test(prefix, ends_at_a_hole) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    rig_put(rig, 2, 1);
    rig_put(rig, 4, 3);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5), 2);
    cr_assert_eq(rig->reply.n_grants, 2);
    cr_assert(rig->misses[2] == QUIRE_MISS_NEVER_STORED && rig->misses[3] == QUIRE_MISS_ORPHAN &&
              rig->misses[4] == QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(rig_each(rig, 1, 2, 3, 4, 5), 3); /* each for itself */
    cr_assert(rig->misses[2] == QUIRE_MISS_NEVER_STORED && rig->misses[3] == QUIRE_MISS_NONE);
    cr_assert_eq(rig_prefix(rig, 9), 0);
    cr_assert_eq(rig->reply.lease, 0);
    rig_free(rig);
}

/* Sliding-window layers are granted only where a reader that resumes there looks back to. */
Test(prefix, needs_only_the_window) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint32_t window = quire_layout_window_blocks(&layout, 1);
    cr_assert(window >= 2 && window <= 3);
    for (uint32_t i = 1; i <= 8; i++) {
        put_both(rig, i, i - 1);
    }
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8), 8);
    cr_assert_eq(rig->reply.n_grants, 8 + window);
    for (uint32_t i = 0; i < rig->reply.n_grants; i++) {
        cr_assert(rig->grants[i].group == 0 || rig->grants[i].key_index >= 8 - window);
        cr_assert(i == 0 || rig->grants[i].key_index >= rig->grants[i - 1].key_index);
    }
    rig_free(rig);
}

/* Old blocks without their windowed group do no harm; a young one without it shortens the prefix to where the window is whole. */
Test(prefix, moves_back_to_a_whole_window) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint32_t window = quire_layout_window_blocks(&layout, 1);
    for (uint32_t i = 1; i <= 8; i++) {
        put_group(rig, i, i - 1, 0, 0);
        if (i >= 4 && i != 7) {
            put_group(rig, i, i - 1, 1, 0);
        }
    }
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8), 6);
    cr_assert_eq(rig->reply.n_grants, 6 + window);
    cr_assert_eq(rig->misses[6], QUIRE_MISS_LAYOUT);
    cr_assert_eq(rig->misses[7], QUIRE_MISS_ORPHAN);
    put_group(rig, 7, 6, 1, 0);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8), 8);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 0); /* the windows of the first three are not there */
    rig_free(rig);
}

/* Behind a partial tail a window reaches one block further back than behind a full block: a reader gets that one too, or a shorter prefix. */
Test(prefix, partial_tail_reaches_further_back) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint32_t window = quire_layout_window_blocks(&layout, 1);
    for (uint32_t i = 1; i <= 8; i++) {
        put_group(rig, i, i - 1, 0, 0);
        if (i > 8 - window) { /* just what a reader behind block 8 needs */
            put_group(rig, i, i - 1, 1, 0);
        }
    }
    for (uint8_t group = 0; group < 2; group++) {
        struct quire_wire_put tail = rig_item(rig, 9, 8);
        quire_rect whole = quire_layout_whole(&layout, group);
        tail.group = group;
        tail.n_tokens = 1;
        tail.length = (uint32_t)quire_layout_rect_bytes(&layout, group, &whole, 1);
        cr_assert_eq(rig_put_item(rig, &tail), QUIRE_OK);
    }
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8, 9), 9);
    cr_assert_eq(rig->reply.n_grants, 9 + window + 1);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8), 8);
    cr_assert_eq(rig->reply.n_grants, 8 + window);
    rig_free(rig);
}

/* Who asks for one group alone gets that one alone, and is not stopped by what the others lack. */
Test(prefix, group_mask) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    put_group(rig, 1, 0, 0, 0);
    put_group(rig, 2, 1, 0, 0);
    quire_key keys[2] = {rig_key(1), rig_key(2)};
    struct pager_lease_request request = {
        .session = rig->session, .ns = rig->ns, .keys = keys[0].b, .n_keys = 2, .flags = QUIRE_WIRE_LEASE_PREFIX, .group_mask = 1};
    struct pager_lease_reply reply = {.misses = rig->misses, .grants = rig->grants, .grants_capacity = 4};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert(reply.hits == 2 && reply.n_grants == 2);
    request.group_mask = 2;
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert(reply.hits == 0 && reply.n_grants == 0 && rig->misses[0] == QUIRE_MISS_LAYOUT);
    rig_free(rig);
}

/* A caller that demands a floor gets a miss rather than less, also when only the ancestors were lossy. */
Test(prefix, floor) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    put_group(rig, 1, 0, 0, 0);
    put_group(rig, 2, 1, 0, 0.25f);
    put_group(rig, 3, 2, 0, 0);
    quire_key keys[3] = {rig_key(1), rig_key(2), rig_key(3)};
    struct pager_lease_request request = {
        .session = rig->session, .ns = rig->ns, .keys = keys[0].b, .n_keys = 3, .flags = QUIRE_WIRE_LEASE_PREFIX | QUIRE_WIRE_LEASE_FLOOR};
    struct pager_lease_reply reply = {.misses = rig->misses, .grants = rig->grants, .grants_capacity = 4};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert(reply.hits == 1 && rig->misses[1] == QUIRE_MISS_FLOOR && rig->misses[2] == QUIRE_MISS_ORPHAN);
    request.max_error = 0.25f;
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert_eq(reply.hits, 3);
    rig_free(rig);
}

/* The quota may cut a prefix with windows: what is granted is again a prefix that can be resumed from. */
Test(prefix, quota_respects_windows) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint32_t window = quire_layout_window_blocks(&layout, 1), size = 0;
    for (uint32_t i = 1; i <= 8; i++) {
        put_both(rig, i, i - 1);
        size = rig_info(rig, i).records[0].size_bytes;
    }
    uint32_t pct = (uint32_t)((5ull + window) * size * 100 / rig_stats(rig).capacity_bytes) + 1; /* five blocks and a window */
    rig->options.lease_quota_pct = pct;
    pager_set_options(rig->pager, &rig->options);
    uint64_t quota = rig_stats(rig).capacity_bytes / 100 * pct;
    uint32_t fits = (uint32_t)(quota / size) - window;
    cr_assert(fits >= 5 && fits < 8);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8), fits);
    cr_assert_eq(rig->reply.n_grants, fits + window);
    cr_assert_eq(rig->misses[7], QUIRE_MISS_QUOTA);
    rig_free(rig);
}

/* Where the quota would cut, a window may have a hole: then the cut moves back to where a reader can resume. */
Test(prefix, quota_cuts_to_a_whole_window) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint32_t window = quire_layout_window_blocks(&layout, 1), size = 0;
    for (uint32_t i = 1; i <= 8; i++) {
        put_group(rig, i, i - 1, 0, 0);
        if (i != 3) {
            put_group(rig, i, i - 1, 1, 0);
        }
        size = rig_info(rig, i).records[0].size_bytes;
    }
    for (uint32_t pct = 100; pct > 0; pct--) {
        rig->options.lease_quota_pct = pct;
        pager_set_options(rig->pager, &rig->options);
        uint64_t fits = rig_stats(rig).capacity_bytes / 100 * pct / size;
        uint32_t n = fits >= 8 + window ? 8 : fits > window ? (uint32_t)fits - window : (uint32_t)fits / 2;
        n = n >= 3 && n < 3 + window ? 2 : n; /* those need the third block's window */
        if (n >= 2) {
            cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8), n, "%u at %u %%", n, pct);
            rig_release(rig, rig->reply.lease);
        }
    }
    rig_free(rig);
}

/* Hits and misses are counted by reason; an operator's look is not. */
Test(prefix, is_counted) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    const struct pager_counters *counters = pager_counters(rig->pager);
    rig_put(rig, 1, 0);
    rig_prefix(rig, 1, 2);
    cr_assert(counters->lookups == 1 && counters->lookup_keys == 2 && counters->hit_keys == 1 && counters->hit_tokens == 4);
    cr_assert_eq(counters->misses[QUIRE_MISS_NEVER_STORED], 1);
    cr_assert_eq(counters->hit_bytes, rig->grants[0].size);
    cr_assert_eq(rig->reply.tokens, 4);
    rig_look(rig, rig->session, QUIRE_WIRE_LEASE_PREFIX | QUIRE_WIRE_LEASE_NO_TOUCH, (uint32_t[]){1, 0});
    cr_assert(rig->reply.lease != 0 && rig->reply.tokens == 0);
    rig_probe(rig, 1, 2);
    cr_assert_eq(rig->reply.tokens, 0);
    cr_assert(counters->lookups == 1 && counters->misses[QUIRE_MISS_NEVER_STORED] == 1);
    uint32_t cursor = 0;
    struct pager_ns_info info;
    cr_assert(pager_ns_next(rig->pager, &cursor, &info));
    cr_assert(info.hits == 1 && info.misses == 1 && info.tokens_reused == 4 && info.stores == 1 && info.blocks == 1);
    cr_assert_not(pager_ns_next(rig->pager, &cursor, &info));
    rig_free(rig);
}
