/* What goes out to other hosts, and when: it stays what it is until it is out, it is bounded, and nobody waits for somebody else who does not read. */
#include "daemon_wire.h"

#define RANGES 450u /* of a READ: a record so many times, about 2 MiB */

static uint32_t ns_; /* the witness's */
static uint64_t sessions_most;

/* ---- clients that read ---------------------------------------------------------------------------------------------------------- */
struct reader {
    struct remote_client client;
    uint64_t lease;
    struct quire_wire_grant grant;
};
static struct reader readers[8];
static uint8_t *record; /* block 1 */

static void reader_begin(struct reader *reader) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    quire_key key = frames_key(1);
    remote_begin(&reader->client);
    open.name = (char *)"n";
    remote_send(&reader->client, QUIRE_MSG_NS_OPEN, &open.base, 0);
    struct frames_answer answer = remote_expect(&reader->client, QUIRE_MSG_NS_ACK);
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    lease.ns = ack->ns;
    quire__wire__ns_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
    lease.keys = (ProtobufCBinaryData){.len = sizeof key, .data = key.b};
    remote_send(&reader->client, QUIRE_MSG_LEASE, &lease.base, 0);
    answer = remote_expect(&reader->client, QUIRE_MSG_GRANTS);
    Quire__Wire__Grants *grants = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(grants->hits, 1);
    reader->lease = grants->lease;
    memcpy(&reader->grant, grants->grants.data, sizeof reader->grant);
    quire__wire__grants__free_unpacked(grants, NULL);
    frames_answer_free(&answer);
}

/* Asks for the record so many times over. */
static uint64_t reader_ask(struct reader *reader, uint32_t times, bool prefetch) {
    static struct quire_wire_range ranges[RANGES];
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    for (uint32_t i = 0; i < times; i++) {
        ranges[i] = (struct quire_wire_range){.offset = 0, .size = reader->grant.size};
    }
    read.lease = reader->lease;
    read.slot = reader->grant.slot;
    read.prefetch = prefetch;
    read.ranges = (ProtobufCBinaryData){.len = times * sizeof ranges[0], .data = (uint8_t *)ranges};
    return remote_send(&reader->client, QUIRE_MSG_READ, &read.base, 0);
}

static void reader_bytes(struct reader *reader, uint8_t *to, uint64_t size) {
    struct remote_client *self = &reader->client;
    while (size > 0) {
        enum quire_status status = QUIRE_OK;
        while (self->at == self->have && status == QUIRE_OK) {
            size_t got = 0;
            status = quire_tls_read(self->tls, self->pending, sizeof self->pending, &got);
            if (status == QUIRE_PENDING) {
                wait_for(self);
                status = QUIRE_OK;
            } else {
                self->have = got;
                self->at = 0;
            }
        }
        cr_assert_eq(status, QUIRE_OK, "the daemon hung up in the middle of a record");
        size_t n = quire_min_u64(self->have - self->at, size);
        memcpy(to, self->pending + self->at, n);
        self->at += n;
        to += n;
        size -= n;
    }
}

/* The bytes behind an answer must be the record's. */
static void reader_compare(struct reader *reader, const struct frames_answer *answer) {
    static uint8_t bytes[16384];
    cr_assert(answer->frame.bulk_bytes > 0 && answer->frame.bulk_bytes % reader->grant.size == 0, "a READ was refused");
    for (uint64_t left = answer->frame.bulk_bytes; left > 0; left -= reader->grant.size) {
        reader_bytes(reader, bytes, reader->grant.size);
        cr_assert_eq(memcmp(bytes, record, reader->grant.size), 0, "these are not the record's bytes");
    }
}

/* The next answer. Whose it is. */
static uint64_t reader_take(struct reader *reader) {
    struct frames_answer answer = remote_expect(&reader->client, QUIRE_MSG_BULK);
    uint64_t id = answer.frame.request_id;
    reader_compare(reader, &answer);
    frames_answer_free(&answer);
    return id;
}

static void begin(uint64_t session_bytes, uint64_t all_bytes) {
    wire_config();
    daemon_.config.max_session_memory_bytes = (uint32_t)session_bytes;
    daemon_.config.max_remote_read_bytes = all_bytes;
    frames_begin(&daemon_, &witness);
    ns_ = frames_ns_open(&witness, "n", QUIRE_OK);
    frames_store(&witness, ns_, 1);
    reader_begin(&readers[0]);
    record = malloc(readers[0].grant.size);
    memcpy(record, daemon_.core->pools[0]->base + readers[0].grant.offset, readers[0].grant.size);
}

static void end(void) {
    free(record);
    stop();
}

