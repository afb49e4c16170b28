/* What quirectl shows: tables, small texts, JSON from messages, the picture of top, the checks of doctor. */
#include "client/quirectl/doctor.h"
#include "client/quirectl/format.h"
#include "client/quirectl/json.h"
#include "client/quirectl/table.h"
#include "client/quirectl/top_view.h"
#include "client/quirectl/views.h"
#include "proto/base/base.h"
#include "proto/base/uring.h"
#include "tests/unit/forbid.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Columns line up, whatever letters and lengths; control characters cannot break a line. */
Test(quirectl_views, tables_line_up) {
    static const char *const titles[] = {"NAME", "SIZE", "NOTE"};
    struct table table;
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    table_begin(&table, titles, 3, "lrl");
    table_cell(&table, "%s", "bär");
    table_size(&table, 1536);
    table_cell(&table, "%s", "a\nb\x1b[31m");
    table_cell(&table, "%s", "longer-name");
    table_count(&table, 1234567);
    table_cell(&table, "%s", "");
    table_end(&table, 1, 0, to);
    fclose(to);
    cr_expect_str_eq(text, " NAME              SIZE  NOTE\n"
                           " bär           1.50 KiB  a?b?[31m\n"
                           " longer-name  1,234,567  \n");
    free(text);
}

/* More rows than asked for are counted, not shown; without rows there are no titles. */
Test(quirectl_views, tables_are_bounded) {
    static const char *const titles[] = {"N"};
    struct table table;
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    table_begin(&table, titles, 1, "r");
    for (unsigned i = 0; i < 500; i++) {
        table_cell(&table, "%u", i);
    }
    table_end(&table, 0, 2, to);
    table_begin(&table, titles, 1, "r");
    table_end(&table, 0, 0, to);
    fclose(to);
    cr_expect_str_eq(text, "  N\n  0\n  1\n… and 498 more\n");
    free(text);
}

/* Times, shares, keys and bars as people read them. */
Test(quirectl_views, small_texts) {
    char text[FORMAT_BYTES];
    uint8_t key[32] = {0x1a, 0x2b, 0x3c, 0x4d, [30] = 0x90, [31] = 0xab};
    format_ago(999, text);
    cr_expect_str_eq(text, "just now");
    format_ago(185000, text);
    cr_expect_str_eq(text, "3 min ago");
    format_ago(200000000, text);
    cr_expect_str_eq(text, "2 d ago");
    format_percent(999999, 1000000, text);
    cr_expect_str_eq(text, "99.9 %", "nearly all is not all");
    format_percent(1, 1000000, text);
    cr_expect_str_eq(text, "0.1 %", "nearly nothing is not nothing");
    format_percent(5, 5, text);
    cr_expect_str_eq(text, "100 %");
    format_percent(0, 0, text);
    cr_expect_str_eq(text, "–");
    format_key(key, sizeof key, text);
    cr_expect_str_eq(text, "1a2b3c4d…90ab");
    format_bar(5, 2, 10, 10, text);
    cr_expect_str_eq(text, "[|||||..   ]");
    format_bar(50, 0, 10, 10, text);
    cr_expect_str_eq(text, "[||||||||||]");
    format_bar(0, 0, 0, 4, text);
    cr_expect_str_eq(text, "[    ]");
}

/* A message becomes an object with every field; 64-bit numbers keep all digits; bytes are hexadecimal. */
Test(quirectl_views, messages_become_json) {
    Quire__Wire__BlockInfo block = QUIRE__WIRE__BLOCK_INFO__INIT;
    Quire__Wire__RecordInfo record = QUIRE__WIRE__RECORD_INFO__INIT, *records[] = {&record};
    uint8_t key[] = {0, 0xff};
    block.key = (ProtobufCBinaryData){.data = key, .len = 2};
    block.ns = (char *)"n\"s";
    block.idle_ms = UINT64_MAX;
    block.records = records, block.n_records = 1;
    record.error = 0.5f;
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    json_print(json_message(&block.base), to);
    fclose(to);
    cr_expect_not_null(strstr(text, "\"idle_ms\":\t18446744073709551615"), "%s", text);
    cJSON *root = cJSON_Parse(text);
    cr_assert_not_null(root);
    cr_expect_str_eq(cJSON_GetObjectItem(root, "key")->valuestring, "00ff");
    cr_expect_str_eq(cJSON_GetObjectItem(root, "parent")->valuestring, "");
    cr_expect_str_eq(cJSON_GetObjectItem(root, "ns")->valuestring, "n\"s");
    cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "records"), 0);
    cr_expect_float_eq(cJSON_GetObjectItem(first, "error")->valuedouble, 0.5, 1e-9);
    cJSON_Delete(root);
    free(text);
}

