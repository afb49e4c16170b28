/* Namespaces: opened by name and layout, opened again by the library itself on each new connection. */
#include "client/internal.h"

#include <stdio.h>
#include <stdlib.h>

static enum quire_status check_name(const char *name) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = name == NULL ? 0 : strnlen(name, QUIRE_MAX_NAME + 1);
    if (length == 0 || length > QUIRE_MAX_NAME || strspn(name, allowed) != length) {
        return error_set(QUIRE_INVALID, "a namespace's name has 1..%d of [A-Za-z0-9._-]", QUIRE_MAX_NAME);
    }
    return QUIRE_OK;
}

enum quire_status quire_ns_open(quire_client *client, const char *name, const quire_layout *layout, quire_ns **out) {
    if (client == NULL || out == NULL) {
        return error_set(QUIRE_INVALID, "quire_ns_open: client or ns is NULL");
    }
    *out = NULL;
    QUIRE_FORWARD(check_name(name));
    char why[160] = "";
    if (layout != NULL) {
        enum quire_status status = quire_layout_check(layout, why, sizeof(why));
        if (status != QUIRE_OK) {
            return error_set(status, "layout: %s", why);
        }
    }
    quire_ns *ns = calloc(1, sizeof(*ns));
    if (ns == NULL) {
        return error_set(QUIRE_NO_MEMORY, "out of memory for a namespace");
    }
    ns->magic = NS_MAGIC;
    atomic_init(&ns->refs, 1);
    ns->client = client;
    list_init(&ns->link);
    strcpy(ns->name, name);
    if (layout != NULL) {
        ns->layout = *layout;
        ns->has_layout = true;
    }
    struct job job;
    client_enter(client);
    job_init(&job, JOB_NS_OPEN, deadline_after(client, 0));
    job.u.ns_open.ns = ns;
    enum quire_status status = job_run(client, &job);
    if (status == QUIRE_OK) {
        link_append(&client->namespaces, &ns->link);
    }
    client_leave(client);
    if (status != QUIRE_OK) {
        free(ns);
        return status;
    }
    *out = ns;
    return QUIRE_OK;
}

static enum quire_status ask(const quire_ns *ns, Quire__Wire__NsOpen *open, uint8_t *encoded, size_t capacity) {
    open->name = (char *)(uintptr_t)ns->name;
    if (ns->has_layout) {
        open->layout.data = encoded;
        QUIRE_FORWARD(quire_layout_encode(&ns->layout, encoded, capacity, &open->layout.len));
    }
    return QUIRE_OK;
}

void ns_advance(quire_client *client, struct job *job) {
    enum quire_status status = tx_full(client) ? QUIRE_PENDING : conn_need(client, clock_ns());
    if (status == QUIRE_PENDING) {
        job_stall(job, &client->stalled_conn);
        return;
    }
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    uint8_t encoded[QUIRE_LAYOUT_WIRE_MAX];
    if (status != QUIRE_OK) {
        job_finish(client, job, QUIRE_DISCONNECTED, "%s", client->conn.why);
    } else if ((status = ask(job->u.ns_open.ns, &open, encoded, sizeof(encoded))) != QUIRE_OK) {
        job_finish(client, job, status, "the layout could not be encoded");
    } else {
        request_send(client, job, QUIRE_MSG_NS_OPEN, &open.base);
    }
}

static bool reopen(quire_client *client, quire_ns *ns) {
    Quire__Wire__NsOpen open = QUIRE__WIRE__NS_OPEN__INIT;
    uint8_t encoded[QUIRE_LAYOUT_WIRE_MAX];
    struct request *request = request_new(client, QUIRE_MSG_NS_OPEN, NULL);
    if (request == NULL) {
        return false;
    }
    request->ns = ns;
    if (ask(ns, &open, encoded, sizeof(encoded)) != QUIRE_OK || tx_frame(client, QUIRE_MSG_NS_OPEN, request->id, &open.base) != QUIRE_OK) {
        request_free(client, request);
        return false;
    }
    ns->reopening = true;
    return true;
}

void ns_reopen_all(quire_client *client) {
    for (struct link *at = client->namespaces.next; at != &client->namespaces; at = at->next) {
        quire_ns *ns = LINK_OWNER(at, struct quire_ns, link);
        ns->status = QUIRE_DISCONNECTED;
        ns->why[0] = '\0';
        client->conn.reopening += reopen(client, ns) ? 1 : 0;
    }
    tx_flush(client);
}

void ns_lost(quire_client *client, quire_ns *ns) {
    if (link_linked(&ns->link) && !ns->reopening && client->conn.state == CONN_UP && reopen(client, ns)) {
        tx_flush(client);
    }
}

