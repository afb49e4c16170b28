#include "client/llama/blob.h"

#include "proto/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CELL_BYTES 12u /* position, count of owners, owner */

/* ---- reading ---------------------------------------------------------------------------------------------------------- */
struct cursor {
    const uint8_t *bytes;
    uint64_t size, at;
    char *why;
    size_t why_bytes;
};

__attribute__((format(printf, 2, 3))) static enum quire_status refuse(struct cursor *in, const char *format, ...) {
    if (in->why != NULL && in->why_bytes > 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(in->why, in->why_bytes, format, args);
        va_end(args);
    }
    return QUIRE_INVALID;
}

static enum quire_status take(struct cursor *in, void *out, uint64_t size, const char *what) {
    if (!quire_in_range(in->at, size, in->size)) {
        return refuse(in, "state ends within %s (at byte %llu of %llu)", what, (unsigned long long)in->at, (unsigned long long)in->size);
    }
    memcpy(out, in->bytes + in->at, size);
    in->at += size;
    return QUIRE_OK;
}

static enum quire_status skip(struct cursor *in, uint64_t size, const char *what) {
    if (!quire_in_range(in->at, size, in->size)) {
        return refuse(in, "state ends within %s (at byte %llu of %llu)", what, (unsigned long long)in->at, (unsigned long long)in->size);
    }
    in->at += size;
    return QUIRE_OK;
}

static enum quire_status parse_cells(struct cursor *in, struct kvblob_section *section) {
    int32_t least = INT32_MAX, most = -1;
    section->in_order = true;
    section->cells_offset = in->at;
    for (uint32_t i = 0; i < section->n_cells; i++) {
        int32_t cell[3] = {0};
        QUIRE_FORWARD(take(in, cell, sizeof(cell), "its cells"));
        if (cell[1] != 1 || cell[0] < 0) {
            return refuse(in, "cell %u at position %d belongs to %d sequences", (unsigned)i, (int)cell[0], (int)cell[1]);
        }
        section->in_order = section->in_order && (i == 0 || (int64_t)cell[0] == (int64_t)most + 1);
        least = cell[0] < least ? cell[0] : least;
        most = cell[0] > most ? cell[0] : most;
    }
    section->first_pos = least;
    if ((int64_t)most - least + 1 != (int64_t)section->n_cells) {
        return refuse(in, "%u cells at positions %d to %d", (unsigned)section->n_cells, (int)least, (int)most);
    }
    return QUIRE_OK;
}

static enum quire_status parse_rows(struct cursor *in, uint32_t n_cells, struct kvblob_plane *plane, const char *what) {
    QUIRE_FORWARD(take(in, &plane->type, sizeof(plane->type), what));
    QUIRE_FORWARD(take(in, &plane->row_bytes, sizeof(plane->row_bytes), what));
    if (plane->row_bytes == 0 || plane->row_bytes > KVBLOB_MAX_ROW_BYTES) {
        return refuse(in, "%s: a row of %llu bytes", what, (unsigned long long)plane->row_bytes);
    }
    plane->offset = in->at;
    return skip(in, plane->row_bytes * n_cells, what);
}

static enum quire_status parse_channels(struct cursor *in, uint32_t n_cells, struct kvblob_plane *plane) {
    QUIRE_FORWARD(take(in, &plane->type, sizeof(plane->type), "V"));
    QUIRE_FORWARD(take(in, &plane->elem_bytes, sizeof(plane->elem_bytes), "V"));
    QUIRE_FORWARD(take(in, &plane->n_channels, sizeof(plane->n_channels), "V"));
    if (plane->elem_bytes == 0 || plane->elem_bytes > 4 || plane->n_channels == 0 || plane->n_channels > KVBLOB_MAX_ROW_BYTES / 4) {
        return refuse(in, "V: %u channels of %u bytes", (unsigned)plane->n_channels, (unsigned)plane->elem_bytes);
    }
    plane->row_bytes = (uint64_t)plane->elem_bytes * plane->n_channels;
    plane->offset = in->at;
    return skip(in, plane->row_bytes * n_cells, "V");
}

