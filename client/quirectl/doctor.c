#include "client/quirectl/doctor.h"

#include "client/quire.h"
#include "client/quirectl/format.h"
#include "client/quirectl/refusals.h"
#include "codec/checksum.h"
#include "proto/base/base.h"
#include "proto/base/memory_limit.h"
#include "proto/base/units.h"
#include "proto/base/uring.h"
#include "proto/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static void find(struct doctor_finding *finding, enum doctor_level level, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
    finding->level = level;
}

__attribute__((format(printf, 2, 3))) static void advise(struct doctor_finding *finding, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(finding->advice, sizeof finding->advice, format, args);
    va_end(args);
}

/* First line of a file below the view's root; empty when it cannot be read. */
static void read_line(const struct doctor_view *view, const char *below, char *line, size_t line_bytes) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", strcmp(view->root, "/") == 0 ? "" : view->root, below);
    FILE *file = fopen(path, "re");
    line[0] = '\0';
    if (file != NULL) {
        if (fgets(line, (int)line_bytes, file) == NULL) {
            line[0] = '\0';
        }
        fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
}

/* ---- the daemon ---------------------------------------------------------------------------------------------------------------- */
static void check_socket(const struct doctor_view *view, struct doctor_finding *finding) {
    if (view->status == NULL) {
        find(finding, DOCTOR_FAIL, "%.200s", view->connect_error);
        advise(finding, "start `quired` as this user, or name its socket with --socket or $QUIRE_SOCKET; its log says where it listens");
        return;
    }
    find(finding, DOCTOR_OK, "quired answers at %.160s", view->status->daemon->socket);
}

static void check_state(const struct doctor_view *view, struct doctor_finding *finding) {
    if (view->status == NULL) {
        find(finding, DOCTOR_WARN, "unknown without a daemon");
        return;
    }
    const Quire__Wire__DaemonInfo *daemon = view->status->daemon;
    char uptime[QUIRE_UNITS_BYTES];
    quire_human_duration(daemon->uptime_ms, uptime, sizeof uptime);
    bool serving = strcmp(daemon->state, "serving") == 0;
    find(finding, serving ? DOCTOR_OK : DOCTOR_WARN, "%s since %s", daemon->state, uptime);
    if (!serving) {
        advise(finding, "it is about to stop; start it again if that was not meant");
    }
}

static void check_version(const struct doctor_view *view, struct doctor_finding *finding) {
    if (view->status == NULL) {
        find(finding, DOCTOR_OK, "quirectl %s; no daemon to compare with", quire_version());
        return;
    }
    bool same = strcmp(view->status->daemon->version, quire_version()) == 0;
    find(finding, same ? DOCTOR_OK : DOCTOR_WARN, "quirectl %s, quired %.60s", quire_version(), view->status->daemon->version);
    if (!same) {
        advise(finding, "install both from the same release; the wire is compatible within a major version");
    }
}

#define CERTIFICATE_SOON_S (7 * 24 * 3600)

static void check_certificate(const struct doctor_view *view, struct doctor_finding *finding) {
    int64_t until_s = view->status != NULL ? view->status->daemon->certificate_until_s : 0, left_s = until_s - (int64_t)time(NULL);
    char left[QUIRE_UNITS_BYTES];
    if (until_s == 0) {
        find(finding, DOCTOR_OK, "none is shown to other hosts");
        return;
    }
    quire_human_duration((uint64_t)(left_s < 0 ? -left_s : left_s) * 1000, left, sizeof left);
    if (left_s <= 0) {
        find(finding, DOCTOR_FAIL, "expired %s ago: other hosts refuse it", left);
    } else {
        find(finding, left_s < CERTIFICATE_SOON_S ? DOCTOR_WARN : DOCTOR_OK, "expires in %s", left);
    }
    if (left_s < CERTIFICATE_SOON_S) {
        advise(finding, "put a new one at listen.tls_certificate, then `quirectl config reload`: sessions go on");
    }
}

