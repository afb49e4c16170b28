/* Over a wire, what a store sends: it goes again when the connection breaks, once is enough, and nobody writes over it before it has gone. */
#include "client_wire.h"

#include <criterion/criterion.h>

#define TOKENS 1024u /* a block has 2 layers × K and V × 1024 tokens × 128 bytes: 512 KiB */
#define LANE_BYTES (TOKENS * 128u)

static void start(void) {
    twin.wire = twin.guest = true;
    twin.features = QUIRE_FEATURE_PING;
    twin.ingest_bytes = 8u << 20;
    twin_start(&twin);
    wire_open(60000, 120000);
    quire_layout layout = {.n_layers = 2, .n_groups = 1, .block_tokens = TOKENS, .kv_src = {0, 1}};
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = 64, .v_dim = 64, .elem = QUIRE_F16};
    cr_assert_eq(quire_ns_open(client, "double", &layout, &ns), QUIRE_OK, "%s", quire_last_error());
}

static uint8_t run[8][4 * LANE_BYTES];

/* A block that is `key` all over, and lies in one run: it is sent from there. */
static quire_source run_block(uint8_t key) {
    static const void *base[8][4];
    memset(run[key], key, sizeof run[key]);
    for (uint32_t lane = 0; lane < 4; lane++) {
        base[key][lane % 2 * 2 + lane / 2] = run[key] + lane * LANE_BYTES;
    }
    return (quire_source){
        .key = {{key}}, .n_tokens = TOKENS, .k_base = base[key], .v_base = base[key] + 2, .k_token_stride = 128, .v_token_stride = 128};
}

/* The same, all of whose lanes are one: it is gathered. */
static quire_source block(uint8_t key) {
    static uint8_t bytes[8][LANE_BYTES];
    static const void *base[8][2];
    memset(bytes[key], key, LANE_BYTES);
    base[key][0] = base[key][1] = bytes[key];
    return (quire_source){
        .key = {{key}}, .n_tokens = TOKENS, .k_base = base[key], .v_base = base[key], .k_token_stride = 128, .v_token_stride = 128};
}

static void lend(int fd, uint64_t request) {
    Quire__Wire__IngestAck ack = QUIRE__WIRE__INGEST_ACK__INIT;
    ack.window = 7;
    ack.bytes = twin.ingest_bytes;
    twin_send(fd, QUIRE_MSG_INGEST_ACK, request, &ack.base, 0, NULL, 0);
}

static void acknowledge(int fd, const struct quire_frame *frame, const uint8_t *body, uint32_t whole) {
    Quire__Wire__Put *put = quire__wire__put__unpack(NULL, frame->body_bytes, body);
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    static uint8_t ok[256];
    acks.status = whole;
    acks.statuses = (ProtobufCBinaryData){.len = whole == QUIRE_OK ? put->items.len / sizeof(struct quire_wire_put) : 0, .data = ok};
    twin_send(fd, QUIRE_MSG_ACKS, frame->request_id, &acks.base, 0, NULL, 0);
    quire__wire__put__free_unpacked(put, NULL);
}

/* ---- the connection breaks ------------------------------------------------------------------------------------------------ */
static uint64_t put_ids[16]; /* of each put, its first item's */
static uint16_t first_layers[16];
static uint32_t n_put_ids;

