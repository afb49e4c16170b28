/*
 * A daemon that lies, or falls silent, while libquire receives straight into its caller's memory: nothing but the block's bytes is ever called OK, nothing is
 * written outside the destination, and nothing at all once the call has ended.
 */
#include "client/internal.h"
#include "tests/unit/client_double.h"

#include <criterion/criterion.h>
#include <time.h>

enum { LAYERS = 2, TOKENS = 256, DIM = 64, LANE = TOKENS * DIM * 2, BLOCK = LAYERS * 2 * LANE, EDGE = 4096, KEYS = 2 };

/* What the daemon's double sends instead of what was asked for. */
enum lie {
    HONEST,
    FLIPPED_ONCE, /* one bit of the payload, the first time */
    FLIPPED,
    FLIPPED_LAST, /* in the last byte of all */
    SHORT,        /* and says so */
    LONG,
    NOTHING,
    REFUSED,
    OTHER_GROUP, /* records that are well made, and not the one that was asked for */
    FEWER_TOKENS,
    OTHER_KEY,
    LIES,
    HALF_AND_THEN = LIES, /* waits before the other half */
    HALF_AND_NO_MORE      /* hangs up */
};

static struct twin twin;
static quire_layout layout;
static quire_client *client;
static quire_ns *ns;
static quire_lookup_result found;
static uint8_t block[BLOCK];
static uint32_t record_bytes;
static atomic_uint reads;
static atomic_bool half_sent, go_on;
static struct { uint8_t before[EDGE], block[BLOCK], behind[EDGE]; } memory[KEYS];
static void *bases[KEYS][2 * LAYERS];

static quire_key key_of(uint32_t i) { return (quire_key){{(uint8_t)(i + 1)}}; }

/* A sealed record of these tokens of a group, its payload the block's first bytes, in memory of `room` bytes. */
static uint8_t *sealed(uint32_t group, uint32_t n_tokens, const quire_key *key, uint32_t room) {
    struct quire_record_shape shape;
    uint8_t digest[32], *record = calloc(1, room);
    cr_assert_eq(quire_record_shape(&layout, group, n_tokens, 0, &shape), QUIRE_OK);
    cr_assert_leq(shape.size_bytes, room);
    cr_assert_eq(quire_layout_digest(&layout, digest), QUIRE_OK);
    for (uint32_t lane = 0, at = 0; lane < shape.n_lanes; at += quire_record_lane_bytes(&shape, lane++)) {
        quire_record_fill_lane(record, &shape, lane, block + at);
    }
    struct quire_record_facts facts = {.key = *key, .group = (uint8_t)group, .layout_tag = quire_record_layout_tag(digest)};
    quire_record_seal(record, &shape, &facts);
    return record;
}

static void give_grants(int fd, const struct quire_frame *frame) {
    struct quire_wire_grant grants[KEYS];
    Quire__Wire__Grants reply = QUIRE__WIRE__GRANTS__INIT;
    memset(grants, 0, sizeof(grants));
    for (uint32_t i = 0; i < KEYS; i++) {
        grants[i].key_index = i;
        grants[i].slot = i;
        grants[i].size = record_bytes;
    }
    reply.epoch = DOUBLE_EPOCH;
    reply.lease = 7;
    reply.hits = KEYS;
    reply.grants = (ProtobufCBinaryData){.len = sizeof(grants), .data = (uint8_t *)grants};
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &reply.base, 0, NULL, 0);
}

static void send_bytes(int fd, const uint8_t *bytes, size_t size) {
    ssize_t sent = 0;
    for (size_t at = 0; at < size && sent >= 0; at += (size_t)(sent > 0 ? sent : 0)) {
        sent = send(fd, bytes + at, size - at, MSG_NOSIGNAL);
    }
}

