#include "daemon/disk/restart.h"

#include "daemon/disk/walk.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "pager/disk.h"
#include "proto/base/units.h"

#include <stdlib.h>

static_assert(SNAPSHOT_AHEAD <= RESTART_AHEAD, "jobs of one of the two run at a time");

/* What was found at a segment's ends. */
struct restart_row {
    uint64_t epoch; /* 0: clean, and was always */
    uint32_t segment, footer_at, used_units, n_entries;
    bool headless; /* only its trailer vouches for it, or its first head: deletions count, records do not */
};

enum restart_part { RESTART_HEADER, RESTART_TRAILER, RESTART_HEAD /* the first: only where there is no header */, RESTART_PARTS };

struct restart_probe { /* of one segment's ends */
    struct restart *restart;
    uint32_t device; /* its segments, one after the other */
    uint32_t segment, n_running;
    bool headless;
    struct restart_unit {
        bool read;
        bool put_off;   /* to be read again when its device has rested */
        uint32_t tries; /* that failed */
        uint8_t *memory;
        struct disk_op op;
        struct iovec iov;
    } units[RESTART_PARTS];
};

struct restart_ahead { /* a segment whose entries are read */
    struct restart *restart;
    struct walk walk;
    uint32_t row, tries;
    bool running, done, sifted;
    bool put_off;     /* running, but one of its reads is to be done again when its device has rested */
    bool left_behind; /* its device hangs: another one has its place */
    uint32_t left;    /* entries not told yet: the first so many */
    struct restart_ahead *next;
};

struct restart_rest {  /* of a device whose reads fail in a way that passes */
    uint64_t pause_ns; /* the last one; 0: a read went well since, and none waits */
    uint64_t until_ns;
    uint64_t since_ns, tell_ns; /* the first one; when it is told (again) */
    uint32_t n_put_off;         /* probes' reads, and walks */
};

struct restart {
    struct disk_env *env;
    struct restart_hooks hooks;
    struct restart_progress progress;
    struct restart_row *rows; /* of each segment; later, those to be read, by epoch */
    uint32_t n_probing;
    uint32_t next_number[QUIRE_LOG_MAX_FILES]; /* of each device: the next segment to be probed */
    uint64_t tail_epoch;
    bool lost[QUIRE_LOG_MAX_FILES], hangs[QUIRE_LOG_MAX_FILES];
    struct restart_rest rests[QUIRE_LOG_MAX_FILES];
    bool blind;  /* deletions may be missing */
    bool ending; /* all is told */
    uint32_t n_rows, next_row, told_row;
    struct restart_probe probes[RESTART_DEPTH];
    struct restart_ahead *ahead[RESTART_AHEAD]; /* row r in place r % RESTART_AHEAD */
    struct restart_ahead *left_behind;
    uint8_t *memory;
    struct snapshot *snapshot; /* as long as it is not doubted */
    uint64_t snapshot_told;    /* of its entries */
    uint64_t begun_ns;
};

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

enum quire_status restart_create(struct disk_env *env, const struct restart_hooks *hooks, struct restart **out) {
    struct restart *restart = calloc(1, sizeof *restart);
    if (restart == NULL) {
        return QUIRE_NO_MEMORY;
    }
    restart->env = env;
    restart->hooks = *hooks;
    restart->progress.segments = disk_set_segments(&env->set);
    restart->rows = calloc(restart->progress.segments + 1, sizeof *restart->rows);
    restart->memory = disk_memory(&env->set, RESTART_PARTS * RESTART_DEPTH);
    bool all = restart->rows != NULL && restart->memory != NULL;
    for (uint32_t i = 0; i < RESTART_AHEAD; i++) {
        restart->ahead[i] = calloc(1, sizeof *restart->ahead[i]);
        all = all && restart->ahead[i] != NULL;
    }
    if (!all) {
        restart_destroy(&restart);
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < RESTART_DEPTH; i++) {
        restart->probes[i].restart = restart;
        for (uint32_t part = 0; part < RESTART_PARTS; part++) {
            restart->probes[i].units[part].memory = restart->memory + disk_set_bytes(&env->set, RESTART_PARTS * i + part);
        }
    }
    *out = restart;
    return QUIRE_OK;
}