static enum quire_status parse_section(struct cursor *in, bool has_v, struct kvblob_section *section) {
    uint32_t n_streams = 0, v_turned = 0;
    QUIRE_FORWARD(take(in, &n_streams, sizeof(n_streams), "a section's head"));
    if (n_streams != 1) {
        refuse(in, "%u streams: the cache is not unified", (unsigned)n_streams);
        return QUIRE_UNSUPPORTED;
    }
    QUIRE_FORWARD(take(in, &section->n_cells, sizeof(section->n_cells), "a section's head"));
    if (section->n_cells == 0) {
        return QUIRE_OK; /* an empty cache says nothing more */
    }
    if (section->n_cells > KVBLOB_MAX_CELLS) {
        return refuse(in, "%u cells", (unsigned)section->n_cells);
    }
    QUIRE_FORWARD(parse_cells(in, section));
    QUIRE_FORWARD(take(in, &v_turned, sizeof(v_turned), "a section's head"));
    QUIRE_FORWARD(take(in, &section->n_layers, sizeof(section->n_layers), "a section's head"));
    if (v_turned > 1 || section->n_layers > QUIRE_MAX_LAYERS) {
        return refuse(in, "%u layers, V turned %u", (unsigned)section->n_layers, (unsigned)v_turned);
    }
    section->v_turned = v_turned == 1;
    section->has_v = has_v && section->n_layers > 0;
    for (uint32_t l = 0; l < section->n_layers; l++) {
        QUIRE_FORWARD(parse_rows(in, section->n_cells, &section->k[l], "K"));
    }
    for (uint32_t l = 0; has_v && l < section->n_layers; l++) {
        QUIRE_FORWARD(section->v_turned ? parse_channels(in, section->n_cells, &section->v[l])
                                        : parse_rows(in, section->n_cells, &section->v[l], "V"));
    }
    return QUIRE_OK;
}

enum quire_status kvblob_parse(const uint8_t *bytes, uint64_t size, bool has_v, struct kvblob *blob, char *why, size_t why_bytes) {
    struct cursor in = {.bytes = bytes, .size = size, .why = why, .why_bytes = why_bytes};
    memset(blob, 0, sizeof(*blob));
    QUIRE_FORWARD(take(&in, &blob->magic, sizeof(blob->magic), "its head"));
    QUIRE_FORWARD(take(&in, &blob->seq_id, sizeof(blob->seq_id), "its head"));
    while (in.at < size) {
        if (blob->n_sections == KVBLOB_MAX_SECTIONS) {
            return refuse(&in, "%llu bytes follow its last section", (unsigned long long)(size - in.at));
        }
        QUIRE_FORWARD(parse_section(&in, has_v, &blob->section[blob->n_sections++]));
    }
    if (blob->n_sections == 0) {
        return refuse(&in, "no section");
    }
    blob->size_bytes = size;
    return QUIRE_OK;
}

/* ---- planning and writing --------------------------------------------------------------------------------------------- */
static uint64_t plan_plane(struct kvblob_plane *plane, bool turned, uint32_t n_cells, uint64_t at) {
    plane->offset = at + (turned ? 12 : 4 + 8);
    return plane->offset + plane->row_bytes * n_cells;
}

static uint64_t plan_section(struct kvblob_section *section, uint64_t at) {
    at += 4 + 4; /* streams, cells */
    section->cells_offset = at;
    if (section->n_cells == 0) {
        return at;
    }
    at += (uint64_t)CELL_BYTES * section->n_cells + 4 + 4; /* cells; V turned, layers */
    for (uint32_t l = 0; l < section->n_layers; l++) {
        at = plan_plane(&section->k[l], false, section->n_cells, at);
    }
    for (uint32_t l = 0; section->has_v && l < section->n_layers; l++) {
        at = plan_plane(&section->v[l], section->v_turned, section->n_cells, at);
    }
    return at;
}

