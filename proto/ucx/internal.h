/* Shared by the files of proto/ucx: port.c (worker, listeners), wire.c (life of an endpoint, what goes out), in.c (what comes), watch.c
   (whether the other host is there). */
#ifndef QUIRE_UCX_INTERNAL_H
#define QUIRE_UCX_INTERNAL_H

#include "proto/ucx/ucx.h"

#include <stdatomic.h>
#include <ucp/api/ucp.h>

#define UCX_AM_ID 11
#define UCX_HEAD_MAGIC 0x31585551u /* "QUX1" */
#define UCX_OVERHEAD_BYTES 64      /* what a message costs of the window beside its bytes */
#define UCX_ASKS_MAX 64
#define UCX_BUCKETS 256 /* of endpoints, by address */
/* Further ahead than a window of messages that cost the least cannot be. In whatever order they come, no bucket has more of them than their quotient. */
#define UCX_AHEAD_MAX (QUIRE_UCX_WINDOW_BYTES / UCX_OVERHEAD_BYTES)
#define UCX_AHEAD_BUCKETS 256

enum ucx_message { UCX_FRAMES = QUIRE_UCX_FRAMES, UCX_BULK = QUIRE_UCX_BULK, UCX_CREDIT };

/* Goes in front of each message. */
struct ucx_head {
    uint32_t magic;
    uint32_t message;
    uint64_t sequence;    /* FRAMES and BULK count from 0: lanes may bring them in another order */
    uint64_t taken_bytes; /* of the other end's messages, overhead included, so many have been taken in all */
};
_Static_assert(sizeof(struct ucx_head) == 24, "the head's size is the wire's");

/* Came, and was not taken yet. */
struct ucx_arrival {
    struct ucx_arrival *next;
    enum ucx_message message;
    uint64_t sequence;
    void *data; /* UCX's: the bytes, or what stands for those that wait at the sender */
    size_t size, at;
    bool waits; /* at the sender */
    bool owned; /* data is to be given back to UCX */
    uint32_t n_frames, frames_at;
    uint8_t frames[]; /* in front of bulk bytes */
};

/* A message that goes out; its head stays valid until it has gone. */
struct ucx_post {
    struct quire_ucx_wire *wire;
    quire_ucx_done *done;
    void *arg;
    struct ucx_head head;
    uint8_t frames[]; /* behind the head: UCX takes both as one */
};
_Static_assert(offsetof(struct ucx_post, frames) == offsetof(struct ucx_post, head) + sizeof(struct ucx_head), "nothing lies between");

struct quire_ucx_wire {
    struct quire_ucx_port *port;
    void *user;
    ucp_ep_h ep; /* NULL: being closed, or closed */
    struct quire_ucx_wire *bucket_next, *ready_next;
    struct quire_ucx_wire *prev, *next; /* of the port */
    bool is_ready;
    enum quire_status status;
    char why[QUIRE_UCX_WHY_BYTES];
    /* How it began: see ucx_greet. */
    bool asks, stands;
    bool crediting; /* a message that tells what was taken has not gone yet */
    uint32_t greeted;
    /* in */
    struct ucx_arrival *arrivals[UCX_AHEAD_BUCKETS]; /* by sequence */
    uint64_t next_in;                                /* that is to be taken next */
    uint64_t came_bytes, taken_bytes, told_bytes, window_bytes;
    bool receiving;
    enum quire_status received;
    struct ucx_arrival *receiving_of;
    ucp_dt_iov_t places[QUIRE_UCX_MAX_PLACES];
    /* out */
    uint64_t next_out, sent_bytes, peer_taken_bytes;
    bool wants_room;
    uint32_t sending; /* posts that have not gone, credits among them */
    /* the connection that it began with, UCX's (watch.c); −1: not known */
    int watched;
    uint64_t watched_cookie;
    /* end */
    bool closing, closed;
    void *close_request;
};

/* What ports beside each other share. */
struct ucx_shared {
    ucp_context_h context;
    _Atomic uint32_t refs;
};

struct quire_ucx_port {
    struct ucx_shared *shared;
    ucp_context_h context;
    ucp_worker_h worker;
    int fd;
    size_t front_bytes; /* see quire_ucx_front_bytes */
    ucp_listener_h listeners[QUIRE_UCX_MAX_LISTENERS];
    uint32_t n_listeners;
    struct quire_ucx_ask asks[UCX_ASKS_MAX];
    uint32_t first_ask, n_asks, n_refused;
    char refused_peer[QUIRE_UCX_PEER_BYTES];
    struct quire_ucx_wire *buckets[UCX_BUCKETS];
    struct quire_ucx_wire *wires;
    struct quire_ucx_wire *ready, **ready_tail;
};

void ucx_wire_ready(struct quire_ucx_wire *wire);
/* The first failure stays. */
void ucx_wire_fail(struct quire_ucx_wire *wire, enum quire_status status, const char *why);
struct quire_ucx_wire *ucx_wire_of(const struct quire_ucx_port *port, ucp_ep_h ep);
enum quire_status ucx_wire_create(struct quire_ucx_port *port, ucp_ep_params_t *params, void *user, struct quire_ucx_wire **wire);
/* Has the system watch over the host that asked from there. */
void ucx_watch(struct quire_ucx_wire *wire, const struct sockaddr_storage *from);
/* Goes on with closing; sets `closed` when nothing of it is with UCX any more. */
void ucx_wire_close_on(struct quire_ucx_wire *wire);
/*
 * A message without bytes each way, and one more: whoever asked for the connection greets, is greeted, and says that it was. Until then nothing else is
 * sent: UCX 1.13 plans what waits for a connection for lanes that are not those that it gets, and fails at those that are narrower.
 */
void ucx_greet(struct quire_ucx_wire *wire);
void ucx_greeted(struct quire_ucx_wire *wire);
/* Tells the other end what was taken. */
void ucx_credit(struct quire_ucx_wire *wire);
/* In a forked child their data is not ours to give back. */
void ucx_drop_arrivals(struct quire_ucx_wire *wire, bool forked);
/* What a message costs of the window: bytes that wait at the sender take no room here. */
static inline uint64_t ucx_cost(size_t n_frames, size_t size, bool waits) { return UCX_OVERHEAD_BYTES + n_frames + (waits ? 0 : size); }
/* The handler of every message; arg is the port. */
ucs_status_t ucx_came(void *arg, const void *header, size_t header_length, void *data, size_t length, const ucp_am_recv_param_t *param);

#endif
