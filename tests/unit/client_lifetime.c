#include "tests/unit/client_quired.h"

/* Closes the namespace, and opens one of another shape, which likely lies where the first one lay. */
static void replace_ns(void) {
    quire_layout layout = opaque_layout();
    quire_ns_close(&ns);
    cr_assert_null(ns);
    cr_assert_eq(quire_ns_open(client, "other", &layout, &ns), QUIRE_OK, "%s", quire_last_error());
}

/* A worker closes a namespace and still holds a lease on its blocks: they are fetched and viewed as before, until the lease is released. */
Test(client_lifetime, lease_after_namespace, .init = worker_start, .fini = worker_stop, .timeout = 60) {
    quire_layout layout = toy_layout();
    quire_lookup_result found;
    quire_view view;
    quire_key keys[2];
    struct toy want, got;
    toy_keys(ns, 1, keys, 2);
    cr_assert_eq(toy_store(ns, keys, 2), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 2, &found), QUIRE_OK);
    replace_ns();
    cr_assert(quire_lease_valid(found.lease));
    toy_fill(&want, 1);
    toy_clear(&got);
    quire_dest dest = toy_dest(&got, 1);
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(memcmp(want.k, got.k, sizeof(want.k)), 0);
    cr_assert_eq(quire_view_begin(found.lease, 0, 0, &view), QUIRE_OK, "%s", quire_last_error());
    const uint16_t *lane = quire_view_lane(&view, &layout, 0, 2, 0, 1, NULL);
    cr_assert_eq(lane[3 * TOY_K + 5], toy_element(0, 2, 0, 1, 3, 5));
    cr_assert_eq(quire_view_end(found.lease, &view), QUIRE_OK);
    quire_release(&found.lease);
}

/* Work is under way when its namespace is closed: a store, a lookup and a pin all end well, and nothing is read that is gone. */
Test(client_lifetime, jobs_after_namespace, .init = worker_start, .fini = worker_stop, .timeout = 60) {
    static struct toy toy;
    quire_layout layout = toy_layout();
    quire_lookup_result found;
    quire_key keys[2];
    toy_keys(ns, 2, keys, 2);
    toy_fill(&toy, 0);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    quire_source source = toy_source(&toy, keys[1], &keys[0], TOY_BLOCK);
    quire_lookup_args args = {.keys = keys, .n_keys = 1};
    quire_job store = quire_submit_store(ns, &source, 1, NULL, 20000, NULL, NULL);
    quire_job lookup = quire_submit_lookup(ns, &args, NULL, &found, NULL);
    quire_job pin = quire_submit_keys(ns, QUIRE_KEYS_PIN, keys, 1, NULL, 20000, NULL);
    cr_assert(store != 0 && lookup != 0 && pin != 0);
    replace_ns();
    cr_assert_eq(quire_wait(client, store, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_wait(client, lookup, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_wait(client, pin, 20000), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(found.hits, 1);
    quire_dest dest = toy_dest(&toy, 0);
    quire_job fetch = quire_submit_fetch(found.lease, &dest, 1, NULL, 20000, NULL);
    cr_assert_neq(fetch, 0u);
    quire_release(&found.lease);
    cr_assert_eq(quire_wait(client, fetch, 20000), QUIRE_OK, "the job keeps the lease: %s", quire_last_error());
    quire_ns *again;
    cr_assert_eq(quire_ns_open(client, "toy", &layout, &again), QUIRE_OK);
    cr_assert_eq(toy_lookup(again, keys, 2, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 2, "what was being stored is there");
    quire_release(&found.lease);
    quire_ns_close(&again);
}

/* Everything is closed in the order in which careless code closes it: the namespace, then the client with jobs that nobody drained, then the
   sequence. */
Test(client_lifetime, undrained, .init = worker_start, .fini = worker_stop, .timeout = 60) {
    quire_options options = {.address = quired.path};
    quire_lookup_result found[3], kept;
    quire_client *other;
    quire_ns *other_ns;
    quire_seq *seq;
    quire_key keys[1];
    cr_assert_eq(quire_open(&options, &other), QUIRE_OK);
    cr_assert_eq(quire_ns_open(other, "toy", NULL, &other_ns), QUIRE_OK);
    cr_assert_eq(quire_seq_create(other_ns, &seq), QUIRE_OK);
    toy_keys(ns, 3, keys, 1);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    cr_assert_eq(toy_lookup(other_ns, keys, 1, &kept), QUIRE_OK);
    quire_lookup_args args = {.keys = keys, .n_keys = 1};
    for (int i = 0; i < 3; i++) {
        cr_assert_neq(quire_submit_lookup(other_ns, &args, NULL, &found[i], NULL), 0u);
    }
    quire_ns_close(&other_ns);
    quire_close(&other);
    cr_assert_eq(quire_seq_ancestry(seq).error, 0.0f);
    quire_seq_destroy(&seq);
}
