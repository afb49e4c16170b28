#include "tests/sim/sim_scrub.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_faults.h"
#include "tests/sim/sim_walk.h"

#include <stdlib.h>

#define STEP 8u /* records read at once */

struct scrub { /* memory: the segment's entries */
    struct sim_task task;
    uint32_t segment, n, at, to;
    uint64_t epoch;
    uint8_t bad; /* of those from `at` on, a bit each */
};

static void open_segment(struct sim *sim, struct sim_task *task);
static void read_step(struct sim *sim, struct sim_task *task);
static void tell_step(struct sim *sim, struct sim_task *task);

static void go_on(struct sim *sim, struct scrub *scrub, void (*run)(struct sim *sim, struct sim_task *task), uint64_t delay_ns) {
    struct scrub *next = sim_task_new(sim, sizeof(*next), true, run);
    struct sim_task own = next->task;
    *next = *scrub;
    next->task = own;
    next->task.memory = scrub->task.memory;
    scrub->task.memory = NULL;
    sim_after(sim, delay_ns, next);
}

static uint64_t rest_ns(struct sim *sim) { return sim->calm ? QUIRE_NS_PER_S : sim_between(sim, 1, 20) * SIM_MS; }

static bool still_there(struct sim *sim, const struct scrub *scrub) {
    const struct pager_segment *s = pager_disk_segment(sim->pager, scrub->segment);
    return s->state == PAGER_SEGMENT_SEALED && s->epoch == scrub->epoch;
}

static void open_segment(struct sim *sim, struct sim_task *task) {
    struct scrub *scrub = (struct scrub *)task;
    uint32_t n_segments = 0, device;
    enum sim_unread unread;
    for (uint32_t i = 0; i < sim->config.shape.n_devices; i++) {
        n_segments += sim->config.shape.segments[i];
    }
    scrub->segment = (scrub->segment + 1) % n_segments;
    scrub->epoch = pager_disk_segment(sim->pager, scrub->segment)->epoch;
    if (!still_there(sim, scrub)) {
        go_on(sim, scrub, open_segment, rest_ns(sim));
        return;
    }
    scrub->task.memory = sim_walk(sim, scrub->segment, scrub->epoch, false, &scrub->n, &unread);
    scrub->at = 0;
    if (unread != SIM_READ_ALL) {
        (void)sim_disk_locate(sim, scrub->segment, 0, &device);
        sim_faults_read_failed(sim, device);
    }
    go_on(sim, scrub, read_step, rest_ns(sim));
}

static bool is_bad(struct sim *sim, const struct scrub *scrub, const struct quire_log_entry *entry) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    uint64_t size = (uint64_t)quire_log_units(g, entry->size_bytes) * g->unit_bytes;
    uint8_t *record = aligned_alloc(64, quire_align_up(size, 64));
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, scrub->segment, entry->at_units, &device);
    bool read = sim_disk_read(sim, device, offset, record, size);
    bool bad = !read || quire_log_record_verify(record, entry) != QUIRE_OK;
    free(record);
    if (!read) {
        sim_faults_read_failed(sim, device);
    }
    sim->counts->scrubbed++;
    return bad;
}

static void read_step(struct sim *sim, struct sim_task *task) {
    struct scrub *scrub = (struct scrub *)task;
    const struct quire_log_entry *entries = scrub->task.memory;
    scrub->bad = 0;
    scrub->to = (uint32_t)quire_min_u64(scrub->n, scrub->at + STEP);
    for (uint32_t i = scrub->at; i < scrub->to && still_there(sim, scrub); i++) {
        if (entries[i].kind == QUIRE_LOG_RECORD && pager_disk_is_live(sim->pager, scrub->segment, scrub->epoch, &entries[i])) {
            scrub->bad |= (uint8_t)(is_bad(sim, scrub, &entries[i]) << (i - scrub->at));
        }
    }
    go_on(sim, scrub, tell_step, sim_between(sim, 20000, 2000000));
}

static void tell_step(struct sim *sim, struct sim_task *task) {
    struct scrub *scrub = (struct scrub *)task;
    const struct quire_log_entry *entries = scrub->task.memory;
    bool there = still_there(sim, scrub);
    for (uint32_t i = scrub->at; i < scrub->to && there; i++) {
        if (scrub->bad >> (i - scrub->at) & 1) {
            bool dropped = pager_disk_damaged(sim->pager, sim->now_ns, scrub->segment, scrub->epoch, &entries[i]);
            sim_say(sim, "scrub: segment %u, unit %u is bad%s", scrub->segment, entries[i].at_units, dropped ? ", and dropped" : "");
            SIM_REQUIRE(sim, !pager_disk_is_live(sim->pager, scrub->segment, scrub->epoch, &entries[i]));
            sim->counts->scrub_dropped += dropped;
        }
    }
    scrub->at = scrub->to;
    bool more = there && scrub->at < scrub->n;
    if (!more) {
        free(scrub->task.memory);
        scrub->task.memory = NULL;
    }
    go_on(sim, scrub, more ? read_step : open_segment, rest_ns(sim));
}

void sim_scrub_begin(struct sim *sim) {
    if (sim->config.scrubs) {
        sim_after(sim, rest_ns(sim), sim_task_new(sim, sizeof(struct scrub), true, open_segment));
    }
}
