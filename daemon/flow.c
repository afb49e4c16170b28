#include "daemon/core_internal.h"

#include <stdlib.h>

/* ---- lines ---------------------------------------------------------------------------------------------------------------------- */
void flow_setup(struct flow *flow) {
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        ring_setup(&flow->line[kind]);
    }
}

static uint64_t weight(const struct flow_piece *piece) { return quire_max_u64(piece->bytes, FLOW_LEAST_BYTES); }

/* At its end, with another turn's bytes beside those that were too few for the piece that is next. */
static void line_join(struct flow *flow, struct session *session, enum flow_kind kind) {
    uint64_t *turn_bytes = &session->flow.kind[kind].turn_bytes;
    if (!ring_holds(&session->flow.kind[kind].place.ring)) {
        uint64_t most_bytes = quire_max_u64(weight(session->flow.kind[kind].head), FLOW_TURN_BYTES);
        *turn_bytes = quire_min_u64(*turn_bytes + FLOW_TURN_BYTES, most_bytes);
        ring_add(&flow->line[kind], &session->flow.kind[kind].place.ring);
    }
}

static void line_leave(struct session *session, enum flow_kind kind) { ring_remove(&session->flow.kind[kind].place.ring); }

static struct session *line_first(const struct flow *flow, uint32_t kind) {
    return LOOP_CONTAINER(flow->line[kind].next, struct flow_place, ring)->session;
}

/* ---- room ----------------------------------------------------------------------------------------------------------------------- */
static bool own_room(const struct session *session, const struct flow_piece *piece) {
    uint64_t bytes = session->flow.kind[piece->kind].bytes;
    return bytes == 0 || bytes + weight(piece) <= session->core->config.max_session_memory_bytes;
}

static bool all_room(const struct core *core, const struct flow_piece *piece) {
    return core->flow.bytes + weight(piece) <= core->config.max_remote_read_bytes;
}

static bool nobody_before(const struct flow *flow, enum flow_kind kind) {
    bool nobody = true;
    for (uint32_t i = 0; i <= kind; i++) {
        nobody = nobody && ring_is_empty(&flow->line[i]);
    }
    return nobody;
}

/* May it go out of its turn? One piece always may. */
static bool may_pass(const struct session *session, const struct flow_piece *piece) {
    const struct core *core = session->core;
    return session->remote == NULL || session->flow.kind[piece->kind].bytes == 0 ||
           (nobody_before(&core->flow, piece->kind) && all_room(core, piece));
}

/* ---- out ------------------------------------------------------------------------------------------------------------------------ */
static void account(struct session *session, const struct flow_piece *piece, bool begins) {
    uint64_t bytes = begins ? weight(piece) : -weight(piece);
    session->flow.kind[piece->kind].bytes += bytes;
    session->core->flow.bytes += session->remote != NULL ? bytes : 0;
}

/* It waits no more. */
static struct flow_piece *take_out(struct session *session, enum flow_kind kind, struct flow_piece **at) {
    struct flow_piece *piece = *at;
    *at = piece->next;
    if (piece->next == NULL) {
        session->flow.kind[kind].tail = at;
    }
    if (session->flow.kind[kind].head == NULL) {
        session->flow.kind[kind].turn_bytes = 0;
        line_leave(session, kind);
    }
    session->flow.kind[kind].n_waiting--;
    session->flow.kind[kind].waiting_segments -= piece->tx->n_segments;
    return piece;
}

/* The first that waits goes out. */
static void send_first(struct session *session, enum flow_kind kind) {
    struct flow_piece *piece = take_out(session, kind, &session->flow.kind[kind].head);
    struct link_tx *tx = piece->tx;
    piece->tx = NULL;
    account(session, piece, true);
    if (piece->recheck != NULL) {
        recheck_begin(piece->recheck, tx);
    } else {
        session_send_bulk(session, piece->request, tx); /* the piece may be no more */
    }
}

/* What the session may send. What waits for the bound over all stands in line for it. */
static void serve_session(struct session *session) {
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        const struct flow_piece *piece;
        while ((piece = session->flow.kind[kind].head) != NULL && own_room(session, piece) && may_pass(session, piece)) {
            send_first(session, (enum flow_kind)kind);
        }
        if (piece != NULL && own_room(session, piece)) {
            line_join(&session->core->flow, session, (enum flow_kind)kind);
        } else {
            line_leave(session, (enum flow_kind)kind);
        }
    }
}

/* What its turns allow. False: it has not had all of that, for want of room. */
static bool take_turn(struct session *session, enum flow_kind kind) {
    uint64_t *turn_bytes = &session->flow.kind[kind].turn_bytes;
    const struct flow_piece *piece;
    while ((piece = session->flow.kind[kind].head) != NULL && own_room(session, piece) && weight(piece) <= *turn_bytes) {
        if (!all_room(session->core, piece)) {
            return false;
        }
        *turn_bytes -= weight(piece);
        send_first(session, kind);
    }
    return true;
}

