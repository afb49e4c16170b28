/* What may be written: all that the log takes is of the write budget, deletions have a part of it, and one session a part of that. */
#include "tests/unit/pager_disk_rig.h"

#define KIB 1024ull
#define POOL (1ull << 20)
#define MANY 512u

static void set_budget(struct rig *rig, uint64_t bytes_per_s) {
    disk_of(rig)->options.write_budget_bytes_per_s = bytes_per_s;
    pager_disk_set_options(rig->pager, &disk_of(rig)->options);
}

/* As a start leaves it while the log is still being read: any key may be in it, those of its records certainly are. */
static struct rig *rig_in_doubt(uint64_t bytes_per_s) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig_starting(POOL, &layout, 1, 60, 512);
    set_budget(rig, bytes_per_s);
    rig_pump(rig);
    return rig;
}

static uint64_t another_session(struct rig *rig) {
    uint64_t session;
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &session), QUIRE_OK);
    return session;
}

static enum quire_status delete_some(struct rig *rig, uint64_t session, uint32_t first, uint32_t n) {
    enum quire_status status = disk_delete(rig, session, first, n);
    rig_pump(rig);
    return status;
}

static uint64_t written(const struct rig *rig) { return disk_stats(rig).counters->disk_written_bytes; }

/*
 * One session deletes made-up keys as fast as it can, for eight seconds. What it makes the log write is bounded, with a budget and without one; it is told
 * when to come again; and what another session deletes now and then is deleted.
 */
static void flood(uint64_t bytes_per_s, uint64_t most_per_s) {
    struct rig *rig = rig_in_doubt(bytes_per_s);
    uint64_t other = another_session(rig), before = written(rig), from_ns = rig->now_ns;
    uint32_t refused = 0, key = 1000;
    for (uint32_t ms = 0; ms < 8000; ms += 10) {
        if (delete_some(rig, rig->session, key, MANY) != QUIRE_OK) {
            cr_assert_gt(pager_keys_again_ns(rig->pager), rig->now_ns);
            refused++;
        }
        key += MANY;
        if (ms % 1000 == 0) {
            cr_assert_eq(delete_some(rig, other, 1 + ms, 1), QUIRE_OK, "the others' part is used up after %u ms", ms);
        }
        rig_pass(rig, 10);
    }
    uint64_t wrote = written(rig) - before, seconds = (rig->now_ns - from_ns) / QUIRE_NS_PER_S;
    uint64_t one_request = MANY * 2 * sizeof(struct quire_log_entry) + 64 * KIB; /* and headers, footers, the other session's */
    cr_assert_gt(refused, 0);
    cr_assert_eq(disk_stats(rig).counters->disk_deletions_refused, refused);
    cr_assert_leq(wrote, (seconds + 1) * most_per_s + one_request, "%lu KiB in %lu s", (unsigned long)(wrote / KIB),
                  (unsigned long)seconds);
    cr_assert_geq(wrote, seconds * most_per_s / 2, "%lu KiB in %lu s", (unsigned long)(wrote / KIB), (unsigned long)seconds);
    disk_rig_free(rig);
}

Test(disk_budget, flood_of_deletions) { flood(4096 * KIB, 4096 * KIB / 8 / 4); }
Test(disk_budget, flood_of_deletions_without_a_budget) { flood(0, 1024 * KIB / 4); }

/* All sessions together have no more than their part either: who ends sessions and begins others gains nothing by it. */
Test(disk_budget, flood_by_many_sessions) {
    struct rig *rig = rig_in_doubt(4096 * KIB);
    uint64_t before = written(rig);
    for (uint32_t i = 0; i < 800; i++) {
        uint64_t session = another_session(rig);
        (void)delete_some(rig, session, 1000 + MANY * i, MANY);
        pager_session_close(rig->pager, session, false);
        rig_pass(rig, 10);
    }
    cr_assert_leq(written(rig) - before, 9 * 512 * KIB + 512 * KIB, "%lu KiB in 8 s", (unsigned long)((written(rig) - before) / KIB));
    disk_rig_free(rig);
}

