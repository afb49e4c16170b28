/*
 * A real core in a thread of the test's process, and a client written by hand that speaks frames to it: what libquire does, and what no decent
 * client would. Every wait has a bound of FRAMES_WAIT_MS, after which the test fails; none is a measurement.
 */
#ifndef TESTS_DAEMON_FRAMES_H
#define TESTS_DAEMON_FRAMES_H

#include "codec/checksum.h"
#include "codec/record.h"
#include "daemon/core_internal.h"
#include "proto/frame.h"
#include "proto/layout.h"
#include "proto/status.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FRAMES_PLAIN
#include <criterion/criterion.h>
#else /* programs with a plain main, for sanitizers under which Criterion does not run */
#define cr_assert(condition, ...)                                                                                                          \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                                \
            abort();                                                                                                                       \
        }                                                                                                                                  \
    } while (0)
#define cr_assert_not(condition, ...) cr_assert(!(condition))
#define cr_assert_fail(...) (fprintf(stderr, __VA_ARGS__), abort())
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b))
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b))
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b))
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL)
#endif

#define FRAMES_WAIT_MS 20000
#define FRAMES_UNUSED __attribute__((unused))

/* ---- the daemon ----------------------------------------------------------------------------------------------------------- */
struct frames_daemon {
    struct config config;
    struct core *core;
    pthread_t thread;
    char folder[64];
    enum quire_status ended;
};

FRAMES_UNUSED static void *frames_run(void *arg) {
    struct frames_daemon *daemon = arg;
    daemon->ended = core_run(daemon->core);
    return NULL;
}

/* A small pool, the test's own uid as member; what a test wants otherwise it changes before frames_start. */
FRAMES_UNUSED static void frames_config(struct frames_daemon *daemon) {
    config_default(&daemon->config);
    strcpy(daemon->folder, "/tmp/quire-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(daemon->folder));
    snprintf(daemon->config.socket_path, sizeof daemon->config.socket_path, "%s/s", daemon->folder);
    daemon->config.n_domains = 1;
    strcpy(daemon->config.domains[0].name, "default");
    daemon->config.domains[0].pool_bytes = 8 << 20;
    daemon->config.domains[0].members[0] = geteuid();
    daemon->config.domains[0].n_members = 1;
    daemon->config.ingest_bytes = 4 << 20;
    daemon->config.ingest_window_bytes = 1 << 20;
    daemon->config.work_threads = 2;
    daemon->config.pager.max_blocks = 100000;
    daemon->config.log_level = LOG_LEVEL_ERROR;
    log_setup(LOG_LEVEL_ERROR, false);
}

/* n files of the disk tier, PATH0 and so on: small segments, written soon. */
FRAMES_UNUSED static void frames_add_disk(struct frames_daemon *daemon, const char *path, uint32_t n_files, uint64_t size_bytes,
                                          uint64_t segment_bytes) {
    for (uint32_t i = 0; i < n_files; i++) {
        snprintf(daemon->config.files[i].path, sizeof daemon->config.files[i].path, "%s%u", path, i);
        daemon->config.files[i].size_bytes = size_bytes;
    }
    daemon->config.n_files = n_files;
    daemon->config.disk.segment_bytes = segment_bytes;
    daemon->config.disk.scrub_bytes_per_s = 0;
    daemon->config.disk.pager.write_delay_ms = 1;
    daemon->config.disk.io_backend = DISK_IO_THREADS; /* a ring would belong to the thread that creates the core, and it runs on another */
}

/* Likewise, in a folder of its own that the story removes; `first`: the path of the first file. */
struct frames_folder {
    char path[128], first[160];
};
FRAMES_UNUSED static void frames_add_folder(struct frames_daemon *daemon, struct frames_folder *folder, uint32_t n_files) {
    const char *parent = getenv("TMPDIR");
    snprintf(folder->path, sizeof folder->path, "%.80s/quire-disk-XXXXXX", parent != NULL ? parent : "/tmp");
    cr_assert_not_null(mkdtemp(folder->path));
    snprintf(folder->first, sizeof folder->first, "%s/log", folder->path);
    frames_add_disk(daemon, folder->first, n_files, 32 << 20, 1 << 20);
    snprintf(folder->first, sizeof folder->first, "%s/log0", folder->path);
}
FRAMES_UNUSED static void frames_remove_folder(const struct frames_folder *folder) {
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder->path);
    cr_assert_eq(system(command), 0);
}

