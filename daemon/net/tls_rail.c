#include "daemon/net/tls_rail_internal.h"

#include "daemon/core_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 16
#define REST_NS (100 * QUIRE_NS_PER_MS)
#define BACKLOG 256

static struct tls_rail *tls_of(struct rail *rail) { return LOOP_CONTAINER(rail, struct tls_rail, rail); }

/* ---- listeners ------------------------------------------------------------------------------------------------------------------ */
static void tell_peer(const struct sockaddr_storage *from, socklen_t from_bytes, char peer[WIRE_PEER_BYTES]) {
    char host[64], port[16];
    if (getnameinfo((const struct sockaddr *)from, from_bytes, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) !=
        0) {
        snprintf(peer, WIRE_PEER_BYTES, "from an unknown address");
    } else {
        snprintf(peer, WIRE_PEER_BYTES, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
    }
}

/* May it begin a handshake? Before one there is no way to tell it why not. */
static bool may_shake_hands(struct tls_rail *tls_rail, const char *peer) {
    struct rail *rail = &tls_rail->rail;
    struct crowd_member *leaves;
    uint32_t wait_ms;
    if (!guard_admits(&tls_rail->guard, peer, rail->now_ns, &wait_ms)) {
        atomic_fetch_add(&rail->counters.guarded, 1);
        log_warn("remote_guarded", "tls %s: handshakes from this address failed too often: the next may be tried in %u ms", peer, wait_ms);
        return false;
    }
    if (!crowd_admits(&tls_rail->shaking, peer, rail->now_ns, &leaves)) {
        atomic_fetch_add(&rail->counters.refused, 1);
        log_warn("remote_refused", "tls %s: as many handshakes as may be are under way, %u from one address", peer,
                 tls_rail->shaking.most_of_one);
        return false;
    }
    if (leaves != NULL) {
        tls_conn_give_up(LOOP_CONTAINER(leaves, struct tls_conn, waiting), "no handshake yet, and others wait for the place");
    }
    return true;
}

/* Those who wait stay in the system's queue, which is bounded, until there is a place. */
static void rest(struct tls_listener *listener, const char *why) {
    struct rail *rail = &listener->tls_rail->rail;
    atomic_fetch_add(&rail->counters.rests, 1);
    log_warn("remote_rests", "tls: no connection is taken for %llu ms: %s", (unsigned long long)(REST_NS / QUIRE_NS_PER_MS), why);
    listener->resting_until_ns = rail->now_ns + REST_NS;
    loop_want(rail->loop, &listener->source, 0);
}

static void listener_ready(struct loop_source *source, uint32_t events) {
    struct tls_listener *listener = LOOP_CONTAINER(source, struct tls_listener, source);
    struct tls_rail *tls_rail = listener->tls_rail;
    struct rail *rail = &tls_rail->rail;
    (void)events;
    rail->now_ns = loop_now_ns();
    for (uint32_t i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t from_bytes = sizeof from;
        char peer[WIRE_PEER_BYTES];
        bool full = tls_rail->n_conns >= rail->limits.wires || !crowd_has_room(&tls_rail->shaking, rail->now_ns);
        int fd = full ? -1 : accept4(source->fd, (struct sockaddr *)&from, &from_bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            tell_peer(&from, from_bytes, peer);
            if (may_shake_hands(tls_rail, peer)) {
                tls_conn_create(tls_rail, fd, peer);
            } else {
                close(fd);
            }
        } else if (!full && errno == EAGAIN) {
            return;
        } else if (full || (errno != EINTR && errno != ECONNABORTED)) {
            rest(listener, full ? "there are as many as may be" : strerror(errno));
            return;
        }
    }
}

/* With the port that the system chose, where it was to. */
static void tell_address(int fd) {
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    char host[64], port[16];
    if (getsockname(fd, (struct sockaddr *)&at, &size) == 0 &&
        getnameinfo((const struct sockaddr *)&at, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        log_info("listening", strchr(host, ':') != NULL ? "tls: listening on [%s]:%s" : "tls: listening on %s:%s", host, port);
    }
}

static enum quire_status listen_on(void *arg, const char *address, const struct addrinfo *at, char *why, size_t why_bytes) {
    struct tls_rail *tls_rail = arg;
    if (tls_rail->n_listeners == TLS_MAX_LISTENERS) {
        snprintf(why, why_bytes, "listen.tls: more than %d addresses", TLS_MAX_LISTENERS);
        return QUIRE_INVALID;
    }
    struct tls_listener *listener = &tls_rail->listeners[tls_rail->n_listeners];
    int one = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
    ok = ok && (at->ai_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0);
    if (!ok || bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        snprintf(why, why_bytes, "listen.tls: %s: %s", address, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return QUIRE_SYSTEM;
    }
    listener->tls_rail = tls_rail;
    listener->source = (struct loop_source){.fd = fd, .events = EPOLLIN, .ready = listener_ready};
    if (loop_add(tls_rail->rail.loop, &listener->source) != QUIRE_OK) {
        close(fd);
        snprintf(why, why_bytes, "listen.tls: %s: no memory", address);
        return QUIRE_SYSTEM;
    }
    tls_rail->n_listeners++;
    tell_address(fd);
    return QUIRE_OK;
}

/* ---- the rail ------------------------------------------------------------------------------------------------------------------- */
static void tls_message(struct rail *rail, struct exchange_msg *msg) {
    (void)rail;
    tls_conn_message(msg->wire->conn, msg);
}

static bool tls_turn(struct rail *rail) {
    bool more = false;
    struct ring *conns = &tls_of(rail)->conns;
    for (struct ring *at = conns->next, *next; rail->more && at != conns; at = next) {
        struct tls_conn *conn = LOOP_CONTAINER(at, struct tls_conn, place);
        next = at->next;
        if (conn->more) {
            tls_conn_turn(conn);
            more = true; /* looked at once more: the list has nobody with something left over then */
        }
    }
    struct outbox *outbox = outbox_next(&tls_of(rail)->line);
    if (outbox != NULL) {
        tls_conn_send(outbox); /* one at a time, so that requests are read between two turns */
    }
    return more || !outbox_line_is_empty(&tls_of(rail)->line);
}

static void tls_tick(struct rail *rail, uint64_t now_ns) {
    struct tls_rail *tls_rail = tls_of(rail);
    for (struct ring *at = tls_rail->conns.next, *next; at != &tls_rail->conns; at = next) {
        next = at->next;
        tls_conn_check(LOOP_CONTAINER(at, struct tls_conn, place), now_ns);
    }
    for (uint32_t i = 0; i < tls_rail->n_listeners; i++) {
        struct tls_listener *listener = &tls_rail->listeners[i];
        if (listener->resting_until_ns != 0 && now_ns >= listener->resting_until_ns) {
            listener->resting_until_ns = 0;
            loop_want(rail->loop, &listener->source, EPOLLIN);
        }
    }
}

static void tls_stop(struct rail *rail) {
    struct tls_rail *tls_rail = tls_of(rail);
    for (struct exchange_msg *msg = exchange_take(&rail->in), *next; msg != NULL; msg = next) {
        next = msg->next;
        tls_message(rail, msg);
    }
    while (tls_rail->n_listeners > 0) {
        struct tls_listener *listener = &tls_rail->listeners[--tls_rail->n_listeners];
        loop_remove(rail->loop, &listener->source);
        close(listener->source.fd);
    }
    while (!ring_is_empty(&tls_rail->conns)) {
        tls_conn_end(LOOP_CONTAINER(tls_rail->conns.next, struct tls_conn, place));
    }
}

static void tls_free(struct rail *rail) {
    struct tls_rail *tls_rail = tls_of(rail);
    quire_tls_settings_destroy(&tls_rail->settings);
    pthread_mutex_destroy(&tls_rail->settings_lock);
    free(tls_rail);
}

static enum quire_status tls_prepare(struct rail *rail, const struct quire_tls_files *files, char *why, size_t why_bytes) {
    char tls_why[QUIRE_TLS_WHY_BYTES] = "";
    enum quire_status status = quire_tls_settings_create(true, files, &tls_of(rail)->prepared, tls_why);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "listen: %s", tls_why);
    }
    return status;
}

static void tls_settle(struct rail *rail, bool take) {
    struct tls_rail *tls_rail = tls_of(rail);
    struct quire_tls_settings *unused = tls_rail->prepared;
    tls_rail->prepared = NULL;
    if (take) {
        pthread_mutex_lock(&tls_rail->settings_lock);
        struct quire_tls_settings *before = tls_rail->settings;
        tls_rail->settings = unused;
        pthread_mutex_unlock(&tls_rail->settings_lock);
        unused = before; /* what was made from it keeps what it needs */
    }
    quire_tls_settings_destroy(&unused);
}

static const struct rail_ops tls_rail_ops = {.scheme = "tls",
                                             .message = tls_message,
                                             .turn = tls_turn,
                                             .tick = tls_tick,
                                             .stop = tls_stop,
                                             .prepare = tls_prepare,
                                             .settle = tls_settle,
                                             .free = tls_free};

enum quire_status tls_rail_create(struct core *core, const char *addresses, const struct quire_tls_files *files,
                                  const struct rail_limits *limits, void (*taken)(struct loop_wakeup *wakeup), struct rail **out, char *why,
                                  size_t why_bytes) {
    char tls_why[QUIRE_TLS_WHY_BYTES] = "";
    struct tls_rail *tls_rail = calloc(1, sizeof *tls_rail);
    *out = NULL;
    if (tls_rail == NULL) {
        return QUIRE_NO_MEMORY;
    }
    enum quire_status status = quire_tls_settings_create(true, files, &tls_rail->settings, tls_why);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "listen: %s", tls_why);
        free(tls_rail);
        return status;
    }
    pthread_mutex_init(&tls_rail->settings_lock, NULL);
    outbox_line_setup(&tls_rail->line);
    ring_setup(&tls_rail->conns);
    crowd_setup(&tls_rail->shaking, limits->handshakes);
    crowd_setup(&tls_rail->lingering, limits->lingering);
    tls_rail->lingering.grace_ns = 0; /* the word is out; more time is a courtesy */
    status = rail_init(&tls_rail->rail, &tls_rail_ops, core, limits, taken);
    if (status != QUIRE_OK) {
        tls_free(&tls_rail->rail);
        return status;
    }
    struct rail *rail = &tls_rail->rail;
    status = places_each("listen.tls", addresses, listen_on, tls_rail, why, why_bytes);
    if (status != QUIRE_OK) {
        rail_stop(rail);
        rail_destroy(&rail);
        return status;
    }
    *out = rail;
    return QUIRE_OK;
}
