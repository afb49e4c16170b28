/*
 * Ghosts: keys that were here, so that a miss can say "evicted", "deleted" or "corrupt" instead of "never stored".
 *
 * A fixed table of 62-bit fingerprints in sets of eight, one cache line each; within a set the one written longest ago is forgotten first.
 * A key that comes back keeps its ghost: nobody asks for it while the block is here, and leaving again it leaves a new one. An answer may
 * be wrong, if two fingerprints are the same: it explains a miss, nothing depends on it.
 */
#ifndef PAGER_GHOST_H
#define PAGER_GHOST_H

#include "proto/base/base.h"

/* CORRUPT: its bytes on a drive turned out damaged or unreadable, or the drive failed, and nothing else had them. */
enum pager_ghost_kind { PAGER_GHOST_EVICTED = 0, PAGER_GHOST_DELETED = 1, PAGER_GHOST_CORRUPT = 2, PAGER_GHOST_NONE = 3 };

struct pager_ghosts {
    uint64_t *sets; /* NULL: remembers nothing */
    uint64_t n_sets;
    uint64_t seed;
};

/* A block of a namespace, in places whose seed nobody knows: clients choose keys, and could else have them all fall into one. */
uint64_t pager_key_hash(uint64_t seed, uint32_t serial, const quire_key *key);

enum quire_status pager_ghosts_init(struct pager_ghosts *ghosts, uint64_t n_entries, uint64_t seed);
void pager_ghosts_free(struct pager_ghosts *ghosts);
/* `serial` is the namespace's: one that was deleted and made again has no ghosts. PAGER_GHOST_NONE is not remembered. */
void pager_ghost_add(struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key, enum pager_ghost_kind kind);
enum pager_ghost_kind pager_ghost_find(const struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key);
/* Why a key that is not there misses. */
enum quire_miss pager_ghost_miss(const struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key);
static inline uint64_t pager_ghosts_bytes(const struct pager_ghosts *ghosts) { return ghosts->n_sets * 64; }

#endif
