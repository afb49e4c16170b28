/* A file, a backend over it, and operations whose ends are counted: shared by the tests of daemon/disk/. */
#ifndef TESTS_UNIT_DAEMON_DISK_RIG_H
#define TESTS_UNIT_DAEMON_DISK_RIG_H

#include "daemon/disk/op.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RIG_BLOCK = 4096, RIG_MAX_IOV = 6, RIG_WAIT_MS = 60000 };

struct rig {
    struct disk_io *io;
    const char *name; /* of the backend, for messages */
    int fd;
    uint32_t file;
    bool direct;
    char why[512], path[256];
};

struct rig_op {
    struct disk_op op;
    struct iovec iov[RIG_MAX_IOV];
    uint32_t ended; /* times that done was called */
};
static uint32_t rig_ended;

static inline uint64_t rig_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t rig_seed(void) {
    const char *given = getenv("QUIRE_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 2654435761u;
    fprintf(stderr, "seed %llu (QUIRE_TEST_SEED)\n", (unsigned long long)seed);
    return seed;
}

static inline uint8_t *rig_memory(uint64_t bytes) {
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(memory != MAP_FAILED);
    return memory;
}

/* A new file of `bytes` in TMPDIR or the build tree, without the page cache where the file system can; it has no name once it is open. */
static inline int rig_file(struct rig *rig, uint64_t bytes) {
    const char *folder = getenv("TMPDIR");
    snprintf(rig->path, sizeof rig->path, "%s/quire-disk-XXXXXX", folder != NULL ? folder : ".");
    int fd = mkstemp(rig->path);
    cr_assert(fd >= 0, "%s: %s", rig->path, strerror(errno));
    cr_assert(bytes == 0 || posix_fallocate(fd, 0, (off_t)bytes) == 0);
    int direct = open(rig->path, O_RDWR | O_DIRECT | O_CLOEXEC);
    rig->direct = direct >= 0;
    cr_assert(unlink(rig->path) == 0);
    if (direct >= 0) {
        close(fd);
        fd = direct;
    }
    return fd;
}

static inline void rig_done(struct disk_op *op) {
    ((struct rig_op *)op)->ended++;
    rig_ended++;
}

/* One buffer; tests that want more set iov and n_iov themselves. */
static inline struct disk_op *rig_op(struct rig_op *op, enum disk_op_type type, uint32_t file, uint64_t offset, void *memory,
                                     uint64_t bytes) {
    memset(op, 0, sizeof *op);
    op->iov[0] = (struct iovec){memory, bytes};
    op->op = (struct disk_op){.type = type, .file = file, .offset = offset, .iov = op->iov, .bytes = bytes, .done = rig_done};
    op->op.n_iov = type == DISK_SYNC ? 0 : 1;
    op->op.status = QUIRE_PENDING;
    return &op->op;
}

/* As the loop does it: sleeps until the event is there, then reaps. */
static inline uint32_t rig_turn(struct rig *rig, uint32_t max) {
    struct pollfd event = {.fd = rig->io->ops->event_fd(rig->io), .events = POLLIN};
    cr_assert_eq(poll(&event, 1, RIG_WAIT_MS), 1, "%s: nothing in %d s with %u in flight", rig->name, RIG_WAIT_MS / 1000,
                 rig->io->ops->in_flight(rig->io));
    return rig->io->ops->reap(rig->io, max);
}

static inline void rig_drain(struct rig *rig) {
    while (rig->io->ops->in_flight(rig->io) != 0) {
        rig_turn(rig, UINT32_MAX);
    }
}

/* One operation from beginning to end. */
static inline enum quire_status rig_do(struct rig *rig, struct rig_op *op, enum disk_op_type type, uint64_t offset, void *memory,
                                       uint64_t bytes) {
    rig->io->ops->submit(rig->io, rig_op(op, type, rig->file, offset, memory, bytes));
    rig_drain(rig);
    cr_assert_eq(op->ended, 1, "%s", rig->name);
    return op->op.status;
}

#endif
