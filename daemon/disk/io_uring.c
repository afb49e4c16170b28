/*
 * The backend on io_uring: one ring, which belongs to the thread that submits first.
 *
 * The ring is created disabled and enabled by the first submission, so that another thread may set everything up. Where the kernel can (6.1), completions are
 * deferred until they are reaped: nothing interrupts the loop. A finished list is told by an eventfd that the kernel writes.
 */
#include "daemon/disk/op.h"
#include "proto/base/uring.h"

#include <errno.h>
#include <liburing.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define URING_MAGIC 0x64757267u
#define URING_MAX_DEPTH 4096u
#define URING_BUFFERS 4096u /* memory that can be registered: as many GiB at most */
#define URING_BUFFER_BYTES (1ull << 30)
/*
 * From this size on a thread of the kernel's begins a write: pinning and describing its pages took the loop a good tenth of a millisecond for 2 MiB. All that
 * is left of the operation counts: to give the drive no more than a batch's head took the loop 40 to 100 us, and most of its long turns were that.
 */
#define URING_AWAY_BYTES (128u << 10)
/* An operation on registered memory goes in as many runs at most, one after the other: a batch is its head, and records in one or two buffers. */
#define URING_RUNS 3u
/* Vectors of registered memory, from Linux 6.15; liburing 2.3 has no names for them. */
#define URING_READV_FIXED 60
#define URING_WRITEV_FIXED 61
#define URING_NO_SLOT UINT32_MAX
#define URING_GONE_MS 60000

#define URING_MODERN                                                                                                                       \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |                       \
     IORING_SETUP_R_DISABLED)

struct uring_slot { /* an operation that the device has */
    struct disk_op *op;
    struct disk_progress progress;
    uint32_t next_free;
};

struct uring_buffer { /* registered memory, ordered by address */
    uintptr_t base;
    uint64_t bytes;
    uint32_t index; /* the kernel's */
};

struct uring_io {
    struct disk_io io;
    uint32_t magic;
    struct io_uring ring;
    bool has_ring, disabled;
    bool vectors; /* the kernel takes vectors of registered memory */
    int broken;   /* errno: the ring takes nothing any more */
    int event;
    int alive; /* read end of a pipe whose other end only the ring holds: it hangs up when the kernel has let go of everything */
    uint32_t in_flight, in_device;
    uint32_t stalled; /* submissions in a row that the kernel put off while the device had nothing */
    uint32_t n_files;
    int files[DISK_IO_MAX_FILES];
    uint32_t buffers_capacity, n_buffers;
    struct uring_buffer *buffers;
    struct disk_queue queue, again, ended; /* wait for a slot; keep theirs, to be continued; wait to be handed out */
    uint32_t free_slot;
    struct uring_slot slots[];
};

static struct uring_io *uring_of(const struct disk_io *io) {
    struct uring_io *uring = (struct uring_io *)(uintptr_t)io;
    QUIRE_MAGIC_CHECK(uring, URING_MAGIC);
    return uring;
}

