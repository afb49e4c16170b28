/* Blocks leave memory for the disk and come back. */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)

static uint32_t store(struct rig *rig, uint32_t first, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(rig_put(rig, first + i, i == 0 ? 0 : first + i - 1), QUIRE_OK);
        rig_pass(rig, 20);
    }
    return first + n;
}

/* Forty contexts of ten blocks, from 1 on: the first of them are only on disk then. */
static void store_more_than_memory(struct rig *rig) {
    for (uint32_t i = 0; i < 40; i++) {
        store(rig, 1 + i * 10, 10);
        disk_settle(rig);
    }
}

/* What was stored is written after a while, without anybody asking; it stays in memory as well. */
Test(disk, writes_behind) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 16, 1024);
    store(rig, 1, 10);
    cr_assert_eq(disk_of(rig)->writes, 0);
    disk_settle(rig);
    cr_assert_geq(disk_of(rig)->writes, 1);
    cr_assert_eq(disk_stats(rig).log.live_records, 10);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 10);
    cr_assert_neq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* A context larger than memory is found whole; what is only on disk has a right without an address until it is loaded. */
Test(disk, comes_back) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct quire_wire_grant grant;
    uint32_t n_away = 0;
    store_more_than_memory(rig);
    cr_assert_gt(disk_stats(rig).log.live_records, 350);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 10);
    for (uint32_t i = 0; i < 10; i++) {
        n_away += rig->grants[i].offset == QUIRE_WIRE_AWAY;
    }
    cr_assert_eq(n_away, 10);
    cr_assert_eq(disk_load(rig, 3, &grant), QUIRE_OK);
    cr_assert_neq(grant.offset, QUIRE_WIRE_AWAY);
    cr_assert_eq(grant.slot, rig->grants[3].slot);
    cr_assert_eq(disk_of(rig)->reads, 1);
    cr_assert_eq(disk_load(rig, 3, &grant), QUIRE_OK, "it is there already");
    cr_assert_eq(disk_of(rig)->reads, 1);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* A record that fails its checksum as it comes from disk is a miss, then and afterwards. */
Test(disk, doubt_is_a_miss) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct quire_wire_grant grant;
    store_more_than_memory(rig);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 3);
    disk_of(rig)->read_status = QUIRE_CORRUPT;
    cr_assert_eq(disk_load(rig, 1, &grant), QUIRE_MISS);
    disk_of(rig)->read_status = QUIRE_OK;
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 1);
    rig_release(rig, rig->reply.lease);
    disk_settle(rig);
    cr_assert_eq(rig_each(rig, 3), 0, "what continues it is gone, too");
    disk_rig_free(rig);
}

/* A log that goes round and round empties its oldest segments, and stays within its size. */
Test(disk, goes_round) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 12, 512);
    for (uint32_t i = 0; i < 200; i++) {
        store(rig, 1 + i * 10, 10);
        disk_settle(rig);
    }
    struct pager_disk_stats stats = disk_stats(rig);
    cr_assert_gt(stats.counters->disk_emptied, 50);
    cr_assert_geq(stats.log.clean, 1);
    cr_assert_gt(stats.log.live_records, 50);
    cr_assert_eq(stats.dirty_records, 0);
    disk_rig_free(rig);
}

/* An acknowledged deletion has a tombstone that was synced. */
Test(disk, deletions_last) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 16, 1024);
    store(rig, 1, 3);
    disk_settle(rig);
    rig->held = true;
    quire_key key = rig_key(3);
    uint8_t status;
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, key.b, 1, &status), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    cr_assert_eq(disk_of(rig)->durable_cookie, 0);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_of(rig)->durable_status, QUIRE_OK);
    cr_assert_eq(disk_of(rig)->syncs, 1);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 6), QUIRE_OK);
    disk_rig_free(rig);
}

/* The only device is lost: what was only there is a miss, what memory has stays and may be evicted as if there had never been a disk. */
Test(disk, the_only_device_is_lost) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    for (uint32_t i = 0; i < 30; i++) {
        store(rig, 1 + i * 10, 10);
        disk_settle(rig);
    }
    store(rig, 301, 10);
    cr_assert_gt(disk_stats(rig).dirty_records, 0);
    pager_disk_device_lost(rig->pager, rig->now_ns, 0);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(rig_prefix(rig, 1, 2, 3), 0);
    cr_assert_eq(rig_prefix(rig, 301, 302, 303), 3);
    rig_release(rig, rig->reply.lease);
    for (uint32_t i = 40; i < 60; i++) {
        store(rig, 1 + i * 10, 10); /* the pool goes round */
    }
    uint8_t status;
    quire_key key = rig_key(595);
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, key.b, 1, &status), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 9), QUIRE_OK); /* nothing could bring it back */
    disk_rig_free(rig);
}

