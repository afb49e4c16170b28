/* A client over TLS that speaks frames by hand: what it may not do ends its session with a reason, and leaves nothing behind. */
#include "daemon_wire.h"

static struct remote_client client;

/* ---- greetings ------------------------------------------------------------------------------------------------------------------ */
/* Two challenges are never the same, and the proof of one is worth nothing for the next: what was overheard cannot be said again. */
Test(daemon_remote, a_replayed_hello_is_refused, .init = start, .fini = stop, .timeout = 60) {
    struct remote_client first;
    remote_begin(&first);
    remote_open(&client);
    remote_challenged(&client);
    cr_assert(memcmp(first.nonce, client.nonce, QUIRE_NONCE_BYTES) != 0);
    remote_say_hello(&client, first.nonce);
    remote_expect_refusal(&client, QUIRE_DENIED);
    cr_assert_eq(core_counters(daemon_.core)->tokens_refused, 1);
    remote_close(&client);
    remote_close(&first);
}

/* A second try on the same connection would be a guess for free. */
Test(daemon_remote, a_challenge_is_answered_once, .init = start, .fini = stop, .timeout = 60) {
    remote_begin(&client);
    remote_say_hello(&client, client.nonce);
    remote_expect_refusal(&client, QUIRE_INVALID);
    remote_close(&client);
}

/* Who was not greeted asks nothing, and says nothing long. */
Test(daemon_remote, nothing_comes_before_hello, .init = start, .fini = stop, .timeout = 60) {
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    remote_open(&client);
    remote_challenged(&client);
    remote_send(&client, QUIRE_MSG_LEASE, &lease.base, 0);
    remote_expect_refusal(&client, QUIRE_INVALID);
    remote_close(&client);
    char *name = calloc(1, 100001);
    memset(name, 'x', 100000);
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    hello.client = name;
    remote_open(&client);
    remote_challenged(&client);
    remote_send(&client, QUIRE_MSG_HELLO, &hello.base, 0);
    struct frames_answer answer;
    cr_assert_not(remote_recv(&client, &answer), "a greeting of 100 kB was answered");
    remote_close(&client);
    free(name);
}

/* A client of another version is told which one it meets, before its token matters. */
Test(daemon_remote, another_version, .init = start, .fini = stop, .timeout = 60) {
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    hello.major = QUIRE_PROTO_MAJOR + 1;
    remote_open(&client);
    remote_challenged(&client);
    remote_send(&client, QUIRE_MSG_HELLO, &hello.base, 0);
    remote_expect_refusal(&client, QUIRE_VERSION);
    cr_assert(core_counters(daemon_.core)->sessions_refused == 1 && core_counters(daemon_.core)->tokens_refused == 0);
    remote_close(&client);
}

/* ---- wake-ups ------------------------------------------------------------------------------------------------------------------- */
static void ping(void) {
    remote_send(&client, QUIRE_MSG_PING, NULL, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_PONG);
    frames_answer_free(&answer);
}

/* Short requests are answered by the thread that they come to: waking another one, and being woken by it, takes longer than they do. */
Test(daemon_remote, the_loop_is_left_asleep, .init = start, .fini = stop, .timeout = 60) {
    bool slept = false;
    remote_begin(&client);
    for (uint32_t i = 0; i < 1000 && !slept; i++) {
        uint64_t beat_ns = daemon_.core->heartbeat_ns;
        ping();
        ping(); /* the first one's turn is over, if it was the loop's */
        slept = daemon_.core->heartbeat_ns == beat_ns;
    }
    cr_expect(slept, "each of them woke it");
    remote_close(&client);
}

static void check_nothing(struct core *core, void *arg) {
    (void)arg;
    core->next_check_ns = UINT64_MAX;
}

