/* The pace of reads: after some hundred of them the next one's time is told well, whatever the device and however many are under way. */
#include "pager/log/pace.h"
#include "tests/unit/pager_random.h"

#include <criterion/criterion.h>

/* A device with a latency and a channel through which bytes pass one read after the other. */
struct device {
    double latency_ns, ns_per_byte, now_ns, free_ns;
};
struct read {
    double begun_ns, ends_ns;
    uint64_t estimate_ns, bytes;
};

static struct read begin(struct device *device, struct pager_pace *pace, uint64_t bytes) {
    uint64_t now_ns = (uint64_t)device->now_ns;
    struct read read = {.begun_ns = device->now_ns, .bytes = bytes, .estimate_ns = pager_pace_estimate_ns(pace, now_ns, 0, bytes)};
    double start = device->now_ns + device->latency_ns;
    device->free_ns = (start > device->free_ns ? start : device->free_ns) + (double)bytes * device->ns_per_byte;
    read.ends_ns = device->free_ns;
    pager_pace_begin(pace, now_ns, bytes);
    return read;
}

static uint64_t end(struct device *device, struct pager_pace *pace, const struct read *read) {
    device->now_ns = read->ends_ns;
    pager_pace_end(pace, (uint64_t)device->now_ns, read->bytes, (uint64_t)read->begun_ns, true);
    return (uint64_t)(read->ends_ns - read->begun_ns);
}

/* Keeps `depth` reads under way, n in all; of the last twenty, by how much the worst was told wrong. */
static double worst_of(struct device *device, struct pager_pace *pace, uint32_t depth, uint64_t bytes, uint32_t n) {
    struct read reads[16];
    double worst = 0;
    for (uint32_t i = 0; i < depth; i++) {
        reads[i] = begin(device, pace, bytes);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct read *read = &reads[i % depth];
        uint64_t taken_ns = end(device, pace, read);
        double off = ((double)read->estimate_ns - (double)taken_ns) / (double)taken_ns;
        off = off < 0 ? -off : off;
        if (i + 20 >= n && off > worst) {
            worst = off;
        }
        *read = begin(device, pace, bytes);
    }
    for (uint32_t i = 0; i < depth; i++) {
        end(device, pace, &reads[(n + i) % depth]);
    }
    cr_assert(pace->queued == 0 && pace->queued_bytes == 0);
    return worst;
}

/* A thousand reads on drives from a disk that turns to the fastest, small and large reads, one and sixteen at a time. */
Test(pace, learns_the_device) {
    const double latencies_ns[] = {15e3, 80e3, 100e3, 400e3, 5e6}, paces[] = {0.1, 0.3, 1, 5, 10};
    const uint64_t sizes[] = {4096, 65536, 2 << 20};
    const uint32_t depths[] = {1, 16};
    for (uint32_t c = 0; c < 5 * 5 * 3 * 2; c++) {
        struct device device = {.latency_ns = latencies_ns[c % 5], .ns_per_byte = paces[c / 5 % 5]};
        uint64_t bytes = sizes[c / 25 % 3];
        uint32_t depth = depths[c / 75];
        struct pager_pace pace;
        pager_pace_init(&pace);
        double worst = worst_of(&device, &pace, depth, bytes, 1000);
        cr_assert_lt(worst, 0.2, "latency %g ns, %g ns a byte, %lu bytes, depth %u: off by %g", device.latency_ns, device.ns_per_byte,
                     (unsigned long)bytes, depth, worst);
    }
}

/* ---- fetches -------------------------------------------------------------------------------------------------------------- */
#define BLOCK_BYTES 102400u
#define MOST 250u

/* Serves so many reads at once, each after a latency; then their bytes pass through one channel. */
struct drive {
    double latency_ns, ns_per_byte;
    uint32_t depth;
    double now_ns;
};

