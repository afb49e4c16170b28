/* What an operator sees of the disk tier while a real core runs on a real file: status, counters, metrics, and what a reload changes. */
#include "daemon/admin.h"
#include "daemon/disk/disk.h"
#include "daemon/disk/faults.h"
#include "daemon/metrics.h"
#include "daemon_frames.h"

#include <stdlib.h>

static struct frames_daemon daemon_;
static struct frames_client client;
static struct frames_folder folder;

static void configure(void) {
    frames_config(&daemon_);
    frames_add_folder(&daemon_, &folder, 1);
    daemon_.config.disk.pager.batch_bytes = 256 << 10;
    daemon_.config.allow_faults = true;
}

static void start(void) {
    configure();
    frames_begin(&daemon_, &client);
}

/* The daemon's own folder goes, the disk's stays. */
static void halt(void) { frames_end(&daemon_, &client); }

static void restart(void) {
    halt();
    cr_assert_eq(mkdir(daemon_.folder, 0700), 0);
    frames_begin(&daemon_, &client);
}

static void stop(void) {
    halt();
    frames_remove_folder(&folder);
}

static Quire__Wire__AdminReply *ask(uint32_t verb) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = verb;
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_ADMIN_REPLY, frames_send(&client, QUIRE_MSG_ADMIN, &request.base));
    Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(reply);
    cr_assert_eq(reply->status, QUIRE_OK);
    frames_answer_free(&answer);
    return reply;
}

static double counter(const char *name) {
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_COUNTERS);
    double value = -1;
    for (size_t i = 0; i < reply->n_counters; i++) {
        value = strcmp(reply->counters[i]->name, name) == 0 ? reply->counters[i]->value : value;
    }
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    return value;
}

static bool all_written(struct core *core, uint64_t records) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.log.live_records == records && stats.writing_bytes == 0 && stats.dirty_records == 0;
}

/* Ten blocks are stored; soon they are on disk, and status, counters and metrics say so with the same figures. */
Test(daemon_disk_status, what_is_stored_shows, .init = start) {
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 10);
    cr_assert(frames_until(&daemon_, all_written, 10), "not on disk");
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_STATUS);
    cr_assert_eq(reply->n_tiers, 2);
    const Quire__Wire__TierInfo *tier = reply->tiers[1];
    cr_expect_str_eq(tier->name, "disk");
    cr_expect_eq(tier->capacity_bytes, 32 << 20);
    cr_expect_eq(tier->records, 10);
    cr_expect_gt(tier->live_bytes, 0);
    cr_expect(tier->used_bytes > tier->live_bytes && tier->used_bytes <= 1 << 20, "part of one segment");
    const Quire__Wire__DiskInfo *disk = reply->disk;
    cr_assert_not_null(disk);
    cr_expect_str_eq(disk->state, "serving");
    cr_expect_str_eq(disk->backend, "threads", "not the layer of faults over it");
    cr_expect_neq(disk->backend_why[0], '\0');
    cr_expect(disk->segments == 32 && disk->clean_segments == 31 && disk->lost_segments == 0 && disk->segment_bytes == 1 << 20);
    cr_expect_geq(disk->write_amplification, 1);
    cr_expect_eq(disk->faults, 0);
    cr_expect_str_eq(disk->restored_from, "nowhere");
    cr_assert_eq(disk->n_files, 1);
    cr_expect_str_eq(disk->files[0]->path, folder.first);
    cr_expect(disk->files[0]->in_use && disk->files[0]->writes > 0 && disk->files[0]->written_bytes > 0);
    cr_expect_eq(disk->files[0]->size_bytes, 32 << 20);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    cr_expect_gt(counter("disk_writes"), 0);
    cr_expect_gt(counter("disk_admitted_bytes"), 0);
    cr_expect_eq(counter("disk_corrupt"), 0);
    stop();
}

struct question {
    char *text;
    size_t bytes;
};
static void write_metrics(struct core *core, void *arg) {
    struct question *question = arg;
    FILE *to = open_memstream(&question->text, &question->bytes);
    metrics_write(core, to);
    fclose(to);
}

