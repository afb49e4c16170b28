/*
 * Clients, and the network between them and the daemon: requests are late, lost, repeated; connections are cut. Each client does what comes to its
 * mind: stores chains of blocks and parts of them, looks up, loads, reads, releases, deletes, pins, touches, and dies.
 */
#ifndef SIM_CLIENTS_H
#define SIM_CLIENTS_H

#include "pager/disk.h"
#include "tests/sim/sim_agenda.h"
#include "tests/sim/sim_config.h"

#define SIM_KEYS_AT_ONCE 48u
#define SIM_LEASES 16u

enum sim_request_type { SIM_PUT, SIM_LEASE, SIM_LOAD, SIM_READ, SIM_CANCEL, SIM_RELEASE, SIM_KEYS };

struct sim_request {
    struct sim_task task;
    enum sim_request_type type;
    uint32_t client, space, n;
    uint64_t session, life;
    uint32_t keys[SIM_KEYS_AT_ONCE];
    /* PUT */
    uint64_t version, put_id;
    quire_rect rect;
    uint32_t put_flags, wait_ms;
    bool again; /* it was put before, and not answered */
    /* LEASE */
    uint32_t flags, group_mask, lease_ms;
    float floor;
    /* LOAD, RELEASE */
    uint64_t lease;
    bool partial;
    /* KEYS */
    enum quire_wire_keys_verb verb;
    bool never; /* keys that nobody ever stored */
};

struct sim_client {
    uint64_t session; /* 0: not connected */
    uint32_t domain;
    uint64_t leases[SIM_LEASES]; /* that it knows of */
    uint32_t n_leases;
};

struct sim_clients {
    struct sim_client all[SIM_MAX_CLIENTS];
    uint64_t leaving[SIM_MAX_CLIENTS]; /* quarantined sessions that still read; 0: none */
};

/* Each begins to think, until it is calm. */
void sim_clients_wake(struct sim *sim);
/* The daemon has died, or parts from all. */
void sim_clients_cut(struct sim *sim);
/* A reply has come: a lease. */
void sim_clients_leased(struct sim *sim, uint32_t client, uint64_t session, uint64_t lease);
void sim_clients_gone(struct sim *sim, uint32_t client, bool quarantine);

#endif
