/* The metadata beside every file of a set: which copy counts, whatever a crash, a dead drive or a person left of them. */
#include "daemon/disk/copies.h"
#include "tests/unit/daemon_disk_set_rig.h"

#include <sys/wait.h>

static const char *fail_new = "none"; /* whose drive, "/d0/", fails what is made new there */
static int fail_new_error;

int fsync(int fd) { /* of the metadata and its folder */
    char link[64], path[512];
    step();
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    if (strstr(path, fail_new) != NULL) {
        errno = fail_new_error;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

TestSuite(daemon_disk_copies, .init = set_up, .fini = tear_down);

static const char *meta_path(uint32_t i) {
    static char path[2][CONFIG_FILE_PATH_MAX + 8];
    snprintf(path[i % 2], sizeof path[0], "%s.meta", path_of(i));
    return path[i % 2];
}

static void move(const char *from, const char *to) { cr_assert_eq(syscall(SYS_rename, from, to), 0, "%s to %s", from, to); }

/* A drive as a whole, to be away or there. */
static void drive(uint32_t i, bool there) {
    char here[200], away[200];
    snprintf(here, sizeof here, "%s/d%u", folder, i);
    snprintf(away, sizeof away, "%s/away%u", folder, i);
    move(there ? away : here, there ? here : away);
}

/* Saves a picture that differs from others by what is told of serials. */
static enum quire_status save(uint32_t next_serial, struct copies_saved *saved) {
    uint8_t *bytes;
    size_t size;
    cr_assert_eq(disk_set_encode_meta(set, next_serial, 0, NULL, 0, NULL, 0, &bytes, &size), QUIRE_OK);
    enum quire_status status = copies_save(set, bytes, size, saved, why, sizeof why);
    free(bytes);
    return status;
}

/* As the daemon does: what was lost meanwhile is taken out of use. */
static void saves(uint32_t next_serial) {
    struct copies_saved saved;
    cr_assert_eq(save(next_serial, &saved), QUIRE_OK, "%s", why);
    for (uint32_t i = 0; i < set->n_files; i++) {
        if (saved.lost >> i & 1) {
            disk_set_take_out(set, i, "its metadata cannot be written");
        }
    }
}

static uint32_t counts(void) { return set->meta != NULL ? quire_meta_head_of(set->meta)->next_serial : 1; }

/* What the copy says, or 0. */
static uint32_t says(uint32_t i) {
    uint8_t *bytes;
    size_t size;
    char problem[CONFIG_FILE_PATH_MAX + 200];
    if (disk_meta_load(meta_path(i), NULL, &bytes, &size, problem, sizeof problem) != QUIRE_OK) {
        return 0;
    }
    uint32_t next_serial = quire_meta_head_of(bytes)->next_serial;
    free(bytes);
    return next_serial;
}

/*
 * The power fails at any step of a save. The next start has the picture of before or the new one, whole, and both drives have the same: so has one that lost the
 * other while it ran. What a save that ended well has told is never missing.
 */
Test(daemon_disk_copies, crashes_of_saves) {
    uint32_t serial = 1;
    opens();
    mark(0, 3);
    mark(1, 3);
    for (unsigned nth = 1, died = 1; died != 0; nth++) {
        int outcome;
        pid_t child = fork();
        if (child == 0) {
            struct copies_saved saved;
            steps = 0;
            die_at = nth;
            _exit(save(serial + 1, &saved) == QUIRE_OK ? 0 : 1);
        }
        cr_assert_eq(waitpid(child, &outcome, 0), child);
        cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) != 1, "step %u", nth);
        died = WEXITSTATUS(outcome) == 7;
        reopens();
        cr_expect(counts() == serial + 1 || (died && counts() == serial), "step %u: %u", nth, counts());
        serial = counts();
        cr_expect(says(0) == serial && says(1) == serial, "step %u: %u and %u", nth, says(0), says(1));
        cr_expect(is_marked(0, 3) && is_marked(1, 3), "step %u", nth);
        cr_assert_leq(nth, 7, "three steps each");
    }
}

/*
 * The drive of the first file dies while the daemon runs. Saving goes on, the first one to notice, too; the next start does without that drive and has the last
 * word. When it comes back with its old metadata, or that is all that is older, nothing of it counts: the file is made anew.
 */
