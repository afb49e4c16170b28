#include "daemon/loads.h"

#include "daemon/core_internal.h"
#include "pager/disk.h"
#include "proto/status.h"

#include <stdlib.h>

#define LOADS_RETRY_MS 10

struct load_request {
    struct session *session;
    uint64_t request, read_ns, lease;
    uint32_t slot, n_items;
    bool unwanted;
    uint8_t *statuses;
    struct quire_wire_grant grants[];
};

enum quire_status loads_setup(struct loads *loads) {
    loads->slots = calloc(LOADS_MAX_REQUESTS, sizeof *loads->slots);
    loads->free_slots = calloc(LOADS_MAX_REQUESTS, sizeof *loads->free_slots);
    if (loads->slots == NULL || loads->free_slots == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < LOADS_MAX_REQUESTS; i++) {
        loads->free_slots[loads->n_free++] = LOADS_MAX_REQUESTS - 1 - i; /* low ones first */
    }
    return QUIRE_OK;
}

uint32_t loads_count(const struct loads *loads) { return LOADS_MAX_REQUESTS - loads->n_free; }

static struct load_request *loads_create(struct session *session, uint32_t n_items, uint64_t request, uint64_t read_ns) {
    struct loads *loads = &session->core->loads;
    struct load_request *load = calloc(1, sizeof *load + n_items * (sizeof load->grants[0] + 1));
    if (load == NULL) {
        return NULL;
    }
    load->session = session;
    load->request = request;
    load->read_ns = read_ns;
    load->n_items = n_items;
    load->statuses = (uint8_t *)&load->grants[n_items];
    load->slot = loads->free_slots[--loads->n_free];
    loads->slots[load->slot] = load;
    loads->n_items += n_items;
    session->load_items += n_items;
    session_ref(session);
    return load;
}

static void loads_free(struct core *core, struct load_request *load) {
    struct session *session = load->session;
    core->loads.slots[load->slot] = NULL;
    core->loads.free_slots[core->loads.n_free++] = load->slot;
    core->loads.n_items -= load->n_items;
    session->load_items -= load->n_items;
    free(load);
    session_want(session); /* it may have been leaving */
    session_unref(session);
}

void loads_teardown(struct core *core) {
    for (uint32_t i = 0; core->loads.slots != NULL && i < LOADS_MAX_REQUESTS; i++) {
        if (core->loads.slots[i] != NULL) {
            loads_free(core, core->loads.slots[i]);
        }
    }
    free(core->loads.slots);
    free(core->loads.free_slots);
    memset(&core->loads, 0, sizeof core->loads);
}

static void loads_refuse(struct session *session, uint64_t request, enum quire_status status, uint32_t retry_after_ms, const char *text) {
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.status = status;
    grants.text = (char *)text;
    grants.epoch = session->core->epoch;
    grants.retry_after_ms = retry_after_ms;
    session->core->counters.requests_failed++;
    session_send(session, QUIRE_MSG_GRANTS, request, &grants.base, NULL, 0);
}

static void loads_answer(struct core *core, struct load_request *load) {
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.epoch = core->epoch;
    for (uint32_t i = 0; i < load->n_items; i++) {
        load->grants[i].key_index = (uint16_t)i;
        grants.hits += load->statuses[i] == QUIRE_OK;
    }
    grants.grants = (ProtobufCBinaryData){.len = load->n_items * sizeof load->grants[0], .data = (uint8_t *)load->grants};
    grants.statuses = (ProtobufCBinaryData){.len = load->n_items, .data = load->statuses};
    session_send(load->session, QUIRE_MSG_GRANTS, load->request, &grants.base, NULL, 0);
    core_histogram_add(&core->histograms.load_us, loop_now_ns() - load->read_ns);
}

void loads_done(struct core *core, const struct pager_event *event) {
    if (event->cookie == LOADS_NOBODY) {
        return;
    }
    assert(event->cookie < LOADS_MAX_REQUESTS && core->loads.slots[event->cookie] != NULL);
    struct load_request *load = core->loads.slots[event->cookie];
    enum quire_status status = pager_load_result(core->pager, event->ticket, load->grants, load->statuses, load->n_items);
    if (load->unwanted || load->session->state == SESSION_ENDED) {
        loads_free(core, load);
        return;
    }
    if (status == QUIRE_OK) {
        loads_answer(core, load);
    } else {
        loads_refuse(load->session, load->request, status, 0, "the lease ended while its records were being read");
    }
    loads_free(core, load);
}

