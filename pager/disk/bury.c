/* What must outlast a crash: that a block was deleted (tombstones in the log); and when the metadata file is written, whose content meta.c has. */
#include "pager/disk/internal.h"

#include <stdlib.h>

/* ---- tombstones ----------------------------------------------------------------------------------------------------------- */
static void queue(struct pager_disk *disk, const struct pager_tombstone *tombstone) {
    disk->tombstones[(disk->first_tombstone + disk->n_tombstones++) % PAGER_DISK_MAX_TOMBSTONES] = *tombstone;
    disk->buried_wanted++;
}

void pager_bury(struct pager *pager, const struct pager_ns *ns, const quire_key *key) {
    struct pager_disk *disk = pager->disk;
    if (!disk) {
        return;
    }
    assert(disk->n_tombstones < PAGER_DISK_MAX_TOMBSTONES); /* pager_keys looks first */
    const struct pager_tombstone tombstone = {.key = *key, .serial = ns->serial, .sequence = ++pager->sequence};
    queue(disk, &tombstone);
    pager_remains_bury(pager, ns->serial, key);
    if (disk->restoring) {
        pager_restore_bury(pager, &tombstone);
    }
}

/* ---- those that were found late ------------------------------------------------------------------------------------------- */
struct pager_late {
    struct pager_late *next;
    struct pager_tombstone tombstone;
};

void pager_bury_again(struct pager *pager, const struct pager_ns *ns, const quire_key *key, uint64_t sequence) {
    struct pager_disk *disk = pager->disk;
    struct pager_late *late = malloc(sizeof(*late));
    disk->n_late++; /* one that there is no memory for is waited for until the next start finds it */
    if (late) {
        *late = (struct pager_late){.next = disk->late, .tombstone = {.key = *key, .serial = ns->serial, .sequence = sequence}};
        disk->late = late;
    }
}

void pager_bury_late(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    while (disk->late && disk->n_tombstones < PAGER_DISK_MAX_TOMBSTONES / 2) { /* the other half is for those who delete now */
        struct pager_late *late = disk->late;
        queue(disk, &late->tombstone);
        disk->late = late->next;
        disk->late_up_to = disk->buried_wanted;
        disk->n_late--;
        free(late);
    }
}

bool pager_late_wait(const struct pager_disk *disk) { return disk->n_late > 0 || disk->buried < disk->late_up_to; }

uint64_t pager_late_bytes(const struct pager_disk *disk) { return disk->n_late * sizeof(struct pager_late); }

void pager_late_free(struct pager_disk *disk) {
    for (struct pager_late *late; (late = disk->late) != NULL;) {
        disk->late = late->next;
        free(late);
    }
}

/* ---- is one needed? ------------------------------------------------------------------------------------------------------- */

static bool is_written(const struct pager *pager, uint32_t block) {
    const struct pager_block *b = pager_block_at(pager, block);
    const struct pager_domain *domain = &pager->domains[pager->namespaces[b->ns]->domain];
    for (uint32_t slot = b->record; slot != PAGER_NO_RECORD; slot = domain->records[slot].next) {
        if (domain->records[slot].flags & PAGER_RECORD_WRITING) {
            return true;
        }
    }
    return pager_where_any(pager, block);
}

static bool is_known(const struct pager *pager, const struct pager_ns *ns, const quire_key *key, uint32_t block) {
    return (block != PAGER_NO_BLOCK && is_written(pager, block)) || pager_remains_lie(pager, ns->serial, key);
}

static bool is_doubted(const struct pager *pager) { return pager->disk->restoring || pager_remains_doubted(pager); }

bool pager_needs_grave(const struct pager *pager, const struct pager_ns *ns, const quire_key *key, uint32_t block) {
    return pager->disk && (is_doubted(pager) || is_known(pager, ns, key, block));
}

/* ---- what they may take --------------------------------------------------------------------------------------------------- */
static uint64_t part(uint64_t rate, uint32_t share) { return rate > 0 ? quire_max_u64(rate / share, 1) : 0; }