/* OK when the answer is well-formed and says what the namespace already is (or, the first time, what it is). */
static enum quire_status learn(quire_client *client, quire_ns *ns, const Quire__Wire__NsAck *ack) {
    enum quire_status status = status_from_wire(ack->status);
    if (status != QUIRE_OK) {
        return status;
    }
    quire_layout *layout = malloc(sizeof(*layout));
    bool again = ns->serial != 0; /* it was open before */
    if (layout == NULL) {
        return QUIRE_NO_MEMORY;
    }
    if (ack->root.len != QUIRE_KEY_BYTES || quire_layout_decode(ack->layout.data, ack->layout.len, layout) != QUIRE_OK) {
        status = QUIRE_CORRUPT;
    } else if (ns->has_layout && quire_layout_diff(&ns->layout, layout, NULL, 0) != NULL) {
        status = QUIRE_MISMATCH;
    } else if (again && memcmp(ns->root.b, ack->root.data, QUIRE_KEY_BYTES) != 0) {
        status = QUIRE_MISMATCH; /* another salt: keys derived so far name nothing any more */
    } else {
        if (!again) { /* later nobody may write them: readers take no lock, and they are what they were */
            ns->layout = *layout;
            ns->has_layout = true;
            memcpy(ns->root.b, ack->root.data, QUIRE_KEY_BYTES);
        }
        ns->handle = ack->ns;
        ns->serial = client->conn.serial;
    }
    free(layout);
    return status;
}

void ns_on_ack(quire_client *client, struct job *job, quire_ns *ns, const uint8_t *body, size_t size) {
    Quire__Wire__NsAck *ack = quire__wire__ns_ack__unpack(NULL, size, body);
    if (ack == NULL) {
        if (job != NULL) {
            job_finish(client, job, QUIRE_CORRUPT, "quired sent a malformed answer");
        }
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed answer");
        return;
    }
    if (job != NULL) {
        enum quire_status status = learn(client, job->u.ns_open.ns, ack);
        job_finish(client, job, status, "namespace %s: %.120s", job->u.ns_open.ns->name, ack->text);
    } else {
        if (ns != NULL) {
            enum quire_status status = learn(client, ns, ack);
            ns_refused(ns, status, ack->status != QUIRE_OK ? ack->text : "it is not what it was: another layout or another salt");
        }
        conn_on_ns_reopened(client);
    }
    quire__wire__ns_ack__free_unpacked(ack, NULL);
}

void ns_refused(quire_ns *ns, enum quire_status status, const char *text) {
    ns->reopening = false;
    ns->status = status;
    snprintf(ns->why, sizeof(ns->why), "namespace %s was refused: %.100s", ns->name, text);
}

enum quire_status ns_handle(const quire_client *client, const quire_ns *ns, uint32_t *handle, const char **why) {
    *handle = ns->handle;
    if (ns->serial == client->conn.serial) {
        return QUIRE_OK;
    }
    bool refused = link_linked(&ns->link) && ns->status != QUIRE_OK && ns->why[0] != '\0';
    *why = refused ? ns->why : "the namespace is not open on this connection";
    return refused ? ns->status : QUIRE_DISCONNECTED;
}

quire_ns *ns_ref(quire_ns *ns) {
    atomic_fetch_add_explicit(&ns->refs, 1, memory_order_relaxed);
    return ns;
}

void ns_unref(quire_ns *ns) {
    if (ns != NULL && atomic_fetch_sub_explicit(&ns->refs, 1, memory_order_acq_rel) == 1) {
        ns->magic = 0;
        free(ns);
    }
}

/* Leases and jobs may still need the layout: the handle goes, what it stands for stays as long as they do. */
void quire_ns_close(quire_ns **handle) {
    if (handle == NULL || *handle == NULL) {
        return;
    }
    quire_ns *ns = *handle;
    QUIRE_MAGIC_CHECK(ns, NS_MAGIC);
    *handle = NULL;
    quire_client *client = ns->client;
    if (client != NULL) {
        client_enter(client);
        link_remove(&ns->link);
        for (uint32_t i = 0; i < client->n_requests; i++) {
            if (client->requests[i].ns == ns) {
                client->requests[i].ns = NULL;
            }
        }
        client_leave(client);
    }
    ns_unref(ns);
}

const quire_layout *quire_ns_layout(const quire_ns *ns) { return ns == NULL ? NULL : &ns->layout; }

quire_key quire_ns_root(const quire_ns *ns) { return ns == NULL ? (quire_key){{0}} : ns->root; }
