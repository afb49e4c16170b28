/* What was written, or was not: a batch's end and a segment's, by the books of the log, of memory and of the index. */
#include "pager/disk/internal.h"

static struct pager_record *carried_record(struct pager *pager, const struct pager_carried *carried) {
    return &pager->domains[carried->domain].records[carried->slot];
}

/* With a segment's header, if it comes with it. */
uint64_t pager_op_bytes(const struct pager *pager, const struct pager_op *op) {
    const struct quire_log_geometry *geometry = &pager->disk->geometry;
    uint64_t units = op->kind == PAGER_OP_SEAL ? quire_log_footer_units(geometry, op->told.n) + 1 : op->told.size_units;
    return (units + op->told.first) * geometry->unit_bytes;
}

static enum quire_status now_lies_at(struct pager *pager, const struct pager_record *record, const struct pager_op *op,
                                     const struct quire_log_entry *entry) {
    const struct pager_where where = {
        .segment = op->told.segment,
        .at_units = entry->at_units,
        .size_units = quire_log_units(&pager->disk->geometry, entry->size_bytes),
        .error = entry->error,
        .ancestry_error = entry->ancestry_error,
        .group = entry->group,
        .rung = entry->rung,
        .check = (uint16_t)entry->check,
    };
    return pager_where_put(pager, record->block, &where);
}

/* What became of a record, by the books; its bytes may still be read from. */
static void written(struct pager *pager, const struct pager_op *op, uint32_t i, enum quire_status status) {
    bool ok = status == QUIRE_OK;
    const struct pager_carried *carried = &op->batch.carried[i];
    const struct quire_log_entry *entry = &op->told.entries[i];
    struct pager_domain *domain = &pager->domains[carried->domain];
    struct pager_record *record = &domain->records[carried->slot];
    pager->disk->rewrites_writing -= carried->rewritten;
    record->flags &= (uint8_t) ~(PAGER_RECORD_WRITING | PAGER_RECORD_REWRITE);
    record->dirty_next = PAGER_NO_RECORD;
    if (record->state == PAGER_DOOMED) { /* dropped meanwhile */
        return;
    }
    if (ok && now_lies_at(pager, record, op, entry) == QUIRE_OK) {
        pager_clean_enter(pager, record, op->told.segment);
        *(carried->rewritten ? &pager->disk->counters.disk_rewritten_bytes : &pager->disk->counters.disk_admitted_bytes) +=
            entry->size_bytes;
        if (!carried->rewritten) {
            pager_empty_admitted(pager, entry->size_bytes);
        }
        return;
    }
    pager_remains_note(pager, entry->ns, &entry->key, op->told.segment); /* it may lie there all the same */
    if (status == QUIRE_CORRUPT && entry->check == 0) {
        pager_record_damaged(pager, domain, carried->slot);
        return;
    }
    if (pager_devices_in_use(pager->disk) > 0 && !ok) {
        pager_dirty_again(pager, domain, carried->slot, carried->rewritten);
        return;
    }
    pager->disk->counters.disk_declined++;
}

static void batch_leaves_books(struct pager *pager, const struct pager_op *op, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    bool ok = status == QUIRE_OK;
    disk->writes--;
    disk->devices[op->told.device].writes--;
    disk->devices[op->told.device].answered_ns = pager->now_ns;
    disk->writing_bytes -= op->batch.record_bytes;
    disk->counters.disk_write_errors += !ok && status != QUIRE_CORRUPT; /* which is the pool's fault */
    disk->n_opened -= !ok && op->told.first;
    pager_log_appended(disk->log, &op->batch.place, op->told.entries, op->told.n, ok);
}

/* Nobody reads the records' bytes any more for the sake of this batch. */
static void let_go(struct pager *pager, const struct pager_op *op) {
    for (uint32_t i = 0; i < op->told.n_pieces; i++) {
        const struct pager_carried *carried = &op->batch.carried[i];
        struct pager_record *record = carried_record(pager, carried);
        record->busy--;
        if (record->state == PAGER_DOOMED) {
            pager_record_step(pager, &pager->domains[carried->domain], carried->slot, PAGER_HAPPENS_LET_GO);
        } else {
            pager_block_file(pager, record->block);
        }
    }
}

