/*
 * What the pager's own files share: the objects, who owns them, and each file's functions.
 *
 * A record's slot number is its number in the domain's record table and in the generation table. A block's resident records hang on
 * its index entry, linked in ascending order of their group. A record under construction hangs on an assembly instead, and the
 * block's entry says PAGER_BLOCK_BUILDING while it has any. An entry without records that is not being built is a placeholder: it
 * stands for an absent parent and lives as long as it has children; it has no parent itself.
 */
#ifndef PAGER_INTERNAL_H
#define PAGER_INTERNAL_H

#include "pager/age.h"
#include "pager/arena.h"
#include "pager/disk/part.h"
#include "pager/ghost.h"
#include "pager/index.h"
#include "pager/log/budget.h"
#include "pager/pager.h"
#include "pager/pool.h"
#include "pager/table.h"
#include "pager/timer.h"

#define PAGER_MAGIC 0x52474150u
#define PAGER_MAX_DOMAINS 64u
#define PAGER_MAX_SESSIONS 65536u
/* A tick is about 17 ms: `used` in 32 bits wraps after more than two years. */
#define PAGER_TICK_SHIFT 24u
/* The first tick: what was used before the start, as a snapshot tells, has lower ones. 0: nobody knows when. */
#define PAGER_TICK_BASE (1u << 28)
/* The most that one call does of work that it could also do later. */
#define PAGER_EVICT_BUDGET 256u
#define PAGER_SWEEP_BUDGET 8192u
#define PAGER_EXPIRE_BUDGET 4096u
#define PAGER_PLAN_MOVES 64u
/* How far up a parent chain one search for a circle goes, and all searches within a tick. */
#define PAGER_WALK_MAX 16384u
#define PAGER_WALK_BUDGET 65536u
/* Evictions between two searches for a window to clear. */
#define PAGER_PLAN_PATIENCE 8u
/* And the pause between them when nothing can be evicted: a search walks two thousand extents. */
#define PAGER_PLAN_PAUSE_NS (2 * QUIRE_NS_PER_MS)
#define PAGER_MAX_CONTRIBUTORS 256u
#define PAGER_ASSEMBLY_BUCKETS 8192u

/* ---- records -------------------------------------------------------------------------------------------------------------- */
enum pager_state {
    PAGER_ABSENT,
    PAGER_FILLING,
    PAGER_SEALING,
    PAGER_RESIDENT,
    PAGER_MOVING,
    PAGER_AWAY,    /* leased, and only on disk: no extent */
    PAGER_LOADING, /* asked for: no extent until there is room, then a read under way */
    PAGER_DOOMED,
    PAGER_STATES
};
enum pager_happening {
    PAGER_HAPPENS_FILLED, /* every part is in place and compared */
    PAGER_HAPPENS_SEALED, /* header and sums are written: it may be seen */
    PAGER_HAPPENS_RESEAL, /* it needs a higher sequence number first */
    PAGER_HAPPENS_DROP,   /* given up, evicted, deleted, superseded */
    PAGER_HAPPENS_MOVE,   /* a copy to another place was asked for */
    PAGER_HAPPENS_MOVED,  /* that copy has ended, well or not */
    PAGER_HAPPENS_LOAD,   /* its bytes are asked for */
    PAGER_HAPPENS_LOADED, /* they are there, verified */
    PAGER_HAPPENS_UNLOAD, /* they are not to come: back to where it was */
    PAGER_HAPPENS_LET_GO  /* a reader or writer has left */
};
enum pager_record_flags {
    PAGER_RECORD_UNLISTED = 1, /* its block is in no age list: the last reader files it */
    PAGER_RECORD_CLEAN = 2,    /* the disk has the same bytes */
    PAGER_RECORD_DIRTY = 4,    /* in its domain's list of those to be written */
    PAGER_RECORD_WRITING = 8,  /* in a batch under way */
    PAGER_RECORD_REWRITE = 16, /* DIRTY because its segment is being emptied: may use the reserve */
    PAGER_RECORD_READING = 32, /* a read into its extent is under way */
    PAGER_RECORD_UNNAMED = 64  /* not written, because the metadata could not tell of its namespace: it is when that does */
};

