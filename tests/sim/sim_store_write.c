/* WRITE, SYNC and SEAL, in the order of daemon/disk/store.h: a sync follows every write to its device that was asked for before, a footer stands behind a sync. */
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_store.h"
#include "tests/sim/sim_walk.h"

#include <stdlib.h>

static void encode_header(const struct sim *sim, const struct pager_disk_wish *told, uint8_t *out) {
    struct quire_log_segment_header header = {.epoch = told->epoch, .segment = told->segment, .tail_epoch = told->tail_epoch};
    memcpy(header.set_id, sim_set_id, sizeof(header.set_id));
    quire_log_segment_header_encode(sim_geometry(sim), &header, out);
}

/* Of the batch's own write. */
static uint32_t header_units_of(const struct pager_disk_wish *told) { return told->first && !told->alone ? 1 : 0; }

/* [header] head, records: as they will lie. */
static uint8_t *compose(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    uint32_t piece = 0, header_units = header_units_of(told), at_units = told->at_units + told->head_units;
    uint8_t *out = calloc(1, sim_in_bytes(sim, told->size_units + header_units));
    SIM_REQUIRE(sim, out != NULL && (!told->first || told->at_units == 1) && told->n > 0 && told->n <= QUIRE_LOG_MAX_BATCH);
    SIM_REQUIRE(sim, told->head_units == quire_log_head_units(sim_geometry(sim), told->n));
    for (uint32_t i = 0; i < told->n; i++) {
        struct quire_log_entry *entry = &told->entries[i];
        uint64_t bytes;
        if (entry->kind != QUIRE_LOG_RECORD) {
            continue;
        }
        SIM_REQUIRE(sim, piece < told->n_pieces && entry->at_units == at_units && entry->size_bytes == told->pieces[piece].size_bytes);
        const uint8_t *record = sim_piece_at(sim, &told->pieces[piece++], &bytes);
        bool none = quire_log_record_check(record, entry->size_bytes, &entry->check) != QUIRE_OK;
        SIM_REQUIRE(sim, !none); /* what is written is sealed */
        memcpy(out + sim_in_bytes(sim, header_units + at_units - told->at_units), record, bytes);
        at_units += (uint32_t)(bytes / sim_geometry(sim)->unit_bytes);
    }
    SIM_REQUIRE(sim, piece == told->n_pieces && at_units == told->at_units + told->size_units);
    if (header_units > 0) {
        encode_header(sim, told, out);
    }
    const struct quire_log_batch batch = {
        .n_entries = (uint16_t)told->n, .epoch = told->epoch, .at_units = told->at_units, .size_units = told->size_units};
    quire_log_head_encode(sim_geometry(sim), &batch, told->entries, out + sim_in_bytes(sim, header_units));
    sim_ledger_wrote(sim, told->segment, told->epoch, told->entries, told->n);
    wish->bytes = sim_in_bytes(sim, told->size_units + header_units);
    return out;
}

/* The records are in the pool as they were when they were asked for. */
static void compare(struct sim *sim, const struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    const uint8_t *written = wish->task.memory;
    for (uint32_t i = 0, piece = 0; i < told->n; i++) {
        uint64_t bytes;
        if (told->entries[i].kind == QUIRE_LOG_RECORD) {
            const uint8_t *record = sim_piece_at(sim, &told->pieces[piece++], &bytes);
            uint64_t at = sim_in_bytes(sim, told->entries[i].at_units - told->at_units + header_units_of(told));
            SIM_REQUIRE(sim, memcmp(written + at, record, told->entries[i].size_bytes) == 0);
        }
    }
}

static void sync_run(struct sim *sim, struct sim_task *task);

/* Syncs that waited for this write, and for no other any more, go on. */
static void written(struct sim *sim, uint32_t device, uint64_t order) {
    struct sim_executor_device *d = &sim->executor.devices[device];
    uint64_t oldest = UINT64_MAX;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n_writing; i++) {
        if (d->writing[i] != order) {
            oldest = quire_min_u64(oldest, d->writing[i]);
            d->writing[kept++] = d->writing[i];
        }
    }
    d->n_writing = kept;
    kept = 0;
    for (uint32_t i = 0; i < d->n_syncs; i++) {
        if (d->syncs[i]->order < oldest) {
            d->syncs[i]->id = sim_disk_sync_begin(sim);
            sim_after(sim, sim_faults_delay_ns(sim, 0), d->syncs[i]);
        } else {
            d->syncs[kept++] = d->syncs[i];
        }
    }
    d->n_syncs = kept;
}

