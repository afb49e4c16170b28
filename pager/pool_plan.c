/*
 * Compaction: which extents to move so that one hole of the wanted size comes to be.
 *
 * Two fingers walk the spans in address order and keep the cheapest run that is long enough. Extents that may not move, or for which no hole
 * elsewhere is large enough, are walls. What was found is then tried: every extent of the run is placed elsewhere in the
 * books and taken back, so a plan that is handed out can be carried out; one that cannot be placed becomes a wall too.
 */
#include "pager/pool_books.h"

/* Spans that one search walks, and searches that one plan makes. */
#define PLAN_SPANS 2048u
#define PLAN_TRIES 6u
#define PLAN_MOVES 64u

struct search {
    struct pager_pool *pool;
    pager_pool_may_move *may_move;
    void *ctx;
    uint32_t wanted; /* granules */
    uint32_t max_moves;
    uint32_t wall_size; /* extents of this size and larger find no place */
};

struct run {
    uint32_t first, last;
    uint32_t span, cost; /* granules: whole, occupied */
    uint32_t moves;
};

static bool is_wall(const struct search *search, const struct span *span) {
    return span->state == SPAN_EXTENT && (span->size >= search->wall_size || !search->may_move(search->ctx, span->owner));
}

static void run_extend(struct run *run, const struct span *span) {
    bool extent = span->state == SPAN_EXTENT;
    run->span += span->size;
    run->cost += extent ? span->size : 0;
    run->moves += extent;
}

static void run_drop_first(struct run *run, const struct span *span) {
    bool extent = span->state == SPAN_EXTENT;
    run->span -= span->size;
    run->cost -= extent ? span->size : 0;
    run->moves -= extent;
    run->first = span->after;
}

/* The cheapest run among the spans that follow `start`; cost UINT32_MAX: none. `*stop` is where the walk ended. */
static struct run search_walk(const struct search *search, uint32_t start, uint32_t *stop) {
    const struct pager_pool *pool = search->pool;
    struct run best = {.cost = UINT32_MAX}, run = {.first = start};
    uint32_t s = start;
    for (uint32_t walked = 0; s != POOL_NO_SPAN && walked < PLAN_SPANS; walked++) {
        const struct span *span = pool_span(pool, s);
        if (is_wall(search, span)) {
            run = (struct run){.first = span->after};
            s = span->after;
            continue;
        }
        run_extend(&run, span);
        run.last = s;
        while (run.first != s) {
            const struct span *first = pool_span(pool, run.first);
            if (run.moves <= search->max_moves && run.span - first->size < search->wanted) {
                break;
            }
            run_drop_first(&run, first);
        }
        if (run.span >= search->wanted && run.moves <= search->max_moves && run.cost < best.cost) {
            best = run;
        }
        s = span->after;
    }
    *stop = s == POOL_NO_SPAN ? pool->first : s;
    return best;
}

static void window_close(struct pager_pool *pool, const struct run *run) {
    pool->window_from = pool_span(pool, run->first)->at;
    pool->window_to = pool->window_from + run->span;
    pool->window_first = run->first;
    uint32_t s = run->first;
    for (uint32_t end = pool_span(pool, run->last)->after; s != end; s = pool_span(pool, s)->after) {
        if (pool_span(pool, s)->state == SPAN_HOLE) {
            pool_bin_remove(pool, s);
            pool_span(pool, s)->state = SPAN_CLOSED;
            pool->n_closed++;
        }
    }
}

/* The run's extents, largest first: the hard ones choose their places before the holes are cut. */
static uint32_t run_moves(const struct pager_pool *pool, const struct run *run, uint32_t *moves) {
    uint32_t n = 0;
    uint32_t s = run->first;
    for (uint32_t end = pool_span(pool, run->last)->after; s != end; s = pool_span(pool, s)->after) {
        const struct span *span = pool_span(pool, s);
        if (span->state != SPAN_EXTENT) {
            continue;
        }
        uint32_t i = n++;
        for (; i > 0 && pool_span(pool, moves[i - 1])->size < span->size; i--) {
            moves[i] = moves[i - 1];
        }
        moves[i] = s;
    }
    return n;
}

/* Places the moves in the books and takes them back. Tells the first that found no place, or n. */
static uint32_t moves_try(struct pager_pool *pool, const uint32_t *moves, uint32_t n) {
    uint32_t placed[PLAN_MOVES];
    uint32_t fit = 0;
    while (fit < n && pool_take(pool, pool_span(pool, moves[fit])->size, UINT32_MAX, &placed[fit]) == QUIRE_OK) {
        fit++;
    }
    for (uint32_t i = fit; i-- > 0;) {
        pool_give(pool, placed[i]);
    }
    return fit;
}

enum quire_status pager_pool_plan(struct pager_pool *pool, uint64_t bytes, pager_pool_may_move *may_move, void *ctx, uint32_t *moves,
                                  uint32_t max_moves, uint32_t *n_moves) {
    assert(pool->window_from == pool->window_to);
    *n_moves = 0;
    uint64_t wanted = (bytes + PAGER_POOL_GRANULE - 1) / PAGER_POOL_GRANULE;
    if (bytes == 0 || wanted > pool->size - pool->used) {
        return QUIRE_FULL;
    }
    struct search search = {
        .pool = pool,
        .may_move = may_move,
        .ctx = ctx,
        .wanted = (uint32_t)wanted,
        .max_moves = max_moves < PLAN_MOVES ? max_moves : PLAN_MOVES,
        .wall_size = pool_largest_hole(pool) + 1,
    };
    uint32_t start = pool->rover, stop = start;
    for (uint32_t tries = 0; tries < PLAN_TRIES; tries++) {
        struct run run = search_walk(&search, start, &stop);
        if (run.cost == UINT32_MAX) {
            break;
        }
        window_close(pool, &run);
        *n_moves = run_moves(pool, &run, moves);
        uint32_t fit = moves_try(pool, moves, *n_moves);
        if (fit == *n_moves) {
            pool->rover = stop;
            return QUIRE_OK;
        }
        search.wall_size = pool_span(pool, moves[fit])->size;
        pager_pool_plan_end(pool);
        *n_moves = 0;
    }
    pool->rover = stop;
    return QUIRE_FULL;
}

/* What is free in the window becomes holes again, joined with free neighbours beyond its edges. */
void pager_pool_plan_end(struct pager_pool *pool) {
    uint32_t to = pool->window_to;
    uint32_t s = pool->window_from == to ? POOL_NO_SPAN : pool->window_first;
    pool->window_from = pool->window_to = 0;
    for (; s != POOL_NO_SPAN && pool_span(pool, s)->at < to; s = pool_span(pool, s)->after) {
        if (pool_span(pool, s)->state != SPAN_CLOSED) {
            continue;
        }
        pool->n_closed--;
        uint32_t before = pool_span(pool, s)->before, after = pool_span(pool, s)->after;
        if (after != POOL_NO_SPAN && pool_span(pool, after)->state == SPAN_HOLE) {
            pool_bin_remove(pool, after);
            pool_join(pool, s, after);
        }
        if (before != POOL_NO_SPAN && pool_span(pool, before)->state == SPAN_HOLE) {
            pool_bin_remove(pool, before);
            pool_join(pool, before, s);
            s = before;
        }
        pool_bin_insert(pool, s);
    }
}
