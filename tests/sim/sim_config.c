#include "tests/sim/sim.h"

static uint32_t one_of(struct sim *sim, const uint32_t *values, uint32_t n) { return values[sim_roll(sim, n)]; }
#define ONE_OF(sim, ...) one_of(sim, (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void roll_log(struct sim *sim, struct sim_config *config) {
    struct pager_log_shape *shape = &config->shape;
    shape->geometry.unit_bytes = ONE_OF(sim, 512, 512, 4096);
    shape->geometry.segment_units = ONE_OF(sim, 8, 12, 24, 40, 64, 160);
    shape->n_devices = ONE_OF(sim, 1, 1, 1, 2, 2, 3);
    shape->reserve = sim_chance(sim, 80) ? 1 : 2;
    uint32_t most = shape->geometry.unit_bytes == 4096 ? 14 : 40;
    for (uint32_t i = 0; i < shape->n_devices; i++) {
        shape->segments[i] = sim_between(sim, shape->reserve + 2, sim_chance(sim, 30) ? shape->reserve + 6 : most);
    }
    struct pager_disk_options *disk = &config->disk;
    pager_disk_options_default(disk);
    disk->write_delay_ms = ONE_OF(sim, 1, 10, 50, 200);
    disk->batch_bytes = ONE_OF(sim, 512, 8192, 65536, 2097152);
    disk->writes_in_flight = sim_between(sim, 1, 8);
    disk->read_ahead_bytes = ONE_OF(sim, 0, 20000, 1 << 20);
    disk->write_budget_bytes_per_s = sim_chance(sim, 80) ? 0 : ONE_OF(sim, 20000, 200000, 2000000);
    disk->drive_writes_per_day = sim_chance(sim, 90) ? 0 : 5000;
    disk->clean_segments = sim_between(sim, shape->reserve + 1, 6); /* else nothing but rewriting is ever written */
    disk->reinsert_pct = ONE_OF(sim, 0, 20, 20, 50, 90);
}

static void roll_pager(struct sim *sim, struct sim_config *config) {
    struct pager_options *pager = &config->pager;
    pager_options_default(pager);
    config->n_keys = ONE_OF(sim, 20, 60, 120, 200);
    pager->max_blocks = sim_chance(sim, 30) ? sim_between(sim, 30, 2 * config->n_keys) : 4096;
    pager->lease_ms = ONE_OF(sim, 50, 500, 5000);
    pager->lease_quota_pct = sim_between(sim, 10, 60);
    pager->part_expiry_ms = ONE_OF(sim, 100, 1000);
    pager->max_parts_pending = ONE_OF(sim, 20, 200);
    pager->max_puts_waiting = ONE_OF(sim, 4, 100);
    pager->max_leases = ONE_OF(sim, 20, 200);
    pager->max_namespaces = 8;
    pager->max_pins = ONE_OF(sim, 8, 40, 4096);
    pager->ghost_entries = 256;
    config->pool_bytes = ONE_OF(sim, 65536, 65536, 131072, 131072, 524288);
    config->n_slots = ONE_OF(sim, 30, 80, 300);
}

static void roll_faults(struct sim *sim, struct sim_config *config) {
    config->drop_pct = sim_chance(sim, 50) ? sim_roll(sim, 8) : 0;
    config->repeat_pct = sim_chance(sim, 50) ? sim_roll(sim, 8) : 0;
    config->corrupt_put_pct = sim_chance(sim, 30) ? sim_roll(sim, 10) : 0;
    config->read_error_permille = sim_chance(sim, 25) ? sim_roll(sim, 30) : 0;
    config->refused_write_permille = sim_chance(sim, 20) ? sim_roll(sim, 50) : 0;
    config->full_permille = sim_chance(sim, 25) ? 1 + sim_roll(sim, 20) : 0;
    config->long_full_permille = sim_chance(sim, 40) ? 1 + sim_roll(sim, 8) : 0;
    config->meta_fills = sim_chance(sim, 50);
    config->short_permille = sim_chance(sim, 25) ? 1 + sim_roll(sim, 100) : 0;
    config->meta_failure_pct = sim_chance(sim, 20) ? sim_roll(sim, 40) : 0;
    config->entries_failure_pct = sim_chance(sim, 20) ? sim_roll(sim, 40) : 0;
    config->deaths_permille = sim_chance(sim, 20) ? 1 + sim_roll(sim, 3) : 0;
    config->crash_permille = sim_chance(sim, 80) ? 2 + sim_roll(sim, 30) : 0;
    config->rot = ONE_OF(sim, 0, 0, 0, 0, 0, 0, SIM_ROT_RECORDS, SIM_ROT_FOOTERS, SIM_ROT_ANYWHERE);
    config->rot_permille = config->rot != SIM_ROT_NONE ? 1 + sim_roll(sim, 80) : 0;
    config->slow = sim_chance(sim, 25);
    config->bad_sector_permille = sim_chance(sim, 25) ? 1 + sim_roll(sim, 20) : 0;
    config->restart_error_permille = sim_chance(sim, 20) ? 1 + sim_roll(sim, 100) : 0;
    config->scrubs = sim_chance(sim, 50);
    config->hangs_permille = sim_chance(sim, 25) ? 1 + sim_roll(sim, 6) : 0;
    config->stall_limit_ms = ONE_OF(sim, 20, 100, 1000);
}

void sim_config_roll(struct sim *sim) {
    struct sim_config *config = &sim->config;
    roll_log(sim, config);
    roll_pager(sim, config);
    roll_faults(sim, config);
    config->n_domains = sim_chance(sim, 75) ? 1 : 2;
    config->n_spaces = sim_between(sim, config->n_domains, SIM_MAX_SPACES);
    config->n_clients = sim_between(sim, 1, SIM_MAX_CLIENTS);
    config->opaque_most = sim_chance(sim, 15) ? 150000 : 6000;
    config->think_us = ONE_OF(sim, 200, 2000, 20000);
    config->slow_reader_ms = ONE_OF(sim, 2, 50, 1000, 8000);
    sim_say(sim, "world: unit %u, segments of %u, %u devices (%u, %u, %u), pool %llu, %u spaces of %u keys, %u clients",
            config->shape.geometry.unit_bytes, config->shape.geometry.segment_units, config->shape.n_devices, config->shape.segments[0],
            config->shape.segments[1], config->shape.segments[2], (unsigned long long)config->pool_bytes, config->n_spaces, config->n_keys,
            config->n_clients);
}
