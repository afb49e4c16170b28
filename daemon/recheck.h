/*
 * Rechecks: in a domain whose pool trusted clients reach from afar (domains: rma) a record may have been written to since it was sealed. So what is
 * sent of one to those who have no mapping of the pool is looked at each time, on the work pool, when its turn to be sent has come: header, directory and the lanes
 * that are sent. What is damaged is given up (pager_damaged) and answered with MISS. RECHECK_JOBS at once, others wait in order; there are no more
 * of them than flow lets be on their way. Answers may overtake each other. Loop
 * thread only, but for the work itself.
 */
#ifndef DAEMON_RECHECK_H
#define DAEMON_RECHECK_H

#include "proto/wire.h"

#define RECHECK_JOBS 64u /* of the work pool */

struct core;
struct flow_piece;
struct link_tx;
struct recheck;

struct rechecks {
    struct recheck *first, *last; /* in order: those that run, then those that wait */
    struct recheck *waiting;      /* the first that waits */
    uint32_t n_running;
};

/* For a piece that was held: these parts of it are to be sent. It becomes the piece's, which frees it. False: no memory. */
bool recheck_create(struct flow_piece *piece, const struct quire_wire_range *ranges, uint32_t n_ranges);
/* The piece's turn has come: sends `tx` when its bytes are good. */
void recheck_begin(struct recheck *recheck, struct link_tx *tx);
/* The work pool has ended: nothing of what was begun is sent any more. */
void rechecks_teardown(struct core *core);

#endif
