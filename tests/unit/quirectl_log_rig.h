/*
 * A set of two small files of the disk tier, made as codec/LOG.md says, and a reader of it that was written from that page alone: what a restart would find,
 * and which of it a read would verify.
 */
#ifndef TESTS_UNIT_QUIRECTL_LOG_RIG_H
#define TESTS_UNIT_QUIRECTL_LOG_RIG_H

#include "client/quirectl/commands.h"
#include "codec/log.h"
#include "codec/log_meta.h"
#include "tests/unit/codec_sample.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RIG_NS 3u
#define RIG_FILES 2u
#define RIG_FILE_SEGMENTS 4u
#define RIG_UNITS 96u
#define RIG_SEGMENT_BYTES (RIG_UNITS * 512u)
#define RIG_FILE_BYTES (QUIRE_LOG_FIRST_SEGMENT + RIG_FILE_SEGMENTS * RIG_SEGMENT_BYTES)
#define RIG_SEGMENTS (RIG_FILES * RIG_FILE_SEGMENTS)
#define RIG_KEYS 64u

static const struct quire_log_geometry rig_log = {.unit_bytes = 512, .segment_units = RIG_UNITS, .set_id = {0x5e, 0x7}};
static const uint8_t rig_set[16] = {0x5e, 0x7};

struct rig {
    char folder[64], path[RIG_FILES][96], meta[112];
    uint8_t *image[RIG_FILES]; /* the files' bytes as they were made */
    /* The segment that is being filled */
    uint32_t segment, at_units;
    uint64_t epoch, sequence;
    struct quire_log_entry entries[512];
    uint32_t n_entries;
};

static inline uint8_t *rig_segment(struct rig *rig, uint32_t segment) {
    return rig->image[segment / RIG_FILE_SEGMENTS] + QUIRE_LOG_FIRST_SEGMENT + (segment % RIG_FILE_SEGMENTS) * RIG_SEGMENT_BYTES;
}

static inline quire_key rig_key(uint32_t number) {
    quire_key key = {{0}};
    memset(key.b, 0xc3, sizeof key.b);
    memcpy(key.b, &number, sizeof number);
    return key;
}

static inline void rig_superblock(struct rig *rig, uint32_t file, uint32_t copy, uint64_t generation, uint32_t flags) {
    struct quire_log_superblock superblock = {.generation = generation,
                                              .created_s = 1700000000,
                                              .file_index = (uint16_t)file,
                                              .n_files = RIG_FILES,
                                              .unit_bytes = rig_log.unit_bytes,
                                              .segment_units = rig_log.segment_units,
                                              .n_segments = RIG_FILE_SEGMENTS,
                                              .first_number = file * RIG_FILE_SEGMENTS,
                                              .flags = flags};
    memcpy(superblock.set_id, rig_set, sizeof rig_set);
    memset(superblock.file_id, 0xf0 + (int)file, sizeof superblock.file_id);
    quire_log_superblock_encode(&superblock, rig->image[file] + (size_t)copy * QUIRE_LOG_SUPERBLOCK_STRIDE);
}

static inline void rig_open_segment(struct rig *rig, uint32_t segment, uint64_t epoch, uint64_t tail_epoch) {
    struct quire_log_segment_header header = {.epoch = epoch, .segment = segment, .tail_epoch = tail_epoch};
    memcpy(header.set_id, rig_set, sizeof rig_set);
    quire_log_segment_header_encode(&rig_log, &header, rig_segment(rig, segment));
    rig->segment = segment;
    rig->epoch = epoch;
    rig->at_units = 1;
    rig->n_entries = 0;
}

/* The record of a key, another one for each sequence; returns its size. */
static inline uint32_t rig_record(uint32_t number, uint64_t sequence, uint8_t *to, uint64_t *check) {
    static quire_layout layout;
    struct dice dice = {number * 1000003u + sequence};
    quire_key key = rig_key(number);
    layout = sample_layout(2, 1, 8, 8, QUIRE_F16, 16);
    struct quire_record_shape shape = shape_of(&layout, 16, 0);
    uint8_t *payload = random_payload(&dice, payload_bytes_of(&shape)), *record = sealed_record(&layout, &shape, &key, payload);
    memcpy(to, record, shape.size_bytes);
    cr_assert_eq(quire_log_record_check(record, shape.size_bytes, check), QUIRE_OK);
    free(payload);
    free(record);
    return shape.size_bytes;
}

