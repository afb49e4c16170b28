/*
 * Records of a lease that are only on disk: which of them a call needs, the LOAD that asks for them all at once, and where they are then. What is
 * learned stays with the lease, so that the next call finds it; readers look without the lock, so it is only ever added to.
 */
#include "client/internal.h"
#include "proto/status.h"

#include <stdlib.h>

struct learned {
    struct learned *next; /* of the same record: another part of it */
    struct quire_wire_grant grant;
    bool whole;
    quire_rect rect; /* that was read, when it is not whole */
};

struct learned_batch { /* of one answer */
    struct learned_batch *next;
    struct learned of[];
};

/* ---- what a lease has learned --------------------------------------------------------------------------------------------- */
enum quire_status lease_expect_loads(quire_lease *lease) {
    if (lease->n_away > 0 && (lease->learned = calloc(lease->n_grants, sizeof(*lease->learned))) == NULL) {
        return QUIRE_NO_MEMORY;
    }
    return QUIRE_OK;
}

void lease_forget_loads(quire_lease *lease) {
    for (struct learned_batch *batch = lease->learned_batches, *next; batch != NULL; batch = next) {
        next = batch->next;
        free(batch);
    }
    free(lease->learned);
    lease->learned = NULL;
}

static bool covers(const quire_rect *rect, const quire_rect *wanted) {
    return rect->first_layer <= wanted->first_layer && rect->first_head <= wanted->first_head &&
           rect->first_layer + rect->n_layers >= wanted->first_layer + wanted->n_layers &&
           rect->first_head + rect->n_heads >= wanted->first_head + wanted->n_heads;
}

static bool is_whole(const quire_lease *lease, uint8_t group, const quire_rect *rect) {
    const quire_rect whole = lease->ns->layout.opaque ? *rect : quire_layout_whole(&lease->ns->layout, group);
    return covers(rect, &whole);
}

const struct quire_wire_grant *lease_place(const quire_lease *lease, const struct quire_wire_grant *grant, const quire_rect *rect) {
    if (grant->offset != QUIRE_WIRE_AWAY) {
        return grant;
    }
    const struct learned *learned = atomic_load_explicit(&lease->learned[grant - lease->grants], memory_order_acquire);
    while (learned != NULL && !learned->whole && !covers(&learned->rect, rect)) {
        learned = learned->next;
    }
    return learned != NULL ? &learned->grant : NULL;
}

enum quire_status lease_rect(const quire_lease *lease, uint8_t group, const quire_rect *asked, quire_rect *rect) {
    if (lease->ns->layout.opaque) {
        *rect = (quire_rect){0};
        return QUIRE_OK;
    }
    return rect_resolve(&lease->ns->layout, group, asked, rect);
}

/* ---- what a call needs ---------------------------------------------------------------------------------------------------- */
enum quire_status load_want(struct load *load, const quire_lease *lease, const struct quire_wire_grant *grant, const quire_rect *rect,
                            uint32_t at_most) {
    if (lease_place(lease, grant, rect) != NULL) {
        return QUIRE_OK;
    }
    if (load->items == NULL && (load->items = malloc(at_most * sizeof(*load->items))) == NULL) {
        return error_set(QUIRE_NO_MEMORY, "out of memory for a request");
    }
    load->items[load->n++] = (struct load_item){.grant = (uint32_t)(grant - lease->grants), .rect = *rect, .status = QUIRE_PENDING};
    return QUIRE_OK;
}

static int by_grant(const void *a, const void *b) {
    const struct load_item *x = a, *y = b;
    return (x->grant > y->grant) - (x->grant < y->grant);
}

/* Both of them lie in what is asked for. */
static void widen(quire_rect *rect, const quire_rect *by) {
    uint32_t layers_end = (uint32_t)quire_max_u64(rect->first_layer + rect->n_layers, by->first_layer + by->n_layers);
    uint32_t heads_end = (uint32_t)quire_max_u64(rect->first_head + rect->n_heads, by->first_head + by->n_heads);
    rect->first_layer = (uint16_t)quire_min_u64(rect->first_layer, by->first_layer);
    rect->first_head = (uint16_t)quire_min_u64(rect->first_head, by->first_head);
    rect->n_layers = (uint16_t)(layers_end - rect->first_layer);
    rect->n_heads = (uint16_t)(heads_end - rect->first_head);
}

void load_sort(struct load *load, const quire_lease *lease) {
    uint32_t n = 0;
    if (load->n > 1) {
        qsort(load->items, load->n, sizeof(*load->items), by_grant);
    }
    for (uint32_t i = 0; i < load->n; i++) {
        if (n > 0 && load->items[n - 1].grant == load->items[i].grant) {
            widen(&load->items[n - 1].rect, &load->items[i].rect);
        } else {
            load->items[n++] = load->items[i];
        }
    }
    load->n = n;
    for (uint32_t i = 0; i < n; i++) {
        load->items[i].partial = !is_whole(lease, lease->grants[load->items[i].grant].group, &load->items[i].rect);
    }
}

