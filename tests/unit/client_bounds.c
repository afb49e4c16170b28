#include "client/internal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

static uint64_t state;
static uint64_t draw(uint64_t n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % n;
}

/* The rule, element by element. */
static bool inside(const struct plane *plane, const uint8_t *region, uint64_t region_bytes) {
    for (uint32_t layer = 0; layer < plane->n_layers; layer++) {
        for (uint32_t head = 0; head < plane->n_heads; head++) {
            for (uint32_t token = 0; token < plane->n_tokens; token++) {
                const uint8_t *at =
                    (const uint8_t *)plane->base[layer] + (int64_t)head * plane->head_stride + (int64_t)token * plane->token_stride;
                if (at < region || at + plane->token_bytes > region + region_bytes) {
                    return false;
                }
            }
        }
    }
    return true;
}

/* On random small planes, with strides of either sign, the answer in closed form is the answer of looking at every element. */
Test(client_bounds, agrees_with_looking) {
    static uint8_t memory[4096];
    state = (uint64_t)time(NULL);
    fprintf(stderr, "seed %llu\n", (unsigned long long)state);
    uint32_t accepted = 0;
    for (int i = 0; i < 200000; i++) {
        const void *base[2] = {memory + 1024 + draw(2048), memory + 1024 + draw(2048)};
        struct plane plane = {base,
                              (uint32_t)draw(3),
                              (uint32_t)draw(4) + 1,
                              (uint32_t)draw(5) + 1,
                              (uint32_t)draw(64) + 1,
                              (int64_t)draw(400) - 200,
                              (int64_t)draw(200) - 100};
        uint64_t start = 600 + draw(1000), bytes = draw(2400);
        bool want = inside(&plane, memory + start, bytes);
        cr_assert_eq(bounds_check(&plane, memory + start, bytes) == QUIRE_OK, want);
        accepted += want;
    }
    cr_assert_gt(accepted, 1000u);
}

/* What cannot be computed without overflow is refused, also where the caller vouches for the strides. */
Test(client_bounds, overflow) {
    static uint8_t memory[64];
    const void *base[1] = {memory};
    struct plane plane = {base, 1, 2, 2, 8, INT64_MAX, INT64_MAX};
    cr_assert_eq(bounds_check(&plane, NULL, 0), QUIRE_INVALID);
    plane.n_heads = 3; /* the product wraps to a small number */
    plane.token_stride = 8;
    cr_assert_eq(bounds_check(&plane, NULL, 0), QUIRE_INVALID);
    plane.head_stride = plane.token_stride = INT64_MIN;
    cr_assert_eq(bounds_check(&plane, NULL, 0), QUIRE_INVALID);
    plane.head_stride = 0;
    plane.token_stride = -(int64_t)(uintptr_t)memory - 1;
    cr_assert_eq(bounds_check(&plane, NULL, 0), QUIRE_INVALID);
    plane.token_stride = 8;
    cr_assert_eq(bounds_check(&plane, NULL, 0), QUIRE_OK);
    cr_assert_eq(bounds_check(&plane, memory, UINT64_MAX), QUIRE_INVALID);
    cr_assert_eq(bounds_check(&plane, NULL, 64), QUIRE_INVALID);
    base[0] = NULL;
    cr_assert_eq(bounds_check(&plane, NULL, 0), QUIRE_INVALID);
}

/* The space inside an ingest window: what is lent never overlaps, never leaves the window, is never more pieces than the books hold, and after all is
   freed the whole is there. */
Test(client_bounds, ingest_space) {
    enum { SLOTS = INGEST_SEGMENTS_MAX };
    static quire_client client;
    uint64_t offset[SLOTS], bytes[SLOTS];
    bool held[SLOTS] = {false};
    struct window window = {.refs = 1, .bytes = 1u << 20};
    list_init(&client.stalled_space);
    state = (uint64_t)time(NULL);
    fprintf(stderr, "seed %llu\n", (unsigned long long)state);
    for (int step = 0; step < 100000; step++) {
        uint32_t i = (uint32_t)draw(SLOTS);
        if (held[i]) {
            ingest_free(&client, &window, offset[i]);
            held[i] = false;
            continue;
        }
        bytes[i] = draw(60000) + 1;
        held[i] = ingest_alloc(&window, bytes[i], &offset[i]);
        for (uint32_t j = 0; held[i] && j < SLOTS; j++) {
            bool apart = j == i || !held[j] || offset[i] + bytes[i] <= offset[j] || offset[j] + bytes[j] <= offset[i];
            cr_assert(apart && offset[i] + bytes[i] <= window.bytes);
        }
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (held[i]) {
            ingest_free(&client, &window, offset[i]);
        }
    }
    cr_assert_eq(window.refs, 1u);
    for (uint32_t i = 0; i < SLOTS; i++) {
        cr_assert(ingest_alloc(&window, 1, &offset[i]));
    }
    uint64_t beyond;
    cr_assert_not(ingest_alloc(&window, 1, &beyond), "there is room, but no place for it in the books");
    for (uint32_t i = 0; i < SLOTS; i++) {
        ingest_free(&client, &window, offset[i]);
    }
    cr_assert(ingest_alloc(&window, window.bytes, &offset[0]));
    cr_assert_not(ingest_alloc(&window, 1, &offset[1]));
}