/* Whatever that thread leaves to the loop wakes it: there is no look now and then that would find it. */
Test(daemon_remote, long_requests_wake_the_loop, .init = start, .fini = stop, .timeout = 60) {
    for (uint32_t i = 0; i < 20; i++) {
        cr_assert_eq(core_call(daemon_.core, check_nothing, NULL, FRAMES_WAIT_MS), QUIRE_OK);
        remote_begin(&client);
        ping();
        remote_close(&client);
        cr_assert(frames_until(&daemon_, frames_n_sessions, 1), "it is gone");
    }
}

/* ---- bytes that trickle --------------------------------------------------------------------------------------------------------- */
static void be_impatient(struct core *core, void *arg) {
    (void)arg;
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        rail->limits.frame_ns = 500 * QUIRE_NS_PER_MS;
    }
}

/* True when the daemon has hung up; the bytes come one at a time, so that something always moves. */
static bool trickle(struct remote_client *self, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (!remote_write(self, bytes + i, 1)) {
            return true;
        }
        usleep(20000);
    }
    return false;
}

/* However busy it looks: a frame has its bound, and so have the bytes behind one, which hold an ingest window that others wait for. */
Test(daemon_remote, a_trickle_is_ended, .init = start, .fini = stop, .timeout = 60) {
    static uint8_t bytes[FRAMES_WAIT_MS / 20];
    cr_assert_eq(core_call(daemon_.core, be_impatient, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    struct quire_frame frame = {.type = QUIRE_MSG_KEYS, .body_bytes = sizeof bytes - QUIRE_FRAME_BYTES};
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    remote_begin(&client);
    cr_assert(trickle(&client, bytes, sizeof bytes), "a frame trickled for as long as it liked");
    remote_close(&client);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1));
    remote_begin(&client);
    remote_put(&client, remote_window(&client, 65536), 0, 65536);
    cr_assert(trickle(&client, bytes, sizeof bytes), "the bytes of a store trickled for as long as they liked");
    remote_close(&client);
}

/* ---- bulk bytes ----------------------------------------------------------------------------------------------------------------- */
/* They have a place in the session's own window, or there are none. */
Test(daemon_remote, bulk_bytes_stay_in_the_window, .init = start, .fini = stop, .timeout = 60) {
    static const struct { uint64_t offset, bytes; } cases[] = {{0, 65537}, {65536, 1}, {UINT64_MAX, 2}, {65000, 1000}, {0, QUIRE_BULK_MAX}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(cases); i++) {
        remote_begin(&client);
        remote_put(&client, remote_window(&client, 65536), cases[i].offset, cases[i].bytes);
        remote_expect_refusal(&client, QUIRE_INVALID);
        remote_close(&client);
    }
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    remote_begin(&client);
    remote_send(&client, QUIRE_MSG_LEASE, &lease.base, 10);
    remote_expect_refusal(&client, QUIRE_INVALID);
    remote_close(&client);
}

/* A window that is not the session's (any more): what was meant for it is thrown away, the PUT is answered, and the session goes on. */
Test(daemon_remote, bytes_for_a_window_that_is_gone, .init = start, .fini = stop, .timeout = 60) {
    static uint8_t bytes[300000];
    remote_begin(&client);
    for (int i = 0; i < 3; i++) {
        remote_put(&client, 4711, 0, sizeof bytes);
        cr_assert(remote_write(&client, bytes, sizeof bytes));
        struct frames_answer answer = remote_expect(&client, QUIRE_MSG_ACKS);
        cr_assert_eq(answer.frame.request_id, client.next_id);
        Quire__Wire__Acks *acks = quire__wire__acks__unpack(NULL, answer.frame.body_bytes, answer.body);
        cr_assert_neq(acks->status, QUIRE_OK);
        quire__wire__acks__free_unpacked(acks, NULL);
        frames_answer_free(&answer);
    }
    remote_close(&client);
}

/* The client goes in the middle of what it sends: its window is not given to anybody while the rail may still write there, and then it is. */
Test(daemon_remote, gone_in_the_middle, .init = start, .fini = stop, .timeout = 60) {
    static uint8_t bytes[30000];
    for (int i = 0; i < 20; i++) {
        remote_begin(&client);
        remote_put(&client, remote_window(&client, 65536), 0, 65536);
        remote_write(&client, bytes, (size_t)i * 1500);
        remote_close(&client);
    }
}

