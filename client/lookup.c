/* Lookup: one frame out, one in, and a lease whose grants have been checked against what is mapped. Release: one-way. */
#include "client/internal.h"

#include <stdlib.h>

static enum quire_status check(const quire_ns *ns, const quire_lookup_args *args, quire_lookup_result *result) {
    if (result != NULL) {
        *result = (quire_lookup_result){.status = QUIRE_INVALID};
    }
    if (ns == NULL || ns->client == NULL || args == NULL || result == NULL || args->keys == NULL || args->n_keys == 0) {
        return error_set(QUIRE_INVALID, "lookup: no namespace, arguments, keys or result");
    }
    if (args->n_keys > QUIRE_MAX_BATCH) {
        return error_set(QUIRE_TOO_LARGE, "%u keys are more than %d in one call", args->n_keys, QUIRE_MAX_BATCH);
    }
    if ((args->flags &
         ~(uint32_t)(QUIRE_LOOKUP_EACH | QUIRE_LOOKUP_PROBE | QUIRE_LOOKUP_FLOOR | QUIRE_LOOKUP_FETCH | QUIRE_LOOKUP_PREFETCH)) != 0) {
        return error_set(QUIRE_INVALID, "lookup: unknown flags 0x%x", args->flags);
    }
    return QUIRE_OK;
}

static void prepare(struct job *job, quire_ns *ns, const quire_lookup_args *args, uint8_t *misses, quire_lookup_result *result) {
    job->u.lookup.ns = ns;
    job->u.lookup.args = *args;
    job->u.lookup.misses = misses;
    job->u.lookup.result = result;
    *result = (quire_lookup_result){.status = QUIRE_PENDING};
}

enum quire_status quire_lookup(quire_ns *ns, const quire_lookup_args *args, uint8_t *misses, quire_lookup_result *result) {
    QUIRE_FORWARD(check(ns, args, result));
    struct job job;
    client_enter(ns->client);
    job_init(&job, JOB_LOOKUP, deadline_after(ns->client, args->deadline_ms));
    prepare(&job, ns, args, misses, result);
    enum quire_status status = job_run(ns->client, &job);
    client_leave(ns->client);
    return status;
}

quire_job quire_submit_lookup(quire_ns *ns, const quire_lookup_args *args, uint8_t *misses, quire_lookup_result *result, void *user) {
    if (check(ns, args, result) != QUIRE_OK) {
        return 0;
    }
    client_enter(ns->client);
    struct job *job = job_new(ns->client, JOB_LOOKUP, deadline_after(ns->client, args->deadline_ms), user);
    if (job != NULL) {
        job->ns = ns_ref(ns);
        prepare(job, ns, args, misses, result);
    }
    quire_job id = job == NULL ? 0 : job_submit_async(ns->client, job);
    client_leave(ns->client);
    return id;
}

static uint32_t wire_flags(uint32_t flags) {
    return ((flags & QUIRE_LOOKUP_EACH) == 0 ? QUIRE_WIRE_LEASE_PREFIX : 0u) |
           ((flags & QUIRE_LOOKUP_PROBE) != 0 ? QUIRE_WIRE_LEASE_PROBE : 0u) |
           ((flags & QUIRE_LOOKUP_FLOOR) != 0 ? QUIRE_WIRE_LEASE_FLOOR : 0u) |
           ((flags & QUIRE_LOOKUP_FETCH) != 0 ? QUIRE_WIRE_LEASE_FETCH : 0u);
}

void lookup_advance(quire_client *client, struct job *job) {
    enum quire_status status = tx_full(client) ? QUIRE_PENDING : conn_need(client, clock_ns());
    if (status == QUIRE_PENDING) {
        job_stall(job, &client->stalled_conn);
        return;
    }
    const quire_lookup_args *args = &job->u.lookup.args;
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    const char *why = client->conn.why;
    status = status == QUIRE_OK ? ns_handle(client, job->u.lookup.ns, &lease.ns, &why) : QUIRE_DISCONNECTED;
    if (status != QUIRE_OK) {
        job_finish(client, job, status, "%s", why);
        return;
    }
    lease.keys.data = (uint8_t *)(uintptr_t)args->keys;
    lease.keys.len = (size_t)args->n_keys * QUIRE_KEY_BYTES;
    lease.flags = wire_flags(args->flags);
    lease.group_mask = args->group_mask;
    lease.max_error = args->max_error;
    lease.lease_ms = args->lease_ms;
    request_send(client, job, QUIRE_MSG_LEASE, &lease.base);
}

