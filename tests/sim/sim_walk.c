#include "tests/sim/sim_walk.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

const uint8_t sim_set_id[16] = {'s', 'i', 'm'};

#define HEAD_BYTES (64u << 10) /* read at once, wherever a head should be */

struct walk {
    const struct quire_log_geometry *g;
    uint8_t *bytes;
    bool *readable; /* a unit each */
    uint32_t segment;
    uint64_t epoch;
    struct quire_log_entry *entries;
    uint32_t n;
    enum sim_unread unread;
};

static bool is_readable(const struct walk *walk, uint64_t at_units, uint64_t units) {
    for (uint64_t i = at_units; i < at_units + units && i < walk->g->segment_units; i++) {
        if (!walk->readable[i]) {
            return false;
        }
    }
    return true;
}

static bool footer(struct sim *sim, struct walk *walk) {
    const struct quire_log_geometry *g = walk->g;
    struct quire_log_trailer trailer;
    const uint8_t *last = walk->bytes + (uint64_t)(g->segment_units - 1) * g->unit_bytes;
    if (!is_readable(walk, g->segment_units - 1, 1)) {
        walk->unread = SIM_UNREAD_SOME;
        return false;
    }
    if (quire_log_trailer_decode(g, last, sim_set_id, walk->segment, &trailer) != QUIRE_OK || trailer.epoch != walk->epoch) {
        return false;
    }
    if (!is_readable(walk, trailer.footer_units, g->segment_units - trailer.footer_units)) {
        walk->unread = SIM_UNREAD_SOME;
        return false;
    }
    if (quire_log_footer_decode(g, &trailer, walk->bytes + (uint64_t)trailer.footer_units * g->unit_bytes, walk->entries) != QUIRE_OK) {
        return false;
    }
    walk->n = trailer.n_entries;
    sim_ledger_believe(sim, walk->segment, walk->epoch, walk->entries, walk->n);
    return true;
}

static bool is_whole(struct walk *walk, const struct quire_log_entry *entry) {
    if (!is_readable(walk, entry->at_units, quire_log_units(walk->g, entry->size_bytes))) {
        walk->unread = SIM_UNREAD_SOME;
        return false;
    }
    return quire_log_record_verify(walk->bytes + (uint64_t)entry->at_units * walk->g->unit_bytes, entry) == QUIRE_OK;
}

static void heads(struct sim *sim, struct walk *walk, bool verify) {
    const struct quire_log_geometry *g = walk->g;
    struct quire_log_entry found[QUIRE_LOG_MAX_BATCH];
    struct quire_log_batch batch;
    bool good = true;
    walk->n = 0;
    for (uint32_t at = 1; at < g->segment_units; at += batch.size_units) {
        const uint8_t *head = walk->bytes + (uint64_t)at * g->unit_bytes;
        size_t size = (size_t)(g->segment_units - at) * g->unit_bytes;
        if (!is_readable(walk, at, HEAD_BYTES / g->unit_bytes)) {
            walk->unread = SIM_UNREAD_HEADS;
            return;
        }
        if (quire_log_head_decode(g, head, size, walk->epoch, at, &batch, found) != QUIRE_OK) {
            return;
        }
        sim_ledger_believe(sim, walk->segment, walk->epoch, found, batch.n_entries);
        for (uint32_t i = 0; i < batch.n_entries; i++) {
            bool is_record = found[i].kind == QUIRE_LOG_RECORD;
            good = good && (!is_record || !verify || is_whole(walk, &found[i]));
            if (!is_record || good || verify) { /* of a bad one a start is told that it lies there */
                walk->entries[walk->n] = found[i];
                walk->entries[walk->n++].size_bytes *= !is_record || good;
            }
        }
    }
}

struct quire_log_entry *sim_walk(struct sim *sim, uint32_t segment, uint64_t epoch, bool verify, uint32_t *n_entries,
                                 enum sim_unread *unread) {
    const struct quire_log_geometry *g = &sim->config.shape.geometry;
    uint64_t size = (uint64_t)g->segment_units * g->unit_bytes;
    struct walk walk = {.g = g, .segment = segment, .epoch = epoch};
    uint32_t device;
    uint64_t offset = sim_disk_locate(sim, segment, 0, &device);
    walk.bytes = aligned_alloc(64, quire_align_up(size, 64));
    walk.readable = calloc(g->segment_units, sizeof(*walk.readable));
    walk.entries = malloc((size / sizeof(struct quire_log_entry) + QUIRE_LOG_MAX_BATCH) * sizeof(*walk.entries));
    SIM_REQUIRE(sim, walk.bytes && walk.readable && walk.entries);
    for (uint32_t i = 0; i < g->segment_units; i++) {
        uint64_t at = (uint64_t)i * g->unit_bytes;
        walk.readable[i] = sim_disk_read(sim, device, offset + at, walk.bytes + at, g->unit_bytes);
    }
    if (!footer(sim, &walk)) {
        heads(sim, &walk, verify);
    }
    free(walk.bytes);
    free(walk.readable);
    *n_entries = walk.n;
    *unread = walk.unread;
    return walk.entries;
}
