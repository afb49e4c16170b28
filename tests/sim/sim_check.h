/*
 * What must be true after every step: leased bytes are what they were, one lease in turn; as many leases are out as somebody holds; every byte that was
 * written is counted; every segment is somewhere. And by a recount, which takes longer: in one seed of eight after every step, in the others now and then.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include <stdbool.h>

struct sim;
void sim_check(struct sim *sim);
/* The pager counts its books anew, and what it says is leased is what the clients hold. */
void sim_check_recount(struct sim *sim);
/* As many segments are clean as there should be, if no drive is lost or full: what was written can be written again. */
bool sim_check_room(const struct sim *sim);
/* Nobody holds or wants anything, and all was deleted: memory and log are empty. */
void sim_check_empty(struct sim *sim);

#endif
