#include "pager/pool_books.h"

#include <stdlib.h>

#define MIN_POOL_BYTES (64ull << 10)
#define SPANS_HUGE_FROM (4ull << 20)
/* Holes of one coarse bin that are looked at for the best of them. */
#define COARSE_LOOKS 8u

/* ---- bins ------------------------------------------------------------------------------------------------------------- */

static uint32_t bin_of(uint32_t size) {
    if (size < POOL_EXACT_BINS) {
        return size;
    }
    uint32_t octave = 31u - (uint32_t)__builtin_clz(size);
    uint32_t step = size >> (octave - POOL_OCTAVE_SHIFT) & ((1u << POOL_OCTAVE_SHIFT) - 1);
    return POOL_EXACT_BINS + ((octave - POOL_EXACT_SHIFT) << POOL_OCTAVE_SHIFT) + step;
}

void pool_bin_insert(struct pager_pool *pool, uint32_t hole) {
    struct span *span = pool_span(pool, hole);
    uint32_t bin = bin_of(span->size);
    span->state = SPAN_HOLE;
    span->bin_prev = POOL_NO_SPAN;
    span->bin_next = pool->head[bin];
    if (span->bin_next != POOL_NO_SPAN) {
        pool_span(pool, span->bin_next)->bin_prev = hole;
    }
    pool->head[bin] = hole;
    pool->bits[bin / 64] |= 1ull << bin % 64;
    pool->summary[bin / 4096] |= 1ull << bin / 64 % 64;
    pool->n_holes++;
}

void pool_bin_remove(struct pager_pool *pool, uint32_t hole) {
    struct span *span = pool_span(pool, hole);
    assert(span->state == SPAN_HOLE);
    uint32_t bin = bin_of(span->size);
    if (span->bin_prev != POOL_NO_SPAN) {
        pool_span(pool, span->bin_prev)->bin_next = span->bin_next;
    } else {
        pool->head[bin] = span->bin_next;
    }
    if (span->bin_next != POOL_NO_SPAN) {
        pool_span(pool, span->bin_next)->bin_prev = span->bin_prev;
    }
    if (pool->head[bin] == POOL_NO_SPAN) {
        pool->bits[bin / 64] &= ~(1ull << bin % 64);
        if (pool->bits[bin / 64] == 0) {
            pool->summary[bin / 4096] &= ~(1ull << bin / 64 % 64);
        }
    }
    pool->n_holes--;
}

/* The first bin ≥ `bin` with a hole in it; POOL_BINS: none. */
static uint32_t bin_from(const struct pager_pool *pool, uint32_t bin) {
    if (bin >= POOL_BINS) {
        return POOL_BINS;
    }
    uint64_t word = pool->bits[bin / 64] & ~0ull << bin % 64;
    if (word != 0) {
        return bin / 64 * 64 + (uint32_t)__builtin_ctzll(word);
    }
    uint32_t next = bin / 64 + 1;
    for (uint32_t s = next / 64; s < QUIRE_ARRAY_LEN(pool->summary); s++) {
        uint64_t words = pool->summary[s] & (s == next / 64 ? ~0ull << next % 64 : ~0ull);
        if (words != 0) {
            uint32_t w = s * 64 + (uint32_t)__builtin_ctzll(words);
            return w * 64 + (uint32_t)__builtin_ctzll(pool->bits[w]);
        }
    }
    return POOL_BINS;
}

/* The smallest of a bin's first `looks` holes that hold `size`. */
static uint32_t bin_best(const struct pager_pool *pool, uint32_t bin, uint32_t size, uint32_t looks) {
    uint32_t best = POOL_NO_SPAN;
    for (uint32_t h = pool->head[bin]; h != POOL_NO_SPAN && looks > 0; h = pool_span(pool, h)->bin_next, looks--) {
        uint32_t found = pool_span(pool, h)->size;
        if (found >= size && (best == POOL_NO_SPAN || found < pool_span(pool, best)->size)) {
            best = h;
        }
        if (found == size) {
            break;
        }
    }
    return best;
}

