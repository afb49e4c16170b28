/*
 * Heartbeats over a wire: while answers are outstanding and nothing comes, the daemon is asked for a sign of life, and is given up when there is none.
 *
 * Nobody looks while the program is busy elsewhere, and what came meanwhile has not been read: such an absence counts as no more silence than the
 * time after which we ask. So a verdict takes several looks, each after the socket was read.
 */
#include "client/internal.h"

static bool waits(const quire_client *client) {
    const struct conn *conn = &client->conn;
    return conn->pings && conn->state == CONN_UP &&
           (client->live_requests > 0 || conn->bulk_left > 0 || conn->afar_reads > 0 || conn->heartbeat.pinged);
}

/* Bytes in front of the PING are still going out: it cannot be answered yet, and somebody takes them. */
static bool ping_moves(const struct conn *conn) {
    const struct heartbeat *heartbeat = &conn->heartbeat;
    return heartbeat->pinged && heartbeat->moved && conn->tx_sent_bytes < heartbeat->ping_end_bytes;
}

void heartbeat_begin(quire_client *client) {
    struct conn *conn = &client->conn;
    if (!conn->pings || conn->heartbeat.pinged || conn->bulk_left > 0) {
        return; /* it is being waited for already */
    }
    conn->heartbeat = (struct heartbeat){.looked_ns = clock_ns()};
    if (client->poll_until_ns > heartbeat_due_ns(client)) {
        progress_kick(client);
    }
}

static void ask(quire_client *client) {
    struct conn *conn = &client->conn;
    if (tx_frame(client, QUIRE_MSG_PING, 0, NULL) == QUIRE_OK) {
        conn->heartbeat.pinged = true;
        conn->heartbeat.ping_end_bytes = conn->tx_sent_bytes + (conn->tx_end - conn->tx_start);
        tx_flush(client);
    }
}

void heartbeat_look(quire_client *client, uint64_t now_ns) {
    struct heartbeat *heartbeat = &client->conn.heartbeat;
    if (!waits(client) || heartbeat->heard) {
        *heartbeat = (struct heartbeat){.looked_ns = now_ns};
        return;
    }
    uint64_t step_ns = now_ns > heartbeat->looked_ns ? now_ns - heartbeat->looked_ns : 0;
    heartbeat->silent_ns += quire_min_u64(step_ns, client->ping_after_ns);
    heartbeat->looked_ns = now_ns;
    if (ping_moves(&client->conn)) {
        heartbeat->silent_ns = client->ping_after_ns;
    }
    heartbeat->moved = false;
    if (heartbeat->silent_ns >= client->silence_ns) {
        conn_down(client, QUIRE_DISCONNECTED,
                  "quired has not said a word for %u ms, nor answered a PING: it, its host or the way there is gone",
                  (unsigned)(heartbeat->silent_ns / QUIRE_NS_PER_MS));
    } else if (heartbeat->silent_ns >= client->ping_after_ns && !heartbeat->pinged) {
        ask(client);
    }
}

uint64_t heartbeat_due_ns(const quire_client *client) {
    const struct heartbeat *heartbeat = &client->conn.heartbeat;
    if (!waits(client)) {
        return UINT64_MAX;
    }
    uint64_t next_ns = heartbeat->silent_ns < client->ping_after_ns ? client->ping_after_ns : client->silence_ns;
    return heartbeat->looked_ns + quire_min_u64(next_ns - heartbeat->silent_ns, client->ping_after_ns);
}
