/* Incoming bytes: frames to whom they concern, raw bulk bytes to where they belong. All hostile. */
#include "client/internal.h"

#include <stdlib.h>

/* Its memory is free when it is answered: not before the last of its bytes went out, nor while the transport still reads them. */
static bool too_early(quire_client *client, const struct request *request) {
    const struct chunk *chunk = request->chunk;
    if (chunk == NULL) {
        return false;
    }
    if (tx_bulk_waits(&client->conn, chunk)) {
        conn_down(client, QUIRE_CORRUPT, "quired answered a put whose bytes it does not have yet");
        return true;
    }
    store_let_go(client, chunk);
    return false;
}

static void on_error(quire_client *client, uint64_t id, const uint8_t *body, size_t size) {
    Quire__Wire__Error *error = quire__wire__error__unpack(NULL, size, body);
    if (error == NULL) {
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed error");
        return;
    }
    enum quire_status status = status_from_wire(error->status);
    status = status == QUIRE_OK ? QUIRE_INTERNAL : status;
    struct request *request = request_find(client, id);
    if (id == 0 || client->conn.state == CONN_HELLO) {
        conn_down(client, status, "quired: %.150s", error->text);
    } else if (request != NULL && !too_early(client, request)) {
        struct request was = *request;
        request_free(client, request);
        if (was.chunk != NULL) {
            store_on_error(client, was.chunk, status, error->retry_after_ms);
        } else if (was.type == QUIRE_MSG_LOAD) {
            load_on_error(client, was.job, status, error->retry_after_ms);
        } else if (was.type == QUIRE_MSG_INGEST_GET) {
            ingest_on_error(client, status, error->retry_after_ms, error->text);
        } else if (was.job != NULL) {
            if (was.job->kind == JOB_LOOKUP) {
                was.job->u.lookup.result->retry_after_ms = error->retry_after_ms;
            }
            job_finish(client, was.job, status, "quired: %.150s", error->text);
        } else if (was.type == QUIRE_MSG_NS_OPEN) {
            if (was.ns != NULL) {
                ns_refused(was.ns, status, error->text); /* its handle stays unknown: calls on it say so */
            }
            conn_on_ns_reopened(client);
        }
    }
    quire__wire__error__free_unpacked(error, NULL);
}

/* ---- answers -------------------------------------------------------------------------------------------------------------- */
typedef void take_fn(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body);

static void take_grants(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    lookup_on_grants(client, request->job, body, frame->body_bytes);
}
static void take_loaded(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    load_on_grants(client, request->job, body, frame->body_bytes);
}
static void take_stored(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    store_on_acks(client, request->chunk, body, frame->body_bytes);
}
static void take_keys(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    keys_on_acks(client, request->job, body, frame->body_bytes);
}
static void take_ns(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    ns_on_ack(client, request->job, request->ns, body, frame->body_bytes);
}
static void take_bulk(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    copies_on_bulk(client, request->slice, frame, body);
}
static void take_window(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    (void)request;
    ingest_on_ack(client, body, frame->body_bytes);
}
static void take_admin(quire_client *client, const struct request *request, const struct quire_frame *frame, const uint8_t *body) {
    admin_on_reply(client, request->job, body, frame->body_bytes);
}

static const struct answer {
    enum quire_msg asked, with;
    take_fn *take;
} answers[] = {
    {QUIRE_MSG_LEASE, QUIRE_MSG_GRANTS, take_grants},
    {QUIRE_MSG_LOAD, QUIRE_MSG_GRANTS, take_loaded},
    {QUIRE_MSG_PUT, QUIRE_MSG_ACKS, take_stored},
    {QUIRE_MSG_KEYS, QUIRE_MSG_ACKS, take_keys},
    {QUIRE_MSG_NS_OPEN, QUIRE_MSG_NS_ACK, take_ns},
    {QUIRE_MSG_READ, QUIRE_MSG_BULK, take_bulk},
    {QUIRE_MSG_INGEST_GET, QUIRE_MSG_INGEST_ACK, take_window},
    {QUIRE_MSG_ADMIN, QUIRE_MSG_ADMIN_REPLY, take_admin},
};

/* To the request that it belongs to: that must have asked for such a thing, else the daemon is not to be trusted any further. */
static void on_answer(quire_client *client, const struct quire_frame *frame, const uint8_t *body) {
    struct request *request = request_find(client, frame->request_id), was;
    bool known = false;
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(answers); i++) {
        if (answers[i].with != frame->type) {
            continue;
        }
        known = true;
        if (request != NULL && answers[i].asked == request->type) {
            if (too_early(client, request)) {
                return;
            }
            was = *request;
            request_free(client, request);
            answers[i].take(client, &was, frame, body);
            return;
        }
    }
    if (request != NULL && known) {
        conn_down(client, QUIRE_CORRUPT, "quired answered a request with the wrong message");
    } else if (frame->type == QUIRE_MSG_GRANTS) {
        lookup_on_late_grants(client, body, frame->body_bytes); /* the job gave up, the lease stands */
    }
}

