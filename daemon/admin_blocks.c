/* Namespaces and blocks: what is there, why something is not, and making it go. */
#include "daemon/admin.h"

#include "proto/base/units.h"
#include "proto/layout.h"
#include "proto/status.h"

#define ADMIN_MAX_BLOCKS 256

/* ---- namespaces ----------------------------------------------------------------------------------------------------------- */

static void admin_ns_savings(const struct core *core, uint16_t number, Quire__Wire__NamespaceInfo *ns) {
    const struct savings_ns *savings = savings_of(&core->savings, number, pager_ns_serial(core->pager, number));
    ns->prefill_us_per_token = savings_us_per_token(savings, core->config.prefill_tokens_per_s);
    ns->prefill_reports = savings != NULL ? savings->reports : 0;
    ns->prefill_seconds_saved = savings != NULL ? savings->saved_s : 0;
}

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
    ns->disk_records = info->disk_records;
    ns->disk_bytes = info->disk_bytes;
    ns->pinned_blocks = info->pinned_blocks;
    ns->hits = info->hits;
    ns->misses = info->misses;
    ns->stores = info->stores;
    ns->evictions = info->evictions;
    ns->tokens_reused = info->tokens_reused;
    admin_ns_savings(call->core, info->ns, ns);
    ns->policy = (char *)"lossless";
    call->reply->namespaces[call->reply->n_namespaces++] = ns;
    return QUIRE_OK;
}

/* All, without layouts; or the one that is named, with it. */
enum quire_status admin_ns_list(const struct admin_call *call) {
    uint32_t cursor = 0;
    size_t used = 0;
    struct pager_ns_info info;
    bool one = call->request->ns[0] != '\0';
    call->reply->namespaces = arena_zalloc(call->arena, call->core->config.pager.max_namespaces, sizeof *call->reply->namespaces);
    if (call->reply->namespaces == NULL) {
        return QUIRE_NO_MEMORY;
    }
    while (call->reply->n_namespaces < call->core->config.pager.max_namespaces && pager_ns_next(call->core->pager, &cursor, &info)) {
        if (admin_sees_ns(call, &info) && (!one || strcmp(info.name, call->request->ns) == 0)) {
            QUIRE_FORWARD(admin_ns_fill(call, &info, one));
            if (!admin_fits(call, &call->reply->namespaces[call->reply->n_namespaces - 1]->base, &used)) {
                call->reply->n_namespaces--;
                break;
            }
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

enum quire_status admin_ns_delete(const struct admin_call *call) {
    struct core *core = call->core;
    uint64_t blocks = 0;
    uint16_t ns;
    QUIRE_FORWARD(admin_find_ns(call, &ns));
    if (call->session != NULL && !durable_has_room(call->session)) {
        call->reply->text = admin_text(call, "too many requests wait until what they changed is durable");
        return QUIRE_RETRY;
    }
    QUIRE_FORWARD(pager_ns_delete(core->pager, call->request->ns, &blocks));
    admin_forget_ns(core, ns);
    log_info("ns_deleted", "namespace %s deleted with %llu block%s", call->request->ns, (unsigned long long)blocks, quire_s(blocks));
    call->reply->text = arena_printf(call->arena, "deleted with %llu block%s", (unsigned long long)blocks, quire_s(blocks));
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
        return "its bytes, or those of a block before it, failed their checksum or could not be read, and were dropped: check the drive, "
               "and this "
               "machine's memory, if it happens again";
    case QUIRE_MISS_TIMEOUT:
        return "the answer came after the deadline: see lease_us in /metrics";
    case QUIRE_MISS_QUOTA:
        return "the session holds too much under leases: release earlier, or raise lease_quota_pct";
    case QUIRE_MISS_COUNT:
        break;
    }
    return "";
}

static enum quire_status admin_record(const struct admin_call *call, const struct pager_record_info *info, Quire__Wire__BlockInfo *block) {
    Quire__Wire__RecordInfo *record = arena_alloc(call->arena, sizeof *record);
    if (record == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__record_info__init(record);
    record->group = info->group;
    record->tier = (char *)(strcmp(info->state, "disk") == 0 ? "disk" : "host");
    record->state = admin_text(call, info->state);
    record->offset = info->offset;
    record->bytes = info->size_bytes;
    record->refs = info->refs;
    record->sequence = info->sequence;
    record->rung = (char *)quire_rung_name((enum quire_rung)info->rung);
    record->error = info->error;
    record->ancestry_error = info->ancestry_error;
    record->generation = info->generation;
    record->on_disk = info->on_disk;
    record->segment = info->segment;
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
        QUIRE_FORWARD(admin_record(call, &info->records[i], block));
    }
    call->reply->blocks[call->reply->n_blocks++] = block;
    return QUIRE_OK;
}

enum quire_status admin_block_show(const struct admin_call *call) {
    struct core *core = call->core;
    const ProtobufCBinaryData keys = call->request->keys;
    size_t n = keys.len / QUIRE_KEY_BYTES;
    uint16_t ns;
    if (keys.len % QUIRE_KEY_BYTES != 0 || n == 0 || n > ADMIN_MAX_BLOCKS) {
        call->reply->text = arena_printf(call->arena, "give 1 to %d keys of 32 bytes", ADMIN_MAX_BLOCKS);
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(admin_find_ns(call, &ns));
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
enum quire_status admin_evict(const struct admin_call *call) {
    struct core *core = call->core;
    uint16_t ns = SESSION_NO_NS;
    uint32_t domain = 0;
    uint64_t freed = 0;
    if (call->request->ns[0] != '\0') {
        QUIRE_FORWARD(admin_find_ns(call, &ns));
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
    enum quire_status status = pager_evict(core->pager, core->now_ns, domain, ns, call->request->number, &freed);
    if (status != QUIRE_OK && status != QUIRE_RETRY) {
        return status;
    }
    const char *rest = status == QUIRE_RETRY ? " so far, as much as one request may take: ask again for the rest" : "";
    call->reply->text = arena_printf(call->arena, "%llu byte%s freed%s", (unsigned long long)freed, quire_s(freed), rest);
    log_info("evicted", "%llu byte%s freed on request", (unsigned long long)freed, quire_s(freed));
    return QUIRE_OK;
}
