/* Storing whole records: invisible until complete, checked against the layout, the first of equals wins. */
#include "tests/unit/pager_rig.h"

#include <math.h>

/* A worker stores a prefix of three blocks; another looks it up and is told where they lie. */
Test(put, stores_and_finds) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    for (uint32_t i = 1; i <= 3; i++) {
        cr_assert_eq(rig_put(rig, i, i - 1), QUIRE_OK);
    }
    cr_assert_eq(rig_prefix(rig, 1, 2, 3, 4), 3);
    cr_assert_eq(rig->reply.n_grants, 3);
    cr_assert_eq(rig->misses[2], QUIRE_MISS_NONE);
    cr_assert_eq(rig->misses[3], QUIRE_MISS_NEVER_STORED);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(rig->grants[i].key_index, i);
        cr_assert_eq(rig->grants[i].size, rig_info(rig, i + 1).records[0].size_bytes);
        cr_assert_eq(rig->grants[i].generation, atomic_load(&rig->generations[rig->grants[i].slot]));
    }
    cr_assert_neq(rig->grants[0].offset, rig->grants[1].offset);
    rig_release(rig, rig->reply.lease);
    cr_assert_eq(rig_stats(rig).leased_bytes, 0);
    rig_free(rig);
}

/* Until the daemon has copied and compared the bytes nobody sees the block; a lookup says that it is on its way. */
Test(put, is_invisible_until_complete) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event event;
    rig->held = true;
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_PENDING);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    cr_assert(rig_take(rig, &event) && event.type == PAGER_FILL && event.seal);
    cr_assert_eq(event.facts.sequence, 1);
    cr_assert(quire_key_equal(&event.facts.key, &(quire_key){{0xaa, 1}}));
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_INCOMPLETE);
    cr_assert_str_eq(rig_info(rig, 1).records[0].state, "filling");
    rig_complete(rig, &event, QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_pump(rig);
    cr_assert_eq(rig->outcome[1], QUIRE_OK);
    cr_assert_eq(rig->outcomes[1], 1);
    rig_free(rig);
}

/* Bytes that arrive damaged are refused, leave nothing behind, and may be sent again. */
Test(put, refuses_corrupt_bytes) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig->fill_status = QUIRE_CORRUPT;
    cr_assert_eq(rig_put(rig, 2, 1), QUIRE_CORRUPT);
    cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_NEVER_STORED);
    struct pager_memory memory;
    pager_memory(rig->pager, &memory);
    cr_assert_eq(memory.blocks, 0); /* nor the parent's placeholder */
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(pager_counters(rig->pager)->puts_corrupt, 1);
    rig->fill_status = QUIRE_OK;
    cr_assert_eq(rig_put(rig, 2, 1), QUIRE_OK);
    rig_free(rig);
}

/* What is held as faithfully already is acknowledged without a copy. */
Test(put, acknowledges_duplicates) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(pager_counters(rig->pager)->puts_stored, 1);
    cr_assert_eq(pager_counters(rig->pager)->puts_duplicate, 1);
    rig_free(rig);
}

/* Two workers store the same block at the same time: the first that completes is kept, both are content. */
Test(put, two_writers_both_succeed) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event first, second;
    rig->held = true;
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_PENDING);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_PENDING);
    cr_assert(rig_take(rig, &first) && rig_take(rig, &second));
    cr_assert_neq(first.offset, second.offset);
    rig_complete(rig, &second, QUIRE_OK);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_complete(rig, &first, QUIRE_OK);
    rig_pump(rig);
    cr_assert(rig->outcome[1] == QUIRE_OK && rig->outcome[2] == QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).n_records, 1);
    cr_assert_eq(rig_info(rig, 1).records[0].offset, second.offset);
    cr_assert_eq(rig_stats(rig).records, 1);
    rig_free(rig);
}

/* The other writer's damage does not hurt the one that was complete. */
Test(put, loser_may_be_corrupt) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct pager_event first, second;
    rig->held = true;
    rig_put(rig, 1, 0), rig_put(rig, 1, 0);
    cr_assert(rig_take(rig, &first) && rig_take(rig, &second));
    rig_complete(rig, &first, QUIRE_OK);
    rig_complete(rig, &second, QUIRE_CORRUPT);
    rig_pump(rig);
    cr_assert(rig->outcome[1] == QUIRE_OK && rig->outcome[2] == QUIRE_CORRUPT);
    cr_assert_eq(rig_why(rig, 1), QUIRE_MISS_NONE);
    rig_free(rig);
}

/* Everything in an item comes from a stranger: each field out of range is refused, nothing changes, and it is counted. */
Test(put, refuses_what_the_layout_forbids) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    const struct quire_wire_put good = rig_item(rig, 2, 1);
    quire_key root = pager_ns_root(rig->pager, rig->ns);
    struct quire_wire_put bad[32];
    uint32_t n = 0;
