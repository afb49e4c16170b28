/* A TLS stream over loopback: what a caller hands over at once crosses the network in as few pieces as it can. */
#include "proto/base/base.h"
#include "proto/tls/tls.h"
#include "tests/certificate.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORD = 16 << 10, RECORDS = 64, BYTES = RECORDS * RECORD, BURST = 8 * RECORD };

struct end {
    int fd;
    struct quire_tls *tls;
};
static struct end daemon_end, client_end;
static char certificate[] = "/tmp/quire-test-tls-XXXXXX";
static uint8_t sent[BYTES], came[BYTES];

static void make_end(struct end *end, bool is_daemon, int fd) {
    char why[QUIRE_TLS_WHY_BYTES] = "";
    struct quire_tls_settings *settings = NULL;
    const struct quire_tls_files files = {.certificate = is_daemon ? certificate : NULL, .authorities = is_daemon ? NULL : certificate};
    cr_assert_eq(quire_tls_settings_create(is_daemon, &files, &settings, why), QUIRE_OK, "%s", why);
    end->fd = fd;
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    quire_tls_prepare_socket(fd);
    cr_assert_eq(quire_tls_create(settings, fd, is_daemon ? NULL : "127.0.0.1", &end->tls), QUIRE_OK);
    quire_tls_settings_destroy(&settings);
}

static void start(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), file = mkstemp(certificate);
    cr_assert(file >= 0 && close(file) == 0 && certificate_write(certificate));
    cr_assert(bind(listener, (struct sockaddr *)&at, size) == 0 && listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)&at, &size) == 0 && connect(fd, (struct sockaddr *)&at, size) == 0);
    make_end(&daemon_end, true, accept(listener, NULL, NULL));
    make_end(&client_end, false, fd);
    close(listener);
    enum quire_status one = QUIRE_PENDING, other = QUIRE_PENDING;
    while (one == QUIRE_PENDING || other == QUIRE_PENDING) {
        one = one == QUIRE_PENDING ? quire_tls_handshake(client_end.tls) : one;
        other = other == QUIRE_PENDING ? quire_tls_handshake(daemon_end.tls) : other;
    }
    cr_assert(one == QUIRE_OK && other == QUIRE_OK, "%s / %s", quire_tls_why(client_end.tls), quire_tls_why(daemon_end.tls));
    for (size_t i = 0; i < BYTES; i++) {
        sent[i] = (uint8_t)(i * 13 + (i >> 10));
    }
}

static void stop(void) {
    quire_tls_destroy(&client_end.tls, false);
    quire_tls_destroy(&daemon_end.tls, false);
    close(client_end.fd);
    close(daemon_end.fd);
    unlink(certificate);
}

static size_t read_some(struct end *end, size_t at) {
    size_t got = 0;
    enum quire_status status = quire_tls_read(end->tls, came + at, BYTES - at, &got);
    cr_assert(status == QUIRE_OK || status == QUIRE_PENDING, "%s", quire_tls_why(end->tls));
    return status == QUIRE_OK ? got : 0;
}

static uint32_t pieces_sent(const struct end *end) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    cr_assert_eq(getsockopt(end->fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_data_segs_out;
}

/* Says so much at once, in calls of at most `step` bytes, and the other end reads it. */
static void say(struct end *from, struct end *to, size_t begin, size_t end, size_t step) {
    for (size_t out = begin, in = begin; in < end;) {
        size_t n = 0, some = quire_min_u64(step, end - out);
        if (out < end && quire_tls_write(from->tls, sent + out, some, out + some < end, &n) == QUIRE_OK) {
            out += n;
            continue;
        }
        struct pollfd fds[2] = {{.fd = to->fd, .events = POLLIN}, {.fd = from->fd, .events = (short)(out < end ? POLLOUT : 0)}};
        size_t got = read_some(to, in);
        in += got;
        cr_assert(got > 0 || in == end || poll(fds, 2, 10000) > 0, "%zu of %zu bytes came, and no more", in, out);
    }
}

/* All of it, eight records at a time; how many pieces on the network a record took. */
static double move_all(struct end *from, struct end *to, size_t step) {
    uint32_t before = pieces_sent(from);
    memset(came, 0, sizeof came);
    for (size_t at = 0; at < BYTES; at += BURST) {
        say(from, to, at, at + BURST, step);
    }
    cr_assert_eq(memcmp(sent, came, BYTES), 0);
    return (double)(pieces_sent(from) - before) / RECORDS;
}

/* A block, and a reply that is put together from many pieces: both cross in pieces larger than a TLS record, either way. */
Test(daemon_tls, few_pieces, .init = start, .fini = stop, .timeout = 60) {
    cr_expect_lt(move_all(&daemon_end, &client_end, BURST), 0.7);
    cr_expect_lt(move_all(&daemon_end, &client_end, RECORD), 0.7);
    cr_expect_lt(move_all(&client_end, &daemon_end, BURST), 0.7);
}
