#include "client/llama/engine.h"

#include "client/llama/digest.h"
#include "client/llama/rope_check.h"
#include "proto/base/base.h"

#include <llama.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BATCH_TOKENS 512u
#define BLOCK_TOKENS 64u
#define BLOCK_TOKENS_LEAST 16u
#define N_SEQUENCES 3

/* ---- buffers -------------------------------------------------------------------------------------------------------------- */
#define HUGE_PAGE_BYTES (2ull << 20)

enum quire_status engine_buffer_reserve(struct engine_buffer *buffer, uint64_t size) {
    if (size <= buffer->capacity) {
        return QUIRE_OK;
    }
    engine_buffer_free(buffer);
    const uint64_t capacity = quire_align_up(size, HUGE_PAGE_BYTES);
    void *bytes = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED) {
        return QUIRE_NO_MEMORY;
    }
    madvise(bytes, capacity, MADV_HUGEPAGE); /* fewer faults on the way of a long prefix; no harm when refused */
    *buffer = (struct engine_buffer){.bytes = bytes, .capacity = capacity};
    return QUIRE_OK;
}

void engine_buffer_free(struct engine_buffer *buffer) {
    if (buffer->bytes != NULL) {
        munmap(buffer->bytes, buffer->capacity);
    }
    *buffer = (struct engine_buffer){0};
}

/* ---- loading -------------------------------------------------------------------------------------------------------------- */
static void silence(enum ggml_log_level level, const char *text, void *user) { (void)level, (void)text, (void)user; }

static void log_errors(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static void name_model(struct engine *engine, const char *path) {
    if (llama_model_meta_val_str(engine->model, "general.name", engine->name, sizeof(engine->name)) > 0 && engine->name[0] != '\0') {
        return;
    }
    const char *slash = strrchr(path, '/');
    snprintf(engine->name, sizeof(engine->name), "%s", slash != NULL ? slash + 1 : path);
}

enum quire_status engine_load(const char *model_path, struct engine **out, char *why, size_t why_bytes) {
    llama_log_set(getenv("QUIRE_LLAMA_LOG") != NULL ? log_errors : silence, NULL);
    llama_backend_init();
    struct engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        return QUIRE_NO_MEMORY;
    }
    struct llama_model_params params = llama_model_default_params();
    engine->model = llama_model_load_from_file(model_path, params);
    if (engine->model == NULL) {
        snprintf(why, why_bytes, "%s: llama.cpp cannot load this model (QUIRE_LLAMA_LOG=1 shows what it says)", model_path);
        free(engine);
        return QUIRE_SYSTEM;
    }
    name_model(engine, model_path);
    engine->n_vocab = (uint32_t)llama_vocab_n_tokens(llama_model_get_vocab(engine->model));
    *out = engine;
    return QUIRE_OK;
}

