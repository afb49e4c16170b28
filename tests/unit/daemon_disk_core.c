/* A whole daemon with a disk tier: what it stored is there again after a restart, bit for bit, and what fails costs only what was there. */
#include "daemon_frames.h"

#include "daemon/disk/disk.h"
#include "daemon/disk/meta.h"
#include "daemon/disk/rehearse.h"
#include "pager/disk.h"
#include "tests/unit/pager_random.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 40
#define MAX_FILES 3u

static struct frames_daemon daemon_;
static struct frames_client client;
static char path[160];

static void config(uint32_t n_files) {
    char name[sizeof path + 8];
    frames_config(&daemon_);
    snprintf(name, sizeof name, "%s.log", path);
    frames_add_disk(&daemon_, name, n_files, 4 << 20, 256 << 10);
}
static void begin(void) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.100s/quire-core-%d", folder != NULL ? folder : "/tmp", (int)getpid());
}
static void forget_files(void) {
    static const char *const endings[] = {"", ".meta", ".snapshot"};
    for (uint32_t i = 0; i < MAX_FILES * QUIRE_ARRAY_LEN(endings); i++) {
        char file[200];
        snprintf(file, sizeof file, "%s.log%u%s", path, i % MAX_FILES, endings[i / MAX_FILES]);
        unlink(file);
    }
}
static uint32_t start(void) {
    frames_begin(&daemon_, &client);
    return frames_ns_open(&client, "n", QUIRE_OK);
}
static void stop(void) { frames_end(&daemon_, &client); }
TestSuite(daemon_disk_core, .init = begin, .fini = forget_files);

/* Asked on the loop thread. */
static bool restored(struct core *core, uint64_t n) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring && stats.counters->disk_restored == n;
}
/* A start on so many files finds so many blocks. */
static void serves_again(uint32_t n_files, uint64_t n_blocks) {
    config(n_files);
    start();
    cr_assert(frames_until(&daemon_, restored, n_blocks));
}
/* The first start, and what is stored in it. */
static void store_first(uint32_t n_files) {
    config(n_files);
    frames_store(&client, start(), BLOCKS);
}
static bool written(struct core *core, uint64_t n) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.dirty_records == 0 && stats.writing_bytes == 0 && stats.log.live_records == n;
}
static bool settled(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    return stats.dirty_records == 0 && stats.writing_bytes == 0;
}
static bool clean(struct core *core, uint64_t yes) { return disk_files(core->disk_tier)->clean == (yes != 0); }
static bool lost(struct core *core, uint64_t device) {
    struct store_device told;
    store_device(disk_store(core->disk_tier), (uint32_t)device, &told);
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return told.lost && !disk_files(core->disk_tier)->files[device].in_use && stats.log.devices_lost == 1;
}
/* Bit a file. */
static bool out_of_use(struct core *core, uint64_t files) {
    const struct disk_set *set = disk_files(core->disk_tier);
    uint64_t out = 0;
    for (uint32_t i = 0; i < set->n_files; i++) {
        out |= (uint64_t)!set->files[i].in_use << i;
    }
    return out == files;
}
/* The first rule of the configuration. */
static bool hit_so_often(struct core *core, uint64_t hits) {
    struct disk_fault rule;
    const char *why;
    bool registered;
    cr_assert_eq(rehearse_list(disk_backend(core->disk_tier, &why, &registered), &rule, 1), 1);
    return rule.hits == hits;
}
static bool verified(struct core *core, uint64_t records) {
    const struct scrub_progress *p = scrub_progress(disk_scrub(core->disk_tier));
    return p->requests_done > 0 && p->pass_records == records;
}
static void verify(struct core *core, void *arg) {
    (void)arg;
    scrub_verify_now(disk_scrub(core->disk_tier), 0);
}

