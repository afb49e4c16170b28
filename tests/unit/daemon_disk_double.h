/*
 * What the tests of the disk tier's executors share: a real file behind a backend that does one thing after the other and fails on demand, a
 * pool with records in it, and a pager that wishes what the test says and remembers what it was told.
 */
#ifndef DAEMON_DISK_DOUBLE_H
#define DAEMON_DISK_DOUBLE_H

#include "daemon/disk/op.h"
#include "daemon/disk/store.h"
#include "daemon/log.h"
#include "tests/unit/codec_sample.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DOUBLE_UNIT 512u
#define DOUBLE_SEGMENT_UNITS 512u /* 256 KiB */
#define DOUBLE_SEGMENTS 8u        /* of each of two files */
#define DOUBLE_FILES 2u
#define DOUBLE_POOL_BYTES (4u << 20)
#define DOUBLE_TICKETS 4096u
#define DOUBLE_GENERATION 3u /* this start's */
#define DOUBLE_PENDING 999   /* no status: not completed */

/* ---- a backend that works at once, or when it is told to ---- */
struct double_io {
    struct disk_io io; /* first */
    int fds[DOUBLE_FILES];
    uint32_t n_files;
    struct disk_op *held, *ended;
    bool hold;
    uint32_t fail_reads, fail_writes, fail_syncs; /* so many of the next, with */
    int error;                                    /* 0: EIO */
    uint64_t bad_from, bad_to;                    /* of file 0, what cannot be read, ever */
    uint32_t n_reads, n_writes, n_syncs, in_flight;
    uint64_t clock_ns; /* of completions */
    char order[64];    /* of operations carried out: r, w, s */
};

static inline void double_carry_out(struct double_io *io, struct disk_op *op) {
    uint32_t *fail = op->type == DISK_READ ? &io->fail_reads : op->type == DISK_WRITE ? &io->fail_writes : &io->fail_syncs;
    size_t n = strlen(io->order);
    if (n + 1 < sizeof io->order) {
        io->order[n] = "rws"[op->type];
    }
    op->status = QUIRE_OK;
    op->done_ns = io->clock_ns;
    bool bad = op->type == DISK_READ && op->file == 0 && op->offset < io->bad_to && op->offset + op->bytes > io->bad_from;
    if (*fail > 0 || bad) {
        *fail -= *fail > 0;
        disk_op_end(op, io->error != 0 ? io->error : EIO);
        op->done_ns = io->clock_ns;
    } else if (op->type == DISK_READ) {
        io->n_reads++;
        cr_assert_eq(preadv(io->fds[op->file], op->iov, (int)op->n_iov, (off_t)op->offset), (ssize_t)op->bytes);
    } else if (op->type == DISK_WRITE) {
        io->n_writes++;
        cr_assert_eq(pwritev(io->fds[op->file], op->iov, (int)op->n_iov, (off_t)op->offset), (ssize_t)op->bytes);
    } else {
        io->n_syncs++;
    }
    op->next = io->ended;
    io->ended = op;
}

static inline void double_submit(struct disk_io *base, struct disk_op *list) {
    struct double_io *io = (struct double_io *)base;
    while (list != NULL) {
        struct disk_op *op = list;
        list = op->next;
        io->in_flight++;
        cr_assert(op->offset % DOUBLE_UNIT == 0 && op->bytes % DOUBLE_UNIT == 0);
        for (uint32_t i = 0; i < op->n_iov; i++) {
            cr_assert((uintptr_t)op->iov[i].iov_base % DOUBLE_UNIT == 0 && op->iov[i].iov_len % DOUBLE_UNIT == 0);
        }
        if (io->hold) { /* last come, first carried out */
            op->next = io->held;
            io->held = op;
        } else {
            double_carry_out(io, op);
        }
    }
}

/* Carries out what was held, the newest first, but for the first `keep` of them. */
static inline void double_release(struct double_io *io) {
    while (io->held != NULL) {
        struct disk_op *op = io->held;
        io->held = op->next;
        double_carry_out(io, op);
    }
}

static inline uint32_t double_reap(struct disk_io *base, uint32_t max) {
    struct double_io *io = (struct double_io *)base;
    uint32_t n = 0;
    while (n < max && io->ended != NULL) {
        struct disk_op *op = io->ended;
        io->ended = op->next;
        io->in_flight--;
        n++;
        op->done(op);
    }
    return n;
}

static const struct disk_io_ops double_io_ops = {.name = "double", .submit = double_submit, .reap = double_reap};

