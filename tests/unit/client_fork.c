#include "client/internal.h"
#include "tests/unit/client_quired.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

#define CHILD_CHECK(condition)                                                                                                             \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fprintf(stderr, "child: line %d: %s (%s)\n", __LINE__, #condition, quire_last_error());                                        \
            _exit(1);                                                                                                                      \
        }                                                                                                                                  \
    } while (0)

static bool is_mapped(const void *address) {
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long low, high;
    char rest[512];
    bool found = false;
    while (maps != NULL && fscanf(maps, "%lx-%lx%511[^\n]\n", &low, &high, rest) == 3) {
        found |= (uintptr_t)address >= low && (uintptr_t)address < high;
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return found;
}

static int wait_for(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

/* In the child: the parent's lease, mapping and job are not there; the same handles work on a session of its own. */
static void live_in_child(quire_lease *inherited, quire_view *view, quire_job job, const quire_key *keys, uint64_t session, int event_fd) {
    quire_info info;
    quire_lookup_result found;
    struct toy want, got;
    CHILD_CHECK(!is_mapped(view->record));
    CHILD_CHECK(quire_view_end(inherited, view) == QUIRE_STALE);
    CHILD_CHECK(!quire_lease_valid(inherited));
    CHILD_CHECK(quire_wait(client, job, 10) == QUIRE_NOT_FOUND);
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 0);
    CHILD_CHECK(quire_fetch(inherited, &dest, 1, NULL, 0) == QUIRE_STALE);
    CHILD_CHECK(toy_lookup(ns, keys, 2, &found) == QUIRE_OK);
    CHILD_CHECK(found.hits == 2);
    CHILD_CHECK(quire_get_info(client, &info) == QUIRE_OK && info.connected && info.session != session);
    dest.key_index = 1;
    CHILD_CHECK(quire_fetch(found.lease, &dest, 1, NULL, 0) == QUIRE_OK);
    toy_fill(&want, 1);
    CHILD_CHECK(memcmp(want.k, got.k, sizeof(want.k)) == 0);
    quire_release(&inherited);
    quire_release(&found.lease);
    quire_key more[1];
    toy_keys(ns, 77, more, 1);
    CHILD_CHECK(toy_store(ns, more, 1) == QUIRE_OK);
    CHILD_CHECK(quire_event_fd(client) >= 0 || event_fd >= 0);
    quire_ns_close(&ns);
    quire_close(&client);
    _exit(0);
}

/* A worker forks with a lease, a view and a job in its hands. The child lives on its own; the parent notices nothing of the child's life or end. */
Test(client_fork, child_and_parent, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_key keys[2];
    quire_lookup_result found, late;
    quire_view view;
    quire_info before, after;
    toy_keys(ns, 1, keys, 2);
    cr_assert_eq(toy_store(ns, keys, 2), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 2, &found), QUIRE_OK);
    cr_assert_eq(quire_view_begin(found.lease, 0, 0, &view), QUIRE_OK);
    quire_get_info(client, &before);
    int event_fd = quire_event_fd(client);
    kill(quired.pid, SIGSTOP); /* so that the job is under way when the fork comes */
    quire_lookup_args args = {.keys = keys, .n_keys = 2, .deadline_ms = 30000};
    quire_job job = quire_submit_lookup(ns, &args, NULL, &late, NULL);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        kill(quired.pid, SIGCONT);
        live_in_child(found.lease, &view, job, keys, before.session, event_fd);
    }
    cr_assert_eq(wait_for(child), 0);
    cr_assert_eq(quire_wait(client, job, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(late.hits, 2);
    quire_release(&late.lease);
    cr_assert(quire_lease_valid(found.lease));
    cr_assert_eq(quire_view_end(found.lease, &view), QUIRE_OK);
    struct toy got;
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 1);
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK);
    quire_get_info(client, &after);
    cr_assert_eq(after.session, before.session);
    cr_assert_eq(after.reconnects, 0);
    quire_release(&found.lease);
}