/* ---- bytes that stay ------------------------------------------------------------------------------------------------------------ */
static bool flows(struct core *core, uint64_t least) { return core->flow.bytes >= least; }

/* Stores blocks until the pool was filled several times over. */
static void churn(void) {
    static uint32_t number = 1000;
    for (uint32_t round = 0; round < 40; round++) {
        struct frames_window window;
        struct quire_wire_put items[128];
        uint8_t statuses[128];
        cr_assert_eq(frames_ingest(&witness, (uint64_t)128 * frames_payload_bytes(), FRAMES_WAIT_MS, &window), QUIRE_OK);
        for (uint32_t i = 0; i < 128; i++) {
            items[i] = frames_item(&window, (uint64_t)i * frames_payload_bytes(), number++);
            items[i].flags = QUIRE_WIRE_PUT_ROOT;
            items[i].parent = (quire_key){{0}};
        }
        cr_assert_eq(frames_acks(&witness, frames_put_send(&witness, ns_, window.number, items, 128, FRAMES_WAIT_MS), statuses, 128),
                     QUIRE_OK);
        cr_assert_eq(statuses[127], QUIRE_OK, "%s", quire_status_text((enum quire_status)statuses[127]));
        munmap(window.base, window.bytes);
        Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
        back.window = window.number;
        frames_send(&witness, QUIRE_MSG_INGEST_RETURN, &back.base);
    }
}

static void delete_record(void) {
    quire_key key = frames_key(1);
    uint8_t status;
    Quire__Wire__Keys keys = QUIRE__WIRE__KEYS__INIT;
    keys.ns = ns_;
    keys.verb = QUIRE_WIRE_DELETE;
    keys.keys = (ProtobufCBinaryData){.len = sizeof key, .data = key.b};
    cr_assert_eq(frames_acks(&witness, frames_send(&witness, QUIRE_MSG_KEYS, &keys.base), &status, 1), QUIRE_OK);
}

/* A client asks for much, releases its lease at once and reads slowly. Meanwhile the block is deleted and the pool used up by others: what
   comes is the record all the same, what waited for its turn as well as what was on its way. */
Test(daemon_flow, what_goes_out_stays, .timeout = 120) {
    enum { N = 8 };
    Quire__Wire__Release release = QUIRE__WIRE__RELEASE__INIT;
    begin(4 << 20, 64 << 20);
    for (uint32_t i = 0; i < N; i++) {
        reader_ask(&readers[0], RANGES, false);
    }
    release.n_lease = 1;
    release.lease = &readers[0].lease;
    remote_send(&readers[0].client, QUIRE_MSG_RELEASE, &release.base, 0);
    cr_assert(frames_until(&daemon_, flows, 2 << 20));
    delete_record();
    churn();
    for (uint32_t i = 0; i < N; i++) {
        reader_take(&readers[0]);
    }
    remote_close(&readers[0].client);
    end();
}

/* A client goes, or is thrown out, with bytes on their way and others waiting: all is let go of. */
Test(daemon_flow, gone_with_bytes_on_their_way, .timeout = 120) {
    begin(4 << 20, 3 << 20);
    for (uint32_t i = 0; i < 12; i++) {
        for (uint32_t j = 0; j < 2 + i; j++) {
            reader_ask(&readers[0], RANGES, j % 3 == 2);
        }
        if (i % 3 != 0) {
            reader_take(&readers[0]);
        }
        if (i % 4 == 3) {
            static const uint8_t nonsense[64] = "this is no frame";
            remote_write(&readers[0].client, nonsense, sizeof nonsense);
        }
        remote_close(&readers[0].client);
        reader_begin(&readers[0]);
    }
    remote_close(&readers[0].client);
    end();
}

/* ---- bounds --------------------------------------------------------------------------------------------------------------------- */
static bool bounded(struct core *core, uint64_t most) {
    uint64_t bytes = 0;
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
            bytes += session->remote != NULL ? session->flow.kind[kind].bytes : 0;
            cr_assert_leq(session->flow.kind[kind].bytes, sessions_most);
            cr_assert_leq(session->flow.kind[kind].n_waiting, FLOW_WAITING);
        }
    }
    cr_assert_eq(bytes, core->flow.bytes);
    cr_assert_leq(core->flow.bytes, most);
    return true;
}
static bool all_wait(struct core *core, uint64_t n) {
    uint64_t waiting = 0;
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        waiting += ring_holds(&session->flow.kind[FLOW_FETCH].place.ring);
    }
    return waiting == n;
}

/* Seven clients ask without end and read nothing. What is on its way to them stays within the bound over all, but for a piece each, and the
   eighth has its answers as if it were alone. Then they read, and each gets all it asked for, in order. */
