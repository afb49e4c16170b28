/*
 * Anything that a daemon may say, against a real client with a lookup, a touch, a store and (once there is a lease) a fetch and a view under way.
 * The input is a list of (type, how, size, body); frames get right headers and sums, so that what is tried is what lies behind them, unless
 * `how` asks for raw bytes. The first byte chooses: greeted as a member ('m'), as a guest ('g'), over a wire, where a challenge comes first ('w'), or
 * not at all, there ('c') or here; over a wire the second byte is the size of the pieces in which bytes come. When the daemon has hung up
 * nothing may be held. There is no thread but this one: the client advances in quire_drain.
 */
#include "tests/unit/client_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bits of `how`. */
enum {
    HOW_ID = 3,      /* 0: of the request that this type answers; 1: zero; 2: of any request; 3: invented */
    HOW_FDS = 4,     /* two descriptors come with it */
    HOW_BULK = 8,    /* it announces BULK_BYTES raw bytes */
    HOW_RAW = 16,    /* the body alone, no frame */
    HOW_CANCEL = 32, /* the caller gives up first */
    HOW_KEYS = 64,   /* ACKS: of the touch, though a put is under way */
    HOW_LOAD = 128   /* GRANTS: of the LOAD */
};
enum { JOBS = 4, BULK_BYTES = 512, MEMORY_BYTES = 64 << 10, TOKENS = 16, DIM = 8, LAYERS = 2 };

static int fds[2];
static size_t piece_bytes; /* of what comes over a wire */
static bool dry;           /* nothing more had come */

static struct {
    quire_job jobs[JOBS]; /* the last one is the fetch */
    quire_key keys[2];
    uint8_t misses[2], statuses[2];
    quire_lookup_result found;
    quire_source source;
    quire_dest dest;
} call;
static uint16_t cache[2][LAYERS][TOKENS][DIM];
static void *k_base[LAYERS], *v_base[LAYERS];

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void leave(void) {
    quire_ns_close(&ns);
    quire_close(&client);
    close(twin.listener);
    unlink(twin.path);
}

static enum quire_status receive_piece(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why) {
    enum quire_status status = transport_unix.receive(transport, bytes, quire_min_u64(size, piece_bytes), got, why);
    dry = status != QUIRE_OK;
    return status;
}

static void prepare_wire(void) {
    wire_ops = transport_unix;
    wire_ops.scheme = "double";
    wire_ops.wire = true;
    wire_ops.connect = wire_connect;
    wire_ops.receive = receive_piece;
    strcpy(client->token.name, "worker");
    strcpy(client->token.secret, "0123456789abcdef");
}