/*
 * Metadata cannot be written (its folder is gone, its file system full): a namespace that it does not name lives in memory alone, which goes round, and the
 * others are written as before. When it can, what memory still has of the new namespace is written, too.
 */
Test(disk, metadata_cannot_be_written) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    uint16_t named = rig->ns;
    store(rig, 1, 10);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).log.live_records, 10);

    disk_of(rig)->meta_status = QUIRE_SYSTEM;
    char why[200];
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "new", &layout, "s", 1, &rig->ns, why, sizeof(why)), QUIRE_OK);
    for (uint32_t i = 0; i < 40; i++) {
        store(rig, 101 + i * 10, 10); /* several times what the pool holds */
    }
    uint16_t unnamed = rig->ns;
    rig->ns = named;
    store(rig, 1001, 10);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_assert_eq(disk_stats(rig).log.live_records, 20);

    uint32_t held = 0;
    rig->ns = unnamed;
    for (uint32_t key = 101; key < 501; key++) {
        held += rig_why(rig, key) == QUIRE_MISS_NONE;
    }
    cr_assert_gt(held, 10);
    disk_of(rig)->meta_status = QUIRE_OK;
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).log.live_records, 20 + held);
    store(rig, 2001, 10);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).log.live_records, 30 + held);
    disk_rig_free(rig);
}

/* What is read only once leaves memory before what is used; what is read again stays. */
Test(disk, read_once_goes_first) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct quire_wire_grant grant;
    store_more_than_memory(rig);
    cr_assert_eq(rig_prefix(rig, 1), 1);
    cr_assert_eq(disk_load(rig, 0, &grant), QUIRE_OK);
    rig_release(rig, rig->reply.lease);
    store(rig, 1001, 1); /* one has to leave for it */
    disk_settle(rig);
    store(rig, 1002, 1);
    cr_assert_eq(rig_prefix(rig, 1), 1);
    cr_assert_eq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    cr_assert_eq(disk_load(rig, 0, &grant), QUIRE_OK);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(disk_stats(rig).counters->disk_promoted, 1);
    store(rig, 1003, 1);
    disk_settle(rig);
    store(rig, 1004, 1);
    cr_assert_eq(rig_prefix(rig, 1), 1);
    cr_assert_neq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* Two readers, one read. A reader that leaves, or whose time is up, takes nothing from the other. */
Test(disk, one_read_for_all) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct rig_disk *disk = disk_of(rig);
    uint64_t other, tickets[3] = {0};
    struct quire_wire_grant grant;
    uint8_t status;
    store_more_than_memory(rig);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &other), QUIRE_OK);
    disk->held = true;
    rig_prefix(rig, 1);
    struct pager_load_item item = {.slot = rig->grants[0].slot};
    uint64_t mine = rig->reply.lease;
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, mine, &item, 1, 1, rig->now_ns + 50 * RIG_MS), QUIRE_OK);
    rig_look(rig, other, QUIRE_WIRE_LEASE_PREFIX, (uint32_t[]){1, 0});
    uint64_t theirs = rig->reply.lease;
    cr_assert_eq(rig->grants[0].slot, item.slot);
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, other, theirs, &item, 1, 2, rig->now_ns + 500 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(disk->n_waiting, 1);
    rig_pass(rig, 100); /* the first one's time is up */
    cr_assert_eq(disk->load_cookie, 1);
    tickets[1] = disk->load_ticket;
    cr_assert_eq(pager_load_result(rig->pager, tickets[1], &grant, &status, 1), QUIRE_OK);
    cr_assert_eq(status, QUIRE_TIMEOUT);
    cr_assert_eq(pager_release(rig->pager, rig->session, mine), QUIRE_OK);
    disk_let_go(rig);
    cr_assert_eq(disk->load_cookie, 2);
    cr_assert_eq(pager_load_result(rig->pager, disk->load_ticket, &grant, &status, 1), QUIRE_OK);
    cr_assert_eq(status, QUIRE_OK);
    cr_assert_neq(grant.offset, QUIRE_WIRE_AWAY);
    cr_assert_eq(disk->reads, 1);
    cr_assert_eq(disk_stats(rig).counters->disk_read_shared, 1);
    pager_session_close(rig->pager, other, false);
    disk_rig_free(rig);
}

