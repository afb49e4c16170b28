/* libquire's end of a UCX wire: memory that the caller gets back must be free, whatever UCX still had to do with it. */
#include "client/ucx/ucx.c"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/mman.h>

enum { BYTES = 1 << 20 }; /* longer than what goes with its message: it waits here until the other end has a place */

static struct quire_ucx_port *daemon_port;
static struct quire_ucx_wire *there;
static struct transport *here;
static char why_text[256];
static const struct transport_why why = {why_text, sizeof why_text};

static void turn_both(void) {
    quire_ucx_progress(daemon_port);
    while (quire_ucx_ready(daemon_port) != NULL) {
    }
    turn(ucx_of(here));
}

/* Until it holds; a liveness bound, far beyond what it takes. */
#define UNTIL(what)                                                                                                                        \
    for (uint64_t until_ns_ = now_ns() + 20 * QUIRE_NS_PER_S; !(what); turn_both()) {                                                      \
        cr_assert(now_ns() < until_ns_, "never: %s", #what);                                                                               \
    }

static void start(void) {
    char told[QUIRE_UCX_PEER_BYTES], text[QUIRE_UCX_WHY_BYTES], full[64];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct transport_settings settings = {0};
    struct quire_ucx_ask ask;
    setenv("UCX_TLS", "tcp,self", 0);
    cr_assert_eq(quire_ucx_port_create(QUIRE_UCX_LOOPBACK, NULL, &daemon_port, text), QUIRE_OK, "%s", text);
    cr_assert_eq(quire_ucx_listen(daemon_port, (struct sockaddr *)&at, sizeof at, told, text), QUIRE_OK, "%s", text);
    snprintf(full, sizeof full, "127.0.0.1 %s 127.0.0.1", strrchr(told, ':') + 1);
    cr_assert_eq(ucx_ops.connect(full, &settings, 0, &here, why), QUIRE_OK, "%s", why_text);
    UNTIL(quire_ucx_asked(daemon_port, &ask));
    cr_assert_eq(quire_ucx_accept(daemon_port, &ask, NULL, &there), QUIRE_OK);
}

static void stop(void) {
    here->ops->close(here, false);
    quire_ucx_port_destroy(&daemon_port);
}

static uint8_t *put(void) {
    uint8_t *bytes = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t sent = 0;
    memset(bytes, 7, BYTES);
    UNTIL(here->ops->send_bulk(here, NULL, 0, bytes, BYTES, &sent, why) == QUIRE_OK);
    cr_assert_eq(sent, BYTES);
    return bytes;
}

static bool has_come(void) {
    const uint8_t *bytes;
    size_t size;
    return quire_ucx_peek(there, &bytes, &size) == QUIRE_UCX_BULK;
}

/* The daemon has answered and taken nothing of the bytes: they are not read any more, though the daemon asks for them afterwards. */
Test(client_ucx, an_early_answer, .init = start, .fini = stop, .timeout = 60) {
    static uint8_t came[BYTES];
    const struct iovec place = {.iov_base = came, .iov_len = BYTES};
    uint8_t *bytes = put();
    UNTIL(has_come());
    here->ops->let_go_of(here, bytes + BYTES, BYTES);
    cr_assert_eq(quire_ucx_sending(ucx_of(here)->wire), 1, "that was not about other bytes");
    here->ops->let_go_of(here, bytes, BYTES);
    munmap(bytes, BYTES);
    cr_assert_null(ucx_of(here)->outs);
    quire_ucx_receive(there, &place, 1);
    UNTIL(quire_ucx_received(there) != QUIRE_PENDING);
    cr_assert_eq(quire_ucx_received(there), QUIRE_DISCONNECTED, "the connection was given up for it");
}

/* The daemon has taken them, or does not want them: that UCX hears so later than the answer comes is no reason to give the connection up. */
Test(client_ucx, an_answer_in_time, .init = start, .fini = stop, .timeout = 60) {
    static uint8_t came[BYTES];
    const struct iovec place = {.iov_base = came, .iov_len = BYTES};
    for (int dropped = 0; dropped < 2; dropped++) {
        uint8_t *bytes = put();
        UNTIL(has_come());
        if (dropped) {
            quire_ucx_drop(there);
        } else {
            quire_ucx_receive(there, &place, 1);
            UNTIL(quire_ucx_received(there) == QUIRE_OK);
        }
        quire_ucx_progress(daemon_port);
        here->ops->let_go_of(here, bytes, BYTES);
        cr_assert_null(ucx_of(here)->outs);
        cr_assert_not_null(ucx_of(here)->wire);
        munmap(bytes, BYTES);
    }
}
