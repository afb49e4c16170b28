/*
 * The connection: down → hello sent → namespaces being opened again → up, and back down from anywhere. Made on demand; after
 * a failure attempts are spaced by an exponential back-off with jitter, during which calls fail at once instead of waiting.
 */
#include "client/internal.h"
#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKOFF_FIRST_NS (5 * QUIRE_NS_PER_MS)
#define BACKOFF_LAST_NS (2 * QUIRE_NS_PER_S)
#define CROWDED_RETRY_NS (2 * QUIRE_NS_PER_MS)

void conn_close_transport(quire_client *client, bool forked) {
    struct transport *transport = client->conn.transport;
    if (transport == NULL) {
        return;
    }
    events_forget_socket(client);
    if (!forked && transport->ops->stop != NULL) {
        transport->ops->stop(transport); /* what it was sending or receiving may be freed next */
    }
    if (client->polling && client->polled == transport) {
        client->closing = transport; /* its descriptor's number must not be reused while the leader polls it */
        progress_kick(client);
    } else {
        transport->ops->close(transport, forked);
    }
    client->conn.transport = NULL;
}

void conn_reset_buffers(quire_client *client) {
    struct conn *conn = &client->conn;
    quire_decoder_free(&conn->decoder);
    memset(&conn->decoder, 0, sizeof(conn->decoder));
    free(conn->rx);
    conn->rx = NULL;
    tx_drop(conn);
    conn->n_releases = 0;
    conn->released_bytes = conn->released_ns = 0;
    conn->busy = false;
    conn->bulk_left = 0;
    conn->bulk = (struct bulk){0};
    conn->afar = false;
    conn->afar_reads = 0;
    conn->afar_bytes = 0;
    conn->pings = false;
    conn->heartbeat = (struct heartbeat){0};
}

/* Half of it to one and a half: those who lost a daemon at the same moment do not come back at the same moment. */
uint64_t conn_wait_ns(quire_client *client) {
    uint64_t wait_ns = BACKOFF_FIRST_NS << quire_min_u64(client->conn.failures, 16);
    wait_ns = quire_min_u64(wait_ns, BACKOFF_LAST_NS);
    return wait_ns / 2 + client_random(client) % wait_ns;
}

static void back_off(quire_client *client) {
    struct conn *conn = &client->conn;
    conn->next_attempt_ns = clock_ns() + conn_wait_ns(client);
    conn->failures++;
}

static void fail_stalled(quire_client *client, struct link *list, enum quire_status status, const char *text) {
    while (!list_empty(list)) {
        struct job *job = LINK_OWNER(list->next, struct job, link);
        if (job->kind == JOB_CONNECT) {
            job_finish(client, job, status, "%s", text);
        } else {
            job_finish(client, job, QUIRE_DISCONNECTED, "%s", text);
        }
    }
}

/* It never stood, and that was not the daemon's word: another of its addresses may lead there at once. */
static bool another_route(quire_client *client, enum quire_status status) {
    struct conn *conn = &client->conn;
    bool nobody = status == QUIRE_DISCONNECTED || status == QUIRE_TIMEOUT || status == QUIRE_SYSTEM;
    return conn->state != CONN_UP && conn->route != NULL && nobody && routes_failed(client, conn->route, clock_ns());
}

/* They were between two frames: what is left of them goes by another connection. */
static void move_stores(quire_client *client, struct link *list, const char *text) {
    for (struct link *at = list->next, *next; at != list; at = next) {
        struct job *job = LINK_OWNER(at, struct job, link);
        next = at->next;
        if (job->kind == JOB_STORE) {
            store_broke(client, job, true, text);
        }
    }
}

