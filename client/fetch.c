/*
 * Fetch: leased bytes into the caller's memory. Members of the trust domain copy out of the mapped pool without a word to the daemon and
 * read the record's generation again afterwards. Others are sent copies (copies.c), which they scatter.
 */
#include "client/internal.h"
#include "proto/status.h"

#include <stdlib.h>

/* How a record's bytes are to be handled: copied out, if wanted with a look at their sums; or those that have a place in the destination are there. */
enum handling { PLAIN, VERIFIED, PLACED };

static enum quire_status copy_lanes(const quire_layout *layout, const struct quire_record *record, quire_dest *dest,
                                    enum handling handling) {
    quire_rect rect;
    enum quire_status status = dest_check(layout, dest, record->header.n_tokens, &rect);
    if (status != QUIRE_OK) {
        return error_set(status, "key %u: the rectangle or its strides leave the group or the region", dest->key_index);
    }
    const struct quire_scatter to = dest_scatter(dest, &rect);
    dest->bytes_copied = quire_layout_rect_bytes(layout, dest->group, &rect, record->header.n_tokens);
    status = handling == PLACED ? quire_record_scatter_placed(record, &to) : quire_record_scatter(record, &to, handling == VERIFIED);
    return status == QUIRE_OK ? status : error_set(status, "key %u: the record is not what was stored", dest->key_index);
}

static enum quire_status copy_opaque(const struct quire_record *record, quire_dest *dest, enum handling handling) {
    size_t size = 0;
    if (handling == PLACED) {
        dest->bytes_copied = record->shape.size_bytes - record->shape.payload_offset;
        return quire_record_verify_opaque(record, dest->opaque);
    }
    enum quire_status status = dest->opaque == NULL
                                   ? QUIRE_INVALID
                                   : quire_record_copy_opaque(record, dest->opaque, dest->opaque_bytes, &size, handling == VERIFIED);
    dest->bytes_copied = size;
    return status == QUIRE_OK ? status : error_set(status, "key %u: an opaque block of %zu bytes was not copied", dest->key_index, size);
}

/* From a record's bytes, wherever they are, to the caller's memory. Reports nothing to the caller yet but sizes. */
static enum quire_status copy_record(const quire_lease *lease, const uint8_t *bytes, uint32_t size, quire_dest *dest,
                                     enum handling handling) {
    struct quire_record record;
    const quire_layout *layout = &lease->ns->layout;
    enum quire_status status = quire_record_open(bytes, size, layout, &lease->keys[dest->key_index], &record);
    if (status != QUIRE_OK) {
        return error_set(status, "key %u: the record is not what was asked for", dest->key_index);
    }
    if (record.header.group != dest->group) {
        return error_set(QUIRE_CORRUPT, "key %u: the record is of another layer group", dest->key_index);
    }
    dest->n_tokens = record.header.n_tokens;
    dest->fidelity =
        (quire_fidelity){.error = record.header.error, .ancestry_error = record.header.ancestry_error, .rung = record.header.rung};
    return layout->opaque ? copy_opaque(&record, dest, handling) : copy_lanes(layout, &record, dest, handling);
}

static bool exists(const quire_lease *lease, const quire_dest *dest) {
    return dest->key_index < lease->n_keys && dest->group < (lease->ns->layout.opaque ? 1 : lease->ns->layout.n_groups);
}

static const struct quire_wire_grant *find(const quire_lease *lease, const quire_dest *dest) {
    if (!exists(lease, dest)) {
        error_set(QUIRE_INVALID, "key %u or group %u is not of this lookup", dest->key_index, dest->group);
        return NULL;
    }
    const struct quire_wire_grant *grant = lease_grant(lease, dest->key_index, dest->group);
    if (grant == NULL) {
        error_set(QUIRE_MISS, "key %u was not leased for group %u", dest->key_index, dest->group);
    }
    return grant;
}

/* Where a destination's record is. PENDING: it is being read from disk; else why it has no place. */
static enum quire_status locate(const quire_lease *lease, const struct load *load, const quire_dest *dest,
                                const struct quire_wire_grant **place) {
    const struct quire_wire_grant *grant = *place = find(lease, dest);
    quire_rect rect;
    if (grant == NULL) {
        return quire_last_status();
    }
    if (grant->offset != QUIRE_WIRE_AWAY) {
        return QUIRE_OK;
    }
    if (lease_rect(lease, dest->group, &dest->rect, &rect) != QUIRE_OK) {
        return error_set(QUIRE_INVALID, "key %u: the rectangle leaves the group", dest->key_index);
    }
    *place = lease_place(lease, grant, &rect);
    enum quire_status status = *place != NULL ? QUIRE_OK : load_outcome(load, (uint32_t)(grant - lease->grants));
    return status == QUIRE_OK || status == QUIRE_PENDING ? status : load_error(dest->key_index, status);
}

