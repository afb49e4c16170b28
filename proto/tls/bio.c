#include "proto/tls/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int fd_of(BIO *bio) { return (int)(intptr_t)BIO_get_data(bio); }

static int bio_write(BIO *bio, const char *bytes, int size) {
    ssize_t sent;
    BIO_clear_retry_flags(bio);
    do {
        sent = send(fd_of(bio), bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN) {
        BIO_set_retry_write(bio);
    }
    return (int)sent;
}

static int bio_read(BIO *bio, char *bytes, int size) {
    ssize_t got;
    BIO_clear_retry_flags(bio);
    do {
        got = recv(fd_of(bio), bytes, (size_t)size, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        BIO_set_retry_read(bio);
    }
    return (int)got;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* nothing is held back here */
}

static void make_method(void) {
    int type = BIO_get_new_index();
    BIO_METHOD *made = type > 0 ? BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "quire socket") : NULL;
    if (made != NULL && BIO_meth_set_write(made, bio_write) == 1 && BIO_meth_set_read(made, bio_read) == 1 &&
        BIO_meth_set_ctrl(made, bio_ctrl) == 1) {
        method = made;
    } else {
        BIO_meth_free(made);
    }
}

const BIO_METHOD *quire_tls_bio_method(void) {
    pthread_once(&once, make_method);
    return method;
}

/* Asked after five seconds of silence and then every two, three times in vain; what was sent must be taken in the same time. */
void quire_tls_prepare_socket(int fd) {
    const struct {
        int level, name, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 5},
                   {IPPROTO_TCP, TCP_KEEPINTVL, 2}, {IPPROTO_TCP, TCP_KEEPCNT, 3}, {IPPROTO_TCP, TCP_USER_TIMEOUT, QUIRE_TLS_DEAD_MS}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value); /* where one is not known, later */
    }
}
