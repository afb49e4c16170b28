#include "daemon/disk/set_file.h"

#include "daemon/disk/io.h"
#include "pager/pool.h"
#include "proto/base/lock_holder.h"
#include "proto/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAKING ".quire-new"
/* What such a file begins with until its superblock takes the place. */
static const char making_mark[] = "Quire: a file of its log that is being made\n";

/* ---- locks ---------------------------------------------------------------------------------------------------------------- */

static enum quire_status lock(const char *path, int fd, char *why, size_t why_bytes) {
    char who[64] = "another process, in another container perhaps,";
    int error = quire_lock_take(fd, LOCK_EX);
    if (error == 0) {
        return QUIRE_OK;
    }
    if (error != EWOULDBLOCK) {
        snprintf(why, why_bytes, "%s: cannot be locked (%s): give a path on a file system of this machine", path, strerror(error));
        return QUIRE_SYSTEM;
    }
    long holder = quire_lock_holder(fd);
    if (holder == (long)getpid()) {
        snprintf(who, sizeof who, "this quired under another path");
    } else if (holder > 0) {
        snprintf(who, sizeof who, "process %ld", holder);
    }
    snprintf(why, why_bytes, "%s: is in use by %s already: stop that one, or give this one files of its own", path, who);
    return QUIRE_IN_USE;
}

/* ---- judging -------------------------------------------------------------------------------------------------------------- */

static uint8_t *superblock_memory(void) {
    void *memory = NULL;
    return posix_memalign(&memory, QUIRE_LOG_SUPERBLOCK_BYTES, QUIRE_LOG_SUPERBLOCK_BYTES) == 0 ? memory : NULL;
}

