/*
 * A pager with a small pool and a daemon that does nothing but say yes: what the stories of the pager's unit tests play on.
 * Each step ends in pager_check. Records of the plain layout take RIG_RECORD bytes of payload or a little more.
 */
#ifndef PAGER_RIG_H
#define PAGER_RIG_H

#include "pager/pager.h"
#include "proto/base/base.h"
#include "proto/layout.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>

#define RIG_SLOTS 4096u
#define RIG_MS QUIRE_NS_PER_MS
#define RIG_NEVER (1ull << 62)

struct rig {
    struct pager *pager;
    struct pager_options options;
    _Atomic uint32_t *generations;
    uint32_t domain;
    uint64_t session;
    uint16_t ns;
    uint64_t now_ns;
    bool held;                     /* events stay where they are until the story takes them */
    enum quire_status fill_status; /* what the daemon says of every fill */
    enum quire_status outcome[65536];
    uint32_t retry_ms[65536];
    uint8_t outcomes[65536]; /* how often a cookie was answered */
    uint64_t cookie;
    uint8_t misses[QUIRE_MAX_BATCH];
    struct quire_wire_grant grants[QUIRE_MAX_BATCH];
    struct pager_lease_reply reply;
    void *disk; /* pager_disk_rig.h */
    void (*disk_event)(struct rig *rig, const struct pager_event *event);
};

/* Four layers in two groups of two heads: 0 sees everything, 1 only the last eight tokens, with four tokens a block. */
static inline quire_layout rig_layout(void) {
    quire_layout layout = {.n_layers = 4, .n_groups = 1, .block_tokens = 4, .weights_digest = {1}};
    for (uint16_t l = 0; l < 4; l++) {
        layout.kv_src[l] = l;
    }
    layout.group[0] = (quire_group){.n_kv_heads = 2, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16};
    return layout;
}

static inline quire_layout rig_layout_windowed(void) {
    quire_layout layout = rig_layout();
    layout.n_groups = 2;
    layout.group_of[2] = layout.group_of[3] = 1;
    layout.group[1] = layout.group[0];
    layout.group[1].window_tokens = 8;
    return layout;
}

static inline quire_key rig_key(uint32_t n) {
    quire_key key = {{0xaa}};
    memcpy(key.b + 1, &n, sizeof(n));
    return key;
}

static inline void rig_new_pager(struct rig *rig, uint64_t pool_bytes) {
    rig->generations = calloc(RIG_SLOTS, sizeof(*rig->generations));
    cr_assert_eq(pager_create(&rig->options, 7, 1, &rig->pager), QUIRE_OK);
    cr_assert_eq(pager_domain_add(rig->pager, "own", pool_bytes, rig->generations, RIG_SLOTS, &rig->domain), QUIRE_OK);
}

static inline struct rig *rig_new(uint64_t pool_bytes, const quire_layout *layout) {
    struct rig *rig = calloc(1, sizeof(*rig));
    char why[200];
    rig->now_ns = 1000 * RIG_MS;
    pager_options_default(&rig->options);
    rig->options.reclaim_low_pct = rig->options.reclaim_high_pct = 0;
    rig->options.lease_quota_pct = 100;
    rig->options.max_blocks = 100000;
    rig_new_pager(rig, pool_bytes);
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, "m", layout, "s", 1, &rig->ns, why, sizeof(why)), QUIRE_OK, "%s", why);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    return rig;
}

static inline void rig_free(struct rig *rig) {
    pager_check(rig->pager);
    pager_destroy(&rig->pager);
    free(rig->generations);
    free(rig);
}

static inline void rig_answered(struct rig *rig, const struct pager_event *event) {
    rig->outcome[event->cookie & 65535] = event->status;
    rig->retry_ms[event->cookie & 65535] = event->retry_after_ms;
    rig->outcomes[event->cookie & 65535]++;
}

/* Takes one wish for the story itself; outcomes on the way are noted. */
static inline bool rig_take(struct rig *rig, struct pager_event *event) {
    while (pager_next_event(rig->pager, event)) {
        if (event->type >= PAGER_DISK_WRITE) {
            rig->disk_event(rig, event);
        } else if (event->type != PAGER_PUT_DONE) {
            return true;
        } else {
            rig_answered(rig, event);
        }
    }
    return false;
}

static inline void rig_complete(struct rig *rig, const struct pager_event *event, enum quire_status status) {
    pager_complete(rig->pager, rig->now_ns, event->ticket, status);
    pager_check(rig->pager);
}

/* The daemon works until nothing is left to do. */
static inline void rig_pump(struct rig *rig) {
    struct pager_event event;
    while (rig_take(rig, &event)) {
        rig_complete(rig, &event, event.type == PAGER_FILL ? rig->fill_status : QUIRE_OK);
    }
    pager_check(rig->pager);
}

static inline void rig_pass(struct rig *rig, uint64_t ms) {
    rig->now_ns += ms * RIG_MS;
    pager_tick(rig->pager, rig->now_ns);
    pager_check(rig->pager);
    if (!rig->held) {
        rig_pump(rig);
    }
}

/* A whole record of a group; parent 0: the root. */
static inline struct quire_wire_put rig_item(const struct rig *rig, uint32_t key, uint32_t parent) {
    const quire_layout *layout = pager_ns_layout(rig->pager, rig->ns);
    struct quire_wire_put item = {.key = rig_key(key), .n_tokens = layout->block_tokens};
    if (parent) {
        item.parent = rig_key(parent);
    } else {
        item.flags = QUIRE_WIRE_PUT_ROOT;
    }
    if (!layout->opaque) {
        quire_rect rect = quire_layout_whole(layout, 0);
        item.n_layers = rect.n_layers;
        item.n_heads = rect.n_heads;
        item.length = (uint32_t)quire_layout_rect_bytes(layout, 0, &rect, item.n_tokens);
    }
    return item;
}

