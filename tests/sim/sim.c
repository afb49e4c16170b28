/*
 * A life after another, step by step. After every step it is asked whether what the pager says and does can be true (sim_model.h, sim_check.h);
 * now and then all become calm, and then everything that was begun must come to an end.
 */
#include "tests/sim/sim.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_pins.h"
#include "tests/sim/sim_restart.h"
#include "tests/sim/sim_server.h"

#include <stdlib.h>

#define CALM_NS (120 * QUIRE_NS_PER_S)
/* Ticks in a row that are due at once. */
#define MOST_SPINS 20000u

/* ---- one step ------------------------------------------------------------------------------------------------------------- */
static void pump(struct sim *sim) {
    struct pager_event event;
    while (sim->pager && pager_next_event(sim->pager, &event)) {
        switch (event.type) {
        case PAGER_FILL:
        case PAGER_SEAL:
        case PAGER_MOVE:
            sim_executor_begin(sim, &event);
            break;
        case PAGER_PUT_DONE:
        case PAGER_LOAD_DONE:
        case PAGER_DURABLE:
            sim_server_outcome(sim, &event);
            break;
        case PAGER_FLUSHED:
            sim->flushed = true;
            break;
        default:
            sim_store_begin(sim, &event);
        }
    }
    if (sim->pager && pager_next_event(sim->pager, &event)) {
        sim_say(sim, "only now: event %d", event.type);
        SIM_REQUIRE(sim, !"what can be done is told: else it waits for an event that may not come");
    }
}

/* False: nothing is to happen any more. */
static bool step(struct sim *sim) {
    uint64_t due_ns = sim->pager ? pager_next_deadline(sim->pager) : UINT64_MAX, next_ns = sim_agenda_next(&sim->agenda);
    bool now_and_then = sim->pager && !sim->calm && sim_roll(sim, 100) == 0;
    if (due_ns == UINT64_MAX && next_ns == UINT64_MAX) {
        return false;
    }
    if (quire_min_u64(due_ns, next_ns) > sim->now_ns) {
        sim->now_ns = quire_min_u64(due_ns, next_ns);
        sim->spins = 0;
    }
    if (due_ns <= sim->now_ns || now_and_then) {
        SIM_REQUIRE(sim, ++sim->spins < MOST_SPINS);
        pager_tick(sim->pager, sim->now_ns);
        pump(sim);
    }
    if (next_ns <= sim->now_ns) {
        sim_agenda_run(sim);
        pump(sim);
    }
    sim->n_steps++;
    sim->counts->steps++;
    sim_check(sim);
    return true;
}

/* ---- lives ---------------------------------------------------------------------------------------------------------------- */
static void note_counters(struct sim *sim) {
    struct pager_disk_stats stats;
    pager_disk_stats(sim->pager, &stats);
    sim->counts->restored += stats.counters->disk_restored;
    sim->counts->emptied += stats.counters->disk_emptied;
    sim->counts->rewritten += stats.counters->disk_rewritten_bytes > 0;
    sim->counts->tombstones += stats.counters->disk_tombstones;
    sim->counts->refused += stats.counters->disk_deletions_refused + stats.counters->disk_pins_refused;
    sim->counts->declined += stats.counters->disk_declined;
    sim->counts->orphans += stats.counters->disk_orphans;
}

static void start(struct sim *sim, struct sim_task *task) {
    (void)task;
    sim->restored = false;
    sim_restart(sim);
}

/* What was in memory is gone; what was not synced meets its fate. */
static void die(struct sim *sim) {
    note_counters(sim);
    sim_pins_died(sim);
    sim_wire_died(sim);
    pager_destroy(&sim->pager);
    sim_agenda_reap(sim);
    sim_executor_reset(sim);
    sim_model_crash(sim);
    sim_clients_cut(sim);
    sim->snapshot.whole = false;
    sim->hopeful = false;
    sim_disk_crash(sim);
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        sim->disk.devices[i].dead = sim->disk.devices[i].dead && sim_chance(sim, 60);
    }
    sim_after(sim, sim_between(sim, 1, 100) * SIM_MS, sim_task_new(sim, sizeof(struct sim_task), false, start));
}