Test(daemon_flow, who_does_not_read_is_nobody_elses_trouble, .timeout = 120) {
    enum { GREEDY = 7, N = 40, PIECE = 100 };
    begin(8 << 20, 4 << 20);
    uint64_t piece_bytes = (uint64_t)PIECE * readers[0].grant.size, most = (4 << 20) + (GREEDY + 1) * piece_bytes, first[GREEDY];
    sessions_most = 8 << 20;
    for (uint32_t i = 0; i < GREEDY; i++) {
        reader_begin(&readers[i + 1]);
        for (uint32_t j = 0; j < N; j++) {
            uint64_t id = reader_ask(&readers[i + 1], PIECE, false);
            first[i] = j == 0 ? id : first[i];
        }
    }
    cr_assert(frames_until(&daemon_, all_wait, GREEDY), "they are not held up: the story tests nothing");
    for (uint32_t i = 0; i < 50; i++) {
        uint64_t id = reader_ask(&readers[0], 1 + i % PIECE, false);
        cr_assert_eq(reader_take(&readers[0]), id);
        cr_assert(frames_until(&daemon_, bounded, most));
    }
    cr_assert_gt(core_counters(daemon_.core)->reads_waited_all, 0);
    for (uint32_t j = 0; j < N; j++) {
        for (uint32_t i = 0; i < GREEDY; i++) {
            cr_assert_eq(reader_take(&readers[i + 1]), first[i] + j);
        }
        cr_assert(frames_until(&daemon_, bounded, most));
    }
    for (uint32_t i = 0; i <= GREEDY; i++) {
        remote_close(&readers[i].client);
    }
    end();
}

/* ---- priorities ----------------------------------------------------------------------------------------------------------------- */
/* Over one connection a worker prefetches a lot, and then a decode step needs a block: that comes ahead of nearly all that was prefetched, of
   what waited with the core as of what the rail had already; and all of it comes in the end. */
Test(daemon_flow, a_fetch_passes_prefetches, .timeout = 120) {
    enum { N = 11 };
    begin(4 << 20, 64 << 20);
    uint64_t fetch = 0;
    uint32_t before = 0;
    for (uint32_t i = 0; i < N; i++) {
        reader_ask(&readers[0], RANGES, true);
    }
    cr_assert(frames_until(&daemon_, flows, 2 << 20));
    fetch = reader_ask(&readers[0], 10, false);
    while (reader_take(&readers[0]) != fetch) {
        before++;
    }
    cr_assert_leq(before, N / 2, "%u of %u prefetches came before it", before, (unsigned)N);
    for (uint32_t i = before; i < N; i++) {
        reader_take(&readers[0]);
    }
    remote_close(&readers[0].client);
    end();
}

static bool waits(struct core *core, uint64_t n) {
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        if (session->flow.kind[FLOW_FETCH].n_waiting >= n) {
            return true;
        }
    }
    return false;
}

/* What was asked for and is needed no more is called off while it waits: nothing of it is sent, and the rest comes in its order. */
Test(daemon_flow, what_waits_can_be_called_off, .timeout = 120) {
    enum { N = 9 };
    Quire__Wire__Cancel cancel = QUIRE__WIRE__CANCEL__INIT;
    begin(4 << 20, 64 << 20);
    uint64_t ids[N];
    for (uint32_t i = 0; i < N; i++) {
        ids[i] = reader_ask(&readers[0], RANGES, false);
    }
    cr_assert(frames_until(&daemon_, waits, 3));
    for (uint32_t i = 1; i <= 2; i++) { /* the last and the one before it */
        cancel.request = ids[N - i];
        remote_send(&readers[0].client, QUIRE_MSG_CANCEL, &cancel.base, 0);
    }
    for (uint32_t next = 0, called_off = 0; next + called_off < N;) {
        struct frames_answer answer = remote_expect(&readers[0].client, QUIRE_MSG_BULK);
        Quire__Wire__Bulk *bulk = quire__wire__bulk__unpack(NULL, answer.frame.body_bytes, answer.body);
        if (bulk->status == QUIRE_CANCELLED) {
            cr_assert_eq(answer.frame.bulk_bytes, 0);
            cr_assert_eq(answer.frame.request_id, ids[N - 1 - called_off]);
            called_off++;
        } else {
            cr_assert(next < N - 2, "it was sent all the same");
            cr_assert_eq(answer.frame.request_id, ids[next++]);
            reader_compare(&readers[0], &answer);
        }
        quire__wire__bulk__free_unpacked(bulk, NULL);
        frames_answer_free(&answer);
    }
    remote_close(&readers[0].client);
    end();
}

