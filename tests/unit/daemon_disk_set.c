/* The files of the disk tier: made once, found again, refused with a reason, and never formatted while they hold something. */
#include "daemon/disk/meta.h"
#include "daemon/disk/set.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
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

static void step(void) {
    if (++steps == die_at) {
        _exit(7);
    }
}

static bool is_failing(const char *path) {
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
static void name_files(uint32_t n) {
    memset(config.files, 0, sizeof config.files);
    config.n_files = n;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(config.files[i].path, sizeof config.files[i].path, "%s/d%u/log%u", folder, i, i);
        config.files[i].size_bytes = SEGMENTS * SEGMENT_BYTES;
    }
}

static void set_up(void) {
    cr_assert_not_null(mkdtemp(folder));
    log_setup(LOG_LEVEL_ERROR, false);
    config_default(&config);
    config.disk.segment_bytes = SEGMENT_BYTES;
    name_files(2);
}

static void tear_down(void) {
    char command[200];
    disk_set_close(&set, false, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_expect_eq(system(command), 0);
}
TestSuite(daemon_disk_set, .init = set_up, .fini = tear_down);

static void opens(void) { cr_assert_eq(disk_set_open(&config, &set, why, sizeof why), QUIRE_OK, "%s", why); }

static void reopens(void) {
    disk_set_close(&set, false, 0);
    opens();
}

/* Refused with these words, in this order. */
static void refuses(enum quire_status expected, const char *first, const char *second) {
    disk_set_close(&set, false, 0);
    enum quire_status status = disk_set_open(&config, &set, why, sizeof why);
    cr_expect_eq(status, expected, "%d instead of %d: %s", status, expected, why);
    cr_expect_null(set);
    const char *at = strstr(why, first);
    cr_expect(at != NULL && strstr(at, second) != NULL, "'%s' does not say '%s' and '%s'", why, first, second);
}

static const char *path_of(uint32_t i) { return config.files[i].path; }

static int raw(uint32_t i) {
    int fd = open(path_of(i), O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0, "%s", path_of(i));
    return fd;
}

static void overwrite(uint32_t i, uint64_t at, const void *bytes, size_t size) {
    int fd = raw(i);
    cr_assert_eq(pwrite(fd, bytes, size, (off_t)at), (ssize_t)size);
    close(fd);
}

static void read_at(uint32_t i, uint64_t at, void *bytes, size_t size) {
    int fd = raw(i);
    cr_assert_eq(pread(fd, bytes, size, (off_t)at), (ssize_t)size);
    close(fd);
}

static uint64_t copy_at(uint32_t copy) { return (uint64_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE; }

static enum quire_status read_superblock(uint32_t i, uint32_t copy, struct quire_log_superblock *superblock) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    read_at(i, copy_at(copy), bytes, sizeof bytes);
    return quire_log_superblock_decode(bytes, superblock);
}

static void write_superblock(uint32_t i, uint32_t copy, const struct quire_log_superblock *superblock) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    quire_log_superblock_encode(superblock, bytes);
    overwrite(i, copy_at(copy), bytes, sizeof bytes);
}

static void damage(uint32_t i, uint32_t copy) { overwrite(i, copy_at(copy) + 40, "rot", 3); }

/* Something in a segment, to see whether the file was formatted. */
static void mark(uint32_t i, uint32_t segment) { overwrite(i, QUIRE_LOG_FIRST_SEGMENT + segment * SEGMENT_BYTES, "mark", 4); }
static bool is_marked(uint32_t i, uint32_t segment) {
    char bytes[4];
    read_at(i, QUIRE_LOG_FIRST_SEGMENT + segment * SEGMENT_BYTES, bytes, sizeof bytes);
    return memcmp(bytes, "mark", 4) == 0;
}

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

/* The first start makes folders, files with all of their space, superblocks and metadata, for this user alone; the next one finds them. */
Test(daemon_disk_set, made_and_found) {
    struct stat facts;
    struct quire_log_superblock superblock;
    uint8_t id[16], file_id[16];
    opens();
    cr_expect(set->fresh && set->generation == 1 && set->n_segments == 2 * SEGMENTS && !set->clean);
    cr_expect_eq((uint64_t)set->geometry.unit_bytes * set->geometry.segment_units, SEGMENT_BYTES);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(stat(path_of(i), &facts), 0);
        cr_expect_eq((uint64_t)facts.st_size, FILE_BYTES);
        cr_expect_geq((uint64_t)facts.st_blocks * 512, FILE_BYTES, "the space is there");
        cr_expect_eq(facts.st_mode & 0777, 0600);
        cr_expect(set->files[i].in_use && set->files[i].fresh && set->files[i].first_number == i * SEGMENTS);
        cr_expect(set->files[i].direct || set->files[i].why[0] != '\0');
        cr_assert_eq(read_superblock(i, 0, &superblock), QUIRE_OK);
        cr_expect(superblock.generation == 1 && superblock.file_index == i && superblock.n_files == 2 && superblock.flags == 0);
    }
    char made[200];
    snprintf(made, sizeof made, "%s/d1", folder);
    cr_assert_eq(stat(made, &facts), 0);
    cr_expect_eq(facts.st_mode & 0777, 0700);
    memcpy(id, set->set_id, sizeof id);
    memcpy(file_id, set->files[1].file_id, sizeof file_id);
    reopens();
    cr_expect(!set->fresh && set->generation == 2 && !set->clean && !set->files[0].fresh);
    cr_expect_arr_eq(id, set->set_id, 16);
    cr_expect_arr_eq(file_id, set->files[1].file_id, 16);
    cr_expect_not_null(set->meta);
    cr_assert_eq(read_superblock(0, 1, &superblock), QUIRE_OK);
    cr_expect_eq(superblock.generation, 2, "copies are written in turn");
    cr_expect_eq(read_superblock(0, 0, &superblock), QUIRE_OK);
    cr_expect_eq(superblock.generation, 1);
}

