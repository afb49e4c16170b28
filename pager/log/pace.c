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
/* Farther off than this, by the factor, several times in a row: the device is not what it was, and each time counts twice as much as the one before. */
#define FAR 2.0
#define LONGEST_STREAK 3
/*
 * How much overlaps is learned from what comes after the device was idle, while its bytes' time is at most so many times what one read takes: later it
 * hardly shows. Each counts little, since a burst has many.
 */
#define OVERLAP_SHOWS 1.5
#define OVERLAP_WEIGHT (1.0 / 32)
/* What began this soon after the first, as a part of what one read takes, is of the same burst. */
#define AT_ONCE 0.125

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

/*
 * Until what is queued is served. When it should be by now, the device is late: as late as it is it may be once more, and behind that comes what waits, up to
 * as much again, so that what is a little late changes little.
 */
static double queued_ns(const struct pager_pace *pace, uint64_t now_ns) {
    double bytes_ns = (double)pace->queued_bytes * pace->shared_ns_per_byte, left = (double)(int64_t)(pace->anchor_ns - now_ns) + bytes_ns;
    return left >= 0 ? left : -left + (bytes_ns < -left ? bytes_ns : -left);
}

uint64_t pager_pace_estimate_ns(const struct pager_pace *pace, uint64_t now_ns, uint64_t ahead_bytes, uint64_t bytes) {
    double alone = alone_ns(pace, (double)bytes), own = own_ns(pace, (double)bytes), lead = alone - own;
    double wait = lead - pace->overlap * alone;
    if (pace->queued > 0) {
        double queued = queued_ns(pace, now_ns);
        wait = queued > wait ? queued : wait;
    }
    wait += (double)ahead_bytes * pace->shared_ns_per_byte;
    return (uint64_t)clamp((wait > lead ? wait : lead) + own, 1, 0x1p62);
}

void pager_pace_begin(struct pager_pace *pace, uint64_t now_ns, uint64_t bytes) {
    if (pace->queued == 0) {
        double alone = alone_ns(pace, (double)bytes), lead = alone - own_ns(pace, (double)bytes) - pace->overlap * alone;
        pace->busy_ns = now_ns;
        pace->anchor_ns = now_ns + (uint64_t)(int64_t)clamp(lead, -0x1p62, 0x1p62);
        pace->burst_bytes = 0;
        pace->completed = false;
        pace->span_ns = 0;
    }
    pace->queued_bytes += bytes;
    pace->queued++;
}

/* ---- learning ------------------------------------------------------------------------------------------------------------- */
/* A device that changed is soon known, while one odd read changes little. */
static double quickened(struct pager_pace *pace, double factor, double weight) {
    int32_t way = factor > FAR ? 1 : factor < 1 / FAR ? -1 : 0;
    pace->streak = way * pace->streak > 0 ? pace->streak + way : way;
    for (int32_t i = 1; i < way * pace->streak && i < LONGEST_STREAK; i++) {
        weight *= 2;
    }
    return weight < 1 ? weight : 1;
}

/* What it was off by is the latency's and the bytes' in proportion, so that reads of several sizes tell the two apart. */
static void learn_alone(struct pager_pace *pace, double bytes, double taken_ns, double weight) {
    double expected = alone_ns(pace, bytes), share = bytes / EVEN_BYTES;
    weight = quickened(pace, taken_ns / expected, weight);
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

/* Since it was idle, what has come took no less than its bytes' time. */
static void note_bound(struct pager_pace *pace, uint64_t now_ns, double bytes) {
    double bound = (double)(now_ns - pace->busy_ns) / ((double)pace->burst_bytes + bytes + 1), *shared = &pace->shared_ns_per_byte;
    if (pace->queued == 1 && bound < *shared) {
        *shared += WEIGHT * (clamp(bound, *shared / FARTHEST, *shared) - *shared);
    }
}

/*
 * Of a device that serves so many at once the first ones take no longer than one does; of one that has a channel each takes its bytes' time more. So as
 * many as are served at once are told neither twice what they take, nor half.
 */
static void note_overlap(struct pager_pace *pace, uint64_t now_ns, double bytes, uint64_t begun_ns) {
    double alone = alone_ns(pace, bytes), behind = (double)pace->burst_bytes * pace->shared_ns_per_byte;
    double expected = alone + clamp(behind - pace->overlap * alone, 0, behind);
    if (behind <= OVERLAP_SHOWS * alone && (double)(begun_ns - pace->busy_ns) <= AT_ONCE * alone) {
        double off = clamp((expected - (double)(now_ns - pace->busy_ns)) / alone, -1, 1);
        pace->overlap = clamp(pace->overlap + OVERLAP_WEIGHT * off, 0, 1);
    }
}

void pager_pace_end(struct pager_pace *pace, uint64_t now_ns, uint64_t bytes, uint64_t begun_ns, bool ok) {
    assert(pace->queued > 0 && pace->queued_bytes >= bytes);
    double taken = (double)(now_ns - begun_ns);
    if (ok) {
        pace->span_bytes += bytes;
        note_shared(pace, now_ns, (double)bytes, taken);
        note_overlap(pace, now_ns, (double)bytes, begun_ns);
        note_bound(pace, now_ns, (double)bytes);
        note_alone(pace, now_ns, (double)bytes, taken);
    } else {
        pace->span_ns = 0;
    }
    if (pace->span_ns == 0) {
        pace->span_ns = now_ns;
        pace->span_bytes = 0;
    }
    pace->burst_bytes += bytes;
    pace->queued_bytes -= bytes;
    pace->queued--;
    pace->completed = true;
    pace->anchor_ns = now_ns;
}