/* ---- top ----------------------------------------------------------------------------------------------------------------------- */
enum { N_COUNTERS = 6, N_SESSIONS = 30, N_NAMESPACES = 20 };
struct world {
    Quire__Wire__DaemonInfo daemon;
    Quire__Wire__TierInfo tier, *tiers[1];
    Quire__Wire__Counter counter[N_COUNTERS], *counters[N_COUNTERS];
    Quire__Wire__SessionInfo session[N_SESSIONS], *sessions[N_SESSIONS];
    Quire__Wire__NamespaceInfo ns[N_NAMESPACES], *namespaces[N_NAMESPACES];
    Quire__Wire__AdminReply status, counts, session_list, ns_list;
    struct top_sample sample;
};

static void world_make(struct world *world, uint64_t at_ms, double scale) {
    static const char *const names[N_COUNTERS] = {"lookup_keys", "hit_keys", "hit_bytes", "put_bytes", "misses_evicted", "puts_stored"};
    static const double values[N_COUNTERS] = {1000, 750, 3 << 20, 1 << 20, 250, 10};
    quire__wire__daemon_info__init(&world->daemon);
    quire__wire__tier_info__init(&world->tier);
    quire__wire__admin_reply__init(&world->status);
    quire__wire__admin_reply__init(&world->counts);
    quire__wire__admin_reply__init(&world->session_list);
    quire__wire__admin_reply__init(&world->ns_list);
    world->daemon.version = (char *)"9.9", world->daemon.epoch = 5, world->daemon.state = (char *)"serving";
    world->tier.name = (char *)"host", world->tier.domain = (char *)"default", world->tier.capacity_bytes = 100,
    world->tier.used_bytes = 50;
    world->tiers[0] = &world->tier;
    world->status.daemon = &world->daemon, world->status.tiers = world->tiers, world->status.n_tiers = 1;
    for (unsigned i = 0; i < N_COUNTERS; i++) {
        quire__wire__counter__init(&world->counter[i]);
        world->counter[i].name = (char *)(uintptr_t)names[i], world->counter[i].value = values[i] * scale;
        world->counters[i] = &world->counter[i];
    }
    for (unsigned i = 0; i < N_SESSIONS; i++) {
        quire__wire__session_info__init(&world->session[i]);
        world->session[i].id = 100 + i, world->session[i].client = (char *)"worker";
        world->session[i].fetched_bytes = (uint64_t)((i == 17 ? 4096 : 0) * scale);
        world->sessions[i] = &world->session[i];
    }
    for (unsigned i = 0; i < N_NAMESPACES; i++) {
        quire__wire__namespace_info__init(&world->ns[i]);
        world->ns[i].name = (char *)(i == 7 ? "the-largest" : "small"), world->ns[i].bytes = i == 7 ? 1 << 30 : i;
        world->namespaces[i] = &world->ns[i];
    }
    world->counts.counters = world->counters, world->counts.n_counters = N_COUNTERS;
    world->session_list.sessions = world->sessions, world->session_list.n_sessions = N_SESSIONS;
    world->ns_list.namespaces = world->namespaces, world->ns_list.n_namespaces = N_NAMESPACES;
    world->sample = (struct top_sample){at_ms, &world->status, &world->counts, &world->session_list, &world->ns_list};
}

static bool shows(const struct top_picture *picture, const char *text) {
    for (unsigned i = 0; i < picture->n_lines; i++) {
        if (strstr(picture->lines[i], text) != NULL) {
            return true;
        }
    }
    return false;
}