/* A clean stop is seen by the next start, and only by that. */
Test(daemon_disk_set, clean_stop) {
    opens();
    disk_set_close(&set, true, 77);
    opens();
    cr_expect(set->clean && set->snapshot == 77 && set->generation == 3);
    reopens();
    cr_expect(!set->clean && set->generation == 4, "after a crash there is no snapshot to trust");
    for (uint32_t i = 0; i < 2; i++) { /* one of the files was not closed: the other's word is not enough */
        struct quire_log_superblock superblock;
        disk_set_close(&set, true, 78);
        for (uint32_t copy = 0; copy < 2; copy++) {
            cr_assert_eq(read_superblock(i, copy, &superblock), QUIRE_OK);
            superblock.flags = 0;
            write_superblock(i, copy, &superblock);
        }
        opens();
        cr_expect_not(set->clean);
    }
}

/* What the pager knows is saved with the members, and is there at the next start. */
Test(daemon_disk_set, metadata_travels) {
    static const uint8_t layout[8] = {1};
    struct quire_meta_item item = {
        .serial = 4, .name = "a", .name_bytes = 1, .domain = "d", .domain_bytes = 1, .layout = layout, .layout_bytes = 8};
    struct quire_meta_pin pin = {.serial = 4, .pins = 3};
    uint8_t *bytes;
    size_t size;
    opens();
    cr_assert_eq(disk_set_encode_meta(set, 5, 1234, &item, 1, &pin, 1, &bytes, &size), QUIRE_OK);
    cr_assert_eq(disk_meta_save(set->meta_path, bytes, size, why, sizeof why), QUIRE_OK, "%s", why);
    free(bytes);
    for (unsigned i = 0; i < 3; i++) { /* each start saves it again */
        reopens();
        const struct quire_meta_head *head = quire_meta_head_of(set->meta);
        cr_assert(head->next_serial == 5 && head->sequence == 1234 && head->n_namespaces == 1 && head->n_pins == 1 && head->n_files == 2);
        struct quire_meta_item found;
        size_t at = 0;
        cr_assert(quire_meta_next(set->meta, &at, &found));
        cr_expect(found.serial == 4 && found.layout_bytes == 8 && memcmp(found.layout, layout, 8) == 0);
    }
}

/* Who writes the configuration need not remember the order. */
Test(daemon_disk_set, any_order) {
    uint8_t first[16];
    name_files(3);
    opens();
    memcpy(first, set->files[0].file_id, sizeof first);
    struct config_file file = config.files[0];
    config.files[0] = config.files[2], config.files[2] = file;
    reopens();
    cr_expect_arr_eq(set->files[0].file_id, first, 16);
    cr_expect_not_null(strstr(set->files[0].path, "log0"));
    cr_expect_not_null(strstr(set->meta_path, "log0.meta"));
    cr_expect_not(set->fresh);
}

/* ---- who else uses it ----------------------------------------------------------------------------------------------------- */

/* A second daemon is refused, and told who holds the file; under whatever name. */
Test(daemon_disk_set, second_opener) {
    int ready[2], end[2];
    char byte, expected[64];
    cr_assert(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        byte = disk_set_open(&config, &set, why, sizeof why) == QUIRE_OK;
        if (write(ready[1], &byte, 1) == 1 && read(end[0], &byte, 1) >= 0) { /* until the other end is closed */
            _exit(0);
        }
        _exit(1);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(byte, 1);
    snprintf(expected, sizeof expected, "is in use by process %ld already", (long)child);
    refuses(QUIRE_IN_USE, expected, "stop that one, or give this one files of its own");
    char other[CONFIG_FILE_PATH_MAX];
    snprintf(other, sizeof other, "%s/other-name", folder);
    cr_assert_eq(link(path_of(0), other), 0);
    memcpy(config.files[0].path, other, sizeof other);
    refuses(QUIRE_IN_USE, expected, "");
    close(end[1]);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    config.files[0].path[0] = '\0';
    name_files(2);
    opens();
}

/* Two names of one file in one configuration. */
Test(daemon_disk_set, one_file_twice) {
    opens();
    disk_set_close(&set, false, 0);
    cr_assert_eq(unlink(path_of(1)), 0);
    cr_assert_eq(symlink(path_of(0), path_of(1)), 0);
    refuses(QUIRE_IN_USE, "log1: is in use by this quired under another path", "");
}

/* ---- what must not be touched --------------------------------------------------------------------------------------------- */

static void put_file(const char *path, const void *bytes, size_t size, off_t length) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size && ftruncate(fd, length) == 0);
    close(fd);
}

