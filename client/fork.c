/*
 * fork: the child's clients keep their options and namespaces, nothing else. Their descriptors are closed at once, never shut down, so that the
 * parent's session neither notices nor outlives the parent; the pool is not mapped in the child (MADV_DONTFORK). The
 * first call in the child makes the client its own.
 */
#include "client/internal.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct link registry = {&registry, &registry};
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define FOR_EACH_CLIENT(client)                                                                                                            \
    for (struct link *at_ = registry.next; at_ != &registry && (client = LINK_OWNER(at_, struct quire_client, registry)) != NULL;          \
         at_ = at_->next)

static void before_fork(void) {
    quire_client *client;
    pthread_mutex_lock(&registry_lock);
    FOR_EACH_CLIENT(client) { pthread_mutex_lock(&client->lock); }
}

static void in_parent(void) {
    quire_client *client;
    FOR_EACH_CLIENT(client) { pthread_mutex_unlock(&client->lock); }
    pthread_mutex_unlock(&registry_lock);
}

static void drop_descriptors(quire_client *client) {
    client->events.watched = -1; /* the epoll set is shared with the parent: closed, not changed */
    client->polling = false;     /* by a thread that is not here */
    conn_close_transport(client, true);
    if (client->closing != NULL) {
        client->closing->ops->close(client->closing, true);
    }
    if (client->kick >= 0) {
        close(client->kick);
    }
    client->kick = -1;
    client->polled = client->closing = NULL;
    events_close(&client->events);
}

static void in_child(void) {
    quire_client *client;
    FOR_EACH_CLIENT(client) {
        drop_descriptors(client);
        client->forked = true;
        atomic_store(&client->serial_up, 0);
        pthread_mutex_init(&client->lock, NULL);
    }
    pthread_mutex_init(&registry_lock, NULL);
}

static void install(void) { pthread_atfork(before_fork, in_parent, in_child); }

void fork_register(quire_client *client) {
    pthread_once(&once, install);
    pthread_mutex_lock(&registry_lock);
    link_append(&registry, &client->registry);
    pthread_mutex_unlock(&registry_lock);
}

void fork_unregister(quire_client *client) {
    pthread_mutex_lock(&registry_lock);
    link_remove(&client->registry);
    pthread_mutex_unlock(&registry_lock);
}

/* Chunks of put frames that the parent has under way. */
static void drop_requests(quire_client *client) {
    for (uint32_t i = 0; i < client->n_requests; i++) {
        struct chunk *chunk = client->requests[i].chunk;
        if (client->requests[i].ns != NULL) {
            client->requests[i].ns->reopening = false;
        }
        if (chunk != NULL) {
            free(chunk->items);
            free(chunk->wire);
            free(chunk);
        }
    }
    free(client->requests);
    client->requests = NULL;
    client->n_requests = client->live_requests = 0;
}

void fork_reset(quire_client *client) {
    client->forked = false;
    client->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    list_init(&client->waiters); /* threads that are not here */
    client->leader = NULL;
    drop_requests(client);
    lease_orphan_all(client, true); /* before their jobs let go of them: nobody is to be told, and no mapping to be undone */
    job_forget_all(client);
    if (client->conn.pool != NULL) {
        client->conn.pool->inherited = true;
        pool_unref(&client->conn.pool);
    }
    free(client->window); /* its mapping is the parent's */
    client->window = NULL;
    client->window_asked = client->window_recalled = false;
    client->window_retry_ns = 0;
    client->next_wake_ns = UINT64_MAX;
    conn_reset_buffers(client);
    client->conn.state = CONN_DOWN;
    client->conn.next_attempt_ns = 0;
    client->conn.failures = 0;
    client->random ^= (uint64_t)getpid() * 0x9e3779b97f4a7c15ull;
    if (client->has_thread) {
        client->has_thread = false;
        progress_start_thread(client); /* without it work still advances in the calls */
    }
}
