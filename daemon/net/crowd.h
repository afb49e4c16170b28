/*
 * A crowd: those who are here and have not proven who they are, in the order in which they came. There are so many at most, and of one address so
 * many, so that none can keep the others out. Where the crowd is full the one that is here longest goes for a newcomer, once it has had the time
 * that an honest one needs; where an address has its share, one of its own does.
 *
 * Members are parts of what they stand for: nothing is allocated. Deterministic, time is given. One thread.
 */
#ifndef DAEMON_NET_CROWD_H
#define DAEMON_NET_CROWD_H

#include "daemon/net/guard.h"
#include "daemon/ring.h"

#define CROWD_GRACE_MS 1000

struct crowd_member {
    struct ring place; /* in no ring: it is in no crowd */
    char address[GUARD_ADDRESS_BYTES];
    uint64_t since_ns;
};

struct crowd {
    struct ring members; /* the oldest first */
    uint32_t n, most, most_of_one;
    uint64_t grace_ns;
};

/* An address has a quarter. */
void crowd_setup(struct crowd *crowd, uint32_t most);
/* Somebody may go for whoever comes, or there is a place anyway. */
bool crowd_has_room(const struct crowd *crowd, uint64_t now_ns);
/* May one more come from there? *leaves: who has to go for it, and is still here; NULL: nobody. `peer` is "address:port…". */
bool crowd_admits(const struct crowd *crowd, const char *peer, uint64_t now_ns, struct crowd_member **leaves);
void crowd_join(struct crowd *crowd, struct crowd_member *member, const char *peer, uint64_t now_ns);
/* Harmless when it is not here. */
void crowd_leave(struct crowd *crowd, struct crowd_member *member);

#endif