/* Content that is not Quire's is never formatted, also when it begins with nothing. */
Test(daemon_disk_set, foreign_content) {
    char text[64];
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/thesis.txt", folder);
    put_file(path_of(0), "my thesis", 9, 9);
    refuses(QUIRE_CORRUPT, "thesis.txt: has content, but no superblock of Quire", "It was not touched: give another path, or move it away");
    read_at(0, 0, text, 9);
    cr_expect_eq(memcmp(text, "my thesis", 9), 0);
    put_file(path_of(0), "", 0, (off_t)FILE_BYTES);
    refuses(QUIRE_CORRUPT, "has content", "");
    put_file(path_of(0), "x", 1, 5 << 20);
    refuses(QUIRE_CORRUPT, "has content", "");
    name_files(2);
    snprintf(config.files[1].path, sizeof config.files[1].path, "%s/thesis.txt", folder);
    refuses(QUIRE_CORRUPT, "thesis.txt: has content", "");
    cr_expect_neq(access(path_of(0), F_OK), 0, "nothing was made for a set that is not to be");
}

static bool holds(const char *path, const char *text) {
    char found[100] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, found, sizeof found - 1) : -1;
    close(fd);
    return n == (ssize_t)strlen(text) && strcmp(found, text) == 0;
}

/*
 * Somebody else's file has a name that quired writes to beside its own: refused before anything is made, and left as it was. Moved away, the start comes
 * through.
 */
Test(daemon_disk_set, foreign_content_beside) {
    static const char *const endings[] = {".meta", ".meta.new", ".snapshot", ".snapshot.new", ".quire-new"};
    char path[CONFIG_FILE_PATH_MAX + 16], expected[100];
    name_files(1);
    snprintf(path, sizeof path, "%s/d0", folder);
    cr_assert_eq(mkdir(path, 0700), 0);
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(endings); i++) {
        snprintf(config.files[0].path, sizeof config.files[0].path, "%s/d0/log0", folder);
        snprintf(path, sizeof path, "%s%s", path_of(0), endings[i]);
        snprintf(expected, sizeof expected, "/d0/log0%s: %s", endings[i], i == 4 ? "has content" : "is not Quire's");
        put_file(path, "my thesis", 9, 9);
        cr_assert_eq(chmod(path, 0644), 0);
        put_file(path_of(0), "", 0, 0); /* the operator's word that a set may be made */
        refuses(QUIRE_CORRUPT, expected, "It was not touched: move it away");
        cr_expect(holds(path, "my thesis"), "%s", path);
        cr_expect(holds(path_of(0), ""), "something was made");
        cr_assert_eq(unlink(path), 0);
    }
    opens();
}

/* The same of a set that is there: refused for what it cannot do without, before this start has a number. */
Test(daemon_disk_set, foreign_content_beside_a_set) {
    struct quire_log_superblock before, after;
    char path[CONFIG_FILE_PATH_MAX + 16];
    name_files(1);
    opens();
    snprintf(path, sizeof path, "%s.new", set->meta_path);
    disk_set_close(&set, true, 5);
    put_file(path, "my thesis", 9, 9);
    cr_assert_eq(read_superblock(0, 1, &before), QUIRE_OK);
    refuses(QUIRE_CORRUPT, "log0.meta.new: is not Quire's", "move it away");
    cr_expect(holds(path, "my thesis"));
    cr_assert_eq(read_superblock(0, 1, &after), QUIRE_OK);
    cr_expect_eq(after.generation, before.generation);
    cr_assert_eq(unlink(path), 0);
    opens();
    cr_expect(set->clean && set->snapshot == 5);
}

/* What a crash left of a file that was being made holds up no start, whatever its length and rights, and nobody else can read what is made in its place. */
Test(daemon_disk_set, left_overs) {
    struct quire_log_superblock superblock;
    uint8_t unused[QUIRE_LOG_SUPERBLOCK_BYTES];
    char path[CONFIG_FILE_PATH_MAX + 16];
    struct stat facts;
    name_files(1);
    opens();
    snprintf(path, sizeof path, "%s.quire-new", path_of(0));
    disk_set_close(&set, false, 0);
    cr_assert_eq(read_superblock(0, 0, &superblock), QUIRE_OK);
    superblock.generation = 0;
    quire_log_superblock_encode(&superblock, unused);
    for (unsigned i = 0; i < 2; i++) {
        put_file(path, unused, i == 0 ? 0 : sizeof unused, i == 0 ? 0 : (off_t)FILE_BYTES);
        cr_assert_eq(chmod(path, 0666), 0);
        put_file(path_of(0), "", 0, 0);
        opens();
        disk_set_close(&set, false, 0);
        cr_expect_neq(access(path, F_OK), 0);
        cr_assert_eq(stat(path_of(0), &facts), 0);
        cr_expect_eq(facts.st_mode & 0777, 0600, "left-over %u: %o", i, facts.st_mode & 0777);
    }
    cr_assert_eq(rename(path_of(0), path), 0); /* a member that somebody moved there is no left-over */
    put_file(path_of(0), "", 0, 0);
    refuses(QUIRE_CORRUPT, "log0.quire-new: has content that quired did not leave", "It was not touched: move it away");
    cr_assert_eq(rename(path, path_of(0)), 0);
    opens();
    cr_expect_not(set->fresh);
}

