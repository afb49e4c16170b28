/*
 * UCX for libquire, an object of its own that is loaded when a "ucx://host:port" is opened: proto/ucx, one port a connection.
 *
 * Frames go and come as messages, which the client sees as a stream; bulk bytes go from the caller's memory, and come to where they belong.
 */
#include "proto/ucx/ucx.h"
#include "client/plugin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LET_GO_NS (100 * QUIRE_NS_PER_MS)
#define STOP_NS (2 * QUIRE_NS_PER_S)

/* Bulk bytes of the caller's that UCX may still read. */
struct ucx_out {
    struct ucx_out **link, *next;
    const uint8_t *bytes;
};

struct ucx_transport {
    struct transport transport; /* first */
    struct quire_ucx_port *port;
    struct quire_ucx_wire *wire; /* NULL: stopped */
    struct quire_ucx_remote regions[TRANSPORT_REGIONS];
    struct ucx_out *outs;
    uint32_t gets;               /* that are under way */
    size_t receiving;            /* bulk bytes that are on their way */
    uint8_t *spill;              /* they go here: they have more places than one call takes */
    size_t spill_at, spill_left; /* of them, when they are here */
    char peer[128];              /* for people */
};

static const struct transport_ops ucx_ops;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * QUIRE_NS_PER_S + (uint64_t)now.tv_nsec;
}

static struct ucx_transport *ucx_of(struct transport *transport) { return (struct ucx_transport *)(void *)transport; }

/* ---- life ------------------------------------------------------------------------------------------------------------------- */
/* Keys go when nothing uses them any more, and before what they are for, if the other end lives: else that is ended first. */
static void leave_regions(struct ucx_transport *ucx) {
    for (uint32_t i = 0; i < TRANSPORT_REGIONS; i++) {
        quire_ucx_leave(&ucx->regions[i]);
    }
}

/* What is under way is cancelled: UCX lets go of it in some turns; if it does not, it ends with its port. */
static void ucx_stop(struct transport *transport) {
    struct ucx_transport *ucx = ucx_of(transport);
    if (ucx->wire == NULL) {
        return;
    }
    if (ucx->gets == 0) {
        leave_regions(ucx);
    }
    quire_ucx_close(ucx->wire);
    for (uint64_t until_ns = now_ns() + STOP_NS; !quire_ucx_closed(ucx->wire) && now_ns() < until_ns;) {
        quire_ucx_progress(ucx->port);
    }
    leave_regions(ucx);
    if (quire_ucx_closed(ucx->wire)) {
        quire_ucx_free(&ucx->wire);
    } else {
        ucx->wire = NULL;
        quire_ucx_port_destroy(&ucx->port);
    }
}

static void out_ended(void *arg) {
    struct ucx_out *out = arg;
    *out->link = out->next;
    if (out->next != NULL) {
        out->next->link = out->link;
    }
    free(out);
}

static void ucx_close(struct transport *transport, bool forked) {
    struct ucx_transport *ucx = ucx_of(transport);
    if (ucx->port != NULL && forked) {
        quire_ucx_port_forget(&ucx->port);
    } else if (ucx->port != NULL) {
        ucx_stop(transport);
        quire_ucx_port_destroy(&ucx->port);
    }
    if (ucx->transport.fd >= 0) {
        close(ucx->transport.fd);
    }
    while (ucx->outs != NULL) {
        out_ended(ucx->outs); /* UCX is no more, and did not say so */
    }
    free(ucx->spill);
    free(ucx);
}

/* A context of its own costs a millisecond, and attempts are milliseconds apart at least: that is less than to share one, and to know when nobody in
   which process needs it any more. */
static enum quire_status ucx_connect(const char *full, const struct transport_settings *settings, uint32_t attempt, struct transport **out,
                                     struct transport_why why) {
    char text[QUIRE_UCX_WHY_BYTES] = "out of memory for a connection";
    struct quire_address to;
    struct ucx_transport *ucx = calloc(1, sizeof *ucx);
    if (ucx != NULL) {
        ucx->transport.fd = -1;
    }
    enum quire_status status = ucx != NULL ? quire_address_choose(full, attempt, &to) : QUIRE_NO_MEMORY;
    bool here = status == QUIRE_OK && quire_ucx_is_loopback((const struct sockaddr *)&to.at);
    status = status == QUIRE_OK ? quire_ucx_port_create((here ? QUIRE_UCX_LOOPBACK : 0) | (settings->may_attach ? QUIRE_UCX_RMA : 0), NULL,
                                                        &ucx->port, text)
                                : status;
    status =
        status == QUIRE_OK ? quire_ucx_connect(ucx->port, (const struct sockaddr *)&to.at, to.at_bytes, ucx, &ucx->wire, text) : status;
    if (status == QUIRE_OK) {
        ucx->transport.fd = fcntl(quire_ucx_fd(ucx->port), F_DUPFD_CLOEXEC, 0); /* somebody may poll it while the port ends */
        status = ucx->transport.fd >= 0 ? QUIRE_OK : QUIRE_SYSTEM;
    }
    if (status != QUIRE_OK) {
        if (ucx != NULL) {
            ucx_close(&ucx->transport, false);
        }
        return plugin_say(why, status, "%s", text);
    }
    ucx->transport.ops = &ucx_ops;
    ucx->transport.more = true; /* its descriptor tells nothing before the first turn */
    ucx->transport.front_bytes = quire_ucx_front_bytes(ucx->wire);
    snprintf(ucx->peer, sizeof ucx->peer, "%.40s:%s", to.host, to.port);
    *out = &ucx->transport;
    return QUIRE_OK;
}

