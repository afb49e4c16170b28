/* Headers of records that are read in parts: as many are known as there is room for, and never another's. */
#include "daemon/disk/heads.h"

#include <criterion/criterion.h>

enum { HEAD = 1024 };

static void keep(struct heads *heads, uint32_t segment, uint64_t epoch, uint32_t at_units, uint32_t bytes) {
    static uint8_t head[HEADS_LINE_BYTES + 1];
    memset(head, 0, sizeof head);
    memcpy(head, &segment, sizeof segment);
    memcpy(head + 4, &at_units, sizeof at_units);
    memcpy(head + 8, &epoch, sizeof epoch);
    heads_keep(heads, segment, epoch, at_units, head, bytes);
}

/* Known: then it is its own, too. */
static bool knows(struct heads *heads, uint32_t segment, uint64_t epoch, uint32_t at_units, uint32_t bytes) {
    const uint8_t *head = heads_find(heads, segment, epoch, at_units, bytes);
    cr_assert(head == NULL || (memcmp(head, &segment, 4) == 0 && memcmp(head + 4, &at_units, 4) == 0 && memcmp(head + 8, &epoch, 8) == 0));
    return head != NULL;
}

/* Records of one size lie at equal distances, in one segment as in the next. Hardly two of them want the same line, whatever the distance. */
Test(daemon_disk_heads, records_at_equal_distances_are_known) {
    static const uint32_t distances[] = {8, 64, 520, 4096, 4099, 4104};
    for (unsigned d = 0; d < QUIRE_ARRAY_LEN(distances); d++) {
        struct heads heads = {0};
        uint32_t known = 0, n = 0;
        for (uint32_t pass = 0; pass < 2; pass++) {
            for (uint32_t i = 0; i < 512; i++) {
                uint32_t segment = 3 + i / 31, at_units = 2 + i % 31 * distances[d];
                if (pass == 0) {
                    keep(&heads, segment, segment + 40, at_units, HEAD);
                } else {
                    known += knows(&heads, segment, segment + 40, at_units, HEAD);
                    n++;
                }
            }
        }
        cr_assert_geq(known, n * 9 / 10, "distance %u: %u of %u", distances[d], known, n);
        heads_teardown(&heads);
    }
}

/* What a segment held under another epoch, or with another length, is not what lies there now. */
Test(daemon_disk_heads, another_epoch_is_another_record) {
    struct heads heads = {0};
    cr_assert(!knows(&heads, 1, 7, 100, HEAD));
    keep(&heads, 1, 7, 100, HEAD);
    cr_assert(knows(&heads, 1, 7, 100, HEAD));
    cr_assert(!knows(&heads, 1, 8, 100, HEAD));
    cr_assert(!knows(&heads, 1, 7, 101, HEAD));
    cr_assert(!knows(&heads, 2, 7, 100, HEAD));
    cr_assert(!knows(&heads, 1, 7, 100, HEAD + 512));
    keep(&heads, 1, 8, 100, HEAD);
    cr_assert(knows(&heads, 1, 8, 100, HEAD) && !knows(&heads, 1, 7, 100, HEAD));
    heads_teardown(&heads);
}

/*
 * One set of records was read in parts until there was room for no more, and then their segments were emptied. Another set is read now, and over and over:
 * it is known by the second time, whatever the length of its headers.
 */
Test(daemon_disk_heads, another_set_after_full) {
    static const uint32_t lengths[] = {HEAD, 4096, HEADS_LINE_BYTES / 2};
    for (unsigned l = 0; l < QUIRE_ARRAY_LEN(lengths); l++) {
        struct heads heads = {0};
        uint32_t n = HEADS_BYTES / 4 / lengths[l], known = 0;
        for (uint32_t i = 0; i < 2 * HEADS_LINES; i++) {
            keep(&heads, i / 30, 1 + i / 30, 1 + i % 30 * 512, 3072);
        }
        cr_assert_gt(heads.size_bytes, HEADS_BYTES * 9 / 10, "full");
        for (uint32_t i = 0; i < 2 * n; i++) {
            uint32_t segment = 1000000 + i % n / 30, at_units = 1 + i % n % 30 * 512;
            if (i >= n) {
                known += knows(&heads, segment, segment, at_units, lengths[l]);
            } else {
                keep(&heads, segment, segment, at_units, lengths[l]);
            }
            cr_assert_leq(heads.size_bytes, HEADS_BYTES);
        }
        cr_assert_geq(known, n * 3 / 5, "headers of %u bytes: %u of %u", lengths[l], known, n);
        heads_teardown(&heads);
    }
}

/* However many are read, and however long: no more memory than was said. */
Test(daemon_disk_heads, memory_is_bounded) {
    struct heads heads = {0};
    for (uint32_t i = 0; i < 4 * HEADS_LINES; i++) {
        keep(&heads, i / 100, 1, i, HEADS_LINE_BYTES / (1 + i % 8));
        cr_assert_leq(heads.size_bytes, HEADS_BYTES);
    }
    cr_assert_gt(heads.size_bytes, HEADS_BYTES / 2);
    keep(&heads, 5000, 1, 1, HEADS_LINE_BYTES + 1);
    cr_assert(!knows(&heads, 5000, 1, 1, HEADS_LINE_BYTES + 1));
    heads_teardown(&heads);
    cr_assert_eq(heads.size_bytes, 0);
}
