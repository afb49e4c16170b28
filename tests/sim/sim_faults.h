/* What goes wrong with drives while the daemon lives. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "proto/quire_types.h"

struct sim;
/* How long it takes over so many bytes. */
uint64_t sim_faults_delay_ns(struct sim *sim, uint64_t bytes);
void sim_faults_lose(struct sim *sim, uint32_t device);
void sim_faults_read_failed(struct sim *sim, uint32_t device);
void sim_faults_kill(struct sim *sim, uint32_t device);
void sim_faults_hang(struct sim *sim, uint32_t device);
bool sim_faults_short(struct sim *sim);
enum quire_status sim_faults_taken(struct sim *sim, uint32_t device, uint32_t full_pct);

#endif
