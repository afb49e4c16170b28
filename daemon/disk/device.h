/*
 * The files of the set as those see them who read and write segments: where a segment lies, and how its bytes are asked for.
 *
 * Whoever wants something read or written queues operations here; they go to the backend together, once a turn of the loop, so that many
 * cost one system call. Each device has an equal share of what the backend takes at once, and waits for its own: one that hangs holds up no other.
 * What is to be summed runs on the work pool. Loop thread only.
 */
#ifndef DAEMON_DISK_DEVICE_H
#define DAEMON_DISK_DEVICE_H

#include "codec/log.h"
#include "daemon/disk/io.h"
#include "daemon/workpool.h"

/* Alignment of memory that is read into or written from: every device's block divides it. */
#define DISK_MEMORY_ALIGN 4096u

struct store_set {
    uint32_t n_files;                       /* a file is a device of the pager's */
    uint32_t file[QUIRE_LOG_MAX_FILES];     /* as the backend numbers them */
    int fd[QUIRE_LOG_MAX_FILES];            /* to see how long it is */
    uint32_t segments[QUIRE_LOG_MAX_FILES]; /* numbers run through the set, file 0's first */
    bool out[QUIRE_LOG_MAX_FILES];          /* out of use since the start: nothing is read or written */
    bool fresh[QUIRE_LOG_MAX_FILES];        /* made at this start: every segment is clean */
    struct quire_log_geometry geometry;
    uint8_t set_id[16];
};

struct disk_device {
    struct disk_op *waiting, *waiting_tail;
    struct disk_op *oldest, *youngest; /* that the backend has */
    uint32_t under_way;                /* so many */
    uint64_t reads, read_bytes;        /* that ended well, whoever asked */
    bool given_up;
};

struct disk_env {
    struct disk_io *io;
    struct store_set set;
    void (*run)(void *ctx, struct work *list); /* hands jobs to the work pool */
    void *ctx;
    struct disk_device devices[QUIRE_LOG_MAX_FILES];
    uint32_t n_waiting;                 /* operations, for their device's share */
    struct disk_op *ended, *ended_tail; /* here, without the backend: disk_env_turn hands them out */
};

static inline uint32_t disk_set_segments(const struct store_set *set) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->n_files; i++) {
        n += set->segments[i];
    }
    return n;
}

static inline uint64_t disk_set_bytes(const struct store_set *set, uint64_t units) { return units * set->geometry.unit_bytes; }

/* The device of a segment, and the place of one of its units in the device's file. The segment is one of the set's. */
uint64_t disk_locate(const struct store_set *set, uint32_t segment, uint32_t at_units, uint32_t *device);

/* Whether the device's file ends before its last segment does. Its drive is not asked. */
bool disk_is_cut_short(const struct store_set *set, uint32_t device);

/* Queues an operation on units of a segment, or (iov NULL) the sync of a device; `done` is called when it ended. */
void disk_env_io(struct disk_env *env, struct disk_op *op, enum disk_op_type type, uint32_t device, uint64_t offset, struct iovec *iov,
                 uint32_t n_iov, void (*done)(struct disk_op *op));
/* Hands what was queued to the backend, as far as the devices' shares go. */
void disk_env_flush(struct disk_env *env);
/*
 * A device does not answer: what waits for it fails (TIMEOUT), at the next turn, and so does what is asked of it from now. What the
 * backend has ends when it does.
 */
void disk_env_give_up(struct disk_env *env, uint32_t device);
/* Calls `done` of what failed so. False: there was nothing. */
bool disk_env_turn(struct disk_env *env);

/* Memory for whole units; NULL when there is none. Given back by free. */
uint8_t *disk_memory(const struct store_set *set, uint64_t units);

#endif
