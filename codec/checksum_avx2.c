/* XXH3 and copies through 32-byte registers. */
#ifdef __x86_64__
#define XXH_VECTOR XXH_AVX2
#include "codec/checksum_xxh3.h"

#include <immintrin.h>

static inline __m256i load(const void *from) { return _mm256_loadu_si256(from); }

static inline void store(void *to, __m256i value, bool stream) {
    if (stream) {
        _mm256_stream_si256(to, value);
    } else {
        _mm256_storeu_si256(to, value);
    }
}

static inline __m256i accumulate(__m256i acc, __m256i data, const void *secret) {
    __m256i keyed = _mm256_xor_si256(data, load(secret));
    __m256i product = _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32));
    return _mm256_add_epi64(_mm256_add_epi64(acc, _mm256_shuffle_epi32(data, _MM_SHUFFLE(1, 0, 3, 2))), product);
}

/* The n-th stripe is summed under the secret from `secret` + 8n on. */
static inline __attribute__((always_inline)) void copy_stripes(xxh_u64 sum[XXH_ACC_NB], uint8_t *to, const uint8_t *from, size_t n_stripes,
                                                               const uint8_t *secret, bool stream) {
    __m256i low = _mm256_load_si256((const void *)sum);
    __m256i high = _mm256_load_si256((const void *)(sum + 4));
#pragma GCC unroll 4
    for (size_t i = 0; i < n_stripes; i++, to += XXH_STRIPE_LEN, from += XXH_STRIPE_LEN, secret += XXH_SECRET_CONSUME_RATE) {
        __m256i a = load(from), b = load(from + 32);
        __asm__("" : "+x"(a), "+x"(b)); /* one load serves the store and the sum */
        _mm_prefetch((const char *)from + PREFETCH_BYTES, _MM_HINT_T0);
        store(to, a, stream);
        store(to + 32, b, stream);
        low = accumulate(low, a, secret);
        high = accumulate(high, b, secret + 32);
    }
    _mm256_store_si256((void *)sum, low);
    _mm256_store_si256((void *)(sum + 4), high);
}

static inline void stream_stripe(uint8_t *to, const uint8_t *from) {
    _mm_prefetch((const char *)from + PREFETCH_BYTES, _MM_HINT_T0);
    __m256i a = load(from), b = load(from + 32);
    _mm256_stream_si256((void *)to, a);
    _mm256_stream_si256((void *)(to + 32), b);
}

#include "codec/checksum_wide.h"

const struct quire_sum_kernel quire_sum_avx2 = {
    .name = "avx2",
    .sum = kernel_sum,
    .copy_blocks = copy_blocks,
    .finish = kernel_finish,
    .copy_tail = copy_tail,
    .stream = stream_copy,
    .stream_rows = stream_rows,
};
#endif
