/* What must outlast a crash: that a block was deleted (tombstones in the log), which namespaces there are and what is pinned (the metadata file). */
#include "pager/disk/internal.h"
#include "proto/layout.h"

#include <stdlib.h>

/* ---- tombstones ----------------------------------------------------------------------------------------------------------- */
void pager_bury(struct pager *pager, const struct pager_ns *ns, const quire_key *key) {
    struct pager_disk *disk = pager->disk;
    if (!disk) {
        return;
    }
    assert(disk->n_tombstones < PAGER_DISK_MAX_TOMBSTONES); /* pager_keys looks first */
    const struct pager_tombstone tombstone = {.key = *key, .serial = ns->serial, .sequence = ++pager->sequence};
    disk->tombstones[(disk->first_tombstone + disk->n_tombstones++) % PAGER_DISK_MAX_TOMBSTONES] = tombstone;
    disk->buried_wanted++;
    pager_remains_bury(pager, ns->serial, key);
    if (disk->restoring) {
        pager_restore_bury(pager, &tombstone);
    }
}

static bool is_written(const struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = &pager->domains[pager->namespaces[b->ns]->domain];
    for (uint32_t slot = b->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (domain->records[slot].flags & PAGER_RECORD_WRITING) {
            return true;
        }
    }
    return pager_where_any(pager, block);
}

bool pager_needs_grave(const struct pager *pager, const struct pager_ns *ns, const quire_key *key, uint32_t block) {
    return pager->disk && (pager->disk->restoring || (block != PAGER_NO_BLOCK && is_written(pager, block)) ||
                           pager_remains_may_lie(pager, ns->serial, key));
}

bool pager_may_bury(const struct pager *pager, uint32_t n) {
    return !pager->disk || pager->disk->n_tombstones + n <= PAGER_DISK_MAX_TOMBSTONES;
}

/* ---- barriers ------------------------------------------------------------------------------------------------------------- */
static void barrier_end(struct pager *pager, struct pager_barrier **link, enum quire_status status) {
    struct pager_barrier *barrier = *link;
    *link = barrier->next;
    barrier->status = (uint8_t)status;
    pager_wish_ask(pager, &barrier->wish, PAGER_DURABLE);
}

/* Those whose turn has come; with a failure, those that wait for what failed. */
static void barriers_look(struct pager *pager, bool burying_failed, bool meta_failed) {
    struct pager_disk *disk = pager->disk;
    for (struct pager_barrier **link = &disk->first_barrier; *link;) {
        const struct pager_barrier *b = *link;
        bool buried = b->buried <= disk->buried, told = b->meta_generation <= disk->meta_durable;
        if (buried && told) {
            barrier_end(pager, link, QUIRE_OK);
        } else if ((!buried && burying_failed) || (!told && meta_failed)) {
            barrier_end(pager, link, QUIRE_SYSTEM);
        } else {
            link = &(*link)->next;
        }
    }
    disk->last_barrier = NULL;
    for (struct pager_barrier *b = disk->first_barrier; b; b = b->next) {
        disk->last_barrier = b;
    }
}

enum quire_status pager_durable(struct pager *pager, uint64_t now_ns, uint64_t cookie) {
    struct pager_disk *disk = pager->disk;
    pager_clock(pager, now_ns);
    if (!disk || (disk->buried == disk->buried_wanted && disk->meta_durable == disk->meta_wanted)) {
        return QUIRE_OK;
    }
    if (disk->n_barriers == PAGER_DISK_MAX_BARRIERS) {
        return QUIRE_RETRY;
    }
    struct pager_barrier *barrier = calloc(1, sizeof(*barrier));
    if (!barrier) {
        return QUIRE_NO_MEMORY;
    }
    barrier->cookie = cookie;
    barrier->buried = disk->buried_wanted;
    barrier->meta_generation = disk->meta_wanted;
    *(disk->last_barrier ? &disk->last_barrier->next : &disk->first_barrier) = barrier;
    disk->last_barrier = barrier;
    disk->n_barriers++;
    return QUIRE_PENDING;
}

void pager_barriers_wait_for_meta(struct pager *pager) {
    for (struct pager_barrier *b = pager->disk->first_barrier; b; b = b->next) {
        b->meta_generation = pager->disk->meta_wanted;
    }
}

void pager_barrier_tell(struct pager *pager, struct pager_wish *wish, struct pager_event *event) {
    struct pager_barrier *barrier = (struct pager_barrier *)wish;
    event->cookie = barrier->cookie;
    event->status = (enum quire_status)barrier->status;
    pager->disk->n_barriers--;
    free(barrier);
}

void pager_barriers_free(struct pager *pager) {
    struct pager_barrier *next;
    for (struct pager_barrier *b = pager->disk->first_barrier; b; b = next) {
        next = b->next;
        free(b);
    }
    for (struct pager_wish *wish = pager->wishes.next, *after; wish != &pager->wishes; wish = after) {
        after = wish->next;
        if (wish->type == PAGER_DURABLE) {
            pager_wish_cancel(wish);
            free(wish);
        }
    }
}

void pager_buried(struct pager *pager, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    uint32_t n = disk->burying;
    if (status != QUIRE_OK) {
        barriers_look(pager, true, false);
    }
    disk->burying = 0;
    disk->first_tombstone = (disk->first_tombstone + n) % PAGER_DISK_MAX_TOMBSTONES;
    disk->n_tombstones -= n;
    disk->buried += n;
    barriers_look(pager, false, false);
}

void pager_burying_failed(struct pager *pager) { barriers_look(pager, true, false); }

