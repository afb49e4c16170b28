#include "daemon/disk/set.h"

#include "codec/log_snapshot.h"
#include "daemon/disk/copies.h"
#include "daemon/disk/fresh.h"
#include "daemon/disk/meta.h"
#include "daemon/disk/set_file.h"
#include "daemon/disk/sidecar.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REMEDY_ANEW "to begin anew, move the files of the set and every .meta away"

/* A set that is being opened: what the configuration names, and which file of the set each is. */
struct opening {
    const struct config *config;
    struct disk_set *set;
    struct set_file found[QUIRE_LOG_MAX_FILES]; /* by place in the configuration */
    uint32_t index_of[QUIRE_LOG_MAX_FILES];     /* place → index */
    uint32_t place_of[QUIRE_LOG_MAX_FILES];     /* index → place */
    int made_fd[QUIRE_LOG_MAX_FILES];           /* by index: without a name so far; −1 */
    struct quire_log_superblock first;          /* of any member: what all have in common */
    uint32_t n_members;
    char *why;
    size_t why_bytes;
};

static const char *path_at(const struct opening *o, uint32_t place) { return o->config->files[place].path; }
static uint64_t segment_bytes(const struct disk_set *set) { return (uint64_t)set->geometry.unit_bytes * set->geometry.segment_units; }
static uint64_t file_bytes(const struct disk_set *set, uint32_t i) {
    return QUIRE_LOG_FIRST_SEGMENT + set->files[i].n_segments * segment_bytes(set);
}

static enum quire_status random_id(uint8_t id[16], char *why, size_t why_bytes) {
    if (getrandom(id, 16, 0) != 16) {
        snprintf(why, why_bytes, "the system gives no random numbers (%s)", strerror(errno));
        return QUIRE_SYSTEM;
    }
    id[0] |= 1; /* zero means none */
    return QUIRE_OK;
}

/* ---- what is there -------------------------------------------------------------------------------------------------------- */

static enum quire_status probe_all(struct opening *o) {
    for (uint32_t i = 0; i < o->config->n_files; i++) {
        QUIRE_FORWARD(set_file_probe(path_at(o, i), &o->found[i], o->why, o->why_bytes));
        if (o->found[i].state == SET_FILE_MEMBER && o->n_members++ == 0) {
            o->first = o->found[i].superblock;
        }
    }
    return QUIRE_OK;
}

/* The place of a member other than `place` that says the same index; UINT32_MAX: none. */
static uint32_t twin_of(const struct opening *o, uint32_t place) {
    for (uint32_t i = 0; i < place; i++) {
        if (o->found[i].state == SET_FILE_MEMBER && o->found[i].superblock.file_index == o->found[place].superblock.file_index) {
            return i;
        }
    }
    return UINT32_MAX;
}

static enum quire_status check_sizes(struct opening *o, uint32_t place) {
    const struct quire_log_superblock *superblock = &o->found[place].superblock;
    char told[QUIRE_UNITS_BYTES], wanted[QUIRE_UNITS_BYTES];
    uint64_t bytes = (uint64_t)superblock->unit_bytes * superblock->segment_units, size = superblock->n_segments * bytes;
    if (bytes != o->config->disk.segment_bytes) {
        quire_exact_size(bytes, told, sizeof told);
        quire_exact_size(o->config->disk.segment_bytes, wanted, sizeof wanted);
        snprintf(o->why, o->why_bytes, "%s: was made with segments of %s, disk.segment_bytes is %s now: set it back to %s; " REMEDY_ANEW,
                 path_at(o, place), told, wanted, told);
        return QUIRE_MISMATCH;
    }
    if (size != o->config->files[place].size_bytes) {
        quire_exact_size(size, told, sizeof told);
        quire_exact_size(o->config->files[place].size_bytes, wanted, sizeof wanted);
        snprintf(o->why, o->why_bytes, "%s: was made with a size of %s, the configuration says %s: set it back to %s; " REMEDY_ANEW,
                 path_at(o, place), told, wanted, told);
        return QUIRE_MISMATCH;
    }
    return QUIRE_OK;
}

