#include "tests/sim/sim_weather.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_server.h"

static bool is_on_disk(struct sim *sim, uint32_t space, uint32_t key) {
    struct pager_block_info info;
    enum quire_status status =
        pager_block_info(sim->pager, sim->now_ns, sim_server_space(sim, space), &sim->model.spaces[space].keys[key].key, &info);
    bool found = false;
    for (uint32_t r = 0; status == QUIRE_OK && r < info.n_records; r++) {
        found |= info.records[r].on_disk;
    }
    return found;
}

static void describe(const struct sim *sim, struct sim_request *request) {
    *request = (struct sim_request){.type = SIM_KEYS, .space = sim->weather.space, .verb = QUIRE_WIRE_DELETE, .n = sim->weather.n};
    memcpy(request->keys, sim->weather.keys, sim->weather.n * sizeof(request->keys[0]));
    request->life = sim->life;
}

/* Some of a space's keys that lie on disk; if there are none, of another's. */
static void choose(struct sim *sim, struct sim_weather *weather) {
    uint32_t first_space = sim_roll(sim, sim->config.n_spaces), first = sim_roll(sim, sim->config.n_keys);
    *weather = (struct sim_weather){0};
    for (uint32_t s = 0; s < sim->config.n_spaces && weather->n == 0; s++) {
        weather->space = (first_space + s) % sim->config.n_spaces;
        for (uint32_t i = 0; i < sim->config.n_keys && weather->n < SIM_REGRETS; i++) {
            uint32_t key = (first + i) % sim->config.n_keys;
            if (is_on_disk(sim, weather->space, key)) {
                weather->keys[weather->n++] = key;
            }
        }
    }
}

bool sim_weather_gathers(struct sim *sim) {
    struct sim_weather *weather = &sim->weather;
    struct sim_request request;
    weather->n = 0;
    if (!sim_chance(sim, 40)) {
        return false;
    }
    sim->counts->bad_weather++;
    sim_faults_fill_for_long(sim);
    choose(sim, weather);
    if (weather->n > 0) {
        describe(sim, &request);
        SIM_REQUIRE(sim, pager_session_open(sim->pager, sim->model.spaces[weather->space].domain, &request.session) == QUIRE_OK);
        sim_server_request(sim, &request);
        pager_session_close(sim->pager, request.session, false);
    }
    if (sim_chance(sim, 20)) { /* the metadata may not be taken either */
        sim_server_delete_space(sim, weather->space);
    }
    return true;
}

bool sim_weather_again(struct sim *sim, uint32_t client) {
    struct sim_weather *weather = &sim->weather;
    struct sim_request request;
    if (weather->n == 0 || sim->model.spaces[weather->space].domain != sim->clients.all[client].domain || !sim_chance(sim, 40)) {
        return false;
    }
    describe(sim, &request);
    request.session = sim->clients.all[client].session;
    sim_server_request(sim, &request);
    weather->n = sim_chance(sim, 50) ? weather->n : 0;
    sim->ill_fated = true;
    return true;
}
