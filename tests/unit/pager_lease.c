/* Leases: bytes stay as long as somebody holds them, whatever happens to the block meanwhile. */
#include "tests/unit/pager_rig.h"

static uint32_t generation(const struct rig *rig, uint32_t slot) { return atomic_load(&rig->generations[slot]); }

/* A block is deleted while a reader holds it: nobody finds it any more, its bytes stay to the release, then readers without a
   lease see another generation. */
Test(lease, outlives_deletion) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    rig_prefix(rig, 1);
    struct quire_wire_grant grant = rig->grants[0];
    uint64_t lease = rig->reply.lease;
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_DELETED);
    cr_assert_eq(generation(rig, grant.slot), grant.generation);
    cr_assert_gt(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(rig_stats(rig).live_bytes, 0);
    struct quire_wire_grant again;
    cr_assert_eq(pager_lease_grant(rig->pager, rig->session, lease, grant.slot, &again), QUIRE_OK);
    cr_assert_eq(again.offset, grant.offset);
    rig_release(rig, lease);
    cr_assert_neq(generation(rig, grant.slot), grant.generation);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    rig_free(rig);
}

/* Expiry ends new uses and is counted; the bytes stay. */
Test(lease, expiry_ends_only_new_uses) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_grant grant;
    rig_put(rig, 1, 0);
    rig_prefix(rig, 1);
    rig_pass(rig, rig->options.lease_ms - 1);
    cr_assert_eq(pager_lease_grant(rig->pager, rig->session, rig->reply.lease, rig->grants[0].slot, &grant), QUIRE_OK);
    rig_pass(rig, 1);
    cr_assert_eq(pager_counters(rig->pager)->leases_expired, 1);
    cr_assert_eq(pager_lease_grant(rig->pager, rig->session, rig->reply.lease, rig->grants[0].slot, &grant), QUIRE_STALE);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    cr_assert_gt(rig_stats(rig).used_bytes, 0);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    rig_free(rig);
}

/* A lease is its session's: nobody else may use or release it, and not for records that are not under it. */
Test(lease, belongs_to_its_session) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_grant grant;
    uint64_t other;
    pager_session_open(rig->pager, rig->domain, &other);
    rig_put(rig, 1, 0);
    rig_put(rig, 2, 0);
    rig_prefix(rig, 1);
    uint64_t lease = rig->reply.lease;
    uint32_t slot = rig->grants[0].slot;
    cr_assert_eq(pager_release(rig->pager, other, lease), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_lease_grant(rig->pager, other, lease, slot, &grant), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_lease_grant(rig->pager, rig->session, lease, slot + 1, &grant), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_lease_grant(rig->pager, rig->session, lease + 1, slot, &grant), QUIRE_NOT_FOUND);
    rig_release(rig, lease);
    cr_assert_eq(pager_release(rig->pager, rig->session, lease), QUIRE_NOT_FOUND);
    rig_free(rig);
}

/* A session that ends, however it ends, frees what it held; a kicked one's bytes stay until its process is gone. */
Test(lease, session_end_frees_and_quarantine_keeps) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint64_t a, b;
    pager_session_open(rig->pager, rig->domain, &a);
    pager_session_open(rig->pager, rig->domain, &b);
    rig_put(rig, 1, 0);
    rig_look(rig, a, QUIRE_WIRE_LEASE_PREFIX, (uint32_t[]){1, 0});
    rig_look(rig, b, QUIRE_WIRE_LEASE_PREFIX, (uint32_t[]){1, 0});
    uint64_t lease = rig->reply.lease;
    struct pager_session_info info;
    cr_assert_eq(pager_session_info(rig->pager, b, &info), QUIRE_OK);
    cr_assert(info.leases == 1 && info.leased_bytes == rig->grants[0].size);
    pager_session_close(rig->pager, a, false);
    pager_check(rig->pager);
    cr_assert_eq(rig_stats(rig).leased_bytes, rig->grants[0].size);
    pager_session_close(rig->pager, b, true);
    pager_check(rig->pager);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    cr_assert_eq(rig_stats(rig).quarantined_bytes, rig->grants[0].size);
    cr_assert_gt(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(pager_release(rig->pager, b, lease), QUIRE_NOT_FOUND);
    pager_session_gone(rig->pager, b);
    pager_session_gone(rig->pager, b);
    pager_check(rig->pager);
    cr_assert(rig_stats(rig).used_bytes == 0 && rig_stats(rig).quarantined_bytes == 0);
    cr_assert_eq(pager_counters(rig->pager)->leases_reaped, 2);
    rig_free(rig);
}

/* A thousand sessions come and go; a session that is closed is known no more. */
Test(lease, thousand_sessions) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t session;
        cr_assert_eq(pager_session_open(rig->pager, rig->domain, &session), QUIRE_OK);
        cr_assert_eq(rig_look(rig, session, QUIRE_WIRE_LEASE_PREFIX, (uint32_t[]){1, 0}), 1);
        pager_session_close(rig->pager, session, i % 2);
        pager_session_gone(rig->pager, session);
        struct pager_session_info info;
        cr_assert_eq(pager_session_info(rig->pager, session, &info), QUIRE_NOT_FOUND);
    }
    cr_assert_eq(rig_stats(rig).leased_bytes, 0);
    rig_free(rig);
}

