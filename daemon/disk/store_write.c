/* What goes to the disk: batches, footers, syncs, the metadata. */
#include "daemon/disk/store_internal.h"

#include "daemon/log.h"
#include "daemon/loop.h"
#include "proto/key.h"

#include <stdlib.h>

/* ---- batches -------------------------------------------------------------------------------------------------------------- */

static struct store_batch *store_batch_of(const struct store_slot *slot) { return &slot->store->batches[slot - slot->store->slots]; }

static bool store_doubts(const struct store *store, const struct pager_disk_piece *piece) { return store->pools[piece->domain].doubted; }

/* What belongs into a record's entry; 0: it is none, or not what was stored, which of a pool that others may write to is known already. */
static uint64_t store_check(const struct store *store, const struct pager_disk_piece *piece, const struct quire_log_entry *entry,
                            const uint8_t *bytes) {
    uint64_t check = entry->check;
    if (store_doubts(store, piece)) {
        return check;
    }
    return quire_log_record_check(bytes, entry->size_bytes, &check) == QUIRE_OK ? check : 0;
}

/*
 * Records go straight from the pool; each one's sum goes into its entry. They lie one behind the other, as the pager placed them. A record without a sum
 * fails the batch, which is written all the same: whatever lies behind it in the segment is found by way of its head.
 */
static uint32_t store_gather(struct store_slot *slot) {
    const struct pager_disk_wish *wish = slot->wish;
    const struct store_set *set = &slot->store->env->set;
    uint32_t piece = 0, at_units = wish->at_units + wish->head_units, n_iov = 1;
    for (uint32_t i = 0; i < wish->n; i++) {
        struct quire_log_entry *entry = &wish->entries[i];
        if (entry->kind != QUIRE_LOG_RECORD) {
            continue;
        }
        uint32_t units;
        assert(piece < wish->n_pieces && entry->at_units == at_units && entry->size_bytes == wish->pieces[piece].size_bytes);
        const struct pager_disk_piece *of = &wish->pieces[piece++];
        uint8_t *bytes = store_piece(slot->store, of, &units);
        entry->check = store_check(slot->store, of, entry, bytes);
        if (entry->check == 0) {
            slot->status = QUIRE_CORRUPT;
        }
        slot->iov[n_iov++] = (struct iovec){.iov_base = bytes, .iov_len = disk_set_bytes(set, units)};
        at_units += units;
    }
    assert(piece == wish->n_pieces && at_units == wish->at_units + wish->size_units);
    return n_iov;
}

static void store_tell_damaged(const struct store_slot *slot) {
    for (uint32_t i = 0; i < slot->wish->n; i++) {
        const struct quire_log_entry *entry = &slot->wish->entries[i];
        if (entry->kind == QUIRE_LOG_RECORD && entry->check == 0) {
            char key[65];
            quire_key_format(&entry->key, key);
            log_warn("record_damaged", "block %s is not what was stored any more, as was seen before it went to disk: it is given up", key);
        }
    }
}

static void store_batch_end(struct store_slot *slot) {
    struct store *store = slot->store;
    if (slot->status == QUIRE_CORRUPT) {
        store_tell_damaged(slot);
    }
    uint32_t device = slot->wish->device;
    uint64_t order = slot->order;
    store->devices[device].writing--;
    store_end(slot, slot->status);
    store_written(store, device, order);
}

static void store_batch_written(struct disk_op *op) {
    struct store_slot *slot;
    store_io_ended(op, &slot);
    store_batch_end(slot);
}

static void store_header(const struct store_slot *slot, uint8_t *unit) {
    const struct pager_disk_wish *wish = slot->wish;
    const struct store_set *set = &slot->store->env->set;
    struct quire_log_segment_header header = {.epoch = wish->epoch, .segment = wish->segment, .tail_epoch = wish->tail_epoch};
    memcpy(header.set_id, set->set_id, sizeof header.set_id);
    quire_log_segment_header_encode(&set->geometry, &header, unit);
}