enum quire_status kvblob_plan(const struct kvblob *shape, const uint32_t n_cells[KVBLOB_MAX_SECTIONS],
                              const int32_t first_pos[KVBLOB_MAX_SECTIONS], struct kvblob *plan) {
    if (plan != shape) {
        *plan = *shape;
    }
    assert(shape->n_sections <= KVBLOB_MAX_SECTIONS);
    uint64_t at = 4 + 4;
    for (uint32_t s = 0; s < KVBLOB_MAX_SECTIONS && s < plan->n_sections; s++) {
        if (n_cells[s] > KVBLOB_MAX_CELLS || first_pos[s] < 0) {
            return QUIRE_TOO_LARGE;
        }
        plan->section[s].n_cells = n_cells[s];
        plan->section[s].first_pos = first_pos[s];
        plan->section[s].in_order = true;
        at = plan_section(&plan->section[s], at);
    }
    plan->size_bytes = at;
    return QUIRE_OK;
}

static uint8_t *put(uint8_t *at, const void *value, size_t size) {
    memcpy(at, value, size);
    return at + size;
}

static void write_planes(const struct kvblob_section *section, uint8_t *out) {
    for (uint32_t l = 0; l < section->n_layers; l++) {
        const struct kvblob_plane *k = &section->k[l], *v = &section->v[l];
        uint8_t *at = put(out + k->offset - 12, &k->type, 4);
        put(at, &k->row_bytes, 8);
        if (!section->has_v) {
            continue;
        }
        at = put(out + v->offset - 12, &v->type, 4);
        if (section->v_turned) {
            at = put(at, &v->elem_bytes, 4);
            put(at, &v->n_channels, 4);
        } else {
            put(at, &v->row_bytes, 8);
        }
    }
}

static uint8_t *write_section(const struct kvblob_section *section, int32_t seq_id, uint8_t *out, uint8_t *at) {
    const uint32_t one = 1, v_turned = section->v_turned ? 1 : 0;
    at = put(at, &one, 4);
    at = put(at, &section->n_cells, 4);
    if (section->n_cells == 0) {
        return at;
    }
    for (uint32_t i = 0; i < section->n_cells; i++) {
        const int32_t cell[3] = {section->first_pos + (int32_t)i, 1, seq_id};
        at = put(at, cell, sizeof(cell));
    }
    at = put(at, &v_turned, 4);
    at = put(at, &section->n_layers, 4);
    write_planes(section, out);
    if (section->n_layers == 0) {
        return at;
    }
    const struct kvblob_plane *last = section->has_v ? &section->v[section->n_layers - 1] : &section->k[section->n_layers - 1];
    return out + last->offset + last->row_bytes * section->n_cells;
}

void kvblob_write_frame(const struct kvblob *plan, uint8_t *out) {
    uint8_t *at = put(out, &plan->magic, 4);
    at = put(at, &plan->seq_id, 4);
    for (uint32_t s = 0; s < plan->n_sections; s++) {
        at = write_section(&plan->section[s], plan->seq_id, out, at);
    }
    assert(at == out + plan->size_bytes);
}

/* ---- turning V round --------------------------------------------------------------------------------------------------- */
/* In squares, so that both sides stay within a few cache lines. */
#define TURN_TILE 32u

#define TURN_LOOP(copy)                                                                                                                    \
    for (uint32_t r0 = 0; r0 < n_rows; r0 += TURN_TILE) {                                                                                  \
        const uint32_t r1 = r0 + TURN_TILE < n_rows ? r0 + TURN_TILE : n_rows;                                                             \
        for (uint32_t c0 = 0; c0 < n_channels; c0 += TURN_TILE) {                                                                          \
            const uint32_t c1 = c0 + TURN_TILE < n_channels ? c0 + TURN_TILE : n_channels;                                                 \
            for (uint32_t c = c0; c < c1; c++) {                                                                                           \
                for (uint32_t r = r0; r < r1; r++) {                                                                                       \
                    copy;                                                                                                                  \
                }                                                                                                                          \
            }                                                                                                                              \
        }                                                                                                                                  \
    }

