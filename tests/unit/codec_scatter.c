/* Scatter and gather: whatever order and strides a worker keeps its KV in, each element goes where it belongs and nothing else moves. */
#include "codec/checksum.h"
#include "codec/record.h"
#include "tests/unit/codec_sample.h"

#include <criterion/criterion.h>

#define MAX_LAYERS 8

/* A worker's memory of one kind of order: where element (layer, kv, head, token) begins. */
enum order { LANES, TOKENS, PADDED, APART, BACKWARDS, ORDERS };

struct memory {
    uint8_t *bytes;
    size_t size_bytes;
    void *k_base[MAX_LAYERS], *v_base[MAX_LAYERS];
    struct quire_scatter scatter;
};

static size_t row_bytes(const struct quire_record_shape *shape, int kv) {
    return (kv == 0 ? shape->k_lane_bytes : shape->v_lane_bytes) / shape->n_tokens;
}

/* Strides of one kind (K or V) of one layer; returns how many bytes the plane takes and where its first element lies. */
static size_t plane(enum order order, size_t row, uint32_t tokens, uint32_t heads, int64_t *head_stride, int64_t *token_stride,
                    size_t *origin) {
    *origin = 0;
    switch (order) {
    case LANES:
        *token_stride = (int64_t)row;
        *head_stride = (int64_t)(row * tokens);
        return row * tokens * heads;
    case TOKENS:
        *head_stride = (int64_t)row;
        *token_stride = (int64_t)(row * heads);
        return row * tokens * heads;
    case PADDED: /* gaps between rows and between heads */
        *token_stride = (int64_t)(row + 6);
        *head_stride = (int64_t)((row + 6) * tokens + 10);
        return (size_t)*head_stride * heads;
    case APART: /* each lane in one piece, but not next to the other */
        *token_stride = (int64_t)row;
        *head_stride = (int64_t)(row * tokens + 64);
        return (size_t)*head_stride * heads;
    default: /* the last token of the last head comes first */
        *token_stride = -(int64_t)row;
        *head_stride = -(int64_t)(row * tokens);
        *origin = row * (tokens * heads - 1);
        return row * tokens * heads;
    }
}

static struct memory *memory_made(const struct quire_record_shape *shape, const quire_rect *rect, enum order order) {
    struct memory *memory = calloc(1, sizeof(*memory));
    struct quire_scatter *s = &memory->scatter;
    size_t k_origin, v_origin = 0, v_plane = 0;
    size_t k_plane = plane(order, row_bytes(shape, 0), shape->n_tokens, rect->n_heads, &s->k_head_stride, &s->k_token_stride, &k_origin);
    if (shape->v_lane_bytes > 0) {
        v_plane = plane(order, row_bytes(shape, 1), shape->n_tokens, rect->n_heads, &s->v_head_stride, &s->v_token_stride, &v_origin);
    }
    memory->size_bytes = (k_plane + v_plane) * rect->n_layers;
    memory->bytes = dirty_bytes(memory->size_bytes + 64);
    for (uint32_t l = 0; l < rect->n_layers; l++) {
        memory->k_base[l] = memory->bytes + l * (k_plane + v_plane) + k_origin;
        memory->v_base[l] = memory->bytes + l * (k_plane + v_plane) + k_plane + v_origin;
    }
    s->rect = *rect;
    s->k_base = memory->k_base;
    s->v_base = shape->v_lane_bytes > 0 ? memory->v_base : NULL;
    return memory;
}

static void memory_free(struct memory *memory) {
    free(memory->bytes);
    free(memory);
}

static uint8_t *element(const struct memory *memory, uint32_t layer, int kv, uint32_t head, uint32_t token) {
    const struct quire_scatter *s = &memory->scatter;
    uint8_t *base = kv == 0 ? s->k_base[layer] : s->v_base[layer];
    return base + (int64_t)head * (kv == 0 ? s->k_head_stride : s->v_head_stride) +
           (int64_t)token * (kv == 0 ? s->k_token_stride : s->v_token_stride);
}