/* ---- links ---------------------------------------------------------------------------------------------------------------- */

/* A link to nothing, or to another file of the set that is still to be made: told as what it is, and nothing is made. */
Test(daemon_disk_set, dangling_links) {
    char command[200];
    snprintf(command, sizeof command, "mkdir '%s/d0' '%s/d1'", folder, folder);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(symlink(path_of(0), path_of(1)), 0);
    refuses(QUIRE_NOT_FOUND, "log1: is a symbolic link, and what it leads to is not there", "give the path itself");
    snprintf(command, sizeof command, "test -z \"$(find '%s' -type f)\"", folder);
    cr_expect_eq(system(command), 0, "something was left behind");
    cr_assert_eq(unlink(path_of(1)), 0);
    opens();
}

/* A link to a file on a drive: what is made anew is made there, where its space is wanted, and not in the place of the link. */
Test(daemon_disk_set, a_link_to_a_drive) {
    char drive[200];
    struct stat facts;
    opens();
    disk_set_close(&set, false, 0);
    snprintf(drive, sizeof drive, "%s/drive", folder);
    put_file(drive, "", 0, 0);
    cr_assert_eq(unlink(path_of(1)), 0);
    cr_assert_eq(symlink(drive, path_of(1)), 0);
    opens();
    cr_expect(set->files[1].in_use && set->files[1].fresh);
    cr_expect(lstat(path_of(1), &facts) == 0 && S_ISLNK(facts.st_mode));
    cr_assert_eq(stat(drive, &facts), 0);
    cr_expect_eq((uint64_t)facts.st_size, FILE_BYTES);
    reopens();
    cr_expect(set->files[1].in_use && !set->files[1].fresh);
}

