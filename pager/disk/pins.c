/* A table of numbers by open addressing, over pins in chunks that a picture may share. */
#include "pager/disk/pins.h"

#include "proto/base/base.h"

#include <stdlib.h>

/* Larger tables are not looked through slot by slot when they are checked. */
#define SCANNED_MOST 8192u

static uint32_t chunks_for(uint32_t n) { return n / PAGER_PINS_CHUNK + (n % PAGER_PINS_CHUNK != 0); }

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
static uint32_t slots_for(uint32_t capacity) {
    uint32_t n = 64;
    while (n < 2 * (uint64_t)capacity) {
        n *= 2;
    }
    return n;
}

enum quire_status pager_pins_init(struct pager_pins *pins, uint32_t capacity, uint64_t seed) {
    *pins = (struct pager_pins){.capacity = capacity, .mask = slots_for(capacity) - 1, .seed = seed};
    pins->chunks = calloc(chunks_for(capacity) + 1u, sizeof(struct quire_meta_pin *));
    pins->slots = calloc(pins->mask + 1u, sizeof(*pins->slots));
    return pins->chunks && pins->slots ? QUIRE_OK : QUIRE_NO_MEMORY;
}

void pager_pins_free(struct pager_pins *pins) {
    pager_pins_give(pins);
    for (uint32_t i = 0; pins->chunks && i < chunks_for(pins->n); i++) {
        free(pins->chunks[i]);
    }
    free(pins->chunks);
    free(pins->slots);
    *pins = (struct pager_pins){0};
}

uint64_t pager_pins_bytes(const struct pager_pins *pins) {
    return (uint64_t)(pins->mask + 1u) * sizeof(*pins->slots) +
           chunks_for(pins->n) * (PAGER_PINS_CHUNK * sizeof(struct quire_meta_pin) + sizeof(struct quire_meta_pin *));
}

/* ---- finding -------------------------------------------------------------------------------------------------------------- */
const struct quire_meta_pin *pager_pins_at(const struct pager_pins *pins, uint32_t i) {
    assert(i < pins->n);
    return &pins->chunks[i / PAGER_PINS_CHUNK][i % PAGER_PINS_CHUNK];
}

static uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t slot_of_hash(const struct pager_pins *pins, uint32_t serial, const quire_key *key) {
    uint64_t word[4], seed = pins->seed;
    memcpy(word, key->b, sizeof(word));
    uint64_t first = mix(word[0] ^ seed, word[1] ^ (seed * 0xbf58476d1ce4e5b9ull));
    uint64_t second = mix(word[2] ^ (seed * 0x94d049bb133111ebull), word[3] ^ (seed * 0x9e3779b97f4a7c15ull));
    return (uint32_t)mix(first ^ serial, second ^ 0x6a09e667f3bcc909ull) & pins->mask;
}

/* Where it is, or where it would be. */
static uint32_t slot_of(const struct pager_pins *pins, uint32_t serial, const quire_key *key) {
    uint32_t slot = slot_of_hash(pins, serial, key);
    for (; pins->slots[slot]; slot = (slot + 1) & pins->mask) {
        const struct quire_meta_pin *pin = pager_pins_at(pins, pins->slots[slot] - 1);
        if (pin->serial == serial && quire_key_equal(&pin->key, key)) {
            break;
        }
    }
    return slot;
}

uint32_t pager_pins_get(const struct pager_pins *pins, uint32_t serial, const quire_key *key) {
    uint32_t number = pins->slots[slot_of(pins, serial, key)];
    return number ? pager_pins_at(pins, number - 1)->pins : 0;
}

/* What stood behind a slot that became free comes nearer to where its hash says. */
static void close_gap(struct pager_pins *pins, uint32_t gap) {
    for (uint32_t slot = (gap + 1) & pins->mask; pins->slots[slot]; slot = (slot + 1) & pins->mask) {
        const struct quire_meta_pin *pin = pager_pins_at(pins, pins->slots[slot] - 1);
        uint32_t home = slot_of_hash(pins, pin->serial, &pin->key);
        if (((slot - home) & pins->mask) >= ((slot - gap) & pins->mask)) {
            pins->slots[gap] = pins->slots[slot];
            pins->slots[slot] = 0;
            gap = slot;
        }
    }
}

/* ---- changing ------------------------------------------------------------------------------------------------------------- */
static bool is_shared(const struct pager_pins *pins, uint32_t chunk) {
    return chunk < pins->n_taken && pins->taken[chunk] == pins->chunks[chunk];
}

/* The chunk, this table's alone; NULL: no memory. */
static struct quire_meta_pin *writable(struct pager_pins *pins, uint32_t chunk) {
    const size_t bytes = PAGER_PINS_CHUNK * sizeof(struct quire_meta_pin);
    if (pins->chunks[chunk] && !is_shared(pins, chunk)) {
        return pins->chunks[chunk];
    }
    struct quire_meta_pin *own = malloc(bytes);
    if (own && pins->chunks[chunk]) {
        memcpy(own, pins->chunks[chunk], bytes);
    }
    pins->chunks[chunk] = own ? own : pins->chunks[chunk];
    return own;
}

