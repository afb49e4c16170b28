/* The pool's allocator: never hands out a byte twice, joins what is freed, answers the same to the same, and makes room by moving. */
#include "pager/pool.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

#define KIB 1024ull
#define MIB (1024 * KIB)

static struct pager_pool *pool_made(uint64_t bytes) {
    struct pager_pool *pool;
    cr_assert_eq(pager_pool_create(bytes, &pool), QUIRE_OK);
    pager_pool_check(pool);
    return pool;
}

static uint32_t alloc_ok(struct pager_pool *pool, uint64_t bytes) {
    uint32_t extent;
    cr_assert_eq(pager_pool_alloc(pool, bytes, 0, &extent), QUIRE_OK);
    pager_pool_check(pool);
    return extent;
}

static uint64_t largest_free(const struct pager_pool *pool) {
    struct pager_pool_stats stats;
    pager_pool_stats(pool, &stats);
    return stats.largest_free_bytes;
}

/* The whole pool can be handed out, once; sizes are rounded up to a granule. */
Test(pool, hands_out_all_of_itself) {
    struct pager_pool *pool = pool_made(MIB + 100);
    uint32_t a = alloc_ok(pool, 1), b = alloc_ok(pool, MIB - KIB), c;
    cr_assert_eq(pager_pool_size(pool, a), KIB);
    cr_assert_eq(pager_pool_size(pool, b), MIB - KIB);
    cr_assert_eq(pager_pool_alloc(pool, 1, 0, &c), QUIRE_FULL);
    cr_assert_eq(c, PAGER_NO_EXTENT);
    struct pager_pool_stats stats;
    pager_pool_stats(pool, &stats);
    cr_assert(stats.capacity_bytes == MIB && stats.used_bytes == MIB && stats.free_bytes == 0);
    cr_assert(stats.largest_free_bytes == 0 && stats.extents == 2 && stats.holes == 0);
    pager_pool_free(pool, a);
    pager_pool_free(pool, b);
    pager_pool_check(pool);
    cr_assert_eq(largest_free(pool), MIB);
    pager_pool_destroy(&pool);
    cr_assert_null(pool);
    pager_pool_destroy(&pool);
}

/* What makes no sense is refused: pools too small or too large to count, extents of nothing or of more than the pool. */
Test(pool, refuses_nonsense) {
    struct pager_pool *pool;
    cr_assert_eq(pager_pool_create(64 * KIB - 1, &pool), QUIRE_INVALID);
    cr_assert_eq(pager_pool_create(UINT64_MAX, &pool), QUIRE_INVALID);
    cr_assert_null(pool);
    pool = pool_made(64 * KIB);
    uint32_t extent;
    cr_assert_eq(pager_pool_alloc(pool, 0, 0, &extent), QUIRE_INVALID);
    cr_assert_eq(pager_pool_alloc(pool, 64 * KIB + 1, 0, &extent), QUIRE_FULL);
    cr_assert_eq(pager_pool_alloc(pool, UINT64_MAX, 0, &extent), QUIRE_FULL);
    pager_pool_destroy(&pool);
}

/* Whichever way three neighbours are freed, what remains is one hole. */
Test(pool, free_neighbours_join_at_once) {
    static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (unsigned o = 0; o < 6; o++) {
        struct pager_pool *pool = pool_made(MIB);
        uint32_t e[5];
        for (unsigned i = 0; i < 5; i++) {
            e[i] = alloc_ok(pool, 100 * KIB);
        }
        for (unsigned i = 0; i < 3; i++) {
            pager_pool_free(pool, e[1 + orders[o][i]]);
            pager_pool_check(pool);
        }
        uint32_t again = alloc_ok(pool, 300 * KIB);
        cr_assert_eq(pager_pool_offset(pool, again), 100 * KIB);
        pager_pool_destroy(&pool);
    }
}

/* A request takes the smallest hole that holds it, not the first. */
Test(pool, takes_the_best_hole) {
    struct pager_pool *pool = pool_made(16 * MIB);
    static const uint64_t sizes[] = {900, 501, 500, 502, 700};
    uint32_t e[5];
    uint64_t offset[5];
    for (unsigned i = 0; i < 5; i++) {
        e[i] = alloc_ok(pool, sizes[i] * KIB);
        offset[i] = pager_pool_offset(pool, e[i]);
        alloc_ok(pool, KIB);
    }
    for (unsigned i = 0; i < 5; i++) {
        pager_pool_free(pool, e[i]);
    }
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 500 * KIB)), offset[2]);
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 500 * KIB)), offset[1]);
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 600 * KIB)), offset[4]);
    pager_pool_destroy(&pool);
}