FRAMES_UNUSED static void frames_start(struct frames_daemon *daemon) {
    char why[512];
    enum quire_status status = core_create(&daemon->config, &daemon->core, why, sizeof why);
    cr_assert_eq(status, QUIRE_OK, "%s", why);
    cr_assert_eq(pthread_create(&daemon->thread, NULL, frames_run, daemon), 0);
}

FRAMES_UNUSED static void frames_forget_lock(const struct frames_daemon *daemon) {
    char lock[160];
    snprintf(lock, sizeof lock, "%s.lock", daemon->config.socket_path);
    unlink(lock);
}

FRAMES_UNUSED static void frames_stop(struct frames_daemon *daemon) {
    core_stop(daemon->core);
    pthread_join(daemon->thread, NULL);
    cr_assert_eq(daemon->ended, QUIRE_OK);
    core_destroy(&daemon->core);
    frames_forget_lock(daemon);
    cr_assert_eq(rmdir(daemon->folder), 0, "something was left in %s", daemon->folder);
}

/* A child, which ends with a test that fails. */
FRAMES_UNUSED static pid_t frames_fork(void) {
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

/* Looks at the core on its own thread until `holds` is true. */
struct frames_question {
    bool (*holds)(struct core *core, uint64_t arg);
    uint64_t arg;
    bool answer;
};
FRAMES_UNUSED static void frames_look(struct core *core, void *arg) {
    struct frames_question *question = arg;
    question->answer = question->holds(core, question->arg);
}
FRAMES_UNUSED static bool frames_until(struct frames_daemon *daemon, bool (*holds)(struct core *core, uint64_t arg), uint64_t arg) {
    struct frames_question question = {.holds = holds, .arg = arg};
    for (int waited_ms = 0; waited_ms < FRAMES_WAIT_MS; waited_ms += 2) {
        cr_assert_eq(core_call(daemon->core, frames_look, &question, FRAMES_WAIT_MS), QUIRE_OK);
        if (question.answer) {
            return true;
        }
        usleep(2000);
    }
    return false;
}
FRAMES_UNUSED static bool frames_n_sessions(struct core *core, uint64_t n) { return core->n_sessions == n; }
FRAMES_UNUSED static bool frames_idle(struct core *core, uint64_t arg) {
    (void)arg;
    struct pager_domain_stats stats;
    pager_domain_stats(core->pager, 0, &stats);
    return puts_count(&core->puts) == 0 && ingest_lent_bytes(core->ingest) == 0 && stats.leased_bytes == 0;
}

/* ---- a client ------------------------------------------------------------------------------------------------------------- */
struct frames_answer {
    struct quire_frame frame;
    uint8_t *body;
    uint8_t *bulk;
};

struct frames_client {
    int fd;
    int fds[4];
    int n_fds;
    struct quire_decoder decoder;
    uint8_t pending[4096];
    size_t have, at;
    uint64_t next_id;
};

FRAMES_UNUSED static void frames_open(struct frames_client *client, const struct frames_daemon *daemon) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(client, 0, sizeof *client);
    strcpy(address.sun_path, daemon->config.socket_path);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0, "%s", strerror(errno));
}

FRAMES_UNUSED static void frames_close(struct frames_client *client) {
    close(client->fd);
    for (int i = 0; i < client->n_fds; i++) {
        close(client->fds[i]);
    }
    quire_decoder_free(&client->decoder);
    client->fd = -1;
}

