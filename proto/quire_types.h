/*
 * The nouns that a worker, libquire and quired share: status codes, miss reasons, keys, layouts, fidelity.
 *
 * This header is installed beside quire.h and includes nothing of Quire, so a program that links libquire sees exactly
 * what the daemon sees. Words are those of ARCHITECTURE.md. All integers are host-order in memory; the wire and
 * the canonical layout encoding are little-endian.
 */
#ifndef QUIRE_TYPES_H
#define QUIRE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Every call's outcome. Values are part of the wire format: append only. X(name, value, text) */
#define QUIRE_STATUS_TABLE(X)                                                                                                              \
    X(OK, 0, "ok")                                                                                                                         \
    X(MISS, 1, "not stored here")                                                                                                          \
    X(PENDING, 2, "still in progress")                                                                                                     \
    X(RETRY, 3, "busy, try again after the hinted delay")                                                                                  \
    X(FULL, 4, "no room: everything stored is leased, pinned or newer")                                                                    \
    X(TIMEOUT, 5, "deadline passed")                                                                                                       \
    X(CANCELLED, 6, "cancelled by the caller")                                                                                             \
    X(CORRUPT, 7, "checksum does not match the bytes")                                                                                     \
    X(MISMATCH, 8, "layout differs from the namespace's")                                                                                  \
    X(DENIED, 9, "not allowed for this session")                                                                                           \
    X(INVALID, 10, "argument out of range or malformed")                                                                                   \
    X(TOO_LARGE, 11, "larger than the stated limit")                                                                                       \
    X(UNSUPPORTED, 12, "not supported by this version or model")                                                                           \
    X(VERSION, 13, "protocol version refused")                                                                                             \
    X(DISCONNECTED, 14, "no connection to quired")                                                                                         \
    X(STALE, 15, "the bytes were reused or the daemon restarted")                                                                          \
    X(NOT_FOUND, 16, "no such namespace, session, lease or block")                                                                         \
    X(NO_MEMORY, 17, "out of memory")                                                                                                      \
    X(IN_USE, 18, "leased, pinned or held by somebody else")                                                                               \
    X(SYSTEM, 19, "the operating system refused")                                                                                          \
    X(INTERNAL, 20, "a bug in Quire")

enum quire_status {
#define X(name, value, text) QUIRE_##name = value,
    QUIRE_STATUS_TABLE(X)
#undef X
};

/* Why a key missed; each is a counter of its own. Values are part of the wire format. X(name, value, text) */
#define QUIRE_MISS_TABLE(X)                                                                                                                \
    X(NONE, 0, "hit")                                                                                                                      \
    X(NEVER_STORED, 1, "never stored (or forgotten long ago)")                                                                             \
    X(EVICTED, 2, "evicted to make room")                                                                                                  \
    X(DELETED, 3, "deleted by a client or an operator")                                                                                    \
    X(INCOMPLETE, 4, "being stored, parts are still missing")                                                                              \
    X(FLOOR, 5, "stored, but less faithful than the caller demands")                                                                       \
    X(LAYOUT, 6, "stored without the layer group that was asked for")                                                                      \
    X(ORPHAN, 7, "stored, but a block before it is missing")                                                                               \
    X(CORRUPT, 8, "the stored bytes failed their checksum, or could not be read")                                                          \
    X(TIMEOUT, 9, "the answer came after the deadline")                                                                                    \
    X(QUOTA, 10, "the session's lease quota is used up")

enum quire_miss {
#define X(name, value, text) QUIRE_MISS_##name = value,
    QUIRE_MISS_TABLE(X)
#undef X
        QUIRE_MISS_COUNT
};

/* A block's name: it names the whole prefix that ends in the block (see quire_chain), or is given by the engine. */
#define QUIRE_KEY_BYTES 32
typedef struct quire_key {
    uint8_t b[QUIRE_KEY_BYTES];
} quire_key;

/* How faithfully bytes are held; ordered from exact to gone. Values are stored: append only. X(name, value, text) */
#define QUIRE_RUNG_TABLE(X)                                                                                                                \
    X(RAW, 0, "raw")                                                                                                                       \
    X(LOSSLESS, 1, "lossless")

