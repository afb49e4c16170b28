/* What the log holds is found again at the start: all of it, only what is whole, and nothing that was left over. */
#include "daemon/disk/restart.h"
#include "tests/unit/daemon_disk_double.h"

#define MAX_TOLD 4096

struct told {
    struct double_tier *tier;
    enum pager_segment_state states[DOUBLE_FILES * DOUBLE_SEGMENTS];
    uint64_t epochs[DOUBLE_FILES * DOUBLE_SEGMENTS];
    uint32_t n_states, n_serve, n_end, n_asked_to_end, n_failed, n_unreadable, n_calls, n_unused;
    uint32_t segments[MAX_TOLD]; /* of each entry */
    struct quire_log_entry entries[MAX_TOLD];
    uint32_t n; /* in the order of the pager's taking: from each call's end to its beginning */
    bool waited, served_meanwhile;
    struct restart_progress progress;
};

/* Reads of file 0 were put off: after some time they can be done, or the file is given up. */
static void tell_wait(struct told *told, struct restart *restart, struct double_tier *tier) {
    const struct restart_progress *p = restart_progress(restart);
    if (p->waits_error[0] == 0) {
        return;
    }
    cr_assert_eq(p->waits_error[0], tier->io.error);
    told->waited = true;
    told->served_meanwhile = p->serving;
    if (tier->hangs) {
        disk_env_give_up(&tier->env, 0);
        restart_device_hangs(restart, 0);
    }
    tier->io.bad_to = p->put_off > RESTART_TRIES ? 0 : tier->io.bad_to;
    usleep(1000);
}

static void tell_segment(void *ctx, uint32_t segment, enum pager_segment_state state, uint64_t epoch, uint32_t used_units,
                         uint32_t n_entries) {
    struct told *told = ctx;
    (void)n_entries;
    cr_assert_eq(told->n_serve, 0);
    cr_assert(used_units <= DOUBLE_SEGMENT_UNITS);
    told->states[segment] = state;
    told->epochs[segment] = epoch;
    told->n_states++;
}
static void tell_serve(void *ctx) { ((struct told *)ctx)->n_serve++; }
static void tell_entries(void *ctx, uint32_t segment, const struct quire_log_entry *entries, uint32_t n) {
    struct told *told = ctx;
    cr_assert_eq(told->n_serve, 1);
    cr_assert_leq(n, RESTART_STEP);
    told->n_calls++;
    while (n-- > 0) {
        cr_assert(told->n < MAX_TOLD);
        if (entries[n].size_bytes == 0 && entries[n].kind == QUIRE_LOG_RECORD) { /* it lies there, and does not count */
            told->n_unused++;
            continue;
        }
        told->segments[told->n] = segment;
        told->entries[told->n++] = entries[n];
    }
}
/* It takes its time over it. */
static bool tell_end(void *ctx) {
    struct told *told = ctx;
    bool again = told->n_asked_to_end++ < 3;
    told->n_end += !again;
    return again;
}
static void tell_failed(void *ctx, uint32_t device, int error, uint64_t now_ns) {
    (void)device;
    (void)now_ns;
    cr_assert_eq(error, EIO);
    ((struct told *)ctx)->n_failed++;
}

static void tell_unreadable(void *ctx, uint32_t device, int error) {
    cr_assert_eq(error, EIO);
    cr_assert_eq(device, 0);
    ((struct told *)ctx)->n_unreadable++;
}

