#include "codec/checksum.h"

#include "codec/checksum_kernel.h"

#include <string.h>
#ifdef __x86_64__
#include <emmintrin.h>
#endif

struct candidate {
    const struct quire_sum_kernel *kernel;
    bool runs;
};

const struct quire_sum_kernel *quire_sum_kernel(unsigned index) {
    const struct candidate candidates[] = {
#ifdef __x86_64__
        {&quire_sum_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("bmi2")},
        {&quire_sum_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")},
#endif
        {&quire_sum_generic, true},
    };
    for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
        if (candidates[i].runs && index-- == 0) {
            return candidates[i].kernel;
        }
    }
    return NULL;
}

/* Threads that race here store the same value. */
static const struct quire_sum_kernel *best(void) {
    static const struct quire_sum_kernel *_Atomic chosen;
    const struct quire_sum_kernel *known = chosen;
    if (known == NULL) {
        known = quire_sum_kernel(0);
        chosen = known;
    }
    return known;
}

void quire_sum_begin(uint64_t acc[QUIRE_SUM_LANES]) {
    static const uint64_t initial[QUIRE_SUM_LANES] = {
        0x00000000c2b2ae3d, 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
        0x85ebca77c2b2ae63, 0x0000000085ebca77, 0x27d4eb2f165667c5, 0x000000009e3779b1,
    };
    memcpy(acc, initial, sizeof(initial));
}

static uint64_t copy_tail(const struct quire_sum_kernel *kernel, uint64_t *acc, uint8_t *to, const uint8_t *from, size_t tail_bytes,
                          uint64_t total_bytes, bool stream) {
    if (kernel->copy_tail != NULL && tail_bytes % QUIRE_STREAM_ALIGN == 0) {
        return kernel->copy_tail(acc, to, from, tail_bytes, total_bytes, stream);
    }
    memcpy(to, from, tail_bytes);
    return kernel->finish(acc, to, tail_bytes, total_bytes);
}

uint64_t quire_sum_copy_with(const struct quire_sum_kernel *kernel, void *to, const void *from, size_t size, bool stream) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if (size <= QUIRE_SUM_SHORT_BYTES) {
        memcpy(out, in, size);
        return kernel->sum(out, size);
    }
    uint64_t acc[QUIRE_SUM_LANES];
    size_t body_bytes = (size - 1) / QUIRE_SUM_BLOCK_BYTES * QUIRE_SUM_BLOCK_BYTES;
    quire_sum_begin(acc);
    kernel->copy_blocks(acc, out, in, body_bytes / QUIRE_SUM_BLOCK_BYTES, stream);
    return copy_tail(kernel, acc, out + body_bytes, in + body_bytes, size - body_bytes, size, stream);
}

uint64_t quire_sum_copy(void *to, const void *from, size_t size, bool stream) {
    return quire_sum_copy_with(best(), to, from, size, stream && (uintptr_t)to % QUIRE_STREAM_ALIGN == 0);
}

void quire_sum_blocks(uint64_t acc[QUIRE_SUM_LANES], void *to, const void *from, size_t n_blocks, bool stream) {
    best()->copy_blocks(acc, to, from, n_blocks, stream && (uintptr_t)to % QUIRE_STREAM_ALIGN == 0);
}

uint64_t quire_sum_tail(uint64_t acc[QUIRE_SUM_LANES], void *to, const void *from, size_t tail_bytes, uint64_t total_bytes, bool stream) {
    return copy_tail(best(), acc, to, from, tail_bytes, total_bytes, stream && (uintptr_t)to % QUIRE_STREAM_ALIGN == 0);
}

uint64_t quire_sum_finish(uint64_t acc[QUIRE_SUM_LANES], const void *tail, size_t tail_bytes, uint64_t total_bytes) {
    return best()->finish(acc, tail, tail_bytes, total_bytes);
}

bool quire_stream_wanted(const void *to, size_t run_bytes) {
    return run_bytes >= QUIRE_STREAM_BYTES && (uintptr_t)to % QUIRE_STREAM_ALIGN == 0 && best()->stream != NULL;
}

bool quire_stream_rows(const struct quire_rows *to, const struct quire_rows *from, uint32_t n_heads, uint32_t n_tokens, size_t row_bytes) {
    uintptr_t all = (uintptr_t)to->base | (uintptr_t)to->head_stride | (uintptr_t)to->token_stride | row_bytes;
    if (all % QUIRE_STREAM_ALIGN != 0 || best()->stream_rows == NULL) {
        return false;
    }
    best()->stream_rows(*to, *from, n_heads, n_tokens, row_bytes);
    return true;
}

void quire_stream_end(void) {
#ifdef __x86_64__
    _mm_sfence();
#endif
}

uint64_t quire_checksum(const void *data, size_t size) { return best()->sum(data, size); }

uint64_t quire_copy_checksum(void *to, const void *from, size_t size) {
    bool stream = quire_stream_wanted(to, size);
    uint64_t sum = quire_sum_copy(to, from, size, stream);
    if (stream) {
        quire_stream_end();
    }
    return sum;
}

void quire_copy(void *to, const void *from, size_t size) {
    size_t streamed = 0;
    if (quire_stream_wanted(to, size)) {
        streamed = size / QUIRE_STREAM_ALIGN * QUIRE_STREAM_ALIGN;
        best()->stream(to, from, streamed);
        quire_stream_end();
    }
    memcpy((uint8_t *)to + streamed, (const uint8_t *)from + streamed, size - streamed);
}

const char *quire_checksum_kernel(void) { return best()->name; }