#define BAD(change) bad[n] = good, bad[n].change, n++
    BAD(group = 1);
    BAD(group = 255);
    BAD(n_tokens = 0);
    BAD(n_tokens = 5);
    BAD(length = good.length - 1);
    BAD(length = 0);
    BAD(length = UINT32_MAX);
    BAD(n_layers = 0);
    BAD(n_heads = 0);
    BAD(n_layers = 5);
    BAD(first_layer = 1);
    BAD(first_head = UINT16_MAX);
    BAD(n_heads = 1); /* a part without put_id, of the wrong length */
    BAD(flags = 64);
    BAD(flags = QUIRE_WIRE_PUT_ROOT | QUIRE_WIRE_PUT_PARENT_UNKNOWN);
    BAD(flags = QUIRE_WIRE_PUT_ROOT);           /* with a parent */
    BAD(flags = QUIRE_WIRE_PUT_PARENT_UNKNOWN); /* with a parent */
    BAD(flags = QUIRE_WIRE_PUT_SUPERSEDES);     /* nothing */
    BAD(parent = (quire_key){{0}});
    BAD(parent = good.key);
    BAD(key = (quire_key){{0}});
    BAD(key = root);
    BAD(ancestry_error = NAN);
    BAD(ancestry_error = -1);
    BAD(ancestry_error = INFINITY);
#undef BAD
    bad[n] = rig_part(rig, good, 0, (quire_rect){0, 1, 0, 1}), n++; /* a part without put_id */
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(rig_put_item(rig, &bad[i]), QUIRE_INVALID, "item %u was accepted", i);
    }
    cr_assert_eq(pager_counters(rig->pager)->puts_invalid, n);
    cr_assert_eq(rig_stats(rig).used_bytes, 0);
    cr_assert_eq(rig_put_item(rig, &good), QUIRE_OK);
    rig_free(rig);
}

/* A key names one sequence of tokens: an offer that contradicts what is known of the block is refused. */
Test(put, refuses_contradictions) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    cr_assert_eq(rig_put(rig, 1, 0), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 2, 1), QUIRE_OK);
    struct quire_wire_put other = rig_item(rig, 2, 3);
    other.group = 1;
    cr_assert_eq(rig_put_item(rig, &other), QUIRE_INVALID);
    other = rig_item(rig, 2, 1);
    other.group = 1;
    other.n_tokens = 3;
    other.length = other.length / 4 * 3;
    cr_assert_eq(rig_put_item(rig, &other), QUIRE_INVALID);
    other = rig_item(rig, 2, 1);
    other.group = 1;
    cr_assert_eq(rig_put_item(rig, &other), QUIRE_OK);
    rig_free(rig);
}

/* Engines may claim that a block is its own ancestor. Such a circle could never leave again. */
Test(put, refuses_circles) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    cr_assert_eq(rig_put(rig, 1, 3), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 2, 1), QUIRE_OK);
    cr_assert_eq(rig_put(rig, 3, 2), QUIRE_INVALID);
    cr_assert_eq(rig_put(rig, 3, 0), QUIRE_OK);
    cr_assert_eq(rig_prefix(rig, 3, 1, 2), 3);
    rig_free(rig);
}

/* Opaque blocks: bytes of any length within the limit, without a rectangle. */
Test(put, stores_opaque_blocks) {
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "e", .engine_format = "1"};
    struct rig *rig = rig_new(4 << 20, &layout);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_INVALID);
    item.length = 200001;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_OK);
    cr_assert_geq(rig_info(rig, 1).records[0].size_bytes, 200001);
    item = rig_item(rig, 2, 1);
    item.length = QUIRE_MAX_RECORD_BYTES + 1;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_INVALID);
    item.length = 100;
    item.n_heads = 1;
    cr_assert_eq(rig_put_item(rig, &item), QUIRE_INVALID);
    rig_free(rig);
}

/* A session sees only namespaces of its own domain, and only while both exist. */
Test(put, asks_who_it_is) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    _Atomic uint32_t *generations = calloc(16, sizeof(*generations));
    uint32_t other;
    uint64_t stranger, cookie;
    cr_assert_eq(pager_domain_add(rig->pager, "other", 1 << 20, generations, 16, &other), QUIRE_OK);
    cr_assert_eq(pager_session_open(rig->pager, other, &stranger), QUIRE_OK);
    struct quire_wire_put item = rig_item(rig, 1, 0);
    cr_assert_eq(rig_offer(rig, stranger, &item, &cookie), QUIRE_DENIED);
    cr_assert_eq(rig_offer(rig, 12345, &item, &cookie), QUIRE_NOT_FOUND);
    uint16_t ns = rig->ns;
    rig->ns = 9;
    cr_assert_eq(rig_offer(rig, rig->session, &item, &cookie), QUIRE_NOT_FOUND);
    rig->ns = ns;
    rig_free(rig);
    free(generations);
}
