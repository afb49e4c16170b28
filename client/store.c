/*
 * Store: sources are gathered into the ingest window and offered in put frames of a few megabytes. Several are under way at once, so that
 * our gathering and summing overlaps with the daemon's copying and summing. What the daemon has no room for now is sent again until the deadline.
 * Over a wire, a source that lies in one run goes from there: its place in the window stays empty, unless the caller leaves before the bytes have.
 */
#include "client/internal.h"
#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_AT_LEAST_MS 1u
#define RETRY_MOST_DOUBLINGS 5u /* of the daemon's hint, once for each time that nothing at all was taken */
#define RETRY_MOST_MS 500u

/* ---- checking ------------------------------------------------------------------------------------------------------------- */
static enum quire_status shape_of(const quire_layout *layout, const quire_source *source, struct quire_record_shape *shape) {
    uint32_t n_groups = layout->opaque ? 1 : layout->n_groups;
    if (source->group >= n_groups || source->n_tokens == 0 || source->n_tokens > layout->block_tokens ||
        (source->flags & ~(uint32_t)(QUIRE_STORE_PARENT_UNKNOWN | QUIRE_STORE_PIN)) != 0) {
        return QUIRE_INVALID;
    }
    if (layout->opaque && (source->opaque == NULL || source->opaque_bytes == 0)) {
        return QUIRE_INVALID;
    }
    return quire_record_shape(layout, source->group, source->n_tokens, layout->opaque ? source->opaque_bytes : 0, shape);
}

static enum quire_status check_planes(const quire_layout *layout, const quire_source *source, quire_rect *rect) {
    const quire_group *group = &layout->group[source->group];
    QUIRE_FORWARD(rect_resolve(layout, source->group, &source->rect, rect));
    quire_rect whole = quire_layout_whole(layout, source->group);
    if (source->put_id == 0 && memcmp(rect, &whole, sizeof(whole)) != 0) {
        return QUIRE_INVALID; /* a part without a put_id could combine with nothing */
    }
    uint32_t elem_bytes = (uint32_t)quire_elem_bytes(group->elem);
    struct plane k = {source->k_base,        rect->n_layers,        rect->n_heads, source->n_tokens, group->k_dim * elem_bytes,
                      source->k_head_stride, source->k_token_stride};
    struct plane v = {source->v_base,        rect->n_layers,        rect->n_heads, source->n_tokens, group->v_dim * elem_bytes,
                      source->v_head_stride, source->v_token_stride};
    QUIRE_FORWARD(bounds_check(&k, NULL, 0));
    return group->v_dim == 0 ? QUIRE_OK : bounds_check(&v, NULL, 0);
}

static enum quire_status check_source(const quire_layout *layout, const quire_source *source) {
    struct quire_record_shape shape;
    quire_rect rect;
    QUIRE_FORWARD(shape_of(layout, source, &shape));
    return layout->opaque ? QUIRE_OK : check_planes(layout, source, &rect);
}

static enum quire_status check(const quire_ns *ns, quire_source *sources, uint32_t n_sources) {
    if (ns == NULL || ns->client == NULL || sources == NULL || n_sources == 0) {
        return error_set(QUIRE_INVALID, "store: no namespace or no sources");
    }
    if (n_sources > QUIRE_MAX_BATCH) {
        return error_set(QUIRE_TOO_LARGE, "%u sources are more than %d in one call", n_sources, QUIRE_MAX_BATCH);
    }
    for (uint32_t i = 0; i < n_sources; i++) {
        enum quire_status status = check_source(&ns->layout, &sources[i]);
        sources[i].status = status == QUIRE_OK ? QUIRE_PENDING : status;
    }
    return QUIRE_OK;
}

