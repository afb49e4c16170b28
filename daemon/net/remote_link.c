#include "daemon/net/remote_link.h"

#include "daemon/core_internal.h"
#include "daemon/net/rail.h"

#include <stdlib.h>

struct remote_link {
    struct link link; /* first */
    struct core *core;
    struct wire *wire;                 /* NULL: the rail has let go of it */
    bool session_gone;                 /* the session needs it no more */
    bool closed;                       /* CLOSE was said */
    struct exchange_msg *head, **tail; /* frames that were not handled yet */
    bool bulk_here;                    /* of the first of them; link.fills: they are under way */
    bool admitted;                     /* the first: its tenant's rate has room for it */
    struct ingest_window *window;      /* into which the rail may be writing */
};

static struct remote_link *remote_of(struct link *link) { return LOOP_CONTAINER(link, struct remote_link, link); }

static void remote_post(struct remote_link *remote, struct exchange_msg *msg) { exchange_post(&remote->wire->rail->in, msg); }

/* For want of memory the session cannot go on. */
static struct exchange_msg *remote_msg(struct remote_link *remote, enum exchange_kind kind, size_t bytes) {
    struct exchange_msg *msg = exchange_msg_create(remote->wire, kind, bytes);
    if (msg == NULL) {
        log_error("session_no_memory", "session %llu: no memory for a message", (unsigned long long)remote->link.session->id);
        session_end(remote->link.session, SESSION_END_KICKED);
    }
    return msg;
}

/* ---- in ----------------------------------------------------------------------------------------------------------------------- */
void remote_link_frame(struct link *link, struct exchange_msg *msg) {
    struct remote_link *remote = remote_of(link);
    if (remote->closed) {
        exchange_msg_free(msg);
        return;
    }
    msg->next = NULL;
    *remote->tail = msg;
    remote->tail = &msg->next;
    remote->core->counters.frames_in++;
    if (!remote->link.fills) {
        link->more = true;
        session_want(link->session);
    }
}

void remote_link_bulk(struct link *link) {
    struct remote_link *remote = remote_of(link);
    remote->link.fills = false;
    if (remote->window != NULL) {
        ingest_unuse(remote->core->ingest, remote->window, remote->core->now_ns);
        remote->window = NULL;
    }
    if (!remote->closed) {
        remote->bulk_here = true;
        link->more = true;
        session_want(link->session);
    }
}

/* Tells the rail where the bytes behind this frame go. */
static void remote_place(struct remote_link *remote, const struct exchange_msg *frame) {
    struct session *session = remote->link.session;
    struct exchange_msg *msg = remote_msg(remote, EXCHANGE_PLACE, 0);
    if (msg == NULL) {
        return;
    }
    enum quire_status status = session_bulk_place(session, &frame->frame, frame->body, &msg->place, &remote->window);
    if (status != QUIRE_OK) {
        exchange_msg_free(msg);
        session_kick(session, status, "bytes came behind a request that may have none, or do not fit its window");
        return;
    }
    msg->bytes = frame->frame.bulk_bytes;
    remote->link.fills = true;
    remote->link.more = false;
    remote_post(remote, msg);
}

/* The first frame was handled: as much more may come. */
static void remote_taken(struct remote_link *remote) {
    struct exchange_msg *msg = remote->head;
    remote->head = msg->next;
    remote->tail = remote->head == NULL ? &remote->head : remote->tail;
    remote->bulk_here = remote->admitted = false;
    remote->link.more = remote->head != NULL;
    /* The frame itself goes back as the word that it was taken: no memory is needed for that. */
    msg->kind = EXCHANGE_TAKEN;
    msg->frames = 1;
    msg->bytes = msg->frame.body_bytes;
    remote_post(remote, msg);
}

/* Each frame is asked for once, also when it comes to be handled in several turns. */
static bool remote_admitted(struct remote_link *remote, const struct quire_frame *frame) {
    if (!remote->admitted) {
        remote->admitted = net_admits(remote->link.session, frame);
        remote->link.session->held = !remote->admitted;
    }
    return remote->admitted;
}

