/* A wire: an endpoint of UCX, what goes out, and its end. */
#include "proto/ucx/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- of which port ---------------------------------------------------------------------------------------------------------------- */
static struct quire_ucx_wire **bucket_of(struct quire_ucx_port *port, const void *ep) {
    uintptr_t number = (uintptr_t)ep >> 6;
    return &port->buckets[(number ^ number >> 8) % UCX_BUCKETS];
}

struct quire_ucx_wire *ucx_wire_of(const struct quire_ucx_port *port, ucp_ep_h ep) {
    struct quire_ucx_wire *wire = *bucket_of((struct quire_ucx_port *)(uintptr_t)port, ep);
    while (wire != NULL && wire->ep != ep) {
        wire = wire->bucket_next;
    }
    return wire;
}

/* UCX may use its address anew. */
static void forget_ep(struct quire_ucx_wire *wire) {
    struct quire_ucx_wire **at = bucket_of(wire->port, wire->ep);
    while (*at != wire) {
        at = &(*at)->bucket_next;
    }
    *at = wire->bucket_next;
    wire->ep = NULL;
}

void ucx_wire_ready(struct quire_ucx_wire *wire) {
    struct quire_ucx_port *port = wire->port;
    if (!wire->is_ready) {
        wire->is_ready = true;
        wire->ready_next = NULL;
        *port->ready_tail = wire;
        port->ready_tail = &wire->ready_next;
    }
}

struct quire_ucx_wire *quire_ucx_ready(struct quire_ucx_port *port) {
    struct quire_ucx_wire *wire = port->ready;
    if (wire != NULL) {
        port->ready = wire->ready_next;
        port->ready_tail = port->ready == NULL ? &port->ready : port->ready_tail;
        wire->is_ready = false;
    }
    return wire;
}

