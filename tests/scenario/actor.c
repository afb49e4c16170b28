/*
 * A worker that does what a story tells it: one command a line on standard input, one answer a line on standard output ("ok …" or
 * "err STATUS text"). Content is a function of the key's number, so that every actor can tell whether bytes are the right ones.
 * `actor --help` lists the commands.
 */
#include "client/quire.h"
#include "codec/checksum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORDS = 12, MAX_LEASES = 16, MAX_KEYS = 4096, MAX_CROWD = 256, OPAQUE_BYTES = 100000 };

struct held {
    quire_lease *lease;
    uint32_t first, count;
    quire_view *views;
};

static struct {
    quire_client *client;
    quire_ns *ns;
    quire_layout layout;
    struct held held[MAX_LEASES];
    uint8_t *bytes;
    uint64_t block_bytes;
} me;

static const char help_text[] =
    "open ADDRESS [NAME]                         connect\n"
    "ns NAME LAYERS HEADS DIM TOKENS | ns NAME opaque\n"
    "store FIRST COUNT [pin] [unknown] [cost=US] blocks FIRST.., each the child of the one before; unknown: no parent known;\n"
    "                                            cost: what a token took, in microseconds; a failure has retry=MILLISECONDS behind its "
    "status\n"
    "part NUMBER PUT_ID LAYER LAYERS HEAD HEADS  one part of a block\n"
    "lookup SLOT FIRST COUNT [each] [probe] [prefetch]\n"
    "                                            ok HITS REASONS; with fetch_us: how long it will take to be fetched, behind them\n"
    "fetch SLOT [HITS]                           copies and compares what the lookup hit\n"
    "fetch SLOT lanes=LAYER,LAYERS,HEAD,HEADS    of each block only these lanes\n"
    "flood SLOT TIMES                            fetches all that the lookup hit so many times over, at once; ok BLOCKS; a wrong byte ends "
    "it all\n"
    "view SLOT | viewcheck SLOT | release SLOT   zero-copy: begin, look again (also after the daemon died) and end\n"
    "touch|delete|pin|unpin FIRST COUNT          ok STATUSES\n"
    "hammer MILLISECONDS FIRST COUNT             stores and fetches at random; ok HITS MISSES FAILURES; a wrong byte ends it all\n"
    "read FIRST COUNT                            looks up and fetches each block by itself; ok STATUSES; a wrong byte ends it all\n"
    "fork FIRST COUNT                            a child looks up and fetches by itself\n"
    "sessions ADDRESS COUNT                      opens so many one after the other; every second is lost with its process\n"
    "crowd ADDRESS COUNT                         opens so many at once, then closes them; ok OPENED STATUS-OF-THE-LAST\n"
    "sum PATH OFFSET BYTES                       XXH3-64 of a part of a file, as the log's structures carry it\n"
    "info | close | quit\n";

static void answer_status(enum quire_status status) {
    if (status == QUIRE_OK) {
        printf("ok\n");
    } else {
        printf("err %s %s\n", quire_status_name(status), quire_last_error());
    }
}

static quire_key key_of(uint32_t number) {
    quire_key key;
    memset(key.b, 0xC3, sizeof key.b);
    memcpy(key.b, &number, sizeof number);
    return key;
}

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    return z ^ (z >> 27);
}

/* The block's content, in record order. */
static void content(uint32_t number, uint8_t *to, uint64_t bytes) {
    uint64_t state = mix(number + 1ull);
    for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(to + i, &state, 8);
    }
    for (uint64_t i = bytes & ~7ull; i < bytes; i++) {
        to[i] = (uint8_t)(number + i);
    }
}

/* Lane pointers of a block held as [layer][K, V][head][token][dim]. */
static void lanes(uint8_t *block, uint32_t first_layer, uint32_t n_layers, uint32_t first_head, void **k, void **v) {
    const quire_group *group = &me.layout.group[0];
    uint64_t lane = (uint64_t)me.layout.block_tokens * group->k_dim * 2, half = lane * group->n_kv_heads;
    for (uint32_t l = 0; l < n_layers; l++) {
        k[l] = block + 2 * (first_layer + l) * half + first_head * lane;
        v[l] = block + (2 * (first_layer + l) + 1) * half + first_head * lane;
    }
}

