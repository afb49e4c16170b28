/* What readers asked for: each item of a load is there at once, or waits for a read; the load is done when none waits. */
#include "pager/disk/internal.h"

#include <stdlib.h>

/* A part is far less than a record of which it is not even so large a fraction. */
#define FAR_LESS 8u

/* So many loads the error of estimates is smoothed over, and so far off, in times of what it took, one may be. */
#define SMOOTHED 16u
#define FARTHEST 8.0

struct pager_load_wait { /* an item */
    struct pager_load *load;
    struct pager_op *op; /* it waits for; NULL: it does not */
    struct pager_load_wait *prev, *next;
    uint32_t slot;
    uint8_t status;
};

struct pager_load {
    struct pager_timer timer; /* first: found from its timer */
    struct pager_wish wish;
    struct pager_lease *lease;      /* NULL: it has ended */
    struct pager_load *prev, *next; /* of the lease */
    uint64_t handle, cookie;
    uint64_t begun_ns, told_ns; /* what a look-up would have told then; 0: its error says nothing */
    uint32_t n, n_pending;
    struct pager_load_wait items[];
};

/* ---- the end -------------------------------------------------------------------------------------------------------------- */
static void finish(struct pager *pager, struct pager_load *load) {
    pager_timer_disarm(&pager->timers, &load->timer);
    pager_wish_ask(pager, &load->wish, PAGER_LOAD_DONE);
}

/* All of it is there, or did not come in time: how far off was what was told? */
static void measure(struct pager *pager, const struct pager_load *load) {
    struct pager_disk *disk = pager->disk;
    if (load->told_ns == 0) {
        return;
    }
    double told = (double)load->told_ns, taken = (double)quire_max_u64(pager->now_ns - load->begun_ns, 1);
    double error = (told > taken ? told - taken : taken - told) / taken;
    disk->estimates++;
    disk->estimate_error +=
        ((error < FARTHEST ? error : FARTHEST) - disk->estimate_error) / (double)quire_min_u64(disk->estimates, SMOOTHED);
}

static void item_detach(struct pager_load_wait *item) {
    *(item->prev ? &item->prev->next : &item->op->read.waiting) = item->next;
    if (item->next) {
        item->next->prev = item->prev;
    }
    item->prev = item->next = NULL;
    item->op = NULL;
}

static void item_end(struct pager_load_wait *item, enum quire_status status) {
    item_detach(item);
    item->status = (uint8_t)status;
    item->load->n_pending--;
}

/* Only what is gone is a miss. */
static enum quire_status told_of(enum quire_status status) {
    if (status == QUIRE_NO_MEMORY || status == QUIRE_RETRY) {
        return QUIRE_RETRY;
    }
    return status == QUIRE_OK || status == QUIRE_FULL || status == QUIRE_TIMEOUT ? status : QUIRE_MISS;
}

void pager_load_landed(struct pager *pager, struct pager_op *op, enum quire_status status, uint32_t slot) {
    enum quire_status told = told_of(status);
    while (op->read.waiting) {
        struct pager_load_wait *item = op->read.waiting;
        item->slot = slot;
        item_end(item, told);
        item->load->told_ns = status == QUIRE_OK ? item->load->told_ns : 0;
        if (item->load->n_pending == 0) {
            measure(pager, item->load);
            finish(pager, item->load);
        }
    }
}

static void end_all(struct pager *pager, struct pager_load *load, enum quire_status status) {
    for (uint32_t i = 0; i < load->n; i++) {
        struct pager_op *op = load->items[i].op;
        if (op) {
            item_end(&load->items[i], status);
            pager_read_unwanted(pager, op);
        }
    }
    finish(pager, load);
}

void pager_load_cancel(struct pager *pager, uint64_t now_ns, uint64_t session, uint64_t handle, uint64_t cookie) {
    const struct pager_lease *lease = pager->disk ? pager_lease_find(pager, session, handle) : NULL;
    for (struct pager_load *load = lease ? lease->loads : NULL; load; load = load->next) {
        if (load->cookie == cookie && load->n_pending > 0) {
            pager_clock(pager, now_ns);
            end_all(pager, load, QUIRE_CANCELLED);
            pager_disk_pump(pager);
            return;
        }
    }
}

