#include "daemon/puts.h"

#include "daemon/core_internal.h"
#include "proto/status.h"

#include <stdlib.h>

/* A cookie is the request's place and the item's number in it. */
#define PUTS_ITEM_BITS 16
static_assert(QUIRE_MAX_BATCH <= 1u << PUTS_ITEM_BITS, "an item's number fits into a cookie");

static uint64_t puts_cookie(uint32_t slot, uint32_t item) { return (uint64_t)slot << PUTS_ITEM_BITS | item; }
static struct put_request *puts_of(const struct puts *puts, uint64_t cookie) {
    assert(cookie >> PUTS_ITEM_BITS < PUTS_MAX_REQUESTS);
    struct put_request *put = puts->slots[cookie >> PUTS_ITEM_BITS];
    assert(put != NULL && (cookie & 0xffff) < put->n_items);
    return put;
}

enum quire_status puts_setup(struct puts *puts) {
    puts->slots = calloc(PUTS_MAX_REQUESTS, sizeof *puts->slots);
    puts->free_slots = calloc(PUTS_MAX_REQUESTS, sizeof *puts->free_slots);
    if (puts->slots == NULL || puts->free_slots == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < PUTS_MAX_REQUESTS; i++) {
        puts->free_slots[puts->n_free++] = PUTS_MAX_REQUESTS - 1 - i; /* low ones first */
    }
    return QUIRE_OK;
}

uint32_t puts_count(const struct puts *puts) { return PUTS_MAX_REQUESTS - puts->n_free; }

static void puts_free(struct core *core, struct put_request *put) {
    struct session *session = put->session;
    if (put->pins) {
        durable_unpromise(session);
    }
    core->puts.slots[put->slot] = NULL;
    core->puts.free_slots[core->puts.n_free++] = put->slot;
    core->puts.n_items -= put->n_items;
    session->put_items -= put->n_items;
    ingest_unuse(core->ingest, put->window, core->now_ns);
    free(put);
    session_release_hold(session);
    session_unref(session);
}

void puts_teardown(struct core *core) {
    for (uint32_t i = 0; core->puts.slots != NULL && i < PUTS_MAX_REQUESTS; i++) {
        if (core->puts.slots[i] != NULL) {
            puts_free(core, core->puts.slots[i]);
        }
    }
    free(core->puts.slots);
    free(core->puts.free_slots);
    memset(&core->puts, 0, sizeof core->puts);
}

/* Over what is there already, bytes are not looked at: that they are wrong, or that parts of theirs are missing, would tell that it is not there. */
static uint8_t puts_told(const struct put_request *put, uint8_t status) {
    bool telling = status == QUIRE_MISMATCH || status == QUIRE_CORRUPT || status == QUIRE_STALE;
    return put->blind && telling ? QUIRE_OK : status;
}

static void puts_answer(struct core *core, struct put_request *put) {
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    size_t mark = core->arena.used_bytes;
    uint8_t *statuses = arena_alloc(&core->arena, put->n_items);
    bool *pins = arena_zalloc(&core->arena, put->n_items, sizeof *pins), pinned = false, refused = false;
    if (statuses == NULL || pins == NULL) {
        session_fail(put->session, put->request, QUIRE_NO_MEMORY, 0, "no room for the answer");
        core->arena.used_bytes = mark;
        puts_free(core, put);
        return;
    }
    for (uint32_t i = 0; i < put->n_items; i++) {
        statuses[i] = puts_told(put, put->items[i].status);
        pins[i] = put->items[i].pin;
        pinned = pinned || (pins[i] && statuses[i] == QUIRE_OK);
        refused = refused || (pins[i] && statuses[i] == QUIRE_FULL);
    }
    acks.text = (char *)(refused && pager_pins_full(core->pager, put->ns) ? DURABLE_NO_MORE_PINS : "");
    if (put->pins && pinned) {
        durable_unpromise(put->session);
        put->pins = false;
        durable_put(put->session, put->request, statuses, pins, put->n_items, put->retry_after_ms, acks.text);
    } else {
        acks.statuses = (ProtobufCBinaryData){.len = put->n_items, .data = statuses};
        acks.retry_after_ms = put->retry_after_ms;
        acks.epoch = core->epoch;
        session_send(put->session, QUIRE_MSG_ACKS, put->request, &acks.base, NULL, 0);
    }
    core->arena.used_bytes = mark;
    core_histogram_add(&core->histograms.put_us, loop_now_ns() - put->read_ns);
    puts_free(core, put);
}

