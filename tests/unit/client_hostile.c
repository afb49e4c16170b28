#include "tests/unit/client_double.h"

#include <criterion/criterion.h>
#include <time.h>

static struct twin twin;

enum { GRANTS_CASES = 10 };

/* Grants that no honest daemon would give; which one is the double's `arg`. */
static void bad_grants(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    if (frame->type != QUIRE_MSG_LEASE) {
        return;
    }
    struct quire_wire_grant grant[2] = {{.offset = 0, .size = 4096, .key_index = 0}, {.offset = 4096, .size = 4096, .key_index = 1}};
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    uint8_t misses[3] = {0};
    grants.epoch = DOUBLE_EPOCH;
    grants.lease = 7;
    grants.hits = 2;
    grants.grants.data = (uint8_t *)grant;
    grants.grants.len = sizeof(grant);
    switch (self->arg) {
    case 0:
        grant[1].offset = DOUBLE_POOL_BYTES - 100; /* beyond the pool */
        break;
    case 1:
        grant[1].offset = UINT64_MAX - 100; /* wraps around */
        break;
    case 2:
        grant[1].slot = DOUBLE_SLOTS;
        break;
    case 3:
        grant[1].key_index = 2; /* not asked for */
        break;
    case 4:
        grant[1].key_index = 0; /* twice */
        break;
    case 5:
        grant[1].group = 1; /* the layout has one */
        break;
    case 6:
        grants.grants.len -= 1;
        break;
    case 7:
        grants.hits = 3;
        break;
    case 8:
        grants.misses.data = misses;
        grants.misses.len = 3;
        break;
    default:
        grants.lease = 0; /* hits without a lease */
        break;
    }
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &grants.base, 0, NULL, 0);
}

/* Each wrong grant is refused as CORRUPT before anything is read through it, and the connection is given up. */
Test(client_hostile, grants, .timeout = 60) {
    twin.script = bad_grants;
    twin_start(&twin);
    for (twin.arg = 0; twin.arg < GRANTS_CASES; twin.arg++) {
        quire_client *client;
        quire_ns *ns;
        cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK, "%s", quire_last_error());
        quire_key keys[2] = {{{1}}, {{2}}};
        quire_lookup_result found;
        quire_info info;
        quire_lookup_args args = {.keys = keys, .n_keys = 2};
        cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_CORRUPT, "case %d", twin.arg);
        cr_assert_null(found.lease);
        cr_assert_eq(found.hits, 0);
        cr_assert_eq(quire_get_info(client, &info), QUIRE_OK);
        cr_assert_not(info.connected, "case %d", twin.arg);
        quire_ns_close(&ns);
        quire_close(&client);
    }
    twin_stop(&twin);
}

static void grant_zeroes(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)self, (void)body;
    if (frame->type != QUIRE_MSG_LEASE) {
        return;
    }
    struct quire_wire_grant grant = {.offset = 8192, .size = 4096};
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.epoch = DOUBLE_EPOCH;
    grants.lease = 7;
    grants.hits = 1;
    grants.grants.data = (uint8_t *)&grant;
    grants.grants.len = sizeof(grant);
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &grants.base, 0, NULL, 0);
}

/* A grant that is in range but points at bytes that are no record: fetch and view say so, and nothing is called a hit. */
Test(client_hostile, no_record, .timeout = 60) {
    twin.script = grant_zeroes;
    twin_start(&twin);
    quire_client *client;
    quire_ns *ns;
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 1);
    uint16_t lane[16][8];
    void *base[2] = {lane, lane};
    quire_dest dest = {.k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_CORRUPT);
    cr_assert_eq(dest.status, QUIRE_CORRUPT);
    quire_view view;
    cr_assert_eq(quire_view_begin(found.lease, 0, 0, &view), QUIRE_CORRUPT);
    quire_release(&found.lease);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

