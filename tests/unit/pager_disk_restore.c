/*
 * A start finds the index again while readers are served: whatever the log holds, no single call may do much. What a call does shows in the memory that it takes or
 * gives back: a table that is copied into one of twice the size takes as much in a single call as all calls before it.
 */
#include "tests/unit/pager_disk_rig.h"

#define POOL (1ull << 20)
#define SEGMENTS 16u
#define UNITS 65536u
#define A_CALL 1024u
/* A call's own entries, and a huge page for one of the tables. */
#define MOST (3ull << 20)
#define GROUPS 8u
#define BLOCKS 72000u
#define DELETIONS 72000u

/* Eight windows: every block has eight records, of which each has its own place and sequence. */
static quire_layout layout_of_many(void) {
    quire_layout layout = {.n_layers = GROUPS, .n_groups = GROUPS, .block_tokens = 4, .weights_digest = {1}};
    for (uint16_t l = 0; l < GROUPS; l++) {
        layout.kv_src[l] = l;
        layout.group_of[l] = (uint8_t)l;
        layout.group[l] = (quire_group){.n_kv_heads = 2, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16, .window_tokens = l ? 8u * l : 0};
    }
    return layout;
}

static struct rig *starting(const quire_layout *layout) {
    struct rig *rig = rig_new(POOL, layout);
    disk_attach(rig, SEGMENTS, UNITS);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_SEALED, 1 + i, UNITS - 64, UNITS - 64);
    }
    return rig;
}

static uint64_t memory_of(const struct rig *rig) {
    struct pager_memory memory;
    pager_memory(rig->pager, &memory);
    return memory.index_bytes + memory.other_bytes + disk_stats(rig).where_bytes;
}

static struct quire_log_entry entry_of(const struct rig *rig, uint32_t number, uint32_t groups) {
    uint32_t key = 1 + number / groups;
    return (struct quire_log_entry){.key = rig_key(key),
                                    .parent = rig_key(key - 1),
                                    .sequence = 10 + number,
                                    .ns = pager_ns_serial(rig->pager, rig->ns),
                                    .at_units = 2 + number % (UNITS - 100),
                                    .size_bytes = 512,
                                    .n_tokens = 4,
                                    .group = (uint8_t)(number % groups),
                                    .kind = QUIRE_LOG_RECORD,
                                    .flags = key % 8 == 1 ? QUIRE_LOG_ROOT : 0};
}

static struct quire_log_entry deletion_of(const struct rig *rig, uint32_t key) {
    return (struct quire_log_entry){
        .key = rig_key(key), .sequence = 1ull << 30, .ns = pager_ns_serial(rig->pager, rig->ns), .kind = QUIRE_LOG_TOMBSTONE};
}

/* Tells entries, some a call; the most that one call took. */
static uint64_t tell(struct rig *rig, uint32_t segment, const struct quire_log_entry *entries, uint32_t n) {
    uint64_t before = memory_of(rig), most = 0;
    pager_restore_entries(rig->pager, rig->now_ns, segment, entries, n);
    most = memory_of(rig) > before ? memory_of(rig) - before : 0;
    return most;
}

static uint64_t tell_blocks(struct rig *rig, uint32_t blocks, uint32_t groups) {
    static struct quire_log_entry entries[A_CALL];
    uint64_t most = 0;
    for (uint32_t left = blocks * groups; left > 0;) {
        uint32_t n = left < A_CALL ? left : A_CALL;
        left -= n;
        for (uint32_t i = 0; i < n; i++) {
            entries[i] = entry_of(rig, left + i, groups);
        }
        most = quire_max_u64(most, tell(rig, left / (UNITS - 100), entries, n));
    }
    return most;
}

static uint64_t tell_deletions(struct rig *rig, uint32_t first, uint32_t n, uint32_t serial) {
    static struct quire_log_entry entries[A_CALL];
    uint64_t most = 0;
    for (uint32_t told = 0; told < n;) {
        uint32_t now = n - told < A_CALL ? n - told : A_CALL;
        for (uint32_t i = 0; i < now; i++) {
            entries[i] = deletion_of(rig, first + told + i);
            entries[i].ns = serial;
        }
        told += now;
        most = quire_max_u64(most, tell(rig, SEGMENTS - 1, entries, now));
    }
    return most;
}

static bool there(struct rig *rig, uint32_t key) {
    struct pager_block_info info;
    quire_key k = rig_key(key);
    return pager_block_info(rig->pager, rig->now_ns, rig->ns, &k, &info) == QUIRE_OK && info.n_records > 0;
}

/* Half a million records of blocks in eight groups: all come back, and what is remembered of each grows in steps. */
Test(disk_restore, records_take_a_little_at_a_time) {
    quire_layout layout = layout_of_many();
    struct rig *rig = starting(&layout);
    cr_expect_leq(tell_blocks(rig, BLOCKS, GROUPS), MOST);
    cr_assert_eq(disk_stats(rig).counters->disk_restored, (uint64_t)BLOCKS * GROUPS);
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    cr_assert(there(rig, 1) && there(rig, BLOCKS));
    disk_rig_free(rig);
}

