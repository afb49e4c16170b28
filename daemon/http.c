#include "daemon/http.h"

#include "daemon/metrics.h"
#include "proto/base/base.h"
#include "proto/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MAGIC 0x4877e1b5u
#define CONNECTIONS 32
#define CONNECTION_BYTES (16u << 10)
#define CONNECTION_SECONDS 10
#define LOOP_WAIT_MS 1000
#define HEART_ILL_MS 5000 /* a loop that has not come round for so long is ill */

struct http {
    uint32_t magic;
    struct core *core;
    struct MHD_Daemon *daemon;
    /* One page under way at most: the server has one thread. The loop may come to it after the wait has ended, so it lives here. */
    pthread_mutex_t lock;
    uint64_t wanted, written; /* pages asked for, and the last one that the loop wrote */
    char *page;
    size_t page_bytes;
};

/* ---- pages -------------------------------------------------------------------------------------------------------------------- */
static void write_page(struct core *core, void *arg) {
    struct http *http = arg;
    QUIRE_MAGIC_CHECK(http, MAGIC);
    char *page = NULL;
    size_t page_bytes = 0;
    FILE *to = open_memstream(&page, &page_bytes);
    if (to == NULL) {
        return;
    }
    metrics_write(core, to);
    fclose(to);
    pthread_mutex_lock(&http->lock);
    free(http->page);
    http->page = page;
    http->page_bytes = page_bytes;
    http->written = http->wanted;
    pthread_mutex_unlock(&http->lock);
}