#define ROW_AT (rows + r * row_stride + (uint64_t)c * elem_bytes)
#define CHANNEL_AT (channels + c * channel_stride + (uint64_t)r * elem_bytes)

void kvblob_turn(const uint8_t *rows, uint64_t row_stride, uint8_t *channels, uint64_t channel_stride, uint32_t n_rows, uint32_t n_channels,
                 uint32_t elem_bytes) {
    if (elem_bytes == 2) {
        TURN_LOOP(memcpy(CHANNEL_AT, ROW_AT, 2))
    } else {
        TURN_LOOP(memcpy(CHANNEL_AT, ROW_AT, elem_bytes))
    }
}

void kvblob_turn_back(const uint8_t *channels, uint64_t channel_stride, uint8_t *rows, uint64_t row_stride, uint32_t n_rows,
                      uint32_t n_channels, uint32_t elem_bytes) {
    if (elem_bytes == 2) {
        TURN_LOOP(memcpy(ROW_AT, CHANNEL_AT, 2))
    } else {
        TURN_LOOP(memcpy(ROW_AT, CHANNEL_AT, elem_bytes))
    }
}

/* ---- copying and checking ---------------------------------------------------------------------------------------------- */
static bool same_shape(const struct kvblob *a, const struct kvblob *b) {
    if (a->n_sections != b->n_sections) {
        return false;
    }
    for (uint32_t s = 0; s < a->n_sections; s++) {
        const struct kvblob_section *x = &a->section[s], *y = &b->section[s];
        if (x->n_cells != y->n_cells || (x->n_cells > 0 && (x->n_layers != y->n_layers || x->has_v != y->has_v))) {
            return false;
        }
        for (uint32_t l = 0; x->n_cells > 0 && l < x->n_layers; l++) {
            if (x->k[l].type != y->k[l].type || x->k[l].row_bytes != y->k[l].row_bytes || x->v[l].type != y->v[l].type ||
                x->v[l].row_bytes != y->v[l].row_bytes) {
                return false;
            }
        }
    }
    return true;
}

static bool all_in_order(const struct kvblob *blob) {
    for (uint32_t s = 0; s < blob->n_sections; s++) {
        if (blob->section[s].n_cells > 0 && !blob->section[s].in_order) {
            return false;
        }
    }
    return true;
}

static void copy_v(const struct kvblob_section *x, const uint8_t *from, const struct kvblob_section *y, uint8_t *to, uint32_t l) {
    const struct kvblob_plane *a = &x->v[l], *b = &y->v[l];
    const uint32_t n = x->n_cells;
    if (x->v_turned == y->v_turned) {
        memcpy(to + b->offset, from + a->offset, a->row_bytes * n);
    } else if (y->v_turned) {
        kvblob_turn(from + a->offset, a->row_bytes, to + b->offset, (uint64_t)n * b->elem_bytes, n, b->n_channels, b->elem_bytes);
    } else {
        kvblob_turn_back(from + a->offset, (uint64_t)n * a->elem_bytes, to + b->offset, b->row_bytes, n, a->n_channels, a->elem_bytes);
    }
}

enum quire_status kvblob_copy(const struct kvblob *from, const uint8_t *from_bytes, const struct kvblob *to, uint8_t *to_bytes) {
    if (!same_shape(from, to) || !all_in_order(from) || !all_in_order(to)) {
        return QUIRE_INVALID;
    }
    for (uint32_t s = 0; s < from->n_sections; s++) {
        const struct kvblob_section *x = &from->section[s], *y = &to->section[s];
        for (uint32_t l = 0; x->n_cells > 0 && l < x->n_layers; l++) {
            memcpy(to_bytes + y->k[l].offset, from_bytes + x->k[l].offset, x->k[l].row_bytes * x->n_cells);
            if (x->has_v) {
                copy_v(x, from_bytes, y, to_bytes, l);
            }
        }
    }
    return QUIRE_OK;
}

