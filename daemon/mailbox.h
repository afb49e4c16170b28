/*
 * The mailbox: how other threads have a function run on the loop thread and wait for it, at most so long.
 *
 * Bounded: when MAILBOX_SLOTS calls are under way the next one is told to try again. A caller that stops waiting leaves its slot
 * behind, and the loop frees it after running the function.
 */
#ifndef DAEMON_MAILBOX_H
#define DAEMON_MAILBOX_H

#include "daemon/loop.h"

#include <pthread.h>

#define MAILBOX_SLOTS 64

struct core;

enum mailbox_state { MAILBOX_FREE, MAILBOX_QUEUED, MAILBOX_RUNNING, MAILBOX_DONE, MAILBOX_CANCELLED };

struct mailbox_slot {
    enum mailbox_state state;
    bool abandoned; /* the caller's time was up */
    uint64_t order;
    void (*fn)(struct core *core, void *arg);
    void *arg;
};

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct loop_wakeup wakeup;
    struct mailbox_slot slots[MAILBOX_SLOTS];
    uint64_t next_order;
    struct core *core; /* first argument of the functions */
    bool closed;       /* nobody runs them any more */
    pthread_t thread;
    bool has_thread;
};

enum quire_status mailbox_setup(struct mailbox *mailbox, struct loop *loop, struct core *core);
void mailbox_teardown(struct mailbox *mailbox, struct loop *loop);
/* The calling thread is the one that runs the functions. */
void mailbox_attach(struct mailbox *mailbox);
/* Calls not yet run end as CANCELLED, and so do later ones. */
void mailbox_close(struct mailbox *mailbox);
/* OK: fn has run. TIMEOUT: it has not, or not to its end, and may still. RETRY: full. CANCELLED: closed. */
enum quire_status mailbox_call(struct mailbox *mailbox, void (*fn)(struct core *core, void *arg), void *arg, uint32_t timeout_ms);

#endif
