/* A client over TLS that speaks frames by hand: what it may not do ends its session with a reason, and leaves nothing behind. */
#include "daemon_frames.h"

#include "daemon/net/rail.h"
#include "proto/tls/tls.h"
#include "tests/certificate.h"

#include <arpa/inet.h>
#include <fcntl.h>

#define SECRET "0123456789abcdef"

static struct frames_daemon daemon_;
static char certificate[128], token_file[128];
static uint16_t port;
static struct frames_client witness;

/* A port that was free a moment ago. */
static uint16_t free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, size) == 0 && getsockname(fd, (struct sockaddr *)&at, &size) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void write_tokens(void) {
    int fd = open(token_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    static const char text[] = "worker " SECRET " read,write,admin *\n";
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void start(void) {
    frames_config(&daemon_);
    snprintf(certificate, sizeof certificate, "%s/c", daemon_.folder);
    snprintf(token_file, sizeof token_file, "%s/t", daemon_.folder);
    cr_assert(certificate_write(certificate));
    write_tokens();
    port = free_port();
    struct config_listen *listen = &daemon_.config.listen;
    snprintf(listen->tls, sizeof listen->tls, "127.0.0.1:%u", port);
    snprintf(listen->tls_certificate, sizeof listen->tls_certificate, "%s", certificate);
    snprintf(listen->token_file, sizeof listen->token_file, "%s", token_file);
    frames_begin(&daemon_, &witness);
}

static void stop(void) {
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1), "the offender is still there");
    cr_assert(frames_until(&daemon_, frames_idle, 0), "something is still held");
    unlink(certificate);
    unlink(token_file);
    frames_end(&daemon_, &witness);
}

/* ---- a client ------------------------------------------------------------------------------------------------------------------- */
struct remote_client {
    int fd;
    struct quire_tls *tls;
    struct quire_decoder decoder;
    uint8_t pending[4096];
    size_t have, at;
    uint64_t next_id;
    uint8_t nonce[QUIRE_NONCE_BYTES];
};
static struct remote_client client;

static void wait_for(const struct remote_client *self) {
    struct pollfd wait = {.fd = self->fd, .events = quire_tls_wants_out(self->tls) ? POLLOUT : POLLIN};
    cr_assert_eq(poll(&wait, 1, FRAMES_WAIT_MS), 1, "the daemon says nothing");
}

static void remote_open(struct remote_client *self) {
    char why[QUIRE_TLS_WHY_BYTES];
    struct quire_tls_settings *settings;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(self, 0, sizeof *self);
    self->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(self->fd, (struct sockaddr *)&at, sizeof at), 0, "%s", strerror(errno));
    fcntl(self->fd, F_SETFL, O_NONBLOCK);
    const struct quire_tls_files files = {.authorities = certificate};
    cr_assert_eq(quire_tls_settings_create(false, &files, &settings, why), QUIRE_OK, "%s", why);
    cr_assert_eq(quire_tls_create(settings, self->fd, "127.0.0.1", &self->tls), QUIRE_OK);
    quire_tls_settings_destroy(&settings);
    enum quire_status status;
    while ((status = quire_tls_handshake(self->tls)) == QUIRE_PENDING) {
        wait_for(self);
    }
    cr_assert_eq(status, QUIRE_OK, "%s", quire_tls_why(self->tls));
}

static void remote_close(struct remote_client *self) {
    quire_tls_destroy(&self->tls, false);
    close(self->fd);
    quire_decoder_free(&self->decoder);
}

/* False when the daemon has hung up. */
static bool remote_write(struct remote_client *self, const void *bytes, size_t size) {
    for (size_t done = 0, sent = 0; done < size; done += sent) {
        enum quire_status status = quire_tls_write(self->tls, (const uint8_t *)bytes + done, size - done, &sent);
        if (status == QUIRE_PENDING) {
            sent = 0;
            wait_for(self);
        } else if (status != QUIRE_OK) {
            return false;
        }
    }
    return true;
}

static uint64_t remote_send(struct remote_client *self, enum quire_msg type, const ProtobufCMessage *body, uint64_t bulk_bytes) {
    uint8_t *bytes;
    struct quire_frame frame = {.type = (uint16_t)type, .request_id = ++self->next_id, .bulk_bytes = bulk_bytes};
    size_t size = frames_pack(&frame, body, &bytes);
    remote_write(self, bytes, size);
    free(bytes);
    return self->next_id;
}

