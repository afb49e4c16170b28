/*
 * Every entry that was ever given to a drive, and in which use of which segment. An entry that a walk believes must be one of them, byte for byte: what follows
 * from one that is not would mostly be hidden, because records are verified before they are used.
 */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include "codec/log.h"

struct sim;
struct sim_ledger { /* sums, hashed openly; 0: a free place */
    uint64_t *sums;
    uint32_t n, capacity;
};

void sim_ledger_wrote(struct sim *sim, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entries, uint32_t n);
/* A footer or a head says so. */
void sim_ledger_believe(struct sim *sim, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entries, uint32_t n);
void sim_ledger_free(struct sim_ledger *ledger);

#endif
