/* Files and metadata of different times side by side: what a crash leaves is used as it is, everything else is refused, or made anew. */
#include "tests/unit/daemon_disk_set_rig.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

/* The superblock that is being written and not synced, as the process that dies tells the one that goes on. */
struct writing {
    bool now;
    ino_t file;
    off_t offset;
};
static struct writing *writing;

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    struct stat facts;
    if (writing != NULL && fstat(fd, &facts) == 0) {
        *writing = (struct writing){.now = true, .file = facts.st_ino, .offset = offset};
    }
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

int fsync(int fd) { /* of the metadata and its folder */
    if (writing != NULL) {
        writing->now = false;
    }
    step();
    return (int)syscall(SYS_fsync, fd);
}

static void set_up_all(void) {
    set_up();
    writing = mmap(NULL, sizeof *writing, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(writing, MAP_FAILED);
}
TestSuite(daemon_disk_generations, .init = set_up_all, .fini = tear_down);

/* A start whose power fails at its nth step; false: it came through. `torn`: of the superblock that was being written there is half. */
static bool dies(unsigned nth, bool torn) {
    int outcome;
    struct stat facts;
    pid_t child = fork();
    if (child == 0) {
        *writing = (struct writing){.now = false};
        steps = 0;
        die_at = nth;
        enum quire_status status = disk_set_open(&config, &set, why, sizeof why);
        die_at = 0;
        _exit(status == QUIRE_OK ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &outcome, 0), child);
    cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) != 1, "step %u", nth);
    bool died = WEXITSTATUS(outcome) == 7;
    struct writing last = *writing;
    for (uint32_t i = 0; died && torn && last.now && i < config.n_files; i++) {
        cr_assert_eq(stat(path_of(i), &facts), 0);
        if (facts.st_ino == last.file) {
            damage(i, (uint32_t)(last.offset / QUIRE_LOG_SUPERBLOCK_STRIDE));
        }
    }
    return died;
}

static void copy(const char *from, const char *to) {
    int source = open(from, O_RDONLY | O_CLOEXEC), target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = 1;
    while (source >= 0 && target >= 0 && n > 0) {
        n = sendfile(target, source, NULL, 1 << 20);
    }
    cr_assert_eq(n, 0, "%s", from);
    close(source);
    close(target);
}

