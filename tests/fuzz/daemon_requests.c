/*
 * Any sequence of frames from a client that has said hello, against a real core without a thread of its own. The input is a list of
 * (type, size, body); frames get right headers and sums, so that what is tried is what lies behind them. When the client has gone nothing may
 * be held, and the pager's books must agree. The first byte chooses a member or a guest, with or without a disk tier.
 *
 * What no input could know by itself is put into its frames where their type bids so: the lease that was granted last, and its slots.
 */
#include "daemon/core_internal.h"
#include "daemon/disk/disk.h"
#include "daemon/local_link.h"
#include "proto/layout.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WITH_LEASE 0x80u /* in a type: with the last lease */
#define AT_ONCE 0x40u    /* the next frame comes before this one's work is done */
#define MOST_SLOTS 16u

static struct core *core;
static char folder[40];
static uint64_t last_lease;
static uint32_t last_slots[MOST_SLOTS], n_last_slots;

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void leave(void) {
    char lock[CONFIG_PATH_MAX + 8];
    if (core == NULL) {
        return;
    }
    static const char *const files[] = {"log", "log.meta", "log.snapshot"};
    snprintf(lock, sizeof lock, "%s.lock", core->config.socket_path);
    core_destroy(&core);
    unlink(lock);
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(files); i++) {
        snprintf(lock, sizeof lock, "%s/%s", folder, files[i]);
        unlink(lock);
    }
    rmdir(folder);
}

/* Small, and in memory where that is possible: what is tried is not the drive. */
static void add_disk(struct config *config) {
    snprintf(config->files[0].path, sizeof config->files[0].path, "%s/log", folder);
    config->files[0].size_bytes = 8 << 20;
    config->n_files = 1;
    config->disk.segment_bytes = 1 << 20;
    config->disk.scrub_bytes_per_s = 0;
    config->disk.io_backend = DISK_IO_THREADS;
    config->disk.io_depth = 1;
    config->disk.pager.batch_bytes = 64 << 10;
    config->disk.pager.write_delay_ms = 0;
    config->disk.pager.clean_segments = 2;
}

