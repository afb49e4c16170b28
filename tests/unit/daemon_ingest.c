/* The budget of ingest windows: what is lent, who waits, what is asked back and taken. Time is given, owners are numbers. */
#include "daemon/ingest.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MS 1000000ull
#define KIB 1024ull

static struct ingest *ingest;
static char owners[INGEST_MAX_WAITING];
static struct {
    void *owner;
    uint64_t request;
    enum quire_status status;
    struct ingest_window *window;
    uint32_t answers, recalls;
    void *recalled;
} told;

static void answer(void *owner, uint64_t request, enum quire_status status, struct ingest_window *window) {
    told.owner = owner;
    told.request = request;
    told.status = status;
    told.window = window;
    told.answers++;
}
static void recall(void *owner, const struct ingest_window *window) {
    (void)window;
    told.recalled = owner;
    told.recalls++;
}

static void start(void) {
    const struct ingest_limits limits = {
        .budget_bytes = 64 * KIB, .window_bytes = 32 * KIB, .idle_ns = 2000 * MS, .grace_ns = 2000 * MS, .wanted_ns = 250 * MS};
    const struct ingest_ops ops = {.answer = answer, .recall = recall};
    cr_assert_eq(ingest_create(&limits, &ops, &ingest), QUIRE_OK);
}
static void stop(void) { ingest_destroy(&ingest); }

static struct ingest_window *get(int owner, uint64_t bytes, uint64_t now_ms) {
    struct ingest_window *window = NULL;
    cr_assert_eq(ingest_get(ingest, &owners[owner], 1, bytes, now_ms * MS, now_ms * MS, &window), QUIRE_OK);
    cr_assert_not_null(window);
    return window;
}

