/* Records that are only on disk, as a client sees them who speaks frames to a real core on a real file: leased without an address, loaded, read. */
#include "daemon/disk/disk.h"
#include "daemon_frames.h"

#include <stdlib.h>

static struct frames_daemon daemon_;
static struct frames_client client;
static char folder[] = "/tmp/quire-loads-XXXXXX";
static const uint8_t *pool;
static uint32_t ns;

enum { BLOCKS = 20 };

static void prepare(void) {
    frames_config(&daemon_);
    cr_assert_not_null(mkdtemp(folder));
    char name[64];
    snprintf(name, sizeof name, "%s/log", folder);
    frames_add_disk(&daemon_, name, 1, 32 << 20, 1 << 20);
    daemon_.config.disk.pager.batch_bytes = 256 << 10;
    daemon_.config.allow_faults = true;
    daemon_.config.drain_ms = 500; /* a disk that never answers is not waited for */
}

static void hello(struct frames_client *who, uint64_t features) {
    Quire__Wire__Hello message = QUIRE__WIRE__HELLO__INIT;
    frames_open(who, &daemon_);
    message.major = QUIRE_PROTO_MAJOR;
    message.features = features;
    message.client = (char *)"unit test";
    struct frames_answer answer = frames_expect(who, QUIRE_MSG_HELLO_ACK, frames_send(who, QUIRE_MSG_HELLO, &message.base));
    Quire__Wire__HelloAck *ack = quire__wire__hello_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert(ack->features & QUIRE_FEATURE_LOAD);
    quire__wire__hello_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
}

static uint64_t features = QUIRE_FEATURE_LOAD;

static void open_all(void) {
    frames_start(&daemon_);
    hello(&client, features);
    if (client.n_fds > 0) {
        pool = mmap(NULL, daemon_.config.domains[0].pool_bytes, PROT_READ, MAP_SHARED, client.fds[0], 0);
        cr_assert_neq(pool, MAP_FAILED);
    }
    ns = frames_ns_open(&client, "n", QUIRE_OK);
}
static void start(void) {
    prepare();
    open_all();
}
static void start_as_guest(void) {
    prepare();
    daemon_.config.domains[0].members[0] = geteuid() + 1;
    daemon_.config.domains[0].guests[0] = geteuid();
    daemon_.config.domains[0].n_guests = 1;
    open_all();
}

static void start_as_guest_of_parts(void) {
    features |= QUIRE_FEATURE_RANGES;
    start_as_guest();
}

static bool at_rest(struct core *core, uint64_t arg) {
    (void)arg;
    return loads_count(&core->loads) == 0 && core->loads.n_items == 0 && core->durable.n == 0;
}

static void stop_at_once(void) {
    char command[128];
    frames_close(&client);
    frames_stop(&daemon_);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_expect_eq(system(command), 0);
}

static void stop(void) {
    frames_close(&client);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, at_rest, 0), "a request is remembered");
    cr_assert(frames_until(&daemon_, frames_idle, 0));
    frames_open(&client, &daemon_);
    stop_at_once();
}

static void reload(struct core *core, void *arg) {
    const char *why;
    cr_assert_eq(core_apply_config(core, arg, &why), QUIRE_OK);
}
/* NULL: the disk is as it should be. */
static void disk_rule(const char *rule) {
    static struct config wanted;
    wanted = daemon_.config;
    wanted.n_faults = rule != NULL;
    snprintf(wanted.faults[0], sizeof wanted.faults[0], "%s", rule != NULL ? rule : "");
    cr_assert_eq(core_call(daemon_.core, reload, &wanted, FRAMES_WAIT_MS), QUIRE_OK);
}

static bool all_written(struct core *core, uint64_t records) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.log.live_records == records && stats.writing_bytes == 0 && stats.dirty_records == 0;
}
static bool all_out(struct core *core, uint64_t arg) {
    struct pager_domain_stats stats;
    uint64_t freed;
    (void)arg;
    pager_evict(core->pager, core->now_ns, 0, UINT16_MAX, UINT64_MAX, &freed);
    pager_domain_stats(core->pager, 0, &stats);
    return stats.records == 0;
}
/* Blocks 1..n are on disk, and nowhere else. */
static void store_away(uint32_t n) {
    frames_store(&client, ns, n);
    cr_assert(frames_until(&daemon_, all_written, n), "not on disk");
    cr_assert(frames_until(&daemon_, all_out, 0), "still in memory");
}