enum quire_rung {
#define X(name, value, text) QUIRE_RUNG_##name = value,
    QUIRE_RUNG_TABLE(X)
#undef X
};

/* What a reader was given, or demands at least. `error` is the relative error (NMSE) of the worst lane; 0 is exact.
   `ancestry_error` is the worst error of the prefix on which the block was computed. */
typedef struct quire_fidelity {
    float error;
    float ancestry_error;
    uint8_t rung; /* enum quire_rung, the worst */
} quire_fidelity;

enum quire_elem { QUIRE_F16 = 0, QUIRE_BF16 = 1, QUIRE_F32 = 2, QUIRE_F8_E4M3 = 3, QUIRE_F8_E5M2 = 4, QUIRE_I8 = 5, QUIRE_ELEM_COUNT };
enum quire_pairing { QUIRE_ROPE_NONE = 0, QUIRE_ROPE_HALF = 1, QUIRE_ROPE_INTERLEAVED = 2, QUIRE_PAIRING_COUNT };

/* Stated limits. A layout outside them is refused by name (quire_layout_check). */
#define QUIRE_MAX_LAYERS 256
#define QUIRE_MAX_GROUPS 8
#define QUIRE_MAX_HEADS 256
#define QUIRE_MAX_DIM 1024
#define QUIRE_MAX_BLOCK_TOKENS 1024
#define QUIRE_MAX_RECORD_BYTES (256u << 20)
#define QUIRE_MAX_NAME 63
#define QUIRE_MAX_BATCH 8192 /* keys in one call */
/* What a token's prefill may take, in microseconds: a billion tokens a second, to a minute a token. */
#define QUIRE_COST_MIN_US 0.001
#define QUIRE_COST_MAX_US 60e6

/* RoPE as it was applied to K. `inv_freq[i]` rotates pair i by position × inv_freq[i]; `factor` multiplies cos and sin. */
typedef struct quire_rope {
    uint8_t pairing; /* enum quire_pairing; NONE: no positions in K */
    bool applied;    /* K is stored after rotation */
    uint16_t n_dims; /* rotated dims at the front of the head, even, ≤ k_dim */
    float factor;
    float inv_freq[QUIRE_MAX_DIM / 2];
} quire_rope;

/* Layers that share a shape and a window: one record a block. */
typedef struct quire_group {
    uint32_t window_tokens; /* 0: attends to everything */
    uint16_t n_kv_heads;
    uint16_t k_dim; /* elements per head and token */
    uint16_t v_dim; /* 0: V is derived from K (latent attention) */
    uint8_t elem;   /* enum quire_elem */
    quire_rope rope;
} quire_group;

/*
 * One model as an engine family lays out its KV. Does not depend on the tensor-parallel rank.
 * `kv_src[l]` is the KV layer whose cache model layer l reads (cross-layer attention): kv_src[l] ≤ l and
 * kv_src[kv_src[l]] == kv_src[l]; only producers (kv_src[l] == l) are stored. `group_of[l]` is the group of a producer.
 * `opaque`: blocks are bytes without shape, coded by `engine` in `engine_format`; then only those two, the weights'
 * digest and block_tokens count. Zero the whole struct first; unused array elements must stay zero.
 */
typedef struct quire_layout {
    uint8_t weights_digest[32];
    uint16_t n_layers;
    uint16_t n_groups;
    uint16_t block_tokens;
    bool opaque;
    char engine[QUIRE_MAX_NAME + 1];
    char engine_format[QUIRE_MAX_NAME + 1];
    uint16_t kv_src[QUIRE_MAX_LAYERS];
    uint8_t group_of[QUIRE_MAX_LAYERS];
    quire_group group[QUIRE_MAX_GROUPS];
} quire_layout;

/* A rectangle of one layer group: which of the group's producer layers (counted within the group) and heads. */
typedef struct quire_rect {
    uint16_t first_layer, n_layers;
    uint16_t first_head, n_heads;
} quire_rect;

#ifdef __cplusplus
}
#endif
#endif
