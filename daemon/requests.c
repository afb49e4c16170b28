/* One function a message type. Each unpacks into the core's arena, checks what the client says, asks the pager and answers. */
#include "daemon/core_internal.h"
#include "daemon/net/remote_link.h"

#include "pager/disk.h"
#include "proto/base/units.h"
#include "proto/layout.h"
#include "proto/status.h"

#include <stdio.h>

#define REQUEST_TEXT_BYTES 200

typedef enum session_verdict request_fn(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns);

static enum session_verdict request_malformed(struct session *session, const struct quire_frame *frame) {
    session->core->counters.frames_bad++;
    session_fail(session, frame->request_id, QUIRE_INVALID, 0, "the body of message type %u cannot be read, or unpacks to too much",
                 frame->type);
    return SESSION_DONE;
}

/* ---- hello ---------------------------------------------------------------------------------------------------------------- */

/* A name for people: printable, bounded. */
static void request_set_client(struct session *session, const char *name) {
    uint32_t length = 0;
    for (; name[length] != '\0' && length < sizeof session->client - 1; length++) {
        char c = name[length];
        session->client[length] = c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : '?';
    }
    session->client[length] = '\0';
}

static void request_welcome(struct session *session, uint64_t request) {
    struct core *core = session->core;
    const struct pool *pool = core->pools[session->domain];
    Quire__Wire__HelloAck ack = QUIRE__WIRE__HELLO_ACK__INIT;
    ack.major = QUIRE_PROTO_MAJOR;
    ack.minor = QUIRE_PROTO_MINOR;
    ack.features = QUIRE_FEATURE_LOAD | QUIRE_FEATURE_RANGES | QUIRE_FEATURE_PING;
    ack.epoch = core->epoch;
    ack.session = session->id;
    ack.version = (char *)QUIRE_PACKAGE_VERSION;
    ack.domain = core->config.domains[session->domain].name;
    ack.member = session->member;
    ack.pool_bytes = pool->size_bytes;
    ack.generation_slots = pool->n_slots;
    ack.verify_always = core->config.verify_always || core->config.domains[session->domain].rma; /* others could have written there */
    ack.lease_ms = core->config.pager.lease_ms;
    ack.ingest_max_bytes = quire_min_u64(core->config.ingest_window_bytes, core->config.ingest_bytes);
    ack.admin = session->admin;
    ack.read_max_bytes = guest_read_max_bytes(core);
    Quire__Wire__Afar afar;
    ack.afar = net_afar(session, &afar) ? &afar : NULL;
    const int fds[2] = {pool->fd, pool->generations_fd};
    session_send(session, QUIRE_MSG_HELLO_ACK, request, &ack.base, fds, session->member ? 2 : 0);
}

static enum session_verdict request_hello(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    struct core *core = session->core;
    char who[SESSION_WHO_BYTES];
    (void)read_ns;
    if (session->state != SESSION_NEW) {
        session_kick(session, QUIRE_INVALID, "HELLO twice");
        return SESSION_DONE;
    }
    Quire__Wire__Hello *hello = quire__wire__hello__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (hello == NULL) {
        return request_malformed(session, frame);
    }
    request_set_client(session, hello->client);
    if (hello->major != QUIRE_PROTO_MAJOR) {
        log_warn("session_refused", "%s (%s) speaks protocol %u.%u, this quired %d.%d", session->client,
                 session->remote != NULL ? remote_link_peer(session->link) : "on this host", hello->major, hello->minor, QUIRE_PROTO_MAJOR,
                 QUIRE_PROTO_MINOR);
        session_fail(session, frame->request_id, QUIRE_VERSION, 0,
                     "this quired speaks protocol %d.%d, the client %u.%u: install matching versions", QUIRE_PROTO_MAJOR, QUIRE_PROTO_MINOR,
                     hello->major, hello->minor);
        session_end(session, SESSION_END_REFUSED);
        return SESSION_DONE;
    }
    if (session->reserve && strcmp(session->client, SESSION_OPERATOR) != 0) {
        session_fail(session, frame->request_id, QUIRE_RETRY, 1000, "%u sessions are open, which is max_sessions",
                     core->config.max_sessions);
        session_end(session, SESSION_END_REFUSED);
        return SESSION_DONE;
    }
    if (session->remote != NULL && net_hello(session, frame->request_id, hello->token, hello->proof.data, hello->proof.len) != QUIRE_OK) {
        return SESSION_DONE;
    }
    enum quire_status status = pager_session_open(core->pager, session->domain, &session->id);
    if (status != QUIRE_OK) {
        session_fail(session, frame->request_id, status, 1000, "no session: %s", quire_status_text(status));
        session_end(session, SESSION_END_REFUSED);
        return SESSION_DONE;
    }
    session->state = SESSION_OPEN;
    session->loads = (hello->features & QUIRE_FEATURE_LOAD) != 0;
    session->ranges = (hello->features & QUIRE_FEATURE_RANGES) != 0;
    session->pings = (hello->features & QUIRE_FEATURE_PING) != 0;
    session_who(session, who);
    log_debug("session_opened", "%s, %s of %s", who, session->member ? "member" : "guest", core->config.domains[session->domain].name);
    request_welcome(session, frame->request_id);
    return SESSION_DONE;
}

