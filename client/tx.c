/* Outgoing frames: packed into one buffer, sent without blocking; what the transport does not take waits for it. */
#include "client/internal.h"

#include <stdlib.h>

#define TX_LONG_BYTES (16u << 10)
#define TX_AHEAD_BYTES (1u << 10)

/* Raw bytes that go out when so many bytes of frames have gone. */
struct tx_bulk {
    struct tx_bulk *next;
    const struct chunk *chunk; /* whose they are */
    uint64_t after_bytes;
    struct tx_run run; /* what is left of them */
};

bool tx_waits(const struct conn *conn) { return conn->tx_start < conn->tx_end || conn->bulks != NULL; }

bool tx_bulk_waits(const struct conn *conn, const struct chunk *chunk) {
    const struct tx_bulk *bulk = conn->bulks;
    while (bulk != NULL && bulk->chunk != chunk) {
        bulk = bulk->next;
    }
    return bulk != NULL;
}

void tx_bulk_keep(struct conn *conn, const struct chunk *chunk) {
    for (struct tx_bulk *bulk = conn->bulks; bulk != NULL; bulk = bulk->next) {
        if (bulk->chunk == chunk && bulk->run.spare != NULL) {
            memcpy(bulk->run.spare, bulk->run.bytes, bulk->run.size);
            bulk->run = (struct tx_run){.bytes = bulk->run.spare, .size = bulk->run.size};
        }
    }
}

bool tx_full(const quire_client *client) {
    const struct conn *conn = &client->conn;
    return conn->tx_end - conn->tx_start + conn->bulks_bytes > TX_BACKLOG_MAX;
}

static void free_bulks(struct tx_bulk *bulks) {
    while (bulks != NULL) {
        struct tx_bulk *bulk = bulks;
        bulks = bulk->next;
        free(bulk);
    }
}

void tx_drop(struct conn *conn) {
    free_bulks(conn->bulks);
    conn->bulks = NULL;
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

/* In order. NULL: no memory. */
static struct tx_bulk *make_bulks(const struct chunk *chunk, const struct tx_run *runs, uint32_t n) {
    struct tx_bulk *bulks = NULL;
    for (uint32_t i = n; i-- > 0;) {
        struct tx_bulk *bulk = malloc(sizeof(*bulk));
        if (bulk == NULL) {
            free_bulks(bulks);
            return NULL;
        }
        *bulk = (struct tx_bulk){.next = bulks, .chunk = chunk, .run = runs[i]};
        bulks = bulk;
    }
    return bulks;
}

static void append_bulks(struct conn *conn, struct tx_bulk *bulks) {
    struct tx_bulk **end = &conn->bulks;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = bulks;
    for (struct tx_bulk *bulk = bulks; bulk != NULL; bulk = bulk->next) {
        bulk->after_bytes = conn->tx_sent_bytes + (conn->tx_end - conn->tx_start);
        conn->bulks_bytes += bulk->run.size;
    }
}

enum quire_status tx_frame_bulk(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body,
                                const struct chunk *chunk, const struct tx_run *runs, uint32_t n_runs) {
    struct conn *conn = &client->conn;
    size_t body_bytes = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
    if (body_bytes > QUIRE_BODY_MAX) {
        return QUIRE_TOO_LARGE;
    }
    struct tx_bulk *behind = make_bulks(chunk, runs, n_runs);
    if ((n_runs > 0 && behind == NULL) || !reserve(conn, QUIRE_FRAME_BYTES + body_bytes)) {
        free_bulks(behind);
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
    for (uint32_t i = 0; i < n_runs; i++) {
        frame.bulk_bytes += runs[i].size;
    }
    quire_frame_encode(&frame, at + QUIRE_FRAME_BYTES, at);
    conn->tx_end += QUIRE_FRAME_BYTES + body_bytes;
    append_bulks(conn, behind);
    return QUIRE_OK;
}

enum quire_status tx_frame(quire_client *client, enum quire_msg type, uint64_t request_id, const ProtobufCMessage *body) {
    return tx_frame_bulk(client, type, request_id, body, NULL, NULL, 0);
}

/* What goes out next: raw bytes whose frame has gone, or frames up to the next raw bytes. */
static size_t next_bytes(const struct conn *conn, const uint8_t **bytes, bool *is_bulk) {
    const struct tx_bulk *bulk = conn->bulks;
    if (bulk != NULL && bulk->after_bytes == conn->tx_sent_bytes) {
        *bytes = bulk->run.bytes;
        *is_bulk = true;
        return bulk->run.size;
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
    bulk->run.bytes += bytes;
    bulk->run.spare = bulk->run.spare != NULL ? bulk->run.spare + bytes : NULL;
    bulk->run.size -= bytes;
    conn->bulks_bytes -= bytes;
    if (bulk->run.size == 0) {
        conn->bulks = bulk->next;
        free(bulk);
    }
}

/* Frames, or raw bytes; where the transport takes these apart, the frame before them goes in the same call. */
static enum quire_status send_next(struct conn *conn, char why[JOB_TEXT_BYTES]) {
    const struct transport_ops *ops = conn->transport->ops;
    const struct transport_why to = {why, JOB_TEXT_BYTES};
    const uint8_t *bytes, *raw;
    size_t sent = 0, n_front = 0;
    bool bulk = false;
    size_t size = next_bytes(conn, &bytes, &bulk);
    if (ops->send_bulk == NULL) {
        QUIRE_FORWARD(ops->send(conn->transport, bytes, size, &sent, to));
        note_sent(conn, sent);
        return QUIRE_OK;
    }
    raw = bytes;
    if (!bulk && conn->bulks != NULL && size <= conn->transport->front_bytes) {
        n_front = size;
        raw = conn->bulks->run.bytes;
        size = conn->bulks->run.size;
        bulk = true;
    }
    QUIRE_FORWARD(bulk ? ops->send_bulk(conn->transport, bytes, n_front, raw, size, &sent, to)
                       : ops->send(conn->transport, bytes, size, &sent, to));
    if (n_front > 0) {
        note_sent(conn, n_front);
    }
    note_sent(conn, sent);
    return QUIRE_OK;
}

void tx_flush(quire_client *client) {
    struct conn *conn = &client->conn;
    while (conn->transport != NULL && tx_waits(conn)) {
        char why[JOB_TEXT_BYTES] = "";
        enum quire_status status = send_next(conn, why);
        if (status == QUIRE_PENDING) {
            progress_kick(client); /* the leader is to poll for writability */
            return;
        }
        if (status != QUIRE_OK) {
            conn_down(client, status, "%s", why);
            return;
        }
    }
    if (conn->tx_capacity > (1u << 20) && !tx_waits(conn)) {
        free(conn->tx); /* an idle connection holds little */
        conn->tx = NULL;
        conn->tx_start = conn->tx_end = conn->tx_capacity = 0;
    }
}
