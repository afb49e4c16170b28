/* The work pool and the mailbox: every job runs once and is reaped once; calls from other threads run on the loop or end in time. */
#include "daemon/mailbox.h"
#include "daemon/workpool.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- work pool ------------------------------------------------------------------------------------------------------------ */
struct job {
    struct work work;
    atomic_uint ran;
    uint32_t done;
};
static atomic_uint woken;
static uint32_t reaped;

static void wake(void *ctx) {
    (void)ctx;
    woken++;
}
static void run(struct work *work) { LOOP_CONTAINER(work, struct job, work)->ran++; }
static void done(struct work *work) {
    LOOP_CONTAINER(work, struct job, work)->done++;
    reaped++;
}

/* A hundred thousand jobs in lists of all sizes through a queue of 64: the room is never more than it was, each runs and is done once. */
Test(daemon_workpool, every_job_runs_and_is_done_once) {
    enum { N = 100000, CAPACITY = 64 };
    struct workpool *pool;
    struct job *jobs = calloc(N, sizeof *jobs);
    uint32_t next = 0;
    cr_assert_eq(workpool_create(3, CAPACITY, wake, NULL, &pool), QUIRE_OK);
    while (reaped < N) {
        struct work *list = NULL;
        uint32_t room = workpool_room(pool);
        cr_assert_leq(room, CAPACITY);
        for (uint32_t i = 0; i < room && i <= next % 7 && next < N; i++) {
            jobs[next].work = (struct work){.run = run, .done = done, .next = list};
            list = &jobs[next++].work;
        }
        workpool_submit(pool, list);
        workpool_reap(pool);
    }
    cr_assert_eq(workpool_room(pool), CAPACITY);
    cr_assert_gt(woken, 0);
    workpool_destroy(&pool);
    cr_assert_null(pool);
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_eq(jobs[i].ran, 1);
        cr_assert_eq(jobs[i].done, 1);
    }
    free(jobs);
}

static atomic_bool go_on;
static void run_long(struct work *work) {
    LOOP_CONTAINER(work, struct job, work)->ran++;
    while (!go_on) {
        usleep(1000);
    }
}
static void *let_go(void *arg) {
    (void)arg;
    usleep(50000);
    go_on = true;
    return NULL;
}

/* Destroying waits for the job that runs, drops what is queued behind it, and calls `done` for neither. */
Test(daemon_workpool, destroying_ends_the_running_and_drops_the_queued) {
    struct workpool *pool;
    pthread_t thread;
    struct job jobs[32] = {0};
    cr_assert_eq(workpool_create(1, 32, wake, NULL, &pool), QUIRE_OK);
    for (uint32_t i = 0; i < 32; i++) {
        jobs[i].work = (struct work){.run = i == 0 ? run_long : run, .done = done};
        workpool_submit(pool, &jobs[i].work);
    }
    cr_assert_eq(workpool_room(pool), 0);
    while (jobs[0].ran == 0) {
        usleep(1000);
    }
    pthread_create(&thread, NULL, let_go, NULL);
    workpool_destroy(&pool);
    cr_assert(go_on, "the running job was not waited for");
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < 32; i++) {
        cr_assert_eq(jobs[i].ran, i == 0);
        cr_assert_eq(jobs[i].done, 0);
    }
}

/* ---- mailbox -------------------------------------------------------------------------------------------------------------- */
static struct loop *loop;
static struct mailbox mailbox;
static atomic_bool leave, hold;
static atomic_uint called;

static void call(struct core *core, void *arg) {
    (void)core;
    (void)arg;
    while (hold) {
        usleep(1000);
    }
    called++;
}
static void *serve(void *arg) {
    (void)arg;
    mailbox_attach(&mailbox);
    cr_assert_eq(mailbox_call(&mailbox, call, NULL, 1), QUIRE_OK, "on its own thread a call runs at once");
    while (!leave) {
        loop_turn(loop, loop_now_ns() + QUIRE_NS_PER_MS, NULL);
    }
    mailbox_close(&mailbox);
    return NULL;
}
static void *caller(void *arg) {
    uint32_t *good = arg;
    for (int i = 0; i < 1000; i++) {
        enum quire_status status = mailbox_call(&mailbox, call, NULL, 20000);
        *good += status == QUIRE_OK;
    }
    return NULL;
}
static void setup(void) {
    cr_assert_eq(loop_create(&loop), QUIRE_OK);
    cr_assert_eq(mailbox_setup(&mailbox, loop, (struct core *)(void *)&loop), QUIRE_OK);
}
static void teardown(void) {
    mailbox_teardown(&mailbox, loop);
    loop_destroy(&loop);
}

/* Four threads call at once; each call has run when it returns. */
Test(daemon_mailbox, calls_run_on_the_loop, .init = setup) {
    pthread_t server, callers[4];
    uint32_t good[4] = {0};
    pthread_create(&server, NULL, serve, NULL);
    for (int i = 0; i < 4; i++) {
        pthread_create(&callers[i], NULL, caller, &good[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(callers[i], NULL);
        cr_assert_eq(good[i], 1000);
    }
    cr_assert_eq(called, 4001);
    leave = true;
    pthread_join(server, NULL);
    cr_assert_eq(mailbox_call(&mailbox, call, NULL, 20000), QUIRE_CANCELLED, "closed");
    teardown();
}

/* With nobody serving, calls time out; their slots stay taken until somebody comes, so that the 65th is refused at once. */
Test(daemon_mailbox, calls_end_in_time_and_are_bounded, .init = setup) {
    pthread_t server;
    for (int i = 0; i < MAILBOX_SLOTS; i++) {
        cr_assert_eq(mailbox_call(&mailbox, call, NULL, 1), QUIRE_TIMEOUT);
    }
    cr_assert_eq(mailbox_call(&mailbox, call, NULL, 1), QUIRE_RETRY);
    pthread_create(&server, NULL, serve, NULL);
    while (called < MAILBOX_SLOTS + 1) {
        usleep(1000);
    }
    cr_assert_eq(mailbox_call(&mailbox, call, NULL, 20000), QUIRE_OK, "the slots are free again");
    leave = true;
    pthread_join(server, NULL);
    teardown();
}