void pager_burials_set(struct pager_burials *burials, const struct pager_budget *of, uint32_t share, uint64_t doubtful_per_s,
                       uint64_t now_ns) {
    pager_budget_set(&burials->all, part(of->bytes_per_s, share), part(of->bytes_per_day, share), now_ns);
    pager_budget_set(&burials->doubtful, doubtful_per_s, 0, now_ns);
}

/* As batches of their own, on every device; each stands in its segment's footer, too. */
static uint64_t burial_bytes(const struct pager_disk *disk, uint32_t n) {
    uint64_t full = quire_log_head_units(&disk->geometry, PAGER_DISK_BURY_AT_ONCE) * (n / PAGER_DISK_BURY_AT_ONCE);
    uint32_t rest = n % PAGER_DISK_BURY_AT_ONCE;
    full += rest > 0 ? quire_log_head_units(&disk->geometry, rest) : 0;
    return (full * disk->geometry.unit_bytes + n * sizeof(struct quire_log_entry)) * pager_devices_in_use(disk);
}

/* When there is budget for a deletion. Who stores and deletes pays for both; who makes keys up, only for this: so the bound on that holds in any case. */
static uint64_t may_spend_ns(const struct pager *pager, const struct pager_session *s, bool doubtful) {
    const struct pager_burials *all = &pager->disk->burials;
    double leave_s = doubtful ? PAGER_DOUBTFUL_BURIALS_LEAVE_S : 0;
    uint64_t at_ns =
        quire_max_u64(pager_budget_holds_ns(&all->all, leave_s, pager->now_ns), pager_budget_next_ns(&s->burials.all, pager->now_ns));
    if (doubtful) {
        at_ns = quire_max_u64(at_ns, pager_budget_next_ns(&all->doubtful, pager->now_ns));
        at_ns = quire_max_u64(at_ns, pager_budget_next_ns(&s->burials.doubtful, pager->now_ns));
    }
    return at_ns;
}

static void spend(struct pager *pager, struct pager_burials *burials, uint32_t n, uint32_t n_doubtful) {
    pager_budget_spend(&burials->all, burial_bytes(pager->disk, n), pager->now_ns);
    pager_budget_spend(&burials->doubtful, burial_bytes(pager->disk, n_doubtful), pager->now_ns);
}

/* How many of these need a tombstone, because the log holds them, or because it may. What is pinned is not deleted. */
static void count(const struct pager *pager, const struct pager_ns *ns, const uint8_t *keys, uint32_t n_keys, uint32_t *known,
                  uint32_t *doubtful) {
    bool doubted = is_doubted(pager);
    *known = *doubtful = 0;
    for (uint32_t i = 0; i < n_keys; i++) {
        quire_key key;
        memcpy(key.b, keys + (size_t)i * QUIRE_KEY_BYTES, QUIRE_KEY_BYTES);
        uint32_t block = pager_index_find(pager->index, ns->number, &key);
        if (block != PAGER_NO_BLOCK && pager_block_at(pager, block)->pins > 0) {
            continue;
        }
        bool lies = is_known(pager, ns, &key, block);
        *known += lies;
        *doubtful += !lies && doubted;
    }
}

enum quire_status pager_may_bury(struct pager *pager, struct pager_session *s, const struct pager_ns *ns, const uint8_t *keys,
                                 uint32_t n_keys) {
    struct pager_disk *disk = pager->disk;
    uint32_t known, doubtful;
    if (!disk) {
        return QUIRE_OK;
    }
    disk->keys_again_ns = 0;
    if (disk->n_tombstones + n_keys > PAGER_DISK_MAX_TOMBSTONES) { /* doubt may come up on the way: there is room for all of them */
        return QUIRE_RETRY;
    }
    count(pager, ns, keys, n_keys, &known, &doubtful);
    if (known + doubtful == 0) {
        return QUIRE_OK;
    }
    pager_burials_set(&s->burials, &disk->burials.all, PAGER_SESSION_BURIALS_SHARE,
                      PAGER_DOUBTFUL_BURIALS_PER_S / PAGER_SESSION_BURIALS_SHARE, pager->now_ns);
    uint64_t at_ns = may_spend_ns(pager, s, doubtful > 0);
    if (at_ns > pager->now_ns) {
        disk->keys_again_ns = at_ns;
        disk->counters.disk_deletions_refused++;
        return QUIRE_RETRY;
    }
    spend(pager, &disk->burials, known + doubtful, doubtful);
    spend(pager, &s->burials, known + doubtful, doubtful);
    return QUIRE_OK;
}

