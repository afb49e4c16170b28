#include "daemon/local_link.h"

#include "daemon/core_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A batch of a thousand keys and its grants in one piece; the kernel may give less. */
#define LOCAL_BUFFER_BYTES (1 << 20)
/* Of a frame as long as this the first bytes go ahead, so that its reader wakes while the rest is still being copied. */
#define LOCAL_LONG_BYTES (16u << 10)
#define LOCAL_AHEAD_BYTES (1 << 10)
/* Of a reply to one system call. */
#define LOCAL_PARTS 64

struct local_link {
    struct link link; /* first */
    struct core *core;
    struct loop_source source;
    bool wants; /* the session takes frames */
    struct quire_decoder decoder;
    uint8_t *stash; /* input read but not decoded yet */
    size_t stash_bytes, stash_at;
    struct link_tx *tx_head, *tx_tail;
};

static struct local_link *local_of(struct link *link) { return LOOP_CONTAINER(link, struct local_link, link); }

/* Reads when there is nothing left over; writes when something is queued. */
static void local_watch(struct local_link *local) {
    if (local->source.fd >= 0) {
        local->link.reads = local->wants && !local->link.more;
        loop_want(local->core->loop, &local->source,
                  (local->link.reads ? (uint32_t)EPOLLIN : 0) | (local->tx_head != NULL ? (uint32_t)EPOLLOUT : 0));
    }
}

static void local_want(struct link *link, bool takes) {
    local_of(link)->wants = takes;
    local_watch(local_of(link));
}

/* ---- in ------------------------------------------------------------------------------------------------------------------- */

/* Hands the complete frame over. False: it is held, or the session has ended. */
static bool local_hand_over(struct local_link *local, uint64_t read_ns) {
    const struct quire_frame frame = local->decoder.frame;
    if (!session_frame(local->link.session, &frame, quire_decoder_body(&local->decoder), read_ns)) {
        return false;
    }
    quire_decoder_next(&local->decoder);
    local->link.frame_ns = 0;
    return true;
}

/* Decodes and hands over until the bytes, the turn or the room for replies is used up; *used is how many bytes were taken. */
static void local_decode(struct local_link *local, const uint8_t *bytes, size_t size, size_t *used, uint64_t read_ns) {
    struct session *session = local->link.session;
    *used = 0;
    for (uint32_t frames = 0; frames < SESSION_TURN_FRAMES && !session->leaving && !session_stalled(session); frames++) {
        size_t taken = 0;
        enum quire_status status = quire_decoder_feed(&local->decoder, bytes + *used, size - *used, &taken);
        *used += taken;
        if (status == QUIRE_PENDING) {
            return;
        }
        if (status != QUIRE_OK) {
            session_broken(session, status, local->decoder.buffer != NULL ? local->decoder.buffer[4] : 0);
            return;
        }
        local->core->counters.frames_in++;
        if (!local_hand_over(local, read_ns) || *used == size) {
            return;
        }
    }
}

/* Keeps what the turn has read and not decoded. */
static bool local_keep(struct local_link *local, const uint8_t *bytes, size_t size) {
    if (size == 0) {
        return true;
    }
    uint8_t *stash = malloc(size);
    if (stash == NULL) {
        return false;
    }
    memcpy(stash, bytes, size);
    free(local->stash);
    local->stash = stash;
    local->stash_bytes = size;
    local->stash_at = 0;
    local->link.more = true;
    return true;
}

static void local_turn_stash(struct local_link *local, uint64_t read_ns) {
    size_t used = 0;
    local_decode(local, local->stash + local->stash_at, local->stash_bytes - local->stash_at, &used, read_ns);
    local->stash_at += used;
    if (local->link.session->state != SESSION_ENDED && local->stash_at == local->stash_bytes) {
        free(local->stash);
        local->stash = NULL;
        local->stash_bytes = local->stash_at = 0;
        local->link.more = false;
    }
}

static void local_turn_socket(struct local_link *local, uint64_t read_ns) {
    struct session *session = local->link.session;
    uint8_t *rx = local->core->rx;
    ssize_t got = recv(local->source.fd, rx, SESSION_TURN_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        session_end(session, SESSION_END_LOST);
        return;
    }
    size_t used = 0;
    local_decode(local, rx, (size_t)got, &used, read_ns);
    if (session->state != SESSION_ENDED && !session->leaving && !local_keep(local, rx + used, (size_t)got - used)) {
        session_kick(session, QUIRE_NO_MEMORY, "no memory to keep what the client sent");
    }
}

