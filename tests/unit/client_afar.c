/*
 * Reading from the daemon's memory, with a double of the card: reads take as long as a test says. One that never ends gives its connection up while
 * the daemon talks as ever; slow ones do not; and who cancels waits for nobody else's.
 */
#include "client_wire.h"

#include <criterion/criterion.h>

#define PING_MS 100
#define SILENCE_MS 400
#define LONG_MS 60000 /* no call here ends by its deadline */
#define KEYS 6u
#define ROOM 4096u /* of a record in the pool */
#define GETS 256u

static uint16_t lanes[KEYS][2][2][16][8]; /* of each block: K, V; layers */
static void *bases[KEYS][2][2];

/* ---- the daemon's memory, and the card ----------------------------------------------------------------------------------------- */
static uint8_t pool[KEYS * ROOM];
static const uint32_t generations[KEYS];

struct get {
    void *to;
    const void *from;
    size_t size;
    uint64_t due_ns;
    transport_got *got;
    void *arg;
};
static struct get gets[GETS]; /* under way, oldest first; under the client's lock, as the transport's functions are called */
static uint32_t n_gets;
static uint64_t get_ns; /* one takes so long after the one before; UINT64_MAX: for ever */

static void get_end(enum quire_status status) {
    struct get get = gets[0];
    memmove(gets, gets + 1, --n_gets * sizeof(gets[0]));
    if (status == QUIRE_OK) {
        memcpy(get.to, get.from, get.size);
    }
    get.got(get.arg, status);
}

static enum quire_status card_attach(struct transport *transport, const struct transport_region regions[TRANSPORT_REGIONS], bool asked) {
    (void)transport, (void)regions, (void)asked;
    return QUIRE_OK;
}

static enum quire_status card_get(struct transport *transport, enum transport_regions region, uint64_t offset, void *to, size_t size,
                                  transport_got *got, void *arg) {
    (void)transport;
    const uint8_t *from = region == TRANSPORT_POOL ? pool : (const uint8_t *)generations;
    uint64_t after_ns = n_gets > 0 ? gets[n_gets - 1].due_ns : clock_ns();
    cr_assert_lt(n_gets, GETS);
    gets[n_gets++] = (struct get){
        .to = to, .from = from + offset, .size = size, .due_ns = get_ns == UINT64_MAX ? get_ns : after_ns + get_ns, .got = got, .arg = arg};
    return QUIRE_OK;
}

static enum quire_status card_receive(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why) {
    while (n_gets > 0 && gets[0].due_ns <= clock_ns()) {
        get_end(QUIRE_OK);
    }
    return transport_unix.receive(transport, bytes, size, got, why);
}

static void card_end_gets(struct transport *transport, const uint32_t *left) {
    (void)transport;
    while (*left > 0) {
        get_end(QUIRE_OK);
    }
}

static void card_stop(struct transport *transport) {
    while (n_gets > 0) {
        get_end(QUIRE_DISCONNECTED);
    }
    if (transport_unix.stop != NULL) {
        transport_unix.stop(transport);
    }
}

/* ---- the daemon ---------------------------------------------------------------------------------------------------------------- */
static quire_key key_of(uint32_t i) { return (quire_key){{(uint8_t)(i + 1)}}; }

static uint32_t fill_pool(void) {
    const quire_layout layout = wire_layout();
    struct quire_record_shape shape;
    uint8_t digest[32], lane[256];
    cr_assert_eq(quire_record_shape(&layout, 0, 16, 0, &shape), QUIRE_OK);
    cr_assert(shape.size_bytes <= ROOM && quire_layout_digest(&layout, digest) == QUIRE_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        memset(lane, (int)i + 1, sizeof lane);
        for (uint32_t at = 0; at < shape.n_lanes; at++) {
            quire_record_fill_lane(pool + i * ROOM, &shape, at, lane);
        }
        struct quire_record_facts facts = {.key = key_of(i), .layout_tag = quire_record_layout_tag(digest)};
        quire_record_seal(pool + i * ROOM, &shape, &facts);
    }
    return shape.size_bytes;
}

