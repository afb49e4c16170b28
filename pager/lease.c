/*
 * Lookups and leases. One batch probe of the index, then entries and records in waves so that their cache misses overlap; no
 * allocation but the lease itself.
 */
#include "pager/disk/internal.h"

#include <math.h>
#include <stdlib.h>

/* How many keys ahead records are fetched into the cache. */
#define AHEAD 16u

struct lookup {
    struct pager *pager;
    const struct pager_lease_request *request;
    struct pager_lease_reply *reply;
    struct pager_ns *ns;
    struct pager_domain *domain;
    struct pager_session *session;
    struct pager_block *blocks; /* the index's entries: they never move */
    uint32_t mask;              /* groups wanted */
    uint32_t windowed;          /* those of them of which only the last blocks are needed */
    uint32_t n;                 /* blocks of the usable prefix; all keys without PREFIX */
    uint32_t uncut;             /* before the quota cut it */
    uint64_t budget_bytes, tokens;
    uint32_t now; /* in ticks */
    bool prefix, floor, probe, quiet, quota_hit;
    bool plain; /* one group and no floor: a block that has a record has all that is wanted */
    bool disk;  /* there is one */
};

static bool is_faithful(const struct lookup *l, const struct pager_record *record) {
    return !l->floor || (record->error <= l->request->max_error && record->ancestry_error <= l->request->max_error);
}

/* Of groups that are on disk, those that are faithful enough. */
static uint32_t have_on_disk(const struct lookup *l, uint32_t found) {
    struct pager_where where;
    uint32_t groups = 0;
    for (uint32_t at = 0; pager_where_next(l->pager, found, &at, &where);) {
        bool ok = !l->floor || (where.error <= l->request->max_error && where.ancestry_error <= l->request->max_error);
        groups |= ok ? 1u << where.group : 0;
    }
    return groups;
}

/* Groups that are there and faithful enough. */
static inline uint32_t have(const struct lookup *l, uint32_t found) {
    uint32_t groups = 0;
    if (found == PAGER_NO_BLOCK) {
        return 0;
    }
    if (l->plain) { /* without waiting for the record's cache line */
        bool there = l->blocks[found].record != PAGER_NO_RECORD || (l->disk && pager_where_any(l->pager, found));
        return there ? l->mask : 0;
    }
    groups = l->disk ? have_on_disk(l, found) : 0;
    for (uint32_t slot = l->blocks[found].record; slot != PAGER_NO_RECORD; slot = l->domain->records[slot].next) {
        const struct pager_record *record = &l->domain->records[slot];
        groups |= is_faithful(l, record) ? 1u << record->group : 0;
    }
    return groups & l->mask;
}

/* All at once: as many misses overlap as the machine can hold. */
static void prefetch_records(const struct lookup *l) {
    for (uint32_t i = 0; i < l->request->n_keys; i++) {
        uint32_t found = l->pager->found[i];
        uint32_t slot = found == PAGER_NO_BLOCK ? PAGER_NO_RECORD : l->blocks[found].record;
        if (slot != PAGER_NO_RECORD) {
            __builtin_prefetch(&l->domain->records[slot], 1);
        }
    }
}

/* Does the prefix end in a partial block? Then a window reaches one block further back. */
static bool ends_partial(const struct lookup *l, uint32_t n) {
    uint32_t found = n == 0 ? PAGER_NO_BLOCK : l->pager->found[n - 1];
    return found != PAGER_NO_BLOCK && l->blocks[found].n_tokens < l->ns->layout->block_tokens;
}

/* How many of the last of n blocks a reader needs of a windowed group. */
static uint32_t window_of(const struct lookup *l, uint32_t g, uint32_t n) { return l->ns->window_blocks[g] + ends_partial(l, n); }

/*
 * Do the last blocks before n have the windowed groups, of which a reader needs them? `run` counts how many in a row up to here have each. What is
 * found is kept: a prefix that has to be cut goes back over it.
 */
static bool windows_hold(struct lookup *l, uint32_t n, uint32_t groups, uint32_t *run) {
    bool hold = true;
    for (uint32_t g = 0; l->windowed >> g; g++) {
        run[g] = groups >> g & 1 ? run[g] + 1 : 0;
        hold &= !(l->windowed >> g & 1) || run[g] >= quire_min_u64(window_of(l, g, n), n);
    }
    l->pager->usable[n] = hold;
    return hold;
}

