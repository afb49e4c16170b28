#include "daemon/core_internal.h"

#include "daemon/disk/disk.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* ---- life ----------------------------------------------------------------------------------------------------------------- */

static void core_work_wake(void *ctx) { loop_wake(&((struct core *)ctx)->work_done); }

static void core_work_done(struct loop_wakeup *wakeup) {
    struct core *core = LOOP_CONTAINER(wakeup, struct core, work_done);
    core->now_ns = loop_now_ns();
    workpool_reap(core->workpool);
}

/* The flag has been set before; the wake-up only ends the wait. */
static void core_stop_woken(struct loop_wakeup *wakeup) { (void)wakeup; }

static enum quire_status core_create_loop(struct core *core) {
    QUIRE_FORWARD(loop_create(&core->loop));
    core->work_done.woken = core_work_done;
    core->stop.woken = core_stop_woken;
    QUIRE_FORWARD(loop_wakeup_add(core->loop, &core->work_done));
    QUIRE_FORWARD(loop_wakeup_add(core->loop, &core->stop));
    QUIRE_FORWARD(mailbox_setup(&core->mailbox, core->loop, core));
    QUIRE_FORWARD(arena_setup(&core->arena, CORE_ARENA_BYTES));
    QUIRE_FORWARD(arena_setup(&core->admin_arena, CORE_ARENA_BYTES));
    core->rx = malloc(SESSION_TURN_BYTES);
    return core->rx != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}

static uint32_t core_slots(const struct config *config, uint64_t pool_bytes) {
    uint64_t slots = config->record_slots != 0 ? config->record_slots : pool_bytes / 8192;
    return (uint32_t)quire_min_u64(quire_max_u64(slots, 1024), UINT32_MAX - 1);
}

static enum quire_status core_create_domain(struct core *core, const struct config_domain *domain, char *why, size_t why_bytes) {
    struct pool **pool = &core->pools[core->n_pools];
    uint32_t number;
    QUIRE_FORWARD(pool_create(domain->name, domain->pool_bytes, core_slots(&core->config, domain->pool_bytes), core->config.huge_pages,
                              pool, why, why_bytes));
    core->n_pools++;
    enum quire_status status =
        pager_domain_add(core->pager, domain->name, (*pool)->size_bytes, (*pool)->generations, (*pool)->n_slots, &number);
    if (status != QUIRE_OK) {
        snprintf(why, why_bytes, "domain %s: %s", domain->name, quire_status_text(status));
        return status;
    }
    assert(number == core->n_pools - 1);
    return QUIRE_OK;
}

static enum quire_status core_create_store(struct core *core, char *why, size_t why_bytes) {
    const struct ingest_limits limits = ingest_limits_of(&core->config);
    QUIRE_FORWARD(pager_create(&core->config.pager, core->seed, core->epoch, &core->pager));
    for (uint32_t i = 0; i < core->config.n_domains; i++) {
        QUIRE_FORWARD(core_create_domain(core, &core->config.domains[i], why, why_bytes));
    }
    QUIRE_FORWARD(ingest_create(&limits, &ingest_session_ops, &core->ingest));
    QUIRE_FORWARD(puts_setup(&core->puts));
    QUIRE_FORWARD(loads_setup(&core->loads));
    QUIRE_FORWARD(savings_setup(&core->savings, core->config.pager.max_namespaces));
    QUIRE_FORWARD(events_setup(core));
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    core->work_threads = core->config.work_threads != 0 ? core->config.work_threads
                                                        : (uint32_t)(processors < 1   ? 1
                                                                     : processors > 4 ? 4
                                                                                      : processors);
    QUIRE_FORWARD(workpool_create(core->work_threads, CORE_JOBS + DISK_JOBS + RECHECK_JOBS, core_work_wake, core, &core->workpool));
    return core->config.n_files > 0 ? disk_create(core, &core->disk_tier, why, why_bytes) : QUIRE_OK;
}

static enum quire_status core_setup(struct core *core, char *why, size_t why_bytes) {
    if (getrandom(&core->epoch, sizeof core->epoch, 0) != (ssize_t)sizeof core->epoch ||
        getrandom(&core->seed, sizeof core->seed, 0) != (ssize_t)sizeof core->seed) {
        snprintf(why, why_bytes, "the system gives no random numbers: %s", strerror(errno));
        return QUIRE_SYSTEM;
    }
    core->epoch |= 1; /* 0 means none */
    QUIRE_FORWARD(core_create_loop(core));
    QUIRE_FORWARD(listener_create(core, core->config.socket_path, core->config.socket_mode, &core->listener, why, why_bytes));
    QUIRE_FORWARD(core_create_store(core, why, why_bytes));
    QUIRE_FORWARD(net_create(core, why, why_bytes));
    QUIRE_FORWARD(listener_start(core->listener, why, why_bytes));
    return net_start(core, why, why_bytes);
}

