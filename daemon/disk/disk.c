#include "daemon/disk/disk.h"

#include "daemon/core_internal.h"
#include "daemon/disk/copies.h"
#include "daemon/disk/meta.h"
#include "daemon/disk/rehearse.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/steward.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define DISK_REAP 256u
/* At the start: so often it is looked whether a drive hangs. */
#define DISK_LOOK_MS 50
/* Pools are made known to the backend in parts of this, as pages are taken: pinning takes them all. */
#define DISK_REGISTER_BYTES (1ull << 30)
#define DISK_REGISTER_PARTS 8u

struct disk_warming { /* memory that entries will go to is touched by the work pool, a page at a time */
    struct work work;
    void *page;
    bool running;
};

struct disk_saving {             /* metadata: as it was when it was asked for */
    struct pager_disk_meta meta; /* the pager's: it stays so */
    struct quire_meta_head head;
    uint8_t members[QUIRE_LOG_MAX_FILES][16];
    struct copies_saved saved; /* the job's, and the loop's once it has ended */
};

struct disk {
    struct core *core;
    struct disk_set *set;
    struct disk_io *io;
    struct rehearsal rehearsal;
    char why[600]; /* this backend */
    bool snapshot_taken;
    char snapshot_why[CONFIG_FILE_PATH_MAX + 200]; /* not, or no more */
    struct loop_source source;
    struct disk_env env;
    struct store *store;
    struct restart *restart;
    struct scrub *scrub;
    struct stalls stalls;
    uint64_t lengths_ns; /* of the files: when they were looked at last */
    bool more;           /* entries to be told at once */
    struct disk_warming warming;
    bool registered, register_ends;
    uint64_t registered_bytes[CONFIG_MAX_DOMAINS]; /* of each pool */
    bool flushing, flushed;
    struct disk_saving saving;
    bool meta_fails; /* the jobs' that save it */
};

/* ---- what the store asks -------------------------------------------------------------------------------------------------- */

static void disk_complete(void *ctx, uint64_t ticket, enum quire_status status) {
    struct core *core = ((struct disk *)ctx)->core;
    pager_complete(core->pager, core->now_ns, ticket, status);
}

static enum quire_status disk_entries(void *ctx, uint64_t ticket, const struct quire_log_entry *entries, uint32_t n) {
    return pager_disk_entries(((struct disk *)ctx)->core->pager, ticket, entries, n);
}

/* The pager asks for the metadata next: it must not name this file before another deletion counts. */
static void disk_device_lost(void *ctx, uint32_t device) {
    struct disk *disk = ctx;
    struct store_device told;
    char why[160];
    store_device(disk->store, device, &told);
    snprintf(why, sizeof why, "it failed while in use: %s",
             told.last_error == ETIMEDOUT ? "it did not answer"
             : told.last_error == ENODATA ? "it was cut short"
                                          : strerror(told.last_error));
    disk_set_take_out(disk->set, device, why);
    if (disk->restart != NULL) {
        restart_device_lost(disk->restart, device);
    }
    pager_disk_device_lost(disk->core->pager, disk->core->now_ns, device);
}

static const quire_layout *disk_layout(void *ctx, uint16_t ns, uint32_t *serial) {
    const struct pager *pager = ((struct disk *)ctx)->core->pager;
    *serial = pager_ns_serial(pager, ns);
    return pager_ns_layout(pager, ns);
}

static enum quire_status disk_meta(void *ctx, uint64_t ticket) {
    struct disk *disk = ctx;
    struct disk_saving *saving = &disk->saving;
    QUIRE_FORWARD(pager_disk_meta(disk->core->pager, ticket, &saving->meta));
    disk_set_describe_meta(disk->set, &saving->head, saving->members);
    saving->head.next_serial = saving->meta.next_serial;
    saving->head.n_namespaces = saving->meta.n_items;
    saving->head.n_pins = saving->meta.n_pins;
    saving->head.sequence = disk->set->generation << PAGER_SEQUENCE_BITS;
    return QUIRE_OK;
}

