/*
 * A set of files through many lives: power fails at any step of a start or a stop, and tears the superblock that was being written; between two lives a copy of
 * a superblock rots, a file is away, or its superblocks are those of long ago. One such thing at a time loses nothing: no generation comes twice, what is a member stays
 * what it was, what was away or is of long ago is made anew, and a snapshot is believed only by the start that follows the stop which wrote it.
 */
#include "tests/unit/daemon_disk_set_rig.h"
#include "tests/unit/pager_random.h"

#include <sys/mman.h>
#include <sys/wait.h>

TestSuite(daemon_disk_set_lives, .init = set_up, .fini = tear_down);

#define WORLDS 6u
#define LIVES 30u
#define MARKED 4u /* a segment */

/* What a life did, for those after it. */
struct life {
    uint8_t before[QUIRE_LOG_SUPERBLOCK_BYTES]; /* a page: what the superblock was that was written last */
    char path[512];                             /* of its file; empty: none was */
    off_t at;
    unsigned written_at; /* steps before it: the next one is its sync */
    bool opened, closing, closed, clean, in_use[3];
    enum quire_status status;
    uint64_t generation, snapshot, closing_as;
    char why[1024];
};
static struct life *life;

static struct dice dice;
static uint64_t generation, stopped_as; /* the last one's; 0: no snapshot may be believed */
static bool whole_stop;                 /* and it must be */
static bool stays[3], goes[3];          /* what is marked: it must be there, it must not */
static uint32_t hidden;                 /* a file that is away; UINT32_MAX: none */
static uint8_t old[3][2][QUIRE_LOG_SUPERBLOCK_BYTES];
static uint64_t old_generation;

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at);
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    if (die_at > 0 && size == QUIRE_LOG_SUPERBLOCK_BYTES) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, life->path, sizeof life->path - 1);
        life->path[n > 0 ? n : 0] = '\0';
        memset(life->before, 0, sizeof life->before);
        life->at = at;
        life->written_at = steps;
        (void)!pread(fd, life->before, sizeof life->before, at);
    }
    return (ssize_t)syscall(SYS_pwrite64, fd, bytes, size, at);
}

/* ---- a life --------------------------------------------------------------------------------------------------------------- */
static void live(void) {
    life->status = disk_set_open(&config, &set, why, sizeof why);
    snprintf(life->why, sizeof life->why, "%s", why);
    if (life->status != QUIRE_OK) {
        _exit(1);
    }
    life->generation = set->generation;
    life->clean = set->clean;
    life->snapshot = set->snapshot;
    for (uint32_t i = 0; i < config.n_files; i++) {
        life->in_use[i] = set->files[i].in_use;
    }
    life->opened = true;
    life->closing = life->closing_as != 0;
    if (life->closing) {
        disk_set_close(&set, true, life->closing_as);
        life->closed = true;
    }
    _exit(0);
}

