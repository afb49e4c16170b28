/* More is asked of a drive than it is given at once: what readers are told of it, what is read ahead of them, and who is served first. */
#include "tests/unit/pager_disk_rig.h"

enum { N = 600 };

/* N blocks, which are on drives that answer when the story lets them, and nowhere else. */
static struct rig *rig_away(uint32_t n_devices) {
    struct rig *rig = disk_rig_plain(64 << 20, n_devices, 64 / n_devices, 1024);
    disk_put(rig, 1, N);
    cr_assert_gt(disk_leave_memory(rig), 0);
    disk_of(rig)->held = true;
    return rig;
}

/* Readers come for blocks from this one on, until one's read is not begun any more. The first that nobody came for. */
static uint32_t fill_queue(struct rig *rig, uint32_t first) {
    uint32_t before;
    do {
        before = disk_of(rig)->n_waiting;
        cr_assert_leq(first, N);
        cr_assert_eq(disk_load_key(rig, first++), QUIRE_PENDING);
    } while (disk_of(rig)->n_waiting > before);
    return first;
}

/* A reader says that it will fetch blocks from this one on, and does not yet. */
static void announce(struct rig *rig, uint64_t session, uint32_t first, uint32_t n) {
    uint32_t keys[64] = {0};
    cr_assert_lt(n, QUIRE_ARRAY_LEN(keys));
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = first + i;
    }
    cr_assert_eq(rig_look(rig, session, QUIRE_WIRE_LEASE_FETCH, keys), n);
    rig_pump(rig);
}

/* The oldest read ends. */
static void answer_one(struct rig *rig) {
    struct rig_disk *disk = disk_of(rig);
    const struct pager_event oldest = disk->waiting[0];
    cr_assert_gt(disk->n_waiting, 0);
    memmove(disk->waiting, disk->waiting + 1, --disk->n_waiting * sizeof(disk->waiting[0]));
    disk_do(rig, &oldest);
    rig_pump(rig);
}

static bool is_being_read(const struct rig *rig, uint32_t number) {
    const struct rig_disk *disk = rig->disk;
    const quire_key key = rig_key(number);
    bool found = false;
    for (uint32_t i = 0; i < disk->n_waiting; i++) {
        found |= quire_key_equal(&disk->waiting[i].disk->key, &key);
    }
    return found;
}

/*
 * As many readers wait as the drive is given reads at once, and then as many again. The drive has no more to do than before, yet whoever asks then is told of
 * twice the wait: an engine that believed in half of it would wait longer than computing takes.
 */
Test(disk_queue, who_asks_is_told_of_all_that_wait) {
    struct rig *rig = rig_away(1);
    uint64_t idle_ns = disk_told_ns(rig, N);
    uint32_t next = fill_queue(rig, 1), n_given = disk_of(rig)->n_waiting;
    uint64_t given_ns = disk_told_ns(rig, N) - idle_ns;
    for (uint32_t i = 0; i < n_given; i++) {
        cr_assert_eq(disk_load_key(rig, next++), QUIRE_PENDING);
    }
    cr_assert_eq(disk_of(rig)->n_waiting, n_given, "the drive has no more than before");
    double times = (double)(disk_told_ns(rig, N) - idle_ns) / (double)given_ns;
    cr_assert_float_eq(times, 2, 0.1, "%g times the wait", times);
    while (disk_of(rig)->n_waiting > 0) {
        disk_let_go(rig);
    }
    disk_rig_free(rig);
}

/* Two readers announce two hundred blocks, twice: each time each drive reads so many of them ahead, where there is room for so many `records` in all. */
static void read_ahead(uint32_t n_devices, double records, uint32_t n_each) {
    struct rig *rig = rig_away(n_devices);
    struct rig_disk *disk = disk_of(rig);
    uint32_t on[2] = {0};
    uint64_t other;
    cr_assert_eq(pager_session_open(rig->pager, rig->domain, &other), QUIRE_OK);
    rig_each(rig, 1);
    disk->options.read_ahead_bytes = (uint64_t)(records * rig->grants[0].size);
    pager_disk_set_options(rig->pager, &disk->options);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 10; i++) {
            announce(rig, i % 2 ? other : rig->session, 1 + 300 * round + 20 * i, 20);
        }
        cr_assert_eq(disk->n_waiting, n_each * n_devices, "%u are read ahead", disk->n_waiting);
        memset(on, 0, sizeof(on));
        for (uint32_t i = 0; i < disk->n_waiting; i++) {
            on[disk->waiting[i].disk->device]++;
        }
        cr_assert(on[0] == n_each && on[1] == (n_devices > 1 ? n_each : 0));
        disk_let_go(rig);
    }
    cr_assert_eq(disk->n_waiting, 0, "nobody came since");
    pager_session_close(rig->pager, other, false);
    disk_rig_free(rig);
}

/*
 * No more is read ahead of all readers together than the configuration allows at a time, or it would drive from memory what others use: room for three and a half
 * records is three. When these are there, the next who come have as many read ahead of them.
 */
Test(disk_queue, no_more_is_read_ahead_than_is_allowed) { read_ahead(1, 3.5, 3); }
Test(disk_queue, each_drive_reads_its_share_ahead) { read_ahead(2, 7, 3); }
Test(disk_queue, nothing_is_read_ahead_where_that_is_so_configured) { read_ahead(1, 0, 0); }

/*
 * The drive is given as much as it takes. A reader says that it will fetch blocks; then another one comes and waits for its block. That is read first, though it
 * came later: nobody waits for what is read ahead. Which is read, too, when nobody waits any more.
 */
Test(disk_queue, those_who_wait_go_before_what_is_read_ahead) {
    enum { ANNOUNCED = 20 };
    struct rig *rig = rig_away(1);
    uint32_t ahead = fill_queue(rig, 1), wanted = ahead + ANNOUNCED;
    announce(rig, rig->session, ahead, ANNOUNCED);
    cr_assert_eq(disk_load_key(rig, wanted), QUIRE_PENDING);
    answer_one(rig);
    cr_assert(is_being_read(rig, ahead - 1), "the one that could not be begun before");
    answer_one(rig);
    cr_assert(is_being_read(rig, wanted));
    for (uint32_t i = 0; i < ANNOUNCED; i++) {
        cr_assert_not(is_being_read(rig, ahead + i), "number %u of what was announced", i);
    }
    while (disk_of(rig)->n_waiting > 0) {
        disk_let_go(rig);
    }
    for (uint32_t i = 0; i < ANNOUNCED; i++) {
        cr_assert_eq(rig_each(rig, ahead + i), 1);
        cr_assert_neq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    }
    disk_rig_free(rig);
}