static struct quire_wire_grant grant_of(const Quire__Wire__Grants *grants, uint32_t i) {
    struct quire_wire_grant grant;
    cr_assert_lt(i, grants->grants.len / sizeof grant);
    memcpy(&grant, grants->grants.data + i * sizeof grant, sizeof grant);
    return grant;
}

static uint64_t load_send(uint64_t lease, const struct quire_wire_load *items, size_t n, uint32_t deadline_ms) {
    Quire__Wire__Load load = QUIRE__WIRE__LOAD__INIT;
    load.lease = lease;
    load.deadline_ms = deadline_ms;
    load.items = (ProtobufCBinaryData){.len = n * sizeof *items, .data = (uint8_t *)items};
    return frames_send(&client, QUIRE_MSG_LOAD, &load.base);
}
static Quire__Wire__Grants *grants_expect(uint64_t id) {
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_GRANTS, id);
    Quire__Wire__Grants *grants = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(grants);
    frames_answer_free(&answer);
    return grants;
}
static void grants_free(Quire__Wire__Grants *grants) { quire__wire__grants__free_unpacked(grants, NULL); }
static enum quire_status load_status(uint64_t id) {
    Quire__Wire__Grants *grants = grants_expect(id);
    enum quire_status status = (enum quire_status)grants->status;
    grants_free(grants);
    return status;
}
/* Every item's status. */
static enum quire_status load_statuses(uint64_t id, uint32_t n) {
    Quire__Wire__Grants *grants = grants_expect(id);
    cr_assert_eq(grants->status, QUIRE_OK, "%s", grants->text);
    cr_assert_eq(grants->statuses.len, n);
    enum quire_status status = (enum quire_status)grants->statuses.data[0];
    for (uint32_t i = 1; i < n; i++) {
        cr_assert_eq(grants->statuses.data[i], status);
    }
    grants_free(grants);
    return status;
}

static void slots_of(const Quire__Wire__Grants *grants, struct quire_wire_load *items, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct quire_wire_load){.slot = grant_of(grants, i).slot};
    }
}

static void expect_record(const uint8_t *bytes, uint32_t size, uint32_t number) {
    struct quire_record record;
    quire_layout layout;
    quire_key key = frames_key(number);
    frames_layout(&layout);
    cr_assert_eq(quire_record_open(bytes, size, &layout, &key, &record), QUIRE_OK, "block %u", number);
    cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
    const uint8_t *payload = bytes + record.shape.payload_offset;
    cr_assert_eq(payload[5], (uint8_t)(5 * 7 + number * 31));
}

/* Twenty blocks are only on disk. They hit; each has an estimate, and none of an address. One LOAD brings all into memory, byte for byte;
   then they are there for whoever asks, and nothing is said of estimates any more. */
Test(daemon_loads, from_disk_to_memory, .init = start) {
    store_away(BLOCKS);
    Quire__Wire__Grants *away = frames_lease(&client, ns, BLOCKS);
    cr_assert_eq(away->hits, BLOCKS);
    cr_assert_eq(away->seen.len, BLOCKS * sizeof(uint32_t));
    struct quire_wire_load items[BLOCKS];
    for (uint32_t i = 0, before = 0; i < BLOCKS; i++) {
        uint32_t us;
        memcpy(&us, away->seen.data + i * sizeof us, sizeof us);
        cr_assert(us > 0 && us >= before, "block %u: %u after %u", i, us, before);
        before = us;
        cr_assert_eq(grant_of(away, i).offset, QUIRE_WIRE_AWAY);
    }
    slots_of(away, items, BLOCKS);
    Quire__Wire__Grants *here = grants_expect(load_send(away->lease, items, BLOCKS, FRAMES_WAIT_MS));
    cr_assert_eq(here->status, QUIRE_OK, "%s", here->text);
    cr_assert_eq(here->hits, BLOCKS);
    cr_assert_eq(here->lease, 0, "a client that gave up would release it");
    cr_assert_eq(here->statuses.len, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct quire_wire_grant grant = grant_of(here, i);
        cr_assert_eq(here->statuses.data[i], QUIRE_OK);
        cr_assert_eq(grant.key_index, i);
        cr_assert(quire_in_range(grant.offset, grant.size, daemon_.config.domains[0].pool_bytes));
        expect_record(pool + grant.offset, grant.size, i + 1);
    }
    grants_free(here);
    Quire__Wire__Grants *again = frames_lease(&client, ns, BLOCKS);
    cr_assert_eq(again->seen.len, 0);
    cr_assert_neq(grant_of(again, 3).offset, QUIRE_WIRE_AWAY);
    frames_release(&client, again->lease);
    frames_release(&client, away->lease);
    grants_free(again);
    grants_free(away);
    stop();
}