/* What was read while the bytes were being reused is no finding, whatever it looked like. */
static enum quire_status fetch_mapped(const quire_lease *lease, const struct load *load, quire_dest *dest) {
    const struct quire_wire_grant *grant;
    QUIRE_FORWARD(locate(lease, load, dest, &grant));
    enum quire_status status = copy_record(lease, lease->pool->base + grant->offset, grant->size, dest, lease->verify ? VERIFIED : PLAIN);
    if (!pool_stands(lease->pool, grant->slot, grant->generation)) {
        return error_set(QUIRE_STALE, "key %u: its bytes were reused while they were read", dest->key_index);
    }
    return status;
}

static void settle(quire_dest *dest, enum quire_status status, quire_seq *seq) {
    dest->status = status;
    if (status == QUIRE_OK) {
        seq_learn(seq, &dest->fidelity);
    } else {
        dest->bytes_copied = 0;
    }
}

static void clear_results(quire_dest *dests, uint32_t n_dests) {
    for (uint32_t i = 0; i < n_dests; i++) {
        dests[i].status = QUIRE_PENDING;
        dests[i].fidelity = (quire_fidelity){0};
        dests[i].n_tokens = 0;
        dests[i].bytes_copied = 0;
    }
}

/* What is still pending gets `rest`; the first failure is the call's. Misses that only a reader sees are counted, for the daemon to be told. */
static enum quire_status outcome(quire_client *client, quire_dest *dests, uint32_t n_dests, enum quire_status rest) {
    enum quire_status first = QUIRE_OK;
    for (uint32_t i = 0; i < n_dests; i++) {
        if (dests[i].status == QUIRE_PENDING) {
            dests[i].status = rest;
        }
        if (dests[i].status == QUIRE_CORRUPT) {
            atomic_fetch_add_explicit(&client->seen_corrupt, 1, memory_order_relaxed);
        } else if (dests[i].status == QUIRE_TIMEOUT) {
            atomic_fetch_add_explicit(&client->seen_late, 1, memory_order_relaxed);
        }
        first = first == QUIRE_OK ? dests[i].status : first;
    }
    return first;
}

static enum quire_status check(const quire_lease *lease, const quire_dest *dests, uint32_t n_dests) {
    if (lease == NULL || dests == NULL || n_dests == 0) {
        return error_set(QUIRE_INVALID, "fetch: no lease or no destinations");
    }
    if (n_dests > QUIRE_MAX_BATCH * QUIRE_MAX_GROUPS) {
        return error_set(QUIRE_TOO_LARGE, "%u destinations are too many for one call", n_dests);
    }
    if (!quire_lease_valid(lease)) {
        return error_set(QUIRE_STALE, "the lease has expired or its connection is gone: look up again");
    }
    return QUIRE_OK;
}

/* ---- from disk ------------------------------------------------------------------------------------------------------------- */
/* What the destinations need that is not in memory. What is wrong with one of them is said when its turn comes. */
static enum quire_status plan_loads(const quire_lease *lease, const quire_dest *dests, uint32_t n_dests, struct load *load) {
    for (uint32_t i = 0; lease->n_away > 0 && i < n_dests; i++) {
        const quire_dest *dest = &dests[i];
        const struct quire_wire_grant *grant = exists(lease, dest) ? lease_grant(lease, dest->key_index, dest->group) : NULL;
        quire_rect rect;
        if (grant != NULL && lease_rect(lease, dest->group, &dest->rect, &rect) == QUIRE_OK) {
            QUIRE_FORWARD(load_want(load, lease, grant, &rect, n_dests - i));
        }
    }
    load_sort(load, lease);
    return QUIRE_OK;
}

/* ---- jobs ----------------------------------------------------------------------------------------------------------------- */
static void prepare(struct job *job, quire_lease *lease, quire_dest *dests, uint32_t n_dests, quire_seq *seq) {
    atomic_fetch_add_explicit(&lease->refs, 1, memory_order_relaxed);
    job->u.fetch = (struct job_fetch){.lease = lease, .dests = dests, .n_dests = n_dests, .seq = seq};
}

void fetch_drop(struct job *job) {
    copies_drop(job);
    free(job->u.fetch.load.items);
    job->u.fetch.load.items = NULL;
    lease_unref(job->u.fetch.lease);
}

void fetch_end(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    enum quire_status status = outcome(client, fetch->dests, fetch->n_dests, job->status == QUIRE_OK ? QUIRE_INTERNAL : job->status);
    job->status = job->status == QUIRE_OK ? status : job->status;
    load_abandon(client, &fetch->load);
    copies_abandon(client, job);
    fetch_drop(job);
}

