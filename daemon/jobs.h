/*
 * Jobs of the work pool: a fixed number of structures, so that the queue cannot grow. Each says what to do on a worker (`run`) and what
 * then on the loop (`done`). Loop thread only, but for `run`.
 */
#ifndef DAEMON_JOBS_H
#define DAEMON_JOBS_H

#include "daemon/ingest.h"
#include "daemon/session.h"
#include "daemon/workpool.h"
#include "pager/pager.h"
#include "proto/wire.h"

struct core_job {
    struct work work;
    struct core *core;
    struct core_job *next_free;
    uint64_t elapsed_ns; /* on the worker */
    enum quire_status status;
    union {
        struct { /* fill, seal, move */
            struct pager_event event;
            uint8_t *record, *to;
            const uint8_t *payload;
            uint32_t payload_bytes;
            struct ingest_window *window; /* kept mapped, whatever becomes of the put */
        } pager;
        uint32_t domain; /* populate */
    };
};

/* NULL when all are taken. */
struct core_job *job_take(struct core *core, void (*run)(struct work *work), void (*done)(struct work *work));
void job_give(struct core_job *job);

#endif
