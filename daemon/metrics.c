#include "daemon/metrics.h"

#include "proto/base/base.h"
#include "proto/wire.h"

#include <inttypes.h>

/* Absent where a sanitizer brings its own heap. */
int mallctl(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes) __attribute__((weak));

static void family(FILE *to, const char *name, const char *type, const char *help) {
    fprintf(to, "# HELP quire_%s %s\n# TYPE quire_%s %s\n", name, help, name, type);
}

static void gauge(FILE *to, const char *name, const char *help, uint64_t value) {
    family(to, name, "gauge", help);
    fprintf(to, "quire_%s %" PRIu64 "\n", name, value);
}

/* ---- counters ----------------------------------------------------------------------------------------------------------------- */
#define MISS_PREFIX "misses_"

static bool is_miss(const Quire__Wire__Counter *counter) { return strncmp(counter->name, MISS_PREFIX, strlen(MISS_PREFIX)) == 0; }

/* The sums of a histogram are told with the histogram. */
static bool is_of_histogram(const Quire__Wire__Counter *counter) {
    return strstr(counter->name, "_us_count") != NULL || strstr(counter->name, "_us_sum") != NULL;
}

static void write_misses(const Quire__Wire__AdminReply *reply, FILE *to) {
    family(to, "misses_total", "counter", "keys that missed, by reason");
    for (size_t i = 0; i < reply->n_counters; i++) {
        if (is_miss(reply->counters[i])) {
            fprintf(to, "quire_misses_total{reason=\"%s\"} %.0f\n", reply->counters[i]->name + strlen(MISS_PREFIX),
                    reply->counters[i]->value);
        }
    }
}

void metrics_write_counters(const Quire__Wire__AdminReply *reply, FILE *to) {
    char name[96];
    write_misses(reply, to);
    for (size_t i = 0; i < reply->n_counters; i++) {
        const Quire__Wire__Counter *counter = reply->counters[i];
        if (!is_miss(counter) && !is_of_histogram(counter)) {
            snprintf(name, sizeof name, "%s_total", counter->name);
            family(to, name, "counter", counter->help);
            bool whole = counter->value < 9e15 && counter->value == (double)(uint64_t)counter->value;
            fprintf(to, whole ? "quire_%s %.0f\n" : "quire_%s %.3f\n", name, counter->value);
        }
    }
}

/* ---- what there is ------------------------------------------------------------------------------------------------------------ */
/* X(field, help) */
#define TIER_GAUGES(X)                                                                                                                     \
    X(capacity_bytes, "bytes that the tier can hold")                                                                                      \
    X(used_bytes, "bytes handed out")                                                                                                      \
    X(live_bytes, "bytes of complete records")                                                                                             \
    X(leased_bytes, "bytes that readers hold")                                                                                             \
    X(pinned_bytes, "bytes of pinned blocks")                                                                                              \
    X(quarantined_bytes, "bytes of sessions that were ended, until their process is gone")                                                 \
    X(largest_free_bytes, "the largest hole")                                                                                              \
    X(records, "complete records")

