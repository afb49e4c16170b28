#include "daemon/disk/snapshot.h"

#include "daemon/disk/meta.h"
#include "daemon/disk/sidecar.h"
#include "daemon/loop.h"
#include "pager/disk.h"
#include "proto/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Written so far, what is behind goes to the drive now: the last sync is short. */
#define SYNC_BYTES (64ull << 20)

#define CHUNK_BYTES (sizeof(struct quire_snapshot_chunk) + QUIRE_SNAPSHOT_CHUNK * sizeof(struct quire_snapshot_entry))

struct snapshot_path {
    char name[CONFIG_FILE_PATH_MAX + 16], beside[CONFIG_FILE_PATH_MAX + 24];
};

static struct snapshot_path path_of(const struct disk_set *set) {
    struct snapshot_path path;
    snprintf(path.name, sizeof path.name, "%s.snapshot", set->files[0].path);
    snprintf(path.beside, sizeof path.beside, "%s.new", path.name);
    return path;
}

static struct sidecar ours(const struct disk_set *set, const char *name) {
    return (struct sidecar){.path = name, .magic = QUIRE_SNAPSHOT_MAGIC, .set_id = set->set_id};
}

static struct quire_snapshot_head head_of(const struct disk_set *set, uint64_t generation, uint64_t id) {
    struct quire_snapshot_head head = {
        .generation = generation, .id = id, .unit_bytes = set->geometry.unit_bytes, .segment_units = set->geometry.segment_units};
    memcpy(head.set_id, set->set_id, sizeof head.set_id);
    return head;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

struct saving {
    const struct pager *pager;
    int fd;
    uint64_t until_ns, at, synced, written;
    struct quire_snapshot_head head;
    uint32_t *openings;
    struct { /* as it lies in the file */
        struct quire_snapshot_chunk head;
        struct quire_snapshot_entry entries[QUIRE_SNAPSHOT_CHUNK];
    } * chunk;
};

static enum quire_status put(struct saving *saving, const void *bytes, size_t size, uint64_t at) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(saving->fd, (const uint8_t *)bytes + done, size - done, (off_t)(at + done));
        if (n < 0 && errno != EINTR) {
            return errno == ENOSPC || errno == EDQUOT ? QUIRE_FULL : QUIRE_SYSTEM;
        }
        done += n > 0 ? (size_t)n : 0;
        saving->written += n > 0 ? (uint64_t)n : 0;
    }
    return QUIRE_OK;
}

static enum quire_status put_chunk(struct saving *saving, uint32_t number, uint32_t n) {
    size_t bytes = sizeof saving->chunk->head + n * sizeof saving->chunk->entries[0];
    quire_snapshot_chunk_seal(saving->head.id, number, saving->chunk->entries, n, &saving->chunk->head);
    QUIRE_FORWARD(put(saving, saving->chunk, bytes, saving->at));
    saving->at += bytes;
    if (saving->at - saving->synced >= SYNC_BYTES) {
        saving->synced = saving->at;
        if (fdatasync(saving->fd) != 0) {
            return QUIRE_SYSTEM;
        }
    }
    return loop_now_ns() < saving->until_ns ? QUIRE_OK : QUIRE_TIMEOUT;
}

static enum quire_status put_chunks(struct saving *saving) {
    struct pager_disk_cursor cursor = {0};
    uint32_t number = 0, n = 0;
    while (pager_disk_next_live(saving->pager, &cursor, &saving->chunk->entries[n])) {
        saving->head.n_entries++;
        if (++n == QUIRE_SNAPSHOT_CHUNK) {
            QUIRE_FORWARD(put_chunk(saving, number++, n));
            n = 0;
        }
    }
    return n > 0 ? put_chunk(saving, number, n) : QUIRE_OK;
}

/* Everything behind the head, then the head: only now is it known how many there are. What a crash leaves
   is known as ours. */
