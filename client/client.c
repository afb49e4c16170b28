/* Opening and closing a client, its options, its address, its clock. */
#include "client/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * QUIRE_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t deadline_after(const quire_client *client, uint32_t deadline_ms) {
    return clock_ns() + (deadline_ms == 0 ? client->options.default_deadline_ms : deadline_ms) * QUIRE_NS_PER_MS;
}

uint32_t remaining_ms(uint64_t deadline_ns, uint64_t now_ns) {
    return deadline_ns <= now_ns ? 1 : (uint32_t)quire_min_u64((deadline_ns - now_ns) / QUIRE_NS_PER_MS + 1, UINT32_MAX);
}

uint32_t patience_ms(uint64_t deadline_ns, uint64_t now_ns) {
    uint32_t left_ms = remaining_ms(deadline_ns, now_ns);
    return left_ms - (uint32_t)quire_min_u64(left_ms / 8, 250);
}

/* For jitter and put ids: distinct, not secret. */
uint64_t client_random(quire_client *client) {
    uint64_t x = client->random += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void client_lock(quire_client *client) {
    QUIRE_MAGIC_CHECK(client, CLIENT_MAGIC);
    pthread_mutex_lock(&client->lock);
}

void client_unlock(quire_client *client) {
    events_update(client);
    pthread_mutex_unlock(&client->lock);
}

void client_enter(quire_client *client) {
    client_lock(client);
    if (client->forked) {
        fork_reset(client);
    }
}

void client_leave(quire_client *client) { client_unlock(client); }

/* ---- options -------------------------------------------------------------------------------------------------------------- */
/* A folder in /tmp is believed only when it is ours and nobody else may write to it. */
static bool is_private(const char *socket_path) {
    char folder[128];
    struct stat facts;
    snprintf(folder, sizeof(folder), "%s", socket_path);
    *strrchr(folder, '/') = '\0';
    return lstat(folder, &facts) == 0 && S_ISDIR(facts.st_mode) && facts.st_uid == geteuid() && (facts.st_mode & 022) == 0;
}

/* The places where a daemon listens by default, of this user first; the one that exists, else the one it would use. */
static const char *default_address(char *buffer, size_t size) {
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/') {
        int length = snprintf(buffer, size, "%s/quire/quired.sock", runtime);
        if (length > 0 && (size_t)length < size && access(buffer, F_OK) == 0) {
            return buffer;
        }
    }
    if (geteuid() != 0 && access("/run/quire/quired.sock", F_OK) != 0) {
        snprintf(buffer, size, "/tmp/quire-%u/quired.sock", (unsigned)geteuid());
        if (is_private(buffer)) {
            return buffer;
        }
    }
    return "/run/quire/quired.sock";
}

static enum quire_status set_address(quire_client *client, const char *address) {
    char buffer[128];
    if (address == NULL || address[0] == '\0') {
        address = secure_getenv("QUIRE_SOCKET");
    }
    if (address == NULL || address[0] == '\0') {
        address = default_address(buffer, sizeof(buffer));
    }
    return routes_set(client, address);
}

static enum quire_status set_options(quire_client *client, const quire_options *options) {
    quire_options *mine = &client->options;
    if (options != NULL) {
        *mine = *options;
    }
    mine->connect_timeout_ms = mine->connect_timeout_ms == 0 ? 2000 : mine->connect_timeout_ms;
    mine->default_deadline_ms = mine->default_deadline_ms == 0 ? 5000 : mine->default_deadline_ms;
    mine->max_jobs = mine->max_jobs == 0 ? 1024 : mine->max_jobs;
    mine->ingest_bytes = mine->ingest_bytes == 0 ? 16u << 20 : mine->ingest_bytes;
    if (mine->max_jobs > REQUESTS_MAX) {
        return error_set(QUIRE_INVALID, "max_jobs %u is more than %u", mine->max_jobs, REQUESTS_MAX);
    }
    if ((mine->flags & ~(uint32_t)(QUIRE_OPEN_PROGRESS_THREAD | QUIRE_OPEN_LAZY)) != 0) {
        return error_set(QUIRE_INVALID, "unknown bits in quire_options.flags: 0x%x", mine->flags);
    }
    snprintf(client->name, sizeof(client->name), "%s", mine->client_name != NULL ? mine->client_name : program_invocation_short_name);
    QUIRE_FORWARD(set_address(client, mine->address));
    if (routes_wire(client)) {
        QUIRE_FORWARD(wire_settings(client, mine));
    }
    mine->address = client->routes[0].full;
    mine->client_name = client->name;
    return QUIRE_OK;
}

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
static void init_lists(quire_client *client) {
    list_init(&client->registry);
    list_init(&client->waiters);
    list_init(&client->namespaces);
    list_init(&client->leases);
    client->next_wake_ns = UINT64_MAX;
    client->ping_after_ns = QUIRE_HEARTBEAT_AFTER_MS * QUIRE_NS_PER_MS;
    client->silence_ns = QUIRE_HEARTBEAT_BOUND_MS * QUIRE_NS_PER_MS;
    client->kick = -1;
    events_init(&client->events);
}

