/*
 * Copies: records for callers whose process does not see the pool. The daemon is asked for what the caller wants of each, in slices, several of which
 * are on their way at once, for several records; what came is verified and scattered from there.
 *
 * Lanes whose rows follow each other in the caller's memory are received there, and verified there when all is there (dest.c finds the places). What else
 * comes is kept at its offset in the record and scattered then. Of a part of a block only its lanes come, with the header and the directory.
 */
#include "client/internal.h"

#include <stdlib.h>

/* A record on its way, for one destination. */
struct copy {
    struct copy *next;
    uint32_t dest;
    uint32_t size_bytes;
    uint64_t awaited_bytes;
    enum quire_status failed; /* the first of its slices */
    struct dest_places places;
};

/* What one READ asks for. Lives until its bytes have come, or its job ends. */
struct slice {
    struct slice *next;
    struct job *job;
    struct copy *copy;
    uint64_t request; /* 0: none is outstanding, or it is read from afar */
    uint64_t bytes;
    struct afar afar;
    uint32_t n_ranges;
    struct quire_wire_range ranges[];
};

/* ---- which parts ---------------------------------------------------------------------------------------------------------- */
/* The parts of a record that a rectangle needs, ascending; neighbours are one. */
struct parts {
    struct quire_wire_range *ranges;
    uint32_t n, capacity;
    bool apart; /* the first is not one with what follows: they go to different places, and such bulk bytes cost a transport most */
};

/* Lanes of a rectangle, K and V, and the part before them. */
static uint32_t most_parts(const quire_rect *rect) { return 1 + 2u * rect->n_layers * rect->n_heads; }

static void add_part(struct parts *parts, uint32_t offset, uint32_t size) {
    struct quire_wire_range *last = parts->n > 0 ? &parts->ranges[parts->n - 1] : NULL;
    uint32_t end = last != NULL ? last->offset + last->size : 0;
    if (last != NULL && offset - end < QUIRE_RECORD_ALIGN && !(parts->apart && parts->n == 1)) {
        last->size = offset + size - last->offset; /* lanes are padded: what lies between costs less than a range */
    } else {
        parts->ranges[parts->n++] = (struct quire_wire_range){.offset = offset, .size = size};
    }
}

static void add_lanes(struct parts *parts, const struct quire_record_shape *shape, const quire_rect *rect) {
    add_part(parts, 0, shape->payload_offset);
    for (uint32_t layer = rect->first_layer; layer < (uint32_t)rect->first_layer + rect->n_layers; layer++) {
        for (uint32_t kv = 0; kv < 2; kv++) {
            for (uint32_t head = rect->first_head; head < (uint32_t)rect->first_head + rect->n_heads; head++) {
                uint32_t lane = quire_record_lane(shape, layer, kv, head);
                uint32_t bytes = (kv == 0 ? shape->k_lane_bytes : shape->v_lane_bytes);
                if (bytes > 0) {
                    add_part(parts, quire_record_lane_offset(shape, lane), bytes);
                }
            }
        }
    }
}

/* What a destination wants of its record. */
struct wanted {
    struct quire_record_shape shape;
    bool shaped; /* it has the size of a raw record */
    quire_rect rect;
    bool some; /* only the rectangle comes: else all of it */
    uint64_t bytes;
};

static enum quire_status check_opaque(const quire_dest *dest, const struct quire_record_shape *shape) {
    uint32_t bytes = shape->size_bytes - shape->payload_offset;
    enum quire_status status = dest->opaque == NULL ? QUIRE_INVALID : dest->opaque_bytes < bytes ? QUIRE_TOO_LARGE : QUIRE_OK;
    return status == QUIRE_OK ? status : error_set(status, "key %u: an opaque block of %u bytes was not copied", dest->key_index, bytes);
}

/* What would be written outside the destination is not asked for. A record that has no raw record's size comes whole, to be looked at. */
static enum quire_status find_wanted(const quire_client *client, const quire_lease *lease, const quire_dest *dest,
                                     const struct quire_wire_grant *grant, struct wanted *wanted) {
    const quire_layout *layout = &lease->ns->layout;
    struct quire_record_shape *shape = &wanted->shape;
    *wanted = (struct wanted){.bytes = grant->size};
    wanted->shaped = grant->rung == QUIRE_RUNG_RAW && quire_record_shape_of_size(layout, dest->group, grant->size, shape) == QUIRE_OK;
    if (!wanted->shaped) {
        return QUIRE_OK;
    }
    if (layout->opaque) {
        wanted->bytes = shape->size_bytes - shape->payload_offset;
        return check_opaque(dest, shape);
    }
    if (dest_check(layout, dest, shape->n_tokens, &wanted->rect) != QUIRE_OK) {
        return error_set(QUIRE_INVALID, "key %u: the rectangle or its strides leave the group or the region", dest->key_index);
    }
    wanted->some = client->conn.ranges;
    const quire_rect whole = quire_layout_whole(layout, dest->group);
    wanted->bytes = quire_layout_rect_bytes(layout, dest->group, wanted->some ? &wanted->rect : &whole, shape->n_tokens);
    return QUIRE_OK;
}