/* NOT_FOUND: the file ends before. */
static enum quire_status read_copy(int fd, uint32_t copy, struct quire_log_superblock *superblock, int *error) {
    uint8_t *bytes = superblock_memory();
    if (bytes == NULL) {
        *error = ENOMEM;
        return QUIRE_SYSTEM;
    }
    ssize_t got = pread(fd, bytes, QUIRE_LOG_SUPERBLOCK_BYTES, (off_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE);
    enum quire_status status = QUIRE_NOT_FOUND;
    if (got < 0) {
        *error = errno;
        status = QUIRE_SYSTEM;
    } else if (got == (ssize_t)QUIRE_LOG_SUPERBLOCK_BYTES) {
        status = quire_log_superblock_decode(bytes, superblock);
    }
    free(bytes);
    return status;
}

static enum quire_status refuse_version(const char *path, uint32_t version, char *why, size_t why_bytes) {
    snprintf(
        why, why_bytes,
        "%s: written by another version of Quire (format %u, this one reads %u): start that version, or move the files of the set away to "
        "begin anew",
        path, version, QUIRE_LOG_VERSION);
    return QUIRE_VERSION;
}

static enum quire_status judge(const char *path, struct set_file *file, char *why, size_t why_bytes) {
    struct quire_log_superblock copies[QUIRE_LOG_SUPERBLOCK_COPIES];
    bool good[QUIRE_LOG_SUPERBLOCK_COPIES];
    int error = 0;
    for (uint32_t i = 0; i < QUIRE_LOG_SUPERBLOCK_COPIES; i++) {
        enum quire_status status = read_copy(file->fd, i, &copies[i], &error);
        if (status == QUIRE_VERSION) {
            return refuse_version(path, copies[i].version, why, why_bytes);
        }
        good[i] = status == QUIRE_OK;
    }
    if (!good[0] && !good[1] && error != 0) {
        snprintf(file->why, sizeof file->why, "cannot be read (%s)", strerror(error));
        set_file_close(file);
        file->state = SET_FILE_SILENT;
        return QUIRE_OK;
    }
    if (!good[0] && !good[1]) {
        snprintf(
            why, why_bytes,
            "%s: has content, but no superblock of Quire that is whole: it is something else, or damaged. It was not touched: give another "
            "path, or move it away",
            path);
        return QUIRE_CORRUPT;
    }
    file->copy = good[1] && (!good[0] || copies[1].generation > copies[0].generation);
    file->superblock = copies[file->copy];
    file->damaged = !good[1 - file->copy];
    file->meta_from = file->meta_from_copy = quire_log_superblock_meta(&file->superblock);
    if (!file->damaged) {
        file->meta_from = quire_min_u64(file->meta_from, quire_log_superblock_meta(&copies[1 - file->copy]));
    }
    file->state = file->superblock.generation == 0 ? SET_FILE_EMPTY : SET_FILE_MEMBER;
    return QUIRE_OK;
}

/* ---- opening -------------------------------------------------------------------------------------------------------------- */

/* What the system says of a path: nothing there, a drive that does not answer, or a mistake that somebody should know of. */
static enum quire_status cannot_open(const char *path, int error, struct set_file *file, char *why, size_t why_bytes) {
    switch (error) {
    case ENOENT:
        file->state = SET_FILE_ABSENT;
        return QUIRE_OK;
    case EACCES:
    case EPERM:
        snprintf(why, why_bytes, "%s: user %u may not read and write it (%s): change its owner, or give another path", path,
                 (unsigned)geteuid(), strerror(error));
        return QUIRE_DENIED;
    case EISDIR:
        snprintf(why, why_bytes, "%s: is a folder: give the path of a file in it, such as %s/log0", path, path);
        return QUIRE_INVALID;
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EMFILE:
    case ENFILE:
        snprintf(why, why_bytes, "%s: cannot be opened (%s): give another path", path, strerror(error));
        return QUIRE_INVALID;
    case ENXIO: /* a socket, or a device without a driver */
        snprintf(why, why_bytes, "%s: is not a regular file: give the path of one, or of one that is to be made", path);
        return QUIRE_INVALID;
    default: /* EROFS among them: what many file systems become when their drive fails */
        snprintf(file->why, sizeof file->why, "cannot be opened for reading and writing (%s)", strerror(error));
        file->state = SET_FILE_SILENT;
        return QUIRE_OK;
    }
}

/* Whether the path still leads to what was opened: another daemon may have put a new file there before it was locked. */
static bool still_there(const char *path, int fd) {
    struct stat opened, now;
    return fstat(fd, &opened) == 0 && stat(path, &now) == 0 && opened.st_ino == now.st_ino && opened.st_dev == now.st_dev;
}

static enum quire_status probe_open(const char *path, struct set_file *file, char *why, size_t why_bytes) {
    struct stat facts;
    if (fstat(file->fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        snprintf(why, why_bytes, "%s: is not a regular file: give the path of one, or of one that is to be made", path);
        return QUIRE_INVALID;
    }
    file->size_bytes = (uint64_t)facts.st_size;
    if (facts.st_size == 0) {
        file->state = SET_FILE_EMPTY;
        return QUIRE_OK;
    }
    return judge(path, file, why, why_bytes);
}

enum quire_status set_file_probe(const char *path, struct set_file *file, char *why, size_t why_bytes) {
    *file = (struct set_file){.fd = -1};
    for (unsigned tries = 0;; tries++) {
        file->fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (file->fd < 0) {
            return cannot_open(path, errno, file, why, why_bytes);
        }
        enum quire_status status = lock(path, file->fd, why, why_bytes);
        if (status == QUIRE_OK && (tries == 3 || still_there(path, file->fd))) {
            status = probe_open(path, file, why, why_bytes);
            if (status == QUIRE_OK) {
                return QUIRE_OK;
            }
        } else if (status == QUIRE_OK) {
            set_file_close(file);
            continue;
        }
        set_file_close(file);
        return status;
    }
}

void set_file_close(struct set_file *file) {
    if (file->fd >= 0) {
        close(file->fd);
        file->fd = -1;
    }
}

/* ---- making --------------------------------------------------------------------------------------------------------------- */

static void folder_of(const char *path, char folder[PATH_MAX]) {
    snprintf(folder, PATH_MAX, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, PATH_MAX, ".");
    } else {
        slash[slash == folder] = '\0';
    }
}

/* What is stored is the users' own: nobody else looks into the folders that are made here. */
static enum quire_status make_folders(const char *path, char *why, size_t why_bytes) {
    char folder[PATH_MAX];
    folder_of(path, folder);
    for (char *at = folder + 1; at[-1] != '\0'; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char end = *at;
        *at = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST && !(errno == EROFS && access(folder, F_OK) == 0)) {
            snprintf(why, why_bytes, "%s: folder %s cannot be made (%s): make it, or give another path", path, folder, strerror(errno));
            return QUIRE_SYSTEM;
        }
        *at = end;
    }
    return QUIRE_OK;
}

static enum quire_status no_room(const char *path, uint64_t free_bytes, uint64_t size_bytes, char *why, size_t why_bytes) {
    char wanted[QUIRE_UNITS_BYTES], free_text[QUIRE_UNITS_BYTES];
    quire_human_size(size_bytes, wanted, sizeof wanted);
    quire_human_size(free_bytes, free_text, sizeof free_text);
    snprintf(why, why_bytes, "%s: needs %s, %s are free on its file system: make room, or give a smaller size or another path", path,
             wanted, free_text);
    return QUIRE_FULL;
}

