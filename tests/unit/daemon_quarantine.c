/*
 * Sessions that may read the pool from afar and are lost with leases: what they may still be reading stays untouched for QUARANTINE_AFAR_NS, comes
 * back then, and is no way to hold more of the pool than a session may.
 */
#include "daemon_wire.h"

#define BLOCKS 100u

static struct remote_client client;
static uint32_t far_ns;

/* ---- the daemon ----------------------------------------------------------------------------------------------------------------- */
/* As if its wires were UCX's: what a client is told of the pool is not looked at here. */
static void expose(struct core *core, void *arg) {
    static const struct rail_memory memory = {"key", "key", 3, 3};
    (void)arg;
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        rail->memory = &memory;
    }
}

static void begin(uint32_t max_sessions) {
    wire_config();
    daemon_.config.max_sessions = max_sessions;
    daemon_.config.pager.lease_quota_pct = 1;
    frames_begin(&daemon_, &witness);
    cr_assert_eq(core_call(daemon_.core, expose, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    frames_store(&witness, frames_ns_open(&witness, "n", QUIRE_OK), BLOCKS);
}

/* What the clock would bring about if it were so much later. */
static void pass(struct core *core, void *arg) {
    uint64_t now_ns = core->now_ns;
    core->now_ns += *(const uint64_t *)arg;
    quarantine_check(core);
    core->now_ns = now_ns;
}
static void later(uint64_t ns) { cr_assert_eq(core_call(daemon_.core, pass, &ns, FRAMES_WAIT_MS), QUIRE_OK); }

static void count_quarantined(struct core *core, void *arg) {
    struct pager_domain_stats stats;
    pager_domain_stats(core->pager, 0, &stats);
    pager_check(core->pager);
    *(uint64_t *)arg = stats.quarantined_bytes;
}
static uint64_t quarantined_bytes(void) {
    uint64_t bytes;
    cr_assert_eq(core_call(daemon_.core, count_quarantined, &bytes, FRAMES_WAIT_MS), QUIRE_OK);
    return bytes;
}
static bool has_lost(struct core *core, uint64_t n) { return core->quarantine.n_afar == n && core->n_sessions == 1; }

/* ---- clients -------------------------------------------------------------------------------------------------------------------- */
/* True when it was told where the pool is. */
static bool far_begin(const char *name) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    token = name;
    remote_open(&client);
    remote_challenged(&client);
    remote_say_hello(&client, client.nonce);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_HELLO_ACK);
    Quire__Wire__HelloAck *hello = quire__wire__hello_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    bool told = hello->afar != NULL;
    quire__wire__hello_ack__free_unpacked(hello, NULL);
    frames_answer_free(&answer);
    open.name = (char *)"n";
    remote_send(&client, QUIRE_MSG_NS_OPEN, &open.base, 0);
    answer = remote_expect(&client, QUIRE_MSG_NS_ACK);
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    far_ns = ack->ns;
    quire__wire__ns_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    return told;
}

/* Leases blocks 1 to n, as far as it may: how many bytes. */
static uint64_t far_lease(uint32_t n) {
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    struct quire_wire_grant grant;
    quire_key keys[BLOCKS];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = frames_key(i + 1);
    }
    lease.ns = far_ns;
    lease.flags = QUIRE_WIRE_LEASE_PREFIX;
    lease.keys = (ProtobufCBinaryData){.len = n * sizeof keys[0], .data = keys[0].b};
    remote_send(&client, QUIRE_MSG_LEASE, &lease.base, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_GRANTS);
    Quire__Wire__Grants *got = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
    for (size_t at = 0; at < got->grants.len; at += sizeof grant) {
        memcpy(&grant, got->grants.data + at, sizeof grant);
        bytes += grant.size;
    }
    quire__wire__grants__free_unpacked(got, NULL);
    frames_answer_free(&answer);
    return bytes;
}

/* A client that leases what it may and is gone without a word: how much it had. */
static uint64_t come_and_go(const char *name, uint32_t n_blocks, uint32_t lost_then) {
    far_begin(name);
    uint64_t bytes = far_lease(n_blocks);
    remote_close(&client);
    cr_assert(frames_until(&daemon_, has_lost, lost_then), "it is not kept, or not lost");
    return bytes;
}

/* ---- stories -------------------------------------------------------------------------------------------------------------------- */
/* Its bytes wait their time and not longer. Meanwhile sessions with the same token may lease so much less; others as ever. */
Test(daemon_quarantine, what_was_leased_comes_back, .timeout = 60) {
    begin(8);
    uint64_t most = come_and_go("worker", BLOCKS, 1);
    cr_assert_gt(most, 0);
    cr_assert_eq(quarantined_bytes(), most);
    cr_assert_eq(come_and_go("worker", BLOCKS, 1), 0, "it leased as much again");
    cr_assert_eq(quarantined_bytes(), most);
    cr_assert_eq(come_and_go("other", BLOCKS, 2), most, "another token has no part in it");
    later(QUARANTINE_AFAR_NS / 2);
    cr_assert_eq(quarantined_bytes(), 2 * most, "before its time");
    later(QUARANTINE_AFAR_NS);
    cr_assert_eq(quarantined_bytes(), 0);
    cr_assert(frames_until(&daemon_, has_lost, 0));
    cr_assert_eq(come_and_go("worker", BLOCKS, 1), most, "all of it may be leased again");
    later(QUARANTINE_AFAR_NS);
    stop();
}

/* Who comes and goes with little things is, after as many as there may be sessions, not told where the pool is: nothing of those waits. */
Test(daemon_quarantine, not_more_sessions_than_there_may_be, .timeout = 60) {
    begin(3);
    for (uint32_t i = 0; i < 3; i++) {
        come_and_go("worker", 1, i + 1);
    }
    cr_assert_not(far_begin("worker"), "it may read from afar, too");
    cr_assert_gt(far_lease(1), 0, "it is served all the same");
    remote_close(&client);
    cr_assert(frames_until(&daemon_, has_lost, 3));
    cr_assert(far_begin("other"));
    remote_close(&client);
    cr_assert_eq(core_counters(daemon_.core)->rma_withheld, 1);
    later(QUARANTINE_AFAR_NS);
    cr_assert(far_begin("worker"));
    remote_close(&client);
    stop();
}
