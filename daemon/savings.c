#include "daemon/savings.h"

#include "proto/base/base.h"

#include <stdlib.h>

#define SAVINGS_WEIGHT (1.0 / 8) /* of a report, once there is a rate */
#define SAVINGS_MOST_TIMES 2.0   /* the rate: as what a report counts at most */

enum quire_status savings_setup(struct savings *savings, uint32_t max_namespaces) {
    *savings = (struct savings){.ns = calloc(max_namespaces, sizeof *savings->ns), .n_ns = max_namespaces};
    return savings->ns != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

void savings_teardown(struct savings *savings) {
    free(savings->ns);
    *savings = (struct savings){0};
}

const struct savings_ns *savings_of(const struct savings *savings, uint16_t ns, uint32_t serial) {
    return serial != 0 && ns < savings->n_ns && savings->ns[ns].serial == serial ? &savings->ns[ns] : NULL;
}

/* Its place, taken over from a namespace that had the number before. */
static struct savings_ns *savings_place(struct savings *savings, uint16_t ns, uint32_t serial) {
    if (serial == 0 || ns >= savings->n_ns) {
        return NULL;
    }
    if (savings->ns[ns].serial != serial) {
        savings->ns[ns] = (struct savings_ns){.serial = serial};
    }
    return &savings->ns[ns];
}

static double smaller(double a, double b) { return a < b ? a : b; }
static double larger(double a, double b) { return a > b ? a : b; }

/* Of the first n reports: the only one, the smaller of two, the middle of three. */
static double savings_begin(const double *us, uint64_t n) {
    const double least = n > 1 ? smaller(us[0], us[1]) : us[0];
    return n < SAVINGS_FIRST ? least : larger(least, smaller(larger(us[0], us[1]), us[2]));
}

void savings_report(struct savings *savings, uint16_t ns, uint32_t serial, double us_per_token) {
    struct savings_ns *of = savings_place(savings, ns, serial);
    if (of == NULL || !(us_per_token >= QUIRE_COST_MIN_US && us_per_token <= QUIRE_COST_MAX_US)) { /* not a number is outside, too */
        return;
    }
    if (of->reports < SAVINGS_FIRST) {
        of->first_us[of->reports++] = us_per_token;
        of->us_per_token = savings_begin(of->first_us, of->reports);
        return;
    }
    of->reports++;
    const double counts_us = smaller(us_per_token, SAVINGS_MOST_TIMES * of->us_per_token);
    of->us_per_token += (counts_us - of->us_per_token) * SAVINGS_WEIGHT;
}

double savings_us_per_token(const struct savings_ns *ns, uint32_t fallback_tokens_per_s) {
    if (ns != NULL && ns->us_per_token > 0) {
        return ns->us_per_token;
    }
    return fallback_tokens_per_s > 0 ? 1e6 / fallback_tokens_per_s : 0;
}

void savings_hit(struct savings *savings, uint16_t ns, uint32_t serial, uint64_t tokens, uint32_t fallback_tokens_per_s) {
    if (tokens == 0) {
        return;
    }
    struct savings_ns *of = savings_place(savings, ns, serial);
    const double saved_s = (double)tokens * savings_us_per_token(of, fallback_tokens_per_s) / 1e6;
    if (of != NULL) {
        of->saved_s += saved_s;
        savings->saved_s += saved_s;
    }
}
