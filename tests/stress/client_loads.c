/*
 * Threads that share one lease of which everything is only on disk: each fetches blocks whole and in part, so that the same records are asked for, learned
 * and looked for at the same time, while answers come to whoever polls. Every byte must be right.
 */
#include "codec/record.h"
#include "tests/unit/client_double.h"

enum { KEYS = 60, TOKENS = 16, DIM = 8, LAYERS = 2, THREADS = 4, ROUNDS = 40, FETCHES = 30 };

static struct twin twin;
static quire_key keys[KEYS];
static quire_layout layout = {.n_layers = LAYERS, .n_groups = 1, .block_tokens = TOKENS, .kv_src = {0, 1}};
static struct quire_record_shape shape;
static quire_lookup_result found;

static void require(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, quire_last_error());
        abort();
    }
}

static uint64_t place(uint32_t key) { return (uint64_t)key * 16384; }

static void fill(int fd) {
    uint8_t digest[32], *record = aligned_alloc(64, (shape.size_bytes + 63) / 64 * 64);
    uint8_t lane[TOKENS * DIM * 2];
    require(quire_layout_digest(&layout, digest) == QUIRE_OK, "digest");
    for (uint32_t i = 0; i < KEYS; i++) {
        memset(lane, (int)i + 1, sizeof(lane));
        for (uint32_t l = 0; l < shape.n_lanes; l++) {
            quire_record_fill_lane(record, &shape, l, lane);
        }
        struct quire_record_facts facts = {.key = keys[i], .layout_tag = quire_record_layout_tag(digest)};
        quire_record_seal(record, &shape, &facts);
        require(pwrite(fd, record, shape.size_bytes, (off_t)place(i)) == (ssize_t)shape.size_bytes, "pool");
    }
    free(record);
}

static void answer(int fd, const struct quire_frame *frame, uint64_t lease, const struct quire_wire_grant *grants, uint32_t n) {
    static const uint8_t statuses[KEYS];
    Quire__Wire__Grants reply = QUIRE__WIRE__GRANTS__INIT;
    reply.epoch = DOUBLE_EPOCH;
    reply.lease = lease;
    reply.hits = n;
    reply.grants = (ProtobufCBinaryData){.len = n * sizeof(*grants), .data = (uint8_t *)(uintptr_t)grants};
    reply.statuses = (ProtobufCBinaryData){.len = lease == 0 ? n : 0, .data = (uint8_t *)(uintptr_t)statuses};
    twin_send(fd, QUIRE_MSG_GRANTS, frame->request_id, &reply.base, 0, NULL, 0);
}

/* What is asked for in part is given in place of the record itself: its other lanes are there, too, and nobody may rely on it. */
static void script(struct twin *self, int fd, const struct quire_frame *frame, const uint8_t *body) {
    struct quire_wire_grant grants[KEYS];
    (void)self;
    if (frame->type == QUIRE_MSG_LEASE) {
        for (uint32_t i = 0; i < KEYS; i++) {
            grants[i] = (struct quire_wire_grant){.offset = QUIRE_WIRE_AWAY, .size = shape.size_bytes, .slot = i, .key_index = (uint16_t)i};
        }
        answer(fd, frame, 7, grants, KEYS);
    } else if (frame->type == QUIRE_MSG_LOAD) {
        Quire__Wire__Load *load = quire__wire__load__unpack(NULL, frame->body_bytes, body);
        struct quire_wire_load items[KEYS];
        uint32_t n = (uint32_t)(load->items.len / sizeof(items[0]));
        require(n <= KEYS, "items");
        memcpy(items, load->items.data, load->items.len);
        for (uint32_t i = 0; i < n; i++) {
            bool part = (items[i].flags & QUIRE_WIRE_LOAD_PARTIAL) != 0;
            grants[i] = (struct quire_wire_grant){.offset = place(items[i].slot), .size = shape.size_bytes, .key_index = (uint16_t)i};
            grants[i].slot = part ? DOUBLE_SLOTS - 1 : items[i].slot;
        }
        answer(fd, frame, 0, grants, n);
        quire__wire__load__free_unpacked(load, NULL);
    }
}

static void *fetch(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < FETCHES; i++) {
        uint16_t cache[2][8][LAYERS][TOKENS][DIM];
        void *k[8][LAYERS], *v[8][LAYERS];
        quire_dest dests[8];
        bool part = rand_r(&seed) % 2 == 0;
        memset(cache, 0, sizeof(cache));
        for (uint32_t d = 0; d < 8; d++) {
            for (uint32_t layer = 0; layer < LAYERS; layer++) {
                k[d][layer] = cache[0][d][layer];
                v[d][layer] = cache[1][d][layer];
            }
            dests[d] = (quire_dest){.key_index = (uint32_t)rand_r(&seed) % KEYS, .k_base = k[d], .v_base = v[d]};
            dests[d].k_token_stride = dests[d].v_token_stride = DIM * 2;
            dests[d].rect = part ? (quire_rect){.first_layer = (uint16_t)(d % LAYERS), .n_layers = 1, .n_heads = 1} : (quire_rect){0};
        }
        require(quire_fetch(found.lease, dests, 8, NULL, 60000) == QUIRE_OK, "fetch");
        for (uint32_t d = 0; d < 8; d++) {
            uint16_t want = (uint16_t)((dests[d].key_index + 1) * 0x0101);
            require(cache[0][d][0][TOKENS - 1][DIM - 1] == want && cache[1][d][part ? 0 : 1][0][0] == want, "wrong bytes");
        }
    }
    return NULL;
}

int main(void) {
    quire_client *client;
    quire_ns *ns;
    layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = DIM, .v_dim = DIM, .elem = QUIRE_F16};
    require(quire_record_shape(&layout, 0, TOKENS, 0, &shape) == QUIRE_OK && shape.size_bytes <= 16384, "shape");
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i].b[0] = (uint8_t)(i + 1);
    }
    twin.script = script;
    twin.fill = fill;
    twin_start(&twin);
    require(twin_open(&twin, &client, &ns) == QUIRE_OK, "open");
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        quire_lookup_args args = {.keys = keys, .n_keys = KEYS, .deadline_ms = 60000};
        require(quire_lookup(ns, &args, NULL, &found) == QUIRE_OK && found.hits == KEYS, "lookup");
        for (uintptr_t i = 0; i < THREADS; i++) {
            require(pthread_create(&threads[i], NULL, fetch, (void *)(i * 977 + (uintptr_t)round * 31 + 1)) == 0, "thread");
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
        quire_release(&found.lease);
    }
    quire_ns_close(&ns);
    quire_close(&client);
    twin_stop(&twin);
    return 0;
}
