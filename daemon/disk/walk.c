#include "daemon/disk/walk.h"

#include "daemon/loop.h"
#include "pager/disk.h"

#include <stdlib.h>

#define WALK_HEAD_BYTES (64u << 10)  /* a head of any length fits */
#define WALK_SEARCH_BYTES (8u << 20) /* batches are smaller, but for one of a single large record */

static const struct quire_log_geometry *walk_geometry(const struct walk *walk) { return &walk->env->set.geometry; }

static void walk_drop_memory(struct walk *walk) {
    free(walk->memory);
    walk->memory = NULL;
    walk->memory_units = 0;
}

static void walk_drop_entries(struct walk *walk) {
    free(walk->entries);
    walk->entries = NULL;
    walk->n_entries = walk->capacity = 0;
}

static void walk_finish(struct walk *walk, enum quire_status status) {
    walk->status = status;
    if (!walk->keep || walk->walked) {
        walk_drop_memory(walk);
    }
    free(walk->heads);
    walk->heads = NULL;
    walk->done(walk);
}

void walk_free(struct walk *walk) {
    walk_drop_memory(walk);
    walk_drop_entries(walk);
    free(walk->heads);
    walk->heads = NULL;
}

void walk_again(struct walk *walk, const struct walk *as) {
    const struct walk kept = *walk;
    *walk = *as;
    walk->memory = kept.memory;
    walk->memory_units = kept.memory_units;
    walk->entries = kept.entries;
    walk->capacity = kept.capacity;
}

/* Reads units of the segment to the beginning of the walk's memory. */
static void walk_read(struct walk *walk, uint32_t at_units, uint32_t units, void (*done)(struct disk_op *op)) {
    if (walk->memory_units < units) {
        free(walk->memory);
        walk->memory = disk_memory(&walk->env->set, units);
        walk->memory_units = walk->memory != NULL ? units : 0;
        if (walk->memory == NULL) {
            walk_finish(walk, QUIRE_NO_MEMORY);
            return;
        }
    }
    uint32_t device;
    uint64_t offset = disk_locate(&walk->env->set, walk->segment, at_units, &device);
    walk->read_units = units;
    walk->iov = (struct iovec){.iov_base = walk->memory, .iov_len = disk_set_bytes(&walk->env->set, units)};
    walk->read_bytes += walk->iov.iov_len;
    disk_env_io(walk->env, &walk->op, DISK_READ, device, offset, &walk->iov, 1, done);
}

static bool walk_read_ok(struct walk *walk) {
    if (walk->op.status != QUIRE_OK) {
        walk->error = walk->op.error;
    }
    return walk->op.status == QUIRE_OK;
}

/* True: it stands still. To go on as if what was not read were damaged would be to forget deletions. */
static bool walk_put_off(struct walk *walk) {
    walk->put_off = pager_is_passing(walk->op.status);
    if (walk->put_off) {
        walk->status = walk->op.status;
        walk->done(walk);
    }
    return walk->put_off;
}

void walk_resume(struct walk *walk) {
    uint32_t device;
    disk_locate(&walk->env->set, walk->segment, 0, &device);
    disk_env_io(walk->env, &walk->op, DISK_READ, device, walk->op.offset, &walk->iov, 1, walk->op.then);
}

static void walk_job(struct walk *walk, void (*run)(struct work *work), void (*done)(struct work *work)) {
    walk->work = (struct work){.run = run, .done = done};
    walk->env->run(walk->env->ctx, &walk->work);
}

static bool walk_grow(struct walk *walk, uint32_t more) {
    if (walk->capacity - walk->n_entries < more) {
        uint32_t capacity = (uint32_t)quire_max_u64(walk->capacity * 2ull, walk->n_entries + (uint64_t)more);
        struct quire_log_entry *entries = realloc(walk->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            return false;
        }
        walk->entries = entries;
        walk->capacity = capacity;
    }
    return true;
}

/* ---- from head to head ---------------------------------------------------------------------------------------------------- */

static void walk_next_head(struct walk *walk);

/* Takes the batch's good records, and every deletion; of a bad record a start is told that it lies there, by a size of 0. */
static void walk_take(struct walk *walk) {
    if (!walk_grow(walk, walk->batch.n_entries)) {
        walk_finish(walk, QUIRE_NO_MEMORY);
        return;
    }
    for (uint32_t i = 0; i < walk->batch.n_entries; i++) {
        bool good = walk->heads[i].kind == QUIRE_LOG_TOMBSTONE || i < walk->n_good;
        if (good || walk->verify) {
            walk->entries[walk->n_entries] = walk->heads[i];
            walk->entries[walk->n_entries++].size_bytes *= good;
        }
        walk->n_bad += !good;
    }
    walk->at_units += walk->batch.size_units;
    walk->used_units = walk->at_units;
    walk_next_head(walk);
}

