/*
 * The files of the disk tier as the tests of daemon/disk/set.h see them: a set of small files in a folder of its own, what lies in them, and a system that is as
 * bad as a test wants it: calls by which files are made stand here in the place of the library's.
 */
#ifndef TESTS_UNIT_DAEMON_DISK_SET_RIG_H
#define TESTS_UNIT_DAEMON_DISK_SET_RIG_H

#include "daemon/disk/meta.h"
#include "daemon/disk/set.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SEGMENT_BYTES (1ull << 20)
#define SEGMENTS 8u
#define FILE_BYTES (QUIRE_LOG_FIRST_SEGMENT + SEGMENTS * SEGMENT_BYTES)

static char folder[] = "/tmp/quire-set-XXXXXX";
static struct config config;
static struct disk_set *set;
static char why[1024];

/* ---- the system, as bad as a test wants it -------------------------------------------------------------------------------- */
static int fail_fallocate, fail_open, fail_sync, fail_direct;
static const char *fail_path = "";       /* of open, and of syncs: the end of the path */
static uint64_t free_bytes = UINT64_MAX; /* UINT64_MAX: as the file system says */
static unsigned allocations;
static unsigned die_at, steps; /* at the nth step that others could see after a crash */

static inline void step(void) {
    if (++steps == die_at) {
        _exit(7);
    }
}

static inline bool is_failing(const char *path) {
    size_t n = strlen(path), m = strlen(fail_path);
    return m > 0 && n >= m && strcmp(path + n - m, fail_path) == 0;
}

int fallocate(int fd, int mode, off_t offset, off_t length);
int fallocate(int fd, int mode, off_t offset, off_t length) {
    step();
    allocations++;
    if (fail_fallocate != 0) {
        errno = fail_fallocate;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int fstatvfs(int fd, struct statvfs *facts);
int fstatvfs(int fd, struct statvfs *facts) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = statvfs(path, facts);
    if (rc == 0 && free_bytes != UINT64_MAX) {
        facts->f_bavail = free_bytes / facts->f_frsize;
    }
    return rc;
}

int open(const char *path, int flags, ...);
int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (fail_open != 0 && is_failing(path)) {
        errno = fail_open;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int fdatasync(int fd);
int fdatasync(int fd) {
    char link[64], path[512];
    step();
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    if (fail_sync != 0 && is_failing(path)) {
        errno = fail_sync;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int rename(const char *from, const char *to);
int rename(const char *from, const char *to) {
    step();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags);
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    step();
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int fcntl(int fd, int command, ...);
int fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    long argument = va_arg(args, long);
    va_end(args);
    if (fail_direct != 0 && command == F_SETFL && (argument & O_DIRECT) != 0) {
        errno = fail_direct;
        return -1;
    }
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

/* ---- a set of n files ----------------------------------------------------------------------------------------------------- */
static inline void name_files(uint32_t n) {
    memset(config.files, 0, sizeof config.files);
    config.n_files = n;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(config.files[i].path, sizeof config.files[i].path, "%s/d%u/log%u", folder, i, i);
        config.files[i].size_bytes = SEGMENTS * SEGMENT_BYTES;
    }
}

static inline void set_up(void) {
    cr_assert_not_null(mkdtemp(folder));
    log_setup(LOG_LEVEL_ERROR, false);
    config_default(&config);
    config.disk.segment_bytes = SEGMENT_BYTES;
    name_files(2);
}

static inline void tear_down(void) {
    char command[200];
    disk_set_close(&set, false, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_expect_eq(system(command), 0);
}
static inline void opens(void) { cr_assert_eq(disk_set_open(&config, &set, why, sizeof why), QUIRE_OK, "%s", why); }

static inline void reopens(void) {
    disk_set_close(&set, false, 0);
    opens();
}

/* Refused with these words, in this order. */
static inline void refuses(enum quire_status expected, const char *first, const char *second) {
    disk_set_close(&set, false, 0);
    enum quire_status status = disk_set_open(&config, &set, why, sizeof why);
    cr_expect_eq(status, expected, "%d instead of %d: %s", status, expected, why);
    cr_expect_null(set);
    const char *at = strstr(why, first);
    cr_expect(at != NULL && strstr(at, second) != NULL, "'%s' does not say '%s' and '%s'", why, first, second);
}

static inline const char *path_of(uint32_t i) { return config.files[i].path; }

static inline int raw(uint32_t i) {
    int fd = open(path_of(i), O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0, "%s", path_of(i));
    return fd;
}

static inline void overwrite(uint32_t i, uint64_t at, const void *bytes, size_t size) {
    int fd = raw(i);
    cr_assert_eq(pwrite(fd, bytes, size, (off_t)at), (ssize_t)size);
    close(fd);
}

static inline void read_at(uint32_t i, uint64_t at, void *bytes, size_t size) {
    int fd = raw(i);
    cr_assert_eq(pread(fd, bytes, size, (off_t)at), (ssize_t)size);
    close(fd);
}

static inline uint64_t copy_at(uint32_t copy) { return (uint64_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE; }

static inline enum quire_status read_superblock(uint32_t i, uint32_t copy, struct quire_log_superblock *superblock) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    read_at(i, copy_at(copy), bytes, sizeof bytes);
    return quire_log_superblock_decode(bytes, superblock);
}

static inline void write_superblock(uint32_t i, uint32_t copy, const struct quire_log_superblock *superblock) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    quire_log_superblock_encode(superblock, bytes);
    overwrite(i, copy_at(copy), bytes, sizeof bytes);
}

static inline void damage(uint32_t i, uint32_t copy) { overwrite(i, copy_at(copy) + 40, "rot", 3); }

/* Something in a segment, to see whether the file was formatted. */
static inline void mark(uint32_t i, uint32_t segment) { overwrite(i, QUIRE_LOG_FIRST_SEGMENT + segment * SEGMENT_BYTES, "mark", 4); }
static inline bool is_marked(uint32_t i, uint32_t segment) {
    char bytes[4];
    read_at(i, QUIRE_LOG_FIRST_SEGMENT + segment * SEGMENT_BYTES, bytes, sizeof bytes);
    return memcmp(bytes, "mark", 4) == 0;
}

static inline void put_file(const char *path, const void *bytes, size_t size, off_t length) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size && ftruncate(fd, length) == 0);
    close(fd);
}

#endif