/* What was told to take longer than this may have been right: it is measured when all comes, or not at all. */
void pager_load_late(struct pager *pager, struct pager_timer *timer) {
    struct pager_load *load = (struct pager_load *)timer;
    if (pager->now_ns - load->begun_ns > load->told_ns) {
        measure(pager, load);
    }
    end_all(pager, load, QUIRE_TIMEOUT);
}

static void join_lease(struct pager_load *load, struct pager_lease *lease) {
    load->lease = lease;
    load->prev = lease->last_load;
    *(load->prev ? &load->prev->next : &lease->loads) = load;
    lease->last_load = load;
}

static void leave_lease(struct pager_load *load) {
    *(load->prev ? &load->prev->next : &load->lease->loads) = load->next;
    *(load->next ? &load->next->prev : &load->lease->last_load) = load->prev;
    load->prev = load->next = NULL;
    load->lease = NULL;
}

/* Those that are done, too: their end may not have been told, and nobody took their result. */
void pager_loads_end(struct pager *pager, struct pager_lease *lease) {
    while (lease->loads) {
        struct pager_load *load = lease->loads;
        if (load->n_pending > 0) {
            end_all(pager, load, QUIRE_NOT_FOUND);
        }
        leave_lease(load);
    }
}

void pager_load_tell(struct pager *pager, struct pager_wish *wish, struct pager_event *event) {
    (void)pager;
    const struct pager_load *load = (const struct pager_load *)(const void *)((char *)wish - offsetof(struct pager_load, wish));
    event->cookie = load->cookie;
    event->ticket = load->handle;
    event->status = load->lease ? QUIRE_OK : QUIRE_NOT_FOUND;
}

static void load_free(struct pager *pager, struct pager_load *load) {
    if (load->lease) {
        leave_lease(load);
    }
    if (load->wish.next) {
        pager_wish_cancel(&load->wish);
    }
    pager_timers_forget(&pager->timers, &load->timer);
    pager_table_remove(&pager->disk->loads, load->handle);
    free(load);
}

void pager_loads_free(struct pager *pager) {
    uint32_t cursor = 0;
    for (struct pager_load *load; (load = pager_table_next(&pager->disk->loads, &cursor));) {
        load_free(pager, load);
    }
}

enum quire_status pager_load_result(struct pager *pager, uint64_t ticket, struct quire_wire_grant *grants, uint8_t *statuses,
                                    uint32_t n_items) {
    struct pager_load *load = pager->disk ? pager_table_find(&pager->disk->loads, ticket) : NULL;
    if (!load || load->n_pending > 0 || load->wish.next || n_items < load->n) {
        return QUIRE_NOT_FOUND;
    }
    const struct pager_lease *lease = load->lease && !load->lease->session->quarantined ? load->lease : NULL;
    for (uint32_t i = 0; lease && i < load->n; i++) {
        grants[i] = (struct quire_wire_grant){.offset = QUIRE_WIRE_AWAY};
        statuses[i] = load->items[i].status;
        if (statuses[i] == QUIRE_OK) {
            statuses[i] = (uint8_t)pager_lease_grant_own(pager, lease, load->items[i].slot, &grants[i]);
        }
        if (statuses[i] == QUIRE_OK && grants[i].offset == QUIRE_WIRE_AWAY) {
            statuses[i] = QUIRE_MISS; /* it left again before anybody looked */
        }
    }
    load_free(pager, load);
    return lease ? QUIRE_OK : QUIRE_NOT_FOUND;
}

/* ---- items ---------------------------------------------------------------------------------------------------------------- */
static void wait_for(struct pager *pager, struct pager_load_wait *item, struct pager_op *op) {
    pager_read_promote(pager, op);
    item->op = op;
    item->status = QUIRE_PENDING;
    item->next = op->read.waiting;
    if (item->next) {
        item->next->prev = item;
    }
    op->read.waiting = item;
    item->load->n_pending++;
}

/* Of its lanes alone: header and directory are no part's. */
static uint64_t lanes_bytes(const struct quire_record_shape *shape) {
    return (uint64_t)shape->n_layers * shape->n_heads * (shape->k_lane_bytes + shape->v_lane_bytes);
}

