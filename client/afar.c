/*
 * Reading from afar: a record out of the daemon's memory into places here, then its generation. If that is still the granted one, the record stood while it
 * was read; its checksums are verified besides, as always. The daemon has no part in it.
 */
#include "client/internal.h"

static void afar_step(struct afar *afar, enum quire_status status);

static void on_got(void *arg, enum quire_status status) {
    struct afar *afar = arg;
    afar->client->conn.afar_watch.got = true;
    afar_step(afar, status);
}

static void end(struct afar *afar, enum quire_status status) {
    afar->client->conn.afar_reads--;
    afar->over(afar->client, afar->arg, status);
}

/* The last of the reads asks for the generation; that is read after all of them. */
static void afar_step(struct afar *afar, enum quire_status status) {
    quire_client *client = afar->client;
    const struct transport *transport = client->conn.transport;
    afar->failed = afar->failed != QUIRE_OK ? afar->failed : status;
    if (--afar->left > 0) {
        return;
    }
    if (afar->failed != QUIRE_OK || afar->checking) {
        bool stood = afar->failed != QUIRE_OK || afar->generation == afar->expected;
        end(afar, stood ? afar->failed : QUIRE_STALE);
        return;
    }
    afar->checking = true;
    afar->left = 1;
    status = transport->ops->get(client->conn.transport, TRANSPORT_GENERATIONS, (uint64_t)afar->slot * sizeof(afar->generation),
                                 &afar->generation, sizeof(afar->generation), on_got, afar);
    if (status != QUIRE_OK) {
        end(afar, status);
    }
}

void afar_begin(quire_client *client, struct afar *afar, const struct quire_wire_grant *grant,
                void (*over)(quire_client *client, void *arg, enum quire_status status), void *arg) {
    *afar = (struct afar){
        .client = client, .over = over, .arg = arg, .left = 1, .record = grant->offset, .slot = grant->slot, .expected = grant->generation};
    if (client->conn.afar_reads++ == 0) {
        client->conn.afar_watch = (struct afar_watch){.looked_ns = clock_ns()};
    }
}

void afar_read(struct afar *afar, uint32_t offset, void *to, uint32_t size) {
    struct transport *transport = afar->client->conn.transport;
    afar->left++;
    enum quire_status status = afar->failed != QUIRE_OK
                                   ? afar->failed
                                   : transport->ops->get(transport, TRANSPORT_POOL, afar->record + offset, to, size, on_got, afar);
    if (status != QUIRE_OK) {
        afar->left--;
        afar->failed = afar->failed != QUIRE_OK ? afar->failed : status;
    }
}

void afar_end(struct afar *afar) {
    progress_kick(afar->client);
    afar_step(afar, QUIRE_OK);
}

void afar_abandon(struct afar *afar) { afar->failed = afar->failed != QUIRE_OK ? afar->failed : QUIRE_CANCELLED; }

/* ---- no end of it --------------------------------------------------------------------------------------------------------- */
/* Only the card knows when a read is over; the daemon's frames come in any case. Time in which nobody looked counts as in heartbeat.c. */
void afar_look(quire_client *client, uint64_t now_ns) {
    struct afar_watch *watch = &client->conn.afar_watch;
    if (client->conn.afar_reads == 0 || watch->got) {
        *watch = (struct afar_watch){.looked_ns = now_ns};
        return;
    }
    uint64_t step_ns = now_ns > watch->looked_ns ? now_ns - watch->looked_ns : 0;
    watch->silent_ns += quire_min_u64(step_ns, client->ping_after_ns);
    watch->looked_ns = now_ns;
    if (watch->silent_ns >= client->silence_ns) {
        conn_down(client, QUIRE_DISCONNECTED,
                  "nothing has come for %u ms of what is read from quired's memory: its network card, its host or the way there is gone",
                  (unsigned)(watch->silent_ns / QUIRE_NS_PER_MS));
    }
}

uint64_t afar_due_ns(const quire_client *client) {
    const struct afar_watch *watch = &client->conn.afar_watch;
    uint64_t left_ns = quire_min_u64(client->silence_ns - watch->silent_ns, client->ping_after_ns);
    return client->conn.afar_reads > 0 ? watch->looked_ns + left_ns : UINT64_MAX;
}

/* ---- may it --------------------------------------------------------------------------------------------------------------- */
bool afar_attach(quire_client *client, const Quire__Wire__HelloAck *ack) {
    struct conn *conn = &client->conn;
    bool asked = client->fetch_path == QUIRE_FETCH_RMA;
    enum quire_status status = QUIRE_UNSUPPORTED;
    if (conn->transport->ops->attach != NULL && client->fetch_path != QUIRE_FETCH_AM && ack->afar != NULL) {
        const Quire__Wire__Afar *afar = ack->afar;
        const struct transport_region regions[TRANSPORT_REGIONS] = {
            [TRANSPORT_POOL] = {afar->pool, ack->pool_bytes, afar->pool_key.data, afar->pool_key.len},
            [TRANSPORT_GENERATIONS] = {afar->generations, (uint64_t)ack->generation_slots * sizeof(uint32_t), afar->generations_key.data,
                                       afar->generations_key.len}};
        status = conn->transport->ops->attach(conn->transport, regions, asked);
    }
    conn->afar = status == QUIRE_OK;
    if (asked && !conn->afar) {
        conn_down(client, QUIRE_UNSUPPORTED,
                  "fetch_path is rma, which needs ucx://, `rma: true` in the daemon's trust domain, and a token with the right rma");
    }
    return !asked || conn->afar;
}