/* ---- the tier ---- */
struct double_tier {
    struct double_io io;
    struct disk_env env;
    struct work *jobs;
    char paths[DOUBLE_FILES][64];
    uint8_t *pool;
    uint32_t pool_used;
    quire_layout layout;
    bool no_layout;
    bool doubted; /* the pool */
    bool hangs;   /* file 0, from the moment on at which its reads are put off */
    struct store *store;
    int statuses[DOUBLE_TICKETS]; /* by ticket */
    uint32_t completed[DOUBLE_TICKETS];
    uint64_t tickets;
    uint32_t lost[DOUBLE_FILES];
    struct quire_log_entry *entries; /* of the last ENTRIES */
    uint32_t n_entries;
    const char *to_save; /* NULL: the usual */
    char *picture;       /* of what is to be saved: gone when its ticket ends */
    uint64_t picture_ticket;
    uint8_t saved[64];
    size_t saved_bytes;
    enum quire_status encode_status, save_status;
};

static inline void double_meta_writes(void *ctx, uint64_t bytes) {
    (void)ctx;
    cr_assert_gt(bytes, 0);
}

static inline void double_complete(void *ctx, uint64_t ticket, enum quire_status status) {
    struct double_tier *tier = ctx;
    tier->statuses[ticket] = (int)status;
    tier->completed[ticket]++;
    if (ticket == tier->picture_ticket) {
        free(tier->picture);
        tier->picture = NULL;
    }
}
static inline enum quire_status double_entries(void *ctx, uint64_t ticket, const struct quire_log_entry *entries, uint32_t n) {
    struct double_tier *tier = ctx;
    cr_assert_eq(tier->statuses[ticket], DOUBLE_PENDING, "entries come before the completion");
    free(tier->entries);
    tier->entries = calloc(n + 1, sizeof *entries);
    memcpy(tier->entries, entries, n * sizeof *entries);
    tier->n_entries = n;
    return QUIRE_OK;
}
static inline void double_lost(void *ctx, uint32_t device) { ((struct double_tier *)ctx)->lost[device]++; }
static inline const quire_layout *double_layout(void *ctx, uint16_t ns, uint32_t *serial) {
    struct double_tier *tier = ctx;
    *serial = 7u + ns;
    return tier->no_layout ? NULL : &tier->layout;
}
static inline enum quire_status double_meta(void *ctx, uint64_t ticket) {
    struct double_tier *tier = ctx;
    cr_assert_eq(ticket, tier->tickets);
    cr_assert_null(tier->picture, "one at a time");
    tier->picture = strdup(tier->to_save != NULL ? tier->to_save : "what is to be saved");
    tier->picture_ticket = ticket;
    return QUIRE_OK;
}
static inline enum quire_status double_encode(void *ctx, uint8_t **bytes, size_t *size) {
    const struct double_tier *tier = ctx;
    if (tier->encode_status == QUIRE_OK) {
        *size = strlen(tier->picture);
        *bytes = (uint8_t *)strdup(tier->picture);
    }
    return tier->encode_status;
}
static inline enum quire_status double_save(void *ctx, uint8_t *bytes, size_t size) {
    struct double_tier *tier = ctx;
    memcpy(tier->saved, bytes, size);
    tier->saved_bytes = size;
    return tier->save_status;
}
static inline void double_saved(void *ctx) { (void)ctx; }
static inline void double_run(void *ctx, struct work *list) {
    struct double_tier *tier = ctx;
    list->next = tier->jobs;
    tier->jobs = list;
}

static const uint8_t double_set_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* Turns until nothing moves. */
static inline void double_turn(struct double_tier *tier) {
    do {
        disk_env_flush(&tier->env);
        double_reap(&tier->io.io, UINT32_MAX);
        while (tier->jobs != NULL) {
            struct work *work = tier->jobs;
            tier->jobs = work->next;
            work->run(work);
            work->done(work);
        }
    } while (disk_env_turn(&tier->env) || (tier->env.io == &tier->io.io && tier->env.n_waiting > 0) || tier->io.ended != NULL);
}

static inline void double_open_store(struct double_tier *tier) {
    struct store_hooks hooks = {.complete = double_complete,
                                .entries = double_entries,
                                .device_lost = double_lost,
                                .layout = double_layout,
                                .meta = double_meta,
                                .meta_encode = double_encode,
                                .meta_writes = double_meta_writes,
                                .meta_save = double_save,
                                .meta_saved = double_saved,
                                .ctx = tier};
    struct store_pool pool = {.base = tier->pool, .size_bytes = DOUBLE_POOL_BYTES, .doubted = tier->doubted};
    cr_assert_eq(store_create(&tier->env, &pool, 1, &hooks, &tier->store), QUIRE_OK);
}

