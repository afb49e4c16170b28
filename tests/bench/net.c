#include "tests/bench/net.h"

#include "proto/base/base.h"
#include "tests/bench/net_am.h"
#include "tests/certificate.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const struct bench_case cases[] = {
    {"fetch_2MiB_tcp",
     "2 MiB blocks over UCX on TCP loopback into the caller's memory; ceiling: bare active messages that the receiver hashes", ">= 0.90",
     net_fetch_tcp},
    {"store_2MiB_tcp", "2 MiB blocks stored over UCX; the same ceiling", ">= 0.80", net_store_tcp},
    {"fetch_64KiB_tcp_p50", "median of one leased block over UCX; ceiling: a ping-pong of active messages with as large an answer",
     "<= 1.5", net_small_tcp},
    {"lookup_1250_tcp", "1,250 keys among 1 million blocks over UCX; ceiling: bare batched probe and a ping-pong with the same bytes",
     "<= 2", net_lookup_tcp},
    {"fetch_64_sessions_tcp", "64 sessions over UCX with blocks of 64 KiB to 2 MiB, bytes a second of all; ceiling: one session alone",
     ">= 0.9", net_sessions_tcp},
    {"fetch_64_sessions_tls", "the same over TLS", "none", net_sessions_tls},
    {"fetch_2MiB_tls",
     "2 MiB blocks over TLS on loopback into the caller's memory; ceiling: an SSL_write/SSL_read loop with the same cipher", ">= 0.85",
     net_fetch_tls},
    {"store_2MiB_tls", "2 MiB blocks stored over TLS; the same ceiling", "none", net_store_tls},
    {"idle_100_sessions", "processor time of quired with 100 sessions over TLS that ask nothing, per cent of one processor", "<= 1 %",
     net_idle},
    {"idle_100_sessions_ucx", "the same over UCX", "<= 1 %", net_idle_ucx},
};

const struct bench_subject bench_net = {"net", "another host, over a wire", cases, QUIRE_ARRAY_LEN(cases), .apart = true};

#define SECRET "0123456789abcdef0123456789abcdef"

/* One that was free a moment ago. */
static uint16_t free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&at, size) == 0 && getsockname(fd, (struct sockaddr *)&at, &size) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return good ? ntohs(at.sin_port) : 0;
}

static bool write_private(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return (fd < 0 || close(fd) == 0) && good;
}

static bool make_files(struct net *net) {
    snprintf(net->folder, sizeof net->folder, "/tmp/quire-bench-net-XXXXXX");
    if (mkdtemp(net->folder) == NULL) {
        net->folder[0] = '\0';
        return false;
    }
    snprintf(net->certificate, sizeof net->certificate, "%s/certificate", net->folder);
    snprintf(net->tokens, sizeof net->tokens, "%s/tokens", net->folder);
    snprintf(net->token, sizeof net->token, "%s/token", net->folder);
    net->port = free_port();
    return net->port != 0 && certificate_write(net->certificate) && write_private(net->tokens, "bench " SECRET " read,write *\n") &&
           write_private(net->token, "bench " SECRET "\n");
}

static const char *const schemes[] = {[NET_TLS] = "tls", [NET_UCX] = "ucx"}; /* and keys of the daemon's `listen` */

int net_open(const struct bench_case *c, const struct net *net, quire_client **client) {
    char address[64];
    snprintf(address, sizeof address, "%s://127.0.0.1:%u", schemes[net->wire], net->port);
    const quire_options options = {.address = address,
                                   .client_name = "quire-bench",
                                   .connect_timeout_ms = 20000, /* 64 come at once */
                                   .default_deadline_ms = 20000,
                                   .token_file = net->token,
                                   .tls_authorities = net->certificate};
    return quire_open(&options, client) == QUIRE_OK ? 0 : bench_fail(c, "no connection to %s: %s", address, quire_last_error());
}

int net_serve(const struct bench_options *options, const struct bench_case *c, enum net_wire wire, const char *pool, const char *more,
              struct net *net) {
    char yaml[1024], certificate[128] = "";
    memset(net, 0, sizeof *net);
    net->wire = wire;
    if (!make_files(net)) {
        return bench_fail(c, "cannot make a certificate and tokens below /tmp");
    }
    if (wire == NET_TLS) {
        snprintf(certificate, sizeof certificate, "  tls_certificate: %s\n", net->certificate);
    } else {
        net_am_environment();
    }
    snprintf(yaml, sizeof yaml, "%sdomains:\n  - name: default\n    pool_bytes: %s\nlisten:\n  %s: \"127.0.0.1:%u\"\n%s  token_file: %s\n",
             more, pool, schemes[wire], net->port, certificate, net->tokens);
    return fixture_start(options, c, yaml, &net->fixture);
}

int net_start(const struct bench_options *options, const struct bench_case *c, enum net_wire wire, const char *pool, const char *more,
              struct net *net) {
    int failed = net_serve(options, c, wire, pool, more, net);
    return failed != 0 ? failed : net_open(c, net, &net->client);
}

void net_stop(struct net *net) {
    const char *const files[] = {net->certificate, net->tokens, net->token};
    if (net->ns != NULL) {
        quire_ns_close(&net->ns);
    }
    if (net->client != NULL) {
        quire_close(&net->client);
    }
    fixture_stop(&net->fixture);
    for (size_t i = 0; net->folder[0] != '\0' && i < QUIRE_ARRAY_LEN(files); i++) {
        unlink(files[i]);
    }
    if (net->folder[0] != '\0') {
        rmdir(net->folder);
    }
}

void net_report(const struct bench_options *options, const struct bench_case *c, const char *suffix, const char *reach, double value,
                const char *unit, double ceiling, double ratio) {
    char name[64];
    snprintf(name, sizeof name, "%s_%s", c->name, suffix);
    const struct bench_case line = {.name = name, .reach = reach};
    bench_report(options, "net", &line, value, unit, ceiling, ratio);
}

double net_processor_seconds(pid_t pid) {
    clockid_t clock;
    struct timespec spent = {0};
    bool good = clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &spent) == 0;
    return good ? (double)spent.tv_sec + (double)spent.tv_nsec / 1e9 : 0;
}
