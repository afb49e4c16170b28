/* A drive that hangs: it neither does what it is asked for nor fails. The others go on, and what it may still touch is left alone. */
#include "tests/unit/pager_disk_rig.h"

static struct rig *two_devices(uint64_t pool_bytes) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig_starting(pool_bytes, &layout, 2, 16, 512);
    disk_of(rig)->options.batch_bytes = 16384; /* a block in each */
    disk_of(rig)->options.write_delay_ms = 1;
    pager_disk_set_options(rig->pager, &disk_of(rig)->options);
    disk_start_ends(rig);
    return rig;
}

static void store(struct rig *rig, uint32_t first, uint32_t n) {
    for (uint32_t k = first; k < first + n; k++) {
        cr_assert_eq(rig_put(rig, k, 0), QUIRE_OK);
        rig_pass(rig, 5);
    }
    disk_settle(rig);
}

/* The device on which a block lies; 2: on none. */
static uint32_t device_of(const struct rig *rig, uint32_t key) {
    const struct rig_disk *disk = rig->disk;
    quire_key wanted = rig_key(key);
    for (uint32_t s = 0; s < 32; s++) {
        for (uint32_t i = 0; i < disk->segments[s].n; i++) {
            if (quire_key_equal(&disk->segments[s].entries[i].key, &wanted)) {
                return s / 16;
            }
        }
    }
    return 2;
}

static uint32_t first_on(const struct rig *rig, uint32_t device) {
    uint32_t key = 1;
    while (device_of(rig, key) != device) {
        key++;
    }
    return key;
}

static void empty_memory(struct rig *rig) {
    disk_settle(rig);
    disk_leave_memory(rig);
}

/* One of two drives takes no write any more. What is stored goes to the other one, all of it but the few batches that the first had been given. */
Test(disk_hang, writes_go_on_elsewhere) {
    struct rig *rig = two_devices(4 << 20);
    store(rig, 1, 4);
    disk_of(rig)->hanging = 1u << 1;
    store(rig, 5, 100);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    uint32_t there = 0;
    for (uint32_t k = 5; k < 105; k++) {
        there += device_of(rig, k) == 0;
    }
    cr_assert_geq(there, 90, "%u of 100 are on the drive that works", there);
    disk_rig_free(rig);
}

/* The same where one write at once is asked for: that is one a drive, or the one that hangs would have it, and nothing were written any more. */
Test(disk_hang, one_write_at_once_is_one_a_drive) {
    struct rig *rig = two_devices(4 << 20);
    disk_of(rig)->options.writes_in_flight = 1;
    pager_disk_set_options(rig->pager, &disk_of(rig)->options);
    disk_of(rig)->hanging = 1u << 1;
    store(rig, 1, 100);
    cr_assert_eq(disk_stats(rig).dirty_records, 0);
    uint32_t there = 0;
    for (uint32_t k = 1; k < 101; k++) {
        there += device_of(rig, k) == 0;
    }
    cr_assert_eq(there, 99, "%u of 100 are on the drive that works", there);
    disk_rig_free(rig);
}

/*
 * One drive hangs, and may answer yet; the other is full. Memory does not wait until somebody gives the first one up: as with a single drive that is full, what finds no
 * room goes as if it had never been meant for a disk.
 */
Test(disk_hang, memory_does_not_wait_while_the_others_rest) {
    struct rig *rig = two_devices(512 << 10);
    rig->options.reclaim_low_pct = 3;
    rig->options.reclaim_high_pct = 5;
    pager_set_options(rig->pager, &rig->options);
    store(rig, 1, 4);
    disk_of(rig)->hanging = 1u << 1;
    disk_of(rig)->full = 1u << 0;
    for (uint32_t k = 5; k < 205; k++) {
        enum quire_status status = rig_put(rig, k, 0);
        for (uint32_t again = 0; status != QUIRE_OK && again < 200; again++) { /* a put that does not wait comes again, as it is told */
            rig_pass(rig, 100);
            status = rig_put(rig, k, 0);
        }
        cr_assert_eq(status, QUIRE_OK, "block %u: %d", k, status);
        cr_assert_eq(rig_why(rig, k), QUIRE_MISS_NONE);
    }
    cr_assert_lt(disk_of(rig)->n_waiting, 20, "the drive that hangs is given no more");
    disk_of(rig)->hanging = disk_of(rig)->full = 0;
    disk_let_go(rig);
    disk_settle(rig);
    cr_assert_eq(disk_stats(rig).dirty_records, 0, "what is in memory is written when they are back");
    disk_rig_free(rig);
}

