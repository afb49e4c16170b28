/* What the SHA-256 compression kernels share: the round constants, and the kernel that only newer processors can run. */
#ifndef QUIRE_SHA256_KERNEL_H
#define QUIRE_SHA256_KERNEL_H

#include "proto/sha256.h"

extern const uint32_t quire_sha256_constants[64];

/* Needs the SHA, SSE4.1 and SSSE3 instructions: quire_sha256_blocks_best asks the processor first. */
void quire_sha256_blocks_shani(uint32_t state[8], const uint8_t *data, size_t n_blocks);

#endif