/* All reasons for which stores were refused, and what to do about the first of them; false: there was none. */
static bool find_refusals(const Quire__Wire__AdminReply *counters, struct doctor_finding *finding) {
    char text[sizeof finding->text] = "";
    const struct refusal *first = NULL;
    for (unsigned i = 0; i < n_refusals; i++) {
        const uint64_t n = (uint64_t)format_counter(counters, refusals[i].counter);
        const size_t used = strlen(text);
        if (n > 0) {
            snprintf(text + used, sizeof text - used, "%s%llu %s (%s)", first != NULL ? ", " : "", (unsigned long long)n, refusals[i].text,
                     refusals[i].counter);
            first = first != NULL ? first : &refusals[i];
        }
    }
    if (first != NULL) {
        find(finding, DOCTOR_WARN, "refused: %.220s", text);
        advise(finding, "%s", first->advice);
    }
    return first != NULL;
}

static void check_capacity(const struct doctor_view *view, struct doctor_finding *finding) {
    if (view->counters == NULL) {
        find(finding, DOCTOR_WARN, "unknown without a daemon");
        return;
    }
    uint64_t asked = (uint64_t)format_counter(view->counters, "lookup_keys"),
             evicted = (uint64_t)format_counter(view->counters, "misses_evicted");
    char percent[FORMAT_BYTES];
    format_percent(evicted, asked, percent);
    if (find_refusals(view->counters, finding)) {
        return;
    }
    if (asked > 0 && evicted * 5 > asked) {
        find(finding, DOCTOR_WARN, "%s of the keys asked for had been evicted", percent);
        advise(finding, "the pool is smaller than what is reused: raise pool_bytes (--pool-size)");
    } else {
        find(finding, DOCTOR_OK, "%s of the keys asked for had been evicted, no store was refused", asked > 0 ? percent : "none");
    }
}

/* ---- the disk tier ------------------------------------------------------------------------------------------------------------ */
static const Quire__Wire__DiskInfo *disk_of(const struct doctor_view *view) { return view->status != NULL ? view->status->disk : NULL; }

/* What may be wrong with a file, the worst last. */
enum trouble { NO_TROUBLE, BUFFERED, FAILING, REFUSING, STALLED, OUT_OF_USE };

static enum trouble trouble_of(const Quire__Wire__DiskFileInfo *file, char *text, size_t text_bytes) {
    const uint64_t failed = file->read_errors + file->write_errors;
    if (!file->in_use) {
        snprintf(text, text_bytes, "%.80s is out of use: %.120s", file->path, file->why);
        return OUT_OF_USE;
    }
    if (file->stalled) {
        snprintf(text, text_bytes, "%.80s is stalled: the drive does not answer", file->path);
        return STALLED;
    }
    if (file->refuses) {
        snprintf(text, text_bytes, "%.80s takes no writes: %.120s", file->path, file->refuses_why);
        return REFUSING;
    }
    if (failed + file->corrupt > 0) {
        snprintf(text, text_bytes, "%.80s: %llu read%s or write%s failed, %llu record%s damaged", file->path, (unsigned long long)failed,
                 quire_s(failed), quire_s(failed), (unsigned long long)file->corrupt, quire_s(file->corrupt));
        return FAILING;
    }
    snprintf(text, text_bytes, "%.80s is %.120s", file->path, file->direct ? "well" : file->why);
    return file->direct ? NO_TROUBLE : BUFFERED;
}

/* Of the worst files one with its reason, of every other that something is wrong with its name. */
/* Beside it the metadata must be written. */
static const char *first_in_use(const Quire__Wire__DiskInfo *disk) {
    for (size_t i = 0; i < disk->n_files; i++) {
        if (disk->files[i]->in_use) {
            return disk->files[i]->path;
        }
    }
    return "the first file";
}

static enum trouble find_troubles(const Quire__Wire__DiskInfo *disk, struct doctor_finding *finding) {
    char text[sizeof finding->text], others[sizeof finding->text] = "";
    size_t worst = 0;
    enum trouble most = NO_TROUBLE;
    for (size_t i = 0; i < disk->n_files; i++) {
        enum trouble trouble = trouble_of(disk->files[i], text, sizeof text);
        worst = trouble > most ? i : worst;
        most = trouble > most ? trouble : most;
    }
    for (size_t i = 0; i < disk->n_files; i++) {
        if (i != worst && trouble_of(disk->files[i], text, sizeof text) != NO_TROUBLE) {
            size_t used = strlen(others);
            snprintf(others + used, sizeof others - used, "%s%s", used > 0 ? ", " : "; not well either: ", disk->files[i]->path);
        }
    }
    if (most != NO_TROUBLE) {
        trouble_of(disk->files[worst], text, sizeof text);
        find(finding, most >= REFUSING ? DOCTOR_FAIL : DOCTOR_WARN, "%s%s", text, others);
    }
    return most;
}

