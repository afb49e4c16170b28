/*
 * Administration: who may ask for what, and the way there and back. The same answers serve quirectl, the metrics page and tests.
 *
 * Guests see the status; members what their domain holds; the daemon's own user and root may also change things and see everything. Over a wire, a
 * token with `admin` for `*` may do what these may; with `admin` for some namespaces, what is about one of them; else it learns whom it talks to.
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

bool admin_is_tenant(const struct admin_call *call) { return !admin_is_operator(call) && call->session->remote != NULL; }

bool admin_sees_ns(const struct admin_call *call, const struct pager_ns_info *info) {
    return admin_sees(call, info->domain) ||
           (admin_is_tenant(call) && call->session->domain == info->domain && token_administers(&call->session->remote->token, info->name));
}

/* By the name that the namespace has: the request may name it together with its domain. */
enum quire_status admin_find_ns(const struct admin_call *call, uint16_t *ns) {
    struct pager_ns_info info;
    uint32_t cursor = 0;
    QUIRE_FORWARD(pager_ns_find(call->core->pager, call->request->ns, ns));
    while (pager_ns_next(call->core->pager, &cursor, &info)) {
        if (info.ns == *ns && admin_sees_ns(call, &info)) {
            return QUIRE_OK;
        }
    }
    return admin_is_tenant(call) ? QUIRE_NOT_FOUND : QUIRE_DENIED;
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
    bool of_ns; /* about the namespace that the request names: a token's `admin` there is enough */
    bool changes;
    const char *name; /* for the log */
} admin_verbs[] = {
    [QUIRE_ADMIN_STATUS] = {admin_status, ADMIN_FOR_ALL, false, false, "status"},
    [QUIRE_ADMIN_NS_LIST] = {admin_ns_list, ADMIN_FOR_MEMBERS, true, false, "namespace list"},
    [QUIRE_ADMIN_NS_DELETE] = {admin_ns_delete, ADMIN_FOR_OPERATORS, true, true, "namespace delete"},
    [QUIRE_ADMIN_BLOCK_SHOW] = {admin_block_show, ADMIN_FOR_MEMBERS, true, false, "block show"},
    [QUIRE_ADMIN_SESSION_LIST] = {admin_session_list, ADMIN_FOR_MEMBERS, false, false, "session list"},
    [QUIRE_ADMIN_SESSION_KICK] = {admin_session_kick, ADMIN_FOR_OPERATORS, false, true, "session kick"},
    [QUIRE_ADMIN_EVICT] = {admin_evict, ADMIN_FOR_OPERATORS, true, true, "evict"},
    [QUIRE_ADMIN_CONFIG] = {admin_config, ADMIN_FOR_OPERATORS, false, false, "config"}, /* it has the salts */
    [QUIRE_ADMIN_COUNTERS] = {admin_counters, ADMIN_FOR_MEMBERS, false, false, "counters"},
    [QUIRE_ADMIN_RELOAD] = {admin_reload, ADMIN_FOR_OPERATORS, false, true, "reload"},
    [QUIRE_ADMIN_VERIFY] = {admin_verify, ADMIN_FOR_OPERATORS, false, true, "verify"},
    [QUIRE_ADMIN_FAULT_LIST] = {admin_fault_list, ADMIN_FOR_OPERATORS, false, false, "fault list"},
    [QUIRE_ADMIN_FAULT_ADD] = {admin_fault_add, ADMIN_FOR_OPERATORS, false, true, "fault add"},
    [QUIRE_ADMIN_FAULT_CLEAR] = {admin_fault_clear, ADMIN_FOR_OPERATORS, false, true, "fault clear"},
};

