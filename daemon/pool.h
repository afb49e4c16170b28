/*
 * A trust domain's memory: one sealed memfd with the records, and one with the generation of every record slot.
 *
 * The daemon maps both for writing before it seals them; whoever gets the descriptors can map them for reading and nothing else, and
 * nobody can shrink, grow or punch them. Pages are taken as they are first used, a little ahead of use by pool_populate.
 */
#ifndef DAEMON_POOL_H
#define DAEMON_POOL_H

#include "proto/base/base.h"

#include <stdatomic.h>

struct pool {
    int fd, generations_fd;
    uint8_t *base;
    _Atomic uint32_t *generations;
    uint64_t size_bytes;
    uint64_t generations_bytes;
    uint32_t n_slots;
    bool huge_pages; /* reserved huge pages, or transparent ones where the kernel gives them to shared memory */
    uint64_t populated_bytes;
    bool populate_ends;  /* the kernel cannot populate, or all is populated */
    bool populate_later; /* it could not just now */
};

/* size_bytes is rounded down to pages (2 MiB with huge pages). On failure `why` tells what to do. */
enum quire_status pool_create(const char *name, uint64_t size_bytes, uint32_t n_slots, bool huge_pages, struct pool **pool, char *why,
                              size_t why_bytes);
void pool_destroy(struct pool **pool);
/* Takes the next step_bytes from the system before somebody has to wait for them. Called from a worker, one at a time a pool. */
void pool_populate(struct pool *pool, uint64_t step_bytes);

/* A memfd of `bytes` that can neither shrink nor grow, for pools and ingest windows; -1 on failure. */
int pool_memfd(const char *name, uint64_t bytes, unsigned int flags);

#endif
