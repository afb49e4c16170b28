/* Mappings of the daemon's memory: only of descriptors that cannot shrink under us, never passed to a forked child. */
#include "client/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *map_sealed(int fd, uint64_t bytes, bool writable) {
    struct stat facts;
    int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
    void *base = MAP_FAILED;
    if (seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && bytes > 0 && fstat(fd, &facts) == 0 && (uint64_t)facts.st_size >= bytes) {
        base = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd); /* the mapping stays */
    }
    if (base == MAP_FAILED) {
        return NULL;
    }
    if (madvise(base, bytes, MADV_DONTFORK) != 0) {
        munmap(base, bytes);
        return NULL;
    }
    return base;
}

enum quire_status pool_map(int pool_fd, int generations_fd, uint64_t pool_bytes, uint32_t n_slots, struct pool **out, const char **why) {
    struct pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL || pool_fd < 0 || generations_fd < 0 || n_slots == 0) {
        *why = pool == NULL ? "out of memory" : "no descriptors came with the greeting";
        free(pool);
        if (pool_fd >= 0) {
            close(pool_fd);
        }
        if (generations_fd >= 0) {
            close(generations_fd);
        }
        return QUIRE_SYSTEM;
    }
    atomic_init(&pool->refs, 1);
    pool->bytes = pool_bytes;
    pool->n_slots = n_slots;
    pool->base = map_sealed(pool_fd, pool_bytes, false);
    pool->generations = map_sealed(generations_fd, n_slots * sizeof(uint32_t), false);
    if (pool->base == NULL || pool->generations == NULL) {
        *why = "it is smaller than said, not sealed against shrinking, or address space is short";
        pool_unref(&pool);
        return QUIRE_SYSTEM;
    }
    *out = pool;
    return QUIRE_OK;
}

struct pool *pool_ref(struct pool *pool) {
    if (pool != NULL) {
        atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    }
    return pool;
}

void pool_unref(struct pool **handle) {
    struct pool *pool = *handle;
    *handle = NULL;
    if (pool == NULL || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (!pool->inherited) {
        if (pool->base != NULL) {
            munmap((void *)(uintptr_t)pool->base, pool->bytes);
        }
        if (pool->generations != NULL) {
            munmap((void *)(uintptr_t)pool->generations, pool->n_slots * sizeof(uint32_t));
        }
    }
    free(pool);
}

/* Called after the bytes were read: had they been given to another record meanwhile, its generation would have moved first. */
bool pool_stands(const struct pool *pool, uint32_t slot, uint32_t generation) {
    atomic_thread_fence(memory_order_acquire);
    return slot < pool->n_slots && atomic_load_explicit(&pool->generations[slot], memory_order_relaxed) == generation;
}
