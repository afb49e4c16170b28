/*
 * The layout's rules, its canonical encoding and digest, and the sizes that follow from it.
 *
 * Two layouts are the same namespace only if their digests are equal; quire_layout_diff names the first field that differs,
 * because "mismatch" alone never helped anybody. The encoding is little-endian, versioned, and total: decoding any bytes
 * gives a checked layout or an error. Thread-safe, no allocation.
 */
#ifndef QUIRE_LAYOUT_H
#define QUIRE_LAYOUT_H

#include "proto/quire_types.h"

/* Upper bound of an encoded layout. */
#define QUIRE_LAYOUT_WIRE_MAX (64 + 2 * 64 + QUIRE_MAX_LAYERS * 3 + QUIRE_MAX_GROUPS * (32 + 4 * QUIRE_MAX_DIM / 2))

/* OK, or INVALID / TOO_LARGE / UNSUPPORTED with a sentence in why[0..why_bytes) that names the field. `why` may be NULL. */
enum quire_status quire_layout_check(const quire_layout *layout, char *why, size_t why_bytes);

/* Canonical encoding into out[0..capacity); *size is what was written. TOO_LARGE if it does not fit. */
enum quire_status quire_layout_encode(const quire_layout *layout, uint8_t *out, size_t capacity, size_t *size);
/* Decodes and checks. Trailing bytes are refused. */
enum quire_status quire_layout_decode(const uint8_t *bytes, size_t size, quire_layout *layout);
/* SHA-256 of the canonical encoding. */
enum quire_status quire_layout_digest(const quire_layout *layout, uint8_t digest[32]);
/* The name of the first field that differs ("group[1].k_dim"), or NULL when the layouts are equal: a static text, or `buffer`
   (32 bytes hold the longest). Fields that do not count (those of a shape when opaque) are not compared. */
const char *quire_layout_diff(const quire_layout *a, const quire_layout *b, char *buffer, size_t buffer_bytes);

/* How many groups a block of this layout has: n_groups, or 1 when opaque. */
uint32_t quire_layout_groups(const quire_layout *layout);
/* Producer layers of a group (those with kv_src[l] == l and group_of[l] == group), as a count. */
uint32_t quire_layout_group_layers(const quire_layout *layout, uint32_t group);
/* Bytes of one K (kv = 0) or V (kv = 1) lane of a group at n_tokens. */
uint64_t quire_layout_lane_bytes(const quire_layout *layout, uint32_t group, uint32_t kv, uint32_t n_tokens);
/* Payload bytes of a rectangle of a group at n_tokens: the sum of its lanes, no padding. */
uint64_t quire_layout_rect_bytes(const quire_layout *layout, uint32_t group, const quire_rect *rect, uint32_t n_tokens);
/* The rectangle that is the whole group. */
quire_rect quire_layout_whole(const quire_layout *layout, uint32_t group);
/* How many of the last blocks a reader that resumes behind a full block needs of this group, ⌈window ÷ block_tokens⌉; UINT32_MAX: all. */
uint32_t quire_layout_window_blocks(const quire_layout *layout, uint32_t group);

#endif
