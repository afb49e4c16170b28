/* What sessions cost that ask nothing. */
#include "tests/bench/net.h"

#include <unistd.h>

enum { SESSIONS = 100, IDLE_S = 5 };

static int idle(const struct bench_options *options, const struct bench_case *self, enum net_wire wire) {
    static quire_client *clients[SESSIONS];
    struct net net;
    int failed = net_start(options, self, wire, "64MiB", "", &net);
    for (uint32_t i = 0; failed == 0 && i < SESSIONS; i++) {
        failed = net_open(self, &net, &clients[i]);
    }
    if (failed == 0) {
        sleep(1);
        double before = net_processor_seconds(net.fixture.daemon);
        uint64_t start = bench_now_ns();
        sleep(options->tiny ? 1 : IDLE_S);
        double spent = net_processor_seconds(net.fixture.daemon) - before, passed = (double)(bench_now_ns() - start) / 1e9;
        bench_report(options, "net", self, 100 * spent / passed, "%", 1, spent / passed * 100);
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        if (clients[i] != NULL) {
            quire_close(&clients[i]);
        }
    }
    net_stop(&net);
    return failed;
}

int net_idle(const struct bench_options *options, const struct bench_case *self) { return idle(options, self, NET_TLS); }
int net_idle_ucx(const struct bench_options *options, const struct bench_case *self) { return idle(options, self, NET_UCX); }
