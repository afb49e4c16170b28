/*
 * An array that grows in place: address space is reserved once, memory is committed in steps as the array grows. Elements never
 * move, so growing costs the same at any size and pointers stay good. Once it is large it comes in huge pages where the system has
 * them (random probes are otherwise spent in page walks), and its small beginnings are made huge with the steps that follow.
 * Internal to pager/.
 */
#ifndef PAGER_ARENA_H
#define PAGER_ARENA_H

#include "proto/base/base.h"

#define PAGER_ARENA_PAGE_BYTES (2ull << 20) /* a huge page */

struct pager_arena {
    uint8_t *base;
    uint64_t reserved_bytes, committed_bytes;
    uint64_t huge_from_bytes; /* small pages up to here: a huge one, half used, would weigh too much on a small array */
    uint64_t gathered_bytes;  /* of these, already made huge */
    uint64_t opened_bytes;    /* usable already in huge pages, but committed bit by bit all the same */
    uint64_t warmed_bytes;    /* told by pager_arena_warm, up to here */
};

/* Address space for `bytes`; nothing is usable yet. `huge_from_bytes` is a multiple of 2 MiB. NO_MEMORY when the system has none to give. */
enum quire_status pager_arena_reserve(struct pager_arena *arena, uint64_t bytes, uint64_t huge_from_bytes);
/* Makes [0, bytes) usable, new bytes are zero. NO_MEMORY beyond what was reserved or when the system refuses. */
enum quire_status pager_arena_grow(struct pager_arena *arena, uint64_t bytes);
/* So much will be used soon: made usable at once, in huge pages. Nothing when that is not much. A wish. */
void pager_arena_open(struct pager_arena *arena, uint64_t bytes);
/* A huge page of what was opened that was not touched yet and is among the next `ahead_bytes`: each is told once. NULL: none. */
void *pager_arena_warm(struct pager_arena *arena, uint64_t ahead_bytes);
void pager_arena_release(struct pager_arena *arena);
/* The same a little at a time: gives back at most `bytes`, 2 MiB or more. True: there is more to give back. */
bool pager_arena_shed(struct pager_arena *arena, uint64_t bytes);

#endif
