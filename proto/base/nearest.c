#include "proto/base/nearest.h"

#include "proto/base/base.h"

#define WORD_MAX 63u

/* Edit distance: letters inserted, removed or exchanged, and neighbours swapped. */
static unsigned distance(const char *a, unsigned n_a, const char *b, unsigned n_b) {
    unsigned rows[3][WORD_MAX + 1];
    unsigned *before = rows[0], *previous = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= n_b; j++) {
        previous[j] = j;
    }
    for (unsigned i = 1; i <= n_a; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= n_b; j++) {
            unsigned best = previous[j - 1] + (a[i - 1] != b[j - 1]);
            best = (unsigned)quire_min_u64(best, quire_min_u64(previous[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = (unsigned)quire_min_u64(best, before[j - 2] + 1);
            }
            row[j] = best;
        }
        unsigned *oldest = before;
        before = previous;
        previous = row;
        row = oldest;
    }
    return previous[n_b];
}

const char *quire_nearest(const char *word, const char *const *names, unsigned n_names) {
    unsigned length = (unsigned)strnlen(word, WORD_MAX + 1), allowed = length / 3 > 2 ? length / 3 : 2;
    const char *nearest = NULL;
    if (length == 0 || length > WORD_MAX) {
        return NULL;
    }
    for (unsigned i = 0; i < n_names; i++) {
        unsigned n = (unsigned)strnlen(names[i], WORD_MAX + 1);
        if (n > WORD_MAX) {
            continue;
        }
        unsigned steps = distance(word, length, names[i], n);
        if (steps <= allowed && steps < n) {
            nearest = names[i];
            allowed = steps - (steps > 0);
        }
        if (steps == 0) {
            break;
        }
    }
    return nearest;
}