/* The plain definition: row by row, in the order of the header's words. `from_memory`: fills `lanes` (packed, rectangle order). */
static size_t reference(const struct quire_record_shape *shape, const struct memory *memory, uint8_t *lanes, bool from_memory) {
    const quire_rect *rect = &memory->scatter.rect;
    size_t at = 0;
    for (uint32_t layer = 0; layer < rect->n_layers; layer++) {
        for (int kv = 0; kv < (shape->v_lane_bytes > 0 ? 2 : 1); kv++) {
            for (uint32_t head = 0; head < rect->n_heads; head++) {
                for (uint32_t token = 0; token < shape->n_tokens; token++, at += row_bytes(shape, kv)) {
                    uint8_t *row = element(memory, layer, kv, head, token);
                    memcpy(from_memory ? lanes + at : row, from_memory ? row : lanes + at, row_bytes(shape, kv));
                }
            }
        }
    }
    return at;
}

/* Packed lanes of a rectangle of a whole payload. */
static size_t cut_rect(const struct quire_record_shape *shape, const quire_rect *rect, const uint8_t *record, uint8_t *out) {
    size_t at = 0;
    for (uint32_t layer = 0; layer < rect->n_layers; layer++) {
        for (uint32_t i = 0; i < rect->n_heads * (shape->v_lane_bytes > 0 ? 2u : 1u); i++) {
            uint32_t lane = quire_record_lane(shape, rect->first_layer + layer, i / rect->n_heads, rect->first_head + i % rect->n_heads);
            memcpy(out + at, record + quire_record_lane_offset(shape, lane), quire_record_lane_bytes(shape, lane));
            at += quire_record_lane_bytes(shape, lane);
        }
    }
    return at;
}

static void check_scatter(const struct quire_record *record, const quire_rect *rect, enum order order, bool verify) {
    struct memory *got = memory_made(&record->shape, rect, order), *expected = memory_made(&record->shape, rect, order);
    uint8_t *lanes = dirty_bytes(expected->size_bytes);
    cut_rect(&record->shape, rect, record->bytes, lanes);
    reference(&record->shape, expected, lanes, false);
    cr_assert_eq(quire_record_scatter(record, &got->scatter, verify), QUIRE_OK);
    cr_assert_arr_eq(got->bytes, expected->bytes, got->size_bytes + 64, "order %d, verify %d", order, verify);
    free(lanes);
    memory_free(got);
    memory_free(expected);
}

/* As a wire brings it: what has a place is put there, the rest stays with the record, and nothing is read from where it is not. */
static void check_placed(struct dice *dice, const struct quire_record *record, const quire_rect *rect, enum order order) {
    const struct quire_record_shape *shape = &record->shape;
    struct memory *got = memory_made(shape, rect, order), *expected = memory_made(shape, rect, order);
    struct quire_record_place *places = malloc(2u * rect->n_layers * rect->n_heads * sizeof(*places));
    uint8_t *lanes = dirty_bytes(expected->size_bytes), *rest = dirty_bytes(shape->size_bytes);
    memcpy(rest, record->bytes, shape->size_bytes);
    cut_rect(shape, rect, record->bytes, lanes);
    reference(shape, expected, lanes, false);
    uint32_t n = quire_record_places(shape, &got->scatter, places), end = shape->payload_offset;
    cr_assert_leq(n, 2u * rect->n_layers * rect->n_heads);
    cr_assert(n > 0 || (order != LANES && order != APART), "rows follow each other in order %d", order);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_geq(places[i].offset_bytes, end, "they ascend");
        end = places[i].offset_bytes + places[i].size_bytes;
        memcpy(places[i].to, rest + places[i].offset_bytes, places[i].size_bytes);
        memset(rest + places[i].offset_bytes, 0xee, places[i].size_bytes);
    }
    struct quire_record arrived = *record;
    arrived.bytes = rest;
    cr_assert_eq(quire_record_scatter_placed(&arrived, &got->scatter), QUIRE_OK);
    cr_assert_arr_eq(got->bytes, expected->bytes, got->size_bytes + 64, "order %d", order);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *byte = places[i].to + dice_below(dice, places[i].size_bytes);
        *byte ^= 0x10;
        cr_assert_eq(quire_record_scatter_placed(&arrived, &got->scatter), QUIRE_CORRUPT, "order %d, place %u", order, i);
        *byte ^= 0x10;
    }
    free(places), free(lanes), free(rest);
    memory_free(got);
    memory_free(expected);
}