/* ---- planning a frame ----------------------------------------------------------------------------------------------------- */
/* It would not fit into the window beside another, and can be cut. */
static bool is_cut(const quire_layout *layout, const quire_source *source, const quire_rect *rect, uint64_t window_bytes) {
    quire_rect one = *rect;
    one.n_layers = 1;
    uint64_t whole_bytes = quire_layout_rect_bytes(layout, source->group, rect, source->n_tokens);
    uint64_t layer_bytes = quire_layout_rect_bytes(layout, source->group, &one, source->n_tokens);
    return rect->n_layers > 1 && whole_bytes > window_bytes / 2 && window_bytes / 4 / rect->n_layers < layer_bytes;
}

/* A source that goes in one piece. PENDING: it must be cut. TOO_LARGE: it cannot be put through the window at all. */
static enum quire_status plan_whole(const struct job_store *store, uint64_t window_bytes, struct chunk_item *item) {
    const quire_source *source = &store->sources[store->next];
    const quire_layout *layout = &store->ns->layout;
    *item = (struct chunk_item){.source = store->next, .put_id = source->put_id};
    if (shape_of(layout, source, &item->shape) != QUIRE_OK) {
        return QUIRE_TOO_LARGE;
    }
    if (layout->opaque) {
        item->bytes = source->opaque_bytes;
        return item->bytes <= window_bytes ? QUIRE_OK : QUIRE_TOO_LARGE;
    }
    if (rect_resolve(layout, source->group, &source->rect, &item->rect) != QUIRE_OK) {
        return QUIRE_TOO_LARGE;
    }
    if (is_cut(layout, source, &item->rect, window_bytes)) {
        return QUIRE_PENDING;
    }
    item->bytes = quire_layout_rect_bytes(layout, source->group, &item->rect, source->n_tokens);
    return item->bytes <= window_bytes ? QUIRE_OK : QUIRE_TOO_LARGE;
}

/* Past those that have their outcome, and those that go in parts. */
static void skip_settled(struct job_store *store) {
    while (store->next < store->n_sources && (store->sources[store->next].status != QUIRE_PENDING || cut_of(store, store->next) != NULL)) {
        store->next++;
    }
}

static bool plan_part(struct job_store *store, uint64_t window_bytes, struct chunk_item *item) {
    *item = (struct chunk_item){0};
    for (struct cut *cut = store->cuts; cut != NULL; cut = cut->next) {
        const quire_source *source = &store->sources[cut->source];
        if (shape_of(&store->ns->layout, source, &item->shape) == QUIRE_OK && cut_next(store, cut, window_bytes, item)) {
            return true;
        }
    }
    return false;
}

/* Some of what was begun cannot go now. Nothing goes before it: else half a block might hold room that what we then put waits for. */
static bool is_held_up(const struct job_store *store) {
    for (const struct cut *cut = store->cuts; cut != NULL; cut = cut->next) {
        enum quire_status status = store->sources[cut->source].status;
        if ((status == QUIRE_PENDING || status == QUIRE_RETRY) && cut->n_sent < cut->rect.n_layers) {
            return true;
        }
    }
    return false;
}

/* The next piece to put now: a part of a source that was begun, or a source. While the daemon has no room, no more sources are cut. */
static bool plan_item(struct job_store *store, uint64_t window_bytes, struct chunk_item *item) {
    if (plan_part(store, window_bytes, item) || is_held_up(store)) {
        return item->cut;
    }
    for (skip_settled(store); store->next < store->n_sources; skip_settled(store)) {
        enum quire_status status = plan_whole(store, window_bytes, item);
        if (status == QUIRE_OK || (status == QUIRE_PENDING && store->retry)) {
            return status == QUIRE_OK;
        }
        if (status == QUIRE_PENDING) {
            status = cut_begin(store, store->next, &item->rect) == NULL ? QUIRE_NO_MEMORY : QUIRE_OK;
        }
        if (status != QUIRE_OK) {
            store->sources[store->next].status = status;
        } else if (plan_part(store, window_bytes, item)) {
            return true;
        }
    }
    return false;
}

static void step_over(struct job_store *store, const struct chunk_item *item) {
    if (item->cut) {
        cut_sent(cut_of(store, item->source), item);
    } else {
        store->next++;
    }
}

