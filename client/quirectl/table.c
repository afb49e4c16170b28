#include "client/quirectl/table.h"

#include "proto/base/units.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

unsigned table_width(const char *text) {
    unsigned width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

void table_begin(struct table *table, const char *const *titles, unsigned n_columns, const char *align) {
    *table = (struct table){.n_columns = n_columns, .titles = titles, .align = align};
    for (unsigned i = 0; i < n_columns; i++) {
        table->width[i] = table_width(titles[i]);
    }
}

void table_cell(struct table *table, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at;
    }
    if (table->n_cells == table->capacity) {
        unsigned capacity = table->capacity > 0 ? table->capacity * 2 : 64;
        char **cells = realloc(table->cells, capacity * sizeof *cells);
        if (cells == NULL) {
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    char *copy = strdup(text);
    if (copy == NULL) {
        return;
    }
    unsigned column = table->n_cells % table->n_columns, width = table_width(text);
    table->width[column] = width > table->width[column] ? width : table->width[column];
    table->cells[table->n_cells++] = copy;
}

void table_size(struct table *table, unsigned long long size_bytes) {
    char text[QUIRE_UNITS_BYTES];
    quire_human_size(size_bytes, text, sizeof text);
    table_cell(table, "%s", text);
}

void table_count(struct table *table, unsigned long long value) {
    char text[QUIRE_UNITS_BYTES];
    quire_human_count(value, text, sizeof text);
    table_cell(table, "%s", text);
}

static void print_row(const struct table *table, const char *const *row, unsigned indent, FILE *to) {
    fprintf(to, "%*s", (int)indent, "");
    for (unsigned i = 0; i < table->n_columns; i++) {
        int pad = (int)(table->width[i] - table_width(row[i]));
        if (table->align[i] == 'r') {
            fprintf(to, "%*s%s", pad, "", row[i]);
        } else if (i + 1 < table->n_columns) {
            fprintf(to, "%s%*s", row[i], pad, "");
        } else {
            fprintf(to, "%s", row[i]);
        }
        fputs(i + 1 < table->n_columns ? "  " : "\n", to);
    }
}

void table_end(struct table *table, unsigned indent, unsigned max_rows, FILE *to) {
    unsigned n_rows = table->n_cells / table->n_columns, shown = max_rows > 0 && max_rows < n_rows ? max_rows : n_rows;
    if (n_rows > 0) {
        print_row(table, table->titles, indent, to);
    }
    for (unsigned i = 0; i < shown; i++) {
        print_row(table, (const char *const *)table->cells + (size_t)i * table->n_columns, indent, to);
    }
    if (shown < n_rows) {
        fprintf(to, "%*s… and %u more\n", (int)indent, "", n_rows - shown);
    }
    for (unsigned i = 0; i < table->n_cells; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct table){0};
}
