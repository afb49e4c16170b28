#include "daemon/net/ucx_rail_internal.h"

#include "daemon/core_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define STOP_NS (2 * QUIRE_NS_PER_S)
#define DEVICES_BYTES 256
#define LAST_WORDS_NS (200 * QUIRE_NS_PER_MS)

static struct ucx_rail *ucx_of(struct rail *rail) { return LOOP_CONTAINER(rail, struct ucx_rail, rail); }

/* ---- listeners ------------------------------------------------------------------------------------------------------------------ */
static enum quire_status listen_on(void *arg, const char *address, const struct addrinfo *at, char *why, size_t why_bytes) {
    struct ucx_rail *ucx_rail = arg;
    char told[QUIRE_UCX_PEER_BYTES], text[QUIRE_UCX_WHY_BYTES];
    enum quire_status status = quire_ucx_listen(ucx_rail->port, at->ai_addr, at->ai_addrlen, told, text);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "listen.ucx: %s: %s", address, text);
        return status;
    }
    log_info("listening", "ucx: listening on %s", told);
    return QUIRE_OK;
}

struct reach {
    bool trusted, loopback;
};

static enum quire_status reach(void *arg, const char *address, const struct addrinfo *at, char *why, size_t why_bytes) {
    struct reach *reached = arg;
    bool here = quire_ucx_is_loopback(at->ai_addr);
    if (!here && !reached->trusted) {
        snprintf(why, why_bytes,
                 "listen.ucx: %.80s can be reached by other hosts, and UCX protects nothing. Where every host of that network is "
                 "trusted, say so "
                 "by listen.trusted_fabric: true; else use listen.tls",
                 address);
        return QUIRE_DENIED;
    }
    reached->loopback = reached->loopback && here;
    return QUIRE_OK;
}

enum quire_status ucx_rail_reach(const char *addresses, bool trusted, bool *loopback, char *why, size_t why_bytes) {
    struct reach reached = {.trusted = trusted, .loopback = true};
    enum quire_status status = places_each("listen.ucx", addresses, reach, &reached, why, why_bytes);
    *loopback = reached.loopback;
    return status;
}

/* ---- those who connect ---------------------------------------------------------------------------------------------------------- */
static void carry(struct ucx_rail *ucx_rail, const struct quire_ucx_ask *ask) {
    struct rail *rail = &ucx_rail->rail;
    if (ucx_rail->n_conns < rail->limits.wires) {
        ucx_conn_create(ucx_rail, ask);
        return;
    }
    atomic_fetch_add(&rail->counters.refused, 1);
    log_warn("remote_refused", "ucx %s: there are as many connections as may be", ask->peer);
    quire_ucx_refuse(ask);
}

static bool hand_over(struct ucx_rail *to, const struct quire_ucx_ask *ask) {
    struct ucx_handed *handed = &to->handed;
    pthread_mutex_lock(&handed->lock);
    bool taken = !handed->closed && handed->n < UCX_HANDED_MAX;
    if (taken) {
        handed->asks[handed->n++] = *ask;
    }
    pthread_mutex_unlock(&handed->lock);
    if (taken) {
        loop_wake(&to->rail.in.wakeup);
    }
    return taken;
}

static void take_handed(struct ucx_rail *ucx_rail, bool last) {
    struct ucx_handed *handed = &ucx_rail->handed;
    struct quire_ucx_ask asks[UCX_HANDED_MAX];
    pthread_mutex_lock(&handed->lock);
    uint32_t n = handed->n;
    memcpy(asks, handed->asks, n * sizeof asks[0]);
    handed->n = 0;
    handed->closed = handed->closed || last;
    pthread_mutex_unlock(&handed->lock);
    for (uint32_t i = 0; i < n; i++) {
        carry(ucx_rail, &asks[i]);
    }
}

/* To each in its turn; the one that listens has one, too. */
static void let_in(struct ucx_rail *ucx_rail) {
    struct rail *rail = &ucx_rail->rail;
    struct quire_ucx_ask ask;
    uint32_t n_refused = quire_ucx_refused(ucx_rail->port, ask.peer);
    if (n_refused > 0) {
        atomic_fetch_add(&rail->counters.refused, n_refused);
        log_warn("remote_refused", "ucx %s: too many ask at once: %u refused", ask.peer, n_refused);
    }
    while (quire_ucx_asked(ucx_rail->port, &ask)) {
        uint32_t turn = ucx_rail->next_beside;
        ucx_rail->next_beside = (turn + 1) % (ucx_rail->n_beside + 1);
        if (turn == ucx_rail->n_beside || !hand_over(ucx_rail->beside[turn], &ask)) {
            carry(ucx_rail, &ask);
        }
    }
}