/* All of it, however slowly the daemon takes it; false when it hangs up. */
FRAMES_UNUSED static bool frames_write(struct frames_client *client, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t sent = send(client->fd, at, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

FRAMES_UNUSED static size_t frames_pack(const struct quire_frame *frame, const ProtobufCMessage *body, uint8_t **out) {
    struct quire_frame whole = *frame;
    whole.body_bytes = body != NULL ? (uint32_t)protobuf_c_message_get_packed_size(body) : 0;
    uint8_t *bytes = malloc(QUIRE_FRAME_BYTES + whole.body_bytes);
    if (body != NULL) {
        protobuf_c_message_pack(body, bytes + QUIRE_FRAME_BYTES);
    }
    quire_frame_encode(&whole, bytes + QUIRE_FRAME_BYTES, bytes);
    *out = bytes;
    return QUIRE_FRAME_BYTES + whole.body_bytes;
}

/* Returns the request's id. */
FRAMES_UNUSED static uint64_t frames_send(struct frames_client *client, enum quire_msg type, const ProtobufCMessage *body) {
    uint8_t *bytes;
    struct quire_frame frame = {.type = (uint16_t)type, .request_id = ++client->next_id};
    size_t size = frames_pack(&frame, body, &bytes);
    frames_write(client, bytes, size);
    free(bytes);
    return client->next_id;
}

FRAMES_UNUSED static ssize_t frames_read(struct frames_client *client) {
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};
    cr_assert_eq(poll(&wait, 1, FRAMES_WAIT_MS), 1, "the daemon says nothing");
    char control[CMSG_SPACE(4 * sizeof(int))];
    struct iovec part = {client->pending, sizeof client->pending};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC);
    for (struct cmsghdr *at = got > 0 ? CMSG_FIRSTHDR(&message) : NULL; at != NULL; at = CMSG_NXTHDR(&message, at)) {
        int n = (int)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        cr_assert_leq(client->n_fds + n, 4);
        memcpy(&client->fds[client->n_fds], CMSG_DATA(at), (size_t)n * sizeof(int));
        client->n_fds += n;
    }
    client->have = got > 0 ? (size_t)got : 0;
    client->at = 0;
    return got;
}

/* The next frame; false when the daemon has hung up. */
FRAMES_UNUSED static bool frames_recv(struct frames_client *client, struct frames_answer *answer) {
    memset(answer, 0, sizeof *answer);
    for (;;) {
        size_t used;
        enum quire_status status = quire_decoder_feed(&client->decoder, client->pending + client->at, client->have - client->at, &used);
        client->at += used;
        if (status == QUIRE_OK) {
            break;
        }
        cr_assert_eq(status, QUIRE_PENDING, "the daemon sent a malformed frame");
        if (frames_read(client) <= 0) {
            return false;
        }
    }
    answer->frame = client->decoder.frame;
    answer->body = malloc(answer->frame.body_bytes + 1);
    memcpy(answer->body, quire_decoder_body(&client->decoder), answer->frame.body_bytes);
    quire_decoder_next(&client->decoder);
    answer->bulk = malloc(answer->frame.bulk_bytes + 1);
    for (uint64_t have = 0; have < answer->frame.bulk_bytes;) {
        if (client->at == client->have && frames_read(client) <= 0) {
            return false;
        }
        size_t n = quire_min_u64(answer->frame.bulk_bytes - have, client->have - client->at);
        memcpy(answer->bulk + have, client->pending + client->at, n);
        have += n;
        client->at += n;
    }
    return true;
}

FRAMES_UNUSED static void frames_answer_free(struct frames_answer *answer) {
    free(answer->body);
    free(answer->bulk);
}

