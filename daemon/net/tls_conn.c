/* A connection of the TLS rail: handshake, frames in, bulk bytes to their place, replies out, and its end. */
#include "daemon/net/tls_rail_internal.h"

#include "daemon/link.h"
#include "daemon/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TURN_BYTES (1u << 20) /* read from one connection before others have a turn */
#define LINGER_NS (2 * QUIRE_NS_PER_S)

static struct rail *rail_of(const struct tls_conn *conn) { return &conn->tls_rail->rail; }

/* ---- what it waits for -------------------------------------------------------------------------------------------------------- */
static bool reads(const struct tls_conn *conn) {
    return conn->state == TLS_HANDSHAKE || conn->state == TLS_LINGERING || (conn->state == TLS_OPEN && inlet_takes(&conn->inlet));
}

static void watch(struct tls_conn *conn) {
    if (conn->source.fd < 0 || conn->state == TLS_GONE) {
        return;
    }
    bool out = quire_tls_wants_out(conn->tls) || (conn->state == TLS_OPEN && conn->blocked);
    loop_want(rail_of(conn)->loop, &conn->source, (reads(conn) && !conn->more ? (uint32_t)EPOLLIN : 0) | (out ? (uint32_t)EPOLLOUT : 0));
}

static void turn_again(struct tls_conn *conn) {
    conn->more = true;
    rail_of(conn)->more = true;
}

/* ---- the end ------------------------------------------------------------------------------------------------------------------ */
static void drop_replies(struct tls_conn *conn) {
    for (struct exchange_msg *msg; (msg = outbox_first(&conn->out)) != NULL; outbox_done(&conn->out)) {
        exchange_send_drop(&rail_of(conn)->out, msg);
    }
    outbox_leave(&conn->out);
}

static void drop_stream(struct tls_conn *conn) {
    inlet_drop(&conn->inlet);
    free(conn->stash);
    conn->stash = NULL;
    drop_replies(conn);
}

static void unlink_conn(struct tls_conn *conn) {
    ring_remove(&conn->place);
    conn->tls_rail->n_conns--;
    crowd_leave(conn->state == TLS_LINGERING ? &conn->tls_rail->lingering : &conn->tls_rail->shaking, &conn->waiting);
}

static void close_socket(struct tls_conn *conn) {
    if (conn->source.fd >= 0) {
        loop_remove(rail_of(conn)->loop, &conn->source);
        quire_tls_destroy(&conn->tls, conn->state == TLS_GONE);
        close(conn->source.fd);
        conn->source.fd = -1;
    }
}

/* Only when the core does not know it any more. */
static void conn_free(struct tls_conn *conn) {
    unlink_conn(conn);
    drop_stream(conn);
    close_socket(conn);
    free(conn);
}

/* Nobody was told of it yet, and nobody will be. */
static void conn_refuse(struct tls_conn *conn, enum quire_status status, const char *why) {
    struct rail *rail = rail_of(conn);
    bool denied = status == QUIRE_DENIED;
    atomic_fetch_add(denied ? &rail->counters.denied : &rail->counters.refused, 1);
    log_warn(denied ? "remote_denied" : "remote_refused", "tls %s: %s", conn->peer, why);
    if (denied || status == QUIRE_TIMEOUT) { /* who only looks whether somebody listens, as probes do, fails in nothing */
        guard_failed(&conn->tls_rail->guard, conn->peer, rail->now_ns);
    }
    wire_free(conn->wire);
    conn_free(conn);
}

void tls_conn_give_up(struct tls_conn *conn, const char *why) { conn_refuse(conn, QUIRE_TIMEOUT, why); }

/* The stream is of no use any more: the core is told, and lets go of it. */
static void conn_gone(struct tls_conn *conn, enum quire_status status, const char *why) {
    struct wire *wire = conn->wire;
    if (conn->state == TLS_LINGERING) {
        conn_free(conn);
        return;
    }
    if (conn->state != TLS_OPEN) {
        return;
    }
    conn->state = TLS_GONE;
    conn->more = false;
    wire->gone_status = status;
    snprintf(wire->why, sizeof wire->why, "%s", why); /* now: it may be a part of what is freed below */
    if (status != QUIRE_DISCONNECTED) {
        atomic_fetch_add(&rail_of(conn)->counters.broken, 1);
    }
    drop_stream(conn);
    close_socket(conn);
    exchange_post(&rail_of(conn)->out, wire->gone);
}

