/* Better bytes replace worse ones, fuller tails replace shorter ones; readers keep what they were given. */
#include "tests/unit/pager_rig.h"

static struct quire_wire_put lossy(const struct rig *rig, uint32_t key, float ancestry) {
    struct quire_wire_put item = rig_item(rig, key, 0);
    item.ancestry_error = ancestry;
    return item;
}

static struct quire_wire_put tail(const struct rig *rig, uint32_t key, uint32_t parent, uint16_t n_tokens, uint32_t supersedes) {
    struct quire_wire_put item = rig_item(rig, key, parent);
    item.length = item.length / item.n_tokens * n_tokens;
    item.n_tokens = n_tokens;
    if (supersedes) {
        item.flags |= QUIRE_WIRE_PUT_SUPERSEDES;
        item.supersedes = rig_key(supersedes);
    }
    return item;
}

/* A block computed on a lossy prefix is replaced by one computed on an exact prefix, never the other way round. */
Test(supersede, more_faithful_wins) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put worse = lossy(rig, 1, 0.5f), better = lossy(rig, 1, 0.25f);
    rig_put_item(rig, &worse);
    uint64_t sequence = rig_info(rig, 1).records[0].sequence;
    cr_assert_eq(rig_put_item(rig, &better), QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).records[0].ancestry_error, 0.25f);
    cr_assert_gt(rig_info(rig, 1).records[0].sequence, sequence);
    cr_assert_eq(pager_counters(rig->pager)->puts_superseding, 1);
    cr_assert_eq(rig_put_item(rig, &worse), QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).records[0].ancestry_error, 0.25f);
    cr_assert_eq(rig_info(rig, 1).n_records, 1);
    rig_free(rig);
}

/* Who reads the old record keeps it to the release; who comes later gets the new one. */
Test(supersede, readers_keep_the_old) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put worse = lossy(rig, 1, 0.5f);
    rig_put_item(rig, &worse);
    rig_each(rig, 1);
    struct quire_wire_grant old = rig->grants[0];
    uint64_t lease = rig->reply.lease, used = rig_stats(rig).used_bytes;
    rig_put(rig, 1, 0);
    rig_each(rig, 1);
    cr_assert_neq(rig->grants[0].offset, old.offset);
    cr_assert_eq(atomic_load(&rig->generations[old.slot]), old.generation);
    cr_assert_eq(rig_stats(rig).used_bytes, 2 * used);
    rig_release(rig, lease);
    cr_assert_neq(atomic_load(&rig->generations[old.slot]), old.generation);
    cr_assert_eq(rig_stats(rig).used_bytes, used);
    rig_free(rig);
}

/* Two writers, the exact one first: the lossy one that completes later does not replace it. */
Test(supersede, late_lossy_writer_steps_back) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put worse = lossy(rig, 1, 0.5f);
    struct pager_event exact_fill, lossy_fill;
    rig->held = true;
    rig_put(rig, 1, 0);
    rig_put_item(rig, &worse);
    cr_assert(rig_take(rig, &exact_fill) && rig_take(rig, &lossy_fill));
    rig_complete(rig, &exact_fill, QUIRE_OK);
    rig_complete(rig, &lossy_fill, QUIRE_OK);
    rig_pump(rig);
    cr_assert(rig->outcome[1] == QUIRE_OK && rig->outcome[2] == QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).records[0].ancestry_error, 0);
    rig_free(rig);
}

