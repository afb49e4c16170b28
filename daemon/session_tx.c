/* The way out: frames are packed once and handed to the link. */
#include "daemon/core_internal.h"

#include <stdarg.h>
#include <stdio.h>

struct link_tx *session_bulk_create(uint64_t bulk_bytes, uint8_t **bulk) {
    struct link_tx *tx = link_tx_create(QUIRE_FRAME_BYTES + SESSION_BULK_BODY_BYTES + bulk_bytes);
    *bulk = tx != NULL ? tx->bytes + QUIRE_FRAME_BYTES + SESSION_BULK_BODY_BYTES : NULL;
    return tx;
}

void session_send(struct session *session, enum quire_msg type, uint64_t request, const ProtobufCMessage *body, const int *fds,
                  uint32_t n_fds) {
    if (session->state == SESSION_ENDED) {
        return;
    }
    size_t body_bytes = body != NULL ? protobuf_c_message_get_packed_size(body) : 0;
    struct arena *arena = &session->core->arena;
    size_t mark = arena->used_bytes;
    uint8_t *bytes = body_bytes <= QUIRE_BODY_MAX ? arena_alloc(arena, QUIRE_FRAME_BYTES + body_bytes) : NULL;
    if (bytes == NULL) {
        session_fail(session, request, QUIRE_TOO_LARGE, 0, "the answer has %zu bytes, more than a frame may hold: ask for less",
                     body_bytes);
        return;
    }
    if (body != NULL) {
        protobuf_c_message_pack(body, bytes + QUIRE_FRAME_BYTES);
    }
    struct quire_frame frame = {.type = (uint16_t)type, .body_bytes = (uint32_t)body_bytes, .request_id = request};
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    session->core->counters.frames_out++;
    session->link->ops->send(session->link, bytes, QUIRE_FRAME_BYTES + body_bytes, fds, n_fds);
    arena->used_bytes = mark;
}

void session_send_bulk(struct session *session, uint64_t request, struct link_tx *tx, uint64_t bulk_bytes) {
    /* Bulk{status: OK} would be empty; a field that readers skip keeps the body's length fixed, so that the bulk bytes can be copied
       into place before the outcome is known. Field 15, a four-byte varint padded with continuation bits. */
    static const uint8_t body[SESSION_BULK_BODY_BYTES] = {0x78, 0x80, 0x80, 0x00};
    if (session->state == SESSION_ENDED) {
        link_tx_free(tx);
        return;
    }
    memcpy(tx->bytes + QUIRE_FRAME_BYTES, body, sizeof body);
    struct quire_frame frame = {
        .type = QUIRE_MSG_BULK, .body_bytes = SESSION_BULK_BODY_BYTES, .bulk_bytes = bulk_bytes, .request_id = request};
    quire_frame_encode(&frame, body, tx->bytes);
    session->core->counters.frames_out++;
    session->core->counters.bulk_bytes += bulk_bytes;
    session->link->ops->send_bulk(session->link, tx);
}

void session_fail(struct session *session, uint64_t request, enum quire_status status, uint32_t retry_after_ms, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    Quire__Wire__Error error = QUIRE__WIRE__ERROR__INIT;
    error.status = status;
    error.text = text;
    error.retry_after_ms = retry_after_ms;
    session->core->counters.requests_failed++;
    session_send(session, QUIRE_MSG_ERROR, request, &error.base, NULL, 0);
}