/* A client from before there was LOAD: what is on disk is a miss to it; what is in memory is a hit. */
Test(daemon_loads, an_older_client, .init = start) {
    struct frames_client older;
    store_away(BLOCKS);
    hello(&older, 0);
    uint32_t its_ns = frames_ns_open(&older, "n", QUIRE_OK);
    Quire__Wire__Grants *grants = frames_lease(&older, its_ns, BLOCKS);
    cr_assert(grants->status == QUIRE_OK && grants->hits == 0 && grants->lease == 0 && grants->grants.len == 0 && grants->seen.len == 0);
    cr_assert_eq(grants->misses.len, BLOCKS);
    cr_assert_eq(grants->misses.data[0], QUIRE_MISS_EVICTED);
    grants_free(grants);
    grants = frames_lease(&client, ns, BLOCKS);
    struct quire_wire_load items[BLOCKS];
    slots_of(grants, items, BLOCKS);
    cr_assert_eq(load_statuses(load_send(grants->lease, items, BLOCKS, FRAMES_WAIT_MS), BLOCKS), QUIRE_OK);
    Quire__Wire__Grants *now = frames_lease(&older, its_ns, BLOCKS);
    cr_assert_eq(now->hits, BLOCKS);
    frames_release(&client, grants->lease);
    grants_free(now);
    grants_free(grants);
    frames_close(&older);
    stop();
}

/* A guest LOADs, then READs; before that a READ tells it to. One who does not say that it reads parts as parts gets all of a record, in the same slot. */
Test(daemon_loads, a_guest, .init = start_as_guest) {
    store_away(2);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 2);
    struct quire_wire_grant grant = grant_of(grants, 1);
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = grants->lease;
    read.slot = grant.slot;
    read.size = grant.size;
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, frames_send(&client, QUIRE_MSG_READ, &read.base));
    Quire__Wire__Bulk *bulk = quire__wire__bulk__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(bulk->status, QUIRE_MISS);
    cr_assert_eq(answer.frame.bulk_bytes, 0);
    quire__wire__bulk__free_unpacked(bulk, NULL);
    frames_answer_free(&answer);
    struct quire_wire_load item = {.slot = grant.slot, .flags = QUIRE_WIRE_LOAD_PARTIAL, .rect = {0, 1, 0, 1}};
    Quire__Wire__Grants *here = grants_expect(load_send(grants->lease, &item, 1, FRAMES_WAIT_MS));
    cr_assert_eq(here->statuses.data[0], QUIRE_OK);
    cr_assert_eq(grant_of(here, 0).slot, grant.slot);
    grants_free(here);
    answer = frames_expect(&client, QUIRE_MSG_BULK, frames_send(&client, QUIRE_MSG_READ, &read.base));
    cr_assert_eq(answer.frame.bulk_bytes, grant.size);
    expect_record(answer.bulk, grant.size, 2);
    frames_answer_free(&answer);
    frames_release(&client, grants->lease);
    grants_free(grants);
    stop();
}

static enum quire_status read_range(uint64_t lease, uint32_t slot, struct quire_wire_range range, uint8_t *bytes) {
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = lease;
    read.slot = slot;
    read.ranges = (ProtobufCBinaryData){.len = sizeof range, .data = (uint8_t *)&range};
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, frames_send(&client, QUIRE_MSG_READ, &read.base));
    Quire__Wire__Bulk *bulk = quire__wire__bulk__unpack(NULL, answer.frame.body_bytes, answer.body);
    enum quire_status status = (enum quire_status)bulk->status;
    cr_assert_eq(answer.frame.bulk_bytes, status == QUIRE_OK ? range.size : 0);
    memcpy(bytes, answer.bulk, answer.frame.bulk_bytes);
    quire__wire__bulk__free_unpacked(bulk, NULL);
    frames_answer_free(&answer);
    return status;
}