static enum quire_status put_all(struct saving *saving) {
    saving->head.magic = QUIRE_SNAPSHOT_MAGIC;
    QUIRE_FORWARD(put(saving, &saving->head, sizeof saving->head, 0));
    saving->at = quire_snapshot_chunks_at(&saving->head);
    QUIRE_FORWARD(put_chunks(saving));
    uint8_t *head = malloc(quire_snapshot_chunks_at(&saving->head));
    if (head == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire_snapshot_head_encode(&saving->head, saving->openings, head);
    enum quire_status status = put(saving, head, quire_snapshot_chunks_at(&saving->head), 0);
    free(head);
    return status == QUIRE_OK && fsync(saving->fd) != 0 ? QUIRE_SYSTEM : status;
}

static enum quire_status save_to(struct saving *saving, const struct snapshot_path *path, const struct sidecar *beside) {
    saving->fd = sidecar_create(beside);
    if (saving->fd < 0) {
        return QUIRE_SYSTEM;
    }
    enum quire_status status = put_all(saving);
    int error = errno;
    if (close(saving->fd) != 0 && status == QUIRE_OK) {
        return QUIRE_SYSTEM;
    }
    errno = error;
    if (status == QUIRE_OK && (rename(path->beside, path->name) != 0 || !disk_meta_sync_folder(path->name))) {
        status = QUIRE_SYSTEM;
    }
    return status == QUIRE_OK && loop_now_ns() >= saving->until_ns ? QUIRE_TIMEOUT : status;
}

enum quire_status snapshot_save(const struct pager *pager, struct disk_set *set, uint64_t until_ns, uint64_t *id, uint64_t *n_entries,
                                char *why, size_t why_bytes) {
    const struct snapshot_path path = path_of(set);
    const struct sidecar named = ours(set, path.name), beside = ours(set, path.beside);
    QUIRE_FORWARD(sidecar_check(&named, why, why_bytes));
    QUIRE_FORWARD(sidecar_check(&beside, why, why_bytes));
    struct saving saving = {.pager = pager, .until_ns = until_ns, .fd = -1};
    if (getrandom(id, sizeof *id, 0) != sizeof *id) {
        snprintf(why, why_bytes, "the system gives no random numbers (%s)", strerror(errno));
        return QUIRE_SYSTEM;
    }
    *id |= 1; /* zero means none */
    saving.head = head_of(set, set->generation + 1, *id);
    saving.openings = calloc(set->n_segments, sizeof *saving.openings);
    saving.chunk = calloc(1, sizeof *saving.chunk);
    enum quire_status status = QUIRE_NO_MEMORY;
    if (saving.openings != NULL && saving.chunk != NULL) {
        saving.head.n_openings = pager_disk_openings(pager, saving.openings, set->n_segments);
        errno = 0;
        status = save_to(&saving, &path, &beside);
    }
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: cannot be written (%s)", path.name,
                 errno != 0 && status == QUIRE_SYSTEM ? strerror(errno) : quire_status_text(status));
        sidecar_remove(&beside);
        sidecar_remove(&named);
    }
    *n_entries = saving.head.n_entries;
    set->written_bytes += saving.written;
    free(saving.openings);
    free(saving.chunk);
    return status;
}

/* ---- the start ------------------------------------------------------------------------------------------------------------ */

struct snapshot_ahead { /* a chunk that is read; chunk c in place c % SNAPSHOT_AHEAD */
    struct work work;
    struct snapshot *snapshot;
    uint32_t number;
    bool running, done;
    enum quire_status status;
    uint8_t *bytes;
    struct quire_snapshot_entry *entries;
};

struct snapshot {
    int fd;
    struct quire_snapshot_head head;
    uint32_t *openings;
    struct disk_env *env;
    uint32_t n_chunks, next_chunk, told_chunk, told; /* told: of told_chunk's entries */
    uint64_t read_bytes;
    bool doubtful;
    struct snapshot_ahead ahead[SNAPSHOT_AHEAD];
};