static int64_t token_stride(void) { return me.layout.group[0].k_dim * 2; }
static int64_t head_stride(void) { return token_stride() * me.layout.block_tokens; }

static void make_layout(uint16_t n_layers, uint16_t n_heads, uint16_t dim, uint16_t tokens) {
    me.layout = (quire_layout){.n_layers = n_layers, .n_groups = 1, .block_tokens = tokens};
    for (uint16_t l = 0; l < n_layers && l < QUIRE_MAX_LAYERS; l++) {
        me.layout.kv_src[l] = l;
    }
    me.layout.group[0] = (quire_group){.n_kv_heads = n_heads, .k_dim = dim, .v_dim = dim, .elem = QUIRE_F16};
    me.block_bytes = 4ull * n_layers * n_heads * dim * tokens;
}

static void do_ns(char **words, int n) {
    if (n == 3 && strcmp(words[2], "opaque") == 0) {
        me.layout = (quire_layout){.opaque = true, .block_tokens = 16, .engine = "actor", .engine_format = "1"};
        me.block_bytes = OPAQUE_BYTES;
    } else if (n == 6) {
        make_layout((uint16_t)atoi(words[2]), (uint16_t)atoi(words[3]), (uint16_t)atoi(words[4]), (uint16_t)atoi(words[5]));
    } else {
        printf("err INVALID ns needs a name and a layout\n");
        return;
    }
    free(me.bytes);
    me.bytes = calloc(1, me.block_bytes);
    if (me.ns != NULL) {
        quire_ns_close(&me.ns);
    }
    answer_status(quire_ns_open(me.client, words[1], &me.layout, &me.ns));
}

static void fill_source(quire_source *source, uint32_t number, uint32_t flags, void **k, void **v) {
    content(number, me.bytes, me.block_bytes);
    *source = (quire_source){.key = key_of(number), .n_tokens = me.layout.block_tokens, .flags = flags};
    if (me.layout.opaque) {
        source->opaque = me.bytes;
        source->opaque_bytes = me.block_bytes;
        return;
    }
    lanes(me.bytes, 0, me.layout.n_layers, 0, k, v);
    source->k_base = (const void *const *)k;
    source->v_base = (const void *const *)v;
    source->k_head_stride = source->v_head_stride = head_stride();
    source->k_token_stride = source->v_token_stride = token_stride();
}

static enum quire_status store_one(uint32_t number, bool first, uint32_t flags, quire_seq *seq, uint32_t *retry_ms) {
    void *k[QUIRE_MAX_LAYERS], *v[QUIRE_MAX_LAYERS];
    quire_source source;
    fill_source(&source, number, flags, k, v);
    if (!first && (flags & QUIRE_STORE_PARENT_UNKNOWN) == 0) {
        source.parent = key_of(number - 1);
    }
    return quire_store(me.ns, &source, 1, seq, 2000, retry_ms);
}

