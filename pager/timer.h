/*
 * Deadlines: a binary heap of timers that live inside the objects they watch, so that arming one allocates nothing once the heap
 * has grown, and disarming takes a logarithm. Equal calls give an equal order; addresses are never compared.
 */
#ifndef PAGER_TIMER_H
#define PAGER_TIMER_H

#include "proto/base/base.h"

enum pager_timer_kind { PAGER_TIMER_LEASE, PAGER_TIMER_PART, PAGER_TIMER_ASSEMBLY, PAGER_TIMER_LOAD };

/* Zero: not armed. */
struct pager_timer {
    uint64_t when_ns;
    uint32_t place; /* in the heap, from 1; 0: not armed */
    uint8_t kind;   /* enum pager_timer_kind: whose it is */
};

struct pager_timers {
    struct pager_timer **heap;
    uint32_t n, capacity;
    uint32_t promised; /* timers that exist, armed or not: arming cannot fail */
};

void pager_timers_free(struct pager_timers *timers);
/* Once for each timer before it is first armed, and once when it is no more. */
enum quire_status pager_timers_promise(struct pager_timers *timers);
void pager_timers_forget(struct pager_timers *timers, struct pager_timer *timer);
void pager_timer_arm(struct pager_timers *timers, struct pager_timer *timer, uint64_t when_ns);
void pager_timer_disarm(struct pager_timers *timers, struct pager_timer *timer);
/* The earliest, or NULL. */
static inline struct pager_timer *pager_timer_first(const struct pager_timers *timers) { return timers->n > 0 ? timers->heap[0] : NULL; }
void pager_timers_check(const struct pager_timers *timers);

#endif
