/* What the kernel files have in common: XXH3 in the instruction set that the including file chose with XXH_VECTOR. */
#ifndef QUIRE_CHECKSUM_XXH3_H
#define QUIRE_CHECKSUM_XXH3_H

#include "codec/checksum_kernel.h"

#define XXH_INLINE_ALL
#include <assert.h>
#include <xxhash.h>

#define STRIPES_PER_BLOCK (QUIRE_SUM_BLOCK_BYTES / XXH_STRIPE_LEN)
#define SCRAMBLE_SECRET (XXH3_kSecret + sizeof(XXH3_kSecret) - XXH_STRIPE_LEN)
#define LAST_SECRET (SCRAMBLE_SECRET - XXH_SECRET_LASTACC_START)
/* How far ahead copies ask for their source; beyond what the processor's own prefetcher sees at a page's end. */
#define PREFETCH_BYTES 1024

static_assert(QUIRE_SUM_LANES == XXH_ACC_NB, "xxhash's accumulator");
static_assert(QUIRE_SUM_SHORT_BYTES == XXH3_MIDSIZE_MAX, "xxhash's short form");
static_assert((sizeof(XXH3_kSecret) - XXH_STRIPE_LEN) / XXH_SECRET_CONSUME_RATE == STRIPES_PER_BLOCK, "xxhash's block");

static uint64_t kernel_sum(const void *data, size_t size) { return XXH3_64bits(data, size); }

static uint64_t merge(const xxh_u64 sum[XXH_ACC_NB], uint64_t total_bytes) {
    return XXH3_mergeAccs(sum, XXH3_kSecret + XXH_SECRET_MERGEACCS_START, total_bytes * XXH_PRIME64_1);
}

static uint64_t kernel_finish(uint64_t acc[QUIRE_SUM_LANES], const uint8_t *tail, size_t tail_bytes, uint64_t total_bytes) {
    XXH_ALIGN(XXH_ACC_ALIGN) xxh_u64 sum[XXH_ACC_NB];
    memcpy(sum, acc, sizeof(sum));
    XXH3_accumulate(sum, tail, XXH3_kSecret, (tail_bytes - 1) / XXH_STRIPE_LEN, XXH3_accumulate_512);
    XXH3_accumulate_512(sum, tail + tail_bytes - XXH_STRIPE_LEN, LAST_SECRET);
    return merge(sum, total_bytes);
}

#endif