static bool is_quiet(const struct sim *sim) {
    const struct sim_model *model = &sim->model;
    struct pager_disk_stats stats;
    pager_disk_stats(sim->pager, &stats);
    return model->open_puts == 0 && model->open_loads == 0 && model->open_barriers == 0 && sim->wire.n_sendings == 0 &&
           sim->executor.in_flight == sim_faults_stuck(sim) && !stats.restoring && (stats.dirty_records == 0 || sim_faults_none_takes(sim));
}

static void say_state(struct sim *sim) {
    struct pager_disk_stats stats;
    pager_disk_stats(sim->pager, &stats);
    sim_say(sim,
            "puts %u, loads %u, barriers %u, in flight %u, dirty %llu, reading %llu, restoring %d, clean %u, open %u, sealed %u, lost %u",
            sim->model.open_puts, sim->model.open_loads, sim->model.open_barriers, sim->executor.in_flight,
            (unsigned long long)stats.dirty_records, (unsigned long long)stats.reading_bytes, stats.restoring, stats.log.clean,
            stats.log.open, stats.log.sealed, stats.log.lost);
}

static bool is_limited(const struct sim *sim) {
    return sim->config.disk.write_budget_bytes_per_s > 0 || sim->config.disk.drive_writes_per_day > 0;
}

/* Does anybody hold or pin anything? What must stay may fill memory and disk for as long as that is so. */
static bool is_held(const struct sim *sim) {
    struct pager_ns_info info;
    uint64_t pinned = 0;
    for (uint32_t cursor = 0; pager_ns_next(sim->pager, &cursor, &info);) {
        pinned += info.pinned_blocks;
    }
    return sim->model.n_holds > 0 || sim->wire.n_sendings > 0 || pinned > 0;
}

/* Segments emptied, and records let go of, up to now. */
struct order {
    uint64_t emptied, dropped;
};

static struct order order_of(const struct sim *sim) {
    struct pager_disk_stats stats;
    if (!sim->pager) {
        return (struct order){0};
    }
    pager_disk_stats(sim->pager, &stats);
    return (struct order){.emptied = stats.counters->disk_emptied, .dropped = stats.counters->disk_dropped + stats.counters->disk_orphans};
}

/*
 * A quiet night: the log may be put in order once or twice, and once more for each record that it lets go of, of which there are only so many; it is then
 * let alone, but for a look now and then. Drives wear out.
 */
static void pass_night(struct sim *sim) {
    uint32_t seconds = sim_between(sim, 1, 90), segments = 0;
    struct order before = order_of(sim), after;
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        segments += sim->config.shape.segments[i];
    }
    for (uint64_t until_ns = sim->now_ns + seconds * QUIRE_NS_PER_S; sim->now_ns < until_ns && step(sim);) {
    }
    after = order_of(sim);
    SIM_REQUIRE(sim, !sim->pager ||
                         after.emptied - before.emptied <= 10 * segments + 2 * seconds + (segments + 1) * (after.dropped - before.dropped));
}

/* Nobody wants anything new, nothing fails but what lasts: then all that was begun ends, and what is dirty is written where there is room. */
static void calm_down(struct sim *sim) {
    sim_say(sim, "calm");
    sim->calm = true;
    if (sim_chance(sim, 20)) {
        pass_night(sim);
    }
    for (uint64_t until_ns = sim->now_ns + CALM_NS; sim->now_ns < until_ns && (!sim->pager || !is_quiet(sim));) {
        if (!step(sim)) {
            break;
        }
    }
    sim_check_recount(sim);
    say_state(sim);
    SIM_REQUIRE(sim, sim->pager && sim->model.open_puts == 0);
    SIM_REQUIRE(sim, sim->model.open_loads == 0);
    SIM_REQUIRE(sim, sim->model.open_barriers == 0);
    SIM_REQUIRE(sim, is_quiet(sim) || is_limited(sim) || is_held(sim));
}

/* ---- a stop in good order ------------------------------------------------------------------------------------------------- */
static void part_from_all(struct sim *sim) {
    for (uint32_t i = 0; i < sim->config.n_clients; i++) {
        sim_clients_gone(sim, i, false);
        sim_clients_gone(sim, i, false);
    }
    sim_wire_part(sim);
    pump(sim);
}

struct sim_found {
    uint32_t segment[2];
};