/* Fills the chunk's list from what is next; its size in bytes, 0 when nothing is left, or nothing can go now. */
static uint64_t plan(struct job_store *store, uint64_t window_bytes, struct chunk *chunk) {
    uint64_t total = 0;
    struct chunk_item item;
    while (chunk->n_items < STORE_CHUNK_ITEMS && plan_item(store, window_bytes, &item)) {
        uint64_t padded = quire_align_up(item.bytes, QUIRE_RECORD_ALIGN);
        if (chunk->n_items > 0 && (total + padded > STORE_CHUNK_BYTES || total + padded > window_bytes)) {
            break;
        }
        item.offset = total;
        total += padded;
        chunk->items[chunk->n_items++] = item;
        step_over(store, &item);
    }
    return total;
}

/* What was planned cannot go now: the window is full. */
static void unplan(struct job_store *store, const struct chunk *chunk) {
    for (uint32_t i = 0; i < chunk->n_items; i++) {
        if (chunk->items[i].cut) {
            cut_unsent(cut_of(store, chunk->items[i].source), &chunk->items[i]);
        }
    }
}

/* ---- filling and sending it ----------------------------------------------------------------------------------------------- */
static uint8_t wire_flags(const quire_source *source) {
    unsigned flags = 0;
    if ((source->flags & QUIRE_STORE_PARENT_UNKNOWN) != 0) {
        flags |= QUIRE_WIRE_PUT_PARENT_UNKNOWN;
    } else if (quire_key_is_zero(&source->parent)) {
        flags |= QUIRE_WIRE_PUT_ROOT;
    }
    if (!quire_key_is_zero(&source->supersedes)) {
        flags |= QUIRE_WIRE_PUT_SUPERSEDES;
    }
    if ((source->flags & QUIRE_STORE_PIN) != 0) {
        flags |= QUIRE_WIRE_PUT_PIN;
    }
    return (uint8_t)flags;
}

/* Where a part of a source lies: its first layers may have been skipped. */
static struct quire_scatter lanes_of(const quire_source *source, const struct chunk_item *item) {
    size_t skipped = item->rect.first_layer - (source->rect.n_layers != 0 ? source->rect.first_layer : 0u);
    return (struct quire_scatter){.rect = item->rect,
                                  .k_base = (void *const *)(uintptr_t)(source->k_base + skipped),
                                  .v_base = source->v_base == NULL ? NULL : (void *const *)(uintptr_t)(source->v_base + skipped),
                                  .k_head_stride = source->k_head_stride,
                                  .k_token_stride = source->k_token_stride,
                                  .v_head_stride = source->v_head_stride,
                                  .v_token_stride = source->v_token_stride};
}

/* NULL: it is to be gathered. */
static const uint8_t *direct_of(const quire_source *source, const struct chunk_item *item, bool opaque) {
    if (item->bytes < STORE_DIRECT_BYTES || item->bytes % QUIRE_RECORD_ALIGN != 0) {
        return NULL;
    }
    const struct quire_scatter from = opaque ? (struct quire_scatter){0} : lanes_of(source, item);
    return opaque ? source->opaque : quire_record_run(&item->shape, &from);
}

static enum quire_status gather(const quire_source *source, const struct chunk_item *item, bool opaque, uint8_t *to, uint64_t *check) {
    if (opaque) {
        *check = item->direct != NULL ? quire_record_sum_opaque(&item->shape, item->direct)
                                      : quire_record_check_opaque(&item->shape, to, source->opaque, source->opaque_bytes);
        return QUIRE_OK;
    }
    const struct quire_scatter from = lanes_of(source, item);
    return item->direct != NULL ? quire_record_sum(&item->shape, &from, check) : quire_record_gather(&item->shape, &from, to, check);
}

