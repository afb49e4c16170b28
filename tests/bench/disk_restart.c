/*
 * A daemon that was killed starts again on a log of a million records of 4 KiB. The log is made once, by a daemon, and kept in the cache folder, where it takes
 * about five gigabytes; a start does not change what it holds.
 */
#include "client/admin.h"
#include "codec/log.h"
#include "proto/base/base.h"
#include "proto/wire.h"
#include "tests/bench/disk.h"
#include "tests/bench/disk_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { RECORDS = 1000000, PAYLOAD_BYTES = 3840, CHAIN = 32, BATCH = 4096, ASKED = 256, MAX_SEGMENTS = 256, FOOTERS_AT_ONCE = 8 };
#define LOG_BYTES (5120ull << 20)
#define FREE_BYTES (6144ull << 20)

struct restart_log {
    const struct bench_options *options;
    const struct bench_case *c;
    char folder[512], path[560];
    struct fixture fixture;
    quire_layout layout;
    struct raw_file raw;
    uint64_t offsets[MAX_SEGMENTS]; /* of the footers */
    uint32_t n_footers, footer_bytes, n_entries;
};

struct start { /* what one was like */
    double first_hit_s, records_per_s;
};

/* ---- making it -------------------------------------------------------------------------------------------------------------- */
static int make_folder(struct restart_log *log) {
    const char *cache = getenv("QUIRE_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char base[400];
    snprintf(base, sizeof base, "%s%s",
             cache != NULL  ? cache
             : xdg != NULL  ? xdg
             : home != NULL ? home
                            : "/tmp",
             cache != NULL                 ? ""
             : xdg != NULL || home == NULL ? "/quire"
                                           : "/.cache/quire");
    snprintf(log->folder, sizeof log->folder, "%s/bench-restart-v%u", base, QUIRE_LOG_VERSION);
    snprintf(log->path, sizeof log->path, "%s/log0", log->folder);
    for (char *at = log->folder + 1;; at++) {
        if (*at == '/' || *at == '\0') {
            char was = *at;
            *at = '\0';
            if (mkdir(log->folder, 0700) != 0 && errno != EEXIST) {
                return bench_fail(log->c, "cannot make %s: %s", log->folder, strerror(errno));
            }
            *at = was;
            if (was == '\0') {
                return 0;
            }
        }
    }
}

static int start_daemon(struct restart_log *log) {
    char yaml[1200];
    snprintf(yaml, sizeof yaml,
             "ingest_bytes: 256MiB\ningest_window_bytes: 128MiB\ndomains:\n  - name: default\n    pool_bytes: 64MiB\n"
             "tiers:\n  file:\n    - path: \"%s\"\n      size: %lluMiB\ndisk:\n  write_delay_ms: 50\n  scrub_bytes_per_s: 0\n",
             log->path, (unsigned long long)(LOG_BYTES >> 20));
    return fixture_start(log->options, log->c, yaml, &log->fixture);
}

static int store_all(struct restart_log *log) {
    static uint8_t bytes[PAYLOAD_BYTES];
    quire_source *sources = calloc(BATCH, sizeof *sources);
    quire_key before = {{0}};
    int failed = sources != NULL ? fixture_open_ns(log->c, &log->fixture, "bench", &log->layout) : 1;
    for (uint64_t number = 0; failed == 0 && number < RECORDS;) {
        uint32_t n = 0;
        for (; n < BATCH && number < RECORDS; n++, number++) {
            quire_key key = fixture_key(number), none = {{0}};
            sources[n] = (quire_source){
                .key = key, .parent = number % CHAIN == 0 ? none : before, .n_tokens = 16, .opaque = bytes, .opaque_bytes = sizeof bytes};
            before = key;
        }
        if (quire_store(log->fixture.ns, sources, n, NULL, 60000, NULL) != QUIRE_OK) {
            failed = bench_fail(log->c, "store: %s", quire_last_error());
        }
    }
    free(sources);
    return failed;
}

/* A good end writes what is left, so that every segment has a footer; a start that is killed leaves the log alone to tell what is there. */
static int make(struct restart_log *log, const char *stamp) {
    struct statvfs facts;
    char meta[600];
    if (statvfs(log->folder, &facts) != 0 || (uint64_t)facts.f_bavail * facts.f_frsize < FREE_BYTES) {
        return bench_fail(log->c, "%s has less than %llu GiB free; $QUIRE_CACHE names another place", log->folder,
                          (unsigned long long)(FREE_BYTES >> 30));
    }
    snprintf(meta, sizeof meta, "%s.meta", log->path);
    unlink(log->path);
    unlink(meta);
    bench_note(log->options, "making %s once: %u records", log->path, (unsigned)RECORDS);
    int failed = start_daemon(log);
    failed = failed != 0 ? failed : store_all(log);
    fixture_stop(&log->fixture);
    failed = failed != 0 ? failed : start_daemon(log);
    fixture_kill(&log->fixture);
    FILE *file = failed == 0 ? fopen(stamp, "w") : NULL;
    return file != NULL && fclose(file) == 0 ? 0 : 1;
}

/* ---- its footers ------------------------------------------------------------------------------------------------------------ */
static int find_footers(struct restart_log *log) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    struct quire_log_superblock set;
    FILE *file = fopen(log->path, "r");
    bool good = file != NULL && fread(bytes, sizeof bytes, 1, file) == 1 && quire_log_superblock_decode(bytes, &set) == QUIRE_OK;
    for (uint32_t i = 0; good && i < set.n_segments && log->n_footers < MAX_SEGMENTS; i++) {
        const struct quire_log_geometry geometry = {
            .unit_bytes = set.unit_bytes, .segment_units = set.segment_units, .generation = set.generation};
        struct quire_log_trailer trailer;
        uint64_t end = QUIRE_LOG_FIRST_SEGMENT + (uint64_t)set.segment_units * set.unit_bytes * (i + 1ull);
        good = fseeko(file, (off_t)(end - set.unit_bytes), SEEK_SET) == 0 && fread(bytes, set.unit_bytes, 1, file) == 1;
        if (good && quire_log_trailer_decode(&geometry, bytes, set.set_id, i, &trailer) == QUIRE_OK) {
            uint32_t size = (set.segment_units - trailer.footer_units) * set.unit_bytes;
            log->footer_bytes = size > log->footer_bytes ? size : log->footer_bytes;
            log->n_entries += trailer.n_entries;
            log->offsets[log->n_footers++] = end;
        }
    }
    for (uint32_t i = 0; i < log->n_footers; i++) {
        log->offsets[i] -= log->footer_bytes; /* the last one is shorter: a little more is read */
    }
    if (file != NULL) {
        fclose(file);
    }
    return good && log->n_entries == RECORDS ? 0 : bench_fail(log->c, "%s holds %u records; remove it", log->path, log->n_entries);
}

