/*
 * A domain whose pool trusted clients reach from afar (rma): one of them writes over a record, as only it can, by mistake or not. Nobody else is served those bytes and
 * they do not come to disk.
 */
#include "daemon_wire.h"

#include "daemon/disk/disk.h"
#include "pager/disk.h"

#define BLOCKS 5u
#define BAD BLOCKS /* of them; nothing continues it */

static struct remote_client client;
static uint32_t ns_, far_ns; /* the witness's, and the client's */
static struct quire_wire_grant grants[BLOCKS];
static char heard_path[64];

/* ---- the daemon ----------------------------------------------------------------------------------------------------------------- */
/* What the daemon says to its log goes to a file until log_heard. */
static void log_listen(void) {
    snprintf(heard_path, sizeof heard_path, "/tmp/quire-heard-%d", (int)getpid());
    cr_assert_not_null(freopen(heard_path, "w", stderr));
}
static uint32_t log_heard(const char *word) {
    static char text[65536];
    FILE *file = fopen(heard_path, "r");
    cr_assert_not_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    uint32_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        n++;
    }
    return n;
}

static void rma_config(bool rma) {
    wire_config();
    daemon_.config.domains[0].rma = rma;
    daemon_.config.log_level = LOG_LEVEL_WARN;
}
static void begin(void) {
    frames_begin(&daemon_, &witness);
    log_setup(LOG_LEVEL_WARN, false);
    ns_ = frames_ns_open(&witness, "n", QUIRE_OK);
}
static void end(void) {
    unlink(heard_path);
    stop();
}

/* Where block `number` lies, as one who reads from afar knows it. Writes over its last lane. */
static void spoil(struct core *core, void *arg) {
    struct pager_block_info info;
    quire_key key = frames_key(*(uint32_t *)arg);
    cr_assert_eq(pager_block_info(core->pager, core->now_ns, 0, &key, &info), QUIRE_OK);
    cr_assert_eq(info.n_records, 1);
    core->pools[0]->base[info.records[0].offset + info.records[0].size_bytes - 1] ^= 1;
}
static void spoil_block(uint32_t number) { cr_assert_eq(core_call(daemon_.core, spoil, &number, FRAMES_WAIT_MS), QUIRE_OK); }

/* ---- a client over the wire ----------------------------------------------------------------------------------------------------- */
static void far_begin(void) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    remote_begin(&client);
    open.name = (char *)"n";
    remote_send(&client, QUIRE_MSG_NS_OPEN, &open.base, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_NS_ACK);
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, answer.frame.body_bytes, answer.body);
    far_ns = ack->ns;
    quire__wire__ns_ack__free_unpacked(ack, NULL);
    frames_answer_free(&answer);
}

/* Looks block 1 to BLOCKS up, as a prefix: the lease; its grants in order. */
static uint64_t far_lease(uint32_t expected) {
    Quire__Wire__Lease lease = QUIRE__WIRE__LEASE__INIT;
    quire_key keys[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        keys[i] = frames_key(i + 1);
    }
    lease.ns = far_ns;
    lease.flags = QUIRE_WIRE_LEASE_PREFIX;
    lease.keys = (ProtobufCBinaryData){.len = sizeof keys, .data = keys[0].b};
    remote_send(&client, QUIRE_MSG_LEASE, &lease.base, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_GRANTS);
    Quire__Wire__Grants *got = quire__wire__grants__unpack(NULL, answer.frame.body_bytes, answer.body);
    cr_assert_eq(got->hits, expected, "%u hits", got->hits);
    cr_assert_leq(got->grants.len, sizeof grants);
    memcpy(grants, got->grants.data, got->grants.len);
    uint64_t id = got->lease;
    quire__wire__grants__free_unpacked(got, NULL);
    frames_answer_free(&answer);
    return id;
}