/* ---- signs of life ---------------------------------------------------------------------------------------------------------------- */
/* A question for one is answered at once. */
Test(daemon_remote, ping, .init = start, .fini = stop, .timeout = 60) {
    remote_begin(&client);
    for (int i = 0; i < 3; i++) {
        uint64_t asked = remote_send(&client, QUIRE_MSG_PING, NULL, 0);
        struct frames_answer answer = remote_expect(&client, QUIRE_MSG_PONG);
        cr_assert_eq(answer.frame.request_id, asked);
        frames_answer_free(&answer);
    }
    remote_close(&client);
}

/* Behind bytes that take their time on a slow line, the question waits, too. The daemon says by itself that it is there; who is idle it leaves alone. */
Test(daemon_remote, signs_of_life, .init = start, .fini = stop, .timeout = 60) {
    struct remote_client idle;
    static uint8_t bytes[65536];
    remote_begin(&idle);
    remote_begin(&client);
    remote_put(&client, remote_window(&client, 65536), 0, 65536);
    for (int i = 0; i < 3; i++) {
        struct frames_answer answer = remote_expect(&client, QUIRE_MSG_PONG);
        cr_assert_eq(answer.frame.request_id, 0u);
        frames_answer_free(&answer);
        cr_assert(remote_write(&client, bytes, 1000));
    }
    uint64_t asked = remote_send(&idle, QUIRE_MSG_PING, NULL, 0);
    struct frames_answer answer = remote_expect(&idle, QUIRE_MSG_PONG);
    cr_assert_eq(answer.frame.request_id, asked, "nobody spoke to it before");
    frames_answer_free(&answer);
    remote_close(&idle);
    remote_close(&client);
}

/* ---- replies -------------------------------------------------------------------------------------------------------------------- */
static bool holds_unsent(struct core *core, uint64_t arg) {
    (void)arg;
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        if (session->remote != NULL && session->link->tx_bytes > 0) {
            return true;
        }
    }
    return false;
}
static void hurry(struct core *core, void *arg) {
    (void)arg;
    core->stall_ns = 500 * QUIRE_NS_PER_MS;
}

/* A client that asks and takes no answer is held up, and after a while ended: what waits for it is bounded. */
Test(daemon_remote, replies_that_are_not_taken, .init = start, .fini = stop, .timeout = 60) {
    cr_assert_eq(core_call(daemon_.core, hurry, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    remote_begin(&client);
    int small = 4096;
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    Quire__Wire__AdminRequest status = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    status.verb = QUIRE_ADMIN_STATUS;
    uint8_t *bytes;
    struct quire_frame frame = {.type = QUIRE_MSG_ADMIN, .request_id = 9};
    size_t size = frames_pack(&frame, &status.base, &bytes), sent;
    enum quire_status said = QUIRE_OK;
    for (int i = 0; i < 20000 && (said == QUIRE_OK || said == QUIRE_PENDING); i++) { /* more than all buffers hold, unless it is read */
        said = quire_tls_write(client.tls, bytes, size, &sent);
        if (said == QUIRE_PENDING) {
            break;
        }
    }
    cr_assert(said == QUIRE_PENDING || said == QUIRE_OK, "%s", quire_tls_why(client.tls));
    cr_assert(frames_until(&daemon_, holds_unsent, 0) || frames_until(&daemon_, frames_n_sessions, 1));
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1), "who takes no reply is still there");
    remote_close(&client);
    free(bytes);
}

/* ---- strangers ------------------------------------------------------------------------------------------------------------------ */
#define MANY 70
static struct remote_client many[MANY];

