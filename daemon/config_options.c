#include "daemon/config_options.h"

#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdlib.h>
#include <strings.h>

#define FIELD(name) offsetof(struct config, name), sizeof(((struct config *)0)->name)
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define HOUR_MS 3600000ull

/* name, kind, live, least, most, zero has a meaning, help */
#define CONFIG_TABLE(X)                                                                                                                    \
    X(socket_path, TEXT, false, 0, 0, true,                                                                                                \
      "Where clients connect. Empty: $RUNTIME_DIRECTORY/quired.sock under systemd, $XDG_RUNTIME_DIR/quire/quired.sock,\n"                  \
      "/run/quire/quired.sock for root, else /tmp/quire-UID/quired.sock in a private folder")                                              \
    X(socket_mode, MODE, false, 0, 0777, true,                                                                                             \
      "Access rights of the socket, octal: who may connect at all (0666 for workers of other users)")                                      \
    X(log_level, LEVEL, true, 0, 0, true, "How much is logged: error, warn, info or debug")                                                \
    X(log_json, BOOL, true, 0, 0, true, "Log lines as JSON objects, for machines")                                                         \
    X(metrics_enabled, BOOL, false, 0, 0, true, "Serve /metrics (Prometheus) and /healthz over HTTP")                                      \
    X(metrics_address, TEXT, false, 0, 0, false, "Address of the HTTP server. It has no access control: keep it on loopback")              \
    X(metrics_port, COUNT, false, 0, 65535, true, "Its port; 0: any free one, told in the log and by quirectl status")                     \
    X(prefill_tokens_per_s, COUNT, true, 1, 1000000000, true,                                                                              \
      "How many tokens a second workers prefill, for namespaces where none reports what a token takes (a report wins):\n"                  \
      "turns tokens leased from now on into seconds saved in /metrics; 0: unknown, none are added")                                        \
    X(max_sessions, COUNT, true, 1, 65536, false,                                                                                          \
      "Sessions at once, of this host and others; more are refused with a retry hint, but for four places\n"                               \
      "where quirectl of root or the daemon's user gets in on this host")                                                                  \
    X(max_session_memory_bytes, SIZE, true, KIB(256), GIB(1), false,                                                                       \
      "Bytes of records on their way to one guest, or session of another host, at once. Requests and other replies have fixed limits")     \
    X(max_remote_read_bytes, SIZE, true, MIB(1), GIB(64), false,                                                                           \
      "Likewise to all sessions of other hosts together; when there are as many, each has one piece of a record on its way at a time")     \
    X(idle_timeout_ms, TIME, true, 1000, 720 * HOUR_MS, true,                                                                              \
      "Sessions that ask nothing for so long are ended; 0: they may idle for ever")                                                        \
    X(ingest_bytes, SIZE, true, MIB(1), GIB(64), false, "Memory lent to clients for their stores, all sessions together")                  \
    X(ingest_window_bytes, SIZE, true, KIB(64), GIB(4), false, "The most of it that one session gets")                                     \
    X(ingest_idle_ms, TIME, true, 10, HOUR_MS, false, "Memory lent and unused this long is asked back")                                    \
    X(work_threads, COUNT, false, 1, 256, true,                                                                                            \
      "Threads that copy and checksum; 0: as many as processors, at most 4; with a disk tier there are 2 at least")                        \
    X(drain_ms, TIME, true, 0, HOUR_MS, true, "How long an orderly stop waits for work under way")                                         \
    X(verify_always, BOOL, true, 0, 0, true,                                                                                               \
      "Readers check every lane's checksum at each fetch, not only on entry; for sessions from now on")                                    \
    X(huge_pages, BOOL, false, 0, 0, true, "Ask the system for huge pages for the pool; it works without, a little slower")                \
    X(record_slots, COUNT, false, 1024, 1ull << 30, true, "Records that one trust domain can hold; 0: one for each 8 KiB of its pool")     \
    X(allow_faults, BOOL, false, 0, 0, true, "Let `quirectl fault` make the disk fail, to rehearse. Not where anybody counts on it")

