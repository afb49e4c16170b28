/* A whole daemon that stops in good order, and starts again: from the snapshot of its index, and from the log whenever there is any doubt
   about it. */
#include "daemon_frames.h"

#include "daemon/disk/disk.h"
#include "pager/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BLOCKS 40u
#define FILES 2u

static struct frames_daemon daemon_;
static struct frames_client client;
static char path[160], snapshot[200];

static void config(void) {
    char name[sizeof path + 8];
    frames_config(&daemon_);
    snprintf(name, sizeof name, "%s.log", path);
    frames_add_disk(&daemon_, name, FILES, 4 << 20, 256 << 10);
}
static void begin(void) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.100s/quire-snap-%d", folder != NULL ? folder : "/tmp", (int)getpid());
    snprintf(snapshot, sizeof snapshot, "%s.log0.snapshot", path);
}
static void forget_files(void) {
    static const char *const names[] = {"log0", "log1", "log0.meta", "log0.snapshot", "log0.snapshot.new", "log0.snapshot.kept"};
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(names); i++) {
        char file[200];
        snprintf(file, sizeof file, "%s.%s", path, names[i]);
        unlink(file);
    }
}
static uint32_t start(void) {
    config();
    frames_begin(&daemon_, &client);
    return frames_ns_open(&client, "n", QUIRE_OK);
}
static void stop(void) { frames_end(&daemon_, &client); }
static void store_and_stop(void) {
    frames_store(&client, start(), BLOCKS);
    stop();
}

/* ---- asked on the loop thread --------------------------------------------------------------------------------------------- */
static bool restored(struct core *core, uint64_t n) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring && stats.counters->disk_restored == n && stats.log.live_records == n;
}
static bool written(struct core *core, uint64_t n) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring && stats.dirty_records == 0 && stats.writing_bytes == 0 && stats.log.live_records == n;
}
static bool from_snapshot(struct core *core, uint64_t yes) {
    const struct restart_progress *p = disk_restart(core->disk_tier);
    return p->ended && p->from_snapshot == (yes != 0) && p->took_ns > 0 && p->read == p->to_read;
}
static void delete_namespace(struct core *core, void *arg) {
    uint64_t blocks;
    (void)arg;
    cr_assert_eq(pager_ns_delete(core->pager, "n", &blocks), QUIRE_OK);
}
static void delete_block(struct core *core, void *arg) {
    quire_key key = frames_key(*(uint32_t *)arg);
    uint64_t session;
    uint8_t status;
    cr_assert_eq(pager_session_open(core->pager, 0, &session), QUIRE_OK);
    cr_assert_eq(pager_keys(core->pager, core->now_ns, session, 0, QUIRE_WIRE_DELETE, key.b, 1, &status), QUIRE_OK);
}

/* ---- the snapshot's file -------------------------------------------------------------------------------------------------- */
static bool is_there(void) { return access(snapshot, F_OK) == 0; }
static off_t size_of(void) {
    struct stat facts;
    cr_assert_eq(stat(snapshot, &facts), 0, "%s is not there", snapshot);
    return facts.st_size;
}
static void flip(off_t at) {
    uint8_t byte;
    int fd = open(snapshot, O_RDWR);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}
/* The file is put aside, or back, whatever the daemon does with its own. */
static void copy_file(const char *from, const char *to) {
    static uint8_t bytes[1 << 20];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n = read(in, bytes, sizeof bytes);
    cr_assert(in >= 0 && out >= 0 && n > 0 && n < (ssize_t)sizeof bytes && write(out, bytes, (size_t)n) == n);
    close(in);
    close(out);
}
static void keep(void) {
    char kept[220];
    snprintf(kept, sizeof kept, "%s.kept", snapshot);
    copy_file(snapshot, kept);
}
static void put_back(void) {
    char kept[220];
    snprintf(kept, sizeof kept, "%s.kept", snapshot);
    copy_file(kept, snapshot);
}

