/* What sessions cost that ask nothing. */
#include "tests/bench/net.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SESSIONS = 100, IDLE_S = 5 };

static double processor_seconds(pid_t pid) {
    char path[64], text[1024] = "";
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    size_t got = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    text[got] = '\0';
    const char *at = strrchr(text, ')'); /* a name may have blanks */
    if (at == NULL || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2) {
        return -1;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static int idle(const struct bench_options *options, const struct bench_case *self, enum net_wire wire) {
    static quire_client *clients[SESSIONS];
    struct net net;
    int failed = net_start(options, self, wire, "64MiB", "", &net);
    for (uint32_t i = 0; failed == 0 && i < SESSIONS; i++) {
        failed = net_open(self, &net, &clients[i]);
    }
    if (failed == 0) {
        sleep(1);
        double before = processor_seconds(net.fixture.daemon);
        uint64_t start = bench_now_ns();
        sleep(IDLE_S);
        double spent = processor_seconds(net.fixture.daemon) - before, passed = (double)(bench_now_ns() - start) / 1e9;
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
