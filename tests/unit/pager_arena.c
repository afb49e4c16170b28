/* The array that grows in place: what is used stays where it is, what is new is zero, and the end is an answer. */
#include "pager/arena.h"

#include <criterion/criterion.h>

#define MIB (1024ull * 1024)

/* It grows through small pages into huge ones without moving or losing a byte. */
Test(arena, grows_in_place) {
    struct pager_arena arena;
    cr_assert_eq(pager_arena_reserve(&arena, 21 * MIB, 4 * MIB), QUIRE_OK);
    cr_assert_eq(arena.committed_bytes, 0);
    uint8_t *base = arena.base;
    cr_assert_eq((uintptr_t)base % (2 * MIB), 0);
    for (uint64_t at = 0; at < 21 * MIB; at += 100000) {
        cr_assert_eq(pager_arena_grow(&arena, at + 1), QUIRE_OK);
        cr_assert_eq(base[at], 0);
        base[at] = (uint8_t)(at / 100000);
    }
    cr_assert_eq(arena.base, base);
    for (uint64_t at = 0; at < 21 * MIB; at += 100000) {
        cr_assert_eq(base[at], (uint8_t)(at / 100000));
    }
    pager_arena_release(&arena);
    cr_assert_null(arena.base);
    pager_arena_release(&arena);
}

/* Steps are small while it is small, so that a little use costs little; what was given is not given again. */
Test(arena, commits_in_steps) {
    struct pager_arena arena;
    cr_assert_eq(pager_arena_reserve(&arena, 64 * MIB, 4 * MIB), QUIRE_OK);
    cr_assert_eq(pager_arena_grow(&arena, 1), QUIRE_OK);
    cr_assert_leq(arena.committed_bytes, 64 * 1024);
    uint64_t before = arena.committed_bytes;
    cr_assert_eq(pager_arena_grow(&arena, before), QUIRE_OK);
    cr_assert_eq(arena.committed_bytes, before);
    pager_arena_release(&arena);
}

/* Beyond its reserve, and with absurd sizes, it says no and stays as it is. */
Test(arena, ends_with_an_answer) {
    struct pager_arena arena;
    cr_assert_eq(pager_arena_reserve(&arena, 0, 0), QUIRE_INVALID);
    cr_assert_eq(pager_arena_reserve(&arena, UINT64_MAX, 0), QUIRE_INVALID);
    cr_assert_eq(pager_arena_reserve(&arena, 1ull << 56, 0), QUIRE_NO_MEMORY);
    cr_assert_eq(pager_arena_reserve(&arena, MIB, 0), QUIRE_OK);
    cr_assert_eq(pager_arena_grow(&arena, 2 * MIB), QUIRE_OK);
    cr_assert_eq(pager_arena_grow(&arena, 2 * MIB + 1), QUIRE_NO_MEMORY);
    cr_assert_eq(arena.committed_bytes, 2 * MIB);
    pager_arena_release(&arena);
}
