/* A domain's memory: sealed against everybody but the daemon, with huge pages where there are any, refused with advice where there is none. */
#include "daemon/arena.h"
#include "daemon/pool.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Whoever gets the descriptor reads what the daemon writes, and can do nothing else with it. */
static void check_sealed(int fd, uint8_t *base) {
    const uint8_t *reader = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert_neq(reader, MAP_FAILED);
    base[100] = 42;
    cr_assert_eq(reader[100], 42);
    cr_assert_neq(mprotect((void *)reader, 4096, PROT_READ | PROT_WRITE), 0, "a reader made its mapping writable");
    cr_assert_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    cr_assert_neq(ftruncate(fd, 0), 0);
    cr_assert_neq(ftruncate(fd, 1 << 30), 0);
    cr_assert_neq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    munmap((void *)reader, 4096);
}

Test(daemon_pool, is_sealed_and_shared) {
    struct pool *pool;
    char why[256];
    cr_assert_eq(pool_create("d", (5 << 20) + 1, 1000, false, &pool, why, sizeof why), QUIRE_OK, "%s", why);
    cr_assert_eq(pool->size_bytes, 5 << 20, "whole pages");
    check_sealed(pool->fd, pool->base);
    check_sealed(pool->generations_fd, (uint8_t *)(void *)pool->generations);
    pool->generations[999] = 7;
    cr_assert_eq(pool->generations[999], 7);
    pool_destroy(&pool);
    cr_assert_null(pool);
}

/* Asked for huge pages it takes them, or goes on without; either way it is the same memory, sealed the same. A mapping of reserved huge
   pages can only be made in whole ones, which is why the reader's check is left to the plain case. */
Test(daemon_pool, goes_on_without_huge_pages) {
    struct pool *pool;
    char why[256];
    cr_assert_eq(pool_create("d", 9 << 20, 1000, true, &pool, why, sizeof why), QUIRE_OK, "%s", why);
    cr_assert(pool->size_bytes == 9 << 20 || pool->size_bytes == 8 << 20);
    cr_assert_eq(mmap(NULL, pool->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pool->fd, 0), MAP_FAILED);
    uint8_t *reader = mmap(NULL, pool->size_bytes, PROT_READ, MAP_SHARED, pool->fd, 0);
    cr_assert_neq(reader, MAP_FAILED);
    pool->base[pool->size_bytes - 1] = 9;
    cr_assert_eq(reader[pool->size_bytes - 1], 9);
    pool_destroy(&pool);
    cr_assert_eq(reader[8 << 10], 0, "a reader's mapping outlives the pool");
}

/* Pages are taken in steps up to the end, and what was written before stays. */
Test(daemon_pool, is_populated_in_steps) {
    struct pool *pool;
    char why[256];
    cr_assert_eq(pool_create("d", 5 << 20, 1000, false, &pool, why, sizeof why), QUIRE_OK);
    pool->base[3 << 20] = 5;
    for (int i = 0; i < 10; i++) {
        pool_populate(pool, 2 << 20);
    }
    cr_assert(pool->populate_ends);
    cr_assert_eq(pool->base[3 << 20], 5);
    unsigned char resident[5 << 8];
    cr_assert_eq(mincore(pool->base, pool->size_bytes, resident), 0);
    for (uint64_t i = 0; i < pool->populated_bytes / (uint64_t)sysconf(_SC_PAGESIZE); i++) {
        cr_assert(resident[i] & 1);
    }
    pool_destroy(&pool);
}

/* No memory to be had: the error names the domain and what to change, and nothing is left open. */
Test(daemon_pool, too_much_is_refused_with_advice) {
    struct pool *pool = NULL;
    char why[256];
    struct rlimit limit = {.rlim_cur = 1 << 30, .rlim_max = 1 << 30};
    int before = dup(0);
    close(before);
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    cr_assert_eq(pool_create("big", 1ull << 40, 1000, false, &pool, why, sizeof why), QUIRE_SYSTEM);
    cr_assert_null(pool);
    cr_assert(strstr(why, "big") != NULL && strstr(why, "pool_bytes") != NULL, "%s", why);
    int after = dup(0);
    close(after);
    cr_assert_eq(after, before, "a descriptor leaked");
}

/* The arena hands out aligned memory up to its capacity and not beyond, and starts anew when reset. */
Test(daemon_arena, is_bounded) {
    struct arena arena;
    cr_assert_eq(arena_setup(&arena, 1 << 20), QUIRE_OK);
    uint8_t *a = arena_alloc(&arena, 1), *b = arena_alloc(&arena, 100);
    cr_assert_eq((uintptr_t)b % 16, 0);
    cr_assert_eq(b - a, 16);
    cr_assert_null(arena_alloc(&arena, 1 << 20));
    cr_assert_null(arena_alloc(&arena, SIZE_MAX));
    cr_assert_null(arena_zalloc(&arena, SIZE_MAX / 2, 4));
    cr_assert_not_null(arena_alloc(&arena, (1 << 20) - 16 - 112));
    cr_assert_null(arena_alloc(&arena, 1));
    cr_assert_str_eq(arena_printf(&arena, "%d", 5), "", "full");
    arena_reset(&arena);
    cr_assert_str_eq(arena_printf(&arena, "%d bytes", 5), "5 bytes");
    arena_teardown(&arena);
}