static bool read_in_part(struct core *core, uint64_t most_bytes) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.counters->disk_reads == 1 && stats.counters->disk_partial_reads == 1 && stats.counters->disk_read_bytes <= most_bytes;
}

/*
 * One head of one layer is all that a guest wants of a block on disk: no more than that is read, and it gets that. Around it in the pool lies what others
 * had there before, which it does not get, wherever it asks.
 */
Test(daemon_loads, a_part_for_a_guest, .init = start_as_guest_of_parts) {
    struct quire_record_shape shape;
    uint8_t got[8192];
    frames_shape(&shape);
    store_away(2);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 2);
    struct quire_wire_load item = {.slot = grant_of(grants, 1).slot, .flags = QUIRE_WIRE_LOAD_PARTIAL, .rect = {1, 1, 0, 1}};
    Quire__Wire__Grants *here = grants_expect(load_send(grants->lease, &item, 1, FRAMES_WAIT_MS));
    const struct quire_wire_grant part = grant_of(here, 0);
    cr_assert_eq(here->statuses.data[0], QUIRE_OK);
    cr_assert_neq(part.slot, item.slot);
    const uint32_t k = quire_record_lane_offset(&shape, quire_record_lane(&shape, 1, 0, 0));
    const uint32_t end = quire_record_lane_offset(&shape, quire_record_lane(&shape, 1, 1, 0)) + shape.v_lane_bytes;
    cr_assert(frames_until(&daemon_, read_in_part, end - k));
    cr_assert_eq(read_range(grants->lease, part.slot, (struct quire_wire_range){0, shape.payload_offset}, got), QUIRE_OK);
    cr_assert_eq(read_range(grants->lease, part.slot, (struct quire_wire_range){k, shape.k_lane_bytes}, got), QUIRE_OK);
    for (uint32_t i = 0; i < shape.k_lane_bytes; i++) {
        cr_assert_eq(got[i], (uint8_t)((k - shape.payload_offset + i) * 7 + 2 * 31));
    }
    const struct quire_wire_range refused[] = {
        {0, part.size},    {0, shape.payload_offset + 1}, {k - 1, 2}, {shape.payload_offset, 8}, {end - 1, 2}, {end, 1}, {0, end},
        {k, part.size - k}};
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(refused); i++) {
        cr_assert_eq(read_range(grants->lease, part.slot, refused[i], got), QUIRE_INVALID, "%u", i);
    }
    frames_release(&client, grants->lease);
    grants_free(here);
    grants_free(grants);
    stop();
}

/* What no decent client asks for is refused as a whole, and nothing is read for it. */
Test(daemon_loads, hostile, .init = start) {
    static struct quire_wire_load items[QUIRE_MAX_BATCH + 1];
    store_away(2);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 2);
    struct quire_wire_load item = {.slot = grant_of(grants, 0).slot}, none = {.slot = 77777}, odd = item;
    odd.flags = 0x80;
    cr_assert_eq(load_status(load_send(grants->lease, &item, 0, 1000)), QUIRE_INVALID);
    cr_assert_eq(load_status(load_send(grants->lease, items, QUIRE_MAX_BATCH + 1, 1000)), QUIRE_INVALID);
    cr_assert_eq(load_status(load_send(grants->lease, &none, 1, 1000)), QUIRE_INVALID);
    cr_assert_eq(load_status(load_send(grants->lease, &odd, 1, 1000)), QUIRE_INVALID);
    cr_assert_eq(load_status(load_send(grants->lease + 1, &item, 1, 1000)), QUIRE_NOT_FOUND);
    Quire__Wire__Load load = QUIRE__WIRE__LOAD__INIT;
    load.lease = grants->lease;
    load.items = (ProtobufCBinaryData){.len = sizeof item - 1, .data = (uint8_t *)&item};
    cr_assert_eq(load_status(frames_send(&client, QUIRE_MSG_LOAD, &load.base)), QUIRE_INVALID);
    /* Rectangles beyond the group, and a record named twice, are only odd. */
    struct quire_wire_load twice[2] = {item, item};
    twice[0].flags = QUIRE_WIRE_LOAD_PARTIAL;
    twice[0].rect = (quire_rect){UINT16_MAX, UINT16_MAX, 9, 0};
    cr_assert_eq(load_statuses(load_send(grants->lease, twice, 2, FRAMES_WAIT_MS), 2), QUIRE_OK);
    frames_release(&client, grants->lease);
    cr_assert_eq(load_status(load_send(grants->lease, &item, 1, 1000)), QUIRE_NOT_FOUND);
    grants_free(grants);
    stop();
}

