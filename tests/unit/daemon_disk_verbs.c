/* What an operator does to the disk tier of a running core: has all of it verified, lets it fail by rule, asks where a block's records lie. */
#include "daemon/disk/disk.h"
#include "daemon/disk/faults.h"
#include "daemon_frames.h"

#include <stdlib.h>

static struct frames_daemon daemon_;
static struct frames_client client;
static struct frames_folder folder;

static void configure(bool with_disk, bool allow_faults) {
    frames_config(&daemon_);
    frames_add_folder(&daemon_, &folder, with_disk ? 1 : 0);
    daemon_.config.allow_faults = allow_faults;
}

static void start(void) { frames_begin(&daemon_, &client); }

static void halt(void) { frames_end(&daemon_, &client); }

static void stop(void) {
    halt();
    frames_remove_folder(&folder);
}

static Quire__Wire__AdminReply *ask_keys(uint32_t verb, const char *ns, const quire_key *key, const char *text, uint64_t number,
                                         enum quire_status expected) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = verb;
    request.ns = (char *)(uintptr_t)ns;
    request.text = (char *)(uintptr_t)text;
    request.number = number;
    request.keys = (ProtobufCBinaryData){.len = key != NULL ? QUIRE_KEY_BYTES : 0, .data = (uint8_t *)(uintptr_t)key};
    struct frames_answer answer = frames_expect(&client, QUIRE_MSG_ADMIN_REPLY, frames_send(&client, QUIRE_MSG_ADMIN, &request.base));
    Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, answer.frame.body_bytes, answer.body);
    frames_answer_free(&answer);
    cr_assert_not_null(reply);
    cr_assert_eq(reply->status, expected, "%u: %s", reply->status, reply->text);
    return reply;
}
static Quire__Wire__AdminReply *ask(uint32_t verb, const char *text, uint64_t number, enum quire_status expected) {
    return ask_keys(verb, "", NULL, text, number, expected);
}
static void drop(Quire__Wire__AdminReply *reply) { quire__wire__admin_reply__free_unpacked(reply, NULL); }

/* Refused, and the words say what to do. */
static void refused(uint32_t verb, const char *text, uint64_t number, enum quire_status expected, const char *words) {
    Quire__Wire__AdminReply *reply = ask(verb, text, number, expected);
    cr_expect_not_null(strstr(reply->text, words), "'%s' does not say '%s'", reply->text, words);
    drop(reply);
}

static bool all_written(struct core *core, uint64_t records) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.log.live_records == records && stats.writing_bytes == 0 && stats.dirty_records == 0;
}
static bool restored(struct core *core, uint64_t records) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return !stats.restoring && stats.log.live_records == records;
}
static bool verified(struct core *core, uint64_t requests) {
    return scrub_progress(disk_scrub(core->disk_tier))->requests_done == requests;
}

/* Where the last bytes of the first segment's first records lie in the file, as the log's heads tell. */
static void find_records(uint32_t n, long *last_bytes) {
    static struct quire_log_entry entries[QUIRE_LOG_MAX_BATCH];
    static uint8_t bytes[1 << 20];
    struct quire_log_superblock superblock;
    struct quire_log_segment_header header;
    struct quire_log_batch batch;
    uint32_t done = 0;
    FILE *from = fopen(folder.first, "rb");
    cr_assert(from != NULL && fread(bytes, QUIRE_LOG_SUPERBLOCK_BYTES, 1, from) == 1);
    cr_assert_eq(quire_log_superblock_decode(bytes, &superblock), QUIRE_OK);
    struct quire_log_geometry g = {.unit_bytes = superblock.unit_bytes, .segment_units = superblock.segment_units};
    memcpy(g.set_id, superblock.set_id, sizeof g.set_id);
    cr_assert(fseek(from, QUIRE_LOG_FIRST_SEGMENT, SEEK_SET) == 0 && fread(bytes, sizeof bytes, 1, from) == 1);
    fclose(from);
    cr_assert_eq(quire_log_segment_header_decode(&g, bytes, superblock.set_id, 0, &header), QUIRE_OK);
    for (uint32_t at = 1; done < n; at += batch.size_units) {
        const uint8_t *head = bytes + (size_t)at * g.unit_bytes;
        cr_assert_eq(quire_log_head_decode(&g, head, sizeof bytes - (size_t)at * g.unit_bytes, header.epoch, at, &batch, entries),
                     QUIRE_OK);
        for (uint32_t i = 0; i < batch.n_entries && done < n; i++) {
            last_bytes[done++] = (long)QUIRE_LOG_FIRST_SEGMENT + (long)entries[i].at_units * g.unit_bytes + entries[i].size_bytes - 1;
        }
    }
}

