/*
 * What carries the bytes of one connection between this process and a daemon: the local socket, or a wire. A way to carry them is one file
 * that ends in a const struct transport_ops; frames, requests and jobs do not know which it is.
 *
 * A transport is a stream of bytes with a descriptor to poll. One that can move bulk bytes without buffers carries them apart from the stream of frames
 * (`receive_bulk`, `send_bulk`): then the stream stops where they belong. Nothing here blocks, and the client's lock is held around every call but poll itself:
 * a transport needs no lock of its own. A failure is final: its connection is closed, and another one is made.
 */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include "proto/base/base.h"

#include <sys/types.h>
#include <sys/uio.h>

#define TRANSPORT_VERSION 4u
#define TRANSPORT_FDS_MAX 4
#define TRANSPORT_PLACES_MAX 192  /* of bulk bytes in one call */
#define TRANSPORT_ADDRESS_MAX 320 /* of an address without its scheme, with the 0 at its end */

struct transport_ops;

struct transport {
    const struct transport_ops *ops;
    int fd;             /* readable when `receive` may have something */
    bool wants_out;     /* it has something of its own to send, and waits for the descriptor to take it */
    bool more;          /* it may hold bytes that came: `receive` is to be called, though the descriptor is not readable */
    size_t front_bytes; /* of frames that may go in front of bulk bytes in one call of `send_bulk` */
    bool moved;         /* bytes went or came that no call has told of yet: the other end lives; whoever reads it clears it */
    uint32_t n_fds;
    int fds[TRANSPORT_FDS_MAX]; /* descriptors that came with the bytes, oldest first; whoever takes them closes them */
};

/* Says why, for people: a sentence without its subject's name, of less than `bytes` bytes. */
struct transport_why {
    char *text;
    size_t bytes;
};

/* What a wire needs to know beside its address; NULL where the caller said nothing. */
struct transport_settings {
    const char *tls_authorities, *tls_certificate, *tls_key;
    bool may_attach; /* the daemon's memory may be read from afar */
};

/* Memory of the daemon's, and what opens it. */
struct transport_region {
    uint64_t address, bytes;
    const void *key;
    size_t key_bytes;
};
enum transport_regions { TRANSPORT_POOL, TRANSPORT_GENERATIONS, TRANSPORT_REGIONS };
typedef void transport_got(void *arg, enum quire_status status);

struct transport_ops {
    uint32_t version;   /* TRANSPORT_VERSION: of this table, which may come from a plug-in object of another build */
    const char *scheme; /* of its addresses, "unix" */
    bool wire;          /* the daemon may be on another host: no descriptors, a token is to be proven, and what is stored goes along */
    /* Checks an address (what comes behind "scheme://") once, in quire_open, and writes the form that `connect` takes to `full`, of
       TRANSPORT_ADDRESS_MAX bytes; of a wire "host port number number…", by which the nearest is chosen (routes.c). May wait for a name to be
       looked up. INVALID, TOO_LARGE, SYSTEM, NOT_FOUND, with *why. */
    enum quire_status (*resolve)(const char *address, char *full, struct transport_why why);
    /* Begins a connection: OK, and *transport is the caller's. What is sent before it stands waits. `attempt` counts those that failed before, for
       those with several addresses. RETRY: the daemon lives and has no place for it in this moment. Else *why tells. */
    enum quire_status (*connect)(const char *full, const struct transport_settings *settings, uint32_t attempt,
                                 struct transport **transport, struct transport_why why);
    /* Takes what came, at most size bytes. OK: *got is not 0. PENDING: nothing did. DISCONNECTED or another status: it is over, *why tells. */
    enum quire_status (*receive)(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why);
    /* Sends what can be sent at once. OK: *sent is not 0. PENDING: nothing could; the descriptor will be writable when more can. */
    enum quire_status (*send)(struct transport *transport, const void *bytes, size_t size, size_t *sent, struct transport_why why);
    /* NULL: bulk bytes are in the stream, and so for the four below. Receives the next of `left` bulk bytes into places, in order: all that there
       are, or TRANSPORT_PLACES_MAX; none: they are dropped. OK: *got have come. PENDING: they come; the places are the transport's until the same
       call says OK, or let_go or stop was called. */
    enum quire_status (*receive_bulk)(struct transport *transport, const struct iovec *places, size_t n_places, uint64_t left, size_t *got,
                                      struct transport_why why);
    /* Nothing is written to places of bulk bytes any more when it returns; what comes for them is dropped. May wait some milliseconds, and end the
       connection. */
    void (*let_go)(struct transport *transport);
    /* Takes bulk bytes that stay as they are until let_go_of, or the connection was stopped; and the frames in front of them (copied, n_front may be 0).
       OK: all of these, and *sent of the bytes. PENDING. */
    enum quire_status (*send_bulk)(struct transport *transport, const void *front, size_t n_front, const void *bytes, size_t size,
                                   size_t *sent, struct transport_why why);
    /* The daemon has answered, or their owner goes: nothing of these bytes is read any more when it returns, though their sending may not have ended by
       itself. May wait some milliseconds, and end the connection. */
    void (*let_go_of)(struct transport *transport, const void *bytes, size_t size);
    /* NULL: the daemon's memory cannot be read from here. OK: it can. `asked`: the caller wants it so; else only where cards do it, UNSUPPORTED. */
    enum quire_status (*attach)(struct transport *transport, const struct transport_region regions[TRANSPORT_REGIONS], bool asked);
    /* Reads the daemon's memory. OK: `got` is called once, in this call, in another one, or in stop; until then `to` is the transport's. */
    enum quire_status (*get)(struct transport *transport, enum transport_regions region, uint64_t offset, void *to, size_t size,
                             transport_got *got, void *arg);
    /* Goes on until the `got` of some gets has counted `left` down to 0: nobody waits for others'. May wait some milliseconds, and end the connection:
       then they have all been told. */
    void (*end_gets)(struct transport *transport, const uint32_t *left);
    /* The connection is over: no memory of the caller's is read or written any more; only the descriptor stays. Comes before close, unless
       `forked`. NULL: there never is any. */
    void (*stop)(struct transport *transport);
    /* Ends it and frees it, with descriptors that were not taken. `forked`: in a forked child, whose parent goes on using the connection:
       nothing is told to the daemon. */
    void (*close)(struct transport *transport, bool forked);
};

/* What a plug-in object "libquire_SCHEME.so" exports: its table. */
#define TRANSPORT_SYMBOL "quire_transport"
typedef const struct transport_ops *transport_plugin(void);

/* The transport of an address that has a scheme, or is a path, and what comes behind the scheme. A wire's plug-in is loaded when it is asked for first.
   INVALID, UNSUPPORTED: it is not installed; with the error's text set. */
enum quire_status transport_find(const char *address, const struct transport_ops **ops, const char **rest);
/* The oldest descriptor that came; −1: none. */
int transport_take_fd(struct transport *transport);

extern const struct transport_ops transport_unix;

#endif
