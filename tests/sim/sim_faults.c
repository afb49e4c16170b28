#include "tests/sim/sim_faults.h"
#include "tests/sim/sim.h"

#define READ_ERRORS 16u

/* ---- slow ----------------------------------------------------------------------------------------------------------------- */
uint64_t sim_faults_delay_ns(struct sim *sim, uint64_t bytes) {
    uint64_t ns = sim_between(sim, 20000, 400000) + bytes / 2;
    if (sim->config.slow && !sim->calm && sim->executor.slow_until_ns < sim->now_ns && sim_roll(sim, 150) == 0) {
        sim->executor.slow_until_ns = sim->now_ns + sim_between(sim, 10, 500) * SIM_MS;
        sim->counts->slow++;
        sim_say(sim, "the disk is slow");
    }
    return sim->executor.slow_until_ns > sim->now_ns && !sim->calm ? ns * 60 : ns;
}

/* ---- lost, dead, hanging -------------------------------------------------------------------------------------------------- */
void sim_faults_lose(struct sim *sim, uint32_t device) {
    struct sim_executor_device *d = &sim->executor.devices[device];
    if (!d->told_lost) {
        d->told_lost = true;
        sim_say(sim, "device %u is out of use", device);
        sim->counts->devices_lost++;
        pager_disk_device_lost(sim->pager, sim->now_ns, device);
    }
}

static void kill_drive(struct sim *sim, uint32_t device) {
    sim->counts->deaths++;
    sim_say(sim, "device %u dies", device);
    sim->disk.devices[device].dead = true;
}

bool sim_faults_hanging(const struct sim *sim, uint32_t device) {
    const struct sim_executor_device *d = &sim->executor.devices[device];
    return d->hangs_until_ns > sim->now_ns && (d->hangs_on || !sim->calm);
}

struct limit {
    struct sim_task task;
    uint32_t device;
};

static void limit_run(struct sim *sim, struct sim_task *task) {
    uint32_t device = ((struct limit *)task)->device;
    if (sim_faults_hanging(sim, device)) {
        sim->executor.devices[device].given_up = true;
        sim_faults_lose(sim, device);
    }
}

/* After the limit the pager is told; the answers come all the same, late. */
static void hang(struct sim *sim, uint32_t device, bool hangs_on) {
    uint64_t limit_ns = sim->config.stall_limit_ms * SIM_MS, most_ms = 2 * sim->config.stall_limit_ms;
    uint64_t hangs_ns = sim_chance(sim, 30) ? UINT64_MAX - sim->now_ns : sim_between(sim, 1, (uint32_t)most_ms) * SIM_MS;
    sim->executor.devices[device].hangs_until_ns = sim->now_ns + hangs_ns;
    sim->executor.devices[device].hangs_on = hangs_on;
    sim->counts->hangs++;
    sim_say(sim, "device %u hangs for %llu ms", device, (unsigned long long)(hangs_ns / SIM_MS));
    struct limit *limit = sim_task_new(sim, sizeof(*limit), true, limit_run);
    limit->device = device;
    sim_after(sim, limit_ns, limit);
}

bool sim_faults_at_start(struct sim *sim, uint32_t *device) {
    *device = sim_roll(sim, sim->config.shape.n_devices);
    if (sim->calm || sim->config.hangs_permille == 0 || !sim_chance(sim, 40)) {
        return false;
    }
    sim->counts->hangs_at_start++;
    hang(sim, *device, false);
    return sim_chance(sim, 40);
}

uint32_t sim_faults_stuck(const struct sim *sim) {
    uint32_t stuck = 0;
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        bool given_up = sim_faults_hanging(sim, i) && sim->executor.devices[i].told_lost;
        stuck += given_up ? sim->executor.devices[i].in_flight : 0;
    }
    return stuck;
}

/* So many, and the device is given up. */
void sim_faults_read_failed(struct sim *sim, uint32_t device) {
    sim->counts->failed_reads++;
    if (++sim->executor.devices[device].read_errors > READ_ERRORS) {
        sim_faults_lose(sim, device);
    }
}

/* ---- no room -------------------------------------------------------------------------------------------------------------- */
bool sim_faults_short(struct sim *sim) {
    bool is_short = !sim->calm && sim_roll(sim, 1000) < sim->config.short_permille;
    sim->counts->short_of_memory += is_short;
    return is_short;
}