static bool has_word(char **words, int n, const char *word) {
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* A sequence that tells what its tokens took, when that is given. */
static enum quire_status seq_of(char **words, int n, quire_seq **seq) {
    for (int i = 0; i < n; i++) {
        if (strncmp(words[i], "cost=", 5) == 0) {
            enum quire_status status = quire_seq_create(me.ns, seq);
            return status == QUIRE_OK ? quire_seq_set_cost(*seq, atof(words[i] + 5)) : status;
        }
    }
    return QUIRE_OK;
}

static void do_store(char **words, int n) {
    uint32_t first = (uint32_t)atoi(words[1]), count = (uint32_t)atoi(words[2]);
    uint32_t flags = (has_word(words, n, "pin") ? QUIRE_STORE_PIN : 0u) | (has_word(words, n, "unknown") ? QUIRE_STORE_PARENT_UNKNOWN : 0u);
    uint32_t retry_ms = 0, done = 0;
    quire_seq *seq = NULL;
    enum quire_status status = seq_of(words, n, &seq);
    while (status == QUIRE_OK && done < count) {
        status = store_one(first + done, done == 0, flags, seq, &retry_ms);
        done += status == QUIRE_OK;
    }
    quire_seq_destroy(&seq);
    if (status != QUIRE_OK) {
        printf("err %s retry=%u after %u: %s\n", quire_status_name(status), retry_ms, done, quire_last_error());
        return;
    }
    printf("ok %u\n", count);
}

static void do_part(char **words, int n) {
    if (n != 7) {
        printf("err INVALID part needs six numbers\n");
        return;
    }
    void *k[QUIRE_MAX_LAYERS], *v[QUIRE_MAX_LAYERS];
    quire_source source;
    fill_source(&source, (uint32_t)atoi(words[1]), 0, k, v);
    source.put_id = strtoull(words[2], NULL, 10);
    source.rect = (quire_rect){(uint16_t)atoi(words[3]), (uint16_t)atoi(words[4]), (uint16_t)atoi(words[5]), (uint16_t)atoi(words[6])};
    if (source.rect.first_layer + source.rect.n_layers <= me.layout.n_layers) {
        lanes(me.bytes, source.rect.first_layer, source.rect.n_layers, source.rect.first_head, k, v);
    }
    answer_status(quire_store(me.ns, &source, 1, NULL, 2000, NULL));
}

static struct held *slot_of(const char *word) {
    unsigned slot = (unsigned)atoi(word);
    return &me.held[slot < MAX_LEASES ? slot : 0];
}

static void drop(struct held *held) {
    quire_release(&held->lease);
    free(held->views);
    *held = (struct held){0};
}

static void do_lookup(char **words, int n) {
    static quire_key keys[MAX_KEYS];
    static uint8_t misses[MAX_KEYS];
    struct held *held = slot_of(words[1]);
    uint32_t first = (uint32_t)atoi(words[2]), count = (uint32_t)atoi(words[3]);
    if (count > MAX_KEYS) {
        printf("err INVALID too many keys\n");
        return;
    }
    drop(held);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = key_of(first + i);
    }
    quire_lookup_args args = {.keys = keys, .n_keys = count, .deadline_ms = 2000};
    args.flags = (has_word(words, n, "each") ? QUIRE_LOOKUP_EACH : 0u) | (has_word(words, n, "probe") ? QUIRE_LOOKUP_PROBE : 0u) |
                 (has_word(words, n, "prefetch") ? QUIRE_LOOKUP_PREFETCH : 0u);
    quire_lookup_result result = {0};
    enum quire_status status = quire_lookup(me.ns, &args, misses, &result);
    if (status != QUIRE_OK) {
        printf("err %s %s\n", quire_status_name(status), quire_last_error());
        return;
    }
    *held = (struct held){.lease = result.lease, .first = first, .count = result.hits};
    printf("ok %u ", result.hits);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%u", i != 0 ? "," : "", misses[i]);
    }
    if (has_word(words, n, "fetch_us")) {
        printf(" %u", result.fetch_us);
    }
    printf("\n");
}

/* Of a whole block; k and v have room for a pointer a layer. */
static quire_dest dest_of(uint32_t index, uint8_t *copy, void **k, void **v) {
    if (me.layout.opaque) {
        return (quire_dest){.key_index = index, .opaque = copy, .opaque_bytes = me.block_bytes};
    }
    lanes(copy, 0, me.layout.n_layers, 0, k, v);
    return (quire_dest){.key_index = index,
                        .k_base = k,
                        .v_base = v,
                        .k_head_stride = head_stride(),
                        .v_head_stride = head_stride(),
                        .k_token_stride = token_stride(),
                        .v_token_stride = token_stride(),
                        .region = copy,
                        .region_bytes = me.block_bytes};
}