/* NULL: there is no answer. */
static void fill_estimates(const struct job *job, const Quire__Wire__Grants *reply) {
    const quire_lookup_args *args = &job->u.lookup.args;
    const uint8_t *seen = reply != NULL && reply->seen.len > 0 ? reply->seen.data : NULL;
    size_t size = args->n_keys * sizeof(uint32_t);
    if (args->estimates_us != NULL && seen != NULL) {
        memcpy(args->estimates_us, seen, size);
    } else if (args->estimates_us != NULL) {
        memset(args->estimates_us, 0, size);
    }
    for (uint32_t i = args->n_keys; seen != NULL && reply->hits > 0 && i-- > 0;) {
        if (reply->misses.len == 0 || reply->misses.data[i] == QUIRE_MISS_NONE) {
            memcpy(&job->u.lookup.result->fetch_us, seen + i * sizeof(uint32_t), sizeof(uint32_t));
            return;
        }
    }
}

void lookup_end(quire_client *client, struct job *job) {
    quire_lookup_result *result = job->u.lookup.result;
    result->status = job->status;
    if (job->status == QUIRE_TIMEOUT) {
        atomic_fetch_add_explicit(&client->seen_late, job->u.lookup.args.n_keys, memory_order_relaxed);
    }
    if (job->status != QUIRE_OK) {
        result->hits = 0;
        if (job->u.lookup.misses != NULL) {
            memset(job->u.lookup.misses, QUIRE_MISS_TIMEOUT, job->u.lookup.args.n_keys);
        }
        fill_estimates(job, NULL);
    }
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------- */
/* Every grant must be of a key and group that exist, once and in order, and lie within what is mapped, or only on disk. Counts the latter. */
static bool grants_hold(const quire_client *client, const quire_ns *ns, quire_lease *lease) {
    const struct pool *pool = client->conn.pool;
    uint32_t n_groups = ns->layout.opaque ? 1 : ns->layout.n_groups;
    int64_t before = -1;
    for (uint32_t i = 0; i < lease->n_grants; i++) {
        const struct quire_wire_grant *grant = &lease->grants[i];
        int64_t place = (int64_t)grant->key_index * QUIRE_MAX_GROUPS + grant->group;
        if (grant->key_index >= lease->n_keys || grant->group >= n_groups || place <= before || grant->size > QUIRE_MAX_RECORD_BYTES) {
            return false;
        }
        if (pool == NULL || !quire_in_range(grant->offset, grant->size, pool->bytes)) {
            bool away = grant->offset == QUIRE_WIRE_AWAY;
            if (pool != NULL && !away) {
                return false;
            }
            lease->n_away += away;
        }
        if (pool != NULL && grant->slot >= pool->n_slots) {
            return false;
        }
        before = place;
        lease->bytes += grant->size;
    }
    return true;
}

static quire_lease *lease_new(quire_client *client, const struct job *job, const Quire__Wire__Grants *reply) {
    const quire_lookup_args *args = &job->u.lookup.args;
    size_t keys_bytes = (size_t)args->n_keys * QUIRE_KEY_BYTES;
    quire_lease *lease = malloc(sizeof(*lease) + reply->grants.len + keys_bytes);
    if (lease == NULL) {
        return NULL;
    }
    lease->n_grants = (uint32_t)(reply->grants.len / sizeof(struct quire_wire_grant));
    if (reply->grants.len > 0) {
        memcpy(lease->grants, reply->grants.data, reply->grants.len);
    }
    lease->n_away = 0;
    lease->learned = NULL;
    lease->learned_batches = NULL;
    uint32_t lease_ms = client->conn.lease_ms;
    if (args->lease_ms != 0 && (lease_ms == 0 || args->lease_ms < lease_ms)) {
        lease_ms = args->lease_ms;
    }
    lease->magic = LEASE_MAGIC;
    atomic_init(&lease->refs, 1);
    lease->client = client;
    lease->ns = ns_ref(job->u.lookup.ns);
    list_init(&lease->link);
    lease->pool = pool_ref(client->conn.pool);
    lease->id = reply->lease;
    lease->serial = client->conn.serial;
    lease->valid_until_ns = lease_ms == 0 ? UINT64_MAX : clock_ns() + lease_ms * QUIRE_NS_PER_MS;
    lease->verify = client->conn.verify;
    lease->prefetch = (args->flags & QUIRE_LOOKUP_PREFETCH) != 0;
    lease->bytes = 0;
    lease->n_keys = args->n_keys;
    lease->keys = (quire_key *)(void *)((uint8_t *)lease->grants + reply->grants.len);
    memcpy(lease->keys, args->keys, keys_bytes);
    link_append(&client->leases, &lease->link);
    return lease;
}

static bool well_formed(const quire_client *client, const struct job *job, const Quire__Wire__Grants *reply) {
    const quire_lookup_args *args = &job->u.lookup.args;
    size_t size = sizeof(struct quire_wire_grant), n_grants = reply->grants.len / size;
    bool probe = (args->flags & QUIRE_LOOKUP_PROBE) != 0;
    return reply->grants.len % size == 0 && n_grants <= (size_t)args->n_keys * QUIRE_MAX_GROUPS && reply->hits <= args->n_keys &&
           (reply->misses.len == 0 || reply->misses.len == args->n_keys) &&
           (reply->seen.len == 0 || reply->seen.len == args->n_keys * sizeof(uint32_t)) && reply->epoch == client->conn.epoch &&
           (probe || reply->hits == 0 || reply->lease != 0) && (reply->lease != 0 || n_grants == 0);
}

static void fill_misses(const struct job *job, const Quire__Wire__Grants *reply) {
    uint8_t *misses = job->u.lookup.misses;
    for (uint32_t i = 0; misses != NULL && i < job->u.lookup.args.n_keys; i++) {
        uint8_t reason = reply->misses.len == 0 ? QUIRE_MISS_NONE : reply->misses.data[i];
        misses[i] = reason < QUIRE_MISS_COUNT ? reason : QUIRE_MISS_NEVER_STORED;
    }
}

static void queue_release(quire_client *client, uint64_t id);

static void take_grants(quire_client *client, struct job *job, const Quire__Wire__Grants *reply) {
    quire_lookup_result *result = job->u.lookup.result;
    enum quire_status status = status_from_wire(reply->status);
    result->retry_after_ms = reply->retry_after_ms;
    if (status != QUIRE_OK) {
        if (status == QUIRE_NOT_FOUND) {
            ns_lost(client, job->u.lookup.ns);
        }
        job_finish(client, job, status, "quired: %.150s", reply->text);
        return;
    }
    quire_lease *lease = NULL;
    if (reply->lease != 0) {
        lease = lease_new(client, job, reply);
        if (lease == NULL) {
            queue_release(client, reply->lease);
            release_flush(client);
            job_finish(client, job, QUIRE_NO_MEMORY, "out of memory for a lease");
            return;
        }
        if (!grants_hold(client, lease->ns, lease)) {
            lease_unref(lease);
            job_finish(client, job, QUIRE_CORRUPT, "quired granted what does not exist");
            conn_down(client, QUIRE_CORRUPT, "quired granted what does not exist");
            return;
        }
        if (lease_expect_loads(lease) != QUIRE_OK) {
            lease_unref(lease);
            job_finish(client, job, QUIRE_NO_MEMORY, "out of memory for a lease");
            return;
        }
    }
    fill_misses(job, reply);
    fill_estimates(job, reply);
    result->hits = reply->hits;
    result->lease = lease;
    job_finish(client, job, QUIRE_OK, NULL);
}

void lookup_on_grants(quire_client *client, struct job *job, const uint8_t *body, size_t size) {
    Quire__Wire__Grants *reply = quire__wire__grants__unpack(NULL, size, body);
    if (reply == NULL || (reply->status == QUIRE_OK && !well_formed(client, job, reply))) {
        job_finish(client, job, QUIRE_CORRUPT, "quired sent a malformed answer");
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed answer");
    } else {
        take_grants(client, job, reply);
    }
    quire__wire__grants__free_unpacked(reply, NULL);
}

void lookup_on_late_grants(quire_client *client, const uint8_t *body, size_t size) {
    Quire__Wire__Grants *reply = quire__wire__grants__unpack(NULL, size, body);
    if (reply != NULL && reply->lease != 0) {
        queue_release(client, reply->lease);
        release_flush(client);
    }
    quire__wire__grants__free_unpacked(reply, NULL);
}

/* ---- leases --------------------------------------------------------------------------------------------------------------- */
/*
 * A release wakes the daemon, which costs more than the copying of a small block. A caller in a tight loop of lookup, fetch and release
 * is therefore served by one frame that carries both the last release and the next lookup. What may wait so is bounded in bytes,
 * because nobody says when an idle caller comes back; all else is told at once.
 */
static void append_releases(quire_client *client) {
    struct conn *conn = &client->conn;
    Quire__Wire__Release release = QUIRE__WIRE__RELEASE__INIT;
    release.n_lease = conn->n_releases;
    release.lease = conn->releases;
    release.corrupt = atomic_load_explicit(&client->seen_corrupt, memory_order_relaxed);
    release.timeout = atomic_load_explicit(&client->seen_late, memory_order_relaxed);
    bool something = conn->n_releases > 0 || release.corrupt > 0 || release.timeout > 0;
    if (something && conn->state == CONN_UP && tx_frame(client, QUIRE_MSG_RELEASE, 0, &release.base) == QUIRE_OK) {
        conn->n_releases = 0;
        conn->released_bytes = 0;
        atomic_fetch_sub_explicit(&client->seen_corrupt, release.corrupt, memory_order_relaxed);
        atomic_fetch_sub_explicit(&client->seen_late, release.timeout, memory_order_relaxed);
    }
}

void release_flush(quire_client *client) {
    if (client->conn.n_releases > 0) {
        append_releases(client);
        tx_flush(client);
    }
}

void release_before(quire_client *client) {
    struct conn *conn = &client->conn;
    if (conn->released_ns != 0) {
        conn->busy = clock_ns() - conn->released_ns < RELEASE_BUSY_NS;
        conn->released_ns = 0;
    }
    append_releases(client);
}

static void queue_release(quire_client *client, uint64_t id) {
    struct conn *conn = &client->conn;
    if (conn->n_releases == RELEASES_MAX) {
        release_flush(client);
    }
    if (conn->n_releases < RELEASES_MAX) {
        conn->releases[conn->n_releases++] = id;
    } else {
        conn_down(client, QUIRE_NO_MEMORY, "out of memory for a release"); /* the session's end releases all */
    }
}

/* The last reference frees the lease, and puts it on the list of what the daemon is to be told. */
static bool drop(quire_lease *lease) {
    if (atomic_fetch_sub_explicit(&lease->refs, 1, memory_order_acq_rel) != 1) {
        return false;
    }
    quire_client *client = lease->client;
    struct conn *conn = &client->conn;
    link_remove(&lease->link);
    if (conn->state == CONN_UP && lease->serial == conn->serial) {
        queue_release(client, lease->id);
        conn->released_bytes += lease->bytes;
        conn->released_ns = clock_ns();
    }
    pool_unref(&lease->pool);
    ns_unref(lease->ns);
    lease_forget_loads(lease);
    lease->magic = 0;
    free(lease);
    return true;
}

static void tell_or_hold(quire_client *client) {
    if (!client->conn.busy || client->conn.released_bytes > RELEASE_HELD_BYTES) {
        release_flush(client);
    }
}

void lease_unref(quire_lease *lease) {
    quire_client *client = lease->client;
    if (drop(lease)) {
        tell_or_hold(client);
    }
}

/* Those of one client, from the first on; how many. */
static uint32_t release_run(quire_lease **leases, uint32_t n_leases) {
    quire_client *client = leases[0]->client;
    uint32_t i = 0;
    client_enter(client);
    for (; i < n_leases && (leases[i] == NULL || leases[i]->client == client); i++) {
        if (leases[i] != NULL) {
            QUIRE_MAGIC_CHECK(leases[i], LEASE_MAGIC);
            drop(leases[i]);
            leases[i] = NULL;
        }
    }
    tell_or_hold(client);
    client_leave(client);
    return i;
}

void quire_release_many(quire_lease **leases, uint32_t n_leases) {
    for (uint32_t i = 0; leases != NULL && i < n_leases;) {
        i += leases[i] == NULL ? 1 : release_run(&leases[i], n_leases - i);
    }
}

void quire_release(quire_lease **lease) { quire_release_many(lease, 1); }

bool quire_lease_valid(const quire_lease *lease) {
    return lease != NULL && lease->serial == atomic_load(&lease->client->serial_up) && clock_ns() < lease->valid_until_ns;
}

const struct quire_wire_grant *lease_grant(const quire_lease *lease, uint32_t key_index, uint32_t group) {
    uint32_t low = 0, high = lease->n_grants;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct quire_wire_grant *grant = &lease->grants[middle];
        if (grant->key_index < key_index || (grant->key_index == key_index && grant->group < group)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct quire_wire_grant *grant = &lease->grants[low];
    return low < lease->n_grants && grant->key_index == key_index && grant->group == group ? grant : NULL;
}

void lease_orphan_all(quire_client *client, bool inherited) {
    for (struct link *at = client->leases.next; at != &client->leases; at = at->next) {
        quire_lease *lease = LINK_OWNER(at, struct quire_lease, link);
        lease->serial = UINT64_MAX; /* of no connection */
        if (inherited && lease->pool != NULL) {
            lease->pool->inherited = true;
        }
    }
}
