/*
 * The backend for hosts that forbid io_uring: threads that call preadv2, pwritev2 and fdatasync. As many as the device shall have operations at once.
 */
#include "daemon/disk/op.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 64u
#define THREADS_STACK_BYTES (256u << 10)
#define THREADS_MAGIC 0x64746872u

struct threads_io {
    struct disk_io io;
    uint32_t magic;
    int event;
    uint32_t in_flight; /* submitted and not handed out; the loop's own count */
    uint32_t n_files;
    int files[DISK_IO_MAX_FILES]; /* appended to by the loop alone; an operation is queued after its file */
    struct disk_queue handing;    /* taken over from `ended`; the loop's own */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct disk_queue queue, ended;
    uint32_t idle; /* threads that wait */
    bool stopping;
    uint32_t n_threads;
    pthread_t threads[THREADS_MAX];
};

static struct threads_io *threads_of(const struct disk_io *io) {
    struct threads_io *threads = (struct threads_io *)(uintptr_t)io;
    QUIRE_MAGIC_CHECK(threads, THREADS_MAGIC);
    return threads;
}

/* ---- on a thread -------------------------------------------------------------------------------------------------------------- */
static int64_t threads_call(int fd, struct disk_op *op, struct disk_progress *progress) {
    uint32_t n_iov;
    struct iovec *iov = disk_progress_iov(progress, op, &n_iov);
    off_t offset = (off_t)(op->offset + progress->bytes);
    int64_t result = op->type == DISK_READ    ? preadv2(fd, iov, (int)n_iov, offset, 0)
                     : op->type == DISK_WRITE ? pwritev2(fd, iov, (int)n_iov, offset, 0)
                                              : fdatasync(fd);
    return result < 0 ? -errno : result;
}

static void threads_run(int fd, struct disk_op *op) {
    struct disk_progress progress = {0};
    int error = 0;
    while (!disk_progress_take(&progress, op, threads_call(fd, op, &progress), &error)) {
    }
    disk_progress_restore(&progress, op);
    disk_op_end(op, error);
}

/* Hands in what ended (NULL at first) and takes the next; NULL: leave. */
static struct disk_op *threads_next(struct threads_io *threads, struct disk_op *ended) {
    pthread_mutex_lock(&threads->lock);
    if (ended != NULL) {
        bool first = threads->ended.head == NULL;
        disk_queue_add(&threads->ended, ended);
        if (first) {
            disk_event_set(threads->event);
        }
    }
    while (threads->queue.head == NULL && !threads->stopping) {
        threads->idle++;
        pthread_cond_wait(&threads->more, &threads->lock);
        threads->idle--;
    }
    struct disk_op *op = threads->stopping ? NULL : disk_queue_take(&threads->queue);
    pthread_mutex_unlock(&threads->lock);
    return op;
}

static void *threads_main(void *arg) {
    struct threads_io *threads = arg;
    struct disk_op *op = NULL;
    while ((op = threads_next(threads, op)) != NULL) {
        threads_run(threads->files[op->file], op);
    }
    return NULL;
}

/* ---- on the loop -------------------------------------------------------------------------------------------------------------- */
static void threads_destroy(struct disk_io **out) {
    if (*out == NULL) {
        return;
    }
    struct threads_io *threads = threads_of(*out);
    pthread_mutex_lock(&threads->lock);
    threads->stopping = true;
    pthread_cond_broadcast(&threads->more);
    pthread_mutex_unlock(&threads->lock);
    for (uint32_t i = 0; i < threads->n_threads; i++) {
        pthread_join(threads->threads[i], NULL);
    }
    pthread_cond_destroy(&threads->more);
    pthread_mutex_destroy(&threads->lock);
    if (threads->event >= 0) {
        close(threads->event);
    }
    free(threads);
    *out = NULL;
}

