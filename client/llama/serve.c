#include "client/llama/serve.h"

#include "client/llama/api.h"
#include "client/llama/text.h"
#include "proto/base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX_BYTES (16u << 20)
#define SPARE_CONNECTIONS 16u /* for what needs no computing, and for saying 503 */
#define IDLE_SECONDS 60u
#define EVENT_BUFFER_BYTES 4096
#define FAREWELL_NAPS 100 /* of 10 ms */
#define LOOK_MS 20.0      /* between two looks at a client */

/*
 * A request that is computed. The connection's thread makes it, waits on it and frees it; between being queued and `done` it also
 * belongs to the computing thread. Fields from `lock` on are under it.
 */
struct job {
    struct serve *serve;
    struct api_request request;
    uint64_t id;
    int fd; /* the connection's, to see its client hang up; −1: unknown */
    double looked_ms;
    struct job *next;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, cancelled;
    unsigned code;
    char *body; /* the whole answer, or an error */
    char *events;
    size_t events_bytes, events_read, events_capacity;
    size_t sent_bytes; /* of the answer's text, into events */
    const char *text;  /* while computing: the answer so far */
    struct worker_result *result;
};

struct serve {
    struct worker *worker;
    uint32_t queue_most;
    pthread_mutex_t lock; /* the queue */
    struct job *first, *last;
    uint32_t queued;
    bool closed;
    uint64_t next_id;
};

/* A connection's request while its body arrives. */
struct intake {
    char *body;
    size_t bytes, capacity;
    bool too_large;
    struct job *job;
};

static sem_t wake; /* one count a job, and one for the signal that ends serving */
static atomic_bool stopping;

static void on_signal(int number) {
    (void)number;
    atomic_store(&stopping, true);
    sem_post(&wake);
}

/* ---- jobs --------------------------------------------------------------------------------------------------------------------------- */
static struct job *job_create(struct serve *serve) {
    struct job *job = calloc(1, sizeof(*job));
    if (job != NULL) {
        job->serve = serve;
        pthread_mutex_init(&job->lock, NULL);
        pthread_cond_init(&job->changed, NULL);
    }
    return job;
}

static void job_destroy(struct job *job) {
    api_request_free(&job->request);
    pthread_mutex_destroy(&job->lock);
    pthread_cond_destroy(&job->changed);
    free(job->body);
    free(job->events);
    free(job);
}

/* False when too many wait already. */
static bool job_enqueue(struct serve *serve, struct job *job) {
    pthread_mutex_lock(&serve->lock);
    const bool taken = !serve->closed && serve->queued < serve->queue_most;
    if (taken) {
        job->id = ++serve->next_id ^ (uint64_t)time(NULL) << 24;
        *(serve->last != NULL ? &serve->last->next : &serve->first) = job;
        serve->last = job;
        serve->queued++;
    }
    pthread_mutex_unlock(&serve->lock);
    if (taken) {
        sem_post(&wake);
    }
    return taken;
}

static struct job *job_dequeue(struct serve *serve) {
    pthread_mutex_lock(&serve->lock);
    struct job *job = serve->first;
    if (job != NULL) {
        serve->first = job->next;
        serve->last = serve->first != NULL ? serve->last : NULL;
        serve->queued--;
    }
    pthread_mutex_unlock(&serve->lock);
    return job;
}

