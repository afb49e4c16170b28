/* How much memory this process may use: the tightest of the host's and its control groups' limits. */
#ifndef QUIRE_MEMORY_LIMIT_H
#define QUIRE_MEMORY_LIMIT_H

#include <stdint.h>

/* Versions 1 and 2 of control groups, from the process's own up to the root. `root` is "/" but in tests. 0: nothing is known. */
uint64_t quire_memory_limit(const char *root);

#endif
