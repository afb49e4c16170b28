/*
 * Reads what a segment holds: its footer when it has one, else it walks from batch to batch, up to the first that does not check. Where
 * something lies that is no head, batches may follow still: it is looked for them, some way, because of the deletions that they tell; their
 * records do not count.
 *
 * A walk that verifies reads every record, too, and takes none from the first one on that is not whole; deletions (tombstones) are taken
 * from every head that checks: forgetting a record costs a miss, forgetting a deletion would bring back what was deleted. Loop thread; sums
 * run on the work pool.
 */
#ifndef DAEMON_DISK_WALK_H
#define DAEMON_DISK_WALK_H

#include "daemon/disk/device.h"

/* For `footer_at`: places of footers are never these. */
#define WALK_LOOK_FOR_FOOTER 0u
#define WALK_NO_FOOTER UINT32_MAX

struct walk {
    /* The caller's */
    struct disk_env *env;
    uint32_t segment;
    uint64_t epoch;     /* what bears another one is left over from before */
    uint32_t footer_at; /* in units, or one of the above */
    bool verify;        /* a walk reads the records, too */
    bool keep;          /* memory that a footer was read to stays with it, for walk_again */
    void (*done)(struct walk *walk);
    void *ctx;
    /* The outcome */
    enum quire_status status; /* OK; SYSTEM: a read failed; NO_MEMORY: in both cases the entries are those found before */
    bool put_off;             /* it stands still, because a read failed as pager_is_passing tells, `status`: walk_resume, or walk_free */
    int error;                /* errno of a read that failed, also where the walk went on */
    struct quire_log_entry *entries;
    uint32_t n_entries;
    uint32_t n_bad;      /* records that were left out, or, with verify, have a size of 0 */
    uint32_t used_units; /* where the last batch ends */
    bool walked;         /* no footer */
    uint64_t read_bytes;
    /* Inside */
    struct work work;
    struct disk_op op;
    struct iovec iov;
    uint8_t *memory;
    uint32_t memory_units, read_units; /* memory_units stays right while memory is kept */
    uint32_t capacity, at_units;
    struct quire_log_batch batch;
    struct quire_log_entry *heads;  /* of the batch that is looked at */
    uint32_t n_good;                /* of the batch */
    uint32_t search_at, search_end; /* for the next head; 0: it is where it should be */
    bool lost, unread;              /* a head was not where it should be; something could not be read */
    enum quire_status verdict;      /* the job's */
};

/* `done` follows, perhaps at once; the walk is its caller's again then. */
void walk_begin(struct walk *walk);
/* Does the read once more for which it was put off; `done` follows again. */
void walk_resume(struct walk *walk);
/* Frees what the outcome holds, what was kept, and what one that was cut off had. */
void walk_free(struct walk *walk);
/* Makes a walk whose outcome nobody needs any more into another one, which begins with the memory that it kept. */
void walk_again(struct walk *walk, const struct walk *as);

#endif
