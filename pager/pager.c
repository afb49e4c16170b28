/* The pager's life: options, domains, time. */
#include "pager/disk/internal.h"

#include <stdio.h>
#include <stdlib.h>

void pager_options_default(struct pager_options *options) {
    *options = (struct pager_options){
#define X(name, type, value, help) .name = value,
        PAGER_OPTIONS(X)
#undef X
    };
}

/* Record tables of this size and more come in huge pages. */
#define RECORDS_HUGE_FROM (4ull << 20)

/* Whatever a configuration says, shares are shares and the low mark lies below the high one. */
static struct pager_options sane(struct pager_options options) {
    options.max_namespaces = (uint32_t)quire_min_u64(quire_max_u64(options.max_namespaces, 1), UINT16_MAX - 1);
    options.reclaim_high_pct = (uint32_t)quire_min_u64(options.reclaim_high_pct, 90);
    options.reclaim_low_pct = (uint32_t)quire_min_u64(options.reclaim_low_pct, options.reclaim_high_pct);
    options.lease_quota_pct = (uint32_t)quire_min_u64(options.lease_quota_pct, 100);
    options.max_pins = (uint32_t)quire_min_u64(options.max_pins, QUIRE_META_MAX_PINS);
    return options;
}

static enum quire_status init(struct pager *pager, uint64_t seed) {
    QUIRE_FORWARD(pager_index_create(pager->options.max_blocks, seed, &pager->index));
    QUIRE_FORWARD(pager_ghosts_init(&pager->ghosts, pager->options.ghost_entries, seed ^ 0x6a09e667f3bcc909ull));
    pager->namespaces = calloc(pager->options.max_namespaces, sizeof(struct pager_ns *));
    pager->buckets = calloc(PAGER_ASSEMBLY_BUCKETS, sizeof(struct pager_assembly *));
    return pager->namespaces && pager->buckets ? QUIRE_OK : QUIRE_NO_MEMORY;
}

enum quire_status pager_create(const struct pager_options *options, uint64_t seed, uint64_t epoch, struct pager **pager) {
    struct pager *made = calloc(1, sizeof(*made));
    *pager = NULL;
    if (!made) {
        return QUIRE_NO_MEMORY;
    }
    made->magic = PAGER_MAGIC;
    made->options = sane(*options);
    made->epoch = epoch;
    made->seed = seed;
    made->wishes.prev = made->wishes.next = &made->wishes;
    made->holds.prev = made->holds.next = &made->holds;
    made->assemblies.prev = made->assemblies.next = &made->assemblies;
    pager_table_init(&made->sessions, PAGER_MAX_SESSIONS);
    pager_table_init(&made->leases, options->max_leases);
    pager_table_init(&made->parts, options->max_puts_waiting + 2 * options->max_parts_pending);
    pager_table_init(&made->moves, PAGER_PLAN_MOVES * PAGER_MAX_DOMAINS);
    enum quire_status status = init(made, seed);
    if (status != QUIRE_OK) {
        pager_destroy(&made);
    }
    *pager = made;
    return status;
}

static void table_destroy(struct pager_table *table) {
    uint32_t cursor = 0;
    for (void *object; (object = pager_table_next(table, &cursor));) {
        free(object);
    }
    pager_table_free(table);
}

static void sessions_destroy(struct pager *pager) {
    uint32_t cursor = 0;
    for (struct pager_session *s; (s = pager_table_next(&pager->sessions, &cursor));) {
        pager_ns_unuse(pager, s);
    }
    table_destroy(&pager->sessions);
}

static void assemblies_destroy(struct pager *pager) {
    for (struct pager_assembly *assembly = pager->assemblies.next; assembly != &pager->assemblies;) {
        struct pager_assembly *next = assembly->next;
        free(assembly->cells);
        free(assembly->contributors);
        free(assembly->landed);
        free(assembly);
        assembly = next;
    }
}

static void leases_destroy(struct pager *pager) {
    uint32_t cursor = 0;
    for (struct pager_lease *lease; (lease = pager_table_next(&pager->leases, &cursor));) {
        free(lease->extra);
    }
    table_destroy(&pager->leases);
}

void pager_destroy(struct pager **pager) {
    struct pager *p = *pager;
    if (!p) {
        return;
    }
    QUIRE_MAGIC_CHECK(p, PAGER_MAGIC);
    assert(p->holds.next == &p->holds);
    pager_disk_destroy(p);
    assemblies_destroy(p);
    sessions_destroy(p);
    leases_destroy(p);
    table_destroy(&p->parts);
    table_destroy(&p->moves);
    for (uint32_t i = 0; i < p->n_domains; i++) {
        p->domains[i].tier_ops->destroy(&p->domains[i].tier);
        pager_arena_release(&p->domains[i].arena);
    }
    pager_ns_free_all(p);
    pager_timers_free(&p->timers);
    pager_ghosts_free(&p->ghosts);
    pager_index_destroy(&p->index);
    free(p->buckets);
    p->magic = 0;
    free(p);
    *pager = NULL;
}

