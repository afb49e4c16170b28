/*
 * The rig with a disk that has no bytes: it remembers which entries were written where and what records lie there, by their sums, says yes at once, or
 * lets the story decide (`held_disk`).
 */
#ifndef PAGER_DISK_RIG_H
#define PAGER_DISK_RIG_H

#include "pager/disk.h"
#include "tests/unit/pager_rig.h"

#define DISK_SEGMENTS 64u

struct rig_segment {
    struct quire_log_entry entries[4096];
    uint64_t lies[4096]; /* the sum of what lies at each entry's place */
    uint32_t n;
    uint64_t epoch;
    bool sealed;
};

struct rig_disk {
    struct rig_segment segments[DISK_SEGMENTS];
    struct pager_log_shape shape;
    struct pager_disk_options options;
    bool held;        /* reads wait for the story */
    uint32_t hanging; /* devices, a bit each: whatever is asked of them waits */
    uint32_t full;    /* likewise: they take no write */
    uint32_t damaged; /* this block is not what was stored when it is written; 0: none is */
    enum quire_status read_status, write_status, sync_status, meta_status, seal_status, entries_status;
    struct pager_event waiting[256];
    uint32_t n_waiting;
    bool sync_refused_behind; /* syncs are refused where there is something to sync */
    bool wrote;               /* since the last sync */
    uint64_t sums;            /* given to records: each has another */
    uint32_t reads, writes, syncs, metas;
    uint32_t headers;     /* that were written with a footer */
    uint64_t asked_units; /* to be written, of batches and footers */
    uint64_t meta_bytes;  /* of each metadata */
    uint64_t durable_cookie, load_ticket, load_cookie;
    enum quire_status durable_status, load_status;
    bool flushed;
    uint32_t n_items, n_pins;
    struct quire_meta_pin pins[16]; /* the first of them */
};

static inline struct rig_disk *disk_of(struct rig *rig) { return rig->disk; }

static inline void disk_wrote(struct rig_disk *disk, const struct pager_disk_wish *told) {
    struct rig_segment *segment = &disk->segments[told->segment];
    if (told->first) {
        *segment = (struct rig_segment){.epoch = told->epoch};
    }
    cr_assert_eq(segment->epoch, told->epoch);
    for (uint32_t i = 0; i < told->n; i++) {
        cr_assert_lt(segment->n, 4096);
        if (told->entries[i].kind == QUIRE_LOG_RECORD) {
            told->entries[i].check = ++disk->sums * 0x9e3779b97f4a7c15ull;
        }
        segment->lies[segment->n] = told->entries[i].check;
        segment->entries[segment->n++] = told->entries[i];
    }
}

/* Is what lies there what the reader knows of it? Of a place that the story made up itself nothing lies anywhere. */
/* Somebody wrote over a record in memory. */
static inline enum quire_status disk_damages(const struct rig_disk *disk, const struct pager_disk_wish *told) {
    const quire_key key = rig_key(disk->damaged);
    enum quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < told->n && disk->damaged > 0; i++) {
        if (told->entries[i].kind == QUIRE_LOG_RECORD && quire_key_equal(&told->entries[i].key, &key)) {
            told->entries[i].check = 0;
            status = QUIRE_CORRUPT;
        }
    }
    return status;
}

static inline enum quire_status disk_compare(const struct rig_disk *disk, const struct pager_disk_wish *told) {
    const struct rig_segment *segment = &disk->segments[told->segment];
    for (uint32_t i = 0; i < segment->n; i++) {
        if (segment->entries[i].kind == QUIRE_LOG_RECORD && segment->entries[i].at_units == told->at_units) {
            return (segment->lies[i] ^ told->check) & told->check_mask ? QUIRE_CORRUPT : QUIRE_OK;
        }
    }
    return QUIRE_OK;
}

static inline void disk_tell_pins(struct rig_disk *disk, const struct pager_disk_meta *meta) {
    struct quire_meta_pin *pins = calloc(meta->n_pins + 1u, sizeof(*pins));
    pager_disk_meta_pins(meta, pins);
    memcpy(disk->pins, pins, quire_min_u64(meta->n_pins, QUIRE_ARRAY_LEN(disk->pins)) * sizeof(*pins));
    free(pins);
}