enum quire_status core_create(const struct config *config, struct core **out, char *why, size_t why_bytes) {
    if (why_bytes > 0) {
        why[0] = '\0';
    }
    struct core *core = calloc(1, sizeof *core);
    if (core == NULL) {
        snprintf(why, why_bytes, "%s", quire_status_text(QUIRE_NO_MEMORY));
        return QUIRE_NO_MEMORY;
    }
    core->config = *config;
    flow_setup(&core->flow);
    loan_setup(&core->loan);
    core->populating = UINT32_MAX;
    core->work_done.source.fd = core->stop.source.fd = -1;
    core->stall_ns = SESSION_STALL_MS * QUIRE_NS_PER_MS;
    core->hello_ns = SESSION_HELLO_MS * QUIRE_NS_PER_MS;
    core->afar_quarantine_ns = QUARANTINE_AFAR_NS;
    core->frame_ns = SESSION_FRAME_MS * QUIRE_NS_PER_MS;
    core->unfinished_max_bytes = SESSION_UNFINISHED_BYTES;
    core->started_ns = core->now_ns = loop_now_ns();
    core->heartbeat_ns = core->now_ns;
    enum quire_status status = core_setup(core, why, why_bytes);
    if (status != QUIRE_OK) {
        if (why_bytes > 0 && why[0] == '\0') {
            snprintf(why, why_bytes, "cannot start: %s", quire_status_text(status));
        }
        core_destroy(&core);
        return status;
    }
    *out = core;
    return QUIRE_OK;
}

void core_destroy(struct core **out) {
    struct core *core = *out;
    if (core == NULL) {
        return;
    }
    workpool_destroy(&core->workpool); /* early: what its jobs read and write is still there */
    rechecks_teardown(core);
    net_destroy(core);
    disk_destroy(&core->disk_tier);
    puts_teardown(core);
    loads_teardown(core);
    durable_teardown(core);
    savings_teardown(&core->savings);
    events_teardown(core);
    ingest_destroy(&core->ingest);
    quarantine_teardown(core);
    pager_destroy(&core->pager);
    while (core->n_pools > 0) {
        pool_destroy(&core->pools[--core->n_pools]);
    }
    listener_destroy(&core->listener);
    free(core->rx);
    arena_teardown(&core->admin_arena);
    arena_teardown(&core->arena);
    if (core->loop != NULL) {
        mailbox_teardown(&core->mailbox, core->loop);
        loop_wakeup_remove(core->loop, &core->stop);
        loop_wakeup_remove(core->loop, &core->work_done);
    }
    loop_destroy(&core->loop);
    loan_teardown(&core->loan);
    free(core);
    *out = NULL;
}

/* ---- running -------------------------------------------------------------------------------------------------------------- */

void core_runnable(struct core *core, struct session *session) {
    if (session->runnable) {
        return;
    }
    session->runnable = true;
    session->run_next = NULL;
    session_ref(session);
    if (core->run_head == NULL) {
        core->run_head = session;
    } else {
        core->run_tail->run_next = session;
    }
    core->run_tail = session;
}

/* One turn for each session that had input left; who has still some gets in line again, behind the others. */
static void core_run_leftovers(struct core *core) {
    struct session *session = core->run_head;
    core->run_head = core->run_tail = NULL;
    while (session != NULL) {
        struct session *next = session->run_next;
        session->runnable = false;
        session_turn(session);
        session_unref(session);
        session = next;
    }
}

static void core_check_sessions(struct core *core) {
    for (struct session *session = core->sessions; session != NULL; session = core->check_next) {
        core->check_next = session->next;
        session_check_time(session, core->now_ns);
    }
    quarantine_check(core);
}

