#include "daemon/durable.h"

#include "daemon/core_internal.h"
#include "pager/disk.h"

#include <stdlib.h>

#define DURABLE_TEXT_BYTES 160

struct durable_wait {
    struct session *session;
    uint64_t request;
    enum quire_wire_keys_verb verb; /* 0: a namespace's deletion */
    char text[DURABLE_TEXT_BYTES];
    uint32_t n_keys;
    uint32_t retry_after_ms;
    uint8_t statuses[]; /* n_keys, and n_keys again: when the disk would not take it */
};

/* ---- answers -------------------------------------------------------------------------------------------------------------- */

static const char *durable_advice(enum quire_wire_keys_verb verb) {
    switch (verb) {
    case QUIRE_WIRE_PIN:
        return "pinned, but the disk did not take it: the pin ends with quired; see `quirectl doctor`, then unpin and pin again";
    case QUIRE_WIRE_UNPIN:
        return "unpinned, but the disk did not take it: after a restart the pin may be back; see `quirectl doctor`";
    default:
        return "gone from memory, but the disk did not take the deletion: after a restart it may be back; see `quirectl doctor`, then "
               "delete "
               "again";
    }
}

/* A key that was not there may be one whose deletion the disk did not take before. */
static bool durable_depends(enum quire_wire_keys_verb verb, uint8_t status) {
    return status == QUIRE_OK || (verb == QUIRE_WIRE_DELETE && status == QUIRE_MISS);
}

static void durable_answer_keys(struct durable_wait *wait, enum quire_status status) {
    Quire__Wire__Acks acks = QUIRE__WIRE__ACKS__INIT;
    acks.epoch = wait->session->core->epoch;
    acks.text = (char *)(status != QUIRE_OK ? durable_advice(wait->verb) : wait->text);
    acks.retry_after_ms = wait->retry_after_ms;
    acks.statuses = (ProtobufCBinaryData){.len = wait->n_keys, .data = wait->statuses + (status != QUIRE_OK ? wait->n_keys : 0)};
    session_send(wait->session, QUIRE_MSG_ACKS, wait->request, &acks.base, NULL, 0);
}

static void durable_answer_admin(struct durable_wait *wait, enum quire_status status) {
    Quire__Wire__AdminReply reply = QUIRE__WIRE__ADMIN_REPLY__INIT;
    reply.status = status != QUIRE_OK ? QUIRE_SYSTEM : QUIRE_OK;
    reply.text = (char *)(status != QUIRE_OK ? durable_advice(wait->verb) : wait->text);
    session_send(wait->session, QUIRE_MSG_ADMIN_REPLY, wait->request, &reply.base, NULL, 0);
}

static void durable_answer(struct durable_wait *wait, enum quire_status status) {
    struct session *session = wait->session;
    session->core->counters.requests_failed += status != QUIRE_OK;
    if (wait->verb != 0) {
        durable_answer_keys(wait, status);
    } else {
        durable_answer_admin(wait, status);
    }
}

/* ---- waiting -------------------------------------------------------------------------------------------------------------- */

bool durable_has_room(const struct session *session) {
    return session->core->durable.n + session->core->durable.promised < DURABLE_MAX_WAITS && session->durable_waits < DURABLE_SESSION_WAITS;
}

void durable_promise(struct session *session) {
    session->core->durable.promised++;
    session->durable_waits++;
}

void durable_unpromise(struct session *session) {
    session->core->durable.promised--;
    session->durable_waits--;
}

static void durable_free(struct core *core, uint32_t slot) {
    struct durable_wait *wait = core->durable.slots[slot];
    struct session *session = wait->session;
    core->durable.slots[slot] = NULL;
    core->durable.n--;
    session->durable_waits--;
    free(wait);
    session_want(session); /* it may have been leaving */
    session_unref(session);
}