/* Rates are what grew between two samples; who moves most and what is largest stands first. */
Test(quirectl_views, top_shows_rates) {
    static struct world before, now;
    struct top_picture picture;
    world_make(&before, 1000, 1);
    world_make(&now, 3000, 3);
    cr_expect_float_eq(top_rate(&before.sample, &now.sample, "lookup_keys"), 1000, 1e-9);
    top_draw(&before.sample, &now.sample, 120, 40, &picture);
    cr_expect(shows(&picture, "75 % of 1,000 keys/s hit") || shows(&picture, "75.0 % of 1,000 keys/s hit"));
    cr_expect(shows(&picture, "3 MiB/s"));
    cr_expect(shows(&picture, "evicted 250/s"));
    cr_expect(shows(&picture, "[||||||||||||||||||||                    ]"));
    for (unsigned i = 0; i < picture.n_lines; i++) {
        if (strstr(picture.lines[i], "NAMESPACE") != NULL) {
            cr_expect_not_null(strstr(picture.lines[i + 1], "the-largest"), "%s", picture.lines[i + 1]);
        }
        if (strstr(picture.lines[i], "CLIENT") != NULL) {
            cr_expect_not_null(strstr(picture.lines[i + 1], "117  worker"), "%s", picture.lines[i + 1]);
        }
    }
    top_picture_free(&picture);
}

/* A restart of the daemon starts its counters anew: no rate is made of that. */
Test(quirectl_views, top_survives_a_restart) {
    static struct world before, now;
    world_make(&before, 1000, 3);
    world_make(&now, 2000, 1);
    cr_expect_eq(top_rate(&before.sample, &now.sample, "lookup_keys"), 0);
    now.daemon.epoch = 6;
    world_make(&before, 1000, 0.5);
    cr_expect_eq(top_rate(&before.sample, &now.sample, "lookup_keys"), 0);
    cr_expect_eq(top_rate(NULL, &now.sample, "lookup_keys"), 0);
}

/* The picture stays inside the screen, however small. */
Test(quirectl_views, top_fits_the_screen) {
    static struct world before, now;
    struct top_picture picture;
    world_make(&before, 1000, 1);
    world_make(&now, 2000, 2);
    for (unsigned height = 0; height < 60; height++) {
        for (unsigned width = 1; width < 160; width += 13) {
            top_draw(&before.sample, &now.sample, width, height, &picture);
            cr_assert_leq(picture.n_lines, height);
            for (unsigned i = 0; i < picture.n_lines; i++) {
                cr_assert_leq(table_width(picture.lines[i]) - (picture.lines[i][0] == TOP_TITLE), width);
            }
            top_picture_free(&picture);
        }
    }
}

/* ---- the disk tier ------------------------------------------------------------------------------------------------------------ */
struct disk_world {
    Quire__Wire__DiskInfo disk;
    Quire__Wire__DiskFileInfo file[2], *files[2];
    Quire__Wire__TierInfo tier, *tiers[2];
};

/* Beside the world's own tier: two files, one of which failed, and a start that still goes on. */
static void world_add_disk(struct world *world, struct disk_world *more) {
    quire__wire__disk_info__init(&more->disk);
    quire__wire__tier_info__init(&more->tier);
    for (unsigned i = 0; i < 2; i++) {
        quire__wire__disk_file_info__init(&more->file[i]);
        more->file[i].path = (char *)(i == 0 ? "/proc/log0" : "/nvme1/log1");
        more->file[i].size_bytes = 1ull << 30, more->file[i].in_use = i == 0, more->file[i].direct = true;
        more->files[i] = &more->file[i];
    }
    more->file[1].why = (char *)"a write failed (Input/output error)";
    more->file[1].write_errors = 1;
    more->disk.state = (char *)"restoring", more->disk.backend = (char *)"threads",
    more->disk.backend_why = (char *)"io_uring is not allowed";
    more->disk.segments = 32, more->disk.clean_segments = 5, more->disk.restore_segments = 20, more->disk.restored_segments = 7;
    more->disk.restored_from = (char *)"log", more->disk.restored_why = (char *)"quired was not stopped in good order";
    more->disk.restored_deletions = 1, more->disk.restored_bytes = 5 << 20;
    more->disk.restored_records = 12345, more->disk.dirty_bytes = 3 << 20, more->disk.write_amplification = 1.07,
    more->disk.estimate_error = 0.2;
    more->disk.files = more->files, more->disk.n_files = 2;
    more->tier.name = (char *)"disk", more->tier.capacity_bytes = 1ull << 60;
    more->tiers[0] = &world->tier, more->tiers[1] = &more->tier;
    world->status.tiers = more->tiers, world->status.n_tiers = 2;
    world->status.disk = &more->disk;
}

