#include "tests/sim/sim_server.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_content.h"
#include "tests/sim/sim_pins.h"

#include "proto/layout.h"

#include <math.h>
#include <stdlib.h>

uint16_t sim_server_space(struct sim *sim, uint32_t space) {
    const struct sim_space *s = &sim->model.spaces[space];
    uint16_t ns;
    char why[200];
    SIM_REQUIRE(sim, pager_ns_open(sim->pager, s->domain, s->name, &s->layout, "salt", 4, &ns, why, sizeof(why)) == QUIRE_OK);
    return ns;
}

/* ---- storing -------------------------------------------------------------------------------------------------------------- */
static uint32_t payload_bytes(const struct sim_space *space, const struct sim_key *key, const struct sim_request *request, uint32_t group) {
    return space->layout.opaque ? key->length : (uint32_t)quire_layout_rect_bytes(&space->layout, group, &request->rect, key->n_tokens);
}

static void describe_put(struct sim *sim, const struct sim_request *request, struct quire_wire_put *item) {
    const struct sim_version *version = &sim->model.versions[request->version - 1];
    const struct sim_space *space = &sim->model.spaces[request->space];
    const struct sim_key *key = &space->keys[version->key];
    struct quire_record_shape shape;
    *item = (struct quire_wire_put){.key = key->key,
                                    .put_id = request->put_id,
                                    .n_tokens = key->n_tokens,
                                    .group = (uint8_t)version->group,
                                    .flags = (uint8_t)request->put_flags,
                                    .first_layer = request->rect.first_layer,
                                    .n_layers = request->rect.n_layers,
                                    .first_head = request->rect.first_head,
                                    .n_heads = request->rect.n_heads,
                                    .length = payload_bytes(space, key, request, version->group),
                                    .ancestry_error = version->ancestry};
    if (key->parent >= 0) {
        item->parent = space->keys[key->parent].key;
    } else {
        item->flags |= key->parent == -1 ? QUIRE_WIRE_PUT_ROOT : QUIRE_WIRE_PUT_PARENT_UNKNOWN;
    }
    if (key->shorter >= 0) {
        item->flags |= QUIRE_WIRE_PUT_SUPERSEDES;
        item->supersedes = space->keys[key->shorter].key;
    }
    sim_model_shape(sim, request->space, version->key, version->group, &shape);
    free(sim_content_payload(request->version, version->group, &shape, &request->rect, item->length, &item->check));
}

static void put(struct sim *sim, const struct sim_request *request) {
    struct sim_model *model = &sim->model;
    struct quire_wire_put item;
    uint16_t ns = sim_server_space(sim, request->space);
    describe_put(sim, request, &item);
    uint64_t cookie = sim_model_put(sim, request->version, &request->rect);
    enum quire_status status =
        pager_put(sim->pager, sim->now_ns, request->session, ns, &item, cookie, sim->now_ns + request->wait_ms * SIM_MS);
    sim_say(sim, "put: space %u, key %u, group %u, version %llu, id %llu: cookie %llu, status %d", request->space,
            model->versions[request->version - 1].key, item.group, (unsigned long long)request->version, (unsigned long long)item.put_id,
            (unsigned long long)cookie, status);
    model->puts[cookie - 1].session = request->session;
    model->puts[cookie - 1].client = request->client;
    if (status == QUIRE_OK) {
        struct sim_version *version = &model->versions[request->version - 1];
        model->puts[cookie - 1].open = true;
        model->puts[cookie - 1].pins = item.flags & QUIRE_WIRE_PUT_PIN;
        model->open_puts++;
        sim->wire.taken++;
        version->offered = model->moment;
        model->spaces[request->space].keys[version->key].offered[version->group] = model->moment;
        sim->counts->puts++;
    } else { /* INVALID: a part that was repeated, or in whose place another lies; TOO_LARGE: larger than the pool */
        SIM_REQUIRE(sim, status == QUIRE_INVALID || status == QUIRE_TOO_LARGE || status == QUIRE_RETRY || status == QUIRE_FULL);
        SIM_REQUIRE(sim, !request->again || status != QUIRE_INVALID); /* what was in order once */
        sim_wire_answered(sim, &model->puts[cookie - 1]);
    }
}

