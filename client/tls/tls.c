/*
 * TLS for libquire, an object of its own that is loaded when a "tls://host:port" is opened: TCP, and proto/tls over it.
 */
#include "proto/tls/tls.h"
#include "client/plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct tls_transport {
    struct transport transport; /* first */
    struct quire_tls *tls;
    bool stands;
    char peer[128]; /* for people */
};

static const struct transport_ops tls_ops;

static struct tls_transport *tls_of(struct transport *transport) { return (struct tls_transport *)(void *)transport; }

/* ---- life ------------------------------------------------------------------------------------------------------------------- */
static enum quire_status dial(struct tls_transport *tls, const struct quire_address *to, struct transport_why why) {
    tls->transport.fd = socket(to->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = tls->transport.fd >= 0 ? connect(tls->transport.fd, (const struct sockaddr *)&to->at, to->at_bytes) : -1;
    if (rc != 0 && errno != EINPROGRESS) {
        return plugin_say(why, tls->transport.fd < 0 ? QUIRE_SYSTEM : QUIRE_DISCONNECTED, "no quired at %s: %s", tls->peer,
                          strerrordesc_np(errno));
    }
    quire_tls_prepare_socket(tls->transport.fd);
    return QUIRE_OK;
}

static enum quire_status prepare(struct tls_transport *tls, const char *host, const struct transport_settings *settings,
                                 struct transport_why why) {
    char text[QUIRE_TLS_WHY_BYTES] = "";
    struct quire_tls_settings *made = NULL;
    const struct quire_tls_files files = {
        .certificate = settings->tls_certificate,
        .key = settings->tls_key,
        .authorities = settings->tls_authorities,
    };
    enum quire_status status = quire_tls_settings_create(false, &files, &made, text);
    if (status != QUIRE_OK) {
        return plugin_say(why, status, "%s", text);
    }
    status = quire_tls_create(made, tls->transport.fd, host, &tls->tls);
    quire_tls_settings_destroy(&made);
    return status == QUIRE_OK ? QUIRE_OK : plugin_say(why, status, "out of memory for a connection");
}

static void tls_close(struct transport *transport, bool forked) {
    struct tls_transport *tls = tls_of(transport);
    quire_tls_destroy(&tls->tls, forked);
    if (transport->fd >= 0) {
        close(transport->fd);
    }
    free(tls);
}

static enum quire_status tls_connect(const char *full, const struct transport_settings *settings, uint32_t attempt, struct transport **out,
                                     struct transport_why why) {
    struct quire_address to;
    struct tls_transport *tls = calloc(1, sizeof *tls);
    enum quire_status status = tls != NULL ? quire_address_choose(full, attempt, &to) : QUIRE_NO_MEMORY;
    if (status != QUIRE_OK) {
        free(tls);
        return plugin_say(why, status, status == QUIRE_NO_MEMORY ? "out of memory for a connection" : "it has no address");
    }
    tls->transport.ops = &tls_ops;
    tls->transport.fd = -1;
    snprintf(tls->peer, sizeof tls->peer, "%.40s:%s", to.host, to.port);
    status = dial(tls, &to, why);
    status = status == QUIRE_OK ? prepare(tls, to.host, settings, why) : status;
    if (status != QUIRE_OK) {
        tls_close(&tls->transport, true);
        return status;
    }
    tls->transport.wants_out = true; /* until it is connected */
    *out = &tls->transport;
    return QUIRE_OK;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------ */
static enum quire_status settle(struct tls_transport *tls, enum quire_status status, struct transport_why why) {
    tls->transport.wants_out = status == QUIRE_PENDING && quire_tls_wants_out(tls->tls);
    tls->transport.more = quire_tls_has_more(tls->tls);
    return status == QUIRE_OK || status == QUIRE_PENDING ? status
                                                         : plugin_say(why, status, "quired at %s: %s", tls->peer, quire_tls_why(tls->tls));
}

/* Until the connection stands. */
static enum quire_status stand(struct tls_transport *tls, struct transport_why why) {
    int error = 0;
    socklen_t size = sizeof error;
    if (tls->stands) {
        return QUIRE_OK;
    }
    if (getsockopt(tls->transport.fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0) {
        return plugin_say(why, QUIRE_DISCONNECTED, "no quired at %s: %s", tls->peer, strerrordesc_np(error));
    }
    enum quire_status status = settle(tls, quire_tls_handshake(tls->tls), why);
    tls->stands = status == QUIRE_OK;
    return status;
}

static enum quire_status tls_receive(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why) {
    struct tls_transport *tls = tls_of(transport);
    QUIRE_FORWARD(stand(tls, why));
    return settle(tls, quire_tls_read(tls->tls, bytes, size, got), why);
}

static enum quire_status tls_send(struct transport *transport, const void *bytes, size_t size, size_t *sent, struct transport_why why) {
    struct tls_transport *tls = tls_of(transport);
    QUIRE_FORWARD(stand(tls, why));
    bool more = transport->more;
    enum quire_status status = settle(tls, quire_tls_write(tls->tls, bytes, size, sent), why);
    transport->more = more; /* sending takes nothing of what came */
    return status;
}

static const struct transport_ops tls_ops = {.version = TRANSPORT_VERSION,
                                             .scheme = "tls",
                                             .wire = true,
                                             .resolve = plugin_resolve,
                                             .connect = tls_connect,
                                             .receive = tls_receive,
                                             .send = tls_send,
                                             .close = tls_close};

__attribute__((visibility("default"))) const struct transport_ops *quire_transport(void);
const struct transport_ops *quire_transport(void) { return &tls_ops; }
