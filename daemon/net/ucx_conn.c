/* A connection of the UCX rail: frames in, bulk bytes to their place, replies out, and its end. */
#include "daemon/net/ucx_rail_internal.h"

#include "daemon/link.h"
#include "daemon/log.h"

#include <stdio.h>
#include <stdlib.h>

#define LINGER_NS (2 * QUIRE_NS_PER_S)
#define STRANGER_BYTES (4 * INLET_FRESH_BODY_BYTES) /* of a client that has not proven who it is */
#define GATHER_PARTS 32
#define GATHER_BELOW_BYTES (8u << 10) /* shorter segments are copied together: a message costs more */

static struct rail *rail_of(const struct ucx_conn *conn) { return &conn->ucx_rail->rail; }

/* ---- the end ------------------------------------------------------------------------------------------------------------------ */
static void drop_tx(struct ucx_conn *conn);

/* UCX has let go of everything. */
static void conn_free(struct ucx_conn *conn) {
    ring_remove(&conn->place);
    conn->ucx_rail->n_conns--;
    drop_tx(conn);
    share_leave(&conn->share);
    inlet_drop(&conn->inlet);
    if (conn->wire != NULL) {
        conn->wire->conn = NULL;
        exchange_post(&rail_of(conn)->out, conn->wire->closed);
    }
    free(conn);
}

/* Nothing of ours may be read or written by UCX when the core is told that it is CLOSED. */
static void close_wire(struct ucx_conn *conn) {
    conn->state = UCX_CLOSING;
    quire_ucx_close(conn->ucx);
    if (quire_ucx_closed(conn->ucx)) {
        quire_ucx_free(&conn->ucx);
        conn_free(conn);
    }
}

/* The wire is of no use any more: the core is told, and lets go of it. One that the core has let go of already ends in its turn. */
static void conn_gone(struct ucx_conn *conn, enum quire_status status, const char *why) {
    struct wire *wire = conn->wire;
    if (conn->state != UCX_OPEN) {
        return;
    }
    conn->state = UCX_GONE;
    wire->gone_status = status;
    snprintf(wire->why, sizeof wire->why, "%s", why);
    if (status != QUIRE_DISCONNECTED) {
        atomic_fetch_add(&rail_of(conn)->counters.broken, 1);
    }
    drop_tx(conn);
    exchange_post(&rail_of(conn)->out, wire->gone);
}

/* ---- in ----------------------------------------------------------------------------------------------------------------------- */
static void take_frames(struct ucx_conn *conn, const uint8_t *bytes, size_t size) {
    quire_ucx_take(conn->ucx, inlet_take(&conn->inlet, bytes, size));
}

static void take_bulk(struct ucx_conn *conn, size_t size) {
    struct inlet *inlet = &conn->inlet;
    if (size > inlet->bulk_left) {
        conn_gone(conn, QUIRE_CORRUPT, "bulk bytes came that no request told of");
        return;
    }
    if (inlet->place == NULL) {
        quire_ucx_drop(conn->ucx);
        inlet_bulk_came(inlet, size);
        return;
    }
    const struct iovec place = {.iov_base = inlet->place, .iov_len = size};
    conn->receiving = size;
    inlet->frame_ns = rail_of(conn)->now_ns;
    quire_ucx_receive(conn->ucx, &place, 1);
}

static void read_some(struct ucx_conn *conn) {
    struct inlet *inlet = &conn->inlet;
    while (conn->state == UCX_OPEN) {
        const uint8_t *bytes;
        size_t size;
        if (conn->receiving > 0 && quire_ucx_received(conn->ucx) == QUIRE_OK) {
            uint64_t came = conn->receiving;
            conn->receiving = 0;
            inlet_bulk_came(inlet, came);
        }
        enum quire_ucx_kind kind =
            conn->receiving == 0 && inlet_takes(inlet) ? quire_ucx_peek(conn->ucx, &bytes, &size) : QUIRE_UCX_NOTHING;
        if (kind == QUIRE_UCX_NOTHING) {
            break;
        }
        if (kind == QUIRE_UCX_FRAMES) {
            take_frames(conn, bytes, size);
        } else {
            take_bulk(conn, size);
        }
        if (inlet->failed != QUIRE_OK) {
            conn_gone(conn, inlet->failed, inlet->why);
        }
    }
}