static void check_disk(const struct doctor_view *view, struct doctor_finding *finding) {
    static const char *const advices[] = {
        [BUFFERED] =
            "the page cache holds a second copy and takes memory from the pools: use a file system with O_DIRECT, such as ext4 or xfs",
        [FAILING] = "look at the drive (dmesg, smartctl); `quirectl verify` reads all that is stored",
        [REFUSING] =
            "memory keeps what there is room for, deletions are refused, reads go on: make room on its file system, or have it writable",
        [STALLED] = "look at the drive (dmesg, smartctl); disk.stall_limit_ms tells when it is given up, deletions wait until then",
        [OUT_OF_USE] =
            "what is only there is a miss; look at the drive. When it is back, or an empty file stands there, a restart uses it anew"};
    const Quire__Wire__DiskInfo *disk = disk_of(view);
    if (view->status == NULL) {
        find(finding, DOCTOR_WARN, "unknown without a daemon");
        return;
    }
    if (disk == NULL) {
        find(finding, DOCTOR_OK, "no disk tier: a restart begins with nothing stored");
        return;
    }
    enum trouble trouble = find_troubles(disk, finding);
    if (trouble < REFUSING && disk->meta_fails) {
        find(finding, DOCTOR_FAIL, "the metadata cannot be written beside %.160s: no deletion and no pin lasts", first_in_use(disk));
        advise(finding,
               "make room there, or give quired the right to write; its log says what failed (disk_meta_failed). It tries again by itself");
    } else if (trouble != NO_TROUBLE) {
        advise(finding, "%s", advices[trouble]);
    } else {
        find(finding, DOCTOR_OK, "%zu file%s in use, read and written directly", disk->n_files, disk->n_files == 1 ? "" : "s");
    }
}

/* False: what is there to be told of this file was. `room`: what is free beside it. Metadata is replaced by a new file each time. */
static bool has_room(const char *path, struct doctor_finding *finding, char room[QUIRE_UNITS_BYTES]) {
    char folder[512], has[QUIRE_UNITS_BYTES], size[QUIRE_UNITS_BYTES];
    struct statvfs info;
    struct stat facts;
    snprintf(folder, sizeof folder, "%.500s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        return true;
    }
    slash[slash == folder] = '\0';
    if (statvfs(folder, &info) != 0) {
        find(finding, DOCTOR_WARN, "%.160s cannot be looked at (%s)", folder, strerror(errno));
        advise(finding, "run quirectl as root or as the user of quired to see more");
        return false;
    }
    uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    quire_human_size(free_bytes, room, QUIRE_UNITS_BYTES);
    if (free_bytes < 64ull << 20) {
        find(finding, DOCTOR_WARN, "%s are free beside %.160s", room, path);
        advise(finding, "what namespaces and pins there are is saved to a new file each time: make room");
        return false;
    }
    if (stat(path, &facts) != 0) {
        find(finding, DOCTOR_WARN, "%.160s cannot be looked at (%s)", path, strerror(errno));
        advise(finding, "run quirectl as root or as the user of quired to see more");
        return false;
    }
    if ((uint64_t)facts.st_blocks * 512 < (uint64_t)facts.st_size) {
        quire_human_size((uint64_t)facts.st_blocks * 512, has, sizeof has);
        quire_human_size((uint64_t)facts.st_size, size, sizeof size);
        find(finding, DOCTOR_WARN, "of %.120s only %s of %s are allocated, %s are free beside it", path, has, size, room);
        advise(finding,
               "writes fail when its file system is full: `fallocate -l SIZE FILE` gives it all of its space, also while quired runs");
        return false;
    }
    return true;
}