/* Fetches n blocks at once from the idle drive: how many times as long as was told for the last one, or the other way round. */
static double fetch(struct drive *drive, struct pager_pace *pace, uint32_t n) {
    double ends_ns[MOST], free_ns = 0;
    uint64_t begun_ns = (uint64_t)drive->now_ns;
    double told_ns = (double)pager_pace_estimate_ns(pace, begun_ns, (uint64_t)(n - 1) * BLOCK_BYTES, BLOCK_BYTES);
    for (uint32_t i = 0; i < n; i++) {
        double served_ns = (i < drive->depth ? drive->now_ns : ends_ns[i - drive->depth]) + drive->latency_ns;
        free_ns = (served_ns > free_ns ? served_ns : free_ns) + BLOCK_BYTES * drive->ns_per_byte;
        ends_ns[i] = free_ns;
        pager_pace_begin(pace, begun_ns, BLOCK_BYTES);
    }
    for (uint32_t i = 0; i < n; i++) {
        pager_pace_end(pace, (uint64_t)ends_ns[i], BLOCK_BYTES, begun_ns, true);
    }
    double taken_ns = ends_ns[n - 1] - drive->now_ns;
    drive->now_ns = ends_ns[n - 1] + 1e6;
    return told_ns > taken_ns ? told_ns / taken_ns : taken_ns / told_ns;
}

/*
 * A worker fetches prefixes of 4 and of 250 blocks, some of the one and then some of the other, from a drive that is all latency, one that is all bandwidth, and one
 * that has some of both. What small fetches take says nothing of the bandwidth, and large ones nothing of the latency: once each was seen a few times, whatever
 * comes next is told to within a factor of one and a half.
 */
Test(pace, fetches_of_both_sizes) {
    static const struct drive drives[] = {
        {.latency_ns = 10e6, .ns_per_byte = 0, .depth = 16},
        {.latency_ns = 20e3, .ns_per_byte = 2, .depth = MOST},
        {.latency_ns = 10e6, .ns_per_byte = 2.5, .depth = MOST},
    };
    static const uint32_t turns[] = {250, 4, 4, 4, 4, 250, 4, 100, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 250, 250, 250, 250, 4};
    for (uint32_t d = 0; d < QUIRE_ARRAY_LEN(drives); d++) {
        struct drive drive = drives[d];
        struct pager_pace pace;
        pager_pace_init(&pace);
        for (uint32_t i = 0; i < 24; i++) {
            fetch(&drive, &pace, i / 12 == 0 ? 250 : 4);
        }
        for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(turns); i++) {
            double factor = fetch(&drive, &pace, turns[i]);
            cr_assert_leq(factor, 1.5, "drive %u, turn %u: %u blocks, told wrong by a factor of %.2f", d, i, turns[i], factor);
        }
    }
}

/*
 * A drive that serves sixteen at once, and no more: once it has shown that, fetches of about as many, which take what one does or twice that, are told
 * neither twice as long nor half.
 */
Test(pace, about_as_many_as_are_served_at_once) {
    static const uint32_t turns[] = {250, 16, 250, 12, 250, 8, 250, 20, 250, 32, 16, 16, 17, 24, 16, 40, 8, 250, 16};
    struct drive drive = {.latency_ns = 10e6, .ns_per_byte = 0, .depth = 16};
    struct pager_pace pace;
    pager_pace_init(&pace);
    for (uint32_t i = 0; i < 24; i++) {
        fetch(&drive, &pace, i % 2 == 0 ? 250 : 4);
    }
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(turns); i++) {
        double factor = fetch(&drive, &pace, turns[i]);
        cr_assert_leq(factor, 1.6, "turn %u: %u blocks, told wrong by a factor of %.2f", i, turns[i], factor);
    }
}

/* A drive so fast that all of a fetch comes at once: nothing was seen to wait, and so much in so short a time shows what it can do all the same. */
Test(pace, all_comes_at_once) {
    struct drive drive = {.latency_ns = 1e6, .ns_per_byte = 0.01, .depth = MOST};
    struct pager_pace pace;
    double factor = 0;
    pager_pace_init(&pace);
    for (uint32_t i = 0; i < 20; i++) {
        factor = fetch(&drive, &pace, 250);
    }
    cr_assert_leq(factor, 1.5, "told wrong by a factor of %.2f", factor);
}