static bool is_found(const struct sim_found *found) { return found->segment[0] > 0 || found->segment[1] > 0; }

/* Where each group of each key lies on disk whose ancestors are there: a segment, from 1. Parents stand before their children. */
static void find_on_disk(struct sim *sim, struct sim_found *found) {
    for (uint32_t s = 0; s < sim->config.n_spaces; s++) {
        uint16_t ns = sim_server_space(sim, s);
        for (uint32_t i = 0; i < sim->config.n_keys; i++) {
            struct pager_block_info info;
            struct sim_found *at = &found[s * sim->config.n_keys + i];
            int parent = sim->model.spaces[s].keys[i].parent;
            *at = (struct sim_found){{0}};
            if ((parent < 0 || is_found(&found[s * sim->config.n_keys + (uint32_t)parent])) &&
                pager_block_info(sim->pager, sim->now_ns, ns, &sim->model.spaces[s].keys[i].key, &info) == QUIRE_OK) {
                for (uint32_t r = 0; r < info.n_records; r++) {
                    at->segment[info.records[r].group] = info.records[r].on_disk ? info.records[r].segment + 1 : 0;
                }
            }
        }
    }
}

/*
 * What was flushed is found again, and where it was: of several records of one key the last. A batch that a drive refused may have reached it all the same, and what
 * it carried was written once more elsewhere: the same record, with the same number, is in two places then, and either will do.
 */
static void compare_found(struct sim *sim, const struct sim_found *before, bool refused) {
    uint32_t n = sim->config.n_spaces * sim->config.n_keys;
    struct sim_found *now = calloc(n, sizeof(*now));
    find_on_disk(sim, now);
    for (uint32_t i = 0; i < 2 * n; i++) {
        uint32_t was = before[i / 2].segment[i % 2], is = now[i / 2].segment[i % 2];
        if (was != 0 && is != was) {
            sim_say(sim, "space %u, key %u, group %u: was in segment %d, is in %d", i / 2 / sim->config.n_keys, i / 2 % sim->config.n_keys,
                    i % 2, (int)was - 1, (int)is - 1);
        }
        SIM_REQUIRE(sim, was == 0 || is == was || (refused && is != 0));
    }
    free(now);
}

static void stop(struct sim *sim) {
    struct sim_found *found = calloc(sim->config.n_spaces * sim->config.n_keys, sizeof(*found));
    sim_say(sim, "stop");
    sim->counts->stops++;
    sim->calm = true;
    bool bad_weather = sim_weather_gathers(sim);
    part_from_all(sim);
    for (uint64_t until_ns = sim->now_ns + CALM_NS; !sim->restored && sim->now_ns < until_ns && step(sim);) {
    }
    sim->flushed = false;
    pager_disk_flush(sim->pager, sim->now_ns);
    pump(sim);
    for (uint64_t until_ns = sim->now_ns + CALM_NS; !sim->flushed && sim->now_ns < until_ns && step(sim);) {
    }
    SIM_REQUIRE(sim, sim->flushed || is_limited(sim) || is_held(sim));
    bool all_well = sim->flushed && sim->config.rot == SIM_ROT_NONE && sim->config.bad_sector_permille == 0 &&
                    sim->config.restart_error_permille == 0 && sim->config.pager.max_blocks == 4096;
    find_on_disk(sim, found);
    pump(sim);
    bool ended = sim->flushed && sim->restored && sim->executor.in_flight == 0;
    bool snapshot = ended && pager_disk_is_settled(sim->pager) && sim_chance(sim, 80);
    sim->counts->snapshots += snapshot;
    if (snapshot) {
        sim_snapshot_take(sim);
    }
    bool synced = true;
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        const struct sim_executor_device *device = &sim->executor.devices[i];
        synced &= !device->told_lost && !device->unsure && !sim->disk.devices[i].dead;
    }
    all_well &= synced && !sim->hopeful;
    bool refused = sim->executor.refused;
    die(sim);
    if (bad_weather && sim_chance(sim, 70)) {
        sim_faults_pass(sim, true);
    }
    sim->hopeful = snapshot && !synced;
    sim->snapshot.whole = snapshot;
    sim->restored = false;
    if (sim_chance(sim, 60)) { /* else clients come while it is found again */
        while (!sim->restored) {
            SIM_REQUIRE(sim, step(sim));
        }
        if (all_well) {
            compare_found(sim, found, refused);
            pump(sim);
        }
    }
    free(found);
    sim->calm = false;
    sim_clients_wake(sim);
}

