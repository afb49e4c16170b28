/*
 * A chat service's requests, as their blocks' ids, through the real pager and its log: look up, load what is only on disk, store what was not there. No byte
 * moves, so that hours of a service with a terabyte take seconds. The trace is one JSON object a line: {"timestamp": ms, "hash_ids": [id, …]}; an id stands for
 * 512 tokens and all before them.
 */
#include "proto/base/base.h"
#include "tests/bench/disk.h"
#include "tests/bench/fixture.h"
#include "tests/bench/paper_disk.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>

enum { TOKENS = 512, RECORD_BYTES = 2 << 20, SEGMENT_BYTES = 64 << 20, UNIT_BYTES = 4096, MAX_KEYS = 4096 };
#define DISK_SHARE 0.20
#define POOL_SHARE 0.01
#define HITS_REACH 34.0

struct request {
    uint64_t at_ms;
    uint64_t first; /* of its ids */
    uint32_t n;
};
struct trace {
    struct request *requests;
    uint32_t n_requests, capacity;
    uint32_t *ids;
    uint64_t n_ids, ids_capacity;
    uint32_t n_unique; /* ids are given out in the order of their first use */
};

/* ---- the trace ------------------------------------------------------------------------------------------------------------- */
static int trace_add(struct trace *trace, const cJSON *line) {
    const cJSON *at = cJSON_GetObjectItemCaseSensitive(line, "timestamp"), *ids = cJSON_GetObjectItemCaseSensitive(line, "hash_ids"), *id;
    if (!cJSON_IsNumber(at) || !cJSON_IsArray(ids) || cJSON_GetArraySize(ids) > MAX_KEYS) {
        return 1;
    }
    uint32_t n = (uint32_t)cJSON_GetArraySize(ids);
    if (trace->n_requests == trace->capacity) {
        trace->capacity = trace->capacity ? 2 * trace->capacity : 4096;
        trace->requests = realloc(trace->requests, trace->capacity * sizeof *trace->requests);
    }
    if (trace->n_ids + n > trace->ids_capacity) {
        trace->ids_capacity = 2 * (trace->n_ids + n);
        trace->ids = realloc(trace->ids, trace->ids_capacity * sizeof *trace->ids);
    }
    if (trace->requests == NULL || trace->ids == NULL) {
        return 1;
    }
    trace->requests[trace->n_requests++] = (struct request){.at_ms = (uint64_t)at->valuedouble, .first = trace->n_ids, .n = n};
    cJSON_ArrayForEach(id, ids) {
        uint32_t number = (uint32_t)id->valuedouble;
        trace->ids[trace->n_ids++] = number;
        trace->n_unique = number >= trace->n_unique ? number + 1 : trace->n_unique;
    }
    return 0;
}

static int trace_read(const struct bench_case *c, const char *path, struct trace *trace) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return bench_fail(c, "no trace at %s: give one with --trace or $QUIRE_TRACE", path);
    }
    char *line = NULL;
    size_t capacity = 0;
    int failed = 0;
    while (failed == 0 && getline(&line, &capacity, file) > 0) {
        cJSON *object = cJSON_Parse(line);
        failed = trace_add(trace, object);
        cJSON_Delete(object);
    }
    free(line);
    fclose(file);
    return failed == 0 && trace->n_requests > 0 ? 0 : bench_fail(c, "%s is no such trace", path);
}

/* ---- a request ------------------------------------------------------------------------------------------------------------- */
struct replay {
    const struct bench_case *c;
    struct paper paper;
    uint64_t hits, away;
    uint8_t keys[MAX_KEYS * QUIRE_KEY_BYTES];
    uint8_t misses[MAX_KEYS], statuses[MAX_KEYS];
    struct quire_wire_grant grants[MAX_KEYS];
    struct pager_load_item items[MAX_KEYS];
};

static quire_key id_key(uint32_t id) {
    quire_key key;
    uint64_t seed = id + 1;
    for (uint32_t word = 0; word < 4; word++) {
        uint64_t random = bench_random(&seed);
        memcpy(key.b + 8 * word, &random, 8);
    }
    return key;
}

static int load(struct replay *replay, uint64_t lease, uint32_t n_grants) {
    struct paper *paper = &replay->paper;
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_grants; i++) {
        if (replay->grants[i].offset == QUIRE_WIRE_AWAY) {
            replay->items[n++] = (struct pager_load_item){.slot = replay->grants[i].slot};
        }
    }
    replay->away += n;
    if (n == 0) {
        return 0;
    }
    paper->load_ticket = 0;
    enum quire_status status =
        pager_load(paper->pager, paper->now_ns, paper->session, lease, replay->items, n, 1, paper->now_ns + QUIRE_NS_PER_S);
    paper_pump(paper);
    if (status != QUIRE_OK || paper->load_ticket == 0 ||
        pager_load_result(paper->pager, paper->load_ticket, replay->grants, replay->statuses, n) != QUIRE_OK) {
        return bench_fail(replay->c, "a load of %u blocks: %s", n, quire_status_name(status));
    }
    for (uint32_t i = 0; i < n; i++) {
        if (replay->statuses[i] != QUIRE_OK) {
            return bench_fail(replay->c, "a load: %s", quire_status_name((enum quire_status)replay->statuses[i]));
        }
    }
    return 0;
}

