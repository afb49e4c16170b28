/*
 * llama.cpp's sequence state, taken apart and put together.
 *
 * llama_state_seq_get_data() writes one sequence as: a header, then one section for each cache the model has (one, or the
 * global cache followed by the local one of a model with sliding windows). A section lists its cells (position, owners) and
 * then, layer after layer, all of K and all of V: a row a cell, or, without flash attention, V turned round so that a row is
 * one channel and runs over the cells. The format carries no checksum and is not documented, so nothing here is believed:
 * parsing is total (any bytes give a blob or an error), and a worker uses it only after kvblob_self_check has shown
 * that parsing and rebuilding a blob of this very engine and model gives back the same bytes.
 *
 * A parsed blob holds offsets, not copies: K of (layer, head, token) lies at k[layer].offset + token * row_bytes + head * head
 * bytes, and whoever fetches or stores scatters straight into or out of the blob. Not thread-safe per object.
 */
#ifndef QUIRE_LLAMA_BLOB_H
#define QUIRE_LLAMA_BLOB_H

#include "proto/quire_types.h"

#define KVBLOB_MAX_SECTIONS 2
#define KVBLOB_MAX_CELLS (1u << 24)
#define KVBLOB_MAX_ROW_BYTES (1u << 20)

/* One layer's K or V. `row_bytes` is a token's row; for V turned round it is a token's share: channels x element size. */
struct kvblob_plane {
    int32_t type; /* ggml type */
    uint64_t row_bytes;
    uint32_t elem_bytes; /* V turned round only */
    uint32_t n_channels; /* V turned round only */
    uint64_t offset;     /* of the first row (or channel) in the blob; 0 in a shape */
};

struct kvblob_section {
    uint32_t n_cells;
    int32_t first_pos;     /* the cells' positions are first_pos … first_pos + n_cells - 1 */
    bool in_order;         /* and lie in that order; a ring that has wrapped round gives them turned (kvblob_straighten) */
    uint64_t cells_offset; /* of the list of cells; 0 in a shape */
    uint32_t n_layers;
    bool has_v;
    bool v_turned;
    struct kvblob_plane k[QUIRE_MAX_LAYERS];
    struct kvblob_plane v[QUIRE_MAX_LAYERS];
};

struct kvblob {
    uint32_t magic;
    int32_t seq_id;
    uint64_t size_bytes;
    uint32_t n_sections;
    struct kvblob_section section[KVBLOB_MAX_SECTIONS];
};

/*
 * Takes bytes[0..size) apart. has_v: the model's caches hold V (false for latent attention, where V comes from K); the bytes do
 * not say. INVALID with a sentence in why for anything else than one sequence without holes, UNSUPPORTED for several streams. Never
 * reads outside bytes.
 */
enum quire_status kvblob_parse(const uint8_t *bytes, uint64_t size, bool has_v, struct kvblob *blob, char *why, size_t why_bytes);

/* Lays a blob of the same shape out for other cells: fills offsets and size_bytes. TOO_LARGE past the stated limits. */
enum quire_status kvblob_plan(const struct kvblob *shape, const uint32_t n_cells[KVBLOB_MAX_SECTIONS],
                              const int32_t first_pos[KVBLOB_MAX_SECTIONS], struct kvblob *plan);
/* Writes everything but K and V of a planned blob into out[0..plan->size_bytes). */
void kvblob_write_frame(const struct kvblob *plan, uint8_t *out);
/* Copies K and V between blobs of one shape and equal cells, whichever way their V is turned. INVALID when the shapes differ. */
enum quire_status kvblob_copy(const struct kvblob *from, const uint8_t *from_bytes, const struct kvblob *to, uint8_t *to_bytes);

/* Copies a parsed blob into a plan of its shape and cells, cell by cell in order of position; INVALID when a position comes twice. */
enum quire_status kvblob_straighten(const struct kvblob *from, const uint8_t *from_bytes, const struct kvblob *plan, uint8_t *to_bytes);

/* Tokens x channels of 2 or 4 bytes turned round: row after row to channel after channel, and back. Strides in bytes. */
void kvblob_turn(const uint8_t *rows, uint64_t row_stride, uint8_t *channels, uint64_t channel_stride, uint32_t n_rows, uint32_t n_channels,
                 uint32_t elem_bytes);
void kvblob_turn_back(const uint8_t *channels, uint64_t channel_stride, uint8_t *rows, uint64_t row_stride, uint32_t n_rows,
                      uint32_t n_channels, uint32_t elem_bytes);

/* Parse, plan anew, write, compare: OK only when the rebuilt bytes are the given ones. */
enum quire_status kvblob_self_check(const uint8_t *bytes, uint64_t size, bool has_v, struct kvblob *blob, char *why, size_t why_bytes);

#endif
