/* Bulk bytes over a wire: fetch and store of 2 MiB blocks, each wire against what its library does without us. */
#include "proto/base/base.h"
#include "tests/bench/net.h"
#include "tests/bench/net_am.h"
#include "tests/bench/tcp_loop.h"

#include <stdlib.h>

enum { BATCH = NET_AM_PIECES, LAYERS = 32, HEADS = 8, ROUNDS = 15, MOST_CEILINGS = 4 };
/* Rounds of stores that fill the pool, so that those which count find memory that was used before, and evict. */
#define POOL "192MiB"
enum { WARM_ROUNDS = 6 };
#define BLOCK_BYTES NET_AM_PIECE_BYTES

struct bulk {
    struct net net;
    struct tls_loop tls;
    struct tcp_loop tcp;
    struct net_am *am;
    quire_layout layout;
    uint8_t *memory, *other; /* BATCH blocks each: ours, the ceilings' */
    void *bases[BATCH][2 * LAYERS];
};

/* ---- ceilings ------------------------------------------------------------------------------------------------------------------- */
struct ceiling {
    const char *suffix; /* NULL: the one that the case is held against */
    int (*read)(const struct bench_case *c, struct bulk *bulk, double *seconds);
};

static int read_am(const struct bench_case *c, struct bulk *bulk, bool hash, bool poll, double *seconds) {
    const struct net_am_order order = {.ask_bytes = 64, .bytes = BLOCK_BYTES, .n = BATCH, .hash = hash, .poll = poll};
    int failed = net_am_run(c, bulk->am, &order, bulk->other, seconds);
    return failed == 0 && poll ? net_am_rest(c, bulk->am) : failed;
}

static int read_hashed(const struct bench_case *c, struct bulk *bulk, double *seconds) { return read_am(c, bulk, true, false, seconds); }
static int read_polled(const struct bench_case *c, struct bulk *bulk, double *seconds) { return read_am(c, bulk, true, true, seconds); }
static int read_unhashed(const struct bench_case *c, struct bulk *bulk, double *seconds) { return read_am(c, bulk, false, false, seconds); }

static int read_tcp(const struct bench_case *c, struct bulk *bulk, double *seconds) {
    return tcp_loop_read(c, &bulk->tcp, bulk->other, BLOCK_BYTES, BATCH, seconds);
}

static int read_tls(const struct bench_case *c, struct bulk *bulk, double *seconds) {
    return tls_loop_read(c, &bulk->tls, bulk->other, BLOCK_BYTES, BATCH, seconds);
}

/* Of each wire, up to the one without `read`. The first sleeps when there is nothing to do, as quired and libquire do. */
static const struct ceiling ceilings[][MOST_CEILINGS + 1] = {
    [NET_TLS] = {{NULL, read_tls}},
    [NET_UCX] = {{NULL, read_hashed}, {"polled", read_polled}, {"unhashed", read_unhashed}, {"stream", read_tcp}},
};

static int ceilings_start(const struct bench_case *c, enum net_wire wire, struct bulk *bulk) {
    int failed = wire == NET_UCX ? net_am_start(c, &bulk->am) : 0;
    return failed == 0 && wire == NET_UCX ? tcp_loop_start(c, &bulk->tcp) : failed;
}

/* ---- ours ----------------------------------------------------------------------------------------------------------------------- */
static int bulk_start(const struct bench_options *options, const struct bench_case *c, enum net_wire wire, struct bulk *bulk) {
    memset(bulk, 0, sizeof *bulk);
    bulk->tls.fd = bulk->tcp.fd = -1;
    fixture_layout(&bulk->layout, LAYERS, HEADS);
    bulk->memory = malloc((size_t)BATCH * BLOCK_BYTES);
    bulk->other = calloc(BATCH, BLOCK_BYTES);
    if (bulk->memory == NULL || bulk->other == NULL) {
        return bench_fail(c, "no memory");
    }
    uint64_t seed = 1;
    for (size_t i = 0; i < (size_t)BATCH * BLOCK_BYTES / 8; i++) {
        ((uint64_t *)(void *)bulk->memory)[i] = bench_random(&seed);
    }
    int failed = ceilings_start(c, wire, bulk);
    failed = failed != 0 ? failed : net_start(options, c, wire, POOL, "", &bulk->net);
    failed = failed != 0 || wire != NET_TLS ? failed : tls_loop_start(c, bulk->net.certificate, &bulk->tls);
    if (failed == 0 && quire_ns_open(bulk->net.client, "bench", &bulk->layout, &bulk->net.ns) != QUIRE_OK) {
        return bench_fail(c, "cannot open a namespace: %s", quire_last_error());
    }
    return failed;
}