static void write_tiers(const Quire__Wire__AdminReply *reply, FILE *to) {
#define X(field, help)                                                                                                                     \
    family(to, "tier_" #field, "gauge", help);                                                                                             \
    for (size_t i = 0; i < reply->n_tiers; i++) {                                                                                          \
        fprintf(to, "quire_tier_" #field "{tier=\"%s\",domain=\"%s\"} %" PRIu64 "\n", reply->tiers[i]->name, reply->tiers[i]->domain,      \
                (uint64_t)reply->tiers[i]->field);                                                                                         \
    }
    TIER_GAUGES(X)
#undef X
}

void metrics_write_daemon(const Quire__Wire__AdminReply *reply, FILE *to) {
    const Quire__Wire__DaemonInfo *daemon = reply->daemon;
    if (daemon != NULL) {
        family(to, "build_info", "gauge", "always 1; the labels tell what runs");
        fprintf(to, "quire_build_info{version=\"%s\",build=\"%s\"} 1\n", daemon->version, daemon->build);
        family(to, "uptime_seconds", "gauge", "since the daemon started");
        fprintf(to, "quire_uptime_seconds %.3f\n", (double)daemon->uptime_ms / 1000);
        gauge(to, "serving", "1 while new work is taken, 0 while draining", strcmp(daemon->state, "serving") == 0);
        gauge(to, "resident_bytes", "resident memory of the process, pools included", daemon->rss_bytes);
        gauge(to, "index_bytes", "memory of the index", daemon->index_bytes);
        gauge(to, "blocks", "blocks in the index", daemon->blocks);
        gauge(to, "blocks_max", "blocks that the index may hold", daemon->max_blocks);
        gauge(to, "ingest_lent_bytes", "ingest memory lent to clients now", daemon->ingest_lent_bytes);
        gauge(to, "ingest_max_bytes", "ingest memory that may be lent", daemon->ingest_max_bytes);
        gauge(to, "remote_read_bytes", "bytes of records on their way to sessions of other hosts", daemon->remote_read_bytes);
        gauge(to, "pieces_held", "pieces of records that are sent to guests and other hosts, or wait to be", daemon->pieces_held);
    }
    write_tiers(reply, to);
}

/* X(field, help) */
#define DISK_GAUGES(X)                                                                                                                     \
    X(segments, "segments of the disk tier")                                                                                               \
    X(clean_segments, "segments that are ready to be written")                                                                             \
    X(lost_segments, "segments of files that are out of use")                                                                              \
    X(restore_segments, "segments that held something at the start")                                                                       \
    X(restored_segments, "of these, the ones whose records the index knows")                                                               \
    X(doubtful_records, "records that the start left out: not whole, or of a place that cannot be trusted")                                \
    X(failed_reads, "reads of the start that failed, and were tried again")                                                                \
    X(put_off_reads, "reads of the start that were put off, for want of memory or the like")                                               \
    X(dirty_bytes, "bytes in memory only, to be written")                                                                                  \
    X(dirty_records, "records in memory only, to be written")                                                                              \
    X(writing_bytes, "bytes being written")                                                                                                \
    X(reading_bytes, "bytes being read")                                                                                                   \
    X(where_bytes, "memory for places on disk, beyond the index's own")                                                                    \
    X(books_bytes, "memory for the log's books")                                                                                           \
    X(meta_fails, "1 while the metadata (namespaces, pins) cannot be written, and no deletion or pin is durable")                          \
    X(pins, "blocks of which the metadata says that they are pinned")                                                                      \
    X(kept_namespaces, "namespaces that are kept, though their trust domain is not configured, or they cannot be used")                    \
    X(emptying, "1 while a segment is being emptied")                                                                                      \
    X(faults, "rules at work that make the disk fail")

#define DISK_COUNTERS(X)                                                                                                                   \
    X(scrub_passes, "times that everything on disk was verified in the background")                                                        \
    X(scrub_bytes, "bytes verified in the background")                                                                                     \
    X(scrub_damaged, "records that were found damaged in the background")                                                                  \
    X(scrub_damaged_segments, "segments whose header or footer was found damaged")                                                         \
    X(scrub_unread_segments, "segments that could not be verified, or only in part")

#define DISK_FILE_METRICS(X)                                                                                                               \
    X(in_use, "gauge", "", "1 while the file is in use, 0 when it was taken out")                                                          \
    X(stalled, "gauge", "", "1 while it does not answer")                                                                                  \
    X(stalls, "counter", "_total", "times that it did not answer for long")                                                                \
    X(refuses, "gauge", "", "1 while the file takes no writes (no room, mounted read-only, no memory), and is asked again")                \
    X(direct, "gauge", "", "1 when it is read and written without the page cache")                                                         \
    X(size_bytes, "gauge", "", "bytes for segments")                                                                                       \
    X(reads, "counter", "_total", "reads of the file")                                                                                     \
    X(read_bytes, "counter", "_total", "bytes read")                                                                                       \
    X(writes, "counter", "_total", "writes to the file")                                                                                   \
    X(written_bytes, "counter", "_total", "bytes written")                                                                                 \
    X(read_errors, "counter", "_total", "reads that failed")                                                                               \
    X(write_errors, "counter", "_total", "writes and syncs that failed")                                                                   \
    X(corrupt, "counter", "_total", "records that failed their checksum")

/* A label's value: paths may hold anything. */
static void label(FILE *to, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"') {
            fputc('\\', to);
        }
        (*text == '\n' ? fputs("\\n", to) : fputc(*text, to));
    }
}

