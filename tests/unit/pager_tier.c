/* The host tier's ops: the contract of pager/tier.h, as any tier that comes after it must keep it. */
#include "pager/tier.h"

#include <criterion/criterion.h>

#define KIB 1024ull

/* Space is reserved, told where it is, counted and given back. */
Test(tier, reserves_and_releases) {
    const struct pager_tier_ops *ops = &pager_tier_host;
    struct pager_tier *tier;
    cr_assert_eq(ops->create(1, &tier), QUIRE_INVALID);
    cr_assert_null(tier);
    cr_assert_eq(ops->create(1024 * KIB, &tier), QUIRE_OK);
    uint32_t a, b;
    cr_assert_eq(ops->reserve(tier, 600 * KIB, 1, &a), QUIRE_OK);
    cr_assert_eq(ops->reserve(tier, 600 * KIB, 2, &b), QUIRE_FULL);
    cr_assert_eq(ops->reserve(tier, 424 * KIB, 2, &b), QUIRE_OK);
    cr_assert_neq(ops->offset(tier, a), ops->offset(tier, b));
    struct pager_tier_stats stats;
    ops->stats(tier, &stats);
    cr_assert(stats.capacity_bytes == 1024 * KIB && stats.used_bytes == 1024 * KIB && stats.free_bytes == 0 && stats.books_bytes > 0);
    ops->release(tier, a);
    ops->stats(tier, &stats);
    cr_assert(stats.free_bytes == 600 * KIB && stats.largest_free_bytes == 600 * KIB);
    ops->check(tier);
    ops->destroy(&tier);
    cr_assert_null(tier);
    ops->destroy(&tier);
}

static bool any_may_move(void *ctx, uint32_t owner) {
    (void)ctx;
    (void)owner;
    return true;
}

/* A plan names owners, not extents: the pager knows its records. */
Test(tier, plans_by_owner) {
    const struct pager_tier_ops *ops = &pager_tier_host;
    struct pager_tier *tier;
    cr_assert_eq(ops->create(1024 * KIB, &tier), QUIRE_OK);
    uint32_t extent[8];
    for (uint32_t i = 0; i < 8; i++) {
        cr_assert_eq(ops->reserve(tier, 128 * KIB, 100 + i, &extent[i]), QUIRE_OK);
    }
    ops->release(tier, extent[2]);
    ops->release(tier, extent[4]);
    ops->release(tier, extent[7]);
    uint32_t owners[4], n, to;
    cr_assert_eq(ops->plan(tier, 256 * KIB, any_may_move, NULL, owners, 4, &n), QUIRE_OK);
    cr_assert_eq(n, 1);
    cr_assert_eq(ops->reserve(tier, 128 * KIB, owners[0], &to), QUIRE_OK);
    ops->release(tier, extent[owners[0] - 100]);
    ops->plan_end(tier);
    ops->check(tier);
    struct pager_tier_stats stats;
    ops->stats(tier, &stats);
    cr_assert_geq(stats.largest_free_bytes, 256 * KIB);
    ops->destroy(&tier);
}