static bool loads_wait(struct core *core, uint64_t n) { return loads_count(&core->loads) == n; }

/* A slow disk: a LOAD ends with its deadline, one that was cancelled is never answered, and one whose lease is released is told so. */
Test(daemon_loads, a_slow_disk, .init = start) {
    struct quire_wire_load items[4];
    store_away(4);
    disk_rule("read:delay=10min");
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 4);
    slots_of(grants, items, 4);
    cr_assert_eq(load_statuses(load_send(grants->lease, items, 1, 20), 1), QUIRE_TIMEOUT);
    Quire__Wire__Cancel cancel = QUIRE__WIRE__CANCEL__INIT;
    cancel.request = load_send(grants->lease, items + 1, 1, 60000);
    cr_assert(frames_until(&daemon_, loads_wait, 1));
    frames_send(&client, QUIRE_MSG_CANCEL, &cancel.base);
    cr_assert(frames_until(&daemon_, loads_wait, 0), "what was cancelled waits on");
    uint64_t id = load_send(grants->lease, items + 2, 2, 60000);
    cr_assert(frames_until(&daemon_, loads_wait, 1));
    frames_release(&client, grants->lease);
    cr_assert_eq(load_status(id), QUIRE_NOT_FOUND);
    disk_rule(NULL);
    grants_free(grants);
    stop();
}

/* A session that waits for the disk goes away, another one hangs up in order: nothing is left of either. */
Test(daemon_loads, a_session_ends_meanwhile, .init = start) {
    struct quire_wire_load items[4];
    store_away(4);
    disk_rule("read:delay=10min");
    for (int round = 0; round < 2; round++) {
        Quire__Wire__Grants *grants = frames_lease(&client, ns, 4);
        slots_of(grants, items, 4);
        load_send(grants->lease, items, 4, 200);
        cr_assert(frames_until(&daemon_, loads_wait, 1));
        if (round == 1) {
            frames_send(&client, QUIRE_MSG_GOODBYE, NULL);
            cr_assert_eq(load_statuses(client.next_id - 1, 4), QUIRE_TIMEOUT, "what was under way is answered");
            frames_expect_end(&client);
        }
        grants_free(grants);
        frames_close(&client);
        cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
        cr_assert(frames_until(&daemon_, at_rest, 0));
        hello(&client, QUIRE_FEATURE_LOAD);
        ns = frames_ns_open(&client, "n", QUIRE_OK);
    }
    disk_rule(NULL);
    stop();
}

/* One session may have so many items under way; more are told to come again, and the limit is over when they have ended. */
Test(daemon_loads, no_more_than_its_share, .init = start) {
    static struct quire_wire_load items[QUIRE_MAX_BATCH];
    store_away(1);
    disk_rule("read:delay=10min");
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 1);
    for (uint32_t i = 0; i < QUIRE_MAX_BATCH; i++) {
        slots_of(grants, &items[i], 1);
    }
    uint64_t first = load_send(grants->lease, items, QUIRE_MAX_BATCH, 60000);
    uint64_t second = load_send(grants->lease, items, QUIRE_MAX_BATCH, 60000);
    Quire__Wire__Grants *refused = grants_expect(load_send(grants->lease, items, 1, 60000));
    cr_assert_eq(refused->status, QUIRE_RETRY);
    cr_assert_gt(refused->retry_after_ms, 0);
    grants_free(refused);
    frames_release(&client, grants->lease);
    cr_assert_eq(load_status(first), QUIRE_NOT_FOUND);
    cr_assert_eq(load_status(second), QUIRE_NOT_FOUND);
    disk_rule(NULL);
    grants_free(grants);
    grants = frames_lease(&client, ns, 1);
    slots_of(grants, items, 1);
    cr_assert_eq(load_status(load_send(grants->lease, items, 1, 20)), QUIRE_OK, "it may ask again");
    frames_release(&client, grants->lease);
    grants_free(grants);
    stop();
}

/* ---- deletions that last -------------------------------------------------------------------------------------------------- */

