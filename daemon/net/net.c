#include "daemon/net/net.h"

#include "daemon/core_internal.h"
#include "daemon/net/examine.h"
#include "daemon/net/remote_link.h"
#include "daemon/net/tls_rail.h"
#include "daemon/net/ucx_rail.h"
#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define HANDSHAKES 256
#define LINGERING 256
#define NET_STRANGERS_MAX 256
#define RETRY_MS 1000

/* ---- wires that open -------------------------------------------------------------------------------------------------------------- */
static void net_challenge(struct session *session) {
    Quire__Wire__Challenge challenge = QUIRE__WIRE__CHALLENGE__INIT;
    struct remote *remote = session->remote;
    if (getrandom(remote->nonce, sizeof remote->nonce, 0) != (ssize_t)sizeof remote->nonce) {
        session_kick(session, QUIRE_SYSTEM, "the system gives no random numbers");
        return;
    }
    remote->challenged = true;
    challenge.major = QUIRE_PROTO_MAJOR;
    challenge.minor = QUIRE_PROTO_MINOR;
    challenge.nonce = (ProtobufCBinaryData){.len = sizeof remote->nonce, .data = remote->nonce};
    session_send(session, QUIRE_MSG_CHALLENGE, 0, &challenge.base, NULL, 0);
}

/* Told to come back, in the answer to `request`, and ended. */
static void net_turn_away(struct session *session, uint64_t request, const char *event, uint32_t wait_ms, const char *text) {
    log_warn(event, "%s: %s", remote_link_peer(session->link), text);
    session_fail(session, request, QUIRE_RETRY, wait_ms, "%s", text);
    session_end(session, SESSION_END_REFUSED);
}

/* Its address failed too often: it was turned away, whatever it has to show. */
static bool net_guarded(struct session *session, uint64_t request) {
    struct core *core = session->core;
    char text[160];
    uint32_t wait_ms;
    if (guard_admits(&core->net.guard, remote_link_peer(session->link), core->now_ns, &wait_ms)) {
        return false;
    }
    core->net.guarded++;
    snprintf(text, sizeof text, "this address failed to prove a token too often: try again in %u ms", wait_ms);
    net_turn_away(session, request, "remote_guarded", wait_ms, text);
    return true;
}

/* No place is left for this one, which is none of those that are counted: it was turned away. */
static bool net_full(struct session *session, uint64_t request) {
    const struct core *core = session->core;
    char text[160];
    uint32_t n_strangers = core->net.strangers.n + !ring_holds(&session->remote->stranger.place);
    if (core->n_sessions - n_strangers < core->config.max_sessions) {
        return false;
    }
    snprintf(text, sizeof text, "%u sessions are open, which is max_sessions", core->config.max_sessions);
    net_turn_away(session, request, "sessions_full", RETRY_MS, text);
    return true;
}

/* Takes a stranger's place, for which another may have to go; or it was turned away. */
static bool net_crowded(struct session *session) {
    struct core *core = session->core;
    struct crowd *strangers = &core->net.strangers;
    struct crowd_member *leaves;
    const char *peer = remote_link_peer(session->link);
    char text[160];
    if (!crowd_admits(strangers, peer, core->now_ns, &leaves)) {
        core->net.refused++;
        snprintf(text, sizeof text, "%u connections have not proven a token yet, or %u from this address", strangers->most,
                 strangers->most_of_one);
        net_turn_away(session, 0, "remote_refused", RETRY_MS, text);
        return true;
    }
    if (leaves != NULL) {
        struct session *silent = LOOP_CONTAINER(leaves, struct remote, stranger)->waiter.owner;
        net_silent(silent);
        session_kick(silent, QUIRE_RETRY, "no HELLO yet, and others wait for the place");
    }
    crowd_join(strangers, &session->remote->stranger, peer, core->now_ns);
    return false;
}

