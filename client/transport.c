/* Which transport an address asks for; those over wires come as objects of their own, so that libquire needs no library but libc. */
#include "client/transport.h"

#include "client/internal.h"

#include <dlfcn.h>
#include <stdio.h>

static enum quire_status unknown(const char *address) {
    return error_set(QUIRE_INVALID, "address '%.64s' is none of unix:///path, a plain path, tls://host:port, ucx://host:port", address);
}

/* By its name alone: found beside libquire (its run path) or where the system looks. It stays loaded. */
static enum quire_status load(const char *scheme, const struct transport_ops **ops) {
    char name[64];
    snprintf(name, sizeof(name), "libquire_%s.so.0", scheme);
    void *object = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    transport_plugin *plugin = NULL;
    if (object != NULL) {
        *(void **)&plugin = dlsym(object, TRANSPORT_SYMBOL);
    }
    const struct transport_ops *found = plugin != NULL ? plugin() : NULL;
    if (found == NULL || found->version != TRANSPORT_VERSION) {
        const char *why = object == NULL ? dlerror() : "it is of another version of Quire";
        return error_set(QUIRE_UNSUPPORTED, "%s:// needs %s, which cannot be loaded: %.120s", scheme, name, why);
    }
    *ops = found;
    return QUIRE_OK;
}

enum quire_status transport_find(const char *address, const struct transport_ops **ops, const char **rest) {
    const char *end = strstr(address, "://");
    *ops = &transport_unix;
    *rest = end != NULL ? end + 3 : address;
    if (end == NULL) {
        return QUIRE_OK;
    }
    if (strncmp(address, "tls://", 6) == 0) {
        return load("tls", ops);
    }
    if (strncmp(address, "ucx://", 6) == 0) {
        return load("ucx", ops);
    }
    return strncmp(address, "unix:///", 8) == 0 ? QUIRE_OK : unknown(address);
}

int transport_take_fd(struct transport *transport) {
    if (transport == NULL || transport->n_fds == 0) {
        return -1;
    }
    int fd = transport->fds[0];
    memmove(transport->fds, transport->fds + 1, --transport->n_fds * sizeof(transport->fds[0]));
    return fd;
}