/* Copies key `index` of the lease and compares. STALE, MISS … are the caller's to judge; wrong bytes are not. */
static enum quire_status fetch_one(quire_lease *lease, uint32_t index, uint32_t number) {
    static uint8_t *copy, *want;
    static uint64_t have;
    if (have < me.block_bytes) {
        copy = realloc(copy, me.block_bytes);
        want = realloc(want, me.block_bytes);
        have = me.block_bytes;
    }
    void *k[QUIRE_MAX_LAYERS], *v[QUIRE_MAX_LAYERS];
    quire_dest dest = dest_of(index, copy, k, v);
    enum quire_status status = quire_fetch(lease, &dest, 1, NULL, 2000);
    content(number, want, me.block_bytes);
    if (status == QUIRE_OK && memcmp(copy, want, me.block_bytes) != 0) {
        printf("WRONG BYTES in block %u\n", number);
        fflush(stdout);
        abort();
    }
    return status;
}

/* Likewise, only some lanes; beside them nothing may be written. */
static enum quire_status fetch_lanes(quire_lease *lease, uint32_t index, uint32_t number, const quire_rect *rect) {
    uint8_t *copy = calloc(1, me.block_bytes), *want = calloc(1, me.block_bytes);
    uint64_t lane = (uint64_t)head_stride();
    void *k[QUIRE_MAX_LAYERS], *v[QUIRE_MAX_LAYERS];
    lanes(copy, rect->first_layer, rect->n_layers, rect->first_head, k, v);
    quire_dest dest = {.key_index = index, .rect = *rect, .k_base = k, .v_base = v, .region = copy, .region_bytes = me.block_bytes};
    dest.k_head_stride = dest.v_head_stride = head_stride();
    dest.k_token_stride = dest.v_token_stride = token_stride();
    enum quire_status status = quire_fetch(lease, &dest, 1, NULL, 2000);
    content(number, want, me.block_bytes);
    for (uint32_t i = 0; i < me.block_bytes / lane; i++) { /* lanes are [layer][K, V][head] */
        uint32_t head = i % me.layout.group[0].n_kv_heads, layer = i / me.layout.group[0].n_kv_heads / 2;
        if (layer - rect->first_layer >= rect->n_layers || head - rect->first_head >= rect->n_heads) {
            memset(want + i * lane, 0, lane);
        }
    }
    if (status == QUIRE_OK && memcmp(copy, want, me.block_bytes) != 0) {
        printf("WRONG BYTES in lanes of block %u\n", number);
        fflush(stdout);
        abort();
    }
    free(copy);
    free(want);
    return status;
}

static void do_fetch(char **words, int n) {
    struct held *held = slot_of(words[1]);
    quire_rect rect;
    bool part = n > 2 && sscanf(words[2], "lanes=%hu,%hu,%hu,%hu", &rect.first_layer, &rect.n_layers, &rect.first_head, &rect.n_heads) == 4;
    uint32_t count = n > 2 && !part ? (uint32_t)atoi(words[2]) : held->count;
    for (uint32_t i = 0; i < count; i++) {
        enum quire_status status = part ? fetch_lanes(held->lease, i, held->first + i, &rect) : fetch_one(held->lease, i, held->first + i);
        if (status != QUIRE_OK) {
            printf("err %s block %u: %s\n", quire_status_name(status), held->first + i, quire_last_error());
            return;
        }
    }
    printf("ok %u\n", count);
}

static void do_flood(char **words, int n) {
    const struct held *held = slot_of(words[1]);
    uint32_t count = held->count * (uint32_t)atoi(words[2]);
    uint8_t *copies = malloc(count * me.block_bytes);
    void **bases = calloc(count, 2 * QUIRE_MAX_LAYERS * sizeof *bases);
    quire_dest *dests = calloc(count, sizeof *dests);
    quire_job *jobs = calloc(count, sizeof *jobs);
    enum quire_status status = QUIRE_OK;
    (void)n;
    printf("started\n");
    fflush(stdout);
    for (uint32_t i = 0; i < count; i++) {
        void **k = bases + 2ull * i * QUIRE_MAX_LAYERS;
        dests[i] = dest_of(i % held->count, copies + i * me.block_bytes, k, k + QUIRE_MAX_LAYERS);
        jobs[i] = quire_submit_fetch(held->lease, &dests[i], 1, NULL, 60000, NULL);
    }
    for (uint32_t i = 0; i < count; i++) {
        enum quire_status one = jobs[i] != 0 ? quire_wait(me.client, jobs[i], 60000) : QUIRE_RETRY;
        status = status == QUIRE_OK ? one : status;
        content(held->first + i % held->count, me.bytes, me.block_bytes);
        if (one == QUIRE_OK && memcmp(copies + i * me.block_bytes, me.bytes, me.block_bytes) != 0) {
            printf("WRONG BYTES in block %u\n", held->first + i % held->count);
            fflush(stdout);
            abort();
        }
    }
    free(copies);
    free(bases);
    free(dests);
    free(jobs);
    if (status == QUIRE_OK) {
        printf("ok %u\n", count);
    } else {
        answer_status(status);
    }
}

