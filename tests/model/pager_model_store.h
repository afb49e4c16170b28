/* The model of the pager: what stores. */
#ifndef PAGER_MODEL_STORE_H
#define PAGER_MODEL_STORE_H

#include "pager_model_look.h"

static bool is_beside(const struct variant *a, const struct variant *b) {
    return a->space != b->space || a->key != b->key || a->group != b->group || a->rect.first_layer != b->rect.first_layer ||
           a->rect.first_head != b->rect.first_head;
}

/* Notes what is offered under the last parts_id. True: it is the first in its place, or the same as all before it; then it can only be taken, or come
   too early, however often it comes. */
static bool is_alone(const struct variant *variant) {
    bool same, seen = false, alone = true;
    for (uint32_t i = 0; i < m.n_variants; i++) {
        const struct variant *other = &m.variants[i];
        if (!is_beside(other, variant)) {
            same = other->check == variant->check && other->ancestry == variant->ancestry;
            seen |= same;
            alone &= same;
        }
    }
    if (!seen && m.n_variants == VARIANTS) {
        return false;
    }
    if (!seen) {
        m.variants[m.n_variants++] = *variant;
    }
    return alone;
}

static void offer(struct space *space, uint32_t key, uint32_t group, uint64_t put_id, quire_rect rect, float ancestry, uint64_t check) {
    uint64_t cookie = 0;
    for (uint32_t i = 0; i < COOKIES && m.puts[cookie = roll(COOKIES)].open; i++) {
    }
    struct key *k = &space->keys[key];
    struct quire_wire_put item = {.key = k->key,
                                  .put_id = put_id,
                                  .check = check,
                                  .n_tokens = k->n_tokens,
                                  .group = (uint8_t)group,
                                  .first_layer = rect.first_layer,
                                  .n_layers = rect.n_layers,
                                  .first_head = rect.first_head,
                                  .n_heads = rect.n_heads,
                                  .ancestry_error = ancestry};
    item.length = space->layout.opaque ? k->length : (uint32_t)quire_layout_rect_bytes(&space->layout, group, &rect, k->n_tokens);
    if (k->parent >= 0) {
        item.parent = space->keys[k->parent].key;
    } else {
        item.flags |= k->parent == -1 ? QUIRE_WIRE_PUT_ROOT : QUIRE_WIRE_PUT_PARENT_UNKNOWN;
    }
    if (k->shorter >= 0) {
        item.flags |= QUIRE_WIRE_PUT_SUPERSEDES;
        item.supersedes = space->keys[k->shorter].key;
    }
    m.puts[cookie] = (struct put){.open = true, .space = (uint32_t)(space - m.spaces), .key = key, .group = group, .ancestry = ancestry};
    m.puts[cookie].since = m.puts[cookie].landed = m.operation;
    m.puts[cookie].generation = space->generation;
    m.puts[cookie].whole = space->layout.opaque || (rect.n_layers == 2 && rect.n_heads == 2);
    struct variant variant = {(uint32_t)(space - m.spaces), key, group, rect, check, ancestry};
    m.puts[cookie].alone = m.puts[cookie].whole || is_alone(&variant);
    enum quire_status status =
        pager_put(m.pager, m.now_ns, m.sessions[roll(SESSIONS)], space->ns, &item, cookie, m.now_ns + (chance(50) ? roll(400) * MS : 0));
    REQUIRE(status == QUIRE_OK || status == QUIRE_INVALID || status == QUIRE_RETRY);
    REQUIRE(status != QUIRE_INVALID || !m.puts[cookie].alone);
    m.puts[cookie].open = status == QUIRE_OK;
    m.n_open += status == QUIRE_OK;
}

/* Some of those parts come again, later than they came, and from anybody. */
static void put_parts_again(void) {
    for (uint32_t i = roll(4); i < m.n_variants; i += 1 + roll(3)) {
        const struct variant *v = &m.variants[i];
        offer(&m.spaces[v->space], v->key, v->group, PARTS | m.parts_id, v->rect, v->ancestry, v->check);
        take_wishes();
    }
}

static void put_parts(struct space *space, uint32_t key, uint32_t group, float ancestry) {
    if (chance(90)) { /* now and then under an old put_id */
        m.parts_id++;
        m.n_variants = 0;
    }
    for (uint16_t head = 0; head < 2; head++) {
        for (uint16_t layer = 0; layer < 2; layer++) {
            for (uint32_t times = chance(92) ? 1 + chance(10) : 0; times > 0; times--) {
                offer(space, key, group, PARTS | m.parts_id, (quire_rect){layer, 1, head, 1}, ancestry, chance(95) ? 1 : 2);
                take_wishes();
            }
        }
    }
}

static void operate_put(void) {
    struct space *space = &m.spaces[roll(SPACES)];
    uint32_t key = roll(KEYS), group = roll(space->n_groups);
    if (chance(70)) { /* most puts follow their parent */
        for (uint32_t i = 0; i < 8 && space->keys[key].parent >= 0 && !stored(space, &space->keys[space->keys[key].parent]); i++) {
            key = (uint32_t)space->keys[key].parent;
        }
    }
    float ancestry = chance(60) ? 0 : (float)roll(4) / 8;
    if (m.n_open > COOKIES / 2) {
        return;
    }
    if (chance(20)) {
        put_parts_again();
    } else if (space->layout.opaque) {
        offer(space, key, 0, chance(50) ? 0 : ++m.put_id, (quire_rect){0}, ancestry, 1);
    } else if (chance(25)) {
        put_parts(space, key, group, ancestry);
    } else {
        offer(space, key, group, chance(50) ? 0 : ++m.put_id, quire_layout_whole(&space->layout, group), ancestry, 1);
    }
}

#endif
