/* A port: UCX's worker, its descriptor, and listeners. */
#include "proto/ucx/internal.h"

#include "proto/base/base.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_ROUNDS 64
#define LAST_ROUNDS 2000000 /* of progress, in the end, until what is under way has been let go */

static enum quire_status say(char why[QUIRE_UCX_WHY_BYTES], const char *what, ucs_status_t status) {
    snprintf(why, QUIRE_UCX_WHY_BYTES, "%s: %s", what, ucs_status_string(status));
    return QUIRE_SYSTEM;
}

static ucs_status_t open_context(uint32_t flags, const char *devices, ucp_context_h *context) {
    ucp_config_t *config;
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP | ((flags & QUIRE_UCX_RMA) != 0 ? (uint64_t)UCP_FEATURE_RMA : 0),
                           .mt_workers_shared = 1};
    ucs_status_t status = ucp_config_read(NULL, NULL, &config);
    bool here = (flags & QUIRE_UCX_LOOPBACK) != 0;
    if (status == UCS_OK && (here || (devices != NULL && getenv("UCX_NET_DEVICES") == NULL))) {
        status = ucp_config_modify(config, "NET_DEVICES", here ? "lo" : devices);
    }
    if (status == UCS_OK) {
        status = ucp_init(&params, config, context);
        ucp_config_release(config);
    }
    return status;
}

static ucs_status_t prepare_context(struct quire_ucx_port *port, uint32_t flags, const char *devices) {
    port->shared = calloc(1, sizeof *port->shared);
    if (port->shared == NULL) {
        return UCS_ERR_NO_MEMORY;
    }
    atomic_store(&port->shared->refs, 1);
    ucs_status_t status = open_context(flags, devices, &port->shared->context);
    port->context = port->shared->context;
    return status;
}

static void leave_context(struct quire_ucx_port *port) {
    if (port->shared == NULL || atomic_fetch_sub(&port->shared->refs, 1) > 1) {
        return;
    }
    if (port->shared->context != NULL) {
        ucp_cleanup(port->shared->context);
    }
    free(port->shared);
}

/* UCX sends a message's header in one piece, over the narrowest of its lanes if need be. */
static ucs_status_t learn_front(struct quire_ucx_port *port) {
    ucp_worker_attr_t facts = {.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER};
    ucs_status_t status = ucp_worker_query(port->worker, &facts);
    if (status == UCS_OK && facts.max_am_header < sizeof(struct ucx_head)) {
        return UCS_ERR_UNSUPPORTED;
    }
    port->front_bytes = quire_min_u64(QUIRE_UCX_HEAD_BYTES, facts.max_am_header - sizeof(struct ucx_head));
    return status;
}

static ucs_status_t prepare_worker(struct quire_ucx_port *port) {
    ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE, .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucs_status_t status = ucp_worker_create(port->context, &params, &port->worker);
    status = status == UCS_OK ? learn_front(port) : status;
    if (status != UCS_OK) {
        return status;
    }
    ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                                                    UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
                                      .id = UCX_AM_ID,
                                      .flags = UCP_AM_FLAG_WHOLE_MSG | UCP_AM_FLAG_PERSISTENT_DATA,
                                      .cb = ucx_came,
                                      .arg = port};
    status = ucp_worker_set_am_recv_handler(port->worker, &handler);
    return status == UCS_OK ? ucp_worker_get_efd(port->worker, &port->fd) : status;
}

/* UCX's thread stays with the parent of a forked child, and so does its epoll set: the child would wait for what nobody tells it, and its descriptors
   would wake the parent. */
static bool was_forked(void) {
    static atomic_int user;
    int nobody = 0;
    return !atomic_compare_exchange_strong(&user, &nobody, getpid()) && nobody != getpid();
}

static enum quire_status create(struct quire_ucx_port *beside, uint32_t flags, const char *devices, struct quire_ucx_port **out,
                                char why[QUIRE_UCX_WHY_BYTES]) {
    struct quire_ucx_port *port = calloc(1, sizeof *port);
    ucs_status_t status = UCS_OK;
    *out = NULL;
    if (port == NULL) {
        snprintf(why, QUIRE_UCX_WHY_BYTES, "out of memory");
        return QUIRE_NO_MEMORY;
    }
    if (was_forked()) {
        free(port);
        snprintf(why, QUIRE_UCX_WHY_BYTES,
                 "this process was forked from one that uses UCX, which cannot be used here then: begin a program anew (exec), "
                 "or give an address of tls:// or unix:// as well");
        return QUIRE_SYSTEM;
    }
    port->fd = -1;
    port->ready_tail = &port->ready;
    if (beside != NULL) {
        atomic_fetch_add(&beside->shared->refs, 1);
        port->shared = beside->shared;
        port->context = beside->context;
    } else {
        status = prepare_context(port, flags, devices);
    }
    status = status == UCS_OK ? prepare_worker(port) : status;
    if (status != UCS_OK) {
        quire_ucx_port_destroy(&port);
        return say(why, "UCX cannot be used here", status);
    }
    *out = port;
    return QUIRE_OK;
}

