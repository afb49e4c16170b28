/* What no single request may cost: searches up long chains of parents, evictions on request, and lookups of windowed prefixes. */
#include "tests/unit/pager_rig.h"

#define DEEP 40000u
#define SLOTS 80000u

/* A rig with room for tens of thousands of the smallest records, whose books are not checked at each step: that would take hours. */
struct deep {
    struct pager *pager;
    _Atomic uint32_t *generations;
    uint64_t session, now_ns;
    uint32_t domain;
    uint16_t ns;
};

static struct deep deep_new(void) {
    struct deep deep = {.generations = calloc(SLOTS, sizeof(*deep.generations)), .now_ns = 1000 * RIG_MS};
    struct pager_options options;
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    pager_options_default(&options);
    options.max_blocks = 2 * SLOTS;
    options.reclaim_low_pct = options.reclaim_high_pct = 0;
    cr_assert_eq(pager_create(&options, 7, 1, &deep.pager), QUIRE_OK);
    cr_assert_eq(pager_domain_add(deep.pager, "own", 1ull << 32, deep.generations, SLOTS, &deep.domain), QUIRE_OK);
    cr_assert_eq(pager_ns_open(deep.pager, deep.domain, "m", &layout, "s", 1, &deep.ns, NULL, 0), QUIRE_OK);
    cr_assert_eq(pager_session_open(deep.pager, deep.domain, &deep.session), QUIRE_OK);
    return deep;
}

static void deep_free(struct deep *deep) {
    pager_check(deep->pager);
    pager_destroy(&deep->pager);
    free(deep->generations);
}

/* Stores a byte under a key; parent 0: the root. */
static enum quire_status deep_put(struct deep *deep, uint32_t key, uint32_t parent) {
    struct quire_wire_put item = {.key = rig_key(key), .n_tokens = 16, .length = 1, .flags = parent ? 0 : QUIRE_WIRE_PUT_ROOT};
    struct pager_event event;
    item.parent = parent ? rig_key(parent) : item.parent;
    enum quire_status status = pager_put(deep->pager, deep->now_ns, deep->session, deep->ns, &item, key, deep->now_ns);
    while (pager_next_event(deep->pager, &event)) {
        if (event.type == PAGER_PUT_DONE) {
            status = event.status;
        } else {
            pager_complete(deep->pager, deep->now_ns, event.ticket, QUIRE_OK);
        }
    }
    return status;
}

static struct pager_block_info deep_info(const struct deep *deep, uint32_t key) {
    quire_key k = rig_key(key);
    struct pager_block_info info;
    cr_assert_eq(pager_block_info(deep->pager, deep->now_ns, deep->ns, &k, &info), QUIRE_OK);
    return info;
}

/* Blocks `first` to `last`, each below the one before; the first below `parent`. */
static void deep_chain(struct deep *deep, uint32_t first, uint32_t last, uint32_t parent) {
    for (uint32_t i = first; i <= last; i++) {
        cr_assert_eq(deep_put(deep, i, i == first ? parent : i - 1), QUIRE_OK);
    }
}

/* A block with children comes to lie below a chain so long that nobody can say at once whether it closes a circle. It is stored, without the link: it is
   not invalid. Where the chain is short the link is there. */
Test(bounds, long_chains_are_not_invalid) {
    struct deep deep = deep_new();
    deep_chain(&deep, 1, DEEP, 0);
    cr_assert_eq(deep_put(&deep, DEEP + 2, DEEP + 1), QUIRE_OK); /* an orphan: its parent is to come */
    cr_assert_eq(deep_put(&deep, DEEP + 1, DEEP), QUIRE_OK);
    cr_assert_not(deep_info(&deep, DEEP + 1).parent_present);
    cr_assert_eq(pager_counters(deep.pager)->puts_unlinked, 1);
    cr_assert_eq(deep_info(&deep, DEEP).children, 0);
    cr_assert_eq(deep_put(&deep, DEEP + 4, DEEP + 3), QUIRE_OK);
    cr_assert_eq(deep_put(&deep, DEEP + 3, 10000), QUIRE_OK);
    cr_assert(deep_info(&deep, DEEP + 3).parent_present);
    cr_assert_eq(pager_counters(deep.pager)->puts_unlinked, 1);
    deep_free(&deep);
}

