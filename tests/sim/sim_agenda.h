/* What is to happen, by time; what falls on one moment happens in the order in which it was put down. */
#ifndef SIM_AGENDA_H
#define SIM_AGENDA_H

#include "proto/base/base.h"

struct sim;
struct sim_task { /* the first member of whatever it is about; allocated by sim_task_new, freed when it has run */
    uint64_t when_ns, order;
    uint64_t life; /* it dies with this life of the daemon; 0: it does not */
    void (*run)(struct sim *sim, struct sim_task *task);
    void *memory; /* freed with it */
};

struct sim_agenda {
    struct sim_task **heap;
    uint32_t n, capacity;
    uint64_t order;
};

/* Zeroed, `size` bytes; to be put down by sim_after. `mortal`: it dies with the daemon. */
void *sim_task_new(struct sim *sim, size_t size, bool mortal, void (*run)(struct sim *sim, struct sim_task *task));
void sim_after(struct sim *sim, uint64_t delay_ns, void *task);
void sim_task_free(void *task);
/* UINT64_MAX: nothing is to happen. */
uint64_t sim_agenda_next(const struct sim_agenda *agenda);
/* Runs the first, and frees it. */
void sim_agenda_run(struct sim *sim);
/* The daemon has died: what was mortal is gone. */
void sim_agenda_reap(struct sim *sim);
void sim_agenda_free(struct sim_agenda *agenda);

#endif
