#include "tests/sim/sim_walk.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

const uint8_t sim_set_id[16] = {'s', 'i', 'm'};

static bool footer(struct sim *sim, const uint8_t *bytes, uint32_t segment, uint64_t epoch, struct quire_log_entry *entries, uint32_t *n) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    struct quire_log_trailer trailer;
    const uint8_t *last = bytes + (uint64_t)(g->segment_units - 1) * g->unit_bytes;
    if (quire_log_trailer_decode(g, last, sim_set_id, segment, &trailer) != QUIRE_OK || trailer.epoch != epoch ||
        quire_log_footer_decode(g, &trailer, bytes + (uint64_t)trailer.footer_units * g->unit_bytes, entries) != QUIRE_OK) {
        return false;
    }
    *n = trailer.n_entries;
    return true;
}

static void heads(struct sim *sim, const uint8_t *bytes, uint64_t epoch, bool verify, struct quire_log_entry *entries, uint32_t *n) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    struct quire_log_entry found[QUIRE_LOG_MAX_BATCH];
    struct quire_log_batch batch;
    bool good = true;
    *n = 0;
    for (uint32_t at = 1; at < g->segment_units; at += batch.size_units) {
        const uint8_t *head = bytes + (uint64_t)at * g->unit_bytes;
        size_t size = (size_t)(g->segment_units - at) * g->unit_bytes;
        if (quire_log_head_decode(g, head, size, epoch, at, &batch, found) != QUIRE_OK) {
            return;
        }
        for (uint32_t i = 0; i < batch.n_entries; i++) {
            const uint8_t *record = bytes + (uint64_t)found[i].at_units * g->unit_bytes;
            bool is_record = found[i].kind == QUIRE_LOG_RECORD;
            good = good && (!is_record || !verify || quire_log_record_verify(record, &found[i]) == QUIRE_OK);
            if (!is_record || good) {
                entries[(*n)++] = found[i];
            }
        }
    }
}

struct quire_log_entry *sim_walk(struct sim *sim, uint32_t segment, uint64_t epoch, bool verify, uint32_t *n_entries) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    uint64_t size = (uint64_t)g->segment_units * g->unit_bytes;
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, segment, 0, &device);
    uint8_t *bytes = aligned_alloc(64, quire_align_up(size, 64));
    struct quire_log_entry *entries = malloc((size / sizeof(struct quire_log_entry) + QUIRE_LOG_MAX_BATCH) * sizeof(*entries));
    SIM_REQUIRE(sim, bytes && entries);
    sim_disk_read(sim, device, offset, bytes, size);
    if (!footer(sim, bytes, segment, epoch, entries, n_entries)) {
        heads(sim, bytes, epoch, verify, entries, n_entries);
    }
    free(bytes);
    return entries;
}
