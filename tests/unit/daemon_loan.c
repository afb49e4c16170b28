/* A loan: one thread's things in another one's hands while it sleeps, never in both. */
#include "daemon/loan.h"
#include "daemon/loop.h"

#include <criterion/criterion.h>
#include <unistd.h>

static struct loan loan;
static struct loop *loop;
static struct loop_wakeup last;
static struct loop_source source;
static int ends[2], calls;
static bool over;

static void source_ready(struct loop_source *self, uint32_t events) {
    (void)self;
    (void)events;
    calls++;
}

static void last_woken(struct loop_wakeup *self) {
    (void)self;
    over = true;
}

static void *owner_run(void *arg) {
    (void)arg;
    while (!over) {
        loop_turn(loop, UINT64_MAX, &loan);
    }
    return NULL;
}

static bool on_offer(void) {
    pthread_mutex_lock(&loan.lock);
    bool offered = loan.offered;
    pthread_mutex_unlock(&loan.lock);
    return offered;
}

/* The owner was asked for something while its things are lent: it waits, and what the borrower took away meanwhile is not used any more. */
Test(daemon_loan, the_owner_waits_for_its_borrower, .timeout = 60) {
    pthread_t owner;
    loan_setup(&loan);
    cr_assert_not(loan_borrow(&loan), "nobody offered it");
    cr_assert(loop_create(&loop) == QUIRE_OK && pipe(ends) == 0);
    last.woken = last_woken;
    source = (struct loop_source){.fd = ends[0], .events = EPOLLIN, .ready = source_ready};
    cr_assert(loop_wakeup_add(loop, &last) == QUIRE_OK && loop_add(loop, &source) == QUIRE_OK);
    cr_assert_eq(pthread_create(&owner, NULL, owner_run, NULL), 0);
    while (!loan_borrow(&loan)) {
        usleep(1000);
    }
    cr_assert_not(loan_borrow(&loan), "somebody else has it");
    cr_assert_eq(write(ends[1], "x", 1), 1);
    while (on_offer()) {
        usleep(1000);
    }
    loop_remove(loop, &source); /* found ready already */
    cr_assert_not(loan_borrow(&loan), "the owner wants it back");
    loan_return(&loan);
    loop_wake(&last);
    pthread_join(owner, NULL);
    cr_expect_eq(calls, 0, "a source was called that was removed before");
    loop_wakeup_remove(loop, &last);
    loop_destroy(&loop);
    loan_teardown(&loan);
    close(ends[0]);
    close(ends[1]);
}