/* Of the disk tier, beside the pager's. */
#define CONFIG_DISK_TABLE(X)                                                                                                               \
    X(segment_bytes, SIZE, false, MIB(1), MIB(512), false,                                                                                 \
      "The log is written and emptied in segments of this size, a multiple of 64KiB; fixed when the files are made")                       \
    X(io_backend, BACKEND, false, 0, 0, true,                                                                                              \
      "How files are read and written: io_uring, threads, or auto, which is io_uring where the\n"                                          \
      "system allows it; `quirectl doctor` tells which and why")                                                                           \
    X(io_depth, COUNT, false, 1, 4096, false, "Reads and writes of a file that the system is given at once; more wait in the daemon")      \
    X(scrub_bytes_per_s, SIZE, true, KIB(64), GIB(64), true,                                                                               \
      "Bytes a second that are read in the background to find what has rotted, and verified; 0: none")                                     \
    X(stall_warn_ms, TIME, true, 100, HOUR_MS, false,                                                                                      \
      "A drive that has not answered for so long is told in the log, and shown as stalled")                                                \
    X(stall_limit_ms, TIME, true, 100, HOUR_MS, false,                                                                                     \
      "A drive that has not answered for so long is taken out of use, as one that fails; also at the start")                               \
    X(new_set, BOOL, false, 0, 0, true,                                                                                                    \
      "Make a new set at a start that finds none of the files. false: such a start is refused, so that\n"                                  \
      "a file system that is not mounted is noticed; say so once the set is made")

/* Other hosts. */
#define CONFIG_LISTEN_TABLE(X)                                                                                                             \
    X(tls, TEXT, false, 0, 0, true,                                                                                                        \
      "Where other hosts connect by TLS: host:port, [v6]:port, several separated by commas; empty: nowhere.\n"                             \
      "Needs tls_certificate, tls_key and token_file")                                                                                     \
    X(ucx, TEXT, false, 0, 0, true,                                                                                                        \
      "Where other hosts connect by UCX (RDMA where there is some, else TCP): host:port, several separated by commas;\n"                   \
      "empty: nowhere. Needs token_file, and beyond this host trusted_fabric")                                                             \
    X(trusted_fabric, BOOL, false, 0, 0, true,                                                                                             \
      "Every host that can reach the addresses of ucx is trusted: UCX neither encrypts nor authenticates, and whoever is on\n"             \
      "its network may read and change what it carries")                                                                                   \
    X(ucx_loops, COUNT, false, 1, 64, false,                                                                                               \
      "Threads that carry the sessions of each rail of ucx. More than one where a card is faster than a processor")                        \
    X(ucx_busy_poll_us, COUNT, false, 1, 10000, true,                                                                                      \
      "For so long after something came they look for more without sleeping. Only where there are processors to spare for it:\n"           \
      "elsewhere it makes everything slower. 0: never")                                                                                    \
    X(tls_certificate, TEXT, false, 0, 0, true, "PEM file with this daemon's certificate and those between it and its authority")          \
    X(tls_key, TEXT, false, 0, 0, true, "PEM file with its private key, which no others may read; empty: it is in the certificate's file") \
    X(tls_authorities, TEXT, false, 0, 0, true,                                                                                            \
      "PEM file with authorities: clients must show a certificate of one; empty: they need none")                                          \
    X(token_file, TEXT, false, 0, 0, true,                                                                                                 \
      "File with a line a token, `name secret rights namespaces`, which only this user may read (chmod 600).\n"                            \
      "Rights: read, write, admin, rma; behind the namespaces may stand requests_per_s=NUMBER, bytes_per_s=SIZE,\n"                        \
      "namespaces=NUMBER and sessions=NUMBER. admin is for the namespaces, and for the whole daemon where they are *.\n"                   \
      "A reload reads it anew, and the certificate; who lost the token is sent away")                                                      \
    X(domain, TEXT, false, 0, 0, true, "The trust domain whose guests other hosts are; empty: the first")                                  \
    X(rails, RAIL_WORD, false, 0, 0, true,                                                                                                 \
      "Threads that carry the addresses. auto: one an interface, and one for addresses of none; one; each: one an\n"                       \
      "address")                                                                                                                           \
    X(pin, TEXT, false, 0, 0, false,                                                                                                       \
      "Processors that they run on. auto: those of the NUMA node that the interface's card is at, where it is known and\n"                 \
      "there are several nodes; none: any; or processors, as 0-3,8")