/* ---- to the kernel ------------------------------------------------------------------------------------------------------------ */
/* The registered buffer that holds all of this memory, or -1. */
static int uring_buffer_of(const struct uring_io *uring, const void *at, uint64_t bytes) {
    uint32_t low = 0, high = uring->n_buffers;
    while (low < high) { /* the first that begins behind `at` */
        uint32_t middle = low + (high - low) / 2;
        if (uring->buffers[middle].base <= (uintptr_t)at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return -1;
    }
    const struct uring_buffer *buffer = &uring->buffers[low - 1];
    return quire_in_range((uintptr_t)at - buffer->base, bytes, buffer->bytes) ? (int)buffer->index : -1;
}

/* So many buffers from the first on lie in one registered buffer, and go as one request to the kernel. */
static uint32_t uring_run(const struct uring_io *uring, const struct iovec *iov, uint32_t n_iov, int *buffer) {
    uint32_t n = 1;
    *buffer = uring_buffer_of(uring, iov[0].iov_base, iov[0].iov_len);
    while (*buffer >= 0 && uring->vectors && n < n_iov && uring_buffer_of(uring, iov[n].iov_base, iov[n].iov_len) == *buffer) {
        n++;
    }
    return n;
}

/*
 * What goes next: a run of registered memory, and the others when it has ended, as after a transfer that was cut short; or all of it, unregistered,
 * where not all is registered or the runs are many. Registered memory costs half the processor time: its pages need not be pinned for each transfer.
 */
static uint32_t uring_next(const struct uring_io *uring, const struct iovec *iov, uint32_t n_iov, int *buffer) {
    uint32_t first = uring_run(uring, iov, n_iov, buffer);
    int other = *buffer;
    for (uint32_t n = first, runs = 1; other >= 0 && n < n_iov; runs++) {
        n += uring_run(uring, iov + n, n_iov - n, &other);
        other = runs < URING_RUNS ? other : -1;
    }
    *buffer = other >= 0 ? *buffer : -1;
    return other >= 0 ? first : n_iov;
}

static void uring_prepare_one(struct io_uring_sqe *sqe, int fd, enum disk_op_type type, const struct iovec *iov, uint64_t offset,
                              int buffer) {
    unsigned bytes = (unsigned)quire_min_u64(iov->iov_len, URING_BUFFER_BYTES);
    if (type == DISK_READ && buffer >= 0) {
        io_uring_prep_read_fixed(sqe, fd, iov->iov_base, bytes, offset, buffer);
    } else if (type == DISK_READ) {
        io_uring_prep_read(sqe, fd, iov->iov_base, bytes, offset);
    } else if (buffer >= 0) {
        io_uring_prep_write_fixed(sqe, fd, iov->iov_base, bytes, offset, buffer);
    } else {
        io_uring_prep_write(sqe, fd, iov->iov_base, bytes, offset);
    }
}

static void uring_prepare_some(struct io_uring_sqe *sqe, int fd, enum disk_op_type type, const struct iovec *iov, uint32_t n_iov,
                               uint64_t offset, int buffer) {
    if (type == DISK_READ) {
        io_uring_prep_readv(sqe, fd, iov, n_iov, offset);
    } else {
        io_uring_prep_writev(sqe, fd, iov, n_iov, offset);
    }
    if (buffer >= 0) {
        sqe->opcode = type == DISK_READ ? URING_READV_FIXED : URING_WRITEV_FIXED;
        sqe->buf_index = (uint16_t)buffer;
    }
}

static void uring_prepare(struct uring_io *uring, struct uring_slot *slot) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    struct disk_op *op = slot->op;
    uint32_t n_iov;
    int buffer, fd = uring->files[op->file];
    assert(sqe != NULL); /* there are as many as slots */
    struct iovec *iov = disk_progress_iov(&slot->progress, op, &n_iov);
    uint64_t offset = op->offset + slot->progress.bytes, bytes = 0;
    for (uint32_t i = 0; op->type == DISK_WRITE && i < n_iov; i++) {
        bytes += iov[i].iov_len;
    }
    if (op->type == DISK_SYNC) {
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    } else if ((n_iov = uring_next(uring, iov, n_iov, &buffer)) == 1) {
        uring_prepare_one(sqe, fd, op->type, iov, offset, buffer);
    } else {
        uring_prepare_some(sqe, fd, op->type, iov, n_iov, offset, buffer);
    }
    if (bytes >= URING_AWAY_BYTES) {
        sqe->flags |= IOSQE_ASYNC;
    }
    io_uring_sqe_set_data64(sqe, (uint64_t)(slot - uring->slots));
}

static void uring_end(struct uring_io *uring, struct uring_slot *slot, int error) {
    disk_progress_restore(&slot->progress, slot->op);
    disk_op_end(slot->op, error);
    disk_queue_add(&uring->ended, slot->op);
    slot->op = NULL;
    slot->next_free = uring->free_slot;
    uring->free_slot = (uint32_t)(slot - uring->slots);
    uring->in_device--;
}

/* The ring refuses for good (another thread owns it, say): what the kernel has not taken ends, and so does everything that comes. */
static void uring_break(struct uring_io *uring, int error) {
    const struct io_uring_sq *sq = &uring->ring.sq;
    uring->broken = error;
    for (unsigned at = *sq->khead; at != sq->sqe_tail; at++) {
        uring_end(uring, &uring->slots[sq->sqes[at & *sq->kring_mask].user_data], error);
    }
    struct disk_op *op;
    while ((op = disk_queue_take(&uring->queue)) != NULL) {
        disk_op_end(op, error);
        disk_queue_add(&uring->ended, op);
    }
    disk_event_set(uring->event);
}