static struct told *start_again(struct double_tier *tier) {
    struct told *told = calloc(1, sizeof *told);
    struct restart *restart;
    const struct restart_hooks hooks = {.segment = tell_segment,
                                        .serve = tell_serve,
                                        .entries = tell_entries,
                                        .end = tell_end,
                                        .read_failed = tell_failed,
                                        .unreadable = tell_unreadable,
                                        .ctx = told};
    cr_assert_eq(restart_create(&tier->env, &hooks, &restart), QUIRE_OK);
    restart_begin(restart);
    for (uint32_t turns = 0; told->n_end == 0; turns++) {
        cr_assert(turns < 10000);
        double_turn(tier);
        restart_turn(restart);
        tell_wait(told, restart, tier);
    }
    told->progress = *restart_progress(restart);
    restart_destroy(&restart);
    cr_assert(told->n_serve == 1 && told->n_end == 1 && told->progress.ended);
    cr_assert_eq(told->progress.records + told->progress.deletions, told->n);
    return told;
}

/* How many records and deletions of a batch were told of its segment. */
static uint32_t told_of(const struct told *told, const struct double_batch *batch) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch->wish.n; i++) {
        for (uint32_t t = 0; t < told->n; t++) {
            n += told->segments[t] == batch->wish.segment && memcmp(&told->entries[t], &batch->entries[i], sizeof batch->entries[i]) == 0;
        }
    }
    return n;
}

static void write_zeros(struct double_tier *tier, uint32_t segment, uint32_t from_units, uint32_t to_units) {
    static const uint8_t zeros[DOUBLE_UNIT];
    for (uint32_t at = from_units; at < to_units; at++) {
        cr_assert_eq(pwrite(tier->io.fds[segment / DOUBLE_SEGMENTS], zeros, sizeof zeros, (off_t)double_place(segment, at)), DOUBLE_UNIT);
    }
}

/* Sealed segments and one that was open, over two files: states first, then every entry, the highest epoch's first and each segment's last one first. */
Test(daemon_disk_restart, everything_is_found_in_order) {
    struct dice dice = dice_printed("restart");
    struct double_tier *tier = double_tier_open();
    static const uint32_t segments[] = {4, 9, 0, 15, 7};
    struct double_batch *batches[5][2];
    for (uint32_t i = 0; i < 5; i++) {
        batches[i][0] = double_batch(tier, &dice, segments[i], 10 + i, 1, 15, 4);
        batches[i][1] = double_behind(tier, &dice, batches[i][0], 9, 3);
        double_turn(tier);
        if (i != 3) {
            cr_assert_eq(double_seal(tier, batches[i], 2), QUIRE_OK);
        }
    }
    struct told *told = start_again(tier);
    cr_assert_eq(told->n_states, DOUBLE_FILES * DOUBLE_SEGMENTS);
    cr_assert_eq(told->n, 5 * 24);
    uint32_t t = 0;
    for (uint32_t i = 5; i-- > 0;) {
        cr_assert_eq(told->states[segments[i]], PAGER_SEGMENT_SEALED);
        cr_assert_eq(told->epochs[segments[i]], 10 + i);
        for (uint32_t b = 2; b-- > 0;) {
            for (uint32_t e = batches[i][b]->wish.n; e-- > 0; t++) {
                cr_assert_eq(told->segments[t], segments[i]);
                cr_assert_eq(memcmp(&told->entries[t], &batches[i][b]->entries[e], sizeof told->entries[t]), 0);
            }
        }
    }
    uint32_t sealed = 0;
    for (uint32_t i = 0; i < DOUBLE_FILES * DOUBLE_SEGMENTS; i++) {
        sealed += told->states[i] == PAGER_SEGMENT_SEALED;
        cr_assert(told->states[i] == PAGER_SEGMENT_SEALED || (told->states[i] == PAGER_SEGMENT_CLEAN && told->epochs[i] == 0));
    }
    cr_assert_eq(sealed, 5);
    cr_assert_eq(told->progress.walked, 1);
    cr_assert_eq(told->progress.bad_records, 0);
    for (uint32_t i = 0; i < 5; i++) {
        free(batches[i][0]);
        free(batches[i][1]);
    }
    free(told);
    double_tier_close(tier);
}

/* A batch is torn at every border of a unit, what came after it never having been written: exactly the records before it are found, those of the torn batch
   too that are whole once its head is. */
