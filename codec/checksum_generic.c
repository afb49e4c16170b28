/* Any machine: on x86-64 its baseline, elsewhere what xxhash finds. Copies go in steps that stay in the first-level cache and are
   summed where they were copied to. */
#ifdef __x86_64__
#define XXH_VECTOR XXH_SSE2
#endif
#include "codec/checksum_xxh3.h"

#define STEP_BLOCKS 4

static void copy_blocks(uint64_t acc[QUIRE_SUM_LANES], uint8_t *to, const uint8_t *from, size_t n_blocks, bool stream) {
    XXH_ALIGN(XXH_ACC_ALIGN) xxh_u64 sum[XXH_ACC_NB];
    (void)stream;
    memcpy(sum, acc, sizeof(sum));
    for (size_t done = 0; done < n_blocks;) {
        size_t step = n_blocks - done < STEP_BLOCKS ? n_blocks - done : STEP_BLOCKS;
        memcpy(to, from, step * QUIRE_SUM_BLOCK_BYTES);
        for (size_t i = 0; i < step; i++, to += QUIRE_SUM_BLOCK_BYTES, from += QUIRE_SUM_BLOCK_BYTES) {
            XXH3_accumulate(sum, to, XXH3_kSecret, STRIPES_PER_BLOCK, XXH3_accumulate_512);
            XXH3_scrambleAcc(sum, SCRAMBLE_SECRET);
        }
        done += step;
    }
    memcpy(acc, sum, sizeof(sum));
}

const struct quire_sum_kernel quire_sum_generic = {
#ifdef __x86_64__
    .name = "sse2",
#else
    .name = "generic",
#endif
    .sum = kernel_sum,
    .copy_blocks = copy_blocks,
    .finish = kernel_finish,
};
