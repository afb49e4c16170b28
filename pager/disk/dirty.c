/* What only memory has: a list of each domain, in the order in which it was stored. What is to be written again stands before the rest. */
#include "pager/disk/internal.h"

static struct pager_disk_device *device_of(const struct pager *pager, const struct pager_record *record) {
    return &pager->disk->devices[pager_log_segment(pager->disk->log, record->dirty_next)->device];
}

void pager_clean_enter(struct pager *pager, struct pager_record *record, uint32_t segment) {
    record->flags |= PAGER_RECORD_CLEAN;
    record->dirty_next = segment;
    device_of(pager, record)->clean_records++;
    device_of(pager, record)->clean_bytes += record->size_bytes;
}

void pager_clean_leave(struct pager *pager, struct pager_record *record) {
    if (!(record->flags & PAGER_RECORD_CLEAN)) {
        return;
    }
    device_of(pager, record)->clean_records--;
    device_of(pager, record)->clean_bytes -= record->size_bytes;
    record->flags &= (uint8_t)~PAGER_RECORD_CLEAN;
    record->dirty_next = PAGER_NO_RECORD;
}

void pager_dirty_again(struct pager *pager, struct pager_domain *domain, uint32_t slot, bool first) {
    struct pager_record *record = &domain->records[slot];
    pager_clean_leave(pager, record);
    assert(pager_record_has_bytes(record) && !(record->flags & (PAGER_RECORD_DIRTY | PAGER_RECORD_WRITING)));
    record->flags = (uint8_t)((record->flags & ~PAGER_RECORD_UNNAMED) | PAGER_RECORD_DIRTY | (first ? PAGER_RECORD_REWRITE : 0));
    record->dirty_prev = first ? PAGER_NO_RECORD : domain->dirty_last;
    record->dirty_next = first ? domain->dirty_first : PAGER_NO_RECORD;
    *(record->dirty_prev == PAGER_NO_RECORD ? &domain->dirty_first : &domain->records[record->dirty_prev].dirty_next) = slot;
    *(record->dirty_next == PAGER_NO_RECORD ? &domain->dirty_last : &domain->records[record->dirty_next].dirty_prev) = slot;
    domain->dirty_bytes += record->size_bytes;
    domain->dirty_records++;
}

void pager_dirty_leave(struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    if (!(record->flags & PAGER_RECORD_DIRTY)) {
        return;
    }
    *(record->dirty_prev == PAGER_NO_RECORD ? &domain->dirty_first : &domain->records[record->dirty_prev].dirty_next) = record->dirty_next;
    *(record->dirty_next == PAGER_NO_RECORD ? &domain->dirty_last : &domain->records[record->dirty_next].dirty_prev) = record->dirty_prev;
    record->dirty_prev = record->dirty_next = PAGER_NO_RECORD;
    record->flags &= (uint8_t)~PAGER_RECORD_DIRTY;
    domain->dirty_bytes -= record->size_bytes;
    domain->dirty_records--;
}

static bool fits(const struct pager_disk *disk, uint32_t size_bytes) {
    uint64_t units = quire_log_units(&disk->geometry, size_bytes);
    uint32_t books = 2 + quire_log_head_units(&disk->geometry, 1) + quire_log_footer_units(&disk->geometry, 1);
    return units + books <= disk->geometry.segment_units;
}

void pager_dirty_enter(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_disk *disk = pager->disk;
    if (!disk) {
        return;
    }
    if (!fits(disk, domain->records[slot].size_bytes) || pager_devices_in_use(disk) == 0) {
        disk->counters.disk_declined++;
        return;
    }
    pager_dirty_again(pager, domain, slot, false);
}

void pager_dirty_decline(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    pager_dirty_leave(domain, slot);
    record->flags &= (uint8_t)~PAGER_RECORD_REWRITE;
    pager->disk->counters.disk_declined++;
    pager_block_file(pager, record->block);
}

void pager_write_give_up(struct pager *pager, uint32_t n) {
    for (uint32_t i = 0; i < pager->n_domains && pager_devices_in_use(pager->disk) == 0; i++) {
        for (; n > 0 && pager->domains[i].dirty_first != PAGER_NO_RECORD; n--) {
            pager_dirty_decline(pager, &pager->domains[i], pager->domains[i].dirty_first);
        }
    }
}