/* What time alone brings about. */
static void core_tick(struct core *core) {
    core->now_ns = loop_now_ns();
    core->heartbeat_ns = core->now_ns;
    if (pager_next_deadline(core->pager) <= core->now_ns) {
        pager_tick(core->pager, core->now_ns);
    }
    if (ingest_deadline(core->ingest) <= core->now_ns) {
        ingest_tick(core->ingest, core->now_ns);
    }
    net_tick(core);
    if (core->next_check_ns <= core->now_ns) {
        core->next_check_ns = core->now_ns + CORE_TICK_NS;
        core_check_sessions(core);
        if (core->listener != NULL) {
            listener_check(core->listener, core->now_ns);
        }
        pager_tick(core->pager, core->now_ns);
        events_populate(core);
    }
    if (core->disk_tier != NULL) {
        disk_turn(core->disk_tier);
    }
    events_pump(core);
    if (core->disk_tier != NULL) {
        disk_submit(core->disk_tier);
        store_headers(disk_store(core->disk_tier), &core->counters.disk_header_hits, &core->counters.disk_header_misses);
    }
    const struct ingest_counters *ingest = ingest_counters(core->ingest);
    core->counters.ingest_waits = ingest->waits;
    core->counters.ingest_refused = ingest->refused;
    core->counters.ingest_recalled = ingest->recalled;
    core->counters.ingest_taken = ingest->taken;
    net_count(core);
}

static uint64_t core_deadline(const struct core *core) {
    if (core->run_head != NULL) {
        return 0;
    }
    uint64_t deadline_ns = quire_min_u64(core->next_check_ns, pager_next_deadline(core->pager));
    deadline_ns = quire_min_u64(deadline_ns, ingest_deadline(core->ingest));
    deadline_ns = quire_min_u64(deadline_ns, net_deadline(core));
    if (core->disk_tier != NULL) {
        deadline_ns = quire_min_u64(deadline_ns, disk_deadline(core->disk_tier));
    }
    return core->draining ? quire_min_u64(deadline_ns, core->drain_until_ns) : deadline_ns;
}

enum quire_status core_turn(struct core *core, uint64_t deadline_ns) {
    bool lends = core->net.rails != NULL && !core->draining;
    core->wakes_ns = deadline_ns;
    QUIRE_FORWARD(loop_turn(core->loop, deadline_ns, lends ? &core->loan : NULL));
    core_run_leftovers(core);
    core_tick(core);
    return QUIRE_OK;
}

bool core_borrow(struct core *core) {
    bool borrowed = loan_borrow(&core->loan);
    if (borrowed) {
        core->borrowed = true;
    }
    return borrowed;
}

/* The disk's rings are for the loop's thread, and whatever happened to the pager may have given them something to do. */
bool core_return(struct core *core) {
    for (uint32_t round = 0; round < CORE_BORROWED_ROUNDS && core->run_head != NULL; round++) {
        core_run_leftovers(core);
    }
    if (core->disk_tier == NULL) {
        events_pump(core);
    }
    bool wake = core->disk_tier != NULL || core_deadline(core) < core->wakes_ns;
    core->borrowed = false;
    loan_return(&core->loan);
    return wake;
}

/* ---- stopping ------------------------------------------------------------------------------------------------------------- */

static void core_begin_drain(struct core *core) {
    core->draining = true;
    core->drain_until_ns = loop_now_ns() + core->config.drain_ms * QUIRE_NS_PER_MS;
    log_info("draining", "stopping: %u session%s, %u put%s under way", core->n_sessions, quire_s(core->n_sessions), puts_count(&core->puts),
             quire_s(puts_count(&core->puts)));
    listener_destroy(&core->listener);
}

static bool core_drained(const struct core *core) {
    if (puts_count(&core->puts) > 0 || loads_count(&core->loads) > 0 || core->durable.n > 0) {
        return false;
    }
    for (const struct session *session = core->sessions; session != NULL; session = session->next) {
        if (!flow_session_is_idle(session) || session->link->tx_bytes > 0) {
            return false;
        }
    }
    return true;
}

static void core_part(struct core *core) {
    while (core->sessions != NULL) {
        struct session *session = core->sessions;
        session_ref(session);
        arena_reset(&core->arena);
        session_send(session, QUIRE_MSG_GOODBYE, 0, NULL, NULL, 0);
        session_end(session, SESSION_END_SHUTDOWN);
        session_unref(session);
    }
    core_run_leftovers(core);
}