/* Grants all while `arg` is 0, and always says that it lives. */
static void talk(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    static uint32_t record_bytes;
    struct quire_wire_grant grants[KEYS];
    Quire__Wire__Grants reply = QUIRE__WIRE__GRANTS__INIT;
    (void)body;
    if (frame->type == QUIRE_MSG_PING) {
        twin_send(fd, QUIRE_MSG_PONG, frame->request_id, NULL, 0, NULL, 0);
    }
    if (frame->type != QUIRE_MSG_LEASE || self->arg != 0) {
        return;
    }
    record_bytes = record_bytes != 0 ? record_bytes : fill_pool();
    for (uint32_t i = 0; i < KEYS; i++) {
        grants[i] = (struct quire_wire_grant){.key_index = i, .slot = i, .offset = i * ROOM, .size = record_bytes};
    }
    reply.epoch = DOUBLE_EPOCH;
    reply.lease = 55;
    reply.hits = KEYS;
    reply.grants = (ProtobufCBinaryData){.len = sizeof(grants), .data = (uint8_t *)grants};
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &reply.base, 0, NULL, 0);
}

static void start(void) {
    twin.wire = twin.guest = twin.afar = true;
    twin.features = QUIRE_FEATURE_PING | QUIRE_FEATURE_RANGES;
    twin.script = talk;
    twin_start(&twin);
    wire_open(PING_MS, SILENCE_MS);
    client->fetch_path = QUIRE_FETCH_RMA;
    wire_ops.attach = card_attach;
    wire_ops.get = card_get;
    wire_ops.receive = card_receive;
    wire_ops.end_gets = card_end_gets;
    wire_ops.stop = card_stop;
    quire_layout layout = wire_layout();
    cr_assert_eq(quire_ns_open(client, "double", &layout, &ns), QUIRE_OK, "%s", quire_last_error());
}

/* ---- a worker ------------------------------------------------------------------------------------------------------------------ */
static quire_lease *lookup(void) {
    quire_lookup_result found;
    quire_key keys[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i] = key_of(i);
    }
    quire_lookup_args args = {.keys = keys, .n_keys = KEYS, .deadline_ms = LONG_MS};
    enum quire_status status = quire_lookup(ns, &args, NULL, &found);
    cr_assert(status == QUIRE_OK || status == QUIRE_DISCONNECTED, "%s", quire_last_error());
    return found.lease;
}

/* Once more, after a connection broke: the back-off may last. */
static quire_lease *lookup_again(void) {
    quire_lease *lease = NULL;
    for (uint64_t until_ns = clock_ns() + 20 * QUIRE_NS_PER_S; lease == NULL && clock_ns() < until_ns; usleep(5000)) {
        lease = lookup();
    }
    cr_assert_not_null(lease);
    return lease;
}

static void into(quire_dest *dests, uint32_t first, uint32_t n) {
    memset(lanes[first], 0, n * sizeof lanes[0]);
    for (uint32_t i = first; i < first + n; i++) {
        for (uint32_t layer = 0; layer < 2; layer++) {
            bases[i][0][layer] = lanes[i][0][layer];
            bases[i][1][layer] = lanes[i][1][layer];
        }
        *dests++ = (quire_dest){.key_index = i, .k_base = bases[i][0], .v_base = bases[i][1], .k_token_stride = 16, .v_token_stride = 16};
    }
}

static bool came(uint32_t i) {
    const uint8_t *bytes = (const uint8_t *)lanes[i];
    bool right = true;
    for (size_t at = 0; at < sizeof lanes[i]; at++) {
        right = right && bytes[at] == i + 1;
    }
    return right;
}

/* ---- stories ------------------------------------------------------------------------------------------------------------------- */
/*
 * The card loses a read. The daemon answers look-ups as before, so nobody calls it dead; but what was read into may be written to for as long as it
 * likes. The connection is given up: the fetch ends long before its deadline, so does a look-up that waits, and with the next one all is well.
 */