static enum quire_status check_member(struct opening *o, uint32_t place) {
    const struct quire_log_superblock *superblock = &o->found[place].superblock, *first = &o->first;
    uint32_t twin = twin_of(o, place);
    if (memcmp(superblock->set_id, first->set_id, sizeof first->set_id) != 0) {
        for (twin = 0; o->found[twin].state != SET_FILE_MEMBER; twin++) {
        }
        snprintf(o->why, o->why_bytes, "%s: belongs to another set of files than %s: name the files of one set; " REMEDY_ANEW,
                 path_at(o, place), path_at(o, twin));
        return QUIRE_MISMATCH;
    }
    if (superblock->n_files != o->config->n_files) {
        snprintf(o->why, o->why_bytes,
                 "%s: its set was made of %u file%s, the configuration names %u: name all of them (also one that is missing); " REMEDY_ANEW,
                 path_at(o, place), superblock->n_files, quire_s(superblock->n_files), o->config->n_files);
        return QUIRE_MISMATCH;
    }
    if (twin != UINT32_MAX) {
        snprintf(o->why, o->why_bytes, "%s: is a copy of %s (both say that they are file %u of the set): move one of them away",
                 path_at(o, place), path_at(o, twin), superblock->file_index);
        return QUIRE_MISMATCH;
    }
    if (superblock->unit_bytes != first->unit_bytes || superblock->segment_units != first->segment_units) {
        snprintf(o->why, o->why_bytes, "%s: its superblock contradicts those of the other files; " REMEDY_ANEW, path_at(o, place));
        return QUIRE_CORRUPT;
    }
    return check_sizes(o, place);
}

/* Members know their index; the others take what is left, their own place first. */
static void assign_indexes(struct opening *o) {
    uint32_t n = o->config->n_files;
    for (uint32_t i = 0; i < n; i++) {
        o->place_of[i] = o->index_of[i] = UINT32_MAX;
    }
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t place = 0; place < n; place++) {
            uint32_t index = place;
            if (round == 0) {
                index = o->found[place].state == SET_FILE_MEMBER ? o->found[place].superblock.file_index : n;
            } else if (round == 2) {
                for (index = 0; index < n && o->place_of[index] != UINT32_MAX; index++) {
                }
            }
            if (index < n && o->index_of[place] == UINT32_MAX && o->place_of[index] == UINT32_MAX) {
                o->index_of[place] = index;
                o->place_of[index] = place;
            }
        }
    }
}

static void lay_out(struct opening *o) {
    struct disk_set *set = o->set;
    set->n_files = o->config->n_files;
    set->n_segments = 0;
    for (uint32_t i = 0; i < set->n_files; i++) {
        const struct config_file *named = &o->config->files[o->place_of[i]];
        struct disk_set_file *file = &set->files[i];
        memcpy(file->path, named->path, sizeof file->path);
        file->n_segments = (uint32_t)(named->size_bytes / o->config->disk.segment_bytes);
        file->first_number = set->n_segments;
        set->n_segments += file->n_segments;
    }
    snprintf(set->meta_path, sizeof set->meta_path, "%s.meta", set->files[0].path);
}

/* A missing file's size is only known from where the next one's segments begin. */
static enum quire_status check_numbers(struct opening *o) {
    for (uint32_t i = 0; i < o->set->n_files; i++) {
        const struct set_file *found = &o->found[o->place_of[i]];
        if (found->state == SET_FILE_MEMBER && found->superblock.first_number != o->set->files[i].first_number) {
            snprintf(o->why, o->why_bytes,
                     "%s: begins at segment %u of its set, by the configuration at %u: set the sizes back; " REMEDY_ANEW,
                     o->set->files[i].path, found->superblock.first_number, o->set->files[i].first_number);
            return QUIRE_MISMATCH;
        }
    }
    return QUIRE_OK;
}

static void superblock_of(const struct disk_set *set, uint32_t i, uint64_t generation, struct quire_log_superblock *superblock) {
    const struct disk_set_file *file = &set->files[i];
    *superblock = (struct quire_log_superblock){
        .generation = generation,
        .created_s = set->created_s,
        .file_index = (uint16_t)i,
        .n_files = (uint16_t)set->n_files,
        .unit_bytes = set->geometry.unit_bytes,
        .segment_units = set->geometry.segment_units,
        .n_segments = file->n_segments,
        .first_number = file->first_number,
    };
    memcpy(superblock->set_id, set->set_id, sizeof set->set_id);
    memcpy(superblock->file_id, file->file_id, sizeof file->file_id);
}