/* All of it where the daemon sends no ranges, or where less would be no raw lanes. */
static enum quire_status find_parts(const struct wanted *wanted, uint32_t size_bytes, struct parts *parts) {
    parts->capacity = wanted->some ? most_parts(&wanted->rect) : 1;
    parts->n = 0;
    parts->ranges = malloc(parts->capacity * sizeof(*parts->ranges));
    if (parts->ranges == NULL) {
        return QUIRE_NO_MEMORY;
    }
    if (wanted->some) {
        add_lanes(parts, &wanted->shape, &wanted->rect);
    } else {
        add_part(parts, 0, size_bytes);
    }
    return QUIRE_OK;
}

/* ---- asking --------------------------------------------------------------------------------------------------------------- */
static void free_slice(struct job *job, struct slice *slice) {
    for (struct slice **at = &job->u.fetch.slices; *at != NULL; at = &(*at)->next) {
        if (*at == slice) {
            *at = slice->next;
            break;
        }
    }
    free(slice);
}

/* The next slice of what is left of the parts; they are shortened by it. NULL: no memory. */
static struct slice *cut_slice(struct parts *parts, uint32_t *first, uint64_t most_bytes, struct job *job, struct copy *copy) {
    uint32_t most = (uint32_t)quire_min_u64(parts->n - *first, QUIRE_MAX_RANGES);
    struct slice *slice = malloc(sizeof(*slice) + most * sizeof(slice->ranges[0]));
    if (slice == NULL) {
        return NULL;
    }
    *slice = (struct slice){.job = job, .copy = copy};
    while (slice->n_ranges < most && slice->bytes < most_bytes) {
        struct quire_wire_range *part = &parts->ranges[*first];
        uint32_t size = (uint32_t)quire_min_u64(part->size, most_bytes - slice->bytes);
        slice->ranges[slice->n_ranges++] = (struct quire_wire_range){.offset = part->offset, .size = size};
        slice->bytes += size;
        part->offset += size;
        part->size -= size;
        *first += part->size == 0;
    }
    return slice;
}

static enum quire_status ask_slice(quire_client *client, struct slice *slice, const quire_lease *lease, uint32_t slot) {
    Quire__Wire__Read read = QUIRE__WIRE__READ__INIT;
    read.lease = lease->id;
    read.prefetch = lease->prefetch;
    read.slot = slot;
    if (slice->n_ranges == 1) {
        read.offset = slice->ranges[0].offset;
        read.size = slice->ranges[0].size;
    } else {
        read.ranges = (ProtobufCBinaryData){.len = slice->n_ranges * sizeof(slice->ranges[0]), .data = (uint8_t *)slice->ranges};
    }
    struct request *request = request_new(client, QUIRE_MSG_READ, slice->job);
    if (request == NULL) {
        return error_set(QUIRE_RETRY, "too many requests are outstanding: drain completions first");
    }
    release_before(client);
    enum quire_status status = tx_frame(client, QUIRE_MSG_READ, request->id, &read.base);
    if (status != QUIRE_OK) {
        request_free(client, request);
        return error_set(status, "the request could not be sent: it is too large, or memory is short");
    }
    request->slice = slice;
    slice->request = request->id;
    return QUIRE_OK;
}

static uint8_t *bulk_place(struct bulk *bulk, uint32_t *size);
static void step_over(struct bulk *bulk, uint32_t size);

static void on_afar(quire_client *client, void *arg, enum quire_status status) {
    struct slice *slice = arg;
    struct job_fetch *fetch = &slice->job->u.fetch;
    client->conn.afar_bytes -= slice->bytes;
    fetch->afar_left--;
    fetch->cut_off |= status == QUIRE_DISCONNECTED;
    slice->copy->failed = slice->copy->failed != QUIRE_OK ? slice->copy->failed : status;
    copies_on_bulk_end(client, slice);
}