/* ---- namespaces ----------------------------------------------------------------------------------------------------------- */

static const char *request_salt(const struct core *core, const char *ns) {
    for (uint32_t i = 0; i < core->config.n_salts; i++) {
        if (strcmp(core->config.salts[i].ns, ns) == 0) {
            return core->config.salts[i].salt;
        }
    }
    return "";
}

/* What a session may do in a namespace: over a wire what its token says; who is local belongs to the trust domain. */
static uint32_t request_ns_rights(const struct session *session, const char *name) {
    return session->remote != NULL ? token_rights(&session->remote->token, name) : TOKEN_READ | TOKEN_WRITE;
}

/* The session's handle of a namespace, counted from 1; 0: too many are open. */
static uint32_t request_ns_handle(struct session *session, uint16_t ns, uint32_t rights) {
    uint32_t spare = SESSION_MAX_NS;
    for (uint32_t i = 0; i < session->n_ns; i++) {
        if (session->ns[i] == ns) {
            return i + 1;
        }
    }
    if (session->n_ns == spare) {
        return 0;
    }
    session->ns[session->n_ns] = ns;
    session->ns_rights[session->n_ns] = (uint8_t)rights;
    return ++session->n_ns;
}

bool session_may(const struct session *session, uint32_t ns_handle, uint32_t right) {
    return ns_handle > 0 && ns_handle <= session->n_ns && (session->ns_rights[ns_handle - 1] & right) != 0;
}

static enum quire_status request_ns(const struct session *session, uint32_t handle, uint16_t *ns) {
    if (handle == 0 || handle > session->n_ns || session->ns[handle - 1] == SESSION_NO_NS) {
        return QUIRE_NOT_FOUND;
    }
    *ns = session->ns[handle - 1];
    return QUIRE_OK;
}

/* As many namespaces are there as a token may make, and this is none of them. */
static bool request_ns_too_many(const struct session *session, const char *name, char *why, size_t why_bytes) {
    const struct core *core = session->core;
    struct pager_ns_info info;
    uint32_t cursor = 0;
    uint64_t n = 0;
    if (session->remote == NULL || session->remote->tenant == NULL) {
        return false;
    }
    uint64_t most = session->remote->tenant->limits.namespaces;
    most = most > 0 ? most : quire_max_u64(core->config.pager.max_namespaces / 2, 1);
    while (pager_ns_next(core->pager, &cursor, &info)) {
        bool ours = info.domain == session->domain;
        if (ours && strcmp(info.name, name) == 0) {
            return false;
        }
        n += ours && token_matches(&session->remote->token, info.name);
    }
    snprintf(
        why, why_bytes,
        "%llu namespaces match this token's patterns, and it may make no more: delete some, or raise namespaces= in quired's token file",
        (unsigned long long)n);
    return n >= most;
}