Test(daemon_disk_restart, torn_batches) {
    struct dice dice = dice_printed("restart torn");
    struct double_tier *tier = double_tier_open();
    struct double_batch *first = double_batch(tier, &dice, 2, 3, 1, 5, 0);
    uint32_t from = 1 + first->wish.size_units;
    struct double_batch *torn = double_batch(tier, &dice, 2, 3, from, 6, 0);
    uint32_t end = from + torn->wish.size_units;
    double_turn(tier);
    uint8_t *whole = malloc((size_t)torn->wish.size_units * DOUBLE_UNIT);
    cr_assert_gt(pread(tier->io.fds[0], whole, (size_t)torn->wish.size_units * DOUBLE_UNIT, (off_t)double_place(2, from)), 0);
    for (uint32_t at = from; at <= end; at++) {
        cr_assert_gt(pwrite(tier->io.fds[0], whole, (size_t)torn->wish.size_units * DOUBLE_UNIT, (off_t)double_place(2, from)), 0);
        write_zeros(tier, 2, at, end);
        uint32_t expected = 0;
        if (at >= from + torn->wish.head_units) {
            while (expected < 6 && torn->entries[expected].at_units + double_units(torn->entries[expected].size_bytes) <= at) {
                expected++;
            }
        }
        struct told *told = start_again(tier);
        /* A record's last unit may hold nothing but what the pool's extent ended in. */
        cr_assert_eq(told_of(told, first), 5);
        cr_assert_eq(told_of(told, torn), expected, "torn %u units in", at - from);
        cr_assert_eq(told->n, 5 + expected);
        free(told);
    }
    free(whole);
    free(first);
    free(torn);
    double_tier_close(tier);
}

/* A record in the middle of an open segment is damaged: no record from there on is taken, though it may be whole, but every deletion is. */
Test(daemon_disk_restart, a_bad_record_ends_the_walk_but_not_for_deletions) {
    struct dice dice = dice_printed("restart bad");
    struct double_tier *tier = double_tier_open();
    struct double_batch *first = double_batch(tier, &dice, 2, 3, 1, 6, 3); /* r r t r r t */
    struct double_batch *second = double_behind(tier, &dice, first, 4, 2);
    double_turn(tier);
    double_flip(tier, 2, (uint64_t)first->entries[1].at_units * DOUBLE_UNIT + first->entries[1].size_bytes - 1, 0x10);
    struct told *told = start_again(tier);
    cr_assert_eq(told_of(told, first), 3); /* r . t . . t */
    cr_assert_eq(told_of(told, second), 2);
    cr_assert_eq(told->progress.deletions, 4);
    cr_assert_eq(told->progress.records, 1);
    cr_assert_eq(told->progress.bad_records, 5);
    cr_assert_eq(told->n_unused, 5, "that they lie there is told all the same");
    free(told);
    /* The second batch's head is damaged, too: it is not found. */
    double_flip(tier, 2, (uint64_t)second->wish.at_units * DOUBLE_UNIT + 70, 1);
    told = start_again(tier);
    cr_assert_eq(told_of(told, first), 3);
    cr_assert_eq(told_of(told, second), 0);
    free(told);
    free(first);
    free(second);
    double_tier_close(tier);
}

