#include "tests/sim/sim.h"
#include "tests/sim/sim_walk.h"

#include <stdlib.h>

static uint64_t segment_bytes(const struct sim *sim) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    return (uint64_t)g->unit_bytes * g->segment_units;
}

void sim_disk_format(struct sim *sim, uint32_t device) {
    struct sim_device *d = &sim->disk.devices[device];
    memset(d->now, 0, d->size);
    memset(d->safe, 0, d->size);
    d->n_bad = 0;
    memset(d->file_id, 0, sizeof(d->file_id));
    d->file_id[0] = (uint8_t)(device + 1);
    uint32_t id = ++sim->disk.file_ids;
    memcpy(d->file_id + 1, &id, sizeof(id));
}

void sim_disk_create(struct sim *sim) {
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        struct sim_device *d = &sim->disk.devices[i];
        d->size = segment_bytes(sim) * sim->config.shape.segments[i];
        d->now = malloc(d->size);
        d->safe = malloc(d->size);
        SIM_REQUIRE(sim, d->now && d->safe);
        sim_disk_format(sim, i);
    }
}

static void forget_writes(struct sim_device *d) {
    for (uint32_t i = 0; i < d->n; i++) {
        free(d->writes[i].bytes);
    }
    d->n = 0;
}

void sim_disk_destroy(struct sim_disk *disk) {
    for (uint32_t i = 0; i < SIM_MAX_DEVICES; i++) {
        struct sim_device *d = &disk->devices[i];
        forget_writes(d);
        free(d->writes);
        free(d->now);
        free(d->safe);
    }
    free(disk->meta);
    free(disk->meta_maybe);
    *disk = (struct sim_disk){0};
}

uint64_t sim_disk_locate(const struct sim *sim, uint32_t segment, uint32_t at_units, uint32_t *device) {
    for (*device = 0; segment >= sim->config.shape.segments[*device]; ++*device) {
        segment -= sim->config.shape.segments[*device];
    }
    return segment * segment_bytes(sim) + (uint64_t)at_units * sim->config.shape.geometry.unit_bytes;
}

uint64_t sim_disk_write_begin(struct sim *sim, uint32_t device, uint64_t offset, const uint8_t *bytes, uint32_t size) {
    struct sim_device *d = &sim->disk.devices[device];
    SIM_REQUIRE(sim, offset % SIM_SECTOR == 0 && size % SIM_SECTOR == 0 && size > 0 && quire_in_range(offset, size, d->size));
    if (d->n == d->capacity) {
        d->capacity = d->capacity ? 2 * d->capacity : 64;
        d->writes = realloc(d->writes, d->capacity * sizeof(*d->writes));
        SIM_REQUIRE(sim, d->writes != NULL);
    }
    struct sim_write *write = &d->writes[d->n++];
    *write = (struct sim_write){.id = ++sim->disk.order, .offset = offset, .size = size, .bytes = malloc(size)};
    SIM_REQUIRE(sim, write->bytes != NULL);
    memcpy(write->bytes, bytes, size);
    sim->executor.written_bytes += size;
    return write->id;
}

/* A sector that is written is another one from then on. */
static void heal(struct sim_device *d, uint64_t offset, uint64_t size) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n_bad; i++) {
        if (d->bad[i] < offset || d->bad[i] >= offset + size) {
            d->bad[kept++] = d->bad[i];
        }
    }
    d->n_bad = kept;
}

void sim_disk_write_end(struct sim *sim, uint32_t device, uint64_t id) {
    struct sim_device *d = &sim->disk.devices[device];
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->writes[i].id == id) {
            d->writes[i].ended = ++sim->disk.order;
            memcpy(d->now + d->writes[i].offset, d->writes[i].bytes, d->writes[i].size);
            heal(d, d->writes[i].offset, d->writes[i].size);
            return;
        }
    }
    SIM_REQUIRE(sim, !"a write that was begun");
}

void sim_disk_write_fail(struct sim *sim, uint32_t device, uint64_t id) {
    struct sim_device *d = &sim->disk.devices[device];
    uint32_t at = 0;
    while (at < d->n && d->writes[at].id != id) {
        at++;
    }
    SIM_REQUIRE(sim, at < d->n);
    d->writes[at].size = sim_chance(sim, 50) ? 0 : sim_roll(sim, d->writes[at].size / SIM_SECTOR + 1) * SIM_SECTOR;
    if (d->writes[at].size > 0) {
        sim_disk_write_end(sim, device, id);
        return;
    }
    free(d->writes[at].bytes);
    memmove(&d->writes[at], &d->writes[at + 1], (--d->n - at) * sizeof(*d->writes));
}

