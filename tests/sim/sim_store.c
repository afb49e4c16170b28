/*
 * The disk's wishes on bytes, in the order of syncs and writes that daemon/disk/store.h keeps to: a sync comes after every write to its device that
 * was asked for before; a footer is written behind a sync, and followed by one; a device that fails a write is given up, and the pager told before
 * the wish ends.
 */
#include "tests/sim/sim.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/sim_walk.h"

#include "daemon/disk/verify.h"

#include <stdlib.h>

#define READ_ERRORS 16u

struct sim_wish {
    struct sim_task task; /* memory: the bytes to be written, or the layout */
    struct pager_event event;
    uint64_t order, id; /* id: the write's, or the sync's stamp */
    uint64_t bytes;
    quire_layout *layout; /* READ: as it was when it began */
    uint64_t tag;
    bool refused;          /* WRITE: a record is none */
    uint32_t failed_syncs; /* WRITE: the device's, when the header was written */
    void (*stage)(struct sim *sim, struct sim_task *task);
};

static const struct quire_log_geometry *geometry(const struct sim *sim) { return &sim->config.shape.geometry; }
static uint64_t in_bytes(const struct sim *sim, uint64_t units) { return units * geometry(sim)->unit_bytes; }

static uint64_t delay_ns(struct sim *sim, uint64_t bytes) {
    uint64_t ns = sim_between(sim, 20000, 400000) + bytes / 2;
    if (sim->config.slow && !sim->calm && sim->executor.slow_until_ns < sim->now_ns && sim_roll(sim, 400) == 0) {
        sim->executor.slow_until_ns = sim->now_ns + sim_between(sim, 10, 500) * SIM_MS;
        sim_say(sim, "the disk is slow");
    }
    return sim->executor.slow_until_ns > sim->now_ns && !sim->calm ? ns * 60 : ns;
}

static void run_unless_hanging(struct sim *sim, struct sim_task *task);

static struct sim_wish *next_stage(struct sim *sim, const struct sim_wish *wish, void (*run)(struct sim *sim, struct sim_task *task)) {
    struct sim_wish *next = sim_task_new(sim, sizeof(*next), true, run_unless_hanging);
    struct sim_task task = next->task;
    *next = *wish;
    next->task = task;
    next->task.memory = wish->task.memory;
    next->stage = run;
    ((struct sim_wish *)(uintptr_t)wish)->task.memory = NULL;
    return next;
}

/* A wish goes on as a task of its own for each stage. */
static void stage(struct sim *sim, const struct sim_wish *wish, uint64_t bytes, void (*run)(struct sim *sim, struct sim_task *task)) {
    sim_after(sim, delay_ns(sim, bytes), next_stage(sim, wish, run));
}

static void run_unless_hanging(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    bool of_device = wish->event.type != PAGER_DISK_META;
    if (of_device && !sim->calm && sim->executor.devices[wish->event.disk->device].hangs_until_ns > sim->now_ns) {
        sim_after(sim, 5 * SIM_MS, next_stage(sim, wish, wish->stage));
    } else {
        wish->stage(sim, task);
    }
}

void sim_store_lose(struct sim *sim, uint32_t device) {
    struct sim_executor_device *d = &sim->executor.devices[device];
    if (!d->told_lost) {
        d->told_lost = true;
        sim_say(sim, "device %u is out of use", device);
        sim->counts->devices_lost++;
        pager_disk_device_lost(sim->pager, sim->now_ns, device);
    }
}

void sim_store_kill(struct sim *sim, uint32_t device) {
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
        sim_store_lose(sim, device);
    }
}

void sim_store_hang(struct sim *sim, uint32_t device) {
    uint64_t limit_ns = sim->config.stall_limit_ms * SIM_MS, most_ms = 2 * sim->config.stall_limit_ms;
    uint64_t hangs_ns = sim_chance(sim, 30) ? UINT64_MAX - sim->now_ns : sim_between(sim, 1, (uint32_t)most_ms) * SIM_MS;
    sim->executor.devices[device].hangs_until_ns = sim->now_ns + hangs_ns;
    sim_say(sim, "device %u hangs for %llu ms", device, (unsigned long long)(hangs_ns / SIM_MS));
    struct limit *limit = sim_task_new(sim, sizeof(*limit), true, limit_run);
    limit->device = device;
    sim_after(sim, limit_ns, limit);
}

static bool is_dead(struct sim *sim, const struct sim_wish *wish) { return sim->disk.devices[wish->event.disk->device].dead; }

