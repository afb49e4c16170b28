#include "daemon/core_internal.h"

#include "proto/status.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static bool session_stalled(const struct session *session) {
    return session->tx_bytes > SESSION_TX_HIGH_BYTES || session->tx_fds >= SESSION_TX_HIGH_FDS;
}
static bool session_has_stash(const struct session *session) { return session->stash_at < session->stash_bytes; }

/* Is something under way whose answer it waits for? */
static bool session_expects(const struct session *session) {
    return session->put_items > 0 || session->read_bytes > 0 || session->load_items > 0 || session->durable_waits > 0;
}

/* Reads when there is nothing left over and nothing to wait for; writes when something is queued. */
void session_want(struct session *session) {
    if (session->state == SESSION_ENDED) {
        return;
    }
    bool reads = !session->held && !session->leaving && !session_has_stash(session) && !session_stalled(session);
    uint32_t events = (reads ? (uint32_t)EPOLLIN : 0) | (session->tx_head != NULL ? (uint32_t)EPOLLOUT : 0);
    loop_want(session->core->loop, &session->source, events);
    if (session->leaving && session->tx_head == NULL && !session_expects(session)) {
        session_end(session, SESSION_END_GOODBYE);
    } else if (session_has_stash(session) && !session->held && !session_stalled(session)) {
        core_runnable(session->core, session);
    }
}

static void session_ready(struct loop_source *source, uint32_t events) {
    struct session *session = LOOP_CONTAINER(source, struct session, source);
    QUIRE_MAGIC_CHECK(session, SESSION_MAGIC);
    session_ref(session);
    if (events & EPOLLOUT) {
        session_flush(session);
    }
    if (session->state != SESSION_ENDED && (session->source.events & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        session_turn(session);
    } else if (session->state != SESSION_ENDED && (events & (EPOLLHUP | EPOLLERR))) {
        session_end(session, session->leaving ? SESSION_END_GOODBYE : SESSION_END_LOST);
    }
    session_unref(session);
}

static void session_link(struct core *core, struct session *session) {
    session->next = core->sessions;
    if (core->sessions != NULL) {
        core->sessions->prev = session;
    }
    core->sessions = session;
    core->n_sessions++;
}

static void session_unlink(struct core *core, struct session *session) {
    if (core->check_next == session) {
        core->check_next = session->next;
    }
    if (session->prev != NULL) {
        session->prev->next = session->next;
    } else {
        core->sessions = session->next;
    }
    if (session->next != NULL) {
        session->next->prev = session->prev;
    }
    core->n_sessions--;
}

enum quire_status session_create(struct core *core, int fd, struct session **out) {
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return QUIRE_NO_MEMORY;
    }
    int buffer_bytes = 1 << 20; /* a batch of a thousand keys and its grants in one piece; the kernel may give less */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    session->magic = SESSION_MAGIC;
    session->refs = 1;
    session->core = core;
    session->opened_ns = session->active_ns = core->now_ns;
    session->pidfd = -1;
    session->source = (struct loop_source){.fd = fd, .events = EPOLLIN, .ready = session_ready};
    if (loop_add(core->loop, &session->source) != QUIRE_OK) {
        free(session);
        return QUIRE_SYSTEM;
    }
    session_link(core, session);
    core->counters.sessions_opened++;
    *out = session;
    return QUIRE_OK;
}

void session_ref(struct session *session) { session->refs++; }

void session_unref(struct session *session) {
    assert(session->refs > 0);
    if (--session->refs == 0) {
        assert(session->state == SESSION_ENDED);
        quire_decoder_free(&session->decoder); /* not earlier: the turn that ends a session may be reading from it */
        free(session->stash);
        session->magic = 0;
        free(session);
    }
}

static void session_count_end(struct core *core, enum session_end how) {
    switch (how) {
    case SESSION_END_GOODBYE:
    case SESSION_END_SHUTDOWN:
        core->counters.sessions_closed++;
        break;
    case SESSION_END_LOST:
        core->counters.sessions_lost++;
        break;
    case SESSION_END_KICKED:
        core->counters.sessions_kicked++;
        break;
    case SESSION_END_REFUSED:
        core->counters.sessions_refused++;
        break;
    }
}

/* A kicked member may still be reading what it leased: those bytes wait for its process to go. */
static void session_leave_pager(struct session *session, enum session_end how) {
    struct core *core = session->core;
    struct pager_session_info info = {0};
    if (session->id == 0) {
        return;
    }
    bool quarantine =
        how == SESSION_END_KICKED && session->member && pager_session_info(core->pager, session->id, &info) == QUIRE_OK && info.leases > 0;
    pager_session_close(core->pager, session->id, quarantine);
    if (quarantine) {
        quarantine_add(core, session->id, session->pid, session->pidfd);
        session->pidfd = -1;
    }
}

