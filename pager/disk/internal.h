/*
 * What the files of the disk tier share with one another and with the rest of the pager.
 *
 *   where.c    what the disk holds of a block             dirty.c  what only memory has, in lists
 *   write.c    dirty records → batches; tombstones        written.c  how that ended; what is clean then
 *   rest.c     devices that take nothing for a while
 *   bury.c     deletions that last, metadata              read.c   records back into a pool, one read for all who wait
 *   load.c     what readers asked for, item by item       empty.c  the oldest segment is emptied; orphans go
 *   restore.c  the index from the log's entries           disk.c   life, devices, wishes and their ends, sums
 *   live.c     and the other way: what is on disk         meta.c   what the metadata file tells: namespaces, pins
 *   remains.c  what the log may hold that the index does not find
 *   part.c     which bytes a part of a record has
 *   review.c   what memory has and is to be written after all, found a little at a time
 */
#ifndef PAGER_DISK_INTERNAL_H
#define PAGER_DISK_INTERNAL_H

#include "pager/disk.h"
#include "pager/disk/part.h"
#include "pager/disk/pins.h"
#include "pager/disk/remains.h"
#include "pager/disk/where.h"
#include "pager/internal.h"
#include "pager/log/budget.h"
#include "pager/log/pace.h"

#define PAGER_DISK_TICKET (1ull << 62)
/*
 * Wishes that may be out at once are shared among the devices, but for the metadata's: one that hangs keeps its own places, and no
 * others. Of each share a part is kept from reads, so that writing goes on.
 */
#define PAGER_DISK_SHARED (PAGER_DISK_MAX_IN_FLIGHT - 1u)
#define PAGER_DISK_MOST_WRITES 16u /* batches at once */
#define PAGER_DISK_MAX_OPS 262144u
#define PAGER_DISK_MAX_LOADS 16384u
#define PAGER_DISK_MAX_BARRIERS 4096u
/* Tombstones that may wait for their batch: one request's worth, several times. */
#define PAGER_DISK_MAX_TOMBSTONES (4u * QUIRE_MAX_BATCH)
#define PAGER_DISK_BURY_AT_ONCE 256u /* in one batch */
/*
 * Tombstones may use this part of the write budget, and one session this part of that. What they take, records wait for, so that deleting, which makes
 * room, goes on when records use up all there is; an eighth is thousands of deletions a second wherever a budget makes sense, and leaves records the rest.
 */
#define PAGER_BURIALS_SHARE 8u
#define PAGER_SESSION_BURIALS_SHARE 4u
/*
 * Keys that the log may hold, for all that is known, can be made up: nothing was stored for them, so nothing else bounds what burying them writes, whatever
 * the budget, and where there is none. So many bytes a second are a few thousand of them, and take days to fill a drive of some hundred gigabytes.
 */
#define PAGER_DOUBTFUL_BURIALS_PER_S (1ull << 20)
/* They are buried while there is as much left as comes in this time, a quarter of what can be: what is left is for what was stored. */
#define PAGER_DOUBTFUL_BURIALS_LEAVE_S 0.5
/*
 * Metadata is written whole, however little has changed, so it may use this part of the write budget, and what changes meanwhile is told by the next write.
 * Whoever would wait for that longer than this is refused, and told when to come again; so long before it is written whoever comes waits, so nobody is left out.
 */
#define PAGER_META_SHARE 8u
#define PAGER_META_WAIT_NS QUIRE_NS_PER_S
#define PAGER_DISK_HINTS 1024u
/* Entries of a segment that is emptied, slots of a review, of one call. */
#define PAGER_DISK_STEP 1024u
/* After a failed write of metadata. */
#define PAGER_DISK_AGAIN_NS QUIRE_NS_PER_S
/* A device that takes nothing now is tried again after this, then after twice as long, and so on up to the other. */
#define PAGER_DISK_REST_NS (100 * QUIRE_NS_PER_MS)
#define PAGER_DISK_MAX_REST_NS (5 * QUIRE_NS_PER_S)
/* For want of memory and the like: so often nobody is told. */
#define PAGER_DISK_QUIET_RESTS 5u
/* Batches that take longer than this are not counted on: what else there is makes room for itself. */
#define PAGER_DISK_SILENT_NS (2 * QUIRE_NS_PER_S)

