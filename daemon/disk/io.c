#include "daemon/disk/op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT_BYTES 4096u
#define ALIGNMENT_SMALLEST_BYTES 512u

#ifndef STATX_DIOALIGN
#error "linux/stat.h must know STATX_DIOALIGN (kernel headers 6.1, as Debian 12 has them)"
#endif

enum quire_status disk_io_create(enum disk_io_choice choice, uint32_t depth, struct disk_io **io, char *why, size_t why_bytes) {
    char forbidden[256] = "", threads[256] = "";
    if (choice == DISK_IO_THREADS) {
        enum quire_status made = disk_io_threads.create(depth, io, threads, sizeof threads);
        snprintf(why, why_bytes, made == QUIRE_OK ? "%s; disk.io_backend asks for them" : "%s", threads);
        return made;
    }
    if (disk_io_uring_works(forbidden, sizeof forbidden) && disk_io_uring.create(depth, io, forbidden, sizeof forbidden) == QUIRE_OK) {
        snprintf(why, why_bytes, "%s", forbidden);
        return QUIRE_OK;
    }
    if (choice == DISK_IO_URING) {
        snprintf(why, why_bytes, "%s", forbidden);
        return QUIRE_UNSUPPORTED;
    }
    enum quire_status status = disk_io_threads.create(depth, io, threads, sizeof threads);
    snprintf(why, why_bytes, "%s; %s", threads, forbidden);
    return status;
}

/* A kernel that does not tell is asked by reading: 512 bytes into memory that is aligned to no more than that. Inconclusive: 4096. */
static bool alignment_trial(int fd) {
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGNMENT_BYTES, (size_t)2 * ALIGNMENT_SMALLEST_BYTES) != 0) {
        return false;
    }
    ssize_t got = pread(fd, (char *)memory + ALIGNMENT_SMALLEST_BYTES, ALIGNMENT_SMALLEST_BYTES, ALIGNMENT_SMALLEST_BYTES);
    free(memory);
    return got == (ssize_t)ALIGNMENT_SMALLEST_BYTES;
}

enum quire_status disk_io_alignment(int fd, uint32_t *offset_bytes, uint32_t *memory_bytes) {
    struct statx facts;
    memset(&facts, 0, sizeof facts);
    if (fcntl(fd, F_GETFD) < 0) {
        return QUIRE_SYSTEM;
    }
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 && (facts.stx_mask & STATX_DIOALIGN) != 0 &&
        facts.stx_dio_offset_align != 0) {
        *offset_bytes = facts.stx_dio_offset_align;
        *memory_bytes = facts.stx_dio_mem_align;
        return QUIRE_OK;
    }
    int flags = fcntl(fd, F_GETFL);
    bool direct = flags >= 0 && (flags & O_DIRECT) != 0;
    *offset_bytes = *memory_bytes = direct && alignment_trial(fd) ? ALIGNMENT_SMALLEST_BYTES : ALIGNMENT_BYTES;
    return QUIRE_OK;
}
