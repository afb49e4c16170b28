/* Outgoing frames: packed into one buffer, sent without blocking; what the transport does not take waits for it. */
#include "client/internal.h"

#include <stdlib.h>

#define TX_LONG_BYTES (16u << 10)
#define TX_AHEAD_BYTES (1u << 10)

/* Raw bytes that go out when so many bytes of frames have gone. */
struct tx_bulk {
    struct tx_bulk *next;
    uint64_t after_bytes;
    const uint8_t *bytes;
    uint64_t left_bytes;
};

bool tx_waits(const struct conn *conn) { return conn->tx_start < conn->tx_end || conn->bulks != NULL; }

bool tx_bulk_waits(const struct conn *conn, const uint8_t *from, uint64_t bytes) {
    const struct tx_bulk *bulk = conn->bulks;
    while (bulk != NULL && !(bulk->bytes >= from && bulk->bytes < from + bytes)) {
        bulk = bulk->next;
    }
    return bulk != NULL;
}

bool tx_full(const quire_client *client) {
    const struct conn *conn = &client->conn;
    return conn->tx_end - conn->tx_start + conn->bulks_bytes > TX_BACKLOG_MAX;
}

void tx_drop(struct conn *conn) {
    while (conn->bulks != NULL) {
        struct tx_bulk *bulk = conn->bulks;
        conn->bulks = bulk->next;
        free(bulk);
    }
    free(conn->tx);
    conn->tx = NULL;
    conn->tx_start = conn->tx_end = conn->tx_capacity = 0;
    conn->bulks_bytes = conn->tx_sent_bytes = 0;
}

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

enum quire_status tx_frame_bulk(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body,
                                const uint8_t *bulk, uint64_t bulk_bytes) {
    struct conn *conn = &client->conn;
    size_t body_bytes = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
    if (body_bytes > QUIRE_BODY_MAX) {
        return QUIRE_TOO_LARGE;
    }
    struct tx_bulk *behind = bulk_bytes > 0 ? malloc(sizeof(*behind)) : NULL;
    if ((bulk_bytes > 0 && behind == NULL) || !reserve(conn, QUIRE_FRAME_BYTES + body_bytes)) {
        free(behind);
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
        .bulk_bytes = bulk_bytes,
        .request_id = request_id,
    };
    quire_frame_encode(&frame, at + QUIRE_FRAME_BYTES, at);
    conn->tx_end += QUIRE_FRAME_BYTES + body_bytes;
    if (behind != NULL) {
        uint64_t after_bytes = conn->tx_sent_bytes + (conn->tx_end - conn->tx_start);
        *behind = (struct tx_bulk){.after_bytes = after_bytes, .bytes = bulk, .left_bytes = bulk_bytes};
        struct tx_bulk **end = &conn->bulks;
        while (*end != NULL) {
            end = &(*end)->next;
        }
        *end = behind;
        conn->bulks_bytes += bulk_bytes;
    }
    return QUIRE_OK;
}

enum quire_status tx_frame(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body) {
    return tx_frame_bulk(client, type, request_id, body, NULL, 0);
}

/* What goes out next: raw bytes whose frame has gone, or frames up to the next raw bytes. */
static size_t next_bytes(const struct conn *conn, const uint8_t **bytes, bool *is_bulk) {
    const struct tx_bulk *bulk = conn->bulks;
    if (bulk != NULL && bulk->after_bytes == conn->tx_sent_bytes) {
        *bytes = bulk->bytes;
        *is_bulk = true;
        return bulk->left_bytes;
    }
    size_t size = conn->tx_end - conn->tx_start;
    *bytes = conn->tx + conn->tx_start;
    if (bulk != NULL) {
        return (size_t)quire_min_u64(size, bulk->after_bytes - conn->tx_sent_bytes);
    }
    /* A long request's first bytes go ahead: the daemon wakes while the kernel still copies the rest. */
    return conn->tx_start == 0 && size >= TX_LONG_BYTES ? TX_AHEAD_BYTES : size;
}

static void note_sent(struct conn *conn, size_t bytes) {
    struct tx_bulk *bulk = conn->bulks;
    conn->heartbeat.moved = true;
    if (bulk == NULL || bulk->after_bytes != conn->tx_sent_bytes) {
        conn->tx_start += bytes;
        conn->tx_sent_bytes += bytes;
        return;
    }
    bulk->bytes += bytes;
    bulk->left_bytes -= bytes;
    conn->bulks_bytes -= bytes;
    if (bulk->left_bytes == 0) {
        conn->bulks = bulk->next;
        free(bulk);
    }
}

void tx_flush(quire_client *client) {
    struct conn *conn = &client->conn;
    while (conn->transport != NULL && tx_waits(conn)) {
        char why[JOB_TEXT_BYTES] = "";
        const uint8_t *bytes;
        size_t sent = 0;
        bool bulk = false;
        size_t size = next_bytes(conn, &bytes, &bulk);
        const struct transport_ops *ops = conn->transport->ops;
        enum quire_status status = (bulk && ops->send_bulk != NULL ? ops->send_bulk : ops->send)(conn->transport, bytes, size, &sent,
                                                                                                 (struct transport_why){why, sizeof(why)});
        if (status == QUIRE_PENDING) {
            progress_kick(client); /* the leader is to poll for writability */
            return;
        }
        if (status != QUIRE_OK) {
            conn_down(client, status, "%s", why);
            return;
        }
        note_sent(conn, sent);
    }
    if (conn->tx_capacity > (1u << 20) && !tx_waits(conn)) {
        free(conn->tx); /* an idle connection holds little */
        conn->tx = NULL;
        conn->tx_start = conn->tx_end = conn->tx_capacity = 0;
    }
}
