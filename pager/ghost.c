#include "pager/ghost.h"

#include <stdlib.h>

#define WAYS 8u

enum quire_status pager_ghosts_init(struct pager_ghosts *ghosts, uint64_t n_entries, uint64_t seed) {
    *ghosts = (struct pager_ghosts){.seed = seed};
    uint64_t n_sets = 1;
    while (n_sets * 2 * WAYS <= n_entries) {
        n_sets *= 2;
    }
    if (n_entries < WAYS) {
        return QUIRE_OK;
    }
    ghosts->sets = aligned_alloc(64, n_sets * 64);
    if (!ghosts->sets) {
        return QUIRE_NO_MEMORY;
    }
    memset(ghosts->sets, 0, n_sets * 64);
    ghosts->n_sets = n_sets;
    return QUIRE_OK;
}

void pager_ghosts_free(struct pager_ghosts *ghosts) {
    free(ghosts->sets);
    *ghosts = (struct pager_ghosts){0};
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a = (a ^ b) * 0x9fb21c651e98df25ull;
    a ^= a >> 35;
    a *= 0xd6e8feb86659fd93ull;
    return a ^ a >> 32;
}

uint64_t pager_key_hash(uint64_t seed, uint32_t serial, const quire_key *key) {
    uint64_t words[4], hash = mix(seed, serial);
    memcpy(words, key->b, sizeof(words));
    for (unsigned i = 0; i < 4; i++) {
        hash = mix(hash, words[i]);
    }
    return hash;
}

#define KIND 3ull

/* The lowest bits are the kind; a fingerprint is never zero. */
static uint64_t fingerprint(const struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key) {
    return (pager_key_hash(ghosts->seed, serial, key) | (KIND + 1)) & ~KIND;
}

static uint64_t *set_of(const struct pager_ghosts *ghosts, uint64_t print) {
    return ghosts->sets + (print >> 20 & (ghosts->n_sets - 1)) * WAYS;
}

static unsigned way_of(const uint64_t *set, uint64_t print) {
    unsigned way = 0;
    while (way < WAYS && (set[way] & ~KIND) != print) {
        way++;
    }
    return way;
}

void pager_ghost_add(struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key, enum pager_ghost_kind kind) {
    if (!ghosts->sets || kind == PAGER_GHOST_NONE) {
        return;
    }
    uint64_t print = fingerprint(ghosts, serial, key), *set = set_of(ghosts, print);
    unsigned way = way_of(set, print);
    way = way == WAYS ? WAYS - 1 : way;
    memmove(set + 1, set, way * sizeof(*set));
    set[0] = print | (uint64_t)kind;
}

enum pager_ghost_kind pager_ghost_find(const struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key) {
    if (!ghosts->sets) {
        return PAGER_GHOST_NONE;
    }
    uint64_t print = fingerprint(ghosts, serial, key), *set = set_of(ghosts, print);
    unsigned way = way_of(set, print);
    return way == WAYS ? PAGER_GHOST_NONE : (enum pager_ghost_kind)(set[way] & KIND);
}

enum quire_miss pager_ghost_miss(const struct pager_ghosts *ghosts, uint32_t serial, const quire_key *key) {
    static const enum quire_miss misses[] = {[PAGER_GHOST_EVICTED] = QUIRE_MISS_EVICTED,
                                             [PAGER_GHOST_DELETED] = QUIRE_MISS_DELETED,
                                             [PAGER_GHOST_CORRUPT] = QUIRE_MISS_CORRUPT,
                                             [PAGER_GHOST_NONE] = QUIRE_MISS_NEVER_STORED};
    return misses[pager_ghost_find(ghosts, serial, key)];
}