/* Whether the viewed lanes hold the block's content. */
static bool view_right(const quire_view *view, uint32_t number) {
    content(number, me.bytes, me.block_bytes);
    if (me.layout.opaque) {
        return view->payload_bytes >= me.block_bytes && memcmp(view->payload, me.bytes, me.block_bytes) == 0;
    }
    const uint8_t *want = me.bytes;
    for (uint32_t l = 0; l < me.layout.n_layers; l++) {
        for (uint32_t kv = 0; kv < 2; kv++) {
            for (uint32_t head = 0; head < me.layout.group[0].n_kv_heads; head++) {
                uint64_t size = 0;
                const void *lane = quire_view_lane(view, &me.layout, 0, l, kv, head, &size);
                if (lane == NULL || memcmp(lane, want, size) != 0) {
                    return false;
                }
                want += size;
            }
        }
    }
    return true;
}

static void do_view(char **words, int n) {
    (void)n;
    struct held *held = slot_of(words[1]);
    held->views = calloc(held->count != 0 ? held->count : 1, sizeof *held->views);
    for (uint32_t i = 0; i < held->count; i++) {
        enum quire_status status = quire_view_begin(held->lease, i, 0, &held->views[i]);
        if (status != QUIRE_OK) {
            printf("err %s %s\n", quire_status_name(status), quire_last_error());
            return;
        }
        if (!view_right(&held->views[i], held->first + i)) {
            printf("err INTERNAL wrong bytes in view of block %u\n", held->first + i);
            return;
        }
    }
    printf("ok %u\n", held->count);
}

static void do_viewcheck(char **words, int n) {
    (void)n;
    struct held *held = slot_of(words[1]);
    uint32_t right = 0;
    enum quire_status worst = QUIRE_OK;
    for (uint32_t i = 0; held->views != NULL && i < held->count; i++) {
        right += view_right(&held->views[i], held->first + i);
        enum quire_status status = quire_view_end(held->lease, &held->views[i]);
        worst = status != QUIRE_OK ? status : worst;
    }
    printf("ok %u %s\n", right, quire_status_name(worst));
}

static void do_keys(char **words, int n) {
    (void)n;
    static quire_key keys[MAX_KEYS];
    static uint8_t statuses[MAX_KEYS];
    uint32_t first = (uint32_t)atoi(words[1]), count = (uint32_t)atoi(words[2]) % (MAX_KEYS + 1);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = key_of(first + i);
    }
    enum quire_status status = QUIRE_INVALID;
    switch (words[0][0]) {
    case 't':
        status = quire_touch(me.ns, keys, count, statuses, 2000);
        break;
    case 'd':
        status = quire_delete(me.ns, keys, count, statuses, 2000);
        break;
    case 'p':
        status = quire_pin(me.ns, keys, count, statuses, 2000);
        break;
    case 'u':
        status = quire_unpin(me.ns, keys, count, statuses, 2000);
        break;
    default:
        break;
    }
    if (status == QUIRE_DISCONNECTED || status == QUIRE_TIMEOUT) {
        answer_status(status);
        return;
    }
    printf("ok ");
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%s", i != 0 ? "," : "", quire_status_name(statuses[i]));
    }
    printf("\n");
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void do_hammer(char **words, int n) {
    (void)n;
    uint64_t end = now_ms() + strtoull(words[1], NULL, 10), hits = 0, misses = 0, failures = 0;
    uint32_t first = (uint32_t)atoi(words[2]), count = (uint32_t)atoi(words[3]);
    uint64_t state = (uint64_t)getpid();
    printf("started\n");
    fflush(stdout);
    while (now_ms() < end) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t number = first + (uint32_t)(state >> 33) % count;
        quire_key key = key_of(number);
        quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH, .deadline_ms = 1000};
        quire_lookup_result result = {0};
        enum quire_status status = quire_lookup(me.ns, &args, NULL, &result);
        if (status == QUIRE_OK && result.hits == 1) {
            status = fetch_one(result.lease, 0, number);
            hits += status == QUIRE_OK;
            failures += status != QUIRE_OK;
        } else if (status == QUIRE_OK) {
            misses++;
            failures += store_one(number, true, QUIRE_STORE_PARENT_UNKNOWN, NULL, NULL) != QUIRE_OK;
        } else {
            failures++;
            usleep(2000);
        }
        quire_release(&result.lease);
    }
    printf("ok %llu %llu %llu\n", (unsigned long long)hits, (unsigned long long)misses, (unsigned long long)failures);
}