struct pager_record {
    uint64_t sequence; /* 0: it came from disk, where the log knows */
    uint64_t offset;   /* AWAY: nowhere; LOADING: the read's handle */
    uint32_t block;    /* PAGER_NO_BLOCK once doomed */
    uint32_t next;     /* the block's next record; the next free slot */
    uint32_t extent;
    uint32_t size_bytes;
    uint32_t refs; /* leases, quarantined ones too, and holds */
    uint32_t generation;
    float error, ancestry_error;
    uint32_t dirty_prev, dirty_next; /* WRITING, CLEAN: dirty_next is the segment that it is written to */
    uint16_t busy;                   /* fills, seals, moves, reads and writes under way */
    uint16_t ns;
    uint8_t state, group, rung, flags;
};
static_assert(sizeof(struct pager_record) == 64, "one cache line: a lookup reads one a record");

/* ---- domains, namespaces, sessions, leases -------------------------------------------------------------------------------- */
/* How far a request to evict one namespace's blocks has looked when it ended for the time being. */
struct pager_evict_place {
    uint32_t serial; /* of the namespace, 0: nowhere */
    uint32_t block;  /* the next one in the list */
    uint64_t list;   /* counted from 1 as the ages do from 0; 0: orphans */
    bool some;       /* were evicted in this pass */
};

struct pager_assembly;
struct pager_domain {
    char name[QUIRE_MAX_NAME + 1];
    const struct pager_tier_ops *tier_ops;
    struct pager_tier *tier;
    _Atomic uint32_t *generations;
    struct pager_arena arena;
    struct pager_record *records;
    uint32_t n_slots, slots_touched; /* slots below were used at least once */
    uint32_t first_free;             /* PAGER_NO_RECORD: none below slots_touched */
    uint32_t slots_used;
    uint64_t capacity_bytes;
    uint64_t live_bytes, leased_bytes, pinned_bytes, quarantined_bytes;
    uint64_t resident; /* records that a lookup may find */
    struct pager_ages ages;
    struct pager_assembly *first_waiting, *last_waiting; /* for room, in order */
    uint32_t moves;                                      /* of the plan under way */
    bool planning;
    uint32_t patience;      /* evictions until the next plan may be made */
    uint64_t plan_after_ns; /* and, when nothing can be evicted, not before this; 0: nothing to wait for */
    bool reclaiming;        /* below the low mark until the high one */
    bool more;              /* a bounded step ended before the room was there */
    struct pager_evict_place place;
    uint32_t dirty_first, dirty_last; /* to be written to disk, in the order in which they were stored */
    uint64_t dirty_bytes, dirty_records;
};

struct pager_ns {
    char name[QUIRE_MAX_NAME + 1];
    bool deleted;
    uint16_t number;
    uint32_t domain;
    uint32_t serial; /* never used twice, unlike the number */
    quire_layout *layout;
    uint8_t digest[32];
    uint64_t layout_tag;
    quire_key root;
    uint32_t n_groups, all_mask, windowed_mask;
    uint32_t window_blocks[QUIRE_MAX_GROUPS];
    uint64_t entries; /* of the index */
    uint64_t slots;   /* records in any state */
    uint32_t users;   /* sessions */
    uint64_t blocks, records, bytes, pinned_blocks, hits, misses, stores, evictions, tokens_reused;
    uint64_t disk_records, disk_bytes;
    uint64_t pins_waiting;         /* after a start: of blocks that were not found yet */
    struct pager_charter *charter; /* what the metadata says of it; NULL: nobody asked yet */
};

struct pager_lease;
/* What tombstones may take of the disk (pager/disk/bury.c). */
struct pager_burials {
    struct pager_budget all, doubtful; /* doubtful: those of keys of which nobody knows whether the log holds them; they are of both */
};

struct pager_session {
    uint64_t handle;
    uint32_t domain;
    bool quarantined;
    struct pager_lease *leases;
    uint64_t n_leases, leased_bytes, fetched_bytes, stored_bytes;
    uint32_t n_building, n_waiting; /* records that it began and nobody has ended; parts of it that wait for room */
    uint64_t building_bytes;        /* those of them that consist of parts */
    struct pager_ns_use *uses;      /* namespaces that it has open */
    uint32_t n_uses;
    struct pager_burials burials; /* its share of the disk's */
};