static void end(struct sim *sim, const struct sim_wish *wish, enum quire_status status) {
    sim->executor.in_flight--;
    sim_say(sim, "wish %d done: ticket %llx, status %d", wish->event.type, (unsigned long long)wish->event.ticket, status);
    pager_complete(sim->pager, sim->now_ns, wish->event.ticket, status);
}

/* The device failed it. */
static void end_failed(struct sim *sim, const struct sim_wish *wish) {
    sim_store_lose(sim, wish->event.disk->device);
    end(sim, wish, QUIRE_SYSTEM);
}

/* Memory is short now. */
static bool is_short(struct sim *sim) { return !sim->calm && sim_roll(sim, 1000) < sim->config.short_permille; }

/* The device has no room for a while: `pct` of what is asked of it then fails. */
static bool is_full(struct sim *sim, uint32_t device, uint32_t pct) {
    struct sim_executor_device *d = &sim->executor.devices[device];
    if (!sim->calm && sim_roll(sim, 1000) < sim->config.full_permille) {
        d->full_until_ns = sim->now_ns + sim_between(sim, 10, 3000) * SIM_MS;
        sim_say(sim, "device %u is full", device);
    }
    return !sim->calm && d->full_until_ns > sim->now_ns && sim_chance(sim, pct);
}

static enum quire_status taken(struct sim *sim, uint32_t device, uint32_t full_pct) {
    enum quire_status status = is_short(sim) ? QUIRE_NO_MEMORY : is_full(sim, device, full_pct) ? QUIRE_FULL : QUIRE_OK;
    sim->counts->put_off += status != QUIRE_OK;
    return status;
}

/* Batches and footers, with the segment's header where it is to be written with them. */
static uint64_t asked_bytes(const struct sim *sim, const struct pager_event *event) {
    const struct pager_disk_wish *told = event->disk;
    uint32_t units = event->type == PAGER_DISK_WRITE  ? told->size_units
                     : event->type == PAGER_DISK_SEAL ? quire_log_footer_units(geometry(sim), told->n) + 1
                                                      : 0;
    return units > 0 ? in_bytes(sim, units + told->first) : 0;
}

/* ---- WRITE ---------------------------------------------------------------------------------------------------------------- */
static uint8_t *piece_at(struct sim *sim, const struct pager_disk_piece *piece, uint64_t *bytes) {
    *bytes = in_bytes(sim, quire_log_units(geometry(sim), piece->size_bytes));
    SIM_REQUIRE(sim, piece->domain < sim->config.n_domains && quire_in_range(piece->offset, *bytes, sim->config.pool_bytes));
    return sim->domains[piece->domain].pool + piece->offset;
}

static void encode_header(const struct sim *sim, const struct pager_disk_wish *told, uint8_t *out) {
    struct quire_log_segment_header header = {.epoch = told->epoch, .segment = told->segment, .tail_epoch = told->tail_epoch};
    memcpy(header.set_id, sim_set_id, sizeof(header.set_id));
    quire_log_segment_header_encode(geometry(sim), &header, out);
}

/* Of the batch's own write. */
static uint32_t header_units_of(const struct pager_disk_wish *told) { return told->first && !told->alone ? 1 : 0; }

/* [header] head, records: as they will lie. */
static uint8_t *compose(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    uint32_t piece = 0, header_units = header_units_of(told), at_units = told->at_units + told->head_units;
    uint8_t *out = calloc(1, in_bytes(sim, told->size_units + header_units));
    SIM_REQUIRE(sim, out != NULL && (!told->first || told->at_units == 1) && told->n > 0 && told->n <= QUIRE_LOG_MAX_BATCH);
    SIM_REQUIRE(sim, told->head_units == quire_log_head_units(geometry(sim), told->n));
    for (uint32_t i = 0; i < told->n; i++) {
        struct quire_log_entry *entry = &told->entries[i];
        uint64_t bytes;
        if (entry->kind != QUIRE_LOG_RECORD) {
            continue;
        }
        SIM_REQUIRE(sim, piece < told->n_pieces && entry->at_units == at_units && entry->size_bytes == told->pieces[piece].size_bytes);
        const uint8_t *record = piece_at(sim, &told->pieces[piece++], &bytes);
        bool none = quire_log_record_check(record, entry->size_bytes, &entry->check) != QUIRE_OK;
        SIM_REQUIRE(sim, !none); /* what is written is sealed */
        memcpy(out + in_bytes(sim, header_units + at_units - told->at_units), record, bytes);
        at_units += (uint32_t)(bytes / geometry(sim)->unit_bytes);
    }
    SIM_REQUIRE(sim, piece == told->n_pieces && at_units == told->at_units + told->size_units);
    if (header_units > 0) {
        encode_header(sim, told, out);
    }
    const struct quire_log_batch batch = {
        .n_entries = (uint16_t)told->n, .epoch = told->epoch, .at_units = told->at_units, .size_units = told->size_units};
    quire_log_head_encode(geometry(sim), &batch, told->entries, out + in_bytes(sim, header_units));
    wish->bytes = in_bytes(sim, told->size_units + header_units);
    return out;
}

