/* The write budget: over any length of time no more is written than it says, but for what the buckets hold and one write. */
#include "pager/log/budget.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

#define S QUIRE_NS_PER_S
#define MIB (1024ull * 1024)

static bool take(struct pager_budget *budget, uint64_t bytes, uint64_t now_ns) {
    if (pager_budget_next_ns(budget, now_ns) > now_ns) {
        return false;
    }
    pager_budget_spend(budget, bytes, now_ns);
    return true;
}

/* Writes whenever it may for `seconds`; how many bytes. */
static uint64_t written_in(struct pager_budget *budget, uint64_t bytes, uint64_t from_ns, uint64_t seconds) {
    uint64_t now_ns = from_ns, written = 0;
    while (now_ns < from_ns + seconds * S) {
        if (take(budget, bytes, now_ns)) {
            written += bytes;
        }
        now_ns = quire_max_u64(now_ns + 1, pager_budget_next_ns(budget, now_ns));
    }
    return written;
}

/* A rate holds over a minute; the second's worth that the bucket begins with comes on top, and one write. */
Test(budget, rate) {
    const uint64_t sizes[] = {4096, MIB, 64 * MIB};
    for (uint32_t i = 0; i < 3; i++) {
        struct pager_budget budget;
        pager_budget_init(&budget, 10 * MIB, 0, 5 * S);
        uint64_t written = written_in(&budget, sizes[i], 5 * S, 60);
        cr_assert(written >= 610 * MIB - sizes[i] && written <= 610 * MIB + sizes[i], "%lu of %lu", (unsigned long)written,
                  (unsigned long)(610 * MIB));
    }
}

/* Silence is not saved up beyond two seconds' worth. */
Test(budget, silence) {
    struct pager_budget budget;
    pager_budget_init(&budget, 10 * MIB, 0, 0);
    uint64_t written = written_in(&budget, MIB, 1000 * S, 10);
    cr_assert(written >= 119 * MIB && written <= 121 * MIB, "%lu MiB", (unsigned long)(written / MIB));
}

/* A day's share holds over the day; what was not used of an hour may come at once. */
Test(budget, day) {
    struct pager_budget budget;
    pager_budget_init(&budget, 0, 86400 * MIB, 0);
    uint64_t written = written_in(&budget, 64 * MIB, 0, 3600);
    cr_assert(written >= 3601 * MIB - 64 * MIB && written <= 3601 * MIB + 64 * MIB);
    written += written_in(&budget, 64 * MIB, 3600 * S, 82800);
    cr_assert(written >= 86401 * MIB - 64 * MIB && written <= 86401 * MIB + 64 * MIB);
    /* A night without writing is not saved up beyond the hour. */
    written = written_in(&budget, 64 * MIB, 10 * 86400 * S, 1);
    cr_assert(written >= 3600 * MIB && written <= 3601 * MIB + 64 * MIB);
}

/* A daemon that is started again and again, or dies and is started, writes no more than one that runs: each start brings one second's worth. */
Test(budget, starts) {
    for (uint32_t days = 0; days < 2; days++) {
        uint64_t written = 0;
        for (uint32_t i = 0; i < 60; i++) {
            struct pager_budget budget;
            pager_budget_init(&budget, days ? 0 : 10 * MIB, days ? 86400 * 10 * MIB : 0, i * 10 * S);
            written += written_in(&budget, MIB, i * 10 * S, 10);
        }
        cr_assert(written >= 6500 * MIB && written <= 6700 * MIB, "%lu MiB in 600 s of 10 MiB", (unsigned long)(written / MIB));
    }
}