/* Fewer heads are wanted: less is read, into a place that only this lease sees. */
Test(disk, a_part_is_read_alone) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct rig_disk *disk = disk_of(rig);
    struct quire_wire_grant grant;
    uint8_t status;
    store_more_than_memory(rig);
    rig_prefix(rig, 1);
    uint64_t before = disk_stats(rig).counters->disk_read_bytes;
    struct pager_load_item item = {.slot = rig->grants[0].slot, .partial = true, .rect = {.first_layer = 1, .n_layers = 1, .n_heads = 2}};
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &item, 1, 1, rig->now_ns + 50 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(pager_load_result(rig->pager, disk->load_ticket, &grant, &status, 1), QUIRE_OK);
    cr_assert_eq(status, QUIRE_OK);
    cr_assert(grant.slot != item.slot && grant.offset != QUIRE_WIRE_AWAY);
    cr_assert_eq(disk_stats(rig).counters->disk_partial_reads, 1);
    cr_assert_lt(disk_stats(rig).counters->disk_read_bytes - before, grant.size / 2);
    cr_assert_eq(pager_lease_grant(rig->pager, rig->session, rig->reply.lease, item.slot, &grant), QUIRE_OK);
    cr_assert_eq(grant.offset, QUIRE_WIRE_AWAY, "the whole of it is not there");
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* Thousands of blocks in one request, a part of every third: each item is answered with its own bytes, whole ones where the lease has them. */
Test(disk, a_large_batch_is_loaded) {
    enum { N = 3000 };
    static uint8_t keys[N * QUIRE_KEY_BYTES], misses[N], statuses[N];
    static struct quire_wire_grant leased[N], grants[N];
    static struct pager_load_item items[N];
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(64 << 20, &layout, 64, 4096);
    for (uint32_t i = 0; i < N; i++) {
        const quire_key key = rig_key(1 + i);
        memcpy(keys + i * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
    }
    disk_put(rig, 1, N);
    disk_leave_memory(rig);
    const struct pager_lease_request request = {.session = rig->session, .ns = rig->ns, .keys = keys, .n_keys = N};
    struct pager_lease_reply reply = {.misses = misses, .grants = leased, .grants_capacity = N};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert_eq(reply.n_grants, N);
    for (uint32_t i = 0; i < N; i++) {
        items[i] = (struct pager_load_item){
            .slot = leased[i].slot, .partial = i % 3 == 0, .rect = {.first_layer = 1, .n_layers = 1, .n_heads = 2}};
    }
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, reply.lease, items, N, 1, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(pager_load_result(rig->pager, disk_of(rig)->load_ticket, grants, statuses, N), QUIRE_OK);
    for (uint32_t i = 0; i < N; i++) {
        struct quire_wire_grant again;
        cr_assert_eq(statuses[i], QUIRE_OK);
        cr_assert_eq(grants[i].slot == leased[i].slot, i % 3 != 0);
        cr_assert_eq(pager_lease_grant(rig->pager, rig->session, reply.lease, grants[i].slot, &again), QUIRE_OK);
        cr_assert(again.offset != QUIRE_WIRE_AWAY && again.offset == grants[i].offset);
    }
    rig_release(rig, reply.lease);
    disk_rig_free(rig);
}

/* Leases n blocks that are only on disk, and asks for all: what the look-up told for the last one. */
static uint64_t ask_for(struct rig *rig, uint32_t first, uint32_t n, uint32_t flags) {
    uint8_t keys[64 * QUIRE_KEY_BYTES], misses[64];
    struct quire_wire_grant leased[64];
    struct pager_load_item items[64];
    uint32_t estimates_us[64];
    for (uint32_t i = 0; i < n; i++) {
        const quire_key key = rig_key(first + i);
        memcpy(keys + i * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
    }
    const struct pager_lease_request request = {.session = rig->session, .ns = rig->ns, .keys = keys, .n_keys = n, .flags = flags};
    struct pager_lease_reply reply = {.misses = misses, .grants = leased, .grants_capacity = n, .estimates_us = estimates_us};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert_eq(reply.n_grants, n);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct pager_load_item){.slot = leased[i].slot};
    }
    rig_pump(rig); /* what is read ahead is under way when the fetch comes */
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, reply.lease, items, n, 1, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    return estimates_us[n - 1] * 1000ull;
}