enum pager_op_kind { PAGER_OP_BATCH, PAGER_OP_READ, PAGER_OP_SEAL, PAGER_OP_META, PAGER_OP_ENTRIES };
enum pager_read_purpose { PAGER_READ_LOAD, PAGER_READ_AHEAD, PAGER_READ_REWRITE };

struct pager_load_wait; /* load.c */
struct pager_late;      /* bury.c */

/* A record that a batch carries. */
struct pager_carried {
    uint64_t sequence;
    uint32_t domain, slot;
    bool rewritten;
};

/* One thing that the daemon is asked to do. */
struct pager_op {
    struct pager_wish wish; /* first: found from its wish */
    uint64_t handle;
    uint8_t kind;
    bool asked; /* told, or about to be: counts among those in flight, unless */
    bool stuck; /* its device was lost meanwhile: nobody waits for its outcome, but its bytes are held until it has come */
    struct pager_disk_wish told;
    union {
        struct { /* BATCH */
            struct pager_log_place place;
            struct pager_carried *carried; /* one a RECORD entry */
            uint64_t record_bytes;
            bool buries; /* tombstones, and nothing else */
            bool synced; /* the batch is written, and its device being synced */
        } batch;
        struct {                          /* READ */
            struct pager_op *prev, *next; /* in a queue, while it waits for room */
            struct pager_disk_piece piece;
            struct pager_load_wait *waiting;
            struct pager_lanes part;
            uint32_t domain, slot;
            uint32_t device;     /* in whose queue it waits */
            uint64_t cost_bytes; /* for its device, as the bytes of one read: in memory its place is as large as all of the record */
            uint64_t begun_ns;
            struct { /* an entry that was told, of this place; epoch 0: none */
                uint64_t check, epoch;
                uint32_t at_units;
            } vouched;
            uint8_t purpose;
            bool loose, queued, rewrites;
        } read;
        struct { /* META: as it was taken */
            uint64_t generation;
            uint32_t serial;
        } meta;
    };
};

struct pager_tombstone {
    quire_key key;
    uint64_t sequence;
    uint32_t serial;
};

/* Somebody waits until what was deleted stays deleted. */
struct pager_barrier {
    struct pager_wish wish; /* first */
    struct pager_barrier *next;
    uint64_t cookie, buried, meta_generation;
    uint8_t status;
};

struct pager_emptying {
    uint32_t segment; /* PAGER_NO_SEGMENT: none */
    uint64_t epoch;
    struct quire_log_entry *entries;
    uint32_t n, at;
    bool asked, told; /* for the entries; they are here */
    bool swept;       /* the index was searched for what no footer told */
    bool failed;      /* the entries could not be read: they are asked for again */
    bool put_off;     /* some of it could not be read now: once more */
    uint64_t again_ns;
    uint32_t left;        /* records, when it was last looked */
    uint64_t progress_ns; /* when they became fewer */
    uint32_t clean;       /* as it began: segments, and what was ever let go */
    uint64_t dropped;
    bool crowded; /* of segments there are enough: the index needs room */
};

/* A namespace as the metadata tells of it. Shared with the picture that is being written; its bytes lie behind it. */
struct pager_charter {
    uint32_t refs;
    struct quire_meta_item item;
    uint8_t bytes[];
};

/* What the metadata file tells, and what of it is being written. */
struct pager_meta {
    struct pager_pins pins;
    struct pager_charter **kept; /* namespaces that cannot be had now, by serial: they are told all the same */
    uint32_t n_kept;
    bool sweeping; /* after the restart: pins whose block did not come go, from the last to the first */
    bool sweep_again;
    uint32_t sweep_at;           /* those below were not looked at */
    struct pager_charter **told; /* the picture */
    struct quire_meta_item *items;
    uint32_t n_told;
};

