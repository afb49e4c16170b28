/* The I/O backends, all through the same stories on a real file: what is written is read back, and what fails says so. */
#include "daemon/disk/faults.h"
#include "tests/unit/daemon_disk_rig.h"
#include "tests/unit/forbid.h"

#include <liburing.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { DEPTH = 8 };

static const struct {
    const char *name;
    const struct disk_io_ops *ops;
    bool faults; /* the layer of faults lies over it, without a rule */
} backends[] = {
    {"io_uring", &disk_io_uring, false},
    {"io_uring, plain", &disk_io_uring_plain, false},
    {"threads", &disk_io_threads, false},
    {"faults over io_uring", &disk_io_uring, true},
    {"faults over threads", &disk_io_threads, true},
};

/* Every test runs once a backend that works here; where io_uring is forbidden, `disk_io_uring_works` says so and threads are left. */
#define EACH_BACKEND(rig, file_bytes)                                                                                                      \
    for (unsigned each = 0; each < QUIRE_ARRAY_LEN(backends); each++)                                                                      \
        if (open_rig(rig, each, file_bytes))

static bool open_rig(struct rig *rig, unsigned backend, uint64_t file_bytes) {
    *rig = (struct rig){.name = backends[backend].name, .fd = -1};
    if (backends[backend].ops != &disk_io_threads && !disk_io_uring_works(rig->why, sizeof rig->why)) {
        fprintf(stderr, "%s is left out: %s\n", rig->name, rig->why);
        return false;
    }
    cr_assert_eq(backends[backend].ops->create(DEPTH, &rig->io, rig->why, sizeof rig->why), QUIRE_OK, "%s: %s", rig->name, rig->why);
    cr_assert(!backends[backend].faults || faults_create(rig->io, &rig->io) == QUIRE_OK);
    rig->fd = rig_file(rig, file_bytes);
    cr_assert_eq(rig->io->ops->add_file(rig->io, rig->fd, &rig->file), QUIRE_OK);
    return true;
}

static void close_rig(struct rig *rig) {
    rig->io->ops->destroy(&rig->io);
    cr_assert_null(rig->io);
    close(rig->fd);
}

/* ---- what is written is read back --------------------------------------------------------------------------------------------- */
enum { N = 300, MOST_BLOCKS = 5, AREA = MOST_BLOCKS * RIG_BLOCK };
static struct rig_op ops[N];

/* Cuts the operation's memory into buffers of whole blocks, in an order of its own: the last buffer comes first in the file every other time. */
static void cut(struct rig_op *op, uint8_t *memory, uint64_t *state) {
    uint32_t blocks = 1 + (uint32_t)(rig_random(state) % MOST_BLOCKS), n = 0;
    op->op.bytes = (uint64_t)blocks * RIG_BLOCK;
    bool backwards = rig_random(state) % 2 == 0;
    for (uint32_t at = 0; at < blocks;) {
        uint32_t some = 1 + (uint32_t)(rig_random(state) % (blocks - at));
        uint32_t place = backwards ? blocks - at - some : at;
        op->iov[n++] = (struct iovec){memory + (size_t)place * RIG_BLOCK, (size_t)some * RIG_BLOCK};
        at += some;
    }
    op->op.n_iov = n;
}

static void fill(uint8_t *memory, uint64_t bytes, uint64_t *state) {
    for (uint64_t at = 0; at < bytes; at += 8) {
        uint64_t word = rig_random(state);
        memcpy(memory + at, &word, 8);
    }
}

/* Submits all in lists of random lengths, reaps some in between. */
static void submit_in_lists(struct rig *rig, uint64_t *state) {
    uint32_t most = 0;
    for (uint32_t next = 0; next < N;) {
        struct disk_op *list = NULL;
        for (uint32_t some = 1 + (uint32_t)(rig_random(state) % 40); some > 0 && next < N; some--) {
            ops[next].op.next = list;
            list = &ops[next++].op;
        }
        rig->io->ops->submit(rig->io, list);
        most = (uint32_t)quire_max_u64(most, rig->io->ops->in_flight(rig->io));
        if (rig_random(state) % 4 == 0) {
            rig_turn(rig, 3);
        }
    }
    cr_assert_gt(most, DEPTH, "%s: never more than the device gets at once", rig->name);
    rig_drain(rig);
    for (uint32_t i = 0; i < N; i++) {
        cr_assert_eq(ops[i].ended, 1, "%s: operation %u ended %u times", rig->name, i, ops[i].ended);
        cr_assert_eq(ops[i].op.status, QUIRE_OK, "%s: operation %u: %s", rig->name, i, strerror(ops[i].op.error));
        cr_assert_leq(ops[i].op.submitted_ns, ops[i].op.done_ns);
    }
}

