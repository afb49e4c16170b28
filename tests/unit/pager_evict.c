/* What gives way when the pool is full, and what never does. */
#include "tests/unit/pager_rig.h"

#define POOL (256u << 10)

static bool is_there(struct rig *rig, uint32_t key) { return rig_why(rig, key) == QUIRE_MISS_NONE; }

/* Blocks that stand alone go in the order of their last use. */
Test(evict, least_recently_used_first) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    cr_assert_gt(next, 8);
    rig_release(rig, (rig_prefix(rig, 1), rig->reply.lease));
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_TOUCH, 3), QUIRE_OK);
    static const uint32_t order[] = {2, 4, 5, 6};
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert(is_there(rig, order[i]));
        cr_assert_eq(rig_put(rig, next + i, 0), QUIRE_OK);
        cr_assert_eq(rig_why(rig, order[i]), QUIRE_MISS_EVICTED);
        rig_pass(rig, 100);
    }
    cr_assert(is_there(rig, 1) && is_there(rig, 3));
    cr_assert_eq(pager_counters(rig->pager)->evicted_blocks, 4);
    rig_free(rig);
}

/* An operator's look is no use: it does not keep a block. */
Test(evict, looking_is_not_using) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    cr_assert(is_there(rig, 1));
    cr_assert_eq(rig_look(rig, rig->session, QUIRE_WIRE_LEASE_NO_TOUCH, (uint32_t[]){1, 0}), 1);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(pager_counters(rig->pager)->lookups, 0);
    rig_put(rig, next, 0);
    cr_assert_not(is_there(rig, 1));
    rig_free(rig);
}

/* A chain goes from its end: a block never leaves before the blocks that need it. */
Test(evict, leaves_first) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    for (uint32_t i = 1; i <= 5; i++) {
        rig_put(rig, i, i - 1);
        rig_pass(rig, 100);
    }
    uint32_t next = rig_fill_pool(rig, 100);
    for (uint32_t i = 1; i <= 5; i++) { /* the root of the chain was used last, and its end longest ago */
        rig_pass(rig, 100);
        rig_verb(rig, QUIRE_WIRE_TOUCH, 100);
    }
    for (uint32_t gone = 5; gone > 0; gone--) {
        rig_put(rig, next++, 0);
        for (uint32_t i = 1; i <= 5; i++) {
            cr_assert_eq(is_there(rig, i), i < gone, "block %u when %u should have gone", i, gone);
        }
        for (uint32_t i = 101; i < next; i++) {
            rig_verb(rig, QUIRE_WIRE_TOUCH, i);
        }
        rig_pass(rig, 100);
    }
    rig_free(rig);
}

/* Orphans go before everything else, however young: nobody can reach them. */
Test(evict, orphans_first) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    rig_verb(rig, QUIRE_WIRE_DELETE, 2);
    cr_assert_eq(rig_put(rig, 500, 499), QUIRE_OK);
    cr_assert_eq(pager_counters(rig->pager)->puts_orphan, 1);
    cr_assert_eq(rig_put(rig, 600, 0), QUIRE_OK);
    rig_pass(rig, 1000);
    rig_verb(rig, QUIRE_WIRE_TOUCH, 500);
    rig_put(rig, next, 0);
    cr_assert_not(is_there(rig, 500));
    cr_assert(is_there(rig, 3));
    rig_free(rig);
}

/* An orphan whose parent comes is an orphan no more. */
Test(evict, parent_saves_orphan) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    rig_verb(rig, QUIRE_WIRE_DELETE, 2);
    rig_put(rig, 500, 499);
    cr_assert(rig_info(rig, 499).placeholder);
    cr_assert_not(rig_info(rig, 500).parent_present);
    rig_put(rig, 499, 0);
    cr_assert(rig_info(rig, 500).parent_present);
    rig_put(rig, next, 0);
    cr_assert(is_there(rig, 500) && is_there(rig, 499) && !is_there(rig, 3));
    rig_free(rig);
}

