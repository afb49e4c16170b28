/* Sessions: who is there, and ending one. */
#include "daemon/admin.h"

#include "daemon/net/rail.h"
#include "daemon/net/remote_link.h"

static enum quire_status admin_session_fill(const struct admin_call *call, const struct session *session) {
    struct core *core = call->core;
    struct pager_session_info books = {0};
    Quire__Wire__SessionInfo *info = arena_alloc(call->arena, sizeof *info);
    if (info == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__session_info__init(info);
    pager_session_info(core->pager, session->id, &books);
    info->id = session->id;
    info->client = admin_text(call, session->client);
    info->pid = (uint32_t)session->pid;
    info->uid = session->uid;
    if (session->remote != NULL) {
        const struct rail *rail = remote_link_rail(session->link);
        char place[PLACE_TEXT_BYTES];
        place_text(&rail->place, place);
        info->rail = arena_printf(call->arena, "%s: %s", rail->ops->scheme, place);
        info->peer = admin_text(call, remote_link_peer(session->link));
        info->token = admin_text(call, session->remote->token.name);
        info->held = session->remote->waiter.held;
        info->held_ms = session->remote->waiter.held_ns / QUIRE_NS_PER_MS;
        if (session->remote->tenant != NULL) {
            info->requests_per_s = session->remote->tenant->limits.requests_per_s;
            info->bytes_per_s = session->remote->tenant->limits.bytes_per_s;
        }
    }
    info->domain = core->config.domains[session->domain].name;
    info->member = session->member;
    uint64_t now_ns = loop_now_ns();
    info->age_ms = (now_ns - session->opened_ns) / QUIRE_NS_PER_MS;
    info->idle_ms = (now_ns - session->active_ns) / QUIRE_NS_PER_MS;
    info->leases = books.leases;
    info->leased_bytes = books.leased_bytes;
    info->ingest_bytes = ingest_owner_bytes(core->ingest, session);
    info->fetched_bytes = books.fetched_bytes;
    info->stored_bytes = books.stored_bytes;
    info->requests = session->requests;
    call->reply->sessions[call->reply->n_sessions++] = info;
    return QUIRE_OK;
}

enum quire_status admin_session_list(const struct admin_call *call) {
    size_t used = 0;
    call->reply->sessions = arena_zalloc(call->arena, call->core->n_sessions + 1, sizeof *call->reply->sessions);
    if (call->reply->sessions == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (const struct session *session = call->core->sessions; session != NULL; session = session->next) {
        if (session->id != 0 && (admin_sees(call, session->domain))) {
            QUIRE_FORWARD(admin_session_fill(call, session));
            if (!admin_fits(call, &call->reply->sessions[call->reply->n_sessions - 1]->base, &used)) {
                call->reply->n_sessions--;
                break;
            }
        }
    }
    return QUIRE_OK;
}

enum quire_status admin_session_kick(const struct admin_call *call) {
    for (struct session *session = call->core->sessions; session != NULL; session = session->next) {
        if (session->id == call->request->number && session->id != 0) {
            call->reply->text = arena_printf(call->arena, "%s, process %d", session->client, (int)session->pid);
            session_kick(session, QUIRE_DENIED, "kicked by an operator");
            return QUIRE_OK;
        }
    }
    return QUIRE_NOT_FOUND;
}
