/* The life of a worker's session, frame by frame, against a real core. */
#include "daemon/admin.h"
#include "daemon_frames.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>

static struct frames_daemon daemon_;
static struct frames_client client;

static void start(void) {
    frames_config(&daemon_);
    frames_start(&daemon_);
    frames_open(&client, &daemon_);
}
static void stop(void) {
    if (client.fd >= 0) {
        frames_close(&client);
    }
    frames_stop(&daemon_);
}

/* A member says hello, is given the pool and the generations, and cannot map either for writing. */
Test(daemon_core, hello_gives_a_member_the_pool_read_only, .init = start) {
    Quire__Wire__HelloAck *ack = frames_hello(&client);
    cr_assert_eq(ack->major, QUIRE_PROTO_MAJOR);
    cr_assert(ack->member);
    cr_assert(ack->admin);
    cr_assert_neq(ack->epoch, 0);
    cr_assert_eq(ack->pool_bytes, 8 << 20);
    cr_assert_eq(client.n_fds, 2);
    for (int i = 0; i < 2; i++) {
        cr_assert_neq(mmap(NULL, 4096, PROT_READ, MAP_SHARED, client.fds[i], 0), MAP_FAILED);
        cr_assert_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, client.fds[i], 0), MAP_FAILED);
        cr_assert_neq(ftruncate(client.fds[i], 0), 0, "the pool could be shrunk");
        cr_assert_neq(pwrite(client.fds[i], "x", 1, 0), 1, "the pool could be written");
        cr_assert_neq(fallocate(client.fds[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0, "the pool could be punched");
    }
    quire__wire__hello_ack__free_unpacked(ack, NULL);
    stop();
}

/* One session stores ten blocks through an ingest window; another leases them, reads through its own mapping, and finds every byte. */
Test(daemon_core, what_one_stores_another_reads_through_the_pool, .init = start) {
    struct frames_client reader;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 10);

    frames_open(&reader, &daemon_);
    Quire__Wire__HelloAck *ack = frames_hello(&reader);
    const uint8_t *pool = mmap(NULL, ack->pool_bytes, PROT_READ, MAP_SHARED, reader.fds[0], 0);
    const _Atomic uint32_t *generations = mmap(NULL, ack->generation_slots * 4, PROT_READ, MAP_SHARED, reader.fds[1], 0);
    Quire__Wire__Grants *grants = frames_lease(&reader, frames_ns_open(&reader, "n", QUIRE_OK), 12);
    cr_assert_eq(grants->status, QUIRE_OK);
    cr_assert_eq(grants->hits, 10);
    cr_assert_eq(grants->epoch, ack->epoch);
    cr_assert_eq(grants->misses.len, 12);
    cr_assert_eq(grants->misses.data[10], QUIRE_MISS_NEVER_STORED);
    cr_assert_eq(grants->grants.len, 10 * sizeof(struct quire_wire_grant));
    quire_layout layout;
    frames_layout(&layout);
    for (uint32_t i = 0; i < 10; i++) {
        struct quire_wire_grant grant;
        struct quire_record record;
        memcpy(&grant, grants->grants.data + i * sizeof grant, sizeof grant);
        quire_key key = frames_key(i + 1);
        cr_assert(quire_in_range(grant.offset, grant.size, ack->pool_bytes));
        cr_assert_eq(quire_record_open(pool + grant.offset, grant.size, &layout, &key, &record), QUIRE_OK);
        cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
        cr_assert_eq(record.bytes[quire_record_lane_offset(&record.shape, 0) + 5], (uint8_t)(35 + (i + 1) * 31));
        cr_assert_eq(generations[grant.slot], grant.generation);
    }
    frames_release(&reader, grants->lease);
    cr_assert(frames_until(&daemon_, frames_idle, 0), "the lease or the window is still held");
    quire__wire__grants__free_unpacked(grants, NULL);
    quire__wire__hello_ack__free_unpacked(ack, NULL);
    frames_close(&reader);
    stop();
}

