/*
 * Copies for guests. A guest has no mapping of the pool: it reads leased records piece by piece, and a worker copies each piece behind a BULK
 * frame. The lease may end while the copy is made, so the slot's generation is compared afterwards, as a member does.
 */
#include "daemon/core_internal.h"

#include "daemon/jobs.h"
#include "proto/status.h"

#include <stdatomic.h>
#include <stdlib.h>

static void guest_run(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    uint8_t *to = job->read.to;
    for (uint32_t i = 0; i < job->read.n_ranges; i++) {
        memcpy(to, job->read.record + job->read.ranges[i].offset, job->read.ranges[i].size);
        to += job->read.ranges[i].size;
    }
    atomic_thread_fence(memory_order_acquire);
    uint32_t now = atomic_load_explicit(job->read.generation, memory_order_relaxed);
    job->status = now == job->read.expected ? QUIRE_OK : QUIRE_STALE;
}

static void guest_refuse(struct session *session, uint64_t request, enum quire_status status, const char *text) {
    Quire__Wire__Bulk bulk = QUIRE__WIRE__BULK__INIT;
    bulk.status = status;
    bulk.text = (char *)text;
    session->core->counters.requests_failed++;
    session_send(session, QUIRE_MSG_BULK, request, &bulk.base, NULL, 0);
}

static void guest_done(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    struct session *session = job->read.session;
    session->read_bytes -= job->read.bytes;
    if (job->status == QUIRE_OK) {
        session_send_bulk(session, job->read.request, job->read.tx, job->read.bytes);
    } else {
        link_tx_free(job->read.tx);
        guest_refuse(session, job->read.request, job->status, quire_status_text(job->status));
    }
    free(job->read.ranges);
    job_give(job);
    session_release_hold(session);
    session_unref(session);
}

void guest_job_drop(struct core_job *job) {
    if (job->work.run == guest_run) {
        link_tx_free(job->read.tx);
        free(job->read.ranges);
        session_unref(job->read.session);
        job->work.run = NULL;
    }
}

/* What a READ asks for; the ranges are the caller's to free, and there is at least one. `bytes`: of all. */
struct guest_wants {
    struct quire_wire_range *ranges;
    uint32_t n_ranges;
    uint64_t bytes;
};

static enum quire_status guest_wants(const Quire__Wire__Read *message, uint32_t record_bytes, struct guest_wants *wants) {
    const struct quire_wire_range whole = {.offset = (uint32_t)quire_min_u64(message->offset, UINT32_MAX),
                                           .size = (uint32_t)quire_min_u64(message->size, UINT32_MAX)};
    bool listed = message->ranges.len > 0;
    *wants = (struct guest_wants){.n_ranges = listed ? (uint32_t)quire_min_u64(message->ranges.len / sizeof whole, UINT32_MAX) : 1};
    if (message->ranges.len % sizeof whole != 0 || wants->n_ranges > QUIRE_MAX_RANGES) {
        return QUIRE_INVALID;
    }
    wants->ranges = malloc(wants->n_ranges * sizeof *wants->ranges);
    if (wants->ranges == NULL) {
        return QUIRE_NO_MEMORY;
    }
    memcpy(wants->ranges, listed ? message->ranges.data : (const uint8_t *)&whole, wants->n_ranges * sizeof *wants->ranges);
    for (uint32_t i = 0; i < wants->n_ranges; i++) {
        if (wants->ranges[i].size == 0 || !quire_in_range(wants->ranges[i].offset, wants->ranges[i].size, record_bytes)) {
            return QUIRE_INVALID;
        }
        wants->bytes += wants->ranges[i].size;
    }
    return QUIRE_OK;
}

/* Takes the ranges over when it is OK. */
static enum quire_status guest_start(struct session *session, uint64_t request, const struct quire_wire_grant *grant,
                                     const struct guest_wants *wants) {
    struct core *core = session->core;
    const struct pool *pool = core->pools[session->domain];
    struct core_job *job = job_take(core, guest_run, guest_done);
    uint8_t *to;
    struct link_tx *tx = job != NULL ? session_bulk_create(wants->bytes, &to) : NULL;
    if (tx == NULL) {
        if (job != NULL) {
            job_give(job);
        }
        return QUIRE_NO_MEMORY;
    }
    job->read.session = session;
    job->read.request = request;
    job->read.tx = tx;
    job->read.to = to;
    job->read.record = pool->base + grant->offset;
    job->read.bytes = wants->bytes;
    job->read.n_ranges = wants->n_ranges;
    job->read.ranges = wants->ranges;
    job->read.generation = &pool->generations[grant->slot];
    job->read.expected = grant->generation;
    session->read_bytes += wants->bytes;
    session_ref(session);
    workpool_submit(core->workpool, &job->work);
    return QUIRE_OK;
}

uint64_t guest_read_max_bytes(const struct core *core) { return core->config.max_session_memory_bytes / 2; }

/* PENDING: it is to be asked for again when there is room. */
static enum quire_status guest_try(struct session *session, const Quire__Wire__Read *message, uint64_t request, const char **text) {
    struct core *core = session->core;
    struct quire_wire_grant grant;
    struct guest_wants wants;
    uint64_t most = core->config.max_session_memory_bytes, has = session->read_bytes + session->link->tx_bytes;
    QUIRE_FORWARD(pager_lease_grant(core->pager, session->id, message->lease, message->slot, &grant));
    if (grant.offset == QUIRE_WIRE_AWAY) {
        *text = "the record is only on disk: LOAD it first";
        return QUIRE_MISS;
    }
    enum quire_status status = guest_wants(message, grant.size, &wants);
    if (status == QUIRE_OK && !pager_lease_holds(core->pager, session->id, message->lease, message->slot, wants.ranges, wants.n_ranges)) {
        *text = "only a part of the record was loaded: read no more than that";
        status = QUIRE_INVALID;
    } else if (status == QUIRE_OK && wants.bytes > guest_read_max_bytes(core)) {
        *text = "read at most half of max_session_memory_bytes at once";
        status = QUIRE_TOO_LARGE;
    } else if (status == QUIRE_OK && has > 0 && has + wants.bytes > most) {
        status = QUIRE_PENDING;
    } else if (status == QUIRE_OK && core->free_jobs == NULL) {
        core->jobs_awaited = true;
        status = QUIRE_PENDING;
    } else if (status == QUIRE_OK) {
        status = guest_start(session, request, &grant, &wants);
    }
    if (status != QUIRE_OK) {
        free(wants.ranges);
    }
    return status;
}

enum session_verdict guest_read(struct session *session, const struct quire_frame *frame, const uint8_t *body) {
    const char *text = NULL;
    Quire__Wire__Read *message = quire__wire__read__unpack(&session->core->arena.allocator, frame->body_bytes, body);
    if (message == NULL) {
        guest_refuse(session, frame->request_id, QUIRE_INVALID, "the READ cannot be read");
        return SESSION_DONE;
    }
    enum quire_status status = guest_try(session, message, frame->request_id, &text);
    if (status == QUIRE_PENDING) {
        return SESSION_HOLD;
    }
    if (status != QUIRE_OK) {
        guest_refuse(session, frame->request_id, status, text != NULL ? text : quire_status_text(status));
    }
    return SESSION_DONE;
}
