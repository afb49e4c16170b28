/* Shared by the files of the UCX rail: ucx_rail.c (life, listeners, turns), ucx_conn.c (a connection). All on the rail's thread. */
#ifndef DAEMON_NET_UCX_RAIL_INTERNAL_H
#define DAEMON_NET_UCX_RAIL_INTERNAL_H

#include "daemon/net/inlet.h"
#include "daemon/net/outbox.h"
#include "daemon/net/share.h"
#include "daemon/net/ucx_rail.h"
#include "proto/ucx/ucx.h"

#define UCX_LOOPS_MAX 64

#define UCX_HANDED_MAX 16

/* Connections that one rail took and another is to carry. */
struct ucx_handed {
    pthread_mutex_t lock;
    struct quire_ucx_ask asks[UCX_HANDED_MAX];
    uint32_t n;
    bool closed;
};

struct ucx_rail {
    struct rail rail;
    struct ucx_rail *beside[UCX_LOOPS_MAX]; /* of the one that listens: those that carry sessions for it; they end before it does */
    uint32_t n_beside, next_beside;         /* whose turn it is; n_beside: its own */
    struct ucx_handed handed;               /* to this one */
    bool ends;                              /* nobody is let in any more */
    uint64_t busy_poll_ns, moved_ns;
    struct quire_ucx_port *port;
    struct loop_source source;
    struct quire_ucx_memory *pool, *generations; /* NULL: nobody reads from afar */
    struct rail_memory memory;
    struct ring conns;
    uint32_t n_conns;
    struct shares shares;
};

enum ucx_state {
    UCX_OPEN,
    UCX_GONE,      /* the wire is of no use; the core has been told and says CLOSE */
    UCX_LINGERING, /* the core has said CLOSE; what was said last is still on its way */
    UCX_CLOSING    /* UCX is letting go of what it reads and writes */
};

struct ucx_conn {
    struct ring place; /* among the rail's */
    struct ucx_rail *ucx_rail;
    enum ucx_state state;
    struct wire *wire; /* until CLOSED was said */
    struct quire_ucx_wire *ucx;
    struct share share; /* of bulk bytes under way to the client */
    struct inlet inlet;
    uint64_t receiving; /* bulk bytes that UCX is writing at the inlet's place */
    struct outbox out;  /* not all with UCX yet */
    uint64_t linger_until_ns;
    bool doubted; /* the other end was not there when we looked */
};

/* ucx_conn.c */
void ucx_conn_create(struct ucx_rail *ucx_rail, const struct quire_ucx_ask *ask);
void ucx_conn_message(struct ucx_conn *conn, struct exchange_msg *msg);
/* Something came, went, failed or is closed. The connection may be no more afterwards. */
void ucx_conn_turn(struct ucx_conn *conn);
void ucx_conn_check(struct ucx_conn *conn, uint64_t now_ns);
/* The rail ends: it is closed, and freed in a turn to come, with a last word to the core. */
void ucx_conn_end(struct ucx_conn *conn);
/* A reply is not all with the client's system yet. */
bool ucx_conn_sends(const struct ucx_conn *conn);
/* The port is no more. */
void ucx_conn_lost(struct ucx_conn *conn);

#endif
