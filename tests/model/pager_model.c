/*
 * The pager against a simple reference, a million operations from a printed seed:
 *
 *     model_pager_model [SEED] [OPERATIONS]
 *
 * A stand-in for the daemon keeps a picture of the pool, one mark a granule. It carries out wishes late, out of order and sometimes
 * badly. The reference knows what was offered and what it saw last. After each operation it looks at every key and asks: may this
 * have changed? What appears must have been put; what disappears must have been deleted, superseded, or be evictable: nobody's
 * parent, not pinned, not leased. Prefixes, floors, windows and quotas are worked out anew for each lookup. Leased bytes
 * must not change until their release, and bytes whose generation did not change must not have changed either.
 */
#include "pager_model_read.h"
#include "pager_model_store.h"

/* ---- operations: the rest ------------------------------------------------------------------------------------------------- */
/* A deletion comes after every put that is under way: they are acknowledged, and leave nothing that could be as good as they said. */
static void puts_deleted(const struct space *space, uint32_t key) {
    for (uint32_t i = 0; i < COOKIES; i++) {
        m.puts[i].whole &= &m.spaces[m.puts[i].space] != space || m.puts[i].key != key;
    }
}

static void operate_key(void) {
    struct space *space = &m.spaces[roll(SPACES)];
    uint32_t key = roll(KEYS);
    struct key *k = &space->keys[key];
    enum quire_wire_keys_verb verb = (enum quire_wire_keys_verb)(1 + roll(4));
    if (verb == QUIRE_WIRE_PIN && chance(70)) {
        verb = QUIRE_WIRE_UNPIN;
    }
    uint8_t status;
    REQUIRE(pager_keys(m.pager, m.now_ns, m.sessions[0], space->ns, verb, k->key.b, 1, &status) == QUIRE_OK);
    bool there = stored(space, k);
    switch (verb) {
    case QUIRE_WIRE_TOUCH:
        REQUIRE(status == (there ? QUIRE_OK : QUIRE_MISS));
        break;
    case QUIRE_WIRE_PIN:
        REQUIRE(status == (there ? QUIRE_OK : QUIRE_MISS));
        k->pins += there;
        break;
    case QUIRE_WIRE_UNPIN:
        REQUIRE(status == (k->pins ? QUIRE_OK : there ? QUIRE_NOT_FOUND : QUIRE_MISS));
        k->pins -= k->pins > 0;
        break;
    default:
        REQUIRE(k->pins ? status == QUIRE_IN_USE : status == QUIRE_OK || (!there && status == QUIRE_MISS));
        k->deleted = status == QUIRE_OK;
        if (k->deleted) {
            puts_deleted(space, key);
        }
    }
}

static void operate_unpin_all(void) {
    for (uint32_t s = 0; s < SPACES; s++) {
        for (uint32_t i = 0; i < KEYS; i++) {
            struct key *key = &m.spaces[s].keys[i];
            for (; key->pins > 0; key->pins--) {
                uint8_t status;
                REQUIRE(pager_keys(m.pager, m.now_ns, m.sessions[0], m.spaces[s].ns, QUIRE_WIRE_UNPIN, key->key.b, 1, &status) == QUIRE_OK);
                REQUIRE(status == QUIRE_OK);
            }
        }
    }
}

static void drop_leases_of(uint64_t session) {
    for (uint32_t i = m.n_leases; i-- > 0;) {
        if (m.leases[i].session == session) {
            let_go(i);
        }
    }
}

static void operate_session(void) {
    uint32_t s = roll(SESSIONS);
    if (m.quarantined[s]) {
        drop_leases_of(m.quarantined[s]);
        pager_session_gone(m.pager, m.quarantined[s]);
        m.quarantined[s] = 0;
        return;
    }
    bool quarantine = chance(50);
    if (quarantine) {
        m.quarantined[s] = m.sessions[s]; /* its leases still hold */
    } else {
        drop_leases_of(m.sessions[s]);
    }
    pager_session_close(m.pager, m.sessions[s], quarantine);
    m.leased_bytes[s] = 0;
    REQUIRE(pager_session_open(m.pager, m.domain, &m.sessions[s]) == QUIRE_OK);
}

static void operate_ns(void) {
    struct space *space = &m.spaces[roll(SPACES)];
    uint64_t blocks, there = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        there += stored(space, &space->keys[i]);
    }
    REQUIRE(pager_ns_delete(m.pager, space->name, &blocks) == QUIRE_OK);
    REQUIRE(blocks == there);
    REQUIRE(pager_ns_layout(m.pager, space->ns) == NULL);
    open_space(space);
}

