/* The index: finds what was inserted and nothing else, at any size, under removal, and when keys are chosen to hurt it. */
#include "pager/index.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

#define SECRET 0x0123456789abcdefull

static quire_key key_of(uint64_t id) {
    quire_key key;
    struct dice dice = {.state = id * 0x632be59bd9b4e019ull + 1};
    for (unsigned i = 0; i < QUIRE_KEY_BYTES; i += 8) {
        uint64_t word = dice_next(&dice);
        memcpy(key.b + i, &word, 8);
    }
    return key;
}

static struct pager_index *index_made(uint64_t max_blocks) {
    struct pager_index *index;
    cr_assert_eq(pager_index_create(max_blocks, SECRET, &index), QUIRE_OK);
    return index;
}

/* A new entry carries its key and namespace and is otherwise blank; it is found under exactly these. */
Test(index, finds_what_was_inserted) {
    struct pager_index *index = index_made(100);
    quire_key key = key_of(1), other = key_of(2);
    uint32_t block;
    cr_assert_eq(pager_index_find(index, 7, &key), PAGER_NO_BLOCK);
    cr_assert_eq(pager_index_insert(index, 7, &key, &block), QUIRE_OK);
    cr_assert_eq(pager_index_find(index, 7, &key), block);
    cr_assert_eq(pager_index_find(index, 8, &key), PAGER_NO_BLOCK);
    cr_assert_eq(pager_index_find(index, 7, &other), PAGER_NO_BLOCK);
    const struct pager_block *entry = pager_index_at(index, block);
    cr_assert(quire_key_equal(&entry->key, &key));
    cr_assert(entry->ns == 7 && entry->n_tokens == 0 && entry->pins == 0 && entry->flags == 0 && entry->children == 0);
    cr_assert(entry->parent == PAGER_NO_BLOCK && entry->record == PAGER_NO_RECORD);
    cr_assert(entry->prev == PAGER_NO_BLOCK && entry->next == PAGER_NO_BLOCK);
    pager_index_check(index);
    pager_index_remove(index, block);
    cr_assert_eq(pager_index_find(index, 7, &key), PAGER_NO_BLOCK);
    cr_assert_eq(pager_index_count(index), 0);
    pager_index_check(index);
    pager_index_destroy(&index);
    cr_assert_null(index);
    pager_index_destroy(&index);
}

/* The same key in two namespaces is two blocks. */
Test(index, namespaces_are_apart) {
    struct pager_index *index = index_made(100);
    quire_key key = key_of(1);
    uint32_t a, b;
    cr_assert_eq(pager_index_insert(index, 1, &key, &a), QUIRE_OK);
    cr_assert_eq(pager_index_insert(index, 2, &key, &b), QUIRE_OK);
    cr_assert_neq(a, b);
    pager_index_remove(index, a);
    cr_assert_eq(pager_index_find(index, 1, &key), PAGER_NO_BLOCK);
    cr_assert_eq(pager_index_find(index, 2, &key), b);
    pager_index_destroy(&index);
}

/* At its limit the index says FULL and changes nothing; a removal makes room for exactly one. */
Test(index, is_full_at_its_limit) {
    struct pager_index *index;
    cr_assert_eq(pager_index_create(0, SECRET, &index), QUIRE_INVALID);
    cr_assert_eq(pager_index_create(1ull << 40, SECRET, &index), QUIRE_INVALID);
    cr_assert_null(index);
    index = index_made(10);
    uint32_t block;
    for (uint64_t i = 0; i < 10; i++) {
        quire_key key = key_of(i);
        cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
    }
    quire_key more = key_of(10);
    cr_assert_eq(pager_index_insert(index, 0, &more, &block), QUIRE_FULL);
    cr_assert_eq(pager_index_count(index), 10);
    quire_key gone = key_of(3);
    pager_index_remove(index, pager_index_find(index, 0, &gone));
    cr_assert_eq(pager_index_insert(index, 0, &more, &block), QUIRE_OK);
    cr_assert_eq(pager_index_insert(index, 0, &gone, &block), QUIRE_FULL);
    pager_index_check(index);
    pager_index_destroy(&index);
}