/* The records are in the pool as they were when they were asked for. */
static void compare(struct sim *sim, const struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    const uint8_t *written = wish->task.memory;
    for (uint32_t i = 0, piece = 0; i < told->n; i++) {
        uint64_t bytes;
        if (told->entries[i].kind == QUIRE_LOG_RECORD) {
            const uint8_t *record = piece_at(sim, &told->pieces[piece++], &bytes);
            uint64_t at = in_bytes(sim, told->entries[i].at_units - told->at_units + header_units_of(told));
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
            sim_after(sim, delay_ns(sim, 0), d->syncs[i]);
        } else {
            d->syncs[kept++] = d->syncs[i];
        }
    }
    d->n_syncs = kept;
}

static void end_write(struct sim *sim, const struct sim_wish *wish, enum quire_status status) {
    uint32_t device = wish->event.disk->device;
    uint64_t order = wish->order;
    if (is_dead(sim, wish)) {
        end_failed(sim, wish);
    } else {
        end(sim, wish, status);
    }
    written(sim, device, order);
}

static void write_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    uint32_t device = wish->event.disk->device;
    compare(sim, wish);
    if (is_dead(sim, wish)) {
        end_write(sim, wish, QUIRE_SYSTEM);
        return;
    }
    enum quire_status status = taken(sim, device, 70);
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
    return quire_log_segment_header_decode(geometry(sim), sim->disk.devices[device].safe + offset, sim_set_id, segment, header) == QUIRE_OK;
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
    stage(sim, wish, wish->bytes, write_run);
}

static enum quire_status sync_end(struct sim *sim, const struct sim_wish *wish) {
    uint32_t device = wish->event.disk->device;
    enum quire_status status = taken(sim, device, 20);
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
    enum quire_status status = is_dead(sim, wish) ? QUIRE_SYSTEM : sync_end(sim, wish);
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
    enum quire_status status = is_dead(sim, wish) ? QUIRE_SYSTEM : taken(sim, device, 70);
    if (status == QUIRE_OK) {
        sim_disk_write_end(sim, device, wish->id);
        wish->id = sim_disk_sync_begin(sim);
        wish->failed_syncs = sim->executor.devices[device].failed_syncs;
        stage(sim, wish, 0, header_synced);
        return;
    }
    if (!is_dead(sim, wish)) {
        sim_disk_write_fail(sim, device, wish->id);
    }
    end_write(sim, wish, status);
}

static void begin_write(struct sim *sim, struct sim_wish *wish) {
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
    uint32_t bytes = geometry(sim)->unit_bytes;
    encode_header(sim, told, unit);
    sim->executor.withheld_bytes += in_bytes(sim, told->size_units);
    wish->id = sim_disk_write_begin(sim, told->device, sim_disk_locate(sim, told->segment, 0, &device), unit, bytes);
    stage(sim, wish, bytes, header_written);
}

/* ---- SYNC, SEAL ----------------------------------------------------------------------------------------------------------- */
static void sync_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    if (is_dead(sim, wish)) {
        end_failed(sim, wish);
        return;
    }
    end(sim, wish, sync_end(sim, wish));
}

static void begin_sync(struct sim *sim, struct sim_wish *wish) {
    struct sim_executor_device *d = &sim->executor.devices[wish->event.disk->device];
    if (d->n_writing > 0) {
        d->syncs[d->n_syncs++] = next_stage(sim, wish, sync_run);
        return;
    }
    wish->id = sim_disk_sync_begin(sim);
    stage(sim, wish, 0, sync_run);
}

static void footer_written(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    if (is_dead(sim, wish)) {
        end_failed(sim, wish);
        return;
    }
    enum quire_status status = taken(sim, wish->event.disk->device, 70);
    if (status != QUIRE_OK) {
        sim_disk_write_fail(sim, wish->event.disk->device, wish->id);
        sim->executor.devices[wish->event.disk->device].unsure = true;
        end(sim, wish, status);
        return;
    }
    sim_disk_write_end(sim, wish->event.disk->device, wish->id);
    wish->id = sim_disk_sync_begin(sim);
    stage(sim, wish, 0, sync_run);
}