/* Somebody's read of just these lanes, that has not ended. */
static struct pager_op *same_part(const struct pager *pager, const struct pager_part_line *line, const struct pager_where *where,
                                  const quire_rect *rect) {
    struct pager_op *op = pager_table_find(&pager->disk->ops, line->op);
    bool same = op && op->kind == PAGER_OP_READ && op->read.loose && !op->stuck && op->told.segment == where->segment &&
                op->told.at_units == where->at_units && op->read.part.rect.first_layer == rect->first_layer &&
                op->read.part.rect.n_layers == rect->n_layers && op->read.part.rect.first_head == rect->first_head &&
                op->read.part.rect.n_heads == rect->n_heads;
    return same ? op : NULL;
}

static struct pager_op *part_op(struct pager *pager, struct pager_domain *domain, const struct pager_record *record,
                                const struct pager_where *where, const struct pager_lanes *part, uint32_t *slot) {
    struct pager_part_line *line = pager_part_line(pager, record, where);
    struct pager_op *op = same_part(pager, line, where, &part->rect);
    if (op) {
        *slot = op->read.slot;
        pager_record_ref(domain, *slot);
        pager->disk->counters.disk_read_shared++;
        return op;
    }
    op = pager_read_loose(pager, domain, record, part, slot);
    if (op) {
        line->op = op->handle;
        line->read_bytes += part->bytes;
        pager_where_part(pager, record->block, record->group, true);
    }
    return op;
}

/*
 * Only what is wanted, into a place that no other part is read into; NULL: all of it is to be read. So it is when a part was asked for before, even of a read
 * that is under way: another part, or reader, would be one more read each, while what all of it costs is paid once. Not for parts that are far less, until
 * what was read of it is as much as all of it: who reads lanes here and there of large blocks would read all of each.
 */
static struct pager_op *read_part(struct pager *pager, struct pager_lease *lease, uint32_t slot, const quire_rect *rect) {
    struct pager_domain *domain = &pager->domains[lease->domain];
    const struct pager_record record = domain->records[slot];
    struct pager_where where;
    struct pager_lanes part;
    uint32_t loose;
    if (!pager_lanes_of(pager, &record, rect, &part) || !pager_where_find(pager, record.block, record.group, &where)) {
        return NULL;
    }
    uint64_t all = lanes_bytes(&part.shape);
    if (pager_where_parted(pager, record.block, record.group) &&
        ((uint64_t)part.bytes * FAR_LESS >= all || pager_part_line(pager, &record, &where)->read_bytes >= all)) {
        return NULL;
    }
    struct pager_extra *extra = realloc(lease->extra, (lease->n_extra + 1) * sizeof(*extra));
    if (!extra) {
        return NULL;
    }
    lease->extra = extra;
    struct pager_op *op = part_op(pager, domain, &record, &where, &part, &loose);
    if (!op) {
        return NULL;
    }
    lease->extra[lease->n_extra++] = (struct pager_extra){.slot = loose, .part = part};
    lease->bytes += record.size_bytes;
    lease->session->leased_bytes += record.size_bytes;
    pager->lease_bytes += sizeof(*extra);
    return op;
}

static bool may_read_part(const struct pager *pager, const struct pager_lease *lease, const struct pager_record *record) {
    const struct pager_domain *domain = &pager->domains[lease->domain];
    return lease->session->leased_bytes + record->size_bytes <= pager_lease_quota(pager, domain);
}

static void begin_item(struct pager *pager, struct pager_lease *lease, const struct pager_load_item *want, struct pager_load_wait *item) {
    struct pager_domain *domain = &pager->domains[lease->domain];
    const struct pager_record *record = &domain->records[want->slot];
    struct pager_op *op = NULL;
    item->slot = want->slot;
    item->status = QUIRE_OK;
    if (record->state == PAGER_LOADING) {
        op = pager_read_of(pager, record);
        pager->disk->counters.disk_read_shared++;
    } else if (record->state == PAGER_AWAY) {
        op = want->partial && may_read_part(pager, lease, record) ? read_part(pager, lease, want->slot, &want->rect) : NULL;
        op = op ? op : pager_read_want(pager, domain, want->slot, PAGER_READ_LOAD);
        item->status = QUIRE_MISS;
    }
    if (op) {
        wait_for(pager, item, op);
        item->load->told_ns = op->read.part.n_ranges == 0 ? item->load->told_ns : 0; /* look-ups tell of whole records */
    }
}