/* Lanes that lie in memory as they would be gathered are known as one run, and summed there; of other orders nobody says so. */
static void check_run(const struct quire_record_shape *shape, const struct memory *memory, enum order order, const uint8_t *expected,
                      size_t size, uint64_t gathered) {
    uint64_t check = 0;
    const uint8_t *run = quire_record_run(shape, &memory->scatter);
    bool sums = quire_record_sum(shape, &memory->scatter, &check) == QUIRE_OK;
    cr_assert_eq(sums, run != NULL);
    cr_assert(run != NULL || order != LANES);
    cr_assert(run == NULL || (memcmp(run, expected, size) == 0 && check == gathered), "order %d", order);
}

static void check_gather(struct dice *dice, const struct quire_record_shape *shape, const quire_rect *rect, enum order order) {
    struct memory *memory = memory_made(shape, rect, order);
    for (size_t i = 0; i < memory->size_bytes; i++) {
        memory->bytes[i] = (uint8_t)dice_next(dice);
    }
    uint8_t *expected = dirty_bytes(memory->size_bytes), *got = dirty_bytes(memory->size_bytes + 1);
    size_t size = reference(shape, memory, expected, true);
    uint64_t check = 0, checks[MAX_LAYERS * 2 * 32];
    uint32_t n = 0;
    for (size_t at = 0; at < size; n++) {
        size_t lane_bytes = n / rect->n_heads % 2 == 0 || shape->v_lane_bytes == 0 ? shape->k_lane_bytes : shape->v_lane_bytes;
        checks[n] = quire_checksum(expected + at, lane_bytes);
        at += lane_bytes;
    }
    cr_assert_eq(quire_record_gather(shape, &memory->scatter, got, &check), QUIRE_OK);
    cr_assert_arr_eq(got, expected, size);
    cr_assert_eq(got[size], 0xdd);
    cr_assert_eq(check, quire_record_combine(checks, n));
    check_run(shape, memory, order, expected, size, check);
    free(expected);
    free(got);
    memory_free(memory);
}

static const struct {
    uint16_t layers, heads, k_dim, v_dim;
    uint8_t elem;
    uint16_t tokens;
} shapes[] = {
    {2, 2, 4, 2, QUIRE_F16, 3},                                         /* lanes of a few bytes, with padding between them */
    {3, 3, 64, 64, QUIRE_F16, 64},                                      /* rows of 128 bytes */
    {2, 8, 128, 128, QUIRE_BF16, 16},  {1, 4, 192, 128, QUIRE_F16, 64}, /* K and V differ */
    {2, 1, 576, 0, QUIRE_BF16, 64},                                     /* no V */
    {2, 5, 33, 17, QUIRE_I8, 61},                                       /* nothing is round: rows end inside steps and blocks */
    {1, 2, 80, 80, QUIRE_F16, 1},                                       /* one token */
    {1, 20, 96, 96, QUIRE_F32, 40},                                     /* more heads than one step takes */
    {1, 2, 1024, 1024, QUIRE_F32, 70}, {1, 2, 32, 16, QUIRE_I8, 513},   /* a step behind which less than a stripe is left */
};