/* ---- what comes --------------------------------------------------------------------------------------------------------------- */
static void turn(struct ucx_transport *ucx) {
    ucx->transport.moved = quire_ucx_progress(ucx->port) || ucx->transport.moved;
    while (quire_ucx_ready(ucx->port) != NULL) {
    }
}

/* Nothing is there: the descriptor tells, unless something came in this moment. */
static bool sleeps(struct ucx_transport *ucx) {
    bool armed = quire_ucx_arm(ucx->port);
    ucx->transport.more = !armed;
    return armed;
}

static enum quire_status failed(const struct ucx_transport *ucx, struct transport_why why) {
    const char *text = "the connection was ended";
    enum quire_status status = ucx->wire != NULL ? quire_ucx_status(ucx->wire, &text) : QUIRE_DISCONNECTED;
    return status == QUIRE_OK ? QUIRE_OK : plugin_say(why, status, "quired at %s: %s", ucx->peer, text);
}

static enum quire_status not_awaited(const struct ucx_transport *ucx, struct transport_why why) {
    return plugin_say(why, QUIRE_CORRUPT, "quired at %s: bulk bytes and frames came in disorder", ucx->peer);
}

static enum quire_status ucx_receive(struct transport *transport, void *bytes, size_t size, size_t *got, struct transport_why why) {
    struct ucx_transport *ucx = ucx_of(transport);
    bool turned = false;
    while (ucx->wire != NULL) {
        const uint8_t *from;
        size_t came;
        enum quire_ucx_kind kind = quire_ucx_peek(ucx->wire, &from, &came);
        if (kind == QUIRE_UCX_FRAMES) {
            *got = quire_min_u64(size, came);
            memcpy(bytes, from, *got);
            quire_ucx_take(ucx->wire, *got);
            transport->more = true;
            return QUIRE_OK;
        }
        if (kind == QUIRE_UCX_BULK) {
            return not_awaited(ucx, why);
        }
        QUIRE_FORWARD(failed(ucx, why));
        if (turned && sleeps(ucx)) {
            return QUIRE_PENDING;
        }
        turn(ucx);
        turned = true;
    }
    return failed(ucx, why);
}

/* The places for exactly so many bytes; 0: they hold less. */
static size_t cut(const struct iovec *places, size_t n, size_t bytes, struct iovec *to) {
    size_t used = 0;
    while (used < n && bytes > 0) {
        to[used] = (struct iovec){.iov_base = places[used].iov_base, .iov_len = quire_min_u64(places[used].iov_len, bytes)};
        bytes -= to[used++].iov_len;
    }
    return bytes == 0 ? used : 0;
}

static void drop_spill(struct ucx_transport *ucx) {
    free(ucx->spill);
    ucx->spill = NULL;
    ucx->spill_left = ucx->spill_at = 0;
}

/* Into the places in order, as far as they reach, or nowhere; how many. */
static size_t pour(const struct iovec *places, size_t n, const uint8_t *from, size_t size) {
    size_t poured = n == 0 ? size : 0;
    for (size_t i = 0; i < n && poured < size; i++) {
        size_t here = quire_min_u64(places[i].iov_len, size - poured);
        memcpy(places[i].iov_base, from + poured, here);
        poured += here;
    }
    return poured;
}

static size_t take_spill(struct ucx_transport *ucx, const struct iovec *places, size_t n) {
    size_t got = pour(places, n, ucx->spill + ucx->spill_at, ucx->spill_left);
    ucx->spill_at += got;
    ucx->spill_left -= got;
    if (ucx->spill_left == 0) {
        drop_spill(ucx);
    }
    return got;
}

