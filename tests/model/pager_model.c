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

/* ---- looking at everything ------------------------------------------------------------------------------------------------ */
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

/* ---- operations: storing -------------------------------------------------------------------------------------------------- */
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

/* ---- operations: reading -------------------------------------------------------------------------------------------------- */
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
