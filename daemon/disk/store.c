#include "daemon/disk/store_internal.h"

#include "daemon/log.h"
#include "daemon/loop.h"
#include "proto/status.h"

#include <errno.h>
#include <stdlib.h>

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

static void store_free_slots(struct store *store) {
    for (uint32_t i = 0; store->slots != NULL && i < STORE_SLOTS; i++) {
        free(store->slots[i].memory);
        free(store->slots[i].many);
        walk_free(&store->slots[i].walk);
    }
    free(store->slots);
    store->slots = NULL;
}

enum quire_status store_create(struct disk_env *env, const struct store_pool *pools, uint32_t n_pools, const struct store_hooks *hooks,
                               struct store **out) {
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return QUIRE_NO_MEMORY;
    }
    store->env = env;
    store->hooks = *hooks;
    store->n_pools = n_pools;
    store->pools = calloc(n_pools > 0 ? n_pools : 1, sizeof *store->pools);
    store->slots = calloc(STORE_SLOTS, sizeof *store->slots);
    store->batches = aligned_alloc(DISK_MEMORY_ALIGN, STORE_SLOTS * sizeof *store->batches);
    if (store->pools == NULL || store->slots == NULL || store->batches == NULL || layouts_setup(&store->layouts, STORE_SLOTS) != QUIRE_OK) {
        store_destroy(&store);
        return QUIRE_NO_MEMORY;
    }
    memcpy(store->pools, pools, n_pools * sizeof *pools);
    for (uint32_t i = 0; i < env->set.n_files; i++) {
        store->devices[i].told.lost = env->set.out[i];
    }
    for (uint32_t i = STORE_SLOTS; i-- > 0;) {
        store->slots[i].store = store;
        store->slots[i].next = store->free_slots;
        store->free_slots = &store->slots[i];
    }
    *out = store;
    return QUIRE_OK;
}

void store_destroy(struct store **out) {
    struct store *store = *out;
    if (store == NULL) {
        return;
    }
    store_free_slots(store);
    layouts_teardown(&store->layouts);
    heads_teardown(&store->heads);
    free(store->meta.memory);
    free(store->batches);
    free(store->pools);
    free(store);
    *out = NULL;
}

void store_memory(const struct store *store, void **base, uint64_t *bytes) {
    *base = store->batches;
    *bytes = STORE_SLOTS * sizeof *store->batches;
}

uint32_t store_in_flight(const struct store *store) { return store->in_flight; }

/* ---- devices -------------------------------------------------------------------------------------------------------------- */

void store_device(const struct store *store, uint32_t device, struct store_device *out) {
    *out = store->devices[device].told;
    out->reads = store->env->devices[device].reads;
    out->read_bytes = store->env->devices[device].read_bytes;
}

void store_headers(const struct store *store, uint64_t *hits, uint64_t *misses) {
    *hits = store->heads.hits;
    *misses = store->heads.misses;
}

static void store_lose(struct store *store, uint32_t device, const char *what, int error) {
    struct store_device *told = &store->devices[device].told;
    if (told->lost) {
        return;
    }
    told->lost = true;
    log_error("disk_lost", "file %u of the disk tier is out of use: %s: %s; what was only there is gone, the rest goes on", device, what,
              strerror(error));
    store->hooks.device_lost(store->hooks.ctx, device);
}

void store_give_up(struct store *store, uint32_t device, const char *what, int error) {
    store->devices[device].told.last_error = error;
    store_lose(store, device, what, error);
}

bool store_look_at_length(struct store *store, uint32_t device) {
    if (!store->devices[device].told.lost && disk_is_cut_short(&store->env->set, device)) {
        store_give_up(store, device, "it was cut short while in use, and deletions that were told there would be forgotten", ENODATA);
    }
    return !store->devices[device].told.lost;
}

/* The last few failures are remembered by their time: when one more comes and all of those are younger than a minute, it is enough. */
void store_read_failed(struct store *store, uint32_t device, int error, uint64_t now_ns) {
    struct store_books *books = &store->devices[device];
    uint64_t *oldest_ns = &books->read_error_ns[books->n_read_errors % STORE_READ_ERRORS];
    bool enough = books->n_read_errors >= STORE_READ_ERRORS && now_ns - *oldest_ns < STORE_READ_ERRORS_NS;
    *oldest_ns = now_ns;
    books->n_read_errors++;
    books->told.read_errors++;
    books->told.last_error = error;
    if (enough) {
        store_lose(store, device, "too many reads failed", error);
    } else if (!books->told.lost) {
        log_warn("disk_read_failed", "file %u of the disk tier: a read failed: %s", device, strerror(error));
    }
}

void store_found_corrupt(struct store *store, uint32_t device) { store->devices[device].told.corrupt++; }

/* Told when it begins, and when it ends; want of memory when it lasts. */
static void store_refused(struct store *store, uint32_t device, const struct disk_op *op) {
    struct store_books *books = &store->devices[device];
    enum quire_status status = op->status;
    int error = op->error;
    ++*(op->type == DISK_SYNC ? &books->refused_syncs : &books->refused_writes);
    bool passes = status == QUIRE_NO_MEMORY && books->refused_writes + books->refused_syncs < STORE_REFUSED;
    if (books->told.lost || books->told.refuses != 0 || passes) {
        return;
    }
    books->told.refuses = error;
    log_warn(
        "disk_refuses",
        "file %u of the disk tier takes no writes: %s; what it has is read on, what is stored stays in memory as long as there is room; %s",
        device, strerror(error),
        status == QUIRE_FULL ? "make room on its file system, or have it writable: it is tried again every few seconds"
                             : "it is tried again every few seconds");
}