/* On a worker, one job at a time. It is tried again each second: told when that begins, and when it ends. */
static void disk_note_meta(struct disk *disk, enum quire_status status, const char *why) {
    if (status != QUIRE_OK && !disk->meta_fails) {
        log_error("disk_meta_failed", "%s; until it can be, no deletion and no pin is durable, and new namespaces live in memory alone",
                  why);
    } else if (status == QUIRE_OK && disk->meta_fails) {
        log_info("disk_meta_saved", "%s: can be replaced again", disk->set->meta_path);
    }
    disk->meta_fails = status != QUIRE_OK;
}

/* On a worker: there may be many pins. */
static enum quire_status disk_encode(void *ctx, uint8_t **bytes, size_t *size) {
    struct disk *disk = ctx;
    const struct disk_saving *saving = &disk->saving;
    struct quire_meta_pin *pins = malloc((saving->meta.n_pins + 1ull) * sizeof *pins);
    enum quire_status status = QUIRE_NO_MEMORY;
    if (pins != NULL) {
        pager_disk_meta_pins(&saving->meta, pins);
        status = disk_meta_encode(&saving->head, saving->meta.items, pins, (const uint8_t(*)[16])saving->members, bytes, size);
    }
    free(pins);
    if (status != QUIRE_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s: cannot be put together: %s", disk->set->meta_path, quire_status_text(status));
        disk_note_meta(disk, status, why);
    }
    return status;
}

static enum quire_status disk_save(void *ctx, uint8_t *bytes, size_t size) {
    struct disk *disk = ctx;
    char why[512];
    enum quire_status status = copies_save(disk->set, bytes, size, &disk->saving.saved, why, sizeof why);
    disk_note_meta(disk, status, why);
    return status;
}

/* What was saved names them no more: the wish has succeeded, and the pager wants one more picture without them. */
static void disk_saved(void *ctx) {
    struct disk *disk = ctx;
    struct copies_saved saved = disk->saving.saved;
    disk->saving.saved.lost = 0;
    for (uint32_t i = 0; saved.lost >> i != 0; i++) {
        if (saved.lost >> i & 1) {
            store_give_up(disk->store, i, "its metadata cannot be written", saved.error[i]);
        }
    }
}

/* One copy a file. */
static void disk_meta_writes(void *ctx, uint64_t bytes) {
    const struct disk *disk = ctx;
    static const uint8_t nobody[16];
    uint32_t n_copies = 0;
    for (uint32_t i = 0; i < disk->set->n_files; i++) {
        n_copies += memcmp(disk->saving.members[i], nobody, sizeof nobody) != 0;
    }
    n_copies = n_copies > 0 ? n_copies : disk->set->n_files;
    pager_disk_meta_writes(disk->core->pager, disk->core->now_ns, n_copies * bytes);
}

static void disk_run(void *ctx, struct work *list) { workpool_submit(((struct disk *)ctx)->core->workpool, list); }

/* ---- what restart and scrub ask ------------------------------------------------------------------------------------------- */

static void disk_found_segment(void *ctx, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units,
                               uint32_t n_entries) {
    pager_restore_segment(((struct disk *)ctx)->core->pager, segment, state, epoch, used_units, n_entries);
}

static void disk_may_serve(void *ctx) { (void)ctx; /* disk_create waits for it */ }

static void disk_found_entries(void *ctx, uint32_t segment, const struct quire_log_entry *entries, uint32_t n) {
    struct core *core = ((struct disk *)ctx)->core;
    pager_restore_entries(core->pager, core->now_ns, segment, entries, n);
}

static void disk_found_live(void *ctx, const struct quire_snapshot_entry *entries, uint32_t n) {
    struct core *core = ((struct disk *)ctx)->core;
    pager_restore_live(core->pager, core->now_ns, entries, n);
}

static void disk_found_too_much(void *ctx) { pager_restore_incomplete(((struct disk *)ctx)->core->pager); }

static bool disk_found_all(void *ctx) {
    struct core *core = ((struct disk *)ctx)->core;
    return pager_restore_end(core->pager, core->now_ns);
}

static void disk_read_failed(void *ctx, uint32_t device, int error, uint64_t now_ns) {
    store_read_failed(((struct disk *)ctx)->store, device, error, now_ns);
}