static int store(struct replay *replay, const uint32_t *ids, uint32_t i) {
    struct paper *paper = &replay->paper;
    struct quire_wire_put item = {.key = id_key(ids[i]), .n_tokens = TOKENS, .length = RECORD_BYTES};
    if (i == 0) {
        item.flags = QUIRE_WIRE_PUT_ROOT;
    } else {
        item.parent = id_key(ids[i - 1]);
    }
    paper->put_status = QUIRE_PENDING;
    enum quire_status status = pager_put(paper->pager, paper->now_ns, paper->session, paper->ns, &item, 1, paper->now_ns + QUIRE_NS_PER_S);
    paper_pump(paper);
    if (status != QUIRE_OK || paper->put_status != QUIRE_OK) {
        return bench_fail(replay->c, "a put: %s, %s", quire_status_name(status), quire_status_name(paper->put_status));
    }
    return 0;
}

static int serve(struct replay *replay, const uint32_t *ids, uint32_t n) {
    struct paper *paper = &replay->paper;
    for (uint32_t i = 0; i < n; i++) {
        quire_key key = id_key(ids[i]);
        memcpy(replay->keys + (size_t)i * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
    }
    struct pager_lease_request request = {
        .session = paper->session, .ns = paper->ns, .keys = replay->keys, .n_keys = n, .flags = QUIRE_WIRE_LEASE_PREFIX};
    struct pager_lease_reply reply = {.misses = replay->misses, .grants = replay->grants, .grants_capacity = MAX_KEYS};
    enum quire_status status = pager_lease(paper->pager, paper->now_ns, &request, &reply);
    if (status != QUIRE_OK) {
        return bench_fail(replay->c, "a look-up: %s", quire_status_name(status));
    }
    int failed = load(replay, reply.lease, reply.n_grants);
    if (reply.lease != 0) {
        (void)pager_release(paper->pager, paper->session, reply.lease);
    }
    paper_pump(paper);
    replay->hits += reply.hits;
    for (uint32_t i = reply.hits; failed == 0 && i < n; i++) {
        failed = store(replay, ids, i);
    }
    return failed;
}

/* ---- all of them ----------------------------------------------------------------------------------------------------------- */
static void paper_size(const struct trace *trace, struct paper_options *options) {
    double record =
        quire_align_up(RECORD_BYTES + 1, UNIT_BYTES) + UNIT_BYTES; /* header and directory behind the payload, the batch's head before it */
    pager_disk_options_default(&options->disk);
    options->unit_bytes = UNIT_BYTES;
    options->segment_bytes = SEGMENT_BYTES;
    options->n_segments = (uint32_t)(DISK_SHARE * trace->n_unique / floor((SEGMENT_BYTES - 3 * UNIT_BYTES) / record));
    options->pool_bytes = quire_align_up((uint64_t)(POOL_SHARE * trace->n_unique * RECORD_BYTES), 2u << 20);
    options->n_slots = 65536;
    options->max_blocks = trace->n_unique + 1ull;
}

static void tell(const struct bench_options *options, const struct bench_case *self, const struct trace *trace,
                 const struct replay *replay) {
    struct pager_disk_stats stats;
    pager_disk_stats(replay->paper.pager, &stats);
    const struct pager_disk_counters *counters = stats.counters;
    double admitted = (double)counters->disk_admitted_bytes, rewritten = (double)counters->disk_rewritten_bytes;
    double written = (admitted + rewritten) / admitted, hits = 100 * (double)replay->hits / (double)trace->n_ids;
    struct bench_case hits_case = {.name = "hits_chat20", .reach = ">= 34 %"};
    bench_report(options, "disk", self, written, "x", 1, written);
    bench_report(options, "disk", &hits_case, hits, "%", HITS_REACH, hits / HITS_REACH);
    bench_note(options, "%.3f with heads, padding and footers; %u segments of %u MiB; %.1f %% of block references were on disk alone",
               (double)counters->disk_written_bytes / admitted, stats.log.segments, SEGMENT_BYTES >> 20,
               100 * (double)replay->away / (double)trace->n_ids);
}

static int replay_all(const struct bench_options *options, const struct bench_case *self, const struct trace *trace,
                      struct replay *replay) {
    uint64_t begin_ns = replay->paper.now_ns;
    int failed = 0;
    for (uint32_t i = 0; failed == 0 && i < trace->n_requests; i++) {
        paper_advance(&replay->paper, begin_ns + trace->requests[i].at_ms * QUIRE_NS_PER_MS);
        failed = serve(replay, trace->ids + trace->requests[i].first, trace->requests[i].n);
    }
    if (failed == 0) {
        tell(options, self, trace, replay);
    }
    return failed;
}

int disk_trace(const struct bench_options *options, const struct bench_case *self) {
    struct trace trace = {0};
    struct replay *replay = calloc(1, sizeof *replay);
    struct paper_options paper;
    quire_layout layout;
    fixture_opaque_layout(&layout);
    layout.block_tokens = TOKENS;
    int failed = replay == NULL ? 1 : trace_read(self, options->trace, &trace);
    if (failed == 0) {
        replay->c = self;
        paper_size(&trace, &paper);
        failed = paper_create(self, &paper, &layout, false, &replay->paper);
        failed = failed != 0 ? failed : replay_all(options, self, &trace, replay);
        paper_destroy(&replay->paper);
    }
    free(trace.requests);
    free(trace.ids);
    free(replay);
    return failed;
}