static uint32_t own_threads(void) {
    cpu_set_t set;
    const char *wish = getenv("QUIRE_LLAMA_THREADS"); /* on a crowded machine the engine's threads wait for each other */
    if (wish != NULL && atoi(wish) > 0) {
        return (uint32_t)quire_min_u64((uint64_t)atoi(wish), 512);
    }
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

static bool give_up(void *user) {
    const struct engine *engine = user;
    return engine->keep_going != NULL && !engine->keep_going(engine->keep_going_user);
}

static struct llama_context_params context_params(struct engine *engine, const struct engine_options *options) {
    struct llama_context_params params = llama_context_default_params();
    const uint32_t threads = options->threads != 0 ? options->threads : own_threads();
    params.n_ctx = engine->ctx_tokens;
    params.n_batch = params.n_ubatch = engine->batch_tokens;
    params.n_seq_max = N_SEQUENCES;
    params.n_threads = params.n_threads_batch = (int32_t)threads;
    params.flash_attn_type = (enum llama_flash_attn_type)options->flash_attn;
    params.kv_unified = true; /* blocks move between sequences without being copied */
    params.swa_full = false;
    params.no_perf = true;
    params.cb_eval = probe_callback;
    params.cb_eval_user_data = &engine->probe;
    params.abort_callback = give_up;
    params.abort_callback_data = engine;
    return params;
}

void engine_close(struct engine **engine) {
    if (*engine == NULL) {
        return;
    }
    if ((*engine)->ctx != NULL) {
        llama_free((*engine)->ctx);
    }
    llama_model_free((*engine)->model);
    probe_clear(&(*engine)->probe);
    engine_buffer_free(&(*engine)->raw);
    free(*engine);
    *engine = NULL;
}

/* ---- tokens --------------------------------------------------------------------------------------------------------------- */
enum quire_status engine_tokenise(const struct engine *engine, const char *text, size_t bytes, bool begin, bool special, uint32_t **tokens,
                                  size_t *n) {
    const struct llama_vocab *vocab = llama_model_get_vocab(engine->model);
    if (bytes > INT32_MAX / 2 || llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) {
        return QUIRE_UNSUPPORTED;
    }
    int32_t capacity = (int32_t)bytes + 16;
    llama_token *out = malloc((size_t)capacity * sizeof(*out));
    if (out == NULL) {
        return QUIRE_NO_MEMORY;
    }
    const int32_t count = llama_tokenize(vocab, text, (int32_t)bytes, out, capacity, begin, special);
    if (count < 0) {
        free(out);
        return QUIRE_INVALID;
    }
    *tokens = (uint32_t *)out; /* both are 32 bits wide and never negative here */
    *n = (size_t)count;
    return QUIRE_OK;
}

size_t engine_piece(const struct engine *engine, uint32_t token, char *text, size_t capacity) {
    const struct llama_vocab *vocab = llama_model_get_vocab(engine->model);
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE || token >= engine->n_vocab) {
        return 0;
    }
    const int32_t length = llama_token_to_piece(vocab, (llama_token)token, text, (int32_t)capacity, 0, false);
    return length > 0 ? (size_t)length : 0;
}

bool engine_is_end(const struct engine *engine, uint32_t token) {
    const struct llama_vocab *vocab = llama_model_get_vocab(engine->model);
    return llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_NONE && llama_vocab_is_eog(vocab, (llama_token)token);
}

/* ---- computing ------------------------------------------------------------------------------------------------------------ */
void engine_reset(struct engine *engine) { llama_memory_clear(llama_get_memory(engine->ctx), false); }

static enum quire_status decode_status(int32_t result) {
    switch (result) {
    case 0:
        return QUIRE_OK;
    case 1:
        return QUIRE_FULL;
    case 2:
        return QUIRE_CANCELLED;
    case -1:
        return QUIRE_INVALID;
    default:
        return QUIRE_SYSTEM;
    }
}

enum quire_status engine_decode(struct engine *engine, const uint32_t *tokens, uint32_t n, uint32_t first) {
    if (n == 0 || n > engine->batch_tokens) {
        return QUIRE_INVALID;
    }
    if (give_up(engine)) { /* within a batch only the CPU's backend asks */
        return QUIRE_CANCELLED;
    }
    struct llama_batch batch = llama_batch_init((int32_t)n, 0, 1);
    batch.n_tokens = (int32_t)n;
    for (uint32_t i = 0; i < n; i++) {
        batch.token[i] = (llama_token)tokens[i];
        batch.pos[i] = (llama_pos)(first + i);
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i + 1 == n;
    }
    const int32_t result = llama_decode(engine->ctx, batch);
    llama_batch_free(batch);
    return decode_status(result);
}

void engine_wait(struct engine *engine) { llama_synchronize(engine->ctx); }

const float *engine_logits(struct engine *engine) { return llama_get_logits_ith(engine->ctx, -1); }