static uint64_t keys_send(enum quire_wire_keys_verb verb, uint32_t number) {
    Quire__Wire__Keys keys = QUIRE__WIRE__KEYS__INIT;
    quire_key key = frames_key(number);
    keys.ns = ns;
    keys.verb = verb;
    keys.keys = (ProtobufCBinaryData){.len = sizeof key, .data = key.b};
    return frames_send(&client, QUIRE_MSG_KEYS, &keys.base);
}
static enum quire_status keys_status(uint64_t id) {
    uint8_t status = 0;
    enum quire_status whole = frames_acks(&client, id, &status, 1);
    return whole != QUIRE_OK ? whole : (enum quire_status)status;
}
static bool durable_waits(struct core *core, uint64_t n) { return core->durable.n == n; }

static bool found_all(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring;
}
static void restart(void) {
    frames_close(&client);
    frames_stop(&daemon_);
    cr_assert_eq(mkdir(daemon_.folder, 0700), 0);
    frames_start(&daemon_);
    cr_assert(frames_until(&daemon_, found_all, 0));
    hello(&client, QUIRE_FEATURE_LOAD);
    ns = frames_ns_open(&client, "n", QUIRE_OK);
}

/* A deletion waits for the disk before it is acknowledged; a TOUCH does not. Who asked may be gone by then. */
Test(daemon_loads, a_deletion_is_acknowledged_when_it_lasts, .init = start) {
    store_away(3);
    disk_rule("write:delay=10min");
    keys_send(QUIRE_WIRE_DELETE, 3);
    cr_assert(frames_until(&daemon_, durable_waits, 1));
    cr_assert_eq(keys_status(keys_send(QUIRE_WIRE_TOUCH, 1)), QUIRE_OK, "whoever changes nothing does not wait");
    cr_assert_eq(keys_status(keys_send(QUIRE_WIRE_TOUCH, 3)), QUIRE_MISS, "gone for readers at once");
    cr_assert(frames_until(&daemon_, durable_waits, 1), "it was not acknowledged before it was durable");
    frames_close(&client);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, durable_waits, 1), "the pager will still tell its end");
    frames_open(&client, &daemon_);
    stop_at_once(); /* and the daemon ends though the disk never answers */
}

/* Pins and deletions with OK are there after a restart. */
Test(daemon_loads, what_was_acknowledged_is_there_after_a_restart, .init = start) {
    store_away(4);
    cr_assert_eq(keys_status(keys_send(QUIRE_WIRE_PIN, 1)), QUIRE_OK);
    cr_assert_eq(keys_status(keys_send(QUIRE_WIRE_DELETE, 4)), QUIRE_OK);
    restart();
    cr_assert_eq(keys_status(keys_send(QUIRE_WIRE_DELETE, 1)), QUIRE_IN_USE, "the pin is there");
    cr_assert_eq(keys_status(keys_send(QUIRE_WIRE_UNPIN, 1)), QUIRE_OK);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 4);
    cr_assert_eq(grants->hits, 3, "the fourth was deleted");
    frames_release(&client, grants->lease);
    grants_free(grants);
    stop();
}

/* The disk fails: the deletion holds, and whoever asked is told that it may not last, and what to do. */
Test(daemon_loads, a_disk_that_does_not_take_it, .init = start) {
    store_away(2);
    disk_rule("write:error=EIO");
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_ACKS, keys_send(QUIRE_WIRE_DELETE, 2));
    Quire__Wire__Acks *acks = quire__wire__acks__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert(acks->status == QUIRE_OK && acks->statuses.len == 1);
    cr_assert_eq(acks->statuses.data[0], QUIRE_SYSTEM);
    cr_assert_not_null(strstr(acks->text, "delete again"), "%s", acks->text);
    quire__wire__acks__free_unpacked(acks, NULL);
    frames_answer_free(&answer);
    stop();
}

/* A namespace's deletion is told when it lasts, too. */
Test(daemon_loads, a_namespace, .init = start) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    store_away(2);
    request.verb = QUIRE_ADMIN_NS_DELETE;
    request.ns = (char *)"n";
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_ADMIN_REPLY, frames_send(&client, QUIRE_MSG_ADMIN, &request.base));
    Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(reply->status, QUIRE_OK, "%s", reply->text);
    cr_assert_not_null(strstr(reply->text, "2 blocks"), "%s", reply->text);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    frames_answer_free(&answer);
    restart();
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 2);
    cr_assert_eq(grants->hits, 0, "it is another namespace of that name");
    grants_free(grants);
    stop();
}
