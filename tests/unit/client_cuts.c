/* Blocks that the ingest window does not take at once: they go in parts, and the daemon refuses, forgets or takes away something in between. */
#include "proto/base/base.h"
#include "tests/unit/client_double.h"

#include <criterion/criterion.h>

/* A layer is a part, and a frame of its own. */
enum { LAYERS = 4, HEADS = 40, DIM = 512, TOKENS = 16, PUTS = 64, WINDOW_BYTES = LAYERS * HEADS * TOKENS * DIM * 4 };

/* What the double remembers of one put_id: as the daemon does, it takes a layer once, and knows what it has. */
struct half {
    uint64_t put_id;
    unsigned layers, times; /* times: that it became complete */
};

static struct twin twin;
static quire_client *client;
static quire_ns *ns, *big;
static uint16_t lane[TOKENS][DIM];
static quire_source source;
static struct half halves[8];
static atomic_uint gets_seen, puts_seen, returns, refused; /* refused: as INVALID or STALE, for something that was not scripted */
static _Atomic uint64_t last_put_id;
static uint8_t script[PUTS]; /* what the first, second … put is answered; OK: it is taken */
static uint8_t from_then_on; /* what all puts are answered from the third on; OK: the script */
static int taken_away;       /* put with which the window is gone; -1: none */
static int forgotten;        /* put before which everything half built is dropped; -1: none */
static int recalled;         /* put with which the window is recalled; -1: none */
static int hung_up;          /* put with which the connection ends; -1: none */

static void give_window(int fd, uint64_t request) {
    Quire__Wire__IngestAck ack = QUIRE__WIRE__INGEST_ACK__INIT;
    int memory = twin_memory(WINDOW_BYTES, true);
    ack.window = 1 + atomic_fetch_add(&gets_seen, 1);
    ack.bytes = WINDOW_BYTES;
    twin_send(fd, QUIRE_MSG_INGEST_ACK, request, &ack.base, 0, &memory, 1);
    close(memory);
}

static struct half *half_of(uint64_t put_id) {
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(halves); i++) {
        if (halves[i].put_id == put_id || halves[i].put_id == 0) {
            halves[i].put_id = put_id;
            return &halves[i];
        }
    }
    abort();
}

static uint8_t take(const struct quire_wire_put *put, uint8_t answer) {
    struct half *half = half_of(put->put_id);
    unsigned layers = ((1u << put->n_layers) - 1) << put->first_layer;
    bool lost = put->taken > (unsigned)__builtin_popcount(half->layers) * HEADS;
    atomic_store(&last_put_id, put->put_id);
    if (answer != QUIRE_OK) {
        return answer;
    }
    if ((half->layers & layers) != 0 || lost) {
        atomic_fetch_add(&refused, 1);
        return lost ? QUIRE_STALE : QUIRE_INVALID;
    }
    half->layers |= layers;
    if (half->layers == (1u << LAYERS) - 1) {
        half->times++;
    }
    return QUIRE_OK;
}

static void answer_put(int fd, const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__Put *put = quire__wire__put__unpack(NULL, frame->body_bytes, body);
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    uint8_t statuses[PUTS];
    int number = (int)atomic_fetch_add(&puts_seen, 1);
    acks.epoch = DOUBLE_EPOCH;
    acks.retry_after_ms = 7;
    if (number == forgotten) {
        memset(halves, 0, sizeof(halves));
    }
    if (number == taken_away || (taken_away >= 0 && number > taken_away && put->window == 1)) {
        acks.status = QUIRE_STALE;
    } else {
        acks.statuses.data = statuses;
        acks.statuses.len = put->items.len / sizeof(struct quire_wire_put);
        for (size_t i = 0; i < acks.statuses.len; i++) {
            struct quire_wire_put item;
            memcpy(&item, put->items.data + i * sizeof(item), sizeof(item));
            statuses[i] = take(&item, from_then_on != QUIRE_OK && number >= 2 ? from_then_on : script[number % PUTS]);
        }
    }
    twin_send(fd, QUIRE_MSG_ACKS, frame->request_id, &acks.base, 0, NULL, 0);
    if (number == recalled) {
        twin_send(fd, QUIRE_MSG_INGEST_RECALL, 0, NULL, 0, NULL, 0);
    }
    if (number == hung_up) {
        memset(halves, 0, sizeof(halves)); /* with the session */
        shutdown(fd, SHUT_RDWR);
    }
    quire__wire__put__free_unpacked(put, NULL);
}

static void serve(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)self;
    if (frame->type == QUIRE_MSG_INGEST_GET) {
        give_window(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_PUT) {
        answer_put(fd, frame, body);
    } else if (frame->type == QUIRE_MSG_INGEST_RETURN) {
        atomic_fetch_add(&returns, 1);
    }
}

