/*
 * Sequence numbers of a log that somebody else wrote, or a damaged memory did: its sums are right, its numbers are not. A number decides which of two copies
 * counts, and every later one is counted on from the highest.
 */
#include "tests/unit/pager_disk_rig.h"

#define GENERATION 5ull

static struct rig *starting(void) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    disk_attach_at(rig, 8, 1024, GENERATION << PAGER_SEQUENCE_BITS);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 900, 0);
    disk_clean_from(rig, 1);
    return rig;
}

static void tell(struct rig *rig, uint8_t kind, uint32_t key, uint64_t sequence) {
    const bool record = kind == QUIRE_LOG_RECORD;
    const struct quire_log_entry entry = {.key = rig_key(key),
                                          .sequence = sequence,
                                          .ns = pager_ns_serial(rig->pager, rig->ns),
                                          .at_units = record ? 2 + 20 * key : 0,
                                          .size_bytes = record ? 9000 : 0,
                                          .n_tokens = record ? 4 : 0,
                                          .kind = kind,
                                          .flags = record ? QUIRE_LOG_ROOT : 0};
    pager_restore_entries(rig->pager, rig->now_ns, 0, &entry, 1);
}

/* A record with a number that no life can have given is none. What is stored and deleted afterwards has numbers of this life, and they grow. */
Test(disk_numbers, a_record_of_no_life_is_none) {
    struct rig *rig = starting();
    const uint64_t end = (GENERATION + 1) << PAGER_SEQUENCE_BITS;
    tell(rig, QUIRE_LOG_RECORD, 1, UINT64_MAX);
    tell(rig, QUIRE_LOG_RECORD, 2, end);
    tell(rig, QUIRE_LOG_RECORD, 3, end - 1000);
    disk_start_ends(rig);
    cr_assert_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_neq(rig_why(rig, 2), QUIRE_MISS_NONE);
    cr_assert_eq(rig_why(rig, 3), QUIRE_MISS_NONE);
    uint64_t before = end - 1000;
    for (uint32_t k = 10; k < 20; k++) {
        cr_assert_eq(rig_put(rig, k, 0), QUIRE_OK);
        uint64_t sequence = rig_info(rig, k).records[0].sequence;
        cr_assert(sequence > before && sequence < end);
        before = sequence;
    }
    disk_rig_free(rig);
}

/* A deletion is one, whatever its number; but what is stored after it is not deleted by it. */
Test(disk_numbers, a_deletion_of_no_life_is_one) {
    struct rig *rig = starting();
    tell(rig, QUIRE_LOG_RECORD, 1, 100);
    tell(rig, QUIRE_LOG_TOMBSTONE, 1, UINT64_MAX);
    tell(rig, QUIRE_LOG_TOMBSTONE, 2, UINT64_MAX - 7);
    tell(rig, QUIRE_LOG_RECORD, 2, GENERATION << PAGER_SEQUENCE_BITS);
    cr_assert_neq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_neq(rig_why(rig, 2), QUIRE_MISS_NONE);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    disk_start_ends(rig);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    cr_assert_lt(rig_info(rig, 1).records[0].sequence, (GENERATION + 1) << PAGER_SEQUENCE_BITS);
    disk_rig_free(rig);
}
