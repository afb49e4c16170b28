/*
 * Tables for people: columns as wide as their widest cell, numbers to the right, control characters shown as '?'. The last column
 * is not padded. Bounded: what does not fit into the limits is left out and told.
 */
#ifndef QUIRECTL_TABLE_H
#define QUIRECTL_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table {
    unsigned n_columns;
    const char *const *titles;
    const char *align; /* a letter a column: 'l' or 'r' */
    char **cells;
    unsigned n_cells, capacity;
    unsigned width[TABLE_COLUMNS_MAX];
};

/* titles: n_columns texts that outlive the table. */
void table_begin(struct table *table, const char *const *titles, unsigned n_columns, const char *align);
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A size, a count or a duration in people's units. */
void table_size(struct table *table, unsigned long long size_bytes);
void table_count(struct table *table, unsigned long long value);
/* Prints (titles only when there is a row) and frees. At most max_rows, 0: all; `indent` blanks before each line. */
void table_end(struct table *table, unsigned indent, unsigned max_rows, FILE *to);

/* How many places a text takes on a terminal (UTF-8 letters count one). */
unsigned table_width(const char *text);

#endif
