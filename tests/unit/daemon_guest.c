/* Guests: let in by configuration, sent bytes and given no memory. */
#include "daemon/jobs.h"
#include "daemon_frames.h"

static struct frames_daemon daemon_;
static struct frames_client client;

/* The test's uid is a guest of the domain; nobody here is a member. */
static void start(void) {
    frames_config(&daemon_);
    daemon_.config.domains[0].members[0] = geteuid() + 1;
    daemon_.config.domains[0].guests[0] = geteuid();
    daemon_.config.domains[0].n_guests = 1;
    daemon_.config.max_session_memory_bytes = 64 << 10;
    frames_start(&daemon_);
    frames_open(&client, &daemon_);
}
static void stop(void) {
    frames_close(&client);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 0));
    cr_assert(frames_until(&daemon_, frames_idle, 0));
    frames_stop(&daemon_);
}

static uint64_t read_send(uint64_t lease, uint32_t slot, uint64_t offset, uint64_t size) {
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = lease;
    read.slot = slot;
    read.offset = offset;
    read.size = size;
    return frames_send(&client, QUIRE_MSG_READ, &read.base);
}

static uint64_t read_ranges(uint64_t lease, uint32_t slot, const struct quire_wire_range *ranges, size_t bytes) {
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = lease;
    read.slot = slot;
    read.ranges = (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)ranges};
    return frames_send(&client, QUIRE_MSG_READ, &read.base);
}

static enum quire_status bulk_status(const struct frames_answer *answer) {
    Quire__Wire__Bulk *bulk = quire__wire__bulk__unpack(NULL, answer->frame.body_bytes, answer->body);
    cr_assert_not_null(bulk);
    enum quire_status status = (enum quire_status)bulk->status;
    quire__wire__bulk__free_unpacked(bulk, NULL);
    return status;
}

/* A guest gets no descriptor of the pool, stores through its own ingest window, leases, and reads whole and partial records as copies. */
Test(daemon_guest, copies_are_the_records, .init = start) {
    Quire__Wire__HelloAck *ack = frames_hello(&client);
    cr_assert_not(ack->member);
    cr_assert_not(ack->admin);
    cr_assert_eq(client.n_fds, 0);
    quire__wire__hello_ack__free_unpacked(ack, NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 5);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 5);
    cr_assert_eq(grants->hits, 5);
    quire_layout layout;
    frames_layout(&layout);
    for (uint32_t i = 0; i < 5; i++) {
        struct quire_wire_grant grant;
        struct quire_record record;
        memcpy(&grant, grants->grants.data + i * sizeof grant, sizeof grant);
        quire_key key = frames_key(i + 1);
        struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, read_send(grants->lease, grant.slot, 0, grant.size));
        cr_assert_eq(bulk_status(&answer), QUIRE_OK);
        cr_assert_eq(answer.frame.bulk_bytes, grant.size);
        cr_assert_eq(quire_record_open(answer.bulk, grant.size, &layout, &key, &record), QUIRE_OK);
        cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
        struct frames_answer part = frames_expect(&client, QUIRE_MSG_BULK, read_send(grants->lease, grant.slot, 100, 333));
        cr_assert_eq(part.frame.bulk_bytes, 333);
        cr_assert_eq(memcmp(part.bulk, answer.bulk + 100, 333), 0);
        frames_answer_free(&part);
        frames_answer_free(&answer);
    }
    quire__wire__grants__free_unpacked(grants, NULL);
    stop();
}

/* Reads outside the record, of other slots, or under a lease that was released are refused, without bulk bytes. */
Test(daemon_guest, reads_outside_a_lease_are_refused, .init = start) {
    struct quire_wire_grant grant;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 1);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 1);
    memcpy(&grant, grants->grants.data, sizeof grant);
    const struct {
        uint64_t lease;
        uint32_t slot;
        uint64_t offset, size;
        enum quire_status status;
    } reads[] = {{grants->lease, grant.slot, 0, grant.size + 1, QUIRE_INVALID}, {grants->lease, grant.slot, grant.size, 1, QUIRE_INVALID},
                 {grants->lease, grant.slot, UINT64_MAX, 2, QUIRE_INVALID},     {grants->lease, grant.slot, 0, 0, QUIRE_INVALID},
                 {grants->lease, grant.slot + 1, 0, 1, QUIRE_NOT_FOUND},        {grants->lease + 1, grant.slot, 0, 1, QUIRE_NOT_FOUND}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(reads); i++) {
        uint64_t id = read_send(reads[i].lease, reads[i].slot, reads[i].offset, reads[i].size);
        struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, id);
        cr_assert_eq(bulk_status(&answer), reads[i].status, "read %zu: %s", i, quire_status_name(bulk_status(&answer)));
        cr_assert_eq(answer.frame.bulk_bytes, 0);
        frames_answer_free(&answer);
    }
    frames_release(&client, grants->lease);
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, read_send(grants->lease, grant.slot, 0, 1));
    cr_assert_neq(bulk_status(&answer), QUIRE_OK, "a released lease still reads");
    frames_answer_free(&answer);
    quire__wire__grants__free_unpacked(grants, NULL);
    stop();
}