/* A put in which one item lies outside the window, one is corrupt and one is good: a status each, and only the good one is stored. */
Test(daemon_core, a_put_has_a_status_an_item, .init = start) {
    struct frames_window window;
    struct quire_wire_put items[4];
    uint8_t statuses[4];
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    cr_assert_eq(frames_ingest(&client, 65536, 0, &window), QUIRE_OK);
    for (uint32_t i = 0; i < 4; i++) {
        items[i] = frames_item(&window, i * frames_payload_bytes(), i + 1);
    }
    items[1].ingest_offset = window.bytes - 1;
    items[2].check ^= 1;
    items[3].length -= 64;
    uint64_t id = frames_put_send(&client, ns, window.number, items, 4, 1000);
    cr_assert_eq(frames_acks(&client, id, statuses, 4), QUIRE_OK);
    cr_assert_eq(statuses[0], QUIRE_OK);
    cr_assert_eq(statuses[1], QUIRE_INVALID);
    cr_assert_eq(statuses[2], QUIRE_CORRUPT);
    cr_assert_eq(statuses[3], QUIRE_INVALID);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 4);
    cr_assert_eq(grants->hits, 1);
    quire__wire__grants__free_unpacked(grants, NULL);
    id = frames_put_send(&client, ns, window.number + 1, items, 1, 1000);
    cr_assert_eq(frames_acks(&client, id, statuses, 1), QUIRE_STALE, "a window of nobody was accepted");
    id = frames_put_send(&client, ns + 1, window.number, items, 1, 1000);
    cr_assert_eq(frames_acks(&client, id, statuses, 1), QUIRE_NOT_FOUND, "a namespace that is not open was accepted");
    stop();
}

static Quire__Wire__AdminReply *admin(struct frames_client *from, Quire__Wire__AdminRequest *request) {
    struct frames_answer answer = frames_expect(from, QUIRE_MSG_ADMIN_REPLY, frames_send(from, QUIRE_MSG_ADMIN, &request->base));
    Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(reply);
    frames_answer_free(&answer);
    return reply;
}

/* What only readers see, they tell when they release; what reuse saves is counted at the rate of its time, whatever is configured later. */
static double counter(struct frames_client *from, const char *name) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    double value = -1;
    request.verb = QUIRE_ADMIN_COUNTERS;
    Quire__Wire__AdminReply *reply = admin(from, &request);
    for (size_t i = 0; i < reply->n_counters; i++) {
        value = strcmp(reply->counters[i]->name, name) == 0 ? reply->counters[i]->value : value;
    }
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    return value;
}
static void set_rate(struct core *core, void *arg) {
    struct config config = core->config;
    config.prefill_tokens_per_s = *(uint32_t *)arg;
    const char *why;
    cr_assert_eq(core_apply_config(core, &config, &why), QUIRE_OK);
}
Test(daemon_core, readers_tell_and_savings_are_counted, .init = start) {
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 2);
    cr_assert_eq(counter(&client, "prefill_seconds_saved"), 0);
    const uint32_t rates[] = {16, 32, 0, 16};
    const double saved[] = {0, 2, 3, 3};
    for (int i = 0; i < 4; i++) { /* two blocks of 16 tokens at each rate */
        cr_assert_eq(core_call(daemon_.core, set_rate, (void *)&rates[i], FRAMES_WAIT_MS), QUIRE_OK);
        cr_assert_eq(counter(&client, "prefill_seconds_saved"), saved[i]);
        Quire__Wire__Grants *grants = frames_lease(&client, ns, 2);
        Quire__Wire__Release release = QUIRE__WIRE__RELEASE__INIT;
        release.n_lease = 1;
        release.lease = &grants->lease;
        release.corrupt = 2;
        release.timeout = UINT32_MAX;
        frames_send(&client, QUIRE_MSG_RELEASE, &release.base);
        quire__wire__grants__free_unpacked(grants, NULL);
    }
    cr_assert_eq(counter(&client, "prefill_seconds_saved"), 5);
    cr_assert_eq(counter(&client, "misses_corrupt"), 8);
    cr_assert_eq(counter(&client, "misses_timeout"), 4 * QUIRE_MAX_BATCH, "what a client tells is bounded");
    stop();
}

