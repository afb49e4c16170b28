#include <quire.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS = 2, HEADS = 2, DIM = 64, BLOCK = 16, TOKENS = 48, BLOCKS = TOKENS / BLOCK };
static uint16_t cache[2][LAYERS][TOKENS][HEADS][DIM]; // an engine's K and V, f16

int main(void) {
    quire_layout layout = {.n_layers = LAYERS, .n_groups = 1, .block_tokens = BLOCK, .kv_src = {0, 1}};
    layout.group[0] = (quire_group){.n_kv_heads = HEADS, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    memset(layout.weights_digest, 7, sizeof(layout.weights_digest)); // SHA-256 of the model's weights
    uint32_t tokens[TOKENS] = {101, 102, 103};
    quire_client *client = NULL;
    quire_ns *ns = NULL;
    if (quire_open(NULL, &client) != QUIRE_OK || quire_ns_open(client, "example", &layout, &ns) != QUIRE_OK) {
        printf("computing everything: %s\n", quire_last_error());
        quire_close(&client);
        return 0;
    }
    quire_key keys[BLOCKS], none = {{0}};
    size_t n_keys = 0;
    quire_chain(ns, tokens, TOKENS, NULL, 0, false, keys, BLOCKS, &n_keys);
    quire_lookup_args args = {.keys = keys, .n_keys = (uint32_t)n_keys};
    quire_lookup_result found;
    quire_lookup(ns, &args, NULL, &found); // a failure is a miss: found.hits is 0
    for (uint32_t i = 0; i < BLOCKS; i++) {
        void *k[LAYERS], *v[LAYERS];
        const void *from_k[LAYERS], *from_v[LAYERS];
        for (int layer = 0; layer < LAYERS; layer++) {
            from_k[layer] = k[layer] = cache[0][layer][i * BLOCK];
            from_v[layer] = v[layer] = cache[1][layer][i * BLOCK];
        }
        int64_t head = sizeof(cache[0][0][0][0]), token = sizeof(cache[0][0][0]);
        quire_dest dest = {.key_index = i, .k_base = k, .v_base = v, .region = cache, .region_bytes = sizeof(cache)};
        dest.k_head_stride = dest.v_head_stride = head;
        dest.k_token_stride = dest.v_token_stride = token;
        if (i < found.hits && quire_fetch(found.lease, &dest, 1, NULL, 0) == QUIRE_OK) {
            printf("block %u: reused %u tokens\n", i, dest.n_tokens);
            continue;
        }
        found.hits = 0;                                                             // what follows a miss is computed
        memset(cache[0][0][i * BLOCK], (int)i + 1, sizeof(cache[0][0][0]) * BLOCK); // ... by the engine
        quire_source source = {.key = keys[i], .parent = i == 0 ? none : keys[i - 1], .n_tokens = BLOCK};
        source.k_base = from_k, source.v_base = from_v;
        source.k_head_stride = source.v_head_stride = head;
        source.k_token_stride = source.v_token_stride = token;
        enum quire_status status = quire_store(ns, &source, 1, NULL, 0, NULL);
        printf("block %u: computed, stored: %s\n", i, quire_status_text(status));
    }
    quire_release(&found.lease);
    quire_ns_close(&ns);
    quire_close(&client);
    return 0;
}
