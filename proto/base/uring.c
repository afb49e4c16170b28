#include "proto/base/uring.h"

#include "proto/base/base.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPERATIONS 256u

static int ask(int fd, unsigned what, void *about, unsigned n) {
    return syscall(SYS_io_uring_register, fd, what, about, n) < 0 ? errno : 0;
}

/* A kernel that does not know the question is too old; who may not ask may not use io_uring either. */
static int too_old(int error) { return error == EINVAL ? EOPNOTSUPP : error; }

static int try_operations(int fd) {
    static const uint8_t needed[] = {IORING_OP_READ,   IORING_OP_READV,       IORING_OP_READ_FIXED, IORING_OP_WRITE,
                                     IORING_OP_WRITEV, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC};
    struct io_uring_probe *probe = calloc(1, sizeof *probe + OPERATIONS * sizeof probe->ops[0]);
    if (probe == NULL) {
        return ENOMEM;
    }
    int error = too_old(ask(fd, IORING_REGISTER_PROBE, probe, OPERATIONS));
    for (unsigned i = 0; error == 0 && i < QUIRE_ARRAY_LEN(needed); i++) {
        bool known = needed[i] <= probe->last_op && (probe->ops[needed[i]].flags & IO_URING_OP_SUPPORTED) != 0;
        error = known ? 0 : EOPNOTSUPP;
    }
    free(probe);
    return error;
}

/* May there be more of the kernel's own threads? Zeros change nothing. */
static int try_widening(int fd) {
    unsigned workers[2] = {0, 0};
    return too_old(ask(fd, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2));
}

static uint32_t *word_at(uint8_t *ring, uint32_t offset) { return (uint32_t *)(void *)(ring + offset); }

static int try_nop(int fd, const struct io_uring_params *params, uint8_t *ring, struct io_uring_sqe *entry) {
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_NOP;
    *word_at(ring, params->sq_off.array) = 0;
    __atomic_store_n(word_at(ring, params->sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
        return errno;
    }
    return __atomic_load_n(word_at(ring, params->cq_off.tail), __ATOMIC_ACQUIRE) == 1 ? 0 : EAGAIN;
}

static int try_ring(int fd, const struct io_uring_params *params) {
    const size_t submissions = params->sq_off.array + params->sq_entries * sizeof(uint32_t),
                 completions = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe),
                 ring_bytes = submissions > completions ? submissions : completions,
                 entries_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
    if ((params->features & IORING_FEAT_SINGLE_MMAP) == 0) {
        return EOPNOTSUPP;
    }
    void *ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
    if (ring == MAP_FAILED) {
        return errno;
    }
    void *entries = mmap(NULL, entries_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
    int error = entries == MAP_FAILED ? errno : try_nop(fd, params, ring, entries);
    if (entries != MAP_FAILED) {
        munmap(entries, entries_bytes);
    }
    munmap(ring, ring_bytes);
    return error;
}

int quire_uring_try(void) {
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    int fd = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (fd < 0) {
        return errno;
    }
    int error = try_operations(fd);
    error = error == 0 ? try_widening(fd) : error;
    error = error == 0 ? try_ring(fd, &params) : error;
    close(fd);
    return error;
}

void quire_uring_explain(int error, char *why, size_t why_bytes) {
    char disabled[16] = "";
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file != NULL) {
        disabled[fread(disabled, 1, 1, file)] = '\0';
        fclose(file);
    }
    if (error == EPERM && (disabled[0] == '1' || disabled[0] == '2')) {
        snprintf(why, why_bytes, "io_uring is switched off here; `sysctl kernel.io_uring_disabled=0` (now %s) allows it", disabled);
    } else if (error == EPERM || error == EACCES) {
        snprintf(why, why_bytes,
                 "io_uring is forbidden here, as containers do; allow io_uring_setup, _enter and _register in the seccomp profile");
    } else if (error == ENOSYS) {
        snprintf(why, why_bytes, "this kernel has no io_uring, or a seccomp profile hides it");
    } else if (error == EOPNOTSUPP) {
        snprintf(why, why_bytes, "this kernel's io_uring is too old (5.15 is needed, or a drive that hangs would hold up the others)");
    } else if (error == ENOMEM) {
        snprintf(why, why_bytes, "io_uring got no memory; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)");
    } else {
        snprintf(why, why_bytes, "io_uring does not work: %s", strerror(error));
    }
}
