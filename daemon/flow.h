/*
 * Flow: when pieces of records go out to those who have no mapping of the pool, guests and sessions over a wire. A piece is held (pager_hold) from the
 * READ on until its link has let go of it, so what goes out is the leased record's bytes, whatever becomes of lease, block and session.
 *
 * Three bounds, and who meets one waits; nobody is refused:
 *   a session's own: max_session_memory_bytes on their way, or one piece;
 *   all sessions over wires together: max_remote_read_bytes on their way, or one piece each. Sessions that wait for that stand in line and take
 *   turns of FLOW_TURN_BYTES, whose pieces are larger saves up several; they do not wait for those who take nothing of what they were sent, since
 *   each may have one piece;
 *   a session's pieces that wait: FLOW_WAITING, or FLOW_WAITING_SEGMENTS in them; beyond, its next READ is not handled.
 *
 * What is fetched and what is prefetched is counted apart: a session's prefetch leaves its fetches their room, and while a fetch waits for the
 * bound over all, no prefetch begins. For who has the core (core_borrow).
 */
#ifndef DAEMON_FLOW_H
#define DAEMON_FLOW_H

#include "daemon/link.h"
#include "daemon/ring.h"
#include "pager/pager.h"

#define FLOW_WAITING 64u
#define FLOW_WAITING_SEGMENTS 4096u
#define FLOW_TURN_BYTES (256u << 10)
#define FLOW_LEAST_BYTES 4096u /* a smaller piece counts for as much: it holds a record, too */

struct core;
struct recheck;
struct session;

enum flow_kind { FLOW_FETCH, FLOW_PREFETCH, FLOW_KINDS };

struct flow_piece {
    struct flow_piece *next;
    struct session *session;
    struct pager_hold hold;
    struct link_tx *tx;      /* while it waits */
    struct recheck *recheck; /* NULL: nobody could have changed its bytes */
    uint64_t request, bytes;
    enum flow_kind kind;
};

/* A session's place in line. */
struct flow_place {
    struct ring ring; /* first: found from it */
    struct session *session;
};

/* A session's. */
struct flow_own {
    struct {
        uint64_t bytes;      /* on their way */
        uint64_t turn_bytes; /* what its turns in line allow, and were not used for */
        uint32_t n_waiting, waiting_segments;
        struct flow_piece *head, **tail;
        struct flow_place place;
    } kind[FLOW_KINDS];
};

/* The core's. */
struct flow {
    uint64_t bytes;  /* on their way to sessions over wires */
    uint64_t n_held; /* pieces, whether on their way or waiting */
    struct ring line[FLOW_KINDS];
};

void flow_setup(struct flow *flow);
void flow_session_setup(struct session *session);
/* The session has ended: what waits is dropped. What is on its way ends with its link. */
void flow_session_end(struct session *session);
bool flow_session_is_idle(const struct session *session);

/* May the session have another piece? If not, its request is to be handled again. */
bool flow_has_room(const struct session *session, enum flow_kind kind);
/* The record under this lease: as pager_hold. OK: its segments are the caller's to fill, and size_bytes to add them to. */
enum quire_status flow_hold(struct session *session, uint64_t lease, uint32_t slot, uint32_t n_segments, struct flow_piece **piece);
/* Sends it, now or when there is room; what others could have written to is looked at first, when its turn has come (daemon/recheck.h). */
void flow_send(struct flow_piece *piece, uint64_t request, enum flow_kind kind);
/* Drops what waits for an answer to this request. True: it did, and nothing of it will be sent. */
bool flow_cancel(struct session *session, uint64_t request);

#endif
