#include "tests/sim/sim_restart.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_pins.h"
#include "tests/sim/sim_scrub.h"
#include "tests/sim/sim_walk.h"

#include <stdlib.h>

/* A segment whose drive hangs is waited for; once that drive is given up, nothing more of it is told. */
enum reading { UNREAD, READ, PASSED_OVER };

struct row { /* a segment that holds something */
    uint64_t epoch;
    uint32_t segment;
    bool headless; /* of what it holds only deletions count */
    enum reading reading;
};

struct restore { /* memory: the rows */
    struct sim_task task;
    struct row *rows;
    uint32_t n_rows, row, ahead;
    uint32_t left; /* entries of the present row that are not told yet: the first so many */
    bool begun;
    bool from_snapshot;
    uint32_t told; /* of it */
};

/* ---- the set -------------------------------------------------------------------------------------------------------------- */
/* Members are those in the metadata; one that is missing is no member any more, one that is none is made anew. True: anything changed. */
static void join_files(struct sim *sim, uint8_t files[][16], bool *fresh, bool *out) {
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        struct sim_device *d = &sim->disk.devices[i];
        out[i] = d->dead;
        fresh[i] = !d->dead && memcmp(files[i], d->file_id, 16) != 0;
        if (fresh[i]) {
            sim_disk_format(sim, i);
        }
        memset(files[i], 0, 16);
        if (!out[i]) {
            memcpy(files[i], d->file_id, 16);
        }
    }
}

/* The metadata with other members. */
static void save_members(struct sim *sim, const struct quire_meta_head *old, const uint8_t (*files)[16]) {
    struct sim_disk *disk = &sim->disk;
    struct quire_meta_item *items = calloc(old->n_namespaces + 2u, sizeof(*items));
    struct quire_meta_pin *pins = calloc(old->n_pins + 2u, sizeof(*pins));
    size_t at = 0, size = 0;
    uint32_t n = 0;
    for (struct quire_meta_item item; disk->meta && quire_meta_next(disk->meta, &at, &item);) {
        items[n++] = item;
    }
    SIM_REQUIRE(sim, n == old->n_namespaces);
    for (uint32_t i = 0; i < old->n_pins; i++) {
        quire_meta_pin_at(disk->meta, i, &pins[i]);
    }
    struct quire_meta_head head = *old;
    if (!disk->meta) { /* the first of all */
        sim_pins_foreign(sim, &items[head.n_namespaces++], &pins[head.n_pins++]);
        head.next_serial = 1;
    }
    head.n_files = sim->config.shape.n_devices;
    head.generation = sim->life;
    memcpy(head.set_id, sim_set_id, sizeof(head.set_id));
    SIM_REQUIRE(sim, quire_meta_encode(&head, items, pins, files, NULL, 0, &size) == QUIRE_TOO_LARGE);
    uint8_t *bytes = malloc(size);
    SIM_REQUIRE(sim, quire_meta_encode(&head, items, pins, files, bytes, size, &size) == QUIRE_OK);
    free(items);
    free(pins);
    free(disk->meta);
    disk->meta = bytes;
    disk->meta_bytes = size;
}

/* ---- the pager ------------------------------------------------------------------------------------------------------------ */
static void make_pager(struct sim *sim) {
    static const char *const names[] = {"one", "two"};
    uint32_t domain;
    SIM_REQUIRE(sim, pager_create(&sim->config.pager, dice_next(&sim->dice), sim->life, &sim->pager) == QUIRE_OK);
    for (uint32_t i = 0; i < sim->config.n_domains; i++) {
        for (uint64_t at = 0; at < sim->config.pool_bytes; at += 4096) { /* nothing of the last life is found */
            memset(sim->domains[i].pool + at, 0x5a, 64);
        }
        SIM_REQUIRE(sim, pager_domain_add(sim->pager, names[i], sim->config.pool_bytes, sim->domains[i].generations, sim->config.n_slots,
                                          &domain) == QUIRE_OK);
    }
}

