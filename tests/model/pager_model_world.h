/*
 * The model of the pager (pager_model.c): what it knows, the picture of the pool, and the stand-in for the daemon that carries out wishes.
 */
#ifndef PAGER_MODEL_WORLD_H
#define PAGER_MODEL_WORLD_H

#include "pager/pager.h"
#include "pager/pool.h"
#include "proto/base/base.h"
#include "proto/layout.h"
#include "tests/unit/pager_random.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define POOL_BYTES (1536u << 10)
#define GRANULES (POOL_BYTES / PAGER_POOL_GRANULE)
#define SLOTS 300u
#define KEYS 200u
#define SPACES 2u
#define SESSIONS 6u
#define FLIGHTS 64u
#define LEASES 48u
#define READERS 64u
#define COOKIES 4096u
#define DEPTH 256u
#define VARIANTS 64u
#define PARTS (1ull << 63) /* in the put_ids of parts */
#define MS QUIRE_NS_PER_MS

#define REQUIRE(condition)                                                                                                                 \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fail(#condition, __LINE__);                                                                                                    \
        }                                                                                                                                  \
    } while (0)

struct seen {
    bool there;
    float promised;   /* the best ancestry that was acknowledged since it is there */
    float offered;    /* and in this operation */
    uint32_t leases;  /* grants of the present record held by anybody */
    uint32_t epoch;   /* records that there may have been */
    uint64_t last_ok; /* operation of the last acknowledged put */
    uint64_t came;    /* operation since which it is there */
    bool completed;   /* in this operation: may appear, or be replaced */
};

struct key {
    quire_key key;
    int parent;  /* -1: the root, -2: unknown */
    int shorter; /* tail that this one supersedes, -1: none */
    uint16_t n_tokens;
    uint32_t length; /* opaque */
    uint32_t pins;
    bool deleted, superseded; /* in this operation: may disappear */
    struct seen group[2];
};

struct space {
    char name[16];
    quire_layout layout;
    uint32_t n_groups, window;
    uint16_t ns;
    uint64_t generation; /* how often it was made anew */
    struct key keys[KEYS];
};

struct put {
    bool open;
    uint32_t space, key, group;
    float ancestry;
    bool whole;                 /* and not deleted since */
    uint64_t since, generation; /* operation, and the namespace's incarnation */
    uint64_t landed;            /* operation in which its bytes did, at first its own */
    bool alone;                 /* nobody has offered anything else in its place: it cannot be INVALID */
};

/* A part as it was offered: one cell. */
struct variant {
    uint32_t space, key, group;
    quire_rect rect;
    uint64_t check;
    float ancestry;
};

struct flight {
    struct pager_event event;
};

struct lease {
    uint64_t handle, session;
    uint32_t space, n;
    uint64_t generation, bytes;
    struct quire_wire_grant *grants;
    uint32_t *keys, *epochs;
    uint64_t *marks;
};

/* Somebody who went on reading after the release. */
struct reader {
    uint32_t slot, generation;
    uint64_t offset, mark;
};

static struct model {
    struct pager *pager;
    struct dice dice;
    uint64_t seed, operation, now_ns;
    uint32_t domain;
    _Atomic uint32_t generations[SLOTS];
    struct space spaces[SPACES];
    uint64_t sessions[SESSIONS];
    uint64_t leased_bytes[SESSIONS];
    uint64_t quarantined[SESSIONS]; /* handles of closed sessions that may still read, 0: none */
    struct put puts[COOKIES];
    uint32_t n_open;
    struct flight flights[FLIGHTS];
    uint32_t n_flights;
    struct lease leases[LEASES];
    uint32_t n_leases;
    struct reader readers[READERS];
    uint64_t marks[GRANULES]; /* what lies there */
    float ancestry[GRANULES]; /* as its facts say */
    uint32_t held[GRANULES];  /* grants on it */
    uint64_t changes;
    uint64_t next_mark, put_id, parts_id; /* put_ids: of wholes, of parts */
    struct variant variants[VARIANTS];    /* under the last parts_id, each once */
    uint32_t n_variants;
    uint64_t hits, prefixes, evicted_seen, stale_seen, waited;
} m;

