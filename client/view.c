/* Views: pointers into the mapped pool under a lease. The mapping outlives the daemon and the connection; the bytes are vouched for at the end. */
#include "client/internal.h"

#include <stdlib.h>

/* ---- from disk ------------------------------------------------------------------------------------------------------------- */
/* All that the views need and that is away is brought into memory by one request. OK: each one's outcome is known. */
static enum quire_status load_records(quire_lease *lease, const uint32_t *key_indices, const uint8_t *groups, uint32_t n_views,
                                      struct load *load) {
    if (lease->n_away == 0 || lease->pool == NULL || !quire_lease_valid(lease)) {
        return QUIRE_OK;
    }
    for (uint32_t i = 0; i < n_views; i++) {
        uint8_t group = groups == NULL ? 0 : groups[i];
        const struct quire_wire_grant *grant = lease_grant(lease, key_indices == NULL ? i : key_indices[i], group);
        quire_rect whole;
        if (grant != NULL && lease_rect(lease, group, &(quire_rect){0}, &whole) == QUIRE_OK) {
            QUIRE_FORWARD(load_want(load, lease, grant, &whole, n_views - i));
        }
    }
    load_sort(load, lease);
    if (load->n == 0) {
        return QUIRE_OK;
    }
    struct job job;
    client_enter(lease->client);
    job_init(&job, JOB_LOAD, deadline_after(lease->client, 0));
    job.u.load.lease = lease;
    job.u.load.load = load;
    enum quire_status status = job_run(lease->client, &job);
    client_leave(lease->client);
    return status;
}

/* ---- views ----------------------------------------------------------------------------------------------------------------- */
/* Of a record that is in memory by now, or else `loaded` says that it could not be loaded at all. */
static enum quire_status begin(quire_lease *lease, const struct load *load, enum quire_status loaded, uint32_t key_index, uint8_t group,
                               quire_view *view) {
    if (view != NULL) {
        memset(view, 0, sizeof(*view));
    }
    if (lease == NULL || view == NULL || key_index >= lease->n_keys) {
        return error_set(QUIRE_INVALID, "view: no lease, no view, or key %u is not of this lookup", key_index);
    }
    if (!quire_lease_valid(lease)) {
        return error_set(QUIRE_STALE, "the lease has expired or its connection is gone: look up again");
    }
    if (lease->pool == NULL) {
        return error_set(QUIRE_DENIED, "views need membership of the trust domain: use quire_fetch");
    }
    const struct quire_wire_grant *grant = lease_grant(lease, key_index, group);
    if (grant == NULL) {
        return error_set(QUIRE_MISS, "key %u was not leased for group %u", key_index, group);
    }
    if (grant->offset == QUIRE_WIRE_AWAY) {
        const quire_rect whole = lease->ns->layout.opaque ? (quire_rect){0} : quire_layout_whole(&lease->ns->layout, group);
        uint32_t number = (uint32_t)(grant - lease->grants);
        grant = lease_place(lease, grant, &whole);
        if (grant == NULL) {
            return load_error(key_index, loaded != QUIRE_OK ? loaded : load_outcome(load, number));
        }
    }
    struct quire_record record;
    const uint8_t *bytes = lease->pool->base + grant->offset;
    enum quire_status status = quire_record_open(bytes, grant->size, &lease->ns->layout, &lease->keys[key_index], &record);
    if (status == QUIRE_OK && lease->verify) {
        status = quire_record_verify(&record);
    }
    if (!pool_stands(lease->pool, grant->slot, grant->generation)) {
        return error_set(QUIRE_STALE, "key %u: its bytes were reused", key_index);
    }
    if (status != QUIRE_OK) {
        return error_set(status, "key %u: the record is not what was asked for", key_index);
    }
    view->record = bytes;
    view->record_bytes = grant->size;
    view->payload = bytes + record.shape.payload_offset;
    view->payload_bytes = grant->size - record.shape.payload_offset;
    view->fidelity =
        (quire_fidelity){.error = record.header.error, .ancestry_error = record.header.ancestry_error, .rung = record.header.rung};
    view->n_tokens = record.header.n_tokens;
    view->slot = grant->slot;
    view->generation = grant->generation;
    return QUIRE_OK;
}

