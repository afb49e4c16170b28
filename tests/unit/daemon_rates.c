/* Rates of tenants, on a clock of the test's own: what is admitted at once, what waits, and in which order it goes on. */
#include "daemon/net/rates.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S QUIRE_NS_PER_S
#define MS QUIRE_NS_PER_MS
#define BEGIN (1000 * S)

static struct rates rates;
static struct tokens *tokens;

static void add(const char *name, uint64_t requests_per_s, uint64_t bytes_per_s) {
    struct token *token = &tokens->tokens[tokens->n++];
    strcpy(token->name, name);
    token->limits = (struct token_limits){.requests_per_s = requests_per_s, .bytes_per_s = bytes_per_s};
}

static void start(void) {
    tokens = calloc(1, sizeof *tokens);
    cr_assert_not_null(tokens);
    rates_init(&rates);
}
static void stop(void) { free(tokens); }

/* ---- whose turn it was ---------------------------------------------------------------------------------------------------------- */
static struct rate_waiter *turns[16];
static uint32_t n_turns;
static void turn(struct rate_waiter *waiter) { turns[n_turns++] = waiter; }

/* A reload, and the tick that follows it. */
static void renew(void) {
    rates_renew(&rates, tokens);
    n_turns = 0;
    rates_tick(&rates, BEGIN, turn);
}

static bool admit(const char *name, struct rate_waiter *waiter, uint64_t bytes, uint64_t now_ns) {
    return rates_admit(&rates, rates_find(&rates, name), waiter, bytes, now_ns);
}

/* Lets time pass, tick by tick, and everybody who gets a turn take `bytes`; until somebody takes what would be the `n`th, or nobody waits. */
static uint64_t go_on(struct tenant *tenant, uint64_t bytes, uint32_t n, uint64_t now_ns) {
    n_turns = 0;
    while (n_turns < n && rates.next_ns != UINT64_MAX) {
        uint32_t before = n_turns;
        now_ns = quire_max_u64(now_ns, rates.next_ns);
        rates_tick(&rates, now_ns, turn);
        for (uint32_t i = before; i < n_turns; i++) {
            cr_assert(rates_admit(&rates, tenant, turns[i], bytes, now_ns), "whose turn has come is admitted");
        }
    }
    return now_ns;
}

/* A second's worth at once, then one by one as it comes in; another tenant and one without a limit are not concerned. */
Test(rates, requests_a_second, .init = start, .fini = stop) {
    struct rate_waiter waiter = {0}, other = {0};
    add("limited", 10, 0);
    add("other", 10, 0);
    add("free", 0, 0);
    renew();
    for (int i = 0; i <= 10; i++) {
        cr_assert(admit("limited", &waiter, 0, BEGIN), "request %d", i);
    }
    cr_assert_not(admit("limited", &waiter, 0, BEGIN));
    cr_assert_not(admit("limited", &waiter, 0, BEGIN + 10 * S), "it waits for its turn, and is asked then");
    cr_assert_eq(waiter.held, 1, "one request was held, however often it was looked at");
    for (int i = 0; i < 1000; i++) {
        cr_assert(admit("free", &other, 1u << 30, BEGIN));
    }
    cr_assert(admit("other", &other, 0, BEGIN));
    cr_assert(rates.next_ns > BEGIN && rates.next_ns <= BEGIN + S / 10);
    n_turns = 0;
    rates_tick(&rates, rates.next_ns - 1, turn);
    cr_assert_eq(n_turns, 0, "not before its time");
    rates_tick(&rates, BEGIN + S / 10, turn);
    cr_assert_eq(n_turns, 1);
    cr_assert_eq(waiter.held_ns, S / 10);
    cr_assert(admit("limited", &waiter, 0, BEGIN + S / 10));
    cr_assert_not(admit("limited", &waiter, 0, BEGIN + S / 10));
    cr_assert_eq(rates.next_ns, BEGIN + 2 * S / 10);
}