static void tells(const char *text, const char *expected) {
    cr_expect_not_null(strstr(text, expected), "'%s' is not in:\n%s", expected, text);
}

/* status shows what the start has found so far, what waits to be written, and which file is out of use and why. */
Test(quirectl_views, disk_at_a_glance) {
    static struct world world;
    static struct disk_world more;
    char *text = NULL;
    size_t bytes;
    world_make(&world, 0, 1);
    FILE *to = open_memstream(&text, &bytes);
    view_disk(&world.status, to);
    fflush(to);
    cr_expect_eq(bytes, 0, "no disk tier: nothing to show");
    world_add_disk(&world, &more);
    view_tiers(&world.status, to);
    view_disk(&world.status, to);
    fclose(to);
    tells(text, "disk        5 of 32 segments clean, 3 MiB to be written; by threads: io_uring is not allowed\n");
    tells(text, "restoring   35.0 %: 7 of 20 segments, 12,345 records and 1 deletion so far, from the log (quired was not stopped in good "
                "order)\n");
    cr_expect_null(strstr(text, "doubts"));
    tells(text, "wear        written 1.07 times what was stored\n");
    tells(text, "estimates   of what fetches take are off by 20 %\n");
    tells(text, "/nvme1/log1  1 GiB  out of use");
    tells(text, "a write failed (Input/output error)");
    tells(text, "1048576 TiB     0 %");
    free(text);
}

/* Afterwards status tells where the index came from, how long that took, and what was doubted; of a new set there is nothing to tell. */
Test(quirectl_views, disk_after_a_start) {
    static struct world world;
    static struct disk_world more;
    char *text = NULL;
    size_t bytes;
    world_make(&world, 0, 1);
    world_add_disk(&world, &more);
    more.disk.state = (char *)"serving", more.disk.restored_segments = 20, more.disk.restored_us = 1500000;
    FILE *to = open_memstream(&text, &bytes);
    view_disk(&world.status, to);
    fflush(to);
    tells(text, "restored    20 segments, 12,345 records and 1 deletion from the log: 5 MiB read in 1.50 s (quired was not stopped in good "
                "order)\n");
    more.disk.restore_waits = (char *)"/d/log0: Cannot allocate memory";
    view_disk(&world.status, to);
    fflush(to);
    tells(text, "\nwaits       it cannot be read now, and is tried again: /d/log0: Cannot allocate memory\n");
    more.disk.restore_waits = (char *)"";
    more.disk.doubtful_records = 1200, more.disk.walked_segments = 1, more.disk.failed_reads = 2;
    view_disk(&world.status, to);
    fflush(to);
    tells(text, "doubts      1,200 records not whole, and left out; 1 segment had no footer, and was searched; 2 reads failed\n");
    more.disk.restored_from = (char *)"snapshot", more.disk.restored_why = (char *)"", more.disk.restored_us = 1;
    more.disk.doubtful_records = more.disk.walked_segments = 0;
    view_disk(&world.status, to);
    fflush(to);
    tells(text,
          "restored    20 segments, 12,345 records from the snapshot of the last stop: 5 MiB read in 1 ms\ndoubts      2 reads failed\n");
    size_t before = bytes;
    more.disk.restored_from = (char *)"nowhere";
    view_disk(&world.status, to);
    fclose(to);
    cr_expect_null(strstr(text + before, "restored"), "a new set has nothing to find again");
    free(text);
}

