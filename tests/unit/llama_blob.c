/* llama.cpp's state, taken apart and put together: every shape comes back byte for byte, and no bytes at all make the parser step outside. */
#include "client/llama/blob.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t seed;

static uint32_t draw(uint32_t most) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % (most + 1);
}

static void plant_seed(void) {
    seed = (uint64_t)time(NULL) ^ (uint64_t)clock();
    const char *given = getenv("QUIRE_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : seed;
    printf("seed %llu\n", (unsigned long long)seed);
}

static void random_section(struct kvblob_section *section, bool has_v, bool turned) {
    section->n_layers = 1 + draw(4);
    section->has_v = has_v;
    section->v_turned = turned;
    for (uint32_t l = 0; l < section->n_layers; l++) {
        section->k[l] = (struct kvblob_plane){.type = 1, .row_bytes = 2 * (1 + draw(70))};
        if (has_v) {
            const uint32_t n_channels = 1 + draw(70);
            section->v[l] = (struct kvblob_plane){.type = 1, .row_bytes = 2 * n_channels};
            if (turned) {
                section->v[l].elem_bytes = 2;
                section->v[l].n_channels = n_channels;
            }
        }
    }
}

/* A random state: its shape in *plan, its bytes malloc'ed. */
static uint8_t *random_state(struct kvblob *plan, bool has_v, bool turned) {
    struct kvblob *shape = calloc(1, sizeof(*shape));
    shape->magic = 0xaf143cd8;
    shape->seq_id = (int32_t)draw(3);
    shape->n_sections = 1 + draw(1);
    const uint32_t n_cells[2] = {1 + draw(90), draw(40)};
    const int32_t first_pos[2] = {(int32_t)draw(1000), (int32_t)draw(1000)};
    for (uint32_t s = 0; s < shape->n_sections; s++) {
        random_section(&shape->section[s], has_v, turned);
        if (n_cells[s] == 0) {
            shape->section[s].n_layers = 0;
        }
    }
    cr_assert_eq(kvblob_plan(shape, n_cells, first_pos, plan), QUIRE_OK);
    free(shape);
    uint8_t *bytes = malloc(plan->size_bytes);
    for (uint64_t i = 0; i < plan->size_bytes; i++) {
        bytes[i] = (uint8_t)draw(255);
    }
    kvblob_write_frame(plan, bytes);
    return bytes;
}

/* Whatever the shape, with V in rows, turned round or absent: parse, rebuild, same bytes. */
Test(llama_blob, round_trip) {
    plant_seed();
    struct kvblob *plan = calloc(1, sizeof(*plan)), *parsed = calloc(1, sizeof(*parsed));
    for (int round = 0; round < 400; round++) {
        char why[128] = "";
        const bool has_v = draw(3) != 0, turned = has_v && draw(1) != 0;
        uint8_t *bytes = random_state(plan, has_v, turned);
        cr_assert_eq(kvblob_self_check(bytes, plan->size_bytes, has_v, parsed, why, sizeof(why)), QUIRE_OK, "%s", why);
        cr_assert_eq(parsed->section[0].k[0].offset, plan->section[0].k[0].offset);
        free(bytes);
    }
    free(parsed);
    free(plan);
}

/* V turned round and back is the same V: states with and without flash attention hold the same lanes. */
Test(llama_blob, both_ways_of_v_hold_the_same) {
    plant_seed();
    struct kvblob *turned = calloc(1, sizeof(*turned)), *rows = calloc(1, sizeof(*rows));
    for (int round = 0; round < 100; round++) {
        uint8_t *bytes = random_state(turned, true, true);
        uint8_t *back = malloc(turned->size_bytes);
        *rows = *turned;
        const uint32_t n_cells[2] = {turned->section[0].n_cells, turned->section[1].n_cells};
        const int32_t first_pos[2] = {turned->section[0].first_pos, turned->section[1].first_pos};
        rows->section[0].v_turned = rows->section[1].v_turned = false;
        cr_assert_eq(kvblob_plan(rows, n_cells, first_pos, rows), QUIRE_OK);
        uint8_t *straight = calloc(1, rows->size_bytes);
        kvblob_write_frame(rows, straight);
        cr_assert_eq(kvblob_copy(turned, bytes, rows, straight), QUIRE_OK);
        /* element (cell 0, channel 1) of the first layer lies a row of cells further when turned, an element further in rows */
        const struct kvblob_plane *a = &turned->section[0].v[0], *b = &rows->section[0].v[0];
        if (a->n_channels > 1) {
            cr_assert_arr_eq(bytes + a->offset + 2ull * n_cells[0], straight + b->offset + 2, 2);
        }
        kvblob_write_frame(turned, back);
        cr_assert_eq(kvblob_copy(rows, straight, turned, back), QUIRE_OK);
        cr_assert_arr_eq(bytes, back, turned->size_bytes);
        free(straight);
        free(back);
        free(bytes);
    }
    free(rows);
    free(turned);
}

/* A state that ends too early, anywhere, is an error; one byte too many is, too. */
Test(llama_blob, truncated) {
    plant_seed();
    struct kvblob *plan = calloc(1, sizeof(*plan)), *parsed = calloc(1, sizeof(*parsed));
    for (int round = 0; round < 20; round++) {
        uint8_t *bytes = random_state(plan, true, draw(1) != 0);
        const uint64_t ends_whole = plan->n_sections == 2 ? plan->section[1].cells_offset - 8 : UINT64_MAX;
        for (uint64_t size = 0; size < plan->size_bytes; size += 1 + draw(20)) {
            uint8_t *cut = malloc(size + 1); /* exact, so that the sanitizers see a step outside */
            memcpy(cut, bytes, size);
            const bool whole = size == ends_whole; /* the first section alone is a state, too */
            cr_assert_eq(kvblob_parse(cut, size, true, parsed, NULL, 0) == QUIRE_OK, whole, "at %llu", (unsigned long long)size);
            free(cut);
        }
        uint8_t *longer = malloc(plan->size_bytes + 1);
        memcpy(longer, bytes, plan->size_bytes);
        longer[plan->size_bytes] = 0;
        cr_assert_neq(kvblob_parse(longer, plan->size_bytes + 1, true, parsed, NULL, 0), QUIRE_OK);
        free(longer);
        free(bytes);
    }
    free(parsed);
    free(plan);
}

/* Flipped bits: the parser says no, or what it says lies inside the bytes. */
Test(llama_blob, flipped) {
    plant_seed();
    struct kvblob *plan = calloc(1, sizeof(*plan)), *parsed = calloc(1, sizeof(*parsed));
    for (int round = 0; round < 3000; round++) {
        const bool turned = draw(1) != 0;
        uint8_t *bytes = random_state(plan, true, turned);
        for (uint32_t i = 0; i <= draw(2); i++) {
            const uint64_t most = draw(1) ? plan->size_bytes : quire_min_u64(plan->size_bytes, 4096);
            bytes[draw((uint32_t)most - 1)] ^= (uint8_t)(1u << draw(7));
        }
        if (kvblob_parse(bytes, plan->size_bytes, true, parsed, NULL, 0) == QUIRE_OK) {
            for (uint32_t s = 0; s < parsed->n_sections; s++) {
                const struct kvblob_section *section = &parsed->section[s];
                for (uint32_t l = 0; l < section->n_layers; l++) {
                    cr_assert(quire_in_range(section->k[l].offset, section->k[l].row_bytes * section->n_cells, plan->size_bytes));
                    cr_assert(quire_in_range(section->v[l].offset, section->v[l].row_bytes * section->n_cells, plan->size_bytes));
                }
            }
        }
        free(bytes);
    }
    free(parsed);
    free(plan);
}

/* Lengths that claim the world are refused before anything is reserved or read. */
Test(llama_blob, huge_lengths) {
    struct kvblob *parsed = calloc(1, sizeof(*parsed));
    char why[128] = "";
    uint32_t words[16] = {0xaf143cd8, 0, 1, 0xffffffff};
    cr_assert_eq(kvblob_parse((const uint8_t *)words, sizeof(words), true, parsed, why, sizeof(why)), QUIRE_INVALID);
    cr_assert_str_eq(why, "4294967295 cells");
    uint32_t streams[16] = {0xaf143cd8, 0, 3, 1};
    cr_assert_eq(kvblob_parse((const uint8_t *)streams, sizeof(streams), true, parsed, why, sizeof(why)), QUIRE_UNSUPPORTED);
    uint32_t layers[16] = {0xaf143cd8, 0, 1, 1, 5, 1, 0, 0, 100000};
    cr_assert_eq(kvblob_parse((const uint8_t *)layers, sizeof(layers), true, parsed, why, sizeof(why)), QUIRE_INVALID);
    uint32_t shared[16] = {0xaf143cd8, 0, 1, 1, 5, 2, 0, 1, 0, 0};
    cr_assert_eq(kvblob_parse((const uint8_t *)shared, sizeof(shared), true, parsed, why, sizeof(why)), QUIRE_INVALID);
    free(parsed);
}

/* A ring that wrapped round gives its cells turned: they come back into order; a position that comes twice is refused. */
Test(llama_blob, straighten) {
    plant_seed();
    struct kvblob *plan = calloc(1, sizeof(*plan)), *parsed = calloc(1, sizeof(*parsed));
    for (int round = 0; round < 50; round++) {
        const bool turned = draw(1) != 0;
        uint8_t *bytes = random_state(plan, true, turned);
        const struct kvblob_section *section = &plan->section[0];
        const uint32_t n = section->n_cells, shift = draw(n - 1);
        uint8_t *wrapped = malloc(plan->size_bytes), *straight = calloc(1, plan->size_bytes);
        memcpy(wrapped, bytes, plan->size_bytes);
        for (uint32_t i = 0; i < n; i++) { /* cell i of the ring holds what belongs at (i + shift) mod n */
            const uint32_t from = (i + shift) % n;
            const int32_t pos = section->first_pos + (int32_t)from;
            memcpy(wrapped + section->cells_offset + 12ull * i, &pos, 4);
            for (uint32_t l = 0; l < section->n_layers; l++) {
                const struct kvblob_plane *k = &section->k[l], *v = &section->v[l];
                memcpy(wrapped + k->offset + k->row_bytes * i, bytes + k->offset + k->row_bytes * from, k->row_bytes);
                for (uint32_t c = 0; turned && c < v->n_channels; c++) {
                    memcpy(wrapped + v->offset + 2ull * ((uint64_t)c * n + i), bytes + v->offset + 2ull * ((uint64_t)c * n + from), 2);
                }
                if (!turned) {
                    memcpy(wrapped + v->offset + v->row_bytes * i, bytes + v->offset + v->row_bytes * from, v->row_bytes);
                }
            }
        }
        cr_assert_eq(kvblob_parse(wrapped, plan->size_bytes, true, parsed, NULL, 0), QUIRE_OK);
        cr_assert_eq(parsed->section[0].in_order, shift == 0);
        cr_assert_eq(kvblob_straighten(parsed, wrapped, plan, straight), QUIRE_OK);
        cr_assert_arr_eq(straight, bytes, plan->size_bytes);
        if (n > 2) {
            memcpy(wrapped + section->cells_offset + 12, wrapped + section->cells_offset, 4);
            if (kvblob_parse(wrapped, plan->size_bytes, true, parsed, NULL, 0) == QUIRE_OK) {
                cr_assert_eq(kvblob_straighten(parsed, wrapped, plan, straight), QUIRE_INVALID);
            }
        }
        free(straight);
        free(wrapped);
        free(bytes);
    }
    free(parsed);
    free(plan);
}