uint64_t pager_keys_again_ns(const struct pager *pager) { return pager->disk ? pager->disk->keys_again_ns : 0; }

/* ---- what metadata may take ------------------------------------------------------------------------------------------------ */
void pager_meta_budget_set(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    pager_budget_set(&disk->meta_budget, part(disk->budget.bytes_per_s, PAGER_META_SHARE),
                     part(disk->budget.bytes_per_day, PAGER_META_SHARE), pager->now_ns);
}

void pager_disk_meta_writes(struct pager *pager, uint64_t now_ns, uint64_t bytes) {
    pager_clock(pager, now_ns);
    pager->disk->meta_bytes = bytes;
    pager_write_charge(pager, bytes);
    pager_budget_spend(&pager->disk->meta_budget, bytes, pager->now_ns);
}

/* When metadata may be written, if there is anything to tell. A stop, and what a deletion counts on, do not wait for budget. */
uint64_t pager_meta_due_ns(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    bool urgent = disk->flushing || disk->meta_durable < disk->meta_urgent;
    return urgent ? disk->meta_again_ns : quire_max_u64(disk->meta_again_ns, pager_budget_next_ns(&disk->meta_budget, pager->now_ns));
}

enum quire_status pager_may_tell_pins(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (!disk) {
        return QUIRE_OK;
    }
    uint64_t next_ns = pager_budget_next_ns(&disk->meta_budget, pager->now_ns);
    disk->keys_again_ns = next_ns > pager->now_ns + PAGER_META_WAIT_NS ? next_ns - PAGER_META_WAIT_NS : 0;
    disk->counters.disk_pins_refused += disk->keys_again_ns > 0;
    return disk->keys_again_ns > 0 ? QUIRE_RETRY : QUIRE_OK;
}

/* ---- barriers ------------------------------------------------------------------------------------------------------------- */
static void barrier_end(struct pager *pager, struct pager_barrier **link, enum quire_status status) {
    struct pager_barrier *barrier = *link;
    *link = barrier->next;
    barrier->status = (uint8_t)status;
    pager_wish_ask(pager, &barrier->wish, PAGER_DURABLE);
}

/* Those whose turn has come; with a failure, those that wait for what failed. */
static void barriers_look(struct pager *pager, bool burying_failed, bool meta_failed) {
    struct pager_disk *disk = pager->disk;
    for (struct pager_barrier **link = &disk->first_barrier; *link;) {
        const struct pager_barrier *b = *link;
        bool buried = b->buried <= disk->buried, told = b->meta_generation <= disk->meta_durable;
        if (buried && told) {
            barrier_end(pager, link, QUIRE_OK);
        } else if ((!buried && burying_failed) || (!told && meta_failed)) {
            barrier_end(pager, link, QUIRE_SYSTEM);
        } else {
            link = &(*link)->next;
        }
    }
    disk->last_barrier = NULL;
    for (struct pager_barrier *b = disk->first_barrier; b; b = b->next) {
        disk->last_barrier = b;
    }
}

static bool is_durable(const struct pager_disk *disk, uint64_t meta_generation) {
    return disk->buried == disk->buried_wanted && disk->meta_durable >= meta_generation;
}

bool pager_disk_is_settled(const struct pager *pager) {
    const struct pager_disk *disk = pager->disk;
    return !disk || (is_durable(disk, disk->meta_wanted) && disk->n_late == 0);
}

static enum quire_status wait_for(struct pager *pager, uint64_t meta_generation, uint64_t cookie) {
    struct pager_disk *disk = pager->disk;
    if (!disk || is_durable(disk, meta_generation)) {
        return QUIRE_OK;
    }
    if (disk->n_barriers == PAGER_DISK_MAX_BARRIERS) {
        return QUIRE_RETRY;
    }
    struct pager_barrier *barrier = calloc(1, sizeof(*barrier));
    if (!barrier) {
        return QUIRE_NO_MEMORY;
    }
    barrier->cookie = cookie;
    barrier->buried = disk->buried_wanted;
    barrier->meta_generation = meta_generation;
    *(disk->last_barrier ? &disk->last_barrier->next : &disk->first_barrier) = barrier;
    disk->last_barrier = barrier;
    disk->n_barriers++;
    return QUIRE_PENDING;
}