/* Nothing new comes in; what is only in memory goes to disk while there is time. */
static enum quire_status core_flush_disk(struct core *core) {
    enum quire_status status = QUIRE_OK;
    disk_flush(core->disk_tier);
    core_tick(core);
    while (status == QUIRE_OK && !disk_flushed(core->disk_tier) && loop_now_ns() < core->drain_until_ns) {
        status = core_turn(core, core_deadline(core));
    }
    if (!disk_flushed(core->disk_tier)) {
        log_warn("disk_not_flushed", "stopping: not everything reached the disk within drain_ms; the rest will be stored anew");
    }
    return status;
}

enum quire_status core_run(struct core *core) {
    enum quire_status status = QUIRE_OK;
    mailbox_attach(&core->mailbox);
    while (status == QUIRE_OK && !core->stopping) {
        status = core_turn(core, core_deadline(core));
    }
    if (status == QUIRE_OK) {
        core_begin_drain(core);
    }
    while (status == QUIRE_OK && !core_drained(core) && loop_now_ns() < core->drain_until_ns) {
        status = core_turn(core, core_deadline(core));
    }
    if (status == QUIRE_OK && core->disk_tier != NULL) {
        status = core_flush_disk(core);
    }
    if (status != QUIRE_OK) {
        log_error("loop_failed", "the event loop failed: %s", strerror(errno));
    }
    core_part(core);
    mailbox_close(&core->mailbox);
    return status;
}

void core_stop(struct core *core) {
    core->stopping = true;
    loop_wake(&core->stop);
}

/* ---- for others ----------------------------------------------------------------------------------------------------------- */

enum quire_status core_call(struct core *core, void (*fn)(struct core *core, void *arg), void *arg, uint32_t timeout_ms) {
    return mailbox_call(&core->mailbox, fn, arg, timeout_ms);
}

uint64_t core_heartbeat_age_ms(const struct core *core) {
    uint64_t beat_ns = core->heartbeat_ns, now_ns = loop_now_ns();
    return now_ns > beat_ns ? (now_ns - beat_ns) / QUIRE_NS_PER_MS : 0;
}

enum quire_status core_apply_config(struct core *core, const struct config *config, const char **why) {
    enum quire_status status = QUIRE_OK;
    struct config *running = &core->config;
    config_take_live(running, config);
    const struct ingest_limits limits = ingest_limits_of(running);
    ingest_set_limits(core->ingest, &limits);
    pager_set_options(core->pager, &running->pager);
    if (core->disk_tier != NULL) {
        status = disk_apply_config(core->disk_tier, why);
    }
    if (net_reload(core) != QUIRE_OK && status == QUIRE_OK) {
        status = QUIRE_INVALID;
        *why = "the tokens or the certificate were refused, the log tells why; those in force stay";
    }
    log_setup(running->log_level, running->log_json);
    return status;
}

void core_set_metrics_address(struct core *core, const char *address) {
    snprintf(core->metrics_address, sizeof core->metrics_address, "%s", address);
}

void core_set_reload(struct core *core, core_reload *reload, void *ctx) {
    core->reload = reload;
    core->reload_ctx = ctx;
}

const struct core_counters *core_counters(const struct core *core) { return &core->counters; }
const struct core_histograms *core_histograms(const struct core *core) { return &core->histograms; }

void core_histogram_add(struct core_histogram *histogram, uint64_t elapsed_ns) {
    uint64_t us = elapsed_ns / 1000;
    uint32_t bucket = us == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(us);
    histogram->count++;
    histogram->sum_us += us;
    histogram->bucket[quire_min_u64(bucket, CORE_HISTOGRAM_BUCKETS - 1)]++;
}

static bool core_lists(const uid_t *ids, uint32_t n_ids, uid_t uid) {
    for (uint32_t i = 0; i < n_ids; i++) {
        if (ids[i] == uid) {
            return true;
        }
    }
    return false;
}

/* Membership anywhere comes before being a guest anywhere. The daemon's own user and root, where no list names them, are let in to operate:
   they could read all of it anyway. */
enum quire_status core_classify(const struct core *core, uid_t uid, uint32_t *domain, bool *member) {
    for (int as_member = 1; as_member >= 0; as_member--) {
        for (uint32_t i = 0; i < core->config.n_domains; i++) {
            const struct config_domain *d = &core->config.domains[i];
            if (as_member ? core_lists(d->members, d->n_members, uid) : core_lists(d->guests, d->n_guests, uid)) {
                *domain = i;
                *member = as_member != 0;
                return QUIRE_OK;
            }
        }
    }
    *domain = 0;
    *member = true;
    return uid == geteuid() || uid == 0 ? QUIRE_OK : QUIRE_DENIED;
}
