/* Clients that lie, stall, flood and die. Each is refused or ended with a reason; another session beside it never notices. */
#include "daemon_frames.h"

#include <fcntl.h>
#include <signal.h>

static struct frames_daemon daemon_;
static struct frames_client client, witness;
static uint32_t witness_ns;
static const uint32_t witness_windows = 1; /* it had this many */

/* What an offender stores may push out other blocks, but not these. */
static void witness_pins(void) {
    quire_key keys[5];
    uint8_t statuses[5];
    for (uint32_t i = 0; i < 5; i++) {
        keys[i] = frames_key(i + 1);
    }
    Quire__Wire__Keys pin = QUIRE__WIRE__KEYS__INIT;
    pin.ns = witness_ns;
    pin.verb = QUIRE_WIRE_PIN;
    pin.keys = (ProtobufCBinaryData){.len = sizeof keys, .data = (uint8_t *)keys};
    cr_assert_eq(frames_acks(&witness, frames_send(&witness, QUIRE_MSG_KEYS, &pin.base), statuses, 5), QUIRE_OK);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(statuses[i], QUIRE_OK);
    }
}

static void start(void) {
    frames_config(&daemon_);
    frames_start(&daemon_);
    frames_open(&witness, &daemon_);
    quire__wire__hello_ack__free_unpacked(frames_hello(&witness), NULL);
    witness_ns = frames_ns_open(&witness, "witness", QUIRE_OK);
    frames_store(&witness, witness_ns, 5);
    witness_pins();
    frames_open(&client, &daemon_);
}

/* The witness goes on undisturbed, the offender's session is gone, and the core ends in good order. */
static void stop(void) {
    Quire__Wire__Grants *grants = frames_lease(&witness, witness_ns, 5);
    cr_assert_eq(grants->hits, 5);
    quire__wire__grants__free_unpacked(grants, NULL);
    if (client.fd >= 0) {
        frames_close(&client);
    }
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1));
    frames_close(&witness);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, frames_idle, 0), "something is still held");
    frames_stop(&daemon_);
}

static void hello(void) { quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL); }

/* Random bytes are no frame: an error, and the end. The seed is printed. */
Test(daemon_hostile, garbage_is_refused, .init = start) {
    unsigned seed = (unsigned)getpid() * 2654435761u;
    uint8_t bytes[1000];
    printf("seed %u\n", seed);
    srandom(seed);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)random();
    }
    bytes[0] = 'x';
    hello();
    frames_write(&client, bytes, sizeof bytes);
    free(frames_expect_error(&client, QUIRE_CORRUPT));
    frames_expect_end(&client);
    cr_assert_eq(core_counters(daemon_.core)->frames_bad, 1);
    stop();
}

/* A bit flipped in a body is found by its checksum. */
Test(daemon_hostile, a_flipped_bit_is_found, .init = start) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    uint8_t *bytes;
    hello();
    open.name = (char *)"some name";
    struct quire_frame frame = {.type = QUIRE_MSG_NS_OPEN, .request_id = 7};
    size_t size = frames_pack(&frame, &open.base, &bytes);
    bytes[QUIRE_FRAME_BYTES + 4] ^= 0x10;
    frames_write(&client, bytes, size);
    free(bytes);
    free(frames_expect_error(&client, QUIRE_CORRUPT));
    frames_expect_end(&client);
    stop();
}

/* Half a frame and then the end of the stream: nothing is done, nothing is left. */
Test(daemon_hostile, a_truncated_frame_leaves_nothing, .init = start) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    uint8_t *bytes;
    hello();
    open.name = (char *)"half";
    struct quire_frame frame = {.type = QUIRE_MSG_NS_OPEN};
    size_t size = frames_pack(&frame, &open.base, &bytes);
    frames_write(&client, bytes, size - 3);
    free(bytes);
    shutdown(client.fd, SHUT_WR);
    frames_expect_end(&client);
    stop();
}

