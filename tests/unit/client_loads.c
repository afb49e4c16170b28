/*
 * A lease of which some records are only on disk, against a double that answers LOAD as the test says: what the library asks for, when, how often, and what
 * it makes of the answers. Three blocks of one small record each; the first is in memory, the others are away.
 */
#include "tests/unit/client_double.h"
#include "tests/unit/codec_sample.h"

#include <errno.h>

enum { KEYS = 3, TOKENS = 16, DIM = 8, LAYERS = 2, PART_SLOT = 40 };
enum answer { ANSWER_OK, ANSWER_MISS, ANSWER_NOTHING, ANSWER_BUSY, ANSWER_ERROR, ANSWER_PART, ANSWER_WRONG };

static struct twin twin;
static quire_client *client;
static quire_ns *ns;
static quire_lookup_result found;
static uint32_t estimates[KEYS];
static quire_key keys[KEYS] = {{{1}}, {{2}}, {{3}}};
static uint16_t cache[2][KEYS][LAYERS][TOKENS][DIM];
static void *k_base[KEYS][LAYERS], *v_base[KEYS][LAYERS];

static atomic_int answer, wrong; /* to the next LOAD; ANSWER_WRONG: in which way */
static atomic_uint loads, asked, partial, lookup_flags;
static quire_rect part; /* that was asked for last */

static uint64_t place(uint32_t key) { return (uint64_t)key * 65536; }
static quire_layout layout_of(void) { return sample_layout(LAYERS, 1, DIM, DIM, QUIRE_F16, TOKENS); }
static struct quire_record_shape shape(void) {
    const quire_layout layout = layout_of();
    return shape_of(&layout, TOKENS, 0);
}

/* Every byte of block i is i + 1. */
static void fill(int fd) {
    const quire_layout layout = layout_of();
    const struct quire_record_shape s = shape();
    uint8_t payload[2 * LAYERS * TOKENS * DIM * 2];
    for (uint32_t i = 0; i < KEYS; i++) {
        memset(payload, (int)i + 1, sizeof(payload));
        uint8_t *record = sealed_record(&layout, &s, &keys[i], payload);
        if (pwrite(fd, record, s.size_bytes, (off_t)place(i)) != (ssize_t)s.size_bytes) {
            abort();
        }
        free(record);
    }
}

static struct quire_wire_grant grant(uint32_t key, bool away) {
    return (struct quire_wire_grant){
        .offset = away ? QUIRE_WIRE_AWAY : place(key), .size = shape().size_bytes, .slot = key, .key_index = (uint16_t)key};
}

static void answer_lease(int fd, const struct quire_frame *frame, const uint8_t *body) {
    static const uint32_t seen[KEYS] = {0, 150, 300};
    Quire__Wire__Lease *lease = quire__wire__lease__unpack(NULL, frame->body_bytes, body);
    atomic_store(&lookup_flags, lease->flags);
    quire__wire__lease__free_unpacked(lease, NULL);
    struct quire_wire_grant grants[KEYS] = {grant(0, false), grant(1, true), grant(2, true)};
    Quire__Wire__Grants reply = QUIRE__WIRE__GRANTS__INIT;
    reply.epoch = DOUBLE_EPOCH;
    reply.lease = 7;
    reply.hits = KEYS;
    reply.grants = (ProtobufCBinaryData){.len = sizeof(grants), .data = (uint8_t *)grants};
    reply.seen = (ProtobufCBinaryData){.len = sizeof(seen), .data = (uint8_t *)(uintptr_t)seen};
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &reply.base, 0, NULL, 0);
}

/* What no honest daemon answers. */
enum { WRONG_CASES = 8 };
static void spoil(Quire__Wire__Grants *reply, struct quire_wire_grant *grants) {
    switch (atomic_load(&wrong)) {
    case 0:
        grants[0].offset = DOUBLE_POOL_BYTES - 10;
        break;
    case 1:
        grants[0].offset = QUIRE_WIRE_AWAY;
        break;
    case 2:
        grants[0].slot = PART_SLOT; /* nobody asked for a part */
        break;
    case 3:
        grants[0].size += 64;
        break;
    case 4:
        grants[0].key_index = 1;
        break;
    case 5:
        reply->statuses.len--;
        break;
    case 6:
        reply->grants.len -= sizeof(*grants);
        break;
    default:
        reply->lease = 7;
        break;
    }
}

