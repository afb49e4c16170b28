/* The host tier: one pool of memory that clients may map. Its books are the pool allocator's. */
#include "pager/pool.h"
#include "pager/tier.h"

#include <stdlib.h>

#define TIER_HOST_MAGIC 0x51544853u

struct pager_tier {
    uint32_t magic;
    struct pager_pool *pool;
};

static struct pager_pool *pool_of(const struct pager_tier *tier) {
    QUIRE_MAGIC_CHECK(tier, TIER_HOST_MAGIC);
    return tier->pool;
}

static enum quire_status host_create(uint64_t capacity_bytes, struct pager_tier **tier) {
    *tier = NULL;
    struct pager_tier *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return QUIRE_NO_MEMORY;
    }
    made->magic = TIER_HOST_MAGIC;
    enum quire_status status = pager_pool_create(capacity_bytes, &made->pool);
    if (status != QUIRE_OK) {
        free(made);
        return status;
    }
    *tier = made;
    return QUIRE_OK;
}

static void host_destroy(struct pager_tier **tier) {
    if (*tier == NULL) {
        return;
    }
    QUIRE_MAGIC_CHECK(*tier, TIER_HOST_MAGIC);
    pager_pool_destroy(&(*tier)->pool);
    (*tier)->magic = 0;
    free(*tier);
    *tier = NULL;
}

static enum quire_status host_reserve(struct pager_tier *tier, uint64_t bytes, uint32_t owner, uint32_t *extent) {
    return pager_pool_alloc(pool_of(tier), bytes, owner, extent);
}

static void host_release(struct pager_tier *tier, uint32_t extent) { pager_pool_free(pool_of(tier), extent); }

static uint64_t host_offset(const struct pager_tier *tier, uint32_t extent) { return pager_pool_offset(pool_of(tier), extent); }

/* The pool names extents, a tier their owners. */
static enum quire_status host_plan(struct pager_tier *tier, uint64_t bytes, pager_tier_may_move *may_move, void *ctx, uint32_t *owners,
                                   uint32_t max, uint32_t *n) {
    QUIRE_FORWARD(pager_pool_plan(pool_of(tier), bytes, may_move, ctx, owners, max, n));
    for (uint32_t i = 0; i < *n; i++) {
        owners[i] = pager_pool_owner(tier->pool, owners[i]);
    }
    return QUIRE_OK;
}

static void host_plan_end(struct pager_tier *tier) { pager_pool_plan_end(pool_of(tier)); }

static void host_stats(const struct pager_tier *tier, struct pager_tier_stats *stats) {
    struct pager_pool_stats pool;
    pager_pool_stats(pool_of(tier), &pool);
    *stats = (struct pager_tier_stats){
        .capacity_bytes = pool.capacity_bytes,
        .used_bytes = pool.used_bytes,
        .free_bytes = pool.free_bytes,
        .largest_free_bytes = pool.largest_free_bytes,
        .books_bytes = pool.books_bytes + sizeof(*tier),
    };
}

static void host_check(const struct pager_tier *tier) { pager_pool_check(pool_of(tier)); }

const struct pager_tier_ops pager_tier_host = {
    .name = "host",
    .create = host_create,
    .destroy = host_destroy,
    .reserve = host_reserve,
    .release = host_release,
    .offset = host_offset,
    .plan = host_plan,
    .plan_end = host_plan_end,
    .stats = host_stats,
    .check = host_check,
};