/* One write: records of the keys given, negative ones deleted (key −n); 0 ends the list. */
static inline void rig_batch(struct rig *rig, const int *keys) {
    struct quire_log_entry entries[32];
    uint32_t n = 0;
    while (keys[n] != 0) {
        n++;
    }
    struct quire_log_batch batch = {.n_entries = (uint16_t)n, .epoch = rig->epoch, .at_units = rig->at_units};
    uint32_t at = rig->at_units + quire_log_head_units(&rig_log, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = (uint32_t)abs(keys[i]);
        entries[i] = (struct quire_log_entry){
            .key = rig_key(number), .sequence = ++rig->sequence, .ns = RIG_NS, .kind = QUIRE_LOG_TOMBSTONE, .flags = QUIRE_LOG_ROOT};
        if (keys[i] > 0) {
            entries[i].kind = QUIRE_LOG_RECORD;
            entries[i].at_units = at;
            entries[i].n_tokens = 16;
            entries[i].size_bytes = rig_record(number, rig->sequence, rig_segment(rig, rig->segment) + (size_t)at * 512, &entries[i].check);
            at += quire_log_units(&rig_log, entries[i].size_bytes);
        }
        rig->entries[rig->n_entries++] = entries[i];
    }
    batch.size_units = at - rig->at_units;
    quire_log_head_encode(&rig_log, &batch, entries, rig_segment(rig, rig->segment) + (size_t)rig->at_units * 512);
    rig->at_units = at;
    cr_assert_lt(at, RIG_UNITS - 1);
}
#define BATCH(rig, ...) rig_batch((rig), (const int[]){__VA_ARGS__, 0})

static inline void rig_seal(struct rig *rig) {
    struct quire_log_trailer trailer = {
        .epoch = rig->epoch, .segment = rig->segment, .n_entries = rig->n_entries, .used_units = rig->at_units};
    uint32_t units = quire_log_footer_units(&rig_log, rig->n_entries);
    memcpy(trailer.set_id, rig_set, sizeof rig_set);
    cr_assert_leq(rig->at_units + units, RIG_UNITS - 1);
    quire_log_footer_encode(&rig_log, &trailer, rig->entries, rig_segment(rig, rig->segment) + (size_t)(RIG_UNITS - 1 - units) * 512);
}

static inline void rig_write_file(const char *path, const uint8_t *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "%s", path);
    close(fd);
}

/* As the image says, metadata included. */
static inline void rig_write(struct rig *rig) {
    static uint8_t meta[65536];
    uint8_t ids[RIG_FILES][16];
    quire_layout layout = sample_layout(2, 1, 8, 8, QUIRE_F16, 16);
    uint8_t wire[4096];
    size_t wire_bytes, size;
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        rig_write_file(rig->path[i], rig->image[i], RIG_FILE_BYTES);
        memset(ids[i], 0xf0 + (int)i, 16);
    }
    cr_assert_eq(quire_layout_encode(&layout, wire, sizeof wire, &wire_bytes), QUIRE_OK);
    struct quire_meta_head head = {.generation = 4, .next_serial = 9, .n_namespaces = 1, .n_files = RIG_FILES};
    const struct quire_meta_item item = {.serial = RIG_NS,
                                         .name = "story",
                                         .domain = "default",
                                         .layout = wire,
                                         .name_bytes = 5,
                                         .domain_bytes = 7,
                                         .layout_bytes = (uint32_t)wire_bytes};
    memcpy(head.set_id, rig_set, sizeof rig_set);
    cr_assert_eq(quire_meta_encode(&head, &item, NULL, (const uint8_t(*)[16])ids, meta, sizeof meta, &size), QUIRE_OK);
    rig_write_file(rig->meta, meta, size);
}

