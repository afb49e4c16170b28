#include "client/quirectl/top_view.h"

#include "client/quirectl/format.h"
#include "client/quirectl/refusals.h"
#include "client/quirectl/table.h"
#include "client/quirectl/views.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdio.h>
#include <stdlib.h>

double top_rate(const struct top_sample *before, const struct top_sample *now, const char *counter) {
    if (before == NULL || now->at_ms <= before->at_ms || before->status->daemon->epoch != now->status->daemon->epoch) {
        return 0;
    }
    double grown = format_counter(now->counters, counter) - format_counter(before->counters, counter);
    return grown > 0 ? grown * 1000 / (double)(now->at_ms - before->at_ms) : 0;
}

static void rate_size(const struct top_sample *before, const struct top_sample *now, const char *counter, char text[QUIRE_UNITS_BYTES]) {
    quire_human_size((uint64_t)(top_rate(before, now, counter) + 0.5), text, QUIRE_UNITS_BYTES);
}

static void rate_count(const struct top_sample *before, const struct top_sample *now, const char *counter, char text[QUIRE_UNITS_BYTES]) {
    quire_human_count((uint64_t)(top_rate(before, now, counter) + 0.5), text, QUIRE_UNITS_BYTES);
}

/* ---- parts of the picture ------------------------------------------------------------------------------------------------------ */
static void draw_head(const struct top_sample *now, FILE *to) {
    const Quire__Wire__DaemonInfo *daemon = now->status->daemon;
    char uptime[QUIRE_UNITS_BYTES], resident[QUIRE_UNITS_BYTES], blocks[QUIRE_UNITS_BYTES];
    quire_human_duration(daemon->uptime_ms, uptime, sizeof uptime);
    quire_human_size(daemon->rss_bytes, resident, sizeof resident);
    quire_human_count(daemon->blocks, blocks, sizeof blocks);
    fprintf(to, "%cquired %s  %s  process %u  up %s  %s resident  %s block%s  %zu session%s\n", TOP_TITLE, daemon->version, daemon->state,
            daemon->pid, uptime, resident, blocks, quire_s(daemon->blocks), now->sessions->n_sessions, quire_s(now->sessions->n_sessions));
}

/* Ends the line of what is stored: each reason that is met now. */
static void draw_refusals(const struct top_sample *before, const struct top_sample *now, FILE *to) {
    unsigned shown = 0;
    for (unsigned i = 0; i < n_refusals; i++) {
        const double rate = top_rate(before, now, refusals[i].counter);
        if (rate > 0) {
            fprintf(to, "%s%.3g/s %s", shown++ == 0 ? "; refused: " : ", ", rate, refusals[i].text);
        }
    }
    fprintf(to, "%s\n", shown == 0 ? ", none refused" : "");
}

static void draw_rates(const struct top_sample *before, const struct top_sample *now, FILE *to) {
    char percent[FORMAT_BYTES], keys[QUIRE_UNITS_BYTES], tokens[QUIRE_UNITS_BYTES], bytes[QUIRE_UNITS_BYTES], records[QUIRE_UNITS_BYTES],
        evicted[QUIRE_UNITS_BYTES];
    double asked = top_rate(before, now, "lookup_keys"), hit = top_rate(before, now, "hit_keys");
    format_percent((uint64_t)(hit * 1000), (uint64_t)(asked * 1000), percent);
    rate_count(before, now, "lookup_keys", keys);
    rate_count(before, now, "hit_tokens", tokens);
    rate_size(before, now, "hit_bytes", bytes);
    fprintf(to, "\nreading  %s of %s keys/s hit, %s tokens/s, %s/s", percent, keys, tokens, bytes);
    format_percent((uint64_t)format_counter(now->counters, "hit_keys"), (uint64_t)format_counter(now->counters, "lookup_keys"), percent);
    fprintf(to, "  (since start %s)\n", percent);
    rate_count(before, now, "puts_stored", records);
    rate_size(before, now, "put_bytes", bytes);
    rate_count(before, now, "evicted_blocks", evicted);
    fprintf(to, "storing  %s records/s, %s/s, %s evicted/s", records, bytes, evicted);
    draw_refusals(before, now, to);
}

/* Nothing without a disk tier. */
static void draw_disk(const struct top_sample *before, const struct top_sample *now, FILE *to) {
    const Quire__Wire__DiskInfo *disk = now->status->disk;
    char written[QUIRE_UNITS_BYTES], read[QUIRE_UNITS_BYTES], dirty[QUIRE_UNITS_BYTES];
    unsigned out = 0;
    if (disk == NULL) {
        return;
    }
    for (size_t i = 0; i < disk->n_files; i++) {
        out += !disk->files[i]->in_use;
    }
    rate_size(before, now, "disk_written_bytes", written);
    rate_size(before, now, "disk_read_bytes", read);
    quire_human_size(disk->dirty_bytes, dirty, sizeof dirty);
    fprintf(to, "disk     %s/s read, %s/s written, %s to be written, %u of %u segments clean", read, written, dirty, disk->clean_segments,
            disk->segments);
    if (strcmp(disk->state, "restoring") == 0) {
        fprintf(to, ", restoring %u of %u", disk->restored_segments, disk->restore_segments);
    }
    if (out > 0) {
        fprintf(to, ", %u file%s OUT OF USE", out, out == 1 ? "" : "s");
    }
    fputc('\n', to);
}

