/* The metadata file: read whole, replaced whole, whatever happens in between. */
#include "daemon/disk/meta.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/quire-meta-XXXXXX";
static char path[128], beside[160];
static char why[512];
static uint8_t set_id[16] = {1, 2, 3};

/* ---- the system, as bad as a test wants it -------------------------------------------------------------------------------- */
static bool die_before_rename;
static int fail_fsync, fail_rename;

int rename(const char *from, const char *to);
int rename(const char *from, const char *to) {
    if (die_before_rename) {
        _exit(7);
    }
    if (fail_rename != 0) {
        errno = fail_rename;
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int fsync(int fd);
int fsync(int fd) {
    if (fail_fsync != 0) {
        errno = fail_fsync;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static void set_up(void) {
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log0.meta", folder);
    snprintf(beside, sizeof beside, "%s.new", path);
    why[0] = '\0';
}

static void tear_down(void) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_expect_eq(system(command), 0);
}
TestSuite(daemon_disk_meta, .init = set_up, .fini = tear_down);

static void make(uint32_t next_serial, uint8_t **bytes, size_t *size) {
    static const uint8_t layout[40] = {9};
    struct quire_meta_item item = {.serial = 3,
                                   .name = "chat",
                                   .name_bytes = 4,
                                   .domain = "default",
                                   .domain_bytes = 7,
                                   .layout = layout,
                                   .layout_bytes = sizeof layout};
    struct quire_meta_pin pin = {.serial = 3, .pins = 2};
    uint8_t files[2][16] = {{11}, {0}};
    struct quire_meta_head head = {.generation = 5, .next_serial = next_serial, .n_namespaces = 1, .n_pins = 1, .n_files = 2};
    memcpy(head.set_id, set_id, sizeof set_id);
    cr_assert_eq(disk_meta_encode(&head, &item, &pin, (const uint8_t(*)[16])files, bytes, size), QUIRE_OK);
}

static enum quire_status save(uint32_t next_serial) {
    uint8_t *bytes;
    size_t size;
    make(next_serial, &bytes, &size);
    enum quire_status status = disk_meta_save(path, bytes, size, why, sizeof why);
    free(bytes);
    return status;
}

/* next_serial of what is there, 0 when it is refused. */
static uint32_t load(enum quire_status expected) {
    uint8_t *bytes;
    size_t size;
    enum quire_status status = disk_meta_load(path, set_id, &bytes, &size, why, sizeof why);
    cr_expect_eq(status, expected, "%d: %s", status, why);
    uint32_t next_serial = status == QUIRE_OK ? quire_meta_head_of(bytes)->next_serial : 0;
    cr_expect_eq(bytes != NULL, status == QUIRE_OK);
    free(bytes);
    return next_serial;
}

static void says(const char *expected) { cr_expect_not_null(strstr(why, expected), "'%s' does not say '%s'", why, expected); }

/* What is saved is what is loaded, and nobody else can read it. */
Test(daemon_disk_meta, comes_back) {
    struct stat facts;
    cr_assert_eq(save(8), QUIRE_OK, "%s", why);
    cr_expect_eq(load(QUIRE_OK), 8);
    cr_assert_eq(save(9), QUIRE_OK, "%s", why);
    cr_expect_eq(load(QUIRE_OK), 9);
    cr_assert_eq(stat(path, &facts), 0);
    cr_expect_eq(facts.st_mode & 0777, 0600);
    cr_expect_neq(access(beside, F_OK), 0);
}

static void die(void) {
    die_before_rename = true;
    save(9);
    _exit(0);
}

/* The power fails when the new file is whole but has no name yet: the old one is there, and the next one is saved over the rest. */
Test(daemon_disk_meta, crash_between_writing_and_renaming) {
    int outcome;
    cr_assert_eq(save(8), QUIRE_OK);
    pid_t child = fork();
    if (child == 0) {
        die();
    }
    cr_assert_eq(waitpid(child, &outcome, 0), child);
    cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) == 7);
    cr_expect_eq(access(beside, F_OK), 0, "what the crash left");
    cr_expect_eq(load(QUIRE_OK), 8);
    cr_assert_eq(save(10), QUIRE_OK, "%s", why);
    cr_expect_eq(load(QUIRE_OK), 10);
    cr_expect_neq(access(beside, F_OK), 0);
}

/* A half-written one beside it is never taken for it. */
Test(daemon_disk_meta, half_of_a_new_one) {
    cr_assert_eq(save(8), QUIRE_OK);
    FILE *file = fopen(beside, "w");
    fputs("QLMDhalf", file);
    fclose(file);
    cr_expect_eq(load(QUIRE_OK), 8);
    cr_assert_eq(save(9), QUIRE_OK);
    cr_expect_eq(load(QUIRE_OK), 9);
}

/* A drive that fails, or is full, leaves the old one, and says so. */
Test(daemon_disk_meta, failures_leave_the_old_one) {
    cr_assert_eq(save(8), QUIRE_OK);
    fail_fsync = EIO;
    cr_expect_eq(save(9), QUIRE_SYSTEM);
    says("log0.meta: cannot be replaced (Input/output error)");
    fail_fsync = ENOSPC;
    cr_expect_eq(save(9), QUIRE_FULL);
    says("make room on its file system");
    fail_fsync = 0;
    fail_rename = EROFS;
    cr_expect_eq(save(9), QUIRE_SYSTEM);
    says("Read-only file system");
    fail_rename = 0;
    cr_expect_neq(access(beside, F_OK), 0, "nothing is left behind");
    cr_expect_eq(load(QUIRE_OK), 8);
}

/* The same once more brings it back. */
static void flip(long at, int bits) {
    FILE *file = fopen(path, "r+");
    cr_assert_eq(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    cr_assert_eq(fseek(file, at, SEEK_SET), 0);
    fputc(byte ^ bits, file);
    fclose(file);
}

/* What is not a whole metadata file of this set is refused, each with its reason. */
Test(daemon_disk_meta, refusals) {
    struct stat facts;
    load(QUIRE_NOT_FOUND);
    says("No such file");
    cr_assert_eq(save(8), QUIRE_OK);
    cr_assert_eq(stat(path, &facts), 0);
    for (off_t size = facts.st_size - 1; size > 0; size -= size > 40 ? 7 : 1) {
        cr_assert_eq(truncate(path, size), 0);
        load(QUIRE_CORRUPT);
    }
    says("damaged");
    cr_assert_eq(truncate(path, 0), 0);
    load(QUIRE_CORRUPT);
    says("its size is 0");
    cr_assert_eq(save(8), QUIRE_OK);
    for (long at = 0; at < facts.st_size; at++) {
        flip(at, 0x10);
        load(at >= 4 && at < 8 ? QUIRE_VERSION : QUIRE_CORRUPT);
        flip(at, 0x10);
    }
    cr_expect_eq(load(QUIRE_OK), 8);
    flip(4, 6);
    load(QUIRE_VERSION);
    says("another version of Quire (format 7, this one reads 1)");
    cr_assert_eq(save(8), QUIRE_OK);
    set_id[0] = 99;
    load(QUIRE_MISMATCH);
    says("another set of files");
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    load(QUIRE_CORRUPT);
    snprintf(path, sizeof path, "%s/none/log0.meta", folder);
    cr_expect_eq(save(8), QUIRE_SYSTEM);
}
