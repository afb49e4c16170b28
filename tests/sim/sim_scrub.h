/*
 * As daemon/disk/scrub.c does: segment after segment, what rests on disk and is still needed is read and verified, and the pager told what is damaged or
 * cannot be read. Between reading and telling time goes by, in which a segment may be emptied and used again.
 */
#ifndef SIM_SCRUB_H
#define SIM_SCRUB_H

struct sim;
/* Begins, and goes on for this life of the daemon; nothing in a world without. */
void sim_scrub_begin(struct sim *sim);

#endif
