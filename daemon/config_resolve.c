/* What depends on the machine: memory limits, processors, folders. */
#include "daemon/config.h"
#include "proto/base/base.h"
#include "proto/base/memory_limit.h"
#include "proto/base/units.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define POOL_LEAST_BYTES (64ull << 20) /* of a pool sized by itself */
#define CONFIG_SEGMENT_STEP_BYTES (64u << 10)
#define POOL_STEP_BYTES (2ull << 20) /* whole huge pages */

/* ---- memory ------------------------------------------------------------------------------------------------------------------- */
static void resolve_pools(struct config *config) {
    uint32_t n_auto = 0;
    for (uint32_t i = 0; i < config->n_domains; i++) {
        n_auto += config->domains[i].pool_bytes == 0;
    }
    if (n_auto == 0) {
        return;
    }
    /* Nothing known gives the least size: modest, but it works. */
    uint64_t share = quire_memory_limit("/") / 4 / n_auto / POOL_STEP_BYTES * POOL_STEP_BYTES;
    for (uint32_t i = 0; i < config->n_domains; i++) {
        if (config->domains[i].pool_bytes == 0) {
            config->domains[i].pool_bytes = quire_max_u64(share, POOL_LEAST_BYTES);
        }
    }
}

/* ---- threads, users ----------------------------------------------------------------------------------------------------------- */
static uint32_t usable_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return (uint32_t)CPU_COUNT(&set);
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

static void resolve_members(struct config *config) {
    for (uint32_t i = 0; i < config->n_domains; i++) {
        struct config_domain *domain = &config->domains[i];
        if (domain->n_members == 0 && domain->n_guests == 0) {
            domain->members[0] = geteuid();
            domain->n_members = 1;
        }
    }
}

/* ---- folders ------------------------------------------------------------------------------------------------------------------ */
static enum quire_status resolve_socket(struct config *config, char *why, size_t why_bytes) {
    const char *service = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
    char path[4608], folder[4096];
    if (config->socket_path[0] == '/') {
        return QUIRE_OK;
    }
    if (config->socket_path[0] != '\0') {
        /* Clients have other working folders. */
        snprintf(path, sizeof path, "%s/%s", getcwd(folder, sizeof folder) != NULL ? folder : "", config->socket_path);
    } else if (service != NULL && service[0] == '/') {
        snprintf(path, sizeof path, "%.*s/quired.sock", (int)strcspn(service, ":"), service);
    } else if (user != NULL && user[0] == '/') {
        snprintf(path, sizeof path, "%s/quire/quired.sock", user);
    } else if (geteuid() == 0) {
        snprintf(path, sizeof path, "/run/quire/quired.sock");
    } else {
        snprintf(path, sizeof path, "/tmp/quire-%u/quired.sock", (unsigned)geteuid());
    }
    if (strlen(path) >= sizeof config->socket_path) {
        snprintf(why, why_bytes, "socket_path: %.200s is longer than a socket's path may be (%d); give a shorter one with --socket", path,
                 CONFIG_PATH_MAX - 1);
        return QUIRE_INVALID;
    }
    memcpy(config->socket_path, path, strlen(path) + 1);
    return QUIRE_OK;
}

/* Whether whoever does not own the folder could put a socket of their own there. */
static enum quire_status check_folder(const char *folder, char *why, size_t why_bytes) {
    struct stat info;
    if (lstat(folder, &info) != 0) {
        snprintf(why, why_bytes, "socket folder %s: %s", folder, strerror(errno));
        return QUIRE_SYSTEM;
    }
    if (S_ISLNK(info.st_mode) && (info.st_uid == 0 || info.st_uid == geteuid()) && stat(folder, &info) != 0) {
        snprintf(why, why_bytes, "socket folder %s: %s", folder, strerror(errno));
        return QUIRE_SYSTEM;
    }
    if (!S_ISDIR(info.st_mode) || (info.st_uid != geteuid() && info.st_uid != 0)) {
        snprintf(why, why_bytes, "socket folder %s belongs to user %u, not to user %u who runs quired; choose another with --socket",
                 folder, (unsigned)info.st_uid, (unsigned)geteuid());
        return QUIRE_DENIED;
    }
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0) {
        snprintf(why, why_bytes, "socket folder %s can be written by others (mode %04o); chmod go-w it, or choose another with --socket",
                 folder, (unsigned)info.st_mode & 07777u);
        return QUIRE_DENIED;
    }
    return QUIRE_OK;
}

