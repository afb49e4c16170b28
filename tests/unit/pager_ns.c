/* Namespaces: opened by agreement, deleted at once for whoever looks, bit by bit inside. */
#include "pager/disk.h"
#include "tests/unit/pager_rig.h"

#include <stdio.h>

static enum quire_status open_ns(struct rig *rig, const char *name, const quire_layout *layout, const char *salt, uint16_t *ns,
                                 char why[200]) {
    return pager_ns_open(rig->pager, rig->domain, name, layout, salt, strlen(salt), ns, why, 200);
}

/* Equal layouts and salts meet in one namespace; any difference is refused and named. */
Test(ns, agrees_or_names_the_difference) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint16_t ns;
    char why[200];
    cr_assert_eq(open_ns(rig, "m", &layout, "s", &ns, why), QUIRE_OK);
    cr_assert_eq(ns, rig->ns);
    cr_assert_eq(open_ns(rig, "m", NULL, "", &ns, why), QUIRE_OK);
    cr_assert_eq(open_ns(rig, "m", &layout, "t", &ns, why), QUIRE_MISMATCH);
    cr_assert(strstr(why, "salt"));
    layout.group[0].k_dim = 32;
    cr_assert_eq(open_ns(rig, "m", &layout, "s", &ns, why), QUIRE_MISMATCH);
    cr_assert(strstr(why, "group[0].k_dim"), "%s", why);
    layout.group[0].k_dim = 0;
    cr_assert_eq(open_ns(rig, "m", &layout, "s", &ns, why), QUIRE_INVALID);
    cr_assert_eq(open_ns(rig, "n", NULL, "", &ns, why), QUIRE_NOT_FOUND);
    rig_free(rig);
}

/* The metadata of a disk tier says that every number a namespace can have was used: those it tells of are there, and no other one is made, because a number that is
   used twice would bring back what was deleted with the first. */
Test(ns, no_number_is_left) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint16_t ns;
    char why[200];
    pager_restore_serial(rig->pager, UINT32_MAX - 1);
    cr_assert_eq(open_ns(rig, "last", &layout, "s", &ns, why), QUIRE_OK);
    cr_assert_eq(pager_ns_serial(rig->pager, ns), UINT32_MAX);
    cr_assert_eq(open_ns(rig, "none", &layout, "s", &ns, why), QUIRE_FULL);
    cr_assert(strstr(why, "no number is left"), "%s", why);
    cr_assert_eq(open_ns(rig, "last", NULL, "", &ns, why), QUIRE_OK);
    rig_free(rig);
}

/* Names that would break a log line, a metric or a command are refused. */
Test(ns, refuses_bad_names) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    static const char *const bad[] = {
        "", "a b", "a\nb", "a\"b", "a{b", "\x7f", "x23456789012345678901234567890123456789012345678901234567890123x"};
    uint16_t ns;
    char why[200];
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(bad); i++) {
        cr_assert_eq(open_ns(rig, bad[i], &layout, "", &ns, why), QUIRE_INVALID, "%s", bad[i]);
        cr_assert_gt(strlen(why), 0);
    }
    cr_assert_eq(open_ns(rig, "org/Model-8B:q4_0@x", &layout, "", &ns, why), QUIRE_OK);
    rig_free(rig);
}