/* Longest n such that each block before n has every global group, and the last blocks before n have the windowed ones. */
static void find_prefix(struct lookup *l) {
    uint32_t run[QUIRE_MAX_GROUPS] = {0}, global = l->mask & ~l->windowed;
    l->n = 0;
    for (uint32_t i = 0; i < l->request->n_keys; i++) {
        uint32_t groups = have(l, l->pager->found[i]);
        if ((groups & global) != global) {
            return;
        }
        if (!l->windowed || windows_hold(l, i + 1, groups, run)) {
            l->n = i + 1;
        }
    }
}

/* Groups of block i that a reader of the n-block prefix needs. */
static uint32_t needed(const struct lookup *l, uint32_t i, uint32_t n) {
    uint32_t groups = l->mask;
    for (uint32_t g = 0; l->prefix && l->windowed >> g; g++) {
        if ((l->windowed >> g & 1) && n - i > window_of(l, g, n)) {
            groups &= ~(1u << g);
        }
    }
    return groups;
}

static uint64_t bytes_of(const struct lookup *l, uint32_t i, uint32_t groups) {
    uint32_t found = l->pager->found[i];
    uint64_t bytes = 0;
    if (groups == 0 || found == PAGER_NO_BLOCK) {
        return 0;
    }
    for (uint32_t slot = l->blocks[found].record; slot != PAGER_NO_RECORD; slot = l->domain->records[slot].next) {
        const struct pager_record *record = &l->domain->records[slot];
        bytes += groups >> record->group & 1 ? record->size_bytes : 0;
        groups &= ~(1u << record->group);
    }
    struct pager_where where;
    for (uint32_t at = 0; l->disk && groups && pager_where_next(l->pager, found, &at, &where);) {
        bytes += groups >> where.group & 1 ? pager_where_bytes(l->pager, found, &where) : 0;
    }
    return bytes;
}

/* Does the n-block prefix, no longer than the one found, have all that it needs of the windowed groups? */
static bool is_usable(const struct lookup *l, uint32_t n) { return l->windowed == 0 || l->pager->usable[n]; }

static uint64_t prefix_bytes(const struct lookup *l, uint32_t n) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        bytes += bytes_of(l, i, needed(l, i, n));
    }
    return bytes;
}

/* What blocks before n cost is known; what those before n − 1 cost follows: the last one leaves, each window moves back by one. */
static uint64_t one_less(const struct lookup *l, uint32_t n, uint64_t bytes) {
    bytes -= bytes_of(l, n - 1, needed(l, n - 1, n));
    for (uint32_t g = 0; l->windowed >> g; g++) {
        if ((l->windowed >> g & 1) && n > l->ns->window_blocks[g]) {
            bytes += bytes_of(l, n - 1 - l->ns->window_blocks[g], 1u << g);
        }
    }
    return bytes;
}

/* The longest usable prefix that the session's quota allows. One that has to be cut ends in a full block: that keeps the sum exact. */
static void cut_prefix(struct lookup *l) {
    uint32_t n = l->n;
    uint64_t bytes = prefix_bytes(l, n);
    if (bytes > l->budget_bytes && ends_partial(l, n)) {
        while (n > 0 && ends_partial(l, n)) {
            n--;
        }
        bytes = prefix_bytes(l, n);
    }
    while (n > 0 && (bytes > l->budget_bytes || (n < l->n && ends_partial(l, n)) || !is_usable(l, n))) {
        bytes = one_less(l, n, bytes);
        n--;
    }
    l->quota_hit = n < l->n;
    l->n = n;
}

static void grant_record(struct lookup *l, uint32_t i, uint32_t slot) {
    struct pager_lease_reply *reply = l->reply;
    struct pager_record *record = &l->domain->records[slot];
    reply->grants[reply->n_grants++] = (struct quire_wire_grant){
        .offset = pager_record_has_bytes(record) ? record->offset : QUIRE_WIRE_AWAY,
        .size = record->size_bytes,
        .slot = slot,
        .generation = record->generation,
        .key_index = (uint16_t)i,
        .group = record->group,
        .rung = record->rung,
    };
    reply->leased_bytes += record->size_bytes;
    pager_record_ref(l->domain, slot);
}

