/* META: the file of namespaces and pins, written as a whole or not at all. */
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_store.h"
#include "tests/sim/sim_walk.h"

#include <stdlib.h>

static uint8_t *encode_meta(struct sim *sim, size_t *size) {
    const struct pager_disk_meta *meta = &sim->executor.meta;
    const uint8_t(*files)[16] = (const uint8_t(*)[16])sim->executor.meta_files;
    struct quire_meta_pin *pins = calloc(meta->n_pins + 1u, sizeof(*pins));
    pager_disk_meta_pins(meta, pins);
    struct quire_meta_head head = {.generation = sim->life,
                                   .next_serial = meta->next_serial,
                                   .n_namespaces = meta->n_items,
                                   .n_pins = meta->n_pins,
                                   .n_files = sim->config.shape.n_devices,
                                   .sequence = sim->life << 40};
    memcpy(head.set_id, sim_set_id, sizeof(head.set_id));
    SIM_REQUIRE(sim, quire_meta_encode(&head, meta->items, pins, files, NULL, 0, size) == QUIRE_TOO_LARGE);
    uint8_t *bytes = malloc(*size);
    SIM_REQUIRE(sim, quire_meta_encode(&head, meta->items, pins, files, bytes, *size, size) == QUIRE_OK);
    free(pins);
    return bytes;
}

static void meta_saved(struct sim *sim) {
    struct sim_disk *disk = &sim->disk;
    free(disk->meta);
    disk->meta = disk->meta_maybe;
    disk->meta_bytes = disk->meta_maybe_bytes;
    disk->meta_maybe = NULL;
}

static void meta_back_run(struct sim *sim, struct sim_task *task) {
    (void)task;
    sim->executor.meta_hangs = false;
    sim_say(sim, "the drive of the metadata is back");
    if (sim_chance(sim, 50)) {
        meta_saved(sim);
    }
}

/* Nobody waits for it any more, and none other is saved meanwhile. */
static void meta_hangs(struct sim *sim, struct sim_wish *wish) {
    sim->executor.meta_hangs = true;
    struct sim_task *back = sim_task_new(sim, sizeof(*back), true, meta_back_run);
    sim_after(sim, sim_between(sim, 1, 5000) * SIM_MS, back);
    sim_wish_end(sim, wish, QUIRE_TIMEOUT);
}

/* Atomic, whether well or not: the old file or the new one. A worker puts it together at any time until now: it must not have changed. */
static void meta_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    const struct sim_disk *disk = &sim->disk;
    size_t size;
    uint8_t *again = encode_meta(sim, &size);
    SIM_REQUIRE(sim, size == disk->meta_maybe_bytes && memcmp(again, disk->meta_maybe, size) == 0);
    free(again);
    sim->executor.meta_flying = false;
    bool no_room = sim->config.meta_fills && sim_faults_full(sim, 0);
    if (no_room || (!sim->calm && sim_chance(sim, sim->config.meta_failure_pct))) {
        sim->counts->failed_metadata++;
        if (!no_room && sim_chance(sim, 30)) {
            meta_hangs(sim, wish);
        } else {
            sim_wish_end(sim, wish, QUIRE_SYSTEM);
        }
        return;
    }
    meta_saved(sim);
    sim_wish_end(sim, wish, QUIRE_OK);
}

void sim_begin_meta(struct sim *sim, struct sim_wish *wish) {
    struct sim_executor *executor = &sim->executor;
    SIM_REQUIRE(sim, !executor->meta_flying);
    if (executor->meta_hangs) {
        sim_wish_end(sim, wish, QUIRE_SYSTEM);
        return;
    }
    SIM_REQUIRE(sim, pager_disk_meta(sim->pager, wish->event.ticket, &executor->meta) == QUIRE_OK);
    memset(executor->meta_files, 0, sizeof(executor->meta_files));
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        if (!executor->devices[i].told_lost) {
            memcpy(executor->meta_files[i], sim->disk.devices[i].file_id, 16);
        }
    }
    free(sim->disk.meta_maybe);
    sim->disk.meta_maybe = encode_meta(sim, &sim->disk.meta_maybe_bytes);
    executor->meta_flying = true;
    executor->written_bytes += sim->disk.meta_maybe_bytes;
    pager_disk_meta_writes(sim->pager, sim->now_ns, sim->disk.meta_maybe_bytes);
    sim_wish_stage(sim, wish, sim->disk.meta_maybe_bytes, meta_run);
}
