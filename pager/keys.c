/* Verbs that name blocks by key: touch, delete, pin, unpin. */
#include "pager/disk/internal.h"

static enum quire_status touch(struct pager *pager, uint32_t block) {
    struct pager_block *b = pager_block_at(pager, block);
    if (!pager_block_stored(pager, block)) {
        return QUIRE_MISS;
    }
    b->used = pager_tick_now(pager);
    return QUIRE_OK;
}

/*
 * Also what is under construction goes: a block that was deleted must not come back by a put from before. Who put it did nothing wrong and
 * gave up nothing: it is told what it would have been told just before, that the block is stored; of a pin, that there is nothing to pin.
 */
static enum quire_status delete_block(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    bool stored = pager_block_stored(pager, block), building = b->flags & PAGER_BLOCK_BUILDING;
    uint64_t bytes = 0;
    if (b->pins > 0) {
        return QUIRE_IN_USE;
    }
    quire_key key = b->key;
    const struct pager_ns *ns = pager->namespaces[b->ns];
    bool lies = pager_needs_grave(pager, ns, &key, block);
    if (stored) {
        pager_block_drop(pager, block, PAGER_GHOST_DELETED, &bytes);
        pager->counters.deleted_blocks++;
    }
    if (building) {
        pager_assembly_end_all(pager, block, QUIRE_OK, QUIRE_MISS);
    }
    if (lies) { /* last: it buries also what this left */
        pager_bury(pager, ns, &key);
    }
    return stored || building ? QUIRE_OK : QUIRE_MISS;
}

static enum quire_status pin(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    if (!pager_block_stored(pager, block)) {
        return QUIRE_MISS;
    }
    if (b->pins == UINT16_MAX) {
        return QUIRE_TOO_LARGE;
    }
    if (b->pins == 0) {
        return pager_publish_pin(pager, block);
    }
    return pager_block_pin(pager, block, (uint16_t)(b->pins + 1)) ? QUIRE_OK : QUIRE_NO_MEMORY;
}

static enum quire_status unpin(struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    if (b->pins == 0) {
        return pager_block_stored(pager, block) ? QUIRE_NOT_FOUND : QUIRE_MISS;
    }
    return pager_block_pin(pager, block, (uint16_t)(b->pins - 1)) ? QUIRE_OK : QUIRE_NO_MEMORY;
}

/* Of a block that was pinned before the start, and was not found yet, or could not be: as if it were there. */
static enum quire_status of_waiting(struct pager *pager, struct pager_ns *ns, enum quire_wire_keys_verb verb, const quire_key *key,
                                    uint32_t times) {
    if (verb == QUIRE_WIRE_DELETE || (verb == QUIRE_WIRE_PIN && times == UINT16_MAX)) {
        return verb == QUIRE_WIRE_DELETE ? QUIRE_IN_USE : QUIRE_TOO_LARGE;
    }
    if (!pager_pin_wait(pager, ns, key, verb == QUIRE_WIRE_PIN ? times + 1 : times - 1)) {
        return QUIRE_NO_MEMORY;
    }
    pager_meta_changed(pager);
    return QUIRE_OK;
}

/* When all was looked for, what did not come is not there to be pinned; but who pinned it may take that back. */
static bool is_of_pins(const struct pager *pager, enum quire_wire_keys_verb verb) {
    return verb == QUIRE_WIRE_DELETE || verb == QUIRE_WIRE_UNPIN || (verb == QUIRE_WIRE_PIN && pager->disk && pager->disk->restoring);
}

enum quire_status pager_keys(struct pager *pager, uint64_t now_ns, uint64_t session, uint16_t ns, enum quire_wire_keys_verb verb,
                             const uint8_t *keys, uint32_t n_keys, uint8_t *statuses) {
    static enum quire_status (*const verbs[])(struct pager *, uint32_t) = {
        [QUIRE_WIRE_TOUCH] = touch, [QUIRE_WIRE_DELETE] = delete_block, [QUIRE_WIRE_PIN] = pin, [QUIRE_WIRE_UNPIN] = unpin};
    struct pager_session *s;
    struct pager_ns *n;
    pager_clock(pager, now_ns);
    QUIRE_FORWARD(pager_entitled(pager, session, ns, &s, &n));
    if ((unsigned)verb >= QUIRE_ARRAY_LEN(verbs) || !verbs[verb]) {
        return QUIRE_INVALID;
    }
    if (n_keys > QUIRE_MAX_BATCH) {
        return QUIRE_TOO_LARGE;
    }
    if (verb == QUIRE_WIRE_DELETE) {
        QUIRE_FORWARD(pager_may_bury(pager, s, n, keys, n_keys));
    } else if (verb == QUIRE_WIRE_PIN || verb == QUIRE_WIRE_UNPIN) {
        QUIRE_FORWARD(pager_may_tell_pins(pager));
    }
    for (uint32_t i = 0; i < n_keys; i++) {
        quire_key key;
        memcpy(key.b, keys + (size_t)i * QUIRE_KEY_BYTES, QUIRE_KEY_BYTES);
        uint32_t block = pager_index_find(pager->index, ns, &key);
        bool pinned = block != PAGER_NO_BLOCK && pager_block_at(pager, block)->pins > 0;
        uint32_t waiting = pinned || !is_of_pins(pager, verb) ? 0 : pager_pin_waits(pager, n, &key);
        if (waiting > 0) {
            statuses[i] = (uint8_t)of_waiting(pager, n, verb, &key, waiting);
            continue;
        }
        if (block == PAGER_NO_BLOCK && verb == QUIRE_WIRE_DELETE && pager_needs_grave(pager, n, &key, block)) {
            pager_bury(pager, n, &key); /* who is told that it is not here must not find it later */
        }
        statuses[i] = (uint8_t)(block == PAGER_NO_BLOCK ? QUIRE_MISS : verbs[verb](pager, block));
    }
    pager_room_serve_all(pager);
    return QUIRE_OK;
}
