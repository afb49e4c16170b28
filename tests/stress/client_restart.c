/*
 * libquire across restarts of its daemon: threads derive keys, look up, fetch and view while the daemon is killed and started again under them,
 * and while this process forks. A plain main, so that the thread sanitizer can watch. The daemon is kept by a process of its own, forked
 * before there are threads. Exits 0 when no wrong byte was called a hit, the client found back each time, and each forked child lived.
 */
#include "tests/unit/client_quired.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 3, RESTARTS = 6, BLOCKS = 2, AGAIN_MS = 30000 };

static struct quired quired;
static quire_client *client;
static quire_ns *ns;
static atomic_uint wrong, hits;
static atomic_bool over;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, quire_last_error());
    atomic_fetch_add(&wrong, 1);
}

/* ---- the daemon's keeper -------------------------------------------------------------------------------------------------- */
static int keeper_fd[2]; /* orders go down, an answer comes back: one byte each */

static void keep(int orders, int answers) {
    uint8_t byte = quired_start(&quired);
    while (write(answers, &byte, 1) == 1 && read(orders, &byte, 1) == 1) {
        quired_kill(&quired);
        byte = quired_start(&quired);
    }
    _exit(quired_stop(&quired));
}

static bool keeper_answers(void) {
    uint8_t byte = 0;
    return read(keeper_fd[1], &byte, 1) == 1 && byte == 1;
}

static bool restart(void) { return write(keeper_fd[0], "r", 1) == 1 && keeper_answers(); }

/* Its process, or -1. */
static pid_t keeper_start(void) {
    int down[2], up[2];
    snprintf(quired.folder, sizeof(quired.folder), "/tmp/quire-test-XXXXXX");
    if (mkdtemp(quired.folder) == NULL || pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) {
        return -1;
    }
    snprintf(quired.path, sizeof(quired.path), "%s/quired.sock", quired.folder);
    pid_t pid = fork();
    if (pid == 0) {
        close(down[1]);
        close(up[0]);
        keep(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    keeper_fd[0] = down[1];
    keeper_fd[1] = up[0];
    return pid > 0 && keeper_answers() ? pid : -1;
}

/* ---- the worker ----------------------------------------------------------------------------------------------------------- */
static void use(quire_lease *lease, const quire_layout *layout) {
    struct toy want, got;
    quire_view view;
    toy_fill(&want, 0);
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 0);
    if (quire_fetch(lease, &dest, 1, NULL, 0) == QUIRE_OK) {
        atomic_fetch_add(&hits, 1);
        if (memcmp(want.k, got.k, sizeof(want.k)) != 0 || memcmp(want.v, got.v, sizeof(want.v)) != 0) {
            fail("fetched bytes are not the stored ones");
        }
    }
    if (quire_view_begin(lease, 0, 0, &view) == QUIRE_OK) {
        const uint16_t *lane = quire_view_lane(&view, layout, 0, 0, 0, 0, NULL);
        uint16_t seen = lane[0];
        if (quire_view_end(lease, &view) == QUIRE_OK && seen != toy_element(0, 0, 0, 0, 0, 0)) {
            fail("a viewed element is not the stored one");
        }
    }
}

static void *work(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    while (!atomic_load(&over)) {
        quire_lookup_result found;
        quire_key keys[BLOCKS];
        toy_keys(ns, seed, keys, BLOCKS); /* reads the root and the layout, whatever the connection does */
        toy_store(ns, keys, BLOCKS);      /* misses while the daemon is away */
        if (toy_lookup(ns, keys, BLOCKS, &found) == QUIRE_OK && found.lease != NULL) {
            use(found.lease, quire_ns_layout(ns));
        }
        quire_release(&found.lease);
    }
    return NULL;
}

static bool comes_back(void) {
    quire_lookup_result found;
    quire_key keys[1];
    toy_keys(ns, 99, keys, 1);
    for (int ms = 0; ms < AGAIN_MS; ms += 10) {
        if (toy_lookup(ns, keys, 1, &found) == QUIRE_OK) {
            quire_release(&found.lease);
            return true;
        }
        quired_sleep_ms(10);
    }
    return false;
}

/* The threads, too, find stored blocks again. */
static bool hits_again(void) {
    unsigned before = atomic_load(&hits);
    for (int ms = 0; ms < AGAIN_MS && atomic_load(&hits) == before; ms += 5) {
        quired_sleep_ms(5);
    }
    return atomic_load(&hits) != before;
}

/* A child of a process full of threads: its handles are its own. */
static void fork_one(void) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(120);
        _exit(comes_back() ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail("a forked child found no daemon");
    }
}

static void run_all(void) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, work, (void *)i);
    }
    for (int i = 0; i < RESTARTS; i++) {
        if (!restart() || !comes_back() || !hits_again()) {
            fail("the client did not find back");
            break;
        }
        fork_one();
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void) {
    int stopped = -1;
    pid_t keeper = keeper_start();
    quire_options options = {.address = quired.path, .ingest_bytes = 1u << 20, .default_deadline_ms = 30000};
    quire_layout layout = toy_layout();
    if (keeper < 0 || quire_open(&options, &client) != QUIRE_OK || quire_ns_open(client, "toy", &layout, &ns) != QUIRE_OK) {
        fail("start");
        return 2;
    }
    run_all();
    quire_ns_close(&ns);
    quire_close(&client);
    close(keeper_fd[0]);
    waitpid(keeper, &stopped, 0);
    printf("%u fetches hit, %u problems, the keeper ended with %d\n", atomic_load(&hits), atomic_load(&wrong), stopped);
    return atomic_load(&wrong) == 0 && atomic_load(&hits) > 0 && stopped == 0 ? 0 : 1;
}