struct pager_ns_use {
    uint32_t serial;
    uint16_t ns;
};

struct pager_extra {
    uint32_t slot;
    struct pager_lanes part; /* what is there */
};

struct pager_lease {
    struct pager_timer timer; /* first: found from its timer */
    uint64_t handle, bytes, expires_ns;
    struct pager_session *session;
    struct pager_lease *prev, *next;
    uint32_t domain, n_slots;
    struct pager_load *loads, *last_load; /* whose result was not taken */
    struct pager_extra *extra;            /* parts that were read for it */
    uint32_t n_extra;
    uint32_t slots[];
};

/* ---- wishes, parts, assemblies, moves ------------------------------------------------------------------------------------- */
/* What pager_next_event will tell; lives in the object that it is about, so that telling can never fail. */
struct pager_wish {
    struct pager_wish *prev, *next; /* NULL: not asked */
    uint8_t type;                   /* enum pager_event_type */
};

enum pager_part_state {
    PAGER_PART_WAITING, /* for room */
    PAGER_PART_ASKED,   /* a FILL or SEAL is in the queue of events */
    PAGER_PART_FLYING,  /* the daemon is at it */
    PAGER_PART_DONE     /* its outcome is in the queue of events */
};

struct pager_part {
    struct pager_wish wish;   /* first: found from its wish */
    struct pager_timer timer; /* the put's deadline, while it waits for room */
    struct pager_part *prev, *next;
    struct pager_assembly *assembly; /* NULL: given up while flying, or done */
    uint64_t handle, cookie, session, check;
    uint32_t domain, slot; /* while flying */
    uint32_t length;
    uint32_t retry_after_ms;
    quire_rect rect;
    uint8_t state, verdict; /* verdict: the outcome when the assembly has ended before this */
    bool sealing, whole, pin, supersedes;
    float ancestry_error;
    quire_key shorter;
};

/* What is known of a part of which the bytes are in their place. */
struct pager_landed {
    quire_rect rect;
    uint64_t check;
    float ancestry_error;
    bool pin;
};

/* One record under construction: from the first part offered to the record's publication. */
struct pager_assembly {
    struct pager_timer timer;           /* first: found from its timer. Parts that never come */
    struct pager_assembly *prev, *next; /* all of them */
    struct pager_assembly *bucket_next; /* those whose block falls into one bucket */
    struct pager_assembly *prev_waiting, *next_waiting;
    struct pager_part *first, *last; /* those not done */
    struct quire_record_shape shape;
    uint64_t put_id;
    uint64_t owner;    /* session that began it and answers for it */
    uint64_t sequence; /* as last told to the daemon */
    uint32_t block, slot;
    uint16_t ns;
    uint8_t group;
    bool waiting, pin, supersedes;
    quire_key shorter; /* the tail that this one supersedes */
    float ancestry_error;
    uint32_t n_cells, claimed, filled; /* layer × head */
    uint64_t *cells;                   /* claimed ones; NULL: one part is the whole */
    uint64_t *contributors;            /* sessions with a filled part */
    uint32_t n_contributors;
    struct pager_landed *landed; /* but for the one that completes it */
    uint32_t n_landed, landed_capacity;
};

struct pager_move {
    struct pager_wish wish; /* first: found from its wish */
    uint64_t handle;
    uint32_t domain, slot, to_extent;
};

struct pager_disk; /* pager/disk/internal.h */
struct pager_charter;