/* Those that are only on disk get a slot without bytes. */
static enum quire_status grant_away(struct lookup *l, uint32_t i, uint32_t groups) {
    groups &= pager_where_groups(l->pager, l->pager->found[i]);
    for (uint32_t g = 0; groups >> g; g++) {
        if (!(groups >> g & 1)) {
            continue;
        }
        if (l->reply->n_grants == l->reply->grants_capacity) {
            return QUIRE_TOO_LARGE;
        }
        uint32_t slot = pager_record_take_away(l->pager, l->domain, l->pager->found[i], (uint8_t)g, false);
        if (slot == PAGER_NO_RECORD) {
            return QUIRE_RETRY;
        }
        grant_record(l, i, slot);
    }
    return QUIRE_OK;
}

/* The last block's grants ascend by group, wherever the records are: readers look for them so. */
static void sort_grants(struct quire_wire_grant *grants, uint32_t n) {
    uint32_t first = n - 1;
    while (first > 0 && grants[first - 1].key_index == grants[n - 1].key_index) {
        first--;
    }
    grants += first;
    n -= first;
    for (uint32_t i = 1; i < n; i++) {
        const struct quire_wire_grant grant = grants[i];
        uint32_t at = i;
        for (; at > 0 && grants[at - 1].group > grant.group; at--) {
            grants[at] = grants[at - 1];
        }
        grants[at] = grant;
    }
}

/* Uses block i, and grants its records of these groups. TOO_LARGE: the caller's array is full; RETRY: no slot is free. */
static inline enum quire_status grant_block(struct lookup *l, uint32_t i, uint32_t groups) {
    struct pager_lease_reply *reply = l->reply;
    struct pager_block *block = &l->blocks[l->pager->found[i]];
    l->tokens += block->n_tokens;
    block->used = l->quiet ? block->used : l->now;
    for (uint32_t slot = groups ? block->record : PAGER_NO_RECORD; slot != PAGER_NO_RECORD; slot = l->domain->records[slot].next) {
        const struct pager_record *record = &l->domain->records[slot];
        if (!(groups >> record->group & 1)) {
            continue;
        }
        if (reply->n_grants == reply->grants_capacity) {
            return QUIRE_TOO_LARGE;
        }
        if (pager_record_has_bytes(record) && !l->quiet) {
            block->flags &= (uint8_t)~PAGER_BLOCK_FLEETING; /* somebody came back for it */
        }
        groups &= ~(1u << record->group);
        grant_record(l, i, slot);
    }
    if (!l->disk || !groups) {
        return QUIRE_OK;
    }
    QUIRE_FORWARD(grant_away(l, i, groups));
    if (reply->n_grants > 0) {
        sort_grants(reply->grants, reply->n_grants);
    }
    return QUIRE_OK;
}

/* Takes all grants back: they were too many. */
static void ungrant(struct lookup *l) {
    for (uint32_t i = 0; i < l->reply->n_grants; i++) {
        pager_record_unref(l->pager, l->domain, l->reply->grants[i].slot);
    }
    l->reply->n_grants = 0;
    l->reply->leased_bytes = l->tokens = 0;
}

static enum quire_status grant_prefix(struct lookup *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t groups = l->windowed ? needed(l, i, l->n) : l->mask;
        if (l->pager->found[i] != PAGER_NO_BLOCK) {
            QUIRE_FORWARD(grant_block(l, i, groups));
        }
    }
    return QUIRE_OK;
}

/* Without PREFIX each key stands alone. */
static enum quire_status grant_each(struct lookup *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        l->reply->misses[i] = QUIRE_MISS_NONE;
        if (have(l, l->pager->found[i]) != l->mask) {
            l->reply->misses[i] = QUIRE_MISS_COUNT; /* to be explained */
        } else if (!l->probe && l->reply->leased_bytes + bytes_of(l, i, l->mask) > l->budget_bytes) {
            l->reply->misses[i] = QUIRE_MISS_QUOTA;
            l->quota_hit = true;
        } else if (!l->probe) {
            QUIRE_FORWARD(grant_block(l, i, l->mask));
        }
    }
    return QUIRE_OK;
}