void conn_down(quire_client *client, enum quire_status status, const char *format, ...) {
    struct conn *conn = &client->conn;
    bool again = conn->state == CONN_UP && status != QUIRE_CORRUPT && status != QUIRE_VERSION; /* what was under way is sent again */
    struct job *cut_off = slice_job(conn->bulk.slice);
    bool another = another_route(client, status);
    char text[JOB_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    memcpy(conn->why, text, sizeof(text));
    if (conn->state == CONN_UP) {
        conn->failures = 0; /* it did work: the first attempt comes soon */
    }
    atomic_store(&client->serial_up, 0);
    conn->state = CONN_DOWN;
    conn_close_transport(client, false);
    conn_reset_buffers(client);
    pool_unref(&conn->pool);
    ingest_drop(client);
    if (again) {
        move_stores(client, &client->stalled_conn, text);
        move_stores(client, &client->stalled_space, text);
    }
    request_fail_all(client, QUIRE_DISCONNECTED, again, text);
    if (cut_off != NULL) {
        job_abort(client, cut_off, QUIRE_DISCONNECTED, text); /* in the middle of what it waited for */
    }
    if (another) {
        conn->next_attempt_ns = 0; /* those who wait for a connection go on waiting */
        progress_kick(client);
    } else {
        back_off(client);
        fail_stalled(client, &client->stalled_conn, status, text);
    }
    fail_stalled(client, &client->stalled_space, status, text);
    fail_stalled(client, &client->stalled_load, status, text);
}

/* With a proof of the token where the daemon asked for one. */
static enum quire_status say_hello(quire_client *client, const uint8_t *nonce) {
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    uint8_t proof[QUIRE_PROOF_BYTES];
    hello.major = QUIRE_PROTO_MAJOR;
    hello.minor = QUIRE_PROTO_MINOR;
    hello.features = QUIRE_FEATURE_LOAD | QUIRE_FEATURE_RANGES | QUIRE_FEATURE_PING;
    hello.client = client->name;
    hello.last_epoch = client->last_epoch;
    if (nonce != NULL) {
        quire_proof(client->token.secret, strlen(client->token.secret), nonce, client->token.name, proof);
        hello.token = client->token.name;
        hello.proof = (ProtobufCBinaryData){.len = sizeof(proof), .data = proof};
    }
    return tx_frame(client, QUIRE_MSG_HELLO, 0, &hello.base);
}

static enum quire_status conn_connect(quire_client *client, uint64_t now_ns) {
    struct conn *conn = &client->conn;
    char why[JOB_TEXT_BYTES] = "";
    struct transport *transport = NULL;
    struct route *route = conn->route = routes_next(client, now_ns);
    client->transport = route->ops;
    enum quire_status status =
        route->ops->connect(route->full, &client->settings, route->failures, &transport, (struct transport_why){why, sizeof(why)});
    if (status == QUIRE_RETRY && now_ns < conn->attempts_end_ns) {
        conn->next_attempt_ns = now_ns + CROWDED_RETRY_NS; /* its queue of connections is full: it lives */
        progress_kick(client);
        return QUIRE_PENDING;
    }
    if (status != QUIRE_OK) {
        status = status == QUIRE_RETRY ? QUIRE_DISCONNECTED : status;
        conn_down(client, status, "%s", why);
        return conn->next_attempt_ns == 0 ? QUIRE_PENDING : status; /* by another route */
    }
    conn->transport = transport;
    conn->challenged = false;
    conn->serial = ++client->serials;
    conn->state = CONN_HELLO;
    conn->hello_deadline_ns = now_ns + routes_share_ms(client) * QUIRE_NS_PER_MS;
    conn->rx = malloc(RX_BUFFER_BYTES);
    bool wire = client->transport->wire; /* there the daemon speaks first */
    if (conn->rx == NULL || (!wire && say_hello(client, NULL) != QUIRE_OK)) {
        conn_down(client, QUIRE_NO_MEMORY, "out of memory for a connection");
        return QUIRE_NO_MEMORY;
    }
    tx_flush(client);
    progress_kick(client); /* a leader that polls nothing yet */
    return conn->state == CONN_DOWN ? QUIRE_DISCONNECTED : QUIRE_PENDING;
}

enum quire_status conn_need(quire_client *client, uint64_t now_ns) {
    struct conn *conn = &client->conn;
    if (conn->state == CONN_UP) {
        return QUIRE_OK;
    }
    if (conn->state != CONN_DOWN) {
        return QUIRE_PENDING;
    }
    if (!list_empty(&client->stalled_conn)) {
        return QUIRE_PENDING; /* its queue of connections is full; others wait already */
    }
    if (now_ns < conn->next_attempt_ns) {
        return QUIRE_DISCONNECTED;
    }
    conn->attempts_end_ns = now_ns + client->options.connect_timeout_ms * QUIRE_NS_PER_MS;
    routes_begin(client);
    return conn_connect(client, now_ns);
}

enum quire_status conn_need_again(quire_client *client, uint64_t now_ns) {
    struct conn *conn = &client->conn;
    if (conn->state != CONN_DOWN || now_ns >= conn->next_attempt_ns || !list_empty(&client->stalled_conn)) {
        return conn_need(client, now_ns);
    }
    conn->attempts_end_ns = conn->next_attempt_ns + client->options.connect_timeout_ms * QUIRE_NS_PER_MS;
    routes_begin(client);
    return QUIRE_PENDING;
}

static void conn_up(quire_client *client) {
    struct conn *conn = &client->conn;
    conn->state = CONN_UP;
    conn->failures = 0;
    routes_worked(conn->route);
    if (client->last_epoch != 0) {
        client->reconnects++;
    }
    client->last_epoch = conn->epoch;
    atomic_store(&client->serial_up, conn->serial);
    job_wake_list(client, &client->stalled_conn);
}

static bool take_memory(quire_client *client, const Quire__Wire__HelloAck *ack) {
    struct conn *conn = &client->conn;
    int pool_fd = transport_take_fd(conn->transport), generations_fd = transport_take_fd(conn->transport);
    if (!ack->member) {
        if (pool_fd >= 0) {
            close(pool_fd);
        }
        if (generations_fd >= 0) {
            close(generations_fd);
        }
        return true;
    }
    const char *why = NULL;
    if (pool_map(pool_fd, generations_fd, ack->pool_bytes, ack->generation_slots, &conn->pool, &why) != QUIRE_OK) {
        conn_down(client, QUIRE_SYSTEM, "the daemon's memory was refused: %s", why);
        return false;
    }
    return true;
}

void conn_on_challenge(quire_client *client, const uint8_t *body, size_t size) {
    struct conn *conn = &client->conn;
    bool awaited = conn->state == CONN_HELLO && client->transport->wire && !conn->challenged;
    Quire__Wire__Challenge *challenge = awaited ? quire__wire__challenge__unpack(NULL, size, body) : NULL;
    if (challenge == NULL || challenge->nonce.len != QUIRE_NONCE_BYTES) {
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed challenge, or one that nobody asked for");
    } else if (challenge->major != QUIRE_PROTO_MAJOR) {
        conn_down(client, QUIRE_VERSION, "quired speaks protocol %u, this library %d", challenge->major, QUIRE_PROTO_MAJOR);
    } else if (say_hello(client, challenge->nonce.data) != QUIRE_OK) {
        conn_down(client, QUIRE_NO_MEMORY, "out of memory for a connection");
    } else {
        conn->challenged = true;
        tx_flush(client);
    }
    quire__wire__challenge__free_unpacked(challenge, NULL);
}

void conn_on_hello(quire_client *client, const uint8_t *body, size_t size) {
    struct conn *conn = &client->conn;
    Quire__Wire__HelloAck *ack = conn->state == CONN_HELLO ? quire__wire__hello_ack__unpack(NULL, size, body) : NULL;
    if (ack == NULL) {
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed greeting");
        return;
    }
    if (ack->major != QUIRE_PROTO_MAJOR) {
        conn_down(client, QUIRE_VERSION, "quired speaks protocol %u, this library %d", ack->major, QUIRE_PROTO_MAJOR);
    } else if (take_memory(client, ack)) {
        conn->epoch = ack->epoch;
        conn->session = ack->session;
        conn->pool_bytes = ack->pool_bytes;
        conn->lease_ms = ack->lease_ms;
        conn->ingest_max_bytes = ack->ingest_max_bytes;
        conn->member = ack->member;
        conn->verify = ack->verify_always;
        conn->admin = ack->admin;
        conn->slice_bytes = conn->transport->ops->receive_bulk != NULL ? READ_MESSAGE_BYTES : READ_SLICE_BYTES;
        conn->slice_bytes = ack->read_max_bytes > 0 ? quire_min_u64(conn->slice_bytes, ack->read_max_bytes) : conn->slice_bytes;
        conn->ranges = (ack->features & QUIRE_FEATURE_RANGES) != 0;
        conn->pings = client->transport->wire && (ack->features & QUIRE_FEATURE_PING) != 0;
        snprintf(conn->version, sizeof(conn->version), "%s", ack->version != NULL ? ack->version : "");
        if (!afar_attach(client, ack)) {
            quire__wire__hello_ack__free_unpacked(ack, NULL);
            return;
        }
        conn->state = CONN_REOPENING;
        conn->reopening = 1;
        ns_reopen_all(client);
        if (conn->state == CONN_REOPENING) {
            conn_on_ns_reopened(client);
        }
    }
    quire__wire__hello_ack__free_unpacked(ack, NULL);
}

void conn_on_ns_reopened(quire_client *client) {
    if (client->conn.state == CONN_REOPENING && --client->conn.reopening == 0) {
        conn_up(client);
    }
}

static void look_after_connecting(quire_client *client, uint64_t now_ns) {
    struct conn *conn = &client->conn;
    if (conn->state == CONN_DOWN) {
        if (!list_empty(&client->stalled_conn) && now_ns >= conn->next_attempt_ns) {
            conn_connect(client, now_ns);
        }
    } else if (conn->state != CONN_UP && now_ns >= conn->hello_deadline_ns) {
        conn_down(client, QUIRE_TIMEOUT, "quired accepted the connection and did not answer within %u ms", routes_share_ms(client));
    }
}

void conn_io(quire_client *client) {
    uint64_t now_ns = clock_ns();
    look_after_connecting(client, now_ns);
    tx_flush(client);
    rx_read(client);
    heartbeat_look(client, clock_ns());
    afar_look(client, clock_ns());
    if (client->conn.state == CONN_UP && !tx_full(client)) {
        job_wake_list(client, &client->stalled_conn);
    }
    if (client->next_wake_ns <= now_ns) {
        client->next_wake_ns = UINT64_MAX;
        job_wake_list(client, &client->stalled_space);
        job_wake_list(client, &client->stalled_load);
    }
    job_expire(client, now_ns);
}

/* The job that quire_open waits for: nothing but the connection. */
void connect_advance(quire_client *client, struct job *job) {
    enum quire_status status = conn_need(client, clock_ns());
    if (status == QUIRE_PENDING) {
        job_stall(job, &client->stalled_conn);
    } else if (!job->done) {
        job_finish(client, job, status, "%s", status == QUIRE_OK ? "" : client->conn.why);
    }
}
