/*
 * Many sessions at one core from many threads, for the thread sanitizer: they store, lease, read through the pool, release, ask for status and
 * leave, some without a word; meanwhile another thread calls into the loop as the HTTP server does. The pool is small, so that records are
 * evicted and moved under the readers' eyes; every record read under a lease must be right.
 */
#define FRAMES_PLAIN
#include "tests/unit/daemon_frames.h"

#define THREADS 4
#define ROUNDS 12
#define BLOCKS 48

static struct frames_daemon daemon_;
static _Atomic bool leave;

static void check_grants(const uint8_t *pool, const Quire__Wire__Grants *grants) {
    quire_layout layout;
    frames_layout(&layout);
    for (uint32_t i = 0; i < grants->grants.len / sizeof(struct quire_wire_grant); i++) {
        struct quire_wire_grant grant;
        struct quire_record record;
        memcpy(&grant, grants->grants.data + i * sizeof grant, sizeof grant);
        quire_key key = frames_key((uint32_t)grant.key_index + 1);
        cr_assert_eq(quire_record_open(pool + grant.offset, grant.size, &layout, &key, &record), QUIRE_OK);
        cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
    }
}

static void visit(uint32_t worker, uint32_t round) {
    struct frames_client client;
    char name[16];
    frames_open(&client, &daemon_);
    Quire__Wire__HelloAck *ack = frames_hello(&client);
    const uint8_t *pool = mmap(NULL, ack->pool_bytes, PROT_READ, MAP_SHARED, client.fds[0], 0);
    cr_assert(pool != MAP_FAILED);
    snprintf(name, sizeof name, "n%u", (worker + round) % 6);
    uint32_t ns = frames_ns_open(&client, name, QUIRE_OK);
    frames_store(&client, ns, BLOCKS);
    for (uint32_t i = 0; i < 5; i++) {
        Quire__Wire__Grants *grants = frames_lease(&client, ns, BLOCKS);
        cr_assert_eq(grants->status, QUIRE_OK);
        check_grants(pool, grants);
        if (i < 4) {
            frames_release(&client, grants->lease);
        }
        quire__wire__grants__free_unpacked(grants, NULL);
    }
    if (round % 2 == 0) {
        frames_send(&client, QUIRE_MSG_GOODBYE, NULL);
        frames_expect_end(&client);
    }
    munmap((void *)pool, ack->pool_bytes);
    quire__wire__hello_ack__free_unpacked(ack, NULL);
    frames_close(&client);
}

static void *work(void *arg) {
    for (uint32_t round = 0; round < ROUNDS; round++) {
        visit((uint32_t)(uintptr_t)arg, round);
    }
    return NULL;
}

static void look(struct core *core, void *arg) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply reply;
    (void)arg;
    for (uint32_t verb = QUIRE_ADMIN_STATUS; verb <= QUIRE_ADMIN_COUNTERS; verb++) {
        request.verb = verb == QUIRE_ADMIN_SESSION_LIST || verb == QUIRE_ADMIN_COUNTERS || verb == QUIRE_ADMIN_NS_LIST ? verb : 1;
        core_admin(core, &request, &reply);
        cr_assert_eq(reply.status, QUIRE_OK);
    }
}
static void *watch(void *arg) {
    (void)arg;
    while (!leave) {
        cr_assert_eq(core_call(daemon_.core, look, NULL, FRAMES_WAIT_MS), QUIRE_OK);
        cr_assert(core_heartbeat_age_ms(daemon_.core) < FRAMES_WAIT_MS);
        usleep(1000);
    }
    return NULL;
}

int main(void) {
    pthread_t workers[THREADS], watcher;
    frames_config(&daemon_);
    daemon_.config.domains[0].pool_bytes = 1 << 20; /* about two hundred records for six times forty-eight */
    frames_start(&daemon_);
    pthread_create(&watcher, NULL, watch, NULL);
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&workers[i], NULL, work, (void *)i);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i], NULL);
    }
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, frames_idle, 0));
    leave = true;
    pthread_join(watcher, NULL);
    printf("%llu puts, %llu evictions, %llu moves\n", (unsigned long long)pager_counters(daemon_.core->pager)->puts_stored,
           (unsigned long long)pager_counters(daemon_.core->pager)->evicted_blocks,
           (unsigned long long)pager_counters(daemon_.core->pager)->moves);
    frames_stop(&daemon_);
    return 0;
}