/* A head in the middle of an open segment is damaged, or cannot be read: of the batches behind it no record is taken, but every deletion. */
Test(daemon_disk_restart, deletions_behind_a_bad_head) {
    struct dice dice = dice_printed("restart behind");
    struct double_tier *tier = double_tier_open();
    struct double_batch *first = double_batch(tier, &dice, 2, 3, 1, 4, 0);
    struct double_batch *second = double_behind(tier, &dice, first, 6, 3);
    struct double_batch *third = double_behind(tier, &dice, second, 6, 3);
    struct double_batch *last = double_behind(tier, &dice, third, 4, 2);
    double_turn(tier);
    double_flip(tier, 2, (uint64_t)second->wish.at_units * DOUBLE_UNIT + 9, 1);
    struct told *told = start_again(tier);
    cr_assert_eq(told_of(told, first), 4);
    cr_assert_eq(told_of(told, second), 0);
    cr_assert_eq(told_of(told, third), 2);
    cr_assert_eq(told_of(told, last), 2);
    cr_assert_eq(told->progress.deletions, 4);
    cr_assert_eq(told->progress.records, 4);
    free(told);
    free(first);
    free(second);
    free(third);
    free(last);
    double_tier_close(tier);
}

/* A segment was full, sealed, emptied and opened again, and got one batch before the machine stopped: the old batches behind it, whole and in place, are not
   found, nor is the old footer. */
Test(daemon_disk_restart, a_former_life_is_not_found) {
    struct dice dice = dice_printed("restart stale");
    struct double_tier *tier = double_tier_open();
    struct double_batch *old[3];
    uint32_t at = 1;
    for (uint32_t i = 0; i < 3; i++) {
        old[i] = double_batch(tier, &dice, 6, 1, at, 4, 4);
        at += old[i]->wish.size_units;
    }
    double_turn(tier);
    cr_assert_eq(double_seal(tier, old, 3), QUIRE_OK);
    /* Exactly as long as the first: the old second one follows it. */
    tier->pool_used = 0;
    struct dice same = dice;
    struct double_batch *fresh = NULL;
    for (uint32_t tries = 0; fresh == NULL || fresh->wish.size_units != old[0]->wish.size_units; tries++) {
        cr_assert(tries < 10000);
        free(fresh);
        tier->pool_used = 0;
        tier->tickets = 100;
        write_zeros(tier, 7, 1, 2);
        fresh = double_batch(tier, &same, 6, 2, 1, 4, 4);
        disk_env_flush(&tier->env);
        double_turn(tier);
    }
    struct told *told = start_again(tier);
    cr_assert_eq(told->epochs[6], 2);
    cr_assert_eq(told->n, 4);
    cr_assert_eq(told_of(told, fresh), 4);
    cr_assert_eq(told->progress.walked, 1);
    free(told);
    for (uint32_t i = 0; i < 3; i++) {
        free(old[i]);
    }
    free(fresh);
    double_tier_close(tier);
}

/* Two segments were emptied in their order: one with a record, then the one with its deletion, which was then opened again. What was deleted must not come back, though
   the first segment's bytes are as they were: the new header says that everything older was empty. */
Test(daemon_disk_restart, emptied_segments_stay_empty) {
    struct dice dice = dice_printed("restart tail");
    struct double_tier *tier = double_tier_open();
    struct double_batch *record = double_batch(tier, &dice, 0, 1, 1, 3, 0);
    struct double_batch *deletion = double_batch(tier, &dice, 8, 2, 1, 3, 1);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, &record, 1), QUIRE_OK);
    cr_assert_eq(double_seal(tier, &deletion, 1), QUIRE_OK);
    struct told *told = start_again(tier);
    cr_assert_eq(told->n, 6);
    free(told);
    struct double_batch *again = double_batch(tier, &dice, 8, 3, 1, 2, 0);
    again->wish.tail_epoch = 3;
    double_wish(tier, PAGER_DISK_WRITE, &again->wish);
    double_turn(tier);
    told = start_again(tier);
    cr_assert_eq(told->n, 2);
    cr_assert_eq(told_of(told, again), 2);
    cr_assert_eq(told->states[0], PAGER_SEGMENT_CLEAN);
    cr_assert_eq(told->epochs[0], 1, "epochs go on behind it");
    free(told);
    free(record);
    free(deletion);
    free(again);
    double_tier_close(tier);
}

