#include "daemon/disk/scrub.h"

#include "daemon/disk/walk.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "pager/disk.h"
#include "proto/base/units.h"

#include <stdlib.h>
#include <string.h>

enum scrub_verdict { SCRUB_WHOLE, SCRUB_DAMAGED, SCRUB_UNREADABLE, SCRUB_PASSED_OVER };

struct scrub {
    struct disk_env *env;
    struct scrub_hooks hooks;
    struct scrub_progress progress;
    uint64_t bytes_per_s, requested_bytes_per_s, next_ns;
    uint64_t paced_ns, paced_bytes; /* what was read last, and when: what next_ns follows from */
    bool busy;                      /* something is under way */
    bool walking;                   /* it is the walk */
    bool restart;                   /* a new pass was asked for meanwhile */
    /* The segment that is looked at */
    bool open;
    bool unread; /* it counts as such */
    bool header; /* is there, as it was written */
    uint64_t epoch;
    struct walk walk;
    uint8_t *verdicts; /* enum scrub_verdict, one an entry */
    uint32_t at;       /* entries before it are done */
    uint32_t single;   /* entries before it are read one by one: a read of many failed */
    /* The step */
    uint32_t from, to; /* its entries */
    uint32_t from_units, units, read_units;
    uint8_t *memory;
    uint32_t memory_units;
    struct work work;
    struct disk_op op;
    struct iovec iov;
    struct scrub *left_behind; /* with its device that hangs */
    uint8_t *told;             /* a bit a segment: damaged or unread, and logged; NULL: another scrub's now */
};

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

enum quire_status scrub_create(struct disk_env *env, const struct scrub_hooks *hooks, struct scrub **out) {
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (scrub == NULL) {
        return QUIRE_NO_MEMORY;
    }
    scrub->env = env;
    scrub->hooks = *hooks;
    scrub->progress.segments = disk_set_segments(&env->set);
    scrub->told = calloc(scrub->progress.segments / 8 + 1, 1);
    if (scrub->told == NULL) {
        free(scrub);
        return QUIRE_NO_MEMORY;
    }
    *out = scrub;
    return QUIRE_OK;
}

static void scrub_close_segment(struct scrub *scrub) {
    walk_free(&scrub->walk);
    free(scrub->verdicts);
    free(scrub->memory);
    scrub->verdicts = scrub->memory = NULL;
    scrub->memory_units = 0;
    scrub->open = false;
}

void scrub_destroy(struct scrub **out) {
    struct scrub *scrub = *out;
    if (scrub == NULL) {
        return;
    }
    scrub_close_segment(scrub);
    scrub_destroy(&scrub->left_behind);
    free(scrub->told);
    free(scrub);
    *out = NULL;
}

void scrub_device_hangs(struct scrub **scrub, uint32_t device) {
    struct scrub *old = *scrub, *next;
    uint32_t its;
    if (!old->busy) {
        return;
    }
    disk_locate(&old->env->set, old->walk.segment, 0, &its);
    if (its != device || scrub_create(old->env, &old->hooks, &next) != QUIRE_OK) {
        return;
    }
    free(next->told);
    next->told = old->told;
    old->told = NULL;
    next->progress = old->progress;
    next->progress.pass_out_segments += old->open && !old->unread;
    next->bytes_per_s = old->bytes_per_s;
    next->requested_bytes_per_s = old->requested_bytes_per_s;
    next->restart = old->restart;
    next->left_behind = old;
    *scrub = next;
}

static void scrub_begin_pass(struct scrub *scrub) {
    struct scrub_progress *p = &scrub->progress;
    p->segment = p->pass_segments = 0;
    p->pass_records = p->pass_bytes = p->pass_damaged = p->pass_unreadable = p->pass_unfound = 0;
    p->pass_damaged_segments = p->pass_unread_segments = p->pass_out_segments = p->pass_open_segments = 0;
    p->pass_open_records = 0;
}

/* What comes next is due when so many bytes took their time. */
static void scrub_pace(struct scrub *scrub, uint64_t from_ns, uint64_t bytes) {
    uint64_t rate = scrub->progress.requested ? scrub->requested_bytes_per_s : scrub->bytes_per_s;
    scrub->paced_ns = from_ns;
    scrub->paced_bytes = bytes;
    scrub->next_ns = from_ns + (rate > 0 ? (uint64_t)((double)bytes / (double)rate * QUIRE_NS_PER_S) : 0);
}

void scrub_set_rate(struct scrub *scrub, uint64_t bytes_per_s) {
    if (scrub->bytes_per_s == bytes_per_s) {
        return; /* a reload of something else: what is due stays due */
    }
    scrub->bytes_per_s = bytes_per_s;
    if (!scrub->progress.requested) {
        scrub_pace(scrub, scrub->paced_ns, scrub->paced_bytes);
    }
}