static void remember_text(struct job *job, enum quire_status status) {
    if (status != QUIRE_OK && job->text[0] == '\0') {
        strncpy(job->text, quire_last_error(), sizeof(job->text) - 1);
    }
}

/* The destinations were gone through. Those that waited have another turn when something came; at the end the job is done. */
static void pass_ended(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    const struct load *load = &fetch->load;
    if (load->known > load->seen) {
        fetch->next = 0;
        job_wake(client, job);
    } else if (load->known == load->n) {
        job_finish(client, job, QUIRE_OK, NULL);
    } else {
        load_wait(client, job);
    }
}

static void advance_mapped(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    uint64_t copied = 0;
    progress_hand_over(client);
    client_unlock(client);
    while (fetch->next < fetch->n_dests && copied < FETCH_STEP_BYTES) {
        quire_dest *dest = &fetch->dests[fetch->next++];
        enum quire_status status = dest->status == QUIRE_PENDING ? fetch_mapped(fetch->lease, &fetch->load, dest) : QUIRE_PENDING;
        if (status != QUIRE_PENDING) {
            remember_text(job, status);
            settle(dest, status, fetch->seq);
            copied += dest->bytes_copied;
        }
    }
    client_lock(client);
    if (job->abort != QUIRE_OK) {
        return;
    }
    if (fetch->next == fetch->n_dests) {
        pass_ended(client, job);
    } else if (clock_ns() >= job->deadline_ns) {
        job_abort(client, job, QUIRE_TIMEOUT, "the deadline passed before all was copied");
    } else {
        job_wake(client, job);
    }
}

/* ---- copies --------------------------------------------------------------------------------------------------------------- */
static void settle_copy(struct job *job, uint32_t dest, enum quire_status status) {
    remember_text(job, status);
    settle(&job->u.fetch.dests[dest], status, job->u.fetch.seq);
}

/* Its connection does. */
static bool stands(const quire_client *client, const quire_lease *lease) {
    return client->conn.state == CONN_UP && lease->serial == client->conn.serial;
}

/* It is the record that was granted. Of one that has places only its head is here: a header that speaks of another would have us read behind it. */
static bool is_as_granted(const struct landed *landed) {
    struct quire_record_header header;
    if (landed->size_bytes < sizeof(header)) {
        return false;
    }
    memcpy(&header, landed->bytes, sizeof(header));
    return header.size_bytes == landed->size_bytes && (landed->payload_offset == 0 || header.payload_offset == landed->payload_offset);
}

/* A copy that crossed a wire is verified. */
static enum quire_status scatter_copy(const quire_lease *lease, const struct landed *landed, quire_dest *dest) {
    if (landed->status != QUIRE_OK) {
        return error_set(landed->status, "key %u: quired did not send the record", dest->key_index);
    }
    if (!is_as_granted(landed)) {
        return error_set(QUIRE_CORRUPT, "key %u: the record is not what was asked for", dest->key_index);
    }
    return copy_record(lease, landed->bytes, landed->size_bytes, dest, landed->payload_offset > 0 ? PLACED : VERIFIED);
}

/*
 * What is wrong where it was received may be so because destinations overlap, as those of lanes that nobody wants may: it comes once more, and it and all
 * that follows is copied from memory that nobody else writes to.
 */
static void take_copy(quire_client *client, struct job *job, struct landed *landed) {
    struct job_fetch *fetch = &job->u.fetch;
    quire_dest *dest = &fetch->dests[landed->dest];
    const struct quire_wire_grant *grant;
    progress_hand_over(client);
    client_unlock(client);
    enum quire_status status = scatter_copy(fetch->lease, landed, dest);
    client_lock(client);
    copies_give_back(job, landed);
    bool again = status == QUIRE_CORRUPT && landed->status == QUIRE_OK && landed->payload_offset > 0 && job->abort == QUIRE_OK &&
                 stands(client, fetch->lease) && locate(fetch->lease, &fetch->load, dest, &grant) == QUIRE_OK;
    fetch->staged |= again;
    if (!again || copies_begin(client, job, landed->dest, grant) != QUIRE_OK) {
        settle_copy(job, landed->dest, status);
    }
}

/* The next destination is begun, failed or passed over. False: there is none now. */
static bool begin_copy(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    if (fetch->next == fetch->n_dests || copies_full(client, job)) {
        return false;
    }
    uint32_t next = fetch->next++;
    const quire_dest *dest = &fetch->dests[next];
    const struct quire_wire_grant *grant;
    enum quire_status status = dest->status == QUIRE_PENDING ? locate(fetch->lease, &fetch->load, dest, &grant) : QUIRE_PENDING;
    if (status == QUIRE_OK) {
        status = copies_begin(client, job, next, grant);
        status = status == QUIRE_OK ? QUIRE_PENDING : status;
    }
    if (status != QUIRE_PENDING) {
        settle_copy(job, next, status);
    }
    return true;
}