/* A parent is deleted: its children become orphans, its place in the chain is kept, and it may come back. */
Test(evict, deletion_leaves_a_placeholder) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    struct pager_memory memory;
    rig_put(rig, 1, 0), rig_put(rig, 2, 1), rig_put(rig, 3, 2);
    rig_verb(rig, QUIRE_WIRE_DELETE, 2);
    cr_assert(rig_info(rig, 2).placeholder);
    cr_assert_eq(rig_info(rig, 1).children, 0);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 1);
    cr_assert(rig->misses[1] == QUIRE_MISS_DELETED && rig->misses[2] == QUIRE_MISS_ORPHAN);
    rig_release(rig, rig->reply.lease);
    rig_put(rig, 2, 1);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 3);
    rig_release(rig, rig->reply.lease);
    rig_verb(rig, QUIRE_WIRE_DELETE, 2);
    rig_verb(rig, QUIRE_WIRE_DELETE, 3);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    pager_memory(rig->pager, &memory);
    cr_assert_eq(memory.blocks, 0); /* a placeholder without children vanishes */
    rig_free(rig);
}

/* Pinned and leased blocks stay; when nothing else is there a put is refused, with a hint when to come again. */
Test(evict, never_what_is_pinned_or_leased) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1), leased = next - 1;
    cr_assert_eq(rig_each(rig, leased), 1);
    uint64_t lease = rig->reply.lease;
    for (uint32_t i = 1; i < leased; i++) {
        cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, i), QUIRE_OK);
    }
    cr_assert_eq(rig_put(rig, next, 0), QUIRE_FULL);
    cr_assert_gt(rig->retry_ms[rig->cookie], 0);
    cr_assert_eq(pager_counters(rig->pager)->puts_full, 1);
    cr_assert(is_there(rig, leased)); /* hiding it would not have helped */
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    rig_release(rig, lease);
    cr_assert_eq(rig_put(rig, next, 0), QUIRE_OK);
    cr_assert_not(is_there(rig, leased));
    cr_assert_eq(rig_stats(rig).pinned_bytes, (leased - 1) * (uint64_t)rig_info(rig, 1).records[0].size_bytes);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_OK);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_UNPIN, 1), QUIRE_NOT_FOUND);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 4711), QUIRE_MISS);
    rig_free(rig);
}

/* Two pins need two unpins; a put may pin what it stores, once. */
Test(evict, pins_are_counted) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(POOL, &layout);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    item.flags |= QUIRE_WIRE_PUT_PIN;
    rig_put_item(rig, &item);
    cr_assert_eq(rig_info(rig, 1).pins, 1);
    rig_verb(rig, QUIRE_WIRE_PIN, 1);
    cr_assert_eq(rig_info(rig, 1).pins, 2);
    item.group = 1;
    rig_put_item(rig, &item);
    cr_assert_eq(rig_info(rig, 1).pins, 2);
    rig_verb(rig, QUIRE_WIRE_UNPIN, 1);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_IN_USE);
    rig_verb(rig, QUIRE_WIRE_UNPIN, 1);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    rig_free(rig);
}

/* Whoever stores with PIN relies on it, also when the block was there before, or somebody else's put of it came in first. */
Test(evict, duplicates_pin_too) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    uint64_t cookie;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    item.flags |= QUIRE_WIRE_PUT_PIN;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).pins, 1);
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).pins, 1);   /* somebody pins it: that will do */
    for (uint32_t key = 2; key <= 3; key++) { /* two at once: the one without PIN comes in first, or last */
        struct pager_event fill[2];
        rig->held = true;
        for (uint32_t i = 0; i < 2; i++) {
            item = rig_item(rig, key, 0);
            item.flags |= i == 1 ? QUIRE_WIRE_PUT_PIN : 0;
            cr_assert_eq(rig_offer(rig, rig->session, &item, &cookie), QUIRE_OK);
            cr_assert(rig_take(rig, &fill[i]));
        }
        rig_complete(rig, &fill[key - 2], QUIRE_OK);
        rig_complete(rig, &fill[3 - key], QUIRE_OK);
        rig_pump(rig);
        rig->held = false;
        cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
        cr_assert_eq(rig_info(rig, key).pins, 1);
    }
    rig_free(rig);
}

