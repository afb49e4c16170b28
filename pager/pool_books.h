/*
 * The pool's books, shared by pool.c (allocate, free) and pool_plan.c (compaction).
 *
 * The range is a doubly linked list of spans in address order, each an extent or a hole; two holes never touch, except at the edges of
 * a window being cleared. Holes hang in bins: one bin a size up to 4 MiB, so that the best fit is one bitmap search, sixteen bins an
 * octave above. Internal to pager/.
 */
#ifndef PAGER_POOL_BOOKS_H
#define PAGER_POOL_BOOKS_H

#include "pager/arena.h"
#include "pager/pool.h"

#define POOL_MAGIC 0x51504f4cu
#define POOL_NO_SPAN UINT32_MAX
#define POOL_EXACT_BINS 4096u
#define POOL_EXACT_SHIFT 12u
#define POOL_OCTAVE_SHIFT 4u
#define POOL_BINS (POOL_EXACT_BINS + ((32u - POOL_EXACT_SHIFT) << POOL_OCTAVE_SHIFT))
#define POOL_BIN_WORDS ((POOL_BINS + 63) / 64)

enum span_state {
    SPAN_SPARE,  /* a number not in use */
    SPAN_EXTENT, /* handed out */
    SPAN_HOLE,   /* free, in its bin */
    SPAN_CLOSED  /* free, inside the window being cleared, in no bin */
};

struct span {
    uint32_t at, size;           /* granules */
    uint32_t before, after;      /* neighbours in address order */
    uint32_t bin_prev, bin_next; /* SPAN_HOLE: in its bin; SPAN_SPARE: bin_next links the spare ones */
    uint32_t owner;
    uint32_t state; /* enum span_state */
};
static_assert(sizeof(struct span) == 32, "two spans a cache line");

struct pager_pool {
    uint32_t magic;
    struct pager_arena spans;
    uint32_t spans_used, spare_head;
    uint32_t first; /* the span at offset 0, always there */
    uint32_t size, used;
    uint32_t n_extents, n_holes, n_closed;
    /* The window being cleared: [window_from, window_to) in granules; none when equal. */
    uint32_t window_from, window_to;
    uint32_t window_first; /* its first span: stays that, whatever joins inside */
    uint32_t rover;        /* where the next plan begins to look */
    uint64_t bits[POOL_BIN_WORDS];
    uint64_t summary[(POOL_BIN_WORDS + 63) / 64];
    uint32_t head[POOL_BINS];
};

static inline struct span *pool_span(const struct pager_pool *pool, uint32_t span) { return (struct span *)pool->spans.base + span; }
static inline bool pool_in_window(const struct pager_pool *pool, uint32_t at) { return at >= pool->window_from && at < pool->window_to; }

/* The largest hole's size in granules; 0: there is none. */
uint32_t pool_largest_hole(const struct pager_pool *pool);
enum quire_status pool_take(struct pager_pool *pool, uint32_t size, uint32_t owner, uint32_t *extent);
void pool_give(struct pager_pool *pool, uint32_t extent);
void pool_bin_insert(struct pager_pool *pool, uint32_t hole);
void pool_bin_remove(struct pager_pool *pool, uint32_t hole);
/* Joins two free spans that touch, into the first; both are in no bin. */
void pool_join(struct pager_pool *pool, uint32_t span, uint32_t after);

#endif