void puts_item_done(struct core *core, uint64_t cookie, enum quire_status status, uint32_t retry_after_ms) {
    struct put_request *put = puts_of(&core->puts, cookie);
    struct put_item *item = &put->items[cookie & 0xffff];
    assert(item->status == QUIRE_PENDING && put->n_pending > 0);
    item->status = (uint8_t)status;
    put->retry_after_ms = (uint32_t)quire_max_u64(put->retry_after_ms, retry_after_ms);
    if (--put->n_pending == 0) {
        puts_answer(core, put);
    }
}

const uint8_t *puts_payload(const struct puts *puts, uint64_t cookie, uint32_t *length, struct ingest_window **window) {
    const struct put_request *put = puts_of(puts, cookie);
    const struct put_item *item = &put->items[cookie & 0xffff];
    *length = item->length;
    *window = put->window;
    return put->window->base + item->offset;
}

static struct put_request *puts_create(struct session *session, struct ingest_window *window, uint32_t n_items, uint64_t request,
                                       uint64_t read_ns) {
    struct puts *puts = &session->core->puts;
    struct put_request *put = calloc(1, sizeof *put + n_items * sizeof put->items[0]);
    if (put == NULL) {
        return NULL;
    }
    put->session = session;
    put->window = window;
    put->request = request;
    put->read_ns = read_ns;
    put->n_items = n_items;
    put->slot = puts->free_slots[--puts->n_free];
    puts->slots[put->slot] = put;
    puts->n_items += n_items;
    session->put_items += n_items;
    session_ref(session);
    ingest_use(session->core->ingest, window, session->core->now_ns);
    return put;
}

static enum quire_status puts_offer_item(struct core *core, struct put_request *put, uint16_t ns, uint32_t i,
                                         const struct quire_wire_put *item, uint64_t deadline_ns) {
    if (item->length == 0 || !quire_in_range(item->ingest_offset, item->length, put->window->bytes)) {
        return QUIRE_INVALID;
    }
    if (!put->session->member && put->session->remote == NULL && (item->flags & (QUIRE_WIRE_PUT_PIN | QUIRE_WIRE_PUT_SUPERSEDES)) != 0) {
        return QUIRE_DENIED; /* guests do not decide what stays and what goes */
    }
    if (put->blind && (item->flags & QUIRE_WIRE_PUT_PIN) != 0) {
        return QUIRE_DENIED; /* as for PIN */
    }
    if (put->blind) {
        QUIRE_FORWARD(pager_put_check(core->pager, ns, item));
    }
    enum quire_status status = pager_put(core->pager, core->now_ns, put->session->id, ns, item, puts_cookie(put->slot, i), deadline_ns);
    return put->blind && status == QUIRE_INVALID ? QUIRE_MISMATCH : status; /* it contradicts what is there */
}

/* Offers every item to the pager. The request's own count of one keeps it alive until all have been offered. */
static void puts_offer(struct core *core, struct put_request *put, uint16_t ns, const uint8_t *packed, uint64_t deadline_ns) {
    put->n_pending = put->n_items + 1;
    for (uint32_t i = 0; i < put->n_items; i++) {
        struct quire_wire_put item;
        memcpy(&item, packed + (size_t)i * sizeof item, sizeof item);
        put->items[i] = (struct put_item){
            .offset = item.ingest_offset, .length = item.length, .status = QUIRE_PENDING, .pin = item.flags & QUIRE_WIRE_PUT_PIN};
        enum quire_status status = puts_offer_item(core, put, ns, i, &item, deadline_ns);
        if (status != QUIRE_OK) {
            puts_item_done(core, puts_cookie(put->slot, i), status, status == QUIRE_RETRY || status == QUIRE_FULL ? 50 : 0);
        }
    }
    if (--put->n_pending == 0) {
        puts_answer(core, put);
    }
}

/* Only where a pin can outlast the daemon. */
static bool puts_pins(const struct core *core, const uint8_t *packed, size_t n_items) {
    bool pins = false;
    for (size_t i = 0; core->disk_tier != NULL && i < n_items && !pins; i++) {
        struct quire_wire_put item;
        memcpy(&item, packed + i * sizeof item, sizeof item);
        pins = item.flags & QUIRE_WIRE_PUT_PIN;
    }
    return pins;
}

