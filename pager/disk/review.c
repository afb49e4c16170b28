/*
 * What memory has, and is to be written although nobody stored it just now: copies of what went with its device, and what a namespace stored before the metadata could
 * tell of it. A pass over all slots finds them a little at a time, and ends what waited to be written when there is no device any more.
 */
#include "pager/disk/internal.h"

bool pager_is_stranded(const struct pager *pager, const struct pager_record *record) {
    return (record->flags & PAGER_RECORD_CLEAN) && pager_log_segment(pager->disk->log, record->dirty_next)->state == PAGER_SEGMENT_LOST;
}

void pager_stranded(const struct pager *pager, uint64_t *records, uint64_t *bytes) {
    const struct pager_disk *disk = pager->disk;
    *records = *bytes = 0;
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        bool lost = !pager_log_device_in_use(disk->log, d);
        *records += lost ? disk->devices[d].clean_records : 0;
        *bytes += lost ? disk->devices[d].clean_bytes : 0;
    }
}

bool pager_rescue(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = pager_domain_of(pager, b);
    bool some = false;
    for (uint32_t slot = b->record; pager->disk && slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (pager_is_stranded(pager, &domain->records[slot])) {
            pager_disk_forget(pager, block, domain->records[slot].group);
            some = true;
        }
    }
    return some;
}

void pager_review_expect(struct pager *pager) {
    struct pager_review *review = &pager->disk->review;
    review->again = review->on;
    review->on = true;
}

static void look_at(struct pager *pager, struct pager_domain *domain, uint32_t slot) {
    struct pager_record *record = &domain->records[slot];
    if (!pager_record_has_bytes(record)) {
        return;
    }
    if (pager_is_stranded(pager, record)) {
        pager_disk_forget(pager, record->block, record->group);
    } else if (record->flags & PAGER_RECORD_UNNAMED) {
        pager_write_named(pager, domain, slot);
    }
}

static void pass_ended(struct pager *pager) {
    struct pager_review *review = &pager->disk->review;
    *review = (struct pager_review){.on = review->again, .unnamed = review->unnamed};
}

void pager_review_pump(struct pager *pager) {
    struct pager_review *review = &pager->disk->review;
    pager_write_give_up(pager, PAGER_DISK_STEP);
    for (uint32_t i = 0; i < PAGER_DISK_STEP && review->on; i++) {
        while (review->domain < pager->n_domains && review->slot == pager->domains[review->domain].slots_touched) {
            review->domain++;
            review->slot = 0;
        }
        if (review->domain == pager->n_domains) {
            pass_ended(pager);
        } else {
            look_at(pager, &pager->domains[review->domain], review->slot++);
        }
    }
}