/* One session may not hold the whole pool: its prefix is cut where its share ends, and the reason is told. */
Test(lease, quota_cuts_the_prefix) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(256 << 10, &layout);
    rig_put(rig, 1, 0);
    uint64_t size = rig_info(rig, 1).records[0].size_bytes;
    rig->options.lease_quota_pct = 20;
    pager_set_options(rig->pager, &rig->options);
    uint32_t fits = (uint32_t)(rig_stats(rig).capacity_bytes / 100 * 20 / size);
    cr_assert(fits >= 2 && fits <= 8);
    uint32_t keys[16] = {1};
    for (uint32_t i = 1; i < fits + 2; i++) {
        keys[i] = i + 1;
        rig_put(rig, i + 1, i);
    }
    cr_assert_eq(rig_look(rig, rig->session, QUIRE_WIRE_LEASE_PREFIX, keys), fits);
    cr_assert_eq(rig->reply.n_grants, fits);
    cr_assert(rig->misses[fits] == QUIRE_MISS_QUOTA && rig->misses[fits + 1] == QUIRE_MISS_QUOTA);
    uint64_t lease = rig->reply.lease;
    cr_assert_eq(rig_prefix(rig, 1, 2), 0);
    cr_assert_eq(rig->reply.lease, 0);
    cr_assert_eq(rig_each(rig, 2), 0);
    cr_assert_eq(rig->misses[0], QUIRE_MISS_QUOTA);
    cr_assert_eq(pager_counters(rig->pager)->lease_quota_refusals, 3);
    cr_assert_eq(rig_probe(rig, 1, 2), 2); /* looking costs nothing */
    uint64_t other;
    pager_session_open(rig->pager, rig->domain, &other);
    cr_assert_eq(rig_look(rig, other, 0, (uint32_t[]){1, 2, 0}), 2);
    rig_release(rig, lease);
    cr_assert_eq(rig_prefix(rig, 1, 2), 2);
    rig_free(rig);
}

/* Leases have a limit in number; beyond it the caller is told to come again, and nothing is held. */
Test(lease, limited_in_number) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig->options.max_leases = 3;
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig_new_pager(rig, 1 << 20);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", &layout, "s", 1, &rig->ns, NULL, 0), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    rig_put(rig, 1, 0);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(rig_prefix(rig, 1), 1);
    }
    quire_key key = rig_key(1);
    struct pager_lease_request request = {.session = rig->session, .ns = rig->ns, .keys = key.b, .n_keys = 1};
    struct pager_lease_reply reply = {.misses = rig->misses, .grants = rig->grants, .grants_capacity = 8};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_RETRY);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    rig_free(rig);
}

/* What a request may not say. */
Test(lease, refuses_bad_requests) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint8_t keys[2 * QUIRE_KEY_BYTES] = {0};
    rig_put(rig, 1, 0);
    rig_put(rig, 2, 1);
    quire_key one = rig_key(1), two = rig_key(2);
    memcpy(keys, one.b, sizeof(one));
    memcpy(keys + sizeof(one), two.b, sizeof(two));
    struct pager_lease_request good = {.session = rig->session, .ns = rig->ns, .keys = keys, .n_keys = 2}, bad;
    struct pager_lease_reply reply = {.misses = rig->misses, .grants = rig->grants, .grants_capacity = 2};
    bad = good, bad.n_keys = 0;
    cr_assert_eq(pager_lease(rig->pager, 0, &bad, &reply), QUIRE_INVALID);
    bad = good, bad.n_keys = QUIRE_MAX_BATCH + 1;
    cr_assert_eq(pager_lease(rig->pager, 0, &bad, &reply), QUIRE_TOO_LARGE);
    bad = good, bad.group_mask = 2;
    cr_assert_eq(pager_lease(rig->pager, 0, &bad, &reply), QUIRE_INVALID);
    bad = good, bad.flags = QUIRE_WIRE_LEASE_FLOOR, bad.max_error = -1;
    cr_assert_eq(pager_lease(rig->pager, 0, &bad, &reply), QUIRE_INVALID);
    bad = good, bad.session = 99;
    cr_assert_eq(pager_lease(rig->pager, 0, &bad, &reply), QUIRE_NOT_FOUND);
    bad = good, bad.ns = UINT16_MAX;
    cr_assert_eq(pager_lease(rig->pager, 0, &bad, &reply), QUIRE_NOT_FOUND);
    reply.grants_capacity = 1;
    cr_assert_eq(pager_lease(rig->pager, 0, &good, &reply), QUIRE_TOO_LARGE);
    cr_assert_eq(rig_stats(rig).leased_bytes, 0);
    reply.grants_capacity = 2;
    cr_assert_eq(pager_lease(rig->pager, 0, &good, &reply), QUIRE_OK);
    rig_free(rig);
}

/* The same key twice in one request is held twice and released twice. */
Test(lease, same_key_twice) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    cr_assert_eq(rig_each(rig, 1, 1), 2);
    cr_assert_eq(rig_info(rig, 1).records[0].refs, 2);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_info(rig, 1).records[0].refs, 0);
    rig_free(rig);
}
