/*
 * Administration: who may ask for what, and the way there and back. The same answers serve quirectl, the metrics page and tests.
 *
 * Guests see the status; members what their domain holds; the daemon's own user and root may also change things and see everything.
 */
#include "daemon/admin.h"

#include "daemon/net/remote_link.h"
#include "proto/status.h"

#include <stdio.h>

#define ADMIN_NOTE_BYTES 1024 /* of a full answer, for the rest of it */

bool admin_is_operator(const struct admin_call *call) { return call->session == NULL || call->session->admin; }

bool admin_sees(const struct admin_call *call, uint32_t domain) {
    return admin_is_operator(call) || (call->session->member && call->session->domain == domain);
}

ProtobufCBinaryData admin_bytes(const struct admin_call *call, const void *bytes, size_t size) {
    uint8_t *copy = arena_alloc(call->arena, size);
    if (copy == NULL) {
        return (ProtobufCBinaryData){0};
    }
    memcpy(copy, bytes, size);
    return (ProtobufCBinaryData){.len = size, .data = copy};
}

char *admin_text(const struct admin_call *call, const char *text) { return arena_printf(call->arena, "%s", text); }

bool admin_fits(const struct admin_call *call, const ProtobufCMessage *item, size_t *used) {
    *used += protobuf_c_message_get_packed_size(item) + 8; /* its tag and length */
    if (call->session == NULL || *used <= QUIRE_BODY_MAX - ADMIN_NOTE_BYTES) {
        return true;
    }
    call->reply->text = admin_text(call, "there are more than one answer holds: this list is cut short");
    return false;
}

enum admin_right { ADMIN_FOR_ALL, ADMIN_FOR_MEMBERS, ADMIN_FOR_OPERATORS };
static const struct admin_verb {
    enum quire_status (*fn)(const struct admin_call *call);
    enum admin_right right;
    const char *action; /* what it changes, for the log; NULL: it only looks */
} admin_verbs[] = {
    [QUIRE_ADMIN_STATUS] = {admin_status, ADMIN_FOR_ALL, NULL},
    [QUIRE_ADMIN_NS_LIST] = {admin_ns_list, ADMIN_FOR_MEMBERS, NULL},
    [QUIRE_ADMIN_NS_DELETE] = {admin_ns_delete, ADMIN_FOR_OPERATORS, "namespace delete"},
    [QUIRE_ADMIN_BLOCK_SHOW] = {admin_block_show, ADMIN_FOR_MEMBERS, NULL},
    [QUIRE_ADMIN_SESSION_LIST] = {admin_session_list, ADMIN_FOR_MEMBERS, NULL},
    [QUIRE_ADMIN_SESSION_KICK] = {admin_session_kick, ADMIN_FOR_OPERATORS, "session kick"},
    [QUIRE_ADMIN_EVICT] = {admin_evict, ADMIN_FOR_OPERATORS, "evict"},
    [QUIRE_ADMIN_CONFIG] = {admin_config, ADMIN_FOR_OPERATORS, NULL}, /* it has the salts */
    [QUIRE_ADMIN_COUNTERS] = {admin_counters, ADMIN_FOR_MEMBERS, NULL},
    [QUIRE_ADMIN_RELOAD] = {admin_reload, ADMIN_FOR_OPERATORS, "reload"},
    [QUIRE_ADMIN_VERIFY] = {admin_verify, ADMIN_FOR_OPERATORS, "verify"},
    [QUIRE_ADMIN_FAULT_LIST] = {admin_fault_list, ADMIN_FOR_OPERATORS, NULL},
    [QUIRE_ADMIN_FAULT_ADD] = {admin_fault_add, ADMIN_FOR_OPERATORS, "fault add"},
    [QUIRE_ADMIN_FAULT_CLEAR] = {admin_fault_clear, ADMIN_FOR_OPERATORS, "fault clear"},
};