/* From the daemon's memory into each place, without its doing anything. */
static void read_afar(quire_client *client, struct slice *slice, const struct quire_wire_grant *grant) {
    struct bulk ahead = {.slice = slice};
    uint8_t *place;
    uint32_t size;
    client->conn.afar_bytes += slice->bytes;
    slice->job->u.fetch.afar_left++;
    afar_begin(client, &slice->afar, grant, on_afar, slice);
    while ((place = bulk_place(&ahead, &size)) != NULL) {
        afar_read(&slice->afar, slice->ranges[ahead.range].offset + ahead.at, place, size);
        step_over(&ahead, size);
    }
    afar_end(&slice->afar);
}

/* What of it could be asked for is awaited, whatever failed after that. */
static enum quire_status ask_parts(quire_client *client, struct job *job, struct copy *copy, struct parts *parts,
                                   const struct quire_wire_grant *grant) {
    struct job_fetch *fetch = &job->u.fetch;
    for (uint32_t first = 0; first < parts->n;) {
        struct slice *slice = cut_slice(parts, &first, client->conn.slice_bytes, job, copy);
        if (slice == NULL) {
            return error_set(QUIRE_NO_MEMORY, "out of memory for a request");
        }
        enum quire_status status = client->conn.afar ? QUIRE_OK : ask_slice(client, slice, fetch->lease, grant->slot);
        if (status != QUIRE_OK) {
            free(slice);
            return status;
        }
        slice->next = fetch->slices;
        fetch->slices = slice;
        copy->awaited_bytes += slice->bytes;
        fetch->awaited_bytes += slice->bytes;
        if (client->conn.afar) {
            read_afar(client, slice, grant);
        }
    }
    return QUIRE_OK;
}

static void free_copy(struct copy *copy) {
    if (copy != NULL) {
        dest_places_free(&copy->places);
        free(copy);
    }
}

bool copies_full(const quire_client *client, const struct job *job) {
    const struct job_fetch *fetch = &job->u.fetch;
    uint64_t afar_most = fetch->lease->prefetch ? AFAR_BYTES / 4 : AFAR_BYTES;
    return fetch->n_copies == COPIES_MOST || fetch->awaited_bytes >= COPIES_BYTES ||
           (fetch->awaited_bytes > 0 && client->conn.afar_bytes >= afar_most);
}

enum quire_status copies_begin(quire_client *client, struct job *job, uint32_t dest, const struct quire_wire_grant *grant) {
    struct job_fetch *fetch = &job->u.fetch;
    struct wanted wanted;
    struct parts parts = {.apart = client->conn.transport != NULL && client->conn.transport->ops->receive_bulk != NULL};
    QUIRE_FORWARD(find_wanted(client, fetch->lease, &fetch->dests[dest], grant, &wanted));
    struct copy *copy = calloc(1, sizeof(*copy));
    enum quire_status status = copy == NULL                      ? QUIRE_NO_MEMORY
                               : wanted.shaped && !fetch->staged ? dest_places_find(&copy->places, &fetch->dests[dest], &wanted.shape,
                                                                                    &wanted.rect, wanted.bytes, &fetch->spare)
                                                                 : dest_places_own(&copy->places, grant->size, &fetch->spare);
    status = status == QUIRE_OK ? find_parts(&wanted, grant->size, &parts) : status;
    if (status != QUIRE_OK) {
        free_copy(copy);
        return error_set(status, "out of memory for a copy");
    }
    copy->dest = dest;
    copy->size_bytes = grant->size;
    copy->failed = ask_parts(client, job, copy, &parts, grant);
    free(parts.ranges);
    struct copy **at = &fetch->copies;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = copy;
    fetch->n_copies++;
    return QUIRE_OK;
}

/* ---- answers -------------------------------------------------------------------------------------------------------------- */
void copies_on_bulk(quire_client *client, struct slice *slice, const struct quire_frame *frame, const uint8_t *body) {
    Quire__Wire__Bulk *bulk = quire__wire__bulk__unpack(NULL, frame->body_bytes, body);
    enum quire_status status = bulk == NULL ? QUIRE_CORRUPT : status_from_wire(bulk->status);
    quire__wire__bulk__free_unpacked(bulk, NULL);
    slice->request = 0;
    if (status == QUIRE_OK && frame->bulk_bytes == slice->bytes) {
        client->conn.bulk = (struct bulk){.slice = slice};
        return;
    }
    slice->copy->failed = slice->copy->failed != QUIRE_OK ? slice->copy->failed : status != QUIRE_OK ? status : QUIRE_CORRUPT;
    copies_on_bulk_end(client, slice);
}

