#include "codec/log_internal.h"

void quire_log_footer_encode(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer,
                             const struct quire_log_entry *entries, uint8_t *out) {
    struct quire_log_trailer stored = *trailer;
    size_t entries_bytes = stored.n_entries * sizeof(*entries);
    uint32_t footer_units = 0;
    if (stored.n_entries > 0) {
        footer_units = quire_log_put_units(g, entries, entries_bytes, NULL, 0, out);
    }
    assert(footer_units < g->segment_units);
    stored.magic = QUIRE_LOG_MAGIC_TRAILER;
    stored.version = QUIRE_LOG_VERSION;
    stored.footer_units = g->segment_units - 1 - footer_units;
    stored.entries_check = quire_checksum(entries_bytes > 0 ? (const void *)entries : "", entries_bytes);
    stored.check = QUIRE_LOG_SUM(&stored);
    quire_log_put_units(g, &stored, sizeof(stored), NULL, 0, out + (size_t)footer_units * g->unit_bytes);
}

/* The footer ends where the trailer begins, and begins behind the last batch. */
static bool sizes_valid(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer) {
    uint32_t footer_units = quire_log_footer_units(g, trailer->n_entries);
    return footer_units < g->segment_units && trailer->footer_units == g->segment_units - 1 - footer_units &&
           trailer->used_units >= QUIRE_LOG_FIRST_BATCH && trailer->used_units <= trailer->footer_units;
}

enum quire_status quire_log_trailer_decode(const struct quire_log_geometry *g, const uint8_t *in, const uint8_t set_id[16],
                                           uint32_t segment, struct quire_log_trailer *trailer) {
    assert(quire_log_geometry_valid(g));
    memcpy(trailer, in, sizeof(*trailer));
    if (trailer->magic != QUIRE_LOG_MAGIC_TRAILER) {
        return QUIRE_CORRUPT;
    }
    if (trailer->version != QUIRE_LOG_VERSION) {
        return QUIRE_VERSION;
    }
    if (trailer->check != QUIRE_LOG_SUM(trailer) || !quire_log_is_epoch(g, trailer->epoch) || !sizes_valid(g, trailer)) {
        return QUIRE_CORRUPT;
    }
    return quire_log_same_set(trailer->set_id, set_id) && trailer->segment == segment ? QUIRE_OK : QUIRE_MISMATCH;
}

enum quire_status quire_log_footer_decode(const struct quire_log_geometry *g, const struct quire_log_trailer *trailer, const uint8_t *in,
                                          struct quire_log_entry *entries) {
    assert(quire_log_geometry_valid(g));
    if (!sizes_valid(g, trailer)) {
        return QUIRE_CORRUPT;
    }
    return quire_log_entries_decode(g, in, trailer->n_entries, trailer->entries_check, QUIRE_LOG_FIRST_RECORD, trailer->used_units,
                                    entries);
}