/* A lease on everything, and a wish that all of it be in memory. */
static struct {
    uint64_t session, lease;
    uint32_t n;
    struct quire_wire_grant grants[BLOCKS];
} held;
static void load_all(struct core *core, void *arg) {
    uint32_t *hits = arg;
    uint8_t keys[BLOCKS * QUIRE_KEY_BYTES], misses[BLOCKS];
    struct pager_load_item items[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        quire_key key = frames_key(i + 1);
        memcpy(keys + i * QUIRE_KEY_BYTES, key.b, QUIRE_KEY_BYTES);
    }
    cr_assert_eq(pager_session_open(core->pager, 0, &held.session), QUIRE_OK);
    const struct pager_lease_request request = {.session = held.session, .keys = keys, .n_keys = BLOCKS};
    struct pager_lease_reply reply = {.misses = misses, .grants = held.grants, .grants_capacity = BLOCKS};
    cr_assert_eq(pager_lease(core->pager, core->now_ns, &request, &reply), QUIRE_OK);
    *hits = reply.hits;
    held.lease = reply.lease;
    held.n = reply.n_grants;
    for (uint32_t i = 0; i < held.n; i++) {
        items[i] = (struct pager_load_item){.slot = held.grants[i].slot};
    }
    if (held.n > 0) {
        cr_assert_eq(pager_load(core->pager, core->now_ns, held.session, held.lease, items, held.n, LOADS_NOBODY, UINT64_MAX), QUIRE_OK);
    }
}
static bool loaded(struct core *core, uint64_t n) {
    uint32_t resident = 0;
    for (uint32_t i = 0; i < held.n; i++) {
        struct pager_block_info info;
        quire_key key = frames_key(i + 1);
        cr_assert_eq(pager_block_info(core->pager, core->now_ns, 0, &key, &info), QUIRE_OK);
        resident += info.n_records == 1 && strcmp(info.records[0].state, "resident") == 0;
    }
    return resident == n;
}
/* Compares each record in the pool with what frames_store had put in. */
static bool right(struct core *core, uint64_t n) {
    quire_layout layout;
    frames_layout(&layout);
    for (uint32_t i = 0; i < n; i++) {
        struct pager_block_info info;
        struct quire_record record;
        quire_key key = frames_key(i + 1);
        cr_assert_eq(pager_block_info(core->pager, core->now_ns, 0, &key, &info), QUIRE_OK);
        const uint8_t *bytes = core->pools[0]->base + info.records[0].offset;
        cr_assert_eq(quire_record_open(bytes, info.records[0].size_bytes, &layout, &key, &record), QUIRE_OK);
        cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
        for (uint32_t b = 0; b < 32; b++) {
            cr_assert_eq(bytes[quire_record_lane_offset(&record.shape, 0) + b], (uint8_t)(b * 7 + (i + 1) * 31));
        }
    }
    return true;
}