/* Puts block 1, stored already, with what a token took. */
static void report(uint32_t ns, float us_per_token) {
    struct frames_window window;
    uint8_t status;
    cr_assert_eq(frames_ingest(&client, frames_payload_bytes(), FRAMES_WAIT_MS, &window), QUIRE_OK);
    struct quire_wire_put item = frames_item(&window, 0, 1);
    Quire__Wire__Put put = QUIRE__WIRE__PUT__INIT;
    put.ns = ns;
    put.window = window.number;
    put.us_per_token = us_per_token;
    put.items = (ProtobufCBinaryData){.len = sizeof item, .data = (uint8_t *)&item};
    cr_assert_eq(frames_acks(&client, frames_send(&client, QUIRE_MSG_PUT, &put.base), &status, 1), QUIRE_OK);
    cr_assert_eq(status, QUIRE_OK, "a put is not judged by what it tells of its cost");
    munmap(window.base, window.bytes);
    Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
    back.window = window.number;
    frames_send(&client, QUIRE_MSG_INGEST_RETURN, &back.base);
}
static void hit(uint32_t ns, uint32_t n_blocks) {
    Quire__Wire__Grants *grants = frames_lease(&client, ns, n_blocks);
    cr_assert_eq(grants->hits, n_blocks);
    frames_release(&client, grants->lease);
    quire__wire__grants__free_unpacked(grants, NULL);
}
static Quire__Wire__AdminReply *ns_show(const char *name) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_NS_LIST;
    request.ns = (char *)name;
    Quire__Wire__AdminReply *reply = admin(&client, &request);
    cr_assert_eq(reply->n_namespaces, 1);
    return reply;
}
static double rate(const char *name, uint64_t reports) {
    Quire__Wire__AdminReply *reply = ns_show(name);
    double us_per_token = reply->namespaces[0]->prefill_us_per_token;
    cr_assert_eq(reply->namespaces[0]->prefill_reports, reports);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    return us_per_token;
}

/* Nobody configured anything: what a writer measured prices what readers reuse in that namespace, and in no other. */
Test(daemon_core, hits_are_priced_by_what_writers_measured, .init = start) {
    uint32_t per_s = 16;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t told = frames_ns_open(&client, "told", QUIRE_OK), silent = frames_ns_open(&client, "silent", QUIRE_OK);
    frames_store(&client, told, 2);
    frames_store(&client, silent, 2);
    hit(told, 2); /* before the first report: not known */
    report(told, 500000);
    cr_assert_eq(rate("told", 1), 500000);
    cr_assert_eq(rate("silent", 0), 0);
    hit(told, 2);
    hit(silent, 2);
    cr_assert_eq(counter(&client, "prefill_seconds_saved"), 16, "32 tokens of half a second");
    cr_assert_eq(core_call(daemon_.core, set_rate, &per_s, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert_eq(rate("silent", 0), 62500, "the configured rate stands in where none was measured");
    hit(told, 1);
    hit(silent, 1);
    cr_assert_eq(counter(&client, "prefill_seconds_saved"), 16 + 8 + 1);

    /* A namespace goes, what it saved stays; another of the same name knows nothing of it. */
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_NS_DELETE;
    request.ns = (char *)"told";
    quire__wire__admin_reply__free_unpacked(admin(&client, &request), NULL);
    told = frames_ns_open(&client, "told", QUIRE_OK);
    cr_assert_eq(rate("told", 0), 62500);
    cr_assert_eq(counter(&client, "prefill_seconds_saved"), 25);
    Quire__Wire__AdminReply *reply = ns_show("told");
    cr_assert_eq(reply->namespaces[0]->prefill_seconds_saved, 0);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    stop();
}

/* What no token can take is not believed, and one measurement that is far off changes little. */
Test(daemon_core, costs_are_hostile, .init = start) {
    static const float absurd[] = {NAN, INFINITY, -INFINITY, -1, 0, 1e-9f, 6.1e7f, 3e38f};
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 1);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(absurd); i++) {
        report(ns, absurd[i]);
        cr_assert_eq(rate("n", 0), 0, "%g", (double)absurd[i]);
    }
    for (int i = 0; i < 3; i++) {
        report(ns, 1024);
    }
    report(ns, 6e7f);
    cr_assert_eq(rate("n", 4), 1024 + 128);
    hit(ns, 1);
    cr_assert_float_eq(counter(&client, "prefill_seconds_saved"), 16 * 1152e-6, 1e-12);
    stop();
}