/* Kinds, ranges and liveness of the pager's options follow from their names and types; exceptions to the usual range are listed here. */
#define KIND_OF(type) _Generic((type)0, double : CONFIG_FACTOR, default : CONFIG_COUNT)
static const struct pager_range {
    const char *name;
    uint64_t min, max;
    bool zero_ok;
} pager_ranges[] = {
    {"max_blocks", 1024, 1000000000, false},     {"reclaim_low_pct", 0, 50, false},
    {"reclaim_high_pct", 0, 60, false},          {"lease_quota_pct", 1, 100, false},
    {"max_namespaces", 1, 65534, false},         {"ghost_entries", 0, 1u << 28, false},
    {"max_leases", 16, 1u << 28, false},         {"max_parts_pending", 16, 1u << 24, false},
    {"max_puts_waiting", 0, 1u << 24, false},    {"write_delay_ms", 0, HOUR_MS, false},
    {"batch_bytes", KIB(64), MIB(64), false},    {"writes_in_flight", 1, 16, false},
    {"read_ahead_bytes", 0, GIB(64), false},     {"write_budget_bytes_per_s", KIB(64), GIB(1024), true},
    {"drive_writes_per_day", 0, 1000, false},    {"clean_segments", 1, 1024, false},
    {"max_pins", 0, QUIRE_META_MAX_PINS, false}, {"reinsert_pct", 0, 90, false},
};