/* Over a minute no more passes than a minute's worth and the burst, however unequal the requests are, and no less. Seeded. */
Test(rates, bytes_over_time, .init = start, .fini = stop) {
    const uint64_t per_s = 1u << 20;
    const uint32_t seed = 20261;
    struct rate_waiter waiter = {0};
    uint64_t passed = 0, last = 0, now_ns = BEGIN;
    add("limited", 0, per_s);
    renew();
    struct tenant *tenant = rates_find(&rates, "limited");
    srand(seed);
    while (true) {
        uint64_t bytes = (uint64_t)rand() % (4u << 20);
        if (!rates_admit(&rates, tenant, &waiter, bytes / 2, now_ns)) {
            now_ns = rates.next_ns;
            if (now_ns >= BEGIN + 60 * S) {
                break;
            }
            rates_tick(&rates, now_ns, turn);
            n_turns = 0;
            cr_assert(rates_admit(&rates, tenant, &waiter, bytes / 2, now_ns));
        }
        rates_charge(tenant, bytes - bytes / 2, now_ns); /* as an answer is, whose size is known later */
        passed += bytes;
        last = bytes;
    }
    cr_assert_leq(passed - last, 61 * per_s, "seed %u", seed);
    cr_assert_geq(passed, 60 * per_s, "seed %u", seed);
}

/* A tenant's sessions come to their turns alike: one with many requests lets the others in between, and who comes while others wait gets in line. */
Test(rates, sessions_of_a_tenant_take_turns, .init = start, .fini = stop) {
    struct rate_waiter greedy = {0}, modest = {0}, late = {0};
    add("limited", 0, 1u << 20);
    renew();
    struct tenant *tenant = rates_find(&rates, "limited");
    cr_assert(admit("limited", &greedy, 4u << 20, BEGIN), "the first may take more than there is");
    cr_assert_not(admit("limited", &greedy, 0, BEGIN));
    cr_assert_not(admit("limited", &modest, 0, BEGIN));
    cr_assert_not(admit("limited", &late, 0, BEGIN + 100 * S), "there would be enough, and it is not its turn");
    uint64_t now_ns = go_on(tenant, 3u << 20, 1, BEGIN + 100 * S);
    cr_assert_eq(turns[0], &greedy);
    cr_assert_not(admit("limited", &greedy, 0, now_ns), "behind the others");
    now_ns = go_on(tenant, 3u << 20, 3, now_ns);
    cr_assert_eq(turns[0], &modest);
    cr_assert_eq(turns[1], &late);
    cr_assert_eq(turns[2], &greedy);
    cr_assert_geq(now_ns, BEGIN + 100 * S + 8 * S, "three times three MiB at one a second, less the burst");
    cr_assert_eq(rates.next_ns, UINT64_MAX);
}

/* Who leaves is in nobody's way, wherever it stood in line. */
Test(rates, leaving_the_line, .init = start, .fini = stop) {
    struct rate_waiter waiters[3] = {{0}, {0}, {0}}, first = {0};
    add("limited", 1, 0);
    renew();
    struct tenant *tenant = rates_find(&rates, "limited");
    for (uint32_t out = 0; out < 3; out++) {
        uint64_t now_ns = BEGIN + out * 100 * S;
        while (admit("limited", &first, 0, now_ns)) {
        }
        rates_leave(tenant, &first);
        for (uint32_t i = 0; i < 3; i++) {
            cr_assert_not(admit("limited", &waiters[i], 0, now_ns) && i > 0);
        }
        for (uint32_t i = 0; i < 3; i++) {
            if (!waiters[i].waits) {
                cr_assert_not(admit("limited", &waiters[i], 0, now_ns));
            }
        }
        rates_leave(tenant, &waiters[out]);
        go_on(tenant, 0, 3, now_ns);
        cr_assert_eq(n_turns, 2, "round %u", out);
        cr_assert_null(tenant->head);
        cr_assert_null(tenant->tail);
    }
}

/* A reload: other limits hold at once, also for who waits; equal ones forgive nothing; of two lines of a name the last counts. */
Test(rates, limits_change, .init = start, .fini = stop) {
    struct rate_waiter waiter = {0};
    add("limited", 1, 0);
    add("passing", 1, 0);
    renew();
    const struct tenant *tenant = rates_find(&rates, "limited");
    while (admit("limited", &waiter, 0, BEGIN)) {
    }
    tokens->n = 0;
    add("new", 0, 0);
    add("limited", 1, 0);
    renew();
    cr_assert_eq(rates_find(&rates, "limited"), tenant, "sessions point to it");
    cr_assert_null(rates_find(&rates, "passing"));
    cr_assert_eq(n_turns, 0, "reading the file again forgives nothing");
    add("limited", 5, 0);
    renew();
    cr_assert_eq(n_turns, 1);
    cr_assert(admit("limited", &waiter, 0, BEGIN));
    tokens->n = 0;
    for (unsigned i = 0; i < TOKENS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        add(name, 1, 1u << 20);
    }
    renew();
    cr_assert_not_null(rates_find(&rates, "t255"));
    cr_assert_null(rates_find(&rates, ""), "nobody is nobody's tenant");
}