/* A list that one answer cannot hold is cut short and says so; the daemon's own look at itself is not. */
static void fill_answer(struct core *core, void *arg) {
    Quire__Wire__AdminReply reply = QUIRE__WIRE__ADMIN_REPLY__INIT;
    Quire__Wire__SessionInfo item = QUIRE__WIRE__SESSION_INFO__INIT;
    struct admin_call call = {.core = core, .session = core->sessions, .reply = &reply, .arena = &core->admin_arena};
    size_t used = 0, n = 0;
    item.client = (char *)"a client";
    item.id = 1;
    while (n < QUIRE_BODY_MAX && admin_fits(&call, &item.base, &used)) {
        n++;
    }
    cr_assert_leq(n * (protobuf_c_message_get_packed_size(&item.base) + 2), QUIRE_BODY_MAX);
    cr_assert_gt(n, 10000);
    cr_assert_not_null(strstr(reply.text, "cut short"));
    call.session = NULL;
    *(bool *)arg = admin_fits(&call, &item.base, &used);
}
Test(daemon_core, lists_end_where_an_answer_is_full, .init = start) {
    bool unlimited = false;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    cr_assert_eq(core_call(daemon_.core, fill_answer, &unlimited, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(unlimited);
    stop();
}

/* A session that simply goes away leaves no lease, no window and no put behind. */
Test(daemon_core, an_end_frees_everything, .init = start) {
    struct frames_window window;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 10);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 10);
    cr_assert_eq(grants->hits, 10);
    quire__wire__grants__free_unpacked(grants, NULL);
    cr_assert_eq(frames_ingest(&client, 65536, 0, &window), QUIRE_OK);
    struct quire_wire_put item = frames_item(&window, 0, 11);
    frames_put_send(&client, ns, window.number, &item, 1, 1000);
    frames_close(&client);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, frames_idle, 0));
    cr_assert_eq(core_counters(daemon_.core)->sessions_lost, 1);
    stop();
}

static bool quarantined(struct core *core, uint64_t n) {
    struct pager_domain_stats stats;
    pager_domain_stats(core->pager, 0, &stats);
    return core->quarantine.count == n && (stats.quarantined_bytes > 0) == (n > 0);
}

/* A kicked member may still be reading: what it leased stays untouched until its process is gone, and not longer. */
Test(daemon_core, kicked_leases_wait_for_the_process, .init = start) {
    int ready[2];
    char byte;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 10);
    cr_assert_eq(pipe(ready), 0);
    pid_t child = frames_fork();
    if (child == 0) {
        struct frames_client victim;
        frames_open(&victim, &daemon_);
        quire__wire__hello_ack__free_unpacked(frames_hello(&victim), NULL);
        quire__wire__grants__free_unpacked(frames_lease(&victim, frames_ns_open(&victim, "n", QUIRE_OK), 10), NULL);
        _exit(write(ready[1], "x", 1) == 1 ? (pause(), 0) : 1);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_SESSION_LIST;
    Quire__Wire__AdminReply *reply = admin(&client, &request);
    cr_assert_eq(reply->n_sessions, 2);
    for (size_t i = 0; i < reply->n_sessions; i++) {
        request.number = reply->sessions[i]->pid == (uint32_t)child ? reply->sessions[i]->id : request.number;
    }
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    request.verb = QUIRE_ADMIN_SESSION_KICK;
    reply = admin(&client, &request);
    cr_assert_eq(reply->status, QUIRE_OK);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1));
    cr_assert(frames_until(&daemon_, quarantined, 1), "the kicked session's bytes are not kept");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    cr_assert(frames_until(&daemon_, quarantined, 0), "the quarantine outlived the process");
    cr_assert_eq(core_counters(daemon_.core)->sessions_kicked, 1);
    stop();
}

