#include "daemon/workpool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct workpool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct work *queue_head, *queue_tail;
    struct work *finished; /* newest first */
    uint32_t idle;         /* workers that wait */
    bool stopping;
    void (*wake)(void *ctx);
    void *ctx;
    uint32_t capacity;
    uint32_t outstanding; /* submitted and not reaped; the submitter's own count */
    uint32_t n_threads;
    pthread_t threads[];
};

static struct work *workpool_take(struct workpool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (pool->queue_head == NULL && !pool->stopping) {
        pool->idle++;
        pthread_cond_wait(&pool->more, &pool->lock);
        pool->idle--;
    }
    struct work *work = pool->stopping ? NULL : pool->queue_head;
    if (work != NULL) {
        pool->queue_head = work->next;
    }
    pthread_mutex_unlock(&pool->lock);
    return work;
}

static void workpool_finish(struct workpool *pool, struct work *work) {
    pthread_mutex_lock(&pool->lock);
    bool first = pool->finished == NULL;
    work->next = pool->finished;
    pool->finished = work;
    pthread_mutex_unlock(&pool->lock);
    if (first) {
        pool->wake(pool->ctx);
    }
}

static void *workpool_thread(void *arg) {
    struct workpool *pool = arg;
    struct work *work;
    while ((work = workpool_take(pool)) != NULL) {
        work->run(work);
        workpool_finish(pool, work);
    }
    return NULL;
}

/* Signals are for the main thread. */
static enum quire_status workpool_start(struct workpool *pool, uint32_t threads) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    enum quire_status status = QUIRE_OK;
    while (pool->n_threads < threads && status == QUIRE_OK) {
        if (pthread_create(&pool->threads[pool->n_threads], NULL, workpool_thread, pool) != 0) {
            status = QUIRE_SYSTEM;
        } else {
            pthread_setname_np(pool->threads[pool->n_threads++], "quired-work");
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

enum quire_status workpool_create(uint32_t threads, uint32_t capacity, void (*wake)(void *ctx), void *ctx, struct workpool **out) {
    struct workpool *pool = calloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
    if (pool == NULL) {
        return QUIRE_NO_MEMORY;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    pool->wake = wake;
    pool->ctx = ctx;
    pool->capacity = capacity;
    enum quire_status status = workpool_start(pool, threads);
    if (status != QUIRE_OK) {
        workpool_destroy(&pool);
        return status;
    }
    *out = pool;
    return QUIRE_OK;
}

void workpool_destroy(struct workpool **out) {
    struct workpool *pool = *out;
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->n_threads; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    *out = NULL;
}

uint32_t workpool_room(const struct workpool *pool) { return pool->capacity - pool->outstanding; }

void workpool_submit(struct workpool *pool, struct work *list) {
    uint32_t count = 0;
    struct work *last = NULL;
    for (struct work *work = list; work != NULL; work = work->next) {
        last = work;
        count++;
    }
    if (count == 0) {
        return;
    }
    assert(count <= workpool_room(pool));
    pool->outstanding += count;
    pthread_mutex_lock(&pool->lock);
    if (pool->queue_head == NULL) {
        pool->queue_head = list;
    } else {
        pool->queue_tail->next = list;
    }
    pool->queue_tail = last;
    for (uint32_t i = 0; i < count && i < pool->idle; i++) {
        pthread_cond_signal(&pool->more);
    }
    pthread_mutex_unlock(&pool->lock);
}

uint32_t workpool_reap(struct workpool *pool) {
    pthread_mutex_lock(&pool->lock);
    struct work *finished = pool->finished;
    pool->finished = NULL;
    pthread_mutex_unlock(&pool->lock);
    uint32_t count = 0;
    while (finished != NULL) {
        struct work *work = finished;
        finished = work->next;
        pool->outstanding--;
        count++;
        work->done(work);
    }
    return count;
}