static void put_done(struct sim *sim, const struct pager_event *event) {
    struct sim_put *put = &sim->model.puts[event->cookie - 1];
    SIM_REQUIRE(sim, event->cookie > 0 && event->cookie <= sim->model.n_puts && put->open); /* exactly once */
    put->open = false;
    sim->model.open_puts--;
    sim_wire_answered(sim, put);
    if (put->pins) {
        const struct sim_version *version = &sim->model.versions[put->version - 1];
        sim_pins_pinned(sim, &sim->model.spaces[version->space].keys[version->key]);
    }
    sim_say(sim, "put done: cookie %llu, status %d", (unsigned long long)event->cookie, event->status);
    SIM_REQUIRE(sim, (event->status == QUIRE_FULL || event->status == QUIRE_RETRY) == (event->retry_after_ms > 0));
}

/* ---- looking up ----------------------------------------------------------------------------------------------------------- */
static void keep_lease(struct sim *sim, const struct sim_request *request, const struct pager_lease_reply *reply) {
    struct sim_model *model = &sim->model;
    if (model->n_holds == model->holds_capacity) {
        model->holds_capacity = model->holds_capacity ? 2 * model->holds_capacity : 64;
        model->holds = realloc(model->holds, model->holds_capacity * sizeof(*model->holds));
        SIM_REQUIRE(sim, model->holds != NULL);
    }
    struct sim_hold *hold = &model->holds[model->n_holds++];
    *hold = (struct sim_hold){.lease = reply->lease,
                              .session = request->session,
                              .client = request->client,
                              .space = request->space,
                              .n = reply->n_grants,
                              .floor = request->flags & QUIRE_WIRE_LEASE_FLOOR ? request->floor : -1,
                              .grants = calloc(reply->n_grants, sizeof(*hold->grants))};
    SIM_REQUIRE(sim, hold->grants != NULL);
    for (uint32_t i = 0; i < reply->n_grants; i++) {
        uint32_t key = request->keys[reply->grants[i].key_index];
        hold->grants[i] = (struct sim_grant){.grant = reply->grants[i], .key = key, .deleted = sim_model_deleted(sim, request->space, key)};
        sim_model_found(sim, request->space, key, 1u << reply->grants[i].group);
        sim_model_look(sim, hold, &hold->grants[i]);
    }
    sim->counts->grants += reply->n_grants;
}

static void lease(struct sim *sim, const struct sim_request *request) {
    const struct sim_space *space = &sim->model.spaces[request->space];
    uint8_t keys[SIM_KEYS_AT_ONCE * QUIRE_KEY_BYTES], misses[SIM_KEYS_AT_ONCE];
    struct quire_wire_grant grants[2 * SIM_KEYS_AT_ONCE];
    uint32_t estimates[SIM_KEYS_AT_ONCE];
    for (uint32_t i = 0; i < request->n; i++) {
        memcpy(keys + i * QUIRE_KEY_BYTES, space->keys[request->keys[i]].key.b, QUIRE_KEY_BYTES);
    }
    const struct pager_lease_request ask = {.session = request->session,
                                            .ns = sim_server_space(sim, request->space),
                                            .keys = keys,
                                            .n_keys = request->n,
                                            .flags = request->flags,
                                            .group_mask = request->group_mask,
                                            .max_error = request->floor,
                                            .lease_ms = request->lease_ms};
    struct pager_lease_reply reply = {
        .misses = misses, .grants = grants, .grants_capacity = QUIRE_ARRAY_LEN(grants), .estimates_us = estimates};
    enum quire_status status = pager_lease(sim->pager, sim->now_ns, &ask, &reply);
    sim_say(sim, "lease: space %u, %u keys to %u, flags %u: status %d, hits %u, grants %u, lease %llx", request->space, request->n,
            request->keys[request->n - 1], request->flags, status, reply.hits, reply.n_grants, (unsigned long long)reply.lease);
    SIM_REQUIRE(sim, status == QUIRE_OK || status == QUIRE_RETRY);
    if (status != QUIRE_OK) {
        return;
    }
    uint32_t all = (1u << space->n_groups) - 1, mask = request->group_mask ? request->group_mask : all;
    for (uint32_t i = 0; i < request->n; i++) {
        bool prefix = request->flags & QUIRE_WIRE_LEASE_PREFIX; /* of which windowed groups are not all needed */
        if (misses[i] == QUIRE_MISS_NONE) {
            sim_model_found(sim, request->space, request->keys[i], prefix ? mask & 1u : mask);
        }
    }
    sim->counts->hits += reply.hits;
    if (reply.lease != 0) {
        keep_lease(sim, request, &reply);
        if (sim_chance(sim, sim->config.drop_pct)) { /* a lost answer: the client never knows */
            sim->counts->dropped++;
        } else {
            sim_clients_leased(sim, request->client, request->session, reply.lease);
        }
    }
}