/* Too much in frames that do not end: the one that was begun first goes, since an honest one takes no time. */
static void local_shed(struct core *core) {
    struct session *first = NULL;
    for (struct session *session = core->sessions; session != NULL; session = session->next) {
        const struct link *link = session->link;
        if (link->unfinished_bytes > 0 && (first == NULL || link->frame_ns < first->link->frame_ns)) {
            first = session;
        }
    }
    if (first != NULL) {
        session_kick(first, QUIRE_RETRY, "too many unfinished requests: this one was begun first");
    }
}

/* Keeps the books of the frame that is being gathered. */
static void local_note_frame(struct local_link *local, uint64_t read_ns) {
    struct core *core = local->core;
    struct link *link = &local->link;
    bool unfinished = local->decoder.have_bytes > 0 && !link->session->held;
    uint64_t bytes = unfinished ? local->decoder.capacity_bytes : 0;
    link->frame_ns = !unfinished ? 0 : link->frame_ns != 0 ? link->frame_ns : read_ns;
    core->unfinished_bytes += bytes - link->unfinished_bytes;
    link->unfinished_bytes = bytes;
    if (core->unfinished_bytes > core->unfinished_max_bytes) {
        local_shed(core);
    }
}

static void local_turn(struct link *link, uint64_t read_ns) {
    struct local_link *local = local_of(link);
    struct session *session = link->session;
    bool goes_on = !session->held || local_hand_over(local, read_ns);
    if (goes_on && link->more) {
        local_turn_stash(local, read_ns);
    } else if (goes_on) {
        local_turn_socket(local, read_ns);
    }
    if (session->state != SESSION_ENDED) {
        local_note_frame(local, read_ns);
    }
}

/* ---- out ------------------------------------------------------------------------------------------------------------------ */

/* What sendmsg took, 0: would block, −1: it failed, errno says why. */
static ssize_t local_write_parts(const struct local_link *local, struct iovec *parts, uint32_t n_parts, const int *fds, uint32_t n_fds) {
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
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
        sent = sendmsg(local->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN) {
        return 0;
    }
    return sent;
}

static ssize_t local_write(const struct local_link *local, const void *bytes, size_t size, const int *fds, uint32_t n_fds) {
    struct iovec part = {(void *)bytes, size};
    return local_write_parts(local, &part, 1, fds, n_fds);
}

/* Only one that has hung up has let go of what it leased; for want of something of ours (descriptors under way, memory) it is thrown out. */
static void local_write_failed(struct session *session) {
    bool gone = errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN;
    if (!gone) {
        log_warn("send_failed", "session %llu (%s, pid %d): %s", (unsigned long long)session->id, session->client, (int)session->pid,
                 strerror(errno));
    }
    session_end(session, gone ? SESSION_END_LOST : SESSION_END_KICKED);
}

static void local_append(struct local_link *local, struct link_tx *tx) {
    if (local->tx_head == NULL) {
        local->tx_head = tx;
        local->link.tx_moved_ns = loop_now_ns();
    } else {
        local->tx_tail->next = tx;
    }
    local->tx_tail = tx;
    local->link.tx_bytes += tx->size_bytes - tx->sent_bytes;
    local->link.tx_bulk_bytes += link_tx_bulk_bytes(tx);
    local->link.tx_fds += tx->n_fds;
}

