#include "daemon/disk/sidecar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct beginning { /* as in struct quire_meta_head and struct quire_snapshot_head */
    uint32_t magic, version;
    uint8_t set_id[16];
};

enum owner { NOBODY, OURS, STRANGER, UNKNOWN };

static enum owner owner_of_open(const struct sidecar *sidecar, int fd) {
    struct beginning beginning = {0};
    struct stat facts;
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        return STRANGER;
    }
    ssize_t n = pread(fd, &beginning, sizeof beginning, 0);
    bool magic = n >= (ssize_t)sizeof beginning.magic && beginning.magic == sidecar->magic;
    bool set = n == (ssize_t)sizeof beginning && sidecar->set_id != NULL &&
               memcmp(beginning.set_id, sidecar->set_id, sizeof beginning.set_id) == 0;
    return facts.st_size == 0 || magic || set ? OURS : STRANGER;
}

static enum owner owner_of(const struct sidecar *sidecar) {
    int fd = open(sidecar->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        bool drive = errno == EIO || errno == ENODEV || errno == ENOTDIR || errno == ESTALE || errno == EUCLEAN;
        return errno == ENOENT ? NOBODY : drive ? UNKNOWN : STRANGER;
    }
    enum owner owner = owner_of_open(sidecar, fd);
    close(fd);
    return owner;
}

enum quire_status sidecar_check(const struct sidecar *sidecar, char *why, size_t why_bytes) {
    enum owner owner = owner_of(sidecar);
    if (owner == UNKNOWN) {
        int error = errno;
        snprintf(why, why_bytes, "%s: cannot be looked at (%s)", sidecar->path, strerror(error));
        errno = error;
        return QUIRE_SYSTEM;
    }
    if (owner != STRANGER) {
        return QUIRE_OK;
    }
    snprintf(why, why_bytes,
             "%s: is not Quire's, and quired writes to that name. It was not touched: move it away, or give the log another path",
             sidecar->path);
    return QUIRE_CORRUPT;
}

int sidecar_create(const struct sidecar *sidecar) {
    int fd = -1;
    for (unsigned tries = 0; fd < 0 && tries < 2; tries++) {
        fd = open(sidecar->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && (errno != EEXIST || !sidecar_remove(sidecar))) {
            return -1;
        }
    }
    return fd;
}

bool sidecar_remove(const struct sidecar *sidecar) {
    int error = errno;
    bool removed = owner_of(sidecar) == OURS && unlink(sidecar->path) == 0;
    errno = error;
    return removed;
}
