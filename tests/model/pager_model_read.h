/* The model of the pager: what reads: prefixes, leases, and who goes on reading after. */
#ifndef PAGER_MODEL_READ_H
#define PAGER_MODEL_READ_H

#include "pager_model_look.h"

static uint32_t path_to(const struct space *space, uint32_t key, uint32_t path[DEPTH]) {
    uint32_t n = 0;
    uint32_t up[DEPTH];
    for (int k = (int)key; k >= 0 && n < DEPTH; k = space->keys[k].parent) {
        up[n++] = (uint32_t)k;
    }
    for (uint32_t i = 0; i < n; i++) {
        path[i] = up[n - 1 - i];
    }
    return n;
}

static bool ends_partial(const struct space *space, const uint32_t *path, uint32_t n) {
    return space->keys[path[n - 1]].n_tokens < space->layout.block_tokens;
}

/* Would a reader of the first n blocks find all it needs, and what does it weigh? */
static bool usable(const struct space *space, const uint32_t *path, uint32_t n, const uint8_t faithful[2][KEYS], uint64_t *bytes) {
    uint32_t window = space->window + ends_partial(space, path, n);
    *bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t g = 0; g < space->n_groups; g++) {
            if (g == 1 && n - i > window) {
                continue;
            }
            if (faithful[g][path[i]] != QUIRE_MISS_NONE) {
                return false;
            }
            struct quire_record_shape shape;
            const struct key *key = &space->keys[path[i]];
            REQUIRE(quire_record_shape(&space->layout, g, key->n_tokens, space->layout.opaque ? key->length : 0, &shape) == QUIRE_OK);
            *bytes += shape.size_bytes;
        }
    }
    return true;
}

static void expect_prefix(const struct space *space, const uint32_t *path, uint32_t n, const uint8_t faithful[2][KEYS], uint64_t budget,
                          const struct pager_lease_reply *reply) {
    uint32_t best = 0, uncut = 0;
    uint64_t bytes, best_bytes = 0;
    for (uint32_t i = 1; i <= n; i++) {
        if (usable(space, path, i, faithful, &bytes)) {
            uncut = i;
            if (bytes <= budget) {
                best = i;
                best_bytes = bytes;
            }
        }
    }
    if (best < uncut) { /* a prefix that has to be cut ends in a full block */
        while (best > 0 && (ends_partial(space, path, best) || !usable(space, path, best, faithful, &bytes) || bytes > budget)) {
            best--;
        }
        best_bytes = best > 0 ? bytes : 0;
    }
    REQUIRE(reply->hits == best && reply->leased_bytes == best_bytes);
    for (uint32_t i = 0; i < n; i++) {
        REQUIRE((reply->misses[i] == QUIRE_MISS_NONE) == (i < best));
        REQUIRE((reply->misses[i] == QUIRE_MISS_QUOTA) == (i >= best && i < uncut));
        bool there = faithful[0][path[i]] == QUIRE_MISS_NONE && (space->n_groups == 1 || faithful[1][path[i]] == QUIRE_MISS_NONE);
        REQUIRE((reply->misses[i] == QUIRE_MISS_ORPHAN) == (i >= uncut && there));
    }
}

static void keep_lease(struct lease *lease, const struct space *space, const uint32_t *path, const struct pager_lease_reply *reply) {
    lease->n = reply->n_grants;
    lease->bytes = reply->leased_bytes;
    lease->grants = malloc(lease->n * sizeof(*lease->grants));
    lease->keys = malloc(lease->n * sizeof(*lease->keys));
    lease->epochs = malloc(lease->n * sizeof(*lease->epochs));
    lease->marks = malloc(lease->n * sizeof(*lease->marks));
    for (uint32_t i = 0; i < lease->n; i++) {
        const struct quire_wire_grant *grant = &reply->grants[i];
        uint32_t key = path[grant->key_index];
        lease->grants[i] = *grant;
        lease->keys[i] = key;
        lease->marks[i] = mark_at(grant->offset, grant->size);
        REQUIRE((lease->marks[i] & 0xffffff) ==
                ((space->generation & 0xff) << 16 | (uint64_t)(space - m.spaces) << 12 | grant->group << 11 | key));
        REQUIRE(atomic_load(&m.generations[grant->slot]) == grant->generation);
        REQUIRE(m.ancestry[grant->offset / PAGER_POOL_GRANULE] == ancestry_of(space, key, grant->group));
        hold(grant->offset, grant->size, 1);
        struct seen *seen = &m.spaces[space - m.spaces].keys[key].group[grant->group];
        lease->epochs[i] = seen->epoch;
        seen->leases++;
    }
}