static struct config_option table[CONFIG_OPTIONS_MAX] = {
#define X(field, kind, live, least, most, zero, help) {#field, CONFIG_##kind, FIELD(field), CONFIG_TOP, live, least, most, zero, help},
    CONFIG_TABLE(X)
#undef X
#define X(field, type, value, help) {#field, KIND_OF(type), FIELD(pager.field), CONFIG_PAGER, false, 0, UINT32_MAX, false, help},
        PAGER_OPTIONS(X)
#undef X
#define X(field, kind, live, least, most, zero, help)                                                                                      \
    {#field, CONFIG_##kind, FIELD(disk.field), CONFIG_DISK, live, least, most, zero, help},
            CONFIG_DISK_TABLE(X)
#undef X
#define X(field, type, value, help) {#field, KIND_OF(type), FIELD(disk.pager.field), CONFIG_DISK, true, 0, UINT32_MAX, false, help},
                PAGER_DISK_OPTIONS(X)
#undef X
#define X(field, kind, live, least, most, zero, help)                                                                                      \
    {#field, CONFIG_##kind, FIELD(listen.field), CONFIG_LISTEN, live, least, most, zero, help},
                    CONFIG_LISTEN_TABLE(X)
#undef X
};

enum {
#define X(...) +1
    CONFIG_TABLE_COUNT = CONFIG_TABLE(X) PAGER_OPTIONS(X) CONFIG_DISK_TABLE(X) PAGER_DISK_OPTIONS(X) CONFIG_LISTEN_TABLE(X)
#undef X
};
static_assert(CONFIG_TABLE_COUNT <= QUIRE_ARRAY_LEN(table), "the table has room");

static bool ends_in(const char *name, const char *suffix) {
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

/* Before main, so that nobody needs to remember to call it. */
__attribute__((constructor)) static void complete_pager_options(void) {
    for (unsigned i = 0; i < CONFIG_TABLE_COUNT; i++) {
        struct config_option *option = &table[i];
        bool pager = option->section == CONFIG_PAGER;
        if (!pager && (option->section != CONFIG_DISK || option->offset < offsetof(struct config, disk.pager))) {
            continue;
        }
        option->live = !pager || (strncmp(option->name, "max_", 4) != 0 && strcmp(option->name, "ghost_entries") != 0);
        if (ends_in(option->name, "_ms")) {
            option->kind = CONFIG_TIME, option->min = 1, option->max = 720 * HOUR_MS;
        } else if (ends_in(option->name, "_pct")) {
            option->kind = CONFIG_PERCENT, option->max = 100;
        } else if (ends_in(option->name, "_bytes") || ends_in(option->name, "_bytes_per_s")) {
            option->kind = CONFIG_SIZE, option->max = CONFIG_POOL_MAX_BYTES;
        }
        for (unsigned j = 0; j < QUIRE_ARRAY_LEN(pager_ranges); j++) {
            if (strcmp(pager_ranges[j].name, option->name) == 0) {
                option->min = pager_ranges[j].min, option->max = pager_ranges[j].max, option->zero_ok = pager_ranges[j].zero_ok;
            }
        }
    }
}

unsigned config_option_count(void) { return CONFIG_TABLE_COUNT; }
const struct config_option *config_option_at(unsigned index) { return &table[index]; }

const struct config_option *config_option_find(const char *name, enum config_section section) {
    for (unsigned i = 0; i < CONFIG_TABLE_COUNT; i++) {
        if (table[i].section == section && strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const struct config_option *config_option_anywhere(const char *name) {
    const struct config_option *found = NULL;
    for (int section = CONFIG_TOP; section < CONFIG_SECTIONS && found == NULL; section++) {
        found = config_option_find(name, (enum config_section)section);
    }
    return found;
}

const char *config_section_name(enum config_section section) {
    static const char *const names[CONFIG_SECTIONS] = {
        [CONFIG_TOP] = "", [CONFIG_PAGER] = "pager", [CONFIG_DISK] = "disk", [CONFIG_LISTEN] = "listen"};
    return names[section];
}

/* ---- values ------------------------------------------------------------------------------------------------------------------ */
static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const backend_names[] = {[DISK_IO_AUTO] = "auto", [DISK_IO_URING] = "io_uring", [DISK_IO_THREADS] = "threads"};
static const char *const rails_names[] = {[CONFIG_RAILS_AUTO] = "auto", [CONFIG_RAILS_ONE] = "one", [CONFIG_RAILS_EACH] = "each"};

static uint64_t field_get(const struct config *config, const struct config_option *option) {
    uint64_t value = 0; /* little-endian: checked in proto/wire.h */
    memcpy(&value, (const char *)config + option->offset, option->bytes);
    return value;
}

/* A value as it is compared with the range, in its unit. */
static void field_set(struct config *config, const struct config_option *option, uint64_t value) {
    double factor = (double)value / 1000;
    if (option->kind == CONFIG_FACTOR) {
        memcpy(&value, &factor, sizeof value);
    }
    memcpy((char *)config + option->offset, &value, option->bytes);
}

static enum quire_status parse_bool(const char *text, uint64_t *value) {
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *value = strcasecmp(text, yes[i]) == 0;
            return QUIRE_OK;
        }
    }
    return QUIRE_INVALID;
}

static enum quire_status parse_word(const char *const *words, unsigned n_words, const char *text, uint64_t *value) {
    for (unsigned i = 0; i < n_words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *value = i;
            return QUIRE_OK;
        }
    }
    return QUIRE_INVALID;
}

/* Digits, and at most three behind a point: thousandths are exact. */
static enum quire_status parse_thousandths(const char *text, uint64_t *value) {
    size_t point = strcspn(text, ".");
    size_t places = text[point] == '.' ? strlen(text + point + 1) : 0;
    char digits[24];
    if (point == 0 || point > 12 || (text[point] == '.' && (places == 0 || places > 3))) {
        return QUIRE_INVALID;
    }
    snprintf(digits, sizeof digits, "%.*s%s%.*s", (int)point, text, places > 0 ? text + point + 1 : "", (int)(3 - places), "000");
    return quire_parse_count(digits, false, value);
}

static enum quire_status parse_number(const struct config_option *option, const char *text, uint64_t *value) {
    switch (option->kind) {
    case CONFIG_SIZE:
        return quire_parse_size(text, value);
    case CONFIG_TIME:
        return quire_parse_duration(text, value);
    case CONFIG_BOOL:
        return parse_bool(text, value);
    case CONFIG_LEVEL:
        return parse_word(level_names, QUIRE_ARRAY_LEN(level_names), text, value);
    case CONFIG_BACKEND:
        return parse_word(backend_names, QUIRE_ARRAY_LEN(backend_names), text, value);
    case CONFIG_RAIL_WORD:
        return parse_word(rails_names, QUIRE_ARRAY_LEN(rails_names), text, value);
    case CONFIG_FACTOR:
        return parse_thousandths(text, value);
    case CONFIG_MODE: {
        char octal[24];
        snprintf(octal, sizeof octal, "0%s", text); /* "600" and "0600" are the same */
        return quire_parse_count(octal, true, value);
    }
    case CONFIG_PERCENT: {
        char digits[24];
        snprintf(digits, sizeof digits, "%s", text);
        size_t n = strlen(digits);
        if (n > 0 && digits[n - 1] == '%') {
            digits[n - 1] = '\0';
        }
        return quire_parse_count(digits, false, value);
    }
    default:
        return quire_parse_count(text, false, value);
    }
}

static const char *const expected[] = {
    [CONFIG_COUNT] = "a whole number",
    [CONFIG_SIZE] = "a size such as 512MiB or 2GiB",
    [CONFIG_TIME] = "a time such as 250ms, 30s or 5min",
    [CONFIG_PERCENT] = "a percentage such as 5",
    [CONFIG_BOOL] = "true or false",
    [CONFIG_MODE] = "octal access rights such as 0600",
    [CONFIG_TEXT] = "text",
    [CONFIG_LEVEL] = "error, warn, info or debug",
    [CONFIG_BACKEND] = "auto, io_uring or threads",
    [CONFIG_RAIL_WORD] = "auto, one or each",
    [CONFIG_FACTOR] = "a number such as 3 or 0.5",
};

static bool has_range(const struct config_option *option) {
    return option->kind != CONFIG_TEXT && option->kind != CONFIG_BOOL && option->kind != CONFIG_LEVEL && option->kind != CONFIG_BACKEND &&
           option->kind != CONFIG_RAIL_WORD;
}

static enum quire_status set_text(struct config *config, const struct config_option *option, const char *text, char *why,
                                  size_t why_bytes) {
    char *field = (char *)config + option->offset;
    if (strlen(text) >= option->bytes) {
        snprintf(why, why_bytes, "%s: longer than %u characters", option->name, option->bytes - 1u);
        return QUIRE_INVALID;
    }
    if (text[0] == '\0' && !option->zero_ok) {
        snprintf(why, why_bytes, "%s: must not be empty", option->name);
        return QUIRE_INVALID;
    }
    memset(field, 0, option->bytes);
    memcpy(field, text, strlen(text));
    return QUIRE_OK;
}

enum quire_status config_option_set(struct config *config, const struct config_option *option, const char *text, char *why,
                                    size_t why_bytes) {
    uint64_t value = 0;
    char range[96];
    if (option->kind == CONFIG_TEXT) {
        return set_text(config, option, text, why, why_bytes);
    }
    if (parse_number(option, text, &value) != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: '%.60s' is not %s", option->name, text, expected[option->kind]);
        return QUIRE_INVALID;
    }
    uint64_t unit = option->kind == CONFIG_FACTOR ? 1000 : 1;
    bool fits = !has_range(option) || (value >= option->min * unit && value <= option->max * unit);
    if (!fits && !(value == 0 && option->zero_ok)) {
        config_option_range(option, range, sizeof range);
        snprintf(why, why_bytes, "%s: '%.60s' is out of range, allowed is %s", option->name, text, range);
        return QUIRE_INVALID;
    }
    field_set(config, option, value);
    return QUIRE_OK;
}

/* One code point of well-formed UTF-8 (the YAML reader accepts nothing else). */
static unsigned code_point(const unsigned char *at, uint32_t *code) {
    unsigned n = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    *code = n == 1 ? at[0] : at[0] & (0x7fu >> n);
    for (unsigned i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            *code = at[0]; /* not UTF-8: byte by byte */
            return 1;
        }
        *code = *code << 6 | (at[i] & 0x3fu);
    }
    return n;
}

void config_quote(const char *value, char text[CONFIG_SCALAR_BYTES]) {
    size_t used = 0;
    text[used++] = '"';
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0' && used < CONFIG_SCALAR_BYTES - 16;) {
        uint32_t code;
        at += code_point(at, &code);
        if (code == '"' || code == '\\') {
            used += (size_t)snprintf(text + used, 4, "\\%c", (char)code);
        } else if (code >= 0x20 && code < 0x7f) {
            text[used++] = (char)code;
        } else {
            used += (size_t)snprintf(text + used, 12, code < 0x10000 ? "\\u%04X" : "\\U%08X", code);
        }
    }
    text[used++] = '"';
    text[used] = '\0';
}

static void factor_get(uint64_t bits, char text[CONFIG_SCALAR_BYTES]) {
    double factor;
    memcpy(&factor, &bits, sizeof factor);
    uint64_t thousandths = (uint64_t)(factor * 1000 + 0.5);
    int n = snprintf(text, CONFIG_SCALAR_BYTES, "%llu.%03llu", (unsigned long long)(thousandths / 1000),
                     (unsigned long long)(thousandths % 1000));
    while (text[n - 1] == '0') {
        text[--n] = '\0';
    }
    text[text[n - 1] == '.' ? n - 1 : n] = '\0';
}

void config_option_get(const struct config *config, const struct config_option *option, char text[CONFIG_SCALAR_BYTES]) {
    uint64_t value = option->kind == CONFIG_TEXT ? 0 : field_get(config, option);
    switch (option->kind) {
    case CONFIG_TEXT:
        config_quote((const char *)config + option->offset, text);
        break;
    case CONFIG_SIZE:
        quire_exact_size(value, text, CONFIG_SCALAR_BYTES);
        break;
    case CONFIG_TIME:
        quire_exact_duration(value, text, CONFIG_SCALAR_BYTES);
        break;
    case CONFIG_BOOL:
        snprintf(text, CONFIG_SCALAR_BYTES, "%s", value != 0 ? "true" : "false");
        break;
    case CONFIG_LEVEL:
        snprintf(text, CONFIG_SCALAR_BYTES, "%s", level_names[value % QUIRE_ARRAY_LEN(level_names)]);
        break;
    case CONFIG_BACKEND:
        snprintf(text, CONFIG_SCALAR_BYTES, "%s", backend_names[value % QUIRE_ARRAY_LEN(backend_names)]);
        break;
    case CONFIG_RAIL_WORD:
        snprintf(text, CONFIG_SCALAR_BYTES, "%s", rails_names[value % QUIRE_ARRAY_LEN(rails_names)]);
        break;
    case CONFIG_FACTOR:
        factor_get(value, text);
        break;
    case CONFIG_MODE:
        snprintf(text, CONFIG_SCALAR_BYTES, "%04llo", (unsigned long long)value);
        break;
    default:
        snprintf(text, CONFIG_SCALAR_BYTES, "%llu", (unsigned long long)value);
    }
}

static void range_end(const struct config_option *option, uint64_t value, char text[QUIRE_UNITS_BYTES]) {
    if (option->kind == CONFIG_SIZE) {
        quire_exact_size(value, text, QUIRE_UNITS_BYTES);
    } else if (option->kind == CONFIG_TIME) {
        quire_exact_duration(value, text, QUIRE_UNITS_BYTES);
    } else if (option->kind == CONFIG_MODE) {
        snprintf(text, QUIRE_UNITS_BYTES, "%04llo", (unsigned long long)value);
    } else {
        snprintf(text, QUIRE_UNITS_BYTES, "%llu", (unsigned long long)value);
    }
}

void config_option_range(const struct config_option *option, char *text, size_t text_bytes) {
    char least[QUIRE_UNITS_BYTES], most[QUIRE_UNITS_BYTES];
    text[0] = '\0';
    if (!has_range(option)) {
        return;
    }
    range_end(option, option->min, least);
    range_end(option, option->max, most);
    snprintf(text, text_bytes, "%s%s to %s", option->zero_ok && option->min > 0 ? "0, or " : "", least, most);
}
