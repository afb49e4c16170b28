/* What a token lets its clients do and learn, over TLS with frames by hand: each may no more than the line in the token file says. */
#include "daemon_wire.h"

static struct remote_client client, other;
static uint8_t payload[1 << 16];

/* ---- asking --------------------------------------------------------------------------------------------------------------------- */
static Quire__Wire__AdminReply *ask(struct remote_client *self, enum quire_wire_admin verb, const char *ns, uint64_t number) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    quire_key key = frames_key(1);
    request.verb = verb;
    request.ns = (char *)ns;
    request.number = number;
    request.keys = (ProtobufCBinaryData){.len = verb == QUIRE_ADMIN_BLOCK_SHOW ? sizeof key : 0, .data = key.b};
    remote_send(self, QUIRE_MSG_ADMIN, &request.base, 0);
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_ADMIN_REPLY);
    Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(reply);
    frames_answer_free(&answer);
    return reply;
}

static enum quire_status asked(struct remote_client *self, enum quire_wire_admin verb, const char *ns, uint64_t number) {
    Quire__Wire__AdminReply *reply = ask(self, verb, ns, number);
    enum quire_status status = (enum quire_status)reply->status;
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    return status;
}

static enum quire_status ns_open(struct remote_client *self, const char *name, uint32_t *ns) {
    uint8_t wire[QUIRE_LAYOUT_WIRE_MAX];
    Quire__Wire__NsOpen open = frames_ns_request(name, wire);
    remote_send(self, QUIRE_MSG_NS_OPEN, &open.base, 0);
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_NS_ACK);
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    enum quire_status status = (enum quire_status)ack->status;
    *ns = ack->ns;
    quire__wire__ns_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    return status;
}

/* Whether the request went through; then the statuses of its keys or items. */
static enum quire_status acks(struct remote_client *self, uint8_t *statuses, size_t n) {
    struct frames_answer answer;
    while (remote_recv(self, &answer) && answer.frame.type == QUIRE_MSG_PONG) { /* a sign of life while bytes are on their way */
        frames_answer_free(&answer);
    }
    cr_assert_eq(answer.frame.type, QUIRE_MSG_ACKS);
    Quire__Wire__Acks *told = quire__wire__acks__unpack(NULL, answer.frame.body_bytes, answer.body);
    enum quire_status status = (enum quire_status)told->status;
    if (status == QUIRE_OK) {
        cr_assert_eq(told->statuses.len, n);
        memcpy(statuses, told->statuses.data, n);
    }
    quire__wire__acks__free_unpacked(told, NULL);
    frames_answer_free(&answer);
    return status;
}

static enum quire_status by_keys(struct remote_client *self, uint32_t ns, enum quire_wire_keys_verb verb, uint32_t first,
                                 uint8_t statuses[4]) {
    quire_key keys[4];
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(keys); i++) {
        keys[i] = frames_key(first + i);
    }
    Quire__Wire__Keys request = QUIRE__WIRE__KEYS__INIT;
    request.ns = ns;
    request.verb = verb;
    request.keys = (ProtobufCBinaryData){.len = sizeof keys, .data = (uint8_t *)keys};
    remote_send(self, QUIRE_MSG_KEYS, &request.base, 0);
    return acks(self, statuses, QUIRE_ARRAY_LEN(keys));
}

/* The item of block `number`, whose bytes are in `payload`. */
static struct quire_wire_put item_of(uint32_t number) {
    const struct frames_window memory = {.bytes = sizeof payload, .base = payload};
    return frames_item(&memory, 0, number);
}

static enum quire_status put(struct remote_client *self, uint32_t ns, uint32_t window, const struct quire_wire_put *item) {
    uint8_t status = QUIRE_OK;
    Quire__Wire__Put message = QUIRE__WIRE__PUT__INIT;
    message.ns = ns;
    message.window = window;
    message.deadline_ms = FRAMES_WAIT_MS;
    message.items = (ProtobufCBinaryData){.len = sizeof *item, .data = (uint8_t *)(uintptr_t)item};
    remote_send(self, QUIRE_MSG_PUT, &message.base, item->length);
    cr_assert(remote_write(self, payload, item->length));
    cr_assert_eq(acks(self, &status, 1), QUIRE_OK);
    return (enum quire_status)status;
}

/* ---- the log -------------------------------------------------------------------------------------------------------------------- */
static int captured = -1, before = -1;

