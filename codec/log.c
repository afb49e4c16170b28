#include "codec/log_internal.h"
#include "codec/record_internal.h"

uint32_t quire_log_head_units(const struct quire_log_geometry *g, uint32_t n_entries) {
    return quire_log_units(g, sizeof(struct quire_log_batch) + (uint64_t)n_entries * sizeof(struct quire_log_entry));
}

uint32_t quire_log_footer_units(const struct quire_log_geometry *g, uint32_t n_entries) {
    return quire_log_units(g, (uint64_t)n_entries * sizeof(struct quire_log_entry));
}

enum quire_status quire_log_record_check(const uint8_t *record, size_t size, uint64_t *check) {
    struct quire_record_header header;
    *check = 0;
    if (size < sizeof(header)) {
        return QUIRE_CORRUPT;
    }
    memcpy(&header, record, sizeof(header));
    if (header.magic != QUIRE_RECORD_MAGIC) {
        return QUIRE_CORRUPT;
    }
    if (header.version != QUIRE_RECORD_VERSION) {
        return QUIRE_VERSION;
    }
    if (header.size_bytes > size || header.payload_offset >= header.size_bytes ||
        header.payload_offset != quire_record_payload_offset(header.n_lane_groups)) { /* which is at or behind the directory's end */
        return QUIRE_CORRUPT;
    }
    *check = quire_checksum(record, sizeof(header) + header.n_lane_groups * sizeof(struct quire_lane_entry));
    return QUIRE_OK;
}

/* Every size is looked at before it is used, although the entry's sum has vouched for them: a sum is no proof against intent. */
static enum quire_status verify_lanes(const uint8_t *record, const struct quire_record_header *header) {
    uint64_t directory_bytes = (uint64_t)header->n_lane_groups * sizeof(struct quire_lane_entry);
    if (!quire_in_range(sizeof(*header), directory_bytes, header->size_bytes)) {
        return QUIRE_CORRUPT;
    }
    for (uint32_t i = 0; i < header->n_lane_groups; i++) {
        struct quire_lane_entry lane;
        memcpy(&lane, record + sizeof(*header) + i * sizeof(lane), sizeof(lane));
        if (!quire_in_range(lane.offset_bytes, lane.size_bytes, header->size_bytes) ||
            quire_checksum(record + lane.offset_bytes, lane.size_bytes) != lane.check) {
            return QUIRE_CORRUPT;
        }
    }
    return QUIRE_OK;
}

enum quire_status quire_log_record_verify(const uint8_t *record, const struct quire_log_entry *entry) {
    struct quire_record_header header;
    uint64_t check;
    if (entry->size_bytes < sizeof(header)) {
        return QUIRE_CORRUPT;
    }
    memcpy(&header, record, sizeof(header));
    if (header.magic != QUIRE_RECORD_MAGIC || header.size_bytes != entry->size_bytes || header.group != entry->group ||
        !quire_key_equal(&header.key, &entry->key) || quire_log_record_check(record, entry->size_bytes, &check) != QUIRE_OK ||
        check != entry->check) {
        return QUIRE_CORRUPT;
    }
    return verify_lanes(record, &header);
}

static bool known_rung(uint8_t rung) {
    switch (rung) {
#define X(name, value, text) case value:
        QUIRE_RUNG_TABLE(X)
#undef X
        return true;
    default:
        return false;
    }
}

static bool record_valid(const struct quire_log_geometry *g, const struct quire_log_entry *entry) {
    return entry->size_bytes >= sizeof(struct quire_record_header) && entry->size_bytes <= QUIRE_MAX_RECORD_BYTES &&
           entry->at_units >= QUIRE_LOG_FIRST_RECORD &&
           quire_in_range(entry->at_units, quire_log_units(g, entry->size_bytes), g->segment_units - 1) && entry->n_tokens > 0;
}

bool quire_log_entry_valid(const struct quire_log_geometry *g, const struct quire_log_entry *entry) {
    const uint8_t both = QUIRE_LOG_PARENT_UNKNOWN | QUIRE_LOG_ROOT;
    if (entry->group >= QUIRE_MAX_GROUPS || !known_rung(entry->rung) || entry->n_tokens > QUIRE_MAX_BLOCK_TOKENS ||
        (entry->flags & ~both) != 0 || entry->flags == both || !quire_log_is_error(entry->error) ||
        !quire_log_is_error(entry->ancestry_error) || !quire_log_is_zero(entry->reserved, sizeof(entry->reserved))) {
        return false;
    }
    switch (entry->kind) {
    case QUIRE_LOG_RECORD:
        return record_valid(g, entry);
    case QUIRE_LOG_TOMBSTONE:
        return entry->size_bytes == 0 && entry->at_units == 0 && entry->check == 0;
    default:
        return false;
    }
}

enum quire_status quire_log_entries_decode(const struct quire_log_geometry *g, const uint8_t *in, uint32_t n_entries, uint64_t check,
                                           uint32_t from_units, uint32_t to_units, struct quire_log_entry *entries) {
    uint64_t sum = n_entries > 0 ? quire_copy_checksum(entries, in, n_entries * sizeof(*entries)) : quire_checksum("", 0);
    if (sum != check) {
        return QUIRE_CORRUPT;
    }
    for (uint32_t i = 0; i < n_entries; i++) {
        const struct quire_log_entry *entry = &entries[i];
        if (!quire_log_entry_valid(g, entry)) {
            return QUIRE_CORRUPT;
        }
        if (entry->kind != QUIRE_LOG_RECORD) {
            continue;
        }
        uint32_t end_units = entry->at_units + quire_log_units(g, entry->size_bytes);
        if (entry->at_units < from_units || end_units > to_units) {
            return QUIRE_CORRUPT;
        }
        from_units = end_units;
    }
    return QUIRE_OK;
}

uint32_t quire_log_put_units(const struct quire_log_geometry *g, const void *first, size_t first_bytes, const void *second,
                             size_t second_bytes, uint8_t *out) {
    size_t used_bytes = first_bytes + second_bytes;
    uint32_t units = quire_log_units(g, used_bytes);
    memcpy(out, first, first_bytes);
    if (second_bytes > 0) {
        memcpy(out + first_bytes, second, second_bytes);
    }
    memset(out + used_bytes, 0, (size_t)units * g->unit_bytes - used_bytes);
    return units;
}