static void advance_copied(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    struct landed landed;
    bool goes_on = true;
    while (goes_on && job->abort == QUIRE_OK && stands(client, fetch->lease)) {
        while (begin_copy(client, job)) {
        }
        tx_flush(client);
        goes_on = copies_take(job, &landed);
        if (goes_on) {
            take_copy(client, job, &landed);
        }
    }
    if (job->abort != QUIRE_OK || job->done) {
        return;
    }
    if (!stands(client, fetch->lease)) {
        job_finish(client, job, fetch->cut_off ? QUIRE_DISCONNECTED : QUIRE_STALE, "%s",
                   fetch->cut_off ? client->conn.why : "the lease's connection is gone: look up again");
    } else if (fetch->n_copies == 0) {
        pass_ended(client, job);
    }
}

/* Asks the disk for what is away; what is in memory is copied meanwhile. */
static bool ask_disk(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    if (!fetch->planned && plan_loads(fetch->lease, fetch->dests, fetch->n_dests, &fetch->load) != QUIRE_OK) {
        return false;
    }
    fetch->planned = true;
    load_ask(client, job);
    return true;
}

void fetch_advance(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    if (!ask_disk(client, job)) {
        job_finish(client, job, QUIRE_NO_MEMORY, "out of memory for a request");
        return;
    }
    fetch->load.seen = fetch->next == 0 ? fetch->load.known : fetch->load.seen;
    if (job->u.fetch.lease->pool != NULL) {
        advance_mapped(client, job);
    } else {
        advance_copied(client, job);
    }
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */
/* A member's blocking fetch of what is in memory is copies and nothing else: no lock, no job, any number of threads at once. */
static enum quire_status fetch_now(quire_lease *lease, quire_dest *dests, uint32_t n_dests, quire_seq *seq, uint64_t deadline_ns) {
    enum quire_status rest = QUIRE_TIMEOUT;
    for (uint32_t i = 0; i < n_dests; i++) {
        if ((i & 7) == 7 && clock_ns() >= deadline_ns) {
            error_set(QUIRE_TIMEOUT, "the deadline passed after %u of %u destinations", i, n_dests);
            break;
        }
        settle(&dests[i], fetch_mapped(lease, NULL, &dests[i]), seq);
    }
    return outcome(lease->client, dests, n_dests, rest);
}

enum quire_status quire_fetch(quire_lease *lease, quire_dest *dests, uint32_t n_dests, quire_seq *seq, uint32_t deadline_ms) {
    enum quire_status status = check(lease, dests, n_dests);
    if (status != QUIRE_OK) {
        if (dests != NULL) {
            clear_results(dests, n_dests);
            outcome(NULL, dests, n_dests, status); /* nothing was read: nothing is counted */
        }
        return status;
    }
    clear_results(dests, n_dests);
    quire_client *client = lease->client;
    uint64_t deadline_ns = deadline_after(client, deadline_ms);
    struct load load = {0};
    if (lease->pool != NULL) {
        status = plan_loads(lease, dests, n_dests, &load);
        if (status != QUIRE_OK) {
            return outcome(client, dests, n_dests, status);
        }
        if (load.n == 0) {
            return fetch_now(lease, dests, n_dests, seq, deadline_ns);
        }
    }
    struct job job;
    client_enter(client);
    job_init(&job, JOB_FETCH, deadline_ns);
    prepare(&job, lease, dests, n_dests, seq);
    job.u.fetch.load = load;
    job.u.fetch.planned = lease->pool != NULL;
    status = job_run(client, &job);
    client_leave(client);
    return status;
}

quire_job quire_submit_fetch(quire_lease *lease, quire_dest *dests, uint32_t n_dests, quire_seq *seq, uint32_t deadline_ms, void *user) {
    if (check(lease, dests, n_dests) != QUIRE_OK) {
        return 0;
    }
    clear_results(dests, n_dests);
    quire_client *client = lease->client;
    client_enter(client);
    struct job *job = job_new(client, JOB_FETCH, deadline_after(client, deadline_ms), user);
    if (job != NULL) {
        prepare(job, lease, dests, n_dests, seq);
    }
    quire_job id = job == NULL ? 0 : job_submit_async(client, job);
    if (id != 0 && !job->done) {
        ask_disk(client, job); /* copying waits for the caller's next call; the disk need not */
    }
    client_leave(client);
    return id;
}
