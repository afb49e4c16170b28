#include "pager/arena.h"

#include <sys/mman.h>

#define HUGE_PAGE_BYTES PAGER_ARENA_PAGE_BYTES
#define SMALL_STEP_BYTES (64ull << 10)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum quire_status pager_arena_reserve(struct pager_arena *arena, uint64_t bytes, uint64_t huge_from_bytes) {
    memset(arena, 0, sizeof(*arena));
    if (bytes == 0 || bytes > (UINT64_MAX >> 2)) {
        return QUIRE_INVALID;
    }
    uint64_t size = quire_align_up(bytes, HUGE_PAGE_BYTES);
    /* PROT_NONE is not charged against the commit limit, so a strict system refuses when memory is used, not when it is named. */
    uint8_t *area = mmap(NULL, size + HUGE_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return QUIRE_NO_MEMORY;
    }
    uint8_t *base = (uint8_t *)quire_align_up((uintptr_t)area, HUGE_PAGE_BYTES);
    uint64_t head = (uint64_t)(base - area);
    if (head > 0) {
        munmap(area, head);
    }
    if (head < HUGE_PAGE_BYTES) {
        munmap(base + size, HUGE_PAGE_BYTES - head);
    }
    arena->base = base;
    arena->reserved_bytes = size;
    arena->huge_from_bytes = huge_from_bytes;
    return QUIRE_OK;
}

/* One step into huge pages makes one earlier stretch huge as well: the work of all is never done in one call. All are
   wishes; small pages serve too. */
static void go_huge(struct pager_arena *arena, uint8_t *from, uint64_t bytes) {
    (void)madvise(from, bytes, MADV_HUGEPAGE);
    if (arena->gathered_bytes < arena->huge_from_bytes) {
        uint8_t *stretch = arena->base + arena->gathered_bytes;
        (void)madvise(stretch, HUGE_PAGE_BYTES, MADV_HUGEPAGE);
        (void)madvise(stretch, HUGE_PAGE_BYTES, MADV_COLLAPSE);
        arena->gathered_bytes += HUGE_PAGE_BYTES;
    }
}

enum quire_status pager_arena_grow(struct pager_arena *arena, uint64_t bytes) {
    if (bytes <= arena->committed_bytes) {
        return QUIRE_OK;
    }
    if (bytes > arena->reserved_bytes) {
        return QUIRE_NO_MEMORY;
    }
    bool huge = arena->committed_bytes >= arena->huge_from_bytes;
    if (bytes <= arena->opened_bytes) {
        arena->committed_bytes = quire_min_u64(arena->opened_bytes, quire_align_up(bytes, HUGE_PAGE_BYTES));
        return QUIRE_OK;
    }
    uint64_t target = quire_align_up(bytes, huge ? HUGE_PAGE_BYTES : SMALL_STEP_BYTES);
    uint8_t *from = arena->base + arena->committed_bytes;
    uint64_t more = target - arena->committed_bytes;
    if (mprotect(from, more, PROT_READ | PROT_WRITE) != 0) {
        return QUIRE_NO_MEMORY;
    }
    if (huge) {
        go_huge(arena, from, more);
    }
    arena->committed_bytes = target;
    return QUIRE_OK;
}

void pager_arena_open(struct pager_arena *arena, uint64_t bytes) {
    uint64_t size = quire_align_up(quire_min_u64(bytes, arena->reserved_bytes), HUGE_PAGE_BYTES);
    if (bytes < arena->huge_from_bytes || size <= arena->committed_bytes || mprotect(arena->base, size, PROT_READ | PROT_WRITE) != 0) {
        return;
    }
    (void)madvise(arena->base, size, MADV_HUGEPAGE);
    arena->gathered_bytes = arena->huge_from_bytes;
    arena->opened_bytes = size;
}

void *pager_arena_warm(struct pager_arena *arena, uint64_t ahead_bytes) {
    uint64_t at = quire_max_u64(arena->warmed_bytes, quire_align_up(arena->committed_bytes, HUGE_PAGE_BYTES));
    if (at >= arena->opened_bytes || at >= arena->committed_bytes + ahead_bytes) {
        return NULL;
    }
    arena->warmed_bytes = at + HUGE_PAGE_BYTES;
    return arena->base + at;
}

bool pager_arena_shed(struct pager_arena *arena, uint64_t bytes) {
    assert(bytes >= HUGE_PAGE_BYTES);
    if (arena->committed_bytes <= bytes) {
        pager_arena_release(arena);
        return false;
    }
    uint64_t keep = quire_align_up(arena->committed_bytes - bytes, HUGE_PAGE_BYTES);
    munmap(arena->base + keep, arena->reserved_bytes - keep);
    arena->reserved_bytes = arena->committed_bytes = keep;
    arena->opened_bytes = 0;
    return true;
}

void pager_arena_release(struct pager_arena *arena) {
    if (arena->base != NULL) {
        munmap(arena->base, arena->reserved_bytes);
    }
    memset(arena, 0, sizeof(*arena));
}
