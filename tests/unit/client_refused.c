#include "tests/unit/client_double.h"

#include <criterion/criterion.h>

static struct twin twin;
static quire_client *client;
static quire_ns *ns;

/* Hangs up on the first request. */
static void hang_up(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    (void)frame, (void)body;
    if (self->arg == 0) {
        self->arg = 1;
        shutdown(fd, SHUT_RDWR);
    }
}

static enum quire_status ask(void) {
    quire_key key = {{1}};
    quire_lookup_result found;
    quire_lookup_args args = {.keys = &key, .n_keys = 1};
    return quire_lookup(ns, &args, NULL, &found);
}

/* Asks until the client has found back. */
static enum quire_status ask_until_connected(void) {
    quire_info info = {0};
    enum quire_status status = QUIRE_DISCONNECTED;
    for (int i = 0; i < 4000 && !info.connected; i++) {
        status = ask();
        quire_get_info(client, &info);
        usleep(1000);
    }
    return status;
}

static void refused(bool as_error) {
    static const char words[] = "the table of namespaces is full";
    quire_key key = {{1}};
    twin.script = hang_up;
    twin_start(&twin);
    cr_assert_eq(twin_open(&twin, &client, &ns), QUIRE_OK);
    twin.ns_error = as_error;
    twin.ns_status = QUIRE_FULL;
    cr_assert_eq(ask(), QUIRE_DISCONNECTED);
    cr_assert_eq(ask_until_connected(), QUIRE_FULL);
    cr_assert_not_null(strstr(quire_last_error(), words), "%s", quire_last_error());
    cr_assert_eq(quire_touch(ns, &key, 1, NULL, 0), QUIRE_FULL);
    cr_assert_not_null(strstr(quire_last_error(), words), "%s", quire_last_error());
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

/* The daemon comes back and will not open the namespace again: each call gives the daemon's reason, not the connection's last mishap. */
Test(client_refused, by_its_answer, .timeout = 60) { refused(false); }
Test(client_refused, by_an_error, .timeout = 60) { refused(true); }