struct pager_read_queue {
    struct pager_op *first, *last;
};

/*
 * A device that takes nothing now: it rests, then one write tries it; all go on when that one ends well. Where a sync was refused, writes may end well all
 * the while, and each refused sync costs the segment that was being filled: so a sync by itself tries it first, then one write, then a sync of that.
 */
enum pager_rest_stage { PAGER_REST_WRITE, PAGER_REST_SYNC, PAGER_REST_SYNCED, PAGER_REST_PROVE };
struct pager_rest {
    uint64_t until_ns;
    uint32_t failures; /* in a row, one a try; 0: it takes what comes */
    bool lasts;        /* it has no room, or too many tries failed: whoever waits for it is told, and a stop does not wait */
    bool syncing;      /* the sync that tries it is under way */
    uint8_t stage;     /* what is to try it next; SYNCED: a write, which does not prove enough */
};

struct pager_disk_device {
    struct pager_pace pace;
    struct pager_rest rest;
    uint32_t in_flight;                  /* wishes, of its share */
    uint32_t writes;                     /* batches under way */
    uint64_t answered_ns;                /* when the last of them ended, or the first was asked for */
    uint64_t ahead_bytes;                /* read ahead, asked for or queued */
    uint64_t waiting_bytes;              /* that somebody waits for, queued */
    uint64_t clean_records, clean_bytes; /* that memory has, too */
    /* A domain's each: neither a full pool nor a slow device holds up anybody else. */
    struct pager_read_queue loads[PAGER_MAX_DOMAINS], aheads[PAGER_MAX_DOMAINS];
};

/* A pass over all slots. */
struct pager_review {
    bool on, again; /* under way, or due; another one is */
    bool unnamed;   /* there may be records that wait for the metadata to tell of their namespace */
    uint32_t domain, slot;
};

struct pager_disk {
    struct pager_disk_options options;
    struct quire_log_geometry geometry;
    struct pager_log *log;
    uint32_t *open_ticks; /* ring: when segments were opened, since the start */
    uint64_t n_opened;
    uint32_t n_devices, reserve;
    struct pager_disk_device devices[QUIRE_LOG_MAX_FILES];
    struct pager_budget budget;      /* of all that is written */
    uint64_t charged_bytes;          /* to it, ever */
    struct pager_burials burials;    /* tombstones' part of it */
    struct pager_budget meta_budget; /* metadata's */
    uint64_t keys_again_ns; /* when the deletion or the pin that was refused last for want of theirs may be tried again; 0: it was not */
    struct pager_where_nodes places;
    struct pager_disk_counters counters;
    struct pager_table ops, loads;
    uint64_t estimates; /* of loads, whose error was measured */
    double estimate_error;
    uint32_t in_flight; /* but for the stuck ones */

    /* writing */
    uint32_t writes; /* batches under way */
    uint64_t writing_bytes;
    uint64_t due_sequence, next_due_sequence; /* what was stored up to here is due */
    uint64_t due_ns;                          /* when the next of them becomes so; 0: not begun */
    uint32_t next_domain;
    bool flushing, flush_told;
    struct pager_review review;
    struct pager_wish flushed;

    /* what the index does not find */
    struct pager_remains remains;
    uint64_t tails[QUIRE_LOG_MAX_FILES];  /* of each device: what it says durably of the lowest epoch that holds anything */
    uint64_t doubts[QUIRE_LOG_MAX_FILES]; /* up to this epoch nobody knows what its segments hold; 0: everything is known */

