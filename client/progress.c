/*
 * Leader and followers. A blocked thread runs what is runnable; when nothing is, the first one becomes the leader and polls the socket without the
 * lock, the others sleep until their job moves or the leader leaves. So one blocked thread drives its own I/O, without hops.
 */
#include "client/internal.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

/* How long the caller of a blocking look-up polls before it sleeps: measured, an answer takes about 0.2 µs a key, cold. */
#define POLL_BASE_NS 40000u
#define POLL_KEY_NS 200u
#define POLL_MOST_NS 300000u

void waiter_init(struct waiter *waiter, struct job *job) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&waiter->cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    waiter->job = job;
    waiter->asleep = false;
    list_init(&waiter->link);
}

void progress_kick(quire_client *client) {
    if (client->polling) {
        uint64_t one = 1;
        ssize_t written = write(client->kick, &one, sizeof(one));
        (void)written; /* full means that the leader is kicked already */
    }
}

void progress_wake_at(quire_client *client, uint64_t at_ns) {
    client->next_wake_ns = quire_min_u64(client->next_wake_ns, at_ns);
    if (at_ns < client->poll_until_ns) {
        progress_kick(client);
    }
}

static void wake(quire_client *client, struct waiter *waiter) {
    if (waiter == client->leader) {
        progress_kick(client);
    } else {
        pthread_cond_signal(&waiter->cond);
    }
}

void progress_wake(quire_client *client, const struct job *job) {
    for (struct link *at = client->waiters.next; at != &client->waiters; at = at->next) {
        struct waiter *waiter = LINK_OWNER(at, struct waiter, link);
        if (waiter->job == NULL || waiter->job == job) {
            wake(client, waiter);
        }
    }
}

uint64_t progress_due_ns(const quire_client *client) {
    const struct conn *conn = &client->conn;
    uint64_t due_ns = quire_min_u64(client->next_wake_ns, quire_min_u64(heartbeat_due_ns(client), afar_due_ns(client)));
    if (client->n_heap > 0) {
        due_ns = quire_min_u64(due_ns, client->heap[0]->deadline_ns);
    }
    if (conn->state == CONN_HELLO || conn->state == CONN_REOPENING) {
        due_ns = quire_min_u64(due_ns, conn->hello_deadline_ns);
    }
    if (conn->state == CONN_DOWN && !list_empty(&client->stalled_conn)) {
        due_ns = quire_min_u64(due_ns, conn->next_attempt_ns);
    }
    return due_ns;
}

static struct timespec time_left(uint64_t until_ns) {
    uint64_t now_ns = clock_ns(), left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    left_ns = quire_min_u64(left_ns, 3600 * QUIRE_NS_PER_S);
    return (struct timespec){.tv_sec = (time_t)(left_ns / QUIRE_NS_PER_S), .tv_nsec = (long)(left_ns % QUIRE_NS_PER_S)};
}

/*
 * A look-up's answer comes so soon that falling asleep and being woken would be a good part of it: its caller polls for a little longer than
 * the answer should take. Bounded; not on a machine with one processor, where it would only keep the daemon from answering.
 */
static uint64_t busy_poll_ns(const quire_client *client, const struct job *job) {
    if (job == NULL || job->kind != JOB_LOOKUP || job->async || !client->many_processors) {
        return 0;
    }
    return quire_min_u64(POLL_BASE_NS + job->u.lookup.args.n_keys * POLL_KEY_NS, POLL_MOST_NS);
}

static int busy_poll(struct pollfd *fds, uint64_t for_ns, uint64_t until_ns) {
    static const struct timespec zero;
    int ready = 0;
    if (for_ns == 0) {
        return ready;
    }
    for (uint64_t end_ns = quire_min_u64(until_ns, clock_ns() + for_ns); ready == 0 && clock_ns() < end_ns;) {
        ready = ppoll(fds, 2, &zero, NULL);
    }
    return ready;
}

