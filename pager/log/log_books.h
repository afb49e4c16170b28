/*
 * The log's books as log*.c share them. Internal to pager/log.
 *
 * A segment costs a row of 56 bytes and a place in the order of emptying. Entries are kept only until their segment's footer is written, in a draft.
 */
#ifndef PAGER_LOG_BOOKS_H
#define PAGER_LOG_BOOKS_H

#include "pager/log/log.h"

/* What a footer will hold. Entries lie in the order of their batches, so that a batch's are found by its place. */
struct pager_log_draft {
    uint32_t segment, n, capacity;
    uint64_t tail; /* as its header tells it; 0: there is none, or it could not be written */
    bool doubted;  /* since it was given */
    bool given;    /* to whoever writes the footer: it stays until he is done, also when its device is lost meanwhile */
    struct quire_log_entry *entries;
    struct pager_log_draft *next;
};

struct pager_log_row {
    struct pager_segment s;
    struct pager_log_draft *draft;
    uint32_t next_clean;
    bool emptied;
    bool broken;   /* a batch or a sync of it failed */
    bool headless; /* the first batch did, which brings the header, or the sync */
    bool opening;  /* its header goes alone, and so far there is no more of it */
};
static_assert(sizeof(struct pager_log_row) + sizeof(uint32_t) <= 64, "memory for each segment");

struct pager_log_device {
    uint32_t first, n; /* its segments */
    uint32_t open;
    uint32_t first_clean, last_clean, n_clean; /* in the order in which they became so: wear goes round */
    uint64_t tail;                             /* the highest that a header of the device tells which was synced since the start */
    bool in_use;
};

struct pager_log {
    struct pager_log_shape shape;
    struct pager_log_device devices[QUIRE_LOG_MAX_FILES];
    struct pager_log_row *rows;
    uint32_t n_rows;
    /* A ring of all segments that hold something, by epoch: the next to be emptied first. */
    uint32_t *order;
    uint32_t first_order, n_order;
    bool sorted, begun;
    struct pager_log_draft *first_draft, *last_draft; /* by epoch */
    uint32_t n_clean, n_open, n_unknown;
    uint32_t turn; /* the device whose turn it is */
    uint32_t held_back, set_aside;
    uint32_t emptying;
    uint64_t epoch;
    uint64_t gap; /* left out before the next one: see pager_log_found */
};

static inline uint32_t pager_log_ordered(const struct pager_log *log, uint32_t i) {
    return log->order[((uint64_t)log->first_order + i) % log->n_rows];
}
/* Puts the segments found at start in order; once, before the first use of the order. */
void pager_log_settle(struct pager_log *log);
/* Clean segments on devices that are not set aside. */
uint32_t pager_log_ready(const struct pager_log *log);
void pager_log_add_clean(struct pager_log *log, uint32_t segment);
/* A SEALING segment in which nothing was ever written is CLEAN again. */
void pager_log_discard(struct pager_log *log, uint32_t segment);
/* An OPEN segment takes no more. */
void pager_log_full(struct pager_log *log, uint32_t segment);
void pager_log_drop_draft(struct pager_log *log, uint32_t segment);

#endif