/* Footer or trailer are torn, at each unit, or cannot be read: the batches are walked instead, and nothing is missing. */
Test(daemon_disk_restart, a_torn_footer) {
    struct dice dice = dice_printed("restart footer");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batches[2];
    batches[0] = double_batch(tier, &dice, 1, 5, 1, 16, 4);
    batches[1] = double_behind(tier, &dice, batches[0], 16, 4);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, batches, 2), QUIRE_OK);
    uint32_t units = quire_log_footer_units(&tier->env.set.geometry, 32) + 1;
    for (uint32_t i = 0; i < units; i++) {
        uint64_t byte = (uint64_t)(DOUBLE_SEGMENT_UNITS - units + i) * DOUBLE_UNIT + dice_below(&dice, 60);
        double_flip(tier, 1, byte, 0x80);
        struct told *told = start_again(tier);
        cr_assert_eq(told->n, 32);
        cr_assert_eq(told->progress.walked, 1);
        free(told);
        double_flip(tier, 1, byte, 0x80);
    }
    struct told *told = start_again(tier);
    cr_assert_eq(told->progress.walked, 0);
    free(told);
    free(batches[0]);
    free(batches[1]);
    double_tier_close(tier);
}

/* A header is damaged on a sealed segment: none of its records counts, its deletions do. */
Test(daemon_disk_restart, a_damaged_header) {
    struct dice dice = dice_printed("restart header");
    struct double_tier *tier = double_tier_open();
    struct double_batch *batch = double_batch(tier, &dice, 1, 5, 1, 12, 4);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, &batch, 1), QUIRE_OK);
    double_flip(tier, 1, 10, 1);
    struct told *told = start_again(tier);
    cr_assert_eq(told->n, 3);
    cr_assert_eq(told->progress.deletions, 3);
    free(told);
    free(batch);
    double_tier_close(tier);
}

/* The header of an open segment is damaged, and no trailer tells its epoch: the first head does. Its deletions count, those behind a damaged head, too; its records
   do not, since they may have been deleted since. The segment is not given out as one that was never used. */
Test(daemon_disk_restart, a_damaged_header_of_an_open_segment) {
    struct dice dice = dice_printed("restart open header");
    struct double_tier *tier = double_tier_open();
    struct double_batch *first = double_batch(tier, &dice, 2, 5, 1, 12, 4);
    struct double_batch *second = double_behind(tier, &dice, first, 6, 3);
    struct double_batch *third = double_behind(tier, &dice, second, 6, 3);
    double_turn(tier);
    double_flip(tier, 2, 10, 1);
    struct told *told = start_again(tier);
    cr_assert_eq(told->n, 3 + 2 + 2);
    cr_assert_eq(told->progress.deletions, 7);
    cr_assert(told->states[2] == PAGER_SEGMENT_SEALED && told->epochs[2] == 5);
    free(told);
    double_flip(tier, 2, (uint64_t)second->wish.at_units * DOUBLE_UNIT + 9, 1);
    told = start_again(tier);
    cr_assert_eq(told->progress.deletions, 3 + 2);
    free(told);
    /* The first head is damaged, too: then nothing tells what lies here. */
    double_flip(tier, 2, DOUBLE_UNIT + 9, 1);
    told = start_again(tier);
    cr_assert(told->n == 0 && told->states[2] == PAGER_SEGMENT_CLEAN);
    free(told);
    free(first);
    free(second);
    free(third);
    double_tier_close(tier);
}

/*
 * The same of a segment that was sealed, emptied and used again: the footer of its former life still lies there, and says nothing of the deletions that came since. It
 * does say that all older segments had been emptied, which else only the damaged header told: a record there, whose deletion was written over, does not come back.
 */
