/* The pager's wishes become jobs of the work pool, their outcomes go back to the pager, and the outcomes of puts to their requests. */
#include "daemon/core_internal.h"

#include "daemon/disk/disk.h"
#include "daemon/jobs.h"

#include <stdlib.h>

/* Pages are taken from the system this far ahead of use, in steps small enough that a put hardly waits behind one. */
#define EVENTS_POPULATE_AHEAD_BYTES (1ull << 30) /* or half the pool */
#define EVENTS_POPULATE_STEP_BYTES (2ull << 20)

enum quire_status events_setup(struct core *core) {
    core->jobs = calloc(CORE_JOBS, sizeof *core->jobs);
    if (core->jobs == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = CORE_JOBS; i-- > 0;) {
        core->jobs[i].core = core;
        core->jobs[i].next_free = core->free_jobs;
        core->free_jobs = &core->jobs[i];
    }
    core->n_free_jobs = CORE_JOBS;
    return QUIRE_OK;
}

void events_teardown(struct core *core) {
    free(core->jobs);
    core->jobs = core->free_jobs = NULL;
}

struct core_job *job_take(struct core *core, void (*run)(struct work *work), void (*done)(struct work *work)) {
    struct core_job *job = core->free_jobs;
    if (job != NULL) {
        core->free_jobs = job->next_free;
        core->n_free_jobs--;
        *job = (struct core_job){.core = core, .work = {.run = run, .done = done}};
    }
    return job;
}

void job_give(struct core_job *job) {
    struct core *core = job->core;
    job->work.run = NULL;
    job->next_free = core->free_jobs;
    core->free_jobs = job;
    core->n_free_jobs++;
}

/* ---- on a worker ---------------------------------------------------------------------------------------------------------- */

/* The payload is memory that a client may be changing right now: the fill sums its own copy, and nothing else is believed. */
static void events_run_fill(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    const struct pager_event *event = &job->pager.event;
    uint64_t start_ns = loop_now_ns();
    job->status =
        quire_record_fill_rect(job->pager.record, &event->shape, &event->rect, job->pager.payload, job->pager.payload_bytes, event->check);
    if (job->status == QUIRE_OK && event->seal) {
        quire_record_seal(job->pager.record, &event->shape, &event->facts);
    }
    job->elapsed_ns = loop_now_ns() - start_ns;
}

static void events_run_seal(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    quire_record_seal(job->pager.record, &job->pager.event.shape, &job->pager.event.facts);
    job->status = QUIRE_OK;
}

static void events_run_move(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    memcpy(job->pager.to, job->pager.record, job->pager.event.size_bytes);
    job->status = QUIRE_OK;
}

/* ---- back on the loop ----------------------------------------------------------------------------------------------------- */

static void events_done(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    struct core *core = job->core;
    if (job->pager.event.type == PAGER_FILL) {
        core_histogram_add(&core->histograms.fill_us, job->elapsed_ns);
        core->counters.fill_bytes += job->pager.payload_bytes;
        ingest_unuse(core->ingest, job->pager.window, core->now_ns);
    }
    pager_complete(core->pager, core->now_ns, job->pager.event.ticket, job->status);
    job_give(job);
}

static struct core_job *events_job(struct core *core, const struct pager_event *event) {
    static void (*const runs[])(struct work *
                                work) = {[PAGER_FILL] = events_run_fill, [PAGER_SEAL] = events_run_seal, [PAGER_MOVE] = events_run_move};
    const struct pool *pool = core->pools[event->domain];
    struct core_job *job = job_take(core, runs[event->type], events_done);
    assert(job != NULL); /* as many as the work pool has room */
    assert(quire_in_range(event->offset, event->size_bytes, pool->size_bytes));
    job->pager.event = *event;
    job->pager.record = pool->base + event->offset;
    if (event->type == PAGER_MOVE) {
        assert(quire_in_range(event->to_offset, event->size_bytes, pool->size_bytes));
        job->pager.to = pool->base + event->to_offset;
    }
    if (event->type == PAGER_FILL) {
        job->pager.payload = puts_payload(&core->puts, event->cookie, &job->pager.payload_bytes, &job->pager.window);
        ingest_use(core->ingest, job->pager.window, core->now_ns);
    }
    return job;
}

/* True: it was no wish for a job. */
static bool events_told(struct core *core, const struct pager_event *event) {
    switch (event->type) {
    case PAGER_FILL:
    case PAGER_SEAL:
    case PAGER_MOVE:
        return false;
    case PAGER_PUT_DONE:
        puts_item_done(core, event->cookie, event->status, event->retry_after_ms);
        return true;
    case PAGER_LOAD_DONE:
        loads_done(core, event);
        return true;
    case PAGER_DURABLE:
        durable_told(core, event);
        return true;
    case PAGER_FLUSHED:
        disk_flush_ended(core->disk_tier);
        return true;
    case PAGER_DISK_WRITE:
    case PAGER_DISK_READ:
    case PAGER_DISK_SEAL:
    case PAGER_DISK_SYNC:
    case PAGER_DISK_META:
    case PAGER_DISK_ENTRIES:
        disk_begin(core->disk_tier, event);
        return true;
    }
    return true;
}

void events_pump(struct core *core) {
    struct pager_event event;
    struct work *list = NULL, **link = &list;
    while (core->n_free_jobs > 0 && pager_next_event(core->pager, &event)) {
        if (events_told(core, &event)) {
            continue;
        }
        struct core_job *job = events_job(core, &event);
        *link = &job->work;
        link = &job->work.next;
    }
    *link = NULL;
    workpool_submit(core->workpool, list);
}

/* ---- pages ahead of use --------------------------------------------------------------------------------------------------- */

static void events_run_populate(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    pool_populate(job->core->pools[job->domain], EVENTS_POPULATE_STEP_BYTES);
}

static void events_populated(struct work *work) {
    struct core_job *job = LOOP_CONTAINER(work, struct core_job, work);
    struct core *core = job->core;
    core->populating = UINT32_MAX;
    if (core->disk_tier != NULL) {
        disk_populated(core->disk_tier, job->domain);
    }
    bool later = core->pools[job->domain]->populate_later;
    job_give(job);
    if (!later) {
        events_populate(core);
    }
}

void events_populate(struct core *core) {
    for (uint32_t i = 0; i < core->n_pools && core->populating == UINT32_MAX && core->n_free_jobs > 0; i++) {
        struct pager_domain_stats stats;
        pager_domain_stats(core->pager, i, &stats);
        uint64_t ahead_bytes = quire_min_u64(core->pools[i]->size_bytes / 2, EVENTS_POPULATE_AHEAD_BYTES);
        uint64_t wanted_bytes = quire_min_u64(core->pools[i]->size_bytes, stats.used_bytes + ahead_bytes);
        if (core->pools[i]->populate_ends || core->pools[i]->populated_bytes >= wanted_bytes) {
            continue;
        }
        struct core_job *job = job_take(core, events_run_populate, events_populated);
        job->domain = i;
        core->populating = i;
        workpool_submit(core->workpool, &job->work);
    }
}