enum quire_status load_outcome(const struct load *load, uint32_t grant) {
    const struct load_item wanted = {.grant = grant};
    const struct load_item *item = load == NULL || load->n == 0 ? NULL : bsearch(&wanted, load->items, load->n, sizeof(wanted), by_grant);
    if (item == NULL) {
        return QUIRE_MISS;
    }
    if (item >= load->items + load->seen) {
        return QUIRE_PENDING;
    }
    return item->status == QUIRE_OK ? QUIRE_MISS : (enum quire_status)item->status;
}

enum quire_status load_error(uint32_t key_index, enum quire_status status) {
    switch (status) {
    case QUIRE_MISS:
        return error_set(status, "key %u: it is not on disk any more, or was damaged there", key_index);
    case QUIRE_FULL:
        return error_set(status, "key %u: no room to read it into: release leases, or raise pool_bytes", key_index);
    case QUIRE_TIMEOUT:
        return error_set(status, "key %u: the disk was too slow for the deadline; fetch_us of the lookup tells what to expect", key_index);
    case QUIRE_STALE:
        return error_set(status, "key %u: the lease ended while it was being read: look up again", key_index);
    default:
        return error_set(status, "key %u: it could not be read from disk: %s", key_index, quire_status_text(status));
    }
}

/* ---- asking --------------------------------------------------------------------------------------------------------------- */
static struct load *load_of(struct job *job, quire_lease **lease) {
    *lease = job->kind == JOB_FETCH ? job->u.fetch.lease : job->u.load.lease;
    return job->kind == JOB_FETCH ? &job->u.fetch.load : job->u.load.load;
}

static enum quire_status send_items(quire_client *client, struct job *job, const quire_lease *lease, struct load *load, uint32_t n) {
    struct quire_wire_load *items = calloc(n, sizeof(*items));
    struct request *request = items != NULL ? request_new(client, QUIRE_MSG_LOAD, job) : NULL;
    Quire__Wire__Load message = QUIRE__WIRE__LOAD__INIT;
    if (request == NULL) {
        free(items);
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct load_item *item = &load->items[load->known + i];
        items[i] = (struct quire_wire_load){.slot = lease->grants[item->grant].slot};
        if (item->partial) {
            items[i].flags = QUIRE_WIRE_LOAD_PARTIAL;
            items[i].rect = item->rect;
        }
    }
    message.lease = lease->id;
    message.deadline_ms = patience_ms(job->deadline_ns, clock_ns());
    message.items.data = (uint8_t *)items;
    message.items.len = n * sizeof(*items);
    uint64_t id = request->id;
    release_before(client);
    enum quire_status status = tx_frame(client, QUIRE_MSG_LOAD, id, &message.base);
    free(items);
    if (status != QUIRE_OK) {
        request_free(client, request_find(client, id));
        return status;
    }
    load->request = id;
    load->asked = load->known + n;
    tx_flush(client);
    return QUIRE_OK;
}

static void fail_rest(struct load *load, enum quire_status status) {
    for (; load->known < load->n; load->known++) {
        load->items[load->known].status = (uint8_t)status;
    }
}

void load_ask(quire_client *client, struct job *job) {
    quire_lease *lease;
    struct load *load = load_of(job, &lease);
    uint64_t now_ns = clock_ns();
    if (load->request != 0 || load->known == load->n || now_ns < load->again_ns) {
        return;
    }
    if (lease->serial != client->conn.serial || client->conn.state != CONN_UP) {
        fail_rest(load, QUIRE_STALE);
        return;
    }
    if (tx_full(client)) {
        load->again_ns = now_ns + LOAD_AGAIN_NS;
        return;
    }
    enum quire_status status = send_items(client, job, lease, load, (uint32_t)quire_min_u64(load->n - load->known, QUIRE_MAX_BATCH));
    if (status != QUIRE_OK) {
        fail_rest(load, status);
    }
}

void load_wait(quire_client *client, struct job *job) {
    quire_lease *lease;
    const struct load *load = load_of(job, &lease);
    if (load->request == 0) {
        job_stall(job, &client->stalled_load);
        progress_wake_at(client, load->again_ns);
    }
}

void load_abandon(quire_client *client, struct load *load) {
    request_abandon(client, load->request);
    load->request = 0;
}

