/*
 * What goes wrong with drives while the daemon lives: bytes rot, sectors cannot be read, a drive is slow, hangs, dies, or has no room; and memory is short.
 * When all is calm that is over, but for drives that have no room for long, and one that hangs while all the others have none: with these the
 * pager must come to rest, too.
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "proto/quire_types.h"

struct sim;
/* Something may go wrong now. */
void sim_faults_roll(struct sim *sim);
/* What hangs goes on; and drives have room again. */
void sim_faults_pass(struct sim *sim, bool room);

/* How long a drive takes over so many bytes. */
uint64_t sim_faults_delay_ns(struct sim *sim, uint64_t bytes);
/* For want of memory something is not even asked of a drive. */
bool sim_faults_short(struct sim *sim);
/* What becomes of a write or a sync: OK, FULL, NO_MEMORY. */
enum quire_status sim_faults_taken(struct sim *sim, uint32_t device, bool sync);
bool sim_faults_full(const struct sim *sim, uint32_t device);
/* Drives have no room for a while that a quiet time does not end. */
void sim_faults_fill_for_long(struct sim *sim);
/* Every drive is lost or full. */
bool sim_faults_none_takes(const struct sim *sim);
bool sim_faults_hanging(const struct sim *sim, uint32_t device);
/* At a start, which may find a drive hanging. True: it is given up before anybody is served. */
bool sim_faults_at_start(struct sim *sim, uint32_t *device);
/* Wishes that nobody waits for any more: their drive hangs and was given up. */
uint32_t sim_faults_stuck(const struct sim *sim);

/* The pager is told that a device is out of use. */
void sim_faults_lose(struct sim *sim, uint32_t device);
/* A read failed: after many the device is out of use. */
void sim_faults_read_failed(struct sim *sim, uint32_t device);

#endif
