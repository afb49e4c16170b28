/*
 * Administration: one function a verb, each filling its sections of the reply from the core's second arena. The same answers serve quirectl,
 * the metrics page and tests.
 *
 * Who may: guests see the status; members what their domain holds; the daemon's own user and root may also change things and see everything.
 */
#include "daemon/core_internal.h"

#include "proto/key.h"
#include "proto/layout.h"
#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ADMIN_MAX_BLOCKS 256

/* The heap's own figures, where the heap is jemalloc. */
int mallctl(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes) __attribute__((weak));

/* Who asks: NULL session means the daemon itself. */
struct admin_call {
    struct core *core;
    const struct session *session;
    const Quire__Wire__AdminRequest *request;
    Quire__Wire__AdminReply *reply;
    struct arena *arena;
};

static bool admin_is_operator(const struct admin_call *call) { return call->session == NULL || call->session->admin; }
/* May see what this domain holds. */
static bool admin_sees(const struct admin_call *call, uint32_t domain) {
    return admin_is_operator(call) || (call->session->member && call->session->domain == domain);
}

static ProtobufCBinaryData admin_bytes(const struct admin_call *call, const void *bytes, size_t size) {
    uint8_t *copy = arena_alloc(call->arena, size);
    if (copy == NULL) {
        return (ProtobufCBinaryData){0};
    }
    memcpy(copy, bytes, size);
    return (ProtobufCBinaryData){.len = size, .data = copy};
}

static char *admin_text(const struct admin_call *call, const char *text) { return arena_printf(call->arena, "%s", text); }

/* ---- status --------------------------------------------------------------------------------------------------------------- */

static uint64_t admin_heap_bytes(void) {
    if (mallctl == NULL) {
        return 0;
    }
    uint64_t epoch = 1;
    size_t bytes = 0, size = sizeof epoch;
    mallctl("epoch", &epoch, &size, &epoch, size);
    size = sizeof bytes;
    return mallctl("stats.allocated", &bytes, &size, NULL, 0) == 0 ? bytes : 0;
}