/* The bytes of the operation's buffers, in the file's order, against what another descriptor reads there. */
static bool same_as_file(int other, const struct rig_op *op) {
    static uint8_t block[AREA] __attribute__((aligned(RIG_BLOCK)));
    uint64_t offset = op->op.offset;
    for (uint32_t i = 0; i < op->op.n_iov; i++) {
        ssize_t bytes = (ssize_t)op->iov[i].iov_len;
        if (pread(other, block, (size_t)bytes, (off_t)offset) != bytes || memcmp(block, op->iov[i].iov_base, (size_t)bytes) != 0) {
            return false;
        }
        offset += (uint64_t)bytes;
    }
    return true;
}

/* 300 writes of random shape with far more of them under way than the device gets, half of the memory registered; the file has what was written. Then the same
   in the other direction. */
Test(daemon_disk_io, random_writes_are_read_back) {
    struct rig rig;
    uint64_t seed = rig_seed();
    EACH_BACKEND(&rig, (uint64_t)N * AREA) {
        uint64_t state = seed;
        bool registered;
        uint8_t *memory = rig_memory((uint64_t)N * AREA);
        cr_assert_eq(rig.io->ops->add_memory(rig.io, memory, (uint64_t)N * AREA / 2, &registered), QUIRE_OK);
        fill(memory, (uint64_t)N * AREA, &state);
        for (uint32_t i = 0; i < N; i++) {
            rig_op(&ops[i], DISK_WRITE, rig.file, (uint64_t)i * AREA, NULL, 0);
            cut(&ops[i], memory + (uint64_t)i * AREA, &state);
        }
        submit_in_lists(&rig, &state);
        for (uint32_t i = 0; i < N; i++) {
            cr_assert(same_as_file(rig.fd, &ops[i]), "%s: write %u", rig.name, i);
        }
        memset(memory, 0xEE, (uint64_t)N * AREA);
        for (uint32_t i = 0; i < N; i++) {
            rig_op(&ops[i], DISK_READ, rig.file, (uint64_t)((i * 7) % N) * AREA, NULL, 0);
            cut(&ops[i], memory + (uint64_t)i * AREA, &state);
        }
        submit_in_lists(&rig, &state);
        for (uint32_t i = 0; i < N; i++) {
            cr_assert(same_as_file(rig.fd, &ops[i]), "%s: read %u", rig.name, i);
        }
        close_rig(&rig);
        munmap(memory, (uint64_t)N * AREA);
    }
}

/* A write and a sync, one after the other; and a sync of nothing. */
Test(daemon_disk_io, a_file_is_synced) {
    struct rig rig;
    struct rig_op op;
    uint8_t *memory = rig_memory(RIG_BLOCK);
    EACH_BACKEND(&rig, RIG_BLOCK) {
        cr_assert_eq(rig_do(&rig, &op, DISK_WRITE, 0, memory, RIG_BLOCK), QUIRE_OK);
        cr_assert_eq(rig_do(&rig, &op, DISK_SYNC, 0, NULL, 0), QUIRE_OK, "%s: %s", rig.name, strerror(op.op.error));
        cr_assert_eq(rig_do(&rig, &op, DISK_SYNC, 0, NULL, 0), QUIRE_OK);
        close_rig(&rig);
    }
}

/* Registered memory in pieces, added in any order: an operation inside one, one that begins before it, one that crosses its end. */
Test(daemon_disk_io, operations_meet_the_borders_of_registered_memory) {
    enum { BLOCKS = 32 };
    struct rig rig;
    struct rig_op op;
    uint64_t state = 7;
    uint8_t *memory = rig_memory(BLOCKS * RIG_BLOCK), *seen = rig_memory(RIG_BLOCK * 4);
    static const uint32_t pieces[][2] = {{20, 4}, {4, 2}, {12, 8}, {0, 3}};
    EACH_BACKEND(&rig, 4 * RIG_BLOCK) {
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(pieces); i++) {
            bool registered;
            cr_assert_eq(rig.io->ops->add_memory(rig.io, memory + pieces[i][0] * RIG_BLOCK, pieces[i][1] * RIG_BLOCK, &registered),
                         QUIRE_OK);
        }
        for (uint32_t at = 0; at + 4 <= BLOCKS; at++) {
            for (uint32_t blocks = 1; blocks <= 4; blocks++) {
                fill(memory, BLOCKS * RIG_BLOCK, &state);
                cr_assert_eq(rig_do(&rig, &op, DISK_WRITE, 0, memory + at * RIG_BLOCK, blocks * RIG_BLOCK), QUIRE_OK, "%s: %u+%u: %s",
                             rig.name, at, blocks, strerror(op.op.error));
                cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, seen, blocks * RIG_BLOCK), QUIRE_OK);
                cr_assert_eq(memcmp(seen, memory + at * RIG_BLOCK, blocks * RIG_BLOCK), 0, "%s: %u+%u", rig.name, at, blocks);
            }
        }
        close_rig(&rig);
    }
}

/* Only the kernel's own hold on registered memory still reaches it once the process may not touch it: an operation inside one piece succeeds, every other
   one fails. So it is seen that registered memory is used as such, whatever the order in which it was added. */
