/* Shared by the files of the TLS rail: tls_rail.c (life, listeners), tls_conn.c (a connection). All on the rail's thread. */
#ifndef DAEMON_NET_TLS_RAIL_INTERNAL_H
#define DAEMON_NET_TLS_RAIL_INTERNAL_H

#include "daemon/net/crowd.h"
#include "daemon/net/inlet.h"
#include "daemon/net/outbox.h"
#include "daemon/net/tls_rail.h"

#define TLS_MAX_LISTENERS 16
#define TLS_RX_BYTES (128u << 10)
#define TLS_RECORD_BYTES (16u << 10) /* the longest there is */
#define TLS_RECORD_PARTS 64

struct tls_rail;
struct tls_listener {
    struct tls_rail *tls_rail;
    struct loop_source source;
    uint64_t resting_until_ns;
};

enum tls_state {
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_GONE,     /* the stream is of no use; the core has been told and says CLOSE */
    TLS_LINGERING /* the core has said CLOSE; the client is given time to read what was said last */
};

struct tls_conn {
    struct ring place; /* among the rail's */
    struct tls_rail *tls_rail;
    enum tls_state state;
    struct wire *wire; /* NULL while it lingers */
    struct loop_source source;
    struct quire_tls *tls;
    char peer[WIRE_PEER_BYTES];
    bool more;                   /* bytes were left over from the last turn */
    struct crowd_member waiting; /* among those who shake hands, or linger */
    uint64_t began_ns;           /* handshake or lingering */
    struct inlet inlet;
    uint8_t *stash; /* came, and is not decoded yet */
    size_t stash_bytes, stash_at;
    struct outbox out;
    bool blocked; /* the socket takes no more for now */
};

struct tls_rail {
    struct rail rail;
    struct tls_listener listeners[TLS_MAX_LISTENERS];
    uint32_t n_listeners;
    pthread_mutex_t settings_lock; /* around the pointer: the core's thread renews it */
    struct quire_tls_settings *settings;
    struct quire_tls_settings *prepared; /* the core's, until it settles them; else NULL */
    struct ring conns;
    struct outbox_line line; /* of those that can send */
    uint32_t n_conns;
    struct crowd shaking, lingering; /* those whose handshake is not done; and those who were told their last */
    struct guard guard;              /* of addresses whose handshakes fail */
    uint8_t rx[TLS_RX_BYTES];
    uint8_t record[TLS_RECORD_BYTES]; /* small parts of a reply, put together */
};

/* tls_conn.c */
/* Takes over the socket; told to nobody before its handshake is done. */
void tls_conn_create(struct tls_rail *tls_rail, int fd, const char *peer);
/* Its handshake did not end in time; it is no more. */
void tls_conn_give_up(struct tls_conn *conn, const char *why);
void tls_conn_message(struct tls_conn *conn, struct exchange_msg *msg);
void tls_conn_turn(struct tls_conn *conn);
/* Sends a turn's share. */
void tls_conn_send(struct outbox *outbox);
void tls_conn_check(struct tls_conn *conn, uint64_t now_ns);
/* The rail ends: CLOSED to the core if it knows it, and freed. */
void tls_conn_end(struct tls_conn *conn);

#endif