void pager_set_options(struct pager *pager, const struct pager_options *options) {
    struct pager_options old = pager->options;
    pager->options = sane(*options);
    pager->options.max_blocks = old.max_blocks;
    pager->options.max_parts_pending = old.max_parts_pending;
    pager->options.max_puts_waiting = old.max_puts_waiting;
    pager->options.max_leases = old.max_leases;
    pager->options.max_namespaces = old.max_namespaces;
    pager->options.max_pins = old.max_pins;
    pager->options.ghost_entries = old.ghost_entries;
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        pager_reclaim_check(pager, &pager->domains[i]);
    }
}

enum quire_status pager_domain_add(struct pager *pager, const char *name, uint64_t pool_bytes, _Atomic uint32_t *generations,
                                   uint32_t n_slots, uint32_t *domain) {
    if (pager->n_domains == PAGER_MAX_DOMAINS) {
        return QUIRE_FULL;
    }
    if (n_slots == 0 || n_slots == UINT32_MAX || strnlen(name, QUIRE_MAX_NAME + 1) > QUIRE_MAX_NAME) {
        return QUIRE_INVALID;
    }
    struct pager_domain *made = &pager->domains[pager->n_domains];
    *made = (struct pager_domain){.tier_ops = &pager_tier_host,
                                  .generations = generations,
                                  .n_slots = n_slots,
                                  .first_free = PAGER_NO_RECORD,
                                  .dirty_first = PAGER_NO_RECORD,
                                  .dirty_last = PAGER_NO_RECORD};
    snprintf(made->name, sizeof(made->name), "%s", name);
    QUIRE_FORWARD(made->tier_ops->create(pool_bytes, &made->tier));
    enum quire_status status = pager_arena_reserve(&made->arena, (uint64_t)n_slots * sizeof(struct pager_record), RECORDS_HUGE_FROM);
    if (status != QUIRE_OK) {
        made->tier_ops->destroy(&made->tier);
        return status;
    }
    struct pager_tier_stats stats;
    made->tier_ops->stats(made->tier, &stats);
    made->capacity_bytes = stats.capacity_bytes;
    made->records = (struct pager_record *)made->arena.base;
    pager_ages_init(&made->ages);
    made->ages.heads[0].since = PAGER_TICK_BASE;
    *domain = pager->n_domains++;
    return QUIRE_OK;
}

/* ---- time ----------------------------------------------------------------------------------------------------------------- */
void pager_clock(struct pager *pager, uint64_t now_ns) {
    QUIRE_MAGIC_CHECK(pager, PAGER_MAGIC);
    if (!pager->started) {
        pager->started = true;
        pager->start_ns = now_ns;
    }
    pager->now_ns = quire_max_u64(pager->now_ns, now_ns);
}

static void expire(struct pager *pager) {
    for (uint32_t i = 0; i < PAGER_EXPIRE_BUDGET; i++) {
        struct pager_timer *timer = pager_timer_first(&pager->timers);
        if (!timer || timer->when_ns > pager->now_ns) {
            return;
        }
        pager_timer_disarm(&pager->timers, timer);
        switch (timer->kind) {
        case PAGER_TIMER_LEASE:
            pager_lease_expired(pager, (struct pager_lease *)timer);
            break;
        case PAGER_TIMER_LOAD:
            pager_load_late(pager, timer);
            break;
        case PAGER_TIMER_PART:
            pager_part_late(pager, (struct pager_part *)((char *)timer - offsetof(struct pager_part, timer)));
            break;
        default:
            pager_assembly_expired(pager, (struct pager_assembly *)timer);
        }
    }
}

void pager_tick(struct pager *pager, uint64_t now_ns) {
    pager_clock(pager, now_ns);
    expire(pager);
    pager_ns_sweep(pager);
    if (pager->disk) {
        pager_review_pump(pager);
    }
    pager_room_serve_all(pager);
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        struct pager_domain *domain = &pager->domains[i];
        pager_age_open(&domain->ages, pager->index, pager_tick_now(pager));
        if (domain->reclaiming && !domain->planning) {
            pager_reclaim(pager, domain);
        }
    }
    if (pager->disk) {
        pager_disk_pump(pager);
    }
}

uint64_t pager_next_deadline(const struct pager *pager) {
    bool due = pager->sweeping;
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < pager->n_domains; i++) {
        const struct pager_domain *domain = &pager->domains[i];
        due |= (domain->reclaiming && !domain->planning) || (domain->more && domain->first_waiting && !domain->planning);
        if (domain->first_waiting && domain->plan_after_ns > 0 && !domain->planning) {
            next_ns = quire_min_u64(next_ns, domain->plan_after_ns);
        }
    }
    const struct pager_timer *timer = pager_timer_first(&pager->timers);
    if (timer) {
        next_ns = quire_min_u64(next_ns, timer->when_ns);
    }
    if (pager->disk) {
        next_ns = quire_min_u64(next_ns, pager_disk_deadline(pager));
    }
    return due ? pager->now_ns : next_ns;
}