static void require_all(void) {
    uint32_t hits;
    cr_assert_eq(core_call(daemon_.core, load_all, &hits, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert_eq(hits, BLOCKS);
    cr_assert(frames_until(&daemon_, loaded, BLOCKS));
    cr_assert(frames_until(&daemon_, right, BLOCKS));
}

/* Forty blocks, stopped in good order and started again: they hit, are read from the disk when asked for, and are what they were. */
Test(daemon_disk_core, blocks_survive_a_restart) {
    store_first(2);
    stop();
    serves_again(2, BLOCKS);
    cr_assert(frames_until(&daemon_, clean, 1));
    require_all();
    cr_assert_eq(core_call(daemon_.core, verify, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(frames_until(&daemon_, verified, BLOCKS));
    stop();
}

/* A daemon that is not stopped but ends (its process, in a child) leaves what was written; the set was not closed. */
Test(daemon_disk_core, blocks_survive_a_death) {
    config(1);
    pid_t child = frames_fork();
    if (child == 0) {
        frames_store(&client, start(), BLOCKS);
        frames_until(&daemon_, written, BLOCKS);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    unlink(daemon_.config.socket_path);
    frames_forget_lock(&daemon_);
    start();
    cr_assert(frames_until(&daemon_, restored, BLOCKS));
    cr_assert(frames_until(&daemon_, clean, 0));
    require_all();
    stop();
}

/* Damages the header of the first segment, or, when that was done, makes it one of another use of the segment, right in every sum. */
static void change_header(bool damaged) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES], unit[QUIRE_LOG_UNIT_MAX];
    struct quire_log_superblock superblock;
    struct quire_log_segment_header header;
    char file[200];
    snprintf(file, sizeof file, "%s.log0", path);
    FILE *to = fopen(file, "r+b");
    cr_assert(to != NULL && fread(bytes, sizeof bytes, 1, to) == 1);
    cr_assert_eq(quire_log_superblock_decode(bytes, &superblock), QUIRE_OK);
    const struct quire_log_geometry g = {.unit_bytes = superblock.unit_bytes, .segment_units = superblock.segment_units, .generation = 9};
    cr_assert(fseek(to, QUIRE_LOG_FIRST_SEGMENT, SEEK_SET) == 0 && fread(unit, g.unit_bytes, 1, to) == 1);
    unit[20] ^= 1;
    enum quire_status status = quire_log_segment_header_decode(&g, unit, superblock.set_id, 0, &header);
    cr_assert_eq(status, damaged ? QUIRE_OK : QUIRE_CORRUPT);
    if (damaged) {
        header.epoch++;
        quire_log_segment_header_encode(&g, &header, unit);
    }
    cr_assert(fseek(to, QUIRE_LOG_FIRST_SEGMENT, SEEK_SET) == 0 && fwrite(unit, g.unit_bytes, 1, to) == 1);
    fclose(to);
}

static void start_from_snapshot(uint32_t n) {
    config(1);
    start();
    cr_assert(frames_until(&daemon_, settled, 0));
    cr_assert(frames_until(&daemon_, clean, 1));
    cr_assert(frames_until(&daemon_, restored, n));
    stop();
}

/* After a stop in good order a segment's header is damaged: its trailer still tells of which use of the segment the snapshot speaks, and everything is found. A whole
   header of another use stands above both: nothing of the snapshot is there then. */
Test(daemon_disk_core, headers_that_are_not_the_snapshots) {
    store_first(1);
    cr_assert(frames_until(&daemon_, written, BLOCKS));
    stop();
    start_from_snapshot(BLOCKS);
    change_header(false);
    start_from_snapshot(BLOCKS);
    change_header(true);
    start_from_snapshot(0);
}

/* Another daemon on the same files is refused, and told who holds them. */
Test(daemon_disk_core, two_daemons_on_one_file) {
    config(1);
    start();
    struct frames_daemon first = daemon_;
    struct core *other = NULL;
    char why[512];
    config(1);
    cr_assert_eq(core_create(&daemon_.config, &other, why, sizeof why), QUIRE_IN_USE);
    cr_assert_neq(strstr(why, path), NULL, "%s", why);
    frames_forget_lock(&daemon_);
    rmdir(daemon_.folder);
    daemon_ = first;
    stop();
}

/* One of two files fails every write: it is out of use, and so it stays known to be at the next start; the blocks are on the other one. */
Test(daemon_disk_core, a_file_that_fails) {
    config(2);
    strcpy(daemon_.config.faults[0], "write:error=EIO,file=1,offset=1MiB-");
    daemon_.config.n_faults = 1;
    uint32_t ns = start();
    frames_store(&client, ns, BLOCKS);
    cr_assert(frames_until(&daemon_, lost, 1));
    cr_assert(frames_until(&daemon_, written, BLOCKS));
    stop();
    serves_again(2, BLOCKS);
    require_all();
    stop();
}

/*
 * One of three files is missing, and its place in the set stays its own: rules of faults go on naming the others as `quirectl status` lists them. What is for
 * the missing file hits nobody, and what is for the last one hits that.
 */
Test(daemon_disk_core, a_fault_past_a_missing_file) {
    config(3);
    start();
    stop();
    char missing[200];
    snprintf(missing, sizeof missing, "%s.log1", path);
    cr_assert_eq(unlink(missing), 0);
    config(3);
    strcpy(daemon_.config.faults[0], "write:error=EIO,file=1,count=1");
    strcpy(daemon_.config.faults[1], "write:error=EIO,file=2,offset=1MiB-,count=1");
    daemon_.config.n_faults = 2;
    frames_store(&client, start(), BLOCKS);
    cr_assert(frames_until(&daemon_, out_of_use, 1u << 1 | 1u << 2));
    cr_assert(frames_until(&daemon_, hit_so_often, 0));
    cr_assert(frames_until(&daemon_, settled, 0));
    require_all();
    stop();
}

static void verify_and_stop(struct core *core, void *arg) {
    (void)arg;
    scrub_verify_now(disk_scrub(core->disk_tier), 0);
    core_stop(core);
}

/* Started and stopped at once, while its segments are being read, or verified: nothing is left over, and nothing is lost. */
Test(daemon_disk_core, stopped_while_it_reads) {
    store_first(2);
    stop();
    for (uint32_t i = 0; i < 8; i++) {
        config(2);
        daemon_.config.drain_ms = i % 4 == 0 ? 0 : 5000;
        frames_start(&daemon_);
        if (i % 2 == 0) {
            core_call(daemon_.core, verify_and_stop, NULL, FRAMES_WAIT_MS);
        }
        frames_stop(&daemon_);
    }
    serves_again(2, BLOCKS);
    stop();
}

static void delete_namespace(struct core *core, void *arg) {
    uint64_t blocks;
    (void)arg;
    cr_assert_eq(pager_ns_delete(core->pager, "n", &blocks), QUIRE_OK);
    cr_assert_eq(blocks, BLOCKS);
}

/* The only namespace is deleted, and at the next start one of its name made anew: at no start after that does it have what the first one held. */
Test(daemon_disk_core, a_deleted_namespace_stays_deleted) {
    store_first(1);
    cr_assert(frames_until(&daemon_, written, BLOCKS));
    cr_assert_eq(core_call(daemon_.core, delete_namespace, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    stop();
    for (uint32_t i = 0; i < 2; i++) {
        serves_again(1, 0);
        stop();
    }
}

/* ---- pins, and trust domains that come and go ------------------------------------------------------------------------------ */
/* Of block 1 of the namespace "n". */
static void verb_on_first(struct core *core, void *arg) {
    uint32_t *verb = arg;
    const quire_key key = frames_key(1);
    uint64_t session;
    uint16_t ns;
    uint8_t status;
    cr_assert_eq(pager_ns_find(core->pager, "n", &ns), QUIRE_OK);
    cr_assert_eq(pager_session_open(core->pager, pager_ns_domain(core->pager, ns), &session), QUIRE_OK);
    cr_assert_eq(pager_keys(core->pager, core->now_ns, session, ns, (enum quire_wire_keys_verb) * verb, key.b, 1, &status), QUIRE_OK);
    pager_session_close(core->pager, session, false);
    *verb = status;
}
static uint32_t ask_first(enum quire_wire_keys_verb verb) {
    uint32_t answer = verb;
    cr_assert_eq(core_call(daemon_.core, verb_on_first, &answer, FRAMES_WAIT_MS), QUIRE_OK);
    return answer;
}
static bool keeps(struct core *core, uint64_t n) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.kept_namespaces == n;
}
static void delete_kept(struct core *core, void *arg) {
    uint64_t blocks;
    cr_assert_eq(pager_ns_delete(core->pager, "default/n", &blocks), *(enum quire_status *)arg);
}

/*
 * A trust domain is called otherwise in the configuration for two starts, perhaps by mistake, and another one is there in its place, which changes the metadata. When
 * the old name is back, its namespace is there with its blocks, and what was pinned is pinned. Only who says so by name is rid of it.
 */
Test(daemon_disk_core, a_domain_comes_back) {
    store_first(1);
    cr_assert_eq(ask_first(QUIRE_WIRE_PIN), QUIRE_OK);
    stop();
    for (uint32_t i = 0; i < 2; i++) {
        config(1);
        strcpy(daemon_.config.domains[0].name, "other");
        start();
        cr_assert(frames_until(&daemon_, keeps, 1));
        cr_assert(frames_until(&daemon_, restored, 0));
        stop();
    }
    serves_again(1, BLOCKS);
    cr_assert(frames_until(&daemon_, keeps, 1)); /* the other's */
    cr_assert_eq(ask_first(QUIRE_WIRE_DELETE), QUIRE_IN_USE);
    stop();
    config(1);
    strcpy(daemon_.config.domains[0].name, "other");
    start();
    enum quire_status expected = QUIRE_OK;
    cr_assert_eq(core_call(daemon_.core, delete_kept, &expected, FRAMES_WAIT_MS), QUIRE_OK);
    expected = QUIRE_NOT_FOUND;
    cr_assert_eq(core_call(daemon_.core, delete_kept, &expected, FRAMES_WAIT_MS), QUIRE_OK);
    stop();
    serves_again(1, 0);
    stop();
}

static uint64_t put_pinned(struct frames_window *window, uint32_t ns, uint32_t first, uint32_t n) {
    struct quire_wire_put items[8];
    cr_assert_eq(frames_ingest(&client, (uint64_t)n * frames_payload_bytes(), FRAMES_WAIT_MS, window), QUIRE_OK);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = frames_item(window, (uint64_t)i * frames_payload_bytes(), first + i);
        items[i].flags |= i % 2 == 0 ? QUIRE_WIRE_PUT_PIN : 0;
    }
    return frames_put_send(&client, ns, window->number, items, n, FRAMES_WAIT_MS);
}
static bool meta_fails(struct core *core, uint64_t yes) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.meta_fails == (yes != 0);
}

static uint32_t pinned_in_file(uint32_t number, uint32_t *n_pins) {
    uint8_t *bytes;
    size_t size;
    char why[300], meta[200];
    uint32_t times = 0;
    const quire_key key = frames_key(number);
    snprintf(meta, sizeof meta, "%s.log0.meta", path);
    cr_assert_eq(disk_meta_load(meta, NULL, &bytes, &size, why, sizeof why), QUIRE_OK, "%s", why);
    *n_pins = quire_meta_head_of(bytes)->n_pins;
    for (uint32_t i = 0; i < *n_pins; i++) {
        struct quire_meta_pin pin;
        quire_meta_pin_at(bytes, i, &pin);
        times = quire_key_equal(&pin.key, &key) ? pin.pins : times;
    }
    free(bytes);
    return times;
}

/*
 * Blocks are stored with PIN where the metadata cannot be replaced: whoever stores them hears that the pins will not outlast the daemon. When it can be
 * again, OK means that they are in the metadata: the daemon that is started from a copy of it has them.
 */
Test(daemon_disk_core, a_put_with_pin_lasts) {
    char beside[200];
    uint8_t statuses[4];
    uint32_t n_pins;
    struct frames_window windows[2];
    Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
    config(1);
    uint32_t ns = start();
    cr_assert(frames_until(&daemon_, settled, 0));
    snprintf(beside, sizeof beside, "%s.log0.meta.new", path);
    while (mkdir(beside, 0700) != 0) { /* the namespace's metadata is being written there */
        cr_assert_eq(errno, EEXIST);
    }
    cr_assert_eq(frames_acks(&client, put_pinned(&windows[0], ns, 1, 4), statuses, 4), QUIRE_OK);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(statuses[i], i % 2 == 0 ? QUIRE_SYSTEM : QUIRE_OK, "item %u", i);
    }
    cr_assert(frames_until(&daemon_, meta_fails, 1));
    back.window = windows[0].number;
    frames_send(&client, QUIRE_MSG_INGEST_RETURN, &back.base); /* an idle one would be asked back in the middle of what follows */
    cr_assert_eq(rmdir(beside), 0);
    cr_assert(frames_until(&daemon_, meta_fails, 0));
    cr_assert_eq(frames_acks(&client, put_pinned(&windows[1], ns, 5, 3), statuses, 3), QUIRE_OK);
    cr_assert(statuses[0] == QUIRE_OK && statuses[1] == QUIRE_OK && statuses[2] == QUIRE_OK);
    cr_assert_eq(pinned_in_file(7, &n_pins), 1);
    cr_assert_eq(n_pins, 4);
    munmap(windows[0].base, windows[0].bytes);
    munmap(windows[1].base, windows[1].bytes);
    stop();
}

static bool meta_saving(struct core *core, uint64_t yes) { return (store_meta_since_ns(disk_store(core->disk_tier)) != 0) == (yes != 0); }

static bool stores(struct core *core, uint64_t blocks) {
    struct pager_memory memory;
    pager_memory(core->pager, &memory);
    return memory.blocks == blocks;
}

/* Whoever syncs new metadata waits. */
static _Atomic bool meta_hangs;

int fsync(int fd);
int fsync(int fd) {
    char link[64], name[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name - 1);
    name[n > 0 ? n : 0] = '\0';
    while (meta_hangs && strstr(name, ".meta.new") != NULL) {
        usleep(1000);
    }
    return (int)syscall(SYS_fsync, fd);
}

/*
 * The drive of the metadata hangs while blocks are stored with PIN: whoever stored them hears that the pins do not last, and so does the next one. The blocks are
 * stored all the same. When the drive is back every pin is saved without being asked for again, also one from meanwhile, and the next daemon has it all.
 */
Test(daemon_disk_core, metadata_that_hangs) {
    uint8_t statuses[2];
    uint32_t n_pins;
    struct frames_window windows[2];
    Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
    config(1);
    daemon_.config.disk.stall_limit_ms = 3000;
    uint32_t ns = start();
    frames_store(&client, ns, BLOCKS);
    cr_assert(frames_until(&daemon_, written, BLOCKS)); /* the metadata names the namespace */
    meta_hangs = true;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t put = put_pinned(&windows[i], ns, BLOCKS + 1 + 2 * i, 2);
        cr_assert(frames_until(&daemon_, stores, BLOCKS + 2 + 2 * i));
        cr_assert(i > 0 || frames_until(&daemon_, meta_saving, 1));
        back.window = windows[i].number;
        frames_send(&client, QUIRE_MSG_INGEST_RETURN, &back.base); /* an idle one would be asked back before the answer */
        cr_assert_eq(frames_acks(&client, put, statuses, 2), QUIRE_OK);
        cr_assert(statuses[0] == QUIRE_SYSTEM && statuses[1] == QUIRE_OK);
        munmap(windows[i].base, windows[i].bytes);
    }
    cr_assert_eq(ask_first(QUIRE_WIRE_PIN), QUIRE_OK);
    meta_hangs = false;
    cr_assert(frames_until(&daemon_, meta_fails, 0));
    cr_assert(pinned_in_file(1, &n_pins) == 1 && pinned_in_file(BLOCKS + 1, &n_pins) == 1 && pinned_in_file(BLOCKS + 3, &n_pins) == 1);
    cr_assert_eq(n_pins, 3);
    stop();
    serves_again(1, BLOCKS + 4);
    cr_assert_eq(ask_first(QUIRE_WIRE_DELETE), QUIRE_IN_USE);
    stop();
}

