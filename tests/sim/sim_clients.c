#include "tests/sim/sim_clients.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_pins.h"
#include "tests/sim/sim_server.h"

#include "proto/layout.h"

struct thought {
    struct sim_task task;
    uint32_t client;
};

/* ---- the network ---------------------------------------------------------------------------------------------------------- */
static void arrive(struct sim *sim, struct sim_task *task) { sim_server_request(sim, (struct sim_request *)task); }

static void post(struct sim *sim, const struct sim_request *request) {
    struct sim_request *sent = sim_task_new(sim, sizeof(*sent), false, arrive);
    struct sim_task task = sent->task;
    *sent = *request;
    sent->task = task;
    bool delayed = sim_chance(sim, 5);
    sim->counts->delayed += delayed;
    sim_after(sim, delayed ? sim_between(sim, 1, 50) * SIM_MS : sim_between(sim, 1000, 300000), sent);
}

static void send(struct sim *sim, uint32_t client, struct sim_request *request) {
    request->client = client;
    request->session = sim->clients.all[client].session;
    request->life = sim->life;
    uint32_t times = sim_chance(sim, sim->config.drop_pct) ? 0 : sim_chance(sim, sim->config.repeat_pct) ? 2 : 1;
    sim->counts->dropped += times == 0;
    sim->counts->repeated += times == 2;
    while (times-- > 0) {
        post(sim, request);
    }
}

struct answer {
    struct sim_task task;
    uint32_t client;
    uint64_t session, lease;
};

static void answered(struct sim *sim, struct sim_task *task) {
    const struct answer *answer = (const struct answer *)task;
    struct sim_client *client = &sim->clients.all[answer->client];
    if (client->session == answer->session && client->n_leases < SIM_LEASES) {
        client->leases[client->n_leases++] = answer->lease;
    }
}

void sim_clients_leased(struct sim *sim, uint32_t client, uint64_t session, uint64_t lease) {
    struct answer *answer = sim_task_new(sim, sizeof(*answer), true, answered);
    answer->client = client;
    answer->session = session;
    answer->lease = lease;
    sim_after(sim, sim_between(sim, 1000, 300000), answer);
}

/* ---- what they want ------------------------------------------------------------------------------------------------------- */
static uint32_t space_for(struct sim *sim, uint32_t client) {
    uint32_t space;
    do {
        space = sim_roll(sim, sim->config.n_spaces);
    } while (sim->model.spaces[space].domain != sim->clients.all[client].domain);
    return space;
}

static uint32_t path_to(const struct sim_space *space, uint32_t key, uint32_t path[SIM_KEYS_AT_ONCE]) {
    uint32_t up[SIM_KEYS_AT_ONCE], n = 0;
    for (int k = (int)key; k >= 0; k = space->keys[k].parent) {
        if (n == SIM_KEYS_AT_ONCE) { /* too deep: those nearest to the root */
            memmove(up, up + 1, (n - 1) * sizeof(up[0]));
            n--;
        }
        up[n++] = (uint32_t)k;
    }
    for (uint32_t i = 0; i < n; i++) {
        path[i] = up[n - 1 - i];
    }
    return n;
}

static void put_record(struct sim *sim, uint32_t client, uint32_t space, uint32_t key, uint32_t group) {
    const struct sim_space *s = &sim->model.spaces[space];
    float ancestry = sim_chance(sim, 80) ? 0 : (float)sim_roll(sim, 4) / 8;
    struct sim_request request = {.type = SIM_PUT, .space = space, .wait_ms = sim_chance(sim, 60) ? sim_roll(sim, 100) : 0};
    request.version = sim_model_version(sim, space, key, group, ancestry, sim_chance(sim, sim->config.corrupt_put_pct));
    request.put_flags = sim_chance(sim, 3) ? QUIRE_WIRE_PUT_PIN : 0;
    if (s->layout.opaque || sim_chance(sim, 70)) {
        request.rect = s->layout.opaque ? (quire_rect){0} : quire_layout_whole(&s->layout, group);
        request.put_id = sim_chance(sim, 50) ? 0 : request.version;
        if (request.put_id == 0 && request.put_flags == 0) { /* the others may go only once */
            sim_wire_asked(sim, client, &request);
        }
        send(sim, client, &request);
        return;
    }
    quire_rect whole = quire_layout_whole(&s->layout, group);
    request.put_id = request.version;
    for (uint16_t head = 0; head < whole.n_heads; head++) {
        for (uint16_t layer = 0; layer < whole.n_layers; layer++) {
            request.rect = (quire_rect){layer, 1, head, 1};
            if (sim_chance(sim, 97)) {
                send(sim, client, &request);
            }
        }
    }
}

