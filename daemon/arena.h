/*
 * A bump allocator for what lives as long as one request: unpacked messages, grants, packed replies.
 *
 * It reserves address space once and touches only what is used, so a batch of thousands of keys costs no malloc and an idle daemon no
 * memory. Its capacity is a limit: whatever a hostile message would unpack to beyond it is refused. One thread at a time.
 */
#ifndef DAEMON_ARENA_H
#define DAEMON_ARENA_H

#include "proto/base/base.h"

#include <protobuf-c/protobuf-c.h>

struct arena {
    uint8_t *base;
    size_t capacity_bytes, used_bytes, peak_bytes;
    ProtobufCAllocator allocator; /* for protobuf-c: allocates here, frees nothing */
};

enum quire_status arena_setup(struct arena *arena, size_t capacity_bytes);
void arena_teardown(struct arena *arena);
/* 16-byte aligned, not zeroed; NULL when the capacity is used up. */
void *arena_alloc(struct arena *arena, size_t size);
/* Zeroed; NULL also when count × size overflows. */
void *arena_zalloc(struct arena *arena, size_t count, size_t size);
/* A copy of a text, printf-style; "" when the arena is full. */
char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Everything handed out becomes invalid; a large peak is given back to the system. */
void arena_reset(struct arena *arena);

#endif
