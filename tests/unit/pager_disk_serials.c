/* Namespaces' numbers as the log tells them, where the metadata is of an earlier time. */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)
#define SEGMENTS 8u
#define UNITS 512u

static struct quire_log_entry entry_of(uint32_t serial, uint32_t key) {
    return (struct quire_log_entry){.key = rig_key(key),
                                    .parent = rig_key(0),
                                    .sequence = 10 + key,
                                    .ns = serial,
                                    .at_units = 2 + key,
                                    .size_bytes = 512,
                                    .n_tokens = 4,
                                    .kind = QUIRE_LOG_RECORD,
                                    .flags = QUIRE_LOG_ROOT};
}

static uint16_t make(struct rig *rig, const char *name) {
    quire_layout layout = rig_layout();
    char why[200];
    uint16_t ns;
    cr_assert_eq(pager_ns_open(rig->pager, rig->domain, name, &layout, "s", 1, &ns, why, sizeof(why)), QUIRE_OK, "%s", why);
    return ns;
}

/*
 * Metadata of an hour ago is put back. A namespace was made since, and its blocks lie in the log, under a number that this metadata still has to give. Whoever makes
 * a namespace now gets another number: not what somebody else stored, and not at the next start either.
 */
Test(disk_serials, none_is_given_twice) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout); /* the namespace that the metadata names */
    uint32_t named = pager_ns_serial(rig->pager, rig->ns);
    disk_attach(rig, SEGMENTS, UNITS);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 64, 3);
    const struct quire_log_entry entries[] = {entry_of(named, 1), entry_of(named + 3, 2), entry_of(named + 1, 3)};
    pager_restore_entries(rig->pager, rig->now_ns, 0, entries, 3);
    cr_expect_eq(disk_stats(rig).counters->disk_restored, 1, "only what has a namespace");
    disk_start_ends(rig);
    uint16_t ns = make(rig, "later");
    cr_expect_gt(pager_ns_serial(rig->pager, ns), named + 3);
    disk_rig_free(rig);
}

/* The namespace is made while the log is still being read: what is found afterwards under its number was never its own. */
Test(disk_serials, what_is_found_is_not_the_new_one_s) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(POOL, &layout);
    disk_attach(rig, SEGMENTS, UNITS);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 64, 1);
    uint16_t ns = make(rig, "early");
    const struct quire_log_entry entry = entry_of(pager_ns_serial(rig->pager, ns), 2);
    pager_restore_entries(rig->pager, rig->now_ns, 0, &entry, 1);
    cr_expect_eq(disk_stats(rig).counters->disk_restored, 0);
    disk_rig_free(rig);
}
