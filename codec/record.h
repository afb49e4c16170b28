/*
 * Records: one layer group of one block as it is stored, the same bytes in memory, on disk and on the wire.
 *
 *   header (128 bytes) ‖ directory (one entry a lane group) ‖ payloads, each aligned to 64 bytes
 *
 * A lane is one layer × K|V × head, contiguous [token][dim]; lanes are ordered [layer of the group][K, V][head]. In the `raw` rung each lane
 * is a lane group of its own. An opaque block's payload is cut into chunks of QUIRE_CHUNK_BYTES, each a lane group.
 * Records are immutable once sealed. Everything here is pure: bytes in, bytes out; no allocation, thread-safe. Readers treat a record as
 * hostile: quire_record_open checks every size and both checksums before anything is used.
 */
#ifndef QUIRE_RECORD_H
#define QUIRE_RECORD_H

#include "proto/quire_types.h"

#include <assert.h>

#define QUIRE_RECORD_MAGIC 0x31524351u /* "QCR1" */
#define QUIRE_RECORD_ALIGN 64u

struct quire_record_header {
    uint32_t magic;
    uint16_t version; /* 1 */
    uint8_t group;
    uint8_t rung;
    quire_key key;
    uint64_t layout_tag; /* first 8 bytes of the layout digest */
    uint64_t sequence;
    uint32_t size_bytes; /* of the whole record */
    uint32_t payload_offset;
    uint32_t n_lane_groups;
    uint16_t n_tokens;
    uint16_t flags;       /* 1: opaque */
    float error;          /* worst lane, NMSE; 0 exact */
    float ancestry_error; /* worst of the prefix it was computed on */
    uint8_t reserved[32];
    uint64_t directory_check; /* XXH3-64 of the directory */
    uint64_t header_check;    /* XXH3-64 of the 120 bytes before */
};
static_assert(sizeof(struct quire_record_header) == 128, "stored format");

struct quire_lane_entry {
    uint32_t offset_bytes; /* from the record's start, multiple of QUIRE_RECORD_ALIGN */
    uint32_t size_bytes;
    uint64_t check; /* XXH3-64 of the payload */
    float error;
    uint8_t rung;
    uint8_t reserved[3];
};
static_assert(sizeof(struct quire_lane_entry) == 24, "stored format");

#define QUIRE_RECORD_OPAQUE 1

/* What a record of a group at n_tokens will look like; computed once, used by pager (sizes), daemon (sealing) and reader. */
struct quire_record_shape {
    uint32_t size_bytes; /* ends with the last lane: no padding behind it */
    uint32_t payload_offset;
    uint32_t n_lanes;
    uint32_t n_layers, n_heads;          /* 0 when opaque */
    uint32_t k_lane_bytes, v_lane_bytes; /* opaque: a chunk's (the last may be shorter), and 0 */
    uint32_t n_tokens;
    bool opaque;
};

/* INVALID or TOO_LARGE when the group or sizes are out of range. For opaque layouts payload_bytes is the block's length, else 0. */
enum quire_status quire_record_shape(const quire_layout *layout, uint32_t group, uint32_t n_tokens, uint64_t payload_bytes,
                                     struct quire_record_shape *shape);
/*
 * The shape of the raw record of this size: tokens, or an opaque block's bytes, follow from it. INVALID: there is none. An opaque shape's n_tokens is
 * the layout's, whatever the record's.
 */
enum quire_status quire_record_shape_of_size(const quire_layout *layout, uint32_t group, uint32_t size_bytes,
                                             struct quire_record_shape *shape);
/* Index of a lane, and where its raw payload lies. kv: 0 K, 1 V. */
uint32_t quire_record_lane(const struct quire_record_shape *shape, uint32_t layer, uint32_t kv, uint32_t head);
uint32_t quire_record_lane_offset(const struct quire_record_shape *shape, uint32_t lane);
uint32_t quire_record_lane_bytes(const struct quire_record_shape *shape, uint32_t lane);

/*
 * Writes one lane's raw payload into a record under construction: copies, sums, fills its directory entry, and returns the sum.
 * Different lanes may be filled by different threads at once.
 */
uint64_t quire_record_fill_lane(uint8_t *record, const struct quire_record_shape *shape, uint32_t lane, const uint8_t *payload);
/*
 * Fills the rectangle's lanes from `payload` (rectangle order: layer, K|V, head) and compares the combined sum with `check`.
 * CORRUPT when they differ: the lanes are then to be filled again. `rect` is ignored for opaque shapes (all chunks).
 */
enum quire_status quire_record_fill_rect(uint8_t *record, const struct quire_record_shape *shape, const quire_rect *rect,
                                         const uint8_t *payload, uint64_t payload_bytes, uint64_t check);
/* The combined sum that a client sends: XXH3-64 over its lanes' sums. */
uint64_t quire_record_combine(const uint64_t *lane_checks, uint32_t n_lanes);

struct quire_record_facts {
    quire_key key;
    uint64_t layout_tag;
    uint64_t sequence;
    uint8_t group;
    float ancestry_error;
};
/* Writes header and directory sums once every lane is filled; from here on the record is immutable. */
void quire_record_seal(uint8_t *record, const struct quire_record_shape *shape, const struct quire_record_facts *facts);

