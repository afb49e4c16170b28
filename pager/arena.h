/*
 * An array that grows in place: address space is reserved once, memory is committed in steps as the array grows. Elements never
 * move, so growing costs the same at any size and pointers stay good. Once it is large it comes in huge pages where the system has
 * them (random probes are otherwise spent in page walks), and its small beginnings are made huge with the steps that follow.
 * Internal to pager/.
 */
#ifndef PAGER_ARENA_H
#define PAGER_ARENA_H

#include "proto/base/base.h"

struct pager_arena {
    uint8_t *base;
    uint64_t reserved_bytes, committed_bytes;
    uint64_t huge_from_bytes; /* small pages up to here: a huge one, half used, would weigh too much on a small array */
    uint64_t gathered_bytes;  /* of these, already made huge */
};

/* Address space for `bytes`; nothing is usable yet. `huge_from_bytes` is a multiple of 2 MiB. NO_MEMORY when the system has none to give. */
enum quire_status pager_arena_reserve(struct pager_arena *arena, uint64_t bytes, uint64_t huge_from_bytes);
/* Makes [0, bytes) usable, new bytes are zero. NO_MEMORY beyond what was reserved or when the system refuses. */
enum quire_status pager_arena_grow(struct pager_arena *arena, uint64_t bytes);
void pager_arena_release(struct pager_arena *arena);
/* The same a little at a time: gives back at most `bytes`, 2 MiB or more. True: there is more to give back. */
bool pager_arena_shed(struct pager_arena *arena, uint64_t bytes);

#endif
