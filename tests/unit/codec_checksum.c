/* Checksums: every kernel of this machine computes xxhash's own scalar XXH3-64, and copies sum exactly what they wrote. */
#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_SCALAR
#include <xxhash.h>

#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "codec/combine.h"
#include "codec/record.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>
#include <pthread.h>

#define LARGE_BYTES (1u << 20)

static uint8_t *random_bytes(struct dice *dice, size_t size) {
    uint64_t *words = aligned_alloc(64, (size + 63) / 64 * 64);
    for (size_t i = 0; i < (size + 7) / 8; i++) {
        words[i] = dice_next(dice);
    }
    return (uint8_t *)words;
}

/* Sums as another program computed them: stored records depend on them. */
Test(checksum, golden_sums) {
    static const struct {
        size_t size;
        uint64_t sum;
    } golden[] = {
        {0, 0x2d06800538d394c2},   {1, 0xc44bdff4074eecdb},    {16, 0x0a0ec5ae8679cb7f},   {240, 0xb80284837259eee4},
        {241, 0x44dbd3180a664e27}, {1024, 0xd1abb5dbd52032f9}, {1025, 0xa3908b116ddf0191}, {65541, 0x756c006e1652360b},
    };
    static uint8_t data[65541], copy[65541];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
    }
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        cr_assert_eq(quire_checksum(data, golden[i].size), golden[i].sum, "%zu bytes", golden[i].size);
        cr_assert_eq(quire_copy_checksum(copy, data, golden[i].size), golden[i].sum, "%zu bytes", golden[i].size);
    }
}

static void check_size(const struct quire_sum_kernel *kernel, uint8_t *to, const uint8_t *from, size_t size, bool stream) {
    uint64_t expected = XXH3_64bits(from, size);
    to[size] = 0xa5;
    memset(to, 0, size);
    cr_assert_eq(kernel->sum(from, size), expected, "%s, %zu bytes", kernel->name, size);
    cr_assert_eq(quire_sum_copy_with(kernel, to, from, size, stream), expected, "%s, copy of %zu bytes", kernel->name, size);
    quire_stream_end();
    cr_assert_arr_eq(to, from, size, "%s, %zu bytes", kernel->name, size);
    cr_assert_eq(to[size], 0xa5, "%s wrote behind %zu bytes", kernel->name, size);
}

/* Each kernel, every length up to some blocks and some long ones, from odd addresses too, streamed and not. */
Test(checksum, kernels_equal_the_scalar_specification) {
    struct dice dice = dice_printed("checksum kernels");
    uint8_t *from = random_bytes(&dice, LARGE_BYTES), *to = random_bytes(&dice, LARGE_BYTES);
    const struct quire_sum_kernel *kernel;
    for (unsigned k = 0; (kernel = quire_sum_kernel(k)) != NULL; k++) {
        fprintf(stderr, "checksum: kernel %s\n", kernel->name);
        for (size_t size = 0; size < 2 * QUIRE_SUM_BLOCK_BYTES + 130; size++) {
            check_size(kernel, to + size % 3, from + size % 5, size, false);
            check_size(kernel, to, from + size % 5, size, true);
        }
        for (int round = 0; round < 20; round++) {
            size_t size = dice_below(&dice, LARGE_BYTES - 64);
            check_size(kernel, to + round % 64, from + round % 63, size, false);
            check_size(kernel, to, from + round % 63, size, true);
        }
    }
    cr_assert_str_eq(quire_sum_kernel(0)->name, quire_checksum_kernel());
    free(from);
    free(to);
}

/* A plain copy is memcpy, on both sides of the size where it starts to stream, aligned or not. */
Test(checksum, copy_is_memcpy) {
    struct dice dice = dice_printed("copy");
    uint8_t *from = random_bytes(&dice, LARGE_BYTES), *to = random_bytes(&dice, LARGE_BYTES);
    for (int round = 0; round < 50; round++) {
        size_t at = round % 3 == 0 ? dice_below(&dice, 64) : 0;
        size_t size = QUIRE_STREAM_BYTES - 200 + dice_below(&dice, round % 2 == 0 ? 400 : LARGE_BYTES / 2);
        memset(to, 0, LARGE_BYTES);
        quire_copy(to + at, from, size);
        cr_assert_arr_eq(to + at, from, size);
        cr_assert_eq(to[at + size], 0);
    }
    quire_copy(to, from, 0);
    free(from);
    free(to);
}

/* A client may scribble on its memory while the daemon copies it: whatever the copy then holds, the sum is the copy's. */
static _Atomic int scribbling;
static void *scribble(void *argument) {
    volatile uint64_t *words = argument;
    for (uint64_t i = 0; scribbling; i++) {
        words[i * 2654435761u % (LARGE_BYTES / 8)] = i;
    }
    return NULL;
}

Test(checksum, the_sum_is_that_of_the_copy) {
    struct dice dice = dice_printed("scribble");
    uint8_t *from = random_bytes(&dice, LARGE_BYTES), *to = random_bytes(&dice, LARGE_BYTES);
    pthread_t writer;
    scribbling = 1;
    cr_assert_eq(pthread_create(&writer, NULL, scribble, from), 0);
    const struct quire_sum_kernel *kernel;
    for (unsigned k = 0; (kernel = quire_sum_kernel(k)) != NULL; k++) {
        for (int round = 0; round < 50; round++) {
            size_t size = LARGE_BYTES - dice_below(&dice, 5000);
            uint64_t sum = quire_sum_copy_with(kernel, to, from, size, round % 2 == 0);
            quire_stream_end();
            cr_assert_eq(sum, XXH3_64bits(to, size), "%s", kernel->name);
        }
    }
    scribbling = 0;
    pthread_join(writer, NULL);
    free(from);
    free(to);
}

/* The sum over sums, added one by one, is that over all of them: around blocks of 128 sums and the short form's end at 30. */
Test(checksum, combining_one_by_one) {
    struct dice dice = dice_printed("combine");
    static uint64_t checks[600];
    for (size_t i = 0; i < 600; i++) {
        checks[i] = dice_next(&dice);
    }
    for (uint32_t n = 0; n <= 600; n++) {
        struct quire_combine combine;
        quire_combine_begin(&combine);
        for (uint32_t i = 0; i < n; i++) {
            quire_combine_add(&combine, checks[i]);
        }
        cr_assert_eq(quire_combine_end(&combine), XXH3_64bits(checks, n * sizeof(*checks)), "%u sums", n);
        cr_assert_eq(quire_record_combine(checks, n), XXH3_64bits(checks, n * sizeof(*checks)));
    }
}