static void job_finish(struct job *job, unsigned code, char *body) {
    pthread_mutex_lock(&job->lock);
    job->code = code;
    job->body = body;
    job->done = true;
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

/* ---- computing ---------------------------------------------------------------------------------------------------------------------- */
/* Takes ownership of the event; false when there is no memory for it. */
static bool push_event(struct job *job, char *event) {
    if (event == NULL) {
        return false;
    }
    const size_t bytes = strlen(event);
    pthread_mutex_lock(&job->lock);
    bool good = true;
    if (job->events_bytes + bytes > job->events_capacity) {
        const size_t larger = 2 * (job->events_bytes + bytes) + EVENT_BUFFER_BYTES;
        char *events = realloc(job->events, larger);
        good = events != NULL;
        job->events = good ? events : job->events;
        job->events_capacity = good ? larger : job->events_capacity;
    }
    if (good) {
        memcpy(job->events + job->events_bytes, event, bytes);
        job->events_bytes += bytes;
        pthread_cond_broadcast(&job->changed);
    }
    pthread_mutex_unlock(&job->lock);
    free(event);
    return good;
}

/* Text that can go out: whole characters, and nothing that may still become a stop string. */
static size_t sendable(const struct job *job, const struct worker_result *result, bool last) {
    const size_t end = api_find_stop(&job->request, result->text, result->text_bytes);
    size_t hold = 0;
    for (uint32_t i = 0; !last && end == result->text_bytes && i < job->request.n_stops; i++) {
        const size_t length = strlen(job->request.stop[i]) - 1;
        hold = length > hold ? length : hold;
    }
    return hold < end ? (last ? end : text_whole(result->text, end - hold)) : 0;
}

static bool send_text(struct job *job, const struct worker_result *result, bool last, const char *finish) {
    const size_t end = sendable(job, result, last);
    if (end <= job->sent_bytes && finish == NULL) {
        return true;
    }
    const size_t from = job->sent_bytes;
    job->sent_bytes = end > from ? end : from;
    return push_event(job, api_event(job->request.chat, job->serve->worker->engine->name, job->id, result->text + from,
                                     job->sent_bytes - from, finish, NULL));
}

/* While a connection's thread waits for its job, nobody else looks whether the client is still there. */
static bool hung_up(struct job *job) {
    const double now_ms = store_now_ms();
    if (job->fd < 0 || now_ms - job->looked_ms < LOOK_MS) {
        return false;
    }
    struct pollfd client = {.fd = job->fd, .events = POLLRDHUP};
    job->looked_ms = now_ms;
    return poll(&client, 1, 0) > 0 && (client.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static bool keep_going(void *user) {
    struct job *job = user;
    const bool gone = hung_up(job);
    pthread_mutex_lock(&job->lock);
    job->cancelled = job->cancelled || gone;
    const bool cancelled = job->cancelled;
    pthread_mutex_unlock(&job->lock);
    return !cancelled && !atomic_load(&stopping);
}

static bool on_token(void *user, uint32_t token, const char *text, size_t bytes) {
    struct job *job = user;
    (void)token, (void)text, (void)bytes;
    if (api_find_stop(&job->request, job->result->text, job->result->text_bytes) < job->result->text_bytes) {
        return false;
    }
    return !job->request.stream || send_text(job, job->result, false, NULL);
}

static void finish_answer(struct job *job, const struct worker_result *result) {
    const char *model = job->serve->worker->engine->name;
    const size_t end = api_find_stop(&job->request, result->text, result->text_bytes);
    const char *finish = result->ended || end < result->text_bytes ? "stop" : "length";
    const struct api_usage usage = {
        .prompt_tokens = result->prompt_tokens, .cached_tokens = result->reused_tokens, .completion_tokens = result->n_generated};
    if (!job->request.stream) {
        job_finish(job, MHD_HTTP_OK, api_answer(job->request.chat, model, job->id, result->text, end, finish, &usage));
        return;
    }
    send_text(job, result, true, finish);
    if (job->request.stream_usage) {
        push_event(job, api_event(job->request.chat, model, job->id, "", 0, NULL, &usage));
    }
    push_event(job, strdup("data: [DONE]\n\n"));
    job_finish(job, MHD_HTTP_OK, NULL);
}

/* Of a stream's answer a part may be out already: then an event says what happened, and none says that it is done. */
static void break_off(struct job *job) {
    char *body = api_error("the server is stopping", "server_error"), *event = NULL;
    if (body != NULL && job->events_bytes > 0 && asprintf(&event, "data: %s\n\n", body) >= 0) {
        push_event(job, event);
    }
    job_finish(job, MHD_HTTP_SERVICE_UNAVAILABLE, body);
}

static unsigned code_of(enum quire_status status) {
    return status == QUIRE_TOO_LARGE || status == QUIRE_INVALID ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static void compute(struct serve *serve, struct job *job) {
    char why[256] = "";
    struct worker_result result;
    struct worker_request request = {.tokens = job->request.tokens,
                                     .n_tokens = job->request.n_tokens,
                                     .n_predict = job->request.max_tokens,
                                     .on_token = on_token,
                                     .keep_going = keep_going,
                                     .user = job};
    if (!keep_going(job)) {
        break_off(job);
        return;
    }
    job->result = &result;
    const enum quire_status status = worker_run(serve->worker, &request, &result, why, sizeof(why));
    if (serve->worker->store.note[0] != '\0') {
        fprintf(stderr, "quire-llama: %s\n", serve->worker->store.note);
    }
    fprintf(stderr, "quire-llama: %u prompt tokens, %u reused, %u generated; fetch %.1f ms, prefill %.1f ms, generate %.1f ms\n",
            (unsigned)result.prompt_tokens, (unsigned)result.reused_tokens, (unsigned)result.n_generated,
            result.lookup_ms + result.fetch_ms + result.import_ms, result.prefill_ms, result.generate_ms);
    if (status == QUIRE_OK) {
        finish_answer(job, &result);
    } else if (status == QUIRE_CANCELLED) {
        fprintf(stderr, "quire-llama: given up: %s\n", atomic_load(&stopping) ? "the server is stopping" : "the client hung up");
        break_off(job);
    } else {
        job_finish(job, code_of(status), api_error(why, status == QUIRE_TOO_LARGE ? "invalid_request_error" : "server_error"));
    }
    worker_result_free(&result);
}

/* ---- HTTP --------------------------------------------------------------------------------------------------------------------------- */
static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code, char *body) {
    static char nothing[] = "{}";
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(body != NULL ? body : nothing), body != NULL ? body : nothing,
                                                                    body != NULL ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    const enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_error(struct MHD_Connection *connection, unsigned code, const char *message) {
    return answer_text(connection, code, api_error(message, code < 500 ? "invalid_request_error" : "server_error"));
}

/* The connection's own thread waits here for the next events. */
static ssize_t read_events(void *user, uint64_t position, char *out, size_t most) {
    struct job *job = user;
    (void)position;
    pthread_mutex_lock(&job->lock);
    while (job->events_read == job->events_bytes && !job->done) {
        pthread_cond_wait(&job->changed, &job->lock);
    }
    const size_t bytes = quire_min_u64(job->events_bytes - job->events_read, most);
    if (bytes > 0) {
        memcpy(out, job->events + job->events_read, bytes);
        job->events_read += bytes;
    }
    pthread_mutex_unlock(&job->lock);
    return bytes > 0 ? (ssize_t)bytes : MHD_CONTENT_READER_END_OF_STREAM;
}

static enum MHD_Result answer_stream(struct MHD_Connection *connection, struct job *job) {
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_BUFFER_BYTES, read_events, job, NULL);
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    const enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

/* A stream's status line goes out only once something can follow: an error before that is an error, not an empty stream. */
static bool wait_for_answer(struct job *job) {
    pthread_mutex_lock(&job->lock);
    while (!job->done && job->events_bytes == 0) {
        pthread_cond_wait(&job->changed, &job->lock);
    }
    const bool streams = job->events_bytes > 0;
    pthread_mutex_unlock(&job->lock);
    return streams;
}

static enum MHD_Result answer_completion(struct serve *serve, struct MHD_Connection *connection, bool chat, struct intake *intake) {
    char why[256] = "";
    if (intake->too_large) {
        return answer_error(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    struct job *job = job_create(serve);
    if (job == NULL) {
        return MHD_NO;
    }
    if (api_parse(serve->worker->engine, chat, intake->body != NULL ? intake->body : "", intake->bytes, &job->request, why, sizeof(why)) !=
        QUIRE_OK) {
        job_destroy(job);
        return answer_error(connection, MHD_HTTP_BAD_REQUEST, why);
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    job->fd = info != NULL ? info->connect_fd : -1;
    if (!job_enqueue(serve, job)) {
        job_destroy(job);
        return answer_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "too many requests wait already; try again");
    }
    intake->job = job;
    if (wait_for_answer(job)) {
        return answer_stream(connection, job);
    }
    char *body = job->body;
    job->body = NULL;
    return answer_text(connection, job->code, body);
}

static enum MHD_Result route(struct serve *serve, struct MHD_Connection *connection, const char *url, const char *method,
                             struct intake *intake) {
    const bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0, post = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
    const bool chat = strcmp(url, "/v1/chat/completions") == 0;
    if (chat || strcmp(url, "/v1/completions") == 0) {
        return post ? answer_completion(serve, connection, chat, intake)
                    : answer_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "POST a completion request here");
    }
    if (get && strcmp(url, "/v1/models") == 0) {
        return answer_text(connection, MHD_HTTP_OK, api_models(serve->worker->engine->name));
    }
    if (get && strcmp(url, "/health") == 0) {
        return answer_text(connection, MHD_HTTP_OK, strdup("{\"status\":\"ok\"}"));
    }
    return answer_error(connection, MHD_HTTP_NOT_FOUND, "there are /v1/completions, /v1/chat/completions, /v1/models and /health");
}

static void take_body(struct intake *intake, const char *data, size_t bytes) {
    if (intake->too_large || bytes > BODY_MAX_BYTES - intake->bytes) {
        intake->too_large = true;
        return;
    }
    if (intake->bytes + bytes > intake->capacity) {
        const size_t larger = 2 * (intake->bytes + bytes);
        char *body = realloc(intake->body, larger);
        if (body == NULL) {
            intake->too_large = true;
            return;
        }
        intake->body = body;
        intake->capacity = larger;
    }
    memcpy(intake->body + intake->bytes, data, bytes);
    intake->bytes += bytes;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *data, size_t *bytes, void **state) {
    (void)version;
    struct intake *intake = *state;
    if (intake == NULL) {
        *state = calloc(1, sizeof(*intake));
        return *state != NULL ? MHD_YES : MHD_NO;
    }
    if (*bytes > 0) {
        take_body(intake, data, *bytes);
        *bytes = 0;
        return MHD_YES;
    }
    return route(user, connection, url, method, intake);
}

/* The request is over, however it ended; a job that still runs is told to stop and waited for. */
static void on_completed(void *user, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code) {
    (void)user, (void)connection, (void)code;
    struct intake *intake = *state;
    if (intake == NULL) {
        return;
    }
    struct job *job = intake->job;
    if (job != NULL) {
        pthread_mutex_lock(&job->lock);
        job->cancelled = true;
        while (!job->done) {
            pthread_cond_wait(&job->changed, &job->lock);
        }
        pthread_mutex_unlock(&job->lock);
        job_destroy(job);
    }
    free(intake->body);
    free(intake);
    *state = NULL;
}

/* ---- the server ----------------------------------------------------------------------------------------------------------------------- */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static struct MHD_Daemon *listen_on(struct serve *serve, const struct serve_options *options) {
    union address address;
    memset(&address, 0, sizeof(address));
    const bool v6 = strchr(options->host, ':') != NULL;
    if (v6) {
        address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(options->port), .sin6_addr = in6addr_loopback};
    } else {
        address.v4 =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(options->port), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    }
    const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_ERROR_LOG | (v6 ? MHD_USE_IPv6 : 0);
    return MHD_start_daemon(flags, options->port, NULL, NULL, on_request, serve, MHD_OPTION_SOCK_ADDR, &address.any,
                            MHD_OPTION_CONNECTION_LIMIT, options->queue + SPARE_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
}

static void catch_signals(struct sigaction old[2]) {
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, &old[0]);
    sigaction(SIGINT, &action, &old[1]);
    signal(SIGPIPE, SIG_IGN);
}

static void serve_jobs(struct serve *serve) {
    while (!atomic_load(&stopping)) {
        while (sem_wait(&wake) != 0 && errno == EINTR) {
        }
        struct job *job = job_dequeue(serve);
        if (job != NULL) {
            compute(serve, job);
        }
    }
    pthread_mutex_lock(&serve->lock);
    serve->closed = true;
    pthread_mutex_unlock(&serve->lock);
    for (struct job *job = job_dequeue(serve); job != NULL; job = job_dequeue(serve)) {
        compute(serve, job); /* says that the server is stopping */
    }
}

/* What was answered last goes out before the connections are closed. */
static void stop(struct MHD_Daemon *http) {
    const MHD_socket listener = MHD_quiesce_daemon(http);
    const struct timespec nap = {.tv_nsec = 10 * 1000 * 1000};
    for (int i = 0; i < FAREWELL_NAPS; i++) {
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        if (info == NULL || info->num_connections == 0) {
            break;
        }
        nanosleep(&nap, NULL);
    }
    MHD_stop_daemon(http);
    if (listener != MHD_INVALID_SOCKET) {
        close(listener);
    }
}

enum quire_status serve_run(struct worker *worker, const struct serve_options *options, char *why, size_t why_bytes) {
    struct serve serve = {.worker = worker, .queue_most = options->queue};
    struct sigaction old[2];
    atomic_store(&stopping, false);
    sem_init(&wake, 0, 0);
    pthread_mutex_init(&serve.lock, NULL);
    catch_signals(old);
    struct MHD_Daemon *http = listen_on(&serve, options);
    if (http == NULL) {
        snprintf(why, why_bytes, "cannot listen on %s port %u: %s", options->host, (unsigned)options->port, strerror(errno));
        return QUIRE_SYSTEM;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http, MHD_DAEMON_INFO_BIND_PORT);
    fprintf(stderr, "quire-llama: %s on http://%s%s%s:%u, context %u tokens%s%s\n", worker->engine->name,
            strchr(options->host, ':') != NULL ? "[" : "", options->host, strchr(options->host, ':') != NULL ? "]" : "",
            info != NULL ? (unsigned)info->port : (unsigned)options->port, (unsigned)worker->engine->ctx_tokens,
            worker->store.note[0] != '\0' ? "; " : "", worker->store.note);
    serve_jobs(&serve);
    stop(http);
    sigaction(SIGTERM, &old[0], NULL);
    sigaction(SIGINT, &old[1], NULL);
    pthread_mutex_destroy(&serve.lock);
    sem_destroy(&wake);
    return QUIRE_OK;
}
