/* Offers: each is checked against the layout, then joins a record under construction or begins one. */
#include "pager/disk/internal.h"
#include "proto/layout.h"

#include <math.h>
#include <stdlib.h>

#define KNOWN_FLAGS (QUIRE_WIRE_PUT_PARENT_UNKNOWN | QUIRE_WIRE_PUT_ROOT | QUIRE_WIRE_PUT_SUPERSEDES | QUIRE_WIRE_PUT_PIN)

/* What an item says, once it was believed. */
struct offer {
    const struct quire_wire_put *item;
    struct quire_record_shape shape;
    quire_rect rect;
    bool whole, has_parent;
};

static bool same_rect(const quire_rect *a, const quire_rect *b) {
    return a->first_layer == b->first_layer && a->n_layers == b->n_layers && a->first_head == b->first_head && a->n_heads == b->n_heads;
}

static enum quire_status check_rect(const struct pager_ns *ns, struct offer *offer) {
    const struct quire_wire_put *item = offer->item;
    offer->rect = (quire_rect){item->first_layer, item->n_layers, item->first_head, item->n_heads};
    if (ns->layout->opaque) {
        offer->whole = true;
        bool zero = same_rect(&offer->rect, &(quire_rect){0});
        return zero && item->length > 0 && item->length <= QUIRE_MAX_RECORD_BYTES ? QUIRE_OK : QUIRE_INVALID;
    }
    quire_rect whole = quire_layout_whole(ns->layout, item->group);
    offer->whole = same_rect(&offer->rect, &whole);
    if (item->n_layers == 0 || item->n_heads == 0 || !quire_in_range(item->first_layer, item->n_layers, whole.n_layers) ||
        !quire_in_range(item->first_head, item->n_heads, whole.n_heads)) {
        return QUIRE_INVALID;
    }
    uint64_t bytes = quire_layout_rect_bytes(ns->layout, item->group, &offer->rect, item->n_tokens);
    return item->length == bytes ? QUIRE_OK : QUIRE_INVALID;
}

static enum quire_status check_parent(const struct pager_ns *ns, struct offer *offer) {
    const struct quire_wire_put *item = offer->item;
    bool root = item->flags & QUIRE_WIRE_PUT_ROOT, unknown = item->flags & QUIRE_WIRE_PUT_PARENT_UNKNOWN;
    if (quire_key_is_zero(&item->key) || quire_key_equal(&item->key, &ns->root) || (root && unknown)) {
        return QUIRE_INVALID;
    }
    bool none = quire_key_is_zero(&item->parent), is_root = quire_key_equal(&item->parent, &ns->root);
    if (root || unknown) {
        return none || (root && is_root) ? QUIRE_OK : QUIRE_INVALID;
    }
    offer->has_parent = !is_root;
    return none || quire_key_equal(&item->parent, &item->key) ? QUIRE_INVALID : QUIRE_OK;
}