static bool grow(struct pager_pins *pins) {
    struct pager_pins larger;
    if (pager_pins_init(&larger, 2 * pins->capacity + PAGER_PINS_CHUNK, pins->seed) != QUIRE_OK) {
        pager_pins_free(&larger);
        return false;
    }
    memcpy(larger.chunks, pins->chunks, chunks_for(pins->n) * sizeof(*pins->chunks));
    larger.n = pins->n;
    larger.taken = pins->taken;
    larger.n_taken = pins->n_taken;
    for (uint32_t i = 0; i < larger.n; i++) {
        const struct quire_meta_pin *pin = pager_pins_at(&larger, i);
        larger.slots[slot_of(&larger, pin->serial, &pin->key)] = i + 1;
    }
    free(pins->chunks);
    free(pins->slots);
    *pins = larger;
    return true;
}

static bool add(struct pager_pins *pins, const struct quire_meta_pin *pin) {
    if (pins->n == pins->capacity && !grow(pins)) {
        return false;
    }
    struct quire_meta_pin *chunk = writable(pins, pins->n / PAGER_PINS_CHUNK);
    if (!chunk) {
        return false;
    }
    uint32_t slot = slot_of(pins, pin->serial, &pin->key);
    chunk[pins->n % PAGER_PINS_CHUNK] = *pin;
    pins->slots[slot] = ++pins->n;
    return true;
}

static bool take_out(struct pager_pins *pins, uint32_t slot) {
    uint32_t i = pins->slots[slot] - 1, last = pins->n - 1;
    if (i != last) {
        const struct quire_meta_pin moved = *pager_pins_at(pins, last);
        struct quire_meta_pin *chunk = writable(pins, i / PAGER_PINS_CHUNK);
        if (!chunk) {
            return false;
        }
        pins->slots[slot_of(pins, moved.serial, &moved.key)] = i + 1;
        chunk[i % PAGER_PINS_CHUNK] = moved;
    }
    pins->slots[slot] = 0;
    close_gap(pins, slot);
    pins->n = last;
    if (last % PAGER_PINS_CHUNK == 0) {
        uint32_t empty = last / PAGER_PINS_CHUNK;
        if (!is_shared(pins, empty)) {
            free(pins->chunks[empty]);
        }
        pins->chunks[empty] = NULL;
    }
    return true;
}

bool pager_pins_set(struct pager_pins *pins, uint32_t serial, const quire_key *key, uint32_t times) {
    const struct quire_meta_pin pin = {.key = *key, .serial = serial, .pins = times};
    uint32_t slot = slot_of(pins, serial, key), number = pins->slots[slot];
    if (number == 0) {
        return times == 0 || add(pins, &pin);
    }
    if (times == 0) {
        return take_out(pins, slot);
    }
    if (pager_pins_at(pins, number - 1)->pins == times) {
        return true;
    }
    struct quire_meta_pin *chunk = writable(pins, (number - 1) / PAGER_PINS_CHUNK);
    if (chunk) {
        chunk[(number - 1) % PAGER_PINS_CHUNK] = pin;
    }
    return chunk != NULL;
}

/* ---- pictures ------------------------------------------------------------------------------------------------------------- */
const struct quire_meta_pin *const *pager_pins_take(struct pager_pins *pins) {
    assert(!pins->taken);
    uint32_t n = chunks_for(pins->n);
    pins->taken = malloc((n + 1u) * sizeof(*pins->taken));
    if (!pins->taken) {
        return NULL;
    }
    memcpy(pins->taken, pins->chunks, n * sizeof(*pins->taken));
    pins->n_taken = n;
    return (const struct quire_meta_pin *const *)pins->taken;
}

void pager_pins_give(struct pager_pins *pins) {
    uint32_t n = chunks_for(pins->n);
    for (uint32_t i = 0; i < pins->n_taken; i++) {
        if (i >= n || pins->chunks[i] != pins->taken[i]) {
            free(pins->taken[i]);
        }
    }
    free(pins->taken);
    pins->taken = NULL;
    pins->n_taken = 0;
}

/* ---- for tests ------------------------------------------------------------------------------------------------------------ */
void pager_pins_check(const struct pager_pins *pins) {
    uint32_t used = 0;
    for (uint32_t slot = 0; pins->mask < SCANNED_MOST && slot <= pins->mask; slot++) {
        used += pins->slots[slot] != 0;
    }
    assert(pins->n <= pins->capacity && (used == pins->n || pins->mask >= SCANNED_MOST));
    for (uint32_t i = 0; i < pins->n; i++) {
        const struct quire_meta_pin *pin = pager_pins_at(pins, i);
        assert(pin->pins > 0 && pins->slots[slot_of(pins, pin->serial, &pin->key)] == i + 1);
    }
    (void)used;
}