/* One system call for all that was prepared. What the kernel puts off goes with the next completion, or with the next turn when none will come. */
static void uring_flush(struct uring_io *uring) {
    unsigned ready;
    while (uring->broken == 0 && (ready = io_uring_sq_ready(&uring->ring)) != 0) {
        int taken = io_uring_submit(&uring->ring);
        if (taken > 0) {
            uring->stalled = 0;
        } else if (taken < 0 && taken != -EAGAIN && taken != -EBUSY && taken != -EINTR) {
            uring_break(uring, -taken);
        } else if (uring->in_device > ready) {
            return;
        } else if (++uring->stalled > DISK_OP_RETRIES) {
            uring_break(uring, taken < 0 ? -taken : EAGAIN);
        } else {
            disk_event_set(uring->event);
            return;
        }
    }
}

/* Gives the device what it may have: first what is to be continued, then what waits. */
static void uring_push(struct uring_io *uring) {
    struct disk_op *op;
    while (uring->broken == 0 && (op = disk_queue_take(&uring->again)) != NULL) {
        uring_prepare(uring, op->backend);
    }
    while (uring->broken == 0 && uring->free_slot != URING_NO_SLOT && (op = disk_queue_take(&uring->queue)) != NULL) {
        struct uring_slot *slot = &uring->slots[uring->free_slot];
        uring->free_slot = slot->next_free;
        *slot = (struct uring_slot){.op = op};
        op->backend = slot;
        uring->in_device++;
        uring_prepare(uring, slot);
    }
    uring_flush(uring);
}

static void uring_submit(struct disk_io *io, struct disk_op *list) {
    struct uring_io *uring = uring_of(io);
    if (uring->disabled) {
        uring->disabled = false;
        /* io_uring_enable_rings of liburing 2.3 is missing from its shared library */
        uring->broken = -io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    }
    while (list != NULL) {
        struct disk_op *op = list;
        list = op->next;
        op->submitted_ns = disk_now_ns();
        uring->in_flight++;
        if (uring->broken == 0 && disk_op_valid(op, uring->n_files)) {
            disk_queue_add(&uring->queue, op);
        } else {
            disk_op_end(op, uring->broken != 0 ? uring->broken : EINVAL);
            disk_queue_add(&uring->ended, op);
            disk_event_set(uring->event);
        }
    }
    uring_push(uring);
}

/* ---- from the kernel ---------------------------------------------------------------------------------------------------------- */
static void uring_settle(struct uring_io *uring, const struct io_uring_cqe *cqe) {
    struct uring_slot *slot = &uring->slots[cqe->user_data];
    int error = 0;
    bool over = disk_progress_take(&slot->progress, slot->op, cqe->res, &error);
    if (over || uring->broken != 0) {
        uring_end(uring, slot, over ? error : uring->broken);
    } else {
        disk_queue_add(&uring->again, slot->op);
    }
}

static bool uring_must_enter(const struct uring_io *uring) {
    return (__atomic_load_n(uring->ring.sq.kflags, __ATOMIC_ACQUIRE) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* The event is cleared before the last look: what comes after that look sets it again. */
static void uring_collect(struct uring_io *uring) {
    int result = 0;
    do {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        if (uring_must_enter(uring)) {
            result = io_uring_get_events(&uring->ring);
        }
        io_uring_for_each_cqe(&uring->ring, head, cqe) {
            uring_settle(uring, cqe);
            count++;
        }
        io_uring_cq_advance(&uring->ring, count);
        disk_event_clear(uring->event);
    } while (io_uring_cq_ready(&uring->ring) != 0 || (uring_must_enter(uring) && (result >= 0 || result == -EINTR)));
}

static uint32_t uring_reap(struct disk_io *io, uint32_t max) {
    struct uring_io *uring = uring_of(io);
    uring_collect(uring);
    uring_push(uring);
    uint32_t count = disk_op_hand_out(&uring->ended, max, &uring->in_flight);
    if (uring->ended.head != NULL) {
        disk_event_set(uring->event);
    }
    return count;
}

/* ---- setting up --------------------------------------------------------------------------------------------------------------- */
/* Vectors of registered memory: only newer kernels have them. */
static bool uring_has_vectors(struct io_uring *ring) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool has = probe != NULL && io_uring_opcode_supported(probe, URING_READV_FIXED) && io_uring_opcode_supported(probe, URING_WRITEV_FIXED);
    io_uring_free_probe(probe);
    return has;
}

bool disk_io_uring_works(char *why, size_t why_bytes) {
    int error = quire_uring_try();
    if (error != 0) {
        quire_uring_explain(error, why, why_bytes);
        return false;
    }
    snprintf(why, why_bytes, "io_uring works");
    return true;
}

static bool uring_may_lock_memory(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    struct rlimit limit;
    if (syscall(SYS_capget, &header, data) == 0 && (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0) {
        return true;
    }
    return getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY;
}

static void uring_tell(const struct uring_io *uring, unsigned flags, char *why, size_t why_bytes) {
    struct rlimit limit = {0};
    int n =
        snprintf(why, why_bytes, "io_uring, %s", flags != 0 ? "completions deferred" : "plain (completions are deferred from kernel 6.1)");
    if (n < 0 || (size_t)n >= why_bytes) {
        return;
    }
    if (uring->buffers_capacity == 0) {
        snprintf(why + n, why_bytes - (size_t)n, "; memory goes unregistered on this kernel (5.19 is needed)");
    } else if (!uring_may_lock_memory() && getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        snprintf(why + n, why_bytes - (size_t)n,
                 "; of the memory %llu KiB can be registered, the limit on locked memory (LimitMEMLOCK=infinity lifts it)",
                 (unsigned long long)limit.rlim_cur >> 10);
    }
}

/* See `alive`: a pipe's write end in the ring's table of files. Without it destroy does not notice what another thread left under way. */
static void uring_watch(struct uring_io *uring) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return;
    }
    if (io_uring_register_files(&uring->ring, &ends[1], 1) == 0) {
        uring->alive = ends[0];
    } else {
        close(ends[0]);
    }
    close(ends[1]);
}

