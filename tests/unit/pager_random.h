/* Random numbers of the pager's randomised tests: printed, so that a failure can be run again with QUIRE_TEST_SEED=that. */
#ifndef PAGER_RANDOM_H
#define PAGER_RANDOM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice) { /* splitmix64 */
    uint64_t z = (dice->state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* In [0, n). */
static inline uint64_t dice_below(struct dice *dice, uint64_t n) { return dice_next(dice) % n; }
static inline double dice_unit(struct dice *dice) { return (double)(dice_next(dice) >> 11) * 0x1p-53; }

static inline struct dice dice_printed(const char *what) {
    struct dice dice = {0};
    const char *given = getenv("QUIRE_TEST_SEED");
    if (given != NULL) {
        dice.state = strtoull(given, NULL, 0);
    } else if (getrandom(&dice.state, sizeof(dice.state), 0) != (ssize_t)sizeof(dice.state)) {
        dice.state = 1;
    }
    fprintf(stderr, "%s: seed %#" PRIx64 "\n", what, dice.state);
    return dice;
}

#endif