Test(daemon_disk_restart, a_damaged_header_of_a_segment_used_again) {
    struct dice dice = dice_printed("restart again header");
    struct double_tier *tier = double_tier_open();
    struct double_batch *record = double_batch(tier, &dice, 0, 1, 1, 3, 0);
    struct double_batch *deletion = double_batch(tier, &dice, 1, 2, 1, 6, 3);
    struct double_batch *other = double_batch(tier, &dice, 8, 3, 1, 3, 0);
    double_turn(tier);
    cr_assert(double_seal(tier, &record, 1) == QUIRE_OK && double_seal(tier, &deletion, 1) == QUIRE_OK);
    struct double_batch *again = double_batch(tier, &dice, 1, 4, 1, 6, 2);
    double_turn(tier);
    double_flip(tier, 1, 10, 1);
    struct told *told = start_again(tier);
    cr_assert_eq(told_of(told, other), 3);
    cr_assert_eq(told_of(told, again), 3);
    cr_assert_eq(told->n, 3 + 3);
    cr_assert(told->states[0] == PAGER_SEGMENT_CLEAN && told->epochs[0] == 1);
    cr_assert(told->states[1] == PAGER_SEGMENT_SEALED && told->epochs[1] == 4);
    free(told);
    free(record);
    free(deletion);
    free(other);
    free(again);
    double_tier_close(tier);
}

/* And of one that had been emptied, and was not used since: what its heads tell is long dead, as a later header says. */
Test(daemon_disk_restart, a_damaged_header_of_an_emptied_segment) {
    struct dice dice = dice_printed("restart emptied header");
    struct double_tier *tier = double_tier_open();
    struct double_batch *emptied = double_batch(tier, &dice, 2, 1, 1, 6, 3);
    struct double_batch *later = double_batch(tier, &dice, 3, 2, 1, 6, 3);
    later->wish.tail_epoch = 2;
    double_wish(tier, PAGER_DISK_WRITE, &later->wish);
    double_turn(tier);
    double_flip(tier, 2, 10, 1);
    struct told *told = start_again(tier);
    cr_assert_eq(told_of(told, later), 6);
    cr_assert_eq(told->n, 6);
    cr_assert(told->states[2] == PAGER_SEGMENT_CLEAN && told->epochs[2] == 1);
    free(told);
    free(emptied);
    free(later);
    double_tier_close(tier);
}

/* A header is damaged, and there is no memory to read the first head: that is done again until there is. When the drive fails it for good, deletions may stand
   there: the file is out of use. */
Test(daemon_disk_restart, the_first_head_of_a_segment_without_header_is_not_read) {
    struct dice dice = dice_printed("restart head unread");
    for (uint32_t lasting = 0; lasting < 2; lasting++) {
        struct double_tier *tier = double_tier_open();
        struct double_batch *batch = double_batch(tier, &dice, 0, 5, 1, 12, 4);
        double_turn(tier);
        double_flip(tier, 0, 10, 1);
        tier->io.bad_from = QUIRE_LOG_FIRST_SEGMENT + DOUBLE_UNIT;
        tier->io.bad_to = tier->io.bad_from + DOUBLE_UNIT;
        tier->io.error = lasting ? EIO : ENOMEM;
        struct told *told = start_again(tier);
        cr_assert(lasting ? told->n_unreadable == 1 : told->waited && told->progress.put_off == RESTART_TRIES + 1);
        cr_assert_eq(told->progress.deletions, lasting ? 0 : 3);
        free(told);
        free(batch);
        double_tier_close(tier);
    }
}

/* A whole header at a place of segment `segment`, whatever wrote it. */
static void write_header(struct double_tier *tier, uint32_t segment, uint64_t epoch) {
    struct quire_log_segment_header header = {.epoch = epoch, .segment = segment};
    uint8_t unit[DOUBLE_UNIT];
    memcpy(header.set_id, double_set_id, sizeof header.set_id);
    quire_log_segment_header_encode(&tier->env.set.geometry, &header, unit);
    cr_assert_eq(pwrite(tier->io.fds[segment / DOUBLE_SEGMENTS], unit, sizeof unit, (off_t)double_place(segment, 0)), DOUBLE_UNIT);
}

