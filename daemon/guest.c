/*
 * READs, of those who have no mapping of the pool: guests, and sessions over a wire. They read leased records piece by piece, and each piece is
 * sent straight out of the pool behind a BULK frame, when its turn comes (daemon/flow.h).
 */
#include "daemon/core_internal.h"

#include "proto/status.h"

static void guest_say(struct session *session, uint64_t request, enum quire_status status, const char *text) {
    Quire__Wire__Bulk bulk = QUIRE__WIRE__BULK__INIT;
    bulk.status = status;
    bulk.text = (char *)text;
    session_send(session, QUIRE_MSG_BULK, request, &bulk.base, NULL, 0);
}

void guest_refuse(struct session *session, uint64_t request, enum quire_status status, const char *text) {
    session->core->counters.requests_failed++;
    guest_say(session, request, status, text);
}

void guest_cancel(struct session *session, uint64_t request) {
    if (flow_cancel(session, request)) {
        guest_say(session, request, QUIRE_CANCELLED, quire_status_text(QUIRE_CANCELLED));
    }
}

/* What a READ asks for, in the core's arena; there is at least one range. `bytes`: of all. */
struct guest_wants {
    struct quire_wire_range *ranges;
    uint32_t n_ranges;
    uint64_t bytes;
};

static enum quire_status guest_wants(struct core *core, const Quire__Wire__Read *message, uint32_t record_bytes,
                                     struct guest_wants *wants) {
    const struct quire_wire_range whole = {.offset = (uint32_t)quire_min_u64(message->offset, UINT32_MAX),
                                           .size = (uint32_t)quire_min_u64(message->size, UINT32_MAX)};
    bool listed = message->ranges.len > 0;
    *wants = (struct guest_wants){.n_ranges = listed ? (uint32_t)quire_min_u64(message->ranges.len / sizeof whole, UINT32_MAX) : 1};
    if (message->ranges.len % sizeof whole != 0 || wants->n_ranges > QUIRE_MAX_RANGES) {
        return QUIRE_INVALID;
    }
    wants->ranges = arena_alloc(&core->arena, wants->n_ranges * sizeof *wants->ranges);
    if (wants->ranges == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memcpy(wants->ranges, listed ? message->ranges.data : (const uint8_t *)&whole, wants->n_ranges * sizeof *wants->ranges);
    for (uint32_t i = 0; i < wants->n_ranges; i++) {
        if (wants->ranges[i].size == 0 || !quire_in_range(wants->ranges[i].offset, wants->ranges[i].size, record_bytes)) {
            return QUIRE_INVALID;
        }
        wants->bytes += wants->ranges[i].size;
    }
    return QUIRE_OK;
}

static enum flow_kind guest_kind(const Quire__Wire__Read *message) { return message->prefetch ? FLOW_PREFETCH : FLOW_FETCH; }

static enum quire_status guest_send(struct session *session, uint64_t request, const Quire__Wire__Read *message, uint64_t offset,
                                    const struct guest_wants *wants) {
    const uint8_t *record = session->core->pools[session->domain]->base + offset;
    struct flow_piece *piece;
    QUIRE_FORWARD(flow_hold(session, message->lease, message->slot, wants->n_ranges, &piece));
    for (uint32_t i = 0; i < wants->n_ranges; i++) {
        piece->tx->segments[i] = (struct link_segment){.at = record + wants->ranges[i].offset, .bytes = wants->ranges[i].size};
    }
    piece->tx->size_bytes += wants->bytes;
    if (session->core->config.domains[session->domain].rma && !recheck_create(piece, wants->ranges, wants->n_ranges)) {
        link_tx_free(piece->tx); /* and the piece */
        return QUIRE_NO_MEMORY;
    }
    net_charge(session, wants->bytes);
    flow_send(piece, request, guest_kind(message));
    return QUIRE_OK;
}

uint64_t guest_read_max_bytes(const struct core *core) { return core->config.max_session_memory_bytes / 2; }

/* PENDING: it is to be asked for again when there is room. */
static enum quire_status guest_try(struct session *session, const Quire__Wire__Read *message, uint64_t request, const char **text) {
    struct core *core = session->core;
    struct quire_wire_grant grant;
    struct guest_wants wants;
    if (!flow_has_room(session, guest_kind(message))) {
        return QUIRE_PENDING;
    }
    QUIRE_FORWARD(pager_lease_grant(core->pager, session->id, message->lease, message->slot, &grant));
    if (grant.offset == QUIRE_WIRE_AWAY) {
        *text = "the record is only on disk: LOAD it first";
        return QUIRE_MISS;
    }
    QUIRE_FORWARD(guest_wants(core, message, grant.size, &wants));
    if (!pager_lease_holds(core->pager, session->id, message->lease, message->slot, wants.ranges, wants.n_ranges)) {
        *text = "only a part of the record was loaded: read no more than that";
        return QUIRE_INVALID;
    }
    if (wants.bytes > guest_read_max_bytes(core)) {
        *text = "read at most half of max_session_memory_bytes at once";
        return QUIRE_TOO_LARGE;
    }
    return guest_send(session, request, message, grant.offset, &wants);
}

enum session_verdict guest_read(struct session *session, const struct quire_frame *frame, const uint8_t *body) {
    const char *text = NULL;
    Quire__Wire__Read *message = quire__wire__read__unpack(&session->core->arena.allocator, frame->body_bytes, body);
    if (message == NULL) {
        guest_refuse(session, frame->request_id, QUIRE_INVALID, "the READ cannot be read");
        return SESSION_DONE;
    }
    enum quire_status status = guest_try(session, message, frame->request_id, &text);
    if (status == QUIRE_PENDING) {
        return SESSION_HOLD;
    }
    if (status != QUIRE_OK) {
        guest_refuse(session, frame->request_id, status, text != NULL ? text : quire_status_text(status));
    }
    return SESSION_DONE;
}