static bool net_turned_away(struct session *session) {
    if (session->core->draining) {
        session->core->net.refused++;
        net_turn_away(session, 0, "remote_refused", RETRY_MS, "quired is stopping");
        return true;
    }
    return net_guarded(session, 0) || net_full(session, 0) || net_crowded(session);
}

static void net_opened(struct core *core, struct wire *wire) {
    struct link *link = NULL;
    struct session *session = NULL;
    struct remote *remote = calloc(1, sizeof *remote);
    enum quire_status status = remote != NULL ? remote_link_create(core, wire, &link) : QUIRE_NO_MEMORY;
    if (status == QUIRE_OK) {
        status = session_create(core, link, &session);
        if (status != QUIRE_OK) {
            link->ops->free(link); /* says CLOSE */
        }
    } else {
        exchange_post(&wire->rail->in, wire->close);
    }
    if (status != QUIRE_OK) {
        free(remote);
        core->counters.accept_failures++;
        log_error("accept_failed", "%s: no memory for another session", wire->peer);
        return;
    }
    session->remote = remote;
    remote->waiter.owner = session;
    session->domain = core->remote_domain;
    session_ref(session);
    if (!net_turned_away(session)) {
        net_challenge(session);
    }
    session_unref(session);
}

static void net_message(struct core *core, struct exchange_msg *msg) {
    struct wire *wire = msg->wire;
    struct link *link = wire->link;
    switch (msg->kind) {
    case EXCHANGE_OPENED:
        net_opened(core, wire);
        return;
    case EXCHANGE_CLOSED:
        if (link != NULL) {
            remote_link_closed(link);
        } else {
            wire_free(wire);
        }
        return;
    case EXCHANGE_FRAME:
        if (link != NULL) {
            remote_link_frame(link, msg);
            return;
        }
        break;
    case EXCHANGE_BULK:
        remote_link_bulk(link);
        return;
    case EXCHANGE_GONE:
        if (link != NULL) {
            remote_link_gone(link);
        }
        return;
    case EXCHANGE_SENT:
        if (link != NULL) {
            remote_link_sent(link, msg);
        }
        break;
    default: /* DROPPED: nothing but the end of what is held for it */
        break;
    }
    exchange_msg_free(msg);
}

static void net_take(struct rail *rail) {
    rail->core->now_ns = loop_now_ns();
    for (struct exchange_msg *msg = exchange_take(&rail->out), *next; msg != NULL; msg = next) {
        next = msg->next;
        net_message(rail->core, msg);
    }
}

static void net_woken(struct loop_wakeup *wakeup) {
    net_take(LOOP_CONTAINER(LOOP_CONTAINER(wakeup, struct exchange, wakeup), struct rail, out));
}

void net_silent(struct session *session) {
    if (session->remote != NULL) {
        guard_failed(&session->core->net.guard, remote_link_peer(session->link), session->core->now_ns);
    }
}

/* ---- hello ------------------------------------------------------------------------------------------------------------------------ */
/* As many sessions are open as its line in the token file allows: told, and ended. */
static bool net_over_share(struct session *session, uint64_t request, const struct tenant *tenant) {
    unsigned long long n = 0, most = tenant->limits.sessions;
    for (const struct session *other = session->core->sessions; other != NULL; other = other->next) {
        n += other->remote != NULL && other->remote->tenant == tenant;
    }
    if (most == 0 || n < most) {
        return false;
    }
    log_warn("remote_refused", "%s (%s): token %s has %llu sessions, which is its limit", session->client, remote_link_peer(session->link),
             tenant->name, n);
    session_fail(session, request, QUIRE_RETRY, 1000, "%llu sessions of this token are open, which is its limit", n);
    session_end(session, SESSION_END_REFUSED);
    return true;
}