enum quire_status pager_durable(struct pager *pager, uint64_t now_ns, uint64_t cookie) {
    pager_clock(pager, now_ns);
    return wait_for(pager, pager->disk ? pager->disk->meta_wanted : 0, cookie);
}

enum quire_status pager_durable_deletions(struct pager *pager, uint64_t now_ns, uint64_t cookie) {
    pager_clock(pager, now_ns);
    return wait_for(pager, pager->disk ? pager->disk->meta_urgent : 0, cookie);
}

void pager_barriers_wait_for_meta(struct pager *pager) {
    for (struct pager_barrier *b = pager->disk->first_barrier; b; b = b->next) {
        b->meta_generation = pager->disk->meta_wanted;
    }
}

void pager_barrier_tell(struct pager *pager, struct pager_wish *wish, struct pager_event *event) {
    struct pager_barrier *barrier = (struct pager_barrier *)wish;
    event->cookie = barrier->cookie;
    event->status = (enum quire_status)barrier->status;
    pager->disk->n_barriers--;
    free(barrier);
}

void pager_barriers_free(struct pager *pager) {
    struct pager_barrier *next;
    for (struct pager_barrier *b = pager->disk->first_barrier; b; b = next) {
        next = b->next;
        free(b);
    }
    for (struct pager_wish *wish = pager->wishes.next, *after; wish != &pager->wishes; wish = after) {
        after = wish->next;
        if (wish->type == PAGER_DURABLE) {
            pager_wish_cancel(wish);
            free(wish);
        }
    }
}

void pager_buried(struct pager *pager, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    uint32_t n = disk->burying;
    if (status != QUIRE_OK) {
        barriers_look(pager, true, false);
    }
    disk->burying = 0;
    disk->first_tombstone = (disk->first_tombstone + n) % PAGER_DISK_MAX_TOMBSTONES;
    disk->n_tombstones -= n;
    disk->buried += n;
    barriers_look(pager, false, false);
}

void pager_burying_failed(struct pager *pager) { barriers_look(pager, true, false); }

/* ---- metadata ------------------------------------------------------------------------------------------------------------- */
void pager_meta_changed(struct pager *pager) {
    if (pager->disk) {
        pager->disk->meta_wanted++;
    }
}

void pager_meta_urgent(struct pager *pager) {
    pager_meta_changed(pager);
    if (pager->disk) {
        pager->disk->meta_urgent = pager->disk->meta_wanted;
    }
}

void pager_meta_pump(struct pager *pager) {
    struct pager_disk *disk = pager->disk;
    if (disk->meta_flying || disk->meta_durable == disk->meta_wanted || pager_meta_due_ns(pager) > pager->now_ns) {
        return;
    }
    struct pager_op *op = pager_op_new(pager, PAGER_OP_META);
    if (op) {
        disk->meta_flying = true;
        disk->meta_bytes = 0;
        pager_op_ask(pager, op, PAGER_DISK_META);
    }
}

/* What the daemon took is what counts, whenever it took it. */
void pager_meta_ended(struct pager *pager, struct pager_op *op, enum quire_status status) {
    struct pager_disk *disk = pager->disk;
    pager_meta_given_back(pager);
    disk->meta_flying = false;
    disk->meta_fails = status != QUIRE_OK;
    disk->counters.disk_meta_failures += status != QUIRE_OK;
    if (status == QUIRE_OK) {
        pager_write_taken(pager, disk->meta_bytes);
        disk->meta_durable = op->meta.generation;
        disk->meta_serial = op->meta.serial;
        if (disk->review.unnamed) {
            disk->review.unnamed = false; /* until one is found that this did not tell of */
            pager_review_expect(pager);
        }
    } else {
        disk->meta_again_ns = pager->now_ns + PAGER_DISK_AGAIN_NS;
    }
    barriers_look(pager, false, status != QUIRE_OK);
    pager_op_free(pager, op);
}
