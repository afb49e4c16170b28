#include "tests/unit/client_double.h"

#include <criterion/criterion.h>

static struct twin twin;
static quire_client *client;
static quire_ns *ns;
static atomic_uint asked;

static void answer(int fd, uint64_t request) {
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.epoch = DOUBLE_EPOCH;
    twin_send(fd, QUIRE_MSG_GRANTS, request, &grants.base, 0, NULL, 0);
}

/* Answers nothing until two have asked; then the first, and a good while later the second. */
static void first_then_second(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    static uint64_t first;
    (void)self, (void)body;
    if (frame->type != QUIRE_MSG_LEASE) {
        return;
    }
    if (atomic_fetch_add(&asked, 1) == 0) {
        first = frame->request_id;
        return;
    }
    answer(fd, first);
    usleep(100000);
    answer(fd, frame->request_id);
}

/* Answers the second at once, and the first only when a third has asked: whoever got the second answer must have gone on. */
static void second_then_first(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    static uint64_t first;
    (void)self, (void)body;
    if (frame->type != QUIRE_MSG_LEASE) {
        return;
    }
    unsigned before = atomic_fetch_add(&asked, 1);
    if (before == 0) {
        first = frame->request_id;
        return;
    }
    answer(fd, frame->request_id);
    if (before == 2) {
        answer(fd, first);
    }
}

static void *ask(void *arg) {
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 10000};
    *(enum quire_status *)arg = quire_lookup(ns, &args, NULL, &found);
    return NULL;
}

static void *ask_twice(void *arg) {
    ask(arg);
    return *(enum quire_status *)arg == QUIRE_OK ? ask(arg) : NULL;
}

static void two_threads(uint32_t flags, void *(*second)(void *arg)) {
    quire_options options = {.address = twin.path, .flags = flags};
    quire_layout layout = {.n_layers = 1, .n_groups = 1, .block_tokens = 16};
    enum quire_status statuses[2];
    pthread_t threads[2];
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = 8, .v_dim = 8};
    cr_assert_eq(quire_open(&options, &client), QUIRE_OK);
    cr_assert_eq(quire_ns_open(client, "double", &layout, &ns), QUIRE_OK);
    for (unsigned i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, i == 0 ? ask : second, &statuses[i]);
        while (i == 0 && atomic_load(&asked) == 0) {
            usleep(1000);
        }
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(statuses[i], QUIRE_OK);
    }
    quire_ns_close(&ns);
    quire_close(&client);
}

static void start(void) {
    twin.script = first_then_second;
    twin_start(&twin);
}

static void stop(void) { twin_stop(&twin); }

/* Two threads wait; the one that polls gets its answer and goes home. The other must take over, or its answer would be read by nobody. */
Test(client_leader, follower_takes_over, .init = start, .fini = stop, .timeout = 60) { two_threads(0, ask); }

/* The same with the library's own thread about, which polls only for submitted jobs and must not be the one that is woken. */
Test(client_leader, not_the_thread, .init = start, .fini = stop, .timeout = 60) { two_threads(QUIRE_OPEN_PROGRESS_THREAD, ask); }

static void start_reversed(void) {
    twin.script = second_then_first;
    twin_start(&twin);
}

/* The thread that polls reads an answer that is not its own: the other is woken for it while the first goes on polling. */
Test(client_leader, follower_is_served, .init = start_reversed, .fini = stop, .timeout = 60) { two_threads(0, ask_twice); }