static enum quire_status bulk_came(struct ucx_transport *ucx, const struct iovec *places, size_t n, size_t *got) {
    *got = ucx->receiving;
    ucx->transport.more = true;
    if (ucx->spill != NULL) {
        ucx->spill_left = ucx->receiving;
        *got = take_spill(ucx, places, n);
    }
    ucx->receiving = 0;
    return QUIRE_OK;
}

static enum quire_status begin_bulk(struct ucx_transport *ucx, const struct iovec *places, size_t n_places, size_t came,
                                    struct transport_why why) {
    struct iovec to[TRANSPORT_PLACES_MAX];
    if (n_places > TRANSPORT_PLACES_MAX) {
        return plugin_say(why, QUIRE_INVALID, "too many places for one call");
    }
    size_t n = cut(places, n_places, came, to);
    ucx->receiving = came;
    if (n_places == 0) {
        quire_ucx_drop(ucx->wire);
        return QUIRE_OK;
    }
    if (n == 0) {
        ucx->spill = malloc(came);
        if (ucx->spill == NULL) {
            return plugin_say(why, QUIRE_NO_MEMORY, "out of memory for what came");
        }
        to[0] = (struct iovec){.iov_base = ucx->spill, .iov_len = came};
        n = 1;
    }
    quire_ucx_receive(ucx->wire, to, n);
    return QUIRE_OK;
}

static enum quire_status ucx_receive_bulk(struct transport *transport, const struct iovec *places, size_t n_places, uint64_t left,
                                          size_t *got, struct transport_why why) {
    struct ucx_transport *ucx = ucx_of(transport);
    bool turned = false;
    while (ucx->wire != NULL) {
        const uint8_t *from;
        size_t came;
        if (ucx->spill_left > 0) {
            *got = take_spill(ucx, places, n_places);
            return QUIRE_OK;
        }
        if (ucx->receiving > 0 && !quire_ucx_receiving(ucx->wire) && quire_ucx_received(ucx->wire) == QUIRE_OK) {
            return bulk_came(ucx, places, n_places, got);
        }
        enum quire_ucx_kind kind = ucx->receiving > 0 ? QUIRE_UCX_NOTHING : quire_ucx_peek(ucx->wire, &from, &came);
        if (kind == QUIRE_UCX_BULK && came > left) {
            return not_awaited(ucx, why);
        }
        if (kind == QUIRE_UCX_FRAMES) { /* some come with them */
            *got = pour(places, n_places, from, quire_min_u64(came, left));
            quire_ucx_take(ucx->wire, *got);
            transport->more = true;
            return *got > 0 ? QUIRE_OK : not_awaited(ucx, why);
        }
        if (kind == QUIRE_UCX_BULK) {
            QUIRE_FORWARD(begin_bulk(ucx, places, n_places, came, why));
            continue;
        }
        QUIRE_FORWARD(failed(ucx, why));
        if (turned && sleeps(ucx)) {
            return QUIRE_PENDING;
        }
        turn(ucx);
        turned = true;
    }
    return failed(ucx, why);
}

static bool receives(const struct ucx_transport *ucx, const struct iovec *none) {
    (void)none;
    return quire_ucx_receiving(ucx->wire);
}

/* `left`: how many of some gets, as one number. */
static bool gets(const struct ucx_transport *ucx, const struct iovec *left) {
    (void)ucx;
    return *(const uint32_t *)left->iov_base > 0;
}

static bool reads(const struct ucx_transport *ucx, const struct iovec *of) {
    const uint8_t *from = of->iov_base;
    const struct ucx_out *out = ucx->outs;
    while (out != NULL && !(out->bytes >= from && out->bytes < from + of->iov_len)) {
        out = out->next;
    }
    return out != NULL;
}

/* What is not over soon is cancelled. */
static void until_over(struct ucx_transport *ucx, bool (*goes_on)(const struct ucx_transport *ucx, const struct iovec *of),
                       const struct iovec *of) {
    uint64_t until_ns = now_ns() + LET_GO_NS;
    while (ucx->wire != NULL && goes_on(ucx, of)) {
        turn(ucx);
        if (now_ns() > until_ns) {
            ucx_stop(&ucx->transport);
        }
    }
    ucx->transport.more = true;
}

static void ucx_let_go(struct transport *transport) { until_over(ucx_of(transport), receives, NULL); }

static void ucx_let_go_of(struct transport *transport, const void *bytes, size_t size) {
    const struct iovec of = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    if (reads(ucx_of(transport), &of)) {
        until_over(ucx_of(transport), reads, &of);
    }
}