/* A live process whose sessions are kicked while they hold leases is let in again once, and then not until it has ended; what is in
   quarantine keeps nobody else out. */
Test(daemon_core, a_kicked_process_locks_nobody_out) {
    const uint8_t junk[QUIRE_FRAME_BYTES] = {1};
    struct frames_client third;
    int status;
    frames_config(&daemon_);
    daemon_.config.max_sessions = 3; /* fewer than all that will have been */
    frames_begin(&daemon_, &client);
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 1);
    for (uint32_t i = 0; i < QUARANTINE_PER_PROCESS; i++) {
        struct frames_client victim;
        frames_open(&victim, &daemon_);
        quire__wire__hello_ack__free_unpacked(frames_hello(&victim), NULL);
        quire__wire__grants__free_unpacked(frames_lease(&victim, frames_ns_open(&victim, "n", QUIRE_OK), 1), NULL);
        frames_write(&victim, junk, sizeof junk);
        free(frames_expect_error(&victim, QUIRE_CORRUPT));
        frames_close(&victim);
        cr_assert(frames_until(&daemon_, quarantined, i + 1));
    }
    frames_open(&third, &daemon_);
    free(frames_expect_error(&third, QUIRE_RETRY));
    frames_expect_end(&third);
    frames_close(&third);
    pid_t child = frames_fork();
    if (child == 0) {
        struct frames_client other;
        frames_open(&other, &daemon_);
        quire__wire__hello_ack__free_unpacked(frames_hello(&other), NULL);
        _exit(0);
    }
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "another process is not let in");
    frames_end(&daemon_, &client);
}

/* The operator sees the daemon, the namespaces, a block with advice, the counters and the configuration; and deletes a namespace, whose
   handle is dead from then on. */
Test(daemon_core, an_operator_sees_and_deletes, .init = start) {
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 3);
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_STATUS;
    Quire__Wire__AdminReply *reply = admin(&client, &request);
    cr_assert_eq(reply->status, QUIRE_OK);
    cr_assert_eq(reply->daemon->pid, (uint32_t)getpid());
    cr_assert_eq(reply->daemon->blocks, 3);
    cr_assert_eq(reply->n_tiers, 1);
    cr_assert_eq(reply->tiers[0]->records, 3);
    quire__wire__admin_reply__free_unpacked(reply, NULL);

    request.verb = QUIRE_ADMIN_NS_LIST;
    reply = admin(&client, &request);
    cr_assert_eq(reply->n_namespaces, 1);
    cr_assert_str_eq(reply->namespaces[0]->name, "n");
    cr_assert_eq(reply->namespaces[0]->layout.len, 0);
    quire__wire__admin_reply__free_unpacked(reply, NULL);

    quire_key keys[2] = {frames_key(2), frames_key(99)};
    request.verb = QUIRE_ADMIN_BLOCK_SHOW;
    request.ns = (char *)"n";
    request.keys = (ProtobufCBinaryData){.len = sizeof keys, .data = (uint8_t *)keys};
    reply = admin(&client, &request);
    cr_assert_eq(reply->status, QUIRE_OK, "%s", reply->text);
    cr_assert_eq(reply->n_blocks, 2);
    cr_assert_eq(reply->blocks[0]->n_records, 1);
    cr_assert_eq(reply->blocks[1]->miss, QUIRE_MISS_NEVER_STORED);
    cr_assert(strlen(reply->blocks[1]->advice) > 20);
    quire__wire__admin_reply__free_unpacked(reply, NULL);

    request.verb = QUIRE_ADMIN_COUNTERS;
    reply = admin(&client, &request);
    bool found = false;
    for (size_t i = 0; i < reply->n_counters; i++) {
        found |= strcmp(reply->counters[i]->name, "puts_stored") == 0 && reply->counters[i]->value == 3;
    }
    cr_assert(found);
    quire__wire__admin_reply__free_unpacked(reply, NULL);

    request.verb = QUIRE_ADMIN_CONFIG;
    reply = admin(&client, &request);
    cr_assert_not_null(strstr(reply->config, "socket_path"));
    quire__wire__admin_reply__free_unpacked(reply, NULL);

    request.verb = QUIRE_ADMIN_NS_DELETE;
    reply = admin(&client, &request);
    cr_assert_eq(reply->status, QUIRE_OK, "%s", reply->text);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    frames_ns_open(&client, "successor", QUIRE_OK); /* it may get the number that has become free */
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 3);
    cr_assert_eq(grants->status, QUIRE_NOT_FOUND);
    quire__wire__grants__free_unpacked(grants, NULL);
    stop();
}