/* A frame that comes byte by byte is a frame all the same. */
Test(daemon_hostile, bytes_one_by_one_are_a_frame, .init = start) {
    Quire__Wire__Hello message = QUIRE__WIRE__HELLO__INIT;
    uint8_t *bytes;
    message.major = QUIRE_PROTO_MAJOR;
    struct quire_frame frame = {.type = QUIRE_MSG_HELLO, .request_id = 1};
    size_t size = frames_pack(&frame, &message.base, &bytes);
    for (size_t i = 0; i < size; i++) {
        frames_write(&client, bytes + i, 1);
    }
    free(bytes);
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_HELLO_ACK, 1);
    frames_answer_free(&answer);
    stop();
}

/* Another major version is refused by an error that names both, in the header and in the body. */
Test(daemon_hostile, another_version_is_refused_by_name, .init = start) {
    Quire__Wire__Hello message = QUIRE__WIRE__HELLO__INIT;
    uint8_t *bytes;
    message.major = 9;
    struct quire_frame frame = {.type = QUIRE_MSG_HELLO, .major = 9, .request_id = 1};
    size_t size = frames_pack(&frame, &message.base, &bytes);
    frames_write(&client, bytes, size);
    free(bytes);
    char *text = frames_expect_error(&client, QUIRE_VERSION);
    cr_assert(strstr(text, "1") != NULL && strstr(text, "9") != NULL, "%s", text);
    free(text);
    frames_expect_end(&client);
    frames_close(&client);
    frames_open(&client, &daemon_);
    frames_send(&client, QUIRE_MSG_HELLO, &message.base);
    text = frames_expect_error(&client, QUIRE_VERSION);
    cr_assert(strstr(text, "1") != NULL && strstr(text, "9") != NULL, "%s", text);
    free(text);
    frames_expect_end(&client);
    stop();
}

/* Nothing comes before HELLO, and HELLO comes once. */
Test(daemon_hostile, hello_is_first_and_once, .init = start) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    Quire__Wire__Hello message = QUIRE__WIRE__HELLO__INIT;
    open.name = (char *)"early";
    frames_send(&client, QUIRE_MSG_NS_OPEN, &open.base);
    free(frames_expect_error(&client, QUIRE_INVALID));
    frames_expect_end(&client);
    frames_close(&client);
    frames_open(&client, &daemon_);
    hello();
    message.major = QUIRE_PROTO_MAJOR;
    frames_send(&client, QUIRE_MSG_HELLO, &message.base);
    free(frames_expect_error(&client, QUIRE_INVALID));
    frames_expect_end(&client);
    stop();
}

/* A message type of the future is answered, and the session goes on. */
Test(daemon_hostile, an_unknown_type_is_answered, .init = start) {
    hello();
    frames_send(&client, (enum quire_msg)4711, NULL);
    free(frames_expect_error(&client, QUIRE_UNSUPPORTED));
    frames_ns_open(&client, "n", QUIRE_OK);
    stop();
}