static void want_put(struct sim *sim, uint32_t client) {
    uint32_t space = space_for(sim, client), path[SIM_KEYS_AT_ONCE];
    const struct sim_space *s = &sim->model.spaces[space];
    uint32_t n = path_to(s, sim_roll(sim, sim->config.n_keys), path), from = sim_chance(sim, 50) && n > 3 ? n - 3 : 0;
    for (uint32_t i = sim_chance(sim, 70) ? from : n - 1; i < n; i++) {
        for (uint32_t g = 0; g < s->n_groups; g++) {
            if (sim_chance(sim, 95)) {
                put_record(sim, client, space, path[i], g);
            }
        }
    }
    if (sim_chance(sim, 2)) { /* with all of it under way */
        sim_wire_break(sim, client);
    }
}

static void want_lease(struct sim *sim, uint32_t client) {
    struct sim_request request = {.type = SIM_LEASE, .space = space_for(sim, client), .lease_ms = sim_roll(sim, 1000)};
    const struct sim_space *space = &sim->model.spaces[request.space];
    if (sim_chance(sim, 60)) {
        request.flags = QUIRE_WIRE_LEASE_PREFIX;
        request.n = path_to(space, sim_roll(sim, sim->config.n_keys), request.keys);
    } else {
        request.n = sim_between(sim, 1, 12);
        for (uint32_t i = 0; i < request.n; i++) {
            request.keys[i] = sim_roll(sim, sim->config.n_keys);
        }
    }
    request.flags |= sim_chance(sim, 20) ? QUIRE_WIRE_LEASE_PROBE : 0;
    request.flags |= sim_chance(sim, 30) ? QUIRE_WIRE_LEASE_FETCH : 0;
    if (sim_chance(sim, 20)) {
        request.flags |= QUIRE_WIRE_LEASE_FLOOR;
        request.floor = (float)sim_roll(sim, 3) / 8;
    }
    if (space->n_groups == 2 && sim_chance(sim, 20)) {
        request.group_mask = sim_between(sim, 1, 3);
    }
    send(sim, client, &request);
}

static void want_of_lease(struct sim *sim, uint32_t client, enum sim_request_type type) {
    struct sim_client *c = &sim->clients.all[client];
    if (c->n_leases == 0) {
        return;
    }
    uint32_t i = sim_roll(sim, c->n_leases);
    struct sim_request request = {.type = type, .lease = c->leases[i], .partial = sim_chance(sim, 30), .wait_ms = sim_roll(sim, 300)};
    send(sim, client, &request);
    if (type == SIM_LOAD && sim_chance(sim, 20)) { /* and thinks better of it */
        request.type = SIM_CANCEL;
        send(sim, client, &request);
    }
    if (type == SIM_LOAD && sim_chance(sim, 10)) {
        sim_wire_break(sim, client);
        return;
    }
    if (type == SIM_RELEASE) {
        c->leases[i] = c->leases[--c->n_leases];
    }
}

static void want_keys(struct sim *sim, uint32_t client) {
    static const enum quire_wire_keys_verb verbs[] = {QUIRE_WIRE_TOUCH, QUIRE_WIRE_TOUCH, QUIRE_WIRE_DELETE, QUIRE_WIRE_DELETE,
                                                      QUIRE_WIRE_PIN,   QUIRE_WIRE_UNPIN, QUIRE_WIRE_UNPIN,  QUIRE_WIRE_UNPIN};
    struct sim_request request = {.type = SIM_KEYS, .space = space_for(sim, client), .verb = verbs[sim_roll(sim, 8)]};
    request.n = sim_chance(sim, 80) ? 1 : sim_between(sim, 1, 20);
    for (uint32_t i = 0; i < request.n; i++) {
        request.keys[i] = sim_roll(sim, sim->config.n_keys);
    }
    send(sim, client, &request);
}

static bool is_gone(struct sim *sim, uint32_t space, uint32_t key) {
    const struct sim_key *k = &sim->model.spaces[space].keys[key];
    struct pager_block_info info;
    return (k->offered[0] > 0 || k->offered[1] > 0) &&
           pager_block_info(sim->pager, sim->now_ns, sim_server_space(sim, space), &k->key, &info) == QUIRE_OK && info.n_records == 0;
}

/* What was stored once and has left since, without being deleted: the log may hold it, and a crash is to show that it does not come back. Or what never was. */
static void want_gone(struct sim *sim, uint32_t client) {
    struct sim_request request = {
        .type = SIM_KEYS, .space = space_for(sim, client), .verb = QUIRE_WIRE_DELETE, .never = sim_chance(sim, 20)};
    uint32_t most = sim_chance(sim, 50) ? 1 : SIM_KEYS_AT_ONCE, first = sim_roll(sim, sim->config.n_keys);
    for (uint32_t i = 0; i < sim->config.n_keys && request.n < most; i++) {
        uint32_t key = (first + i) % sim->config.n_keys;
        if (request.never || is_gone(sim, request.space, key)) {
            request.keys[request.n++] = key;
        }
    }
    if (request.n > 0) {
        send(sim, client, &request);
        sim->ill_fated |= !request.never && sim_chance(sim, 3);
    }
}