/* What was stored was paid for: where there is no budget it is deleted as fast as anybody likes. */
Test(disk_budget, what_was_stored) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 512);
    disk_put(rig, 1, 100);
    for (uint32_t key = 1; key <= 100; key++) {
        cr_assert_eq(delete_some(rig, rig->session, key, 1), QUIRE_OK);
    }
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 100);
    disk_rig_free(rig);
}

/* With one, a deletion that is refused deletes nothing, and is done at the time that was told. What needs no tombstone is never refused. */
Test(disk_budget, refused_and_done_later) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 512);
    uint32_t key = 1;
    disk_put(rig, 1, 100);
    set_budget(rig, 64 * KIB);
    while (delete_some(rig, rig->session, key, 1) == QUIRE_OK) {
        cr_assert_leq(++key, 100, "nothing is refused");
    }
    uint64_t again_ns = pager_keys_again_ns(rig->pager);
    cr_assert_eq(rig_info(rig, key).n_records, 1);
    cr_assert_eq(delete_some(rig, rig->session, 1000, MANY), QUIRE_OK, "they are not on disk");
    cr_assert_eq(pager_keys_again_ns(rig->pager), 0);
    cr_assert_eq(delete_some(rig, another_session(rig), 100, 1), QUIRE_OK);
    cr_assert(again_ns > rig->now_ns && again_ns < rig->now_ns + 10 * QUIRE_NS_PER_S);
    rig->now_ns = again_ns;
    cr_assert_eq(delete_some(rig, rig->session, key, 1), QUIRE_OK);
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, key + 1);
    disk_rig_free(rig);
}

/* Made-up keys leave half a second's worth to what was stored: that is deleted when they are refused. */
Test(disk_budget, doubt_comes_last) {
    struct rig *rig = rig_in_doubt(64 * KIB);
    uint64_t last = 0, stores = another_session(rig);
    disk_put(rig, 1, 1);
    for (uint32_t i = 0; i < 100 && last == 0; i++) { /* each session deletes one */
        uint64_t session = another_session(rig);
        last = delete_some(rig, session, 1000 + i, 1) == QUIRE_OK ? 0 : session;
    }
    cr_assert_neq(last, 0);
    cr_assert_eq(delete_some(rig, stores, 2, 1), QUIRE_RETRY);
    cr_assert_eq(delete_some(rig, stores, 1, 1), QUIRE_OK);
    disk_rig_free(rig);
}

/* Deletions go on when records use up all there is; and records go on when deletions do. */
Test(disk_budget, both_go_on) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 60, 512);
    disk_put(rig, 1, 100);
    set_budget(rig, 256 * KIB);
    uint64_t before = written(rig), admitted = disk_stats(rig).counters->disk_admitted_bytes;
    for (uint32_t s = 1; s <= 20; s++) {
        for (uint32_t i = 0; i < 200; i++) { /* ever more is stored than may be written */
            (void)rig_put(rig, 1000 * s + i, 0);
        }
        rig_pass(rig, 1000);
        uint64_t now = disk_stats(rig).counters->disk_admitted_bytes;
        cr_assert_eq(delete_some(rig, rig->session, s, 1), QUIRE_OK);
        cr_assert(s == 1 || now > admitted, "nothing was stored in second %u", s);
        admitted = now;
    }
    cr_assert_eq(disk_stats(rig).counters->disk_tombstones, 20);
    cr_assert_geq(written(rig) - before, 19 * 256 * KIB, "%lu KiB in 20 s", (unsigned long)((written(rig) - before) / KIB));
    cr_assert_leq(written(rig) - before, 22 * 256 * KIB + disk_of(rig)->options.batch_bytes, "%lu KiB in 20 s",
                  (unsigned long)((written(rig) - before) / KIB));
    disk_rig_free(rig);
}

/* Records wait for whatever the rest took: tombstones, or what the daemon wrote besides. */
static void wait_for(bool tombstones) {
    struct rig *rig = rig_in_doubt(5 * KIB);
    if (tombstones) {
        cr_assert_eq(delete_some(rig, rig->session, 1000, MANY), QUIRE_OK);
    } else {
        pager_disk_wrote(rig->pager, rig->now_ns, MANY * sizeof(struct quire_log_entry));
    }
    disk_put(rig, 1, 1);
    cr_assert_eq(disk_stats(rig).counters->disk_admitted_bytes, 0, "56 KiB are eleven seconds' worth, and these were five");
    disk_settle(rig);
    disk_settle(rig);
    cr_assert_gt(disk_stats(rig).counters->disk_admitted_bytes, 0);
    disk_rig_free(rig);
}