/* ---- the pager ------------------------------------------------------------------------------------------------------------ */
struct pager {
    uint32_t magic;
    struct pager_options options;
    uint64_t epoch, seed, now_ns, start_ns;
    bool started;
    struct pager_index *index;
    struct pager_ghosts ghosts;
    struct pager_domain domains[PAGER_MAX_DOMAINS];
    uint32_t n_domains;
    struct pager_ns **namespaces; /* by number */
    uint32_t n_namespaces;        /* numbers ever used */
    uint32_t next_serial;
    struct pager_table sessions, leases, parts, moves;
    struct pager_timers timers;
    struct pager_wish wishes;         /* ring */
    struct pager_hold holds;          /* ring */
    struct pager_assembly assemblies; /* ring */
    struct pager_assembly **buckets;
    uint32_t n_assemblies, n_waiting; /* n_waiting: parts that wait for room */
    uint64_t sequence;
    uint64_t lease_bytes, assembly_bytes;
    bool sweeping, sweep_again; /* entries of deleted namespaces are being removed */
    uint32_t sweep_cursor;
    uint32_t walk_tick, walked; /* steps up parent chains in this tick */
    struct pager_counters counters;
    struct pager_disk *disk; /* NULL: none */
    uint32_t n_pinned;       /* blocks */
    uint32_t found[QUIRE_MAX_BATCH];
    bool usable[QUIRE_MAX_BATCH + 1]; /* by length of the prefix: the windowed groups are there */
};

static inline uint32_t pager_tick_now(const struct pager *pager) {
    return PAGER_TICK_BASE + (uint32_t)((pager->now_ns - pager->start_ns) >> PAGER_TICK_SHIFT);
}
static inline struct pager_block *pager_block_at(const struct pager *pager, uint32_t block) { return pager_index_at(pager->index, block); }
static inline struct pager_ns *pager_ns_at(const struct pager *pager, uint16_t ns) {
    return ns < pager->n_namespaces ? pager->namespaces[ns] : NULL;
}
static inline struct pager_domain *pager_domain_of(struct pager *pager, const struct pager_block *block) {
    return &pager->domains[pager->namespaces[block->ns]->domain];
}

/* pager.c */
void pager_clock(struct pager *pager, uint64_t now_ns);

/* session.c */
/* NULL when unknown or closed. */
struct pager_session *pager_session_find(const struct pager *pager, uint64_t session);
/* The namespace that a session may use, or NULL and why. */
enum quire_status pager_entitled(const struct pager *pager, uint64_t session, uint16_t ns, struct pager_session **s, struct pager_ns **n);
/* Books of what a session has waiting and unfinished; it may be gone. */
void pager_session_waits(struct pager *pager, uint64_t session, int by);
void pager_session_builds(struct pager *pager, const struct pager_assembly *assembly, bool begins);
/* Would one more be more than a session's share? */
bool pager_session_may_lease(const struct pager *pager, const struct pager_session *s);
bool pager_session_may_wait(const struct pager *pager, uint64_t session);
bool pager_session_may_build(const struct pager *pager, uint64_t session, uint64_t bytes, bool parts);

/* block.c: entries, their parents, and whether they may be evicted. */
enum quire_status pager_block_obtain(struct pager *pager, struct pager_ns *ns, const quire_key *key, uint32_t *block);
/* The same where the key's tag is known (pager_index_tag). */
enum quire_status pager_block_obtain_tagged(struct pager *pager, struct pager_ns *ns, uint32_t tag, const quire_key *key, uint32_t *block);
/* INVALID: it would be its own ancestor. RETRY: whether it would cannot be told within bounds; it stays without a parent. */
enum quire_status pager_block_adopt(struct pager *pager, uint32_t block, uint32_t parent);
bool pager_block_evictable(const struct pager *pager, const struct pager_block *block);
/* Is any record of it held, in memory or on disk? */
bool pager_block_stored(const struct pager *pager, uint32_t block);
/* A bit for each layer group that is held anywhere. */
uint32_t pager_block_groups(const struct pager *pager, uint32_t block);
/* Leaves memory before others: nobody can reach it, or it was read but once. */
bool pager_block_goes_first(const struct pager *pager, const struct pager_block *block);
/* It is in memory, and the disk has all of that. */
bool pager_block_clean(const struct pager *pager, const struct pager_block *block);
/* Out of memory: only the disk has it. It is clean, and nobody holds it. */
void pager_block_demote(struct pager *pager, uint32_t block);
bool pager_block_is_orphan(const struct pager *pager, const struct pager_block *block);
/* Into an age list, when it may be evicted and is in none. Called whenever something that kept it from there ends. */
void pager_block_file(struct pager *pager, uint32_t block);
void pager_block_settle(struct pager *pager, uint32_t block); /* after it lost something: removes it when nothing needs it */
uint64_t pager_block_bytes(const struct pager *pager, const struct pager_block *block);
/* Takes its records away; true when it was there. Leased ones become DOOMED. Its children become orphans. */
bool pager_block_drop(struct pager *pager, uint32_t block, enum pager_ghost_kind ghost, uint64_t *bytes);
/* False: no memory to remember it, and nothing has changed. 0 always succeeds. */
bool pager_block_pin(struct pager *pager, uint32_t block, uint16_t pins);
/* Its books alone: the pins were told before, or nobody is to be told. */
void pager_block_pinned(struct pager *pager, uint32_t block, uint16_t pins);
/* May one more block of the namespace be pinned? */
bool pager_may_pin(const struct pager *pager, const struct pager_ns *ns);