/*
 * A worker is told what a fetch of sixty-four blocks will take. It takes that long: the estimate's error is none, however much longer a read took than one by itself
 * would have. The next fetch, which was announced and so is being read ahead when it comes, takes twice what was told: half of that, and so a quarter on average. One
 * that fails is measured by nobody.
 */
Test(disk, the_error_is_that_of_what_was_told) {
    enum { N = 64 };
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(64 << 20, &layout, 64, 4096);
    disk_put(rig, 1, 3 * N);
    disk_leave_memory(rig);
    disk_of(rig)->held = true;
    rig->now_ns += ask_for(rig, 1, N, 0);
    disk_let_go(rig);
    cr_assert_lt(disk_stats(rig).estimate_error, 0.01);
    rig->now_ns += RIG_MS;
    rig->now_ns += 2 * ask_for(rig, 1 + N, N, QUIRE_WIRE_LEASE_FETCH);
    disk_let_go(rig);
    double error = disk_stats(rig).estimate_error;
    cr_assert_float_eq(error, 0.25, 0.01, "off by %g", error);
    ask_for(rig, 1 + 2 * N, N, 0);
    rig->now_ns += 100 * RIG_MS;
    disk_of(rig)->read_status = QUIRE_SYSTEM;
    disk_let_go(rig);
    cr_assert_eq(disk_stats(rig).estimate_error, error);
    disk_rig_free(rig);
}

/*
 * The drive does not answer: what was told was wrong, and that shows, though the fetch never ends well. One whose time is up before what was told tells nothing.
 */
Test(disk, what_is_too_late_was_told_wrong) {
    enum { N = 8 };
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(64 << 20, &layout, 64, 4096);
    disk_put(rig, 1, 2 * N);
    disk_leave_memory(rig);
    disk_of(rig)->held = true;
    cr_assert_lt(ask_for(rig, 1, N, 0), 100 * RIG_MS);
    rig_pass(rig, 2000);
    double error = disk_stats(rig).estimate_error;
    cr_assert_float_eq(error, 1, 0.1, "off by %g", error);
    cr_assert_gt(ask_for(rig, 1 + N, N, 0), 1000 * RIG_MS, "who asks next is told");
    rig_pass(rig, 1100);
    cr_assert_eq(disk_stats(rig).estimate_error, error);
    disk_let_go(rig);
    disk_rig_free(rig);
}

/* A block of two layer groups, of which the second was read from disk lately: grants ascend by group, though one is away and one is not. */
Test(disk, grants_are_in_order) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = disk_rig(POOL, &layout, 16, 1024);
    struct quire_wire_grant grant;
    uint64_t freed;
    for (uint8_t group = 0; group < 2; group++) {
        struct quire_wire_put item = rig_item(rig, 1, 0);
        quire_rect whole = quire_layout_whole(&layout, group);
        item.group = group;
        item.n_layers = whole.n_layers;
        item.n_heads = whole.n_heads;
        item.length = (uint32_t)quire_layout_rect_bytes(&layout, group, &whole, item.n_tokens);
        cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    }
    disk_settle(rig);
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, 0, UINT16_MAX, UINT64_MAX, &freed), QUIRE_OK);
    cr_assert_eq(rig_each(rig, 1), 1);
    cr_assert(rig->reply.n_grants == 2 && rig->grants[1].group == 1);
    cr_assert_eq(disk_load(rig, 1, &grant), QUIRE_OK);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_each(rig, 1), 1);
    cr_assert_eq(rig->reply.n_grants, 2);
    cr_assert(rig->grants[0].group == 0 && rig->grants[0].offset == QUIRE_WIRE_AWAY);
    cr_assert(rig->grants[1].group == 1 && rig->grants[1].offset != QUIRE_WIRE_AWAY);
    rig_release(rig, rig->reply.lease);
    disk_rig_free(rig);
}

