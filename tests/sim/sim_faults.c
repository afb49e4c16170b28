#include "tests/sim/sim_faults.h"
#include "tests/sim/sim.h"

#define READ_ERRORS 16u

/* ---- slow ----------------------------------------------------------------------------------------------------------------- */
uint64_t sim_faults_delay_ns(struct sim *sim, uint64_t bytes) {
    uint64_t ns = sim_between(sim, 20000, 400000) + bytes / 2;
    if (sim->config.slow && !sim->calm && sim->executor.slow_until_ns < sim->now_ns && sim_roll(sim, 400) == 0) {
        sim->executor.slow_until_ns = sim->now_ns + sim_between(sim, 10, 500) * SIM_MS;
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

void sim_faults_kill(struct sim *sim, uint32_t device) {
    sim_say(sim, "device %u dies", device);
    sim->disk.devices[device].dead = true;
}

struct limit {
    struct sim_task task;
    uint32_t device;
};

static void limit_run(struct sim *sim, struct sim_task *task) {
    uint32_t device = ((struct limit *)task)->device;
    if (!sim->calm && sim->executor.devices[device].hangs_until_ns > sim->now_ns) {
        sim_faults_lose(sim, device);
    }
}

void sim_faults_hang(struct sim *sim, uint32_t device) {
    uint64_t limit_ns = sim->config.stall_limit_ms * SIM_MS, most_ms = 2 * sim->config.stall_limit_ms;
    uint64_t hangs_ns = sim_chance(sim, 30) ? UINT64_MAX - sim->now_ns : sim_between(sim, 1, (uint32_t)most_ms) * SIM_MS;
    sim->executor.devices[device].hangs_until_ns = sim->now_ns + hangs_ns;
    sim_say(sim, "device %u hangs for %llu ms", device, (unsigned long long)(hangs_ns / SIM_MS));
    struct limit *limit = sim_task_new(sim, sizeof(*limit), true, limit_run);
    limit->device = device;
    sim_after(sim, limit_ns, limit);
}

/* So many, and the device is given up. */
void sim_faults_read_failed(struct sim *sim, uint32_t device) {
    if (++sim->executor.devices[device].read_errors > READ_ERRORS) {
        sim_faults_lose(sim, device);
    }
}

/* ---- full ----------------------------------------------------------------------------------------------------------------- */
/* Memory is short now. */
bool sim_faults_short(struct sim *sim) { return !sim->calm && sim_roll(sim, 1000) < sim->config.short_permille; }

/* The device has no room for a while: `pct` of what is asked of it then fails. */
static bool is_full(struct sim *sim, uint32_t device, uint32_t pct) {
    struct sim_executor_device *d = &sim->executor.devices[device];
    if (!sim->calm && sim_roll(sim, 1000) < sim->config.full_permille) {
        d->full_until_ns = sim->now_ns + sim_between(sim, 10, 3000) * SIM_MS;
        sim_say(sim, "device %u is full", device);
    }
    return !sim->calm && d->full_until_ns > sim->now_ns && sim_chance(sim, pct);
}

enum quire_status sim_faults_taken(struct sim *sim, uint32_t device, uint32_t full_pct) {
    enum quire_status status = sim_faults_short(sim) ? QUIRE_NO_MEMORY : is_full(sim, device, full_pct) ? QUIRE_FULL : QUIRE_OK;
    sim->counts->put_off += status != QUIRE_OK;
    return status;
}