/* They change behind the daemon's back. */
static void damage_records(uint32_t n) {
    long places[8];
    find_records(n, places);
    FILE *to = fopen(folder.first, "r+b");
    cr_assert_not_null(to);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(fseek(to, places[i], SEEK_SET), 0);
        int byte = fgetc(to);
        cr_assert_eq(fseek(to, places[i], SEEK_SET), 0);
        fputc(byte ^ 1, to);
    }
    fclose(to);
}

/* A start that finds ten records, in a sealed segment. */
static void start_with_ten(bool allow_faults) {
    configure(true, allow_faults);
    start();
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 10);
    cr_assert(frames_until(&daemon_, all_written, 10));
    halt();
    cr_assert_eq(mkdir(daemon_.folder, 0700), 0);
    start();
    cr_assert(frames_until(&daemon_, restored, 10), "not found again");
}

/* All of it is read once; two bits that turned meanwhile cost two records, which are misses from then on. Asking how far it is changes nothing. */
Test(daemon_disk_verbs, verify) {
    start_with_ten(false);
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_VERIFY, "", 0, QUIRE_OK);
    cr_expect(!reply->verify->running && reply->verify->done == 0 && reply->verify->segments == 32);
    drop(reply);
    damage_records(2);
    reply = ask(QUIRE_ADMIN_VERIFY, "", 1, QUIRE_OK);
    cr_expect(reply->verify->running || reply->verify->done == 1);
    drop(reply);
    cr_assert(frames_until(&daemon_, verified, 1), "not verified");
    reply = ask(QUIRE_ADMIN_VERIFY, "", 0, QUIRE_OK);
    cr_expect(!reply->verify->running && reply->verify->done == 1);
    cr_expect_eq(reply->verify->records, 10);
    cr_expect_eq(reply->verify->damaged, 2);
    cr_expect(reply->verify->unreadable == 0 && reply->verify->pass_segments == 1 && reply->verify->bytes > 0);
    drop(reply);
    cr_expect(frames_until(&daemon_, restored, 8), "what is damaged is still counted");
    refused(QUIRE_ADMIN_VERIFY, "", 2, QUIRE_INVALID, "1 to begin");
    stop();
}

/* Two records turned bad, and the drive does not give a third: each is told as what it is, of the whole tier as of the file, whoever found it. */
Test(daemon_disk_verbs, what_a_verification_finds_is_counted) {
    long places[3];
    char rule[80];
    struct pager_disk_stats stats;
    struct store_device file;
    start_with_ten(true);
    find_records(3, places);
    damage_records(2);
    snprintf(rule, sizeof rule, "read:error=EIO,offset=%ld-%ld", places[2], places[2] + 1);
    drop(ask(QUIRE_ADMIN_FAULT_ADD, rule, 0, QUIRE_OK));
    drop(ask(QUIRE_ADMIN_VERIFY, "", 1, QUIRE_OK));
    cr_assert(frames_until(&daemon_, verified, 1), "not verified");
    pager_disk_stats(daemon_.core->pager, &stats);
    store_device(disk_store(daemon_.core->disk_tier), 0, &file);
    cr_expect_eq(stats.counters->disk_corrupt, 2, "%llu", (unsigned long long)stats.counters->disk_corrupt);
    cr_expect_eq(stats.counters->disk_read_errors, 1);
    cr_expect(file.corrupt == 2 && file.read_errors == 1, "%llu corrupt, %llu not read", (unsigned long long)file.corrupt,
              (unsigned long long)file.read_errors);
    stop();
}

