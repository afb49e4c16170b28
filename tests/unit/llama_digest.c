/* The digest of a model's weights is kept between starts; other weights must never be served under a kept one. */
#include "client/llama/digest.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 400 }; /* naps of 10 ms: a bound on patience, not a measurement */

struct place {
    char folder[40], model[64], notes[64];
};

static void set_up(struct place *place) {
    strcpy(place->folder, "/tmp/quire-digest-XXXXXX");
    cr_assert_not_null(mkdtemp(place->folder));
    snprintf(place->model, sizeof(place->model), "%s/model", place->folder);
    snprintf(place->notes, sizeof(place->notes), "%s/quire/weights", place->folder);
    setenv("XDG_CACHE_HOME", place->folder, 1);
}

static void tear_down(const struct place *place) {
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", place->folder);
    cr_assert_eq(system(command), 0);
}

static void write_weights(const char *path, const char *weights) {
    const int fd = open(path, O_WRONLY | O_CREAT, 0600); /* in place: the inode stays */
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, weights, strlen(weights), 0), (ssize_t)strlen(weights));
    close(fd);
}

static void digest_of(const char *path, uint8_t digest[32]) {
    char why[256] = "";
    cr_assert_eq(digest_weights(path, digest, why, sizeof(why)), QUIRE_OK, "%s", why);
}

static bool noted(const struct place *place) {
    struct dirent *entry;
    bool found = false;
    DIR *folder = opendir(place->notes);
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        found = found || entry->d_name[0] != '.';
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}

static void digest_until_noted(const struct place *place, uint8_t digest[32]) {
    for (int i = 0; i < PATIENCE; i++) {
        digest_of(place->model, digest);
        if (noted(place)) {
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    cr_assert_fail("the digest was never kept");
}

/* Somebody writes other weights of the same size into the same file and sets its time back. */
Test(llama_digest, rewritten_in_place_with_its_old_time) {
    struct place place;
    struct stat before;
    uint8_t first[32], again[32], other[32];
    set_up(&place);
    write_weights(place.model, "weights one");
    digest_until_noted(&place, first);
    digest_of(place.model, again);
    cr_assert_arr_eq(first, again, 32);
    cr_assert_eq(stat(place.model, &before), 0);
    write_weights(place.model, "weights two");
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    cr_assert_eq(utimensat(AT_FDCWD, place.model, times, 0), 0);
    digest_of(place.model, other);
    cr_assert_arr_neq(first, other, 32);
    tear_down(&place);
}

/* Likewise by another file that is moved to the model's place. */
Test(llama_digest, replaced_with_its_old_time) {
    struct place place;
    struct stat before;
    char second[80];
    uint8_t first[32], other[32];
    set_up(&place);
    snprintf(second, sizeof(second), "%s.new", place.model);
    write_weights(place.model, "weights one");
    digest_until_noted(&place, first);
    cr_assert_eq(stat(place.model, &before), 0);
    write_weights(second, "weights two");
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    cr_assert_eq(utimensat(AT_FDCWD, second, times, 0), 0);
    cr_assert_eq(rename(second, place.model), 0);
    digest_of(place.model, other);
    cr_assert_arr_neq(first, other, 32);
    tear_down(&place);
}

/* What has just been written may be written again within the same tick of the file system's clock: nothing is kept of it. */
Test(llama_digest, fresh_weights_are_not_noted) {
    struct place place;
    uint8_t first[32], other[32];
    set_up(&place);
    write_weights(place.model, "weights one");
    digest_of(place.model, first);
    write_weights(place.model, "weights two");
    digest_of(place.model, other);
    cr_assert_arr_neq(first, other, 32);
    tear_down(&place);
}