/* Where cell `i` of a section goes once its cells lie in order. */
static uint32_t rank_of(const struct kvblob_section *section, const uint8_t *bytes, uint32_t i) {
    int32_t pos;
    memcpy(&pos, bytes + section->cells_offset + (uint64_t)CELL_BYTES * i, sizeof(pos));
    return (uint32_t)(pos - section->first_pos);
}

static void straighten_plane(const struct kvblob_plane *a, const uint8_t *from, const struct kvblob_plane *b, uint8_t *to, bool turned,
                             uint32_t n_cells, uint32_t cell, uint32_t rank) {
    if (!turned) {
        memcpy(to + b->offset + b->row_bytes * rank, from + a->offset + a->row_bytes * cell, a->row_bytes);
        return;
    }
    const uint64_t e = a->elem_bytes;
    for (uint64_t c = 0; c < a->n_channels; c++) {
        memcpy(to + b->offset + (c * n_cells + rank) * e, from + a->offset + (c * n_cells + cell) * e, e);
    }
}

static enum quire_status straighten_section(const struct kvblob_section *x, const uint8_t *from, const struct kvblob_section *y,
                                            uint8_t *to) {
    uint8_t *seen = calloc(1, (size_t)x->n_cells + 1);
    if (seen == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < x->n_cells && status == QUIRE_OK; i++) {
        const uint32_t rank = rank_of(x, from, i);
        if (rank >= x->n_cells || seen[rank]++ != 0) {
            status = QUIRE_INVALID;
            break;
        }
        for (uint32_t l = 0; l < x->n_layers; l++) {
            straighten_plane(&x->k[l], from, &y->k[l], to, false, x->n_cells, i, rank);
            if (x->has_v) {
                straighten_plane(&x->v[l], from, &y->v[l], to, x->v_turned, x->n_cells, i, rank);
            }
        }
    }
    free(seen);
    return status;
}

enum quire_status kvblob_straighten(const struct kvblob *from, const uint8_t *from_bytes, const struct kvblob *plan, uint8_t *to_bytes) {
    if (!same_shape(from, plan)) {
        return QUIRE_INVALID;
    }
    kvblob_write_frame(plan, to_bytes);
    for (uint32_t s = 0; s < from->n_sections; s++) {
        if (from->section[s].n_cells > 0) {
            if (from->section[s].v_turned != plan->section[s].v_turned) {
                return QUIRE_INVALID;
            }
            QUIRE_FORWARD(straighten_section(&from->section[s], from_bytes, &plan->section[s], to_bytes));
        }
    }
    return QUIRE_OK;
}

enum quire_status kvblob_self_check(const uint8_t *bytes, uint64_t size, bool has_v, struct kvblob *blob, char *why, size_t why_bytes) {
    QUIRE_FORWARD(kvblob_parse(bytes, size, has_v, blob, why, why_bytes));
    struct cursor says = {.why = why, .why_bytes = why_bytes};
    uint32_t n_cells[KVBLOB_MAX_SECTIONS] = {blob->section[0].n_cells, blob->section[1].n_cells};
    int32_t first_pos[KVBLOB_MAX_SECTIONS] = {blob->section[0].first_pos, blob->section[1].first_pos};
    struct kvblob *plan = malloc(sizeof(*plan));
    uint8_t *rebuilt = calloc(1, size);
    enum quire_status status = plan == NULL || rebuilt == NULL ? QUIRE_NO_MEMORY : kvblob_plan(blob, n_cells, first_pos, plan);
    if (status == QUIRE_OK && plan->size_bytes != size) {
        status =
            refuse(&says, "rebuilt, it has %llu bytes instead of %llu", (unsigned long long)plan->size_bytes, (unsigned long long)size);
    }
    if (status == QUIRE_OK) {
        kvblob_write_frame(plan, rebuilt);
        status = kvblob_copy(blob, bytes, plan, rebuilt);
    }
    if (status == QUIRE_OK && memcmp(bytes, rebuilt, size) != 0) {
        status = refuse(&says, "rebuilt, it differs");
    }
    free(rebuilt);
    free(plan);
    return status;
}