/* Readers of one trust domain hold all of its pool, and one more of its records is wanted: another domain's reads go on. */
Test(disk, a_full_pool_holds_up_nobody_else) {
    quire_layout layout = rig_layout();
    char why[200];
    struct rig *rig = rig_new(66 << 10, &layout);
    _Atomic uint32_t *generations = calloc(RIG_SLOTS, sizeof(*generations));
    struct quire_wire_grant grant;
    uint32_t other_domain, away = 0;
    uint64_t other, mine = rig->session;
    uint16_t other_ns, my_ns = rig->ns;
    cr_assert_eq(pager_domain_add(rig->pager, "other", 66 << 10, generations, RIG_SLOTS, &other_domain), QUIRE_OK);
    disk_attach(rig, 16, 512);
    disk_clean_from(rig, 0);
    pager_restore_end(rig->pager, rig->now_ns);
    cr_assert_eq(pager_ns_open(rig->pager, other_domain, "m2", &layout, "s", 1, &other_ns, why, sizeof(why)), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, other_domain, &other), QUIRE_OK);
    rig_pump(rig);
    for (uint32_t k = 1; k <= 24; k++) {
        rig->session = k <= 12 ? mine : other;
        rig->ns = k <= 12 ? my_ns : other_ns;
        cr_assert_eq(rig_put(rig, k, 0), QUIRE_OK);
        disk_settle(rig);
    }
    rig->session = mine;
    rig->ns = my_ns;
    enum quire_status status = QUIRE_OK;
    for (uint32_t k = 12; k >= 1 && status != QUIRE_PENDING; k--) {
        if (rig_each(rig, k) == 0) { /* its quota is used up: somebody else goes on */
            cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
            cr_assert_eq(rig_each(rig, k), 1);
        }
        status = rig->grants[0].offset == QUIRE_WIRE_AWAY ? disk_load(rig, 0, &grant) : status;
    }
    cr_assert_eq(status, QUIRE_PENDING, "the pool was not full");
    rig->session = other;
    rig->ns = other_ns;
    for (uint32_t k = 13; k <= 16; k++) {
        cr_assert_eq(rig_each(rig, k), 1);
        if (rig->grants[0].offset == QUIRE_WIRE_AWAY) {
            away++;
            cr_assert_eq(disk_load(rig, 0, &grant), QUIRE_OK);
        }
        rig_release(rig, rig->reply.lease);
    }
    cr_assert_gt(away, 0);
    disk_rig_free(rig);
    free(generations);
}

/* What is in memory is loaded at once; before that is told, the lease ends, or the reader is kicked: nothing of the lease is looked at any more. */
static void a_done_load_outlives(void (*end)(struct rig *rig, uint64_t lease)) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 16, 1024);
    struct rig_disk *disk = disk_of(rig);
    struct quire_wire_grant grant;
    uint8_t status;
    uint64_t reader = rig->session;
    store(rig, 1, 1);
    cr_assert_eq(rig_prefix(rig, 1), 1);
    struct pager_load_item item = {.slot = rig->grants[0].slot};
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &item, 1, 77, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    end(rig, rig->reply.lease);
    rig_pump(rig);
    cr_assert_eq(disk->load_cookie, 77);
    cr_expect_eq(disk->load_status, QUIRE_NOT_FOUND);
    cr_expect_eq(pager_load_result(rig->pager, disk->load_ticket, &grant, &status, 1), QUIRE_NOT_FOUND);
    pager_session_gone(rig->pager, reader);
    disk_rig_free(rig);
}

/*
 * More is asked for than the disk is given at once: the rest waits its turn. Then nobody waits any more, for one of four reasons. What was begun comes
 * into memory; the rest is not read for nobody. Asked for once more, it is.
 */