static void end_write(struct sim *sim, const struct sim_wish *wish, enum quire_status status) {
    uint32_t device = wish->event.disk->device;
    uint64_t order = wish->order;
    sim->executor.refused |= status != QUIRE_OK;
    if (sim_wish_is_dead(sim, wish)) {
        sim_wish_failed(sim, wish);
    } else {
        sim_wish_end(sim, wish, status);
    }
    written(sim, device, order);
}

static void write_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    uint32_t device = wish->event.disk->device;
    compare(sim, wish);
    if (sim_wish_is_dead(sim, wish)) {
        end_write(sim, wish, QUIRE_SYSTEM);
        return;
    }
    enum quire_status status = sim_faults_taken(sim, device, false);
    if (status == QUIRE_OK) {
        sim_disk_write_end(sim, device, wish->id);
        status = wish->refused ? QUIRE_CORRUPT : QUIRE_OK;
    } else {
        sim_disk_write_fail(sim, device, wish->id);
    }
    end_write(sim, wish, status);
}

static bool safe_header(const struct sim *sim, uint32_t segment, struct quire_log_segment_header *header) {
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, segment, 0, &device);
    return quire_log_segment_header_decode(sim_geometry(sim), sim->disk.devices[device].safe + offset, sim_set_id, segment, header) ==
           QUIRE_OK;
}

/*
 * What is written over is older than all that a crash at this moment would leave: else it might take tombstones with it, and leave what
 * they bury and no header that tells of it. A header may rot: then this is not so.
 */
static void is_unneeded(struct sim *sim, const struct pager_disk_wish *told) {
    uint32_t first = 0;
    uint64_t tail = 0;
    struct quire_log_segment_header old, header;
    for (uint32_t d = 0; d < told->device; d++) {
        first += sim->config.shape.segments[d];
    }
    for (uint32_t i = 0; i < sim->config.shape.segments[told->device]; i++) {
        tail = safe_header(sim, first + i, &header) ? quire_max_u64(tail, header.tail_epoch) : tail;
    }
    SIM_REQUIRE(sim, sim->config.rot == SIM_ROT_ANYWHERE || !safe_header(sim, told->segment, &old) || old.epoch == told->epoch ||
                         old.epoch < tail);
}

static void append(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    is_unneeded(sim, told);
    uint8_t *bytes = compose(sim, wish);
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, told->segment, told->at_units - header_units_of(told), &device);
    SIM_REQUIRE(sim, device == told->device);
    wish->refused = !sim->calm && sim_roll(sim, 1000) < sim->config.refused_write_permille;
    wish->task.memory = bytes;
    sim->executor.withheld_bytes -= told->alone ? wish->bytes : 0;
    wish->id = sim_disk_write_begin(sim, device, offset, bytes, (uint32_t)wish->bytes);
    sim->counts->writes++;
    sim_wish_stage(sim, wish, wish->bytes, write_run);
}

static enum quire_status sync_end(struct sim *sim, const struct sim_wish *wish) {
    uint32_t device = wish->event.disk->device;
    enum quire_status status = sim_faults_taken(sim, device, true);
    if (status == QUIRE_OK) {
        sim_disk_sync_end(sim, device, wish->id);
    } else {
        sim_disk_sync_fail(sim, device, wish->id);
        sim->executor.devices[device].unsure = true;
        sim->executor.devices[device].failed_syncs++;
        status = QUIRE_FULL;
    }
    return status;
}

static void header_synced(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    uint32_t device = wish->event.disk->device;
    bool eaten = wish->failed_syncs != sim->executor.devices[device].failed_syncs; /* another sync may have failed for it */
    enum quire_status status = sim_wish_is_dead(sim, wish) ? QUIRE_SYSTEM : sync_end(sim, wish);
    status = status == QUIRE_OK && eaten ? QUIRE_FULL : status;
    if (status == QUIRE_OK) {
        append(sim, wish);
    } else {
        end_write(sim, wish, status);
    }
}

static void header_written(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    uint32_t device = wish->event.disk->device;
    enum quire_status status = sim_wish_is_dead(sim, wish) ? QUIRE_SYSTEM : sim_faults_taken(sim, device, false);
    if (status == QUIRE_OK) {
        sim_disk_write_end(sim, device, wish->id);
        wish->id = sim_disk_sync_begin(sim);
        wish->failed_syncs = sim->executor.devices[device].failed_syncs;
        sim_wish_stage(sim, wish, 0, header_synced);
        return;
    }
    if (!sim_wish_is_dead(sim, wish)) {
        sim_disk_write_fail(sim, device, wish->id);
    }
    end_write(sim, wish, status);
}