    /* deletions and metadata */
    struct pager_tombstone *tombstones; /* ring */
    uint32_t n_tombstones, first_tombstone;
    uint64_t buried_wanted, buried; /* numbers of tombstones: given out, durable */
    uint32_t burying;               /* so many of the first are on their way to every device */
    uint32_t graves_to_dig;         /* devices that were not told yet, a bit each */
    uint32_t graves_dug;            /* under way */
    struct pager_late *late;        /* to be written anew, when there is room among the others */
    uint64_t n_late, late_up_to;    /* so many; the number of the last that found room */
    uint64_t meta_wanted, meta_durable;
    uint64_t meta_bytes;          /* of the one under way, when that is known */
    uint64_t meta_urgent;         /* up to this one it does not wait for budget */
    uint32_t meta_serial;         /* namespaces up to this serial are in the durable metadata */
    bool meta_flying, meta_fails; /* under way; the last one failed */
    uint64_t meta_again_ns;
    struct pager_meta meta;
    struct pager_barrier *first_barrier, *last_barrier;
    uint32_t n_barriers;

    /* reading */
    uint32_t read_turn; /* the device that is served next */
    uint64_t reading_bytes;
    struct pager_part_line part_lines[PAGER_PART_LINES];
    uint64_t starved; /* domains, a bit each, in which what is wanted finds no room in memory */

    /* emptying */
    struct pager_emptying emptying;
    uint32_t futile;                             /* segments emptied in a row that made no room */
    uint32_t most_clean;                         /* while it did */
    uint64_t admitted_bytes;                     /* ever, when the last one was empty */
    uint64_t rest_ns;                            /* until then none is, when those were all */
    double tokens;                               /* bytes that may be rewritten */
    uint32_t rewrites_reading, rewrites_writing; /* under way */
    bool orphans, orphans_again;                 /* a pass through the index is due, or under way; another one is */
    bool orphans_urgent;                         /* emptying waits for it */
    uint8_t rooted;                              /* PAGER_BLOCK_ROOTED as the current pass sets it */
    uint32_t orphan_cursor;
    uint64_t orphans_ns; /* when it goes on */

    /* restart */
    bool restoring;
    bool restore_failed;
    bool incomplete;                         /* not all that the log holds was told, or could be: it may be found at another start */
    uint64_t sequence_end;                   /* no number of a life up to this one is as high */
    uint32_t named_serial;                   /* no namespace that the metadata speaks for has a higher one */
    uint16_t serial_hints[PAGER_DISK_HINTS]; /* numbers of the namespaces that were asked for last, by serial */
    struct pager_arena sequences;            /* uint64_t, by block and group */
    uint32_t sequence_groups;                /* 0: no entries were told yet */
    uint64_t expected;                       /* entries that the segments have, as their trailers say */
    struct pager_index *graves;              /* tombstones found so far, their sequences as places; NULL: none */
};

/* ---- disk.c --------------------------------------------------------------------------------------------------------------- */
void pager_disk_destroy(struct pager *pager);
/* NULL: no memory, or too many. */
struct pager_op *pager_op_new(struct pager *pager, enum pager_op_kind kind);
void pager_op_free(struct pager *pager, struct pager_op *op);
void pager_op_ask(struct pager *pager, struct pager_op *op, enum pager_event_type type);
void pager_op_unask(struct pager *pager, struct pager_op *op); /* it ended, and goes on */
uint32_t pager_devices_in_use(const struct pager_disk *disk);
/* Has the device room for one more wish? */
bool pager_device_takes(const struct pager_disk *disk, uint32_t device, bool read);
/* Of pager_next_event and pager_complete. */
void pager_op_tell(const struct pager_op *op, struct pager_event *event);
void pager_op_ended(struct pager *pager, uint64_t ticket, enum quire_status status);
/* Does what can be done now; called at the end of whatever changes something, and by every tick. */
void pager_disk_pump(struct pager *pager);
uint64_t pager_disk_deadline(const struct pager *pager);
/* To be written: of the budget. Written: counted. */
void pager_write_charge(struct pager *pager, uint64_t bytes);
void pager_write_taken(struct pager *pager, uint64_t bytes);
void pager_demoted(struct pager *pager, uint64_t bytes);
void pager_disk_check(const struct pager *pager);
uint64_t pager_disk_memory(const struct pager *pager);