Test(disk_budget, records_wait_for_deletions) { wait_for(true); }
Test(disk_budget, records_wait_for_metadata) { wait_for(false); }

/* A reload, however often, and whatever it changes, does not fill the bucket. */
Test(disk_budget, reload) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 60, 512);
    disk_of(rig)->options.batch_bytes = 64 * KIB;
    set_budget(rig, 64 * KIB);
    uint64_t before = written(rig), from_ns = rig->now_ns;
    for (uint32_t i = 0; i < 100; i++) {
        for (uint32_t j = 0; j < 20; j++) {
            (void)rig_put(rig, 1 + 20 * i + j, 0);
        }
        rig_pass(rig, 100);
        disk_of(rig)->options.clean_segments = 3 + i % 2;
        set_budget(rig, 64 * KIB);
    }
    uint64_t most = (rig->now_ns - from_ns) / QUIRE_NS_PER_MS * 64 * KIB / 1000 + 64 * KIB; /* what a second brings is there at first */
    cr_assert_gt(disk_stats(rig).dirty_bytes + disk_stats(rig).counters->disk_declined, 0, "the budget was never short");
    cr_assert_leq(written(rig) - before, most + 2 * 64 * KIB, "%lu KiB", (unsigned long)((written(rig) - before) / KIB));
    disk_rig_free(rig);
}

/* Every byte that the executor was told to write is counted, and so is what it tells itself. */
Test(disk_budget, every_byte_counts) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    for (uint32_t key = 1; key <= 300; key++) {
        (void)rig_put(rig, key, 0);
        if (key % 3 == 0) {
            (void)delete_some(rig, rig->session, key - 1, 1);
        }
        rig_pass(rig, 1100);
    }
    pager_disk_flush(rig->pager, rig->now_ns);
    disk_settle(rig);
    cr_assert_eq(written(rig), disk_of(rig)->asked_units * 512);
    uint64_t before = written(rig);
    pager_disk_wrote(rig->pager, rig->now_ns, 12345);
    cr_assert_eq(written(rig), before + 12345);
    disk_rig_free(rig);
}

/*
 * A drive without room: what it refused was not written, and is not told as such, however often it is tried. The budget was charged for each try: nobody knows
 * what that wore.
 */
Test(disk_budget, what_failed_was_not_written) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 8, 64);
    disk_put(rig, 1, 2);
    uint64_t before = written(rig), charged = disk_stats(rig).charged_bytes;
    disk_of(rig)->write_status = disk_of(rig)->seal_status = QUIRE_FULL;
    disk_of(rig)->meta_status = QUIRE_SYSTEM;
    disk_of(rig)->meta_bytes = 1000;
    disk_put(rig, 3, 2);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_PIN, 3), QUIRE_OK);
    disk_settle(rig);
    cr_assert_gt(disk_stats(rig).counters->disk_write_errors, 0);
    cr_assert_gt(disk_stats(rig).counters->disk_meta_failures, 0);
    cr_expect_eq(written(rig), before);
    cr_expect_gt(disk_stats(rig).charged_bytes, charged);
    disk_of(rig)->write_status = disk_of(rig)->seal_status = disk_of(rig)->meta_status = QUIRE_OK;
    disk_of(rig)->asked_units = 0;
    disk_of(rig)->metas = 0;
    disk_settle(rig);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    cr_expect_eq(written(rig), before + disk_of(rig)->asked_units * 512 + disk_of(rig)->metas * 1000);
    disk_rig_free(rig);
}

/* ---- metadata ------------------------------------------------------------------------------------------------------------- */
#define META (32 * KIB) /* as if thousands of blocks were pinned */

static enum quire_status pin_or_not(struct rig *rig, enum quire_wire_keys_verb verb) {
    quire_key key = rig_key(1);
    uint8_t status = QUIRE_OK;
    enum quire_status whole = pager_keys(rig->pager, rig->now_ns, rig->session, rig->ns, verb, key.b, 1, &status);
    cr_assert_eq(status, QUIRE_OK);
    rig_pump(rig);
    return whole;
}