void loads_cancel(struct session *session, uint64_t request) {
    const struct loads *loads = &session->core->loads;
    for (uint32_t i = 0; session->load_items > 0 && i < LOADS_MAX_REQUESTS; i++) {
        struct load_request *load = loads->slots[i];
        if (load != NULL && load->session == session && load->request == request && !load->unwanted) {
            load->unwanted = true;
            pager_load_cancel(session->core->pager, session->core->now_ns, session->id, load->lease, load->slot);
        }
    }
}

/* ---- the request ---------------------------------------------------------------------------------------------------------- */

/* Around a part lies what was in the pool before: a guest who may want copies of whole records all the same has all of it read. */
static enum quire_status loads_items(const struct session *session, const Quire__Wire__Load *message, struct pager_load_item **items) {
    struct core *core = session->core;
    size_t n = message->items.len / sizeof(struct quire_wire_load);
    bool knows_parts = session->member || session->ranges;
    *items = arena_alloc(&core->arena, n * sizeof **items);
    if (*items == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        struct quire_wire_load item;
        memcpy(&item, message->items.data + i * sizeof item, sizeof item);
        if ((item.flags & ~QUIRE_WIRE_LOAD_PARTIAL) != 0) {
            return QUIRE_INVALID;
        }
        (*items)[i] = (struct pager_load_item){.slot = item.slot, .partial = knows_parts && item.flags != 0, .rect = item.rect};
    }
    return QUIRE_OK;
}

static bool loads_have_room(const struct session *session, size_t n_items) {
    const struct loads *loads = &session->core->loads;
    return loads->n_free > 0 && loads->n_items + n_items <= LOADS_MAX_ITEMS && session->load_items + n_items <= LOADS_SESSION_ITEMS;
}

static enum quire_status loads_begin(struct session *session, const Quire__Wire__Load *message, uint64_t request, uint64_t read_ns) {
    struct core *core = session->core;
    struct pager_load_item *items;
    QUIRE_FORWARD(loads_items(session, message, &items));
    uint32_t n_items = (uint32_t)(message->items.len / sizeof(struct quire_wire_load));
    struct load_request *load = loads_create(session, n_items, request, read_ns);
    if (load == NULL) {
        return QUIRE_NO_MEMORY;
    }
    load->lease = message->lease;
    uint64_t deadline_ns = core->now_ns + quire_min_u64(message->deadline_ms, CORE_MAX_DEADLINE_MS) * QUIRE_NS_PER_MS;
    enum quire_status status = pager_load(core->pager, core->now_ns, session->id, message->lease, items, n_items, load->slot, deadline_ns);
    if (status != QUIRE_OK) {
        loads_free(core, load);
    }
    return status;
}

enum session_verdict loads_request(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    uint64_t id = frame->request_id;
    Quire__Wire__Load *message = quire__wire__load__unpack(&session->core->arena.allocator, frame->body_bytes, body);
    size_t n_items = message != NULL ? message->items.len / sizeof(struct quire_wire_load) : 0;
    if (message == NULL || message->items.len % sizeof(struct quire_wire_load) != 0 || n_items == 0 || n_items > QUIRE_MAX_BATCH) {
        loads_refuse(session, id, QUIRE_INVALID, 0, "a LOAD has 1 to 8192 items of 16 bytes");
    } else if (!loads_have_room(session, n_items)) {
        loads_refuse(session, id, QUIRE_RETRY, LOADS_RETRY_MS, "too many records are being loaded");
    } else {
        enum quire_status status = loads_begin(session, message, id, read_ns);
        if (status != QUIRE_OK) {
            loads_refuse(session, id, status, status == QUIRE_RETRY ? LOADS_RETRY_MS : 0, quire_status_text(status));
        }
    }
    return SESSION_DONE;
}
