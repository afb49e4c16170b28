#include "daemon/disk/meta.h"

#include "daemon/disk/sidecar.h"
#include "proto/base/base.h"
#include "proto/status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static enum quire_status read_all(int fd, uint8_t *bytes, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t got = pread(fd, bytes + at, size - at, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got == 0 ? EIO : errno; /* shorter than a moment ago */
            return QUIRE_SYSTEM;
        }
        at += (size_t)got;
    }
    return QUIRE_OK;
}

static enum quire_status read_file(int fd, const char *path, uint8_t **bytes, size_t *size, char *why, size_t why_bytes) {
    struct stat facts;
    if (fstat(fd, &facts) != 0) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    if (!S_ISREG(facts.st_mode) || facts.st_size == 0 || (uint64_t)facts.st_size > DISK_META_MAX_BYTES) {
        snprintf(why, why_bytes, "%s: is not a metadata file: its size is %lld", path, (long long)facts.st_size);
        return QUIRE_CORRUPT;
    }
    *size = (size_t)facts.st_size;
    *bytes = malloc(*size);
    if (*bytes == NULL) {
        snprintf(why, why_bytes, "%s: no memory for %zu bytes", path, *size);
        return QUIRE_NO_MEMORY;
    }
    if (read_all(fd, *bytes, *size) != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: cannot be read (%s)", path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

static enum quire_status check(const char *path, const uint8_t *bytes, size_t size, const uint8_t set_id[16], char *why, size_t why_bytes) {
    struct quire_meta_head head;
    enum quire_status status = quire_meta_open(bytes, size, set_id, &head);
    if (status == QUIRE_VERSION) {
        snprintf(why, why_bytes, "%s: written by another version of Quire (format %u, this one reads %u)", path, head.version,
                 QUIRE_META_VERSION);
    } else if (status == QUIRE_TOO_LARGE) {
        snprintf(why, why_bytes, "%s: tells of %u namespaces and %u pins; this version reads %u and %u: unpin with the one that wrote it",
                 path, head.n_namespaces, head.n_pins, QUIRE_META_MAX_NAMESPACES, QUIRE_META_MAX_PINS);
    } else if (status == QUIRE_MISMATCH) {
        snprintf(why, why_bytes, "%s: belongs to another set of files", path);
    } else if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: damaged (its checksum or its numbers are wrong)", path);
    }
    return status;
}

enum quire_status disk_meta_load(const char *path, const uint8_t set_id[16], uint8_t **bytes, size_t *size, char *why, size_t why_bytes) {
    *bytes = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return errno == ENOENT ? QUIRE_NOT_FOUND : QUIRE_SYSTEM;
    }
    enum quire_status status = read_file(fd, path, bytes, size, why, why_bytes);
    close(fd);
    if (status == QUIRE_OK) {
        status = check(path, *bytes, *size, set_id, why, why_bytes);
    }
    if (status != QUIRE_OK) {
        free(*bytes);
        *bytes = NULL;
        *size = 0;
    }
    return status;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const uint8_t *bytes, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t put = write(fd, bytes + at, size - at);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return true;
}

/* The rename itself is durable only when the folder is. */
bool disk_meta_sync_folder(const char *path) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        slash[slash == folder] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return synced;
}

/* Whole and synced under its temporary name. */
static bool write_beside(const struct sidecar *beside, const uint8_t *bytes, size_t size) {
    int fd = sidecar_create(beside);
    bool written = fd >= 0 && write_all(fd, bytes, size) && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0 && close(fd) != 0 && written) {
        return false;
    }
    errno = error;
    return written;
}

enum quire_status disk_meta_save(const char *path, const uint8_t *bytes, size_t size, char *why, size_t why_bytes) {
    char name[PATH_MAX];
    const struct sidecar beside = {.path = name, .magic = QUIRE_META_MAGIC};
    if (snprintf(name, sizeof name, "%s.new", path) >= (int)sizeof name) {
        snprintf(why, why_bytes, "%.200s: the path is too long", path);
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(sidecar_check(&beside, why, why_bytes));
    if (!write_beside(&beside, bytes, size) || rename(name, path) != 0) {
        int error = errno;
        snprintf(why, why_bytes, "%s: cannot be replaced (%s)%s", path, strerror(error),
                 error == ENOSPC ? ": make room on its file system" : "");
        sidecar_remove(&beside);
        errno = error;
        return error == ENOSPC || error == EDQUOT ? QUIRE_FULL : QUIRE_SYSTEM;
    }
    if (!disk_meta_sync_folder(path)) {
        int error = errno;
        snprintf(why, why_bytes, "%s: its folder cannot be synced (%s)", path, strerror(error));
        errno = error;
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

enum quire_status disk_meta_encode(const struct quire_meta_head *head, const struct quire_meta_item *items,
                                   const struct quire_meta_pin *pins, const uint8_t (*files)[16], uint8_t **bytes, size_t *size) {
    *bytes = NULL;
    enum quire_status status = quire_meta_encode(head, items, pins, files, NULL, 0, size);
    if (status != QUIRE_TOO_LARGE || *size > DISK_META_MAX_BYTES) {
        return status == QUIRE_OK ? QUIRE_TOO_LARGE : status;
    }
    *bytes = malloc(*size);
    if (*bytes == NULL) {
        return QUIRE_NO_MEMORY;
    }
    return quire_meta_encode(head, items, pins, files, *bytes, *size, size);
}
