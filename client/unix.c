/* The local socket: SOCK_STREAM, with descriptors passed beside the bytes. */
#include "client/internal.h"
#include "client/transport.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static enum quire_status say(struct transport_why why, enum quire_status status, const char *text) {
    snprintf(why.text, why.bytes, "%s", text);
    return status;
}

static enum quire_status unix_resolve(const char *address, char *full, struct transport_why why) {
    char folder[PATH_MAX] = "";
    if (address[0] != '/' && getcwd(folder, sizeof(folder)) == NULL) {
        return say(why, QUIRE_SYSTEM, "the folder that it is relative to is gone: give an absolute path");
    }
    /* Made absolute now: the program may change its folder before the client connects again. */
    size_t most = sizeof(((struct sockaddr_un *)0)->sun_path);
    int length = snprintf(full, most, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", address);
    if (length < 0 || (size_t)length >= most) {
        snprintf(why.text, why.bytes, "the socket's path is longer than %zu bytes", most - 1);
        return QUIRE_TOO_LARGE;
    }
    return QUIRE_OK;
}

static enum quire_status unix_connect(const char *path, const struct transport_settings *settings, uint32_t attempt, struct transport **out,
                                      struct transport_why why) {
    (void)settings;
    (void)attempt;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    struct transport *transport = calloc(1, sizeof(*transport));
    if (transport == NULL) {
        return say(why, QUIRE_NO_MEMORY, "out of memory for a connection");
    }
    transport->ops = &transport_unix;
    transport->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (transport->fd >= 0 && connect(transport->fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        *out = transport;
        return QUIRE_OK;
    }
    int error = errno;
    bool no_socket = transport->fd < 0;
    if (!no_socket) {
        close(transport->fd);
    }
    free(transport);
    if (no_socket) {
        snprintf(why.text, why.bytes, "no socket: %s", strerrordesc_np(error));
        return QUIRE_SYSTEM;
    }
    snprintf(why.text, why.bytes, "no quired at %.100s: %s; start it, or set QUIRE_SOCKET", path, strerrordesc_np(error));
    return error == EAGAIN ? QUIRE_RETRY : error == EACCES || error == EPERM ? QUIRE_DENIED : QUIRE_DISCONNECTED;
}

static void take_descriptors(struct transport *transport, struct msghdr *message) {
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof(int), sizeof(fd));
            if (transport->n_fds < TRANSPORT_FDS_MAX) {
                transport->fds[transport->n_fds++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

static enum quire_status unix_receive(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(TRANSPORT_FDS_MAX * sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n;
    do {
        n = recvmsg(transport->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        return QUIRE_PENDING;
    }
    if (n <= 0) {
        return say(why, QUIRE_DISCONNECTED, "quired closed the connection");
    }
    take_descriptors(transport, &message);
    *got = (size_t)n;
    return QUIRE_OK;
}

static enum quire_status unix_send(struct transport *transport, const void *bytes, size_t size, size_t *sent, struct transport_why why) {
    ssize_t n;
    do {
        n = send(transport->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        return QUIRE_PENDING;
    }
    if (n < 0) {
        return say(why, QUIRE_DISCONNECTED, "quired closed the connection");
    }
    *sent = (size_t)n;
    return QUIRE_OK;
}

/* A parent's session outlives the child's copy of the descriptor: closing tells the daemon nothing while another one is open. */
static void unix_close(struct transport *transport, bool forked) {
    (void)forked;
    while (transport->n_fds > 0) {
        close(transport->fds[--transport->n_fds]);
    }
    close(transport->fd);
    free(transport);
}

const struct transport_ops transport_unix = {.version = TRANSPORT_VERSION,
                                             .scheme = "unix",
                                             .resolve = unix_resolve,
                                             .connect = unix_connect,
                                             .receive = unix_receive,
                                             .send = unix_send,
                                             .close = unix_close};