/* Holes above 4 MiB share bins: still the best of them is taken, and the only one that fits is found behind many that do not. */
Test(pool, finds_large_holes) {
    enum { N = 12 };
    static const uint64_t kib[N] = {4200, 4150, 4110, 4100, 4100, 4100, 4100, 4100, 4100, 4100, 4100, 4100};
    struct pager_pool *pool = pool_made(13 * 4096 * KIB);
    uint32_t e[N], rest;
    uint64_t offset[N];
    for (unsigned i = 0; i < N; i++) {
        e[i] = alloc_ok(pool, kib[i] * KIB);
        offset[i] = pager_pool_offset(pool, e[i]);
        alloc_ok(pool, KIB);
    }
    cr_assert_eq(pager_pool_alloc(pool, largest_free(pool), 0, &rest), QUIRE_OK);
    for (unsigned i = 0; i < N; i++) {
        pager_pool_free(pool, e[i]);
    }
    cr_assert_eq(pager_pool_alloc(pool, 4201 * KIB, 0, &rest), QUIRE_FULL);
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 4180 * KIB)), offset[0]);
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 4105 * KIB)), offset[2]);
    pager_pool_destroy(&pool);
    pool = pool_made(16 * 4096 * KIB);
    static const uint64_t few[] = {4200, 4120, 4160};
    for (unsigned i = 0; i < 3; i++) {
        e[i] = alloc_ok(pool, few[i] * KIB);
        offset[i] = pager_pool_offset(pool, e[i]);
        alloc_ok(pool, KIB);
    }
    for (unsigned i = 0; i < 3; i++) {
        pager_pool_free(pool, e[i]);
    }
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 4120 * KIB)), offset[1]);
    cr_assert_eq(pager_pool_offset(pool, alloc_ok(pool, 4130 * KIB)), offset[2]);
    pager_pool_destroy(&pool);
}

static bool owner_may_move(void *ctx, uint32_t owner) { return owner != *(uint32_t *)ctx; }

/* No hole is large enough, free bytes are: the plan names what to move, the window stays closed while it is, then is one hole. */
Test(pool, plan_makes_one_hole) {
    struct pager_pool *pool = pool_made(4 * MIB);
    uint32_t e[8], moves[16], n, extent, nobody = 99;
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_eq(pager_pool_alloc(pool, 512 * KIB, i, &e[i]), QUIRE_OK);
    }
    pager_pool_free(pool, e[1]);
    pager_pool_free(pool, e[3]);
    pager_pool_free(pool, e[6]);
    cr_assert_eq(pager_pool_alloc(pool, MIB, 0, &extent), QUIRE_FULL);
    cr_assert_eq(pager_pool_plan(pool, MIB, owner_may_move, &nobody, moves, 16, &n), QUIRE_OK);
    pager_pool_check(pool);
    cr_assert_eq(n, 1);
    uint32_t owner = pager_pool_owner(pool, moves[0]);
    uint64_t bytes = pager_pool_size(pool, moves[0]);
    cr_assert_eq(pager_pool_alloc(pool, bytes, owner, &extent), QUIRE_OK);
    pager_pool_free(pool, moves[0]);
    pager_pool_check(pool);
    cr_assert_lt(largest_free(pool), MIB); /* still closed */
    pager_pool_plan_end(pool);
    pager_pool_check(pool);
    cr_assert_geq(largest_free(pool), MIB);
    alloc_ok(pool, MIB);
    pager_pool_destroy(&pool);
}

/* What is read stays: the plan goes round it, and says FULL when it cannot. */
Test(pool, plan_respects_what_may_not_move) {
    struct pager_pool *pool = pool_made(4 * MIB);
    uint32_t e[8], moves[16], n;
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_eq(pager_pool_alloc(pool, 512 * KIB, i == 2 ? 2 : 7, &e[i]), QUIRE_OK);
    }
    pager_pool_free(pool, e[1]);
    pager_pool_free(pool, e[3]);
    uint32_t leased = 7; /* all but the third */
    cr_assert_eq(pager_pool_plan(pool, MIB + 512 * KIB, owner_may_move, &leased, moves, 16, &n), QUIRE_FULL);
    cr_assert_eq(n, 0);
    cr_assert_eq(pager_pool_plan(pool, 3 * MIB, owner_may_move, &leased, moves, 16, &n), QUIRE_FULL);
    leased = 2; /* only the third */
    cr_assert_eq(pager_pool_plan(pool, MIB, owner_may_move, &leased, moves, 16, &n), QUIRE_OK);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_neq(moves[i], e[2]);
    }
    pager_pool_plan_end(pool);
    pager_pool_check(pool);
    pager_pool_destroy(&pool);
}

