#include "daemon/net/rail.h"

#include "daemon/core_internal.h"

#include <signal.h>
#include <stdlib.h>

static void rail_take(struct rail *rail) {
    for (struct exchange_msg *msg = exchange_take(&rail->in), *next; msg != NULL; msg = next) {
        next = msg->next;
        rail->ops->message(rail, msg);
    }
}

static void rail_messages(struct loop_wakeup *wakeup) {
    rail_take(LOOP_CONTAINER(LOOP_CONTAINER(wakeup, struct exchange, wakeup), struct rail, in));
}

/* What a turn brought for the core is handled here if that sleeps: waking it, and being woken by it, would take longer. Else it is woken. */
static void rail_tell(struct rail *rail) {
    if (exchange_is_empty(&rail->out)) {
        return;
    }
    if (!core_borrow(rail->core)) {
        loop_wake(&rail->out.wakeup);
        return;
    }
    atomic_store(&rail->in.quiet, true);
    rail->out.wakeup.woken(&rail->out.wakeup);
    bool wake = core_return(rail->core);
    if (wake) {
        loop_wake(&rail->out.wakeup);
    }
    atomic_store(&rail->in.quiet, false);
    rail_take(rail);
    rail->more = true;
}

static void *rail_run(void *arg) {
    struct rail *rail = arg;
    atomic_store(&rail->out.quiet, true);
    uint64_t tick_ns = loop_now_ns() + RAIL_TICK_NS;
    while (!atomic_load(&rail->stopping)) {
        loop_turn(rail->loop, rail->more ? 0 : tick_ns, NULL);
        rail->now_ns = loop_now_ns();
        rail->more = rail->ops->turn(rail);
        if (rail->now_ns >= tick_ns) {
            rail->ops->tick(rail, rail->now_ns);
            tick_ns = rail->now_ns + RAIL_TICK_NS;
        }
        rail_tell(rail);
    }
    atomic_store(&rail->out.quiet, false);
    rail->ops->stop(rail);
    return NULL;
}

enum quire_status rail_init(struct rail *rail, const struct rail_ops *ops, struct core *core, const struct rail_limits *limits,
                            void (*taken)(struct loop_wakeup *wakeup)) {
    rail->ops = ops;
    rail->core = core;
    rail->limits = *limits;
    rail->now_ns = loop_now_ns();
    QUIRE_FORWARD(loop_create(&rail->loop));
    enum quire_status status = exchange_setup(&rail->in, rail->loop, rail_messages);
    if (status == QUIRE_OK) {
        status = exchange_setup(&rail->out, core->loop, taken);
        if (status != QUIRE_OK) {
            exchange_teardown(&rail->in, rail->loop);
        }
    }
    if (status != QUIRE_OK) {
        loop_destroy(&rail->loop);
    }
    return status;
}

/* Beside its card where that is known, so that what it reads and writes lies there, too. */
static void rail_settle(struct rail *rail) {
    char text[PLACE_TEXT_BYTES];
    pthread_setname_np(rail->thread, "quired-rail");
    place_text(&rail->place, text);
    if (rail->place.pinned && pthread_setaffinity_np(rail->thread, sizeof rail->place.processors, &rail->place.processors) != 0) {
        rail->place.pinned = false;
        log_warn("rail_not_pinned", "%s: rail on %s: the system does not pin it there; it runs anywhere", rail->ops->scheme, text);
    } else {
        log_info("rail", "%s: rail on %s: %s", rail->ops->scheme, text, rail->place.addresses);
    }
}

/* Signals are for the threads that are there for them. */
enum quire_status rail_start(struct rail *rail) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rail->has_thread = pthread_create(&rail->thread, NULL, rail_run, rail) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!rail->has_thread) {
        return QUIRE_SYSTEM;
    }
    rail_settle(rail);
    return QUIRE_OK;
}

void rail_stop(struct rail *rail) {
    if (rail->has_thread) {
        atomic_store(&rail->stopping, true);
        loop_wake(&rail->in.wakeup);
        pthread_join(rail->thread, NULL);
        rail->has_thread = false;
    } else {
        rail->ops->stop(rail);
    }
    exchange_close(&rail->in);
}

void rail_destroy(struct rail **handle) {
    struct rail *rail = *handle;
    *handle = NULL;
    exchange_teardown(&rail->out, rail->core->loop);
    exchange_teardown(&rail->in, rail->loop);
    loop_destroy(&rail->loop);
    rail->ops->free(rail);
}
