/* Scrubbing finds what turned bad where it rests, at a bounded rate, and tells of nothing else. */
#include "daemon/disk/scrub.h"
#include "tests/unit/daemon_disk_double.h"

#define MAX_DAMAGED 64

struct pager_double {
    struct pager_segment segments[DOUBLE_FILES * DOUBLE_SEGMENTS];
    struct quire_log_entry damaged[MAX_DAMAGED];
    uint32_t n_damaged, n_failed;
    const struct quire_log_entry *dead; /* not needed any more */
    bool gone;                          /* whatever is told, the index does not point there */
    uint32_t empties;                   /* this segment is opened again while it is read; UINT32_MAX: none */
    struct double_io *io;
};

static const struct pager_segment *pager_segment(void *ctx, uint32_t segment) {
    static struct pager_segment told;
    struct pager_double *pager = ctx;
    told = pager->segments[segment];
    if (pager->empties == segment) {
        pager->segments[segment].epoch++;
    }
    return &told;
}
static bool pager_live(void *ctx, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry) {
    struct pager_double *pager = ctx;
    cr_assert(epoch != 0 && segment < DOUBLE_FILES * DOUBLE_SEGMENTS);
    return pager->dead == NULL || memcmp(pager->dead, entry, sizeof *entry) != 0;
}
static bool pager_found_damaged(void *ctx, uint32_t segment, uint64_t epoch, const struct quire_log_entry *entry, enum quire_status why) {
    struct pager_double *pager = ctx;
    cr_assert(why == QUIRE_CORRUPT || why == QUIRE_SYSTEM);
    cr_assert_eq(epoch, pager->segments[segment].epoch);
    cr_assert(pager->n_damaged < MAX_DAMAGED);
    pager->damaged[pager->n_damaged++] = *entry;
    return !pager->gone;
}
static void pager_failed(void *ctx, uint32_t device, int error, uint64_t now_ns) {
    struct pager_double *pager = ctx;
    (void)now_ns;
    cr_assert(device < DOUBLE_FILES && (error == EIO || error == ETIMEDOUT));
    pager->n_failed++;
}

static struct scrub *scrub_over(struct double_tier *tier, struct pager_double *pager) {
    struct scrub *scrub;
    struct scrub_hooks hooks = {
        .segment = pager_segment, .live = pager_live, .damaged = pager_found_damaged, .read_failed = pager_failed, .ctx = pager};
    pager->io = &tier->io;
    cr_assert_eq(scrub_create(&tier->env, &hooks, &scrub), QUIRE_OK);
    cr_assert_eq(scrub_deadline(scrub), UINT64_MAX);
    return scrub;
}

/* Until the pass that was asked for ends, or `until_ns`. */
static void scrub_run(struct double_tier *tier, struct scrub *scrub, uint64_t until_ns) {
    for (uint32_t turns = 0; scrub_deadline(scrub) <= until_ns; turns++) {
        cr_assert(turns < 100000);
        tier->io.clock_ns = quire_max_u64(tier->io.clock_ns, scrub_deadline(scrub));
        scrub_turn(scrub, tier->io.clock_ns);
        double_turn(tier);
    }
}

/* As the log's books have it, with every record still needed. */
static void pager_knows(struct pager_double *pager, const struct double_batch *batch) {
    const struct pager_disk_wish *wish = &batch->wish;
    pager->segments[wish->segment] = (struct pager_segment){.epoch = wish->epoch,
                                                            .live_records = wish->n_pieces,
                                                            .used_units = wish->at_units + wish->size_units,
                                                            .n_entries = wish->n,
                                                            .state = PAGER_SEGMENT_SEALED,
                                                            .footer = true};
}

static struct double_batch *sealed_batch(struct double_tier *tier, struct dice *dice, struct pager_double *pager, uint32_t segment,
                                         uint64_t epoch, uint32_t n) {
    struct double_batch *batch = double_batch(tier, dice, segment, epoch, 1, n, 5);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, &batch, 1), QUIRE_OK);
    pager_knows(pager, batch);
    return batch;
}

