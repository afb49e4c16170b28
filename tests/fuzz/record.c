/*
 * Any bytes as a record of one of a few layouts. The first byte says which, and with its high bit that tag and sums are to be made
 * right first: a forger can compute them too. What opens must be readable to its end: verified, scattered, copied.
 */
#include "codec/record.h"
#include "codec/checksum.h"
#include "proto/layout.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAYOUTS 4
#define MAX_LAYERS 4

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static quire_layout layout_of(unsigned which) {
    quire_layout layout = {.n_layers = 2, .n_groups = 1, .block_tokens = 8, .kv_src = {0, 1}};
    layout.group[0] = (quire_group){.n_kv_heads = 2, .k_dim = 4, .v_dim = 2, .elem = QUIRE_F16};
    switch (which) {
    case 0:
        break;
    case 1: /* two groups, one without V */
        layout.n_groups = 2;
        layout.group_of[1] = 1;
        layout.group[1] = (quire_group){.window_tokens = 8, .n_kv_heads = 1, .k_dim = 33, .elem = QUIRE_I8};
        break;
    case 2: /* lanes longer than a block of the sum */
        layout.group[0] = (quire_group){.n_kv_heads = 1, .k_dim = 256, .v_dim = 128, .elem = QUIRE_F32};
        break;
    default:
        layout = (quire_layout){.block_tokens = 8, .opaque = true, .engine = "e", .engine_format = "1"};
    }
    return layout;
}

static void correct_sums(uint8_t *bytes, size_t size, uint64_t layout_tag) {
    struct quire_record_header header;
    if (size < sizeof(header)) {
        return;
    }
    memcpy(&header, bytes, sizeof(header));
    header.layout_tag = layout_tag;
    if (header.n_lane_groups <= (size - sizeof(header)) / sizeof(struct quire_lane_entry)) {
        header.directory_check = quire_checksum(bytes + sizeof(header), header.n_lane_groups * sizeof(struct quire_lane_entry));
    }
    header.header_check = quire_checksum(&header, offsetof(struct quire_record_header, header_check));
    memcpy(bytes, &header, sizeof(header));
}

static void copy_out(const struct quire_record *record) {
    const struct quire_record_shape *shape = &record->shape;
    size_t capacity = shape->size_bytes, copied;
    uint8_t *out = malloc(capacity);
    require(out != NULL);
    if (shape->opaque) {
        quire_record_copy_opaque(record, out, capacity, &copied, true);
        require(quire_record_copy_opaque(record, out, capacity, &copied, false) == QUIRE_OK);
    } else {
        void *k_base[MAX_LAYERS], *v_base[MAX_LAYERS];
        size_t row = shape->k_lane_bytes / shape->n_tokens, v_row = shape->v_lane_bytes / shape->n_tokens, at = 0;
        require(shape->n_layers <= MAX_LAYERS);
        for (uint32_t l = 0; l < shape->n_layers; l++) { /* token-major */
            k_base[l] = out + at;
            v_base[l] = out + at + (size_t)shape->k_lane_bytes * shape->n_heads;
            at += ((size_t)shape->k_lane_bytes + shape->v_lane_bytes) * shape->n_heads;
        }
        require(at <= capacity);
        struct quire_scatter to = {
            .rect = {0, (uint16_t)shape->n_layers, 0, (uint16_t)shape->n_heads},
            .k_base = k_base,
            .v_base = v_base,
            .k_head_stride = (int64_t)row,
            .k_token_stride = (int64_t)(row * shape->n_heads),
            .v_head_stride = (int64_t)v_row,
            .v_token_stride = (int64_t)(v_row * shape->n_heads),
        };
        enum quire_status verified = quire_record_scatter(record, &to, true);
        require(verified == quire_record_verify(record));
        require(quire_record_scatter(record, &to, false) == QUIRE_OK);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    quire_layout layout = layout_of(data[0] % LAYOUTS);
    uint8_t digest[32];
    require(quire_layout_digest(&layout, digest) == QUIRE_OK);
    uint64_t tag = quire_record_layout_tag(digest);
    uint8_t *bytes = malloc(size); /* aligned, and exactly as long as the record: a read behind it is seen */
    require(bytes != NULL);
    memcpy(bytes, data + 1, size - 1);
    bytes = realloc(bytes, size > 1 ? size - 1 : 1);
    require(bytes != NULL);
    if (data[0] & 0x80) {
        correct_sums(bytes, size - 1, tag);
    }
    struct quire_record record;
    if (quire_record_open_tagged(bytes, size - 1, &layout, tag, NULL, &record) == QUIRE_OK) {
        copy_out(&record);
    }
    free(bytes);
    return 0;
}
