/*
 * Ingest windows: memory lent to sessions into which they write what they store, all from one budget.
 *
 * A window is a memfd that can neither shrink nor grow. Its holder writes it, the daemon only reads it, and believes nothing about its
 * contents. A session asks for one and waits in a bounded queue until its deadline when the budget is lent out; holders of idle windows
 * are asked to give them back, and while somebody waits those of busy ones too, longest held first. A window that is not given back in time
 * is taken: its number is dead from then on, its pages are freed when the puts that read it are done.
 * Memory counts against the budget until nobody in the daemon reads it any more. The queue is served by ingest_tick alone, so that no other
 * call leads to answers. For who has the core (core_borrow).
 */
#ifndef DAEMON_INGEST_H
#define DAEMON_INGEST_H

#include "proto/base/base.h"

#define INGEST_MAX_WAITING 256
#define INGEST_MAX_WAITING_PER_OWNER 4
#define INGEST_MAX_WINDOWS_PER_OWNER 4

struct ingest;
struct ingest_window {
    uint32_t number; /* never reused */
    int fd;
    const uint8_t *base;
    uint64_t bytes;
    void *owner;    /* NULL: given back, taken or the owner is gone */
    uint32_t users; /* puts that read it now */
    bool recalled;
    uint64_t opened_ns, used_ns, recalled_ns;
    struct ingest_window *next;
};

/* What the owner of a request or a window is told. */
struct ingest_ops {
    /* The answer to a request that had to wait: a window, or TIMEOUT with none. */
    void (*answer)(void *owner, uint64_t request, enum quire_status status, struct ingest_window *window);
    /* Please give it back. */
    void (*recall)(void *owner, const struct ingest_window *window);
};

struct ingest_limits {
    uint64_t budget_bytes; /* all windows */
    uint64_t window_bytes; /* all windows of one owner */
    uint64_t idle_ns;      /* a window unused this long is asked back */
    uint64_t grace_ns;     /* and taken this much later */
    uint64_t wanted_ns;    /* while somebody waits: the idle are asked at once, the busy after this long, and both taken this much later */
};

struct ingest_counters {
    uint64_t waits, refused, recalled, taken;
};

enum quire_status ingest_create(const struct ingest_limits *limits, const struct ingest_ops *ops, struct ingest **ingest);
/* No window may be in use any more. */
void ingest_destroy(struct ingest **ingest);
void ingest_set_limits(struct ingest *ingest, const struct ingest_limits *limits);

/*
 * OK with a window of min(bytes, what one owner may hold) rounded up to pages (bytes 0: as much as it may hold); PENDING: `answer` will be
 * called, once; RETRY: the queue or the owner's share of it is full, or there is no time to wait; TOO_LARGE: the owner holds its share
 * already; SYSTEM: no memory or descriptor to be had.
 */
enum quire_status ingest_get(struct ingest *ingest, void *owner, uint64_t request, uint64_t bytes, uint64_t now_ns, uint64_t deadline_ns,
                             struct ingest_window **window);
/* Forgets a waiting request without an answer; NOT_FOUND when it does not wait. */
enum quire_status ingest_cancel(struct ingest *ingest, const void *owner, uint64_t request);
/* NULL when the owner holds no such window. */
struct ingest_window *ingest_find(const struct ingest *ingest, const void *owner, uint32_t number);
/* Its memory, for a daemon that writes what came over a wire; NULL: the system does not allow it. */
uint8_t *ingest_writable(struct ingest_window *window);
void ingest_use(struct ingest *ingest, struct ingest_window *window, uint64_t now_ns);
void ingest_unuse(struct ingest *ingest, struct ingest_window *window, uint64_t now_ns);
/* The owner gives a window back; NOT_FOUND when it is not its own. */
enum quire_status ingest_return(struct ingest *ingest, const void *owner, uint32_t number);
/* The owner is gone: its windows and requests go. */
void ingest_owner_gone(struct ingest *ingest, const void *owner);

/* Expiries, recalls, takings, and what has come free to those who wait; call when ingest_deadline has passed. */
void ingest_tick(struct ingest *ingest, uint64_t now_ns);
uint64_t ingest_deadline(const struct ingest *ingest);
uint64_t ingest_lent_bytes(const struct ingest *ingest);
uint64_t ingest_owner_bytes(const struct ingest *ingest, const void *owner);
const struct ingest_counters *ingest_counters(const struct ingest *ingest);

#endif