/* ---- out ---------------------------------------------------------------------------------------------------------------------- */
/* A part of a reply that is with UCX. */
struct ucx_piece {
    struct exchange_msg *msg;
    struct ucx_conn *conn;
    enum share_kind kind;
    uint64_t bulk_bytes;
    uint8_t bytes[]; /* gathered from many places, or none */
};

/* Nothing of it is with UCX, and nothing more will be: it goes back to the core. */
static void msg_end(struct exchange_msg *msg) {
    struct exchange *out = &msg->wire->rail->out;
    if (msg->under_way > 0 || (!msg->given_up && msg->sent_bytes < msg->bytes)) {
        return;
    }
    if (msg->given_up) {
        exchange_send_drop(out, msg);
    } else {
        msg->kind = EXCHANGE_SENT;
        exchange_post(out, msg);
    }
}

static void drop_tx(struct ucx_conn *conn) {
    for (struct exchange_msg *msg; (msg = outbox_first(&conn->out)) != NULL;) {
        outbox_done(&conn->out);
        msg->given_up = true;
        msg->in_line = false; /* if a part of it is with UCX, it ends when that is gone */
        msg_end(msg);
    }
}

static void piece_gone(void *arg) {
    struct ucx_piece *piece = arg;
    struct exchange_msg *msg = piece->msg;
    uint64_t now_ns = msg->wire->rail->now_ns;
    atomic_store(&msg->wire->moved_ns, now_ns);
    msg->under_way--;
    share_end(&piece->conn->ucx_rail->shares, &piece->conn->share, piece->kind, piece->bulk_bytes, now_ns);
    free(piece);
    if (!msg->in_line) {
        msg_end(msg);
    }
}

/* What goes next of a reply: its head, or a segment as it lies in the pool; short segments are gathered. */
static struct ucx_piece *next_piece(const struct exchange_msg *msg, uint64_t most_bytes, enum quire_ucx_kind *kind, struct iovec *what) {
    struct iovec parts[GATHER_PARTS] = {
        {.iov_base = (uint8_t *)(uintptr_t)msg->body + msg->sent_bytes, .iov_len = msg->bytes - msg->sent_bytes}};
    uint32_t n = msg->tx != NULL ? link_tx_rest(msg->tx, parts, GATHER_PARTS) : 1;
    bool head = msg->tx == NULL || msg->sent_bytes < msg->tx->head_bytes;
    size_t gathered = 0;
    uint32_t used = 0;
    *kind = head ? QUIRE_UCX_FRAMES : QUIRE_UCX_BULK;
    *what = parts[0];
    what->iov_len = quire_min_u64(what->iov_len, head ? QUIRE_UCX_FRAMES_BYTES : quire_min_u64(most_bytes, QUIRE_UCX_BULK_BYTES));
    while (!head && used < n && parts[used].iov_len < GATHER_BELOW_BYTES && gathered + parts[used].iov_len <= QUIRE_UCX_EAGER_BYTES) {
        gathered += parts[used++].iov_len;
    }
    struct ucx_piece *piece = malloc(sizeof *piece + (used > 1 ? gathered : 0));
    if (piece != NULL && used > 1) {
        *what = (struct iovec){.iov_base = piece->bytes, .iov_len = 0};
        for (uint32_t i = 0; i < used; i++) {
            memcpy(piece->bytes + what->iov_len, parts[i].iov_base, parts[i].iov_len);
            what->iov_len += parts[i].iov_len;
        }
    }
    return piece;
}

/*
 * What goes in front of bulk bytes in their message: a reply's frame, and a first segment that is short (a record's head), when what follows is long: 0
 * where it does not fit. A message of its own would be another wake-up at the other end.
 */
static size_t gather_front(const struct exchange_msg *msg, uint8_t front[QUIRE_UCX_HEAD_BYTES], size_t most, struct iovec *bulk) {
    struct iovec parts[3];
    uint32_t n = msg->tx != NULL && msg->sent_bytes == 0 ? link_tx_rest(msg->tx, parts, 3) : 0, i = 0;
    size_t used = 0;
    for (; i + 1 < n && (i == 0 || parts[i].iov_len < GATHER_BELOW_BYTES) && parts[i].iov_len <= most - used; i++) {
        memcpy(front + used, parts[i].iov_base, parts[i].iov_len);
        used += parts[i].iov_len;
    }
    if (i == 0 || parts[i].iov_len < GATHER_BELOW_BYTES) {
        return 0;
    }
    *bulk = parts[i];
    return used;
}