/* A hole that is there costs nothing: the plan closes it and names no move. Nor does a window need more moves than allowed. */
Test(pool, plan_is_cheap_and_small) {
    struct pager_pool *pool = pool_made(4 * MIB);
    uint32_t e[16], moves[16], n, nobody = 99;
    cr_assert_eq(pager_pool_plan(pool, MIB, owner_may_move, &nobody, moves, 16, &n), QUIRE_OK);
    cr_assert_eq(n, 0);
    cr_assert_eq(largest_free(pool), 0); /* all of it is closed */
    pager_pool_plan_end(pool);
    cr_assert_eq(largest_free(pool), 4 * MIB);
    for (unsigned i = 0; i < 16; i++) {
        uint64_t bytes = i == 3 ? 256 * KIB - 16 * KIB : i == 4 ? 256 * KIB + 16 * KIB : 256 * KIB;
        cr_assert_eq(pager_pool_alloc(pool, bytes, i, &e[i]), QUIRE_OK);
    }
    static const unsigned holes[] = {0, 2, 4, 9, 11, 14}; /* clearing 3 costs least; 3 and 1 are two moves */
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(holes); i++) {
        pager_pool_free(pool, e[holes[i]]);
    }
    cr_assert_eq(pager_pool_plan(pool, 640 * KIB, owner_may_move, &nobody, moves, 16, &n), QUIRE_OK);
    cr_assert(n == 1 && moves[0] == e[3]);
    pager_pool_plan_end(pool);
    cr_assert_eq(pager_pool_plan(pool, 640 * KIB, owner_may_move, &nobody, moves, 0, &n), QUIRE_FULL);
    cr_assert_eq(pager_pool_plan(pool, 1024 * KIB, owner_may_move, &nobody, moves, 1, &n), QUIRE_FULL);
    cr_assert_eq(pager_pool_plan(pool, 1024 * KIB, owner_may_move, &nobody, moves, 16, &n), QUIRE_OK);
    cr_assert_eq(n, 2);
    pager_pool_plan_end(pool);
    pager_pool_check(pool);
    pager_pool_destroy(&pool);
}

/* The cheapest window is no use when what is in it fits nowhere else: a dearer one is taken. */
Test(pool, plan_can_be_carried_out) {
    enum { WALL = 1, RECORD = 2, HOLE = 3 };
    static const struct {
        uint32_t kib, owner;
    } layout[] = {{10, WALL}, {400, HOLE}, {310, RECORD}, {10, WALL}, {250, HOLE}, {160, RECORD}, {160, RECORD}, {200, HOLE}, {10, WALL}};
    struct pager_pool *pool = pool_made(1510 * KIB);
    uint32_t e[QUIRE_ARRAY_LEN(layout)], moves[8], n, wall = WALL, to[2];
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(layout); i++) {
        cr_assert_eq(pager_pool_alloc(pool, layout[i].kib * KIB, layout[i].owner, &e[i]), QUIRE_OK);
    }
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(layout); i++) {
        if (layout[i].owner == HOLE) {
            pager_pool_free(pool, e[i]);
        }
    }
    cr_assert_eq(pager_pool_plan(pool, 700 * KIB, owner_may_move, &wall, moves, 8, &n), QUIRE_OK);
    cr_assert_eq(n, 2);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(pager_pool_size(pool, moves[i]), 160 * KIB);
        cr_assert_eq(pager_pool_alloc(pool, 160 * KIB, RECORD, &to[i]), QUIRE_OK);
        pager_pool_free(pool, moves[i]);
    }
    pager_pool_plan_end(pool);
    pager_pool_check(pool);
    alloc_ok(pool, 700 * KIB);
    pager_pool_destroy(&pool);
}