/* A copy of what is to be read from: the record, or what is sent for it. */
static uint8_t *told(enum lie lie, uint32_t slot) {
    const quire_key key = key_of(lie == OTHER_KEY ? 77 : slot);
    uint8_t *bytes = sealed(lie == OTHER_GROUP ? 1 : 0, lie == OTHER_GROUP ? 146 : lie == FEWER_TOKENS ? 200 : TOKENS, &key, record_bytes);
    if (lie == FLIPPED || (lie == FLIPPED_ONCE && atomic_load(&reads) == 1)) {
        bytes[record_bytes - LANE - 99] ^= 4;
    } else if (lie == FLIPPED_LAST) {
        bytes[record_bytes - 1] ^= 1;
    }
    return bytes;
}

/* Sends it in two halves, and what is to happen between them. */
static void send_halves(enum lie lie, int fd, const uint8_t *bytes, size_t size) {
    send_bytes(fd, bytes, size / 2);
    if (lie == HALF_AND_NO_MORE) {
        shutdown(fd, SHUT_RDWR);
        return;
    }
    if (lie == HALF_AND_THEN) {
        atomic_store(&half_sent, true);
        while (!atomic_load(&go_on) && !atomic_load(&twin.stop)) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    send_bytes(fd, bytes + size / 2, size - size / 2);
}

static void answer_read(enum lie lie, int fd, const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__Read *read = quire__wire__read__unpack(NULL, frame->body_bytes, body);
    struct quire_wire_range one = {.offset = (uint32_t)read->offset, .size = (uint32_t)read->size}, *ranges = &one;
    size_t n_ranges = read->ranges.len / sizeof(one), size = 0;
    uint8_t *bytes, *sent = calloc(1, record_bytes + 1);
    if (n_ranges > 0) {
        ranges = (struct quire_wire_range *)(void *)read->ranges.data;
    }
    atomic_fetch_add(&reads, 1);
    bytes = told(lie, read->slot);
    for (size_t i = 0; i < (n_ranges > 0 ? n_ranges : 1); i++) {
        memcpy(sent + size, bytes + ranges[i].offset, ranges[i].size);
        size += ranges[i].size;
    }
    size = lie == SHORT ? size - 1 : lie == LONG ? size + 1 : lie == NOTHING || lie == REFUSED ? 0 : size;
    Quire__Wire__Bulk bulk = QUIRE__WIRE__BULK__INIT;
    bulk.status = lie == REFUSED ? QUIRE_STALE : QUIRE_OK;
    twin_send(fd, QUIRE_MSG_BULK, frame->request_id, &bulk.base, size, NULL, 0);
    send_halves(lie, fd, sent, size);
    quire__wire__read__free_unpacked(read, NULL);
    free(bytes);
    free(sent);
}

static void daemon_script(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    if (frame->type == QUIRE_MSG_LEASE) {
        give_grants(fd, frame);
    } else if (frame->type == QUIRE_MSG_READ) {
        answer_read((enum lie)self->arg, fd, frame, body);
    }
}

static void look_up(void) {
    quire_key keys[KEYS] = {key_of(0), key_of(1)};
    quire_lookup_args args = {.keys = keys, .n_keys = KEYS};
    quire_release(&found.lease);
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(found.hits, KEYS);
}

/*
 * Layers of group 0 have one head with lanes of 32 KiB, which are worth a receive of their own; the one of group 1 has more heads, so a longer directory,
 * and 146 tokens of it are a record of the same size.
 */
static void start(void) {
    struct quire_record_shape shape;
    layout = (quire_layout){.n_layers = 3, .n_groups = 2, .block_tokens = TOKENS, .kv_src = {0, 1, 2}, .group_of = {0, 0, 1}};
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    layout.group[1] = (quire_group){.n_kv_heads = 7, .k_dim = 32, .v_dim = 32, .elem = QUIRE_F16};
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = (uint8_t)(i * 7 + (i >> 8) * 3 + 1);
    }
    cr_assert_eq(quire_record_shape(&layout, 0, TOKENS, 0, &shape), QUIRE_OK);
    record_bytes = shape.size_bytes;
    twin.script = daemon_script;
    twin.guest = true;
    twin.features = QUIRE_FEATURE_RANGES;
    twin_start(&twin);
    quire_options options = {.address = twin.path, .default_deadline_ms = 20000, .max_jobs = 8};
    cr_assert_eq(quire_open(&options, &client), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_ns_open(client, "placed", &layout, &ns), QUIRE_OK, "%s", quire_last_error());
    look_up();
}