/* Several ranges of a record come one behind the other; any that leaves the record, or too many, and none comes. */
Test(daemon_guest, ranges, .init = start) {
    struct quire_wire_grant grant;
    static struct quire_wire_range ranges[QUIRE_MAX_RANGES + 1];
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 1);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 1);
    memcpy(&grant, grants->grants.data, sizeof grant);
    struct frames_answer whole = frames_expect(&client, QUIRE_MSG_BULK, read_send(grants->lease, grant.slot, 0, grant.size));
    const struct quire_wire_range some[] = {{0, 128}, {grant.size - 5, 5}, {64, 200}};
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, read_ranges(grants->lease, grant.slot, some, sizeof some));
    cr_assert_eq(bulk_status(&answer), QUIRE_OK);
    cr_assert_eq(answer.frame.bulk_bytes, 333);
    cr_assert_eq(memcmp(answer.bulk, whole.bulk, 128), 0);
    cr_assert_eq(memcmp(answer.bulk + 128, whole.bulk + grant.size - 5, 5), 0);
    cr_assert_eq(memcmp(answer.bulk + 133, whole.bulk + 64, 200), 0);
    frames_answer_free(&answer);
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(ranges); i++) {
        ranges[i] = (struct quire_wire_range){.offset = i % 100, .size = 1};
    }
    const struct {
        const struct quire_wire_range *ranges;
        size_t size;
    } refused[] = {{ranges, sizeof ranges},
                   {ranges, 12},
                   {(const struct quire_wire_range[]){{0, 1}, {0, 0}}, 16},
                   {(const struct quire_wire_range[]){{0, 1}, {grant.size, 1}}, 16},
                   {(const struct quire_wire_range[]){{0, 1}, {1, UINT32_MAX}}, 16}};
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(refused); i++) {
        answer = frames_expect(&client, QUIRE_MSG_BULK, read_ranges(grants->lease, grant.slot, refused[i].ranges, refused[i].size));
        cr_assert_eq(bulk_status(&answer), QUIRE_INVALID, "%u", i);
        cr_assert_eq(answer.frame.bulk_bytes, 0);
        frames_answer_free(&answer);
    }
    answer = frames_expect(&client, QUIRE_MSG_BULK, read_ranges(grants->lease, grant.slot, ranges, sizeof ranges - sizeof ranges[0]));
    cr_assert_eq(answer.frame.bulk_bytes, QUIRE_MAX_RANGES);
    frames_answer_free(&answer);
    frames_answer_free(&whole);
    quire__wire__grants__free_unpacked(grants, NULL);
    stop();
}

static bool bounded(struct core *core, uint64_t most) {
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        cr_assert_leq(session->flow.kind[FLOW_FETCH].bytes, most);
        cr_assert_leq(session->link->tx_bulk_bytes, session->flow.kind[FLOW_FETCH].bytes);
    }
    return true;
}

/* Hundreds of reads asked for at once: no more is held for it than a session may cost, and every answer comes, in order. */
Test(daemon_guest, what_is_on_its_way_is_bounded, .init = start) {
    enum { N = 300 };
    struct quire_wire_grant grant;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 1);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 1);
    memcpy(&grant, grants->grants.data, sizeof grant);
    for (uint32_t i = 0; i < N; i++) {
        read_send(grants->lease, grant.slot, 0, grant.size);
    }
    for (uint32_t i = 0; i < N; i++) {
        struct frames_answer answer;
        cr_assert(frames_until(&daemon_, bounded, 64 << 10));
        cr_assert(frames_recv(&client, &answer));
        cr_assert_eq(answer.frame.bulk_bytes, grant.size);
        frames_answer_free(&answer);
    }
    quire__wire__grants__free_unpacked(grants, NULL);
    stop();
}

/* The bytes of a READ are sent from where they lie: all jobs of the work pool are taken, and it is answered all the same. */
static struct core_job *taken[CORE_JOBS];
static void take_jobs(struct core *core, void *arg) {
    uint32_t *n = arg;
    for (*n = 0; core->free_jobs != NULL; ++*n) {
        taken[*n] = job_take(core, NULL, NULL);
    }
}
static void give_jobs(struct core *core, void *arg) {
    (void)core;
    for (uint32_t i = 0; i < *(uint32_t *)arg; i++) {
        job_give(taken[i]);
    }
}
Test(daemon_guest, a_read_needs_no_job, .init = start) {
    struct quire_wire_grant grant;
    uint32_t n;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 1);
    Quire__Wire__Grants *grants = frames_lease(&client, ns, 1);
    memcpy(&grant, grants->grants.data, sizeof grant);
    cr_assert_eq(core_call(daemon_.core, take_jobs, &n, FRAMES_WAIT_MS), QUIRE_OK);
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_BULK, read_send(grants->lease, grant.slot, 0, grant.size));
    cr_assert_eq(answer.frame.bulk_bytes, grant.size);
    frames_answer_free(&answer);
    cr_assert_eq(core_call(daemon_.core, give_jobs, &n, FRAMES_WAIT_MS), QUIRE_OK);
    quire__wire__grants__free_unpacked(grants, NULL);
    stop();
}

