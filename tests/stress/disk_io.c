/*
 * The disk backends under load, for the thread sanitizer: one loop keeps many reads and writes of stamped blocks under way, through threads, through io_uring
 * where it works, and through a layer of faults that delays some. A block that does not bear the last stamp written to it ends it all, and so does an operation
 * that ends twice or never. Then backends are destroyed in the middle of their work, again and again. The seed is printed.
 */
#include "daemon/disk/faults.h"
#include "daemon/disk/op.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCKS = 256, BLOCK = 4096, OPERATIONS = 30000, DEPTH = 24, ROUNDS = 60 };

static void require(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "disk_io: %s\n", what);
        exit(1);
    }
}

struct block {
    struct disk_op op;
    struct iovec iov;
    uint64_t version; /* last written; 0: never */
    bool busy, known; /* known: a write has ended, so the file must hold `version` */
};

static struct block blocks[BLOCKS];
static uint8_t *memory;
static uint64_t ended, state;

static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t stamp(uint64_t number, uint64_t version, uint64_t at) { return number << 48 ^ version << 16 ^ at * 0x9e3779b97f4a7c15u; }

static void block_done(struct disk_op *op) {
    struct block *block = (struct block *)op;
    uint64_t number = (uint64_t)(block - blocks), word;
    require(block->busy, "an operation ended that was not under way");
    require(op->status == QUIRE_OK, strerror(op->error));
    for (uint64_t at = 0; op->type == DISK_READ && block->known && at < BLOCK; at += 8) {
        memcpy(&word, memory + number * BLOCK + at, 8);
        require(word == stamp(number, block->version, at), "a block does not hold what was written");
    }
    block->known = block->known || op->type == DISK_WRITE;
    block->busy = false;
    ended++;
}

static struct disk_op *begin(uint64_t number, uint32_t file) {
    struct block *block = &blocks[number];
    uint8_t *at = memory + number * BLOCK;
    block->iov = (struct iovec){at, BLOCK};
    block->op =
        (struct disk_op){.type = next() % 2 == 0 ? DISK_READ : DISK_WRITE, .file = file, .offset = number * BLOCK, .iov = &block->iov};
    block->op.n_iov = 1;
    block->op.bytes = BLOCK;
    block->op.done = block_done;
    block->busy = true;
    if (block->op.type == DISK_READ) {
        memset(at, 0xEE, BLOCK);
        return &block->op;
    }
    block->version++;
    for (uint64_t i = 0; i < BLOCK; i += 8) {
        uint64_t word = stamp(number, block->version, i);
        memcpy(at + i, &word, 8);
    }
    return &block->op;
}

static uint32_t submit_some(struct disk_io *io, uint32_t file) {
    struct disk_op *list = NULL;
    uint32_t count = 0;
    for (uint64_t i = next() % 16; i > 0; i--) {
        uint64_t number = next() % BLOCKS;
        if (!blocks[number].busy) {
            struct disk_op *op = begin(number, file);
            op->next = list;
            list = op;
            count++;
        }
    }
    io->ops->submit(io, list);
    return count;
}

static void turn(struct disk_io *io) {
    struct pollfd event = {.fd = io->ops->event_fd(io), .events = POLLIN};
    require(poll(&event, 1, 60000) == 1, "nothing ended in a minute");
    io->ops->reap(io, 1 + (uint32_t)(next() % 32));
}

static void load(struct disk_io *io, int fd) {
    uint32_t file;
    uint64_t submitted = 0;
    bool registered;
    ended = 0;
    require(io->ops->add_file(io, fd, &file) == QUIRE_OK && io->ops->add_memory(io, memory, BLOCKS * BLOCK, &registered) == QUIRE_OK,
            "setup");
    while (submitted < OPERATIONS) {
        submitted += submit_some(io, file);
        if (io->ops->in_flight(io) > BLOCKS / 2) {
            turn(io);
        }
    }
    while (io->ops->in_flight(io) != 0) {
        turn(io);
    }
    require(ended == submitted, "operations were lost");
    printf("%s: %llu operations\n", io->ops->name, (unsigned long long)ended);
}

static struct disk_io *create(enum disk_io_choice choice, const char *rule) {
    struct disk_io *io = NULL;
    struct disk_fault_rule parsed;
    uint32_t id;
    char why[512];
    require(disk_io_create(choice, DEPTH, &io, why, sizeof why) == QUIRE_OK, why);
    if (rule != NULL) {
        require(faults_create(io, &io) == QUIRE_OK, "faults");
        require(disk_fault_parse(rule, &parsed, why, sizeof why) == QUIRE_OK, why);
        require(faults_add(io, &parsed, &id) == QUIRE_OK, "faults");
    }
    return io;
}

/* In the middle of their work: nobody is called any more, and memory belongs to the caller again, which the sanitizer watches. */
static void destroy_busy(enum disk_io_choice choice, int fd) {
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct disk_io *io = create(choice, round % 2 == 0 ? NULL : "read:delay=1ms,probability=0.5");
        uint32_t file;
        require(io->ops->add_file(io, fd, &file) == QUIRE_OK, "setup");
        for (uint64_t i = next() % 8; i > 0; i--) {
            submit_some(io, file);
            io->ops->reap(io, (uint32_t)(next() % 4));
        }
        ended = 0;
        io->ops->destroy(&io);
        require(ended == 0 && io == NULL, "somebody was called by the end");
        memset(memory, (int)round, BLOCKS * BLOCK);
        memset(blocks, 0, sizeof blocks);
    }
}

int main(int argc, char **argv) {
    static const struct {
        enum disk_io_choice choice;
        const char *rule;
    } rounds[] = {{DISK_IO_THREADS, NULL}, {DISK_IO_AUTO, NULL}, {DISK_IO_THREADS, "read:delay=1ms,probability=0.05"}};
    char path[] = "./quire-stress-XXXXXX";
    state = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)getpid() * 1000003;
    printf("seed %llu\n", (unsigned long long)state);
    int fd = mkstemp(path);
    require(fd >= 0 && unlink(path) == 0 && ftruncate(fd, BLOCKS * BLOCK) == 0, path);
    require(posix_memalign((void **)&memory, BLOCK, BLOCKS * BLOCK) == 0, "memory");
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(rounds); i++) {
        struct disk_io *io = create(rounds[i].choice, rounds[i].rule);
        load(io, fd);
        io->ops->destroy(&io);
    }
    destroy_busy(DISK_IO_THREADS, fd);
    destroy_busy(DISK_IO_AUTO, fd);
    free(memory);
    close(fd);
    return 0;
}