/* Segments are numbered on from the highest epoch. A header, right in every sum, that claims the highest number of all is none, or nothing could be written ever
   again. One that claims the highest that a life before this one could have given counts: above it there is room for a life's. */
Test(daemon_disk_restart, epochs_that_no_life_has_given) {
    struct dice dice = dice_printed("restart epochs");
    struct double_tier *tier = double_tier_open();
    const uint64_t end = (uint64_t)DOUBLE_GENERATION << QUIRE_LOG_EPOCH_BITS;
    struct double_batch *batch = double_batch(tier, &dice, 1, 5, 1, 12, 4);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, &batch, 1), QUIRE_OK);
    write_header(tier, 2, UINT64_MAX);
    write_header(tier, 3, end);
    write_header(tier, 4, end - 1);
    struct told *told = start_again(tier);
    cr_assert_eq(told_of(told, batch), 12);
    cr_assert(told->states[2] == PAGER_SEGMENT_CLEAN && told->epochs[2] == 0);
    cr_assert(told->states[3] == PAGER_SEGMENT_CLEAN && told->epochs[3] == 0);
    cr_assert(told->states[4] == PAGER_SEGMENT_SEALED && told->epochs[4] == end - 1);
    free(told);
    free(batch);
    double_tier_close(tier);
}

/* Reads fail now and then: they are tried again, each failure is counted, and everything is found. */
Test(daemon_disk_restart, reads_that_fail_once) {
    struct dice dice = dice_printed("restart retries");
    struct double_tier *tier = double_tier_open();
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 8, 2);
    struct double_batch *b = double_batch(tier, &dice, 8, 2, 1, 8, 0);
    double_turn(tier);
    cr_assert_eq(double_seal(tier, &b, 1), QUIRE_OK);
    tier->io.fail_reads = 2; /* header and trailer of segment 0 */
    struct told *told = start_again(tier);
    cr_assert_eq(told->n_failed, 2);
    cr_assert_eq(told->progress.unreadable, 2);
    cr_assert_eq(told->n_unreadable, 0);
    cr_assert_eq(told_of(told, a), 8);
    cr_assert_eq(told_of(told, b), 8);
    free(told);
    free(a);
    free(b);
    double_tier_close(tier);
}

/* What was written ends; two segments are sealed, and some bytes of segment 1, which stays open, cannot be read. */
static void seal_and_spoil(struct double_tier *tier, struct double_batch **a, struct double_batch **b, uint64_t from, uint64_t to) {
    uint64_t segment = (uint64_t)DOUBLE_SEGMENT_UNITS * DOUBLE_UNIT;
    double_turn(tier);
    cr_assert_eq(double_seal(tier, a, 1), QUIRE_OK);
    cr_assert_eq(double_seal(tier, b, 1), QUIRE_OK);
    tier->io.bad_from = QUIRE_LOG_FIRST_SEGMENT + segment + from;
    tier->io.bad_to = QUIRE_LOG_FIRST_SEGMENT + segment + to;
}

/* A header, or what follows it, can never be read. Deletions may stand there: no record of that file counts any more, and the file is out of use; of the other one all is found. */
static void never_read(uint64_t from, uint64_t to) {
    struct dice dice = dice_printed("restart unreadable");
    struct double_tier *tier = double_tier_open();
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 8, 0);
    struct double_batch *c = double_batch(tier, &dice, 1, 3, 1, 8, 3);
    struct double_batch *b = double_batch(tier, &dice, 8, 2, 1, 8, 0);
    seal_and_spoil(tier, &a, &b, from, to);
    struct told *told = start_again(tier);
    cr_assert_eq(told->n_unreadable, 1);
    cr_assert_geq(told->n_failed, RESTART_TRIES);
    cr_assert_eq(told_of(told, a), 0);
    cr_assert_eq(told_of(told, b), 8);
    free(told);
    free(a);
    free(b);
    free(c);
    double_tier_close(tier);
}
Test(daemon_disk_restart, a_header_is_never_read) { never_read(0, DOUBLE_UNIT); }
Test(daemon_disk_restart, a_head_is_never_read) { never_read(DOUBLE_UNIT, 2 * DOUBLE_UNIT); }