static void answer_items(int fd, const struct quire_frame *frame, const struct quire_wire_load *items, uint32_t n) {
    struct quire_wire_grant grants[KEYS] = {{0}};
    uint8_t statuses[KEYS] = {0};
    int how = atomic_load(&answer);
    for (uint32_t i = 0; i < n; i++) {
        grants[i] = grant(items[i].slot, false);
        grants[i].key_index = (uint16_t)i;
        grants[i].slot = how == ANSWER_PART ? PART_SLOT + items[i].slot : items[i].slot;
    }
    if (how == ANSWER_MISS) {
        statuses[n - 1] = QUIRE_MISS;
        grants[n - 1] = (struct quire_wire_grant){.offset = QUIRE_WIRE_AWAY};
    }
    Quire__Wire__Grants reply = QUIRE__WIRE__GRANTS__INIT;
    reply.epoch = DOUBLE_EPOCH;
    reply.grants = (ProtobufCBinaryData){.len = n * sizeof(grants[0]), .data = (uint8_t *)grants};
    reply.statuses = (ProtobufCBinaryData){.len = n, .data = statuses};
    if (how == ANSWER_WRONG) {
        spoil(&reply, grants);
    }
    if (how == ANSWER_BUSY) {
        reply = (Quire__Wire__Grants)QUIRE__WIRE__GRANTS__INIT;
        reply.epoch = DOUBLE_EPOCH;
        reply.status = QUIRE_RETRY;
        reply.retry_after_ms = 1;
        atomic_store(&answer, ANSWER_OK);
    }
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &reply.base, 0, NULL, 0);
}

static void answer_load(int fd, const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__Load *load = quire__wire__load__unpack(NULL, frame->body_bytes, body);
    struct quire_wire_load items[KEYS];
    uint32_t n = (uint32_t)(load->items.len / sizeof(items[0]));
    if (n > KEYS || load->lease != 7) {
        abort();
    }
    memcpy(items, load->items.data, load->items.len);
    quire__wire__load__free_unpacked(load, NULL);
    atomic_fetch_add(&asked, n);
    for (uint32_t i = 0; i < n; i++) {
        atomic_fetch_add(&partial, (items[i].flags & QUIRE_WIRE_LOAD_PARTIAL) != 0);
        part = items[i].rect;
    }
    atomic_fetch_add(&loads, 1);
    if (atomic_load(&answer) == ANSWER_ERROR) {
        Quire__Wire__Error error = QUIRE__WIRE__ERROR__INIT;
        error.status = QUIRE_UNSUPPORTED;
        twin_send(fd, QUIRE_MSG_ERROR, frame->request_id, &error.base, 0, NULL, 0);
    } else if (atomic_load(&answer) != ANSWER_NOTHING) {
        answer_items(fd, frame, items, n);
    }
}

static void script(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)self;
    if (frame->type == QUIRE_MSG_LEASE) {
        answer_lease(fd, frame, body);
    } else if (frame->type == QUIRE_MSG_LOAD) {
        answer_load(fd, frame, body);
    }
}

static void look_up(void) {
    quire_lookup_args args = {.keys = keys, .n_keys = KEYS, .flags = QUIRE_LOOKUP_FETCH, .estimates_us = estimates};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(found.hits, KEYS);
}

static void start(void) {
    twin.script = script;
    twin.fill = fill;
    for (uint32_t i = 0; i < KEYS; i++) {
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            k_base[i][layer] = cache[0][i][layer];
            v_base[i][layer] = cache[1][i][layer];
        }
    }
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK, "%s", quire_last_error());
    look_up();
}