static enum quire_status request_ns_find(struct session *session, const Quire__Wire__NsOpen *open, uint16_t *ns, char *why,
                                         size_t why_bytes) {
    struct core *core = session->core;
    const char *salt = request_salt(core, open->name);
    uint32_t rights = request_ns_rights(session, open->name);
    if (rights == 0) {
        snprintf(why, why_bytes, "the token has no right in the namespace '%.64s'", open->name); /* whether there is one is not said */
        return QUIRE_DENIED;
    }
    if (open->layout.len == 0 || (rights & TOKEN_WRITE) == 0) { /* who may not write makes no namespace */
        return pager_ns_open(core->pager, session->domain, open->name, NULL, salt, strlen(salt), ns, why, why_bytes);
    }
    quire_layout *layout = arena_alloc(&core->arena, sizeof *layout);
    if (layout == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = quire_layout_decode(open->layout.data, open->layout.len, layout);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "the layout cannot be read: %s", quire_status_text(status));
        return status;
    }
    if (request_ns_too_many(session, open->name, why, why_bytes)) {
        return QUIRE_FULL;
    }
    return pager_ns_open(core->pager, session->domain, open->name, layout, salt, strlen(salt), ns, why, why_bytes);
}

static enum quire_status request_ns_fill(struct session *session, uint16_t ns, uint32_t rights, Quire__Wire__NsAck *ack, quire_key *root,
                                         char *why, size_t why_bytes) {
    struct core *core = session->core;
    if (pager_ns_domain(core->pager, ns) != session->domain) {
        snprintf(why, why_bytes, "the namespace belongs to another trust domain");
        return QUIRE_DENIED;
    }
    size_t layout_bytes = 0;
    uint8_t *layout = arena_alloc(&core->arena, QUIRE_LAYOUT_WIRE_MAX);
    if (layout == NULL) {
        return QUIRE_NO_MEMORY;
    }
    QUIRE_FORWARD(quire_layout_encode(pager_ns_layout(core->pager, ns), layout, QUIRE_LAYOUT_WIRE_MAX, &layout_bytes));
    ack->ns = request_ns_handle(session, ns, rights);
    if (ack->ns == 0) {
        snprintf(why, why_bytes, "%u namespaces are open in this session, which is the limit", SESSION_MAX_NS);
        return QUIRE_TOO_LARGE;
    }
    QUIRE_FORWARD(pager_ns_use(core->pager, session->id, ns));
    *root = pager_ns_root(core->pager, ns);
    ack->root = (ProtobufCBinaryData){.len = QUIRE_KEY_BYTES, .data = root->b};
    ack->layout = (ProtobufCBinaryData){.len = layout_bytes, .data = layout};
    ack->may_read = (rights & TOKEN_READ) != 0;
    ack->may_write = (rights & TOKEN_WRITE) != 0;
    return QUIRE_OK;
}