static void release(struct sim *sim, const struct sim_request *request) {
    bool held = sim_model_hold(sim, request->lease) != NULL;
    sim_model_release(sim, request->lease);
    enum quire_status status = pager_release(sim->pager, request->session, request->lease);
    sim_say(sim, "release: lease %llx, status %d", (unsigned long long)request->lease, status);
    SIM_REQUIRE(sim, status == (held ? QUIRE_OK : QUIRE_NOT_FOUND));
}

/* ---- loading -------------------------------------------------------------------------------------------------------------- */
static quire_rect some_rect(struct sim *sim, const struct sim_space *space, uint32_t group) {
    quire_rect whole = quire_layout_whole(&space->layout, group), rect;
    rect.first_layer = (uint16_t)sim_roll(sim, whole.n_layers);
    rect.n_layers = (uint16_t)sim_between(sim, 1, whole.n_layers - rect.first_layer);
    rect.first_head = (uint16_t)sim_roll(sim, whole.n_heads);
    rect.n_heads = (uint16_t)sim_between(sim, 1, whole.n_heads - rect.first_head);
    return rect;
}

static void load(struct sim *sim, const struct sim_request *request) {
    struct sim_hold *hold = sim_model_hold(sim, request->lease);
    struct pager_load_item items[4 * SIM_KEYS_AT_ONCE];
    uint32_t n = 0;
    if (!hold) {
        return;
    }
    const struct sim_space *space = &sim->model.spaces[hold->space];
    for (uint32_t i = 0; i < hold->n && n < QUIRE_ARRAY_LEN(items); i++) {
        if (sim_chance(sim, 80)) {
            items[n] = (struct pager_load_item){.slot = hold->grants[i].grant.slot, .partial = request->partial && !space->layout.opaque};
            if (items[n].partial) {
                hold->loose_bytes += hold->grants[i].grant.size;
                items[n].rect = some_rect(sim, space, hold->grants[i].grant.group);
            }
            n++;
        }
    }
    if (n == 0) {
        return;
    }
    uint64_t cookie = sim_model_load(sim, request->lease, items, n);
    enum quire_status status = pager_load(sim->pager, sim->now_ns, request->session, request->lease, items, n, cookie,
                                          sim->now_ns + (1 + request->wait_ms) * SIM_MS);
    sim_say(sim, "load: lease %llx, %u items, partial %d: cookie %llu, status %d", (unsigned long long)request->lease, n, request->partial,
            (unsigned long long)cookie, status);
    SIM_REQUIRE(sim, status == QUIRE_OK || status == QUIRE_STALE || status == QUIRE_RETRY);
    sim->model.loads[cookie - 1].open = status == QUIRE_OK;
    sim->model.open_loads += status == QUIRE_OK;
    sim->counts->loads += status == QUIRE_OK;
}

/* Perhaps of a load that has ended meanwhile. */
static void cancel(struct sim *sim, const struct sim_request *request) {
    for (uint64_t cookie = sim->model.n_loads; cookie > 0; cookie--) {
        struct sim_load *load = &sim->model.loads[cookie - 1];
        if (load->lease == request->lease) {
            load->cancelled = true;
            sim->counts->cancelled += load->open;
            sim_say(sim, "cancel: lease %llx, cookie %llu", (unsigned long long)request->lease, (unsigned long long)cookie);
            pager_load_cancel(sim->pager, sim->now_ns, request->session, request->lease, cookie);
            return;
        }
    }
}