/*
 * What cannot be done at once keeps one of the kernel's threads until it is done, on a drive that hangs for good: there may be as many threads as operations,
 * else another file's wait behind it. By itself the kernel takes four a processor, and no more than the entries of the first ring that this thread ever made,
 * which is the one of quire_uring_try: a single one. A ring for each file would not help, all of a thread's rings share them. Where it cannot be
 * changed (before 5.15) io_uring is not used.
 */
static void uring_widen(struct uring_io *uring) {
    unsigned workers[2] = {uring->io.depth, 0}; /* for files; the others' limit stays, which is the one on processes */
    io_uring_register_iowq_max_workers(&uring->ring, workers);
}

static int uring_setup(struct uring_io *uring, unsigned flags) {
    int result = io_uring_queue_init(uring->io.depth, &uring->ring, flags);
    if (result < 0) {
        return -result;
    }
    uring->has_ring = true;
    uring->disabled = (flags & IORING_SETUP_R_DISABLED) != 0;
    uring->vectors = uring_has_vectors(&uring->ring);
    uring->event = disk_event_create();
    if (uring->event < 0) {
        return errno;
    }
    result = io_uring_register_eventfd(&uring->ring, uring->event);
    if (result < 0) {
        return -result;
    }
    uring_widen(uring);
    uring_watch(uring);
    uring->buffers = calloc(URING_BUFFERS, sizeof uring->buffers[0]);
    if (uring->buffers != NULL && io_uring_register_buffers_sparse(&uring->ring, URING_BUFFERS) == 0) {
        uring->buffers_capacity = URING_BUFFERS;
    }
    return 0;
}

/* The kernel's work is over when the ring is gone; what this thread may not wait for (another one owns the ring) it sees by the pipe. */
static void uring_wait(struct uring_io *uring) {
    struct io_uring_cqe *cqe;
    unsigned unsubmitted = uring->broken != 0 ? 0 : io_uring_sq_ready(&uring->ring);
    while (uring->in_device > unsubmitted) {
        int result = io_uring_wait_cqe(&uring->ring, &cqe);
        if (result == 0) {
            struct uring_slot *slot = &uring->slots[cqe->user_data];
            disk_progress_restore(&slot->progress, slot->op);
            uring->in_device--;
            io_uring_cqe_seen(&uring->ring, cqe);
        } else if (result != -EINTR && result != -EAGAIN) {
            break;
        }
    }
    bool left = uring->in_device > unsubmitted;
    io_uring_queue_exit(&uring->ring);
    if (left && uring->alive >= 0) {
        struct pollfd gone = {.fd = uring->alive, .events = POLLIN};
        while (poll(&gone, 1, URING_GONE_MS) < 0 && errno == EINTR) {
        }
    }
}

static void uring_destroy(struct disk_io **out) {
    if (*out == NULL) {
        return;
    }
    struct uring_io *uring = uring_of(*out);
    if (uring->has_ring) {
        uring_wait(uring);
    }
    if (uring->alive >= 0) {
        close(uring->alive);
    }
    if (uring->event >= 0) {
        close(uring->event);
    }
    free(uring->buffers);
    free(uring);
    *out = NULL;
}

