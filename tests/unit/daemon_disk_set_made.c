/* Making the files of the disk tier: what is somebody else's stays as it is, what cannot be made is told, and nothing is left behind. */
#include "tests/unit/daemon_disk_set_rig.h"

#include <sys/socket.h>
#include <sys/un.h>

TestSuite(daemon_disk_set_made, .init = set_up, .fini = tear_down);

/* ---- what must not be touched --------------------------------------------------------------------------------------------- */

/* Content that is not Quire's is never formatted, also when it begins with nothing. */
Test(daemon_disk_set_made, foreign_content) {
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
Test(daemon_disk_set_made, foreign_content_beside) {
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
Test(daemon_disk_set_made, foreign_content_beside_a_set) {
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
Test(daemon_disk_set_made, left_overs) {
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
Test(daemon_disk_set_made, dangling_links) {
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
Test(daemon_disk_set_made, a_link_to_a_drive) {
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
Test(daemon_disk_set_made, wrong_kinds) {
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

/* ---- room ------------------------------------------------------------------------------------------------------------------ */

/* Less room than a file takes: what is free is told as it was, and none of it is taken, not for a moment: others write to that file system, too. */
Test(daemon_disk_set_made, too_little_room) {
    free_bytes = 6 << 20;
    refuses(QUIRE_FULL, "log0: needs 9 MiB, 6 MiB are free on its file system: make room", "");
    cr_expect_eq(allocations, 0, "the file system was filled");
    free_bytes = FILE_BYTES;
    opens();
    cr_expect_eq(allocations, 2);
}

/* No room: told how much is wanted and how much is free, and nothing stays behind. */
Test(daemon_disk_set_made, no_room) {
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
Test(daemon_disk_set_made, no_direct) {
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
