/*
 * The canonical encoding of a layout, its digest, and the name of the first difference. Integers little-endian, floats as their bits:
 *
 *   "QLAY"  u16 version (1)  u8 opaque  u8[32] weights_digest  u16 block_tokens
 *   opaque:  u8 n, engine[n]  u8 n, engine_format[n]
 *   else:    u16 n_layers  u16 n_groups  n_layers × { u16 kv_src  u8 group_of (0 where kv_src is another layer) }
 *            n_groups × { u32 window_tokens  u16 n_kv_heads  u16 k_dim  u16 v_dim  u8 elem
 *                         u8 pairing  u8 applied  u16 n_dims  f32 factor  n_dims/2 × f32 inv_freq }
 *
 * What does not count is not written, so that equal layouts have equal bytes; a decoder that finds other bytes than it would
 * write itself refuses them.
 */
#include "proto/base/bytes.h"
#include "proto/layout.h"
#include "proto/sha256.h"

#include <stdio.h>

#define LAYOUT_VERSION 1

static const char layout_magic[4] = {'Q', 'L', 'A', 'Y'};

static void write_name(struct quire_writer *out, const char *name) {
    size_t length = strnlen(name, QUIRE_MAX_NAME);
    quire_write_u8(out, (uint8_t)length);
    quire_write(out, name, length);
}

static void write_group(struct quire_writer *out, const quire_group *group) {
    quire_write_le32(out, group->window_tokens);
    quire_write_le16(out, group->n_kv_heads);
    quire_write_le16(out, group->k_dim);
    quire_write_le16(out, group->v_dim);
    quire_write_u8(out, group->elem);
    quire_write_u8(out, group->rope.pairing);
    quire_write_u8(out, group->rope.applied);
    quire_write_le16(out, group->rope.n_dims);
    quire_write_f32(out, group->rope.factor);
    for (uint32_t i = 0; i < group->rope.n_dims / 2u; i++) {
        quire_write_f32(out, group->rope.inv_freq[i]);
    }
}

static uint8_t counted_group_of(const quire_layout *layout, uint32_t l) { return layout->kv_src[l] == l ? layout->group_of[l] : 0; }

static void write_shape(struct quire_writer *out, const quire_layout *layout) {
    quire_write_le16(out, layout->n_layers);
    quire_write_le16(out, layout->n_groups);
    for (uint32_t l = 0; l < layout->n_layers; l++) {
        quire_write_le16(out, layout->kv_src[l]);
        quire_write_u8(out, counted_group_of(layout, l));
    }
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        write_group(out, &layout->group[g]);
    }
}

enum quire_status quire_layout_encode(const quire_layout *layout, uint8_t *out, size_t capacity, size_t *size) {
    QUIRE_FORWARD(quire_layout_check(layout, NULL, 0));
    struct quire_writer writer = {.bytes = out, .capacity = capacity};
    quire_write(&writer, layout_magic, sizeof(layout_magic));
    quire_write_le16(&writer, LAYOUT_VERSION);
    quire_write_u8(&writer, layout->opaque);
    quire_write(&writer, layout->weights_digest, sizeof(layout->weights_digest));
    quire_write_le16(&writer, layout->block_tokens);
    if (layout->opaque) {
        write_name(&writer, layout->engine);
        write_name(&writer, layout->engine_format);
    } else {
        write_shape(&writer, layout);
    }
    *size = writer.at;
    return writer.failed ? QUIRE_TOO_LARGE : QUIRE_OK;
}

/* Reads one byte that must be 0 or 1. */
static bool read_bool(struct quire_reader *in) {
    uint8_t value = quire_read_u8(in);
    in->failed |= value > 1;
    return value == 1;
}

static void read_name(struct quire_reader *in, char name[QUIRE_MAX_NAME + 1]) {
    uint8_t length = quire_read_u8(in);
    if (length > QUIRE_MAX_NAME) {
        in->failed = true;
        return;
    }
    quire_read(in, name, length);
    in->failed |= strnlen(name, QUIRE_MAX_NAME) != length; /* a NUL inside */
}

static void read_group(struct quire_reader *in, quire_group *group) {
    group->window_tokens = quire_read_le32(in);
    group->n_kv_heads = quire_read_le16(in);
    group->k_dim = quire_read_le16(in);
    group->v_dim = quire_read_le16(in);
    group->elem = quire_read_u8(in);
    group->rope.pairing = quire_read_u8(in);
    group->rope.applied = read_bool(in);
    group->rope.n_dims = quire_read_le16(in);
    group->rope.factor = quire_read_f32(in);
    if (group->rope.n_dims > QUIRE_MAX_DIM) {
        in->failed = true;
        return;
    }
    for (uint32_t i = 0; i < group->rope.n_dims / 2u; i++) {
        group->rope.inv_freq[i] = quire_read_f32(in);
    }
}

static void read_shape(struct quire_reader *in, quire_layout *layout) {
    layout->n_layers = quire_read_le16(in);
    layout->n_groups = quire_read_le16(in);
    if (layout->n_layers > QUIRE_MAX_LAYERS || layout->n_groups > QUIRE_MAX_GROUPS) {
        in->failed = true;
        return;
    }
    for (uint32_t l = 0; l < layout->n_layers; l++) {
        layout->kv_src[l] = quire_read_le16(in);
        layout->group_of[l] = quire_read_u8(in);
        in->failed |= layout->group_of[l] != counted_group_of(layout, l);
    }
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        read_group(in, &layout->group[g]);
    }
}

