/*
 * The pager: which block is where, who may read it until when, and what gives way when room is short.
 *
 * A deterministic state machine. It has no threads, no sockets, no clock, and touches no pool byte: it is given requests, time and completions, and
 * answers with replies and *events*: wishes (fill this extent, seal that record, move one) that the daemon carries out and reports
 * back, and the outcome of puts. The same calls in the same order give the same answers, so a daemon's life can be
 * replayed from a seed. One caller at a time; times are monotonic nanoseconds given by the caller and never go backwards
 * (an earlier one counts as the latest seen).
 *
 * A block is visible for a layer group when that group's record is complete and its checksums were compared. The life of a record:
 *
 *   absent ─put→ FILLING ─all parts filled→ SEALING ─sealed→ RESIDENT ⇄ MOVING      (moving: readers keep the old bytes)
 *                  └ part corrupt, owner gone, expired → absent         └ evicted, deleted, superseded → DOOMED ─last reader gone→ absent
 */
#ifndef PAGER_H
#define PAGER_H

#include "codec/record.h"
#include "pager/tier.h"
#include "proto/wire.h"

struct pager;

/* Options, beside the module that they belong to. X(name, type, default, help). Sizes in bytes, times in milliseconds. */
#define PAGER_OPTIONS(X)                                                                                                                   \
    X(max_blocks, uint64_t, 16000000, "blocks the index may hold")                                                                         \
    X(reclaim_low_pct, uint32_t, 3, "free share of a pool below which reclaim starts ahead of demand")                                     \
    X(reclaim_high_pct, uint32_t, 5, "free share at which reclaim stops")                                                                  \
    X(lease_ms, uint32_t, 30000, "default and longest time in which a lease may be newly used")                                            \
    X(lease_quota_pct, uint32_t, 50, "share of the pool that one session may hold under leases")                                           \
    X(part_expiry_ms, uint32_t, 30000, "parts of a block that never completes are dropped after this")                                     \
    X(max_parts_pending, uint32_t, 65536, "records being assembled at once")                                                               \
    X(max_puts_waiting, uint32_t, 16384, "puts that may wait for room at once")                                                            \
    X(max_leases, uint32_t, 262144, "leases at once, over all sessions")                                                                   \
    X(max_namespaces, uint32_t, 1024, "namespaces at once")                                                                                \
    X(max_pins, uint32_t, 262144, "blocks pinned at once; each is told in the metadata file, which is written whole")                      \
    X(ghost_entries, uint32_t, 1048576, "evicted keys remembered, to tell evicted from never stored")

/*
 * No session takes what others need to work: of each limit it has a share, though never less than PAGER_SHARE_LEAST. One more lease than a
 * PAGER_SHARE_LEASES-th of max_leases: RETRY. One more unfinished record that it began than a PAGER_SHARE_PUTS-th of max_parts_pending, or
 * one of parts by which they would reserve more than that share of the pool: RETRY with a hint. One more put waiting for room than that share of
 * max_puts_waiting: FULL with a hint, as when its deadline had passed. Pins outlast sessions, so they are counted by namespace: one more than a
 * PAGER_SHARE_PINS-th of max_pins: FULL.
 */
#define PAGER_SHARE_LEASES 16u
#define PAGER_SHARE_PUTS 4u
#define PAGER_SHARE_PINS 2u
#define PAGER_SHARE_LEAST 64u

struct pager_options {
#define X(name, type, value, help) type name;
    PAGER_OPTIONS(X)
#undef X
};
void pager_options_default(struct pager_options *options);

