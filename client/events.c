/* The event fd: an epoll set over the connection, a timer for what is due, and a counter that is up while completions or work are waiting. */
#include "client/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

void events_init(struct events *events) { *events = (struct events){.epoll = -1, .timer = -1, .done = -1, .watched = -1}; }

void events_close(struct events *events) {
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? events->epoll : i == 1 ? events->timer : events->done;
        if (fd >= 0) {
            close(fd);
        }
    }
    events_init(events);
}

static bool add(struct events *events, int fd, uint32_t what) {
    struct epoll_event event = {.events = what, .data.fd = fd};
    return epoll_ctl(events->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool open_all(struct events *events) {
    events->epoll = epoll_create1(EPOLL_CLOEXEC);
    events->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    events->done = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (events->epoll < 0 || events->timer < 0 || events->done < 0 || !add(events, events->timer, EPOLLIN) ||
        !add(events, events->done, EPOLLIN)) {
        events_close(events);
        return false;
    }
    return true;
}

void events_forget_socket(quire_client *client) {
    struct events *events = &client->events;
    if (events->epoll >= 0 && events->watched >= 0) {
        epoll_ctl(events->epoll, EPOLL_CTL_DEL, events->watched, NULL);
    }
    events->watched = -1;
}

static void watch_transport(struct events *events, const struct conn *conn) {
    const struct transport *transport = conn->transport;
    bool out = transport != NULL && (tx_waits(conn) || transport->wants_out);
    if (transport == NULL || (events->watched == transport->fd && events->watched_out == out)) {
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0), .data.fd = transport->fd};
    int how = events->watched == transport->fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(events->epoll, how, transport->fd, &event) == 0) {
        events->watched = transport->fd;
        events->watched_out = out;
    }
}

static void set_timer(struct events *events, uint64_t due_ns) {
    if (due_ns == events->armed_ns) {
        return;
    }
    struct itimerspec at = {0};
    if (due_ns != UINT64_MAX) {
        at.it_value.tv_sec = (time_t)(due_ns / QUIRE_NS_PER_S);
        at.it_value.tv_nsec = (long)(due_ns % QUIRE_NS_PER_S);
    }
    timerfd_settime(events->timer, TFD_TIMER_ABSTIME, &at, NULL);
    events->armed_ns = due_ns;
}

static void set_done(struct events *events, bool set) {
    if (set == events->done_set) {
        return;
    }
    uint64_t value = 1;
    ssize_t moved = set ? write(events->done, &value, sizeof(value)) : read(events->done, &value, sizeof(value));
    (void)moved; /* a counter that is up already, or down already, is what was wanted */
    events->done_set = set;
}

void events_update(quire_client *client) {
    struct events *events = &client->events;
    if (events->epoll < 0) {
        return;
    }
    set_timer(events, progress_due_ns(client));
    bool more = client->conn.transport != NULL && client->conn.transport->more;
    set_done(events, more || !list_empty(&client->done) || !list_empty(&client->runnable));
    watch_transport(events, &client->conn);
}

int quire_event_fd(quire_client *client) {
    if (client == NULL) {
        error_set(QUIRE_INVALID, "quire_event_fd: client is NULL");
        return -1;
    }
    client_enter(client);
    if (client->events.epoll < 0 && !open_all(&client->events)) {
        error_set(QUIRE_SYSTEM, "no descriptors left for the event fd: %s", strerrordesc_np(errno));
    }
    int fd = client->events.epoll;
    client_leave(client);
    return fd;
}