static void stop(void) {
    quire_release(&found.lease);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

static void destine(quire_dest *dests) {
    memset(cache, 0, sizeof(cache));
    for (uint32_t i = 0; i < KEYS; i++) {
        dests[i] = (quire_dest){.key_index = i, .k_base = k_base[i], .v_base = v_base[i], .region = cache, .region_bytes = sizeof(cache)};
        dests[i].k_token_stride = dests[i].v_token_stride = DIM * 2;
    }
}

static bool came(uint32_t key, uint32_t layer) {
    uint16_t expected = (uint16_t)((key + 1) * 0x0101);
    return cache[0][key][layer][TOKENS - 1][DIM - 1] == expected && cache[1][key][layer][0][0] == expected;
}

/* The lookup says what is away and until when it can be there; a fetch asks for both blocks by one LOAD, and a second fetch, and a view, for none. */
Test(client_loads, one_request_and_never_again, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    quire_view views[KEYS];
    cr_assert_eq(atomic_load(&lookup_flags) & QUIRE_WIRE_LEASE_FETCH, QUIRE_WIRE_LEASE_FETCH);
    cr_assert_eq(found.fetch_us, 300);
    cr_assert(estimates[0] == 0 && estimates[1] == 150 && estimates[2] == 300);
    for (int round = 0; round < 2; round++) {
        destine(dests);
        cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 0), QUIRE_OK, "%s", quire_last_error());
        for (uint32_t i = 0; i < KEYS; i++) {
            cr_assert(came(i, 0) && came(i, 1) && dests[i].status == QUIRE_OK && dests[i].n_tokens == TOKENS);
        }
    }
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, KEYS, views, NULL), QUIRE_OK);
    cr_assert_eq(((const uint8_t *)views[2].payload)[0], 3);
    cr_assert_eq(quire_view_end_many(found.lease, views, KEYS, NULL), QUIRE_OK);
    cr_assert(atomic_load(&loads) == 1 && atomic_load(&asked) == 2 && atomic_load(&partial) == 0);
}

/* Views ask, too: many by one request. */
Test(client_loads, views, .init = start, .fini = stop, .timeout = 60) {
    quire_view views[KEYS];
    uint8_t statuses[KEYS];
    atomic_store(&answer, ANSWER_MISS);
    cr_assert_eq(quire_view_begin_many(found.lease, NULL, NULL, KEYS, views, statuses), QUIRE_MISS);
    cr_assert(statuses[0] == QUIRE_OK && statuses[1] == QUIRE_OK && statuses[2] == QUIRE_MISS);
    cr_assert_eq(((const uint8_t *)views[1].payload)[0], 2);
    cr_assert_null(views[2].record);
    cr_assert_eq(quire_view_end_many(found.lease, views, KEYS, NULL), QUIRE_OK);
    cr_assert_eq(atomic_load(&loads), 1);
    atomic_store(&answer, ANSWER_OK);
    cr_assert_eq(quire_view_begin(found.lease, 2, 0, &views[2]), QUIRE_OK);
    cr_assert_eq(quire_view_end(found.lease, &views[2]), QUIRE_OK);
    atomic_store(&answer, ANSWER_NOTHING);
    cr_assert_eq(quire_view_begin(found.lease, 2, 0, &views[2]), QUIRE_OK, "it is remembered");
}

/* A block that cannot be read is a miss; those beside it are delivered. */
Test(client_loads, a_miss, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    destine(dests);
    atomic_store(&answer, ANSWER_MISS);
    cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 0), QUIRE_MISS);
    cr_assert(dests[0].status == QUIRE_OK && dests[1].status == QUIRE_OK && dests[2].status == QUIRE_MISS);
    cr_assert(came(1, 0) && dests[2].bytes_copied == 0);
    cr_assert_not_null(strstr(quire_last_error(), "disk"), "%s", quire_last_error());
}

/* The disk does not answer: what is in memory is delivered, the rest is TIMEOUT at the deadline, and the daemon is told that nobody waits. */
Test(client_loads, too_late, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    destine(dests);
    atomic_store(&answer, ANSWER_NOTHING);
    cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 100), QUIRE_TIMEOUT);
    cr_assert(dests[0].status == QUIRE_OK && dests[1].status == QUIRE_TIMEOUT && dests[2].status == QUIRE_TIMEOUT);
    cr_assert(came(0, 1));
    quire_view view;
    cr_assert_eq(quire_view_begin(found.lease, 1, 0, &view), QUIRE_TIMEOUT);
    atomic_store(&answer, ANSWER_OK);
    cr_assert_eq(quire_fetch(found.lease, dests, 1, NULL, 0), QUIRE_OK);
    cr_assert_eq(quire_view_begin(found.lease, 1, 0, &view), QUIRE_OK, "the session goes on");
    cr_assert_eq(atomic_load(&twin.cancels), 2);
}

