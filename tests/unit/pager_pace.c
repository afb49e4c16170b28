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
    struct read read = {.begun_ns = device->now_ns, .bytes = bytes, .estimate_ns = pager_pace_begin(pace, bytes)};
    double start = device->now_ns + device->latency_ns;
    device->free_ns = (start > device->free_ns ? start : device->free_ns) + (double)bytes * device->ns_per_byte;
    read.ends_ns = device->free_ns;
    return read;
}

static uint64_t end(struct device *device, struct pager_pace *pace, const struct read *read) {
    uint64_t taken_ns = (uint64_t)(read->ends_ns - read->begun_ns);
    device->now_ns = read->ends_ns;
    pager_pace_end(pace, read->bytes, read->estimate_ns, taken_ns, true);
    return taken_ns;
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

/* Two hundred reads on drives from a disk that turns to the fastest, small and large reads, one and sixteen at a time. */
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
        double worst = worst_of(&device, &pace, depth, bytes, 200);
        cr_assert_lt(worst, 0.2, "latency %g ns, %g ns a byte, %lu bytes, depth %u: off by %g", device.latency_ns, device.ns_per_byte,
                     (unsigned long)bytes, depth, worst);
        cr_assert(pace.measured == 200 + depth && pace.relative_error < 0.2);
    }
}

/* Small and large reads mixed, some of them far slower than the others: estimates keep their feet, and their error is told. */
Test(pace, outliers) {
    struct dice dice = dice_printed("pace");
    struct pager_pace pace;
    double sum = 0;
    pager_pace_init(&pace);
    for (uint32_t i = 0; i < 4000; i++) {
        uint64_t bytes = dice_below(&dice, 2) ? 4096 : 2 << 20;
        double taken = 80e3 + (double)bytes * 0.2;
        uint64_t estimate_ns = pager_pace_begin(&pace, bytes);
        double off = ((double)estimate_ns - taken) / taken;
        sum += i >= 1000 ? (off < 0 ? -off : off) : 0;
        pager_pace_end(&pace, bytes, estimate_ns, dice_below(&dice, 100) == 0 ? 30ull * QUIRE_NS_PER_S : (uint64_t)taken, true);
    }
    cr_assert_lt(sum / 3000, 0.25, "on average off by %g", sum / 3000);
    cr_assert_leq(pace.relative_error, 8);
}

/* What is queued adds to what a read will take; what failed teaches nothing. */
Test(pace, queued) {
    struct pager_pace pace;
    pager_pace_init(&pace);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 1000000), 1100000);
    uint64_t first = pager_pace_begin(&pace, 1000000);
    cr_assert_eq(first, 1100000);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 1000000), 2100000);
    uint64_t second = pager_pace_begin(&pace, 500000);
    cr_assert_eq(second, 1600000);
    cr_assert(pace.queued == 2 && pace.queued_bytes == 1500000);
    pager_pace_end(&pace, 1000000, first, 77, false);
    pager_pace_end(&pace, 500000, second, 0, false);
    cr_assert(pace.queued == 0 && pace.queued_bytes == 0 && pace.measured == 0 && pace.relative_error == 0);
    cr_assert_eq(pager_pace_estimate_ns(&pace, 1000000), 1100000);
    /* Times and sizes at the ends of their range, too. */
    uint64_t huge = pager_pace_begin(&pace, UINT64_MAX / 2), none = pager_pace_begin(&pace, 0);
    pager_pace_end(&pace, UINT64_MAX / 2, huge, UINT64_MAX, true);
    pager_pace_end(&pace, 0, none, 0, true);
    cr_assert(pace.latency_ns > 0 && pace.ns_per_byte > 0);
}

/* One read may move what is believed by no more than a sixteenth of a factor of eight. */
Test(pace, one_read_is_one_read) {
    struct pager_pace pace;
    pager_pace_init(&pace);
    pager_pace_end(&pace, 4096, pager_pace_begin(&pace, 4096), 3600 * QUIRE_NS_PER_S, true);
    cr_assert_float_eq(pace.latency_ns, 100000 * (1 + 7.0 / 16), 1);
    pager_pace_init(&pace);
    pager_pace_end(&pace, 4096, pager_pace_begin(&pace, 4096), 0, true);
    cr_assert_float_eq(pace.latency_ns, 100000 * (1 - 7.0 / 8 / 16), 1);
}
