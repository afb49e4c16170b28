/* The way out: frames are packed once and handed to the link. */
#include "daemon/core_internal.h"

#include <stdarg.h>
#include <stdio.h>

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

void session_send_bulk(struct session *session, uint64_t request, struct link_tx *tx) {
    assert(tx->head_bytes == SESSION_BULK_HEAD_BYTES);
    if (session->state == SESSION_ENDED) {
        link_tx_free(tx);
        return;
    }
    struct quire_frame frame = {.type = QUIRE_MSG_BULK, .bulk_bytes = link_tx_bulk_bytes(tx), .request_id = request};
    quire_frame_encode(&frame, NULL, tx->bytes);
    session->core->counters.frames_out++;
    session->core->counters.bulk_bytes += frame.bulk_bytes;
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