static void operate_lease(void) {
    uint32_t s = roll(SESSIONS), space_n = roll(SPACES), path[DEPTH];
    struct space *space = &m.spaces[space_n];
    float floor = chance(70) ? -1 : (float)roll(3) / 8;
    uint32_t n = path_to(space, roll(KEYS), path);
    uint8_t packed[DEPTH * QUIRE_KEY_BYTES], misses[DEPTH], faithful[2][KEYS];
    struct quire_wire_grant grants[2 * DEPTH];
    for (uint32_t i = 0; i < n; i++) {
        memcpy(packed + i * QUIRE_KEY_BYTES, space->keys[path[i]].key.b, QUIRE_KEY_BYTES);
    }
    for (uint32_t g = 0; g < space->n_groups; g++) {
        probe(space, 1u << g, floor, faithful[g]);
    }
    struct pager_lease_request request = {.session = m.sessions[s],
                                          .ns = space->ns,
                                          .keys = packed,
                                          .n_keys = n,
                                          .flags = QUIRE_WIRE_LEASE_PREFIX | (floor >= 0 ? QUIRE_WIRE_LEASE_FLOOR : 0),
                                          .max_error = floor,
                                          .lease_ms = roll(3000)};
    struct pager_lease_reply reply = {.misses = misses, .grants = grants, .grants_capacity = 2 * DEPTH};
    enum quire_status status = pager_lease(m.pager, m.now_ns, &request, &reply);
    if (m.n_leases >= 40) {
        REQUIRE(status == QUIRE_RETRY || reply.lease == 0);
        return;
    }
    REQUIRE(status == QUIRE_OK);
    struct pager_domain_stats stats;
    pager_domain_stats(m.pager, m.domain, &stats);
    expect_prefix(space, path, n, faithful, stats.capacity_bytes / 100 * 20 - m.leased_bytes[s], &reply);
    m.prefixes++;
    m.hits += reply.hits;
    if (reply.lease != 0) {
        struct lease *lease = &m.leases[m.n_leases++];
        *lease = (struct lease){.handle = reply.lease, .session = m.sessions[s], .space = space_n, .generation = space->generation};
        m.leased_bytes[s] += reply.leased_bytes;
        keep_lease(lease, space, path, &reply);
    }
}

/* The bytes are what they were when they were granted, whatever has happened since. */
static void let_go(uint32_t i) {
    struct lease *lease = &m.leases[i];
    struct space *space = &m.spaces[lease->space];
    for (uint32_t g = 0; g < lease->n; g++) {
        const struct quire_wire_grant *grant = &lease->grants[g];
        REQUIRE(mark_at(grant->offset, grant->size) == lease->marks[g]);
        REQUIRE(atomic_load(&m.generations[grant->slot]) == grant->generation);
        hold(grant->offset, grant->size, -1);
        struct seen *seen = &space->keys[lease->keys[g]].group[grant->group];
        seen->leases -= space->generation == lease->generation && seen->epoch == lease->epochs[g];
        m.readers[roll(READERS)] = (struct reader){grant->slot, grant->generation, grant->offset, lease->marks[g]};
    }
    free(lease->grants);
    free(lease->keys);
    free(lease->epochs);
    free(lease->marks);
    *lease = m.leases[--m.n_leases];
}

static void operate_release(void) {
    if (m.n_leases == 0) {
        return;
    }
    uint32_t i = roll(m.n_leases);
    for (uint32_t s = 0; s < SESSIONS; s++) {
        if (m.sessions[s] == m.leases[i].session) {
            uint64_t handle = m.leases[i].handle;
            m.leased_bytes[s] -= m.leases[i].bytes;
            let_go(i);
            REQUIRE(pager_release(m.pager, m.sessions[s], handle) == QUIRE_OK);
            REQUIRE(pager_release(m.pager, m.sessions[s], handle) == QUIRE_NOT_FOUND);
            return;
        }
    }
}

/* Whoever reads without a lease is safe as long as it looks at the generation afterwards. */
static void check_readers(void) {
    for (uint32_t i = 0; i < READERS; i++) {
        const struct reader *reader = &m.readers[i];
        if (reader->mark && atomic_load(&m.generations[reader->slot]) == reader->generation) {
            REQUIRE(m.marks[reader->offset / PAGER_POOL_GRANULE] == reader->mark);
            m.stale_seen++;
        }
    }
}

#endif