uint64_t sim_disk_sync_begin(struct sim *sim) { return ++sim->disk.order; }

void sim_disk_sync_end(struct sim *sim, uint32_t device, uint64_t stamp) {
    struct sim_device *d = &sim->disk.devices[device];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->writes[i].ended != 0 && d->writes[i].ended < stamp) {
            memcpy(d->safe + d->writes[i].offset, d->writes[i].bytes, d->writes[i].size);
            free(d->writes[i].bytes);
        } else {
            d->writes[kept++] = d->writes[i];
        }
    }
    d->n = kept;
}

void sim_disk_sync_fail(struct sim *sim, uint32_t device, uint64_t stamp) {
    struct sim_device *d = &sim->disk.devices[device];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->writes[i].ended != 0 && d->writes[i].ended < stamp && sim_chance(sim, 50)) {
            free(d->writes[i].bytes);
        } else {
            d->writes[kept++] = d->writes[i];
        }
    }
    d->n = kept;
}

bool sim_disk_read(const struct sim *sim, uint32_t device, uint64_t offset, uint8_t *to, uint64_t size) {
    const struct sim_device *d = &sim->disk.devices[device];
    assert(quire_in_range(offset, size, d->size));
    for (uint32_t i = 0; i < d->n_bad; i++) {
        if (d->bad[i] >= offset && d->bad[i] < offset + size) {
            memset(to, 0xbd, size);
            return false;
        }
    }
    memcpy(to, d->now + offset, size);
    return true;
}

/* `keep`: of a hundred writes so many survive whole, half of the others in pieces: here and there a sector, or the first few alone. */
static void crash_device(struct sim *sim, struct sim_device *d, uint32_t keep) {
    uint32_t lost = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct sim_write *write = &d->writes[i];
        bool whole = sim_chance(sim, keep), torn = !whole && keep > 0 && sim_chance(sim, 50);
        *(whole ? &sim->counts->kept : torn ? &sim->counts->torn : &sim->counts->lost) += 1;
        sim->counts->overtaken += whole ? lost : 0;
        lost = whole ? 0 : lost + 1;
        uint32_t front = torn && sim_chance(sim, 30) ? sim_between(sim, 1, 4) * SIM_SECTOR : 0;
        for (uint32_t at = 0; (whole || torn) && at < write->size; at += SIM_SECTOR) {
            if (whole || (front > 0 ? at < front : sim_chance(sim, 60))) {
                memcpy(d->safe + write->offset + at, write->bytes + at, SIM_SECTOR);
            }
        }
    }
    memcpy(d->now, d->safe, d->size);
    forget_writes(d);
}

void sim_disk_crash(struct sim *sim) {
    static const uint32_t keeps[] = {0, 30, 60, 90, 100};
    struct sim_disk *disk = &sim->disk;
    uint32_t keep = keeps[sim_roll(sim, QUIRE_ARRAY_LEN(keeps))];
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        crash_device(sim, &disk->devices[i], keep);
    }
    if (disk->meta_maybe && sim_chance(sim, 50)) {
        free(disk->meta);
        disk->meta = disk->meta_maybe;
        disk->meta_bytes = disk->meta_maybe_bytes;
        disk->meta_maybe = NULL;
    }
    free(disk->meta_maybe);
    disk->meta_maybe = NULL;
}

/* The next unit that begins so: a record, never what the log says of it; or a batch's head. */
static bool find_magic(const struct sim *sim, const struct sim_device *d, uint32_t wanted, uint64_t *unit) {
    uint32_t unit_bytes = sim->config.shape.geometry.unit_bytes;
    uint64_t units = d->size / unit_bytes;
    for (uint64_t i = 0; i < units; i++) {
        uint32_t magic;
        *unit = (*unit + 1) % units;
        memcpy(&magic, d->now + *unit * unit_bytes, sizeof(magic));
        if (magic == wanted) {
            return true;
        }
    }
    return false;
}

static void rot_byte(struct sim *sim, struct sim_device *d, uint64_t at) {
    uint8_t flip = (uint8_t)(1u << sim_roll(sim, 8));
    d->now[at] ^= flip;
    d->safe[at] ^= flip;
}