static void disk_unreadable(void *ctx, uint32_t device, int error) {
    store_give_up(((struct disk *)ctx)->store, device, "a part of it cannot be read, and deletions may stand there", error);
}

static const struct pager_segment *disk_segment(void *ctx, uint32_t segment) {
    return pager_disk_segment(((struct disk *)ctx)->core->pager, segment);
}

static bool disk_live(void *ctx, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry) {
    return pager_disk_is_live(((struct disk *)ctx)->core->pager, segment, epoch, entry);
}

static bool disk_damaged(void *ctx, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry, enum quire_status why) {
    struct disk *disk = ctx;
    struct core *core = disk->core;
    uint32_t device;
    if (why == QUIRE_SYSTEM) {
        return pager_disk_unreadable(core->pager, core->now_ns, segment, epoch, entry);
    }
    bool dropped = pager_disk_damaged(core->pager, core->now_ns, segment, epoch, entry);
    if (dropped) {
        disk_locate(&disk->env.set, segment, 0, &device);
        store_found_corrupt(disk->store, device);
    }
    return dropped;
}

/* ---- start ---------------------------------------------------------------------------------------------------------------- */

static enum quire_status disk_create_io(struct disk *disk, char *why, size_t why_bytes) {
    const struct config *config = &disk->core->config;
    uint32_t depth = config->disk.io_depth * disk->set->n_files;
    enum quire_status status = disk_io_create(config->disk.io_backend, depth, &disk->io, disk->why, sizeof disk->why);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "disk tier: %s", disk->why);
        return status;
    }
    if (rehearse_wanted(config)) {
        QUIRE_FORWARD(faults_create(disk->io, &disk->io));
        rehearse_apply(&disk->rehearsal, disk->io, config);
    }
    log_info("disk_backend", "disk tier: %s", disk->why);
    return QUIRE_OK;
}

static enum quire_status disk_create_env(struct disk *disk) {
    struct store_set *set = &disk->env.set;
    set->n_files = disk->set->n_files;
    set->geometry = disk->set->geometry;
    memcpy(set->set_id, disk->set->set_id, sizeof set->set_id);
    memcpy(set->geometry.set_id, disk->set->set_id, sizeof set->set_id);
    for (uint32_t i = 0; i < set->n_files; i++) {
        const struct disk_set_file *file = &disk->set->files[i];
        set->fd[i] = file->fd;
        set->segments[i] = file->n_segments;
        set->out[i] = !file->in_use || file->fd < 0;
        set->fresh[i] = file->fresh;
        if (!set->out[i]) {
            QUIRE_FORWARD(disk->io->ops->add_file(disk->io, file->fd, &set->file[i]));
            rehearse_number_file(disk->io, set->file[i], i);
        }
    }
    disk->env.io = disk->io;
    disk->env.run = disk_run;
    disk->env.ctx = disk;
    return QUIRE_OK;
}

static enum quire_status disk_create_parts(struct disk *disk) {
    const struct core *core = disk->core;
    const struct store_hooks store_hooks = {.complete = disk_complete,
                                            .entries = disk_entries,
                                            .device_lost = disk_device_lost,
                                            .layout = disk_layout,
                                            .meta = disk_meta,
                                            .meta_encode = disk_encode,
                                            .meta_writes = disk_meta_writes,
                                            .meta_save = disk_save,
                                            .meta_saved = disk_saved,
                                            .ctx = disk};
    const struct restart_hooks restart_hooks = {.segment = disk_found_segment,
                                                .serve = disk_may_serve,
                                                .entries = disk_found_entries,
                                                .live = disk_found_live,
                                                .blind = disk_found_too_much,
                                                .end = disk_found_all,
                                                .read_failed = disk_read_failed,
                                                .unreadable = disk_unreadable,
                                                .ctx = disk};
    const struct scrub_hooks scrub_hooks = {
        .segment = disk_segment, .live = disk_live, .damaged = disk_damaged, .read_failed = disk_read_failed, .ctx = disk};
    struct store_pool pools[CONFIG_MAX_DOMAINS];
    for (uint32_t i = 0; i < core->n_pools; i++) {
        pools[i] = (struct store_pool){
            .base = core->pools[i]->base, .size_bytes = core->pools[i]->size_bytes, .doubted = core->config.domains[i].rma};
    }
    QUIRE_FORWARD(store_create(&disk->env, pools, core->n_pools, &store_hooks, &disk->store));
    QUIRE_FORWARD(restart_create(&disk->env, &restart_hooks, &disk->restart));
    return scrub_create(&disk->env, &scrub_hooks, &disk->scrub);
}