/* Reads a part of a granted record: its status. What comes must be the block's own. */
static enum quire_status far_read(uint64_t lease, uint32_t i, uint32_t offset, uint32_t size) {
    static uint8_t bytes[16384];
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = lease;
    read.slot = grants[i].slot;
    read.offset = offset;
    read.size = size;
    uint64_t id = remote_send(&client, QUIRE_MSG_READ, &read.base, 0);
    struct frames_answer answer = remote_expect(&client, QUIRE_MSG_BULK);
    cr_assert_eq(answer.frame.request_id, id);
    Quire__Wire__Bulk *bulk = quire__wire__bulk__unpack(NULL, answer.frame.body_bytes, answer.body);
    enum quire_status status = (enum quire_status)bulk->status;
    quire__wire__bulk__free_unpacked(bulk, NULL);
    cr_assert_eq(answer.frame.bulk_bytes, status == QUIRE_OK ? size : 0);
    for (uint64_t at = 0, got; at < answer.frame.bulk_bytes; at += got) {
        got = quire_min_u64(client.have - client.at, answer.frame.bulk_bytes - at);
        memcpy(bytes + at, client.pending + client.at, got);
        client.at += got;
        if (got == 0) {
            client.at = client.have = 0;
            while (quire_tls_read(client.tls, client.pending, sizeof client.pending, &client.have) == QUIRE_PENDING) {
                wait_for(&client);
            }
            cr_assert_gt(client.have, 0, "the daemon hung up in the middle of a record");
        }
    }
    frames_answer_free(&answer);
    if (status == QUIRE_OK && offset == 0 && size == grants[i].size) {
        quire_key key = frames_key(i + 1);
        cr_assert_eq(quire_record_intact(bytes, size, 0, &key, NULL, 0), QUIRE_OK, "wrong bytes were served");
    }
    return status;
}
static enum quire_status far_read_all(uint64_t lease, uint32_t i) { return far_read(lease, i, 0, grants[i].size); }

/* ---- stories -------------------------------------------------------------------------------------------------------------------- */
/*
 * The damaged block is a miss for whoever reads it over a wire, and its bytes are never sent; what of it is good and asked for by itself, is. Told once, in a counter and the
 * log; the next look-up does not find it. The others are served as before, and it can be stored anew.
 */
Test(daemon_recheck, damaged_bytes_are_not_served, .timeout = 60) {
    log_listen();
    rma_config(true);
    begin();
    frames_store(&witness, ns_, BLOCKS);
    far_begin();
    uint64_t lease = far_lease(BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        cr_assert_eq(far_read_all(lease, i), QUIRE_OK);
    }
    spoil_block(BAD);
    cr_assert_eq(far_read(lease, BAD - 1, 0, 256), QUIRE_OK, "nothing of that is damaged");
    cr_assert_eq(core_counters(daemon_.core)->reads_damaged, 0);
    for (uint32_t again = 1; again <= 3; again++) {
        for (uint32_t i = 0; i < BLOCKS; i++) {
            cr_assert_eq(far_read_all(lease, i), i == BAD - 1 ? QUIRE_MISS : QUIRE_OK);
        }
        cr_assert_eq(core_counters(daemon_.core)->reads_damaged, again);
        cr_assert_eq(pager_counters(daemon_.core->pager)->records_damaged, 1, "it is given up once");
    }
    far_lease(BAD - 1);
    cr_assert_geq(log_heard("record_damaged"), 1);
    frames_store(&witness, ns_, BLOCKS);
    lease = far_lease(BLOCKS);
    cr_assert_eq(far_read_all(lease, BAD - 1), QUIRE_OK);
    remote_close(&client);
    end();
}

static bool gone(struct core *core, uint64_t arg) {
    (void)arg;
    return core->n_sessions == 1 && core->flow.bytes == 0 && core->rechecks.first == NULL;
}

