/* Rings: what stands in line, or belongs together, without memory of its own. A member stands in one at most, and knows whether it does. */
#ifndef DAEMON_RING_H
#define DAEMON_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
    struct ring *prev, *next; /* of a member that stands in none: NULL */
};

static inline void ring_setup(struct ring *ring) { ring->prev = ring->next = ring; }

static inline bool ring_is_empty(const struct ring *ring) { return ring->next == ring; }

static inline bool ring_holds(const struct ring *member) { return member->next != NULL; }

/* At its end. Stays where it is if it stands in one. */
static inline void ring_add(struct ring *ring, struct ring *member) {
    if (!ring_holds(member)) {
        member->next = ring;
        member->prev = ring->prev;
        member->prev->next = ring->prev = member;
    }
}

static inline void ring_remove(struct ring *member) {
    if (ring_holds(member)) {
        member->prev->next = member->next;
        member->next->prev = member->prev;
        member->prev = member->next = NULL;
    }
}

#endif