static inline struct double_tier *double_tier_open(void) {
    struct double_tier *tier = calloc(1, sizeof *tier);
    log_setup(LOG_LEVEL_ERROR, false);
    tier->io.io.ops = &double_io_ops;
    tier->io.io.depth = DOUBLE_TICKETS;
    tier->io.clock_ns = QUIRE_NS_PER_S;
    struct store_set *set = &tier->env.set;
    set->n_files = tier->io.n_files = DOUBLE_FILES;
    set->geometry =
        (struct quire_log_geometry){.unit_bytes = DOUBLE_UNIT, .segment_units = DOUBLE_SEGMENT_UNITS, .generation = DOUBLE_GENERATION};
    memcpy(set->set_id, double_set_id, 16);
    for (uint32_t i = 0; i < DOUBLE_FILES; i++) {
        const char *folder = getenv("TMPDIR");
        snprintf(tier->paths[i], sizeof tier->paths[i], "%.40s/quire-disk-XXXXXX", folder != NULL ? folder : "/tmp");
        tier->io.fds[i] = mkstemp(tier->paths[i]);
        cr_assert(tier->io.fds[i] >= 0);
        unlink(tier->paths[i]);
        cr_assert_eq(ftruncate(tier->io.fds[i], QUIRE_LOG_FIRST_SEGMENT + (off_t)DOUBLE_SEGMENTS * DOUBLE_SEGMENT_UNITS * DOUBLE_UNIT), 0);
        set->file[i] = i;
        set->fd[i] = tier->io.fds[i];
        set->segments[i] = DOUBLE_SEGMENTS;
    }
    tier->env.io = &tier->io.io;
    tier->env.run = double_run;
    tier->env.ctx = tier;
    tier->pool = aligned_alloc(DISK_MEMORY_ALIGN, DOUBLE_POOL_BYTES);
    memset(tier->pool, 0xee, DOUBLE_POOL_BYTES);
    tier->layout = sample_layout(2, 3, 32, 32, QUIRE_F16, 16);
    for (uint32_t i = 0; i < DOUBLE_TICKETS; i++) {
        tier->statuses[i] = DOUBLE_PENDING;
    }
    double_open_store(tier);
    return tier;
}

static inline void double_tier_close(struct double_tier *tier) {
    double_turn(tier);
    cr_assert_eq(store_in_flight(tier->store), 0);
    store_destroy(&tier->store);
    for (uint32_t i = 0; i < DOUBLE_FILES; i++) {
        close(tier->io.fds[i]);
    }
    free(tier->entries);
    free(tier->pool);
    free(tier);
}

/* ---- what the pager would wish ---- */
#define DOUBLE_MAX_BATCH 32u
struct double_batch {
    struct pager_disk_wish wish;
    struct quire_log_entry entries[DOUBLE_MAX_BATCH];
    struct pager_disk_piece pieces[DOUBLE_MAX_BATCH];
    uint64_t ticket;
};

static inline uint32_t double_units(uint64_t bytes) { return (uint32_t)((bytes + DOUBLE_UNIT - 1) / DOUBLE_UNIT); }

/* Puts a sealed record of random lanes into the pool; its extent ends on a unit. */
static inline struct quire_log_entry double_record(struct double_tier *tier, struct dice *dice, uint32_t n_tokens,
                                                   struct pager_disk_piece *piece) {
    struct quire_record_shape shape = shape_of(&tier->layout, n_tokens, 0);
    uint8_t *payload = random_payload(dice, payload_bytes_of(&shape));
    quire_key key;
    for (uint32_t i = 0; i < QUIRE_KEY_BYTES; i++) {
        key.b[i] = (uint8_t)dice_next(dice);
    }
    uint8_t *record = sealed_record(&tier->layout, &shape, &key, payload);
    *piece = (struct pager_disk_piece){.size_bytes = shape.size_bytes, .offset = tier->pool_used};
    tier->pool_used += double_units(shape.size_bytes) * DOUBLE_UNIT;
    cr_assert(tier->pool_used <= DOUBLE_POOL_BYTES);
    memcpy(tier->pool + piece->offset, record, shape.size_bytes);
    free(record);
    free(payload);
    return (struct quire_log_entry){.key = key,
                                    .sequence = dice_next(dice) >> 8,
                                    .ns = 7,
                                    .size_bytes = shape.size_bytes,
                                    .n_tokens = (uint16_t)n_tokens,
                                    .kind = QUIRE_LOG_RECORD,
                                    .flags = QUIRE_LOG_ROOT};
}

