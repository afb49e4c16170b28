/* What a token costs, from reports that may be wrong, and what the tokens that hit saved. */
#include "daemon/savings.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <math.h>

enum { NAMESPACES = 4 };
static struct savings savings;
static void set_up(void) { cr_assert_eq(savings_setup(&savings, NAMESPACES), QUIRE_OK); }
static void tear_down(void) { savings_teardown(&savings); }
TestSuite(daemon_savings, .init = set_up, .fini = tear_down);

/* Of namespace 1, serial 7. */
static double rate(void) { return savings_us_per_token(savings_of(&savings, 1, 7), 0); }
static double after(double us_per_token) {
    savings_report(&savings, 1, 7, us_per_token);
    return rate();
}

/* One report is believed until there are others; of the first three one may be absurd, whichever it is. */
Test(daemon_savings, one_of_the_first_three_may_be_absurd) {
    static const double tries[][3] = {{900, 1000, 1e7}, {900, 1e7, 1000}, {1e7, 900, 1000}, {0.001, 1000, 1100}, {1000, 0.001, 1100}};
    static const double expected[] = {1000, 1000, 1000, 1000, 1000};
    cr_assert_eq(rate(), 0);
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(tries); i++) {
        const uint32_t serial = 100 + i;
        for (int j = 0; j < 3; j++) {
            savings_report(&savings, 1, serial, tries[i][j]);
            const double us = savings_us_per_token(savings_of(&savings, 1, serial), 0);
            const double least = j == 1 ? fmin(tries[i][0], tries[i][1]) : tries[i][0];
            cr_assert_eq(us, j == 2 ? expected[i] : least, "try %u, report %d: %g", i, j, us);
        }
    }
}

/* Later on an absurd one moves the rate by an eighth, up or down, and a hundred that agree bring it to where they are. */
Test(daemon_savings, later_reports_move_it_little) {
    after(1000), after(1000);
    cr_assert_eq(after(1000), 1000);
    cr_assert_eq(after(QUIRE_COST_MAX_US), 1125);
    cr_assert_geq(after(QUIRE_COST_MIN_US), 1125 * 7.0 / 8);
    for (int i = 0; i < 100; i++) {
        after(8000); /* a slower machine took over */
    }
    cr_assert_float_eq(rate(), 8000, 1);
    for (int i = 0; i < 100; i++) {
        after(40); /* a far quicker one */
    }
    cr_assert_float_eq(rate(), 40, 1);
    cr_assert_eq(savings_of(&savings, 1, 7)->reports, 205);
}

/* Values that no prefill takes, and namespaces that there are not, leave everything as it is. */
Test(daemon_savings, nonsense_is_ignored) {
    static const double nonsense[] = {NAN,  -NAN, INFINITY, -INFINITY, 0, -5, 1e-300, QUIRE_COST_MIN_US / 2, QUIRE_COST_MAX_US * 1.01,
                                      1e300};
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(nonsense); i++) {
        cr_assert_eq(after(nonsense[i]), 0, "%g", nonsense[i]);
    }
    after(100);
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(nonsense); i++) {
        cr_assert_eq(after(nonsense[i]), 100, "%g", nonsense[i]);
    }
    savings_report(&savings, 1, 0, 5);
    savings_report(&savings, NAMESPACES, 7, 5);
    savings_report(&savings, UINT16_MAX, 7, 5);
    savings_hit(&savings, UINT16_MAX, 7, 1000, 10);
    savings_hit(&savings, 1, 0, 1000, 10);
    cr_assert_eq(rate(), 100);
    cr_assert_eq(savings.saved_s, 0);
    cr_assert_null(savings_of(&savings, UINT16_MAX, 7));
    cr_assert_null(savings_of(&savings, 1, 0));
}

/* Each namespace at its own rate, as it is when the tokens hit; one that nobody measured at the configured rate, or not at all. */
Test(daemon_savings, hits_have_the_price_of_their_time_and_place) {
    savings_hit(&savings, 1, 7, 1000, 0); /* nothing is known yet */
    cr_assert_eq(savings.saved_s, 0);
    after(2000);
    savings_hit(&savings, 1, 7, 1000, 10);
    savings_hit(&savings, 2, 8, 1000, 10);
    savings_hit(&savings, 3, 9, 1000, 0);
    cr_assert_float_eq(savings_of(&savings, 1, 7)->saved_s, 2, 1e-9);
    cr_assert_float_eq(savings_of(&savings, 2, 8)->saved_s, 100, 1e-9);
    cr_assert_float_eq(savings.saved_s, 102, 1e-9);
    after(1000); /* quicker now; what was saved before stays */
    savings_hit(&savings, 1, 7, 1000, 10);
    cr_assert_float_eq(savings_of(&savings, 1, 7)->saved_s, 3, 1e-9);
    cr_assert_float_eq(savings.saved_s, 103, 1e-9);
}

/* A number that names another namespace begins anew; what the first one saved stays in the sum. */
Test(daemon_savings, a_number_may_be_used_again) {
    after(1e6);
    savings_hit(&savings, 1, 7, 5, 0);
    cr_assert_null(savings_of(&savings, 1, 8));
    savings_hit(&savings, 1, 8, 5, 0);
    cr_assert_null(savings_of(&savings, 1, 7));
    cr_assert_eq(savings_us_per_token(savings_of(&savings, 1, 8), 0), 0);
    cr_assert_eq(savings_of(&savings, 1, 8)->saved_s, 0);
    cr_assert_float_eq(savings.saved_s, 5, 1e-9);
}
