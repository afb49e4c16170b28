/*
 * The work pool: a few threads that copy and checksum, so that the loop thread never touches bulk bytes.
 *
 * A job is a structure that its owner embeds and keeps alive: `run` is called on a worker, then `done` on the thread that calls
 * workpool_reap. The queue is bounded; workpool_submit takes what fits of a list. Jobs may finish in any order.
 */
#ifndef DAEMON_WORKPOOL_H
#define DAEMON_WORKPOOL_H

#include "proto/base/base.h"

struct workpool;
struct work {
    void (*run)(struct work *work);
    void (*done)(struct work *work);
    struct work *next;
};

/* `wake(ctx)` is called from a worker when workpool_reap has something to do. */
enum quire_status workpool_create(uint32_t threads, uint32_t capacity, void (*wake)(void *ctx), void *ctx, struct workpool **pool);
/* Jobs that run end, queued ones are dropped; what was not reaped is never `done`: the owner of a job frees what it holds. */
void workpool_destroy(struct workpool **pool);
/* How many jobs may be submitted now: queued, running and unreaped ones count against the capacity. */
uint32_t workpool_room(const struct workpool *pool);
/* Submits a list linked by `next`; the caller has asked workpool_room. One lock for the list. */
void workpool_submit(struct workpool *pool, struct work *list);
/* Calls `done` for every finished job; returns how many. */
uint32_t workpool_reap(struct workpool *pool);

#endif