Test(daemon_disk_io, registered_memory_is_used_as_such) {
    enum { BLOCKS = 32 };
    struct rig rig;
    struct rig_op op;
    static const uint32_t pieces[][2] = {{20, 4}, {4, 2}, {28, 4}, {12, 8}, {0, 3}};
    EACH_BACKEND(&rig, 4 * RIG_BLOCK) {
        uint8_t *memory = rig_memory(BLOCKS * RIG_BLOCK);
        bool registered = true;
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(pieces) && registered; i++) {
            cr_assert_eq(rig.io->ops->add_memory(rig.io, memory + pieces[i][0] * RIG_BLOCK, pieces[i][1] * RIG_BLOCK, &registered),
                         QUIRE_OK);
        }
        cr_assert(!registered || strstr(rig.name, "threads") == NULL);
        cr_assert_eq(mprotect(memory, BLOCKS * RIG_BLOCK, PROT_NONE), 0);
        for (uint32_t at = 0; registered && at + 4 <= BLOCKS; at++) {
            for (uint32_t blocks = 1; blocks <= 4; blocks++) {
                bool inside = false;
                for (unsigned i = 0; i < QUIRE_ARRAY_LEN(pieces); i++) {
                    inside = inside || (at >= pieces[i][0] && at + blocks <= pieces[i][0] + pieces[i][1]);
                }
                enum quire_status status = rig_do(&rig, &op, DISK_READ, 0, memory + at * RIG_BLOCK, blocks * RIG_BLOCK);
                cr_assert_eq(status, inside ? QUIRE_OK : QUIRE_SYSTEM, "%s: %u+%u: %s", rig.name, at, blocks, strerror(op.op.error));
                cr_assert(inside || op.op.error == EFAULT, "%s", strerror(op.op.error));
            }
        }
        close_rig(&rig);
        munmap(memory, BLOCKS * RIG_BLOCK);
    }
}

enum { BATCH_BLOCKS = 32, BATCH_MOST = 4 };
struct batch {
    uint32_t n, at[BATCH_MOST], blocks[BATCH_MOST]; /* its buffers, in blocks of the memory */
    bool inside;                                    /* registered memory, and in few pieces of it */
};

static uint64_t batch_op(struct rig_op *op, const struct rig *rig, uint8_t *memory, const struct batch *batch) {
    rig_op(op, DISK_WRITE, rig->file, 0, NULL, 0);
    op->op.n_iov = batch->n;
    for (uint32_t i = 0; i < batch->n; i++) {
        op->iov[i] = (struct iovec){memory + batch->at[i] * RIG_BLOCK, batch->blocks[i] * RIG_BLOCK};
        op->op.bytes += op->iov[i].iov_len;
    }
    return op->op.bytes;
}

/* Each block of the memory is full of its own number, from 1. */
static bool batch_is(const uint8_t *seen, const struct batch *batch) {
    for (uint32_t i = 0; i < batch->n; i++) {
        for (uint32_t b = 0; b < batch->blocks[i]; b++, seen += RIG_BLOCK) {
            if (seen[0] != batch->at[i] + b + 1 || memcmp(seen, seen + 1, RIG_BLOCK - 1) != 0) {
                return false;
            }
        }
    }
    return true;
}

/*
 * A batch is written from several places: its head from one registered piece of memory, records from another. It goes by way of the kernel's own hold on
 * them, and not page by page, which took the processor twice as long: so it succeeds although the process may not touch the memory any more, and every
 * buffer is where it belongs. What lies in many pieces, or partly in none, goes the old way, and fails here.
 */
Test(daemon_disk_io, batches_go_by_way_of_registered_memory) {
    static const uint32_t pieces[][2] = {{0, 4}, {8, 4}, {16, 4}, {24, 4}};
    static const struct batch batches[] = {
        {2, {0, 9}, {1, 3}, true},        {3, {24, 8, 17}, {4, 1, 2}, true},
        {3, {10, 8, 9}, {1, 1, 1}, true}, {4, {0, 8, 16, 24}, {1, 1, 1, 1}, false},
        {2, {0, 4}, {1, 4}, false},       {2, {6, 8}, {1, 4}, false},
    };
    struct rig rig;
    struct rig_op op;
    EACH_BACKEND(&rig, BATCH_BLOCKS * RIG_BLOCK) {
        uint8_t *memory = rig_memory(BATCH_BLOCKS * RIG_BLOCK), *seen = rig_memory(BATCH_BLOCKS * RIG_BLOCK);
        bool registered = true;
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(pieces) && registered; i++) {
            cr_assert_eq(rig.io->ops->add_memory(rig.io, memory + pieces[i][0] * RIG_BLOCK, pieces[i][1] * RIG_BLOCK, &registered),
                         QUIRE_OK);
        }
        for (uint32_t i = 0; i < BATCH_BLOCKS; i++) {
            memset(memory + i * RIG_BLOCK, (int)i + 1, RIG_BLOCK);
        }
        cr_assert_eq(mprotect(memory, BATCH_BLOCKS * RIG_BLOCK, PROT_NONE), 0);
        for (unsigned i = 0; registered && i < QUIRE_ARRAY_LEN(batches); i++) {
            uint64_t bytes = batch_op(&op, &rig, memory, &batches[i]);
            rig.io->ops->submit(rig.io, &op.op);
            rig_drain(&rig);
            cr_assert_eq(op.ended, 1);
            cr_assert_eq(op.op.status, batches[i].inside ? QUIRE_OK : QUIRE_SYSTEM, "%s: batch %u: %s", rig.name, i, strerror(op.op.error));
            cr_assert(!batches[i].inside || rig_do(&rig, &op, DISK_READ, 0, seen, bytes) == QUIRE_OK);
            cr_assert(!batches[i].inside || batch_is(seen, &batches[i]), "%s: batch %u", rig.name, i);
        }
        close_rig(&rig);
        munmap(memory, BATCH_BLOCKS * RIG_BLOCK);
        munmap(seen, BATCH_BLOCKS * RIG_BLOCK);
    }
}