/* The system has no memory for a read now and then: it is done again, and what it reads is neither damaged nor a reason to give its file up. */
Test(daemon_disk_scrub, no_memory_for_a_read) {
    struct dice dice = dice_printed("scrub memory");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *a = sealed_batch(tier, &dice, &pager, 0, 5, 30), *b = sealed_batch(tier, &dice, &pager, 12, 6, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    scrub_verify_now(scrub, 0);
    tier->io.error = ENOMEM;
    for (uint32_t turns = 0; scrub_deadline(scrub) <= UINT64_MAX - 1; turns++) {
        cr_assert(turns < 100000);
        tier->io.fail_reads = turns % 3 != 2; /* two of three turns begin with such a read */
        tier->io.clock_ns = quire_max_u64(tier->io.clock_ns, scrub_deadline(scrub));
        scrub_turn(scrub, tier->io.clock_ns);
        double_turn(tier);
    }
    const struct scrub_progress *p = scrub_progress(scrub);
    cr_assert(p->requests_done == 1 && p->pass_segments == 2 && p->pass_records == a->wish.n_pieces + b->wish.n_pieces);
    cr_assert(p->pass_unreadable == 0 && pager.n_damaged == 0 && pager.n_failed == 0);
    scrub_destroy(&scrub);
    free(a);
    free(b);
    double_tier_close(tier);
}

/* Everything is whole: each record is looked at once, in every sealed segment and no other; how many lie in the others is told. */
Test(daemon_disk_scrub, a_whole_log) {
    struct dice dice = dice_printed("scrub");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *a = sealed_batch(tier, &dice, &pager, 2, 5, 30), *b = sealed_batch(tier, &dice, &pager, 12, 6, 30);
    struct double_batch *open = double_batch(tier, &dice, 3, 7, 1, 30, 5);
    double_turn(tier);
    pager_knows(&pager, open);
    pager.segments[3].state = PAGER_SEGMENT_OPEN;
    struct scrub *scrub = scrub_over(tier, &pager);
    scrub_verify_now(scrub, 0);
    scrub_run(tier, scrub, UINT64_MAX - 1);
    const struct scrub_progress *p = scrub_progress(scrub);
    cr_assert_eq(p->requests_done, 1);
    cr_assert(!p->requested);
    cr_assert_eq(p->passes, 1);
    cr_assert_eq(p->pass_segments, 2);
    cr_assert_eq(p->pass_open_segments, 1);
    cr_assert_eq(p->pass_open_records, open->wish.n_pieces);
    cr_assert_eq(p->pass_records, a->wish.n_pieces + b->wish.n_pieces);
    cr_assert_eq(pager.n_damaged, 0);
    scrub_destroy(&scrub);
    free(a);
    free(b);
    free(open);
    double_tier_close(tier);
}

/* There is only what is being filled: that was looked at neither on request nor in the background, however often it was tried. */
Test(daemon_disk_scrub, passes_over_nothing) {
    struct dice dice = dice_printed("scrub nothing");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *open = double_batch(tier, &dice, 3, 7, 1, 30, 5);
    double_turn(tier);
    pager_knows(&pager, open);
    pager.segments[3].state = PAGER_SEGMENT_OPEN;
    struct scrub *scrub = scrub_over(tier, &pager);
    scrub_set_rate(scrub, 1000);
    scrub_verify_now(scrub, 0);
    for (uint32_t i = 0; i < 10; i++) {
        scrub_run(tier, scrub, scrub_deadline(scrub));
    }
    const struct scrub_progress *p = scrub_progress(scrub);
    cr_assert_eq(p->requests_done, 1);
    cr_assert_eq(p->passes, 0);
    cr_assert_eq(p->pass_open_records, open->wish.n_pieces);
    scrub_destroy(&scrub);
    free(open);
    double_tier_close(tier);
}

/* One bit of one record turns, anywhere: that record is told, no other; one that is not needed any more is not even read for. */
Test(daemon_disk_scrub, a_flipped_bit) {
    struct dice dice = dice_printed("scrub flip");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    for (uint32_t i = 0; i < 30; i++) {
        const struct quire_log_entry *entry = &batch->entries[i];
        if (entry->kind != QUIRE_LOG_RECORD) {
            continue;
        }
        uint32_t payload_offset = (uint32_t)quire_align_up(128 + 12 * 24, 64); /* behind the directory nothing is summed up to here */
        uint64_t in = dice_below(&dice, 2) == 0 ? dice_below(&dice, 128 + 12 * 24)
                                                : payload_offset + dice_below(&dice, entry->size_bytes - payload_offset);
        uint64_t byte = (uint64_t)entry->at_units * DOUBLE_UNIT + in;
        double_flip(tier, 2, byte, 2);
        pager.n_damaged = 0;
        pager.dead = NULL;
        pager.gone = i % 2 == 0;
        uint64_t before = scrub_progress(scrub)->damaged;
        scrub_verify_now(scrub, 0);
        scrub_run(tier, scrub, UINT64_MAX - 1);
        cr_assert_eq(pager.n_damaged, 1, "record %u, byte %" PRIu64, i, in);
        cr_assert_eq(memcmp(&pager.damaged[0], entry, sizeof *entry), 0);
        cr_assert_eq(scrub_progress(scrub)->damaged - before, pager.gone ? 0 : 1);
        cr_assert_eq(scrub_progress(scrub)->pass_damaged, pager.gone ? 0 : 1);
        pager.dead = entry;
        scrub_verify_now(scrub, 0);
        scrub_run(tier, scrub, UINT64_MAX - 1);
        cr_assert_eq(pager.n_damaged, 1);
        double_flip(tier, 2, byte, 2);
    }
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* One unit cannot be read: the records of that read are read one by one, and only the one that cannot be is told. */
Test(daemon_disk_scrub, an_unreadable_record) {
    struct dice dice = dice_printed("scrub unreadable");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 4);
    struct scrub *scrub = scrub_over(tier, &pager);
    scrub_verify_now(scrub, 0);
    for (uint32_t i = 0; i < 3; i++) { /* header, trailer, footer */
        scrub_turn(scrub, tier->io.clock_ns);
        disk_env_flush(&tier->env);
        double_reap(&tier->io.io, 1);
    }
    double_turn(tier);
    tier->io.fail_reads = 2; /* all of them together, and then the first */
    double_flip(tier, 2, (uint64_t)batch->entries[2].at_units * DOUBLE_UNIT, 1);
    scrub_run(tier, scrub, UINT64_MAX - 1);
    cr_assert_eq(pager.n_damaged, 2);
    cr_assert_eq(memcmp(&pager.damaged[0], &batch->entries[0], sizeof pager.damaged[0]), 0);
    cr_assert_eq(memcmp(&pager.damaged[1], &batch->entries[2], sizeof pager.damaged[1]), 0);
    cr_assert_eq(scrub_progress(scrub)->pass_damaged, 1);
    cr_assert_eq(pager.n_failed, 1);
    cr_assert_eq(scrub_progress(scrub)->pass_unreadable, 1);
    cr_assert_eq(scrub_progress(scrub)->pass_records, 4);
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* A record larger than a step is read in parts, each when it is due, and verified as a whole. */
Test(daemon_disk_scrub, a_large_record) {
    struct dice dice = dice_printed("scrub large");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct store_set *set = &tier->env.set;
    tier->layout = sample_layout(2, 8, 1024, 1024, QUIRE_F32, 16); /* 32 lanes of 64 KiB */
    set->geometry.segment_units = 8192;
    set->segments[0] = set->segments[1] = 1;
    cr_assert_eq(ftruncate(tier->io.fds[0], QUIRE_LOG_FIRST_SEGMENT + (4 << 20)), 0);
    struct double_batch *batch = calloc(1, sizeof *batch);
    struct pager_disk_wish *wish = &batch->wish;
    *wish = (struct pager_disk_wish){.epoch = 1, .at_units = 1, .first = true, .n = 1, .n_pieces = 1};
    wish->head_units = quire_log_head_units(&set->geometry, 1);
    wish->entries = batch->entries;
    wish->pieces = batch->pieces;
    batch->entries[0] = double_record(tier, &dice, 16, &batch->pieces[0]);
    batch->entries[0].at_units = 1 + wish->head_units;
    wish->size_units = wish->head_units + double_units(batch->entries[0].size_bytes);
    batch->ticket = double_wish(tier, PAGER_DISK_WRITE, wish);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, &batch, 1), QUIRE_OK);
    pager_knows(&pager, batch);
    struct scrub *scrub = scrub_over(tier, &pager);
    for (uint32_t round = 0; round < 2; round++) {
        uint32_t n_reads = tier->io.n_reads;
        uint64_t begun_ns = tier->io.clock_ns;
        scrub_verify_now(scrub, 1 << 20);
        scrub_run(tier, scrub, UINT64_MAX - 1);
        cr_assert_eq(tier->io.n_reads - n_reads, 3 + 3); /* header, trailer and footer; 2 MiB and the directory */
        cr_assert_geq(tier->io.clock_ns - begun_ns, 2 * QUIRE_NS_PER_S);
        cr_assert_eq(pager.n_damaged, round);
        double_flip(tier, 0, (uint64_t)batch->entries[0].at_units * DOUBLE_UNIT + batch->entries[0].size_bytes - 1, 1);
    }
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* In the background a pass takes as long as its bytes at the rate. */
Test(daemon_disk_scrub, a_bounded_rate) {
    struct dice dice = dice_printed("scrub rate");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    uint64_t begun_ns = tier->io.clock_ns;
    scrub_set_rate(scrub, 1000);
    while (scrub_progress(scrub)->passes < 1) {
        scrub_run(tier, scrub, scrub_deadline(scrub));
    }
    const struct scrub_progress *p = scrub_progress(scrub);
    uint64_t taken_ns = tier->io.clock_ns - begun_ns;
    cr_assert_eq(p->records, batch->wish.n_pieces);
    cr_assert_geq(taken_ns, p->bytes * QUIRE_NS_PER_S / 1000 * 9 / 10);
    cr_assert_leq(taken_ns, p->bytes * QUIRE_NS_PER_S / 1000 * 11 / 10);
    cr_assert_eq(p->requests_done, 0);
    scrub_set_rate(scrub, 0);
    cr_assert_eq(scrub_deadline(scrub), UINT64_MAX);
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/*
 * An operator reloads the configuration again and again, with this rate as it is or a little changed: the drive is asked for no more than that. And whoever
 * raises a rate that was too low does not wait until what was read before has had its time.
 */
Test(daemon_disk_scrub, a_rate_that_is_set_again) {
    struct dice dice = dice_printed("scrub rate again");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    for (uint64_t change = 0; change < 2; change++) {
        uint64_t begun_ns = tier->io.clock_ns, passes = scrub_progress(scrub)->passes, bytes = scrub_progress(scrub)->bytes;
        for (uint64_t rate = 1000; scrub_progress(scrub)->passes == passes; rate = 2000 + change - rate) {
            scrub_set_rate(scrub, rate);
            scrub_run(tier, scrub, scrub_deadline(scrub));
        }
        uint64_t taken_ns = tier->io.clock_ns - begun_ns;
        cr_assert_geq(taken_ns, (scrub_progress(scrub)->bytes - bytes) * QUIRE_NS_PER_S / 1001 * 9 / 10);
    }
    scrub_set_rate(scrub, 1);
    scrub_run(tier, scrub, scrub_deadline(scrub));
    cr_assert_gt(scrub_deadline(scrub), tier->io.clock_ns + 100 * QUIRE_NS_PER_S);
    scrub_set_rate(scrub, 1 << 20);
    cr_assert_lt(scrub_deadline(scrub), tier->io.clock_ns + QUIRE_NS_PER_S);
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* The segment is emptied and opened again while it is read: what was read says nothing about what is there now. */
Test(daemon_disk_scrub, a_segment_that_changes_meanwhile) {
    struct dice dice = dice_printed("scrub changes");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    double_flip(tier, 2, (uint64_t)batch->entries[0].at_units * DOUBLE_UNIT, 2);
    pager.empties = 2;
    scrub_verify_now(scrub, 0);
    scrub_run(tier, scrub, UINT64_MAX - 1);
    cr_assert_eq(pager.n_damaged, 0);
    cr_assert_eq(scrub_progress(scrub)->requests_done, 1);
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* One asks for a pass while another is under way, and takes it back. */
Test(daemon_disk_scrub, asked_again_and_taken_back) {
    struct dice dice = dice_printed("scrub again");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30), *other = sealed_batch(tier, &dice, &pager, 3, 6, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    scrub_verify_now(scrub, 0);
    while (scrub_progress(scrub)->pass_segments < 2) {
        scrub_turn(scrub, tier->io.clock_ns);
        double_turn(tier);
    }
    scrub_verify_now(scrub, 0);
    scrub_run(tier, scrub, UINT64_MAX - 1);
    cr_assert_eq(scrub_progress(scrub)->requests_done, 1);
    cr_assert_eq(scrub_progress(scrub)->pass_records, batch->wish.n_pieces + other->wish.n_pieces);
    cr_assert_gt(scrub_progress(scrub)->records, scrub_progress(scrub)->pass_records, "from the beginning");
    free(other);
    scrub_verify_now(scrub, 0);
    scrub_turn(scrub, tier->io.clock_ns);
    scrub_cancel(scrub);
    double_turn(tier);
    cr_assert_eq(scrub_deadline(scrub), UINT64_MAX);
    cr_assert_eq(scrub_progress(scrub)->requests_done, 1);
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* The drive of one file hangs under the scrub. That file is given up, and the records of the other one are verified; a late answer disturbs nobody. */
Test(daemon_disk_scrub, a_drive_hangs) {
    struct dice dice = dice_printed("scrub hangs");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *a = sealed_batch(tier, &dice, &pager, 2, 5, 30), *b = sealed_batch(tier, &dice, &pager, 12, 6, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    tier->io.hold = true;
    scrub_verify_now(scrub, 0);
    scrub_turn(scrub, tier->io.clock_ns);
    double_turn(tier);
    struct disk_op *hanging = tier->io.held;
    cr_assert_not_null(hanging);
    tier->io.held = NULL;
    tier->io.hold = false;
    disk_env_give_up(&tier->env, 0);
    scrub_device_hangs(&scrub, 0);
    pager.segments[2].state = PAGER_SEGMENT_LOST;
    scrub_run(tier, scrub, UINT64_MAX - 1);
    cr_assert_eq(scrub_progress(scrub)->requests_done, 1);
    cr_assert_eq(scrub_progress(scrub)->pass_records, b->wish.n_pieces);
    cr_assert_eq(scrub_progress(scrub)->pass_out_segments, 1, "what was not verified is told");
    hanging->next = NULL;
    hanging->status = QUIRE_SYSTEM;
    hanging->error = EIO;
    hanging->done(hanging);
    double_turn(tier);
    cr_assert_eq(pager.n_damaged, 0);
    scrub_destroy(&scrub);
    free(a);
    free(b);
    double_tier_close(tier);
}

static const struct scrub_progress *verify_all(struct double_tier *tier, struct scrub *scrub) {
    scrub_verify_now(scrub, 0);
    scrub_run(tier, scrub, UINT64_MAX - 1);
    return scrub_progress(scrub);
}

/*
 * While the daemon runs, somebody overwrites what a start finds a segment's records by. Each record is whole and can be read, and yet the segment
 * is damaged: it is told, with how many records would be gone, as long as it is so; in the sums since the start it counts once.
 */
Test(daemon_disk_scrub, headers_and_footers_destroyed) {
    struct dice dice = dice_printed("scrub headers");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30), *other = sealed_batch(tier, &dice, &pager, 12, 6, 30);
    const uint64_t header = 0, trailer = (DOUBLE_SEGMENT_UNITS - 1) * DOUBLE_UNIT, head = DOUBLE_UNIT;
    const uint64_t footer = trailer - quire_log_footer_units(&tier->env.set.geometry, 30) * DOUBLE_UNIT;
    const uint32_t n = batch->wish.n_pieces, n_other = other->wish.n_pieces;
    const struct {
        uint64_t places[3];
        uint32_t n, unfound, records;
    } harms[] = {
        {{header}, 1, 0, n},
        {{trailer}, 1, 0, n},
        {{footer}, 1, 0, n},
        {{header, trailer}, 2, n, n},
        {{header, footer}, 2, 0, n},
        {{trailer, head}, 2, n, 0},
        {{header, trailer, head}, 3, n, 0},
    };
    struct scrub *scrub = scrub_over(tier, &pager);
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(harms); i++) {
        for (uint32_t flip = 0; flip < harms[i].n; flip++) {
            double_flip(tier, 2, harms[i].places[flip], 1);
        }
        for (uint32_t pass = 0; pass < 2; pass++) {
            const struct scrub_progress *p = verify_all(tier, scrub);
            cr_assert_eq(p->pass_damaged_segments, 1, "harm %u", i);
            cr_assert_eq(p->pass_unfound, harms[i].unfound, "harm %u: %" PRIu64 " unfound", i, p->pass_unfound);
            cr_assert_eq(p->pass_records, harms[i].records + n_other, "harm %u", i);
            cr_assert_eq(p->damaged_segments, i + 1);
            cr_assert(p->pass_unread_segments == 0 && p->pass_out_segments == 0 && pager.n_damaged == 0);
        }
        for (uint32_t flip = 0; flip < harms[i].n; flip++) {
            double_flip(tier, 2, harms[i].places[flip], 1);
        }
        cr_assert_eq(verify_all(tier, scrub)->pass_damaged_segments, 0);
    }
    scrub_destroy(&scrub);
    free(batch);
    free(other);
    double_tier_close(tier);
}

/* The write of its footer failed, and the daemon knows: that there is none is no damage, and its records are found by their batches. */
Test(daemon_disk_scrub, without_a_footer) {
    struct dice dice = dice_printed("scrub no footer");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = double_batch(tier, &dice, 2, 5, 1, 30, 5);
    double_turn(tier);
    pager_knows(&pager, batch);
    pager.segments[2].footer = false;
    struct scrub *scrub = scrub_over(tier, &pager);
    const struct scrub_progress *p = verify_all(tier, scrub);
    cr_assert(p->pass_damaged_segments == 0 && p->pass_unfound == 0 && p->pass_records == batch->wish.n_pieces);
    double_flip(tier, 2, DOUBLE_UNIT, 1);
    verify_all(tier, scrub);
    cr_assert(p->pass_damaged_segments == 1 && p->pass_unfound == batch->wish.n_pieces && p->pass_records == 0);
    scrub_destroy(&scrub);
    free(batch);
    double_tier_close(tier);
}

/* The drive fails a few reads, whichever they are: a segment whose header, footer or heads could not be read is not taken for whole. */
Test(daemon_disk_scrub, a_segment_that_cannot_be_read) {
    struct dice dice = dice_printed("scrub unread");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30), *other = sealed_batch(tier, &dice, &pager, 12, 6, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    for (uint32_t reads = 0; reads < 3; reads++) { /* that end well before */
        scrub_verify_now(scrub, 0);
        for (uint32_t i = 0; i < reads; i++) {
            scrub_turn(scrub, tier->io.clock_ns);
            disk_env_flush(&tier->env);
            double_reap(&tier->io.io, 1);
        }
        tier->io.fail_reads = 3;
        double_turn(tier);
        scrub_run(tier, scrub, UINT64_MAX - 1);
        const struct scrub_progress *p = scrub_progress(scrub);
        cr_assert_eq(p->pass_unread_segments, 1, "%u reads ended well before", reads);
        cr_assert_eq(p->unread_segments, reads + 1);
        cr_assert(p->pass_damaged_segments == 0 && p->pass_out_segments == 0 && pager.n_damaged == 0);
        cr_assert_eq(verify_all(tier, scrub)->pass_unread_segments, 0);
    }
    scrub_destroy(&scrub);
    free(batch);
    free(other);
    double_tier_close(tier);
}

/* The drive of one file fails under a verification and is taken out of use: its segments are told as not verified, then and later. */
Test(daemon_disk_scrub, a_drive_is_lost) {
    struct dice dice = dice_printed("scrub lost");
    struct double_tier *tier = double_tier_open();
    struct pager_double pager = {.empties = UINT32_MAX};
    struct double_batch *batch = sealed_batch(tier, &dice, &pager, 2, 5, 30), *other = sealed_batch(tier, &dice, &pager, 12, 6, 30);
    struct scrub *scrub = scrub_over(tier, &pager);
    scrub_verify_now(scrub, 0);
    scrub_turn(scrub, tier->io.clock_ns);
    tier->io.fail_reads = UINT32_MAX;
    disk_env_flush(&tier->env);
    for (uint32_t i = 0; i < DOUBLE_SEGMENTS; i++) {
        pager.segments[i].state = PAGER_SEGMENT_LOST;
    }
    double_turn(tier);
    tier->io.fail_reads = 0;
    scrub_run(tier, scrub, UINT64_MAX - 1);
    const struct scrub_progress *p = scrub_progress(scrub);
    cr_assert(p->requests_done == 1 && p->pass_records == other->wish.n_pieces);
    cr_assert_eq(p->pass_out_segments + p->pass_unread_segments, DOUBLE_SEGMENTS - 2, "from the one on that was looked at");
    cr_assert_eq(verify_all(tier, scrub)->pass_out_segments, DOUBLE_SEGMENTS);
    scrub_destroy(&scrub);
    free(batch);
    free(other);
    double_tier_close(tier);
}