/* A guest decides nothing: it may not pin, delete, list or kick; it may see the status. */
Test(daemon_guest, a_guest_changes_nothing, .init = start) {
    quire_key key = frames_key(1);
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    for (uint32_t verb = QUIRE_WIRE_DELETE; verb <= QUIRE_WIRE_UNPIN; verb++) {
        Quire__Wire__Keys keys = QUIRE__WIRE__KEYS__INIT;
        keys.ns = ns;
        keys.verb = verb;
        keys.keys = (ProtobufCBinaryData){.len = sizeof key, .data = key.b};
        cr_assert_eq(frames_acks(&client, frames_send(&client, QUIRE_MSG_KEYS, &keys.base), NULL, 0), QUIRE_DENIED);
    }
    for (uint32_t verb = QUIRE_ADMIN_STATUS; verb <= QUIRE_ADMIN_RELOAD; verb++) {
        Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
        request.verb = verb;
        struct frames_answer answer = frames_expect(&client, QUIRE_MSG_ADMIN_REPLY, frames_send(&client, QUIRE_MSG_ADMIN, &request.base));
        Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, answer.frame.body_bytes, answer.body);
        cr_assert_eq(reply->status, verb == QUIRE_ADMIN_STATUS ? QUIRE_OK : QUIRE_DENIED, "verb %u", verb);
        cr_assert_eq(reply->n_tiers, 0);
        quire__wire__admin_reply__free_unpacked(reply, NULL);
        frames_answer_free(&answer);
    }
    stop();
}

/* Nor through what it stores: a put that pins or replaces another block is refused, item by item; the same block without that is stored. */
Test(daemon_guest, a_guest_pins_and_replaces_nothing, .init = start) {
    struct frames_window window;
    struct quire_wire_put items[3];
    uint8_t statuses[3];
    struct pager_domain_stats stats;
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    cr_assert_eq(frames_ingest(&client, 65536, FRAMES_WAIT_MS, &window), QUIRE_OK);
    for (int i = 0; i < 3; i++) {
        items[i] = frames_item(&window, 0, 1);
    }
    items[0].flags |= QUIRE_WIRE_PUT_PIN;
    items[1].flags |= QUIRE_WIRE_PUT_SUPERSEDES;
    items[1].supersedes = frames_key(7);
    cr_assert_eq(frames_acks(&client, frames_put_send(&client, ns, window.number, items, 3, FRAMES_WAIT_MS), statuses, 3), QUIRE_OK);
    cr_assert_eq(statuses[0], QUIRE_DENIED);
    cr_assert_eq(statuses[1], QUIRE_DENIED);
    cr_assert_eq(statuses[2], QUIRE_OK);
    pager_domain_stats(daemon_.core->pager, 0, &stats);
    cr_assert_eq(stats.pinned_bytes, 0);
    munmap(window.base, window.bytes);
    stop();
}

/* Who is let in: members, guests, and to operate the daemon's own user and root; a uid that nobody names is not. */
Test(daemon_guest, uids_have_their_places, .init = start) {
    const struct core *core = daemon_.core;
    uint32_t domain;
    bool member;
    cr_assert_eq(core_classify(core, geteuid() + 1, &domain, &member), QUIRE_OK);
    cr_assert(member);
    cr_assert_eq(core_classify(core, geteuid(), &domain, &member), QUIRE_OK);
    cr_assert_not(member, "a list comes before the rule");
    cr_assert_eq(core_classify(core, geteuid() + 2, &domain, &member), QUIRE_DENIED);
    daemon_.core->config.domains[0].n_guests = 0;
    cr_assert_eq(core_classify(core, geteuid(), &domain, &member), QUIRE_OK);
    cr_assert(member);
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    stop();
}

/* A stranger is told at the door why it is refused. Only root can become one here. */
Test(daemon_guest, a_stranger_is_refused) {
    frames_config(&daemon_);
    daemon_.config.socket_mode = 0666;
    frames_start(&daemon_);
    chmod(daemon_.folder, 0755);
    pid_t child = geteuid() == 0 ? fork() : -1;
    if (child == 0) {
        cr_assert_eq(setuid(12345), 0);
        frames_open(&client, &daemon_);
        char *text = frames_expect_error(&client, QUIRE_DENIED);
        cr_assert_not_null(strstr(text, "uid 12345"), "%s", text);
        free(text);
        frames_expect_end(&client);
        frames_close(&client);
        _exit(42);
    }
    int status = 42 << 8;
    cr_assert(child < 0 || waitpid(child, &status, 0) == child);
    cr_assert_eq(WEXITSTATUS(status), 42);
    cr_assert_eq(core_counters(daemon_.core)->sessions_refused, child > 0 ? 1 : 0);
    frames_stop(&daemon_);
}
