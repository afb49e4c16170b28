#include "proto/proof.h"

#include "proto/sha256.h"

#include <string.h>

#define BLOCK_BYTES 64

struct hmac {
    struct quire_sha256 inner, outer;
};

static void hmac_init(struct hmac *hmac, const void *key, size_t key_bytes) {
    uint8_t padded[BLOCK_BYTES] = {0}, pad[BLOCK_BYTES];
    if (key_bytes > sizeof padded) {
        quire_sha256(key, key_bytes, padded);
    } else if (key_bytes > 0) {
        memcpy(padded, key, key_bytes);
    }
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] = padded[i] ^ 0x36;
    }
    quire_sha256_init(&hmac->inner);
    quire_sha256_update(&hmac->inner, pad, sizeof pad);
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] = padded[i] ^ 0x5c;
    }
    quire_sha256_init(&hmac->outer);
    quire_sha256_update(&hmac->outer, pad, sizeof pad);
    explicit_bzero(padded, sizeof padded);
    explicit_bzero(pad, sizeof pad);
}

static void hmac_final(struct hmac *hmac, uint8_t mac[32]) {
    uint8_t digest[32];
    quire_sha256_final(&hmac->inner, digest);
    quire_sha256_update(&hmac->outer, digest, sizeof digest);
    quire_sha256_final(&hmac->outer, mac);
    explicit_bzero(hmac, sizeof *hmac); /* it was made of the secret */
    explicit_bzero(digest, sizeof digest);
}

void quire_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t size, uint8_t mac[32]) {
    struct hmac hmac;
    hmac_init(&hmac, key, key_bytes);
    quire_sha256_update(&hmac.inner, data, size);
    hmac_final(&hmac, mac);
}

void quire_proof(const void *secret, size_t secret_bytes, const uint8_t nonce[QUIRE_NONCE_BYTES], const char *token,
                 uint8_t proof[QUIRE_PROOF_BYTES]) {
    static const char label[] = "quire hello 1"; /* with its 0, so that no name can be taken for a part of it */
    struct hmac hmac;
    hmac_init(&hmac, secret, secret_bytes);
    quire_sha256_update(&hmac.inner, label, sizeof label);
    quire_sha256_update(&hmac.inner, nonce, QUIRE_NONCE_BYTES);
    quire_sha256_update(&hmac.inner, token, strlen(token));
    hmac_final(&hmac, proof);
}

bool quire_equal_secret(const void *a, const void *b, size_t size) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t differs = 0;
    for (size_t i = 0; i < size; i++) {
        differs |= x[i] ^ y[i];
    }
    return differs == 0;
}