/* ---- why not -------------------------------------------------------------------------------------------------------------- */
static enum quire_miss absent_reason(const struct lookup *l, uint32_t i) {
    quire_key key;
    memcpy(key.b, l->request->keys + (size_t)i * QUIRE_KEY_BYTES, QUIRE_KEY_BYTES);
    return pager_ghost_miss(&l->pager->ghosts, l->ns->serial, &key);
}

/* Why key i alone would miss; NONE: it would not. */
static enum quire_miss reason(const struct lookup *l, uint32_t i) {
    uint32_t found = l->pager->found[i];
    const struct pager_block *block = found == PAGER_NO_BLOCK ? NULL : (&l->blocks[found]);
    uint32_t there = block ? pager_block_groups(l->pager, found) : 0;
    if (block && there == 0 && (block->flags & PAGER_BLOCK_BUILDING)) {
        return QUIRE_MISS_INCOMPLETE;
    }
    if (there == 0) {
        return absent_reason(l, i);
    }
    if ((there & l->mask) != l->mask) {
        return block->flags & PAGER_BLOCK_BUILDING ? QUIRE_MISS_INCOMPLETE : QUIRE_MISS_LAYOUT;
    }
    return have(l, found) == l->mask ? QUIRE_MISS_NONE : QUIRE_MISS_FLOOR;
}

static void explain_prefix(const struct lookup *l) {
    memset(l->reply->misses, QUIRE_MISS_NONE, l->n);
    for (uint32_t i = l->n; i < l->request->n_keys; i++) {
        enum quire_miss miss = i < l->uncut ? QUIRE_MISS_QUOTA : reason(l, i);
        l->reply->misses[i] = (uint8_t)(miss == QUIRE_MISS_NONE ? QUIRE_MISS_ORPHAN : miss);
    }
}

static void explain_each(const struct lookup *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->reply->misses[i] == QUIRE_MISS_COUNT) {
            l->reply->misses[i] = (uint8_t)reason(l, i);
        }
    }
}

/* ---- what follows --------------------------------------------------------------------------------------------------------- */
/* A probe uses what it finds, though it takes nothing. */
static void use_probed(struct lookup *l) {
    for (uint32_t i = 0; i < l->request->n_keys; i++) {
        if (l->reply->misses[i] == QUIRE_MISS_NONE && l->pager->found[i] != PAGER_NO_BLOCK) {
            struct pager_block *block = &l->blocks[l->pager->found[i]];
            block->used = l->quiet ? block->used : l->now;
            l->tokens += block->n_tokens;
        }
    }
}

static void count(struct lookup *l) {
    struct pager_counters *counters = &l->pager->counters;
    uint32_t hits = l->prefix ? l->n : 0;
    for (uint32_t i = hits; i < l->request->n_keys; i++) {
        uint8_t miss = l->reply->misses[i];
        hits += miss == QUIRE_MISS_NONE;
        counters->misses[miss] += !l->quiet && miss != QUIRE_MISS_NONE;
    }
    l->reply->hits = hits;
    if (l->quiet) {
        return;
    }
    counters->lookups++;
    counters->lookup_keys += l->request->n_keys;
    counters->hit_keys += hits;
    l->reply->tokens = l->probe ? 0 : l->tokens; /* what was really handed out: seconds of prefill saved */
    counters->hit_tokens += l->reply->tokens;
    counters->hit_bytes += l->reply->leased_bytes;
    counters->lease_quota_refusals += l->quota_hit;
    l->ns->hits += hits;
    l->ns->misses += l->request->n_keys - hits;
    l->ns->tokens_reused += l->reply->tokens;
}

static enum quire_status lease_new(struct pager *pager, uint32_t n_slots, struct pager_lease **out) {
    struct pager_lease *lease = malloc(sizeof(*lease) + n_slots * sizeof(lease->slots[0]));
    if (!lease) {
        return QUIRE_NO_MEMORY;
    }
    *lease = (struct pager_lease){.timer.kind = PAGER_TIMER_LEASE, .n_slots = n_slots};
    enum quire_status status = pager_timers_promise(&pager->timers);
    if (status == QUIRE_OK && (status = pager_table_add(&pager->leases, lease, &lease->handle)) != QUIRE_OK) {
        pager->timers.promised--;
    }
    if (status != QUIRE_OK) {
        free(lease);
        return status;
    }
    pager->lease_bytes += sizeof(*lease) + n_slots * sizeof(lease->slots[0]);
    *out = lease;
    return QUIRE_OK;
}