static int open_log(const struct bench_options *options, const struct bench_case *self, struct restart_log *log) {
    char stamp[600];
    memset(log, 0, sizeof *log);
    log->options = options;
    log->c = self;
    log->raw.fd = -1;
    fixture_opaque_layout(&log->layout);
    if (make_folder(log) != 0) {
        return 1;
    }
    snprintf(stamp, sizeof stamp, "%s/made", log->folder);
    if (access(stamp, R_OK) != 0 && make(log, stamp) != 0) {
        return 1;
    }
    return find_footers(log) != 0 ? 1 : raw_open(self, log->path, 256ull << 20, &log->raw);
}

/* ---- a start ---------------------------------------------------------------------------------------------------------------- */
/* Asks for a few blocks of all, over and over, until one is there, and fetches it. */
static int first_hit(struct restart_log *log, uint64_t *seed) {
    static uint8_t bytes[PAYLOAD_BYTES];
    quire_key keys[ASKED];
    uint8_t misses[ASKED];
    quire_lookup_args args = {.keys = keys, .n_keys = ASKED, .flags = QUIRE_LOOKUP_EACH};
    quire_lookup_result result;
    for (uint64_t until_ns = bench_now_ns() + 20 * QUIRE_NS_PER_S; bench_now_ns() < until_ns;) {
        for (uint32_t i = 0; i < ASKED; i++) {
            keys[i] = fixture_key(bench_random(seed) % RECORDS);
        }
        if (quire_lookup(log->fixture.ns, &args, misses, &result) != QUIRE_OK) {
            return bench_fail(log->c, "lookup: %s", quire_last_error());
        }
        for (uint32_t i = 0; result.hits > 0 && i < ASKED; i++) {
            if (misses[i] == QUIRE_MISS_NONE) {
                quire_dest dest = {.key_index = i, .opaque = bytes, .opaque_bytes = sizeof bytes};
                enum quire_status status = quire_fetch(result.lease, &dest, 1, NULL, 20000);
                quire_release(&result.lease);
                return status == QUIRE_OK ? 0 : bench_fail(log->c, "fetch: %s", quire_last_error());
            }
        }
    }
    return bench_fail(log->c, "nothing hit within 20 s");
}