/* ---- handing out -------------------------------------------------------------------------------------------------------------- */
/* Reaping never hands out more than was asked for, and the event stays set until all was. Afterwards it is quiet. */
Test(daemon_disk_io, reaping_is_bounded_and_the_event_tells_the_truth) {
    enum { MANY = 50 };
    struct rig rig;
    uint8_t *memory = rig_memory(RIG_BLOCK);
    EACH_BACKEND(&rig, RIG_BLOCK) {
        struct disk_op *list = NULL;
        for (uint32_t i = 0; i < MANY; i++) {
            struct disk_op *op = rig_op(&ops[i], DISK_READ, rig.file, 0, memory, RIG_BLOCK);
            op->next = list;
            list = op;
        }
        rig_ended = 0;
        rig.io->ops->submit(rig.io, list);
        cr_assert_eq(rig.io->ops->in_flight(rig.io), MANY);
        for (uint32_t left = MANY; left > 0; left = rig.io->ops->in_flight(rig.io)) {
            uint32_t count = rig_turn(&rig, 3);
            cr_assert_leq(count, 3);
            cr_assert_eq(rig.io->ops->in_flight(rig.io), left - count, "%s", rig.name);
            cr_assert_eq(rig_ended, MANY - left + count, "%s", rig.name);
        }
        rig.io->ops->reap(rig.io, 3); /* the kernel may have told of a completion twice */
        struct pollfd event = {.fd = rig.io->ops->event_fd(rig.io), .events = POLLIN};
        cr_assert_eq(poll(&event, 1, 0), 0, "%s: the event is set and nothing is there", rig.name);
        close_rig(&rig);
    }
}

static struct rig *chained;
static uint32_t links;
static void next_link(struct disk_op *op) {
    rig_done(op);
    cr_assert_eq(op->status, QUIRE_OK);
    if (++links < 500) {
        chained->io->ops->submit(chained->io, op);
    }
}

/* Whoever hears of an end may submit the same operation again at once. */
Test(daemon_disk_io, an_end_may_begin_the_next) {
    struct rig rig;
    struct rig_op op;
    uint8_t *memory = rig_memory(RIG_BLOCK);
    EACH_BACKEND(&rig, RIG_BLOCK) {
        chained = &rig;
        links = 0;
        rig_op(&op, DISK_READ, rig.file, 0, memory, RIG_BLOCK)->done = next_link;
        rig.io->ops->submit(rig.io, &op.op);
        rig_drain(&rig);
        cr_assert_eq(links, 500);
        close_rig(&rig);
    }
}

/* ---- what fails --------------------------------------------------------------------------------------------------------------- */
/* A file of three blocks and 100 bytes: a read that crosses its end, begins behind it, or meets it in its second
   buffer fails; it does not hand out what memory had. The caller's buffers are as they were. */