/* A submitted fetch never waits: submit and drain return though the disk does not answer, what is in memory is copied, and it can be cancelled. */
Test(client_loads, submitted, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    quire_done done;
    destine(dests);
    atomic_store(&answer, ANSWER_NOTHING);
    quire_job job = quire_submit_fetch(found.lease, dests, KEYS, NULL, 60000, NULL);
    cr_assert_neq(job, 0);
    for (int i = 0; i < 20000 && atomic_load(&loads) == 0; i++) {
        usleep(1000);
    }
    cr_assert_eq(atomic_load(&loads), 1, "the disk is asked before anybody drains");
    while (dests[0].status != QUIRE_OK) {
        cr_assert_eq(quire_drain(client, &done, 1), 0);
    }
    cr_assert(came(0, 0) && dests[1].status == QUIRE_PENDING);
    cr_assert_eq(quire_cancel(client, job), QUIRE_OK);
    cr_assert_eq(quire_drain(client, &done, 1), 1);
    cr_assert_eq(done.status, QUIRE_CANCELLED);
    atomic_store(&answer, ANSWER_OK);
    destine(dests);
    job = quire_submit_fetch(found.lease, dests, KEYS, NULL, 60000, NULL);
    cr_assert_eq(quire_wait(client, job, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert(came(0, 0) && came(1, 0) && came(2, 1));
    cr_assert_eq(atomic_load(&loads), 2);
}

/* A daemon with too much to do is asked again. One that does not know LOAD after all fails only what is away. */
Test(client_loads, asked_again, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    destine(dests);
    atomic_store(&answer, ANSWER_ERROR);
    cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 0), QUIRE_UNSUPPORTED);
    cr_assert(dests[0].status == QUIRE_OK && dests[1].status == QUIRE_UNSUPPORTED);
    atomic_store(&answer, ANSWER_BUSY);
    destine(dests);
    cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(atomic_load(&loads), 3);
    cr_assert(came(1, 0) && came(2, 1));
}

/* One layer of a block: only that is asked for, once; two destinations of one block make one item that holds both; all of it is another question. */
Test(client_loads, parts, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    atomic_store(&answer, ANSWER_PART);
    for (int round = 0; round < 2; round++) {
        destine(dests);
        dests[1].rect = (quire_rect){.first_layer = 1, .n_layers = 1, .n_heads = 1};
        dests[1].k_base = &k_base[1][1];
        dests[1].v_base = &v_base[1][1];
        cr_assert_eq(quire_fetch(found.lease, &dests[1], 1, NULL, 0), QUIRE_OK, "%s", quire_last_error());
        cr_assert(came(1, 1) && !came(1, 0));
        cr_assert(atomic_load(&loads) == 1 && atomic_load(&partial) == 1);
        cr_assert(part.first_layer == 1 && part.n_layers == 1 && part.first_head == 0 && part.n_heads == 1);
    }
    atomic_store(&answer, ANSWER_OK);
    for (uint16_t layer = 0; layer < LAYERS; layer++) {
        dests[layer] = dests[1];
        dests[layer].rect.first_layer = layer;
        dests[layer].key_index = 2;
        dests[layer].k_base = &k_base[2][layer];
        dests[layer].v_base = &v_base[2][layer];
    }
    cr_assert_eq(quire_fetch(found.lease, dests, LAYERS, NULL, 0), QUIRE_OK);
    cr_assert(came(2, 0) && came(2, 1));
    cr_assert(atomic_load(&loads) == 2 && atomic_load(&asked) == 2 && atomic_load(&partial) == 1, "both layers are all of it");
    destine(dests);
    cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 0), QUIRE_OK);
    cr_assert_eq(atomic_load(&loads), 3, "of the second block only a part was there");
    dests[1].rect = (quire_rect){.first_layer = 1, .n_layers = 9, .n_heads = 1};
    cr_assert_eq(quire_fetch(found.lease, &dests[1], 1, NULL, 0), QUIRE_INVALID);
}

/* Answers that cannot be true are refused before anything is read through them, and the connection is given up. */
Test(client_loads, wrong_answers, .init = start, .fini = stop, .timeout = 60) {
    quire_dest dests[KEYS];
    quire_info info;
    atomic_store(&answer, ANSWER_WRONG);
    for (int i = 0; i < WRONG_CASES; i++) {
        atomic_store(&wrong, i);
        destine(dests);
        cr_assert_eq(quire_fetch(found.lease, dests, KEYS, NULL, 0), QUIRE_CORRUPT, "case %d", i);
        cr_assert(!came(1, 0) && dests[1].status == QUIRE_CORRUPT);
        quire_get_info(client, &info);
        cr_assert_not(info.connected);
        quire_release(&found.lease);
        stop();
        atomic_store(&twin.stop, false);
        start();
    }
}