/* record.c: slots and their books. */
bool pager_record_slot(struct pager_domain *domain, uint32_t *slot); /* a free one, not taken yet */
void pager_record_take(struct pager *pager, struct pager_domain *domain, uint32_t slot, const struct pager_record *as);
void pager_record_free(struct pager *pager, struct pager_domain *domain, uint32_t slot);
void pager_record_renew(struct pager_domain *domain, struct pager_record *record); /* next generation: old readers see it */
uint32_t pager_record_find(const struct pager_domain *domain, const struct pager_block *block, uint32_t group);
void pager_record_link(struct pager *pager, struct pager_domain *domain, uint32_t slot);
void pager_record_unlink(struct pager *pager, struct pager_domain *domain, uint32_t slot);
void pager_record_unref(struct pager *pager, struct pager_domain *domain, uint32_t slot);

/* damage.c */
/* Its bytes are not what was stored: it is given up, as pager_damaged does. */
bool pager_record_damaged(struct pager *pager, struct pager_domain *domain, uint32_t slot);

/* A record that is only on disk gets a slot, for a lease or a read; NO_RECORD: no slot is free. `loose`: of no block, for those who hold it alone. */
uint32_t pager_record_take_away(struct pager *pager, struct pager_domain *domain, uint32_t block, uint8_t group, bool loose);
void pager_record_arrived(struct pager *pager, struct pager_domain *domain, uint32_t slot);
void pager_record_ref(struct pager_domain *domain, uint32_t slot);
bool pager_record_has_bytes(const struct pager_record *record);

/* state.c */
const char *pager_state_name(uint8_t state);
void pager_record_step(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_happening happening);

/* event.c */
void pager_wish_ask(struct pager *pager, struct pager_wish *wish, enum pager_event_type type);
void pager_wish_cancel(struct pager_wish *wish);

/* lease.c */
void pager_lease_end(struct pager *pager, struct pager_lease *lease);
void pager_lease_expired(struct pager *pager, struct pager_lease *lease);
/* NULL unless it is this session's, and it may still use it. */
struct pager_lease *pager_lease_find(const struct pager *pager, uint64_t session, uint64_t lease);
/* As pager_lease_grant, of a slot that is known to be the lease's: it is until the lease ends. */
enum quire_status pager_lease_grant_own(const struct pager *pager, const struct pager_lease *lease, uint32_t slot,
                                        struct quire_wire_grant *grant);
uint64_t pager_lease_quota(const struct pager *pager, const struct pager_domain *domain);