Test(daemon_disk_io, reading_beyond_the_end_fails) {
    struct rig rig;
    struct rig_op op;
    uint8_t *memory = rig_memory(8 * RIG_BLOCK);
    EACH_BACKEND(&rig, 4 * RIG_BLOCK) {
        cr_assert_eq(ftruncate(rig.fd, 3 * RIG_BLOCK + 100), 0);
        static const uint32_t reads[][2] = {{0, 4}, {3, 1}, {4, 1}, {2, 2}, {100, 1}};
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(reads); i++) {
            cr_assert_eq(rig_do(&rig, &op, DISK_READ, reads[i][0] * RIG_BLOCK, memory, reads[i][1] * RIG_BLOCK), QUIRE_SYSTEM, "%s: %u",
                         rig.name, i);
            cr_assert_eq(op.op.error, ENODATA, "%s: %u: %s", rig.name, i, strerror(op.op.error));
            cr_assert_eq(op.iov[0].iov_base, memory);
            cr_assert_eq(op.iov[0].iov_len, reads[i][1] * RIG_BLOCK);
        }
        rig_op(&op, DISK_READ, rig.file, 2 * RIG_BLOCK, NULL, 0);
        op.iov[0] = (struct iovec){memory, RIG_BLOCK};
        op.iov[1] = (struct iovec){memory + RIG_BLOCK, RIG_BLOCK};
        op.op.n_iov = 2;
        op.op.bytes = 2 * RIG_BLOCK;
        rig.io->ops->submit(rig.io, &op.op);
        rig_drain(&rig);
        cr_assert(op.op.status == QUIRE_SYSTEM && op.op.error == ENODATA, "%s: %s", rig.name, strerror(op.op.error));
        cr_assert_eq(op.iov[1].iov_base, memory + RIG_BLOCK, "%s: the caller's buffers were left changed", rig.name);
        cr_assert_eq(op.iov[1].iov_len, RIG_BLOCK);
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, memory, 3 * RIG_BLOCK), QUIRE_OK, "%s: what is there can be read", rig.name);
        close_rig(&rig);
    }
}

/* A limit on the file's size cuts a write in the middle of its second buffer: the rest is asked for, refused, and that is the outcome. */
Test(daemon_disk_io, a_write_that_is_cut_short_fails) {
    struct rig rig;
    struct rig_op op;
    struct rlimit limit = {3 * RIG_BLOCK, RLIM_INFINITY};
    uint8_t *memory = rig_memory(4 * RIG_BLOCK);
    signal(SIGXFSZ, SIG_IGN);
    EACH_BACKEND(&rig, 0) {
        setrlimit(RLIMIT_FSIZE, &limit);
        rig_op(&op, DISK_WRITE, rig.file, 0, NULL, 0);
        op.iov[0] = (struct iovec){memory, RIG_BLOCK};
        op.iov[1] = (struct iovec){memory + RIG_BLOCK, 3 * RIG_BLOCK};
        op.op.n_iov = 2;
        op.op.bytes = 4 * RIG_BLOCK;
        rig.io->ops->submit(rig.io, &op.op);
        rig_drain(&rig);
        cr_assert_eq(lseek(rig.fd, 0, SEEK_END), 3 * RIG_BLOCK, "%s: the first part was to be written", rig.name);
        cr_assert(op.op.status == QUIRE_SYSTEM && op.op.error == EFBIG, "%s: %s", rig.name, strerror(op.op.error));
        cr_assert_eq(op.iov[1].iov_base, memory + RIG_BLOCK, "%s: the caller's buffers were left changed", rig.name);
        cr_assert_eq(op.iov[1].iov_len, 3 * RIG_BLOCK);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
        close_rig(&rig);
    }
}

/* A device without room is FULL, a descriptor that was closed is SYSTEM with its errno, for each kind of operation. */
Test(daemon_disk_io, devices_that_refuse_are_told_by_name) {
    struct rig rig;
    struct rig_op op;
    uint32_t full;
    uint8_t *memory = rig_memory(RIG_BLOCK);
    int device = open("/dev/full", O_RDWR | O_CLOEXEC);
    EACH_BACKEND(&rig, RIG_BLOCK) {
        cr_assert_eq(rig.io->ops->add_file(rig.io, device, &full), QUIRE_OK);
        rig.io->ops->submit(rig.io, rig_op(&op, DISK_WRITE, full, 0, memory, RIG_BLOCK));
        rig_drain(&rig);
        cr_assert(op.op.status == QUIRE_FULL && op.op.error == ENOSPC, "%s: %s", rig.name, strerror(op.op.error));
        close(rig.fd);
        for (int type = DISK_READ; type <= DISK_SYNC; type++) {
            cr_assert_eq(rig_do(&rig, &op, (enum disk_op_type)type, 0, memory, RIG_BLOCK), QUIRE_SYSTEM, "%s", rig.name);
            cr_assert_eq(op.op.error, EBADF, "%s: %s", rig.name, strerror(op.op.error));
        }
        rig.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        close_rig(&rig);
    }
    close(device);
}

