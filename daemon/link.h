/*
 * A link carries a session's frames: over the local socket, or over a wire. A way to carry them is one file that ends in a const struct
 * link_ops; the session, its requests and the pager do not know which it is.
 *
 * The link owns what is on its way: bytes that came and are not a frame yet, frames that came and are not handled yet, replies that the client
 * has not taken. It hands complete frames to session_frame, one after the other, and says that the client is gone by session_end. The session says
 * whether it takes more (`want`), and what is to be sent. Everything here is for the loop thread; a link with threads of its own
 * brings its frames there first.
 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include "proto/base/base.h"

struct link;
struct session;

/* A reply with room for bulk bytes behind its body; packed, and on its way out. */
struct link_tx {
    struct link_tx *next;
    uint64_t size_bytes, sent_bytes;
    int fds[2]; /* its own */
    uint32_t n_fds;
    uint8_t bytes[];
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
    uint64_t tx_bytes;         /* replies that the client has not taken */
    uint32_t tx_fds;           /* descriptors in them */
    uint64_t tx_moved_ns;      /* when it last took something, or the first of them was queued */
    uint64_t frame_ns;         /* since when a frame is unfinished; 0: none is */
    uint64_t unfinished_bytes; /* its buffer */
};

struct link_tx *link_tx_create(uint64_t size_bytes);
void link_tx_free(struct link_tx *tx);

#endif