static void start(bool disk) {
    static struct config config;
    char why[1024];
    config_default(&config);
    snprintf(folder, sizeof folder, "%s/quire-fuzz-XXXXXX", disk && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(mkdtemp(folder) != NULL);
    if (disk) {
        add_disk(&config);
    }
    snprintf(config.socket_path, sizeof config.socket_path, "%s/s", folder);
    config.n_domains = 1;
    strcpy(config.domains[0].name, "default");
    config.domains[0].pool_bytes = 256 << 10;
    config.domains[0].members[0] = geteuid();
    config.domains[0].n_members = 1;
    config.work_threads = 1;
    config.ingest_bytes = config.ingest_window_bytes = 64 << 10;
    config.pager.max_blocks = 1000;
    config.pager.max_namespaces = 8;
    config.pager.ghost_entries = 1024;
    log_setup(LOG_LEVEL_ERROR, false);
    require(core_create(&config, &core, why, sizeof why) == QUIRE_OK);
}

static void remember(const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__Grants *grants = frame->type == QUIRE_MSG_GRANTS ? quire__wire__grants__unpack(NULL, frame->body_bytes, body) : NULL;
    if (grants != NULL && grants->lease != 0) {
        last_lease = grants->lease;
        n_last_slots = (uint32_t)quire_min_u64(MOST_SLOTS, grants->grants.len / sizeof(struct quire_wire_grant));
        for (uint32_t i = 0; i < n_last_slots; i++) {
            struct quire_wire_grant grant;
            memcpy(&grant, grants->grants.data + i * sizeof grant, sizeof grant);
            last_slots[i] = grant.slot;
        }
    }
    if (grants != NULL) {
        quire__wire__grants__free_unpacked(grants, NULL);
    }
}

/* Reads what the daemon says, and forgets it, descriptors included, but for leases. */
static void listen_to(int fd) {
    static uint8_t bytes[65536];
    static struct quire_decoder decoder;
    ssize_t got;
    if (fd < 0) { /* the next one begins anew */
        quire_decoder_free(&decoder);
        decoder = (struct quire_decoder){0};
    }
    while ((got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        size_t used = 0;
        for (size_t at = 0; at < (size_t)got && decoder.failed == QUIRE_OK; at += used) {
            if (quire_decoder_feed(&decoder, bytes + at, (size_t)got - at, &used) == QUIRE_OK) {
                remember(&decoder.frame, quire_decoder_body(&decoder));
                quire_decoder_next(&decoder);
            }
        }
    }
}

/* What is to be written is, as far as there is room. */
static bool disk_busy(void) {
    struct pager_disk_stats stats;
    pager_disk_stats(core->pager, &stats);
    return store_in_flight(disk_store(core->disk_tier)) > 0 || stats.restoring || stats.reading_bytes > 0 ||
           (stats.dirty_records > 0 && stats.log.clean > 1);
}

static bool busy(void) { return core->run_head != NULL || core->n_free_jobs != CORE_JOBS || (core->disk_tier != NULL && disk_busy()); }
static void settle(int fd) {
    unsigned turns = 0;
    do {
        require(core_turn(core, busy() && core->run_head == NULL ? loop_now_ns() + QUIRE_NS_PER_MS : 0) == QUIRE_OK);
        listen_to(fd);
    } while (busy() && (core->disk_tier == NULL || ++turns < 100));
}

static void say_only(int fd, uint16_t type, const uint8_t *body, uint32_t body_bytes) {
    static uint8_t bytes[QUIRE_FRAME_BYTES + 65536];
    struct quire_frame frame = {.type = type, .body_bytes = body_bytes, .request_id = 1};
    if (body_bytes > 0) {
        memcpy(bytes + QUIRE_FRAME_BYTES, body, body_bytes);
    }
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    ssize_t sent = send(fd, bytes, QUIRE_FRAME_BYTES + body_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
}

static void say(int fd, uint16_t type, const uint8_t *body, uint32_t body_bytes) {
    say_only(fd, type, body, body_bytes);
    settle(fd);
}

static void say_message(int fd, enum quire_msg type, const ProtobufCMessage *message) {
    uint8_t body[QUIRE_LAYOUT_WIRE_MAX + 256];
    require(protobuf_c_message_get_packed_size(message) <= sizeof body);
    say(fd, (uint16_t)type, body, (uint32_t)protobuf_c_message_pack(message, body));
}

/* What every decent client does first. Window numbers start at 1 again, so that an input can name its own. */
static void introduce(int fd, uint64_t features) {
    static quire_layout layout;
    static uint8_t wire[QUIRE_LAYOUT_WIRE_MAX];
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    const struct ingest_limits limits = ingest_limits_of(&core->config);
    ingest_destroy(&core->ingest);
    require(ingest_create(&limits, &ingest_session_ops, &core->ingest) == QUIRE_OK);
    hello.major = QUIRE_PROTO_MAJOR;
    hello.features = features;
    say_message(fd, QUIRE_MSG_HELLO, &hello.base);
    layout.n_layers = layout.n_groups = 1;
    layout.block_tokens = 16;
    layout.group[0].n_kv_heads = 2;
    layout.group[0].k_dim = layout.group[0].v_dim = 16;
    layout.group[0].elem = QUIRE_F16;
    open.name = (char *)"n";
    open.layout.data = wire;
    require(quire_layout_encode(&layout, wire, sizeof wire, &open.layout.len) == QUIRE_OK);
    say_message(fd, QUIRE_MSG_NS_OPEN, &open.base);
    get.bytes = 16 << 10;
    say_message(fd, QUIRE_MSG_INGEST_GET, &get.base);
}

/* The body with the last lease; in a LOAD each item's slot counts the slots of that lease. */
static uint32_t with_lease(uint8_t type, const uint8_t *from, uint32_t from_bytes, uint8_t *body, uint32_t capacity) {
    Quire__Wire__Load *load = type == QUIRE_MSG_LOAD ? quire__wire__load__unpack(NULL, from_bytes, from) : NULL;
    uint32_t body_bytes = from_bytes;
    memcpy(body, from, from_bytes);
    if (load != NULL) {
        for (size_t at = 0; n_last_slots > 0 && at + sizeof(struct quire_wire_load) <= load->items.len;
             at += sizeof(struct quire_wire_load)) {
            uint32_t slot;
            memcpy(&slot, load->items.data + at, sizeof slot);
            memcpy(load->items.data + at, &last_slots[slot % n_last_slots], sizeof slot);
        }
        if (quire__wire__load__get_packed_size(load) <= capacity) {
            body_bytes = (uint32_t)quire__wire__load__pack(load, body);
        }
        quire__wire__load__free_unpacked(load, NULL);
    }
    if (capacity - body_bytes < 11) {
        return body_bytes;
    }
    body[body_bytes++] = 1 << 3; /* the field `lease` of them all; of two the last one counts */
    for (uint64_t left = last_lease; left >= 0x80; left >>= 7) {
        body[body_bytes++] = (uint8_t)(left | 0x80);
    }
    unsigned shift = 0;
    while (last_lease >> shift >= 0x80) {
        shift += 7;
    }
    body[body_bytes++] = (uint8_t)(last_lease >> shift);
    return body_bytes;
}

static void converse(int fd, const uint8_t *data, size_t size) {
    static uint8_t body[65536];
    while (size >= 3) {
        uint32_t body_bytes = (uint32_t)data[1] | (uint32_t)data[2] << 8, told_bytes;
        uint8_t type = data[0] & (uint8_t) ~(WITH_LEASE | AT_ONCE);
        body_bytes = (uint32_t)quire_min_u64(body_bytes, size - 3);
        told_bytes = body_bytes;
        if ((data[0] & WITH_LEASE) != 0) {
            told_bytes = with_lease(type, data + 3, body_bytes, body, sizeof body);
        } else {
            memcpy(body, data + 3, body_bytes);
        }
        ((data[0] & AT_ONCE) != 0 ? say_only : say)(fd, type, body, told_bytes);
        data += 3 + body_bytes;
        size -= 3 + body_bytes;
    }
}

/* Whatever was told of costs, rates are possible ones, and so is what was saved. */
static void check_savings(void) {
    const struct savings *savings = &core->savings;
    for (uint32_t i = 0; i < savings->n_ns; i++) {
        const double us = savings->ns[i].us_per_token;
        require(us == 0 || (us >= QUIRE_COST_MIN_US && us <= QUIRE_COST_MAX_US));
    }
    require(savings->saved_s >= 0 && savings->saved_s <= (double)pager_counters(core->pager)->hit_tokens * QUIRE_COST_MAX_US / 1e6 * 1.001);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fds[2];
    struct link *link;
    struct session *session;
    static bool cleans_up;
    if (size == 0) {
        return 0;
    }
    bool disk = data[0] == 'd' || data[0] == 'e' || data[0] == 'f';
    if (core != NULL && disk != (core->disk_tier != NULL)) {
        leave();
    }
    if (core == NULL) {
        start(disk);
        cleans_up = cleans_up || atexit(leave) == 0;
    }
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    require(local_link_create(core, fds[0], &link) == QUIRE_OK);
    require(session_create(core, link, &session) == QUIRE_OK);
    session->pid = getpid();
    session->member = session->admin = data[0] != 'g' && data[0] != 'f';
    introduce(fds[1], data[0] == 'e' ? 0 : QUIRE_FEATURE_LOAD);
    converse(fds[1], data + 1, size - 1);
    close(fds[1]);
    do {
        settle(-1);
    } while (core->n_sessions > 0);
    require(loads_count(&core->loads) == 0 && core->loads.n_items == 0);
    struct pager_domain_stats stats;
    pager_domain_stats(core->pager, 0, &stats);
    require(puts_count(&core->puts) == 0 && ingest_lent_bytes(core->ingest) == 0);
    require(stats.leased_bytes == 0 || core->quarantine.count > 0);
    pager_check(core->pager);
    check_savings();
    if (core->quarantine.count > 0) {
        leave(); /* it kicked itself: its process, which is this one, will not go away */
    }
    return 0;
}
