#include "tests/bench/net.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_BYTES = 2 << 20 };

struct order {
    uint32_t bytes, n;
};

static bool read_whole(SSL *ssl, void *to, size_t size) {
    size_t got;
    for (size_t at = 0; at < size; at += got) {
        if (SSL_read_ex(ssl, (uint8_t *)to + at, size - at, &got) != 1) {
            return false;
        }
    }
    return true;
}

/* The other process: does what it is told until nobody tells it any more. */
static void serve(int listener, const char *certificate) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    uint8_t *memory = calloc(1, MOST_BYTES);
    int fd = accept(listener, NULL, NULL);
    struct order order;
    if (ctx == NULL || memory == NULL || fd < 0 || SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, certificate, SSL_FILETYPE_PEM) != 1) {
        _exit(1);
    }
    SSL *ssl = SSL_new(ctx);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_accept(ssl) != 1) {
        _exit(1);
    }
    while (read_whole(ssl, &order, sizeof order) && order.bytes <= MOST_BYTES) {
        for (uint32_t i = 0; i < order.n; i++) {
            if (SSL_write(ssl, memory, (int)order.bytes) != (int)order.bytes) {
                _exit(1);
            }
        }
    }
    _exit(0);
}

static bool reach(struct tls_loop *loop, const struct sockaddr_in *at) {
    loop->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    loop->ctx = SSL_CTX_new(TLS_client_method());
    if (loop->fd < 0 || loop->ctx == NULL || connect(loop->fd, (const struct sockaddr *)at, sizeof *at) != 0) {
        return false;
    }
    SSL_CTX_set_min_proto_version(loop->ctx, TLS1_3_VERSION);
    loop->ssl = SSL_new(loop->ctx);
    return loop->ssl != NULL && SSL_set_fd(loop->ssl, loop->fd) == 1 && SSL_connect(loop->ssl) == 1;
}

int tls_loop_start(const struct bench_case *c, const char *certificate, struct tls_loop *loop) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *loop = (struct tls_loop){.fd = -1};
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &size) != 0) {
        return bench_fail(c, "cannot listen on loopback");
    }
    loop->writer = fork();
    if (loop->writer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, certificate);
    }
    close(listener);
    return loop->writer > 0 && reach(loop, &at) ? 0 : bench_fail(c, "the loop that is the ceiling could not be set up");
}

int tls_loop_read(const struct bench_case *c, struct tls_loop *loop, uint8_t *memory, uint32_t bytes, uint32_t n, double *seconds) {
    const struct order order = {bytes, n};
    uint64_t start = bench_now_ns();
    bool good = SSL_write(loop->ssl, &order, sizeof order) == (int)sizeof order;
    for (uint32_t i = 0; i < n && good; i++) {
        good = read_whole(loop->ssl, memory, bytes);
    }
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return good ? 0 : bench_fail(c, "the loop that is the ceiling broke off");
}

void tls_loop_stop(struct tls_loop *loop) {
    SSL_free(loop->ssl);
    SSL_CTX_free(loop->ctx);
    if (loop->fd >= 0) {
        close(loop->fd);
    }
    if (loop->writer > 0) {
        kill(loop->writer, SIGKILL);
        waitpid(loop->writer, NULL, 0);
    }
}
