/* proto/ucx: two ports in one process, over the loopback interface. */
#include "proto/ucx/internal.h"

#include "proto/base/base.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct ends {
    struct quire_ucx_port *server, *client;
    struct quire_ucx_wire *there, *here; /* at the server, at the client */
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * QUIRE_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void turn(struct ends *ends) {
    quire_ucx_progress(ends->server);
    quire_ucx_progress(ends->client);
    while (quire_ucx_ready(ends->server) != NULL || quire_ucx_ready(ends->client) != NULL) {
    }
}

/* Until it holds; a liveness bound, far beyond what it takes. */
#define UNTIL(ends, what)                                                                                                                  \
    do {                                                                                                                                   \
        uint64_t until_ns_ = now_ns() + 20 * QUIRE_NS_PER_S;                                                                               \
        while (!(what)) {                                                                                                                  \
            turn(ends);                                                                                                                    \
            cr_assert(now_ns() < until_ns_, "never: %s", #what);                                                                           \
        }                                                                                                                                  \
    } while (0)

static void open_ends_with(struct ends *ends, uint32_t flags) {
    char why[QUIRE_UCX_WHY_BYTES] = "", told[QUIRE_UCX_PEER_BYTES];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct quire_ucx_ask ask;
    setenv("UCX_TLS", "tcp,self", 0);
    cr_assert_eq(quire_ucx_port_create(flags, NULL, &ends->server, why), QUIRE_OK, "%s", why);
    cr_assert_eq(quire_ucx_port_create(flags, NULL, &ends->client, why), QUIRE_OK, "%s", why);
    cr_assert_eq(quire_ucx_listen(ends->server, (struct sockaddr *)&at, sizeof at, told, why), QUIRE_OK, "%s", why);
    at.sin_port = htons((uint16_t)atoi(strrchr(told, ':') + 1));
    cr_assert_eq(quire_ucx_connect(ends->client, (struct sockaddr *)&at, sizeof at, ends, &ends->here, why), QUIRE_OK, "%s", why);
    UNTIL(ends, quire_ucx_asked(ends->server, &ask));
    cr_assert_eq(quire_ucx_accept(ends->server, &ask, ends, &ends->there), QUIRE_OK);
    UNTIL(ends, ends->here->stands && ends->there->stands);
}

static void open_ends(struct ends *ends) { open_ends_with(ends, QUIRE_UCX_LOOPBACK); }

static void close_ends(struct ends *ends) {
    quire_ucx_port_destroy(&ends->client);
    quire_ucx_port_destroy(&ends->server);
}

static void count(void *arg) { ++*(int *)arg; }

static bool bulk_is_here(struct quire_ucx_wire *wire) {
    const uint8_t *bytes;
    size_t size;
    return quire_ucx_peek(wire, &bytes, &size) == QUIRE_UCX_BULK;
}

static void fill(uint8_t *bytes, size_t size, uint32_t seed) {
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}

/* Frames come as they were sent, in order and whole, however many messages they take. */
Test(proto_ucx, carries_a_stream_of_frames) {
    struct ends ends;
    static uint8_t sent[3u << 20], came[sizeof sent];
    size_t out = 0, in = 0;
    int gone = 0, posts = 0;
    fill(sent, sizeof sent, 7);
    open_ends(&ends);
    uint64_t until_ns = now_ns() + 20 * QUIRE_NS_PER_S;
    while (in < sizeof came && now_ns() < until_ns) {
        size_t size = quire_min_u64(sizeof sent - out, 1 + (size_t)posts * 7919 % QUIRE_UCX_FRAMES_BYTES);
        if (size > 0 && quire_ucx_send(ends.here, QUIRE_UCX_FRAMES, sent + out, size, count, &gone) == QUIRE_OK) {
            out += size;
            posts++;
        }
        turn(&ends);
        const uint8_t *bytes;
        size_t n;
        if (quire_ucx_peek(ends.there, &bytes, &n) == QUIRE_UCX_FRAMES) {
            n = quire_min_u64(n, 5000); /* in parts, as a reader with a small buffer does */
            memcpy(came + in, bytes, n);
            in += n;
            quire_ucx_take(ends.there, n);
        }
    }
    cr_assert_eq(in, sizeof came);
    cr_assert_eq(memcmp(sent, came, sizeof sent), 0);
    UNTIL(&ends, quire_ucx_sending(ends.here) == 0);
    cr_assert_eq(gone, posts, "each message's bytes are given back once");
    close_ends(&ends);
}

/* Bulk bytes wait at the sender until the receiver has a place, and come there without another copy; short ones and several places, too. */
Test(proto_ucx, brings_bulk_bytes_to_their_places) {
    static const size_t sizes[] = {1, 4096, QUIRE_UCX_EAGER_BYTES, QUIRE_UCX_EAGER_BYTES + 1, 2u << 20, QUIRE_UCX_BULK_BYTES};
    static uint8_t sent[QUIRE_UCX_BULK_BYTES], came[QUIRE_UCX_BULK_BYTES];
    struct ends ends;
    open_ends(&ends);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(sizes); i++) {
        for (size_t n = 1; n <= 3; n += 2) {
            int gone = 0;
            fill(sent, sizes[i], (uint32_t)(i * 8 + n));
            memset(came, 0, sizeof came);
            cr_assert_eq(quire_ucx_send(ends.here, QUIRE_UCX_BULK, sent, sizes[i], count, &gone), QUIRE_OK);
            UNTIL(&ends, bulk_is_here(ends.there));
            struct iovec places[3] = {{came, sizes[i] / 2}, {came + sizes[i] / 2, sizes[i] / 4}};
            places[2] = (struct iovec){came + sizes[i] / 2 + sizes[i] / 4, sizes[i] - sizes[i] / 2 - sizes[i] / 4};
            places[0].iov_len = n == 1 ? sizes[i] : places[0].iov_len;
            quire_ucx_receive(ends.there, places, n);
            UNTIL(&ends, quire_ucx_received(ends.there) != QUIRE_PENDING);
            cr_assert_eq(quire_ucx_received(ends.there), QUIRE_OK);
            cr_assert_eq(memcmp(sent, came, sizes[i]), 0, "%zu bytes to %zu places", sizes[i], n);
            UNTIL(&ends, quire_ucx_sending(ends.here) == 0);
            cr_assert_eq(gone, 1);
        }
    }
    close_ends(&ends);
}