/* A checked view of a sealed record; points into the caller's bytes. */
struct quire_record {
    const uint8_t *bytes;
    struct quire_record_header header;
    struct quire_record_shape shape;
    const struct quire_lane_entry *lanes;
};
/*
 * Checks magic, version, sizes, header and directory sums, and that the record is the raw-lane image of this layout and key
 * (key may be NULL: not compared). Payloads are not read. CORRUPT, MISMATCH (other layout or key) or VERSION; INVALID when `bytes` is not
 * aligned to 8. Bytes behind the record are ignored. What is used afterwards to find lanes is the copy in *record, never the bytes
 * again; only sums are still read from them.
 */
enum quire_status quire_record_open(const uint8_t *bytes, size_t size, const quire_layout *layout, const quire_key *key,
                                    struct quire_record *record);
/* The same for a caller that keeps the layout's tag: opening then costs no digest of the layout. */
enum quire_status quire_record_open_tagged(const uint8_t *bytes, size_t size, const quire_layout *layout, uint64_t layout_tag,
                                           const quire_key *key, struct quire_record *record);
/* What layout_tag holds: the first 8 bytes of the layout's digest, little-endian. */
uint64_t quire_record_layout_tag(const uint8_t layout_digest[32]);
/* Compares a lane's payload with its directory sum. */
enum quire_status quire_record_verify_lane(const struct quire_record *record, uint32_t lane);
enum quire_status quire_record_verify(const struct quire_record *record);
/*
 * For sealed bytes that somebody else may have written to since, or be writing to now, where no layout is at hand: are header and directory what their own sums say,
 * of this size, group and key (NULL: any), and so every lane that reaches into one of the ranges (n_ranges 0: every lane)? OK or CORRUPT.
 */
struct quire_wire_range;
enum quire_status quire_record_intact(const uint8_t *bytes, uint32_t size_bytes, uint8_t group, const quire_key *key,
                                      const struct quire_wire_range *ranges, uint32_t n_ranges);

/*
 * Where a reader wants tokens: element (layer, kv, head, token, dim) of the group's wanted rectangle is written to
 * base[kv][layer] + head·head_stride + token·token_stride + dim·elem_size; strides in bytes, layer counted from rect.first_layer.
 */
struct quire_scatter {
    quire_rect rect;
    void *const *k_base; /* n_layers pointers */
    void *const *v_base; /* n_layers pointers; ignored when v_dim is 0 */
    int64_t k_head_stride, k_token_stride;
    int64_t v_head_stride, v_token_stride;
};
/* Copies lanes out, as few long copies where source and destination allow; with `verify` each lane's sum is checked on the bytes as they
   were copied (CORRUPT). INVALID when the rectangle is empty or outside the record, or the record is opaque. */
enum quire_status quire_record_scatter(const struct quire_record *record, const struct quire_scatter *to, bool verify);
/*
 * For a record that comes in pieces: a run of its bytes that the reader's memory takes as they are, since the rows of a lane follow each other there.
 * `places`: room for one a lane of the rectangle. They ascend in the record; how many there are: 0 also when the rectangle is not of this shape.
 */
struct quire_record_place {
    uint32_t offset_bytes, size_bytes; /* of the record */
    uint8_t *to;
};
uint32_t quire_record_places(const struct quire_record_shape *shape, const struct quire_scatter *to, struct quire_record_place *places);
/* The verified quire_record_scatter of a record whose lanes with places are in them already, and not in its bytes: they are summed where they lie. */
enum quire_status quire_record_scatter_placed(const struct quire_record *record, const struct quire_scatter *to);
/* The same for an opaque block, all of which lies at `payload`. INVALID: it is none. */
enum quire_status quire_record_verify_opaque(const struct quire_record *record, const void *payload);
/* The reverse for a writer: gathers the rectangle into `payload` (rectangle order) and returns the combined sum in *check. */
enum quire_status quire_record_gather(const struct quire_record_shape *shape, const struct quire_scatter *from, uint8_t *payload,
                                      uint64_t *check);
/* Where the rectangle lies in the writer's memory just as quire_record_gather would write it; NULL: it does not. And its combined sum there. */
const uint8_t *quire_record_run(const struct quire_record_shape *shape, const struct quire_scatter *from);
enum quire_status quire_record_sum(const struct quire_record_shape *shape, const struct quire_scatter *from, uint64_t *check);
/* Opaque blocks: one contiguous buffer each way. TOO_LARGE with the needed *size when capacity is short. The second copies the `size`
   bytes of a block into `to` and returns what quire_record_fill_rect will compare: the combined sum of its chunks. */
enum quire_status quire_record_copy_opaque(const struct quire_record *record, void *to, size_t capacity, size_t *size, bool verify);
uint64_t quire_record_check_opaque(const struct quire_record_shape *shape, uint8_t *to, const void *from, size_t size);
/* The same sum of a block where it lies. */
uint64_t quire_record_sum_opaque(const struct quire_record_shape *shape, const void *payload);

#endif