static void bulk_stop(struct bulk *bulk) {
    tls_loop_stop(&bulk->tls);
    tcp_loop_stop(&bulk->tcp);
    net_stop(&bulk->net);
    net_am_stop(&bulk->am);
    free(bulk->memory);
    free(bulk->other);
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

/* ---- rounds --------------------------------------------------------------------------------------------------------------------- */
/* Processor time. */
struct spent {
    double from, seconds;
};

static void spent_begin(struct spent *spent, pid_t pid) { spent->from = net_processor_seconds(pid); }
static void spent_end(struct spent *spent, pid_t pid) { spent->seconds += net_processor_seconds(pid) - spent->from; }

struct figures {
    struct spent here, daemon, bare_here, bare_there;
    double ours[ROUNDS], bare[MOST_CEILINGS][ROUNDS], ratio[MOST_CEILINGS][ROUNDS];
};

static int one_ours(const struct bench_case *self, struct bulk *bulk, bool fetch, uint32_t number, struct figures *figures,
                    double *seconds) {
    pid_t daemon = bulk->net.fixture.daemon;
    spent_begin(&figures->here, 0);
    spent_begin(&figures->daemon, daemon);
    int failed = fetch ? fetch_batch(self, bulk, seconds) : store_batch(self, bulk, (uint64_t)number * BATCH, seconds);
    spent_end(&figures->here, 0);
    spent_end(&figures->daemon, daemon);
    return failed;
}

static int one_bare(const struct bench_case *self, struct bulk *bulk, const struct ceiling *ceiling, struct figures *figures,
                    double *seconds) {
    pid_t other = bulk->am != NULL ? net_am_peer(bulk->am) : bulk->tls.writer;
    bool counts = ceiling->suffix == NULL;
    spent_begin(&figures->bare_here, 0);
    spent_begin(&figures->bare_there, other);
    int failed = ceiling->read(self, bulk, seconds);
    if (counts) {
        spent_end(&figures->bare_here, 0);
        spent_end(&figures->bare_there, other);
    }
    return failed;
}

static int one_round(const struct bench_case *self, struct bulk *bulk, bool fetch, uint32_t number, uint32_t into,
                     struct figures *figures) {
    const struct ceiling *ceiling = ceilings[bulk->net.wire];
    double seconds, ours;
    int failed = one_ours(self, bulk, fetch, number, figures, &ours);
    for (uint32_t i = 0; failed == 0 && ceiling[i].read != NULL; i++) {
        failed = one_bare(self, bulk, &ceiling[i], figures, &seconds);
        figures->ours[into] = (double)BATCH * BLOCK_BYTES / ours / 1e9;
        figures->bare[i][into] = (double)BATCH * BLOCK_BYTES / seconds / 1e9;
        figures->ratio[i][into] = seconds / ours;
    }
    return failed;
}

static uint32_t rounds_of(const struct bench_options *options) { return options->tiny ? 1 : ROUNDS; }
static uint32_t warm_rounds_of(const struct bench_options *options) { return options->tiny ? 0 : WARM_ROUNDS; }

static void report(const struct bench_options *options, const struct bench_case *self, enum net_wire wire, struct figures *figures) {
    const uint32_t n = rounds_of(options);
    double ours = bench_median(figures->ours, n);
    for (uint32_t i = 0; ceilings[wire][i].read != NULL; i++) {
        double bare = bench_median(figures->bare[i], n), ratio = bench_median(figures->ratio[i], n);
        if (ceilings[wire][i].suffix == NULL) {
            bench_report(options, "net", self, ours, "GB/s", bare, ratio);
        } else {
            net_report(options, self, ceilings[wire][i].suffix, "none", ours, "GB/s", bare, ratio);
        }
    }
    const double gigabytes = (double)(warm_rounds_of(options) + n) * BATCH * BLOCK_BYTES / 1e9;
    bench_note(options, "processor time a GB: %.2f s here and %.2f s in quired; of the ceiling %.2f s here and %.2f s in the other process",
               figures->here.seconds / gigabytes, figures->daemon.seconds / gigabytes, figures->bare_here.seconds / gigabytes,
               figures->bare_there.seconds / gigabytes);
}

static int rounds(const struct bench_options *options, const struct bench_case *self, struct bulk *bulk, bool fetch) {
    static struct figures figures;
    figures = (struct figures){0};
    const uint32_t warm = warm_rounds_of(options);
    double seconds;
    int failed = store_batch(self, bulk, 0, &seconds);
    for (uint32_t round = 0; failed == 0 && round < warm + rounds_of(options); round++) {
        uint32_t into = round < warm ? 0 : round - warm; /* what warms up is written over */
        failed = one_round(self, bulk, fetch, round + 1, into, &figures);
        bench_trace(options, "round %u: %.2f of %.2f GB/s", round, figures.ours[into], figures.bare[0][into]);
    }
    if (failed == 0) {
        report(options, self, bulk->net.wire, &figures);
    }
    return failed;
}

static int run(const struct bench_options *options, const struct bench_case *self, enum net_wire wire, bool fetch) {
    struct bulk bulk;
    int failed = bulk_start(options, self, wire, &bulk);
    failed = failed != 0 ? failed : rounds(options, self, &bulk, fetch);
    bulk_stop(&bulk);
    return failed;
}

int net_fetch_tcp(const struct bench_options *options, const struct bench_case *self) { return run(options, self, NET_UCX, true); }
int net_store_tcp(const struct bench_options *options, const struct bench_case *self) { return run(options, self, NET_UCX, false); }
int net_fetch_tls(const struct bench_options *options, const struct bench_case *self) { return run(options, self, NET_TLS, true); }
int net_store_tls(const struct bench_options *options, const struct bench_case *self) { return run(options, self, NET_TLS, false); }