static enum quire_status fill_item(const struct job_store *store, const struct chunk *chunk, uint32_t i, bool wire) {
    struct chunk_item *item = &chunk->items[i];
    const quire_source *source = &store->sources[item->source];
    item->direct = wire ? direct_of(source, item, store->ns->layout.opaque) : NULL;
    struct quire_wire_put put = {
        .key = source->key,
        .parent = source->parent,
        .supersedes = source->supersedes,
        .put_id = item->put_id,
        .ingest_offset = chunk->offset + item->offset,
        .length = (uint32_t)item->bytes,
        .n_tokens = (uint16_t)source->n_tokens,
        .group = source->group,
        .flags = wire_flags(source),
        .first_layer = item->rect.first_layer,
        .n_layers = item->rect.n_layers,
        .first_head = item->rect.first_head,
        .n_heads = item->rect.n_heads,
        .ancestry_error = store->ancestry_error,
        .taken = item->taken,
    };
    QUIRE_FORWARD(gather(source, item, store->ns->layout.opaque, chunk->window->base + put.ingest_offset, &put.check));
    chunk->wire[i] = put;
    return QUIRE_OK;
}

/* A guest may not make other blocks go: the shorter tail stays until it is evicted. */
static void spare_tails(struct chunk *chunk) {
    for (uint32_t i = 0; i < chunk->n_items; i++) {
        chunk->wire[i].flags &= (uint8_t)~QUIRE_WIRE_PUT_SUPERSEDES;
        chunk->wire[i].supersedes = (quire_key){{0}};
    }
}

/* What goes behind the frame: what was gathered, and between it what goes from the caller's memory. */
static uint32_t runs_of(const struct chunk *chunk, struct tx_run runs[STORE_CHUNK_ITEMS]) {
    uint8_t *base = chunk->window->base + chunk->offset;
    uint32_t n = 0;
    for (uint32_t i = 0; i < chunk->n_items; i++) {
        const struct chunk_item *item = &chunk->items[i];
        uint64_t padded = quire_align_up(item->bytes, QUIRE_RECORD_ALIGN);
        if (item->direct != NULL) {
            runs[n++] = (struct tx_run){.bytes = item->direct, .size = item->bytes, .spare = base + item->offset};
        } else if (n > 0 && runs[n - 1].spare == NULL) {
            runs[n - 1].size += padded;
        } else {
            runs[n++] = (struct tx_run){.bytes = base + item->offset, .size = padded};
        }
    }
    return n;
}

static void send_chunk(quire_client *client, struct job *job, struct chunk *chunk) {
    struct tx_run runs[STORE_CHUNK_ITEMS];
    Quire__Wire__Put put = QUIRE__WIRE__PUT__INIT;
    const char *why = "the put could not be sent";
    enum quire_status status = ns_handle(client, job->u.store.ns, &put.ns, &why);
    struct request *request = status == QUIRE_OK ? request_new(client, QUIRE_MSG_PUT, NULL) : NULL;
    if (request == NULL) {
        chunk_free(client, chunk);
        job_abort(client, job, status == QUIRE_OK ? QUIRE_RETRY : status, why);
        return;
    }
    request->chunk = chunk;
    bool wire = client->transport->wire;
    if (!client->conn.member && !wire) {
        spare_tails(chunk);
    }
    put.items.data = (uint8_t *)chunk->wire;
    put.items.len = chunk->n_items * sizeof(struct quire_wire_put);
    put.window = chunk->window->id;
    put.deadline_ms = patience_ms(job->deadline_ns, clock_ns());
    put.us_per_token = job->u.store.us_per_token;
    put.bulk_offset = wire ? chunk->offset : 0;
    status = tx_frame_bulk(client, QUIRE_MSG_PUT, request->id, &put.base, chunk, runs, wire ? runs_of(chunk, runs) : 0);
    if (status != QUIRE_OK) {
        request_free(client, request);
        chunk_free(client, chunk);
        job_abort(client, job, status, "the put could not be sent");
        return;
    }
    chunk->us_per_token = put.us_per_token;
    job->u.store.us_per_token = 0;
    job->u.store.in_flight++;
    tx_flush(client);
}