static bool get(int fd, void *bytes, size_t size, uint64_t at) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, (uint8_t *)bytes + done, size - done, (off_t)(at + done));
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* No later start is to find it, whatever becomes of this one. */
static int take_file(const struct disk_set *set) {
    const struct snapshot_path path = path_of(set);
    const struct sidecar named = ours(set, path.name), beside = ours(set, path.beside);
    int fd = open(path.name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int error = errno;
    bool removed = sidecar_remove(&named);
    removed |= sidecar_remove(&beside);
    if (removed) {
        (void)disk_meta_sync_folder(path.name); /* the superblocks do not name it any more */
    }
    errno = error;
    return fd;
}

static enum quire_status read_openings(struct snapshot *snapshot) {
    size_t bytes = quire_snapshot_chunks_at(&snapshot->head) - sizeof snapshot->head;
    uint8_t *in = malloc(bytes + 1);
    snapshot->openings = malloc(bytes + 1);
    enum quire_status status = in == NULL || snapshot->openings == NULL ? QUIRE_NO_MEMORY : QUIRE_CORRUPT;
    if (status == QUIRE_CORRUPT && get(snapshot->fd, in, bytes, sizeof snapshot->head)) {
        status = quire_snapshot_openings_decode(&snapshot->head, in, snapshot->openings);
    }
    free(in);
    return status;
}

/* The size first: no number in it counts that the file does not bear out. */
static enum quire_status read_head(struct snapshot *snapshot, const struct disk_set *set) {
    const struct quire_snapshot_head expected = head_of(set, set->generation - 1, set->snapshot);
    uint8_t in[sizeof snapshot->head];
    struct stat facts;
    if (fstat(snapshot->fd, &facts) != 0 || !S_ISREG(facts.st_mode) || !get(snapshot->fd, in, sizeof in, 0)) {
        return QUIRE_CORRUPT;
    }
    QUIRE_FORWARD(quire_snapshot_head_decode(in, &expected, &snapshot->head));
    snapshot->n_chunks = quire_snapshot_chunks(&snapshot->head);
    if ((uint64_t)facts.st_size != quire_snapshot_chunk_at(&snapshot->head, snapshot->n_chunks)) {
        return QUIRE_CORRUPT;
    }
    return read_openings(snapshot);
}

static enum quire_status make_ahead(struct snapshot *snapshot) {
    for (uint32_t i = 0; i < SNAPSHOT_AHEAD; i++) {
        struct snapshot_ahead *ahead = &snapshot->ahead[i];
        ahead->snapshot = snapshot;
        ahead->bytes = malloc(CHUNK_BYTES);
        ahead->entries = malloc(QUIRE_SNAPSHOT_CHUNK * sizeof *ahead->entries);
        if (ahead->bytes == NULL || ahead->entries == NULL) {
            return QUIRE_NO_MEMORY;
        }
    }
    return QUIRE_OK;
}

enum quire_status snapshot_open(const struct disk_set *set, struct snapshot **out, char *why, size_t why_bytes) {
    const struct snapshot_path path = path_of(set);
    const struct sidecar named = ours(set, path.name);
    *out = NULL;
    QUIRE_FORWARD(sidecar_check(&named, why, why_bytes));
    int fd = take_file(set), error = errno;
    if (!set->clean || set->snapshot == 0) {
        if (fd >= 0) {
            close(fd);
        }
        snprintf(why, why_bytes, "%s: no superblock names it", path.name);
        return QUIRE_NOT_FOUND;
    }
    if (fd < 0) {
        snprintf(why, why_bytes, "%s: %s", path.name, strerror(error));
        return error == ENOENT ? QUIRE_NOT_FOUND : QUIRE_SYSTEM;
    }
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) {
        close(fd);
        return QUIRE_NO_MEMORY;
    }
    snapshot->fd = fd;
    enum quire_status status = read_head(snapshot, set);
    status = status == QUIRE_OK ? make_ahead(snapshot) : status;
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: is not used (%s)", path.name, quire_status_text(status));
        snapshot_destroy(&snapshot);
    }
    *out = snapshot;
    return status;
}

void snapshot_destroy(struct snapshot **out) {
    struct snapshot *snapshot = *out;
    if (snapshot == NULL) {
        return;
    }
    for (uint32_t i = 0; i < SNAPSHOT_AHEAD; i++) {
        free(snapshot->ahead[i].bytes);
        free(snapshot->ahead[i].entries);
    }
    close(snapshot->fd);
    free(snapshot->openings);
    free(snapshot);
    *out = NULL;
}

