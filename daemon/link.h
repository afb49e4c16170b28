/*
 * A link carries a session's frames: over the local socket, or over a wire. A way to carry them is one file that ends in a const struct
 * link_ops; the session, its requests and the pager do not know which it is.
 *
 * The link owns what is on its way: bytes that came and are not a frame yet, frames that came and are not handled yet, replies that the client
 * has not taken. It hands complete frames to session_frame, one after the other, and says that the client is gone by session_end. The session says
 * whether it takes more (`want`), and what is to be sent. Everything here is for who has the core (core_borrow): a link with
 * threads of its own brings its frames there first.
 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include "proto/base/base.h"

#include <sys/uio.h>

struct link;
struct session;

struct link_segment {
    const uint8_t *at;
    uint32_t bytes;
};

/*
 * A reply on its way out: first its head, packed, then segments of bytes that lie elsewhere (in a pool), in order. Those stay what and where they
 * are until `release`, which link_tx_free calls: whoever carries it frees it when it is sent, or never will be, and nobody reads from
 * it any more. Freed by who has the core: a link with threads of its own brings it back there.
 */
struct link_tx {
    struct link_tx *next;
    uint64_t size_bytes, sent_bytes; /* of all of it */
    void (*release)(void *held);     /* NULL: nobody waits for it */
    void *held;
    int fds[2]; /* its own */
    uint32_t n_fds;
    bool prefetch; /* nobody waits for it yet: what others wait for goes first */
    uint32_t head_bytes, n_segments;
    uint32_t segment, segment_sent_bytes; /* the first that is not sent, and what of it is */
    struct link_segment *segments;        /* in the same piece of memory */
    uint8_t bytes[];                      /* the head */
};

struct link_ops {
    const char *name; /* for people */
    /* Handles some of what has come, and no more than a turn's share; read_ns is now. */
    void (*turn)(struct link *link, uint64_t read_ns);
    /* The session takes frames, or does not for now. */
    void (*want)(struct link *link, bool takes);
    /* Sends a packed frame, or what of it must wait is queued, with descriptors of the link's own. A failure ends the session. */
    void (*send)(struct link *link, const uint8_t *bytes, size_t size, const int *fds, uint32_t n_fds);
    /* The same for a reply with bulk bytes, which it takes over. */
    void (*send_bulk)(struct link *link, struct link_tx *tx);
    /* Brings tx_moved_ns up to date, where another thread knows. NULL: it always is. */
    void (*moved)(struct link *link);
    /* The session has ended: nothing comes or goes any more. */
    void (*close)(struct link *link);
    /* After close, when nobody reads from the link's buffers any more. Or instead of it, when it never had a session: what it was made of is the caller's again. */
    void (*free)(struct link *link);
};

struct link {
    const struct link_ops *ops;
    struct session *session;
    bool reads;                /* more can come from the client */
    bool more;                 /* something came that was not handled in its turn */
    bool fills;                /* bulk bytes are on their way: no frame is handled before they are here */
    uint64_t tx_bytes;         /* replies that the client has not taken */
    uint64_t tx_bulk_bytes;    /* of them, in segments: they have bounds of their own */
    uint32_t tx_fds;           /* descriptors in them */
    uint64_t tx_moved_ns;      /* when it last took something, or the first of them was queued */
    uint64_t frame_ns;         /* since when a frame is unfinished; 0: none is */
    uint64_t unfinished_bytes; /* its buffer */
};

/* Its segments are the caller's to fill, and size_bytes to add them to. NULL: no memory. */
struct link_tx *link_tx_create(uint32_t head_bytes, uint32_t n_segments);
void link_tx_free(struct link_tx *tx);
/* What is not sent, as far as `most` parts go: how many. */
uint32_t link_tx_rest(const struct link_tx *tx, struct iovec *parts, uint32_t most);
void link_tx_sent(struct link_tx *tx, uint64_t bytes);
/* In segments, and not sent. */
uint64_t link_tx_bulk_bytes(const struct link_tx *tx);

#endif