/* Turn by turn, as long as there is room. The first of a line that needs more than there is lets nobody pass. */
static void serve_line(struct core *core) {
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        bool room = true;
        while (room && !ring_is_empty(&core->flow.line[kind])) {
            struct session *session = line_first(&core->flow, kind);
            session_ref(session);
            room = take_turn(session, (enum flow_kind)kind);
            if (room) {
                line_leave(session, (enum flow_kind)kind);
                serve_session(session); /* to the end of the line, if it has more */
            }
            session_unref(session);
        }
        if (!room) {
            return;
        }
    }
}

static void flow_release(void *held) {
    struct flow_piece *piece = held;
    struct session *session = piece->session;
    struct core *core = session->core;
    pager_let_go(core->pager, &piece->hold);
    core->flow.n_held--;
    if (piece->tx == NULL) {
        account(session, piece, false);
    }
    free(piece->recheck);
    free(piece);
    if (session->state != SESSION_ENDED) {
        serve_session(session);
    }
    serve_line(core);
    session_release_hold(session);
    session_unref(session);
}

/* ---- for READs ------------------------------------------------------------------------------------------------------------------ */
bool flow_has_room(const struct session *session, enum flow_kind kind) {
    return session->flow.kind[kind].n_waiting < FLOW_WAITING && session->flow.kind[kind].waiting_segments < FLOW_WAITING_SEGMENTS;
}

enum quire_status flow_hold(struct session *session, uint64_t lease, uint32_t slot, uint32_t n_segments, struct flow_piece **out) {
    struct flow_piece *piece = calloc(1, sizeof *piece);
    struct link_tx *tx = link_tx_create(SESSION_BULK_HEAD_BYTES, n_segments);
    enum quire_status status =
        piece != NULL && tx != NULL ? pager_hold(session->core->pager, session->id, lease, slot, &piece->hold) : QUIRE_NO_MEMORY;
    if (status != QUIRE_OK) {
        free(tx);
        free(piece);
        return status;
    }
    session_ref(session);
    session->core->flow.n_held++;
    piece->session = session;
    piece->tx = tx;
    tx->release = flow_release;
    tx->held = piece;
    *out = piece;
    return QUIRE_OK;
}

void flow_send(struct flow_piece *piece, uint64_t request, enum flow_kind kind) {
    struct session *session = piece->session;
    struct core_counters *counters = &session->core->counters;
    piece->request = request;
    piece->kind = kind;
    piece->bytes = link_tx_bulk_bytes(piece->tx);
    piece->tx->prefetch = kind == FLOW_PREFETCH;
    *session->flow.kind[kind].tail = piece;
    session->flow.kind[kind].tail = &piece->next;
    session->flow.kind[kind].n_waiting++;
    session->flow.kind[kind].waiting_segments += piece->tx->n_segments;
    session_ref(session);
    serve_session(session);
    bool waits = session->flow.kind[kind].n_waiting > 0, in_line = ring_holds(&session->flow.kind[kind].place.ring);
    counters->reads_waited += waits && !in_line;
    counters->reads_waited_all += waits && in_line;
    session_unref(session);
}

bool flow_cancel(struct session *session, uint64_t request) {
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        for (struct flow_piece **at = &session->flow.kind[kind].head; *at != NULL; at = &(*at)->next) {
            if ((*at)->request == request) {
                struct link_tx *tx = take_out(session, (enum flow_kind)kind, at)->tx;
                link_tx_free(tx); /* and the piece */
                return true;
            }
        }
    }
    return false;
}

/* ---- life ----------------------------------------------------------------------------------------------------------------------- */
void flow_session_setup(struct session *session) {
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        session->flow.kind[kind].tail = &session->flow.kind[kind].head;
        session->flow.kind[kind].place.session = session;
    }
}

void flow_session_end(struct session *session) {
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        struct flow_piece *piece = session->flow.kind[kind].head;
        session->flow.kind[kind].head = NULL;
        line_leave(session, (enum flow_kind)kind);
        while (piece != NULL) {
            struct flow_piece *next = piece->next;
            link_tx_free(piece->tx); /* and the piece */
            piece = next;
        }
    }
}

bool flow_session_is_idle(const struct session *session) {
    bool idle = true;
    for (uint32_t kind = 0; kind < FLOW_KINDS; kind++) {
        idle = idle && session->flow.kind[kind].bytes == 0 && session->flow.kind[kind].head == NULL;
    }
    return idle;
}