/* What no backend can carry out ends as such, through the same door as everything else, and harms nothing beside it. */
Test(daemon_disk_io, malformed_operations_end_as_invalid) {
    struct rig rig;
    struct rig_op bad[5], good;
    uint8_t *memory = rig_memory(RIG_BLOCK);
    EACH_BACKEND(&rig, RIG_BLOCK) {
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(bad); i++) {
            rig_op(&bad[i], DISK_READ, rig.file, 0, memory, RIG_BLOCK)->next = i + 1 < QUIRE_ARRAY_LEN(bad) ? &bad[i + 1].op : &good.op;
        }
        rig_op(&good, DISK_READ, rig.file, 0, memory, RIG_BLOCK);
        bad[0].op.file = rig.file + 1;
        bad[1].op.bytes = 2 * RIG_BLOCK;
        bad[2].op.n_iov = DISK_OP_MAX_IOV + 1;
        bad[3].op.n_iov = 0;
        bad[4].op.offset = UINT64_MAX - 4095;
        rig_ended = 0;
        rig.io->ops->submit(rig.io, &bad[0].op);
        cr_assert_eq(rig_ended, 0, "%s: ends are told by reap", rig.name);
        rig_drain(&rig);
        for (unsigned i = 0; i < QUIRE_ARRAY_LEN(bad); i++) {
            cr_assert(bad[i].ended == 1 && bad[i].op.status == QUIRE_SYSTEM && bad[i].op.error == EINVAL, "%s: %u", rig.name, i);
        }
        cr_assert(good.ended == 1 && good.op.status == QUIRE_OK, "%s", rig.name);
        close_rig(&rig);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------------------------ */
enum { UNDER_WAY = 16, LARGE = 4 << 20 };
static struct rig_op large[UNDER_WAY];

static void submit_large(struct rig *rig, uint8_t *memory) {
    struct disk_op *list = NULL;
    for (uint32_t i = 0; i < UNDER_WAY; i++) {
        struct disk_op *op = rig_op(&large[i], DISK_READ, rig->file, (uint64_t)i * LARGE, memory + (uint64_t)i * LARGE, LARGE);
        op->next = list;
        list = op;
    }
    rig_ended = 0;
    rig->io->ops->submit(rig->io, list);
}

/* Bytes that really lie on the device, so that reading them takes its time. */
static void write_large(const struct rig *rig, uint8_t *memory) {
    memset(memory, 0x3C, LARGE);
    for (uint32_t i = 0; i < UNDER_WAY; i++) {
        cr_assert_eq(pwrite(rig->fd, memory, LARGE, (off_t)i * LARGE), LARGE);
    }
}

/* The memory is the caller's again: nothing is written to it any more, and no end is told. */
static void expect_silence(const struct rig *rig, uint8_t *memory) {
    memset(memory, 0xA5, (uint64_t)UNDER_WAY * LARGE);
    usleep(100000);
    for (uint64_t at = 0; at < (uint64_t)UNDER_WAY * LARGE; at += RIG_BLOCK) {
        cr_assert_eq(memory[at], 0xA5, "%s: written to after the end", rig->name);
    }
    cr_assert_eq(rig_ended, 0, "%s", rig->name);
}

/* Destroying with 64 MiB of reads under way waits for those that the device has and drops the others. */
Test(daemon_disk_io, destroying_leaves_nothing_under_way) {
    struct rig rig;
    uint8_t *memory = rig_memory((uint64_t)UNDER_WAY * LARGE);
    EACH_BACKEND(&rig, (uint64_t)UNDER_WAY * LARGE) {
        write_large(&rig, memory);
        submit_large(&rig, memory);
        close_rig(&rig);
        expect_silence(&rig, memory);
    }
}

static uint8_t *handed_memory;
static void *submit_and_leave(void *arg) {
    struct rig *rig = arg;
    submit_large(rig, handed_memory);
    return NULL;
}

static void *read_submit_and_leave(void *arg) {
    struct rig_op op;
    cr_assert_eq(rig_do(arg, &op, DISK_READ, 0, handed_memory, LARGE), QUIRE_OK, "%s", strerror(op.op.error));
    return submit_and_leave(arg);
}

/* Created here, used by another thread, destroyed here after that one is gone: a ring belongs to its user, and yet is destroyed with care. */
Test(daemon_disk_io, another_thread_may_destroy) {
    struct rig rig;
    pthread_t thread;
    handed_memory = rig_memory((uint64_t)UNDER_WAY * LARGE);
    EACH_BACKEND(&rig, (uint64_t)UNDER_WAY * LARGE) {
        write_large(&rig, handed_memory);
        pthread_create(&thread, NULL, read_submit_and_leave, &rig);
        pthread_join(thread, NULL);
        close_rig(&rig);
        expect_silence(&rig, handed_memory);
    }
}

/* Who submits to another thread's ring by mistake hears of it at once; nothing is lost in silence. */
Test(daemon_disk_io, a_ring_tells_a_foreign_thread) {
    struct rig rig;
    struct rig_op op;
    pthread_t thread;
    handed_memory = rig_memory((uint64_t)UNDER_WAY * LARGE);
    EACH_BACKEND(&rig, (uint64_t)UNDER_WAY * LARGE) {
        if (strstr(rig.why, "deferred") == NULL || strstr(rig.why, "plain") != NULL) {
            close_rig(&rig);
            continue;
        }
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, handed_memory, RIG_BLOCK), QUIRE_OK);
        pthread_create(&thread, NULL, submit_and_leave, &rig);
        pthread_join(thread, NULL);
        rig_drain(&rig);
        for (uint32_t i = 0; i < UNDER_WAY; i++) {
            cr_assert(large[i].ended == 1 && large[i].op.status == QUIRE_SYSTEM && large[i].op.error == EEXIST, "%s",
                      strerror(large[i].op.error));
        }
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, handed_memory, RIG_BLOCK), QUIRE_SYSTEM);
        close_rig(&rig);
    }
}