/* A line for each action, and for each try: who it was, what it was about, and how it ended. */
static void admin_audit(const struct admin_call *call, const char *action, enum quire_status status) {
    const struct session *session = call->session;
    const Quire__Wire__AdminRequest *request = call->request;
    bool asks = request->verb == QUIRE_ADMIN_VERIFY && request->number == 0; /* how far it is */
    char who[160], about[256] = "";
    if (session == NULL || asks) {
        return;
    }
    if (session->remote != NULL) {
        snprintf(who, sizeof who, "token %s at %s", session->remote->token.name, remote_link_peer(session->link));
    } else {
        snprintf(who, sizeof who, "uid %u, pid %d", (unsigned)session->uid, (int)session->pid);
    }
    if (request->ns[0] != '\0' || request->text[0] != '\0') {
        snprintf(about, sizeof about, " %.64s%.128s", request->ns, request->text);
    } else if (request->number != 0) {
        snprintf(about, sizeof about, " %llu", (unsigned long long)request->number);
    }
    log_info("admin_action", "%s%s by session %llu (%s, %s): %s", action, about, (unsigned long long)session->id, session->client, who,
             quire_status_text(status));
}

static enum quire_status admin_do(const struct admin_call *call) {
    uint32_t verb = call->request->verb;
    const struct admin_verb *entry = verb < QUIRE_ARRAY_LEN(admin_verbs) ? &admin_verbs[verb] : NULL;
    if (entry == NULL || entry->fn == NULL) {
        call->reply->text = arena_printf(call->arena, "this quired (%s) does not know administrative verb %u", QUIRE_PACKAGE_VERSION, verb);
        return QUIRE_UNSUPPORTED;
    }
    bool may = entry->right == ADMIN_FOR_ALL || admin_is_operator(call) || (entry->right == ADMIN_FOR_MEMBERS && call->session->member);
    if (!may) {
        call->reply->text = admin_text(call, call->session->remote != NULL ? "only with a token that has the right `admin`"
                                                                           : "only for the user that quired runs as, and root");
    }
    enum quire_status status = may ? entry->fn(call) : QUIRE_DENIED;
    if (entry->action != NULL) {
        admin_audit(call, entry->action, status);
    }
    return status;
}

static void admin_answer(struct core *core, const struct session *session, const Quire__Wire__AdminRequest *request,
                         Quire__Wire__AdminReply *reply) {
    quire__wire__admin_reply__init(reply);
    arena_reset(&core->admin_arena);
    struct admin_call call = {.core = core, .session = session, .request = request, .reply = reply, .arena = &core->admin_arena};
    enum quire_status status = admin_do(&call);
    reply->status = status;
    if (status != QUIRE_OK && (reply->text == NULL || reply->text[0] == '\0')) {
        reply->text = (char *)quire_status_text(status);
    }
    core->counters.requests_failed += status != QUIRE_OK;
}

void core_admin(struct core *core, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply *reply) {
    admin_answer(core, NULL, request, reply);
}

enum session_verdict admin_request(struct session *session, const struct quire_frame *frame, const uint8_t *body) {
    struct core *core = session->core;
    Quire__Wire__AdminReply reply;
    Quire__Wire__AdminRequest *request = quire__wire__admin_request__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (request == NULL) {
        session_fail(session, frame->request_id, QUIRE_INVALID, 0, "the ADMIN request cannot be read");
        return SESSION_DONE;
    }
    bool deletes = request->verb == QUIRE_ADMIN_NS_DELETE;
    if (deletes && !durable_has_room(session)) {
        session_fail(session, frame->request_id, QUIRE_RETRY, DURABLE_RETRY_MS,
                     "too many requests wait until what they changed is durable");
        return SESSION_DONE;
    }
    admin_answer(core, session, request, &reply);
    if (deletes && reply.status == QUIRE_OK) {
        durable_admin(session, frame->request_id, reply.text);
        return SESSION_DONE;
    }
    session_send(session, QUIRE_MSG_ADMIN_REPLY, frame->request_id, &reply.base, NULL, 0);
    return SESSION_DONE;
}