/* A namespace is one trust domain's: another one may have one of the same name and not know of it. An operator says which is meant. */
Test(ns, belongs_to_its_domain) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    _Atomic uint32_t *generations = calloc(16, sizeof(*generations));
    uint32_t other;
    uint16_t ns, found;
    uint64_t blocks;
    char why[200];
    pager_domain_add(rig->pager, "other", 1 << 20, generations, 16, &other);
    cr_assert_eq(pager_ns_open(rig->pager, other, "m", NULL, "s", 1, &ns, why, sizeof(why)), QUIRE_NOT_FOUND);
    cr_assert(pager_ns_find(rig->pager, "m", &found) == QUIRE_OK && found == rig->ns);
    cr_assert_eq(pager_ns_open(rig->pager, other, "m", &layout, "another", 7, &ns, why, sizeof(why)), QUIRE_OK);
    cr_assert(ns != rig->ns && pager_ns_domain(rig->pager, ns) == other);
    cr_assert_eq(pager_ns_find(rig->pager, "m", &found), QUIRE_MISMATCH);
    cr_assert_eq(pager_ns_delete(rig->pager, "m", &blocks), QUIRE_MISMATCH);
    cr_assert(pager_ns_find(rig->pager, "own/m", &found) == QUIRE_OK && found == rig->ns);
    cr_assert(pager_ns_find(rig->pager, "other/m", &found) == QUIRE_OK && found == ns);
    cr_assert_eq(pager_ns_find(rig->pager, "other/n", &found), QUIRE_NOT_FOUND);
    cr_assert_eq(pager_ns_delete(rig->pager, "other/m", &blocks), QUIRE_OK);
    cr_assert(pager_ns_find(rig->pager, "m", &found) == QUIRE_OK && found == rig->ns);
    cr_assert_eq(pager_ns_open(rig->pager, 5, "m", &layout, "s", 1, &ns, why, sizeof(why)), QUIRE_INVALID);
    rig_free(rig);
    free(generations);
}

/* Deletion: nobody finds anything any more, leased bytes stay to the release, and the number is not given to another until then. */
Test(ns, deletion_spares_readers) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    uint16_t other;
    uint64_t blocks;
    char why[200];
    rig_put(rig, 1, 0), rig_put(rig, 2, 1), rig_put(rig, 3, 7);
    rig_each(rig, 2);
    struct quire_wire_grant grant = rig->grants[0];
    uint64_t lease = rig->reply.lease;
    const uint32_t serial = pager_ns_serial(rig->pager, rig->ns);
    cr_assert_neq(serial, 0);
    cr_assert_eq(pager_ns_delete(rig->pager, "m", &blocks), QUIRE_OK);
    pager_check(rig->pager);
    cr_assert_eq(blocks, 3);
    cr_assert_eq(pager_ns_serial(rig->pager, rig->ns), 0);
    cr_assert_eq(pager_ns_delete(rig->pager, "m", &blocks), QUIRE_NOT_FOUND);
    cr_assert(pager_ns_layout(rig->pager, rig->ns) == NULL);
    cr_assert_eq(atomic_load(&rig->generations[grant.slot]), grant.generation);
    cr_assert_eq(open_ns(rig, "m", &layout, "s", &other, why), QUIRE_OK);
    cr_assert_neq(other, rig->ns);
    struct quire_wire_put item = {.key = rig_key(1)};
    uint64_t cookie;
    cr_assert_eq(rig_offer(rig, rig->session, &item, &cookie), QUIRE_NOT_FOUND);
    rig_release(rig, lease);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    uint16_t third;
    cr_assert_eq(open_ns(rig, "third", &layout, "s", &third, why), QUIRE_OK);
    cr_assert_eq(third, rig->ns); /* now it is free */
    cr_assert_gt(pager_ns_serial(rig->pager, third), serial);
    rig->ns = other;
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NEVER_STORED); /* a new namespace has no ghosts */
    rig_free(rig);
}

/* Puts under way end, each with its answer; the copy ends before its room is given away. */
Test(ns, deletion_ends_puts) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event fill;
    uint64_t blocks;
    rig->held = true;
    rig_put(rig, 1, 0);
    cr_assert(rig_take(rig, &fill));
    rig_put(rig, 2, 1);
    cr_assert_eq(pager_ns_delete(rig->pager, "m", &blocks), QUIRE_OK);
    pager_check(rig->pager);
    rig_pump(rig);
    cr_assert(rig->outcome[2] == QUIRE_NOT_FOUND && rig->outcome[1] == QUIRE_PENDING);
    cr_assert_gt(rig_stats(rig).used_bytes, 0);
    rig_complete(rig, &fill, QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[1], QUIRE_NOT_FOUND);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    rig_free(rig);
}