/* The next frame must be the answer to `id`. */
FRAMES_UNUSED static struct frames_answer frames_expect(struct frames_client *client, enum quire_msg type, uint64_t id) {
    struct frames_answer answer;
    cr_assert(frames_recv(client, &answer), "the daemon hung up instead of answering");
    if (answer.frame.type == QUIRE_MSG_ERROR && type != QUIRE_MSG_ERROR) {
        Quire__Wire__Error *error = quire__wire__error__unpack(NULL, answer.frame.body_bytes, answer.body);
        cr_assert_fail("error instead of an answer: %s", error->text);
    }
    cr_assert_eq(answer.frame.type, type, "frame of type %u, expected %d", answer.frame.type, type);
    cr_assert_eq(answer.frame.request_id, id);
    return answer;
}

/* The daemon must say ERROR with this status; returns its text, to be freed. */
FRAMES_UNUSED static char *frames_expect_error(struct frames_client *client, enum quire_status status) {
    struct frames_answer answer;
    cr_assert(frames_recv(client, &answer), "the daemon hung up without a word");
    cr_assert_eq(answer.frame.type, QUIRE_MSG_ERROR, "frame of type %u", answer.frame.type);
    Quire__Wire__Error *error = quire__wire__error__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(error->status, status, "%s: %s", quire_status_name((enum quire_status)error->status), error->text);
    char *text = strdup(error->text);
    quire__wire__error__free_unpacked(error, NULL);
    frames_answer_free(&answer);
    return text;
}

/* Nothing more comes: the daemon has hung up. */
FRAMES_UNUSED static void frames_expect_end(struct frames_client *client) {
    struct frames_answer answer;
    cr_assert_not(frames_recv(client, &answer), "a frame of type %u instead of the end", answer.frame.type);
}

/* HELLO; returns the answer, to be freed. */
FRAMES_UNUSED static Quire__Wire__HelloAck *frames_hello(struct frames_client *client) {
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    hello.major = QUIRE_PROTO_MAJOR;
    hello.client = (char *)"unit test";
    struct frames_answer answer = frames_expect(client, QUIRE_MSG_HELLO_ACK, frames_send(client, QUIRE_MSG_HELLO, &hello.base));
    Quire__Wire__HelloAck *ack = quire__wire__hello_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(ack);
    frames_answer_free(&answer);
    return ack;
}

/* A daemon, and a client that is heard. */
FRAMES_UNUSED static void frames_begin(struct frames_daemon *daemon, struct frames_client *client) {
    frames_start(daemon);
    frames_open(client, daemon);
    quire__wire__hello_ack__free_unpacked(frames_hello(client), NULL);
}
FRAMES_UNUSED static void frames_end(struct frames_daemon *daemon, struct frames_client *client) {
    frames_close(client);
    frames_stop(daemon);
}

/* ---- a namespace and its blocks ------------------------------------------------------------------------------------------- */

/* Two layers, two heads, sixteen dims, sixteen tokens: a record of 4 KiB and a little. */
FRAMES_UNUSED static void frames_layout(quire_layout *layout) {
    memset(layout, 0, sizeof *layout);
    layout->weights_digest[0] = 1;
    layout->n_layers = 2;
    layout->n_groups = 1;
    layout->block_tokens = 16;
    layout->kv_src[1] = 1;
    layout->group[0].n_kv_heads = 2;
    layout->group[0].k_dim = layout->group[0].v_dim = 16;
    layout->group[0].elem = QUIRE_F16;
}

/* What opens a namespace of that layout, which is written to `wire`. */
FRAMES_UNUSED static Quire__Wire__NsOpen frames_ns_request(const char *name, uint8_t wire[QUIRE_LAYOUT_WIRE_MAX]) {
    quire_layout layout;
    size_t size;
    frames_layout(&layout);
    cr_assert_eq(quire_layout_encode(&layout, wire, QUIRE_LAYOUT_WIRE_MAX, &size), QUIRE_OK);
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    open.name = (char *)name;
    open.layout = (ProtobufCBinaryData){.len = size, .data = wire};
    return open;
}

