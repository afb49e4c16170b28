/*
 * The configuration's rules of faults at work: laid over the backend at the start, replaced by a reload. Rules that `quirectl fault` added
 * beside them stay.
 */
#ifndef DAEMON_DISK_REHEARSE_H
#define DAEMON_DISK_REHEARSE_H

#include "daemon/config.h"
#include "daemon/disk/faults.h"

struct rehearsal {
    uint32_t ids[CONFIG_MAX_FAULTS]; /* of the rules that came from the configuration */
    uint32_t n;
};

/* Whether the layer of faults is needed at all: it is laid once, at the start. */
bool rehearse_wanted(const struct config *config);
/*
 * `io` is the layer of faults, or a backend without one: then rules are only told to need a restart. Each rule at work is logged, it is no
 * accident.
 */
void rehearse_apply(struct rehearsal *rehearsal, struct disk_io *io, const struct config *config);
/* The rules at work, the configuration's and others; 0 without the layer. */
uint32_t rehearse_rules(const struct disk_io *io);
/* What does the work beneath. */
const struct disk_io *rehearse_backend(const struct disk_io *io);

#endif