/* Frames may go in front of bulk bytes in the same message, short or long. */
Test(proto_ucx, brings_frames_in_front_of_bulk_bytes) {
    static const size_t sizes[] = {1, 60000, QUIRE_UCX_EAGER_BYTES + 1, 2u << 20};
    static uint8_t sent[QUIRE_UCX_BULK_BYTES], came[QUIRE_UCX_BULK_BYTES], front[QUIRE_UCX_HEAD_BYTES];
    struct ends ends;
    open_ends(&ends);
    fill(front, sizeof front, 5);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(sizes); i++) {
        const uint8_t *bytes;
        size_t n;
        int gone = 0;
        fill(sent, sizes[i], (uint32_t)i);
        cr_assert_eq(quire_ucx_send_with(ends.here, front, sizeof front, sent, sizes[i], count, &gone), QUIRE_OK);
        UNTIL(&ends, quire_ucx_peek(ends.there, &bytes, &n) == QUIRE_UCX_FRAMES);
        cr_assert_eq(n, sizeof front);
        cr_assert_eq(memcmp(bytes, front, n), 0);
        quire_ucx_take(ends.there, 100);
        cr_assert_eq(quire_ucx_peek(ends.there, &bytes, &n), QUIRE_UCX_FRAMES, "the rest of them");
        cr_assert_eq(memcmp(bytes, front + 100, n), 0);
        quire_ucx_take(ends.there, n);
        cr_assert_eq(quire_ucx_peek(ends.there, &bytes, &n), QUIRE_UCX_BULK);
        cr_assert_eq(n, sizes[i]);
        const struct iovec place = {came, n};
        quire_ucx_receive(ends.there, &place, 1);
        UNTIL(&ends, quire_ucx_received(ends.there) == QUIRE_OK);
        cr_assert_eq(memcmp(came, sent, sizes[i]), 0);
        UNTIL(&ends, gone == 1);
    }
    cr_assert_eq(quire_ucx_send_with(ends.here, sent, sizeof front + 1, sent, 1, NULL, NULL), QUIRE_TOO_LARGE);
    close_ends(&ends);
}