/* A batch answers key by key like find does: hits, misses, repeats, at every length around a wave's, from an unaligned buffer. */
Test(index, batch_agrees_with_find) {
    struct pager_index *index = index_made(10000);
    uint32_t block;
    for (uint64_t i = 0; i < 6000; i++) {
        quire_key key = key_of(i);
        cr_assert_eq(pager_index_insert(index, 3, &key, &block), QUIRE_OK);
    }
    static const uint32_t lengths[] = {0, 1, 63, 64, 65, 127, 128, 129, 1250};
    uint8_t *bytes = malloc(1250 * QUIRE_KEY_BYTES + 1);
    uint32_t *found = malloc(1250 * sizeof(*found));
    struct dice dice = {.state = 5};
    for (unsigned l = 0; l < QUIRE_ARRAY_LEN(lengths); l++) {
        for (uint32_t i = 0; i < lengths[l]; i++) {
            quire_key key = key_of(dice_below(&dice, 9000));
            memcpy(bytes + 1 + i * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
        }
        pager_index_find_batch(index, 3, bytes + 1, lengths[l], found);
        for (uint32_t i = 0; i < lengths[l]; i++) {
            quire_key key;
            memcpy(key.b, bytes + 1 + i * QUIRE_KEY_BYTES, QUIRE_KEY_BYTES);
            cr_assert_eq(found[i], pager_index_find(index, 3, &key));
        }
    }
    free(bytes);
    free(found);
    pager_index_destroy(&index);
}

/* A walk visits every entry once, also when it removes what it visited. */
Test(index, walk_visits_all_and_may_remove) {
    struct pager_index *index = index_made(1000);
    uint32_t block;
    for (uint64_t i = 0; i < 500; i++) {
        quire_key key = key_of(i);
        cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
    }
    uint32_t visits = 0;
    for (uint32_t cursor = 0; (cursor = pager_index_next(index, cursor, &block)) != PAGER_NO_BLOCK; visits++) {
        if (visits % 3 != 0) {
            pager_index_remove(index, block);
        }
    }
    cr_assert_eq(visits, 500);
    cr_assert_eq(pager_index_count(index), 167);
    visits = 0;
    for (uint32_t cursor = 0; (cursor = pager_index_next(index, cursor, &block)) != PAGER_NO_BLOCK; visits++) {
    }
    cr_assert_eq(visits, 167);
    pager_index_check(index);
    pager_index_destroy(&index);
}

/* The random story's reference: block_of[id], PAGER_NO_BLOCK when absent. */
struct reference {
    struct pager_index *index;
    uint32_t *block_of;
    uint64_t n_ids, count;
};

static void reference_step(struct reference *ref, struct dice *dice, unsigned insert_pct) {
    uint64_t id = dice_below(dice, ref->n_ids);
    quire_key key = key_of(id / 4);
    uint16_t ns = id % 4;
    uint32_t block = pager_index_find(ref->index, ns, &key);
    cr_assert_eq(block, ref->block_of[id]);
    bool insert = dice_below(dice, 100) < insert_pct;
    if (insert && block == PAGER_NO_BLOCK) {
        cr_assert_eq(pager_index_insert(ref->index, ns, &key, &ref->block_of[id]), QUIRE_OK);
        ref->count++;
    } else if (!insert && block != PAGER_NO_BLOCK) {
        pager_index_remove(ref->index, block);
        ref->block_of[id] = PAGER_NO_BLOCK;
        ref->count--;
    }
    cr_assert_eq(pager_index_count(ref->index), ref->count);
}

/* Grows, churns, shrinks to little and grows again, in step with a plain array; every invariant is checked on the way. */
Test(index, agrees_with_a_plain_array) {
    struct dice dice = dice_printed("index, agrees_with_a_plain_array");
    struct reference ref = {.n_ids = 60000};
    cr_assert_eq(pager_index_create(ref.n_ids, dice_next(&dice), &ref.index), QUIRE_OK);
    ref.block_of = malloc(ref.n_ids * sizeof(*ref.block_of));
    memset(ref.block_of, 0xff, ref.n_ids * sizeof(*ref.block_of));
    static const unsigned insert_pct[] = {90, 50, 10, 60, 2, 80};
    for (unsigned phase = 0; phase < QUIRE_ARRAY_LEN(insert_pct); phase++) {
        for (unsigned i = 0; i < 100000; i++) {
            reference_step(&ref, &dice, insert_pct[phase]);
            if (i % 10000 == 0) {
                pager_index_check(ref.index);
            }
        }
    }
    pager_index_check(ref.index);
    pager_index_destroy(&ref.index);
    free(ref.block_of);
}

/* Removal leaves nothing behind: after a hundred turnovers at one size the index takes no more memory than after the first. */
Test(index, turnover_costs_no_memory) {
    enum { SIZE = 20000 };
    struct pager_index *index = index_made(SIZE);
    uint32_t block;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 100 * SIZE; i++) {
        if (i >= SIZE) {
            quire_key old = key_of(i - SIZE);
            pager_index_remove(index, pager_index_find(index, 0, &old));
        }
        quire_key key = key_of(i);
        cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
        bytes = i == 2 * SIZE ? pager_index_bytes(index) : bytes;
    }
    cr_assert_leq(pager_index_bytes(index), bytes + bytes / 10);
    pager_index_check(index);
    pager_index_destroy(&index);
}

/* Keys chosen to fall together, in the ways that hurt an unseeded or weak hash, spread like any others. */
Test(index, chosen_keys_do_not_hurt) {
    enum { N = 50000 };
    for (unsigned kind = 0; kind < 4; kind++) {
        struct pager_index *index = index_made(N);
        uint32_t block;
        for (uint64_t i = 0; i < N; i++) {
            quire_key key = {{0}};
            uint64_t word = kind == 1 ? i << 44 : kind == 2 ? ~i : i;
            memcpy(key.b + (kind == 3 ? 24 : 0), &word, 8);
            memcpy(key.b + 8, &(uint64_t){kind == 3 ? 0 - i : 0}, 8);
            cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
        }
        cr_assert_leq(pager_index_bytes(index), 96ull * N + (256 << 10));
        pager_index_check(index);
        pager_index_destroy(&index);
    }
}

/* What a block costs, everything counted, never passes 96 bytes from 100,000 blocks on. */
Test(index, block_costs_at_most_96_bytes) {
    enum { FROM = 100000, TO = 1300000 };
    struct pager_index *index = index_made(TO);
    uint32_t block;
    double worst = 0;
    for (uint64_t i = 1; i <= TO; i++) {
        quire_key key = key_of(i);
        cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
        double cost = (double)pager_index_bytes(index) / (double)i;
        worst = i >= FROM && cost > worst ? cost : worst;
    }
    fprintf(stderr, "index: %.1f bytes a block at worst between %d and %d\n", worst, FROM, TO);
    cr_assert_leq(worst, 96.0);
    pager_index_destroy(&index);
}
