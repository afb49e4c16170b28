/* SHA-256 compression with the SHA instructions of x86-64. The state is held as the instructions want it, {A,B,E,F} and {C,D,G,H}; the
   message schedule is a ring of four vectors. */
#include "proto/sha256_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

static inline __m128i next_words(__m128i w0, __m128i w4, __m128i w8, __m128i w12) {
    __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w4), _mm_alignr_epi8(w12, w8, 4));
    return _mm_sha256msg2_epu32(partial, w12);
}

static inline void compress(__m128i *abef, __m128i *cdgh, const uint8_t *block) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i w[4], s0 = *abef, s1 = *cdgh;
#pragma GCC unroll 16
    for (unsigned g = 0; g < 16; g++) {
        if (g < 4) {
            w[g] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * g)), big_endian);
        } else {
            w[g % 4] = next_words(w[g % 4], w[(g + 1) % 4], w[(g + 2) % 4], w[(g + 3) % 4]);
        }
        __m128i round = _mm_add_epi32(w[g % 4], _mm_loadu_si128((const __m128i *)(quire_sha256_constants + 4 * g)));
        s1 = _mm_sha256rnds2_epu32(s1, s0, round);
        s0 = _mm_sha256rnds2_epu32(s0, s1, _mm_shuffle_epi32(round, 0x0e));
    }
    *abef = _mm_add_epi32(*abef, s0);
    *cdgh = _mm_add_epi32(*cdgh, s1);
}

void quire_sha256_blocks_shani(uint32_t state[8], const uint8_t *data, size_t n_blocks) {
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
    __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
    for (; n_blocks > 0; n_blocks--, data += 64) {
        compress(&abef, &cdgh, data);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#endif