static void restore_meta(struct sim *sim, const struct quire_meta_head *head) {
    struct quire_meta_item item;
    size_t at = 0;
    pager_restore_serial(sim->pager, head->next_serial);
    while (sim->disk.meta && quire_meta_next(sim->disk.meta, &at, &item)) {
        if (sim_pins_is_foreign(&item)) {
            SIM_REQUIRE(sim, pager_restore_keep(sim->pager, &item) == QUIRE_OK);
            continue;
        }
        uint32_t domain = item.domain_bytes == 3 && memcmp(item.domain, "two", 3) == 0;
        SIM_REQUIRE(sim, pager_restore_ns(sim->pager, &item, domain, head->next_serial) == QUIRE_OK);
    }
    for (uint32_t i = 0; i < head->n_pins; i++) {
        struct quire_meta_pin pin;
        quire_meta_pin_at(sim->disk.meta, i, &pin);
        enum quire_status status = pager_restore_pin(sim->pager, &pin);
        SIM_REQUIRE(sim, status == QUIRE_OK || status == QUIRE_NOT_FOUND);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */
#define READ_TRIES 3u

/* A read that failed for no lasting reason is tried again; one that fails too often, or for good, takes the device out of use. */
static bool chance_fails(struct sim *sim) {
    uint32_t tries = 0;
    while (tries < READ_TRIES && !sim->calm && sim_roll(sim, 1000) < sim->config.restart_error_permille) {
        tries++;
    }
    return tries == READ_TRIES;
}

static void unreadable(struct sim *sim, uint32_t device) {
    if (!sim->executor.devices[device].told_lost) {
        sim_say(sim, "device %u cannot be read", device);
        sim->counts->unreadable++;
        sim_faults_lose(sim, device);
    }
}

static bool read_unit(struct sim *sim, uint32_t device, uint64_t offset, uint8_t *to) {
    bool whole = sim_disk_read(sim, device, offset, to, sim->config.shape.geometry.unit_bytes) && !chance_fails(sim);
    if (!whole) {
        unreadable(sim, device);
    }
    return whole;
}

/* ---- segments ------------------------------------------------------------------------------------------------------------- */
static struct row judge(struct sim *sim, uint32_t segment, uint64_t *tail_epoch, uint32_t *used_units, uint32_t *n_entries) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    struct quire_log_segment_header header;
    struct quire_log_trailer trailer;
    struct row row = {.segment = segment};
    uint8_t *unit = malloc(g->unit_bytes);
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, segment, 0, &device);
    *used_units = *n_entries = 0;
    bool begins =
        read_unit(sim, device, offset, unit) && quire_log_segment_header_decode(g, unit, sim_set_id, segment, &header) == QUIRE_OK;
    bool ends = read_unit(sim, device, offset + (uint64_t)(g->segment_units - 1) * g->unit_bytes, unit) &&
                quire_log_trailer_decode(g, unit, sim_set_id, segment, &trailer) == QUIRE_OK;
    uint64_t epoch = begins ? header.epoch : read_unit(sim, device, offset + g->unit_bytes, unit) ? quire_log_first_epoch(g, unit) : 0;
    free(unit);
    row.headless = !begins;
    if (begins || epoch > (ends ? trailer.epoch : 0)) {
        row.epoch = epoch;
        *used_units = g->segment_units;
        *tail_epoch = quire_max_u64(*tail_epoch, begins ? header.tail_epoch : ends ? trailer.epoch + 1 : 0);
        ends = ends && trailer.epoch == epoch;
    }
    if (ends) {
        row.epoch = trailer.epoch;
        *used_units = trailer.used_units;
        *n_entries = trailer.n_entries;
    }
    return row;
}

