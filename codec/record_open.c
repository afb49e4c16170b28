#include "codec/checksum.h"
#include "codec/record_internal.h"
#include "proto/base/bytes.h"
#include "proto/layout.h"

#include <math.h>

uint64_t quire_record_layout_tag(const uint8_t layout_digest[32]) { return quire_get_le64(layout_digest); }

static bool is_zero(const uint8_t *bytes, size_t size) {
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

static bool is_error(float value) { return isfinite(value) && value >= 0; }

static enum quire_status check_header(const struct quire_record_header *header, size_t size) {
    if (header->magic != QUIRE_RECORD_MAGIC) {
        return QUIRE_CORRUPT;
    }
    if (header->version != QUIRE_RECORD_VERSION) {
        return QUIRE_VERSION;
    }
    if (header->header_check != quire_checksum(header, offsetof(struct quire_record_header, header_check))) {
        return QUIRE_CORRUPT;
    }
    bool plausible = header->size_bytes <= size && header->payload_offset < header->size_bytes &&
                     header->payload_offset == quire_record_payload_offset(header->n_lane_groups) && header->rung == QUIRE_RUNG_RAW &&
                     header->error == 0 && is_error(header->ancestry_error) && (header->flags & ~QUIRE_RECORD_OPAQUE) == 0 &&
                     is_zero(header->reserved, sizeof(header->reserved));
    return plausible ? QUIRE_OK : QUIRE_CORRUPT;
}

/* The shape that the layout gives must be the shape that the header states. */
static enum quire_status check_shape(struct quire_record *record, const quire_layout *layout) {
    const struct quire_record_header *header = &record->header;
    if (layout->opaque != ((header->flags & QUIRE_RECORD_OPAQUE) != 0)) {
        return QUIRE_MISMATCH;
    }
    uint64_t payload_bytes = layout->opaque ? header->size_bytes - header->payload_offset : 0;
    if (quire_record_shape(layout, header->group, header->n_tokens, payload_bytes, &record->shape) != QUIRE_OK ||
        record->shape.size_bytes != header->size_bytes || record->shape.payload_offset != header->payload_offset ||
        record->shape.n_lanes != header->n_lane_groups) {
        return QUIRE_MISMATCH;
    }
    return QUIRE_OK;
}

static enum quire_status check_directory(const struct quire_record *record) {
    const struct quire_record_shape *shape = &record->shape;
    if (record->header.directory_check != quire_checksum(record->lanes, shape->n_lanes * sizeof(*record->lanes))) {
        return QUIRE_CORRUPT;
    }
    for (uint32_t lane = 0; lane < shape->n_lanes; lane++) {
        const struct quire_lane_entry *entry = &record->lanes[lane];
        if (entry->offset_bytes != quire_record_lane_offset(shape, lane) || entry->size_bytes != quire_record_lane_bytes(shape, lane) ||
            entry->rung != QUIRE_RUNG_RAW || entry->error != 0 || !is_zero(entry->reserved, sizeof(entry->reserved))) {
            return QUIRE_CORRUPT;
        }
    }
    return QUIRE_OK;
}

enum quire_status quire_record_open_tagged(const uint8_t *bytes, size_t size, const quire_layout *layout, uint64_t layout_tag,
                                           const quire_key *key, struct quire_record *record) {
    memset(record, 0, sizeof(*record));
    if ((uintptr_t)bytes % _Alignof(struct quire_lane_entry) != 0) {
        return QUIRE_INVALID;
    }
    if (size < sizeof(record->header)) {
        return QUIRE_CORRUPT;
    }
    record->bytes = bytes;
    memcpy(&record->header, bytes, sizeof(record->header));
    QUIRE_FORWARD(check_header(&record->header, size));
    if (record->header.layout_tag != layout_tag || (key != NULL && !quire_key_equal(&record->header.key, key))) {
        return QUIRE_MISMATCH;
    }
    QUIRE_FORWARD(check_shape(record, layout));
    record->lanes = (const struct quire_lane_entry *)(bytes + sizeof(record->header));
    return check_directory(record);
}

enum quire_status quire_record_open(const uint8_t *bytes, size_t size, const quire_layout *layout, const quire_key *key,
                                    struct quire_record *record) {
    uint8_t digest[32];
    QUIRE_FORWARD(quire_layout_digest(layout, digest));
    return quire_record_open_tagged(bytes, size, layout, quire_record_layout_tag(digest), key, record);
}

enum quire_status quire_record_verify_lane(const struct quire_record *record, uint32_t lane) {
    if (lane >= record->shape.n_lanes) {
        return QUIRE_INVALID;
    }
    const uint8_t *payload = record->bytes + quire_record_lane_offset(&record->shape, lane);
    uint64_t check = quire_checksum(payload, quire_record_lane_bytes(&record->shape, lane));
    return check == record->lanes[lane].check ? QUIRE_OK : QUIRE_CORRUPT;
}

enum quire_status quire_record_verify(const struct quire_record *record) {
    for (uint32_t lane = 0; lane < record->shape.n_lanes; lane++) {
        QUIRE_FORWARD(quire_record_verify_lane(record, lane));
    }
    return QUIRE_OK;
}

static bool is_wanted(const struct quire_lane_entry *lane, const struct quire_wire_range *ranges, uint32_t n_ranges) {
    bool wanted = n_ranges == 0;
    for (uint32_t i = 0; i < n_ranges && !wanted; i++) {
        wanted = ranges[i].offset < (uint64_t)lane->offset_bytes + lane->size_bytes &&
                 lane->offset_bytes < (uint64_t)ranges[i].offset + ranges[i].size;
    }
    return wanted;
}

/* What is looked at is a copy: the bytes may change on the way. */
enum quire_status quire_record_intact(const uint8_t *bytes, uint32_t size_bytes, uint8_t group, const quire_key *key,
                                      const struct quire_wire_range *ranges, uint32_t n_ranges) {
    struct quire_record_header header;
    if (size_bytes < sizeof(header)) {
        return QUIRE_CORRUPT;
    }
    memcpy(&header, bytes, sizeof(header));
    if (check_header(&header, size_bytes) != QUIRE_OK || header.size_bytes != size_bytes || header.group != group ||
        (key != NULL && !quire_key_equal(&header.key, key)) ||
        header.directory_check != quire_checksum(bytes + sizeof(header), header.n_lane_groups * sizeof(struct quire_lane_entry))) {
        return QUIRE_CORRUPT;
    }
    for (uint32_t i = 0; i < header.n_lane_groups; i++) {
        struct quire_lane_entry lane;
        memcpy(&lane, bytes + sizeof(header) + i * sizeof(lane), sizeof(lane));
        if (!quire_in_range(lane.offset_bytes, lane.size_bytes, size_bytes) ||
            (is_wanted(&lane, ranges, n_ranges) && quire_checksum(bytes + lane.offset_bytes, lane.size_bytes) != lane.check)) {
            return QUIRE_CORRUPT;
        }
    }
    return QUIRE_OK;
}