/* Prometheus finds the counters and the gauges of the disk tier. */
Test(daemon_disk_status, metrics, .init = start) {
    struct question question = {0};
    cr_assert_eq(core_call(daemon_.core, write_metrics, &question, FRAMES_WAIT_MS), QUIRE_OK);
    static const char *const lines[] = {"quire_tier_capacity_bytes{tier=\"disk\",domain=\"\"} 33554432\n",
                                        "quire_disk_clean_segments 32\n",
                                        "quire_disk_doubtful_records 0\n",
                                        "quire_disk_written_bytes_total ",
                                        "quire_disk_write_amplification 0.0000\n",
                                        "quire_disk_estimate_error ",
                                        "quire_disk_file_in_use{path=\""};
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(lines); i++) {
        cr_expect_not_null(strstr(question.text, lines[i]), "'%s' is not in:\n%s", lines[i], question.text);
    }
    free(question.text);
    stop();
}

/* Bytes that this process wrote to files, as the kernel counts them; what goes through sockets is not among them. */
static uint64_t process_wrote(void) {
    FILE *from = fopen("/proc/self/io", "r");
    unsigned long long bytes = 0;
    char line[80];
    while (from != NULL && fgets(line, sizeof line, from) != NULL) {
        (void)sscanf(line, "wchar: %llu", &bytes);
    }
    if (from != NULL) {
        fclose(from);
    }
    return bytes;
}

static enum quire_status delete_one(uint32_t ns, uint32_t number, char *text, size_t text_bytes, uint32_t *wait_ms) {
    quire_key key = frames_key(number);
    Quire__Wire__Keys keys = QUIRE__WIRE__KEYS__INIT;
    keys.ns = ns;
    keys.verb = QUIRE_WIRE_DELETE;
    keys.keys = (ProtobufCBinaryData){.len = sizeof key, .data = key.b};
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_ACKS, frames_send(&client, QUIRE_MSG_KEYS, &keys.base));
    Quire__Wire__Acks *acks = quire__wire__acks__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_not_null(acks);
    enum quire_status status = (enum quire_status)acks->status;
    snprintf(text, text_bytes, "%s", acks->text);
    *wait_ms = acks->retry_after_ms;
    quire__wire__acks__free_unpacked(acks, NULL);
    frames_answer_free(&answer);
    return status;
}

/*
 * What the daemon says that it wrote to disk is what it wrote, from the first superblock on: batches, footers, tombstones, metadata. What the process writes
 * besides is small: wake-ups of eight bytes, lines of its log.
 */
Test(daemon_disk_status, every_byte_counts) {
    uint64_t before = process_wrote();
    char text[200];
    uint32_t wait_ms;
    start();
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
    frames_store(&client, ns, 10);
    cr_assert(frames_until(&daemon_, all_written, 10), "not on disk");
    cr_assert_eq(delete_one(ns, 1, text, sizeof text, &wait_ms), QUIRE_OK);
    uint64_t told = (uint64_t)counter("disk_written_bytes"), wrote = process_wrote() - before;
    if (wrote == 0) {
        cr_log_warn("this kernel does not count what a process writes");
    } else {
        cr_expect(told <= wrote && told + 4096 > wrote, "told %lu, wrote %lu", (unsigned long)told, (unsigned long)wrote);
    }
    stop();
}

static enum quire_status reloaded;
static const char *reload_why; /* the core's */
static void apply(struct core *core, void *arg) { reloaded = core_apply_config(core, arg, &reload_why); }
static void reload(struct config *wanted) { cr_assert_eq(core_call(daemon_.core, apply, wanted, FRAMES_WAIT_MS), QUIRE_OK); }
/* With this rule of faults alone. */
static void reload_rule(const char *rule) {
    static struct config wanted;
    wanted = daemon_.config;
    wanted.n_faults = 1;
    snprintf(wanted.faults[0], sizeof wanted.faults[0], "%s", rule);
    reload(&wanted);
}