enum quire_status quire_layout_decode(const uint8_t *bytes, size_t size, quire_layout *layout) {
    struct quire_reader reader = {.bytes = bytes, .size = size};
    char magic[sizeof(layout_magic)];
    memset(layout, 0, sizeof(*layout));
    quire_read(&reader, magic, sizeof(magic));
    uint16_t version = quire_read_le16(&reader);
    if (reader.failed || memcmp(magic, layout_magic, sizeof(magic)) != 0) {
        return QUIRE_INVALID;
    }
    if (version != LAYOUT_VERSION) {
        return QUIRE_UNSUPPORTED;
    }
    layout->opaque = read_bool(&reader);
    quire_read(&reader, layout->weights_digest, sizeof(layout->weights_digest));
    layout->block_tokens = quire_read_le16(&reader);
    if (layout->opaque) {
        read_name(&reader, layout->engine);
        read_name(&reader, layout->engine_format);
    } else {
        read_shape(&reader, layout);
    }
    if (reader.failed || reader.at != size) {
        return QUIRE_INVALID;
    }
    return quire_layout_check(layout, NULL, 0);
}

enum quire_status quire_layout_digest(const quire_layout *layout, uint8_t digest[32]) {
    uint8_t bytes[QUIRE_LAYOUT_WIRE_MAX];
    size_t size;
    QUIRE_FORWARD(quire_layout_encode(layout, bytes, sizeof(bytes), &size));
    quire_sha256(bytes, size, digest);
    return QUIRE_OK;
}

static bool same_float(float a, float b) { return memcmp(&a, &b, sizeof(a)) == 0; }

static const char *diff_rope(const quire_rope *a, const quire_rope *b, char index[16]) {
    index[0] = '\0';
    if (a->pairing != b->pairing) {
        return "rope.pairing";
    }
    if (a->applied != b->applied) {
        return "rope.applied";
    }
    if (a->n_dims != b->n_dims) {
        return "rope.n_dims";
    }
    if (!same_float(a->factor, b->factor)) {
        return "rope.factor";
    }
    for (uint32_t i = 0; i < a->n_dims / 2u && i < QUIRE_MAX_DIM / 2; i++) {
        if (!same_float(a->inv_freq[i], b->inv_freq[i])) {
            snprintf(index, 16, "[%u]", i);
            return "rope.inv_freq";
        }
    }
    return NULL;
}

static const char *diff_group(const quire_group *a, const quire_group *b, char index[16]) {
    index[0] = '\0';
    if (a->window_tokens != b->window_tokens) {
        return "window_tokens";
    }
    if (a->n_kv_heads != b->n_kv_heads) {
        return "n_kv_heads";
    }
    if (a->k_dim != b->k_dim) {
        return "k_dim";
    }
    if (a->v_dim != b->v_dim) {
        return "v_dim";
    }
    if (a->elem != b->elem) {
        return "elem";
    }
    return diff_rope(&a->rope, &b->rope, index);
}

static const char *diff_common(const quire_layout *a, const quire_layout *b) {
    if (memcmp(a->weights_digest, b->weights_digest, sizeof(a->weights_digest)) != 0) {
        return "weights_digest";
    }
    if (a->opaque != b->opaque) {
        return "opaque";
    }
    if (a->block_tokens != b->block_tokens) {
        return "block_tokens";
    }
    if (a->opaque) {
        if (strncmp(a->engine, b->engine, QUIRE_MAX_NAME) != 0) {
            return "engine";
        }
        return strncmp(a->engine_format, b->engine_format, QUIRE_MAX_NAME) != 0 ? "engine_format" : NULL;
    }
    if (a->n_layers != b->n_layers) {
        return "n_layers";
    }
    return a->n_groups != b->n_groups ? "n_groups" : NULL;
}

static bool diff_layers(const quire_layout *a, const quire_layout *b, char *buffer, size_t buffer_bytes) {
    for (uint32_t l = 0; l < a->n_layers && l < QUIRE_MAX_LAYERS; l++) {
        const char *field = NULL;
        if (a->kv_src[l] != b->kv_src[l]) {
            field = "kv_src";
        } else if (counted_group_of(a, l) != counted_group_of(b, l)) {
            field = "group_of";
        }
        if (field != NULL) {
            snprintf(buffer, buffer_bytes, "%s[%u]", field, l);
            return true;
        }
    }
    return false;
}

const char *quire_layout_diff(const quire_layout *a, const quire_layout *b, char *buffer, size_t buffer_bytes) {
    const char *common = diff_common(a, b);
    if (common != NULL || a->opaque) {
        return common;
    }
    if (diff_layers(a, b, buffer, buffer_bytes)) {
        return buffer;
    }
    for (uint32_t g = 0; g < a->n_groups && g < QUIRE_MAX_GROUPS; g++) {
        char index[16];
        const char *field = diff_group(&a->group[g], &b->group[g], index);
        if (field != NULL) {
            snprintf(buffer, buffer_bytes, "group[%u].%s%s", g, field, index);
            return buffer;
        }
    }
    return NULL;
}
