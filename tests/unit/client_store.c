#include "proto/base/base.h"
#include "tests/unit/client_double.h"

#include <criterion/criterion.h>
#include <math.h>

enum { WINDOW_BYTES = 1 << 20, WINDOW = 31 };

static struct twin twin;
static quire_client *client;
static quire_ns *ns;
static uint16_t lane[16][8];
static atomic_uint gets_seen, puts_seen, returns, items;
static unsigned refuse_gets;  /* so many requests for a window are answered with RETRY */
static int memory_fault;      /* 1: the window's memory is smaller than said, 2: it could shrink */
static uint8_t answers[8][2]; /* statuses of the first, second … put; PENDING ends the list */
static unsigned n_statuses;   /* 0: as many as items */
static unsigned refuse_puts;  /* so many are refused whole, with RETRY */
static float costs[8];        /* that the first, second … put told */
static quire_seq *seq;        /* what stores go through, NULL mostly */
static bool recall;
static struct quire_wire_put last_put;
static _Atomic uint64_t waiting_lookup; /* answered with the second put */

static void give_window(int fd, uint64_t request) {
    Quire__Wire__IngestAck ack = QUIRE__WIRE__INGEST_ACK__INIT;
    if (atomic_fetch_add(&gets_seen, 1) < refuse_gets) {
        ack.status = QUIRE_RETRY;
        ack.retry_after_ms = 3;
        twin_send(fd, QUIRE_MSG_INGEST_ACK, request, &ack.base, 0, NULL, 0);
        return;
    }
    int memory = twin_memory(memory_fault == 1 ? 4096 : WINDOW_BYTES, memory_fault != 2);
    ack.window = WINDOW;
    ack.bytes = WINDOW_BYTES;
    twin_send(fd, QUIRE_MSG_INGEST_ACK, request, &ack.base, 0, &memory, 1);
    close(memory);
}

static void answer_put(int fd, const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__Put *put = quire__wire__put__unpack(NULL, frame->body_bytes, body);
    unsigned n = (unsigned)(put->items.len / sizeof(struct quire_wire_put));
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    acks.epoch = DOUBLE_EPOCH;
    acks.retry_after_ms = 7;
    unsigned number = atomic_fetch_add(&puts_seen, 1);
    costs[number % 8] = put->us_per_token;
    acks.status = number < refuse_puts ? QUIRE_RETRY : QUIRE_OK;
    acks.statuses.data = answers[number % 8];
    acks.statuses.len = number < refuse_puts ? 0 : n_statuses != 0 ? n_statuses : n;
    atomic_fetch_add(&items, n);
    memcpy(&last_put, put->items.data + (n - 1) * sizeof(last_put), sizeof(last_put));
    twin_send(fd, QUIRE_MSG_ACKS, frame->request_id, &acks.base, 0, NULL, 0);
    if (waiting_lookup != 0 && atomic_load(&puts_seen) == 2) {
        Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
        grants.epoch = DOUBLE_EPOCH;
        twin_send(fd, QUIRE_MSG_GRANTS, waiting_lookup, &grants.base, 0, NULL, 0);
    }
    if (recall) {
        twin_send(fd, QUIRE_MSG_INGEST_RECALL, 0, NULL, 0, NULL, 0);
    }
    quire__wire__put__free_unpacked(put, NULL);
}

static void serve_stores(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)self;
    if (frame->type == QUIRE_MSG_LEASE) {
        waiting_lookup = frame->request_id;
    } else if (frame->type == QUIRE_MSG_INGEST_GET) {
        give_window(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_PUT) {
        answer_put(fd, frame, body);
    } else if (frame->type == QUIRE_MSG_INGEST_RETURN) {
        Quire__Wire__IngestReturn *back = quire__wire__ingest_return__unpack(NULL, frame->body_bytes, body);
        atomic_fetch_add(&returns, back->window == WINDOW);
        quire__wire__ingest_return__free_unpacked(back, NULL);
    }
}

static void start(void) {
    twin.script = serve_stores;
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
}