/* Hangs up instead of answering the first `arg` puts, when all their bytes came. */
static void lose_the_answer(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    if (frame->type == QUIRE_MSG_INGEST_GET) {
        lend(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_PUT) {
        Quire__Wire__Put *put = quire__wire__put__unpack(NULL, frame->body_bytes, body);
        struct quire_wire_put item;
        memcpy(&item, put->items.data, sizeof(item));
        quire__wire__put__free_unpacked(put, NULL);
        first_layers[n_put_ids % 16] = item.first_layer;
        put_ids[n_put_ids++ % 16] = item.put_id;
        if (self->arg-- == 1) {
            shutdown(fd, SHUT_RDWR);
        } else {
            acknowledge(fd, frame, body, QUIRE_OK);
        }
    }
}

/* Nobody knows whether what was put arrived. It is put again by another connection; its caller hears OK, and of nothing else. */
Test(client_resend, an_answer_is_lost, .timeout = 60) {
    twin.script = lose_the_answer;
    twin.arg = 1;
    start();
    quire_source source = block(1);
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(source.status, QUIRE_OK);
    cr_assert_eq(atomic_load(&twin.connections), 2u);
    cr_assert_eq(atomic_load(&twin.puts), 2u);
    cr_assert_eq(atomic_load(&twin.bulk_bytes), 2 * 4 * LANE_BYTES);
    stop();
}

/* The same for what was submitted, of many blocks: those that were answered do not go again. */
Test(client_resend, what_was_answered_stays, .timeout = 60) {
    twin.script = lose_the_answer;
    twin.arg = 2;
    start();
    quire_source sources[7];
    quire_done done;
    for (uint8_t i = 0; i < 7; i++) {
        sources[i] = block((uint8_t)(i + 1));
    }
    cr_assert_neq(quire_submit_store(ns, sources, 7, NULL, 0, NULL, NULL), 0u);
    cr_assert_eq(quire_quiesce(client, 30000), QUIRE_OK);
    cr_assert_eq(quire_drain(client, &done, 1), 1);
    cr_assert_eq(done.status, QUIRE_OK, "%s", quire_status_name(done.status));
    cr_assert_eq(atomic_load(&twin.puts), 3u, "four blocks, four that were lost, and the last three among them");
    stop();
}

/* PIN would pin twice: it is not sent again, and says so. */
Test(client_resend, what_may_go_only_once, .timeout = 60) {
    twin.script = lose_the_answer;
    twin.arg = 1;
    start();
    quire_source source = block(1);
    source.flags = QUIRE_STORE_PIN;
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 0, NULL), QUIRE_DISCONNECTED);
    cr_assert_eq(source.status, QUIRE_DISCONNECTED);
    cr_assert_not_null(strstr(quire_last_error(), "may be stored, or not"), "%s", quire_last_error());
    cr_assert_eq(atomic_load(&twin.puts), 1u);
    stop();
}

/* Parts of twelve blocks, under the caller's own put_id. The first frame with some of them was answered, the answer to the second is lost, and
 * nobody knows what the daemon dropped with the session: all of them are put again, as they were. The daemon tells what it has from what not. */