static void session_drop_replies(struct session *session) {
    while (session->tx_head != NULL) {
        struct session_tx *tx = session->tx_head;
        session->tx_head = tx->next;
        session_tx_free(tx);
    }
    session->tx_bytes = 0;
    session->tx_fds = 0;
}

void session_end(struct session *session, enum session_end how) {
    struct core *core = session->core;
    if (session->state == SESSION_ENDED) {
        return;
    }
    session->state = SESSION_ENDED;
    session_count_end(core, how);
    log_debug("session_ended", "session %llu (%s, pid %d) ended", (unsigned long long)session->id, session->client, (int)session->pid);
    session_unlink(core, session);
    core->unfinished_bytes -= session->unfinished_bytes;
    ingest_owner_gone(core->ingest, session);
    session_leave_pager(session, how);
    loop_remove(core->loop, &session->source);
    close(session->source.fd);
    session->source.fd = -1;
    if (session->pidfd >= 0) {
        close(session->pidfd);
    }
    session_drop_replies(session);
    session_unref(session);
}

void session_kick(struct session *session, enum quire_status status, const char *why) {
    if (session->state == SESSION_ENDED) {
        return;
    }
    log_warn("session_kicked", "session %llu (%s, pid %d, uid %u): %s", (unsigned long long)session->id, session->client, (int)session->pid,
             (unsigned)session->uid, why);
    session_ref(session);
    session_fail(session, 0, status, 0, "%s", why);
    session_end(session, SESSION_END_KICKED);
    session_unref(session);
}

/* The stream is unusable from here on: say why, and hang up. */
static void session_broken(struct session *session, enum quire_status status) {
    struct core *core = session->core;
    core->counters.frames_bad++;
    log_warn("frame_refused", "session %llu (%s, pid %d, uid %u): %s", (unsigned long long)session->id, session->client, (int)session->pid,
             (unsigned)session->uid, quire_status_text(status));
    if (status == QUIRE_VERSION) {
        session_fail(session, 0, status, 0, "this quired speaks protocol %d, the client %u: install matching versions", QUIRE_PROTO_MAJOR,
                     session->decoder.buffer != NULL ? session->decoder.buffer[4] : 0);
    } else {
        session_fail(session, 0, status, 0, "the stream is not usable any more: %s", quire_status_text(status));
    }
    session_end(session, session->state == SESSION_NEW ? SESSION_END_REFUSED : SESSION_END_KICKED);
}

/* Keeps what the turn has read and not decoded. */
static bool session_keep(struct session *session, const uint8_t *bytes, size_t size) {
    if (size == 0) {
        return true;
    }
    uint8_t *stash = malloc(size);
    if (stash == NULL) {
        return false;
    }
    memcpy(stash, bytes, size);
    free(session->stash);
    session->stash = stash;
    session->stash_bytes = size;
    session->stash_at = 0;
    return true;
}

/* Hands the complete frame over. False: it is held, or the session has ended. */
static bool session_handle(struct session *session, uint64_t read_ns) {
    const struct quire_frame frame = session->decoder.frame;
    struct core *core = session->core;
    arena_reset(&core->arena);
    enum session_verdict verdict = request_handle(session, &frame, quire_decoder_body(&session->decoder), read_ns);
    if (session->state == SESSION_ENDED) {
        return false;
    }
    session->held = verdict == SESSION_HOLD;
    if (session->held) {
        return false;
    }
    quire_decoder_next(&session->decoder);
    session->frame_ns = 0;
    return true;
}

/* Decodes and handles until the bytes, the turn or the room for replies is used up; *used is how many bytes were taken. */
static void session_decode(struct session *session, const uint8_t *bytes, size_t size, size_t *used, uint64_t read_ns) {
    *used = 0;
    for (uint32_t frames = 0; frames < SESSION_TURN_FRAMES && !session->leaving && !session_stalled(session); frames++) {
        size_t taken = 0;
        enum quire_status status = quire_decoder_feed(&session->decoder, bytes + *used, size - *used, &taken);
        *used += taken;
        if (status == QUIRE_PENDING) {
            return;
        }
        if (status != QUIRE_OK) {
            session_broken(session, status);
            return;
        }
        session->core->counters.frames_in++;
        if (!session_handle(session, read_ns)) {
            return;
        }
        if (*used == size) {
            return;
        }
    }
}