/* A worker that reads block by block, two at a time, does not ask for what the drive could give: a large fetch after it is told as well as before. */
Test(pace, two_at_a_time_say_nothing_of_many) {
    struct drive drive = {.latency_ns = 10e6, .ns_per_byte = 2.5, .depth = MOST};
    struct pager_pace pace;
    pager_pace_init(&pace);
    for (uint32_t i = 0; i < 24; i++) {
        fetch(&drive, &pace, i / 12 == 0 ? 250 : 4);
    }
    double now_ns = drive.now_ns, each_ns = drive.latency_ns + BLOCK_BYTES * drive.ns_per_byte;
    pager_pace_begin(&pace, (uint64_t)now_ns, BLOCK_BYTES);
    for (uint32_t i = 0; i < 1000; i++, now_ns += each_ns / 2) {
        pager_pace_begin(&pace, (uint64_t)(now_ns + each_ns / 2), BLOCK_BYTES);
        pager_pace_end(&pace, (uint64_t)(now_ns + each_ns), BLOCK_BYTES, (uint64_t)now_ns, true);
    }
    pager_pace_end(&pace, (uint64_t)(now_ns + each_ns), BLOCK_BYTES, (uint64_t)now_ns, true);
    drive.now_ns = now_ns + 2 * each_ns;
    double factor = fetch(&drive, &pace, 250);
    cr_assert_leq(factor, 1.5, "told wrong by a factor of %.2f", factor);
}

/* ---- what is odd ---------------------------------------------------------------------------------------------------------- */
static void lone(struct pager_pace *pace, uint64_t *now_ns, uint64_t bytes, uint64_t taken_ns, bool ok) {
    pager_pace_begin(pace, *now_ns, bytes);
    *now_ns += taken_ns;
    pager_pace_end(pace, *now_ns, bytes, *now_ns - taken_ns, ok);
}

/* Small and large reads mixed, some of them far slower than the others: estimates keep their feet. */
Test(pace, outliers) {
    struct dice dice = dice_printed("pace");
    struct pager_pace pace;
    double sum = 0;
    uint64_t now_ns = 0;
    pager_pace_init(&pace);
    for (uint32_t i = 0; i < 4000; i++) {
        uint64_t bytes = dice_below(&dice, 2) ? 4096 : 2 << 20;
        double taken = 80e3 + (double)bytes * 0.2;
        double off = ((double)pager_pace_estimate_ns(&pace, now_ns, 0, bytes) - taken) / taken;
        sum += i >= 1000 ? (off < 0 ? -off : off) : 0;
        lone(&pace, &now_ns, bytes, dice_below(&dice, 100) == 0 ? 30ull * QUIRE_NS_PER_S : (uint64_t)taken, true);
    }
    cr_assert_lt(sum / 3000, 0.25, "on average off by %g", sum / 3000);
}

/* What is queued, and what is to be asked for before it, adds to what a read will take; what failed teaches nothing. */
Test(pace, queued) {
    struct pager_pace pace;
    pager_pace_init(&pace);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 0, 0, 1000000), 1100000);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 0, 500000, 1000000), 1600000);
    pager_pace_begin(&pace, 0, 1000000);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 0, 0, 1000000), 2100000);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 500000, 0, 1000000), 1600000);
    pager_pace_begin(&pace, 0, 500000);
    cr_assert(pace.queued == 2 && pace.queued_bytes == 1500000);
    pager_pace_end(&pace, 77, 1000000, 0, false);
    pager_pace_end(&pace, 99, 500000, 0, false);
    cr_assert(pace.queued == 0 && pace.queued_bytes == 0);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 99, 0, 1000000), 1100000);
    /* Times and sizes at the ends of their range, too. */
    pager_pace_begin(&pace, 99, UINT64_MAX / 2);
    pager_pace_begin(&pace, 99, 0);
    pager_pace_end(&pace, UINT64_MAX / 2, UINT64_MAX / 2, 99, true);
    pager_pace_end(&pace, UINT64_MAX / 2, 0, 99, true);
    cr_assert(pace.latency_ns > 0 && pace.ns_per_byte >= 0 && pace.shared_ns_per_byte > 0);
    cr_assert_gt(pager_pace_estimate_ns(&pace, UINT64_MAX / 2, UINT64_MAX / 2, UINT64_MAX / 2), 0);
}