static void give_wire_back(struct tls_conn *conn) {
    struct wire *wire = conn->wire;
    drop_replies(conn); /* they come before the last word */
    conn->wire = NULL;
    wire->conn = NULL;
    exchange_post(&rail_of(conn)->out, wire->closed);
}

/* ---- in ----------------------------------------------------------------------------------------------------------------------- */
/* Takes bytes for as long as frames may be handed over; how many were. */
static size_t take(struct tls_conn *conn, const uint8_t *bytes, size_t size) {
    size_t used = inlet_take(&conn->inlet, bytes, size);
    if (conn->inlet.failed != QUIRE_OK) {
        conn_gone(conn, conn->inlet.failed, conn->inlet.why);
    }
    return used;
}

/* Keeps what was read and not taken. */
static void keep(struct tls_conn *conn, const uint8_t *bytes, size_t size) {
    if (size == 0 || conn->state != TLS_OPEN) {
        return;
    }
    conn->stash = malloc(size);
    if (conn->stash == NULL) {
        conn_gone(conn, QUIRE_NO_MEMORY, "no memory to keep what the client sent");
        return;
    }
    memcpy(conn->stash, bytes, size);
    conn->stash_bytes = size;
    conn->stash_at = 0;
}

/* What was kept comes first. True: nothing is left of it. */
static bool take_stash(struct tls_conn *conn) {
    if (conn->stash == NULL) {
        return true;
    }
    uint8_t *stash = conn->stash; /* the connection may be gone in the middle */
    conn->stash = NULL;
    conn->stash_at += take(conn, stash + conn->stash_at, conn->stash_bytes - conn->stash_at);
    if (conn->state == TLS_OPEN && conn->stash_at < conn->stash_bytes) {
        conn->stash = stash;
        return false;
    }
    free(stash);
    return true;
}

static void read_some(struct tls_conn *conn) {
    struct inlet *inlet = &conn->inlet;
    uint64_t done_bytes = 0;
    conn->more = false;
    while (take_stash(conn) && conn->state == TLS_OPEN && inlet_takes(inlet)) {
        bool direct = inlet->bulk_left > 0 && inlet->place != NULL;
        uint8_t *to = direct ? inlet->place : conn->tls_rail->rx;
        size_t got = 0, size = direct ? (size_t)quire_min_u64(inlet->bulk_left, TURN_BYTES) : TLS_RX_BYTES;
        enum quire_status status = quire_tls_read(conn->tls, to, size, &got);
        if (status == QUIRE_PENDING) {
            break;
        }
        if (status != QUIRE_OK) {
            conn_gone(conn, status, quire_tls_why(conn->tls));
            return;
        }
        if (direct) {
            inlet_bulk_came(inlet, got);
        } else {
            size_t used = take(conn, to, got);
            keep(conn, to + used, got - used);
        }
        done_bytes += got;
        if (done_bytes >= TURN_BYTES) {
            turn_again(conn);
            break;
        }
    }
}

/* ---- out ---------------------------------------------------------------------------------------------------------------------- */
/* What goes next of a reply, in one piece. A head and the lanes behind it are small ones: a record for each would cost more than a copy. */
static struct iovec next_piece(struct tls_conn *conn, struct exchange_msg *msg) {
    struct iovec parts[TLS_RECORD_PARTS];
    size_t size = 0;
    if (msg->tx == NULL) {
        return (struct iovec){msg->body + msg->sent_bytes, msg->bytes - msg->sent_bytes};
    }
    uint32_t n = link_tx_rest(msg->tx, parts, TLS_RECORD_PARTS);
    if (n == 1 || parts[0].iov_len >= TLS_RECORD_BYTES) {
        return parts[0];
    }
    for (uint32_t i = 0; i < n && size < TLS_RECORD_BYTES; i++) {
        size_t some = quire_min_u64(parts[i].iov_len, TLS_RECORD_BYTES - size);
        memcpy(conn->tls_rail->record + size, parts[i].iov_base, some);
        size += some;
    }
    return (struct iovec){conn->tls_rail->record, size};
}

