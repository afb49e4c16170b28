#include "tests/bench/raw.h"
#include "proto/base/base.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#define FILL_BYTES (2u << 20)

static int raw_fill(struct raw_file *file) {
    uint32_t n = (uint32_t)(file->bytes / FILL_BYTES);
    uint64_t *offsets = calloc(n, sizeof *offsets);
    for (uint32_t i = 0; offsets != NULL && i < n; i++) {
        offsets[i] = (uint64_t)i * FILL_BYTES;
    }
    struct raw_run run = {.write = true, .depth = 4, .size_bytes = FILL_BYTES, .offsets = offsets, .n = n, .sync = true};
    double seconds = offsets != NULL ? raw_run(file, &run) : -1;
    free(offsets);
    return seconds > 0 ? 0 : 1;
}

static int raw_memory(const struct bench_case *c, uint64_t bytes, struct raw_file *file) {
    char why[200];
    if (pool_create("bench", bytes, 64, true, &file->pool, why, sizeof why) != QUIRE_OK) {
        return bench_fail(c, "no memory: %s", why);
    }
    while (!file->pool->populate_ends && !file->pool->populate_later) { /* all at once, as the daemon does: its pages lie together then */
        pool_populate(file->pool, bytes);
    }
    file->memory = file->pool->base;
    file->memory_bytes = file->pool->size_bytes;
    uint64_t seed = 3;
    for (uint64_t i = 0; i < file->memory_bytes / 8; i++) {
        ((uint64_t *)(void *)file->memory)[i] = bench_random(&seed);
    }
    return 0;
}

int raw_create(const struct bench_case *c, const char *path, uint64_t bytes, uint64_t memory_bytes, struct raw_file *file) {
    *file = (struct raw_file){.fd = -1, .bytes = bytes};
    if (raw_memory(c, memory_bytes, file) != 0) {
        return 1;
    }
    file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
    unlink(path);
    if (file->fd < 0 || posix_fallocate(file->fd, 0, (off_t)bytes) != 0 || raw_fill(file) != 0) {
        return bench_fail(c, "cannot write %llu MiB to %s with O_DIRECT", (unsigned long long)(bytes >> 20), path);
    }
    return 0;
}

int raw_open(const struct bench_case *c, const char *path, uint64_t memory_bytes, struct raw_file *file) {
    *file = (struct raw_file){.fd = -1};
    if (raw_memory(c, memory_bytes, file) != 0) {
        return 1;
    }
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    return file->fd >= 0 ? 0 : bench_fail(c, "cannot read %s with O_DIRECT", path);
}

void raw_destroy(struct raw_file *file) {
    if (file->fd >= 0) {
        close(file->fd);
    }
    pool_destroy(&file->pool);
}

struct raw_loop {
    struct io_uring ring;
    const struct raw_file *file;
    const struct raw_run *run;
    bool fixed;
    uint32_t next, ended;
    uint64_t begun_ns[RAW_MAX_DEPTH];
    uint32_t number[RAW_MAX_DEPTH];
};

static void raw_push(struct raw_loop *loop, uint32_t slot) {
    const struct raw_run *run = loop->run;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    uint64_t places = loop->file->memory_bytes / run->size_bytes; /* in turn, as records lie all over a pool */
    uint8_t *memory = loop->file->memory + loop->next % places * run->size_bytes;
    uint64_t offset = run->offsets[loop->next];
    if (run->write && loop->fixed) {
        io_uring_prep_write_fixed(sqe, loop->file->fd, memory, run->size_bytes, offset, 0);
    } else if (run->write) {
        io_uring_prep_write(sqe, loop->file->fd, memory, run->size_bytes, offset);
    } else if (loop->fixed) {
        io_uring_prep_read_fixed(sqe, loop->file->fd, memory, run->size_bytes, offset, 0);
    } else {
        io_uring_prep_read(sqe, loop->file->fd, memory, run->size_bytes, offset);
    }
    io_uring_sqe_set_data64(sqe, slot);
    loop->begun_ns[slot] = bench_now_ns();
    loop->number[slot] = loop->next++;
}

static int raw_turn(struct raw_loop *loop) {
    const struct raw_run *run = loop->run;
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    int failed = io_uring_submit_and_wait(&loop->ring, 1) < 0;
    io_uring_for_each_cqe(&loop->ring, head, cqe) {
        uint32_t slot = (uint32_t)cqe->user_data;
        failed |= cqe->res != (int)run->size_bytes;
        if (run->seconds != NULL) {
            run->seconds[loop->number[slot]] = (double)(bench_now_ns() - loop->begun_ns[slot]) / 1e9;
        }
        if (loop->next < run->n) {
            raw_push(loop, slot);
        }
        n++;
    }
    io_uring_cq_advance(&loop->ring, n);
    loop->ended += n;
    return failed;
}

double raw_run(const struct raw_file *file, const struct raw_run *run) {
    struct raw_loop loop = {.file = file, .run = run};
    uint32_t depth = run->depth < run->n ? run->depth : run->n;
    if (depth == 0 || depth > RAW_MAX_DEPTH || io_uring_queue_init(RAW_MAX_DEPTH, &loop.ring, 0) != 0) {
        return -1;
    }
    struct iovec memory = {.iov_base = file->memory, .iov_len = file->memory_bytes};
    loop.fixed = io_uring_register_buffers(&loop.ring, &memory, 1) == 0;
    uint64_t begun_ns = bench_now_ns();
    for (uint32_t slot = 0; slot < depth; slot++) {
        raw_push(&loop, slot);
    }
    int failed = 0;
    while (failed == 0 && loop.ended < run->n) {
        failed = raw_turn(&loop);
    }
    failed |= run->sync && fdatasync(file->fd) != 0;
    double seconds = (double)(bench_now_ns() - begun_ns) / 1e9;
    io_uring_queue_exit(&loop.ring);
    return failed ? -1 : seconds;
}
