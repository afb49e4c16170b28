#include "daemon/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

/* What stays resident between requests. */
#define ARENA_KEEP_BYTES (4u << 20)

static void *arena_pb_alloc(void *data, size_t size) { return arena_alloc(data, size); }
static void arena_pb_free(void *data, void *pointer) {
    (void)data;
    (void)pointer;
}

enum quire_status arena_setup(struct arena *arena, size_t capacity_bytes) {
    memset(arena, 0, sizeof *arena);
    void *base = mmap(NULL, capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return QUIRE_NO_MEMORY;
    }
    arena->base = base;
    arena->capacity_bytes = capacity_bytes;
    arena->allocator = (ProtobufCAllocator){.alloc = arena_pb_alloc, .free = arena_pb_free, .allocator_data = arena};
    return QUIRE_OK;
}

void arena_teardown(struct arena *arena) {
    if (arena->base != NULL) {
        munmap(arena->base, arena->capacity_bytes);
    }
    memset(arena, 0, sizeof *arena);
}

void *arena_alloc(struct arena *arena, size_t size) {
    size_t room = arena->capacity_bytes - arena->used_bytes;
    if (size > room || quire_align_up(size, 16) > room) {
        return NULL;
    }
    void *memory = arena->base + arena->used_bytes;
    arena->used_bytes += quire_align_up(size, 16);
    arena->peak_bytes = quire_max_u64(arena->peak_bytes, arena->used_bytes);
    return memory;
}

void *arena_zalloc(struct arena *arena, size_t count, size_t size) {
    if (size != 0 && count > arena->capacity_bytes / size) {
        return NULL;
    }
    void *memory = arena_alloc(arena, count * size);
    if (memory != NULL) {
        memset(memory, 0, count * size);
    }
    return memory;
}

char *arena_printf(struct arena *arena, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length >= 0 ? arena_alloc(arena, (size_t)length + 1) : NULL;
    if (text != NULL) {
        vsnprintf(text, (size_t)length + 1, format, again);
    }
    va_end(again);
    va_end(args);
    return text != NULL ? text : "";
}

void arena_reset(struct arena *arena) {
    if (arena->peak_bytes > ARENA_KEEP_BYTES && arena->capacity_bytes > ARENA_KEEP_BYTES) {
        madvise(arena->base + ARENA_KEEP_BYTES, arena->capacity_bytes - ARENA_KEEP_BYTES, MADV_DONTNEED);
        arena->peak_bytes = 0;
    }
    arena->used_bytes = 0;
}