/* Where lanes are narrow, less may go in front; what may does so, and what may not is refused and breaks nothing. */
Test(proto_ucx, narrow_lanes) {
    static uint8_t sent[QUIRE_UCX_BULK_BYTES], came[QUIRE_UCX_BULK_BYTES], front[QUIRE_UCX_HEAD_BYTES];
    const size_t sizes[] = {1, QUIRE_UCX_EAGER_BYTES, 2u << 20};
    struct ends ends;
    setenv("UCX_TCP_TX_SEG_SIZE", "1k", 1);
    setenv("UCX_TCP_RX_SEG_SIZE", "1k", 1);
    open_ends(&ends);
    size_t most = quire_ucx_front_bytes(ends.here);
    cr_assert(most > 256 && most < 1024, "%zu", most);
    cr_assert_eq(quire_ucx_send_with(ends.here, front, most + 1, sent, 1, NULL, NULL), QUIRE_TOO_LARGE);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(sizes); i++) {
        const uint8_t *bytes;
        size_t n;
        int gone = 0;
        fill(front, sizeof front, (uint32_t)i);
        cr_assert_eq(quire_ucx_send_with(ends.here, front, most, sent, sizes[i], count, &gone), QUIRE_OK);
        UNTIL(&ends, quire_ucx_peek(ends.there, &bytes, &n) == QUIRE_UCX_FRAMES);
        cr_assert(n == most && memcmp(bytes, front, most) == 0);
        quire_ucx_take(ends.there, most);
        const struct iovec place = {came, sizes[i]};
        quire_ucx_receive(ends.there, &place, 1);
        UNTIL(&ends, quire_ucx_received(ends.there) == QUIRE_OK && gone == 1);
    }
    close_ends(&ends);
}

/* What nobody wants is dropped without being fetched, and its sender gets its bytes back. */
Test(proto_ucx, drops_bulk_bytes) {
    static uint8_t sent[1u << 20];
    struct ends ends;
    int gone = 0;
    open_ends(&ends);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(quire_ucx_send(ends.here, QUIRE_UCX_BULK, sent, sizeof sent, count, &gone), QUIRE_OK);
        UNTIL(&ends, bulk_is_here(ends.there));
        quire_ucx_drop(ends.there);
    }
    UNTIL(&ends, gone == 3);
    close_ends(&ends);
}

/* A receiver that takes nothing stops the sender after a window of messages; it goes on when some are taken. */
Test(proto_ucx, holds_a_sender_back) {
    static uint8_t sent[QUIRE_UCX_FRAMES_BYTES];
    struct ends ends;
    int gone = 0, posts = 0;
    open_ends(&ends);
    while (quire_ucx_send(ends.here, QUIRE_UCX_FRAMES, sent, sizeof sent, count, &gone) == QUIRE_OK) {
        cr_assert_lt(posts++, 100);
    }
    cr_assert_leq((size_t)posts * sizeof sent, QUIRE_UCX_WINDOW_BYTES);
    for (int i = 0; i < 1000; i++) {
        turn(&ends);
    }
    cr_assert_eq(quire_ucx_send(ends.here, QUIRE_UCX_FRAMES, sent, sizeof sent, count, &gone), QUIRE_PENDING, "nothing was taken");
    const uint8_t *bytes;
    size_t size;
    UNTIL(&ends, quire_ucx_peek(ends.there, &bytes, &size) == QUIRE_UCX_FRAMES);
    for (int i = 0; i < posts; i++) {
        UNTIL(&ends, quire_ucx_peek(ends.there, &bytes, &size) == QUIRE_UCX_FRAMES);
        quire_ucx_take(ends.there, size);
    }
    UNTIL(&ends, quire_ucx_send(ends.here, QUIRE_UCX_FRAMES, sent, 1, count, &gone) == QUIRE_OK);
    close_ends(&ends);
}