enum quire_status quire_ucx_port_create(uint32_t flags, const char *devices, struct quire_ucx_port **port, char why[QUIRE_UCX_WHY_BYTES]) {
    return create(NULL, flags, devices, port, why);
}

enum quire_status quire_ucx_port_create_beside(struct quire_ucx_port *beside, struct quire_ucx_port **port, char why[QUIRE_UCX_WHY_BYTES]) {
    return create(beside, 0, NULL, port, why);
}

static bool all_closed(const struct quire_ucx_port *port) {
    bool closed = true;
    for (struct quire_ucx_wire *wire = port->wires; wire != NULL; wire = wire->next) {
        ucx_wire_close_on(wire);
        closed = closed && wire->closed;
    }
    return closed;
}

void quire_ucx_port_destroy(struct quire_ucx_port **handle) {
    struct quire_ucx_port *port = *handle, *none = NULL;
    *handle = none;
    for (uint32_t i = 0; i < port->n_asks; i++) {
        quire_ucx_refuse(&port->asks[(port->first_ask + i) % UCX_ASKS_MAX]);
    }
    for (uint32_t i = 0; i < port->n_listeners; i++) {
        ucp_listener_destroy(port->listeners[i]);
    }
    for (struct quire_ucx_wire *wire = port->wires; wire != NULL; wire = wire->next) {
        quire_ucx_close(wire);
    }
    for (uint32_t i = 0; i < LAST_ROUNDS && !all_closed(port); i++) {
        ucp_worker_progress(port->worker);
    }
    if (port->worker != NULL) {
        ucp_worker_destroy(port->worker); /* with what it did not let go of; that may still tell the wires */
    }
    while (port->wires != NULL) {
        struct quire_ucx_wire *wire = port->wires;
        quire_ucx_free(&wire);
    }
    leave_context(port);
    free(port);
}

void quire_ucx_port_forget(struct quire_ucx_port **handle) {
    struct quire_ucx_port *port = *handle;
    *handle = NULL;
    while (port->wires != NULL) {
        struct quire_ucx_wire *wire = port->wires;
        port->wires = wire->next;
        ucx_drop_arrivals(wire, true);
        free(wire);
    }
    free(port);
}

int quire_ucx_fd(const struct quire_ucx_port *port) { return port->fd; }

bool quire_ucx_progress(struct quire_ucx_port *port) {
    uint32_t rounds = 0;
    while (rounds < TURN_ROUNDS && ucp_worker_progress(port->worker) != 0) {
        rounds++;
    }
    for (struct quire_ucx_wire *wire = port->wires; wire != NULL; wire = wire->next) {
        if (wire->closing && !wire->closed) {
            ucx_wire_close_on(wire);
        }
    }
    return rounds > 0;
}

/* Another failure than BUSY is none that more turns would mend. */
bool quire_ucx_arm(struct quire_ucx_port *port) { return ucp_worker_arm(port->worker) != UCS_ERR_BUSY; }

bool quire_ucx_is_loopback(const struct sockaddr *at) {
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    if (at->sa_family == AF_INET) {
        memcpy(&four, at, sizeof four);
        return ntohl(four.sin_addr.s_addr) >> 24 == 127;
    }
    if (at->sa_family != AF_INET6) {
        return false;
    }
    memcpy(&six, at, sizeof six);
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
}