uint32_t engine_greedy(struct engine *engine) {
    const float *logits = engine_logits(engine);
    uint32_t best = 0;
    for (uint32_t i = 1; logits != NULL && i < engine->n_vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

/* ---- moving KV ------------------------------------------------------------------------------------------------------------- */
/* A sequence's state into raw; *size is 0 when the engine refuses. */
static enum quire_status state_of(struct engine *engine, llama_seq_id sequence, struct engine_buffer *buffer, uint64_t *size) {
    const size_t needed = llama_state_seq_get_size(engine->ctx, sequence);
    if (needed == 0) {
        return QUIRE_SYSTEM;
    }
    QUIRE_FORWARD(engine_buffer_reserve(buffer, needed));
    *size = llama_state_seq_get_data(engine->ctx, buffer->bytes, needed, sequence);
    return *size == needed ? QUIRE_OK : QUIRE_SYSTEM;
}

enum quire_status engine_export_opaque(struct engine *engine, uint32_t first, uint32_t end, struct engine_buffer *buffer, uint64_t *size) {
    llama_memory_t memory = llama_get_memory(engine->ctx);
    llama_memory_seq_rm(memory, 1, -1, -1);
    llama_memory_seq_cp(memory, 0, 1, (llama_pos)first, (llama_pos)end);
    const enum quire_status status = state_of(engine, 1, buffer, size);
    llama_memory_seq_rm(memory, 1, -1, -1);
    return status;
}

static void cells_of(const struct kvblob *blob, uint32_t n_cells[KVBLOB_MAX_SECTIONS], int32_t first_pos[KVBLOB_MAX_SECTIONS]) {
    for (uint32_t s = 0; s < KVBLOB_MAX_SECTIONS; s++) {
        n_cells[s] = blob->section[s].n_cells;
        first_pos[s] = blob->section[s].n_cells > 0 ? blob->section[s].first_pos : 0;
    }
}

static bool turned(const struct kvblob *blob) {
    return (blob->section[0].n_cells > 0 && blob->section[0].v_turned) || (blob->section[1].n_cells > 0 && blob->section[1].v_turned);
}

static bool in_order(const struct kvblob *blob) {
    return (blob->section[0].n_cells == 0 || blob->section[0].in_order) && (blob->section[1].n_cells == 0 || blob->section[1].in_order);
}

static void to_rows(struct kvblob *shape) { shape->section[0].v_turned = shape->section[1].v_turned = false; }

/* raw, parsed as `state`, into *buffer with cells in order and V in rows; one copy if only one of both is needed, else two. */
static enum quire_status straight_rows(struct engine *engine, const struct kvblob *state, struct engine_buffer *buffer,
                                       struct kvblob *rows) {
    uint32_t n_cells[KVBLOB_MAX_SECTIONS];
    int32_t first_pos[KVBLOB_MAX_SECTIONS];
    cells_of(state, n_cells, first_pos);
    struct engine_buffer straight = {0};
    struct kvblob *plan = malloc(sizeof(*plan));
    enum quire_status status = plan != NULL ? kvblob_plan(state, n_cells, first_pos, plan) : QUIRE_NO_MEMORY;
    status = status == QUIRE_OK ? engine_buffer_reserve(&straight, plan->size_bytes) : status;
    status = status == QUIRE_OK ? kvblob_straighten(state, engine->raw.bytes, plan, straight.bytes) : status;
    if (status == QUIRE_OK) {
        *rows = *plan;
        to_rows(rows);
        status = kvblob_plan(rows, n_cells, first_pos, rows);
    }
    status = status == QUIRE_OK ? engine_buffer_reserve(buffer, rows->size_bytes) : status;
    if (status == QUIRE_OK) {
        kvblob_write_frame(rows, buffer->bytes);
        status = kvblob_copy(plan, straight.bytes, rows, buffer->bytes);
    }
    engine_buffer_free(&straight);
    free(plan);
    return status;
}

static enum quire_status turned_rows(struct engine *engine, const struct kvblob *state, struct engine_buffer *buffer, struct kvblob *rows) {
    uint32_t n_cells[KVBLOB_MAX_SECTIONS];
    int32_t first_pos[KVBLOB_MAX_SECTIONS];
    cells_of(state, n_cells, first_pos);
    *rows = *state;
    to_rows(rows);
    QUIRE_FORWARD(kvblob_plan(rows, n_cells, first_pos, rows));
    QUIRE_FORWARD(engine_buffer_reserve(buffer, rows->size_bytes));
    kvblob_write_frame(rows, buffer->bytes);
    return kvblob_copy(state, engine->raw.bytes, rows, buffer->bytes);
}

enum quire_status engine_export(struct engine *engine, uint32_t first, uint32_t end, struct engine_buffer *buffer, struct kvblob *rows) {
    const bool direct = !turned(&engine->shape);
    struct engine_buffer *into = direct ? buffer : &engine->raw;
    uint64_t size;
    QUIRE_FORWARD(engine_export_opaque(engine, first, end, into, &size));
    struct kvblob *state = malloc(sizeof(*state));
    if (state == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status =
        kvblob_parse(into->bytes, size, engine->shape.section[0].has_v || engine->shape.section[1].has_v, state, NULL, 0);
    if (status == QUIRE_OK && state->n_sections != engine->shape.n_sections) {
        status = QUIRE_INTERNAL;
    }
    if (status == QUIRE_OK && direct && in_order(state)) {
        *rows = *state;
    } else if (status == QUIRE_OK) {
        if (direct) { /* rare: a ring has wrapped round within this block */
            struct engine_buffer swap = engine->raw;
            engine->raw = *buffer;
            *buffer = swap;
        }
        status = in_order(state) ? turned_rows(engine, state, buffer, rows) : straight_rows(engine, state, buffer, rows);
    }
    free(state);
    return status;
}

enum quire_status engine_import_begin(struct engine *engine, uint32_t n, uint32_t local_first, struct engine_buffer *buffer,
                                      struct kvblob *rows) {
    const uint32_t n_cells[KVBLOB_MAX_SECTIONS] = {n, n - local_first};
    const int32_t first_pos[KVBLOB_MAX_SECTIONS] = {0, (int32_t)local_first};
    *rows = engine->shape;
    to_rows(rows);
    QUIRE_FORWARD(kvblob_plan(rows, n_cells, first_pos, rows));
    QUIRE_FORWARD(engine_buffer_reserve(buffer, rows->size_bytes));
    kvblob_write_frame(rows, buffer->bytes);
    return QUIRE_OK;
}

static enum quire_status set_state(struct engine *engine, const uint8_t *bytes, uint64_t size, llama_seq_id sequence) {
    return llama_state_seq_set_data(engine->ctx, bytes, size, sequence) == size ? QUIRE_OK : QUIRE_SYSTEM;
}

enum quire_status engine_import(struct engine *engine, const struct kvblob *rows, const struct engine_buffer *buffer) {
    if (!turned(&engine->shape)) {
        return set_state(engine, buffer->bytes, rows->size_bytes, 0);
    }
    uint32_t n_cells[KVBLOB_MAX_SECTIONS];
    int32_t first_pos[KVBLOB_MAX_SECTIONS];
    cells_of(rows, n_cells, first_pos);
    struct kvblob *plan = malloc(sizeof(*plan));
    enum quire_status status = plan != NULL ? kvblob_plan(&engine->shape, n_cells, first_pos, plan) : QUIRE_NO_MEMORY;
    status = status == QUIRE_OK ? engine_buffer_reserve(&engine->raw, plan->size_bytes) : status;
    if (status == QUIRE_OK) {
        kvblob_write_frame(plan, engine->raw.bytes);
        status = kvblob_copy(rows, buffer->bytes, plan, engine->raw.bytes);
    }
    status = status == QUIRE_OK ? set_state(engine, engine->raw.bytes, plan->size_bytes, 0) : status;
    free(plan);
    return status;
}

enum quire_status engine_import_opaque(struct engine *engine, const uint8_t *bytes, uint64_t size) {
    llama_memory_t memory = llama_get_memory(engine->ctx);
    llama_memory_seq_rm(memory, 2, -1, -1);
    QUIRE_FORWARD(set_state(engine, bytes, size, 2));
    llama_memory_seq_cp(memory, 2, 0, -1, -1);
    llama_memory_seq_rm(memory, 2, -1, -1);
    return QUIRE_OK;
}

/* ---- finding the mode ------------------------------------------------------------------------------------------------------- */
/* Three runs of one token, near and far: see rope_check.h. */
#define RUN_TOKENS 8u
static const uint32_t run_first[N_SEQUENCES] = {0, 301, 1507};

static enum quire_status decode_runs(struct engine *engine) {
    struct llama_batch batch = llama_batch_init(N_SEQUENCES * RUN_TOKENS, 0, 1);
    const uint32_t known = (uint32_t)llama_model_n_ctx_train(engine->model), token = engine->n_vocab / 3;
    batch.n_tokens = N_SEQUENCES * RUN_TOKENS;
    for (uint32_t i = 0; i < N_SEQUENCES * RUN_TOKENS; i++) {
        const uint32_t run = i / RUN_TOKENS;
        const uint32_t first = known >= 64 && run_first[run] > known - 32 ? known / N_SEQUENCES * run : run_first[run];
        batch.token[i] = (llama_token)token;
        batch.pos[i] = (llama_pos)(first + i % RUN_TOKENS);
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = (llama_seq_id)run;
        batch.logits[i] = i + 1 == N_SEQUENCES * RUN_TOKENS;
    }
    engine->probe.active = true;
    const int32_t result = llama_decode(engine->ctx, batch);
    engine->probe.active = false;
    llama_batch_free(batch);
    return decode_status(result);
}

static bool probe_has_v(const struct probe *probe) {
    for (uint32_t i = 0; i < probe->n_caches; i++) {
        if (probe->cache[i].has_v) {
            return true;
        }
    }
    return false;
}

/* Before the state is looked at: what is known to be impossible is better said in its own words. */
static enum quire_status rope_is_plain(struct engine *engine) {
    quire_rope rope;
    for (uint32_t i = 0; i < engine->probe.n_caches; i++) {
        QUIRE_FORWARD(model_layout_rope(&engine->probe.cache[i].rope, QUIRE_MAX_DIM, &rope, engine->why, sizeof(engine->why)));
    }
    return QUIRE_OK;
}

/* Self-check, layout, RoPE: everything that lanes rest on. UNSUPPORTED or INVALID with engine->why. */
static enum quire_status try_lanes(struct engine *engine) {
    struct engine_buffer run[N_SEQUENCES] = {{0}};
    struct kvblob *blob = calloc(N_SEQUENCES, sizeof(*blob));
    const uint8_t *bytes[N_SEQUENCES];
    enum quire_status status = blob != NULL ? rope_is_plain(engine) : QUIRE_NO_MEMORY;
    for (llama_seq_id i = 0; i < N_SEQUENCES && status == QUIRE_OK; i++) {
        uint64_t size;
        status = state_of(engine, i, &run[i], &size);
        bytes[i] = run[i].bytes;
        if (status == QUIRE_OK) {
            status = kvblob_self_check(run[i].bytes, size, probe_has_v(&engine->probe), &blob[i], engine->why, sizeof(engine->why));
        }
    }
    if (status == QUIRE_OK) {
        engine->shape = blob[0];
        status = model_layout_lanes(&engine->probe, &blob[0], bytes[0], engine->window_tokens, engine->weights_digest, engine->block_tokens,
                                    &engine->layout, engine->why, sizeof(engine->why));
    }
    if (status == QUIRE_OK) {
        status = rope_check(&engine->layout, blob, bytes, N_SEQUENCES, &engine->rope_deviation, engine->why, sizeof(engine->why));
    }
    for (uint32_t i = 0; i < N_SEQUENCES; i++) {
        engine_buffer_free(&run[i]);
    }
    free(blob);
    return status;
}

/* Two halves out, both back in: is the state then what it was? */
static enum quire_status try_opaque(struct engine *engine) {
    struct engine_buffer half[2] = {{0}}, before = {0}, after = {0};
    uint64_t half_bytes[2], before_bytes, after_bytes = 0;
    enum quire_status status = engine_export_opaque(engine, 0, RUN_TOKENS, &before, &before_bytes);
    for (uint32_t i = 0; i < 2 && status == QUIRE_OK; i++) {
        status = engine_export_opaque(engine, i * RUN_TOKENS / 2, (i + 1) * RUN_TOKENS / 2, &half[i], &half_bytes[i]);
    }
    engine_reset(engine);
    for (uint32_t i = 0; i < 2 && status == QUIRE_OK; i++) {
        status = engine_import_opaque(engine, half[i].bytes, half_bytes[i]);
    }
    status = status == QUIRE_OK ? engine_export_opaque(engine, 0, RUN_TOKENS, &after, &after_bytes) : status;
    if (status == QUIRE_OK && (before_bytes != after_bytes || memcmp(before.bytes, after.bytes, before_bytes) != 0)) {
        status = QUIRE_UNSUPPORTED;
    }
    if (status == QUIRE_OK) {
        engine->opaque_token_bytes = 2 * (before_bytes / RUN_TOKENS + 1);
    }
    engine_buffer_free(&half[0]);
    engine_buffer_free(&half[1]);
    engine_buffer_free(&before);
    engine_buffer_free(&after);
    return status;
}

/* What an opaque block's bytes depend on, besides the weights. */
static void opaque_format(const struct engine *engine, char *format, size_t size) {
    snprintf(format, size, "%s %s", llama_version(), engine->probe.flash_attn ? "v-rows" : "v-channels");
}

/* Models whose state is not a sum over tokens; NULL when there is nothing to object to. */
static const char *objection(const struct engine *engine) {
    if (llama_get_memory(engine->ctx) == NULL) {
        return "the model has no KV cache";
    }
    if (llama_model_is_recurrent(engine->model)) {
        return "the model is recurrent: its state cannot be cut into blocks";
    }
    if (llama_model_is_hybrid(engine->model)) {
        return "the model is a hybrid with recurrent layers: its state cannot be cut into blocks";
    }
    char architecture[64] = "";
    llama_model_meta_val_str(engine->model, "general.architecture", architecture, sizeof(architecture));
    if (strcmp(architecture, "deepseek4") == 0) {
        return "the model keeps compressed KV of several tokens at once: its state cannot be cut into blocks";
    }
    if (llama_model_is_diffusion(engine->model)) {
        return "the model generates by diffusion: there is no prefix to reuse";
    }
    if (llama_model_has_encoder(engine->model)) {
        return "the model has an encoder: its KV depends on more than a prefix";
    }
    return NULL;
}

static enum quire_status find_mode(struct engine *engine) {
    const char *against = objection(engine);
    if (against != NULL) {
        snprintf(engine->why, sizeof(engine->why), "%s", against);
        return QUIRE_OK;
    }
    QUIRE_FORWARD(decode_runs(engine));
    if (try_lanes(engine) == QUIRE_OK) {
        engine->mode = ENGINE_LANES;
    } else if (engine->probe.n_attentions > 0 && try_opaque(engine) == QUIRE_OK) {
        char format[QUIRE_MAX_NAME + 1];
        opaque_format(engine, format, sizeof(format));
        model_layout_opaque(engine->weights_digest, engine->block_tokens, format, &engine->layout);
        engine->mode = ENGINE_OPAQUE;
    }
    probe_clear(&engine->probe);
    engine_reset(engine);
    return QUIRE_OK;
}

/* Blocks of the default size, or shorter ones that a window holds. 0: a window is so short that they are not worth their keys. */
static uint32_t suitable_block(uint32_t window_tokens) {
    uint32_t block = BLOCK_TOKENS;
    while (window_tokens > 0 && block > window_tokens) {
        block /= 2;
    }
    return block >= BLOCK_TOKENS_LEAST ? block : 0;
}

/* False with engine->why when blocks of this size cannot be shared: a reader would need more of a window than is left of it. */
static bool choose_block(struct engine *engine, uint32_t wished) {
    const uint32_t suitable = suitable_block(engine->window_tokens);
    engine->block_tokens = wished != 0 ? wished : suitable != 0 ? suitable : BLOCK_TOKENS;
    if (engine->window_tokens == 0 || engine->block_tokens <= engine->window_tokens) {
        return true;
    }
    snprintf(engine->why, sizeof(engine->why), "blocks of %u tokens are longer than the model's window of %u",
             (unsigned)engine->block_tokens, (unsigned)engine->window_tokens);
    return false;
}

enum quire_status engine_start(struct engine *engine, const struct engine_options *options, char *why, size_t why_bytes) {
    if (options->block_tokens > QUIRE_MAX_BLOCK_TOKENS) {
        snprintf(why, why_bytes, "blocks of %u tokens: 1 to %u are possible", (unsigned)options->block_tokens, QUIRE_MAX_BLOCK_TOKENS);
        return QUIRE_INVALID;
    }
    const int32_t window = llama_model_n_swa(engine->model);
    engine->window_tokens = window > 0 ? (uint32_t)window : 0;
    const bool keep = choose_block(engine, options->block_tokens) && !options->keep_nothing;
    const uint32_t block = engine->block_tokens;
    engine->batch_tokens = block >= BATCH_TOKENS ? block : BATCH_TOKENS / block * block;
    engine->ctx_tokens = (uint32_t)quire_align_up(quire_max_u64(options->ctx_tokens, 256), 256);
    engine->mode = ENGINE_NONE;
    if (keep) {
        QUIRE_FORWARD(digest_weights(options->model_path, engine->weights_digest, why, why_bytes));
    }
    engine->ctx = llama_init_from_model(engine->model, context_params(engine, options));
    if (engine->ctx == NULL) {
        snprintf(why, why_bytes, "llama.cpp makes no context of %u tokens for this model", (unsigned)engine->ctx_tokens);
        return QUIRE_SYSTEM;
    }
    engine->ctx_tokens = llama_n_ctx(engine->ctx);
    const enum quire_status status = keep ? find_mode(engine) : QUIRE_OK;
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "the model's first decode failed");
    }
    return status;
}