static bool net_may_read_afar(const struct session *session, const struct token *token) {
    struct core *core = session->core;
    if ((token->rights & TOKEN_RMA) == 0 || remote_link_memory(session->link) == NULL) {
        return false;
    }
    uint32_t lost = quarantine_afar(core, token->name).sessions;
    if (lost < core->config.max_sessions) {
        return true;
    }
    core->counters.rma_withheld++;
    log_warn("rma_withheld",
             "%s (%s): it is not told where the pool is: %u sessions with its token were lost a moment ago, which is max_sessions",
             session->client, remote_link_peer(session->link), lost);
    return false;
}

enum quire_status net_hello(struct session *session, uint64_t request, const char *name, const uint8_t *proof, size_t proof_bytes) {
    struct core *core = session->core;
    struct remote *remote = session->remote;
    const char *peer = remote_link_peer(session->link);
    if (net_guarded(session, request)) {
        return QUIRE_RETRY; /* also when it came before the failures: else each connection that was opened early is a guess */
    }
    const struct token *token = remote->challenged ? tokens_prove(core->net.tokens, name, remote->nonce, proof, proof_bytes) : NULL;
    remote->challenged = false; /* once */
    if (token == NULL) {
        core->counters.tokens_refused++;
        guard_failed(&core->net.guard, peer, core->now_ns);
        log_warn("token_refused", "%s (%s): no token of the name it gave has the secret that it proved", session->client, peer);
        session_fail(session, request, QUIRE_DENIED, 0, "the token is not accepted: its name or its secret is not in quired's token file");
        session_end(session, SESSION_END_REFUSED);
        return QUIRE_DENIED;
    }
    struct tenant *tenant = rates_find(&core->net.rates, token->name);
    if (net_full(session, request) || net_over_share(session, request, tenant)) {
        return QUIRE_RETRY; /* others have come in since it connected */
    }
    remote->token = *token;
    crowd_leave(&core->net.strangers, &remote->stranger);
    remote->tenant = tenant;
    session->admin = token_administers(token, NULL);
    remote->afar = net_may_read_afar(session, token);
    remote_link_known(session->link);
    return session->state == SESSION_ENDED ? QUIRE_NO_MEMORY : QUIRE_OK;
}

bool net_afar(const struct session *session, Quire__Wire__Afar *afar) {
    if (session->remote == NULL || !session->remote->afar) {
        return false;
    }
    const struct rail_memory *memory = remote_link_memory(session->link);
    const struct pool *pool = session->core->pools[session->domain];
    quire__wire__afar__init(afar);
    afar->pool = (uintptr_t)pool->base;
    afar->pool_key = (ProtobufCBinaryData){.len = memory->pool_key_bytes, .data = (uint8_t *)(uintptr_t)memory->pool_key};
    afar->generations = (uintptr_t)pool->generations;
    afar->generations_key =
        (ProtobufCBinaryData){.len = memory->generations_key_bytes, .data = (uint8_t *)(uintptr_t)memory->generations_key};
    return true;
}

void net_session_gone(struct session *session) {
    if (session->remote != NULL) {
        explicit_bzero(session->remote, sizeof *session->remote);
        free(session->remote);
        session->remote = NULL;
    }
}

/* ---- rates ------------------------------------------------------------------------------------------------------------------------ */
bool net_admits(struct session *session, const struct quire_frame *frame) {
    struct core *core = session->core;
    struct remote *remote = session->remote;
    bool free_of_charge = frame->type == QUIRE_MSG_GOODBYE || frame->type == QUIRE_MSG_PING;
    if (remote->tenant == NULL || free_of_charge) {
        return true;
    }
    bool waited = remote->waiter.waits;
    bool admitted = rates_admit(&core->net.rates, remote->tenant, &remote->waiter, frame->bulk_bytes, core->now_ns);
    core->counters.rate_held += !admitted && !waited;
    return admitted;
}

void net_charge(struct session *session, uint64_t bytes) {
    if (session->remote != NULL && session->remote->tenant != NULL) {
        rates_charge(session->remote->tenant, bytes, session->core->now_ns);
    }
}

static void net_turn(struct rate_waiter *waiter) {
    struct session *session = waiter->owner;
    core_runnable(session->core, session);
}