/* A double opens the namespace truthfully, once; from then on this file is the daemon. */
static void start(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    twin_start(&twin);
    require(twin_open(&twin, &client, &ns) == QUIRE_OK);
    twin_stop(&twin);
    strcpy(address.sun_path, twin.path);
    twin.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    require(bind(twin.listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(twin.listener, 8) == 0);
    for (int i = 0; i < 2; i++) {
        fds[i] = twin_memory(MEMORY_BYTES, true);
    }
    for (int layer = 0; layer < LAYERS; layer++) {
        k_base[layer] = cache[0][layer];
        v_base[layer] = cache[1][layer];
    }
    prepare_wire();
    require(atexit(leave) == 0);
}

static void use_lease(void) {
    quire_view view;
    if (call.found.lease == NULL || call.jobs[JOBS - 1] != 0) {
        return;
    }
    /* A view of what is away would wait for the disk: there is nobody who could answer meanwhile. */
    if (call.found.lease->n_away == 0 && quire_view_begin(call.found.lease, 0, 0, &view) == QUIRE_OK) {
        quire_view_end(call.found.lease, &view);
    }
    call.dest = (quire_dest){.k_base = k_base, .v_base = v_base, .region = cache, .region_bytes = sizeof(cache)};
    call.dest.k_token_stride = call.dest.v_token_stride = DIM * 2;
    call.jobs[JOBS - 1] = quire_submit_fetch(call.found.lease, &call.dest, 1, NULL, 60000, NULL);
}

static void drain(void) {
    do {
        dry = true;
        quire_drain(client, NULL, 0);
    } while (!dry); /* a piece leaves the rest where it is */
}

static void advance(void) {
    drain();
    use_lease();
    drain();
}

static void submit(void) {
    memset(&call, 0, sizeof(call));
    call.keys[0].b[0] = 1;
    call.keys[1].b[0] = 2;
    quire_lookup_args args = {.keys = call.keys, .n_keys = 2, .deadline_ms = 60000};
    call.source = (quire_source){.key = call.keys[0], .n_tokens = TOKENS, .k_token_stride = DIM * 2, .v_token_stride = DIM * 2};
    call.source.k_base = (const void *const *)k_base;
    call.source.v_base = (const void *const *)v_base;
    call.jobs[0] = quire_submit_lookup(ns, &args, call.misses, &call.found, NULL);
    call.jobs[1] = quire_submit_keys(ns, QUIRE_KEYS_TOUCH, call.keys, 2, call.statuses, 60000, NULL);
    call.jobs[2] = quire_submit_store(ns, &call.source, 1, NULL, 60000, NULL, NULL);
}

/* The request that a message of this type answers, as the client remembers it. */
static uint64_t answered(uint16_t type, bool any, uint8_t how) {
    static const uint16_t asks[] = {[QUIRE_MSG_NS_ACK] = QUIRE_MSG_NS_OPEN,
                                    [QUIRE_MSG_GRANTS] = QUIRE_MSG_LEASE,
                                    [QUIRE_MSG_BULK] = QUIRE_MSG_READ,
                                    [QUIRE_MSG_ACKS] = QUIRE_MSG_PUT,
                                    [QUIRE_MSG_INGEST_ACK] = QUIRE_MSG_INGEST_GET};
    uint16_t asked = type < QUIRE_ARRAY_LEN(asks) ? asks[type] : 0;
    asked = type == QUIRE_MSG_ACKS && (how & HOW_KEYS) != 0 ? QUIRE_MSG_KEYS : asked;
    asked = type == QUIRE_MSG_GRANTS && (how & HOW_LOAD) != 0 ? QUIRE_MSG_LOAD : asked;
    for (uint32_t i = 0; i < client->n_requests; i++) {
        if (client->requests[i].id != 0 && (any || client->requests[i].type == asked)) {
            return client->requests[i].id;
        }
    }
    return 0;
}

static void challenge(int fd) {
    uint8_t nonce[QUIRE_NONCE_BYTES] = {1};
    Quire__Wire__Challenge body = QUIRE__WIRE__CHALLENGE__INIT;
    body.major = QUIRE_PROTO_MAJOR;
    body.nonce = (ProtobufCBinaryData){.len = sizeof(nonce), .data = nonce};
    twin_send(fd, QUIRE_MSG_CHALLENGE, 0, &body.base, 0, NULL, 0);
    advance();
    require(client->conn.state == CONN_HELLO && client->conn.challenged);
}

static void greet(int fd, bool member, bool wire_too) {
    uint8_t wire[QUIRE_LAYOUT_WIRE_MAX], root[QUIRE_KEY_BYTES];
    if (wire_too) {
        challenge(fd);
    }
    if (member) {
        twin_hello(&twin, fd);
    } else {
        Quire__Wire__HelloAck ack = QUIRE__WIRE__HELLO_ACK__INIT;
        ack.major = QUIRE_PROTO_MAJOR;
        ack.epoch = DOUBLE_EPOCH;
        ack.session = 1;
        twin_send(fd, QUIRE_MSG_HELLO_ACK, 0, &ack.base, 0, NULL, 0);
    }
    advance();
    Quire__Wire__NsAck ack = QUIRE__WIRE__NS_ACK__INIT;
    quire_key key = quire_ns_root(ns);
    memcpy(root, key.b, sizeof(root));
    ack.ns = 1;
    ack.root.data = root;
    ack.root.len = sizeof(root);
    ack.layout.data = wire;
    require(quire_layout_encode(quire_ns_layout(ns), wire, sizeof(wire), &ack.layout.len) == QUIRE_OK);
    twin_send(fd, QUIRE_MSG_NS_ACK, answered(QUIRE_MSG_NS_ACK, false, 0), &ack.base, 0, NULL, 0);
    advance();
    require(client->conn.state == CONN_UP);
}

static void say(int fd, uint16_t type, uint8_t how, const uint8_t *body, uint32_t body_bytes) {
    static uint8_t bytes[QUIRE_FRAME_BYTES + 65536];
    uint64_t ids[4] = {answered(type, false, how), 0, answered(type, true, 0), 0x123400001};
    struct quire_frame frame = {.type = type, .body_bytes = body_bytes, .request_id = ids[how & HOW_ID]};
    frame.bulk_bytes = (how & HOW_BULK) != 0 ? BULK_BYTES : 0;
    if (body_bytes > 0) {
        memcpy(bytes + QUIRE_FRAME_BYTES, body, body_bytes);
    }
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    size_t skipped = (how & HOW_RAW) != 0 ? QUIRE_FRAME_BYTES : 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(fds))];
    } control = {.align = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds))}};
    struct iovec vector = {.iov_base = bytes + skipped, .iov_len = QUIRE_FRAME_BYTES + body_bytes - skipped};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if ((how & HOW_FDS) != 0) {
        memcpy(CMSG_DATA(&control.align), fds, sizeof(fds));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* the client may have hung up */
}