static void walk_run_verify(struct work *work) {
    struct walk *walk = LOOP_CONTAINER(work, struct walk, work);
    for (walk->n_good = 0; walk->n_good < walk->batch.n_entries; walk->n_good++) {
        const struct quire_log_entry *entry = &walk->heads[walk->n_good];
        uint64_t from_bytes = disk_set_bytes(&walk->env->set, entry->at_units - walk->batch.at_units);
        if (entry->kind == QUIRE_LOG_RECORD && quire_log_record_verify(walk->memory + from_bytes, entry) != QUIRE_OK) {
            break;
        }
    }
}

static void walk_verified(struct work *work) { walk_take(LOOP_CONTAINER(work, struct walk, work)); }

static void walk_batch_read(struct disk_op *op) {
    struct walk *walk = LOOP_CONTAINER(op, struct walk, op);
    if (walk_put_off(walk)) {
        return;
    }
    if (walk_read_ok(walk)) {
        walk_job(walk, walk_run_verify, walk_verified);
    } else {
        walk->n_good = 0;
        walk_take(walk);
    }
}

static void walk_searched(struct disk_op *op);

/* The search goes on, or ends, and the walk with it. */
static void walk_search(struct walk *walk) {
    const struct quire_log_geometry *g = walk_geometry(walk);
    if (walk->search_at >= walk->search_end) {
        walk_finish(walk, walk->unread ? QUIRE_SYSTEM : QUIRE_OK);
        return;
    }
    uint64_t units = quire_min_u64(walk->search_end - walk->search_at, WALK_HEAD_BYTES / g->unit_bytes);
    walk_read(walk, walk->search_at, (uint32_t)units, walk_searched);
}

/* Where there should be a head there is none: either that is the end, or it is damaged. */
static void walk_no_head(struct walk *walk) {
    const struct quire_log_geometry *g = walk_geometry(walk);
    if (walk->search_end == 0) {
        walk->search_end = (uint32_t)quire_min_u64(g->segment_units, walk->at_units + (uint64_t)WALK_SEARCH_BYTES / g->unit_bytes);
    }
    walk->search_at = walk->at_units + 1;
    walk_search(walk);
}

static bool walk_looks_like_head(const struct walk *walk, const uint8_t *unit, uint32_t at_units) {
    struct quire_log_batch batch;
    memcpy(&batch, unit, sizeof batch);
    return batch.magic == QUIRE_LOG_MAGIC_BATCH && batch.epoch == walk->epoch && batch.at_units == at_units;
}

static void walk_searched(struct disk_op *op) {
    struct walk *walk = LOOP_CONTAINER(op, struct walk, op);
    uint32_t unit_bytes = walk_geometry(walk)->unit_bytes, units = walk->read_units;
    if (walk_put_off(walk)) {
        return;
    }
    walk->unread |= !walk_read_ok(walk);
    for (uint32_t i = 0; walk->op.status == QUIRE_OK && i < units; i++) {
        if (walk_looks_like_head(walk, walk->memory + (size_t)i * unit_bytes, walk->search_at + i)) {
            walk->at_units = walk->search_at + i;
            walk_next_head(walk);
            return;
        }
    }
    walk->search_at += units;
    walk_search(walk);
}

/* What no batch was ever written to, in a file that began with zeros. */
static bool walk_never_written(const struct walk *walk) {
    const uint8_t *unit = walk->memory;
    return unit[0] == 0 && memcmp(unit, unit + 1, walk_geometry(walk)->unit_bytes - 1) == 0;
}

static void walk_head_read(struct disk_op *op) {
    struct walk *walk = LOOP_CONTAINER(op, struct walk, op);
    if (walk_put_off(walk)) {
        return;
    }
    if (!walk_read_ok(walk)) {
        walk->unread = true;
        walk_no_head(walk);
        return;
    }
    if (quire_log_head_decode(walk_geometry(walk), walk->memory, walk->iov.iov_len, walk->epoch, walk->at_units, &walk->batch,
                              walk->heads) != QUIRE_OK) {
        if (walk->search_end == 0 && walk_never_written(walk)) {
            walk_finish(walk, QUIRE_OK);
        } else {
            walk_no_head(walk);
        }
        return;
    }
    walk->lost |= walk->search_end != 0;
    walk->search_end = 0;
    if (walk->lost || !walk->verify || walk->n_bad > 0) {
        walk->n_good = walk->lost || walk->n_bad > 0 ? 0 : walk->batch.n_entries;
        walk_take(walk);
    } else if (walk->batch.size_units > walk->read_units) {
        walk_read(walk, walk->at_units, walk->batch.size_units, walk_batch_read);
    } else {
        walk_job(walk, walk_run_verify, walk_verified);
    }
}