/* An entry becomes another one that could be right. */
static void rot_entry(struct sim *sim, struct quire_log_entry *entries, uint32_t n) {
    struct quire_log_entry *one = &entries[sim_roll(sim, n)], *other = &entries[sim_roll(sim, n)];
    if (sim_chance(sim, 50)) {
        one->sequence += sim_chance(sim, 50) ? sim_between(sim, 1, 1000) : 0ull - sim_between(sim, 1, 1000);
    } else {
        quire_key key = one->key;
        one->key = other->key;
        other->key = key;
    }
}

/* A footer that a crash would leave as it is, or its trailer; the segment's heads tell what it was. */
static bool rot_footer(struct sim *sim, uint32_t device, uint32_t number) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    struct sim_device *d = &sim->disk.devices[device];
    struct quire_log_trailer trailer;
    uint64_t end = (number + 1) * segment_bytes(sim);
    for (uint32_t i = 0; i < device; i++) {
        number += sim->config.shape.segments[i];
    }
    if (quire_log_trailer_decode(g, d->now + end - g->unit_bytes, sim_set_id, number, &trailer) != QUIRE_OK) {
        return false;
    }
    uint64_t bytes = (uint64_t)(g->segment_units - trailer.footer_units) * g->unit_bytes;
    if (memcmp(d->now + end - bytes, d->safe + end - bytes, bytes) != 0) {
        return false;
    }
    if (trailer.n_entries == 0 || sim_chance(sim, 30)) {
        rot_byte(sim, d, end - g->unit_bytes + sim_roll(sim, sizeof(trailer)));
    } else {
        rot_entry(sim, (void *)(d->now + end - bytes), trailer.n_entries);
        memcpy(d->safe + end - bytes, d->now + end - bytes, bytes);
    }
    return true;
}

static void rot_head(struct sim *sim, struct sim_device *d, uint64_t at) {
    struct quire_log_batch batch;
    uint64_t entries = at + sizeof(batch);
    memcpy(&batch, d->now + at, sizeof(batch));
    uint64_t bytes = batch.n_entries * sizeof(struct quire_log_entry);
    if (batch.n_entries > 0 && quire_in_range(entries, bytes, d->size) && memcmp(d->now + at, d->safe + at, sizeof(batch) + bytes) == 0) {
        rot_entry(sim, (void *)(d->now + entries), batch.n_entries);
        memcpy(d->safe + entries, d->now + entries, bytes);
    }
}

void sim_disk_rot(struct sim *sim) {
    uint32_t device = sim_roll(sim, sim->config.shape.n_devices), unit_bytes = sim->config.shape.geometry.unit_bytes;
    struct sim_device *d = &sim->disk.devices[device];
    uint64_t unit = dice_below(&sim->dice, d->size / unit_bytes);
    bool rotten = true;
    if (sim->config.rot == SIM_ROT_FOOTERS) {
        rotten = rot_footer(sim, device, (uint32_t)(unit / sim->config.shape.geometry.segment_units));
    } else if (sim->config.rot == SIM_ROT_ANYWHERE && sim_chance(sim, 50) && find_magic(sim, d, QUIRE_LOG_MAGIC_BATCH, &unit)) {
        rot_head(sim, d, unit * unit_bytes);
    } else if (sim->config.rot == SIM_ROT_ANYWHERE || find_magic(sim, d, QUIRE_RECORD_MAGIC, &unit)) {
        rot_byte(sim, d, unit * unit_bytes + sim_roll(sim, unit_bytes));
    } else {
        rotten = false;
    }
    sim->counts->rotten += rotten;
    sim->counts->rotten_footers += rotten && sim->config.rot == SIM_ROT_FOOTERS;
    sim_say(sim, "rot: device %u, %s%llu", device, rotten ? "unit " : "nothing at ", (unsigned long long)unit);
}

void sim_disk_spoil(struct sim *sim) {
    uint32_t device = sim_roll(sim, sim->config.shape.n_devices);
    struct sim_device *d = &sim->disk.devices[device];
    if (d->n_bad < SIM_BAD_SECTORS) {
        uint64_t at = dice_below(&sim->dice, d->size / SIM_SECTOR) * SIM_SECTOR;
        d->bad[d->n_bad++] = at;
        sim->counts->bad_sectors++;
        sim_say(sim, "device %u: the sector at %llu cannot be read", device, (unsigned long long)at);
    }
}
