/* The way out: frames are packed once, sent at once when the socket takes them, and queued when it does not. */
#include "daemon/core_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSION_LONG_BYTES (16u << 10)
#define SESSION_AHEAD_BYTES (1 << 10)

static struct session_tx *session_tx_alloc(uint64_t size_bytes) {
    struct session_tx *tx = malloc(sizeof *tx + size_bytes);
    if (tx != NULL) {
        memset(tx, 0, sizeof *tx);
        tx->size_bytes = size_bytes;
    }
    return tx;
}

struct session_tx *session_tx_create(uint64_t bulk_bytes, uint8_t **bulk) {
    struct session_tx *tx = session_tx_alloc(QUIRE_FRAME_BYTES + SESSION_BULK_BODY_BYTES + bulk_bytes);
    *bulk = tx != NULL ? tx->bytes + QUIRE_FRAME_BYTES + SESSION_BULK_BODY_BYTES : NULL;
    return tx;
}

void session_tx_free(struct session_tx *tx) {
    for (uint32_t i = 0; i < tx->n_fds; i++) {
        close(tx->fds[i]);
    }
    free(tx);
}

/* What sendmsg took, 0: would block, −1: it failed, errno says why. */
static ssize_t session_write(const struct session *session, const void *bytes, size_t size, const int *fds, uint32_t n_fds) {
    struct iovec part = {(void *)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    if (n_fds > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
    }
    ssize_t sent;
    do {
        sent = sendmsg(session->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN) {
        return 0;
    }
    return sent;
}

/* Only one that has hung up has let go of what it leased; for want of something of ours (descriptors under way, memory) it is thrown out. */
static void session_write_failed(struct session *session) {
    bool gone = errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN;
    if (!gone) {
        log_warn("send_failed", "session %llu (%s, pid %d): %s", (unsigned long long)session->id, session->client, (int)session->pid,
                 strerror(errno));
    }
    session_end(session, gone ? SESSION_END_LOST : SESSION_END_KICKED);
}

static void session_tx_append(struct session *session, struct session_tx *tx) {
    if (session->tx_head == NULL) {
        session->tx_head = tx;
        session->tx_moved_ns = loop_now_ns();
    } else {
        session->tx_tail->next = tx;
    }
    session->tx_tail = tx;
    session->tx_bytes += tx->size_bytes - tx->sent_bytes;
    session->tx_fds += tx->n_fds;
}

/* Queues what the socket did not take, with descriptors of its own: the caller's may be closed before it goes out. */
static enum quire_status session_queue(struct session *session, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    struct session_tx *tx = session_tx_alloc(size);
    if (tx == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memcpy(tx->bytes, bytes, size);
    for (uint32_t i = 0; i < n_fds; i++) {
        tx->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (tx->fds[i] < 0) {
            session_tx_free(tx);
            return QUIRE_SYSTEM;
        }
        tx->n_fds++;
    }
    session_tx_append(session, tx);
    return QUIRE_OK;
}

/* As session_write for a whole frame; a long one's first bytes go ahead, so that its reader wakes while the rest is still being copied. */
static ssize_t session_write_frame(const struct session *session, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    if (size < SESSION_LONG_BYTES) {
        return session_write(session, bytes, size, fds, n_fds);
    }
    ssize_t ahead = session_write(session, bytes, SESSION_AHEAD_BYTES, fds, n_fds);
    if (ahead != SESSION_AHEAD_BYTES) {
        return ahead;
    }
    ssize_t rest = session_write(session, bytes + ahead, size - (size_t)ahead, NULL, 0);
    return rest < 0 ? rest : ahead + rest;
}

/* Sends a whole packed frame, or queues what is left of it. */
static void session_emit(struct session *session, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    session->core->counters.frames_out++;
    size_t sent = 0;
    if (session->tx_head == NULL) {
        ssize_t taken = session_write_frame(session, bytes, size, fds, n_fds);
        if (taken < 0) {
            session_write_failed(session);
            return;
        }
        sent = (size_t)taken;
        if (sent == size) {
            return;
        }
    }
    if (session_queue(session, bytes + sent, size - sent, fds, sent == 0 ? n_fds : 0) != QUIRE_OK) {
        log_error("session_no_memory", "session %llu: no memory or descriptor to queue a reply", (unsigned long long)session->id);
        session_end(session, SESSION_END_KICKED);
        return;
    }
    session_want(session);
}

void session_send(struct session *session, enum quire_msg type, uint64_t request, const ProtobufCMessage *body, const int *fds,
                  uint32_t n_fds) {
    if (session->state == SESSION_ENDED) {
        return;
    }
    size_t body_bytes = body != NULL ? protobuf_c_message_get_packed_size(body) : 0;
    struct arena *arena = &session->core->arena;
    size_t mark = arena->used_bytes;
    uint8_t *bytes = body_bytes <= QUIRE_BODY_MAX ? arena_alloc(arena, QUIRE_FRAME_BYTES + body_bytes) : NULL;
    if (bytes == NULL) {
        session_fail(session, request, QUIRE_TOO_LARGE, 0, "the answer has %zu bytes, more than a frame may hold: ask for less",
                     body_bytes);
        return;
    }
    if (body != NULL) {
        protobuf_c_message_pack(body, bytes + QUIRE_FRAME_BYTES);
    }
    struct quire_frame frame = {.type = (uint16_t)type, .body_bytes = (uint32_t)body_bytes, .request_id = request};
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    session_emit(session, bytes, QUIRE_FRAME_BYTES + body_bytes, fds, n_fds);
    arena->used_bytes = mark;
}

void session_send_bulk(struct session *session, uint64_t request, struct session_tx *tx, uint64_t bulk_bytes) {
    /* Bulk{status: OK} would be empty; a field that readers skip keeps the body's length fixed, so that the bulk bytes can be copied
       into place before the outcome is known. Field 15, a four-byte varint padded with continuation bits. */
    static const uint8_t body[SESSION_BULK_BODY_BYTES] = {0x78, 0x80, 0x80, 0x00};
    if (session->state == SESSION_ENDED) {
        session_tx_free(tx);
        return;
    }
    memcpy(tx->bytes + QUIRE_FRAME_BYTES, body, sizeof body);
    struct quire_frame frame = {
        .type = QUIRE_MSG_BULK, .body_bytes = SESSION_BULK_BODY_BYTES, .bulk_bytes = bulk_bytes, .request_id = request};
    quire_frame_encode(&frame, body, tx->bytes);
    session->core->counters.frames_out++;
    session->core->counters.bulk_bytes += bulk_bytes;
    session_tx_append(session, tx);
    session_flush(session);
}

void session_flush(struct session *session) {
    while (session->state != SESSION_ENDED && session->tx_head != NULL) {
        struct session_tx *tx = session->tx_head;
        ssize_t sent = session_write(session, tx->bytes + tx->sent_bytes, tx->size_bytes - tx->sent_bytes, tx->fds, tx->n_fds);
        if (sent < 0) {
            session_write_failed(session);
            return;
        }
        if (sent == 0) {
            break;
        }
        session->tx_moved_ns = loop_now_ns();
        session->tx_bytes -= (uint64_t)sent;
        tx->sent_bytes += (uint64_t)sent;
        while (tx->n_fds > 0) {
            close(tx->fds[--tx->n_fds]);
            session->tx_fds--;
        }
        if (tx->sent_bytes == tx->size_bytes) {
            session->tx_head = tx->next;
            session_tx_free(tx);
        }
        if (session->held) {
            core_runnable(session->core, session); /* there is room for more */
        }
    }
    session_want(session);
}

void session_fail(struct session *session, uint64_t request, enum quire_status status, uint32_t retry_after_ms, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    Quire__Wire__Error error = QUIRE__WIRE__ERROR__INIT;
    error.status = status;
    error.text = text;
    error.retry_after_ms = retry_after_ms;
    session->core->counters.requests_failed++;
    session_send(session, QUIRE_MSG_ERROR, request, &error.base, NULL, 0);
}
