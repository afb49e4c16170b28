/*
 * Stores whose connection broke. What was put and not answered may have arrived or not; it is put again by another connection, and the daemon makes one
 * block of both: a block that is there already is answered OK, and so is a part under the caller's own put_id. A block that is cut here goes under
 * another put_id. Not what counts (PIN would pin twice): its outcome is not known, and the caller hears so.
 *
 * Parts that were taken before the break may have gone with the session, so those under the caller's own put_id go again as well, as far as this
 * store has them.
 */
#include "client/internal.h"

#include <stdio.h>

#define BREAKS_MAX 3u /* it may be what we send that breaks them */

bool store_is_cut_off(const quire_client *client, const struct job_store *store) {
    return client->conn.state != CONN_UP || store->serial != client->conn.serial;
}

static bool may_go_again(const quire_source *source) { return (source->flags & QUIRE_STORE_PIN) == 0; }

/* Its OK says no more than that it was taken. */
static bool is_part(const quire_layout *layout, const quire_source *source) {
    quire_rect whole = quire_layout_whole(layout, source->group), rect = whole;
    bool resolved = source->put_id != 0 && !layout->opaque && rect_resolve(layout, source->group, &source->rect, &rect) == QUIRE_OK;
    return resolved && memcmp(&rect, &whole, sizeof(whole)) != 0;
}

void store_moved(struct job_store *store) {
    for (uint32_t i = 0; i < store->n_sources && store->breaks > 0; i++) {
        quire_source *source = &store->sources[i];
        if (source->status == QUIRE_OK && may_go_again(source) && is_part(&store->ns->layout, source)) {
            source->status = QUIRE_RETRY;
            store->retry = true;
        }
    }
    cuts_lost(store);
}

enum quire_status store_verdict(const struct job_store *store, const quire_source *source, enum quire_status status) {
    return status == QUIRE_INVALID && store->breaks > 0 && source->put_id != 0 ? QUIRE_STALE : status;
}

static void unsettle(quire_client *client, struct job *job, const struct chunk_item *item) {
    struct job_store *store = &job->u.store;
    quire_source *source = &store->sources[item->source];
    if (source->status != QUIRE_PENDING && source->status != QUIRE_RETRY) {
        return;
    }
    if (!may_go_again(source)) {
        source->status = QUIRE_DISCONNECTED;
        snprintf(job->text, sizeof(job->text), "the connection broke while it was under way: it may be stored, or not");
    } else if (item->cut) {
        cut_answered(client, store, item, QUIRE_RETRY);
    } else {
        source->status = QUIRE_RETRY;
    }
}

void store_broke(quire_client *client, struct job *job, bool again, const char *text) {
    struct job_store *store = &job->u.store;
    if (job->done) {
        return;
    }
    store->breaks += store->serial != 0; /* once for all that was under way */
    store->serial = 0;
    if (!again || store->breaks > BREAKS_MAX) {
        job_abort(client, job, QUIRE_DISCONNECTED, text);
    } else {
        job_wake(client, job);
    }
}

void store_on_break(quire_client *client, struct chunk *chunk, bool again, const char *text) {
    struct job *job = chunk->job;
    if (job != NULL && !job->done) {
        struct job_store *store = &job->u.store;
        for (uint32_t i = 0; i < chunk->n_items; i++) {
            unsettle(client, job, &chunk->items[i]);
        }
        store->us_per_token = chunk->us_per_token > 0 ? chunk->us_per_token : store->us_per_token;
        store->retry = true;
        store->retry_at_ns = clock_ns();
        store->in_flight--;
        store_broke(client, job, again, text);
    }
    chunk_free(client, chunk);
}
