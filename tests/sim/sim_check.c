#include "tests/sim/sim_check.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"

#include <stdlib.h>

/* None outlives its holder, nobody else has it. */
static void check_leases(struct sim *sim) {
    const struct pager_counters *c = pager_counters(sim->pager);
    SIM_REQUIRE(sim, c->leases_granted - c->leases_released - c->leases_reaped == sim->model.n_holds);
    for (uint32_t i = 0; i < sim->model.n_holds; i++) {
        uint64_t session = sim->model.holds[i].session, held = 0;
        struct pager_session_info info;
        for (uint32_t j = 0; j < sim->model.n_holds; j++) {
            held += sim->model.holds[j].session == session;
        }
        SIM_REQUIRE(sim, pager_session_info(sim->pager, session, &info) == QUIRE_OK && info.leases == held);
    }
}

/* What is surely in memory, and what may be: a record that is only on disk may have come for another lease, and a part of it may be on its way. */
static void sum_leased(const struct sim *sim, uint32_t domain, uint64_t *least, uint64_t *most) {
    uint8_t *seen = calloc(sim->config.n_slots, 1);
    *least = *most = 0;
    for (uint32_t i = 0; i < sim->model.n_holds; i++) {
        const struct sim_hold *hold = &sim->model.holds[i];
        *most += sim->model.spaces[hold->space].domain == domain ? hold->loose_bytes : 0;
        for (uint32_t g = 0; sim->model.spaces[hold->space].domain == domain && g < hold->n; g++) {
            const struct quire_wire_grant *grant = &hold->grants[g].grant;
            uint8_t *bits = &seen[grant->slot], here = grant->offset != QUIRE_WIRE_AWAY ? 3 : 1;
            *least += here == 3 && *bits != 3 ? grant->size : 0;
            *most += *bits == 0 ? grant->size : 0;
            *bits |= here;
        }
    }
    uint64_t unseen, sending = sim_wire_mark(sim, domain, seen, &unseen); /* held, whatever became of its lease */
    *least += sending;
    *most += unseen;
    free(seen);
}

void sim_check_recount(struct sim *sim) {
    sim->counts->recounts++;
    pager_check(sim->pager);
    for (uint32_t d = 0; d < sim->config.n_domains; d++) {
        struct pager_domain_stats stats;
        uint64_t least, most;
        pager_domain_stats(sim->pager, d, &stats);
        sum_leased(sim, d, &least, &most);
        SIM_REQUIRE(sim, stats.leased_bytes >= least && stats.leased_bytes <= most);
    }
}

void sim_check(struct sim *sim) {
    struct pager_disk_stats stats;
    if (!sim->pager) {
        return;
    }
    sim_model_watch(sim);
    sim_wire_check(sim);
    check_leases(sim);
    pager_disk_stats(sim->pager, &stats);
    SIM_REQUIRE(sim, stats.charged_bytes == sim->executor.written_bytes + sim->executor.withheld_bytes); /* every byte */
    SIM_REQUIRE(sim, stats.counters->disk_written_bytes == sim->executor.taken_bytes);
    SIM_REQUIRE(sim, stats.restoring || stats.log.clean + stats.log.open + stats.log.sealed + stats.log.lost == stats.log.segments);
    sim_check_recount(sim);
}

void sim_check_found(struct sim *sim) {
    struct pager_ns_info info;
    for (uint32_t cursor = 0; pager_ns_next(sim->pager, &cursor, &info);) {
        uint32_t space = (uint32_t)(info.name[5] - '0');
        for (uint32_t i = 0; i < sim->config.n_keys; i++) {
            struct pager_block_info block;
            const quire_key *key = &sim->model.spaces[space].keys[i].key;
            enum quire_status status = pager_block_info(sim->pager, sim->now_ns, info.ns, key, &block);
            for (uint32_t r = 0; status == QUIRE_OK && r < block.n_records; r++) {
                sim_model_found(sim, space, i, 1u << block.records[r].group);
            }
        }
    }
}

bool sim_check_room(const struct sim *sim) {
    const struct pager_log_shape *shape = &sim->config.shape;
    struct pager_disk_stats stats;
    bool full = false;
    pager_disk_stats(sim->pager, &stats);
    for (uint32_t i = 0; i < shape->n_devices; i++) {
        full |= sim_faults_full(sim, i);
    }
    uint64_t wanted = quire_max_u64(quire_min_u64(sim->config.disk.clean_segments, stats.log.segments / 4), shape->reserve + 1);
    return stats.log.devices_lost > 0 || full || stats.log.clean >= wanted;
}

void sim_check_empty(struct sim *sim) {
    struct pager_memory memory;
    struct pager_disk_stats disk;
    for (uint32_t i = 0; i < sim->config.n_domains; i++) {
        struct pager_domain_stats stats;
        pager_domain_stats(sim->pager, i, &stats);
        SIM_REQUIRE(sim, stats.used_bytes == 0 && stats.records == 0 && stats.live_bytes == 0 && stats.pinned_bytes == 0);
    }
    pager_memory(sim->pager, &memory);
    pager_disk_stats(sim->pager, &disk);
    SIM_REQUIRE(sim, memory.blocks == 0 && disk.log.live_records == 0 && disk.log.live_bytes == 0 && disk.reading_bytes == 0);
    SIM_REQUIRE(sim, disk.pins == 1 && disk.kept_namespaces == 1); /* of the domain that is no more */
}