/* ---- what goes ------------------------------------------------------------------------------------------------------------------ */
static enum quire_status ucx_send(struct transport *transport, const void *bytes, size_t size, size_t *sent, struct transport_why why) {
    struct ucx_transport *ucx = ucx_of(transport);
    QUIRE_FORWARD(failed(ucx, why));
    *sent = quire_min_u64(size, QUIRE_UCX_FRAMES_BYTES);
    void *copy = malloc(*sent);
    if (copy == NULL) {
        return plugin_say(why, QUIRE_NO_MEMORY, "out of memory for a request");
    }
    memcpy(copy, bytes, *sent);
    enum quire_status status = quire_ucx_send(ucx->wire, QUIRE_UCX_FRAMES, copy, *sent, free, copy);
    if (status != QUIRE_OK) {
        free(copy);
    }
    return status == QUIRE_OK || status == QUIRE_PENDING ? status : failed(ucx, why);
}

static enum quire_status ucx_send_bulk(struct transport *transport, const void *front, size_t n_front, const void *bytes, size_t size,
                                       size_t *sent, struct transport_why why) {
    struct ucx_transport *ucx = ucx_of(transport);
    QUIRE_FORWARD(failed(ucx, why));
    struct ucx_out *out = malloc(sizeof *out);
    if (out == NULL) {
        return plugin_say(why, QUIRE_NO_MEMORY, "out of memory for a request");
    }
    *sent = quire_min_u64(size, QUIRE_UCX_BULK_BYTES);
    *out = (struct ucx_out){.link = &ucx->outs, .next = ucx->outs, .bytes = bytes};
    if (out->next != NULL) {
        out->next->link = &out->next;
    }
    ucx->outs = out;
    enum quire_status status = quire_ucx_send_with(ucx->wire, front, n_front, bytes, *sent, out_ended, out);
    if (status != QUIRE_OK) {
        out_ended(out);
    }
    return status == QUIRE_OK || status == QUIRE_PENDING ? status : failed(ucx, why);
}

/* ---- the daemon's memory -------------------------------------------------------------------------------------------------------- */
static enum quire_status ucx_attach(struct transport *transport, const struct transport_region regions[TRANSPORT_REGIONS], bool asked) {
    struct ucx_transport *ucx = ucx_of(transport);
    if (ucx->wire == NULL || (!asked && !quire_ucx_has_rdma(ucx->wire))) {
        return QUIRE_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < TRANSPORT_REGIONS; i++) {
        QUIRE_FORWARD(
            quire_ucx_reach(ucx->wire, regions[i].key, regions[i].key_bytes, regions[i].address, regions[i].bytes, &ucx->regions[i]));
    }
    return QUIRE_OK;
}

/* One that is under way. */
struct ucx_got {
    struct ucx_transport *ucx;
    transport_got *got;
    void *arg;
};

static void get_ended(void *arg, enum quire_status status) {
    struct ucx_got ended = *(struct ucx_got *)arg;
    free(arg);
    ended.ucx->gets--;
    ended.ucx->transport.more = true;
    ended.got(ended.arg, status);
}

static enum quire_status ucx_get(struct transport *transport, enum transport_regions region, uint64_t offset, void *to, size_t size,
                                 transport_got *got, void *arg) {
    struct ucx_transport *ucx = ucx_of(transport);
    if (ucx->wire == NULL || ucx->regions[region].wire == NULL) {
        return QUIRE_DISCONNECTED;
    }
    struct ucx_got *begun = malloc(sizeof *begun);
    if (begun == NULL) {
        return QUIRE_NO_MEMORY;
    }
    *begun = (struct ucx_got){.ucx = ucx, .got = got, .arg = arg};
    ucx->gets++;
    enum quire_status status = quire_ucx_get(&ucx->regions[region], offset, to, size, get_ended, begun);
    if (status != QUIRE_OK) {
        ucx->gets--;
        free(begun);
    }
    return status;
}

static void ucx_end_gets(struct transport *transport, const uint32_t *left) {
    const struct iovec of = {.iov_base = (void *)(uintptr_t)left, .iov_len = sizeof *left};
    until_over(ucx_of(transport), gets, &of);
}

static const struct transport_ops ucx_ops = {.version = TRANSPORT_VERSION,
                                             .scheme = "ucx",
                                             .wire = true,
                                             .resolve = plugin_resolve,
                                             .connect = ucx_connect,
                                             .receive = ucx_receive,
                                             .send = ucx_send,
                                             .receive_bulk = ucx_receive_bulk,
                                             .let_go = ucx_let_go,
                                             .send_bulk = ucx_send_bulk,
                                             .let_go_of = ucx_let_go_of,
                                             .attach = ucx_attach,
                                             .get = ucx_get,
                                             .end_gets = ucx_end_gets,
                                             .stop = ucx_stop,
                                             .close = ucx_close};

__attribute__((visibility("default"))) const struct transport_ops *quire_transport(void);
const struct transport_ops *quire_transport(void) { return &ucx_ops; }
