#include "tests/sim/sim_snapshot.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

void sim_snapshot_free(struct sim_snapshot *snapshot) {
    free(snapshot->entries);
    free(snapshot->openings);
    *snapshot = (struct sim_snapshot){0};
}

void sim_snapshot_take(struct sim *sim) {
    struct sim_snapshot *snapshot = &sim->snapshot;
    struct pager_disk_cursor cursor = {0};
    struct quire_snapshot_entry entry;
    uint32_t capacity = 0;
    sim_snapshot_free(snapshot);
    while (pager_disk_next_live(sim->pager, &cursor, &entry)) {
        SIM_REQUIRE(sim, quire_snapshot_entry_valid(&sim->config.shape.geometry, &entry));
        if (snapshot->n == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            snapshot->entries = realloc(snapshot->entries, capacity * sizeof(entry));
            SIM_REQUIRE(sim, snapshot->entries != NULL);
        }
        snapshot->entries[snapshot->n++] = entry;
    }
    snapshot->openings = calloc(1024, sizeof(*snapshot->openings));
    SIM_REQUIRE(sim, snapshot->openings != NULL);
    snapshot->n_openings = pager_disk_openings(sim->pager, snapshot->openings, 1024);
    snapshot->whole = true;
    sim_say(sim, "a snapshot of %u records", snapshot->n);
}

void sim_snapshot_open(struct sim *sim) {
    pager_restore_openings(sim->pager, sim->now_ns, sim->snapshot.openings, sim->snapshot.n_openings);
}

bool sim_snapshot_tell(struct sim *sim, uint32_t *at, bool *doubt) {
    const struct sim_snapshot *snapshot = &sim->snapshot;
    uint32_t n = (uint32_t)quire_min_u64(snapshot->n - *at, sim_between(sim, 1, 40));
    *doubt = sim_chance(sim, 5);
    if (n == 0 || *doubt) {
        return false;
    }
    pager_restore_live(sim->pager, sim->now_ns, snapshot->entries + *at, n);
    *at += n;
    sim_say(sim, "%u of %u records of the snapshot", *at, snapshot->n);
    return true;
}