void durable_teardown(struct core *core) {
    for (uint32_t i = 0; i < DURABLE_MAX_WAITS; i++) {
        if (core->durable.slots[i] != NULL) {
            durable_free(core, i);
        }
    }
}

static struct durable_wait *durable_create(struct session *session, uint64_t request, uint32_t n_keys) {
    struct durable_wait *wait = calloc(1, sizeof *wait + 2 * (size_t)n_keys);
    if (wait == NULL) {
        session_fail(session, request, QUIRE_NO_MEMORY, 0, "done, but there is no memory to wait until it is durable");
        return NULL;
    }
    wait->session = session;
    wait->request = request;
    wait->n_keys = n_keys;
    return wait;
}

static void durable_begin(struct durable_wait *wait) {
    struct session *session = wait->session;
    struct core *core = session->core;
    uint32_t slot = 0;
    while (slot < DURABLE_MAX_WAITS && core->durable.slots[slot] != NULL) {
        slot++;
    }
    assert(slot < DURABLE_MAX_WAITS); /* durable_has_room was asked */
    bool pins = wait->verb == QUIRE_WIRE_PIN || wait->verb == QUIRE_WIRE_UNPIN;
    enum quire_status status =
        pins ? pager_durable(core->pager, core->now_ns, slot) : pager_durable_deletions(core->pager, core->now_ns, slot);
    if (status != QUIRE_PENDING) {
        durable_answer(wait, status);
        free(wait);
        return;
    }
    core->durable.slots[slot] = wait;
    core->durable.n++;
    session->durable_waits++;
    session_ref(session);
}

void durable_keys(struct session *session, uint64_t request, enum quire_wire_keys_verb verb, const uint8_t *statuses, uint32_t n_keys) {
    struct durable_wait *wait = durable_create(session, request, n_keys);
    if (wait != NULL) {
        wait->verb = verb;
        for (uint32_t i = 0; i < n_keys; i++) {
            wait->statuses[i] = statuses[i];
            wait->statuses[n_keys + i] = durable_depends(verb, statuses[i]) ? QUIRE_SYSTEM : statuses[i];
            if (verb == QUIRE_WIRE_PIN && statuses[i] == QUIRE_FULL) {
                snprintf(wait->text, sizeof wait->text, "%s", DURABLE_NO_MORE_PINS);
            }
        }
        durable_begin(wait);
    }
}

void durable_put(struct session *session, uint64_t request, const uint8_t *statuses, const bool *pins, uint32_t n_items,
                 uint32_t retry_after_ms, const char *text) {
    struct durable_wait *wait = durable_create(session, request, n_items);
    if (wait != NULL) {
        wait->verb = QUIRE_WIRE_PIN;
        wait->retry_after_ms = retry_after_ms;
        snprintf(wait->text, sizeof wait->text, "%s", text);
        for (uint32_t i = 0; i < n_items; i++) {
            wait->statuses[i] = statuses[i];
            wait->statuses[n_items + i] = pins[i] && statuses[i] == QUIRE_OK ? QUIRE_SYSTEM : statuses[i];
        }
        durable_begin(wait);
    }
}

void durable_admin(struct session *session, uint64_t request, const char *text) {
    struct durable_wait *wait = durable_create(session, request, 0);
    if (wait != NULL) {
        snprintf(wait->text, sizeof wait->text, "%s", text);
        durable_begin(wait);
    }
}

void durable_told(struct core *core, const struct pager_event *event) {
    assert(event->cookie < DURABLE_MAX_WAITS && core->durable.slots[event->cookie] != NULL);
    struct durable_wait *wait = core->durable.slots[event->cookie];
    if (event->status != QUIRE_OK) {
        log_error("not_durable", "session %llu: %s", (unsigned long long)wait->session->id, durable_advice(wait->verb));
    }
    if (wait->session->state != SESSION_ENDED) {
        durable_answer(wait, event->status);
    }
    durable_free(core, (uint32_t)event->cookie);
}
