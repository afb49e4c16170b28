/*
 * How far something is, on standard error, when it takes longer than two seconds. On a terminal one line that changes, elsewhere a line
 * every ten seconds.
 */
#ifndef QUIRECTL_PROGRESS_H
#define QUIRECTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *to; /* NULL: says nothing */
    uint64_t began_ms, told_ms;
    bool terminal, told;
};

void progress_begin(struct progress *progress, FILE *to);
/* Is it time to say something? */
bool progress_due(struct progress *progress);
/* After progress_due said so. */
void progress_tell(struct progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Leaves the terminal's line clean. */
void progress_end(struct progress *progress);

#endif