static uint32_t hole_for(const struct pager_pool *pool, uint32_t size) {
    uint32_t own = bin_of(size);
    uint32_t bin = bin_from(pool, own);
    if (bin == POOL_BINS) {
        return POOL_NO_SPAN;
    }
    uint32_t hole = bin_best(pool, bin, size, bin < POOL_EXACT_BINS ? 1 : COARSE_LOOKS);
    if (hole != POOL_NO_SPAN) {
        return hole;
    }
    /* The coarse bin of its own size seems to hold smaller ones only: any of the next bin fits. */
    bin = bin_from(pool, own + 1);
    return bin != POOL_BINS ? bin_best(pool, bin, size, COARSE_LOOKS) : bin_best(pool, own, size, UINT32_MAX);
}

uint32_t pool_largest_hole(const struct pager_pool *pool) {
    for (uint32_t w = POOL_BIN_WORDS; w-- > 0;) {
        if (pool->bits[w] == 0) {
            continue;
        }
        uint32_t bin = w * 64 + 63u - (uint32_t)__builtin_clzll(pool->bits[w]);
        uint32_t largest = 0;
        for (uint32_t h = pool->head[bin]; h != POOL_NO_SPAN; h = pool_span(pool, h)->bin_next) {
            uint32_t size = pool_span(pool, h)->size;
            largest = size > largest ? size : largest;
            if (bin < POOL_EXACT_BINS) {
                break;
            }
        }
        return largest;
    }
    return 0;
}

/* ---- spans ------------------------------------------------------------------------------------------------------------ */

static enum quire_status span_new(struct pager_pool *pool, uint32_t *span) {
    if (pool->spare_head != POOL_NO_SPAN) {
        *span = pool->spare_head;
        pool->spare_head = pool_span(pool, *span)->bin_next;
        return QUIRE_OK;
    }
    QUIRE_FORWARD(pager_arena_grow(&pool->spans, ((uint64_t)pool->spans_used + 1) * sizeof(struct span)));
    *span = pool->spans_used++;
    return QUIRE_OK;
}

static void span_retire(struct pager_pool *pool, uint32_t span) {
    struct span *gone = pool_span(pool, span);
    gone->state = SPAN_SPARE;
    gone->bin_next = pool->spare_head;
    pool->spare_head = span;
}

void pool_join(struct pager_pool *pool, uint32_t span, uint32_t after) {
    struct span *left = pool_span(pool, span), *right = pool_span(pool, after);
    assert(left->after == after && left->at + left->size == right->at);
    left->size += right->size;
    left->after = right->after;
    if (right->after != POOL_NO_SPAN) {
        pool_span(pool, right->after)->before = span;
    }
    if (pool->rover == after) {
        pool->rover = span;
    }
    span_retire(pool, after);
}

/* Cuts `span` (in no bin) to `size`; what is left over becomes a hole behind it. */
static enum quire_status span_cut(struct pager_pool *pool, uint32_t span, uint32_t size) {
    struct span *whole = pool_span(pool, span);
    if (whole->size == size) {
        return QUIRE_OK;
    }
    uint32_t rest;
    QUIRE_FORWARD(span_new(pool, &rest));
    *pool_span(pool, rest) = (struct span){
        .at = whole->at + size,
        .size = whole->size - size,
        .before = span,
        .after = whole->after,
        .owner = UINT32_MAX,
    };
    if (whole->after != POOL_NO_SPAN) {
        pool_span(pool, whole->after)->before = rest;
    }
    whole->after = rest;
    whole->size = size;
    pool_bin_insert(pool, rest);
    return QUIRE_OK;
}

enum quire_status pool_take(struct pager_pool *pool, uint32_t size, uint32_t owner, uint32_t *extent) {
    uint32_t hole = hole_for(pool, size);
    if (hole == POOL_NO_SPAN) {
        return QUIRE_FULL;
    }
    pool_bin_remove(pool, hole);
    enum quire_status status = span_cut(pool, hole, size);
    if (status != QUIRE_OK) {
        pool_bin_insert(pool, hole);
        return status;
    }
    struct span *taken = pool_span(pool, hole);
    taken->state = SPAN_EXTENT;
    taken->owner = owner;
    pool->used += size;
    pool->n_extents++;
    *extent = hole;
    return QUIRE_OK;
}

