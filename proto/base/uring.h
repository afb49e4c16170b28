/*
 * Does io_uring do here what a disk tier needs of it? Asked by system calls alone, so that quired, which then uses it through a library, and
 * `quirectl doctor`, which has none, say the same.
 */
#ifndef QUIRE_URING_H
#define QUIRE_URING_H

#include <stddef.h>

/* 0, or errno: EOPNOTSUPP when the kernel is too old. Harmless; the ring that is made for it is gone afterwards. */
int quire_uring_try(void);
/* What forbids it, and what to do, from an errno of quire_uring_try or of io_uring itself. */
void quire_uring_explain(int error, char *why, size_t why_bytes);

#endif
