/*
 * Rows: row_bytes of one token of one head, in a caller's memory at some stride from token to token and from head to head. Copies go
 * token by token through all heads, because that is how engines keep their KV: neighbouring heads of a token are neighbours in memory.
 */
#ifndef QUIRE_ROWS_H
#define QUIRE_ROWS_H

#include <stddef.h>
#include <stdint.h>

/* One side of a copy: row (head, token) begins at base + head·head_stride + token·token_stride. */
struct quire_rows {
    uint8_t *base;
    int64_t head_stride, token_stride;
};

void quire_rows_copy(const struct quire_rows *to, const struct quire_rows *from, uint32_t n_heads, uint32_t n_tokens, size_t row_bytes);
/*
 * Bytes [at, at + size) of one head, counted as if its rows were contiguous, to or from contiguous memory. They may begin and end inside
 * a row.
 */
void quire_rows_put(const struct quire_rows *to, uint32_t head, size_t row_bytes, size_t at, const uint8_t *from, size_t size);
void quire_rows_get(const struct quire_rows *from, uint32_t head, size_t row_bytes, size_t at, uint8_t *to, size_t size);

#endif