static enum quire_status allocate(quire_client *client) {
    client->jobs = calloc(client->options.max_jobs, sizeof(*client->jobs));
    client->free_slots = calloc(client->options.max_jobs, sizeof(*client->free_slots));
    if (client->jobs == NULL || client->free_slots == NULL) {
        return error_set(QUIRE_NO_MEMORY, "out of memory for %u jobs", client->options.max_jobs);
    }
    job_forget_all(client);
    client->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (client->kick < 0) {
        return error_set(QUIRE_SYSTEM, "no descriptors left: raise the limit (ulimit -n)");
    }
    return QUIRE_OK;
}

static void destroy(quire_client *client) {
    for (uint32_t i = 0; client->jobs != NULL && i < client->options.max_jobs; i++) {
        free(client->jobs[i]);
    }
    free(client->jobs);
    free(client->free_slots);
    free(client->heap);
    free(client->requests);
    events_close(&client->events);
    if (client->kick >= 0) {
        close(client->kick);
    }
    wire_forget(client);
    pthread_mutex_destroy(&client->lock);
    client->magic = 0;
    free(client);
}

static enum quire_status connect_first(quire_client *client) {
    struct job job;
    job_init(&job, JOB_CONNECT, clock_ns() + client->options.connect_timeout_ms * QUIRE_NS_PER_MS);
    client_enter(client);
    enum quire_status status = job_run(client, &job);
    client_leave(client);
    return status;
}

enum quire_status quire_open(const quire_options *options, quire_client **out) {
    if (out == NULL) {
        return error_set(QUIRE_INVALID, "quire_open: client is NULL");
    }
    *out = NULL;
    quire_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return error_set(QUIRE_NO_MEMORY, "out of memory for a client");
    }
    client->magic = CLIENT_MAGIC;
    client->many_processors = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    pthread_mutex_init(&client->lock, NULL);
    init_lists(client);
    if (getrandom(&client->random, sizeof(client->random), GRND_NONBLOCK) != (ssize_t)sizeof(client->random)) {
        client->random = clock_ns() ^ (uint64_t)getpid() << 32;
    }
    enum quire_status status = set_options(client, options);
    if (status == QUIRE_OK) {
        status = allocate(client);
    }
    if (status != QUIRE_OK) {
        destroy(client);
        return status;
    }
    fork_register(client);
    if ((client->options.flags & QUIRE_OPEN_LAZY) == 0) {
        status = connect_first(client);
    }
    if (status == QUIRE_OK && (client->options.flags & QUIRE_OPEN_PROGRESS_THREAD) != 0) {
        client_enter(client);
        status = progress_start_thread(client);
        client_leave(client);
    }
    if (status != QUIRE_OK) {
        quire_close(&client);
        return status;
    }
    *out = client;
    return QUIRE_OK;
}

static void cancel_all(quire_client *client) {
    while (client->n_heap > 0) {
        struct job *job = client->heap[0];
        job_finish(client, job, QUIRE_CANCELLED, "the client was closed");
    }
}

void quire_close(quire_client **handle) {
    if (handle == NULL || *handle == NULL) {
        return;
    }
    quire_client *client = *handle;
    *handle = NULL;
    client_enter(client); /* a forked child has no thread to stop before it has made the client its own */
    client_leave(client);
    progress_stop_thread(client);
    client_enter(client);
    cancel_all(client);
    if (client->conn.state == CONN_UP && tx_frame(client, QUIRE_MSG_GOODBYE, 0, NULL) == QUIRE_OK) {
        tx_flush(client);
    }
    conn_down(client, QUIRE_DISCONNECTED, "the client was closed");
    while (!list_empty(&client->leases)) {
        quire_lease *lease = LINK_OWNER(client->leases.next, struct quire_lease, link);
        atomic_store(&lease->refs, 1);
        lease_unref(lease);
    }
    while (!list_empty(&client->namespaces)) {
        quire_ns *ns = LINK_OWNER(client->namespaces.next, struct quire_ns, link);
        link_remove(&ns->link);
        ns->client = NULL;
    }
    job_forget_all(client); /* ended above, and never to be drained */
    client_leave(client);
    fork_unregister(client);
    destroy(client);
}

enum quire_status quire_get_info(quire_client *client, quire_info *info) {
    if (client == NULL || info == NULL) {
        return error_set(QUIRE_INVALID, "quire_get_info: client or info is NULL");
    }
    client_enter(client);
    release_flush(client);
    conn_io(client);
    const struct conn *conn = &client->conn;
    *info = (quire_info){.reconnects = client->reconnects};
    if (conn->state == CONN_UP) {
        info->epoch = conn->epoch;
        info->session = conn->session;
        info->connected = true;
        info->zero_copy = conn->pool != NULL;
        info->pool_bytes = conn->pool_bytes;
        memcpy(info->daemon_version, conn->version, sizeof(info->daemon_version));
    }
    client_leave(client);
    return QUIRE_OK;
}
