/*
 * Rows of a lane in a caller's memory: token t of the lane is row_bytes at base + t·stride. A lane's bytes, counted as if its rows
 * were contiguous, are copied out to or in from them in pieces that may begin and end inside a row.
 */
#ifndef QUIRE_ROWS_H
#define QUIRE_ROWS_H

#include <stddef.h>
#include <stdint.h>

struct quire_rows {
    uint8_t *base;
    int64_t stride;
    size_t row_bytes;
};

/* Bytes [at, at + size) of the lane, to or from contiguous memory. */
void quire_rows_out(const struct quire_rows *rows, size_t at, const uint8_t *from, size_t size);
void quire_rows_in(const struct quire_rows *rows, size_t at, uint8_t *to, size_t size);

#endif
