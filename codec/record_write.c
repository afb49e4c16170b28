#include "codec/checksum.h"
#include "codec/checksum_kernel.h"
#include "codec/combine.h"
#include "codec/record_internal.h"

static uint64_t fill_lane(uint8_t *record, const struct quire_record_shape *shape, uint32_t lane, const uint8_t *payload, bool stream) {
    struct quire_lane_entry entry = {
        .offset_bytes = quire_record_lane_offset(shape, lane),
        .size_bytes = quire_record_lane_bytes(shape, lane),
        .rung = QUIRE_RUNG_RAW,
    };
    uint64_t end = (uint64_t)entry.offset_bytes + entry.size_bytes;
    uint64_t padded_end = quire_min_u64(quire_align_up(end, QUIRE_RECORD_ALIGN), shape->size_bytes);
    entry.check = quire_sum_copy(record + entry.offset_bytes, payload, entry.size_bytes, stream);
    /* What lay here before belongs to another block: a guest gets padding too. */
    memset(record + end, 0, padded_end - end);
    memcpy(record + sizeof(struct quire_record_header) + lane * sizeof(entry), &entry, sizeof(entry));
    return entry.check;
}

uint64_t quire_record_fill_lane(uint8_t *record, const struct quire_record_shape *shape, uint32_t lane, const uint8_t *payload) {
    bool stream = quire_stream_wanted(record, quire_record_lane_bytes(shape, lane));
    uint64_t check = fill_lane(record, shape, lane, payload, stream);
    if (stream) {
        quire_stream_end();
    }
    return check;
}

/* Fills n_lanes from `first` on; returns how many payload bytes that took. */
static uint64_t fill_lanes(uint8_t *record, const struct quire_record_shape *shape, uint32_t first, uint32_t n_lanes,
                           const uint8_t *payload, bool stream, struct quire_combine *combine) {
    uint64_t used = 0;
    for (uint32_t lane = first; lane < first + n_lanes; lane++) {
        quire_combine_add(combine, fill_lane(record, shape, lane, payload + used, stream));
        used += quire_record_lane_bytes(shape, lane);
    }
    return used;
}

enum quire_status quire_record_fill_rect(uint8_t *record, const struct quire_record_shape *shape, const quire_rect *rect,
                                         const uint8_t *payload, uint64_t payload_bytes, uint64_t check) {
    uint64_t expected = shape->size_bytes - shape->payload_offset;
    if (!shape->opaque) {
        if (!quire_rect_fits(rect, shape)) {
            return QUIRE_INVALID;
        }
        expected = quire_rect_payload_bytes(rect, shape);
    }
    if (payload_bytes != expected) {
        return QUIRE_INVALID;
    }
    struct quire_combine combine;
    bool stream = quire_stream_wanted(record, payload_bytes);
    quire_combine_begin(&combine);
    if (shape->opaque) {
        fill_lanes(record, shape, 0, shape->n_lanes, payload, stream, &combine);
    } else {
        for (uint32_t i = 0; i < rect->n_layers * quire_record_kinds(shape); i++) {
            uint32_t layer = rect->first_layer + i / quire_record_kinds(shape);
            uint32_t first = quire_record_lane(shape, layer, i % quire_record_kinds(shape), rect->first_head);
            payload += fill_lanes(record, shape, first, rect->n_heads, payload, stream, &combine);
        }
    }
    if (stream) {
        quire_stream_end();
    }
    return quire_combine_end(&combine) == check ? QUIRE_OK : QUIRE_CORRUPT;
}

uint64_t quire_record_combine(const uint64_t *lane_checks, uint32_t n_lanes) {
    return quire_checksum(lane_checks, n_lanes * sizeof(*lane_checks));
}

void quire_record_seal(uint8_t *record, const struct quire_record_shape *shape, const struct quire_record_facts *facts) {
    uint8_t *directory = record + sizeof(struct quire_record_header);
    size_t directory_bytes = shape->n_lanes * sizeof(struct quire_lane_entry);
    struct quire_record_header header = {
        .magic = QUIRE_RECORD_MAGIC,
        .version = QUIRE_RECORD_VERSION,
        .group = facts->group,
        .rung = QUIRE_RUNG_RAW,
        .key = facts->key,
        .layout_tag = facts->layout_tag,
        .sequence = facts->sequence,
        .size_bytes = shape->size_bytes,
        .payload_offset = shape->payload_offset,
        .n_lane_groups = shape->n_lanes,
        .n_tokens = (uint16_t)shape->n_tokens,
        .flags = shape->opaque ? QUIRE_RECORD_OPAQUE : 0,
        .ancestry_error = facts->ancestry_error,
        .directory_check = quire_checksum(directory, directory_bytes),
    };
    header.header_check = quire_checksum(&header, offsetof(struct quire_record_header, header_check));
    memset(directory + directory_bytes, 0, shape->payload_offset - sizeof(header) - directory_bytes);
    memcpy(record, &header, sizeof(header));
}

uint64_t quire_record_check_opaque(const struct quire_record_shape *shape, uint8_t *to, const void *from, size_t size) {
    struct quire_combine combine;
    bool stream = quire_stream_wanted(to, size);
    assert(shape->opaque && size == shape->size_bytes - shape->payload_offset);
    quire_combine_begin(&combine);
    for (size_t at = 0; at < size; at += QUIRE_CHUNK_BYTES) {
        size_t chunk_bytes = quire_min_u64(QUIRE_CHUNK_BYTES, size - at);
        quire_combine_add(&combine, quire_sum_copy(to + at, (const uint8_t *)from + at, chunk_bytes, stream));
    }
    if (stream) {
        quire_stream_end();
    }
    return quire_combine_end(&combine);
}
