#include "codec/rows.h"

#include "proto/base/base.h"

/* Inlined with a constant row_bytes this is a few register moves a row; a call of memcpy would cost more than the bytes. */
static inline __attribute__((always_inline)) void copy_fixed(uint8_t *to, int64_t to_stride, const uint8_t *from, int64_t from_stride,
                                                             size_t n_rows, size_t row_bytes) {
    for (; n_rows > 0; n_rows--, to += to_stride, from += from_stride) {
        memcpy(to, from, row_bytes);
    }
}

static void copy_rows(uint8_t *to, int64_t to_stride, const uint8_t *from, int64_t from_stride, size_t n_rows, size_t row_bytes) {
    switch (row_bytes) {
#define FIXED(size)                                                                                                                        \
    case size:                                                                                                                             \
        copy_fixed(to, to_stride, from, from_stride, n_rows, size);                                                                        \
        return;
        FIXED(64)
        FIXED(128)
        FIXED(160)
        FIXED(192)
        FIXED(256)
        FIXED(512)
#undef FIXED
    default:
        copy_fixed(to, to_stride, from, from_stride, n_rows, row_bytes);
    }
}

/* The bytes of a piece in the row where it begins, when it does not begin at the row's start or ends before the row's end. */
static size_t partial_bytes(const struct quire_rows *rows, size_t at, size_t size) {
    size_t left_in_row = rows->row_bytes - at % rows->row_bytes;
    return left_in_row == rows->row_bytes && size >= left_in_row ? 0 : quire_min_u64(left_in_row, size);
}

static uint8_t *address(const struct quire_rows *rows, size_t at) {
    return rows->base + (int64_t)(at / rows->row_bytes) * rows->stride + at % rows->row_bytes;
}

void quire_rows_out(const struct quire_rows *rows, size_t at, const uint8_t *from, size_t size) {
    while (size > 0) {
        size_t piece = partial_bytes(rows, at, size);
        if (piece > 0) {
            memcpy(address(rows, at), from, piece);
        } else {
            size_t n_rows = size / rows->row_bytes;
            copy_rows(address(rows, at), rows->stride, from, (int64_t)rows->row_bytes, n_rows, rows->row_bytes);
            piece = n_rows * rows->row_bytes;
        }
        at += piece;
        from += piece;
        size -= piece;
    }
}

void quire_rows_in(const struct quire_rows *rows, size_t at, uint8_t *to, size_t size) {
    while (size > 0) {
        size_t piece = partial_bytes(rows, at, size);
        if (piece > 0) {
            memcpy(to, address(rows, at), piece);
        } else {
            size_t n_rows = size / rows->row_bytes;
            copy_rows(to, (int64_t)rows->row_bytes, address(rows, at), rows->stride, n_rows, rows->row_bytes);
            piece = n_rows * rows->row_bytes;
        }
        at += piece;
        to += piece;
        size -= piece;
    }
}
