/*
 * The pool's allocator: variable-size extents in one range of bytes that it never touches.
 *
 * Deterministic (equal calls give equal offsets: the pager can be replayed), bounded in time, free neighbours merge at once, no decay
 * timers, no hole punching (the range may be registered with a device). Its books lie outside the pool, so whoever scribbles
 * on pool memory cannot harm it. Extents that nobody reads may be moved: when free bytes suffice but no hole does,
 * pager_pool_plan names the cheapest window to clear. Not thread-safe: the pager's own.
 */
#ifndef PAGER_POOL_H
#define PAGER_POOL_H

#include "proto/base/base.h"

#define PAGER_POOL_GRANULE 1024u
#define PAGER_NO_EXTENT UINT32_MAX

struct pager_pool;

/* size_bytes is rounded down to whole granules; INVALID below 64 KiB. */
enum quire_status pager_pool_create(uint64_t size_bytes, struct pager_pool **pool);
void pager_pool_destroy(struct pager_pool **pool);

/* OK and an extent of at least `bytes` (rounded up to a granule), or FULL: no hole is large enough. `owner` is what pager_pool_plan
   tells about it. Extents start free of any window being cleared (see below). */
enum quire_status pager_pool_alloc(struct pager_pool *pool, uint64_t bytes, uint32_t owner, uint32_t *extent);
void pager_pool_free(struct pager_pool *pool, uint32_t extent);
uint64_t pager_pool_offset(const struct pager_pool *pool, uint32_t extent);
uint64_t pager_pool_size(const struct pager_pool *pool, uint32_t extent);

struct pager_pool_stats {
    uint64_t capacity_bytes, used_bytes, free_bytes, largest_free_bytes;
    uint64_t extents, holes;
    uint64_t books_bytes; /* memory that the allocator itself takes */
};
void pager_pool_stats(const struct pager_pool *pool, struct pager_pool_stats *stats);

/*
 * Compaction. pager_pool_plan looks for the window of at least `bytes` that costs fewest bytes to clear, asking may_move(ctx, owner)
 * for each extent in it; at most max_moves extents (never more than 64), a bounded scan that continues where the last one stopped. On OK
 * the window is closed to allocation until pager_pool_plan_end, and moves[0..*n_moves) are the extents to move away, largest first. For
 * each: allocate elsewhere, copy, free the old one. When the last is freed the window is one hole, and pager_pool_plan_end opens it.
 * There was a place for each move when the plan was made; if another allocation has taken it since, end the plan and make a new one.
 * *n_moves is 0 when a large enough hole is there already. FULL: no such window was found. One plan at a time.
 */
typedef bool pager_pool_may_move(void *ctx, uint32_t owner);
enum quire_status pager_pool_plan(struct pager_pool *pool, uint64_t bytes, pager_pool_may_move *may_move, void *ctx, uint32_t *moves,
                                  uint32_t max_moves, uint32_t *n_moves);
void pager_pool_plan_end(struct pager_pool *pool);
uint32_t pager_pool_owner(const struct pager_pool *pool, uint32_t extent);

/* Asserts every invariant (tests, and the simulator after each step): neighbours, bins, sums. */
void pager_pool_check(const struct pager_pool *pool);

#endif