static void fail(const char *what, int line) {
    fprintf(stderr, "pager_model: line %d: %s\n  seed %#" PRIx64 ", operation %" PRIu64 "\n", line, what, m.seed, m.operation);
    abort();
}

static uint32_t roll(uint32_t n) { return (uint32_t)dice_below(&m.dice, n); }
static bool chance(uint32_t percent) { return roll(100) < percent; }

/* ---- the world ------------------------------------------------------------------------------------------------------------ */
static quire_layout shaped_layout(void) {
    quire_layout layout = {.n_layers = 4, .n_groups = 2, .block_tokens = 4, .weights_digest = {7}};
    for (uint16_t l = 0; l < 4; l++) {
        layout.kv_src[l] = l;
        layout.group_of[l] = l / 2;
    }
    layout.group[0] = (quire_group){.n_kv_heads = 2, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16};
    layout.group[1] = layout.group[0];
    layout.group[1].k_dim = 160;
    layout.group[1].window_tokens = 9;
    return layout;
}

static void make_keys(struct space *space) {
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key *key = &space->keys[i];
        key->key.b[0] = (uint8_t)(space - m.spaces + 1);
        memcpy(key->key.b + 1, &i, sizeof(i));
        bool tail = i > 0 && i % 9 == 8; /* a short tail; its successor is the fuller block */
        key->n_tokens = tail ? 2 : 4;
        key->length = 1 + roll(chance(20) ? 60000 : 9000);
        key->shorter = i > 0 && i % 9 == 0 ? (int)i - 1 : -1;
        key->parent = i == 0 || chance(8) ? -1 : chance(3) ? -2 : (int)(i - 1 - roll(i < 4 ? i : 4));
        if (key->shorter >= 0) {
            key->parent = space->keys[i - 1].parent;
        }
    }
}

static void open_space(struct space *space) {
    char why[200];
    space->generation++;
    REQUIRE(pager_ns_open(m.pager, m.domain, space->name, &space->layout, "salt", 4, &space->ns, why, sizeof(why)) == QUIRE_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        space->keys[i].group[0] = space->keys[i].group[1] = (struct seen){.promised = INFINITY, .offered = INFINITY};
        space->keys[i].pins = 0;
        space->keys[i].deleted = false;
    }
}

static void make_world(void) {
    struct pager_options options;
    pager_options_default(&options);
    options.max_blocks = 350;
    options.lease_ms = 2000;
    options.lease_quota_pct = 20;
    options.part_expiry_ms = 1500;
    options.max_parts_pending = 60;
    options.max_puts_waiting = 24;
    options.max_leases = 40;
    options.ghost_entries = 256;
    REQUIRE(pager_create(&options, m.seed, 1, &m.pager) == QUIRE_OK);
    REQUIRE(pager_domain_add(m.pager, "own", POOL_BYTES, m.generations, SLOTS, &m.domain) == QUIRE_OK);
    m.spaces[0].layout = shaped_layout();
    m.spaces[1].layout = (quire_layout){.opaque = true, .block_tokens = 4, .engine = "e", .engine_format = "1"};
    for (uint32_t i = 0; i < SPACES; i++) {
        struct space *space = &m.spaces[i];
        snprintf(space->name, sizeof(space->name), "space%u", i);
        space->n_groups = space->layout.opaque ? 1 : 2;
        space->window = space->layout.opaque ? 0 : quire_layout_window_blocks(&space->layout, 1);
        make_keys(space);
        open_space(space);
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        REQUIRE(pager_session_open(m.pager, m.domain, &m.sessions[i]) == QUIRE_OK);
    }
}

/* ---- the picture of the pool ---------------------------------------------------------------------------------------------- */
static void paint(uint64_t offset, uint64_t size, uint64_t mark, float ancestry) {
    for (uint64_t g = offset / PAGER_POOL_GRANULE; g * PAGER_POOL_GRANULE < offset + size; g++) {
        REQUIRE(m.held[g] == 0); /* nobody may be reading what is overwritten */
        m.marks[g] = mark;
        m.ancestry[g] = ancestry;
    }
}

