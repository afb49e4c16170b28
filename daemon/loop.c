#include "daemon/loop.h"

#include "daemon/loan.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOOP_BATCH 64

struct loop {
    int epoll_fd;
    struct loop_source timer;
    uint64_t armed_ns; /* when the timer will fire, UINT64_MAX: not armed */
    struct epoll_event batch[LOOP_BATCH];
    int batch_at, batch_count;
    uint64_t removals; /* of sources, since it was created */
};

uint64_t loop_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * QUIRE_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void loop_timer_ready(struct loop_source *source, uint32_t events) {
    struct loop *loop = LOOP_CONTAINER(source, struct loop, timer);
    uint64_t expirations;
    (void)events;
    if (read(source->fd, &expirations, sizeof expirations) == (ssize_t)sizeof expirations) {
        loop->armed_ns = UINT64_MAX;
    }
}

enum quire_status loop_create(struct loop **out) {
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        return QUIRE_NO_MEMORY;
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer = (struct loop_source){
        .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), .events = EPOLLIN, .ready = loop_timer_ready};
    loop->armed_ns = UINT64_MAX;
    if (loop->epoll_fd < 0 || loop->timer.fd < 0 || loop_add(loop, &loop->timer) != QUIRE_OK) {
        loop_destroy(&loop);
        return QUIRE_SYSTEM;
    }
    *out = loop;
    return QUIRE_OK;
}

void loop_destroy(struct loop **loop) {
    if (*loop == NULL) {
        return;
    }
    if ((*loop)->timer.fd >= 0) {
        close((*loop)->timer.fd);
    }
    if ((*loop)->epoll_fd >= 0) {
        close((*loop)->epoll_fd);
    }
    free(*loop);
    *loop = NULL;
}

enum quire_status loop_add(struct loop *loop, struct loop_source *source) {
    struct epoll_event event = {.events = source->events, .data.ptr = source};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) == 0 ? QUIRE_OK : QUIRE_SYSTEM;
}

void loop_want(struct loop *loop, struct loop_source *source, uint32_t events) {
    if (source->events == events) {
        return;
    }
    struct epoll_event event = {.events = events, .data.ptr = source};
    int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
    assert(rc == 0); /* modifying what was added takes no memory */
    (void)rc;
    source->events = events;
}

void loop_remove(struct loop *loop, struct loop_source *source) {
    loop->removals++;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    for (int i = loop->batch_at; i < loop->batch_count; i++) {
        if (loop->batch[i].data.ptr == source) {
            loop->batch[i].data.ptr = NULL;
        }
    }
}

/* Arms only for an earlier time: a later one is served by a wake-up in vain, which is cheaper than a system call a turn. */
static void loop_arm(struct loop *loop, uint64_t deadline_ns) {
    if (deadline_ns >= loop->armed_ns) {
        return;
    }
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(deadline_ns / QUIRE_NS_PER_S), .tv_nsec = (long)(deadline_ns % QUIRE_NS_PER_S)}};
    if (timerfd_settime(loop->timer.fd, TFD_TIMER_ABSTIME, &when, NULL) == 0) {
        loop->armed_ns = deadline_ns;
    }
}

static int loop_wait(struct loop *loop, uint64_t deadline_ns, struct loan *loan) {
    uint64_t removals = loop->removals;
    if (loan == NULL || deadline_ns == 0) {
        return epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, deadline_ns == 0 ? 0 : -1);
    }
    loan_offer(loan);
    int count = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, -1), error = errno;
    loan_recall(loan);
    errno = error;
    /* A borrower may have removed what was found ready: it is looked for again. */
    return removals == loop->removals ? count : epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, 0);
}

enum quire_status loop_turn(struct loop *loop, uint64_t deadline_ns, struct loan *loan) {
    if (deadline_ns != 0 && deadline_ns != UINT64_MAX) {
        loop_arm(loop, deadline_ns);
    }
    int count = loop_wait(loop, deadline_ns, loan);
    if (count < 0) {
        return errno == EINTR ? QUIRE_OK : QUIRE_SYSTEM;
    }
    loop->batch_count = count;
    for (loop->batch_at = 0; loop->batch_at < loop->batch_count;) {
        struct epoll_event *event = &loop->batch[loop->batch_at++];
        struct loop_source *source = event->data.ptr;
        if (source != NULL) {
            source->ready(source, event->events);
        }
    }
    loop->batch_count = 0;
    return QUIRE_OK;
}

static void loop_wakeup_ready(struct loop_source *source, uint32_t events) {
    struct loop_wakeup *wakeup = LOOP_CONTAINER(source, struct loop_wakeup, source);
    uint64_t count;
    (void)events;
    if (read(source->fd, &count, sizeof count) == (ssize_t)sizeof count) {
        wakeup->woken(wakeup);
    }
}

enum quire_status loop_wakeup_add(struct loop *loop, struct loop_wakeup *wakeup) {
    wakeup->source = (struct loop_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN, .ready = loop_wakeup_ready};
    if (wakeup->source.fd < 0) {
        return QUIRE_SYSTEM;
    }
    return loop_add(loop, &wakeup->source);
}

void loop_wakeup_remove(struct loop *loop, struct loop_wakeup *wakeup) {
    if (wakeup->source.fd >= 0 && wakeup->woken != NULL) {
        loop_remove(loop, &wakeup->source);
        close(wakeup->source.fd);
        wakeup->source.fd = -1;
        wakeup->woken = NULL;
    }
}

void loop_wake(const struct loop_wakeup *wakeup) {
    int saved = errno;
    uint64_t one = 1;
    ssize_t written = write(wakeup->source.fd, &one, sizeof one); /* full means that a wake-up is pending anyway */
    (void)written;
    errno = saved;
}