/* The first file in use of which there is something to be told. */
static void check_disk_room(const struct doctor_view *view, struct doctor_finding *finding) {
    const Quire__Wire__DiskInfo *disk = disk_of(view);
    char room[QUIRE_UNITS_BYTES] = "";
    if (view->status == NULL) {
        find(finding, DOCTOR_WARN, "unknown without a daemon");
        return;
    }
    if (disk == NULL || disk->n_files == 0) {
        find(finding, DOCTOR_OK, "nothing to look at without a disk tier");
        return;
    }
    for (size_t i = 0; i < disk->n_files; i++) {
        if (disk->files[i]->in_use && !has_room(disk->files[i]->path, finding, room)) {
            return;
        }
    }
    find(finding, DOCTOR_OK, "files have all of their space; beside the last one %s are free", room);
}

/* What reading everything again found, in the background or on request. */
static void check_scrub(const struct doctor_view *view, struct doctor_finding *finding) {
    const Quire__Wire__DiskInfo *disk = disk_of(view);
    if (view->status == NULL) {
        find(finding, DOCTOR_WARN, "unknown without a daemon");
    } else if (disk == NULL) {
        find(finding, DOCTOR_OK, "nothing to verify without a disk tier");
    } else if (disk->scrub_damaged + disk->scrub_damaged_segments > 0) {
        find(finding, DOCTOR_WARN, "%llu record%s damaged and dropped, header or footer of %llu segment%s damaged, %llu not verified",
             (unsigned long long)disk->scrub_damaged, quire_s(disk->scrub_damaged), (unsigned long long)disk->scrub_damaged_segments,
             quire_s(disk->scrub_damaged_segments), (unsigned long long)disk->scrub_unread_segments);
        advise(finding,
               "look at the drive (dmesg, smartctl). A start that reads the log may not find what such segments hold: stop quired, "
               "and `quirectl verify --repair` with all files of the set mends them");
    } else if (disk->scrub_unread_segments > 0) {
        find(finding, DOCTOR_WARN, "%llu segment%s not verified, or only in part: nobody knows whether what is there is whole",
             (unsigned long long)disk->scrub_unread_segments, disk->scrub_unread_segments == 1 ? " was" : "s were");
        advise(finding,
               "quired's log says why (disk_unread): look at the drive (dmesg, smartctl), or give it memory; `quirectl verify` tries "
               "all of them again");
    } else {
        find(finding, DOCTOR_OK, "nothing was found damaged; all was verified %llu time%s since the start",
             (unsigned long long)disk->scrub_passes, quire_s(disk->scrub_passes));
    }
}

/* ---- limits -------------------------------------------------------------------------------------------------------------------- */
static void check_memory(const struct doctor_view *view, struct doctor_finding *finding) {
    uint64_t limit = quire_memory_limit(view->root), pools = 0;
    char limit_text[QUIRE_UNITS_BYTES], pools_text[QUIRE_UNITS_BYTES];
    for (size_t i = 0; view->status != NULL && i < view->status->n_tiers; i++) {
        if (strcmp(view->status->tiers[i]->name, "disk") == 0) {
            continue;
        }
        pools += view->status->tiers[i]->capacity_bytes;
    }
    quire_human_size(limit, limit_text, sizeof limit_text);
    quire_human_size(pools, pools_text, sizeof pools_text);
    if (limit == 0) {
        find(finding, DOCTOR_WARN, "neither the host's memory nor a control group's limit can be read");
        advise(finding, "give the pool's size with --pool-size");
    } else if (pools * 10 > limit * 8) {
        find(finding, DOCTOR_WARN, "pools take %s of the %s that are allowed here", pools_text, limit_text);
        advise(finding, "leave the workers a fifth or more: lower pool_bytes, or raise the control group's limit");
    } else if (view->status == NULL) {
        find(finding, DOCTOR_OK, "%s are allowed here (host and control groups)", limit_text);
    } else {
        find(finding, DOCTOR_OK, "pools take %s of the %s that are allowed here (host and control groups)", pools_text, limit_text);
    }
}

