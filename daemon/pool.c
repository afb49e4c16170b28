#include "daemon/pool.h"

#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POOL_HUGE_PAGE_BYTES (2ull << 20)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif

/* Kernels before 6.3 do not know the flag that takes the execute permission away. */
static int pool_memfd_open(const char *name, unsigned int flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | flags);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    }
    return fd;
}

int pool_memfd(const char *name, uint64_t bytes, unsigned int flags) {
    int fd = pool_memfd_open(name, flags);
    if (fd < 0) {
        return -1;
    }
    if (ftruncate(fd, (off_t)bytes) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* From here on nobody maps it for writing any more; what is mapped stays writable. */
static bool pool_seal(int fd) { return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0; }

static void *pool_map(int fd, uint64_t bytes) {
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return base == MAP_FAILED ? NULL : base;
}

static void pool_unmap_records(struct pool *pool) {
    if (pool->base != NULL) {
        munmap(pool->base, pool->size_bytes);
        pool->base = NULL;
    }
    if (pool->fd >= 0) {
        close(pool->fd);
        pool->fd = -1;
    }
}

static bool pool_map_records(struct pool *pool, const char *name, uint64_t bytes, unsigned int flags) {
    pool->size_bytes = bytes;
    pool->fd = pool_memfd(name, bytes, flags);
    if (pool->fd < 0) {
        return false;
    }
    pool->base = pool_map(pool->fd, bytes);
    if (pool->base == NULL || !pool_seal(pool->fd)) {
        pool_unmap_records(pool);
        return false;
    }
    return true;
}

/* True when the kernel may back shared memory with transparent huge pages on advice. */
static bool pool_shmem_thp(void) {
    char text[128] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
    if (file == NULL) {
        return false;
    }
    char *line = fgets(text, sizeof text, file);
    fclose(file);
    return line != NULL &&
           (strstr(text, "[always]") || strstr(text, "[advise]") || strstr(text, "[within_size]") || strstr(text, "[force]"));
}

/* On machines with several memory nodes the pool stays on the node where the daemon runs; with one there is nothing to choose. */
static void pool_bind_near(struct pool *pool) {
    unsigned int cpu = 0, node = 0;
    if (access("/sys/devices/system/node/node1", F_OK) != 0 || syscall(SYS_getcpu, &cpu, &node, NULL) != 0 || node >= 64) {
        return;
    }
    unsigned long mask = 1ul << node;
    if (syscall(SYS_mbind, pool->base, pool->size_bytes, MPOL_PREFERRED, &mask, sizeof mask * 8, 0) != 0) {
        log_warn("pool_not_local", "the pool could not be bound to memory node %u: %s", node, strerror(errno));
    }
}

static bool pool_create_records(struct pool *pool, const char *name, uint64_t size_bytes, bool huge_pages) {
    if (huge_pages) {
        uint64_t huge_bytes = size_bytes / POOL_HUGE_PAGE_BYTES * POOL_HUGE_PAGE_BYTES;
        if (huge_bytes != 0 && pool_map_records(pool, name, huge_bytes, MFD_HUGETLB)) {
            pool->huge_pages = true;
            return true;
        }
    }
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!pool_map_records(pool, name, size_bytes / page_bytes * page_bytes, 0)) {
        return false;
    }
    if (huge_pages && madvise(pool->base, pool->size_bytes, MADV_HUGEPAGE) == 0) {
        pool->huge_pages = pool_shmem_thp();
    }
    return true;
}

static bool pool_create_generations(struct pool *pool, const char *name, uint32_t n_slots) {
    pool->n_slots = n_slots;
    pool->generations_bytes = quire_align_up((uint64_t)n_slots * sizeof(uint32_t), (uint64_t)sysconf(_SC_PAGESIZE));
    pool->generations_fd = pool_memfd(name, pool->generations_bytes, 0);
    if (pool->generations_fd < 0) {
        return false;
    }
    pool->generations = pool_map(pool->generations_fd, pool->generations_bytes);
    return pool->generations != NULL && pool_seal(pool->generations_fd);
}

enum quire_status pool_create(const char *name, uint64_t size_bytes, uint32_t n_slots, bool huge_pages, struct pool **out, char *why,
                              size_t why_bytes) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return QUIRE_NO_MEMORY;
    }
    pool->fd = pool->generations_fd = -1;
    char label[128];
    snprintf(label, sizeof label, "quire-pool-%s", name);
    bool made = pool_create_records(pool, label, size_bytes, huge_pages);
    snprintf(label, sizeof label, "quire-generations-%s", name);
    if (!made || !pool_create_generations(pool, label, n_slots)) {
        snprintf(why, why_bytes, "domain %s: the system does not give %llu MiB of shared memory (%s); make its pool_bytes smaller", name,
                 (unsigned long long)(size_bytes >> 20), strerror(errno));
        pool_destroy(&pool);
        return QUIRE_SYSTEM;
    }
    pool_bind_near(pool);
    *out = pool;
    return QUIRE_OK;
}

void pool_destroy(struct pool **out) {
    struct pool *pool = *out;
    if (pool == NULL) {
        return;
    }
    pool_unmap_records(pool);
    if (pool->generations != NULL) {
        munmap((void *)pool->generations, pool->generations_bytes);
    }
    if (pool->generations_fd >= 0) {
        close(pool->generations_fd);
    }
    free(pool);
    *out = NULL;
}

void pool_populate(struct pool *pool, uint64_t step_bytes) {
    uint64_t bytes = quire_min_u64(step_bytes, pool->size_bytes - pool->populated_bytes);
    int failed = bytes == 0 || madvise(pool->base + pool->populated_bytes, bytes, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    pool->populate_later = failed == EINTR || failed == EAGAIN || failed == ENOMEM;
    pool->populate_ends = bytes == 0 || (failed != 0 && !pool->populate_later);
    pool->populated_bytes += failed == 0 ? bytes : 0;
}
