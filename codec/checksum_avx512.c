/* XXH3 and copies through 64-byte registers: a stripe is one load, one store and a few operations. */
#ifdef __x86_64__
#define XXH_VECTOR XXH_AVX512
#include "codec/checksum_xxh3.h"

#include <immintrin.h>

static inline void store(void *to, __m512i value, bool stream) {
    if (stream) {
        _mm512_stream_si512(to, value);
    } else {
        _mm512_storeu_si512(to, value);
    }
}

static inline __m512i accumulate(__m512i acc, __m512i data, const void *secret) {
    __m512i keyed = _mm512_xor_si512(data, _mm512_loadu_si512(secret));
    __m512i product = _mm512_mul_epu32(keyed, _mm512_srli_epi64(keyed, 32));
    return _mm512_add_epi64(_mm512_add_epi64(acc, _mm512_shuffle_epi32(data, (_MM_PERM_ENUM)_MM_SHUFFLE(1, 0, 3, 2))), product);
}

/* The n-th stripe is summed under the secret from `secret` + 8n on. */
static inline __attribute__((always_inline)) void copy_stripes(xxh_u64 sum[XXH_ACC_NB], uint8_t *to, const uint8_t *from, size_t n_stripes,
                                                               const uint8_t *secret, bool stream) {
    __m512i acc = _mm512_load_si512(sum);
#pragma GCC unroll 4
    for (size_t i = 0; i < n_stripes; i++, to += XXH_STRIPE_LEN, from += XXH_STRIPE_LEN, secret += XXH_SECRET_CONSUME_RATE) {
        __m512i data = _mm512_loadu_si512(from);
        __asm__("" : "+v"(data)); /* one load serves the store and the sum */
        _mm_prefetch((const char *)from + PREFETCH_BYTES, _MM_HINT_T0);
        store(to, data, stream);
        acc = accumulate(acc, data, secret);
    }
    _mm512_store_si512(sum, acc);
}

static inline void stream_stripe(uint8_t *to, const uint8_t *from) {
    _mm_prefetch((const char *)from + PREFETCH_BYTES, _MM_HINT_T0);
    _mm512_stream_si512((void *)to, _mm512_loadu_si512(from));
}

#include "codec/checksum_wide.h"

const struct quire_sum_kernel quire_sum_avx512 = {
    .name = "avx512",
    .sum = kernel_sum,
    .copy_blocks = copy_blocks,
    .finish = kernel_finish,
    .copy_tail = copy_tail,
    .stream = stream_copy,
    .stream_rows = stream_rows,
};
#endif
