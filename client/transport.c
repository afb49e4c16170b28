/* Which transport an address asks for. */
#include "client/transport.h"

#include "client/internal.h"

static const struct transport_ops *const transports[] = {&transport_unix};

static enum quire_status unknown(const char *address) {
    return error_set(QUIRE_INVALID, "address '%.64s' is not unix:///path: a URL needs that scheme and an absolute path", address);
}

enum quire_status transport_find(const char *address, const struct transport_ops **ops, const char **rest) {
    const char *end = strstr(address, "://");
    if (end == NULL) {
        *ops = &transport_unix;
        *rest = address;
        return QUIRE_OK;
    }
    size_t length = (size_t)(end - address);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(transports); i++) {
        if (strlen(transports[i]->scheme) == length && memcmp(transports[i]->scheme, address, length) == 0) {
            *ops = transports[i];
            *rest = end + 3;
            return *ops != &transport_unix || **rest == '/' ? QUIRE_OK : unknown(address);
        }
    }
    return unknown(address);
}

int transport_take_fd(struct transport *transport) {
    if (transport == NULL || transport->n_fds == 0) {
        return -1;
    }
    int fd = transport->fds[0];
    memmove(transport->fds, transport->fds + 1, --transport->n_fds * sizeof(transport->fds[0]));
    return fd;
}