static void start_captured(void) {
    char name[] = "/tmp/quire-rights-XXXXXX";
    captured = mkstemp(name);
    unlink(name);
    before = dup(STDERR_FILENO);
    dup2(captured, STDERR_FILENO);
    start();
}

static void stop_captured(void) {
    dup2(before, STDERR_FILENO);
    log_setup(LOG_LEVEL_INFO, false);
    stop();
}

/* Lines so far that have this word. */
static unsigned lines_of(const char *word) {
    static char text[1 << 20];
    unsigned n = 0;
    ssize_t got = pread(captured, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word)) {
        n++;
    }
    return n;
}

/* Each change by an operator has its one line, however many there are, at every level; tries of others do not drown it, and are told, too. */
Test(daemon_rights, every_action_is_in_the_log, .init = start_captured, .fini = stop_captured, .timeout = 60) {
    log_setup(LOG_LEVEL_WARN, false);
    remote_begin(&client);
    remote_begin_as(&other, "writer");
    for (int i = 0; i < 60; i++) {
        cr_assert_eq(asked(&other, QUIRE_ADMIN_SESSION_KICK, "", 1), QUIRE_DENIED);
    }
    cr_assert_eq(asked(&other, QUIRE_ADMIN_NS_DELETE, "story", 0), QUIRE_DENIED);
    unsigned denied = lines_of("admin_denied");
    cr_assert(denied > 0 && denied < 60 && lines_of("token writer at 127.0.0.1") == denied, "%u", denied);
    log_setup(LOG_LEVEL_ERROR, false);
    for (unsigned i = 1; i <= 40; i++) {
        cr_assert_eq(asked(&client, QUIRE_ADMIN_EVICT, "", 1), QUIRE_OK);
        cr_assert_eq(lines_of("admin_action: evict 1 by session"), i);
    }
    uint32_t ns;
    cr_assert_eq(ns_open(&client, "story", &ns), QUIRE_OK);
    cr_assert_eq(asked(&client, QUIRE_ADMIN_NS_DELETE, "story", 0), QUIRE_OK);
    cr_assert_eq(lines_of("namespace delete story by session"), 1);
    cr_assert_eq(lines_of("token worker at 127.0.0.1"), 41);
    remote_close(&other);
    remote_close(&client);
}

static void owes_much(struct core *core, void *arg) {
    const int *more = arg;
    for (struct session *session = core->sessions; session != NULL; session = session->next) {
        session->durable_waits += session->remote != NULL ? (uint32_t)(*more * 1000) : 0;
    }
}

