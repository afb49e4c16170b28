#include "daemon/steward.h"

#include "daemon/notify.h"
#include "proto/base/base.h"
#include "proto/status.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x57e3a2d1u
#define TICK_MS 250
#define WAKE_SIGNAL SIGUSR2  /* from steward_stop, so that it need not wait for a tick */
#define BEYOND_DRAIN_MS 5000 /* after the bound of an orderly stop the process is ended */

struct steward {
    uint32_t magic;
    pthread_mutex_t lock;
    struct core *core; /* NULL: it is being taken apart */
    pthread_t thread;
    atomic_uint drain_ms;
    atomic_bool leave;
    uint64_t stop_asked_ms; /* 0: nobody asked yet */
    uint64_t fed_ms;
};

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / QUIRE_NS_PER_MS;
}

static void the_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, WAKE_SIGNAL);
}

void steward_block_signals(void) {
    sigset_t set;
    the_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool steward_stop_waits(void) {
    sigset_t waiting;
    return sigpending(&waiting) == 0 && (sigismember(&waiting, SIGTERM) == 1 || sigismember(&waiting, SIGINT) == 1);
}

static void stop(struct steward *steward, int signal_number) {
    if (steward->stop_asked_ms != 0) {
        log_warn("stopped_at_once", "a second signal came (%s): leaving without waiting for work under way", strsignal(signal_number));
        _exit(EXIT_FAILURE);
    }
    steward->stop_asked_ms = now_ms();
    log_info("stopping", "%s: answering what is under way, at most %u ms; a second signal stops at once",
             signal_number == SIGINT ? "interrupted" : "asked to terminate", atomic_load(&steward->drain_ms));
    notify_stopping();
    core_stop(steward->core);
}

/* Lives on in the mailbox when the loop is too slow to answer in time, so it is static: one reload at a time. */
static struct {
    core_reload *reload;
    void *ctx;
} reload_call;

static void reload_on_loop(struct core *core, void *arg) {
    struct core_reloaded done;
    (void)core;
    (void)arg;
    reload_call.reload(reload_call.ctx, &done); /* it logs its outcome itself */
}

static void reload(struct steward *steward) {
    if (steward->stop_asked_ms != 0 || steward->core == NULL) {
        return;
    }
    notify_reloading();
    enum quire_status status = core_call(steward->core, reload_on_loop, NULL, 5000);
    if (status != QUIRE_OK) {
        log_warn("reload_late", "the loop did not get to the reload: %s", quire_status_text(status));
    }
    notify_ready("serving");
}

static void feed_watchdog(struct steward *steward) {
    uint64_t now = now_ms(), every_ms = notify_watchdog_ms();
    if (steward->core == NULL || every_ms == 0 || now - steward->fed_ms < every_ms / 4) {
        return;
    }
    uint64_t age_ms = core_heartbeat_age_ms(steward->core);
    if (age_ms > every_ms / 2) {
        log_error("loop_silent", "the loop has not come round for %llu ms; the service manager gets no sign of life",
                  (unsigned long long)age_ms);
    } else {
        notify_alive();
    }
    steward->fed_ms = now;
}

static void check_drain(struct steward *steward) {
    if (steward->core == NULL && steward->stop_asked_ms == 0) {
        steward->stop_asked_ms = now_ms(); /* nobody asked, it ends all the same */
    }
    uint64_t bound_ms = (uint64_t)atomic_load(&steward->drain_ms) + BEYOND_DRAIN_MS;
    if (steward->stop_asked_ms != 0 && now_ms() - steward->stop_asked_ms > bound_ms) {
        log_error("stop_overdue", "%s within %llu ms: leaving",
                  steward->core != NULL ? "the loop did not stop" : "the system did not give back all that was asked of it",
                  (unsigned long long)bound_ms);
        _exit(EXIT_FAILURE);
    }
}

static void *run(void *arg) {
    struct steward *steward = arg;
    const struct timespec tick = {.tv_nsec = (long)(TICK_MS * QUIRE_NS_PER_MS)};
    sigset_t set;
    QUIRE_MAGIC_CHECK(steward, MAGIC);
    the_signals(&set);
    while (!atomic_load(&steward->leave)) {
        int signal_number = sigtimedwait(&set, NULL, &tick);
        pthread_mutex_lock(&steward->lock);
        if (signal_number == SIGHUP) {
            reload(steward);
        } else if ((signal_number == SIGTERM || signal_number == SIGINT) && (steward->core != NULL || steward->stop_asked_ms != 0)) {
            stop(steward, signal_number);
        }
        feed_watchdog(steward);
        check_drain(steward);
        pthread_mutex_unlock(&steward->lock);
    }
    return NULL;
}

enum quire_status steward_start(struct core *core, core_reload *reload_function, void *ctx, uint32_t drain_ms, struct steward **out) {
    struct steward *steward = calloc(1, sizeof *steward);
    if (steward == NULL) {
        return QUIRE_NO_MEMORY;
    }
    steward->magic = MAGIC;
    steward->core = core;
    pthread_mutex_init(&steward->lock, NULL);
    reload_call.reload = reload_function;
    reload_call.ctx = ctx;
    atomic_init(&steward->drain_ms, drain_ms);
    if (pthread_create(&steward->thread, NULL, run, steward) != 0) {
        pthread_mutex_destroy(&steward->lock);
        free(steward);
        return QUIRE_SYSTEM;
    }
    pthread_setname_np(steward->thread, "steward");
    *out = steward;
    return QUIRE_OK;
}

void steward_set_drain(struct steward *steward, uint32_t drain_ms) { atomic_store(&steward->drain_ms, drain_ms); }

void steward_let_go(struct steward *steward) {
    if (steward != NULL) {
        pthread_mutex_lock(&steward->lock);
        steward->core = NULL;
        pthread_mutex_unlock(&steward->lock);
    }
}

void steward_stop(struct steward **steward) {
    if (*steward == NULL) {
        return;
    }
    atomic_store(&(*steward)->leave, true);
    pthread_kill((*steward)->thread, WAKE_SIGNAL);
    pthread_join((*steward)->thread, NULL);
    pthread_mutex_destroy(&(*steward)->lock);
    free(*steward);
    *steward = NULL;
}