/* It has something to send, unless the socket takes nothing: in line for a turn. */
static void line_up(struct tls_conn *conn) {
    if (conn->state == TLS_OPEN && !conn->blocked && !outbox_is_empty(&conn->out)) {
        outbox_join(&conn->tls_rail->line, &conn->out);
        rail_of(conn)->more = true;
    }
}

/* A turn's share, or as much of that as are replies. */
static void write_some(struct tls_conn *conn, bool replies) {
    struct rail *rail = rail_of(conn);
    uint64_t done_bytes = 0;
    while (conn->state == TLS_OPEN && !conn->blocked && done_bytes < OUTBOX_TURN_BYTES && (!replies || outbox_replies(&conn->out))) {
        struct exchange_msg *msg = outbox_first(&conn->out);
        if (msg == NULL) {
            return;
        }
        struct iovec piece = next_piece(conn, msg);
        size_t sent = 0;
        enum quire_status status = quire_tls_write(conn->tls, piece.iov_base, piece.iov_len, &sent);
        if (status == QUIRE_PENDING) {
            conn->blocked = true;
            return;
        }
        if (status != QUIRE_OK) {
            conn_gone(conn, status, quire_tls_why(conn->tls));
            return;
        }
        done_bytes += sent;
        atomic_store(&conn->wire->moved_ns, rail->now_ns);
        msg->sent_bytes += sent;
        if (msg->tx != NULL) {
            link_tx_sent(msg->tx, sent);
        }
        if (msg->sent_bytes == msg->bytes) {
            outbox_done(&conn->out);
            msg->kind = EXCHANGE_SENT;
            exchange_post(&rail->out, msg);
        }
    }
}

/* ---- life --------------------------------------------------------------------------------------------------------------------- */
static void shake_hands(struct tls_conn *conn) {
    struct tls_rail *tls_rail = conn->tls_rail;
    enum quire_status status = quire_tls_handshake(conn->tls);
    if (status == QUIRE_PENDING) {
        return;
    }
    if (status != QUIRE_OK) {
        conn_refuse(conn, status, quire_tls_why(conn->tls));
        return;
    }
    char name[QUIRE_TLS_NAME_BYTES];
    size_t length = strlen(conn->peer);
    quire_tls_peer(conn->tls, name);
    if (name[0] != '\0' && length + 4 < sizeof conn->peer) {
        snprintf(conn->peer + length, sizeof conn->peer - length, " (%.60s)", name);
    }
    memcpy(conn->wire->peer, conn->peer, sizeof conn->peer);
    conn->state = TLS_OPEN;
    crowd_leave(&tls_rail->shaking, &conn->waiting);
    exchange_post(&tls_rail->rail.out, conn->wire->opened);
    turn_again(conn); /* what came behind the handshake may be in its buffer already */
}

/* Reads what the client still sends, so that the system does not answer it with a reset that overtakes our last word. */
static void linger(struct tls_conn *conn) {
    ssize_t got = recv(conn->source.fd, conn->tls_rail->rx, TLS_RX_BYTES, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        conn_free(conn);
    }
}

void tls_conn_turn(struct tls_conn *conn) {
    conn->more = false;
    if (conn->state == TLS_HANDSHAKE) {
        shake_hands(conn);
        return; /* it may be no more */
    }
    if (conn->state == TLS_LINGERING) {
        linger(conn);
        return;
    }
    read_some(conn);
    watch(conn);
}

void tls_conn_send(struct outbox *outbox) {
    struct tls_conn *conn = LOOP_CONTAINER(outbox, struct tls_conn, out);
    write_some(conn, false);
    line_up(conn);
    watch(conn);
}

static void ready(struct loop_source *source, uint32_t events) {
    struct tls_conn *conn = LOOP_CONTAINER(source, struct tls_conn, source);
    (void)events;
    rail_of(conn)->now_ns = loop_now_ns();
    bool shaking = conn->state == TLS_HANDSHAKE;
    conn->blocked = false;
    line_up(conn);
    struct tls_rail *tls_rail = conn->tls_rail;
    uint32_t before = tls_rail->n_conns;
    tls_conn_turn(conn);
    if (shaking && tls_rail->n_conns == before) {
        watch(conn);
    }
}

