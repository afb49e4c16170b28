/* Jobs: the table of asynchronous ones, the heap of deadlines, and the life of a job from submit to its completion. */
#include "client/internal.h"
#include "proto/status.h"

#include <stdio.h>
#include <stdlib.h>

#define SLOT_BITS 20
#define NOT_IN_HEAP UINT32_MAX

static const struct {
    void (*advance)(quire_client *client, struct job *job);
    void (*end)(quire_client *client, struct job *job); /* may be NULL */
    bool eager;                                         /* cheap to start: done inside submit */
} kinds[JOB_KINDS] = {
    [JOB_CONNECT] = {connect_advance, NULL, true},     [JOB_NS_OPEN] = {ns_advance, NULL, true},
    [JOB_LOOKUP] = {lookup_advance, lookup_end, true}, [JOB_FETCH] = {fetch_advance, fetch_end, false},
    [JOB_LOAD] = {load_advance, load_end, true},       [JOB_STORE] = {store_advance, store_settle, false},
    [JOB_KEYS] = {keys_advance, NULL, true},           [JOB_ADMIN] = {admin_advance, NULL, true},
};

/* ---- deadlines ------------------------------------------------------------------------------------------------------------ */
static void heap_place(quire_client *client, uint32_t index, struct job *job) {
    client->heap[index] = job;
    job->heap_index = index;
}