/* Reasons that happen now; those since the start when none does. */
static void draw_misses(const struct top_sample *before, const struct top_sample *now, FILE *to) {
    static const char prefix[] = "misses_";
    unsigned shown = 0;
    fprintf(to, "misses ");
    for (size_t i = 0; i < now->counters->n_counters; i++) {
        const char *name = now->counters->counters[i]->name;
        double rate = strncmp(name, prefix, sizeof prefix - 1) == 0 ? top_rate(before, now, name) : 0;
        if (rate >= 0.5) {
            fprintf(to, "  %s %.0f/s", name + sizeof prefix - 1, rate);
            shown++;
        }
    }
    fprintf(to, "%s\n", shown == 0 ? "  none now" : "");
}

static void draw_tiers(const struct top_sample *now, unsigned width, FILE *to) {
    char used[QUIRE_UNITS_BYTES], size[QUIRE_UNITS_BYTES], leased[QUIRE_UNITS_BYTES], pinned[QUIRE_UNITS_BYTES], bar[128],
        percent[FORMAT_BYTES];
    const Quire__Wire__DaemonInfo *daemon = now->status->daemon;
    unsigned bar_width = width > 110 ? 40 : width > 90 ? 24 : 12;
    fprintf(to, "\n%cTIERS\n", TOP_TITLE);
    for (size_t i = 0; i < now->status->n_tiers; i++) {
        const Quire__Wire__TierInfo *tier = now->status->tiers[i];
        quire_human_size(tier->used_bytes, used, sizeof used);
        quire_human_size(tier->capacity_bytes, size, sizeof size);
        quire_human_size(tier->leased_bytes, leased, sizeof leased);
        quire_human_size(tier->pinned_bytes, pinned, sizeof pinned);
        format_bar(tier->used_bytes, 0, tier->capacity_bytes, bar_width, bar);
        format_percent(tier->used_bytes, tier->capacity_bytes, percent);
        fprintf(to, "%-6.6s %-10.10s %s %7s  %s of %s, leased %s, pinned %s\n", tier->name, tier->domain[0] != '\0' ? tier->domain : "all",
                bar, percent, used, size, leased, pinned);
    }
    quire_human_size(daemon->ingest_lent_bytes, used, sizeof used);
    quire_human_size(daemon->ingest_max_bytes, size, sizeof size);
    format_bar(daemon->ingest_lent_bytes, 0, daemon->ingest_max_bytes, bar_width, bar);
    format_percent(daemon->ingest_lent_bytes, daemon->ingest_max_bytes, percent);
    fprintf(to, "%-17s %s %7s  %s of %s\n", "ingest", bar, percent, used, size);
}

static int by_bytes(const void *a, const void *b) {
    uint64_t left = (*(Quire__Wire__NamespaceInfo *const *)a)->bytes, right = (*(Quire__Wire__NamespaceInfo *const *)b)->bytes;
    return (left < right) - (left > right);
}

static void draw_namespaces(const struct top_sample *now, unsigned rows, FILE *to) {
    static const char *const titles[] = {"NAMESPACE", "BLOCKS", "SIZE", "HIT RATE", "TOKENS LEASED", "STORED", "EVICTED"};
    struct table table;
    char percent[FORMAT_BYTES];
    if (now->namespaces->n_namespaces == 0 || rows < 3) {
        return;
    }
    qsort(now->namespaces->namespaces, now->namespaces->n_namespaces, sizeof(void *), by_bytes);
    fprintf(to, "\n%c", TOP_TITLE);
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "lrrrrrr");
    for (size_t i = 0; i < now->namespaces->n_namespaces; i++) {
        const Quire__Wire__NamespaceInfo *ns = now->namespaces->namespaces[i];
        table_cell(&table, "%.32s", ns->name);
        table_count(&table, ns->blocks);
        table_size(&table, ns->bytes);
        format_percent(ns->hits, ns->hits + ns->misses, percent);
        table_cell(&table, "%s", percent);
        table_count(&table, ns->tokens_reused);
        table_count(&table, ns->stores);
        table_count(&table, ns->evictions);
    }
    table_end(&table, 0, rows - 2, to);
}

/* What moved since the earlier sample: who fetched or stored most stands first. */
struct mover {
    const Quire__Wire__SessionInfo *session;
    uint64_t fetched, stored;
};

static int by_movement(const void *a, const void *b) {
    const struct mover *left = a, *right = b;
    uint64_t l = left->fetched + left->stored, r = right->fetched + right->stored;
    if (l != r) {
        return (l < r) - (l > r);
    }
    return (left->session->idle_ms > right->session->idle_ms) - (left->session->idle_ms < right->session->idle_ms);
}