/* While the log is read: of what was pinned before the start. */
static void want_pins(struct sim *sim, uint32_t client) {
    static const enum quire_wire_keys_verb verbs[] = {QUIRE_WIRE_DELETE, QUIRE_WIRE_DELETE, QUIRE_WIRE_PIN, QUIRE_WIRE_UNPIN};
    struct sim_request request = {.type = SIM_KEYS, .space = space_for(sim, client), .verb = verbs[sim_roll(sim, 4)]};
    while (request.n < sim_between(sim, 1, 3)) {
        int key = sim_pins_waiting(sim, request.space, sim_roll(sim, sim->config.n_keys));
        request.keys[request.n++] = key >= 0 ? (uint32_t)key : sim_roll(sim, sim->config.n_keys);
    }
    send(sim, client, &request);
}

void sim_clients_gone(struct sim *sim, uint32_t client, bool quarantine) {
    struct sim_clients *clients = &sim->clients;
    uint64_t session = clients->all[client].session;
    if (clients->leaving[client]) {
        sim_model_session_gone(sim, clients->leaving[client]);
        pager_session_gone(sim->pager, clients->leaving[client]);
        clients->leaving[client] = 0;
    }
    if (session) {
        sim_server_gone(sim, session, quarantine);
        clients->leaving[client] = quarantine ? session : 0;
    }
    clients->all[client] = (struct sim_client){.domain = clients->all[client].domain};
}

static void connect(struct sim *sim, uint32_t client) {
    struct sim_client *c = &sim->clients.all[client];
    SIM_REQUIRE(sim, pager_session_open(sim->pager, c->domain, &c->session) == QUIRE_OK);
    for (uint32_t i = 0; i < sim->config.n_spaces; i++) {
        if (sim->model.spaces[i].domain == c->domain && sim_chance(sim, 80)) {
            SIM_REQUIRE(sim, pager_ns_use(sim->pager, c->session, sim_server_space(sim, i)) == QUIRE_OK);
        }
    }
    sim_wire_again(sim, client, send);
}

/* ---- thinking ------------------------------------------------------------------------------------------------------------- */
static void want_something(struct sim *sim, uint32_t client) {
    uint32_t what = sim_roll(sim, 1000);
    if (!sim->restored && sim_chance(sim, 30)) {
        want_pins(sim, client);
    } else if (sim_weather_again(sim, client)) {
        return;
    } else if (what < 310) {
        want_put(sim, client);
    } else if (what < 550) {
        want_lease(sim, client);
    } else if (what < 660) {
        want_of_lease(sim, client, SIM_LOAD);
    } else if (what < 720) {
        want_of_lease(sim, client, SIM_READ);
    } else if (what < 900) {
        want_of_lease(sim, client, SIM_RELEASE);
    } else if (what < 955) {
        want_keys(sim, client);
    } else if (what < 965) {
        want_gone(sim, client);
    } else if (what < 972) {
        sim_wire_break(sim, client);
    } else if (what < 979) {
        sim->counts->cut++;
        sim_clients_gone(sim, client, sim_chance(sim, 40));
    } else if (what < 980) {
        sim_server_delete_space(sim, space_for(sim, client));
    } else {
        uint64_t freed;
        SIM_REQUIRE(sim, pager_evict(sim->pager, sim->now_ns, sim->clients.all[client].domain, UINT16_MAX, sim_roll(sim, 100000), &freed) ==
                             QUIRE_OK);
    }
}

static void think(struct sim *sim, struct sim_task *task) {
    uint32_t client = ((struct thought *)task)->client;
    if (sim->calm) {
        return; /* until sim_clients_wake */
    }
    if (sim->pager) {
        if (sim->clients.all[client].session == 0) {
            connect(sim, client);
        }
        want_something(sim, client);
    }
    struct thought *next = sim_task_new(sim, sizeof(*next), false, think);
    next->client = client;
    sim_after(sim, 1000ull * sim_between(sim, 1, 2 * sim->config.think_us), next);
}

void sim_clients_wake(struct sim *sim) {
    for (uint32_t i = 0; i < sim->config.n_clients; i++) {
        struct thought *thought = sim_task_new(sim, sizeof(*thought), false, think);
        sim->clients.all[i].domain = i % sim->config.n_domains;
        thought->client = i;
        sim_after(sim, sim_roll(sim, 1000000), thought);
    }
}

void sim_clients_cut(struct sim *sim) {
    for (uint32_t i = 0; i < sim->config.n_clients; i++) {
        sim->clients.all[i] = (struct sim_client){.domain = sim->clients.all[i].domain};
        sim->clients.leaving[i] = 0;
    }
}
