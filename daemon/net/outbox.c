#include "daemon/net/outbox.h"

#include "daemon/link.h"

void outbox_setup(struct outbox *outbox) {
    *outbox = (struct outbox){0};
    for (uint32_t i = 0; i < OUTBOX_RANKS; i++) {
        outbox->tail[i] = &outbox->head[i];
    }
}

static enum outbox_rank rank_of(const struct exchange_msg *msg) {
    return msg->tx == NULL || msg->tx->n_segments == 0 ? OUTBOX_REPLY : msg->tx->prefetch ? OUTBOX_PREFETCH : OUTBOX_FETCH;
}

bool outbox_is_empty(const struct outbox *outbox) {
    return outbox->begun == NULL && outbox->head[OUTBOX_REPLY] == NULL && outbox->head[OUTBOX_FETCH] == NULL &&
           outbox->head[OUTBOX_PREFETCH] == NULL;
}

void outbox_put(struct outbox *outbox, struct exchange_msg *msg) {
    enum outbox_rank rank = rank_of(msg);
    msg->next = NULL;
    *outbox->tail[rank] = msg;
    outbox->tail[rank] = &msg->next;
}

bool outbox_replies(const struct outbox *outbox) {
    return outbox->begun != NULL ? rank_of(outbox->begun) == OUTBOX_REPLY : outbox->head[OUTBOX_REPLY] != NULL;
}

struct exchange_msg *outbox_first(struct outbox *outbox) {
    for (uint32_t i = 0; i < OUTBOX_RANKS && outbox->begun == NULL; i++) {
        struct exchange_msg *msg = outbox->head[i];
        if (msg != NULL) {
            outbox->head[i] = msg->next;
            outbox->tail[i] = msg->next == NULL ? &outbox->head[i] : outbox->tail[i];
            outbox->begun = msg;
        }
    }
    return outbox->begun;
}

void outbox_done(struct outbox *outbox) { outbox->begun = NULL; }

/* ---- lines ---------------------------------------------------------------------------------------------------------------------- */
void outbox_line_setup(struct outbox_line *line) {
    *line = (struct outbox_line){0};
    ring_setup(&line->first);
    ring_setup(&line->late);
}

bool outbox_line_is_empty(const struct outbox_line *line) { return ring_is_empty(&line->first) && ring_is_empty(&line->late); }

bool outbox_is_late(const struct outbox *outbox) {
    bool prefetches = outbox->begun == NULL || rank_of(outbox->begun) == OUTBOX_PREFETCH;
    return prefetches && outbox->head[OUTBOX_REPLY] == NULL && outbox->head[OUTBOX_FETCH] == NULL;
}

void outbox_join(struct outbox_line *line, struct outbox *outbox) {
    bool late = outbox_is_late(outbox);
    if (ring_holds(&outbox->place) && (late || !outbox->late)) {
        return;
    }
    outbox_leave(outbox);
    outbox->late = late;
    ring_add(late ? &line->late : &line->first, &outbox->place);
}

void outbox_leave(struct outbox *outbox) { ring_remove(&outbox->place); }

struct outbox *outbox_next(struct outbox_line *line) {
    bool first = !ring_is_empty(&line->first), late = !ring_is_empty(&line->late) && (!first || line->passed + 1 >= OUTBOX_PATIENCE);
    line->passed = late || ring_is_empty(&line->late) ? 0 : line->passed + 1;
    if (!first && !late) {
        return NULL;
    }
    struct outbox *outbox = LOOP_CONTAINER((late ? &line->late : &line->first)->next, struct outbox, place);
    outbox_leave(outbox);
    return outbox;
}