static void restart_ahead_free(struct restart_ahead *ahead) {
    if (ahead == NULL) {
        return;
    }
    walk_free(&ahead->walk);
    free(ahead);
}

void restart_destroy(struct restart **out) {
    struct restart *restart = *out;
    if (restart == NULL) {
        return;
    }
    for (uint32_t i = 0; i < RESTART_AHEAD; i++) {
        restart_ahead_free(restart->ahead[i]);
    }
    while (restart->left_behind != NULL) {
        struct restart_ahead *ahead = restart->left_behind;
        restart->left_behind = ahead->next;
        restart_ahead_free(ahead);
    }
    snapshot_destroy(&restart->snapshot);
    free(restart->memory);
    free(restart->rows);
    free(restart);
    *out = NULL;
}

const struct restart_progress *restart_progress(const struct restart *restart) { return &restart->progress; }

void restart_device_lost(struct restart *restart, uint32_t device) { restart->lost[device] = true; }

static uint32_t restart_device(const struct restart *restart, uint32_t segment) {
    uint32_t device;
    disk_locate(&restart->env->set, segment, 0, &device);
    return device;
}

static void restart_read_failed(struct restart *restart, uint32_t segment, int error, uint64_t now_ns) {
    restart->progress.unreadable++;
    restart->hooks.read_failed(restart->hooks.ctx, restart_device(restart, segment), error, now_ns);
}

/* ---- reads that are put off ----------------------------------------------------------------------------------------------- */

static void restart_tell_rest(struct restart_rest *rest, uint32_t device, int error, uint64_t now_ns) {
    uint64_t waited_ns = now_ns - rest->since_ns;
    char lasted[64] = "";
    if (now_ns < rest->tell_ns) {
        return;
    }
    rest->tell_ns = now_ns + quire_min_u64(quire_max_u64(2 * waited_ns, RESTART_TELL_NS), RESTART_TELL_MAX_NS);
    if (waited_ns > 0) {
        snprintf(lasted, sizeof lasted, " and for %.1f s", (double)waited_ns / QUIRE_NS_PER_S);
    }
    log_warn("disk_restore_waits",
             "file %u of the disk tier cannot be read now%s: %s; it is tried again until it can, nothing of it is given up", device, lasted,
             strerror(error));
}

/* It is no try: nothing was learned about what lies there. What fails while the device rests waits for the same moment. */
static void restart_put_off(struct restart *restart, uint32_t segment, int error) {
    uint32_t device = restart_device(restart, segment);
    struct restart_rest *rest = &restart->rests[device];
    uint64_t now_ns = loop_now_ns();
    rest->n_put_off++;
    restart->progress.put_off++;
    restart->progress.waits_error[device] = error;
    rest->since_ns = rest->pause_ns == 0 ? now_ns : rest->since_ns;
    if (now_ns >= rest->until_ns) {
        rest->pause_ns = quire_min_u64(quire_max_u64(2 * rest->pause_ns, RESTART_PAUSE_NS), RESTART_PAUSE_MAX_NS);
        rest->until_ns = now_ns + rest->pause_ns;
    }
    restart_tell_rest(rest, device, error, now_ns);
}

/* It waits no more: its device is asked again, or will not be. */
static void restart_took_up(struct restart *restart, uint32_t segment) {
    uint32_t device = restart_device(restart, segment);
    restart->progress.waits_error[device] = --restart->rests[device].n_put_off > 0 ? restart->progress.waits_error[device] : 0;
}

/* Or the device said what is wrong. */
static void restart_was_read(struct restart *restart, uint32_t segment) {
    struct restart_rest *rest = &restart->rests[restart_device(restart, segment)];
    rest->pause_ns = rest->n_put_off > 0 ? rest->pause_ns : 0;
}

static bool restart_is_due(const struct restart *restart, uint32_t segment, uint64_t now_ns) {
    return now_ns >= restart->rests[restart_device(restart, segment)].until_ns;
}

uint64_t restart_deadline(const struct restart *restart) {
    uint64_t deadline_ns = UINT64_MAX;
    for (uint32_t i = 0; i < restart->env->set.n_files; i++) {
        const struct restart_rest *rest = &restart->rests[i];
        deadline_ns = rest->n_put_off > 0 ? quire_min_u64(deadline_ns, rest->until_ns) : deadline_ns;
    }
    return deadline_ns;
}