/* Folders, pipes, a path below a file: no places for a log. */
Test(daemon_disk_set, wrong_kinds) {
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s", folder);
    refuses(QUIRE_INVALID, "is a folder: give the path of a file in it, such as ", "/log0");
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/pipe", folder);
    cr_assert_eq(mkfifo(path_of(0), 0600), 0);
    refuses(QUIRE_INVALID, "pipe: is not a regular file", "");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/socket", folder);
    snprintf(name.sun_path, sizeof name.sun_path, "%.90s", path_of(0));
    cr_assert_eq(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    refuses(QUIRE_INVALID, "socket: is not a regular file", "give the path of one");
    close(fd);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/pipe/log", folder);
    refuses(QUIRE_INVALID, "Not a directory", "give another path");
}

/* ---- superblocks ---------------------------------------------------------------------------------------------------------- */

/* One damaged copy, whichever: the other counts, nothing is lost, and the damaged one is good again. */
Test(daemon_disk_set, one_good_copy) {
    struct quire_log_superblock superblock;
    uint8_t id[16];
    opens();
    memcpy(id, set->files[0].file_id, sizeof id);
    mark(0, 3);
    for (unsigned round = 0; round < 6; round++) {
        uint64_t before = set->generation;
        disk_set_close(&set, round % 3 == 2, 5);
        damage(0, round % 2);
        opens();
        cr_expect_arr_eq(set->files[0].file_id, id, 16);
        cr_expect(set->files[0].in_use && !set->files[0].fresh && is_marked(0, 3));
        cr_expect_gt(set->generation, before, "no generation comes twice, or sequence numbers would");
        cr_expect_eq(read_superblock(0, round % 2, &superblock), QUIRE_OK, "round %u", round);
    }
}

/* Both damaged: refused, and not formatted. */
Test(daemon_disk_set, no_good_copy) {
    opens();
    disk_set_close(&set, false, 0);
    mark(0, 0);
    damage(0, 0);
    damage(0, 1);
    refuses(QUIRE_CORRUPT, "log0: has content, but no superblock of Quire that is whole", "move it away");
    cr_expect(is_marked(0, 0));
}

/* Power fails while a superblock is written: whatever sectors of it are on disk, one copy is whole. */
Test(daemon_disk_set, torn_superblocks) {
    uint8_t before[QUIRE_LOG_SUPERBLOCK_BYTES], after[QUIRE_LOG_SUPERBLOCK_BYTES], torn[QUIRE_LOG_SUPERBLOCK_BYTES], id[16];
    name_files(1);
    for (unsigned border = 0; border <= QUIRE_LOG_SUPERBLOCK_BYTES / 512; border++) {
        for (unsigned side = 0; side < 3; side++) { /* the new sectors before the border, or behind it; or rubbish before it */
            opens();
            memcpy(id, set->files[0].file_id, sizeof id);
            uint32_t copy = set->files[0].next_copy;
            uint64_t generation = set->generation;
            disk_set_close(&set, false, 0);
            read_at(0, copy_at(copy), before, sizeof before);
            opens();
            disk_set_close(&set, false, 0);
            read_at(0, copy_at(copy), after, sizeof after);
            memcpy(torn, side == 0 ? before : after, sizeof torn);
            memcpy(torn, side == 0 ? after : before, border * 512u);
            if (side == 2) {
                memset(torn, 0xa5, border * 512u);
            }
            overwrite(0, copy_at(copy), torn, sizeof torn);
            opens();
            cr_expect_geq(set->generation, generation + 1);
            cr_expect_arr_eq(set->files[0].file_id, id, 16);
            cr_expect(!set->files[0].fresh && !set->fresh);
            disk_set_close(&set, false, 0);
        }
    }
}

/* Another version of the format is named, also when only one copy bears it: an upgrade may have stopped there. */
Test(daemon_disk_set, another_version) {
    static const uint32_t version = 9;
    opens();
    disk_set_close(&set, false, 0);
    overwrite(1, copy_at(1) + offsetof(struct quire_log_superblock, version), &version, sizeof version);
    refuses(QUIRE_VERSION, "log1: written by another version of Quire (format 9, this one reads 1)",
            "start that version, or move the files");
}

/* A superblock, whole, of a generation that leaves no higher one for this start and the stop after it: refused, with a remedy, before anything is written. One that
   does is counted on from. */
Test(daemon_disk_set, no_higher_generation) {
    struct quire_log_superblock superblock, before;
    opens();
    disk_set_close(&set, false, 0);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(read_superblock(i, 0, &superblock), QUIRE_OK);
        superblock.generation = QUIRE_LOG_GENERATIONS - 2;
        write_superblock(i, 0, &superblock);
    }
    refuses(QUIRE_CORRUPT, "log0: its set says that it was opened 8388606 times", "to begin anew");
    cr_assert_eq(read_superblock(1, 1, &before), QUIRE_OK);
    cr_expect_eq(before.generation, 1, "nothing was written");
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(read_superblock(i, 1, &superblock), QUIRE_OK);
        superblock.generation = QUIRE_LOG_GENERATIONS - 3;
        write_superblock(i, 0, &superblock);
    }
    opens();
    cr_expect_eq(set->generation, QUIRE_LOG_GENERATIONS - 2);
    disk_set_close(&set, true, 7);
    cr_assert_eq(read_superblock(0, 0, &superblock), QUIRE_OK);
    cr_expect_eq(superblock.generation, QUIRE_LOG_GENERATIONS - 1, "the stop's can be read, too");
}

/* ---- configurations that contradict the files ------------------------------------------------------------------------------ */

Test(daemon_disk_set, changed_sizes) {
    opens();
    config.disk.segment_bytes = 2 * SEGMENT_BYTES;
    refuses(QUIRE_MISMATCH, "log0: was made with segments of 1MiB, disk.segment_bytes is 2MiB now", "to begin anew, move the files");
    config.disk.segment_bytes = SEGMENT_BYTES;
    config.files[1].size_bytes *= 2;
    refuses(QUIRE_MISMATCH, "log1: was made with a size of 8MiB, the configuration says 16MiB: set it back to 8MiB", "to begin anew");
    name_files(3);
    refuses(QUIRE_MISMATCH, "log0: its set was made of 2 files, the configuration names 3", "name all of them");
    name_files(1);
    refuses(QUIRE_MISMATCH, "log0: its set was made of 2 files, the configuration names 1", "");
    name_files(2);
    cr_assert_eq(unlink(path_of(0)), 0);
    config.files[0].size_bytes *= 2;
    refuses(QUIRE_MISMATCH, "log1: begins at segment 8 of its set, by the configuration at 16", "set the sizes back");
}

/* A file of another set, and a copy of one of this. */
Test(daemon_disk_set, mixed_sets) {
    char command[1000], kept[200];
    opens();
    disk_set_close(&set, false, 0);
    snprintf(kept, sizeof kept, "%s/kept", folder);
    snprintf(command, sizeof command, "mv '%s/d1' '%s' && rm -rf '%s/d0'", folder, kept, folder);
    cr_assert_eq(system(command), 0);
    opens();
    disk_set_close(&set, false, 0);
    snprintf(config.files[1].path, sizeof config.files[1].path, "%s/log1", kept);
    refuses(QUIRE_MISMATCH, "kept/log1: belongs to another set of files than ", "/d0/log0: name the files of one set");
    name_files(2);
    snprintf(command, sizeof command, "cp '%s' '%s'", path_of(0), path_of(1));
    cr_assert_eq(system(command), 0);
    refuses(QUIRE_MISMATCH, "log1: is a copy of ", "(both say that they are file 0 of the set): move one of them away");
}