/* What a rail may handle that has borrowed the core: what asks nothing of the disk, and nothing long. */
static bool remote_is_light(const struct quire_frame *frame) {
    return frame->type == QUIRE_MSG_READ || frame->type == QUIRE_MSG_LEASE || frame->type == QUIRE_MSG_RELEASE ||
           frame->type == QUIRE_MSG_CANCEL || frame->type == QUIRE_MSG_PING;
}

static void remote_turn(struct link *link, uint64_t read_ns) {
    struct remote_link *remote = remote_of(link);
    struct session *session = link->session;
    for (uint32_t i = 0; i < SESSION_TURN_FRAMES && remote->head != NULL && !remote->link.fills; i++) {
        if (session->leaving || session_stalled(session)) {
            return;
        }
        const struct exchange_msg *msg = remote->head;
        if (session->core->borrowed && !remote_is_light(&msg->frame)) {
            core_runnable(session->core, session);
            return;
        }
        if (!remote_admitted(remote, &msg->frame)) {
            return;
        }
        if (msg->frame.bulk_bytes > 0 && !remote->bulk_here) {
            remote_place(remote, msg);
            return;
        }
        if (!session_frame(session, &msg->frame, msg->body, read_ns)) {
            return;
        }
        remote_taken(remote);
    }
}

/* The rail reads as long as frames are taken. */
static void remote_want(struct link *link, bool takes) { link->reads = takes; }

/* ---- out ---------------------------------------------------------------------------------------------------------------------- */
static void remote_queue(struct remote_link *remote, struct exchange_msg *msg) {
    struct link *link = &remote->link;
    if (link->tx_bytes == 0) {
        atomic_store(&remote->wire->moved_ns, loop_now_ns());
        link->tx_moved_ns = loop_now_ns();
    }
    link->tx_bytes += msg->bytes;
    link->tx_bulk_bytes += msg->tx != NULL ? link_tx_bulk_bytes(msg->tx) : 0;
    remote_post(remote, msg);
}

static void remote_send(struct link *link, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds) {
    struct remote_link *remote = remote_of(link);
    (void)fds;
    assert(n_fds == 0); /* nothing to pass descriptors over: no remote session is a member, and its windows have none */
    struct exchange_msg *msg = remote->closed ? NULL : remote_msg(remote, EXCHANGE_SEND, size);
    if (msg != NULL) {
        memcpy(msg->body, bytes, size);
        remote_queue(remote, msg);
        session_want(link->session);
    }
}

static void remote_send_bulk(struct link *link, struct link_tx *tx) {
    struct remote_link *remote = remote_of(link);
    struct exchange_msg *msg = remote->closed ? NULL : remote_msg(remote, EXCHANGE_SEND, 0);
    if (msg == NULL) {
        link_tx_free(tx);
        return;
    }
    msg->tx = tx;
    msg->bytes = tx->size_bytes;
    remote_queue(remote, msg);
    session_want(link->session);
}

void remote_link_sent(struct link *link, const struct exchange_msg *msg) {
    struct remote_link *remote = remote_of(link);
    if (remote->closed) {
        return;
    }
    link->tx_bytes -= msg->bytes;
    link->tx_bulk_bytes -= msg->tx != NULL ? msg->tx->size_bytes - msg->tx->head_bytes : 0;
    link->tx_moved_ns = loop_now_ns();
    if (link->session->held) {
        core_runnable(remote->core, link->session);
    }
    session_want(link->session);
}

/* ---- life --------------------------------------------------------------------------------------------------------------------- */
static void remote_moved(struct link *link) {
    struct remote_link *remote = remote_of(link);
    link->tx_moved_ns = quire_max_u64(link->tx_moved_ns, atomic_load(&remote->wire->moved_ns));
}