/* ---- dirty.c -------------------------------------------------------------------------------------------------------------- */
/* A record was published: it is to be written. Nothing without a disk. */
void pager_dirty_enter(struct pager *pager, struct pager_domain *domain, uint32_t slot);
/* One that was so before; `first`: before all others, because its segment is being emptied. */
void pager_dirty_again(struct pager *pager, struct pager_domain *domain, uint32_t slot, bool first);
void pager_dirty_leave(struct pager_domain *domain, uint32_t slot);
/* It is not written after all: only memory has it. */
void pager_dirty_decline(struct pager *pager, struct pager_domain *domain, uint32_t slot);
void pager_write_give_up(struct pager *pager, uint32_t n); /* of what is dirty, when there is no device any more: only memory has it */
/* The segment has the same bytes; and not any more. */
void pager_clean_enter(struct pager *pager, struct pager_record *record, uint32_t segment);
void pager_clean_leave(struct pager *pager, struct pager_record *record);

/* ---- rest.c --------------------------------------------------------------------------------------------------------------- */
bool pager_device_rests(const struct pager *pager, uint32_t device);
/* Devices, a bit each, that do not answer or refused what was written last. */
uint32_t pager_devices_doubtful(const struct pager *pager);
/* When it will be one that does not answer; UINT64_MAX: it answers, or is one. */
uint64_t pager_silent_ns(const struct pager *pager, uint32_t device);
/* Each device rests, or leaves unanswered what it was given: to wait until somebody gives that one up would be in vain as well. */
bool pager_none_answers(const struct pager *pager);
/* No device takes anything now; `lasting`: and none is likely to, soon. */
bool pager_all_rest(const struct pager *pager, bool lasting);
/* How a write or a sync ended; `synced`: all that was written to the device was to be synced, too. */
void pager_rest_note(struct pager *pager, uint32_t device, enum quire_status status, bool synced);
/* Devices whose syncs were refused: is that over? */
void pager_rest_try_syncs(struct pager *pager);

/* ---- write.c -------------------------------------------------------------------------------------------------------------- */
/* A record leaves its block while it is written: the log will hold it, and the index not find it. */
void pager_write_left(struct pager *pager, const struct pager_record *record);
void pager_write_pump(struct pager *pager);
void pager_write_due(struct pager *pager);
/* One that was given up because the metadata did not tell of its namespace: it is to be written, if it does now. */
void pager_write_named(struct pager *pager, struct pager_domain *domain, uint32_t slot);
/* A batch of tombstones ended, or its sync did. */
void pager_bury_written(struct pager *pager, const struct pager_op *op, enum quire_status status);

/* ---- written.c ------------------------------------------------------------------------------------------------------------ */
uint64_t pager_op_bytes(const struct pager *pager, const struct pager_op *op); /* that a batch or a seal writes */
void pager_write_ended(struct pager *pager, struct pager_op *op, enum quire_status status);
void pager_write_stuck(struct pager *pager, struct pager_op *op); /* see pager_op.stuck */
void pager_seal_ended(struct pager *pager, struct pager_op *op, enum quire_status status);

/* ---- review.c ------------------------------------------------------------------------------------------------------------- */
/*
 * Stranded: it is clean, and its place went with its device. It becomes dirty, so that another device takes it, by the pass or when it is about to leave memory, whichever
 * comes first; until then it counts among what is to be written.
 */
bool pager_is_stranded(const struct pager *pager, const struct pager_record *record);
void pager_stranded(const struct pager *pager, uint64_t *records, uint64_t *bytes);
bool pager_rescue(struct pager *pager, uint32_t block); /* what of it is stranded; true: some was */
void pager_review_expect(struct pager *pager);
void pager_review_pump(struct pager *pager); /* once a tick */

/* ---- bury.c --------------------------------------------------------------------------------------------------------------- */
/*
 * Is a tombstone needed, so that the deletion lasts? What the log does not hold cannot come back. `block` may be NO_BLOCK: the log may
 * hold what the index has forgotten, or has not found yet.
 */
