/* Holds: a record whose bytes are being sent stays what and where it is, and is given up when the last of them is out. */
#include "tests/unit/pager_rig.h"

/* Asserts that the bytes are the granted record's, and nobody else's. */
static void stays(const struct rig *rig, const struct quire_wire_grant *grant) {
    pager_check(rig->pager);
    cr_assert_eq(atomic_load(&rig->generations[grant->slot]), grant->generation, "its bytes may be another's");
    cr_assert_eq(rig_stats(rig).leased_bytes, grant->size);
    cr_assert_geq(rig_stats(rig).used_bytes, grant->size);
}

static void released(struct rig *rig, uint64_t session, uint64_t lease) {
    cr_assert_eq(pager_release(rig->pager, session, lease), QUIRE_OK);
}
static void session_ended(struct rig *rig, uint64_t session, uint64_t lease) {
    (void)lease;
    pager_session_close(rig->pager, session, false);
}
static void kicked(struct rig *rig, uint64_t session, uint64_t lease) {
    (void)lease;
    pager_session_close(rig->pager, session, true);
    pager_session_gone(rig->pager, session);
}
static void deleted(struct rig *rig, uint64_t session, uint64_t lease) {
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    released(rig, session, lease);
}
static void namespace_deleted(struct rig *rig, uint64_t session, uint64_t lease) {
    uint64_t blocks;
    cr_assert_eq(pager_ns_delete(rig->pager, "m", &blocks), QUIRE_OK);
    released(rig, session, lease);
}
static void evicted(struct rig *rig, uint64_t session, uint64_t lease) {
    uint64_t freed;
    released(rig, session, lease);
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, UINT64_MAX, &freed), QUIRE_OK);
    cr_assert_eq(freed, 0, "what is being sent was evicted");
}

/* Whatever ends the lease under which they were asked for: the bytes stay until they are out, then they are free like any other's. */
Test(hold, outlasts_what_it_was_asked_for_under) {
    static void (*const ends[])(struct rig * rig, uint64_t session, uint64_t lease) = {released, session_ended,     kicked,
                                                                                       deleted,  namespace_deleted, evicted};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(ends); i++) {
        quire_layout layout = rig_layout();
        struct rig *rig = rig_new(1 << 20, &layout);
        struct pager_hold first, second;
        uint64_t session, freed;
        pager_session_open(rig->pager, rig->domain, &session);
        rig_put(rig, 1, 0);
        cr_assert_eq(rig_look(rig, session, QUIRE_WIRE_LEASE_PREFIX, (uint32_t[]){1, 0}), 1);
        struct quire_wire_grant grant = rig->grants[0];
        uint64_t lease = rig->reply.lease;
        cr_assert_eq(pager_hold(rig->pager, session, lease, grant.slot, &first), QUIRE_OK);
        cr_assert_eq(pager_hold(rig->pager, session, lease, grant.slot, &second), QUIRE_OK);
        stays(rig, &grant);
        ends[i](rig, session, lease);
        stays(rig, &grant);
        pager_let_go(rig->pager, &first);
        stays(rig, &grant);
        pager_let_go(rig->pager, &second);
        pager_check(rig->pager);
        cr_assert_eq(rig_stats(rig).leased_bytes, 0);
        pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, UINT64_MAX, &freed);
        cr_assert_eq(rig_stats(rig).used_bytes, 0, "end %zu: its bytes are lost", i);
        rig_free(rig);
    }
}

/* Held as the lease may be used: not somebody else's, not another record, not once it has expired. */
Test(hold, is_asked_for_under_a_lease) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_hold hold;
    uint64_t other;
    pager_session_open(rig->pager, rig->domain, &other);
    rig_put(rig, 1, 0);
    rig_prefix(rig, 1);
    uint64_t lease = rig->reply.lease;
    uint32_t slot = rig->grants[0].slot;
    cr_assert_eq(pager_hold(rig->pager, other, lease, slot, &hold), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_hold(rig->pager, rig->session, lease + 1, slot, &hold), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_hold(rig->pager, rig->session, lease, slot + 1, &hold), QUIRE_NOT_FOUND);
    rig_pass(rig, rig->options.lease_ms);
    cr_assert_eq(pager_hold(rig->pager, rig->session, lease, slot, &hold), QUIRE_STALE);
    rig_free(rig);
}

/* The pool is full of what is being sent. A put waits for it, as it would for readers, and gets its room when one of them is out. */
Test(hold, a_put_waits_for_it) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(256 << 10, &layout);
    static struct pager_hold holds[512];
    uint32_t n = rig_fill_pool(rig, 1);
    cr_assert(n > 4 && n < QUIRE_ARRAY_LEN(holds));
    for (uint32_t i = 1; i < n; i++) {
        cr_assert_eq(rig_each(rig, i), 1);
        cr_assert_eq(pager_hold(rig->pager, rig->session, rig->reply.lease, rig->grants[0].slot, &holds[i]), QUIRE_OK);
        rig_release(rig, rig->reply.lease);
    }
    struct quire_wire_put item = rig_item(rig, n, 0);
    uint64_t cookie = ++rig->cookie;
    cr_assert_eq(pager_put(rig->pager, rig->now_ns, rig->session, rig->ns, &item, cookie, rig->now_ns + 100 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig->outcomes[cookie], 0, "it got room that is being read");
    pager_let_go(rig->pager, &holds[2]);
    rig_pump(rig);
    cr_assert_eq(rig->outcomes[cookie], 1);
    cr_assert_eq(rig->outcome[cookie], QUIRE_OK);
    for (uint32_t i = 1; i < n; i++) {
        if (i != 2) {
            pager_let_go(rig->pager, &holds[i]);
        }
    }
    rig_free(rig);
}
