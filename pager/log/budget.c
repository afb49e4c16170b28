#include "pager/log/budget.h"

#define S_PER_HOUR 3600.0
#define S_PER_DAY 86400.0

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }
static double day_rate(const struct pager_budget *budget) { return (double)budget->bytes_per_day / S_PER_DAY; }

static double bucket(const struct pager_budget *budget) { return 2.0 * (double)budget->bytes_per_s; }
static double day_bucket(const struct pager_budget *budget) { return day_rate(budget) * S_PER_HOUR; }

void pager_budget_init(struct pager_budget *budget, uint64_t bytes_per_s, uint64_t bytes_per_day, uint64_t now_ns) {
    *budget = (struct pager_budget){.bytes_per_s = bytes_per_s, .bytes_per_day = bytes_per_day, .refilled_ns = now_ns};
    budget->tokens = (double)bytes_per_s;
    budget->day_tokens = day_rate(budget);
}

/* A clock that went back refills nothing until it is where it was. */
static void refill(struct pager_budget *budget, uint64_t now_ns) {
    if (now_ns <= budget->refilled_ns) {
        return;
    }
    double seconds = (double)(now_ns - budget->refilled_ns) / 1e9;
    budget->refilled_ns = now_ns;
    budget->tokens = least(budget->tokens + seconds * (double)budget->bytes_per_s, bucket(budget));
    budget->day_tokens = least(budget->day_tokens + seconds * day_rate(budget), day_bucket(budget));
}

void pager_budget_set(struct pager_budget *budget, uint64_t bytes_per_s, uint64_t bytes_per_day, uint64_t now_ns) {
    struct pager_budget fresh;
    pager_budget_init(&fresh, bytes_per_s, bytes_per_day, now_ns);
    refill(budget, now_ns);
    fresh.refilled_ns = budget->refilled_ns;
    fresh.tokens = budget->bytes_per_s > 0 ? least(budget->tokens, bucket(&fresh)) : fresh.tokens;
    fresh.day_tokens = budget->bytes_per_day > 0 ? least(budget->day_tokens, day_bucket(&fresh)) : fresh.day_tokens;
    *budget = fresh;
}

void pager_budget_spend(struct pager_budget *budget, uint64_t bytes, uint64_t now_ns) {
    refill(budget, now_ns);
    budget->tokens -= budget->bytes_per_s > 0 ? (double)bytes : 0;
    budget->day_tokens -= budget->bytes_per_day > 0 ? (double)bytes : 0;
}

/* Until the bucket holds more than so many seconds bring; negative: it does. */
static double seconds_until(double tokens, double held_s, double rate) {
    return rate > 0 && tokens <= held_s * rate ? held_s - tokens / rate : -1;
}

uint64_t pager_budget_holds_ns(const struct pager_budget *budget, double held_s, uint64_t now_ns) {
    struct pager_budget then = *budget;
    refill(&then, now_ns);
    double seconds =
        most(seconds_until(then.tokens, held_s, (double)then.bytes_per_s), seconds_until(then.day_tokens, held_s, day_rate(&then)));
    if (seconds < 0) {
        return now_ns;
    }
    /* A microsecond more: sums of fractions are not exact, and whoever comes at that time is not to find it a hair too early. */
    double wait_ns = least(seconds * 1e9 + 1000, 0x1p62);
    return then.refilled_ns + (uint64_t)wait_ns;
}

uint64_t pager_budget_next_ns(const struct pager_budget *budget, uint64_t now_ns) { return pager_budget_holds_ns(budget, 0, now_ns); }
