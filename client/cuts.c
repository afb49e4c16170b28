/*
 * Blocks that go in parts, because the ingest window would not take them beside another. Of each is known which layers are under way and which
 * the daemon has taken, so that only the rest is sent again. The last part of a block goes when all others were taken, and says so: the
 * daemon then knows whether it still has them, and its OK means that the block is complete.
 */
#include "client/internal.h"

#include <stdlib.h>

static bool has(const uint64_t *layers, uint32_t layer) { return (layers[layer / 64] >> layer % 64 & 1) != 0; }

/* How many of them it changed. */
static uint32_t mark(uint64_t *layers, uint32_t first, uint32_t n, bool on) {
    uint32_t changed = 0;
    for (uint32_t layer = first; layer < first + n; layer++) {
        changed += has(layers, layer) != on;
        layers[layer / 64] = on ? layers[layer / 64] | 1ull << layer % 64 : layers[layer / 64] & ~(1ull << layer % 64);
    }
    return changed;
}

static bool is_open(const struct job_store *store, const struct cut *cut) {
    enum quire_status status = store->sources[cut->source].status;
    return status == QUIRE_PENDING || status == QUIRE_RETRY;
}

struct cut *cut_of(const struct job_store *store, uint32_t source) {
    struct cut *cut = store->cuts;
    while (cut != NULL && cut->source != source) {
        cut = cut->next;
    }
    return cut;
}

static uint64_t fresh_put_id(struct job_store *store) {
    store->put_id += 2;
    return store->put_id | 1;
}

struct cut *cut_begin(struct job_store *store, uint32_t source, const quire_rect *rect) {
    struct cut *cut = calloc(1, sizeof(*cut)), **link = &store->cuts;
    if (cut == NULL) {
        return NULL;
    }
    cut->source = source;
    cut->ours = store->sources[source].put_id == 0;
    cut->put_id = cut->ours ? fresh_put_id(store) : store->sources[source].put_id;
    cut->rect = *rect;
    while (*link != NULL && (*link)->source < source) {
        link = &(*link)->next;
    }
    cut->next = *link;
    *link = cut;
    return cut;
}

/* ---- sending -------------------------------------------------------------------------------------------------------------- */
static uint64_t layers_bytes(const struct job_store *store, const struct cut *cut, uint32_t n_layers) {
    const quire_source *source = &store->sources[cut->source];
    quire_rect rect = cut->rect;
    rect.n_layers = (uint16_t)n_layers;
    return quire_layout_rect_bytes(&store->ns->layout, source->group, &rect, source->n_tokens);
}

bool cut_next(struct job_store *store, struct cut *cut, uint64_t window_bytes, struct chunk_item *item) {
    quire_source *source = &store->sources[cut->source];
    if (source->status != QUIRE_PENDING || cut->n_sent == cut->rect.n_layers) {
        return false;
    }
    uint64_t layer_bytes = layers_bytes(store, cut, 1);
    if (layer_bytes > window_bytes) {
        source->status = QUIRE_TOO_LARGE;
        return false;
    }
    if (cut->n_each == 0 || cut->n_each * layer_bytes > window_bytes) {
        cut->n_each = (uint32_t)quire_max_u64(1, window_bytes / 4 / quire_max_u64(layer_bytes, 1));
    }
    uint32_t first = 0, n = 0;
    while (has(cut->sent, first)) {
        first++;
    }
    while (n < cut->n_each && first + n < cut->rect.n_layers && !has(cut->sent, first + n)) {
        n++;
    }
    if (cut->n_sent + n == cut->rect.n_layers && cut->n_taken < cut->n_sent) {
        return false; /* the last one waits for the others */
    }
    item->source = cut->source;
    item->rect = cut->rect;
    item->rect.first_layer = (uint16_t)(cut->rect.first_layer + first);
    item->rect.n_layers = (uint16_t)n;
    item->bytes = layers_bytes(store, cut, n);
    item->cut = true;
    item->put_id = cut->put_id;
    item->taken = cut->n_taken * cut->rect.n_heads;
    return true;
}

void cut_sent(struct cut *cut, const struct chunk_item *item) {
    cut->begun = true;
    cut->n_sent += mark(cut->sent, item->rect.first_layer - cut->rect.first_layer, item->rect.n_layers, true);
}