/* Hands the page over, or NULL when the loop did not write one in time. */
static char *take_page(struct http *http, size_t *bytes, enum quire_status *status) {
    char *page = NULL;
    pthread_mutex_lock(&http->lock);
    http->wanted++;
    pthread_mutex_unlock(&http->lock);
    *status = core_call(http->core, write_page, http, LOOP_WAIT_MS);
    pthread_mutex_lock(&http->lock);
    if (http->written == http->wanted) {
        page = http->page;
        *bytes = http->page_bytes;
        http->page = NULL;
    }
    pthread_mutex_unlock(&http->lock);
    return page;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type, char *body, size_t bytes,
                              enum MHD_ResponseMemoryMode mode) {
    struct MHD_Response *response = MHD_create_response_from_buffer(bytes, body, mode);
    if (response == NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE) {
            free(body);
        }
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code, const char *text) {
    char *body = strdup(text);
    return body == NULL ? MHD_NO : answer(connection, code, "text/plain; charset=utf-8", body, strlen(body), MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result answer_metrics(struct http *http, struct MHD_Connection *connection) {
    char text[160];
    size_t bytes = 0;
    enum quire_status status;
    char *page = take_page(http, &bytes, &status);
    if (page == NULL) {
        log_warn("metrics_late", "no answer from the loop within %d ms: %s", LOOP_WAIT_MS, quire_status_text(status));
        snprintf(text, sizeof text, "the daemon is busy: %s\n", quire_status_text(status));
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
    }
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", page, bytes, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result answer_health(struct http *http, struct MHD_Connection *connection) {
    char text[160];
    uint64_t age_ms = core_heartbeat_age_ms(http->core);
    if (age_ms <= HEART_ILL_MS) {
        return answer_text(connection, MHD_HTTP_OK, "ok\n");
    }
    snprintf(text, sizeof text, "the loop has not come round for %llu ms\n", (unsigned long long)age_ms);
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static const char front_page[] = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>quired</title></head>\n"
                                 "<body><h1>quired " QUIRE_PACKAGE_VERSION "</h1>\n"
                                 "<ul><li><a href=\"/metrics\">/metrics</a>: figures for Prometheus</li>\n"
                                 "<li><a href=\"/healthz\">/healthz</a>: 200 while the daemon is well, else 503</li></ul>\n"
                                 "<p>People look with <code>quirectl status</code> and <code>quirectl top</code>.</p></body></html>\n";

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_bytes, void **request) {
    static int seen; /* its address marks a request whose headers were seen: the answer comes at the second call */
    struct http *http = ctx;
    QUIRE_MAGIC_CHECK(http, MAGIC);
    (void)version;
    (void)upload;
    if (*request == NULL) {
        *request = &seen;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        *upload_bytes = 0; /* what a client sends is dropped unread */
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    if (strcmp(url, "/metrics") == 0) {
        return answer_metrics(http, connection);
    }
    if (strcmp(url, "/healthz") == 0) {
        return answer_health(http, connection);
    }
    if (strcmp(url, "/") == 0) {
        return answer(connection, MHD_HTTP_OK, "text/html; charset=utf-8", (char *)(uintptr_t)front_page, sizeof front_page - 1,
                      MHD_RESPMEM_PERSISTENT);
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "not here: /metrics, /healthz\n");
}

/* ---- listening ---------------------------------------------------------------------------------------------------------------- */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool read_address(const char *text, uint16_t port, union address *address) {
    *address = (union address){.any.sa_family = AF_UNSPEC};
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(port);
        return true;
    }
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        return true;
    }
    return false;
}

static bool is_loopback(const union address *address) {
    return address->any.sa_family == AF_INET ? (ntohl(address->v4.sin_addr.s_addr) >> 24) == 127
                                             : IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static void complain(void *ctx, const char *format, va_list args) {
    char text[256];
    (void)ctx;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\r\n")] = '\0';
    log_debug("http", "%s", text);
}

static bool listen_at(struct http *http, union address *address) {
    unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    flags |= address->any.sa_family == AF_INET6 ? MHD_USE_IPv6 : 0u;
    http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER, complain, NULL, MHD_OPTION_SOCK_ADDR,
                                    &address->any, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                    (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_SECONDS, MHD_OPTION_END);
    return http->daemon != NULL;
}

/* The configured port, else any: a daemon whose figures are elsewhere is better than none. */
static bool listen_somewhere(struct http *http, const struct config *config, union address *address) {
    if (listen_at(http, address)) {
        return true;
    }
    int error = errno;
    if (config->metrics_port == 0 || error != EADDRINUSE) {
        return false;
    }
    read_address(config->metrics_address, 0, address);
    if (!listen_at(http, address)) {
        return false;
    }
    log_warn("metrics_port_taken", "port %u at %s is taken by another program: metrics are at port %u; set metrics_port",
             (unsigned)config->metrics_port, config->metrics_address,
             (unsigned)MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    return true;
}

enum quire_status http_start(struct core *core, const struct config *config, struct http **out, char where[HTTP_ADDRESS_BYTES], char *why,
                             size_t why_bytes) {
    union address address;
    if (!read_address(config->metrics_address, config->metrics_port, &address)) {
        snprintf(why, why_bytes, "metrics_address: '%s' is not an IP address such as 127.0.0.1 or ::1", config->metrics_address);
        return QUIRE_INVALID;
    }
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        return QUIRE_NO_MEMORY;
    }
    http->magic = MAGIC;
    http->core = core;
    pthread_mutex_init(&http->lock, NULL);
    if (!listen_somewhere(http, config, &address)) {
        snprintf(why, why_bytes, "cannot listen at %s port %u (%s); change metrics_address and metrics_port, or start with --no-metrics",
                 config->metrics_address, (unsigned)config->metrics_port, strerror(errno));
        http_stop(&http);
        return QUIRE_SYSTEM;
    }
    if (!is_loopback(&address)) {
        log_warn("metrics_exposed", "metrics are served at %s without access control: whoever reaches this host can read them",
                 config->metrics_address);
    }
    snprintf(where, HTTP_ADDRESS_BYTES, address.any.sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", config->metrics_address,
             (unsigned)MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    *out = http;
    return QUIRE_OK;
}

void http_stop(struct http **http) {
    if (*http == NULL) {
        return;
    }
    QUIRE_MAGIC_CHECK(*http, MAGIC);
    if ((*http)->daemon != NULL) {
        MHD_stop_daemon((*http)->daemon);
    }
    pthread_mutex_destroy(&(*http)->lock);
    free((*http)->page);
    free(*http);
    *http = NULL;
}