/* The files of the set and its metadata as they are now, to be put back: by a name of their own. */
static const char *kept_path(uint32_t i, const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s%u", folder, name, i);
    return path;
}
static const char *meta_path(uint32_t i) {
    static char path[CONFIG_FILE_PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.meta", path_of(i));
    return path;
}
static void keep_meta(const char *name) {
    for (uint32_t i = 0; i < config.n_files; i++) {
        copy(meta_path(i), kept_path(90 + i, name));
    }
}
static void keep(const char *name) {
    for (uint32_t i = 0; i < config.n_files; i++) {
        copy(path_of(i), kept_path(i, name));
    }
    keep_meta(name);
}
static void put_back_file(uint32_t i, const char *name) { copy(kept_path(i, name), path_of(i)); }
static void put_back_meta(const char *name) {
    for (uint32_t i = 0; i < config.n_files; i++) {
        copy(kept_path(90 + i, name), meta_path(i));
    }
}

static void lives(bool clean) {
    opens();
    disk_set_close(&set, clean, clean ? 77 : 0);
}

/*
 * The power fails at any step of a start, and again at any step of the next: between the superblocks, the metadata, and the superblocks' other copies, also in the
 * midst of one. Whatever was written, the next start uses every file as it is. And whatever was there before such starts is known for old.
 */
static void crashes(bool clean, bool torn) {
    unsigned most = 0;
    for (unsigned first = 1; first < 12; first++) {
        for (unsigned second = 1; second < 12; second++) {
            lives(clean);
            keep_meta("old");
            bool died = dies(first, torn);
            died = dies(second, torn) && died;
            most = died && first > most ? first : most;
            opens();
            for (uint32_t i = 0; i < 2; i++) {
                cr_expect(set->files[i].in_use && !set->files[i].fresh && is_marked(i, 4), "file %u, steps %u and %u", i, first, second);
            }
            disk_set_close(&set, false, 0);
            keep_meta("new");
            put_back_meta("old");
            refuses(QUIRE_MISMATCH, "log0.meta: is older than", "");
            put_back_meta("new");
        }
    }
    cr_expect_eq(most, 10, "two copies of two files, and two of the metadata in three steps each: %u", most);
}

static void make_marked(void) {
    opens();
    mark(0, 4);
    mark(1, 4);
    disk_set_close(&set, false, 0);
}

Test(daemon_disk_generations, starts_after_crashes_of_starts) {
    make_marked();
    crashes(false, false);
}
Test(daemon_disk_generations, starts_after_crashes_of_starts_after_a_stop) {
    make_marked();
    crashes(true, false);
}
Test(daemon_disk_generations, starts_after_torn_superblocks) {
    make_marked();
    crashes(false, true);
}
Test(daemon_disk_generations, starts_after_torn_superblocks_after_a_stop) {
    make_marked();
    crashes(true, true);
}

/*
 * The refusal of a set without its metadata says: put it back. Somebody puts one back from before the last start. A namespace that was deleted since stands in it,
 * one that was made does not, and its number would be given once more: it is refused, whatever ended the lives before and after, and the files stay as they are.
 */
Test(daemon_disk_generations, old_metadata) {
    make_marked();
    for (unsigned round = 0; round < 4; round++) {
        lives((round & 1) != 0);
        keep("old");
        lives((round & 2) != 0);
        keep("new");
        put_back_meta("old");
        refuses(QUIRE_MISMATCH, "log0.meta: is older than", "Put the newest one back; to begin anew, move the files of the set");
        copy(kept_path(91, "new"), meta_path(1));
        refuses(QUIRE_MISMATCH, "log0.meta: is older than", "Put the newest one back; to begin anew, move the files of the set");
        put_back_meta("new");
        opens();
        cr_expect(is_marked(0, 4) && is_marked(1, 4) && !set->files[0].fresh && !set->files[1].fresh, "round %u", round);
        disk_set_close(&set, false, 0);
    }
}

/*
 * A file from before the last start is put back, from a backup or because a file system fell back: deletions of the last life are not in it. Both copies of its
 * superblock are whole, and its generation is one less than the metadata's. It is made anew, and the other files are used as they are.
 */
Test(daemon_disk_generations, old_file) {
    for (unsigned round = 0; round < 4; round++) {
        make_marked();
        lives((round & 1) != 0);
        keep("old");
        lives((round & 2) != 0);
        put_back_file(1, "old");
        opens();
        cr_expect(set->files[1].in_use && set->files[1].fresh && !is_marked(1, 4) && !set->clean, "round %u", round);
        cr_expect(set->files[0].in_use && !set->files[0].fresh && is_marked(0, 4), "round %u", round);
        disk_set_close(&set, false, 0);
        put_back_file(0, "old");
        put_back_file(1, "old");
        opens();
        cr_expect(set->files[0].fresh && set->files[1].fresh && !set->fresh, "both of them, round %u", round);
        disk_set_close(&set, false, 0);
    }
}

/* All of a backup together, files and metadata of one stop, is a state that was: it is used. */
Test(daemon_disk_generations, whole_backup) {
    make_marked();
    for (unsigned round = 0; round < 4; round++) {
        lives((round & 1) != 0);
        keep("old");
        lives((round & 2) != 0);
        for (uint32_t i = 0; i < 2; i++) {
            put_back_file(i, "old");
        }
        put_back_meta("old");
        opens();
        cr_expect(!set->files[0].fresh && !set->files[1].fresh && is_marked(0, 4), "round %u", round);
        cr_expect_eq(set->clean, (round & 1) != 0);
        disk_set_close(&set, false, 0);
    }
}

/* Either copy of a superblock goes bad after a crash, or after a stop: both told of the last start, and nothing is lost. */
Test(daemon_disk_generations, one_copy_damaged) {
    make_marked();
    for (unsigned round = 0; round < 4; round++) {
        lives((round & 1) != 0);
        damage(0, round >> 1);
        opens();
        cr_expect(set->files[0].in_use && !set->files[0].fresh && is_marked(0, 4), "round %u", round);
        disk_set_close(&set, false, 0);
    }
}