/* ---- the choice --------------------------------------------------------------------------------------------------------------- */
/* In a container that forbids io_uring the choice falls on threads, and says what forbids it; who insists is refused. */
Test(daemon_disk_io, threads_take_over_where_io_uring_is_forbidden) {
    struct disk_io *io = NULL;
    char why[512];
    forbid_call(SYS_io_uring_setup, FORBID_ANY, EPERM);
    cr_assert_not(disk_io_uring_works(why, sizeof why));
    cr_assert(strstr(why, "seccomp") != NULL || strstr(why, "io_uring_disabled") != NULL, "%s", why);
    cr_assert_eq(disk_io_create(DISK_IO_URING, DEPTH, &io, why, sizeof why), QUIRE_UNSUPPORTED);
    cr_assert(strstr(why, "seccomp") != NULL || strstr(why, "io_uring_disabled") != NULL, "%s", why);
    cr_assert_eq(disk_io_create(DISK_IO_AUTO, DEPTH, &io, why, sizeof why), QUIRE_OK);
    cr_assert_str_eq(io->ops->name, "threads");
    cr_assert(strstr(why, "threads: 8") == why && (strstr(why, "seccomp") != NULL || strstr(why, "io_uring_disabled") != NULL), "%s", why);
    io->ops->destroy(&io);
}

/* A container that allows to make a ring, and nothing to be asked of it: that is no old kernel, and another one would not help. */
Test(daemon_disk_io, what_is_forbidden_is_not_called_old) {
    char why[512];
    if (!disk_io_uring_works(why, sizeof why)) {
        cr_skip_test("%s", why);
    }
    forbid_call(SYS_io_uring_register, FORBID_ANY, EPERM);
    cr_assert_not(disk_io_uring_works(why, sizeof why));
    cr_assert_not_null(strstr(why, "io_uring is forbidden here"), "%s", why);
}

/* The kernel's own threads cannot be made more, as before 5.15: an operation on a drive that hangs would keep the one that there is, and with it all files. So threads
   take over there, and `why`, which doctor shows, says what is missing. */
Test(daemon_disk_io, threads_take_over_where_one_drive_would_hold_up_all) {
    struct disk_io *io = NULL;
    char why[512];
    if (!disk_io_uring_works(why, sizeof why)) {
        cr_skip_test("%s", why);
    }
    forbid_call(SYS_io_uring_register, IORING_REGISTER_IOWQ_MAX_WORKERS, EINVAL);
    cr_assert_not(disk_io_uring_works(why, sizeof why));
    cr_assert_eq(disk_io_create(DISK_IO_URING, DEPTH, &io, why, sizeof why), QUIRE_UNSUPPORTED);
    cr_assert_not_null(strstr(why, "5.15 is needed"), "%s", why);
    cr_assert_eq(disk_io_create(DISK_IO_AUTO, DEPTH, &io, why, sizeof why), QUIRE_OK);
    cr_assert_str_eq(io->ops->name, "threads");
    cr_assert(strstr(why, "threads: 8") == why && strstr(why, "5.15 is needed") != NULL, "%s", why);
    io->ops->destroy(&io);
}

/* Where io_uring works it is chosen, unless threads are asked for. */
Test(daemon_disk_io, io_uring_is_chosen_where_it_works) {
    struct disk_io *io = NULL;
    char why[512];
    bool works = disk_io_uring_works(why, sizeof why);
    cr_assert_eq(disk_io_create(DISK_IO_AUTO, DEPTH, &io, why, sizeof why), QUIRE_OK);
    cr_assert_str_eq(io->ops->name, works ? "io_uring" : "threads", "%s", why);
    io->ops->destroy(&io);
    cr_assert_eq(disk_io_create(DISK_IO_THREADS, DEPTH, &io, why, sizeof why), QUIRE_OK);
    cr_assert_str_eq(io->ops->name, "threads");
    io->ops->destroy(&io);
}

static void limit_locked_memory(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){1 << 20, 1 << 20});
    cr_assert_eq(syscall(SYS_capget, &header, data), 0);
    data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
    cr_assert_eq(syscall(SYS_capset, &header, data), 0);
}