/* What is written beside the set may not be somebody else's. Of a set that is there the metadata has been read, and the snapshot is only a
   help: it goes without. */
static enum quire_status check_beside(const struct opening *o) {
    static const struct {
        const char *ending;
        uint32_t magic;
        bool to_make;
    } beside[] = {{".meta.new", QUIRE_META_MAGIC, false},
                  {".meta", QUIRE_META_MAGIC, true},
                  {".snapshot", QUIRE_SNAPSHOT_MAGIC, true},
                  {".snapshot.new", QUIRE_SNAPSHOT_MAGIC, true}};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(beside); i++) {
        uint32_t n = o->n_members == 0 && beside[i].magic == QUIRE_META_MAGIC ? o->set->n_files : 1;
        for (uint32_t file = 0; file < n && (o->n_members == 0 || !beside[i].to_make); file++) {
            char path[CONFIG_FILE_PATH_MAX + 16];
            const struct sidecar sidecar = {.path = path, .magic = beside[i].magic};
            snprintf(path, sizeof path, "%s%s", o->set->files[file].path, beside[i].ending);
            QUIRE_FORWARD(sidecar_check(&sidecar, o->why, o->why_bytes));
        }
    }
    return QUIRE_OK;
}

/* ---- making --------------------------------------------------------------------------------------------------------------- */