/* Counters: one line adds one to code, /metrics, quirectl and documentation. X(name, help) */
#define PAGER_COUNTERS(X)                                                                                                                  \
    X(lookups, "lease requests answered")                                                                                                  \
    X(lookup_keys, "keys asked for")                                                                                                       \
    X(hit_keys, "keys that hit")                                                                                                           \
    X(hit_tokens, "tokens in the blocks that were leased")                                                                                 \
    X(hit_bytes, "record bytes leased")                                                                                                    \
    X(leases_granted, "leases given")                                                                                                      \
    X(leases_released, "leases released by their holder")                                                                                  \
    X(leases_expired, "leases that passed their time before release")                                                                      \
    X(leases_reaped, "leases freed because their session ended")                                                                           \
    X(lease_quota_refusals, "lookups cut short by the session's lease quota")                                                              \
    X(leases_over_share, "lookups refused because their session held its share of leases")                                                 \
    X(puts, "parts offered")                                                                                                               \
    X(puts_stored, "records completed")                                                                                                    \
    X(puts_duplicate, "parts of records that were already held as faithfully")                                                             \
    X(puts_superseding, "records that replaced a less faithful one, or a shorter tail")                                                    \
    X(puts_repeated, "parts that had come before, or were under way, under the same put_id")                                               \
    X(puts_corrupt, "parts whose bytes did not match their checksum")                                                                      \
    X(puts_waited, "parts that had to wait for room")                                                                                      \
    X(puts_full, "parts refused for want of room")                                                                                         \
    X(puts_over_share, "parts refused because their session had its share of those unfinished, or waiting for room")                       \
    X(puts_invalid, "parts refused as malformed, or overlapping what they do not repeat")                                                  \
    X(puts_orphan, "records stored before their parent")                                                                                   \
    X(puts_unlinked, "records whose link to their parent was left out: the search for a circle above it was cut short")                    \
    X(parts_expired, "records dropped because parts never came")                                                                           \
    X(put_bytes, "record bytes completed")                                                                                                 \
    X(pins_refused, "pins refused because there were max_pins, or their namespace had its share of them")                                  \
    X(evicted_blocks, "blocks evicted to make room")                                                                                       \
    X(evicted_bytes, "record bytes evicted")                                                                                               \
    X(deleted_blocks, "blocks deleted on request")                                                                                         \
    X(records_damaged, "records in memory that were not what was stored any more, and were given up (domains: rma)")                       \
    X(moves, "records moved to gather free space")                                                                                         \
    X(moved_bytes, "bytes moved to gather free space")                                                                                     \
    X(moves_abandoned, "moves given up because a reader came")

struct pager_counters {
#define X(name, help) uint64_t name;
    PAGER_COUNTERS(X)
#undef X
    uint64_t misses[QUIRE_MISS_COUNT];
};

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
/* `seed` hardens the index against chosen keys; `epoch` is told to clients. */
enum quire_status pager_create(const struct pager_options *options, uint64_t seed, uint64_t epoch, struct pager **pager);
void pager_destroy(struct pager **pager);
/* Applies what can change while running; the rest (max_blocks, max_*, ghost_entries) keeps its value. */
void pager_set_options(struct pager *pager, const struct pager_options *options);

/*
 * A trust domain with its host pool. `generations` has n_slots elements in memory that readers may map: the pager stores to it (release
 * order) *before* a slot's bytes can be reused. A record takes one slot; the slots bound the records of the domain.
 */
enum quire_status pager_domain_add(struct pager *pager, const char *name, uint64_t pool_bytes, _Atomic uint32_t *generations,
                                   uint32_t n_slots, uint32_t *domain);

/* ---- namespaces ----------------------------------------------------------------------------------------------------------- */
/*
 * Opens or creates; layout NULL: only opens. Names are a trust domain's own: another one's are not seen. MISMATCH names the field in why. INVALID
 * for a bad name. At the limit the oldest namespace that is empty and that no session uses makes room; FULL when there is none.
 */
enum quire_status pager_ns_open(struct pager *pager, uint32_t domain, const char *name, const quire_layout *layout, const void *salt,
                                size_t salt_bytes, uint16_t *ns, char *why, size_t why_bytes);
/* The session uses it from now to its end: it stays, however empty. Right after opening; once or more often. */
enum quire_status pager_ns_use(struct pager *pager, uint64_t session, uint16_t ns);
/* NULL when there is none. Valid until the namespace is deleted, or dropped at the limit. */
const quire_layout *pager_ns_layout(const struct pager *pager, uint16_t ns);
quire_key pager_ns_root(const struct pager *pager, uint16_t ns);
uint32_t pager_ns_domain(const struct pager *pager, uint16_t ns);
/* Tells a namespace from others that had its number before or get it later; 0 when there is none. */
uint32_t pager_ns_serial(const struct pager *pager, uint16_t ns);
/* Everything in it becomes invisible at once; leased bytes stay until released. Its number is not reused while anything refers to it. */
enum quire_status pager_ns_delete(struct pager *pager, const char *name, uint64_t *blocks);