/* Who it is, what it is about, and how it ended. */
static const char *admin_line(const struct admin_call *call, const struct admin_verb *verb, enum quire_status status, char line[512]) {
    const struct session *session = call->session;
    const Quire__Wire__AdminRequest *request = call->request;
    char who[160], about[256] = "";
    if (session->remote != NULL) {
        snprintf(who, sizeof who, "token %s at %s", session->remote->token.name, remote_link_peer(session->link));
    } else {
        snprintf(who, sizeof who, "uid %u, pid %d", (unsigned)session->uid, (int)session->pid);
    }
    int n = snprintf(about, sizeof about, "%s%.64s%s%.128s", request->ns[0] != '\0' ? " " : "", request->ns,
                     request->text[0] != '\0' ? " " : "", request->text);
    if (request->number != 0) {
        snprintf(about + n, sizeof about - (size_t)n, " %llu", (unsigned long long)request->number);
    }
    snprintf(line, 512, "%s%s by session %llu (%s, %s): %s", verb->name, about, (unsigned long long)session->id, session->client, who,
             quire_status_text(status));
    return line;
}

/* One line for each action. What was done is always written; tries have events of their own, which the log limits: nobody drowns an action. */
static void admin_audit(const struct admin_call *call, const struct admin_verb *verb, bool may, enum quire_status status) {
    char line[512];
    bool asks = !verb->changes || (call->request->verb == QUIRE_ADMIN_VERIFY && call->request->number == 0); /* how far it is */
    if (call->session == NULL || (may && asks)) {
        return;
    }
    if (!may) {
        log_warn("admin_denied", "%s", admin_line(call, verb, status, line));
    } else if (status != QUIRE_OK && call->request->ns[0] != '\0') {
        log_info("admin_failed", "%s", admin_line(call, verb, status, line)); /* of a namespace: all of it or nothing was done */
    } else {
        log_audit("admin_action", "%s", admin_line(call, verb, status, line));
    }
}

static bool admin_may(const struct admin_call *call, const struct admin_verb *verb) {
    const char *ns = call->request->ns;
    if (verb->right == ADMIN_FOR_ALL || admin_is_operator(call) || (verb->right == ADMIN_FOR_MEMBERS && call->session->member)) {
        return true;
    }
    if (!verb->of_ns || !admin_is_tenant(call)) {
        return false;
    }
    const struct token *token = &call->session->remote->token;
    bool lists = call->request->verb == QUIRE_ADMIN_NS_LIST && ns[0] == '\0'; /* those that it may see */
    return lists ? (token->rights & TOKEN_ADMIN) != 0 : ns[0] != '\0' && token_administers(token, ns);
}

static const char *admin_who_may(const struct admin_call *call, const struct admin_verb *verb) {
    if (call->session->remote == NULL) {
        return "only for the user that quired runs as, and root";
    }
    return verb->of_ns ? "only with a token that has the right `admin` in the namespace, or for `*`"
                       : "only with a token that has the right `admin` for `*`, all namespaces";
}

static enum quire_status admin_do(const struct admin_call *call) {
    uint32_t number = call->request->verb;
    const struct admin_verb *verb = number < QUIRE_ARRAY_LEN(admin_verbs) ? &admin_verbs[number] : NULL;
    if (verb == NULL || verb->fn == NULL) {
        call->reply->text =
            arena_printf(call->arena, "this quired (%s) does not know administrative verb %u", QUIRE_PACKAGE_VERSION, number);
        return QUIRE_UNSUPPORTED;
    }
    bool may = admin_may(call, verb);
    if (!may) {
        call->reply->text = (char *)admin_who_may(call, verb);
    }
    enum quire_status status = may ? verb->fn(call) : QUIRE_DENIED;
    admin_audit(call, verb, may, status);
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
    admin_answer(core, session, request, &reply);
    if (request->verb == QUIRE_ADMIN_NS_DELETE && reply.status == QUIRE_OK) {
        durable_admin(session, frame->request_id, reply.text);
        return SESSION_DONE;
    }
    if (reply.status == QUIRE_RETRY) {
        session_fail(session, frame->request_id, QUIRE_RETRY, DURABLE_RETRY_MS, "%s", reply.text);
        return SESSION_DONE;
    }
    session_send(session, QUIRE_MSG_ADMIN_REPLY, frame->request_id, &reply.base, NULL, 0);
    return SESSION_DONE;
}
