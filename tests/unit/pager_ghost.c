/* Ghosts: why a key is not there, in bounded memory. */
#include "pager/ghost.h"
#include "tests/unit/pager_rig.h"

/* The three answers; a key that comes back and goes again goes for the newer reason. */
Test(ghost, tells_why) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint64_t freed;
    rig_put(rig, 1, 0), rig_put(rig, 2, 0);
    rig_verb(rig, QUIRE_WIRE_DELETE, 1);
    pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, 1, &freed);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_DELETED);
    cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_EVICTED);
    cr_assert_eq(rig_why(rig, 3), QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(rig_info(rig, 2).miss, QUIRE_MISS_EVICTED);
    rig_put(rig, 2, 0);
    rig_verb(rig, QUIRE_WIRE_DELETE, 2);
    cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_DELETED);
    rig_free(rig);
}

/* The table never grows: the oldest are forgotten, the youngest are known. */
Test(ghost, forgets_the_oldest) {
    struct pager_ghosts ghosts;
    cr_assert_eq(pager_ghosts_init(&ghosts, 1024, 99), QUIRE_OK);
    cr_assert_eq(pager_ghosts_bytes(&ghosts), 8192);
    for (uint32_t i = 0; i < 10000; i++) {
        quire_key key = rig_key(i);
        pager_ghost_add(&ghosts, 1, &key, i % 2 ? PAGER_GHOST_DELETED : PAGER_GHOST_EVICTED);
        cr_assert_eq(pager_ghost_find(&ghosts, 1, &key), i % 2 ? PAGER_GHOST_DELETED : PAGER_GHOST_EVICTED);
        cr_assert_eq(pager_ghost_find(&ghosts, 2, &key), PAGER_GHOST_NONE);
    }
    uint32_t young = 0, old = 0;
    for (uint32_t i = 0; i < 300; i++) {
        quire_key key = rig_key(i);
        old += pager_ghost_find(&ghosts, 1, &key) != PAGER_GHOST_NONE;
        key = rig_key(9700 + i);
        young += pager_ghost_find(&ghosts, 1, &key) != PAGER_GHOST_NONE;
    }
    cr_assert_eq(old, 0);
    cr_assert_geq(young, 290);
    pager_ghosts_free(&ghosts);
}

/* Written again, a key keeps one place and takes the newer reason. */
Test(ghost, one_place_a_key) {
    struct pager_ghosts ghosts;
    cr_assert_eq(pager_ghosts_init(&ghosts, 8, 1), QUIRE_OK);
    quire_key a = rig_key(1);
    for (uint32_t i = 0; i < 7; i++) {
        quire_key key = rig_key(100 + i);
        pager_ghost_add(&ghosts, 1, &key, PAGER_GHOST_EVICTED);
    }
    for (uint32_t i = 0; i < 20; i++) {
        pager_ghost_add(&ghosts, 1, &a, i % 2 ? PAGER_GHOST_DELETED : PAGER_GHOST_EVICTED);
    }
    cr_assert_eq(pager_ghost_find(&ghosts, 1, &a), PAGER_GHOST_DELETED);
    quire_key first = rig_key(100);
    cr_assert_eq(pager_ghost_find(&ghosts, 1, &first), PAGER_GHOST_EVICTED);
    pager_ghosts_free(&ghosts);
}

/* None wanted: nothing is remembered, nothing breaks. */
Test(ghost, may_be_switched_off) {
    struct pager_ghosts ghosts;
    quire_key key = rig_key(1);
    cr_assert_eq(pager_ghosts_init(&ghosts, 0, 1), QUIRE_OK);
    pager_ghost_add(&ghosts, 1, &key, PAGER_GHOST_EVICTED);
    cr_assert_eq(pager_ghost_find(&ghosts, 1, &key), PAGER_GHOST_NONE);
    pager_ghosts_free(&ghosts);
}