/* ---- reads that fail ------------------------------------------------------------------------------------------------------ */

/* What cannot be read may hold deletions: of what else the device holds nobody knows whether it still counts. */
static void restart_unreadable(struct restart *restart, uint32_t segment, int error) {
    uint32_t device = restart_device(restart, segment);
    if (!restart->lost[device]) {
        restart->lost[device] = true;
        restart->hooks.unreadable(restart->hooks.ctx, device, error);
    }
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */

static void restart_walk(struct restart_ahead *ahead);

static void restart_walked(struct walk *walk) {
    struct restart_ahead *ahead = walk->ctx;
    struct restart *restart = ahead->restart;
    struct restart_progress *progress = &restart->progress;
    if (ahead->left_behind) {
        ahead->running = false;
        return;
    }
    if (walk->put_off) {
        ahead->put_off = true;
        restart_put_off(restart, walk->segment, walk->op.error);
        return;
    }
    restart_was_read(restart, walk->segment);
    if (walk->error != 0 && ++ahead->tries < RESTART_TRIES) {
        restart_read_failed(restart, walk->segment, walk->error, walk->op.done_ns);
        restart_walk(ahead);
        return;
    }
    ahead->running = false;
    ahead->done = true;
    progress->read_bytes += walk->read_bytes;
    progress->walked += walk->walked;
    progress->bad_records += walk->n_bad;
    if (walk->error != 0) {
        restart_read_failed(restart, walk->segment, walk->error, walk->op.done_ns);
        restart_unreadable(restart, walk->segment, walk->error);
    }
    ahead->left = walk->n_entries;
}

static void restart_walk(struct restart_ahead *ahead) {
    const struct restart_row *row = &ahead->restart->rows[ahead->row];
    const struct walk as = {.env = ahead->restart->env,
                            .segment = row->segment,
                            .epoch = row->epoch,
                            .footer_at = row->footer_at,
                            .verify = true,
                            .keep = true,
                            .done = restart_walked,
                            .ctx = ahead};
    walk_again(&ahead->walk, &as);
    walk_begin(&ahead->walk);
}

static void restart_walk_again(struct restart *restart, uint64_t now_ns) {
    for (uint32_t i = 0; i < RESTART_AHEAD; i++) {
        struct restart_ahead *ahead = restart->ahead[i];
        if (ahead->put_off && restart_is_due(restart, restart->rows[ahead->row].segment, now_ns)) {
            ahead->put_off = false;
            restart_took_up(restart, restart->rows[ahead->row].segment);
            walk_resume(&ahead->walk);
        }
    }
}

static void restart_pass_over(struct restart_ahead *ahead) {
    const struct walk as = {.segment = ahead->restart->rows[ahead->row].segment};
    walk_again(&ahead->walk, &as);
    ahead->running = false;
    ahead->done = true;
}

/* Its walk may go on when the system lets it: whatever it finds counts no more. Without memory for another one it is waited for. */
static void restart_leave_behind(struct restart *restart, uint32_t place) {
    struct restart_ahead *ahead = restart->ahead[place], *other = calloc(1, sizeof *other);
    if (other == NULL) {
        return;
    }
    if (ahead->put_off) {
        restart_took_up(restart, restart->rows[ahead->row].segment);
    }
    ahead->left_behind = true;
    ahead->next = restart->left_behind;
    restart->left_behind = ahead;
    restart->ahead[place] = other;
    *other = (struct restart_ahead){.restart = restart, .row = ahead->row};
    restart_pass_over(other);
}

static void restart_read_ahead(struct restart *restart) {
    while (restart->next_row < restart->n_rows && restart->next_row - restart->told_row < RESTART_AHEAD) {
        uint32_t row = restart->next_row++;
        struct restart_ahead *ahead = restart->ahead[row % RESTART_AHEAD];
        const struct walk kept = ahead->walk;
        *ahead = (struct restart_ahead){.restart = restart, .walk = kept, .row = row, .running = true};
        if (restart->hangs[restart_device(restart, restart->rows[row].segment)]) {
            restart_pass_over(ahead);
        } else {
            restart_walk(ahead);
        }
    }
}

/*
 * Where records do not count, deletions do. When there was no memory for what a segment holds, that may be deletions, too: whatever is older is doubtful from
 * there on.
 */
static void restart_sift(struct restart *restart, struct restart_ahead *ahead) {
    const struct restart_row *row = &restart->rows[ahead->row];
    struct walk *walk = &ahead->walk;
    ahead->sifted = true;
    if (row->headless || restart->blind || restart->lost[restart_device(restart, row->segment)]) {
        for (uint32_t i = 0; i < walk->n_entries; i++) {
            restart->progress.bad_records += walk->entries[i].kind == QUIRE_LOG_RECORD && walk->entries[i].size_bytes > 0;
            walk->entries[i].size_bytes = 0; /* that they lie there is told all the same */
        }
    }
    if (walk->status == QUIRE_NO_MEMORY && !restart->blind) {
        log_error("disk_restore_memory", "disk tier: no memory for the entries of segment %u: older records are not used", walk->segment);
        restart->blind = true;
        restart->hooks.blind(restart->hooks.ctx);
    }
}

/* From the segment's end to its beginning, a part of it at a time. */
static uint32_t restart_tell(struct restart *restart, struct restart_ahead *ahead, uint32_t most) {
    uint32_t n = (uint32_t)quire_min_u64(ahead->left, most);
    ahead->left -= n;
    const struct quire_log_entry *entries = ahead->walk.entries + ahead->left;
    for (uint32_t i = 0; i < n; i++) {
        restart->progress.records += entries[i].kind == QUIRE_LOG_RECORD && entries[i].size_bytes > 0;
        restart->progress.deletions += entries[i].kind == QUIRE_LOG_TOMBSTONE;
    }
    if (n > 0) {
        restart->hooks.entries(restart->hooks.ctx, ahead->walk.segment, entries, n);
    }
    return n;
}

/* True: it has not ended yet. */
static bool restart_end(struct restart *restart) {
    const struct restart_progress *p = &restart->progress;
    restart->ending = restart->hooks.end(restart->hooks.ctx);
    if (restart->ending) {
        return true;
    }
    for (uint32_t i = 0; i < RESTART_AHEAD; i++) {
        walk_free(&restart->ahead[i]->walk);
    }
    restart->progress.ended = true;
    restart->progress.read = p->to_read;
    restart->progress.took_ns = loop_now_ns() - restart->begun_ns;
    double took_s = (double)p->took_ns / QUIRE_NS_PER_S;
    if (p->from_snapshot) {
        log_info("disk_restored", "disk tier: %llu record%s in %u segment%s from a snapshot, in %.3f s", (unsigned long long)p->records,
                 quire_s(p->records), p->read, quire_s(p->read), took_s);
    } else {
        log_info("disk_restored",
                 "disk tier: %llu record%s and %llu deletion%s in %u segment%s from the log, in %.3f s; %u segment%s without footer, "
                 "%llu record%s not whole",
                 (unsigned long long)p->records, quire_s(p->records), (unsigned long long)p->deletions, quire_s(p->deletions), p->read,
                 quire_s(p->read), took_s, p->walked, quire_s(p->walked), (unsigned long long)p->bad_records, quire_s(p->bad_records));
    }
    return false;
}

/* ---- from a snapshot ------------------------------------------------------------------------------------------------------ */

void restart_use_snapshot(struct restart *restart, struct snapshot *snapshot) { restart->snapshot = snapshot; }

/* What was told stays: it was right. The log is read for the rest, when the last job is back. */
static void restart_doubt(struct restart *restart) {
    if (snapshot_idle(restart->snapshot)) {
        log_warn("disk_snapshot_damaged", "disk tier: the snapshot of the index is damaged: the log is read instead");
        snapshot_destroy(&restart->snapshot);
        restart->progress.from_snapshot = false;
        restart->progress.records = 0;
        restart->progress.read = 0;
        restart_read_ahead(restart);
    }
}

static void restart_snapshot_told(struct restart *restart, const struct quire_snapshot_entry *entries, uint32_t n) {
    struct restart_progress *p = &restart->progress;
    uint64_t all = snapshot_entries(restart->snapshot);
    for (uint32_t i = 0; i < n; i++) {
        p->records += entries[i].kind == QUIRE_SNAPSHOT_RECORD;
    }
    restart->snapshot_told += n;
    p->read = (uint32_t)((double)p->to_read * (double)restart->snapshot_told / (double)all);
}

/* True: there is more to tell at once. */
static bool restart_turn_snapshot(struct restart *restart) {
    const struct quire_snapshot_entry *entries;
    uint32_t n;
    enum quire_status status = snapshot_next(restart->snapshot, RESTART_STEP, &entries, &n);
    if (status == QUIRE_OK) {
        restart->hooks.live(restart->hooks.ctx, entries, n);
        restart_snapshot_told(restart, entries, n);
    } else if (status == QUIRE_NOT_FOUND) {
        restart->progress.read_bytes += snapshot_read_bytes(restart->snapshot);
        snapshot_destroy(&restart->snapshot);
        return restart_end(restart);
    } else if (status == QUIRE_CORRUPT) {
        restart_doubt(restart);
    }
    return status == QUIRE_OK;
}

bool restart_turn(struct restart *restart) {
    uint32_t most = RESTART_STEP;
    restart_try_again(restart);
    if (!restart->progress.serving || restart->progress.ended) {
        return false;
    }
    if (restart->snapshot != NULL) {
        return restart_turn_snapshot(restart);
    }
    if (restart->ending) {
        return restart_end(restart);
    }
    while (restart->told_row < restart->n_rows && most > 0) {
        struct restart_ahead *ahead = restart->ahead[restart->told_row % RESTART_AHEAD];
        if (!ahead->done) {
            return false;
        }
        if (!ahead->sifted) {
            restart_sift(restart, ahead);
        }
        most -= restart_tell(restart, ahead, most);
        if (ahead->left == 0) {
            restart->told_row++;
            restart->progress.read++;
            restart_read_ahead(restart);
        }
    }
    if (restart->told_row == restart->n_rows) {
        return restart_end(restart);
    }
    return restart->ahead[restart->told_row % RESTART_AHEAD]->done;
}

/* ---- states --------------------------------------------------------------------------------------------------------------- */

static int restart_by_epoch(const void *a, const void *b) {
    uint64_t x = ((const struct restart_row *)a)->epoch, y = ((const struct restart_row *)b)->epoch;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Everything below the tail had been emptied; what is above it holds something. */
static void restart_tell_states(struct restart *restart) {
    for (uint32_t i = 0; i < restart->progress.segments; i++) {
        const struct restart_row row = restart->rows[i];
        uint32_t device = restart_device(restart, i);
        if (restart->env->set.out[device] || restart->hangs[device]) {
            continue;
        }
        bool clean = row.epoch == 0 || row.epoch < restart->tail_epoch;
        if (!restart->lost[device]) {
            restart->hooks.segment(restart->hooks.ctx, i, clean ? PAGER_SEGMENT_CLEAN : PAGER_SEGMENT_SEALED, row.epoch,
                                   clean ? 0 : row.used_units, clean ? 0 : row.n_entries);
        }
        if (!clean) {
            restart->rows[restart->n_rows++] = row;
        }
    }
    qsort(restart->rows, restart->n_rows, sizeof *restart->rows, restart_by_epoch);
    restart->progress.to_read = restart->n_rows;
    restart->progress.serving = true;
    restart->hooks.serve(restart->hooks.ctx);
    if (restart->snapshot != NULL) {
        restart->progress.from_snapshot = true;
        snapshot_begin(restart->snapshot, restart->env);
    } else {
        restart_read_ahead(restart);
    }
}

/* Of this life nothing was written yet: its epochs are left for it. */
static struct quire_log_geometry restart_geometry(const struct restart *restart) {
    struct quire_log_geometry g = restart->env->set.geometry;
    g.generation--;
    return g;
}

static bool restart_has_header(const struct restart *restart, const struct restart_probe *probe, struct quire_log_segment_header *header) {
    const struct quire_log_geometry g = restart_geometry(restart);
    const struct restart_unit *unit = &probe->units[RESTART_HEADER];
    return unit->read && quire_log_segment_header_decode(&g, unit->memory, restart->env->set.set_id, probe->segment, header) == QUIRE_OK;
}

/*
 * Without a header the first head tells the segment's epoch, so that deletions in it are found. A trailer of an earlier epoch is of a former life then: for a segment
 * to be used again, it and all that are older than it had to be empty, and a header that said so to be synced.
 */
static void restart_judge(struct restart *restart, const struct restart_probe *probe) {
    const struct restart_unit *head = &probe->units[RESTART_HEAD], *last = &probe->units[RESTART_TRAILER];
    const struct quire_log_geometry g = restart_geometry(restart);
    struct quire_log_segment_header header;
    struct quire_log_trailer trailer;
    bool begins = restart_has_header(restart, probe, &header);
    bool ends = last->read && quire_log_trailer_decode(&g, last->memory, restart->env->set.set_id, probe->segment, &trailer) == QUIRE_OK;
    uint64_t epoch = begins ? header.epoch : head->read ? quire_log_first_epoch(&g, head->memory) : 0;
    struct restart_row *row = &restart->rows[probe->segment];
    *row = (struct restart_row){.segment = probe->segment, .headless = !begins};
    if (begins || epoch > (ends ? trailer.epoch : 0)) {
        uint64_t tail_epoch = begins ? header.tail_epoch : ends ? trailer.epoch + 1 : 0;
        row->epoch = epoch;
        row->footer_at = WALK_NO_FOOTER;
        row->used_units = g.segment_units; /* as far as anybody knows */
        restart->tail_epoch = quire_max_u64(restart->tail_epoch, tail_epoch);
        ends = ends && trailer.epoch == epoch;
    }
    if (ends) {
        row->epoch = trailer.epoch;
        row->footer_at = trailer.footer_units;
        row->used_units = trailer.used_units;
        row->n_entries = trailer.n_entries;
    }
}

static bool restart_probe_next(struct restart *restart, struct restart_probe *probe);
static void restart_probe_read(struct restart *restart, struct restart_probe *probe, enum restart_part part);

/* True: header and trailer are read, and there is no header: the first head is read, too. */
static bool restart_probe_head(struct restart *restart, struct restart_probe *probe) {
    struct quire_log_segment_header header;
    if (probe->headless || !probe->units[RESTART_HEADER].read || restart_has_header(restart, probe, &header)) {
        return false;
    }
    probe->headless = true;
    probe->n_running++;
    restart_probe_read(restart, probe, RESTART_HEAD);
    return true;
}

static void restart_probed(struct restart_probe *probe, enum restart_part part) {
    struct restart *restart = probe->restart;
    struct restart_unit *unit = &probe->units[part];
    const struct disk_op *op = &unit->op;
    if (restart->hangs[probe->device]) {
        return; /* too late */
    }
    unit->read = op->status == QUIRE_OK;
    restart->progress.read_bytes += op->bytes;
    if (pager_is_passing(op->status)) {
        unit->put_off = true;
        restart_put_off(restart, probe->segment, op->error);
        return;
    }
    restart_was_read(restart, probe->segment);
    if (op->status != QUIRE_OK) {
        restart_read_failed(restart, probe->segment, op->error, op->done_ns);
        if (++unit->tries < RESTART_TRIES) {
            restart_probe_read(restart, probe, part);
            return;
        }
        restart_unreadable(restart, probe->segment, op->error);
    }
    if (--probe->n_running > 0 || restart_probe_head(restart, probe)) {
        return;
    }
    restart_judge(restart, probe);
    restart->progress.looked_at++;
    if (!restart_probe_next(restart, probe) && --restart->n_probing == 0) {
        restart_tell_states(restart);
    }
}

static void restart_header_read(struct disk_op *op) {
    restart_probed(LOOP_CONTAINER(op, struct restart_probe, units[RESTART_HEADER].op), RESTART_HEADER);
}
static void restart_trailer_read(struct disk_op *op) {
    restart_probed(LOOP_CONTAINER(op, struct restart_probe, units[RESTART_TRAILER].op), RESTART_TRAILER);
}
static void restart_head_read(struct disk_op *op) {
    restart_probed(LOOP_CONTAINER(op, struct restart_probe, units[RESTART_HEAD].op), RESTART_HEAD);
}

/* The device's next segment, if one is left. */
static bool restart_next_segment(struct restart *restart, uint32_t device, uint32_t *segment) {
    const struct store_set *set = &restart->env->set;
    uint32_t first = 0;
    for (uint32_t i = 0; i < device; i++) {
        first += set->segments[i];
    }
    if (restart->next_number[device] == set->segments[device]) {
        return false;
    }
    *segment = first + restart->next_number[device]++;
    return true;
}

static void restart_probe_read(struct restart *restart, struct restart_probe *probe, enum restart_part part) {
    static void (*const done[])(struct disk_op * op) = {restart_header_read, restart_trailer_read, restart_head_read};
    const struct store_set *set = &restart->env->set;
    const uint32_t at_units[] = {0, set->geometry.segment_units - 1, 1};
    struct restart_unit *unit = &probe->units[part];
    uint32_t device;
    uint64_t offset = disk_locate(set, probe->segment, at_units[part], &device);
    unit->iov = (struct iovec){.iov_base = unit->memory, .iov_len = set->geometry.unit_bytes};
    disk_env_io(restart->env, &unit->op, DISK_READ, device, offset, &unit->iov, 1, done[part]);
}

static void restart_probe_again(struct restart *restart, uint64_t now_ns) {
    for (uint32_t i = 0; i < RESTART_PARTS * RESTART_DEPTH; i++) {
        struct restart_probe *probe = &restart->probes[i / RESTART_PARTS];
        struct restart_unit *unit = &probe->units[i % RESTART_PARTS];
        if (unit->put_off && restart_is_due(restart, probe->segment, now_ns)) {
            unit->put_off = false;
            restart_took_up(restart, probe->segment);
            restart_probe_read(restart, probe, i % RESTART_PARTS);
        }
    }
}

static bool restart_probe_next(struct restart *restart, struct restart_probe *probe) {
    if (!restart_next_segment(restart, probe->device, &probe->segment)) {
        return false;
    }
    for (uint32_t part = 0; part < RESTART_PARTS; part++) {
        probe->units[part].tries = 0;
        probe->units[part].read = false;
    }
    probe->headless = false;
    probe->n_running = 2;
    restart_probe_read(restart, probe, RESTART_HEADER);
    restart_probe_read(restart, probe, RESTART_TRAILER);
    return true;
}

void restart_begin(struct restart *restart) {
    const struct store_set *set = &restart->env->set;
    restart->begun_ns = loop_now_ns();
    for (uint32_t i = 0; i < set->n_files; i++) {
        if (set->out[i] || set->fresh[i]) {
            restart->next_number[i] = set->segments[i];
            restart->progress.looked_at += set->segments[i];
        }
    }
    for (uint32_t i = 0; i < RESTART_DEPTH; i++) { /* to each device as many */
        restart->probes[i].device = i % set->n_files;
        restart->n_probing += restart_probe_next(restart, &restart->probes[i]);
    }
    if (restart->n_probing == 0) {
        restart_tell_states(restart);
    }
}

void restart_try_again(struct restart *restart) {
    uint64_t now_ns = loop_now_ns();
    if (restart_deadline(restart) <= now_ns) {
        restart_probe_again(restart, now_ns);
        restart_walk_again(restart, now_ns);
    }
}

static void restart_forget_put_off(struct restart *restart, struct restart_probe *probe) {
    for (uint32_t part = 0; part < RESTART_PARTS; part++) {
        if (probe->units[part].put_off) {
            probe->units[part].put_off = false;
            restart_took_up(restart, probe->segment);
        }
    }
}

void restart_device_hangs(struct restart *restart, uint32_t device) {
    restart->hangs[device] = true;
    if (!restart->progress.serving) {
        for (uint32_t i = 0; i < RESTART_DEPTH; i++) {
            struct restart_probe *probe = &restart->probes[i];
            if (probe->device == device && probe->n_running > 0) {
                restart->n_probing--;
                restart_forget_put_off(restart, probe);
            }
        }
        if (restart->n_probing == 0) {
            restart_tell_states(restart);
        }
        return;
    }
    for (uint32_t row = restart->told_row; row < restart->next_row; row++) {
        uint32_t place = row % RESTART_AHEAD;
        if (restart->ahead[place]->running && restart_device(restart, restart->rows[row].segment) == device) {
            restart_leave_behind(restart, place);
        }
    }
}