/* All of the space at once: a write never finds the file system full. Where there is not so much none is taken: others write there, too. */
static enum quire_status reserve(const char *path, int fd, uint64_t size_bytes, char *why, size_t why_bytes) {
    struct statvfs facts = {0};
    int rc = fstatvfs(fd, &facts);
    bool known = rc == 0 && facts.f_blocks > 0;                      /* some file systems tell nothing */
    uint64_t free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize; /* what is kept for root is not for this */
    if (known && free_bytes < size_bytes) {
        return no_room(path, free_bytes, size_bytes, why, why_bytes);
    }
    do {
        rc = fallocate(fd, 0, 0, (off_t)size_bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno == EOPNOTSUPP) { /* such file systems give space as it is written */
        rc = ftruncate(fd, (off_t)size_bytes);
    }
    if (rc == 0) {
        return QUIRE_OK;
    }
    int error = errno;
    if (error == ENOSPC || error == EDQUOT) {
        return no_room(path, free_bytes, size_bytes, why, why_bytes);
    }
    snprintf(why, why_bytes, "%s: cannot be given its size (%s)%s", path, strerror(error),
             error == EFBIG ? ": its file system has no files as large: give several smaller ones" : "");
    return QUIRE_SYSTEM;
}

/* Where a link leads to: that is where a new file is wanted, and where its space comes from. */
static void place_of(const char *path, char place[PATH_MAX]) {
    if (realpath(path, place) == NULL) {
        snprintf(place, PATH_MAX, "%s", path);
    }
}

static void making_name(const char *path, char name[PATH_MAX]) {
    char place[PATH_MAX];
    place_of(path, place);
    snprintf(name, PATH_MAX, "%.*s" MAKING, (int)(PATH_MAX - sizeof MAKING), place);
}

/* A crash left it: nothing was ever stored in it. */
static bool is_left_over(int fd) {
    char mark[sizeof making_mark];
    struct quire_log_superblock superblock;
    struct stat facts;
    int error;
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        return false;
    }
    return facts.st_size == 0 || (pread(fd, mark, sizeof mark, 0) == (ssize_t)sizeof mark && memcmp(mark, making_mark, sizeof mark) == 0) ||
           (read_copy(fd, 0, &superblock, &error) == QUIRE_OK && superblock.generation == 0);
}