/* Bodies that are not what their type says, or lie about lengths inside: an error a request, and the session goes on. */
Test(daemon_hostile, bodies_that_lie_are_refused, .init = start) {
    static const uint8_t lies[][8] = {{0x12, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    static const enum quire_msg types[] = {QUIRE_MSG_NS_OPEN, QUIRE_MSG_LEASE,      QUIRE_MSG_RELEASE,       QUIRE_MSG_READ,
                                           QUIRE_MSG_PUT,     QUIRE_MSG_INGEST_GET, QUIRE_MSG_INGEST_RETURN, QUIRE_MSG_KEYS,
                                           QUIRE_MSG_ADMIN,   QUIRE_MSG_CANCEL};
    hello();
    for (size_t lie = 0; lie < QUIRE_ARRAY_LEN(lies); lie++) {
        for (size_t t = 0; t < QUIRE_ARRAY_LEN(types); t++) {
            struct frames_answer answer;
            uint8_t bytes[QUIRE_FRAME_BYTES + sizeof lies[0]];
            struct quire_frame frame = {.type = (uint16_t)types[t], .body_bytes = sizeof lies[0], .request_id = 5};
            memcpy(bytes + QUIRE_FRAME_BYTES, lies[lie], sizeof lies[0]);
            quire_frame_encode(&frame, lies[lie], bytes);
            frames_write(&client, bytes, sizeof bytes);
            cr_assert(frames_recv(&client, &answer), "type %d ended the session", types[t]);
            cr_assert_eq(answer.frame.request_id, 5);
            cr_assert_gt(answer.frame.body_bytes, 0);
            frames_answer_free(&answer);
        }
    }
    frames_ns_open(&client, "n", QUIRE_OK);
    stop();
}

/* A body of two million one-byte elements would unpack to sixteen megabytes and more: the arena's bound answers. */
Test(daemon_hostile, a_body_that_unpacks_to_too_much_is_refused, .init = start) {
    uint32_t body_bytes = QUIRE_BODY_MAX - 1; /* field 1, varint 1, again and again */
    uint8_t *bytes = malloc(QUIRE_FRAME_BYTES + body_bytes);
    hello();
    for (uint32_t i = 0; i < body_bytes; i++) {
        bytes[QUIRE_FRAME_BYTES + i] = i % 2 == 0 ? 0x08 : 0x01;
    }
    bytes[QUIRE_FRAME_BYTES + body_bytes - 1] = 0x01;
    bytes[QUIRE_FRAME_BYTES + body_bytes - 2] = 0x81;
    struct quire_frame frame = {.type = QUIRE_MSG_RELEASE, .body_bytes = body_bytes, .request_id = 5};
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    frames_write(&client, bytes, QUIRE_FRAME_BYTES + body_bytes);
    free(bytes);
    free(frames_expect_error(&client, QUIRE_INVALID));
    frames_ns_open(&client, "n", QUIRE_OK);
    stop();
}

/* Too many keys, half a key, a namespace that is not there. */
Test(daemon_hostile, key_arrays_are_checked, .init = start) {
    static uint8_t keys[(QUIRE_MAX_BATCH + 1) * QUIRE_KEY_BYTES];
    const size_t sizes[] = {sizeof keys, 31, 33};
    hello();
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(sizes); i++) {
        Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
        lease.ns = ns;
        lease.keys = (ProtobufCBinaryData){.len = sizes[i], .data = keys};
        struct frames_answer answer = frames_expect(&client, QUIRE_MSG_GRANTS, frames_send(&client, QUIRE_MSG_LEASE, &lease.base));
        Quire__Wire__Grants *grants = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
        cr_assert_eq(grants->status, QUIRE_INVALID);
        quire__wire__grants__free_unpacked(grants, NULL);
        frames_answer_free(&answer);
    }
    Quire__Wire__Keys by_key = QUIRE__WIRE__KEYS__INIT;
    by_key.ns = ns;
    by_key.verb = 77;
    by_key.keys = (ProtobufCBinaryData){.len = 32, .data = keys};
    cr_assert_eq(frames_acks(&client, frames_send(&client, QUIRE_MSG_KEYS, &by_key.base), NULL, 0), QUIRE_INVALID);
    by_key.verb = QUIRE_WIRE_TOUCH;
    by_key.ns = 3;
    cr_assert_eq(frames_acks(&client, frames_send(&client, QUIRE_MSG_KEYS, &by_key.base), NULL, 0), QUIRE_NOT_FOUND);
    stop();
}

/* Bulk bytes never come from a client: the stream could not be followed any further. */
Test(daemon_hostile, bulk_from_a_client_ends_it, .init = start) {
    uint8_t bytes[QUIRE_FRAME_BYTES];
    hello();
    struct quire_frame frame = {.type = QUIRE_MSG_PUT, .bulk_bytes = 1 << 20};
    quire_frame_encode(&frame, NULL, bytes);
    frames_write(&client, bytes, sizeof bytes);
    free(frames_expect_error(&client, QUIRE_INVALID));
    frames_expect_end(&client);
    stop();
}

static bool held_up(struct core *core, uint64_t bytes) {
    for (struct session *session = core->sessions; session != NULL; session = session->next) {
        if (session->link->tx_bytes > bytes && !session->link->reads) {
            return true;
        }
    }
    return false;
}
static void shorten_stall(struct core *core, void *arg) {
    (void)arg;
    core->stall_ns = 50 * QUIRE_NS_PER_MS;
}

/* A client that asks and never reads: its replies are bounded, its requests are not read any further, and in the end it is kicked. */
Test(daemon_hostile, who_does_not_read_is_held_up_then_kicked, .init = start) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    uint8_t *bytes;
    hello();
    request.verb = QUIRE_ADMIN_COUNTERS;
    struct quire_frame frame = {.type = QUIRE_MSG_ADMIN, .request_id = 1};
    size_t size = frames_pack(&frame, &request.base, &bytes);
    fcntl(client.fd, F_SETFL, O_NONBLOCK);
    uint64_t sent = 0;
    while (!frames_until(&daemon_, frames_n_sessions, 2) || sent < 20000) {
        if (send(client.fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
            break; /* the daemon has stopped reading, and the socket is full */
        }
        sent++;
    }
    free(bytes);
    cr_assert(frames_until(&daemon_, held_up, SESSION_TX_HIGH_BYTES), "it is still being read");
    cr_assert_eq(core_call(daemon_.core, shorten_stall, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1), "it was not kicked");
    cr_assert_eq(core_counters(daemon_.core)->sessions_kicked, 1);
    stop();
}

/* Windows asked for and given back thousands of times, and no answer taken: each answer on its way holds a descriptor of the daemon, so after
   a few the session is not read any further. */
static bool few_descriptors(struct core *core, uint64_t most) {
    bool full = false;
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        cr_assert_leq(session->link->tx_fds, most);
        full |= session->link->tx_fds == most && !session->link->reads;
    }
    return full;
}
static size_t append(uint8_t *to, enum quire_msg type, uint64_t id, const ProtobufCMessage *body) {
    struct quire_frame frame = {.type = (uint16_t)type, .request_id = id};
    uint8_t *bytes;
    size_t size = frames_pack(&frame, body, &bytes);
    memcpy(to, bytes, size);
    free(bytes);
    return size;
}
Test(daemon_hostile, answers_not_taken_hold_few_descriptors, .init = start) {
    enum { N = 15000, PAIR_BYTES = 128 };
    struct frames_question full = {.holds = few_descriptors, .arg = SESSION_TX_HIGH_FDS};
    uint8_t *frames = malloc((size_t)N * PAIR_BYTES);
    size_t size = 0;
    hello();
    for (uint32_t i = 1; i <= N; i++) {
        Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
        Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
        get.bytes = 4096;
        back.window = witness_windows + i;
        size += append(frames + size, QUIRE_MSG_INGEST_GET, i, &get.base);
        size += append(frames + size, QUIRE_MSG_INGEST_RETURN, 0, &back.base);
    }
    for (size_t at = 0; !full.answer;) {
        ssize_t sent = send(client.fd, frames + at, size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        at += sent > 0 ? (size_t)sent : 0;
        cr_assert(at < size && (sent > 0 || errno == EAGAIN), "the daemon reads on");
        cr_assert_eq(core_call(daemon_.core, frames_look, &full, FRAMES_WAIT_MS), QUIRE_OK);
        usleep(1000);
    }
    free(frames);
    stop();
}

/* Two clients end in one look at the clocks: the newer is ended for being idle, which frees the memory that the older one waits for, whose
   client is gone. Neither is touched after its end. */
static struct frames_client waiting;
static bool waits_for_memory(struct core *core, uint64_t n) { return ingest_counters(core->ingest)->waits == n; }
static void end_both(struct core *core, void *arg) {
    (void)arg;
    close(waiting.fd);
    core->config.idle_timeout_ms = 1;
    core->next_check_ns = 0;
}
static void idle_again(struct core *core, void *arg) {
    (void)arg;
    core->config.idle_timeout_ms = 0;
}
Test(daemon_hostile, an_end_that_ends_another) {
    struct frames_window window;
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    frames_config(&daemon_);
    daemon_.config.ingest_bytes = 1 << 20;
    frames_start(&daemon_);
    frames_open(&waiting, &daemon_);
    quire__wire__hello_ack__free_unpacked(frames_hello(&waiting), NULL);
    frames_open(&client, &daemon_);
    hello();
    cr_assert_eq(frames_ingest(&client, 0, 0, &window), QUIRE_OK);
    munmap(window.base, window.bytes);
    get.bytes = 4096;
    get.deadline_ms = 60000;
    frames_send(&waiting, QUIRE_MSG_INGEST_GET, &get.base);
    cr_assert(frames_until(&daemon_, waits_for_memory, 1));
    usleep(5000); /* to have been idle for longer than the limit to come */
    cr_assert_eq(core_call(daemon_.core, end_both, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert_eq(core_call(daemon_.core, idle_again, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    frames_close(&client);
    frames_stop(&daemon_);
}

/* Tens of thousands of requests at once, answered in order once the client reads. */
Test(daemon_hostile, a_flood_is_answered_in_order, .init = start) {
    enum { N = 20000 };
    hello();
    pid_t writer = frames_fork();
    if (writer == 0) {
        for (uint64_t i = 0; i < N; i++) {
            frames_send(&client, (enum quire_msg)999, NULL);
        }
        _exit(0);
    }
    for (uint64_t i = 0; i < N; i++) {
        struct frames_answer answer;
        cr_assert(frames_recv(&client, &answer));
        cr_assert_eq(answer.frame.request_id, i + 2, "answer %llu", (unsigned long long)i);
        frames_answer_free(&answer);
    }
    waitpid(writer, NULL, 0);
    stop();
}

/* One that connects and says nothing is not kept for ever. */
static void shorten_hello(struct core *core, void *arg) {
    (void)arg;
    core->hello_ns = 50 * QUIRE_NS_PER_MS;
}
Test(daemon_hostile, silence_ends, .init = start) {
    cr_assert_eq(core_call(daemon_.core, shorten_hello, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    free(frames_expect_error(&client, QUIRE_TIMEOUT));
    frames_expect_end(&client);
    stop();
}

/* A request that is begun and never completed ends its session; nor does it help to send on, byte by byte. */
static void shorten_frame(struct core *core, void *arg) {
    (void)arg;
    core->frame_ns = 50 * QUIRE_NS_PER_MS;
    core->unfinished_max_bytes = 1 << 20;
}
static void begin_large(struct frames_client *from, size_t bytes) {
    uint8_t *body = calloc(1, QUIRE_BODY_MAX), header[QUIRE_FRAME_BYTES];
    struct quire_frame frame = {.type = QUIRE_MSG_KEYS, .body_bytes = QUIRE_BODY_MAX, .request_id = 1};
    quire_frame_encode(&frame, body, header);
    frames_write(from, header, sizeof header);
    frames_write(from, body, bytes);
    free(body);
}
Test(daemon_hostile, an_unfinished_request_ends, .init = start) {
    struct pollfd ended = {.fd = client.fd, .events = POLLIN};
    hello();
    cr_assert_eq(core_call(daemon_.core, shorten_frame, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    begin_large(&client, 1);
    for (int waited_ms = 0; poll(&ended, 1, 5) == 0; waited_ms += 5) {
        cr_assert_leq(waited_ms, FRAMES_WAIT_MS, "it is still being read");
        frames_write(&client, "x", 1);
    }
    free(frames_expect_error(&client, QUIRE_TIMEOUT));
    stop();
}

/* Unfinished requests of all sessions together are bounded: the one that was begun first goes. */
static void shorten_unfinished(struct core *core, void *arg) {
    (void)arg;
    core->unfinished_max_bytes = 3 << 20;
}
static bool unfinished(struct core *core, uint64_t n) {
    uint64_t count = 0;
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        count += session->link->unfinished_bytes > 1 << 20;
    }
    return count == n;
}
Test(daemon_hostile, unfinished_requests_are_bounded, .init = start) {
    struct frames_client other;
    hello();
    frames_open(&other, &daemon_);
    quire__wire__hello_ack__free_unpacked(frames_hello(&other), NULL);
    cr_assert_eq(core_call(daemon_.core, shorten_unfinished, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    begin_large(&client, QUIRE_BODY_MAX - 1);
    cr_assert(frames_until(&daemon_, unfinished, 1));
    begin_large(&other, QUIRE_BODY_MAX - 1);
    free(frames_expect_error(&client, QUIRE_RETRY));
    cr_assert(frames_until(&daemon_, unfinished, 1));
    frames_close(&other);
    stop();
}

/* Killed with -9 in the middle of puts, again and again: windows, puts and sessions are all gone. */
Test(daemon_hostile, killed_while_putting, .init = start) {
    for (int round = 0; round < 10; round++) {
        pid_t victim = frames_fork();
        if (victim == 0) {
            struct frames_client mine;
            struct frames_window window;
            struct quire_wire_put items[64];
            frames_open(&mine, &daemon_);
            quire__wire__hello_ack__free_unpacked(frames_hello(&mine), NULL);
            uint32_t ns = frames_ns_open(&mine, "victims", QUIRE_OK);
            frames_ingest(&mine, 1 << 20, FRAMES_WAIT_MS, &window);
            for (uint32_t n = 1;; n++) {
                for (uint32_t i = 0; i < 64; i++) {
                    items[i] = frames_item(&window, i * frames_payload_bytes(), n * 64 + i);
                }
                frames_put_send(&mine, ns, window.number, items, 64, 1000);
            }
        }
        cr_assert(frames_until(&daemon_, frames_n_sessions, 3));
        usleep((useconds_t)(1000 * round));
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
        cr_assert(frames_until(&daemon_, frames_n_sessions, 2));
    }
    stop();
}

enum { SCRIBBLED = 16, ROUNDS = 20 };

static void *scribble(void *arg) {
    struct frames_window *window = arg;
    const uint32_t bytes = SCRIBBLED * frames_payload_bytes();
    for (uint32_t i = 0; window->number != 0; i++) {
        ((volatile uint8_t *)window->base)[i % bytes] = (uint8_t)i;
    }
    return NULL;
}

/* The record holds what was offered under that sum, and its own sums say the same. */
static void holds_offered(const uint8_t *bytes, size_t size, quire_key key, uint64_t check) {
    struct quire_record record;
    quire_layout layout;
    uint64_t checks[64];
    frames_layout(&layout);
    cr_assert_eq(quire_record_open(bytes, size, &layout, &key, &record), QUIRE_OK);
    cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
    for (uint32_t lane = 0; lane < record.shape.n_lanes; lane++) {
        checks[lane] = record.lanes[lane].check;
    }
    cr_assert_eq(quire_record_combine(checks, record.shape.n_lanes), check);
}

/* A client that changes its ingest memory while the daemon copies it: what it stored is either right or refused, never wrong. */
Test(daemon_hostile, scribbling_is_corrupt_or_harmless, .init = start) {
    struct frames_window window;
    struct quire_wire_put items[SCRIBBLED];
    uint8_t statuses[SCRIBBLED];
    uint64_t offered[1 + ROUNDS * SCRIBBLED];
    pthread_t thread;
    hello();
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    cr_assert_eq(frames_ingest(&client, 1 << 20, 0, &window), QUIRE_OK);
    cr_assert_eq(pthread_create(&thread, NULL, scribble, &window), 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < SCRIBBLED; i++) {
            uint32_t number = round * SCRIBBLED + i + 1;
            items[i] = frames_item(&window, i * frames_payload_bytes(), number);
            offered[number] = items[i].check;
        }
        uint64_t id = frames_put_send(&client, ns, window.number, items, SCRIBBLED, 1000);
        cr_assert_eq(frames_acks(&client, id, statuses, SCRIBBLED), QUIRE_OK);
        for (uint32_t i = 0; i < SCRIBBLED; i++) {
            cr_assert(statuses[i] == QUIRE_OK || statuses[i] == QUIRE_CORRUPT, "%s", quire_status_name((enum quire_status)statuses[i]));
        }
    }
    *(volatile uint32_t *)&window.number = 0;
    pthread_join(thread, NULL);
    for (uint32_t number = 1; number <= ROUNDS * SCRIBBLED; number++) {
        Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
        quire_key key = frames_key(number);
        lease.ns = ns;
        lease.keys = (ProtobufCBinaryData){.len = sizeof key, .data = key.b};
        struct frames_answer answer = frames_expect(&client, QUIRE_MSG_GRANTS, frames_send(&client, QUIRE_MSG_LEASE, &lease.base));
        Quire__Wire__Grants *grants = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
        for (size_t i = 0; i < grants->grants.len / sizeof(struct quire_wire_grant); i++) {
            struct quire_wire_grant grant;
            memcpy(&grant, grants->grants.data, sizeof grant);
            holds_offered((const uint8_t *)daemon_.core->pools[0]->base + grant.offset, grant.size, key, offered[number]);
        }
        frames_release(&client, grants->lease);
        quire__wire__grants__free_unpacked(grants, NULL);
        frames_answer_free(&answer);
    }
    stop();
}
