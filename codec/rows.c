#include "codec/rows.h"

#include "proto/base/base.h"

/* Inlined with a constant row_bytes this is a few register moves a row; a call of memcpy would cost more than the bytes. */
static inline __attribute__((always_inline)) void copy_fixed(struct quire_rows to, struct quire_rows from, uint32_t n_heads,
                                                             uint32_t n_tokens, size_t row_bytes) {
    for (; n_tokens > 0; n_tokens--, to.base += to.token_stride, from.base += from.token_stride) {
        uint8_t *out = to.base;
        const uint8_t *in = from.base;
        for (uint32_t head = 0; head < n_heads; head++, out += to.head_stride, in += from.head_stride) {
            memcpy(out, in, row_bytes);
        }
    }
}

void quire_rows_copy(const struct quire_rows *to, const struct quire_rows *from, uint32_t n_heads, uint32_t n_tokens, size_t row_bytes) {
    switch (row_bytes) {
#define FIXED(size)                                                                                                                        \
    case size:                                                                                                                             \
        copy_fixed(*to, *from, n_heads, n_tokens, size);                                                                                   \
        return;
        FIXED(64)
        FIXED(128)
        FIXED(160)
        FIXED(192)
        FIXED(256)
        FIXED(512)
#undef FIXED
    default:
        copy_fixed(*to, *from, n_heads, n_tokens, row_bytes);
    }
}

/* How much of [at, at + size) lies in the row in which it begins. */
static size_t piece_bytes(size_t row_bytes, size_t at, size_t size) { return quire_min_u64(row_bytes - at % row_bytes, size); }

static uint8_t *address(const struct quire_rows *rows, uint32_t head, size_t row_bytes, size_t at) {
    return rows->base + head * rows->head_stride + (int64_t)(at / row_bytes) * rows->token_stride + at % row_bytes;
}

void quire_rows_put(const struct quire_rows *to, uint32_t head, size_t row_bytes, size_t at, const uint8_t *from, size_t size) {
    while (size > 0) {
        size_t piece = piece_bytes(row_bytes, at, size);
        memcpy(address(to, head, row_bytes, at), from, piece);
        at += piece;
        from += piece;
        size -= piece;
    }
}

void quire_rows_get(const struct quire_rows *from, uint32_t head, size_t row_bytes, size_t at, uint8_t *to, size_t size) {
    while (size > 0) {
        size_t piece = piece_bytes(row_bytes, at, size);
        memcpy(to, address(from, head, row_bytes, at), piece);
        at += piece;
        to += piece;
        size -= piece;
    }
}
