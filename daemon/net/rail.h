/*
 * A rail: a thread with a loop of its own that carries sessions of other hosts. It takes connections from its listeners, has them prove what the
 * transport can prove, brings frames to the core and takes replies back; the core's side of a wire is a link (daemon/net/remote_link.h).
 * What a rail runs on (TLS over TCP, UCX) is a const struct rail_ops; threads, lists and messages are the same for all. A transport may have several
 * rails, each with some of its addresses (daemon/net/places.h).
 *
 * rail_create, rail_start and rail_stop are for the core's thread; what is in rail_ops runs on the rail's, where nothing else is said.
 */
#ifndef DAEMON_NET_RAIL_H
#define DAEMON_NET_RAIL_H

#include "daemon/net/exchange.h"
#include "daemon/net/places.h"

#include <stdatomic.h>

#define RAIL_TICK_NS (250 * QUIRE_NS_PER_MS)
#define RAIL_WHY_BYTES 512
#define RAIL_BULK_BYTES_PER_S (256u << 10) /* bulk bytes that come more slowly hold a window for nothing */

struct core;
struct quire_tls_files;

/* Counted by rails, read by anybody. */
struct rail_counters {
    _Atomic uint64_t accepted, refused, guarded, denied, broken, rests;
};

struct rail_limits {
    uint32_t wires;            /* connections at once, handshakes and those that linger among them */
    uint32_t handshakes;       /* of which so many may be unfinished */
    uint32_t lingering;        /* that are only read, so that the last word is not lost */
    uint64_t handshake_ns;     /* to finish one */
    uint64_t frame_ns;         /* to complete a frame, or go on with its bulk bytes; these take so much and their share in all */
    uint64_t unfinished_bytes; /* of frames that are being gathered, all wires together */
};

/* A domain's pool, and its generations, as its clients may reach them. */
struct rail_memory {
    const void *pool_key, *generations_key;
    size_t pool_key_bytes, generations_key_bytes;
};

struct rail_ops {
    const char *scheme;
    /* A message of the core's, one of KNOWN, SEND, TAKEN, PLACE, CLOSE; it is the rail's from now on. */
    void (*message)(struct rail *rail, struct exchange_msg *msg);
    /* Goes on with wires that have something left over from their last turn; true: there is more. */
    bool (*turn)(struct rail *rail);
    /* Four times a second: what has taken too long. */
    void (*tick)(struct rail *rail, uint64_t now_ns);
    /* The thread is about to end: closes listeners and every wire; those with a core side are CLOSED first. */
    void (*stop)(struct rail *rail);
    /* Certificate and key are read anew, and kept until `settle` takes them, which cannot fail, or throws them away; connections that stand go on.
       In two steps, so that all rails have new ones, or all the old. Core's thread. NULL, both: it has none. */
    enum quire_status (*prepare)(struct rail *rail, const struct quire_tls_files *files, char *why, size_t why_bytes);
    void (*settle)(struct rail *rail, bool take);
    /* Frees what `rail` was made of, after the thread has ended. */
    void (*free)(struct rail *rail);
};

struct rail {
    const struct rail_ops *ops;
    struct core *core;
    struct loop *loop;
    struct exchange in, out; /* to the rail, to the core */
    struct rail_limits limits;
    struct rail_counters counters;
    const struct rail_memory *memory; /* NULL: nobody reads from afar */
    struct place place;               /* set before rail_start, which pins the thread there */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stopping;
    uint64_t now_ns;
    bool more;                /* `turn` has something to do */
    uint64_t gathering_bytes; /* of frames that are being gathered (inlet.h) */
    struct rail *next;        /* the core's list */
};

/* Fills what all rails have. `taken` is called on the core's loop when messages are there. */
enum quire_status rail_init(struct rail *rail, const struct rail_ops *ops, struct core *core, const struct rail_limits *limits,
                            void (*taken)(struct loop_wakeup *wakeup));
enum quire_status rail_start(struct rail *rail);
/* Ends the thread. The core takes what is left in `out` before rail_destroy. */
void rail_stop(struct rail *rail);
void rail_destroy(struct rail **rail);

#endif
