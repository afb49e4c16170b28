/*
 * From what the disk holds to a daemon's next life, as codec/LOG.md ("Reading a set") and daemon/disk/restart.h have it: metadata, segments' headers and
 * trailers, then serving begins, and entries come a few at a time from the newest segment to the oldest.
 */
#ifndef SIM_RESTART_H
#define SIM_RESTART_H

struct sim;
/* A pager is made, and reads on; requests may come from now. */
void sim_restart(struct sim *sim);

#endif