/* The circle that is too long to be found is not closed either; one within reach is refused. */
Test(bounds, no_circle_however_long) {
    struct deep deep = deep_new();
    uint32_t foot = DEEP + 1;
    deep_chain(&deep, 1, DEEP, foot);
    cr_assert_eq(deep_put(&deep, foot, 1000), QUIRE_INVALID);
    cr_assert_eq(deep_put(&deep, foot, DEEP), QUIRE_OK);
    cr_assert_eq(deep_info(&deep, foot).children, 1);
    cr_assert_not(deep_info(&deep, foot).parent_present);
    cr_assert_eq(deep_info(&deep, DEEP).children, 0);
    deep_free(&deep);
}

/* Many such searches share a budget: a frame full of them is as cheap as a few. It is there again soon. */
Test(bounds, searches_share_a_budget) {
    struct deep deep = deep_new();
    const struct pager_counters *counters = pager_counters(deep.pager);
    deep_chain(&deep, 1, 16000, 0);
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t parent = 20000 + 2 * i;
        cr_assert_eq(deep_put(&deep, parent + 1, parent), QUIRE_OK);
        cr_assert_eq(deep_put(&deep, parent, 16000), QUIRE_OK);
    }
    cr_assert_eq(counters->puts_unlinked, 96);
    deep.now_ns += 100 * RIG_MS;
    cr_assert_eq(deep_put(&deep, 30001, 30000), QUIRE_OK);
    cr_assert_eq(deep_put(&deep, 30000, 16000), QUIRE_OK);
    cr_assert(deep_info(&deep, 30000).parent_present);
    cr_assert_eq(counters->puts_unlinked, 96);
    deep_free(&deep);
}

/* ---- evictions on request ------------------------------------------------------------------------------------------------- */
/* An operator asks for everything: it comes in steps, so that others are served in between, and each tells what it freed. */
Test(bounds, evictions_come_in_steps) {
    struct deep deep = deep_new();
    uint64_t freed, sum = 0, steps = 0;
    for (uint32_t i = 1; i <= 10000; i++) {
        cr_assert_eq(deep_put(&deep, i, 0), QUIRE_OK);
    }
    enum quire_status status = QUIRE_RETRY;
    for (; status == QUIRE_RETRY; steps++) {
        uint64_t before = pager_counters(deep.pager)->evicted_blocks;
        status = pager_evict(deep.pager, deep.now_ns, deep.domain, UINT16_MAX, UINT64_MAX, &freed);
        cr_assert_leq(pager_counters(deep.pager)->evicted_blocks - before, 4096);
        sum += freed;
    }
    cr_assert(status == QUIRE_OK && steps >= 3 && steps < 10);
    cr_assert_eq(sum, pager_counters(deep.pager)->evicted_bytes);
    cr_assert_eq(pager_counters(deep.pager)->evicted_blocks, 10000);
    deep_free(&deep);
}

/* One namespace's blocks, a deep chain, behind more of another's than one call looks at: calls look on where the last one stopped, and the chain goes
   level by level without a pass for each. */