/* Of the superblock that was not synced yet some sectors are as before, or rubbish; not the first of a file that is being made, by which it is known as such. */
static void tear(void) {
    uint8_t sector[512];
    bool made = strstr(life->path, ".quire-new") != NULL;
    int fd = open(life->path, O_RDWR | O_CLOEXEC);
    for (uint32_t at = 0; fd >= 0 && at < QUIRE_LOG_SUPERBLOCK_BYTES; at += sizeof sector) {
        uint64_t fate = dice_below(&dice, made ? 2 : 3);
        memcpy(sector, life->before + at, sizeof sector);
        if (fate == 2) {
            memset(sector, 0xa5, sizeof sector);
        }
        cr_assert(fate == 0 || pwrite(fd, sector, sizeof sector, life->at + (off_t)at) == (ssize_t)sizeof sector);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void one_life(void) {
    int outcome;
    memset(life, 0, sizeof *life);
    life->closing_as = dice_below(&dice, 2) == 0 ? 1 + dice_below(&dice, 1000000) : 0;
    unsigned at = dice_below(&dice, 3) == 0 ? 1000 : 1 + (unsigned)dice_below(&dice, 14);
    pid_t child = fork();
    if (child == 0) {
        steps = 0;
        die_at = at;
        live();
    }
    cr_assert_eq(waitpid(child, &outcome, 0), child);
    cr_assert(WIFEXITED(outcome) && WEXITSTATUS(outcome) != 1, "status %d: %s", life->status, life->why);
    if (WEXITSTATUS(outcome) == 7 && life->path[0] != '\0' && life->written_at + 1 == at) {
        tear();
    }
}

/* ---- what must be true of it ---------------------------------------------------------------------------------------------- */
static void look_back(bool harmed) {
    if (life->opened) {
        cr_assert_gt(life->generation, generation, "generation %" PRIu64 " after %" PRIu64, life->generation, generation);
        cr_assert(!life->clean || (stopped_as != 0 && life->snapshot == stopped_as), "a snapshot is believed that was not the last stop's");
        cr_assert(life->clean || !whole_stop || harmed, "a stop in good order is not seen");
        generation = life->generation;
        stopped_as = 0;
    }
    whole_stop = life->opened ? life->closed : whole_stop && !harmed && life->path[0] == '\0';
    stopped_as = life->closing ? life->closing_as : stopped_as;
    for (uint32_t i = 0; i < config.n_files && life->opened; i++) {
        if (i == hidden) {
            cr_assert(!life->in_use[i]);
            stays[i] = false;
            goes[i] = true;
            whole_stop = false;
            continue;
        }
        cr_assert(life->in_use[i], "file %u", i);
        cr_assert(!stays[i] || is_marked(i, MARKED), "file %u lost what it held", i);
        cr_assert(!goes[i] || !is_marked(i, MARKED), "what file %u held came back", i);
        mark(i, MARKED);
        stays[i] = true;
        goes[i] = false;
    }
}

/* ---- between two lives ---------------------------------------------------------------------------------------------------- */
static void away(uint32_t i, char path[300]) { snprintf(path, 300, "%s/away%u", folder, i); }

static void hide_or_show(void) {
    char path[300];
    if (hidden != UINT32_MAX) {
        away(hidden, path);
        cr_assert_eq(rename(path, path_of(hidden)), 0);
        stays[hidden] = stays[hidden] && life->opened; /* a start that died may have said already that it is out of use */
        hidden = UINT32_MAX;
    } else if (config.n_files > 1) {
        hidden = (uint32_t)dice_below(&dice, config.n_files);
        away(hidden, path);
        cr_assert_eq(rename(path_of(hidden), path), 0);
    }
}

/* A life may have ended while it was made anew. */
static bool is_there(uint32_t i) {
    struct stat facts;
    return i != hidden && stat(path_of(i), &facts) == 0 && (uint64_t)facts.st_size == FILE_BYTES;
}

/* Not the only copy that is whole. */
static bool rot(uint32_t i) {
    struct quire_log_superblock superblock;
    uint32_t copy = (uint32_t)dice_below(&dice, 2);
    bool may = is_there(i) && read_superblock(i, 1 - copy, &superblock) == QUIRE_OK;
    if (may) {
        damage(i, copy);
    }
    return may;
}

static void keep_superblocks(void) {
    for (uint32_t i = 0; i < config.n_files; i++) {
        if (!is_there(i)) {
            old_generation = 0;
            return;
        }
        read_at(i, copy_at(0), old[i][0], sizeof old[i][0]);
        read_at(i, copy_at(1), old[i][1], sizeof old[i][1]);
    }
    old_generation = generation + 1; /* a stop may have written one more */
}

static bool put_old_ones_back(uint32_t i) {
    bool may = config.n_files > 1 && is_there(i) && old_generation > 0 && old_generation + 1 < generation;
    if (may) {
        overwrite(i, copy_at(0), old[i][0], sizeof old[i][0]);
        overwrite(i, copy_at(1), old[i][1], sizeof old[i][1]);
        stays[i] = false;
        goes[i] = true;
    }
    return may;
}

/* What was harmed before was noticed, and mended. */
static bool is_settled(void) {
    bool settled = life->opened && hidden == UINT32_MAX;
    for (uint32_t i = 0; i < config.n_files; i++) {
        settled = settled && stays[i];
    }
    return settled;
}

/* Often the same as the last time. True: something that the next start may notice. */
static bool harm(void) {
    static uint32_t i;
    static uint64_t what;
    if (!is_settled()) {
        if (hidden != UINT32_MAX && dice_below(&dice, 2) == 0) {
            hide_or_show();
        }
        return true;
    }
    if (i >= config.n_files || dice_below(&dice, 2) == 0) {
        i = (uint32_t)dice_below(&dice, config.n_files);
        what = dice_below(&dice, 10);
    }
    switch (what) {
    case 0:
    case 1:
        hide_or_show();
        return true;
    case 2:
    case 3:
        return rot(i);
    case 4:
        return put_old_ones_back(i);
    case 5:
        keep_superblocks();
        return false;
    default:
        return false;
    }
}

static void begin_world(void) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
    cr_assert_eq(system(command), 0);
    name_files(1 + (uint32_t)dice_below(&dice, 3));
    generation = stopped_as = old_generation = 0;
    whole_stop = false;
    hidden = UINT32_MAX;
    memset(stays, 0, sizeof stays);
    memset(goes, 0, sizeof goes);
}

/* The seed is printed; QUIRE_TEST_SEED runs it again. */
Test(daemon_disk_set_lives, many_of_them) {
    dice = dice_printed("daemon_disk_set_lives");
    life = mmap(NULL, sizeof *life, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(life, MAP_FAILED);
    for (unsigned world = 0; world < WORLDS; world++) {
        begin_world();
        for (unsigned i = 0; i < LIVES; i++) {
            bool harmed = generation > 0 && harm();
            one_life();
            look_back(harmed);
        }
        cr_assert_gt(generation, 0);
    }
}
