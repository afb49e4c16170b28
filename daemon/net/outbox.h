/*
 * Outboxes: what a rail has to send, in an order that is fair. Each wire has one. In it replies go first, then what is fetched, then what is
 * prefetched; a message that was begun goes to its end.
 *
 * The outboxes of a rail stand in line. The first one has a turn of OUTBOX_TURN_BYTES, then it goes to the end: who asked for a lot waits for its
 * own bytes, not the others. An outbox with nothing but prefetched bytes stands in a second line, which has a turn when nobody is in
 * the first, and else every OUTBOX_PATIENCE turns, so that it is late and does not starve. For a rail's own thread.
 */
#ifndef DAEMON_NET_OUTBOX_H
#define DAEMON_NET_OUTBOX_H

#include "daemon/net/exchange.h"
#include "daemon/ring.h"

#define OUTBOX_TURN_BYTES (256u << 10)
#define OUTBOX_PATIENCE 16u

enum outbox_rank { OUTBOX_REPLY, OUTBOX_FETCH, OUTBOX_PREFETCH, OUTBOX_RANKS };

struct outbox {
    struct exchange_msg *begun;
    struct exchange_msg *head[OUTBOX_RANKS], **tail[OUTBOX_RANKS];
    struct ring place; /* in line */
    bool late;         /* in the second */
};

struct outbox_line {
    struct ring first, late;
    uint32_t passed; /* turns since the second had one */
};

void outbox_setup(struct outbox *outbox);
bool outbox_is_empty(const struct outbox *outbox);
/* A SEND. */
void outbox_put(struct outbox *outbox, struct exchange_msg *msg);
/* The message to go on with is a reply: it goes out at once, since replies are short, and may be the last that a client is told. */
bool outbox_replies(const struct outbox *outbox);
/* It has nothing but prefetched bytes. What is behind a message that was begun counts, too: it has to wait for that one. */
bool outbox_is_late(const struct outbox *outbox);
/* The message to go on with, which is begun by that; NULL: there is none. */
struct exchange_msg *outbox_first(struct outbox *outbox);
/* That one is done with. */
void outbox_done(struct outbox *outbox);

void outbox_line_setup(struct outbox_line *line);
bool outbox_line_is_empty(const struct outbox_line *line);
/* It has something that can be sent: at the end of its line. Stays where it is in line already, unless that is the second and it is to be in the first. */
void outbox_join(struct outbox_line *line, struct outbox *outbox);
void outbox_leave(struct outbox *outbox);
/* Whose turn it is; it has left the line. NULL: nobody's. */
struct outbox *outbox_next(struct outbox_line *line);

#endif
