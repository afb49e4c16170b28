/* What the daemon does when a request has come: it asks the pager, tells the model what was asked and answered, and sends the reply on its way. */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "tests/sim/sim_clients.h"

void sim_server_request(struct sim *sim, const struct sim_request *request);
/* PUT_DONE, LOAD_DONE, DURABLE. */
void sim_server_outcome(struct sim *sim, const struct pager_event *event);
/* The session's connection is cut; quarantine: it may still read. */
void sim_server_gone(struct sim *sim, uint64_t session, bool quarantine);
/* Opens a space's namespace, creating it when it is not there. */
uint16_t sim_server_space(struct sim *sim, uint32_t space);
void sim_server_unpin_all(struct sim *sim);
/* Deletes everything of a space. */
void sim_server_delete_space(struct sim *sim, uint32_t space);

#endif