static enum quire_status lease_take(struct lookup *l) {
    struct pager *pager = l->pager;
    struct pager_session *session = l->session;
    struct pager_lease *lease;
    if (!pager_session_may_lease(pager, session)) {
        pager->counters.leases_over_share++;
        return QUIRE_RETRY;
    }
    QUIRE_FORWARD(lease_new(pager, l->reply->n_grants, &lease));
    uint32_t ms = l->request->lease_ms, most = pager->options.lease_ms;
    lease->expires_ns = pager->now_ns + (ms == 0 || ms > most ? most : ms) * QUIRE_NS_PER_MS;
    pager_timer_arm(&pager->timers, &lease->timer, lease->expires_ns);
    lease->session = session;
    lease->domain = l->ns->domain;
    lease->bytes = l->reply->leased_bytes;
    for (uint32_t i = 0; i < lease->n_slots; i++) {
        lease->slots[i] = l->reply->grants[i].slot;
    }
    lease->next = session->leases;
    if (lease->next) {
        lease->next->prev = lease;
    }
    session->leases = lease;
    session->n_leases++;
    session->leased_bytes += lease->bytes;
    session->fetched_bytes += lease->bytes;
    pager->counters.leases_granted++;
    l->reply->lease = lease->handle;
    return QUIRE_OK;
}

uint64_t pager_lease_quota(const struct pager *pager, const struct pager_domain *domain) {
    return domain->capacity_bytes / 100 * pager->options.lease_quota_pct;
}

static enum quire_status prepare(struct lookup *l) {
    const struct pager_lease_request *request = l->request;
    struct pager *pager = l->pager;
    if (request->n_keys == 0 || request->n_keys > QUIRE_MAX_BATCH) {
        return request->n_keys == 0 ? QUIRE_INVALID : QUIRE_TOO_LARGE;
    }
    QUIRE_FORWARD(pager_entitled(pager, request->session, request->ns, &l->session, &l->ns));
    l->domain = &pager->domains[l->ns->domain];
    l->mask = request->group_mask ? request->group_mask : l->ns->all_mask;
    l->windowed = l->mask & l->ns->windowed_mask;
    l->prefix = request->flags & QUIRE_WIRE_LEASE_PREFIX;
    l->probe = request->flags & QUIRE_WIRE_LEASE_PROBE;
    l->quiet = request->flags & QUIRE_WIRE_LEASE_NO_TOUCH;
    l->now = pager_tick_now(pager);
    l->floor = request->flags & QUIRE_WIRE_LEASE_FLOOR;
    if ((l->mask & ~l->ns->all_mask) || (l->floor && !(request->max_error >= 0))) {
        return QUIRE_INVALID;
    }
    uint64_t quota = pager_lease_quota(pager, l->domain);
    uint64_t taken = l->session->leased_bytes + request->others_bytes;
    l->budget_bytes = quota > taken ? quota - taken : 0;
    l->reply->lease = l->reply->leased_bytes = l->reply->tokens = 0;
    l->reply->hits = l->reply->n_grants = 0;
    l->n = request->n_keys;
    l->plain = l->ns->all_mask == 1 && !l->floor;
    l->disk = pager->disk != NULL;
    pager_index_find_batch(pager->index, request->ns, request->keys, request->n_keys, pager->found);
    l->blocks = pager_index_count(pager->index) > 0 ? pager_block_at(pager, 0) : NULL;
    prefetch_records(l);
    return QUIRE_OK;
}

static enum quire_status look_prefix(struct lookup *l) {
    find_prefix(l);
    l->uncut = l->n;
    if (!l->probe) {
        QUIRE_FORWARD(grant_prefix(l));
        if (l->reply->leased_bytes > l->budget_bytes) {
            ungrant(l);
            cut_prefix(l);
            QUIRE_FORWARD(grant_prefix(l));
        }
    }
    explain_prefix(l);
    return QUIRE_OK;
}