/* All orders of memory, whole records and rectangles, with and without verification, against the plain definition. */
Test(scatter, all_orders) {
    struct dice dice = dice_printed("scatter");
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        quire_layout layout =
            sample_layout(shapes[i].layers, shapes[i].heads, shapes[i].k_dim, shapes[i].v_dim, shapes[i].elem, shapes[i].tokens);
        struct quire_record_shape shape = shape_of(&layout, shapes[i].tokens, 0);
        quire_key key = {{1}};
        uint8_t *payload = random_payload(&dice, payload_bytes_of(&shape));
        uint8_t *bytes = sealed_record(&layout, &shape, &key, payload);
        struct quire_record record;
        cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, &key, &record), QUIRE_OK);
        for (int round = 0; round < 6; round++) {
            quire_rect rect = quire_layout_whole(&layout, 0);
            if (round > 1) { /* any rectangle */
                rect.first_layer = (uint16_t)dice_below(&dice, shape.n_layers);
                rect.n_layers = (uint16_t)(1 + dice_below(&dice, shape.n_layers - rect.first_layer));
                rect.first_head = (uint16_t)dice_below(&dice, shape.n_heads);
                rect.n_heads = (uint16_t)(1 + dice_below(&dice, shape.n_heads - rect.first_head));
            }
            for (int order = 0; order < ORDERS; order++) {
                check_scatter(&record, &rect, order, round % 2 == 1);
                check_placed(&dice, &record, &rect, order);
                check_gather(&dice, &shape, &rect, order);
            }
        }
        free(payload);
        free(bytes);
    }
}

/* A flipped bit anywhere is found when it is asked for, in runs and in scattered rows, and only then. */
Test(scatter, verification_finds_every_lane) {
    struct dice dice = dice_printed("verify");
    quire_layout layout = sample_layout(2, 3, 64, 32, QUIRE_F16, 24);
    struct quire_record_shape shape = shape_of(&layout, 24, 0);
    quire_key key = {{1}};
    quire_rect whole = quire_layout_whole(&layout, 0);
    uint8_t *payload = random_payload(&dice, payload_bytes_of(&shape));
    uint8_t *bytes = sealed_record(&layout, &shape, &key, payload);
    struct quire_record record;
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, &key, &record), QUIRE_OK);
    for (int order = 0; order < ORDERS; order++) {
        struct memory *memory = memory_made(&shape, &whole, order);
        for (uint32_t lane = 0; lane < shape.n_lanes; lane++) {
            uint8_t *byte = bytes + quire_record_lane_offset(&shape, lane) + dice_below(&dice, quire_record_lane_bytes(&shape, lane));
            uint8_t flip = (uint8_t)(1u << dice_below(&dice, 8));
            *byte ^= flip;
            cr_assert_eq(quire_record_scatter(&record, &memory->scatter, true), QUIRE_CORRUPT, "order %d, lane %u", order, lane);
            cr_assert_eq(quire_record_scatter(&record, &memory->scatter, false), QUIRE_OK);
            *byte ^= flip;
        }
        cr_assert_eq(quire_record_scatter(&record, &memory->scatter, true), QUIRE_OK);
        memory_free(memory);
    }
    free(payload);
    free(bytes);
}

