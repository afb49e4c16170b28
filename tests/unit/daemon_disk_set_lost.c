/*
 * Files of the disk tier that are gone for a while, replaced, cut short or silent, and power that fails on the way: the rest goes on, and
 * what may be out of date does not come back.
 */
#include "tests/unit/daemon_disk_set_rig.h"

#include <sys/wait.h>

TestSuite(daemon_disk_set_lost, .init = set_up, .fini = tear_down);

/* ---- files that fail ------------------------------------------------------------------------------------------------------- */

/* A drive is not there: the others go on. When it comes back it is made anew: what it holds may have been deleted meanwhile. */
Test(daemon_disk_set_lost, missing_and_back) {
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
Test(daemon_disk_set_lost, all_missing) {
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
    refuses(QUIRE_NOT_FOUND, "d1/log1.meta is there", "to begin anew, move the metadata away");
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
    refuses(QUIRE_NOT_FOUND, "but its metadata", "log1.meta is there");
    snprintf(meta, sizeof meta, "%s.meta", path_of(1));
    cr_assert_eq(unlink(meta), 0);
    opens();
    cr_expect(set->fresh);
}

/* Who says that there is a set gets it, or a refusal: also when nothing is left of it but the folder that it was mounted on. */
Test(daemon_disk_set_lost, no_new_set) {
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
Test(daemon_disk_set_lost, replaced) {
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
Test(daemon_disk_set_lost, taken_out) {
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
Test(daemon_disk_set_lost, an_old_copy) {
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
Test(daemon_disk_set_lost, cut_short) {
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
Test(daemon_disk_set_lost, silent_drives) {
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
Test(daemon_disk_set_lost, denied) {
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
Test(daemon_disk_set_lost, no_folder) {
    name_files(1);
    snprintf(config.files[0].path, sizeof config.files[0].path, "/proc/quire/log0");
    refuses(QUIRE_SYSTEM, "folder /proc/quire cannot be made", "make it, or give another path");
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
Test(daemon_disk_set_lost, crashes_while_starting) {
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
Test(daemon_disk_set_lost, crashes_while_remaking) {
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