static enum quire_status look_each(struct lookup *l) {
    QUIRE_FORWARD(grant_each(l));
    explain_each(l);
    return QUIRE_OK;
}

/* When each block will have been fetched, if all are, in order: the devices work side by side, and what is asked for already goes first. */
static void estimate(const struct lookup *l) {
    uint64_t ahead_bytes[QUIRE_LOG_MAX_FILES] = {0}, latest_ns = 0;
    struct pager_where where;
    for (uint32_t i = 0; l->reply->estimates_us && i < l->request->n_keys; i++) {
        uint32_t found = l->reply->misses[i] == QUIRE_MISS_NONE ? l->pager->found[i] : PAGER_NO_BLOCK;
        uint32_t groups = found == PAGER_NO_BLOCK ? 0 : l->prefix ? needed(l, i, l->n) : l->mask;
        for (uint32_t slot = groups ? l->blocks[found].record : PAGER_NO_RECORD; slot != PAGER_NO_RECORD;
             slot = l->domain->records[slot].next) {
            groups &= pager_record_has_bytes(&l->domain->records[slot]) ? ~(1u << l->domain->records[slot].group) : UINT32_MAX;
        }
        for (uint32_t at = 0; groups && pager_where_next(l->pager, found, &at, &where);) {
            if (groups >> where.group & 1) {
                latest_ns = quire_max_u64(latest_ns, pager_read_estimate(l->pager, l->domain, found, &where, ahead_bytes));
            }
        }
        l->reply->estimates_us[i] = (uint32_t)quire_min_u64((latest_ns + 999) / 1000, UINT32_MAX);
    }
}

static void read_ahead(const struct lookup *l) {
    for (uint32_t i = 0; (l->request->flags & QUIRE_WIRE_LEASE_FETCH) && i < l->reply->n_grants; i++) {
        if (l->reply->grants[i].offset == QUIRE_WIRE_AWAY) {
            pager_read_ahead(l->pager, l->domain, l->reply->grants[i].slot);
        }
    }
}

