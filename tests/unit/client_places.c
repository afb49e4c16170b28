/*
 * Where the bytes of a record belong that comes over a wire: lanes that lie in the caller's memory as in the record go there as they come, all else does
 * not, and not a byte goes anywhere else.
 */
#include "client/internal.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { LAYERS = 3, HEADS = 2, TOKENS = 16, ROW = 12, LANE = TOKENS * ROW, PITCH = 192, SPARE = 64 };
enum order { IN_ORDER, HEADS_APART, ROWS_APART, V_ROWS_APART };

static struct quire_record_shape shape;
static quire_layout layout;
static uint8_t memory[2 * LAYERS * (HEADS * LANE + SPARE) * 2];
static void *k_base[LAYERS], *v_base[LAYERS];
static struct dest_places places;
static struct spare spare;

/* Lanes of 192 bytes, which is a multiple of 64: neighbours in the record touch. `dim`: 6 for that. */
static void shape_start(uint16_t dim) {
    layout = (quire_layout){.n_layers = LAYERS, .n_groups = 1, .block_tokens = TOKENS};
    for (uint16_t l = 0; l < LAYERS; l++) {
        layout.kv_src[l] = l;
    }
    layout.group[0] = (quire_group){.n_kv_heads = HEADS, .k_dim = dim, .v_dim = dim, .elem = QUIRE_F16};
    cr_assert_eq(quire_record_shape(&layout, 0, TOKENS, 0, &shape), QUIRE_OK);
}

static quire_dest dest_of(enum order order, const quire_rect *rect) {
    int64_t row = shape.k_lane_bytes / TOKENS, lane = shape.k_lane_bytes, head = order == HEADS_APART ? lane + SPARE : lane;
    for (uint32_t l = 0; l < rect->n_layers; l++) {
        k_base[l] = memory + 2 * l * HEADS * (size_t)head;
        v_base[l] = memory + (2 * l + 1) * HEADS * (size_t)head;
    }
    quire_dest dest = {.rect = *rect,
                       .k_base = k_base,
                       .v_base = v_base,
                       .k_head_stride = head,
                       .k_token_stride = row,
                       .v_head_stride = head,
                       .v_token_stride = row};
    if (order == ROWS_APART) {
        dest.k_head_stride = row;
        dest.k_token_stride = row * HEADS;
    }
    if (order == ROWS_APART || order == V_ROWS_APART) {
        dest.v_head_stride = row;
        dest.v_token_stride = row * HEADS;
    }
    return dest;
}

static void find(enum order order, const quire_rect *asked) {
    quire_rect rect = asked != NULL ? *asked : quire_layout_whole(&layout, 0);
    quire_dest dest = dest_of(order, &rect);
    cr_assert_eq(dest_check(&layout, &dest, TOKENS, &rect), QUIRE_OK);
    cr_assert_eq(dest_places_find(&places, &dest, &shape, &rect, quire_layout_rect_bytes(&layout, 0, &rect, TOKENS), &spare), QUIRE_OK);
}

/* Each byte of a record by itself: what is at `offset`, wherever that is. */
static uint8_t *at(uint32_t offset) {
    uint32_t next = 0, size = 1;
    uint8_t *place = dest_places_at(&places, &next, offset, &size);
    cr_assert_eq(size, 1u);
    return place;
}

/* All of the record in pieces as large as may be; how many. Every piece is inside what was given. */
static uint32_t pieces(void) {
    uint32_t next = 0, n = 0;
    for (uint32_t offset = 0, size; offset < shape.size_bytes; offset += size, n++) {
        size = shape.size_bytes - offset;
        uint8_t *place = dest_places_at(&places, &next, offset, &size);
        cr_assert_gt(size, 0u);
        bool ours = place >= places.own && place + size <= places.own + places.own_bytes;
        bool callers = place >= memory && place + size <= memory + sizeof(memory);
        bool nowhere = place == places.padding && size <= sizeof(places.padding);
        cr_assert(ours || callers || nowhere, "offset %u", offset);
    }
    return n;
}

static void expect_lane(uint32_t layer, uint32_t kv, uint32_t head, const void *where) {
    uint32_t lane = quire_record_lane(&shape, layer, kv, head), offset = quire_record_lane_offset(&shape, lane);
    cr_assert_eq(at(offset), where, "layer %u, kv %u, head %u", layer, kv, head);
    cr_assert_eq(at(offset + shape.k_lane_bytes - 1), (const uint8_t *)where + shape.k_lane_bytes - 1);
}

/* A worker whose memory has the record's order: behind the head one run, and no memory of ours but for the head. */
Test(client_places, in_the_records_order) {
    shape_start(6);
    find(IN_ORDER, NULL);
    cr_assert_eq(places.n, 1u);
    cr_assert_eq(places.own_bytes, shape.payload_offset);
    cr_assert_eq(pieces(), 2u);
    cr_assert_eq(at(0), places.own);
    cr_assert_eq(at(shape.payload_offset), memory);
    uint32_t next = 0, size = UINT32_MAX;
    cr_assert_eq(dest_places_at(&places, &next, shape.payload_offset + 10, &size), memory + 10);
    cr_assert_eq(size, shape.size_bytes - shape.payload_offset - 10, "from the middle to the end, and no further");
    dest_places_free(&places);
}