/* A large namespace goes in bounded steps, and the pager says that it is not done. A second deletion on the way is not forgotten. */
Test(ns, deletion_of_many_blocks_is_bounded) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(64 << 20, &layout);
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig->generations = calloc(30000, sizeof(*rig->generations));
    cr_assert_eq(pager_create(&rig->options, 7, 1, &rig->pager), QUIRE_OK);
    cr_assert_eq(pager_domain_add(rig->pager, "own", 64 << 20, rig->generations, 30000, &rig->domain), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    uint16_t a, b;
    char why[200];
    cr_assert_eq(open_ns(rig, "a", &layout, "s", &a, why), QUIRE_OK);
    cr_assert_eq(open_ns(rig, "b", &layout, "s", &b, why), QUIRE_OK);
    for (uint32_t i = 0; i < 24000; i++) {
        rig->ns = i % 2 ? a : b;
        struct quire_wire_put item = {.key = rig_key(i + 1), .n_tokens = 1, .length = 100, .flags = QUIRE_WIRE_PUT_ROOT};
        cr_assert_eq(pager_put(rig->pager, rig->now_ns, rig->session, rig->ns, &item, 1, 0), QUIRE_OK);
        struct pager_event event;
        while (rig_take(rig, &event)) {
            pager_complete(rig->pager, rig->now_ns, event.ticket, QUIRE_OK);
        }
    }
    uint64_t blocks;
    cr_assert_eq(pager_ns_delete(rig->pager, "a", &blocks), QUIRE_OK);
    cr_assert_eq(blocks, 12000);
    uint64_t after_a = rig_stats(rig).records;
    cr_assert(after_a > 12000 && after_a < 24000);
    cr_assert_leq(pager_next_deadline(rig->pager), rig->now_ns);
    cr_assert_eq(pager_ns_delete(rig->pager, "b", &blocks), QUIRE_OK);
    uint32_t steps = 0;
    for (; pager_next_deadline(rig->pager) <= rig->now_ns; steps++) {
        pager_tick(rig->pager, rig->now_ns);
    }
    cr_assert(steps >= 2 && steps < 10);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    struct pager_memory memory;
    pager_memory(rig->pager, &memory);
    cr_assert_eq(memory.blocks, 0);
    rig_free(rig);
}

/* As many as are allowed, not one more; a deleted one makes room, and so does one that is empty and that nobody uses, the oldest first. */
Test(ns, limited_in_number) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    pager_destroy(&rig->pager);
    free(rig->generations);
    rig->options.max_namespaces = 2;
    rig_new_pager(rig, 1 << 20);
    uint16_t ns;
    uint64_t blocks;
    char why[200];
    cr_assert_eq(open_ns(rig, "a", &layout, "s", &ns, why), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &rig->session), QUIRE_OK);
    cr_assert_eq(pager_ns_use(rig->pager, rig->session, ns), QUIRE_OK);
    cr_assert_eq(open_ns(rig, "b", &layout, "s", &rig->ns, why), QUIRE_OK);
    rig_put(rig, 1, 0);
    cr_assert_eq(open_ns(rig, "c", &layout, "s", &ns, why), QUIRE_FULL);
    cr_assert_gt(strlen(why), 0);
    cr_assert_eq(pager_ns_delete(rig->pager, "a", &blocks), QUIRE_OK);
    for (uint32_t i = 0; i < 20; i++) { /* whoever opens one after the other does not fill the table for ever */
        char name[16];
        snprintf(name, sizeof(name), "c%u", i);
        cr_assert_eq(open_ns(rig, name, &layout, "s", &ns, why), QUIRE_OK);
        pager_check(rig->pager);
    }
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_eq(pager_ns_use(rig->pager, rig->session, ns), QUIRE_OK); /* the number was used before, for another */
    cr_assert_eq(open_ns(rig, "d", &layout, "s", &ns, why), QUIRE_FULL);
    pager_session_close(rig->pager, rig->session, false);
    cr_assert_eq(open_ns(rig, "d", &layout, "s", &ns, why), QUIRE_OK);
    rig_free(rig);
}