/* Deletions beyond their part of the write budget are refused: the answer says why, and when to come again; then they are done. */
Test(daemon_disk_status, deletions_over_budget, .init = start) {
    static struct config wanted;
    wanted = daemon_.config;
    wanted.disk.pager.write_budget_bytes_per_s = 64 << 10;
    uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK), wait_ms, gone = 0;
    char text[200];
    frames_store(&client, ns, 10);
    cr_assert(frames_until(&daemon_, all_written, 10), "not on disk");
    reload(&wanted);
    while (gone < 10 && delete_one(ns, gone + 1, text, sizeof text, &wait_ms) == QUIRE_OK) {
        gone++;
    }
    cr_assert_lt(gone, 10, "nothing was refused");
    cr_expect_not_null(strstr(text, "disk writes that deletions may use"), "%s", text);
    cr_expect_not_null(strstr(text, "nothing was deleted, try again in "), "%s", text);
    cr_expect(wait_ms > 0 && wait_ms <= 60000, "%u ms", wait_ms);
    cr_expect_eq(counter("disk_deletions_refused"), 1);
    wanted.disk.pager.write_budget_bytes_per_s = 0;
    reload(&wanted);
    cr_assert_eq(delete_one(ns, gone + 1, text, sizeof text, &wait_ms), QUIRE_OK);
    stop();
}

static bool restored(struct core *core, uint64_t records) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring && stats.log.live_records == records;
}

/* After a stop in good order the next daemon finds all of it, and says how much. */
Test(daemon_disk_status, found_again, .init = start) {
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 10);
    restart();
    cr_assert(frames_until(&daemon_, restored, 10), "not found again");
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_STATUS);
    cr_expect_str_eq(reply->disk->state, "serving");
    cr_expect(reply->disk->restored_records == 10 && reply->disk->restored_segments == reply->disk->restore_segments);
    cr_expect_str_eq(reply->disk->restored_from, "snapshot");
    cr_expect_str_eq(reply->disk->restored_why, "");
    cr_expect(reply->disk->restored_us > 0 && reply->disk->restored_bytes > 0 && reply->disk->doubtful_records == 0);
    cr_expect_eq(reply->tiers[1]->records, 10);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    cr_expect_eq(counter("disk_restored"), 10);
    stop();
}

static bool restored_all(struct core *core, uint64_t yes) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.restoring != (yes != 0);
}

/* A bit turns in the last of the records that lie in the file. */
static void damage_last_record(void) {
    static uint8_t bytes[2 << 20];
    const uint32_t magic = QUIRE_RECORD_MAGIC;
    size_t last = 0;
    FILE *file = fopen(folder.first, "r+b");
    cr_assert(file != NULL && fread(bytes, sizeof bytes, 1, file) == 1);
    for (size_t at = QUIRE_LOG_FIRST_SEGMENT; at < sizeof bytes; at += QUIRE_LOG_UNIT_MIN) {
        last = memcmp(bytes + at, &magic, sizeof magic) == 0 ? at : last;
    }
    cr_assert_gt(last, 0);
    cr_assert_eq(fseek(file, (long)last + 1000, SEEK_SET), 0);
    fputc(bytes[last + 1000] ^ 1, file);
    fclose(file);
}

/*
 * The daemon dies. Its last segment has no footer, a record there is damaged, and a drive fails the first read: the next one serves all the same, and says from
 * where it knows what it knows, and what it doubts.
 */
Test(daemon_disk_status, after_a_death) {
    configure();
    pid_t child = frames_fork();
    if (child == 0) {
        char text[200];
        uint32_t wait_ms;
        frames_begin(&daemon_, &client);
        uint32_t ns = frames_ns_open(&client, "n", QUIRE_OK);
        frames_store(&client, ns, 10);
        bool good = frames_until(&daemon_, all_written, 10) && delete_one(ns, 1, text, sizeof text, &wait_ms) == QUIRE_OK;
        _exit(good ? 0 : 1);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    unlink(daemon_.config.socket_path);
    frames_forget_lock(&daemon_);
    damage_last_record();
    daemon_.config.n_faults = 1;
    snprintf(daemon_.config.faults[0], sizeof daemon_.config.faults[0], "read:error=EIO,count=1");
    frames_begin(&daemon_, &client);
    cr_assert(frames_until(&daemon_, restored_all, 1));
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_STATUS);
    cr_expect_str_eq(reply->disk->restored_from, "log");
    cr_expect_str_eq(reply->disk->restored_why, "quired was not stopped in good order");
    cr_expect(reply->disk->restored_us > 0 && reply->disk->restored_bytes > 0);
    cr_expect_eq(reply->disk->restored_deletions, 1);
    cr_expect_eq(reply->disk->walked_segments, 1);
    cr_expect_eq(reply->disk->failed_reads, 1);
    cr_expect_geq(reply->disk->doubtful_records, 1);
    char line[80];
    snprintf(line, sizeof line, "quire_disk_doubtful_records %llu\n", (unsigned long long)reply->disk->doubtful_records);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    struct question question = {0};
    cr_assert_eq(core_call(daemon_.core, write_metrics, &question, FRAMES_WAIT_MS), QUIRE_OK);
    cr_expect(strstr(question.text, line) != NULL && strstr(question.text, "quire_disk_failed_reads 1\n") != NULL, "%s", question.text);
    free(question.text);
    stop();
}

