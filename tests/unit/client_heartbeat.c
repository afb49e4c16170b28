/* Over a wire: a daemon that does not answer any more is noticed, one that is slow is not taken for it, and nobody is asked for nothing. */
#include "client_wire.h"

#include "client/admin.h"

#include <criterion/criterion.h>

#define PING_MS 100
#define SILENCE_MS 400
#define LONG_MS 60000 /* no call here ends by its deadline unless that is what is tested */

static void start(uint64_t features) {
    twin.wire = twin.guest = true;
    twin.features = features;
    twin_start(&twin);
    wire_open(PING_MS, SILENCE_MS);
    quire_layout layout = wire_layout();
    cr_assert_eq(quire_ns_open(client, "double", &layout, &ns), QUIRE_OK, "%s", quire_last_error());
}

static void grant_one(int fd, uint64_t request) {
    struct quire_wire_grant grant = {.size = 512, .slot = 1};
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.epoch = DOUBLE_EPOCH;
    grants.lease = 55;
    grants.hits = 1;
    grants.grants = (ProtobufCBinaryData){.len = sizeof(grant), .data = (uint8_t *)&grant};
    twin_send(fd, QUIRE_MSG_GRANTS, request, &grants.base, 0, NULL, 0);
}

/* ---- silence -------------------------------------------------------------------------------------------------------------- */
/* Grants what is looked up while `arg` is 0; then not a word. */
static void fall_silent(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    if (frame->type == QUIRE_MSG_LEASE && self->arg == 0) {
        grant_one(fd, frame->request_id);
    }
}

static enum quire_status call_lookup(void) {
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    enum quire_status status = quire_lookup(ns, &args, NULL, &found);
    cr_assert_null(found.lease);
    return status;
}

static enum quire_status call_fetch(void) {
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    uint16_t lanes[2][16][8];
    void *base[2] = {lanes[0], lanes[1]};
    quire_dest dest = {.k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    twin.arg = 0;
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    twin.arg = 1;
    enum quire_status status = quire_fetch(found.lease, &dest, 1, NULL, LONG_MS);
    cr_assert_eq(dest.status, status);
    quire_release(&found.lease);
    return status;
}

static enum quire_status call_store(void) {
    quire_source source = wire_source(1);
    enum quire_status status = quire_store(ns, &source, 1, NULL, LONG_MS, NULL);
    cr_assert_eq(source.status, status);
    return status;
}

static enum quire_status call_keys(void) {
    quire_key key = {{1}};
    uint8_t status = 0;
    enum quire_status whole = quire_delete(ns, &key, 1, &status, LONG_MS);
    cr_assert_eq(status, whole);
    return whole;
}

static enum quire_status call_open(void) {
    quire_ns *other = NULL;
    quire_layout layout = wire_layout();
    twin.mute = true;
    client->options.default_deadline_ms = LONG_MS;
    enum quire_status status = quire_ns_open(client, "other", &layout, &other);
    cr_assert_null(other);
    twin.mute = false;
    return status;
}

static enum quire_status call_admin(void) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply;
    enum quire_status status = quire_admin_call(client, &request, &reply, LONG_MS);
    cr_assert_null(reply);
    return status;
}

/* Somebody takes the other host away: it neither answers nor hangs up. Each kind of call ends soon, long before its deadline, with a sentence; the client
   goes on with another connection. */