static void pin_until_refused(struct rig *rig) {
    for (uint32_t i = 0; i < 100; i++) {
        if (pin_or_not(rig, QUIRE_WIRE_PIN) == QUIRE_RETRY) {
            return;
        }
    }
    cr_assert_fail("nothing is refused");
}

/* One client pins and unpins one block as fast as it can, and each time all metadata has to be written. */
static struct rig *toggling(uint32_t *toggled, uint32_t *refused, uint32_t seconds) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig(POOL, &layout, 60, 512);
    disk_put(rig, 1, 1);
    disk_of(rig)->meta_bytes = META;
    set_budget(rig, 64 * KIB);
    for (uint32_t ms = 0; ms < seconds * 1000; ms += 10) {
        bool ok = pin_or_not(rig, *toggled % 2 ? QUIRE_WIRE_UNPIN : QUIRE_WIRE_PIN) == QUIRE_OK;
        *toggled += ok;
        *refused += !ok;
        cr_assert(ok || pager_keys_again_ns(rig->pager) > rig->now_ns);
        rig_pass(rig, 10);
    }
    return rig;
}

/* It makes the disk write no more than metadata's part of the budget, and is told when to come again. */
Test(disk_budget, flood_of_pins) {
    uint32_t toggled = 0, refused = 0;
    struct rig *rig = toggling(&toggled, &refused, 40);
    cr_assert_leq(disk_of(rig)->metas, 1 + 2 + 40 * 64 * KIB / 8 / META, "%u times", disk_of(rig)->metas);
    cr_assert_geq(disk_of(rig)->metas, 40 * 64 * KIB / 8 / META / 2, "%u times", disk_of(rig)->metas);
    cr_assert_gt(refused, 0);
    cr_assert_eq(disk_stats(rig).counters->disk_pins_refused, refused);
    disk_rig_free(rig);
}

/* What others store is written all the while. */
Test(disk_budget, records_go_on_when_pins_do) {
    uint32_t toggled = 0, refused = 0;
    struct rig *rig = toggling(&toggled, &refused, 40);
    disk_put(rig, 2, 10);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0, "so much is owed that %lu records wait", (unsigned long)disk_stats(rig).dirty_records);
    disk_rig_free(rig);
}

/* Who comes when it was told to waits a second, and its pin is durable; so is everybody's who came in that second, by one write. */
Test(disk_budget, pinned_later) {
    uint32_t toggled = 0, refused = 0;
    struct rig *rig = toggling(&toggled, &refused, 10);
    pin_until_refused(rig);
    rig->now_ns = pager_keys_again_ns(rig->pager);
    uint32_t before = disk_of(rig)->metas;
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert_eq(pin_or_not(rig, QUIRE_WIRE_PIN), QUIRE_OK);
        cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 5), QUIRE_PENDING);
    }
    disk_of(rig)->durable_cookie = 0;
    rig_pass(rig, 1100);
    cr_assert_eq(disk_of(rig)->durable_cookie, 5);
    cr_assert_eq(disk_of(rig)->durable_status, QUIRE_OK);
    cr_assert_eq(disk_of(rig)->metas, before + 1);
    disk_rig_free(rig);
}

/* A deletion is durable as soon as its tombstone is, and a stop waits for nothing. */
Test(disk_budget, deletions_and_a_stop_do_not_wait_for_pins) {
    uint32_t toggled = 0, refused = 0;
    struct rig *rig = toggling(&toggled, &refused, 10);
    disk_put(rig, 2, 1);
    pin_until_refused(rig);
    rig->now_ns = pager_keys_again_ns(rig->pager);
    cr_assert_eq(pin_or_not(rig, QUIRE_WIRE_PIN), QUIRE_OK);
    cr_assert_not(pager_disk_is_settled(rig->pager), "nothing waits to be told");
    cr_assert_eq(delete_some(rig, rig->session, 2, 1), QUIRE_OK);
    cr_assert_eq(pager_durable_deletions(rig->pager, rig->now_ns, 5), QUIRE_OK);
    pager_disk_flush(rig->pager, rig->now_ns);
    rig_pump(rig);
    cr_assert(disk_of(rig)->flushed);
    cr_assert(pager_disk_is_settled(rig->pager));
    disk_rig_free(rig);
}