/* MISS: a clean answer, whether the lookup or the fetch gave it. */
static enum quire_status read_one(uint32_t number) {
    quire_key key = key_of(number);
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH, .deadline_ms = 2000};
    quire_lookup_result result = {0};
    enum quire_status status = quire_lookup(me.ns, &args, NULL, &result);
    if (status == QUIRE_OK) {
        status = result.hits == 1 ? fetch_one(result.lease, 0, number) : QUIRE_MISS;
    }
    quire_release(&result.lease);
    return status;
}

static void do_read(char **words, int n) {
    (void)n;
    static uint8_t statuses[MAX_KEYS];
    uint32_t first = (uint32_t)atoi(words[1]), count = (uint32_t)atoi(words[2]) % (MAX_KEYS + 1);
    for (uint32_t i = 0; i < count; i++) {
        statuses[i] = (uint8_t)read_one(first + i);
        if (statuses[i] == QUIRE_DISCONNECTED) {
            answer_status(QUIRE_DISCONNECTED);
            return;
        }
    }
    printf("ok ");
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%s", i != 0 ? "," : "", quire_status_name(statuses[i]));
    }
    printf("\n");
}

static enum quire_status child_story(uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        quire_key key = key_of(first + i);
        quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH, .deadline_ms = 2000};
        quire_lookup_result result = {0};
        enum quire_status status = quire_lookup(me.ns, &args, NULL, &result);
        if (status == QUIRE_OK) {
            status = result.hits == 1 ? fetch_one(result.lease, 0, first + i) : QUIRE_MISS;
        }
        if (status != QUIRE_OK) {
            return status;
        }
        quire_release(&result.lease);
    }
    return QUIRE_OK;
}

static void do_fork(char **words, int n) {
    (void)n;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        answer_status(child_story((uint32_t)atoi(words[1]), (uint32_t)atoi(words[2])));
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) {
        printf("err INTERNAL child ended with %x\n", (unsigned)status);
    }
}

static void do_open(char **words, int n) {
    quire_options options = {.address = words[1], .client_name = n > 2 ? words[2] : "actor"};
    answer_status(quire_open(&options, &me.client));
}

static enum quire_status open_and_close(const char *address) {
    quire_client *client = NULL;
    quire_options options = {.address = address, .client_name = "passer-by"};
    enum quire_status status = quire_open(&options, &client);
    if (status == QUIRE_OK) {
        quire_close(&client);
    }
    return status;
}