/* So it is with deletions; when all is told nobody needs them any more, and their memory is given back. */
Test(disk_restore, deletions_take_a_little_at_a_time) {
    quire_layout layout = rig_layout();
    struct rig *rig = starting(&layout);
    uint64_t before = memory_of(rig);
    cr_expect_leq(tell_deletions(rig, 1, DELETIONS, pager_ns_serial(rig->pager, rig->ns)), MOST);
    tell_blocks(rig, 100, 1);
    cr_assert(!there(rig, 1) && !there(rig, 100));
    cr_assert_eq(disk_stats(rig).counters->disk_restored, 0);
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    cr_assert_leq(memory_of(rig), before + 100ull * 256, "but for what is remembered of the records that they bury");
    disk_rig_free(rig);
}

/* Nothing of a namespace that was deleted can come back: its blocks' deletions need not be remembered. */
Test(disk_restore, deletions_of_strangers_take_nothing) {
    quire_layout layout = rig_layout();
    struct rig *rig = starting(&layout);
    cr_assert_eq(tell_deletions(rig, 1, A_CALL, 4711), 0);
    cr_assert_eq(tell_deletions(rig, 1, DELETIONS, 4711), 0);
    tell_blocks(rig, 8, 1);
    cr_assert(there(rig, 1) && there(rig, 8));
    pager_restore_end(rig->pager, rig->now_ns);
    disk_rig_free(rig);
}

/* A log that tells of more deletions than there may be blocks: rather than let one of them come back, what is older is left where it is, and counted.
   What was pinned of that stays in the metadata: another start may find it. */
Test(disk_restore, more_deletions_than_are_remembered) {
    quire_layout layout = rig_layout();
    struct rig *rig = starting(&layout);
    uint32_t max_blocks = (uint32_t)rig->options.max_blocks;
    const struct quire_meta_pin pin = {.key = rig_key(16), .serial = pager_ns_serial(rig->pager, rig->ns), .pins = 1};
    cr_assert_eq(pager_restore_pin(rig->pager, &pin), QUIRE_OK);
    cr_expect_leq(tell_deletions(rig, 1000, max_blocks, pager_ns_serial(rig->pager, rig->ns)), MOST);
    tell_blocks(rig, 8, 1);
    cr_assert(there(rig, 8));
    cr_assert_eq(disk_stats(rig).counters->disk_unrestored, 0);
    tell_deletions(rig, 1000 + max_blocks, 1, pager_ns_serial(rig->pager, rig->ns));
    tell_blocks(rig, 16, 1);
    cr_assert(there(rig, 8) && !there(rig, 16));
    cr_assert_eq(disk_stats(rig).counters->disk_unrestored, 16);
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    rig_pass(rig, 2000);
    cr_assert_eq(disk_of(rig)->n_pins, 1);
    disk_rig_free(rig);
}

static uint64_t pinned(const struct rig *rig) {
    struct pager_ns_info info;
    uint32_t cursor = 0;
    cr_assert(pager_ns_next(rig->pager, &cursor, &info));
    return info.pinned_blocks;
}

/* Pins come with their blocks, so no call has more to do than it has blocks. Metadata that is saved meanwhile has all of them. */
Test(disk_restore, pins_come_back_with_their_blocks) {
    enum { PINS = 5000 };
    quire_layout layout = rig_layout();
    struct rig *rig = starting(&layout);
    for (uint32_t i = 0; i < PINS; i++) {
        struct quire_meta_pin pin = {.key = rig_key(1 + i), .serial = pager_ns_serial(rig->pager, rig->ns), .pins = 1};
        cr_assert_eq(pager_restore_pin(rig->pager, &pin), QUIRE_OK);
    }
    tell_blocks(rig, 1000, 1);
    cr_assert_eq(pinned(rig), 1000);
    rig_pass(rig, 2000);
    cr_assert_eq(disk_of(rig)->n_pins, PINS);
    tell_blocks(rig, PINS, 1);
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    rig_pass(rig, 2000);
    cr_assert(pinned(rig) == PINS && disk_of(rig)->n_pins == PINS);
    disk_rig_free(rig);
}

/* Tells these records of two contexts, in this order; what they were is there afterwards, each block below its own parent. */
static void tell_in_order(const uint32_t *numbers, uint32_t n, uint32_t a_call, uint32_t groups, const quire_layout *layout) {
    struct rig *rig = starting(layout);
    struct quire_log_entry entries[64];
    for (uint32_t i = 0; i < n; i++) {
        entries[n - 1 - i] = entry_of(rig, numbers[i], groups); /* the last is taken first */
    }
    for (uint32_t left = n; left > 0;) {
        uint32_t now = left < a_call ? left : a_call;
        left -= now;
        pager_restore_entries(rig->pager, rig->now_ns, 0, entries + left, now);
        pager_check(rig->pager);
    }
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    cr_assert_eq(disk_stats(rig).counters->disk_restored, n);
    for (uint32_t i = 0; i < n; i++) {
        struct pager_block_info info = rig_info(rig, 1 + numbers[i] / groups);
        cr_assert(info.parent_present && !info.placeholder, "record %u", numbers[i]);
        cr_assert_eq(info.n_records, groups);
    }
    const uint32_t look = QUIRE_WIRE_LEASE_PREFIX | QUIRE_WIRE_LEASE_PROBE | QUIRE_WIRE_LEASE_NO_TOUCH;
    cr_assert_eq(rig_look(rig, rig->session, look, (uint32_t[]){1, 2, 3, 4, 5, 6, 7, 8, 0}), 8);
    cr_assert_eq(rig_look(rig, rig->session, look, (uint32_t[]){9, 10, 11, 12, 13, 14, 15, 16, 0}), 8);
    disk_rig_free(rig);
}

