/*
 * The pool in a long life: records of mixed sizes come and the oldest go, some are read again and stay, some are leased and may
 * not move. After ten turnovers almost all of the pool still holds live bytes, 2 MiB puts succeed, and little is moved for it.
 * Only books: no byte is touched.
 */
#include "pager/pool.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>
#include <math.h>

#define KIB 1024ull
#define MIB (1024 * KIB)
#define POOL_BYTES (512 * MIB)
#define RESERVE_BYTES (POOL_BYTES / 25) /* kept free ahead of demand */
#define TURNOVERS 12
#define MEASURED_AFTER 10
#define MAX_RECORDS 32768u
#define NONE UINT32_MAX

struct record {
    uint32_t extent, older, newer;
    uint32_t place; /* in live[] */
    uint64_t bytes, leased_until;
};

struct store {
    struct pager_pool *pool;
    struct dice dice;
    struct record record[MAX_RECORDS];
    uint32_t spare[MAX_RECORDS], n_spare;
    uint32_t live[MAX_RECORDS], n_live;
    uint32_t oldest, newest;
    uint64_t now; /* puts so far */
    uint64_t live_bytes, stored_bytes, moved_bytes, moves, plans, plans_failed, evicted_for_a_hole;
    double least_usable, sum_usable, samples;
};

typedef uint64_t sizes(struct dice *dice);

static uint64_t log_uniform(struct dice *dice) { return (uint64_t)((double)(20 * KIB) * exp(dice_unit(dice) * log(2048.0 / 20))); }
static uint64_t uniform(struct dice *dice) { return 20 * KIB + dice_below(dice, 2028 * KIB + 1); }
static uint64_t small_and_huge(struct dice *dice) { return dice_below(dice, 2) ? 2 * MIB : 20 * KIB + dice_below(dice, 100 * KIB); }
/* What five models' blocks might weigh. */
static uint64_t five_models(struct dice *dice) {
    static const uint64_t bytes[] = {20 * KIB, 72 * KIB + 640, 580 * KIB, 1160 * KIB, 2 * MIB};
    return bytes[dice_below(dice, 5)];
}

static struct store *store_made(struct dice dice) {
    struct store *store = calloc(1, sizeof(*store));
    cr_assert_not_null(store);
    cr_assert_eq(pager_pool_create(POOL_BYTES, &store->pool), QUIRE_OK);
    store->dice = dice;
    store->oldest = store->newest = NONE;
    store->least_usable = 1;
    while (store->n_spare < MAX_RECORDS) {
        store->spare[store->n_spare] = MAX_RECORDS - 1 - store->n_spare;
        store->n_spare++;
    }
    return store;
}

static void age_unlink(struct store *store, uint32_t r) {
    struct record *record = &store->record[r];
    *(record->older == NONE ? &store->oldest : &store->record[record->older].newer) = record->newer;
    *(record->newer == NONE ? &store->newest : &store->record[record->newer].older) = record->older;
}

static void age_append(struct store *store, uint32_t r) {
    struct record *record = &store->record[r];
    record->older = store->newest;
    record->newer = NONE;
    *(store->newest == NONE ? &store->oldest : &store->record[store->newest].newer) = r;
    store->newest = r;
}

static bool is_free_to_move(void *ctx, uint32_t owner) {
    const struct store *store = ctx;
    return store->record[owner].leased_until <= store->now;
}

static void evict_oldest(struct store *store) {
    uint32_t r = store->oldest;
    while (r != NONE && !is_free_to_move(store, r)) {
        r = store->record[r].newer;
    }
    cr_assert_neq(r, NONE);
    struct record *record = &store->record[r];
    pager_pool_free(store->pool, record->extent);
    age_unlink(store, r);
    store->live_bytes -= record->bytes;
    store->live[record->place] = store->live[--store->n_live];
    store->record[store->live[record->place]].place = record->place;
    store->spare[store->n_spare++] = r;
}