/* One search looks at a part of a large pool; the next goes on from there, whatever was joined meanwhile. */
Test(pool, plan_goes_on_where_it_stopped) {
    enum { N = 8192 };
    struct pager_pool *pool = pool_made(N * KIB);
    static uint32_t e[N];
    uint32_t moves[8], n, wall = 1;
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_eq(pager_pool_alloc(pool, KIB, i < 5000 ? wall : 0, &e[i]), QUIRE_OK);
    }
    pager_pool_free(pool, e[10]);
    pager_pool_free(pool, e[6000]);
    pager_pool_free(pool, e[6002]);
    unsigned plans = 1;
    while (pager_pool_plan(pool, 3 * KIB, owner_may_move, &wall, moves, 8, &n) != QUIRE_OK) {
        cr_assert_leq(++plans, 5);
        for (uint32_t i = 2040; plans == 2 && i < 2060; i++) { /* what it stopped at becomes part of a larger hole */
            if (i % 3 != 0) {
                pager_pool_free(pool, e[i]);
                pager_pool_check(pool);
            }
        }
    }
    cr_assert_geq(plans, 3);
    cr_assert(n == 1 && moves[0] == e[6001]);
    pager_pool_plan_end(pool);
    pager_pool_check(pool);
    pager_pool_destroy(&pool);
}

static bool all_may_move(void *ctx, uint32_t owner) {
    (void)ctx;
    (void)owner;
    return true;
}

/* Folds everything that a life of the pool answers into one number. */
static uint64_t life_digest(uint64_t seed) {
    enum { MOST = 6000 };
    static uint32_t extent[MOST];
    struct dice dice = {.state = seed};
    struct pager_pool *pool = pool_made(64 * MIB);
    uint32_t n = 0, moves[64], n_moves;
    uint64_t digest = 0;
    for (unsigned step = 0; step < 40000; step++) {
        uint64_t bytes = 1 + dice_below(&dice, dice_below(&dice, 400) ? 16 * KIB : 8 * MIB);
        if (n < MOST && dice_below(&dice, 100) < (step / 8000 % 2 ? 35 : 80)) { /* it fills, and empties again */
            enum quire_status status = pager_pool_alloc(pool, bytes, step, &extent[n]);
            digest = digest * 0x9e3779b97f4a7c15ull + (status == QUIRE_OK ? pager_pool_offset(pool, extent[n]) : 1);
            n += status == QUIRE_OK;
            if (status != QUIRE_OK && pager_pool_plan(pool, bytes, all_may_move, NULL, moves, 64, &n_moves) == QUIRE_OK) {
                digest = digest * 0x9e3779b97f4a7c15ull + (n_moves > 0 ? pager_pool_offset(pool, moves[0]) : 2);
                pager_pool_plan_end(pool);
            }
        } else if (n > 0) {
            uint32_t gone = (uint32_t)dice_below(&dice, n);
            pager_pool_free(pool, extent[gone]);
            extent[gone] = extent[--n];
        }
    }
    pager_pool_destroy(&pool);
    return digest;
}

/* Equal calls give equal answers: a daemon's life can be replayed. */
Test(pool, same_calls_same_answers) {
    struct dice dice = dice_printed("pool, same_calls_same_answers");
    uint64_t seed = dice_next(&dice);
    cr_assert_eq(life_digest(seed), life_digest(seed));
    cr_assert_neq(life_digest(seed), life_digest(seed + 1));
}

/* ---- random, against a map of granules ------------------------------------------------------------------------------------ */

#define MAP_GRANULES 4096u
#define MAP_EXTENTS 512u

struct reference {
    struct pager_pool *pool;
    uint32_t n;
    uint32_t extent[MAP_EXTENTS];
    uint64_t offset[MAP_EXTENTS], size[MAP_EXTENTS];
    bool leased[MAP_EXTENTS];
    uint8_t map[MAP_GRANULES]; /* 1: handed out */
};

static void reference_mark(struct reference *ref, uint64_t offset, uint64_t size, uint8_t value) {
    for (uint64_t g = offset / KIB; g < (offset + size) / KIB; g++) {
        cr_assert_neq(ref->map[g], value);
        ref->map[g] = value;
    }
}

static uint64_t reference_largest(const struct reference *ref) {
    uint64_t run = 0, best = 0;
    for (uint32_t g = 0; g < MAP_GRANULES; g++) {
        run = ref->map[g] ? 0 : run + 1;
        best = run > best ? run : best;
    }
    return best * KIB;
}

