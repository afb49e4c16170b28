/*
 * What the metadata file tells: which namespaces there are, also those that cannot be had now, and what is pinned. It is written whole, from a picture that
 * stays as it was while the rest goes on.
 */
#include "pager/disk/internal.h"
#include "proto/layout.h"

#include <stdlib.h>

/* ---- namespaces ----------------------------------------------------------------------------------------------------------- */
static struct pager_charter *charter_new(const struct quire_meta_item *item) {
    size_t text = (size_t)item->name_bytes + item->domain_bytes;
    struct pager_charter *charter = malloc(sizeof(*charter) + text + item->layout_bytes);
    if (!charter) {
        return NULL;
    }
    charter->refs = 1;
    charter->item = *item;
    memcpy(charter->bytes, item->name, item->name_bytes);
    memcpy(charter->bytes + item->name_bytes, item->domain, item->domain_bytes);
    memcpy(charter->bytes + text, item->layout, item->layout_bytes);
    charter->item.name = (const char *)charter->bytes;
    charter->item.domain = (const char *)charter->bytes + item->name_bytes;
    charter->item.layout = charter->bytes + text;
    return charter;
}

void pager_charter_free(struct pager_charter **charter) {
    if (*charter && --(*charter)->refs == 0) {
        free(*charter);
    }
    *charter = NULL;
}

static enum quire_status charter_of(const struct pager *pager, struct pager_ns *ns) {
    const char *domain = pager->domains[ns->domain].name;
    uint8_t layout[QUIRE_LAYOUT_WIRE_MAX];
    size_t size;
    if (ns->charter) {
        return QUIRE_OK;
    }
    QUIRE_FORWARD(quire_layout_encode(ns->layout, layout, sizeof(layout), &size));
    const struct quire_meta_item item = {
        .serial = ns->serial,
        .root = ns->root,
        .name = ns->name,
        .domain = domain,
        .layout = layout,
        .name_bytes = (uint32_t)strlen(ns->name),
        .domain_bytes = (uint32_t)strlen(domain),
        .layout_bytes = (uint32_t)size,
    };
    ns->charter = charter_new(&item);
    return ns->charter ? QUIRE_OK : QUIRE_NO_MEMORY;
}

bool pager_meta_has_room(const struct pager *pager) {
    uint32_t n = pager->disk ? pager->disk->meta.n_kept : 0;
    for (uint32_t i = 0; n > 0 && i < pager->n_namespaces; i++) {
        n += pager->namespaces[i] != NULL;
    }
    return n < QUIRE_META_MAX_NAMESPACES;
}

/* ---- namespaces that cannot be had ---------------------------------------------------------------------------------------- */
/* The place of the first whose serial is not lower. */
static uint32_t kept_at(const struct pager_meta *meta, uint32_t serial) {
    uint32_t from = 0, to = meta->n_kept;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        bool lower = meta->kept[middle]->item.serial < serial;
        from = lower ? middle + 1 : from;
        to = lower ? to : middle;
    }
    return from;
}

static bool is_kept(const struct pager_meta *meta, uint32_t serial) {
    uint32_t at = kept_at(meta, serial);
    return at < meta->n_kept && meta->kept[at]->item.serial == serial;
}

enum quire_status pager_restore_keep(struct pager *pager, const struct quire_meta_item *item) {
    struct pager_meta *meta = &pager->disk->meta;
    if (is_kept(meta, item->serial) || pager_ns_of_serial(pager, item->serial)) {
        return QUIRE_INVALID;
    }
    struct pager_charter **grown = realloc(meta->kept, (meta->n_kept + 1u) * sizeof(*grown));
    meta->kept = grown ? grown : meta->kept;
    struct pager_charter *charter = grown ? charter_new(item) : NULL;
    if (!charter) {
        return QUIRE_NO_MEMORY;
    }
    uint32_t at = kept_at(meta, item->serial);
    memmove(&meta->kept[at + 1], &meta->kept[at], (meta->n_kept - at) * sizeof(*meta->kept));
    meta->kept[at] = charter;
    meta->n_kept++;
    return QUIRE_OK;
}

static bool is_called(const struct quire_meta_item *item, const char *name) {
    size_t n = strlen(name);
    bool qualified = n == (size_t)item->domain_bytes + 1 + item->name_bytes && memcmp(name, item->domain, item->domain_bytes) == 0 &&
                     name[item->domain_bytes] == '/' && memcmp(name + item->domain_bytes + 1, item->name, item->name_bytes) == 0;
    return qualified || (n == item->name_bytes && memcmp(name, item->name, n) == 0);
}