#define WANTED 300u
static void give_up_a_load(void (*give_up)(struct rig *rig, uint64_t lease), enum quire_status expected) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(8 * POOL, &layout, 64, 1024);
    struct rig_disk *disk = disk_of(rig);
    struct pager_load_item items[WANTED];
    struct quire_wire_grant grants[WANTED];
    uint8_t statuses[WANTED], misses[WANTED];
    quire_key keys[WANTED];
    uint64_t freed;
    for (uint32_t i = 0; i < WANTED; i++) {
        cr_assert_eq(rig_put(rig, 1 + i, 0), QUIRE_OK);
        keys[i] = rig_key(1 + i);
    }
    disk_settle(rig);
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, 0, UINT16_MAX, UINT64_MAX, &freed), QUIRE_OK);
    const struct pager_lease_request request = {.session = rig->session, .ns = rig->ns, .keys = (const uint8_t *)keys, .n_keys = WANTED};
    struct pager_lease_reply reply = {.misses = misses, .grants = grants, .grants_capacity = WANTED};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert_eq(reply.n_grants, WANTED);
    for (uint32_t i = 0; i < WANTED; i++) {
        cr_assert_eq(grants[i].offset, QUIRE_WIRE_AWAY);
        items[i] = (struct pager_load_item){.slot = grants[i].slot};
    }
    disk->held = true;
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, reply.lease, items, WANTED, 77, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    rig_pump(rig);
    uint32_t begun = disk->n_waiting;
    cr_assert(begun > 0 && begun < WANTED);
    uint64_t reader = rig->session;
    give_up(rig, reply.lease);
    rig_pump(rig);
    pager_check(rig->pager);
    cr_assert_neq(disk->load_ticket, 0, "its end is told");
    enum quire_status result = pager_load_result(rig->pager, disk->load_ticket, grants, statuses, WANTED);
    cr_expect_eq(result, expected == QUIRE_NOT_FOUND ? QUIRE_NOT_FOUND : QUIRE_OK);
    cr_expect(expected == QUIRE_NOT_FOUND || statuses[WANTED - 1] == expected);
    disk->held = false;
    disk_let_go(rig);
    disk_settle(rig);
    cr_expect_eq(disk->reads, begun, "%u records were read for nobody", disk->reads - begun);
    cr_expect_eq(disk_stats(rig).reading_bytes, 0);
    pager_session_close(rig->pager, reader, false);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    for (uint32_t i = 0; i < WANTED; i += WANTED - 1) {
        cr_assert_eq(rig_each(rig, 1 + i), 1);
        cr_expect_eq(rig->grants[0].offset == QUIRE_WIRE_AWAY, i > 0);
        cr_expect_eq(disk_load(rig, 0, grants), QUIRE_OK);
    }
    cr_expect_eq(disk->reads, begun + 1);
    pager_session_gone(rig->pager, reader);
    disk_rig_free(rig);
}

static void by_cancel(struct rig *rig, uint64_t lease) {
    pager_load_cancel(rig->pager, rig->now_ns, rig->session, lease, 76);
    cr_assert_eq(disk_of(rig)->load_ticket, 0, "another load was meant");
    pager_load_cancel(rig->pager, rig->now_ns, rig->session, lease, 77);
    pager_load_cancel(rig->pager, rig->now_ns, rig->session, lease, 77);
}
static void by_release(struct rig *rig, uint64_t lease) { rig_release(rig, lease); }
static void by_deadline(struct rig *rig, uint64_t lease) {
    (void)lease;
    rig_pass(rig, 1100);
}
static void by_kick(struct rig *rig, uint64_t lease) {
    (void)lease;
    pager_session_close(rig->pager, rig->session, true);
}

static void by_end(struct rig *rig, uint64_t lease) { cr_assert_eq(pager_release(rig->pager, rig->session, lease), QUIRE_OK); }

Test(disk, a_lease_ends_before_a_load_is_told) { a_done_load_outlives(by_end); }
Test(disk, a_reader_is_kicked_before_a_load_is_told) { a_done_load_outlives(by_kick); }
Test(disk, a_load_is_cancelled) { give_up_a_load(by_cancel, QUIRE_CANCELLED); }
Test(disk, a_lease_ends_while_it_loads) { give_up_a_load(by_release, QUIRE_NOT_FOUND); }
Test(disk, a_load_comes_too_late) { give_up_a_load(by_deadline, QUIRE_TIMEOUT); }
Test(disk, a_reader_is_kicked_while_it_loads) { give_up_a_load(by_kick, QUIRE_NOT_FOUND); }