/* Rules come, hit, and go, one by one or all together; a wrong one is explained, one too many refused. */
Test(daemon_disk_verbs, faults) {
    configure(true, true);
    start();
    drop(ask(QUIRE_ADMIN_FAULT_LIST, "", 0, QUIRE_OK));
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_FAULT_ADD, "write:delay=1ms", 0, QUIRE_OK);
    cr_assert_eq(reply->n_faults, 1);
    cr_expect_str_eq(reply->faults[0]->rule, "write:delay=1ms");
    drop(reply);
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 4);
    cr_assert(frames_until(&daemon_, all_written, 4));
    reply = ask(QUIRE_ADMIN_FAULT_ADD, "read:error=EIO,probability=0.5,file=0", 0, QUIRE_OK);
    cr_assert_eq(reply->n_faults, 2);
    cr_expect_gt(reply->faults[0]->hits, 0);
    uint32_t first = reply->faults[0]->id;
    drop(reply);
    refused(QUIRE_ADMIN_FAULT_ADD, "read:explode", 0, QUIRE_INVALID, "explode");
    refused(QUIRE_ADMIN_FAULT_ADD, "read:error=EIO,file=99", 0, QUIRE_INVALID, "file=99: the set has 1");
    refused(QUIRE_ADMIN_FAULT_CLEAR, "", 12345, QUIRE_NOT_FOUND, "no rule 12345");
    refused(QUIRE_ADMIN_FAULT_CLEAR, "", (1ull << 32) + first, QUIRE_NOT_FOUND, "no rule");
    reply = ask(QUIRE_ADMIN_FAULT_CLEAR, "", first, QUIRE_OK);
    cr_assert_eq(reply->n_faults, 1);
    cr_expect_neq(reply->faults[0]->id, first);
    drop(reply);
    for (uint32_t i = 1; i < DISK_FAULTS_MAX; i++) {
        drop(ask(QUIRE_ADMIN_FAULT_ADD, "sync:delay=1ms", 0, QUIRE_OK));
    }
    refused(QUIRE_ADMIN_FAULT_ADD, "sync:delay=1ms", 0, QUIRE_TOO_LARGE, "quirectl fault clear");
    reply = ask(QUIRE_ADMIN_FAULT_CLEAR, "", 0, QUIRE_OK);
    cr_expect_eq(reply->n_faults, 0);
    drop(reply);
    stop();
}

/* Nobody lets a disk fail that was not said to be for rehearsals; but what the configuration lets it do is shown. */
Test(daemon_disk_verbs, faults_are_not_for_everybody) {
    configure(true, false);
    start();
    Quire__Wire__AdminReply *reply = ask(QUIRE_ADMIN_FAULT_LIST, "", 0, QUIRE_OK);
    cr_expect_eq(reply->n_faults, 0);
    drop(reply);
    for (uint32_t verb = QUIRE_ADMIN_FAULT_ADD; verb <= QUIRE_ADMIN_FAULT_CLEAR; verb++) {
        refused(verb, "read:error=EIO", 0, QUIRE_DENIED, "--allow-faults");
    }
    stop();
    configure(true, false);
    daemon_.config.n_faults = 1;
    snprintf(daemon_.config.faults[0], sizeof daemon_.config.faults[0], "read:delay=1ms");
    start();
    reply = ask(QUIRE_ADMIN_FAULT_LIST, "", 0, QUIRE_OK);
    cr_assert_eq(reply->n_faults, 1);
    cr_expect_str_eq(reply->faults[0]->rule, "read:delay=1ms");
    drop(reply);
    stop();
}

/* Without a disk tier there is nothing to do, and a word why. */
Test(daemon_disk_verbs, without_disk) {
    configure(false, true);
    start();
    refused(QUIRE_ADMIN_VERIFY, "", 1, QUIRE_UNSUPPORTED, "there is no disk tier");
    refused(QUIRE_ADMIN_FAULT_LIST, "", 0, QUIRE_UNSUPPORTED, "there is no disk tier");
    stop();
}

/* A block's record is in memory and on disk, then on disk only; a namespace tells what it has there. */
Test(daemon_disk_verbs, where_a_block_is) {
    const quire_key key = frames_key(1);
    configure(true, false);
    start();
    frames_store(&client, frames_ns_open(&client, "n", QUIRE_OK), 4);
    cr_assert(frames_until(&daemon_, all_written, 4));
    Quire__Wire__AdminReply *reply = ask_keys(QUIRE_ADMIN_BLOCK_SHOW, "n", &key, "", 0, QUIRE_OK);
    cr_assert(reply->n_blocks == 1 && reply->blocks[0]->n_records == 1);
    cr_expect_str_eq(reply->blocks[0]->records[0]->tier, "host");
    cr_expect(reply->blocks[0]->records[0]->on_disk && reply->blocks[0]->records[0]->segment < 32);
    drop(reply);
    drop(ask(QUIRE_ADMIN_EVICT, "", 1 << 30, QUIRE_OK));
    reply = ask_keys(QUIRE_ADMIN_BLOCK_SHOW, "n", &key, "", 0, QUIRE_OK);
    cr_assert(reply->n_blocks == 1 && reply->blocks[0]->n_records == 1);
    const Quire__Wire__RecordInfo *record = reply->blocks[0]->records[0];
    cr_expect_str_eq(record->tier, "disk");
    cr_expect(record->on_disk && record->segment < 32 && record->offset > 0 && record->bytes > 0);
    drop(reply);
    reply = ask_keys(QUIRE_ADMIN_NS_LIST, "n", NULL, "", 0, QUIRE_OK);
    cr_expect_eq(reply->namespaces[0]->disk_records, 4);
    cr_expect_gt(reply->namespaces[0]->disk_bytes, 0);
    drop(reply);
    stop();
}