/* A child process opens a session and ends without a word. */
static enum quire_status open_and_die(const char *address) {
    pid_t child = fork();
    if (child == 0) {
        quire_client *client = NULL;
        quire_options options = {.address = address, .client_name = "passer-by"};
        _exit((int)quire_open(&options, &client));
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? (enum quire_status)WEXITSTATUS(status) : QUIRE_INTERNAL;
}

static void do_sessions(char **words, int n) {
    (void)n;
    uint32_t count = (uint32_t)atoi(words[2]);
    for (uint32_t i = 0; i < count; i++) {
        enum quire_status status = i % 2 == 0 ? open_and_close(words[1]) : open_and_die(words[1]);
        if (status != QUIRE_OK) {
            printf("err %s session %u: %s\n", quire_status_name(status), i, quire_last_error());
            return;
        }
    }
    printf("ok %u\n", count);
}

static void do_crowd(char **words, int n) {
    (void)n;
    quire_client *crowd[MAX_CROWD] = {NULL};
    quire_options options = {.address = words[1], .client_name = "crowd"};
    uint32_t count = (uint32_t)atoi(words[2]), opened = 0;
    enum quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < count && i < MAX_CROWD; i++) {
        status = quire_open(&options, &crowd[i]);
        opened += status == QUIRE_OK;
    }
    for (uint32_t i = 0; i < MAX_CROWD; i++) {
        if (crowd[i] != NULL) {
            quire_close(&crowd[i]);
        }
    }
    printf("ok %u %s\n", opened, quire_status_name(status));
}

static void do_info(char **words, int n) {
    (void)words;
    (void)n;
    quire_info info = {0};
    quire_get_info(me.client, &info);
    printf("ok %llu %d %d %llu %llu\n", (unsigned long long)info.epoch, info.connected, info.zero_copy, (unsigned long long)info.session,
           (unsigned long long)info.reconnects);
}

static void do_sum(char **words, int n) {
    (void)n;
    uint64_t size = strtoull(words[3], NULL, 10);
    uint8_t *bytes = malloc(size + 1);
    FILE *file = fopen(words[1], "rb");
    bool read = bytes != NULL && file != NULL && fseek(file, (long)strtoull(words[2], NULL, 10), SEEK_SET) == 0 &&
                fread(bytes, 1, size, file) == size;
    if (file != NULL) {
        fclose(file);
    }
    if (read) {
        printf("ok %016llx\n", (unsigned long long)quire_checksum(bytes, size));
    } else {
        printf("err SYSTEM %s cannot be read\n", words[1]);
    }
    free(bytes);
}

static void do_release(char **words, int n) {
    (void)n;
    drop(slot_of(words[1]));
    printf("ok\n");
}

static void do_close(char **words, int n) {
    (void)words;
    (void)n;
    for (int i = 0; i < MAX_LEASES; i++) {
        drop(&me.held[i]);
    }
    if (me.ns != NULL) {
        quire_ns_close(&me.ns);
    }
    if (me.client != NULL) {
        quire_close(&me.client);
    }
    printf("ok\n");
}

static const struct {
    const char *name;
    int words; /* at least */
    void (*run)(char **words, int n);
} commands[] = {
    {"open", 2, do_open},
    {"ns", 3, do_ns},
    {"store", 3, do_store},
    {"part", 7, do_part},
    {"lookup", 4, do_lookup},
    {"fetch", 2, do_fetch},
    {"flood", 3, do_flood},
    {"view", 2, do_view},
    {"viewcheck", 2, do_viewcheck},
    {"release", 2, do_release},
    {"touch", 3, do_keys},
    {"delete", 3, do_keys},
    {"pin", 3, do_keys},
    {"unpin", 3, do_keys},
    {"hammer", 4, do_hammer},
    {"fork", 3, do_fork},
    {"sessions", 3, do_sessions},
    {"crowd", 3, do_crowd},
    {"info", 1, do_info},
    {"close", 1, do_close},
    {"read", 3, do_read},
    {"sum", 4, do_sum},
};

static void run_line(char *line) {
    char *words[MAX_WORDS];
    int n = 0;
    for (char *word = strtok(line, " \t\n"); word != NULL && n < MAX_WORDS; word = strtok(NULL, " \t\n")) {
        words[n++] = word;
    }
    for (size_t i = 0; n > 0 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, words[0]) == 0 && n >= commands[i].words) {
            commands[i].run(words, n);
            fflush(stdout);
            return;
        }
    }
    printf("err INVALID unknown command or too few words\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        fputs(help_text, stdout);
        return 0;
    }
    char line[512];
    while (fgets(line, sizeof line, stdin) != NULL && strncmp(line, "quit", 4) != 0) {
        run_line(line);
    }
    char *none[1] = {NULL};
    do_close(none, 0);
    free(me.bytes);
    return 0;
}