/* Queues what the socket did not take, with descriptors of its own: the caller's may be closed before it goes out. */
static enum quire_status local_queue(struct local_link *local, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    struct link_tx *tx = link_tx_create((uint32_t)size, 0);
    if (tx == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memcpy(tx->bytes, bytes, size);
    for (uint32_t i = 0; i < n_fds; i++) {
        tx->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (tx->fds[i] < 0) {
            link_tx_free(tx);
            return QUIRE_SYSTEM;
        }
        tx->n_fds++;
    }
    local_append(local, tx);
    return QUIRE_OK;
}

static ssize_t local_write_frame(const struct local_link *local, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    if (size < LOCAL_LONG_BYTES) {
        return local_write(local, bytes, size, fds, n_fds);
    }
    ssize_t ahead = local_write(local, bytes, LOCAL_AHEAD_BYTES, fds, n_fds);
    if (ahead != LOCAL_AHEAD_BYTES) {
        return ahead;
    }
    ssize_t rest = local_write(local, bytes + ahead, size - (size_t)ahead, NULL, 0);
    return rest < 0 ? rest : ahead + rest;
}

static void local_send(struct link *link, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    struct local_link *local = local_of(link);
    size_t sent = 0;
    if (local->tx_head == NULL) {
        ssize_t taken = local_write_frame(local, bytes, size, fds, n_fds);
        if (taken < 0) {
            local_write_failed(link->session);
            return;
        }
        sent = (size_t)taken;
        if (sent == size) {
            return;
        }
    }
    if (local_queue(local, bytes + sent, size - sent, fds, sent == 0 ? n_fds : 0) != QUIRE_OK) {
        log_error("session_no_memory", "session %llu: no memory or descriptor to queue a reply", (unsigned long long)link->session->id);
        session_end(link->session, SESSION_END_KICKED);
        return;
    }
    session_want(link->session);
}

/* The socket has taken so much of the first reply. */
static void local_sent(struct local_link *local, uint64_t bytes) {
    struct link *link = &local->link;
    struct link_tx *tx = local->tx_head;
    link->tx_moved_ns = loop_now_ns();
    link->tx_bytes -= bytes;
    link->tx_bulk_bytes -= link_tx_bulk_bytes(tx);
    link_tx_sent(tx, bytes);
    link->tx_bulk_bytes += link_tx_bulk_bytes(tx);
    while (tx->n_fds > 0) {
        close(tx->fds[--tx->n_fds]);
        link->tx_fds--;
    }
    if (tx->sent_bytes == tx->size_bytes) {
        local->tx_head = tx->next;
        link_tx_free(tx);
    }
}

static void local_flush(struct local_link *local) {
    struct session *session = local->link.session;
    while (session->state != SESSION_ENDED && local->tx_head != NULL) {
        const struct link_tx *tx = local->tx_head;
        struct iovec parts[LOCAL_PARTS];
        ssize_t sent = local_write_parts(local, parts, link_tx_rest(tx, parts, LOCAL_PARTS), tx->fds, tx->n_fds);
        if (sent < 0) {
            local_write_failed(session);
            return;
        }
        if (sent == 0) {
            break;
        }
        local_sent(local, (uint64_t)sent);
        if (session->held) {
            core_runnable(local->core, session); /* there is room for more */
        }
    }
    session_want(session);
}

static void local_send_bulk(struct link *link, struct link_tx *tx) {
    local_append(local_of(link), tx);
    local_flush(local_of(link));
}

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

static void local_ready(struct loop_source *source, uint32_t events) {
    struct local_link *local = LOOP_CONTAINER(source, struct local_link, source);
    struct session *session = local->link.session;
    session_ref(session);
    if (events & EPOLLOUT) {
        local_flush(local);
    }
    if (session->state != SESSION_ENDED && (local->source.events & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        session_turn(session);
    } else if (session->state != SESSION_ENDED && (events & (EPOLLHUP | EPOLLERR))) {
        session_end(session, session->leaving ? SESSION_END_GOODBYE : SESSION_END_LOST);
    }
    session_unref(session);
}

static void local_close(struct link *link) {
    struct local_link *local = local_of(link);
    local->core->unfinished_bytes -= link->unfinished_bytes;
    loop_remove(local->core->loop, &local->source);
    close(local->source.fd);
    local->source.fd = -1;
    while (local->tx_head != NULL) {
        struct link_tx *tx = local->tx_head;
        local->tx_head = tx->next;
        link_tx_free(tx);
    }
    link->tx_bytes = link->tx_bulk_bytes = 0;
    link->tx_fds = 0;
}

static void local_free(struct link *link) {
    struct local_link *local = local_of(link);
    if (local->source.fd >= 0) {
        loop_remove(local->core->loop, &local->source);
    }
    quire_decoder_free(&local->decoder);
    free(local->stash);
    free(local);
}

static const struct link_ops local_link_ops = {.name = "unix",
                                               .turn = local_turn,
                                               .want = local_want,
                                               .send = local_send,
                                               .send_bulk = local_send_bulk,
                                               .close = local_close,
                                               .free = local_free};

enum quire_status local_link_create(struct core *core, int fd, struct link **out) {
    struct local_link *local = calloc(1, sizeof *local);
    if (local == NULL) {
        return QUIRE_NO_MEMORY;
    }
    int buffer_bytes = LOCAL_BUFFER_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    local->link.ops = &local_link_ops;
    local->core = core;
    local->source = (struct loop_source){.fd = fd, .events = EPOLLIN, .ready = local_ready};
    if (loop_add(core->loop, &local->source) != QUIRE_OK) {
        free(local);
        return QUIRE_SYSTEM;
    }
    local->link.reads = true;
    *out = &local->link;
    return QUIRE_OK;
}
