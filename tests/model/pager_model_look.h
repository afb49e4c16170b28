/* The model of the pager: looks at every key, and asks whether that may have changed. */
#ifndef PAGER_MODEL_LOOK_H
#define PAGER_MODEL_LOOK_H

#include "pager_model_world.h"

static void probe(const struct space *space, uint32_t mask, float floor, uint8_t misses[KEYS]) {
    uint8_t packed[KEYS * QUIRE_KEY_BYTES];
    for (uint32_t i = 0; i < KEYS; i++) {
        memcpy(packed + i * QUIRE_KEY_BYTES, space->keys[i].key.b, QUIRE_KEY_BYTES);
    }
    struct pager_lease_request request = {.session = m.sessions[0],
                                          .ns = space->ns,
                                          .keys = packed,
                                          .n_keys = KEYS,
                                          .flags = QUIRE_WIRE_LEASE_PROBE | QUIRE_WIRE_LEASE_NO_TOUCH |
                                                   (floor >= 0 ? QUIRE_WIRE_LEASE_FLOOR : 0),
                                          .group_mask = mask,
                                          .max_error = floor};
    struct pager_lease_reply reply = {.misses = misses};
    REQUIRE(pager_lease(m.pager, m.now_ns, &request, &reply) == QUIRE_OK);
}

static bool stored(const struct space *space, const struct key *key) {
    bool any = false;
    for (uint32_t g = 0; g < space->n_groups; g++) {
        any |= key->group[g].there;
    }
    return any;
}

static bool has_stored_child(const struct space *space, uint32_t key) {
    for (uint32_t i = 0; i < KEYS; i++) {
        if (space->keys[i].parent == (int)key && stored(space, &space->keys[i])) {
            return true;
        }
    }
    return false;
}

/* Everything looked the same, or has a reason. */
static void compare(struct space *space, uint8_t now[2][KEYS]) {
    struct seen before[KEYS][2];
    for (uint32_t i = 0; i < KEYS; i++) {
        memcpy(before[i], space->keys[i].group, sizeof(before[i]));
        for (uint32_t g = 0; g < space->n_groups; g++) {
            struct seen *seen = &space->keys[i].group[g];
            bool was = seen->there;
            seen->there = now[g][i] == QUIRE_MISS_NONE;
            if (seen->completed || !seen->there) {
                seen->epoch++;
                seen->leases = 0;
            }
            seen->completed = false;
            seen->came = was ? seen->came : m.operation;
            seen->promised = seen->there ? fminf(was ? seen->promised : INFINITY, seen->offered) : INFINITY;
            seen->offered = INFINITY;
        }
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key *key = &space->keys[i];
        for (uint32_t g = 0; g < space->n_groups; g++) {
            bool was = before[i][g].there, is = key->group[g].there;
            REQUIRE(!is || was || before[i][g].completed);
            if (!was || is) {
                continue;
            }
            if (key->deleted || key->superseded) {
                REQUIRE(key->deleted || (key->pins == 0 && !has_stored_child(space, i)));
                REQUIRE(now[g][i] == QUIRE_MISS_DELETED || now[g][i] == QUIRE_MISS_EVICTED || now[g][i] == QUIRE_MISS_INCOMPLETE ||
                        now[g][i] == QUIRE_MISS_NEVER_STORED);
                continue;
            }
            m.evicted_seen++;
            REQUIRE(key->pins == 0);
            for (uint32_t other = 0; other < 2; other++) { /* what was replaced in this operation may leave its readers behind */
                REQUIRE(before[i][other].leases == 0 || before[i][other].completed);
            }
            REQUIRE(!has_stored_child(space, i) && !stored(space, key));
        }
        key->pins = stored(space, key) ? key->pins : 0;
        key->deleted = key->superseded = false;
    }
}

/* Only these tell of blocks that come or go; without any, a look now and then is enough. */
static uint64_t changes(void) {
    const struct pager_counters *c = pager_counters(m.pager);
    return c->puts_stored + c->evicted_blocks + c->deleted_blocks + c->puts_superseding;
}

static void look_at_all(void) {
    for (uint32_t s = 0; s < SPACES; s++) {
        uint8_t now[2][KEYS];
        for (uint32_t g = 0; g < m.spaces[s].n_groups; g++) {
            probe(&m.spaces[s], 1u << g, -1, now[g]);
        }
        compare(&m.spaces[s], now);
    }
}

/* Fidelity of what is there, from the operator's view; less often. */
static float ancestry_of(const struct space *space, uint32_t key, uint32_t group) {
    struct pager_block_info info;
    REQUIRE(pager_block_info(m.pager, m.now_ns, space->ns, &space->keys[key].key, &info) == QUIRE_OK);
    for (uint32_t i = 0; i < info.n_records; i++) {
        if (info.records[i].group == group) {
            return info.records[i].ancestry_error;
        }
    }
    return INFINITY;
}

#endif