static void load_item_done(struct sim *sim, struct sim_hold *hold, const struct pager_load_item *item,
                           const struct quire_wire_grant *grant) {
    uint32_t i = 0;
    while (i < hold->n && hold->grants[i].grant.slot != item->slot) {
        i++;
    }
    SIM_REQUIRE(sim, i < hold->n && grant->offset != QUIRE_WIRE_AWAY);
    sim->counts->loaded++;
    if (grant->slot == item->slot) {
        SIM_REQUIRE(sim, grant->generation == hold->grants[i].grant.generation);
        hold->grants[i].grant.offset = grant->offset;
        hold->grants[i].grant.size = grant->size;
        sim_model_look(sim, hold, &hold->grants[i]);
        return;
    }
    for (uint32_t j = 0; j < hold->n; j++) {
        SIM_REQUIRE(sim, hold->grants[j].grant.slot != grant->slot);
    }
    SIM_REQUIRE(sim, item->partial);
    hold->grants = realloc(hold->grants, (hold->n + 1) * sizeof(*hold->grants));
    struct sim_grant *extra = &hold->grants[hold->n++];
    *extra = hold->grants[i];
    extra->grant = *grant;
    extra->version = 0;
    extra->partial = true;
    extra->rect = item->rect;
    sim->counts->partial++;
    sim_model_look(sim, hold, extra);
}

/* It was kicked, and only reads what it has. */
static bool is_leaving(const struct sim *sim, uint64_t session) {
    bool leaving = false;
    for (uint32_t i = 0; i < SIM_MAX_CLIENTS; i++) {
        leaving |= sim->clients.leaving[i] == session;
    }
    return leaving;
}

static void load_done(struct sim *sim, const struct pager_event *event) {
    struct sim_load *load = &sim->model.loads[event->cookie - 1];
    SIM_REQUIRE(sim, event->cookie > 0 && event->cookie <= sim->model.n_loads && load->open); /* exactly once */
    struct quire_wire_grant *grants = calloc(load->n, sizeof(*grants));
    uint8_t *statuses = calloc(load->n, 1);
    load->open = false;
    sim->model.open_loads--;
    enum quire_status status = pager_load_result(sim->pager, event->ticket, grants, statuses, load->n);
    struct sim_hold *hold = sim_model_hold(sim, load->lease);
    sim_say(sim, "load done: cookie %llu, event %d, status %d", (unsigned long long)event->cookie, event->status, status);
    hold = hold && is_leaving(sim, hold->session) ? NULL : hold;
    SIM_REQUIRE(sim, status == (hold ? QUIRE_OK : QUIRE_NOT_FOUND));
    SIM_REQUIRE(sim, pager_load_result(sim->pager, event->ticket, grants, statuses, load->n) == QUIRE_NOT_FOUND);
    for (uint32_t i = 0; hold && i < load->n; i++) {
        sim_say(sim, "  slot %u: status %d", load->items[i].slot, statuses[i]);
        SIM_REQUIRE(sim, statuses[i] == QUIRE_OK || statuses[i] == QUIRE_MISS || statuses[i] == QUIRE_FULL ||
                             statuses[i] == QUIRE_TIMEOUT || statuses[i] == QUIRE_STALE ||
                             (statuses[i] == QUIRE_RETRY && sim->config.short_permille > 0) ||
                             (statuses[i] == QUIRE_CANCELLED && load->cancelled));
        if (statuses[i] == QUIRE_OK) {
            load_item_done(sim, hold, &load->items[i], &grants[i]);
        }
    }
    free(grants);
    free(statuses);
}