/* Other rates fill no bucket, and empty none but for what it does not hold any more. A bound where there was none begins as at a start. */
Test(budget, reload) {
    struct pager_budget budget;
    pager_budget_init(&budget, 10 * MIB, 0, 0);
    uint64_t written = 0;
    for (uint32_t i = 0; i < 60; i++) {
        pager_budget_set(&budget, 10 * MIB + i % 2, 0, i * S);
        written += written_in(&budget, MIB, i * S, 1);
    }
    cr_assert(written >= 609 * MIB && written <= 611 * MIB, "%lu MiB in 60 s of 10 MiB", (unsigned long)(written / MIB));
    pager_budget_spend(&budget, 100 * MIB, 60 * S);
    pager_budget_set(&budget, 20 * MIB, 0, 60 * S);
    cr_assert_geq(pager_budget_next_ns(&budget, 60 * S), 64 * S, "what was written is still to be waited for");
    written = written_in(&budget, MIB, 1000 * S, 1);
    cr_assert(written >= 59 * MIB && written <= 61 * MIB);
    pager_budget_set(&budget, 10 * MIB, 86400 * MIB, 2000 * S);
    written = written_in(&budget, MIB, 2000 * S, 10);
    cr_assert(written >= 10 * MIB && written <= 12 * MIB, "%lu MiB: the new bound began with a second's worth",
              (unsigned long)(written / MIB));
    pager_budget_set(&budget, 0, 0, 2010 * S);
    cr_assert_eq(pager_budget_next_ns(&budget, 2010 * S), 2010 * S);
}

/* When so much is left, too, is told as exactly as when anything is. */
Test(budget, holds) {
    struct pager_budget budget;
    pager_budget_init(&budget, 10 * MIB, 86400 * 5 * MIB, 0);
    cr_assert_eq(pager_budget_holds_ns(&budget, 0.5, 0), 0);
    pager_budget_spend(&budget, 5 * MIB, 0);
    uint64_t at_ns = pager_budget_holds_ns(&budget, 0.5, 0);
    cr_assert(at_ns >= S / 2 && at_ns <= S / 2 + 2000, "the day's second is half a second away");
    cr_assert_eq(pager_budget_holds_ns(&budget, 0.5, at_ns), at_ns);
}

/* Both bounds at once: the tighter one holds. */
Test(budget, both) {
    struct pager_budget budget;
    pager_budget_init(&budget, 100 * MIB, 24 * 3600 * MIB, 0);
    uint64_t written = written_in(&budget, MIB, 0, 10);
    cr_assert(written >= 10 * MIB && written <= 12 * MIB, "the bytes a day: %lu MiB", (unsigned long)(written / MIB));
    written = written_in(&budget, MIB, 3600 * S, 10);
    cr_assert(written >= 1199 * MIB && written <= 1201 * MIB, "the bytes a second: %lu MiB", (unsigned long)(written / MIB));
}

/* Without bounds everything is taken at once. */
Test(budget, none) {
    struct pager_budget budget;
    pager_budget_init(&budget, 0, 0, 7);
    for (uint32_t i = 0; i < 100; i++) {
        cr_assert(take(&budget, UINT64_MAX, 7));
        cr_assert_eq(pager_budget_next_ns(&budget, 7), 7);
    }
}

/* The time that is told is right: then it is taken, and a moment earlier it is not; a clock that goes back gives nothing away and takes nothing back. */
Test(budget, next) {
    struct dice dice = dice_printed("budget");
    for (uint32_t round = 0; round < 2000; round++) {
        struct pager_budget budget;
        uint64_t now_ns = dice_next(&dice) >> (2 + dice_below(&dice, 60));
        pager_budget_init(&budget, dice_below(&dice, 3) ? 1000 + (dice_next(&dice) >> (28 + dice_below(&dice, 36))) : 0,
                          dice_below(&dice, 3) ? 1000000 + (dice_next(&dice) >> (14 + dice_below(&dice, 50))) : 0, now_ns);
        for (uint32_t i = 0; i < 20; i++) {
            uint64_t next_ns = pager_budget_next_ns(&budget, now_ns);
            cr_assert_geq(next_ns, now_ns);
            cr_assert_eq(take(&budget, 1 + (dice_next(&dice) >> (34 + dice_below(&dice, 30))), now_ns), next_ns == now_ns);
            if (next_ns > now_ns + 100000) {
                cr_assert(!take(&budget, 1, now_ns / 2));
                cr_assert(!take(&budget, 1, next_ns - 100000 - next_ns / 1000000000));
                cr_assert_leq(pager_budget_next_ns(&budget, now_ns), next_ns + 100000 + next_ns / 1000000000);
                next_ns = pager_budget_next_ns(&budget, next_ns);
            }
            now_ns = next_ns;
        }
    }
}