Test(client_heartbeat, every_call_ends, .timeout = 120) {
    static enum quire_status (*const calls[])(void) = {call_lookup, call_fetch, call_store, call_keys, call_open, call_admin};
    twin.script = fall_silent;
    start(QUIRE_FEATURE_PING);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(calls); i++) {
        unsigned pings = atomic_load(&twin.pings);
        twin.arg = 1;
        enum quire_status status;
        for (uint64_t until_ns = clock_ns() + 5 * QUIRE_NS_PER_S; client->conn.state != CONN_UP && clock_ns() < until_ns; usleep(5000)) {
            quire_ns *again = NULL; /* the back-off may last */
            quire_layout layout = wire_layout();
            if (quire_ns_open(client, "again", &layout, &again) == QUIRE_OK) {
                quire_ns_close(&again);
            }
        }
        uint64_t begin_ns = clock_ns();
        status = calls[i]();
        cr_assert_eq(status, QUIRE_DISCONNECTED, "call %zu: %s", i, quire_status_name(status));
        cr_assert_lt(clock_ns() - begin_ns, 30 * QUIRE_NS_PER_S, "call %zu", i);
        cr_assert_not_null(strstr(quire_last_error(), "nor answered a PING"), "call %zu: %s", i, quire_last_error());
        cr_assert_gt(atomic_load(&twin.pings), pings, "call %zu: it was asked", i);
    }
    stop();
}

/* What was submitted ends likewise, for a program that looks only when its event fd tells it to. */
Test(client_heartbeat, submitted, .timeout = 120) {
    twin.script = fall_silent;
    start(QUIRE_FEATURE_PING);
    twin.arg = 1;
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    quire_done done;
    int n = 0;
    cr_assert_neq(quire_submit_lookup(ns, &args, NULL, &found, NULL), 0u);
    struct pollfd ready = {.fd = quire_event_fd(client), .events = POLLIN};
    for (int wakes = 0; n == 0; wakes++) {
        cr_assert_lt(wakes, 1000, "it is woken, and for nothing");
        cr_assert_eq(poll(&ready, 1, 30000), 1, "nobody wakes it");
        n = quire_drain(client, &done, 1);
    }
    cr_assert_eq(done.status, QUIRE_DISCONNECTED);
    stop();
}

/* A call that gives up at its own deadline before the bound leaves its question open: the next one does not begin to wait anew. */
Test(client_heartbeat, short_deadlines, .timeout = 120) {
    twin.script = fall_silent;
    start(QUIRE_FEATURE_PING);
    twin.arg = 1;
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = SILENCE_MS / 2};
    enum quire_status status = QUIRE_TIMEOUT;
    for (int i = 0; i < 20 && status == QUIRE_TIMEOUT; i++) {
        quire_done done;
        status = quire_lookup(ns, &args, NULL, &found);
        cr_assert_eq(quire_drain(client, &done, 1), 0); /* looks while nothing is outstanding */
    }
    cr_assert_eq(status, QUIRE_DISCONNECTED, "%s", quire_status_name(status));
    stop();
}

/* ---- slow, and alive ------------------------------------------------------------------------------------------------------ */
static void only_pong(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)self, (void)body;
    if (frame->type == QUIRE_MSG_PING) {
        twin_send(fd, QUIRE_MSG_PONG, frame->request_id, NULL, 0, NULL, 0);
    }
}

/* The answer takes its time, the daemon lives: the call ends by its own deadline, on the same connection. */
Test(client_heartbeat, a_daemon_that_answers_pings, .timeout = 120) {
    twin.script = only_pong;
    start(QUIRE_FEATURE_PING);
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 4 * SILENCE_MS};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_TIMEOUT);
    cr_assert_eq(atomic_load(&twin.connections), 1u);
    cr_assert_geq(atomic_load(&twin.pings), 2u);
    stop();
}

/* One of before, that does not know PING, is not asked: silence is no proof against it. */
Test(client_heartbeat, a_daemon_without_pings, .timeout = 120) {
    twin.script = fall_silent;
    start(0);
    twin.arg = 1;
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 3 * SILENCE_MS};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_TIMEOUT);
    cr_assert_eq(atomic_load(&twin.pings), 0u);
    cr_assert_eq(atomic_load(&twin.connections), 1u);
    stop();
}

/* Who has asked for nothing asks for no sign of life either. */
Test(client_heartbeat, an_idle_client, .timeout = 120) {
    twin.script = only_pong;
    start(QUIRE_FEATURE_PING);
    for (int i = 0; i < 3 * SILENCE_MS / 20; i++) {
        quire_done done;
        cr_assert_eq(quire_drain(client, &done, 1), 0);
        usleep(20000);
    }
    cr_assert_eq(atomic_load(&twin.pings), 0u);
    cr_assert_eq(atomic_load(&twin.connections), 1u);
    stop();
}