Test(daemon_disk_copies, first_drive_dies) {
    for (uint32_t i = 0; i < 2; i++) {
        opens();
        uint32_t serial = counts();
        mark(1 - i, 3);
        saves(serial + 1);
        drive(i, false);
        saves(serial + 2);
        cr_expect(!set->files[i].in_use && set->files[1 - i].in_use, "file %u", i);
        saves(serial + 3);
        disk_set_close(&set, i == 1, 9);
        if (i == 0) {
            opens();
            cr_expect(!set->files[i].in_use && set->files[1 - i].in_use && is_marked(1 - i, 3));
            cr_expect_eq(counts(), serial + 3);
            disk_set_close(&set, false, 0);
        }
        drive(i, true);
        cr_expect_eq(says(i), serial + 1, "as it was when the drive died");
        opens();
        cr_expect_eq(counts(), serial + 3, "file %u: %u", i, counts());
        cr_expect(set->files[i].in_use && set->files[i].fresh && !set->files[1 - i].fresh && is_marked(1 - i, 3), "file %u", i);
        cr_expect(says(0) == serial + 3 && says(1) == serial + 3);
        disk_set_close(&set, false, 0);
    }
}

/* A drive dies in the midst of a save, and the power fails at any step of what follows: whoever comes back, the one that is left has the word, or nothing new was told. */
Test(daemon_disk_copies, dies_in_a_save_and_the_power_fails) {
    for (unsigned nth = 1, died = 1; died != 0; nth++) {
        int outcome;
        opens();
        uint32_t serial = counts();
        pid_t child = fork();
        if (child == 0) {
            struct copies_saved saved;
            fail_new = "/d0/";
            fail_new_error = EIO;
            steps = 0;
            die_at = nth;
            _exit(save(serial + 1, &saved) == QUIRE_OK && saved.lost == 1 ? 0 : 1);
        }
        cr_assert_eq(waitpid(child, &outcome, 0), child);
        cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) != 1, "step %u", nth);
        died = WEXITSTATUS(outcome) == 7;
        reopens();
        cr_expect(counts() == serial + 1 || (died && counts() == serial), "step %u: %u", nth, counts());
        cr_expect_eq(set->files[0].fresh, counts() == serial + 1, "step %u: what is told without a file counts without it", nth);
        disk_set_close(&set, false, 0);
        cr_assert_leq(nth, 5);
    }
}

/*
 * The first drive is away at a start, and nothing tells that it failed before: it may be the other one that had been taken out, and only the first knows. Refused.
 * Whoever has lost that drive says so by an empty file in its place, and the other one goes on.
 */
Test(daemon_disk_copies, first_drive_lost_while_away) {
    opens();
    mark(1, 3);
    saves(5);
    disk_set_close(&set, false, 0);
    drive(0, false);
    refuses(QUIRE_NOT_FOUND, "log0.meta: No such file or directory. It tells which namespaces there are",
            "put an empty file in the place of ");
    char path[200];
    snprintf(path, sizeof path, "%s/d0", folder);
    cr_assert_eq(mkdir(path, 0700), 0);
    put_file(path_of(0), "", 0, 0);
    opens();
    cr_expect(set->files[0].fresh && !set->files[1].fresh && is_marked(1, 3) && counts() == 5);
    cr_expect(says(0) == 5 && says(1) == 5);
}

/* The power fails at any step of the start that makes the first file anew, with nothing but the other's metadata: the next one comes through. */
Test(daemon_disk_copies, crashes_while_the_first_is_replaced) {
    opens();
    mark(1, 3);
    saves(5);
    disk_set_close(&set, false, 0);
    for (unsigned nth = 1, died = 1; died != 0; nth++) {
        int outcome;
        cr_assert(unlink(meta_path(0)) == 0 && unlink(path_of(0)) == 0);
        put_file(path_of(0), "", 0, 0);
        pid_t child = fork();
        if (child == 0) {
            steps = 0;
            die_at = nth;
            _exit(disk_set_open(&config, &set, why, sizeof why) == QUIRE_OK ? 0 : 1);
        }
        cr_assert_eq(waitpid(child, &outcome, 0), child);
        cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) != 1, "step %u", nth);
        died = WEXITSTATUS(outcome) == 7;
        opens();
        cr_expect(set->files[0].in_use && !set->files[1].fresh && is_marked(1, 3) && counts() == 5, "step %u", nth);
        disk_set_close(&set, false, 0);
        cr_assert_leq(nth, 30);
    }
}