/* A segment's header lies before its first batch, so both are one write, unless it went alone. */
static void store_append(struct store_slot *slot) {
    const struct pager_disk_wish *wish = slot->wish;
    const struct store_set *set = &slot->store->env->set;
    uint8_t *header = store_batch_of(slot)->memory, *head = header + set->geometry.unit_bytes;
    uint32_t n_iov = store_gather(slot), before_units = wish->first && !wish->alone ? 1 : 0;
    assert(wish->n > 0 && wish->n <= QUIRE_LOG_MAX_BATCH && (!wish->first || wish->at_units == 1));
    assert(wish->head_units == quire_log_head_units(&set->geometry, wish->n));
    if (before_units > 0) {
        store_header(slot, header);
    }
    const struct quire_log_batch batch = {
        .n_entries = (uint16_t)wish->n, .epoch = wish->epoch, .at_units = wish->at_units, .size_units = wish->size_units};
    quire_log_head_encode(&set->geometry, &batch, wish->entries, head);
    slot->iov[0] =
        (struct iovec){.iov_base = before_units > 0 ? header : head, .iov_len = disk_set_bytes(set, wish->head_units + before_units)};
    store_io(slot, 0, DISK_WRITE, wish->at_units - before_units, slot->iov, n_iov, store_batch_written);
}

/* The header is written, or synced: unless another sync failed meanwhile, which may have been told what this one was not. */
static void store_opened(struct disk_op *op) {
    struct store_slot *slot;
    bool synced = op->type == DISK_SYNC;
    store_io_ended(op, &slot);
    const struct store_books *books = &slot->store->devices[slot->wish->device];
    if (slot->status == QUIRE_OK && books->told.lost) {
        slot->status = QUIRE_SYSTEM;
    } else if (slot->status == QUIRE_OK && synced && slot->failed_syncs != books->failed_syncs) {
        slot->status = QUIRE_FULL;
    }
    if (slot->status != QUIRE_OK) {
        store_batch_end(slot);
    } else if (synced) {
        store_append(slot);
    } else {
        slot->failed_syncs = books->failed_syncs;
        store_io(slot, 0, DISK_SYNC, 0, NULL, 0, store_opened);
    }
}

static void store_put(struct store_slot *slot) {
    uint8_t *header = store_batch_of(slot)->memory;
    if (!slot->wish->alone) {
        store_append(slot);
        return;
    }
    store_header(slot, header);
    slot->iov[0] = (struct iovec){.iov_base = header, .iov_len = slot->store->env->set.geometry.unit_bytes};
    store_io(slot, 0, DISK_WRITE, 0, slot->iov, 1, store_opened);
}

/* Its sum, as it is now; what is changed from here on does not agree with it, and is found out by whoever reads it back. */
static uint64_t store_verified_check(const uint8_t *bytes, const struct quire_log_entry *entry) {
    uint64_t check;
    bool good = quire_log_record_check(bytes, entry->size_bytes, &check) == QUIRE_OK &&
                quire_record_intact(bytes, entry->size_bytes, entry->group, &entry->key, NULL, 0) == QUIRE_OK;
    return good ? check : 0;
}

static void store_run_verify_batch(struct work *work) {
    const struct store_slot *slot = LOOP_CONTAINER(work, struct store_slot, work);
    const struct pager_disk_wish *wish = slot->wish;
    for (uint32_t i = 0, piece = 0, units; i < wish->n; i++) {
        struct quire_log_entry *entry = &wish->entries[i];
        const struct pager_disk_piece *of = entry->kind == QUIRE_LOG_RECORD ? &wish->pieces[piece++] : NULL;
        if (of != NULL && store_doubts(slot->store, of)) {
            entry->check = store_verified_check(store_piece(slot->store, of, &units), entry);
        }
    }
}

static void store_batch_verified(struct work *work) {
    struct store_slot *slot = LOOP_CONTAINER(work, struct store_slot, work);
    if (slot->store->devices[slot->wish->device].told.lost) {
        slot->status = QUIRE_SYSTEM;
        store_batch_end(slot);
    } else {
        store_put(slot);
    }
}

