#include "tests/sim/sim_wire.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_server.h"

#include "codec/checksum.h"

#include <stdlib.h>

/* ---- records on their way ------------------------------------------------------------------------------------------------- */
static uint64_t sum_of(const struct sim *sim, const struct sim_sending *sending) {
    return quire_checksum(sim->domains[sending->domain].pool + sending->grant.offset, sending->grant.size);
}

static void look(struct sim *sim, const struct sim_sending *sending) {
    SIM_REQUIRE(sim, atomic_load(&sim->domains[sending->domain].generations[sending->grant.slot]) == sending->grant.generation);
    SIM_REQUIRE(sim, sum_of(sim, sending) == sending->sum); /* else the client gets bytes that nobody granted */
}

/* Its last byte is out, or its connection is closed. */
static void sent(struct sim *sim, struct sim_task *task) {
    struct sim_sending *sending = (struct sim_sending *)task;
    struct sim_wire *wire = &sim->wire;
    look(sim, sending);
    pager_let_go(sim->pager, &sending->hold);
    wire->sendings[sending->index] = wire->sendings[--wire->n_sendings];
    wire->sendings[sending->index]->index = sending->index;
    sim_say(sim, "sent: slot %u", sending->grant.slot);
}

static void begin_sending(struct sim *sim, const struct sim_request *request, const struct sim_hold *of, const struct sim_grant *grant) {
    struct sim_wire *wire = &sim->wire;
    struct sim_sending *sending = sim_task_new(sim, sizeof(*sending), true, sent);
    enum quire_status status = pager_hold(sim->pager, request->session, request->lease, grant->grant.slot, &sending->hold);
    sim_say(sim, "read: lease %llx, slot %u: status %d", (unsigned long long)request->lease, grant->grant.slot, status);
    SIM_REQUIRE(sim, status == QUIRE_OK || status == QUIRE_STALE);
    if (status != QUIRE_OK) {
        sim_task_free(sending);
        return;
    }
    sending->domain = sim->model.spaces[of->space].domain;
    sending->grant = grant->grant;
    sending->index = wire->n_sendings;
    sending->sum = sum_of(sim, sending);
    wire->sendings[wire->n_sendings++] = sending;
    sim->counts->sent++;
    sim_after(sim, sim_between(sim, 1, sim->config.slow_reader_ms) * SIM_MS, sending);
}

void sim_wire_read(struct sim *sim, const struct sim_request *request) {
    const struct sim_hold *hold = sim_model_hold(sim, request->lease);
    struct pager_hold none;
    if (hold == NULL) {
        SIM_REQUIRE(sim, pager_hold(sim->pager, request->session, request->lease, 0, &none) == QUIRE_NOT_FOUND);
        return;
    }
    uint32_t first = sim_roll(sim, hold->n + 1);
    for (uint32_t i = first; i < hold->n && i < first + 3 && sim->wire.n_sendings < SIM_SENDINGS; i++) {
        const struct sim_grant *grant = &hold->grants[i];
        if (grant->grant.offset != QUIRE_WIRE_AWAY && !grant->partial) {
            begin_sending(sim, request, hold, grant);
        }
    }
}

void sim_wire_untouched(struct sim *sim, uint32_t domain, uint64_t offset, uint64_t size) {
    for (uint32_t i = 0; i < sim->wire.n_sendings; i++) {
        const struct sim_sending *sending = sim->wire.sendings[i];
        const struct quire_wire_grant *grant = &sending->grant;
        SIM_REQUIRE(sim, sending->domain != domain || offset + size <= grant->offset || grant->offset + grant->size <= offset);
    }
}

uint64_t sim_wire_mark(const struct sim *sim, uint32_t domain, uint8_t *seen, uint64_t *unseen_bytes) {
    uint64_t bytes = 0;
    *unseen_bytes = 0;
    for (uint32_t i = 0; i < sim->wire.n_sendings; i++) {
        const struct sim_sending *sending = sim->wire.sendings[i];
        if (sending->domain == domain) {
            uint8_t *bits = &seen[sending->grant.slot];
            bytes += *bits != 3 ? sending->grant.size : 0;
            *unseen_bytes += *bits == 0 ? sending->grant.size : 0;
            *bits = 3;
        }
    }
    return bytes;
}

/* A block that is there already is not stored again, however often it is put. */
static void check_stored_once(struct sim *sim) {
    const struct pager_counters *counters = pager_counters(sim->pager);
    struct pager_ns_info info;
    uint64_t stores = 0;
    for (uint32_t cursor = 0; pager_ns_next(sim->pager, &cursor, &info);) {
        stores += info.stores;
    }
    SIM_REQUIRE(sim, stores + counters->puts_duplicate <= sim->wire.taken);
}