static enum session_verdict puts_refuse(struct session *session, uint64_t request, enum quire_status status, uint32_t retry_after_ms,
                                        const char *text) {
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    acks.status = status;
    acks.text = (char *)text;
    acks.retry_after_ms = retry_after_ms;
    acks.epoch = session->core->epoch;
    session->core->counters.requests_failed++;
    session_send(session, QUIRE_MSG_ACKS, request, &acks.base, NULL, 0);
    return SESSION_DONE;
}

enum session_verdict puts_request(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    struct core *core = session->core;
    uint64_t id = frame->request_id;
    Quire__Wire__Put *message = quire__wire__put__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (message == NULL) {
        return puts_refuse(session, id, QUIRE_INVALID, 0, "the PUT cannot be read");
    }
    size_t n_items = message->items.len / sizeof(struct quire_wire_put);
    if (message->items.len % sizeof(struct quire_wire_put) != 0 || n_items == 0 || n_items > QUIRE_MAX_BATCH) {
        return puts_refuse(session, id, QUIRE_INVALID, 0, "a PUT has 1 to 8192 items of 144 bytes");
    }
    if (message->ns == 0 || message->ns > session->n_ns || session->ns[message->ns - 1] == SESSION_NO_NS) {
        return puts_refuse(session, id, QUIRE_NOT_FOUND, 0, "the namespace is not open in this session");
    }
    if (!session_may(session, message->ns, TOKEN_WRITE)) {
        return puts_refuse(session, id, QUIRE_DENIED, 0, "the token may not write in this namespace");
    }
    struct ingest_window *window = ingest_find(core->ingest, session, message->window);
    if (window == NULL) {
        return puts_refuse(session, id, QUIRE_STALE, 0, "the ingest window is not this session's, or was taken back: ask for another");
    }
    if (session->put_items > 0 && session->put_items + n_items > SESSION_MAX_PUT_ITEMS) {
        return SESSION_HOLD;
    }
    if (core->puts.n_free == 0 || core->puts.n_items + n_items > PUTS_MAX_ITEMS) {
        return puts_refuse(session, id, QUIRE_RETRY, 10, "too many puts are under way");
    }
    bool pins = puts_pins(core, message->items.data, n_items);
    if (pins && !durable_has_room(session)) {
        return puts_refuse(session, id, QUIRE_RETRY, DURABLE_RETRY_MS, "too many requests wait until what they changed is durable");
    }
    struct put_request *put = puts_create(session, window, (uint32_t)n_items, id, read_ns);
    if (put == NULL) {
        return puts_refuse(session, id, QUIRE_NO_MEMORY, 100, "no memory for the put");
    }
    if (pins) {
        durable_promise(session);
    }
    uint16_t ns = session->ns[message->ns - 1];
    put->pins = pins;
    put->blind = !session_may(session, message->ns, TOKEN_READ);
    put->ns = ns;
    savings_report(&core->savings, ns, pager_ns_serial(core->pager, ns), (double)message->us_per_token);
    uint64_t deadline_ns = core->now_ns + quire_min_u64(message->deadline_ms, CORE_MAX_DEADLINE_MS) * QUIRE_NS_PER_MS;
    puts_offer(core, put, ns, message->items.data, deadline_ns);
    return SESSION_DONE;
}

/* A window that was taken back meanwhile is no fault of the client's: what was meant for it is thrown away, and the PUT is answered STALE. */
enum quire_status session_bulk_place(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint8_t **place,
                                     struct ingest_window **window) {
    struct core *core = session->core;
    *place = NULL;
    *window = NULL;
    arena_reset(&core->arena);
    Quire__Wire__Put *message =
        frame->type == QUIRE_MSG_PUT ? quire__wire__put__unpack(&core->arena.allocator, frame->body_bytes, body) : NULL;
    if (message == NULL || session->state != SESSION_OPEN) {
        return QUIRE_INVALID;
    }
    struct ingest_window *found = ingest_find(core->ingest, session, message->window);
    if (found == NULL) {
        return QUIRE_OK;
    }
    if (!quire_in_range(message->bulk_offset, frame->bulk_bytes, found->bytes)) {
        return QUIRE_INVALID;
    }
    uint8_t *base = ingest_writable(found);
    if (base == NULL) {
        return QUIRE_NO_MEMORY;
    }
    ingest_use(core->ingest, found, core->now_ns);
    *place = base + message->bulk_offset;
    *window = found;
    return QUIRE_OK;
}
