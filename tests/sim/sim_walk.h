/* A segment's entries as they lie on the simulated disk: from its footer, or from head to head (codec/LOG.md, "Reading a set"). */
#ifndef SIM_WALK_H
#define SIM_WALK_H

#include "codec/log.h"

struct sim;
/* What of a walk could not be read. */
enum sim_unread {
    SIM_READ_ALL,
    SIM_UNREAD_SOME, /* but for the heads: deletions are all there */
    SIM_UNREAD_HEADS
};
/* By malloc, never NULL; verify: from the first record on that is not whole, only tombstones count. */
struct quire_log_entry *sim_walk(struct sim *sim, uint32_t segment, uint64_t epoch, bool verify, uint32_t *n_entries,
                                 enum sim_unread *unread);
extern const uint8_t sim_set_id[16];

#endif
