#include "codec/log_snapshot.h"

#include "codec/log_internal.h"

/* ---- places --------------------------------------------------------------------------------------------------------------- */

static uint64_t openings_bytes(const struct quire_snapshot_head *head) { return (uint64_t)head->n_openings * sizeof(uint32_t); }

uint64_t quire_snapshot_chunks_at(const struct quire_snapshot_head *head) {
    return sizeof(*head) + quire_align_up(openings_bytes(head), 8);
}

uint32_t quire_snapshot_chunks(const struct quire_snapshot_head *head) {
    return (uint32_t)((head->n_entries + QUIRE_SNAPSHOT_CHUNK - 1) / QUIRE_SNAPSHOT_CHUNK);
}

uint32_t quire_snapshot_chunk_entries(const struct quire_snapshot_head *head, uint32_t number) {
    uint64_t before = (uint64_t)number * QUIRE_SNAPSHOT_CHUNK;
    return before < head->n_entries ? (uint32_t)quire_min_u64(head->n_entries - before, QUIRE_SNAPSHOT_CHUNK) : 0;
}

uint64_t quire_snapshot_chunk_at(const struct quire_snapshot_head *head, uint32_t number) {
    uint64_t before = quire_min_u64((uint64_t)number * QUIRE_SNAPSHOT_CHUNK, head->n_entries);
    return quire_snapshot_chunks_at(head) + number * sizeof(struct quire_snapshot_chunk) + before * sizeof(struct quire_snapshot_entry);
}

/* ---- head ----------------------------------------------------------------------------------------------------------------- */

void quire_snapshot_head_encode(const struct quire_snapshot_head *head, const uint32_t *openings, uint8_t *out) {
    struct quire_snapshot_head stored = *head;
    memset(out, 0, quire_snapshot_chunks_at(head));
    if (head->n_openings > 0) {
        memcpy(out + sizeof(stored), openings, openings_bytes(head));
    }
    stored.magic = QUIRE_SNAPSHOT_MAGIC;
    stored.version = QUIRE_SNAPSHOT_VERSION;
    memset(stored.reserved, 0, sizeof(stored.reserved));
    stored.openings_check = quire_checksum(out + sizeof(stored), openings_bytes(head));
    stored.check = QUIRE_LOG_SUM(&stored);
    memcpy(out, &stored, sizeof(stored));
}

static bool head_valid(const struct quire_snapshot_head *head) {
    const struct quire_log_geometry geometry = {.unit_bytes = head->unit_bytes, .segment_units = head->segment_units};
    return head->id != 0 && head->generation < QUIRE_LOG_GENERATIONS && head->n_entries <= QUIRE_SNAPSHOT_MAX_ENTRIES &&
           head->n_openings <= QUIRE_LOG_MAX_SEGMENTS && quire_log_geometry_valid(&geometry) &&
           quire_log_is_zero(head->reserved, sizeof(head->reserved));
}

enum quire_status quire_snapshot_head_decode(const uint8_t in[sizeof(struct quire_snapshot_head)],
                                             const struct quire_snapshot_head *expected, struct quire_snapshot_head *head) {
    memcpy(head, in, sizeof(*head));
    if (head->magic != QUIRE_SNAPSHOT_MAGIC) {
        return QUIRE_CORRUPT;
    }
    if (head->version != QUIRE_SNAPSHOT_VERSION) {
        return QUIRE_VERSION;
    }
    if (head->check != QUIRE_LOG_SUM(head) || !head_valid(head)) {
        return QUIRE_CORRUPT;
    }
    bool same = quire_log_same_set(head->set_id, expected->set_id) && head->generation == expected->generation &&
                head->id == expected->id && head->unit_bytes == expected->unit_bytes && head->segment_units == expected->segment_units;
    return same ? QUIRE_OK : QUIRE_MISMATCH;
}

enum quire_status quire_snapshot_openings_decode(const struct quire_snapshot_head *head, const uint8_t *in, uint32_t *openings) {
    size_t bytes = openings_bytes(head), whole = quire_align_up(bytes, 8);
    if (bytes > 0) {
        memcpy(openings, in, bytes);
    }
    bool right = quire_checksum(openings, bytes) == head->openings_check && quire_log_is_zero(in + bytes, whole - bytes);
    return right ? QUIRE_OK : QUIRE_CORRUPT;
}

/* ---- chunks --------------------------------------------------------------------------------------------------------------- */

void quire_snapshot_chunk_seal(uint64_t id, uint32_t number, const struct quire_snapshot_entry *entries, uint32_t n_entries,
                               struct quire_snapshot_chunk *chunk) {
    *chunk = (struct quire_snapshot_chunk){.id = id, .number = number, .n_entries = n_entries};
    chunk->entries_check = quire_checksum(entries, n_entries * sizeof(*entries));
    chunk->check = QUIRE_LOG_SUM(chunk);
}

bool quire_snapshot_entry_valid(const struct quire_log_geometry *g, const struct quire_snapshot_entry *entry) {
    if (!quire_log_is_epoch(g, entry->epoch) || entry->segment >= QUIRE_LOG_MAX_SEGMENTS ||
        !quire_log_is_zero(entry->reserved, sizeof(entry->reserved))) {
        return false;
    }
    if (entry->kind != QUIRE_SNAPSHOT_RECORD) {
        struct quire_snapshot_entry alone = {.epoch = entry->epoch, .segment = entry->segment, .kind = entry->kind};
        if (entry->kind == QUIRE_SNAPSHOT_REMAIN) {
            alone.key = entry->key;
            alone.ns = entry->ns;
        }
        return entry->kind <= QUIRE_SNAPSHOT_DOUBT && memcmp(entry, &alone, sizeof(alone)) == 0;
    }
    if (entry->size_units == 0 || entry->size_units > g->segment_units) {
        return false;
    }
    const struct quire_log_entry record = {
        .at_units = entry->at_units,
        .size_bytes = entry->size_units * g->unit_bytes,
        .error = entry->error,
        .ancestry_error = entry->ancestry_error,
        .n_tokens = entry->n_tokens,
        .group = entry->group,
        .rung = entry->rung,
        .kind = QUIRE_LOG_RECORD,
        .flags = entry->flags,
    };
    return quire_log_entry_valid(g, &record);
}

enum quire_status quire_snapshot_chunk_decode(const struct quire_snapshot_head *head, uint32_t number, const uint8_t *in,
                                              struct quire_snapshot_entry *entries) {
    const struct quire_log_geometry geometry = {
        .unit_bytes = head->unit_bytes, .segment_units = head->segment_units, .generation = head->generation};
    struct quire_snapshot_chunk chunk;
    uint32_t n = quire_snapshot_chunk_entries(head, number);
    memcpy(&chunk, in, sizeof(chunk));
    if (n == 0 || chunk.check != QUIRE_LOG_SUM(&chunk) || chunk.id != head->id || chunk.number != number || chunk.n_entries != n) {
        return QUIRE_CORRUPT;
    }
    if (quire_copy_checksum(entries, in + sizeof(chunk), n * sizeof(*entries)) != chunk.entries_check) {
        return QUIRE_CORRUPT;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!quire_snapshot_entry_valid(&geometry, &entries[i])) {
            return QUIRE_CORRUPT;
        }
    }
    return QUIRE_OK;
}
