/* Outgoing frames: packed into one buffer, sent without blocking; what the transport does not take waits for it. */
#include "client/internal.h"

#include <stdlib.h>

#define TX_LONG_BYTES (16u << 10)
#define TX_AHEAD_BYTES (1u << 10)

bool tx_full(const quire_client *client) { return client->conn.tx_end - client->conn.tx_start > TX_BACKLOG_MAX; }

static bool reserve(struct conn *conn, size_t bytes) {
    if (conn->tx_start == conn->tx_end) {
        conn->tx_start = conn->tx_end = 0;
    }
    if (conn->tx_capacity - conn->tx_end >= bytes) {
        return true;
    }
    if (conn->tx_start > 0) {
        memmove(conn->tx, conn->tx + conn->tx_start, conn->tx_end - conn->tx_start);
        conn->tx_end -= conn->tx_start;
        conn->tx_start = 0;
    }
    if (conn->tx_capacity - conn->tx_end >= bytes) {
        return true;
    }
    size_t wanted = quire_align_up(conn->tx_end + bytes, 64u << 10);
    uint8_t *grown = realloc(conn->tx, wanted);
    if (grown == NULL) {
        return false;
    }
    conn->tx = grown;
    conn->tx_capacity = wanted;
    return true;
}

enum quire_status tx_frame(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body) {
    struct conn *conn = &client->conn;
    size_t body_bytes = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
    if (body_bytes > QUIRE_BODY_MAX) {
        return QUIRE_TOO_LARGE;
    }
    if (!reserve(conn, QUIRE_FRAME_BYTES + body_bytes)) {
        return QUIRE_NO_MEMORY;
    }
    uint8_t *at = conn->tx + conn->tx_end;
    if (body != NULL) {
        protobuf_c_message_pack(body, at + QUIRE_FRAME_BYTES);
    }
    struct quire_frame frame = {
        .major = QUIRE_PROTO_MAJOR,
        .minor = QUIRE_PROTO_MINOR,
        .type = (uint16_t)type,
        .body_bytes = (uint32_t)body_bytes,
        .request_id = request_id,
    };
    quire_frame_encode(&frame, at + QUIRE_FRAME_BYTES, at);
    conn->tx_end += QUIRE_FRAME_BYTES + body_bytes;
    return QUIRE_OK;
}

void tx_flush(quire_client *client) {
    struct conn *conn = &client->conn;
    while (conn->transport != NULL && conn->tx_start < conn->tx_end) {
        size_t bytes = conn->tx_end - conn->tx_start;
        /* A long request's first bytes go ahead: the daemon wakes while the kernel still copies the rest. */
        bytes = conn->tx_start == 0 && bytes >= TX_LONG_BYTES ? TX_AHEAD_BYTES : bytes;
        char why[JOB_TEXT_BYTES] = "";
        size_t sent = 0;
        enum quire_status status = conn->transport->ops->send(conn->transport, conn->tx + conn->tx_start, bytes, &sent,
                                                              (struct transport_why){why, sizeof(why)});
        if (status == QUIRE_PENDING) {
            progress_kick(client); /* the leader is to poll for writability */
            return;
        }
        if (status != QUIRE_OK) {
            conn_down(client, status, "%s", why);
            return;
        }
        conn->tx_start += sent;
    }
    if (conn->tx_capacity > (1u << 20) && conn->tx_start == conn->tx_end) {
        free(conn->tx); /* an idle connection holds little */
        conn->tx = NULL;
        conn->tx_start = conn->tx_end = conn->tx_capacity = 0;
    }
}
