/*
 * Checksums of bulk bytes: XXH3-64, with the widest instruction set of the machine chosen once. The copy form reads each byte
 * once: what it stores is what it sums. Thread-safe, no allocation.
 */
#ifndef QUIRE_CHECKSUM_H
#define QUIRE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t quire_checksum(const void *data, size_t size);
/* memcpy(to, from, size) and the sum of what was *written*: a source that changes meanwhile cannot make the two differ. */
uint64_t quire_copy_checksum(void *to, const void *from, size_t size);
/* memcpy that bypasses the caches where that is faster: large copies whose destination is aligned to 64 bytes. */
void quire_copy(void *to, const void *from, size_t size);
/* The name of the kernel in use ("avx512", "avx2", "sse2"), for `doctor`. */
const char *quire_checksum_kernel(void);

#endif