static void converse(int fd, const uint8_t *data, size_t size) {
    while (size >= 4) {
        uint32_t body_bytes = (uint32_t)quire_min_u64((uint32_t)data[2] | (uint32_t)data[3] << 8, size - 4);
        if ((data[1] & HOW_CANCEL) != 0) {
            quire_cancel(client, call.jobs[data[0] % JOBS]);
        }
        say(fd, data[0], data[1], data + 4, body_bytes);
        advance();
        data += 4 + body_bytes;
        size -= 4 + body_bytes;
    }
}

/* Hangs up, also on connections that the client made meanwhile. */
static void hang_up(int fd) {
    do {
        if (fd >= 0) {
            close(fd);
        }
        advance();
        fd = accept4(twin.listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd >= 0 || client->conn.state != CONN_DOWN);
}

/* Nothing may be left of what was under way. */
static void finish(void) {
    quire_done done[JOBS];
    for (int i = 0; i < JOBS; i++) {
        quire_cancel(client, call.jobs[i]);
    }
    quire_drain(client, done, JOBS);
    quire_release(&call.found.lease);
    require(client->active_jobs == 0 && client->n_heap == 0 && client->n_free_slots == client->options.max_jobs);
    require(client->live_requests == 0 && list_empty(&client->leases) && client->window == NULL);
    require(client->conn.transport == NULL && client->conn.pool == NULL && atomic_load(&ns->refs) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (client == NULL) {
        start();
        hang_up(-1); /* lets the client notice that the double is gone */
    }
    if (size == 0) {
        return 0;
    }
    bool wire = size > 1 && (data[0] == 'w' || data[0] == 'c');
    piece_bytes = wire && data[1] != 0 ? data[1] : SIZE_MAX;
    client->transport = client->routes[0].ops = wire ? &wire_ops : &transport_unix;
    client->conn.next_attempt_ns = 0; /* no back-off between inputs */
    submit();
    int fd = accept4(twin.listener, NULL, NULL, SOCK_CLOEXEC);
    require(fd >= 0);
    if (data[0] == 'm' || data[0] == 'g' || (wire && data[0] == 'w')) {
        greet(fd, data[0] == 'm', wire);
    }
    converse(fd, data + 1 + wire, size - 1 - wire);
    hang_up(fd);
    finish();
    return 0;
}