/* Free neighbours join at once; those on either side of a window's edge wait until it opens. */
void pool_give(struct pager_pool *pool, uint32_t extent) {
    struct span *span = pool_span(pool, extent);
    assert(span->state == SPAN_EXTENT);
    uint32_t state = pool_in_window(pool, span->at) ? SPAN_CLOSED : SPAN_HOLE;
    pool->used -= span->size;
    pool->n_extents--;
    pool->n_closed += state == SPAN_CLOSED;
    uint32_t after = span->after, before = span->before;
    if (after != POOL_NO_SPAN && pool_span(pool, after)->state == state) {
        if (state == SPAN_HOLE) {
            pool_bin_remove(pool, after);
        }
        pool->n_closed -= state == SPAN_CLOSED;
        pool_join(pool, extent, after);
    }
    span->state = state;
    span->owner = UINT32_MAX;
    if (before != POOL_NO_SPAN && pool_span(pool, before)->state == state) {
        if (state == SPAN_HOLE) {
            pool_bin_remove(pool, before);
        }
        pool->n_closed -= state == SPAN_CLOSED;
        pool_join(pool, before, extent);
        extent = before;
    }
    if (state == SPAN_HOLE) {
        pool_bin_insert(pool, extent);
    }
}

/* ---- the pool --------------------------------------------------------------------------------------------------------- */

static enum quire_status pool_init(struct pager_pool *pool, uint32_t size) {
    pool->magic = POOL_MAGIC;
    pool->size = size;
    pool->spare_head = POOL_NO_SPAN;
    memset(pool->head, 0xff, sizeof(pool->head));
    QUIRE_FORWARD(pager_arena_reserve(&pool->spans, ((uint64_t)size + 1) * sizeof(struct span), SPANS_HUGE_FROM));
    QUIRE_FORWARD(span_new(pool, &pool->first));
    *pool_span(pool, pool->first) = (struct span){.size = size, .before = POOL_NO_SPAN, .after = POOL_NO_SPAN, .owner = UINT32_MAX};
    pool->rover = pool->first;
    pool_bin_insert(pool, pool->first);
    return QUIRE_OK;
}

enum quire_status pager_pool_create(uint64_t size_bytes, struct pager_pool **pool) {
    *pool = NULL;
    if (size_bytes < MIN_POOL_BYTES || size_bytes / PAGER_POOL_GRANULE >= UINT32_MAX) {
        return QUIRE_INVALID;
    }
    struct pager_pool *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = pool_init(made, (uint32_t)(size_bytes / PAGER_POOL_GRANULE));
    if (status != QUIRE_OK) {
        pager_pool_destroy(&made);
        return status;
    }
    *pool = made;
    return QUIRE_OK;
}

void pager_pool_destroy(struct pager_pool **pool) {
    if (*pool == NULL) {
        return;
    }
    QUIRE_MAGIC_CHECK(*pool, POOL_MAGIC);
    pager_arena_release(&(*pool)->spans);
    (*pool)->magic = 0;
    free(*pool);
    *pool = NULL;
}

enum quire_status pager_pool_alloc(struct pager_pool *pool, uint64_t bytes, uint32_t owner, uint32_t *extent) {
    *extent = PAGER_NO_EXTENT;
    if (bytes == 0) {
        return QUIRE_INVALID;
    }
    if (bytes > (uint64_t)pool->size * PAGER_POOL_GRANULE) {
        return QUIRE_FULL;
    }
    return pool_take(pool, (uint32_t)((bytes + PAGER_POOL_GRANULE - 1) / PAGER_POOL_GRANULE), owner, extent);
}

static const struct span *extent_at(const struct pager_pool *pool, uint32_t extent) {
    assert(extent < pool->spans_used && pool_span(pool, extent)->state == SPAN_EXTENT);
    return pool_span(pool, extent);
}

void pager_pool_free(struct pager_pool *pool, uint32_t extent) {
    (void)extent_at(pool, extent);
    pool_give(pool, extent);
}