/* ---- the rail ------------------------------------------------------------------------------------------------------------------- */
static void ucx_message(struct rail *rail, struct exchange_msg *msg) {
    (void)rail;
    ucx_conn_message(msg->wire->conn, msg);
}

static bool ucx_turn(struct rail *rail) {
    struct ucx_rail *ucx_rail = ucx_of(rail);
    struct quire_ucx_wire *ucx;
    struct share *share;
    bool moved = quire_ucx_progress(ucx_rail->port);
    if (!ucx_rail->ends) {
        let_in(ucx_rail);
        take_handed(ucx_rail, false);
    }
    while ((ucx = quire_ucx_ready(ucx_rail->port)) != NULL) {
        ucx_conn_turn(quire_ucx_user(ucx));
    }
    while ((share = share_next(&ucx_rail->shares)) != NULL) { /* it begins something by that, or is done with its line */
        ucx_conn_turn(LOOP_CONTAINER(share, struct ucx_conn, share));
    }
    ucx_rail->moved_ns = moved ? rail->now_ns : ucx_rail->moved_ns;
    bool busy = ucx_rail->busy_poll_ns > 0 && rail->now_ns < ucx_rail->moved_ns + ucx_rail->busy_poll_ns;
    return busy || !quire_ucx_arm(ucx_rail->port);
}

static void ucx_tick(struct rail *rail, uint64_t now_ns) {
    struct ring *conns = &ucx_of(rail)->conns;
    for (struct ring *at = conns->next, *next; at != conns; at = next) {
        next = at->next;
        ucx_conn_check(LOOP_CONTAINER(at, struct ucx_conn, place), now_ns);
    }
}

/* Its turn makes progress; the descriptor only wakes the loop. */
static void ucx_readable(struct loop_source *source, uint32_t events) {
    (void)source;
    (void)events;
}

/* What clients were told last is still on its way. */
static void say_last_words(struct rail *rail) {
    struct ucx_rail *ucx_rail = ucx_of(rail);
    bool waits = true;
    for (uint64_t until_ns = loop_now_ns() + LAST_WORDS_NS; waits && loop_now_ns() < until_ns;) {
        ucx_turn(rail);
        waits = false;
        for (const struct ring *at = ucx_rail->conns.next; at != &ucx_rail->conns && !waits; at = at->next) {
            waits = ucx_conn_sends(LOOP_CONTAINER(at, const struct ucx_conn, place));
        }
    }
}

static void ucx_stop(struct rail *rail) {
    struct ucx_rail *ucx_rail = ucx_of(rail);
    for (struct exchange_msg *msg = exchange_take(&rail->in), *next; msg != NULL; msg = next) {
        next = msg->next;
        ucx_message(rail, msg);
    }
    take_handed(ucx_rail, true);
    ucx_rail->ends = true;
    say_last_words(rail);
    for (struct ring *at = ucx_rail->conns.next, *next; at != &ucx_rail->conns; at = next) {
        next = at->next;
        ucx_conn_end(LOOP_CONTAINER(at, struct ucx_conn, place));
    }
    uint64_t until_ns = loop_now_ns() + STOP_NS;
    while (!ring_is_empty(&ucx_rail->conns) && loop_now_ns() < until_ns) {
        ucx_turn(rail); /* until UCX has let go of all that it reads and writes */
    }
    if (ucx_rail->source.fd >= 0) {
        loop_remove(rail->loop, &ucx_rail->source);
    }
    quire_ucx_conceal(&ucx_rail->generations);
    quire_ucx_conceal(&ucx_rail->pool);
    quire_ucx_port_destroy(&ucx_rail->port); /* now it has in any case */
    while (!ring_is_empty(&ucx_rail->conns)) {
        ucx_conn_lost(LOOP_CONTAINER(ucx_rail->conns.next, struct ucx_conn, place));
    }
}

static void ucx_free(struct rail *rail) {
    struct ucx_rail *ucx_rail = ucx_of(rail);
    pthread_mutex_destroy(&ucx_rail->handed.lock);
    free(ucx_rail);
}

static const struct rail_ops ucx_rail_ops = {
    .scheme = "ucx", .message = ucx_message, .turn = ucx_turn, .tick = ucx_tick, .stop = ucx_stop, .free = ucx_free};

/* The remote domain's pool, to those who have the right. */
static enum quire_status expose(struct ucx_rail *ucx_rail, char *why, size_t why_bytes) {
    const struct core *core = ucx_rail->rail.core;
    struct rail_memory *memory = &ucx_rail->memory;
    struct pool *pool = core->pools[core->remote_domain];
    char text[QUIRE_UCX_WHY_BYTES];
    if (!core->config.domains[core->remote_domain].rma) {
        return QUIRE_OK;
    }
    enum quire_status status = quire_ucx_expose(ucx_rail->port, pool->base, pool->size_bytes, &ucx_rail->pool, text);
    if (status == QUIRE_OK) {
        status = quire_ucx_expose(ucx_rail->port, pool->generations, pool->generations_bytes, &ucx_rail->generations, text);
    }
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "domains: rma: %s", text);
        return status;
    }
    memory->pool_key = quire_ucx_key(ucx_rail->pool, &memory->pool_key_bytes);
    memory->generations_key = quire_ucx_key(ucx_rail->generations, &memory->generations_key_bytes);
    ucx_rail->rail.memory = memory;
    return QUIRE_OK;
}