static bool remote_recv(struct remote_client *self, struct frames_answer *answer) {
    memset(answer, 0, sizeof *answer);
    for (;;) {
        size_t used;
        enum quire_status status = quire_decoder_feed(&self->decoder, self->pending + self->at, self->have - self->at, &used);
        self->at += used;
        if (status == QUIRE_OK) {
            break;
        }
        cr_assert_eq(status, QUIRE_PENDING, "the daemon sent a malformed frame");
        while ((status = quire_tls_read(self->tls, self->pending, sizeof self->pending, &self->have)) == QUIRE_PENDING) {
            wait_for(self);
        }
        self->at = 0;
        if (status != QUIRE_OK) {
            self->have = 0;
            return false;
        }
    }
    answer->frame = self->decoder.frame;
    answer->body = malloc(answer->frame.body_bytes + 1);
    memcpy(answer->body, quire_decoder_body(&self->decoder), answer->frame.body_bytes);
    quire_decoder_next(&self->decoder);
    return true;
}

static struct frames_answer remote_expect(struct remote_client *self, enum quire_msg type) {
    struct frames_answer answer;
    cr_assert(remote_recv(self, &answer), "the daemon hung up instead of answering");
    cr_assert_eq(answer.frame.type, type, "frame of type %u, expected %d", answer.frame.type, type);
    return answer;
}

/* An ERROR of this status, and the end. */
static void remote_expect_refusal(struct remote_client *self, enum quire_status status) {
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_ERROR);
    Quire__Wire__Error *error = quire__wire__error__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(error->status, status, "%s: %s", quire_status_name((enum quire_status)error->status), error->text);
    quire__wire__error__free_unpacked(error, NULL);
    frames_answer_free(&answer);
    cr_assert_not(remote_recv(self, &answer), "a frame of type %u instead of the end", answer.frame.type);
}

static void remote_challenged(struct remote_client *self) {
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_CHALLENGE);
    Quire__Wire__Challenge *challenge = quire__wire__challenge__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert(challenge != NULL && challenge->nonce.len == QUIRE_NONCE_BYTES);
    memcpy(self->nonce, challenge->nonce.data, QUIRE_NONCE_BYTES);
    quire__wire__challenge__free_unpacked(challenge, NULL);
    frames_answer_free(&answer);
}

static void remote_say_hello(struct remote_client *self, const uint8_t *nonce) {
    uint8_t proof[QUIRE_PROOF_BYTES];
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    quire_proof(SECRET, strlen(SECRET), nonce, "worker", proof);
    hello.major = QUIRE_PROTO_MAJOR;
    hello.client = (char *)"unit test";
    hello.features = QUIRE_FEATURE_PING;
    hello.token = (char *)"worker";
    hello.proof = (ProtobufCBinaryData){.len = sizeof proof, .data = proof};
    remote_send(self, QUIRE_MSG_HELLO, &hello.base, 0);
}

static void remote_begin(struct remote_client *self) {
    remote_open(self);
    remote_challenged(self);
    remote_say_hello(self, self->nonce);
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_HELLO_ACK);
    frames_answer_free(&answer);
}

static uint32_t remote_window(struct remote_client *self, uint64_t bytes) {
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    get.bytes = bytes;
    get.deadline_ms = FRAMES_WAIT_MS;
    remote_send(self, QUIRE_MSG_INGEST_GET, &get.base, 0);
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_INGEST_ACK);
    Quire__Wire__IngestAck *ack = quire__wire__ingest_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(ack->status, QUIRE_OK, "%s", ack->text);
    uint32_t window = ack->window;
    quire__wire__ingest_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    return window;
}

static void remote_put(struct remote_client *self, uint32_t window, uint64_t offset, uint64_t bulk_bytes) {
    struct quire_wire_put item = {.length = 1};
    Quire__Wire__Put put = QUIRE__WIRE__PUT__INIT;
    put.window = window;
    put.bulk_offset = offset;
    put.items = (ProtobufCBinaryData){.len = sizeof item, .data = (uint8_t *)&item};
    remote_send(self, QUIRE_MSG_PUT, &put.base, bulk_bytes);
}

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