/* The soft limit of the daemon's process by its line in /proc/PID/limits, else this process's own. */
static uint64_t limit_of(const struct doctor_view *view, const char *title, int resource, const char **whose) {
    char path[64], line[256];
    struct rlimit own;
    *whose = "quired's";
    snprintf(path, sizeof path, "/proc/%u/limits", view->status != NULL ? view->status->daemon->pid : 0);
    FILE *file = view->status != NULL ? fopen(path, "re") : NULL;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, title, strlen(title)) == 0) {
            const char *value = line + strlen(title) + strspn(line + strlen(title), " ");
            fclose(file);
            return strncmp(value, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(value, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    *whose = "this user's";
    return getrlimit(resource, &own) != 0 || own.rlim_cur == RLIM_INFINITY ? UINT64_MAX : own.rlim_cur;
}

static void check_descriptors(const struct doctor_view *view, struct doctor_finding *finding) {
    const char *whose;
    uint64_t limit = limit_of(view, "Max open files", RLIMIT_NOFILE, &whose);
    bool enough = limit >= 4096 + 256;
    if (limit == UINT64_MAX) {
        find(finding, DOCTOR_OK, "%s limit of open files: none", whose);
        return;
    }
    find(finding, enough ? DOCTOR_OK : DOCTOR_WARN, "%s limit of open files: %llu%s", whose, (unsigned long long)limit,
         enough ? "" : ", a session takes up to 4");
    if (!enough) {
        advise(finding, "raise `ulimit -Hn` before quired starts, or LimitNOFILE= in its unit");
    }
}

static void check_memlock(const struct doctor_view *view, struct doctor_finding *finding) {
    const char *whose;
    char text[QUIRE_UNITS_BYTES];
    uint64_t limit = limit_of(view, "Max locked memory", RLIMIT_MEMLOCK, &whose);
    quire_human_size(limit, text, sizeof text);
    const Quire__Wire__DiskInfo *disk = disk_of(view);
    bool enough = limit >= 64ull << 20, unregistered = disk != NULL && strcmp(disk->backend, "io_uring") == 0 && !disk->memory_registered;
    find(finding, enough && !unregistered ? DOCTOR_OK : DOCTOR_WARN, "%s limit of locked memory: %s%s", whose,
         limit == UINT64_MAX ? "none" : text, unregistered ? "; the pools are not registered with io_uring" : "");
    if (unregistered) {
        advise(finding, "each read from disk pins its pages anew: raise LimitMEMLOCK= in the unit (`ulimit -l`) to the size of the pools");
    } else if (!enough) {
        advise(finding, "memory registered with devices counts here: raise `ulimit -l`, or LimitMEMLOCK=infinity in the unit; sharing on "
                        "one host works without");
    }
}

/* ---- the kernel ---------------------------------------------------------------------------------------------------------------- */
/* The choice in brackets: "always within_size [advise] never". */
static void bracketed(const char *line, char *choice, size_t choice_bytes) {
    const char *open = strchr(line, '['), *close = open != NULL ? strchr(open, ']') : NULL;
    snprintf(choice, choice_bytes, "%.*s", close != NULL ? (int)(close - open - 1) : 0, close != NULL ? open + 1 : "");
}

static void check_huge_pages(const struct doctor_view *view, struct doctor_finding *finding) {
    char line[128], shmem[32], reserved[32];
    bool used = false;
    read_line(view, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", line, sizeof line);
    read_line(view, "/proc/sys/vm/nr_hugepages", reserved, sizeof reserved);
    bracketed(line, shmem, sizeof shmem);
    for (size_t i = 0; view->status != NULL && i < view->status->n_tiers; i++) {
        used = used || view->status->tiers[i]->huge_pages;
    }
    if (used) {
        find(finding, DOCTOR_OK, "pools use huge pages");
    } else if (shmem[0] == '\0') {
        find(finding, DOCTOR_WARN, "this kernel has no huge pages for shared memory; %s reserved", reserved[0] != '\0' ? reserved : "none");
        advise(finding, "reads of large blocks are a little slower; nothing else is needed");
    } else if (strcmp(shmem, "never") == 0 || strcmp(shmem, "deny") == 0) {
        find(finding, DOCTOR_WARN, "huge pages for shared memory are off (shmem_enabled: %s)", shmem);
        advise(finding, "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled as root, then restart quired");
    } else {
        find(finding, DOCTOR_OK, "shmem_enabled: %s%s", shmem, view->status != NULL ? ", the pools have none so far" : "");
    }
}

static void try_io_uring(struct doctor_finding *finding) {
    char why[200];
    int error = quire_uring_try();
    if (error == 0) {
        find(finding, DOCTOR_OK, "works, as a disk tier would use it");
        return;
    }
    quire_uring_explain(error, why, sizeof why);
    find(finding, DOCTOR_WARN, "%s", why);
    advise(finding,
           "memory tiers do not need it, and a disk tier goes on with threads: they do the same with more work for the processors");
}

/* What quired itself uses counts more than what this process could. */
static void check_io_uring(const struct doctor_view *view, struct doctor_finding *finding) {
    const Quire__Wire__DiskInfo *disk = disk_of(view);
    if (disk == NULL) {
        try_io_uring(finding);
        return;
    }
    bool used = strcmp(disk->backend, "io_uring") == 0;
    char backend[200];
    format_backend(disk, backend, sizeof backend);
    find(finding, used ? DOCTOR_OK : DOCTOR_WARN, "quired reads and writes by %s", backend);
    if (!used) {
        advise(finding, "threads do the same with more work for the processors: leave disk.io_backend on auto; where io_uring is "
                        "forbidden, allow it in "
                        "the container's seccomp profile, or by sysctl kernel.io_uring_disabled=0, on Linux 5.15 or later");
    }
}

static void check_memfd(const struct doctor_view *view, struct doctor_finding *finding) {
    (void)view;
    int fd = memfd_create("quire-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, 4096) != 0) {
        find(finding, DOCTOR_FAIL, "memfd_create does not work (%s)", strerror(errno));
        advise(finding, "pools are sealed memfds: allow memfd_create, and memory in the container or control group");
    } else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) != 0) {
        find(finding, DOCTOR_FAIL, "memory cannot be sealed against writing (%s)", strerror(errno));
        advise(finding, "needs Linux 5.1 or newer");
    } else {
        find(finding, DOCTOR_OK, "sealed shared memory works");
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void check_pidfd(const struct doctor_view *view, struct doctor_finding *finding) {
    (void)view;
    long fd = syscall(__NR_pidfd_open, getpid(), 0);
    if (fd >= 0) {
        close((int)fd);
        find(finding, DOCTOR_OK, "the end of a process can be waited for");
        return;
    }
    find(finding, DOCTOR_WARN, "pidfd_open does not work (%s)", strerror(errno));
    advise(finding, "needs Linux 5.3 or newer and a seccomp profile that allows it; memory of kicked sessions is freed later without");
}

static void check_shm(const struct doctor_view *view, struct doctor_finding *finding) {
    struct statvfs info;
    char size[QUIRE_UNITS_BYTES];
    (void)view;
    if (statvfs("/dev/shm", &info) != 0) {
        find(finding, DOCTOR_WARN, "/dev/shm is not there (%s)", strerror(errno));
        advise(finding, "quired does not use it, but many engines do: mount a tmpfs");
        return;
    }
    quire_human_size((uint64_t)info.f_blocks * info.f_frsize, size, sizeof size);
    find(finding, DOCTOR_OK, "%s; pools are memfds and not bound by it", size);
}

static void check_kernels(const struct doctor_view *view, struct doctor_finding *finding) {
    (void)view;
    bool wide = strcmp(quire_checksum_kernel(), "avx2") == 0 || strcmp(quire_checksum_kernel(), "avx512") == 0;
    find(finding, wide ? DOCTOR_OK : DOCTOR_WARN, "checksums by %s, SHA-256 by %s", quire_checksum_kernel(),
         quire_sha256_blocks_best() == quire_sha256_blocks_c ? "plain C" : "the processor's own instructions");
    if (!wide) {
        advise(finding, "this processor, or the virtual machine's model of it, has no AVX2: stores and verified reads are slower");
    }
}

const struct doctor_entry doctor_entries[] = {
    {"socket", check_socket},         {"state", check_state},
    {"versions", check_version},      {"certificate", check_certificate},
    {"room", check_capacity},         {"disk", check_disk},
    {"disk room", check_disk_room},   {"disk scrub", check_scrub},
    {"memory", check_memory},         {"open files", check_descriptors},
    {"locked memory", check_memlock}, {"huge pages", check_huge_pages},
    {"memfd", check_memfd},           {"pidfd", check_pidfd},
    {"io_uring", check_io_uring},     {"/dev/shm", check_shm},
    {"ucx", doctor_check_ucx},        {"processor", check_kernels},
};
const unsigned doctor_n_entries = QUIRE_ARRAY_LEN(doctor_entries);