static struct chunk *chunk_new(struct window *window, struct job *job) {
    struct chunk *chunk = calloc(1, sizeof(*chunk));
    if (chunk == NULL) {
        return NULL;
    }
    uint32_t n = (uint32_t)quire_min_u64(job->u.store.n_sources * (uint64_t)QUIRE_MAX_LAYERS, STORE_CHUNK_ITEMS);
    chunk->job = job;
    chunk->window = window;
    chunk->items = malloc(n * sizeof(*chunk->items));
    chunk->wire = malloc(n * sizeof(*chunk->wire));
    if (chunk->items == NULL || chunk->wire == NULL) {
        free(chunk->items);
        free(chunk->wire);
        free(chunk);
        return NULL;
    }
    return chunk;
}

static void chunk_discard(struct chunk *chunk) {
    free(chunk->items);
    free(chunk->wire);
    free(chunk);
}

/* Plans, fills and sends one frame. False when nothing more can be done now: all sent, no space, or the job is over. */
static bool put_next(quire_client *client, struct job *job) {
    struct job_store *store = &job->u.store;
    struct window *window = client->window;
    struct chunk *chunk = chunk_new(window, job);
    uint32_t next = store->next;
    if (chunk == NULL) {
        job_abort(client, job, QUIRE_NO_MEMORY, "out of memory for a put");
        return false;
    }
    uint64_t bytes = plan(store, window->bytes, chunk);
    if (bytes == 0 || !ingest_alloc(window, bytes, &chunk->offset)) {
        if (bytes > 0) {
            unplan(store, chunk);
            store->next = next;
            job_stall(job, &client->stalled_space);
        }
        chunk_discard(chunk);
        return false;
    }
    enum quire_status status = QUIRE_OK;
    chunk->bytes = bytes;
    progress_hand_over(client);
    bool wire = client->transport->wire;
    client_unlock(client);
    for (uint32_t i = 0; i < chunk->n_items && status == QUIRE_OK; i++) {
        status = fill_item(store, chunk, i, wire);
    }
    client_lock(client);
    bool cut_off = window->serial != client->conn.serial || store_is_cut_off(client, store);
    if (status != QUIRE_OK || job->abort != QUIRE_OK || cut_off) {
        if (cut_off) {
            unplan(store, chunk);
            store->next = quire_min_u64(store->next, next);
        }
        chunk_free(client, chunk);
        if (job->abort == QUIRE_OK && status != QUIRE_OK) {
            job_abort(client, job, status, "the block could not be gathered");
        } else if (job->abort == QUIRE_OK) {
            store_broke(client, job, true, client->conn.why);
        }
        return false;
    }
    send_chunk(client, job, chunk);
    return job->abort == QUIRE_OK;
}

/* ---- the job -------------------------------------------------------------------------------------------------------------- */
/* Sources that were refused for the moment go again, parts without what was taken of them. True when there are some and it is time. */
static bool send_again(quire_client *client, struct job_store *store, uint64_t now_ns) {
    if (!store->retry || store->in_flight > 0) {
        return false;
    }
    if (now_ns < store->retry_at_ns) {
        progress_wake_at(client, store->retry_at_ns);
        return false;
    }
    store->in_vain = store->progress ? 0 : store->in_vain + 1;
    store->retry = store->progress = false;
    store->next = 0;
    for (uint32_t i = 0; i < store->n_sources; i++) {
        if (store->sources[i].status == QUIRE_RETRY) {
            store->sources[i].status = QUIRE_PENDING;
        }
    }
    return true;
}

static bool all_sent(struct job_store *store) {
    for (const struct cut *cut = store->cuts; cut != NULL; cut = cut->next) {
        if (store->sources[cut->source].status == QUIRE_PENDING && cut->n_sent < cut->rect.n_layers) {
            return false;
        }
    }
    skip_settled(store);
    return store->next == store->n_sources;
}