/* Where the next bytes belong, and how many of them; NULL: there are no more. */
static uint8_t *bulk_place(struct bulk *bulk, uint32_t *size) {
    const struct slice *slice = bulk->slice;
    if (slice == NULL || bulk->range == slice->n_ranges) {
        return NULL;
    }
    const struct quire_wire_range *range = &slice->ranges[bulk->range];
    *size = range->size - bulk->at;
    return dest_places_at(&slice->copy->places, &bulk->place, range->offset + bulk->at, size);
}

static void step_over(struct bulk *bulk, uint32_t size) {
    bulk->at += size;
    if (bulk->at == bulk->slice->ranges[bulk->range].size) {
        bulk->range++;
        bulk->at = 0;
    }
}

uint32_t copies_bulk_places(const struct bulk *bulk, struct iovec *places, uint32_t most) {
    struct bulk ahead = *bulk;
    uint32_t n = 0, size;
    uint8_t *place;
    while (n < most && (place = bulk_place(&ahead, &size)) != NULL) {
        places[n++] = (struct iovec){.iov_base = place, .iov_len = size};
        step_over(&ahead, size);
    }
    return n;
}

void copies_on_bulk_placed(struct bulk *bulk, size_t size) {
    uint32_t here;
    while (size > 0 && bulk_place(bulk, &here) != NULL) {
        here = (uint32_t)quire_min_u64(size, here);
        step_over(bulk, here);
        size -= here;
    }
}

void copies_on_bulk_bytes(struct bulk *bulk, const uint8_t *bytes, size_t size) {
    uint8_t *place;
    uint32_t here;
    while (size > 0 && (place = bulk_place(bulk, &here)) != NULL) {
        here = (uint32_t)quire_min_u64(size, here);
        memcpy(place, bytes, here);
        step_over(bulk, here);
        bytes += here;
        size -= here;
    }
}

void copies_on_bulk_end(quire_client *client, struct slice *slice) {
    struct job *job = slice->job;
    slice->copy->awaited_bytes -= slice->bytes;
    job->u.fetch.awaited_bytes -= slice->bytes;
    free_slice(job, slice);
    job_wake(client, job);
}

struct job *slice_job(const struct slice *slice) {
    return slice != NULL ? slice->job : NULL;
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */
static void drop_copy(struct job *job, struct copy **at) {
    struct copy *copy = *at;
    *at = copy->next;
    job->u.fetch.n_copies--;
    free_copy(copy);
}

bool copies_take(struct job *job, struct landed *landed) {
    for (struct copy **at = &job->u.fetch.copies; *at != NULL; at = &(*at)->next) {
        struct copy *copy = *at;
        if (copy->awaited_bytes == 0) {
            *landed = (struct landed){.dest = copy->dest,
                                      .bytes = copy->places.own,
                                      .own_bytes = copy->places.own_bytes,
                                      .size_bytes = copy->size_bytes,
                                      .status = copy->failed,
                                      .payload_offset = copy->places.payload_offset};
            copy->places.own = NULL;
            drop_copy(job, at);
            return true;
        }
    }
    return false;
}

void copies_give_back(struct job *job, struct landed *landed) {
    struct spare *spare = &job->u.fetch.spare;
    if (landed->own_bytes > spare->size_bytes) {
        free(spare->bytes);
        *spare = (struct spare){.bytes = landed->bytes, .size_bytes = landed->own_bytes};
    } else {
        free(landed->bytes);
    }
    landed->bytes = NULL;
}

/* The bytes on their way come to nowhere from here on. */
static void let_go(quire_client *client) {
    struct transport *transport = client->conn.transport;
    client->conn.bulk = (struct bulk){0};
    if (transport != NULL && transport->ops->let_go != NULL) {
        transport->ops->let_go(transport);
    }
}

void copies_abandon(quire_client *client, struct job *job) {
    struct job_fetch *fetch = &job->u.fetch;
    for (struct slice *slice = fetch->slices; slice != NULL && fetch->afar_left > 0; slice = slice->next) {
        afar_abandon(&slice->afar);
    }
    if (fetch->afar_left > 0 && client->conn.transport != NULL) {
        client->conn.transport->ops->end_gets(client->conn.transport, &fetch->afar_left);
    }
    for (const struct slice *slice = fetch->slices; slice != NULL; slice = slice->next) {
        if (client->conn.bulk.slice == slice) {
            let_go(client);
        }
        request_abandon(client, slice->request);
    }
}

void copies_drop(struct job *job) {
    while (job->u.fetch.slices != NULL) {
        free_slice(job, job->u.fetch.slices);
    }
    while (job->u.fetch.copies != NULL) {
        drop_copy(job, &job->u.fetch.copies);
    }
    free(job->u.fetch.spare.bytes);
    job->u.fetch.spare = (struct spare){0};
}