/* Who asks for hundreds of records and is gone: what is being looked at for it ends, and nothing stays held. */
Test(daemon_recheck, gone_in_the_middle, .timeout = 60) {
    rma_config(true);
    begin();
    frames_store(&witness, ns_, BLOCKS);
    for (int round = 0; round < 10; round++) {
        far_begin();
        Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
        read.lease = far_lease(BLOCKS);
        for (uint32_t i = 0; i < 200; i++) {
            read.slot = grants[i % BLOCKS].slot;
            read.size = grants[i % BLOCKS].size;
            remote_send(&client, QUIRE_MSG_READ, &read.base, 0);
        }
        remote_close(&client);
        cr_assert(frames_until(&daemon_, gone, 0), "something is still being looked at");
    }
    stop();
}

/* A daemon that stops while records are being looked at, and sent. */
Test(daemon_recheck, stops_in_the_middle, .timeout = 60) {
    rma_config(true);
    daemon_.config.drain_ms = 0;
    begin();
    frames_store(&witness, ns_, BLOCKS);
    far_begin();
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = far_lease(BLOCKS);
    for (uint32_t i = 0; i < 500; i++) {
        read.slot = grants[i % BLOCKS].slot;
        read.size = grants[i % BLOCKS].size;
        remote_send(&client, QUIRE_MSG_READ, &read.base, 0);
    }
    unlink(certificate);
    unlink(token_file);
    frames_end(&daemon_, &witness);
    remote_close(&client);
}

static bool on_disk(struct core *core, uint64_t n) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return stats.dirty_records == 0 && stats.writing_bytes == 0 && !stats.restoring && stats.log.live_records == n;
}
static bool healthy(struct core *core, uint64_t arg) {
    struct pager_disk_stats stats;
    struct store_device device;
    (void)arg;
    pager_disk_stats(core->pager, &stats);
    store_device(disk_store(core->disk_tier), 0, &device);
    return stats.log.devices_lost == 0 && stats.counters->disk_write_errors == 0 && !device.lost && device.refuses == 0;
}
static bool only_good(struct core *core, uint64_t arg) {
    (void)arg;
    for (uint32_t number = 1; number <= BLOCKS; number++) {
        struct pager_block_info info;
        quire_key key = frames_key(number);
        cr_assert_eq(pager_block_info(core->pager, core->now_ns, 0, &key, &info), QUIRE_OK);
        cr_assert_eq(info.n_records, number == BAD ? 0 : 1, "block %u", number);
    }
    return true;
}
static void write_now(struct core *core, void *arg) {
    (void)arg;
    disk_flush(core->disk_tier);
}

/* Damaged before it was written to disk: it is not there afterwards, nor after a restart; the others of its batch are, and the drive goes on. */
Test(daemon_recheck, damaged_bytes_do_not_come_to_disk, .timeout = 60) {
    struct frames_folder folder;
    log_listen();
    rma_config(true);
    frames_add_folder(&daemon_, &folder, 1);
    daemon_.config.disk.pager.write_delay_ms = 3600000;
    begin();
    frames_store(&witness, ns_, BLOCKS);
    spoil_block(BAD);
    cr_assert_eq(core_call(daemon_.core, write_now, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    cr_assert(frames_until(&daemon_, on_disk, BLOCKS - 1), "the damaged block is on disk, or others are not");
    cr_assert(frames_until(&daemon_, healthy, 0));
    cr_assert_eq(pager_counters(daemon_.core->pager)->records_damaged, 1);
    cr_assert_eq(log_heard("record_damaged"), 1);
    far_begin();
    far_lease(BAD - 1);
    remote_close(&client);
    end();
    rma_config(true);
    char again[160];
    snprintf(again, sizeof again, "%s/log", folder.path);
    frames_add_disk(&daemon_, again, 1, 32 << 20, 1 << 20);
    begin();
    cr_assert(frames_until(&daemon_, on_disk, BLOCKS - 1));
    cr_assert(frames_until(&daemon_, only_good, 0));
    stop();
    frames_remove_folder(&folder);
}
