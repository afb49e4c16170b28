/*
 * Any bytes as a snapshot of the index: head, openings, chunks one behind the other. The first byte's high bit: sums, id and sizes are to
 * be made right, because a
 * forger can do that, too.
 */
#include "codec/log_snapshot.h"
#include "codec/checksum.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* What lies behind the head, cut into chunks as they would lie. */
static void correct_chunks(const struct quire_snapshot_head *head, uint8_t *bytes, size_t size) {
    for (uint32_t i = 0; i < quire_snapshot_chunks(head) && quire_snapshot_chunk_at(head, i + 1) <= size; i++) {
        struct quire_snapshot_chunk chunk;
        uint32_t n = quire_snapshot_chunk_entries(head, i);
        struct quire_snapshot_entry *entries = malloc(n * sizeof *entries);
        require(entries != NULL);
        uint8_t *at = bytes + quire_snapshot_chunk_at(head, i);
        memcpy(entries, at + sizeof chunk, n * sizeof *entries);
        quire_snapshot_chunk_seal(head->id, i, entries, n, &chunk);
        memcpy(at, &chunk, sizeof chunk);
        free(entries);
    }
}

/* As many entries as there is room for. */
static void correct(uint8_t *bytes, size_t size) {
    struct quire_snapshot_head head;
    memcpy(&head, bytes, sizeof head);
    head.n_openings %= 8;
    uint64_t from = quire_snapshot_chunks_at(&head) + sizeof(struct quire_snapshot_chunk);
    head.n_entries = size > from ? (size - from) / sizeof(struct quire_snapshot_entry) : 0;
    if (head.n_entries > QUIRE_SNAPSHOT_CHUNK || quire_snapshot_chunks_at(&head) > size) {
        return;
    }
    uint32_t openings[8] = {0};
    memcpy(openings, bytes + sizeof head, head.n_openings * sizeof openings[0]);
    quire_snapshot_head_encode(&head, openings, bytes);
    correct_chunks(&head, bytes, size);
}

static void look_at(const struct quire_snapshot_head *head, const uint8_t *bytes, size_t size) {
    const struct quire_log_geometry g = {.unit_bytes = head->unit_bytes, .segment_units = head->segment_units};
    struct quire_snapshot_entry *entries = malloc(QUIRE_SNAPSHOT_CHUNK * sizeof *entries);
    require(entries != NULL);
    for (uint32_t i = 0; i < quire_snapshot_chunks(head) && quire_snapshot_chunk_at(head, i + 1) <= size; i++) {
        uint32_t n = quire_snapshot_chunk_entries(head, i);
        require(n > 0 && n <= QUIRE_SNAPSHOT_CHUNK);
        if (quire_snapshot_chunk_decode(head, i, bytes + quire_snapshot_chunk_at(head, i), entries) != QUIRE_OK) {
            break;
        }
        for (uint32_t e = 0; e < n; e++) {
            require(entries[e].at_units >= 2 && entries[e].size_units > 0 && entries[e].error >= 0 && entries[e].group < QUIRE_MAX_GROUPS);
            require((uint64_t)entries[e].at_units + entries[e].size_units < g.segment_units && entries[e].segment < QUIRE_LOG_MAX_SEGMENTS);
        }
    }
    free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct quire_snapshot_head expected, head;
    if (size < 1 + sizeof head) {
        return 0;
    }
    uint8_t *bytes = malloc(--size);
    require(bytes != NULL);
    memcpy(bytes, data + 1, size);
    if (data[0] & 0x80) {
        correct(bytes, size);
    }
    memcpy(&expected, bytes, sizeof expected); /* whatever it says of itself is what was looked for */
    if (quire_snapshot_head_decode(bytes, &expected, &head) == QUIRE_OK && quire_snapshot_chunks_at(&head) <= size) {
        uint32_t *openings = malloc((size_t)head.n_openings * sizeof *openings + 1);
        require(openings != NULL);
        if (quire_snapshot_openings_decode(&head, bytes + sizeof head, openings) == QUIRE_OK) {
            look_at(&head, bytes, size);
        }
        free(openings);
    }
    free(bytes);
    return 0;
}
