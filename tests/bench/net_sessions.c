/*
 * 64 sessions at once over a wire, each a process of its own as workers on other hosts are, with blocks of three sizes and three amounts asked for
 * at once: what all get together against what one gets alone, and what the slowest gets of its fair share. Each asks without pause, so bytes
 * a second are its share; whoever asks for more at once is to get no more.
 */
#include "proto/base/base.h"
#include "tests/bench/net.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSIONS = 64, ROUNDS = 3, ALONE_MS = 400, TOGETHER_MS = 2000, MOST_LAYERS = 32, MOST_AT_ONCE = 32, KINDS = 3 };

static const struct kind {
    const char *name;              /* of its namespace */
    uint32_t block_bytes, at_once; /* blocks a fetch */
    uint16_t layers, heads;
} kinds[KINDS] = {{"small", 64u << 10, 32, 8, 1}, {"middle", 512u << 10, 8, 16, 4}, {"large", 2u << 20, 4, 32, 8}};

/* What a session is told, and what it tells: 0 bytes is that it failed. */
struct task {
    uint64_t for_ns;
};
struct told {
    uint64_t bytes, ns; /* in whole fetches; how long they took */
};

struct worker {
    const struct kind *kind;
    quire_client *client;
    quire_ns *ns;
    quire_layout layout;
    quire_lease *lease;
    uint8_t *memory;
    quire_key keys[MOST_AT_ONCE];
    void *bases[MOST_AT_ONCE][2 * MOST_LAYERS];
};

static bool worker_open(const struct bench_case *c, const struct kind *kind, struct worker *worker) {
    *worker = (struct worker){.kind = kind, .client = worker->client, .memory = malloc((size_t)kind->at_once * kind->block_bytes)};
    fixture_layout(&worker->layout, kind->layers, kind->heads);
    for (uint32_t i = 0; i < kind->at_once; i++) {
        worker->keys[i] = fixture_key(i);
    }
    if (worker->memory == NULL || quire_ns_open(worker->client, kind->name, &worker->layout, &worker->ns) != QUIRE_OK) {
        bench_fail(c, "cannot open namespace %s: %s", kind->name, quire_last_error());
        return false;
    }
    memset(worker->memory, 1, (size_t)kind->at_once * kind->block_bytes);
    return true;
}

static void worker_close(struct worker *worker) {
    quire_ns_close(&worker->ns);
    free(worker->memory);
}

static bool worker_store(const struct bench_case *c, struct worker *worker) {
    quire_source sources[MOST_AT_ONCE];
    for (uint32_t i = 0; i < worker->kind->at_once; i++) {
        fixture_source(&sources[i], &worker->layout, worker->memory + (size_t)i * worker->kind->block_bytes,
                       (const void **)worker->bases[i], &worker->keys[i]);
    }
    return quire_store(worker->ns, sources, worker->kind->at_once, NULL, 20000, NULL) == QUIRE_OK ||
           bench_fail(c, "store: %s", quire_last_error()) == 0;
}