static int by_epoch(const void *a, const void *b) {
    uint64_t x = ((const struct row *)a)->epoch, y = ((const struct row *)b)->epoch;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void find_segments(struct sim *sim, const bool *fresh, const bool *out, struct restore *restore) {
    uint32_t n = 0, device, *facts;
    uint64_t tail_epoch = 0;
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        n += sim->config.shape.segments[i];
    }
    struct row *rows = calloc(n, sizeof(*rows));
    facts = calloc(2ull * n, sizeof(*facts));
    for (uint32_t i = 0; i < n; i++) {
        (void)sim_disk_locate(sim, i, 0, &device);
        rows[i].segment = i;
        if (!out[device] && !fresh[device]) {
            rows[i] = judge(sim, i, &tail_epoch, &facts[2 * i], &facts[2 * i + 1]);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        (void)sim_disk_locate(sim, i, 0, &device);
        if (out[device]) {
            continue;
        }
        bool clean = rows[i].epoch == 0 || rows[i].epoch < tail_epoch;
        if (!sim->executor.devices[device].told_lost) {
            pager_restore_segment(sim->pager, i, clean ? PAGER_SEGMENT_CLEAN : PAGER_SEGMENT_SEALED, rows[i].epoch,
                                  clean ? 0 : facts[2 * i], clean ? 0 : facts[2 * i + 1]);
        }
        if (!clean) {
            sim_say(sim, "segment %u holds something of epoch %llu%s", i, (unsigned long long)rows[i].epoch,
                    rows[i].headless ? ", headless" : "");
            rows[restore->n_rows++] = rows[i];
        }
    }
    free(facts);
    qsort(rows, restore->n_rows, sizeof(*rows), by_epoch);
    restore->rows = restore->task.memory = rows;
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */
static void restore_run(struct sim *sim, struct sim_task *task);

static void go_on(struct sim *sim, struct restore *restore) {
    struct restore *next = sim_task_new(sim, sizeof(*next), true, restore_run);
    struct sim_task own = next->task;
    *next = *restore;
    next->task = own;
    next->task.memory = restore->task.memory;
    restore->task.memory = NULL;
    sim_after(sim, sim_between(sim, 1000, 3000000), next);
}

/* Records are told as not to be used: a size of 0. */
static void tombstones_only(struct quire_log_entry *entries, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        entries[i].size_bytes = 0;
    }
}

static void read_ahead(struct sim *sim, struct restore *restore) {
    for (uint32_t i = restore->row; i < restore->n_rows && i < restore->row + restore->ahead; i++) {
        uint32_t device;
        (void)sim_disk_locate(sim, restore->rows[i].segment, 0, &device);
        if (restore->rows[i].reading == UNREAD && sim->executor.devices[device].given_up) {
            restore->rows[i].reading = PASSED_OVER;
            sim->counts->passed_over++;
        } else if (restore->rows[i].reading == UNREAD && !sim_faults_hanging(sim, device)) {
            restore->rows[i].reading = READ;
        }
    }
}

/* The present row's entries. What is found out about its drive when some of them are told does not count for the others. */
static struct quire_log_entry *row_entries(struct sim *sim, struct restore *restore, uint32_t *n) {
    struct row *row = &restore->rows[restore->row];
    uint32_t device;
    enum sim_unread unread;
    struct quire_log_entry *entries = sim_walk(sim, row->segment, row->epoch, true, n, &unread);
    (void)sim_disk_locate(sim, row->segment, 0, &device);
    if (!restore->begun) {
        if (unread != SIM_READ_ALL || chance_fails(sim)) {
            unreadable(sim, device);
        }
        row->headless |= sim->executor.devices[device].told_lost;
        restore->left = *n;
        restore->begun = true;
    }
    if (row->headless) {
        tombstones_only(entries, *n);
    }
    restore->left = (uint32_t)quire_min_u64(restore->left, *n);
    return entries;
}

/* A segment's entries are told in pieces, one a turn; it is read anew for each: nobody writes to it meanwhile. */
static void restore_run(struct sim *sim, struct sim_task *task) {
    struct restore *restore = (struct restore *)task;
    bool doubt = false;
    if (restore->from_snapshot && sim_snapshot_tell(sim, &restore->told, &doubt)) {
        go_on(sim, restore);
        return;
    }
    if ((restore->from_snapshot && !doubt) || restore->row == restore->n_rows) {
        sim->restored = !pager_restore_end(sim->pager, sim->now_ns);
        sim_say(sim, sim->restored ? "restored" : "all is told");
        if (sim->restored) {
            sim_check_found(sim);
            sim_scrub_begin(sim);
        } else {
            restore->from_snapshot = false;
            restore->row = restore->n_rows;
            go_on(sim, restore);
        }
        return;
    }
    restore->from_snapshot = false;
    read_ahead(sim, restore);
    const struct row *row = &restore->rows[restore->row];
    if (row->reading == UNREAD) {
        sim->counts->waited++;
        go_on(sim, restore);
        return;
    }
    uint32_t n = 0;
    struct quire_log_entry *entries = row->reading == READ ? row_entries(sim, restore, &n) : NULL;
    uint32_t step = (uint32_t)quire_min_u64(restore->left, sim_between(sim, 1, 40));
    restore->left -= step;
    if (step > 0) {
        for (uint32_t i = restore->left; i < restore->left + step; i++) {
            sim_say(sim, "entry: kind %u, ns %u, key %02x%02x%02x, group %u, sequence %llx, segment %u", entries[i].kind, entries[i].ns,
                    entries[i].key.b[0], entries[i].key.b[1], entries[i].key.b[2], entries[i].group,
                    (unsigned long long)entries[i].sequence, row->segment);
        }
        pager_restore_entries(sim->pager, sim->now_ns, row->segment, entries + restore->left, step);
    }
    free(entries);
    if (restore->left == 0) {
        restore->row++;
        restore->begun = false;
    }
    go_on(sim, restore);
}

void sim_restart(struct sim *sim) {
    struct quire_meta_head head = {0};
    uint8_t files[QUIRE_LOG_MAX_FILES][16] = {{0}};
    bool fresh[SIM_MAX_DEVICES] = {false}, out[SIM_MAX_DEVICES] = {false};
    if (sim->disk.meta) {
        SIM_REQUIRE(sim, quire_meta_open(sim->disk.meta, sim->disk.meta_bytes, sim_set_id, &head) == QUIRE_OK);
        for (uint32_t i = 0; i < head.n_files; i++) {
            quire_meta_file_at(sim->disk.meta, i, files[i]);
        }
    }
    sim->life++;
    sim_say(sim, "life %llu begins", (unsigned long long)sim->life);
    join_files(sim, files, fresh, out);
    save_members(sim, &head, (const uint8_t(*)[16])files);
    head = *quire_meta_head_of(sim->disk.meta);
    make_pager(sim);
    uint64_t first = quire_max_u64(sim->life << 40, head.sequence);
    SIM_REQUIRE(sim, pager_disk_create(sim->pager, &sim->config.shape, &sim->config.disk, first) == QUIRE_OK);
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        if (out[i]) {
            sim->executor.devices[i].told_lost = true;
            pager_disk_device_lost(sim->pager, sim->now_ns, i);
        }
    }
    restore_meta(sim, &head);
    sim_pins_found(sim, &head);
    struct restore *restore = sim_task_new(sim, sizeof(*restore), true, restore_run);
    restore->ahead = sim_between(sim, 1, 8);
    uint32_t hanging;
    bool left_out = sim_faults_at_start(sim, &hanging) && !fresh[hanging] && !out[hanging];
    if (left_out) {
        out[hanging] = true;
        sim->counts->left_out++;
    }
    find_segments(sim, fresh, out, restore);
    if (left_out) {
        sim->executor.devices[hanging].given_up = true;
        sim_faults_lose(sim, hanging);
    }
    restore->from_snapshot = sim->snapshot.whole;
    sim->snapshot.whole = false; /* for this start alone */
    if (restore->from_snapshot) {
        sim_snapshot_open(sim);
    }
    sim_after(sim, sim_between(sim, 1000, 20000000), restore);
}
