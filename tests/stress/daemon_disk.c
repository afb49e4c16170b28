/*
 * A core with a disk tier under many writers, for the thread sanitizer: the work pool sums what is read and written, the backend's threads read and write
 * pools, and the loop has records loaded, scrubbed and dropped meanwhile. The pool is so small that most blocks are only on disk soon. Afterwards
 * everything is stopped, started and found again.
 */
#define FRAMES_PLAIN
#include "tests/unit/daemon_frames.h"

#include "daemon/disk/disk.h"

#define THREADS 3
#define ROUNDS 20
#define BLOCKS 48

static struct frames_daemon daemon_;
static _Atomic uint32_t writing = THREADS;

static void *writer(void *arg) {
    uint32_t worker = *(const uint32_t *)arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct frames_client client;
        char name[16];
        frames_open(&client, &daemon_);
        quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
        snprintf(name, sizeof name, "n%u", worker * ROUNDS + round);
        frames_store(&client, frames_ns_open(&client, name, QUIRE_OK), BLOCKS);
        frames_close(&client);
    }
    writing--;
    return NULL;
}

/* A session leaves when three others have come after it: some of its reads have begun by then, the others are given up. */
static void take_turns(struct core *core, uint64_t session) {
    static uint64_t present[4];
    static uint32_t turn;
    pager_session_close(core->pager, present[turn % QUIRE_ARRAY_LEN(present)], false);
    present[turn++ % QUIRE_ARRAY_LEN(present)] = session;
}

/* On the loop: a session leases what a namespace has, wants it in memory, and leaves before or after it is there. */
static void load(struct core *core, void *arg) {
    uint32_t *ns = arg;
    uint64_t session;
    uint8_t keys[BLOCKS * QUIRE_KEY_BYTES], misses[BLOCKS];
    struct quire_wire_grant grants[BLOCKS];
    struct pager_load_item items[BLOCKS];
    if (pager_ns_layout(core->pager, (uint16_t)*ns) == NULL || pager_session_open(core->pager, 0, &session) != QUIRE_OK) {
        return;
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        quire_key key = frames_key(i + 1);
        memcpy(keys + i * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
    }
    const struct pager_lease_request request = {.session = session, .ns = (uint16_t)*ns, .keys = keys, .n_keys = BLOCKS};
    struct pager_lease_reply reply = {.misses = misses, .grants = grants, .grants_capacity = BLOCKS};
    if (pager_lease(core->pager, core->now_ns, &request, &reply) == QUIRE_OK && reply.n_grants > 0) {
        for (uint32_t i = 0; i < reply.n_grants; i++) {
            items[i] = (struct pager_load_item){.slot = grants[i].slot};
        }
        pager_load(core->pager, core->now_ns, session, reply.lease, items, reply.n_grants, LOADS_NOBODY, core->now_ns + QUIRE_NS_PER_S);
    }
    take_turns(core, session);
    scrub_verify_now(disk_scrub(core->disk_tier), 0);
}

static bool has_read(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    return stats.counters->disk_reads > BLOCKS && stats.counters->disk_corrupt == 0;
}
static bool found(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring && stats.counters->disk_restored > 0 && stats.counters->disk_corrupt == 0;
}

static void config(const char *path) {
    frames_config(&daemon_);
    daemon_.config.work_threads = 3;
    daemon_.config.domains[0].pool_bytes = 4 << 20;
    daemon_.config.disk.segment_bytes = 256 << 10;
    daemon_.config.disk.io_backend = DISK_IO_THREADS;
    daemon_.config.disk.pager.write_delay_ms = 1;
    daemon_.config.n_files = 2;
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(daemon_.config.files[i].path, sizeof daemon_.config.files[i].path, "%s.log%u", path, i);
        daemon_.config.files[i].size_bytes = 32 << 20;
    }
}

int main(void) {
    char path[64], file[80];
    pthread_t threads[THREADS];
    uint32_t workers[THREADS], ns = 0;
    snprintf(path, sizeof path, "/tmp/quire-stress-%d", (int)getpid());
    config(path);
    frames_start(&daemon_);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = i;
        cr_assert_eq(pthread_create(&threads[i], NULL, writer, &workers[i]), 0);
    }
    for (uint32_t after = 0; after < 2 * THREADS * ROUNDS; after += writing == 0) {
        cr_assert_eq(core_call(daemon_.core, load, &ns, FRAMES_WAIT_MS), QUIRE_OK);
        ns = (ns + 1) % (THREADS * ROUNDS);
        usleep(1000);
    }
    cr_assert(frames_until(&daemon_, has_read, 0));
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    frames_stop(&daemon_);
    config(path);
    frames_start(&daemon_);
    cr_assert(frames_until(&daemon_, found, 0));
    frames_stop(&daemon_);
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s.log%u", path, i);
        unlink(file);
        snprintf(file, sizeof file, "%s.log%u.meta", path, i);
        unlink(file);
    }
    return 0;
}