static inline void rig_read_back(const struct rig *rig, uint32_t file, uint8_t *to) {
    int fd = open(rig->path[file], O_RDONLY);
    cr_assert(fd >= 0 && read(fd, to, RIG_FILE_BYTES) == (ssize_t)RIG_FILE_BYTES);
    close(fd);
}

/*
 * The story in the files:
 *   segment 0  epoch 1, emptied since: its bytes are damaged, and nobody minds
 *   segment 1  epoch 2, sealed: keys 1 to 8; 5 and 9 have older records here
 *   segment 4  epoch 3, sealed: 9 again, 10 to 12, 2 deleted; a batch of deletions only
 *   segment 5  epoch 4, sealed: 5 again, 13, 3 deleted, 14
 *   segment 2  epoch 5, open: 15, 16; 4 deleted; 17, 18. What was there before it was used again (epoch 1) still lies behind
 */
static inline void rig_make(struct rig *rig) {
    *rig = (struct rig){0};
    const char *folder = getenv("TMPDIR");
    snprintf(rig->folder, sizeof rig->folder, "%.40s/quire-log-XXXXXX", folder != NULL ? folder : "/tmp");
    cr_assert_not_null(mkdtemp(rig->folder));
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        snprintf(rig->path[i], sizeof rig->path[i], "%s/log%u", rig->folder, i);
        rig->image[i] = calloc(1, RIG_FILE_BYTES);
        rig_superblock(rig, i, 0, 3, 0);
        rig_superblock(rig, i, 1, 4, 0);
    }
    snprintf(rig->meta, sizeof rig->meta, "%s.meta", rig->path[0]);
    rig_open_segment(rig, 2, 1, 0); /* used again below */
    BATCH(rig, 40, 41);
    BATCH(rig, 42);
    for (int i = 0; i < 12; i++) {
        BATCH(rig, 43);
    }
    rig_open_segment(rig, 0, 1, 0);
    BATCH(rig, 50, 51);
    rig_seal(rig);
    rig_segment(rig, 0)[2000] ^= 1;
    rig_open_segment(rig, 1, 2, 0);
    BATCH(rig, 1, 2, 3, 4);
    BATCH(rig, 5, 6);
    BATCH(rig, 9, 7, 8);
    rig_seal(rig);
    rig_open_segment(rig, 4, 3, 0);
    BATCH(rig, 9, 10);
    BATCH(rig, -2, -30);
    BATCH(rig, 11, 12);
    rig_seal(rig);
    rig_open_segment(rig, 5, 4, 2);
    BATCH(rig, 5);
    BATCH(rig, 13, -3, 14);
    rig_seal(rig);
    rig_open_segment(rig, 2, 5, 2);
    BATCH(rig, 15, 16);
    BATCH(rig, -4);
    BATCH(rig, 17, 18);
    rig_write(rig);
}

static inline void rig_end(struct rig *rig) {
    for (uint32_t i = 0; i < RIG_FILES; i++) {
        unlink(rig->path[i]);
        free(rig->image[i]);
    }
    unlink(rig->meta);
    rmdir(rig->folder);
}

/* ---- the reader ----------------------------------------------------------------------------------------------------------- */

struct rig_found {
    uint64_t sequence[RIG_KEYS]; /* of the record that counts and is whole; 0: a miss */
    uint64_t highest[RIG_KEYS], buried[RIG_KEYS];
};

struct rig_row {
    uint64_t epoch;
    struct quire_log_entry entries[600];
    uint32_t n;
};