/* ---- files that fail ------------------------------------------------------------------------------------------------------- */

/* A drive is not there: the others go on. When it comes back it is made anew: what it holds may have been deleted meanwhile. */
Test(daemon_disk_set, missing_and_back) {
    char away[200];
    uint8_t id[16];
    opens();
    memcpy(id, set->files[1].file_id, sizeof id);
    mark(0, 2);
    mark(1, 2);
    disk_set_close(&set, true, 3);
    snprintf(away, sizeof away, "%s/away", folder);
    cr_assert_eq(rename(path_of(1), away), 0);
    opens();
    cr_expect(set->files[0].in_use && !set->files[1].in_use && !set->clean && is_marked(0, 2));
    cr_expect_not_null(strstr(set->files[1].why, "it is missing: mount its file system"), "%s", set->files[1].why);
    cr_expect_neq(access(path_of(1), F_OK), 0, "nothing is made in the place of a drive that is not mounted");
    cr_expect_eq(set->n_segments, 2 * SEGMENTS, "segments keep their numbers");
    disk_set_close(&set, false, 0);
    cr_assert_eq(rename(away, path_of(1)), 0);
    opens();
    cr_expect(set->files[1].in_use && set->files[1].fresh && !is_marked(1, 2) && is_marked(0, 2) && !set->files[0].fresh);
    cr_expect_neq(memcmp(set->files[1].file_id, id, sizeof id), 0);
    reopens();
    cr_expect(set->files[1].in_use && !set->files[1].fresh, "from now on it is a member as others");
}

/*
 * Every file is gone and only metadata is left, beside whichever file the configuration names first now: there was a set. Nothing is made in its place, so
 * that nothing that was deleted meanwhile comes back with it. Empty files, or no metadata, say that it is meant.
 */
Test(daemon_disk_set, all_missing) {
    char away[2][200], meta[CONFIG_FILE_PATH_MAX + 8];
    opens();
    disk_set_close(&set, true, 3);
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(away[i], sizeof away[i], "%s/away%u", folder, i);
        cr_assert_eq(rename(path_of(i), away[i]), 0);
    }
    refuses(QUIRE_NOT_FOUND, "log0: is missing, and so is every other file of its set, but its metadata", "mount what they lie on");
    struct config_file file = config.files[0];
    config.files[0] = config.files[1], config.files[1] = file;
    refuses(QUIRE_NOT_FOUND, "d0/log0.meta is there", "to begin anew, move the metadata away");
    cr_expect(access(path_of(0), F_OK) != 0 && access(path_of(1), F_OK) != 0, "something was made");
    cr_assert_eq(rename(away[0], path_of(1)), 0);
    cr_assert_eq(rename(away[1], path_of(0)), 0);
    opens();
    cr_expect(!set->fresh && set->clean, "put back, it is what it was");
    snprintf(meta, sizeof meta, "%s", set->meta_path);
    disk_set_close(&set, false, 0);
    name_files(2);
    put_file(path_of(0), "", 0, 0);
    put_file(path_of(1), "", 0, 0);
    opens();
    cr_expect(set->fresh);
    disk_set_close(&set, false, 0);
    cr_assert(unlink(path_of(0)) == 0 && unlink(path_of(1)) == 0);
    refuses(QUIRE_NOT_FOUND, "but its metadata", "");
    cr_assert_eq(unlink(meta), 0);
    opens();
    cr_expect(set->fresh);
}

/* Who says that there is a set gets it, or a refusal: also when nothing is left of it but the folder that it was mounted on. */
Test(daemon_disk_set, no_new_set) {
    config.disk.new_set = false;
    refuses(QUIRE_NOT_FOUND, "log0: is missing, as every file of the set is, and disk.new_set is false",
            "start once with --set disk.new_set=true");
    cr_expect_neq(access(path_of(0), F_OK), 0);
    config.disk.new_set = true;
    opens();
    config.disk.new_set = false;
    reopens();
    cr_expect_not(set->fresh);
}

/* A new drive in its place: an empty file says so. Also for the first file, whose metadata is still there. */
Test(daemon_disk_set, replaced) {
    opens();
    for (uint32_t i = 0; i < 2; i++) {
        mark(1 - i, 1);
        disk_set_close(&set, false, 0);
        put_file(path_of(i), "", 0, 0);
        opens();
        cr_expect(set->files[i].fresh && set->files[i].in_use && !set->fresh && !set->files[1 - i].fresh && is_marked(1 - i, 1));
    }
}

/* An operator takes a file out while the daemon runs: it stays out until it is made anew. */
Test(daemon_disk_set, taken_out) {
    uint8_t *bytes;
    size_t size;
    opens();
    mark(1, 0);
    disk_set_take_out(set, 1, "16 reads failed");
    cr_expect(!set->files[1].in_use && strcmp(set->files[1].why, "16 reads failed") == 0);
    cr_assert_eq(disk_set_encode_meta(set, 1, 0, NULL, 0, NULL, 0, &bytes, &size), QUIRE_OK);
    cr_assert_eq(disk_meta_save(set->meta_path, bytes, size, why, sizeof why), QUIRE_OK);
    free(bytes);
    reopens();
    cr_expect(set->files[1].in_use && set->files[1].fresh && !is_marked(1, 0));
}

