/*
 * The exchange: how a rail's thread and the core's talk about wires. A wire is one connection; what belongs to which side is said at each field.
 *
 * Messages, of which each side takes all there are at a time:
 *
 *   rail → core                                             core → rail
 *   OPENED  a connection stands                             SEND    bytes for the client
 *   FRAME   a complete frame; its bulk bytes wait           TAKEN   frames were handled: as many more may come
 *   BULK    they are where PLACE said                       PLACE   where the bulk bytes behind the last frame go
 *   SENT    a SEND comes back: the client has taken it      CLOSE   the session has ended: the core's last word
 *   DROPPED a SEND comes back: it will not be sent
 *   GONE    the client, or its stream is of no use
 *   CLOSED  the rail's last word: the wire is the core's to free   KNOWN   it has proven who it is, and may say more than a greeting
 *
 * Bounded: a rail has no more than WIRE_CREDIT_FRAMES and WIRE_CREDIT_BYTES of a wire with the core and reads no further until TAKEN; the core
 * holds a session up whose SENDs are not taken; the rest is a few messages a wire, which are parts of it. A wire that has been CLOSED by
 * the core is silent but for CLOSED. Posting is thread-safe and wakes the other side's loop, unless that is
 * `quiet`.
 *
 * A SEND whose bytes lie in a pool (`tx` with segments) keeps them there until it is back: every SEND with a tx comes back, SENT or DROPPED, before
 * CLOSED, and not before the transport has let go of its bytes. exchange_send_drop does that for one that will not be sent.
 */
#ifndef DAEMON_NET_EXCHANGE_H
#define DAEMON_NET_EXCHANGE_H

#include "daemon/loop.h"
#include "proto/frame.h"

#include <pthread.h>
#include <stdatomic.h>

#define WIRE_CREDIT_FRAMES 16
#define WIRE_CREDIT_BYTES (256u << 10)
#define WIRE_PEER_BYTES 96
#define WIRE_WHY_BYTES 256

enum exchange_kind {
    EXCHANGE_OPENED,
    EXCHANGE_FRAME,
    EXCHANGE_BULK,
    EXCHANGE_SENT,
    EXCHANGE_DROPPED,
    EXCHANGE_GONE,
    EXCHANGE_CLOSED,
    EXCHANGE_KNOWN,
    EXCHANGE_SEND,
    EXCHANGE_TAKEN,
    EXCHANGE_PLACE,
    EXCHANGE_CLOSE
};

struct wire;
struct exchange_msg {
    struct exchange_msg *next;
    struct wire *wire;
    enum exchange_kind kind;
    bool part_of_wire;        /* not to be freed */
    struct quire_frame frame; /* FRAME */
    uint32_t frames;          /* TAKEN: so many */
    uint64_t bytes;           /* TAKEN: of their bodies; PLACE: how many belong there; SEND, SENT: of the message */
    uint64_t sent_bytes;      /* SEND: of them the rail has sent */
    uint8_t *place;           /* PLACE */
    uint32_t under_way;       /* SEND: parts of it that are with the transport */
    bool in_line, given_up;   /* SEND: not all of it is with the transport yet; it will not be sent */
    struct link_tx *tx;       /* SEND, SENT, DROPPED: the bytes are there instead of in the body */
    uint8_t body[];           /* FRAME: the body; SEND: the bytes */
};

struct rail;
struct link;
struct link_tx;
struct wire {
    struct rail *rail;
    char peer[WIRE_PEER_BYTES];    /* where it comes from, and the name in its certificate, for people; fixed before OPENED */
    enum quire_status gone_status; /* with GONE: DISCONNECTED when the client hung up, else what was wrong */
    char why[WIRE_WHY_BYTES];      /* with GONE, for people */
    _Atomic uint64_t moved_ns;     /* when the client took bytes last */
    struct exchange_msg *opened, *bulk, *gone, *closed,
        *close;        /* parts of it: said at most once at a time, and never for want of memory not */
    struct link *link; /* the core's */
    void *conn;        /* the rail's */
};

/* With room for `bytes` of body. NULL: no memory. */
struct exchange_msg *exchange_msg_create(struct wire *wire, enum exchange_kind kind, size_t bytes);
void exchange_msg_free(struct exchange_msg *msg);
/* NULL: no memory. */
struct wire *wire_create(struct rail *rail, void *conn);
void wire_free(struct wire *wire);

/* One direction. */
struct exchange {
    pthread_mutex_t lock;
    struct exchange_msg *head, **tail;
    bool closed;
    _Atomic bool quiet;        /* posting wakes nobody: whoever has set this sees to it that the taker looks */
    struct loop_wakeup wakeup; /* on the taker's loop; `woken` is the taker's function */
};

enum quire_status exchange_setup(struct exchange *exchange, struct loop *taker, void (*woken)(struct loop_wakeup *wakeup));
/* Nobody takes any more: what is there is freed, and so is what is posted later. */
void exchange_close(struct exchange *exchange);
/* And nobody posts. */
void exchange_teardown(struct exchange *exchange, struct loop *taker);
void exchange_post(struct exchange *exchange, struct exchange_msg *msg);
/* For the rail: a SEND that will not be sent. Goes back to the core by `out`, if something of the core's is held for it. */
void exchange_send_drop(struct exchange *out, struct exchange_msg *msg);
bool exchange_is_empty(struct exchange *exchange);
/* All there is, in order. */
struct exchange_msg *exchange_take(struct exchange *exchange);

#endif
