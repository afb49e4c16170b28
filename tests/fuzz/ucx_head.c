/*
 * What comes on a UCX wire: heads of any content, messages of any size, in any order, taken as a reader would. UCX's own functions that the wire calls are
 * doubles here, which count: what was kept is given back once, and no more is kept than was allowed.
 *
 * The input is a row of messages: a byte of how it comes (bit 0: it waits at its sender; bit 1: head as it is, else magic, kind and sequence are made likely;
 * bit 2: take after it), a byte of its size in steps of 1 KiB, and a head.
 */
#include "proto/ucx/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t kept_bytes, kept;

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* ---- UCX's doubles ---- */
struct message {
    size_t bytes;
    bool waits;
    uint8_t body[];
};

void ucp_am_data_release(ucp_worker_h worker, void *body) {
    struct message *message = (struct message *)(void *)((char *)body - offsetof(struct message, body));
    (void)worker;
    kept--;
    kept_bytes -= message->waits ? 0 : message->bytes;
    free(message);
}

ucs_status_ptr_t ucp_am_send_nbx(ucp_ep_h ep, unsigned id, const void *header, size_t header_length, const void *buffer, size_t count,
                                 const ucp_request_param_t *param) {
    (void)ep, (void)id, (void)header, (void)header_length, (void)buffer, (void)count, (void)param;
    return NULL; /* sent at once */
}

ucs_status_ptr_t ucp_am_recv_data_nbx(ucp_worker_h worker, void *data_desc, void *buffer, size_t count, const ucp_request_param_t *param) {
    struct message *message = (struct message *)(void *)((char *)data_desc - offsetof(struct message, body));
    const ucp_dt_iov_t whole = {.buffer = buffer, .length = count};
    const ucp_dt_iov_t *places = param->datatype == ucp_dt_make_iov() ? buffer : &whole;
    size_t n = places == &whole ? 1 : count, bytes = 0;
    for (size_t i = 0; i < n; i++) {
        memset(places[i].buffer, 1, places[i].length);
        bytes += places[i].length;
    }
    require(message->waits && bytes == message->bytes);
    ucp_am_data_release(worker, data_desc);
    return NULL; /* here at once */
}

/* ---- a wire without an endpoint of UCX's ---- */
static void set_up(struct quire_ucx_port *port, struct quire_ucx_wire *wire) {
    static int ep;
    *port = (struct quire_ucx_port){.ready_tail = &port->ready};
    *wire = (struct quire_ucx_wire){.port = port, .ep = (ucp_ep_h)(void *)&ep, .window_bytes = QUIRE_UCX_WINDOW_BYTES, .stands = true};
    for (size_t i = 0; i < UCX_BUCKETS; i++) {
        port->buckets[i] = wire;
    }
    wire->sent_bytes = 1u << 20; /* so that some credit is good */
}

static void take(struct quire_ucx_wire *wire, uint64_t some) {
    static uint8_t place[QUIRE_UCX_BULK_BYTES];
    const uint8_t *bytes;
    size_t size;
    switch (quire_ucx_peek(wire, &bytes, &size)) {
    case QUIRE_UCX_FRAMES:
        require(size > 0 && size <= QUIRE_UCX_FRAMES_BYTES && bytes[0] == bytes[size - 1]);
        quire_ucx_take(wire, 1 + some % size);
        break;
    case QUIRE_UCX_BULK:
        require(size > 0 && size <= sizeof place);
        if (some % 2 == 0) {
            quire_ucx_drop(wire);
        } else {
            const struct iovec places[2] = {{place, 1}, {place + 1, size - 1}};
            const struct iovec whole = {place, size};
            bool two = size > 1 && size <= QUIRE_UCX_EAGER_BYTES;
            require(quire_ucx_receive(wire, two ? places : &whole, two ? 2 : 1) == QUIRE_OK);
        }
        break;
    default:
        break;
    }
}

static struct message *make(size_t bytes, bool waits) {
    struct message *message = malloc(sizeof *message + (waits ? 1 : bytes + 1));
    require(message != NULL);
    *message = (struct message){.bytes = bytes, .waits = waits};
    memset(message->body, 7, waits ? 1 : bytes);
    return message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct quire_ucx_port port;
    static struct quire_ucx_wire wire;
    set_up(&port, &wire);
    kept = kept_bytes = 0;
    for (uint64_t sequence = 0; size >= 2 + sizeof(struct ucx_head); sequence++) {
        uint8_t how = data[0];
        size_t bytes = (size_t)data[1] << 10 | (how >> 3);
        struct {
            struct ucx_head head;
            uint8_t frames[32];
        } front;
        struct ucx_head head;
        memcpy(&head, data + 2, sizeof head);
        memset(front.frames, 7, sizeof front.frames);
        if ((how & 2) == 0) {
            head.magic = UCX_HEAD_MAGIC;
            head.message = UCX_FRAMES + head.message % 3; /* one that carries, or a credit */
            head.sequence = sequence ^ (head.sequence & 1);
            head.taken_bytes %= 1u << 20;
        }
        struct message *message = make(bytes, how & 1);
        const ucp_am_recv_param_t param = {.recv_attr = UCP_AM_RECV_ATTR_FIELD_REPLY_EP |
                                                        (how & 1 ? UCP_AM_RECV_ATTR_FLAG_RNDV : UCP_AM_RECV_ATTR_FLAG_DATA),
                                           .reply_ep = wire.ep};
        kept++;
        kept_bytes += message->waits ? 0 : bytes;
        front.head = head;
        if (ucx_came(&port, &front, sizeof head + (how >> 3), message->body, bytes, &param) == UCS_OK) {
            ucp_am_data_release(NULL, message->body);
        }
        require(kept_bytes <= QUIRE_UCX_WINDOW_BYTES + QUIRE_UCX_EAGER_BYTES); /* one too many is the last */
        if (how & 4) {
            take(&wire, head.taken_bytes);
        }
        data += 2 + sizeof head;
        size -= 2 + sizeof head;
    }
    ucx_drop_arrivals(&wire, false);
    require(kept == 0);
    return 0;
}
