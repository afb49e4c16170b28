/*
 * Any sequence of frames from a client that has said hello, against a real core without a thread of its own. The input is a list of
 * (type, size, body); frames get right headers and sums, so that what is tried is what lies behind them. When the client has gone nothing may
 * be held, and the pager's books must agree. The first byte chooses a member or a guest.
 */
#include "daemon/core_internal.h"
#include "proto/layout.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct core *core;
static char folder[32];

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void leave(void) {
    char lock[CONFIG_PATH_MAX + 8];
    if (core == NULL) {
        return;
    }
    snprintf(lock, sizeof lock, "%s.lock", core->config.socket_path);
    core_destroy(&core);
    unlink(lock);
    rmdir(folder);
}

static void start(void) {
    static struct config config;
    char why[512];
    config_default(&config);
    strcpy(folder, "/tmp/quire-fuzz-XXXXXX");
    require(mkdtemp(folder) != NULL);
    snprintf(config.socket_path, sizeof config.socket_path, "%s/s", folder);
    config.n_domains = 1;
    strcpy(config.domains[0].name, "default");
    config.domains[0].pool_bytes = 256 << 10;
    config.domains[0].members[0] = geteuid();
    config.domains[0].n_members = 1;
    config.work_threads = 1;
    config.ingest_bytes = config.ingest_window_bytes = 64 << 10;
    config.pager.max_blocks = 1000;
    config.pager.max_namespaces = 8;
    config.pager.ghost_entries = 1024;
    log_setup(LOG_LEVEL_ERROR, false);
    require(core_create(&config, &core, why, sizeof why) == QUIRE_OK);
}

/* Reads and forgets what the daemon says, descriptors included. */
static void listen_to(int fd) {
    static uint8_t bytes[65536];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
}

static bool busy(void) { return core->run_head != NULL || core->n_free_jobs != CORE_JOBS; }
static void settle(int fd) {
    do {
        require(core_turn(core, busy() && core->run_head == NULL ? loop_now_ns() + QUIRE_NS_PER_MS : 0) == QUIRE_OK);
        listen_to(fd);
    } while (busy());
}

static void say(int fd, uint16_t type, const uint8_t *body, uint32_t body_bytes) {
    static uint8_t bytes[QUIRE_FRAME_BYTES + 65536];
    struct quire_frame frame = {.type = type, .body_bytes = body_bytes, .request_id = 1};
    if (body_bytes > 0) {
        memcpy(bytes + QUIRE_FRAME_BYTES, body, body_bytes);
    }
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    ssize_t sent = send(fd, bytes, QUIRE_FRAME_BYTES + body_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
    settle(fd);
}

static void say_message(int fd, enum quire_msg type, const ProtobufCMessage *message) {
    uint8_t body[QUIRE_LAYOUT_WIRE_MAX + 256];
    require(protobuf_c_message_get_packed_size(message) <= sizeof body);
    say(fd, (uint16_t)type, body, (uint32_t)protobuf_c_message_pack(message, body));
}

/* What every decent client does first. Window numbers start at 1 again, so that an input can name its own. */
static void introduce(int fd) {
    static quire_layout layout;
    static uint8_t wire[QUIRE_LAYOUT_WIRE_MAX];
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    const struct ingest_limits limits = ingest_limits_of(&core->config);
    ingest_destroy(&core->ingest);
    require(ingest_create(&limits, &ingest_session_ops, &core->ingest) == QUIRE_OK);
    hello.major = QUIRE_PROTO_MAJOR;
    say_message(fd, QUIRE_MSG_HELLO, &hello.base);
    layout.n_layers = layout.n_groups = 1;
    layout.block_tokens = 16;
    layout.group[0].n_kv_heads = 2;
    layout.group[0].k_dim = layout.group[0].v_dim = 16;
    layout.group[0].elem = QUIRE_F16;
    open.name = (char *)"n";
    open.layout.data = wire;
    require(quire_layout_encode(&layout, wire, sizeof wire, &open.layout.len) == QUIRE_OK);
    say_message(fd, QUIRE_MSG_NS_OPEN, &open.base);
    get.bytes = 16 << 10;
    say_message(fd, QUIRE_MSG_INGEST_GET, &get.base);
}

static void converse(int fd, const uint8_t *data, size_t size) {
    while (size >= 3) {
        uint32_t body_bytes = (uint32_t)data[1] | (uint32_t)data[2] << 8;
        body_bytes = (uint32_t)quire_min_u64(body_bytes, size - 3);
        say(fd, data[0], data + 3, body_bytes);
        data += 3 + body_bytes;
        size -= 3 + body_bytes;
    }
}

/* Whatever was told of costs, rates are possible ones, and so is what was saved. */
static void check_savings(void) {
    const struct savings *savings = &core->savings;
    for (uint32_t i = 0; i < savings->n_ns; i++) {
        const double us = savings->ns[i].us_per_token;
        require(us == 0 || (us >= QUIRE_COST_MIN_US && us <= QUIRE_COST_MAX_US));
    }
    require(savings->saved_s >= 0 && savings->saved_s <= (double)pager_counters(core->pager)->hit_tokens * QUIRE_COST_MAX_US / 1e6 * 1.001);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fds[2];
    struct session *session;
    static bool cleans_up;
    if (core == NULL) {
        start();
        cleans_up = cleans_up || atexit(leave) == 0;
    }
    if (size == 0) {
        return 0;
    }
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    require(session_create(core, fds[0], &session) == QUIRE_OK);
    session->pid = getpid();
    session->member = session->admin = data[0] != 'g';
    introduce(fds[1]);
    converse(fds[1], data + 1, size - 1);
    close(fds[1]);
    do {
        settle(-1);
    } while (core->n_sessions > 0);
    struct pager_domain_stats stats;
    pager_domain_stats(core->pager, 0, &stats);
    require(puts_count(&core->puts) == 0 && ingest_lent_bytes(core->ingest) == 0);
    require(stats.leased_bytes == 0 || core->quarantine.count > 0);
    pager_check(core->pager);
    check_savings();
    if (core->quarantine.count > 0) {
        leave(); /* it kicked itself: its process, which is this one, will not go away */
    }
    return 0;
}
