/*
 * How a client over a wire shows that it knows a token's secret, without saying it: HMAC-SHA256 (RFC 2104) under the secret, over a label, the
 * daemon's challenge and the token's name. A challenge is never used twice, so what was overheard is worth nothing later.
 * Thread-safe, no allocation.
 */
#ifndef QUIRE_PROOF_H
#define QUIRE_PROOF_H

#include "proto/quire_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUIRE_PROOF_BYTES 32
#define QUIRE_NONCE_BYTES 32

void quire_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t size, uint8_t mac[32]);
void quire_proof(const void *secret, size_t secret_bytes, const uint8_t nonce[QUIRE_NONCE_BYTES], const char *token,
                 uint8_t proof[QUIRE_PROOF_BYTES]);
/* In a time that depends on size alone. */
bool quire_equal_secret(const void *a, const void *b, size_t size);

#endif