static bool worker_lease(const struct bench_case *c, struct worker *worker) {
    quire_lookup_args args = {.keys = worker->keys, .n_keys = worker->kind->at_once, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    quire_release(&worker->lease);
    bool good = quire_lookup(worker->ns, &args, NULL, &result) == QUIRE_OK && result.hits == args.n_keys;
    worker->lease = result.lease;
    return good || bench_fail(c, "lookup: %s", quire_last_error()) == 0;
}

static bool worker_fetch(const struct bench_case *c, struct worker *worker) {
    quire_dest dests[MOST_AT_ONCE];
    for (uint32_t i = 0; i < worker->kind->at_once; i++) {
        fixture_dest(&dests[i], &worker->layout, worker->memory + (size_t)i * worker->kind->block_bytes, worker->bases[i], i);
    }
    return quire_fetch(worker->lease, dests, worker->kind->at_once, NULL, 60000) == QUIRE_OK ||
           bench_fail(c, "fetch: %s", quire_last_error()) == 0;
}

static struct told worker_run(const struct bench_case *c, struct worker *worker, uint64_t for_ns) {
    struct told told = {0};
    if (!worker_lease(c, worker)) {
        return told;
    }
    uint64_t start = bench_now_ns();
    do {
        if (!worker_fetch(c, worker)) {
            return (struct told){0};
        }
        told.bytes += (uint64_t)worker->kind->at_once * worker->kind->block_bytes;
        told.ns = bench_now_ns() - start;
    } while (told.ns < for_ns);
    return told;
}

/* ---- processes ------------------------------------------------------------------------------------------------------------------ */
struct sessions {
    struct net net;
    pid_t pids[SESSIONS];
    int fds[SESSIONS];
};

static bool give(int fd, const void *message, size_t bytes) { return send(fd, message, bytes, MSG_NOSIGNAL) == (ssize_t)bytes; }
static bool take(int fd, void *message, size_t bytes) { return recv(fd, message, bytes, 0) == (ssize_t)bytes; }

static void work(const struct bench_case *c, const struct net *net, const struct kind *kind, int fd) {
    struct worker worker = {0};
    struct task task;
    struct told told = {.bytes = 1};
    if (net_open(c, net, &worker.client) != 0 || !worker_open(c, kind, &worker)) {
        _exit(1);
    }
    while (give(fd, &told, sizeof told) && take(fd, &task, sizeof task)) {
        told = worker_run(c, &worker, task.for_ns);
    }
    _exit(0);
}

/* Before this process has anything of the wire's own: a library such as UCX does not survive a fork. */
static int spawn_all(const struct bench_case *c, struct sessions *sessions) {
    struct told told;
    bool good = true;
    for (uint32_t i = 0; i < SESSIONS && good; i++) {
        int fds[2];
        good = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0;
        sessions->pids[i] = good ? fork() : -1;
        if (sessions->pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            work(c, &sessions->net, &kinds[i % KINDS], fds[1]);
        }
        if (good) {
            close(fds[1]);
            sessions->fds[i] = fds[0];
        }
        good = good && sessions->pids[i] > 0;
    }
    for (uint32_t i = 0; i < SESSIONS && good; i++) {
        good = take(sessions->fds[i], &told, sizeof told);
    }
    return good ? 0 : bench_fail(c, "not all of %u sessions came", (unsigned)SESSIONS);
}

static void stop_all(struct sessions *sessions) {
    for (uint32_t i = 0; i < SESSIONS; i++) {
        if (sessions->fds[i] >= 0) {
            close(sessions->fds[i]);
        }
        if (sessions->pids[i] > 0) {
            kill(sessions->pids[i], SIGKILL);
            waitpid(sessions->pids[i], NULL, 0);
        }
    }
}

/* ---- rounds --------------------------------------------------------------------------------------------------------------------- */
static uint32_t time_ms(const struct bench_options *options, uint32_t ms) { return options->tiny ? ms / 10 : ms; }

/* n sessions at once, from `first` on: bytes a second of each. */
static int run_some(const struct bench_case *c, const struct sessions *sessions, uint32_t first, uint32_t n, uint32_t for_ms,
                    double *rates) {
    const struct task task = {.for_ns = for_ms * QUIRE_NS_PER_MS};
    struct told told;
    bool good = true;
    for (uint32_t i = 0; i < n; i++) {
        good = good && give(sessions->fds[first + i], &task, sizeof task);
    }
    for (uint32_t i = 0; i < n && good; i++) {
        good = take(sessions->fds[first + i], &told, sizeof told) && told.bytes > 0;
        rates[i] = good ? (double)told.bytes / (double)told.ns * 1e9 : 0;
    }
    return good ? 0 : bench_fail(c, "a session failed");
}

/* One alone, as much of each size as of another: so that a fair share of all sizes compares with it. */
static int run_alone(const struct bench_options *options, const struct bench_case *c, const struct sessions *sessions, double *rate) {
    double each, seconds_a_byte = 0;
    int failed = 0;
    for (uint32_t i = 0; failed == 0 && i < KINDS; i++) {
        failed = run_some(c, sessions, i, 1, time_ms(options, ALONE_MS), &each);
        bench_trace(options, "alone, %s: %.3f GB/s", kinds[i].name, each / 1e9);
        seconds_a_byte += 1 / each / KINDS;
    }
    *rate = 1 / seconds_a_byte;
    return failed;
}

static int measure(const struct bench_options *options, const struct bench_case *c, const struct sessions *sessions) {
    double alone[ROUNDS], total[ROUNDS], ratio[ROUNDS], slowest[ROUNDS], rates[SESSIONS];
    const uint32_t rounds = options->tiny ? 1 : ROUNDS;
    int failed = 0;
    for (uint32_t round = 0; failed == 0 && round < rounds; round++) {
        failed = run_alone(options, c, sessions, &alone[round]) != 0 ||
                 run_some(c, sessions, 0, SESSIONS, time_ms(options, TOGETHER_MS), rates) != 0;
        total[round] = 0;
        for (uint32_t i = 0; failed == 0 && i < SESSIONS; i++) {
            total[round] += rates[i] / 1e9;
            bench_trace(options, "session %u, %s: %.3f GB/s", i, kinds[i % KINDS].name, rates[i] / 1e9);
        }
        alone[round] /= 1e9;
        ratio[round] = total[round] / alone[round];
        slowest[round] = bench_median(rates, SESSIONS) > 0 ? rates[0] / 1e9 / (total[round] / SESSIONS) : 0; /* the median sorts */
    }
    if (failed == 0) {
        double all = bench_median(total, rounds), share = bench_median(slowest, rounds), fair = all / SESSIONS;
        bench_report(options, "net", c, all, "GB/s", bench_median(alone, rounds), bench_median(ratio, rounds));
        net_report(options, c, "slowest", sessions->net.wire == NET_UCX ? ">= 0.5" : "none", share * fair, "GB/s", fair, share);
    }
    return failed;
}

static int fill(const struct bench_case *c, struct net *net) {
    bool good = true;
    for (size_t i = 0; good && i < KINDS; i++) {
        struct worker worker = {.client = net->fixture.client}; /* beside the daemon: quicker, and nothing of the wire's */
        good = worker_open(c, &kinds[i], &worker) && worker_store(c, &worker);
        worker_close(&worker);
    }
    return good ? 0 : 1;
}

static int run(const struct bench_options *options, const struct bench_case *self, enum net_wire wire) {
    static struct sessions sessions;
    memset(&sessions, 0, sizeof sessions);
    memset(sessions.fds, 0xff, sizeof sessions.fds);
    int failed = net_serve(options, self, wire, "256MiB", "", &sessions.net);
    failed = failed != 0 ? failed : fill(self, &sessions.net);
    failed = failed != 0 ? failed : spawn_all(self, &sessions);
    failed = failed != 0 ? failed : measure(options, self, &sessions);
    stop_all(&sessions);
    net_stop(&sessions.net);
    return failed;
}

int net_sessions_tcp(const struct bench_options *options, const struct bench_case *self) { return run(options, self, NET_UCX); }
int net_sessions_tls(const struct bench_options *options, const struct bench_case *self) { return run(options, self, NET_TLS); }