static enum quire_status check(const struct pager_ns *ns, const struct quire_wire_put *item, struct offer *offer) {
    *offer = (struct offer){.item = item};
    if (item->group >= ns->n_groups || (item->flags & ~KNOWN_FLAGS) || item->n_tokens == 0 || item->n_tokens > ns->layout->block_tokens ||
        !(item->ancestry_error >= 0) || isinf(item->ancestry_error)) {
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(check_parent(ns, offer));
    QUIRE_FORWARD(check_rect(ns, offer));
    if ((!offer->whole && item->put_id == 0) || ((item->flags & QUIRE_WIRE_PUT_SUPERSEDES) && quire_key_is_zero(&item->supersedes))) {
        return QUIRE_INVALID;
    }
    return quire_record_shape(ns->layout, item->group, item->n_tokens, ns->layout->opaque ? item->length : 0, &offer->shape);
}

/* What is known of the block must not contradict the offer: a key names one sequence of tokens. */
static bool agrees(const struct pager *pager, const struct pager_block *block, const struct offer *offer) {
    const struct quire_wire_put *item = offer->item;
    bool stands = block->record != PAGER_NO_RECORD || (block->flags & PAGER_BLOCK_BUILDING);
    if (!stands) {
        return true;
    }
    if (block->n_tokens != item->n_tokens) {
        return false;
    }
    if ((item->flags & QUIRE_WIRE_PUT_PARENT_UNKNOWN) || (block->flags & PAGER_BLOCK_ORPHAN_ROOT)) {
        return true;
    }
    if (block->parent == PAGER_NO_BLOCK) {
        return !offer->has_parent;
    }
    return offer->has_parent && quire_key_equal(&pager_block_at(pager, block->parent)->key, &item->parent);
}

static bool same_shape(const struct quire_record_shape *a, const struct quire_record_shape *b) {
    return a->size_bytes == b->size_bytes && a->n_lanes == b->n_lanes && a->n_tokens == b->n_tokens;
}

static enum quire_status part_new(struct pager *pager, uint64_t session, const struct pager_ns *ns, const struct offer *offer,
                                  uint64_t cookie, struct pager_part **out) {
    struct pager_part *part = calloc(1, sizeof(*part));
    if (!part) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = pager_timers_promise(&pager->timers);
    if (status == QUIRE_OK && (status = pager_table_add(&pager->parts, part, &part->handle)) != QUIRE_OK) {
        pager->timers.promised--;
    }
    if (status != QUIRE_OK) {
        free(part);
        return status;
    }
    part->timer.kind = PAGER_TIMER_PART;
    part->cookie = cookie;
    part->session = session;
    part->check = offer->item->check;
    part->domain = ns->domain;
    part->slot = PAGER_NO_RECORD;
    part->length = offer->item->length;
    part->rect = offer->rect;
    part->whole = offer->whole;
    part->pin = offer->item->flags & QUIRE_WIRE_PUT_PIN;
    part->supersedes = offer->item->flags & QUIRE_WIRE_PUT_SUPERSEDES;
    part->shorter = offer->item->supersedes;
    part->ancestry_error = offer->item->ancestry_error;
    *out = part;
    return QUIRE_OK;
}

/* Hangs a new or orphaned block below the parent that the offer names; the parent may be a placeholder made now. */
static enum quire_status hang(struct pager *pager, struct pager_ns *ns, uint32_t block, const struct offer *offer) {
    struct pager_block *b = pager_block_at(pager, block);
    bool fresh = b->record == PAGER_NO_RECORD && !pager_assembly_of(pager, block, NULL);
    if (fresh) {
        b->n_tokens = offer->item->n_tokens;
        b->used = pager_tick_now(pager);
    }
    if (!offer->has_parent) {
        bool unknown = offer->item->flags & QUIRE_WIRE_PUT_PARENT_UNKNOWN;
        if (unknown && fresh) {
            b->flags |= PAGER_BLOCK_ORPHAN_ROOT;
        } else if (!unknown) {
            b->flags &= (uint8_t)~PAGER_BLOCK_ORPHAN_ROOT;
        }
        return QUIRE_OK;
    }
    if (b->parent != PAGER_NO_BLOCK) {
        return QUIRE_OK;
    }
    uint32_t parent;
    QUIRE_FORWARD(pager_block_obtain(pager, ns, &offer->item->parent, &parent));
    enum quire_status status = pager_block_adopt(pager, block, parent);
    if (status != QUIRE_OK) {
        pager_block_settle(pager, parent);
    }
    if (status == QUIRE_RETRY) { /* stored all the same, as one whose parent was not told */
        b->flags |= PAGER_BLOCK_ORPHAN_ROOT;
        pager->counters.puts_unlinked++;
        return QUIRE_OK;
    }
    return status;
}

/* The block's entry, marked so that it stays while its parent is looked for. */
static enum quire_status prepare(struct pager *pager, struct pager_ns *ns, const struct offer *offer, uint32_t *block) {
    QUIRE_FORWARD(pager_block_obtain(pager, ns, &offer->item->key, block));
    struct pager_block *b = pager_block_at(pager, *block);
    bool was_building = b->flags & PAGER_BLOCK_BUILDING;
    b->flags |= PAGER_BLOCK_BUILDING;
    enum quire_status status = hang(pager, ns, *block, offer);
    if (status != QUIRE_OK && !was_building) {
        b->flags &= (uint8_t)~PAGER_BLOCK_BUILDING;
        pager_block_settle(pager, *block);
    }
    return status;
}

static enum quire_status begin(struct pager *pager, struct pager_ns *ns, uint64_t session, const struct offer *offer,
                               struct pager_assembly **assembly) {
    const struct quire_wire_put *item = offer->item;
    uint32_t block;
    QUIRE_FORWARD(prepare(pager, ns, offer, &block));
    struct pager_assembly as = {
        .shape = offer->shape,
        .put_id = item->put_id,
        .owner = session,
        .block = block,
        .ns = ns->number,
        .group = item->group,
        .ancestry_error = item->ancestry_error,
        .n_cells = offer->shape.opaque ? 1 : offer->shape.n_layers * offer->shape.n_heads,
    };
    enum quire_status status = pager_assembly_begin(pager, &as, assembly);
    if (status != QUIRE_OK && !pager_assembly_of(pager, block, NULL)) {
        pager_block_at(pager, block)->flags &= (uint8_t)~PAGER_BLOCK_BUILDING;
        pager_block_settle(pager, block);
    }
    return status;
}

/* No room yet: it waits, if there is still time and the queue not full. */
static void wait(struct pager *pager, struct pager_part *part, uint64_t deadline_ns) {
    bool may_wait = pager_session_may_wait(pager, part->session);
    if (deadline_ns > pager->now_ns && !may_wait) {
        pager->counters.puts_over_share++;
    }
    if (deadline_ns <= pager->now_ns || pager->n_waiting > pager->options.max_puts_waiting || !may_wait) {
        pager_part_late(pager, part);
        return;
    }
    pager->counters.puts_waited++;
    pager_timer_arm(&pager->timers, &part->timer, deadline_ns);
}

static enum quire_status join(struct pager *pager, struct pager_assembly *assembly, struct pager_part *part, const struct offer *offer,
                              uint64_t deadline_ns) {
    if (!same_shape(&assembly->shape, &offer->shape)) {
        return QUIRE_INVALID;
    }
    pager_part_attach(pager, assembly, part);
    if (!assembly->waiting) {
        return pager_assembly_admit(pager, assembly, part);
    }
    wait(pager, part, deadline_ns);
    return QUIRE_OK;
}

static enum quire_status start(struct pager *pager, struct pager_ns *ns, struct pager_part *part, const struct offer *offer,
                               uint64_t deadline_ns) {
    struct pager_assembly *assembly;
    bool may_build = pager_session_may_build(pager, part->session, offer->shape.size_bytes, offer->item->put_id != 0);
    if (pager->n_assemblies >= pager->options.max_parts_pending || !may_build) {
        pager->counters.puts_over_share += !may_build;
        pager_part_done(pager, part, QUIRE_RETRY);
        return QUIRE_OK;
    }
    enum quire_status status = begin(pager, ns, part->session, offer, &assembly);
    if (status == QUIRE_FULL) {
        pager_part_done(pager, part, status);
        return QUIRE_OK;
    }
    QUIRE_FORWARD(status);
    pager_part_attach(pager, assembly, part);
    pager_room_ask(pager, assembly);
    if (part->state == PAGER_PART_WAITING) {
        wait(pager, part, deadline_ns);
    }
    return QUIRE_OK;
}

/* Something that the sender counts on was dropped: it must know, or it would think the block complete when its last part is taken. */
static bool is_lost(const struct pager_assembly *assembly, const struct quire_wire_put *item) {
    return item->taken > (assembly ? assembly->filled : 0);
}

/* Rather than to store it and not to pin it. */
static bool may_pin(struct pager *pager, const struct pager_ns *ns, const quire_key *key) {
    uint32_t block = pager_index_find(pager->index, ns->number, key);
    bool pinned = block != PAGER_NO_BLOCK && pager_block_at(pager, block)->pins > 0;
    bool may = pinned || pager_pin_waits(pager, ns, key) > 0 || pager_may_pin(pager, ns);
    pager->counters.pins_refused += !may;
    return may;
}

static enum quire_status offer_part(struct pager *pager, struct pager_ns *ns, struct pager_part *part, const struct offer *offer,
                                    uint64_t deadline_ns) {
    const struct quire_wire_put *item = offer->item;
    uint32_t block = pager_index_find(pager->index, ns->number, &item->key);
    if (block == PAGER_NO_BLOCK) {
        return is_lost(NULL, item) ? QUIRE_STALE : start(pager, ns, part, offer, deadline_ns);
    }
    const struct pager_block *b = pager_block_at(pager, block);
    if (!agrees(pager, b, offer)) {
        return QUIRE_INVALID;
    }
    if (!pager_more_faithful(pager, block, item->group, 0, item->ancestry_error)) {
        pager->counters.puts_duplicate++;
        pager_part_done(pager, part, part->pin ? pager_publish_pin(pager, block) : QUIRE_OK);
        return QUIRE_OK;
    }
    struct pager_assembly *assembly = item->put_id ? pager_assembly_find(pager, block, item->group, item->put_id) : NULL;
    if (is_lost(assembly, item)) {
        return QUIRE_STALE;
    }
    return assembly ? join(pager, assembly, part, offer, deadline_ns) : start(pager, ns, part, offer, deadline_ns);
}

static enum quire_status check_fit(const struct pager *pager, const struct pager_ns *ns, const struct quire_wire_put *item,
                                   struct offer *offer) {
    QUIRE_FORWARD(check(ns, item, offer));
    return offer->shape.size_bytes > pager->domains[ns->domain].capacity_bytes ? QUIRE_TOO_LARGE : QUIRE_OK; /* no waiting would help */
}

enum quire_status pager_put_check(const struct pager *pager, uint16_t ns, const struct quire_wire_put *item) {
    struct offer offer;
    return check_fit(pager, pager->namespaces[ns], item, &offer);
}

enum quire_status pager_put(struct pager *pager, uint64_t now_ns, uint64_t session, uint16_t ns, const struct quire_wire_put *item,
                            uint64_t cookie, uint64_t deadline_ns) {
    struct pager_session *s;
    struct pager_ns *n;
    struct pager_part *part;
    struct offer offer;
    pager_clock(pager, now_ns);
    QUIRE_FORWARD(pager_entitled(pager, session, ns, &s, &n));
    pager->counters.puts++;
    enum quire_status status = check_fit(pager, n, item, &offer);
    if (status == QUIRE_OK && (item->flags & QUIRE_WIRE_PUT_PIN) && !may_pin(pager, n, &item->key)) {
        status = QUIRE_FULL;
    }
    if (status == QUIRE_OK) {
        QUIRE_FORWARD(part_new(pager, session, n, &offer, cookie, &part));
        status = offer_part(pager, n, part, &offer, deadline_ns);
        if (status != QUIRE_OK) {
            pager_part_discard(pager, part);
        }
    }
    pager->counters.puts_invalid += status == QUIRE_INVALID || status == QUIRE_TOO_LARGE;
    return status;
}

enum quire_status pager_put_cancel(struct pager *pager, uint64_t now_ns, uint64_t session, uint16_t ns, const quire_key *key,
                                   uint64_t put_id) {
    struct pager_session *s;
    struct pager_ns *n;
    pager_clock(pager, now_ns);
    QUIRE_FORWARD(pager_entitled(pager, session, ns, &s, &n));
    uint32_t block = pager_index_find(pager->index, ns, key);
    if (block == PAGER_NO_BLOCK || put_id == 0) {
        return QUIRE_NOT_FOUND;
    }
    uint32_t n_ended = pager_assembly_cancel(pager, block, put_id, session);
    pager_room_serve(pager, &pager->domains[n->domain]);
    return n_ended > 0 ? QUIRE_OK : QUIRE_NOT_FOUND;
}