/* ---- sessions ------------------------------------------------------------------------------------------------------------- */
enum quire_status pager_session_open(struct pager *pager, uint32_t domain, uint64_t *session);
/* Frees leases, waiting puts and unfinished parts. With `quarantine` (a kicked member may still read): its leases' bytes stay until
   pager_session_gone. Fills under way end first: their completions are still expected. */
void pager_session_close(struct pager *pager, uint64_t session, bool quarantine);
void pager_session_gone(struct pager *pager, uint64_t session);

/* ---- reading -------------------------------------------------------------------------------------------------------------- */
struct pager_lease_request {
    uint64_t session;
    uint16_t ns;
    const uint8_t *keys; /* n_keys packed keys, unaligned */
    uint32_t n_keys;     /* ≤ QUIRE_MAX_BATCH */
    uint32_t flags;      /* enum quire_wire_lease_flags */
    uint32_t group_mask; /* 0: all */
    float max_error;
    uint32_t lease_ms;     /* 0: default; longer than the option: the option */
    uint64_t others_bytes; /* leased by others that count as the same one: so much less it may have */
};
struct pager_lease_reply {
    uint64_t lease; /* 0: none */
    uint32_t hits;
    uint8_t *misses;                 /* caller's, n_keys elements, all are written */
    struct quire_wire_grant *grants; /* caller's */
    uint32_t grants_capacity;        /* n_keys × groups of the layout suffices; else TOO_LARGE */
    uint32_t n_grants;
    uint32_t *
        estimates_us; /* caller's, n_keys elements, or NULL: when the block of a key that hits will have been fetched, if all before it are, too; 0: it is in memory */
    uint64_t leased_bytes;
    uint64_t tokens; /* in the blocks that were leased, as counted: 0 for a probe, and for a look that does not count */
};
enum quire_status pager_lease(struct pager *pager, uint64_t now_ns, const struct pager_lease_request *request,
                              struct pager_lease_reply *reply);
/* NOT_FOUND for a lease that is not the session's. */
enum quire_status pager_release(struct pager *pager, uint64_t session, uint64_t lease);
/* For guests' copies: the grant of a record under this session's lease, without the key's index. NOT_FOUND, or STALE once it expired. */
enum quire_status pager_lease_grant(const struct pager *pager, uint64_t session, uint64_t lease, uint32_t slot,
                                    struct quire_wire_grant *grant);
/*
 * Are these bytes of such a record its own? Where only a part of it was read, around that lies what was in the pool before, which a guest
 * must not see.
 */
bool pager_lease_holds(const struct pager *pager, uint64_t session, uint64_t lease, uint32_t slot, const struct quire_wire_range *ranges,
                       uint32_t n_ranges);

/*
 * A hold: for whoever sends a record's bytes straight out of the pool. It keeps them what and where they are, as a lease does, but belongs to
 * no session: the lease's release or its session's end, deletion, eviction, another record in the block's place, the end of the
 * namespace take nothing from it. To end by pager_let_go, once nobody reads any more. `hold` is the caller's and stays where it is until then.
 */
struct pager_hold {
    struct pager_hold *prev, *next;
    uint32_t domain, slot;
};
/* Of a record under this session's lease. NOT_FOUND, STALE as pager_lease_grant; MISS: it is not in memory. Else it cannot fail. */
enum quire_status pager_hold(struct pager *pager, uint64_t session, uint64_t lease, uint32_t slot, struct pager_hold *hold);
void pager_let_go(struct pager *pager, struct pager_hold *hold);
/* What a held record was stored as, for who looks whether it still is. */
struct pager_held {
    uint64_t offset;
    uint32_t size_bytes;
    uint8_t group;
    bool has_key; /* else it has left its block, and nobody knows any more */
    quire_key key;
};
void pager_held(const struct pager *pager, const struct pager_hold *hold, struct pager_held *held);
/*
 * The held record's bytes are not what was stored there: somebody who may read the pool's memory from afar wrote to it. It is given up; who reads from it or
 * writes it to disk keeps the bytes to the end. A copy on disk stays; where there is none, its group is gone (a miss: CORRUPT), pinned or not.
 * False: it was given up before.
 */
bool pager_damaged(struct pager *pager, uint64_t now_ns, const struct pager_hold *hold);

