#include "client/quirectl/log_files.h"

#include "proto/base/base.h"
#include "proto/base/lock_holder.h"
#include "proto/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (1u << 20)
#define META_BYTES_MAX (1ull << 30)

/* ---- one file ------------------------------------------------------------------------------------------------------------- */

static void holder_name(long pid, char *text, size_t text_bytes) {
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    FILE *from = fopen(path, "re");
    if (from != NULL) {
        if (fgets(name, sizeof name, from) == NULL) {
            name[0] = '\0';
        }
        fclose(from);
    }
    name[strcspn(name, "\n")] = '\0';
    if (pid > 0) {
        snprintf(text, text_bytes, "process %ld%s%s%s", pid, name[0] != '\0' ? " (" : "", name, name[0] != '\0' ? ")" : "");
    } else {
        snprintf(text, text_bytes, "another process, in another container perhaps");
    }
}

static enum cli_exit lock_file(struct cli *cli, struct log_file *file, enum log_purpose purpose) {
    char who[96];
    if (purpose == LOG_LOOK) {
        file->holder = quire_lock_holder(file->fd);
        return CLI_OK;
    }
    int error = quire_lock_take(file->fd, purpose == LOG_REPAIR ? LOCK_EX : LOCK_SH);
    if (error == 0) {
        return CLI_OK;
    }
    if (error != EWOULDBLOCK) {
        return cli_fail(cli, QUIRE_SYSTEM, "%s: cannot be locked (%s)", file->path, strerror(error));
    }
    holder_name(quire_lock_holder(file->fd), who, sizeof who);
    return cli_fail(cli, QUIRE_IN_USE, "%s: is in use by %s: stop it first; `quirectl verify` without paths asks a running daemon",
                    file->path, who);
}

static void read_copies(struct log_file *file) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    bool good[QUIRE_LOG_SUPERBLOCK_COPIES];
    for (uint32_t i = 0; i < QUIRE_LOG_SUPERBLOCK_COPIES; i++) {
        ssize_t got = pread(file->fd, bytes, sizeof bytes, (off_t)i * QUIRE_LOG_SUPERBLOCK_STRIDE);
        file->copy_status[i] = got < 0                          ? QUIRE_SYSTEM
                               : got != (ssize_t)(sizeof bytes) ? QUIRE_CORRUPT
                                                                : quire_log_superblock_decode(bytes, &file->copies[i]);
        good[i] = file->copy_status[i] == QUIRE_OK;
    }
    file->copy = good[1] && (!good[0] || file->copies[1].generation > file->copies[0].generation);
    file->superblock = file->copies[file->copy];
}

static enum cli_exit judge_copies(struct cli *cli, const struct log_file *file) {
    for (uint32_t i = 0; i < QUIRE_LOG_SUPERBLOCK_COPIES; i++) {
        if (file->copy_status[i] == QUIRE_VERSION) {
            return cli_fail(cli, QUIRE_VERSION,
                            "%s: written by another version of Quire (format %u, this one reads %u): use quirectl of that version",
                            file->path, file->copies[i].version, QUIRE_LOG_VERSION);
        }
    }
    if (file->copy_status[file->copy] != QUIRE_OK) {
        return cli_fail(
            cli, QUIRE_CORRUPT,
            "%s: neither copy of the superblock is whole: it is no file of Quire's disk tier, or beyond repair; quired makes a new "
            "one in the place of an empty file",
            file->path);
    }
    return CLI_OK;
}