void scrub_verify_now(struct scrub *scrub, uint64_t bytes_per_s) {
    scrub->progress.requested = true;
    scrub->requested_bytes_per_s = bytes_per_s;
    scrub->restart = true;
    scrub->next_ns = 0;
}

void scrub_cancel(struct scrub *scrub) {
    if (scrub->progress.requested) {
        scrub->progress.requested = false;
        scrub->restart = true;
    }
}

uint64_t scrub_deadline(const struct scrub *scrub) {
    bool wanted = scrub->progress.requested || scrub->bytes_per_s > 0;
    return scrub->busy || !wanted ? UINT64_MAX : scrub->next_ns;
}

const struct scrub_progress *scrub_progress(const struct scrub *scrub) { return &scrub->progress; }

/* ---- outcomes ------------------------------------------------------------------------------------------------------------- */

static void scrub_report(struct scrub *scrub, const struct quire_log_entry *entry, enum scrub_verdict verdict) {
    struct scrub_progress *p = &scrub->progress;
    uint32_t segment = scrub->walk.segment;
    p->records++;
    p->pass_records++;
    const enum quire_status why = verdict == SCRUB_DAMAGED ? QUIRE_CORRUPT : QUIRE_SYSTEM;
    if (verdict == SCRUB_WHOLE || !scrub->hooks.damaged(scrub->hooks.ctx, segment, scrub->epoch, entry, why)) {
        return;
    }
    if (verdict == SCRUB_DAMAGED) {
        p->damaged++;
        p->pass_damaged++;
    } else {
        p->unreadable++;
        p->pass_unreadable++;
    }
    log_warn("disk_damaged", "disk tier: a record of %u bytes in segment %u at unit %u is %s: its place is given up", entry->size_bytes,
             segment, entry->at_units, verdict == SCRUB_DAMAGED ? "damaged" : "unreadable");
}

static void scrub_read_failed(struct scrub *scrub, int error, uint64_t now_ns) {
    uint32_t device;
    disk_locate(&scrub->env->set, scrub->walk.segment, 0, &device);
    scrub->hooks.read_failed(scrub->hooks.ctx, device, error, now_ns);
}

static const struct pager_segment *scrub_known(const struct scrub *scrub, uint32_t segment) {
    return scrub->hooks.segment(scrub->hooks.ctx, segment);
}

/* The segment may have been emptied, and even opened again, while it was read; or its device is out of use now. */
static bool scrub_still_there(struct scrub *scrub) {
    const struct pager_segment *known = scrub_known(scrub, scrub->walk.segment);
    scrub->progress.pass_out_segments += known->state == PAGER_SEGMENT_LOST && !scrub->unread;
    return known->state == PAGER_SEGMENT_SEALED && known->epoch == scrub->epoch;
}

/* False: it was logged before, and was not found in order since. */
static bool scrub_news(struct scrub *scrub) {
    uint32_t segment = scrub->walk.segment;
    if (scrub->told == NULL || (scrub->told[segment / 8] >> segment % 8 & 1)) {
        return false;
    }
    scrub->told[segment / 8] |= (uint8_t)(1u << segment % 8);
    return true;
}

/* Not all of the segment is looked at. */
static void scrub_not_read(struct scrub *scrub, const char *why) {
    if (scrub->unread) {
        return;
    }
    scrub->unread = true;
    scrub->progress.pass_unread_segments++;
    if (scrub_news(scrub)) {
        scrub->progress.unread_segments++;
        log_warn("disk_unread", "disk tier: segment %u was not verified, or only a part of it: %s", scrub->walk.segment, why);
    }
}

static void scrub_segment_damaged(struct scrub *scrub, const char *what, uint32_t unfound) {
    struct scrub_progress *p = &scrub->progress;
    p->pass_damaged_segments++;
    p->pass_unfound += unfound;
    if (scrub_news(scrub)) {
        p->damaged_segments++;
        log_warn("disk_damaged", "disk tier: segment %u: %s; of what can be read there now, a start would not find %u record%s",
                 scrub->walk.segment, what, unfound, quire_s(unfound));
    }
}

static void scrub_step_done(struct scrub *scrub) {
    scrub->busy = false;
    if (scrub->restart || !scrub_still_there(scrub)) {
        scrub_close_segment(scrub);
        return;
    }
    for (uint32_t i = scrub->from; i < scrub->to; i++) {
        if (scrub->verdicts[i] != SCRUB_PASSED_OVER) {
            scrub_report(scrub, &scrub->walk.entries[i], (enum scrub_verdict)scrub->verdicts[i]);
        }
    }
    scrub->at = scrub->to;
}