/* Reclaim runs ahead of demand: below the low mark it frees to the high one, before anybody has to wait. */
Test(evict, ahead_of_demand) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    rig->held = true;
    uint64_t capacity = rig_stats(rig).capacity_bytes;
    rig->options.reclaim_low_pct = 20;
    rig->options.reclaim_high_pct = 50;
    pager_set_options(rig->pager, &rig->options);
    uint32_t key = 1;
    for (; rig_stats(rig).used_bytes < capacity / 100 * 70; key++) {
        rig_put(rig, key, 0);
        rig_pump(rig);
        rig->now_ns += 100 * RIG_MS;
    }
    cr_assert_eq(pager_next_deadline(rig->pager), UINT64_MAX);
    for (; capacity - rig_stats(rig).used_bytes >= capacity / 100 * 20; key++) {
        rig_put(rig, key, 0);
        rig_pump(rig);
    }
    cr_assert_eq(pager_counters(rig->pager)->evicted_blocks, 0);
    cr_assert_leq(pager_next_deadline(rig->pager), rig->now_ns);
    pager_tick(rig->pager, rig->now_ns);
    pager_check(rig->pager);
    cr_assert_geq(capacity - rig_stats(rig).used_bytes, capacity / 100 * 50);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_EVICTED);
    cr_assert_eq(rig_why(rig, key - 1), QUIRE_MISS_NONE);
    cr_assert_eq(pager_next_deadline(rig->pager), UINT64_MAX);
    rig_free(rig);
}

/* When nothing may go, reclaim does not spin. */
Test(evict, reclaim_rests_when_all_is_held) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    for (uint32_t i = 1; i < next; i++) {
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    rig->options.reclaim_low_pct = rig->options.reclaim_high_pct = 50;
    pager_set_options(rig->pager, &rig->options);
    rig_pass(rig, 1);
    cr_assert_eq(pager_next_deadline(rig->pager), UINT64_MAX);
    rig_free(rig);
}

/* Blocks stored within one tick go in the order in which they came, from the very first one of a pool that had nothing to do for a while. */
Test(evict, first_comes_first_within_a_tick) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t freed;
    rig_pass(rig, 100);
    for (uint32_t round = 0; round < 3; round++) {
        rig_pass(rig, 100);
        for (uint32_t i = 1; i <= 4; i++) {
            cr_assert_eq(rig_put(rig, 10 * round + i, 0), QUIRE_OK);
        }
    }
    for (uint32_t i = 0; i < 12; i++) {
        cr_assert(is_there(rig, 10 * (i / 4) + i % 4 + 1));
        cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, 1, &freed), QUIRE_OK);
        cr_assert_not(is_there(rig, 10 * (i / 4) + i % 4 + 1), "%u", i);
    }
    rig_free(rig);
}

/* An operator evicts from one namespace and leaves the other alone. */
Test(evict, by_namespace) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint16_t first = rig->ns, second;
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "n", &layout, "t", 1, &second, NULL, 0), QUIRE_OK);
    rig_put(rig, 1, 0), rig_put(rig, 2, 1), rig_put(rig, 3, 2);
    rig->ns = second;
    rig_put(rig, 1, 0), rig_put(rig, 2, 1);
    uint64_t freed, size = rig_info(rig, 1).records[0].size_bytes;
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, first, 2 * size, &freed), QUIRE_OK);
    pager_check(rig->pager);
    cr_assert_eq(freed, 2 * size);
    cr_assert(is_there(rig, 1) && is_there(rig, 2));
    rig->ns = first;
    cr_assert(is_there(rig, 1) && !is_there(rig, 2) && !is_there(rig, 3));
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, UINT64_MAX, &freed), QUIRE_OK);
    cr_assert_eq(freed, 3 * size);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, 7, UINT16_MAX, 1, &freed), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, 99, 1, &freed), QUIRE_NOT_FOUND);
    rig_free(rig);
}

/* The index has a limit, too: a block that does not fit there makes the oldest leaf go. */
Test(evict, when_the_index_is_full) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig->options.max_blocks = 4;
    rig_new_pager(rig, 1 << 20);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, NULL, 0), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    for (uint32_t i = 1; i <= 4; i++) {
        cr_assert_eq(rig_put(rig, i, 0), QUIRE_OK);
        rig_pass(rig, 100);
    }
    cr_assert_eq(rig_put(rig, 10, 9), QUIRE_OK); /* needs two entries */
    cr_assert(!is_there(rig, 1) && !is_there(rig, 2) && is_there(rig, 3) && is_there(rig, 10));
    for (uint32_t i = 3; i <= 4; i++) {
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    rig_verb(rig, QUIRE_WIRE_PIN, 10);
    cr_assert_eq(rig_put(rig, 11, 0), QUIRE_FULL);
    cr_assert_eq(rig_put(rig, 12, 10), QUIRE_FULL);
    rig_free(rig);
}
