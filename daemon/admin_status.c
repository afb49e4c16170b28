/* The daemon at a glance, its figures, its configuration. */
#include "daemon/admin.h"

#include "pager/disk.h"

#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The heap's own figures, where the heap is jemalloc. */
int mallctl(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes) __attribute__((weak));

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
    bool disk = call->core->disk_tier != NULL && (admin_is_operator(call) || call->session->member);
    Quire__Wire__TierInfo *tiers = arena_zalloc(call->arena, n + 1, sizeof *tiers);
    call->reply->tiers = arena_zalloc(call->arena, n + 1, sizeof *call->reply->tiers);
    if (tiers == NULL || call->reply->tiers == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (admin_sees(call, i)) {
            admin_tier(call, i, &tiers[i]);
            call->reply->tiers[call->reply->n_tiers++] = &tiers[i];
        }
    }
    if (disk) {
        QUIRE_FORWARD(admin_disk(call, &tiers[n]));
        call->reply->tiers[call->reply->n_tiers++] = &tiers[n];
    }
    return QUIRE_OK;
}

enum quire_status admin_status(const struct admin_call *call) {
    struct core *core = call->core;
    struct pager_memory memory;
    Quire__Wire__DaemonInfo *info = arena_alloc(call->arena, sizeof *info);
    if (info == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__daemon_info__init(info);
    call->reply->daemon = info;
    info->version = (char *)QUIRE_PACKAGE_VERSION;
    info->epoch = core->epoch;
    info->state = (char *)(core->draining ? "draining" : "serving");
    if (admin_is_tenant(call)) {
        return QUIRE_OK; /* the rest is of the host, and of all namespaces together */
    }
    pager_memory(core->pager, &memory);
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
    info->remote_read_bytes = core->flow.bytes;
    info->pieces_held = core->flow.n_held;
    info->work_threads = core->work_threads;
    info->build = (char *)admin_build();
    info->certificate_until_s = core->net.certificate_until_s;
    return admin_tiers(call);
}

/* ---- figures and configuration -------------------------------------------------------------------------------------------- */

static void admin_counter(const struct admin_call *call, Quire__Wire__Counter *all, char *name, double value, const char *help) {
    Quire__Wire__Counter *counter = &all[call->reply->n_counters];
    quire__wire__counter__init(counter);
    counter->name = name;
    counter->value = value;
    counter->help = (char *)help;
    call->reply->counters[call->reply->n_counters++] = counter;
}

enum quire_status admin_counters(const struct admin_call *call) {
#define X(name, help) +1
    enum { N = 0 PAGER_COUNTERS(X) PAGER_DISK_COUNTERS(X) CORE_COUNTERS(X) + 2 * (0 CORE_HISTOGRAMS(X)) + QUIRE_MISS_COUNT + 1 };
#undef X
    const struct pager_counters *pager = pager_counters(call->core->pager);
    const struct core_counters *core = core_counters(call->core);
    const struct core_histograms *times = core_histograms(call->core);
    Quire__Wire__Counter *all = arena_alloc(call->arena, N * sizeof *all);
    call->reply->counters = arena_alloc(call->arena, N * sizeof *call->reply->counters);
    if (all == NULL || call->reply->counters == NULL) {
        return QUIRE_NO_MEMORY;
    }
#define X(name, help) admin_counter(call, all, (char *)#name, (double)pager->name, help);
    PAGER_COUNTERS(X)
#undef X
    struct pager_disk_stats disk;
    pager_disk_stats(call->core->pager, &disk);
    if (disk.counters != NULL) {
#define X(name, help) admin_counter(call, all, (char *)#name, (double)disk.counters->name, help);
        PAGER_DISK_COUNTERS(X)
#undef X
    }
    for (int reason = 1; reason < QUIRE_MISS_COUNT; reason++) {
        admin_counter(call, all, arena_printf(call->arena, "misses_%s", quire_miss_name((enum quire_miss)reason)),
                      (double)(pager->misses[reason] + call->core->reader_misses[reason]), quire_miss_text((enum quire_miss)reason));
    }
    admin_counter(
        call, all, (char *)"prefill_seconds_saved", call->core->savings.saved_s,
        "what hit_tokens (leased, fetched or not) would have taken to compute, as the workers of their namespaces measured it, else at "
        "prefill_tokens_per_s");
#define X(name, help) admin_counter(call, all, (char *)#name, (double)core->name, help);
    CORE_COUNTERS(X)
#undef X
#define X(name, help)                                                                                                                      \
    admin_counter(call, all, (char *)#name "_count", (double)times->name.count, help);                                                     \
    admin_counter(call, all, (char *)#name "_sum", (double)times->name.sum_us, help);
    CORE_HISTOGRAMS(X)
#undef X
    return QUIRE_OK;
}

enum quire_status admin_config(const struct admin_call *call) {
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

/* "a, b, c" as single texts. */
static size_t split_names(const struct admin_call *call, char *names, char ***out) {
    size_t n = 0, commas = 1;
    for (const char *at = names; *at != '\0'; at++) {
        commas += *at == ',';
    }
    char **texts = arena_zalloc(call->arena, commas, sizeof *texts), *rest = NULL;
    for (char *name = strtok_r(names, ", ", &rest); texts != NULL && name != NULL && n < commas; name = strtok_r(NULL, ", ", &rest)) {
        texts[n++] = admin_text(call, name);
    }
    *out = texts;
    return n;
}

enum quire_status admin_reload(const struct admin_call *call) {
    struct core_reloaded done = {0};
    if (call->core->reload == NULL) {
        return QUIRE_UNSUPPORTED;
    }
    enum quire_status status = call->core->reload(call->core->reload_ctx, &done);
    call->reply->text = admin_text(call, done.text);
    call->reply->n_changed = split_names(call, done.changed, &call->reply->changed);
    call->reply->n_needs_restart = split_names(call, done.needs_restart, &call->reply->needs_restart);
    return status;
}
