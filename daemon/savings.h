/*
 * Prefill saved: what a token costs to compute, namespace by namespace, as its workers measure it, and how many seconds the tokens that
 * were leased would have taken, whether their holder then fetched them or not.
 *
 * Measurements are a client's word and prove nothing, so each moves the rate of its namespace only a little: one outside QUIRE_COST_MIN_US
 * to QUIRE_COST_MAX_US is ignored; of the first three the middle one counts (of two the smaller); each later one counts as twice the rate
 * at most, and for an eighth: one more that is absurd makes the rate an eighth larger or smaller. Tokens are priced when they are leased,
 * at the rate of that moment; what was saved stays counted when its namespace goes. A number that names another namespace now (another
 * serial) begins anew. No clock, no chance: the same reports in the same order give the same rate. For the loop thread.
 */
#ifndef DAEMON_SAVINGS_H
#define DAEMON_SAVINGS_H

#include "proto/quire_types.h"

#define SAVINGS_FIRST 3 /* reports of which the middle one counts */

struct savings_ns {
    uint32_t serial; /* 0: none had this number */
    uint64_t reports;
    double first_us[SAVINGS_FIRST];
    double us_per_token; /* 0: unknown */
    double saved_s;
};

struct savings {
    struct savings_ns *ns; /* by number */
    uint32_t n_ns;
    double saved_s; /* of all, also of those that are gone */
};

enum quire_status savings_setup(struct savings *savings, uint32_t max_namespaces);
void savings_teardown(struct savings *savings);

/* A worker measured that a token took so long. serial 0 (no such namespace) changes nothing. */
void savings_report(struct savings *savings, uint16_t ns, uint32_t serial, double us_per_token);
/*
 * So many tokens were leased. fallback_tokens_per_s prices those of namespaces whose rate nobody has reported; 0: they save nothing that is
 * known.
 */
void savings_hit(struct savings *savings, uint16_t ns, uint32_t serial, uint64_t tokens, uint32_t fallback_tokens_per_s);
/* What is known of it; NULL: nothing. */
const struct savings_ns *savings_of(const struct savings *savings, uint16_t ns, uint32_t serial);
/* Its rate in microseconds a token, the fallback's where it is unknown; 0: neither is known. */
double savings_us_per_token(const struct savings_ns *ns, uint32_t fallback_tokens_per_s);

#endif
