/*
 * Any bytes as a batch's head, or as a segment's header. The first byte says how: bit 7, that sums are to be made right, as a forger would;
 * bit 6, that the epoch and the place that are asked for are those that the bytes state; bit 5, that it is a segment's header; its low bits the units.
 */
#include "codec/checksum.h"
#include "codec/log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EPOCH 0x2122232425262728ull
#define AT 6u
#define SEGMENT 5u

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void correct_sums(uint8_t *bytes, size_t size) {
    struct quire_log_batch batch;
    if (size < sizeof(batch)) {
        return;
    }
    memcpy(&batch, bytes, sizeof(batch));
    size_t entries_bytes = batch.n_entries * sizeof(struct quire_log_entry);
    if (batch.magic == QUIRE_LOG_MAGIC_BATCH && entries_bytes <= size - sizeof(batch)) {
        batch.entries_check = quire_checksum(bytes + sizeof(batch), entries_bytes);
    }
    batch.check = quire_checksum(&batch, offsetof(struct quire_log_batch, check)); /* a header's lies in the same place */
    memcpy(bytes, &batch, sizeof(batch));
}

/* Every record lies in the batch, none over another: a reader may fetch each one. */
static void look_at(const struct quire_log_geometry *g, const struct quire_log_batch *batch, const struct quire_log_entry *entries) {
    uint64_t free_from = (uint64_t)batch->at_units + quire_log_head_units(g, batch->n_entries);
    uint64_t batch_end = (uint64_t)batch->at_units + batch->size_units;
    require(batch->n_entries > 0 && batch->n_entries <= QUIRE_LOG_MAX_BATCH && batch_end < g->segment_units);
    for (uint32_t i = 0; i < batch->n_entries; i++) {
        require(quire_log_entry_valid(g, &entries[i]));
        if (entries[i].kind == QUIRE_LOG_RECORD) {
            require(entries[i].at_units >= free_from && entries[i].size_bytes > 0);
            free_from = (uint64_t)entries[i].at_units + (entries[i].size_bytes + (uint64_t)g->unit_bytes - 1) / g->unit_bytes;
            require(free_from <= batch_end);
        } else {
            require(entries[i].kind == QUIRE_LOG_TOMBSTONE && entries[i].at_units == 0);
        }
    }
}

static void decode_head(const struct quire_log_geometry *g, const uint8_t *bytes, size_t size, bool as_stated) {
    struct quire_log_batch batch;
    struct quire_log_entry *entries = malloc(QUIRE_LOG_MAX_BATCH * sizeof(*entries));
    uint64_t epoch = EPOCH;
    uint32_t at_units = AT;
    require(entries != NULL);
    if (as_stated && size >= sizeof(batch)) {
        memcpy(&epoch, bytes + offsetof(struct quire_log_batch, epoch), sizeof(epoch));
        memcpy(&at_units, bytes + offsetof(struct quire_log_batch, at_units), sizeof(at_units));
    }
    enum quire_status status = quire_log_head_decode(g, bytes, size, epoch, at_units, &batch, entries);
    if (status == QUIRE_OK) {
        require(batch.epoch == epoch && batch.at_units == at_units);
        look_at(g, &batch, entries);
        uint8_t *again = malloc((size_t)quire_log_head_units(g, batch.n_entries) * g->unit_bytes);
        require(again != NULL);
        quire_log_head_encode(g, &batch, entries, again);
        require(memcmp(again, bytes, sizeof(batch) + batch.n_entries * sizeof(*entries)) == 0);
        free(again);
    } else if (status == QUIRE_TOO_LARGE) {
        require(batch.n_entries <= QUIRE_LOG_MAX_BATCH && size < sizeof(batch) + batch.n_entries * sizeof(*entries));
    } else {
        require(status == QUIRE_CORRUPT || status == QUIRE_VERSION || status == QUIRE_MISMATCH);
    }
    free(entries);
}

static void decode_header(const struct quire_log_geometry *g, const uint8_t *bytes, size_t size) {
    struct quire_log_segment_header header;
    const uint8_t *set_id = bytes + offsetof(struct quire_log_segment_header, set_id);
    uint8_t *unit = malloc(g->unit_bytes);
    require(unit != NULL);
    if (size >= sizeof(header) && quire_log_segment_header_decode(g, bytes, set_id, SEGMENT, &header) == QUIRE_OK) {
        require(header.segment == SEGMENT && header.epoch > 0);
        quire_log_segment_header_encode(g, &header, unit);
        require(memcmp(unit, bytes, sizeof(header)) == 0);
    }
    free(unit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    const struct quire_log_geometry g = {.unit_bytes = 512u << (data[0] & 3), .segment_units = 64};
    uint8_t *bytes = malloc(size > 1 ? size - 1 : 1); /* exactly as long as what there is: a read behind it is seen */
    require(bytes != NULL);
    if (size > 1) {
        memcpy(bytes, data + 1, size - 1);
    }
    if (data[0] & 0x80) {
        correct_sums(bytes, size - 1);
    }
    if (data[0] & 0x20) {
        decode_header(&g, bytes, size - 1);
    } else {
        decode_head(&g, bytes, size - 1, (data[0] & 0x40) != 0);
    }
    free(bytes);
    return 0;
}