/* A wire that is closed lets go of all that it was reading from and writing to, and the other end learns of it; nothing is given back twice. */
Test(proto_ucx, closes_in_the_middle) {
    static uint8_t sent[QUIRE_UCX_BULK_BYTES], came[QUIRE_UCX_BULK_BYTES];
    for (int by_receiver = 0; by_receiver <= 1; by_receiver++) {
        struct ends ends;
        const char *why;
        int gone = 0;
        open_ends(&ends);
        cr_assert_eq(quire_ucx_send(ends.here, QUIRE_UCX_BULK, sent, sizeof sent, count, &gone), QUIRE_OK);
        cr_assert_eq(quire_ucx_send(ends.here, QUIRE_UCX_BULK, sent, sizeof sent, count, &gone), QUIRE_OK);
        UNTIL(&ends, bulk_is_here(ends.there));
        struct iovec place = {came, sizeof came};
        quire_ucx_receive(ends.there, &place, 1);
        quire_ucx_progress(ends.server); /* it is under way */
        struct quire_ucx_wire **closed = by_receiver ? &ends.there : &ends.here, **other = by_receiver ? &ends.here : &ends.there;
        quire_ucx_close(*closed);
        UNTIL(&ends, quire_ucx_closed(*closed));
        quire_ucx_free(closed);
        UNTIL(&ends, quire_ucx_status(*other, &why) != QUIRE_OK);
        cr_assert_eq(quire_ucx_status(*other, &why), QUIRE_DISCONNECTED, "%s", why);
        quire_ucx_close(*other);
        UNTIL(&ends, quire_ucx_closed(*other));
        quire_ucx_free(other);
        cr_assert_eq(gone, 2);
        close_ends(&ends);
    }
}

/* The end that was asked has the system look after the other one's host, on a connection that carries nothing else, and notices that it is not what
   it was: here because somebody ends that connection; where a host vanishes because nobody answers the system's probes (the story of the cut cable). */
Test(proto_ucx, watches_over_the_other_host) {
    static const int names[] = {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT};
    int values[QUIRE_ARRAY_LEN(names)] = {0}, on = 0;
    socklen_t bytes = sizeof on;
    struct ends ends;
    open_ends(&ends);
    cr_assert(quire_ucx_lives(ends.there) && quire_ucx_lives(ends.here));
    cr_assert_geq(ends.there->watched, 0, "its connection was not found");
    cr_assert(getsockopt(ends.there->watched, SOL_SOCKET, SO_KEEPALIVE, &on, &bytes) == 0 && on == 1);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(names); i++) {
        cr_assert_eq(getsockopt(ends.there->watched, IPPROTO_TCP, names[i], &values[i], &bytes), 0);
    }
    cr_assert_eq((values[0] + values[1] * values[2]) * 1000, QUIRE_UCX_DEAD_MS);
    cr_assert_eq(values[3], QUIRE_UCX_DEAD_MS);
    ends.there->watched_cookie++;
    cr_assert_not(quire_ucx_lives(ends.there), "another descriptor of the same number");
    ends.there->watched_cookie--;
    cr_assert(quire_ucx_lives(ends.there));
    shutdown(ends.there->watched, SHUT_RDWR);
    cr_assert_not(quire_ucx_lives(ends.there));
    close_ends(&ends);
}

/* ---- memory that is read from afar ---------------------------------------------------------------------------------------------- */
struct got {
    int times;
    enum quire_status status;
};

static void note_got(void *arg, enum quire_status status) {
    struct got *got = arg;
    got->times++;
    got->status = status;
}

static void read_from_afar(struct ends *ends) {
    static uint8_t pool[4u << 20], came[1u << 20];
    char why[QUIRE_UCX_WHY_BYTES] = "";
    struct quire_ucx_memory *memory;
    struct quire_ucx_remote remote;
    struct got got = {0};
    size_t key_bytes;
    fill(pool, sizeof pool, 3);
    cr_assert_eq(quire_ucx_expose(ends->server, pool, sizeof pool, &memory, why), QUIRE_OK, "%s", why);
    const void *key = quire_ucx_key(memory, &key_bytes);
    UNTIL(ends, quire_ucx_send(ends->here, QUIRE_UCX_FRAMES, "x", 1, NULL, NULL) == QUIRE_OK && quire_ucx_sending(ends->here) == 0);
    cr_assert_eq(quire_ucx_reach(ends->here, key, 0, (uintptr_t)pool, sizeof pool, &remote), QUIRE_INVALID);
    cr_assert_eq(quire_ucx_reach(ends->here, key, QUIRE_UCX_KEY_BYTES + 1, (uintptr_t)pool, sizeof pool, &remote), QUIRE_INVALID);
    cr_assert_eq(quire_ucx_reach(ends->here, key, key_bytes, (uintptr_t)pool, sizeof pool, &remote), QUIRE_OK);
    cr_assert_not(quire_ucx_has_rdma(ends->here), "no card of this machine's");
    cr_assert_eq(quire_ucx_get(&remote, 12345, came, sizeof came, note_got, &got), QUIRE_OK);
    UNTIL(ends, got.times == 1);
    cr_assert_eq(got.status, QUIRE_OK);
    cr_assert_eq(memcmp(came, pool + 12345, sizeof came), 0);
    cr_assert_eq(quire_ucx_get(&remote, sizeof pool - 10, came, 11, note_got, &got), QUIRE_INVALID, "beyond its end");
    cr_assert_eq(got.times, 1);
    quire_ucx_leave(&remote);
    quire_ucx_conceal(&memory);
    close_ends(ends);
}