Test(client_resend, parts_of_the_callers_own, .timeout = 60) {
    twin.script = lose_the_answer;
    twin.arg = 2;
    start();
    quire_source sources[12];
    for (uint8_t i = 0; i < 12; i++) {
        sources[i] = block((uint8_t)(1 + i % 7));
        sources[i].key.b[1] = i;
        sources[i].put_id = 4711;
        sources[i].rect = (quire_rect){1, 1, 0, 1};
    }
    cr_assert_eq(quire_store(ns, sources, 12, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(atomic_load(&twin.connections), 2u);
    cr_assert_eq(n_put_ids, 4u, "%u puts: two, and the same two again", n_put_ids);
    for (uint32_t i = 0; i < n_put_ids; i++) {
        cr_assert_eq(put_ids[i], 4711u);
    }
    cr_assert_eq(atomic_load(&twin.bulk_bytes), 2u * 12 * 2 * LANE_BYTES);
    stop();
}

/* A block that is cut here: none of its parts is counted on after the break, and they go under a name that nobody knows yet. */
Test(client_resend, a_block_in_parts, .timeout = 60) {
    twin.script = lose_the_answer;
    twin.arg = 2;
    start();
    twin.ingest_bytes = 512u << 10;
    quire_source source = block(1);
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(n_put_ids, 4u, "%u puts", n_put_ids);
    cr_assert_neq(put_ids[0], 0u);
    cr_assert_eq(put_ids[0], put_ids[1]);
    cr_assert_neq(put_ids[1], put_ids[2]);
    cr_assert_eq(put_ids[2], put_ids[3]);
    stop();
}

/* The same under the caller's own put_id, which others may put parts under: its parts are repeated, each as it was. */
Test(client_resend, a_block_in_parts_of_the_callers_own, .timeout = 60) {
    twin.script = lose_the_answer;
    twin.arg = 2;
    start();
    twin.ingest_bytes = 512u << 10;
    quire_source source = block(1);
    source.put_id = 4711;
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(n_put_ids, 4u, "%u puts", n_put_ids);
    for (uint32_t i = 0; i < n_put_ids; i++) {
        cr_assert_eq(put_ids[i], 4711u);
        cr_assert_eq(first_layers[i], i % 2);
    }
    stop();
}

static void lose_all(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    if (frame->type == QUIRE_MSG_INGEST_GET) {
        lend(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_PUT) {
        self->hello_major = (uint32_t)self->arg;
        shutdown(fd, SHUT_RDWR);
    }
}

/* It may be the store itself that breaks connections: it does not do so for ever. And where no other is had after the first, it does not wait. */
Test(client_resend, no_end_of_breaks, .timeout = 60) {
    for (int i = 0; i < 2; i++) {
        twin = (struct twin){.script = lose_all, .arg = i == 0 ? 0 : QUIRE_PROTO_MAJOR + 1};
        start();
        quire_source source = block(1);
        cr_assert_eq(quire_store(ns, &source, 1, NULL, 50000, NULL), QUIRE_DISCONNECTED);
        cr_assert_eq(source.status, QUIRE_DISCONNECTED);
        cr_assert_eq(atomic_load(&twin.puts), i == 0 ? 4u : 1u);
        stop();
    }
}

/* ---- bytes that wait ------------------------------------------------------------------------------------------------------ */
/* Answers before it has the bytes: with OK, or that the window is gone (arg). */
static void answer_early(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    if (frame->type == QUIRE_MSG_INGEST_GET) {
        lend(fd, frame->request_id);
    } else if (frame->type == QUIRE_MSG_PUT) {
        acknowledge(fd, frame, body, self->arg == 0 ? QUIRE_OK : QUIRE_STALE);
        atomic_store(&self->paused, true);
    }
}

/* Memory would be used again, or unmapped, from which bytes are still being sent. No honest daemon does that; the connection is given up. */
Test(client_resend, an_answer_that_comes_too_early, .timeout = 60) {
    for (int i = 0; i < 2; i++) {
        twin = (struct twin){.script = answer_early, .arg = i, .hasty = true};
        start();
        quire_source sources[7];
        for (uint8_t k = 0; k < 7; k++) {
            sources[k] = block((uint8_t)(k + 1));
        }
        cr_assert_eq(quire_store(ns, sources, 7, NULL, 0, NULL), QUIRE_DISCONNECTED, "%s", quire_last_error());
        cr_assert_not_null(strstr(quire_last_error(), "does not have yet"), "%s", quire_last_error());
        stop();
    }
}

static uint64_t seen[256]; /* how many bytes of which value came */
static void tell_apart(struct twin *self, const uint8_t *bytes, size_t size) {
    (void)self;
    for (size_t i = 0; i < size; i++) {
        seen[bytes[i]]++;
    }
}

static void answer_all(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    if (frame->type == QUIRE_MSG_INGEST_GET) {
        lend(fd, frame->request_id);
        atomic_store(&self->paused, true);
    } else if (frame->type == QUIRE_MSG_PUT) {
        acknowledge(fd, frame, body, QUIRE_OK);
    }
}

/* Stores are called off while their bytes wait to be sent, and others come after them: each byte that goes out is what was to go out there. Also where
   they would have gone from the callers' memory, which is theirs again: they use it at once. */
static void call_off(quire_source made(uint8_t key)) {
    twin = (struct twin){.script = answer_all, .bulk = tell_apart};
    memset(seen, 0, sizeof seen);
    start();
    quire_source sources[8];
    quire_done done;
    for (uint8_t key = 1; key < 7; key++) {
        sources[key] = made(key);
        quire_job job = quire_submit_store(ns, &sources[key], 1, NULL, 0, NULL, NULL);
        cr_assert_neq(job, 0u);
        for (int i = 0; i < 2000 && client->conn.bulks_bytes < (4u * key - 3u) * LANE_BYTES; i++) {
            cr_assert_eq(quire_drain(client, &done, 0), 0);
            usleep(2000);
        }
        cr_assert_geq(client->conn.bulks_bytes, (4u * key - 3u) * LANE_BYTES, "what is to be called off must be under way");
        cr_assert_eq(quire_cancel(client, job), QUIRE_OK);
        cr_assert_eq(quire_drain(client, &done, 1), 1);
        cr_assert_eq(done.status, QUIRE_CANCELLED);
        memset(run[key], 0xee, sizeof run[key]);
    }
    atomic_store(&twin.paused, false);
    sources[7] = made(7);
    cr_assert_eq(quire_store(ns, &sources[7], 1, NULL, 0, NULL), QUIRE_OK, "%s", quire_last_error());
    for (uint8_t key = 1; key <= 7; key++) {
        cr_assert_eq(seen[key], 4 * LANE_BYTES, "%llu bytes of block %u", (unsigned long long)seen[key], key);
    }
    stop();
}

Test(client_resend, called_off_while_it_is_sent, .timeout = 60) { call_off(block); }
Test(client_resend, called_off_while_it_is_sent_from_its_place, .timeout = 60) { call_off(run_block); }

/* ---- a transport that reads where the bytes lie --------------------------------------------------------------------------- */
/* It takes bulk bytes, and reads them when it is asked to let go of them, or has nothing else to do. */
static struct {
    const uint8_t *bytes;
    size_t size;
    uint32_t waits; /* for somebody to ask */
} held;

static void send_all(struct transport *transport, const uint8_t *bytes, size_t size) {
    char why[100];
    while (size > 0) {
        size_t sent = 0;
        if (transport_unix.send(transport, bytes, size, &sent, (struct transport_why){why, sizeof why}) != QUIRE_OK) {
            usleep(1000);
        }
        bytes += sent;
        size -= sent;
    }
}

static void read_held(struct transport *transport) {
    send_all(transport, held.bytes, held.size);
    held.bytes = NULL;
}

static enum quire_status take_bulk(struct transport *transport, const void *front, size_t n_front, const void *bytes, size_t size,
                                   size_t *sent, struct transport_why why) {
    (void)why;
    if (held.bytes != NULL) {
        return QUIRE_PENDING;
    }
    send_all(transport, front, n_front);
    held.bytes = bytes;
    held.size = *sent = size;
    return QUIRE_OK;
}

static void let_go(struct transport *transport, const void *bytes, size_t size) {
    const uint8_t *from = bytes;
    if (held.bytes != NULL && held.bytes < from + size && from < held.bytes + held.size) {
        held.waits--;
        read_held(transport);
    }
}

/* What was called off has gone to the transport, which still reads it: its caller has it back when the transport lets go, and no sooner. Frames went
   in front of the bytes in the same call, and came first. */
Test(client_resend, called_off_while_it_is_read, .timeout = 60) {
    twin.script = answer_all;
    twin.bulk = tell_apart;
    start();
    wire_ops.send_bulk = take_bulk;
    wire_ops.let_go_of = let_go;
    client->conn.transport->front_bytes = 2048;
    held.waits = 1;
    quire_source source = run_block(1);
    quire_done done;
    quire_job job = quire_submit_store(ns, &source, 1, NULL, 0, NULL, NULL);
    for (int i = 0; i < 2000 && held.bytes == NULL; i++) {
        cr_assert_eq(quire_drain(client, &done, 0), 0);
        usleep(2000);
    }
    cr_assert_eq(held.bytes, run[1], "it is sent from its place");
    atomic_store(&twin.paused, false);
    cr_assert_eq(quire_cancel(client, job), QUIRE_OK);
    cr_assert_eq(quire_drain(client, &done, 1), 1);
    cr_assert_eq(done.status, QUIRE_CANCELLED);
    cr_assert_eq(held.waits, 0u, "the transport was asked to let go");
    memset(run[1], 0xee, sizeof run[1]);
    for (int i = 0; i < 2000 && atomic_load(&twin.bulk_bytes) < sizeof run[1]; i++) {
        usleep(2000);
    }
    cr_assert_eq(seen[1], 4 * LANE_BYTES);
    stop();
}
