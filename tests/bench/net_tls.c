/* Bulk bytes over TLS: fetch and store of 2 MiB blocks against a bare loop of the same library; and what sessions cost that ask nothing. */
#include "proto/base/base.h"
#include "tests/bench/net.h"

#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 16, LAYERS = 32, HEADS = 8, ROUNDS = 9, SESSIONS = 100, IDLE_S = 5 };
#define BLOCK_BYTES (2u << 20)

struct bulk {
    struct net net;
    struct tls_loop loop;
    quire_layout layout;
    uint8_t *memory; /* BATCH blocks */
    void *bases[BATCH][2 * LAYERS];
};

static int bulk_start(const struct bench_options *options, const struct bench_case *c, struct bulk *bulk) {
    memset(bulk, 0, sizeof *bulk);
    bulk->loop.fd = -1;
    fixture_layout(&bulk->layout, LAYERS, HEADS);
    bulk->memory = malloc((size_t)BATCH * BLOCK_BYTES);
    if (bulk->memory == NULL) {
        return bench_fail(c, "no memory");
    }
    uint64_t seed = 1;
    for (size_t i = 0; i < (size_t)BATCH * BLOCK_BYTES / 8; i++) {
        ((uint64_t *)(void *)bulk->memory)[i] = bench_random(&seed);
    }
    int failed = net_start(options, c, "512MiB", &bulk->net);
    failed = failed != 0 ? failed : tls_loop_start(c, bulk->net.certificate, &bulk->loop);
    if (failed == 0 && quire_ns_open(bulk->net.client, "bench", &bulk->layout, &bulk->net.ns) != QUIRE_OK) {
        return bench_fail(c, "cannot open a namespace: %s", quire_last_error());
    }
    return failed;
}

static void bulk_stop(struct bulk *bulk) {
    tls_loop_stop(&bulk->loop);
    net_stop(&bulk->net);
    free(bulk->memory);
}

static int store_batch(const struct bench_case *c, struct bulk *bulk, uint64_t first, double *seconds) {
    quire_source sources[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        quire_key key = fixture_key(first + i);
        fixture_source(&sources[i], &bulk->layout, bulk->memory + (size_t)i * BLOCK_BYTES, (const void **)bulk->bases[i], &key);
    }
    uint64_t start = bench_now_ns();
    enum quire_status status = quire_store(bulk->net.ns, sources, BATCH, NULL, 20000, NULL);
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return status == QUIRE_OK ? 0 : bench_fail(c, "store: %s", quire_last_error());
}

static int fetch_batch(const struct bench_case *c, struct bulk *bulk, double *seconds) {
    quire_key keys[BATCH];
    quire_dest dests[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        keys[i] = fixture_key(i);
        fixture_dest(&dests[i], &bulk->layout, bulk->memory + (size_t)i * BLOCK_BYTES, bulk->bases[i], i);
    }
    quire_lookup_args args = {.keys = keys, .n_keys = BATCH, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    uint64_t start = bench_now_ns();
    if (quire_lookup(bulk->net.ns, &args, NULL, &result) != QUIRE_OK || result.hits != BATCH) {
        return bench_fail(c, "lookup: %u of %u hit, %s", result.hits, (unsigned)BATCH, quire_last_error());
    }
    enum quire_status status = quire_fetch(result.lease, dests, BATCH, NULL, 20000);
    quire_release(&result.lease);
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return status == QUIRE_OK ? 0 : bench_fail(c, "fetch: %s", quire_last_error());
}

static int rounds(const struct bench_options *options, const struct bench_case *self, struct bulk *bulk, bool fetch) {
    double ours[ROUNDS], bare[ROUNDS], ratio[ROUNDS], seconds;
    uint8_t *memory = malloc(BLOCK_BYTES);
    int failed = memory != NULL ? store_batch(self, bulk, 0, &seconds) : bench_fail(self, "no memory");
    for (uint32_t round = 0; failed == 0 && round < ROUNDS + 1; round++) {
        double t_ours = 0, t_bare = 0;
        failed = tls_loop_read(self, &bulk->loop, memory, BLOCK_BYTES, BATCH, &t_bare);
        if (failed == 0) {
            failed = fetch ? fetch_batch(self, bulk, &t_ours) : store_batch(self, bulk, (uint64_t)(round + 1) * BATCH, &t_ours);
        }
        if (failed == 0 && round > 0) { /* the first one warms up */
            ours[round - 1] = (double)BATCH * BLOCK_BYTES / t_ours / 1e9;
            bare[round - 1] = (double)BATCH * BLOCK_BYTES / t_bare / 1e9;
            ratio[round - 1] = ours[round - 1] / bare[round - 1];
            bench_trace(options, "round %u: %.2f of %.2f GB/s", round, ours[round - 1], bare[round - 1]);
        }
    }
    free(memory);
    if (failed == 0) {
        bench_report(options, "net", self, bench_median(ours, ROUNDS), "GB/s", bench_median(bare, ROUNDS), bench_median(ratio, ROUNDS));
    }
    return failed;
}

static int run(const struct bench_options *options, const struct bench_case *self, bool fetch) {
    struct bulk bulk;
    int failed = bulk_start(options, self, &bulk);
    failed = failed != 0 ? failed : rounds(options, self, &bulk, fetch);
    bulk_stop(&bulk);
    return failed;
}

int net_fetch_tls(const struct bench_options *options, const struct bench_case *self) { return run(options, self, true); }
int net_store_tls(const struct bench_options *options, const struct bench_case *self) { return run(options, self, false); }

/* ---- idle ------------------------------------------------------------------------------------------------------------------------- */
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

int net_idle(const struct bench_options *options, const struct bench_case *self) {
    static quire_client *clients[SESSIONS];
    struct net net;
    int failed = net_start(options, self, "64MiB", &net);
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