static enum cli_exit open_file(struct cli *cli, struct log_file *file, enum log_purpose purpose) {
    struct stat facts;
    file->fd = open(file->path, (purpose == LOG_REPAIR ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file->fd < 0) {
        return cli_fail(cli, QUIRE_SYSTEM, "%s: cannot be opened (%s)", file->path, strerror(errno));
    }
    if (fstat(file->fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        return cli_fail(cli, QUIRE_SYSTEM, "%s: is not a regular file: give the files that `tiers: file:` of the configuration names",
                        file->path);
    }
    file->size_bytes = (uint64_t)facts.st_size;
    enum cli_exit result = lock_file(cli, file, purpose);
    if (result != CLI_OK) {
        return result;
    }
    read_copies(file);
    return judge_copies(cli, file);
}

/* ---- the set -------------------------------------------------------------------------------------------------------------- */

static int by_index(const void *a, const void *b) {
    return (int)((const struct log_file *)a)->superblock.file_index - (int)((const struct log_file *)b)->superblock.file_index;
}

static enum cli_exit check_set(struct cli *cli, struct log_files *files) {
    const struct quire_log_superblock *first = &files->file[0].superblock;
    qsort(files->file, files->n, sizeof files->file[0], by_index);
    for (uint32_t i = 0; i < files->n; i++) {
        const struct quire_log_superblock *own = &files->file[i].superblock;
        if (memcmp(own->set_id, first->set_id, sizeof own->set_id) != 0 || own->n_files != first->n_files ||
            own->unit_bytes != first->unit_bytes || own->segment_units != first->segment_units) {
            return cli_fail(cli, QUIRE_MISMATCH, "%s: belongs to another set of files than %s: give the files of one set",
                            files->file[i].path, files->file[0].path);
        }
        if (i > 0 && (own->file_index == files->file[i - 1].superblock.file_index ||
                      own->first_number < files->file[i - 1].superblock.first_number + files->file[i - 1].superblock.n_segments)) {
            return cli_fail(cli, QUIRE_MISMATCH, "%s: is the same part of the set as %s: give one of them", files->file[i].path,
                            files->file[i - 1].path);
        }
    }
    files->n_set = first->n_files;
    files->geometry = (struct quire_log_geometry){.unit_bytes = first->unit_bytes, .segment_units = first->segment_units};
    memcpy(files->geometry.set_id, first->set_id, sizeof files->geometry.set_id);
    for (uint32_t i = 0; i < files->n; i++) {
        files->geometry.generation = quire_max_u64(files->geometry.generation, files->file[i].superblock.generation);
    }
    memcpy(files->set_id, first->set_id, sizeof files->set_id);
    return CLI_OK;
}

/* The whole file by malloc. */
static enum quire_status read_whole(const char *path, uint8_t **bytes, size_t *size) {
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT ? QUIRE_NOT_FOUND : QUIRE_SYSTEM;
    }
    enum quire_status status = QUIRE_SYSTEM;
    if (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && (uint64_t)facts.st_size <= META_BYTES_MAX) {
        *bytes = malloc((size_t)facts.st_size + 1);
        for (*size = 0; *bytes != NULL && *size < (size_t)facts.st_size;) {
            ssize_t got = read(fd, *bytes + *size, (size_t)facts.st_size - *size);
            if (got <= 0) {
                break;
            }
            *size += (size_t)got;
        }
        status = *bytes == NULL ? QUIRE_NO_MEMORY : *size == (size_t)facts.st_size ? QUIRE_OK : QUIRE_SYSTEM;
    }
    close(fd);
    return status;
}

struct meta_copy {
    enum quire_status status;
    uint8_t *bytes;
    size_t size;
};

static void read_copy(const struct log_files *files, uint32_t i, struct meta_copy *copy) {
    struct quire_meta_head head;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.meta", files->file[i].path);
    copy->status = read_whole(path, &copy->bytes, &copy->size);
    if (copy->status == QUIRE_OK) {
        copy->status = quire_meta_open(copy->bytes, copy->size, files->set_id, &head);
        if (copy->status == QUIRE_OK && head.n_files != files->n_set) {
            copy->status = QUIRE_MISMATCH;
        }
    }
}

/* Whose copy a start needs: that of the first file that the newest names (daemon/disk/copies.h). The newest's own place: that file was not given, or is another now. */
static uint32_t leader_of(const struct log_files *files, const struct meta_copy *copies, uint32_t newest) {
    static const uint8_t nobody[16];
    uint8_t id[16] = {0};
    uint32_t leader = 0;
    for (; leader < files->n_set && memcmp(id, nobody, sizeof id) == 0; leader++) {
        quire_meta_file_at(copies[newest].bytes, leader, id);
    }
    for (uint32_t i = 0; i < files->n; i++) {
        if (files->file[i].superblock.file_index + 1u == leader && memcmp(files->file[i].superblock.file_id, id, sizeof id) == 0) {
            bool earlier = leader > 1 && files->file[newest].superblock.file_index == 0 && copies[i].status == QUIRE_NOT_FOUND;
            return earlier ? newest : i; /* a writer that kept file 0's copy alone */
        }
    }
    return newest;
}

/* The copy that counts; where a start would not take it, what is wrong. */
static void read_meta(struct log_files *files) {
    struct meta_copy copies[QUIRE_LOG_MAX_FILES] = {0};
    uint32_t newest = files->n, taken = 0;
    for (uint32_t i = 0; i < files->n; i++) {
        read_copy(files, i, &copies[i]);
        if (copies[i].status == QUIRE_OK && (newest == files->n || quire_meta_compare(copies[i].bytes, copies[newest].bytes) > 0)) {
            newest = i;
        }
    }
    if (newest < files->n) {
        taken = leader_of(files, copies, newest);
        files->meta_old = copies[taken].status == QUIRE_OK && quire_meta_compare(copies[taken].bytes, copies[newest].bytes) < 0;
    }
    snprintf(files->meta_path, sizeof files->meta_path, "%s.meta", files->file[taken].path);
    files->meta_status = copies[taken].status;
    for (uint32_t i = 0; i < files->n; i++) {
        if (i == taken && copies[i].status == QUIRE_OK) {
            files->meta = copies[i].bytes;
            files->meta_bytes = copies[i].size;
        } else {
            free(copies[i].bytes);
        }
    }
}

const char *log_files_meta_text(const struct log_files *files) {
    return files->meta_old                         ? "is older than the files, and what was deleted since would be there again"
           : files->meta_status == QUIRE_NOT_FOUND ? "is not there"
           : files->meta_status == QUIRE_MISMATCH  ? "is of another set"
           : files->meta_status == QUIRE_VERSION   ? "was written by another version of Quire"
                                                   : "is damaged or cannot be read";
}

/* As a start judges it: either copy of a superblock, but for the newest that a crash kept from the metadata, speaks of one that was there. */
static bool is_newer_than_meta(const struct log_files *files, const struct log_file *file) {
    uint64_t from = UINT64_MAX;
    for (uint32_t i = 0; i < QUIRE_LOG_SUPERBLOCK_COPIES; i++) {
        from = file->copy_status[i] == QUIRE_OK ? quire_min_u64(from, quire_log_superblock_meta(&file->copies[i])) : from;
    }
    return from > quire_meta_head_of(files->meta)->generation;
}

/* Without metadata nobody knows who was taken out: then everybody counts. */
static void judge_file(const struct log_files *files, struct log_file *file) {
    const size_t segment_bytes = log_files_segment_bytes(files);
    uint8_t id[16];
    uint64_t had = file->size_bytes > QUIRE_LOG_FIRST_SEGMENT ? (file->size_bytes - QUIRE_LOG_FIRST_SEGMENT) / segment_bytes : 0;
    file->whole_segments = (uint32_t)quire_min_u64(had, file->superblock.n_segments);
    file->used = file->superblock.generation > 0;
    if (!file->used) {
        snprintf(file->why, sizeof file->why, "made, and never used");
    } else if (files->meta != NULL) {
        quire_meta_file_at(files->meta, file->superblock.file_index, id);
        file->used = memcmp(id, file->superblock.file_id, sizeof id) == 0 &&
                     file->superblock.generation >= quire_meta_head_of(files->meta)->generation;
        snprintf(file->why, sizeof file->why, "%s", file->used ? "" : "out of use: by the metadata nothing in it counts");
    }
    if (file->used && file->whole_segments < file->superblock.n_segments) {
        snprintf(file->why, sizeof file->why, "cut short: nothing in it counts, quired makes it anew");
        file->used = false;
        file->cut_short = true;
    }
}

/* Likewise: whoever was not given is missed. */
static void judge_set(struct log_files *files) {
    static const uint8_t nobody[16];
    uint8_t id[16];
    for (uint32_t i = 0; i < files->n_set; i++) {
        bool given = false;
        for (uint32_t j = 0; j < files->n; j++) {
            given = given || files->file[j].superblock.file_index == i;
        }
        if (files->meta != NULL) {
            quire_meta_file_at(files->meta, i, id);
        }
        files->n_absent += !given && (files->meta == NULL || memcmp(id, nobody, sizeof id) != 0);
    }
    files->complete = files->meta != NULL && files->n_absent == 0;
}

enum cli_exit log_files_open(struct cli *cli, const struct args_list *paths, enum log_purpose purpose, struct log_files *files) {
    memset(files, 0, sizeof *files);
    if (paths->n > QUIRE_LOG_MAX_FILES) {
        return cli_usage(cli, "a set has %u files at most", QUIRE_LOG_MAX_FILES);
    }
    for (; files->n < paths->n; files->n++) {
        files->file[files->n].path = paths->items[files->n];
        files->file[files->n].fd = -1;
        enum cli_exit result = open_file(cli, &files->file[files->n], purpose);
        if (result != CLI_OK) {
            files->n++;
            return result;
        }
    }
    enum cli_exit result = check_set(cli, files);
    if (result != CLI_OK) {
        return result;
    }
    read_meta(files);
    for (uint32_t i = 0; i < files->n; i++) {
        judge_file(files, &files->file[i]);
        files->meta_old = files->meta_old || (files->meta != NULL && is_newer_than_meta(files, &files->file[i]));
    }
    judge_set(files);
    return CLI_OK;
}

void log_files_close(struct log_files *files) {
    for (uint32_t i = 0; i < files->n; i++) {
        if (files->file[i].fd >= 0) {
            close(files->file[i].fd);
        }
    }
    free(files->meta);
    memset(files, 0, sizeof *files);
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------------- */

const struct log_file *log_files_find(const struct log_files *files, uint32_t segment, uint64_t *offset) {
    for (uint32_t i = 0; i < files->n; i++) {
        const struct log_file *file = &files->file[i];
        uint32_t first = file->superblock.first_number;
        if (segment >= first && segment - first < file->superblock.n_segments) {
            *offset = QUIRE_LOG_FIRST_SEGMENT + (uint64_t)(segment - first) * log_files_segment_bytes(files);
            return file;
        }
    }
    return NULL;
}

/* False: the device does not give these bytes. The end of the file is zeros. */
static bool read_bytes(int fd, uint64_t offset, uint8_t *to, size_t size) {
    memset(to, 0, size);
    for (size_t at = 0; at < size;) {
        ssize_t got = pread(fd, to + at, size - at, (off_t)(offset + at));
        if (got == 0) {
            return true;
        }
        if (got < 0 && errno != EINTR) {
            memset(to, 0, size);
            return false;
        }
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

void log_files_read(const struct log_files *files, uint32_t segment, uint32_t at_units, uint32_t units, uint8_t *to, uint32_t *unreadable) {
    const size_t unit = files->geometry.unit_bytes, size = units * unit;
    uint64_t offset = 0;
    const struct log_file *file = log_files_find(files, segment, &offset);
    *unreadable = 0;
    if (file == NULL) {
        memset(to, 0, size);
        return;
    }
    offset += at_units * unit;
    for (size_t at = 0; at < size; at += READ_BYTES) {
        size_t part = quire_min_u64(READ_BYTES, size - at);
        if (read_bytes(file->fd, offset + at, to + at, part)) {
            continue;
        }
        for (size_t small = at; small < at + part; small += unit) {
            *unreadable += !read_bytes(file->fd, offset + small, to + small, unit);
        }
    }
}

void log_files_forget(const struct log_files *files, uint32_t segment) {
    uint64_t offset = 0;
    const struct log_file *file = log_files_find(files, segment, &offset);
    if (file != NULL) {
        posix_fadvise(file->fd, (off_t)offset, (off_t)log_files_segment_bytes(files), POSIX_FADV_DONTNEED);
    }
}

static bool write_bytes(int fd, uint64_t offset, const uint8_t *bytes, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t put = pwrite(fd, bytes + at, size - at, (off_t)(offset + at));
        if (put == 0) {
            errno = EIO;
        }
        if (put == 0 || (put < 0 && errno != EINTR)) {
            return false;
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return fdatasync(fd) == 0;
}

bool log_files_write(const struct log_files *files, uint32_t segment, uint32_t at_units, uint32_t units, const uint8_t *bytes) {
    uint64_t offset;
    const struct log_file *file = log_files_find(files, segment, &offset);
    const size_t unit = files->geometry.unit_bytes;
    assert(file != NULL && quire_in_range(at_units, units, files->geometry.segment_units));
    return write_bytes(file->fd, offset + at_units * unit, bytes, units * unit);
}

bool log_file_write_superblock(const struct log_file *file, uint32_t copy, const struct quire_log_superblock *superblock) {
    uint8_t bytes[QUIRE_LOG_SUPERBLOCK_BYTES];
    quire_log_superblock_encode(superblock, bytes);
    return write_bytes(file->fd, (uint64_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE, bytes, sizeof bytes);
}

void log_files_ns(const struct log_files *files, uint32_t serial, char *text, size_t text_bytes) {
    struct quire_meta_item item;
    size_t at = 0;
    snprintf(text, text_bytes, files->meta != NULL ? "(deleted, %u)" : "(%u)", serial);
    while (files->meta != NULL && quire_meta_next(files->meta, &at, &item)) {
        if (item.serial == serial) {
            snprintf(text, text_bytes, "%.*s/%.*s", (int)item.domain_bytes, item.domain, (int)item.name_bytes, item.name);
        }
    }
}
