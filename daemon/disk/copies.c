#include "daemon/disk/copies.h"

#include "codec/checksum.h"
#include "daemon/disk/meta.h"
#include "daemon/disk/sidecar.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COPY_PATH_MAX (CONFIG_FILE_PATH_MAX + 8)

static void copy_path(const struct disk_set *set, uint32_t i, char path[COPY_PATH_MAX]) {
    snprintf(path, COPY_PATH_MAX, "%s.meta", set->files[i].path);
}

static bool names_file(const uint8_t *meta, uint32_t i) {
    static const uint8_t nobody[16];
    uint8_t id[16];
    quire_meta_file_at(meta, i, id);
    return memcmp(id, nobody, sizeof id) != 0;
}

/* The first file that it names; n_files: none. */
static uint32_t leader_of(const uint8_t *meta) {
    uint32_t n = quire_meta_head_of(meta)->n_files, i = 0;
    while (i < n && !names_file(meta, i)) {
        i++;
    }
    return i;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

struct copy {
    enum quire_status status;
    uint8_t *bytes;
    size_t size;
    char why[CONFIG_FILE_PATH_MAX + 300];
};

/* The other names every file that this one does. */
static bool came_from(const uint8_t *meta, const uint8_t *other) {
    for (uint32_t i = 0; i < quire_meta_head_of(meta)->n_files; i++) {
        uint8_t id[16], its[16];
        quire_meta_file_at(meta, i, id);
        quire_meta_file_at(other, i, its);
        if (names_file(meta, i) && memcmp(id, its, sizeof id) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_newest(const struct copy *copies, uint32_t n, uint32_t i) {
    for (uint32_t j = 0; j < n; j++) {
        if (copies[j].status == QUIRE_OK && quire_meta_compare(copies[j].bytes, copies[i].bytes) > 0) {
            return false;
        }
    }
    return true;
}

static void load_copy(const struct disk_set *set, uint32_t i, struct copy *copy) {
    char path[COPY_PATH_MAX];
    copy_path(set, i, path);
    copy->status = disk_meta_load(path, set->set_id, &copy->bytes, &copy->size, copy->why, sizeof copy->why);
    uint32_t n_files = copy->status == QUIRE_OK ? quire_meta_head_of(copy->bytes)->n_files : set->n_files;
    if (n_files != set->n_files) {
        snprintf(copy->why, sizeof copy->why, "%s: is of a set of %u file%s, not of %u", path, n_files, quire_s(n_files), set->n_files);
        copy->status = QUIRE_MISMATCH;
    }
}

/* One life that took out different files is two: neither knows what was deleted in the other. */
static enum quire_status check_lives(const struct disk_set *set, const struct copy *copies, uint32_t best, char *why, size_t why_bytes) {
    for (uint32_t i = 0; i < set->n_files; i++) {
        bool rival = copies[i].status == QUIRE_OK &&
                     quire_meta_head_of(copies[i].bytes)->generation == quire_meta_head_of(copies[best].bytes)->generation &&
                     !came_from(copies[best].bytes, copies[i].bytes);
        if (rival) {
            snprintf(why, why_bytes,
                     "%s.meta: contradicts %s.meta: each was written while the other's file was out of use, and does not know what was "
                     "deleted there. Move "
                     "away, with its metadata, the file that is to be forgotten",
                     set->files[i].path, set->files[best].path);
            return QUIRE_MISMATCH;
        }
    }
    return QUIRE_OK;
}

static enum quire_status choose(struct disk_set *set, struct copy *copies, struct copies_found *found, char *why, size_t why_bytes) {
    uint32_t best = 0;
    while (best < set->n_files && (copies[best].status != QUIRE_OK || !is_newest(copies, set->n_files, best))) {
        best++;
    }
    if (best == set->n_files) {
        snprintf(why, why_bytes, "%s", copies[0].why);
        return copies[0].status;
    }
    enum quire_status status = check_lives(set, copies, best, why, why_bytes);
    if (status != QUIRE_OK) {
        found->contradict = true;
        return status;
    }
    found->leader = leader_of(copies[best].bytes);
    found->status = QUIRE_OK;
    if (found->leader < set->n_files) {
        const struct copy *own = &copies[found->leader];
        found->status = own->status;
        snprintf(found->why, sizeof found->why, "%s", own->why);
        found->leader_has_it = own->status == QUIRE_OK && quire_meta_compare(own->bytes, copies[best].bytes) == 0;
        found->earlier = own->status == QUIRE_NOT_FOUND && best == 0 && !names_file(copies[0].bytes, 0);
        best = found->leader_has_it ? found->leader : best;
    }
    set->meta = copies[best].bytes;
    set->meta_bytes = copies[best].size;
    copies[best].bytes = NULL;
    return QUIRE_OK;
}

enum quire_status copies_load(struct disk_set *set, struct copies_found *found, char *why, size_t why_bytes) {
    enum quire_status status = QUIRE_OK;
    *found = (struct copies_found){0};
    struct copy *copies = calloc(set->n_files, sizeof *copies);
    if (copies == NULL) {
        snprintf(why, why_bytes, "%s", quire_status_text(QUIRE_NO_MEMORY));
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < set->n_files; i++) {
        load_copy(set, i, &copies[i]);
        if (status == QUIRE_OK && (copies[i].status == QUIRE_MISMATCH || copies[i].status == QUIRE_NO_MEMORY)) {
            snprintf(why, why_bytes, "%s", copies[i].why);
            status = copies[i].status;
        }
    }
    if (status == QUIRE_OK) {
        status = choose(set, copies, found, why, why_bytes);
    }
    for (uint32_t i = 0; i < set->n_files; i++) {
        free(copies[i].bytes);
    }
    free(copies);
    return status;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

/* What a drive says that fails, or that is not there any more; all else is for people, or passes. */
static bool is_gone(int error) {
    return error == EIO || error == EROFS || error == ENXIO || error == ENODEV || error == ENOENT || error == ENOTDIR || error == ESTALE ||
           error == EUCLEAN;
}

static void strike(uint8_t *bytes, size_t size, uint32_t i) {
    uint64_t check;
    size_t files_bytes = 16ul * quire_meta_head_of(bytes)->n_files;
    memset(bytes + size - sizeof check - files_bytes + 16ul * i, 0, 16);
    check = quire_checksum(bytes, size - sizeof check);
    memcpy(bytes + size - sizeof check, &check, sizeof check);
}

/* True: certainly no copy of ours is there. */
static bool do_without(struct disk_set *set, uint32_t i, const struct sidecar *old, const char *why) {
    char strange[8];
    (void)sidecar_remove(old);
    bool away = access(old->path, F_OK) == 0 ? sidecar_check(old, strange, sizeof strange) != QUIRE_OK
                                             : errno == ENOENT && disk_meta_sync_folder(old->path);
    if (!away) {
        return false;
    }
    if ((set->without_copy >> i & 1) == 0) {
        log_warn("disk_meta_copy", "%s; the set goes on without this copy: when no other file is in use, or can be used, it is missed",
                 why);
    }
    set->without_copy |= 1u << i;
    return true;
}

enum outcome { WRITTEN, LOST, FAILED };

static enum outcome write_copy(struct disk_set *set, uint32_t i, const uint8_t *bytes, size_t size, struct copies_saved *saved,
                               enum quire_status *status, char *why, size_t why_bytes) {
    char path[COPY_PATH_MAX];
    const struct sidecar old = {.path = path, .magic = QUIRE_META_MAGIC, .set_id = set->set_id};
    bool leads = leader_of(bytes) == i || leader_of(bytes) == set->n_files;
    copy_path(set, i, path);
    set->saving = i;
    *status = leads ? QUIRE_OK : sidecar_check(&old, why, why_bytes); /* of the leader's copy a start has made sure */
    if (*status == QUIRE_OK) {
        *status = disk_meta_save(path, bytes, size, why, why_bytes);
        saved->written_bytes += size;
    }
    saved->error[i] = *status == QUIRE_SYSTEM ? errno : 0;
    if (*status == QUIRE_OK) {
        set->without_copy &= ~(1u << i);
        return WRITTEN;
    }
    if (is_gone(saved->error[i])) {
        return LOST;
    }
    return !leads && do_without(set, i, &old, why) ? WRITTEN : FAILED;
}

enum quire_status copies_save(struct disk_set *set, uint8_t *bytes, size_t size, struct copies_saved *saved, char *why, size_t why_bytes) {
    char later[CONFIG_FILE_PATH_MAX + 200]; /* `why` is the first failure's */
    enum quire_status first = QUIRE_OK, status;
    bool nobody_left = leader_of(bytes) == set->n_files; /* then all are told that they do not count */
    *saved = (struct copies_saved){0};
    for (uint32_t i = 0; i < set->n_files;) {
        bool failed_before = first != QUIRE_OK;
        char *to = failed_before ? later : why;
        enum outcome outcome = !names_file(bytes, i) && !nobody_left
                                   ? WRITTEN
                                   : write_copy(set, i, bytes, size, saved, &status, to, failed_before ? sizeof later : why_bytes);
        if (outcome == WRITTEN) {
            i++;
            continue;
        }
        first = failed_before ? first : status;
        if (outcome == LOST) {
            saved->lost |= 1u << i;
            strike(bytes, size, i);
            i = 0;
        }
        if (outcome == FAILED || leader_of(bytes) == set->n_files) {
            saved->lost = 0;
            return first;
        }
    }
    return QUIRE_OK;
}
