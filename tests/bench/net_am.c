#include "tests/bench/net_am.h"

#include "codec/checksum.h"
#include "proto/base/base.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

enum { ID_ORDER = 1, ID_ANSWER, WAIT_MS = 10000 };

/* What both ends have. */
struct end {
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_ep_h ep;
    uint8_t *memory; /* NET_AM_PIECES pieces; of the asking end the caller's */
    struct net_am_order order;
    uint32_t sending, done; /* messages */
    uint64_t sum;           /* of their checksums, which are for something then */
    bool failed;
};

struct net_am {
    struct end end;
    pid_t peer;
    uint8_t *ask; /* a piece */
};

void net_am_environment(void) {
    setenv("UCX_TLS", "tcp,self", 0);
    setenv("UCX_NET_DEVICES", "lo", 0);
}

static bool end_open(struct end *end) {
    const ucp_params_t context = {.field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP};
    const ucp_worker_params_t worker = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE, .thread_mode = UCS_THREAD_MODE_SINGLE};
    return ucp_init(&context, NULL, &end->context) == UCS_OK && ucp_worker_create(end->context, &worker, &end->worker) == UCS_OK;
}

static void end_close(struct end *end) {
    if (end->ep != NULL) {
        const ucp_request_param_t force = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = UCP_EP_CLOSE_FLAG_FORCE};
        void *closing = ucp_ep_close_nbx(end->ep, &force);
        while (UCS_PTR_IS_PTR(closing) && ucp_request_check_status(closing) == UCS_INPROGRESS) {
            ucp_worker_progress(end->worker);
        }
        if (UCS_PTR_IS_PTR(closing)) {
            ucp_request_free(closing);
        }
    }
    if (end->worker != NULL) {
        ucp_worker_destroy(end->worker);
    }
    if (end->context != NULL) {
        ucp_cleanup(end->context);
    }
}

/* One turn: what can move moves; when nothing did, the end sleeps, if it was told so. False: nothing came for so long that nothing will. */
static bool turn(const struct end *end, int wait_ms) {
    int fd;
    if (ucp_worker_progress(end->worker) != 0 || end->order.poll || ucp_worker_get_efd(end->worker, &fd) != UCS_OK ||
        ucp_worker_arm(end->worker) != UCS_OK) {
        return true;
    }
    struct pollfd waits = {.fd = fd, .events = POLLIN};
    return poll(&waits, 1, wait_ms) != 0;
}

static void on_error(void *arg, ucp_ep_h ep, ucs_status_t status) {
    (void)ep;
    (void)status;
    ((struct end *)arg)->failed = true;
}

static bool handle(struct end *end, unsigned id, ucp_am_recv_callback_t receive) {
    const ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                                                          UCP_AM_HANDLER_PARAM_FIELD_ARG,
                                            .id = id,
                                            .cb = receive,
                                            .arg = end};
    return ucp_worker_set_am_recv_handler(end->worker, &handler) == UCS_OK;
}

static void on_sent(void *request, ucs_status_t status, void *arg) {
    struct end *end = arg;
    end->sending--;
    end->failed |= status != UCS_OK;
    ucp_request_free(request);
}

/* The header stays where it is until all is sent. */
static void end_send(struct end *end, unsigned id, const void *head, size_t head_bytes, const void *bytes, size_t size) {
    const ucp_request_param_t how = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS,
                                     .flags = size <= NET_AM_EAGER_BYTES ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV,
                                     .cb.send = on_sent,
                                     .user_data = end};
    void *request = ucp_am_send_nbx(end->ep, id, head, head_bytes, bytes, size, &how);
    end->sending += UCS_PTR_IS_PTR(request);
    end->failed |= UCS_PTR_IS_ERR(request);
}

/* ---- the end that answers, a process of its own ----------------------------------------------------------------------------------- */
static ucs_status_t on_order(void *arg, const void *head, size_t head_bytes, void *data, size_t size, const ucp_am_recv_param_t *how) {
    struct end *end = arg;
    (void)data;
    (void)size;
    (void)how;
    if (head_bytes == sizeof end->order) {
        memcpy(&end->order, head, sizeof end->order);
        end->done = 0;
    }
    return UCS_OK;
}

static void on_connection(ucp_conn_request_h request, void *arg) {
    struct end *end = arg;
    const ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                                  UCP_EP_PARAM_FIELD_ERR_HANDLER,
                                    .conn_request = request,
                                    .err_mode = UCP_ERR_HANDLING_MODE_PEER,
                                    .err_handler = {on_error, end}};
    end->failed |= ucp_ep_create(end->worker, &params, &end->ep) != UCS_OK;
}

static bool listen_and_tell(struct end *end, int tell) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const ucp_listener_params_t params = {.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER,
                                          .sockaddr = {(struct sockaddr *)&at, sizeof at},
                                          .conn_handler = {on_connection, end}};
    ucp_listener_attr_t attr = {.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR};
    ucp_listener_h listener;
    if (ucp_listener_create(end->worker, &params, &listener) != UCS_OK || ucp_listener_query(listener, &attr) != UCS_OK) {
        return false;
    }
    memcpy(&at, &attr.sockaddr, sizeof at);
    return write(tell, &at.sin_port, sizeof at.sin_port) == (ssize_t)sizeof at.sin_port;
}