bool pager_needs_grave(const struct pager *pager, const struct pager_ns *ns, const quire_key *key, uint32_t block);
void pager_bury(struct pager *pager, const struct pager_ns *ns, const quire_key *key);
/*
 * A deletion that was found in a segment of a lower epoch than what it buries, which only damage brings about: that one would be emptied first, so it is written
 * anew, as it is. However many of such there are, all wait for their turn, and until they are written nothing is emptied, unless they have no other place to go to.
 */
void pager_bury_again(struct pager *pager, const struct pager_ns *ns, const quire_key *key, uint64_t sequence);
void pager_bury_late(struct pager *pager); /* those for which there is room now join the others */
bool pager_late_wait(const struct pager_disk *disk);
uint64_t pager_late_bytes(const struct pager_disk *disk);
void pager_late_free(struct pager_disk *disk);
/* May these be deleted now? Then the tombstones that they need are paid for. RETRY: not now, for want of room or of budget. */
enum quire_status pager_may_bury(struct pager *pager, struct pager_session *s, const struct pager_ns *ns, const uint8_t *keys,
                                 uint32_t n_keys);
void pager_burials_set(struct pager_burials *burials, const struct pager_budget *of, uint32_t share, uint64_t doubtful_per_s,
                       uint64_t now_ns);
void pager_meta_budget_set(struct pager *pager);
uint64_t pager_meta_due_ns(const struct pager *pager);
/* RETRY: not for long, for want of budget. */
enum quire_status pager_may_tell_pins(struct pager *pager);
void pager_meta_changed(struct pager *pager);
void pager_meta_urgent(struct pager *pager); /* in a way that deletions count on */
void pager_meta_pump(struct pager *pager);
void pager_meta_ended(struct pager *pager, struct pager_op *op, enum quire_status status);
void pager_buried(struct pager *pager, enum quire_status status); /* every device has those that were on their way; or there is none */
void pager_burying_failed(struct pager *pager);                   /* it is tried again; whoever waits is told */
void pager_barrier_tell(struct pager *pager, struct pager_wish *wish, struct pager_event *event);
/* Whoever waits goes on waiting until metadata as it is wanted now is durable, too. */
void pager_barriers_wait_for_meta(struct pager *pager);
void pager_barriers_free(struct pager *pager);

/* ---- meta.c --------------------------------------------------------------------------------------------------------------- */
/* What the metadata file is to say of a block that is indexed. False: no memory, and nothing has changed. 0 always succeeds. */
bool pager_pin_tell(struct pager *pager, struct pager_ns *ns, const quire_key *key, uint32_t before, uint32_t times);
/* While the log is read, and when not all of it was: how often a block is pinned that was not found yet. */
uint32_t pager_pin_waits(const struct pager *pager, const struct pager_ns *ns, const quire_key *key);
bool pager_pin_wait(struct pager *pager, struct pager_ns *ns, const quire_key *key, uint32_t times); /* false: no memory */
/* The block was found, or stored anew: pins that waited for it are its own. */
void pager_pin_arrived(struct pager *pager, uint32_t block);
/* The block is gone, but while the log is read it may be found again: its pins wait. */
void pager_pin_left(struct pager *pager, uint32_t block);
void pager_pins_expect(struct pager *pager); /* all has been found: pins that still wait go */
void pager_pins_pump(struct pager *pager);   /* a bounded number of them a call */
void pager_meta_given_back(struct pager *pager);
/* Would one more namespace be more than the metadata tells of? */
bool pager_meta_has_room(const struct pager *pager);
enum quire_status pager_kept_delete(struct pager *pager, const char *name);
void pager_meta_free(struct pager *pager);

/* ---- read.c --------------------------------------------------------------------------------------------------------------- */
/* An AWAY record is wanted in memory. NULL: no memory. The op is there until the read has ended. */
struct pager_op *pager_read_want(struct pager *pager, struct pager_domain *domain, uint32_t slot, enum pager_read_purpose purpose);
/* A part of the record: a loose slot of its own, READING until it is there. */
struct pager_op *pager_read_loose(struct pager *pager, struct pager_domain *domain, const struct pager_record *record,
                                  const struct pager_lanes *part, uint32_t *slot);