/* Signals are for the main thread. */
static int threads_start(struct threads_io *threads, uint32_t n_threads) {
    sigset_t all, before;
    pthread_attr_t attributes;
    int error = 0;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREADS_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (threads->n_threads < n_threads && error == 0) {
        error = pthread_create(&threads->threads[threads->n_threads], &attributes, threads_main, threads);
        if (error == 0) {
            pthread_setname_np(threads->threads[threads->n_threads++], "quired-disk");
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static enum quire_status threads_create(uint32_t depth, struct disk_io **out, char *why, size_t why_bytes) {
    struct threads_io *threads = calloc(1, sizeof *threads);
    if (threads == NULL) {
        snprintf(why, why_bytes, "threads: out of memory");
        return QUIRE_NO_MEMORY;
    }
    struct disk_io *io = &threads->io;
    uint32_t n_threads = (uint32_t)quire_min_u64(quire_max_u64(depth, 1), THREADS_MAX);
    io->ops = &disk_io_threads;
    io->depth = n_threads;
    threads->magic = THREADS_MAGIC;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->more, NULL);
    threads->event = disk_event_create();
    int error = threads->event < 0 ? errno : threads_start(threads, n_threads);
    if (error != 0) {
        snprintf(why, why_bytes, "threads: %u could not be started: %s", n_threads, strerror(error));
        threads_destroy(&io);
        return QUIRE_SYSTEM;
    }
    snprintf(why, why_bytes, "threads: %u of them", n_threads);
    *out = io;
    return QUIRE_OK;
}

static enum quire_status threads_add_file(struct disk_io *io, int fd, uint32_t *file) {
    struct threads_io *threads = threads_of(io);
    if (threads->n_files == DISK_IO_MAX_FILES) {
        return QUIRE_TOO_LARGE;
    }
    threads->files[threads->n_files] = fd;
    *file = threads->n_files++;
    return QUIRE_OK;
}

static enum quire_status threads_add_memory(struct disk_io *io, void *base, uint64_t bytes, bool *registered) {
    (void)io, (void)base, (void)bytes;
    *registered = false;
    return QUIRE_OK;
}

static void threads_submit(struct disk_io *io, struct disk_op *list) {
    struct threads_io *threads = threads_of(io);
    uint32_t count = 0;
    pthread_mutex_lock(&threads->lock);
    while (list != NULL) {
        struct disk_op *op = list;
        list = op->next;
        op->submitted_ns = disk_now_ns();
        threads->in_flight++;
        if (disk_op_valid(op, threads->n_files)) {
            disk_queue_add(&threads->queue, op);
            count++;
        } else {
            disk_op_end(op, EINVAL);
            disk_queue_add(&threads->ended, op);
            disk_event_set(threads->event);
        }
    }
    for (uint32_t i = 0; i < count && i < threads->idle; i++) {
        pthread_cond_signal(&threads->more);
    }
    pthread_mutex_unlock(&threads->lock);
}

static void threads_take_over(struct threads_io *threads) {
    struct disk_op *op;
    pthread_mutex_lock(&threads->lock);
    disk_event_clear(threads->event);
    while ((op = disk_queue_take(&threads->ended)) != NULL) {
        disk_queue_add(&threads->handing, op);
    }
    pthread_mutex_unlock(&threads->lock);
}

static uint32_t threads_reap(struct disk_io *io, uint32_t max) {
    struct threads_io *threads = threads_of(io);
    threads_take_over(threads);
    uint32_t count = disk_op_hand_out(&threads->handing, max, &threads->in_flight);
    if (threads->handing.head != NULL) {
        disk_event_set(threads->event);
    }
    return count;
}

static int threads_event_fd(const struct disk_io *io) { return threads_of(io)->event; }
static uint32_t threads_in_flight(const struct disk_io *io) { return threads_of(io)->in_flight; }

const struct disk_io_ops disk_io_threads = {
    .name = "threads",
    .create = threads_create,
    .destroy = threads_destroy,
    .add_file = threads_add_file,
    .add_memory = threads_add_memory,
    .submit = threads_submit,
    .reap = threads_reap,
    .event_fd = threads_event_fd,
    .in_flight = threads_in_flight,
};