void sim_wire_check(struct sim *sim) {
    for (uint32_t i = 0; i < sim->wire.n_sendings; i++) {
        look(sim, sim->wire.sendings[i]);
    }
    check_stored_once(sim);
}

/* ---- connections that break ----------------------------------------------------------------------------------------------- */
static void noticed(struct sim *sim, uint32_t i) {
    struct sim_wire *wire = &sim->wire;
    uint64_t session = wire->lost[i].session;
    wire->lost[i] = wire->lost[--wire->n_lost];
    for (uint64_t cookie = sim->model.n_loads; cookie > 0; cookie--) {
        const struct sim_load *load = &sim->model.loads[cookie - 1];
        const struct sim_hold *hold = load->open ? sim_model_hold(sim, load->lease) : NULL;
        sim->counts->lost_loads += hold != NULL && hold->session == session;
    }
    sim_server_gone(sim, session, false);
}

struct notice {
    struct sim_task task;
    uint64_t session;
};

static void notice(struct sim *sim, struct sim_task *task) {
    uint64_t session = ((const struct notice *)task)->session;
    for (uint32_t i = 0; i < sim->wire.n_lost; i++) {
        if (sim->wire.lost[i].session == session) {
            noticed(sim, i);
            return;
        }
    }
}

void sim_wire_break(struct sim *sim, uint32_t client) {
    struct sim_client *c = &sim->clients.all[client];
    struct sim_wire *wire = &sim->wire;
    if (wire->n_lost == SIM_LOST) {
        return;
    }
    wire->lost[wire->n_lost++] = (struct sim_lost){.session = c->session, .deaf = sim_chance(sim, 50)};
    struct notice *later = sim_task_new(sim, sizeof(*later), true, notice);
    later->session = c->session;
    sim_after(sim, sim_between(sim, 1, sim_chance(sim, 50) ? 2 : 2000) * SIM_MS, later);
    sim_say(sim, "session %llx: its connection breaks", (unsigned long long)c->session);
    sim->counts->broken++;
    *c = (struct sim_client){.domain = c->domain};
}

bool sim_wire_is_deaf(const struct sim *sim, uint64_t session) {
    bool deaf = false;
    for (uint32_t i = 0; i < sim->wire.n_lost; i++) {
        deaf |= sim->wire.lost[i].session == session && sim->wire.lost[i].deaf;
    }
    return deaf;
}

void sim_wire_part(struct sim *sim) {
    while (sim->wire.n_lost > 0) {
        noticed(sim, 0);
    }
}

void sim_wire_died(struct sim *sim) {
    struct sim_wire *wire = &sim->wire;
    for (uint32_t i = 0; i < wire->n_sendings; i++) {
        look(sim, wire->sendings[i]);
        pager_let_go(sim->pager, &wire->sendings[i]->hold);
    }
    wire->n_sendings = wire->n_lost = 0;
    wire->taken = 0;
}

/* ---- puts that are put again ---------------------------------------------------------------------------------------------- */
void sim_wire_asked(struct sim *sim, uint32_t client, const struct sim_request *request) {
    struct sim_wire *wire = &sim->wire;
    if (wire->unanswered[client] == NULL) {
        wire->unanswered[client] = calloc(SIM_UNANSWERED, sizeof(*request));
        SIM_REQUIRE(sim, wire->unanswered[client] != NULL);
    }
    uint32_t *n = &wire->n_unanswered[client];
    uint32_t at = *n < SIM_UNANSWERED ? (*n)++ : sim_roll(sim, SIM_UNANSWERED);
    wire->unanswered[client][at] = *request;
    wire->unanswered[client][at].again = true;
}

void sim_wire_answered(struct sim *sim, const struct sim_put *put) {
    struct sim_wire *wire = &sim->wire;
    if (sim->clients.all[put->client].session != put->session) {
        return; /* it does not arrive */
    }
    for (uint32_t i = wire->n_unanswered[put->client]; i-- > 0;) {
        struct sim_request *all = wire->unanswered[put->client];
        if (all[i].version == put->version) {
            all[i] = all[--wire->n_unanswered[put->client]];
        }
    }
}

void sim_wire_again(struct sim *sim, uint32_t client, void (*send)(struct sim *sim, uint32_t client, struct sim_request *request)) {
    struct sim_wire *wire = &sim->wire;
    for (uint32_t i = 0; i < wire->n_unanswered[client]; i++) {
        struct sim_request request = wire->unanswered[client][i];
        sim->counts->sent_again++;
        send(sim, client, &request);
    }
}

void sim_wire_free(struct sim_wire *wire) {
    for (uint32_t i = 0; i < SIM_MAX_CLIENTS; i++) {
        free(wire->unanswered[i]);
    }
}
