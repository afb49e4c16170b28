/* Mount points that should be there: where the system's table names one and nothing is mounted, no new set is made below it. */
#include "daemon/disk/fresh.h"
#include "proto/base/base.h"
#include "proto/status.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/quire-fresh-XXXXXX";
static struct config config;
static char why[1024], table[200];
static bool missing[2];

static void set_up(void) {
    char text[200];
    cr_assert_not_null(mkdtemp(folder));
    config_default(&config);
    config.n_files = 2;
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%s/drive %u", folder, i);
        cr_assert_eq(mkdir(text, 0700), 0);
        snprintf(config.files[i].path, sizeof config.files[i].path, "%s/drive %u/quire/log%u", folder, i, i);
        missing[i] = true;
    }
    snprintf(table, sizeof table, "%s/fstab", folder);
}

static void tear_down(void) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_expect_eq(system(command), 0);
}
TestSuite(daemon_disk_fresh, .init = set_up, .fini = tear_down);

static void write_table(const char *point, const char *options) {
    FILE *file = fopen(table, "we");
    cr_assert_not_null(file);
    fprintf(file, "# a comment\nUUID=1234 / ext4 defaults 0 1\nUUID=1 none swap sw 0 0\n/dev/nvme1n1 %s ext4 %s 0 2\n", point, options);
    cr_assert_eq(fclose(file), 0);
}

static enum quire_status ask(void) { return fresh_allowed(&config, missing, table, why, sizeof why); }

/* The drive did not come up: its folder is there, and empty. Whoever wants the files there all the same gives another path. */
Test(daemon_disk_fresh, not_mounted) {
    char point[200], expected[600];
    cr_expect_eq(ask(), QUIRE_OK, "no table of mount points, as in a container: %s", why);
    write_table("/proc", "defaults");
    cr_expect_eq(ask(), QUIRE_OK, "nothing of it concerns the files: %s", why);
    snprintf(point, sizeof point, "%s/drive\\0401", folder);
    snprintf(expected, sizeof expected, "log1: is missing, and %s/drive 1, which %s names, is not mounted: mount it", folder, table);
    write_table(point, "defaults");
    cr_expect_eq(ask(), QUIRE_NOT_FOUND);
    cr_expect_not_null(strstr(why, expected), "%s", why);
    missing[1] = false;
    cr_expect_eq(ask(), QUIRE_OK, "an empty file in its place is an operator's word: %s", why);
    missing[1] = true;
    write_table(point, "rw,noauto");
    cr_expect_eq(ask(), QUIRE_OK, "nobody mounts it at a start: %s", why);
    write_table(point, "nofail");
    cr_expect_eq(ask(), QUIRE_NOT_FOUND, "it may be missing, but then the files are, too");
}

/* The path leads there by a symbolic link; or the folder of the mount point is itself not there. */
Test(daemon_disk_fresh, by_another_name) {
    char point[200], link[200];
    snprintf(point, sizeof point, "%s/drive\\0400", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    write_table(point, "defaults");
    snprintf(config.files[0].path, sizeof config.files[0].path, "%s/log", link);
    cr_expect_eq(ask(), QUIRE_OK);
    snprintf(config.files[1].path, sizeof config.files[1].path, "%s/drive 0", folder);
    cr_assert_eq(symlink(config.files[1].path, link), 0);
    snprintf(config.files[1].path, sizeof config.files[1].path, "%s/drive 00/log", folder);
    cr_expect_eq(ask(), QUIRE_NOT_FOUND);
    cr_expect_not_null(strstr(why, "link/log: is missing"), "%s", why);
    snprintf(point, sizeof point, "%s/nowhere", folder);
    write_table(point, "defaults");
    cr_expect_eq(ask(), QUIRE_OK);
    snprintf(config.files[1].path, sizeof config.files[1].path, "%s/nowhere/a/b/log", folder);
    cr_expect_eq(ask(), QUIRE_NOT_FOUND);
}

/* What is mounted counts as there, however it is called. */
Test(daemon_disk_fresh, mounted) {
    write_table("/proc/", "defaults");
    snprintf(config.files[0].path, sizeof config.files[0].path, "/proc/self/log");
    cr_expect_eq(ask(), QUIRE_OK, "%s", why);
}