void net_tick(struct core *core) { rates_tick(&core->net.rates, core->now_ns, net_turn); }
uint64_t net_deadline(const struct core *core) { return core->net.rates.next_ns; }

void net_session_ended(struct session *session) {
    if (session->remote != NULL) {
        crowd_leave(&session->core->net.strangers, &session->remote->stranger);
    }
    if (session->remote != NULL && session->remote->tenant != NULL) {
        rates_leave(session->remote->tenant, &session->remote->waiter);
        session->remote->tenant = NULL;
    }
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */
static struct rail_limits net_limits(const struct core *core) {
    return (struct rail_limits){.wires = core->config.max_sessions + NET_STRANGERS_MAX + HANDSHAKES + LINGERING,
                                .handshakes = HANDSHAKES,
                                .lingering = LINGERING,
                                .handshake_ns = core->hello_ns,
                                .frame_ns = core->frame_ns};
}

/* One a place, in the order of the addresses; behind those that there are. */
static enum quire_status net_create_tls(struct core *core, char *why, size_t why_bytes) {
    const struct config_listen *listen = &core->config.listen;
    const struct quire_tls_files files = examine_tls_files(listen);
    struct rail_limits limits = net_limits(core);
    struct rail **tail = &core->net.rails;
    struct place places[PLACES_MAX];
    uint32_t n;
    QUIRE_FORWARD(places_here("listen.tls", listen->tls, listen, places, &n, why, why_bytes));
    limits.unfinished_bytes = core->unfinished_max_bytes / quire_max_u64(n, 1);
    for (uint32_t i = 0; i < n; i++) {
        QUIRE_FORWARD(tls_rail_create(core, places[i].addresses, &files, &limits, net_woken, tail, why, why_bytes));
        (*tail)->place = places[i];
        tail = &(*tail)->next;
    }
    return QUIRE_OK;
}

static enum quire_status net_create_ucx(struct core *core, char *why, size_t why_bytes) {
    const struct config_listen *listen = &core->config.listen;
    struct rail_limits limits = net_limits(core);
    struct rail **tail = &core->net.rails;
    struct place places[PLACES_MAX];
    uint32_t n;
    bool loopback;
    QUIRE_FORWARD(ucx_rail_reach(listen->ucx, listen->trusted_fabric, &loopback, why, why_bytes));
    QUIRE_FORWARD(places_here("listen.ucx", listen->ucx, listen, places, &n, why, why_bytes));
    limits.unfinished_bytes = core->unfinished_max_bytes / quire_max_u64((uint64_t)n * listen->ucx_loops, 1);
    while (*tail != NULL) {
        tail = &(*tail)->next;
    }
    for (uint32_t i = 0; i < n; i++) {
        QUIRE_FORWARD(ucx_rail_create(core, &places[i], loopback, &limits, net_woken, tail, why, why_bytes));
        for (; *tail != NULL; tail = &(*tail)->next) {
            (*tail)->place = places[i];
        }
    }
    return QUIRE_OK;
}

enum quire_status net_create(struct core *core, char *why, size_t why_bytes) {
    const struct config_listen *listen = &core->config.listen;
    rates_init(&core->net.rates);
    crowd_setup(&core->net.strangers, NET_STRANGERS_MAX);
    if (listen->tls[0] == '\0' && listen->ucx[0] == '\0') {
        return QUIRE_OK;
    }
    struct examined found;
    QUIRE_FORWARD(examine_listen(&core->config, &found, why, why_bytes));
    core->remote_domain = found.domain;
    core->net.certificate_until_s = found.certificate_until_s;
    QUIRE_FORWARD(tokens_load(listen->token_file, &core->net.tokens, why, why_bytes));
    rates_renew(&core->net.rates, core->net.tokens);
    if (listen->tls[0] != '\0') {
        QUIRE_FORWARD(net_create_tls(core, why, why_bytes));
    }
    return listen->ucx[0] != '\0' ? net_create_ucx(core, why, why_bytes) : QUIRE_OK;
}

enum quire_status net_start(struct core *core, char *why, size_t why_bytes) {
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        if (rail_start(rail) != QUIRE_OK) {
            snprintf(why, why_bytes, "no thread could be started for %s", rail->ops->scheme);
            return QUIRE_SYSTEM;
        }
    }
    return QUIRE_OK;
}