enum quire_status pager_kept_delete(struct pager *pager, const char *name) {
    struct pager_meta *meta = pager->disk ? &pager->disk->meta : NULL;
    uint32_t found = 0, n_found = 0;
    for (uint32_t i = 0; meta && i < meta->n_kept; i++) {
        bool called = is_called(&meta->kept[i]->item, name);
        found = called ? i : found;
        n_found += called;
    }
    if (n_found != 1) {
        return n_found == 0 ? QUIRE_NOT_FOUND : QUIRE_MISMATCH;
    }
    pager_charter_free(&meta->kept[found]);
    meta->n_kept--;
    memmove(&meta->kept[found], &meta->kept[found + 1], (meta->n_kept - found) * sizeof(*meta->kept));
    pager_meta_urgent(pager);
    pager_pins_expect(pager);
    return QUIRE_OK;
}

/* ---- pins ----------------------------------------------------------------------------------------------------------------- */
bool pager_may_pin(const struct pager *pager, const struct pager_ns *ns) {
    uint64_t most = pager->options.max_pins, share = quire_max_u64(most / PAGER_SHARE_PINS, quire_min_u64(most, PAGER_SHARE_LEAST));
    uint64_t n = pager->disk ? pager->disk->meta.pins.n : pager->n_pinned;
    return n < most && ns->pinned_blocks + ns->pins_waiting < share;
}

bool pager_pins_full(const struct pager *pager, uint16_t ns) {
    const struct pager_ns *n = pager_ns_at(pager, ns);
    return n && !pager_may_pin(pager, n);
}

bool pager_pin_tell(struct pager *pager, struct pager_ns *ns, const quire_key *key, uint32_t before, uint32_t times) {
    if (!pager->disk) {
        return true;
    }
    /* One from before the start, whose block did not come: it is this block's now, or goes with its own. */
    bool waited = before == 0 && ns->pins_waiting > 0 && pager_pins_get(&pager->disk->meta.pins, ns->serial, key) > 0;
    if (!pager_pins_set(&pager->disk->meta.pins, ns->serial, key, times)) {
        if (times > 0) {
            return false;
        }
        ns->pins_waiting++; /* it goes with those whose block did not come */
        pager_pins_expect(pager);
    }
    ns->pins_waiting -= waited;
    pager_meta_changed(pager);
    return true;
}

/* Only while the log is read: what did not come until then has gone, unless some of the log was not read: another start may find it. */
uint32_t pager_pin_waits(const struct pager *pager, const struct pager_ns *ns, const quire_key *key) {
    const struct pager_disk *disk = pager->disk;
    return disk && (disk->restoring || disk->incomplete) && ns->pins_waiting > 0 ? pager_pins_get(&disk->meta.pins, ns->serial, key) : 0;
}

bool pager_pin_wait(struct pager *pager, struct pager_ns *ns, const quire_key *key, uint32_t times) {
    struct pager_meta *meta = &pager->disk->meta;
    bool waited = pager_pins_get(&meta->pins, ns->serial, key) > 0;
    if (!pager_pins_set(&meta->pins, ns->serial, key, times)) {
        return false;
    }
    ns->pins_waiting += times > 0;
    ns->pins_waiting -= waited;
    return true;
}

void pager_pin_arrived(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    struct pager_ns *ns = pager->namespaces[b->ns];
    uint32_t times = b->pins == 0 ? pager_pin_waits(pager, ns, &b->key) : 0;
    if (times > 0) {
        ns->pins_waiting--;
        pager_block_pinned(pager, block, (uint16_t)times);
    }
}

void pager_pin_left(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    if (!pager->disk->restoring || pager->namespaces[b->ns]->deleted) {
        pager_block_pin(pager, block, 0);
        return;
    }
    pager->namespaces[b->ns]->pins_waiting++;
    pager_block_pinned(pager, block, 0);
}

enum quire_status pager_restore_pin(struct pager *pager, const struct quire_meta_pin *pin) {
    struct pager_meta *meta = &pager->disk->meta;
    if (is_kept(meta, pin->serial)) {
        return pager_pins_set(&meta->pins, pin->serial, &pin->key, pin->pins) ? QUIRE_OK : QUIRE_NO_MEMORY;
    }
    struct pager_ns *ns = pager_ns_of_serial(pager, pin->serial);
    if (!ns) {
        return QUIRE_NOT_FOUND;
    }
    return pager_pin_wait(pager, ns, &pin->key, (uint32_t)quire_min_u64(pin->pins, UINT16_MAX)) ? QUIRE_OK : QUIRE_NO_MEMORY;
}

/* ---- pins whose block did not come ---------------------------------------------------------------------------------------- */
void pager_pins_expect(struct pager *pager) {
    struct pager_meta *meta = &pager->disk->meta;
    meta->sweep_again = meta->sweeping;
    meta->sweep_at = meta->sweeping ? meta->sweep_at : meta->pins.n;
    meta->sweeping = true;
}

/* True: nothing is pinned by it, and nothing can be. What was not read may be found at another start. */
static bool is_idle(const struct pager *pager, const struct quire_meta_pin *pin, struct pager_ns **ns) {
    *ns = pager_ns_of_serial(pager, pin->serial);
    uint32_t block = *ns ? pager_index_find(pager->index, (*ns)->number, &pin->key) : PAGER_NO_BLOCK;
    if (*ns && pager->disk->incomplete) {
        return false;
    }
    return !is_kept(&pager->disk->meta, pin->serial) && (block == PAGER_NO_BLOCK || pager_block_at(pager, block)->pins == 0);
}