const uint32_t *snapshot_openings(const struct snapshot *snapshot, uint32_t *n) {
    *n = snapshot->head.n_openings;
    return snapshot->openings;
}
uint64_t snapshot_entries(const struct snapshot *snapshot) { return snapshot->head.n_entries; }
uint64_t snapshot_read_bytes(const struct snapshot *snapshot) { return snapshot->read_bytes; }

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static void run_chunk(struct work *work) {
    struct snapshot_ahead *ahead = LOOP_CONTAINER(work, struct snapshot_ahead, work);
    const struct quire_snapshot_head *head = &ahead->snapshot->head;
    uint64_t at = quire_snapshot_chunk_at(head, ahead->number), end = quire_snapshot_chunk_at(head, ahead->number + 1);
    ahead->status = QUIRE_CORRUPT;
    if (get(ahead->snapshot->fd, ahead->bytes, end - at, at)) {
        ahead->status = quire_snapshot_chunk_decode(head, ahead->number, ahead->bytes, ahead->entries);
    }
}

static void chunk_done(struct work *work) {
    struct snapshot_ahead *ahead = LOOP_CONTAINER(work, struct snapshot_ahead, work);
    const struct quire_snapshot_head *head = &ahead->snapshot->head;
    ahead->running = false;
    ahead->done = true;
    ahead->snapshot->read_bytes += quire_snapshot_chunk_at(head, ahead->number + 1) - quire_snapshot_chunk_at(head, ahead->number);
}

static void read_ahead(struct snapshot *snapshot) {
    while (snapshot->next_chunk < snapshot->n_chunks && snapshot->next_chunk - snapshot->told_chunk < SNAPSHOT_AHEAD) {
        struct snapshot_ahead *ahead = &snapshot->ahead[snapshot->next_chunk % SNAPSHOT_AHEAD];
        ahead->number = snapshot->next_chunk++;
        ahead->running = true;
        ahead->done = false;
        ahead->work = (struct work){.run = run_chunk, .done = chunk_done};
        snapshot->env->run(snapshot->env->ctx, &ahead->work);
    }
}

void snapshot_begin(struct snapshot *snapshot, struct disk_env *env) {
    snapshot->env = env;
    read_ahead(snapshot);
}

enum quire_status snapshot_next(struct snapshot *snapshot, uint32_t most, const struct quire_snapshot_entry **entries, uint32_t *n) {
    struct snapshot_ahead *ahead = &snapshot->ahead[snapshot->told_chunk % SNAPSHOT_AHEAD];
    if (!snapshot->doubtful && snapshot->told_chunk < snapshot->n_chunks &&
        snapshot->told == quire_snapshot_chunk_entries(&snapshot->head, snapshot->told_chunk)) {
        snapshot->told_chunk++; /* only now may another take its place */
        snapshot->told = 0;
        read_ahead(snapshot);
        ahead = &snapshot->ahead[snapshot->told_chunk % SNAPSHOT_AHEAD];
    }
    if (snapshot->doubtful) {
        return QUIRE_CORRUPT;
    }
    if (snapshot->told_chunk == snapshot->n_chunks) {
        return QUIRE_NOT_FOUND;
    }
    if (!ahead->done) {
        return QUIRE_PENDING;
    }
    if (ahead->status != QUIRE_OK) {
        snapshot->doubtful = true;
        return QUIRE_CORRUPT;
    }
    *entries = ahead->entries + snapshot->told;
    *n = (uint32_t)quire_min_u64(most, quire_snapshot_chunk_entries(&snapshot->head, snapshot->told_chunk) - snapshot->told);
    snapshot->told += *n;
    return QUIRE_OK;
}

bool snapshot_idle(const struct snapshot *snapshot) {
    bool running = false;
    for (uint32_t i = 0; i < SNAPSHOT_AHEAD; i++) {
        running |= snapshot->ahead[i].running;
    }
    return !running;
}
