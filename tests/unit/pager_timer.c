/* Deadlines and handles: the small tools that the pager's objects hang on. */
#include "pager/table.h"
#include "pager/timer.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

/* Armed, moved and disarmed at random, timers still come out in the order of their time. */
Test(timer, comes_out_in_order) {
    enum { N = 500 };
    static struct pager_timer timers[N];
    struct pager_timers heap = {0};
    struct dice dice = dice_printed("timer");
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_eq(pager_timers_promise(&heap), QUIRE_OK);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        struct pager_timer *timer = &timers[dice_below(&dice, N)];
        if (dice_below(&dice, 3) == 0) {
            pager_timer_disarm(&heap, timer);
        } else {
            pager_timer_arm(&heap, timer, dice_below(&dice, 1000));
        }
    }
    pager_timers_check(&heap);
    uint64_t last = 0;
    for (struct pager_timer *timer; (timer = pager_timer_first(&heap)) != NULL;) {
        cr_assert_geq(timer->when_ns, last);
        last = timer->when_ns;
        pager_timer_disarm(&heap, timer);
        pager_timers_check(&heap);
    }
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_eq(timers[i].place, 0);
        pager_timers_forget(&heap, &timers[i]);
    }
    cr_assert_eq(heap.promised, 0);
    pager_timers_free(&heap);
}

/* A handle finds its object while that lives, and never the next one in the same place. */
Test(table, stale_handles_find_nothing) {
    struct pager_table table;
    int objects[200];
    uint64_t handles[200], again[200];
    pager_table_init(&table, 200);
    for (uint32_t i = 0; i < 200; i++) {
        cr_assert_eq(pager_table_add(&table, &objects[i], &handles[i]), QUIRE_OK);
    }
    uint64_t none;
    cr_assert_eq(pager_table_add(&table, &objects[0], &none), QUIRE_RETRY);
    for (uint32_t i = 0; i < 200; i += 2) {
        pager_table_remove(&table, handles[i]);
        cr_assert_null(pager_table_find(&table, handles[i]));
    }
    for (uint32_t i = 0; i < 200; i += 2) {
        cr_assert_eq(pager_table_add(&table, &objects[i], &again[i]), QUIRE_OK);
    }
    for (uint32_t i = 0; i < 200; i++) {
        cr_assert_eq(pager_table_find(&table, handles[i]), i % 2 ? &objects[i] : NULL);
        cr_assert(i % 2 || pager_table_find(&table, again[i]) == &objects[i]);
    }
    cr_assert_null(pager_table_find(&table, 0));
    cr_assert_null(pager_table_find(&table, UINT64_MAX));
    uint32_t cursor = 0, n = 0;
    while (pager_table_next(&table, &cursor)) {
        n++;
    }
    cr_assert(n == 200 && table.used == 200);
    pager_table_free(&table);
}