/* One end reads the other's memory at any place of it, and nowhere else. */
Test(proto_ucx, reads_memory_from_afar) {
    struct ends ends;
    open_ends_with(&ends, QUIRE_UCX_LOOPBACK | QUIRE_UCX_RMA);
    read_from_afar(&ends);
}

/* The same over shared memory, where UCX reads for itself, as a card would. */
Test(proto_ucx, reads_memory_without_the_other_end) {
    struct ends ends;
    setenv("UCX_TLS", "posix,cma,self,tcp", 1);
    setenv("UCX_MM_ERROR_HANDLING", "y", 1);
    open_ends_with(&ends, QUIRE_UCX_RMA);
    read_from_afar(&ends);
}

/* Who asks at one port may be carried by another beside it, on a thread of its own; the first one's keys are good there. */
struct carrier {
    struct quire_ucx_port *port;
    struct quire_ucx_ask ask;
    pthread_t thread;
    _Atomic bool over;
    size_t came;
};

static void *carry(void *arg) {
    struct carrier *carrier = arg;
    struct quire_ucx_wire *wire;
    if (quire_ucx_accept(carrier->port, &carrier->ask, carrier, &wire) != QUIRE_OK) {
        return NULL;
    }
    while (!atomic_load(&carrier->over)) {
        const uint8_t *bytes;
        size_t size;
        quire_ucx_progress(carrier->port);
        while (quire_ucx_ready(carrier->port) != NULL) {
        }
        if (quire_ucx_peek(wire, &bytes, &size) == QUIRE_UCX_FRAMES &&
            quire_ucx_send(wire, QUIRE_UCX_FRAMES, "back", 4, NULL, NULL) == QUIRE_OK) {
            carrier->came += size;
            quire_ucx_take(wire, size);
        }
    }
    quire_ucx_port_destroy(&carrier->port);
    return NULL;
}

Test(proto_ucx, hands_connections_to_ports_beside) {
    struct carrier carriers[2] = {0};
    struct quire_ucx_wire *wires[2];
    struct ends ends;
    char why[QUIRE_UCX_WHY_BYTES] = "", told[QUIRE_UCX_PEER_BYTES];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setenv("UCX_TLS", "tcp,self", 0);
    cr_assert_eq(quire_ucx_port_create(QUIRE_UCX_LOOPBACK, NULL, &ends.server, why), QUIRE_OK, "%s", why);
    cr_assert_eq(quire_ucx_port_create(QUIRE_UCX_LOOPBACK, NULL, &ends.client, why), QUIRE_OK, "%s", why);
    cr_assert_eq(quire_ucx_listen(ends.server, (struct sockaddr *)&at, sizeof at, told, why), QUIRE_OK, "%s", why);
    at.sin_port = htons((uint16_t)atoi(strrchr(told, ':') + 1));
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(quire_ucx_port_create_beside(ends.server, &carriers[i].port, why), QUIRE_OK, "%s", why);
        cr_assert_eq(quire_ucx_connect(ends.client, (struct sockaddr *)&at, sizeof at, NULL, &wires[i], why), QUIRE_OK, "%s", why);
        UNTIL(&ends, quire_ucx_asked(ends.server, &carriers[i].ask));
        cr_assert_eq(pthread_create(&carriers[i].thread, NULL, carry, &carriers[i]), 0);
    }
    for (int round = 0; round < 100; round++) {
        const uint8_t *bytes;
        size_t size;
        for (int i = 0; i < 2; i++) {
            UNTIL(&ends, quire_ucx_send(wires[i], QUIRE_UCX_FRAMES, "there", 5, NULL, NULL) == QUIRE_OK);
            UNTIL(&ends, quire_ucx_peek(wires[i], &bytes, &size) == QUIRE_UCX_FRAMES);
            quire_ucx_take(wires[i], size);
        }
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&carriers[i].over, true);
        pthread_join(carriers[i].thread, NULL);
        cr_assert_eq(carriers[i].came, 500);
    }
    close_ends(&ends);
}