/* Hundreds of readers wait for a drive that does not answer. Whoever wants something from the other one has it at once. */
Test(disk_hang, reads_go_on_elsewhere) {
    struct rig *rig = two_devices(8 << 20);
    store(rig, 1, 600);
    uint32_t healthy = first_on(rig, 0), waiting = 0;
    empty_memory(rig);
    disk_of(rig)->hanging = 1u << 1;
    for (uint32_t k = 1; k <= 600; k++) {
        if (device_of(rig, k) == 1) {
            cr_assert_eq(disk_load_key(rig, k), QUIRE_PENDING);
            waiting++;
        }
    }
    cr_assert_gt(waiting, 256);
    cr_assert_eq(disk_load_key(rig, healthy), QUIRE_OK);
    disk_rig_free(rig);
}

/* The same with what is read ahead: readers of the one drive do not use up what those of the other may have read ahead. */
Test(disk_hang, reading_ahead_goes_on_elsewhere) {
    struct rig *rig = two_devices(8 << 20);
    store(rig, 1, 100);
    uint32_t healthy = first_on(rig, 0);
    empty_memory(rig);
    disk_of(rig)->options.read_ahead_bytes = 40000;
    pager_disk_set_options(rig->pager, &disk_of(rig)->options);
    disk_of(rig)->hanging = 1u << 1;
    for (uint32_t k = 1; k <= 100; k++) {
        if (device_of(rig, k) == 1) {
            cr_assert_eq(rig_look(rig, rig->session, QUIRE_WIRE_LEASE_FETCH, (uint32_t[]){k, 0}), 1);
        }
    }
    cr_assert_eq(rig_look(rig, rig->session, QUIRE_WIRE_LEASE_FETCH, (uint32_t[]){healthy, 0}), 1);
    rig_pump(rig);
    cr_assert_eq(rig_look(rig, rig->session, 0, (uint32_t[]){healthy, 0}), 1);
    cr_assert_neq(rig->grants[0].offset, QUIRE_WIRE_AWAY, "it is there before anybody asks for its bytes");
    disk_rig_free(rig);
}

static bool overlaps(const struct quire_wire_grant *grant, const struct pager_event *waiting, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t p = 0; p < waiting[i].disk->n_pieces; p++) {
            const struct pager_disk_piece *piece = &waiting[i].disk->pieces[p];
            if (grant->offset < piece->offset + piece->size_bytes && piece->offset < grant->offset + grant->size) {
                return true;
            }
        }
    }
    return false;
}

/*
 * The drive is given up. Whoever waited for it is told at once; but its read may still land, and its writes may still fetch bytes: until the system is done
 * with them nobody else is given those places, however short of room the pool is. Then they are ordinary room again.
 */