static enum quire_status post_piece(struct ucx_conn *conn, struct exchange_msg *msg, enum share_kind share, uint64_t limit, size_t *sent) {
    struct shares *shares = &conn->ucx_rail->shares;
    uint8_t front[QUIRE_UCX_HEAD_BYTES];
    enum quire_ucx_kind kind = QUIRE_UCX_BULK;
    struct iovec what;
    size_t n_front = gather_front(msg, front, quire_ucx_front_bytes(conn->ucx), &what);
    struct ucx_piece *piece = n_front > 0 ? malloc(sizeof *piece) : next_piece(msg, limit, &kind, &what);
    if (piece == NULL) {
        return QUIRE_NO_MEMORY;
    }
    if (n_front > 0) {
        what.iov_len = quire_min_u64(what.iov_len, quire_min_u64(limit, QUIRE_UCX_BULK_BYTES));
    }
    piece->msg = msg;
    piece->conn = conn;
    piece->kind = share;
    piece->bulk_bytes = kind == QUIRE_UCX_BULK ? what.iov_len : 0;
    share_begin(shares, &conn->share, share, piece->bulk_bytes, rail_of(conn)->now_ns);
    msg->under_way++;
    enum quire_status status = n_front > 0 ? quire_ucx_send_with(conn->ucx, front, n_front, what.iov_base, what.iov_len, piece_gone, piece)
                                           : quire_ucx_send(conn->ucx, kind, what.iov_base, what.iov_len, piece_gone, piece);
    if (status != QUIRE_OK) {
        msg->under_way--;
        share_undo(shares, &conn->share, share, piece->bulk_bytes);
        free(piece);
    }
    *sent = n_front + what.iov_len;
    return status;
}

static enum quire_status send_piece(struct ucx_conn *conn, struct exchange_msg *msg) {
    bool bulk = msg->tx != NULL && msg->tx->n_segments > 0;
    enum share_kind kind = outbox_is_late(&conn->out) ? SHARE_PREFETCH : SHARE_FETCH;
    uint64_t room = bulk ? share_room(&conn->ucx_rail->shares, &conn->share, kind) : QUIRE_UCX_BULK_BYTES;
    size_t sent = 0;
    if (room == 0) {
        return QUIRE_PENDING;
    }
    QUIRE_FORWARD(post_piece(conn, msg, kind, room, &sent));
    msg->sent_bytes += sent;
    if (msg->tx != NULL) {
        link_tx_sent(msg->tx, sent);
    }
    return QUIRE_OK;
}

static void write_some(struct ucx_conn *conn) {
    struct exchange_msg *msg;
    while ((conn->state == UCX_OPEN || conn->state == UCX_LINGERING) && (msg = outbox_first(&conn->out)) != NULL) {
        enum quire_status status = send_piece(conn, msg);
        if (status == QUIRE_PENDING) {
            return;
        }
        if (status != QUIRE_OK) {
            conn_gone(conn, status, status == QUIRE_NO_MEMORY ? "no memory for a reply" : "the connection broke");
            return;
        }
        if (msg->sent_bytes == msg->bytes) {
            outbox_done(&conn->out);
            msg->in_line = false;
            msg_end(msg);
        }
    }
}

/* ---- life --------------------------------------------------------------------------------------------------------------------- */
void ucx_conn_turn(struct ucx_conn *conn) {
    if (conn->state == UCX_CLOSING) {
        if (quire_ucx_closed(conn->ucx)) {
            quire_ucx_free(&conn->ucx);
            conn_free(conn);
        }
        return;
    }
    write_some(conn);
    if (conn->state == UCX_OPEN) {
        read_some(conn);
    }
    const char *why;
    enum quire_status status = quire_ucx_status(conn->ucx, &why);
    if (conn->state == UCX_LINGERING) {
        if (status != QUIRE_OK || (outbox_is_empty(&conn->out) && quire_ucx_sending(conn->ucx) == 0)) {
            close_wire(conn);
        }
    } else if (status != QUIRE_OK) {
        conn_gone(conn, status, why);
    }
}