static struct uring_io *uring_new(const struct disk_io_ops *ops, uint32_t depth) {
    struct uring_io *uring = calloc(1, sizeof *uring + depth * sizeof uring->slots[0]);
    if (uring == NULL) {
        return NULL;
    }
    uring->io.ops = ops;
    uring->magic = URING_MAGIC;
    uring->event = uring->alive = -1;
    uring->io.depth = depth;
    for (uint32_t i = 0; i < depth; i++) {
        uring->slots[i].next_free = i + 1 < depth ? i + 1 : URING_NO_SLOT;
    }
    return uring;
}

static enum quire_status uring_create_with(const struct disk_io_ops *ops, unsigned flags, uint32_t depth, struct disk_io **out,
                                           int *error) {
    struct uring_io *uring = uring_new(ops, (uint32_t)quire_min_u64(quire_max_u64(depth, 1), URING_MAX_DEPTH));
    *error = ENOMEM;
    if (uring == NULL) {
        return QUIRE_NO_MEMORY;
    }
    *error = uring_setup(uring, flags);
    *out = &uring->io;
    if (*error != 0) {
        uring_destroy(out);
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

static enum quire_status uring_create_plain(uint32_t depth, struct disk_io **out, char *why, size_t why_bytes) {
    int error;
    enum quire_status status = uring_create_with(&disk_io_uring_plain, 0, depth, out, &error);
    if (status != QUIRE_OK) {
        quire_uring_explain(error, why, why_bytes);
        return status;
    }
    uring_tell(uring_of(*out), 0, why, why_bytes);
    return QUIRE_OK;
}

static enum quire_status uring_create(uint32_t depth, struct disk_io **out, char *why, size_t why_bytes) {
    int error;
    enum quire_status status = uring_create_with(&disk_io_uring, URING_MODERN, depth, out, &error);
    if (status == QUIRE_SYSTEM && error == EINVAL) { /* a flag that this kernel does not know */
        status = uring_create_plain(depth, out, why, why_bytes);
        if (status == QUIRE_OK) {
            (*out)->ops = &disk_io_uring;
        }
        return status;
    }
    if (status != QUIRE_OK) {
        quire_uring_explain(error, why, why_bytes);
        return status;
    }
    uring_tell(uring_of(*out), URING_MODERN, why, why_bytes);
    return QUIRE_OK;
}

static enum quire_status uring_add_file(struct disk_io *io, int fd, uint32_t *file) {
    struct uring_io *uring = uring_of(io);
    if (uring->n_files == DISK_IO_MAX_FILES) {
        return QUIRE_TOO_LARGE;
    }
    uring->files[uring->n_files] = fd;
    *file = uring->n_files++;
    return QUIRE_OK;
}

static bool uring_register(struct uring_io *uring, const struct iovec *memory) {
    if (uring->n_buffers == uring->buffers_capacity ||
        io_uring_register_buffers_update_tag(&uring->ring, uring->n_buffers, memory, NULL, 1) != 1) {
        return false;
    }
    struct uring_buffer buffer = {(uintptr_t)memory->iov_base, memory->iov_len, uring->n_buffers};
    uint32_t at = uring->n_buffers++;
    for (; at > 0 && uring->buffers[at - 1].base > buffer.base; at--) {
        uring->buffers[at] = uring->buffers[at - 1];
    }
    uring->buffers[at] = buffer;
    return true;
}

static enum quire_status uring_add_memory(struct disk_io *io, void *base, uint64_t bytes, bool *registered) {
    struct uring_io *uring = uring_of(io);
    *registered = true;
    for (uint64_t at = 0; at < bytes && *registered; at += URING_BUFFER_BYTES) {
        struct iovec chunk = {(char *)base + at, quire_min_u64(bytes - at, URING_BUFFER_BYTES)};
        *registered = uring_register(uring, &chunk);
    }
    return QUIRE_OK;
}

static int uring_event_fd(const struct disk_io *io) { return uring_of(io)->event; }
static uint32_t uring_in_flight(const struct disk_io *io) { return uring_of(io)->in_flight; }

#define URING_OPS(its_name, its_create)                                                                                                    \
    {                                                                                                                                      \
        .name = its_name, .create = its_create, .destroy = uring_destroy, .add_file = uring_add_file, .add_memory = uring_add_memory,      \
        .submit = uring_submit, .reap = uring_reap, .event_fd = uring_event_fd, .in_flight = uring_in_flight                               \
    }
const struct disk_io_ops disk_io_uring = URING_OPS("io_uring", uring_create);
const struct disk_io_ops disk_io_uring_plain = URING_OPS("io_uring", uring_create_plain);
