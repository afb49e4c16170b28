/* Puts that wait for room: in order, each to its deadline; large ones are not starved, free space in pieces is gathered. */
#include "tests/unit/pager_rig.h"

#define POOL (256u << 10)

static enum quire_status put_until(struct rig *rig, uint32_t key, uint32_t length, uint64_t deadline_ns, uint64_t *cookie) {
    struct quire_wire_put item = rig_item(rig, key, 0);
    item.length = length ? length : item.length;
    *cookie = ++rig->cookie;
    rig->outcome[*cookie] = QUIRE_PENDING;
    enum quire_status status = pager_put(rig->pager, rig->now_ns, rig->session, rig->ns, &item, *cookie, deadline_ns);
    pager_check(rig->pager);
    if (!rig->held) {
        rig_pump(rig);
    }
    return status == QUIRE_OK ? rig->outcome[*cookie] : status;
}

/* The pool is full of leased blocks: a put waits, and is served when a reader lets go. */
Test(room, comes_with_a_release) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    uint64_t leases[256], cookie;
    for (uint32_t i = 1; i < next; i++) {
        rig_each(rig, i);
        leases[i] = rig->reply.lease;
    }
    cr_assert_eq(put_until(rig, next, 0, rig->now_ns + 500 * RIG_MS, &cookie), QUIRE_PENDING);
    cr_assert_eq(pager_next_deadline(rig->pager), rig->now_ns + 500 * RIG_MS);
    cr_assert_eq(pager_counters(rig->pager)->puts_waited, 1);
    rig_pass(rig, 100);
    rig_release(rig, leases[4]);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    cr_assert_eq(rig_why(rig, 4), QUIRE_MISS_EVICTED);
    rig_free(rig);
}

/* Nobody lets go: at its deadline the put is told so, and when to come again. */
Test(room, does_not_come) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint32_t next = rig_fill_pool(rig, 1);
    uint64_t cookie;
    for (uint32_t i = 1; i < next; i++) {
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    put_until(rig, next, 0, rig->now_ns + 500 * RIG_MS, &cookie);
    rig_pass(rig, 499);
    cr_assert_eq(rig->outcome[cookie], QUIRE_PENDING);
    rig_pass(rig, 1);
    cr_assert_eq(rig->outcome[cookie], QUIRE_FULL);
    cr_assert_gt(rig->retry_ms[cookie], 0);
    cr_assert_eq(rig_why(rig, next), QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(pager_next_deadline(rig->pager), UINT64_MAX);
    rig_free(rig);
}

/* First come, first served: a large put at the head gets what becomes free, though a smaller one behind it would fit sooner. */
Test(room, is_given_in_order) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie, large, small, leases[9];
    uint32_t length = 26 << 10;
    for (uint32_t i = 1; i <= 9; i++) {
        cr_assert_eq(put_until(rig, i, length, rig->now_ns, &cookie), QUIRE_OK);
        rig_each(rig, i);
        leases[i - 1] = rig->reply.lease;
    }
    cr_assert_eq(put_until(rig, 20, 3 * length, rig->now_ns + 1000 * RIG_MS, &large), QUIRE_PENDING);
    cr_assert_eq(put_until(rig, 21, length, rig->now_ns + 2000 * RIG_MS, &small), QUIRE_PENDING);
    rig_release(rig, leases[1]);
    rig_release(rig, leases[4]);
    cr_assert(rig->outcome[large] == QUIRE_PENDING && rig->outcome[small] == QUIRE_PENDING);
    rig_release(rig, leases[3]);
    rig_release(rig, leases[5]);
    cr_assert_eq(rig->outcome[large], QUIRE_OK);
    cr_assert_eq(rig->outcome[small], QUIRE_OK);
    rig_free(rig);
}

/* The head gives up at its deadline; whoever is behind moves up. */
Test(room, deadline_frees_the_head) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie, large, small;
    uint32_t length = 26 << 10;
    for (uint32_t i = 1; i <= 9; i++) {
        put_until(rig, i, length, rig->now_ns, &cookie);
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    put_until(rig, 20, 3 * length, rig->now_ns + 100 * RIG_MS, &large);
    put_until(rig, 21, 10000, rig->now_ns + 1000 * RIG_MS, &small);
    cr_assert_eq(rig->outcome[small], QUIRE_PENDING); /* it would fit: but it is not its turn */
    rig_pass(rig, 100);
    cr_assert_eq(rig->outcome[large], QUIRE_FULL);
    cr_assert_eq(rig->outcome[small], QUIRE_OK);
    rig_free(rig);
}

/* The queue has a limit. */
Test(room, queue_is_bounded) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    rig->options.max_puts_waiting = 2;
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig_new_pager(rig, POOL);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, NULL, 0), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    uint32_t next = rig_fill_pool(rig, 1);
    uint64_t cookie;
    for (uint32_t i = 1; i < next; i++) {
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    cr_assert_eq(put_until(rig, next, 0, RIG_NEVER, &cookie), QUIRE_PENDING);
    cr_assert_eq(put_until(rig, next + 1, 0, RIG_NEVER, &cookie), QUIRE_PENDING);
    cr_assert_eq(put_until(rig, next + 2, 0, RIG_NEVER, &cookie), QUIRE_FULL);
    pager_session_close(rig->pager, rig->session, false);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[cookie - 1], QUIRE_CANCELLED);
    cr_assert_eq(rig->outcome[cookie - 2], QUIRE_CANCELLED);
    rig_free(rig);
}