static void stop(void) {
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

static enum quire_status store_two(quire_source sources[2], uint32_t deadline_ms, uint32_t *retry_after_ms) {
    static const void *base[2] = {lane, lane};
    for (int i = 0; i < 2; i++) {
        sources[i] = (quire_source){
            .key = {{(uint8_t)(i + 1)}}, .n_tokens = 16, .k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    }
    return quire_store(ns, sources, 2, seq, deadline_ms, retry_after_ms);
}

/* A member's fuller block replaces the tail that it names; a guest may not, so its block goes without. */
static void supersede(bool guest) {
    static const void *base[2] = {lane, lane};
    quire_source source = {
        .key = {{1}}, .supersedes = {{7}}, .n_tokens = 16, .k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    twin.guest = guest;
    start();
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 20000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq((last_put.flags & QUIRE_WIRE_PUT_SUPERSEDES) == 0, guest);
    cr_assert_eq(last_put.supersedes.b[0] == 0, guest);
    stop();
}
Test(client_store, a_guest_replaces_nothing, .timeout = 60) { supersede(true); }
Test(client_store, a_member_replaces_its_tail, .timeout = 60) { supersede(false); }

/* What the daemon has no time for now goes again by itself, and only that. */
Test(client_store, retry, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    answers[0][1] = QUIRE_RETRY;
    answers[1][0] = QUIRE_RETRY;
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(sources[0].status, QUIRE_OK);
    cr_assert_eq(sources[1].status, QUIRE_OK);
    cr_assert_eq(atomic_load(&puts_seen), 3u);
    cr_assert_eq(atomic_load(&items), 4u);
}

/* What a token took is told once, with the next store: again when that frame is refused whole, not when only some of its blocks are. */
Test(client_store, cost, .init = start, .fini = stop, .timeout = 60) {
    static const float told[] = {250, 250, 0, 0, 8, 0};
    static const double bad[] = {NAN, INFINITY, -1, 1e-4, 6.1e7};
    quire_source sources[2];
    cr_assert_eq(quire_seq_create(ns, &seq), QUIRE_OK);
    cr_assert_eq(quire_seq_set_cost(NULL, 250), QUIRE_INVALID);
    cr_assert_eq(quire_seq_set_cost(seq, 250), QUIRE_OK);
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(bad); i++) {
        cr_assert_eq(quire_seq_set_cost(seq, bad[i]), QUIRE_INVALID, "%g", bad[i]);
        cr_assert_gt(strlen(quire_last_error()), 0);
    }
    cr_assert_eq(quire_store(ns, sources, 0, seq, 0, NULL), QUIRE_INVALID); /* not the next store: there was none */
    refuse_puts = 1;
    answers[1][1] = QUIRE_RETRY;
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(atomic_load(&puts_seen), 3u);
    cr_assert_eq(quire_seq_set_cost(seq, 9), QUIRE_OK);
    cr_assert_eq(quire_seq_set_cost(seq, 0), QUIRE_OK);
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK);
    cr_assert_eq(quire_seq_set_cost(seq, 8), QUIRE_OK);
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK);
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK);
    cr_assert_eq(atomic_load(&puts_seen), QUIRE_ARRAY_LEN(told));
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(told); i++) {
        cr_assert_eq(costs[i], told[i], "put %u told %g", i, (double)costs[i]);
    }
    quire_seq_destroy(&seq);
}

/* A daemon that says RETRY for ever: the call ends by its deadline, and the sources tell what they were told; or that one more put was under way then. */
Test(client_store, never, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    memset(answers, QUIRE_RETRY, sizeof(answers));
    cr_assert_eq(store_two(sources, 400, NULL), QUIRE_TIMEOUT);
    cr_assert(sources[0].status == QUIRE_RETRY || sources[0].status == QUIRE_TIMEOUT);
    cr_assert_gt(atomic_load(&puts_seen), 1u);
}

/* FULL is the daemon's last word after it waited for room: it comes with the hint, and the block that did find room is stored. */
Test(client_store, full, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    uint32_t retry_after_ms = 0;
    answers[0][0] = QUIRE_FULL;
    cr_assert_eq(store_two(sources, 20000, &retry_after_ms), QUIRE_FULL);
    cr_assert_eq(sources[0].status, QUIRE_FULL);
    cr_assert_eq(sources[1].status, QUIRE_OK);
    cr_assert_eq(retry_after_ms, 7u);
    cr_assert_eq(atomic_load(&puts_seen), 1u);
}

/* An answer for more blocks than were put, or with a status that does not exist, stores nothing. */
Test(client_store, nonsense, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    answers[0][0] = 200;
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_INTERNAL);
    n_statuses = 3;
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_CORRUPT);
    cr_assert_eq(sources[1].status, QUIRE_CORRUPT);
}

/* All windows are lent out at first: the store asks again as told. When its own is recalled it goes back, and the next store gets_seen another. */
Test(client_store, window, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    quire_info info;
    refuse_gets = 2;
    recall = true;
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(atomic_load(&gets_seen), 3u);
    for (int i = 0; i < 4000 && atomic_load(&returns) == 0; i++) {
        quire_get_info(client, &info);
        usleep(2000);
    }
    cr_assert_eq(atomic_load(&returns), 1u);
    cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_OK);
    cr_assert_eq(atomic_load(&gets_seen), 4u);
}

/* A window smaller than it says, or one that could shrink under our hands, is given back unused. */
Test(client_store, bad_window, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    for (memory_fault = 1; memory_fault <= 2; memory_fault++) {
        cr_assert_eq(store_two(sources, 20000, NULL), QUIRE_SYSTEM, "fault %d", memory_fault);
        cr_assert_eq(sources[0].status, QUIRE_SYSTEM);
    }
    cr_assert_eq(atomic_load(&puts_seen), 0u);
}

static void *look_up(void *arg) {
    quire_key key = {{9}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 20000};
    *(enum quire_status *)arg = quire_lookup(ns, &args, NULL, &found);
    return NULL;
}

/* Another thread polls, for something that comes late. A store that is to be sent again soon is sent again soon, not when that thread wakes up:
   here the lookup is answered only after the second put, which would never come. */
Test(client_store, retry_beside_a_leader, .init = start, .fini = stop, .timeout = 60) {
    quire_source sources[2];
    pthread_t thread;
    enum quire_status status = QUIRE_INTERNAL;
    refuse_gets = 1;
    answers[0][0] = QUIRE_RETRY;
    pthread_create(&thread, NULL, look_up, &status);
    while (waiting_lookup == 0) {
        usleep(1000);
    }
    usleep(20000); /* it polls by now; were it later, the test would only be easier */
    cr_assert_eq(store_two(sources, 10000, NULL), QUIRE_OK, "%s", quire_last_error());
    pthread_join(thread, NULL);
    cr_assert_eq(status, QUIRE_OK);
}