/* A device is lost while a deletion is on its way: it is not acknowledged before the metadata has left the device out, because what lies there may come back with it. */
Test(disk, a_device_is_lost_under_a_deletion) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig_starting(66 << 10, &layout, 2, 8, 512);
    struct pager_event event, meta = {0};
    uint8_t status;
    quire_key key = rig_key(1);
    bool lost = false;
    disk_start_ends(rig);
    disk_put_each(rig, 1, 4);
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, QUIRE_WIRE_DELETE, key.b, 1, &status), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 9), QUIRE_PENDING);
    while (pager_next_event(rig->pager, &event)) {
        cr_assert_neq(event.type, PAGER_DURABLE, "acknowledged while the metadata still names the lost device");
        bool loses = event.type == PAGER_DISK_WRITE && event.disk->device == 1 && !lost;
        if (event.type == PAGER_DISK_META) {
            meta = event; /* takes its time */
        } else if (loses) {
            lost = true;
            pager_disk_device_lost(rig->pager, rig->now_ns, 1);
            pager_complete(rig->pager, rig->now_ns, event.ticket, QUIRE_SYSTEM);
        } else {
            disk_event(rig, &event);
        }
    }
    cr_assert(lost && meta.ticket != 0);
    disk_event(rig, &meta);
    rig_pump(rig);
    cr_assert_eq(disk_of(rig)->durable_cookie, 9);
    cr_assert_eq(disk_of(rig)->durable_status, QUIRE_OK);
    disk_rig_free(rig);
}

/* While the log is still being read, a number that a deleted block had becomes another's: what was known of the one is not believed of the other. */
Test(disk, a_number_is_used_again_while_restoring) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(66 << 10, &layout);
    disk_attach(rig, 8, 512);
    for (uint32_t i = 0; i < 2; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_SEALED, 2 - i, 100, 2);
    }
    disk_clean_from(rig, 2);
    uint32_t serial = pager_ns_serial(rig->pager, rig->ns);
    const struct quire_log_entry found = {.key = rig_key(10),
                                          .sequence = 1000,
                                          .ns = serial,
                                          .at_units = 4,
                                          .size_bytes = 8704,
                                          .n_tokens = 4,
                                          .kind = QUIRE_LOG_RECORD,
                                          .flags = QUIRE_LOG_ROOT};
    const struct quire_log_entry buried = {.key = rig_key(20), .sequence = 2000, .ns = serial, .kind = QUIRE_LOG_TOMBSTONE};
    pager_restore_entries(rig->pager, rig->now_ns, 0, &found, 1);
    rig_pump(rig);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 10), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 20, 0), QUIRE_OK); /* takes its number */
    disk_settle(rig);
    disk_leave_memory(rig);
    pager_restore_entries(rig->pager, rig->now_ns, 1, &buried, 1); /* an older life of the new block ended so */
    disk_start_ends(rig);
    cr_assert_eq(rig_each(rig, 20), 1);
    cr_assert_eq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    disk_rig_free(rig);
}

/* The entry of a block whose ancestry has this error, wherever it was written. */
static const struct quire_log_entry *entry_of(struct rig *rig, uint32_t number, float ancestry_error) {
    const struct quire_log_entry *found = NULL;
    quire_key key = rig_key(number);
    for (uint32_t i = 0; i < DISK_SEGMENTS; i++) {
        const struct rig_segment *segment = &disk_of(rig)->segments[i];
        for (uint32_t j = 0; j < segment->n; j++) {
            const struct quire_log_entry *entry = &segment->entries[j];
            found = quire_key_equal(&entry->key, &key) && entry->ancestry_error == ancestry_error ? entry : found;
        }
    }
    return found;
}

/*
 * Two writers of one block, the exact one first, but its copy takes long: meanwhile the other's is stored and written, and many more. What is being
 * built stays in memory with its block's number, however short room is: so what the exact one stores gets a higher one than stands on disk. After
 * a crash the log tells which of the two is newer by these numbers alone.
 */
Test(disk, what_takes_the_place_of_a_disk_copy_has_the_higher_number) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 64, 1024);
    struct quire_wire_put worse = rig_item(rig, 1, 0);
    struct pager_event exact_fill, lossy_fill;
    worse.ancestry_error = 0.5f;
    rig->held = true;
    rig_put(rig, 1, 0);
    rig_put_item(rig, &worse);
    cr_assert(rig_take(rig, &exact_fill) && rig_take(rig, &lossy_fill));
    rig_complete(rig, &lossy_fill, QUIRE_OK);
    rig->held = false;
    disk_settle(rig);
    for (uint32_t i = 0; i < 40; i++) {
        store(rig, 100 + i * 10, 10);
        disk_settle(rig);
    }
    rig_complete(rig, &exact_fill, QUIRE_OK);
    disk_settle(rig);
    const struct quire_log_entry *better = entry_of(rig, 1, 0), *older = entry_of(rig, 1, 0.5f);
    cr_assert(better && older);
    cr_assert_gt(better->sequence, older->sequence);
    disk_rig_free(rig);
}