FRAMES_UNUSED static uint32_t frames_ns_open(struct frames_client *client, const char *name, enum quire_status expected) {
    uint8_t wire[QUIRE_LAYOUT_WIRE_MAX];
    Quire__Wire__NsOpen open = frames_ns_request(name, wire);
    struct frames_answer answer = frames_expect(client, QUIRE_MSG_NS_ACK, frames_send(client, QUIRE_MSG_NS_OPEN, &open.base));
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(ack->status, expected, "%s", ack->text);
    uint32_t ns = ack->ns;
    quire__wire__ns_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    return ns;
}

struct frames_window {
    uint32_t number;
    uint64_t bytes;
    uint8_t *base;
};

/* Asks for a window; the status as the daemon gave it. */
FRAMES_UNUSED static enum quire_status frames_ingest(struct frames_client *client, uint64_t bytes, uint32_t deadline_ms,
                                                     struct frames_window *window) {
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    get.bytes = bytes;
    get.deadline_ms = deadline_ms;
    int n_fds = client->n_fds;
    struct frames_answer answer = frames_expect(client, QUIRE_MSG_INGEST_ACK, frames_send(client, QUIRE_MSG_INGEST_GET, &get.base));
    Quire__Wire__IngestAck *ack = quire__wire__ingest_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    enum quire_status status = (enum quire_status)ack->status;
    if (status == QUIRE_OK) {
        cr_assert_eq(client->n_fds, n_fds + 1, "the window's descriptor is missing");
        window->number = ack->window;
        window->bytes = ack->bytes;
        window->base = mmap(NULL, ack->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, client->fds[n_fds], 0);
        cr_assert_neq(window->base, MAP_FAILED);
        close(client->fds[--client->n_fds]);
    }
    quire__wire__ingest_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    return status;
}

FRAMES_UNUSED static void frames_shape(struct quire_record_shape *shape) {
    quire_layout layout;
    frames_layout(&layout);
    cr_assert_eq(quire_record_shape(&layout, 0, layout.block_tokens, 0, shape), QUIRE_OK);
}
FRAMES_UNUSED static uint32_t frames_payload_bytes(void) {
    quire_layout layout;
    frames_layout(&layout);
    quire_rect whole = quire_layout_whole(&layout, 0);
    return (uint32_t)quire_layout_rect_bytes(&layout, 0, &whole, layout.block_tokens);
}

FRAMES_UNUSED static quire_key frames_key(uint32_t number) {
    quire_key key = {{0}};
    memcpy(key.b, &number, sizeof number);
    key.b[31] = 1;
    return key;
}

/* The bytes that block `number` has, and the item that offers them at `offset` of a window. */
FRAMES_UNUSED static struct quire_wire_put frames_item(const struct frames_window *window, uint64_t offset, uint32_t number) {
    struct quire_record_shape shape;
    uint64_t checks[64], at = 0;
    frames_shape(&shape);
    uint32_t bytes = frames_payload_bytes();
    for (uint32_t i = 0; i < bytes; i++) {
        window->base[offset + i] = (uint8_t)(i * 7 + number * 31);
    }
    cr_assert_leq(shape.n_lanes, QUIRE_ARRAY_LEN(checks));
    for (uint32_t lane = 0; lane < shape.n_lanes; lane++) {
        checks[lane] = quire_checksum(window->base + offset + at, quire_record_lane_bytes(&shape, lane));
        at += quire_record_lane_bytes(&shape, lane);
    }
    quire_layout layout;
    frames_layout(&layout);
    quire_rect whole = quire_layout_whole(&layout, 0);
    struct quire_wire_put item = {.key = frames_key(number), .ingest_offset = offset, .length = bytes, .n_tokens = layout.block_tokens};
    item.check = quire_record_combine(checks, shape.n_lanes);
    item.flags = number == 1 ? QUIRE_WIRE_PUT_ROOT : 0;
    item.parent = number == 1 ? (quire_key){{0}} : frames_key(number - 1);
    item.n_layers = whole.n_layers;
    item.n_heads = whole.n_heads;
    return item;
}

