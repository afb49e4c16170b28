#include "tests/unit/client_quired.h"

enum { BLOCKS = 4 };

static quire_key keys[BLOCKS];
static quire_lookup_result found;

static void start(void) {
    worker_start();
    toy_keys(ns, 1, keys, BLOCKS);
    if (!quired.guest) {
        cr_assert_eq(toy_store(ns, keys, BLOCKS - 1), QUIRE_OK); /* the last one is not stored */
    }
    cr_assert_eq(toy_lookup(ns, keys, BLOCKS, &found), QUIRE_OK);
}

static void stop(void) {
    quire_release(&found.lease);
    worker_stop();
}

/* A reader wants pointers to a whole prefix. Each view stands for itself: one that misses leaves the others as they are, and is passed over at
   the end. */
Test(client_views, prefix, .init = start, .fini = stop, .timeout = 60) {
    static const uint8_t expected[BLOCKS] = {QUIRE_OK, QUIRE_OK, QUIRE_OK, QUIRE_MISS};
    quire_view views[BLOCKS];
    uint8_t statuses[BLOCKS];
    memset(views, 0xff, sizeof(views));
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, BLOCKS, views, statuses), QUIRE_MISS);
    cr_assert_eq(memcmp(statuses, expected, BLOCKS), 0);
    for (uint32_t i = 0; i + 1 < BLOCKS; i++) {
        const uint16_t *lane = quire_view_lane(&views[i], quire_ns_layout(ns), 0, 2, 1, 1, NULL);
        cr_assert_eq(lane[3 * TOY_V + 5], toy_element(i, 2, 1, 1, 3, 5));
    }
    cr_assert_null(views[BLOCKS - 1].record);
    cr_assert_eq(quire_view_end_many(found.lease, views, BLOCKS, statuses), QUIRE_OK);
    cr_assert_eq(memcmp(statuses, expected, BLOCKS), 0);
    cr_assert_null(views[0].record);
}

/* Chosen keys and groups; what does not exist is INVALID or a miss, for that view alone. */
Test(client_views, chosen, .init = start, .fini = stop, .timeout = 60) {
    const uint32_t indices[3] = {2, BLOCKS, 0};
    const uint8_t groups[3] = {0, 0, 7};
    quire_view views[3];
    uint8_t statuses[3];
    cr_assert_eq(quire_view_begin_many(found.lease, indices, groups, 3, views, statuses), QUIRE_INVALID);
    cr_assert_eq(statuses[0], QUIRE_OK);
    cr_assert_eq(statuses[1], QUIRE_INVALID);
    cr_assert_eq(statuses[2], QUIRE_MISS);
    cr_assert_eq(views[0].n_tokens, TOY_BLOCK);
    cr_assert_eq(quire_view_end_many(found.lease, views, 3, NULL), QUIRE_OK);
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, 0, NULL, NULL), QUIRE_OK);
    cr_assert_eq(quire_view_begin_many(NULL, NULL, NULL, 1, views, NULL), QUIRE_INVALID);
    cr_assert_eq(quire_view_end_many(found.lease, NULL, 1, NULL), QUIRE_INVALID);
}

/* The daemon dies: views that were begun still end, new ones are STALE. */
Test(client_views, daemon_gone, .init = start, .fini = stop, .timeout = 60) {
    quire_view views[2], more[2];
    uint8_t statuses[2];
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, 2, views, NULL), QUIRE_OK);
    quired_kill(&quired);
    quire_info info = {.connected = true};
    for (int i = 0; i < 1000 && info.connected; i++) {
        quired_sleep_ms(1);
        quire_get_info(client, &info);
    }
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, 2, more, statuses), QUIRE_STALE);
    cr_assert_eq(statuses[1], QUIRE_STALE);
    cr_assert_eq(quire_view_end_many(found.lease, views, 2, NULL), QUIRE_OK);
    cr_assert(quired_start(&quired));
}
