/*
 * What a checksum kernel offers, one constant table an instruction set. All compute XXH3-64; they differ in the registers that the
 * bytes pass through. A long sum is begun (quire_sum_begin), fed whole blocks of QUIRE_SUM_BLOCK_BYTES while they are copied, and
 * finished over what is left: 1 to QUIRE_SUM_BLOCK_BYTES bytes. `copy_blocks` loads each byte once: what it stores is what it
 * sums, so a source that somebody else changes meanwhile cannot make the two differ.
 */
#ifndef QUIRE_CHECKSUM_KERNEL_H
#define QUIRE_CHECKSUM_KERNEL_H

#include "codec/rows.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUIRE_SUM_BLOCK_BYTES 1024u
/* Up to here XXH3 has another form, without blocks: such sums are taken whole. */
#define QUIRE_SUM_SHORT_BYTES 240u
#define QUIRE_SUM_LANES 8
/* From here on copies bypass the caches: the bytes would push out more than they are worth (measured: 1.2 to 1.6 × memcpy). */
#define QUIRE_STREAM_BYTES (256u << 10)
/* What a destination must be aligned to for that. */
#define QUIRE_STREAM_ALIGN 64u

struct quire_sum_kernel {
    const char *name;
    uint64_t (*sum)(const void *data, size_t size);
    /* `stream`: stores bypass the caches; `to` is then aligned to QUIRE_STREAM_ALIGN and quire_stream_end follows. */
    void (*copy_blocks)(uint64_t acc[QUIRE_SUM_LANES], uint8_t *to, const uint8_t *from, size_t n_blocks, bool stream);
    /* The 64 bytes before the tail's end must be readable, and those of the data. total_bytes > QUIRE_SUM_SHORT_BYTES. */
    uint64_t (*finish)(uint64_t acc[QUIRE_SUM_LANES], const uint8_t *tail, size_t tail_bytes, uint64_t total_bytes);
    /* Copies the tail, a multiple of 64 bytes, as copy_blocks does, and finishes. NULL: copy it, then `finish`. */
    uint64_t (*copy_tail)(uint64_t acc[QUIRE_SUM_LANES], uint8_t *to, const uint8_t *from, size_t tail_bytes, uint64_t total_bytes,
                          bool stream);
    /* Copies past the caches. `to` aligned to QUIRE_STREAM_ALIGN, size a multiple of it. NULL: has none. */
    void (*stream)(uint8_t *to, const uint8_t *from, size_t size);
    /* The same for rows: all of `to`, base and strides, is aligned. NULL: has none. */
    void (*stream_rows)(struct quire_rows to, struct quire_rows from, uint32_t n_heads, uint32_t n_tokens, size_t row_bytes);
};

extern const struct quire_sum_kernel quire_sum_generic;
#ifdef __x86_64__
extern const struct quire_sum_kernel quire_sum_avx2;
extern const struct quire_sum_kernel quire_sum_avx512;
#endif

/* The kernels that this machine can run, best first; NULL behind the last. */
const struct quire_sum_kernel *quire_sum_kernel(unsigned index);
void quire_sum_begin(uint64_t acc[QUIRE_SUM_LANES]);
/* quire_copy_checksum with a given kernel. */
uint64_t quire_sum_copy_with(const struct quire_sum_kernel *kernel, void *to, const void *from, size_t size, bool stream);
/* copy_blocks (streamed if wanted and `to` is aligned) and finish of the best kernel. */
void quire_sum_blocks(uint64_t acc[QUIRE_SUM_LANES], void *to, const void *from, size_t n_blocks, bool stream);
/* Copies the tail and finishes: the last 64 bytes before `to` + tail_bytes must be readable, and copied already where the tail is shorter. */
uint64_t quire_sum_tail(uint64_t acc[QUIRE_SUM_LANES], void *to, const void *from, size_t tail_bytes, uint64_t total_bytes, bool stream);
uint64_t quire_sum_finish(uint64_t acc[QUIRE_SUM_LANES], const void *tail, size_t tail_bytes, uint64_t total_bytes);
/* quire_copy_checksum for callers that know what they copy next: a lane of a long run streams although it is short, if aligned. */
uint64_t quire_sum_copy(void *to, const void *from, size_t size, bool stream);
/* True when a copy of run_bytes to here should stream; `to` NULL: its alignment is looked at later. */
bool quire_stream_wanted(const void *to, size_t run_bytes);
/* quire_rows_copy past the caches, if the rows are aligned for it and the machine can; else false, and nothing was done. */
bool quire_stream_rows(const struct quire_rows *to, const struct quire_rows *from, uint32_t n_heads, uint32_t n_tokens, size_t row_bytes);
/* Orders streamed stores before what this thread does next: once behind each run. */
void quire_stream_end(void);

#endif