bool sim_faults_full(const struct sim *sim, uint32_t device) {
    const struct sim_shortage *shortage = &sim->disk.devices[device].shortage;
    return shortage->until_ns > sim->now_ns && (shortage->lasts || !sim->calm);
}

static void fill(struct sim *sim, uint32_t device, const struct sim_shortage *shortage) {
    sim->disk.devices[device].shortage = *shortage;
    sim->counts->full++;
    sim->counts->full_for_long += shortage->lasts;
    sim_say(sim, "device %u is full for %llu ms: refuses %u%% of writes, %u%% of syncs", device,
            (unsigned long long)((shortage->until_ns - sim->now_ns) / SIM_MS), shortage->writes_pct, shortage->syncs_pct);
}

/* One drive, or all of them, or all but one, and that one hangs. */
void sim_faults_fill_for_long(struct sim *sim) {
    static const uint32_t writes_pcts[] = {100, 100, 70}, syncs_pcts[] = {0, 0, 20, 100};
    uint32_t n = sim->config.shape.n_devices, one = sim_roll(sim, n);
    bool all = sim_chance(sim, 50), hangs = n > 1 && sim_chance(sim, 30);
    struct sim_shortage shortage = {.until_ns = sim->now_ns + (QUIRE_NS_PER_S << sim_roll(sim, 12)), .lasts = true};
    shortage.writes_pct = writes_pcts[sim_roll(sim, QUIRE_ARRAY_LEN(writes_pcts))];
    shortage.syncs_pct = syncs_pcts[sim_roll(sim, QUIRE_ARRAY_LEN(syncs_pcts))];
    for (uint32_t i = 0; i < n; i++) {
        if (i == one ? !hangs : all || hangs) {
            fill(sim, i, &shortage);
        }
    }
    if (hangs) {
        hang(sim, one, true);
    }
}

static bool refuses(struct sim *sim, uint32_t device, bool sync) {
    const struct sim_shortage *shortage = &sim->disk.devices[device].shortage;
    if (!sim->calm && !sim_faults_full(sim, device) && sim_roll(sim, 1000) < sim->config.full_permille) {
        uint64_t until_ns = sim->now_ns + sim_between(sim, 10, 3000) * SIM_MS;
        fill(sim, device, &(struct sim_shortage){.until_ns = until_ns, .writes_pct = 70, .syncs_pct = 20});
    }
    return sim_faults_full(sim, device) && sim_chance(sim, sync ? shortage->syncs_pct : shortage->writes_pct);
}

enum quire_status sim_faults_taken(struct sim *sim, uint32_t device, bool sync) {
    if (sim_faults_short(sim)) {
        return QUIRE_NO_MEMORY;
    }
    bool refused = refuses(sim, device, sync);
    *(sync ? &sim->counts->refused_syncs : &sim->counts->refused_writes) += refused;
    return refused ? QUIRE_FULL : QUIRE_OK;
}

bool sim_faults_none_takes(const struct sim *sim) {
    bool takes = false;
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        takes |= !sim->executor.devices[i].told_lost && !sim_faults_full(sim, i);
    }
    return !takes;
}

void sim_faults_pass(struct sim *sim, bool room) {
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        sim->executor.devices[i].hangs_until_ns = 0;
        sim->disk.devices[i].shortage.until_ns *= !room;
    }
}

/* ---- when ----------------------------------------------------------------------------------------------------------------- */
void sim_faults_roll(struct sim *sim) {
    const struct sim_config *config = &sim->config;
    if (sim_roll(sim, 1000) < config->rot_permille) {
        sim->model.blind |= config->rot == SIM_ROT_ANYWHERE;
        sim_disk_rot(sim);
    }
    if (sim_roll(sim, 1000) < config->bad_sector_permille) {
        sim_disk_spoil(sim);
    }
    if (config->deaths_permille > 0 && sim_roll(sim, 1000) < config->deaths_permille) {
        kill_drive(sim, sim_roll(sim, config->shape.n_devices));
    }
    if (config->hangs_permille > 0 && sim_roll(sim, 1000) < config->hangs_permille) {
        hang(sim, sim_roll(sim, config->shape.n_devices), false);
    }
    if (config->long_full_permille > 0 && sim_roll(sim, 1000) < config->long_full_permille) {
        sim_faults_fill_for_long(sim);
    }
}
