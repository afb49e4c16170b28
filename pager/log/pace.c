#include "pager/log/pace.h"

/* How much a sample counts, and how far off it may be. */
#define WEIGHT (1.0 / 16)
#define FARTHEST 8.0

static double clamp(double value, double low, double high) { return value < low ? low : value > high ? high : value; }

void pager_pace_init(struct pager_pace *pace) { *pace = (struct pager_pace){.latency_ns = 100000, .ns_per_byte = 1}; }

static uint64_t estimate(const struct pager_pace *pace, double bytes) {
    return (uint64_t)clamp(pace->latency_ns + bytes * pace->ns_per_byte, 1, 0x1p62);
}

uint64_t pager_pace_estimate_ns(const struct pager_pace *pace, uint64_t bytes) {
    return estimate(pace, (double)pace->queued_bytes + (double)bytes);
}

/* Where a read that was told this estimate left what it was told for. */
static uint32_t slot_of(uint64_t estimate_ns) { return (uint32_t)((estimate_ns * 0x9e3779b97f4a7c15ull) >> 32) % PAGER_PACE_TOLD; }

uint64_t pager_pace_begin(struct pager_pace *pace, uint64_t bytes) {
    uint64_t estimate_ns = pager_pace_estimate_ns(pace, bytes);
    pace->queued_bytes += bytes;
    pace->queued++;
    pace->told[slot_of(estimate_ns)] = (struct pager_pace_told){.estimate_ns = estimate_ns, .bytes = pace->queued_bytes};
    return estimate_ns;
}

static void approach(double *value, double sample) { *value += (clamp(sample, *value / FARTHEST, *value * FARTHEST) - *value) * WEIGHT; }

/* What was waited for most is what is learned of. */
static void learn(struct pager_pace *pace, double bytes, double taken_ns) {
    if (pace->latency_ns > bytes * pace->ns_per_byte) {
        approach(&pace->latency_ns, taken_ns - bytes * pace->ns_per_byte);
    } else {
        approach(&pace->ns_per_byte, (taken_ns - pace->latency_ns) / bytes);
    }
}

void pager_pace_end(struct pager_pace *pace, uint64_t bytes, uint64_t estimate_ns, uint64_t taken_ns, bool ok) {
    assert(pace->queued > 0 && pace->queued_bytes >= bytes);
    pace->queued_bytes -= bytes;
    pace->queued--;
    if (!ok) {
        return;
    }
    const struct pager_pace_told *told = &pace->told[slot_of(estimate_ns)];
    double taken = (double)quire_max_u64(taken_ns, 1);
    pace->measured++;
    if (told->estimate_ns == estimate_ns && told->bytes > 0) {
        learn(pace, (double)told->bytes, taken);
    }
    double off = (double)estimate_ns > taken ? (double)estimate_ns - taken : taken - (double)estimate_ns;
    double error = off / taken < FARTHEST ? off / taken : FARTHEST;
    pace->relative_error += (error - pace->relative_error) / (double)quire_min_u64(pace->measured, 16);
}
