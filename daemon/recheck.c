#include "daemon/recheck.h"

#include "daemon/core_internal.h"
#include "daemon/log.h"
#include "proto/key.h"

#include <stdlib.h>

struct recheck {
    struct work work;
    struct recheck *prev, *next;
    struct flow_piece *piece;
    struct link_tx *tx; /* from its turn on */
    const uint8_t *record;
    struct pager_held held;
    enum quire_status status;
    uint32_t n_ranges;
    struct quire_wire_range ranges[];
};

bool recheck_create(struct flow_piece *piece, const struct quire_wire_range *ranges, uint32_t n_ranges) {
    struct recheck *recheck = malloc(sizeof *recheck + n_ranges * sizeof *ranges);
    if (recheck == NULL) {
        return false;
    }
    *recheck = (struct recheck){.piece = piece, .n_ranges = n_ranges};
    memcpy(recheck->ranges, ranges, n_ranges * sizeof *ranges);
    piece->recheck = recheck;
    return true;
}

static void rechecks_leave(struct rechecks *rechecks, struct recheck *recheck) {
    *(recheck->prev != NULL ? &recheck->prev->next : &rechecks->first) = recheck->next;
    *(recheck->next != NULL ? &recheck->next->prev : &rechecks->last) = recheck->prev;
}

static void rechecks_serve(struct core *core) {
    struct rechecks *rechecks = &core->rechecks;
    while (rechecks->waiting != NULL && rechecks->n_running < RECHECK_JOBS) {
        struct recheck *recheck = rechecks->waiting;
        rechecks->waiting = recheck->next;
        rechecks->n_running++;
        workpool_submit(core->workpool, &recheck->work);
    }
}

/* ---- on a worker ---------------------------------------------------------------------------------------------------------------- */
static void recheck_run(struct work *work) {
    struct recheck *recheck = LOOP_CONTAINER(work, struct recheck, work);
    const struct pager_held *held = &recheck->held;
    recheck->status = quire_record_intact(recheck->record, held->size_bytes, held->group, held->has_key ? &held->key : NULL,
                                          recheck->ranges, recheck->n_ranges);
}

/* ---- back on the loop ----------------------------------------------------------------------------------------------------------- */
/* A record is told once; of one that has left its block nobody knows whether it was. */
static void recheck_give_up(struct core *core, const struct recheck *recheck) {
    char key[65] = "that was replaced or deleted since";
    core->counters.reads_damaged++;
    if (recheck->held.has_key) {
        quire_key_format(&recheck->held.key, key);
    }
    if (pager_damaged(core->pager, core->now_ns, &recheck->piece->hold) || !recheck->held.has_key) {
        log_warn("record_damaged", "block %s is not what was stored any more, as was seen before it was sent: it is given up", key);
    }
}

static void recheck_done(struct work *work) {
    struct recheck *recheck = LOOP_CONTAINER(work, struct recheck, work);
    struct session *session = recheck->piece->session;
    struct core *core = session->core;
    struct link_tx *tx = recheck->tx;
    core->rechecks.n_running--;
    rechecks_leave(&core->rechecks, recheck);
    session_ref(session);
    if (recheck->status == QUIRE_OK) {
        session_send_bulk(session, recheck->piece->request, tx);
    } else {
        recheck_give_up(core, recheck);
        guest_refuse(session, recheck->piece->request, QUIRE_MISS, "the record in memory was damaged, and is given up");
        link_tx_free(tx); /* and the piece, and this */
    }
    rechecks_serve(core);
    session_unref(session);
}

void recheck_begin(struct recheck *recheck, struct link_tx *tx) {
    struct core *core = recheck->piece->session->core;
    struct rechecks *rechecks = &core->rechecks;
    recheck->tx = tx;
    recheck->work = (struct work){.run = recheck_run, .done = recheck_done};
    pager_held(core->pager, &recheck->piece->hold, &recheck->held);
    recheck->record = core->pools[recheck->piece->hold.domain]->base + recheck->held.offset;
    recheck->prev = rechecks->last;
    *(rechecks->last != NULL ? &rechecks->last->next : &rechecks->first) = recheck;
    rechecks->last = recheck;
    rechecks->waiting = rechecks->waiting != NULL ? rechecks->waiting : recheck;
    rechecks_serve(core);
}

void rechecks_teardown(struct core *core) {
    while (core->rechecks.first != NULL) {
        struct recheck *recheck = core->rechecks.first;
        rechecks_leave(&core->rechecks, recheck);
        link_tx_free(recheck->tx); /* and the piece, and this */
    }
}
