#include "client/llama/store.h"

#include "proto/base/base.h"
#include "proto/layout.h"
#include "proto/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RETRY_MS 1000.0
#define OPAQUE_SPARE_BYTES (1u << 20)
#define INGEST_DEFAULT_BYTES (16u << 20) /* see quire_options */

double store_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

__attribute__((format(printf, 2, 3))) static void note(struct store *store, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(store->note, sizeof(store->note), format, args);
    va_end(args);
}

/* ---- connection --------------------------------------------------------------------------------------------------------------- */
static void default_ns(const struct engine *engine, char name[QUIRE_MAX_NAME + 1]) {
    uint8_t digest[32] = {0};
    size_t n = 0;
    for (const char *c = engine->name; *c != '\0' && n < 40; c++) {
        const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '.' || *c == '_';
        if (plain || (n > 0 && name[n - 1] != '-')) {
            name[n++] = plain ? *c : '-';
        }
    }
    quire_layout_digest(&engine->layout.layout, digest);
    snprintf(name + n, QUIRE_MAX_NAME + 1 - n, "%s%02x%02x%02x%02x%02x%02x", n > 0 && name[n - 1] != '-' ? "-" : "", digest[0], digest[1],
             digest[2], digest[3], digest[4], digest[5]);
}

/* What the largest piece that must go to quired whole may need: an opaque block, of lanes one layer. 0: libquire's default will do. */
static uint64_t ingest_bytes(const struct engine *engine) {
    const quire_layout *layout = &engine->layout.layout;
    uint64_t most = layout->opaque ? engine->opaque_token_bytes * engine->block_tokens : 0;
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        const quire_rect layer = {.n_layers = 1, .n_heads = layout->group[g].n_kv_heads};
        most = quire_max_u64(most, quire_layout_rect_bytes(layout, g, &layer, engine->block_tokens));
    }
    return most > INGEST_DEFAULT_BYTES ? quire_min_u64(most, QUIRE_MAX_RECORD_BYTES) : 0;
}

static void connect_now(struct store *store) {
    store->tried_ms = store_now_ms();
    if (store->client == NULL) {
        const quire_options options = {.address = store->address[0] != '\0' ? store->address : NULL,
                                       .client_name = "quire-llama",
                                       .ingest_bytes = ingest_bytes(store->engine)};
        const enum quire_status status = quire_open(&options, &store->client);
        if (status != QUIRE_OK) {
            note(store, "without Quire: %s", quire_last_error());
            store->client = NULL;
            return;
        }
    }
    if (quire_ns_open(store->client, store->ns_name, &store->engine->layout.layout, &store->ns) != QUIRE_OK) {
        note(store, "without Quire: namespace %s: %s", store->ns_name, quire_last_error());
        store->ns = NULL;
    }
}