/* The exact one completes later but was sealed under an older number: it is sealed again, so that the newest number is the best. */
Test(supersede, late_exact_writer_is_sealed_anew) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put worse = lossy(rig, 1, 0.5f);
    struct pager_event exact_fill, lossy_fill, seal;
    rig->held = true;
    rig_put(rig, 1, 0);
    rig_put_item(rig, &worse);
    cr_assert(rig_take(rig, &exact_fill) && rig_take(rig, &lossy_fill));
    cr_assert_lt(exact_fill.facts.sequence, lossy_fill.facts.sequence);
    rig_complete(rig, &lossy_fill, QUIRE_OK);
    rig_complete(rig, &exact_fill, QUIRE_OK);
    cr_assert_eq(rig_info(rig, 1).records[0].ancestry_error, 0.5f);
    cr_assert(rig_take(rig, &seal) && seal.type == PAGER_SEAL);
    cr_assert_eq(seal.offset, exact_fill.offset);
    cr_assert_gt(seal.facts.sequence, lossy_fill.facts.sequence);
    rig_complete(rig, &seal, QUIRE_OK);
    rig_pump(rig);
    cr_assert_eq(rig_info(rig, 1).records[0].ancestry_error, 0);
    cr_assert_eq(rig_info(rig, 1).records[0].sequence, seal.facts.sequence);
    cr_assert(rig->outcomes[1] == 1 && rig->outcomes[2] == 1);
    rig_free(rig);
}

/* A conversation goes on: the partial tail block is replaced by the fuller one. */
Test(supersede, fuller_tail) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0);
    struct quire_wire_put two = tail(rig, 2, 1, 2, 0), three = tail(rig, 3, 1, 3, 2), four = tail(rig, 4, 1, 4, 3);
    rig_put_item(rig, &two);
    rig_put_item(rig, &three);
    cr_assert_eq(rig_prefix(rig, 1, 2), 1);
    cr_assert_eq(rig_prefix(rig, 1, 3), 2);
    rig_put_item(rig, &four);
    cr_assert_eq(rig_prefix(rig, 1, 3), 1);
    cr_assert_eq(rig_prefix(rig, 1, 4), 2);
    cr_assert_eq(pager_counters(rig->pager)->puts_superseding, 2);
    rig_free(rig);
}

/* A tail stays when somebody built on it, pinned it, when it is not shorter, or hangs elsewhere. */
Test(supersede, tail_that_is_needed_stays) {
    quire_layout layout = rig_layout();
    struct rig *rig = rig_new(1 << 20, &layout);
    rig_put(rig, 1, 0), rig_put(rig, 9, 0);
    struct quire_wire_put built_on = tail(rig, 2, 1, 2, 0), pinned = tail(rig, 3, 1, 2, 0), equal = tail(rig, 4, 1, 3, 0),
                          elsewhere = tail(rig, 5, 9, 2, 0);
    rig_put_item(rig, &built_on), rig_put_item(rig, &pinned), rig_put_item(rig, &equal), rig_put_item(rig, &elsewhere);
    rig_put(rig, 20, 2);
    rig_verb(rig, QUIRE_WIRE_PIN, 3);
    for (uint32_t i = 2; i <= 5; i++) {
        struct quire_wire_put full = tail(rig, 10 + i, 1, 3, i);
        cr_assert_eq(rig_put_item(rig, &full), QUIRE_OK);
        cr_assert_eq(rig_why(rig, i), QUIRE_MISS_NONE, "tail %u", i);
    }
    cr_assert_eq(pager_counters(rig->pager)->puts_superseding, 0);
    rig_free(rig);
}

/* With several layer groups the shorter tail goes when the fuller one has all that it has. */
Test(supersede, tail_waits_for_every_group) {
    quire_layout layout = rig_layout_windowed();
    struct rig *rig = rig_new(1 << 20, &layout);
    struct quire_wire_put old = tail(rig, 2, 0, 2, 0), new = tail(rig, 3, 0, 3, 2);
    rig_put_item(rig, &old);
    old.group = 1;
    rig_put_item(rig, &old);
    rig_put_item(rig, &new);
    cr_assert_eq(rig_why(rig, 2), QUIRE_MISS_NONE);
    new.group = 1;
    rig_put_item(rig, &new);
    cr_assert_neq(rig_why(rig, 2), QUIRE_MISS_NONE);
    cr_assert_eq(rig_why(rig, 3), QUIRE_MISS_NONE);
    rig_free(rig);
}