/* A deletion that must wait is told so to who may delete; to all others that they may not, and both are told in the log. */
Test(daemon_rights, rights_come_before_room, .init = start_captured, .fini = stop_captured, .timeout = 60) {
    uint32_t ns;
    int more = 1, less = -1;
    log_setup(LOG_LEVEL_INFO, false);
    remote_begin(&client);
    remote_begin_as(&other, "reader");
    cr_assert_eq(ns_open(&client, "story", &ns), QUIRE_OK);
    cr_assert_eq(core_call(daemon_.core, owes_much, &more, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert_eq(asked(&other, QUIRE_ADMIN_NS_DELETE, "story", 0), QUIRE_DENIED);
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_NS_DELETE;
    request.ns = (char *)"story";
    remote_send(&client, QUIRE_MSG_ADMIN, &request.base, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_ERROR);
    Quire__Wire__Error *error = quire__wire__error__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert(error->status == QUIRE_RETRY && error->retry_after_ms > 0);
    quire__wire__error__free_unpacked(error, NULL);
    frames_answer_free(&answer);
    cr_assert(lines_of("admin_denied: namespace delete story") == 1 && lines_of("admin_failed: namespace delete story") == 1);
    cr_assert_eq(core_call(daemon_.core, owes_much, &less, FRAMES_WAIT_MS), QUIRE_OK);
    remote_close(&other);
    remote_close(&client);
}

/* ---- admin ---------------------------------------------------------------------------------------------------------------------- */
/* With `admin` for some namespaces: these it sees and deletes, of others not even whether they are there, and nothing of the whole daemon. */
Test(daemon_rights, admin_of_some_namespaces, .init = start, .fini = stop, .timeout = 60) {
    static const enum quire_wire_admin whole[] = {QUIRE_ADMIN_SESSION_LIST, QUIRE_ADMIN_SESSION_KICK, QUIRE_ADMIN_EVICT,
                                                  QUIRE_ADMIN_CONFIG,       QUIRE_ADMIN_COUNTERS,     QUIRE_ADMIN_RELOAD,
                                                  QUIRE_ADMIN_VERIFY,       QUIRE_ADMIN_FAULT_LIST,   QUIRE_ADMIN_FAULT_CLEAR};
    static const enum quire_wire_admin one[] = {QUIRE_ADMIN_NS_LIST, QUIRE_ADMIN_BLOCK_SHOW, QUIRE_ADMIN_EVICT, QUIRE_ADMIN_NS_DELETE};
    uint32_t ns;
    remote_begin(&client);
    remote_begin_as(&other, "tenant");
    cr_assert_eq(ns_open(&client, "story", &ns), QUIRE_OK);
    cr_assert_eq(ns_open(&other, "mine-1", &ns), QUIRE_OK);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(whole); i++) {
        cr_assert_eq(asked(&other, whole[i], "", 1), QUIRE_DENIED, "verb %d", (int)whole[i]);
    }
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(one); i++) {
        cr_assert_eq(asked(&other, one[i], "story", 1), QUIRE_DENIED, "verb %d", (int)one[i]);
        cr_assert_eq(asked(&other, one[i], "nothing", 1), QUIRE_DENIED, "verb %d", (int)one[i]);
        cr_assert_eq(asked(&other, one[i], "mine-2", 1), QUIRE_NOT_FOUND, "verb %d", (int)one[i]);
    }
    Quire__Wire__AdminReply *reply = ask(&other, QUIRE_ADMIN_NS_LIST, "", 0);
    cr_assert(reply->status == QUIRE_OK && reply->n_namespaces == 1 && strcmp(reply->namespaces[0]->name, "mine-1") == 0);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(one); i++) {
        cr_assert_eq(asked(&other, one[i], "mine-1", 1), QUIRE_OK, "verb %d", (int)one[i]);
    }
    cr_assert_eq(asked(&client, QUIRE_ADMIN_NS_LIST, "story", 0), QUIRE_OK);
    cr_assert_eq(asked(&client, QUIRE_ADMIN_NS_LIST, "mine-1", 0), QUIRE_NOT_FOUND);
    remote_close(&other);
    remote_close(&client);
}

/* Without `admin` for all, a client learns whom it talks to, and nothing of the host or of what others do there. */
Test(daemon_rights, status_tells_tenants_little, .init = start, .fini = stop, .timeout = 60) {
    static const char *const names[] = {"reader", "tenant"};
    uint32_t ns = frames_ns_open(&witness, "story", QUIRE_OK);
    frames_store(&witness, ns, 3);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(names); i++) {
        remote_begin_as(&client, names[i]);
        Quire__Wire__AdminReply *reply = ask(&client, QUIRE_ADMIN_STATUS, "", 0);
        const Quire__Wire__DaemonInfo *daemon = reply->daemon;
        cr_assert(reply->status == QUIRE_OK && strcmp(daemon->state, "serving") == 0 && daemon->version[0] != '\0' && daemon->epoch != 0);
        cr_assert(daemon->blocks == 0 && daemon->pid == 0 && daemon->rss_bytes == 0 && daemon->socket[0] == '\0' &&
                  daemon->metrics_address[0] == '\0' && daemon->uptime_ms == 0 && reply->n_tiers == 0);
        quire__wire__admin_reply__free_unpacked(reply, NULL);
        remote_close(&client);
    }
    remote_begin(&client);
    Quire__Wire__AdminReply *reply = ask(&client, QUIRE_ADMIN_STATUS, "", 0);
    cr_assert(reply->daemon->blocks == 3 && reply->n_tiers == 1);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    remote_close(&client);
}