Test(disk_hang, what_it_may_touch_is_left_alone) {
    struct rig *rig = two_devices(66 << 10);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 4);
    uint32_t far = first_on(rig, 1);
    empty_memory(rig);
    disk->hanging = 1u << 1;
    cr_assert_eq(disk_load_key(rig, far), QUIRE_PENDING);
    rig_release(rig, rig->reply.lease);
    for (uint32_t k = 11; k <= 14; k++) {
        cr_assert_eq(rig_put(rig, k, 0), QUIRE_OK);
        rig_pass(rig, 5);
    }
    cr_assert_geq(disk->n_waiting, 2, "a read and a write hang");
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    rig_pump(rig);
    cr_assert_neq(rig_why(rig, far), QUIRE_MISS_NONE, "what is only there is a miss");
    for (uint32_t k = 21; k <= 60; k++) { /* others use all of the rest, over and over */
        if (rig_put(rig, k, 0) == QUIRE_OK && rig_look(rig, rig->session, 0, (uint32_t[]){k, 0}) == 1) {
            if (rig->grants[0].offset != QUIRE_WIRE_AWAY) {
                cr_assert(!overlaps(&rig->grants[0], disk->waiting, disk->n_waiting), "block %u lies where the drive may still write", k);
            }
            rig_release(rig, rig->reply.lease);
        }
        rig_pass(rig, 50);
    }
    disk_let_go(rig);
    disk_settle(rig);
    empty_memory(rig);
    cr_assert_eq(rig_stats(rig).used_bytes, 0, "all is room again");
    disk_rig_free(rig);
}

/* A load waits for the drive when it is given up: the reader has a miss then, and computes. */
Test(disk_hang, who_waits_is_told) {
    struct rig *rig = two_devices(1 << 20);
    struct quire_wire_grant grant;
    uint8_t status = QUIRE_PENDING;
    store(rig, 1, 4);
    uint32_t far = first_on(rig, 1);
    empty_memory(rig);
    disk_of(rig)->hanging = 1u << 1;
    cr_assert_eq(disk_load_key(rig, far), QUIRE_PENDING);
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    rig_pump(rig);
    cr_assert_neq(disk_of(rig)->load_ticket, 0, "the load has ended");
    cr_assert_eq(pager_load_result(rig->pager, disk_of(rig)->load_ticket, &grant, &status, 1), QUIRE_OK);
    cr_assert_eq(status, QUIRE_MISS);
    cr_assert_eq(rig_put(rig, far, 0), QUIRE_OK, "computed anew, it is stored anew");
    disk_let_go(rig); /* an answer after all: too late, and harmless */
    cr_assert_eq(rig_look(rig, rig->session, 0, (uint32_t[]){far, 0}), 1);
    disk_rig_free(rig);
}

/* A deletion waits for every drive's word; for that of a drive that is given up no more. And what it was to write goes to the other one. */
Test(disk_hang, a_deletion_and_a_flush_do_not_wait_for_ever) {
    struct rig *rig = two_devices(1 << 20);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 4);
    disk->hanging = 1u << 1;
    store(rig, 5, 4);
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, 1), QUIRE_OK);
    cr_assert_eq(pager_durable(rig->pager, rig->now_ns, 9), QUIRE_PENDING);
    disk_settle(rig);
    cr_assert_eq(disk->durable_cookie, 0, "the drive may answer yet");
    pager_disk_flush(rig->pager, rig->now_ns);
    disk_settle(rig);
    cr_assert(!disk->flushed);
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    disk_settle(rig);
    cr_assert_eq(disk->durable_cookie, 9);
    cr_assert_eq(disk->durable_status, QUIRE_OK);
    cr_assert(disk->flushed);
    for (uint32_t k = 5; k <= 8; k++) {
        cr_assert_eq(device_of(rig, k), 0, "block %u is on the drive that is left", k);
    }
    disk_let_go(rig);
    disk_rig_free(rig);
}

/* Likewise a stop that finds only a footer left to write: the drive hangs in it and is given up, and the stop ends. */
Test(disk_hang, a_flush_does_not_wait_for_a_lost_footer) {
    struct rig *rig = two_devices(1 << 20);
    struct rig_disk *disk = disk_of(rig);
    store(rig, 1, 4);
    cr_assert(first_on(rig, 1) <= 4, "both drives have something to seal");
    disk->hanging = 1u << 1;
    pager_disk_flush(rig->pager, rig->now_ns);
    disk_settle(rig);
    cr_assert(!disk->flushed, "the drive may answer yet");
    pager_disk_device_lost(rig->pager, rig->now_ns, 1);
    disk_settle(rig);
    cr_assert(disk->flushed);
    disk_let_go(rig); /* an answer after all */
    disk_rig_free(rig);
}