static enum quire_status disk_create_log(struct disk *disk, uint64_t first_sequence) {
    const struct store_set *set = &disk->env.set;
    struct pager_log_shape shape = {.geometry = set->geometry, .n_devices = set->n_files, .reserve = 1};
    memcpy(shape.segments, set->segments, sizeof shape.segments);
    QUIRE_FORWARD(pager_disk_create(disk->core->pager, &shape, &disk->core->config.disk.pager, first_sequence));
    for (uint32_t i = 0; i < set->n_files; i++) {
        if (set->out[i]) {
            pager_disk_device_lost(disk->core->pager, disk->core->now_ns, i);
        }
    }
    return QUIRE_OK;
}

static bool disk_domain(const struct core *core, const struct quire_meta_item *item, uint32_t *domain) {
    for (*domain = 0; *domain < core->n_pools; ++*domain) {
        const char *name = core->config.domains[*domain].name;
        if (strlen(name) == item->domain_bytes && memcmp(name, item->domain, item->domain_bytes) == 0) {
            return true;
        }
    }
    return false;
}

#define DISK_KEPT_NAMED 4u

/* Namespaces that cannot be had, for one line of the log. */
struct disk_kept {
    uint32_t n;
    char names[DISK_KEPT_NAMED * (2 * QUIRE_MAX_NAME + 40)];
};

static void disk_note_kept(struct disk_kept *kept, const struct quire_meta_item *item, enum quire_status status) {
    size_t used = strlen(kept->names);
    if (kept->n++ < DISK_KEPT_NAMED) {
        snprintf(kept->names + used, sizeof kept->names - used, "%s%.*s/%.*s (%s)", used > 0 ? ", " : "", (int)item->domain_bytes,
                 item->domain, (int)item->name_bytes, item->name,
                 status == QUIRE_NOT_FOUND ? "no such domain"
                 : status == QUIRE_FULL    ? "max_namespaces"
                                           : "cannot be used");
    }
}

/* What cannot be had is kept as it is: perhaps a domain is missing from the configuration by mistake. */
static enum quire_status disk_restore_namespace(struct disk *disk, const struct quire_meta_item *item, uint32_t next_serial,
                                                struct disk_kept *kept) {
    uint32_t domain;
    enum quire_status status = QUIRE_NOT_FOUND;
    if (disk_domain(disk->core, item, &domain)) {
        status = pager_restore_ns(disk->core->pager, item, domain, next_serial);
    }
    if (status == QUIRE_OK || status == QUIRE_NO_MEMORY) {
        return status;
    }
    disk_note_kept(kept, item, status);
    status = pager_restore_keep(disk->core->pager, item);
    return status == QUIRE_NO_MEMORY ? status : QUIRE_OK;
}

static void disk_tell_kept(const struct disk_kept *kept) {
    if (kept->n > 0) {
        log_warn(
            "disk_kept",
            "disk tier: %u namespace%s cannot be used, and %s kept as %s: %s%s. When what is in the way is gone, a restart has %s again, "
            "with what the disk still holds then; `quirectl ns delete DOMAIN/NAME` gets rid of one",
            kept->n, quire_s(kept->n), kept->n == 1 ? "is" : "are", kept->n == 1 ? "it is" : "they are", kept->names,
            kept->n > DISK_KEPT_NAMED ? " and others" : "", kept->n == 1 ? "it" : "them");
    }
}

