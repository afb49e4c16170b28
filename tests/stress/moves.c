/*
 * Records of mixed sizes in a pool that is too small for them, for the thread sanitizer: several clients store, look up, fetch and compare at
 * once, some hold leases while they go on. Free bytes lie in pieces, so that the daemon evicts and moves records under the readers' eyes. A wrong
 * byte under a lease ends it all, and so does a run in which nothing was moved: it would have shown nothing. The seed is printed.
 */
#define FRAMES_PLAIN
#include "tests/unit/daemon_frames.h"

#include "client/quire.h"

enum { THREADS = 4, ROUNDS = 1000, NUMBERS = 200, HELD = 4, SMALLEST = 20 << 10, LARGEST = 1 << 20 };

static struct frames_daemon daemon_;
static uint64_t seed_;
static _Atomic uint64_t fetched, stored, refused;

struct worker {
    uint64_t state;
    quire_client *client;
    quire_ns *ns;
    uint8_t *bytes;
    quire_lease *held[HELD];
};

static uint64_t next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Small ones are many and large ones few: a random power of two, and a random length up to it. */
static uint64_t size_of(uint32_t number) {
    uint64_t state = number * 77ull + 1, top = (uint64_t)SMALLEST << (next(&state) % 6);
    uint64_t size = SMALLEST + next(&state) % top;
    return size < LARGEST ? size : LARGEST;
}

static uint64_t word_of(uint32_t number, uint64_t at) { return (number + 1ull) * 0x9e3779b97f4a7c15u ^ at; }

static void fill(uint8_t *bytes, uint32_t number) {
    for (uint64_t at = 0, size = size_of(number); at < size; at += 8) {
        uint64_t word = word_of(number, at);
        memcpy(bytes + at, &word, quire_min_u64(8, size - at));
    }
}

static bool is_right(const uint8_t *bytes, uint32_t number) {
    for (uint64_t at = 0, size = size_of(number); at < size; at += 8) {
        uint64_t word = word_of(number, at);
        if (memcmp(bytes + at, &word, quire_min_u64(8, size - at)) != 0) {
            return false;
        }
    }
    return true;
}

static void store(struct worker *worker, uint32_t number) {
    fill(worker->bytes, number);
    quire_source source = {.key = frames_key(number), .flags = QUIRE_STORE_PARENT_UNKNOWN, .n_tokens = 16};
    source.opaque = worker->bytes;
    source.opaque_bytes = size_of(number);
    enum quire_status status = quire_store(worker->ns, &source, 1, NULL, FRAMES_WAIT_MS, NULL);
    cr_assert(status == QUIRE_OK || status == QUIRE_FULL || status == QUIRE_RETRY);
    (status == QUIRE_OK ? &stored : &refused)[0]++;
}

static void fetch(struct worker *worker, quire_lease *lease, uint32_t number) {
    memset(worker->bytes, 0xEE, size_of(number));
    quire_dest dest = {.opaque = worker->bytes, .opaque_bytes = size_of(number)};
    cr_assert_eq(quire_fetch(lease, &dest, 1, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(is_right(worker->bytes, number));
    fetched++;
}

/* What is there is compared, and one lease in four is kept for a while; what is not is stored. */
static void step(struct worker *worker) {
    uint32_t number = (uint32_t)(next(&worker->state) % NUMBERS), slot = (uint32_t)(next(&worker->state) % HELD);
    quire_key key = frames_key(number);
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .flags = QUIRE_LOOKUP_EACH, .deadline_ms = FRAMES_WAIT_MS};
    quire_lookup_result result = {0};
    cr_assert_eq(quire_lookup(worker->ns, &args, NULL, &result), QUIRE_OK);
    if (result.hits == 0) {
        store(worker, number);
    } else {
        fetch(worker, result.lease, number);
        if (next(&worker->state) % 4 == 0) {
            quire_lease *before = worker->held[slot];
            worker->held[slot] = result.lease;
            result.lease = before;
        }
    }
    quire_release(&result.lease);
}

static void *work(void *arg) {
    struct worker worker = {.state = seed_ + (uintptr_t)arg, .bytes = malloc(LARGEST)};
    quire_layout layout = {.opaque = true, .block_tokens = 16, .engine = "stress", .engine_format = "1"};
    quire_options options = {.address = daemon_.config.socket_path, .client_name = "moves"};
    cr_assert_not_null(worker.bytes);
    cr_assert_eq(quire_open(&options, &worker.client), QUIRE_OK);
    cr_assert_eq(quire_ns_open(worker.client, "moves", &layout, &worker.ns), QUIRE_OK);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        step(&worker);
    }
    for (uint32_t i = 0; i < HELD; i++) {
        quire_release(&worker.held[i]);
    }
    quire_ns_close(&worker.ns);
    quire_close(&worker.client);
    free(worker.bytes);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t workers[THREADS];
    seed_ = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)getpid() * 1000003;
    printf("seed %llu\n", (unsigned long long)seed_);
    frames_config(&daemon_);
    daemon_.config.domains[0].pool_bytes = 12 << 20;
    daemon_.config.ingest_bytes = 16 << 20;
    daemon_.config.ingest_window_bytes = 4 << 20;
    frames_start(&daemon_);
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&workers[i], NULL, work, (void *)i);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i], NULL);
    }
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, frames_idle, 0));
    const struct pager_counters *counters = pager_counters(daemon_.core->pager);
    printf("%llu stored, %llu refused, %llu fetched, %llu evictions, %llu moves\n", (unsigned long long)stored, (unsigned long long)refused,
           (unsigned long long)fetched, (unsigned long long)counters->evicted_blocks, (unsigned long long)counters->moves);
    cr_assert(fetched > 0 && counters->evicted_blocks > 0 && counters->moves > 0);
    frames_stop(&daemon_);
    return 0;
}