static void stand_still(struct core *core, void *arg) {
    (void)core;
    usleep(*(useconds_t *)arg);
}

/* The daemon itself stands still while its metadata is saved, as when its machine is moved, and for longer than a drive may hang: no drive is to blame for that. */
Test(daemon_disk_core, stands_still_while_metadata_is_saved) {
    uint8_t statuses[1];
    struct frames_window window;
    Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
    config(1);
    daemon_.config.disk.stall_limit_ms = 5000;
    uint32_t ns = start();
    frames_store(&client, ns, BLOCKS);
    cr_assert(frames_until(&daemon_, written, BLOCKS));
    meta_hangs = true;
    uint64_t put = put_pinned(&window, ns, BLOCKS + 1, 1);
    cr_assert(frames_until(&daemon_, meta_saving, 1));
    back.window = window.number;
    frames_send(&client, QUIRE_MSG_INGEST_RETURN, &back.base);
    useconds_t us = 5500000;
    cr_assert_eq(core_call(daemon_.core, stand_still, &us, FRAMES_WAIT_MS), QUIRE_OK);
    for (uint32_t turn = 0; turn < 5; turn++) {
        struct frames_question waits = {.holds = meta_saving, .arg = 1};
        cr_assert_eq(core_call(daemon_.core, frames_look, &waits, FRAMES_WAIT_MS), QUIRE_OK);
        cr_assert(waits.answer, "the drive was blamed");
    }
    meta_hangs = false;
    cr_assert_eq(frames_acks(&client, put, statuses, 1), QUIRE_OK);
    cr_assert(frames_until(&daemon_, meta_saving, 0));
    cr_assert(frames_until(&daemon_, meta_fails, 0));
    munmap(window.base, window.bytes);
    stop();
}

