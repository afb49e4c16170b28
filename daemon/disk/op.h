/*
 * What every backend does with an operation: its queue, its outcome, and how far a transfer that the kernel cut short has come. Inside
 * daemon/disk/io*.c and faults.c only.
 */
#ifndef DAEMON_DISK_OP_H
#define DAEMON_DISK_OP_H

#include "daemon/disk/io.h"

#define DISK_IO_MAX_FILES 64u

/* io_uring as kernels before 6.1 have it, which disk_io_uring falls back to by itself; by name so that tests see both. */
extern const struct disk_io_ops disk_io_uring_plain;

/* ---- a queue of operations, linked by `next` ---- */
struct disk_queue {
    struct disk_op *head, *tail;
};
void disk_queue_add(struct disk_queue *queue, struct disk_op *op);
struct disk_op *disk_queue_take(struct disk_queue *queue); /* NULL: empty */

/* Writes the outcome: OK for 0, FULL and NO_MEMORY as in io.h, SYSTEM for every other errno. */
void disk_op_end(struct disk_op *op, int error);
/* Hands out up to max of the ended ones, each no longer in flight when its `done` is called, which may submit more. */
uint32_t disk_op_hand_out(struct disk_queue *ended, uint32_t max, uint32_t *in_flight);
/* Is it one that a backend can carry out: a file that was added, buffers that add up to `bytes`? */
bool disk_op_valid(const struct disk_op *op, uint32_t n_files);

/* ---- a transfer that may take several calls ---- */
struct disk_progress {
    uint64_t bytes; /* transferred */
    uint32_t iov;   /* the first buffer that is not whole */
    bool shortened; /* that buffer's entry is, see disk_progress_iov; `whole` is as the caller wrote it */
    struct iovec whole;
    uint32_t retries; /* without a byte gained */
};
#define DISK_OP_RETRIES 64u

/* The buffers that are left. A buffer in which a call stopped is shortened in place; disk_progress_restore puts the caller's entry back. */
struct iovec *disk_progress_iov(struct disk_progress *progress, struct disk_op *op, uint32_t *n_iov);
void disk_progress_restore(struct disk_progress *progress, struct disk_op *op);
/* Takes what a call said (bytes, or a negative errno). True: the operation has ended, *error says how; false: call again. */
bool disk_progress_take(struct disk_progress *progress, const struct disk_op *op, int64_t result, int *error);

/* ---- eventfd ---- */
int disk_event_create(void);
void disk_event_set(int fd);
void disk_event_clear(int fd);

uint64_t disk_now_ns(void);

#endif