static void store_took(struct store *store, uint32_t device, enum disk_op_type type) {
    struct store_books *books = &store->devices[device];
    *(type == DISK_SYNC ? &books->refused_syncs : &books->refused_writes) = 0;
    if (books->told.refuses != 0 && books->refused_writes == 0 && books->refused_syncs == 0) {
        books->told.refuses = 0;
        log_info("disk_takes", "file %u of the disk tier takes writes again", device);
    }
}

/* How the wish ends for which a write or a sync was not done. */
static enum quire_status store_write_failed(struct store *store, uint32_t device, const struct disk_op *op) {
    struct store_device *told = &store->devices[device].told;
    told->write_errors++;
    told->last_error = op->error;
    store->devices[device].failed_syncs += op->type == DISK_SYNC;
    if (op->status == QUIRE_FULL || op->status == QUIRE_NO_MEMORY) {
        store_refused(store, device, op);
        return op->type == DISK_SYNC ? QUIRE_FULL : op->status;
    }
    store_lose(store, device, op->type == DISK_SYNC ? "a sync failed" : "a write failed", op->error);
    return op->status;
}

/* ---- slots ---------------------------------------------------------------------------------------------------------------- */

uint8_t *store_piece(const struct store *store, const struct pager_disk_piece *piece, uint32_t *units) {
    assert(piece->domain < store->n_pools);
    const struct store_pool *pool = &store->pools[piece->domain];
    *units = quire_log_units(&store->env->set.geometry, piece->size_bytes);
    assert(quire_in_range(piece->offset, disk_set_bytes(&store->env->set, *units), pool->size_bytes));
    return pool->base + piece->offset;
}

void store_job(struct store_slot *slot, void (*run)(struct work *work), void (*done)(struct work *work)) {
    slot->work = (struct work){.run = run, .done = done};
    slot->store->env->run(slot->store->env->ctx, &slot->work);
}

void store_io(struct store_slot *slot, uint32_t i, enum disk_op_type type, uint32_t at_units, struct iovec *iov, uint32_t n_iov,
              void (*done)(struct disk_op *op)) {
    struct store_op *op = &slot->ops[i];
    uint64_t offset = 0;
    uint32_t device = slot->wish->device;
    if (type != DISK_SYNC) {
        offset = disk_locate(&slot->store->env->set, slot->wish->segment, at_units, &device);
        assert(device == slot->wish->device);
    }
    op->slot = slot;
    slot->n_running++;
    disk_env_io(slot->store->env, &op->op, type, device, offset, iov, n_iov, done);
}

bool store_io_ended(struct disk_op *ended, struct store_slot **slot) {
    struct store_op *op = LOOP_CONTAINER(ended, struct store_op, op);
    struct store *store = op->slot->store;
    uint32_t device = op->slot->wish->device;
    struct store_device *told = &store->devices[device].told;
    *slot = op->slot;
    (*slot)->n_running--;
    if (ended->status != QUIRE_OK) {
        (*slot)->status = ended->status;
        if (ended->type != DISK_READ) {
            (*slot)->status = store_write_failed(store, device, ended);
        } else if (!pager_is_passing(ended->status)) {
            store_read_failed(store, device, ended->error, ended->done_ns);
        }
    } else if (ended->type == DISK_WRITE) {
        told->writes++;
        told->written_bytes += ended->bytes;
        store_took(store, device, DISK_WRITE);
    } else if (ended->type == DISK_SYNC) {
        told->syncs++;
        store_took(store, device, DISK_SYNC);
    }
    return (*slot)->n_running == 0;
}

void store_end(struct store_slot *slot, enum quire_status status) {
    struct store *store = slot->store;
    uint64_t ticket = slot->ticket;
    if (slot->type == PAGER_DISK_READ && status == QUIRE_CORRUPT) {
        store_found_corrupt(store, slot->wish->device);
    }
    if (slot->layout != NULL) {
        layouts_let_go(slot->layout);
        slot->layout = NULL;
    }
    free(slot->memory);
    slot->memory = NULL;
    free(slot->many);
    slot->many = NULL;
    slot->wish = NULL;
    slot->next = store->free_slots;
    store->free_slots = slot;
    store->in_flight--;
    store->hooks.complete(store->hooks.ctx, ticket, status);
}

void store_begin(struct store *store, const struct pager_event *event) {
    static void (*const begins[])(struct store_slot * slot) = {
        [PAGER_DISK_WRITE] = store_write, [PAGER_DISK_READ] = store_read, [PAGER_DISK_SEAL] = store_seal,
        [PAGER_DISK_SYNC] = store_sync,   [PAGER_DISK_META] = store_meta, [PAGER_DISK_ENTRIES] = store_entries,
    };
    struct store_slot *slot = store->free_slots;
    assert(slot != NULL && event->disk != NULL); /* the pager keeps to PAGER_DISK_MAX_IN_FLIGHT */
    assert(event->type < QUIRE_ARRAY_LEN(begins) && begins[event->type] != NULL);
    store->free_slots = slot->next;
    store->in_flight++;
    slot->wish = event->disk;
    slot->ticket = event->ticket;
    slot->type = event->type;
    slot->status = QUIRE_OK;
    slot->ops = slot->own;
    slot->n_running = 0;
    slot->order = ++store->order;
    if (event->type != PAGER_DISK_META) {
        assert(slot->wish->device < store->env->set.n_files);
        if (store->devices[slot->wish->device].told.lost) {
            store_end(slot, QUIRE_SYSTEM);
            return;
        }
    }
    begins[event->type](slot);
}
