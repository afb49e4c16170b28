#include "tests/unit/client_quired.h"

#include "client/admin.h"
#include "proto/wire.h"

#include <sys/socket.h>

static bool comes_back(const quire_key *keys, quire_lookup_result *found) {
    for (int i = 0; i < 1000; i++) {
        if (toy_lookup(ns, keys, 1, found) == QUIRE_OK) {
            return true;
        }
        quired_sleep_ms(10);
    }
    return false;
}

/*
 * The daemon is killed while a view is open. Its bytes stay readable and say that they stood; the lease may not be used anew; calls miss at once;
 * and when a daemon is there again the same handles work, under another epoch, on a store that has forgotten everything.
 */
Test(client_reconnect, killed, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_key keys[1];
    quire_lookup_result found, again;
    quire_info before, after;
    quire_view view;
    struct toy toy;
    toy_keys(ns, 1, keys, 1);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    cr_assert_eq(quire_view_begin(found.lease, 0, 0, &view), QUIRE_OK);
    cr_assert_eq(quire_get_info(client, &before), QUIRE_OK);
    cr_assert(before.connected);
    quired_kill(&quired);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(toy_lookup(ns, keys, 1, &again), QUIRE_DISCONNECTED);
        cr_assert_eq(again.hits, 0);
    }
    cr_assert_neq(quire_last_error()[0], '\0');
    cr_assert_not(quire_lease_valid(found.lease));
    toy_clear(&toy);
    quire_dest dest = toy_dest(&toy, 0);
    cr_assert_eq(quire_fetch(found.lease, &dest, 1, NULL, 0), QUIRE_STALE);
    const uint16_t *lane = quire_view_lane(&view, quire_ns_layout(ns), 0, 2, 0, 1, NULL);
    cr_assert_eq(lane[3 * TOY_K + 5], toy_element(0, 2, 0, 1, 3, 5));
    cr_assert(quired_start(&quired));
    cr_assert(comes_back(keys, &again), "%s", quire_last_error());
    cr_assert_eq(again.hits, 0);
    cr_assert_eq(quire_get_info(client, &after), QUIRE_OK);
    cr_assert(after.connected);
    cr_assert_neq(after.epoch, before.epoch);
    cr_assert_eq(after.reconnects, 1);
    cr_assert_not(quire_lease_valid(found.lease), "another connection does not make it valid again");
    cr_assert_eq(lane[3 * TOY_K + 5], toy_element(0, 2, 0, 1, 3, 5));
    cr_assert_eq(quire_view_end(found.lease, &view), QUIRE_OK);
    quire_release(&found.lease);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK, "the namespace was opened again: %s", quire_last_error());
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_OK);
    cr_assert_eq(found.hits, 1);
    quire_release(&found.lease);
}

/* What was submitted when the daemon died completes as DISCONNECTED, and the event fd wakes its owner for that. */
Test(client_reconnect, submitted, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_key keys[1];
    quire_lookup_result found;
    quire_done done;
    toy_keys(ns, 2, keys, 1);
    kill(quired.pid, SIGSTOP);
    quire_lookup_args args = {.keys = keys, .n_keys = 1, .deadline_ms = 60000};
    quire_job job = quire_submit_lookup(ns, &args, NULL, &found, NULL);
    cr_assert_neq(job, 0u);
    cr_assert_geq(quire_event_fd(client), 0);
    quired_kill(&quired);
    cr_assert_eq(quire_quiesce(client, 20000), QUIRE_OK);
    cr_assert_eq(quire_drain(client, &done, 1), 1);
    cr_assert_eq(done.status, QUIRE_DISCONNECTED);
    cr_assert_null(found.lease);
    cr_assert(quired_start(&quired));
    cr_assert(comes_back(keys, &found));
}

/* Nobody at home: opening says what to do; lazily it succeeds, and the client finds the daemon when it comes. */
Test(client_reconnect, lazy, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_options options = {.address = "/nowhere/quired.sock"};
    quire_client *lazy = NULL;
    cr_assert_eq(quire_open(&options, &lazy), QUIRE_DISCONNECTED);
    cr_assert_not_null(strstr(quire_last_error(), "/nowhere/quired.sock"));
    quired_kill(&quired);
    options.address = quired.path;
    options.flags = QUIRE_OPEN_LAZY;
    cr_assert_eq(quire_open(&options, &lazy), QUIRE_OK);
    quire_ns *late = NULL;
    quire_layout layout = toy_layout();
    cr_assert_eq(quire_ns_open(lazy, "toy", &layout, &late), QUIRE_DISCONNECTED);
    cr_assert(quired_start(&quired));
    enum quire_status status = QUIRE_DISCONNECTED;
    for (int i = 0; i < 1000 && status != QUIRE_OK; i++) {
        status = quire_ns_open(lazy, "toy", &layout, &late);
        quired_sleep_ms(5);
    }
    cr_assert_eq(status, QUIRE_OK);
    quire_ns_close(&late);
    quire_close(&lazy);
}

/* People type a path relative to where they are. It stays the same place when the program goes elsewhere; what is no path is refused with a
   hint. */
Test(client_reconnect, relative_address, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    static const char *const wrong[] = {"unix://quired.sock", "tcp://127.0.0.1:9300", "unix://"};
    quire_options options = {.address = "./quired.sock", .flags = QUIRE_OPEN_LAZY};
    quire_client *here = NULL;
    quire_info info = {0};
    char before[4096];
    cr_assert_not_null(getcwd(before, sizeof(before)));
    cr_assert_eq(chdir(quired.folder), 0);
    cr_assert_eq(quire_open(&options, &here), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(chdir("/"), 0);
    quire_ns *late = NULL;
    quire_layout layout = toy_layout();
    cr_assert_eq(quire_ns_open(here, "toy", &layout, &late), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(quire_get_info(here, &info), QUIRE_OK);
    cr_assert(info.connected);
    quire_ns_close(&late);
    quire_close(&here);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        options.address = wrong[i];
        cr_assert_eq(quire_open(&options, &here), QUIRE_INVALID, "%s", wrong[i]);
        cr_assert_not_null(strstr(quire_last_error(), "unix:///path"));
    }
    cr_assert_eq(chdir(before), 0);
}

/* An operator deletes the namespace under a worker: a call says NOT_FOUND, and soon the same handle works again, on an empty namespace. */
Test(client_reconnect, deleted_namespace, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_key keys[1];
    quire_lookup_result found;
    toy_keys(ns, 3, keys, 1);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK);
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    request.verb = QUIRE_ADMIN_NS_DELETE;
    request.ns = "toy";
    cr_assert_eq(quire_admin_call(client, &request, &reply, 0), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(reply->status, QUIRE_OK, "%s", reply->text);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    cr_assert_eq(toy_lookup(ns, keys, 1, &found), QUIRE_NOT_FOUND);
    cr_assert(comes_back(keys, &found));
    cr_assert_eq(found.hits, 0);
    cr_assert_eq(toy_store(ns, keys, 1), QUIRE_OK, "%s", quire_last_error());
}
