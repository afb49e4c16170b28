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

static inline void copy_block(xxh_u64 sum[XXH_ACC_NB], uint8_t *to, const uint8_t *from, bool stream) {
    __m256i low = _mm256_load_si256((const void *)sum);
    __m256i high = _mm256_load_si256((const void *)(sum + 4));
#pragma GCC unroll 4
    for (size_t i = 0; i < STRIPES_PER_BLOCK; i++, to += XXH_STRIPE_LEN, from += XXH_STRIPE_LEN) {
        __m256i a = load(from), b = load(from + 32);
        __asm__("" : "+x"(a), "+x"(b)); /* one load serves the store and the sum */
        _mm_prefetch((const char *)from + PREFETCH_BYTES, _MM_HINT_T0);
        store(to, a, stream);
        store(to + 32, b, stream);
        low = accumulate(low, a, XXH3_kSecret + XXH_SECRET_CONSUME_RATE * i);
        high = accumulate(high, b, XXH3_kSecret + XXH_SECRET_CONSUME_RATE * i + 32);
    }
    _mm256_store_si256((void *)sum, low);
    _mm256_store_si256((void *)(sum + 4), high);
    XXH3_scrambleAcc(sum, SCRAMBLE_SECRET);
}

static void copy_blocks(uint64_t acc[QUIRE_SUM_LANES], uint8_t *to, const uint8_t *from, size_t n_blocks, bool stream) {
    XXH_ALIGN(XXH_ACC_ALIGN) xxh_u64 sum[XXH_ACC_NB];
    memcpy(sum, acc, sizeof(sum));
    for (; n_blocks > 0; n_blocks--, to += QUIRE_SUM_BLOCK_BYTES, from += QUIRE_SUM_BLOCK_BYTES) {
        if (stream) {
            copy_block(sum, to, from, true);
        } else {
            copy_block(sum, to, from, false);
        }
    }
    memcpy(acc, sum, sizeof(sum));
}

static void stream_copy(uint8_t *to, const uint8_t *from, size_t size) {
#pragma GCC unroll 4
    for (; size > 0; size -= 64, to += 64, from += 64) {
        _mm_prefetch((const char *)from + PREFETCH_BYTES, _MM_HINT_T0);
        __m256i a = load(from), b = load(from + 32);
        _mm256_stream_si256((void *)to, a);
        _mm256_stream_si256((void *)(to + 32), b);
    }
}

const struct quire_sum_kernel quire_sum_avx2 = {
    .name = "avx2",
    .sum = kernel_sum,
    .copy_blocks = copy_blocks,
    .finish = kernel_finish,
    .stream = stream_copy,
};
#endif
