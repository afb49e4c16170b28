/* The HTTP server and the metrics page, with a core that the test plays itself: well, late, or ill. */
#include "daemon/http.h"
#include "daemon/metrics.h"
#include "proto/base/base.h"
#include "proto/wire.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the core of this test ---------------------------------------------------------------------------------------------------- */
static bool late;         /* the loop does not come to what it is asked */
static uint64_t heart_ms; /* since its last beat */
static unsigned calls;
static void (*left_over)(struct core *core, void *arg);
static void *left_over_arg;

enum quire_status core_call(struct core *core, void (*fn)(struct core *core, void *arg), void *arg, uint32_t timeout_ms) {
    calls++;
    cr_assert_leq(timeout_ms, 5000, "the wait is bounded");
    if (late) {
        left_over = fn;
        left_over_arg = arg;
        return QUIRE_TIMEOUT;
    }
    fn(core, arg);
    return QUIRE_OK;
}

uint64_t core_heartbeat_age_ms(const struct core *core) {
    (void)core;
    return heart_ms;
}

const struct core_histograms *core_histograms(const struct core *core) {
    static struct core_histograms histograms = {.lease_us = {.count = 3, .sum_us = 41, .bucket = {[3] = 2, [6] = 1}}};
    (void)core;
    return &histograms;
}

void core_admin(struct core *core, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply *reply) {
    static Quire__Wire__DaemonInfo daemon = QUIRE__WIRE__DAEMON_INFO__INIT;
    static Quire__Wire__TierInfo tier = QUIRE__WIRE__TIER_INFO__INIT, *tiers[] = {&tier};
    static Quire__Wire__Counter tokens = QUIRE__WIRE__COUNTER__INIT, miss = QUIRE__WIRE__COUNTER__INIT, saved = QUIRE__WIRE__COUNTER__INIT,
                                *counters[] = {&tokens, &miss, &saved};
    static Quire__Wire__NamespaceInfo ns = QUIRE__WIRE__NAMESPACE_INFO__INIT, *namespaces[] = {&ns};
    static Quire__Wire__DiskInfo disk = QUIRE__WIRE__DISK_INFO__INIT;
    static Quire__Wire__DiskFileInfo file = QUIRE__WIRE__DISK_FILE_INFO__INIT, *files[] = {&file};
    (void)core;
    disk.state = (char *)"restoring", disk.backend = (char *)"io_uring", disk.clean_segments = 4, disk.write_amplification = 1.125;
    disk.estimate_error = 0.25, disk.scrub_bytes = 99, disk.files = files, disk.n_files = 1;
    file.path = (char *)"/a \"b\"\\c\nd", file.in_use = true, file.read_errors = 2;
    ns.name = (char *)"n", ns.domain = (char *)"default", ns.tokens_reused = 640;
    ns.prefill_us_per_token = 1500, ns.prefill_seconds_saved = 0.96;
    daemon.version = (char *)"9.9", daemon.state = (char *)"serving", daemon.uptime_ms = 1500;
    tier.name = (char *)"host", tier.domain = (char *)"default", tier.capacity_bytes = 1 << 20;
    tokens.name = (char *)"hit_tokens", tokens.value = 4096, tokens.help = (char *)"tokens";
    miss.name = (char *)"misses_evicted", miss.value = 7;
    saved.name = (char *)"prefill_seconds_saved", saved.value = 4.25;
    quire__wire__admin_reply__init(reply);
    if (request->verb == QUIRE_ADMIN_STATUS) {
        reply->daemon = &daemon, reply->tiers = tiers, reply->n_tiers = 1;
        reply->disk = &disk;
    } else if (request->verb == QUIRE_ADMIN_COUNTERS) {
        reply->counters = counters, reply->n_counters = 3;
    } else if (request->verb == QUIRE_ADMIN_NS_LIST) {
        reply->namespaces = namespaces, reply->n_namespaces = 1;
    }
}

/* ---- the client ---------------------------------------------------------------------------------------------------------------- */
static struct config config;
static struct http *http;
static char address[HTTP_ADDRESS_BYTES], why[512], reply_text[1 << 18];

static void set_up(void) {
    late = false, heart_ms = 0, calls = 0;
    config_default(&config);
    config.metrics_port = 0;
    cr_assert_eq(http_start(NULL, &config, &http, address, why, sizeof why), QUIRE_OK, "%s", why);
}
static void tear_down(void) { http_stop(&http); }
TestSuite(daemon_http, .init = set_up, .fini = tear_down);

static uint16_t port(void) { return (uint16_t)atoi(strrchr(address, ':') + 1); }

/* Sends text, reads until the server closes; the status of the answer. */
static int exchange(const char *text, size_t bytes) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port()), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), code = 0;
    size_t have = 0;
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    send(fd, text, bytes, MSG_NOSIGNAL);
    for (ssize_t n = 1; n > 0 && have<sizeof reply_text - 1; have += n> 0 ? (size_t)n : 0) {
        n = recv(fd, reply_text + have, sizeof reply_text - 1 - have, 0);
    }
    close(fd);
    reply_text[have] = '\0';
    sscanf(reply_text, "HTTP/1.1 %d", &code);
    return code;
}