/* ---- a step --------------------------------------------------------------------------------------------------------------- */

static void scrub_run_verify(struct work *work) {
    struct scrub *scrub = LOOP_CONTAINER(work, struct scrub, work);
    for (uint32_t i = scrub->from; i < scrub->to; i++) {
        const struct quire_log_entry *entry = &scrub->walk.entries[i];
        if (scrub->verdicts[i] != SCRUB_PASSED_OVER) {
            uint64_t from_bytes = disk_set_bytes(&scrub->env->set, entry->at_units - scrub->from_units);
            scrub->verdicts[i] = quire_log_record_verify(scrub->memory + from_bytes, entry) == QUIRE_OK ? SCRUB_WHOLE : SCRUB_DAMAGED;
        }
    }
}

static void scrub_verified(struct work *work) { scrub_step_done(LOOP_CONTAINER(work, struct scrub, work)); }

/* A step of many records cannot be read: one by one, then. */
static void scrub_unreadable(struct scrub *scrub) {
    if (scrub->to - scrub->from > 1) {
        scrub->single = scrub->to;
        scrub->busy = false;
        return;
    }
    scrub->verdicts[scrub->from] = SCRUB_UNREADABLE;
    scrub_read_failed(scrub, scrub->op.error, scrub->op.done_ns);
    scrub_step_done(scrub);
}

static void scrub_read_ended(struct disk_op *op) {
    struct scrub *scrub = LOOP_CONTAINER(op, struct scrub, op);
    if (pager_is_passing(op->status)) { /* the same step again, later */
        scrub->busy = false;
        scrub->next_ns = op->done_ns + SCRUB_AGAIN_NS;
        return;
    }
    if (op->status != QUIRE_OK) {
        scrub_unreadable(scrub);
        return;
    }
    scrub->read_units += (uint32_t)(op->bytes / scrub->env->set.geometry.unit_bytes);
    scrub->progress.bytes += op->bytes;
    scrub->progress.pass_bytes += op->bytes;
    if (scrub->read_units < scrub->units) {
        scrub->busy = false; /* a large record: the next part when it is due */
        return;
    }
    scrub->work = (struct work){.run = scrub_run_verify, .done = scrub_verified};
    scrub->env->run(scrub->env->ctx, &scrub->work);
}

/* Reads the next part of the step. */
static void scrub_read(struct scrub *scrub, uint64_t now_ns) {
    const struct store_set *set = &scrub->env->set;
    uint32_t device, units = (uint32_t)quire_min_u64(scrub->units - scrub->read_units, SCRUB_STEP_BYTES / set->geometry.unit_bytes);
    uint64_t offset = disk_locate(set, scrub->walk.segment, scrub->from_units + scrub->read_units, &device);
    scrub->iov = (struct iovec){.iov_base = scrub->memory + disk_set_bytes(set, scrub->read_units), .iov_len = disk_set_bytes(set, units)};
    scrub_pace(scrub, now_ns, scrub->iov.iov_len);
    scrub->busy = true;
    disk_env_io(scrub->env, &scrub->op, DISK_READ, device, offset, &scrub->iov, 1, scrub_read_ended);
}

static uint32_t scrub_end_of(const struct scrub *scrub, const struct quire_log_entry *entry) {
    return entry->at_units + quire_log_units(&scrub->env->set.geometry, entry->size_bytes);
}

static bool scrub_wanted(const struct scrub *scrub, const struct quire_log_entry *entry) {
    return entry->kind == QUIRE_LOG_RECORD &&
           (scrub->hooks.live == NULL || scrub->hooks.live(scrub->hooks.ctx, scrub->walk.segment, scrub->epoch, entry));
}

