#include "tests/sim/sim.h"
#include "tests/sim/sim_content.h"
#include "tests/sim/sim_server.h"

#include <stdlib.h>

struct job { /* a fill, seal or move */
    struct sim_task task;
    struct pager_event event;
};

static uint8_t *pool_of(struct sim *sim, const struct pager_event *event) { return sim->domains[event->domain].pool; }

static void spoil(uint8_t *payload, uint32_t length) { payload[length / 2] ^= 0x40; }

static enum quire_status fill(struct sim *sim, const struct pager_event *event) {
    const struct sim_put *put = &sim->model.puts[event->cookie - 1];
    const struct sim_version *version = &sim->model.versions[put->version - 1];
    uint64_t check;
    uint64_t bytes = 0;
    for (uint32_t lane = 0; event->shape.opaque && lane < event->shape.n_lanes; lane++) {
        bytes += quire_record_lane_bytes(&event->shape, lane);
    }
    if (!event->shape.opaque) {
        bytes = (uint64_t)event->rect.n_layers * event->rect.n_heads * (event->shape.k_lane_bytes + event->shape.v_lane_bytes);
    }
    uint8_t *payload = sim_content_payload(put->version, version->group, &event->shape, &event->rect, (uint32_t)bytes, &check);
    SIM_REQUIRE(sim, check == event->check);
    if (version->corrupt) {
        spoil(payload, (uint32_t)bytes);
    }
    uint8_t *record = pool_of(sim, event) + event->offset;
    enum quire_status status = quire_record_fill_rect(record, &event->shape, &event->rect, payload, bytes, check);
    SIM_REQUIRE(sim, (status == QUIRE_OK) == !version->corrupt);
    free(payload);
    return status;
}

static void run(struct sim *sim, struct sim_task *task) {
    const struct pager_event *event = &((struct job *)task)->event;
    enum quire_status status = QUIRE_OK;
    switch (event->type) {
    case PAGER_FILL:
        status = fill(sim, event);
        if (status == QUIRE_OK && event->seal) {
            quire_record_seal(pool_of(sim, event) + event->offset, &event->shape, &event->facts);
        }
        break;
    case PAGER_SEAL:
        quire_record_seal(pool_of(sim, event) + event->offset, &event->shape, &event->facts);
        break;
    default:
        memmove(pool_of(sim, event) + event->to_offset, pool_of(sim, event) + event->offset, event->size_bytes);
        status = !sim->calm && sim_chance(sim, 2) ? QUIRE_SYSTEM : QUIRE_OK;
    }
    sim_say(sim, "job %d done: ticket %llx, status %d", event->type, (unsigned long long)event->ticket, status);
    pager_complete(sim->pager, sim->now_ns, event->ticket, status);
}

void sim_executor_begin(struct sim *sim, const struct pager_event *event) {
    uint64_t to = event->type == PAGER_MOVE ? event->to_offset : event->offset;
    if (event->type != PAGER_SEAL) {
        sim_model_untouched(sim, event->domain, to, event->size_bytes);
    }
    struct job *job = sim_task_new(sim, sizeof(*job), true, run);
    job->event = *event;
    sim_say(sim, "job %d: ticket %llx, offset %llu, size %u", event->type, (unsigned long long)event->ticket, (unsigned long long)to,
            event->size_bytes);
    sim_after(sim, sim_between(sim, 1000, 200000), job);
}

void sim_executor_reset(struct sim *sim) {
    sim_store_reset(sim);
    sim->executor = (struct sim_executor){.order = sim->executor.order};
}
