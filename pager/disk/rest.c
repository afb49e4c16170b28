/* Devices that take nothing now. They are not given up: a write tries each of them now and then, or first a sync, where syncs were refused. */
#include "pager/disk/internal.h"

bool pager_device_rests(const struct pager *pager, uint32_t device) {
    const struct pager_disk_device *d = &pager->disk->devices[device];
    bool for_sync = d->rest.stage == PAGER_REST_SYNC || d->rest.stage == PAGER_REST_PROVE;
    return d->rest.failures > 0 && (d->rest.until_ns > pager->now_ns || d->writes > 0 || for_sync);
}

bool pager_all_rest(const struct pager *pager, bool lasting) {
    bool all = true;
    for (uint32_t d = 0; d < pager->disk->n_devices && all; d++) {
        all = !pager_log_device_in_use(pager->disk->log, d) ||
              (pager_device_rests(pager, d) && (pager->disk->devices[d].rest.lasts || !lasting));
    }
    return all;
}

/* Batches that it was given go unanswered. */
static bool is_silent(const struct pager *pager, uint32_t device) {
    const struct pager_disk_device *d = &pager->disk->devices[device];
    return d->writes > 0 && pager->now_ns - d->answered_ns >= PAGER_DISK_SILENT_NS;
}

uint64_t pager_silent_ns(const struct pager *pager, uint32_t device) {
    const struct pager_disk_device *d = &pager->disk->devices[device];
    return d->writes > 0 && !is_silent(pager, device) ? d->answered_ns + PAGER_DISK_SILENT_NS : UINT64_MAX;
}

bool pager_none_answers(const struct pager *pager) {
    bool none = true;
    for (uint32_t d = 0; d < pager->disk->n_devices && none; d++) {
        none = !pager_log_device_in_use(pager->disk->log, d) || pager_device_rests(pager, d) || is_silent(pager, d);
    }
    return none;
}

uint32_t pager_devices_doubtful(const struct pager *pager) {
    uint32_t doubtful = 0;
    for (uint32_t d = 0; d < pager->disk->n_devices; d++) {
        const struct pager_disk_device *device = &pager->disk->devices[d];
        doubtful |= is_silent(pager, d) || device->rest.failures > 0 ? 1u << d : 0;
    }
    return doubtful;
}

/* What was begun before the device rested and fails while it does tells nothing new. */
static void rest(struct pager *pager, uint32_t device, enum quire_status status) {
    struct pager_rest *r = &pager->disk->devices[device].rest;
    if (r->failures > 0 && r->until_ns > pager->now_ns) {
        return;
    }
    uint64_t ns = PAGER_DISK_REST_NS << quire_min_u64(r->failures, 16);
    r->failures += r->failures < UINT32_MAX;
    r->lasts = status == QUIRE_FULL || r->failures > PAGER_DISK_QUIET_RESTS;
    r->until_ns = pager->now_ns + quire_min_u64(ns, PAGER_DISK_MAX_REST_NS);
    pager->disk->counters.disk_rests++;
}

static void note_refused(struct pager *pager, uint32_t device, enum quire_status status, bool synced) {
    struct pager_rest *r = &pager->disk->devices[device].rest;
    if ((synced && status == QUIRE_FULL) || (r->stage != PAGER_REST_WRITE && r->until_ns <= pager->now_ns)) {
        r->stage = PAGER_REST_SYNC;
    }
    rest(pager, device, status);
}

/* Neither does what ends well while it rests: another place in the file may be taken while this one is not. */
static void note_taken(struct pager *pager, uint32_t device, bool synced) {
    struct pager_rest *r = &pager->disk->devices[device].rest;
    if (r->failures == 0 || r->until_ns > pager->now_ns) {
        return;
    }
    if (synced && r->stage == PAGER_REST_SYNC) {
        r->stage = PAGER_REST_SYNCED;
        r->lasts = false;
    } else if (synced || r->stage == PAGER_REST_WRITE) {
        r->stage = PAGER_REST_WRITE;
        r->failures = 0;
        r->lasts = false;
    } else if (r->stage == PAGER_REST_SYNCED) {
        r->stage = PAGER_REST_PROVE;
    }
}

void pager_rest_note(struct pager *pager, uint32_t device, enum quire_status status, bool synced) {
    if (pager_is_passing(status) && pager_log_device_in_use(pager->disk->log, device)) {
        note_refused(pager, device, status, synced);
    } else if (status == QUIRE_OK) {
        note_taken(pager, device, synced);
    }
}

void pager_rest_try_syncs(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    for (uint32_t d = 0; d < disk->n_devices; d++) {
        struct pager_rest *r = &disk->devices[d].rest;
        bool tries = r->failures > 0 && r->until_ns <= pager->now_ns && (r->stage == PAGER_REST_SYNC || r->stage == PAGER_REST_PROVE);
        if (!tries || r->syncing || !pager_log_device_in_use(disk->log, d) || !pager_device_takes(disk, d, false)) {
            continue;
        }
        struct pager_op *op = pager_op_new(pager, PAGER_OP_BATCH);
        if (!op) {
            return;
        }
        op->told.device = d;
        op->batch.synced = r->syncing = true;
        pager_op_ask(pager, op, PAGER_DISK_SYNC);
    }
}