/* A worker forks while a fetch that it submitted is under way, as a member and as a guest who has half of a copy. In the child the lease is the caller's
   alone: its release is the end of it. In the parent the fetch goes on. */
static void fetch_across_fork(void) {
    static struct toy got;
    quire_lookup_result found;
    quire_key keys[1];
    toy_keys(ns, 6, keys, 1);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 0);
    quire_job job = quire_submit_fetch(found.lease, &dest, 1, NULL, 20000, NULL);
    cr_assert_neq(job, 0u);
    if (quired.guest) {
        quire_drain(client, NULL, 0); /* asks for the first slice */
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        CHILD_CHECK(quire_wait(client, job, 10) == QUIRE_NOT_FOUND);
        CHILD_CHECK(atomic_load(&found.lease->refs) == 1);
        quire_release(&found.lease);
        CHILD_CHECK(list_empty(&client->leases));
        quire_ns_close(&ns);
        quire_close(&client);
        _exit(0);
    }
    cr_assert_eq(wait_for(child), 0);
    cr_assert_eq(quire_wait(client, job, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert(quire_lease_valid(found.lease));
    quire_release(&found.lease);
}

Test(client_fork, fetch_of_a_member, .init = worker_start, .fini = worker_stop, .timeout = 100) { fetch_across_fork(); }

static void start_guest(void) {
    quired.guest = true;
    worker_start();
}

Test(client_fork, fetch_of_a_guest, .init = start_guest, .fini = worker_stop, .timeout = 100) { fetch_across_fork(); }

static atomic_bool enough;

static void *keep_calling(void *arg) {
    quire_key keys[1];
    toy_keys(ns, 5 + (uint32_t)(uintptr_t)arg, keys, 1);
    while (!atomic_load(&enough)) {
        quire_lookup_result found;
        toy_lookup(ns, keys, 1, &found);
        quire_release(&found.lease);
        toy_store(ns, keys, 1);
    }
    return NULL;
}

/* Forks while other threads are in the middle of calls: no child inherits a held lock or a half-made state. */
Test(client_fork, among_threads, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, keep_calling, (void *)i);
    }
    for (int i = 0; i < 20; i++) {
        quired_sleep_ms(2);
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            quire_key keys[1];
            quire_lookup_result found;
            toy_keys(ns, 5, keys, 1);
            CHILD_CHECK(toy_lookup(ns, keys, 1, &found) == QUIRE_OK);
            _exit(0);
        }
        cr_assert_eq(wait_for(child), 0);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    quire_info info;
    quire_get_info(client, &info);
    cr_assert_eq(info.reconnects, 0);
}

/* A child that only closes what it inherited, the library's own thread included, does so without waiting for anybody. */
Test(client_fork, close_in_child, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_options options = {.address = quired.path, .flags = QUIRE_OPEN_PROGRESS_THREAD};
    quire_client *other;
    quire_lookup_result found;
    quire_key keys[1];
    toy_keys(ns, 3, keys, 1);
    cr_assert_eq(quire_open(&options, &other), QUIRE_OK);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        quire_close(&other);
        quire_ns_close(&ns);
        quire_close(&client);
        _exit(0);
    }
    cr_assert_eq(wait_for(child), 0);
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    quire_close(&other);
}

static void on_alarm(int signal_number) { (void)signal_number; }

/* Signals that interrupt system calls interrupt no call of ours. */
Test(client_fork, signals, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval often = {.it_interval.tv_usec = 300, .it_value.tv_usec = 300}, never = {0};
    quire_key keys[4];
    quire_lookup_result found;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        toy_keys(ns, 10 + i, keys, 4);
        cr_assert_eq(toy_store(ns, keys, 4), QUIRE_OK, "%s", quire_last_error());
        cr_assert_eq(toy_lookup(ns, keys, 4, &found), QUIRE_OK, "%s", quire_last_error());
        cr_assert_eq(found.hits, 4);
        quire_release(&found.lease);
    }
    setitimer(ITIMER_REAL, &never, NULL);
}
