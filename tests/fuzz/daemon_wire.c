/*
 * Whatever a client of another host may send, against a real core and a real TLS rail, neither with a thread of its own: rail, exchange, core and
 * client take turns here. The input's first byte says how it begins: 'h' greeted with a token, 'r' with a token that may only read, 's' a stranger,
 * 'n' bytes instead of TLS, 't' a file of tokens.
 *
 * What follows is a list of (type, how, size, body[, announced, sent]). Frames get right headers and sums, so that what is tried is what lies behind
 * them, unless `how` bids otherwise, and come in pieces. When the client has gone nothing may be held, by the rail as by the core.
 */
#include "daemon/core_internal.h"
#include "daemon/net/tls_rail_internal.h"
#include "proto/layout.h"
#include "tests/certificate.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bits of `how`. */
enum {
    HOW_PIECES = 3,  /* 0: in one piece; 1: of one byte; 2: of 39; 3: of 4000, and only then the daemon has a turn */
    HOW_RAW = 4,     /* the body alone, no frame */
    HOW_BULK = 8,    /* so many bytes are announced behind it, and so many come */
    HOW_PROOF = 16,  /* HELLO: with a proof of the token; the body's first byte, if there is one, spoils it */
    HOW_LEASE = 32,  /* with the lease that was granted last */
    HOW_TOKENS = 64, /* before it, the tokens are read anew, and one is no more */
    HOW_LATE = 128   /* the daemon has no turn before the next one */
};
enum { WINDOW_BYTES = 16 << 10, TRIES = 100 };

#define SECRET "0123456789abcdef"
static const char both_tokens[] = "worker " SECRET " read,write,admin *\nreader " SECRET " read n\n";
static const char one_token[] = "worker " SECRET " read,write,admin *\n";

static struct core *core;
static char folder[40], certificate[64], token_file[64];
static struct quire_tls_settings *settings;

static struct {
    int fd;
    struct quire_tls *tls;
    bool dead; /* it sends no more */
    struct quire_decoder decoder;
    uint64_t bulk_left, last_lease;
    uint8_t nonce[QUIRE_NONCE_BYTES];
    const char *name;
} me;

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static struct tls_rail *tls_rail(void) { return LOOP_CONTAINER(core->net.rails, struct tls_rail, rail); }