/* A reload puts rules of faults in place of those before, and they are counted for all to see. */
Test(daemon_disk_status, faults_by_reload, .init = start) {
    static struct config wanted;
    wanted = daemon_.config;
    for (uint32_t n = 2; n != UINT32_MAX; n--) {
        wanted.n_faults = n;
        snprintf(wanted.faults[0], sizeof wanted.faults[0], "read:delay=1ms");
        snprintf(wanted.faults[1], sizeof wanted.faults[1], "write:delay=1ms");
        reload(&wanted);
        Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_STATUS);
        cr_expect_eq(reply->disk->faults, n);
        cr_expect_eq(reloaded, QUIRE_OK);
        quire__wire__admin_reply__free_unpacked(reply, NULL);
    }
    stop();
}

static struct disk_io *backend(const struct core *core) {
    const char *why;
    bool registered;
    return disk_backend(core->disk_tier, &why, &registered);
}
static void as_many_as_there_may_be(struct core *core, void *arg) {
    struct disk_fault_rule rule;
    char why[256];
    uint32_t id;
    (void)arg;
    cr_assert_eq(disk_fault_parse("read:delay=1ms", &rule, why, sizeof why), QUIRE_OK);
    while (faults_add(backend(core), &rule, &id) == QUIRE_OK) {
    }
}

/* A reload whose rules cannot be at work says so, and why: the operator has no room left for it, or the rule names a file that there is not. */
Test(daemon_disk_status, faults_that_a_reload_refuses, .init = start) {
    static struct config none;
    none = daemon_.config;
    reload_rule("read:delay=1ms,file=1");
    cr_expect_eq(reloaded, QUIRE_INVALID);
    cr_expect_not_null(strstr(reload_why, "file=1: the set has 1"), "%s", reload_why);
    cr_assert_eq(core_call(daemon_.core, as_many_as_there_may_be, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    reload_rule("read:delay=1ms,file=0");
    cr_expect_eq(reloaded, QUIRE_TOO_LARGE);
    cr_expect_not_null(strstr(reload_why, "there are 64 rules already"), "%s", reload_why);
    reload(&none);
    cr_expect_eq(reloaded, QUIRE_OK);
    stop();
}

static bool lost(struct core *core, uint64_t devices) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.log.devices_lost == devices;
}

/* A drive that fails is seen by its name, with the reason; the daemon goes on. A file that failed is made anew at the next start. */
Test(daemon_disk_status, a_file_that_failed, .init = start) {
    reload_rule("write:error=EIO");
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 10);
    cr_assert(frames_until(&daemon_, lost, 1), "still in use");
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_STATUS);
    cr_expect_not(reply->disk->files[0]->in_use);
    cr_expect_str_eq(reply->disk->files[0]->why, "it failed while in use: Input/output error");
    cr_expect_geq(reply->disk->files[0]->write_errors, 1);
    cr_expect(reply->disk->lost_segments == 32 && reply->tiers[1]->capacity_bytes == 0);
    cr_expect_eq(reply->tiers[0]->records, 10, "memory has them still");
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    restart();
    reply = ask(QUIRE_ADMIN_STATUS);
    cr_expect(reply->disk->files[0]->in_use && reply->disk->clean_segments == 32 && reply->tiers[1]->records == 0);
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    stop();
}