static void serve(int tell) {
    static uint32_t numbers[NET_AM_PIECES];
    struct end end = {.memory = calloc(NET_AM_PIECES, NET_AM_PIECE_BYTES)};
    if (end.memory == NULL || !end_open(&end) || !handle(&end, ID_ORDER, on_order) || !listen_and_tell(&end, tell)) {
        _exit(1);
    }
    memset(end.memory, 1, (size_t)NET_AM_PIECES * NET_AM_PIECE_BYTES); /* else all of it would be the one page of zeros */
    while (!end.failed) {
        if (end.done < end.order.n && end.sending < NET_AM_WINDOW) {
            uint32_t i = end.done++ % NET_AM_PIECES;
            numbers[i] = i;
            end_send(&end, ID_ANSWER, &numbers[i], sizeof numbers[i], end.memory + (size_t)i * NET_AM_PIECE_BYTES, end.order.bytes);
        } else {
            turn(&end, -1);
        }
    }
    _exit(1);
}

/* ---- the end that asks ------------------------------------------------------------------------------------------------------------- */
static void arrived(struct end *end, const uint8_t *at) {
    if (end->order.hash) {
        end->sum ^= quire_checksum(at, end->order.bytes);
    }
    end->done++;
}

static void on_received(void *request, ucs_status_t status, size_t size, void *arg) {
    struct end *end = arg;
    (void)size;
    end->failed |= status != UCS_OK;
    arrived(end, end->memory + (size_t)(end->done % NET_AM_PIECES) * NET_AM_PIECE_BYTES); /* they end in order: it is one connection */
    ucp_request_free(request);
}

static ucs_status_t on_answer(void *arg, const void *head, size_t head_bytes, void *data, size_t size, const ucp_am_recv_param_t *how) {
    struct end *end = arg;
    uint32_t number = NET_AM_PIECES;
    memcpy(&number, head, quire_min_u64(head_bytes, sizeof number));
    if (number >= NET_AM_PIECES || size != end->order.bytes) {
        end->failed = true;
        return UCS_OK;
    }
    uint8_t *to = end->memory + (size_t)number * NET_AM_PIECE_BYTES;
    if ((how->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
        memcpy(to, data, size);
        arrived(end, to);
        return UCS_OK;
    }
    const ucp_request_param_t into = {.op_attr_mask =
                                          UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
                                      .cb.recv_am = on_received,
                                      .user_data = end};
    end->failed |= UCS_PTR_IS_ERR(ucp_am_recv_data_nbx(end->worker, data, to, size, &into));
    return UCS_INPROGRESS;
}

static bool reach(struct end *end, in_port_t port) {
    const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR |
                                                  UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER,
                                    .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
                                    .sockaddr = {(const struct sockaddr *)&at, sizeof at},
                                    .err_mode = UCP_ERR_HANDLING_MODE_PEER,
                                    .err_handler = {on_error, end}};
    return end_open(end) && handle(end, ID_ANSWER, on_answer) && ucp_ep_create(end->worker, &params, &end->ep) == UCS_OK;
}

pid_t net_am_peer(const struct net_am *am) { return am->peer; }

int net_am_run(const struct bench_case *c, struct net_am *am, const struct net_am_order *order, uint8_t *memory, double *seconds) {
    struct end *end = &am->end;
    end->order = *order;
    end->memory = memory;
    end->done = 0;
    bool moves = order->bytes <= NET_AM_PIECE_BYTES && order->ask_bytes <= NET_AM_PIECE_BYTES;
    uint64_t start = bench_now_ns();
    if (moves) {
        end_send(end, ID_ORDER, &end->order, sizeof end->order, am->ask, order->ask_bytes);
    }
    while (moves && !end->failed && (end->done < order->n || end->sending > 0)) {
        moves = turn(end, WAIT_MS);
    }
    *seconds = (double)(bench_now_ns() - start) / 1e9;
    return moves && !end->failed ? 0 : bench_fail(c, "UCX's active messages between two processes broke off");
}

int net_am_rest(const struct bench_case *c, struct net_am *am) {
    const struct net_am_order order = {.bytes = 1, .n = 1};
    uint8_t memory;
    double seconds;
    return net_am_run(c, am, &order, &memory, &seconds);
}

int net_am_start(const struct bench_case *c, struct net_am **am) {
    int told[2];
    in_port_t port = 0;
    net_am_environment();
    *am = calloc(1, sizeof **am);
    if (*am == NULL || ((*am)->ask = calloc(1, NET_AM_PIECE_BYTES)) == NULL || pipe(told) != 0) {
        return bench_fail(c, "cannot start the other end of UCX's active messages");
    }
    (*am)->peer = fork();
    if ((*am)->peer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(told[0]);
        serve(told[1]);
    }
    close(told[1]);
    bool good = (*am)->peer > 0 && read(told[0], &port, sizeof port) == (ssize_t)sizeof port && reach(&(*am)->end, port);
    close(told[0]);
    /* UCX's own thread turns without sleep until this one has seen the connection through. */
    return good ? net_am_rest(c, *am) : bench_fail(c, "UCX does not connect two processes over loopback");
}

void net_am_stop(struct net_am **am) {
    if (*am == NULL) {
        return;
    }
    end_close(&(*am)->end);
    if ((*am)->peer > 0) {
        kill((*am)->peer, SIGKILL);
        waitpid((*am)->peer, NULL, 0);
    }
    free((*am)->ask);
    free(*am);
    *am = NULL;
}
