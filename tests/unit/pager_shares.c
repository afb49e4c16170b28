/* One session takes as much of everything as it can get; another one works on. */
#include "tests/unit/pager_rig.h"

#define POOL (1u << 20)

static struct rig *small_rig(uint32_t leases, uint32_t parts, uint32_t waiting) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    rig->options.max_leases = leases;
    rig->options.max_parts_pending = parts;
    rig->options.max_puts_waiting = waiting;
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig_new_pager(rig, POOL);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, NULL, 0), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    return rig;
}

static enum quire_status lease_one(struct rig *rig, uint64_t session, uint64_t *lease) {
    quire_key key = rig_key(1);
    struct pager_lease_request request = {.session = session, .ns = rig->ns, .keys = key.b, .n_keys = 1};
    struct pager_lease_reply reply = {.misses = rig->misses, .grants = rig->grants, .grants_capacity = 1};
    enum quire_status status = pager_lease(rig->pager, rig->now_ns, &request, &reply);
    *lease = reply.lease;
    return status;
}

/* Leases: a sixteenth of the table, then it is told to come again; looking still works, and so does a release. */
Test(shares, leases) {
    struct rig *rig = small_rig(1280, 1000, 1000);
    uint64_t other, lease = 0, last = 0;
    rig_put(rig, 1, 0);
    pager_session_open(rig->pager, rig->domain, &other);
    for (uint32_t i = 0; i < 80; i++) {
        cr_assert_eq(lease_one(rig, rig->session, &last), QUIRE_OK);
    }
    cr_assert_eq(lease_one(rig, rig->session, &lease), QUIRE_RETRY);
    cr_assert_eq(lease, 0);
    cr_assert_eq(pager_counters(rig->pager)->leases_over_share, 1);
    cr_assert_eq(rig_probe(rig, 1), 1);
    cr_assert_eq(lease_one(rig, other, &lease), QUIRE_OK);
    rig_release(rig, last);
    cr_assert_eq(lease_one(rig, rig->session, &lease), QUIRE_OK);
    rig_free(rig);
}

/* A quarter of record `key`, offered by a session: the rest never comes. */
static enum quire_status put_quarter(struct rig *rig, uint64_t session, uint32_t key) {
    struct quire_wire_put item = rig_part(rig, rig_item(rig, key, 0), key, (quire_rect){0, 2, 0, 1});
    uint64_t cookie;
    enum quire_status status = rig_offer(rig, session, &item, &cookie);
    return status == QUIRE_OK ? rig->outcome[cookie] : status;
}

/* Parts of records that it never completes: they take a quarter of the pool, not all of it. What others bring to them is welcome. */
Test(shares, bytes_of_unfinished_records) {
    struct rig *rig = small_rig(1000, 4000, 1000);
    uint64_t other;
    uint32_t n = 1;
    pager_session_open(rig->pager, rig->domain, &other);
    while (put_quarter(rig, rig->session, n) == QUIRE_OK) {
        n++;
    }
    cr_assert_eq(rig->outcome[rig->cookie], QUIRE_RETRY);
    cr_assert_gt(rig->retry_ms[rig->cookie], 0);
    cr_assert_gt(pager_counters(rig->pager)->puts_over_share, 0);
    uint64_t used = rig_stats(rig).used_bytes;
    cr_assert(used < 3 * POOL / 10 && used > POOL / 5);
    cr_assert_eq(rig_put(rig, 5000, 0), QUIRE_OK); /* whole ones end by themselves */
    cr_assert_eq(put_quarter(rig, other, 5001), QUIRE_OK);
    struct quire_wire_put rest = rig_part(rig, rig_item(rig, 1, 0), 1, (quire_rect){2, 2, 0, 1});
    uint64_t cookie;
    cr_assert_eq(rig_offer(rig, rig->session, &rest, &cookie), QUIRE_OK);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    rig_pass(rig, 2 * rig->options.part_expiry_ms);
    cr_assert_eq(put_quarter(rig, rig->session, n), QUIRE_OK);
    pager_session_close(rig->pager, rig->session, false);
    rig_free(rig);
}

/* And a quarter of their number. */
Test(shares, number_of_unfinished_records) {
    struct rig *rig = small_rig(1000, 300, 1000);
    uint64_t other, cookie;
    pager_session_open(rig->pager, rig->domain, &other);
    rig->held = true;
    for (uint32_t i = 1; i <= 75; i++) {
        struct quire_wire_put item = rig_item(rig, i, 0);
        item.n_tokens = 1;
        item.length /= 4;
        cr_assert_eq(rig_offer(rig, rig->session, &item, &cookie), QUIRE_OK);
    }
    struct quire_wire_put item = rig_item(rig, 100, 0);
    cr_assert_eq(rig_offer(rig, rig->session, &item, &cookie), QUIRE_OK);
    item = rig_item(rig, 101, 0);
    cr_assert_eq(rig_offer(rig, other, &item, &cookie), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[cookie - 1], QUIRE_RETRY);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    rig->held = false;
    cr_assert_eq(rig_put(rig, 100, 0), QUIRE_OK);
    rig_free(rig);
}

/* A record that is larger than that quarter of the pool can be built from parts all the same, also beside others: one at a time. */
Test(shares, one_large_record_in_parts) {
    quire_layout layout = rig_layout();
    layout.block_tokens = 160;
    struct rig *rig = rig_new(POOL, &layout);
    uint64_t cookie;
    struct quire_wire_put small = rig_item(rig, 1, 0);
    cr_assert_gt(small.length, POOL / 4);
    small.n_tokens = 1;
    small.length /= layout.block_tokens;
    rig->held = true;
    cr_assert_eq(rig_offer(rig, rig->session, &small, &cookie), QUIRE_OK);
    cr_assert_eq(put_quarter(rig, rig->session, 2), QUIRE_PENDING);
    cr_assert_eq(put_quarter(rig, rig->session, 3), QUIRE_PENDING);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    cr_assert_eq(rig->outcome[cookie + 1], QUIRE_OK);
    cr_assert_eq(rig->outcome[cookie + 2], QUIRE_RETRY);
    rig_free(rig);
}

/* Puts that wait for room: the queue has places for others. */
Test(shares, puts_that_wait) {
    struct rig *rig = small_rig(1000, 4000, 400);
    uint64_t other;
    uint32_t next = rig_fill_pool(rig, 1);
    for (uint32_t i = 1; i < next; i++) {
        rig_verb(rig, QUIRE_WIRE_PIN, i);
    }
    pager_session_open(rig->pager, rig->domain, &other);
    for (uint32_t i = 0; i <= 101; i++) {
        struct quire_wire_put item = rig_item(rig, next + i, 0);
        uint64_t cookie = 1 + i;
        rig->outcome[cookie] = QUIRE_PENDING;
        cr_assert_eq(pager_put(rig->pager, rig->now_ns, i == 101 ? other : rig->session, rig->ns, &item, cookie, RIG_NEVER), QUIRE_OK);
        rig_pump(rig);
        cr_assert_eq(rig->outcome[cookie], i == 100 ? QUIRE_FULL : QUIRE_PENDING);
    }
    cr_assert_gt(rig->retry_ms[101], 0);
    cr_assert_eq(pager_counters(rig->pager)->puts_over_share, 1);
    pager_session_close(rig->pager, rig->session, false);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[102], QUIRE_PENDING);
    rig_free(rig);
}