void store_write(struct store_slot *slot) {
    const struct pager_disk_wish *wish = slot->wish;
    bool doubts = false;
    slot->store->devices[wish->device].writing++;
    for (uint32_t i = 0; i < wish->n_pieces; i++) {
        doubts |= store_doubts(slot->store, &wish->pieces[i]);
    }
    if (doubts) {
        store_job(slot, store_run_verify_batch, store_batch_verified);
    } else {
        store_put(slot);
    }
}

/* ---- syncs ---------------------------------------------------------------------------------------------------------------- */

static void store_synced(struct disk_op *op) {
    struct store_slot *slot;
    store_io_ended(op, &slot);
    store_end(slot, slot->status);
}

static void store_sync_now(struct store_slot *slot) {
    if (slot->store->devices[slot->wish->device].told.lost) {
        store_end(slot, QUIRE_SYSTEM);
    } else {
        store_io(slot, 0, DISK_SYNC, 0, NULL, 0, store_synced);
    }
}

void store_sync(struct store_slot *slot) {
    struct store_books *books = &slot->store->devices[slot->wish->device];
    slot->n_before = books->writing;
    if (slot->n_before == 0) {
        store_sync_now(slot);
    } else {
        slot->next = books->syncs;
        books->syncs = slot;
    }
}

void store_written(struct store *store, uint32_t device, uint64_t order) {
    struct store_slot **link = &store->devices[device].syncs, *ready = NULL;
    while (*link != NULL) {
        struct store_slot *slot = *link;
        if (slot->order > order && --slot->n_before == 0) {
            *link = slot->next;
            slot->next = ready;
            ready = slot;
        } else {
            link = &slot->next;
        }
    }
    while (ready != NULL) {
        struct store_slot *slot = ready;
        ready = slot->next;
        store_sync_now(slot);
    }
}

/* ---- seals ---------------------------------------------------------------------------------------------------------------- */

static void store_footer_written(struct disk_op *op) {
    struct store_slot *slot;
    if (!store_io_ended(op, &slot)) {
        return;
    }
    if (slot->status == QUIRE_OK) {
        store_sync_now(slot);
    } else {
        store_end(slot, slot->status);
    }
}

static void store_seal_data_synced(struct disk_op *op) {
    struct store_slot *slot;
    store_io_ended(op, &slot);
    if (slot->status == QUIRE_OK && !store_look_at_length(slot->store, slot->wish->device)) {
        slot->status = QUIRE_SYSTEM;
    }
    if (slot->status != QUIRE_OK) {
        store_end(slot, slot->status);
        return;
    }
    const struct quire_log_geometry *g = &slot->store->env->set.geometry;
    slot->iov[0] = (struct iovec){.iov_base = slot->memory, .iov_len = slot->memory_bytes};
    if (slot->wish->first) {
        slot->iov[1] = (struct iovec){.iov_base = slot->memory + slot->memory_bytes, .iov_len = g->unit_bytes};
        store_io(slot, 1, DISK_WRITE, 0, &slot->iov[1], 1, store_footer_written);
    }
    store_io(slot, 0, DISK_WRITE, g->segment_units - (uint32_t)(slot->memory_bytes / g->unit_bytes), slot->iov, 1, store_footer_written);
}

void store_seal(struct store_slot *slot) {
    const struct pager_disk_wish *wish = slot->wish;
    const struct store_set *set = &slot->store->env->set;
    uint32_t units = quire_log_footer_units(&set->geometry, wish->n) + 1;
    assert(units <= set->geometry.segment_units - wish->used_units);
    slot->memory = disk_memory(set, units + 1); /* a header's, too */
    if (slot->memory == NULL) {
        store_end(slot, QUIRE_NO_MEMORY);
        return;
    }
    slot->memory_bytes = disk_set_bytes(set, units);
    struct quire_log_trailer trailer = {
        .epoch = wish->epoch, .segment = wish->segment, .n_entries = wish->n, .used_units = wish->used_units};
    memcpy(trailer.set_id, set->set_id, sizeof trailer.set_id);
    quire_log_footer_encode(&set->geometry, &trailer, wish->entries, slot->memory);
    store_header(slot, slot->memory + slot->memory_bytes);
    store_io(slot, 0, DISK_SYNC, 0, NULL, 0, store_seal_data_synced);
}

