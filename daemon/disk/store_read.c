/* What comes from the disk: records into pools, verified there, and segments' entries. */
#include "daemon/disk/store_internal.h"

#include "daemon/disk/verify.h"
#include "daemon/loop.h"

#include <stdlib.h>

/* ---- records -------------------------------------------------------------------------------------------------------------- */

static void store_run_verify(struct work *work) {
    struct store_slot *slot = LOOP_CONTAINER(work, struct store_slot, work);
    const struct pager_disk_wish *wish = slot->wish;
    const struct verify_wanted wanted = {
        .layout = &slot->layout->layout,
        .layout_tag = slot->layout->tag,
        .key = &wish->key,
        .group = wish->group,
        .check = wish->check,
        .check_mask = wish->check_mask,
        .rect = wish->n_ranges > 0 && !slot->layout->layout.opaque ? &wish->rect : NULL,
    };
    slot->status = verify_record(slot->record, wish->pieces[0].size_bytes, &wanted);
}

static void store_verified(struct work *work) {
    struct store_slot *slot = LOOP_CONTAINER(work, struct store_slot, work);
    const struct pager_disk_wish *wish = slot->wish;
    if (slot->status == QUIRE_OK && slot->head_units > 0) {
        uint32_t bytes = (uint32_t)disk_set_bytes(&slot->store->env->set, slot->head_units);
        heads_keep(&slot->store->heads, wish->segment, wish->epoch, wish->at_units, slot->record, bytes);
    }
    store_end(slot, slot->status);
}

static void store_read_ended(struct disk_op *op) {
    struct store_slot *slot;
    if (!store_io_ended(op, &slot)) {
        return;
    }
    if (slot->status == QUIRE_OK) {
        store_job(slot, store_run_verify, store_verified);
    } else {
        store_end(slot, slot->status);
    }
}

struct store_span { /* units from the record's start */
    uint32_t from, to;
};

/*
 * Header, directory and the ranges, in order, those that touch as one; 0: all of the record. Where header and directory are by themselves, and not
 * all there is, the slot has their units.
 */
static uint32_t store_spans(struct store_slot *slot, struct store_span *spans) {
    const struct pager_disk_wish *wish = slot->wish;
    const struct quire_log_geometry *g = &slot->store->env->set.geometry;
    const quire_layout *layout = &slot->layout->layout;
    struct quire_record_shape shape;
    slot->head_units = 0;
    if (wish->n_ranges == 0 || wish->n_ranges > PAGER_DISK_MAX_RANGES || layout->opaque ||
        quire_record_shape(layout, wish->group, layout->block_tokens, 0, &shape) != QUIRE_OK) {
        return 0;
    }
    uint32_t n = 0;
    spans[n++] = (struct store_span){.from = 0, .to = quire_log_units(g, shape.payload_offset)};
    for (uint32_t i = 0; i < wish->n_ranges; i++) {
        struct store_span span = {.from = wish->ranges[i].from_bytes / g->unit_bytes, .to = quire_log_units(g, wish->ranges[i].to_bytes)};
        uint32_t at = n++;
        for (; at > 0 && spans[at - 1].from > span.from; at--) {
            spans[at] = spans[at - 1];
        }
        spans[at] = span;
    }
    uint32_t merged = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (spans[i].from <= spans[merged].to) {
            spans[merged].to = (uint32_t)quire_max_u64(spans[merged].to, spans[i].to);
        } else {
            spans[++merged] = spans[i];
        }
    }
    slot->head_units = merged > 0 && spans[0].to == quire_log_units(g, shape.payload_offset) ? spans[0].to : 0;
    return merged + 1;
}

/* Header and directory may be known from another part of the record: then they need not be read, nor kept again. */
static bool store_recall(struct store_slot *slot) {
    const struct pager_disk_wish *wish = slot->wish;
    uint32_t bytes = (uint32_t)disk_set_bytes(&slot->store->env->set, slot->head_units);
    const uint8_t *known = bytes > 0 ? heads_find(&slot->store->heads, wish->segment, wish->epoch, wish->at_units, bytes) : NULL;
    if (known != NULL) {
        memcpy(slot->record, known, bytes);
        slot->head_units = 0;
    }
    return known != NULL;
}

/* A part of a deep model is hundreds of pieces. */
static bool store_has_ops(struct store_slot *slot, uint32_t n) {
    slot->many = n > STORE_OPS ? malloc(n * sizeof *slot->many) : NULL;
    slot->ops = slot->many != NULL ? slot->many : slot->own;
    return n <= STORE_OPS || slot->many != NULL;
}

void store_read(struct store_slot *slot) {
    const struct pager_disk_wish *wish = slot->wish;
    struct store *store = slot->store;
    const struct store_set *set = &store->env->set;
    struct store_span spans[STORE_SPANS];
    uint32_t serial, units;
    const quire_layout *layout = store->hooks.layout(store->hooks.ctx, wish->ns, &serial);
    slot->record = store_piece(store, &wish->pieces[0], &units);
    slot->layout = layout != NULL ? layouts_hold(&store->layouts, serial, layout) : NULL;
    if (slot->layout == NULL) {
        store_end(slot, layout == NULL ? QUIRE_NOT_FOUND : QUIRE_NO_MEMORY);
        return;
    }
    uint32_t n_spans = store_spans(slot, spans);
    if (n_spans == 0) {
        spans[n_spans++] = (struct store_span){.from = 0, .to = units};
    }
    if (!store_has_ops(slot, n_spans)) {
        store_end(slot, QUIRE_NO_MEMORY);
        return;
    }
    for (uint32_t i = store_recall(slot) ? 1 : 0; i < n_spans; i++) {
        uint32_t to = (uint32_t)quire_min_u64(spans[i].to, units);
        assert(spans[i].from < to);
        slot->ops[i].iov = (struct iovec){.iov_base = slot->record + disk_set_bytes(set, spans[i].from),
                                          .iov_len = disk_set_bytes(set, to - spans[i].from)};
        store_io(slot, i, DISK_READ, wish->at_units + spans[i].from, &slot->ops[i].iov, 1, store_read_ended);
    }
}

/* ---- a segment's entries -------------------------------------------------------------------------------------------------- */

static void store_walked(struct walk *walk) {
    static const struct quire_log_entry none;
    struct store_slot *slot = walk->ctx;
    struct store *store = slot->store;
    if (walk->error != 0) {
        store_read_failed(store, slot->wish->device, walk->error, walk->op.done_ns);
    }
    enum quire_status status = walk->status;
    if (status == QUIRE_OK) {
        status = store->hooks.entries(store->hooks.ctx, slot->ticket, walk->entries != NULL ? walk->entries : &none, walk->n_entries);
    }
    walk_free(walk);
    store_end(slot, status);
}

void store_entries(struct store_slot *slot) {
    slot->walk = (struct walk){.env = slot->store->env,
                               .segment = slot->wish->segment,
                               .epoch = slot->wish->epoch,
                               .footer_at = WALK_LOOK_FOR_FOOTER,
                               .done = store_walked,
                               .ctx = slot};
    walk_begin(&slot->walk);
}