static void put_all(quire_client *client, struct job *job) {
    struct job_store *store = &job->u.store;
    while (job->abort == QUIRE_OK && !all_sent(store) && store->in_flight < STORE_CHUNKS_IN_FLIGHT && !link_linked(&job->link)) {
        uint64_t now_ns = clock_ns();
        enum quire_status status = ingest_need(client, now_ns, patience_ms(job->deadline_ns, now_ns));
        if (job->abort != QUIRE_OK) {
            return;
        }
        if (store_is_cut_off(client, store)) {
            store_broke(client, job, true, client->conn.why);
            return;
        }
        if (status == QUIRE_PENDING || tx_full(client)) {
            job_stall(job, status == QUIRE_PENDING ? &client->stalled_space : &client->stalled_conn);
        } else if (status != QUIRE_OK) {
            job_abort(client, job, status, "no ingest window");
        } else if (!put_next(client, job)) {
            return;
        }
    }
}

void store_advance(quire_client *client, struct job *job) {
    struct job_store *store = &job->u.store;
    uint64_t now_ns = clock_ns();
    enum quire_status status = store->breaks > 0 ? conn_need_again(client, now_ns) : conn_need(client, now_ns);
    if (status == QUIRE_PENDING) {
        job_stall(job, &client->stalled_conn);
        return;
    }
    if (status != QUIRE_OK) {
        job_finish(client, job, QUIRE_DISCONNECTED, "%s", client->conn.why);
        return;
    }
    if (store->serial != client->conn.serial) {
        store->serial = client->conn.serial;
        store_moved(store);
    }
    send_again(client, store, now_ns);
    put_all(client, job);
    cuts_sweep(client, store, false);
    if (job->abort != QUIRE_OK || job->done) {
        return;
    }
    if (!link_linked(&job->link) && !list_empty(&client->stalled_space)) {
        job_wake(client, LINK_OWNER(client->stalled_space.next, struct job, link)); /* what we did not need, the next one may use */
    }
    if (store->in_flight == 0 && !link_linked(&job->link) && (store->retry || all_sent(store))) {
        if (!store->retry) {
            job_finish(client, job, QUIRE_OK, NULL);
        } else if (!send_again(client, store, clock_ns())) {
            job_stall(job, &client->stalled_space);
        } else {
            job_wake(client, job);
        }
    }
}

static void let_go_of(quire_client *client, const uint8_t *bytes, uint64_t size) {
    struct transport *transport = client->conn.transport;
    if (transport != NULL && transport->ops->let_go_of != NULL && bytes != NULL) {
        transport->ops->let_go_of(transport, bytes, size);
    }
}

void store_let_go(quire_client *client, const struct chunk *chunk) {
    let_go_of(client, chunk->window->base + chunk->offset, chunk->bytes);
    for (uint32_t i = 0; i < chunk->n_items; i++) {
        let_go_of(client, chunk->items[i].direct, chunk->items[i].bytes);
    }
}

/* Its caller goes: what was not sent yet goes from the window, and the transport lets go of the rest. */
static void orphan(quire_client *client, struct chunk *chunk) {
    chunk->job = NULL;
    tx_bulk_keep(&client->conn, chunk);
    for (uint32_t i = 0; i < chunk->n_items; i++) {
        let_go_of(client, chunk->items[i].direct, chunk->items[i].bytes);
        chunk->items[i].direct = NULL;
    }
}

