/* The half of a wide kernel that does not depend on its registers: blocks and tails made of the including file's copy_stripes and
   stream_stripe. */
#ifndef QUIRE_CHECKSUM_WIDE_H
#define QUIRE_CHECKSUM_WIDE_H

#include "codec/checksum_xxh3.h"

static inline __attribute__((always_inline)) void copy_all(uint64_t *acc, uint8_t *to, const uint8_t *from, size_t n_blocks, bool stream) {
    XXH_ALIGN(XXH_ACC_ALIGN) xxh_u64 sum[XXH_ACC_NB];
    memcpy(sum, acc, sizeof(sum));
    for (; n_blocks > 0; n_blocks--, to += QUIRE_SUM_BLOCK_BYTES, from += QUIRE_SUM_BLOCK_BYTES) {
        copy_stripes(sum, to, from, STRIPES_PER_BLOCK, XXH3_kSecret, stream);
        XXH3_scrambleAcc(sum, SCRAMBLE_SECRET);
    }
    memcpy(acc, sum, sizeof(sum));
}

static void copy_blocks(uint64_t acc[QUIRE_SUM_LANES], uint8_t *to, const uint8_t *from, size_t n_blocks, bool stream) {
    if (stream) {
        copy_all(acc, to, from, n_blocks, true);
    } else {
        copy_all(acc, to, from, n_blocks, false);
    }
}

static uint64_t copy_tail(uint64_t acc[QUIRE_SUM_LANES], uint8_t *to, const uint8_t *from, size_t tail_bytes, uint64_t total_bytes,
                          bool stream) {
    XXH_ALIGN(XXH_ACC_ALIGN) xxh_u64 sum[XXH_ACC_NB];
    size_t last = tail_bytes - XXH_STRIPE_LEN;
    memcpy(sum, acc, sizeof(sum));
    copy_stripes(sum, to, from, last / XXH_STRIPE_LEN, XXH3_kSecret, stream);
    copy_stripes(sum, to + last, from + last, 1, LAST_SECRET, stream);
    return merge(sum, total_bytes);
}

static void stream_copy(uint8_t *to, const uint8_t *from, size_t size) {
#pragma GCC unroll 4
    for (; size > 0; size -= XXH_STRIPE_LEN, to += XXH_STRIPE_LEN, from += XXH_STRIPE_LEN) {
        stream_stripe(to, from);
    }
}

static void stream_rows(struct quire_rows to, struct quire_rows from, uint32_t n_heads, uint32_t n_tokens, size_t row_bytes) {
    for (; n_tokens > 0; n_tokens--, to.base += to.token_stride, from.base += from.token_stride) {
        uint8_t *out = to.base;
        const uint8_t *in = from.base;
        for (uint32_t head = 0; head < n_heads; head++, out += to.head_stride, in += from.head_stride) {
            for (size_t i = 0; i < row_bytes; i += XXH_STRIPE_LEN) {
                stream_stripe(out + i, in + i);
            }
        }
    }
}

#endif