void cut_unsent(struct cut *cut, const struct chunk_item *item) {
    cut->n_sent -= mark(cut->sent, item->rect.first_layer - cut->rect.first_layer, item->rect.n_layers, false);
}

/* ---- giving up ------------------------------------------------------------------------------------------------------------ */
/* Else the daemon would keep it, on this session's account, until the parts expire. */
static void give_up(quire_client *client, const struct job_store *store, uint32_t source, uint64_t put_id) {
    Quire__Wire__Cancel cancel = QUIRE__WIRE__CANCEL__INIT;
    const char *why;
    if (client->conn.state != CONN_UP || ns_handle(client, store->ns, &cancel.ns, &why) != QUIRE_OK) {
        return;
    }
    cancel.keys.data = store->sources[source].key.b;
    cancel.keys.len = sizeof(quire_key);
    cancel.put_ids = &put_id;
    cancel.n_put_ids = 1;
    if (tx_frame(client, QUIRE_MSG_CANCEL, 0, &cancel.base) == QUIRE_OK) {
        tx_flush(client);
    }
}

void cuts_sweep(quire_client *client, struct job_store *store, bool all) {
    for (struct cut **link = &store->cuts; *link != NULL;) {
        struct cut *cut = *link;
        if (!all && is_open(store, cut)) {
            link = &cut->next;
            continue;
        }
        if (cut->ours && cut->n_sent > 0 && store->sources[cut->source].status != QUIRE_OK) {
            give_up(client, store, cut->source, cut->put_id);
        }
        *link = cut->next;
        free(cut);
    }
}

void store_drop(struct job_store *store) {
    while (store->cuts != NULL) {
        struct cut *cut = store->cuts;
        store->cuts = cut->next;
        free(cut);
    }
}

/* ---- answers -------------------------------------------------------------------------------------------------------------- */
static void begin_anew(struct job_store *store, struct cut *cut) {
    memset(cut->sent, 0, sizeof(cut->sent));
    memset(cut->taken, 0, sizeof(cut->taken));
    cut->n_sent = cut->n_taken = 0;
    cut->begun = false;
    cut->put_id = cut->ours ? fresh_put_id(store) : cut->put_id;
    store->sources[cut->source].status = QUIRE_RETRY;
    store->retry = true;
}

/* The daemon has dropped what it had taken. Our block begins anew; one that others bring parts of can not be begun by us alone. */
static void lose(struct job_store *store, struct cut *cut) {
    if (cut->ours) {
        begin_anew(store, cut);
    } else {
        store->sources[cut->source].status = QUIRE_STALE;
    }
}

/* Our own goes under another put_id, since it may go in other parts; the caller's under its own, in the same parts. */
void cuts_lost(struct job_store *store) {
    for (struct cut *cut = store->cuts; cut != NULL; cut = cut->next) {
        if (is_open(store, cut) && cut->begun) {
            begin_anew(store, cut);
        }
    }
}

static void taken(struct job_store *store, struct cut *cut, const struct chunk_item *item) {
    cut->n_taken += mark(cut->taken, item->rect.first_layer - cut->rect.first_layer, item->rect.n_layers, true);
    if (cut->n_taken == cut->rect.n_layers) {
        store->sources[cut->source].status = QUIRE_OK;
    }
}

void cut_answered(quire_client *client, struct job_store *store, const struct chunk_item *item, enum quire_status status) {
    struct cut *cut = cut_of(store, item->source);
    if (cut == NULL || !is_open(store, cut) || cut->put_id != item->put_id) {
        if (status == QUIRE_OK && item->put_id != store->sources[item->source].put_id) {
            give_up(client, store, item->source, item->put_id); /* it was taken after we had given it up */
        }
        return;
    }
    if (status == QUIRE_OK) {
        taken(store, cut, item);
    } else if (status == QUIRE_RETRY) {
        cut_unsent(cut, item);
        store->sources[item->source].status = status;
    } else if (status == QUIRE_STALE && item->taken > 0) {
        uint64_t put_id = cut->put_id;
        lose(store, cut);
        if (cut->ours) {
            give_up(client, store, item->source, put_id);
        }
    } else {
        store->sources[item->source].status = status;
    }
}