struct pager_op *pager_read_of(const struct pager *pager, const struct pager_record *record); /* of a LOADING one */
void pager_read_ahead(struct pager *pager, struct pager_domain *domain, uint32_t slot);
void pager_read_promote(struct pager *pager, struct pager_op *op); /* read ahead, and now somebody waits */
/* When it is there it is written again, with a sum of its own then: so it must be what the entry in the segment that is emptied vouches for. */
void pager_read_rewrites(struct pager *pager, struct pager_op *op, const struct quire_log_entry *entry);
void pager_read_unwanted(struct pager *pager, struct pager_op *op); /* one who waited does not any more: perhaps it is given up */
void pager_read_pump(struct pager *pager);
void pager_read_ended(struct pager *pager, struct pager_op *op, enum quire_status status);
void pager_read_stuck(struct pager *pager, struct pager_op *op);
/* How long until the block's record at `where` would be there, behind ahead_bytes[device] that are asked for before it; which it adds to. */
uint64_t pager_read_estimate(const struct pager *pager, const struct pager_domain *domain, uint32_t block, const struct pager_where *where,
                             uint64_t *ahead_bytes);
/* A record's place on disk goes: its segment is emptied, or went with its device, and then a copy in memory is to be written elsewhere. */
void pager_disk_forget(struct pager *pager, uint32_t block, uint32_t group);
/* What lies there is damaged, or cannot be read: likewise. */
void pager_disk_rotten(struct pager *pager, uint32_t block, uint32_t group);

/* ---- load.c --------------------------------------------------------------------------------------------------------------- */
void pager_load_landed(struct pager *pager, struct pager_op *op, enum quire_status status, uint32_t slot);
void pager_loads_end(struct pager *pager, struct pager_lease *lease);
void pager_load_late(struct pager *pager, struct pager_timer *timer);
void pager_load_tell(struct pager *pager, struct pager_wish *wish, struct pager_event *event);
void pager_loads_free(struct pager *pager);

/* ---- empty.c -------------------------------------------------------------------------------------------------------------- */
void pager_empty_pump(struct pager *pager);
void pager_entries_ended(struct pager *pager, struct pager_op *op, enum quire_status status);
void pager_entries_stuck(struct pager *pager, struct pager_op *op);
void pager_empty_admitted(struct pager *pager, uint64_t bytes);                            /* written for the first time: earns rewriting */
void pager_empty_arrived(struct pager *pager, struct pager_domain *domain, uint32_t slot); /* read to be rewritten */
/* A block is gone that others continue. */
void pager_orphans_expect(struct pager *pager);
void pager_orphans_pump(struct pager *pager);

/* The namespace that has this serial, NULL: none any more. */
struct pager_ns *pager_ns_of_serial(const struct pager *pager, uint32_t serial);
enum quire_status pager_ns_restore(struct pager *pager, const struct quire_meta_item *item, const quire_layout *layout, uint32_t domain);

/* ---- restore.c ------------------------------------------------------------------------------------------------------------ */
void pager_restore_free(struct pager *pager);
/*
 * While the index is restored, and when not all was told, each place that was found has its record's sequence, by which older and newer ones are told apart. It goes with its place, and with what
 * memory has of it, whatever becomes of the place: what a client stores there has none, so nothing that is found counts as newer, and no deletion that is found
 * buries it.
 */
void pager_restore_left(struct pager *pager, uint32_t block, uint32_t group);               /* a place, or a record in memory */
uint64_t pager_restore_sequence(const struct pager *pager, uint32_t block, uint32_t group); /* 0: what there is was not found */
/* Deleted while the log is still being read. */
void pager_restore_bury(struct pager *pager, const struct pager_tombstone *tombstone);

#endif