/* ---- by key --------------------------------------------------------------------------------------------------------------- */
/* An acknowledgement that it lasts is on its way, or was given. */
static void acknowledge(struct sim *sim, struct sim_barrier *barrier) {
    barrier->moment = sim->model.moment;
    uint64_t cookie = sim_model_barrier(sim, barrier);
    enum quire_status status =
        barrier->pins ? pager_durable(sim->pager, sim->now_ns, cookie) : pager_durable_deletions(sim->pager, sim->now_ns, cookie);
    sim_say(sim, "durable: cookie %llu, status %d", (unsigned long long)cookie, status);
    struct sim_barrier *kept = &sim->model.barriers[cookie - 1];
    if (status == QUIRE_OK) {
        sim_model_lasting(sim, kept);
    } else if (status == QUIRE_PENDING) {
        kept->open = true;
        sim->model.open_barriers++;
    } else {
        SIM_REQUIRE(sim, status == QUIRE_RETRY);
    }
}

static void durable(struct sim *sim, const struct pager_event *event) {
    struct sim_barrier *barrier = &sim->model.barriers[event->cookie - 1];
    SIM_REQUIRE(sim, event->cookie > 0 && event->cookie <= sim->model.n_barriers && barrier->open); /* exactly once */
    barrier->open = false;
    sim->model.open_barriers--;
    sim_say(sim, "durable: cookie %llu has status %d", (unsigned long long)event->cookie, event->status);
    SIM_REQUIRE(sim, event->status == QUIRE_OK || event->status == QUIRE_SYSTEM);
    if (event->status == QUIRE_OK) {
        sim_model_lasting(sim, barrier);
    }
}

/* PIN and UNPIN are acknowledged when they last, too. */
static void pinned(struct sim *sim, const struct sim_request *request, const uint8_t *statuses, struct sim_barrier *barrier) {
    const struct sim_space *space = &sim->model.spaces[request->space];
    uint16_t ns = sim_server_space(sim, request->space);
    barrier->pins = true;
    for (uint32_t i = 0; i < request->n; i++) {
        const struct sim_key *key = &space->keys[request->keys[i]];
        struct pager_block_info info;
        bool known = pager_block_info(sim->pager, sim->now_ns, ns, &key->key, &info) == QUIRE_OK && info.pins > 0;
        if (statuses[i] == QUIRE_OK) {
            barrier->keys[barrier->n].space = request->space;
            barrier->keys[barrier->n].unpinned = request->verb == QUIRE_WIRE_UNPIN && !known && key->pins_waiting == 0;
            barrier->keys[barrier->n++].key = request->keys[i];
        }
    }
    acknowledge(sim, barrier);
}

static void by_key(struct sim *sim, const struct sim_request *request) {
    struct sim_space *space = &sim->model.spaces[request->space];
    uint8_t keys[SIM_KEYS_AT_ONCE * QUIRE_KEY_BYTES], statuses[SIM_KEYS_AT_ONCE] = {0}; /* a call that fails as a whole writes none */
    for (uint32_t i = 0; i < request->n; i++) {
        memcpy(keys + i * QUIRE_KEY_BYTES, space->keys[request->keys[i]].key.b, QUIRE_KEY_BYTES);
        keys[i * QUIRE_KEY_BYTES] ^= request->never ? 0xff : 0;
    }
    enum quire_status status = pager_keys(sim->pager, sim->now_ns, request->session, sim_server_space(sim, request->space), request->verb,
                                          keys, request->n, statuses);
    sim_say(sim, "keys: space %u, verb %d, %u keys, first %u: status %d, first's %d", request->space, request->verb, request->n,
            request->keys[0], status, statuses[0]);
    SIM_REQUIRE(sim, status == QUIRE_OK || status == QUIRE_RETRY);
    if (status != QUIRE_OK || request->verb == QUIRE_WIRE_TOUCH) {
        return;
    }
    for (uint32_t i = 0; request->never && i < request->n; i++) {
        SIM_REQUIRE(sim, statuses[i] == QUIRE_MISS);
    }
    if (request->never) {
        return;
    }
    for (uint32_t i = 0; i < request->n; i++) {
        sim_pins_answered(sim, request->space, request->keys[i], request->verb, (enum quire_status)statuses[i]);
    }
    struct sim_barrier barrier = {.space = -1, .keys = calloc(request->n, sizeof(*barrier.keys))};
    if (request->verb != QUIRE_WIRE_DELETE) {
        pinned(sim, request, statuses, &barrier);
        return;
    }
    for (uint32_t i = 0; i < request->n; i++) {
        SIM_REQUIRE(sim, statuses[i] == QUIRE_OK || statuses[i] == QUIRE_MISS || statuses[i] == QUIRE_IN_USE);
        if (statuses[i] != QUIRE_IN_USE) { /* also what was not there: it may be counted on that it does not come */
            space->keys[request->keys[i]].deleted = sim->model.moment;
            barrier.keys[barrier.n].space = request->space;
            barrier.keys[barrier.n++].key = request->keys[i];
            sim->counts->deletions++;
        }
    }
    acknowledge(sim, &barrier);
}

