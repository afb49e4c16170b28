/*
 * One model and one context of llama.cpp, as the worker uses them: tokens in, greedy tokens out, and the KV of a range of positions
 * out of the cache and a prefix into it, in the form in which Quire keeps it.
 *
 * Opening a model does not believe anything: a small decode is watched (probe.h), its state is exported, parsed, rebuilt and
 * compared (blob.h), a layout is made from both (model_layout.h) and its RoPE verified (rope_check.h). What comes out is one of three
 * modes: lanes; opaque blocks, if only the engine itself can read its state (and a round trip through it was shown to be exact);
 * or none, and `why` says why. Sequence 0 is the one that is computed, 1 and 2 are for moving blocks. Not thread-safe.
 */
#ifndef QUIRE_LLAMA_ENGINE_H
#define QUIRE_LLAMA_ENGINE_H

#include "client/llama/blob.h"
#include "client/llama/model_layout.h"
#include "client/llama/probe.h"

struct llama_context;
struct llama_model;

enum engine_mode { ENGINE_LANES, ENGINE_OPAQUE, ENGINE_NONE };

struct engine_options {
    const char *model_path;
    uint32_t ctx_tokens;   /* cells of the context */
    uint32_t threads;      /* 0: as many as this process may use */
    int flash_attn;        /* 1 on, 0 off, −1 as the engine likes */
    uint32_t block_tokens; /* 0: what suits the model */
    bool keep_nothing;     /* no layout is made: the mode is NONE */
};

/* False: what is being computed is given up. Asked often, on a thread that computes. */
typedef bool engine_going_fn(void *user);

/* Bytes that grow and are reused. */
struct engine_buffer {
    uint8_t *bytes;
    uint64_t capacity;
};

struct engine {
    struct llama_model *model;
    struct llama_context *ctx;
    char name[64]; /* of the model, for people */
    uint32_t ctx_tokens, batch_tokens, block_tokens;
    uint32_t window_tokens; /* 0: no layer has a window */
    uint32_t n_vocab;
    enum engine_mode mode;
    char why[256]; /* when the mode is not LANES */
    uint8_t weights_digest[32];
    struct model_layout layout;
    struct kvblob shape; /* of this context's states */
    double rope_deviation;
    uint64_t opaque_token_bytes; /* bound of an opaque block's bytes a token */
    struct probe probe;
    struct engine_buffer raw;    /* scratch: states as the engine gives and takes them */
    engine_going_fn *keep_going; /* NULL: nothing is ever given up */
    void *keep_going_user;
};

/* Loads the model: tokens can be made, nothing be computed. SYSTEM, UNSUPPORTED with why. */
enum quire_status engine_load(const char *model_path, struct engine **engine, char *why, size_t why_bytes);
/* Makes the context and finds the mode. model_path must be the one that was loaded. */
enum quire_status engine_start(struct engine *engine, const struct engine_options *options, char *why, size_t why_bytes);
void engine_close(struct engine **engine);

/* *tokens is malloc'ed. `begin`: add what the model wants in front; `special`: read the names of special tokens in the text. */
enum quire_status engine_tokenise(const struct engine *engine, const char *text, size_t bytes, bool begin, bool special, uint32_t **tokens,
                                  size_t *n);
/* The token's text, not terminated; its length, 0 for tokens without text. */
size_t engine_piece(const struct engine *engine, uint32_t token, char *text, size_t capacity);
bool engine_is_end(const struct engine *engine, uint32_t token);

/* Forgets everything computed. */
void engine_reset(struct engine *engine);
/* Computes tokens[0..n), n ≤ batch_tokens, at positions first, first + 1 …; logits are kept of the last. FULL when the context is,
   CANCELLED when keep_going said so; then engine_reset is due. */
enum quire_status engine_decode(struct engine *engine, const uint32_t *tokens, uint32_t n, uint32_t first);
/* Waits until what was decoded is computed; on some devices engine_decode returns before. */
void engine_wait(struct engine *engine);
/* Of the last decode. */
const float *engine_logits(struct engine *engine);
uint32_t engine_greedy(struct engine *engine);

/*
 * The KV of positions [first, end) as a blob whose V is in rows: into *buffer, described by *rows. Sections of windowed layers have
 * only the cells that are still there. Lanes only.
 */
enum quire_status engine_export(struct engine *engine, uint32_t first, uint32_t end, struct engine_buffer *buffer, struct kvblob *rows);
/* Likewise the engine's own bytes; *size is how many. */
enum quire_status engine_export_opaque(struct engine *engine, uint32_t first, uint32_t end, struct engine_buffer *buffer, uint64_t *size);

/*
 * Prepares the import of positions [0, n): *buffer and *rows are made ready to take lanes (all of the global layers; of windowed
 * ones positions [local_first, n)); engine_import hands them to the engine, after which the next decode is at n.
 */
enum quire_status engine_import_begin(struct engine *engine, uint32_t n, uint32_t local_first, struct engine_buffer *buffer,
                                      struct kvblob *rows);
enum quire_status engine_import(struct engine *engine, const struct kvblob *rows, const struct engine_buffer *buffer);
/* One opaque block behind what is there. */
enum quire_status engine_import_opaque(struct engine *engine, const uint8_t *bytes, uint64_t size);

/* At least `size` bytes, contents lost. */
enum quire_status engine_buffer_reserve(struct engine_buffer *buffer, uint64_t size);
void engine_buffer_free(struct engine_buffer *buffer);

#endif