void load_advance(quire_client *client, struct job *job) {
    struct load *load = job->u.load.load;
    load_ask(client, job);
    load->seen = load->known;
    if (load->known == load->n) {
        job_finish(client, job, QUIRE_OK, NULL);
    } else {
        load_wait(client, job);
    }
}

void load_end(quire_client *client, struct job *job) { load_abandon(client, job->u.load.load); }

/* ---- the answer ----------------------------------------------------------------------------------------------------------- */
static bool item_holds(const quire_lease *lease, const struct load_item *item, const struct quire_wire_grant *grant, uint32_t number) {
    const struct quire_wire_grant *asked = &lease->grants[item->grant];
    return grant->key_index == number && grant->group == asked->group && grant->size == asked->size && grant->offset != QUIRE_WIRE_AWAY &&
           (grant->slot == asked->slot || item->partial) &&
           (lease->pool == NULL || (quire_in_range(grant->offset, grant->size, lease->pool->bytes) && grant->slot < lease->pool->n_slots));
}

static bool well_formed(const quire_client *client, const quire_lease *lease, const struct load *load, const Quire__Wire__Grants *reply) {
    uint32_t n = load->asked - load->known;
    struct quire_wire_grant grant;
    if (reply->grants.len != n * sizeof(grant) || reply->statuses.len != n || reply->epoch != client->conn.epoch || reply->lease != 0) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        memcpy(&grant, reply->grants.data + i * sizeof(grant), sizeof(grant));
        if (reply->statuses.data[i] == QUIRE_OK && !item_holds(lease, &load->items[load->known + i], &grant, i)) {
            return false;
        }
    }
    return true;
}

static void learn(quire_lease *lease, const struct load_item *item, const struct quire_wire_grant *grant, struct learned *learned) {
    _Atomic(struct learned *) *head = &lease->learned[item->grant];
    const struct quire_wire_grant *asked = &lease->grants[item->grant];
    *learned = (struct learned){.grant = *grant, .rect = item->rect, .whole = grant->slot == asked->slot};
    learned->grant.key_index = asked->key_index;
    learned->next = atomic_load_explicit(head, memory_order_relaxed);
    lease->bytes += learned->whole ? 0 : grant->size; /* it lies there besides */
    atomic_store_explicit(head, learned, memory_order_release);
}

static enum quire_status take(quire_lease *lease, struct load *load, const Quire__Wire__Grants *reply) {
    uint32_t n = load->asked - load->known;
    struct learned_batch *batch = calloc(1, sizeof(*batch) + n * sizeof(batch->of[0]));
    if (batch == NULL) {
        return QUIRE_NO_MEMORY;
    }
    batch->next = lease->learned_batches;
    lease->learned_batches = batch;
    for (uint32_t i = 0; i < n; i++) {
        struct load_item *item = &load->items[load->known + i];
        struct quire_wire_grant grant;
        enum quire_status status = status_from_wire(reply->statuses.data[i]);
        item->status = (uint8_t)(status == QUIRE_NOT_FOUND ? QUIRE_STALE : status == QUIRE_PENDING ? QUIRE_INTERNAL : status);
        if (status == QUIRE_OK) {
            memcpy(&grant, reply->grants.data + i * sizeof(grant), sizeof(grant));
            learn(lease, item, &grant, &batch->of[i]);
        }
    }
    load->known += n;
    return QUIRE_OK;
}

void load_on_error(quire_client *client, struct job *job, enum quire_status status, uint32_t retry_after_ms) {
    quire_lease *lease;
    struct load *load = load_of(job, &lease);
    load->request = 0;
    load->asked = load->known;
    if (status == QUIRE_RETRY) {
        load->again_ns = clock_ns() + quire_max_u64(retry_after_ms, 1) * QUIRE_NS_PER_MS;
    } else {
        fail_rest(load, status == QUIRE_NOT_FOUND ? QUIRE_STALE : status);
    }
    job_wake(client, job);
}

void load_on_grants(quire_client *client, struct job *job, const uint8_t *body, size_t size) {
    quire_lease *lease;
    struct load *load = load_of(job, &lease);
    Quire__Wire__Grants *reply = quire__wire__grants__unpack(NULL, size, body);
    enum quire_status status = reply == NULL ? QUIRE_CORRUPT : status_from_wire(reply->status);
    load->request = 0;
    if (reply == NULL || (status == QUIRE_OK && !well_formed(client, lease, load, reply))) {
        job_abort(client, job, QUIRE_CORRUPT, "quired sent a malformed answer");
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed answer");
    } else if (status != QUIRE_OK || (status = take(lease, load, reply)) != QUIRE_OK) {
        load_on_error(client, job, status, reply->retry_after_ms);
    } else {
        job_wake(client, job);
    }
    quire__wire__grants__free_unpacked(reply, NULL);
}
