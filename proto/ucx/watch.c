/*
 * Whether the other end's host is still there, as the system finds out. UCX hands bytes to TCP and calls them sent: if the host vanishes while some
 * are on their way, TCP repeats them for a quarter of an hour and probes nothing meanwhile, so that the probes which UCX asks for tell nothing. The
 * connection by which the two found each other carries nothing after that, and lasts as long as the endpoint: there probes always go out. It is
 * UCX's, so it is only looked at, and known by its cookie: the descriptor's number may be another's by now.
 */
#include "proto/ucx/internal.h"

#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

static bool is_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b) {
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET6) {
        struct sockaddr_in6 six[2];
        memcpy(&six[0], a, sizeof six[0]);
        memcpy(&six[1], b, sizeof six[1]);
        return six[0].sin6_port == six[1].sin6_port && memcmp(&six[0].sin6_addr, &six[1].sin6_addr, sizeof six[0].sin6_addr) == 0;
    }
    struct sockaddr_in four[2];
    memcpy(&four[0], a, sizeof four[0]);
    memcpy(&four[1], b, sizeof four[1]);
    return a->ss_family == AF_INET && four[0].sin_port == four[1].sin_port && four[0].sin_addr.s_addr == four[1].sin_addr.s_addr;
}

static bool is_from(int fd, const struct sockaddr_storage *from) {
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0 && is_same_address(&peer, from);
}

static bool cookie_of(int fd, uint64_t *cookie) {
    socklen_t bytes = sizeof *cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &bytes) == 0;
}

/* Asked after five seconds and then every two, three times in vain. */
static bool probe(int fd) {
    static const struct {
        int level, name, value;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, 5},
                   {IPPROTO_TCP, TCP_KEEPINTVL, 2},
                   {IPPROTO_TCP, TCP_KEEPCNT, 3},
                   {IPPROTO_TCP, TCP_USER_TIMEOUT, QUIRE_UCX_DEAD_MS}};
    bool set = true;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        set = setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value) == 0 && set;
    }
    return set;
}

void ucx_watch(struct quire_ucx_wire *wire, const struct sockaddr_storage *from) {
    DIR *open = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (open != NULL && wire->watched < 0 && (entry = readdir(open)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (*end == '\0' && end != entry->d_name && is_from((int)fd, from) && cookie_of((int)fd, &wire->watched_cookie) && probe((int)fd)) {
            wire->watched = (int)fd;
        }
    }
    if (open != NULL) {
        closedir(open);
    }
}

bool quire_ucx_lives(const struct quire_ucx_wire *wire) {
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    uint64_t cookie;
    if (wire->watched < 0) {
        return true;
    }
    return cookie_of(wire->watched, &cookie) && cookie == wire->watched_cookie &&
           getsockopt(wire->watched, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 && info.tcpi_state == TCP_ESTABLISHED;
}