FRAMES_UNUSED static uint64_t frames_put_send(struct frames_client *client, uint32_t ns, uint32_t window,
                                              const struct quire_wire_put *items, size_t n_items, uint32_t deadline_ms) {
    Quire__Wire__Put put = QUIRE__WIRE__PUT__INIT;
    put.ns = ns;
    put.window = window;
    put.deadline_ms = deadline_ms;
    put.items = (ProtobufCBinaryData){.len = n_items * sizeof *items, .data = (uint8_t *)items};
    return frames_send(client, QUIRE_MSG_PUT, &put.base);
}

/* The ACKS to `id`: its overall status, and the statuses of n keys when it is OK. */
FRAMES_UNUSED static enum quire_status frames_acks(struct frames_client *client, uint64_t id, uint8_t *statuses, size_t n) {
    struct frames_answer answer = frames_expect(client, QUIRE_MSG_ACKS, id);
    Quire__Wire__Acks *acks = quire__wire__acks__unpack(NULL, answer.frame.body_bytes, answer.body);
    enum quire_status status = (enum quire_status)acks->status;
    if (status == QUIRE_OK) {
        cr_assert_eq(acks->statuses.len, n, "%zu statuses for %zu keys", acks->statuses.len, n);
        memcpy(statuses, acks->statuses.data, n);
    }
    quire__wire__acks__free_unpacked(acks, NULL);
    frames_answer_free(&answer);
    return status;
}

/* Stores blocks 1..n and expects each to be OK. The window goes back. */
FRAMES_UNUSED static void frames_store(struct frames_client *client, uint32_t ns, uint32_t n) {
    struct frames_window window;
    struct quire_wire_put items[128];
    uint8_t statuses[128];
    cr_assert_leq(n, QUIRE_ARRAY_LEN(items));
    cr_assert_eq(frames_ingest(client, (uint64_t)n * frames_payload_bytes(), FRAMES_WAIT_MS, &window), QUIRE_OK);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = frames_item(&window, (uint64_t)i * frames_payload_bytes(), i + 1);
    }
    cr_assert_eq(frames_acks(client, frames_put_send(client, ns, window.number, items, n, FRAMES_WAIT_MS), statuses, n), QUIRE_OK);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(statuses[i], QUIRE_OK, "block %u: %s", i + 1, quire_status_text((enum quire_status)statuses[i]));
    }
    munmap(window.base, window.bytes);
    Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
    back.window = window.number;
    frames_send(client, QUIRE_MSG_INGEST_RETURN, &back.base);
}

/* Leases blocks 1..n as a prefix; the answer is to be freed. */
FRAMES_UNUSED static Quire__Wire__Grants *frames_lease(struct frames_client *client, uint32_t ns, uint32_t n) {
    quire_key *keys = calloc(n, sizeof *keys);
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = frames_key(i + 1);
    }
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    lease.ns = ns;
    lease.flags = QUIRE_WIRE_LEASE_PREFIX;
    lease.keys = (ProtobufCBinaryData){.len = n * sizeof *keys, .data = (uint8_t *)keys};
    struct frames_answer answer = frames_expect(client, QUIRE_MSG_GRANTS, frames_send(client, QUIRE_MSG_LEASE, &lease.base));
    Quire__Wire__Grants *grants = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(grants);
    frames_answer_free(&answer);
    free(keys);
    return grants;
}

FRAMES_UNUSED static void frames_release(struct frames_client *client, uint64_t lease) {
    Quire__Wire__Release release = QUIRE__WIRE__RELEASE__INIT;
    release.n_lease = 1;
    release.lease = &lease;
    frames_send(client, QUIRE_MSG_RELEASE, &release.base);
}

#endif
