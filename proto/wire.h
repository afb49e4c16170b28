/*
 * The packed arrays inside message bodies, and the bits and verbs of their fields. Fixed layouts, little-endian (Quire runs on
 * little-endian machines only; checked here), sizes asserted. A receiver copies an element out before it looks at it: a
 * packed array is not aligned.
 */
#ifndef QUIRE_WIRE_H
#define QUIRE_WIRE_H

#include "proto/quire_types.h"

#include <assert.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the packed arrays are little-endian");

enum quire_wire_lease_flags {
    QUIRE_WIRE_LEASE_PREFIX = 1,   /* stop at the longest usable prefix */
    QUIRE_WIRE_LEASE_PROBE = 2,    /* take no lease, give no grants: only say what hits */
    QUIRE_WIRE_LEASE_FLOOR = 4,    /* max_error counts */
    QUIRE_WIRE_LEASE_NO_TOUCH = 8, /* does not count as use (an operator looks) */
    QUIRE_WIRE_LEASE_FETCH = 16    /* all of it will be fetched whole, in order: what is on disk may be read ahead */
};

enum quire_wire_keys_verb { QUIRE_WIRE_TOUCH = 1, QUIRE_WIRE_DELETE = 2, QUIRE_WIRE_PIN = 3, QUIRE_WIRE_UNPIN = 4 };

enum quire_wire_admin {
    QUIRE_ADMIN_STATUS = 1,
    QUIRE_ADMIN_NS_LIST = 2,
    QUIRE_ADMIN_NS_DELETE = 3,
    QUIRE_ADMIN_BLOCK_SHOW = 4,
    QUIRE_ADMIN_SESSION_LIST = 5,
    QUIRE_ADMIN_SESSION_KICK = 6,
    QUIRE_ADMIN_EVICT = 7,
    QUIRE_ADMIN_CONFIG = 8,
    QUIRE_ADMIN_COUNTERS = 9,
    QUIRE_ADMIN_RELOAD = 10,
    QUIRE_ADMIN_VERIFY = 11, /* number: 1 begins to verify everything on disk; 0 tells how far it is */
    QUIRE_ADMIN_FAULT_LIST = 12,
    QUIRE_ADMIN_FAULT_ADD = 13,  /* text: the rule */
    QUIRE_ADMIN_FAULT_CLEAR = 14 /* number: the rule's id, 0: all */
};

/* A grant's offset when the record is only on disk: LOAD it first. Only for sessions with QUIRE_FEATURE_LOAD. */
#define QUIRE_WIRE_AWAY UINT64_MAX

/* One record under a lease. offset is within the pool mapping; the generation of `slot` must still be `generation` after use. */
struct quire_wire_grant {
    uint64_t offset;
    uint32_t size;
    uint32_t slot;
    uint32_t generation;
    uint16_t key_index;
    uint8_t group;
    uint8_t rung;
};
static_assert(sizeof(struct quire_wire_grant) == 24, "wire format");

enum quire_wire_load_flags {
    QUIRE_WIRE_LOAD_PARTIAL =
        1 /* only `rect` is wanted: where less is read then, the answer's grant is of another slot, which holds only that */
};

/* One record under a lease that is to be in memory. Records in the order of their grants are found fastest. */
struct quire_wire_load {
    uint32_t slot; /* as granted */
    uint8_t flags;
    uint8_t reserved[3];
    quire_rect rect; /* with PARTIAL */
};
static_assert(sizeof(struct quire_wire_load) == 16, "wire format");

/* A part of a record that a READ asks for. */
struct quire_wire_range {
    uint32_t offset; /* within the record */
    uint32_t size;
};
static_assert(sizeof(struct quire_wire_range) == 8, "wire format");

#define QUIRE_MAX_RANGES 1024u /* of one READ */

enum quire_wire_put_flags {
    QUIRE_WIRE_PUT_PARENT_UNKNOWN = 1, /* external key: nothing is known of what comes before */
    QUIRE_WIRE_PUT_ROOT = 2,           /* first block: parent is the namespace's root */
    QUIRE_WIRE_PUT_SUPERSEDES = 4,     /* `supersedes` names the shorter tail block that this one replaces */
    QUIRE_WIRE_PUT_PIN = 8
};

/*
 * One part of one record. Payload: the rectangle's lanes in record order at ingest_offset. `check` is XXH3-64 over the lanes' XXH3-64
 * sums (8 bytes each, lane order), computed by the client as it wrote; the daemon computes its own from its own copy.
 * Only parts of equal put_id combine; one that overlaps what is there is INVALID, unless it repeats it (rectangle, checksum, error and pin are the
 * same): then it is OK again, or RETRY while the first is under way, so that whoever does not know whether it arrived may send it again. What was
 * taken is dropped when the rest does not come, when its session ends, and by CANCEL: a part that says how much was `taken` before it is then
 * STALE, and begins nothing by itself.
 * For opaque blocks rect is zero and lanes are chunks of QUIRE_CHUNK_BYTES.
 */
struct quire_wire_put {
    quire_key key;
    quire_key parent;
    quire_key supersedes;
    uint64_t put_id;
    uint64_t ingest_offset;
    uint64_t check;
    uint32_t length;
    uint16_t n_tokens;
    uint8_t group;
    uint8_t flags;
    uint16_t first_layer, n_layers, first_head, n_heads;
    float ancestry_error; /* worst error of the prefix this was computed on */
    uint32_t taken;       /* layers × heads of this put_id that the sender was told are taken: STALE when fewer are there */
};
static_assert(sizeof(struct quire_wire_put) == 144, "wire format");

#define QUIRE_CHUNK_BYTES (64u << 10)

#endif