static void write_header(struct sim *sim, const struct pager_disk_wish *told) {
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, told->segment, 0, &device);
    uint8_t *unit = calloc(1, geometry(sim)->unit_bytes);
    SIM_REQUIRE(sim, unit != NULL);
    encode_header(sim, told, unit);
    sim_disk_write_end(sim, device, sim_disk_write_begin(sim, device, offset, unit, geometry(sim)->unit_bytes));
    free(unit);
}

static void data_synced(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    const struct pager_disk_wish *told = wish->event.disk;
    uint32_t device, units = (uint32_t)(wish->bytes / geometry(sim)->unit_bytes);
    if (is_dead(sim, wish)) {
        end_failed(sim, wish);
        return;
    }
    enum quire_status status = sync_end(sim, wish);
    if (status != QUIRE_OK) {
        end(sim, wish, status);
        return;
    }
    if (told->first) {
        write_header(sim, told);
    }
    sim->executor.withheld_bytes -= asked_bytes(sim, &wish->event);
    uint64_t offset = sim_disk_locate(sim, told->segment, geometry(sim)->segment_units - units, &device);
    wish->id = sim_disk_write_begin(sim, device, offset, wish->task.memory, (uint32_t)wish->bytes);
    stage(sim, wish, wish->bytes, footer_written);
}

static void begin_seal(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    uint32_t units = quire_log_footer_units(geometry(sim), told->n) + 1;
    struct quire_log_trailer trailer = {
        .epoch = told->epoch, .segment = told->segment, .n_entries = told->n, .used_units = told->used_units};
    SIM_REQUIRE(sim, units <= geometry(sim)->segment_units - told->used_units);
    sim->executor.withheld_bytes += asked_bytes(sim, &wish->event);
    memcpy(trailer.set_id, sim_set_id, sizeof(trailer.set_id));
    wish->bytes = in_bytes(sim, units);
    wish->task.memory = calloc(1, wish->bytes);
    quire_log_footer_encode(geometry(sim), &trailer, told->entries, wish->task.memory);
    wish->id = sim_disk_sync_begin(sim);
    stage(sim, wish, 0, data_synced);
}

/* ---- READ ----------------------------------------------------------------------------------------------------------------- */
static bool read_span(struct sim *sim, const struct pager_disk_wish *told, uint64_t from_units, uint64_t to_units, bool really) {
    uint64_t all;
    uint32_t device;
    uint8_t *to = piece_at(sim, &told->pieces[0], &all) + in_bytes(sim, from_units);
    to_units = quire_min_u64(to_units, all / geometry(sim)->unit_bytes);
    if (really) {
        uint64_t offset = sim_disk_locate(sim, told->segment, told->at_units, &device) + in_bytes(sim, from_units);
        return sim_disk_read(sim, told->device, offset, to, in_bytes(sim, to_units - from_units));
    }
    memset(to, 0xa5, in_bytes(sim, to_units - from_units));
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
    bool whole = read_span(sim, told, 0, quire_log_units(geometry(sim), shape.payload_offset), really);
    for (uint32_t i = 0; i < told->n_ranges; i++) {
        whole &= read_span(sim, told, told->ranges[i].from_bytes / geometry(sim)->unit_bytes,
                           quire_log_units(geometry(sim), told->ranges[i].to_bytes), really);
    }
    return whole;
}

/* So many, and the device is given up. */
void sim_store_read_failed(struct sim *sim, uint32_t device) {
    if (++sim->executor.devices[device].read_errors > READ_ERRORS) {
        sim_store_lose(sim, device);
    }
}

static enum quire_status read_status(struct sim *sim, const struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    uint64_t bytes;
    bool fails = !sim->calm && sim_roll(sim, 1000) < sim->config.read_error_permille;
    if (fails || !read_spans(sim, wish, true)) {
        sim_store_read_failed(sim, told->device);
        return QUIRE_SYSTEM;
    }
    const struct verify_wanted wanted = {
        .layout = wish->layout,
        .layout_tag = wish->tag,
        .key = &told->key,
        .group = told->group,
        .check = told->check,
        .rect = told->n_ranges > 0 ? &told->rect : NULL,
    };
    return verify_record(piece_at(sim, &told->pieces[0], &bytes), told->pieces[0].size_bytes, &wanted);
}