/* With all of its space, but without a name so far. What had the name held nothing that counts, and gives its space back first. */
static enum quire_status make_file(struct opening *o, uint32_t i, uint64_t bytes) {
    struct set_file *old = &o->found[o->place_of[i]];
    const char *path = o->set->files[i].path;
    if (old->fd >= 0 && old->size_bytes > 0 && ftruncate(old->fd, 0) != 0) {
        snprintf(o->why, o->why_bytes, "%s: cannot be emptied (%s)", path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    return set_file_make(path, bytes, &o->made_fd[i], o->why, o->why_bytes);
}

static enum quire_status write_superblock(struct disk_set *set, int fd, uint32_t copy, const struct quire_log_superblock *superblock) {
    set->written_bytes += QUIRE_LOG_SUPERBLOCK_BYTES;
    return set_file_write_superblock(fd, copy, superblock);
}

/* Generation 0 in both copies, then its name. */
static enum quire_status name_file(struct opening *o, uint32_t i) {
    struct disk_set_file *file = &o->set->files[i];
    struct set_file *old = &o->found[o->place_of[i]];
    struct quire_log_superblock superblock;
    QUIRE_FORWARD(random_id(file->file_id, o->why, o->why_bytes));
    superblock_of(o->set, i, 0, &superblock);
    for (uint32_t copy = 0; copy < QUIRE_LOG_SUPERBLOCK_COPIES; copy++) {
        if (write_superblock(o->set, o->made_fd[i], copy, &superblock) != QUIRE_OK) {
            snprintf(o->why, o->why_bytes, "%s: cannot be written (%s)", file->path, strerror(errno));
            return QUIRE_SYSTEM;
        }
    }
    QUIRE_FORWARD(set_file_name(file->path, o->made_fd[i], old->fd >= 0, o->why, o->why_bytes));
    set_file_close(old); /* whoever waited for its lock finds the new file locked */
    file->fd = o->made_fd[i];
    file->fresh = file->in_use = true;
    o->made_fd[i] = -1;
    return QUIRE_OK;
}

/* Units: what every drive can, and so large that a segment's places fit. */
static void choose_units(struct opening *o) {
    uint32_t unit = QUIRE_LOG_UNIT_MIN;
    for (uint32_t i = 0; i < o->set->n_files; i++) {
        char why[SET_FILE_WHY_BYTES];
        uint32_t wanted = 0;
        bool direct = set_file_direct(o->made_fd[i], &wanted, why, sizeof why);
        unit = (uint32_t)quire_max_u64(unit, direct ? wanted : QUIRE_LOG_UNIT_MAX);
        set_file_buffered(o->made_fd[i]);
    }
    while (unit < QUIRE_LOG_UNIT_MAX && o->config->disk.segment_bytes / unit > QUIRE_LOG_MAX_SEGMENT_UNITS) {
        unit *= 2;
    }
    o->set->geometry = (struct quire_log_geometry){.unit_bytes = unit, .segment_units = (uint32_t)(o->config->disk.segment_bytes / unit)};
}

static enum quire_status encode_and_save(struct disk_set *set, struct copies_saved *saved, char *why, size_t why_bytes) {
    struct quire_meta_head head = {.next_serial = 1};
    struct quire_meta_item *items = NULL;
    struct quire_meta_pin *pins = NULL;
    uint8_t *bytes = NULL;
    size_t size, at = 0;
    if (set->meta != NULL) {
        head = *quire_meta_head_of(set->meta);
        items = calloc(head.n_namespaces + 1, sizeof *items);
        pins = calloc(head.n_pins + 1, sizeof *pins);
        for (uint32_t i = 0; items != NULL && i < head.n_namespaces; i++) {
            quire_meta_next(set->meta, &at, &items[i]);
        }
        for (uint32_t i = 0; pins != NULL && i < head.n_pins; i++) {
            quire_meta_pin_at(set->meta, i, &pins[i]);
        }
    }
    enum quire_status status = QUIRE_NO_MEMORY;
    if (set->meta == NULL || (items != NULL && pins != NULL)) {
        status = disk_set_encode_meta(set, head.next_serial, head.sequence, items, head.n_namespaces, pins, head.n_pins, &bytes, &size);
    }
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: cannot be put together: %s", set->meta_path, quire_status_text(status));
    } else {
        status = copies_save(set, bytes, size, saved, why, why_bytes);
        set->written_bytes += saved->written_bytes;
    }
    free(items);
    free(pins);
    free(bytes);
    return status;
}

static void leave_out(struct disk_set *set, uint32_t i, const char *why) {
    struct disk_set_file *file = &set->files[i];
    snprintf(file->why, sizeof file->why, "%s", why);
    file->in_use = false;
    memset(file->file_id, 0, sizeof file->file_id);
    log_warn("disk_out_of_use", "%s: out of use, what is only there is a miss: %s", file->path, why);
}

/* OK: beside every file that is in use now. */
static enum quire_status save_meta(struct disk_set *set, char *why, size_t why_bytes) {
    struct copies_saved saved = {0};
    QUIRE_FORWARD(encode_and_save(set, &saved, why, why_bytes));
    for (uint32_t i = 0; i < set->n_files; i++) {
        char text[SET_FILE_WHY_BYTES];
        snprintf(text, sizeof text, "its metadata cannot be written (%s)", strerror(saved.error[i]));
        if (saved.lost >> i & 1) {
            leave_out(set, i, text);
        }
    }
    return QUIRE_OK;
}

/* Before anything is made. A link to nothing is no name that a new file can take. */
static enum quire_status may_make_set(struct opening *o) {
    bool missing[QUIRE_LOG_MAX_FILES];
    for (uint32_t i = 0; i < o->config->n_files; i++) {
        struct stat facts;
        missing[i] = o->found[i].state == SET_FILE_ABSENT;
        if (missing[i] && lstat(path_at(o, i), &facts) == 0 && S_ISLNK(facts.st_mode)) {
            snprintf(o->why, o->why_bytes,
                     "%s: is a symbolic link, and what it leads to is not there: mount that, or give the path itself of the file that is "
                     "to be made",
                     path_at(o, i));
            return QUIRE_NOT_FOUND;
        }
    }
    return fresh_allowed(o->config, missing, "/etc/fstab", o->why, o->why_bytes);
}

static enum quire_status make_set(struct opening *o) {
    struct disk_set *set = o->set;
    set->fresh = true;
    set->created_s = (uint64_t)time(NULL);
    QUIRE_FORWARD(random_id(set->set_id, o->why, o->why_bytes));
    for (uint32_t i = 0; i < set->n_files; i++) {
        if (o->found[o->place_of[i]].state == SET_FILE_SILENT) {
            snprintf(
                o->why, o->why_bytes,
                "%s: %s. No other file of a set can be used, and to make one all are needed: repair its file system, or give another path",
                set->files[i].path, o->found[o->place_of[i]].why);
            return QUIRE_SYSTEM;
        }
    }
    for (uint32_t i = 0; i < set->n_files; i++) {
        uint64_t bytes = QUIRE_LOG_FIRST_SEGMENT + o->config->files[o->place_of[i]].size_bytes;
        QUIRE_FORWARD(make_file(o, i, bytes));
    }
    choose_units(o);
    for (uint32_t i = 0; i < set->n_files; i++) {
        QUIRE_FORWARD(name_file(o, i));
    }
    return save_meta(set, o->why, o->why_bytes); /* from the first generation on there is always one */
}

/* ---- a set that is there -------------------------------------------------------------------------------------------------- */

/* The file that led is lost for good, somebody says: another one is in its place, made since, or to be made. */
static bool is_replaced(const struct opening *o, uint32_t i) {
    const struct set_file *found = &o->found[o->place_of[i]];
    uint8_t id[16];
    quire_meta_file_at(o->set->meta, i, id);
    return found->state == SET_FILE_EMPTY || (found->state == SET_FILE_MEMBER && memcmp(found->superblock.file_id, id, sizeof id) != 0);
}

/* Nobody but the leader knows whether the files that are there were taken out. */
static enum quire_status miss_leader(struct opening *o, const struct copies_found *found) {
    const struct disk_set *set = o->set;
    const char *path = set->files[found->leader].path;
    bool absent = o->found[o->place_of[found->leader]].state == SET_FILE_ABSENT;
    if (found->status == QUIRE_OK) {
        snprintf(o->why, o->why_bytes,
                 "%s.meta: is older than the other files' metadata: what was deleted since would be there again. Put the newest one "
                 "back; " REMEDY_ANEW,
                 path);
        return QUIRE_MISMATCH;
    }
    snprintf(o->why, o->why_bytes,
             "%s. It tells which namespaces there are, without it the files cannot be used: %sput it back; " REMEDY_ANEW
             ". Where its drive is lost, put an empty file in the place of %s: what the others hold is used, by their own metadata",
             found->why, absent ? "mount what it and the file beside it lie on, or " : "", path);
    return found->status;
}

static enum quire_status load_meta(struct opening *o) {
    struct disk_set *set = o->set;
    struct copies_found found;
    enum quire_status status = copies_load(set, &found, o->why, o->why_bytes);
    if (found.contradict) {
        size_t used = strlen(o->why);
        snprintf(o->why + used, o->why_bytes - used, "; " REMEDY_ANEW);
        return status;
    }
    if (status != QUIRE_OK) {
        size_t used = strlen(o->why);
        bool absent = o->found[o->place_of[0]].state == SET_FILE_ABSENT;
        snprintf(o->why + used, o->why_bytes - used,
                 ". It tells which namespaces there are, without it the files cannot be used: %sput it back; " REMEDY_ANEW,
                 absent ? "mount what it and the file beside it lie on, or " : "");
        return status;
    }
    if (found.leader == set->n_files || found.leader_has_it || found.earlier || is_replaced(o, found.leader)) {
        return QUIRE_OK;
    }
    return miss_leader(o, &found);
}

/* One that stood here before: what was deleted since, a namespace or a file, it names as if it were there. */
static enum quire_status check_meta_age(struct opening *o) {
    uint64_t generation = quire_meta_head_of(o->set->meta)->generation;
    for (uint32_t place = 0; place < o->set->n_files; place++) {
        const struct set_file *found = &o->found[place];
        if (found->state == SET_FILE_MEMBER && found->meta_from > generation) {
            snprintf(o->why, o->why_bytes,
                     "%s: is older than %s (its generation is %llu, that file was used with %llu): what was deleted since would be there "
                     "again. Put the newest one back; " REMEDY_ANEW,
                     o->set->meta_path, path_at(o, place), (unsigned long long)generation, (unsigned long long)found->meta_from);
            return QUIRE_MISMATCH;
        }
    }
    return QUIRE_OK;
}

/* Whether what the file holds counts: it was there all the time. A start writes to every file before it writes the metadata. */
static bool is_current(const struct disk_set *set, uint32_t i, const struct quire_log_superblock *superblock) {
    uint8_t id[16];
    quire_meta_file_at(set->meta, i, id);
    return memcmp(id, superblock->file_id, sizeof id) == 0 && superblock->generation >= quire_meta_head_of(set->meta)->generation;
}

/*
 * The copy that this start writes first. The other one stays whole meanwhile, and it is one that the metadata is known to be as new as: so the newest copy is
 * written over when a crash kept its start from the metadata.
 */
static uint32_t first_copy(const struct disk_set *set, const struct set_file *found) {
    bool begun = found->meta_from_copy > quire_meta_head_of(set->meta)->generation;
    return begun && !found->damaged ? found->copy : 1 - found->copy;
}

static enum quire_status remake(struct opening *o, uint32_t i, const char *reason) {
    enum quire_status status = make_file(o, i, file_bytes(o->set, i));
    if (status == QUIRE_OK) {
        status = name_file(o, i);
    }
    if (status == QUIRE_OK) {
        log_warn("disk_made_anew", "%s: made anew: %s", o->set->files[i].path, reason);
    } else if (status != QUIRE_IN_USE) {
        leave_out(o->set, i, o->why);
        set_file_unmake(o->set->files[i].path, &o->made_fd[i]);
        status = QUIRE_OK;
    }
    return status;
}

static enum quire_status take_file(struct opening *o, uint32_t i) {
    struct set_file *found = &o->found[o->place_of[i]];
    struct disk_set_file *file = &o->set->files[i];
    switch (found->state) {
    case SET_FILE_ABSENT:
        leave_out(o->set, i, "it is missing: mount its file system; where the drive was replaced, put an empty file there");
        return QUIRE_OK;
    case SET_FILE_SILENT:
        leave_out(o->set, i, found->why);
        return QUIRE_OK;
    case SET_FILE_EMPTY:
        return remake(o, i, "it was empty");
    case SET_FILE_MEMBER:
        break;
    }
    if (!is_current(o->set, i, &found->superblock)) {
        return remake(o, i, "it was out of use, or is an old copy: what it held may have been deleted since");
    }
    if (found->size_bytes < file_bytes(o->set, i)) {
        return remake(o, i, "it had been cut short, and deletions that were told there would be forgotten");
    }
    if (found->damaged) {
        log_warn("disk_superblock_damaged", "%s: one copy of its superblock was damaged, it is written again", file->path);
    }
    memcpy(file->file_id, found->superblock.file_id, sizeof file->file_id);
    file->in_use = true;
    file->next_copy = first_copy(o->set, found);
    file->fd = found->fd;
    found->fd = -1;
    return QUIRE_OK;
}

/* This start counts on from it, and the stop after it. */
static enum quire_status check_generation(struct opening *o) {
    if (o->set->generation + 2 >= QUIRE_LOG_GENERATIONS) {
        snprintf(o->why, o->why_bytes, "%s: its set says that it was opened %llu times, and there is no higher number: " REMEDY_ANEW,
                 o->set->files[0].path, (unsigned long long)o->set->generation);
        return QUIRE_CORRUPT;
    }
    return QUIRE_OK;
}

/* Everything that can be refused is, before anything is changed. */
static enum quire_status take_set(struct opening *o) {
    struct disk_set *set = o->set;
    for (uint32_t place = 0; place < set->n_files; place++) {
        if (o->found[place].state == SET_FILE_MEMBER) {
            QUIRE_FORWARD(check_member(o, place));
        }
    }
    assign_indexes(o);
    lay_out(o);
    set->geometry = (struct quire_log_geometry){.unit_bytes = o->first.unit_bytes, .segment_units = o->first.segment_units};
    set->created_s = o->first.created_s;
    memcpy(set->set_id, o->first.set_id, sizeof set->set_id);
    QUIRE_FORWARD(check_numbers(o));
    QUIRE_FORWARD(load_meta(o));
    QUIRE_FORWARD(check_meta_age(o));
    QUIRE_FORWARD(check_beside(o));
    set->generation = quire_meta_head_of(set->meta)->generation; /* never one that was there */
    set->clean = true;
    set->snapshot = o->first.snapshot;
    for (uint32_t place = 0; place < set->n_files; place++) {
        const struct set_file *found = &o->found[place];
        const struct quire_log_superblock *superblock = &found->superblock;
        set->generation = quire_max_u64(set->generation, superblock->generation);
        set->clean = set->clean && found->state == SET_FILE_MEMBER && (superblock->flags & QUIRE_LOG_CLEAN) != 0 &&
                     superblock->snapshot == set->snapshot && superblock->generation == o->first.generation;
    }
    QUIRE_FORWARD(check_generation(o));
    set->clean = set->clean && set->generation == o->first.generation; /* else the copies of a later start are damaged */
    for (uint32_t i = 0; i < set->n_files; i++) {
        QUIRE_FORWARD(take_file(o, i));
        set->clean = set->clean && set->files[i].in_use && !set->files[i].fresh;
    }
    return QUIRE_OK;
}

/* ---- the start ------------------------------------------------------------------------------------------------------------ */

static void use_direct(struct disk_set *set, uint32_t i) {
    struct disk_set_file *file = &set->files[i];
    uint32_t unit_bytes = 0;
    file->direct = set_file_direct(file->fd, &unit_bytes, file->why, sizeof file->why);
    if (file->direct && unit_bytes > set->geometry.unit_bytes) {
        snprintf(file->why, sizeof file->why, "buffered, because its drive wants blocks of %u bytes and the set was made with %u",
                 unit_bytes, set->geometry.unit_bytes);
        set_file_buffered(file->fd);
        file->direct = false;
    }
    if (!file->direct) {
        log_warn("disk_buffered", "%s: %s", file->path, file->why);
    }
}

/* This generation's, in one copy of every file: the one whose turn it is. True: some could not be written, and are out of use now. */
static bool write_superblocks(struct disk_set *set) {
    bool failed = false;
    for (uint32_t i = 0; i < set->n_files; i++) {
        struct disk_set_file *file = &set->files[i];
        struct quire_log_superblock superblock;
        superblock_of(set, i, set->generation, &superblock);
        if (file->in_use && write_superblock(set, file->fd, file->next_copy, &superblock) != QUIRE_OK) {
            char why[SET_FILE_WHY_BYTES];
            snprintf(why, sizeof why, "its superblock cannot be written (%s)", strerror(errno));
            leave_out(set, i, why);
            failed = true;
        }
        file->next_copy = 1 - file->next_copy;
    }
    return failed;
}

static enum quire_status save_members(struct opening *o) {
    struct disk_set *set = o->set;
    uint32_t n_in_use = 0, last_out = 0;
    for (uint32_t i = 0; i < set->n_files; i++) {
        n_in_use += set->files[i].in_use;
        last_out = set->files[i].in_use ? last_out : i;
    }
    if (n_in_use == 0) {
        snprintf(o->why, o->why_bytes, "%s: %s. No other file of the set can be used either", set->files[last_out].path,
                 set->files[last_out].why);
        return QUIRE_SYSTEM;
    }
    return save_meta(set, o->why, o->why_bytes);
}

/* One copy, the metadata, the other copy: once this is done neither a file nor the metadata of an earlier time fits what is there. */
static enum quire_status begin(struct opening *o) {
    struct disk_set *set = o->set;
    set->geometry.generation = ++set->generation;
    for (uint32_t i = 0; i < set->n_files; i++) {
        if (set->files[i].in_use) {
            use_direct(set, i);
        }
    }
    (void)write_superblocks(set);
    QUIRE_FORWARD(save_members(o));
    return write_superblocks(set) ? save_members(o) : QUIRE_OK;
}

static void opening_end(struct opening *o) {
    for (uint32_t i = 0; i < o->config->n_files; i++) {
        set_file_close(&o->found[i]);
        if (o->made_fd[i] >= 0) {
            set_file_unmake(o->set->files[i].path, &o->made_fd[i]);
        }
    }
}

static void tell(const struct disk_set *set) {
    char size[QUIRE_UNITS_BYTES];
    for (uint32_t i = 0; i < set->n_files; i++) {
        const struct disk_set_file *file = &set->files[i];
        quire_human_size(file->n_segments * segment_bytes(set), size, sizeof size);
        if (file->in_use) {
            log_info("disk", "%s: %s in %u segment%s, %s%s", file->path, size, file->n_segments, quire_s(file->n_segments),
                     file->direct ? "direct" : "buffered", file->fresh ? ", new" : "");
        }
    }
}

static enum quire_status open_set(struct opening *o) {
    for (uint32_t i = 0; i < QUIRE_LOG_MAX_FILES; i++) {
        o->set->files[i].fd = o->made_fd[i] = o->found[i].fd = -1;
    }
    o->set->n_files = o->config->n_files;
    QUIRE_FORWARD(probe_all(o));
    if (o->n_members == 0) {
        assign_indexes(o);
        lay_out(o);
        QUIRE_FORWARD(may_make_set(o));
        QUIRE_FORWARD(check_beside(o));
        QUIRE_FORWARD(make_set(o));
    } else {
        QUIRE_FORWARD(take_set(o));
    }
    return begin(o);
}

enum quire_status disk_set_open(const struct config *config, struct disk_set **set, char *why, size_t why_bytes) {
    *set = NULL;
    assert(config->n_files >= 1 && config->n_files <= QUIRE_LOG_MAX_FILES && why_bytes > 0);
    struct opening *o = calloc(1, sizeof *o);
    if (o == NULL || (o->set = calloc(1, sizeof *o->set)) == NULL) {
        free(o);
        snprintf(why, why_bytes, "%s", quire_status_text(QUIRE_NO_MEMORY));
        return QUIRE_NO_MEMORY;
    }
    o->config = config;
    o->why = why;
    o->why_bytes = why_bytes;
    why[0] = '\0';
    enum quire_status status = open_set(o);
    opening_end(o);
    if (status != QUIRE_OK) {
        disk_set_close(&o->set, false, 0);
    } else {
        tell(o->set);
        *set = o->set;
    }
    free(o);
    return status;
}

/* ---- while it is open, and the end ---------------------------------------------------------------------------------------- */

void disk_set_take_out(struct disk_set *set, uint32_t file, const char *why) {
    assert(file < set->n_files);
    if (set->files[file].in_use) {
        leave_out(set, file, why);
    }
}

void disk_set_describe_meta(const struct disk_set *set, struct quire_meta_head *head, uint8_t members[QUIRE_LOG_MAX_FILES][16]) {
    *head = (struct quire_meta_head){.generation = set->generation, .n_files = set->n_files};
    memcpy(head->set_id, set->set_id, sizeof head->set_id);
    for (uint32_t i = 0; i < set->n_files; i++) {
        memcpy(members[i], set->files[i].file_id, sizeof members[i]);
    }
}

enum quire_status disk_set_encode_meta(const struct disk_set *set, uint32_t next_serial, uint64_t sequence,
                                       const struct quire_meta_item *items, uint32_t n_items, const struct quire_meta_pin *pins,
                                       uint32_t n_pins, uint8_t **bytes, size_t *size) {
    uint8_t members[QUIRE_LOG_MAX_FILES][16];
    struct quire_meta_head head;
    disk_set_describe_meta(set, &head, members);
    head.next_serial = next_serial;
    head.n_namespaces = n_items;
    head.n_pins = n_pins;
    head.sequence = sequence;
    return disk_meta_encode(&head, items, pins, (const uint8_t(*)[16])members, bytes, size);
}

static void close_clean(struct disk_set *set, uint64_t snapshot) {
    for (uint32_t i = 0; i < set->n_files; i++) {
        struct quire_log_superblock superblock;
        if (!set->files[i].in_use) {
            continue;
        }
        superblock_of(set, i, set->generation + 1, &superblock);
        superblock.flags = QUIRE_LOG_CLEAN;
        superblock.snapshot = snapshot;
        if (write_superblock(set, set->files[i].fd, set->files[i].next_copy, &superblock) != QUIRE_OK) {
            log_warn("disk_close_failed", "%s: its superblock cannot be written (%s): the next start reads the log", set->files[i].path,
                     strerror(errno));
        }
    }
}

uint64_t disk_set_close(struct disk_set **out, bool clean, uint64_t snapshot) {
    struct disk_set *set = *out;
    if (set == NULL) {
        return 0;
    }
    if (clean) {
        close_clean(set, snapshot);
    }
    for (uint32_t i = 0; i < set->n_files; i++) {
        if (set->files[i].fd >= 0) {
            close(set->files[i].fd); /* and the lock with it */
        }
    }
    uint64_t written_bytes = set->written_bytes;
    free(set->meta);
    free(set);
    *out = NULL;
    return written_bytes;
}