/* ---- deaths at random ----------------------------------------------------------------------------------------------------- */

#define ROUNDS 8
static struct {
    char name[16]; /* of the namespace */
    uint32_t hits;
} looked;

/* Leases each block by itself, and wants it in memory. */
static void load_each(struct core *core, void *arg) {
    uint16_t ns;
    (void)arg;
    looked.hits = 0;
    if (pager_ns_find(core->pager, looked.name, &ns) != QUIRE_OK) {
        return;
    }
    cr_assert_eq(pager_session_open(core->pager, 0, &held.session), QUIRE_OK);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        quire_key key = frames_key(i + 1);
        uint8_t miss;
        const struct pager_lease_request request = {.session = held.session, .ns = ns, .keys = key.b, .n_keys = 1};
        struct pager_lease_reply reply = {.misses = &miss, .grants = held.grants, .grants_capacity = 1};
        cr_assert_eq(pager_lease(core->pager, core->now_ns, &request, &reply), QUIRE_OK);
        if (reply.hits == 1) {
            const struct pager_load_item item = {.slot = held.grants[0].slot};
            cr_assert_eq(pager_load(core->pager, core->now_ns, held.session, reply.lease, &item, 1, LOADS_NOBODY, UINT64_MAX), QUIRE_OK);
            looked.hits++;
        }
    }
}
/* How many are in memory now; each of them is what was stored. */
static bool each_right(struct core *core, uint64_t at_least) {
    uint16_t ns;
    uint32_t resident = 0;
    if (pager_ns_find(core->pager, looked.name, &ns) != QUIRE_OK) {
        return at_least == 0;
    }
    quire_layout layout;
    frames_layout(&layout);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct pager_block_info info;
        struct quire_record record;
        quire_key key = frames_key(i + 1);
        cr_assert_eq(pager_block_info(core->pager, core->now_ns, ns, &key, &info), QUIRE_OK);
        if (info.n_records == 0 || strcmp(info.records[0].state, "resident") != 0) {
            continue;
        }
        const uint8_t *bytes = core->pools[0]->base + info.records[0].offset;
        cr_assert_eq(quire_record_open(bytes, info.records[0].size_bytes, &layout, &key, &record), QUIRE_OK);
        cr_assert_eq(quire_record_verify(&record), QUIRE_OK);
        cr_assert_eq(bytes[quire_record_lane_offset(&record.shape, 0) + 5], (uint8_t)(35 + (i + 1) * 31));
        resident++;
    }
    return resident >= at_least;
}
static bool nothing_corrupt(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    return stats.counters->disk_corrupt == 0;
}
static bool all_restored(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring;
}

