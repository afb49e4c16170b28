#include "client/quirectl/views.h"

#include "client/quirectl/format.h"
#include "client/quirectl/table.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

void view_tiers(const Quire__Wire__AdminReply *reply, FILE *to) {
    static const char *const titles[] = {"TIER",   "DOMAIN", "SIZE",       "USED",         "RECORDS", "LIVE",
                                         "LEASED", "PINNED", "QUARANTINE", "LARGEST HOLE", "PAGES"};
    struct table table;
    char percent[FORMAT_BYTES];
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "llrrrrrrrrl");
    for (size_t i = 0; i < reply->n_tiers; i++) {
        const Quire__Wire__TierInfo *tier = reply->tiers[i];
        table_cell(&table, "%s", tier->name);
        table_cell(&table, "%s", tier->domain[0] != '\0' ? tier->domain : "all");
        table_size(&table, tier->capacity_bytes);
        format_percent(tier->used_bytes, tier->capacity_bytes, percent);
        table_cell(&table, "%s", percent);
        table_count(&table, tier->records);
        table_size(&table, tier->live_bytes);
        table_size(&table, tier->leased_bytes);
        table_size(&table, tier->pinned_bytes);
        table_size(&table, tier->quarantined_bytes);
        table_size(&table, tier->largest_free_bytes);
        table_cell(&table, "%s", strcmp(tier->name, "disk") == 0 ? "–" : tier->huge_pages ? "huge" : "small");
    }
    table_end(&table, 0, 0, to);
}

static void view_disk_files(const Quire__Wire__DiskInfo *disk, FILE *to) {
    static const char *const titles[] = {"FILE", "SIZE", "STATE", "READ", "WRITTEN", "ERRORS", "DAMAGED", "NOTE"};
    struct table table;
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "lrlrrrrl");
    for (size_t i = 0; i < disk->n_files; i++) {
        const Quire__Wire__DiskFileInfo *file = disk->files[i];
        table_cell(&table, "%s", file->path);
        table_size(&table, file->size_bytes);
        table_cell(&table, "%s", !file->in_use ? "out of use" : file->stalled ? "stalled" : file->refuses ? "no writes" : "in use");
        table_size(&table, file->read_bytes);
        table_size(&table, file->written_bytes);
        table_count(&table, file->read_errors + file->write_errors);
        table_count(&table, file->corrupt);
        table_cell(&table, "%s", file->refuses ? file->refuses_why : file->why);
    }
    table_end(&table, 0, 0, to);
}

/* What of the start is no reason to worry, but to know: a record that was left out is a miss. */
static void view_doubts(const Quire__Wire__DiskInfo *disk, FILE *to) {
    char records[QUIRE_UNITS_BYTES];
    const char *comma = "";
    if (disk->restore_waits[0] != '\0') {
        fprintf(to, "waits       it cannot be read now, and is tried again: %s\n", disk->restore_waits);
    }
    if (disk->doubtful_records == 0 && disk->walked_segments == 0 && disk->failed_reads == 0) {
        return;
    }
    fprintf(to, "doubts      ");
    if (disk->doubtful_records > 0) {
        quire_human_count(disk->doubtful_records, records, sizeof records);
        fprintf(to, "%s record%s not whole, and left out", records, quire_s(disk->doubtful_records));
        comma = "; ";
    }
    if (disk->walked_segments > 0) {
        fprintf(to, "%s%u segment%s had no footer, and %s searched", comma, disk->walked_segments, quire_s(disk->walked_segments),
                disk->walked_segments == 1 ? "was" : "were");
        comma = "; ";
    }
    if (disk->failed_reads > 0) {
        fprintf(to, "%s%u read%s failed", comma, disk->failed_reads, quire_s(disk->failed_reads));
    }
    fputc('\n', to);
}

/* How the index came to know what the disk holds, or how far it is. */
static void view_restored(const Quire__Wire__DiskInfo *disk, FILE *to) {
    char records[QUIRE_UNITS_BYTES], deletions[QUIRE_UNITS_BYTES], read[QUIRE_UNITS_BYTES], took[QUIRE_UNITS_BYTES], percent[FORMAT_BYTES];
    bool snapshot = strcmp(disk->restored_from, "snapshot") == 0;
    if (strcmp(disk->restored_from, "nowhere") == 0) {
        return;
    }
    quire_human_count(disk->restored_records, records, sizeof records);
    quire_human_count(disk->restored_deletions, deletions, sizeof deletions);
    quire_human_size(disk->restored_bytes, read, sizeof read);
    quire_human_duration((disk->restored_us + 999) / 1000, took, sizeof took);
    format_percent(disk->restored_segments, disk->restore_segments, percent);
    bool under_way = strcmp(disk->state, "restoring") == 0;
    fprintf(to, "%s  ", under_way ? "restoring " : "restored  ");
    if (under_way) {
        fprintf(to, "%s: %u of ", percent, disk->restored_segments);
    }
    fprintf(to, "%u segment%s, %s record%s", disk->restore_segments, quire_s(disk->restore_segments), records,
            quire_s(disk->restored_records));
    if (!snapshot) {
        fprintf(to, " and %s deletion%s", deletions, quire_s(disk->restored_deletions));
    }
    fprintf(to, "%s from the %s", under_way ? " so far," : "", snapshot ? "snapshot of the last stop" : "log");
    if (!under_way) {
        fprintf(to, ": %s read in %s", read, took);
    }
    fprintf(to, "%s%s%s\n", disk->restored_why[0] != '\0' ? " (" : "", disk->restored_why, disk->restored_why[0] != '\0' ? ")" : "");
    view_doubts(disk, to);
}