static void heap_up(quire_client *client, uint32_t index) {
    struct job *job = client->heap[index];
    while (index > 0 && client->heap[(index - 1) / 2]->deadline_ns > job->deadline_ns) {
        heap_place(client, index, client->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_place(client, index, job);
}

static void heap_down(quire_client *client, uint32_t index) {
    struct job *job = client->heap[index];
    for (;;) {
        uint32_t child = 2 * index + 1;
        if (child >= client->n_heap) {
            break;
        }
        if (child + 1 < client->n_heap && client->heap[child + 1]->deadline_ns < client->heap[child]->deadline_ns) {
            child++;
        }
        if (client->heap[child]->deadline_ns >= job->deadline_ns) {
            break;
        }
        heap_place(client, index, client->heap[child]);
        index = child;
    }
    heap_place(client, index, job);
}

static bool heap_insert(quire_client *client, struct job *job) {
    if (client->n_heap == client->heap_capacity) {
        uint32_t wanted = client->heap_capacity == 0 ? 64 : client->heap_capacity * 2;
        struct job **heap = realloc(client->heap, wanted * sizeof(*heap));
        if (heap == NULL) {
            return false;
        }
        client->heap = heap;
        client->heap_capacity = wanted;
    }
    heap_place(client, client->n_heap++, job);
    heap_up(client, job->heap_index);
    return true;
}

static void heap_remove(quire_client *client, struct job *job) {
    uint32_t index = job->heap_index;
    if (index == NOT_IN_HEAP) {
        return;
    }
    job->heap_index = NOT_IN_HEAP;
    struct job *last = client->heap[--client->n_heap];
    if (last != job) {
        heap_place(client, index, last);
        heap_down(client, index);
        heap_up(client, last->heap_index);
    }
}

void job_expire(quire_client *client, uint64_t now_ns) {
    while (client->n_heap > 0 && client->heap[0]->deadline_ns <= now_ns) {
        struct job *job = client->heap[0];
        heap_remove(client, job);
        job_abort(client, job, QUIRE_TIMEOUT, "the deadline passed before quired answered");
    }
}

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
void job_init(struct job *job, enum job_kind kind, uint64_t deadline_ns) {
    memset(job, 0, sizeof(*job));
    job->kind = kind;
    job->deadline_ns = deadline_ns;
    job->heap_index = NOT_IN_HEAP;
    list_init(&job->link);
}

struct job *job_new(quire_client *client, enum job_kind kind, uint64_t deadline_ns, void *user) {
    if (client->n_free_slots == 0) {
        error_set(QUIRE_RETRY, "%u jobs are submitted and not drained: call quire_drain, or raise max_jobs", client->options.max_jobs);
        return NULL;
    }
    uint32_t slot = client->free_slots[client->n_free_slots - 1];
    if (client->jobs[slot] == NULL && (client->jobs[slot] = malloc(sizeof(struct job))) == NULL) {
        error_set(QUIRE_NO_MEMORY, "out of memory for a job");
        return NULL;
    }
    client->n_free_slots--;
    struct job *job = client->jobs[slot];
    job_init(job, kind, deadline_ns);
    job->async = true;
    job->slot = slot;
    job->user = user;
    job->id = ++client->job_serial << SLOT_BITS | slot;
    return job;
}

struct job *job_find(quire_client *client, quire_job id) {
    uint64_t slot = id & ((1u << SLOT_BITS) - 1);
    if (id == 0 || slot >= client->options.max_jobs) {
        return NULL;
    }
    struct job *job = client->jobs[slot];
    return job != NULL && job->id == id ? job : NULL;
}

void job_forget(quire_client *client, struct job *job) {
    link_remove(&job->link);
    job->id = 0;
    ns_unref(job->ns);
    job->ns = NULL;
    client->free_slots[client->n_free_slots++] = job->slot;
}

void job_forget_all(quire_client *client) {
    client->n_free_slots = 0;
    client->active_jobs = 0;
    client->n_heap = 0;
    for (uint32_t slot = client->options.max_jobs; slot-- > 0;) {
        client->free_slots[client->n_free_slots++] = slot;
        struct job *job = client->jobs[slot];
        if (job != NULL && job->id != 0) {
            if (job->kind == JOB_FETCH && !job->done) {
                fetch_drop(job);
            } else if (job->kind == JOB_STORE) {
                store_drop(&job->u.store);
            }
            job->id = 0;
            ns_unref(job->ns);
            job->ns = NULL;
        }
    }
    list_init(&client->runnable);
    list_init(&client->stalled_conn);
    list_init(&client->stalled_space);
    list_init(&client->stalled_load);
    list_init(&client->done);
}

/* It never began: it lets go of what it holds, and its caller's results say why. */
static enum quire_status refuse(quire_client *client, struct job *job) {
    job->done = true;
    job->status = QUIRE_NO_MEMORY;
    if (kinds[job->kind].end != NULL) {
        kinds[job->kind].end(client, job);
    }
    return error_set(QUIRE_NO_MEMORY, "out of memory for a job");
}

enum quire_status job_submit(quire_client *client, struct job *job) {
    if (!heap_insert(client, job)) {
        return refuse(client, job);
    }
    if (job->async) {
        client->active_jobs++;
        if (client->polling && job->deadline_ns < client->poll_until_ns) {
            progress_kick(client);
        }
    }
    if (kinds[job->kind].eager || !job->async) {
        job_advance(client, job);
    } else {
        job_wake(client, job);
    }
    return QUIRE_OK;
}

quire_job job_submit_async(quire_client *client, struct job *job) {
    quire_job id = job->id;
    if (job_submit(client, job) != QUIRE_OK) {
        job_forget(client, job);
        return 0;
    }
    return id;
}

static bool is_done(quire_client *client, void *arg) {
    (void)client;
    return ((struct job *)arg)->done;
}

enum quire_status job_run(quire_client *client, struct job *job) {
    QUIRE_FORWARD(job_submit(client, job));
    if (!job->done) {
        progress_until(client, job, is_done, job, UINT64_MAX);
    }
    return error_from_job(job);
}

void job_wake(quire_client *client, struct job *job) {
    if (job->done) {
        return;
    }
    job->runnable = true;
    link_remove(&job->link);
    if (job->busy) {
        return; /* job_advance looks again */
    }
    if (job->async) {
        link_append(&client->runnable, &job->link);
    }
    progress_wake(client, job);
}

void job_wake_list(quire_client *client, struct link *list) {
    while (!list_empty(list)) {
        job_wake(client, LINK_OWNER(list->next, struct job, link));
    }
}

void job_stall(struct job *job, struct link *list) {
    link_remove(&job->link);
    link_append(list, &job->link);
}

void job_advance(quire_client *client, struct job *job) {
    job->runnable = false;
    link_remove(&job->link);
    job->busy = true;
    kinds[job->kind].advance(client, job);
    job->busy = false;
    if (job->done) {
        return;
    }
    if (job->abort != QUIRE_OK) {
        job_finish(client, job, job->abort, "%s", job->text);
    } else if (job->runnable) {
        job_wake(client, job);
    }
}

/* The answer to what was asked is of no interest any more. A put's answer is: it says when the ingest memory is free again. */
static void abandon(quire_client *client, struct job *job) {
    uint64_t id = job->request;
    job->request = 0;
    request_abandon(client, id);
}

void job_finish(quire_client *client, struct job *job, enum quire_status status, const char *format, ...) {
    if (job->done) {
        return;
    }
    if (format != NULL) {
        char text[JOB_TEXT_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        memcpy(job->text, text, sizeof(text));
    }
    job->done = true;
    job->status = status;
    job->runnable = false;
    heap_remove(client, job);
    link_remove(&job->link);
    abandon(client, job);
    if (kinds[job->kind].end != NULL) {
        kinds[job->kind].end(client, job);
    }
    if (job->async) {
        link_append(&client->done, &job->link);
        client->active_jobs--;
    }
    progress_wake(client, job);
}

void job_abort(quire_client *client, struct job *job, enum quire_status status, const char *text) {
    if (job->done) {
        return;
    }
    if (!job->busy) {
        job_finish(client, job, status, "%s", text);
        return;
    }
    if (job->abort == QUIRE_OK) {
        job->abort = status;
        snprintf(job->text, sizeof(job->text), "%s", text);
    }
}

/* ---- what callers see ----------------------------------------------------------------------------------------------------- */
int quire_drain(quire_client *client, quire_done *done, int max) {
    if (client == NULL || (done == NULL && max > 0)) {
        error_set(QUIRE_INVALID, "quire_drain: client or done is NULL");
        return 0;
    }
    client_enter(client);
    release_flush(client);
    conn_io(client);
    for (uint32_t budget = client->active_jobs; budget > 0 && !list_empty(&client->runnable); budget--) {
        job_advance(client, LINK_OWNER(client->runnable.next, struct job, link));
    }
    int n = 0;
    while (n < max && !list_empty(&client->done)) {
        struct job *job = LINK_OWNER(client->done.next, struct job, link);
        done[n++] = (quire_done){.job = job->id, .status = job->status, .user = job->user};
        job_forget(client, job);
    }
    client_leave(client);
    return n;
}

static bool is_over(quire_client *client, void *arg) {
    const struct job *job = job_find(client, *(quire_job *)arg);
    return job == NULL || job->done;
}

enum quire_status quire_wait(quire_client *client, quire_job id, uint32_t timeout_ms) {
    if (client == NULL) {
        return error_set(QUIRE_INVALID, "quire_wait: client is NULL");
    }
    client_enter(client);
    uint64_t until_ns = clock_ns() + timeout_ms * QUIRE_NS_PER_MS;
    enum quire_status status;
    if (!progress_until(client, job_find(client, id), is_over, &id, until_ns)) {
        status = error_set(QUIRE_TIMEOUT, "the job goes on; it did not end within %u ms", timeout_ms);
    } else {
        struct job *job = job_find(client, id);
        if (job == NULL) {
            status = error_set(QUIRE_NOT_FOUND, "no such job: drained already, or never submitted");
        } else {
            status = error_from_job(job);
            job_forget(client, job);
        }
    }
    client_leave(client);
    return status;
}

enum quire_status quire_cancel(quire_client *client, quire_job id) {
    if (client == NULL) {
        return error_set(QUIRE_INVALID, "quire_cancel: client is NULL");
    }
    client_enter(client);
    struct job *job = job_find(client, id);
    if (job != NULL) {
        job_abort(client, job, QUIRE_CANCELLED, "cancelled by the caller");
    }
    client_leave(client);
    return job != NULL ? QUIRE_OK : error_set(QUIRE_NOT_FOUND, "no such job: drained already, or never submitted");
}

static bool is_quiet(quire_client *client, void *arg) {
    (void)arg;
    return client->active_jobs == 0;
}

enum quire_status quire_quiesce(quire_client *client, uint32_t timeout_ms) {
    if (client == NULL) {
        return error_set(QUIRE_INVALID, "quire_quiesce: client is NULL");
    }
    client_enter(client);
    release_flush(client);
    bool quiet = progress_until(client, NULL, is_quiet, NULL, clock_ns() + timeout_ms * QUIRE_NS_PER_MS);
    client_leave(client);
    return quiet ? QUIRE_OK : error_set(QUIRE_TIMEOUT, "jobs are still outstanding after %u ms", timeout_ms);
}