static int ask(const char *method, const char *url) {
    char text[512];
    int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method, url);
    return exchange(text, (size_t)n);
}

static void tells(const char *line) { cr_expect_not_null(strstr(reply_text, line), "'%s' is not in:\n%s", line, reply_text); }

/* Prometheus comes by and finds counters, misses by reason, seconds saved, gauges and a histogram in seconds. */
Test(daemon_http, metrics) {
    cr_assert_eq(ask("GET", "/metrics"), 200);
    tells("Content-Type: text/plain; version=0.0.4");
    tells("quire_hit_tokens_total 4096\n");
    tells("quire_misses_total{reason=\"evicted\"} 7\n");
    tells("quire_prefill_seconds_saved_total 4.250\n");
    tells("quire_namespace_tokens_reused_total{namespace=\"n\",domain=\"default\"} 640\n");
    tells("quire_namespace_prefill_seconds_per_token{namespace=\"n\",domain=\"default\"} 0.0015\n");
    tells("quire_namespace_prefill_seconds_saved_total{namespace=\"n\",domain=\"default\"} 0.960\n");
    tells("quire_build_info{version=\"9.9\",build=\"\"} 1\n");
    tells("quire_tier_capacity_bytes{tier=\"host\",domain=\"default\"} 1048576\n");
    tells("quire_disk_info{backend=\"io_uring\"} 1\n");
    tells("quire_disk_restoring 1\n");
    tells("quire_disk_clean_segments 4\n");
    tells("quire_disk_scrub_bytes_total 99\n");
    tells("quire_disk_write_amplification 1.1250\n");
    tells("quire_disk_estimate_error 0.2500\n");
    tells("quire_disk_file_read_errors_total{path=\"/a \\\"b\\\"\\\\c\\nd\"} 2\n");
    tells("# TYPE quire_lease_seconds histogram\n");
    tells("quire_lease_seconds_bucket{le=\"8e-06\"} 2\n");
    tells("quire_lease_seconds_bucket{le=\"6.4e-05\"} 3\n");
    tells("quire_lease_seconds_bucket{le=\"+Inf\"} 3\n");
    tells("quire_lease_seconds_sum 0.000041\n");
}

/* A monitor asks whether the daemon is well; a loop that has stopped beating is not. */
Test(daemon_http, health) {
    cr_expect_eq(ask("GET", "/healthz"), 200);
    heart_ms = 60000;
    cr_expect_eq(ask("GET", "/healthz"), 503);
    tells("60000 ms");
    cr_expect_eq(calls, 0, "health does not wait for the loop");
}

/* The loop is busy beyond the wait: 503 now, and what the loop writes too late is not taken for the next answer. */
Test(daemon_http, a_late_loop) {
    late = true;
    cr_expect_eq(ask("GET", "/metrics"), 503);
    cr_expect_eq(ask("GET", "/metrics"), 503);
    left_over(NULL, left_over_arg);
    late = false;
    cr_expect_eq(ask("GET", "/metrics"), 200);
    tells("quire_hit_tokens_total");
}

/* A person opens the address and finds both pages named; what is not there says so. */
Test(daemon_http, other_pages) {
    cr_expect_eq(ask("GET", "/"), 200);
    tells("/metrics");
    tells("/healthz");
    cr_expect_eq(ask("HEAD", "/metrics"), 200);
    cr_expect_eq(ask("GET", "/etc/passwd"), 404);
    cr_expect_eq(ask("POST", "/metrics"), 405);
    tells("Allow: GET, HEAD");
}

/* Noise, endless headers and bodies end in an error or a closed connection, and the next visitor is served. */
Test(daemon_http, hostile_visitors) {
    static char noise[200000];
    memset(noise, 'A', sizeof noise);
    exchange(noise, sizeof noise);
    memcpy(noise, "GET /metrics HTTP/1.1\r\nX: ", 26);
    exchange(noise, sizeof noise);
    exchange("\0\xff\r\n\r\n", 6);
    exchange("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 71);
    cr_expect_eq(ask("GET", "/metrics"), 200);
}

/* Two daemons on one host: the second finds the port taken, serves at another and tells which. */
Test(daemon_http, the_port_is_taken) {
    struct http *second;
    char second_address[HTTP_ADDRESS_BYTES];
    config.metrics_port = port();
    cr_assert_eq(http_start(NULL, &config, &second, second_address, why, sizeof why), QUIRE_OK, "%s", why);
    cr_expect_str_neq(second_address, address);
    http_stop(&second);
    cr_expect_null(second);
    snprintf(config.metrics_address, sizeof config.metrics_address, "localhost");
    cr_expect_eq(http_start(NULL, &config, &second, second_address, why, sizeof why), QUIRE_INVALID);
    cr_expect_not_null(strstr(why, "is not an IP address"));
    snprintf(config.metrics_address, sizeof config.metrics_address, "192.0.2.1");
    cr_expect_eq(http_start(NULL, &config, &second, second_address, why, sizeof why), QUIRE_SYSTEM);
    cr_expect_not_null(strstr(why, "--no-metrics"));
}