/* With a port, beside another's or of its own. */
static void ucx_says(const char *text) { log_warn("ucx_says", "%s", text); }

static enum quire_status make(struct core *core, struct ucx_rail *beside, const char *devices, bool loopback,
                              const struct rail_limits *limits, void (*taken)(struct loop_wakeup *wakeup), struct ucx_rail **out, char *why,
                              size_t why_bytes) {
    char text[QUIRE_UCX_WHY_BYTES] = "";
    uint32_t flags = (loopback ? QUIRE_UCX_LOOPBACK : 0) | (core->config.domains[core->remote_domain].rma ? QUIRE_UCX_RMA : 0);
    struct ucx_rail *ucx_rail = calloc(1, sizeof *ucx_rail);
    *out = NULL;
    if (ucx_rail == NULL) {
        return QUIRE_NO_MEMORY;
    }
    pthread_mutex_init(&ucx_rail->handed.lock, NULL);
    shares_setup(&ucx_rail->shares);
    ring_setup(&ucx_rail->conns);
    quire_ucx_log_to(ucx_says);
    ucx_rail->busy_poll_ns = core->config.listen.ucx_busy_poll_us * QUIRE_NS_PER_US;
    enum quire_status status = beside != NULL ? quire_ucx_port_create_beside(beside->port, &ucx_rail->port, text)
                                              : quire_ucx_port_create(flags, devices, &ucx_rail->port, text);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "listen.ucx: %s", text);
        ucx_free(&ucx_rail->rail);
        return status;
    }
    status = rail_init(&ucx_rail->rail, &ucx_rail_ops, core, limits, taken);
    if (status != QUIRE_OK) {
        quire_ucx_port_destroy(&ucx_rail->port);
        ucx_free(&ucx_rail->rail);
        return status;
    }
    ucx_rail->source = (struct loop_source){.fd = quire_ucx_fd(ucx_rail->port), .events = EPOLLIN, .ready = ucx_readable};
    if (loop_add(ucx_rail->rail.loop, &ucx_rail->source) != QUIRE_OK) {
        ucx_rail->source.fd = -1;
        status = QUIRE_NO_MEMORY;
    }
    ucx_rail->rail.more = true; /* its descriptor tells nothing before the first turn */
    *out = ucx_rail;
    return status;
}

static void unmake(struct ucx_rail *ucx_rail) {
    struct rail *rail = &ucx_rail->rail;
    rail_stop(rail);
    rail_destroy(&rail);
}

enum quire_status ucx_rail_create(struct core *core, const struct place *place, bool loopback, const struct rail_limits *limits,
                                  void (*taken)(struct loop_wakeup *wakeup), struct rail **out, char *why, size_t why_bytes) {
    char devices[DEVICES_BYTES];
    bool known = place->interface[0] != '\0' && quire_locality_devices(QUIRE_SYS, place->interface, devices, sizeof devices);
    struct ucx_rail *listens = NULL;
    struct rail *list = NULL;
    enum quire_status status = make(core, NULL, known ? devices : NULL, loopback, limits, taken, &listens, why, why_bytes);
    status = status == QUIRE_OK ? expose(listens, why, why_bytes) : status;
    for (uint32_t i = 1; i < core->config.listen.ucx_loops && status == QUIRE_OK; i++) {
        struct ucx_rail *beside = NULL;
        status = make(core, listens, NULL, loopback, limits, taken, &beside, why, why_bytes);
        if (beside != NULL) {
            listens->beside[listens->n_beside++] = beside;
            beside->rail.memory = listens->rail.memory;
        }
    }
    status = status == QUIRE_OK ? places_each("listen.ucx", place->addresses, listen_on, listens, why, why_bytes) : status;
    if (status != QUIRE_OK && listens != NULL) {
        for (uint32_t i = 0; i < listens->n_beside; i++) {
            unmake(listens->beside[i]);
        }
        unmake(listens);
    }
    if (status != QUIRE_OK) {
        return status;
    }
    listens->next_beside = listens->n_beside;
    list = &listens->rail;
    for (uint32_t i = 0; i < listens->n_beside; i++) { /* in front of it: they are stopped first */
        listens->beside[i]->rail.next = list;
        list = &listens->beside[i]->rail;
    }
    *out = list;
    return QUIRE_OK;
}