static void read_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    if (is_dead(sim, wish)) {
        end_failed(sim, wish);
        return;
    }
    enum quire_status status = is_short(sim) ? QUIRE_NO_MEMORY : read_status(sim, wish);
    sim->counts->reads++;
    sim->counts->corrupt += status == QUIRE_CORRUPT;
    /* Without rot nothing is ever found damaged, but after a crash that has lost the header of a segment which was being used again. */
    SIM_REQUIRE(sim, status != QUIRE_CORRUPT || sim->config.rot != SIM_ROT_NONE || sim->life > 1);
    end(sim, wish, status);
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

static void begin_read(struct sim *sim, struct sim_wish *wish) {
    const struct pager_disk_wish *told = wish->event.disk;
    const quire_layout *layout = pager_ns_layout(sim->pager, told->ns);
    const struct sim_space *space = layout ? space_of(sim, told->ns) : NULL;
    uint64_t bytes;
    (void)piece_at(sim, &told->pieces[0], &bytes);
    sim_model_untouched(sim, told->pieces[0].domain, told->pieces[0].offset, bytes);
    if (!space) {
        end(sim, wish, QUIRE_NOT_FOUND);
        return;
    }
    SIM_REQUIRE(sim, told->n_pieces == 1 && told->at_units >= 2 && told->at_units + told->size_units < geometry(sim)->segment_units);
    wish->task.memory = wish->layout = malloc(sizeof(*layout));
    *wish->layout = *layout;
    wish->tag = space->tag;
    read_spans(sim, wish, false);
    stage(sim, wish, bytes, read_run);
}

/* ---- ENTRIES, META -------------------------------------------------------------------------------------------------------- */
static void entries_run(struct sim *sim, struct sim_task *task) {
    struct sim_wish *wish = (struct sim_wish *)task;
    uint32_t n;
    if (is_dead(sim, wish)) {
        end_failed(sim, wish);
        return;
    }
    if (is_short(sim) || (!sim->calm && sim_chance(sim, sim->config.entries_failure_pct))) {
        end(sim, wish, sim_chance(sim, 50) ? QUIRE_SYSTEM : QUIRE_NO_MEMORY);
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
        sim_store_read_failed(sim, wish->event.disk->device);
    }
    end(sim, wish, status);
}

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
    end(sim, wish, QUIRE_TIMEOUT);
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
    if (!sim->calm && sim_chance(sim, sim->config.meta_failure_pct)) {
        if (sim_chance(sim, 30)) {
            meta_hangs(sim, wish);
        } else {
            end(sim, wish, QUIRE_SYSTEM);
        }
        return;
    }
    meta_saved(sim);
    end(sim, wish, QUIRE_OK);
}

static void begin_meta(struct sim *sim, struct sim_wish *wish) {
    struct sim_executor *executor = &sim->executor;
    SIM_REQUIRE(sim, !executor->meta_flying);
    if (executor->meta_hangs) {
        end(sim, wish, QUIRE_SYSTEM);
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
    pager_disk_wrote(sim->pager, sim->now_ns, sim->disk.meta_maybe_bytes);
    stage(sim, wish, sim->disk.meta_maybe_bytes, meta_run);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */
void sim_store_begin(struct sim *sim, const struct pager_event *event) {
    struct sim_wish wish = {.event = *event, .order = ++sim->executor.order};
    const struct pager_disk_wish *told = event->disk;
    SIM_REQUIRE(sim, told != NULL && ++sim->executor.in_flight <= PAGER_DISK_MAX_IN_FLIGHT);
    sim_say(sim, "wish %d: ticket %llx, segment %u, epoch %llu, at %u, n %u", event->type, (unsigned long long)event->ticket, told->segment,
            (unsigned long long)told->epoch, told->at_units, told->n);
    if (event->type != PAGER_DISK_META && sim->executor.devices[told->device].told_lost) {
        sim->executor.withheld_bytes += asked_bytes(sim, event);
        end(sim, &wish, QUIRE_SYSTEM);
        return;
    }
    switch (event->type) {
    case PAGER_DISK_WRITE:
        begin_write(sim, &wish);
        break;
    case PAGER_DISK_READ:
        begin_read(sim, &wish);
        break;
    case PAGER_DISK_SEAL:
        begin_seal(sim, &wish);
        break;
    case PAGER_DISK_SYNC:
        begin_sync(sim, &wish);
        break;
    case PAGER_DISK_META:
        begin_meta(sim, &wish);
        break;
    default:
        stage(sim, &wish, in_bytes(sim, 2), entries_run);
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