/* As look-ups estimate it, from now: what was told may have been used later, or of other blocks, too. */
static uint64_t estimate_ns(const struct pager *pager, const struct pager_domain *domain, const struct pager_load_item *items, uint32_t n) {
    uint64_t ahead_bytes[QUIRE_LOG_MAX_FILES] = {0}, latest_ns = 0;
    struct pager_where where;
    for (uint32_t i = 0; i < n; i++) {
        const struct pager_record *record = &domain->records[items[i].slot];
        if ((record->state == PAGER_AWAY || record->state == PAGER_LOADING) &&
            pager_where_find(pager, record->block, record->group, &where)) {
            latest_ns = quire_max_u64(latest_ns, pager_read_estimate(pager, domain, record->block, &where, ahead_bytes));
        }
    }
    return latest_ns;
}

/* ---- the request ---------------------------------------------------------------------------------------------------------- */
/* Items come in the order of their grants: looking on from the last found keeps this linear. Whoever sends them in disorder is cut short. */
static enum quire_status check_items(const struct pager_lease *lease, const struct pager_load_item *items, uint32_t n_items) {
    uint32_t n = lease->n_slots + lease->n_extra, at = 0;
    uint64_t looks = 8ull * n + 8ull * n_items + 65536;
    for (uint32_t i = 0; i < n_items; i++) {
        uint32_t looked = 0;
        for (; looked <= n && looks > 0; looked++, looks--, at++) {
            at = at >= n ? 0 : at;
            if ((at < lease->n_slots ? lease->slots[at] : lease->extra[at - lease->n_slots].slot) == items[i].slot) {
                break;
            }
        }
        if (looked > n || looks == 0) {
            return QUIRE_INVALID;
        }
    }
    return QUIRE_OK;
}

static struct pager_load *load_new(struct pager *pager, struct pager_lease *lease, uint32_t n, uint64_t cookie) {
    struct pager_load *load = calloc(1, sizeof(*load) + n * sizeof(load->items[0]));
    if (!load || pager_table_add(&pager->disk->loads, load, &load->handle) != QUIRE_OK) {
        free(load);
        return NULL;
    }
    if (pager_timers_promise(&pager->timers) != QUIRE_OK) {
        pager_table_remove(&pager->disk->loads, load->handle);
        free(load);
        return NULL;
    }
    load->timer.kind = PAGER_TIMER_LOAD;
    load->cookie = cookie;
    load->n = n;
    join_lease(load, lease);
    for (uint32_t i = 0; i < n; i++) {
        load->items[i].load = load;
    }
    return load;
}

enum quire_status pager_load(struct pager *pager, uint64_t now_ns, uint64_t session, uint64_t handle, const struct pager_load_item *items,
                             uint32_t n_items, uint64_t cookie, uint64_t deadline_ns) {
    pager_clock(pager, now_ns);
    struct pager_lease *lease = pager_lease_find(pager, session, handle);
    if (!pager->disk || !lease) {
        return QUIRE_NOT_FOUND;
    }
    if (lease->expires_ns <= pager->now_ns) {
        return QUIRE_STALE;
    }
    if (n_items == 0 || n_items > QUIRE_MAX_BATCH) {
        return n_items == 0 ? QUIRE_INVALID : QUIRE_TOO_LARGE;
    }
    QUIRE_FORWARD(check_items(lease, items, n_items));
    struct pager_load *load = load_new(pager, lease, n_items, cookie);
    if (!load) {
        return QUIRE_RETRY;
    }
    load->begun_ns = pager->now_ns;
    load->told_ns = estimate_ns(pager, &pager->domains[lease->domain], items, n_items);
    for (uint32_t i = 0; i < n_items; i++) {
        begin_item(pager, lease, &items[i], &load->items[i]);
    }
    if (load->n_pending == 0) {
        finish(pager, load);
    } else {
        pager_timer_arm(&pager->timers, &load->timer, deadline_ns);
    }
    return QUIRE_OK;
}