enum quire_status config_prepare_socket_folder(const struct config *config, char *why, size_t why_bytes) {
    char folder[CONFIG_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", config->socket_path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        slash[slash == folder] = '\0';
    }
    const char *last = strrchr(folder, '/');
    bool ours = last != NULL && strncmp(last, "/quire", 6) == 0;
    /* /run/quire serves all users of a host, every other default folder one user. */
    mode_t mode = strcmp(folder, "/run/quire") == 0 ? 0755 : 0700;
    if (ours && mkdir(folder, mode) != 0 && errno != EEXIST) {
        snprintf(why, why_bytes, "socket folder %s: cannot be made (%s); choose another with --socket", folder, strerror(errno));
        return QUIRE_SYSTEM;
    }
    QUIRE_FORWARD(check_folder(folder, why, why_bytes));
    if (strncmp(folder, "/tmp/quire-", 11) == 0 && chmod(folder, 0700) != 0) {
        snprintf(why, why_bytes, "socket folder %s: cannot be made private (%s); choose another with --socket", folder, strerror(errno));
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

/* ---- all together ------------------------------------------------------------------------------------------------------------- */
/* Shown as people write it. */
struct size_text {
    char text[QUIRE_UNITS_BYTES];
};
static struct size_text size_of(uint64_t bytes) {
    struct size_text size;
    quire_exact_size(bytes, size.text, sizeof size.text);
    return size;
}

static enum quire_status check_file_size(const struct config_file *file, uint64_t segment_bytes, char *why, size_t why_bytes) {
    uint64_t segments = file->size_bytes / segment_bytes, least = CONFIG_LEAST_SEGMENTS;
    if (segments < least) {
        snprintf(why, why_bytes, "tiers: %.300s: size %s is less than %u segments: give %s at least, or a smaller disk.segment_bytes (%s)",
                 file->path, size_of(file->size_bytes).text, CONFIG_LEAST_SEGMENTS, size_of(segment_bytes * least).text,
                 size_of(segment_bytes).text);
        return QUIRE_INVALID;
    }
    if (file->size_bytes % segment_bytes != 0) {
        snprintf(why, why_bytes, "tiers: %.300s: size %s is not a multiple of disk.segment_bytes (%s): give %s or %s", file->path,
                 size_of(file->size_bytes).text, size_of(segment_bytes).text, size_of(segments * segment_bytes).text,
                 size_of((segments + 1) * segment_bytes).text);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

/* One folder, also by another way of writing it. */
static bool one_folder(const char *path, size_t n, const char *other, size_t m) {
    char folders[2][CONFIG_FILE_PATH_MAX + 2];
    struct stat facts[2];
    if (n == m && memcmp(path, other, n) == 0) {
        return true;
    }
    snprintf(folders[0], sizeof folders[0], "%.*s/", (int)n, path);
    snprintf(folders[1], sizeof folders[1], "%.*s/", (int)m, other);
    return stat(folders[0], &facts[0]) == 0 && stat(folders[1], &facts[1]) == 0 && facts[0].st_ino == facts[1].st_ino &&
           facts[0].st_dev == facts[1].st_dev;
}

/* What quired writes beside a file replaces whatever has that name: none of it may be another file of the set. */
static enum quire_status check_beside(const struct config *config, uint32_t i, char *why, size_t why_bytes) {
    static const char *const endings[] = {"", ".meta", ".meta.new", ".snapshot", ".snapshot.new", ".quire-new"};
    const char *path = config->files[i].path, *name = strrchr(path, '/') + 1;
    for (uint32_t j = 0; j < config->n_files; j++) {
        const char *other = config->files[j].path, *other_name = strrchr(other, '/') + 1;
        size_t n = strlen(other_name);
        if (j == i || strncmp(name, other_name, n) != 0 || !one_folder(path, (size_t)(name - path), other, (size_t)(other_name - other))) {
            continue;
        }
        for (size_t k = 0; k < QUIRE_ARRAY_LEN(endings); k++) {
            if (strcmp(name + n, endings[k]) == 0) {
                snprintf(why, why_bytes, "tiers: %.300s: %s %.300s%s: give another path", path,
                         k == 0 ? "is the same file as" : "quired itself writes there, beside", other, k == 0 ? ", in other words" : "");
                return QUIRE_INVALID;
            }
        }
    }
    return QUIRE_OK;
}

/* The log's files: sizes that go together, paths that do not depend on the working folder. */
static enum quire_status resolve_files(struct config *config, char *why, size_t why_bytes) {
    uint64_t segment_bytes = config->disk.segment_bytes, segments = 0;
    char folder[4096], path[4608];
    if (segment_bytes % CONFIG_SEGMENT_STEP_BYTES != 0) {
        snprintf(why, why_bytes, "disk.segment_bytes (%s) must be a multiple of %s", size_of(segment_bytes).text,
                 size_of(CONFIG_SEGMENT_STEP_BYTES).text);
        return QUIRE_INVALID;
    }
    for (uint32_t i = 0; i < config->n_files; i++) {
        struct config_file *file = &config->files[i];
        QUIRE_FORWARD(check_file_size(file, segment_bytes, why, why_bytes));
        segments += file->size_bytes / segment_bytes;
        if (segments > QUIRE_LOG_MAX_SEGMENTS) {
            snprintf(why, why_bytes, "tiers: more than %u segments: give a larger disk.segment_bytes (now %s), or smaller files",
                     QUIRE_LOG_MAX_SEGMENTS, size_of(segment_bytes).text);
            return QUIRE_INVALID;
        }
        if (file->path[0] != '/') {
            snprintf(path, sizeof path, "%s/%s", getcwd(folder, sizeof folder) != NULL ? folder : "", file->path);
            if (strlen(path) >= sizeof file->path) {
                snprintf(why, why_bytes, "tiers: %.300s: the path from / is longer than %zu bytes", path, sizeof file->path - 1);
                return QUIRE_INVALID;
            }
            memcpy(file->path, path, strlen(path) + 1);
        }
    }
    for (uint32_t i = 0; i < config->n_files; i++) {
        QUIRE_FORWARD(check_beside(config, i, why, why_bytes));
    }
    return QUIRE_OK;
}

/* What options of the disk tier mean together. Without a disk tier they mean nothing. */
static enum quire_status resolve_disk(struct config *config, char *why, size_t why_bytes) {
    const struct config_disk *disk = &config->disk;
    if (config->n_files == 0) {
        return QUIRE_OK;
    }
    QUIRE_FORWARD(resolve_files(config, why, why_bytes));
    if (disk->pager.batch_bytes > disk->segment_bytes / PAGER_SEGMENT_BATCHES) {
        snprintf(why, why_bytes, "disk.batch_bytes (%s) must not be more than a quarter of disk.segment_bytes (%s)",
                 size_of(disk->pager.batch_bytes).text, size_of(disk->segment_bytes).text);
        return QUIRE_INVALID;
    }
    if (disk->stall_warn_ms > disk->stall_limit_ms) {
        snprintf(why, why_bytes,
                 "disk.stall_warn_ms (%u ms) must not be above disk.stall_limit_ms (%u ms): a drive would be given up before it is told",
                 disk->stall_warn_ms, disk->stall_limit_ms);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

enum quire_status config_resolve(struct config *config, char *why, size_t why_bytes) {
    if (config->pager.reclaim_high_pct < config->pager.reclaim_low_pct) {
        snprintf(why, why_bytes, "pager.reclaim_high_pct (%u) must not be below pager.reclaim_low_pct (%u)", config->pager.reclaim_high_pct,
                 config->pager.reclaim_low_pct);
        return QUIRE_INVALID;
    }
    if (config->ingest_window_bytes > config->ingest_bytes) {
        snprintf(why, why_bytes, "ingest_window_bytes (%llu) must not exceed ingest_bytes (%llu)",
                 (unsigned long long)config->ingest_window_bytes, (unsigned long long)config->ingest_bytes);
        return QUIRE_INVALID;
    }
    QUIRE_FORWARD(resolve_disk(config, why, why_bytes));
    QUIRE_FORWARD(resolve_socket(config, why, why_bytes));
    if (config->work_threads == 0) {
        config->work_threads = (uint32_t)quire_max_u64(1, quire_min_u64(usable_processors(), 4));
    }
    if (config->n_files > 0) { /* one may wait for the metadata's drive, and no second one: stores go on */
        config->work_threads = (uint32_t)quire_max_u64(config->work_threads, 2);
    }
    resolve_members(config);
    resolve_pools(config);
    return QUIRE_OK;
}