static inline void disk_do(struct rig *rig, const struct pager_event *event) {
    struct rig_disk *disk = disk_of(rig);
    const struct pager_disk_wish *told = event->disk;
    struct pager_disk_meta meta;
    enum quire_status status = QUIRE_OK;
    switch (event->type) {
    case PAGER_DISK_WRITE:
        disk->writes++;
        disk->asked_units += told->size_units + told->first;
        status = disk->full >> told->device & 1 ? QUIRE_FULL : disk->write_status;
        if (status == QUIRE_OK) {
            disk->wrote = true;
            disk_wrote(disk, told);
            status = disk_damages(disk, told);
        }
        break;
    case PAGER_DISK_READ:
        disk->reads++;
        status = disk->read_status != QUIRE_OK ? disk->read_status : disk_compare(disk, told);
        break;
    case PAGER_DISK_SEAL:
        status = disk->seal_status;
        disk->asked_units += quire_log_footer_units(&disk->shape.geometry, told->n) + 1 + told->first;
        disk->segments[told->segment].sealed = status == QUIRE_OK;
        disk->headers += told->first;
        break;
    case PAGER_DISK_SYNC:
        disk->syncs++;
        status = disk->sync_refused_behind && disk->wrote ? QUIRE_FULL : disk->sync_status;
        disk->wrote = false;
        break;
    case PAGER_DISK_META:
        disk->metas++;
        status = disk->meta_status;
        pager_disk_meta_writes(rig->pager, rig->now_ns, disk->meta_bytes);
        if (status == QUIRE_OK) {
            status = pager_disk_meta(rig->pager, event->ticket, &meta);
            disk->n_items = meta.n_items;
            disk->n_pins = meta.n_pins;
            disk_tell_pins(disk, &meta);
        }
        break;
    case PAGER_DISK_ENTRIES:
        status = disk->entries_status;
        if (status != QUIRE_OK) {
            break;
        }
        cr_assert_eq(pager_disk_entries(rig->pager, event->ticket, disk->segments[told->segment].entries, disk->segments[told->segment].n),
                     QUIRE_OK);
        break;
    default:
        cr_assert_fail("no wish");
    }
    pager_complete(rig->pager, rig->now_ns, event->ticket, status);
    pager_check(rig->pager);
}

static inline void disk_event(struct rig *rig, const struct pager_event *event) {
    struct rig_disk *disk = disk_of(rig);
    if (event->type == PAGER_DURABLE) {
        disk->durable_cookie = event->cookie;
        disk->durable_status = event->status;
    } else if (event->type == PAGER_LOAD_DONE) {
        disk->load_ticket = event->ticket;
        disk->load_cookie = event->cookie;
        disk->load_status = event->status;
    } else if (event->type == PAGER_FLUSHED) {
        disk->flushed = true;
    } else if ((event->type == PAGER_DISK_READ && disk->held) ||
               (event->type != PAGER_DISK_META && disk->hanging >> event->disk->device & 1)) {
        cr_assert_lt(disk->n_waiting, QUIRE_ARRAY_LEN(disk->waiting));
        disk->waiting[disk->n_waiting++] = *event;
    } else {
        disk_do(rig, event);
    }
}

/* What waits, in the order in which it was asked for. */
static inline void disk_let_go(struct rig *rig) {
    struct rig_disk *disk = disk_of(rig);
    for (uint32_t i = 0; i < disk->n_waiting; i++) {
        disk_do(rig, &disk->waiting[i]);
    }
    disk->n_waiting = 0;
    rig_pump(rig);
}