/* ---- fate ----------------------------------------------------------------------------------------------------------------- */
static void roll_fate(struct sim *sim) {
    const struct sim_config *config = &sim->config;
    if (!sim->pager) {
        return;
    }
    sim_faults_roll(sim);
    bool ill_fated = sim->ill_fated && sim_chance(sim, 30);
    if (sim_roll(sim, 1000) < config->crash_permille || ill_fated) {
        sim->ill_fated = false;
        if (!ill_fated && sim_chance(sim, 25)) {
            stop(sim);
        } else {
            sim_say(sim, "crash");
            sim->counts->crashes++;
            die(sim);
        }
    }
    if (sim_roll(sim, 1000) < 2) {
        calm_down(sim);
        sim->calm = false;
        sim_clients_wake(sim);
    }
}

/* ---- a seed --------------------------------------------------------------------------------------------------------------- */
static void create(struct sim *sim) {
    sim_config_roll(sim);
    for (uint32_t i = 0; i < sim->config.n_domains; i++) {
        sim->domains[i].pool = aligned_alloc(4096, sim->config.pool_bytes);
        sim->domains[i].generations = calloc(sim->config.n_slots, sizeof(*sim->domains[i].generations));
        SIM_REQUIRE(sim, sim->domains[i].pool && sim->domains[i].generations);
        memset(sim->domains[i].pool, 0, sim->config.pool_bytes);
    }
    sim_disk_create(sim);
    sim_model_create(sim);
    sim_trace_watch(sim);
    sim_restart(sim);
    sim_clients_wake(sim);
}

static void destroy(struct sim *sim) {
    sim_trace_watch(NULL);
    pager_destroy(&sim->pager);
    sim_executor_reset(sim);
    sim_agenda_free(&sim->agenda);
    sim_model_destroy(sim);
    sim_disk_destroy(&sim->disk);
    sim_snapshot_free(&sim->snapshot);
    sim_ledger_free(&sim->ledger);
    sim_wire_free(&sim->wire);
    for (uint32_t i = 0; i < SIM_MAX_DOMAINS; i++) {
        free(sim->domains[i].pool);
        free(sim->domains[i].generations);
    }
}

/* In the end everybody leaves, all is deleted, and nothing is left. */
static void leave(struct sim *sim) {
    sim_faults_pass(sim, sim_chance(sim, 50));
    calm_down(sim);
    part_from_all(sim);
    for (uint32_t i = 0; i < sim->config.n_domains; i++) {
        struct pager_domain_stats stats;
        pager_domain_stats(sim->pager, i, &stats);
        SIM_REQUIRE(sim, stats.leased_bytes == 0 && stats.quarantined_bytes == 0 && sim->model.n_holds == 0);
    }
    sim_server_unpin_all(sim);
    pump(sim);
    calm_down(sim);
    for (uint32_t i = 0; i < sim->config.n_spaces; i++) {
        sim_server_delete_space(sim, i);
        pump(sim);
    }
    calm_down(sim);
    sim_check_empty(sim);
    for (uint64_t until_ns = sim->now_ns + CALM_NS; !sim_check_room(sim) && sim->now_ns < until_ns && step(sim);) {
    }
    SIM_REQUIRE(sim, sim_check_room(sim)); /* no segment is lost */
    note_counters(sim);
}

uint64_t sim_run(uint64_t seed, uint64_t steps, bool verbose, struct sim_counts *counts) {
    struct sim *sim = calloc(1, sizeof(*sim));
    *sim = (struct sim){.seed = seed, .dice = {seed}, .counts = counts, .now_ns = SIM_MS};
    sim->trace.hash = 0xcbf29ce484222325ull;
    sim->trace.verbose = verbose;
    create(sim);
    pump(sim);
    for (uint64_t i = 0; i < steps; i++) {
        SIM_REQUIRE(sim, step(sim));
        if (i % 16 == 0) {
            roll_fate(sim);
        }
    }
    leave(sim);
    uint64_t hash = sim->trace.hash;
    destroy(sim);
    free(sim);
    return hash;
}
