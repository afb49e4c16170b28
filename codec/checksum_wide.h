/* The half of a wide kernel that does not depend on its registers: blocks and tails made of the including file's copy_stripes. */
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

#endif