void view_disk(const Quire__Wire__AdminReply *reply, FILE *to) {
    const Quire__Wire__DiskInfo *disk = reply->disk;
    char dirty[QUIRE_UNITS_BYTES], backend[400];
    if (disk == NULL) {
        return;
    }
    quire_human_size(disk->dirty_bytes, dirty, sizeof dirty);
    format_backend(disk, backend, sizeof backend);
    fprintf(to, "\ndisk        %u of %u segment%s clean%s, %s to be written; by %s\n", disk->clean_segments, disk->segments,
            quire_s(disk->segments), disk->emptying ? ", one being emptied" : "", dirty, backend);
    view_restored(disk, to);
    if (disk->meta_fails) {
        fprintf(to, "metadata    cannot be written (%llu time%s): deletions and pins do not last; see `quirectl doctor`\n",
                (unsigned long long)disk->meta_failures, quire_s(disk->meta_failures));
    }
    if (disk->kept_namespaces > 0) {
        fprintf(to, "kept        %llu namespace%s of trust domains that are not configured, or that cannot be used: see the log\n",
                (unsigned long long)disk->kept_namespaces, quire_s(disk->kept_namespaces));
    }
    if (disk->write_amplification > 0) {
        fprintf(to, "wear        written %.2f times what was stored\n", disk->write_amplification);
    }
    if (disk->estimate_error > 0) {
        fprintf(to, "estimates   of what fetches take are off by %.0f %%\n", disk->estimate_error * 100);
    }
    if (disk->faults > 0) {
        fprintf(to, "faults      %u rule%s it fail: see `quirectl fault`\n", disk->faults, disk->faults == 1 ? " makes" : "s make");
    }
    fputc('\n', to);
    view_disk_files(disk, to);
}

void view_namespaces(const Quire__Wire__AdminReply *reply, FILE *to) {
    static const char *const titles[] = {"NAMESPACE", "DOMAIN",        "BLOCKS", "SIZE",    "ON DISK", "PINNED",
                                         "HIT RATE",  "TOKENS LEASED", "STORED", "EVICTED", "POLICY"};
    struct table table;
    char percent[FORMAT_BYTES];
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "llrrrrrrrrl");
    for (size_t i = 0; i < reply->n_namespaces; i++) {
        const Quire__Wire__NamespaceInfo *ns = reply->namespaces[i];
        table_cell(&table, "%s", ns->name);
        table_cell(&table, "%s", ns->domain);
        table_count(&table, ns->blocks);
        table_size(&table, ns->bytes);
        table_size(&table, ns->disk_bytes);
        table_count(&table, ns->pinned_blocks);
        format_percent(ns->hits, ns->hits + ns->misses, percent);
        table_cell(&table, "%s", percent);
        table_count(&table, ns->tokens_reused);
        table_count(&table, ns->stores);
        table_count(&table, ns->evictions);
        table_cell(&table, "%s", ns->policy);
    }
    table_end(&table, 0, 0, to);
}

void view_session_origin(struct table *table, const Quire__Wire__SessionInfo *session) {
    if (session->peer[0] != '\0') {
        table_cell(table, "%.48s", session->peer);
        table_cell(table, "%.24s", session->token);
    } else {
        table_cell(table, "%u", session->pid);
        table_cell(table, "%u", session->uid);
    }
}

/* With those that had to wait because its token's rate was used up. */
static void view_requests(struct table *table, const Quire__Wire__SessionInfo *session) {
    char count[QUIRE_UNITS_BYTES], held[QUIRE_UNITS_BYTES];
    quire_human_count(session->requests, count, sizeof count);
    quire_human_count(session->held, held, sizeof held);
    table_cell(table, session->held > 0 ? "%s (%s held)" : "%s", count, held);
}

void view_sessions(const Quire__Wire__AdminReply *reply, FILE *to) {
    static const char *const titles[] = {"ID",     "CLIENT", "PROCESS", "USER",   "DOMAIN",   "AS",     "LEASES",
                                         "LEASED", "INGEST", "FETCHED", "STORED", "REQUESTS", "OPENED", "LAST SEEN"};
    struct table table;
    char ago[FORMAT_BYTES];
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "rlrrllrrrrrrrr");
    for (size_t i = 0; i < reply->n_sessions; i++) {
        const Quire__Wire__SessionInfo *session = reply->sessions[i];
        table_cell(&table, "%llu", (unsigned long long)session->id);
        table_cell(&table, "%.40s", session->client);
        view_session_origin(&table, session);
        table_cell(&table, "%s", session->domain);
        table_cell(&table, "%s", session->member ? "member" : "guest");
        table_count(&table, session->leases);
        table_size(&table, session->leased_bytes);
        table_size(&table, session->ingest_bytes);
        table_size(&table, session->fetched_bytes);
        table_size(&table, session->stored_bytes);
        view_requests(&table, session);
        format_ago(session->age_ms, ago);
        table_cell(&table, "%s", ago);
        format_ago(session->idle_ms, ago);
        table_cell(&table, "%s", ago);
    }
    table_end(&table, 0, 0, to);
}