/* The same item cut down to some layers and heads. */
static inline struct quire_wire_put rig_part(const struct rig *rig, struct quire_wire_put item, uint64_t put_id, quire_rect rect) {
    item.put_id = put_id;
    item.first_layer = rect.first_layer, item.n_layers = rect.n_layers;
    item.first_head = rect.first_head, item.n_heads = rect.n_heads;
    item.length = (uint32_t)quire_layout_rect_bytes(pager_ns_layout(rig->pager, rig->ns), item.group, &rect, item.n_tokens);
    return item;
}

/* Offers; the answer, if it is already there, is in rig->outcome[cookie]. */
static inline enum quire_status rig_offer(struct rig *rig, uint64_t session, const struct quire_wire_put *item, uint64_t *cookie) {
    *cookie = ++rig->cookie;
    rig->outcome[*cookie] = QUIRE_PENDING;
    enum quire_status status = pager_put(rig->pager, rig->now_ns, session, rig->ns, item, *cookie, rig->now_ns);
    pager_check(rig->pager);
    if (!rig->held) {
        rig_pump(rig);
    }
    return status;
}

/* Offers and answers with the outcome. PENDING: it waits. */
static inline enum quire_status rig_put_item(struct rig *rig, const struct quire_wire_put *item) {
    uint64_t cookie;
    enum quire_status status = rig_offer(rig, rig->session, item, &cookie);
    return status == QUIRE_OK ? rig->outcome[cookie] : status;
}

static inline enum quire_status rig_put(struct rig *rig, uint32_t key, uint32_t parent) {
    struct quire_wire_put item = rig_item(rig, key, parent);
    return rig_put_item(rig, &item);
}

/* keys: ends with 0. The reply is rig->reply. */
static inline uint32_t rig_look(struct rig *rig, uint64_t session, uint32_t flags, const uint32_t *keys) {
    uint8_t packed[64 * QUIRE_KEY_BYTES];
    uint32_t n = 0;
    for (; keys[n]; n++) {
        quire_key key = rig_key(keys[n]);
        memcpy(packed + n * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
    }
    struct pager_lease_request request = {.session = session, .ns = rig->ns, .keys = packed, .n_keys = n, .flags = flags};
    rig->reply = (struct pager_lease_reply){.misses = rig->misses, .grants = rig->grants, .grants_capacity = QUIRE_MAX_BATCH};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &rig->reply), QUIRE_OK);
    pager_check(rig->pager);
    return rig->reply.hits;
}

#define rig_prefix(rig, ...) rig_look((rig), (rig)->session, QUIRE_WIRE_LEASE_PREFIX, (uint32_t[]){__VA_ARGS__, 0})
#define rig_each(rig, ...) rig_look((rig), (rig)->session, 0, (uint32_t[]){__VA_ARGS__, 0})
#define rig_probe(rig, ...)                                                                                                                \
    rig_look((rig), (rig)->session, QUIRE_WIRE_LEASE_PROBE | QUIRE_WIRE_LEASE_NO_TOUCH, (uint32_t[]){__VA_ARGS__, 0})

static inline void rig_release(struct rig *rig, uint64_t lease) {
    cr_assert_eq(pager_release(rig->pager, rig->session, lease), QUIRE_OK);
    pager_check(rig->pager);
    if (!rig->held) {
        rig_pump(rig);
    }
}

/* Why a key misses; NONE: it hits. Leaves no trace. */
static inline enum quire_miss rig_why(struct rig *rig, uint32_t key) {
    rig_probe(rig, key);
    return (enum quire_miss)rig->misses[0];
}

static inline enum quire_status rig_verb(struct rig *rig, enum quire_wire_keys_verb verb, uint32_t key) {
    quire_key k = rig_key(key);
    uint8_t status;
    cr_assert_eq(pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, verb, k.b, 1, &status), QUIRE_OK);
    pager_check(rig->pager);
    if (!rig->held) {
        rig_pump(rig);
    }
    return (enum quire_status)status;
}

static inline struct pager_block_info rig_info(struct rig *rig, uint32_t key) {
    quire_key k = rig_key(key);
    struct pager_block_info info;
    cr_assert_eq(pager_block_info(rig->pager, rig->now_ns, rig->ns, &k, &info), QUIRE_OK);
    return info;
}

static inline struct pager_domain_stats rig_stats(const struct rig *rig) {
    struct pager_domain_stats stats;
    pager_domain_stats(rig->pager, rig->domain, &stats);
    return stats;
}

/* Stores blocks that are their own roots until the pool holds `leave` bytes or less; returns the first key not stored. */
static inline uint32_t rig_fill_pool(struct rig *rig, uint32_t first_key) {
    const struct pager_counters *counters = pager_counters(rig->pager);
    uint64_t size = 0;
    for (;; first_key++) {
        struct pager_domain_stats stats = rig_stats(rig);
        if (stats.largest_free_bytes < size || stats.capacity_bytes - stats.used_bytes < size) {
            cr_assert_eq(counters->evicted_blocks, 0);
            return first_key;
        }
        cr_assert_eq(rig_put(rig, first_key, 0), QUIRE_OK);
        size = rig_stats(rig).used_bytes - stats.used_bytes;
        rig_pass(rig, 100);
    }
}

#endif
