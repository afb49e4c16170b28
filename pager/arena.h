/*
 * An array that grows in place: address space is reserved once, memory is committed in steps as the array grows. Elements never
 * move, so growing costs the same at any size and pointers stay good. What passes the first megabytes comes in huge pages where the
 * system has them: random probes of a large table are otherwise spent in page walks. Internal to pager/.
 */
#ifndef PAGER_ARENA_H
#define PAGER_ARENA_H

#include "proto/base/base.h"

struct pager_arena {
    uint8_t *base;
    uint64_t reserved_bytes, committed_bytes;
};

/* Address space for `bytes`; nothing is usable yet. NO_MEMORY when the system has none to give. */
enum quire_status pager_arena_reserve(struct pager_arena *arena, uint64_t bytes);
/* Makes [0, bytes) usable, new bytes are zero. NO_MEMORY beyond what was reserved or when the system refuses. */
enum quire_status pager_arena_grow(struct pager_arena *arena, uint64_t bytes);
void pager_arena_release(struct pager_arena *arena);

#endif
