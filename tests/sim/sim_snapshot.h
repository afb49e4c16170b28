/* What a stop in good order leaves beside the log: the index, for the next start, and for that one alone. */
#ifndef SIM_SNAPSHOT_H
#define SIM_SNAPSHOT_H

#include "pager/disk.h"

struct sim;
struct sim_snapshot {
    bool whole; /* the last life ended in good order */
    struct quire_snapshot_entry *entries;
    uint32_t *openings;
    uint32_t n, n_openings;
};

/* Everything is flushed. */
void sim_snapshot_take(struct sim *sim);
void sim_snapshot_free(struct sim_snapshot *snapshot);
/* Tells openings, or some entries from `at`, and where to go on; false: there are no more, or the rest is damaged: the log is to be read (*doubt). */
void sim_snapshot_open(struct sim *sim);
bool sim_snapshot_tell(struct sim *sim, uint32_t *at, bool *doubt);

#endif
