/* What whoever scrubs the disk asks: may a segment be looked at, and is a record in it still needed? */
#include "pager/disk/internal.h"

const struct pager_segment *pager_disk_segment(const struct pager *pager, uint32_t segment) {
    return pager_log_segment(pager->disk->log, segment);
}

bool pager_disk_is_live(const struct pager *pager, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry) {
    const struct pager_ns *ns = pager_ns_of_serial(pager, entry->ns);
    uint32_t block = ns ? pager_index_find(pager->index, ns->number, &entry->key) : PAGER_NO_BLOCK;
    struct pager_where where;
    return block != PAGER_NO_BLOCK && pager_log_segment(pager->disk->log, segment)->epoch == epoch &&
           pager_where_find(pager, block, entry->group, &where) && where.segment == segment && where.at_units == entry->at_units;
}