static uint64_t mark_at(uint64_t offset, uint64_t size) {
    uint64_t first = offset / PAGER_POOL_GRANULE, last = (offset + size - 1) / PAGER_POOL_GRANULE;
    REQUIRE(m.marks[first] == m.marks[last] && m.marks[first] == m.marks[(first + last) / 2]);
    return m.marks[first];
}

static void hold(uint64_t offset, uint64_t size, int by) {
    for (uint64_t g = offset / PAGER_POOL_GRANULE; g * PAGER_POOL_GRANULE < offset + size; g++) {
        m.held[g] += (uint32_t)by;
    }
}

/* A mark names the namespace's incarnation, key and group, and one writing. */
static uint64_t new_mark(uint32_t space, uint32_t key, uint32_t group) {
    return ++m.next_mark << 24 | (m.spaces[space].generation & 0xff) << 16 | space << 12 | group << 11 | key;
}

/* ---- outcomes and wishes -------------------------------------------------------------------------------------------------- */
/*
 * An acknowledgement may be taken late. It promises something of the record that is there now only if it was decided upon since
 * that one came, and no rival had made the put superfluous, which may land when the rival's record is long gone.
 */
static bool promises(const struct put *put, const struct seen *seen) {
    uint64_t earliest = seen->there ? seen->came : m.operation;
    return put->landed >= earliest && put->since > seen->last_ok;
}

static void put_done(const struct pager_event *event) {
    struct put *put = &m.puts[event->cookie % COOKIES];
    REQUIRE(put->open); /* exactly once */
    REQUIRE(event->status != QUIRE_INVALID || !put->alone);
    put->open = false;
    m.n_open--;
    if (event->status == QUIRE_OK && put->whole && put->generation == m.spaces[put->space].generation) {
        struct seen *seen = &m.spaces[put->space].keys[put->key].group[put->group];
        seen->offered = promises(put, seen) ? fminf(seen->offered, put->ancestry) : seen->offered;
        seen->last_ok = m.operation;
    }
    REQUIRE((event->status == QUIRE_FULL || event->status == QUIRE_RETRY) == (event->retry_after_ms > 0));
}

static void take_wishes(void) {
    struct pager_event event;
    while (m.n_flights < FLIGHTS && pager_next_event(m.pager, &event)) {
        if (event.type == PAGER_PUT_DONE) {
            put_done(&event);
            continue;
        }
        if (event.type == PAGER_MOVE) {
            paint(event.to_offset, event.size_bytes, 0, 0);
        } else {
            const struct put *put = &m.puts[event.cookie % COOKIES];
            bool sealed = event.type == PAGER_SEAL || event.seal;
            REQUIRE(put->open && (!event.seal || event.facts.ancestry_error == put->ancestry));
            paint(event.offset, event.size_bytes, new_mark(put->space, put->key, put->group), sealed ? event.facts.ancestry_error : NAN);
        }
        m.flights[m.n_flights++].event = event;
    }
}

static void completed(uint64_t cookie) {
    const struct put *put = &m.puts[cookie % COOKIES];
    struct key *key = &m.spaces[put->space].keys[put->key];
    key->group[put->group].completed = true;
    if (key->shorter >= 0) {
        m.spaces[put->space].keys[key->shorter].superseded = true;
    }
}

static void land_one(void) {
    if (m.n_flights == 0) {
        return;
    }
    uint32_t i = roll(m.n_flights);
    struct pager_event event = m.flights[i].event;
    m.flights[i] = m.flights[--m.n_flights];
    enum quire_status status = event.type == PAGER_FILL && chance(3)   ? QUIRE_CORRUPT
                               : event.type == PAGER_MOVE && chance(2) ? QUIRE_SYSTEM
                                                                       : QUIRE_OK;
    if (event.type == PAGER_MOVE && status == QUIRE_OK) {
        uint64_t from = event.offset / PAGER_POOL_GRANULE;
        paint(event.to_offset, event.size_bytes, m.marks[from], m.ancestry[from]);
    } else if (event.type != PAGER_MOVE) {
        completed(event.cookie);
        m.puts[event.cookie % COOKIES].landed = m.operation;
    }
    pager_complete(m.pager, m.now_ns, event.ticket, status);
}

#endif