/* Carries a plan out. A plan that is given can be: every move finds its place. */
static bool compact(struct store *store, uint64_t bytes) {
    uint32_t moves[64], n;
    store->plans++;
    if (pager_pool_plan(store->pool, bytes, is_free_to_move, store, moves, 64, &n) != QUIRE_OK) {
        store->plans_failed++;
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t owner = pager_pool_owner(store->pool, moves[i]), to;
        struct record *record = &store->record[owner];
        cr_assert(record->extent == moves[i] && is_free_to_move(store, owner));
        cr_assert_eq(pager_pool_alloc(store->pool, record->bytes, owner, &to), QUIRE_OK);
        pager_pool_free(store->pool, moves[i]);
        record->extent = to;
        store->moved_bytes += record->bytes;
        store->moves++;
    }
    pager_pool_plan_end(store->pool);
    return true;
}

static uint64_t free_bytes(const struct store *store) {
    struct pager_pool_stats stats;
    pager_pool_stats(store->pool, &stats);
    return stats.free_bytes;
}

static void put(struct store *store, uint64_t bytes) {
    store->now++;
    while (free_bytes(store) < RESERVE_BYTES + bytes) {
        evict_oldest(store);
    }
    uint32_t r = store->spare[--store->n_spare];
    struct record *record = &store->record[r];
    while (pager_pool_alloc(store->pool, bytes, r, &record->extent) != QUIRE_OK) {
        if (!compact(store, bytes)) {
            evict_oldest(store);
            store->evicted_for_a_hole++;
        }
    }
    bool leased = dice_below(&store->dice, 100) < 3;
    record->leased_until = leased ? store->now + dice_below(&store->dice, store->n_live + 1) : 0;
    record->bytes = bytes;
    record->place = store->n_live;
    store->live[store->n_live++] = r;
    age_append(store, r);
    store->live_bytes += bytes;
    store->stored_bytes += bytes;
    if (dice_below(&store->dice, 2)) { /* something is read again and goes later */
        uint32_t again = store->live[dice_below(&store->dice, store->n_live)];
        age_unlink(store, again);
        age_append(store, again);
    }
    if (store->stored_bytes > MEASURED_AFTER * POOL_BYTES) {
        double usable = (double)store->live_bytes / POOL_BYTES;
        store->least_usable = usable < store->least_usable ? usable : store->least_usable;
        store->sum_usable += usable;
        store->samples++;
    }
}

static void live_long(const char *name, sizes *next_size) {
    struct store *store = store_made(dice_printed(name));
    while (store->stored_bytes < TURNOVERS * POOL_BYTES) {
        put(store, next_size(&store->dice));
        if (store->now % 1024 == 0) {
            pager_pool_check(store->pool);
        }
    }
    for (unsigned i = 0; i < 32; i++) {
        put(store, 2 * MIB);
    }
    pager_pool_check(store->pool);
    double moved = (double)store->moved_bytes / (double)store->stored_bytes;
    fprintf(stderr,
            "%s: usable %.4f at least, %.4f on average; %.3f bytes moved a byte stored; %llu plans, %llu failed, %llu evicted for a hole\n",
            name, store->least_usable, store->sum_usable / store->samples, moved, (unsigned long long)store->plans,
            (unsigned long long)store->plans_failed, (unsigned long long)store->evicted_for_a_hole);
    cr_expect_geq(store->least_usable, 0.92);
    cr_expect_geq(store->sum_usable / store->samples, 0.95);
    cr_expect_lt(moved, 0.5);
    pager_pool_destroy(&store->pool);
    free(store);
}

/* Sizes spread evenly over the octaves: most records are small. */
Test(churn, log_uniform_sizes) { live_long("churn, log_uniform_sizes", log_uniform); }
/* Sizes spread evenly: most bytes are in records too large for the holes that others leave. The hardest. */
Test(churn, uniform_sizes) { live_long("churn, uniform_sizes", uniform); }
/* Half of the puts take a hundred times the room of the others. */
Test(churn, small_and_huge) { live_long("churn, small_and_huge", small_and_huge); }
/* A few sizes that never change, as models have them. */
Test(churn, five_models) { live_long("churn, five_models", five_models); }