static inline void disk_attach_devices(struct rig *rig, uint32_t n_devices, uint32_t n_segments, uint32_t segment_units,
                                       uint64_t first_sequence) {
    struct rig_disk *disk = calloc(1, sizeof(*disk));
    disk->shape =
        (struct pager_log_shape){.geometry = {.unit_bytes = 512, .segment_units = segment_units}, .n_devices = n_devices, .reserve = 1};
    for (uint32_t i = 0; i < n_devices; i++) {
        disk->shape.segments[i] = n_segments;
    }
    pager_disk_options_default(&disk->options);
    disk->options.write_delay_ms = 1000;
    disk->options.clean_segments = 3;
    rig->disk = disk;
    rig->disk_event = disk_event;
    cr_assert_eq(pager_disk_create(rig->pager, &disk->shape, &disk->options, first_sequence), QUIRE_OK);
}

static inline void disk_attach_at(struct rig *rig, uint32_t n_segments, uint32_t segment_units, uint64_t first_sequence) {
    disk_attach_devices(rig, 1, n_segments, segment_units, first_sequence);
}

static inline void disk_attach(struct rig *rig, uint32_t n_segments, uint32_t segment_units) {
    disk_attach_at(rig, n_segments, segment_units, 1ull << 40);
}

/* A start finds the segments from this one on clean. */
static inline void disk_clean_from(struct rig *rig, uint32_t first) {
    const struct pager_log_shape *shape = &disk_of(rig)->shape;
    for (uint32_t i = first; i < shape->n_devices * shape->segments[0]; i++) {
        pager_restore_segment(rig->pager, i, PAGER_SEGMENT_CLEAN, 0, 0, 0);
    }
}

/* A start has read all. */
static inline void disk_start_ends(struct rig *rig) {
    pager_restore_end(rig->pager, rig->now_ns);
    rig_pump(rig);
}

/* Nothing was found so far, but the log is still being read: any key may be in it. */
static inline struct rig *disk_rig_starting(uint64_t pool_bytes, const quire_layout *layout, uint32_t n_devices, uint32_t n_segments,
                                            uint32_t segment_units) {
    struct rig *rig = rig_new(pool_bytes, layout);
    disk_attach_devices(rig, n_devices, n_segments, segment_units, 1ull << 40);
    disk_clean_from(rig, 0);
    return rig;
}

static inline struct rig *disk_rig(uint64_t pool_bytes, const quire_layout *layout, uint32_t n_segments, uint32_t segment_units) {
    struct rig *rig = disk_rig_starting(pool_bytes, layout, 1, n_segments, segment_units);
    disk_start_ends(rig);
    return rig;
}

/* Drives that hold nothing, one or more, for a model as most stories have it. */
static inline struct rig *disk_rig_plain(uint64_t pool_bytes, uint32_t n_devices, uint32_t n_segments, uint32_t segment_units) {
    quire_layout layout = rig_layout();
    struct rig *rig = disk_rig_starting(pool_bytes, &layout, n_devices, n_segments, segment_units);
    disk_start_ends(rig);
    return rig;
}

/* Memory is kept emptier than it is, so that what is old leaves. */
static inline void disk_reclaim_early(struct rig *rig) {
    rig->options.reclaim_low_pct = 3;
    rig->options.reclaim_high_pct = 5;
    pager_set_options(rig->pager, &rig->options);
}

static inline void disk_rig_free(struct rig *rig) {
    void *disk = rig->disk;
    rig_free(rig);
    free(disk);
}

static inline struct pager_disk_stats disk_stats(const struct rig *rig) {
    struct pager_disk_stats stats;
    pager_disk_stats(rig->pager, &stats);
    return stats;
}

static inline void disk_settle(struct rig *rig) {
    for (unsigned i = 0; i < 5; i++) {
        rig_pass(rig, 1100);
    }
}

/* Blocks that are their own roots, each of them in a batch of its own. */
static inline void disk_put_each(struct rig *rig, uint32_t first, uint32_t n) {
    for (uint32_t key = first; key < first + n; key++) {
        cr_assert_eq(rig_put(rig, key, 0), QUIRE_OK);
        disk_settle(rig);
    }
}

/* Likewise, and written together. */
static inline void disk_put(struct rig *rig, uint32_t first, uint32_t n) {
    for (uint32_t key = first; key < first + n; key++) {
        cr_assert_eq(rig_put(rig, key, 0), QUIRE_OK);
    }
    disk_settle(rig);
}