/*
 * As chains are written each record leads to the next that is told. That is a short cut, and nothing depends on it: contexts that were written at the same time,
 * upside down, in any order and in pieces of any size come back as they were, also where a block has several records.
 */
Test(disk_restore, in_any_order) {
    quire_layout plain = rig_layout(), windowed = rig_layout_windowed();
    uint32_t seed = 1;
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t groups = 1 + round % 2, n = 16 * groups, numbers[32];
        for (uint32_t i = 0; i < n; i++) {
            numbers[i] = round / 2 == 0   ? n - 1 - i                           /* one after the other, from the end */
                         : round / 2 == 1 ? i                                   /* from the beginning */
                         : round / 2 == 2 ? (n - 1 - i) / 2 + (i % 2) * (n / 2) /* by turns */
                                          : i;
        }
        for (uint32_t i = n; round / 2 > 2 && i-- > 1;) {
            uint32_t other = (seed = seed * 1103515245u + 12345u) / 65536u % (i + 1), was = numbers[i];
            numbers[i] = numbers[other];
            numbers[other] = was;
        }
        tell_in_order(numbers, n, 1 + round * 7 % 33, groups, groups == 1 ? &plain : &windowed);
    }
}

/* Whoever wrote the log gave a block another parent the second time. What is told of that parent is not taken for the first one's. */
Test(disk_restore, another_parent) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = starting(&layout);
    struct quire_log_entry entries[3];
    for (uint32_t i = 0; i < 3; i++) {
        entries[i] = entry_of(rig, 2 * (3 - 1), 2); /* of block 3, below block 2 */
    }
    entries[1].group = 1;
    entries[1].parent = entries[0].key = rig_key(7);
    entries[0].parent = rig_key(6);
    pager_restore_entries(rig->pager, rig->now_ns, 0, entries, 3); /* from the last to the first */
    pager_check(rig->pager);
    cr_assert_eq(rig_info(rig, 7).n_records, 1);
    cr_assert_eq(rig_info(rig, 2).n_records, 0);
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    disk_rig_free(rig);
}

/*
 * Memory that many entries will go to is told a page at a time, a little ahead of them, and never more than they can need: somebody else may touch it.
 * Where few are expected there is none to tell.
 */
Test(disk_restore, memory_is_touched_ahead) {
    quire_layout layout = layout_of_many();
    struct rig *rig = starting(&layout);
    static uint8_t *pages[4096];
    uint64_t before = memory_of(rig), most = 0;
    uint32_t n = 0;
    for (uint32_t left = BLOCKS * GROUPS; left > 0;) {
        static struct quire_log_entry entries[A_CALL];
        uint32_t now = left < A_CALL ? left : A_CALL, told = 0;
        for (uint8_t *page; (page = pager_restore_warm(rig->pager)) != NULL; told++) {
            for (uint32_t i = 0; i < n; i++) {
                cr_assert(page != pages[i], "told twice");
            }
            cr_assert_lt(n, 4096);
            *page += 0; /* it may be touched */
            pages[n++] = page;
        }
        most = told > most ? told : most;
        left -= now;
        for (uint32_t i = 0; i < now; i++) {
            entries[i] = entry_of(rig, left + i, GROUPS);
        }
        cr_expect_leq(tell(rig, left / (UNITS - 100), entries, now), 2 * MOST);
    }
    cr_assert_gt(n, 0);
    cr_assert_leq(most, 4);
    cr_assert_leq(n * (uint64_t)PAGER_RESTORE_PAGE, memory_of(rig) - before + (64ull << 20));
    cr_assert_eq(disk_stats(rig).counters->disk_restored, (uint64_t)BLOCKS * GROUPS);
    while (pager_restore_end(rig->pager, rig->now_ns)) {
    }
    cr_assert_null(pager_restore_warm(rig->pager));
    disk_rig_free(rig);

    rig = rig_new(POOL, &layout);
    disk_attach(rig, SEGMENTS, UNITS);
    pager_restore_segment(rig->pager, 0, PAGER_SEGMENT_SEALED, 1, 600, 1000);
    cr_assert_null(pager_restore_warm(rig->pager));
    pager_restore_end(rig->pager, rig->now_ns);
    disk_rig_free(rig);
}
