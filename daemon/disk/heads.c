#include "daemon/disk/heads.h"

#include <stdlib.h>

static struct heads_line *heads_line(const struct heads *heads, uint32_t segment, uint32_t at_units) {
    uint64_t hash = ((uint64_t)segment << 32 | at_units) * 0x9e3779b97f4a7c15ull;
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ull; /* records of one size lie at equal distances */
    return &heads->lines[hash >> 32 & (HEADS_LINES - 1)];
}

const uint8_t *heads_find(struct heads *heads, uint32_t segment, uint64_t epoch, uint32_t at_units, uint32_t size_bytes) {
    const struct heads_line *line = heads->lines != NULL ? heads_line(heads, segment, at_units) : NULL;
    bool here =
        line != NULL && line->epoch == epoch && line->segment == segment && line->at_units == at_units && line->size_bytes == size_bytes;
    heads->hits += here;
    heads->misses += !here;
    return here ? line->bytes : NULL;
}

static void heads_drop(struct heads *heads, struct heads_line *line) {
    heads->size_bytes -= line->size_bytes;
    free(line->bytes);
    *line = (struct heads_line){0};
}

void heads_keep(struct heads *heads, uint32_t segment, uint64_t epoch, uint32_t at_units, const uint8_t *bytes, uint32_t size_bytes) {
    if (heads->lines == NULL) {
        heads->lines = calloc(HEADS_LINES, sizeof *heads->lines);
    }
    uint8_t *copy = heads->lines != NULL && size_bytes <= HEADS_LINE_BYTES ? malloc(size_bytes) : NULL;
    if (copy == NULL) {
        return;
    }
    memcpy(copy, bytes, size_bytes);
    struct heads_line *line = heads_line(heads, segment, at_units);
    heads_drop(heads, line);
    while (heads->size_bytes + size_bytes > HEADS_BYTES) {
        heads_drop(heads, &heads->lines[heads->hand++ % HEADS_LINES]);
    }
    *line = (struct heads_line){.epoch = epoch, .segment = segment, .at_units = at_units, .size_bytes = size_bytes, .bytes = copy};
    heads->size_bytes += size_bytes;
}

void heads_teardown(struct heads *heads) {
    for (uint32_t i = 0; heads->lines != NULL && i < HEADS_LINES; i++) {
        free(heads->lines[i].bytes);
    }
    free(heads->lines);
    *heads = (struct heads){0};
}