/* top shows the disk's speed beside the others', and says loudly when a file is lost. */
Test(quirectl_views, top_shows_the_disk) {
    static struct world before, now;
    static struct disk_world more;
    struct top_picture picture;
    world_make(&before, 1000, 1);
    world_make(&now, 3000, 3);
    now.counter[0].name = before.counter[0].name = (char *)"disk_written_bytes";
    now.counter[0].value = 4 << 20, before.counter[0].value = 0;
    now.counter[1].name = before.counter[1].name = (char *)"puts_over_share";
    now.counter[1].value = 8, before.counter[1].value = 3;
    world_add_disk(&now, &more);
    top_draw(&before.sample, &now.sample, 160, 40, &picture);
    cr_expect(
        shows(&picture,
              "disk     0 B/s read, 2 MiB/s written, 3 MiB to be written, 5 of 32 segments clean, restoring 7 of 20, 1 file OUT OF USE"));
    cr_expect(shows(&picture, "evicted/s; refused: 2.5/s over a session's share"));
    top_picture_free(&picture);
    for (unsigned height = 0; height < 20; height++) {
        top_draw(&before.sample, &now.sample, 40, height, &picture);
        cr_assert_leq(picture.n_lines, height);
        top_picture_free(&picture);
    }
}

/* ---- doctor -------------------------------------------------------------------------------------------------------------------- */
static struct doctor_finding look(const char *name, const struct doctor_view *view) {
    struct doctor_finding finding = {.name = name};
    for (unsigned i = 0; i < doctor_n_entries; i++) {
        if (strcmp(doctor_entries[i].name, name) == 0) {
            doctor_entries[i].check(view, &finding);
            return finding;
        }
    }
    cr_assert(false, "no check %s", name);
    return finding;
}

/* Every check finds something to say, with and without a daemon; what is not ok says what to do. */
Test(quirectl_views, doctor_always_advises) {
    static struct world world;
    world_make(&world, 0, 1);
    const struct doctor_view views[] = {{.root = "/", .connect_error = "no quired at /x"},
                                        {.root = "/", .connect_error = "", .status = &world.status, .counters = &world.counts},
                                        {.root = "/nonexistent", .connect_error = "", .status = &world.status, .counters = &world.counts}};
    for (unsigned v = 0; v < QUIRE_ARRAY_LEN(views); v++) {
        for (unsigned i = 0; i < doctor_n_entries; i++) {
            struct doctor_finding finding = look(doctor_entries[i].name, &views[v]);
            cr_expect_neq(finding.text[0], '\0', "%s says nothing", finding.name);
            bool silent = finding.level == DOCTOR_OK || (views[v].status == NULL && strstr(finding.text, "without a daemon") != NULL);
            cr_expect(silent || finding.advice[0] != '\0', "%s: %s: no advice", finding.name, finding.text);
        }
    }
}

/* No daemon is a failure; refused stores, a draining daemon, other versions and a pool as large as the machine are worth a look. */
Test(quirectl_views, doctor_finds_what_is_wrong) {
    static struct world world;
    world_make(&world, 0, 1);
    struct doctor_view view = {.root = "/", .connect_error = "no quired at /x"};
    cr_expect_eq(look("socket", &view).level, DOCTOR_FAIL);
    cr_expect_eq(look("disk", &view).level, DOCTOR_WARN, "what nobody knows is not ok");
    cr_expect_eq(look("disk room", &view).level, DOCTOR_WARN);
    view.status = &world.status, view.counters = &world.counts;
    cr_expect_eq(look("socket", &view).level, DOCTOR_OK);
    cr_expect_eq(look("state", &view).level, DOCTOR_OK);
    cr_expect_eq(look("versions", &view).level, DOCTOR_WARN);
    cr_expect_eq(look("certificate", &view).level, DOCTOR_OK, "none is used");
    static const struct {
        int64_t left_s;
        enum doctor_level level;
    } certificates[] = {{-3600, DOCTOR_FAIL}, {3600, DOCTOR_WARN}, {30 * 24 * 3600, DOCTOR_OK}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(certificates); i++) {
        world.status.daemon->certificate_until_s = (int64_t)time(NULL) + certificates[i].left_s;
        cr_expect_eq(look("certificate", &view).level, certificates[i].level, "%lld s left", (long long)certificates[i].left_s);
    }
    cr_expect_eq(look("room", &view).level, DOCTOR_WARN, "a quarter of what was asked for had been evicted");
    world.counter[5].name = (char *)"puts_full";
    cr_expect_not_null(strstr(look("room", &view).text, "refused: 10 for want of room (puts_full)"));
    world.counter[4].name = (char *)"puts_over_share", world.counter[0].name = (char *)"ingest_refused";
    cr_expect_str_eq(look("room", &view).text, "refused: 10 for want of room (puts_full), 250 over a session's share (puts_over_share), "
                                               "1000 without an ingest window in time (ingest_refused)");
    world.counter[5].name = (char *)"puts_corrupt", world.counter[4].name = (char *)"misses_evicted";
    world.counter[0].name = (char *)"lookup_keys";
    cr_expect_not_null(strstr(look("room", &view).text, "refused: 10 with a wrong checksum (puts_corrupt)"), "no refusal goes untold");
    world.daemon.state = (char *)"draining";
    cr_expect_eq(look("state", &view).level, DOCTOR_WARN);
    world.tier.capacity_bytes = 1ull << 60;
    cr_expect_eq(look("memory", &view).level, DOCTOR_WARN);
}