/* The next records that fit into one read together. False: there is none left, or no memory. */
static bool scrub_plan(struct scrub *scrub) {
    const uint32_t most = SCRUB_STEP_BYTES / scrub->env->set.geometry.unit_bytes;
    uint32_t end = 0;
    scrub->from = scrub->to = scrub->at;
    while (scrub->to < scrub->walk.n_entries) {
        const struct quire_log_entry *entry = &scrub->walk.entries[scrub->to];
        if (!scrub_wanted(scrub, entry)) {
            scrub->verdicts[scrub->to++] = SCRUB_PASSED_OVER;
            continue;
        }
        if (end != 0 && (scrub->at < scrub->single || scrub_end_of(scrub, entry) - scrub->from_units > most)) {
            break;
        }
        if (end == 0) {
            scrub->from = scrub->to; /* what was passed over before needs no reading */
            scrub->from_units = entry->at_units;
        }
        scrub->verdicts[scrub->to++] = SCRUB_WHOLE;
        end = scrub_end_of(scrub, entry);
    }
    scrub->units = end != 0 ? end - scrub->from_units : 0;
    scrub->read_units = 0;
    if (scrub->memory_units < scrub->units) {
        free(scrub->memory);
        scrub->memory_units = (uint32_t)quire_max_u64(scrub->units, most);
        scrub->memory = disk_memory(&scrub->env->set, scrub->memory_units);
        scrub->memory_units = scrub->memory != NULL ? scrub->memory_units : 0;
    }
    if (scrub->memory == NULL && end != 0) {
        scrub_not_read(scrub, "no memory");
    }
    return end != 0 && scrub->memory != NULL;
}

/* ---- segments ------------------------------------------------------------------------------------------------------------- */

/* Of the records that are needed, a start would not find so many. */
static uint32_t scrub_unfound(const struct scrub *scrub, const struct pager_segment *known) {
    uint32_t found = 0;
    if (!scrub->header && scrub->walk.footer_at == WALK_LOOK_FOR_FOOTER) {
        return known->live_records; /* nothing tells its epoch: it is taken for clean */
    }
    for (uint32_t i = 0; scrub->hooks.live != NULL && i < scrub->walk.n_entries; i++) {
        found += scrub_wanted(scrub, &scrub->walk.entries[i]);
    }
    return scrub->hooks.live != NULL && found < known->live_records ? known->live_records - found : 0;
}

/* Everything was read: is it what is known of the segment? With a footer that is, nothing is missing. */
static void scrub_compare(struct scrub *scrub) {
    const struct walk *walk = &scrub->walk;
    const struct pager_segment *known = scrub_known(scrub, walk->segment);
    bool same = !walk->walked && walk->n_entries == known->n_entries && walk->used_units == known->used_units;
    uint32_t unfound = same ? 0 : scrub_unfound(scrub, known);
    if (!scrub->header || (known->footer && !same) || unfound > 0) {
        const char *what = scrub->header ? "its footer is damaged" : "its header and its footer are damaged";
        what = same ? "its header is damaged" : known->footer || !scrub->header ? what : "a batch is damaged";
        scrub_segment_damaged(scrub, what, unfound);
    } else if (scrub->told != NULL) {
        scrub->told[walk->segment / 8] &= (uint8_t) ~(1u << walk->segment % 8);
    }
}

/* The same segment again, later. */
static void scrub_put_off(struct scrub *scrub, uint64_t now_ns) {
    scrub->busy = scrub->walking = false;
    scrub->progress.segment = scrub->walk.segment;
    scrub->progress.pass_segments--;
    scrub->progress.pass_unread_segments -= scrub->unread;
    scrub->next_ns = now_ns + SCRUB_AGAIN_NS;
    scrub_close_segment(scrub);
}

static void scrub_walked(struct walk *walk) {
    struct scrub *scrub = walk->ctx;
    if (walk->put_off) {
        scrub_put_off(scrub, walk->op.done_ns);
        return;
    }
    scrub->busy = scrub->walking = false;
    scrub->progress.bytes += walk->read_bytes;
    scrub->progress.pass_bytes += walk->read_bytes;
    scrub_pace(scrub, walk->op.done_ns, walk->read_bytes);
    if (walk->error != 0) {
        scrub_read_failed(scrub, walk->error, walk->op.done_ns);
    }
    if (scrub->restart || !scrub_still_there(scrub)) {
        scrub_close_segment(scrub);
        return;
    }
    scrub->verdicts = calloc(walk->n_entries + 1, 1);
    if (scrub->verdicts == NULL || walk->status == QUIRE_NO_MEMORY) {
        scrub_not_read(scrub, "no memory");
    } else if (walk->error != 0) {
        scrub_not_read(scrub, strerror(walk->error));
    } else if (!scrub->unread) {
        scrub_compare(scrub);
    }
    if (scrub->verdicts == NULL) {
        scrub_close_segment(scrub);
    }
}

static void scrub_header_read(struct disk_op *op) {
    struct scrub *scrub = LOOP_CONTAINER(op, struct scrub, op);
    const struct store_set *set = &scrub->env->set;
    struct quire_log_segment_header header;
    if (pager_is_passing(op->status)) {
        scrub_put_off(scrub, op->done_ns);
        return;
    }
    if (op->status != QUIRE_OK) {
        scrub_read_failed(scrub, op->error, op->done_ns);
        scrub_not_read(scrub, strerror(op->error));
    } else {
        scrub->header =
            quire_log_segment_header_decode(&set->geometry, scrub->memory, set->set_id, scrub->walk.segment, &header) == QUIRE_OK &&
            header.epoch == scrub->epoch;
        scrub->progress.bytes += op->bytes;
        scrub->progress.pass_bytes += op->bytes;
    }
    walk_begin(&scrub->walk);
}