static bool reference_add(struct reference *ref, uint64_t bytes) {
    uint32_t slot = ref->n;
    if (slot == MAP_EXTENTS) {
        return false;
    }
    enum quire_status status = pager_pool_alloc(ref->pool, bytes, slot, &ref->extent[slot]);
    if (status != QUIRE_OK) {
        cr_assert_eq(status, QUIRE_FULL);
        cr_assert_lt(reference_largest(ref), bytes); /* nothing that fits is overlooked */
        return false;
    }
    ref->offset[slot] = pager_pool_offset(ref->pool, ref->extent[slot]);
    ref->size[slot] = pager_pool_size(ref->pool, ref->extent[slot]);
    ref->leased[slot] = false;
    cr_assert(ref->size[slot] >= bytes && ref->size[slot] < bytes + KIB);
    reference_mark(ref, ref->offset[slot], ref->size[slot], 1);
    ref->n++;
    return true;
}

static void reference_drop(struct reference *ref, uint32_t slot) {
    reference_mark(ref, ref->offset[slot], ref->size[slot], 0);
    pager_pool_free(ref->pool, ref->extent[slot]);
    ref->n--;
    ref->extent[slot] = ref->extent[ref->n];
    ref->offset[slot] = ref->offset[ref->n];
    ref->size[slot] = ref->size[ref->n];
    ref->leased[slot] = ref->leased[ref->n];
}

static uint32_t reference_slot(const struct reference *ref, uint32_t extent) {
    uint32_t slot = 0;
    while (slot < ref->n && ref->extent[slot] != extent) {
        slot++;
    }
    cr_assert_lt(slot, ref->n);
    return slot;
}

/* Owners in this story are the slots at allocation, which dropping shuffles: it asks by a table of its own. */
static bool reference_may_move(void *ctx, uint32_t owner) {
    const struct reference *ref = ctx;
    return owner % 8 != 3 || ref->n == 0;
}

/* Makes room as the pager would; what the plan promised must hold to the byte. */
static void reference_compact(struct reference *ref, uint64_t bytes) {
    uint32_t moves[32], n;
    if (pager_pool_plan(ref->pool, bytes, reference_may_move, ref, moves, 32, &n) != QUIRE_OK) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t owner = pager_pool_owner(ref->pool, moves[i]), extent;
        cr_assert(reference_may_move(ref, owner));
        uint32_t slot = reference_slot(ref, moves[i]);
        cr_assert_eq(pager_pool_alloc(ref->pool, ref->size[slot], owner, &extent), QUIRE_OK);
        uint64_t offset = pager_pool_offset(ref->pool, extent);
        reference_mark(ref, offset, ref->size[slot], 1);
        pager_pool_free(ref->pool, moves[i]);
        reference_mark(ref, ref->offset[slot], ref->size[slot], 0);
        ref->extent[slot] = extent;
        ref->offset[slot] = offset;
        pager_pool_check(ref->pool);
    }
    pager_pool_plan_end(ref->pool);
    pager_pool_check(ref->pool);
    cr_assert_geq(largest_free(ref->pool), bytes);
    cr_assert(reference_add(ref, bytes));
}

/* Random sizes from tiny to huge, freed at random, now and then compacted: the map of granules agrees after each step. */
Test(pool, agrees_with_a_map_of_granules) {
    struct dice dice = dice_printed("pool, agrees_with_a_map_of_granules");
    static struct reference ref;
    memset(&ref, 0, sizeof(ref));
    ref.pool = pool_made(MAP_GRANULES * KIB);
    for (unsigned step = 0; step < 20000; step++) {
        uint64_t bytes = 1 + dice_below(&dice, 1ull << (8 + dice_below(&dice, 13)));
        uint64_t roll = dice_below(&dice, 100);
        if (roll < 52) {
            if (!reference_add(&ref, bytes) && roll < 26) {
                reference_compact(&ref, bytes);
            }
        } else if (ref.n > 0) {
            reference_drop(&ref, (uint32_t)dice_below(&dice, ref.n));
        }
        pager_pool_check(ref.pool);
        cr_assert_eq(largest_free(ref.pool), reference_largest(&ref));
    }
    while (ref.n > 0) {
        reference_drop(&ref, ref.n - 1);
    }
    cr_assert_eq(largest_free(ref.pool), MAP_GRANULES * KIB);
    pager_pool_destroy(&ref.pool);
}