static enum quire_status disk_restore_meta(struct disk *disk, const struct quire_meta_head *head) {
    struct pager *pager = disk->core->pager;
    struct quire_meta_item item;
    struct disk_kept kept = {.n = 0};
    size_t at = 0;
    pager_restore_serial(pager, head->next_serial);
    while (quire_meta_next(disk->set->meta, &at, &item)) {
        QUIRE_FORWARD(disk_restore_namespace(disk, &item, head->next_serial, &kept));
    }
    disk_tell_kept(&kept);
    for (uint32_t i = 0; i < head->n_pins; i++) {
        struct quire_meta_pin pin;
        quire_meta_pin_at(disk->set->meta, i, &pin);
        if (pager_restore_pin(pager, &pin) == QUIRE_NO_MEMORY) {
            return QUIRE_NO_MEMORY;
        }
    }
    free(disk->set->meta);
    disk->set->meta = NULL;
    return QUIRE_OK;
}

static void disk_ready(struct loop_source *source, uint32_t events) {
    struct disk *disk = LOOP_CONTAINER(source, struct disk, source);
    (void)events;
    disk->core->now_ns = loop_now_ns();
    disk->io->ops->reap(disk->io, DISK_REAP);
}

static void disk_give_up(struct disk *disk, uint32_t devices) {
    for (uint32_t i = 0; devices >> i != 0; i++) {
        if (devices >> i & 1) {
            disk_env_give_up(&disk->env, i);
            restart_device_hangs(disk->restart, i);
            scrub_device_hangs(&disk->scrub, i);
            store_give_up(disk->store, i, "it does not answer", ETIMEDOUT);
        }
    }
}

/* Drives that do not answer, and what they had been asked for. */
static void disk_check_stalls(struct disk *disk) {
    uint64_t away_ns;
    disk_give_up(disk, stalls_check(&disk->stalls, &disk->env, disk->core->now_ns, &away_ns));
    store_meta_forgive(disk->store, away_ns);
    disk_env_turn(&disk->env);
    uint64_t since_ns = store_meta_since_ns(disk->store);
    if (since_ns != 0 && disk->core->now_ns >= since_ns + disk->stalls.limit_ns) {
        log_error("disk_meta_stalled",
                  "%s.meta: cannot be replaced, its drive does not answer; until it does, no deletion and no pin is durable",
                  disk->set->files[disk->set->saving].path);
        store_meta_give_up(disk->store);
    }
}

static void disk_look_at_lengths(struct disk *disk) {
    if (disk->core->now_ns < disk->lengths_ns + QUIRE_NS_PER_S) {
        return;
    }
    disk->lengths_ns = disk->core->now_ns;
    for (uint32_t i = 0; i < disk->env.set.n_files; i++) {
        (void)store_look_at_length(disk->store, i);
    }
}

/* Header and trailer of every segment, before anything is served: nobody else is there yet who could wait. A drive that hangs is left out. */
/* Nobody can ask a daemon that does not serve yet: whoever started it is told. `told`: that it waits. */
static void disk_tell_manager(const struct disk *disk, bool *told) {
    char waits[CONFIG_FILE_PATH_MAX + 80], text[sizeof waits + 80] = "starting";
    bool now = disk_waits(disk, waits, sizeof waits);
    if (now) {
        snprintf(text, sizeof text, "starting; a file cannot be read now, and is tried again: %s", waits);
    }
    if (now != *told) {
        notify_status(text);
    }
    *told = now;
}

/* CANCELLED: the daemon is to stop. A drive that is short of memory may be asked for a long time. */
static enum quire_status disk_find_segments(struct disk *disk, char *why, size_t why_bytes) {
    bool told = false;
    restart_begin(disk->restart);
    while (!restart_progress(disk->restart)->serving) {
        if (steward_stop_waits()) {
            snprintf(why, why_bytes, "disk tier: stopped while its segments were looked at");
            return QUIRE_CANCELLED;
        }
        struct pollfd ready = {.fd = disk->io->ops->event_fd(disk->io), .events = POLLIN};
        disk_env_flush(&disk->env);
        if (poll(&ready, 1, DISK_LOOK_MS) > 0) {
            disk_ready(&disk->source, 0);
        }
        disk_tell_manager(disk, &told);
        restart_try_again(disk->restart);
        disk->core->now_ns = loop_now_ns();
        disk_check_stalls(disk);
    }
    disk_env_flush(&disk->env);
    const struct restart_progress *p = restart_progress(disk->restart);
    log_info("disk_serving", "disk tier: %u of %u segment%s hold%s something; serving begins while they are read", p->to_read, p->segments,
             quire_s(p->segments), p->to_read == 1 ? "s" : "");
    return QUIRE_OK;
}

