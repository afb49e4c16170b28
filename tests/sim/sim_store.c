/*
 * The disk's wishes on bytes, in the order of syncs and writes that daemon/disk/store.h keeps to: a sync comes after every write to its device that
 * was asked for before; a footer is written behind a sync, and followed by one; a device that fails a write is given up, and the pager told before
 * the wish ends.
 */
#include "tests/sim/sim_store.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_walk.h"

#include <stdlib.h>

const struct quire_log_geometry *sim_geometry(const struct sim *sim) { return &sim->config.shape.geometry; }
uint64_t sim_in_bytes(const struct sim *sim, uint64_t units) { return units * sim_geometry(sim)->unit_bytes; }

static void run_unless_hanging(struct sim *sim, struct sim_task *task);

struct sim_wish *sim_wish_next(struct sim *sim, const struct sim_wish *wish, void (*run)(struct sim *sim, struct sim_task *task)) {
    struct sim_wish *next = sim_task_new(sim, sizeof(*next), true, run_unless_hanging);
    struct sim_task task = next->task;
    *next = *wish;
    next->task = task;
    next->task.memory = wish->task.memory;
    next->stage = run;
    ((struct sim_wish *)(uintptr_t)wish)->task.memory = NULL;
    return next;
}

void sim_wish_stage(struct sim *sim, const struct sim_wish *wish, uint64_t bytes, void (*run)(struct sim *sim, struct sim_task *task)) {
    sim_after(sim, sim_faults_delay_ns(sim, bytes), sim_wish_next(sim, wish, run));
}

static void run_unless_hanging(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    bool of_device = wish->event.type != PAGER_DISK_META;
    if (of_device && sim_faults_hanging(sim, wish->event.disk->device)) {
        sim_after(sim, 5 * SIM_MS, sim_wish_next(sim, wish, wish->stage));
    } else {
        wish->stage(sim, task);
    }
}

bool sim_wish_is_dead(struct sim *sim, const struct sim_wish *wish) { return sim->disk.devices[wish->event.disk->device].dead; }

void sim_wish_end(struct sim *sim, const struct sim_wish *wish, enum quire_status status) {
    sim->executor.in_flight--;
    if (wish->event.type != PAGER_DISK_META) {
        sim->executor.devices[wish->event.disk->device].in_flight--;
    }
    sim_say(sim, "wish %d done: ticket %llx, status %d", wish->event.type, (unsigned long long)wish->event.ticket, status);
    bool meta = wish->event.type == PAGER_DISK_META;
    sim->executor.taken_bytes += status != QUIRE_OK ? 0 : meta ? sim->disk.meta_maybe_bytes : sim_asked_bytes(sim, &wish->event);
    pager_complete(sim->pager, sim->now_ns, wish->event.ticket, status);
}

void sim_wish_failed(struct sim *sim, const struct sim_wish *wish) {
    sim_faults_lose(sim, wish->event.disk->device);
    sim_wish_end(sim, wish, QUIRE_SYSTEM);
}

uint64_t sim_asked_bytes(const struct sim *sim, const struct pager_event *event) {
    const struct pager_disk_wish *told = event->disk;
    uint32_t units = event->type == PAGER_DISK_WRITE  ? told->size_units
                     : event->type == PAGER_DISK_SEAL ? quire_log_footer_units(sim_geometry(sim), told->n) + 1
                                                      : 0;
    return units > 0 ? sim_in_bytes(sim, units + told->first) : 0;
}

uint8_t *sim_piece_at(struct sim *sim, const struct pager_disk_piece *piece, uint64_t *bytes) {
    *bytes = sim_in_bytes(sim, quire_log_units(sim_geometry(sim), piece->size_bytes));
    SIM_REQUIRE(sim, piece->domain < sim->config.n_domains && quire_in_range(piece->offset, *bytes, sim->config.pool_bytes));
    return sim->domains[piece->domain].pool + piece->offset;
}

/* ---- ENTRIES -------------------------------------------------------------------------------------------------------------- */
static void entries_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    uint32_t n;
    if (sim_wish_is_dead(sim, wish)) {
        sim_wish_failed(sim, wish);
        return;
    }
    if (sim_faults_short(sim) || (!sim->calm && sim_chance(sim, sim->config.entries_failure_pct))) {
        sim_wish_end(sim, wish, sim_chance(sim, 50) ? QUIRE_SYSTEM : QUIRE_NO_MEMORY);
        return;
    }
    enum sim_unread unread;
    struct quire_log_entry *entries = sim_walk(sim, wish->event.disk->segment, wish->event.disk->epoch, false, &n, &unread);
    enum quire_status status = QUIRE_SYSTEM;
    if (unread != SIM_UNREAD_HEADS) {
        status = pager_disk_entries(sim->pager, wish->event.ticket, entries, n);
    }
    free(entries);
    if (unread != SIM_READ_ALL) {
        sim_faults_read_failed(sim, wish->event.disk->device);
    }
    sim_wish_end(sim, wish, status);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */
void sim_store_begin(struct sim *sim, const struct pager_event *event) {
    struct sim_wish wish = {.event = *event, .order = ++sim->executor.order};
    const struct pager_disk_wish *told = event->disk;
    SIM_REQUIRE(sim, told != NULL && ++sim->executor.in_flight <= PAGER_DISK_MAX_IN_FLIGHT);
    sim_say(sim, "wish %d: ticket %llx, segment %u, epoch %llu, at %u, n %u", event->type, (unsigned long long)event->ticket, told->segment,
            (unsigned long long)told->epoch, told->at_units, told->n);
    if (event->type != PAGER_DISK_META) {
        sim->executor.devices[told->device].in_flight++;
    }
    if (event->type != PAGER_DISK_META && sim->executor.devices[told->device].told_lost) {
        sim->executor.withheld_bytes += sim_asked_bytes(sim, event);
        sim_wish_end(sim, &wish, QUIRE_SYSTEM);
        return;
    }
    switch (event->type) {
    case PAGER_DISK_WRITE:
        sim_begin_write(sim, &wish);
        break;
    case PAGER_DISK_READ:
        sim_begin_read(sim, &wish);
        break;
    case PAGER_DISK_SEAL:
        sim_begin_seal(sim, &wish);
        break;
    case PAGER_DISK_SYNC:
        sim_begin_sync(sim, &wish);
        break;
    case PAGER_DISK_META:
        sim_begin_meta(sim, &wish);
        break;
    default:
        sim_wish_stage(sim, &wish, sim_in_bytes(sim, 2), entries_run);
    }
}

void sim_store_reset(struct sim *sim) {
    for (uint32_t i = 0; i < SIM_MAX_DEVICES; i++) {
        for (uint32_t j = 0; j < sim->executor.devices[i].n_syncs; j++) {
            sim_task_free(sim->executor.devices[i].syncs[j]);
        }
        sim->executor.devices[i].n_syncs = 0;
    }
}