/* ---- listeners ------------------------------------------------------------------------------------------------------------------ */
static void tell_address(const struct sockaddr_storage *at, char text[QUIRE_UCX_PEER_BYTES]) {
    char host[56], port[8];
    socklen_t size = at->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (getnameinfo((const struct sockaddr *)at, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(text, QUIRE_UCX_PEER_BYTES, "from an unknown address");
    } else {
        snprintf(text, QUIRE_UCX_PEER_BYTES, at->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    }
}

static void somebody_asks(ucp_conn_request_h request, void *arg) {
    struct quire_ucx_port *port = arg;
    ucp_conn_request_attr_t facts = {.field_mask = UCP_CONN_REQUEST_ATTR_FIELD_CLIENT_ADDR};
    struct quire_ucx_ask ask = {.request = request, .listener = port->listeners[0]};
    if (ucp_conn_request_query(request, &facts) != UCS_OK) {
        facts.client_address = (struct sockaddr_storage){0};
    }
    ask.from = facts.client_address;
    tell_address(&facts.client_address, ask.peer);
    if (port->n_asks == UCX_ASKS_MAX) {
        quire_ucx_refuse(&ask);
        port->n_refused++;
        memcpy(port->refused_peer, ask.peer, sizeof ask.peer);
        return;
    }
    port->asks[(port->first_ask + port->n_asks++) % UCX_ASKS_MAX] = ask;
}

enum quire_status quire_ucx_listen(struct quire_ucx_port *port, const struct sockaddr *at, socklen_t at_bytes,
                                   char told[QUIRE_UCX_PEER_BYTES], char why[QUIRE_UCX_WHY_BYTES]) {
    ucp_listener_params_t params = {.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER,
                                    .sockaddr = {.addr = at, .addrlen = at_bytes},
                                    .conn_handler = {.cb = somebody_asks, .arg = port}};
    if (port->n_listeners == QUIRE_UCX_MAX_LISTENERS) {
        snprintf(why, QUIRE_UCX_WHY_BYTES, "more than %d addresses", QUIRE_UCX_MAX_LISTENERS);
        return QUIRE_INVALID;
    }
    ucp_listener_h listener;
    ucs_status_t status = ucp_listener_create(port->worker, &params, &listener);
    if (status != UCS_OK) {
        return say(why, "UCX cannot listen there", status);
    }
    port->listeners[port->n_listeners++] = listener;
    ucp_listener_attr_t facts = {.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR};
    if (ucp_listener_query(listener, &facts) != UCS_OK) {
        facts.sockaddr = (struct sockaddr_storage){0};
    }
    tell_address(&facts.sockaddr, told);
    return QUIRE_OK;
}

uint32_t quire_ucx_refused(struct quire_ucx_port *port, char peer[QUIRE_UCX_PEER_BYTES]) {
    uint32_t n = port->n_refused;
    port->n_refused = 0;
    memcpy(peer, port->refused_peer, sizeof port->refused_peer);
    return n;
}

bool quire_ucx_asked(struct quire_ucx_port *port, struct quire_ucx_ask *ask) {
    if (port->n_asks == 0) {
        return false;
    }
    *ask = port->asks[port->first_ask];
    port->first_ask = (port->first_ask + 1) % UCX_ASKS_MAX;
    port->n_asks--;
    return true;
}

enum quire_status quire_ucx_accept(struct quire_ucx_port *port, const struct quire_ucx_ask *ask, void *user, struct quire_ucx_wire **wire) {
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST, .conn_request = ask->request};
    enum quire_status status = ucx_wire_create(port, &params, user, wire);
    if (status == QUIRE_OK) {
        ucx_watch(*wire, &ask->from);
    }
    if (status == QUIRE_NO_MEMORY || status == QUIRE_UNSUPPORTED) {
        quire_ucx_refuse(ask); /* UCX 1.13 refuses by itself all but what it cannot make sense of at all */
    }
    return status;
}

void quire_ucx_refuse(const struct quire_ucx_ask *ask) { ucp_listener_reject(ask->listener, ask->request); }

enum quire_status quire_ucx_connect(struct quire_ucx_port *port, const struct sockaddr *to, socklen_t to_bytes, void *user,
                                    struct quire_ucx_wire **wire, char why[QUIRE_UCX_WHY_BYTES]) {
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS,
                              .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
                              .sockaddr = {.addr = to, .addrlen = to_bytes}};
    enum quire_status status = ucx_wire_create(port, &params, user, wire);
    if (status == QUIRE_OK) {
        ucx_greet(*wire);
        return QUIRE_OK;
    }
    snprintf(why, QUIRE_UCX_WHY_BYTES, status == QUIRE_NO_MEMORY ? "out of memory for a connection" : "UCX cannot connect there");
    return status == QUIRE_NO_MEMORY ? status : QUIRE_DISCONNECTED;
}
