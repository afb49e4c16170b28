/*
 * The loop: epoll over a set of sources, one timer, and wake-ups from other threads.
 *
 * A source is a descriptor with a function that is called when it is ready. Sources may be added and removed from within such
 * functions, also ones that are ready in the same round: a removed source is not called again. Everything but loop_wake is
 * for the loop's own thread.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include "proto/base/base.h"

#include <sys/epoll.h>

#define LOOP_CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct loan; /* loan.h */
struct loop;
struct loop_source {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT wanted; errors and hang-ups always come */
    void (*ready)(struct loop_source *source, uint32_t events);
};

enum quire_status loop_create(struct loop **loop);
void loop_destroy(struct loop **loop);
enum quire_status loop_add(struct loop *loop, struct loop_source *source);
/* Changes what is wanted; no system call when nothing changes. */
void loop_want(struct loop *loop, struct loop_source *source, uint32_t events);
void loop_remove(struct loop *loop, struct loop_source *source);

/* Waits until a source is ready or the monotonic deadline has passed (0: only looks), then calls the ready ones, each once. `loan` (NULL: none) is on
   offer while it waits; its borrowers may add and remove sources as its own thread may. */
enum quire_status loop_turn(struct loop *loop, uint64_t deadline_ns, struct loan *loan);

/* A wake-up: any number of loop_wake calls, from any thread or a signal handler, lead to at least one call of `woken` on the loop. */
struct loop_wakeup {
    struct loop_source source;
    void (*woken)(struct loop_wakeup *wakeup);
};
enum quire_status loop_wakeup_add(struct loop *loop, struct loop_wakeup *wakeup);
void loop_wakeup_remove(struct loop *loop, struct loop_wakeup *wakeup);
void loop_wake(const struct loop_wakeup *wakeup);

/* The monotonic clock. */
uint64_t loop_now_ns(void);

#endif