/* A process that starts, waits for `until`, and is gone without a stop. */
static void dies(bool (*until)(struct core *core, uint64_t arg), uint64_t arg) {
    config();
    pid_t child = frames_fork();
    if (child == 0) {
        frames_start(&daemon_);
        _exit(frames_until(&daemon_, until, arg) ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    unlink(daemon_.config.socket_path);
}

/* ---- stories -------------------------------------------------------------------------------------------------------------- */

/* Stopped in good order and started, again and again: from the snapshot each time, which is gone as soon as the daemon runs. */
Test(daemon_disk_snapshot, from_a_snapshot) {
    begin();
    store_and_stop();
    for (uint32_t round = 0; round < 3; round++) {
        cr_assert(is_there(), "round %u", round);
        start();
        cr_assert(!is_there(), "round %u", round);
        cr_assert(frames_until(&daemon_, restored, BLOCKS), "round %u", round);
        cr_assert(frames_until(&daemon_, from_snapshot, 1), "round %u", round);
        stop();
    }
    forget_files();
}

/* Whichever byte of it is wrong, and wherever it is cut: all blocks are found, from the log. */
Test(daemon_disk_snapshot, damaged_anywhere, .timeout = 100) {
    begin();
    store_and_stop();
    off_t size = size_of();
    for (off_t at = 0; at < size; at += at < 160 ? 13 : 397) {
        flip(at);
        start();
        cr_assert(frames_until(&daemon_, restored, BLOCKS), "byte %lld", (long long)at);
        cr_assert(frames_until(&daemon_, from_snapshot, 0), "byte %lld", (long long)at);
        stop();
        size = size_of();
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(truncate(snapshot, i == 0 ? 0 : i == 1 ? 50 : i == 2 ? size - 1 : size + 1), 0);
        start();
        cr_assert(frames_until(&daemon_, restored, BLOCKS), "cut %u", i);
        cr_assert(frames_until(&daemon_, from_snapshot, 0), "cut %u", i);
        stop();
    }
    forget_files();
}

/* One that is whole, but of an earlier stop: it is not looked at, though everything else was closed in good order. */
Test(daemon_disk_snapshot, an_old_one) {
    begin();
    store_and_stop();
    keep();
    start();
    cr_assert(frames_until(&daemon_, restored, BLOCKS));
    uint32_t number = BLOCKS; /* nothing continues it */
    cr_assert_eq(core_call(daemon_.core, delete_block, &number, FRAMES_WAIT_MS), QUIRE_OK);
    stop();
    put_back();
    start();
    cr_assert(frames_until(&daemon_, restored, BLOCKS - 1));
    cr_assert(frames_until(&daemon_, from_snapshot, 0));
    stop();
    forget_files();
}

/* A daemon that started from it dies; somebody even puts it back: the start after that reads the log. */
Test(daemon_disk_snapshot, not_after_a_crash) {
    begin();
    store_and_stop();
    keep();
    dies(restored, BLOCKS);
    cr_assert(!is_there());
    put_back();
    dies(restored, BLOCKS);
    put_back();
    start();
    cr_assert(frames_until(&daemon_, restored, BLOCKS));
    cr_assert(frames_until(&daemon_, from_snapshot, 0));
    stop();
    forget_files();
}

/* The superblocks of the stop before are put back, whole, and the snapshot that they name: the metadata knows of the start between. What the files hold may have been
   deleted since: neither they nor the snapshot are believed. */
Test(daemon_disk_snapshot, not_with_old_superblocks) {
    static uint8_t bytes[FILES][2][QUIRE_LOG_SUPERBLOCK_BYTES];
    begin();
    store_and_stop();
    keep();
    for (unsigned back = 0; back < 2; back++) {
        for (uint32_t i = 0; i < FILES; i++) {
            char file[200];
            snprintf(file, sizeof file, "%s.log%u", path, i);
            int fd = open(file, O_RDWR);
            for (uint32_t c = 0; c < 2; c++) {
                off_t at = c * QUIRE_LOG_SUPERBLOCK_STRIDE;
                ssize_t size = sizeof bytes[i][c];
                cr_assert_eq(back ? pwrite(fd, bytes[i][c], (size_t)size, at) : pread(fd, bytes[i][c], (size_t)size, at), size);
            }
            close(fd);
        }
        if (!back) {
            dies(restored, BLOCKS);
        }
    }
    put_back();
    start();
    cr_assert(frames_until(&daemon_, from_snapshot, 0));
    cr_assert(frames_until(&daemon_, restored, 0));
    stop();
    forget_files();
}

/* A namespace is deleted before the stop: nothing of it is in the snapshot, and one of its name has nothing. */
Test(daemon_disk_snapshot, a_deleted_namespace) {
    begin();
    frames_store(&client, start(), BLOCKS);
    cr_assert(frames_until(&daemon_, written, BLOCKS));
    cr_assert_eq(core_call(daemon_.core, delete_namespace, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    stop();
    cr_assert_lt(size_of(), 200, "a head and openings");
    for (uint32_t round = 0; round < 2; round++) {
        start();
        cr_assert(frames_until(&daemon_, restored, 0));
        cr_assert(frames_until(&daemon_, from_snapshot, 1));
        stop();
    }
    forget_files();
}

static bool is_thesis(void) {
    char found[100] = "";
    FILE *file = fopen(snapshot, "r");
    bool same = file != NULL && fgets(found, sizeof found, file) != NULL && strcmp(found, "my thesis") == 0;
    if (file != NULL) {
        fclose(file);
    }
    return same;
}

/* Somebody else's file has its name, put there while the daemon ran: the stop leaves it, and so do the next start and stop, which go without a snapshot. Moved
   away, the next stop has one again. */
Test(daemon_disk_snapshot, a_strangers_file) {
    begin();
    frames_store(&client, start(), BLOCKS);
    FILE *file = fopen(snapshot, "w");
    cr_assert(file != NULL && fputs("my thesis", file) >= 0 && fclose(file) == 0);
    stop();
    for (uint32_t round = 0; round < 2; round++) {
        cr_assert(is_thesis(), "round %u", round);
        start();
        cr_assert(frames_until(&daemon_, restored, BLOCKS));
        cr_assert(frames_until(&daemon_, from_snapshot, 0));
        cr_assert(is_thesis(), "round %u", round);
        stop();
    }
    cr_assert_eq(unlink(snapshot), 0);
    start();
    cr_assert(frames_until(&daemon_, restored, BLOCKS)); /* a stop before that leaves none */
    stop();
    start();
    cr_assert(frames_until(&daemon_, from_snapshot, 1));
    stop();
    forget_files();
}

/* There is no room for it, or no permission: the stop is as good without. */
Test(daemon_disk_snapshot, it_cannot_be_written) {
    begin();
    frames_store(&client, start(), BLOCKS);
    char beside[220];
    snprintf(beside, sizeof beside, "%s.new", snapshot);
    cr_assert_eq(mkdir(beside, 0700), 0);
    stop();
    cr_assert(!is_there());
    cr_assert_eq(rmdir(beside), 0);
    start();
    cr_assert(disk_files(daemon_.core->disk_tier)->clean);
    cr_assert(frames_until(&daemon_, restored, BLOCKS));
    cr_assert(frames_until(&daemon_, from_snapshot, 0));
    stop();
    forget_files();
}