/* A layout that differs in one field is refused, and the answer names the field. */
Test(daemon_core, another_layout_is_refused_by_name, .init = start) {
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    frames_ns_open(&client, "n", QUIRE_OK);
    quire_layout layout;
    uint8_t wire[QUIRE_LAYOUT_WIRE_MAX];
    size_t size;
    frames_layout(&layout);
    layout.group[0].v_dim = 32;
    cr_assert_eq(quire_layout_encode(&layout, wire, sizeof wire, &size), QUIRE_OK);
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    open.name = (char *)"n";
    open.layout = (ProtobufCBinaryData){.len = size, .data = wire};
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_NS_ACK, frames_send(&client, QUIRE_MSG_NS_OPEN, &open.base));
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(ack->status, QUIRE_MISMATCH);
    cr_assert_not_null(strstr(ack->text, "v_dim"), "%s", ack->text);
    quire__wire__ns_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    stop();
}

/* Stopping answers what is under way, says goodbye, and leaves no socket behind. */
Test(daemon_core, stopping_says_goodbye) {
    struct frames_answer answer;
    struct stat there;
    start();
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    core_stop(daemon_.core);
    cr_assert(frames_recv(&client, &answer));
    cr_assert_eq(answer.frame.type, QUIRE_MSG_GOODBYE);
    frames_answer_free(&answer);
    frames_expect_end(&client);
    cr_assert_neq(stat(daemon_.config.socket_path, &there), 0);
    cr_assert_eq(core_call(daemon_.core, frames_look, NULL, FRAMES_WAIT_MS), QUIRE_CANCELLED);
    stop();
}

/* The next frame of a type; anything else may come before it. */
static struct frames_answer next_of(enum quire_msg type) {
    struct frames_answer answer;
    for (;;) {
        cr_assert(frames_recv(&client, &answer), "the daemon hung up");
        if (answer.frame.type == type) {
            return answer;
        }
        frames_answer_free(&answer);
    }
}

/* A holder that does not answer the recall of its idle window loses it: its number is dead, its memory is free, and a put that names it is
   told to ask for another. */
Test(daemon_core, a_window_not_given_back_is_taken) {
    struct frames_window window;
    uint8_t status;
    frames_config(&daemon_);
    daemon_.config.ingest_idle_ms = 20;
    frames_begin(&daemon_, &client);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    cr_assert_eq(frames_ingest(&client, 65536, 0, &window), QUIRE_OK);
    struct quire_wire_put item = frames_item(&window, 0, 1);
    struct frames_answer recall = next_of(QUIRE_MSG_INGEST_RECALL);
    Quire__Wire__IngestReturn *what = quire__wire__ingest_return__unpack(NULL, recall.frame.body_bytes, recall.body);
    cr_assert_eq(what->window, window.number);
    quire__wire__ingest_return__free_unpacked(what, NULL);
    frames_answer_free(&recall);
    cr_assert(frames_until(&daemon_, frames_idle, 0), "the window was not taken");
    uint64_t id = frames_put_send(&client, ns, window.number, &item, 1, 1000);
    cr_assert_eq(frames_acks(&client, id, &status, 1), QUIRE_STALE);
    cr_assert_eq(window.base[0], 0, "its pages were not given back to the system");
    munmap(window.base, window.bytes);
    cr_assert_eq(frames_ingest(&client, 65536, 0, &window), QUIRE_OK, "another one");
    stop();
}