/* A window has whole pages, can be neither shrunk nor grown by whoever has its descriptor, and counts until it is returned. */
Test(daemon_ingest, a_window_is_sealed_and_counted, .init = start, .fini = stop) {
    struct ingest_window *window = get(0, 5000, 0);
    cr_assert_eq(window->bytes, 8192);
    cr_assert_neq(ftruncate(window->fd, 0), 0);
    cr_assert_neq(ftruncate(window->fd, 1 << 20), 0);
    cr_assert_neq(fcntl(window->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0, "its seals can be changed");
    cr_assert_eq(ingest_lent_bytes(ingest), 8192);
    cr_assert_eq(ingest_owner_bytes(ingest, &owners[0]), 8192);
    cr_assert_eq(ingest_return(ingest, &owners[1], window->number), QUIRE_NOT_FOUND, "somebody else returned it");
    cr_assert_eq(ingest_return(ingest, &owners[0], window->number), QUIRE_OK);
    cr_assert_eq(ingest_lent_bytes(ingest), 0);
}

/* No owner gets more than its share, in bytes or in windows. */
Test(daemon_ingest, an_owner_has_a_share, .init = start, .fini = stop) {
    struct ingest_window *window;
    cr_assert_eq(get(0, 0, 0)->bytes, 32 * KIB, "0 asks for all it may have");
    cr_assert_eq(ingest_get(ingest, &owners[0], 1, 1, 0, 1000 * MS, &window), QUIRE_TOO_LARGE);
    for (int i = 0; i < INGEST_MAX_WINDOWS_PER_OWNER; i++) {
        get(1, 1, 0);
    }
    cr_assert_eq(ingest_get(ingest, &owners[1], 1, 1, 0, 1000 * MS, &window), QUIRE_TOO_LARGE);
    cr_assert_eq(ingest_get(ingest, &owners[2], 1, 32 * KIB, 0, 0, &window), QUIRE_RETRY, "the budget has only half of that left");
    cr_assert_eq(get(2, 8 * KIB, 0)->bytes, 8 * KIB);
    ingest_owner_gone(ingest, &owners[0]);
    cr_assert_eq(get(2, 0, 0)->bytes, 24 * KIB, "the rest of its share");
}

/* When all is lent, requests wait in order of arrival; each return serves the next; a small request that would fit does not overtake. */
Test(daemon_ingest, first_come_first_served, .init = start, .fini = stop) {
    struct ingest_window *a = get(0, 32 * KIB, 0), *b = get(1, 28 * KIB, 0), *window = NULL;
    cr_assert_eq(ingest_get(ingest, &owners[2], 7, 32 * KIB, 0, 0, &window), QUIRE_RETRY, "no time to wait");
    cr_assert_eq(ingest_get(ingest, &owners[2], 8, 32 * KIB, 0, 1000 * MS, &window), QUIRE_PENDING);
    cr_assert_eq(ingest_get(ingest, &owners[3], 9, 4096, 0, 1000 * MS, &window), QUIRE_PENDING);
    ingest_return(ingest, &owners[1], b->number);
    cr_assert_eq(told.answers, 0, "a return by itself answers nobody");
    cr_assert_eq(ingest_deadline(ingest), 0);
    ingest_tick(ingest, 1 * MS);
    cr_assert_eq(told.answers, 1);
    cr_assert_eq(told.owner, &owners[2]);
    cr_assert_eq(told.request, 8);
    cr_assert_eq(told.status, QUIRE_OK);
    ingest_return(ingest, &owners[0], a->number);
    ingest_tick(ingest, 2 * MS);
    cr_assert_eq(told.answers, 2);
    cr_assert_eq(told.owner, &owners[3]);
    cr_assert_eq(ingest_lent_bytes(ingest), 32 * KIB + 4096);
    cr_assert_eq(ingest_counters(ingest)->waits, 2);
}

/* The deadline of a waiting request is kept, a cancelled one is not answered, and those of an owner that is gone neither. */
Test(daemon_ingest, waiting_ends, .init = start, .fini = stop) {
    struct ingest_window *window = NULL, *a = get(0, 32 * KIB, 0);
    get(1, 32 * KIB, 0);
    ingest_use(ingest, a, 0);
    cr_assert_eq(ingest_get(ingest, &owners[2], 1, 4096, 0, 100 * MS, &window), QUIRE_PENDING);
    cr_assert_eq(ingest_get(ingest, &owners[3], 2, 4096, 0, 50 * MS, &window), QUIRE_PENDING);
    cr_assert_eq(ingest_get(ingest, &owners[4], 3, 4096, 0, 50 * MS, &window), QUIRE_PENDING);
    cr_assert_eq(ingest_cancel(ingest, &owners[3], 2), QUIRE_OK);
    cr_assert_eq(ingest_cancel(ingest, &owners[3], 2), QUIRE_NOT_FOUND);
    ingest_owner_gone(ingest, &owners[4]);
    ingest_tick(ingest, 99 * MS);
    cr_assert_eq(told.answers, 0);
    cr_assert_leq(ingest_deadline(ingest), 100 * MS);
    ingest_tick(ingest, 100 * MS);
    cr_assert_eq(told.answers, 1);
    cr_assert_eq(told.status, QUIRE_TIMEOUT);
    cr_assert_null(told.window);
    ingest_unuse(ingest, a, 100 * MS);
}

/* An idle window is asked back; one that is not given back is taken, and its number is dead. Use in between starts the time anew. */
Test(daemon_ingest, idle_windows_come_back, .init = start, .fini = stop) {
    struct ingest_window *window = get(0, 4096, 0);
    uint32_t number = window->number;
    ingest_tick(ingest, 1999 * MS);
    cr_assert_eq(told.recalls, 0);
    ingest_tick(ingest, 2000 * MS);
    cr_assert_eq(told.recalls, 1);
    cr_assert_eq(told.recalled, &owners[0]);
    ingest_use(ingest, window, 2500 * MS);
    ingest_tick(ingest, 9000 * MS);
    cr_assert_not_null(ingest_find(ingest, &owners[0], number), "a window in use was taken");
    ingest_unuse(ingest, window, 9000 * MS);
    ingest_tick(ingest, 11000 * MS);
    cr_assert_eq(told.recalls, 2);
    ingest_tick(ingest, 12999 * MS);
    cr_assert_not_null(ingest_find(ingest, &owners[0], number));
    ingest_tick(ingest, 13000 * MS);
    cr_assert_null(ingest_find(ingest, &owners[0], number));
    cr_assert_eq(ingest_lent_bytes(ingest), 0);
    cr_assert_eq(ingest_deadline(ingest), UINT64_MAX);
}

/* While somebody waits, a window that nobody uses is asked back at once and taken a quarter of a second later. */
Test(daemon_ingest, the_waiting_need_not_wait_for_the_sleeping, .init = start, .fini = stop) {
    struct ingest_window *window = NULL;
    get(0, 32 * KIB, 0);
    get(1, 32 * KIB, 0);
    cr_assert_eq(ingest_get(ingest, &owners[2], 5, 4096, 10 * MS, 1000 * MS, &window), QUIRE_PENDING);
    ingest_tick(ingest, 10 * MS);
    cr_assert_eq(told.recalls, 2);
    ingest_tick(ingest, 259 * MS);
    cr_assert_eq(told.answers, 0);
    ingest_tick(ingest, 260 * MS);
    cr_assert_eq(told.answers, 1);
    cr_assert_eq(told.status, QUIRE_OK);
}

/* The memory of an owner that is gone stays readable for the puts that read it, and counts until they end. */
Test(daemon_ingest, puts_outlive_their_owner, .init = start, .fini = stop) {
    struct ingest_window *window = get(0, 4096, 0);
    cr_assert_eq(pwrite(window->fd, "kept", 4, 0), 4);
    ingest_use(ingest, window, 0);
    ingest_owner_gone(ingest, &owners[0]);
    cr_assert_eq(ingest_lent_bytes(ingest), 4096);
    cr_assert_eq(memcmp(window->base, "kept", 4), 0);
    ingest_unuse(ingest, window, 0);
    cr_assert_eq(ingest_lent_bytes(ingest), 0);
}

/* While somebody waits, writers that are always busy give way too: the one that has held its window longest is asked first, use does not put
   that off, and no more are asked than are needed. What is taken while puts read it is freed when they are done. */
Test(daemon_ingest, the_busy_give_way, .init = start, .fini = stop) {
    struct ingest_window *older = get(0, 32 * KIB, 0), *newer = get(1, 32 * KIB, 50), *window = NULL;
    uint32_t number = older->number;
    ingest_use(ingest, older, 100 * MS);
    ingest_use(ingest, newer, 100 * MS);
    cr_assert_eq(ingest_get(ingest, &owners[2], 5, 4096, 110 * MS, 9000 * MS, &window), QUIRE_PENDING);
    ingest_tick(ingest, 249 * MS);
    cr_assert_eq(told.recalls, 0, "it has just begun");
    cr_assert_eq(ingest_deadline(ingest), 250 * MS);
    ingest_tick(ingest, 300 * MS);
    cr_assert_eq(told.recalls, 1);
    cr_assert_eq(told.recalled, &owners[0]);
    ingest_use(ingest, older, 400 * MS);
    ingest_unuse(ingest, older, 401 * MS);
    ingest_tick(ingest, 549 * MS);
    cr_assert_not_null(ingest_find(ingest, &owners[0], number));
    cr_assert_eq(ingest_deadline(ingest), 550 * MS);
    ingest_tick(ingest, 550 * MS);
    cr_assert_null(ingest_find(ingest, &owners[0], number), "it goes on storing");
    cr_assert_eq(told.answers, 0, "its memory is still being read");
    ingest_unuse(ingest, older, 560 * MS);
    ingest_tick(ingest, 560 * MS);
    cr_assert_eq(told.answers, 1);
    cr_assert_eq(told.status, QUIRE_OK);
    cr_assert_eq(told.recalls, 1);
    ingest_unuse(ingest, newer, 570 * MS);
}

/* The queue is bounded, and so is what one owner may have in it. */
Test(daemon_ingest, the_queue_is_bounded, .init = start, .fini = stop) {
    struct ingest_window *window = NULL;
    get(0, 32 * KIB, 0);
    get(1, 32 * KIB, 0);
    for (uint32_t i = 0; i < INGEST_MAX_WAITING_PER_OWNER; i++) {
        cr_assert_eq(ingest_get(ingest, &owners[2], i, 4096, 0, 1000 * MS, &window), QUIRE_PENDING);
    }
    cr_assert_eq(ingest_get(ingest, &owners[2], 9, 4096, 0, 1000 * MS, &window), QUIRE_RETRY, "its share of the queue");
    for (uint32_t i = INGEST_MAX_WAITING_PER_OWNER; i < INGEST_MAX_WAITING; i++) {
        cr_assert_eq(ingest_get(ingest, &owners[i / INGEST_MAX_WAITING_PER_OWNER + 2], i, 4096, 0, 1000 * MS, &window), QUIRE_PENDING);
    }
    cr_assert_eq(ingest_get(ingest, &owners[INGEST_MAX_WAITING - 1], 1, 4096, 0, 1000 * MS, &window), QUIRE_RETRY);
}
