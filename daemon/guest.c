/*
 * Copies for guests. A guest has no mapping of the pool: it reads leased records piece by piece, and a worker copies each piece behind a BULK
 * frame. The lease may end while the copy is made, so the slot's generation is compared afterwards, as a member does.
 */
#include "daemon/core_internal.h"

#include "daemon/jobs.h"
#include "proto/status.h"

#include <stdatomic.h>

static void guest_run(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    memcpy(job->read.to, job->read.from, job->read.bytes);
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
    job_give(job);
    session_release_hold(session);
    session_unref(session);
}

void guest_job_drop(struct core_job *job) {
    if (job->work.run == guest_run) {
        link_tx_free(job->read.tx);
        session_unref(job->read.session);
        job->work.run = NULL;
    }
}

static enum quire_status guest_start(struct session *session, const Quire__Wire__Read *message, const struct quire_wire_grant *grant,
                                     uint64_t request) {
    struct core *core = session->core;
    const struct pool *pool = core->pools[session->domain];
    struct core_job *job = job_take(core, guest_run, guest_done);
    uint8_t *to;
    struct link_tx *tx = job != NULL ? session_bulk_create(message->size, &to) : NULL;
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
    job->read.from = pool->base + grant->offset + message->offset;
    job->read.bytes = message->size;
    job->read.generation = &pool->generations[grant->slot];
    job->read.expected = grant->generation;
    session->read_bytes += message->size;
    session_ref(session);
    workpool_submit(core->workpool, &job->work);
    return QUIRE_OK;
}

enum session_verdict guest_read(struct session *session, const struct quire_frame *frame, const uint8_t *body) {
    struct core *core = session->core;
    struct quire_wire_grant grant;
    Quire__Wire__Read *message = quire__wire__read__unpack(&core->arena.allocator, frame->body_bytes, body);
    if (message == NULL) {
        guest_refuse(session, frame->request_id, QUIRE_INVALID, "the READ cannot be read");
        return SESSION_DONE;
    }
    enum quire_status status = pager_lease_grant(core->pager, session->id, message->lease, message->slot, &grant);
    if (status == QUIRE_OK && grant.offset == QUIRE_WIRE_AWAY) {
        guest_refuse(session, frame->request_id, QUIRE_MISS, "the record is only on disk: LOAD it first");
        return SESSION_DONE;
    }
    if (status == QUIRE_OK && (message->size == 0 || !quire_in_range(message->offset, message->size, grant.size))) {
        status = QUIRE_INVALID;
    }
    uint64_t most = core->config.max_session_memory_bytes / 2;
    if (status == QUIRE_OK && message->size > most) {
        status = QUIRE_TOO_LARGE;
    }
    if (status == QUIRE_OK && session->read_bytes + session->link->tx_bytes > 0 &&
        session->read_bytes + session->link->tx_bytes + message->size > core->config.max_session_memory_bytes) {
        return SESSION_HOLD;
    }
    if (status == QUIRE_OK && core->free_jobs == NULL) {
        core->jobs_awaited = true;
        return SESSION_HOLD;
    }
    if (status == QUIRE_OK) {
        status = guest_start(session, message, &grant, frame->request_id);
    }
    if (status == QUIRE_TOO_LARGE) {
        guest_refuse(session, frame->request_id, status, "read at most half of max_session_memory_bytes at once");
    } else if (status != QUIRE_OK) {
        guest_refuse(session, frame->request_id, status, quire_status_text(status));
    }
    return SESSION_DONE;
}