/* Nor does the bound over all hold a fetch up for what others prefetch. */
Test(daemon_flow, a_fetch_waits_for_no_prefetch_of_others, .timeout = 120) {
    enum { N = 20 };
    begin(4 << 20, 1 << 20);
    reader_begin(&readers[1]);
    for (uint32_t i = 0; i < N; i++) {
        reader_ask(&readers[1], RANGES, true);
    }
    cr_assert(frames_until(&daemon_, flows, 1 << 20));
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t id = reader_ask(&readers[0], 10, false);
        cr_assert_eq(reader_take(&readers[0]), id);
    }
    for (uint32_t i = 0; i < N; i++) {
        reader_take(&readers[1]);
    }
    remote_close(&readers[0].client);
    remote_close(&readers[1].client);
    end();
}

/* ---- turns in line -------------------------------------------------------------------------------------------------------------- */
#define MIB ((uint64_t)1 << 20)

/* A session that takes what it is sent, and does not get done with it before it is told to. */
struct stand_in {
    struct session session;
    struct link link;
    struct link_tx *taken, **last;
    uint64_t took_bytes;
};
static struct stand_in hog, large, small;

static void stand_in_want(struct link *link, bool takes) { link->reads = takes; }

static void stand_in_take(struct link *link, struct link_tx *tx) {
    struct stand_in *self = LOOP_CONTAINER(link, struct stand_in, link);
    *self->last = tx;
    self->last = &tx->next;
    self->took_bytes += link_tx_bulk_bytes(tx);
}

static void stand_in_begin(struct core *core, struct stand_in *self, const struct session *real) {
    static const struct link_ops ops = {.name = "stand-in", .want = stand_in_want, .send_bulk = stand_in_take};
    self->link = (struct link){.ops = &ops, .session = &self->session};
    self->session = (struct session){.state = SESSION_OPEN,
                                     .refs = 1,
                                     .core = core,
                                     .link = &self->link,
                                     .domain = real->domain,
                                     .id = real->id,
                                     .remote = real->remote};
    self->last = &self->taken;
    flow_session_setup(&self->session);
}

static void stand_in_ask(struct stand_in *self, uint32_t times, uint64_t bytes) {
    for (uint32_t i = 0; i < times; i++) {
        struct flow_piece *piece;
        cr_assert_eq(flow_hold(&self->session, readers[0].lease, readers[0].grant.slot, 1, &piece), QUIRE_OK);
        piece->tx->segments[0] = (struct link_segment){.at = record, .bytes = (uint32_t)bytes};
        piece->tx->size_bytes += bytes;
        flow_send(piece, i + 1, FLOW_FETCH);
    }
}

static void stand_in_is_done(struct stand_in *self) {
    while (self->taken != NULL) {
        struct link_tx *tx = self->taken;
        self->taken = tx->next;
        self->last = self->taken == NULL ? &self->taken : self->last;
        link_tx_free(tx);
    }
}

/* Room for nearly three more MiB comes free while both wait for it. */
static void share(struct core *core, void *arg) {
    const struct session *real = core->sessions;
    (void)arg;
    while (real->remote == NULL) {
        real = real->next;
    }
    stand_in_begin(core, &hog, real);
    stand_in_begin(core, &large, real);
    stand_in_begin(core, &small, real);
    stand_in_ask(&hog, 2, 2 * MIB);
    stand_in_ask(&large, 8, MIB);
    stand_in_ask(&small, 60, MIB / 16);
    cr_assert(large.took_bytes == MIB && small.took_bytes == MIB / 16, "one piece each, whatever others do");
    stand_in_is_done(&hog);
    uint64_t large_bytes = large.took_bytes - MIB, small_bytes = small.took_bytes - MIB / 16;
    cr_expect(large_bytes > 0 && large_bytes <= small_bytes + MIB && small_bytes <= large_bytes + MIB,
              "who asks in large pieces got %.2f MiB, who asks in small ones %.2f", (double)large_bytes / MIB, (double)small_bytes / MIB);
    while (large.taken != NULL || small.taken != NULL) {
        stand_in_is_done(&large);
        stand_in_is_done(&small);
    }
    cr_expect(large.took_bytes == 8 * MIB && small.took_bytes == 60 * MIB / 16 && core->flow.bytes == 0);
}

/* Who waits for the bound over all gets as much of it as the others, also when its blocks are small. */
Test(daemon_flow, turns_are_counted_in_bytes, .timeout = 120) {
    begin(16 * MIB, 4 * MIB);
    cr_assert_eq(core_call(daemon_.core, share, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    remote_close(&readers[0].client);
    end();
}