void metrics_write_disk(const Quire__Wire__AdminReply *reply, FILE *to) {
    const Quire__Wire__DiskInfo *disk = reply->disk;
    if (disk == NULL) {
        return;
    }
    family(to, "disk_info", "gauge", "always 1; the label tells how files are read and written");
    fprintf(to, "quire_disk_info{backend=\"%s\"} 1\n", disk->backend);
    gauge(to, "disk_restoring", "1 while what the disk holds is still being found", strcmp(disk->state, "restoring") == 0);
#define X(field, help) gauge(to, "disk_" #field, help, (uint64_t)disk->field);
    DISK_GAUGES(X)
#undef X
#define X(field, help)                                                                                                                     \
    family(to, "disk_" #field "_total", "counter", help);                                                                                  \
    fprintf(to, "quire_disk_" #field "_total %" PRIu64 "\n", (uint64_t)disk->field);
    DISK_COUNTERS(X)
#undef X
    family(to, "disk_write_amplification", "gauge", "bytes written by bytes written for the first time, since the start; 0: none were");
    fprintf(to, "quire_disk_write_amplification %.4f\n", disk->write_amplification);
    family(to, "disk_estimate_error", "gauge",
           "how far off the fetch times that look-ups tell are: of each fetch from disk, estimated as it began, relative to what it took, "
           "smoothed");
    fprintf(to, "quire_disk_estimate_error %.4f\n", disk->estimate_error);
#define X(field, type, suffix, help)                                                                                                       \
    family(to, "disk_file_" #field suffix, type, help);                                                                                    \
    for (size_t i = 0; i < disk->n_files; i++) {                                                                                           \
        fprintf(to, "quire_disk_file_" #field suffix "{path=\"");                                                                          \
        label(to, disk->files[i]->path);                                                                                                   \
        fprintf(to, "\"} %" PRIu64 "\n", (uint64_t)disk->files[i]->field);                                                                 \
    }
    DISK_FILE_METRICS(X)
#undef X
}

#define NAMESPACE_METRICS(X)                                                                                                               \
    X(blocks, "gauge", "", "blocks of the namespace")                                                                                      \
    X(records, "gauge", "", "its records")                                                                                                 \
    X(bytes, "gauge", "", "bytes of its records")                                                                                          \
    X(pinned_blocks, "gauge", "", "its pinned blocks")                                                                                     \
    X(hits, "counter", "_total", "keys that hit")                                                                                          \
    X(misses, "counter", "_total", "keys that missed")                                                                                     \
    X(stores, "counter", "_total", "records stored")                                                                                       \
    X(evictions, "counter", "_total", "blocks evicted")                                                                                    \
    X(tokens_reused, "counter", "_total", "tokens in the blocks that readers leased")

void metrics_write_namespaces(const Quire__Wire__AdminReply *reply, FILE *to) {
#define X(field, type, suffix, help)                                                                                                       \
    family(to, "namespace_" #field suffix, type, help);                                                                                    \
    for (size_t i = 0; i < reply->n_namespaces; i++) {                                                                                     \
        const Quire__Wire__NamespaceInfo *ns = reply->namespaces[i];                                                                       \
        fprintf(to, "quire_namespace_" #field suffix "{namespace=\"%s\",domain=\"%s\"} %" PRIu64 "\n", ns->name, ns->domain,               \
                (uint64_t)ns->field);                                                                                                      \
    }
    NAMESPACE_METRICS(X)
#undef X
    family(to, "namespace_prefill_seconds_per_token", "gauge",
           "what its tokens take to compute: as measured, else as configured; 0: unknown");
    for (size_t i = 0; i < reply->n_namespaces; i++) {
        const Quire__Wire__NamespaceInfo *ns = reply->namespaces[i];
        fprintf(to, "quire_namespace_prefill_seconds_per_token{namespace=\"%s\",domain=\"%s\"} %.9g\n", ns->name, ns->domain,
                ns->prefill_us_per_token / 1e6);
    }
    family(to, "namespace_prefill_seconds_saved_total", "counter",
           "what its tokens that were leased, fetched or not, would have taken to compute");
    for (size_t i = 0; i < reply->n_namespaces; i++) {
        const Quire__Wire__NamespaceInfo *ns = reply->namespaces[i];
        fprintf(to, "quire_namespace_prefill_seconds_saved_total{namespace=\"%s\",domain=\"%s\"} %.3f\n", ns->name, ns->domain,
                ns->prefill_seconds_saved);
    }
}

void metrics_write_sessions(const Quire__Wire__AdminReply *reply, FILE *to) {
    uint64_t leases = 0, leased_bytes = 0;
    for (size_t i = 0; i < reply->n_sessions; i++) {
        leases += reply->sessions[i]->leases;
        leased_bytes += reply->sessions[i]->leased_bytes;
    }
    gauge(to, "sessions", "sessions open now", reply->n_sessions);
    gauge(to, "leases", "leases held now", leases);
    gauge(to, "leases_bytes", "bytes under these leases, counted once a lease", leased_bytes);
}

void metrics_write_histogram(const char *name, const char *help, const struct core_histogram *histogram, FILE *to) {
    char family_name[96];
    uint64_t below = 0;
    /* Prometheus counts in seconds: "lease_us" is told as quire_lease_seconds. */
    size_t n = strlen(name);
    snprintf(family_name, sizeof family_name, "%.*s_seconds", (int)(n > 3 && strcmp(name + n - 3, "_us") == 0 ? n - 3 : n), name);
    family(to, family_name, "histogram", help);
    for (unsigned i = 0; i < CORE_HISTOGRAM_BUCKETS - 1; i++) {
        below += histogram->bucket[i];
        fprintf(to, "quire_%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", family_name, (double)(1ull << i) / 1e6, below);
    }
    fprintf(to, "quire_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", family_name, histogram->count);
    fprintf(to, "quire_%s_sum %.6f\nquire_%s_count %" PRIu64 "\n", family_name, (double)histogram->sum_us / 1e6, family_name,
            histogram->count);
}

void metrics_write_heap(FILE *to) {
    static const struct {
        const char *statistic, *name, *help;
    } figures[] = {
        {"stats.allocated", "heap_allocated_bytes", "bytes that the program asked the heap for"},
        {"stats.resident", "heap_resident_bytes", "bytes of the heap in memory"},
        {"stats.mapped", "heap_mapped_bytes", "bytes of address space that the heap holds"},
    };
    uint64_t epoch = 1;
    if (mallctl == NULL) {
        return;
    }
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch); /* the figures are as of the last epoch */
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(figures); i++) {
        size_t value = 0, bytes = sizeof value;
        if (mallctl(figures[i].statistic, &value, &bytes, NULL, 0) == 0) {
            gauge(to, figures[i].name, figures[i].help, value);
        }
    }
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------------- */
static void ask(struct core *core, uint32_t verb, Quire__Wire__AdminReply *reply) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    quire__wire__admin_reply__init(reply);
    request.verb = verb;
    core_admin(core, &request, reply);
}

void metrics_write(struct core *core, FILE *to) {
    Quire__Wire__AdminReply reply;
    ask(core, QUIRE_ADMIN_STATUS, &reply);
    metrics_write_daemon(&reply, to);
    metrics_write_disk(&reply, to);
    ask(core, QUIRE_ADMIN_SESSION_LIST, &reply);
    metrics_write_sessions(&reply, to);
    ask(core, QUIRE_ADMIN_NS_LIST, &reply);
    metrics_write_namespaces(&reply, to);
    ask(core, QUIRE_ADMIN_COUNTERS, &reply);
    metrics_write_counters(&reply, to);
    const struct core_histograms *histograms = core_histograms(core);
#define X(name, help) metrics_write_histogram(#name, help, &histograms->name, to);
    CORE_HISTOGRAMS(X)
#undef X
    metrics_write_heap(to);
}
