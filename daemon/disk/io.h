/*
 * Reading and writing files, many at a time, never blocking the loop: one ops table a backend. io_uring where the kernel allows it, a
 * thread pool with preadv2 and pwritev2 where it does not; a layer of faults may lie over either (faults.h), so that an operator can
 * rehearse.
 *
 * An operation is the caller's memory until its completion was handed out. Offsets, lengths and addresses are multiples of the file's
 * block, as O_DIRECT wants them. Completions come in any order, and only from reap: submit calls nobody back. Loop thread only: whoever
 * submits first owns the backend; another thread may create it before and destroy it after that one has ended.
 */
#ifndef DAEMON_DISK_IO_H
#define DAEMON_DISK_IO_H

#include "proto/base/base.h"

#include <sys/uio.h>

enum disk_op_type { DISK_READ, DISK_WRITE, DISK_SYNC };

#define DISK_OP_MAX_IOV 1024u /* IOV_MAX */

struct disk_op {
    struct disk_op *next;
    enum disk_op_type type;
    uint32_t file; /* as added */
    uint64_t offset;
    struct iovec *iov; /* the caller's, until completion */
    uint32_t n_iov;
    uint64_t bytes; /* their sum: less is a failure (short reads and writes are continued by the backend) */
    /* outcome */
    enum quire_status status; /* OK; FULL: no space, or mounted read-only; NO_MEMORY: the system could not even try; SYSTEM: see error */
    int error;                /* errno; ENODATA: the file ends before the read does; EINVAL: no backend could do that */
    uint64_t submitted_ns, done_ns;   /* from submit, waiting for its turn included, to the end; monotonic */
    void (*done)(struct disk_op *op); /* called from reap */
    void *backend;                    /* the backend's own */
    /* Of whoever keeps a device's operations in order (device.h): its device; what is to be called in the end; those begun before and after it */
    struct disk_device *device;
    void (*then)(struct disk_op *op);
    struct disk_op *older, *younger;
    uint64_t begun_ns;
};

struct disk_io;
struct disk_io_ops {
    const char *name; /* "io_uring", "threads" */
    /* depth: operations that the device gets at once; more are queued here. Threads: 64 at most. */
    enum quire_status (*create)(uint32_t depth, struct disk_io **io, char *why, size_t why_bytes);
    /* Waits for what the device has, drops what waits for its turn, and calls nobody: afterwards every operation is the caller's again. */
    void (*destroy)(struct disk_io **io);
    /* The descriptor stays the caller's, open as long as the backend. 64 files at most (TOO_LARGE). */
    enum quire_status (*add_file)(struct disk_io *io, int fd, uint32_t *file);
    /*
     * Memory that operations will use: registered where the limit on locked memory allows. OK also when it did not; `registered` tells.
     * Registering takes all of its pages from the system at once: add what is populated, piece by piece if need be.
     */
    enum quire_status (*add_memory)(struct disk_io *io, void *base, uint64_t bytes, bool *registered);
    void (*submit)(struct disk_io *io, struct disk_op *list); /* linked by next; one system call for all where possible */
    /* Calls done for up to max that have ended; returns how many. */
    uint32_t (*reap)(struct disk_io *io, uint32_t max);
    int (*event_fd)(const struct disk_io *io); /* readable when reap has something */
    uint32_t (*in_flight)(const struct disk_io *io);
};
struct disk_io {
    const struct disk_io_ops *ops;
    uint32_t depth; /* operations that the system gets at once */
};

extern const struct disk_io_ops disk_io_uring;
extern const struct disk_io_ops disk_io_threads;

enum disk_io_choice { DISK_IO_AUTO, DISK_IO_URING, DISK_IO_THREADS };
/*
 * Creates the chosen backend; AUTO: io_uring, and threads where the kernel forbids it. `why` says which and why, for the log and `quirectl
 * doctor`.
 */
enum quire_status disk_io_create(enum disk_io_choice choice, uint32_t depth, struct disk_io **io, char *why, size_t why_bytes);
/* Is io_uring allowed here? `why` tells what forbids it and what to do. Harmless; quirectl doctor asks the same (proto/base/uring.h). */
bool disk_io_uring_works(char *why, size_t why_bytes);

/*
 * What O_DIRECT demands of a file: alignment of offsets and lengths, and of memory (statx STATX_DIOALIGN, else 4096 and 4096, or what a
 * trial shows).
 */
enum quire_status disk_io_alignment(int fd, uint32_t *offset_bytes, uint32_t *memory_bytes);

#endif