static void conn_close(struct ucx_conn *conn) {
    if (conn->state == UCX_OPEN && conn->receiving == 0) {
        conn->state = UCX_LINGERING;
        conn->linger_until_ns = rail_of(conn)->now_ns + LINGER_NS;
        ucx_conn_turn(conn);
    } else {
        close_wire(conn);
    }
}

void ucx_conn_message(struct ucx_conn *conn, struct exchange_msg *msg) {
    switch (msg->kind) {
    case EXCHANGE_SEND:
        msg->in_line = true;
        outbox_put(&conn->out, msg);
        if (conn->state == UCX_OPEN) {
            write_some(conn);
        } else {
            drop_tx(conn);
        }
        return;
    case EXCHANGE_KNOWN:
    case EXCHANGE_TAKEN:
    case EXCHANGE_PLACE:
        inlet_message(&conn->inlet, msg);
        if (conn->inlet.known && conn->state != UCX_CLOSING) {
            quire_ucx_allow(conn->ucx, QUIRE_UCX_WINDOW_BYTES);
        }
        if (conn->state == UCX_OPEN) {
            read_some(conn);
        }
        return;
    default: /* CLOSE */
        conn_close(conn);
        return;
    }
}

/* Seen twice: UCX tells of most ends by itself, after what came before them. */
static bool is_lost(struct ucx_conn *conn) {
    bool doubted = conn->doubted;
    conn->doubted = !quire_ucx_lives(conn->ucx);
    return doubted && conn->doubted;
}

void ucx_conn_check(struct ucx_conn *conn, uint64_t now_ns) {
    share_look(&conn->ucx_rail->shares, &conn->share, now_ns);
    if (conn->state == UCX_OPEN && inlet_is_late(&conn->inlet, now_ns)) {
        conn_gone(conn, QUIRE_TIMEOUT, "a request was begun and not completed in time");
    } else if (conn->state == UCX_OPEN && is_lost(conn)) {
        conn_gone(conn, QUIRE_DISCONNECTED, "its host does not answer any more, or has closed the connection");
    } else if (conn->state == UCX_LINGERING && now_ns > conn->linger_until_ns) {
        close_wire(conn);
    }
}

void ucx_conn_end(struct ucx_conn *conn) {
    drop_tx(conn);
    if (conn->state != UCX_CLOSING) {
        close_wire(conn);
    }
}

bool ucx_conn_sends(const struct ucx_conn *conn) {
    return conn->state != UCX_CLOSING && conn->state != UCX_GONE && (!outbox_is_empty(&conn->out) || quire_ucx_sending(conn->ucx) > 0);
}

void ucx_conn_lost(struct ucx_conn *conn) { conn_free(conn); }

void ucx_conn_create(struct ucx_rail *ucx_rail, const struct quire_ucx_ask *ask) {
    struct rail *rail = &ucx_rail->rail;
    struct ucx_conn *conn = calloc(1, sizeof *conn);
    struct wire *wire = conn != NULL ? wire_create(rail, conn) : NULL;
    enum quire_status status = QUIRE_NO_MEMORY;
    if (wire != NULL) {
        status = quire_ucx_accept(ucx_rail->port, ask, conn, &conn->ucx);
    } else {
        quire_ucx_refuse(ask);
    }
    if (status != QUIRE_OK) {
        atomic_fetch_add(&rail->counters.refused, 1);
        log_warn("remote_refused", "ucx %s: %s", ask->peer,
                 status == QUIRE_NO_MEMORY ? "no memory for another connection" : "it broke at once");
        if (wire != NULL) {
            wire_free(wire);
        }
        free(conn);
        return;
    }
    snprintf(wire->peer, sizeof wire->peer, "%s", ask->peer);
    conn->ucx_rail = ucx_rail;
    conn->wire = wire;
    outbox_setup(&conn->out);
    inlet_init(&conn->inlet, rail, wire);
    quire_ucx_allow(conn->ucx, STRANGER_BYTES);
    ring_add(&ucx_rail->conns, &conn->place);
    ucx_rail->n_conns++;
    atomic_fetch_add(&rail->counters.accepted, 1);
    exchange_post(&rail->out, wire->opened);
}