void sim_begin_write(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    struct sim_executor_device *d = &sim->executor.devices[told->device];
    uint32_t device;
    SIM_REQUIRE(sim, d->n_writing < SIM_WRITES);
    d->writing[d->n_writing++] = wish->order;
    if (!told->alone) {
        append(sim, wish);
        return;
    }
    uint8_t unit[QUIRE_LOG_UNIT_MAX];
    uint32_t bytes = sim_geometry(sim)->unit_bytes;
    encode_header(sim, told, unit);
    sim->executor.withheld_bytes += sim_in_bytes(sim, told->size_units);
    wish->id = sim_disk_write_begin(sim, told->device, sim_disk_locate(sim, told->segment, 0, &device), unit, bytes);
    sim_wish_stage(sim, wish, bytes, header_written);
}

/* ---- SYNC, SEAL ----------------------------------------------------------------------------------------------------------- */
static void sync_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    if (sim_wish_is_dead(sim, wish)) {
        sim_wish_failed(sim, wish);
        return;
    }
    sim_wish_end(sim, wish, sync_end(sim, wish));
}

void sim_begin_sync(struct sim *sim, struct sim_wish *wish) {
    struct sim_executor_device *d = &sim->executor.devices[wish->event.disk->device];
    if (d->n_writing > 0) {
        d->syncs[d->n_syncs++] = sim_wish_next(sim, wish, sync_run);
        return;
    }
    wish->id = sim_disk_sync_begin(sim);
    sim_wish_stage(sim, wish, 0, sync_run);
}

static void footer_written(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    if (sim_wish_is_dead(sim, wish)) {
        sim_wish_failed(sim, wish);
        return;
    }
    enum quire_status status = sim_faults_taken(sim, wish->event.disk->device, false);
    if (status != QUIRE_OK) {
        sim_disk_write_fail(sim, wish->event.disk->device, wish->id);
        sim->executor.devices[wish->event.disk->device].unsure = true;
        sim_wish_end(sim, wish, status);
        return;
    }
    sim_disk_write_end(sim, wish->event.disk->device, wish->id);
    wish->id = sim_disk_sync_begin(sim);
    sim_wish_stage(sim, wish, 0, sync_run);
}

static void write_header(struct sim *sim, const struct pager_disk_wish *told) {
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, told->segment, 0, &device);
    uint8_t *unit = calloc(1, sim_geometry(sim)->unit_bytes);
    SIM_REQUIRE(sim, unit != NULL);
    encode_header(sim, told, unit);
    sim_disk_write_end(sim, device, sim_disk_write_begin(sim, device, offset, unit, sim_geometry(sim)->unit_bytes));
    free(unit);
}

static void data_synced(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    const struct pager_disk_wish *told = wish->event.disk;
    uint32_t device, units = (uint32_t)(wish->bytes / sim_geometry(sim)->unit_bytes);
    if (sim_wish_is_dead(sim, wish)) {
        sim_wish_failed(sim, wish);
        return;
    }
    enum quire_status status = sync_end(sim, wish);
    if (status != QUIRE_OK) {
        sim_wish_end(sim, wish, status);
        return;
    }
    if (told->first) {
        write_header(sim, told);
    }
    sim->executor.withheld_bytes -= sim_asked_bytes(sim, &wish->event);
    uint64_t offset = sim_disk_locate(sim, told->segment, sim_geometry(sim)->segment_units - units, &device);
    wish->id = sim_disk_write_begin(sim, device, offset, wish->task.memory, (uint32_t)wish->bytes);
    sim_wish_stage(sim, wish, wish->bytes, footer_written);
}

void sim_begin_seal(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    uint32_t units = quire_log_footer_units(sim_geometry(sim), told->n) + 1;
    struct quire_log_trailer trailer = {
        .epoch = told->epoch, .segment = told->segment, .n_entries = told->n, .used_units = told->used_units};
    SIM_REQUIRE(sim, units <= sim_geometry(sim)->segment_units - told->used_units);
    sim_ledger_believe(sim, told->segment, told->epoch, told->entries, told->n);
    sim->executor.withheld_bytes += sim_asked_bytes(sim, &wish->event);
    memcpy(trailer.set_id, sim_set_id, sizeof(trailer.set_id));
    wish->bytes = sim_in_bytes(sim, units);
    wish->task.memory = calloc(1, wish->bytes);
    quire_log_footer_encode(sim_geometry(sim), &trailer, told->entries, wish->task.memory);
    wish->id = sim_disk_sync_begin(sim);
    sim_wish_stage(sim, wish, 0, data_synced);
}
