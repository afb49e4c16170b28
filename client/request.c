/* The table of frames whose answer is outstanding: a slot and a serial make the id, so a late or invented answer finds nothing. */
#include "client/internal.h"

#include <stdlib.h>

#define SLOT_BITS 20
#define NO_SLOT UINT32_MAX

static bool grow(quire_client *client) {
    uint32_t wanted = client->n_requests == 0 ? 64 : client->n_requests * 2;
    if (wanted > REQUESTS_MAX) {
        return false;
    }
    struct request *table = realloc(client->requests, wanted * sizeof(*table));
    if (table == NULL) {
        return false;
    }
    for (uint32_t i = client->n_requests; i < wanted; i++) {
        table[i] = (struct request){.next_free = i + 1 < wanted ? i + 1 : NO_SLOT};
    }
    client->free_request = client->n_requests;
    client->requests = table;
    client->n_requests = wanted;
    return true;
}

struct request *request_new(quire_client *client, enum quire_msg type, struct job *job) {
    if ((client->n_requests == 0 || client->free_request == NO_SLOT) && !grow(client)) {
        return NULL;
    }
    uint32_t slot = client->free_request;
    struct request *request = &client->requests[slot];
    client->free_request = request->next_free;
    if (client->live_requests++ == 0) {
        heartbeat_begin(client);
    }
    *request = (struct request){.id = ++client->request_serial << SLOT_BITS | slot, .type = type, .job = job};
    return request;
}

struct request *request_find(quire_client *client, uint64_t id) {
    uint64_t slot = id & ((1u << SLOT_BITS) - 1);
    return id != 0 && slot < client->n_requests && client->requests[slot].id == id ? &client->requests[slot] : NULL;
}

void request_free(quire_client *client, struct request *request) {
    if (request->job != NULL && request->job->request == request->id) {
        request->job->request = 0;
    }
    *request = (struct request){.next_free = client->free_request};
    client->free_request = (uint32_t)(request - client->requests);
    client->live_requests--;
}

void request_abandon(quire_client *client, uint64_t id) {
    struct request *request = request_find(client, id);
    if (request == NULL) {
        return;
    }
    Quire__Wire__Cancel cancel = QUIRE__WIRE__CANCEL__INIT;
    cancel.request = request->id;
    request->job = NULL;
    request_free(client, request);
    if (client->conn.state == CONN_UP && tx_frame(client, QUIRE_MSG_CANCEL, 0, &cancel.base) == QUIRE_OK) {
        tx_flush(client);
    }
}

void request_send(quire_client *client, struct job *job, enum quire_msg type, const ProtobufCMessage *body) {
    struct request *request = request_new(client, type, job);
    if (request == NULL) {
        job_finish(client, job, QUIRE_RETRY, "too many requests are outstanding: drain completions first");
        return;
    }
    release_before(client);
    enum quire_status status = tx_frame(client, type, request->id, body);
    if (status != QUIRE_OK) {
        request_free(client, request);
        job_finish(client, job, status, "the request could not be sent: it is too large, or memory is short");
        return;
    }
    job->request = request->id;
    tx_flush(client);
}

void request_fail_all(quire_client *client, enum quire_status status, bool again, const char *text) {
    for (uint32_t i = 0; i < client->n_requests; i++) {
        struct request *request = &client->requests[i];
        if (request->id == 0) {
            continue;
        }
        struct job *job = request->job;
        struct chunk *chunk = request->chunk;
        if (request->ns != NULL) {
            request->ns->reopening = false;
        }
        request_free(client, request);
        if (chunk != NULL) {
            store_on_break(client, chunk, again, text);
        } else if (job != NULL && !job->done) {
            job_abort(client, job, status, text);
        }
    }
}