/* Where little memory may be locked, memory is not registered, that is told, and everything works. */
Test(daemon_disk_io, a_limit_on_locked_memory_is_told_and_survived) {
    enum { BYTES = 8 << 20 };
    struct rig rig;
    struct rig_op op;
    bool registered = true;
    uint8_t *memory = rig_memory(BYTES);
    limit_locked_memory();
    EACH_BACKEND(&rig, BYTES) {
        cr_assert_eq(rig.io->ops->add_memory(rig.io, memory, BYTES, &registered), QUIRE_OK);
        cr_assert_not(registered, "%s", rig.name);
        cr_assert(strstr(rig.why, "threads") != NULL || strstr(rig.why, "locked memory") != NULL, "%s: %s", rig.name, rig.why);
        memset(memory, 0x5A, BYTES);
        cr_assert_eq(rig_do(&rig, &op, DISK_WRITE, 0, memory, BYTES), QUIRE_OK, "%s: %s", rig.name, strerror(op.op.error));
        memset(memory, 0, BYTES);
        cr_assert_eq(rig_do(&rig, &op, DISK_READ, 0, memory, BYTES), QUIRE_OK);
        cr_assert(memory[0] == 0x5A && memory[BYTES - 1] == 0x5A);
        close_rig(&rig);
    }
}

/* ---- a transfer in several calls ---------------------------------------------------------------------------------------------- */
/* What calls say, and what is to be asked for next: the offset and the first buffer that is left. */
Test(daemon_disk_io, a_short_transfer_is_continued_where_it_stopped) {
    static const struct {
        int64_t result;
        bool ends;
        uint64_t bytes; /* so far */
        uint32_t left;  /* buffers */
        uint64_t first; /* where the next one begins in memory, in blocks of 512 */
    } calls[] = {{512, false, 512, 3, 1},      {-EAGAIN, false, 512, 3, 1}, {512, false, 1024, 2, 10}, {1024, false, 2048, 2, 12},
                 {-EINTR, false, 2048, 2, 12}, {1536, false, 3584, 1, 21},  {512, true, 4096, 0, 0}};
    static uint8_t memory[16384];
    struct rig_op op;
    struct iovec before[3] = {{memory, 1024}, {memory + 10 * 512, 2048}, {memory + 20 * 512, 1024}};
    rig_op(&op, DISK_READ, 0, 0, NULL, 4096);
    memcpy(op.iov, before, sizeof before);
    op.op.n_iov = 3;
    struct disk_progress progress = {0};
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(calls); i++) {
        int error = -1;
        uint32_t left;
        cr_assert_eq(disk_progress_take(&progress, &op.op, calls[i].result, &error), calls[i].ends, "call %u", i);
        cr_assert_eq(progress.bytes, calls[i].bytes, "call %u", i);
        struct iovec *iov = disk_progress_iov(&progress, &op.op, &left);
        cr_assert_eq(left, calls[i].left, "call %u", i);
        cr_assert(left == 0 || iov->iov_base == memory + calls[i].first * 512, "call %u", i);
        cr_assert(!calls[i].ends || error == 0);
    }
    disk_progress_restore(&progress, &op.op);
    cr_assert_eq(memcmp(op.iov, before, sizeof before), 0);
}

/* Trying again has an end; bytes that come renew the patience. */
Test(daemon_disk_io, retries_are_bounded) {
    static uint8_t memory[2 * RIG_BLOCK];
    struct rig_op op;
    struct disk_progress progress = {0};
    int error = 0;
    rig_op(&op, DISK_WRITE, 0, 0, memory, sizeof memory);
    for (uint32_t i = 0; i < DISK_OP_RETRIES; i++) {
        cr_assert_not(disk_progress_take(&progress, &op.op, -EAGAIN, &error));
    }
    cr_assert_not(disk_progress_take(&progress, &op.op, RIG_BLOCK, &error));
    for (uint32_t i = 0; i < DISK_OP_RETRIES; i++) {
        cr_assert_not(disk_progress_take(&progress, &op.op, -EAGAIN, &error));
    }
    cr_assert(disk_progress_take(&progress, &op.op, -EAGAIN, &error));
    cr_assert_eq(error, EAGAIN);
}

/* ---- alignment ---------------------------------------------------------------------------------------------------------------- */
/* What the file demands is a power of two that really works; a descriptor that is none is refused. */
Test(daemon_disk_io, what_alignment_says_works) {
    struct rig rig = {0};
    uint32_t offset_bytes = 0, memory_bytes = 0;
    uint8_t *memory = rig_memory(2 * RIG_BLOCK);
    int fd = rig_file(&rig, 4 * RIG_BLOCK);
    cr_assert_eq(disk_io_alignment(fd, &offset_bytes, &memory_bytes), QUIRE_OK);
    cr_assert(offset_bytes >= 1 && offset_bytes <= RIG_BLOCK && (offset_bytes & (offset_bytes - 1)) == 0, "%u", offset_bytes);
    cr_assert(memory_bytes >= 1 && memory_bytes <= RIG_BLOCK && (memory_bytes & (memory_bytes - 1)) == 0, "%u", memory_bytes);
    cr_assert_eq(pwrite(fd, memory + memory_bytes, offset_bytes, offset_bytes), (ssize_t)offset_bytes, "%s", strerror(errno));
    close(fd);
    cr_assert_eq(disk_io_alignment(-1, &offset_bytes, &memory_bytes), QUIRE_SYSTEM);
}