static uint64_t admin_rss_bytes(void) {
    unsigned long long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &pages, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static const char *admin_build(void) {
#ifdef __OPTIMIZE__
#define ADMIN_OPTIMIZED "optimised"
#else
#define ADMIN_OPTIMIZED "not optimised"
#endif
#ifdef __clang__
    return "clang " __clang_version__ ", " ADMIN_OPTIMIZED;
#else
    return "gcc " __VERSION__ ", " ADMIN_OPTIMIZED;
#endif
}

static void admin_tier(const struct admin_call *call, uint32_t domain, Quire__Wire__TierInfo *tier) {
    struct pager_domain_stats stats;
    pager_domain_stats(call->core->pager, domain, &stats);
    quire__wire__tier_info__init(tier);
    tier->name = admin_text(call, stats.tier);
    tier->domain = admin_text(call, stats.name);
    tier->capacity_bytes = stats.capacity_bytes;
    tier->used_bytes = stats.used_bytes;
    tier->live_bytes = stats.live_bytes;
    tier->leased_bytes = stats.leased_bytes;
    tier->pinned_bytes = stats.pinned_bytes;
    tier->quarantined_bytes = stats.quarantined_bytes;
    tier->records = stats.records;
    tier->largest_free_bytes = stats.largest_free_bytes;
    tier->huge_pages = call->core->pools[domain]->huge_pages;
}

static enum quire_status admin_tiers(const struct admin_call *call) {
    uint32_t n = call->core->n_pools;
    Quire__Wire__TierInfo *tiers = arena_zalloc(call->arena, n, sizeof *tiers);
    call->reply->tiers = arena_zalloc(call->arena, n, sizeof *call->reply->tiers);
    if (tiers == NULL || call->reply->tiers == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (admin_sees(call, i)) {
            admin_tier(call, i, &tiers[i]);
            call->reply->tiers[call->reply->n_tiers++] = &tiers[i];
        }
    }
    return QUIRE_OK;
}

static enum quire_status admin_status(const struct admin_call *call) {
    struct core *core = call->core;
    struct pager_memory memory;
    Quire__Wire__DaemonInfo *info = arena_alloc(call->arena, sizeof *info);
    if (info == NULL) {
        return QUIRE_NO_MEMORY;
    }
    pager_memory(core->pager, &memory);
    quire__wire__daemon_info__init(info);
    info->version = (char *)QUIRE_PACKAGE_VERSION;
    info->epoch = core->epoch;
    info->pid = (uint32_t)getpid();
    info->uptime_ms = (loop_now_ns() - core->started_ns) / QUIRE_NS_PER_MS;
    info->socket = core->config.socket_path;
    info->metrics_address = core->metrics_address;
    info->rss_bytes = admin_rss_bytes();
    info->heap_bytes = admin_heap_bytes();
    info->index_bytes = memory.index_bytes;
    info->blocks = memory.blocks;
    info->max_blocks = memory.max_blocks;
    info->ingest_lent_bytes = ingest_lent_bytes(core->ingest);
    info->ingest_max_bytes = core->config.ingest_bytes;
    info->work_threads = core->work_threads;
    info->state = (char *)(core->draining ? "draining" : "serving");
    info->build = (char *)admin_build();
    call->reply->daemon = info;
    return admin_tiers(call);
}

/* ---- namespaces ----------------------------------------------------------------------------------------------------------- */

static enum quire_status admin_ns_fill(const struct admin_call *call, const struct pager_ns_info *info, bool with_layout) {
    Quire__Wire__NamespaceInfo *ns = arena_alloc(call->arena, sizeof *ns);
    if (ns == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__namespace_info__init(ns);
    ns->name = admin_text(call, info->name);
    ns->domain = admin_text(call, call->core->config.domains[info->domain].name);
    ns->digest = admin_bytes(call, info->digest, sizeof info->digest);
    if (with_layout) {
        uint8_t layout[QUIRE_LAYOUT_WIRE_MAX];
        size_t size;
        QUIRE_FORWARD(quire_layout_encode(pager_ns_layout(call->core->pager, info->ns), layout, sizeof layout, &size));
        ns->layout = admin_bytes(call, layout, size);
    }
    ns->blocks = info->blocks;
    ns->records = info->records;
    ns->bytes = info->bytes;
    ns->pinned_blocks = info->pinned_blocks;
    ns->hits = info->hits;
    ns->misses = info->misses;
    ns->stores = info->stores;
    ns->evictions = info->evictions;
    ns->tokens_reused = info->tokens_reused;
    ns->policy = (char *)"lossless";
    call->reply->namespaces[call->reply->n_namespaces++] = ns;
    return QUIRE_OK;
}

/* All, without layouts; or the one that is named, with it. */
static enum quire_status admin_ns_list(const struct admin_call *call) {
    uint32_t cursor = 0;
    struct pager_ns_info info;
    bool one = call->request->ns[0] != '\0';
    call->reply->namespaces = arena_zalloc(call->arena, call->core->config.pager.max_namespaces, sizeof *call->reply->namespaces);
    if (call->reply->namespaces == NULL) {
        return QUIRE_NO_MEMORY;
    }
    while (call->reply->n_namespaces < call->core->config.pager.max_namespaces && pager_ns_next(call->core->pager, &cursor, &info)) {
        if (admin_sees(call, info.domain) && (!one || strcmp(info.name, call->request->ns) == 0)) {
            QUIRE_FORWARD(admin_ns_fill(call, &info, one));
        }
    }
    return one && call->reply->n_namespaces == 0 ? QUIRE_NOT_FOUND : QUIRE_OK;
}

/* Handles that sessions hold on a deleted namespace must never name its successor. */
static void admin_forget_ns(struct core *core, uint16_t ns) {
    for (struct session *session = core->sessions; session != NULL; session = session->next) {
        for (uint32_t i = 0; i < session->n_ns; i++) {
            if (session->ns[i] == ns) {
                session->ns[i] = SESSION_NO_NS;
            }
        }
    }
}

static enum quire_status admin_ns_delete(const struct admin_call *call) {
    struct core *core = call->core;
    uint64_t blocks = 0;
    uint16_t ns;
    QUIRE_FORWARD(pager_ns_find(core->pager, call->request->ns, &ns));
    QUIRE_FORWARD(pager_ns_delete(core->pager, call->request->ns, &blocks));
    admin_forget_ns(core, ns);
    log_info("ns_deleted", "namespace %s deleted with %llu blocks", call->request->ns, (unsigned long long)blocks);
    call->reply->text = arena_printf(call->arena, "deleted with %llu blocks", (unsigned long long)blocks);
    return QUIRE_OK;
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------- */

static const char *admin_advice(const struct pager_block_info *info) {
    switch (info->miss) {
    case QUIRE_MISS_NONE:
        return info->pins > 0 ? "it hits, and is pinned" : "it hits";
    case QUIRE_MISS_NEVER_STORED:
        return "no worker stored it; check that writer and reader use the same model file, block size and adapter, since the key depends "
               "on "
               "all of them";
    case QUIRE_MISS_EVICTED:
        return "the pool is too small for the working set: raise pool_bytes, or pin what must stay";
    case QUIRE_MISS_DELETED:
        return "somebody deleted it: the log tells when";
    case QUIRE_MISS_INCOMPLETE:
        return "some parts have not come: every rank must store its part under the same put_id before part_expiry_ms";
    case QUIRE_MISS_FLOOR:
        return "it is held less faithfully than asked for: store it again, or lower the demand";
    case QUIRE_MISS_LAYOUT:
        return "the layer group was never stored: the writer left it out, or a reader asks for a window it does not need";
    case QUIRE_MISS_ORPHAN:
        return "an earlier block of its chain is missing, so no prefix reaches it: store that one, or look the key up by itself";
    case QUIRE_MISS_CORRUPT:
        return "its bytes failed their checksum and were dropped: check this machine's memory if it happens again";
    case QUIRE_MISS_TIMEOUT:
        return "the answer came after the deadline: see lease_us in /metrics";
    case QUIRE_MISS_QUOTA:
        return "the session holds too much under leases: release earlier, or raise lease_quota_pct";
    case QUIRE_MISS_COUNT:
        break;
    }
    return "";
}

static enum quire_status admin_record(const struct admin_call *call, const struct pager_record_info *info, const char *tier,
                                      Quire__Wire__BlockInfo *block) {
    Quire__Wire__RecordInfo *record = arena_alloc(call->arena, sizeof *record);
    if (record == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__record_info__init(record);
    record->group = info->group;
    record->tier = (char *)tier;
    record->state = admin_text(call, info->state);
    record->offset = info->offset;
    record->bytes = info->size_bytes;
    record->refs = info->refs;
    record->sequence = info->sequence;
    record->rung = (char *)quire_rung_name((enum quire_rung)info->rung);
    record->error = info->error;
    record->ancestry_error = info->ancestry_error;
    record->generation = info->generation;
    block->records[block->n_records++] = record;
    return QUIRE_OK;
}

static enum quire_status admin_block_fill(const struct admin_call *call, const struct pager_block_info *info) {
    Quire__Wire__BlockInfo *block = arena_alloc(call->arena, sizeof *block);
    if (block == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__block_info__init(block);
    block->key = admin_bytes(call, info->key.b, QUIRE_KEY_BYTES);
    block->parent = admin_bytes(call, info->parent.b, QUIRE_KEY_BYTES);
    block->ns = admin_text(call, call->request->ns);
    block->n_tokens = info->n_tokens;
    block->children = info->children;
    block->pins = info->pins;
    block->state = (char *)(info->miss == QUIRE_MISS_NONE ? "stored" : info->placeholder ? "awaited" : quire_miss_name(info->miss));
    block->miss = info->miss;
    block->advice = (char *)admin_advice(info);
    block->idle_ms = info->idle_ns / QUIRE_NS_PER_MS;
    block->records = arena_zalloc(call->arena, PAGER_BLOCK_RECORDS_MAX, sizeof *block->records);
    if (block->records == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < info->n_records; i++) {
        QUIRE_FORWARD(admin_record(call, &info->records[i], "host", block));
    }
    call->reply->blocks[call->reply->n_blocks++] = block;
    return QUIRE_OK;
}

static enum quire_status admin_block_show(const struct admin_call *call) {
    struct core *core = call->core;
    const ProtobufCBinaryData keys = call->request->keys;
    size_t n = keys.len / QUIRE_KEY_BYTES;
    uint16_t ns;
    if (keys.len % QUIRE_KEY_BYTES != 0 || n == 0 || n > ADMIN_MAX_BLOCKS) {
        call->reply->text = arena_printf(call->arena, "give 1 to %d keys of 32 bytes", ADMIN_MAX_BLOCKS);
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(pager_ns_find(core->pager, call->request->ns, &ns));
    if (!admin_sees(call, pager_ns_domain(core->pager, ns))) {
        return QUIRE_DENIED;
    }
    call->reply->blocks = arena_zalloc(call->arena, n, sizeof *call->reply->blocks);
    if (call->reply->blocks == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        struct pager_block_info info;
        quire_key key;
        memcpy(key.b, keys.data + i * QUIRE_KEY_BYTES, QUIRE_KEY_BYTES);
        QUIRE_FORWARD(pager_block_info(core->pager, core->now_ns, ns, &key, &info));
        QUIRE_FORWARD(admin_block_fill(call, &info));
    }
    return QUIRE_OK;
}

/* request.ns empty: of any namespace; request.text: the domain, empty: the first. */
static enum quire_status admin_evict(const struct admin_call *call) {
    struct core *core = call->core;
    uint16_t ns = SESSION_NO_NS;
    uint32_t domain = 0;
    uint64_t freed = 0;
    if (call->request->ns[0] != '\0') {
        QUIRE_FORWARD(pager_ns_find(core->pager, call->request->ns, &ns));
        domain = pager_ns_domain(core->pager, ns);
    } else if (call->request->text[0] != '\0') {
        while (domain < core->n_pools && strcmp(core->config.domains[domain].name, call->request->text) != 0) {
            domain++;
        }
        if (domain == core->n_pools) {
            call->reply->text = admin_text(call, "no such trust domain");
            return QUIRE_NOT_FOUND;
        }
    }
    QUIRE_FORWARD(pager_evict(core->pager, core->now_ns, domain, ns, call->request->number, &freed));
    call->reply->text = arena_printf(call->arena, "%llu bytes freed", (unsigned long long)freed);
    log_info("evicted", "%llu bytes freed on request", (unsigned long long)freed);
    return QUIRE_OK;
}

/* ---- sessions ------------------------------------------------------------------------------------------------------------- */

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

static enum quire_status admin_session_list(const struct admin_call *call) {
    call->reply->sessions = arena_zalloc(call->arena, call->core->n_sessions + 1, sizeof *call->reply->sessions);
    if (call->reply->sessions == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (const struct session *session = call->core->sessions; session != NULL; session = session->next) {
        if (session->id != 0 && (admin_sees(call, session->domain))) {
            QUIRE_FORWARD(admin_session_fill(call, session));
        }
    }
    return QUIRE_OK;
}

static enum quire_status admin_session_kick(const struct admin_call *call) {
    for (struct session *session = call->core->sessions; session != NULL; session = session->next) {
        if (session->id == call->request->number && session->id != 0) {
            call->reply->text = arena_printf(call->arena, "%s, process %d", session->client, (int)session->pid);
            session_kick(session, QUIRE_DENIED, "kicked by an operator");
            return QUIRE_OK;
        }
    }
    return QUIRE_NOT_FOUND;
}

/* ---- figures and configuration -------------------------------------------------------------------------------------------- */

static void admin_counter(const struct admin_call *call, Quire__Wire__Counter *all, char *name, uint64_t value, const char *help) {
    Quire__Wire__Counter *counter = &all[call->reply->n_counters];
    quire__wire__counter__init(counter);
    counter->name = name;
    counter->value = (double)value;
    counter->help = (char *)help;
    call->reply->counters[call->reply->n_counters++] = counter;
}

static enum quire_status admin_counters(const struct admin_call *call) {
#define X(name, help) +1
    enum { N = 0 PAGER_COUNTERS(X) CORE_COUNTERS(X) + 2 * (0 CORE_HISTOGRAMS(X)) + QUIRE_MISS_COUNT };
#undef X
    const struct pager_counters *pager = pager_counters(call->core->pager);
    const struct core_counters *core = core_counters(call->core);
    const struct core_histograms *times = core_histograms(call->core);
    Quire__Wire__Counter *all = arena_alloc(call->arena, N * sizeof *all);
    call->reply->counters = arena_alloc(call->arena, N * sizeof *call->reply->counters);
    if (all == NULL || call->reply->counters == NULL) {
        return QUIRE_NO_MEMORY;
    }
#define X(name, help) admin_counter(call, all, (char *)#name, pager->name, help);
    PAGER_COUNTERS(X)
#undef X
    for (int reason = 1; reason < QUIRE_MISS_COUNT; reason++) {
        admin_counter(call, all, arena_printf(call->arena, "misses_%s", quire_miss_name((enum quire_miss)reason)), pager->misses[reason],
                      quire_miss_text((enum quire_miss)reason));
    }
#define X(name, help) admin_counter(call, all, (char *)#name, core->name, help);
    CORE_COUNTERS(X)
#undef X
#define X(name, help)                                                                                                                      \
    admin_counter(call, all, (char *)#name "_count", times->name.count, help);                                                             \
    admin_counter(call, all, (char *)#name "_sum", times->name.sum_us, help);
    CORE_HISTOGRAMS(X)
#undef X
    return QUIRE_OK;
}

static enum quire_status admin_config(const struct admin_call *call) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    if (file == NULL) {
        return QUIRE_NO_MEMORY;
    }
    config_print(&call->core->config, file);
    bool whole = fclose(file) == 0;
    if (whole) {
        call->reply->config = admin_text(call, text);
    }
    free(text);
    return whole ? QUIRE_OK : QUIRE_NO_MEMORY;
}

static enum quire_status admin_reload(const struct admin_call *call) {
    char text[1024] = "";
    if (call->core->reload == NULL) {
        return QUIRE_UNSUPPORTED;
    }
    enum quire_status status = call->core->reload(call->core->reload_ctx, text, sizeof text);
    call->reply->text = admin_text(call, text);
    return status;
}

/* ---- who may what --------------------------------------------------------------------------------------------------------- */

enum admin_right { ADMIN_FOR_ALL, ADMIN_FOR_MEMBERS, ADMIN_FOR_OPERATORS };
static const struct admin_verb {
    enum quire_status (*fn)(const struct admin_call *call);
    enum admin_right right;
} admin_verbs[] = {
    [QUIRE_ADMIN_STATUS] = {admin_status, ADMIN_FOR_ALL},
    [QUIRE_ADMIN_NS_LIST] = {admin_ns_list, ADMIN_FOR_MEMBERS},
    [QUIRE_ADMIN_NS_DELETE] = {admin_ns_delete, ADMIN_FOR_OPERATORS},
    [QUIRE_ADMIN_BLOCK_SHOW] = {admin_block_show, ADMIN_FOR_MEMBERS},
    [QUIRE_ADMIN_SESSION_LIST] = {admin_session_list, ADMIN_FOR_MEMBERS},
    [QUIRE_ADMIN_SESSION_KICK] = {admin_session_kick, ADMIN_FOR_OPERATORS},
    [QUIRE_ADMIN_EVICT] = {admin_evict, ADMIN_FOR_OPERATORS},
    [QUIRE_ADMIN_CONFIG] = {admin_config, ADMIN_FOR_OPERATORS}, /* it has the salts */
    [QUIRE_ADMIN_COUNTERS] = {admin_counters, ADMIN_FOR_MEMBERS},
    [QUIRE_ADMIN_RELOAD] = {admin_reload, ADMIN_FOR_OPERATORS},
};

static enum quire_status admin_do(const struct admin_call *call) {
    uint32_t verb = call->request->verb;
    const struct admin_verb *entry = verb < QUIRE_ARRAY_LEN(admin_verbs) ? &admin_verbs[verb] : NULL;
    if (entry == NULL || entry->fn == NULL) {
        call->reply->text = arena_printf(call->arena, "this quired (%s) does not know administrative verb %u", QUIRE_PACKAGE_VERSION, verb);
        return QUIRE_UNSUPPORTED;
    }
    bool may = entry->right == ADMIN_FOR_ALL || admin_is_operator(call) || (entry->right == ADMIN_FOR_MEMBERS && call->session->member);
    if (!may) {
        call->reply->text = admin_text(call, "only for the user that quired runs as, and root");
        return QUIRE_DENIED;
    }
    return entry->fn(call);
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
    session_send(session, QUIRE_MSG_ADMIN_REPLY, frame->request_id, &reply.base, NULL, 0);
    return SESSION_DONE;
}