/* ---- storing -------------------------------------------------------------------------------------------------------------- */
/*
 * Offers one part. OK: an event PAGER_PUT_DONE with `cookie` will follow, exactly one, perhaps at once. Else refused now, no event. With
 * PIN the block is pinned once when the outcome is OK, also when it was stored before, but not when it is pinned already. FULL at once: no
 * more may be pinned; when that is found out only in the end, the block is stored and not pinned. TOO_LARGE: it would not fit into the empty
 * pool. Everything in `item` is hostile. The bytes are the daemon's affair: `cookie` leads it to them when PAGER_FILL asks.
 */
enum quire_status pager_put(struct pager *pager, uint64_t now_ns, uint64_t session, uint16_t ns, const struct quire_wire_put *item,
                            uint64_t cookie, uint64_t deadline_ns);
/* What pager_put would say of the item by itself, whatever is stored: OK, INVALID, TOO_LARGE. The namespace is there. */
enum quire_status pager_put_check(const struct pager *pager, uint16_t ns, const struct quire_wire_put *item);
/* The session gives up a block of which it has put parts under this put_id: they are dropped, unless another session has brought some, too.
   NOT_FOUND when there is nothing of the kind. */
enum quire_status pager_put_cancel(struct pager *pager, uint64_t now_ns, uint64_t session, uint16_t ns, const quire_key *key,
                                   uint64_t put_id);

/* ---- by key --------------------------------------------------------------------------------------------------------------- */
/* May no more of its blocks be pinned? */
bool pager_pins_full(const struct pager *pager, uint16_t ns);
/* statuses: n elements, each written when the call is OK: OK, MISS, IN_USE (deleting what is pinned), NOT_FOUND (unpinning what is not), FULL
   (no more may be pinned). A deletion also ends what is under construction; the outcome of its parts is OK, or MISS when one of them was to pin
   it. While the log is still being read, a pin from before holds although its block was not found yet. */
enum quire_status pager_keys(struct pager *pager, uint64_t now_ns, uint64_t session, uint16_t ns, enum quire_wire_keys_verb verb,
                             const uint8_t *keys, uint32_t n_keys, uint8_t *statuses);

/* ---- events --------------------------------------------------------------------------------------------------------------- */
enum pager_event_type {
    PAGER_FILL,     /* copy the part's payload into the record under construction and compare the sum: quire_record_fill_rect */
    PAGER_SEAL,     /* quire_record_seal; all fills of this record have completed */
    PAGER_MOVE,     /* copy size_bytes from offset to to_offset */
    PAGER_PUT_DONE, /* the outcome of a put */
    /* Of the disk tier (pager/disk.h): wishes with a ticket, told by `disk` … */
    PAGER_DISK_WRITE,   /* append a batch to the log */
    PAGER_DISK_READ,    /* a record, or ranges of it, into a pool, and verify it there */
    PAGER_DISK_SEAL,    /* a segment's footer and trailer: after its data was synced, and synced itself */
    PAGER_DISK_SYNC,    /* a device */
    PAGER_DISK_META,    /* write the metadata file */
    PAGER_DISK_ENTRIES, /* a segment's entries are wanted: pager_disk_entries */
    /* … and outcomes, told by `cookie` and `status` */
    PAGER_LOAD_DONE, /* of pager_load */
    PAGER_DURABLE,   /* of pager_durable: what was deleted before stays deleted */
    PAGER_FLUSHED    /* of pager_disk_flush */
};
struct pager_disk_wish;
struct pager_event {
    enum pager_event_type type;
    uint32_t domain;
    uint64_t ticket; /* for pager_complete; 0 for PUT_DONE */
    uint64_t cookie; /* FILL, PUT_DONE: the put's */
    uint64_t offset, to_offset;
    uint32_t size_bytes; /* the record's */
    struct quire_record_shape shape;
    struct quire_record_facts facts;    /* SEAL, and FILL with seal */
    quire_rect rect;                    /* FILL */
    uint64_t check;                     /* FILL */
    bool seal;                          /* FILL: this one fill completes the record; seal it too when the sum is right */
    enum quire_status status;           /* PUT_DONE, LOAD_DONE, DURABLE, FLUSHED */
    uint32_t retry_after_ms;            /* PUT_DONE with FULL or RETRY */
    const struct pager_disk_wish *disk; /* DISK_…: the pager's, until the ticket is completed */
};
/* Takes the next event; false when there is none. Call until false after every call above and below. */
bool pager_next_event(struct pager *pager, struct pager_event *event);
/* Reports a wish carried out: OK, CORRUPT (sum differs), or another failure. Exactly once a ticket. */
void pager_complete(struct pager *pager, uint64_t now_ns, uint64_t ticket, enum quire_status status);
/* Expiries, reclaim ahead of demand, age. Call now and then and when pager_next_deadline has passed. Bounded work a call. */
void pager_tick(struct pager *pager, uint64_t now_ns);
/* When pager_tick has something to do, UINT64_MAX: nothing is planned. */
uint64_t pager_next_deadline(const struct pager *pager);

