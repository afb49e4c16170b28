/*
 * What is true, whatever the pager says: which versions of which block were offered and when, what was deleted, and whose deletion was acknowledged as
 * lasting, who holds what. Everything that a client is given is held against it.
 *
 * A block may be found when a version of it was offered after its last deletion. A crash takes deletions back that were not acknowledged.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "pager/disk.h"
#include "tests/sim/sim_config.h"

struct sim_key {
    quire_key key;
    int parent;  /* −1: the root, −2: unknown */
    int shorter; /* the tail that this one supersedes; −1: none */
    uint16_t n_tokens;
    uint32_t length;                /* opaque */
    uint64_t deleted, safe_deleted; /* when; 0: never */
    uint64_t offered[2];
    uint32_t pins_waiting;           /* sim_pins.h: by the metadata, and by what was asked since, until all is found */
    uint64_t pin_asked, unpin_asked; /* last */
    uint64_t pin_lasts, unpin_lasts; /* acknowledged; unpinned: altogether */
};

struct sim_space {
    char name[16];
    quire_layout layout;
    uint64_t tag;
    uint32_t n_groups, domain;
    uint64_t deleted, safe_deleted;
    struct sim_key *keys;
};

struct sim_version {
    uint32_t space, key, group;
    uint64_t offered; /* last */
    float ancestry;
    bool corrupt;
};

struct sim_put { /* an offer under way, by its cookie */
    uint64_t version;
    quire_rect rect;
    uint64_t session; /* who offered it */
    uint32_t client;
    bool open, pins;
};

struct sim_grant {
    struct quire_wire_grant grant; /* offset QUIRE_WIRE_AWAY: no bytes yet */
    uint32_t key;
    uint64_t deleted; /* its block's last deletion when it was granted */
    uint64_t version; /* of its bytes; 0: none yet */
    uint64_t sum;
    bool partial;
    quire_rect rect;
};

struct sim_hold { /* a lease, as the daemon gave it */
    uint64_t lease, session;
    uint32_t client, space, n;
    float floor;          /* negative: none */
    uint64_t loose_bytes; /* asked for in part, beside what is granted */
    struct sim_grant *grants;
};

struct sim_load {
    bool open, cancelled;
    uint64_t lease;
    uint32_t n;
    struct pager_load_item *items;
};

struct sim_barrier { /* waits for durable: what it covers */
    bool open;
    uint64_t moment;
    int space; /* a namespace was deleted */
    bool pins; /* keys were pinned or unpinned, not deleted */
    uint32_t n;
    struct {
        uint32_t space, key;
        bool unpinned; /* nobody pins it any more */
    } * keys;
};

struct sim_model {
    struct sim_space spaces[SIM_MAX_SPACES];
    uint64_t moment;              /* counts what the daemon is asked */
    struct sim_version *versions; /* from 1 */
    uint32_t n_versions, versions_capacity;
    struct sim_put *puts;
    uint32_t n_puts, puts_capacity, open_puts;
    struct sim_load *loads;
    uint32_t n_loads, loads_capacity, open_loads;
    struct sim_barrier *barriers;
    uint32_t n_barriers, barriers_capacity, open_barriers;
    struct sim_hold *holds;
    uint32_t n_holds, holds_capacity;
    bool blind; /* a tombstone may have rotted away: only bytes are certain */
};

void sim_model_create(struct sim *sim);
void sim_model_destroy(struct sim *sim);
/* The daemon has died: what was not lasting is undone, nobody holds anything. */
void sim_model_crash(struct sim *sim);

uint64_t sim_model_version(struct sim *sim, uint32_t space, uint32_t key, uint32_t group, float ancestry, bool corrupt);
void sim_model_shape(const struct sim *sim, uint32_t space, uint32_t key, uint32_t group, struct quire_record_shape *shape);
/* A lookup says that it is there. */
void sim_model_found(struct sim *sim, uint32_t space, uint32_t key, uint32_t groups);
uint64_t sim_model_deleted(const struct sim *sim, uint32_t space, uint32_t key);

struct sim_hold *sim_model_hold(struct sim *sim, uint64_t lease);
/* Looks at a grant's bytes: for the first time, or whether they are what they were. */
void sim_model_look(struct sim *sim, struct sim_hold *hold, struct sim_grant *grant);
/* Ends: last looks. */
void sim_model_release(struct sim *sim, uint64_t lease);
void sim_model_session_gone(struct sim *sim, uint64_t session);
/* One lease, in turn. */
void sim_model_watch(struct sim *sim);
/* Nobody may be reading what is about to be written. */
void sim_model_untouched(struct sim *sim, uint32_t domain, uint64_t offset, uint64_t size);

/* By cookie, from 1. */
uint64_t sim_model_put(struct sim *sim, uint64_t version, const quire_rect *rect);
uint64_t sim_model_load(struct sim *sim, uint64_t lease, const struct pager_load_item *items, uint32_t n);
uint64_t sim_model_barrier(struct sim *sim, const struct sim_barrier *as);
/* What the barrier covers lasts. */
void sim_model_lasting(struct sim *sim, const struct sim_barrier *barrier);

#endif
