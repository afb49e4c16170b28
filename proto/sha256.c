#include "proto/sha256.h"

#include "proto/sha256_kernel.h"

#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

const uint32_t quire_sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static uint32_t load_be32(const uint8_t *in) {
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | (uint32_t)in[3];
}

static void store_be32(uint8_t *out, uint32_t value) {
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
}

static void schedule(uint32_t w[64], const uint8_t *block) {
    for (unsigned t = 0; t < 16; t++) {
        w[t] = load_be32(block + 4 * t);
    }
    for (unsigned t = 16; t < 64; t++) {
        uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
}

/* The eight working variables stay where they are and change their names from round to round: variable i of round t. */
static inline uint32_t *variable(uint32_t v[8], unsigned t, unsigned i) { return &v[(i - t) % 8]; }

static inline void one_round(uint32_t v[8], unsigned t, uint32_t word) {
    uint32_t a = *variable(v, t, 0), b = *variable(v, t, 1), c = *variable(v, t, 2);
    uint32_t e = *variable(v, t, 4), f = *variable(v, t, 5), g = *variable(v, t, 6);
    uint32_t sum1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    uint32_t sum0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    uint32_t t1 = *variable(v, t, 7) + sum1 + ((e & f) ^ (~e & g)) + word;
    *variable(v, t, 3) += t1;
    *variable(v, t, 7) = t1 + sum0 + ((a & b) ^ (a & c) ^ (b & c));
}

static void compress(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64], v[8];
    schedule(w, block);
    memcpy(v, state, sizeof(v));
#pragma GCC unroll 8
    for (unsigned t = 0; t < 64; t++) {
        one_round(v, t, quire_sha256_constants[t] + w[t]);
    }
    for (unsigned i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

void quire_sha256_blocks_c(uint32_t state[8], const uint8_t *data, size_t n_blocks) {
    for (; n_blocks > 0; n_blocks--, data += 64) {
        compress(state, data);
    }
}

#ifdef __x86_64__
static int has_shani(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) {
        return 0;
    }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}
#endif

/* Threads that race here store the same value. */
quire_sha256_blocks_fn *quire_sha256_blocks_best(void) {
    static _Atomic(quire_sha256_blocks_fn *) best;
    quire_sha256_blocks_fn *known = best;
    if (known == NULL) {
        known = quire_sha256_blocks_c;
#ifdef __x86_64__
        if (has_shani()) {
            known = quire_sha256_blocks_shani;
        }
#endif
        best = known;
    }
    return known;
}

void quire_sha256_init(struct quire_sha256 *sha) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, initial, sizeof(initial));
    sha->total_bytes = 0;
}

void quire_sha256_update(struct quire_sha256 *sha, const void *data, size_t size) {
    const uint8_t *in = data;
    size_t held = sha->total_bytes % 64;
    sha->total_bytes += size;
    if (held > 0 && size >= 64 - held) {
        memcpy(sha->buffer + held, in, 64 - held);
        in += 64 - held;
        size -= 64 - held;
        held = 0;
        quire_sha256_blocks_best()(sha->state, sha->buffer, 1);
    }
    if (size >= 64) {
        quire_sha256_blocks_best()(sha->state, in, size / 64);
        in += size / 64 * 64;
        size %= 64;
    }
    if (size > 0) {
        memcpy(sha->buffer + held, in, size);
    }
}

void quire_sha256_final(struct quire_sha256 *sha, uint8_t digest[32]) {
    uint8_t padding[128] = {0x80};
    size_t held = sha->total_bytes % 64;
    size_t padding_bytes = (held < 56 ? 64 : 128) - held;
    uint64_t bits = sha->total_bytes * 8;
    store_be32(padding + padding_bytes - 8, (uint32_t)(bits >> 32));
    store_be32(padding + padding_bytes - 4, (uint32_t)bits);
    quire_sha256_update(sha, padding, padding_bytes);
    for (unsigned i = 0; i < 8; i++) {
        store_be32(digest + 4 * i, sha->state[i]);
    }
}

void quire_sha256(const void *data, size_t size, uint8_t digest[32]) {
    struct quire_sha256 sha;
    quire_sha256_init(&sha);
    quire_sha256_update(&sha, data, size);
    quire_sha256_final(&sha, digest);
}