/*
 * Somebody asks doctor before there is a disk tier, and then quired starts with one: both ask the kernel the same. That a ring can be made is not enough where
 * the kernel is too old, and a container's rule is called by its name.
 */
static void io_uring_without_daemon(uint32_t call, uint32_t second, uint32_t error, const char *text) {
    const struct doctor_view view = {.root = "/", .connect_error = "no quired at /x"};
    int works = quire_uring_try();
    if (works != 0) {
        cr_skip_test("%s", strerror(works));
    }
    cr_expect_eq(look("io_uring", &view).level, DOCTOR_OK);
    forbid_call(call, second, error);
    struct doctor_finding finding = look("io_uring", &view);
    cr_expect_eq(finding.level, DOCTOR_WARN);
    tells(finding.text, text);
    tells(finding.advice, "a disk tier goes on with threads");
}
Test(quirectl_views, doctor_finds_io_uring_too_old) {
    io_uring_without_daemon(SYS_io_uring_register, IORING_REGISTER_IOWQ_MAX_WORKERS, EINVAL, "too old (5.15 is needed");
}
Test(quirectl_views, doctor_finds_io_uring_forbidden_in_part) {
    io_uring_without_daemon(SYS_io_uring_register, FORBID_ANY, EPERM, "io_uring is forbidden here");
}
Test(quirectl_views, doctor_finds_that_io_uring_takes_nothing) {
    io_uring_without_daemon(SYS_io_uring_enter, FORBID_ANY, EPERM, "io_uring is forbidden here");
}

/* A file that is lost fails the check; errors, the page cache, threads and unpinned pools are worth a look; what is on disk needs no memory. */
Test(quirectl_views, doctor_looks_at_the_disk) {
    static struct world world;
    static struct disk_world more;
    struct doctor_view view = {.root = "/", .connect_error = "", .status = &world.status, .counters = &world.counts};
    world_make(&world, 0, 1);
    cr_expect_eq(look("disk", &view).level, DOCTOR_OK);
    cr_expect_not_null(strstr(look("disk", &view).text, "no disk tier"));
    world_add_disk(&world, &more);
    cr_expect_eq(look("memory", &view).level, DOCTOR_OK);
    struct doctor_finding finding = look("disk", &view);
    cr_expect_eq(finding.level, DOCTOR_FAIL);
    tells(finding.text, "/nvme1/log1 is out of use: a write failed");
    tells(finding.advice, "a restart uses it anew");
    more.file[0].corrupt = 2;
    finding = look("disk", &view);
    tells(finding.text, "/nvme1/log1 is out of use: a write failed");
    tells(finding.text, "; not well either: /proc/log0");
    more.file[0].corrupt = 0;
    more.file[1].in_use = more.file[1].refuses = true, more.file[1].refuses_why = (char *)"No space left on device";
    finding = look("disk", &view);
    cr_expect_eq(finding.level, DOCTOR_FAIL);
    tells(finding.text, "/nvme1/log1 takes no writes: No space left on device");
    tells(finding.advice, "make room on its file system");
    more.file[1].refuses = false;
    tells(look("disk", &view).text, "/nvme1/log1: 1 read or write failed, 0 records damaged");
    more.file[1].write_errors = 0, more.file[0].direct = false, more.file[0].why = (char *)"buffered, because";
    finding = look("disk", &view);
    cr_expect_eq(finding.level, DOCTOR_WARN);
    tells(finding.text, "/proc/log0 is buffered, because");
    more.file[0].direct = true;
    tells(look("disk", &view).text, "2 files in use, read and written directly");
    tells(look("io_uring", &view).text, "quired reads and writes by threads: io_uring is not allowed");
    cr_expect_eq(look("io_uring", &view).level, DOCTOR_WARN);
    tells(look("io_uring", &view).advice, "leave disk.io_backend on auto; where io_uring is forbidden, allow it");
    more.disk.backend = (char *)"io_uring", more.disk.backend_why = (char *)"io_uring, plain";
    cr_expect_eq(look("io_uring", &view).level, DOCTOR_OK);
    tells(look("io_uring", &view).text, "quired reads and writes by io_uring, plain");
    tells(look("locked memory", &view).text, "the pools are not registered with io_uring");
    more.disk.memory_registered = true;
    cr_expect_null(strstr(look("locked memory", &view).text, "not registered"));
    cr_expect_eq(look("disk room", &view).level, DOCTOR_WARN, "a file system without room: /proc");
    more.file[0].path = (char *)"/nonexistent/log0";
    tells(look("disk room", &view).text, "cannot be looked at (No such file or directory)");
}

