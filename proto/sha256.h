/* SHA-256 (FIPS 180-4), streaming and one-shot. The scalar code is the specification; the SHA-NI kernel is chosen at run time and
   tested against it and against OpenSSL. Thread-safe, no allocation. */
#ifndef QUIRE_SHA256_H
#define QUIRE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct quire_sha256 {
    uint32_t state[8];
    uint64_t total_bytes;
    uint8_t buffer[64];
};

void quire_sha256_init(struct quire_sha256 *sha);
void quire_sha256_update(struct quire_sha256 *sha, const void *data, size_t size);
void quire_sha256_final(struct quire_sha256 *sha, uint8_t digest[32]);
void quire_sha256(const void *data, size_t size, uint8_t digest[32]);

/* The compression kernels, for tests: n_blocks of 64 bytes. `_best` is what the calls above use on this machine. */
typedef void quire_sha256_blocks_fn(uint32_t state[8], const uint8_t *data, size_t n_blocks);
void quire_sha256_blocks_c(uint32_t state[8], const uint8_t *data, size_t n_blocks);
quire_sha256_blocks_fn *quire_sha256_blocks_best(void);

#endif
