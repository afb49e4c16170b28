/* What the index knows to be on disk, told for a snapshot. The way back is in restore.c. */
#include "pager/disk/internal.h"

static uint32_t idle_ticks(const struct pager *pager, uint32_t used) { return used ? pager_tick_now(pager) - used : QUIRE_SNAPSHOT_NEVER; }

static void describe(const struct pager *pager, uint32_t block, const struct pager_where *where, struct quire_snapshot_entry *entry) {
    const struct pager_block *b = pager_block_at(pager, block);
    bool unknown = b->flags & PAGER_BLOCK_ORPHAN_ROOT;
    *entry = (struct quire_snapshot_entry){
        .key = b->key,
        .epoch = pager_log_segment(pager->disk->log, where->segment)->epoch,
        .ns = pager->namespaces[b->ns]->serial,
        .segment = where->segment,
        .at_units = where->at_units,
        .size_units = where->size_units,
        .idle_ticks = idle_ticks(pager, b->used),
        .error = where->error,
        .ancestry_error = where->ancestry_error,
        .n_tokens = b->n_tokens,
        .group = where->group,
        .rung = where->rung,
        .check = where->check,
        .flags = (uint8_t)(b->parent != PAGER_NO_BLOCK ? 0
                           : unknown                   ? QUIRE_LOG_PARENT_UNKNOWN
                                                       : QUIRE_LOG_ROOT),
    };
    if (b->parent != PAGER_NO_BLOCK) {
        entry->parent = pager_block_at(pager, b->parent)->key;
    }
}

/* After the index: what it does not find, and of which devices nobody can tell. */
static bool next_remain(const struct pager *pager, struct pager_disk_cursor *cursor, struct quire_snapshot_entry *entry) {
    struct pager_remain remain;
    *entry = (struct quire_snapshot_entry){0};
    if (pager_remains_next(pager, &cursor->remain, &remain)) {
        entry->key = remain.key;
        entry->epoch = remain.epoch;
        entry->ns = remain.serial;
        entry->segment = remain.segment;
        entry->kind = QUIRE_SNAPSHOT_REMAIN;
        return true;
    }
    while (cursor->doubt < pager_log_segments(pager->disk->log)) { /* the first segment of each device speaks for it */
        uint32_t segment = cursor->doubt++, device = pager_log_segment(pager->disk->log, segment)->device;
        bool first = segment == 0 || pager_log_segment(pager->disk->log, segment - 1)->device != device;
        if (first && pager->disk->doubts[device] > 0) {
            entry->epoch = pager->disk->doubts[device];
            entry->segment = segment;
            entry->kind = QUIRE_SNAPSHOT_DOUBT;
            return true;
        }
    }
    return false;
}

bool pager_disk_next_live(const struct pager *pager, struct pager_disk_cursor *cursor, struct quire_snapshot_entry *entry) {
    struct pager_where where;
    for (;;) {
        if (cursor->inside && pager_where_next(pager, cursor->block, &cursor->at, &where)) {
            describe(pager, cursor->block, &where, entry);
            return true;
        }
        cursor->inside = false;
        uint32_t next = pager_index_next(pager->index, cursor->next, &cursor->block);
        if (next == PAGER_NO_BLOCK) {
            return next_remain(pager, cursor, entry);
        }
        cursor->next = next;
        cursor->at = 0;
        cursor->inside = !pager->namespaces[pager_block_at(pager, cursor->block)->ns]->deleted;
    }
}

uint32_t pager_disk_openings(const struct pager *pager, uint32_t *ticks, uint32_t capacity) {
    const struct pager_disk *disk = pager->disk;
    uint32_t ring = pager_log_segments(disk->log);
    uint32_t n = (uint32_t)quire_min_u64(capacity, quire_min_u64(disk->n_opened, ring));
    for (uint32_t i = 0; i < n; i++) {
        ticks[i] = idle_ticks(pager, disk->open_ticks[(disk->n_opened - 1 - i) % ring]);
    }
    return n;
}