/*
 * The scrub read everything again, and found damage: doctor tells of records, of segments whose header or footer is damaged, and of segments that nobody could
 * look at, each with what to do next. None of them is hidden behind another.
 */
Test(quirectl_views, doctor_tells_what_the_scrub_found) {
    static struct world world;
    static struct disk_world more;
    struct doctor_view view = {.root = "/", .connect_error = "", .status = &world.status, .counters = &world.counts};
    world_make(&world, 0, 1);
    tells(look("disk scrub", &view).text, "without a disk tier");
    world_add_disk(&world, &more);
    more.disk.scrub_passes = 2;
    struct doctor_finding finding = look("disk scrub", &view);
    cr_expect_eq(finding.level, DOCTOR_OK);
    tells(finding.text, "nothing was found damaged; all was verified 2 times since the start");
    more.disk.scrub_unread_segments = 1;
    finding = look("disk scrub", &view);
    cr_expect_eq(finding.level, DOCTOR_WARN);
    tells(finding.text, "1 segment was not verified, or only in part");
    tells(finding.advice, "`quirectl verify` tries all of them again");
    more.disk.scrub_damaged_segments = 3;
    finding = look("disk scrub", &view);
    cr_expect_eq(finding.level, DOCTOR_WARN);
    tells(finding.text, "0 records damaged and dropped, header or footer of 3 segments damaged, 1 not verified");
    tells(finding.advice, "stop quired, and `quirectl verify --repair` with all files of the set");
    more.disk.scrub_damaged_segments = 0, more.disk.scrub_damaged = 1;
    finding = look("disk scrub", &view);
    cr_expect_eq(finding.level, DOCTOR_WARN);
    tells(finding.text, "1 record damaged and dropped");
    tells(finding.advice, "look at the drive");
}

/* A file whose length is more than what its file system has set aside for it (copied, restored from a backup): writes may fail yet. */
Test(quirectl_views, doctor_finds_a_sparse_file) {
    static struct world world;
    static struct disk_world more;
    struct doctor_view view = {.root = "/", .connect_error = "", .status = &world.status, .counters = &world.counts};
    const char *folder = getenv("TMPDIR");
    char path[200];
    world_make(&world, 0, 1);
    world_add_disk(&world, &more);
    snprintf(path, sizeof path, "%.150s/quire-doctor-XXXXXX", folder != NULL ? folder : "/tmp");
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    more.file[0].path = path, more.file[0].in_use = true, more.file[1].in_use = false;
    struct doctor_finding finding = look("disk room", &view);
    int full = posix_fallocate(fd, 0, 1 << 20);
    struct doctor_finding then = look("disk room", &view);
    close(fd);
    unlink(path);
    cr_expect_eq(finding.level, DOCTOR_WARN, "%s", finding.text);
    tells(finding.text, "of 1 MiB are allocated");
    tells(finding.advice, "fallocate");
    cr_assert_eq(full, 0);
    tells(then.text, "files have all of their space");
}