static const Quire__Wire__SessionInfo *session_before(const struct top_sample *before, uint64_t id) {
    for (size_t i = 0; before != NULL && i < before->sessions->n_sessions; i++) {
        if (before->sessions->sessions[i]->id == id) {
            return before->sessions->sessions[i];
        }
    }
    return NULL;
}

static struct mover *movers(const struct top_sample *before, const struct top_sample *now) {
    size_t n = now->sessions->n_sessions;
    struct mover *list = calloc(n + 1, sizeof *list);
    uint64_t elapsed_ms = before != NULL && now->at_ms > before->at_ms ? now->at_ms - before->at_ms : 0;
    for (size_t i = 0; list != NULL && i < n; i++) {
        const Quire__Wire__SessionInfo *session = now->sessions->sessions[i], *earlier = session_before(before, session->id);
        list[i].session = session;
        if (earlier != NULL && elapsed_ms > 0) {
            list[i].fetched = (session->fetched_bytes - quire_min_u64(earlier->fetched_bytes, session->fetched_bytes)) * 1000 / elapsed_ms;
            list[i].stored = (session->stored_bytes - quire_min_u64(earlier->stored_bytes, session->stored_bytes)) * 1000 / elapsed_ms;
        }
    }
    if (list != NULL) {
        qsort(list, n, sizeof *list, by_movement);
    }
    return list;
}

static void draw_sessions(const struct top_sample *before, const struct top_sample *now, unsigned rows, FILE *to) {
    static const char *const titles[] = {"ID",     "CLIENT",    "PROCESS",  "USER",     "AS",       "LEASES",
                                         "LEASED", "FETCHED/S", "STORED/S", "REQUESTS", "LAST SEEN"};
    struct table table;
    char ago[FORMAT_BYTES];
    struct mover *list = rows < 3 || now->sessions->n_sessions == 0 ? NULL : movers(before, now);
    if (list == NULL) {
        return;
    }
    fprintf(to, "\n%c", TOP_TITLE);
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "rlrrlrrrrrr");
    for (size_t i = 0; i < now->sessions->n_sessions; i++) {
        const Quire__Wire__SessionInfo *session = list[i].session;
        table_cell(&table, "%llu", (unsigned long long)session->id);
        table_cell(&table, "%.24s", session->client);
        view_session_origin(&table, session);
        table_cell(&table, "%s", session->member ? "member" : "guest");
        table_count(&table, session->leases);
        table_size(&table, session->leased_bytes);
        table_size(&table, list[i].fetched);
        table_size(&table, list[i].stored);
        table_count(&table, session->requests);
        format_ago(session->idle_ms, ago);
        table_cell(&table, "%s", ago);
    }
    table_end(&table, 0, rows - 2, to);
    free(list);
}

/* ---- the picture --------------------------------------------------------------------------------------------------------------- */
/* Cuts a text at `width` places, between letters. */
static void cut(char *line, unsigned width) {
    unsigned places = 0;
    for (char *at = line; *at != '\0'; at++) {
        places += ((unsigned char)*at & 0xc0) != 0x80 && *at != TOP_TITLE;
        if (places > width) {
            *at = '\0';
            return;
        }
    }
}

static void split(char *text, unsigned width, unsigned height, struct top_picture *picture) {
    for (char *line = text, *end; *line != '\0' && picture->n_lines < height && picture->n_lines < TOP_LINES_MAX; line = end) {
        end = line + strcspn(line, "\n");
        if (*end == '\n') {
            *end++ = '\0';
        }
        cut(line, width);
        picture->lines[picture->n_lines] = strdup(line);
        picture->n_lines += picture->lines[picture->n_lines] != NULL;
    }
}

void top_draw(const struct top_sample *before, const struct top_sample *now, unsigned width, unsigned height, struct top_picture *picture) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    *picture = (struct top_picture){.n_lines = 0};
    if (to == NULL) {
        return;
    }
    draw_head(now, to);
    draw_rates(before, now, to);
    draw_disk(before, now, to);
    draw_misses(before, now, to);
    draw_tiers(now, width, to);
    unsigned used = 7 + (unsigned)now->status->n_tiers + 1 + (now->status->disk != NULL), left = height > used ? height - used : 0;
    unsigned n_namespaces = (unsigned)quire_min_u64(now->namespaces->n_namespaces + 2, left),
             n_sessions = (unsigned)quire_min_u64(now->sessions->n_sessions + 2, left);
    if (n_namespaces + n_sessions > left) {
        n_namespaces = (unsigned)quire_min_u64(n_namespaces, quire_max_u64(left / 2, left - n_sessions));
        n_sessions = left - n_namespaces;
    }
    draw_namespaces(now, n_namespaces, to);
    draw_sessions(before, now, n_sessions, to);
    fclose(to);
    if (text != NULL) {
        split(text, width, height, picture);
    }
    free(text);
}

void top_picture_free(struct top_picture *picture) {
    for (unsigned i = 0; i < picture->n_lines; i++) {
        free(picture->lines[i]);
    }
    picture->n_lines = 0;
}
