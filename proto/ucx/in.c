/* What comes on a wire. All of it hostile: no message is believed about its kind, its order or how much of it there may be. */
#include "proto/ucx/internal.h"

#include <stdlib.h>
#include <string.h>

static uint64_t cost_of(const struct ucx_arrival *arrival) { return ucx_cost(arrival->n_frames, arrival->size, arrival->waits); }

static void give_data_back(const struct quire_ucx_wire *wire, struct ucx_arrival *arrival) {
    if (arrival->owned) {
        ucp_am_data_release(wire->port->worker, arrival->data);
        arrival->owned = false;
    }
}

/* Where a message of this number is, or belongs. */
static struct ucx_arrival **place_of(struct quire_ucx_wire *wire, uint64_t sequence) {
    struct ucx_arrival **at = &wire->arrivals[sequence % UCX_AHEAD_BUCKETS];
    while (*at != NULL && (*at)->sequence != sequence) {
        at = &(*at)->next;
    }
    return at;
}

/* The one that is to be taken next; NULL: it has not come. */
static struct ucx_arrival *first_of(const struct quire_ucx_wire *wire) {
    return *place_of((struct quire_ucx_wire *)(uintptr_t)wire, wire->next_in);
}

static void first_taken(struct quire_ucx_wire *wire) {
    struct ucx_arrival **at = place_of(wire, wire->next_in), *first = *at;
    *at = first->next;
    wire->next_in++;
    wire->taken_bytes += cost_of(first);
    give_data_back(wire, first);
    free(first);
    ucx_credit(wire);
}

void ucx_drop_arrivals(struct quire_ucx_wire *wire, bool forked) {
    for (uint32_t bucket = 0; bucket < UCX_AHEAD_BUCKETS; bucket++) {
        for (struct ucx_arrival *arrival; (arrival = wire->arrivals[bucket]) != NULL; free(arrival)) {
            wire->arrivals[bucket] = arrival->next;
            if (wire->receiving && wire->receiving_of == arrival) {
                wire->receiving_of = NULL; /* its data is UCX's */
            }
            if (!forked) {
                give_data_back(wire, arrival);
            }
        }
    }
}

/* ---- messages ---------------------------------------------------------------------------------------------------------------------- */
static bool is_there(struct quire_ucx_wire *wire, uint64_t sequence) { return *place_of(wire, sequence) != NULL; }

static bool credit_is_sane(const struct quire_ucx_wire *wire, uint64_t taken_bytes) { return taken_bytes <= wire->sent_bytes; }

static const char *wrong_with(struct quire_ucx_wire *wire, const struct ucx_head *head, size_t n_frames, size_t length, bool waits) {
    if (head->message != UCX_FRAMES && head->message != UCX_BULK) {
        return "a message of no known kind";
    }
    if (head->sequence < wire->next_in || head->sequence - wire->next_in > UCX_AHEAD_MAX || is_there(wire, head->sequence)) {
        return "a message out of any order";
    }
    if (length == 0 || (head->message == UCX_FRAMES && (n_frames > 0 || waits || length > QUIRE_UCX_FRAMES_BYTES)) ||
        length > (waits ? QUIRE_UCX_BULK_BYTES : QUIRE_UCX_EAGER_BYTES)) {
        return "a message of a size that none has";
    }
    return NULL;
}

static void note_credit(struct quire_ucx_wire *wire, uint64_t taken_bytes) {
    if (taken_bytes > wire->peer_taken_bytes) { /* they, too, may come in another order */
        wire->peer_taken_bytes = taken_bytes;
        if (wire->wants_room) {
            wire->wants_room = false;
            ucx_wire_ready(wire);
        }
    }
}

static ucs_status_t keep(struct quire_ucx_wire *wire, const struct ucx_head *head, const uint8_t *frames, size_t n_frames, void *data,
                         size_t length, bool waits) {
    struct ucx_arrival *arrival = malloc(sizeof *arrival + n_frames);
    if (arrival == NULL) {
        ucx_wire_fail(wire, QUIRE_NO_MEMORY, "no memory for a message");
        return UCS_OK;
    }
    *arrival = (struct ucx_arrival){.message = (enum ucx_message)head->message,
                                    .sequence = head->sequence,
                                    .data = data,
                                    .size = length,
                                    .waits = waits,
                                    .owned = true,
                                    .n_frames = (uint32_t)n_frames};
    memcpy(arrival->frames, frames, n_frames);
    wire->came_bytes += cost_of(arrival);
    *place_of(wire, arrival->sequence) = arrival;
    if (wire->came_bytes - wire->taken_bytes > wire->window_bytes) {
        ucx_wire_fail(wire, QUIRE_TOO_LARGE, "it sent more than it was allowed to");
    }
    ucx_wire_ready(wire);
    return UCS_INPROGRESS; /* the data stays until it is given back */
}