/* A drive is suddenly a hundred times slower, as a shared one may be, and then itself again: that is known after five reads each time. */
Test(pace, what_changes_suddenly_is_soon_known) {
    struct pager_pace pace;
    uint64_t now_ns = 0;
    pager_pace_init(&pace);
    for (uint32_t round = 0; round < 6; round++) {
        uint64_t taken_ns = round % 2 == 0 ? 100000 : 10000000;
        for (uint32_t i = 0; i < 5; i++) {
            lone(&pace, &now_ns, 4096, taken_ns, true);
        }
        double told = (double)pager_pace_estimate_ns(&pace, now_ns, 0, 4096) / (double)taken_ns;
        cr_assert(told > 2.0 / 3 && told < 1.5, "round %u: told %.2f times what it takes", round, told);
    }
}

/* One read may move what is believed by no more than a quarter of a factor of eight. */
Test(pace, one_read_is_one_read) {
    struct pager_pace pace;
    uint64_t now_ns = 0;
    pager_pace_init(&pace);
    lone(&pace, &now_ns, 0, 3600 * QUIRE_NS_PER_S, true);
    cr_assert_float_eq(pace.latency_ns, 100000 * (1 + 7.0 / 4), 1);
    pager_pace_init(&pace);
    lone(&pace, &now_ns, 0, 0, true);
    cr_assert_float_eq(pace.latency_ns, 100000 * (1 - 7.0 / 8 / 4), 1);
}

/*
 * Sixteen workers wait for a drive that does not answer. Whoever asks then what a fetch takes is told no less than what the drive is late by, and behind that what
 * they wait for: who decides by it computes anew. What is only a little late is no such drive. When it answers again, that is what it takes no more.
 */
Test(pace, a_drive_that_does_not_answer) {
    enum { BYTES = 256 << 10, N = 16 };
    struct pager_pace pace;
    uint64_t now_ns = QUIRE_NS_PER_S, begun_ns = now_ns;
    pager_pace_init(&pace);
    uint64_t idle_ns = pager_pace_estimate_ns(&pace, now_ns, 0, BYTES);
    for (uint32_t i = 0; i < N; i++) {
        pager_pace_begin(&pace, now_ns, BYTES);
    }
    uint64_t queued_ns = pager_pace_estimate_ns(&pace, now_ns, 0, BYTES);
    cr_assert_gt(queued_ns, 10 * idle_ns);
    cr_assert_lt(pager_pace_estimate_ns(&pace, begun_ns + queued_ns, 0, BYTES), 3 * idle_ns, "as late as one of them takes");
    for (uint32_t s = 1; s <= 30; s++) {
        now_ns = begun_ns + s * QUIRE_NS_PER_S;
        uint64_t late_ns = s * QUIRE_NS_PER_S - queued_ns;
        cr_assert_gt(pager_pace_estimate_ns(&pace, now_ns, 0, BYTES), late_ns + queued_ns - idle_ns, "%u s", s);
        cr_assert_lt(pager_pace_estimate_ns(&pace, now_ns, 0, BYTES), 2 * s * QUIRE_NS_PER_S, "%u s", s);
    }
    for (uint32_t i = 0; i < N; i++) {
        pager_pace_end(&pace, now_ns, BYTES, begun_ns, false);
    }
    cr_assert_eq(pager_pace_estimate_ns(&pace, now_ns, 0, BYTES), idle_ns);
}