/* Of tombstones, or one that tries the device. */
static void sync_ended(struct pager *pager, const struct pager_op *op, enum quire_status status) {
    if (op->batch.buries) {
        pager_bury_written(pager, op, status);
    } else {
        pager->disk->devices[op->told.device].rest.syncing = false;
    }
}

/* The records are dirty again, and go to another device meanwhile. They stay where they are until this one has let go of them. */
void pager_write_stuck(struct pager *pager, struct pager_op *op) {
    if (op->batch.synced) {
        sync_ended(pager, op, QUIRE_SYSTEM);
        return;
    }
    batch_leaves_books(pager, op, QUIRE_SYSTEM);
    for (uint32_t i = 0; i < op->told.n_pieces; i++) {
        written(pager, op, i, QUIRE_SYSTEM);
    }
    if (op->batch.buries) {
        pager_bury_written(pager, op, QUIRE_SYSTEM);
    }
}

static void synced(struct pager *pager, const struct pager_op *op, enum quire_status status) {
    if (status == QUIRE_FULL) {
        pager_log_doubt(pager->disk->log, op->told.device);
    }
    pager_rest_note(pager, op->told.device, status, true);
    sync_ended(pager, op, status);
}

void pager_write_ended(struct pager *pager, struct pager_op *op, enum quire_status status) {
    if (!op->batch.synced && status == QUIRE_OK) {
        pager_write_taken(pager, pager_op_bytes(pager, op));
    }
    if (op->stuck || op->batch.synced) {
        if (op->stuck) {
            let_go(pager, op);
        } else {
            synced(pager, op, status);
        }
        pager_op_free(pager, op);
        return;
    }
    bool ok = status == QUIRE_OK;
    assert(pager_log_device_in_use(pager->disk->log, op->told.device));
    pager_rest_note(pager, op->told.device, status, op->told.alone && !ok);
    batch_leaves_books(pager, op, status);
    if (op->told.alone && status == QUIRE_FULL) {
        pager_log_doubt(pager->disk->log, op->told.device); /* it may have been the header's sync */
    }
    for (uint32_t i = 0; i < op->told.n_pieces; i++) {
        written(pager, op, i, status);
    }
    let_go(pager, op);
    if (op->batch.buries && ok) {
        op->batch.synced = true;
        pager_op_unask(pager, op);
        pager_op_ask(pager, op, PAGER_DISK_SYNC);
        return;
    }
    if (op->batch.buries) {
        pager_bury_written(pager, op, status == QUIRE_OK ? QUIRE_SYSTEM : status);
    }
    pager_op_free(pager, op);
}

/* For a while it is tried again: a segment without a footer is read slowly at the next start, and no further than to its first failed batch. */
void pager_seal_ended(struct pager *pager, struct pager_op *op, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    bool passing = pager_is_passing(status) && pager_log_device_in_use(disk->log, op->told.device);
    bool doubted = status == QUIRE_OK && pager_log_seal_doubted(disk->log, op->told.segment);
    if (passing && status == QUIRE_FULL) {
        pager_log_doubt(disk->log, op->told.device);
    }
    pager_rest_note(pager, op->told.device, status, true);
    disk->counters.disk_write_errors += status != QUIRE_OK;
    if (status == QUIRE_OK) {
        pager_write_taken(pager, pager_op_bytes(pager, op));
    }
    if (doubted || (passing && disk->devices[op->told.device].rest.failures <= PAGER_DISK_QUIET_RESTS)) {
        pager_log_seal_later(disk->log, op->told.segment);
    } else {
        pager_remains_gone(pager, op->told.device, pager_log_sealed(disk->log, op->told.segment, status == QUIRE_OK));
    }
    op->told.entries = NULL;
    pager_op_free(pager, op);
}
