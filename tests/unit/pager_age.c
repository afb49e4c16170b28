/* Age lists: who goes first, at the resolution that they promise. */
#include "pager/age.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

enum { BLOCKS = 20000 };

static struct pager_index *index_of(uint32_t n) {
    struct pager_index *index;
    cr_assert_eq(pager_index_create(n, 3, &index), QUIRE_OK);
    for (uint32_t i = 0; i < n; i++) {
        quire_key key = {{1}};
        uint32_t block;
        memcpy(key.b + 4, &i, sizeof(i));
        cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
        cr_assert_eq(block, i);
    }
    return index;
}

static uint32_t take_oldest(struct pager_ages *ages, struct pager_index *index, uint32_t now) {
    uint32_t budget = UINT32_MAX, block = pager_age_oldest(ages, index, now, &budget);
    if (block != PAGER_NO_BLOCK) {
        pager_age_remove(ages, index, block);
    }
    return block;
}

/* Twenty thousand blocks are used at random for a while by writing their tick and nothing else; then all leave. Nobody leaves much
   before somebody that was used long before it: the order is that of use, to within a twentieth of all. */
Test(age, order_of_use) {
    static struct pager_ages ages;
    static uint32_t used[BLOCKS];
    struct pager_index *index = index_of(BLOCKS);
    struct dice dice = dice_printed("age");
    pager_ages_init(&ages);
    uint32_t now = 0;
    for (uint32_t i = 0; i < BLOCKS; i++, now += i % 20 == 0) {
        pager_index_at(index, i)->used = now;
        pager_age_file(&ages, index, i, now, false);
    }
    for (uint32_t i = 0; i < 5 * BLOCKS; i++, now += i % 20 == 0) {
        pager_index_at(index, (uint32_t)dice_below(&dice, BLOCKS))->used = now;
        if (i % 100 == 0) {
            pager_age_open(&ages, index, now);
        }
    }
    pager_age_check(&ages, index);
    cr_assert_eq(ages.listed, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t block = take_oldest(&ages, index, now);
        cr_assert_neq(block, PAGER_NO_BLOCK);
        used[i] = pager_index_at(index, block)->used;
    }
    cr_assert_eq(take_oldest(&ages, index, now), PAGER_NO_BLOCK);
    uint32_t latest = 0, worst = 0;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        latest = used[i] > latest ? used[i] : latest;
        worst = latest - used[i] > worst ? latest - used[i] : worst;
    }
    cr_assert_lt(worst, now / 20, "one left %u of %u ticks too early", worst, now);
    pager_index_destroy(&index);
}

/* Up to sixty-four blocks that were used at different times leave in exactly that order. */
Test(age, few_are_exact) {
    static struct pager_ages ages;
    struct pager_index *index = index_of(64);
    pager_ages_init(&ages);
    for (uint32_t i = 0; i < 64; i++) {
        pager_index_at(index, i)->used = 10 * i;
        pager_age_file(&ages, index, i, 10 * i, false);
    }
    pager_index_at(index, 7)->used = 1000;
    for (uint32_t i = 0; i < 63; i++) {
        cr_assert_eq(take_oldest(&ages, index, 1001), i < 7 ? i : i + 1);
    }
    cr_assert_eq(take_oldest(&ages, index, 1001), 7);
    pager_index_destroy(&index);
}

/* Re-filing is bounded a call: who asks again goes on where it stopped. */
Test(age, refiling_is_bounded) {
    static struct pager_ages ages;
    struct pager_index *index = index_of(1000);
    pager_ages_init(&ages);
    for (uint32_t i = 0; i < 1000; i++) {
        pager_age_file(&ages, index, i, i, false);
        pager_index_at(index, i)->used = 5000;
    }
    pager_age_open(&ages, index, 4000);
    uint32_t calls = 0, block;
    do {
        uint32_t budget = 100;
        block = pager_age_oldest(&ages, index, 5000, &budget);
        pager_age_check(&ages, index);
        calls++;
    } while (block == PAGER_NO_BLOCK && calls < 100);
    cr_assert(block != PAGER_NO_BLOCK && calls >= 10, "%u calls", calls);
    cr_assert_eq(ages.listed, 1000);
    pager_index_destroy(&index);
}