/* Its header, then what it holds. */
static void scrub_begin_segment(struct scrub *scrub) {
    uint32_t device;
    uint64_t offset = disk_locate(&scrub->env->set, scrub->walk.segment, 0, &device);
    scrub->memory = disk_memory(&scrub->env->set, 1);
    if (scrub->memory == NULL) {
        scrub->busy = scrub->walking = false;
        scrub_not_read(scrub, "no memory");
        scrub_close_segment(scrub);
        return;
    }
    scrub->memory_units = 1;
    scrub->iov = (struct iovec){.iov_base = scrub->memory, .iov_len = disk_set_bytes(&scrub->env->set, 1)};
    disk_env_io(scrub->env, &scrub->op, DISK_READ, device, offset, &scrub->iov, 1, scrub_header_read);
}

static void scrub_end_pass(struct scrub *scrub, uint64_t now_ns) {
    struct scrub_progress *p = &scrub->progress;
    p->passes += p->pass_segments > 0;
    if (p->requested) {
        p->requested = false;
        p->requests_done++;
        log_info(
            "disk_verified",
            "disk tier: %llu record%s in %u segment%s verified, %llu damaged, %llu unreadable; of the segments %u damaged, %u not read or "
            "only in part, and %u more in files out of use; %llu record%s not looked at in %u that are being filled",
            (unsigned long long)p->pass_records, quire_s(p->pass_records), p->pass_segments, quire_s(p->pass_segments),
            (unsigned long long)p->pass_damaged, (unsigned long long)p->pass_unreadable, p->pass_damaged_segments, p->pass_unread_segments,
            p->pass_out_segments, (unsigned long long)p->pass_open_records, quire_s(p->pass_open_records), p->pass_open_segments);
    }
    p->segment = 0;
    if (p->pass_segments == 0 || p->pass_records == 0) {
        scrub->next_ns = now_ns + SCRUB_IDLE_NS;
    }
}

/* It cannot be looked at, because something is written there still, or its file is out of use. */
static void scrub_passes_over(struct scrub_progress *p, const struct pager_segment *known) {
    bool open = (known->state == PAGER_SEGMENT_OPEN || known->state == PAGER_SEGMENT_SEALING) && known->live_records > 0;
    p->pass_out_segments += known->state == PAGER_SEGMENT_LOST;
    p->pass_open_segments += open;
    p->pass_open_records += open ? known->live_records : 0;
}

/* The next segment that may be looked at, from progress.segment on. */
static bool scrub_open_segment(struct scrub *scrub) {
    struct scrub_progress *p = &scrub->progress;
    if (p->segment == 0) {
        scrub_begin_pass(scrub);
    }
    const struct pager_segment *known = NULL;
    while (p->segment < p->segments && (known = scrub_known(scrub, p->segment))->state != PAGER_SEGMENT_SEALED) {
        scrub_passes_over(p, known);
        p->segment++;
    }
    if (p->segment >= p->segments) {
        return false;
    }
    scrub->epoch = known->epoch;
    scrub->open = scrub->busy = scrub->walking = true;
    scrub->unread = scrub->header = false;
    scrub->at = scrub->single = 0;
    scrub->units = scrub->read_units = 0;
    p->pass_segments++;
    scrub->walk = (struct walk){.env = scrub->env,
                                .segment = p->segment++,
                                .epoch = scrub->epoch,
                                .footer_at = WALK_LOOK_FOR_FOOTER,
                                .done = scrub_walked,
                                .ctx = scrub};
    scrub_begin_segment(scrub);
    return true;
}

void scrub_turn(struct scrub *scrub, uint64_t now_ns) {
    if (scrub_deadline(scrub) > now_ns) {
        return;
    }
    if (scrub->restart) {
        scrub->restart = false;
        scrub->progress.segment = 0;
        scrub_close_segment(scrub);
    }
    if (scrub->open && scrub->read_units > 0 && scrub->read_units < scrub->units) {
        scrub_read(scrub, now_ns);
    } else if (scrub->open && scrub_plan(scrub)) {
        scrub_read(scrub, now_ns);
    } else {
        scrub_close_segment(scrub);
        if (!scrub_open_segment(scrub)) {
            scrub_end_pass(scrub, now_ns);
        }
    }
}