/* ---- life ------------------------------------------------------------------------------------------------------------------- */
static void write_private(const char *path, const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void leave(void) {
    char lock[CONFIG_PATH_MAX + 8];
    snprintf(lock, sizeof lock, "%s.lock", core->config.socket_path);
    core_destroy(&core);
    quire_tls_settings_destroy(&settings);
    unlink(lock);
    unlink(certificate);
    unlink(token_file);
    rmdir(folder);
}

static void configure(struct config *config) {
    config_default(config);
    snprintf(config->socket_path, sizeof config->socket_path, "%s/s", folder);
    config->n_domains = 1;
    strcpy(config->domains[0].name, "default");
    config->domains[0].pool_bytes = 256 << 10;
    config->domains[0].members[0] = geteuid();
    config->domains[0].n_members = 1;
    config->work_threads = 1;
    config->ingest_bytes = config->ingest_window_bytes = 64 << 10;
    config->pager.max_blocks = 1000;
    config->pager.max_namespaces = 8;
    config->pager.ghost_entries = 1024;
}

/* The rail is made when the core stands already, and so gets no thread. */
static void start(void) {
    static struct config config;
    char why[1024];
    snprintf(folder, sizeof folder, "%s/quire-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(mkdtemp(folder) != NULL);
    snprintf(certificate, sizeof certificate, "%s/c", folder);
    snprintf(token_file, sizeof token_file, "%s/t", folder);
    require(certificate_write(certificate) && chmod(certificate, 0600) == 0);
    write_private(token_file, both_tokens, strlen(both_tokens));
    configure(&config);
    log_setup(LOG_LEVEL_ERROR, false);
    require(core_create(&config, &core, why, sizeof why) == QUIRE_OK);
    strcpy(core->config.listen.tls, "127.0.0.1:0");
    snprintf(core->config.listen.tls_certificate, sizeof core->config.listen.tls_certificate, "%s", certificate);
    snprintf(core->config.listen.token_file, sizeof core->config.listen.token_file, "%s", token_file);
    require(net_create(core, why, sizeof why) == QUIRE_OK);
    const struct quire_tls_files files = {.authorities = certificate};
    require(quire_tls_settings_create(false, &files, &settings, why) == QUIRE_OK);
    require(atexit(leave) == 0);
}

/* ---- turns ------------------------------------------------------------------------------------------------------------------ */
static void remember(const struct quire_frame *frame, const uint8_t *body) {
    if (frame->type == QUIRE_MSG_CHALLENGE) {
        Quire__Wire__Challenge *challenge = quire__wire__challenge__unpack(NULL, frame->body_bytes, body);
        require(challenge != NULL && challenge->nonce.len == sizeof me.nonce);
        memcpy(me.nonce, challenge->nonce.data, sizeof me.nonce);
        quire__wire__challenge__free_unpacked(challenge, NULL);
    } else if (frame->type == QUIRE_MSG_GRANTS) {
        Quire__Wire__Grants *grants = quire__wire__grants__unpack(NULL, frame->body_bytes, body);
        require(grants != NULL);
        me.last_lease = grants->lease != 0 ? grants->lease : me.last_lease;
        quire__wire__grants__free_unpacked(grants, NULL);
    }
}

static void hear_bytes(const uint8_t *bytes, size_t size) {
    for (size_t used; size > 0; bytes += used, size -= used) {
        used = (size_t)quire_min_u64(size, me.bulk_left);
        if (me.bulk_left > 0) {
            me.bulk_left -= used;
            continue;
        }
        enum quire_status status = quire_decoder_feed(&me.decoder, bytes, size, &used);
        require(status == QUIRE_OK || status == QUIRE_PENDING); /* what the daemon says is well formed, whatever it was told */
        if (status == QUIRE_OK) {
            remember(&me.decoder.frame, quire_decoder_body(&me.decoder));
            me.bulk_left = me.decoder.frame.bulk_bytes;
            quire_decoder_next(&me.decoder);
        }
    }
}

/* True: something came. */
static bool hear(void) {
    static uint8_t bytes[65536];
    size_t got = 0;
    if (me.tls == NULL || me.dead || quire_tls_handshake(me.tls) != QUIRE_OK) {
        return false;
    }
    enum quire_status status = quire_tls_read(me.tls, bytes, sizeof bytes, &got);
    me.dead = status != QUIRE_OK && status != QUIRE_PENDING;
    if (status == QUIRE_OK) {
        hear_bytes(bytes, got);
    }
    return status == QUIRE_OK;
}

static bool busy(const struct rail *rail) {
    return rail->more || rail->in.head != NULL || rail->out.head != NULL || core->run_head != NULL || core->n_free_jobs != CORE_JOBS;
}

static void turn(void) {
    struct rail *rail = core->net.rails;
    require(loop_turn(rail->loop, 0, NULL) == QUIRE_OK);
    rail->now_ns = loop_now_ns();
    rail->more = rail->ops->turn(rail);
    bool works = core->run_head == NULL && core->n_free_jobs != CORE_JOBS;
    require(core_turn(core, works ? loop_now_ns() + QUIRE_NS_PER_MS : 0) == QUIRE_OK);
}

/* Until nobody has anything to do. */
static void settle(void) {
    for (unsigned idle = 0; idle < 2;) {
        turn();
        idle = hear() || busy(core->net.rails) ? 0 : idle + 1;
    }
}

/* ---- what is sent ----------------------------------------------------------------------------------------------------------- */
static void send_piece(const uint8_t *bytes, size_t size) {
    for (unsigned tries = 0; size > 0 && !me.dead; tries++) {
        size_t sent = 0;
        enum quire_status status = me.tls == NULL ? QUIRE_OK : quire_tls_write(me.tls, bytes, size, &sent);
        if (me.tls == NULL) {
            ssize_t rc = send(me.fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent = rc > 0 ? (size_t)rc : 0;
        }
        me.dead = (status != QUIRE_OK && status != QUIRE_PENDING) || tries == TRIES; /* it may rest, and not for ever */
        bytes += sent;
        size -= sent;
        if (size > 0) {
            settle();
        }
    }
}

static void send_all(const uint8_t *bytes, size_t size, uint8_t how) {
    static const size_t pieces[] = {SIZE_MAX, 1, 39, 4000};
    size_t most = pieces[how & HOW_PIECES];
    for (size_t at = 0; at < size; at += quire_min_u64(most, size - at)) {
        send_piece(bytes + at, quire_min_u64(most, size - at));
        if ((how & HOW_PIECES) != 3 && at < 100) {
            turn();
        }
    }
}

/* The field `lease` of every message that has one; of two the last one counts. */
static uint32_t add_lease(uint8_t *to) {
    uint32_t n = 0;
    uint64_t left = me.last_lease;
    to[n++] = 1 << 3;
    for (; left >= 0x80; left >>= 7) {
        to[n++] = (uint8_t)(left | 0x80);
    }
    to[n++] = (uint8_t)left;
    return n;
}

static void say(uint16_t type, uint8_t how, const uint8_t *body, uint32_t body_bytes, uint64_t announced, uint64_t sent) {
    static uint8_t bytes[QUIRE_FRAME_BYTES + 65536 + 64], bulk[65536];
    struct quire_frame frame = {.type = type, .body_bytes = body_bytes, .request_id = 1, .bulk_bytes = announced};
    if (body_bytes > 0) {
        memcpy(bytes + QUIRE_FRAME_BYTES, body, body_bytes);
    }
    if ((how & HOW_LEASE) != 0) {
        frame.body_bytes += add_lease(bytes + QUIRE_FRAME_BYTES + frame.body_bytes);
    }
    quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
    size_t skipped = (how & HOW_RAW) != 0 ? QUIRE_FRAME_BYTES : 0;
    send_all(bytes + skipped, QUIRE_FRAME_BYTES + frame.body_bytes - skipped, how);
    send_all(bulk, sent, how == 1 ? 2 : how);
    if ((how & HOW_LATE) == 0) {
        settle();
    }
}

static void say_message(enum quire_msg type, const ProtobufCMessage *message) {
    uint8_t body[QUIRE_LAYOUT_WIRE_MAX + 256];
    require(protobuf_c_message_get_packed_size(message) <= sizeof body);
    say((uint16_t)type, 0, body, (uint32_t)protobuf_c_message_pack(message, body), 0, 0);
}

static void say_hello(const uint8_t *spoil, uint32_t spoil_bytes) {
    uint8_t proof[QUIRE_PROOF_BYTES];
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    quire_proof(SECRET, strlen(SECRET), me.nonce, me.name, proof);
    proof[0] ^= spoil_bytes > 0 ? spoil[0] : 0;
    hello.major = QUIRE_PROTO_MAJOR;
    hello.features = QUIRE_FEATURE_LOAD | QUIRE_FEATURE_RANGES;
    hello.token = (char *)(uintptr_t)me.name;
    hello.proof = (ProtobufCBinaryData){.len = spoil_bytes > 1 ? spoil[1] % (sizeof proof + 1) : sizeof proof, .data = proof};
    say_message(QUIRE_MSG_HELLO, &hello.base);
}

/* What every decent client does first. Window numbers start at 1 again, so that an input can name its own. */
static void introduce(void) {
    static quire_layout layout;
    static uint8_t wire[QUIRE_LAYOUT_WIRE_MAX];
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    const struct ingest_limits limits = ingest_limits_of(&core->config);
    ingest_destroy(&core->ingest);
    require(ingest_create(&limits, &ingest_session_ops, &core->ingest) == QUIRE_OK);
    say_hello(NULL, 0);
    require(core->sessions != NULL && core->sessions->state == SESSION_OPEN);
    layout.n_layers = layout.n_groups = 1;
    layout.block_tokens = 16;
    layout.group[0].n_kv_heads = 2;
    layout.group[0].k_dim = layout.group[0].v_dim = 16;
    layout.group[0].elem = QUIRE_F16;
    open.name = (char *)"n";
    open.layout.data = wire;
    require(quire_layout_encode(&layout, wire, sizeof wire, &open.layout.len) == QUIRE_OK);
    say_message(QUIRE_MSG_NS_OPEN, &open.base);
    get.bytes = WINDOW_BYTES;
    say_message(QUIRE_MSG_INGEST_GET, &get.base);
}

static void converse(const uint8_t *data, size_t size) {
    while (size >= 4) {
        uint32_t body_bytes = (uint32_t)quire_min_u64((uint32_t)data[2] | (uint32_t)data[3] << 8, size - 4);
        uint64_t announced = 0, sent = 0;
        const uint8_t *bulk = data + 4 + body_bytes;
        size_t used = 4 + body_bytes;
        if ((data[1] & HOW_BULK) != 0 && size - used >= 4) {
            announced = (uint32_t)bulk[0] | (uint32_t)bulk[1] << 8;
            sent = (uint32_t)bulk[2] | (uint32_t)bulk[3] << 8;
            used += 4;
        }
        if ((data[1] & HOW_TOKENS) != 0) {
            write_private(token_file, one_token, strlen(one_token));
            net_reload(core);
        }
        if ((data[1] & HOW_PROOF) != 0 && data[0] == QUIRE_MSG_HELLO) {
            say_hello(data + 4, body_bytes);
        } else {
            say(data[0], data[1], data + 4, body_bytes, announced, sent);
        }
        data += used;
        size -= used;
    }
}

/* ---- an input --------------------------------------------------------------------------------------------------------------- */
static void try_tokens(const uint8_t *data, size_t size) {
    char why[512], path[64];
    struct tokens *tokens;
    snprintf(path, sizeof path, "%s/x", folder);
    write_private(path, data, size);
    enum quire_status status = tokens_load(path, &tokens, why, sizeof why);
    unlink(path);
    require((status == QUIRE_OK) == (tokens != NULL) && (status == QUIRE_OK || strlen(why) > 0));
    for (uint32_t i = 0; tokens != NULL && i < tokens->n; i++) {
        const struct token *token = &tokens->tokens[i];
        size_t length = strlen(token->secret);
        uint8_t proof[QUIRE_PROOF_BYTES];
        require(length >= TOKEN_SECRET_MIN && length <= TOKEN_SECRET_MAX && token->name[0] != '\0' && token->rights != 0);
        quire_proof(token->secret, length, me.nonce, token->name, proof);
        require(tokens_prove(tokens, token->name, me.nonce, proof, sizeof proof) != NULL && tokens_have(tokens, token));
        token_rights(token, "namespace");
    }
    tokens_free(&tokens);
}

static void come(bool tls) {
    int fds[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    tls_conn_create(tls_rail(), fds[0], "127.0.0.1:1");
    me.fd = fds[1];
    if (tls) {
        enum quire_status status;
        require(quire_tls_create(settings, me.fd, "127.0.0.1", &me.tls) == QUIRE_OK);
        while ((status = quire_tls_handshake(me.tls)) == QUIRE_PENDING) {
            turn();
        }
        require(status == QUIRE_OK);
        settle();
    }
}

static void go(void) {
    quire_tls_destroy(&me.tls, me.dead);
    close(me.fd);
    quire_decoder_free(&me.decoder);
    do {
        turn();
    } while (core->n_sessions > 0 || tls_rail()->n_conns > 0 || busy(core->net.rails));
}

static void check_nothing_held(void) {
    struct pager_domain_stats stats;
    pager_domain_stats(core->pager, 0, &stats);
    require(core->net.rails->gathering_bytes == 0 && tls_rail()->shaking.n == 0);
    require(loads_count(&core->loads) == 0 && core->loads.n_items == 0);
    require(puts_count(&core->puts) == 0 && ingest_lent_bytes(core->ingest) == 0);
    require(stats.leased_bytes == 0 && core->quarantine.count == 0);
    pager_check(core->pager);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (core == NULL) {
        start();
    }
    memset(&me, 0, sizeof me);
    if (size == 0) {
        return 0;
    }
    if (data[0] == 't') {
        try_tokens(data + 1, size - 1);
        return 0;
    }
    memset(&core->net.guard, 0, sizeof core->net.guard); /* what was wrong before is not this input's fault */
    if (core->net.tokens->n == 1) {
        write_private(token_file, both_tokens, strlen(both_tokens));
        require(net_reload(core) == QUIRE_OK);
    }
    me.name = data[0] == 'r' ? "reader" : "worker";
    come(data[0] != 'n');
    if (data[0] == 'h' || data[0] == 'r') {
        introduce();
    }
    converse(data + 1, size - 1);
    go();
    check_nothing_held();
    return 0;
}
