/*
 * Shares: how many bulk bytes each wire of a UCX rail may have with UCX. What was handed over can be neither overtaken nor called back, so this decides
 * who waits for whom. A wire alone may have much under way. Where several fetch, each has a turn's bytes, and moves as many as the others however large
 * its pieces are. While others fetch, nothing is prefetched but a turn for every OUTBOX_PATIENCE turns of theirs; wires that wait for one stand in line.
 *
 * A client that takes nothing for SHARE_STUCK_NS is not counted until it does: nobody leaves room for what does not move. For a rail's own thread.
 */
#ifndef DAEMON_NET_SHARE_H
#define DAEMON_NET_SHARE_H

#include "daemon/ring.h"

#include <stdbool.h>
#include <stdint.h>

#define SHARE_ALONE_BYTES (8u << 20)
#define SHARE_PREFETCH_BYTES (2u << 20) /* prefetched, with nobody else there: a fetch that comes now shares the way with so much */
#define SHARE_STUCK_NS (1000u * 1000 * 1000)

enum share_kind { SHARE_FETCH, SHARE_PREFETCH, SHARE_KINDS };

/* A wire's. */
struct share {
    uint64_t bytes[SHARE_KINDS]; /* under way */
    uint64_t moved_ns;           /* when some of them went last, or began to */
    bool stuck;
    struct ring place; /* in line */
};

/* A rail's. */
struct shares {
    uint32_t n[SHARE_KINDS]; /* wires with such bytes under way, without those that are stuck */
    uint64_t passed_bytes;   /* fetched since a prefetch had a turn */
    struct ring line;
};

void shares_setup(struct shares *shares);
/* How many bytes the wire may hand over now; 0: none. It will be asked again when some of its own have gone, or when share_next names it. */
uint64_t share_room(struct shares *shares, struct share *share, enum share_kind kind);
/* So many bytes were handed over. */
void share_begin(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes, uint64_t now_ns);
/* UCX did not take them. */
void share_undo(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes);
/* They have gone. */
void share_end(struct shares *shares, struct share *share, enum share_kind kind, uint64_t bytes, uint64_t now_ns);
/* Now and then: does the client take what it asked for? */
void share_look(struct shares *shares, struct share *share, uint64_t now_ns);
/* One that stood in line and may go on; NULL: none may. */
struct share *share_next(struct shares *shares);
/* The wire ends. */
void share_leave(struct share *share);

#endif