static void stop(void) {
    atomic_store(&go_on, true);
    quire_release(&found.lease);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

/* In the record's order, so that all of the payload has its place in the caller's memory. */
static quire_dest dest_of(uint32_t i) {
    memset(&memory[i], 0xa5, sizeof(memory[i]));
    for (uint32_t l = 0; l < LAYERS; l++) {
        bases[i][l] = memory[i].block + 2 * l * LANE;
        bases[i][LAYERS + l] = memory[i].block + (2 * l + 1) * LANE;
    }
    return (quire_dest){.key_index = i,
                        .k_base = bases[i],
                        .v_base = bases[i] + LAYERS,
                        .k_head_stride = LANE,
                        .k_token_stride = DIM * 2,
                        .v_head_stride = LANE,
                        .v_token_stride = DIM * 2,
                        .region = memory[i].block,
                        .region_bytes = BLOCK};
}

static bool is_all(const uint8_t *bytes, size_t size, uint8_t value) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}
static bool is_untouched_around(uint32_t i) { return is_all(memory[i].before, EDGE, 0xa5) && is_all(memory[i].behind, EDGE, 0xa5); }

static enum quire_status fetch(quire_dest *dest) { return quire_fetch(found.lease, dest, 1, NULL, 20000); }

static void expect_good(void) {
    twin.arg = HONEST;
    quire_dest dest = dest_of(0);
    cr_assert_eq(fetch(&dest), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(memcmp(memory[0].block, block, BLOCK), 0);
    cr_assert_eq(dest.bytes_copied, BLOCK);
}

/* The daemon is honest: one READ, and all that comes is where it belongs. */
Test(client_placed, honest, .init = start, .fini = stop, .timeout = 60) {
    expect_good();
    cr_assert_eq(atomic_load(&reads), 1u);
    cr_assert(is_untouched_around(0));
}

/* Whatever else it sends, the caller is told, its memory beside the destination is as before, and the next fetch is right. */
Test(client_placed, lies, .init = start, .fini = stop, .timeout = 60) {
    for (int lie = FLIPPED; lie < LIES; lie++) {
        twin.arg = lie;
        quire_dest dest = dest_of(0);
        enum quire_status status = fetch(&dest);
        cr_assert_neq(status, QUIRE_OK, "lie %d", lie);
        cr_assert_eq(dest.status, status, "lie %d", lie);
        cr_assert_eq(dest.bytes_copied, 0u, "lie %d", lie);
        cr_assert_eq(status, lie == REFUSED ? QUIRE_STALE : lie == OTHER_KEY ? QUIRE_MISMATCH : QUIRE_CORRUPT, "lie %d", lie);
        cr_assert(is_untouched_around(0), "lie %d", lie);
        expect_good();
    }
}

/* A bit flips on its way once: the record comes again, by way of memory of our own, and the caller gets what was stored. */
Test(client_placed, wrong_once, .init = start, .fini = stop, .timeout = 60) {
    twin.arg = FLIPPED_ONCE;
    quire_dest dest = dest_of(0);
    cr_assert_eq(fetch(&dest), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(atomic_load(&reads), 2u);
    cr_assert_eq(memcmp(memory[0].block, block, BLOCK), 0);
}

/* A caller who wants K alone lets every V go to the same place, and one that is of no use to it at all: its destinations overlap, and each is OK. */
Test(client_placed, overlapping, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS] = {dest_of(0), dest_of(1)};
    for (uint32_t i = 0; i < KEYS; i++) {
        bases[i][LAYERS] = bases[i][LAYERS + 1] = memory[0].block + LANE;
        dests[i].region = NULL;
        dests[i].region_bytes = 0;
    }
    cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    for (uint32_t i = 0; i < KEYS; i++) {
        for (uint32_t l = 0; l < LAYERS; l++) {
            cr_assert_eq(memcmp(bases[i][l], block + 2 * l * LANE, LANE), 0, "K of layer %u, destination %u", l, i);
        }
    }
}

/* A destination that leaves its region is refused before anything of it is asked for. */
Test(client_placed, outside_of_the_region, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dest = dest_of(0);
    dest.region_bytes--;
    cr_assert_eq(fetch(&dest), QUIRE_INVALID);
    cr_assert_eq(atomic_load(&reads), 0u);
    cr_assert(is_all(memory[0].block, BLOCK, 0xa5));
}

/* ---- in the middle -------------------------------------------------------------------------------------------------------- */
static quire_job begin_half(quire_dest *dest, uint32_t deadline_ms) {
    twin.arg = HALF_AND_THEN;
    atomic_store(&half_sent, false);
    atomic_store(&go_on, false);
    quire_job job = quire_submit_fetch(found.lease, dest, 1, NULL, deadline_ms, NULL);
    cr_assert_neq(job, 0u);
    while (!atomic_load(&half_sent) || memory[0].block[0] == 0xa5) { /* and it is being received */
        quire_drain(client, NULL, 0);
    }
    return job;
}

/* The daemon goes on with the other half; by the next answer all of it has come, and has gone nowhere. */
static void expect_silence(void) {
    static uint8_t seen[BLOCK];
    memcpy(seen, memory[0].block, BLOCK);
    atomic_store(&go_on, true);
    look_up();
    cr_assert_eq(memcmp(memory[0].block, seen, BLOCK), 0, "the call has ended: the memory is its caller's again");
    cr_assert(!is_all(memory[0].block + BLOCK / 2 - EDGE, EDGE, 0xa5) || memory[0].block[0] != 0xa5, "something had come");
    cr_assert(is_all(memory[0].block + BLOCK - LANE, LANE, 0xa5), "and not all");
}

/* A caller changes its mind in the middle of a block, and uses the memory for something else. */
Test(client_placed, cancelled_in_the_middle, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dest = dest_of(0);
    quire_job job = begin_half(&dest, 20000);
    cr_assert_eq(quire_cancel(client, job), QUIRE_OK);
    cr_assert_eq(quire_wait(client, job, 20000), QUIRE_CANCELLED);
    expect_silence();
    expect_good();
}

/* The same when the deadline passes in the middle. */
Test(client_placed, too_late_in_the_middle, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dest = dest_of(0);
    quire_job job = begin_half(&dest, 300);
    cr_assert_eq(quire_wait(client, job, 20000), QUIRE_TIMEOUT);
    cr_assert_eq(dest.status, QUIRE_TIMEOUT);
    expect_silence();
    expect_good();
}

/* The daemon dies in the middle and is there again: the fetch has failed, and its memory is not touched by what the new connection brings. */
Test(client_placed, cut_off_in_the_middle, .init = start, .fini = stop, .timeout = 60) {
    static uint8_t seen[BLOCK];
    quire_dest dest = dest_of(0), other = dest_of(1);
    twin.arg = HALF_AND_NO_MORE;
    cr_assert_eq(fetch(&dest), QUIRE_DISCONNECTED);
    memcpy(seen, memory[0].block, BLOCK);
    twin.arg = HONEST;
    quire_lookup_args args = {.keys = (quire_key[]){key_of(0), key_of(1)}, .n_keys = KEYS};
    quire_lookup_result again = {0};
    while (quire_lookup(ns, &args, NULL, &again) != QUIRE_OK) { /* it waits a little before it connects again */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    cr_assert_eq(quire_fetch(again.lease, &other, 1, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(memcmp(memory[1].block, block, BLOCK), 0);
    cr_assert_eq(memcmp(memory[0].block, seen, BLOCK), 0);
    quire_release(&again.lease);
}