/* ---- without read --------------------------------------------------------------------------------------------------------------- */
/* By no answer does a client that may only write learn which blocks are there: not by keys, and not by storing. */
Test(daemon_rights, who_may_only_write_is_blind, .init = start, .fini = stop, .timeout = 60) {
    uint8_t told[4];
    uint32_t ns = frames_ns_open(&witness, "story", QUIRE_OK);
    frames_store(&witness, ns, 3);
    remote_begin_as(&client, "writer");
    cr_assert_eq(ns_open(&client, "story", &ns), QUIRE_OK);
    cr_assert_eq(by_keys(&client, ns, QUIRE_WIRE_PIN, 1, told), QUIRE_DENIED);
    cr_assert_eq(by_keys(&client, ns, QUIRE_WIRE_UNPIN, 1, told), QUIRE_DENIED);
    cr_assert_eq(by_keys(&client, ns, QUIRE_WIRE_TOUCH, 1, told), QUIRE_DENIED);
    uint32_t window = remote_window(&client, sizeof payload);
    static const uint32_t numbers[] = {2, 70}; /* one is there */
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(numbers); i++) {
        struct quire_wire_put good = item_of(numbers[i]), wrong = good, late = good, elsewhere = good, pinned = good, malformed = good;
        wrong.check++;
        late.taken = 1;
        elsewhere.parent = frames_key(90);
        pinned.flags |= QUIRE_WIRE_PUT_PIN;
        malformed.n_tokens = 0;
        cr_assert_eq(put(&client, ns, window, &wrong), QUIRE_OK, "block %u: another checksum", numbers[i]);
        cr_assert_eq(put(&client, ns, window, &late), QUIRE_OK, "block %u: after parts that were dropped", numbers[i]);
        cr_assert_eq(put(&client, ns, window, &pinned), QUIRE_DENIED, "block %u: pinned", numbers[i]);
        cr_assert_eq(put(&client, ns, window, &malformed), QUIRE_INVALID, "block %u: malformed", numbers[i]);
        cr_assert_eq(put(&client, ns, window, &good), QUIRE_OK, "block %u", numbers[i]);
        cr_assert_eq(put(&client, ns, window, &elsewhere), QUIRE_OK, "block %u: another parent", numbers[i]);
    }
    Quire__Wire__Grants *grants = frames_lease(&witness, ns, 4);
    cr_assert_eq(grants->hits, 3, "what was there is as it was");
    frames_release(&witness, grants->lease);
    quire__wire__grants__free_unpacked(grants, NULL);
    cr_assert_eq(by_keys(&client, ns, QUIRE_WIRE_DELETE, 2, told), QUIRE_OK);
    cr_assert(told[0] == QUIRE_OK && told[1] == QUIRE_OK && told[2] == QUIRE_OK && told[3] == QUIRE_OK);
    grants = frames_lease(&witness, ns, 4);
    cr_assert_eq(grants->hits, 1, "and is deleted");
    frames_release(&witness, grants->lease);
    quire__wire__grants__free_unpacked(grants, NULL);
    remote_close(&client);
}

/* Memory for stores is lent to those who may store. */
Test(daemon_rights, who_may_only_read_is_lent_nothing, .init = start, .fini = stop, .timeout = 60) {
    remote_begin_as(&client, "reader");
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    get.bytes = 1 << 20;
    remote_send(&client, QUIRE_MSG_INGEST_GET, &get.base, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_INGEST_ACK);
    Quire__Wire__IngestAck *ack = quire__wire__ingest_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(ack->status, QUIRE_DENIED, "%s", ack->text);
    quire__wire__ingest_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    remote_close(&client);
}

/* ---- limits --------------------------------------------------------------------------------------------------------------------- */
/* One tenant does not use up all namespaces or sessions; what is there already it may open, and a place that has become free it may have. */
Test(daemon_rights, a_tenant_has_its_share, .init = start, .fini = stop, .timeout = 60) {
    uint32_t ns;
    remote_begin_as(&client, "tenant");
    cr_assert_eq(ns_open(&client, "mine-1", &ns), QUIRE_OK);
    cr_assert_eq(ns_open(&client, "mine-2", &ns), QUIRE_OK);
    cr_assert_eq(ns_open(&client, "mine-3", &ns), QUIRE_FULL);
    cr_assert_eq(ns_open(&client, "mine-2", &ns), QUIRE_OK);
    cr_assert_eq(asked(&client, QUIRE_ADMIN_NS_DELETE, "mine-1", 0), QUIRE_OK);
    cr_assert_eq(ns_open(&client, "mine-3", &ns), QUIRE_OK);
    remote_close(&client);
    struct remote_client writers[3];
    remote_begin_as(&writers[0], "writer");
    remote_begin_as(&writers[1], "writer");
    remote_open(&writers[2]);
    remote_challenged(&writers[2]);
    token = "writer";
    remote_say_hello(&writers[2], writers[2].nonce);
    remote_expect_refusal(&writers[2], QUIRE_RETRY);
    remote_close(&writers[2]);
    remote_close(&writers[1]);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 2));
    remote_begin_as(&writers[1], "writer");
    remote_close(&writers[1]);
    remote_close(&writers[0]);
}