void store_settle(quire_client *client, struct job *job) {
    struct job_store *store = &job->u.store;
    enum quire_status rest = job->status == QUIRE_OK ? QUIRE_INTERNAL : job->status, first = QUIRE_OK;
    for (uint32_t i = 0; i < client->n_requests && store->in_flight > 0; i++) {
        struct chunk *chunk = client->requests[i].chunk;
        if (chunk != NULL && chunk->job == job) {
            orphan(client, chunk);
        }
    }
    for (uint32_t i = 0; i < store->n_sources; i++) {
        if (store->sources[i].status == QUIRE_PENDING || (store->sources[i].status == QUIRE_RETRY && job->status != QUIRE_TIMEOUT)) {
            store->sources[i].status = rest;
        }
        first = first == QUIRE_OK ? store->sources[i].status : first;
    }
    cuts_sweep(client, store, true);
    job->status = job->status == QUIRE_OK ? first : job->status;
    seq_keep_cost(store->seq, store->us_per_token);
    if (job->status != QUIRE_OK && !list_empty(&client->stalled_space)) {
        job_wake(client, LINK_OWNER(client->stalled_space.next, struct job, link));
    }
}

/* ---- answers -------------------------------------------------------------------------------------------------------------- */
static void retry_later(struct job_store *store, uint32_t retry_after_ms) {
    uint32_t hint_ms = retry_after_ms < RETRY_AT_LEAST_MS ? RETRY_AT_LEAST_MS : retry_after_ms;
    uint64_t wait_ms = (uint64_t)hint_ms << quire_min_u64(store->in_vain, RETRY_MOST_DOUBLINGS);
    wait_ms = quire_max_u64(hint_ms, quire_min_u64(wait_ms, RETRY_MOST_MS));
    uint64_t at_ns = clock_ns() + wait_ms * QUIRE_NS_PER_MS;
    store->retry_at_ns = store->retry ? quire_max_u64(store->retry_at_ns, at_ns) : at_ns;
    store->retry = true;
    if (store->retry_after_ms != NULL) {
        *store->retry_after_ms = hint_ms;
    }
}

static void settle_item(quire_client *client, struct job_store *store, const struct chunk_item *item, enum quire_status status) {
    quire_source *source = &store->sources[item->source];
    status = store_verdict(store, source, status);
    store->progress |= status == QUIRE_OK;
    if (item->cut) {
        cut_answered(client, store, item, status);
    } else if (source->status == QUIRE_PENDING || source->status == QUIRE_RETRY) {
        source->status = status;
    }
}

static void settle_all(quire_client *client, struct job_store *store, const struct chunk *chunk, enum quire_status status) {
    for (uint32_t i = 0; i < chunk->n_items; i++) {
        settle_item(client, store, &chunk->items[i], status);
    }
}

static void chunk_answered(quire_client *client, struct chunk *chunk) {
    struct job *job = chunk->job;
    chunk_free(client, chunk);
    ingest_settle(client);
    if (job != NULL) {
        job->u.store.in_flight--;
        job_wake(client, job);
    }
}

/* The daemon took the window back while it was idle: the sources go again through another one. */
static void window_is_gone(quire_client *client, struct chunk *chunk) {
    if (client->window == chunk->window) {
        window_unref(&client->window);
        client->window_recalled = false;
    }
    if (chunk->job != NULL) {
        settle_all(client, &chunk->job->u.store, chunk, QUIRE_RETRY);
        retry_later(&chunk->job->u.store, 0);
    }
}

void store_on_error(quire_client *client, struct chunk *chunk, enum quire_status status, uint32_t retry_after_ms) {
    if (chunk->job != NULL && chunk->us_per_token > 0) {
        chunk->job->u.store.us_per_token = chunk->us_per_token; /* the frame was refused whole: the next one tells it */
    }
    if (status == QUIRE_STALE) {
        window_is_gone(client, chunk);
    } else if (chunk->job != NULL) {
        if (status == QUIRE_NOT_FOUND) {
            ns_lost(client, chunk->job->u.store.ns);
        }
        settle_all(client, &chunk->job->u.store, chunk, status);
        if (status == QUIRE_RETRY) {
            retry_later(&chunk->job->u.store, retry_after_ms);
        } else if (chunk->job->u.store.retry_after_ms != NULL) {
            *chunk->job->u.store.retry_after_ms = retry_after_ms;
        }
    }
    chunk_answered(client, chunk);
}

