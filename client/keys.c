/* Keys from tokens, and the verbs that need only keys: touch, delete, pin, unpin. */
#include "client/internal.h"

#include <stdlib.h>

enum quire_status quire_chain(const quire_ns *ns, const uint32_t *tokens, size_t n_tokens, const void *extra, size_t extra_bytes, bool tail,
                              quire_key *keys, size_t capacity, size_t *n_keys) {
    if (ns == NULL || n_keys == NULL || (tokens == NULL && n_tokens > 0) || (keys == NULL && capacity > 0) ||
        (extra == NULL && extra_bytes > 0) || extra_bytes > UINT32_MAX) {
        return error_set(QUIRE_INVALID, "quire_chain: a pointer is NULL where its count is not 0");
    }
    *n_keys = 0;
    size_t per_block = ns->layout.block_tokens, full = n_tokens / per_block;
    quire_key parent = ns->root;
    for (size_t i = 0; i < full + (tail && n_tokens % per_block != 0 ? 1 : 0); i++) {
        if (i == capacity) {
            return error_set(QUIRE_TOO_LARGE, "%zu tokens have more than %zu keys", n_tokens, capacity);
        }
        size_t here = quire_min_u64(per_block, n_tokens - i * per_block);
        parent = keys[i] = quire_key_child(&parent, tokens + i * per_block, (uint32_t)here, extra, extra_bytes);
        *n_keys = i + 1;
    }
    return QUIRE_OK;
}

enum quire_status quire_key_from_text(const char *hex64, quire_key *key) {
    if (hex64 == NULL || key == NULL || quire_key_parse(hex64, key) != QUIRE_OK) {
        return error_set(QUIRE_INVALID, "a key is exactly 64 hexadecimal digits");
    }
    return QUIRE_OK;
}

void quire_key_to_text(const quire_key *key, char text[65]) { quire_key_format(key, text); }

/* ---- verbs ---------------------------------------------------------------------------------------------------------------- */
static enum quire_status check(const quire_ns *ns, enum quire_keys_verb verb, const quire_key *keys, uint32_t n_keys) {
    if (ns == NULL || ns->client == NULL || keys == NULL || n_keys == 0 || verb < QUIRE_KEYS_TOUCH || verb > QUIRE_KEYS_UNPIN) {
        return error_set(QUIRE_INVALID, "keys: no namespace, no keys, or an unknown verb");
    }
    if (n_keys > QUIRE_MAX_BATCH) {
        return error_set(QUIRE_TOO_LARGE, "%u keys are more than %d in one call", n_keys, QUIRE_MAX_BATCH);
    }
    return QUIRE_OK;
}

static void prepare(struct job *job, quire_ns *ns, enum quire_keys_verb verb, const quire_key *keys, uint32_t n_keys, uint8_t *statuses) {
    job->u.keys.ns = ns;
    job->u.keys.verb = verb;
    job->u.keys.keys = keys;
    job->u.keys.n_keys = n_keys;
    job->u.keys.statuses = statuses;
    if (statuses != NULL) {
        memset(statuses, QUIRE_DISCONNECTED, n_keys);
    }
}

void keys_advance(quire_client *client, struct job *job) {
    enum quire_status status = tx_full(client) ? QUIRE_PENDING : conn_need(client, clock_ns());
    if (status == QUIRE_PENDING) {
        job_stall(job, &client->stalled_conn);
        return;
    }
    Quire__Wire__Keys keys = QUIRE__WIRE__KEYS__INIT;
    const char *why = client->conn.why;
    status = status == QUIRE_OK ? ns_handle(client, job->u.keys.ns, &keys.ns, &why) : QUIRE_DISCONNECTED;
    if (status != QUIRE_OK) {
        job_finish(client, job, status, "%s", why);
        return;
    }
    keys.verb = job->u.keys.verb;
    keys.keys.data = (uint8_t *)(uintptr_t)job->u.keys.keys;
    keys.keys.len = (size_t)job->u.keys.n_keys * QUIRE_KEY_BYTES;
    request_send(client, job, QUIRE_MSG_KEYS, &keys.base);
}

/* The call is OK when every key is; else the first key's status that is not. */
void keys_on_acks(quire_client *client, struct job *job, const uint8_t *body, size_t size) {
    Quire__Wire__Acks *acks = quire__wire__acks__unpack(NULL, size, body);
    if (acks == NULL || (acks->status == QUIRE_OK && acks->statuses.len != job->u.keys.n_keys)) {
        quire__wire__acks__free_unpacked(acks, NULL);
        job_finish(client, job, QUIRE_CORRUPT, "quired sent a malformed answer");
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed answer");
        return;
    }
    enum quire_status status = status_from_wire(acks->status);
    const enum quire_status whole = status; /* of a request that was refused: every key's, too */
    for (uint32_t i = 0; i < job->u.keys.n_keys; i++) {
        enum quire_status one = acks->statuses.len == job->u.keys.n_keys ? status_from_wire(acks->statuses.data[i]) : whole;
        if (job->u.keys.statuses != NULL) {
            job->u.keys.statuses[i] = (uint8_t)one;
        }
        status = status == QUIRE_OK ? one : status;
    }
    job_finish(client, job, status, "%.180s", acks->text);
    quire__wire__acks__free_unpacked(acks, NULL);
}

static enum quire_status run(quire_ns *ns, enum quire_keys_verb verb, const quire_key *keys, uint32_t n_keys, uint8_t *statuses,
                             uint32_t deadline_ms) {
    QUIRE_FORWARD(check(ns, verb, keys, n_keys));
    struct job job;
    client_enter(ns->client);
    job_init(&job, JOB_KEYS, deadline_after(ns->client, deadline_ms));
    prepare(&job, ns, verb, keys, n_keys, statuses);
    enum quire_status status = job_run(ns->client, &job);
    client_leave(ns->client);
    return status;
}

enum quire_status quire_touch(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms) {
    return run(ns, QUIRE_KEYS_TOUCH, keys, n_keys, statuses, deadline_ms);
}

enum quire_status quire_delete(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms) {
    return run(ns, QUIRE_KEYS_DELETE, keys, n_keys, statuses, deadline_ms);
}

enum quire_status quire_pin(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms) {
    return run(ns, QUIRE_KEYS_PIN, keys, n_keys, statuses, deadline_ms);
}

enum quire_status quire_unpin(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms) {
    return run(ns, QUIRE_KEYS_UNPIN, keys, n_keys, statuses, deadline_ms);
}

quire_job quire_submit_keys(quire_ns *ns, enum quire_keys_verb verb, const quire_key *keys, uint32_t n_keys, uint8_t *statuses,
                            uint32_t deadline_ms, void *user) {
    if (check(ns, verb, keys, n_keys) != QUIRE_OK) {
        return 0;
    }
    client_enter(ns->client);
    struct job *job = job_new(ns->client, JOB_KEYS, deadline_after(ns->client, deadline_ms), user);
    if (job != NULL) {
        job->ns = ns_ref(ns);
        prepare(job, ns, verb, keys, n_keys, statuses);
    }
    quire_job id = job == NULL ? 0 : job_submit_async(ns->client, job);
    client_leave(ns->client);
    return id;
}