static void dispatch(quire_client *client, const struct quire_frame *frame, const uint8_t *body) {
    switch (frame->type) {
    case QUIRE_MSG_CHALLENGE:
        conn_on_challenge(client, body, frame->body_bytes);
        break;
    case QUIRE_MSG_HELLO_ACK:
        conn_on_hello(client, body, frame->body_bytes);
        break;
    case QUIRE_MSG_ERROR:
        on_error(client, frame->request_id, body, frame->body_bytes);
        break;
    case QUIRE_MSG_INGEST_RECALL:
        client->window_recalled = client->window != NULL;
        ingest_settle(client);
        break;
    case QUIRE_MSG_GOODBYE:
        conn_down(client, QUIRE_DISCONNECTED, "quired is stopping, or ended this session");
        break;
    case QUIRE_MSG_PONG:
        break; /* that something came is all it says */
    default:
        on_answer(client, frame, body); /* or a newer daemon's notice */
        break;
    }
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------------- */
static void end_of_bulk(quire_client *client) {
    struct conn *conn = &client->conn;
    struct slice *slice = conn->bulk.slice;
    conn->bulk = (struct bulk){0};
    if (slice != NULL) {
        copies_on_bulk_end(client, slice);
    }
}

static void take_bytes(quire_client *client, const uint8_t *bytes, size_t size) {
    struct conn *conn = &client->conn;
    uint64_t serial = conn->serial;
    while (size > 0 && conn->state != CONN_DOWN && conn->serial == serial) {
        size_t used = 0;
        if (conn->bulk_left > 0) {
            used = (size_t)quire_min_u64(size, conn->bulk_left);
            if (conn->bulk.slice != NULL) {
                copies_on_bulk_bytes(&conn->bulk, bytes, used);
            }
            conn->bulk_left -= used;
            if (conn->bulk_left == 0) {
                end_of_bulk(client);
            }
        } else {
            enum quire_status status = quire_decoder_feed(&conn->decoder, bytes, size, &used);
            if (status != QUIRE_OK && status != QUIRE_PENDING) {
                conn_down(client, status == QUIRE_VERSION ? QUIRE_VERSION : QUIRE_CORRUPT, "quired sent a malformed frame");
                return;
            }
            if (status == QUIRE_OK) {
                struct quire_frame frame = conn->decoder.frame;
                conn->bulk_left = frame.bulk_bytes;
                dispatch(client, &frame, quire_decoder_body(&conn->decoder));
                if (conn->state == CONN_DOWN || conn->serial != serial) {
                    return;
                }
                quire_decoder_next(&conn->decoder);
            }
        }
        bytes += used;
        size -= used;
    }
}

/* Where the next bytes go: a long run is received where it belongs, all else by way of the buffer. */
static uint8_t *next_place(struct conn *conn, size_t *size) {
    struct iovec place;
    bool has_place = conn->bulk_left > 0 && copies_bulk_places(&conn->bulk, &place, 1) == 1 && place.iov_len >= RX_DIRECT_BYTES;
    *size = has_place ? place.iov_len : RX_BUFFER_BYTES;
    return has_place ? place.iov_base : conn->rx;
}

static void take_at_place(quire_client *client, size_t size) {
    struct conn *conn = &client->conn;
    copies_on_bulk_placed(&conn->bulk, size);
    conn->bulk_left -= size;
    if (conn->bulk_left == 0) {
        end_of_bulk(client);
    }
}

/* What moves bulk bytes apart from the stream is given their places. */
static enum quire_status read_bulk(quire_client *client, struct transport_why why) {
    struct conn *conn = &client->conn;
    struct iovec places[TRANSPORT_PLACES_MAX];
    size_t n = conn->bulk.slice != NULL ? copies_bulk_places(&conn->bulk, places, QUIRE_ARRAY_LEN(places)) : 0, got = 0;
    QUIRE_FORWARD(conn->transport->ops->receive_bulk(conn->transport, places, n, conn->bulk_left, &got, why));
    conn->heartbeat.heard = true;
    if (conn->bulk.slice != NULL) {
        copies_on_bulk_placed(&conn->bulk, got);
    }
    conn->bulk_left -= got;
    if (conn->bulk_left == 0) {
        end_of_bulk(client);
    }
    return QUIRE_OK;
}

static enum quire_status read_some(quire_client *client, bool *all, struct transport_why why) {
    struct conn *conn = &client->conn;
    if (conn->bulk_left > 0 && conn->transport->ops->receive_bulk != NULL) {
        return read_bulk(client, why);
    }
    size_t size, got = 0;
    uint8_t *place = next_place(conn, &size);
    QUIRE_FORWARD(conn->transport->ops->receive(conn->transport, place, size, &got, why));
    *all = got < size && !conn->transport->more;
    conn->heartbeat.heard = true;
    if (place == conn->rx) {
        take_bytes(client, place, got);
    } else {
        take_at_place(client, got);
    }
    return QUIRE_OK;
}

void rx_read(quire_client *client) {
    struct conn *conn = &client->conn;
    uint64_t serial = conn->serial;
    bool all = false; /* that was there; more makes the transport readable again */
    for (int reads = 0; reads < RX_READS_MAX && !all && conn->transport != NULL && conn->serial == serial; reads++) {
        char why[JOB_TEXT_BYTES] = "";
        enum quire_status status = read_some(client, &all, (struct transport_why){why, sizeof(why)});
        if (status == QUIRE_PENDING) {
            conn->heartbeat.heard = conn->heartbeat.heard || conn->transport->moved;
            conn->transport->moved = false;
            return;
        }
        if (status != QUIRE_OK) {
            conn_down(client, status, "%s", why);
            return;
        }
    }
}