static void operate_evict(void) {
    uint64_t freed, before = pager_counters(m.pager)->evicted_bytes;
    uint16_t ns = chance(50) ? UINT16_MAX : m.spaces[roll(SPACES)].ns;
    enum quire_status status = pager_evict(m.pager, m.now_ns, m.domain, ns, roll(100000), &freed);
    REQUIRE(status == QUIRE_OK);                                       /* so few blocks are within a request's bounds */
    REQUIRE(freed <= pager_counters(m.pager)->evicted_bytes - before); /* what waits may have evicted more */
}

static void operate(void) {
    static const struct {
        uint32_t weight;
        void (*act)(void);
    } acts[] = {{3000, operate_put}, {3000, land_one},      {1500, operate_lease},  {1500, operate_release}, {500, operate_key},
                {30, operate_evict}, {20, operate_session}, {4, operate_unpin_all}, {2, operate_ns}};
    uint32_t total = 0;
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(acts); i++) {
        total += acts[i].weight;
    }
    uint32_t at = roll(total), i = 0;
    while (at >= acts[i].weight) {
        at -= acts[i++].weight;
    }
    acts[i].act();
}

static void check_fidelity(void) {
    for (uint32_t s = 0; s < SPACES; s++) {
        struct space *space = &m.spaces[s];
        uint8_t exact[2][KEYS];
        for (uint32_t g = 0; g < space->n_groups; g++) {
            probe(space, 1u << g, 0, exact[g]);
            for (uint32_t i = 0; i < KEYS; i++) {
                if (space->keys[i].group[g].there) {
                    float ancestry = ancestry_of(space, i, g);
                    REQUIRE((exact[g][i] == QUIRE_MISS_NONE) == (ancestry == 0));
                    REQUIRE(ancestry <= space->keys[i].group[g].promised);
                }
            }
        }
    }
}

static void step(void) {
    m.operation++;
    m.now_ns += roll(6) * MS;
    operate();
    take_wishes();
    if (pager_next_deadline(m.pager) <= m.now_ns) {
        pager_tick(m.pager, m.now_ns);
        take_wishes();
    }
    if (changes() != m.changes || m.operation % 16 == 0) {
        m.changes = changes();
        look_at_all();
    }
    if (m.operation % 64 == 0) {
        pager_check(m.pager);
        check_readers();
        check_fidelity();
    }
}

/* In the end everybody leaves, and nothing is left. */
static void leave(void) {
    while (m.n_flights > 0) {
        land_one();
        take_wishes();
    }
    for (uint32_t s = 0; s < SESSIONS; s++) {
        drop_leases_of(m.sessions[s]);
        drop_leases_of(m.quarantined[s]);
        pager_session_close(m.pager, m.sessions[s], false);
        pager_session_gone(m.pager, m.quarantined[s]);
    }
    for (take_wishes(); m.n_flights > 0; take_wishes()) {
        land_one();
    }
    REQUIRE(m.n_open == 0);
    for (uint32_t s = 0; s < SPACES; s++) {
        uint64_t blocks;
        REQUIRE(pager_ns_delete(m.pager, m.spaces[s].name, &blocks) == QUIRE_OK);
    }
    while (pager_next_deadline(m.pager) <= m.now_ns) {
        pager_tick(m.pager, m.now_ns);
    }
    pager_check(m.pager);
    struct pager_domain_stats stats;
    struct pager_memory memory;
    pager_domain_stats(m.pager, m.domain, &stats);
    pager_memory(m.pager, &memory);
    REQUIRE(stats.used_bytes == 0 && stats.records == 0 && stats.leased_bytes == 0 && memory.blocks == 0);
}

static void report(double seconds) {
    const struct pager_counters *c = pager_counters(m.pager);
    printf("%" PRIu64 " operations in %.1f s: %" PRIu64 " prefixes with %" PRIu64 " hits, %" PRIu64 " evictions seen, %" PRIu64
           " readers without a lease\n",
           m.operation, seconds, m.prefixes, m.hits, m.evicted_seen, m.stale_seen);
#define X(name, help) printf("  %s %" PRIu64 "\n", #name, c->name);
    PAGER_COUNTERS(X)
#undef X
}

int main(int argc, char **argv) {
    m.dice = argc > 1 ? (struct dice){strtoull(argv[1], NULL, 0)} : dice_printed("pager_model");
    m.seed = m.dice.state;
    const char *sanitize = getenv("QUIRE_SANITIZE"); /* which makes every operation several times as long */
    uint64_t operations = argc > 2 ? strtoull(argv[2], NULL, 0) : sanitize && *sanitize ? 150000 : 1000000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("pager_model: seed %#" PRIx64 "\n", m.seed);
    make_world();
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    while (m.operation < operations) {
        step();
    }
    leave();
    clock_gettime(CLOCK_MONOTONIC, &to);
    report((double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    pager_destroy(&m.pager);
    return 0;
}
