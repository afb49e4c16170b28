#include "codec/log_internal.h"

void quire_log_segment_header_encode(const struct quire_log_geometry *g, const struct quire_log_segment_header *header, uint8_t *out) {
    struct quire_log_segment_header stored = *header;
    stored.magic = QUIRE_LOG_MAGIC_SEGMENT;
    stored.version = QUIRE_LOG_VERSION;
    memset(stored.reserved, 0, sizeof(stored.reserved));
    memset(stored.reserved2, 0, sizeof(stored.reserved2));
    stored.check = QUIRE_LOG_SUM(&stored);
    quire_log_put_units(g, &stored, sizeof(stored), NULL, 0, out);
}

enum quire_status quire_log_segment_header_decode(const struct quire_log_geometry *g, const uint8_t *in, const uint8_t set_id[16],
                                                  uint32_t segment, struct quire_log_segment_header *header) {
    assert(quire_log_geometry_valid(g));
    memcpy(header, in, sizeof(*header));
    if (header->magic != QUIRE_LOG_MAGIC_SEGMENT) {
        return QUIRE_CORRUPT;
    }
    if (header->version != QUIRE_LOG_VERSION) {
        return QUIRE_VERSION;
    }
    if (header->check != QUIRE_LOG_SUM(header) || !quire_log_is_epoch(g, header->epoch) || header->tail_epoch > header->epoch ||
        !quire_log_is_zero(header->reserved, sizeof(header->reserved)) ||
        !quire_log_is_zero(header->reserved2, sizeof(header->reserved2))) {
        return QUIRE_CORRUPT;
    }
    return quire_log_same_set(header->set_id, set_id) && header->segment == segment ? QUIRE_OK : QUIRE_MISMATCH;
}

void quire_log_head_encode(const struct quire_log_geometry *g, const struct quire_log_batch *batch, const struct quire_log_entry *entries,
                           uint8_t *out) {
    struct quire_log_batch stored = *batch;
    size_t entries_bytes = stored.n_entries * sizeof(*entries);
    assert(stored.n_entries > 0 && stored.n_entries <= QUIRE_LOG_MAX_BATCH);
    stored.magic = QUIRE_LOG_MAGIC_BATCH;
    stored.version = QUIRE_LOG_VERSION;
    memset(stored.reserved, 0, sizeof(stored.reserved));
    memcpy(stored.set_id, g->set_id, sizeof(stored.set_id));
    stored.entries_check = quire_checksum(entries, entries_bytes);
    stored.check = QUIRE_LOG_SUM(&stored);
    quire_log_put_units(g, &stored, sizeof(stored), entries, entries_bytes, out);
}

/* The fixed part of a head; sizes are checked before anybody believes n_entries. */
static enum quire_status check_batch(const struct quire_log_geometry *g, const struct quire_log_batch *batch) {
    if (batch->magic != QUIRE_LOG_MAGIC_BATCH) {
        return QUIRE_CORRUPT;
    }
    if (batch->version != QUIRE_LOG_VERSION) {
        return QUIRE_VERSION;
    }
    bool plausible = batch->check == QUIRE_LOG_SUM(batch) && batch->n_entries > 0 && batch->n_entries <= QUIRE_LOG_MAX_BATCH &&
                     batch->at_units >= QUIRE_LOG_FIRST_BATCH && batch->size_units >= quire_log_head_units(g, batch->n_entries) &&
                     quire_in_range(batch->at_units, batch->size_units, g->segment_units - 1) &&
                     quire_log_is_zero(batch->reserved, sizeof(batch->reserved));
    return plausible ? QUIRE_OK : QUIRE_CORRUPT;
}

enum quire_status quire_log_head_decode(const struct quire_log_geometry *g, const uint8_t *in, size_t size, uint64_t epoch,
                                        uint32_t at_units, struct quire_log_batch *batch, struct quire_log_entry *entries) {
    assert(quire_log_geometry_valid(g));
    memset(batch, 0, sizeof(*batch));
    if (size < sizeof(*batch)) {
        return QUIRE_TOO_LARGE;
    }
    memcpy(batch, in, sizeof(*batch));
    QUIRE_FORWARD(check_batch(g, batch));
    if (batch->epoch != epoch || batch->at_units != at_units || !quire_log_same_set(batch->set_id, g->set_id)) {
        return QUIRE_MISMATCH;
    }
    if (size - sizeof(*batch) < batch->n_entries * sizeof(*entries)) {
        return QUIRE_TOO_LARGE;
    }
    return quire_log_entries_decode(g, in + sizeof(*batch), batch->n_entries, batch->entries_check,
                                    at_units + quire_log_head_units(g, batch->n_entries), at_units + batch->size_units, entries);
}

uint64_t quire_log_first_epoch(const struct quire_log_geometry *g, const uint8_t *in) {
    struct quire_log_batch batch;
    memcpy(&batch, in, sizeof(batch));
    bool is_first = check_batch(g, &batch) == QUIRE_OK && batch.at_units == QUIRE_LOG_FIRST_BATCH && quire_log_is_epoch(g, batch.epoch) &&
                    quire_log_same_set(batch.set_id, g->set_id);
    return is_first ? batch.epoch : 0;
}