/* ---- metadata ------------------------------------------------------------------------------------------------------------- */
void pager_meta_changed(struct pager *pager) {
    if (pager->disk) {
        pager->disk->meta_wanted++;
    }
}

void pager_meta_pump(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (disk->meta_flying || disk->meta_durable == disk->meta_wanted || disk->meta_again_ns > pager->now_ns) {
        return;
    }
    struct pager_op *op = pager_op_new(pager, PAGER_OP_META);
    if (op) {
        disk->meta_flying = true;
        pager_op_ask(pager, op, PAGER_DISK_META);
    }
}

/* What the daemon took is what counts, whenever it took it. */
void pager_meta_ended(struct pager *pager, struct pager_op *op, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    disk->meta_flying = false;
    disk->meta_fails = status != QUIRE_OK;
    if (status == QUIRE_OK) {
        disk->meta_durable = op->meta.generation;
        disk->meta_serial = op->meta.serial;
    } else {
        disk->meta_again_ns = pager->now_ns + PAGER_DISK_AGAIN_NS;
    }
    barriers_look(pager, false, status != QUIRE_OK);
    pager_op_free(pager, op);
}

static enum quire_status add_item(const struct pager *pager, const struct pager_ns *ns, uint8_t *layout, struct quire_meta_item *item) {
    const char *domain = pager->domains[ns->domain].name;
    size_t size;
    QUIRE_FORWARD(quire_layout_encode(ns->layout, layout, QUIRE_LAYOUT_WIRE_MAX, &size));
    *item = (struct quire_meta_item){
        .serial = ns->serial,
        .root = ns->root,
        .name = ns->name,
        .domain = domain,
        .layout = layout,
        .name_bytes = (uint32_t)strlen(ns->name),
        .domain_bytes = (uint32_t)strlen(domain),
        .layout_bytes = (uint32_t)size,
    };
    return QUIRE_OK;
}

/* Blocks that were pinned at some time: those that still are, each once. */
static uint32_t gather_pins(struct pager *pager, struct quire_meta_pin *pins) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < pager->n_pinned; i++) {
        struct pager_block *b = pager_block_at(pager, pager->pinned[i]);
        if ((b->flags & PAGER_BLOCK_FREE) || !(b->flags & PAGER_BLOCK_NOTED)) {
            continue;
        }
        b->flags &= (uint8_t)~PAGER_BLOCK_NOTED;
        if (b->pins > 0 && !pager->namespaces[b->ns]->deleted) {
            pins[n] = (struct quire_meta_pin){.key = b->key, .serial = pager->namespaces[b->ns]->serial, .pins = b->pins};
            pager->pinned[n++] = pager->pinned[i];
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        pager_block_at(pager, pager->pinned[i])->flags |= PAGER_BLOCK_NOTED;
    }
    pager->n_pinned = n;
    return n;
}

enum quire_status pager_disk_meta(struct pager *pager, uint64_t ticket, struct pager_disk_meta *meta) {
    struct pager_disk *disk = pager->disk;
    struct pager_op *op = pager_table_find(&disk->ops, ticket & ~PAGER_DISK_TICKET);
    if (!op || op->kind != PAGER_OP_META) {
        return QUIRE_NOT_FOUND;
    }
    free(disk->meta_items);
    free(disk->meta_pins);
    free(disk->meta_layouts);
    disk->meta_items = calloc(pager->n_namespaces + 1u, sizeof(*disk->meta_items));
    disk->meta_layouts = calloc(pager->n_namespaces + 1u, QUIRE_LAYOUT_WIRE_MAX);
    disk->meta_pins = calloc((size_t)pager->n_pinned + disk->n_pins + 1u, sizeof(*disk->meta_pins));
    if (!disk->meta_items || !disk->meta_layouts || !disk->meta_pins) {
        return QUIRE_NO_MEMORY;
    }
    *meta = (struct pager_disk_meta){.next_serial = pager->next_serial, .items = disk->meta_items, .pins = disk->meta_pins};
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        const struct pager_ns *ns = pager->namespaces[i];
        if (ns && !ns->deleted) {
            uint8_t *layout = disk->meta_layouts + (size_t)meta->n_items * QUIRE_LAYOUT_WIRE_MAX;
            QUIRE_FORWARD(add_item(pager, ns, layout, &disk->meta_items[meta->n_items]));
            meta->n_items++;
        }
    }
    meta->n_pins = gather_pins(pager, disk->meta_pins);
    for (uint32_t i = 0; i < disk->n_pins; i++) { /* whose blocks were not found yet */
        disk->meta_pins[meta->n_pins++] = disk->pins[i];
    }
    op->meta.generation = disk->meta_wanted;
    op->meta.serial = pager->next_serial;
    return QUIRE_OK;
}

/* A pin is noted until metadata is written the next time, though it may have gone by then. */
bool pager_pin_note(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    if (!pager->disk || (b->flags & PAGER_BLOCK_NOTED)) {
        return true;
    }
    if (pager->n_pinned == pager->pinned_capacity) {
        uint32_t capacity = pager->pinned_capacity ? 2 * pager->pinned_capacity : 256;
        uint32_t *grown = capacity <= 2 * QUIRE_META_MAX_PINS ? realloc(pager->pinned, capacity * sizeof(*grown)) : NULL;
        if (!grown) {
            return false;
        }
        pager->pinned = grown;
        pager->pinned_capacity = capacity;
    }
    pager->pinned[pager->n_pinned++] = block;
    b->flags |= PAGER_BLOCK_NOTED;
    return true;
}