/* Whoever does not hang up when it is told its last has a place for that only as long as nobody else needs it. */
static void begin_to_linger(struct tls_conn *conn) {
    struct tls_rail *tls_rail = conn->tls_rail;
    struct crowd_member *leaves;
    uint64_t now_ns = tls_rail->rail.now_ns;
    shutdown(conn->source.fd, SHUT_WR);
    conn->state = TLS_LINGERING;
    conn->began_ns = now_ns;
    crowd_admits(&tls_rail->lingering, conn->peer, now_ns, &leaves);
    if (leaves != NULL) {
        conn_free(LOOP_CONTAINER(leaves, struct tls_conn, waiting));
    }
    crowd_join(&tls_rail->lingering, &conn->waiting, conn->peer, now_ns);
    loop_want(tls_rail->rail.loop, &conn->source, EPOLLIN);
}

void tls_conn_message(struct tls_conn *conn, struct exchange_msg *msg) {
    switch (msg->kind) {
    case EXCHANGE_SEND:
        if (conn->state != TLS_OPEN) {
            exchange_send_drop(&rail_of(conn)->out, msg);
            return;
        }
        outbox_put(&conn->out, msg);
        write_some(conn, true);
        line_up(conn);
        break;
    case EXCHANGE_KNOWN:
    case EXCHANGE_TAKEN:
    case EXCHANGE_PLACE:
        inlet_message(&conn->inlet, msg);
        if (conn->state == TLS_OPEN) {
            read_some(conn);
        }
        break;
    default: /* CLOSE */
        if (conn->state == TLS_OPEN) {
            quire_tls_destroy(&conn->tls, !outbox_is_empty(&conn->out));
        }
        give_wire_back(conn);
        if (conn->state == TLS_GONE) {
            conn_free(conn);
            return;
        }
        drop_stream(conn);
        begin_to_linger(conn);
        return;
    }
    watch(conn);
}

void tls_conn_check(struct tls_conn *conn, uint64_t now_ns) {
    const struct rail_limits *limits = &rail_of(conn)->limits;
    if (conn->state == TLS_HANDSHAKE && now_ns > conn->began_ns + limits->handshake_ns) {
        tls_conn_give_up(conn, "no handshake in time");
    } else if (conn->state == TLS_LINGERING && now_ns > conn->began_ns + LINGER_NS) {
        conn_free(conn);
    } else if (conn->state == TLS_OPEN && inlet_is_late(&conn->inlet, now_ns)) {
        conn_gone(conn, QUIRE_TIMEOUT, "a request was begun and not completed in time");
    }
}

void tls_conn_end(struct tls_conn *conn) {
    if (conn->state == TLS_HANDSHAKE) {
        wire_free(conn->wire);
    } else if (conn->wire != NULL) {
        give_wire_back(conn);
    }
    conn_free(conn);
}

void tls_conn_create(struct tls_rail *tls_rail, int fd, const char *peer) {
    struct rail *rail = &tls_rail->rail;
    struct tls_conn *conn = calloc(1, sizeof *conn);
    enum quire_status status = QUIRE_NO_MEMORY;
    if (conn != NULL) {
        pthread_mutex_lock(&tls_rail->settings_lock);
        status = quire_tls_create(tls_rail->settings, fd, NULL, &conn->tls);
        pthread_mutex_unlock(&tls_rail->settings_lock);
        conn->wire = wire_create(rail, conn);
        conn->source = (struct loop_source){.fd = fd, .events = EPOLLIN, .ready = ready};
        if (status != QUIRE_OK || conn->wire == NULL || loop_add(rail->loop, &conn->source) != QUIRE_OK) {
            if (conn->wire != NULL) {
                wire_free(conn->wire);
            }
            quire_tls_destroy(&conn->tls, true);
            free(conn);
            conn = NULL;
        }
    }
    if (conn == NULL) {
        atomic_fetch_add(&rail->counters.refused, 1);
        log_warn("remote_refused", "tls %s: no memory for another connection", peer);
        close(fd);
        return;
    }
    quire_tls_prepare_socket(fd);
    snprintf(conn->peer, sizeof conn->peer, "%s", peer);
    conn->tls_rail = tls_rail;
    inlet_init(&conn->inlet, rail, conn->wire);
    outbox_setup(&conn->out);
    conn->began_ns = rail->now_ns;
    ring_add(&tls_rail->conns, &conn->place);
    tls_rail->n_conns++;
    crowd_join(&tls_rail->shaking, &conn->waiting, peer, rail->now_ns);
    atomic_fetch_add(&rail->counters.accepted, 1);
}