/*
 * A daemon dies again and again, in the midst of storing or just afterwards, each time with another namespace. After each death: whatever hits is bit for bit what
 * was stored, and what had been written before a death is there after it and after all later ones.
 */
Test(daemon_disk_core, deaths_at_random, .timeout = 100) {
    struct dice dice = dice_printed("deaths");
    const char *more = getenv("QUIRE_TEST_ROUNDS");
    uint32_t rounds = more != NULL ? (uint32_t)atoi(more) : ROUNDS;
    uint32_t sure[512] = {0};
    cr_assert_leq(rounds, QUIRE_ARRAY_LEN(sure));
    for (uint32_t round = 0; round < rounds; round++) {
        bool wait = dice_below(&dice, 2) == 0;
        uint64_t after_us = dice_below(&dice, 30000);
        snprintf(looked.name, sizeof looked.name, "n%u", round);
        config(2);
        pid_t child = frames_fork();
        if (child == 0) {
            frames_start(&daemon_);
            frames_open(&client, &daemon_);
            quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
            const struct itimerval at = {.it_value = {.tv_usec = (suseconds_t)(after_us + 1)}};
            setitimer(ITIMER_REAL, wait ? &(struct itimerval){0} : &at, NULL);
            frames_store(&client, frames_ns_open(&client, looked.name, QUIRE_OK), BLOCKS);
            frames_until(&daemon_, all_restored, 0);
            frames_until(&daemon_, settled, 0);
            _exit(0);
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert((WIFEXITED(status) && WEXITSTATUS(status) == 0) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM), "%d", status);
        sure[round] = WIFEXITED(status) ? BLOCKS : 0;
        unlink(daemon_.config.socket_path);
        start();
        cr_assert(frames_until(&daemon_, all_restored, 0));
        for (uint32_t i = round < 3 ? 0 : round - 3; i <= round; i++) {
            snprintf(looked.name, sizeof looked.name, "n%u", i);
            cr_assert_eq(core_call(daemon_.core, load_each, NULL, FRAMES_WAIT_MS), QUIRE_OK);
            cr_assert_geq(looked.hits, sure[i], "round %u, namespace %u: %u of %u", round, i, looked.hits, sure[i]);
            cr_assert(frames_until(&daemon_, each_right, looked.hits), "round %u, namespace %u", round, i);
        }
        cr_assert(frames_until(&daemon_, nothing_corrupt, 0));
        stop();
    }
}