static void answer_at_once(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    if (frame->type == QUIRE_MSG_LEASE) {
        grant_one(fd, frame->request_id);
        atomic_fetch_add(&self->dropped, 1);
    }
}

/* A transport that does its work only when it is called, and has nothing to show for it yet the first time after a while. */
static uint64_t called_ns;
static enum quire_status sleepy_receive(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why) {
    uint64_t before_ns = called_ns;
    called_ns = clock_ns();
    return called_ns - before_ns > SILENCE_MS * QUIRE_NS_PER_MS ? QUIRE_PENDING : transport_unix.receive(transport, bytes, size, got, why);
}

/* The program was busy elsewhere for longer than the bound. What came meanwhile was not read yet, and nobody is called dead for it. */
Test(client_heartbeat, a_program_that_was_away, .timeout = 120) {
    twin.script = answer_at_once;
    start(QUIRE_FEATURE_PING);
    wire_ops.receive = sleepy_receive;
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    for (int i = 0; i < 3; i++) {
        quire_done done;
        cr_assert_neq(quire_submit_lookup(ns, &args, NULL, &found, NULL), 0u);
        usleep(3 * SILENCE_MS * 1000);
        cr_assert_eq(quire_quiesce(client, LONG_MS), QUIRE_OK);
        cr_assert_eq(quire_drain(client, &done, 1), 1);
        cr_assert_eq(done.status, QUIRE_OK, "%s", quire_status_name(done.status));
        quire_release(&found.lease);
    }
    cr_assert_eq(atomic_load(&twin.connections), 1u);
    stop();
}

/* A record that comes a little at a time, for several times the bound in all. */
static void trickle(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    static const uint8_t bytes[4096];
    if (frame->type == QUIRE_MSG_LEASE) {
        grant_one(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_READ) {
        Quire__Wire__Bulk bulk = QUIRE__WIRE__BULK__INIT;
        twin_send(fd, QUIRE_MSG_BULK, frame->request_id, &bulk.base, 512, NULL, 0);
        for (int i = 0; i < 512; i += 16) {
            usleep(SILENCE_MS * 1000 / 8);
            self->arg += (int)send(fd, bytes, 16, MSG_NOSIGNAL);
        }
    }
}

Test(client_heartbeat, an_answer_that_trickles_in, .timeout = 120) {
    twin.script = trickle;
    start(QUIRE_FEATURE_PING);
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    uint16_t lanes[2][16][8];
    void *base[2] = {lanes[0], lanes[1]};
    quire_dest dest = {.k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, LONG_MS), QUIRE_CORRUPT, "zeroes are no record: %s", quire_last_error());
    cr_assert_eq(atomic_load(&twin.connections), 1u);
    cr_assert_geq(twin.arg, 512, "not all of it came");
    quire_release(&found.lease);
    stop();
}

/* The cable is cut in the middle of a record: the rest of it is waited for like an answer. */
static void break_off(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)self, (void)body;
    static const uint8_t bytes[256];
    if (frame->type == QUIRE_MSG_LEASE) {
        grant_one(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_READ) {
        Quire__Wire__Bulk bulk = QUIRE__WIRE__BULK__INIT;
        twin_send(fd, QUIRE_MSG_BULK, frame->request_id, &bulk.base, 512, NULL, 0);
        cr_assert_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), (ssize_t)sizeof(bytes));
    }
}

Test(client_heartbeat, an_answer_that_breaks_off, .timeout = 120) {
    twin.script = break_off;
    start(QUIRE_FEATURE_PING);
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    uint16_t lanes[2][16][8];
    void *base[2] = {lanes[0], lanes[1]};
    quire_dest dest = {.k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, LONG_MS), QUIRE_DISCONNECTED, "%s", quire_last_error());
    quire_release(&found.lease);
    stop();
}
