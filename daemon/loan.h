/*
 * A loan: what belongs to a thread, and may be used by another one while that thread sleeps. The owner offers it before it sleeps and recalls it
 * after; in between one borrower at a time has it as its own. The owner waits for that one only, since nobody can borrow what is recalled.
 */
#ifndef DAEMON_LOAN_H
#define DAEMON_LOAN_H

#include <pthread.h>
#include <stdbool.h>

struct loan {
    pthread_mutex_t lock;
    pthread_cond_t returned;
    bool offered, taken;
};

void loan_setup(struct loan *loan);
void loan_teardown(struct loan *loan);
/* The owner. */
void loan_offer(struct loan *loan);
void loan_recall(struct loan *loan);
/* False: it is not on offer, or somebody else has it. */
bool loan_borrow(struct loan *loan);
void loan_return(struct loan *loan);

#endif