/* ---- metadata ------------------------------------------------------------------------------------------------------------- */

static void store_meta_job(struct store_meta *meta, void (*run)(struct work *work), void (*done)(struct work *work)) {
    struct disk_env *env = LOOP_CONTAINER(meta, struct store, meta)->env;
    meta->work = (struct work){.run = run, .done = done};
    env->run(env->ctx, &meta->work);
}

static void store_meta_end(struct store_meta *meta, enum quire_status status) {
    struct store_slot *slot = meta->slot;
    meta->slot = NULL;
    if (slot != NULL) {
        store_end(slot, status);
    }
}

static void store_run_save(struct work *work) {
    struct store_meta *meta = LOOP_CONTAINER(work, struct store_meta, work);
    const struct store_hooks *hooks = &LOOP_CONTAINER(meta, struct store, meta)->hooks;
    meta->status = hooks->meta_save(hooks->ctx, meta->memory, meta->memory_bytes);
}

static void store_meta_saved(struct work *work) {
    struct store_meta *meta = LOOP_CONTAINER(work, struct store_meta, work);
    const struct store_hooks *hooks = &LOOP_CONTAINER(meta, struct store, meta)->hooks;
    free(meta->memory);
    meta->memory = NULL;
    hooks->meta_saved(hooks->ctx);
    store_meta_end(meta, meta->status);
}

static void store_run_encode(struct work *work) {
    struct store_meta *meta = LOOP_CONTAINER(work, struct store_meta, work);
    const struct store_hooks *hooks = &LOOP_CONTAINER(meta, struct store, meta)->hooks;
    meta->status = hooks->meta_encode(hooks->ctx, &meta->memory, &meta->memory_bytes);
}

/* The bytes are the store's own. Only from here on may anybody stop waiting, because what they were made from ends with the ticket. */
static void store_meta_encoded(struct work *work) {
    struct store_meta *meta = LOOP_CONTAINER(work, struct store_meta, work);
    if (meta->status != QUIRE_OK) {
        free(meta->memory);
        meta->memory = NULL;
        store_meta_end(meta, meta->status);
        return;
    }
    const struct store_hooks *hooks = &LOOP_CONTAINER(meta, struct store, meta)->hooks;
    hooks->meta_writes(hooks->ctx, meta->memory_bytes);
    meta->begun_ns = loop_now_ns();
    store_meta_job(meta, store_run_save, store_meta_saved);
}

uint64_t store_meta_since_ns(const struct store *store) { return store->meta.slot != NULL ? store->meta.begun_ns : 0; }

void store_meta_forgive(struct store *store, uint64_t away_ns) {
    if (store_meta_since_ns(store) != 0) {
        store->meta.begun_ns += away_ns;
    }
}

void store_meta_give_up(struct store *store) {
    if (store_meta_since_ns(store) != 0) {
        store_meta_end(&store->meta, QUIRE_TIMEOUT);
    }
}

void store_meta(struct store_slot *slot) {
    struct store *store = slot->store;
    struct store_meta *meta = &store->meta;
    assert(meta->slot == NULL); /* one at a time */
    if (meta->memory != NULL) { /* the one before hangs */
        store_end(slot, QUIRE_SYSTEM);
        return;
    }
    enum quire_status status = store->hooks.meta(store->hooks.ctx, slot->ticket);
    if (status != QUIRE_OK) {
        store_end(slot, status);
        return;
    }
    meta->slot = slot;
    meta->begun_ns = 0;
    store_meta_job(meta, store_run_encode, store_meta_encoded);
}