/* Whatever is wrong with it, the log is there. */
static void disk_take_snapshot(struct disk *disk) {
    struct core *core = disk->core;
    struct snapshot *snapshot;
    uint32_t n;
    enum quire_status status = snapshot_open(disk->set, &snapshot, disk->snapshot_why, sizeof disk->snapshot_why);
    disk->snapshot_taken = status == QUIRE_OK;
    if (status == QUIRE_OK) {
        const uint32_t *openings = snapshot_openings(snapshot, &n);
        pager_restore_openings(core->pager, core->now_ns, openings, n);
        restart_use_snapshot(disk->restart, snapshot);
    } else if (status != QUIRE_NOT_FOUND) {
        log_warn("disk_snapshot_refused", "%s: the log is read instead", disk->snapshot_why);
    } else if (!disk->set->clean) {
        snprintf(disk->snapshot_why, sizeof disk->snapshot_why, "quired was not stopped in good order");
    }
}

static enum quire_status disk_setup(struct disk *disk, char *why, size_t why_bytes) {
    struct core *core = disk->core;
    struct quire_meta_head head = {0};
    QUIRE_FORWARD(disk_set_open(&core->config, &disk->set, why, why_bytes));
    QUIRE_FORWARD(disk_create_io(disk, why, why_bytes));
    QUIRE_FORWARD(disk_create_env(disk));
    QUIRE_FORWARD(disk_create_parts(disk));
    if (disk->set->meta != NULL) {
        QUIRE_FORWARD(quire_meta_open(disk->set->meta, disk->set->meta_bytes, disk->set->set_id, &head));
    }
    /* This generation is higher than the metadata's, so this is higher than what the metadata tells. */
    QUIRE_FORWARD(disk_create_log(disk, disk->set->generation << PAGER_SEQUENCE_BITS));
    pager_disk_wrote(core->pager, core->now_ns, disk->set->written_bytes);
    if (disk->set->meta != NULL) {
        QUIRE_FORWARD(disk_restore_meta(disk, &head));
    }
    void *memory;
    uint64_t bytes;
    store_memory(disk->store, &memory, &bytes);
    disk->io->ops->add_memory(disk->io, memory, bytes, &disk->registered);
    disk->register_ends = !disk->registered;
    disk_take_snapshot(disk);
    stalls_set(&disk->stalls, core->config.disk.stall_warn_ms, core->config.disk.stall_limit_ms);
    QUIRE_FORWARD(disk_find_segments(disk, why, why_bytes));
    scrub_set_rate(disk->scrub, core->config.disk.scrub_bytes_per_s);
    disk->source = (struct loop_source){.fd = disk->io->ops->event_fd(disk->io), .events = EPOLLIN, .ready = disk_ready};
    return loop_add(core->loop, &disk->source);
}

enum quire_status disk_create(struct core *core, struct disk **out, char *why, size_t why_bytes) {
    struct disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) {
        return QUIRE_NO_MEMORY;
    }
    disk->core = core;
    disk->source.fd = -1;
    *out = disk;
    enum quire_status status = disk_setup(disk, why, why_bytes);
    if (status != QUIRE_OK && why[0] == '\0') {
        snprintf(why, why_bytes, "disk tier: %s", quire_status_text(status));
    }
    return status; /* the core destroys it, after the work pool */
}