/* ---- for operators -------------------------------------------------------------------------------------------------------- */
const struct pager_counters *pager_counters(const struct pager *pager);

struct pager_domain_stats {
    const char *name;
    const char *tier;
    uint64_t capacity_bytes, used_bytes, live_bytes, leased_bytes, pinned_bytes, quarantined_bytes, largest_free_bytes, books_bytes;
    uint64_t records;
};
uint32_t pager_domain_count(const struct pager *pager);
void pager_domain_stats(const struct pager *pager, uint32_t domain, struct pager_domain_stats *stats);

struct pager_memory {
    uint64_t blocks, max_blocks, index_bytes; /* what a block costs while its record is on no faster tier */
    uint64_t record_bytes, lease_bytes, other_bytes;
};
void pager_memory(const struct pager *pager, struct pager_memory *memory);

struct pager_ns_info {
    char name[QUIRE_MAX_NAME + 1];
    uint16_t ns;
    uint32_t domain;
    uint8_t digest[32];
    uint64_t blocks, records, bytes, pinned_blocks, hits, misses, stores, evictions, tokens_reused;
    uint64_t disk_records, disk_bytes;
};
/* Visits namespaces: start with cursor 0; false at the end. */
bool pager_ns_next(const struct pager *pager, uint32_t *cursor, struct pager_ns_info *info);
/*
 * By name in any domain, for operators. MISMATCH: several domains have one of this name; "DOMAIN/NAME", which is looked for when no namespace is
 * called that, tells which. pager_ns_delete understands names in the same way.
 */
enum quire_status pager_ns_find(const struct pager *pager, const char *name, uint16_t *ns);

struct pager_session_info {
    uint64_t leases, leased_bytes, fetched_bytes, stored_bytes;
};
enum quire_status pager_session_info(const struct pager *pager, uint64_t session, struct pager_session_info *info);

#define PAGER_BLOCK_RECORDS_MAX QUIRE_MAX_GROUPS
struct pager_record_info {
    uint8_t group, rung;
    const char *state; /* "filling", "resident" … */
    uint64_t offset;
    uint32_t size_bytes, refs, generation;
    uint64_t sequence;
    float error, ancestry_error;
    bool on_disk;     /* state "disk": only there; offset is then in `segment` */
    uint32_t segment; /* on_disk */
};
struct pager_block_info {
    quire_key key, parent;
    uint16_t ns;
    uint32_t n_tokens, children, pins;
    enum quire_miss miss; /* why a lookup of the key alone would miss; NONE: it would hit */
    bool parent_present, placeholder;
    uint64_t idle_ns;
    uint32_t n_records;
    struct pager_record_info records[PAGER_BLOCK_RECORDS_MAX];
};
/* Also for keys that are not there: says why (ghosts). */
enum quire_status pager_block_info(const struct pager *pager, uint64_t now_ns, uint16_t ns, const quire_key *key,
                                   struct pager_block_info *info);
/*
 * Evicts least valuable blocks of a namespace (UINT16_MAX: any of the domain) until `bytes` are freed or none is left that may go: OK.
 * RETRY: that would take too long for one call, which is bounded; the next one goes on where it stopped. *freed tells of this call in
 * both cases. One namespace's are searched for among all: together the calls look at every block of the domain.
 */
enum quire_status pager_evict(struct pager *pager, uint64_t now_ns, uint32_t domain, uint16_t ns, uint64_t bytes, uint64_t *freed);

/* Recounts everything from scratch and asserts that the books agree: tests and the simulator, after each step. */
void pager_check(const struct pager *pager);

#endif