/* ---- strangers ----------------------------------------------------------------------------------------------------------------- */
/* Sends what no wire of ours would. */
static void send_raw(struct ends *ends, const void *head, size_t head_bytes, const void *bytes, size_t size, uint32_t flags) {
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = UCP_AM_SEND_FLAG_REPLY | flags};
    void *request = ucp_am_send_nbx(ends->here->ep, UCX_AM_ID, head, head_bytes, bytes, size, &param);
    if (UCS_PTR_IS_PTR(request)) {
        ucp_request_free(request); /* it ends by itself; its bytes are static */
    }
}

static void expect_failure(struct ends *ends, enum quire_status status, const char *what) {
    const char *why;
    UNTIL(ends, quire_ucx_status(ends->there, &why) != QUIRE_OK);
    cr_assert_eq(quire_ucx_status(ends->there, &why), status, "%s: %s", what, why);
    close_ends(ends);
}

/* Whatever a message says of itself that cannot be is the end of its wire, and of no other. */
Test(proto_ucx, hangs_up_on_messages_that_no_wire_sends) {
    static const uint8_t bytes[QUIRE_UCX_EAGER_BYTES + 1];
    const struct {
        const char *what;
        struct ucx_head head;
        uint64_t behind;
        size_t head_bytes, size;
        uint32_t flags;
    } strange[] = {
        {"frames in front of frames",
         {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES},
         0,
         sizeof(struct ucx_head) + 8,
         10,
         UCP_AM_SEND_FLAG_EAGER},
        {"a head too short", {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES}, 0, 8, 10, UCP_AM_SEND_FLAG_EAGER},
        {"another protocol", {.magic = 77, .message = UCX_FRAMES}, 0, sizeof(struct ucx_head), 10, UCP_AM_SEND_FLAG_EAGER},
        {"an unknown kind", {.magic = UCX_HEAD_MAGIC, .message = 9}, 0, sizeof(struct ucx_head), 10, UCP_AM_SEND_FLAG_EAGER},
        {"nothing in it", {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES}, 0, sizeof(struct ucx_head), 0, UCP_AM_SEND_FLAG_EAGER},
        {"far ahead",
         {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES, .sequence = 1ull << 40},
         0,
         sizeof(struct ucx_head),
         10,
         UCP_AM_SEND_FLAG_EAGER},
        {"taken what was never sent", {.magic = UCX_HEAD_MAGIC, .message = UCX_CREDIT, .taken_bytes = 1}, 0, sizeof(struct ucx_head), 0, 0},
        {"frames that wait", {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES}, 0, sizeof(struct ucx_head), 100, UCP_AM_SEND_FLAG_RNDV},
        {"long frames",
         {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES},
         0,
         sizeof(struct ucx_head),
         QUIRE_UCX_FRAMES_BYTES + 1,
         UCP_AM_SEND_FLAG_EAGER},
        {"long bulk bytes at once",
         {.magic = UCX_HEAD_MAGIC, .message = UCX_BULK},
         0,
         sizeof(struct ucx_head),
         sizeof bytes,
         UCP_AM_SEND_FLAG_EAGER},
    };
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(strange); i++) {
        struct ends ends;
        open_ends(&ends);
        send_raw(&ends, &strange[i].head, strange[i].head_bytes, bytes, strange[i].size, strange[i].flags);
        expect_failure(&ends, QUIRE_CORRUPT, strange[i].what);
    }
}

/* The same number twice is not two messages. */
Test(proto_ucx, hangs_up_on_a_message_that_came_before) {
    static const uint8_t bytes[10];
    static const struct ucx_head head = {.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES};
    struct ends ends;
    open_ends(&ends);
    send_raw(&ends, &head, sizeof head, bytes, sizeof bytes, UCP_AM_SEND_FLAG_EAGER);
    send_raw(&ends, &head, sizeof head, bytes, sizeof bytes, UCP_AM_SEND_FLAG_EAGER);
    expect_failure(&ends, QUIRE_CORRUPT, "twice");
}

