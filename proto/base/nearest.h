/* "Did you mean": the name that a mistyped word most resembles. Thread-safe, no allocation. */
#ifndef QUIRE_NEAREST_H
#define QUIRE_NEAREST_H

/* NULL when nothing is near: more than a third of the letters (at least two) would have to change. Words of 63 letters at most. */
const char *quire_nearest(const char *word, const char *const *names, unsigned n_names);

#endif