Test(client_afar, a_read_that_never_ends, .timeout = 120) {
    quire_dest dest;
    quire_done done;
    quire_lookup_result unanswered;
    quire_key key = key_of(0);
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = LONG_MS};
    start();
    quire_lease *lease = lookup();
    get_ns = UINT64_MAX;
    into(&dest, 0, 1);
    uint64_t begin_ns = clock_ns();
    quire_job fetch = quire_submit_fetch(lease, &dest, 1, NULL, LONG_MS, NULL);
    quire_job waits = 0;
    for (uint32_t rounds = 0, ended = 0; ended < 2; rounds++) {
        quire_lease *other = rounds < 3 ? lookup() : NULL;
        quire_release(&other);
        if (rounds == 3) {
            twin.arg = 1;
            waits = quire_submit_lookup(ns, &args, NULL, &unanswered, NULL);
        }
        if (rounds > 3 && quire_drain(client, &done, 1) == 1) {
            ended++;
            cr_assert(done.job == fetch || done.job == waits);
            cr_assert_eq(done.status, QUIRE_DISCONNECTED, "%s", quire_status_name(done.status));
        }
        cr_assert_lt(clock_ns() - begin_ns, 30 * QUIRE_NS_PER_S, "it hangs");
        usleep(20000);
    }
    cr_assert(dest.status == QUIRE_DISCONNECTED && !came(0) && n_gets == 0);
    cr_assert_not_null(strstr(client->conn.why, "read from quired's memory"), "%s", client->conn.why);
    quire_release(&lease);
    twin.arg = 0;
    get_ns = 0;
    lease = lookup_again();
    cr_assert_eq(quire_fetch(lease, &dest, 1, NULL, LONG_MS), QUIRE_OK, "%s", quire_last_error());
    cr_assert(came(0));
    quire_release(&lease);
    stop();
}

/* Reads that take longer together than a daemon may be silent, but come one after the other, are waited for. */
Test(client_afar, slow_reads_are_waited_for, .timeout = 120) {
    quire_dest dests[KEYS];
    start();
    quire_lease *lease = lookup();
    get_ns = 60 * QUIRE_NS_PER_MS;
    into(dests, 0, KEYS);
    uint64_t begin_ns = clock_ns();
    cr_assert_eq(quire_fetch(lease, dests, KEYS, NULL, LONG_MS), QUIRE_OK, "%s", quire_last_error());
    cr_assert_gt(clock_ns() - begin_ns, SILENCE_MS * QUIRE_NS_PER_MS, "the test is too short");
    for (uint32_t i = 0; i < KEYS; i++) {
        cr_assert(came(i));
    }
    cr_assert_eq(atomic_load(&twin.connections), 1);
    quire_release(&lease);
    stop();
}

/* Who cancels gets its memory back when its own reads are over; another's go on, and end well. */
Test(client_afar, cancelling_waits_for_its_own_reads, .timeout = 120) {
    quire_dest mine, other;
    start();
    quire_lease *lease = lookup();
    get_ns = UINT64_MAX;
    into(&mine, 0, 1);
    into(&other, 1, 1);
    quire_job first = quire_submit_fetch(lease, &mine, 1, NULL, LONG_MS, NULL);
    quire_drain(client, NULL, 0);
    uint32_t of_mine = n_gets;
    quire_job second = quire_submit_fetch(lease, &other, 1, NULL, LONG_MS, NULL);
    quire_drain(client, NULL, 0);
    uint32_t of_other = n_gets - of_mine;
    cr_assert(of_mine > 0 && of_other > 0, "%u and %u", of_mine, of_other);
    cr_assert_eq(quire_cancel(client, first), QUIRE_OK);
    cr_assert_eq(n_gets, of_other, "%u reads are under way", n_gets);
    cr_assert_eq(quire_wait(client, first, LONG_MS), QUIRE_CANCELLED);
    get_ns = 0;
    for (uint32_t i = 0; i < n_gets; i++) {
        gets[i].due_ns = 0;
    }
    cr_assert_eq(quire_wait(client, second, LONG_MS), QUIRE_OK, "%s", quire_last_error());
    cr_assert(came(1));
    quire_release(&lease);
    stop();
}
