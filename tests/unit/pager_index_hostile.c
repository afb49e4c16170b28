/*
 * The index against somebody who knows its secret: keys are chosen by their tags, which takes the index's own source. Nothing
 * breaks and nobody else suffers; at worst these keys are refused.
 */
#include "pager/index.c"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

/* The next key after *id whose tag matches. */
static quire_key key_with(const struct pager_index *index, uint64_t *id, uint32_t mask, uint32_t value) {
    quire_key key = {{0}};
    do {
        ++*id;
        memcpy(key.b, id, sizeof(*id));
    } while ((tag_of(index, 0, key.b) & mask) != value);
    return key;
}

/* All keys want the segment's last bucket: they spill round its end, are found there, and come back as others leave. */
Test(index_hostile, one_bucket_for_all) {
    enum { N = 300 };
    struct dice dice = dice_printed("index_hostile, one_bucket_for_all");
    struct pager_index *index;
    cr_assert_eq(pager_index_create(1000, dice_next(&dice), &index), QUIRE_OK);
    quire_key keys[N];
    uint32_t blocks[N];
    uint64_t id = 0;
    for (unsigned i = 0; i < N; i++) {
        keys[i] = key_with(index, &id, SEGMENT_BUCKETS - 1, SEGMENT_BUCKETS - 1 - (i % 7 == 0));
        cr_assert_eq(pager_index_insert(index, 0, &keys[i], &blocks[i]), QUIRE_OK);
    }
    pager_index_check(index);
    for (unsigned left = N; left > 0; left--) {
        unsigned gone = (unsigned)dice_below(&dice, left);
        pager_index_remove(index, blocks[gone]);
        cr_assert_eq(pager_index_find(index, 0, &keys[gone]), PAGER_NO_BLOCK);
        pager_index_check(index);
        keys[gone] = keys[left - 1];
        blocks[gone] = blocks[left - 1];
    }
    pager_index_destroy(&index);
}

/* All keys share the tag's top bits, so that splitting does not part them: when the segment is full they are refused, others are not. */
Test(index_hostile, one_segment_for_all) {
    struct pager_index *index;
    cr_assert_eq(pager_index_create(20000, 1, &index), QUIRE_OK);
    uint32_t mask = ~0u << (TAG_BITS - index->max_depth);
    uint64_t id = 0;
    quire_key key, last = {{0}};
    uint32_t block;
    enum quire_status status;
    while ((key = key_with(index, &id, mask, mask), status = pager_index_insert(index, 0, &key, &block)) == QUIRE_OK) {
        last = key;
    }
    cr_assert_eq(status, QUIRE_NO_MEMORY);
    cr_assert_eq(pager_index_count(index), SEGMENT_FULL);
    cr_assert_eq(pager_index_find(index, 0, &key), PAGER_NO_BLOCK);
    pager_index_check(index);
    quire_key other = key_with(index, &id, mask, 0);
    cr_assert_eq(pager_index_insert(index, 0, &other, &block), QUIRE_OK);
    pager_index_remove(index, pager_index_find(index, 0, &last));
    cr_assert_eq(pager_index_insert(index, 0, &key, &block), QUIRE_OK);
    for (unsigned i = 0; i < 6000; i++) { /* the other half splits late, in a directory that is already deep */
        other = key_with(index, &id, 1u << (TAG_BITS - 1), 0);
        cr_assert_eq(pager_index_insert(index, 0, &other, &block), QUIRE_OK);
    }
    pager_index_check(index);
    pager_index_destroy(&index);
}

/* Keys whose tags are equal in every bit are told apart by keys and namespaces themselves, in single finds and in batches. */
Test(index_hostile, equal_tags) {
    struct pager_index *index;
    cr_assert_eq(pager_index_create(100, 3, &index), QUIRE_OK);
    memset(index->factor, 0, sizeof(index->factor)); /* the worst secret there is */
    quire_key keys[40];
    uint32_t blocks[40], found[40];
    for (unsigned i = 0; i < 40; i++) {
        keys[i] = (quire_key){{(uint8_t)(i + 1)}};
        cr_assert_eq(pager_index_insert(index, 0, &keys[i], &blocks[i]), QUIRE_OK);
    }
    pager_index_remove(index, blocks[39]);
    pager_index_find_batch(index, 0, keys[0].b, 40, found);
    for (unsigned i = 0; i < 39; i++) {
        cr_assert_eq(found[i], blocks[i]);
        cr_assert_eq(pager_index_find(index, 0, &keys[i]), blocks[i]);
    }
    cr_assert_eq(found[39], PAGER_NO_BLOCK);
    cr_assert_eq(pager_index_find(index, 1, &keys[5]), PAGER_NO_BLOCK);
    uint32_t twin;
    cr_assert_eq(pager_index_insert(index, 1, &keys[5], &twin), QUIRE_OK);
    cr_assert_eq(pager_index_find(index, 0, &keys[5]), blocks[5]);
    cr_assert_eq(pager_index_find(index, 1, &keys[5]), twin);
    pager_index_check(index);
    pager_index_destroy(&index);
}