/* With as much of the drive as that takes: of a budget the metadata has a part only, and whoever is beyond that would have to come again. */
void sim_server_unpin_all(struct sim *sim) {
    struct pager_disk_options options = sim->config.disk;
    options.write_budget_bytes_per_s = 0;
    options.drive_writes_per_day = 0;
    pager_disk_set_options(sim->pager, &options);
    for (uint32_t s = 0; s < sim->config.n_spaces; s++) {
        const struct sim_space *space = &sim->model.spaces[s];
        uint16_t ns = sim_server_space(sim, s);
        uint64_t session;
        uint8_t status = QUIRE_OK;
        SIM_REQUIRE(sim, pager_session_open(sim->pager, space->domain, &session) == QUIRE_OK);
        for (uint32_t i = 0; i < sim->config.n_keys; i += status != QUIRE_OK) { /* pinned more than once: again */
            SIM_REQUIRE(sim,
                        pager_keys(sim->pager, sim->now_ns, session, ns, QUIRE_WIRE_UNPIN, space->keys[i].key.b, 1, &status) == QUIRE_OK);
        }
        pager_session_close(sim->pager, session, false);
    }
}

void sim_server_delete_space(struct sim *sim, uint32_t space) {
    struct sim_barrier barrier = {.space = (int)space};
    uint64_t blocks;
    sim->model.moment++;
    sim_server_space(sim, space);
    SIM_REQUIRE(sim, pager_ns_delete(sim->pager, sim->model.spaces[space].name, &blocks) == QUIRE_OK);
    sim_say(sim, "space %u is deleted", space);
    sim->model.spaces[space].deleted = sim->model.moment;
    sim_pins_space_gone(sim, space);
    acknowledge(sim, &barrier);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */
void sim_server_request(struct sim *sim, const struct sim_request *request) {
    static void (*const handlers[])(struct sim *, const struct sim_request *) = {
        [SIM_PUT] = put,       [SIM_LEASE] = lease,     [SIM_LOAD] = load,  [SIM_READ] = sim_wire_read,
        [SIM_CANCEL] = cancel, [SIM_RELEASE] = release, [SIM_KEYS] = by_key};
    struct pager_session_info info;
    if (!sim->pager || request->life != sim->life || pager_session_info(sim->pager, request->session, &info) != QUIRE_OK) {
        return; /* its connection is no more */
    }
    if (is_leaving(sim, request->session) || sim_wire_is_deaf(sim, request->session)) {
        return;
    }
    sim->model.moment++;
    handlers[request->type](sim, request);
}

void sim_server_outcome(struct sim *sim, const struct pager_event *event) {
    if (event->type == PAGER_PUT_DONE) {
        put_done(sim, event);
    } else if (event->type == PAGER_LOAD_DONE) {
        load_done(sim, event);
    } else {
        durable(sim, event);
    }
}

void sim_server_gone(struct sim *sim, uint64_t session, bool quarantine) {
    struct pager_session_info info;
    sim_say(sim, "session %llx is gone, quarantine %d", (unsigned long long)session, quarantine);
    if (!quarantine) {
        sim_model_session_gone(sim, session);
    }
    pager_session_close(sim->pager, session, quarantine);
    SIM_REQUIRE(sim, quarantine || pager_session_info(sim->pager, session, &info) == QUIRE_NOT_FOUND);
}