static void drop_idle(struct pager *pager, uint32_t i) {
    struct pager_meta *meta = &pager->disk->meta;
    const struct quire_meta_pin pin = *pager_pins_at(&meta->pins, i);
    struct pager_ns *ns;
    if (!is_idle(pager, &pin, &ns)) {
        return;
    }
    if (!pager_pins_set(&meta->pins, pin.serial, &pin.key, 0)) {
        meta->sweep_again = true;
        return;
    }
    if (ns) {
        ns->pins_waiting--;
        pager->disk->counters.disk_pins_dropped++;
    }
    pager_meta_changed(pager);
}

/* From the last to the first: whatever takes a number that becomes free was looked at, or is looked at still. */
void pager_pins_pump(struct pager *pager) {
    struct pager_meta *meta = &pager->disk->meta;
    if (!meta->sweeping || pager->disk->restoring) {
        return;
    }
    meta->sweep_at = (uint32_t)quire_min_u64(meta->sweep_at, meta->pins.n);
    for (uint32_t i = 0; i < PAGER_DISK_STEP && meta->sweep_at > 0; i++) {
        drop_idle(pager, --meta->sweep_at);
        meta->sweep_at = (uint32_t)quire_min_u64(meta->sweep_at, meta->pins.n);
    }
    if (meta->sweep_at == 0) {
        meta->sweeping = meta->sweep_again;
        meta->sweep_again = false;
        meta->sweep_at = meta->pins.n;
    }
}

/* ---- the picture ---------------------------------------------------------------------------------------------------------- */
void pager_meta_given_back(struct pager *pager) {
    struct pager_meta *meta = &pager->disk->meta;
    for (uint32_t i = 0; i < meta->n_told; i++) {
        pager_charter_free(&meta->told[i]);
    }
    free(meta->told);
    free(meta->items);
    meta->told = NULL;
    meta->items = NULL;
    meta->n_told = 0;
    pager_pins_give(&meta->pins);
}

static void tell(struct pager_meta *meta, struct pager_charter *charter) {
    charter->refs++;
    meta->items[meta->n_told] = charter->item;
    meta->told[meta->n_told++] = charter;
}

static enum quire_status tell_all(struct pager *pager) {
    struct pager_meta *meta = &pager->disk->meta;
    size_t most = (size_t)pager->n_namespaces + meta->n_kept + 1;
    meta->told = calloc(most, sizeof(struct pager_charter *));
    meta->items = calloc(most, sizeof(*meta->items));
    if (!meta->told || !meta->items) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < pager->n_namespaces; i++) {
        struct pager_ns *ns = pager->namespaces[i];
        if (ns && !ns->deleted) {
            QUIRE_FORWARD(charter_of(pager, ns));
            tell(meta, ns->charter);
        }
    }
    for (uint32_t i = 0; i < meta->n_kept; i++) {
        tell(meta, meta->kept[i]);
    }
    return QUIRE_OK;
}

enum quire_status pager_disk_meta(struct pager *pager, uint64_t ticket, struct pager_disk_meta *told) {
    struct pager_disk *disk = pager->disk;
    struct pager_op *op = pager_table_find(&disk->ops, ticket & ~PAGER_DISK_TICKET);
    if (!op || op->kind != PAGER_OP_META) {
        return QUIRE_NOT_FOUND;
    }
    pager_meta_given_back(pager);
    enum quire_status status = tell_all(pager);
    *told = (struct pager_disk_meta){.next_serial = pager->next_serial,
                                     .n_items = disk->meta.n_told,
                                     .n_pins = disk->meta.pins.n,
                                     .items = disk->meta.items,
                                     .pins = status == QUIRE_OK ? pager_pins_take(&disk->meta.pins) : NULL};
    if (!told->pins) {
        pager_meta_given_back(pager);
        return status == QUIRE_OK ? QUIRE_NO_MEMORY : status;
    }
    op->meta.generation = disk->meta_wanted;
    op->meta.serial = pager->next_serial;
    return QUIRE_OK;
}

void pager_disk_meta_pins(const struct pager_disk_meta *told, struct quire_meta_pin *pins) {
    for (uint32_t i = 0; i < told->n_pins; i += PAGER_PINS_CHUNK) {
        memcpy(&pins[i], told->pins[i / PAGER_PINS_CHUNK], quire_min_u64(told->n_pins - i, PAGER_PINS_CHUNK) * sizeof(*pins));
    }
}

void pager_meta_free(struct pager *pager) {
    struct pager_meta *meta = &pager->disk->meta;
    pager_meta_given_back(pager);
    for (uint32_t i = 0; i < meta->n_kept; i++) {
        pager_charter_free(&meta->kept[i]);
    }
    free(meta->kept);
    pager_pins_free(&meta->pins);
}