/* Stopping waits for puts that wait for room: they get their answers, then comes the goodbye, all within the bound. */
Test(daemon_core, stopping_answers_what_waits) {
    struct frames_window window;
    uint8_t status = QUIRE_OK;
    uint64_t id = 0;
    frames_config(&daemon_);
    daemon_.config.domains[0].pool_bytes = 256 << 10;
    frames_begin(&daemon_, &client);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    cr_assert_eq(frames_ingest(&client, 65536, 0, &window), QUIRE_OK);
    uint32_t number;
    for (number = 1; status == QUIRE_OK && number < 200; number++) {
        struct quire_wire_put item = frames_item(&window, 0, number);
        item.flags |= QUIRE_WIRE_PUT_PIN;
        id = frames_put_send(&client, ns, window.number, &item, 1, 0);
        cr_assert_eq(frames_acks(&client, id, &status, 1), QUIRE_OK);
    }
    cr_assert(status == QUIRE_FULL || status == QUIRE_RETRY, "%s", quire_status_name((enum quire_status)status));
    struct quire_wire_put item = frames_item(&window, 0, number);
    id = frames_put_send(&client, ns, window.number, &item, 1, 300);
    uint64_t again = frames_put_send(&client, ns, window.number, &item, 1, 0);
    cr_assert_eq(frames_acks(&client, again, &status, 1), QUIRE_OK, "the first of the two must be waiting by now");
    core_stop(daemon_.core);
    cr_assert_eq(frames_acks(&client, id, &status, 1), QUIRE_OK);
    cr_assert(status == QUIRE_FULL || status == QUIRE_RETRY || status == QUIRE_TIMEOUT);
    struct frames_answer answer = next_of(QUIRE_MSG_GOODBYE);
    frames_answer_free(&answer);
    frames_expect_end(&client);
    munmap(window.base, window.bytes);
    stop();
}

/* While stopping, new work is refused; what frees something is still done. */
static bool putting(struct core *core, uint64_t n) { return puts_count(&core->puts) == n; }
static bool draining(struct core *core, uint64_t arg) {
    (void)arg;
    return core->draining;
}
Test(daemon_core, stopping_refuses_new_work) {
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    struct frames_window window;
    frames_config(&daemon_);
    daemon_.config.domains[0].pool_bytes = 64 << 10;
    daemon_.config.drain_ms = 60000;
    frames_begin(&daemon_, &client);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    cr_assert_eq(frames_ingest(&client, 65536, 0, &window), QUIRE_OK);
    struct quire_wire_put items[32];
    for (uint32_t i = 0; i < 32; i++) { /* more than the pool holds, all pinned: some wait, and hold up the end */
        items[i] = frames_item(&window, 0, 1);
        items[i].key = frames_key(i + 1);
        items[i].flags = QUIRE_WIRE_PUT_PIN | QUIRE_WIRE_PUT_ROOT;
        items[i].parent = (quire_key){{0}};
    }
    frames_put_send(&client, ns, window.number, items, 32, 3000);
    cr_assert(frames_until(&daemon_, putting, 1));
    core_stop(daemon_.core);
    cr_assert(frames_until(&daemon_, draining, 0));
    frames_send(&client, QUIRE_MSG_INGEST_GET, &get.base);
    free(frames_expect_error(&client, QUIRE_DISCONNECTED));
    struct frames_answer answer = next_of(QUIRE_MSG_GOODBYE);
    frames_answer_free(&answer);
    munmap(window.base, window.bytes);
    stop();
}
