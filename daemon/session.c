#include "daemon/core_internal.h"
#include "daemon/net/remote_link.h"

#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool session_stalled(const struct session *session) {
    const struct link *link = session->link;
    return link->tx_bytes - link->tx_bulk_bytes > SESSION_TX_HIGH_BYTES || link->tx_fds >= SESSION_TX_HIGH_FDS;
}

/* Is something under way whose answer it waits for? */
static bool session_expects(const struct session *session) {
    return session->put_items > 0 || !flow_session_is_idle(session) || session->load_items > 0 || session->durable_waits > 0;
}

void session_want(struct session *session) {
    if (session->state == SESSION_ENDED) {
        return;
    }
    struct link *link = session->link;
    bool takes = !session->held && !session->leaving && !session_stalled(session);
    link->ops->want(link, takes);
    if (session->leaving && link->tx_bytes == 0 && !session_expects(session)) {
        session_end(session, SESSION_END_GOODBYE);
    } else if (link->more && !session->held && !session_stalled(session)) {
        core_runnable(session->core, session);
    }
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

enum quire_status session_create(struct core *core, struct link *link, struct session **out) {
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return QUIRE_NO_MEMORY;
    }
    session->magic = SESSION_MAGIC;
    session->refs = 1;
    session->core = core;
    session->opened_ns = session->active_ns = core->now_ns;
    session->pidfd = -1;
    session->link = link;
    link->session = session;
    flow_session_setup(session);
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
        session->link->ops->free(session->link); /* not earlier: the turn that ends a session may be reading from its buffers */
        net_session_gone(session);
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

/* A kicked member may still be reading what it leased, and so may one that read from afar and is lost: those bytes wait. */
static void session_leave_pager(struct session *session, enum session_end how) {
    struct core *core = session->core;
    struct pager_session_info info = {0};
    if (session->id == 0) {
        return;
    }
    bool afar = session->remote != NULL && session->remote->afar && how != SESSION_END_GOODBYE;
    bool quarantine = (afar || (how == SESSION_END_KICKED && session->member)) &&
                      pager_session_info(core->pager, session->id, &info) == QUIRE_OK && info.leases > 0;
    pager_session_close(core->pager, session->id, quarantine);
    if (quarantine && afar) {
        quarantine_add_afar(core, session->id, session->remote->token.name);
    } else if (quarantine) {
        quarantine_add(core, session->id, session->pid, session->pidfd);
        session->pidfd = -1;
    }
}

void session_who(const struct session *session, char who[SESSION_WHO_BYTES]) {
    unsigned long long id = session->id;
    if (session->remote == NULL) {
        snprintf(who, SESSION_WHO_BYTES, "session %llu (%s, pid %d, uid %u)", id, session->client, (int)session->pid,
                 (unsigned)session->uid);
    } else if (session->id == 0) {
        snprintf(who, SESSION_WHO_BYTES, "a session from %s that has proven no token", remote_link_peer(session->link));
    } else {
        snprintf(who, SESSION_WHO_BYTES, "session %llu (%s, token %s at %s)", id, session->client, session->remote->token.name,
                 remote_link_peer(session->link));
    }
}

void session_end(struct session *session, enum session_end how) {
    struct core *core = session->core;
    char who[SESSION_WHO_BYTES];
    if (session->state == SESSION_ENDED) {
        return;
    }
    session->state = SESSION_ENDED;
    session_count_end(core, how);
    session_who(session, who);
    log_debug("session_ended", "%s ended", who);
    session_unlink(core, session);
    ingest_owner_gone(core->ingest, session);
    net_session_ended(session);
    flow_session_end(session);
    session_leave_pager(session, how);
    session->link->ops->close(session->link);
    if (session->pidfd >= 0) {
        close(session->pidfd);
    }
    session_unref(session);
}

void session_kick(struct session *session, enum quire_status status, const char *why) {
    char who[SESSION_WHO_BYTES];
    if (session->state == SESSION_ENDED) {
        return;
    }
    session_who(session, who);
    log_warn("session_kicked", "%s: %s", who, why);
    session_ref(session);
    session_fail(session, 0, status, 0, "%s", why);
    session_end(session, SESSION_END_KICKED);
    session_unref(session);
}

/* The stream is unusable from here on: say why, and hang up. */
void session_broken(struct session *session, enum quire_status status, uint32_t major) {
    struct core *core = session->core;
    char who[SESSION_WHO_BYTES];
    core->counters.frames_bad++;
    session_who(session, who);
    log_warn("frame_refused", "%s: %s", who, quire_status_text(status));
    if (status == QUIRE_VERSION) {
        session_fail(session, 0, status, 0, "this quired speaks protocol %d, the client %u: install matching versions", QUIRE_PROTO_MAJOR,
                     major);
    } else {
        session_fail(session, 0, status, 0, "the stream is not usable any more: %s", quire_status_text(status));
    }
    session_end(session, session->state == SESSION_NEW ? SESSION_END_REFUSED : SESSION_END_KICKED);
}

bool session_frame(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    arena_reset(&session->core->arena);
    enum session_verdict verdict = request_handle(session, frame, body, read_ns);
    session->held = session->state != SESSION_ENDED && verdict == SESSION_HOLD;
    return session->state != SESSION_ENDED && !session->held;
}

void session_turn(struct session *session) {
    QUIRE_MAGIC_CHECK(session, SESSION_MAGIC);
    if (session->state == SESSION_ENDED) {
        return;
    }
    if (session->core->borrowed && session->remote == NULL) { /* its requests may be long, or for the disk */
        core_runnable(session->core, session);
        return;
    }
    session_ref(session);
    uint64_t read_ns = loop_now_ns();
    session->core->now_ns = read_ns;
    session->active_ns = read_ns;
    session->link->ops->turn(session->link, read_ns);
    session_want(session);
    session_unref(session);
}

void session_release_hold(struct session *session) {
    if (session->state != SESSION_ENDED && session->held) {
        core_runnable(session->core, session);
    }
    session_want(session);
}

/* Over a wire, while its requests are not read: what it asks, be it for a sign of life, waits behind them. */
static void session_show_life(struct session *session, uint64_t now_ns) {
    const struct link *link = session->link;
    bool waits = (session->held || link->fills) && link->tx_bytes == 0;
    if (session->remote != NULL && session->pings && waits && now_ns >= session->sign_ns + QUIRE_HEARTBEAT_AFTER_MS * QUIRE_NS_PER_MS) {
        session->sign_ns = now_ns;
        session_send(session, QUIRE_MSG_PONG, 0, NULL, NULL, 0);
    }
}

void session_check_time(struct session *session, uint64_t now_ns) {
    struct core *core = session->core;
    struct link *link = session->link;
    if (link->ops->moved != NULL) {
        link->ops->moved(link);
    }
    if (link->frame_ns != 0 && (session_stalled(session) || link->more)) {
        link->frame_ns = now_ns; /* it is us who do not read */
    }
    if (session->state == SESSION_NEW && now_ns > session->opened_ns + core->hello_ns) {
        net_silent(session);
        session_kick(session, QUIRE_TIMEOUT, "no HELLO in time");
    } else if (link->frame_ns != 0 && now_ns > link->frame_ns + core->frame_ns) {
        session_kick(session, QUIRE_TIMEOUT, "a request was begun and not completed in time");
    } else if (link->tx_bytes > 0 && now_ns > link->tx_moved_ns + core->stall_ns) {
        session_kick(session, QUIRE_TIMEOUT, "the client does not take its replies");
    } else if (session->reserve && now_ns > session->active_ns + core->stall_ns) {
        session_kick(session, QUIRE_TIMEOUT, "idle on a place kept for operating");
    } else if (core->config.idle_timeout_ms != 0 && now_ns > session->active_ns + core->config.idle_timeout_ms * QUIRE_NS_PER_MS &&
               !session_expects(session) && !session->held) {
        session_kick(session, QUIRE_TIMEOUT, "idle for longer than idle_timeout_ms");
    } else {
        session_show_life(session, now_ns);
    }
}
