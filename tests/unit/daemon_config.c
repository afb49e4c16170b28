/* The configuration: what is accepted, what is refused and how, and that printing and loading are inverse. */
#include "daemon/config_options.h"
#include "daemon/flags.h"
#include "proto/base/base.h"
#include "proto/base/memory_limit.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/quire-test-XXXXXX";
static char path[128];
static struct config config, other;
static char why[1024];

static void set_up(void) {
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/c.yaml", folder);
    config_default(&config);
    config_default(&other);
}

static void remove_below(const char *name) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", name);
    cr_expect_eq(system(command), 0);
}

static void tear_down(void) { remove_below(folder); }
TestSuite(daemon_config, .init = set_up, .fini = tear_down);

static void write_file(const char *name, const char *text) {
    FILE *file = fopen(name, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

static enum quire_status load(const char *text) {
    write_file(path, text);
    return config_load(&config, path, why, sizeof why);
}

static void refuses(const char *text, const char *expected) {
    config_default(&config);
    cr_expect_eq(load(text), QUIRE_INVALID, "accepted: %s", text);
    cr_expect_not_null(strstr(why, expected), "'%s' does not say '%s'", why, expected);
}

static void print_and_load(void) {
    FILE *file = fopen(path, "w");
    config_print(&config, file);
    fclose(file);
    cr_assert_eq(config_load(&other, path, why, sizeof why), QUIRE_OK, "%s", why);
    cr_expect_eq(memcmp(&config, &other, sizeof config), 0, "see what differs in %s", path);
}

/* An operator prints the defaults, starts from that file, and has the defaults. */
Test(daemon_config, printed_defaults_load_back) { print_and_load(); }

static uint64_t seed;
static uint64_t draw(uint64_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % below;
}

static void draw_text(char *text, size_t bytes) {
    static const char *const pieces[] = {"a",    " ",    "\"", "\\",     "\n", "\t", "#", ": ", "- ", "'",
                                         "\x01", "\x7f", "ä",  "\u2028", "€",  "😀",  "{", "}",  "%",  "\xc2\x85"};
    size_t used = 0;
    for (uint64_t n = draw(60); n > 0; n--) {
        const char *piece = pieces[draw(QUIRE_ARRAY_LEN(pieces))];
        if (used + strlen(piece) >= bytes) {
            break;
        }
        memcpy(text + used, piece, strlen(piece));
        used += strlen(piece);
    }
}

static void draw_option(const struct config_option *option) {
    uint64_t value = option->min + draw(option->max - option->min + 1);
    if (option->kind == CONFIG_TEXT) {
        memset((char *)&config + option->offset, 0, option->bytes);
        *((char *)&config + option->offset) = 'x'; /* some must not be empty */
        draw_text((char *)&config + option->offset + 1, option->bytes - 1u);
        return;
    }
    if (option->kind == CONFIG_BOOL || option->kind == CONFIG_LEVEL || option->kind == CONFIG_BACKEND) {
        value = draw(2);
    }
    if (option->kind == CONFIG_FACTOR) {
        double factor = (double)draw(option->max * 1000 + 1) / 1000;
        memcpy(&value, &factor, sizeof value);
    }
    memcpy((char *)&config + option->offset, &value, option->bytes);
}

/* Whatever an operator may have set, --print-config gives a file that says the same: salts with any text, odd sizes and times. */
Test(daemon_config, any_configuration_loads_back) {
    seed = (uint64_t)time(NULL) * 2654435761u + 1;
    cr_log_info("seed %llu", (unsigned long long)seed);
    for (unsigned round = 0; round < 200; round++) {
        config_default(&config);
        config_default(&other);
        for (unsigned i = 0; i < config_option_count(); i++) {
            draw_option(config_option_at(i));
        }
        config.n_domains = 1 + (uint32_t)draw(CONFIG_MAX_DOMAINS);
        for (uint32_t i = 0; i < config.n_domains; i++) {
            memset(&config.domains[i], 0, sizeof config.domains[i]);
            snprintf(config.domains[i].name, sizeof config.domains[i].name, "domain-%u", i);
            config.domains[i].pool_bytes = draw(2) * (CONFIG_POOL_MIN_BYTES + draw(1ull << 40));
            config.domains[i].n_members = (uint32_t)draw(4);
            for (uint32_t j = 0; j < config.domains[i].n_members; j++) {
                config.domains[i].members[j] = (uid_t)draw(UINT32_MAX - 1);
            }
        }
        config.n_salts = (uint32_t)draw(4);
        for (uint32_t i = 0; i < config.n_salts; i++) {
            snprintf(config.salts[i].ns, sizeof config.salts[i].ns, "ns.%u", i);
            draw_text(config.salts[i].salt, sizeof config.salts[i].salt);
        }
        config.n_files = (uint32_t)draw(QUIRE_LOG_MAX_FILES + 1);
        for (uint32_t i = 0; i < config.n_files; i++) {
            draw_text(config.files[i].path, 300);
            snprintf(config.files[i].path + strlen(config.files[i].path), 16, "%u", i);
            config.files[i].size_bytes = 1 + draw(1ull << 50);
        }
        config.n_faults = (uint32_t)draw(CONFIG_MAX_FAULTS + 1);
        for (uint32_t i = 0; i < config.n_faults; i++) {
            snprintf(config.faults[i], CONFIG_FAULT_BYTES, "%s",
                     draw(2) != 0 ? "read:error=EIO,probability=0.01,file=0" : "write:fill=1MiB");
        }
        print_and_load();
    }
}

/* The example that is installed is what --print-config prints: it cannot grow old. */
Test(daemon_config, example_file_is_the_printed_default) {
    char name[512], *printed = NULL;
    size_t printed_bytes = 0;
    snprintf(name, sizeof name, "%s/deploy/quired.yaml", getenv("QUIRE_SOURCE") != NULL ? getenv("QUIRE_SOURCE") : ".");
    FILE *to = open_memstream(&printed, &printed_bytes), *file = fopen(name, "r");
    cr_assert_not_null(file, "%s is not there", name);
    config_print(&config, to);
    fclose(to);
    char *text = calloc(1, printed_bytes + 2);
    size_t n = fread(text, 1, printed_bytes + 1, file);
    fclose(file);
    cr_expect(n == printed_bytes && memcmp(text, printed, n) == 0, "deploy/quired.yaml differs from `quired --defaults --print-config`");
    free(text);
    free(printed);
}

/* A file names some options only; the rest keeps its default. Sizes and times are written as people write them. */
Test(daemon_config, people_write_units) {
    cr_assert_eq(
        load("ingest_bytes: 2GiB\ndrain_ms: 1.5s\nidle_timeout_ms: 5min\nmetrics_enabled: no\nlog_level: Debug\nsocket_mode: 0666\n"
             "pager:\n  lease_ms: 45000\n  reclaim_low_pct: 4%\n"),
        QUIRE_OK, "%s", why);
    cr_expect_eq(config.ingest_bytes, 2ull << 30);
    cr_expect_eq(config.drain_ms, 1500);
    cr_expect_eq(config.idle_timeout_ms, 300000);
    cr_expect_not(config.metrics_enabled);
    cr_expect_eq(config.log_level, LOG_LEVEL_DEBUG);
    cr_expect_eq(config.socket_mode, 0666);
    cr_expect_eq(config.pager.lease_ms, 45000);
    cr_expect_eq(config.pager.reclaim_low_pct, 4);
    cr_expect_eq(config.max_sessions, 1024);
}

/* An empty file, and one of comments, is a configuration: all defaults. */
Test(daemon_config, empty_files) {
    cr_expect_eq(load(""), QUIRE_OK, "%s", why);
    cr_expect_eq(load("# nothing\n\n"), QUIRE_OK, "%s", why);
    cr_expect_eq(memcmp(&config, &other, sizeof config), 0);
}

/* Each mistake is refused with its place and with what to do. */
Test(daemon_config, mistakes_are_explained) {
    refuses("log_levle: info\n", "c.yaml:1: no option 'log_levle', did you mean 'log_level'?");
    refuses("log_json: true\nlease_ms: 3s\n", "c.yaml:2: option 'lease_ms' does not belong here, it stands under `pager:`");
    refuses("pager:\n  lesae_ms: 3s\n", "did you mean 'lease_ms'");
    refuses("frobnicate: 1\n", "no option 'frobnicate'; `quired --print-config` shows all of them");
    refuses("log_json: true\ndrain_ms: soon\n", "c.yaml:2: drain_ms: 'soon' is not a time such as 250ms");
    refuses("ingest_bytes: 12\n", "allowed is 1MiB to 64GiB");
    refuses("ingest_bytes: 12 parsecs\n", "is not a size");
    refuses("ingest_bytes: 99999999999999999999\n", "is not a size");
    refuses("max_sessions: -1\n", "is not a whole number");
    refuses("max_sessions: 0\n", "allowed is 1 to 65536");
    refuses("log_level: loud\n", "error, warn, info or debug");
    refuses("socket_mode: 0888\n", "octal");
    refuses("socket_mode: 01777\n", "out of range");
    refuses("log_json: maybe\n", "true or false");
    refuses("log_json: true\nlog_json: false\n", "'log_json' is given twice");
    refuses("log_level: [a]\n", "one value expected here, not a list");
    refuses("domains:\n  - pool_bytes: 1GiB\n", "'name' is missing");
    refuses("domains:\n  - name: a\n    pool_bytes: 3\n", "c.yaml:3: pool_bytes");
    refuses("domains:\n  - name: a\n  - name: a\n", "c.yaml:3: two trust domains are called 'a'");
    refuses("domains:\n  - name: a/b\n", "letters, digits");
    refuses("domains:\n  - name: a\n    members: [no-such-user-here]\n", "neither a user id nor a user");
    refuses("salts:\n  - namespace: n\n    salt: x\n  - namespace: n\n    salt: y\n", "'n' has two salts");
    refuses("a: b: c\n", "c.yaml:1");
    refuses("batch_bytes: 1MiB\n", "c.yaml:1: option 'batch_bytes' does not belong here, it stands under `disk:`");
    refuses("disk:\n  lease_ms: 1s\n", "option 'lease_ms' does not belong here, it stands under `pager:`");
    refuses("disk:\n  io_backend: aio\n", "c.yaml:2: io_backend: 'aio' is not auto, io_uring or threads");
    refuses("disk:\n  drive_writes_per_day: 1.2345\n", "is not a number such as 3 or 0.5");
    refuses("disk:\n  drive_writes_per_day: -1\n", "is not a number such as 3 or 0.5");
    refuses("disk:\n  drive_writes_per_day: 1000.001\n", "out of range, allowed is 0 to 1000");
    refuses("disk:\n  write_budget_bytes_per_s: 1\n", "allowed is 0, or 64KiB to 1TiB");
    refuses("disk:\n  segment_bytes: 1GiB\n", "allowed is 1MiB to 512MiB");
    refuses("log_json: true\nfaults:\n  - read:error=EIO\n  - read:break=all\n", "c.yaml:2: faults: rule 2, 'read:break=all': ");
    refuses("tiers:\n  fiel: []\n", "did you mean 'file'");
    refuses("tiers:\n  file:\n    - path: /a\n", "'size' is missing");
    refuses("tiers:\n  file:\n    - path: /a\n      size: big\n", "c.yaml:4: size: 'big' is not a size such as 100GiB");
    refuses("tiers:\n  file:\n    - path: /a\n      size: 0\n", "is not a size");
    refuses("tiers:\n  file:\n    - path: /a/\n      size: 1GiB\n", "c.yaml:3: path: '/a/' is not the path of a file");
    refuses("tiers:\n  file: [{path: /a, size: 1GiB}, {path: /a, size: 1GiB}]\n", "path: '/a' is there twice");
    refuses("just text\n", "`name: value` lines expected");
    cr_expect_eq(config_load(&config, "/nonexistent/q.yaml", why, sizeof why), QUIRE_INVALID);
    cr_expect_not_null(strstr(why, "No such file"));
}

/* Random bytes are refused or accepted, and never crash the reader. */
Test(daemon_config, random_bytes) {
    static const char *const words[] = {"log_level", ": ", "\n", "  ", "- ", "[", "]",  "{",    "}",   "domains",
                                        "pager",     "&a", "*a", "\"", "'",  "|", "!!", "\x80", "1MiB"};
    seed = (uint64_t)time(NULL) * 2654435761u + 7;
    cr_log_info("seed %llu", (unsigned long long)seed);
    for (unsigned round = 0; round < 2000; round++) {
        char text[400] = "";
        for (uint64_t n = draw(40); n > 0; n--) {
            strncat(text, words[draw(QUIRE_ARRAY_LEN(words))], sizeof text - strlen(text) - 1);
        }
        enum quire_status status = load(text);
        cr_expect(status == QUIRE_OK || why[0] != '\0');
    }
}

/* Flags override the file, and say so when they cannot. */
Test(daemon_config, flags_override_the_file) {
    static char source[CONFIG_SOURCE_BYTES];
    struct flags flags;
    write_file(path, "log_level: warn\ndrain_ms: 1s\n");
    char *argv[] = {"quired", "-c", path, "--log-level=debug", "--set", "pager.lease_ms=4s", "-p", "2GiB", "--no-metrics", NULL};
    cr_assert_eq(flags_parse(9, argv, &flags, why, sizeof why), QUIRE_OK, "%s", why);
    cr_assert_eq(flags_configure(&flags, &config, source, why, sizeof why), QUIRE_OK, "%s", why);
    cr_expect_str_eq(source, path);
    cr_expect_eq(config.log_level, LOG_LEVEL_DEBUG);
    cr_expect_eq(config.drain_ms, 1000);
    cr_expect_eq(config.pager.lease_ms, 4000);
    cr_expect_eq(config.domains[0].pool_bytes, 2ull << 30);
    cr_expect_not(config.metrics_enabled);
    write_file(path, "domains:\n  - name: a\n  - name: b\n");
    cr_expect_eq(flags_configure(&flags, &config, source, why, sizeof why), QUIRE_INVALID);
    cr_expect_not_null(strstr(why, "the file has 2"));
}

static const char *flag_disks(const char *first, const char *second, const char *third) {
    static char source[CONFIG_SOURCE_BYTES];
    struct flags flags;
    char *argv[] = {"quired", "-c", path, "--disk", (char *)(uintptr_t)first, "-d", (char *)(uintptr_t)second, (char *)(uintptr_t)third,
                    NULL};
    enum quire_status status = flags_parse(third != NULL ? 8 : 7, argv, &flags, why, sizeof why);
    return status == QUIRE_OK && flags_configure(&flags, &config, source, why, sizeof why) == QUIRE_OK ? NULL : why;
}

/* --disk starts a disk tier without a file; its files replace those of the configuration's, all of them. */
Test(daemon_config, disks_by_flag) {
    write_file(path, "tiers:\n  file: [{path: /old, size: 1GiB}]\n");
    cr_assert_null(flag_disks("/a:100GiB", "b:c/d:2TiB", "--allow-faults"), "%s", why);
    cr_assert_eq(config.n_files, 2);
    cr_expect_str_eq(config.files[0].path, "/a");
    cr_expect_eq(config.files[0].size_bytes, 100ull << 30);
    cr_expect_str_eq(config.files[1].path, "b:c/d", "the last colon counts");
    cr_expect_eq(config.files[1].size_bytes, 2ull << 40);
    cr_expect(config.allow_faults);
    cr_expect_not_null(strstr(flag_disks("/a", "/b:1GiB", NULL), "'/a' is not PATH:SIZE, such as /var/lib/quire/log0:100GiB"));
    cr_expect_not_null(strstr(flag_disks("/a:", "/b:1GiB", NULL), "is not a size"));
    cr_expect_not_null(strstr(flag_disks(":1GiB", "/b:1GiB", NULL), "is not the path of a file"));
}

/* Files, options and faults of the disk tier, as people write them. */
Test(daemon_config, disk_tier) {
    cr_assert_eq(load("tiers: { file: [ {path: /var/lib/quire/log0, size: 100GiB}, {path: log1, size: 1TiB} ] }\n"
                      "disk:\n  segment_bytes: 16MiB\n  io_backend: Threads\n  drive_writes_per_day: 0.75\n  scrub_bytes_per_s: 0\n"
                      "  write_budget_bytes_per_s: 200MB\nfaults:\n  - \"sync:error=EIO\"\n  - write:delay=20ms,count=3\n"),
                 QUIRE_OK, "%s", why);
    cr_assert_eq(config.n_files, 2);
    cr_expect_str_eq(config.files[0].path, "/var/lib/quire/log0");
    cr_expect_eq(config.files[1].size_bytes, 1ull << 40);
    cr_expect_eq(config.disk.segment_bytes, 16u << 20);
    cr_expect_eq(config.disk.io_backend, DISK_IO_THREADS);
    cr_expect_eq(config.disk.pager.drive_writes_per_day, 0.75);
    cr_expect_eq(config.disk.pager.write_budget_bytes_per_s, 200000000);
    cr_expect_eq(config.disk.scrub_bytes_per_s, 0);
    cr_assert_eq(config.n_faults, 2);
    cr_expect_str_eq(config.faults[1], "write:delay=20ms,count=3");
    cr_assert_eq(chdir(folder), 0);
    char here[256];
    snprintf(here, sizeof here, "%s/log1", folder);
    cr_assert_eq(config_resolve(&config, why, sizeof why), QUIRE_OK, "%s", why);
    cr_expect_str_eq(config.files[1].path, here, "operators look for it from other folders");
}

static void does_not_resolve(const char *text, const char *expected) {
    config_default(&config);
    cr_assert_eq(load(text), QUIRE_OK, "%s", why);
    cr_expect_eq(config_resolve(&config, why, sizeof why), QUIRE_INVALID, "accepted: %s", text);
    cr_expect_not_null(strstr(why, expected), "'%s' does not say '%s'", why, expected);
}

/* Sizes that do not go together are refused with sizes that would. */
Test(daemon_config, disk_sizes) {
    does_not_resolve("tiers: {file: [{path: /a, size: 1000MiB}]}\n",
                     "size 1000MiB is not a multiple of disk.segment_bytes (64MiB): give 960MiB or 1GiB");
    does_not_resolve("tiers: {file: [{path: /a, size: 448MiB}]}\n",
                     "size 448MiB is less than 8 segments: give 512MiB at least, or a smaller disk.segment_bytes (64MiB)");
    does_not_resolve("tiers: {file: [{path: /a, size: 1GiB}]}\ndisk: {segment_bytes: 1048577}\n", "must be a multiple of 64KiB");
    does_not_resolve("tiers: {file: [{path: /a, size: 1GiB}]}\ndisk: {segment_bytes: 2MiB}\n",
                     "disk.batch_bytes (2MiB) must not be more than a quarter of disk.segment_bytes (2MiB)");
    does_not_resolve("tiers: {file: [{path: /a, size: 1GiB}]}\ndisk: {segment_bytes: 4MiB}\n",
                     "disk.batch_bytes (2MiB) must not be more than a quarter of disk.segment_bytes (4MiB)");
    does_not_resolve("tiers: {file: [{path: /a, size: 5TiB}]}\ndisk: {segment_bytes: 1MiB, batch_bytes: 256KiB}\n",
                     "more than 4194304 segments: give a larger disk.segment_bytes (now 1MiB)");
    config_default(&config);
    cr_assert_eq(load("disk: {segment_bytes: 2MiB}\n"), QUIRE_OK);
    cr_expect_eq(config_resolve(&config, why, sizeof why), QUIRE_OK, "no disk tier: nothing to disagree about");
}

/* A warning that comes after the file was given up would never come. */
Test(daemon_config, a_warning_after_the_end) {
    does_not_resolve("tiers: {file: [{path: /a, size: 1GiB}]}\ndisk: {stall_warn_ms: 40s}\n",
                     "disk.stall_warn_ms (40000 ms) must not be above disk.stall_limit_ms (30000 ms)");
    does_not_resolve("tiers: {file: [{path: /a, size: 1GiB}]}\ndisk: {stall_limit_ms: 1s}\n",
                     "disk.stall_warn_ms (5000 ms) must not be above");
}

/*
 * What quired writes beside a file of the set replaces whatever has that name: a second file of the set there would be served without a name, and lost at the
 * stop. Refused in whatever order and way of writing; a name that only begins so is a name as any other.
 */
Test(daemon_config, disk_files_beside_each_other) {
    static const char *const endings[] = {".meta", ".meta.new", ".snapshot", ".snapshot.new", ".quire-new"};
    char text[700], expected[300];
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(endings); i++) {
        snprintf(text, sizeof text, "tiers: {file: [{path: /a/log0, size: 1GiB}, {path: /a/log0%s, size: 1GiB}]}\n", endings[i]);
        snprintf(expected, sizeof expected, "tiers: /a/log0%s: quired itself writes there, beside /a/log0: give another path", endings[i]);
        does_not_resolve(text, expected);
        snprintf(text, sizeof text, "tiers: {file: [{path: log0%s, size: 1GiB}, {path: %s/log0, size: 1GiB}]}\n", endings[i], folder);
        cr_assert_eq(chdir(folder), 0);
        does_not_resolve(text, "quired itself writes there, beside ");
    }
    snprintf(text, sizeof text, "tiers: {file: [{path: %s/log0, size: 1GiB}, {path: %s/./log0, size: 1GiB}]}\n", folder, folder);
    does_not_resolve(text, "is the same file as");
    config_default(&config);
    cr_assert_eq(
        load("tiers: {file: [{path: /a/log0, size: 1GiB}, {path: /a/log0.metal, size: 1GiB}, {path: /b/log0.meta, size: 1GiB}]}\n"),
        QUIRE_OK);
    cr_expect_eq(config_resolve(&config, why, sizeof why), QUIRE_OK, "%s", why);
}

static void refuses_flag(const char *flag, const char *expected) {
    struct flags flags;
    static char source[CONFIG_SOURCE_BYTES];
    char *argv[] = {"quired", "--defaults", (char *)(uintptr_t)flag, NULL};
    enum quire_status status = flags_parse(3, argv, &flags, why, sizeof why);
    if (status == QUIRE_OK) {
        status = flags_configure(&flags, &config, source, why, sizeof why);
    }
    cr_expect_eq(status, QUIRE_INVALID, "accepted: %s", flag);
    cr_expect_not_null(strstr(why, expected), "'%s' does not say '%s'", why, expected);
}

/* Wrong flags are refused with the nearest right one. */
Test(daemon_config, wrong_flags) {
    refuses_flag("--sokcet=x", "did you mean '--socket'?");
    refuses_flag("--socket", "needs a value");
    refuses_flag("--log-json=3", "takes no value");
    refuses_flag("serve", "quired --help");
    refuses_flag("--set=lease_ms=1s", "did you mean 'pager.lease_ms'?");
    refuses_flag("--set=x", "is not NAME=VALUE");
    refuses_flag("--metrics-port=65536", "0 to 65535");
}

/* Resolving fills in what depends on the machine, and refuses what cannot go together. */
Test(daemon_config, resolve) {
    snprintf(config.socket_path, sizeof config.socket_path, "%s/q.sock", folder);
    cr_assert_eq(config_resolve(&config, why, sizeof why), QUIRE_OK, "%s", why);
    cr_expect(config.work_threads >= 1 && config.work_threads <= 4);
    cr_expect_geq(config.domains[0].pool_bytes, 64ull << 20);
    cr_expect_eq(config.domains[0].pool_bytes % (2u << 20), 0);
    cr_expect_eq(config.domains[0].n_members, 1);
    cr_expect_eq(config.domains[0].members[0], geteuid());
    config_default(&config);
    config.pager.reclaim_low_pct = 9;
    cr_expect_eq(config_resolve(&config, why, sizeof why), QUIRE_INVALID);
    config_default(&config);
    config.ingest_window_bytes = config.ingest_bytes + 1;
    cr_expect_eq(config_resolve(&config, why, sizeof why), QUIRE_INVALID);
}

/* One thread may wait for a drive that hangs while the metadata is saved there. Beside a disk tier it is never the only one: stores would wait, too. */
Test(daemon_config, a_disk_tier_has_two_threads) {
    static const uint32_t given[] = {0, 1, 2, 7};
    for (unsigned i = 0; i < 2 * QUIRE_ARRAY_LEN(given); i++) {
        uint32_t threads = given[i / 2];
        config_default(&config);
        cr_assert_eq(load(i % 2 == 1 ? "tiers: {file: [{path: /a, size: 1GiB}]}\n" : "max_sessions: 5\n"), QUIRE_OK, "%s", why);
        config.work_threads = threads;
        cr_assert_eq(config_resolve(&config, why, sizeof why), QUIRE_OK, "%s", why);
        cr_expect_geq(config.work_threads, i % 2 == 1 ? 2 : 1, "%u given", threads);
        cr_expect(threads == 0 || config.work_threads == threads || (i % 2 == 1 && threads == 1));
    }
}

/* The socket's place: given, a service's folder, the user's runtime folder; one that is too long is refused. */
Test(daemon_config, socket_places) {
    setenv("RUNTIME_DIRECTORY", "/run/one:/run/two", 1);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    cr_assert_eq(config_resolve(&config, why, sizeof why), QUIRE_OK);
    cr_expect_str_eq(config.socket_path, "/run/one/quired.sock");
    unsetenv("RUNTIME_DIRECTORY");
    cr_assert_eq(config_resolve(&other, why, sizeof why), QUIRE_OK);
    cr_expect_str_eq(other.socket_path, "/run/user/7/quire/quired.sock");
    cr_assert_eq(chdir("/tmp"), 0);
    config_default(&config);
    snprintf(config.socket_path, sizeof config.socket_path, "near.sock");
    cr_assert_eq(config_resolve(&config, why, sizeof why), QUIRE_OK);
    cr_expect_str_eq(config.socket_path, "/tmp/near.sock", "clients have other working folders");
    char deep[200] = "/";
    memset(deep + 1, 'd', 150);
    setenv("XDG_RUNTIME_DIR", deep, 1);
    config_default(&config);
    cr_expect_eq(config_resolve(&config, why, sizeof why), QUIRE_INVALID);
    cr_expect_not_null(strstr(why, "--socket"));
}

/* A folder in which somebody else could put a socket is refused; a missing default folder is made, for the owner alone. */
Test(daemon_config, socket_folder_is_private) {
    struct stat info;
    snprintf(config.socket_path, sizeof config.socket_path, "%s/quire/q.sock", folder);
    cr_assert_eq(config_prepare_socket_folder(&config, why, sizeof why), QUIRE_OK, "%s", why);
    char made[200];
    snprintf(made, sizeof made, "%s/quire", folder);
    cr_assert_eq(stat(made, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0700);
    cr_assert_eq(chmod(made, 0777), 0);
    cr_expect_eq(config_prepare_socket_folder(&config, why, sizeof why), QUIRE_DENIED);
    cr_expect_not_null(strstr(why, "written by others"));
    if (geteuid() == 0) {
        cr_assert_eq(chmod(made, 0700), 0);
        cr_assert_eq(chown(made, 12345, 12345), 0);
        cr_expect_eq(config_prepare_socket_folder(&config, why, sizeof why), QUIRE_DENIED);
        cr_expect_not_null(strstr(why, "belongs to user 12345"));
    }
    snprintf(config.socket_path, sizeof config.socket_path, "%s/nothing/q.sock", folder);
    cr_expect_eq(config_prepare_socket_folder(&config, why, sizeof why), QUIRE_SYSTEM);
}

static void fake(const char *below, const char *text) {
    char name[512], command[600];
    snprintf(name, sizeof name, "%s/%s", folder, below);
    snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\"", name);
    cr_assert_eq(system(command), 0);
    write_file(name, text);
}

/* The memory that may be used is the tightest of host, own cgroup and the groups above, of either version. */
Test(daemon_config, allowed_memory) {
    cr_expect_eq(quire_memory_limit(folder), 0, "nothing is known");
    fake("proc/meminfo", "MemFree: 1 kB\nMemTotal:       8388608 kB\n");
    cr_expect_eq(quire_memory_limit(folder), 8ull << 30);
    fake("proc/self/cgroup", "4:memory:/a/b\n1:cpu:/x\n0::/u/v\n");
    fake("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4294967296\n");
    cr_expect_eq(quire_memory_limit(folder), 4ull << 30, "a group above ours, version 1");
    fake("sys/fs/cgroup/u/v/memory.max", "max\n");
    fake("sys/fs/cgroup/u/memory.max", "2147483648\n");
    cr_expect_eq(quire_memory_limit(folder), 2ull << 30, "a group above ours, version 2");
    fake("sys/fs/cgroup/u/v/memory.max", "1073741824\n");
    cr_expect_eq(quire_memory_limit(folder), 1ull << 30);
    fake("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
    cr_expect_eq(quire_memory_limit(folder), 512ull << 20, "a container's own root");
}

/* A reload takes over what can change, and names what cannot. */
Test(daemon_config, reload_names_what_needs_a_restart) {
    char names[512];
    other.log_level = LOG_LEVEL_DEBUG;
    other.pager.lease_ms = 1000;
    other.metrics_port = 1;
    other.pager.max_blocks = 2048;
    other.n_salts = 1;
    other.disk.io_depth = 7;
    other.disk.scrub_bytes_per_s = 0;
    other.disk.pager.write_delay_ms = 5;
    other.n_files = 1;
    other.n_faults = 1;
    snprintf(other.faults[0], sizeof other.faults[0], "a rule");
    cr_expect(config_fixed_diff(&config, &other, names, sizeof names));
    cr_expect_str_eq(names, "metrics_port, pager.max_blocks, disk.io_depth, salts, tiers");
    cr_expect(config_live_diff(&config, &other, names, sizeof names));
    cr_expect_str_eq(names, "log_level, pager.lease_ms, disk.scrub_bytes_per_s, disk.write_delay_ms, faults");
    config_take_live(&config, &other);
    cr_expect_not(config_live_diff(&config, &other, names, sizeof names));
    cr_expect_eq(config.metrics_port, 9470);
    cr_expect_eq(config.n_files, 0);
    cr_expect_eq(config.n_faults, 1);
    cr_expect_str_eq(config.faults[0], "a rule");
}
