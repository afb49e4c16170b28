/*
 * What wires add to the network: records that are sent straight out of the pool to clients that take their time, whatever becomes of lease and session
 * meanwhile; and connections that break. The client notices at once and comes again, with a new session and all puts whose answer it did not get; the daemon
 * notices later. What was under way to it may have arrived all the same, or not.
 */
#ifndef SIM_WIRE_H
#define SIM_WIRE_H

#include "pager/disk.h"
#include "tests/sim/sim_agenda.h"
#include "tests/sim/sim_config.h"

#define SIM_SENDINGS 24u
#define SIM_LOST 8u
#define SIM_UNANSWERED 12u

struct sim_request;
struct sim_put;

struct sim_sending { /* a record on its way to a client */
    struct sim_task task;
    struct pager_hold hold;
    struct quire_wire_grant grant;
    uint64_t sum;
    uint32_t domain, index;
};

struct sim_wire {
    struct sim_sending *sendings[SIM_SENDINGS];
    uint32_t n_sendings;
    struct sim_lost { /* sessions whose connection broke, of which the daemon does not know yet */
        uint64_t session;
        bool deaf; /* nothing arrives any more */
    } lost[SIM_LOST];
    uint32_t n_lost;
    struct sim_request *unanswered[SIM_MAX_CLIENTS]; /* puts of whole blocks: SIM_UNANSWERED of each client */
    uint32_t n_unanswered[SIM_MAX_CLIENTS];
    uint64_t taken; /* puts, in this life: each stores one block at most, or is one too many */
};

/* The server's: READ. */
void sim_wire_read(struct sim *sim, const struct sim_request *request);
/* What is being sent is what it was; what was stored was stored once. */
void sim_wire_check(struct sim *sim);
void sim_wire_untouched(struct sim *sim, uint32_t domain, uint64_t offset, uint64_t size);
/* Marks the slots of what is being sent to a domain's clients with 3; their bytes that were not marked so before. */
uint64_t sim_wire_mark(const struct sim *sim, uint32_t domain, uint8_t *seen, uint64_t *unseen_bytes);

/* The client's connection is no more, and only the client knows. */
void sim_wire_break(struct sim *sim, uint32_t client);
bool sim_wire_is_deaf(const struct sim *sim, uint64_t session);
/* The daemon parts from those, too. */
void sim_wire_part(struct sim *sim);
/* It has died, or is about to: nobody reads its memory any more. */
void sim_wire_died(struct sim *sim);

/* A put that may be put again; its answer, if it comes; and all that had none. */
void sim_wire_asked(struct sim *sim, uint32_t client, const struct sim_request *request);
void sim_wire_answered(struct sim *sim, const struct sim_put *put);
void sim_wire_again(struct sim *sim, uint32_t client, void (*send)(struct sim *sim, uint32_t client, struct sim_request *request));
void sim_wire_free(struct sim_wire *wire);

#endif