static void forget_ready(const struct quire_ucx_wire *wire) {
    struct quire_ucx_port *port = wire->port;
    struct quire_ucx_wire **at = &port->ready;
    while (*at != NULL && *at != wire) {
        at = &(*at)->ready_next;
    }
    if (*at != NULL) {
        *at = wire->ready_next;
        port->ready_tail = wire->ready_next == NULL ? at : port->ready_tail;
    }
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */
void ucx_wire_fail(struct quire_ucx_wire *wire, enum quire_status status, const char *why) {
    if (wire->status == QUIRE_OK) {
        wire->status = status;
        snprintf(wire->why, sizeof wire->why, "%s", why);
    }
    ucx_wire_ready(wire);
}

static void on_failure(void *arg, ucp_ep_h ep, ucs_status_t status) {
    (void)ep;
    struct quire_ucx_wire *wire = arg;
    if (!wire->closing) {
        ucx_wire_fail(wire, QUIRE_DISCONNECTED, ucs_status_string(status));
    }
}

enum quire_status ucx_wire_create(struct quire_ucx_port *port, ucp_ep_params_t *params, void *user, struct quire_ucx_wire **out) {
    struct quire_ucx_wire *wire = calloc(1, sizeof *wire);
    *out = NULL;
    if (wire == NULL) {
        return QUIRE_NO_MEMORY;
    }
    wire->port = port;
    wire->user = user;
    wire->window_bytes = QUIRE_UCX_WINDOW_BYTES;
    wire->watched = -1;
    params->field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    params->err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params->err_handler = (ucp_err_handler_t){.cb = on_failure, .arg = wire};
    ucs_status_t status = ucp_ep_create(port->worker, params, &wire->ep);
    if (status != UCS_OK) {
        free(wire);
        return status == UCS_ERR_UNSUPPORTED ? QUIRE_UNSUPPORTED : QUIRE_DISCONNECTED;
    }
    struct quire_ucx_wire **bucket = bucket_of(port, wire->ep);
    wire->bucket_next = *bucket;
    *bucket = wire;
    wire->next = port->wires;
    if (wire->next != NULL) {
        wire->next->prev = wire;
    }
    port->wires = wire;
    *out = wire;
    return QUIRE_OK;
}

void quire_ucx_allow(struct quire_ucx_wire *wire, uint64_t bytes) { wire->window_bytes = bytes; }

void *quire_ucx_user(const struct quire_ucx_wire *wire) { return wire->user; }

enum quire_status quire_ucx_status(const struct quire_ucx_wire *wire, const char **why) {
    *why = wire->why;
    return wire->status;
}

/* ---- out -------------------------------------------------------------------------------------------------------------------------- */
static void post_end(struct ucx_post *post) {
    struct quire_ucx_wire *wire = post->wire;
    wire->sending--;
    ucx_wire_ready(wire);
    if (post->done != NULL) {
        post->done(post->arg);
    }
    free(post);
}

static void on_gone(void *request, ucs_status_t status, void *arg) {
    struct ucx_post *post = arg;
    struct quire_ucx_wire *wire = post->wire;
    if (status != UCS_OK && !wire->closing) {
        ucx_wire_fail(wire, QUIRE_DISCONNECTED, ucs_status_string(status));
    }
    post_end(post);
    ucp_request_free(request);
}

static struct ucx_post *post_create(struct quire_ucx_wire *wire, enum ucx_message message, const void *frames, size_t n_frames,
                                    quire_ucx_done *done, void *arg) {
    struct ucx_post *post = malloc(sizeof *post + n_frames);
    if (post != NULL) {
        *post = (struct ucx_post){
            .head = {.magic = UCX_HEAD_MAGIC, .message = message, .sequence = wire->next_out, .taken_bytes = wire->taken_bytes},
            .wire = wire,
            .done = done,
            .arg = arg};
        if (n_frames > 0) {
            memcpy(post->frames, frames, n_frames);
        }
    }
    return post;
}

/* The post is over, or with UCX. */
static enum quire_status hand_to_ucx(struct ucx_post *post, size_t n_frames, const void *bytes, size_t size) {
    struct quire_ucx_wire *wire = post->wire;
    uint32_t how = size > QUIRE_UCX_EAGER_BYTES ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER;
    /* NO_IMM_CMPL: UCX 1.13's shortest way does not count the room that heads need on lanes of shared memory, and fails the connection. */
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS |
                                                       UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
                                       .flags = UCP_AM_SEND_FLAG_REPLY | how,
                                       .cb.send = on_gone,
                                       .user_data = post};
    wire->told_bytes = wire->taken_bytes;
    wire->sending++;
    void *request = ucp_am_send_nbx(wire->ep, UCX_AM_ID, &post->head, sizeof post->head + n_frames, bytes, size, &param);
    if (UCS_PTR_IS_ERR(request)) {
        wire->sending--;
        free(post);
        ucx_wire_fail(wire, QUIRE_DISCONNECTED, ucs_status_string(UCS_PTR_STATUS(request)));
        return QUIRE_DISCONNECTED;
    }
    if (request == NULL) {
        post_end(post);
    }
    return QUIRE_OK;
}

static enum quire_status send_message(struct quire_ucx_wire *wire, enum ucx_message message, const void *frames, size_t n_frames,
                                      const void *bytes, size_t size, quire_ucx_done *done, void *arg) {
    if (wire->status != QUIRE_OK || wire->ep == NULL) {
        return wire->status != QUIRE_OK ? wire->status : QUIRE_DISCONNECTED;
    }
    uint64_t cost = ucx_cost(n_frames, size, size > QUIRE_UCX_EAGER_BYTES);
    if (!wire->stands || wire->sent_bytes + cost - wire->peer_taken_bytes > QUIRE_UCX_WINDOW_BYTES) {
        wire->wants_room = true;
        return QUIRE_PENDING;
    }
    struct ucx_post *post = post_create(wire, message, frames, n_frames, done, arg);
    if (post == NULL) {
        return QUIRE_NO_MEMORY;
    }
    wire->next_out++;
    wire->sent_bytes += cost;
    return hand_to_ucx(post, n_frames, bytes, size);
}