void net_count(struct core *core) {
    uint64_t accepted = 0, refused = core->net.refused, guarded = core->net.guarded, denied = 0, broken = 0, rests = 0;
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        accepted += atomic_load_explicit(&rail->counters.accepted, memory_order_relaxed);
        refused += atomic_load_explicit(&rail->counters.refused, memory_order_relaxed);
        guarded += atomic_load_explicit(&rail->counters.guarded, memory_order_relaxed);
        rests += atomic_load_explicit(&rail->counters.rests, memory_order_relaxed);
        denied += atomic_load_explicit(&rail->counters.denied, memory_order_relaxed);
        broken += atomic_load_explicit(&rail->counters.broken, memory_order_relaxed);
    }
    core->counters.remote_accepted = accepted;
    core->counters.remote_refused = refused;
    core->counters.remote_guarded = guarded;
    core->counters.remote_rests = rests;
    core->counters.remote_denied = denied;
    core->counters.remote_broken = broken;
}

void net_destroy(struct core *core) {
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        rail_stop(rail); /* all of them before any is freed: they hand connections to each other */
    }
    while (core->net.rails != NULL) {
        struct rail *rail = core->net.rails;
        core->net.rails = rail->next;
        net_take(rail);
        rail_destroy(&rail);
    }
    tokens_free(&core->net.tokens);
}

/* Sessions whose token is not what it was. */
static void net_end_strangers(struct core *core) {
    for (struct session *session = core->sessions, *next; session != NULL; session = next) {
        next = session->next;
        if (session->remote != NULL && session->id != 0 && !tokens_have(core->net.tokens, &session->remote->token)) {
            session_kick(session, QUIRE_DENIED, "its token was changed or taken away");
            next = core->sessions; /* once more from the first: it is one less */
        }
    }
}

/* New certificates for all rails, or for none. */
static enum quire_status net_renew(struct core *core, const struct quire_tls_files *files, char *why, size_t why_bytes) {
    enum quire_status status = QUIRE_OK;
    for (struct rail *rail = core->net.rails; rail != NULL && status == QUIRE_OK; rail = rail->next) {
        status = rail->ops->prepare != NULL ? rail->ops->prepare(rail, files, why, why_bytes) : QUIRE_OK;
    }
    for (struct rail *rail = core->net.rails; rail != NULL; rail = rail->next) {
        if (rail->ops->settle != NULL) {
            rail->ops->settle(rail, status == QUIRE_OK);
        }
    }
    return status;
}

enum quire_status net_reload(struct core *core) {
    char why[RAIL_WHY_BYTES] = "";
    if (core->net.rails == NULL) {
        return QUIRE_OK;
    }
    struct tokens *tokens = NULL;
    const struct quire_tls_files files = examine_tls_files(&core->config.listen);
    int64_t until_s = 0;
    enum quire_status status = tokens_load(core->config.listen.token_file, &tokens, why, sizeof why);
    status = status == QUIRE_OK ? examine_certificate(&core->config.listen, &until_s, why, sizeof why) : status;
    status = status == QUIRE_OK ? net_renew(core, &files, why, sizeof why) : status;
    if (status != QUIRE_OK) {
        tokens_free(&tokens);
        log_error("listen_reload_failed", "%s; what was in force stays", why);
        return status;
    }
    tokens_free(&core->net.tokens);
    core->net.tokens = tokens;
    core->net.certificate_until_s = until_s;
    net_end_strangers(core);
    rates_renew(&core->net.rates, tokens);
    return QUIRE_OK;
}