static inline uint64_t double_wish(struct double_tier *tier, enum pager_event_type type, const struct pager_disk_wish *wish) {
    const struct pager_event event = {.type = type, .ticket = ++tier->tickets, .disk = wish};
    cr_assert(tier->tickets < DOUBLE_TICKETS);
    store_begin(tier->store, &event);
    return event.ticket;
}

/* n entries, every `tombstones`-th of them a tombstone (0: none), at at_units of a segment. */
static inline struct double_batch *double_batch(struct double_tier *tier, struct dice *dice, uint32_t segment, uint64_t epoch,
                                                uint32_t at_units, uint32_t n, uint32_t tombstones) {
    struct double_batch *batch = calloc(1, sizeof *batch);
    const struct quire_log_geometry *g = &tier->env.set.geometry;
    struct pager_disk_wish *wish = &batch->wish;
    *wish = (struct pager_disk_wish){.device = segment / DOUBLE_SEGMENTS,
                                     .segment = segment,
                                     .epoch = epoch,
                                     .at_units = at_units,
                                     .head_units = quire_log_head_units(g, n),
                                     .first = at_units == 1,
                                     .n = n,
                                     .entries = batch->entries,
                                     .pieces = batch->pieces};
    uint32_t at = at_units + wish->head_units;
    for (uint32_t i = 0; i < n; i++) {
        if (tombstones > 0 && i % tombstones == tombstones - 1) {
            batch->entries[i] = (struct quire_log_entry){.sequence = dice_next(dice) >> 8, .ns = 7, .kind = QUIRE_LOG_TOMBSTONE};
            batch->entries[i].key.b[0] = (uint8_t)dice_next(dice);
            continue;
        }
        batch->entries[i] = double_record(tier, dice, (uint32_t)(1 + dice_below(dice, 16)), &batch->pieces[wish->n_pieces++]);
        batch->entries[i].at_units = at;
        at += double_units(batch->entries[i].size_bytes);
    }
    wish->size_units = at - at_units;
    batch->ticket = double_wish(tier, PAGER_DISK_WRITE, wish);
    return batch;
}

/* The next batch of the segment that another one is in. */
static inline struct double_batch *double_behind(struct double_tier *tier, struct dice *dice, const struct double_batch *before, uint32_t n,
                                                 uint32_t tombstones) {
    const struct pager_disk_wish *wish = &before->wish;
    return double_batch(tier, dice, wish->segment, wish->epoch, wish->at_units + wish->size_units, n, tombstones);
}

/* A wish from beginning to end. */
static inline int double_do(struct double_tier *tier, enum pager_event_type type, const struct pager_disk_wish *wish) {
    uint64_t ticket = double_wish(tier, type, wish);
    double_turn(tier);
    cr_assert_eq(tier->completed[ticket], 1);
    return tier->statuses[ticket];
}

/* Seals a segment with the entries of its batches. */
static inline int double_seal(struct double_tier *tier, struct double_batch *const *batches, uint32_t n_batches) {
    struct quire_log_entry entries[256];
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_batches; i++) {
        cr_assert(n + batches[i]->wish.n <= QUIRE_ARRAY_LEN(entries));
        memcpy(entries + n, batches[i]->entries, batches[i]->wish.n * sizeof *entries);
        n += batches[i]->wish.n;
    }
    const struct pager_disk_wish *last = &batches[n_batches - 1]->wish;
    const struct pager_disk_wish wish = {.device = last->device,
                                         .segment = last->segment,
                                         .epoch = last->epoch,
                                         .n = n,
                                         .entries = entries,
                                         .used_units = last->at_units + last->size_units};
    return double_do(tier, PAGER_DISK_SEAL, &wish);
}

static inline uint64_t double_place(uint32_t segment, uint32_t at_units) {
    return QUIRE_LOG_FIRST_SEGMENT + ((uint64_t)(segment % DOUBLE_SEGMENTS) * DOUBLE_SEGMENT_UNITS + at_units) * DOUBLE_UNIT;
}
static inline void double_flip(struct double_tier *tier, uint32_t segment, uint64_t byte, uint8_t bits) {
    int fd = tier->io.fds[segment / DOUBLE_SEGMENTS];
    uint8_t value;
    off_t at = (off_t)(double_place(segment, 0) + byte);
    cr_assert_eq(pread(fd, &value, 1, at), 1);
    value ^= bits;
    cr_assert_eq(pwrite(fd, &value, 1, at), 1);
}

#endif