/* A sender that does not wait until something is taken is not kept: memory is bounded by the window, for a stranger by less. */
Test(proto_ucx, hangs_up_on_a_flood) {
    static const uint8_t bytes[1000];
    static struct ucx_head heads[64];
    struct ends ends;
    open_ends(&ends);
    quire_ucx_allow(ends.there, 16384);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(heads); i++) {
        heads[i] = (struct ucx_head){.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES, .sequence = i};
        send_raw(&ends, &heads[i], sizeof heads[i], bytes, sizeof bytes, UCP_AM_SEND_FLAG_EAGER);
    }
    expect_failure(&ends, QUIRE_TOO_LARGE, "a flood");
}

/* Lanes may bring messages in another order: they are taken by their numbers. */
Test(proto_ucx, takes_messages_by_their_numbers) {
    static const char letters[] = "abcd";
    static struct ucx_head heads[4];
    static const int order[] = {2, 0, 3, 1};
    struct ends ends;
    open_ends(&ends);
    for (int i = 0; i < 4; i++) {
        heads[i] = (struct ucx_head){.magic = UCX_HEAD_MAGIC, .message = UCX_FRAMES, .sequence = (uint64_t)order[i]};
        send_raw(&ends, &heads[i], sizeof heads[i], letters + order[i], 1, UCP_AM_SEND_FLAG_EAGER);
    }
    for (int i = 0; i < 4; i++) {
        const uint8_t *bytes;
        size_t size;
        UNTIL(&ends, quire_ucx_peek(ends.there, &bytes, &size) == QUIRE_UCX_FRAMES);
        cr_assert_eq(size, 1);
        cr_assert_eq(*bytes, letters[i]);
        quire_ucx_take(ends.there, 1);
    }
    close_ends(&ends);
}

/* Messages of every small size come, over shared memory, too, whose lanes are narrow. */
Test(proto_ucx, carries_messages_of_every_small_size) {
    struct ends ends;
    static uint8_t sent[600], came[600];
    setenv("UCX_TLS", "posix,cma,self,tcp", 1);
    setenv("UCX_MM_ERROR_HANDLING", "y", 1);
    open_ends_with(&ends, 0);
    for (size_t size = 1; size < sizeof sent; size++) {
        const uint8_t *bytes;
        size_t n, got = 0;
        fill(sent, size, (uint32_t)size);
        UNTIL(&ends, quire_ucx_send(ends.here, QUIRE_UCX_FRAMES, sent, size, NULL, NULL) == QUIRE_OK);
        UNTIL(&ends, quire_ucx_peek(ends.there, &bytes, &n) == QUIRE_UCX_FRAMES);
        cr_assert_eq(n, size);
        memcpy(came + got, bytes, n);
        quire_ucx_take(ends.there, n);
        cr_assert_eq(memcmp(sent, came, size), 0);
    }
    close_ends(&ends);
}

/* More ask at once than may wait: the others are refused, and counted. */
Test(proto_ucx, too_many_that_ask_are_counted) {
    enum { ASK = UCX_ASKS_MAX + 6 };
    struct ends ends;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char why[QUIRE_UCX_WHY_BYTES] = "", told[QUIRE_UCX_PEER_BYTES], peer[QUIRE_UCX_PEER_BYTES];
    struct quire_ucx_wire *wires[ASK];
    struct quire_ucx_ask ask;
    uint32_t n_refused = 0, n_asked = 0;
    open_ends(&ends);
    cr_assert_eq(quire_ucx_listen(ends.server, (struct sockaddr *)&at, sizeof at, told, why), QUIRE_OK, "%s", why);
    at.sin_port = htons((uint16_t)atoi(strrchr(told, ':') + 1));
    for (uint32_t i = 0; i < ASK; i++) {
        cr_assert_eq(quire_ucx_connect(ends.client, (struct sockaddr *)&at, sizeof at, &ends, &wires[i], why), QUIRE_OK, "%s", why);
    }
    UNTIL(&ends, (n_refused += quire_ucx_refused(ends.server, peer)) >= 6);
    cr_assert_eq(strncmp(peer, "127.0.0.1:", 10), 0, "%s", peer);
    while (quire_ucx_asked(ends.server, &ask)) {
        quire_ucx_refuse(&ask);
        n_asked++;
    }
    cr_assert(n_asked == UCX_ASKS_MAX && n_refused == 6, "%u waited, %u were refused", n_asked, n_refused);
    cr_assert_eq(quire_ucx_refused(ends.server, peer), 0, "told once");
    close_ends(&ends);
}