static void lead(quire_client *client, struct waiter *self, uint64_t until_ns) {
    const struct conn *conn = &client->conn;
    const struct transport *transport = conn->transport;
    struct pollfd fds[2] = {{.fd = client->kick, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (transport != NULL) {
        fds[1].fd = transport->fd;
        fds[1].events |= (short)(tx_waits(conn) || transport->wants_out ? POLLOUT : 0);
    }
    client->poll_until_ns = transport != NULL && transport->more ? 0 : quire_min_u64(until_ns, progress_due_ns(client));
    struct timespec left = time_left(client->poll_until_ns);
    client->leader = self;
    client->polling = true;
    client->polled = transport;
    uint64_t poll_ns = busy_poll_ns(client, self->job), wake_ns = client->poll_until_ns;
    client_unlock(client);
    int ready = busy_poll(fds, poll_ns, wake_ns);
    ready = ready != 0 ? ready : ppoll(fds, 2, &left, NULL);
    client_lock(client);
    client->leader = NULL;
    client->polling = false;
    client->polled = NULL;
    if (client->closing != NULL) {
        client->closing->ops->close(client->closing, false);
        client->closing = NULL;
    }
    if (ready > 0 && fds[0].revents != 0) {
        uint64_t kicks;
        ssize_t got = read(client->kick, &kicks, sizeof(kicks));
        (void)got;
    }
    conn_io(client);
}

static void follow(quire_client *client, struct waiter *self, const struct job *job, uint64_t until_ns) {
    if (job != NULL) {
        until_ns = quire_min_u64(until_ns, job->deadline_ns);
    }
    uint64_t at_ns = quire_min_u64(until_ns, clock_ns() + 3600 * QUIRE_NS_PER_S);
    struct timespec at = {.tv_sec = (time_t)(at_ns / QUIRE_NS_PER_S), .tv_nsec = (long)(at_ns % QUIRE_NS_PER_S)};
    events_update(client);
    self->asleep = true;
    pthread_cond_timedwait(&self->cond, &client->lock, &at);
    self->asleep = false;
    job_expire(client, clock_ns());
}

/* A blocked caller before the library's own thread, which does not poll for callers. */
void progress_hand_over(quire_client *client) {
    struct waiter *next = NULL;
    for (struct link *at = client->waiters.next; at != &client->waiters && client->leader == NULL; at = at->next) {
        struct waiter *waiter = LINK_OWNER(at, struct waiter, link);
        if (waiter->asleep && (next == NULL || next == &client->thread_waiter)) {
            next = waiter;
        }
    }
    if (next != NULL) {
        pthread_cond_signal(&next->cond);
    }
}

bool progress_until(quire_client *client, struct job *job, bool (*finished)(quire_client *client, void *arg), void *arg,
                    uint64_t until_ns) {
    struct waiter self;
    waiter_init(&self, job);
    link_append(&client->waiters, &self.link);
    bool over;
    while (!(over = finished(client, arg))) {
        if (job != NULL && !job->async && job->runnable) {
            job_advance(client, job);
        } else if (!list_empty(&client->runnable)) {
            job_advance(client, LINK_OWNER(client->runnable.next, struct job, link));
        } else if (until_ns != UINT64_MAX && clock_ns() >= until_ns) {
            break;
        } else if (client->leader == NULL) {
            lead(client, &self, until_ns);
        } else {
            follow(client, &self, job, until_ns);
        }
    }
    link_remove(&self.link);
    pthread_cond_destroy(&self.cond);
    progress_hand_over(client);
    return over;
}

/* ---- the library's own thread, when asked for ----------------------------------------------------------------------------- */
static void *progress_thread(void *arg) {
    quire_client *client = arg;
    struct waiter *self = &client->thread_waiter;
    client_lock(client);
    while (!client->stop_thread) {
        if (!list_empty(&client->runnable)) {
            job_advance(client, LINK_OWNER(client->runnable.next, struct job, link));
        } else if (client->active_jobs > 0 && client->leader == NULL) {
            lead(client, self, UINT64_MAX);
        } else {
            follow(client, self, NULL, UINT64_MAX);
        }
    }
    client_unlock(client);
    return NULL;
}

enum quire_status progress_start_thread(quire_client *client) {
    waiter_init(&client->thread_waiter, NULL);
    client->stop_thread = false;
    /* The host program's signals are not for this thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&client->thread, NULL, progress_thread, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        pthread_cond_destroy(&client->thread_waiter.cond);
        return error_set(QUIRE_SYSTEM, "no thread could be started for QUIRE_OPEN_PROGRESS_THREAD");
    }
    client->has_thread = true;
    link_append(&client->waiters, &client->thread_waiter.link);
    return QUIRE_OK;
}

void progress_stop_thread(quire_client *client) {
    if (!client->has_thread) {
        return;
    }
    client_lock(client);
    client->stop_thread = true;
    wake(client, &client->thread_waiter);
    client_unlock(client);
    pthread_join(client->thread, NULL);
    client_lock(client);
    link_remove(&client->thread_waiter.link);
    client->has_thread = false;
    client_unlock(client);
    pthread_cond_destroy(&client->thread_waiter.cond);
}