ucs_status_t ucx_came(void *arg, const void *header, size_t header_length, void *data, size_t length, const ucp_am_recv_param_t *param) {
    const struct quire_ucx_port *port = arg;
    struct ucx_head head;
    bool waits = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
    struct quire_ucx_wire *wire = (param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0 ? ucx_wire_of(port, param->reply_ep) : NULL;
    if (wire == NULL || wire->status != QUIRE_OK) {
        return UCS_OK;
    }
    if (header_length < sizeof head || header_length > sizeof head + QUIRE_UCX_HEAD_BYTES) {
        ucx_wire_fail(wire, QUIRE_CORRUPT, "what came is no message of Quire's");
        return UCS_OK;
    }
    memcpy(&head, header, sizeof head);
    if (head.magic != UCX_HEAD_MAGIC || !credit_is_sane(wire, head.taken_bytes)) {
        ucx_wire_fail(wire, QUIRE_CORRUPT, "what came is no message of Quire's");
        return UCS_OK;
    }
    ucx_greeted(wire);
    note_credit(wire, head.taken_bytes);
    if (head.message == UCX_CREDIT) {
        return UCS_OK;
    }
    size_t n_frames = header_length - sizeof head;
    const char *wrong = wrong_with(wire, &head, n_frames, length, waits);
    if (wrong != NULL) {
        ucx_wire_fail(wire, QUIRE_CORRUPT, wrong);
        return UCS_OK;
    }
    return keep(wire, &head, (const uint8_t *)header + sizeof head, n_frames, data, length, waits);
}

/* ---- taking -------------------------------------------------------------------------------------------------------------------------- */
enum quire_ucx_kind quire_ucx_peek(const struct quire_ucx_wire *wire, const uint8_t **bytes, size_t *size) {
    const struct ucx_arrival *first = wire->receiving ? NULL : first_of(wire);
    if (first == NULL) {
        return QUIRE_UCX_NOTHING;
    }
    if (first->frames_at < first->n_frames) {
        *bytes = first->frames + first->frames_at;
        *size = first->n_frames - first->frames_at;
        return QUIRE_UCX_FRAMES;
    }
    *bytes = first->message == UCX_FRAMES ? (const uint8_t *)first->data + first->at : NULL;
    *size = first->size - first->at;
    return (enum quire_ucx_kind)first->message;
}

void quire_ucx_take(struct quire_ucx_wire *wire, size_t size) {
    struct ucx_arrival *first = first_of(wire);
    if (first->frames_at < first->n_frames) {
        first->frames_at += (uint32_t)size;
        return;
    }
    first->at += size;
    if (first->at == first->size) {
        first_taken(wire);
    }
}

void quire_ucx_drop(struct quire_ucx_wire *wire) {
    first_taken(wire);
    wire->received = QUIRE_OK;
}

static enum quire_status receive_here(struct quire_ucx_wire *wire, const struct iovec *places, size_t n) {
    const uint8_t *from = first_of(wire)->data;
    for (size_t i = 0; i < n; i++) {
        memcpy(places[i].iov_base, from, places[i].iov_len);
        from += places[i].iov_len;
    }
    first_taken(wire);
    wire->received = QUIRE_OK;
    return QUIRE_OK;
}

static void receive_end(struct quire_ucx_wire *wire, ucs_status_t status) {
    wire->receiving = false;
    wire->received = status == UCS_OK ? QUIRE_OK : QUIRE_DISCONNECTED;
    if (status != UCS_OK && !wire->closing) {
        ucx_wire_fail(wire, QUIRE_DISCONNECTED, ucs_status_string(status));
    }
    if (wire->receiving_of != NULL) {
        wire->receiving_of = NULL;
        first_taken(wire);
    }
    ucx_wire_ready(wire);
}

static void on_received(void *request, ucs_status_t status, size_t length, void *arg) {
    (void)length;
    receive_end(arg, status);
    ucp_request_free(request);
}

enum quire_status quire_ucx_receive(struct quire_ucx_wire *wire, const struct iovec *places, size_t n) {
    struct ucx_arrival *first = first_of(wire);
    if (!first->waits) {
        return receive_here(wire, places, n);
    }
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_DATATYPE,
                                 .cb.recv_am = on_received,
                                 .datatype = n == 1 ? ucp_dt_make_contig(1) : ucp_dt_make_iov(),
                                 .user_data = wire};
    for (size_t i = 0; n > 1 && i < n; i++) {
        wire->places[i] = (ucp_dt_iov_t){.buffer = places[i].iov_base, .length = places[i].iov_len};
    }
    wire->receiving = true;
    wire->received = QUIRE_PENDING;
    wire->receiving_of = first;
    first->owned = false; /* from here on it is UCX's */
    void *request = ucp_am_recv_data_nbx(wire->port->worker, first->data, n == 1 ? places[0].iov_base : (void *)wire->places,
                                         n == 1 ? places[0].iov_len : n, &param);
    if (!UCS_PTR_IS_PTR(request)) {
        receive_end(wire, UCS_PTR_STATUS(request));
    }
    return wire->received;
}

bool quire_ucx_receiving(const struct quire_ucx_wire *wire) { return wire->receiving; }

enum quire_status quire_ucx_received(struct quire_ucx_wire *wire) { return wire->received; }