static void walk_next_head(struct walk *walk) {
    const struct quire_log_geometry *g = walk_geometry(walk);
    if (walk->at_units >= g->segment_units) {
        walk_finish(walk, walk->unread ? QUIRE_SYSTEM : QUIRE_OK);
        return;
    }
    uint64_t units = quire_min_u64(g->segment_units - walk->at_units, WALK_HEAD_BYTES / g->unit_bytes);
    walk_read(walk, walk->at_units, (uint32_t)units, walk_head_read);
}

static void walk_heads(struct walk *walk) {
    walk->walked = true;
    walk->n_entries = 0;
    walk->at_units = walk->used_units = 1; /* behind the header */
    walk->heads = calloc(QUIRE_LOG_MAX_BATCH, sizeof *walk->heads);
    if (walk->heads == NULL) {
        walk_finish(walk, QUIRE_NO_MEMORY);
        return;
    }
    walk_next_head(walk);
}

/* ---- footer --------------------------------------------------------------------------------------------------------------- */

static void walk_run_footer(struct work *work) {
    struct walk *walk = LOOP_CONTAINER(work, struct walk, work);
    const struct quire_log_geometry *g = walk_geometry(walk);
    struct quire_log_trailer trailer;
    const uint8_t *last = walk->memory + disk_set_bytes(&walk->env->set, walk->read_units - 1);
    walk->verdict = quire_log_trailer_decode(g, last, walk->env->set.set_id, walk->segment, &trailer);
    if (walk->verdict != QUIRE_OK) {
        return;
    }
    if (trailer.epoch != walk->epoch || trailer.footer_units != walk->footer_at) {
        walk->verdict = QUIRE_MISMATCH;
        return;
    }
    if (!walk_grow(walk, (uint32_t)quire_max_u64(1, trailer.n_entries))) {
        walk->verdict = QUIRE_NO_MEMORY;
        return;
    }
    walk->verdict = quire_log_footer_decode(g, &trailer, walk->memory, walk->entries);
    walk->n_entries = walk->verdict == QUIRE_OK ? trailer.n_entries : 0;
    walk->used_units = trailer.used_units;
}

static void walk_footer_decoded(struct work *work) {
    struct walk *walk = LOOP_CONTAINER(work, struct walk, work);
    if (walk->verdict == QUIRE_OK || walk->verdict == QUIRE_NO_MEMORY) {
        walk_finish(walk, walk->verdict);
    } else {
        walk_drop_entries(walk);
        walk_heads(walk);
    }
}

static void walk_footer_read(struct disk_op *op) {
    struct walk *walk = LOOP_CONTAINER(op, struct walk, op);
    if (walk_put_off(walk)) {
        return;
    }
    if (walk_read_ok(walk)) {
        walk_job(walk, walk_run_footer, walk_footer_decoded);
    } else {
        walk_heads(walk);
    }
}

static void walk_footer(struct walk *walk) {
    walk_read(walk, walk->footer_at, walk_geometry(walk)->segment_units - walk->footer_at, walk_footer_read);
}

static void walk_trailer_read(struct disk_op *op) {
    struct walk *walk = LOOP_CONTAINER(op, struct walk, op);
    struct quire_log_trailer trailer;
    if (walk_put_off(walk)) {
        return;
    }
    if (walk_read_ok(walk) &&
        quire_log_trailer_decode(walk_geometry(walk), walk->memory, walk->env->set.set_id, walk->segment, &trailer) == QUIRE_OK &&
        trailer.epoch == walk->epoch) {
        walk->footer_at = trailer.footer_units;
        walk_footer(walk);
    } else {
        walk_heads(walk);
    }
}

void walk_begin(struct walk *walk) {
    uint32_t segment_units = walk_geometry(walk)->segment_units;
    if (walk->footer_at == WALK_LOOK_FOR_FOOTER) {
        walk_read(walk, segment_units - 1, 1, walk_trailer_read);
    } else if (walk->footer_at < segment_units) {
        walk_footer(walk);
    } else {
        walk_heads(walk);
    }
}