/* Makes room for a file that is to be made. What is not a left-over of ours stays. */
static enum quire_status sweep(const char *path, const char *name, char *why, size_t why_bytes) {
    int fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) {
        return QUIRE_OK;
    }
    enum quire_status status = fd >= 0 ? lock(path, fd, why, why_bytes) : QUIRE_OK;
    if (status == QUIRE_OK && (fd < 0 || !is_left_over(fd))) {
        snprintf(why, why_bytes,
                 "%s: has content that quired did not leave, and its file is made under that name. It was not touched: move it away, or "
                 "give another path",
                 name);
        status = QUIRE_CORRUPT;
    } else if (status == QUIRE_OK && still_there(name, fd)) {
        unlink(name);
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

/* Always a new file: whatever rights one that is there has, nobody else gets at what is stored. */
static enum quire_status create(const char *path, const char *name, int *fd, char *why, size_t why_bytes) {
    for (unsigned tries = 0; tries < 3; tries++) {
        *fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (*fd >= 0 || errno != EEXIST) {
            break;
        }
        QUIRE_FORWARD(sweep(path, name, why, why_bytes));
        errno = EEXIST;
    }
    if (*fd < 0) {
        snprintf(why, why_bytes, "%s: cannot be made (%s): its folder must be one that user %u can write to", path, strerror(errno),
                 (unsigned)geteuid());
        return errno == EACCES || errno == EPERM ? QUIRE_DENIED : QUIRE_SYSTEM;
    }
    enum quire_status status = lock(path, *fd, why, why_bytes);
    if (status == QUIRE_OK && !still_there(name, *fd)) {
        snprintf(why, why_bytes, "%s: another quired is making it at this moment", path);
        status = QUIRE_IN_USE;
    }
    if (status != QUIRE_OK) {
        close(*fd); /* its name is somebody else's */
        *fd = -1;
    }
    return status;
}

/* On the drive before the file takes any space. */
static enum quire_status write_mark(const char *path, int fd, char *why, size_t why_bytes) {
    ssize_t put = pwrite(fd, making_mark, sizeof making_mark, 0);
    if (put == (ssize_t)sizeof making_mark && fdatasync(fd) == 0) {
        return QUIRE_OK;
    }
    int error = put >= 0 && put != (ssize_t)sizeof making_mark ? ENOSPC : errno;
    snprintf(why, why_bytes, "%s: cannot be written (%s)", path, strerror(error));
    return error == ENOSPC || error == EDQUOT ? QUIRE_FULL : QUIRE_SYSTEM;
}

enum quire_status set_file_make(const char *path, uint64_t size_bytes, int *fd, char *why, size_t why_bytes) {
    char name[PATH_MAX];
    making_name(path, name);
    QUIRE_FORWARD(make_folders(path, why, why_bytes));
    QUIRE_FORWARD(create(path, name, fd, why, why_bytes));
    enum quire_status status = write_mark(path, *fd, why, why_bytes);
    if (status == QUIRE_OK) {
        status = reserve(path, *fd, size_bytes, why, why_bytes);
    }
    if (status != QUIRE_OK) {
        set_file_unmake(path, fd);
    }
    return status;
}

void set_file_unmake(const char *path, int *fd) {
    char name[PATH_MAX];
    making_name(path, name);
    if (*fd >= 0) {
        unlink(name);
        close(*fd);
        *fd = -1;
    }
}

static int rename_new(const char *from, const char *to, bool replace) {
    int rc = replace ? -1 : renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (replace || (rc != 0 && (errno == EINVAL || errno == ENOSYS))) { /* not every file system knows the flag */
        rc = rename(from, to);
    }
    return rc;
}

enum quire_status set_file_name(const char *path, int fd, bool replace, char *why, size_t why_bytes) {
    char name[PATH_MAX], place[PATH_MAX], folder[PATH_MAX];
    making_name(path, name);
    place_of(path, place);
    folder_of(place, folder);
    int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fsync(fd) == 0 && folder_fd >= 0 && rename_new(name, place, replace) == 0 && fsync(folder_fd) == 0;
    int error = errno;
    if (folder_fd >= 0) {
        close(folder_fd);
    }
    if (!done) {
        snprintf(why, why_bytes, "%s: cannot be made (%s)%s", path, strerror(error),
                 error == EEXIST ? ": another quired has made it at this moment" : "");
        return error == EEXIST ? QUIRE_IN_USE : QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

/* ---- using ---------------------------------------------------------------------------------------------------------------- */

enum quire_status set_file_write_superblock(int fd, uint32_t copy, const struct quire_log_superblock *superblock) {
    uint8_t *bytes = superblock_memory();
    if (bytes == NULL) {
        errno = ENOMEM;
        return QUIRE_SYSTEM;
    }
    quire_log_superblock_encode(superblock, bytes);
    ssize_t put;
    do {
        put = pwrite(fd, bytes, QUIRE_LOG_SUPERBLOCK_BYTES, (off_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE);
    } while (put < 0 && errno == EINTR);
    if (put >= 0 && put != (ssize_t)QUIRE_LOG_SUPERBLOCK_BYTES) {
        errno = EIO;
    }
    bool written = put == (ssize_t)QUIRE_LOG_SUPERBLOCK_BYTES && fdatasync(fd) == 0;
    int error = errno;
    free(bytes);
    errno = error;
    return written ? QUIRE_OK : QUIRE_SYSTEM;
}

/* Where records begin in memory: extents of a pool are whole units, and whole granules. */
static uint32_t record_alignment(uint32_t unit_bytes) { return unit_bytes > PAGER_POOL_GRANULE ? unit_bytes : PAGER_POOL_GRANULE; }

bool set_file_direct(int fd, uint32_t *unit_bytes, char *why, size_t why_bytes) {
    uint32_t memory_bytes = 0;
    struct quire_log_superblock ignored;
    int flags = fcntl(fd, F_GETFL), error = 0;
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) {
        snprintf(why, why_bytes, "buffered, because its file system has no O_DIRECT (%s)", strerror(errno));
        return false;
    }
    if (read_copy(fd, 0, &ignored, &error) == QUIRE_SYSTEM || disk_io_alignment(fd, unit_bytes, &memory_bytes) != QUIRE_OK) {
        snprintf(why, why_bytes, "buffered, because a direct read failed (%s)", strerror(error));
    } else if (*unit_bytes > QUIRE_LOG_UNIT_MAX || memory_bytes > record_alignment(*unit_bytes)) {
        snprintf(why, why_bytes, "buffered, because its drive wants blocks of %u bytes, at addresses that are multiples of %u", *unit_bytes,
                 memory_bytes);
    } else {
        return true;
    }
    set_file_buffered(fd);
    return false;
}

void set_file_buffered(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) {
        fcntl(fd, F_SETFL, flags & ~O_DIRECT);
    }
}
