/* Ingest windows as sessions see them: INGEST_GET, INGEST_RETURN and the notice INGEST_RECALL. */
#include "daemon/core_internal.h"

#include "proto/status.h"

/* How much later than the recall a window is taken from a holder that does not give it back: as long again as it may idle, or while somebody
   waits for memory a quarter of a second. */
#define INGEST_WANTED_NS (250 * QUIRE_NS_PER_MS)

struct ingest_limits ingest_limits_of(const struct config *config) {
    uint64_t idle_ns = quire_max_u64(config->ingest_idle_ms, 1) * QUIRE_NS_PER_MS;
    return (struct ingest_limits){.budget_bytes = config->ingest_bytes,
                                  .window_bytes = config->ingest_window_bytes,
                                  .idle_ns = idle_ns,
                                  .grace_ns = idle_ns,
                                  .wanted_ns = INGEST_WANTED_NS};
}

static const char *ingest_request_text(enum quire_status status) {
    switch (status) {
    case QUIRE_OK:
        return "";
    case QUIRE_DENIED:
        return "the token may not write: only who stores is lent memory for it";
    case QUIRE_TOO_LARGE:
        return "the session holds as much ingest memory as one may (ingest_window_bytes): give a window back first";
    case QUIRE_RETRY:
    case QUIRE_TIMEOUT:
        return "all ingest memory (ingest_bytes) is lent to other sessions";
    default:
        return quire_status_text(status);
    }
}

static void ingest_request_answer(void *owner, uint64_t request, enum quire_status status, struct ingest_window *window) {
    struct session *session = owner;
    Quire__Wire__IngestAck ack = QUIRE__WIRE__INGEST_ACK__INIT;
    ack.status = status;
    ack.text = (char *)ingest_request_text(status);
    ack.retry_after_ms = status == QUIRE_RETRY || status == QUIRE_TIMEOUT ? 50 : 0;
    if (window != NULL) {
        ack.window = window->number;
        ack.bytes = window->bytes;
    } else {
        session->core->counters.requests_failed++;
    }
    bool passed = window != NULL && session->remote == NULL; /* over a wire its bytes come behind the PUT */
    session_send(session, QUIRE_MSG_INGEST_ACK, request, &ack.base, passed ? &window->fd : NULL, passed ? 1 : 0);
}

/* The body is an IngestReturn: it names the window. */
static void ingest_request_recall(void *owner, const struct ingest_window *window) {
    struct session *session = owner;
    Quire__Wire__IngestReturn recall = QUIRE__WIRE__INGEST_RETURN__INIT;
    recall.window = window->number;
    session_send(session, QUIRE_MSG_INGEST_RECALL, 0, &recall.base, NULL, 0);
}

const struct ingest_ops ingest_session_ops = {.answer = ingest_request_answer, .recall = ingest_request_recall};

enum session_verdict ingest_request_get(struct session *session, const struct quire_frame *frame, const uint8_t *body) {
    struct core *core = session->core;
    Quire__Wire__IngestGet *get = quire__wire__ingest_get__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (get == NULL) {
        session_fail(session, frame->request_id, QUIRE_INVALID, 0, "the INGEST_GET cannot be read");
        return SESSION_DONE;
    }
    struct ingest_window *window = NULL;
    if (session->remote != NULL && (session->remote->token.rights & TOKEN_WRITE) == 0) {
        ingest_request_answer(session, frame->request_id, QUIRE_DENIED, NULL);
        return SESSION_DONE;
    }
    uint64_t deadline_ns = core->now_ns + quire_min_u64(get->deadline_ms, CORE_MAX_DEADLINE_MS) * QUIRE_NS_PER_MS;
    enum quire_status status = ingest_get(core->ingest, session, frame->request_id, get->bytes, core->now_ns, deadline_ns, &window);
    if (status != QUIRE_PENDING) {
        ingest_request_answer(session, frame->request_id, status, window);
    }
    return SESSION_DONE;
}

enum session_verdict ingest_request_return(struct session *session, const struct quire_frame *frame, const uint8_t *body) {
    struct core *core = session->core;
    Quire__Wire__IngestReturn *message = quire__wire__ingest_return__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (message == NULL) {
        session_fail(session, frame->request_id, QUIRE_INVALID, 0, "the INGEST_RETURN cannot be read");
    } else {
        ingest_return(core->ingest, session, message->window); /* it may have been taken back just before */
    }
    return SESSION_DONE;
}