/* Long runs stream past the caches; the result is the same. */
Test(scatter, long_runs) {
    struct dice dice = dice_printed("long runs");
    quire_layout layout = sample_layout(8, 8, 128, 128, QUIRE_F16, 64);
    struct quire_record_shape shape = shape_of(&layout, 64, 0);
    quire_key key = {{1}};
    quire_rect whole = quire_layout_whole(&layout, 0);
    uint8_t *payload = random_payload(&dice, payload_bytes_of(&shape));
    uint8_t *bytes = sealed_record(&layout, &shape, &key, payload);
    struct quire_record record;
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, &key, &record), QUIRE_OK);
    for (int verify = 0; verify < 2; verify++) {
        check_scatter(&record, &whole, LANES, verify);
        check_scatter(&record, &whole, TOKENS, verify);
        check_scatter(&record, &whole, PADDED, verify);
    }
    struct memory *memory = memory_made(&shape, &whole, LANES);
    struct quire_record_place places[2 * 8 * 8];
    cr_assert_eq(quire_record_places(&shape, &memory->scatter, places), 1, "lanes in the record's order are one piece");
    cr_assert_eq(places[0].size_bytes, shape.size_bytes - shape.payload_offset);
    uint8_t *out = dirty_bytes(memory->size_bytes), *filled = dirty_bytes(shape.size_bytes);
    memcpy(memory->bytes, payload, memory->size_bytes);
    uint64_t check;
    cr_assert_eq(quire_record_gather(&shape, &memory->scatter, out, &check), QUIRE_OK);
    cr_assert_arr_eq(out, payload, memory->size_bytes);
    cr_assert_eq(quire_record_fill_rect(filled, &shape, &whole, out, memory->size_bytes, check), QUIRE_OK);
    cr_assert_arr_eq(filled + shape.payload_offset, bytes + shape.payload_offset, shape.size_bytes - shape.payload_offset);
    memory_free(memory);
    free(out), free(filled), free(payload), free(bytes);
}

/* What lies outside the record, or nowhere, is refused before a byte is written. */
Test(scatter, wrong_rectangles_are_refused) {
    quire_layout layout = sample_layout(2, 2, 64, 64, QUIRE_F16, 8), opaque_layout = sample_opaque_layout();
    struct quire_record_shape shape = shape_of(&layout, 8, 0), opaque = shape_of(&opaque_layout, 8, 4096);
    quire_key key = {{1}};
    uint8_t *payload = dirty_bytes(payload_bytes_of(&shape)), *bytes = sealed_record(&layout, &shape, &key, payload);
    uint8_t *opaque_bytes = sealed_record(&opaque_layout, &opaque, &key, payload);
    static const quire_rect wrong[] = {{0, 0, 0, 2}, {0, 1, 0, 0},     {2, 1, 0, 1},        {1, 2, 0, 1},
                                       {0, 1, 1, 2}, {65535, 1, 0, 1}, {0, 65535, 0, 65535}};
    quire_rect whole = quire_layout_whole(&layout, 0);
    struct memory *memory = memory_made(&shape, &whole, LANES);
    struct quire_record record;
    struct quire_record_place place;
    uint64_t check;
    cr_assert_eq(quire_record_open(bytes, shape.size_bytes, &layout, &key, &record), QUIRE_OK);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        memory->scatter.rect = wrong[i];
        cr_assert_eq(quire_record_scatter(&record, &memory->scatter, false), QUIRE_INVALID);
        cr_assert_eq(quire_record_gather(&shape, &memory->scatter, payload, &check), QUIRE_INVALID);
        cr_assert_eq(quire_record_places(&shape, &memory->scatter, &place), 0);
    }
    memory->scatter.rect = whole;
    memory->scatter.v_base = NULL;
    cr_assert_eq(quire_record_scatter(&record, &memory->scatter, false), QUIRE_INVALID);
    memory->scatter.v_base = memory->v_base;
    memory->scatter.k_base = NULL;
    cr_assert_eq(quire_record_scatter(&record, &memory->scatter, false), QUIRE_INVALID);
    for (size_t i = 0; i < memory->size_bytes; i++) {
        cr_assert_eq(memory->bytes[i], 0xdd);
    }
    memory->scatter.k_base = memory->k_base;
    cr_assert_eq(quire_record_open(opaque_bytes, opaque.size_bytes, &opaque_layout, &key, &record), QUIRE_OK);
    cr_assert_eq(quire_record_scatter(&record, &memory->scatter, false), QUIRE_INVALID);
    memory_free(memory);
    free(bytes), free(opaque_bytes), free(payload);
}