/* A block is deleted, and `cookie` waits until that lasts: what is said at once. */
static inline enum quire_status disk_delete_durably(struct rig *rig, uint32_t key, uint64_t cookie) {
    cr_assert_eq(rig_verb(rig, QUIRE_WIRE_DELETE, key), QUIRE_OK);
    return pager_durable(rig->pager, rig->now_ns, cookie);
}

/* Whoever waited last for what lasts was told so. */
static inline void disk_was_told(struct rig *rig, uint64_t cookie, enum quire_status status) {
    cr_assert_eq(disk_of(rig)->durable_cookie, cookie);
    cr_assert_eq(disk_of(rig)->durable_status, status);
}

/* A stop, which comes to an end. */
static inline void disk_stop(struct rig *rig) {
    pager_disk_flush(rig->pager, rig->now_ns);
    disk_settle(rig);
    cr_assert(disk_of(rig)->flushed);
}

/* One request that deletes n blocks. The story pumps. */
static inline enum quire_status disk_delete(struct rig *rig, uint64_t session, uint32_t first, uint32_t n) {
    quire_key keys[512];
    uint8_t statuses[512];
    cr_assert_leq(n, QUIRE_ARRAY_LEN(keys));
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = rig_key(first + i);
    }
    return pager_keys(rig->pager, rig->now_ns, session, rig->ns, QUIRE_WIRE_DELETE, keys[0].b, n, statuses);
}

/* All that is clean leaves memory: how many bytes that were. */
static inline uint64_t disk_leave_memory(struct rig *rig) {
    uint64_t freed;
    cr_assert_eq(pager_evict(rig->pager, rig->now_ns, rig->domain, UINT16_MAX, 1 << 30, &freed), QUIRE_OK);
    rig_pump(rig);
    return freed;
}

/* Brings grant i of the last lookup into memory: its status. */
static inline enum quire_status disk_load(struct rig *rig, uint32_t i, struct quire_wire_grant *grant) {
    struct rig_disk *disk = disk_of(rig);
    struct pager_load_item item = {.slot = rig->grants[i].slot};
    uint8_t status = QUIRE_PENDING;
    disk->load_ticket = 0;
    cr_assert_eq(pager_load(rig->pager, rig->now_ns, rig->session, rig->reply.lease, &item, 1, 77, rig->now_ns + 1000 * RIG_MS), QUIRE_OK);
    pager_check(rig->pager);
    rig_pump(rig);
    if (disk->load_ticket == 0) {
        return QUIRE_PENDING;
    }
    cr_assert_eq(pager_load_result(rig->pager, disk->load_ticket, grant, &status, 1), QUIRE_OK);
    pager_check(rig->pager);
    return (enum quire_status)status;
}

/* Looks up a block that is only on disk, and brings it into memory. */
static inline enum quire_status disk_load_key(struct rig *rig, uint32_t key) {
    struct quire_wire_grant grant;
    cr_assert_eq(rig_look(rig, rig->session, 0, (uint32_t[]){key, 0}), 1, "block %u is there", key);
    cr_assert_eq(rig->grants[0].offset, QUIRE_WIRE_AWAY);
    return disk_load(rig, 0, &grant);
}

/* As a look-up tells it of a whole block on disk: how long until it is there. */
static inline uint64_t disk_told_ns(struct rig *rig, uint32_t number) {
    const quire_key key = rig_key(number);
    uint8_t miss;
    struct quire_wire_grant grant;
    uint32_t estimate_us;
    const struct pager_lease_request request = {.session = rig->session, .ns = rig->ns, .keys = key.b, .n_keys = 1};
    struct pager_lease_reply reply = {.misses = &miss, .grants = &grant, .grants_capacity = 1, .estimates_us = &estimate_us};
    cr_assert_eq(pager_lease(rig->pager, rig->now_ns, &request, &reply), QUIRE_OK);
    cr_assert_eq(reply.n_grants, 1);
    cr_assert_eq(grant.offset, QUIRE_WIRE_AWAY);
    rig_release(rig, reply.lease);
    return estimate_us * 1000ull;
}

#endif