/* A copy from long ago put in the place of a member: older than what the metadata knows. */
Test(daemon_disk_set, an_old_copy) {
    char command[1000];
    name_files(1);
    opens();
    mark(0, 0);
    disk_set_close(&set, false, 0);
    snprintf(command, sizeof command, "cp '%s' '%s/old'", path_of(0), folder);
    cr_assert_eq(system(command), 0);
    for (unsigned i = 0; i < 3; i++) {
        opens();
        disk_set_close(&set, false, 0);
    }
    snprintf(command, sizeof command, "cp '%s/old' '%s'", folder, path_of(0));
    cr_assert_eq(system(command), 0);
    opens();
    cr_expect(set->files[0].fresh && !is_marked(0, 0) && set->generation == 5);
}

/* Cut short, wherever: made anew. What the rest holds may have been deleted, and the end was where that stood. */
Test(daemon_disk_set, cut_short) {
    static const uint64_t lengths[] = {FILE_BYTES - 1,
                                       QUIRE_LOG_FIRST_SEGMENT + 5 * SEGMENT_BYTES,
                                       QUIRE_LOG_FIRST_SEGMENT,
                                       QUIRE_LOG_SUPERBLOCK_STRIDE + QUIRE_LOG_SUPERBLOCK_BYTES,
                                       QUIRE_LOG_SUPERBLOCK_STRIDE,
                                       QUIRE_LOG_SUPERBLOCK_BYTES};
    struct stat facts;
    opens();
    mark(1, 0);
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(lengths); i++) {
        mark(0, 0);
        disk_set_close(&set, true, 9);
        cr_assert_eq(truncate(path_of(0), (off_t)lengths[i]), 0);
        opens();
        cr_assert_eq(stat(path_of(0), &facts), 0);
        cr_expect_eq((uint64_t)facts.st_size, FILE_BYTES);
        cr_expect(set->files[0].in_use && set->files[0].fresh && !is_marked(0, 0) && !set->clean);
        cr_expect(set->files[1].in_use && !set->files[1].fresh && is_marked(1, 0));
    }
    disk_set_close(&set, false, 0);
    cr_assert_eq(truncate(path_of(0), (off_t)FILE_BYTES / 2), 0);
    fail_fallocate = ENOSPC;
    opens();
    cr_expect(!set->files[0].in_use && set->files[1].in_use);
    cr_expect_not_null(strstr(set->files[0].why, "are free on its file system: make room"), "%s", set->files[0].why);
}

/* A drive that answers with errors is left out while another works, and a set of one is refused. */
Test(daemon_disk_set, silent_drives) {
    opens();
    fail_path = "log1";
    fail_open = EIO;
    reopens();
    cr_expect(!set->files[1].in_use && strstr(set->files[1].why, "Input/output error") != NULL);
    fail_open = EROFS;
    reopens();
    cr_expect(!set->files[1].in_use && strstr(set->files[1].why, "Read-only file system") != NULL);
    fail_open = 0;
    reopens();
    cr_expect(set->files[1].in_use && set->files[1].fresh);
    fail_sync = EIO;
    reopens();
    cr_expect(!set->files[1].in_use && strstr(set->files[1].why, "its superblock cannot be written (Input/output error)") != NULL);
    fail_path = "log0";
    cr_assert_eq(unlink(path_of(1)), 0);
    refuses(QUIRE_SYSTEM, "log1: it is missing", "No other file of the set can be used either");
    fail_sync = 0;
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/fresh/log0", folder);
    fail_open = EIO;
    refuses(QUIRE_SYSTEM, "fresh/log0: cannot be opened for reading and writing (Input/output error)", "give another path");
}

/* Without the right to read and write a file there is a mistake to be told, not a drive to be left out. */
Test(daemon_disk_set, denied) {
    opens();
    fail_path = "log1";
    fail_open = EACCES;
    refuses(QUIRE_DENIED, "log1: user ", "may not read and write it (Permission denied): change its owner, or give another path");
    fail_path = "";
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/elsewhere/log0", folder);
    fail_path = "log0.quire-new";
    refuses(QUIRE_DENIED, "log0: cannot be made (Permission denied): its folder must be one that user ", "can write to");
}

/* A folder cannot be made. */
Test(daemon_disk_set, no_folder) {
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "/proc/quire/log0");
    refuses(QUIRE_SYSTEM, "folder /proc/quire cannot be made", "make it, or give another path");
}

/* ---- room ------------------------------------------------------------------------------------------------------------------ */