Test(bounds, evictions_of_one_namespace_go_on) {
    struct deep deep = deep_new();
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    uint16_t first = deep.ns, second;
    uint64_t freed, blocks, steps = 0;
    cr_assert_eq(pager_ns_open(deep.pager, deep.domain, "n", &layout, "t", 1, &second, NULL, 0), QUIRE_OK);
    for (uint32_t i = 1; i <= 70000; i++) {
        cr_assert_eq(deep_put(&deep, i, 0), QUIRE_OK);
    }
    deep.ns = second;
    for (uint32_t i = 1; i <= 6000; i++, deep.now_ns += RIG_MS) {
        cr_assert_eq(deep_put(&deep, i, i - 1), QUIRE_OK);
    }
    for (enum quire_status status = QUIRE_RETRY; status == QUIRE_RETRY; steps++) {
        blocks = pager_counters(deep.pager)->evicted_blocks;
        status = pager_evict(deep.pager, deep.now_ns, deep.domain, second, UINT64_MAX, &freed);
        cr_assert_leq(pager_counters(deep.pager)->evicted_blocks - blocks, 4096);
        cr_assert_lt(steps, 20);
    }
    cr_assert_geq(steps, 2);
    cr_assert_eq(pager_counters(deep.pager)->evicted_blocks, 6000);
    deep.ns = first;
    cr_assert_eq(deep_info(&deep, 70000).miss, QUIRE_MISS_NONE);
    deep_free(&deep);
}

/* ---- windows -------------------------------------------------------------------------------------------------------------- */
/* Eight groups, seven of them windows of 4,096 blocks; the first block lacks the last group. */
static struct rig *windows_rig(void) {
    quire_layout layout = {.n_layers = 8, .n_groups = 8, .block_tokens = 1, .weights_digest = {1}};
    for (uint16_t l = 0; l < 8; l++) {
        layout.kv_src[l] = l;
        layout.group_of[l] = (uint8_t)l;
        layout.group[l] = (quire_group){.n_kv_heads = 1, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16, .window_tokens = l == 0 ? 0 : 4096};
    }
    struct rig *rig = rig_new(1u << 27, &layout);
    for (uint32_t key = 1; key <= 2; key++) {
        for (uint8_t g = 0; g < (key == 1 ? 7 : 8); g++) {
            struct quire_wire_put item = rig_item(rig, key, 0);
            item.group = g;
            cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
        }
    }
    return rig;
}

/* Whoever names one block thousands of times and is near the quota makes the cut go back over thousands of lengths that no reader can resume
   from: what each lacks is known from the way there, and looked at once. */
Test(bounds, cut_goes_far_back) {
    struct rig *rig = windows_rig();
    static uint8_t keys[QUIRE_MAX_BATCH * QUIRE_KEY_BYTES], misses[QUIRE_MAX_BATCH];
    struct quire_wire_grant *grants = calloc(8u * QUIRE_MAX_BATCH, sizeof(*grants));
    uint32_t window = quire_layout_window_blocks(pager_ns_layout(rig->pager, rig->ns), 1);
    for (uint32_t i = 0; i < QUIRE_MAX_BATCH; i++) {
        quire_key key = rig_key(i == 0 ? 1 : 2);
        memcpy(keys + (size_t)i * QUIRE_KEY_BYTES, key.b, sizeof(key));
    }
    struct pager_lease_request request = {
        .session = rig->session, .ns = rig->ns, .keys = keys, .n_keys = QUIRE_MAX_BATCH, .flags = QUIRE_WIRE_LEASE_PREFIX};
    struct pager_lease_reply reply = {.misses = misses, .grants = grants, .grants_capacity = 8u * QUIRE_MAX_BATCH};
    uint64_t size = rig_info(rig, 2).records[0].size_bytes, percent = rig_stats(rig).capacity_bytes / 100;
    uint32_t enough = (uint32_t)((7ull * window + window + 1) * size / percent) + 1;
    rig->options.lease_quota_pct = enough;
    pager_set_options(rig->pager, &rig->options);
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert(reply.hits > window && reply.hits < QUIRE_MAX_BATCH);
    cr_assert_leq(reply.leased_bytes, enough * percent);
    rig_release(rig, reply.lease);
    rig->options.lease_quota_pct = enough - 2; /* less than the first length at which the hole is behind all windows */
    pager_set_options(rig->pager, &rig->options);
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert(reply.hits == 0 && reply.lease == 0 && misses[0] == QUIRE_MISS_QUOTA);
    free(grants);
    rig_free(rig);
}