/* A put waits while another worker's put of the same block completes: both succeed, and no room is needed. */
Test(room, rival_completes_meanwhile) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t first, second;
    uint32_t next = rig_fill_pool(rig, 1);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    for (uint32_t i = 2; i < next; i++) {
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    rig->held = true;
    put_until(rig, next, 0, RIG_NEVER, &first);
    put_until(rig, next, 0, RIG_NEVER, &second);
    rig_pump(rig);
    cr_assert(rig->outcome[first] == QUIRE_OK && rig->outcome[second] == QUIRE_OK);
    cr_assert_eq(pager_counters(rig->pager)->puts_stored, next);
    rig_free(rig);
}

/* Every other block is pinned in place by a reader; what lies between is free, but in pieces. Blocks that nobody reads move. */
Test(room, is_gathered_by_moving) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie;
    uint32_t length = 15 << 10, n = 15;
    for (uint32_t i = 1; i <= n; i++) {
        cr_assert_eq(put_until(rig, i, length, rig->now_ns, &cookie), QUIRE_OK);
        rig_verb(rig, QUIRE_WIRE_PIN, i); /* may not be evicted, may be moved */
    }
    for (uint32_t i = 2; i <= n; i += 2) {
        rig_verb(rig, QUIRE_WIRE_UNPIN, i);
        rig_verb(rig, QUIRE_WIRE_DELETE, i);
    }
    rig_each(rig, 1);
    struct quire_wire_grant leased = rig->grants[0];
    struct pager_record_info before[16];
    for (uint32_t i = 1; i <= n; i += 2) {
        before[i] = rig_info(rig, i).records[0];
    }
    cr_assert_lt(rig_stats(rig).largest_free_bytes, 4u * length);
    cr_assert_eq(put_until(rig, 50, 4 * length, rig->now_ns + 1000 * RIG_MS, &cookie), QUIRE_OK);
    cr_assert_gt(pager_counters(rig->pager)->moves, 0);
    uint64_t moved = 0;
    for (uint32_t i = 1; i <= n; i += 2) { /* whoever reads an old place without a lease can see that it did move */
        struct pager_record_info after = rig_info(rig, i).records[0];
        moved += after.offset != before[i].offset;
        cr_assert_eq(after.offset != before[i].offset, after.generation != before[i].generation);
    }
    cr_assert_eq(moved, pager_counters(rig->pager)->moves);
    cr_assert_eq(rig_info(rig, 1).records[0].offset, leased.offset);
    cr_assert_eq(rig_info(rig, 1).records[0].generation, leased.generation);
    rig_free(rig);
}

/* A reader comes while its block is on the move: it is given the old bytes, which then stay, and the move is given up. */
Test(room, reader_stops_a_move) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie;
    uint32_t length = 15 << 10, n = 15, moving = 0;
    for (uint32_t i = 1; i <= n; i++) {
        put_until(rig, i, length, rig->now_ns, &cookie);
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    for (uint32_t i = 2; i <= n; i += 2) {
        rig_verb(rig, QUIRE_WIRE_UNPIN, i);
        rig_verb(rig, QUIRE_WIRE_DELETE, i);
    }
    rig->held = true;
    put_until(rig, 50, 3 * length, rig->now_ns + 1000 * RIG_MS, &cookie);
    struct pager_event move;
    cr_assert(rig_take(rig, &move) && move.type == PAGER_MOVE);
    for (uint32_t i = 1; i <= n; i += 2) {
        moving = rig_info(rig, i).records[0].offset == move.offset ? i : moving;
    }
    cr_assert_str_eq(rig_info(rig, moving).records[0].state, "moving");
    cr_assert_eq(rig_each(rig, moving), 1);
    struct quire_wire_grant grant = rig->grants[0];
    uint64_t lease = rig->reply.lease;
    cr_assert_eq(grant.offset, move.offset);
    rig_complete(rig, &move, QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(pager_counters(rig->pager)->moves_abandoned, 1);
    cr_assert_eq(rig_info(rig, moving).records[0].offset, grant.offset);
    cr_assert_eq(atomic_load(&rig->generations[grant.slot]), grant.generation);
    rig->held = false;
    rig_release(rig, lease);
    cr_assert_leq(pager_next_deadline(rig->pager), rig->now_ns + 2 * RIG_MS); /* after a pause it is tried again */
    rig_pass(rig, 2);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    rig_free(rig);
}

/* A block is deleted while it moves: both its places are free once the copy has ended, not before. */
Test(room, deletion_during_a_move) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie;
    uint32_t length = 15 << 10, n = 15;
    for (uint32_t i = 1; i <= n; i++) {
        put_until(rig, i, length, rig->now_ns, &cookie);
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    for (uint32_t i = 2; i <= n; i += 2) {
        rig_verb(rig, QUIRE_WIRE_UNPIN, i);
        rig_verb(rig, QUIRE_WIRE_DELETE, i);
    }
    rig->held = true;
    put_until(rig, 50, 3 * length, rig->now_ns + 1000 * RIG_MS, &cookie);
    struct pager_event move;
    cr_assert(rig_take(rig, &move) && move.type == PAGER_MOVE);
    for (uint32_t i = 1; i <= n; i += 2) {
        if (rig_info(rig, i).records[0].offset == move.offset) {
            uint64_t used = rig_stats(rig).used_bytes;
            rig_verb(rig, QUIRE_WIRE_UNPIN, i);
            cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, i), QUIRE_OK);
            cr_assert_eq(rig_stats(rig).used_bytes, used);
        }
    }
    rig_complete(rig, &move, QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    rig_free(rig);
}

/* A record larger than the pool is refused at once: no waiting would help, and nobody is evicted for it. */
Test(room, larger_than_the_pool) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie;
    cr_assert_eq(put_until(rig, 1, 20000, rig->now_ns, &cookie), QUIRE_OK);
    cr_assert_eq(put_until(rig, 2, POOL + 1, rig->now_ns + 1000 * RIG_MS, &cookie), QUIRE_TOO_LARGE);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}
