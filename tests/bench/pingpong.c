#include "tests/bench/pingpong.h"
#include "tests/bench/bench.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1 << 20 };

static int move_all(int fd, char *buffer, size_t bytes, bool out) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = out ? send(fd, buffer + done, bytes - done, MSG_NOSIGNAL) : recv(fd, buffer + done, bytes - done, 0);
        if (n <= 0) {
            return 1;
        }
        done += (size_t)n;
    }
    return 0;
}

static void answer_for_ever(int fd, size_t ask_bytes, size_t answer_bytes) {
    char *buffer = calloc(1, MESSAGE_MAX);
    while (buffer != NULL && move_all(fd, buffer, ask_bytes, false) == 0 && move_all(fd, buffer, answer_bytes, true) == 0) {
    }
    _exit(0);
}

int pingpong_start(struct pingpong *pingpong, size_t ask_bytes, size_t answer_bytes) {
    int fds[2];
    if (ask_bytes > MESSAGE_MAX || answer_bytes > MESSAGE_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        int size = MESSAGE_MAX;
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    pingpong->peer = fork();
    if (pingpong->peer == 0) {
        close(fds[0]);
        answer_for_ever(fds[1], ask_bytes, answer_bytes);
    }
    close(fds[1]);
    pingpong->fd = fds[0];
    return pingpong->peer < 0;
}

double pingpong_round(struct pingpong *pingpong, size_t ask_bytes, size_t answer_bytes) {
    static char buffer[MESSAGE_MAX];
    uint64_t start = bench_now_ns();
    if (move_all(pingpong->fd, buffer, ask_bytes, true) != 0 || move_all(pingpong->fd, buffer, answer_bytes, false) != 0) {
        return -1;
    }
    return (double)(bench_now_ns() - start) / 1e9;
}

void pingpong_stop(struct pingpong *pingpong) {
    close(pingpong->fd);
    waitpid(pingpong->peer, NULL, 0);
}