/* assembly.c */
uint32_t pager_assembly_bucket(uint32_t block);
struct pager_assembly *pager_assembly_find(const struct pager *pager, uint32_t block, uint8_t group, uint64_t put_id);
struct pager_assembly *pager_assembly_of(const struct pager *pager, uint32_t block, struct pager_assembly *after);
enum quire_status pager_assembly_begin(struct pager *pager, const struct pager_assembly *as, struct pager_assembly **assembly);
/* Ends it: waiting parts get `verdict`, flying ones when they land. */
void pager_assembly_end(struct pager *pager, struct pager_assembly *assembly, enum quire_status verdict);
void pager_assembly_end_all(struct pager *pager, uint32_t block, enum quire_status verdict, enum quire_status pin_verdict);
/* Some part of it does. */
bool pager_assembly_wants_pin(const struct pager_assembly *assembly);
/* Ends those of that put_id to which nobody but the session has brought anything. Returns how many. */
uint32_t pager_assembly_cancel(struct pager *pager, uint32_t block, uint64_t put_id, uint64_t session);
/* It has an extent now: asks for the fills of its parts. */
void pager_assembly_start(struct pager *pager, struct pager_assembly *assembly, uint32_t slot, uint32_t extent);
/* OK: the part was admitted, or repeats one (its outcome follows). INVALID: it overlaps; the part is not touched. */
enum quire_status pager_assembly_admit(struct pager *pager, struct pager_assembly *assembly, struct pager_part *part);
void pager_assembly_expired(struct pager *pager, struct pager_assembly *assembly);
void pager_assembly_session_gone(struct pager *pager, uint64_t session);
void pager_part_done(struct pager *pager, struct pager_part *part, enum quire_status status);
void pager_part_attach(struct pager *pager, struct pager_assembly *assembly, struct pager_part *part);
void pager_part_discard(struct pager *pager, struct pager_part *part); /* as if it had never been offered */
void pager_part_landed(struct pager *pager, struct pager_part *part, enum quire_status status);
void pager_part_late(struct pager *pager, struct pager_part *part); /* its deadline passed while it waited for room */
uint64_t pager_assembly_memory(const struct pager_assembly *assembly);
/* Its record is the block's now. */
void pager_assembly_published(struct pager *pager, struct pager_assembly *assembly);

/* repeat.c */
/* The part has landed. NO_MEMORY: it cannot be told from another then. */
enum quire_status pager_repeat_note(struct pager_assembly *assembly, const struct pager_part *part);
/* Is the same part there? OK: it landed. RETRY: it is under way. NOT_FOUND. */
enum quire_status pager_repeat_of(const struct pager_assembly *assembly, const struct pager_part *part);

/* publish.c */
/* What a put with PIN asks of a block that is stored: one pin, unless somebody pins it already. FULL, NO_MEMORY: it is not pinned. */
enum quire_status pager_publish_pin(struct pager *pager, uint32_t block);
/* The record is complete and sealed. */
void pager_publish(struct pager *pager, struct pager_assembly *assembly, struct pager_part *last);
/* Would a record of these errors replace the block's? True also when there is none. */
bool pager_more_faithful(const struct pager *pager, uint32_t block, uint8_t group, float error, float ancestry_error);

/* room.c: who waits for room, in order. */
void pager_room_ask(struct pager *pager, struct pager_assembly *assembly);
void pager_room_leave(struct pager *pager, struct pager_assembly *assembly);
void pager_room_serve(struct pager *pager, struct pager_domain *domain);
void pager_room_serve_all(struct pager *pager);
uint32_t pager_room_retry_ms(const struct pager *pager);
/* An extent for a record that comes from disk, evicting and moving for it; FULL: not now. */
enum quire_status pager_room_extent(struct pager *pager, struct pager_domain *domain, uint32_t bytes, uint32_t slot, uint32_t *extent);
/* Of a record of this size: what the disk reads and writes in whole units has room. */
uint64_t pager_room_bytes(const struct pager *pager, uint64_t record_bytes);

/* compact.c */
bool pager_compact_begin(struct pager *pager, struct pager_domain *domain, uint64_t bytes);
void pager_compact_moved(struct pager *pager, struct pager_move *move, enum quire_status status);

/* evict.c */
bool pager_evict_one(struct pager *pager, struct pager_domain *domain);
bool pager_is_short(const struct pager *pager, const struct pager_domain *domain); /* below the mark at which room is made */
void pager_reclaim_check(struct pager *pager, struct pager_domain *domain);
void pager_reclaim(struct pager *pager, struct pager_domain *domain);

/* ns.c */
void pager_ns_let_go(struct pager *pager, struct pager_ns *ns);
void pager_ns_unuse(struct pager *pager, struct pager_session *s); /* all that it uses */
void pager_ns_sweep(struct pager *pager);
void pager_ns_free_all(struct pager *pager);
void pager_charter_free(struct pager_charter **charter); /* unless a picture has it, too */

#endif
