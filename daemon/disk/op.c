#include "daemon/disk/op.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void disk_queue_add(struct disk_queue *queue, struct disk_op *op) {
    op->next = NULL;
    if (queue->head == NULL) {
        queue->head = op;
    } else {
        queue->tail->next = op;
    }
    queue->tail = op;
}

struct disk_op *disk_queue_take(struct disk_queue *queue) {
    struct disk_op *op = queue->head;
    if (op != NULL) {
        queue->head = op->next;
        op->next = NULL;
    }
    return op;
}

static enum quire_status status_of(int error) {
    switch (error) {
    case 0:
        return QUIRE_OK;
    case ENOSPC:
    case EDQUOT:
    case EROFS:
        return QUIRE_FULL;
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:
    case EINTR:
        return QUIRE_NO_MEMORY;
    default:
        return QUIRE_SYSTEM;
    }
}

void disk_op_end(struct disk_op *op, int error) {
    op->error = error;
    op->status = status_of(error);
    op->done_ns = disk_now_ns();
}

uint32_t disk_op_hand_out(struct disk_queue *ended, uint32_t max, uint32_t *in_flight) {
    uint32_t count = 0;
    struct disk_op *op;
    while (count < max && (op = disk_queue_take(ended)) != NULL) {
        count++;
        *in_flight -= 1;
        op->done(op);
    }
    return count;
}

bool disk_op_valid(const struct disk_op *op, uint32_t n_files) {
    uint64_t bytes = 0;
    if (op->file >= n_files || (unsigned)op->type > DISK_SYNC) {
        return false;
    }
    if (op->type == DISK_SYNC) {
        return true;
    }
    if (op->n_iov == 0 || op->n_iov > DISK_OP_MAX_IOV) {
        return false;
    }
    for (uint32_t i = 0; i < op->n_iov; i++) {
        if (op->iov[i].iov_len == 0 || op->iov[i].iov_len > (uint64_t)INT64_MAX - bytes) {
            return false;
        }
        bytes += op->iov[i].iov_len;
    }
    return bytes == op->bytes && op->offset <= (uint64_t)INT64_MAX - bytes;
}

struct iovec *disk_progress_iov(struct disk_progress *progress, struct disk_op *op, uint32_t *n_iov) {
    *n_iov = op->n_iov - progress->iov;
    return op->iov != NULL ? &op->iov[progress->iov] : NULL; /* a sync has none */
}

void disk_progress_restore(struct disk_progress *progress, struct disk_op *op) {
    if (progress->shortened) {
        op->iov[progress->iov] = progress->whole;
        progress->shortened = false;
    }
}

static void progress_forward(struct disk_progress *progress, const struct disk_op *op, uint64_t bytes) {
    progress->bytes += bytes;
    progress->retries = 0;
    while (bytes != 0) {
        struct iovec *iov = &op->iov[progress->iov];
        if (bytes < iov->iov_len) {
            if (!progress->shortened) {
                progress->whole = *iov;
                progress->shortened = true;
            }
            *iov = (struct iovec){(char *)iov->iov_base + bytes, iov->iov_len - bytes};
            return;
        }
        bytes -= iov->iov_len;
        if (progress->shortened) {
            *iov = progress->whole;
            progress->shortened = false;
        }
        progress->iov++;
    }
}

/* The rest of a transfer that ended well so far; the end of the file, or a device that takes nothing any more, is a failure. */
static bool progress_gained(struct disk_progress *progress, const struct disk_op *op, uint64_t bytes, int *error) {
    progress_forward(progress, op, quire_min_u64(bytes, op->bytes - progress->bytes));
    if (progress->bytes == op->bytes) {
        *error = 0;
        return true;
    }
    *error = op->type == DISK_READ ? ENODATA : EIO;
    return bytes == 0;
}

bool disk_progress_take(struct disk_progress *progress, const struct disk_op *op, int64_t result, int *error) {
    if (result == -EAGAIN || result == -EINTR) {
        *error = (int)-result;
        return ++progress->retries > DISK_OP_RETRIES;
    }
    if (result < 0 || op->type == DISK_SYNC) {
        *error = (int)-result;
        return true;
    }
    return progress_gained(progress, op, (uint64_t)result, error);
}

int disk_event_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

/* The counter cannot run full: it is cleared at each reap. */
void disk_event_set(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void disk_event_clear(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

uint64_t disk_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * QUIRE_NS_PER_S + (uint64_t)now.tv_nsec;
}