/* Less room than a file takes: what is free is told as it was, and none of it is taken, not for a moment: others write to that file system, too. */
Test(daemon_disk_set, too_little_room) {
    free_bytes = 6 << 20;
    refuses(QUIRE_FULL, "log0: needs 9 MiB, 6 MiB are free on its file system: make room", "");
    cr_expect_eq(allocations, 0, "the file system was filled");
    free_bytes = FILE_BYTES;
    opens();
    cr_expect_eq(allocations, 2);
}

/* No room: told how much is wanted and how much is free, and nothing stays behind. */
Test(daemon_disk_set, no_room) {
    char command[200];
    fail_fallocate = ENOSPC;
    refuses(QUIRE_FULL, "log0: needs 9 MiB, ", "are free on its file system: make room, or give a smaller size or another path");
    fail_fallocate = EFBIG;
    refuses(QUIRE_SYSTEM, "cannot be given its size (File too large)", "give several smaller ones");
    snprintf(command, sizeof command, "test -z \"$(find '%s' -type f)\"", folder);
    cr_expect_eq(system(command), 0);
    fail_fallocate = EOPNOTSUPP; /* some file systems give space only as it is written */
    opens();
    cr_expect(set->files[0].in_use);
}

/* A file system without O_DIRECT: buffered, and told why. */
Test(daemon_disk_set, no_direct) {
    fail_direct = EINVAL;
    opens();
    cr_expect_not(set->files[0].direct);
    cr_expect_not_null(strstr(set->files[0].why, "buffered, because its file system has no O_DIRECT (Invalid argument)"), "%s",
                       set->files[0].why);
    cr_expect_eq(set->geometry.unit_bytes, 4096);
    fail_direct = 0;
    reopens();
    cr_expect(set->files[0].in_use);
}

/* ---- metadata -------------------------------------------------------------------------------------------------------------- */

/* Without the metadata, or with another's, the set is refused as it is. */
Test(daemon_disk_set, metadata_gone) {
    char meta[CONFIG_FILE_PATH_MAX + 8], kept[200];
    opens();
    mark(0, 0);
    snprintf(meta, sizeof meta, "%s", set->meta_path);
    snprintf(kept, sizeof kept, "%s/kept", folder);
    disk_set_close(&set, false, 0);
    cr_assert_eq(rename(meta, kept), 0);
    refuses(QUIRE_NOT_FOUND, "log0.meta: No such file or directory. It tells which namespaces there are", "put it back; to begin anew");
    put_file(meta, "rubbish", 7, 200);
    refuses(QUIRE_CORRUPT, "log0.meta: damaged", "put it back");
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/other/log0", folder);
    opens();
    char other[CONFIG_FILE_PATH_MAX + 8];
    snprintf(other, sizeof other, "%s", set->meta_path);
    disk_set_close(&set, false, 0);
    cr_assert_eq(rename(other, meta), 0);
    name_files(2);
    refuses(QUIRE_MISMATCH, "log0.meta: belongs to another set of files", "");
    cr_assert_eq(rename(kept, meta), 0);
    opens();
    cr_expect(is_marked(0, 0) && !set->files[0].fresh);
}

/* ---- crashes --------------------------------------------------------------------------------------------------------------- */

/* Dies at its nth step; false: it came through. */
static bool dies(unsigned nth) {
    int outcome;
    pid_t child = fork();
    if (child == 0) {
        steps = 0;
        die_at = nth;
        enum quire_status status = disk_set_open(&config, &set, why, sizeof why);
        die_at = 0;
        _exit(status == QUIRE_OK ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &outcome, 0), child);
    cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) != 1, "step %u", nth);
    return WEXITSTATUS(outcome) == 7;
}

/* The power fails at each step of the first start, and of every later one: the next start comes through, and loses nothing. */
Test(daemon_disk_set, crashes_while_starting) {
    char command[200];
    unsigned nth = 1;
    for (bool died = true; died; nth++) {
        snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
        cr_assert_eq(system(command), 0);
        died = dies(nth);
        opens();
        cr_expect(set->files[0].in_use && set->files[1].in_use);
        disk_set_close(&set, false, 0);
    }
    cr_expect_gt(nth, 8);
    opens();
    mark(0, 4);
    mark(1, 4);
    uint64_t generation = set->generation;
    disk_set_close(&set, false, 0);
    nth = 1;
    for (bool died = true; died; nth++) {
        died = dies(nth);
        opens();
        cr_expect(!set->fresh && is_marked(0, 4) && is_marked(1, 4) && set->generation > generation, "after step %u", nth);
        generation = set->generation;
        disk_set_close(&set, false, 0);
    }
    cr_expect_gt(nth, 3);
}

/* The power fails at each step at which a file that had been out of use is made anew. */
Test(daemon_disk_set, crashes_while_remaking) {
    unsigned nth = 1;
    opens();
    mark(0, 4);
    for (bool died = true; died; nth++) {
        disk_set_close(&set, false, 0);
        put_file(path_of(1), "", 0, 0);
        died = dies(nth);
        opens();
        cr_expect(is_marked(0, 4) && !set->files[0].fresh && set->files[1].in_use, "after step %u", nth);
    }
    cr_expect_gt(nth, 6);
}