/* A set with metadata beside the first file alone, as sets were made once: it starts as ever, and has both then. So does one whose second copy is old, or damaged. */
Test(daemon_disk_copies, other_copies_missing_or_old) {
    static const char rot[] = "rot";
    opens();
    mark(0, 3);
    mark(1, 3);
    for (uint32_t round = 0; round < 3; round++) {
        char old[200];
        snprintf(old, sizeof old, "%s/old", folder);
        uint32_t serial = counts();
        disk_set_close(&set, round == 1, 9);
        move(meta_path(1), old);
        opens();
        saves(serial + 1);
        disk_set_close(&set, round == 0, 9);
        cr_assert_eq(unlink(meta_path(1)), 0);
        if (round == 1) {
            move(old, meta_path(1));
        } else if (round == 2) {
            put_file(meta_path(1), rot, sizeof rot, 300);
        }
        opens();
        cr_expect(counts() == serial + 1 && says(0) == serial + 1, "round %u: %u", round, counts());
        cr_expect_eq(says(1), round == 2 ? 0 : serial + 1, "round %u: what is not ours by any sign is left alone", round);
        cr_expect(!set->files[0].fresh && !set->files[1].fresh && is_marked(0, 3) && is_marked(1, 3), "round %u", round);
    }
}

/* A set of an earlier daemon, the first file of which was out of use when it ended: the metadata beside that file is all there is, and tells it. */
Test(daemon_disk_copies, the_only_copy_beside_a_file_out_of_use) {
    uint8_t *bytes;
    size_t size;
    opens();
    mark(1, 3);
    disk_set_take_out(set, 0, "16 reads failed");
    cr_assert_eq(disk_set_encode_meta(set, 7, 0, NULL, 0, NULL, 0, &bytes, &size), QUIRE_OK);
    cr_assert_eq(disk_meta_save(meta_path(0), bytes, size, why, sizeof why), QUIRE_OK);
    free(bytes);
    disk_set_close(&set, false, 0);
    cr_assert_eq(unlink(meta_path(1)), 0);
    opens();
    cr_expect(counts() == 7 && set->files[0].fresh && !set->files[1].fresh && is_marked(1, 3));
    cr_expect(says(0) == 7 && says(1) == 7);
}

/* The two copies change places: of one moment they say the same. Where one drive had been left behind, the other's is not believed of the wrong file. */
Test(daemon_disk_copies, swapped) {
    char other[200];
    snprintf(other, sizeof other, "%s/other", folder);
    opens();
    mark(1, 3);
    saves(5);
    for (unsigned round = 0; round < 2; round++) {
        disk_set_close(&set, false, 0);
        move(meta_path(0), other);
        move(meta_path(1), meta_path(0));
        move(other, meta_path(1));
        if (round == 1) {
            refuses(QUIRE_MISMATCH, "log1.meta: is older than the other files' metadata", "Put the newest one back");
            return;
        }
        opens();
        cr_expect(counts() == 5 && is_marked(1, 3) && !set->files[1].fresh);
        fail_new = "/d0/";
        fail_new_error = EIO;
        saves(6);
        fail_new = "none";
        cr_expect(says(0) == 5 && says(1) == 6);
    }
}

/* Two starts, each with the other's drive away, would know of different deletions: together they are refused. */
Test(daemon_disk_copies, two_lives_at_once) {
    uint8_t id[16];
    opens();
    memcpy(id, set->files[1].file_id, sizeof id);
    disk_set_take_out(set, 1, "its drive is away");
    saves(5);
    memcpy(set->files[1].file_id, id, sizeof id);
    disk_set_take_out(set, 0, "its drive is away");
    saves(6);
    refuses(QUIRE_MISMATCH, "log1.meta: contradicts ", "Move away, with its metadata, the file that is to be forgotten; to begin anew");
}

/*
 * There is no room beside the second file: the save does without, and leaves no old copy there to be believed one day. Room again, it is kept again. Beside the
 * first it is waited for, as nothing else tells what the set is.
 */
Test(daemon_disk_copies, no_room) {
    struct copies_saved saved;
    opens();
    saves(5);
    fail_new = "log1.meta.new";
    fail_new_error = ENOSPC;
    saves(6);
    cr_expect(set->files[1].in_use && says(0) == 6 && access(meta_path(1), F_OK) != 0);
    reopens();
    cr_expect(set->files[1].in_use && counts() == 6);
    fail_new = "none";
    saves(7);
    cr_expect(says(0) == 7 && says(1) == 7);
    fail_new = "log0.meta.new";
    fail_new_error = ENOSPC;
    cr_expect_eq(save(8, &saved), QUIRE_FULL);
    cr_expect(saved.lost == 0 && set->files[0].in_use && says(0) == 7);
    fail_new = ".meta.new";
    fail_new_error = EIO;
    cr_expect_eq(save(8, &saved), QUIRE_SYSTEM, "no drive is left");
    cr_expect(saved.lost == 0 && strstr(why, "log0.meta: cannot be replaced (Input/output error)") != NULL, "%s", why);
}
