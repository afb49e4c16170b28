#include "client/llama/digest.h"

#include "proto/base/base.h"
#include "proto/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (1u << 20)
#define PARTS_MAX 1024
#define NOTE_BYTES 256
#define SETTLED_NS QUIRE_NS_PER_S /* file systems' clocks tick coarsely */

static void to_hex(const uint8_t digest[32], char text[65]) {
    for (int i = 0; i < 32; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
}

/* ---- where the result is kept ------------------------------------------------------------------------------------------- */
/* Makes the folder; false when there is no place for it. */
static bool cache_folder(char *folder, size_t size) {
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;
    if (base != NULL && base[0] == '/') {
        length = snprintf(folder, size, "%s/quire", base);
    } else if (home != NULL && home[0] == '/') {
        length = snprintf(folder, size, "%s/.cache/quire", home);
    } else {
        return false;
    }
    if (length < 0 || (size_t)length + 16 > size) {
        return false;
    }
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(folder, 0700); /* what is there already stays; what cannot be made shows at the end */
        *slash = '/';
    }
    mkdir(folder, 0700);
    strcat(folder, "/weights");
    return mkdir(folder, 0700) == 0 || errno == EEXIST;
}

/* The note's file is named after the model's path. */
static bool note_path(const char *model_path, char *path, size_t size) {
    char folder[PATH_MAX], real[PATH_MAX], name[65];
    uint8_t digest[32];
    if (!cache_folder(folder, sizeof(folder)) || realpath(model_path, real) == NULL) {
        return false;
    }
    quire_sha256(real, strlen(real), digest);
    to_hex(digest, name);
    const int length = snprintf(path, size, "%s/%s", folder, name);
    return length > 0 && (size_t)length < size;
}

static bool read_note(const char *path, const char *stamp, uint8_t digest[32]) {
    char line[NOTE_BYTES];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    const size_t length = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[length] = '\0';
    const size_t stamp_length = strlen(stamp);
    if (length != stamp_length + 66 || strncmp(line, stamp, stamp_length) != 0 || line[stamp_length] != ' ') {
        return false;
    }
    for (int i = 0; i < 32; i++) {
        unsigned byte;
        if (sscanf(line + stamp_length + 1 + 2 * i, "%2x", &byte) != 1) {
            return false;
        }
        digest[i] = (uint8_t)byte;
    }
    return true;
}

static void write_note(const char *path, const char *stamp, const uint8_t digest[32]) {
    char text[65], temporary[PATH_MAX];
    if (snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid()) >= (int)sizeof(temporary)) {
        return;
    }
    FILE *file = fopen(temporary, "we");
    if (file == NULL) {
        return;
    }
    to_hex(digest, text);
    const bool written = fprintf(file, "%s %s\n", stamp, text) > 0;
    if (fclose(file) != 0 || !written || rename(temporary, path) != 0) {
        unlink(temporary);
    }
}

/* ---- hashing -------------------------------------------------------------------------------------------------------------- */
static enum quire_status hash_file(const char *path, struct quire_sha256 *sha, uint8_t *buffer, char *why, size_t why_bytes) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    ssize_t got;
    while ((got = read(fd, buffer, READ_BYTES)) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0) {
            quire_sha256_update(sha, buffer, (size_t)got);
        }
    }
    if (got < 0) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
    }
    close(fd);
    return got < 0 ? QUIRE_SYSTEM : QUIRE_OK;
}

struct parts {
    int n;
    char prefix[PATH_MAX];
};

/* A model in parts is named <prefix>-00001-of-0000N.gguf; anything else is one part. */
static struct parts parts_of(const char *model_path) {
    struct parts parts = {.n = 1};
    const char *of = strstr(model_path, "-of-");
    for (const char *next = of; next != NULL; next = strstr(next + 1, "-of-")) {
        of = next;
    }
    int n = of != NULL ? atoi(of + 4) : 1;
    if (n > 1 && n <= PARTS_MAX && llama_split_prefix(parts.prefix, sizeof(parts.prefix), model_path, 0, n) > 0) {
        parts.n = n;
    }
    return parts;
}

static enum quire_status part_path(const char *model_path, const struct parts *parts, int part, char *path, size_t size) {
    const int length = parts->n == 1 ? snprintf(path, size, "%s", model_path) : llama_split_path(path, size, parts->prefix, part, parts->n);
    return length > 0 && (size_t)length < size ? QUIRE_OK : QUIRE_TOO_LARGE;
}

/* Which files the parts are and when each was last touched: a writer can set a file's modification time back, not its change time. */
struct stamp {
    char text[65];
    bool settled; /* no part changed so lately that a further change could bear the same time */
};

static uint64_t time_ns(const struct timespec *time) { return (uint64_t)time->tv_sec * QUIRE_NS_PER_S + (uint64_t)time->tv_nsec; }

static enum quire_status stamp_of(const char *model_path, const struct parts *parts, struct stamp *stamp, char *why, size_t why_bytes) {
    struct timespec now;
    struct quire_sha256 sha;
    uint64_t newest_ns = 0;
    uint8_t digest[32];
    clock_gettime(CLOCK_REALTIME, &now);
    quire_sha256_init(&sha);
    for (int i = 0; i < parts->n; i++) {
        char path[PATH_MAX];
        struct stat status;
        QUIRE_FORWARD(part_path(model_path, parts, i, path, sizeof(path)));
        if (stat(path, &status) != 0) {
            snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
            return QUIRE_SYSTEM;
        }
        const uint64_t facts[] = {(uint64_t)status.st_dev, (uint64_t)status.st_ino, (uint64_t)status.st_size, time_ns(&status.st_mtim),
                                  time_ns(&status.st_ctim)};
        quire_sha256_update(&sha, facts, sizeof(facts));
        newest_ns = quire_max_u64(newest_ns, time_ns(&status.st_ctim));
    }
    quire_sha256_final(&sha, digest);
    to_hex(digest, stamp->text);
    stamp->settled = newest_ns + SETTLED_NS <= time_ns(&now);
    return QUIRE_OK;
}

enum quire_status digest_weights(const char *model_path, uint8_t digest[32], char *why, size_t why_bytes) {
    char note[PATH_MAX];
    struct stamp stamp;
    const struct parts parts = parts_of(model_path);
    QUIRE_FORWARD(stamp_of(model_path, &parts, &stamp, why, why_bytes));
    const bool keep = note_path(model_path, note, sizeof(note));
    if (keep && read_note(note, stamp.text, digest)) {
        return QUIRE_OK;
    }
    uint8_t *buffer = malloc(READ_BYTES);
    if (buffer == NULL) {
        return QUIRE_NO_MEMORY;
    }
    struct quire_sha256 sha;
    quire_sha256_init(&sha);
    enum quire_status status = QUIRE_OK;
    for (int i = 0; i < parts.n && status == QUIRE_OK; i++) {
        char path[PATH_MAX];
        status = part_path(model_path, &parts, i, path, sizeof(path));
        status = status == QUIRE_OK ? hash_file(path, &sha, buffer, why, why_bytes) : status;
    }
    free(buffer);
    QUIRE_FORWARD(status);
    quire_sha256_final(&sha, digest);
    if (keep && stamp.settled) {
        write_note(note, stamp.text, digest);
    }
    return QUIRE_OK;
}