enum quire_status quire_ucx_send(struct quire_ucx_wire *wire, enum quire_ucx_kind kind, const void *bytes, size_t size,
                                 quire_ucx_done *done, void *arg) {
    return send_message(wire, (enum ucx_message)kind, NULL, 0, bytes, size, done, arg);
}

size_t quire_ucx_front_bytes(const struct quire_ucx_wire *wire) { return wire->port->front_bytes; }

enum quire_status quire_ucx_send_with(struct quire_ucx_wire *wire, const void *head, size_t head_bytes, const void *bulk, size_t size,
                                      quire_ucx_done *done, void *arg) {
    if (head_bytes > wire->port->front_bytes) {
        return QUIRE_TOO_LARGE;
    }
    return send_message(wire, UCX_BULK, head, head_bytes, bulk, size, done, arg);
}

/* Lost for want of memory, it goes with the next one. */
static bool post_credit(struct quire_ucx_wire *wire, quire_ucx_done *done, void *arg) {
    struct ucx_post *post = wire->status == QUIRE_OK && wire->ep != NULL ? post_create(wire, UCX_CREDIT, NULL, 0, done, arg) : NULL;
    return post != NULL && hand_to_ucx(post, 0, NULL, 0) == QUIRE_OK;
}

static void credit_gone(void *arg) {
    struct quire_ucx_wire *wire = arg;
    wire->crediting = false;
    ucx_credit(wire);
}

/* One at a time: the other end may take none. */
void ucx_credit(struct quire_ucx_wire *wire) {
    if (!wire->crediting && wire->taken_bytes - wire->told_bytes >= QUIRE_UCX_WINDOW_BYTES / 4) {
        wire->crediting = true;
        wire->crediting = post_credit(wire, credit_gone, wire) && wire->crediting;
    }
}

void ucx_greet(struct quire_ucx_wire *wire) {
    wire->asks = true;
    post_credit(wire, NULL, NULL);
}

void ucx_greeted(struct quire_ucx_wire *wire) {
    if (wire->stands) {
        return;
    }
    bool first = wire->greeted++ == 0;
    wire->stands = wire->asks || !first;
    if (first) {
        post_credit(wire, NULL, NULL);
    }
    if (wire->stands) {
        wire->wants_room = false;
        ucx_wire_ready(wire);
    }
}

uint32_t quire_ucx_sending(const struct quire_ucx_wire *wire) { return wire->sending; }

/* ---- the end ---------------------------------------------------------------------------------------------------------------------- */
void quire_ucx_close(struct quire_ucx_wire *wire) {
    if (wire->closing) {
        return;
    }
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = UCP_EP_CLOSE_FLAG_FORCE};
    ucp_ep_h ep = wire->ep;
    wire->closing = true;
    ucx_drop_arrivals(wire, false);
    forget_ep(wire);
    void *request = ucp_ep_close_nbx(ep, &param);
    wire->close_request = UCS_PTR_IS_PTR(request) ? request : NULL;
    ucx_wire_close_on(wire);
}

/* Places that are being written to, bytes that are being read, and heads are UCX's until their requests have ended. */
void ucx_wire_close_on(struct quire_ucx_wire *wire) {
    if (wire->close_request != NULL && ucp_request_check_status(wire->close_request) != UCS_INPROGRESS) {
        ucp_request_free(wire->close_request);
        wire->close_request = NULL;
    }
    if (wire->closing && !wire->closed && wire->close_request == NULL && wire->sending == 0 && !wire->receiving) {
        wire->closed = true;
        ucx_wire_ready(wire);
    }
}

bool quire_ucx_closed(const struct quire_ucx_wire *wire) { return wire->closed; }

void quire_ucx_free(struct quire_ucx_wire **handle) {
    struct quire_ucx_wire *wire = *handle;
    *handle = NULL;
    if (wire->prev != NULL) {
        wire->prev->next = wire->next;
    } else {
        wire->port->wires = wire->next;
    }
    if (wire->next != NULL) {
        wire->next->prev = wire->prev;
    }
    forget_ready(wire);
    ucx_drop_arrivals(wire, false);
    free(wire);
}