/* 0: there is none, and the next start reads the log. */
static uint64_t disk_save_snapshot(struct disk *disk) {
    const struct core *core = disk->core;
    uint64_t id, n_entries, begun_ns = loop_now_ns();
    char why[CONFIG_FILE_PATH_MAX + 200];
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    if (stats.kept_namespaces > 0) {
        log_info("disk_no_snapshot", "disk tier: no snapshot of the index, because the log holds more than it: namespaces that are kept");
        return 0;
    }
    enum quire_status status = snapshot_save(core->pager, disk->set, core->drain_until_ns, &id, &n_entries, why, sizeof why);
    if (status != QUIRE_OK) {
        log_warn("disk_snapshot_failed", "%s: the next start reads the log", why);
        return 0;
    }
    log_info("disk_snapshot", "disk tier: %llu record%s in a snapshot, in %.3f s", (unsigned long long)n_entries, quire_s(n_entries),
             (double)(loop_now_ns() - begun_ns) / QUIRE_NS_PER_S);
    return id;
}

/* What nobody can ask for any more is told: all that was written since the start, the snapshot and the last superblocks too. */
static void disk_close(struct disk *disk, bool clean) {
    struct pager *pager = disk->core->pager;
    uint64_t told_bytes = disk->set->written_bytes, id = clean ? disk_save_snapshot(disk) : 0;
    uint64_t set_bytes = disk_set_close(&disk->set, clean, id);
    if (pager != NULL && pager_has_disk(pager)) {
        struct pager_disk_stats stats;
        char size[QUIRE_UNITS_BYTES];
        pager_disk_wrote(pager, disk->core->now_ns, set_bytes - told_bytes);
        pager_disk_stats(pager, &stats);
        quire_human_size(stats.counters->disk_written_bytes, size, sizeof size);
        log_info("disk_closed", "disk tier: closed; %s written since the start (%llu bytes)", size,
                 (unsigned long long)stats.counters->disk_written_bytes);
    }
}

void disk_destroy(struct disk **out) {
    struct disk *disk = *out;
    if (disk == NULL) {
        return;
    }
    if (disk->source.fd >= 0) {
        loop_remove(disk->core->loop, &disk->source);
    }
    bool settled = pager_disk_is_settled(disk->core->pager);
    bool clean = disk->flushed && settled && store_in_flight(disk->store) == 0 && restart_progress(disk->restart)->ended;
    if (disk->flushed && !settled) {
        log_warn("disk_unsettled",
                 "disk tier: deletions or metadata could not be written before the stop: they were refused, and what they "
                 "were of may be there again after the next start, which reads the log");
    }
    if (disk->io != NULL) {
        disk->io->ops->destroy(&disk->io);
    }
    scrub_destroy(&disk->scrub);
    restart_destroy(&disk->restart);
    store_destroy(&disk->store);
    if (disk->set != NULL) {
        disk_close(disk, clean);
    }
    free(disk);
    *out = NULL;
}

/* ---- turns ---------------------------------------------------------------------------------------------------------------- */

void disk_begin(struct disk *disk, const struct pager_event *event) { store_begin(disk->store, event); }

/* A wish: where it fails, the loop's own touch does. Should the page be gone by then, what lies there instead is left as it is, too. */
static void disk_run_warming(struct work *work) {
    (void)madvise(LOOP_CONTAINER(work, struct disk_warming, work)->page, PAGER_RESTORE_PAGE, MADV_POPULATE_WRITE);
}

static void disk_warmed(struct work *work) { LOOP_CONTAINER(work, struct disk_warming, work)->running = false; }

static void disk_warm(struct disk *disk) {
    struct disk_warming *warming = &disk->warming;
    void *page = warming->running ? NULL : pager_restore_warm(disk->core->pager);
    if (page != NULL) {
        *warming = (struct disk_warming){.work = {.run = disk_run_warming, .done = disk_warmed}, .page = page, .running = true};
        workpool_submit(disk->core->workpool, &warming->work);
    }
}

void disk_turn(struct disk *disk) {
    disk_check_stalls(disk);
    disk_look_at_lengths(disk);
    disk_warm(disk);
    disk->more = restart_turn(disk->restart);
    if (restart_progress(disk->restart)->ended) { /* before that nobody knows what is needed */
        scrub_turn(disk->scrub, disk->core->now_ns);
    }
}

void disk_submit(struct disk *disk) { disk_env_flush(&disk->env); }