enum quire_status pager_lease(struct pager *pager, uint64_t now_ns, const struct pager_lease_request *request,
                              struct pager_lease_reply *reply) {
    struct lookup l = {.pager = pager, .request = request, .reply = reply};
    pager_clock(pager, now_ns);
    QUIRE_FORWARD(prepare(&l));
    enum quire_status status = l.prefix ? look_prefix(&l) : look_each(&l);
    if (status == QUIRE_OK && reply->n_grants > 0) {
        status = lease_take(&l);
    }
    if (status != QUIRE_OK) {
        ungrant(&l);
        return status;
    }
    if (l.probe) {
        use_probed(&l);
    }
    if (l.disk) {
        estimate(&l);
        read_ahead(&l);
    } else if (reply->estimates_us) {
        memset(reply->estimates_us, 0, request->n_keys * sizeof(*reply->estimates_us));
    }
    count(&l);
    return QUIRE_OK;
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */
void pager_lease_end(struct pager *pager, struct pager_lease *lease) {
    struct pager_domain *domain = &pager->domains[lease->domain];
    pager_loads_end(pager, lease);
    struct pager_session *session = lease->session;
    for (uint32_t i = 0; i < lease->n_slots; i++) {
        if (i + AHEAD < lease->n_slots) {
            __builtin_prefetch(&domain->records[lease->slots[i + AHEAD]], 1);
        }
        pager_record_unref(pager, domain, lease->slots[i]);
    }
    for (uint32_t i = 0; i < lease->n_extra; i++) {
        pager_record_unref(pager, domain, lease->extra[i].slot);
    }
    *(lease->prev ? &lease->prev->next : &session->leases) = lease->next;
    if (lease->next) {
        lease->next->prev = lease->prev;
    }
    session->n_leases--;
    session->leased_bytes -= lease->bytes;
    domain->quarantined_bytes -= session->quarantined ? lease->bytes : 0;
    pager_timers_forget(&pager->timers, &lease->timer);
    pager_table_remove(&pager->leases, lease->handle);
    pager->lease_bytes -= sizeof(*lease) + lease->n_slots * sizeof(lease->slots[0]) + lease->n_extra * sizeof(lease->extra[0]);
    free(lease->extra);
    free(lease);
}

struct pager_lease *pager_lease_find(const struct pager *pager, uint64_t session, uint64_t handle) {
    struct pager_lease *lease = pager_table_find(&pager->leases, handle);
    return lease && lease->session->handle == session && !lease->session->quarantined ? lease : NULL;
}

enum quire_status pager_release(struct pager *pager, uint64_t session, uint64_t handle) {
    struct pager_lease *lease = pager_lease_find(pager, session, handle);
    if (!lease) {
        return QUIRE_NOT_FOUND;
    }
    pager->counters.leases_released++;
    pager_lease_end(pager, lease);
    pager_room_serve_all(pager);
    return QUIRE_OK;
}

void pager_lease_expired(struct pager *pager, struct pager_lease *lease) {
    (void)lease; /* the bytes stay until release: only new uses end */
    pager->counters.leases_expired++;
}

static const struct pager_extra *extra_of(const struct pager_lease *lease, uint32_t slot) {
    for (uint32_t i = 0; i < lease->n_extra; i++) {
        if (lease->extra[i].slot == slot) {
            return &lease->extra[i];
        }
    }
    return NULL;
}

static bool has(const struct pager_lease *lease, uint32_t slot) {
    bool found = false;
    for (uint32_t i = 0; i < lease->n_slots && !found; i++) {
        found = lease->slots[i] == slot;
    }
    return found || extra_of(lease, slot) != NULL;
}

/* A doomed record's bytes stay under its leases; one that was not read yet has none. */
static bool has_bytes(const struct pager_record *record) {
    return pager_record_has_bytes(record) ||
           (record->state == PAGER_DOOMED && record->extent != PAGER_NO_EXTENT && !(record->flags & PAGER_RECORD_READING));
}

enum quire_status pager_lease_grant(const struct pager *pager, uint64_t session, uint64_t handle, uint32_t slot,
                                    struct quire_wire_grant *grant) {
    const struct pager_lease *lease = pager_lease_find(pager, session, handle);
    return lease && has(lease, slot) ? pager_lease_grant_own(pager, lease, slot, grant) : QUIRE_NOT_FOUND;
}

enum quire_status pager_hold(struct pager *pager, uint64_t session, uint64_t handle, uint32_t slot, struct pager_hold *hold) {
    struct quire_wire_grant grant;
    QUIRE_FORWARD(pager_lease_grant(pager, session, handle, slot, &grant));
    if (grant.offset == QUIRE_WIRE_AWAY) {
        return QUIRE_MISS;
    }
    *hold = (struct pager_hold){
        .prev = &pager->holds, .next = pager->holds.next, .domain = pager_lease_find(pager, session, handle)->domain, .slot = slot};
    hold->next->prev = hold->prev->next = hold;
    pager_record_ref(&pager->domains[hold->domain], slot);
    return QUIRE_OK;
}

void pager_let_go(struct pager *pager, struct pager_hold *hold) {
    hold->prev->next = hold->next;
    hold->next->prev = hold->prev;
    pager_record_unref(pager, &pager->domains[hold->domain], hold->slot);
    pager_room_serve_all(pager);
}

bool pager_lease_holds(const struct pager *pager, uint64_t session, uint64_t handle, uint32_t slot, const struct quire_wire_range *ranges,
                       uint32_t n_ranges) {
    const struct pager_lease *lease = pager_lease_find(pager, session, handle);
    const struct pager_extra *extra = lease ? extra_of(lease, slot) : NULL;
    return lease && (!extra || pager_lanes_hold(&extra->part, ranges, n_ranges));
}

enum quire_status pager_lease_grant_own(const struct pager *pager, const struct pager_lease *lease, uint32_t slot,
                                        struct quire_wire_grant *grant) {
    if (lease->expires_ns <= pager->now_ns) {
        return QUIRE_STALE;
    }
    const struct pager_record *record = &pager->domains[lease->domain].records[slot];
    *grant = (struct quire_wire_grant){
        .offset = has_bytes(record) ? record->offset : QUIRE_WIRE_AWAY,
        .size = record->size_bytes,
        .slot = slot,
        .generation = record->generation,
        .group = record->group,
        .rung = record->rung,
    };
    return QUIRE_OK;
}
