#include "pager/log/pace.h"

/* How much a sample counts, and how far off it may be. */
#define WEIGHT (1.0 / 4)
#define FARTHEST 8.0
/* Beside so many others the first to arrive says half as much of what one takes by itself. */
#define COMPANY 64.0
/* What latency and bytes are weighed by against each other: a read of this size says as much of the one as of the other. */
#define EVEN_BYTES 65536.0
/* Completions are measured for so many times what one read takes. */
#define SPAN 4.0
/* One that took longer than this, compared with one by itself, waited for others. */
#define WAITED 1.5

static double clamp(double value, double low, double high) { return value < low ? low : value > high ? high : value; }

void pager_pace_init(struct pager_pace *pace) {
    *pace = (struct pager_pace){.latency_ns = 100000, .ns_per_byte = 1, .shared_ns_per_byte = 1};
}

static double alone_ns(const struct pager_pace *pace, double bytes) { return pace->latency_ns + bytes * pace->ns_per_byte; }

/* Of that its bytes' time, as it is when others go before them; the rest may pass meanwhile. */
static double own_ns(const struct pager_pace *pace, double bytes) {
    double own = bytes * pace->shared_ns_per_byte, alone = alone_ns(pace, bytes);
    return own < alone ? own : alone;
}

uint64_t pager_pace_estimate_ns(const struct pager_pace *pace, uint64_t now_ns, uint64_t ahead_bytes, uint64_t bytes) {
    double own = own_ns(pace, (double)bytes), lead = alone_ns(pace, (double)bytes) - own;
    if (pace->queued > 0) {
        double served = (double)(int64_t)(pace->anchor_ns - now_ns) + (double)pace->queued_bytes * pace->shared_ns_per_byte;
        lead = served > lead ? served : lead;
    }
    return (uint64_t)clamp(lead + (double)ahead_bytes * pace->shared_ns_per_byte + own, 1, 0x1p62);
}

void pager_pace_begin(struct pager_pace *pace, uint64_t now_ns, uint64_t bytes) {
    if (pace->queued == 0) {
        pace->busy_ns = now_ns;
        pace->anchor_ns = now_ns + (uint64_t)clamp(alone_ns(pace, (double)bytes) - own_ns(pace, (double)bytes), 0, 0x1p62);
        pace->completed = false;
        pace->span_ns = 0;
    }
    pace->queued_bytes += bytes;
    pace->queued++;
}

/* ---- learning ------------------------------------------------------------------------------------------------------------- */
/* What it was off by is the latency's and the bytes' in proportion, so that reads of several sizes tell the two apart. */
static void learn_alone(struct pager_pace *pace, double bytes, double taken_ns, double weight) {
    double expected = alone_ns(pace, bytes), share = bytes / EVEN_BYTES;
    double step = weight * (clamp(taken_ns, expected / FARTHEST, expected * FARTHEST) - expected) / (1 + share * share);
    pace->latency_ns = clamp(pace->latency_ns + step, 1, 0x1p62);
    pace->ns_per_byte = clamp(pace->ns_per_byte + step * share / EVEN_BYTES, 0, 0x1p62);
}

/* The first after the device was idle; and whichever took less than one by itself, which others cannot have sped up. */
static void note_alone(struct pager_pace *pace, uint64_t now_ns, double bytes, double taken_ns) {
    if (!pace->completed) {
        learn_alone(pace, bytes, (double)(now_ns - pace->busy_ns), WEIGHT / (1 + (pace->queued - 1) / COMPANY));
    } else if (taken_ns < alone_ns(pace, bytes)) {
        learn_alone(pace, bytes, taken_ns, WEIGHT);
    }
}

/* A span of completions: they may have come no faster because no more was asked for, which says nothing, unless they waited for one another. */
static void note_shared(struct pager_pace *pace, uint64_t now_ns, double bytes, double taken_ns) {
    double span = (double)(now_ns - pace->span_ns), alone = alone_ns(pace, bytes), *shared = &pace->shared_ns_per_byte;
    if (pace->span_ns == 0 || (pace->queued > 1 && span < SPAN * alone)) {
        return;
    }
    double sample = pace->span_bytes > 0 ? span / (double)pace->span_bytes : *shared;
    if (span >= alone && (sample < *shared || taken_ns > WAITED * alone)) {
        *shared += WEIGHT * (clamp(sample, *shared / FARTHEST, *shared * FARTHEST) - *shared);
    }
    pace->span_ns = 0;
}

void pager_pace_end(struct pager_pace *pace, uint64_t now_ns, uint64_t bytes, uint64_t begun_ns, bool ok) {
    assert(pace->queued > 0 && pace->queued_bytes >= bytes);
    double taken = (double)(now_ns - begun_ns);
    if (ok) {
        pace->span_bytes += bytes;
        note_shared(pace, now_ns, (double)bytes, taken);
        note_alone(pace, now_ns, (double)bytes, taken);
    } else {
        pace->span_ns = 0;
    }
    if (pace->span_ns == 0) {
        pace->span_ns = now_ns;
        pace->span_bytes = 0;
    }
    pace->queued_bytes -= bytes;
    pace->queued--;
    pace->completed = true;
    pace->anchor_ns = now_ns;
}