static enum quire_status reserve_scratch(struct store *store) {
    store->rows = calloc(STORE_SLOTS, sizeof(*store->rows));
    store->bases = calloc(STORE_SLOTS * QUIRE_MAX_GROUPS, sizeof(*store->bases));
    store->sources = calloc(STORE_SLOTS * QUIRE_MAX_GROUPS, sizeof(*store->sources));
    return store->rows != NULL && store->bases != NULL && store->sources != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

enum quire_status store_open(struct store *store, struct engine *engine, const char *address, const char *ns, bool wanted) {
    memset(store, 0, sizeof(*store));
    store->engine = engine;
    store->wanted = wanted && engine->mode != ENGINE_NONE;
    if (wanted && engine->mode == ENGINE_NONE) {
        note(store, "without Quire: %s", engine->why);
    }
    if (!store->wanted) {
        return QUIRE_OK;
    }
    if (address != NULL) {
        const char *scheme = strstr(address, "://") != NULL ? "" : "unix://";
        if (snprintf(store->address, sizeof(store->address), "%s%s", scheme, address) >= (int)sizeof(store->address)) {
            return QUIRE_TOO_LARGE;
        }
    }
    if (ns != NULL) {
        snprintf(store->ns_name, sizeof(store->ns_name), "%s", ns);
    } else {
        default_ns(engine, store->ns_name);
    }
    QUIRE_FORWARD(reserve_scratch(store));
    connect_now(store);
    return QUIRE_OK;
}

bool store_ready(struct store *store) {
    if (store->wanted && store->ns == NULL && store_now_ms() - store->tried_ms >= RETRY_MS) {
        connect_now(store);
    }
    return store->ns != NULL;
}

void store_close(struct store *store) {
    quire_ns_close(&store->ns);
    quire_close(&store->client);
    engine_buffer_free(&store->fetched);
    for (uint32_t i = 0; i < STORE_SLOTS; i++) {
        engine_buffer_free(&store->slot[i]);
    }
    free(store->last_tail.tokens);
    free(store->rows);
    free(store->bases);
    free(store->sources);
    memset(store, 0, sizeof(*store));
}

void store_run_end(struct store_run *run) {
    quire_seq_destroy(&run->seq);
    free(run->keys);
    memset(run, 0, sizeof(*run));
}

void store_cost(struct store_run *run, double us_per_token) {
    if (run->seq != NULL) {
        quire_seq_set_cost(run->seq, us_per_token); /* what no token can take is not told */
    }
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------ */
/* A reader behind a partial block needs more of a window than whole blocks give: windowed models keep and seek whole blocks only. */
static bool tails(const struct store *store) { return store->engine->window_tokens == 0; }

static bool make_keys(struct store *store, struct store_run *run, const uint32_t *tokens, size_t n) {
    const size_t capacity = n / store->engine->block_tokens + 1;
    quire_key *keys = malloc(capacity * sizeof(*keys));
    size_t n_keys = 0;
    if (keys == NULL || quire_chain(store->ns, tokens, n, NULL, 0, tails(store), keys, capacity, &n_keys) != QUIRE_OK) {
        free(keys);
        note(store, "no keys: %s", keys == NULL ? "out of memory" : quire_last_error());
        return false;
    }
    free(run->keys);
    run->keys = keys;
    run->n_keys = n_keys;
    run->key_tokens = n;
    return true;
}

/* ---- reuse: lookup, fetch, import ---------------------------------------------------------------------------------------------- */
static uint32_t tokens_of(const struct store *store, size_t n, uint32_t hits) {
    const uint64_t full = (uint64_t)hits * store->engine->block_tokens;
    return (uint32_t)quire_min_u64(full, n);
}

static void worse(quire_fidelity *worst, const quire_fidelity *fidelity) {
    worst->rung = fidelity->rung > worst->rung ? fidelity->rung : worst->rung;
    worst->error = fidelity->error > worst->error ? fidelity->error : worst->error;
    worst->ancestry_error = fidelity->ancestry_error > worst->ancestry_error ? fidelity->ancestry_error : worst->ancestry_error;
}

/* The first of `hits` blocks whose record of a windowed group a reader behind n_tokens needs; a partial tail reaches one further back. */
static uint32_t window_start(const struct engine *engine, uint32_t group, uint32_t hits, uint32_t n_tokens) {
    const uint64_t blocks = (uint64_t)quire_layout_window_blocks(&engine->layout.layout, group) + (n_tokens % engine->block_tokens != 0);
    return blocks >= hits ? 0 : hits - (uint32_t)blocks;
}

static uint32_t fill_dests(struct store *store, uint32_t hits, uint32_t n_tokens, struct kvblob *rows, quire_dest *dests,
                           struct lane_bases *bases) {
    const struct engine *engine = store->engine;
    uint32_t n = 0;
    for (uint32_t g = 0; g < engine->layout.layout.n_groups; g++) {
        for (uint32_t i = window_start(engine, g, hits, n_tokens); i < hits; i++, n++) {
            memset(&dests[n], 0, sizeof(dests[n]));
            dests[n].key_index = i;
            lanes_dest(&engine->layout, g, rows, store->fetched.bytes, i * engine->block_tokens, &bases[n], &dests[n]);
        }
    }
    return n;
}

/* Every block must hold as many tokens as its key says; then the whole blob is written. */
static bool all_fetched(struct store *store, struct store_run *run, const quire_dest *dests, uint32_t n_dests, uint32_t n_tokens) {
    for (uint32_t i = 0; i < n_dests; i++) {
        const uint32_t first = dests[i].key_index * store->engine->block_tokens;
        const uint32_t expected = (uint32_t)quire_min_u64(store->engine->block_tokens, n_tokens - first);
        if (dests[i].status != QUIRE_OK || dests[i].n_tokens != expected) {
            note(store, "block %u was not fetched: %s", (unsigned)dests[i].key_index, quire_status_text(dests[i].status));
            return false;
        }
        worse(&run->fidelity, &dests[i].fidelity);
    }
    return true;
}

static bool fetch_lanes(struct store *store, struct store_run *run, quire_lease *lease, uint32_t hits, uint32_t n_tokens) {
    struct engine *engine = store->engine;
    const uint32_t local = engine->layout.layout.n_groups > 0 && engine->window_tokens > 0;
    uint32_t local_first = 0;
    for (uint32_t g = 0; local && g < engine->layout.layout.n_groups; g++) {
        if (engine->layout.layout.group[g].window_tokens > 0) {
            local_first = window_start(engine, g, hits, n_tokens) * engine->block_tokens;
        }
    }
    const uint64_t most = (uint64_t)hits * engine->layout.layout.n_groups;
    quire_dest *dests = malloc(most * sizeof(*dests));
    struct lane_bases *bases = malloc(most * sizeof(*bases));
    struct kvblob *rows = malloc(sizeof(*rows));
    bool good = dests != NULL && bases != NULL && rows != NULL;
    const double start_ms = store_now_ms();
    good = good && engine_import_begin(engine, n_tokens, local_first, &store->fetched, rows) == QUIRE_OK;
    if (good) {
        const uint32_t n_dests = fill_dests(store, hits, n_tokens, rows, dests, bases);
        quire_fetch(lease, dests, n_dests, run->seq, 0);
        good = all_fetched(store, run, dests, n_dests, n_tokens);
    }
    const double fetched_ms = store_now_ms();
    if (good && engine_import(engine, rows, &store->fetched) != QUIRE_OK) {
        note(store, "llama.cpp refused the fetched state");
        good = false;
    }
    run->fetch_ms = fetched_ms - start_ms;
    run->import_ms = store_now_ms() - fetched_ms;
    free(rows);
    free(bases);
    free(dests);
    return good;
}

static bool fetch_opaque(struct store *store, struct store_run *run, quire_lease *lease, uint32_t hits) {
    struct engine *engine = store->engine;
    const uint64_t capacity = engine->opaque_token_bytes * engine->block_tokens + OPAQUE_SPARE_BYTES;
    if (engine_buffer_reserve(&store->fetched, capacity) != QUIRE_OK) {
        return false;
    }
    for (uint32_t i = 0; i < hits; i++) {
        const double start_ms = store_now_ms();
        quire_dest dest = {.key_index = i, .opaque = store->fetched.bytes, .opaque_bytes = capacity};
        const enum quire_status status = quire_fetch(lease, &dest, 1, run->seq, 0);
        const double fetched_ms = store_now_ms();
        run->fetch_ms += fetched_ms - start_ms;
        if (status != QUIRE_OK || engine_import_opaque(engine, store->fetched.bytes, dest.bytes_copied) != QUIRE_OK) {
            note(store, "block %u was not fetched: %s", (unsigned)i, quire_status_text(status));
            return false;
        }
        worse(&run->fidelity, &dest.fidelity);
        run->import_ms += store_now_ms() - fetched_ms;
    }
    return true;
}

static void reuse_hits(struct store *store, struct store_run *run, quire_lease *lease, uint32_t hits, uint32_t n_tokens) {
    const bool good =
        store->engine->mode == ENGINE_LANES ? fetch_lanes(store, run, lease, hits, n_tokens) : fetch_opaque(store, run, lease, hits);
    if (!good) { /* whatever was brought in is not complete: begin anew */
        engine_reset(store->engine);
        run->fidelity = (quire_fidelity){0};
        return;
    }
    run->reused_tokens = n_tokens;
    run->kept_blocks = n_tokens / store->engine->block_tokens;
    run->tail_tokens = n_tokens % store->engine->block_tokens;
}

void store_reuse(struct store *store, struct store_run *run, const uint32_t *tokens, size_t n) {
    memset(run, 0, sizeof(*run));
    const double start_ms = store_now_ms();
    if (!store_ready(store) || n < 2) {
        run->stopped = !store_ready(store);
        return;
    }
    if (quire_seq_create(store->ns, &run->seq) != QUIRE_OK || !make_keys(store, run, tokens, n - 1)) {
        run->stopped = true;
        return;
    }
    if (run->n_keys == 0) {
        return;
    }
    const struct store_tail *last = &store->last_tail;
    run->goes_on = last->tokens != NULL && n - 1 > last->n_tokens && memcmp(tokens, last->tokens, last->n_tokens * sizeof(*tokens)) == 0;
    const quire_lookup_args args = {
        .keys = run->keys, .n_keys = (uint32_t)quire_min_u64(run->n_keys, QUIRE_MAX_BATCH), .flags = QUIRE_LOOKUP_FETCH};
    quire_lookup_result found = {0};
    if (quire_lookup(store->ns, &args, NULL, &found) != QUIRE_OK) {
        note(store, "look-up failed: %s", quire_last_error());
        run->stopped = true; /* one deadline a run is enough to wait */
    }
    run->lookup_ms = store_now_ms() - start_ms;
    if (found.hits > 0 && found.lease != NULL) {
        reuse_hits(store, run, found.lease, found.hits, tokens_of(store, n - 1, found.hits));
    }
    quire_release(&found.lease);
}

/* ---- keep ------------------------------------------------------------------------------------------------------------------------ */
static void fill_source(const struct store *store, const struct store_run *run, uint32_t block, uint32_t n_tokens, quire_source *source) {
    const size_t first = (size_t)block * store->engine->block_tokens, tail_end = store->last_tail.n_tokens;
    source->key = run->keys[block];
    source->n_tokens = n_tokens;
    if (block > 0) {
        source->parent = run->keys[block - 1];
    }
    if (run->goes_on && first < tail_end && tail_end < first + n_tokens) {
        source->supersedes = store->last_tail.key;
    }
}

/* Exports one block into a slot and describes it; how many sources that makes, −1 when the engine refuses. */
static int describe_block(struct store *store, const struct store_run *run, uint32_t block, uint32_t n_tokens, uint32_t slot,
                          quire_source *sources) {
    struct engine *engine = store->engine;
    const uint32_t first = block * engine->block_tokens, end = first + n_tokens;
    int n = 0;
    if (engine->mode == ENGINE_OPAQUE) {
        uint64_t size;
        if (engine_export_opaque(engine, first, end, &store->slot[slot], &size) != QUIRE_OK) {
            return -1;
        }
        sources[0] = (quire_source){.opaque = store->slot[slot].bytes, .opaque_bytes = size};
        fill_source(store, run, block, n_tokens, &sources[0]);
        return 1;
    }
    if (engine_export(engine, first, end, &store->slot[slot], &store->rows[slot]) != QUIRE_OK) {
        return -1;
    }
    for (uint32_t g = 0; g < engine->layout.layout.n_groups; g++) {
        if (lanes_present(&engine->layout, g, &store->rows[slot], first, end)) {
            memset(&sources[n], 0, sizeof(sources[n]));
            lanes_source(&engine->layout, g, &store->rows[slot], store->slot[slot].bytes, first, &store->bases[slot * QUIRE_MAX_GROUPS + g],
                         &sources[n]);
            fill_source(store, run, block, n_tokens, &sources[n++]);
        }
    }
    return n;
}

static void note_not_stored(struct store *store, enum quire_status status, uint32_t n_sources) {
    for (uint32_t i = 0; i < n_sources && store->engine->mode == ENGINE_OPAQUE; i++) {
        if (store->sources[i].status == QUIRE_TOO_LARGE) {
            note(store,
                 "not stored: blocks of this model have %llu bytes and go to quired whole: raise its ingest_window_bytes, "
                 "or choose fewer --block-tokens",
                 (unsigned long long)store->sources[i].opaque_bytes);
            return;
        }
    }
    note(store, "not stored: %s: %s", quire_status_text(status), quire_last_error());
}

/* Stores blocks [kept_blocks, kept_blocks + n) of the keys, at most STORE_SLOTS; the last may be partial. */
static bool keep_batch(struct store *store, struct store_run *run, uint32_t n, uint32_t last_tokens) {
    uint32_t n_sources = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t n_tokens = i + 1 == n ? last_tokens : store->engine->block_tokens;
        const int made = describe_block(store, run, run->kept_blocks + i, n_tokens, i, store->sources + n_sources);
        if (made < 0) {
            note(store, "llama.cpp gave no state of block %u", (unsigned)(run->kept_blocks + i));
            return false;
        }
        n_sources += (uint32_t)made;
    }
    uint32_t retry_after_ms = 0;
    const enum quire_status status = quire_store(store->ns, store->sources, n_sources, run->seq, 0, &retry_after_ms);
    if (status != QUIRE_OK) {
        note_not_stored(store, status, n_sources);
        return false;
    }
    run->stored_blocks += n;
    return true;
}

static void keep_full(struct store *store, struct store_run *run, uint32_t n_blocks) {
    while (!run->stopped && run->kept_blocks < n_blocks) {
        const uint32_t n = (uint32_t)quire_min_u64(n_blocks - run->kept_blocks, STORE_SLOTS);
        if (!keep_batch(store, run, n, store->engine->block_tokens)) {
            run->stopped = true; /* later blocks without this one would be orphans */
            return;
        }
        run->kept_blocks += n;
        run->tail_tokens = 0;
    }
}

static void remember_tail(struct store *store, const quire_key *key, const uint32_t *tokens, size_t n) {
    struct store_tail *last = &store->last_tail;
    free(last->tokens);
    *last = (struct store_tail){.key = *key, .tokens = malloc(n * sizeof(*tokens)), .n_tokens = n};
    if (last->tokens != NULL) {
        memcpy(last->tokens, tokens, n * sizeof(*tokens));
    }
}

static void keep_tail(struct store *store, struct store_run *run, const uint32_t *tokens, size_t n) {
    const uint32_t n_tokens = (uint32_t)(n % store->engine->block_tokens);
    if (run->stopped || n_tokens == 0 || run->kept_blocks >= run->n_keys) {
        return;
    }
    if (n_tokens > run->tail_tokens && !keep_batch(store, run, 1, n_tokens)) {
        run->stopped = true;
        return;
    }
    run->tail_tokens = n_tokens;
    run->goes_on = false; /* whoever continues from here supersedes this tail */
    remember_tail(store, &run->keys[run->kept_blocks], tokens, n);
}

void store_keep(struct store *store, struct store_run *run, const uint32_t *tokens, size_t n, bool tail) {
    const double start_ms = store_now_ms();
    const uint32_t block = store->engine->block_tokens;
    if (run->stopped || store->ns == NULL || run->seq == NULL) {
        return;
    }
    /* Keys made for more tokens name these full blocks too; only a tail, or what is new, needs others. */
    if ((n / block > run->key_tokens / block || (tail && tails(store) && n != run->key_tokens)) && !make_keys(store, run, tokens, n)) {
        run->stopped = true;
        return;
    }
    keep_full(store, run, (uint32_t)(n / block));
    if (tail && tails(store)) {
        keep_tail(store, run, tokens, n);
    }
    run->store_ms += store_now_ms() - start_ms;
}