/* Each lane in one piece, but apart: each is a place. */
Test(client_places, lanes_apart) {
    shape_start(6);
    find(HEADS_APART, NULL);
    cr_assert_eq(places.n, 2u * LAYERS * HEADS);
    cr_assert_eq(places.own_bytes, shape.payload_offset);
    for (uint32_t lane = 0; lane < shape.n_lanes; lane++) {
        expect_lane(lane / (2 * HEADS), lane / HEADS % 2, lane % HEADS, memory + lane * (LANE + SPARE));
    }
    dest_places_free(&places);
}

/* Lanes that end between two alignments: what fills the gap goes nowhere, least of all behind the lane in the caller's memory. */
Test(client_places, padding) {
    shape_start(5);
    cr_assert_eq(shape.k_lane_bytes, 160u);
    find(IN_ORDER, NULL);
    cr_assert_eq(places.n, 2u * LAYERS * HEADS);
    uint32_t first = shape.payload_offset;
    cr_assert_eq(at(first + 159), memory + 159);
    cr_assert_eq(at(first + 160), places.padding);
    cr_assert_eq(at(first + PITCH), memory + 160);
    pieces();
    dest_places_free(&places);
}

/* Tokens outside, heads inside, as many engines keep it: nothing can be received there, and all of the record is kept until it is scattered. */
Test(client_places, rows_apart) {
    shape_start(6);
    find(ROWS_APART, NULL);
    cr_assert_eq(places.n, 0u);
    cr_assert_eq(places.payload_offset, 0u);
    cr_assert_eq(places.own_bytes, shape.size_bytes);
    cr_assert_eq(pieces(), 1u);
    dest_places_free(&places);
}

/* K in one piece, V not: K goes to its place, V is kept. */
Test(client_places, one_of_two) {
    shape_start(6);
    find(V_ROWS_APART, NULL);
    cr_assert_eq(places.n, LAYERS);
    cr_assert_eq(places.own_bytes, shape.size_bytes);
    expect_lane(1, 0, 0, k_base[1]);
    uint32_t v = quire_record_lane_offset(&shape, quire_record_lane(&shape, 1, 1, 0));
    cr_assert_eq(at(v), places.own + v);
    pieces();
    dest_places_free(&places);
}

/* One head of the last two layers: they have places; what was not asked for has none, and would go nowhere if it came. */
Test(client_places, a_part) {
    const quire_rect rect = {.first_layer = 1, .n_layers = 2, .first_head = 1, .n_heads = 1};
    shape_start(6);
    find(IN_ORDER, &rect);
    cr_assert_eq(places.n, 4u);
    cr_assert_eq(places.own_bytes, shape.payload_offset);
    expect_lane(1, 0, 1, k_base[0]);
    expect_lane(2, 1, 1, v_base[1]);
    cr_assert_eq(at(quire_record_lane_offset(&shape, quire_record_lane(&shape, 0, 0, 1))), places.padding);
    cr_assert_eq(at(quire_record_lane_offset(&shape, quire_record_lane(&shape, 2, 1, 0))), places.padding);
    pieces();
    dest_places_free(&places);
}

/* An opaque block is one run; where the caller's buffer is too short for it, it has no place there at all. */
Test(client_places, opaque) {
    const quire_layout opaque = {.block_tokens = TOKENS, .opaque = true};
    quire_dest dest = {.opaque = memory, .opaque_bytes = 1000};
    cr_assert_eq(quire_record_shape(&opaque, 0, TOKENS, 1000, &shape), QUIRE_OK);
    cr_assert_eq(dest_places_find(&places, &dest, &shape, &(quire_rect){0}, 1000, &spare), QUIRE_OK);
    cr_assert_eq(places.own_bytes, shape.payload_offset);
    cr_assert_eq(at(shape.payload_offset), memory);
    cr_assert_eq(pieces(), 2u);
    dest_places_free(&places);
    dest.opaque_bytes = 999;
    cr_assert_eq(dest_places_find(&places, &dest, &shape, &(quire_rect){0}, 1000, &spare), QUIRE_OK);
    cr_assert_eq(places.n, 0u);
    cr_assert_eq(places.own_bytes, shape.size_bytes);
    dest_places_free(&places);
}

/* Memory that a copy is done with serves the next one that it is large enough for, and no two at once. */
Test(client_places, spare) {
    struct dest_places other;
    uint8_t *bytes = malloc(1000);
    spare = (struct spare){.bytes = bytes, .size_bytes = 1000};
    cr_assert_eq(dest_places_own(&places, 1001, &spare), QUIRE_OK);
    cr_assert_neq(places.own, bytes, "too small");
    dest_places_free(&places);
    cr_assert_eq(dest_places_own(&places, 900, &spare), QUIRE_OK);
    cr_assert_eq(places.own, bytes);
    cr_assert_eq(places.own_bytes, 900u);
    cr_assert_eq(dest_places_own(&other, 900, &spare), QUIRE_OK);
    cr_assert_neq(other.own, bytes);
    dest_places_free(&places);
    dest_places_free(&other);
}
