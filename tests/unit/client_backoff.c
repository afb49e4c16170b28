/* Many clients lose a daemon at the same moment: they do not come back at the same moment, nor as often as they like. */
#include "client/internal.h"

#include <criterion/criterion.h>

#define CLIENTS 100u
#define PARTS 10u

static quire_client *clients[CLIENTS];

static void start(void) {
    quire_options options = {.address = "/nowhere/quired.sock", .flags = QUIRE_OPEN_LAZY, .max_jobs = 1};
    for (uint32_t i = 0; i < CLIENTS; i++) {
        cr_assert_eq(quire_open(&options, &clients[i]), QUIRE_OK, "%s", quire_last_error());
    }
}

static void stop(void) {
    for (uint32_t i = 0; i < CLIENTS; i++) {
        quire_close(&clients[i]);
    }
}

/* After each failure they wait for twice as long, up to two seconds, and are spread over as long a time as they wait: no tenth of it sees many of them. */
Test(client_backoff, no_two_in_step, .init = start, .fini = stop, .timeout = 60) {
    uint64_t usual_ns = 5 * QUIRE_NS_PER_MS;
    for (uint32_t failures = 0; failures < 20; failures++) {
        uint32_t in_part[PARTS] = {0};
        for (uint32_t i = 0; i < CLIENTS; i++) {
            clients[i]->conn.failures = failures;
            uint64_t wait_ns = conn_wait_ns(clients[i]);
            cr_assert(wait_ns >= usual_ns / 2 && wait_ns < usual_ns / 2 + usual_ns, "%llu ns after %u failures",
                      (unsigned long long)wait_ns, failures);
            in_part[(wait_ns - usual_ns / 2) * PARTS / usual_ns]++;
        }
        for (uint32_t part = 0; part < PARTS; part++) {
            cr_assert_lt(in_part[part], CLIENTS / 3, "%u of %u clients in one tenth after %u failures", in_part[part], CLIENTS, failures);
        }
        usual_ns = quire_min_u64(2 * usual_ns, 2 * QUIRE_NS_PER_S);
    }
}

/* What is computed is what is kept: within that time nobody is asked, and calls fail at once. */
Test(client_backoff, nobody_is_asked_meanwhile, .init = start, .fini = stop, .timeout = 60) {
    quire_client *client = clients[0];
    quire_ns *ns;
    client->conn.failures = 16;
    uint64_t before_ns = clock_ns();
    cr_assert_eq(quire_ns_open(client, "x", NULL, &ns), QUIRE_DISCONNECTED);
    uint64_t next_ns = client->conn.next_attempt_ns;
    cr_assert(next_ns >= before_ns + QUIRE_NS_PER_S && next_ns < clock_ns() + 3 * QUIRE_NS_PER_S);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(quire_ns_open(client, "x", NULL, &ns), QUIRE_DISCONNECTED);
    }
    cr_assert(client->conn.next_attempt_ns == next_ns || clock_ns() > next_ns);
}
