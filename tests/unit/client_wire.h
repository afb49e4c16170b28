/* A client that takes the way to the double (client_double.h) for a wire: what libquire does over one, without TLS in between. */
#ifndef CLIENT_WIRE_H
#define CLIENT_WIRE_H

#include "client/internal.h"
#include "client_double.h"

static struct twin twin;
static quire_client *client;
static quire_ns *ns;
static struct transport_ops wire_ops; /* a test may put functions of its own there, after wire_open */

static inline enum quire_status wire_connect(const char *path, const struct transport_settings *settings, uint32_t attempt,
                                             struct transport **transport, struct transport_why why) {
    enum quire_status status = transport_unix.connect(path, settings, attempt, transport, why);
    if (status == QUIRE_OK) {
        (*transport)->ops = &wire_ops;
    }
    return status;
}

/* `client`, of the twin that was started: asks for a sign of life after ping_ms, and gives up after silence_ms. */
static inline void wire_open(uint32_t ping_ms, uint32_t silence_ms) {
    quire_options options = {
        .address = twin.path, .flags = QUIRE_OPEN_LAZY, .connect_timeout_ms = 20000, .default_deadline_ms = 20000, .max_jobs = 64};
    if (quire_open(&options, &client) != QUIRE_OK) {
        abort();
    }
    wire_ops = transport_unix;
    wire_ops.scheme = "double";
    wire_ops.wire = true;
    wire_ops.connect = wire_connect;
    client->transport = client->routes[0].ops = &wire_ops;
    strcpy(client->token.name, "worker");
    strcpy(client->token.secret, "0123456789abcdef");
    client->ping_after_ns = ping_ms * QUIRE_NS_PER_MS;
    client->silence_ns = silence_ms * QUIRE_NS_PER_MS;
}

static inline void stop(void) {
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
}

/* A layout of two layers, of which a block has 1 KiB. */
static inline quire_layout wire_layout(void) {
    quire_layout layout = {.n_layers = 2, .n_groups = 1, .block_tokens = 16, .kv_src = {0, 1}};
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = 8, .v_dim = 8, .elem = QUIRE_F16};
    return layout;
}

/* A block of it: what lies there is nobody's concern. */
static inline quire_source wire_source(uint8_t key) {
    static uint16_t lane[16][8];
    static const void *base[2] = {lane, lane};
    return (quire_source){.key = {{key}}, .n_tokens = 16, .k_base = base, .v_base = base, .k_token_stride = 16, .v_token_stride = 16};
}

#endif