/* The system has no memory for some reads, again and again, for longer than a file that cannot be read is believed in. That says nothing about the file: its reads are done
   again, at a bounded rate, until there is memory; meanwhile it is told what is waited for, and what comes after that is served. Nothing is lost. */
static void short_of_memory(uint64_t from, uint64_t to, bool serving) {
    struct dice dice = dice_printed("restart memory");
    struct double_tier *tier = double_tier_open();
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 8, 0);
    struct double_batch *b = double_batch(tier, &dice, 8, 2, 1, 8, 0);
    struct double_batch *c = double_batch(tier, &dice, 1, 3, 1, 8, 3);
    seal_and_spoil(tier, &a, &b, from, to);
    tier->io.error = ENOMEM;
    uint64_t begun_ns = disk_now_ns();
    struct told *told = start_again(tier);
    cr_assert(told->waited && told->served_meanwhile == serving);
    cr_assert(told->progress.put_off == RESTART_TRIES + 1 && told->progress.waits_error[0] == 0 && told->progress.unreadable == 0);
    cr_assert_geq(disk_now_ns() - begun_ns, (1 + 2 + 4 + 8) * RESTART_PAUSE_NS, "each pause is twice as long");
    cr_assert(told->n_unreadable == 0 && told->n_failed == 0);
    cr_assert(told_of(told, a) == 8 && told_of(told, b) == 8 && told_of(told, c) == 8);
    free(told);
    free(a);
    free(b);
    free(c);
    double_tier_close(tier);
}
Test(daemon_disk_restart, no_memory_for_a_header) { short_of_memory(0, DOUBLE_UNIT, false); }
Test(daemon_disk_restart, no_memory_for_a_head) { short_of_memory(DOUBLE_UNIT, 2 * DOUBLE_UNIT, true); }

/* Nor is it a failure when the file hangs afterwards: what was put off is not waited for then. */
Test(daemon_disk_restart, a_file_that_hangs_while_it_rests) {
    struct dice dice = dice_printed("restart rest and hang");
    struct double_tier *tier = double_tier_open();
    struct double_batch *b = double_batch(tier, &dice, 8, 2, 1, 8, 0);
    double_turn(tier);
    tier->io.bad_from = QUIRE_LOG_FIRST_SEGMENT;
    tier->io.bad_to = UINT64_MAX;
    tier->io.error = EAGAIN;
    tier->hangs = true;
    struct told *told = start_again(tier);
    cr_assert(told->waited && told->progress.waits_error[0] == 0 && told->progress.unreadable == 0);
    cr_assert_eq(told_of(told, b), 8);
    free(told);
    free(b);
    double_tier_close(tier);
}

/* A file that is out of use is not read; one that was just made is clean. */
Test(daemon_disk_restart, files_out_of_use) {
    struct dice dice = dice_printed("restart out");
    struct double_tier *tier = double_tier_open();
    struct double_batch *a = double_batch(tier, &dice, 0, 1, 1, 8, 0);
    struct double_batch *b = double_batch(tier, &dice, 8, 2, 1, 8, 0);
    double_turn(tier);
    tier->env.set.out[1] = true;
    tier->env.set.fresh[0] = true;
    tier->io.n_reads = 0;
    struct told *told = start_again(tier);
    cr_assert_eq(tier->io.n_reads, 0);
    cr_assert_eq(told->n_states, DOUBLE_SEGMENTS);
    cr_assert_eq(told->n, 0);
    free(told);
    free(a);
    free(b);
    double_tier_close(tier);
}
