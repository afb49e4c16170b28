/*
 * Any bytes as a segment of the log: examining and mending it must not go astray, and what a repair writes must be read without damage and without a record
 * that was not whole before. Byte 0 says how: bits 0 and 1 the unit; bit 6, that a good segment is taken and the rest are changes to it (place, place, value);
 * else the rest is the segment. Bit 7: the sums of header, trailer and the first head are made right, as a forger would.
 */
#include "client/quirectl/log_segment.h"
#include "codec/checksum.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT 5u
#define UNITS 32u
#define EPOCH 7u

static const uint8_t set_id[16] = {1, 2, 3};

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* Two batches: a record that no sum fits, a deletion; another deletion. Sealed. */
static void good_segment(const struct quire_log_geometry *g, uint8_t *bytes) {
    const struct quire_log_segment_header header = {.epoch = EPOCH, .segment = SEGMENT, .set_id = {1, 2, 3}};
    struct quire_log_entry entries[3] = {
        {.sequence = 1, .ns = 1, .kind = QUIRE_LOG_TOMBSTONE},
        {.sequence = 2, .ns = 1, .at_units = 2, .size_bytes = 700, .n_tokens = 16, .kind = QUIRE_LOG_RECORD, .flags = QUIRE_LOG_ROOT},
        {.sequence = 3, .ns = 1, .kind = QUIRE_LOG_TOMBSTONE}};
    const struct quire_log_batch first = {.n_entries = 2, .epoch = EPOCH, .at_units = 1, .size_units = 1 + quire_log_units(g, 700)};
    const struct quire_log_batch second = {.n_entries = 1, .epoch = EPOCH, .at_units = 1 + first.size_units, .size_units = 1};
    const struct quire_log_trailer trailer = {
        .epoch = EPOCH, .set_id = {1, 2, 3}, .segment = SEGMENT, .n_entries = 3, .used_units = second.at_units + 1};
    quire_log_segment_header_encode(g, &header, bytes);
    quire_log_head_encode(g, &first, entries, bytes + g->unit_bytes);
    quire_log_head_encode(g, &second, entries + 2, bytes + (size_t)second.at_units * g->unit_bytes);
    quire_log_footer_encode(g, &trailer, entries, bytes + (size_t)(UNITS - 1 - quire_log_footer_units(g, 3)) * g->unit_bytes);
}

static void change(uint8_t *bytes, size_t bytes_size, const uint8_t *data, size_t size) {
    for (; size >= 3; data += 3, size -= 3) {
        bytes[(data[0] | (size_t)data[1] << 8) % bytes_size] ^= data[2];
    }
}

static void resum(uint8_t *structure) {
    uint64_t check = quire_checksum(structure, 56);
    memcpy(structure + 56, &check, sizeof check);
}

static void correct_sums(const struct quire_log_geometry *g, uint8_t *bytes) {
    uint8_t *head = bytes + g->unit_bytes, *trailer = bytes + (size_t)(UNITS - 1) * g->unit_bytes;
    uint16_t n;
    memcpy(&n, head + 6, sizeof n);
    if (n <= QUIRE_LOG_MAX_BATCH && 64u + n * sizeof(struct quire_log_entry) <= (size_t)(UNITS - 1) * g->unit_bytes) {
        uint64_t check = quire_checksum(head + 64, n * sizeof(struct quire_log_entry));
        memcpy(head + 24, &check, sizeof check);
    }
    resum(bytes);
    resum(head);
    resum(trailer);
}

static void look_at(const struct log_segment *s) {
    uint32_t records = 0, deletions = 0, bad = 0;
    for (uint32_t i = 0; i < s->n_entries; i++) {
        require(quire_log_entry_valid(s->geometry, &s->entries[i]));
        bad += s->bad[i];
        records += s->entries[i].kind == QUIRE_LOG_RECORD && !s->bad[i];
        deletions += s->entries[i].kind == QUIRE_LOG_TOMBSTONE;
    }
    require(records == s->n_records && deletions == s->n_tombstones && bad == s->n_bad);
    require(s->used_units < s->geometry->segment_units);
    for (uint32_t i = 0; i < s->n_damages; i++) {
        require(s->damages[i].at_units < s->geometry->segment_units && memchr(s->damages[i].text, 0, LOG_TEXT_BYTES) != NULL);
    }
}

static uint64_t older(void *ctx, const struct quire_log_entry *entry) {
    (void)ctx;
    return entry->sequence & 1 ? entry->sequence - 1 : 0;
}

/* What counts afterwards counted before, and a second look finds nothing that a repair could still write. */
static void look_again(const struct log_segment *before, uint8_t *bytes, const struct log_patches *patches) {
    for (uint32_t i = 0; i < patches->n; i++) {
        const struct log_patch *patch = &patches->patch[i];
        require(patch->units > 0 && patch->at_units < UNITS && patch->units <= UNITS - patch->at_units);
        memcpy(bytes + (size_t)patch->at_units * before->geometry->unit_bytes, patch->bytes,
               (size_t)patch->units * before->geometry->unit_bytes);
    }
    struct log_segment after = {.geometry = before->geometry, .set_id = set_id, .bytes = bytes, .number = SEGMENT, .verify = true};
    require(log_segment_examine(&after) == QUIRE_OK);
    look_at(&after);
    for (uint32_t i = 0; i < after.n_entries; i++) {
        bool known = after.entries[i].kind == QUIRE_LOG_TOMBSTONE || after.bad[i];
        for (uint32_t j = 0; j < before->n_entries; j++) {
            known = known || memcmp(&after.entries[i], &before->entries[j], sizeof after.entries[i]) == 0;
        }
        require(known);
    }
    require(after.n_records <= before->n_records && after.n_tombstones >= before->n_tombstones);
    log_segment_free(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    const struct quire_log_geometry g = {.unit_bytes = 512u << (data[0] & 3), .segment_units = UNITS};
    const size_t bytes_size = (size_t)UNITS * g.unit_bytes;
    uint8_t *bytes = calloc(1, bytes_size);
    require(bytes != NULL);
    if (data[0] & 0x40) {
        good_segment(&g, bytes);
        change(bytes, bytes_size, data + 1, size - 1);
    } else if (size > 1) {
        memcpy(bytes, data + 1, size - 1 < bytes_size ? size - 1 : bytes_size);
    }
    if (data[0] & 0x80) {
        correct_sums(&g, bytes);
    }
    struct log_segment segment = {.geometry = &g, .set_id = set_id, .bytes = bytes, .number = SEGMENT, .verify = true};
    struct log_patches patches;
    require(log_segment_examine(&segment) == QUIRE_OK);
    look_at(&segment);
    require(log_segment_mend(&segment, older, NULL, &patches) == QUIRE_OK);
    uint8_t *written = malloc(bytes_size);
    require(written != NULL);
    memcpy(written, bytes, bytes_size);
    look_again(&segment, written, &patches);
    log_patches_free(&patches);
    log_segment_free(&segment);
    free(written);
    free(bytes);
    return 0;
}
