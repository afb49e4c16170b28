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
    enum quire_status refused; /* how the last one ended that is not at work; OK: all are */
    char why[400];             /* which, and the reason; empty: none */
};

/* Whether the layer of faults is needed at all: it is laid once, at the start. */
bool rehearse_wanted(const struct config *config);
/*
 * `io` is the layer of faults, or a backend without one: then rules are only told to need a restart. Each rule at work is logged, it is no
 * accident.
 */
void rehearse_apply(struct rehearsal *rehearsal, struct disk_io *io, const struct config *config);
/* A file of the backend's is this one of the set: so rules call it. */
void rehearse_number_file(struct disk_io *io, uint32_t file, uint32_t number);
/* A rule's text; INVALID, and why: it is none, or of a file that a set of so many has not. */
enum quire_status rehearse_parse(const char *text, uint32_t n_files, struct disk_fault_rule *rule, char *why, size_t why_bytes);
/* The rules at work, the configuration's and others, up to max; returns how many: 0 without the layer. */
uint32_t rehearse_list(const struct disk_io *io, struct disk_fault *list, uint32_t max);
uint32_t rehearse_rules(const struct disk_io *io);
/* What does the work beneath. */
const struct disk_io *rehearse_backend(const struct disk_io *io);

#endif
