/*
 * What must be true after every step: leased bytes are what they were; each session has the leases that its client holds, and no others; every byte that was
 * written is counted; every segment is somewhere; and a recount of all books finds what they say.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include <stdbool.h>

struct sim;
void sim_check(struct sim *sim);
/* The pager counts its books anew, and what it says is leased is what the clients hold. */
void sim_check_recount(struct sim *sim);
/* All is found: nothing of it was deleted. */
void sim_check_found(struct sim *sim);
/* As many segments are clean as there should be, if no drive is lost or full: what was written can be written again. */
bool sim_check_room(const struct sim *sim);
/* Nobody holds or wants anything, and all was deleted: memory and log are empty. */
void sim_check_empty(struct sim *sim);

#endif