static inline void rig_read_segment(const uint8_t *bytes, uint32_t segment, struct rig_row *row, uint64_t *tail_epoch) {
    static struct quire_log_entry heads[QUIRE_LOG_MAX_BATCH];
    struct quire_log_segment_header header;
    struct quire_log_trailer trailer;
    struct quire_log_batch batch;
    bool begins = quire_log_segment_header_decode(&rig_log, bytes, rig_set, segment, &header) == QUIRE_OK;
    bool ends = quire_log_trailer_decode(&rig_log, bytes + (RIG_UNITS - 1) * 512, rig_set, segment, &trailer) == QUIRE_OK;
    row->n = 0;
    uint64_t last = ends ? trailer.epoch : 0, first = quire_log_first_epoch(&rig_log, bytes + 512);
    row->epoch = begins ? header.epoch : first > last ? first : last;
    if (row->epoch == 0) {
        return;
    }
    uint64_t tail = begins ? header.tail_epoch : ends && first > last ? last + 1 : 0;
    *tail_epoch = tail > *tail_epoch ? tail : *tail_epoch;
    bool bad = !begins;
    if (ends && trailer.epoch == row->epoch && trailer.n_entries < 600 &&
        quire_log_footer_decode(&rig_log, &trailer, bytes + (size_t)trailer.footer_units * 512, row->entries) == QUIRE_OK) {
        for (uint32_t i = 0; i < trailer.n_entries; i++) {
            if (!bad || row->entries[i].kind == QUIRE_LOG_TOMBSTONE) {
                row->entries[row->n++] = row->entries[i];
            }
        }
        return;
    }
    for (uint32_t at = 1; at < RIG_UNITS - 1; at += batch.size_units) {
        if (quire_log_head_decode(&rig_log, bytes + (size_t)at * 512, (RIG_UNITS - at) * 512u, row->epoch, at, &batch, heads) != QUIRE_OK) {
            return;
        }
        for (uint32_t i = 0; i < batch.n_entries; i++) {
            bad = bad || (heads[i].kind == QUIRE_LOG_RECORD &&
                          quire_log_record_verify(bytes + (size_t)heads[i].at_units * 512, &heads[i]) != QUIRE_OK);
            if (heads[i].kind == QUIRE_LOG_TOMBSTONE || !bad) {
                row->entries[row->n++] = heads[i];
            }
        }
    }
}

/* What a daemon that starts on these bytes answers: for each key the sequence of the record that it would serve. */
static inline void rig_look(uint8_t *const files[RIG_FILES], struct rig_found *found) {
    static struct rig_row rows[RIG_SEGMENTS];
    uint64_t tail_epoch = 0;
    memset(found, 0, sizeof *found);
    for (uint32_t s = 0; s < RIG_SEGMENTS; s++) {
        const uint8_t *bytes = files[s / RIG_FILE_SEGMENTS] + QUIRE_LOG_FIRST_SEGMENT + (size_t)(s % RIG_FILE_SEGMENTS) * RIG_SEGMENT_BYTES;
        rig_read_segment(bytes, s, &rows[s], &tail_epoch);
    }
    for (unsigned pass = 0; pass < 2; pass++) { /* deletions first */
        for (uint32_t s = 0; s < RIG_SEGMENTS; s++) {
            for (uint32_t i = 0; rows[s].epoch >= tail_epoch && i < rows[s].n; i++) {
                const struct quire_log_entry *entry = &rows[s].entries[i];
                uint32_t number;
                memcpy(&number, entry->key.b, sizeof number);
                cr_assert_lt(number, RIG_KEYS);
                if (pass == 0 && entry->kind == QUIRE_LOG_TOMBSTONE && entry->sequence > found->buried[number]) {
                    found->buried[number] = entry->sequence;
                }
                if (pass == 0 || entry->kind == QUIRE_LOG_TOMBSTONE || entry->sequence < found->highest[number] ||
                    entry->sequence < found->buried[number]) {
                    continue;
                }
                const uint8_t *record = files[s / RIG_FILE_SEGMENTS] + QUIRE_LOG_FIRST_SEGMENT +
                                        (size_t)(s % RIG_FILE_SEGMENTS) * RIG_SEGMENT_BYTES + (size_t)entry->at_units * 512;
                bool whole = quire_log_record_verify(record, entry) == QUIRE_OK;
                found->highest[number] = entry->sequence;
                found->sequence[number] = whole ? entry->sequence : 0;
            }
        }
    }
}

#endif
