/*
 * The ingest window: asked for by the first store, given back when the daemon recalls it and nothing is in it. Space inside is first
 * fit from the bottom, so that the same few megabytes are used again and again and stay in the processor's cache.
 */
#include "client/internal.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT_ALIGN 4096u
#define ASK_AGAIN_MS 5u

static void window_unmap(struct window *window) {
    if (window->base != NULL) {
        munmap(window->base, window->bytes);
    }
    free(window);
}

void window_unref(struct window **handle) {
    struct window *window = *handle;
    *handle = NULL;
    if (window != NULL && --window->refs == 0) {
        window_unmap(window);
    }
}

bool ingest_alloc(struct window *window, uint64_t bytes, uint64_t *offset) {
    bytes = quire_align_up(bytes, SEGMENT_ALIGN);
    if (window->n_segments == INGEST_SEGMENTS_MAX) {
        return false;
    }
    uint64_t start = 0;
    uint32_t at = 0;
    while (at < window->n_segments && window->segments[at].offset - start < bytes) {
        start = window->segments[at].offset + window->segments[at].bytes;
        at++;
    }
    if (at == window->n_segments && !quire_in_range(start, bytes, window->bytes)) {
        return false;
    }
    memmove(&window->segments[at + 1], &window->segments[at], (window->n_segments - at) * sizeof(window->segments[0]));
    window->segments[at] = (struct segment){.offset = start, .bytes = bytes};
    window->n_segments++;
    window->refs++;
    *offset = start;
    return true;
}

void ingest_free(quire_client *client, struct window *window, uint64_t offset) {
    for (uint32_t i = 0; i < window->n_segments; i++) {
        if (window->segments[i].offset == offset) {
            memmove(&window->segments[i], &window->segments[i + 1], (window->n_segments - i - 1) * sizeof(window->segments[0]));
            window->n_segments--;
            break;
        }
    }
    window_unref(&window);
    if (!list_empty(&client->stalled_space)) {
        job_wake(client, LINK_OWNER(client->stalled_space.next, struct job, link));
    }
}

void chunk_free(quire_client *client, struct chunk *chunk) {
    ingest_free(client, chunk->window, chunk->offset);
    free(chunk->items);
    free(chunk->wire);
    free(chunk);
}

enum quire_status ingest_need(quire_client *client, uint64_t now_ns, uint32_t deadline_ms) {
    ingest_settle(client);
    if (client->window != NULL) { /* recalled: nothing new goes in, and it goes back when the last frame of it is answered */
        return client->window_recalled ? QUIRE_PENDING : QUIRE_OK;
    }
    if (client->window_asked) {
        return QUIRE_PENDING;
    }
    if (now_ns < client->window_retry_ns) {
        progress_wake_at(client, client->window_retry_ns);
        return QUIRE_PENDING;
    }
    Quire__Wire__IngestGet get = QUIRE__WIRE__INGEST_GET__INIT;
    get.bytes = client->options.ingest_bytes;
    if (client->conn.ingest_max_bytes != 0) {
        get.bytes = quire_min_u64(get.bytes, client->conn.ingest_max_bytes);
    }
    get.deadline_ms = deadline_ms;
    struct request *request = request_new(client, QUIRE_MSG_INGEST_GET, NULL);
    if (request == NULL) {
        return QUIRE_RETRY;
    }
    enum quire_status status = tx_frame(client, QUIRE_MSG_INGEST_GET, request->id, &get.base);
    if (status != QUIRE_OK) {
        request_free(client, request);
        return status;
    }
    client->window_asked = true;
    tx_flush(client);
    return client->conn.state == CONN_UP ? QUIRE_PENDING : QUIRE_DISCONNECTED;
}

static void give_back(quire_client *client, uint32_t id) {
    Quire__Wire__IngestReturn back = QUIRE__WIRE__INGEST_RETURN__INIT;
    back.window = id;
    if (tx_frame(client, QUIRE_MSG_INGEST_RETURN, 0, &back.base) == QUIRE_OK) {
        tx_flush(client);
    }
}

/* Over a wire the window is at the daemon: here is memory as large, from which what is stored goes along with each frame. */
static uint8_t *shadow_of(const quire_client *client, uint64_t bytes) {
    if (bytes == 0 || bytes > client->conn.ingest_max_bytes) {
        return NULL;
    }
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || madvise(base, bytes, MADV_DONTFORK) != 0) {
        return NULL;
    }
    return base;
}

static void take_window(quire_client *client, const Quire__Wire__IngestAck *ack, int fd) {
    struct window *window = calloc(1, sizeof(*window));
    uint8_t *base = client->transport->wire ? shadow_of(client, ack->bytes) : map_sealed(fd, ack->bytes, true);
    if (window == NULL || base == NULL) {
        if (base != NULL) {
            munmap(base, ack->bytes);
        }
        free(window);
        give_back(client, ack->window);
        ingest_on_error(client, QUIRE_SYSTEM, 0, "the ingest window could not be mapped");
        return;
    }
    window->refs = 1;
    window->id = ack->window;
    window->serial = client->conn.serial;
    window->base = base;
    window->bytes = ack->bytes;
    client->window = window;
    client->window_recalled = false;
    job_wake_list(client, &client->stalled_space);
}

void ingest_on_ack(quire_client *client, const uint8_t *body, size_t size) {
    client->window_asked = false;
    Quire__Wire__IngestAck *ack = quire__wire__ingest_ack__unpack(NULL, size, body);
    if (ack == NULL) {
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed ingest answer");
        return;
    }
    enum quire_status status = status_from_wire(ack->status);
    if (status != QUIRE_OK) {
        ingest_on_error(client, status, ack->retry_after_ms, ack->text);
    } else {
        take_window(client, ack, transport_take_fd(client->conn.transport));
    }
    quire__wire__ingest_ack__free_unpacked(ack, NULL);
}

/* Memory may be lent to others just now: stores ask again until their deadline. Anything else ends them. */
void ingest_on_error(quire_client *client, enum quire_status status, uint32_t retry_after_ms, const char *text) {
    client->window_asked = false;
    if (status == QUIRE_RETRY || status == QUIRE_FULL || status == QUIRE_TIMEOUT) {
        uint32_t wait_ms = retry_after_ms == 0 ? ASK_AGAIN_MS : retry_after_ms;
        client->window_retry_ns = clock_ns() + wait_ms * QUIRE_NS_PER_MS;
        progress_wake_at(client, client->window_retry_ns);
        return;
    }
    while (!list_empty(&client->stalled_space)) {
        job_finish(client, LINK_OWNER(client->stalled_space.next, struct job, link), status, "no ingest window: %.140s", text);
    }
}

void ingest_settle(quire_client *client) {
    if (client->window == NULL || !client->window_recalled || client->window->n_segments > 0) {
        return;
    }
    uint32_t id = client->window->id;
    client->window_recalled = false;
    window_unref(&client->window);
    give_back(client, id);
}

void ingest_drop(quire_client *client) {
    client->window_asked = false;
    client->window_recalled = false;
    client->window_retry_ns = 0;
    window_unref(&client->window);
}
