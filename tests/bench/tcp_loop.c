#include "tests/bench/tcp_loop.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_BYTES = 2 << 20, PIECES = 16 };

struct order {
    uint32_t bytes, n;
};

static bool read_whole(int fd, void *to, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t got = recv(fd, (uint8_t *)to + at, size - at, 0);
        if (got <= 0) {
            return false;
        }
        at += (size_t)got;
    }
    return true;
}

static bool write_whole(int fd, const void *from, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t put = send(fd, (const uint8_t *)from + at, size - at, MSG_NOSIGNAL);
        if (put <= 0) {
            return false;
        }
        at += (size_t)put;
    }
    return true;
}

/* The other process: does what it is told until nobody tells it any more. */
static void serve(int listener) {
    uint8_t *memory = malloc((size_t)PIECES * MOST_BYTES);
    int fd = accept(listener, NULL, NULL);
    struct order order;
    if (memory == NULL || fd < 0) {
        _exit(1);
    }
    memset(memory, 1, (size_t)PIECES * MOST_BYTES);
    while (read_whole(fd, &order, sizeof order) && order.bytes <= MOST_BYTES) {
        for (uint32_t i = 0; i < order.n; i++) {
            if (!write_whole(fd, memory + (size_t)(i % PIECES) * MOST_BYTES, order.bytes)) {
                _exit(1);
            }
        }
    }
    _exit(0);
}

int tcp_loop_start(const struct bench_case *c, struct tcp_loop *loop) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *loop = (struct tcp_loop){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    bool good = listener >= 0 && bind(listener, (struct sockaddr *)&at, size) == 0 && listen(listener, 1) == 0 &&
                getsockname(listener, (struct sockaddr *)&at, &size) == 0;
    loop->writer = good ? fork() : -1;
    if (loop->writer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
    }
    good = good && loop->writer > 0 && connect(loop->fd, (struct sockaddr *)&at, size) == 0;
    if (listener >= 0) {
        close(listener);
    }
    return good ? 0 : bench_fail(c, "cannot stream over loopback");
}

int tcp_loop_read(const struct bench_case *c, const struct tcp_loop *loop, uint8_t *memory, uint32_t bytes, uint32_t n, double *seconds) {
    const struct order order = {bytes, n};
    uint64_t start = bench_now_ns();
    bool good = write_whole(loop->fd, &order, sizeof order);
    for (uint32_t i = 0; i < n && good; i++) {
        good = read_whole(loop->fd, memory + (size_t)i * bytes, bytes);
    }
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return good ? 0 : bench_fail(c, "the stream over loopback broke off");
}

void tcp_loop_stop(struct tcp_loop *loop) {
    if (loop->fd >= 0) {
        close(loop->fd);
    }
    if (loop->writer > 0) {
        kill(loop->writer, SIGKILL);
        waitpid(loop->writer, NULL, 0);
    }
}