/* Nobody is sent away for being slow. */
static void be_patient(struct core *core, void *arg) {
    (void)arg;
    core->hello_ns = 3600 * QUIRE_NS_PER_S;
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        rail->limits.handshake_ns = 3600 * QUIRE_NS_PER_S;
    }
}
static void be_small(struct core *core, void *arg) {
    be_patient(core, arg);
    crowd_setup(&core->net.strangers, 8);
    core->net.strangers.grace_ns = core->hello_ns;
}
static void give_no_time(struct core *core, void *arg) {
    (void)arg;
    core->net.strangers.grace_ns = 0;
}

/* As many connections as it likes, none of which says a word: the next from elsewhere begins its handshake, and gets in. */
Test(daemon_remote, silent_connections_keep_nobody_out, .init = start, .fini = stop, .timeout = 60) {
    int fds[300];
    cr_assert_eq(core_call(daemon_.core, be_patient, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(fds); i++) {
        fds[i] = remote_connect(9);
    }
    remote_begin(&client);
    remote_close(&client);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
}

/* Likewise those who shake hands, and do not say who they are. */
Test(daemon_remote, an_address_has_a_share_of_strangers, .init = start, .fini = stop, .timeout = 60) {
    cr_assert_eq(core_call(daemon_.core, be_small, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    for (int i = 0; i < 2; i++) {
        remote_open_from(&many[i], 9);
        remote_challenged(&many[i]);
    }
    remote_open_from(&client, 9);
    remote_expect_refusal(&client, QUIRE_RETRY);
    remote_close(&client);
    for (int i = 2; i < 8; i++) { /* from many addresses: all places are taken */
        remote_open_from(&many[i], (uint8_t)(10 + i / 2));
        remote_challenged(&many[i]);
    }
    remote_open(&client);
    remote_expect_refusal(&client, QUIRE_RETRY);
    remote_close(&client);
    cr_assert_eq(core_call(daemon_.core, give_no_time, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    remote_begin(&client);
    remote_expect_refusal(&many[0], QUIRE_RETRY);
    remote_say_hello(&many[1], many[1].nonce);
    struct frames_answer answer = remote_expect(&many[1], QUIRE_MSG_HELLO_ACK);
    frames_answer_free(&answer);
    remote_close(&client);
    for (int i = 0; i < 8; i++) {
        remote_close(&many[i]);
    }
}

/* Those who are turned away and do not hang up take no place for long: the listener does not rest for them. */
static void have_few_wires(struct core *core, void *arg) {
    be_small(core, arg);
    core->net.rails->limits.wires = MANY - 2;
}
static bool never_rested(struct core *core, uint64_t arg) {
    (void)arg;
    net_count(core);
    return core->counters.remote_rests == 0;
}
Test(daemon_remote, who_does_not_hang_up_takes_no_place, .init = start, .fini = stop, .timeout = 60) {
    cr_assert_eq(core_call(daemon_.core, have_few_wires, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    for (int i = 0; i < MANY; i++) {
        remote_open_from(&many[i], 9);
        struct frames_answer answer = remote_expect(&many[i], i < 2 ? QUIRE_MSG_CHALLENGE : QUIRE_MSG_ERROR);
        frames_answer_free(&answer);
    }
    remote_begin(&client);
    remote_close(&client);
    struct frames_question rested = {.holds = never_rested};
    cr_assert_eq(core_call(daemon_.core, frames_look, &rested, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(rested.answer, "others had to wait");
    for (int i = 0; i < MANY; i++) {
        remote_close(&many[i]);
    }
}

/* The bound holds for those who prove who they are, when they do, however many connected before; what it leaves to the operator on this host is
   left. */
static void begin_with_two(void) {
    wire_config();
    daemon_.config.max_sessions = 2;
    frames_begin(&daemon_, &witness);
}
Test(daemon_remote, max_sessions_holds_at_hello, .init = begin_with_two, .fini = stop, .timeout = 60) {
    struct frames_client operators;
    cr_assert_eq(core_call(daemon_.core, be_patient, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    for (int i = 0; i < 8; i++) {
        remote_open(&many[i]);
        remote_challenged(&many[i]);
    }
    for (int i = 0; i < 8; i++) {
        remote_say_hello(&many[i], many[i].nonce);
        if (i == 0) {
            struct frames_answer answer = remote_expect(&many[i], QUIRE_MSG_HELLO_ACK);
            frames_answer_free(&answer);
        } else {
            remote_expect_refusal(&many[i], QUIRE_RETRY);
        }
    }
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    hello.major = QUIRE_PROTO_MAJOR;
    hello.client = (char *)SESSION_OPERATOR;
    frames_open(&operators, &daemon_);
    struct frames_answer answer = frames_expect(&operators, QUIRE_MSG_HELLO_ACK, frames_send(&operators, QUIRE_MSG_HELLO, &hello.base));
    frames_answer_free(&answer);
    frames_close(&operators);
    for (int i = 0; i < 8; i++) {
        remote_close(&many[i]);
    }
}

/* Connections that were opened before the first failure are no guesses for free; another address is not made to wait. */
Test(daemon_remote, guesses_are_limited_at_hello, .init = start, .fini = stop, .timeout = 60) {
    int n_refused = 0;
    cr_assert_eq(core_call(daemon_.core, be_patient, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    for (int i = 0; i < 40; i++) {
        remote_open(&many[i]);
        remote_challenged(&many[i]);
    }
    for (int i = 0; i < 40; i++) {
        remote_prove(&many[i], "fedcba9876543210", many[i].nonce);
    }
    for (int i = 0; i < 40; i++) {
        struct frames_answer answer = remote_expect(&many[i], QUIRE_MSG_ERROR);
        Quire__Wire__Error *error = quire__wire__error__unpack(NULL, answer.frame.body_bytes, answer.body);
        cr_assert(error->status == QUIRE_DENIED || error->status == QUIRE_RETRY, "%s", error->text);
        n_refused += error->status == QUIRE_RETRY;
        quire__wire__error__free_unpacked(error, NULL);
        frames_answer_free(&answer);
        remote_close(&many[i]);
    }
    cr_assert(n_refused > 0, "40 guesses were answered");
    remote_open_from(&client, 9);
    remote_challenged(&client);
    remote_close(&client);
}

/* ---- certificates ----------------------------------------------------------------------------------------------------------------- */
static enum quire_status cannot_prepare(struct rail *rail, const struct quire_tls_files *files, char *why, size_t why_bytes) {
    (void)rail;
    (void)files;
    snprintf(why, why_bytes, "for the test");
    return QUIRE_INVALID;
}
/* With a rail that fails, or without. */
static void reload(struct core *core, void *fails) {
    static const struct rail_ops failing_ops = {.scheme = "test", .prepare = cannot_prepare};
    static struct rail failing = {.ops = &failing_ops};
    struct rail **tail = &core->net.rails;
    while (*tail != NULL) {
        tail = &(*tail)->next;
    }
    *tail = fails != NULL ? &failing : NULL;
    cr_assert_eq(net_reload(core), fails != NULL ? QUIRE_INVALID : QUIRE_OK);
    *tail = NULL;
}

/* Where one rail cannot have the new certificate the others keep the old one, too: clients that trust that get in wherever they come. */
Test(daemon_remote, all_rails_are_renewed_or_none, .init = start, .fini = stop, .timeout = 60) {
    char old[160], new[160];
    int fails;
    snprintf(old, sizeof old, "%s.old", certificate);
    snprintf(new, sizeof new, "%s.new", certificate);
    cr_assert_eq(rename(certificate, old), 0);
    cr_assert(certificate_write(certificate));
    cr_assert_eq(core_call(daemon_.core, reload, &fails, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(rename(certificate, new) == 0 && rename(old, certificate) == 0);
    remote_begin(&client); /* trusts the old one */
    remote_close(&client);
    cr_assert_eq(rename(new, certificate), 0);
    cr_assert_eq(core_call(daemon_.core, reload, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    remote_begin(&client); /* trusts the new one */
    remote_close(&client);
}
