#include "daemon/disk/fresh.h"

#include "proto/status.h"

#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOUNT_LINE_BYTES 8192

static bool lies_below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

/* Without symbolic links, as far as it exists; with a '/' behind, so that a folder lies below itself. */
static void place_of(const char *path, char place[PATH_MAX + 1]) {
    char folder[CONFIG_FILE_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *end; (end = strrchr(folder, '/')) != NULL && end != folder;) {
        *end = '\0';
        if (realpath(folder, place) != NULL) {
            strcat(place, "/");
            return;
        }
    }
    strcpy(place, "/");
}

/* Where nobody can tell, everything is. */
static bool is_mounted(const char *folder) {
    struct mntent entry;
    char line[MOUNT_LINE_BYTES];
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    bool found = mounts == NULL;
    while (!found && getmntent_r(mounts, &entry, line, sizeof line) != NULL) {
        found = strcmp(entry.mnt_dir, folder) == 0;
    }
    if (mounts != NULL) {
        endmntent(mounts);
    }
    return found;
}

/* A mount point above the path that should have been mounted by now. */
static bool mount_missing(const char *path, const char *fstab, char folder[PATH_MAX + 1]) {
    struct mntent entry;
    char line[MOUNT_LINE_BYTES], place[PATH_MAX + 1];
    bool found = false;
    FILE *table = setmntent(fstab, "re");
    if (table == NULL) {
        return false;
    }
    place_of(path, place);
    while (!found && getmntent_r(table, &entry, line, sizeof line) != NULL) {
        if (entry.mnt_dir[0] != '/' || hasmntopt(&entry, "noauto") != NULL) {
            continue;
        }
        if (realpath(entry.mnt_dir, folder) == NULL) {
            snprintf(folder, PATH_MAX, "%s", entry.mnt_dir);
        }
        found = folder[1] != '\0' && (lies_below(path, folder) || lies_below(place, folder)) && !is_mounted(folder);
    }
    endmntent(table);
    return found;
}

static bool has_meta(const char *path) {
    char meta[CONFIG_FILE_PATH_MAX + 8];
    snprintf(meta, sizeof meta, "%s.meta", path);
    return access(meta, F_OK) == 0;
}

enum quire_status fresh_allowed(const struct config *config, const bool *missing, const char *fstab, char *why, size_t why_bytes) {
    char folder[PATH_MAX + 1];
    for (uint32_t i = 0; i < config->n_files; i++) {
        const char *path = config->files[i].path;
        if (!missing[i]) {
            continue;
        }
        if (has_meta(path)) {
            snprintf(
                why, why_bytes,
                "%s: is missing, and so is every other file of its set, but its metadata %s.meta is there: put the files back, or mount "
                "what they lie on; to begin anew, move the metadata away",
                path, path);
            return QUIRE_NOT_FOUND;
        }
        if (mount_missing(path, fstab, folder)) {
            snprintf(why, why_bytes, "%s: is missing, and %s, which %s names, is not mounted: mount it, or give another path", path, folder,
                     fstab);
            return QUIRE_NOT_FOUND;
        }
        if (!config->disk.new_set) {
            snprintf(why, why_bytes,
                     "%s: is missing, as every file of the set is, and disk.new_set is false: mount what they lie on; to begin anew, start "
                     "once with --set disk.new_set=true",
                     path);
            return QUIRE_NOT_FOUND;
        }
    }
    return QUIRE_OK;
}