/* Answers of a random type with random bytes, sometimes of the right id, sometimes raw noise. */
static void garbage(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    unsigned *seed = (unsigned *)&self->arg;
    uint8_t noise[512];
    size_t size = (size_t)rand_r(seed) % sizeof(noise);
    for (size_t i = 0; i < size; i++) {
        noise[i] = (uint8_t)rand_r(seed);
    }
    if (rand_r(seed) % 4 == 0) {
        ssize_t sent = send(fd, noise, size, MSG_NOSIGNAL);
        (void)sent;
        return;
    }
    uint8_t head[QUIRE_FRAME_BYTES];
    static const uint16_t answers[] = {
        QUIRE_MSG_ERROR,      QUIRE_MSG_GRANTS,        QUIRE_MSG_ACKS,        QUIRE_MSG_NS_ACK,    QUIRE_MSG_BULK,
        QUIRE_MSG_INGEST_ACK, QUIRE_MSG_INGEST_RECALL, QUIRE_MSG_ADMIN_REPLY, QUIRE_MSG_HELLO_ACK, 999};
    struct quire_frame answer = {.major = QUIRE_PROTO_MAJOR,
                                 .type = answers[(size_t)rand_r(seed) % (sizeof(answers) / sizeof(answers[0]))],
                                 .body_bytes = (uint32_t)(rand_r(seed) % 2 == 0 ? 0 : size),
                                 .bulk_bytes = rand_r(seed) % 3 == 0 ? (uint64_t)rand_r(seed) % 300 : 0,
                                 .request_id = rand_r(seed) % 3 == 0 ? (uint64_t)rand_r(seed) : frame->request_id};
    quire_frame_encode(&answer, noise, head);
    ssize_t sent = send(fd, head, sizeof(head), MSG_NOSIGNAL) + send(fd, noise, answer.body_bytes, MSG_NOSIGNAL);
    sent += answer.bulk_bytes == 0 ? 0 : send(fd, noise, answer.bulk_bytes, MSG_NOSIGNAL);
    (void)sent;
}

/* A few hundred calls against a daemon that answers with nonsense: each ends with a status, none with a hit, nothing leaks. */
Test(client_hostile, nonsense, .timeout = 120) {
    twin.script = garbage;
    unsigned seed = (unsigned)time(NULL) ^ (unsigned)getpid();
    fprintf(stderr, "seed %u\n", seed);
    twin.arg = (int)seed;
    twin.deadline_ms = 300; /* many a call is never answered */
    twin_start(&twin);
    for (int round = 0; round < 150; round++) {
        quire_client *client;
        quire_ns *ns;
        if (twin_open(&twin, &client, &ns) == QUIRE_OK) {
            quire_key keys[2] = {{{1}}, {{2}}};
            quire_lookup_result found;
            uint8_t statuses[2];
            uint16_t lane[16][8] = {{0}};
            const void *base[2] = {lane, lane};
            quire_source source = {
                .key = keys[0], .n_tokens = 16, .k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
            quire_lookup_args args = {.keys = keys, .n_keys = 2, .deadline_ms = 5};
            if (quire_lookup(ns, &args, NULL, &found) == QUIRE_OK) {
                cr_assert_eq(found.hits, 0);
            }
            quire_release(&found.lease);
            quire_touch(ns, keys, 2, statuses, 5);
            cr_assert_neq(quire_store(ns, &source, 1, NULL, 5, NULL), QUIRE_OK);
        }
        quire_ns_close(&ns);
        quire_close(&client);
    }
    twin_stop(&twin);
}

/* Memory that the daemon could shrink under us, or that is smaller than it says, is not mapped; another version is refused by name. */
Test(client_hostile, greeting, .timeout = 60) {
    quire_client *client;
    quire_ns *ns;
    twin.unsealed = true;
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_SYSTEM);
    twin.unsealed = false;
    twin.small = true;
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_SYSTEM);
    twin.small = false;
    twin.hello_major = 9;
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_VERSION);
    cr_assert_not_null(strstr(quire_last_error(), "9"));
    twin.hello_major = 0;
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

/* Half of what was asked for, and then nobody is there. */
static void half_a_record(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    grant_zeroes(self, fd, frame, body);
    if (frame->type == QUIRE_MSG_READ) {
        static const uint8_t bytes[2048];
        Quire__Wire__Bulk bulk = QUIRE__WIRE__BULK__INIT;
        twin_send(fd, QUIRE_MSG_BULK, frame->request_id, &bulk.base, 4096, NULL, 0);
        ssize_t sent = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
        (void)sent;
        shutdown(fd, SHUT_RDWR);
    }
}

/* The stream breaks off in the middle of a record that is copied: its caller hears that, and does not wait for the deadline. */
Test(client_hostile, a_copy_breaks_off, .timeout = 60) {
    quire_client *client;
    quire_ns *ns;
    quire_key key = {{1}};
    quire_lookup_args args = {.keys = &key, .n_keys = 1};
    quire_lookup_result found;
    uint16_t k[2][16][8], v[2][16][8];
    void *k_base[2] = {k[0], k[1]}, *v_base[2] = {v[0], v[1]};
    quire_dest dest = {.k_base = k_base, .v_base = v_base, .k_token_stride = 16, .v_token_stride = 16};
    twin.script = half_a_record;
    twin.guest = true;
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 600000), QUIRE_DISCONNECTED);
    quire_release(&found.lease);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}
