#include "pager/disk/internal.h"

#include <stdlib.h>

#define FIRST_PLACES 128u

/* Clients choose keys: where they fall is nobody's to choose. */
static uint32_t home_of(const struct pager_remains *remains, uint32_t serial, const quire_key *key) {
    return (uint32_t)(pager_key_hash(remains->seed, serial, key) >> 16) & (remains->capacity - 1);
}

static uint32_t device_of(const struct pager *pager, uint32_t segment) { return pager_log_segment(pager->disk->log, segment)->device; }

/* Is it still there for a start to find? */
static bool stands(const struct pager *pager, const struct pager_remain *remain) {
    uint32_t device = device_of(pager, remain->segment);
    return remain->epoch > 0 && remain->epoch >= pager->disk->tails[device] && pager_log_device_in_use(pager->disk->log, device);
}

static bool is_free(const struct pager_remain *remain) { return remain->segment == PAGER_NO_SEGMENT; }

static bool is_of(const struct pager_remain *remain, uint32_t serial, const quire_key *key) {
    return remain->serial == serial && quire_key_equal(&remain->key, key);
}

/* ---- room ----------------------------------------------------------------------------------------------------------------- */
static struct pager_remain *places_new(uint32_t n) {
    struct pager_remain *places = malloc(n * sizeof(*places));
    for (uint32_t i = 0; places && i < n; i++) {
        places[i].segment = PAGER_NO_SEGMENT;
    }
    return places;
}

static void put(struct pager_remains *remains, const struct pager_remain *remain) {
    uint32_t at = home_of(remains, remain->serial, &remain->key);
    while (!is_free(&remains->places[at])) {
        at = (at + 1) & (remains->capacity - 1);
    }
    remains->places[at] = *remain;
    remains->used++;
}

/* Those that still stand move into places of their own: twice as many when they need them. */
static bool renew(struct pager *pager) {
    struct pager_remains *remains = &pager->disk->remains;
    struct pager_remain *old = remains->places;
    uint32_t n_old = remains->capacity, n = 0;
    for (uint32_t i = 0; i < n_old; i++) {
        n += !is_free(&old[i]) && stands(pager, &old[i]);
    }
    uint32_t capacity = n_old == 0 ? FIRST_PLACES : n > n_old / 4 && n_old < 2 * remains->most ? 2 * n_old : n_old;
    struct pager_remain *places = n <= capacity / 8 * 3 ? places_new(capacity) : NULL; /* else it would be for a few only, and again soon */
    if (!places) {
        return false;
    }
    remains->places = places;
    remains->capacity = capacity;
    remains->used = 0;
    for (uint32_t i = 0; i < n_old; i++) {
        if (!is_free(&old[i]) && stands(pager, &old[i])) {
            put(remains, &old[i]);
        }
    }
    free(old);
    return true;
}

void pager_remains_init(struct pager *pager) {
    uint64_t share = quire_min_u64(pager->options.max_blocks / PAGER_REMAINS_SHARE, PAGER_REMAINS_MAX);
    pager->disk->remains = (struct pager_remains){.most = (uint32_t)share, .seed = pager->ghosts.seed ^ 0xbb67ae8584caa73bull};
}

void pager_remains_free(struct pager *pager) {
    free(pager->disk->remains.places);
    pager->disk->remains = (struct pager_remains){0};
}

/* ---- the set -------------------------------------------------------------------------------------------------------------- */
void pager_remains_note(struct pager *pager, uint32_t serial, const quire_key *key, uint32_t segment) {
    struct pager_remains *remains = &pager->disk->remains;
    const struct pager_remain fresh = {
        .key = *key, .epoch = pager_log_segment(pager->disk->log, segment)->epoch, .serial = serial, .segment = segment};
    if (!stands(pager, &fresh)) {
        return;
    }
    for (uint32_t at = remains->capacity ? home_of(remains, serial, key) : 0; remains->capacity && !is_free(&remains->places[at]);
         at = (at + 1) & (remains->capacity - 1)) {
        struct pager_remain *place = &remains->places[at];
        if (is_of(place, serial, key) && device_of(pager, place->segment) == device_of(pager, segment)) {
            *place = place->epoch > fresh.epoch ? *place : fresh;
            return;
        }
    }
    if (2 * (remains->used + 1) > remains->capacity && (remains->full || !renew(pager))) {
        remains->full = true;
        pager_remains_doubt(pager, device_of(pager, segment), fresh.epoch);
        return;
    }
    put(remains, &fresh);
}

void pager_remains_bury(struct pager *pager, uint32_t serial, const quire_key *key) {
    struct pager_remains *remains = &pager->disk->remains;
    if (remains->capacity == 0) {
        return;
    }
    for (uint32_t at = home_of(remains, serial, key); !is_free(&remains->places[at]); at = (at + 1) & (remains->capacity - 1)) {
        if (is_of(&remains->places[at], serial, key)) {
            remains->places[at].epoch = 0;
        }
    }
}

bool pager_remains_doubted(const struct pager *pager) {
    bool doubted = false;
    for (uint32_t d = 0; d < pager->disk->n_devices; d++) {
        doubted |= pager->disk->doubts[d] > 0 && pager_log_device_in_use(pager->disk->log, d);
    }
    return doubted;
}

bool pager_remains_lie(const struct pager *pager, uint32_t serial, const quire_key *key) {
    const struct pager_remains *remains = &pager->disk->remains;
    if (remains->capacity == 0) {
        return false;
    }
    for (uint32_t at = home_of(remains, serial, key); !is_free(&remains->places[at]); at = (at + 1) & (remains->capacity - 1)) {
        if (is_of(&remains->places[at], serial, key) && stands(pager, &remains->places[at])) {
            return true;
        }
    }
    return false;
}

void pager_remains_doubt(struct pager *pager, uint32_t device, uint64_t epoch) {
    struct pager_disk *disk = pager->disk;
    if (epoch >= disk->tails[device]) {
        disk->doubts[device] = quire_max_u64(disk->doubts[device], epoch);
    }
}

void pager_remains_gone(struct pager *pager, uint32_t device, uint64_t tail_epoch) {
    struct pager_disk *disk = pager->disk;
    disk->tails[device] = quire_max_u64(disk->tails[device], tail_epoch);
    disk->remains.full = false;
    if (disk->doubts[device] < disk->tails[device]) {
        disk->doubts[device] = 0;
    }
}

bool pager_remains_next(const struct pager *pager, uint32_t *at, struct pager_remain *remain) {
    const struct pager_remains *remains = &pager->disk->remains;
    while (*at < remains->capacity) {
        *remain = remains->places[(*at)++];
        if (!is_free(remain) && stands(pager, remain)) {
            return true;
        }
    }
    return false;
}