enum quire_status quire_view_begin(quire_lease *lease, uint32_t key_index, uint8_t group, quire_view *view) {
    struct load load = {0};
    enum quire_status loaded = lease == NULL ? QUIRE_INVALID : load_records(lease, &key_index, &group, 1, &load);
    enum quire_status status = begin(lease, &load, loaded, key_index, group, view);
    free(load.items);
    return status;
}

enum quire_status quire_view_begin_many(quire_lease *lease, const uint32_t *key_indices, const uint8_t *groups, uint32_t n_views,
                                        quire_view *views, uint8_t *statuses) {
    if (lease == NULL || (views == NULL && n_views > 0)) {
        return error_set(QUIRE_INVALID, "views: no lease or no views");
    }
    struct load load = {0};
    enum quire_status first = QUIRE_OK, loaded = load_records(lease, key_indices, groups, n_views, &load);
    for (uint32_t i = 0; i < n_views; i++) {
        uint32_t key_index = key_indices == NULL ? i : key_indices[i];
        enum quire_status status = begin(lease, &load, loaded, key_index, groups == NULL ? 0 : groups[i], &views[i]);
        if (statuses != NULL) {
            statuses[i] = (uint8_t)status;
        }
        first = first == QUIRE_OK ? status : first;
    }
    free(load.items);
    return first;
}

const void *quire_view_lane(const quire_view *view, const quire_layout *layout, uint8_t group, uint32_t layer, uint32_t kv, uint32_t head,
                            uint64_t *size_bytes) {
    struct quire_record_shape shape;
    if (view == NULL || view->record == NULL || layout == NULL || layout->opaque || group >= layout->n_groups || kv > 1 ||
        quire_record_shape(layout, group, view->n_tokens, 0, &shape) != QUIRE_OK || layer >= shape.n_layers || head >= shape.n_heads ||
        (kv == 1 && shape.v_lane_bytes == 0)) {
        return NULL;
    }
    uint32_t lane = quire_record_lane(&shape, layer, kv, head);
    uint64_t offset = quire_record_lane_offset(&shape, lane), size = quire_record_lane_bytes(&shape, lane);
    if (!quire_in_range(offset, size, view->record_bytes)) {
        return NULL;
    }
    if (size_bytes != NULL) {
        *size_bytes = size;
    }
    return (const uint8_t *)view->record + offset;
}

enum quire_status quire_view_end(quire_lease *lease, quire_view *view) {
    if (lease == NULL || view == NULL || view->record == NULL || lease->pool == NULL) {
        return error_set(QUIRE_INVALID, "view: not begun under this lease");
    }
    bool here = !lease->pool->inherited && !lease->client->forked; /* a forked child has no mapping to look at */
    bool stands = here && pool_stands(lease->pool, view->slot, view->generation);
    memset(view, 0, sizeof(*view));
    return stands ? QUIRE_OK : error_set(QUIRE_STALE, "the bytes were reused during the view: discard what was read");
}

enum quire_status quire_view_end_many(quire_lease *lease, quire_view *views, uint32_t n_views, uint8_t *statuses) {
    if (lease == NULL || (views == NULL && n_views > 0)) {
        return error_set(QUIRE_INVALID, "views: no lease or no views");
    }
    enum quire_status first = QUIRE_OK;
    for (uint32_t i = 0; i < n_views; i++) {
        enum quire_status status = views[i].record == NULL ? QUIRE_MISS : quire_view_end(lease, &views[i]);
        if (statuses != NULL) {
            statuses[i] = (uint8_t)status;
        }
        first = first == QUIRE_OK && status != QUIRE_MISS ? status : first;
    }
    return first;
}