void store_on_acks(quire_client *client, struct chunk *chunk, const uint8_t *body, size_t size) {
    Quire__Wire__Acks *acks = quire__wire__acks__unpack(NULL, size, body);
    if (acks == NULL || (acks->status == QUIRE_OK && acks->statuses.len != chunk->n_items)) {
        quire__wire__acks__free_unpacked(acks, NULL);
        struct job *job = chunk->job;
        store_on_error(client, chunk, QUIRE_CORRUPT, 0);
        if (job != NULL) {
            job_abort(client, job, QUIRE_CORRUPT, "quired sent a malformed answer");
        }
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed answer");
        return;
    }
    enum quire_status status = status_from_wire(acks->status);
    uint32_t retry_after_ms = acks->retry_after_ms;
    if (acks->statuses.len != chunk->n_items) {
        quire__wire__acks__free_unpacked(acks, NULL);
        store_on_error(client, chunk, status, retry_after_ms);
        return;
    }
    struct job_store *store = chunk->job == NULL ? NULL : &chunk->job->u.store;
    for (uint32_t i = 0; store != NULL && i < chunk->n_items; i++) {
        enum quire_status one = status_from_wire(acks->statuses.data[i]);
        if (one != QUIRE_OK && acks->text[0] != '\0') {
            snprintf(chunk->job->text, sizeof(chunk->job->text), "%.180s", acks->text);
        }
        settle_item(client, store, &chunk->items[i], one == QUIRE_PENDING ? QUIRE_INTERNAL : one);
        if (store->sources[chunk->items[i].source].status == QUIRE_RETRY) {
            retry_later(store, retry_after_ms);
        } else if (one == QUIRE_FULL && store->retry_after_ms != NULL) {
            *store->retry_after_ms = retry_after_ms;
        }
    }
    quire__wire__acks__free_unpacked(acks, NULL);
    chunk_answered(client, chunk);
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */
static void prepare(quire_client *client, struct job *job, quire_ns *ns, quire_source *sources, uint32_t n_sources, quire_seq *seq,
                    uint32_t *retry_after_ms) {
    quire_fidelity ancestry = quire_seq_ancestry(seq);
    job->u.store = (struct job_store){
        .ns = ns,
        .sources = sources,
        .n_sources = n_sources,
        .ancestry_error = ancestry.error > ancestry.ancestry_error ? ancestry.error : ancestry.ancestry_error,
        .seq = seq,
        .us_per_token = seq_take_cost(seq),
        .put_id = client_random(client),
        .retry_after_ms = retry_after_ms,
    };
    if (retry_after_ms != NULL) {
        *retry_after_ms = 0;
    }
}

enum quire_status quire_store(quire_ns *ns, quire_source *sources, uint32_t n_sources, quire_seq *seq, uint32_t deadline_ms,
                              uint32_t *retry_after_ms) {
    QUIRE_FORWARD(check(ns, sources, n_sources));
    struct job job;
    client_enter(ns->client);
    job_init(&job, JOB_STORE, deadline_after(ns->client, deadline_ms));
    prepare(ns->client, &job, ns, sources, n_sources, seq, retry_after_ms);
    enum quire_status status = job_run(ns->client, &job);
    client_leave(ns->client);
    return status;
}

quire_job quire_submit_store(quire_ns *ns, quire_source *sources, uint32_t n_sources, quire_seq *seq, uint32_t deadline_ms,
                             uint32_t *retry_after_ms, void *user) {
    if (check(ns, sources, n_sources) != QUIRE_OK) {
        return 0;
    }
    client_enter(ns->client);
    struct job *job = job_new(ns->client, JOB_STORE, deadline_after(ns->client, deadline_ms), user);
    if (job != NULL) {
        job->ns = ns_ref(ns);
        prepare(ns->client, job, ns, sources, n_sources, seq, retry_after_ms);
    }
    quire_job id = job == NULL ? 0 : job_submit_async(ns->client, job);
    client_leave(ns->client);
    return id;
}
