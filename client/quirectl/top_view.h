/*
 * The picture that `top` shows, as lines of text made from two samples of the daemon's answers: the screen draws them, --once prints
 * them, and tests read them.
 */
#ifndef QUIRECTL_TOP_VIEW_H
#define QUIRECTL_TOP_VIEW_H

#include "proto/quire.pb-c.h"

#include <stdint.h>

struct top_sample {
    uint64_t at_ms; /* any monotonic clock */
    Quire__Wire__AdminReply *status, *counters, *sessions, *namespaces;
};

#define TOP_LINES_MAX 256
#define TOP_TITLE '\x01' /* a line that starts with it is a title */
struct top_picture {
    char *lines[TOP_LINES_MAX];
    unsigned n_lines;
};

/* What a counter grew by in a second; 0 without an earlier sample or after a restart of the daemon. */
double top_rate(const struct top_sample *before, const struct top_sample *now, const char *counter);
/* At most `height` lines: sessions and namespaces share what the rest leaves. `before` may be NULL: no rates. */
void top_draw(const struct top_sample *before, const struct top_sample *now, unsigned width, unsigned height, struct top_picture *picture);
void top_picture_free(struct top_picture *picture);

#endif
