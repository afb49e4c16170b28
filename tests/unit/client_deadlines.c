#include "tests/unit/client_double.h"

#include <criterion/criterion.h>
#include <time.h>

static struct twin twin;

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A daemon that accepts and never says a word: opening ends, with a sentence, instead of hanging. */
Test(client_deadlines, open, .timeout = 60) {
    twin.mute = true;
    twin_start(&twin);
    quire_options options = {.address = twin.path, .connect_timeout_ms = 50};
    quire_client *client = (quire_client *)&twin;
    cr_assert_eq(quire_open(&options, &client), QUIRE_TIMEOUT);
    cr_assert_null(client);
    cr_assert_neq(quire_last_error()[0], '\0');
    twin_stop(&twin);
}

/* A lazy client of such a daemon: every call ends by its deadline, and none waits for the connection more than once in a while. */
Test(client_deadlines, lazy, .timeout = 60) {
    twin.mute = true;
    twin_start(&twin);
    quire_options options = {.address = twin.path, .connect_timeout_ms = 50, .flags = QUIRE_OPEN_LAZY};
    quire_layout layout = {.n_layers = 1, .n_groups = 1, .block_tokens = 16};
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = 8, .v_dim = 8};
    quire_client *client;
    quire_ns *ns;
    quire_info info;
    cr_assert_eq(quire_open(&options, &client), QUIRE_OK);
    cr_assert_eq(quire_get_info(client, &info), QUIRE_OK);
    cr_assert_not(info.connected);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(quire_ns_open(client, "x", &layout, &ns), QUIRE_DISCONNECTED);
    }
    cr_assert_lt(atomic_load(&twin.connections), 20u, "the back-off spaces attempts");
    quire_close(&client);
    twin_stop(&twin);
}

/* The daemon greets and then falls silent: each verb times out, what was submitted completes as TIMEOUT, the request is called off. */
Test(client_deadlines, every_verb, .timeout = 60) {
    twin_start(&twin);
    quire_client *client;
    quire_ns *ns;
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK, "%s", quire_last_error());
    quire_key key = {{1}};
    uint8_t status = 0, miss = 0;
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 40};
    uint64_t begin = now_ms();
    cr_assert_eq(quire_lookup(ns, &args, &miss, &found), QUIRE_TIMEOUT);
    cr_assert_geq(now_ms() - begin, 39);
    cr_assert_eq(found.status, QUIRE_TIMEOUT);
    cr_assert_null(found.lease);
    cr_assert_eq(miss, QUIRE_MISS_TIMEOUT);
    cr_assert_eq(quire_touch(ns, &key, 1, &status, 40), QUIRE_TIMEOUT);
    uint16_t lane[16][8] = {{0}};
    const void *base[2] = {lane, lane};
    quire_source source = {.key = key, .n_tokens = 16, .k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
    cr_assert_eq(quire_store(ns, &source, 1, NULL, 40, NULL), QUIRE_TIMEOUT);
    cr_assert_eq(source.status, QUIRE_TIMEOUT);
    args.deadline_ms = 1000; /* so that it lasts longer than a pause that the machine may make here */
    quire_job job = quire_submit_lookup(ns, &args, &miss, &found, &twin);
    cr_assert_neq(job, 0u);
    cr_assert_eq(quire_wait(client, job, 1), QUIRE_TIMEOUT, "the job goes on");
    cr_assert_eq(quire_quiesce(client, 10000), QUIRE_OK);
    quire_done done;
    cr_assert_eq(quire_drain(client, &done, 1), 1);
    cr_assert_eq(done.status, QUIRE_TIMEOUT);
    cr_assert_eq(done.user, &twin);
    cr_assert_eq(quire_wait(client, job, 10), QUIRE_NOT_FOUND);
    for (int i = 0; i < 4000 && atomic_load(&twin.cancels) < 3; i++) {
        usleep(2000);
    }
    cr_assert_geq(atomic_load(&twin.cancels), 3u);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

static void answer_late(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)body;
    if (frame->type != QUIRE_MSG_LEASE) {
        return;
    }
    usleep(60000);
    Quire__Wire__Grants grants = QUIRE__WIRE__GRANTS__INIT;
    grants.epoch = DOUBLE_EPOCH;
    grants.lease = 55;
    grants.hits = 1;
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &grants.base, 0, NULL, 0);
    self->arg = 1;
}

/* A lease that is granted after its lookup gave up is released at once: nobody would ever do it otherwise. */
Test(client_deadlines, late_lease, .timeout = 60) {
    twin.script = answer_late;
    twin_start(&twin);
    quire_client *client;
    quire_ns *ns;
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1, .deadline_ms = 10};
    cr_assert_eq(quire_lookup(ns, &args, NULL, &found), QUIRE_TIMEOUT);
    quire_info info;
    for (int i = 0; i < 1000 && atomic_load(&twin.releases) == 0; i++) {
        quire_get_info(client, &info);
        usleep(5000);
    }
    cr_assert_eq(atomic_load(&twin.releases), 1u);
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}
