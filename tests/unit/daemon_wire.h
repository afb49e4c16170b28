/*
 * A daemon that listens for other hosts, in a thread of the test's process, and clients over TLS that speak frames by hand.
 */
#ifndef TESTS_DAEMON_WIRE_H
#define TESTS_DAEMON_WIRE_H

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
static const char *token = "worker"; /* who a client says it is */

/* A port that was free a moment ago. */
FRAMES_UNUSED static uint16_t free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, size) == 0 && getsockname(fd, (struct sockaddr *)&at, &size) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

FRAMES_UNUSED static void write_tokens(void) {
    int fd = open(token_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    static const char text[] = "worker " SECRET " read,write,admin,rma *\nother " SECRET " read,rma *\n"
                               "writer " SECRET " write story* sessions=2\n"
                               "reader " SECRET " read story*\n"
                               "tenant " SECRET " read,write,admin mine* namespaces=2\n";
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

FRAMES_UNUSED static void wire_config(void) {
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
}

FRAMES_UNUSED static void start(void) {
    wire_config();
    frames_begin(&daemon_, &witness);
}

FRAMES_UNUSED static void stop(void) {
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

FRAMES_UNUSED static void wait_for(const struct remote_client *self) {
    struct pollfd wait = {.fd = self->fd, .events = quire_tls_wants_out(self->tls) ? POLLOUT : POLLIN};
    cr_assert_eq(poll(&wait, 1, FRAMES_WAIT_MS), 1, "the daemon says nothing");
}

/* A connection from 127.0.0.HOST, without a word. */
FRAMES_UNUSED static int remote_connect(uint8_t host) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&from, sizeof from), 0, "%s", strerror(errno));
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0, "%s", strerror(errno));
    return fd;
}

FRAMES_UNUSED static void remote_open_from(struct remote_client *self, uint8_t host) {
    char why[QUIRE_TLS_WHY_BYTES];
    struct quire_tls_settings *settings;
    memset(self, 0, sizeof *self);
    self->fd = remote_connect(host);
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

FRAMES_UNUSED static void remote_open(struct remote_client *self) { remote_open_from(self, 1); }

FRAMES_UNUSED static void remote_close(struct remote_client *self) {
    quire_tls_destroy(&self->tls, false);
    close(self->fd);
    quire_decoder_free(&self->decoder);
}

/* False when the daemon has hung up. */
FRAMES_UNUSED static bool remote_write(struct remote_client *self, const void *bytes, size_t size) {
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

FRAMES_UNUSED static uint64_t remote_send(struct remote_client *self, enum quire_msg type, const ProtobufCMessage *body,
                                          uint64_t bulk_bytes) {
    uint8_t *bytes;
    struct quire_frame frame = {.type = (uint16_t)type, .request_id = ++self->next_id, .bulk_bytes = bulk_bytes};
    size_t size = frames_pack(&frame, body, &bytes);
    remote_write(self, bytes, size);
    free(bytes);
    return self->next_id;
}

FRAMES_UNUSED static bool remote_recv(struct remote_client *self, struct frames_answer *answer) {
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

FRAMES_UNUSED static struct frames_answer remote_expect(struct remote_client *self, enum quire_msg type) {
    struct frames_answer answer;
    cr_assert(remote_recv(self, &answer), "the daemon hung up instead of answering");
    cr_assert_eq(answer.frame.type, type, "frame of type %u, expected %d", answer.frame.type, type);
    return answer;
}

/* An ERROR of this status, and the end. */
FRAMES_UNUSED static void remote_expect_refusal(struct remote_client *self, enum quire_status status) {
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_ERROR);
    Quire__Wire__Error *error = quire__wire__error__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(error->status, status, "%s: %s", quire_status_name((enum quire_status)error->status), error->text);
    quire__wire__error__free_unpacked(error, NULL);
    frames_answer_free(&answer);
    cr_assert_not(remote_recv(self, &answer), "a frame of type %u instead of the end", answer.frame.type);
}

FRAMES_UNUSED static void remote_challenged(struct remote_client *self) {
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_CHALLENGE);
    Quire__Wire__Challenge *challenge = quire__wire__challenge__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert(challenge != NULL && challenge->nonce.len == QUIRE_NONCE_BYTES);
    memcpy(self->nonce, challenge->nonce.data, QUIRE_NONCE_BYTES);
    quire__wire__challenge__free_unpacked(challenge, NULL);
    frames_answer_free(&answer);
}

FRAMES_UNUSED static void remote_prove(struct remote_client *self, const char *secret, const uint8_t *nonce) {
    uint8_t proof[QUIRE_PROOF_BYTES];
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    quire_proof(secret, strlen(secret), nonce, token, proof);
    hello.major = QUIRE_PROTO_MAJOR;
    hello.client = (char *)"unit test";
    hello.features = QUIRE_FEATURE_PING;
    hello.token = (char *)(uintptr_t)token;
    hello.proof = (ProtobufCBinaryData){.len = sizeof proof, .data = proof};
    remote_send(self, QUIRE_MSG_HELLO, &hello.base, 0);
}

FRAMES_UNUSED static void remote_say_hello(struct remote_client *self, const uint8_t *nonce) { remote_prove(self, SECRET, nonce); }

FRAMES_UNUSED static void remote_begin(struct remote_client *self) {
    remote_open(self);
    remote_challenged(self);
    remote_say_hello(self, self->nonce);
    struct frames_answer answer = remote_expect(self, QUIRE_MSG_HELLO_ACK);
    frames_answer_free(&answer);
}

FRAMES_UNUSED static void remote_begin_as(struct remote_client *self, const char *name) {
    token = name;
    remote_begin(self);
    token = "worker";
}

FRAMES_UNUSED static uint32_t remote_window(struct remote_client *self, uint64_t bytes) {
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

FRAMES_UNUSED static void remote_put(struct remote_client *self, uint32_t window, uint64_t offset, uint64_t bulk_bytes) {
    struct quire_wire_put item = {.length = 1};
    Quire__Wire__Put put = QUIRE__WIRE__PUT__INIT;
    put.window = window;
    put.bulk_offset = offset;
    put.items = (ProtobufCBinaryData){.len = sizeof item, .data = (uint8_t *)&item};
    remote_send(self, QUIRE_MSG_PUT, &put.base, bulk_bytes);
}

#endif