static void start(void) {
    quire_layout layout = {.n_layers = LAYERS, .n_groups = 1, .block_tokens = TOKENS, .kv_src = {0, 1, 2, 3}};
    layout.group[0] = (quire_group){.n_kv_heads = HEADS, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    taken_away = forgotten = recalled = hung_up = -1;
    twin.script = serve;
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
    cr_assert_eq(quire_ns_open(client, "big", &layout, &big), QUIRE_OK);
}

static void stop(void) {
    quire_ns_close(&big);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

static enum quire_status store(uint8_t key, uint64_t put_id, uint32_t deadline_ms) {
    static const void *base[LAYERS] = {lane, lane, lane, lane};
    source = (quire_source){.key = {{key}}, .n_tokens = TOKENS, .put_id = put_id, .k_base = base, .v_base = base};
    source.k_token_stride = source.v_token_stride = DIM * 2;
    return quire_store(big, &source, 1, NULL, deadline_ms, NULL);
}

/* The daemon holds the block: once, under the put_id that came last. */
static void expect_stored(enum quire_status status) {
    cr_assert_eq(status, QUIRE_OK, "%s: %s", quire_status_name(status), quire_last_error());
    cr_assert_eq(source.status, QUIRE_OK);
    cr_assert_eq(half_of(atomic_load(&last_put_id))->times, 1, "OK for a block of which parts are missing");
}

/* One part after another is refused for the moment, the others are taken: that one goes again, under the same put_id, and no other. */
static void refuse_part(int number) {
    script[number] = QUIRE_RETRY;
    expect_stored(store(1, 0, 20000));
    cr_assert_eq(atomic_load(&puts_seen), LAYERS + 1);
    cr_assert_eq(atomic_load(&refused), 0);
}
Test(client_cuts, retry_of_the_first, .init = start, .fini = stop, .timeout = 60) { refuse_part(0); }
Test(client_cuts, retry_of_another, .init = start, .fini = stop, .timeout = 60) { refuse_part(1); }
Test(client_cuts, retry_of_the_last, .init = start, .fini = stop, .timeout = 60) { refuse_part(LAYERS - 1); }

/* The window is taken away between two parts: the rest goes through another one, and what was taken does not go again. */
static void take_window(int number) {
    taken_away = number;
    expect_stored(store(1, 0, 20000));
    cr_assert_eq(atomic_load(&gets_seen), 2);
    cr_assert_eq(atomic_load(&refused), 0, "a part went twice");
}
Test(client_cuts, no_window_for_the_first, .init = start, .fini = stop, .timeout = 60) { take_window(0); }
Test(client_cuts, no_window_for_another, .init = start, .fini = stop, .timeout = 60) { take_window(1); }
Test(client_cuts, no_window_for_the_last, .init = start, .fini = stop, .timeout = 60) { take_window(LAYERS - 1); }

/* A recalled window goes back as soon as what is in it was answered; the rest of the block goes through another one. */
Test(client_cuts, recalled, .init = start, .fini = stop, .timeout = 60) {
    recalled = 0;
    expect_stored(store(1, 0, 20000));
    cr_assert_eq(atomic_load(&returns), 1);
    cr_assert_eq(atomic_load(&gets_seen), 2);
}

/* FULL for one part is the block's outcome, whatever is said of the others; the daemon is told to drop those. */
Test(client_cuts, full, .init = start, .fini = stop, .timeout = 60) {
    script[1] = QUIRE_FULL;
    cr_assert_eq(store(1, 0, 20000), QUIRE_FULL);
    cr_assert_eq(source.status, QUIRE_FULL);
    uint64_t put_id = atomic_load(&last_put_id);
    for (int i = 0; i < 4000 && atomic_load(&twin.dropped) != put_id; i++) {
        usleep(2000);
    }
    cr_assert_eq(atomic_load(&twin.dropped), put_id);
}

/* The deadline passes when half of a block was taken: its parts are dropped, before those of the next block come. Meanwhile the client waits
   longer and longer: it does not copy and send the same part all the time. */
Test(client_cuts, deadline, .init = start, .fini = stop, .timeout = 60) {
    from_then_on = QUIRE_RETRY;
    cr_assert_eq(store(1, 0, 400), QUIRE_TIMEOUT);
    cr_assert(source.status == QUIRE_RETRY || source.status == QUIRE_TIMEOUT, "TIMEOUT: one more part was under way then");
    uint64_t put_id = atomic_load(&last_put_id);
    cr_assert_leq(atomic_load(&puts_seen), 16);
    from_then_on = QUIRE_OK;
    expect_stored(store(2, 0, 20000));
    cr_assert_eq(atomic_load(&twin.dropped), put_id);
    cr_assert_neq(atomic_load(&last_put_id), put_id);
}

/* What the daemon took has expired before the last part comes, as that part learns: the block begins anew under another put_id. */
Test(client_cuts, expired, .init = start, .fini = stop, .timeout = 60) {
    forgotten = LAYERS - 1;
    expect_stored(store(1, 0, 20000));
    cr_assert_eq(atomic_load(&refused), 1);
    cr_assert_eq(atomic_load(&puts_seen), 2 * LAYERS);
    cr_assert_neq(atomic_load(&twin.dropped), 0);
}

/* The same for the caller's own put_id: other ranks may have brought parts, which must come again as well. */
Test(client_cuts, expired_for_all_ranks, .init = start, .fini = stop, .timeout = 60) {
    forgotten = LAYERS - 1;
    cr_assert_eq(store(1, 77, 20000), QUIRE_STALE);
    cr_assert_eq(atomic_load(&twin.dropped), 0);
}

/* The connection ends between two parts: the store says so, and the next one begins the block anew on the next connection. */
Test(client_cuts, reconnected, .init = start, .fini = stop, .timeout = 60) {
    script[LAYERS - 2] = QUIRE_RETRY;
    hung_up = LAYERS - 2;
    enum quire_status status = store(1, 0, 20000);
    for (int i = 0; i < 4000 && status == QUIRE_DISCONNECTED; i++) {
        usleep(2000);
        status = store(1, 0, 20000);
    }
    expect_stored(status);
    cr_assert_eq(atomic_load(&twin.connections), 2);
    cr_assert_eq(atomic_load(&refused), 0);
}