static enum session_verdict request_ns_open(struct session *session, const struct quire_frame *frame, const uint8_t *body,
                                            uint64_t read_ns) {
    struct core *core = session->core;
    char why[256] = "";
    uint16_t ns = SESSION_NO_NS;
    quire_key root;
    (void)read_ns;
    Quire__Wire__NsOpen *open = quire__wire__ns_open__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (open == NULL) {
        return request_malformed(session, frame);
    }
    Quire__Wire__NsAck ack = QUIRE__WIRE__NS_ACK__INIT;
    enum quire_status status = request_ns_find(session, open, &ns, why, sizeof why);
    if (status == QUIRE_OK) {
        status = request_ns_fill(session, ns, request_ns_rights(session, open->name), &ack, &root, why, sizeof why);
    }
    ack.status = status;
    ack.text = status == QUIRE_OK || why[0] != '\0' ? why : (char *)quire_status_text(status);
    core->counters.requests_failed += status != QUIRE_OK;
    session_send(session, QUIRE_MSG_NS_ACK, frame->request_id, &ack.base, NULL, 0);
    return SESSION_DONE;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

/* A client that does not know of records without an address: what is away is a miss to it, and so is all that it asked for together. */
static void request_hide_away(struct session *session, uint32_t n_keys, struct pager_lease_reply *reply) {
    bool away = false;
    for (uint32_t i = 0; i < reply->n_grants; i++) {
        away = away || reply->grants[i].offset == QUIRE_WIRE_AWAY;
    }
    reply->estimates_us = NULL;
    if (!away) {
        return;
    }
    pager_release(session->core->pager, session->id, reply->lease);
    reply->lease = reply->tokens = 0;
    reply->hits = reply->n_grants = 0;
    memset(reply->misses, QUIRE_MISS_EVICTED, n_keys);
}

/* Without a word when nothing is away. They never fall from one key to the next. */
static ProtobufCBinaryData request_estimates(const struct pager_lease_reply *reply, size_t n_keys) {
    bool some = reply->estimates_us != NULL && n_keys > 0 && reply->estimates_us[n_keys - 1] > 0;
    return (ProtobufCBinaryData){.len = some ? n_keys * sizeof *reply->estimates_us : 0, .data = (uint8_t *)reply->estimates_us};
}

/* To who may not read, a namespace is empty: not even whether a block is there is told. */
static enum quire_status request_lease_blind(struct core *core, uint32_t n_keys, struct pager_lease_reply *reply) {
    reply->misses = arena_alloc(&core->arena, n_keys);
    if (reply->misses == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memset(reply->misses, QUIRE_MISS_NEVER_STORED, n_keys);
    return QUIRE_OK;
}

static enum quire_status request_lease_ask(struct session *session, const Quire__Wire__Lease *lease, struct pager_lease_reply *reply,
                                           const char **text) {
    struct core *core = session->core;
    struct pager_lease_request request = {.session = session->id,
                                          .keys = lease->keys.data,
                                          .n_keys = (uint32_t)(lease->keys.len / QUIRE_KEY_BYTES),
                                          .flags = lease->flags,
                                          .group_mask = lease->group_mask,
                                          .max_error = lease->max_error,
                                          .lease_ms = lease->lease_ms};
    if (lease->keys.len % QUIRE_KEY_BYTES != 0 || lease->keys.len / QUIRE_KEY_BYTES > QUIRE_MAX_BATCH) {
        *text = "keys have 32 bytes each, and there are at most 8192";
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(request_ns(session, lease->ns, &request.ns));
    if (!session_may(session, lease->ns, TOKEN_READ)) {
        return request_lease_blind(core, request.n_keys, reply);
    }
    const quire_layout *layout = pager_ns_layout(core->pager, request.ns);
    if (layout == NULL) {
        return QUIRE_NOT_FOUND;
    }
    reply->grants_capacity = lease->flags & QUIRE_WIRE_LEASE_PROBE ? 0 : request.n_keys * quire_max_u64(layout->n_groups, 1);
    reply->misses = arena_alloc(&core->arena, request.n_keys);
    reply->grants = arena_alloc(&core->arena, reply->grants_capacity * sizeof *reply->grants);
    reply->estimates_us = core->disk_tier != NULL ? arena_alloc(&core->arena, request.n_keys * sizeof *reply->estimates_us) : NULL;
    if (reply->misses == NULL || reply->grants == NULL || (core->disk_tier != NULL && reply->estimates_us == NULL)) {
        return QUIRE_NO_MEMORY;
    }
    if (session->remote != NULL) {
        request.others_bytes = quarantine_afar(core, session->remote->token.name).leased_bytes;
    }
    QUIRE_FORWARD(pager_lease(core->pager, core->now_ns, &request, reply));
    if (core->disk_tier != NULL && !session->loads) {
        request_hide_away(session, request.n_keys, reply);
    }
    savings_hit(&core->savings, request.ns, pager_ns_serial(core->pager, request.ns), reply->tokens, core->config.prefill_tokens_per_s);
    return QUIRE_OK;
}

static enum session_verdict request_lease(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    struct core *core = session->core;
    struct pager_lease_reply reply = {0};
    const char *text = NULL;
    Quire__Wire__Lease *lease = quire__wire__lease__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (lease == NULL) {
        return request_malformed(session, frame);
    }
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    enum quire_status status = request_lease_ask(session, lease, &reply, &text);
    grants.status = status;
    grants.epoch = core->epoch;
    if (status == QUIRE_OK) {
        size_t n_keys = lease->keys.len / QUIRE_KEY_BYTES;
        grants.lease = reply.lease;
        grants.hits = reply.hits;
        grants.misses = (ProtobufCBinaryData){.len = reply.hits < n_keys ? n_keys : 0, .data = reply.misses};
        grants.grants = (ProtobufCBinaryData){.len = reply.n_grants * sizeof *reply.grants, .data = (uint8_t *)reply.grants};
        grants.seen = request_estimates(&reply, n_keys);
    } else {
        grants.text = (char *)(text != NULL ? text : quire_status_text(status));
        grants.retry_after_ms = status == QUIRE_RETRY ? 10 : 0;
        core->counters.requests_failed++;
    }
    session_send(session, QUIRE_MSG_GRANTS, frame->request_id, &grants.base, NULL, 0);
    core_histogram_add(&core->histograms.lease_us, loop_now_ns() - read_ns);
    return SESSION_DONE;
}

static enum session_verdict request_release(struct session *session, const struct quire_frame *frame, const uint8_t *body,
                                            uint64_t read_ns) {
    struct core *core = session->core;
    (void)read_ns;
    Quire__Wire__Release *release = quire__wire__release__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (release == NULL) {
        return request_malformed(session, frame);
    }
    session->core->reader_misses[QUIRE_MISS_CORRUPT] += quire_min_u64(release->corrupt, QUIRE_MAX_BATCH);
    session->core->reader_misses[QUIRE_MISS_TIMEOUT] += quire_min_u64(release->timeout, QUIRE_MAX_BATCH);
    for (size_t i = 0; i < release->n_lease; i++) {
        pager_release(core->pager, session->id, release->lease[i]); /* one that expired meanwhile is nobody's fault */
    }
    return SESSION_DONE;
}

/* ---- by key --------------------------------------------------------------------------------------------------------------- */

/* Over a wire. To pin is to learn what is there, so it takes both rights. */
static const char *request_keys_right(const struct session *session, const Quire__Wire__Keys *keys) {
    bool reads = session_may(session, keys->ns, TOKEN_READ), writes = session_may(session, keys->ns, TOKEN_WRITE);
    switch (keys->verb) {
    case QUIRE_WIRE_TOUCH:
        return reads ? NULL : "the token may not read in this namespace";
    case QUIRE_WIRE_DELETE:
        return writes ? NULL : "the token may not write in this namespace";
    default:
        return reads && writes ? NULL : "to pin and unpin takes a token with both rights, read and write, in this namespace";
    }
}

static enum quire_status request_keys_check(const struct session *session, const Quire__Wire__Keys *keys, uint16_t *ns, const char **text) {
    if (keys->keys.len % QUIRE_KEY_BYTES != 0 || keys->keys.len / QUIRE_KEY_BYTES > QUIRE_MAX_BATCH || keys->verb < QUIRE_WIRE_TOUCH ||
        keys->verb > QUIRE_WIRE_UNPIN) {
        return QUIRE_INVALID;
    }
    if (!session->member && session->remote == NULL && keys->verb != QUIRE_WIRE_TOUCH) {
        return QUIRE_DENIED; /* guests use what is there; they do not decide what stays */
    }
    if (session->remote != NULL && (*text = request_keys_right(session, keys)) != NULL) {
        return QUIRE_DENIED;
    }
    if (keys->verb != QUIRE_WIRE_TOUCH && !durable_has_room(session)) {
        *text = "too many requests wait until what they changed is durable";
        return QUIRE_RETRY;
    }
    return request_ns(session, keys->ns, ns);
}

/* After a start, while what is on disk is still being found: what is not there may come yet, so nothing was done to it. Who may not read is told the
   same of all keys, whether they are there or not. */
static void request_keys_told(const struct session *session, uint32_t ns_handle, uint8_t *statuses, uint32_t n_keys) {
    bool blind = !session_may(session, ns_handle, TOKEN_READ);
    struct pager_disk_stats stats;
    pager_disk_stats(session->core->pager, &stats);
    for (uint32_t i = 0; i < n_keys; i++) {
        uint8_t found = blind ? QUIRE_OK : statuses[i];
        statuses[i] = stats.restoring && (blind || found == QUIRE_MISS) ? QUIRE_RETRY : found;
    }
}

static char *request_later(struct core *core, uint32_t *wait_ms) {
    uint64_t again_ns = pager_keys_again_ns(core->pager);
    *wait_ms = (uint32_t)quire_min_u64((again_ns - quire_min_u64(again_ns, core->now_ns)) / QUIRE_NS_PER_MS + 1, UINT32_MAX);
    return arena_zalloc(&core->arena, REQUEST_TEXT_BYTES, 1);
}

/* Why nothing was pinned or unpinned, and what to do. */
static const char *request_pin_later(const struct session *session, uint32_t n_keys, uint32_t *wait_ms) {
    char *text = request_later(session->core, wait_ms);
    if (text == NULL) {
        return NULL;
    }
    snprintf(text, REQUEST_TEXT_BYTES,
             "the disk writes that metadata may use are used up: nothing was pinned or unpinned, try again in %u ms", *wait_ms);
    log_warn("disk_pins_refused",
             "session %llu: %u block%s: %s. write_budget_bytes_per_s and drive_writes_per_day bound what metadata may write, and each "
             "write tells of all pins",
             (unsigned long long)session->id, n_keys, quire_s(n_keys), text);
    return text;
}

/* Why nothing was deleted, and what to do. */
static const char *request_delete_later(const struct session *session, uint32_t n_keys, uint32_t *wait_ms) {
    struct core *core = session->core;
    if (pager_keys_again_ns(core->pager) == 0) {
        return "too many deletions wait to be written to disk: nothing was deleted, try again";
    }
    char *text = request_later(core, wait_ms);
    if (text == NULL) {
        return NULL;
    }
    snprintf(text, REQUEST_TEXT_BYTES,
             "the disk writes that deletions may use are used up, or this session's share: nothing was deleted, try again in %u ms",
             *wait_ms);
    log_warn("disk_deletions_refused",
             "session %llu: %u block%s not deleted: %s. write_budget_bytes_per_s and drive_writes_per_day bound what deletions may write",
             (unsigned long long)session->id, n_keys, n_keys == 1 ? " is" : "s are", text);
    return text;
}

static enum session_verdict request_keys(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    struct core *core = session->core;
    const char *text = NULL;
    uint16_t ns;
    (void)read_ns;
    Quire__Wire__Keys *keys = quire__wire__keys__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (keys == NULL) {
        return request_malformed(session, frame);
    }
    uint32_t n_keys = (uint32_t)(keys->keys.len / QUIRE_KEY_BYTES);
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    uint8_t *statuses = arena_zalloc(&core->arena, n_keys, 1);
    enum quire_status status = statuses == NULL ? QUIRE_NO_MEMORY : request_keys_check(session, keys, &ns, &text);
    if (status == QUIRE_OK) {
        status = pager_keys(core->pager, core->now_ns, session->id, ns, (enum quire_wire_keys_verb)keys->verb, keys->keys.data, n_keys,
                            statuses);
    }
    uint32_t wait_ms = DURABLE_RETRY_MS;
    if (status == QUIRE_RETRY && text == NULL) {
        text = keys->verb == QUIRE_WIRE_DELETE ? request_delete_later(session, n_keys, &wait_ms)
                                               : request_pin_later(session, n_keys, &wait_ms);
    }
    if (status == QUIRE_OK && keys->verb != QUIRE_WIRE_TOUCH) {
        request_keys_told(session, keys->ns, statuses, n_keys);
        durable_keys(session, frame->request_id, (enum quire_wire_keys_verb)keys->verb, statuses, n_keys);
        return SESSION_DONE;
    }
    acks.status = status;
    acks.epoch = core->epoch;
    if (status == QUIRE_OK) {
        acks.statuses = (ProtobufCBinaryData){.len = n_keys, .data = statuses};
    } else {
        acks.text = (char *)(text != NULL ? text : quire_status_text(status));
        acks.retry_after_ms = status == QUIRE_RETRY ? wait_ms : 0;
        core->counters.requests_failed++;
    }
    session_send(session, QUIRE_MSG_ACKS, frame->request_id, &acks.base, NULL, 0);
    return SESSION_DONE;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------- */

static enum session_verdict request_put(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    return puts_request(session, frame, body, read_ns);
}

static enum session_verdict request_read(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    (void)read_ns;
    return guest_read(session, frame, body);
}

static enum session_verdict request_ingest_get(struct session *session, const struct quire_frame *frame, const uint8_t *body,
                                               uint64_t read_ns) {
    (void)read_ns;
    return ingest_request_get(session, frame, body);
}

static enum session_verdict request_ingest_return(struct session *session, const struct quire_frame *frame, const uint8_t *body,
                                                  uint64_t read_ns) {
    (void)read_ns;
    return ingest_request_return(session, frame, body);
}

static enum session_verdict request_admin(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    (void)read_ns;
    return admin_request(session, frame, body);
}

/* Puts of parts whose sender gives their blocks up. Lists that do not fit together name nothing. */
static void request_cancel_puts(struct session *session, const Quire__Wire__Cancel *cancel) {
    struct core *core = session->core;
    if (cancel->ns == 0 || cancel->ns > session->n_ns || session->ns[cancel->ns - 1] == SESSION_NO_NS ||
        cancel->n_put_ids > QUIRE_MAX_BATCH || cancel->keys.len != cancel->n_put_ids * sizeof(quire_key)) {
        return;
    }
    for (size_t i = 0; i < cancel->n_put_ids; i++) {
        quire_key key;
        memcpy(&key, cancel->keys.data + i * sizeof key, sizeof key);
        pager_put_cancel(core->pager, core->now_ns, session->id, session->ns[cancel->ns - 1], &key, cancel->put_ids[i]);
    }
}

/* Waiting for an ingest window, for records from disk and for a turn to be sent can be called off, and what was put of a block; all else ends soon. */
static enum session_verdict request_cancel(struct session *session, const struct quire_frame *frame, const uint8_t *body,
                                           uint64_t read_ns) {
    (void)read_ns;
    Quire__Wire__Cancel *cancel = quire__wire__cancel__unpack(&session->core->arena.allocator, frame->body_bytes, body);
    if (cancel == NULL) {
        return request_malformed(session, frame);
    }
    ingest_cancel(session->core->ingest, session, cancel->request);
    loads_cancel(session, cancel->request);
    guest_cancel(session, cancel->request);
    request_cancel_puts(session, cancel);
    return SESSION_DONE;
}

static enum session_verdict request_goodbye(struct session *session, const struct quire_frame *frame, const uint8_t *body,
                                            uint64_t read_ns) {
    (void)frame, (void)body, (void)read_ns;
    session->leaving = true; /* ends when what is under way has been answered */
    return SESSION_DONE;
}

static enum session_verdict request_ping(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    (void)body, (void)read_ns;
    session_send(session, QUIRE_MSG_PONG, frame->request_id, NULL, NULL, 0);
    return SESSION_DONE;
}

/* While draining, only what frees something is still done. */
static const struct request_entry {
    request_fn *fn;
    bool while_draining;
} request_table[] = {
    [QUIRE_MSG_HELLO] = {request_hello, false},
    [QUIRE_MSG_NS_OPEN] = {request_ns_open, false},
    [QUIRE_MSG_LEASE] = {request_lease, false},
    [QUIRE_MSG_RELEASE] = {request_release, true},
    [QUIRE_MSG_READ] = {request_read, false},
    [QUIRE_MSG_PUT] = {request_put, false},
    [QUIRE_MSG_INGEST_GET] = {request_ingest_get, false},
    [QUIRE_MSG_INGEST_RETURN] = {request_ingest_return, true},
    [QUIRE_MSG_KEYS] = {request_keys, false},
    [QUIRE_MSG_ADMIN] = {request_admin, true},
    [QUIRE_MSG_CANCEL] = {request_cancel, true},
    [QUIRE_MSG_GOODBYE] = {request_goodbye, true},
    [QUIRE_MSG_LOAD] = {loads_request, false},
    [QUIRE_MSG_PING] = {request_ping, true},
};

enum session_verdict request_handle(struct session *session, const struct quire_frame *frame, const uint8_t *body, uint64_t read_ns) {
    const struct request_entry *entry = frame->type < QUIRE_ARRAY_LEN(request_table) ? &request_table[frame->type] : NULL;
    session->requests++;
    if (session->state == SESSION_NEW && frame->type != QUIRE_MSG_HELLO) {
        session->core->counters.frames_bad++;
        session_kick(session, QUIRE_INVALID, "the first frame must be HELLO");
    } else if (frame->bulk_bytes != 0 && session->remote == NULL) {
        session->core->counters.frames_bad++;
        session_kick(session, QUIRE_INVALID, "a client's frame carries no bulk bytes: they go through an ingest window");
    } else if (entry == NULL || entry->fn == NULL) {
        session_fail(session, frame->request_id, QUIRE_UNSUPPORTED, 0, "this quired (%s) does not know message type %u",
                     QUIRE_PACKAGE_VERSION, frame->type);
    } else if (session->core->draining && !entry->while_draining) {
        session_fail(session, frame->request_id, QUIRE_DISCONNECTED, 1000, "quired is stopping");
    } else {
        return entry->fn(session, frame, body, read_ns);
    }
    return SESSION_DONE;
}