/* In order: its last word may have come with the end, and was not handled yet. */
static bool remote_said_goodbye(const struct remote_link *remote) {
    const struct exchange_msg *msg = remote->head;
    while (msg != NULL && msg->frame.type != QUIRE_MSG_GOODBYE) {
        msg = msg->next;
    }
    return remote->link.session->leaving || msg != NULL;
}

void remote_link_gone(struct link *link) {
    struct remote_link *remote = remote_of(link);
    struct session *session = link->session;
    if (remote->closed) {
        return;
    }
    bool goodbye = remote_said_goodbye(remote);
    const struct wire *wire = remote->wire;
    char who[SESSION_WHO_BYTES];
    session_who(session, who);
    if (wire->gone_status != QUIRE_DISCONNECTED) {
        remote->core->counters.frames_bad += wire->gone_status == QUIRE_CORRUPT || wire->gone_status == QUIRE_VERSION;
        log_warn("remote_broken", "%s: %s", who, wire->why);
    } else if (!goodbye) {
        log_warn("session_lost", "%s: %s", who, wire->why);
    }
    session_end(session, goodbye ? SESSION_END_GOODBYE : wire->gone_status == QUIRE_DISCONNECTED ? SESSION_END_LOST : SESSION_END_KICKED);
}

static void remote_drop_frames(struct remote_link *remote) {
    while (remote->head != NULL) {
        struct exchange_msg *msg = remote->head;
        remote->head = msg->next;
        exchange_msg_free(msg);
    }
    remote->tail = &remote->head;
    remote->link.more = false;
}

static void remote_free_unused(struct remote_link *remote) {
    if (remote->session_gone && remote->wire == NULL) {
        remote_drop_frames(remote);
        free(remote);
    }
}

static void remote_close(struct link *link) {
    struct remote_link *remote = remote_of(link);
    remote->closed = true;
    link->tx_bytes = link->tx_bulk_bytes = 0;
    remote_post(remote, remote->wire->close);
}

static void remote_free(struct link *link) {
    struct remote_link *remote = remote_of(link);
    remote->session_gone = true;
    if (!remote->closed) {
        remote_close(link); /* it never had a session */
    }
    remote_free_unused(remote);
}

void remote_link_closed(struct link *link) {
    struct remote_link *remote = remote_of(link);
    if (remote->window != NULL) {
        ingest_unuse(remote->core->ingest, remote->window, remote->core->now_ns);
        remote->window = NULL;
    }
    wire_free(remote->wire);
    remote->wire = NULL;
    remote_free_unused(remote);
}

void remote_link_known(struct link *link) {
    struct remote_link *remote = remote_of(link);
    struct exchange_msg *msg = remote_msg(remote, EXCHANGE_KNOWN, 0);
    if (msg != NULL) {
        remote_post(remote, msg);
    }
}

const struct rail_memory *remote_link_memory(const struct link *link) {
    return ((const struct remote_link *)(const void *)link)->wire->rail->memory;
}

const char *remote_link_peer(const struct link *link) { return ((const struct remote_link *)(const void *)link)->wire->peer; }
const struct rail *remote_link_rail(const struct link *link) { return ((const struct remote_link *)(const void *)link)->wire->rail; }

static const struct link_ops remote_link_ops = {.name = "wire",
                                                .turn = remote_turn,
                                                .want = remote_want,
                                                .send = remote_send,
                                                .send_bulk = remote_send_bulk,
                                                .moved = remote_moved,
                                                .close = remote_close,
                                                .free = remote_free};

enum quire_status remote_link_create(struct core *core, struct wire *wire, struct link **out) {
    struct remote_link *remote = calloc(1, sizeof *remote);
    if (remote == NULL) {
        return QUIRE_NO_MEMORY;
    }
    remote->link.ops = &remote_link_ops;
    remote->link.reads = true;
    remote->core = core;
    remote->wire = wire;
    remote->tail = &remote->head;
    wire->link = &remote->link;
    *out = &remote->link;
    return QUIRE_OK;
}
