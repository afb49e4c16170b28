/* READ: straight into the pool, and verified there; and what reads that fail come to. */
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_store.h"

#include "daemon/disk/verify.h"

#include <stdlib.h>

static bool read_span(struct sim *sim, const struct pager_disk_wish *told, uint64_t from_units, uint64_t to_units, bool really) {
    uint64_t all;
    uint32_t device;
    uint8_t *to = sim_piece_at(sim, &told->pieces[0], &all) + sim_in_bytes(sim, from_units);
    to_units = quire_min_u64(to_units, all / sim_geometry(sim)->unit_bytes);
    if (really) {
        uint64_t offset = sim_disk_locate(sim, told->segment, told->at_units, &device) + sim_in_bytes(sim, from_units);
        return sim_disk_read(sim, told->device, offset, to, sim_in_bytes(sim, to_units - from_units));
    }
    memset(to, 0xa5, sim_in_bytes(sim, to_units - from_units));
    return true;
}

/* Header and directory, and the ranges; or all. !really: whatever is there meanwhile. False: some of it cannot be read. */
static bool read_spans(struct sim *sim, const struct sim_wish *wish, bool really) {
    const struct pager_disk_wish *told = wish->event.disk;
    struct quire_record_shape shape;
    if (told->n_ranges == 0) {
        return read_span(sim, told, 0, UINT32_MAX, really);
    }
    SIM_REQUIRE(sim, quire_record_shape(wish->layout, told->group, wish->layout->block_tokens, 0, &shape) == QUIRE_OK);
    bool whole = read_span(sim, told, 0, quire_log_units(sim_geometry(sim), shape.payload_offset), really);
    for (uint32_t i = 0; i < told->n_ranges; i++) {
        whole &= read_span(sim, told, told->ranges[i].from_bytes / sim_geometry(sim)->unit_bytes,
                           quire_log_units(sim_geometry(sim), told->ranges[i].to_bytes), really);
    }
    return whole;
}

static enum quire_status read_status(struct sim *sim, const struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    uint64_t bytes;
    bool fails = !sim->calm && sim_roll(sim, 1000) < sim->config.read_error_permille;
    if (fails || !read_spans(sim, wish, true)) {
        sim_faults_read_failed(sim, told->device);
        return QUIRE_SYSTEM;
    }
    const struct verify_wanted wanted = {
        .layout = wish->layout,
        .layout_tag = wish->tag,
        .key = &told->key,
        .group = told->group,
        .check = told->check,
        .check_mask = told->check_mask,
        .rect = told->n_ranges > 0 ? &told->rect : NULL,
    };
    return verify_record(sim_piece_at(sim, &told->pieces[0], &bytes), told->pieces[0].size_bytes, &wanted);
}

static void read_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    if (sim_wish_is_dead(sim, wish)) {
        sim_wish_failed(sim, wish);
        return;
    }
    enum quire_status status = sim_faults_short(sim) ? QUIRE_NO_MEMORY : read_status(sim, wish);
    sim->counts->reads++;
    sim->counts->corrupt += status == QUIRE_CORRUPT;
    /* Without rot nothing is ever found damaged, but after a crash that has lost the header of a segment which was being used again. */
    SIM_REQUIRE(sim, status != QUIRE_CORRUPT || sim->config.rot != SIM_ROT_NONE || sim->life > 1);
    sim_wish_end(sim, wish, status);
}

static const struct sim_space *space_of(struct sim *sim, uint16_t ns) {
    struct pager_ns_info info;
    for (uint32_t cursor = 0; pager_ns_next(sim->pager, &cursor, &info);) {
        if (info.ns == ns) {
            return &sim->model.spaces[info.name[5] - '0'];
        }
    }
    return NULL;
}

void sim_begin_read(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    const quire_layout *layout = pager_ns_layout(sim->pager, told->ns);
    const struct sim_space *space = layout ? space_of(sim, told->ns) : NULL;
    uint64_t bytes;
    (void)sim_piece_at(sim, &told->pieces[0], &bytes);
    sim_model_untouched(sim, told->pieces[0].domain, told->pieces[0].offset, bytes);
    if (!space) {
        sim_wish_end(sim, wish, QUIRE_NOT_FOUND);
        return;
    }
    SIM_REQUIRE(sim, told->n_pieces == 1 && told->at_units >= 2 && told->at_units + told->size_units < sim_geometry(sim)->segment_units);
    wish->task.memory = wish->layout = malloc(sizeof(*layout));
    *wish->layout = *layout;
    wish->tag = space->tag;
    read_spans(sim, wish, false);
    sim_wish_stage(sim, wish, bytes, read_run);
}
