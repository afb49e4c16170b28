/*
 * Checksums of bulk bytes: XXH3-64, with the widest instruction set of the machine chosen once. The copy form reads each byte
 * once from memory: it copies and sums in steps that stay in the first-level cache. Thread-safe, no allocation.
 */
#ifndef QUIRE_CHECKSUM_H
#define QUIRE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t quire_checksum(const void *data, size_t size);
/* memcpy(to, from, size) and the sum of what was *written* to `to`'s bytes as read from `from` exactly once. */
uint64_t quire_copy_checksum(void *to, const void *from, size_t size);
/* The name of the kernel in use ("avx512", "avx2", "sse2"), for `doctor`. */
const char *quire_checksum_kernel(void);

#endif
