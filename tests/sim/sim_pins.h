/*
 * What is true of pins. After a start those that the metadata tells of hold until the log is read, whatever happened to their blocks. A pin whose
 * lasting was acknowledged is in the metadata at the next start, unless it was taken back or its block was lost; one that was taken back for good is not. A
 * namespace of a domain that is no more is told by every metadata, as it was.
 */
#ifndef SIM_PINS_H
#define SIM_PINS_H

#include "tests/sim/sim_model.h"

/* The daemon dies now: pins that have ended with their blocks are nobody's promise. */
void sim_pins_died(struct sim *sim);
/* A new life begins with this metadata: is all there that was promised, and nothing that was taken back? */
void sim_pins_found(struct sim *sim, const struct quire_meta_head *head);
void sim_pins_space_gone(struct sim *sim, uint32_t space);
/* By PIN, or by a put that has ended. */
void sim_pins_pinned(struct sim *sim, struct sim_key *key);
/* PIN, UNPIN and DELETE were answered for a key. */
void sim_pins_answered(struct sim *sim, uint32_t space, uint32_t key, enum quire_wire_keys_verb verb, enum quire_status status);
/* It is acknowledged that this lasts. */
void sim_pins_lasting(struct sim *sim, const struct sim_barrier *barrier);
/* One that waits for its block, near the n-th; -1: none does. */
int sim_pins_waiting(const struct sim *sim, uint32_t space, uint32_t n);

/* The namespace of a domain that is no more, and its pin. */
void sim_pins_foreign(struct sim *sim, struct quire_meta_item *item, struct quire_meta_pin *pin);
bool sim_pins_is_foreign(const struct quire_meta_item *item);

#endif
