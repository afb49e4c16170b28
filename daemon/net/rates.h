/*
 * Rates of tenants: how many requests and bytes a second those with tokens of one name may have, all their sessions together.
 *
 * What comes in is saved for RATE_BURST_MS at most. A request is admitted when there is something left and may take more than that: what it
 * took too much is waited for afterwards, so that large answers need no large burst. Whoever may not go on waits in line, one request at a
 * time, so that a tenant's sessions come to their turns alike. Nothing is dropped: who is not read fills its own buffers.
 *
 * What members of a domain read by RMA takes nothing here: nobody of ours sees it.
 *
 * Deterministic, time is given. Loop thread only.
 */
#ifndef DAEMON_NET_RATES_H
#define DAEMON_NET_RATES_H

#include "daemon/net/tokens.h"

#define RATE_BURST_MS 1000

/* A session's place in line; part of it. */
struct rate_waiter {
    struct rate_waiter *prev, *next;
    void *owner;
    bool waits, turn; /* in line; its turn has come, and it has not asked yet */
    uint64_t since_ns;
    uint64_t held, held_ns; /* requests that had to wait, and how long */
};

struct tenant {
    char name[QUIRE_MAX_NAME + 1]; /* "": none */
    struct token_limits limits;
    uint64_t requests_ns, bytes_ns; /* when all that was taken will have come in */
    struct rate_waiter *head, *tail;
};

struct rates {
    struct tenant tenants[TOKENS_MAX]; /* each stays where it is while it is named */
    uint64_t next_ns;                  /* when rates_tick is due; UINT64_MAX: nobody waits */
};

void rates_init(struct rates *rates);
/* The tenants of these tokens, with their limits; of several lines of a name the last one's. What was taken stays taken, unless the limits are
   others. Sessions of names that are gone have left before. */
void rates_renew(struct rates *rates, const struct tokens *tokens);
/* NULL: nobody is called so. */
struct tenant *rates_find(struct rates *rates, const char *name);

/* May it have this request, with so many bytes behind it? False: it waits in line. */
bool rates_admit(struct rates *rates, struct tenant *tenant, struct rate_waiter *waiter, uint64_t bytes, uint64_t now_ns);
/* What an admitted request turned out to take beside. */
void rates_charge(struct tenant *tenant, uint64_t bytes, uint64_t now_ns);
/* Calls `turn` for the first in line of each tenant that has something left: it is to ask again. The next of a tenant's is due at once, and comes when
   this one has taken what it takes. */
void rates_tick(struct rates *rates, uint64_t now_ns, void (*turn)(struct rate_waiter *waiter));
/* It asks for nothing any more. */
void rates_leave(struct tenant *tenant, struct rate_waiter *waiter);

#endif