uint64_t pager_pool_offset(const struct pager_pool *pool, uint32_t extent) {
    return (uint64_t)extent_at(pool, extent)->at * PAGER_POOL_GRANULE;
}

uint64_t pager_pool_size(const struct pager_pool *pool, uint32_t extent) {
    return (uint64_t)extent_at(pool, extent)->size * PAGER_POOL_GRANULE;
}

uint32_t pager_pool_owner(const struct pager_pool *pool, uint32_t extent) { return extent_at(pool, extent)->owner; }

void pager_pool_stats(const struct pager_pool *pool, struct pager_pool_stats *stats) {
    *stats = (struct pager_pool_stats){
        .capacity_bytes = (uint64_t)pool->size * PAGER_POOL_GRANULE,
        .used_bytes = (uint64_t)pool->used * PAGER_POOL_GRANULE,
        .free_bytes = (uint64_t)(pool->size - pool->used) * PAGER_POOL_GRANULE,
        .largest_free_bytes = (uint64_t)pool_largest_hole(pool) * PAGER_POOL_GRANULE,
        .extents = pool->n_extents,
        .holes = pool->n_holes + pool->n_closed,
        .books_bytes = sizeof(*pool) + pool->spans.committed_bytes,
    };
}

static uint32_t check_bins(const struct pager_pool *pool) {
    uint32_t holes = 0;
    for (uint32_t bin = 0; bin < POOL_BINS; bin++) {
        bool bit = pool->bits[bin / 64] >> bin % 64 & 1;
        assert(bit == (pool->head[bin] != POOL_NO_SPAN));
        uint32_t before = POOL_NO_SPAN;
        for (uint32_t h = pool->head[bin]; h != POOL_NO_SPAN; h = pool_span(pool, h)->bin_next) {
            const struct span *hole = pool_span(pool, h);
            assert(hole->state == SPAN_HOLE && bin_of(hole->size) == bin && hole->bin_prev == before);
            assert(++holes <= pool->n_holes);
            before = h;
        }
    }
    for (uint32_t w = 0; w < POOL_BIN_WORDS; w++) {
        assert((pool->summary[w / 64] >> w % 64 & 1) == (pool->bits[w] != 0));
    }
    return holes;
}

void pager_pool_check(const struct pager_pool *pool) {
    QUIRE_MAGIC_CHECK(pool, POOL_MAGIC);
    uint32_t count[4] = {0}, at = 0, used = 0, before = POOL_NO_SPAN;
    bool rover_seen = false;
    for (uint32_t s = pool->first; s != POOL_NO_SPAN; s = pool_span(pool, s)->after) {
        const struct span *span = pool_span(pool, s);
        assert(s < pool->spans_used && span->at == at && span->size > 0 && span->before == before && span->state != SPAN_SPARE);
        assert(span->size <= pool->size - at);
        assert(before == POOL_NO_SPAN || span->state == SPAN_EXTENT || pool_span(pool, before)->state != span->state);
        if (span->state == SPAN_CLOSED || (span->state == SPAN_HOLE && pool->window_from != pool->window_to)) {
            assert(pool_in_window(pool, at) == (span->state == SPAN_CLOSED));
        }
        count[span->state]++;
        used += span->state == SPAN_EXTENT ? span->size : 0;
        rover_seen |= s == pool->rover;
        before = s;
        at += span->size;
    }
    assert(at == pool->size && used == pool->used && rover_seen);
    assert(count[SPAN_EXTENT] == pool->n_extents && count[SPAN_HOLE] == pool->n_holes && count[SPAN_CLOSED] == pool->n_closed);
    assert(check_bins(pool) == pool->n_holes);
    for (uint32_t s = pool->spare_head; s != POOL_NO_SPAN; s = pool_span(pool, s)->bin_next) {
        assert(pool_span(pool, s)->state == SPAN_SPARE);
        assert(++count[SPAN_SPARE] <= pool->spans_used);
    }
    assert(count[SPAN_SPARE] + count[SPAN_EXTENT] + count[SPAN_HOLE] + count[SPAN_CLOSED] == pool->spans_used);
}