uint64_t disk_deadline(const struct disk *disk) {
    if (disk->more || disk->env.ended != NULL) {
        return 0;
    }
    uint64_t scrub_ns = restart_progress(disk->restart)->ended ? scrub_deadline(disk->scrub) : UINT64_MAX;
    uint64_t meta_ns = store_meta_since_ns(disk->store);
    meta_ns = meta_ns != 0 ? meta_ns + disk->stalls.limit_ns : UINT64_MAX;
    uint64_t restart_ns = restart_deadline(disk->restart);
    return quire_min_u64(quire_min_u64(quire_min_u64(scrub_ns, meta_ns), restart_ns), stalls_deadline(&disk->stalls, &disk->env));
}

void disk_populated(struct disk *disk, uint32_t domain) {
    const struct pool *pool = disk->core->pools[domain];
    uint64_t *from_bytes = &disk->registered_bytes[domain];
    uint64_t part_bytes = quire_min_u64(DISK_REGISTER_BYTES, pool->size_bytes / DISK_REGISTER_PARTS);
    bool all = pool->populated_bytes >= pool->size_bytes;
    if (disk->register_ends || *from_bytes >= pool->populated_bytes || (!all && pool->populated_bytes - *from_bytes < part_bytes)) {
        return;
    }
    bool registered = false;
    disk->io->ops->add_memory(disk->io, pool->base + *from_bytes, pool->populated_bytes - *from_bytes, &registered);
    *from_bytes = pool->populated_bytes;
    disk->register_ends = !registered;
    disk->registered = registered && disk->registered;
}

enum quire_status disk_apply_config(struct disk *disk, const char **why) {
    const struct config *config = &disk->core->config;
    pager_disk_set_options(disk->core->pager, &config->disk.pager);
    scrub_set_rate(disk->scrub, config->disk.scrub_bytes_per_s);
    stalls_set(&disk->stalls, config->disk.stall_warn_ms, config->disk.stall_limit_ms);
    rehearse_apply(&disk->rehearsal, disk->io, config);
    *why = disk->rehearsal.why;
    return disk->rehearsal.refused;
}

/* Whoever does not answer now is not waited for: the time is for those that do. */
void disk_flush(struct disk *disk) {
    if (!disk->flushing) {
        disk->flushing = true;
        disk_give_up(disk, stalls_now(&disk->stalls, &disk->env));
        scrub_set_rate(disk->scrub, 0);
        scrub_cancel(disk->scrub);
        pager_disk_flush(disk->core->pager, disk->core->now_ns);
    }
}

void disk_flush_ended(struct disk *disk) { disk->flushed = true; }

bool disk_flushed(const struct disk *disk) { return disk->flushed; }

/* ---- for operators -------------------------------------------------------------------------------------------------------- */

const struct disk_set *disk_files(const struct disk *disk) { return disk->set; }

struct disk_io *disk_backend(const struct disk *disk, const char **why, bool *registered) {
    *why = disk->why;
    *registered = disk->registered;
    return disk->io;
}

struct store *disk_store(const struct disk *disk) {
    return disk->store;
}
const struct restart_progress *disk_restart(const struct disk *disk) { return restart_progress(disk->restart); }

bool disk_waits(const struct disk *disk, char *text, size_t text_bytes) {
    const struct restart_progress *p = restart_progress(disk->restart);
    text[0] = '\0';
    for (uint32_t i = 0; i < disk->set->n_files; i++) {
        if (p->waits_error[i] != 0) {
            snprintf(text, text_bytes, "%s: %s", disk->set->files[i].path, strerror(p->waits_error[i]));
        }
    }
    return text[0] != '\0';
}

enum disk_origin disk_origin(const struct disk *disk, const char **why) {
    *why = disk->snapshot_taken ? "the snapshot turned out to be damaged" : disk->snapshot_why;
    return disk->set->fresh ? DISK_FROM_NOTHING : restart_progress(disk->restart)->from_snapshot ? DISK_FROM_SNAPSHOT : DISK_FROM_LOG;
}

struct scrub *disk_scrub(const struct disk *disk) {
    return disk->scrub;
}
const struct stall *disk_stall(const struct disk *disk, uint32_t file) { return &disk->stalls.devices[file]; }