static void session_turn_stash(struct session *session, uint64_t read_ns) {
    size_t used = 0;
    session_decode(session, session->stash + session->stash_at, session->stash_bytes - session->stash_at, &used, read_ns);
    session->stash_at += used;
    if (session->state != SESSION_ENDED && !session_has_stash(session)) {
        free(session->stash);
        session->stash = NULL;
        session->stash_bytes = session->stash_at = 0;
    }
}

static void session_turn_socket(struct session *session, uint64_t read_ns) {
    struct core *core = session->core;
    ssize_t got = recv(session->source.fd, core->rx, SESSION_TURN_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        session_end(session, SESSION_END_LOST);
        return;
    }
    size_t used = 0;
    session_decode(session, core->rx, (size_t)got, &used, read_ns);
    if (session->state != SESSION_ENDED && !session->leaving && !session_keep(session, core->rx + used, (size_t)got - used)) {
        session_kick(session, QUIRE_NO_MEMORY, "no memory to keep what the client sent");
    }
}

/* Too much in frames that do not end: the one that was begun first goes, since an honest one takes no time. */
static void session_shed(struct core *core) {
    struct session *first = NULL;
    for (struct session *session = core->sessions; session != NULL; session = session->next) {
        if (session->unfinished_bytes > 0 && (first == NULL || session->frame_ns < first->frame_ns)) {
            first = session;
        }
    }
    if (first != NULL) {
        session_kick(first, QUIRE_RETRY, "too many unfinished requests: this one was begun first");
    }
}

/* Keeps the books of the frame that is being gathered. */
static void session_note_frame(struct session *session, uint64_t read_ns) {
    struct core *core = session->core;
    bool unfinished = session->decoder.have_bytes > 0 && !session->held;
    uint64_t bytes = unfinished ? session->decoder.capacity_bytes : 0;
    session->frame_ns = !unfinished ? 0 : session->frame_ns != 0 ? session->frame_ns : read_ns;
    core->unfinished_bytes += bytes - session->unfinished_bytes;
    session->unfinished_bytes = bytes;
    if (core->unfinished_bytes > core->unfinished_max_bytes) {
        session_shed(core);
    }
}

void session_turn(struct session *session) {
    QUIRE_MAGIC_CHECK(session, SESSION_MAGIC);
    if (session->state == SESSION_ENDED) {
        return;
    }
    session_ref(session);
    uint64_t read_ns = loop_now_ns();
    session->core->now_ns = read_ns;
    session->active_ns = read_ns;
    if (session->held) {
        session_handle(session, read_ns);
    }
    if (session->state != SESSION_ENDED && !session->held) {
        if (session_has_stash(session)) {
            session_turn_stash(session, read_ns);
        } else {
            session_turn_socket(session, read_ns);
        }
    }
    if (session->state != SESSION_ENDED) {
        session_note_frame(session, read_ns);
    }
    session_want(session);
    session_unref(session);
}

void session_release_hold(struct session *session) {
    if (session->state != SESSION_ENDED && session->held) {
        core_runnable(session->core, session);
    }
    session_want(session);
}

void session_check_time(struct session *session, uint64_t now_ns) {
    struct core *core = session->core;
    if (session->frame_ns != 0 && (session_stalled(session) || session_has_stash(session))) {
        session->frame_ns = now_ns; /* it is us who do not read */
    }
    if (session->state == SESSION_NEW && now_ns > session->opened_ns + core->hello_ns) {
        session_kick(session, QUIRE_TIMEOUT, "no HELLO in time");
    } else if (session->frame_ns != 0 && now_ns > session->frame_ns + core->frame_ns) {
        session_kick(session, QUIRE_TIMEOUT, "a request was begun and not completed in time");
    } else if (session->tx_head != NULL && now_ns > session->tx_moved_ns + core->stall_ns) {
        session_kick(session, QUIRE_TIMEOUT, "the client does not take its replies");
    } else if (session->reserve && now_ns > session->active_ns + core->stall_ns) {
        session_kick(session, QUIRE_TIMEOUT, "idle on a place kept for operating");
    } else if (core->config.idle_timeout_ms != 0 && now_ns > session->active_ns + core->config.idle_timeout_ms * QUIRE_NS_PER_MS &&
               !session_expects(session)) {
        session_kick(session, QUIRE_TIMEOUT, "idle for longer than idle_timeout_ms");
    }
}
