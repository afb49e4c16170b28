/*
 * All pins as the metadata file tells of them, also those whose block is not indexed: found by namespace and key, and ready to be written at any
 * time.
 *
 * They lie in small chunks. A picture of them is a list of the chunks; a chunk that a picture has is never changed, but replaced by a copy when it is
 * to be. So taking a picture costs next to nothing, however many pins there are, it stays what it was, and another thread may read it meanwhile.
 */
#ifndef PAGER_DISK_PINS_H
#define PAGER_DISK_PINS_H

#include "codec/log_meta.h"

#define PAGER_PINS_CHUNK 64u

struct pager_pins {
    struct quire_meta_pin **chunks; /* the first n pins, PAGER_PINS_CHUNK in each */
    uint32_t n, capacity;
    uint32_t *slots; /* by hash: a pin's number and one; 0: free */
    uint32_t mask;
    uint64_t seed;
    struct quire_meta_pin **taken; /* the picture's chunks; NULL: there is none */
    uint32_t n_taken;
};

/* Room for so many; more are taken, but at the cost of hashing all anew. `seed` hardens it against chosen keys. */
enum quire_status pager_pins_init(struct pager_pins *pins, uint32_t capacity, uint64_t seed);
void pager_pins_free(struct pager_pins *pins);
/* How often it is pinned; 0: not. */
uint32_t pager_pins_get(const struct pager_pins *pins, uint32_t serial, const quire_key *key);
/* False: no memory, and nothing has changed. 0: it is none any more; the last one takes its number. */
bool pager_pins_set(struct pager_pins *pins, uint32_t serial, const quire_key *key, uint32_t times);
const struct quire_meta_pin *pager_pins_at(const struct pager_pins *pins, uint32_t i);
/* One picture at a time: the first n pins, as they are now, until it is given back. NULL: no memory. */
const struct quire_meta_pin *const *pager_pins_take(struct pager_pins *pins);
void pager_pins_give(struct pager_pins *pins);
uint64_t pager_pins_bytes(const struct pager_pins *pins);
void pager_pins_check(const struct pager_pins *pins);

#endif