struct progress {
    uint64_t at_ns, records;
    bool all;
};

static int look(struct restart_log *log, struct progress *progress) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    request.verb = QUIRE_ADMIN_STATUS;
    if (quire_admin_call(log->fixture.client, &request, &reply, 20000) != QUIRE_OK || reply->disk == NULL) {
        return bench_fail(log->c, "status: %s", quire_last_error());
    }
    progress->at_ns = bench_now_ns();
    progress->records = reply->disk->restored_records;
    progress->all = reply->disk->restored_segments == reply->disk->restore_segments;
    quire__wire__admin_reply__free_unpacked(reply, NULL);
    return 0;
}

/* Between the first look and the last, so that it is the indexing that is timed and not the start of a program; all of it when the first look finds it done. */
static int index_rate(struct restart_log *log, uint64_t begun_ns, const struct progress *first, double *records_per_s) {
    struct progress now = *first;
    while (!now.all) {
        usleep(5000);
        if (look(log, &now) != 0) {
            return 1;
        }
    }
    bench_trace(log->options, "%.3f s after the start %llu records were indexed, after %.3f s %llu",
                (double)(first->at_ns - begun_ns) / 1e9, (unsigned long long)first->records, (double)(now.at_ns - begun_ns) / 1e9,
                (unsigned long long)now.records);
    bool some = now.records > first->records + RECORDS / 4;
    *records_per_s = some ? (double)(now.records - first->records) * 1e9 / (double)(now.at_ns - first->at_ns)
                          : (double)now.records * 1e9 / (double)(now.at_ns - begun_ns);
    return now.records >= RECORDS ? 0 : bench_fail(log->c, "only %llu records were found", (unsigned long long)now.records);
}

static int start(struct restart_log *log, uint64_t *seed, bool rate, struct start *told) {
    struct progress first;
    uint64_t begun_ns = bench_now_ns();
    int failed = start_daemon(log);
    if (failed == 0 && rate) {
        failed = look(log, &first) != 0 || index_rate(log, begun_ns, &first, &told->records_per_s) != 0;
    } else if (failed == 0) {
        failed = fixture_open_ns(log->c, &log->fixture, "bench", &log->layout) != 0 || first_hit(log, seed) != 0;
        told->first_hit_s = (double)(bench_now_ns() - begun_ns) / 1e9;
    }
    fixture_kill(&log->fixture);
    return failed;
}

int disk_restart_first_hit(const struct bench_options *options, const struct bench_case *self) {
    struct restart_log log;
    double seconds[DISK_ROUNDS];
    uint64_t seed = 21;
    int failed = open_log(options, self, &log);
    for (uint32_t round = 0; failed == 0 && round < DISK_ROUNDS; round++) {
        struct start told = {0};
        failed = start(&log, &seed, false, &told);
        seconds[round] = told.first_hit_s;
        bench_trace(options, "%.3f s", told.first_hit_s);
    }
    if (failed == 0) {
        double value = bench_median(seconds, DISK_ROUNDS);
        bench_report(options, "disk", self, value, "s", 1, value);
    }
    raw_destroy(&log.raw);
    return failed;
}

int disk_restart_rate(const struct bench_options *options, const struct bench_case *self) {
    struct restart_log log;
    double ours[DISK_ROUNDS], ceiling[DISK_ROUNDS], ratio[DISK_ROUNDS];
    uint64_t seed = 22;
    int failed = open_log(options, self, &log);
    for (uint32_t round = 0; failed == 0 && round < DISK_ROUNDS; round++) {
        struct start told = {0};
        struct raw_run run = {.depth = FOOTERS_AT_ONCE, .size_bytes = log.footer_bytes, .offsets = log.offsets, .n = log.n_footers};
        double before = raw_run(&log.raw, &run);
        failed = start(&log, &seed, true, &told);
        double after = raw_run(&log.raw, &run);
        failed = failed != 0 || before <= 0 || after <= 0;
        ours[round] = told.records_per_s / 1e6;
        ceiling[round] = 2 * RECORDS / (before + after) / 1e6;
        ratio[round] = ours[round] / ceiling[round];
    }
    if (failed == 0) {
        bench_report(options, "disk", self, bench_median(ours, DISK_ROUNDS), "M/s", bench_median(ceiling, DISK_ROUNDS),
                     bench_median(ratio, DISK_ROUNDS));
        bench_note(options, "million records a second; %u footers of %u KiB", log.n_footers, log.footer_bytes >> 10);
    }
    raw_destroy(&log.raw);
    return failed;
}
